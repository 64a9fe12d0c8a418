//! Files that lie, break off or were struck by lightning: an error or a clip, never a panic.

#![allow(clippy::unwrap_used)]

mod common;

use common::square;
use musiva_core::{Clip, Rate, Result};
use musiva_media::{Metadata, Orientation, ReadOptions, VideoReader, metadata_of_bytes, write_clip};
use proptest::prelude::*;
use std::sync::LazyLock;

fn written(name: &str, frames: usize) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    let words = Metadata::new().with("musiva.seed", "7").unwrap();
    write_clip(&path, &square(frames, 32, 48, Rate::whole(8)), &words).unwrap();
    std::fs::read(path).unwrap()
}

static FILES: LazyLock<[Vec<u8>; 3]> =
    LazyLock::new(|| [written("a.mp4", 9), written("a.gif", 9), written("a.png", 1)]);

fn read(bytes: Vec<u8>) -> Result<Clip> {
    let options = ReadOptions { max_pixels: 1 << 16, max_frames: 200, max_bytes: 1 << 24, ..Default::default() };
    let _ = metadata_of_bytes(bytes.clone());
    VideoReader::from_bytes(bytes, options.max_pixels)?.read(&options)
}

/// Puts `value` where `pattern` is found, `offset` bytes on.
fn patched(mut bytes: Vec<u8>, pattern: &[u8], offset: usize, value: &[u8]) -> Vec<u8> {
    let at = bytes.windows(pattern.len()).position(|window| window == pattern).expect("the pattern is there") + offset;
    bytes[at..at + value.len()].copy_from_slice(value);
    bytes
}

