//! What training asks of data.

use musiva_core::{Clip, Error, ErrorKind, MediaShape, Modality, Result, Sound};
use serde::Serialize;

/// A clip, a sound or both, with their caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sample {
    /// The clip, of the dataset's [`shape`](Dataset::shape); `None` where it has no clips.
    pub clip: Option<Clip>,
    /// The sound, of the dataset's [`shape`](Dataset::shape); `None` where it has no sounds.
    pub sound: Option<Sound>,
    /// What it shows; empty where the dataset has no captions.
    pub caption: String,
    /// Where it comes from, for messages: a file and a window, a scene's number.
    pub id: String,
}

impl Sample {
    /// Its clip.
    ///
    /// # Errors
    /// Where it has none.
    pub fn into_clip(self) -> Result<Clip> {
        self.clip.ok_or_else(|| missing(&self.id, Modality::Video))
    }

    /// Its sound.
    ///
    /// # Errors
    /// Where it has none.
    pub fn into_sound(self) -> Result<Sound> {
        self.sound.ok_or_else(|| missing(&self.id, Modality::Audio))
    }
}

fn missing(id: &str, modality: Modality) -> Error {
    Error::new(ErrorKind::Data, id, format!("the data have no {}", modality.plural()))
}

/// Samples by number.
///
/// # For the caller
/// `get(i)` is a pure function of `i`: two calls give the same sample, on every thread. Where
/// [`len`](Self::len) is `None` every number is a sample, otherwise those below it.
///
/// # For who implements it
/// All clips have one shape, and so have all sounds. A sample that turns out unreadable after the dataset was opened is an
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

    /// The shape that media of this modality have in every sample, where samples have such.
    fn shape(&self, modality: Modality) -> Option<MediaShape>;

    /// What was found and what was dropped, and the range of the pixels.
    fn report(&self) -> DataReport;
}

/// Which part of a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// To train on.
    Train,
    /// Never trained on.
    HeldOut,
}

/// What a dataset found when it was opened.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DataReport {
    /// Clips, images or sounds found, usable or not; `None`: endless.
    pub clips: Option<u64>,
    /// Windows to train on; `None`: endless.
    pub windows: Option<u64>,
    /// What was left out, by reason.
    pub dropped: Vec<Dropped>,
    /// The pixels of a few samples, spread over the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pixels: Option<PixelRange>,
    /// The sounds of a few samples, spread over the dataset.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub loudness: Option<Loudness>,
}

/// What was left out for one reason.
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

/// How loud sounds are; full scale is 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Loudness {
    /// The largest sample, without its sign.
    pub peak: f32,
    /// Root of the mean square over all samples.
    pub rms: f64,
    /// The part of the samples that are silent: below a thousandth of full scale.
    pub silent: f64,
    /// How many sounds were looked at.
    pub samples: usize,
}

impl Loudness {
    /// The loudness of `sounds`; of no sounds at all: zeros.
    pub fn of(sounds: impl IntoIterator<Item = Sound>) -> Self {
        let (mut peak, mut squares, mut silent, mut count, mut samples) = (0f32, 0f64, 0u64, 0u64, 0);
        for sound in sounds {
            for &value in sound.samples() {
                peak = peak.max(value.abs());
                squares += f64::from(value).powi(2);
                silent += u64::from(value.abs() < 1e-3);
            }
            count += sound.samples().len() as u64;
            samples += 1;
        }
        let count = count.max(1) as f64;
        Self { peak, rms: (squares / count).sqrt(), silent: silent as f64 / count, samples }
    }
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
