//! Sound on the host.

use super::Rate;
use crate::{Error, ErrorKind, Result};
use std::{fmt, ops::Range};

/// A sound: `N` samples for each of `C` channels, floating point, every one a finite number.
///
/// Full scale is −1 to 1. Values beyond it are kept, as files of floating-point samples keep them;
/// writers of whole numbers cut them off. A *length* counts samples of one channel.
#[derive(Clone, PartialEq)]
pub struct Sound {
    channels: usize,
    rate: Rate,
    samples: Vec<f32>,
}

// Reflexive, because no sample is NaN.
impl Eq for Sound {}

impl Sound {
    /// Takes samples in the order `[N, C]` (interleaved: all channels of the first moment first),
    /// `rate` of them per second and channel.
    ///
    /// # Errors
    /// Where there are no channels or no samples, the channels do not have equally many samples, or
    /// a sample is not a finite number.
    pub fn new(channels: usize, rate: Rate, samples: Vec<f32>) -> Result<Self> {
        let refused = |found: String| Err(Error::new(ErrorKind::Media, "", found));
        if channels == 0 || samples.is_empty() || !samples.len().is_multiple_of(channels) {
            return refused(format!("{} samples are not a sound of {channels} channels", samples.len()));
        }
        if let Some(at) = samples.iter().position(|sample| !sample.is_finite()) {
            return refused(format!(
                "sample {} of channel {} is {}, not a finite number",
                at / channels,
                at % channels,
                samples[at]
            ));
        }
        Ok(Self { channels, rate, samples })
    }

    /// `[N, C]`.
    pub fn shape(&self) -> [usize; 2] {
        [self.length(), self.channels]
    }

    /// Number of samples of one channel, `N`.
    pub fn length(&self) -> usize {
        self.samples.len() / self.channels
    }

    /// Number of channels `C`.
    pub fn channels(&self) -> usize {
        self.channels
    }

    /// Samples per second and channel.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// The same samples at another rate: a change of speed and pitch, not a resampling.
    pub fn with_rate(mut self, rate: Rate) -> Self {
        self.rate = rate;
        self
    }

    /// How long it lasts, in seconds.
    pub fn seconds(&self) -> f64 {
        self.length() as f64 / self.rate.as_f64()
    }

    /// All samples, `[N, C]`.
    pub fn samples(&self) -> &[f32] {
        &self.samples
    }

    /// All samples, `[N, C]`, to keep.
    pub fn into_samples(self) -> Vec<f32> {
        self.samples
    }

    /// The samples of channel `index`, below `C`.
    pub fn channel(&self, index: usize) -> impl ExactSizeIterator<Item = f32> + '_ {
        assert!(index < self.channels, "there is no channel {index} among {}", self.channels);
        self.samples[index..].iter().step_by(self.channels).copied()
    }

    /// Samples `range` of every channel as a sound of their own; the range must hold at least one
    /// sample of the sound.
    pub fn slice(&self, range: Range<usize>) -> Self {
        let length = self.length();
        assert!(range.start < range.end && range.end <= length, "{range:?} is not within {length} samples");
        let samples = self.samples[range.start * self.channels..range.end * self.channels].to_vec();
        Self { samples, ..*self }
    }

    /// The same sound with `length` samples a channel, one at least: cut off at the end, or followed
    /// by silence.
    pub fn with_length(mut self, length: usize) -> Self {
        assert!(length > 0, "a sound has at least one sample");
        self.samples.resize(length * self.channels, 0.0);
        self
    }

    /// One channel: the mean of all.
    ///
    /// What is equal in all channels stays as loud as it was; nothing can leave full scale.
    pub fn mono(&self) -> Self {
        let mean = |moment: &[f32]| {
            let sum: f64 = moment.iter().copied().map(f64::from).sum();
            (sum / self.channels as f64) as f32
        };
        Self { channels: 1, rate: self.rate, samples: self.samples.chunks_exact(self.channels).map(mean).collect() }
    }
}

impl fmt::Debug for Sound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sound({} samples, {} channels, {} Hz)", self.length(), self.channels, self.rate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sound(channels: usize, samples: &[f32]) -> Result<Sound> {
        Sound::new(channels, Rate::whole(16_000), samples.to_vec())
    }

    #[test]
    fn what_is_no_sound_is_refused() {
        for (channels, samples) in [(0, &[0.0; 4][..]), (1, &[]), (3, &[0.0; 4])] {
            assert!(sound(channels, samples).is_err(), "{channels} channels, {} samples", samples.len());
        }
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let error = sound(2, &[0.0, 0.0, 0.0, bad]).unwrap_err().to_string();
            assert!(error.contains("sample 1 of channel 1"), "{error}");
        }
        assert!(sound(1, &[f32::MAX, f32::MIN, -0.0, f32::MIN_POSITIVE]).is_ok());
    }

    #[test]
    fn samples_are_interleaved() {
        let stereo = sound(2, &[0.0, 1.0, 0.25, -1.0, 0.5, 3.0]).unwrap();
        assert_eq!((stereo.shape(), stereo.length()), ([3, 2], 3));
        assert_eq!(stereo.channel(1).collect::<Vec<_>>(), [1.0, -1.0, 3.0]);
        assert_eq!(stereo.slice(1..3).samples(), [0.25, -1.0, 0.5, 3.0]);
        assert_eq!(stereo.mono().samples(), [0.5, -0.375, 1.75]);
        assert_eq!(stereo.mono().mono(), stereo.mono());
        assert_eq!(stereo.clone().with_length(2), stereo.slice(0..2));
        assert_eq!(stereo.clone().with_length(5).samples()[6..], [0.0; 4]);
        assert_eq!(stereo.seconds(), 3.0 / 16_000.0);
    }

    #[test]
    fn a_mean_of_the_loudest_samples_does_not_overflow() {
        assert_eq!(sound(3, &[f32::MAX; 3]).unwrap().mono().samples(), [f32::MAX]);
    }
}
