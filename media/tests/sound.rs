//! Sound that is written is read back; sound of others is read as it is.

#![allow(clippy::unwrap_used)]

mod common;

use common::{is_there, noise, rounded, shared, sine_in, tones};
use musiva_core::{Rate, Sound};
use musiva_media::{
    Format, Metadata, SampleFormat, SoundOptions, SoundReader, read_clip, read_metadata, read_sound, write_sound,
    write_sound_with,
};
use proptest::prelude::*;
use std::{path::Path, process::Command};

fn metadata() -> Metadata {
    let words = Metadata::new().with("musiva.prompt", "Regen — 雨 🌧 = laut\nzweite Zeile").unwrap();
    words.with("musiva.seed", "7").unwrap().with("musiva.note", "x".repeat(701)).unwrap()
}

fn bytes(sound: &Sound, extension: &str, format: SampleFormat) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("sound.{extension}"));
    write_sound_with(&path, sound, &Metadata::new(), format).unwrap();
    std::fs::read(path).unwrap()
}

fn back(bytes: Vec<u8>) -> Sound {
    SoundReader::from_bytes(bytes).unwrap().read(&SoundOptions::default()).unwrap()
}

const WHOLE: [(SampleFormat, i32); 2] = [(SampleFormat::I16, 16), (SampleFormat::I24, 24)];

#[test]
fn samples_are_kept_to_the_last_bit() {
    for (channels, length) in [(1, 1), (1, 7919), (2, 4096), (2, 4097), (1, 16), (3, 8191), (6, 1999), (8, 33)] {
        for sound in [noise(channels, length, 16_000), tones(channels, length, 16_000)] {
            for (format, bits) in WHOLE {
                for extension in ["wav", "flac"] {
                    let read = back(bytes(&sound, extension, format));
                    assert_eq!((read.shape(), read.rate()), ([length, channels], Rate::whole(16_000)));
                    assert!(read.samples() == rounded(&sound, bits), "{extension}, {format:?}, {channels}×{length}");
                    assert!(
                        bytes(&read, extension, format) == bytes(&sound, extension, format),
                        "once more is no change"
                    );
                }
            }
            assert!(back(bytes(&sound, "wav", SampleFormat::F32)) == sound);
        }
    }
}

#[test]
fn what_is_beyond_full_scale_is_cut_off_or_kept() {
    let sound = Sound::new(1, Rate::whole(8000), vec![1.0, -1.0, 1.5, -1e30, 1e-30, -0.0, 0.5]).unwrap();
    assert!(back(bytes(&sound, "wav", SampleFormat::F32)) == sound);
    let top = 1.0 - 2f32.powi(-15);
    for extension in ["wav", "flac"] {
        assert_eq!(back(bytes(&sound, extension, SampleFormat::I16)).samples(), [top, -1.0, top, -1.0, 0.0, 0.0, 0.5]);
    }
}

