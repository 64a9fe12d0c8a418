//! What the tests share.
#![allow(dead_code)]

use musiva_core::{Clip, Rate};
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
