//! Batches of canvases: as training draws them, as backbones read them, and what they say of them.

use super::layout::{digit_of, numbers};
use super::{CanvasShape, Layout, Values};
use crate::{Error, ErrorKind, Modality, Result, RngKey, SampleRequest, TokenValues};
use burn::tensor::{Device, Int, Tensor, TensorData, module::embedding};
use std::sync::Arc;

/// What a backbone is conditioned on: the layout of the sequence, and the tokens of its context.
#[derive(Clone, Debug)]
pub struct Conditioning {
    /// The positions.
    pub layout: Arc<Layout>,
    /// The tokens of the context, a part for each track that there is.
    pub context: Vec<ContextTokens>,
    /// Of each sample the number of each condition, where it has one.
    pub numbers: Vec<Vec<Option<f64>>>,
    /// Number of samples `B`.
    pub size: usize,
}

/// The context tokens of one track.
#[derive(Clone, Debug)]
pub struct ContextTokens {
    /// The track.
    pub track: usize,
    /// Which of the context's tokens they are: `n` of them.
    pub at: Vec<usize>,
    /// The tokens.
    pub tokens: TokenBatch,
}

/// Tokens of one track.
#[derive(Clone, Debug)]
pub enum TokenBatch {
    /// Their digits `[B, n, D]`.
    Codes(Tensor<3, Int>),
    /// Vectors `[B, n, C]`.
    Vectors(Tensor<3>),
}

impl Conditioning {
    /// The context `values` of `B` samples at the positions of `layout`. Codes are read as the vectors of their bits where
    /// `vectors` is set, as backbones that predict vectors do; text is not.
    ///
    /// # Errors
    /// Where codes have no bits, or the values are not of this canvas.
    pub fn new(layout: &Arc<Layout>, values: &[Values], vectors: bool, device: &Device) -> Result<Self> {
        let (canvas, size) = (layout.canvas(), values.len());
        let mut context = Vec::new();
        for (track, at) in layout.context_by_track() {
            let shape = &canvas.tracks[track];
            let wrong = || {
                let message = format!("the context of `{}` is not what the canvas holds", shape.name);
                Error::new(ErrorKind::Weights, "tokens", message)
            };
            let each = values.iter().map(|values| values.tracks.get(track));
            let as_vectors = matches!(shape.tokens.kind, crate::TokenKind::Vectors { .. })
                || (vectors && shape.modality != Modality::Text);
            let tokens = if as_vectors {
                let channels = shape.tokens.kind.channels().unwrap_or(0);
                let all: Option<Vec<_>> = each.map(|values| numbers(shape.tokens.kind, values?)).collect();
                let all = all.ok_or_else(wrong)?.concat();
                if all.len() != size * at.len() * channels {
                    return Err(wrong());
                }
                TokenBatch::Vectors(Tensor::from_data(TensorData::new(all, [size, at.len(), channels]), device))
            } else {
                let digits = shape.digits().ok_or_else(wrong)?;
                let mut all = Vec::with_capacity(size * at.len() * digits.count);
                for values in each {
                    match values {
                        Some(TokenValues::Codes { levels: 1, codes, .. }) => {
                            all.extend(codes.iter().flat_map(|&code| {
                                (0..digits.count).map(move |digit| digit_of(code, digit, digits.count, digits.base))
                            }))
                        }
                        Some(TokenValues::Codes { codes, .. }) => all.extend_from_slice(codes),
                        _ => return Err(wrong()),
                    }
                }
                if all.len() != size * at.len() * digits.count {
                    return Err(wrong());
                }
                TokenBatch::Codes(ints(&all, [size, at.len(), digits.count], device))
            };
            context.push(ContextTokens { track, at, tokens });
        }
        let numbers = values.iter().map(|values| values.numbers.clone()).collect();
        Ok(Self { layout: layout.clone(), context, numbers, size })
    }

    /// The canvas.
    pub fn canvas(&self) -> &Arc<CanvasShape> {
        self.layout.canvas()
    }

