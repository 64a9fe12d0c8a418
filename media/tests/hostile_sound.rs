//! Files of sound that lie, break off or were struck by lightning: an error or a sound, never a panic.

#![allow(clippy::unwrap_used)]

mod common;

use common::{square, tones};
use musiva_core::{Rate, Result, Sound};
use musiva_media::{
    Metadata, SampleFormat, SoundOptions, SoundReader, WriteOptions, metadata_of_bytes, write_movie, write_sound_with,
};
use proptest::prelude::*;
use std::{path::Path, sync::LazyLock};

const NAMES: [&str; 8] = ["a.wav", "float.wav", "a.flac", "a.mp4", "many.wav", "tones.m4a", "tones.mp3", "tones.ogg"];

static FILES: LazyLock<[Vec<u8>; 8]> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let words = Metadata::new().with("musiva.seed", "7").unwrap();
    let sound = tones(2, 9001, 16_000);
    NAMES.map(|name| {
        let path = folder.path().join(name);
        match name {
            "a.wav" | "a.flac" => write_sound_with(&path, &sound, &words, SampleFormat::I16).unwrap(),
            "float.wav" => write_sound_with(&path, &sound, &words, SampleFormat::F32).unwrap(),
            "many.wav" => write_sound_with(&path, &tones(5, 500, 8000), &words, SampleFormat::I24).unwrap(),
            "a.mp4" => {
                let clip = square(5, 32, 32, Rate::whole(8));
                write_movie(&path, &clip, &sound, &words, &WriteOptions::default()).unwrap();
            }
            name => {
                let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
                std::fs::copy(from, &path).map(|_| ()).unwrap();
            }
        }
        std::fs::read(path).unwrap()
    })
});

fn read(bytes: Vec<u8>) -> Result<Sound> {
    let _ = metadata_of_bytes(bytes.clone());
    let mut reader = SoundReader::from_bytes(bytes)?;
    let sound = reader.read(&SoundOptions { max_samples: 1 << 18, ..Default::default() });
    // From wherever a damaged file says it can.
    if reader.seek(5000).is_ok() {
        let _ = reader.next(&mut vec![0.0; 1000 * reader.info().channels]);
    }
    sound
}

#[test]
fn every_cut_is_noticed() {
    for (name, file) in NAMES.iter().zip(FILES.iter()) {
        let whole = read(file.clone()).unwrap();
        for length in (0..file.len()).step_by(1 + file.len() / 300) {
            match read(file[..length].to_vec()) {
                Err(_) => {}
                // Ogg states its length on its last page, whichever that is; the last packet of an MP3 may
                // hold nothing but what fills it up.
                Ok(cut) => {
                    let short = *name == "tones.ogg" && cut.length() < whole.length();
                    assert!(
                        short || cut == whole && length + 512 > file.len(),
                        "{name} cut at {length} of {}",
                        file.len()
                    );
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn flipped_bytes_are_survived(index in 0..NAMES.len(), flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut file = FILES[index].clone();
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        let _ = read(file);
    }

    #[test]
    fn heads_are_mistrusted(index in 0..NAMES.len(), at in 0usize..200, value in prop::sample::select(vec![0u32, 1, 0x7fff_ffff, 0xffff_ffff, 0x10000, 0xff00])) {
        let mut file = FILES[index].clone();
        file[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let _ = read(file);
    }

    #[test]
    fn the_index_is_mistrusted(at in any::<prop::sample::Index>(), value in prop::sample::select(vec![0u32, 1, 0x7fff_ffff, 0xffff_ffff, 0x10000])) {
        let mut file = FILES[3].clone();
        let end = file.windows(4).position(|kind| kind == b"mdat").unwrap() - 8;
        let at = at.index(end);
        file[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let _ = read(file);
    }

    #[test]
    fn noise_is_no_sound(kind in 0usize..6, noise in prop::collection::vec(any::<u8>(), 0..400)) {
        let magic: [&[u8]; 6] = [b"RIFF\xff\xff\0\0WAVEfmt ", b"fLaC\x80\0\0\x22", b"OggS\0\x02", b"ID3\x04\0\0\0\0\x01\x01", b"\xff\xfb\x90\x64", b"\0\0\0\x10ftypM4A "];
        let _ = read([magic[kind], &noise].concat());
    }
}

#[test]
fn declared_sizes_are_not_believed() {
    // A WAV that says that it holds 4 GB, in eight channels, and ends after its head.
    let mut wav = FILES[0][..60].to_vec();
    wav[4..8].copy_from_slice(&[0xff; 4]);
    assert!(read(wav).is_err());
    // 2³⁶ − 1 samples in a FLAC of a few kilobytes: more than the limit, before anything is read.
    let mut flac = FILES[2].clone();
    flac[21] |= 0x0f;
    flac[22..26].copy_from_slice(&[0xff; 4]);
    let refused = read(flac).unwrap_err().to_string();
    assert!(refused.contains("limit"), "{refused}");
}

#[test]
fn numbers_that_are_none_are_refused() {
    let mut file = FILES[1].clone();
    // Of 9,001 samples of two channels the seventh number from the end.
    let data = file.windows(4).position(|kind| kind == b"data").unwrap() + 8;
    let at = data + 4 * (2 * 9001 - 7);
    for value in [f32::NAN, f32::INFINITY] {
        file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        let refused = read(file.clone()).unwrap_err().to_string();
        assert!(refused.contains("sample 8997"), "{refused}");
    }
}
