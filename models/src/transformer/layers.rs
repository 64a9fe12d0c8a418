//! Linear maps, norms, the feed-forward part.

use super::{Precision, TrunkConfig};
use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, module::linear};
use musiva_core::Init;
use musiva_core::parameters::to_vec;
use musiva_kernels::decode::{Matrix, Stored};
use musiva_kernels::{gelu, linear_bf16, rms_norm};

/// What keeps a norm from dividing by zero.
pub(super) const NORM_EPSILON: f64 = 1e-6;

/// `y = x·W + b`.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    precision: Precision,
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
        Self { weight, bias: None, precision: Precision::F32 }
    }

    /// The same with its products in `precision`.
    pub fn in_precision(self, precision: Precision) -> Self {
        Self { precision, ..self }
    }

    /// `[…, input]` → `[…, output]`.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        let (weight, bias) = (self.weight.val(), self.bias.as_ref().map(|bias| bias.val()));
        match self.precision {
            Precision::F32 => linear(x, weight, bias),
            Precision::Bf16 => linear_bf16(x, weight, bias),
        }
    }
}

/// Maps of one input, beside each other as one, laid out for drawing token by token.
pub fn fused_linears(maps: &[&Linear], stored: Stored) -> Matrix {
    let weight = Tensor::cat(maps.iter().map(|map| map.weight.val()).collect(), 1);
    let biases = maps.iter().map(|map| {
        let none = || vec![0.0; map.weight.dims()[1]];
        map.bias.as_ref().map_or_else(none, |bias| to_vec(bias.val()))
    });
    let (shape, bias) = (weight.dims(), biases.collect::<Vec<_>>().concat());
    Matrix::new(&to_vec(weight), shape, Some(&bias), stored)
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

    /// How many vectors there are.
    pub fn entries(&self) -> usize {
        self.weight.dims()[0]
    }

    /// All vectors, `[entries, D]`.
    pub fn rows(&self) -> Tensor<2> {
        self.weight.val()
    }

    /// The vectors, one after the other.
    pub fn on_host(&self) -> Vec<f32> {
        to_vec(self.weight.val())
    }

    /// `[B, L]` → `[B, L, D]`.
    pub fn forward(&self, codes: Tensor<2, Int>) -> Tensor<3> {
        burn::tensor::module::embedding(self.weight.val(), codes)
    }

    /// The same where a code may be none, which is written as the number of entries: zeros.
    pub fn forward_or_none(&self, codes: Tensor<2, Int>) -> Tensor<3> {
        let weight = self.weight.val();
        let none = Tensor::zeros([1, weight.dims()[1]], &weight.device());
        burn::tensor::module::embedding(Tensor::cat(vec![weight, none], 0), codes)
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

    /// The gains.
    pub fn on_host(&self) -> Vec<f32> {
        to_vec(self.weight.val())
    }

    /// `[…, D]` → the same shape.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        rms_norm(x, self.weight.val(), NORM_EPSILON)
    }
}

/// `gelu(x·W₁)·W₂` with four times the width inside.
#[derive(Module, Debug)]
pub struct FeedForward {
    pub(super) up: Linear,
    pub(super) down: Linear,
}

impl FeedForward {
    /// Its output starts small, `gain` times that of an ordinary map.
    pub fn new(init: &Init, config: &TrunkConfig, gain: f32) -> Self {
        let TrunkConfig { width, precision, .. } = *config;
        let map = |name, shape, gain| Linear::new(&init.part(name), shape, gain).in_precision(precision);
        Self { up: map("up", [width, 4 * width], 1.0), down: map("down", [4 * width, width], gain) }
    }

    /// `[B, N, D]` → the same shape.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        self.down.forward(gelu(self.up.forward(x)))
    }
}
