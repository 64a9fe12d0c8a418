//! How well a tokenizer does on data that it was not trained on, as its weights file says it; and whether other media are
//! like those.

use crate::measure::{psnr, row};
use burn::tensor::Device;
use musiva_core::parameters::to_vec;
use musiva_core::recipe::{Part, annotation};
use musiva_core::{Media, Result, Tokenizer, TokenizerConfig};
use musiva_tokenizers::losses::MelScales;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Under which key weights files of tokenizers have it, as JSON.
pub const HELD_OUT: &str = "musiva.held_out";

/// Decibels: a clip is far from the training data if its PSNR is lower than that of the held-out data by more.
const FAR_PSNR: f64 = 6.0;
/// A factor: a sound is far from the training data if its mel distance exceeds that of the held-out data by more.
const FAR_MEL: f64 = 2.0;

/// How well media are reconstructed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fidelity {
    /// Of clips: peak signal-to-noise ratio in dB.
    Psnr(f64),
    /// Of sounds: multi-scale mel distance.
    MelDistance(f64),
}

/// How well held-out samples are reconstructed.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldOut {
    /// Mean over the samples.
    #[serde(flatten)]
    pub fidelity: Fidelity,
    /// How many.
    pub samples: usize,
}

impl Fidelity {
    /// Of a tokenizer's reconstruction of media; `None` of texts, and of sounds that are too short or too loud to measure.
    ///
    /// # Errors
    /// What the tokenizer returns.
    pub fn of(tokenizer: &dyn Tokenizer, media: &Media) -> Result<Option<Self>> {
        Self::between(media, &tokenizer.decode(&tokenizer.encode(media)?)?)
    }

    /// Of media and their reconstruction.
    ///
    /// # Errors
    /// Where the sizes of two clips differ.
    pub fn between(media: &Media, made: &Media) -> Result<Option<Self>> {
        match (media, made) {
            (Media::Clip(clip), Media::Clip(made)) => {
                psnr(clip, &made.clone().with_rate(clip.rate())).map(Self::psnr).map(Some)
            }
            (Media::Sound(sound), Media::Sound(made)) if sound.length() >= MelScales::SHORTEST => {
                let made = made.clone().with_length(sound.length());
                let scales = MelScales::new(sound.rate(), sound.length(), &Device::flex());
                let distance = f64::from(to_vec(scales.distance(row(sound), row(&made)))[0]);
                // Samples far beyond full scale have none.
                Ok(distance.is_finite().then_some(Self::MelDistance(distance)))
            }
            _ => Ok(None),
        }
    }

    /// From a PSNR in dB, capped at 100: that of equal clips is infinite, which JSON cannot write.
    pub fn psnr(decibels: f64) -> Self {
        Self::Psnr(decibels.min(100.0))
    }

    /// Whether it is far worse than another.
    pub fn is_far_from(self, other: Self) -> bool {
        match (self, other) {
            (Self::Psnr(here), Self::Psnr(there)) => here < there - FAR_PSNR,
            (Self::MelDistance(here), Self::MelDistance(there)) => here > there * FAR_MEL,
            _ => false,
        }
    }
}

impl fmt::Display for Fidelity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Psnr(decibels) => write!(f, "PSNR {decibels:.1} dB"),
            Self::MelDistance(distance) => write!(f, "mel distance {distance:.2}"),
        }
    }
}

impl HeldOut {
    /// Of what a tokenizer makes of samples; `None` where none can be measured.
    ///
    /// # Errors
    /// What the tokenizer returns.
    pub fn of(tokenizer: &dyn Tokenizer, samples: &[Media]) -> Result<Option<Self>> {
        let all: Vec<_> = samples.iter().map(|media| Fidelity::of(tokenizer, media)).collect::<Result<_>>()?;
        let all: Vec<Fidelity> = all.into_iter().flatten().collect();
        let (Some(first), count) = (all.first(), all.len()) else { return Ok(None) };
        let mean = |value: fn(&Fidelity) -> f64| all.iter().map(value).sum::<f64>() / count as f64;
        let value: fn(&Fidelity) -> f64 = |one| match one {
            Fidelity::Psnr(value) | Fidelity::MelDistance(value) => *value,
        };
        let fidelity = match first {
            Fidelity::Psnr(_) => Fidelity::Psnr(mean(value)),
            Fidelity::MelDistance(_) => Fidelity::MelDistance(mean(value)),
        };
        Ok(Some(Self { fidelity, samples: count }))
    }

    /// What the weights of a part of a recipe say; `None` where they do not.
    ///
    /// # Errors
    /// Where they cannot be read.
    pub fn said(part: &Part<dyn TokenizerConfig>) -> Result<Option<Self>> {
        let file = part.weights.as_deref().filter(|file| file.is_file());
        file.map_or(Ok(None), |file| annotation(file, HELD_OUT))
    }

    /// For the metadata of a weights file.
    pub fn json(&self) -> String {
        serde_json::to_string(self).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn far_is_worse_by_more_than_a_little() {
        assert!(Fidelity::Psnr(9.8).is_far_from(Fidelity::Psnr(24.0)));
        assert!(!Fidelity::Psnr(18.1).is_far_from(Fidelity::Psnr(24.0)));
        assert!(!Fidelity::Psnr(40.0).is_far_from(Fidelity::Psnr(24.0)));
        assert!(Fidelity::MelDistance(9.0).is_far_from(Fidelity::MelDistance(4.0)));
        assert!(!Fidelity::MelDistance(1.0).is_far_from(Fidelity::MelDistance(4.0)));
    }

    #[test]
    fn it_is_read_back_as_it_is_written() {
        for fidelity in [Fidelity::Psnr(24.5), Fidelity::MelDistance(3.25)] {
            let held_out = HeldOut { fidelity, samples: 8 };
            assert_eq!(serde_json::from_str::<HeldOut>(&held_out.json()).unwrap(), held_out);
        }
        let json = HeldOut { fidelity: Fidelity::Psnr(24.5), samples: 8 }.json();
        assert_eq!(json, r#"{"psnr":24.5,"samples":8}"#);
    }
}
