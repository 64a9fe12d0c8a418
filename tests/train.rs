//! Runs that are stopped, killed and resumed, through the command.
#![cfg(unix)]
#![allow(clippy::unwrap_used)]

mod lab;

use lab::{Lab, wait_for_file};
use std::process::Command;

/// So long that it does not end before it is stopped.
const LONG: &str = "--steps=150";

/// The loss after each step.
fn losses(lab: &Lab, run: &str) -> Vec<String> {
    let lines = lab.text(&format!("{run}/metrics.jsonl"));
    let line = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    let losses = lines.lines().map(line).filter(|line| line["loss"].is_number());
    losses.map(|line| format!("{} {}", line["step"], line["loss"])).collect()
}

/// A run that is killed in the middle and resumed ends with the weights of one that was not.
fn killed_is_whole(recipe: &str) {
    let lab = Lab::trained();
    lab.run(&["train", recipe, LONG, "--run", "whole"]).succeeds();
    let mut child = lab.spawn(&["train", recipe, LONG, "--run", "killed"]);
    wait_for_file(&lab.path("killed/checkpoints"), "safetensors", &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!lab.path("killed/weights.safetensors").exists(), "{recipe} ended before it was killed");
    lab.run(&["train", recipe, LONG, "--resume", "killed"]).succeeds();
    assert!(lab.values("whole/weights.safetensors") == lab.values("killed/weights.safetensors"), "{recipe}");
    assert_eq!(losses(&lab, "whole"), losses(&lab, "killed"));
    assert_eq!(losses(&lab, "whole").len(), 150);
}

#[test]
fn a_killed_tokenizer_goes_on_bit_by_bit() {
    killed_is_whole("video.toml");
}

#[test]
fn a_killed_audio_tokenizer_with_its_codebooks_goes_on_bit_by_bit() {
    killed_is_whole("audio.toml");
}

#[test]
fn a_killed_language_model_goes_on_bit_by_bit() {
    killed_is_whole("lm.toml");
}

#[test]
fn a_killed_model_of_many_tasks_goes_on_bit_by_bit() {
    killed_is_whole("heard-masked.toml");
}

#[test]
fn a_killed_diffusion_model_goes_on_bit_by_bit() {
    killed_is_whole("dit.toml");
}

#[test]
fn tokens_that_machines_made_train_the_same_weights() {
    let lab = Lab::trained();
    lab.run(&["train", "lm.toml", "--steps=5", "--run", "alone"]).succeeds();
    for share in ["2/2", "1/2", "1/1"] {
        let fill = ["tokenize", "lm.toml", "--dataset", "-o", "tokens", "--per-shard", "7", "--shard", share];
        lab.run(&fill).succeeds();
    }
    let train = |run: &str, more: &[&str]| {
        let these = ["train", "lm.toml", "--steps=5", "--set", "train.tokens=tokens", "--run", run];
        lab.run(&[&these, more].concat())
    };
    train("sharded", &[]).succeeds();
    assert!(lab.values("alone/weights.safetensors") == lab.values("sharded/weights.safetensors"));
    // Tokens of another tokenizer, and not all of them.
    lab.run(&["train", "video.toml", "--steps=1", "--run", "other"]).succeeds();
    train("no", &["--set", "tokenizer.video.weights=other/weights.safetensors"])
        .fails(4, &["another video tokenizer", "musiva tokenize"]);
    std::fs::remove_file(lab.path("tokens/000000.tar")).unwrap();
    train("nor", &[]).fails(4, &["comes where 0 is expected", "musiva tokenize"]);
}

#[test]
fn ctrl_c_saves_and_says_how_to_go_on() {
    let lab = Lab::trained();
    let arguments = ["train", "lm.toml", LONG, "--run", "run", "--set", "train.checkpoint_every=1000"];
    let mut command = lab.command(&arguments);
    let mut child = command.stderr(std::process::Stdio::piped()).spawn().unwrap();
    wait_for_file(&lab.path("run/samples"), "png", &mut child);
    assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(130), "{said}");
    let going_on = "musiva train lm.toml --resume run --set 'train.checkpoint_every=1000' --steps 150";
    assert!(said.contains(going_on), "{said}");
    lab.run(&["train", "lm.toml", LONG, "--resume", "run"]).succeeds();
}

#[test]
fn what_is_computed_again_is_what_would_have_been_kept() {
    let lab = Lab::trained();
    for recipe in ["video.toml", "audio.toml", "lm.toml", "dit.toml"] {
        for again in ["false", "true"] {
            let set = format!("train.gradient_checkpointing={again}");
            let run = lab.run(&["train", recipe, "--run", &format!("{recipe}-{again}"), "--set", &set]);
            let said = run.succeeds().out;
            assert!(!cfg!(target_os = "linux") || said.contains("peak memory"), "{said}");
        }
        let weights = |again| lab.values(&format!("{recipe}-{again}/weights.safetensors"));
        assert!(weights("false") == weights("true"), "{recipe}");
    }
}

#[test]
fn a_run_writes_down_what_it_was() {
    let lab = Lab::trained();
    let said = lab.run(&["train", "dit.toml", "--run", "run"]).succeeds().out;
    // The recipe's weights are there: nobody is told to write over them.
    assert!(said.contains("use them: --set backbone.weights=run/weights.safetensors"), "{said}");
    let environment: serde_json::Value = serde_json::from_str(&lab.text("run/environment.json")).unwrap();
    let session = &environment["sessions"][0];
    assert_eq!((&session["device"], &session["recipe"]), (&"cpu".into(), &"dit".into()));
    assert_eq!(session["weights_sha256"]["tokenizer.video"].as_str().map(str::len), Some(64));
    assert!(lab.path("run/samples/00000002.png").exists());
    // The resolved recipe is a recipe: from anywhere, the same one.
    let hash = |file: &str| {
        lab.run(&["check", file, "--json"]).succeeds().out.lines().find(|l| l.contains("sha256")).map(str::to_owned)
    };
    assert_eq!(hash("run/recipe.toml"), hash("dit.toml"));
}

