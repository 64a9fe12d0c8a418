//! The layers of a causal 1-D convolutional network, each usable on a whole sound or piece by piece.
//!
//! Shapes: `B` batch, `T` moments, `C` channels, which come last.

use crate::stream_state::StreamState;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use musiva_core::Init;
use musiva_kernels::{Axis, conv1d, conv1d_transposed, elu};

/// Taps of the convolutions within a resolution (SoundStream, section III-A).
pub const TAPS: usize = 7;

/// A convolution that hears nothing later than the last moment of its stride: `T` moments become `T/s`,
/// the first of them from the first `s`.
#[derive(Module, Debug)]
pub struct CausalConv1d {
    weight: Param<Tensor<3>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
    #[module(skip)]
    dilation: usize,
}

impl CausalConv1d {
    /// A convolution of `taps`, of at least `stride`, with weights of deviation `gain/√fan_in`.
    pub fn new(
        init: &Init,
        [input, output]: [usize; 2],
        taps: usize,
        [stride, dilation]: [usize; 2],
        gain: f32,
    ) -> Self {
        let std = gain / ((input * taps) as f32).sqrt();
        Self {
            weight: init.part("weight").normal([output, input, taps], std),
            bias: init.part("bias").zeros([output]),
            stride,
            dilation,
        }
    }

    /// `[B, T, C]` → `[B, T/s, C']`; `s` divides `T`.
    pub fn forward(&self, x: Tensor<3>, state: &mut StreamState<3>) -> Tensor<3> {
        let weight = state.packed(self.weight.val().permute([2, 1, 0]));
        let taps = weight.dims()[0];
        // Of a whole number of strides each piece leaves as much behind as came before it.
        let before = self.dilation * (taps - 1) + 1 - self.stride;
        let axis = Axis::default().stride(self.stride).dilation(self.dilation);
        let (x, axis) = match state.is_streaming() && before > 0 {
            true => (state.prepend(x, before, 1), axis),
            false => (x, axis.padding(before, 0)),
        };
        conv1d(x, weight, Some(self.bias.val()), axis)
    }
}

/// A transposed convolution of `2s` taps and stride `s`: `T` moments become `s·T`, and what comes of a
/// moment follows it.
#[derive(Module, Debug)]
pub struct CausalConvTransposed1d {
    weight: Param<Tensor<3>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
}

impl CausalConvTransposed1d {
    /// `input` → `output` channels, with weights of a deviation that keeps that of the signal: two
    /// moments meet in each one made.
    pub fn new(init: &Init, [input, output]: [usize; 2], stride: usize) -> Self {
        let std = 1.0 / ((2 * input) as f32).sqrt();
        Self {
            weight: init.part("weight").normal([input, output, 2 * stride], std),
            bias: init.part("bias").zeros([output]),
            stride,
        }
    }

    /// `[B, T, C]` → `[B, s·T, C']`.
    pub fn forward(&self, x: Tensor<3>, state: &mut StreamState<3>) -> Tensor<3> {
        let weight = state.packed(self.weight.val().permute([2, 0, 1]));
        let s = self.stride;
        // Of a piece the one moment before it still sounds on.
        let (x, before) = match state.is_streaming() {
            true => (state.prepend(x, 1, 1), s),
            false => (x, 0),
        };
        conv1d_transposed(x, weight, Some(self.bias.val()), Axis::default().stride(s).padding(before, s))
    }
}

/// `x + conv(elu(dilated conv(elu(x))))` (SoundStream, figure 3).
#[derive(Module, Debug)]
pub struct ResidualUnit {
    dilated: CausalConv1d,
    pointwise: CausalConv1d,
}

impl ResidualUnit {
    /// A unit of `channels`.
    pub fn new(init: &Init, channels: usize, dilation: usize) -> Self {
        let gain = std::f32::consts::SQRT_2;
        Self {
            dilated: CausalConv1d::new(&init.part("dilated"), [channels; 2], TAPS, [1, dilation], gain),
            // Small, so that a deep stack starts near the identity.
            pointwise: CausalConv1d::new(&init.part("pointwise"), [channels; 2], 1, [1, 1], 0.3),
        }
    }

    /// `[B, T, C]` → the same shape.
    pub fn forward(&self, x: Tensor<3>, state: &mut StreamState<3>) -> Tensor<3> {
        let y = self.dilated.forward(elu(x.clone()), state);
        x + self.pointwise.forward(elu(y), state)
    }
}
