//! What a folder asks of the reader of its files.
//!
//! The boundary keeps codecs out of this crate, and lets a test, or a plugin with a format of its
//! own, stand in for them.

use musiva_core::{Rate, Result};
use std::path::Path;

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Number of frames at `rate`; 1 for an image.
    pub frames: usize,
    /// Height and width of a frame as it is shown, in pixels.
    pub size: [usize; 2],
    /// Frames per second; of an image, any.
    pub rate: Rate,
}

/// Reads clips and images from files.
///
/// # For the caller
/// What [`probe`](Self::probe) says holds for [`frames`](Self::frames) as long as the file does not
/// change.
///
/// # For who implements it
/// Frames come upright, 8-bit full-range sRGB `[H, W, 3]`, at a constant rate.
pub trait Reader: Send + Sync {
    /// What the file at `path` holds; cheap, because it is asked of every file of a folder.
    ///
    /// # Errors
    /// Where it cannot be read as a clip or an image.
    fn probe(&self, path: &Path) -> Result<Probe>;

    /// Hands frames number `wanted` (ascending, the same one perhaps several times) to `each`, one
    /// at a time and once for each number, so that no more than a frame needs to be held.
    ///
    /// # Errors
    /// Where the file cannot be read so far.
    fn frames(&self, path: &Path, wanted: &[usize], each: &mut dyn FnMut(&[u8])) -> Result<()>;
}
