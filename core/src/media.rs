//! Media on the host: what tokenizers read and make.
//!
//! Everything that changes the meaning of a number is part of the type: a clip is always 8-bit,
//! full-range sRGB with its frame rate beside it; readers convert whatever the file said (limited
//! range, BT.601, BT.709, …) on the way in and writers convert on the way out.

mod sound;
mod timing;

pub use sound::Sound;
pub use timing::Timing;

use crate::{Error, ErrorKind, Modality, Result};
use serde::{Deserialize, Serialize};
use std::fmt;

/// Frames or samples per second as an exact fraction: 24000/1001, not 23.976.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Rate {
    /// Numerator, above zero.
    pub numerator: u32,
    /// Denominator, above zero.
    pub denominator: u32,
}

impl Rate {
    /// `numerator / denominator` per second, reduced; an error where either is zero.
    pub fn new(numerator: u32, denominator: u32) -> Result<Self> {
        if numerator == 0 || denominator == 0 {
            return Err(Error::new(
                ErrorKind::Media,
                "",
                format!("a rate of {numerator}/{denominator} per second is not a rate"),
            ));
        }
        let (mut a, mut b) = (numerator, denominator);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        Ok(Self { numerator: numerator / a, denominator: denominator / a })
    }

    /// A whole number per second. Panics on zero, which is a bug of the caller.
    pub fn whole(per_second: u32) -> Self {
        assert!(per_second > 0, "a rate is above zero");
        Self { numerator: per_second, denominator: 1 }
    }

    /// As a floating-point number per second.
    pub fn as_f64(self) -> f64 {
        f64::from(self.numerator) / f64::from(self.denominator)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.denominator {
            1 => write!(f, "{}", self.numerator),
            _ => write!(f, "{}/{}", self.numerator, self.denominator),
        }
    }
}

/// A clip: `T` frames of `H × W` pixels, 8-bit full-range sRGB. An image is a clip of one frame.
#[derive(Clone, PartialEq, Eq)]
pub struct Clip {
    frames: usize,
    height: usize,
    width: usize,
    rate: Rate,
    pixels: Vec<u8>,
}

impl Clip {
    /// Takes pixels in the order `[T, H, W, 3]` (NumPy's C order, red first).
    ///
    /// # Errors
    /// Where a side is zero or `pixels` has another length than `T·H·W·3`.
    pub fn new([frames, height, width]: [usize; 3], rate: Rate, pixels: Vec<u8>) -> Result<Self> {
        let wanted = [frames, height, width, 3].iter().try_fold(1usize, |n, &side| n.checked_mul(side));
        if frames == 0 || height == 0 || width == 0 || wanted != Some(pixels.len()) {
            return Err(Error::new(
                ErrorKind::Media,
                "",
                format!(
                    "{} bytes are not a clip of {frames} frames, {width}×{height} pixels, 3 bytes each",
                    pixels.len()
                ),
            ));
        }
        Ok(Self { frames, height, width, rate, pixels })
    }

    /// `[T, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        [self.frames, self.height, self.width]
    }

    /// Number of frames `T`.
    pub fn frames(&self) -> usize {
        self.frames
    }

    /// Frames per second.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// The same pixels at another frame rate: a change of speed, not a resampling.
    pub fn with_rate(mut self, rate: Rate) -> Self {
        self.rate = rate;
        self
    }

    /// All pixels, `[T, H, W, 3]`.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }

    /// All pixels, `[T, H, W, 3]`, to write on.
    pub fn pixels_mut(&mut self) -> &mut [u8] {
        &mut self.pixels
    }

    /// Frame `index` as `[H, W, 3]`.
    pub fn frame(&self, index: usize) -> &[u8] {
        let size = self.height * self.width * 3;
        &self.pixels[index * size..(index + 1) * size]
    }

    /// Frames `range` as a clip of their own; the range must hold at least one frame of the clip.
    pub fn slice(&self, range: std::ops::Range<usize>) -> Self {
        assert!(range.start < range.end && range.end <= self.frames, "{range:?} is not within {} frames", self.frames);
        let size = self.height * self.width * 3;
        let pixels = self.pixels[range.start * size..range.end * size].to_vec();
        Self { frames: range.len(), pixels, ..*self }
    }
}

