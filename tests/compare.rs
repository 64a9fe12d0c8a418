//! Comparisons, through the command: trained, measured, resumed, shared, refused.
#![allow(clippy::unwrap_used)]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// Two tiny arms on the world.
const SMALL: &str = r#"
schema = 1
name = "small"
question = "Which of two?"
limits = "A few steps."
seeds = [1, 2]
set = [
    "backbone.width=16", "backbone.depth=1", "backbone.heads=1", "train.batch=2", "train.clips=8", "train.warmup=1",
    "evaluate.batch=4",
]
trial = 0.5
curve_points = 1

[budget]
flops = 4e8

[evaluate]
prompts = 3
shown = 1

[[arm]]
name = "lm"
recipe = "text-to-video-lm"
learning_rates = [1e-3, 1e-2]
sampling = [["sampler.guidance=1.0"]]

[[arm]]
name = "masked"
recipe = "text-to-video-masked"
set = ["sampler.steps=2"]
"#;

fn musiva(arguments: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_musiva")).args(arguments).current_dir(folder).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A folder with a comparison in it.
fn written(toml: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("small.toml"), toml).unwrap();
    let path = folder.path().to_owned();
    (folder, path)
}

fn report(folder: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(folder.join("report.json")).unwrap()).unwrap()
}

/// Without what a clock says.
fn timeless(mut report: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(all) => {
                all.retain(|key, _| !key.contains("seconds") && key != "answer");
                all.values_mut().for_each(strip);
            }
            Value::Array(all) => all.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut report);
    report
}

