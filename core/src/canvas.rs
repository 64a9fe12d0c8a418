//! The canvas: the one sequence that backbones, samplers and objectives see.
//!
//! A prompt of `P` text tokens, then `L` tokens of the other modality in C order of their grid.
//! A prompt that is short or absent is filled with [`PAD`], so that "no prompt" is a row of pads and
//! classifier-free guidance needs no second kind of canvas.

use crate::{TokenShape, tokens};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// The text token that stands where the prompt has no word.
pub const PAD: u32 = 0;

/// The lengths and kinds of a canvas, known before there are any tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanvasShape {
    /// Length `P` of the prompt.
    pub prompt: usize,
    /// How many text tokens there are to choose from.
    pub words: usize,
    /// The tokens after the prompt.
    pub tokens: TokenShape,
}

impl CanvasShape {
    /// Length of the whole sequence, `P + L`.
    pub fn length(&self) -> usize {
        self.prompt + self.tokens.length()
    }
}

/// A batch of canvases as a backbone reads it.
#[derive(Clone, Debug)]
pub struct CanvasBatch {
    /// Prompts, padded: `[B, P]`.
    pub prompt: Tensor<2, Int>,
    /// What stands after the prompts.
    pub content: Content,
}

/// What stands at the positions after the prompt.
#[derive(Clone, Debug)]
// A tensor's handle is a few hundred bytes and made once a step.
#[allow(clippy::large_enum_variant)]
pub enum Content {
    /// Codes `[B, L]`, for backbones that predict the next one.
    Codes(Tensor<2, Int>),
    /// Codes of which some are hidden, for backbones that predict those.
    Masked(Hidden),
    /// Noisy vectors, for backbones that predict a field.
    Field(Field),
}

/// Codes of which some are hidden.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// The codes `[B, L]`; where they are hidden, any.
    pub codes: Tensor<2, Int>,
    /// 1 where a code is hidden, else 0: `[B, L, 1]`.
    pub hidden: Tensor<3>,
}

/// Noisy vectors with their times.
#[derive(Clone, Debug)]
pub struct Field {
    /// The vectors at their times: `[B, L, C]`.
    pub values: Tensor<3>,
    /// The times that occur in each sample, in `[0, 1]`, 0 is clean, 1 is noise: `[B, S]`.
    pub times: Tensor<2>,
    /// Which of the `S` times each of the `L` positions stands at: time is a value per token, and
    /// what depends on time alone is computed once for each that occurs.
    pub at: Vec<usize>,
    /// Self-conditioning: what the last step took for the clean vectors, `[B, L, C]`; zeros or
    /// `None` where there is no last step.
    pub guess: Option<Tensor<3>>,
}

/// Clean tokens with their prompts: what training draws from.
#[derive(Clone, Debug)]
pub struct CleanBatch {
    /// What the canvas is like.
    pub shape: CanvasShape,
    /// Prompts, padded, row after row: `B·P`.
    pub prompt: Vec<u32>,
    /// The clean tokens.
    pub tokens: CleanTokens,
    /// Which samples these are: their random numbers follow from it.
    pub samples: Vec<u64>,
}

/// Clean tokens of a batch on the host.
#[derive(Clone, Debug)]
pub enum CleanTokens {
    /// `B·L` codes.
    Codes(Vec<u32>),
    /// `B·L·C` numbers.
    Latents(Vec<f32>),
}

impl CleanBatch {
    /// Number of samples `B`.
    pub fn size(&self) -> usize {
        self.samples.len()
    }

    /// The prompts as a tensor `[B, P]`.
    pub fn prompt(&self, device: &Device) -> Tensor<2, Int> {
        ints(&self.prompt, [self.size(), self.shape.prompt], device)
    }

    /// The codes as a tensor `[B, L]`, where the tokens are codes.
    pub fn codes(&self, device: &Device) -> Option<Tensor<2, Int>> {
        match &self.tokens {
            CleanTokens::Codes(codes) => Some(ints(codes, [self.size(), self.shape.tokens.length()], device)),
            CleanTokens::Latents(_) => None,
        }
    }

    /// The tokens as vectors `[B, L, C]`: latents as they are, codes as the signs of their bits;
    /// `None` where the codes have no bits.
    pub fn vectors(&self, device: &Device) -> Option<Tensor<3>> {
        let channels = self.shape.tokens.kind.channels()?;
        let values = match &self.tokens {
            CleanTokens::Codes(codes) => codes.iter().flat_map(|&code| tokens::signs(code, channels)).collect(),
            CleanTokens::Latents(values) => values.clone(),
        };
        Some(Tensor::from_data(TensorData::new(values, [self.size(), self.shape.tokens.length(), channels]), device))
    }
}

/// Unsigned numbers as a tensor of the device's integers.
pub fn ints<const D: usize>(values: &[u32], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    let values: Vec<i64> = values.iter().map(|&value| i64::from(value)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// What a backbone says of the positions after the prompt.
#[derive(Clone, Debug)]
// A tensor's handle is a few hundred bytes and made once a step: not worth a box.
#[allow(clippy::large_enum_variant)]
pub enum Prediction {
    /// Unnormalised log-probabilities. A large vocabulary is factorised into `heads` digits, most
    /// significant first; each head gives `[B, L, K_head]`, and the head after the first has seen
    /// the digits before it (see the backbone).
    Logits(Vec<Tensor<3>>),
    /// A vector for each position, `[B, L, C]`; what it stands for is the objective's choice.
    Field(Tensor<3>),
}
