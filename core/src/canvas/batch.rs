//! Batches of canvases: as training draws them, as backbones read them, and what they say of them.

use super::{CanvasShape, Layout, Values};
use crate::{RngKey, SampleRequest};
use burn::tensor::{Device, Int, Tensor, TensorData, module::embedding};
use std::sync::Arc;

/// What a backbone is told: the prompts, the places of the sequence, and the tokens at those that are given.
#[derive(Clone, Debug)]
pub struct Conditioning {
    /// Prompts, padded: words `[B, P]`, or vectors `[B, P, C]`.
    pub prompt: TokenBatch,
    /// The places.
    pub layout: Arc<Layout>,
    /// The tokens at the `G` given ones; `None` where none is.
    pub tokens: Option<TokenBatch>,
}

/// Prompts, or tokens that are given.
#[derive(Clone, Debug)]
pub enum TokenBatch {
    /// Words or codes `[B, G]`.
    Codes(Tensor<2, Int>),
    /// Vectors `[B, G, C]`: of prompts, or the clean ones of tokens for backbones that predict a field.
    Vectors(Tensor<3>),
}

impl TokenBatch {
    /// Number of samples `B`.
    pub fn size(&self) -> usize {
        match self {
            Self::Codes(codes) => codes.dims()[0],
            Self::Vectors(vectors) => vectors.dims()[0],
        }
    }
}

impl From<Tensor<2, Int>> for TokenBatch {
    fn from(codes: Tensor<2, Int>) -> Self {
        Self::Codes(codes)
    }
}

impl From<Tensor<3>> for TokenBatch {
    fn from(vectors: Tensor<3>) -> Self {
        Self::Vectors(vectors)
    }
}

impl Conditioning {
    /// Prompts alone: the whole canvas is to be made.
    pub fn prompt(prompt: impl Into<TokenBatch>, canvas: &CanvasShape) -> Self {
        Self { prompt: prompt.into(), layout: Arc::new(Layout::whole(canvas)), tokens: None }
    }

    /// Number of samples `B`.
    pub fn size(&self) -> usize {
        self.prompt.size()
    }
}

/// A batch of canvases as a backbone reads it.
#[derive(Clone, Debug)]
pub struct CanvasBatch {
    /// What it is told.
    pub conditioning: Conditioning,
    /// What stands at the `L` places that are to be made.
    pub input: ModelInput,
}

/// What stands at the places that are to be made.
#[derive(Clone, Debug)]
// A tensor's handle is a few hundred bytes and made once a step.
#[allow(clippy::large_enum_variant)]
pub enum ModelInput {
    /// Codes `[B, L]`, for backbones that predict the next one.
    Codes(Tensor<2, Int>),
    /// Codes of which some are hidden, for backbones that predict those.
    Masked(MaskedCodes),
    /// Noisy vectors, for backbones that predict a field.
    NoisyVectors(NoisyVectors),
}

/// Codes of which some are hidden.
#[derive(Clone, Debug)]
pub struct MaskedCodes {
    /// The codes `[B, L]`; where they are hidden, any.
    pub codes: Tensor<2, Int>,
    /// 1 where a code is hidden, else 0: `[B, L, 1]`.
    pub mask: Tensor<3>,
}

/// Noisy vectors with their times.
#[derive(Clone, Debug)]
pub struct NoisyVectors {
    /// The vectors at their times: `[B, L, C]`.
    pub values: Tensor<3>,
    /// The times that occur in each sample, in `[0, 1]`, 0 is clean, 1 is noise: `[B, S]`.
    pub times: Tensor<2>,
    /// Which of the `S` times each of the `L` positions stands at: time is a value per token, and
    /// what depends on time alone is computed once for each that occurs.
    pub at: Vec<usize>,
    /// Self-conditioning: what the last step took for the clean vectors, `[B, L, C]`; zeros or
    /// `None` where there is no last step.
    pub x0_prev: Option<Tensor<3>>,
}

/// Clean tokens with their prompts: what training draws from.
#[derive(Clone, Debug)]
pub struct CleanBatch {
    /// What the canvas is like.
    pub shape: CanvasShape,
    /// Prompts, padded, one after the other: `B·P` words or vectors.
    pub prompt: Values,
    /// The places of all samples.
    pub layout: Arc<Layout>,
    /// The tokens that are given, `B·G`.
    pub context: Values,
    /// The clean tokens of the places that are to be made, `B·L`.
    pub tokens: Values,
    /// Which samples these are: their random numbers follow from it.
    pub samples: Vec<u64>,
}

impl CleanBatch {
    /// Number of samples `B`.
    pub fn size(&self) -> usize {
        self.samples.len()
    }

