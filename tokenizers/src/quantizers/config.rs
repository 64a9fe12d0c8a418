//! What a recipe says of a quantizer.

use super::codebook::{Codebook, Distance, Following};
use super::{AnyQuantizer, Bsq, Fsq, Kl, Lfq, Rvq, Vq};
use musiva_core::{ConfigError, Init, TokenKind};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Entries that codes can name: an embedding reads them, and an `f32` counts them exactly.
const MOST_ENTRIES: usize = 1 << 24;

/// What turns latents into tokens.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum QuantizerConfig {
    /// Lookup-free quantization: each channel becomes its sign, the code is the signs read as binary
    /// digits (MAGVIT-v2, section 3.1).
    Lfq {
        /// Channels, so `2^bits` entries.
        #[schemars(range(min = 1, max = 24))]
        bits: usize,
    },
    /// Binary spherical quantization: signs of a latent of length 1 (Zhao et al. 2024). Its codes lie closer
    /// together than those of `lfq`: set `train.loss.temperature` near 0.02.
    Bsq {
        /// Channels, so `2^bits` entries.
        #[schemars(range(min = 1, max = 24))]
        bits: usize,
    },
    /// Finite scalar quantization: each channel is rounded to one of a few levels (Mentzer et al. 2023).
    Fsq {
        /// Levels of each channel; their product is the number of entries.
        #[schemars(length(min = 1, max = 24), inner(range(min = 2, max = 1000)))]
        levels: Vec<usize>,
    },
    /// Vector quantization: the nearest entry of a codebook that is an EMA of the latents (van den Oord et al. 2017).
    Vq {
        /// Vectors of the codebook.
        #[schemars(range(min = 2, max = 262_144))]
        entries: usize,
        /// Length of a vector.
        #[schemars(range(min = 1, max = 1024))]
        channels: usize,
        /// What "nearest" means.
        #[serde(default)]
        distance: Distance,
        /// Decay of the EMA that updates the entries.
        #[serde(default = "decay")]
        #[schemars(extend("minimum" = 0.0, "exclusiveMaximum" = 1.0))]
        decay: f64,
        /// An entry that is used less than this fraction of its fair share restarts at a latent of the batch; 0: none
        /// does.
        #[serde(default = "restart")]
        #[schemars(extend("minimum" = 0.0, "exclusiveMaximum" = 1.0))]
        restart: f64,
    },
    /// Residual vector quantization: several codebooks, each for what those before it left over (SoundStream).
    Rvq {
        /// Codebooks, so codes per position.
        #[schemars(range(min = 1, max = 64))]
        levels: usize,
        /// Vectors of each codebook.
        #[schemars(range(min = 2, max = 65_536))]
        entries: usize,
        /// Length of a vector.
        #[schemars(range(min = 1, max = 1024))]
        channels: usize,
        /// Decay of the EMA that updates the entries.
        #[serde(default = "decay")]
        #[schemars(extend("minimum" = 0.0, "exclusiveMaximum" = 1.0))]
        decay: f64,
        /// An entry that is used less than this fraction of its fair share restarts at a latent of the batch; 0: none
        /// does.
        #[serde(default = "restart")]
        #[schemars(extend("minimum" = 0.0, "exclusiveMaximum" = 1.0))]
        restart: f64,
        /// Quantizer dropout: probability that a training example goes through a random number of levels, 1 to all,
        /// instead of all of them, so that fewer levels decode well too. SoundStream has 1.
        #[serde(default = "dropout")]
        #[schemars(range(min = 0.0, max = 1.0))]
        dropout: f64,
        /// How the codes of a position are stored: the weights are the same.
        #[serde(default, skip_serializing_if = "RvqTokens::is_codes")]
        #[schemars(extend("default" = "codes"))]
        tokens: RvqTokens,
    },
    /// A continuous latent whose distribution a Kullback-Leibler term keeps near the normal one.
    Kl {
        /// Channels.
        #[schemars(range(min = 1, max = 256))]
        channels: usize,
    },
}

/// What the codes of all levels of a place are kept as.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum RvqTokens {
    /// As codes: what a language model or a masked model reads.
    #[default]
    Codes,
    /// As the vector that they decode to, of about unit size: what a diffusion model reads. Its output is rounded to
    /// the nearest codes.
    Vectors,
}

impl RvqTokens {
    fn is_codes(&self) -> bool {
        *self == Self::Codes
    }
}

fn decay() -> f64 {
    0.99
}

fn restart() -> f64 {
    0.1
}

fn dropout() -> f64 {
    0.5
}

impl Default for QuantizerConfig {
    fn default() -> Self {
        Self::Lfq { bits: 10 }
    }
}

