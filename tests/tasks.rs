//! Every task by every paradigm, through the command: what is given says what is made.

mod lab;

use lab::{Lab, Outcome};

const RECIPES: [&str; 3] = ["heard-lm.toml", "heard-masked.toml", "heard-dit.toml"];
const PROMPT: &str = "a red ring moves left";

/// A lab with an image, a clip of five frames with sound, the same without, and a sound.
fn lab() -> Lab {
    let lab = Lab::heard();
    let make = |arguments: &[&str]| {
        let all: Vec<&str> =
            ["generate", "heard-lm.toml", "--prompt", PROMPT].iter().chain(arguments).copied().collect();
        lab.run(&all).succeeds()
    };
    make(&["-o", "clip.mp4"]);
    make(&["-o", "clip.gif", "--overwrite"]);
    make(&["--task", "text-to-image", "-o", "image.png"]);
    make(&["-o", "sound.wav"]);
    lab
}

#[test]
fn every_task_is_done_by_every_paradigm() {
    let lab = lab();
    let tasks: [(&[&str], &str, &str); 13] = [
        (&[], "out.mp4", "text-to-video-with-sound"),
        (&[], "out.wav", "text-to-audio"),
        (&["--task", "text-to-image"], "out.png", "text-to-image"),
        (&["--image", "image.png"], "out.gif", "image-to-video"),
        (&["--image", "image.png", "--image", "image.png"], "out.gif", "interpolation"),
        (&["--image", "image.png", "--loop"], "out.gif", "interpolation"),
        (&["--video", "clip.gif", "--extend", "0.5"], "out.gif", "extension"),
        (&["--video", "clip.gif", "--extend-before", "0.5"], "out.gif", "extension-backward"),
        (&["--video", "clip.gif", "--region", "4,4,8,8"], "out.gif", "inpainting"),
        (&["--video", "clip.gif", "--region", "4,4,8,8", "--outside"], "out.gif", "outpainting"),
        (&["--video", "clip.gif"], "out.mp4", "video-to-audio"),
        (&["--audio", "sound.wav"], "out.mp4", "audio-to-video"),
        (&["--video", "clip.mp4", "--audio", "sound.wav", "--extend", "0.5"], "out.mp4", "continuation"),
    ];
    for recipe in RECIPES {
        for (given, file, task) in &tasks {
            let mut arguments = vec!["generate", recipe, "--prompt", PROMPT, "--overwrite", "-o", file];
            arguments.extend(*given);
            let said = lab.run(&arguments).succeeds().out;
            assert!(said.contains(&format!("{task}: prompt")), "{recipe} {task}:\n{said}");
            let first = lab.bytes(file);
            Outcome::of(lab.command(&arguments).env("RAYON_NUM_THREADS", "1")).succeeds();
            assert!(first == lab.bytes(file), "{recipe} {task}: another file for the same seed");
        }
    }
    // Four frames more than five; two rounds, of which each adds two.
    let said = lab.run(&["inspect", "out.mp4"]).succeeds().out;
    assert!(said.contains("musiva.task = continuation"), "{said}");
}

#[test]
fn a_clip_grows_by_as_much_as_was_asked_for() {
    let lab = lab();
    let grown = |arguments: &[&str], says: &str| {
        let all: Vec<&str> = ["generate", "heard-lm.toml", "--video", "clip.gif", "--overwrite", "-o", "out.gif"]
            .iter()
            .chain(arguments)
            .copied()
            .collect();
        let said = lab.run(&all).succeeds().out;
        assert!(said.contains(says), "{says:?} is not in\n{said}");
    };
    // Eight frames a second; a piece adds two.
    grown(&["--extend", "0.125"], "6 frames at 8");
    grown(&["--extend", "1"], "13 frames at 8");
    grown(&["--extend-before", "0.5s"], "9 frames at 8");
    grown(&["--extend", "0.25", "--extend-before", "0.25"], "9 frames at 8");
    let story = ["--extend", "1", "--then", "1:a blue square goes up", "--prompt", PROMPT];
    grown(&story, "13 frames at 8");
    let told = lab.bytes("out.gif");
    grown(&["--extend", "1", "--prompt", PROMPT], "13 frames at 8");
    assert!(told != lab.bytes("out.gif"), "the second prompt changed nothing");
}

