//! What a folder asks of the reader of its files.
//!
//! The boundary keeps codecs out of this crate, and lets a test, or a plugin with a format of its
//! own, stand in for them.

use musiva_core::{Rate, Result};
use std::{ops::Range, path::Path};

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Probe {
    /// Number of frames at the rate that was asked for; 1 for an image.
    pub frames: usize,
    /// Height and width of a frame as it is shown, in pixels.
    pub size: [usize; 2],
    /// Seconds on the file's timeline before the first frame.
    pub start: f64,
}

/// The sound of a file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoundTrack {
    /// Seconds on the file's timeline before the first sample.
    pub start: f64,
    /// Samples at the rate that was asked for.
    pub length: usize,
}

/// Reads clips and images from files.
///
/// # For the caller
/// What [`probe`](Self::probe) says holds for [`frames`](Self::frames), and what [`sound`](Self::sound) says for
/// [`samples`](Self::samples), as long as the file does not change.
///
/// # For who implements it
/// Frames come upright, 8-bit full-range sRGB `[H, W, 3]`: frame `k` is the picture that is on show `k / rate` seconds after
/// the first one appears, by the file's own times.
pub trait Reader: Send + Sync {
    /// What the file at `path` holds at `rate` frames a second; cheap, because it is asked of every file of a folder.
    ///
    /// # Errors
    /// Where it cannot be read as a clip or an image.
    fn probe(&self, path: &Path, rate: Rate) -> Result<Probe>;

    /// Hands the frames `wanted`, at `rate` frames a second, to `each`, one at a time, so that no more than a frame needs
    /// to be held.
    ///
    /// # Errors
    /// Where the file cannot be read so far.
    fn frames(&self, path: &Path, rate: Rate, wanted: Range<usize>, each: &mut dyn FnMut(&[u8])) -> Result<()>;

    /// The sound of the file at `path`, at `rate` samples a second; `None`: it has none, as here.
    ///
    /// # Errors
    /// Where it has a sound that cannot be read.
    fn sound(&self, path: &Path, rate: Rate) -> Result<Option<SoundTrack>> {
        let _ = (path, rate);
        Ok(None)
    }

    /// Samples `range` of the sound at `rate`, as one channel; the range lies within its length. Here: silence.
    ///
    /// # Errors
    /// Where the file cannot be read so far.
    fn samples(&self, path: &Path, rate: Rate, range: Range<usize>) -> Result<Vec<f32>> {
        let _ = (path, rate);
        Ok(vec![0.0; range.len()])
    }
}
