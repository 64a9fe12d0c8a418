//! Recipes of small components that only the tests know; those of the real ones are tested through
//! the workspace's own `tests/`.

mod fakes;
mod good;
mod renamed;
mod wrong;

use super::*;
use fakes::registry;

/// A whole recipe of a diffusion backbone.
const FIELD: &str = r#"schema = 1
name = "small"

[data]
kind = "clips"
frames = 17

[tokenizer.video]
kind = "blocks"
weights = "video.safetensors"

[tokenizer.text]
kind = "words"
weights = "words.json"

[backbone]
kind = "field"
width = 128
heads = 4

[objective]
kind = "flow"

[sampler]
kind = "euler"

[train]
target = "backbone"
steps = 1000
"#;

fn parse(text: &str, sets: &[&str]) -> Result<Recipe, Report> {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    Recipe::parse(text, Path::new("recipes/x.toml"), &sets, &registry())
}

/// [`FIELD`] with other lines in the place of one.
fn edited(line: &str, by: &str) -> String {
    assert!(FIELD.contains(line), "{line}");
    FIELD.replacen(line, by, 1)
}

/// Compares a text with what is written in `snapshots/`.
#[track_caller]
fn snapshot(name: &str, text: &str) {
    let (prepend, path) = (false, "../snapshots");
    insta::with_settings!({ prepend_module_to_snapshot => prepend, omit_expression => true, snapshot_path => path }, {
        insta::assert_snapshot!(name, text);
    });
}
