//! Quantizers: how latents become tokens and back.

mod lfq;

pub use lfq::entropies;

use crate::magvit2::codes_of;
use burn::tensor::{Int, Tensor};
use musiva_core::tokens::{code_of, signs};
use musiva_core::{Error, ErrorKind, Flaw, Result, TokenKind, TokenValues, Tokens};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What turns latents into tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum Quantizer {
    /// Lookup-free quantization: each channel becomes its sign, the code is the signs read as binary
    /// digits (MAGVIT-v2, section 3.1).
    Lfq {
        /// Channels, so `2^bits` entries.
        #[schemars(range(min = 1, max = 24))]
        bits: usize,
    },
    /// A continuous latent whose distribution a Kullback-Leibler term keeps near the normal one.
    Kl {
        /// Channels.
        #[schemars(range(min = 1, max = 256))]
        channels: usize,
    },
}

impl Default for Quantizer {
    fn default() -> Self {
        Self::Lfq { bits: 10 }
    }
}

/// Latents on their way through a quantizer while training.
pub struct Quantized {
    /// What the decoder reads: `[B, C, t, h, w]`.
    pub latents_out: Tensor<5>,
    /// Before quantization, `[B·t·h·w, C]`.
    pub latents: Tensor<2>,
    /// Log-variance of a KL latent.
    pub log_variance: Option<Tensor<2>>,
    /// Codes of a discrete one, `[B·t·h·w]`.
    pub codes: Option<Tensor<1, Int>>,
}

impl Quantizer {
    /// Length of a latent vector.
    pub fn channels(&self) -> usize {
        match *self {
            Self::Lfq { bits } => bits,
            Self::Kl { channels } => channels,
        }
    }

    /// How many numbers the encoder makes for each channel: a mean, and a log-variance for `kl`.
    pub fn moments(&self) -> usize {
        match self {
            Self::Lfq { .. } => 1,
            Self::Kl { .. } => 2,
        }
    }

    /// What one token is.
    pub fn kind(&self) -> TokenKind {
        match *self {
            Self::Lfq { bits } => TokenKind::Codes { entries: 1 << bits, bits: Some(bits) },
            Self::Kl { channels } => TokenKind::Latents { channels },
        }
    }

    /// What is wrong with it.
    pub fn flaws(&self) -> Vec<Flaw> {
        match *self {
            Self::Lfq { bits } if !(1..=24).contains(&bits) => {
                let message = format!("{bits} bits would be 2^{bits} entries; 1 to 24 bits are possible");
                vec![Flaw::new("quantizer.bits", message, "set `bits = 10`")]
            }
            Self::Kl { channels: 0 } => {
                vec![Flaw::new("quantizer.channels", "a latent has at least one channel", "set `channels = 8`")]
            }
            _ => Vec::new(),
        }
    }

    /// Quantizes while training: the gradient passes straight through the sign. `moments` is
    /// `[B, C·m, t, h, w]`, `flat` the same with channels last, `[B·t·h·w, C·m]`.
    pub fn forward(&self, moments: Tensor<5>, flat: Tensor<2>) -> Quantized {
        match *self {
            Self::Lfq { .. } => Quantized {
                latents_out: lfq::straight_through(moments),
                codes: Some(lfq::codes(flat.clone())),
                latents: flat,
                log_variance: None,
            },
            // The decoder reads the mean: with the tiny weight that the KL term has, drawing from
            // the posterior only blurs.
            Self::Kl { channels } => Quantized {
                latents_out: moments.slice_dim(1, 0..channels),
                latents: flat.clone().slice_dim(1, 0..channels),
                log_variance: Some(flat.slice_dim(1, channels..2 * channels).clamp(-30.0, 20.0)),
                codes: None,
            },
        }
    }

    /// Tokens of latents `[t, h, w, C]`.
    pub fn tokens(&self, grid: [usize; 3], latents: Vec<f32>) -> Result<Tokens> {
        match *self {
            Self::Lfq { bits } => Tokens::codes(grid, 1 << bits, latents.chunks(bits).map(code_of).collect()),
            Self::Kl { channels } => Tokens::latents(grid, channels, latents),
        }
    }

    /// The vectors that the decoder reads for tokens, `[t, h, w, C]`.
    ///
    /// # Errors
    /// Where the tokens are of another kind.
    pub fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        let other = |found: String| {
            Error::new(ErrorKind::Weights, "tokens", format!("{found}, this tokenizer makes {}", self.kind()))
                .mend("decode them with the recipe that made them")
        };
        match (*self, tokens.values()) {
            (Self::Lfq { bits }, TokenValues::Codes { .. }) => {
                let (codes, entries) = codes_of(tokens).expect("just matched");
                if entries != 1 << bits {
                    return Err(other(format!("codes of {entries} entries")));
                }
                Ok(codes.iter().flat_map(|&code| signs(code, bits)).collect())
            }
            (Self::Kl { channels }, TokenValues::Latents { channels: found, values }) => match *found == channels {
                true => Ok(values.clone()),
                false => Err(other(format!("latents of {found} channels"))),
            },
            (_, TokenValues::Codes { entries, .. }) => Err(other(format!("codes of {entries} entries"))),
            (_, TokenValues::Latents { channels, .. }) => Err(other(format!("latents of {channels} channels"))),
        }
    }
}
