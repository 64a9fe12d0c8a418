//! Quantizers: how latents become tokens and back.
//!
//! A *latent* is what an encoder makes of a place, `C` numbers. A *code* is the entry of a codebook that
//! stands for it, one of `K`; of a residual quantizer a place has `Q` codes, one a *level*. A *vector* is
//! what a code means to the decoder, `C` numbers again.
//!
//! | kind | code | codebook | steered in training by |
//! |---|---|---|---|
//! | [`Lfq`] | signs | implicit | commitment, entropies |
//! | [`Bsq`] | signs on the unit sphere | implicit | commitment, factorised entropies |
//! | [`Fsq`] | a whole number a channel | implicit | nothing |
//! | [`Vq`] | the nearest entry | follows its latents | commitment |
//! | [`Rvq`] | the nearest entry, level by level; or the [sum of these](RvqTokens::Vectors) | one a level | commitment |
//! | [`Kl`] | none: the latent is the token | | Kullback-Leibler divergence |
//!
//! The losses themselves are no part of a quantizer: [`Quantized`] holds what they are computed from.

mod bsq;
mod codebook;
mod config;
mod entropy;
mod fsq;
#[cfg(test)]
mod hand_tests;
mod kl;
mod lfq;
mod rvq;
mod snap;
mod statistics;
#[cfg(test)]
mod tests;
mod vq;

pub use bsq::Bsq;
pub use codebook::{Codebook, Distance, Following};
pub use config::{QuantizerConfig, RvqTokens};
pub use entropy::entropies;
pub use fsq::Fsq;
pub use kl::Kl;
pub use lfq::Lfq;
pub use rvq::Rvq;
pub use statistics::CodeUse;
pub use vq::Vq;

use burn::module::Module;
use burn::tensor::{Int, Tensor};
use codebook::replace;
use musiva_core::{Error, ErrorKind, Quantized, Result, RngKey, TokenKind, Tokens};

/// Keys of a tokenizer's configuration that steer training alone, or how its tokens are kept.
pub const NEUTRAL: &[&str] = &["quantizer.decay", "quantizer.restart", "quantizer.dropout", "quantizer.tokens"];

/// Latents ⇄ tokens.
///
/// For who calls it: [`tokens`](Self::tokens) and [`vectors`](Self::vectors) are encoding and decoding;
/// [`forward`](Self::forward) is both at once in training, after which [`update_ema`](Self::update_ema) is called
/// once a step, with the same draw. For who implements it: `forward` changes nothing, so that a loss can be
/// measured; a batch's codes are the same by `forward` (without dropped levels) and by `tokens`.
pub trait Quantizer {
    /// What one token is: entries, levels, bits or channels.
    fn kind(&self) -> TokenKind;

    /// Quantizes in training: the gradient of the vectors passes straight through to the latents.
    ///
    /// # Shapes
    /// - `moments`: `[N, C]` of a batch of `examples`, each with as many rows one after the other; `[N, 2C]`
    ///   for `kl`, means before log-variances.
    fn forward(&self, moments: Tensor<2>, examples: usize, key: RngKey) -> Quantized;

    /// Tokens of latents `[t·h·w, C]` (the means alone for `kl`).
    ///
    /// # Errors
    /// Where the latents do not fill the grid; of `kl` where they are not finite.
    fn tokens(&self, grid: [usize; 3], latents: Tensor<2>) -> Result<Tokens>;

    /// The vectors that the decoder reads for tokens, `[t, h, w, C]`.
    ///
    /// # Errors
    /// Where the tokens are of another kind.
    fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>>;

    /// Lets learned entries follow the batch that was `made`; the first batch starts them.
    fn update_ema(&mut self, _made: &Quantized, _key: RngKey) {}

    /// Once, when training ends: lets the vectors of tokens like these be of unit size, where they have any of their own.
    fn standardize(&mut self, _tokens: &[Tokens]) {}
}

/// Any of the family, as a part of a module.
#[derive(Module, Debug)]
pub enum AnyQuantizer {
    /// Lookup-free.
    Lfq(Lfq),
    /// Binary spherical.
    Bsq(Bsq),
    /// Finite scalar.
    Fsq(Fsq),
    /// A codebook.
    Vq(Vq),
    /// A codebook a level.
    Rvq(Rvq),
    /// Continuous.
    Kl(Kl),
}

impl AnyQuantizer {
    fn any(&self) -> &dyn Quantizer {
        match self {
            Self::Lfq(it) => it,
            Self::Bsq(it) => it,
            Self::Fsq(it) => it,
            Self::Vq(it) => it,
            Self::Rvq(it) => it,
            Self::Kl(it) => it,
        }
    }
}

impl Quantizer for AnyQuantizer {
    fn kind(&self) -> TokenKind {
        self.any().kind()
    }

    fn forward(&self, moments: Tensor<2>, examples: usize, key: RngKey) -> Quantized {
        self.any().forward(moments, examples, key)
    }

    fn tokens(&self, grid: [usize; 3], latents: Tensor<2>) -> Result<Tokens> {
        self.any().tokens(grid, latents)
    }

    fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        self.any().vectors(tokens)
    }

    fn standardize(&mut self, tokens: &[Tokens]) {
        if let Self::Kl(kl) = self {
            kl.standardize(tokens);
        }
    }

    fn update_ema(&mut self, made: &Quantized, key: RngKey) {
        match self {
            Self::Vq(vq) => vq.update_ema(made, key),
            Self::Rvq(rvq) => rvq.update_ema(made, key),
            Self::Lfq(_) | Self::Bsq(_) | Self::Fsq(_) | Self::Kl(_) => {}
        }
    }
}

/// `vectors` in the forward pass, the identity in the backward pass (Bengio et al. 2013).
fn straight_through(z: Tensor<2>, vectors: Tensor<2>) -> Tensor<2> {
    z.clone() + (vectors - z.inner())
}

/// Squared differences, whose gradient goes to `z` alone.
fn squared_gap(z: Tensor<2>, vectors: Tensor<2>) -> Tensor<2> {
    let gap = z - vectors.inner();
    gap.clone() * gap
}

/// Rows of length 1, `[N, C]`; a row of zeros stays.
fn unit(z: Tensor<2>) -> Tensor<2> {
    // Within the root, so that the gradient of a row of zeros is a number.
    let length = (z.clone().square().sum_dim(1) + 1e-24).sqrt();
    z / length
}

fn to_ints<const D: usize>(codes: Tensor<D, Int>) -> Vec<i64> {
    codes.into_data().convert::<i64>().try_into_vec().expect("converted to i64 one call before")
}

/// Codes of which none was left out.
fn to_indices<const D: usize>(codes: Tensor<D, Int>) -> Vec<usize> {
    to_ints(codes).into_iter().map(|code| code as usize).collect()
}

fn to_codes<const D: usize>(codes: Tensor<D, Int>) -> Vec<u32> {
    to_ints(codes).into_iter().map(|code| code as u32).collect()
}

/// The codes of tokens that must be codes of `kind`.
fn codes_of(kind: TokenKind, tokens: &Tokens) -> Result<&[u32]> {
    if kind.holds(tokens.values()) { tokens.as_codes() } else { Err(other(kind, tokens)) }
}

/// The tokens are not of this `kind`.
fn other(kind: TokenKind, tokens: &Tokens) -> Error {
    let found = tokens.values().kind();
    Error::new(ErrorKind::Weights, "tokens", format!("{found}, this tokenizer makes {kind}"))
        .hint("decode them with the recipe that made them")
}
