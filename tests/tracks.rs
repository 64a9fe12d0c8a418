//! What a canvas of tracks can say, from end to end: each recipe of recipes/debug about it trains two steps and generates.

#![allow(clippy::unwrap_used)]

mod lab;

use lab::{Lab, Outcome};
use musiva_core::{Rate, RngKey, Timing};
use musiva_data::world::{Split, World, WorldConfig, WorldStream};
use musiva_media::{Metadata, ReadOptions, SoundOptions, read_clip, read_sound, write_clip_with};
use std::path::Path;

/// The path of a debug recipe.
fn recipe(name: &str) -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("recipes/debug/{name}.toml")).display().to_string()
}

/// A lab in which a debug recipe has been trained for two steps; and the `--set` that names its weights.
fn trained(name: &str) -> (Lab, String) {
    let lab = Lab::bare();
    lab.run(&["train", &recipe(name), "--run", "run", "--steps", "2"]).succeeds();
    (lab, "backbone.weights=run/weights.safetensors".to_owned())
}

/// What a command said that was refused, and did not break.
#[track_caller]
fn refused(outcome: Outcome) -> String {
    assert!(outcome.code.is_some_and(|code| code != 0 && code != 101), "{}\n{}", outcome.out, outcome.err);
    outcome.err
}

#[test]
fn a_sound_is_as_long_as_its_clip_to_the_sample_whatever_the_rates() {
    for (fps, rate) in [(30, 16_000), (25, 24_000), (8, 44_100)] {
        let name = format!("world-{fps}fps-{rate}hz");
        let (lab, weights) = trained(&name);
        lab.run(&["generate", &recipe(&name), "--set", &weights, "-o", "a.mp4"]).succeeds();
        let clip = read_clip(lab.path("a.mp4"), &ReadOptions::default()).unwrap().clip;
        let sound = read_sound(lab.path("a.mp4"), &SoundOptions::default()).unwrap().sound;
        let timing = Timing::new(Rate::whole(fps), Rate::whole(rate));
        assert_eq!((clip.frames(), clip.rate()), (17, Rate::whole(fps)));
        assert_eq!((sound.length(), sound.rate()), (timing.samples(0..17).len(), Rate::whole(rate)), "{name}");
        // And so is what goes on: half a second is a number of frames, and those are a number of samples.
        lab.run(&["generate", &recipe(&name), "--set", &weights, "--extend", "0.5", "-o", "b.mp4"]).succeeds();
        let clip = read_clip(lab.path("b.mp4"), &ReadOptions::default()).unwrap().clip;
        let sound = read_sound(lab.path("b.mp4"), &SoundOptions::default()).unwrap().sound;
        let frames = 17 + (0.5 * f64::from(fps)).round() as usize;
        assert_eq!((clip.frames(), sound.length()), (frames, timing.samples(0..frames).len()), "{name}");
    }
}

#[test]
fn a_model_of_three_shapes_makes_a_fourth_and_one_of_a_single_shape_does_not() {
    for kind in ["lm", "masked", "dit"] {
        let name = format!("world-shapes-{kind}");
        let (lab, weights) = trained(&name);
        let shape = ["--size", "48,64", "--frames", "13"];
        let file = recipe(&name);
        let command = ["generate", &file, "--set", &weights, "-o", "a.gif", "--scale", "1"];
        lab.run(&[&command[..], &shape].concat()).succeeds();
        let clip = read_clip(lab.path("a.gif"), &ReadOptions::default()).unwrap().clip;
        assert_eq!(clip.shape(), [13, 48, 64], "{kind}");
        let image = ["--image", "a.gif", "-o", "b.gif", "--size", "32,32", "--frames", "9", "--scale", "1"];
        lab.run(&[&["generate", &recipe(&name), "--set", &weights][..], &image].concat()).succeeds();
        let clip = read_clip(lab.path("b.gif"), &ReadOptions::default()).unwrap().clip;
        assert_eq!(clip.shape(), [9, 32, 32], "{kind}");
    }
    let said = refused(Lab::bare().run(&["generate", "text-to-video-lm", "--frames", "9", "-o", "a.gif"]));
    assert!(said.contains("vector for each position") && said.contains("positions = \"rotary\""), "{said}");
}

#[test]
fn a_shape_is_drawn_by_the_number_of_the_step_alone() {
    let lab = Lab::bare();
    let file = recipe("world-shapes-lm");
    lab.run(&["train", &file, "--run", "whole", "--set", "train.checkpoint_every=3"]).succeeds();
    // Stopped after three steps and gone on with: the same weights, bit by bit.
    let parts = ["train", &file, "--run", "parts", "--set", "train.checkpoint_every=3"];
    lab.run(&[&parts[..], &["--steps", "3"]].concat()).succeeds();
    let resume = ["train", &file, "--resume", "parts", "--set", "train.checkpoint_every=3"];
    lab.run(&resume).succeeds();
    let [whole, parts] = ["whole", "parts"].map(|run| lab.values(&format!("{run}/weights.safetensors")));
    assert!(whole == parts);
}

