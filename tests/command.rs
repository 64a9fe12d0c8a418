//! What all commands have in common: nothing is written over unasked, no home is needed, and programs read JSON.

#![allow(clippy::unwrap_used)]

mod lab;

use lab::{Lab, Outcome};
use serde_json::Value;
use std::fs;

#[test]
fn what_is_there_is_not_written_over_unasked() {
    let lab = Lab::trained();
    let prompt = "a red ring moves left";
    let generate = ["generate", "lm.toml", "--prompt", prompt, "-o"];
    lab.run(&[&generate[..], &["a.mp4"]].concat()).succeeds();
    let first = lab.bytes("a.mp4");
    let of_seed = |seed: &'static str| [&generate[..], &["a.mp4", "--seed", seed]].concat();
    lab.run(&of_seed("1")).fails(7, &["a.mp4: it is there already", "`--overwrite`"]);
    assert!(lab.bytes("a.mp4") == first);
    // Neither are tokens that were saved, nor the files of several samples.
    fs::rename(lab.path("a.mp4"), lab.path("kept.mp4")).unwrap();
    lab.run(&of_seed("1")).fails(7, &["a.tokens.safetensors: it is there already"]);
    fs::write(lab.path("b-2.mp4"), "mine").unwrap();
    lab.run(&[&generate[..], &["b.mp4", "--count", "2"]].concat()).fails(7, &["b-2.mp4"]);
    assert_eq!(lab.text("b-2.mp4"), "mine");
    lab.run(&[&of_seed("1")[..], &["--overwrite"]].concat()).succeeds();
    assert!(lab.bytes("a.mp4") != first);
    lab.run(&[&of_seed("0")[..], &["--overwrite"]].concat()).succeeds();
    assert!(lab.bytes("a.mp4") == first, "the same seed, the same file");

    fs::write(lab.path("there.png"), "mine").unwrap();
    fs::write(lab.path("there.json"), "mine").unwrap();
    fs::write(lab.path("there.safetensors"), "mine").unwrap();
    fs::create_dir(lab.path("page")).unwrap();
    for command in [
        &["reconstruct", "lm.toml", "a.mp4", "-o", "there.png"][..],
        &["decode", "lm.toml", "a.tokens.safetensors", "-o", "there.png"],
        &["tokenize", "lm.toml", "a.mp4", "-o", "there.safetensors"],
        &["data", "lm.toml", "-o", "there.png"],
        &["evaluate", "lm.toml", "--sheet", "there.png"],
        &["evaluate", "lm.toml", "-o", "there.json"],
        &["gallery", "lm.toml", "-o", "page.md"],
    ] {
        lab.run(command).fails(7, &["it is there already", "`--overwrite`"]);
        lab.run(&[command, &["--overwrite"]].concat()).succeeds();
    }
}

#[test]
fn no_home_is_needed() {
    let lab = Lab::bare();
    fs::create_dir(lab.path("tmp")).unwrap();
    // A home that is none, and one in which nothing can be made.
    for home in [None, Some("/dev/null")] {
        let run = |arguments: &[&str]| {
            let mut command = lab.command(arguments);
            for name in ["MUSIVA_CACHE", "MUSIVA_CONFIG", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HOME"]
            {
                command.env_remove(name);
            }
            command.env("TMPDIR", lab.path("tmp")).envs(home.map(|home| ("HOME", home)));
            Outcome::of(&mut command)
        };
        let said = run(&["check", "text-to-video"]).succeeds().out;
        assert!(said.contains("no folder for caches that can be written") && said.contains("MUSIVA_CACHE"), "{said}");
        run(&["plugin", "list"]).succeeds();
        run(&["train", "text.toml", "--run", &format!("run{}", home.is_some())]).succeeds();
        run(&["plugin", "trust", &"0".repeat(64)]).fails(7, &[if home.is_none() { "MUSIVA_CONFIG" } else { "" }]);
    }
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let made: Vec<_> = fs::read_dir(lab.path("tmp")).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert_eq!(made.len(), 1, "{made:?}");
        let folder = &made[0];
        assert_eq!(folder.metadata().unwrap().permissions().mode() & 0o777, 0o700);
        // What others can write is not trusted.
        fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).unwrap();
        let mut command = lab.command(&["check", "text-to-video"]);
        command.env_remove("MUSIVA_CACHE").env_remove("XDG_CACHE_HOME").env("HOME", "/dev/null");
        Outcome::of(command.env("TMPDIR", lab.path("tmp"))).fails(7, &["this user alone can write", "MUSIVA_CACHE"]);
    }
}

#[test]
fn programs_read_json() {
    let lab = Lab::trained();
    let json = |arguments: &[&str]| -> Value {
        let said = lab.run(&[arguments, &["--json"]].concat()).succeeds().out;
        serde_json::from_str(&said).unwrap_or_else(|error| panic!("{arguments:?}: {error} in\n{said}"))
    };
    let made = json(&["generate", "lm.toml", "--prompt", "a red ring moves left", "-o", "a.mp4"]);
    assert_eq!((&made["outputs"][0], &made["seed"]), (&"a.mp4".into(), &0.into()));
    assert_eq!(json(&["check", "lm.toml"])["ok"], true);
    let token = json(&["tokenize", "lm.toml", "a.mp4", "-o", "t.safetensors"]);
    assert_eq!(token["tokens"]["grid"], json(&["inspect", "t.safetensors"])["contents"]["grid"]);
    assert!(json(&["reconstruct", "lm.toml", "a.mp4", "-o", "r.mp4"])["likeness"]["psnr"].is_number());
    assert_eq!(json(&["decode", "lm.toml", "t.safetensors", "-o", "d.mp4"])["output"], "d.mp4");
    assert_eq!(json(&["data", "lm.toml"])["samples"][0]["caption"].as_str().map(str::is_empty), Some(false));
    assert_eq!(json(&["inspect", "a.mp4"])["contents"]["kind"], "pictures");
    assert_eq!(json(&["inspect", "lm.safetensors"])["contents"]["kind"], "tensors");
    assert_eq!(json(&["evaluate", "lm.toml"])["recipe"], "lm");
    let ended = json(&["train", "lm.toml", "--run", "run"]);
    assert_eq!((&ended["weights"], &ended["target"]), (&"run/weights.safetensors".into(), &"backbone".into()));
    assert!(ended["measures"]["loss"].as_f64().is_some_and(f64::is_finite));
    assert!(json(&["plugin", "list"])["plugins"].as_array().is_some_and(Vec::is_empty));
    assert_eq!(json(&["gallery", "lm.toml", "-o", "page.md"])["output"], "page.md");
}

#[test]
fn shells_complete_and_man_reads() {
    let lab = Lab::bare();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = lab.run(&["completions", shell]).succeeds().out;
        assert!(script.contains("reconstruct") && script.contains("overwrite"), "{shell}");
    }
    let page = lab.run(&["man"]).succeeds().out;
    assert!(page.contains(".TH musiva 1") && page.contains("musiva\\-train(1)"), "{page}");
    lab.run(&["man", "-o", "man1"]).succeeds();
    assert!(lab.text("man1/musiva-train.1").contains("\\-\\-resume"));
    assert!(lab.path("man1/musiva-plugin-check.1").is_file() && !lab.path("man1/musiva-plugin-probe.1").exists());
}
