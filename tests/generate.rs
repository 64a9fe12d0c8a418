//! From prompts to files, through the command.

mod lab;

use lab::{Lab, Outcome};

const PROMPT: &str = "a red ring moves left";

#[test]
fn the_same_seed_is_the_same_file_for_any_number_of_threads() {
    let lab = Lab::trained();
    for recipe in ["lm.toml", "dit.toml"] {
        let generate = |file: &str, threads: &str, seed: &str| {
            let arguments = ["generate", recipe, "--prompt", PROMPT, "--seed", seed, "-o", file, "--overwrite"];
            Outcome::of(lab.command(&arguments).env("RAYON_NUM_THREADS", threads)).succeeds();
            lab.bytes(file)
        };
        let first = generate("a.gif", "2", "7");
        assert!(first == generate("b.gif", "2", "7") && first == generate("c.gif", "1", "7"), "{recipe}");
        assert!(first != generate("d.gif", "2", "8"), "{recipe}");
        assert_eq!(lab.values("a.tokens.safetensors"), lab.values("c.tokens.safetensors"));
    }
}

#[test]
fn saved_tokens_decode_to_the_same_file() {
    let lab = Lab::trained();
    for extension in ["mp4", "gif", "png"] {
        let (file, again) = (format!("a.{extension}"), format!("b.{extension}"));
        lab.run(&["generate", "lm.toml", "--prompt", PROMPT, "-o", &file, "--overwrite"]).succeeds();
        lab.run(&["decode", "lm.toml", "a.tokens.safetensors", "-o", &again]).succeeds();
        assert!(lab.bytes(&file) == lab.bytes(&again), "{extension}");
    }
}

#[test]
fn a_file_says_where_it_comes_from() {
    let lab = Lab::trained();
    lab.run(&["generate", "dit.toml", "--prompt", PROMPT, "--seed", "5"]).succeeds();
    for file in ["out.mp4", "out.tokens.safetensors"] {
        let said = lab.run(&["inspect", file]).succeeds().out;
        for line in [
            "musiva.recipe = dit",
            "musiva.prompt = a red ring moves left",
            "musiva.seed = 5",
            "musiva.sample = 0",
            "musiva.device = cpu",
            "musiva.weights.sha256.backbone = ",
            "musiva.recipe.sha256 = ",
        ] {
            assert!(said.contains(line), "{file}: {line:?} is not in\n{said}");
        }
    }
    let weights = lab.run(&["inspect", "dit.safetensors"]).succeeds().out;
    assert!(weights.contains("musiva.steps = 3") && weights.contains("F16"), "{weights}");
}

#[test]
fn several_clips_are_a_sheet_or_numbered_files_and_the_first_is_the_single_one() {
    let lab = Lab::trained();
    lab.run(&["generate", "dit.toml", "--prompt", PROMPT, "--count", "3", "-o", "many.gif"]).succeeds();
    lab.run(&["generate", "dit.toml", "--prompt", PROMPT, "-o", "one.gif", "--no-tokens"]).succeeds();
    assert!(lab.bytes("many-1.gif") == lab.bytes("one.gif"));
    assert!(lab.bytes("many-1.gif") != lab.bytes("many-3.gif"));
    assert!(!lab.path("one.tokens.safetensors").exists() && lab.path("many-3.tokens.safetensors").exists());
    let said = lab.run(&["generate", "dit.toml", "--prompt", PROMPT, "--count", "2", "-o", "sheet.png"]).succeeds();
    assert!(said.out.contains("sheet.png: a picture") && !lab.path("sheet-1.png").exists(), "{}", said.out);
}

#[test]
fn words_that_the_model_does_not_know_are_told() {
    let lab = Lab::trained();
    let said = lab.run(&["generate", "lm.toml", "--prompt", "a ring 猫"]).succeeds();
    assert!(said.err.contains("does not know all of these words"), "{}", said.err);
    let known = lab.run(&["generate", "lm.toml", "--prompt", PROMPT, "--overwrite"]).succeeds();
    assert_eq!(known.err, "");
}

#[test]
fn a_clip_of_another_shape_is_adapted_and_measured() {
    let lab = Lab::trained();
    lab.run(&["data", "lm.toml", "-o", "sheet.png"]).succeeds();
    lab.run(&["generate", "lm.toml", "--prompt", PROMPT, "--scale", "3", "-o", "in.gif"]).succeeds();
    let said = lab.run(&["reconstruct", "video.toml", "in.gif", "-o", "again.png"]).succeeds().out;
    for text in ["48×48 → 16×16 pixels by a triangle filter", "PSNR", "SSIM", "of 32 codes in use"] {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    // A picture is a clip of one frame.
    lab.run(&["reconstruct", "video.toml", "sheet.png", "-o", "still.png"]).succeeds();
}

#[test]
fn an_evaluation_counts_what_it_says() {
    let lab = Lab::trained();
    let json = lab.run(&["evaluate", "lm.toml", "--json", "--seed", "3", "-o", "e.json"]).succeeds().out;
    let said: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&said["seed"], &said["reconstruction"]["n"]), (&3.into(), &5.into()));
    assert_eq!(said["generation"][0]["seen"]["n"], 5);
    assert_eq!(said["recipe_sha256"].as_str().map(str::len), Some(64));
    assert_eq!(lab.text("e.json"), json);
    let alone = lab.run(&["evaluate", "video.toml", "--prompts", "2"]).succeeds().out;
    assert!(
        alone.contains("2 held-out clips") && !alone.contains("generated") && !alone.contains("bicubic"),
        "{alone}"
    );
    let beside = lab.run(&["evaluate", "video.toml", "--prompts", "2", "--baselines"]).succeeds().out;
    assert!(beside.contains("fewer pixels, bicubic") && beside.contains("H.264"), "{beside}");
}