#[test]
fn what_does_not_fit_is_refused_with_its_hint_or_adapted_and_said() {
    let lab = lab();
    let refused = |arguments: &[&str], says: &[&str]| {
        let all: Vec<&str> = ["generate", "heard-dit.toml", "-o", "out.mp4"].iter().chain(arguments).copied().collect();
        let outcome = lab.run(&all);
        assert!(outcome.code.is_some_and(|code| code != 0 && code != 101), "{}\n{}", outcome.out, outcome.err);
        for text in says {
            assert!(outcome.err.contains(text), "{arguments:?}: {text:?} is not in\n{}", outcome.err);
        }
    };
    refused(&["--video", "clip.gif", "--region", "10,10,8,8"], &["do not lie within 16×16", "0,0,8,16"]);
    refused(&["--video", "clip.gif", "--region", "1,2,3"], &["X,Y,WIDTH,HEIGHT"]);
    refused(&["--region", "0,0,8,8"], &["--video"]);
    refused(&["--audio", "clip.gif"], &["clip.gif"]);
    refused(&["--audio", "nothing.wav"], &["nothing.wav"]);
    refused(&["--image", "image.png", "--audio", "sound.wav"], &["not trained for what is given", "continuation"]);
    refused(&["--task", "video-to-audio"], &["does not go with what is given"]);
    refused(&["--task", "text-to-smell"], &["no task `text-to-smell`", "text-to-image"]);
    refused(&["--extend=-1"], &["above 0"]);
    refused(&["--image", "image.png", "--image", "image.png", "--image", "image.png"], &["more than two"]);
    // Files of no bytes, and of numbers that are none.
    std::fs::write(lab.path("empty.wav"), []).unwrap();
    refused(&["--audio", "empty.wav"], &["empty.wav"]);
    let mut wave =
        b"RIFF\x34\0\0\0WAVEfmt \x10\0\0\0\x03\0\x01\0\x40\x1f\0\0\0\x7d\0\0\x04\0\x20\0data\x10\0\0\0".to_vec();
    wave.extend([f32::NAN, 0.0, 0.5, 0.25].iter().flat_map(|x| x.to_le_bytes()));
    std::fs::write(lab.path("nan.wav"), wave).unwrap();
    refused(&["--audio", "nan.wav"], &["not a finite number"]);
    // A clip that is too long is cut, and that is said.
    lab.run(&["decode", "audio.toml", "sound.sound.tokens.safetensors", "-o", "again.wav"]).succeeds();
    let short = lab.run(&["generate", "heard-dit.toml", "--video", "clip.gif", "--extend", "1", "-o", "long.gif"]);
    short.succeeds();
    refused(&["--video", "clip.gif", "--mask", "long.gif"], &["a mask of 13 frames for a clip of 5"]);
    let long = lab.run(&["generate", "heard-dit.toml", "--video", "long.gif", "-o", "out.mp4"]).succeeds().out;
    assert!(long.contains("the first 5 of its 13 frames"), "{long}");
}

#[test]
fn an_evaluation_has_a_row_for_each_task_and_one_without_learning() {
    let lab = Lab::heard();
    let json = lab.run(&["evaluate", "heard-masked.toml", "--prompts", "3", "--json"]).succeeds().out;
    let said: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = said["tasks"].as_array().unwrap();
    assert_eq!(rows.len(), 13);
    let row = |task: &str, by: &str| rows.iter().find(|row| row["task"] == task && row["by"] == by).unwrap();
    assert!(row("extension", "backbone")["position"].is_number());
    assert!(
        row("text-to-audio", "backbone")["onsets"].is_null() && row("text-to-audio", "backbone")["pitch"].is_number()
    );
    assert!(row("audio-to-video", "backbone")["onsets"].is_number());
    // It is at its best what the world's own oracle sees.
    assert!(row("video-to-audio", "placed tones")["onsets"].as_f64().unwrap() > 0.5);
    let one = ["evaluate", "heard-masked.toml", "--prompts", "3", "--task", "video-to-audio"];
    let json = lab.run(&[&one[..], &["--json"]].concat()).succeeds().out;
    let alone: serde_json::Value = serde_json::from_str(&json).unwrap();
    let of_it: Vec<_> = rows.iter().filter(|row| row["task"] == "video-to-audio").collect();
    assert_eq!(alone["tasks"].as_array().unwrap().iter().collect::<Vec<_>>(), of_it, "as beside the others");
    assert!(alone.get("reconstruction").is_none() && alone["sound"].is_null());
    assert!(lab.run(&one).succeeds().out.contains("placed tones"));
    lab.run(&["evaluate", "heard-masked.toml", "--task", "video-to-tea"]).fails(8, &["--task", "video-to-audio"]);
    let table = lab.run(&["evaluate", "heard-masked.toml", "--prompts", "2"]).succeeds().out;
    assert!(table.contains("  placed tones  ") && table.contains("how well each task is done"), "{table}");
}

#[test]
fn recipes_stand_side_by_side_where_they_have_the_same_tokens() {
    let lab = Lab::heard();
    let all = [&["evaluate"][..], &RECIPES, &["--prompts", "2", "--json"]].concat();
    let json = lab.run(&all).succeeds().out;
    let together: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(together.as_array().map(Vec::len), Some(3));
    // Beside others the figures are those that it has alone.
    let alone = lab.run(&["evaluate", "heard-dit.toml", "--prompts", "2", "--json"]).succeeds().out;
    let alone: serde_json::Value = serde_json::from_str(&alone).unwrap();
    assert_eq!(together[2]["tasks"], alone["tasks"]);
    assert_eq!(together[0]["sound"], alone["sound"], "all have the same tokenizers, which are measured once");
    assert!(together[2]["sound"].is_null());
    let table = lab.run(&all[..all.len() - 1]).succeeds().out;
    assert_eq!(table.matches("placed tones").count(), 1, "{table}");
    lab.run(&["evaluate", "heard-lm.toml", "lm.toml"]).fails(3, &["differ in `[", "evaluate each by itself"]);
}

#[test]
fn a_gallery_shows_every_task_by_every_recipe() {
    let lab = Lab::heard();
    let all = [&["gallery"][..], &RECIPES, &["--overwrite", "-o", "page.md"]].concat();
    lab.run(&all).succeeds();
    let page = String::from_utf8(lab.bytes("page.md")).unwrap();
    assert_eq!(page.matches("\n## ").count(), 12, "{page}");
    // Everything that the page links to is there, and can be opened.
    let links: Vec<&str> = page.split("](").skip(1).filter_map(|rest| rest.split(')').next()).collect();
    assert_eq!(links.len(), 12 + 5 * 3, "{page}");
    for link in links {
        lab.run(&["inspect", link]).succeeds();
    }
    let first = lab.bytes("page/inpainting.png");
    Outcome::of(lab.command(&all).env("RAYON_NUM_THREADS", "1")).succeeds();
    assert!(first == lab.bytes("page/inpainting.png"));
    lab.run(&["gallery", "heard-lm.toml", "-o", "page.html"]).fails(8, &["page.html", ".md"]);
}