#[test]
fn a_run_that_is_there_is_not_written_over_and_does_not_change_its_meaning() {
    let lab = Lab::trained();
    lab.run(&["train", "lm.toml", "--run", "run"]).succeeds();
    lab.run(&["train", "lm.toml", "--run", "run"]).fails(7, &["not empty", "--resume run"]);
    let resume = |set: &str| lab.run(&["train", "lm.toml", "--resume", "run", "--set", set]);
    resume("train.learning_rate=0.5").fails(3, &["`train.learning_rate` is 0.5", "hint"]);
    resume("backbone.depth=2").fails(3, &["`backbone.depth`"]);
    resume("train.steps=5").succeeds();
    resume("train.gradient_checkpointing=true").succeeds();
    resume("backbone.decode=bf16").succeeds();
    std::fs::copy(lab.path("lm.safetensors"), lab.path("video.safetensors")).unwrap();
    resume("train.steps=5").fails(5, &["`tokenizer.video`"]);
    lab.run(&["train", "lm.toml", "--resume", "nowhere"]).fails(5, &["no checkpoint"]);
}

#[test]
fn weights_to_start_from_are_looked_for_before_anything_is_made() {
    let lab = Lab::trained();
    let start = ["train", "lm.toml", "--run", "new", "--set", "train.start=nowhere.safetensors"];
    lab.run(&start).fails(3, &["`train.start`: there is no file", "nowhere.safetensors", "hint:"]);
    assert!(!lab.path("new").exists());
}

#[test]
fn a_tokenizer_that_goes_wrong_is_told_by_name() {
    let lab = Lab::bare();
    // So fast that the first steps throw it far off: sounds beyond all range, and latents that land on one code.
    let wild = ["--set", "train.learning_rate=0.3", "--set", "train.sample_every=0", "--steps", "60"];
    let said = lab.run(&[&["train", "audio.toml", "--run", "wild"][..], &wild].concat()).succeeds().err;
    for text in ["values out of range", "lower `learning_rate`", "collapse: almost all tokens have the same code"] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    let stop = ["--set", "train.on_failure=stop"];
    lab.run(&[&["train", "audio.toml", "--run", "stopped"][..], &wild, &stop].concat())
        .fails(9, &["values out of range"]);
    assert!(lab.path("stopped/checkpoints").read_dir().unwrap().count() > 0, "what there was is saved");
}

#[test]
fn a_folder_has_one_run_at_a_time_and_a_dead_one_holds_nothing() {
    let lab = Lab::trained();
    let endless = ["--steps", "1000000", "--set", "train.checkpoint_every=2"];
    let mut child = lab.spawn(&[&["train", "lm.toml", "--run", "run"], &endless[..]].concat());
    wait_for_file(&lab.path("run/checkpoints"), "safetensors", &mut child);
    let who = format!("process {}", child.id());
    let another = lab.run(&["train", "lm.toml", "--run", "run"]);
    let resumed = lab.run(&[&["train", "lm.toml", "--resume", "run"], &endless[..]].concat());
    child.kill().unwrap();
    child.wait().unwrap();
    another.fails(7, &["a run is going on in it", &who, "train lm.toml", "hint: wait for it"]);
    resumed.fails(7, &["a run is going on in it", &who]);
    // The file is still there, and locks nobody out.
    assert!(lab.text("run/run.lock").contains(&who));
    lab.run(&["train", "lm.toml", "--resume", "run", "--steps", "3"]).succeeds();
}

#[test]
fn a_run_that_failed_before_its_first_step_starts_anew() {
    let lab = Lab::trained();
    // Tokens of another tokenizer are found once the folder has been filled.
    lab.run(&["tokenize", "lm.toml", "--dataset", "-o", "tokens"]).succeeds();
    lab.run(&["train", "video.toml", "--steps=1", "--run", "other"]).succeeds();
    let other = ["--set", "tokenizer.video.weights=other/weights.safetensors"];
    lab.run(&[&["train", "lm.toml", "--run", "run", "--set", "train.tokens=tokens"][..], &other].concat())
        .fails(4, &["another video tokenizer"]);
    assert!(lab.path("run/recipe.toml").exists());
    let said = lab.run(&["train", "lm.toml", "--run", "run"]).succeeds().err;
    assert!(said.contains("ended before its first checkpoint, and starts anew"), "{said}");
    lab.run(&["train", "lm.toml", "--run", "fresh"]).succeeds();
    assert!(lab.values("run/weights.safetensors") == lab.values("fresh/weights.safetensors"));
    // What has made steps is kept, and what is no run is left alone.
    lab.run(&["train", "lm.toml", "--run", "run"]).fails(7, &["not empty", "--resume run"]);
    std::fs::create_dir(lab.path("mine")).unwrap();
    std::fs::write(lab.path("mine/letter.txt"), "dear").unwrap();
    lab.run(&["train", "lm.toml", "--run", "mine"]).fails(7, &["not empty", "hint: name another folder"]);
    assert_eq!(lab.path("mine").read_dir().unwrap().count(), 1);
    std::fs::write(lab.path("a-file"), "").unwrap();
    lab.run(&["train", "lm.toml", "--run", "a-file"]).fails(7, &["a-file"]);
}
