//! The layers of discriminators. They see a medium whole, the future too.
//!
//! Shapes: `B` batch, `T` moments, `C` channels, which come last. Sounds are clips of one frame and one row, spectrograms
//! clips of one frame.

use burn::module::{Module, Param};
use burn::tensor::{Tensor, activation};
use musiva_core::Init;

/// Slope of the leaky rectifiers below zero.
const LEAK: f64 = 0.2;

/// What a leaky rectifier leaves of the deviation of a normal number, inverted (He et al. 2015).
pub const GAIN: f32 = 1.387;

/// `x` above zero, a fifth of it below.
pub fn leaky_relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::leaky_relu(x, LEAK)
}

/// A convolution along a sound whose channels fall into groups that do not see each other.
#[derive(Module, Debug)]
pub struct GroupedConv {
    /// `[G, k·C/G, C'/G]`.
    weight: Param<Tensor<3>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: usize,
}

impl GroupedConv {
    /// Windows of `spans` strides, in `groups` groups.
    pub fn new(init: &Init, [input, output]: [usize; 2], groups: usize, spans: usize, stride: usize) -> Self {
        let window = spans * stride * input / groups;
        Self {
            weight: init.part("weight").normal([groups, window, output / groups], GAIN / (window as f32).sqrt()),
            bias: init.part("bias").zeros([output]),
            stride,
        }
    }

    /// `[B, T, C]` → `[B, ⌈T/s⌉, C']`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let [b, t, c] = x.dims();
        let [groups, window, output] = self.weight.dims();
        let (s, each) = (self.stride, c / groups);
        let (spans, steps) = (window / (each * s), t.div_ceil(s));
        // Half of what windows reach beyond their stride stands before the first.
        let (before, all) = ((spans - 1) * s / 2, (steps + spans - 1) * s);
        let zeros = |length| Tensor::zeros([b, length, c], &x.device());
        let x = Tensor::cat(vec![zeros(before), x.clone(), zeros(all - before - t)], 1);
        let x = x.reshape([b, steps + spans - 1, s, groups, each]).permute([3, 0, 1, 2, 4]);
        let x: Tensor<4> = x.reshape([groups, b, steps + spans - 1, s * each]);
        let windows = (0..spans).map(|i| x.clone().slice_dim(2, i..i + steps)).collect();
        let windows: Tensor<3> = Tensor::cat(windows, 3).reshape([groups, b * steps, window]);
        let y = windows.matmul(self.weight.val()); // [G, B·T', C'/G]
        let y = y.reshape([groups, b, steps, output]).permute([1, 2, 0, 3]).reshape([b, steps, groups * output]);
        y + self.bias.val().unsqueeze()
    }
}

/// Every second place along the dimension `dim` of what (1, 2, 1)/4 makes of `x`: blur pooling (Zhang, "Making
/// Convolutional Networks Shift-Invariant Again", 2019). The ends go on as they are; `L` places become `⌈L/2⌉`, and one
/// stays one.
pub fn blur_pool<const D: usize>(x: Tensor<D>, dim: usize) -> Tensor<D> {
    let mut shape = x.dims();
    let length = shape[dim];
    if length == 1 {
        return x;
    }
    let x = match length % 2 {
        0 => x,
        _ => Tensor::cat(vec![x.clone(), x.slice_dim(dim, length - 1..length)], dim),
    };
    let (outer, inner): (usize, usize) = (shape[..dim].iter().product(), shape[dim + 1..].iter().product());
    let half = length.div_ceil(2);
    shape[dim] = half;
    let pairs: Tensor<4> = x.reshape([outer, half, 2, inner]);
    let (even, odd) = (pairs.clone().slice_dim(2, 0..1), pairs.slice_dim(2, 1..2));
    let before = Tensor::cat(vec![even.clone().slice_dim(1, 0..1), odd.clone().slice_dim(1, 0..half - 1)], 1);
    ((before + odd + even * 2.0) * 0.25).reshape(shape)
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};
    use musiva_core::parameters::to_vec;
    use musiva_core::{RngKey, RngStream};
    use musiva_kernels::{Axis, conv1d};

    fn noise<const D: usize>(shape: [usize; D], seed: u64) -> Tensor<D> {
        let values = RngKey::new(seed).stream(RngStream::Noise).normals(shape.iter().product());
        Tensor::from_data(TensorData::new(values, shape), &Device::flex())
    }

    #[test]
    fn blur_pooling_is_the_blur_at_every_second_place() {
        for length in [1, 2, 7, 10] {
            let x = noise([3, length, 5], 1);
            let values = to_vec(x.clone());
            let at = |b: usize, t: isize, c: usize| {
                let t = t.clamp(0, length as isize - 1) as usize;
                f64::from(values[(b * length + t) * 5 + c])
            };
            let pooled = blur_pool(x, 1);
            assert_eq!(pooled.dims(), [3, length.div_ceil(2), 5]);
            if length == 1 {
                assert_eq!(to_vec(pooled), values);
                continue;
            }
            for (i, found) in to_vec(pooled).into_iter().enumerate() {
                let (b, t, c) = (i / 5 / length.div_ceil(2), 2 * (i / 5 % length.div_ceil(2)) as isize, i % 5);
                let wanted = (at(b, t - 1, c) + 2.0 * at(b, t, c) + at(b, t + 1, c)) / 4.0;
                assert!((f64::from(found) - wanted).abs() < 1e-6, "length {length}, place {t}");
            }
        }
    }

    #[test]
    fn groups_are_convolutions_side_by_side() {
        let (groups, stride, spans) = (3, 4, 10);
        let mut conv = GroupedConv::new(&Init::new(2, &Device::flex()), [6, 15], groups, spans, stride);
        // What starts as zero would let a mistake pass.
        conv.bias = conv.bias.map(|_| noise([15], 4));
        let x = noise([2, 29, 6], 3);
        let together = conv.forward(x.clone());
        assert_eq!(together.dims(), [2, 8, 15]);
        for group in 0..groups {
            let weight = conv.weight.val().slice_dim(0, group..group + 1).reshape([spans * stride, 2, 5]);
            let axis = Axis::default().stride(stride).padding(18, 40);
            let bias = conv.bias.val().slice_dim(0, 5 * group..5 * group + 5);
            let alone = conv1d(x.clone().slice_dim(2, 2 * group..2 * group + 2), weight, Some(bias), axis);
            let same = together.clone().slice_dim(2, 5 * group..5 * group + 5);
            let alone = alone.slice_dim(1, 0..8);
            let far = to_vec((alone - same).abs()).into_iter().fold(0.0, f32::max);
            assert!(far < 1e-5, "group {group}: {far}");
        }
    }
}
