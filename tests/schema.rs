//! The published JSON Schema, read as editors read it: it accepts what the checker accepts, and says where a fault is.

#![allow(clippy::unwrap_used)]

mod lab;

use boon::{Compiler, SchemaIndex, Schemas};
use lab::Lab;
use serde_json::Value;
use std::{fs, path::Path, path::PathBuf};

/// `musiva schema`, compiled by a validator that knows nothing of us.
struct Editor {
    schemas: Schemas,
    schema: SchemaIndex,
}

impl Editor {
    fn open(lab: &Lab) -> Self {
        Self::of(lab, &["schema"])
    }

    fn of(lab: &Lab, command: &[&str]) -> Self {
        let schema: Value = serde_json::from_str(&lab.run(command).succeeds().out).unwrap();
        let (mut schemas, mut compiler) = (Schemas::new(), Compiler::new());
        compiler.add_resource("https://musiva.invalid/recipe.json", schema).unwrap();
        let schema = compiler.compile("https://musiva.invalid/recipe.json", &mut schemas).unwrap();
        Self { schemas, schema }
    }

    /// What is wrong with a recipe, each with its place: `at '/backbone/width': …`.
    fn wrong(&self, toml: &str) -> Vec<String> {
        let recipe: Value = toml::from_str(toml).unwrap();
        let Err(error) = self.schemas.validate(&recipe, self.schema) else { return Vec::new() };
        let lines = error.to_string();
        lines.lines().skip(1).map(|line| line.trim().trim_start_matches("- ").to_owned()).collect()
    }
}

fn recipes(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() && !path.ends_with("compare") {
            recipes(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "toml") {
            all.push(path);
        }
    }
}

#[test]
fn every_recipe_that_the_checker_accepts_is_accepted() {
    let lab = Lab::bare();
    let editor = Editor::open(&lab);
    let mut all = Vec::new();
    recipes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes"), &mut all);
    recipes(lab.path("world.toml").parent().unwrap(), &mut all);
    assert!(all.len() > 60, "{all:?}");
    let wrong = |path: &PathBuf| {
        let wrong = editor.wrong(&fs::read_to_string(path).unwrap());
        (!wrong.is_empty()).then(|| format!("{}: {wrong:#?}", path.display()))
    };
    let refused: Vec<_> = all.iter().filter_map(wrong).collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn every_comparison_is_accepted_and_can_be_run() {
    let lab = Lab::bare();
    let editor = Editor::of(&lab, &["schema", "--comparison"]);
    let mut all = Vec::new();
    recipes(&Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/compare"), &mut all);
    assert!(all.len() > 1);
    for path in all {
        let toml = fs::read_to_string(&path).unwrap();
        assert_eq!(editor.wrong(&toml), [""; 0], "{}", path.display());
        lab.run(&["compare", path.to_str().unwrap(), "--dry-run"]).succeeds();
        let wrong = editor.wrong(&toml.replace("[budget]", "[budget]\nnonsense = 1"));
        assert!(wrong.len() == 1 && wrong[0].contains("/budget"), "{wrong:?}");
    }
}

/// A recipe that is right, to plant faults in.
const RIGHT: &str = r#"
schema = 1
name = "right"
[data]
kind = "world"
frames = 9
[tokenizer.video]
kind = "magvit2"
stages = [{ channels = 8, blocks = 1, frames = 3, down = [2, 1, 1] }, { channels = 8, blocks = 1, frames = 1 }]
quantizer = { kind = "lfq", bits = 5 }
[tokenizer.text]
kind = "bpe"
[backbone]
kind = "dit"
width = 64
heads = 2
[objective]
kind = "rectified-flow"
[sampler]
kind = "euler"
[[task]]
name = "image-to-video"
video = "first"
[train]
target = "backbone"
"#;

#[test]
fn a_fault_is_told_once_at_its_key() {
    let editor = Editor::open(&Lab::bare());
    assert_eq!(editor.wrong(RIGHT), [""; 0]);
    for (right, wrong, place, says) in [
        ("width = 64", "widht = 64", "/backbone", "widht"),
        ("width = 64", "width = \"64\"", "/backbone/width", "integer"),
        ("width = 64", "width = 0", "/backbone/width", ""),
        ("kind = \"dit\"", "kind = \"ditt\"", "/backbone/kind", "'dit'"),
        ("kind = \"dit\"\n", "", "/backbone", "kind"),
        ("kind = \"lfq\"", "kind = \"lqf\"", "/tokenizer/video/quantizer/kind", "'lfq'"),
        ("bits = 5", "bits = -5", "/tokenizer/video/quantizer/bits", ""),
        ("bits = 5", "bits = 5, entries = 5", "/tokenizer/video/quantizer", "entries"),
        (
            "channels = 8, blocks = 1, frames = 1",
            "channels = 8, chanels = 8, blocks = 1, frames = 1",
            "/tokenizer/video/stages/1",
            "chanels",
        ),
        ("target = \"backbone\"", "target = \"bakcbone\"", "/train/target", "'backbone'"),
        ("target = \"backbone\"", "steps = 5", "/train", "target"),
        ("video = \"first\"", "video = \"frist\"", "/task/0/video", "'first'"),
        ("kind = \"world\"", "kind = \"wrld\"", "/data/kind", "'world'"),
        ("[sampler]", "[smapler]", "", "smapler"),
        ("schema = 1", "", "", "schema"),
    ] {
        assert_eq!(RIGHT.matches(right).count(), 1, "{right}");
        let found = editor.wrong(&RIGHT.replace(right, wrong));
        let of_it = |line: &String| line.starts_with(&format!("at '{place}':")) && line.contains(says);
        assert!(matches!(&found[..], [one] if of_it(one)), "{wrong}: {found:#?}");
    }
}

#[test]
fn of_a_recipe_that_extends_another_nothing_is_required_and_faults_are_found() {
    let editor = Editor::open(&Lab::bare());
    let with = |text: &str| editor.wrong(&format!("schema = 1\nextends = \"other.toml\"\n{text}"));
    for right in [
        "",
        "unset = [\"train.muon\"]\n[train]\nsteps = 5",
        "[backbone]\nwidth = 64",
        "[tokenizer.video]\nquantizer = { bits = 12 }",
        "[train.adversarial]\nstart = 4",
        "[sampler]\nstagger = 1.0\n[train]\non_disease = \"stop\"",
        "[backbone]\nkind = \"org.example.mine\"\nanything = 1",
        "[[task]]\nname = \"old\"\nvideo = \"made\"",
    ] {
        assert_eq!(with(right), [""; 0], "{right}");
    }
    for (wrong, place) in [
        ("[backbone]\nwidht = 64", "/backbone"),
        ("[backbone]\nkind = \"dit\"\nwidth = true", "/backbone/width"),
        ("[tokenizer.video]\nquantizer = { bitts = 12 }", "/tokenizer/video/quantizer"),
        ("[train]\nstep = 5", "/train"),
        // Tables in arrays do not merge.
        ("[[task]]\nvideo = \"first\"", "/task/0"),
    ] {
        let found = with(wrong);
        assert!(matches!(&found[..], [one] if one.starts_with(&format!("at '{place}':"))), "{wrong}: {found:#?}");
    }
}
