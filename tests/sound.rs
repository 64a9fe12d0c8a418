//! Sounds through the command: files to tokens and back, and how good they are.

#![allow(clippy::unwrap_used)]

mod lab;

use lab::{Lab, Outcome};
use musiva_core::{Rate, Sound, Tokens};
use musiva_media::{Metadata, SoundOptions, read_sound, write_sound};
use std::fs::{self, File};

/// Half a second of a stereo tone at a rate that is not the recipe's.
fn tone(lab: &Lab) {
    let sample = |i: usize| 0.3 * (std::f32::consts::TAU * 440.0 * (i / 2) as f32 / 44_100.0).sin();
    let sound = Sound::new(2, Rate::whole(44_100), (0..44_100).map(sample).collect()).unwrap();
    write_sound(lab.path("tone.wav"), &sound, &Metadata::new()).unwrap();
}

#[test]
fn a_sound_goes_through_the_tokenizer_and_back() {
    let lab = Lab::trained();
    tone(&lab);
    let said = lab.run(&["reconstruct", "audio.toml", "tone.wav", "-o", "again.wav"]).succeeds().out;
    for text in
        ["2 channels, 44100 Hz", "the mean of all channels", "44100 \u{2192} 8000 Hz", "tokens [40, 1, 1]", "SI-SNR"]
    {
        assert!(said.contains(text), "{text:?} is not in\n{said}");
    }
    let again = read_sound(lab.path("again.wav"), &SoundOptions::default()).unwrap().sound;
    assert_eq!((again.shape(), again.rate()), ([4000, 1], Rate::whole(8000)));
    lab.run(&["reconstruct", "audio.toml", "tone.wav", "-o", "compare.png"]).succeeds();
    let said = lab.run(&["inspect", "again.wav"]).succeeds().out;
    assert!(said.contains("8000 Hz, 0.50 s") && said.contains("musiva.recipe = audio"), "{said}");
}

#[test]
fn saved_tokens_are_the_sound_that_reconstruct_makes() {
    let lab = Lab::trained();
    tone(&lab);
    lab.run(&["tokenize", "audio.toml", "tone.wav", "-o", "tone.safetensors"]).succeeds();
    assert_eq!(Tokens::open(&lab.path("tone.safetensors")).unwrap().0.grid(), [40, 1, 1]);
    lab.run(&["decode", "audio.toml", "tone.safetensors", "-o", "decoded.flac"]).succeeds();
    lab.run(&["reconstruct", "audio.toml", "tone.wav", "-o", "again.flac"]).succeeds();
    let samples = |name: &str| read_sound(lab.path(name), &SoundOptions::default()).unwrap().sound;
    assert_eq!(samples("decoded.flac"), samples("again.flac"));
    // The vectors that the codes stand for are the same sound.
    let vectors = "--set=tokenizer.audio.quantizer.tokens=vectors";
    lab.run(&["tokenize", "audio.toml", "tone.wav", vectors, "-o", "vectors.safetensors"]).succeeds();
    let tokens = Tokens::open(&lab.path("vectors.safetensors")).unwrap().0;
    assert_eq!((tokens.grid(), tokens.as_vectors().unwrap().len() % 40), ([40, 1, 1], 0));
    lab.run(&["decode", "audio.toml", "vectors.safetensors", vectors, "-o", "vectors.flac"]).succeeds();
    assert_eq!(samples("vectors.flac"), samples("decoded.flac"));
}

#[test]
fn a_stream_has_the_codes_and_the_sound_of_the_file() {
    let lab = Lab::trained();
    tone(&lab);
    // At the recipe's rate already: half a second and a little more than a token.
    let samples: Vec<f32> = (0..4130).map(|i| 0.25 * (0.3 * i as f32).sin()).collect();
    let pcm: Vec<u8> = samples.iter().flat_map(|x| ((x * 32_768.0).round() as i16).to_le_bytes()).collect();
    let sound = Sound::new(1, Rate::whole(8000), samples).unwrap();
    write_sound(lab.path("sine.wav"), &sound, &Metadata::new()).unwrap();
    lab.run(&["tokenize", "audio.toml", "sine.wav", "-o", "sine.safetensors"]).succeeds();
    let (tokens, _) = Tokens::open(&lab.path("sine.safetensors")).unwrap();
    let (lines, said) = lab.pipe(&["tokenize", "audio.toml", "--stream"], &pcm);
    let streamed: Vec<Vec<u32>> =
        lines.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect();
    assert_eq!(streamed.concat(), tokens.as_codes().unwrap());
    assert!(said.contains("times real time"), "{said}");

    lab.run(&["decode", "audio.toml", "sine.safetensors", "-o", "sine-again.wav"]).succeeds();
    let whole = read_sound(lab.path("sine-again.wav"), &SoundOptions::default()).unwrap().sound;
    let (pcm, _) = lab.pipe(&["decode", "audio.toml", "--stream"], &lines);
    let streamed: Vec<f32> =
        pcm.chunks_exact(2).map(|two| f32::from(i16::from_le_bytes([two[0], two[1]])) / 32_768.0).collect();
    let far = whole.samples().iter().zip(&streamed).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(streamed.len() == whole.length() && far <= 1.0 / 32_000.0, "{far} apart");

    let mut command = lab.command(&["decode", "audio.toml", "--stream"]);
    fs::write(lab.path("bad.jsonl"), "[1, 2]\n[1, 8]\n").unwrap();
    Outcome::of(command.stdin(File::open(lab.path("bad.jsonl")).unwrap()))
        .fails(5, &["standard input, line 2", "code 8 is not in a codebook of 8 entries"]);
}

