//! Every recipe of recipes/debug trains to the loss that tests/golden.json has for it: whoever
//! changes what training computes sees it here.
//!
//! After a change that is meant to: `MUSIVA_RENEW=1 cargo test --release --test golden`.

mod lab;

use lab::Lab;
use serde_json::{Map, Value};
use std::{env, fs, path::Path};

/// Largest relative difference: the order of sums differs between processors.
const TOLERANCE: f64 = 1e-4;

#[test]
fn debug_recipes_train_to_their_golden_losses() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = root.join("tests/golden.json");
    let wanted: Value = fs::read(&golden).map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap());
    let mut recipes: Vec<_> = fs::read_dir(root.join("recipes/debug")).unwrap().map(|e| e.unwrap().path()).collect();
    recipes.sort();
    assert!(!recipes.is_empty());
    let lab = Lab::bare();
    let (mut found, mut wrong) = (Map::new(), Vec::new());
    for recipe in recipes {
        let name = recipe.file_stem().unwrap().to_string_lossy().into_owned();
        let file = recipe.to_str().unwrap();
        if lab.run(&["check", file]).code == Some(5) {
            eprintln!("skipped {name}: the weights of its tokenizers are not there");
            continue;
        }
        lab.run(&["train", file, "--run", &name]).succeeds();
        let lines = lab.text(&format!("{name}/metrics.jsonl"));
        let last = lines.lines().rev().find_map(|line| serde_json::from_str::<Value>(line).unwrap()["loss"].as_f64());
        let loss = last.unwrap();
        let near = |wanted: f64| ((loss - wanted) / wanted).abs() <= TOLERANCE;
        if !wanted[&name].as_f64().is_some_and(near) {
            wrong.push(format!("{name}: {loss}, golden is {}", wanted[&name]));
        }
        found.insert(name, loss.into());
    }
    if env::var_os("MUSIVA_RENEW").is_some() {
        fs::write(golden, format!("{:#}\n", Value::Object(found))).unwrap();
    } else {
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}