#[test]
fn rates_are_kept() {
    for rate in
        [1, 7350, 8000, 11_025, 22_050, 44_100, 47_999, 48_000, 65_535, 65_536, 88_200, 96_000, 192_000, 655_350]
    {
        for extension in ["wav", "flac"] {
            assert_eq!(back(bytes(&noise(2, 5000, rate), extension, SampleFormat::I16)).rate(), Rate::whole(rate));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn flac_is_lossless(
        channels in 1usize..4, length in 1usize..9000, loud in 0i32..40, deep in any::<bool>(), kind in 0usize..5, step in 1usize..600,
    ) {
        let rough = noise(channels, length, 8000);
        let scale = 2f32.powi(-loud / 2);
        let samples = rough.samples().iter().enumerate().map(|(at, &sample)| match kind {
            0 => sample * scale,
            1 => if (at / step) % 2 == 0 { 1.0 } else { -1.0 },
            2 => scale,
            3 => if at == step { 1.0 } else { 0.0 },
            _ => ((at / channels * step) as f32 * 1e-3).sin() * scale + sample * scale * 1e-3,
        });
        let sound = Sound::new(channels, Rate::whole(8000), samples.collect()).unwrap();
        let (format, bits) = WHOLE[usize::from(deep)];
        let coded = bytes(&sound, "flac", format);
        // No block is longer than its samples as they are, but for heads and checks.
        let plain = length * channels * bits as usize / 8;
        prop_assert!(coded.len() <= plain + plain / 8 + 200, "{} bytes for {plain}", coded.len());
        let read = back(coded);
        prop_assert!(read.samples() == rounded(&sound, bits));
    }
}

#[test]
fn flac_is_short_where_there_is_a_pattern() {
    let plain = |sound: &Sound| sound.samples().len() * 2;
    // ffmpeg's FLAC at its level 8 takes 0.29 of the first.
    for sound in [tones(1, 40_000, 16_000), tones(2, 40_000, 48_000)] {
        let part = bytes(&sound, "flac", SampleFormat::I16).len() as f64 / plain(&sound) as f64;
        assert!(part < 0.31, "{part}");
    }
    let even = tones(1, 40_000, 16_000);
    let silence = Sound::new(2, Rate::whole(48_000), vec![0.0; 96_000]).unwrap();
    assert!(bytes(&silence, "flac", SampleFormat::I16).len() < 600);
    // Two equal channels cost little more than one.
    let twice = even.samples().iter().flat_map(|&sample| [sample, sample]).collect();
    let twice = Sound::new(2, even.rate(), twice).unwrap();
    let (one, two) = (bytes(&even, "flac", SampleFormat::I16).len(), bytes(&twice, "flac", SampleFormat::I16).len());
    assert!(two < one + one / 10, "{two} bytes for two channels, {one} for one");
}

#[test]
fn words_are_kept_and_equal_sounds_are_equal_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let sound = tones(2, 5001, 44_100);
    for name in ["sound.wav", "sound.flac"] {
        let (first, second) = (folder.path().join(name), folder.path().join(format!("again-{name}")));
        write_sound(&first, &sound, &metadata()).unwrap();
        write_sound(&second, &sound, &metadata()).unwrap();
        assert_eq!(read_metadata(&first).unwrap(), metadata(), "{name}");
        assert!(std::fs::read(&first).unwrap() == std::fs::read(&second).unwrap(), "{name}");
        assert!(read_sound(&first, &SoundOptions::default()).unwrap().sound.samples() == rounded(&sound, 16));
        write_sound(&first, &sound, &Metadata::new()).unwrap();
        assert!(read_metadata(&first).unwrap().is_empty(), "{name}");
    }
}

#[test]
fn what_cannot_be_written_says_what_can() {
    let folder = tempfile::tempdir().unwrap();
    let sound = tones(1, 100, 16_000);
    let refused = |name: &str, sound: &Sound, format| {
        write_sound_with(&folder.path().join(name), sound, &Metadata::new(), format).unwrap_err().to_string()
    };
    assert!(refused("a.mp3", &sound, SampleFormat::I16).contains("name the file .wav or .flac"));
    assert!(refused("a.flac", &sound, SampleFormat::F32).contains("24 bits"));
    assert!(refused("a.flac", &noise(9, 10, 8000), SampleFormat::I16).contains("8 channels"));
    let odd = sound.with_rate(Rate::new(48_000, 1001).unwrap());
    assert!(refused("a.wav", &odd, SampleFormat::I16).contains("resample"));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing is left behind");
}

/// Blocks of any size and any jump give the samples that a reading from start to end gives.
fn blocks_and_jumps(file: Vec<u8>, what: &str) {
    let whole = back(file.clone());
    let (channels, length) = (whole.channels(), whole.length());
    let mut reader = SoundReader::from_bytes(file).unwrap();
    assert!(reader.info().length.is_none_or(|stated| stated == length), "{what}");
    let (mut samples, mut block) = (Vec::new(), vec![0.0; 997 * channels]);
    loop {
        assert_eq!(reader.position() * channels, samples.len());
        match reader.next(&mut block).unwrap() {
            0 => break,
            count => samples.extend_from_slice(&block[..count * channels]),
        }
    }
    assert!(samples == whole.samples(), "{what}: in blocks");
    for start in [length / 2, 0, length - 1, 1, length / 3, length / 2 + 1, length - length / 9] {
        reader.seek(start).unwrap();
        let count = reader.next(&mut block).unwrap();
        assert_eq!(count, 997.min(length - start), "{what} from {start}");
        assert!(
            block[..count * channels] == whole.samples()[start * channels..][..count * channels],
            "{what} from {start}"
        );
    }
    for start in [length, length + 1, usize::MAX] {
        reader.seek(start).unwrap();
        assert_eq!(reader.next(&mut block).unwrap(), 0, "{what}: nothing is behind the end");
    }
    let window = |start, length| reader_window(&mut reader, start, length);
    reader_checks(window, &whole, what);
}

fn reader_window(reader: &mut SoundReader, start: usize, length: usize) -> musiva_core::Result<Sound> {
    reader.read(&SoundOptions::window(start, length))
}

fn reader_checks(mut window: impl FnMut(usize, usize) -> musiva_core::Result<Sound>, whole: &Sound, what: &str) {
    let length = whole.length();
    assert!(window(length / 4, length / 4).unwrap() == whole.slice(length / 4..length / 4 * 2), "{what}");
    assert!(window(length - 5, 5).unwrap() == whole.slice(length - 5..length), "{what}");
    for (start, count) in [(length - 5, 6), (0, 0), (usize::MAX, 1)] {
        assert!(window(start, count).is_err(), "{what}: {count} samples from {start} on");
    }
}

#[test]
fn blocks_and_jumps_agree_with_the_whole() {
    for extension in ["wav", "flac"] {
        blocks_and_jumps(bytes(&noise(2, 50_021, 44_100), extension, SampleFormat::I16), extension);
    }
    for name in ["tones.mp3", "tones.ogg", "tones.m4a"] {
        blocks_and_jumps(
            std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)).unwrap(),
            name,
        );
    }
}