#[test]
fn every_cut_is_noticed() {
    for (index, file) in FILES.iter().enumerate() {
        let whole = read(file.clone()).unwrap();
        for length in (0..file.len()).step_by(1 + file.len() / 700) {
            match read(file[..length].to_vec()) {
                Err(_) => {}
                // A PNG or GIF that lacks nothing but its end mark is whole.
                Ok(clip) => {
                    assert!(clip == whole && index > 0 && length + 16 > file.len(), "file {index} cut at {length}")
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn flipped_bytes_are_survived(index in 0usize..3, flips in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6)) {
        let mut file = FILES[index].clone();
        for (at, value) in flips {
            let at = at.index(file.len());
            file[at] = value;
        }
        let _ = read(file);
    }

    #[test]
    fn the_index_is_mistrusted(at in any::<prop::sample::Index>(), value in prop::sample::select(vec![0u32, 1, 0x7fff_ffff, 0xffff_ffff, 0x10000])) {
        let mut file = FILES[0].clone();
        let end = file.windows(4).position(|kind| kind == b"mdat").unwrap() - 8;
        let at = at.index(end);
        file[at..at + 4].copy_from_slice(&value.to_be_bytes());
        let _ = read(file);
    }

    #[test]
    fn noise_is_no_clip(kind in 0usize..6, noise in prop::collection::vec(any::<u8>(), 0..300)) {
        let magic: [&[u8]; 6] = [b"\0\0\0\x10ftypisom", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"RIFF\0\x01\0\0WEBPVP8 ", b""];
        prop_assert!(read([magic[kind], &noise].concat()).is_err());
    }
}

#[test]
fn declared_sizes_are_not_believed() {
    let huge = [0xff, 0xff, 0xff, 0xff];
    let refused = |bytes| read(bytes).unwrap_err().to_string();
    assert!(refused(patched(FILES[1].clone(), b"GIF89a", 6, &huge)).contains("65535×65535"));
    // The size in a PNG's header is under a checksum, which is written anew.
    let mut png = FILES[2].clone();
    png[16..24].copy_from_slice(&[0, 0, 0xff, 0xff, 0, 0, 0xff, 0xff]);
    let crc = png[12..29].iter().fold(!0u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
    });
    png[29..33].copy_from_slice(&(!crc).to_be_bytes());
    assert!(refused(png).contains("65535×65535"));
    // A table that says it has four thousand million entries, and one that needs no table.
    assert!(read(patched(FILES[0].clone(), b"stsz", 12, &huge)).is_err());
    assert!(read(patched(FILES[0].clone(), b"stsz", 8, &[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff])).is_err());
    assert!(read(patched(FILES[0].clone(), b"stts", 12, &huge)).is_ok(), "a run is as long as there are pictures");
}

#[test]
fn rotation_is_applied() {
    let upright = read(FILES[0].clone()).unwrap();
    // The track's matrix follows 40 bytes behind the letters of its header: a quarter clockwise.
    let one = 0x0001_0000u32.to_be_bytes();
    let matrix = [[0; 4], one, [0; 4], (-0x0001_0000i32).to_be_bytes(), [0; 4], [0; 4]].concat();
    let turned = patched(FILES[0].clone(), b"tkhd", 44, &matrix);
    let mut reader = VideoReader::from_bytes(turned, 1 << 16).unwrap();
    assert_eq!(reader.info().orientation, Orientation { mirrored: false, quarters: 1 });
    let turned = reader.read(&ReadOptions::default()).unwrap();
    assert_eq!((upright.shape(), turned.shape()), ([9, 32, 48], [9, 48, 32]));
    for (y, x) in [(0, 0), (31, 5), (13, 47), (8, 20)] {
        // Row y of the stored picture becomes column 31 - y.
        assert_eq!(upright.frame(3)[(y * 48 + x) * 3..][..3], turned.frame(3)[(x * 32 + 31 - y) * 3..][..3]);
    }
}

/// Puts an edit list into the track of `FILES[0]`: (duration, start) in ticks of the clock.
fn edited(edits: &[(u32, i32)]) -> Vec<u8> {
    let file = FILES[0].clone();
    let mut list = vec![0; 8];
    list[7] = edits.len() as u8;
    for (duration, start) in edits {
        list.extend([duration.to_be_bytes(), start.to_be_bytes(), 0x0001_0000u32.to_be_bytes()].concat());
    }
    let boxed = |kind: &[u8], payload: Vec<u8>| [&(payload.len() as u32 + 8).to_be_bytes(), kind, &payload].concat();
    let edts = boxed(b"edts", boxed(b"elst", list));
    let at = file.windows(4).position(|kind| kind == b"mdia").unwrap() - 4;
    let mut out = [&file[..at], &edts, &file[at..]].concat();
    for kind in [b"moov", b"trak"] {
        let at = out.windows(4).position(|window| window == kind).unwrap() - 4;
        let size = u32::from_be_bytes(out[at..at + 4].try_into().unwrap()) + edts.len() as u32;
        out[at..at + 4].copy_from_slice(&size.to_be_bytes());
    }
    let at = out.windows(4).position(|window| window == b"stco").unwrap() + 12;
    let offset = u32::from_be_bytes(out[at..at + 4].try_into().unwrap()) + edts.len() as u32;
    out[at..at + 4].copy_from_slice(&offset.to_be_bytes());
    out
}

#[test]
fn edit_lists_cut_and_wait() {
    let whole = read(FILES[0].clone()).unwrap();
    // 8 frames a second on a clock of 10,000: a frame lasts 1250 ticks. Half a second of nothing, then
    // frames 2 to 5.
    let mut reader = VideoReader::from_bytes(edited(&[(5000, -1), (5000, 2500)]), 1 << 16).unwrap();
    assert_eq!((reader.info().frames, reader.info().start), (4, 0.5));
    assert!(reader.read(&ReadOptions::default()).unwrap() == whole.slice(2..6));
    reader.seek(1).unwrap();
    assert!(reader.next_frame().unwrap().unwrap().pixels == whole.frame(3));
    assert!(read(edited(&[(5000, 0), (5000, 2500)])).unwrap_err().to_string().contains("ffmpeg"));
    assert!(read(edited(&[(5000, 0x7fff_ffff)])).is_err());
}