    /// The context of one track, where there is any.
    pub fn of_track(&self, track: usize) -> Option<&TokenBatch> {
        self.context.iter().find(|context| context.track == track).map(|context| &context.tokens)
    }
}

/// A batch of canvases as a backbone reads it.
#[derive(Clone, Debug)]
pub struct CanvasBatch {
    /// What it is conditioned on.
    pub conditioning: Conditioning,
    /// What stands at the `L` elements that are to be generated.
    pub input: ModelInput,
}

/// What stands at the elements that are to be generated.
#[derive(Clone, Debug)]
// A tensor's handle is a few hundred bytes and made once a step.
#[allow(clippy::large_enum_variant)]
pub enum ModelInput {
    /// Digits `[B, L, D]` ([`Layout::digits`]), for backbones that predict the next ones.
    Codes(Tensor<3, Int>),
    /// Codes of which some are masked, for backbones that predict those.
    Masked(MaskedCodes),
    /// Noisy vectors, for backbones that predict vectors.
    NoisyVectors(NoisyVectors),
}

/// Codes of which some are masked.
#[derive(Clone, Debug)]
pub struct MaskedCodes {
    /// The digits `[B, L, D]` ([`Layout::digits`]); where they are masked, any.
    pub codes: Tensor<3, Int>,
    /// 1 where an element is masked, else 0: `[B, L, 1]`.
    pub mask: Tensor<3>,
}

/// Noisy vectors with their timesteps.
#[derive(Clone, Debug)]
pub struct NoisyVectors {
    /// The vectors at their timesteps: `[B, L, C]`.
    pub values: Tensor<3>,
    /// The timesteps that occur in each sample, in `[0, 1]`, 0 is clean, 1 is noise: `[B, S]`.
    pub times: Tensor<2>,
    /// Which of the `S` timesteps each of the `L` elements stands at: the timestep is a value per token, and
    /// what depends on it alone is computed once for each that occurs.
    pub at: Vec<usize>,
    /// Self-conditioning: what the last step took for the clean vectors, `[B, L, C]`; zeros or
    /// `None` where there is no last step.
    pub x0_prev: Option<Tensor<3>>,
}

/// Clean tokens with their context: what training draws from.
#[derive(Clone, Debug)]
pub struct CleanBatch {
    /// The positions of all samples.
    pub layout: Arc<Layout>,
    /// The tokens that are given, of each sample.
    pub context: Vec<Values>,
    /// The clean tokens of the positions that are to be generated, of each sample.
    pub target: Vec<Values>,
    /// Which samples these are: their random numbers follow from it.
    pub samples: Vec<u64>,
    /// Whether prompts and numbers may be dropped at random, as training does for classifier-free guidance; measuring does not.
    pub dropout: bool,
}

impl CleanBatch {
    /// Number of samples `B`.
    pub fn size(&self) -> usize {
        self.samples.len()
    }

    /// What a backbone that reads codes is conditioned on.
    ///
    /// # Errors
    /// As [`Conditioning::new`].
    pub fn conditioning_codes(&self, device: &Device) -> Result<Conditioning> {
        Conditioning::new(&self.layout, &self.context, false, device)
    }

    /// What a backbone that reads vectors is conditioned on.
    ///
    /// # Errors
    /// As [`Conditioning::new`].
    pub fn conditioning_vectors(&self, device: &Device) -> Result<Conditioning> {
        Conditioning::new(&self.layout, &self.context, true, device)
    }

    /// The same context and layout, to be generated anew.
    pub fn sample_request(&self, keys: Vec<RngKey>) -> SampleRequest {
        SampleRequest { layout: self.layout.clone(), context: self.context.clone(), keys, start: None }
    }

    /// The digits to be generated, `[B, L, D]`, where the tokens are codes.
    pub fn digits(&self, device: &Device) -> Option<Tensor<3, Int>> {
        let all: Option<Vec<_>> = self.target.iter().map(|target| self.layout.digits(target)).collect();
        let shape = [self.size(), self.layout.elements().len(), self.layout.canvas().most_digits()];
        all.map(|all| ints(&all.concat(), shape, device))
    }

