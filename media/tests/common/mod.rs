//! What the tests share.
#![allow(dead_code)]

use musiva_core::{Clip, Rate, Sound};
use musiva_media::VideoReader;
use std::path::{Path, PathBuf};

/// A file of the shared test data; `None`, with a word, where it is missing.
pub fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data")).join(name);
    if !path.exists() {
        println!("skipped: {} is missing", path.display());
        return None;
    }
    Some(path)
}

/// A coloured square that moves over a coloured ground: few colours, known order.
pub fn square(frames: usize, height: usize, width: usize, rate: Rate) -> Clip {
    let mut pixels = Vec::new();
    for t in 0..frames {
        for y in 0..height {
            for x in 0..width {
                let inside = (t..t + width / 3).contains(&x) && (height / 4..height * 3 / 4).contains(&y);
                pixels.extend(if inside { [220, 40, 30] } else { [30, 60, 140] });
            }
        }
    }
    Clip::new([frames, height, width], rate, pixels).unwrap()
}

/// Peak signal to noise over all pixels, decibels.
pub fn psnr(a: &[u8], b: &[u8]) -> f64 {
    assert_eq!(a.len(), b.len());
    let sum: f64 = a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs_diff(b)).powi(2)).sum();
    10.0 * (255.0 * 255.0 * a.len() as f64 / sum.max(1e-9)).log10()
}

/// Mean absolute difference.
pub fn distance(a: &[u8], b: &[u8]) -> f64 {
    a.iter().zip(b).map(|(&a, &b)| f64::from(a.abs_diff(b))).sum::<f64>() / a.len() as f64
}

/// All frames of `path`, one by one.
pub fn frames(path: &Path) -> Vec<musiva_media::Frame> {
    VideoReader::open(path).unwrap().map(Result::unwrap).collect()
}

/// `[N, C]` of numbers without pattern, within full scale, the same on every machine.
pub fn noise(channels: usize, length: usize, rate: u32) -> Sound {
    let mut state = 12_345u64;
    let mut next = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((state >> 40) as f32 / (1 << 23) as f32) - 1.0
    };
    Sound::new(channels, Rate::whole(rate), (0..length * channels).map(|_| next()).collect()).unwrap()
}

/// A few tones, each channel its own, with a slow swell: what predictors are made for.
pub fn tones(channels: usize, length: usize, rate: u32) -> Sound {
    let value = |at: usize| {
        let (time, channel) = ((at / channels) as f32 / rate as f32, (at % channels) as f32);
        let tone = |hertz: f32| (std::f32::consts::TAU * hertz * time).sin();
        (0.5 + 0.4 * tone(1.5)) * (0.6 * tone(220.0 + 110.0 * channel) + 0.3 * tone(1234.5))
    };
    Sound::new(channels, Rate::whole(rate), (0..length * channels).map(value).collect()).unwrap()
}

/// `sound` in whole numbers of `bits` bits and back, worked out here.
pub fn rounded(sound: &Sound, bits: i32) -> Vec<f32> {
    let full = 2f64.powi(bits - 1);
    let round = |&sample: &f32| ((f64::from(sample) * full).round().clamp(-full, full - 1.0) / full) as f32;
    sound.samples().iter().map(round).collect()
}

/// Amplitude and phase of the sine of `hertz` in `samples`, and what is left without it (root mean
/// square), by least squares over sine and cosine. The phase is that of `sin(2π·hertz·n/rate + phase)`.
pub fn sine_in(samples: &[f32], start: usize, hertz: f64, rate: f64) -> (f64, f64, f64) {
    let angle = |at: usize| std::f64::consts::TAU * hertz * (start + at) as f64 / rate;
    let (mut ss, mut sc, mut cc, mut xs, mut xc) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (at, &x) in samples.iter().enumerate() {
        let ((s, c), x) = (angle(at).sin_cos(), f64::from(x));
        (ss, sc, cc, xs, xc) = (ss + s * s, sc + s * c, cc + c * c, xs + x * s, xc + x * c);
    }
    let determinant = ss * cc - sc * sc;
    let (a, b) = ((xs * cc - xc * sc) / determinant, (xc * ss - xs * sc) / determinant);
    let left = samples.iter().enumerate().map(|(at, &x)| {
        let (s, c) = angle(at).sin_cos();
        (f64::from(x) - a * s - b * c).powi(2)
    });
    (a.hypot(b), b.atan2(a), (left.sum::<f64>() / samples.len() as f64).sqrt())
}

/// Whether a program is there; says so where it is not.
pub fn is_there(program: &str) -> bool {
    let there = std::process::Command::new(program).arg("-version").output().is_ok();
    if !there {
        println!("skipped: there is no {program}");
    }
    there
}