#[test]
fn a_clip_comes_of_its_depth_and_of_itself_made_small() {
    let config = WorldConfig { streams: vec![WorldStream::Depth, WorldStream::LowRes], ..WorldConfig::default() };
    let world = World::open(&config).unwrap();
    let key = RngKey::new(3).sample(1);
    let sample = world.scene(key, Split::Test).sample(key, String::new());
    for kind in ["lm", "masked", "dit"] {
        let name = format!("world-streams-{kind}");
        let (lab, weights) = trained(&name);
        for (track, clip) in &sample.streams {
            let (file, out) = (format!("{track}.gif"), format!("of-{track}.gif"));
            write_clip_with(&lab.path(&file), clip, &Metadata::new(), &Default::default()).unwrap();
            let stream = format!("{track}={file}");
            let generate = ["generate", &recipe(&name), "--set", &weights, "--stream", &stream, "-o", &out];
            let said = lab.run(&generate).succeeds().out;
            assert!(said.contains(&format!("{}-to-video", track.replace('_', "-"))), "{said}");
            let made = read_clip(lab.path(&out), &ReadOptions::default()).unwrap().clip;
            assert_eq!(made.frames(), 17);
        }
        write_clip_with(&lab.path("clip.gif"), &sample.clip.clone().unwrap(), &Metadata::new(), &Default::default())
            .unwrap();
        let generate = ["generate", &recipe(&name), "--set", &weights, "--video", "clip.gif", "-o", "seen.gif"];
        let said = lab.run(&generate).succeeds().out;
        assert!(said.contains("video-to-depth"), "{said}");
        let wrong = ["generate", &recipe(&name), "--set", &weights, "--stream", "dept=clip.gif", "-o", "x.gif"];
        let said = refused(lab.run(&wrong));
        assert!(said.contains("no stream `dept`") && said.contains("`depth`"), "{said}");
    }
}

#[test]
fn a_track_may_have_a_tokenizer_of_its_own() {
    let lab = Lab::bare();
    for seed in ["1", "2"] {
        let run = ["train", &recipe("tokenizer-video"), "--steps", "2", "--run", &format!("tokenizer-{seed}")];
        lab.run(&[&run[..], &["--set", &format!("train.seed={seed}")]].concat()).succeeds();
    }
    let own = |table: &str| {
        format!(
            "schema = 1\nextends = {:?}\n\n[tokenizer.{table}]\nkind = \"magvit2\"\npatch = 4\nstages = [\n    \
             {{ channels = 8, blocks = 1, frames = 1, down = [1, 2, 2] }},\n    \
             {{ channels = 12, blocks = 1, frames = 3, down = [2, 1, 1] }},\n    \
             {{ channels = 16, blocks = 1, frames = 3, down = [2, 1, 1] }},\n    \
             {{ channels = 16, blocks = 1, frames = 3 }},\n]\nquantizer = {{ kind = \"lfq\", bits = 6 }}\n\
             weights = \"tokenizer-1/weights.safetensors\"\n",
            recipe("world-streams-lm")
        )
    };
    std::fs::write(lab.path("own.toml"), own("depth")).unwrap();
    let said = lab.run(&["check", "own.toml"]).succeeds().out;
    assert!(said.contains("`depth`, by its own tokenizer") && said.contains("parameters of tokenizer.depth"), "{said}");
    assert!(said.contains("`low_res`, by the same tokenizer"), "{said}");
    lab.run(&["train", "own.toml", "--run", "run", "--steps", "2"]).succeeds();
    let generate = |out: &str, more: &[&str]| {
        let command = ["generate", "own.toml", "--set", "backbone.weights=run/weights.safetensors", "-o", out];
        lab.run(&[&command[..], more].concat())
    };
    lab.run(&["generate", "world-lm", "--prompt", "a red ring", "-o", "ring.gif"]).succeeds();
    generate("depth.gif", &["--video", "ring.gif", "--task", "video-to-depth"]).succeeds();
    generate("clip.gif", &["--stream", "depth=depth.gif"]).succeeds();
    let clip = read_clip(lab.path("clip.gif"), &ReadOptions::default()).unwrap().clip;
    assert_eq!(clip.frames(), 17);
    // The weights of the backbone know which tokenizer each track had.
    let other = ["--stream", "depth=depth.gif", "--set", "tokenizer.depth.weights=tokenizer-2/weights.safetensors"];
    let said = refused(generate("x.gif", &other));
    assert!(said.contains("trained with another `tokenizer.depth`"), "{said}");
    // Those of a tokenizer know what it is, wherever it stands.
    let fsq = "tokenizer.depth.quantizer={ kind = \"fsq\", levels = [4, 4, 4] }";
    let said = refused(generate("x.gif", &["--stream", "depth=depth.gif", "--set", fsq]));
    assert!(said.contains("trained with `tokenizer.depth.quantizer"), "{said}");
    // A misspelt name is found.
    std::fs::write(lab.path("own.toml"), own("dept")).unwrap();
    let said = refused(lab.run(&["check", "own.toml"]));
    assert!(said.contains("did you mean `[tokenizer.depth]`?"), "{said}");
}