    /// The tokens to be generated as vectors `[B, L, C]`; `None` where codes have no bits.
    pub fn vectors(&self, device: &Device) -> Option<Tensor<3>> {
        vectors(&self.layout, &self.target, device)
    }
}

/// Target tokens of samples as vectors `[B, L, C]`; `None` where codes have no bits.
pub(crate) fn vectors(layout: &Layout, target: &[Values], device: &Device) -> Option<Tensor<3>> {
    let all: Option<Vec<_>> = target.iter().map(|target| layout.vectors(target)).collect();
    let shape = [target.len(), layout.elements().len(), layout.canvas().channels()?];
    all.map(|all| Tensor::from_data(TensorData::new(all.concat(), shape), device))
}

/// Unsigned numbers as a tensor of the device's integers.
pub fn ints<const D: usize>(values: &[u32], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    let values: Vec<i64> = values.iter().map(|&value| i64::from(value)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// What a backbone says of the `L` elements that are to be generated.
#[derive(Clone, Debug)]
// A tensor's handle is a few hundred bytes and made once a step: not worth a box.
#[allow(clippy::large_enum_variant)]
pub enum Prediction {
    /// Unnormalised log-probabilities, of each track that there is.
    Logits(Vec<Logits>),
    /// A vector for each element, `[B, L, C]`; what it stands for is the objective's choice.
    Vector(Tensor<3>),
}

/// Unnormalised log-probabilities of the codes of one track.
#[derive(Clone, Debug)]
pub struct Logits {
    /// The track.
    pub track: usize,
    /// Of each digit, most significant or coarsest first.
    pub heads: Vec<Head>,
    /// What the digits before a head's own add to its logits: `digit_conditioning[i][j]`, `[K, K]`, has a row for each
    /// entry of digit `j`, to be added to head `i`. Empty where digits do not hang on each other.
    pub digit_conditioning: Vec<Vec<Tensor<2>>>,
}

/// The logits of one digit.
#[derive(Clone, Debug)]
pub struct Head {
    /// Which of the `L` elements have that digit, rising: `n` of them.
    pub at: Vec<usize>,
    /// `[B, n, K]`.
    pub logits: Tensor<3>,
}

/// A digit of some elements, and its logits once those before it are known.
pub struct PerDigit {
    /// Which of the `L` elements have that digit, rising: `n` of them.
    pub at: Vec<usize>,
    /// The digit, `[B, n]`.
    pub digit: Tensor<2, Int>,
    /// `[B, n, K]`.
    pub logits: Tensor<3>,
}

impl Logits {
    /// Those of one digit of the elements `at` of a track, `[B, n, K]`.
    pub fn of_one(track: usize, at: Vec<usize>, logits: Tensor<3>) -> Self {
        Self { track, heads: vec![Head { at, logits }], digit_conditioning: Vec::new() }
    }

    /// Each digit of `[B, L, D]`, and its logits once those before it are known.
    pub fn per_digit(self, digits: &Tensor<3, Int>) -> Vec<PerDigit> {
        let of = |digit: usize, at: &[usize]| {
            let [size, _, _] = digits.dims();
            columns(digits.clone().slice_dim(2, digit..digit + 1), at).reshape([size, at.len()])
        };
        let each = self.heads.into_iter().enumerate().map(|(i, Head { at, logits })| {
            let rows = self.digit_conditioning.get(i).into_iter().flatten().enumerate();
            let added = rows.map(|(j, table)| embedding(table.clone(), of(j, &at)));
            PerDigit { digit: of(i, &at), logits: added.fold(logits, |logits, row| logits + row), at }
        });
        each.collect()
    }
}

/// The columns `at` of `[B, L, …]`: `[B, n, …]`.
pub fn columns<const D: usize, K: burn::tensor::kind::Basic>(x: Tensor<D, K>, at: &[usize]) -> Tensor<D, K> {
    if at.iter().copied().eq(0..x.dims()[1]) {
        return x;
    }
    let index: Vec<i64> = at.iter().map(|&i| i as i64).collect();
    let index = Tensor::<1, Int>::from_data(TensorData::new(index, [at.len()]), &x.device());
    x.select(1, index)
}