impl QuantizerConfig {
    /// Length `C` of a latent vector.
    pub fn channels(&self) -> usize {
        match self {
            Self::Lfq { bits } | Self::Bsq { bits } => *bits,
            Self::Fsq { levels } => levels.len(),
            Self::Vq { channels, .. } | Self::Rvq { channels, .. } | Self::Kl { channels } => *channels,
        }
    }

    /// How many numbers the encoder makes for each channel: a mean, and a log-variance for `kl`.
    pub fn moments(&self) -> usize {
        match self {
            Self::Kl { .. } => 2,
            _ => 1,
        }
    }

    /// What one token is.
    pub fn kind(&self) -> TokenKind {
        match self {
            Self::Lfq { bits } | Self::Bsq { bits } => {
                TokenKind::Codes { levels: 1, entries: 1 << bits, bits: Some(*bits) }
            }
            Self::Fsq { levels } => TokenKind::Codes { levels: 1, entries: levels.iter().product(), bits: None },
            Self::Vq { entries, .. } => TokenKind::Codes { levels: 1, entries: *entries, bits: None },
            Self::Rvq { channels, tokens: RvqTokens::Vectors, .. } => TokenKind::Vectors { channels: *channels },
            Self::Rvq { .. } => self.codes(),
            Self::Kl { channels } => TokenKind::Vectors { channels: *channels },
        }
    }

    /// What stands behind one token: as [`kind`](Self::kind), but of vectors that stand for codes those codes.
    pub fn codes(&self) -> TokenKind {
        match self {
            Self::Rvq { levels, entries, .. } => TokenKind::residual(*levels, *entries),
            _ => self.kind(),
        }
    }

    /// Bits that one place takes when all codes are alike: `Q·log₂K`; none of a continuous latent.
    pub fn bits(&self) -> Option<f64> {
        self.codes().information()
    }

    /// How many numbers its own weights hold: codebooks with the averages that they follow.
    pub fn parameters(&self) -> usize {
        match self {
            Self::Vq { entries, channels, .. } => Codebook::parameters(*entries, *channels),
            Self::Rvq { levels, entries, channels, .. } => levels * Codebook::parameters(*entries, *channels),
            Self::Kl { channels } => Kl::parameters(*channels),
            Self::Lfq { .. } | Self::Bsq { .. } | Self::Fsq { .. } => 0,
        }
    }

    /// Builds it.
    pub fn init(&self, init: &Init) -> AnyQuantizer {
        match *self {
            Self::Lfq { bits } => AnyQuantizer::Lfq(Lfq::new(bits)),
            Self::Bsq { bits } => AnyQuantizer::Bsq(Bsq::new(bits)),
            Self::Fsq { ref levels } => AnyQuantizer::Fsq(Fsq::new(levels.clone())),
            Self::Vq { entries, channels, distance, decay, restart } => {
                AnyQuantizer::Vq(Vq::new(entries, channels, Following { distance, decay, restart }, init))
            }
            Self::Rvq { levels, entries, channels, decay, restart, dropout, tokens } => {
                // By angles alone what is left over would not get shorter: a residual has a length.
                let following = Following { distance: Distance::Euclidean, decay, restart };
                AnyQuantizer::Rvq(Rvq::new([levels, entries, channels], following, dropout, init).keeping(tokens))
            }
            Self::Kl { channels } => AnyQuantizer::Kl(Kl::new(channels, init)),
        }
    }

