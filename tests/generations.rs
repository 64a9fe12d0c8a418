//! What the shipped weights make stays what it is: the commands of tests/generations.json, run one after the other, make
//! the tokens, pixels and samples that stand beside them.
//!
//! After a change that is meant to alter them, and for a new command, which needs no more than `{"command": "…"}`:
//! `MUSIVA_RENEW=1 cargo test --release --test generations` runs them all and writes the file anew.
//!
//! Processors round sums differently (kernels/src/simd.rs). On the platform that the file names every byte is compared;
//! on another one every code is, and of pixels and samples the means of blocks, which may be one level of 255 apart.

#![allow(clippy::unwrap_used)]

mod lab;

use lab::Lab;
use musiva_core::files::sha256;
use musiva_core::{Clip, Sound, Tokens};
use musiva_media::{ReadOptions, SoundOptions, read_clip, read_sound};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::{env, fs, path::Path};

#[derive(Deserialize)]
struct Record {
    about: String,
    platform: String,
    generations: Vec<Generation>,
}

/// A command and what it makes.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(default)]
struct Generation {
    command: String,
    /// Hash of all tokens that are codes, equal on all platforms.
    codes: String,
    /// Hash of all tokens that are vectors, all pixels and all samples as they are read back: containers hold versions,
    /// too.
    values: String,
    /// Means of blocks of pixels and of samples' magnitudes, a byte each, as hexadecimal digits.
    blocks: String,
}

#[test]
fn shipped_weights_make_what_they_made() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/generations.json");
    let record: Record = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    let (platform, lab) = (platform(), Lab::bare());
    let found: Vec<_> = record.generations.iter().map(|wanted| generate(&lab, &wanted.command)).collect();
    if env::var_os("MUSIVA_RENEW").is_some() {
        let lines: Vec<_> = found.iter().map(|one| serde_json::to_string(one).unwrap()).collect();
        let [about, platform] = [&record.about, &platform].map(|text| serde_json::to_string(text).unwrap());
        let lines = lines.join(",\n");
        let text = format!("{{\n\"about\": {about},\n\"platform\": {platform},\n\"generations\": [\n{lines}\n]\n}}\n");
        return fs::write(file, text).unwrap();
    }
    let exact = platform == record.platform;
    println!("{platform}; recorded on {}: {}", record.platform, if exact { "every byte" } else { "codes and means" });
    let changed: Vec<_> = record.generations.iter().zip(&found).filter_map(|(a, b)| a.differs(b, exact)).collect();
    assert!(changed.is_empty(), "on {platform}, recorded on {}:\n{}", record.platform, changed.join("\n"));
}

impl Generation {
    /// Which part of `found` is not as here, with the command that made it.
    fn differs(&self, found: &Self, exact: bool) -> Option<String> {
        let parts = [
            ("codes", self.codes != found.codes),
            ("vectors, pixels or samples", exact && self.values != found.values),
            ("means of blocks", !near(&self.blocks, &found.blocks)),
        ];
        let names: Vec<_> = parts.iter().filter(|(_, differ)| *differ).map(|(name, _)| *name).collect();
        (!names.is_empty()).then(|| format!("other {}: musiva {}", names.join(", "), self.command))
    }
}

/// Whether no byte is more than one level from its counterpart.
fn near(a: &str, b: &str) -> bool {
    let bytes = |text: &str| -> Vec<u8> {
        (0..text.len()).step_by(2).map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap()).collect()
    };
    let (a, b) = (bytes(a), bytes(b));
    a.len() == b.len() && a.iter().zip(&b).all(|(a, b)| a.abs_diff(*b) <= 1)
}

/// Runs a command, and reads the files that were not there before it.
fn generate(lab: &Lab, command: &str) -> Generation {
    let files = || -> BTreeSet<String> {
        let entries = fs::read_dir(lab.path("")).unwrap().map(|entry| entry.unwrap());
        let names = entries.filter(|entry| entry.path().is_file()).map(|entry| entry.file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    };
    let before = files();
    // What stands between quotes is one word.
    let parts = command.split('\'').enumerate();
    let words: Vec<&str> =
        parts.flat_map(|(i, part)| if i % 2 == 1 { vec![part] } else { part.split_whitespace().collect() }).collect();
    let said = lab.run(&words).succeeds().out;
    let (mut codes, mut values, mut blocks) = (Vec::new(), Vec::new(), Vec::new());
    for name in files().difference(&before) {
        if name.ends_with(".safetensors") {
            let vectors = Tokens::open(&lab.path(name)).unwrap().0.as_vectors().is_ok();
            let into = if vectors { &mut values } else { &mut codes };
            into.extend(lab.values(name));
            continue;
        }
        if !name.ends_with(".wav") {
            let clip = read_clip(lab.path(name), &ReadOptions::default()).unwrap().clip;
            values.extend_from_slice(clip.pixels());
            blocks.extend(clip_blocks(&clip));
        }
        // Silent clips have none; where one is lost, the hash of the values is another.
        if let Ok(opened) = read_sound(lab.path(name), &SoundOptions::default()) {
            values.extend(opened.sound.samples().iter().flat_map(|sample| sample.to_le_bytes()));
            blocks.extend(sound_blocks(&opened.sound));
        }
    }
    assert!(!blocks.is_empty(), "musiva {command}: no new file, but\n{said}");
    let hash = |bytes: &[u8]| sha256(bytes)[..16].to_owned();
    let blocks = blocks.iter().map(|mean| format!("{mean:02x}")).collect();
    Generation { command: command.to_owned(), codes: hash(&codes), values: hash(&values), blocks }
}

/// Means of the three colours over halves of the frames, by quarters of their height and of their width.
fn clip_blocks(clip: &Clip) -> Vec<u8> {
    let ([frames, height, width], [times, rows, columns]) = (clip.shape(), [2, 4, 4]);
    let (mut sums, mut counts) = ([0u64; 2 * 4 * 4 * 3], [0u64; 2 * 4 * 4 * 3]);
    for (i, pixel) in clip.pixels().iter().enumerate() {
        let (t, y, x, c) = (i / (height * width * 3), i / (width * 3) % height, i / 3 % width, i % 3);
        let block = ((t * times / frames * rows + y * rows / height) * columns + x * columns / width) * 3 + c;
        sums[block] += u64::from(*pixel);
        counts[block] += 1;
    }
    // A still has no second half.
    sums.iter()
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .map(|(sum, count)| ((sum + count / 2) / count) as u8)
        .collect()
}

/// Mean magnitudes over 32 pieces, in 255ths of the loudest that a sample can be.
fn sound_blocks(sound: &Sound) -> Vec<u8> {
    let pieces = sound.samples().chunks(sound.samples().len().div_ceil(32));
    let mean = |piece: &[f32]| piece.iter().map(|sample| sample.abs()).sum::<f32>() / piece.len() as f32;
    pieces.map(|piece| (255.0 * mean(piece)).round() as u8).collect()
}

/// What the last bits of a sum depend on: the processor's vectors, and the system's elementary functions.
fn platform() -> String {
    #[cfg(target_arch = "x86_64")]
    let vectors = match () {
        () if is_x86_feature_detected!("avx512f") => "AVX-512",
        () if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") => "AVX2 and FMA",
        () => "neither AVX2 nor FMA",
    };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = "its own vectors";
    let library = if cfg!(target_env = "gnu") { "GNU" } else { "another library" };
    format!("{}, {}, {library}, {vectors}", env::consts::ARCH, env::consts::OS)
}