impl fmt::Debug for Clip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clip({} frames, {}×{}, {} fps)", self.frames, self.width, self.height, self.rate)
    }
}

/// The shape of media, known before there is any.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum MediaShape {
    /// A clip `[T, H, W]` at a rate. An image is a clip of one frame.
    Clip {
        /// Frames.
        frames: usize,
        /// Height in pixels.
        height: usize,
        /// Width in pixels.
        width: usize,
        /// Frames per second.
        rate: Rate,
    },
    /// A sound: so many samples of each of so many channels, at a rate.
    Sound {
        /// Samples of one channel.
        samples: usize,
        /// Channels.
        channels: usize,
        /// Samples per second and channel.
        rate: Rate,
    },
    /// A text.
    Text,
}

impl MediaShape {
    /// Of which modality the media are.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Clip { .. } => Modality::Video,
            Self::Sound { .. } => Modality::Audio,
            Self::Text => Modality::Text,
        }
    }

    /// The same in so many frames or samples; a text stays.
    pub fn window(self, length: usize) -> Self {
        match self {
            Self::Clip { height, width, rate, .. } => Self::Clip { frames: length, height, width, rate },
            Self::Sound { channels, rate, .. } => Self::Sound { samples: length, channels, rate },
            Self::Text => self,
        }
    }
}

impl fmt::Display for MediaShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Clip { frames, height, width, rate } => write!(f, "[{frames}, {height}, {width}, 3] at {rate} fps"),
            Self::Sound { samples, channels, rate } => write!(f, "[{samples}, {channels}] at {rate} Hz"),
            Self::Text => f.write_str("text"),
        }
    }
}

/// Media of any modality.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Media {
    /// A clip, or an image as a clip of one frame.
    Clip(Clip),
    /// A sound.
    Sound(Sound),
    /// A text.
    Text(String),
}

impl Media {
    /// Of which modality they are.
    pub fn modality(&self) -> Modality {
        match self {
            Self::Clip(_) => Modality::Video,
            Self::Sound(_) => Modality::Audio,
            Self::Text(_) => Modality::Text,
        }
    }

    /// What only tells them from media of another shape.
    pub fn shape(&self) -> MediaShape {
        match self {
            Self::Clip(clip) => {
                let [frames, height, width] = clip.shape();
                MediaShape::Clip { frames, height, width, rate: clip.rate() }
            }
            Self::Sound(sound) => {
                let [samples, channels] = sound.shape();
                MediaShape::Sound { samples, channels, rate: sound.rate() }
            }
            Self::Text(_) => MediaShape::Text,
        }
    }

    /// The clip, of whoever (`who`) promised one.
    ///
    /// # Errors
    /// Where they are something else.
    pub fn clip(self, who: &str) -> Result<Clip> {
        match self {
            Self::Clip(clip) => Ok(clip),
            other => Err(other.unexpected(who, Modality::Video)),
        }
    }

    /// The sound, of whoever (`who`) promised one.
    ///
    /// # Errors
    /// Where they are something else.
    pub fn sound(self, who: &str) -> Result<Sound> {
        match self {
            Self::Sound(sound) => Ok(sound),
            other => Err(other.unexpected(who, Modality::Audio)),
        }
    }

    /// The text, of whoever (`who`) promised one.
    ///
    /// # Errors
    /// Where they are something else.
    pub fn text(self, who: &str) -> Result<String> {
        match self {
            Self::Text(text) => Ok(text),
            other => Err(other.unexpected(who, Modality::Text)),
        }
    }

    /// The error that these are not media of the modality that was `expected`.
    pub fn unexpected(&self, who: &str, expected: Modality) -> Error {
        let message = format!("expected {}, found {}", expected.plural(), self.modality().plural());
        Error::new(ErrorKind::Unsupported, who, message)
    }
}
