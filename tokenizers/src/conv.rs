//! The plain convolution of the networks that look at media whole: discriminators and feature networks.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use musiva_core::Init;
use musiva_kernels::{Axis, conv3d};

/// A convolution with zeros on both sides: a length `L` becomes `⌈L/s⌉`, where taps and stride are both odd or both
/// even.
#[derive(Module, Debug)]
pub struct Conv {
    weight: Param<Tensor<5>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: [usize; 3],
}

impl Conv {
    /// A convolution of `[k_t, k_h, k_w]` at stride 1, with weights of deviation `gain/√fan_in`.
    pub fn new(init: &Init, [input, output]: [usize; 2], kernel: [usize; 3], gain: f32) -> Self {
        let [t, h, w] = kernel;
        let std = gain / ((input * t * h * w) as f32).sqrt();
        Self {
            weight: init.part("weight").normal([output, input, t, h, w], std),
            bias: init.part("bias").zeros([output]),
            stride: [1; 3],
        }
    }

    /// The same with windows `stride` places apart.
    pub fn stride(self, stride: [usize; 3]) -> Self {
        Self { stride, ..self }
    }

    /// `[B, T, H, W, C]` → `[B, ⌈T/s_t⌉, ⌈H/s_h⌉, ⌈W/s_w⌉, C']`.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let weight = self.weight.val().permute([2, 3, 4, 1, 0]);
        let [t, h, w, _, _] = weight.dims();
        let axes = [(t, 0), (h, 1), (w, 2)].map(|(taps, i)| Axis::default().stride(self.stride[i]).same(taps));
        conv3d(x, weight, Some(self.bias.val()), axes)
    }
}

/// What such a network is, and takes for one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// Learned numbers.
    pub parameters: usize,
    /// Floating-point operations of a forward pass.
    pub flops: f64,
    /// Numbers that a forward pass keeps for the backward pass.
    pub activations: f64,
}

impl Size {
    /// A convolution of so many taps, from `input` channels that each of `output` sees, at so many places.
    pub fn layer(&mut self, [input, output]: [usize; 2], taps: usize, places: f64) {
        self.parameters += input * output * taps + output;
        self.flops += 2.0 * (input * output * taps) as f64 * places;
        // What it gives, before and after its rectifier.
        self.activations += 2.0 * output as f64 * places;
    }
}

impl std::ops::Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            parameters: self.parameters + other.parameters,
            flops: self.flops + other.flops,
            activations: self.activations + other.activations,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_has_a_number_for_each_pair_of_channels_and_tap() {
        let mut size = Size::default();
        for _ in 0..2 {
            // Of three channels five, by seven taps, at eleven places.
            size.layer([3, 5], 7, 11.0);
        }
        let wanted = Size {
            parameters: 2 * (3 * 5 * 7 + 5),
            flops: f64::from(2 * 2 * 3 * 5 * 7 * 11),
            activations: f64::from(2 * 2 * 5 * 11),
        };
        assert_eq!(size, wanted);
    }
}