    /// What is wrong with it.
    pub fn errors(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut demand = |holds: bool, key: &str, message: String, hint: &str| {
            if !holds {
                errors.push(ConfigError::new(format!("quantizer.{key}"), message, hint));
            }
        };
        match self {
            Self::Lfq { bits } | Self::Bsq { bits } => {
                let message = format!("{bits} bits would be 2^{bits} entries; 1 to 24 bits are possible");
                demand((1..=24).contains(bits), "bits", message, "set `bits = 10`");
            }
            Self::Fsq { levels } => {
                let entries = levels.iter().try_fold(1usize, |n, &level| n.checked_mul(level));
                let hint = "set `levels = [8, 5, 5, 5]`";
                let message = "there is at least one channel, and each has 2 to 1000 levels".to_owned();
                let possible = !levels.is_empty() && levels.iter().all(|level| (2..=1000).contains(level));
                demand(possible, "levels", message, hint);
                let message = format!("{levels:?} are more than {MOST_ENTRIES} entries together");
                demand(entries.is_some_and(|entries| entries <= MOST_ENTRIES), "levels", message, hint);
            }
            Self::Vq { entries, channels, decay, restart, .. }
            | Self::Rvq { entries, channels, decay, restart, .. } => {
                let most = if let Self::Rvq { .. } = self { 1 << 16 } else { 1 << 18 };
                let message = format!("{entries} entries; 2 to {most} are possible");
                demand((2..=most).contains(entries), "entries", message, "set `entries = 1024`");
                let message = format!("vectors of {channels} numbers; 1 to 1024 are possible");
                demand((1..=1024).contains(channels), "channels", message, "set `channels = 32`");
                for (key, value, hint) in
                    [("decay", decay, "set `decay = 0.99`"), ("restart", restart, "set `restart = 0.1`")]
                {
                    let message = format!("{value} is not in 0 to 1, which itself is none of it");
                    demand((0.0..1.0).contains(value), key, message, hint);
                }
            }
            Self::Kl { channels } => {
                let message = "a latent has at least one channel".to_owned();
                demand(*channels > 0, "channels", message, "set `channels = 8`");
            }
        }
        if let Self::Rvq { levels, dropout, .. } = self {
            let message = format!("{levels} levels; 1 to 64 are possible");
            demand((1..=64).contains(levels), "levels", message, "set `levels = 8`");
            let message = format!("a probability of {dropout}");
            demand((0.0..=1.0).contains(dropout), "dropout", message, "set `dropout = 0.5`");
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantizers::Quantizer;
    use burn::tensor::Device;
    use musiva_core::Parameters;

    fn read(text: &str) -> Result<QuantizerConfig, serde_json::Error> {
        serde_json::from_str(text)
    }

    #[test]
    fn recipes_name_what_they_mean_and_leave_out_what_is_usual() {
        let vq = read(r#"{"kind": "vq", "entries": 1024, "channels": 8}"#).unwrap();
        let distance = Distance::Euclidean;
        assert_eq!(vq, QuantizerConfig::Vq { entries: 1024, channels: 8, distance, decay: 0.99, restart: 0.1 });
        let rvq = read(r#"{"kind": "rvq", "levels": 8, "entries": 1024, "channels": 64}"#).unwrap();
        assert_eq!((rvq.kind(), rvq.bits()), (TokenKind::residual(8, 1024), Some(80.0)));
        let fsq = read(r#"{"kind": "fsq", "levels": [8, 5, 5, 5]}"#).unwrap();
        assert_eq!((fsq.kind(), fsq.channels()), (TokenKind::Codes { levels: 1, entries: 1000, bits: None }, 4));
        assert!(read(r#"{"kind": "fsq", "levels": [8], "bits": 3}"#).is_err());
        assert!(read(r#"{"kind": "vq", "entries": 8, "channels": 8, "distance": "manhattan"}"#).is_err());
    }

    #[test]
    fn what_is_built_is_what_was_said() {
        for config in crate::quantizers::tests::all() {
            assert!(config.errors().is_empty());
            let built = config.init(&Init::new(1, &Device::flex()));
            assert_eq!(built.kind(), config.kind());
            assert_eq!(built.count(), config.parameters());
        }
    }

    #[test]
    fn flaws_name_their_key_and_hint() {
        let vq =
            QuantizerConfig::Vq { entries: 1, channels: 0, distance: Distance::Cosine, decay: 1.0, restart: f64::NAN };
        let rvq = |levels, dropout| QuantizerConfig::Rvq {
            levels,
            entries: 2,
            channels: 1,
            decay: 0.0,
            restart: 0.0,
            dropout,
            tokens: RvqTokens::Codes,
        };
        for (config, keys) in [
            (vq, vec!["entries", "channels", "decay", "restart"]),
            (rvq(0, 1.5), vec!["levels", "dropout"]),
            (rvq(1, 1.0), vec![]),
            (QuantizerConfig::Lfq { bits: 25 }, vec!["bits"]),
            (QuantizerConfig::Bsq { bits: 0 }, vec!["bits"]),
            (QuantizerConfig::Fsq { levels: vec![] }, vec!["levels"]),
            (QuantizerConfig::Fsq { levels: vec![8, 1] }, vec!["levels"]),
            (QuantizerConfig::Fsq { levels: vec![1000; 3] }, vec!["levels"]),
            (QuantizerConfig::Kl { channels: 0 }, vec!["channels"]),
        ] {
            let found: Vec<String> = config.errors().into_iter().map(|error| error.path).collect();
            assert_eq!(found, keys.iter().map(|key| format!("quantizer.{key}")).collect::<Vec<_>>(), "{config:?}");
            assert!(config.errors().iter().all(|error| error.hint.starts_with("set `")));
        }
    }
}
