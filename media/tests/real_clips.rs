//! Real files: as many frames as there are, in order, in the right colours.

#![allow(clippy::unwrap_used)]

mod common;

use common::{distance, shared};
use musiva_core::Rate;
use musiva_media::{Matrix, Range, ReadOptions, VideoReader, read_clip};
use std::{path::Path, process::Command};

fn check(name: &str, [frames, height, width]: [usize; 3], rate: u32, matrix: Matrix) {
    let Some(path) = shared(name) else { return };
    let mut reader = VideoReader::open(&path).unwrap();
    let info = reader.info().clone();
    assert_eq!((reader.size(), info.rate, info.frames), ([height, width], Rate::whole(rate), frames), "{name}");
    assert_eq!((info.matrix, info.range, info.constant_rate), (matrix, Range::Limited, true), "{name}");
    let (mut count, mut time) = (0, -1.0);
    let (mut before, mut earlier): (Vec<u8>, Vec<u8>) = Default::default();
    let (mut near, mut far) = (0.0, 0.0);
    while let Some(frame) = reader.next_frame().unwrap() {
        assert!(frame.time > time && frame.index == count);
        (count, time) = (count + 1, frame.time);
        if !earlier.is_empty() {
            near += distance(&frame.pixels, &before);
            far += distance(&frame.pixels, &earlier);
        }
        earlier = std::mem::replace(&mut before, frame.pixels);
    }
    assert_eq!(count, frames, "{name}");
    // Were B-frames handed out in decoding order, a frame would look more like the last but one.
    assert!(near < far * 0.9, "{name}: neighbours differ by {near}, frames two apart by {far}");
}

#[test]
fn frog() {
    check("clips/frog.mp4", [248, 480, 720], 30, Matrix::Bt601);
}

#[test]
fn nasa() {
    check("clips/nasa.mp4", [325, 180, 320], 25, Matrix::Bt709);
}

#[test]
fn bikes() {
    check("clips/bikes.mp4", [250, 272, 640], 25, Matrix::Bt601);
}

#[test]
fn four_minutes_of_animation() {
    check("bbb/bbb-train.mp4", [5760, 180, 320], 24, Matrix::Bt709);
}

#[test]
fn a_window_holds_the_same_pixels_as_the_whole() {
    for name in ["clips/nasa.mp4", "clips/frog.mp4", "clips/bikes.mp4"] {
        let Some(path) = shared(name) else { return };
        let whole = read_clip(&path, &ReadOptions::default()).unwrap().clip;
        for start in [0, 1, 97, 230, whole.frames() - 7] {
            let window = read_clip(&path, &ReadOptions::window(start, 7)).unwrap().clip;
            assert!(window == whole.slice(start..start + 7), "{name} from {start} on");
        }
        let mut reader = VideoReader::open(&path).unwrap();
        for start in [200, 3, 4, 190] {
            reader.seek(start).unwrap();
            assert!(reader.next_frame().unwrap().unwrap().pixels == whole.frame(start), "{name} at {start}");
        }
    }
}

#[test]
fn limits_and_windows_are_kept() {
    let Some(path) = shared("clips/nasa.mp4") else { return };
    let refused = |options| read_clip(&path, &options).unwrap_err().to_string();
    assert!(refused(ReadOptions::window(320, 6)).contains("325 frames"));
    assert!(refused(ReadOptions { max_frames: 100, ..Default::default() }).contains("limit"));
    assert!(refused(ReadOptions { max_pixels: 1000, ..Default::default() }).contains("limit"));
    assert!(refused(ReadOptions { max_bytes: 1 << 20, ..Default::default() }).contains("limit"));
}

/// Frames of `path` by ffmpeg, where there is one.
fn by_ffmpeg(path: &Path, frames: usize) -> Option<Vec<u8>> {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(path)
        .args([
            "-map",
            "0:v:0",
            "-frames:v",
            &frames.to_string(),
            "-sws_flags",
            "bilinear+accurate_rnd+full_chroma_int",
        ])
        .args(["-f", "rawvideo", "-pix_fmt", "rgb24", "-"])
        .output()
        .ok()?;
    output.status.success().then_some(output.stdout)
}

#[test]
fn ffmpeg_sees_the_same_pixels() {
    for name in ["clips/nasa.mp4", "clips/frog.mp4", "clips/bikes.mp4"] {
        let Some(path) = shared(name) else { return };
        let clip = read_clip(&path, &ReadOptions::window(0, 40)).unwrap().clip;
        let Some(theirs) = by_ffmpeg(&path, 40) else {
            println!("skipped: there is no ffmpeg");
            return;
        };
        // The planes agree exactly; chroma is interpolated by other weights.
        let quality = common::psnr(clip.pixels(), &theirs);
        assert!(quality > 38.0, "{name}: {quality} dB");
    }
}
