//! The way of a prompt into a model.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, module};
use musiva_core::canvas::{PromptKind, TokenBatch};
use musiva_core::{CanvasShape, Init};

/// A vector of the model's width for each place of a prompt: of words the rows of a table, of a conditioner's vectors a
/// linear map (as VideoPoet, Kondratyuk et al. 2023, section 3.1, has of T5's).
///
/// A table is a linear map too, of one-hot vectors, so both are one matrix. Where there is no word vectors are zeros, and
/// so what is learned for "no word" is the bias, as of a table it is the first row.
#[derive(Module, Debug)]
pub struct Prompt {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl Prompt {
    /// For prompts of `canvas`. Words start with a deviation of 0.02 as in GPT-2 and BERT, and vectors of numbers of
    /// deviation 1 become as large.
    pub fn new(init: &Init, canvas: &CanvasShape, width: usize) -> Self {
        let (rows, deviation, bias) = match canvas.text {
            PromptKind::Words(words) => (words, 0.02, None),
            PromptKind::Vectors(channels) => {
                (channels, 0.02 / (channels as f32).sqrt(), Some(init.part("bias").zeros([width])))
            }
        };
        Self { weight: init.part("weight").normal([rows, width], deviation), bias }
    }

    /// How many numbers it learns.
    pub fn parameters(canvas: &CanvasShape, width: usize) -> usize {
        match canvas.text {
            PromptKind::Words(words) => words * width,
            PromptKind::Vectors(channels) => (channels + 1) * width,
        }
    }

    /// Floating-point operations of one prompt: rows are looked up for none.
    pub fn flops(canvas: &CanvasShape, width: usize) -> f64 {
        match canvas.text {
            PromptKind::Words(_) => 0.0,
            PromptKind::Vectors(channels) => 2.0 * (canvas.prompt * channels) as f64 * width as f64,
        }
    }

    /// Words `[B, P]` or vectors `[B, P, C]` → `[B, P, D]`.
    pub fn forward(&self, prompt: &TokenBatch) -> Tensor<3> {
        match prompt {
            TokenBatch::Codes(words) => module::embedding(self.weight.val(), words.clone()),
            TokenBatch::Vectors(vectors) => {
                let bias = self.bias.as_ref().map(|bias| bias.val());
                module::linear(vectors.clone(), self.weight.val(), bias)
            }
        }
    }
}
