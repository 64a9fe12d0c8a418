//! Linear maps, norms, the feed-forward part.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, module::linear};
use musiva_core::Init;
use musiva_kernels::{gelu, rms_norm};

/// `y = x·W + b`.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// Weights of deviation `gain/√input`; zeros where the gain is zero.
    pub fn new(init: &Init, [input, output]: [usize; 2], gain: f32) -> Self {
        Self { bias: Some(init.part("bias").zeros([output])), ..Self::without_bias(init, [input, output], gain) }
    }

    /// The same without `b`.
    pub fn without_bias(init: &Init, [input, output]: [usize; 2], gain: f32) -> Self {
        let weight = match gain {
            0.0 => init.zeros([input, output]),
            _ => init.part("weight").normal([input, output], gain / (input as f32).sqrt()),
        };
        Self { weight, bias: None }
    }

    /// `[…, input]` → `[…, output]`.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        linear(x, self.weight.val(), self.bias.as_ref().map(|bias| bias.val()))
    }
}

/// A vector for each entry of a vocabulary.
#[derive(Module, Debug)]
pub struct Embedding {
    weight: Param<Tensor<2>>,
}

impl Embedding {
    /// `entries` vectors of `width`, of deviation 0.02 as in GPT-2 and BERT.
    pub fn new(init: &Init, entries: usize, width: usize) -> Self {
        Self { weight: init.part("weight").normal([entries, width], 0.02) }
    }

    /// `[B, L]` → `[B, L, D]`.
    pub fn forward(&self, codes: Tensor<2, Int>) -> Tensor<3> {
        burn::tensor::module::embedding(self.weight.val(), codes)
    }
}

/// Root-mean-square norm with a learned gain (Zhang and Sennrich 2019).
#[derive(Module, Debug)]
pub struct RmsNorm {
    weight: Param<Tensor<1>>,
}

impl RmsNorm {
    /// Over the last dimension, `width` numbers.
    pub fn new(init: &Init, width: usize) -> Self {
        Self { weight: init.part("weight").ones([width]) }
    }

    /// `[…, D]` → the same shape.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        rms_norm(x, self.weight.val(), 1e-6)
    }
}

/// `gelu(x·W₁)·W₂` with four times the width inside.
#[derive(Module, Debug)]
pub struct FeedForward {
    up: Linear,
    down: Linear,
}

impl FeedForward {
    /// Its output starts small, `gain` times that of an ordinary map.
    pub fn new(init: &Init, width: usize, gain: f32) -> Self {
        Self {
            up: Linear::new(&init.part("up"), [width, 4 * width], 1.0),
            down: Linear::new(&init.part("down"), [4 * width, width], gain),
        }
    }

    /// `[B, N, D]` → the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(gelu(self.up.forward(x)))
    }
}
