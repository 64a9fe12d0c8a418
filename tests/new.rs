//! A folder of one's own goes through `new`, `train`, `generate` and `evaluate`.

#![allow(clippy::unwrap_used)]

mod lab;

use lab::Lab;
use musiva_core::{Clip, Rate, Sound};
use musiva_media::{Metadata, ReadOptions, WriteOptions, read_clip, write_movie};
use std::{f32::consts::TAU, fs};

/// Six clips of a second and a half, each of its own grey and its own tone, with captions.
fn clips(lab: &Lab) {
    fs::create_dir_all(lab.path("my clips/more")).unwrap();
    for (i, name) in (1u8..).zip(["a", "b", "c", "d", "more/e", "more/f"]) {
        let clip = Clip::new([36, 32, 48], Rate::whole(24), vec![40 * i; 36 * 32 * 48 * 3]).unwrap();
        let tone = |k: usize| (TAU * 220.0 * f32::from(i) * k as f32 / 22_050.0).sin() * 0.5;
        let sound = Sound::new(1, Rate::whole(22_050), (0..33_075).map(tone).collect()).unwrap();
        let path = lab.path(&format!("my clips/{name}.mp4"));
        write_movie(&path, &clip, &sound, &Metadata::new(), &WriteOptions::default()).unwrap();
        fs::write(path.with_extension("txt"), format!("it's grey number {i}, with a tone\n")).unwrap();
    }
}

/// The words of a command line, as a shell reads them.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut quoted, mut word) = (Vec::new(), false, String::new());
    let mut letters = line.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '\'' => quoted = !quoted,
            '\\' if !quoted => word.extend(letters.next()),
            ' ' if !quoted => words.push(std::mem::take(&mut word)),
            letter => word.push(letter),
        }
    }
    words.push(word);
    words
}

/// The commands that `new` says are to come, without `musiva`.
fn to_come(said: &str) -> Vec<Vec<String>> {
    said.lines().filter_map(|line| line.strip_prefix("  musiva ")).map(words).collect()
}

/// Runs them, with as few steps and clips as there can be.
fn run_all(lab: &Lab, commands: &[Vec<String>]) {
    for command in commands {
        let mut command: Vec<&str> = command.iter().map(String::as_str).collect();
        match command[0] {
            "train" => {
                lab.run(&["check", command[1]]).succeeds();
                command.extend(["--steps", "2", "--set", "train.sample_every=0"]);
            }
            "evaluate" => command.extend(["--prompts", "1"]),
            _ => {}
        }
        lab.run(&command).succeeds();
    }
}

#[test]
fn clips_with_sound_go_from_the_folder_to_a_film() {
    let lab = Lab::bare();
    clips(&lab);
    let said = lab.run(&["new", "my clips", "-o", "mine", "--hours", "0.01"]).succeeds().out;
    for text in ["6 clips (6 with sound)", "6 captions", "recipes for text-to-video", "tokenizer.video: ", "backbone: "]
    {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    let commands = to_come(&said);
    let kinds: Vec<&str> = commands.iter().map(|command| &*command[0]).collect();
    assert_eq!(kinds, ["train", "train", "train", "generate", "evaluate"]);
    assert!(commands[3].contains(&"it's grey number 1, with a tone".to_owned()), "{:?}", commands[3]);
    // 24 frames a second are 12, of which a clip has 18: a window of 17, of pictures in whole tokens.
    let data = lab.text("mine/data.toml");
    for text in ["path = \"../my clips\"", "frames = 17", "size = [32, 48]", "fps = 12", "sound = 16000"] {
        assert!(data.contains(text), "{text:?} is not in\n{data}");
    }
    run_all(&lab, &commands);
    let made = read_clip(lab.path("out.mp4"), &ReadOptions::default()).unwrap().clip;
    // 32×48 pixels, enlarged until people see something.
    assert_eq!((made.shape(), made.rate()), ([17, 256, 384], Rate::whole(12)));
    lab.run(&["new", "my clips", "-o", "mine"]).fails(7, &["data.toml: it is there already", "--overwrite"]);
}

#[test]
fn sounds_alone_go_from_the_folder_to_a_sound() {
    let lab = Lab::bare();
    clips(&lab);
    let said =
        lab.run(&["new", "my clips", "-o", "mine", "--for", "audio-continuation", "--hours", "0.01"]).succeeds().out;
    let commands = to_come(&said);
    assert_eq!(commands.len(), 4, "{said}");
    run_all(&lab, &commands);
    assert!(lab.path("longer.wav").is_file());
}

#[test]
fn every_purpose_in_every_paradigm_is_a_recipe() {
    let lab = Lab::bare();
    clips(&lab);
    for purpose in [
        "text-to-image",
        "text-to-video",
        "image-to-video",
        "video-to-audio",
        "audio-to-video",
        "text-to-audio",
        "audio-continuation",
    ] {
        for paradigm in ["lm", "masked", "dit"] {
            let out = format!("{purpose}-{paradigm}");
            lab.run(&["new", "my clips", "-o", &out, "--for", purpose, "--paradigm", paradigm]).succeeds();
            for tokenizer in ["tokenizer-video", "tokenizer-audio"] {
                let recipe = format!("{out}/{tokenizer}.toml");
                if lab.path(&recipe).exists() {
                    lab.run(&["check", &recipe]).succeeds();
                }
            }
            // Its tokenizers are to be trained first; nothing else is wrong with it.
            lab.run(&["check", &format!("{out}/model.toml")]).fails(5, &["its weights are not usable"]);
        }
    }
}

#[test]
fn what_a_folder_does_not_hold_is_said() {
    let lab = Lab::bare();
    fs::create_dir(lab.path("empty")).unwrap();
    lab.run(&["new", "nowhere"]).fails(4, &["there is no such folder"]);
    lab.run(&["new", "empty"]).fails(4, &["no clips, pictures or sounds", "hint"]);
    assert!(!lab.path("empty-model").exists());
    lab.run(&["new", "empty", "--for", "films"]).fails(2, &["text-to-video"]);
    lab.run(&["new", "empty", "--hours", "0"]).fails(8, &["--hours"]);
}