#[test]
fn limits_are_kept() {
    let file = bytes(&noise(2, 10_000, 8000), "flac", SampleFormat::I16);
    let mut reader = SoundReader::from_bytes(file).unwrap();
    let options = SoundOptions { max_samples: 19_999, ..Default::default() };
    assert!(reader.read(&options).unwrap_err().to_string().contains("limit"));
    assert!(reader.read(&SoundOptions { length: Some(9999), ..options.clone() }).is_ok());
    assert!(reader.read(&SoundOptions { start: 1, ..options }).is_ok());
}

/// Two tones of 440 and 1000 Hz, 0.7 seconds at 22,050 Hz, by lossy encoders (LAME, libvorbis and
/// ffmpeg's AAC without noise substitution, of
/// `aevalsrc='0.5*sin(2*PI*440*t)|0.25*sin(2*PI*1000*t)':s=22050:d=0.7`): as long as they were, and
/// where they were. LAME makes everything softer, by 0.95.
#[test]
fn delays_of_encoders_are_taken_out() {
    for (name, format, codec, scale) in [
        ("tones.mp3", Format::Mpeg, "mp3", 0.95),
        ("tones.ogg", Format::Ogg, "vorbis", 1.0),
        ("tones.m4a", Format::Mp4, "aac", 1.0),
    ] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name);
        let opened = read_sound(path, &SoundOptions::default()).unwrap();
        assert_eq!((opened.info.format, &*opened.info.codec), (format, codec));
        assert_eq!((opened.sound.shape(), opened.sound.rate()), ([15_435, 2], Rate::whole(22_050)), "{name}");
        assert_eq!(opened.info.length, Some(15_435));
        for (channel, hertz, level) in [(0, 440.0, 0.5 * scale), (1, 1000.0, 0.25 * scale)] {
            let samples: Vec<f32> = opened.sound.channel(channel).collect();
            let (found, phase, left) = sine_in(&samples[2000..13_000], 2000, hertz, 22_050.0);
            // A sample too early or late would be 0.13 or 0.28 radians.
            assert!((found / level - 1.0).abs() < 0.03 && phase.abs() < 0.03, "{name}: {found} at {phase}");
            assert!(left < 0.08 * level, "{name}: {left} is left");
        }
    }
}

