//! What training asks of data.

use musiva_core::{Clip, MediaShape, Result};
use serde::Serialize;

/// A clip with its caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The clip, of the dataset's [`shape`](Dataset::shape).
    pub clip: Clip,
    /// What it shows; empty where the dataset has no captions.
    pub caption: String,
    /// Where it comes from, for messages: a file and a window, a scene's number.
    pub id: String,
}

/// Samples by number.
///
/// # For the caller
/// `get(i)` is a pure function of `i`: two calls give the same sample, on every thread. Where
/// [`len`](Self::len) is `None` every number is a sample, otherwise those below it.
///
/// # For who implements it
/// All clips have one shape. A sample that turns out unreadable after the dataset was opened is an
/// error, never another sample in its place.
pub trait Dataset: Send + Sync {
    /// How many samples there are; `None`: endless.
    fn len(&self) -> Option<u64>;

    /// Whether there is nothing to train on.
    fn is_empty(&self) -> bool {
        self.len() == Some(0)
    }

    /// Sample `index`.
    ///
    /// # Errors
    /// Where `index` lies beyond the end, or its file has gone or changed.
    fn get(&self, index: u64) -> Result<Sample>;

    /// The shape that every clip has.
    fn shape(&self) -> MediaShape;

    /// What was found and what was dropped, and the range of the pixels.
    fn report(&self) -> DataReport;
}

/// What a dataset found when it was opened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataReport {
    /// Clips or images found, usable or not; `None`: endless.
    pub clips: Option<u64>,
    /// Windows to train on; `None`: endless.
    pub windows: Option<u64>,
    /// What was left out, by reason.
    pub dropped: Vec<Dropped>,
    /// The pixels of a few samples, spread over the dataset.
    pub pixels: PixelRange,
}

/// Clips that were left out for one reason.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Why.
    pub reason: String,
    /// How many.
    pub count: u64,
    /// The first of them.
    pub example: String,
}

/// Range and mean of pixel values, 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PixelRange {
    /// The darkest.
    pub min: u8,
    /// The brightest.
    pub max: u8,
    /// The mean over all pixels and channels.
    pub mean: f64,
    /// How many samples were looked at.
    pub samples: usize,
}

impl PixelRange {
    /// The range over `clips`; of no clips at all: zeros.
    pub fn of(clips: impl IntoIterator<Item = Clip>) -> Self {
        let (mut min, mut max, mut sum, mut count, mut samples) = (u8::MAX, u8::MIN, 0u64, 0u64, 0);
        for clip in clips {
            for &value in clip.pixels() {
                (min, max, sum) = (min.min(value), max.max(value), sum + u64::from(value));
            }
            count += clip.pixels().len() as u64;
            samples += 1;
        }
        Self { min: min.min(max), max, mean: sum as f64 / count.max(1) as f64, samples }
    }
}