#[test]
fn clips_and_sounds_are_told_in_words() {
    for kind in ["lm", "masked"] {
        let name = format!("captions-{kind}");
        let (lab, weights) = trained(&name);
        let generate = |input: [&str; 2], out: &str| {
            lab.run(&["generate", &recipe(&name), "--set", &weights, input[0], input[1], "-o", out]).succeeds().out
        };
        lab.run(&["generate", "world-lm", "--prompt", "a red ring moves left", "-o", "clip.mp4"]).succeeds();
        assert!(generate(["--video", "clip.mp4"], "a.txt").contains("video-captioning"));
        assert!(generate(["--audio", "clip.mp4"], "b.txt").contains("audio-captioning"));
        // Two steps teach no words, but that there are some, and that a seed makes them.
        let first = lab.text("a.txt");
        assert!(first.ends_with('\n') && first.len() > 3, "{first:?}");
        generate(["--video", "clip.mp4"], "c.txt");
        assert_eq!(lab.text("c.txt"), first);
    }
}

#[test]
fn a_number_changes_what_is_made_and_a_wrong_one_is_refused() {
    for kind in ["lm", "masked", "dit"] {
        let name = format!("condition-{kind}");
        let lab = Lab::bare();
        // What numbers add starts as nothing: it takes steps that are large enough to matter.
        let train = ["train", &recipe(&name), "--run", "run", "--set", "train.learning_rate=0.1"];
        lab.run(&train).succeeds();
        let generate = |condition: &str, out: &str| {
            let weights = "backbone.weights=run/weights.safetensors";
            lab.run(&["generate", &recipe(&name), "--set", weights, "--condition", condition, "-o", out])
        };
        for (condition, out) in [("fps=2", "a.gif"), ("fps=29", "b.gif"), ("fps=2", "c.gif")] {
            generate(condition, out).succeeds();
        }
        let [a, b, c] = ["a", "b", "c"].map(|name| lab.values(&format!("{name}.tokens.safetensors")));
        assert!(a == c && a != b, "{kind}");
        for (condition, words) in
            [("fps=31", "from 1 to 30"), ("fsp=3", "name one of fps, speed"), ("fps=NaN", "outside")]
        {
            let said = refused(generate(condition, "x.gif"));
            assert!(said.contains(words), "{said}");
        }
    }
}

#[test]
fn weights_that_are_not_what_the_recipe_says_are_refused_with_both_values() {
    let lab = Lab::bare();
    let name = "condition-dit";
    lab.run(&["train", &recipe(name), "--run", "run", "--steps", "2"]).succeeds();
    let weights = "backbone.weights=run/weights.safetensors";
    let cases = [
        ("objective.predict=data", "`objective.predict = \"velocity\"`, the recipe says \"data\""),
        ("condition.speed.range=[0.0, 20.0]", "0 to 10"),
        ("data.size=[48, 80]", "[5, 8, 8] = 320"),
    ];
    for (set, words) in cases {
        let at = ["--set", weights, "--set", set];
        let said = refused(lab.run(&[&["generate", &recipe(name), "-o", "a.gif"][..], &at].concat()));
        assert!(said.contains(words) && said.contains("--force-weights"), "{set}: {said}");
        let checked = lab.run(&[&["check", &recipe(name)][..], &at].concat());
        let said = checked.out + &checked.err;
        assert!(said.contains(words), "{set}: {said}");
        let start = [&at[2..], &["--set", "train.start=run/weights.safetensors", "--run", "other"]].concat();
        let said = refused(lab.run(&[&["train", &recipe(name)][..], &start].concat()));
        assert!(said.contains(words), "{set}: {said}");
    }
    // At one's own risk it goes, and the file says so.
    let force = ["generate", &recipe(name), "--set", weights, "--set", cases[0].0, "--force-weights", "-o", "a.gif"];
    let ran = lab.run(&force).succeeds();
    assert!(ran.err.contains("--force-weights"), "{}", ran.err);
    assert!(lab.run(&["inspect", "a.gif"]).succeeds().out.contains("musiva.weights.forced = true"));
    // A number that is none is found before it is computed with.
    let mut bytes = std::fs::read(lab.path("run/weights.safetensors")).unwrap();
    let end = bytes.len();
    bytes[end - 4..].copy_from_slice(&f32::NAN.to_le_bytes());
    std::fs::write(lab.path("nan.safetensors"), bytes).unwrap();
    let nan = ["generate", &recipe(name), "--set", "backbone.weights=nan.safetensors", "-o", "n.gif"];
    let said = refused(lab.run(&nan));
    assert!(said.contains("NaN, which is not a finite number"), "{said}");
}