#[test]
fn an_mp3_that_does_not_state_its_length_is_read_to_its_end() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/tones.mp3");
    let file = std::fs::read(path).unwrap();
    // Without its first frame, bytes 20 to 228, which holds the length and no sound; behind an ID3 tag.
    let tagged = [b"ID3\x04\0\0\0\0\0\x0a".as_slice(), &[0; 10], &file[228..]].concat();
    let stated = back(file);
    let sound = back(tagged.clone());
    assert_eq!((sound.length(), stated.length()), (29 * 576, 15_435));
    let at = |from: usize| sound.slice(from..from + 3000);
    // LAME puts 576 samples in front, and decoding takes 529 more.
    assert!(at(1105 + 5000).samples() == stated.slice(5000..8000).samples());
    blocks_and_jumps(tagged, "an MP3 without its length");
}

#[test]
fn images_and_sounds_are_told_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (sound, clip) = (folder.path().join("a.flac"), folder.path().join("a.mp4"));
    write_sound(&sound, &tones(1, 100, 8000), &Metadata::new()).unwrap();
    let refused = read_clip(&sound, &Default::default()).unwrap_err().to_string();
    assert!(refused.contains("a sound, without pictures"), "{refused}");
    musiva_media::write_clip(&clip, &common::square(3, 32, 32, Rate::whole(8)), &Metadata::new()).unwrap();
    let refused = read_sound(&clip, &SoundOptions::default()).unwrap_err().to_string();
    assert!(refused.contains("no sound"), "{refused}");
    assert!(read_sound(folder.path().join("none.wav"), &SoundOptions::default()).is_err());
}

/// The samples of `path` by ffmpeg, where there is one.
fn by_ffmpeg(path: &Path) -> Option<Vec<f32>> {
    if !is_there("ffmpeg") {
        return None;
    }
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args(["-map", "0:a:0", "-f", "f32le", "-"])
        .output()
        .unwrap();
    assert!(output.status.success() && output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(output.stdout.chunks_exact(4).map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect())
}

#[test]
fn ffmpeg_hears_what_we_wrote() {
    let folder = tempfile::tempdir().unwrap();
    for (channels, length, rate) in [(1, 7919, 16_000), (2, 50_021, 44_100), (2, 4096, 11_025), (6, 5003, 48_000)] {
        let sound = tones(channels, length, rate);
        for (name, format, bits) in [
            ("a.wav", SampleFormat::I16, 16),
            ("a.wav", SampleFormat::I24, 24),
            ("a.flac", SampleFormat::I16, 16),
            ("a.flac", SampleFormat::I24, 24),
        ] {
            let path = folder.path().join(name);
            write_sound_with(&path, &sound, &metadata(), format).unwrap();
            let Some(theirs) = by_ffmpeg(&path) else { return };
            assert!(theirs == rounded(&sound, bits), "{name}, {format:?}, {channels} channels");
        }
    }
}

#[test]
fn real_sounds_are_as_ffmpeg_hears_them() {
    // The largest difference that decoders of lossy codecs may have, and none at all for WAV.
    for (name, near) in [
        ("speech/lyra-sample-16kHz.wav", 0.0),
        ("speech/digits/7_jackson_0.wav", 0.0),
        ("clips/frog.mp4", 1e-3),
        ("clips/nasa.mp4", 1e-3),
    ] {
        let Some(path) = shared(name) else { continue };
        let opened = read_sound(&path, &SoundOptions::default()).unwrap();
        assert_eq!(opened.info.length, Some(opened.sound.length()), "{name}");
        let Some(theirs) = by_ffmpeg(&path) else { return };
        let ours = opened.sound.samples();
        let (channels, both) = (opened.sound.channels(), ours.len().min(theirs.len()));
        let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart <= near, "{name}: {apart}");
        // ffmpeg keeps what fills up the last packet.
        assert!(
            ours.len() - both == 0 && theirs.len() - both < 2048 * channels,
            "{name}: {} and {}",
            ours.len(),
            theirs.len()
        );
    }
}
