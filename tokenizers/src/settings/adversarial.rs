//! What a tokenizer's training may add to its plain losses: `[train.adversarial]` and `[train.perceptual]`.

use musiva_core::ConfigError;
use musiva_core::recipe::{Target, TrainSettings, TrainTable};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The game that a tokenizer and a discriminator play.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdversarialLoss {
    /// Logits are pushed beyond 1 and -1, and no further.
    Hinge,
    /// Logits are those of a probability.
    NonSaturating,
}

/// A discriminator that a tokenizer is trained against: `[train.adversarial]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Adversarial {
    /// Which loss both sides have.
    pub loss: AdversarialLoss,
    /// Weight of the adversarial loss, with `feature`, beside the other losses.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub weight: f64,
    /// Weight of feature matching: the difference of the discriminator's features between real and reconstructed media
    /// (SoundStream, equation 3, has 100).
    #[schemars(range(min = 0.0))]
    pub feature: f64,
    /// Adaptive weight: scales the discriminator's gradient at the media to the norm of that of all other losses before
    /// `weight` is applied, by this factor at most; left out, it is not scaled.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adaptive: Option<f64>,
    /// Step at which the discriminator begins to train and its loss to count.
    pub start: usize,
    /// Its learning rate, with the warm-up and the schedule of the tokenizer's; `weight` rises with its warm-up.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1.0))]
    pub learning_rate: f64,
    /// Decay of its optimizer's first and second moments.
    #[schemars(inner(range(min = 0.0, max = 0.999999)))]
    pub betas: [f64; 2],
    /// Weight of the R1 penalty on the slope of the discriminator at real media; 0: none.
    #[schemars(range(min = 0.0))]
    pub r1: f64,
    /// Steps from one R1 penalty to the next, which weighs as many times more (StyleGAN2, appendix B).
    #[schemars(range(min = 1))]
    pub r1_every: usize,
    /// Weight of the LeCam regularisation of the discriminator's logits; 0: none.
    #[schemars(range(min = 0.0))]
    pub lecam: f64,
    /// Channels of its first layer; of sounds a power of two from 4.
    #[schemars(range(min = 1, max = 1024))]
    pub channels: usize,
    /// Channels that no layer has more of; of sounds a power of two.
    #[schemars(range(min = 1, max = 4096))]
    pub widest: usize,
    /// Residual blocks of a discriminator of clips, each of which halves frames, rows and columns.
    #[schemars(range(min = 1, max = 8))]
    pub blocks: usize,
    /// Samples of the windows in which a discriminator of sounds sees their spectrum, a multiple of 128.
    #[schemars(range(min = 128, max = 16384))]
    pub window: usize,
}

impl Default for Adversarial {
    fn default() -> Self {
        Self {
            loss: AdversarialLoss::Hinge,
            weight: 0.1,
            feature: 0.0,
            adaptive: None,
            start: 0,
            learning_rate: 1e-4,
            betas: [0.5, 0.9],
            r1: 0.0,
            r1_every: 16,
            lecam: 0.0,
            channels: 16,
            widest: 128,
            blocks: 4,
            window: 1024,
        }
    }
}

impl Adversarial {
    /// The step of the discriminator's own training at `step` of the tokenizer's; `None` before its start.
    pub fn step(&self, step: u64) -> Option<u64> {
        step.checked_sub(self.start as u64)
    }

    /// What is wrong with it for clips, or for sounds in windows of so many `samples`.
    fn misfits(&self, of_sounds: bool, samples: Option<usize>) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if self.widest < self.channels {
            let message =
                format!("a first layer of {} channels is wider than the widest, {}", self.channels, self.widest);
            errors.push(ConfigError::new("widest", message, format!("set `widest = {}`", self.channels)));
        }
        if !of_sounds {
            return errors;
        }
        for (key, channels) in [("channels", self.channels), ("widest", self.widest)] {
            if channels < 4 || !channels.is_power_of_two() {
                let message = format!("{channels} channels do not fall into groups of four at every layer");
                let fitting = channels.max(4).next_power_of_two();
                errors.push(ConfigError::new(key, message, format!("set `{key} = {fitting}`")));
            }
        }
        if !self.window.is_multiple_of(128) {
            let message = format!("a spectrum of windows of {} samples cannot be halved six times", self.window);
            errors.push(ConfigError::new(
                "window",
                message,
                format!("set `window = {}`", self.window.next_multiple_of(128)),
            ));
        } else if let Some(samples) = samples.filter(|&samples| samples < self.window) {
            let message = format!("training is on {samples} samples, which do not fill a window of {}", self.window);
            let fitting = (samples / 128 * 128).max(128);
            errors.push(ConfigError::new("window", message, format!("set `window = {fitting}`")));
        }
        errors
    }
}

impl TrainTable for Adversarial {
    fn key(&self) -> &'static str {
        "adversarial"
    }

    fn errors(&self, train: &TrainSettings) -> Vec<ConfigError> {
        if !matches!(train.target, Target::Video | Target::Audio) {
            let message = format!("a discriminator is for a tokenizer of media, the target is \"{}\"", train.target);
            return vec![ConfigError::new("", message, "delete this table")];
        }
        self.misfits(train.target == Target::Audio, train.samples)
    }
}

/// A loss by what a network for pictures sees in them: `[train.perceptual]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Perceptual {
    /// Weight of the distance of features, beside the other losses.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub weight: f64,
    /// LPIPS-VGG16's weights as `tools/lpips_to_safetensors.py` writes them; left out, features are those of a small
    /// network of random weights, which is no LPIPS.
    #[schemars(extend("format" = "path"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub weights: Option<PathBuf>,
    /// Frames of each clip that are compared, drawn at random; left out, all.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<usize>,
}

impl Default for Perceptual {
    fn default() -> Self {
        Self { weight: 0.1, weights: None, frames: None }
    }
}

impl TrainTable for Perceptual {
    fn key(&self) -> &'static str {
        "perceptual"
    }

    fn errors(&self, train: &TrainSettings) -> Vec<ConfigError> {
        if train.target == Target::Video {
            return Vec::new();
        }
        let message = format!("it is for a video tokenizer, the target is \"{}\"", train.target);
        vec![ConfigError::new("", message, "delete this table")]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_with_its_hint() {
        let paths = |a: &Adversarial, sounds, samples| -> Vec<String> {
            a.misfits(sounds, samples).into_iter().map(|error| format!("{}: {}", error.path, error.hint)).collect()
        };
        let fine = Adversarial::default();
        assert!(paths(&fine, true, Some(2400)).is_empty() && paths(&fine, false, None).is_empty());
        assert_eq!(paths(&fine, true, Some(1000)), ["window: set `window = 896`"]);
        let odd = Adversarial { channels: 6, widest: 5, window: 1000, ..fine };
        assert_eq!(paths(&odd, false, None), ["widest: set `widest = 6`"]);
        assert_eq!(
            paths(&odd, true, None)[1..],
            ["channels: set `channels = 8`", "widest: set `widest = 8`", "window: set `window = 1024`"]
        );
    }

    #[test]
    fn a_late_discriminator_counts_from_its_own_start() {
        let late = Adversarial { start: 100, ..Adversarial::default() };
        assert_eq!([99, 100, 103].map(|step| late.step(step)), [None, Some(0), Some(3)]);
    }
}
