//! What users, files and devices cause: exit codes, and the hint.

mod lab;

use lab::Lab;
use std::fs;

const PROMPT: [&str; 2] = ["--prompt", "a red ring moves left"];

#[test]
fn the_command_line() {
    let lab = Lab::bare();
    lab.run(&["generate", "lm.toml", "--count", "0"]).fails(2, &["--count"]);
    lab.run(&["generate", "lm.toml", "--prompt", "x", "--device", "gpu"]).fails(2, &["cpu, cuda, cuda:N"]);
    lab.run(&["frobnicate"]).fails(2, &["frobnicate"]);
    assert!(lab.run(&["--help"]).succeeds().out.contains("Exit codes:"));
}

#[test]
fn recipes() {
    let lab = Lab::bare();
    lab.run(&["check", "lm.toml", "--set", "backbone.heads=3"]).fails(3, &["backbone.heads", "hint"]);
    lab.run(&["check", "no-such-recipe"]).fails(3, &["no-such-recipe", "text-to-video"]);
    lab.run(&["check", "gone.toml"]).fails(3, &["gone.toml"]);
    lab.run(&["generate", "video.toml", PROMPT[0], PROMPT[1]]).fails(3, &["[sampler]"]);
    let json = lab.run(&["check", "lm.toml", "--json", "--set", "backbone.widht=3"]).fails(3, &[]).out;
    let report: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["ok"], report["report"].as_array().map(Vec::len)), (&false.into(), Some(1)));
}

#[test]
fn a_sound_recipe_says_what_it_takes() {
    let lab = Lab::trained();
    let said = lab.run(&["check", "dit.toml"]).succeeds().out;
    for text in ["tokenizer.video  →  canvas", "parameters of backbone", "FLOP a step of 2 samples"] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    let json = lab.run(&["check", "dit.toml", "--json"]).succeeds().out;
    let said: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(said["ok"], true);
}

#[test]
fn weights_and_tokens() {
    let lab = Lab::bare();
    lab.run(&["check", "lm.toml"]).fails(5, &["weights"]);
    lab.run(&["generate", "lm.toml", PROMPT[0], PROMPT[1]]).fails(5, &["hint"]);
    let lab = Lab::trained();
    let other = ["--set", "tokenizer.video.quantizer.bits=6"];
    lab.run(&["generate", "lm.toml", PROMPT[0], PROMPT[1], other[0], other[1]])
        .fails(5, &["quantizer.bits = 5", "the recipe says 6"]);
    fs::write(lab.path("cut.safetensors"), &lab.bytes("lm.safetensors")[..5000]).unwrap();
    lab.run(&["inspect", "cut.safetensors"]).fails(5, &["cut.safetensors"]);
    lab.run(&["decode", "lm.toml", "lm.safetensors"]).fails(5, &["lm.safetensors"]);
}

#[test]
fn media_and_data() {
    let lab = Lab::trained();
    fs::write(lab.path("broken.gif"), b"GIF89a??").unwrap();
    lab.run(&["reconstruct", "video.toml", "broken.gif", "-o", "a.gif"]).fails(4, &["broken.gif"]);
    fs::create_dir(lab.path("empty")).unwrap();
    fs::write(
        lab.path("folder.toml"),
        "schema = 1\nextends = \"video.toml\"\n[data]\nkind = \"folder\"\npath = \"empty\"\n",
    )
    .unwrap();
    lab.run(&["data", "folder.toml"]).fails(4, &["no clips or images", "hint"]);
    lab.run(&["train", "folder.toml"]).fails(4, &["no clips or images"]);
}

#[test]
fn a_folder_of_the_users_own() {
    let lab = Lab::bare();
    let hint = "--data FOLDER";
    let nothing = ["no folder is named", "a folder of sounds", hint];
    let report = lab.run(&["check", "tokenizer-digits"]).fails(4, &["its data are missing"]).out;
    assert!(nothing.iter().all(|words| report.contains(words)), "{report}");
    lab.run(&["data", "tokenizer-digits"]).fails(4, &nothing);
    let gone = ["data.path", "there is no folder gone", "a folder of clips or images", hint];
    lab.run(&["train", "tokenizer-bbb", "--data", "gone"]).fails(4, &gone);
    assert!(!lab.path("runs").exists());
    let json = lab.run(&["check", "tokenizer-bbb", "--json"]).fails(4, &[]).out;
    assert!(json.contains("\"ok\": false") && json.contains("\"data.path\""), "{json}");
    // A path is a path, whatever it looks like.
    for name in ["films", "7", "my \"films\""] {
        fs::create_dir(lab.path(name)).unwrap();
        lab.run(&["check", "tokenizer-bbb", "--data", name]).succeeds();
        lab.run(&["data", "tokenizer-bbb", "--data", name]).fails(4, &["no clips or images"]);
    }
}

#[test]
fn devices() {
    let lab = Lab::bare();
    if !cfg!(feature = "cuda") {
        let arguments = ["generate", "lm.toml", PROMPT[0], PROMPT[1], "--device", "cuda:1"];
        lab.run(&arguments).fails(6, &["--device cuda:1", "--features cuda"]);
    }
}

#[test]
fn files_that_cannot_be_written() {
    let lab = Lab::trained();
    fs::write(lab.path("file"), b"").unwrap();
    // Before any work is done: no tokens are left behind.
    for (output, code, says) in
        [("file/out.mp4", 7, "write it"), (".", 8, "none of"), ("out.avi", 8, ".mp4, .gif, .png")]
    {
        lab.run(&["generate", "lm.toml", PROMPT[0], PROMPT[1], "-o", output]).fails(code, &[says]);
    }
    assert!(!lab.path("out.tokens.safetensors").exists());
    lab.run(&["inspect", "gone.mp4"]).fails(7, &["gone.mp4"]);
}

#[test]
fn the_language_describes_itself() {
    let lab = Lab::bare();
    let schema: serde_json::Value = serde_json::from_str(&lab.run(&["schema"]).succeeds().out).unwrap();
    assert!(schema["$defs"]["backbone.dit"]["properties"]["width"].is_object());
    assert!(lab.run(&["schema", "--markdown"]).succeeds().out.starts_with("# Recipes"));
}