    /// What a backbone that reads codes is told.
    pub fn conditioning_codes(&self, device: &Device) -> Conditioning {
        let some = !self.layout.context().is_empty();
        self.conditioning(device, self.context.codes(self.size(), device).filter(|_| some).map(TokenBatch::Codes))
    }

    /// What a backbone that reads vectors is told.
    pub fn conditioning_vectors(&self, device: &Device) -> Conditioning {
        let some = !self.layout.context().is_empty();
        let vectors = some.then(|| self.context.vectors(&self.shape, self.layout.context(), device)).flatten();
        self.conditioning(device, vectors.map(TokenBatch::Vectors))
    }

    /// The same prompts, places and given tokens, to be made anew.
    pub fn sample_request(&self, keys: Vec<RngKey>) -> SampleRequest {
        let each = |values: &Values| (0..self.size()).map(|i| values.part(i, self.size())).collect();
        SampleRequest {
            prompt: each(&self.prompt),
            layout: self.layout.clone(),
            context: each(&self.context),
            keys,
            start: None,
        }
    }

    fn conditioning(&self, device: &Device, tokens: Option<TokenBatch>) -> Conditioning {
        let prompt = self.shape.prompts(&self.prompt, self.size(), device);
        Conditioning { prompt, layout: self.layout.clone(), tokens }
    }

    /// The codes to be made as a tensor `[B, L]`, where the tokens are codes.
    pub fn codes(&self, device: &Device) -> Option<Tensor<2, Int>> {
        self.tokens.codes(self.size(), device)
    }

    /// The tokens to be made as vectors `[B, L, C]`; `None` where the codes have no bits.
    pub fn vectors(&self, device: &Device) -> Option<Tensor<3>> {
        self.tokens.vectors(&self.shape, self.layout.target(), device)
    }
}

/// Unsigned numbers as a tensor of the device's integers.
pub fn ints<const D: usize>(values: &[u32], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    let values: Vec<i64> = values.iter().map(|&value| i64::from(value)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// What a backbone says of the `L` places that are to be made.
#[derive(Clone, Debug)]
// A tensor's handle is a few hundred bytes and made once a step: not worth a box.
#[allow(clippy::large_enum_variant)]
pub enum Prediction {
    /// Unnormalised log-probabilities, of each modality that there is.
    Logits(Vec<Logits>),
    /// A vector for each place, `[B, L, C]`; what it stands for is the objective's choice.
    Vector(Tensor<3>),
}

/// Unnormalised log-probabilities of the codes at some of the places.
#[derive(Clone, Debug)]
pub struct Logits {
    /// Which of the `L` places, rising: `n` of them.
    pub at: Vec<usize>,
    /// A large vocabulary is factorised into digits, most significant first; each head gives `[B, n, K]`.
    pub heads: Vec<Tensor<3>>,
    /// What the digits before a head's own add to its logits: `chain[i][j]`, `[K, K]`, has a row for each entry of
    /// digit `j`, to be added to head `i`. Empty where digits do not hang on each other.
    pub digit_conditioning: Vec<Vec<Tensor<2>>>,
}

impl Logits {
    /// Those of all `L` places, `[B, L, K]` a head, by digits that do not hang on each other.
    pub fn whole(heads: Vec<Tensor<3>>) -> Self {
        Self {
            at: (0..heads.first().map_or(0, |head| head.dims()[1])).collect(),
            heads,
            digit_conditioning: Vec::new(),
        }
    }

    /// The digits `[B, n]` of codes `[B, L]`, and the logits `[B, n, K]` of each once those before it are known.
    pub fn per_digit(self, codes: &Tensor<2, Int>) -> Vec<(Tensor<2, Int>, Tensor<3>)> {
        let mut rest = columns(codes.clone(), &self.at);
        let mut digits = Vec::with_capacity(self.heads.len());
        for head in self.heads.iter().rev() {
            let base = head.dims()[2] as i64;
            digits.push(rest.clone().remainder_scalar(base));
            rest = rest / base;
        }
        digits.reverse();
        let of = |(i, head): (usize, Tensor<3>)| {
            let rows = self.digit_conditioning.get(i).into_iter().flatten().zip(&digits);
            let added = rows.map(|(table, digit)| embedding(table.clone(), digit.clone()));
            (digits[i].clone(), added.fold(head, |head, row| head + row))
        };
        self.heads.into_iter().enumerate().map(of).collect()
    }
}

/// The columns `at` of `[B, L]`: `[B, n]`.
pub fn columns<const D: usize, K: burn::tensor::kind::Basic>(x: Tensor<D, K>, at: &[usize]) -> Tensor<D, K> {
    if at.iter().copied().eq(0..x.dims()[1]) {
        return x;
    }
    let index: Vec<i64> = at.iter().map(|&i| i as i64).collect();
    let index = Tensor::<1, Int>::from_data(TensorData::new(index, [at.len()]), &x.device());
    x.select(1, index)
}