#[test]
fn arms_are_trained_measured_and_reported() {
    let (_keep, folder) = written(SMALL);
    let plan = musiva(&["compare", "small.toml", "-o", "report", "--dry-run", "--json"], &folder);
    assert!(plan.status.success(), "{}", text(&plan.stderr));
    assert!(!folder.join("report").exists(), "a dry run writes nothing");
    let plan: Value = serde_json::from_slice(&plan.stdout).unwrap();
    assert_eq!(plan["runs"].as_array().unwrap().len(), 2 + 4);
    for arm in plan["arms"].as_array().unwrap() {
        let flops = arm["steps"].as_f64().unwrap() * arm["cost"]["flops_per_step"].as_f64().unwrap();
        assert!((flops / 4e8 - 1.0).abs() < 0.3, "{flops} of a budget of 4e8");
    }

    let done = musiva(&["compare", "small.toml", "-o", "report"], &folder);
    assert!(done.status.success(), "{}", text(&done.stderr));
    let found = report(&folder.join("report"));
    assert_eq!(found["answer"].as_array().unwrap().len(), 3, "{}", found["answer"]);
    let arms = found["arms"].as_array().unwrap();
    assert_eq!(arms[0]["tried"].as_array().unwrap().len(), 2);
    assert_eq!([arms[0]["sampling"].as_array().unwrap().len(), arms[1]["sampling"].as_array().unwrap().len()], [2, 1]);
    assert_eq!([&arms[0]["cost"]["depth"], &arms[1]["cost"]["depth"]], [320, 2]);
    let bits = found["figures"].as_array().unwrap().iter().find(|figure| figure["name"] == "bits per sample").unwrap();
    for (arm, is_bound) in bits["arms"].as_array().unwrap().iter().zip([false, true]) {
        assert_eq!(arm["upper_bound"], is_bound);
        let [low, high]: [f64; 2] = serde_json::from_value(arm["interval"].clone()).unwrap();
        let mean = arm["mean"].as_f64().unwrap();
        assert!(low < mean && mean < high && arm["seed_deviation"].is_number(), "{arm}");
    }
    // The learning rate that is worth less in the trial is not the one that is trained with.
    let loss = |tried: &&Value| tried["validation_loss"].as_f64().unwrap();
    let best = arms[0]["tried"].as_array().unwrap().iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap();
    let best = best["learning_rate"].as_f64().unwrap();
    assert_eq!(arms[0]["learning_rate"].as_f64().unwrap(), best);
    let page = std::fs::read_to_string(folder.join("report/index.html")).unwrap();
    assert!(page.contains("upper bound") && page.contains("data:image/png;base64,") && page.contains("Plotly"));
    // What the plotting library says is its own.
    let own = page.split_once("<script type=\"text/javascript\">").unwrap().0;
    for outside in ["src=\"http", "href=\"http", "src='http", "url(http", "@import"] {
        assert!(!own.contains(outside), "{outside}");
    }
    let csv = std::fs::read_to_string(folder.join("report/figures.csv")).unwrap();
    assert!(csv.starts_with("of,figure,arm,mean,low,high,") && csv.contains("\"bits per sample\",\"masked\""), "{csv}");

    // Each run is one as `train` makes it, and nothing is done twice.
    let run = folder.join("report/runs/lm-seed-2");
    let stamp = || std::fs::metadata(run.join("weights.safetensors")).unwrap().modified().unwrap();
    let before = stamp();
    let again = musiva(&["compare", "small.toml", "-o", "report", "--json"], &folder);
    assert!(again.status.success(), "{}", text(&again.stderr));
    let same = |other: Value| timeless(other) == timeless(found.clone());
    assert!(same(serde_json::from_slice(&again.stdout).unwrap()), "measured again, or otherwise");
    assert_eq!(stamp(), before);
    let generated = ["generate", "report/runs/lm-seed-2", "--prompt", "a red ring moves left", "-o", "ring.gif"];
    assert!(musiva(&generated, &folder).status.success());

    // Two processes that share the work find the same.
    let half = |part: &str| {
        let out = musiva(&["compare", "small.toml", "-o", "shared", "--shard", part], &folder);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    assert!(half("1/2").contains("are measured"));
    assert!(!half("2/2").contains("are measured"), "the second one finds all of them");
    assert!(same(report(&folder.join("shared"))), "shared work finds something else");

    // Of what is trained, the same without training.
    let trained = ["compare", "report/runs/lm-seed-1", "report/runs/lm-seed-2", "-o", "two", "--prompts", "2"];
    let out = musiva(&trained, &folder);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let two = report(&folder.join("two"));
    assert_eq!(two["arms"].as_array().unwrap().len(), 2);
    assert!(two["arms"][0]["training_flops"].as_f64().unwrap() > 1e8);
}

#[test]
fn what_is_not_to_differ_is_refused_and_the_hint_mends_it() {
    let other = SMALL.replace("set = [\"sampler.steps=2\"]", "set = [\"sampler.steps=2\", \"data.held_out=[]\"]");
    let (_keep, folder) = written(&other);
    let dry = |more: &[&str]| {
        let arguments = [&["compare", "small.toml", "-o", "report", "--dry-run"][..], more].concat();
        let out = musiva(&arguments, &folder);
        (out.status.code(), text(&out.stderr))
    };
    let (code, said) = dry(&[]);
    assert_eq!(code, Some(3), "{said}");
    assert!(said.contains("`lm` and `masked` differ in `data`") && said.contains("`differs = [\"data\"]`"), "{said}");
    assert_eq!(dry(&["--differs", "data"]).0, Some(0));
    std::fs::write(folder.join("small.toml"), other.replace("trial = 0.5", "trial = 0.5\ndiffers = [\"data\"]"))
        .unwrap();
    assert_eq!(dry(&[]).0, Some(0));

    let out = musiva(&["compare", "text-to-video-lm", "text-to-video-dit", "-o", "report", "--dry-run"], &folder);
    let said = text(&out.stderr);
    assert_eq!(out.status.code(), Some(3), "{said}");
    assert!(said.contains("differ in `budget`") && said.contains("--differs budget"), "{said}");
    let (one, said) = {
        let out = musiva(&["compare", "text-to-video-lm", "-o", "report"], &folder);
        (out.status.code(), text(&out.stderr))
    };
    assert_eq!(one, Some(3), "{said}");
}

#[test]
fn a_folder_of_something_else_is_left_alone() {
    let (_keep, folder) = written(SMALL);
    std::fs::create_dir(folder.join("mine")).unwrap();
    std::fs::write(folder.join("mine/letter.txt"), "x").unwrap();
    let out = musiva(&["compare", "small.toml", "-o", "mine"], &folder);
    assert_eq!(out.status.code(), Some(7), "{}", text(&out.stderr));
    assert_eq!(std::fs::read_dir(folder.join("mine")).unwrap().count(), 1);
}
