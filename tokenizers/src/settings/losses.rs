//! What the losses of tokenizers weigh: `[train.loss]` and `[train.sound_loss]`.

use musiva_core::recipe::TrainTable;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The loss of a video tokenizer, a weighted sum: `[train.loss]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TokenizerLoss {
    /// Weight of the mean absolute error of the pixels.
    #[schemars(range(min = 0.0))]
    pub l1: f64,
    /// Weight of the mean squared error of the pixels.
    #[schemars(range(min = 0.0))]
    pub l2: f64,
    /// Weight, in both, of a pixel that differs from the background (its median over the clip's
    /// frames); the others weigh 1.
    #[schemars(range(min = 0.0))]
    pub foreground: f64,
    /// Weight of the entropy of single tokens, made small: each one sure (MAGVIT-v2, equation 5).
    #[schemars(range(min = 0.0))]
    pub entropy: f64,
    /// Weight of the entropy over the batch, made large: all codes used.
    #[schemars(range(min = 0.0))]
    pub diversity: f64,
    /// What `diversity` has become at the last step.
    #[schemars(range(min = 0.0))]
    pub diversity_end: f64,
    /// Fraction of the steps after which `diversity` goes to `diversity_end`.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub anneal_from: f64,
    /// Temperature of the code probabilities that the entropies are taken of.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub temperature: f64,
    /// Weight of the squared distance between a latent and its code.
    #[schemars(range(min = 0.0))]
    pub commitment: f64,
    /// Weight of the Kullback-Leibler term of a continuous latent.
    #[schemars(range(min = 0.0))]
    pub kl: f64,
}

impl Default for TokenizerLoss {
    fn default() -> Self {
        Self {
            l1: 1.0,
            l2: 10.0,
            foreground: 1.0,
            entropy: 0.02,
            diversity: 1.0,
            diversity_end: 0.1,
            anneal_from: 0.6,
            temperature: 1.0,
            commitment: 0.25,
            kl: 1e-6,
        }
    }
}

impl TokenizerLoss {
    /// The weight of the batch entropy at a fraction of the steps.
    pub fn diversity_at(&self, done: f64) -> f64 {
        if done <= self.anneal_from {
            return self.diversity;
        }
        let way = ((done - self.anneal_from) / (1.0 - self.anneal_from)).min(1.0);
        self.diversity + (self.diversity_end - self.diversity) * way
    }
}

/// The loss of an audio tokenizer, a weighted sum: `[train.sound_loss]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SoundLoss {
    /// Weight of the mean absolute error of the samples.
    #[schemars(range(min = 0.0))]
    pub wave: f64,
    /// Weight of the energy of the error over the energy of the sounds, both of a whole batch: unlike `wave` it goes by
    /// what is loud, so that silence does not outvote it.
    #[schemars(range(min = 0.0))]
    pub noise: f64,
    /// Weight of the difference of mel spectrograms in windows of 64 to 2048 samples (SoundStream, equations 4 and 5).
    #[schemars(range(min = 0.0))]
    pub mel: f64,
    /// What is silence to `mel`, in decibels below full scale: sounds that are exactly silent in parts pull the harder
    /// at these parts the lower it is.
    #[schemars(range(min = -120.0, max = -20.0))]
    pub floor: f64,
    /// Weight of the squared distance between a latent and its code.
    #[schemars(range(min = 0.0))]
    pub commitment: f64,
    /// Steps at the start in which latents are not quantized, so that the codebooks meet latents that mean something.
    pub unquantized: usize,
}

impl Default for SoundLoss {
    fn default() -> Self {
        Self { wave: 1.0, noise: 0.0, mel: 1.0, floor: -80.0, commitment: 0.25, unquantized: 0 }
    }
}

impl TrainTable for TokenizerLoss {
    fn key(&self) -> &'static str {
        "loss"
    }
}

impl TrainTable for SoundLoss {
    fn key(&self) -> &'static str {
        "sound_loss"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn diversity_anneals() {
        let loss = TokenizerLoss { diversity: 1.0, diversity_end: 0.2, anneal_from: 0.6, ..TokenizerLoss::default() };
        let at = [0.0, 0.6, 0.8, 1.0].map(|done| (loss.diversity_at(done) * 1e6).round() / 1e6);
        assert_eq!(at, [1.0, 1.0, 0.6, 0.2]);
        let late = TokenizerLoss { anneal_from: 1.0, ..loss };
        assert_eq!(late.diversity_at(1.0), 1.0);
    }
}