#[test]
fn evaluate_measures_each_number_of_levels_and_what_the_ear_hears() {
    let lab = Lab::trained();
    let json = lab.run(&["evaluate", "audio.toml", "--json"]).succeeds().out;
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    let sound = &found["sound"];
    assert_eq!(sound["n"], 5);
    assert_eq!(sound["tokens_per_second"], 80.0);
    let levels: Vec<f64> =
        sound["levels"].as_array().unwrap().iter().map(|row| row["bits_per_second"].as_f64().unwrap()).collect();
    assert_eq!(levels, [240.0, 480.0]);
    assert!(sound["heard"]["onsets"].is_number() && found.get("reconstruction").is_none());
    let text = lab.run(&["evaluate", "audio.toml"]).succeeds().out;
    assert!(text.contains("5 held-out sounds reconstructed, 80 tokens a second"), "{text}");
}

#[test]
fn a_switch_for_noise_is_learnt_measured_and_used() {
    let lab = Lab::trained();
    tone(&lab);
    let recipe = "schema = 1\nextends = \"audio.toml\"\nname = \"denoise\"\n\
                  [tokenizer.audio]\nfilm = { denoise = true }\nweights = \"denoise.safetensors\"\n\
                  [train]\nstart = \"audio.safetensors\"\ngrow = true\nlearning_rate = 0.05\n[train.noise]\n";
    fs::write(lab.path("denoise.toml"), recipe).unwrap();
    lab.run(&["train", "denoise.toml", "--run", "run", "--steps", "9"]).succeeds();
    assert!(lab.text("run/metrics.jsonl").contains("si_snr_denoised"));
    fs::copy(lab.path("run/weights.safetensors"), lab.path("denoise.safetensors")).unwrap();

    let off = "--set=tokenizer.audio.film.denoise=false";
    lab.run(&["reconstruct", "denoise.toml", "tone.wav", "-o", "on.wav"]).succeeds();
    lab.run(&["reconstruct", "denoise.toml", "tone.wav", "-o", "off.wav", off]).succeeds();
    let samples = |name: &str| read_sound(lab.path(name), &SoundOptions::default()).unwrap().sound;
    assert_ne!(samples("on.wav"), samples("off.wav"));
    // What was encoded without noise is decoded whichever way the switch is.
    lab.run(&["tokenize", "denoise.toml", "tone.wav", "-o", "on.safetensors"]).succeeds();
    lab.run(&["decode", "denoise.toml", "on.safetensors", "-o", "decoded.wav", off]).succeeds();
    assert_eq!(samples("decoded.wav"), samples("on.wav"));

    let json = lab.run(&["evaluate", "denoise.toml", "--json"]).succeeds().out;
    let found: serde_json::Value = serde_json::from_str(&json).unwrap();
    let rows = found["denoised"].as_array().unwrap();
    assert_eq!(rows.iter().map(|row| row["snr"].as_f64().unwrap()).collect::<Vec<_>>(), [20.0, 10.0, 0.0]);
    for row in rows {
        // Noise is at right angles to the sound, or nearly.
        let [snr, noisy] = [&row["snr"], &row["noisy"]["si_snr"]].map(|value| value.as_f64().unwrap());
        assert!((snr - noisy).abs() < 1.5, "{row}");
        assert_eq!(row["n"], 5);
    }
    let text = lab.run(&["evaluate", "denoise.toml"]).succeeds().out;
    assert!(text.contains("5 held-out sounds with noise") && text.contains("flag off"), "{text}");
    let json = lab.run(&["evaluate", "audio.toml", "--json"]).succeeds().out;
    assert!(!json.contains("denoised"), "{json}");
}

#[test]
fn what_does_not_fit_is_said() {
    let lab = Lab::trained();
    tone(&lab);
    lab.run(&["reconstruct", "video.toml", "tone.wav", "-o", "a.wav"])
        .fails(8, &["no `[tokenizer.audio]` for a .wav", "name it like out.mp4"]);
    lab.run(&["reconstruct", "audio.toml", "tone.wav", "-o", "a.mp4"]).fails(8, &["no `[tokenizer.video]` for a .mp4"]);
    // An ffmpeg, where there is one, would be asked what it makes of it.
    let mut alone = lab.command(&["reconstruct", "audio.toml", "audio.toml", "-o", "a.wav"]);
    Outcome::of(alone.env("PATH", "")).fails(8, &["none of WAV, FLAC"]);
    lab.run(&["train", "audio.toml", "--set", "train.samples=30", "--set", "tokenizer.audio.strides=[2, 2]"])
        .fails(3, &["set `train.samples = 64` or more"]);
    lab.run(&["check", "audio.toml", "--set", "data.fps=0"]).fails(3, &["fps"]);
}
