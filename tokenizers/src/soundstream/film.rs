//! The switch for denoising: feature-wise linear modulation of the encoder (SoundStream, section III-F).

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use musiva_core::Init;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A layer that lets one tokenizer do both: keep the noise in what it encodes, or take it out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FilmConfig {
    /// Whether the encoder removes noise. Either way the weights are the same.
    pub denoise: bool,
}

/// Modes of the switch: noise stays, or is taken out.
const MODES: usize = 2;

/// `γ(s)·a + β(s)`, with `γ` and `β` a linear map of the one-hot of the mode `s` of each moment (Perez et al., "FiLM:
/// Visual Reasoning with a General Conditioning Layer", 2018, equation 2).
///
/// It stands at the encoder's end of the bottleneck, where the paper found it to work as well as at the decoder's. So
/// tokens say the same whatever made them, no bits are spent on noise that is to go, and whoever decodes needs no switch.
#[derive(Module, Debug)]
pub struct Film {
    /// A row for each mode: `γ - 1`, then `β`. Both start as zeros, the identity, which is also where decay pulls them.
    modes: Param<Tensor<2>>,
}

impl Film {
    /// A layer for `channels`, which changes nothing yet.
    pub fn new(init: &Init, channels: usize) -> Self {
        Self { modes: init.part("modes").zeros([MODES, 2 * channels]) }
    }

    /// How many numbers it learns.
    pub fn parameters(channels: usize) -> usize {
        MODES * 2 * channels
    }

    /// Features `[B, T, C]` and the switch of each moment, `[B, T]` of 0 and 1 → `[B, T, C]`.
    pub fn forward(&self, features: Tensor<3>, denoise_flag: Tensor<2>) -> Tensor<3> {
        let [b, t, c] = features.dims();
        let one_hot = Tensor::stack::<3>(vec![1.0 - denoise_flag.clone(), denoise_flag], 2).reshape([b * t, MODES]);
        let modes = one_hot.matmul(self.modes.val()).reshape([b, t, 2 * c]);
        let (gamma, beta) = (modes.clone().slice_dim(2, 0..c) + 1.0, modes.slice_dim(2, c..2 * c));
        features * gamma + beta
    }
}
