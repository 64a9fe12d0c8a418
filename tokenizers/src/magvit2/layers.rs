//! The layers of a causal 3-D convolutional network, each usable on a whole clip or piece by piece.
//!
//! Shapes: `B` batch, `T` frames, `H W` pixels or places, `C` channels, which come last.

use crate::past::Past;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use musiva_core::Init;
use musiva_kernels::{Axis, conv3d, rms_norm, rms_norm_silu};

/// A 3-D convolution that sees no later frame: `k_t - 1` frames of padding before, none after
/// (MAGVIT-v2, section 3.2), so that the first frame is an image of its own.
#[derive(Module, Debug)]
pub struct CausalConv3d {
    weight: Param<Tensor<5>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    stride: [usize; 3],
}

impl CausalConv3d {
    /// A convolution of `[k_t, k_h, k_w]` (odd in space) with weights of deviation `gain/√fan_in`.
    pub fn new(init: &Init, [input, output]: [usize; 2], kernel: [usize; 3], stride: [usize; 3], gain: f32) -> Self {
        let [t, h, w] = kernel;
        let std = gain / ((input * t * h * w) as f32).sqrt();
        Self {
            weight: init.part("weight").normal([output, input, t, h, w], std),
            bias: init.part("bias").zeros([output]),
            stride,
        }
    }

    /// `[B, T, H, W, C]` → `[B, T', H', W', C']` with `T' = ⌈T/s_t⌉` on a whole clip.
    pub fn forward(&self, x: Tensor<5>, past: &mut Past<5>) -> Tensor<5> {
        let weight = past.laid_out(self.weight.val().permute([2, 3, 4, 1, 0]));
        let [t, h, w, _, _] = weight.dims();
        let [st, sh, sw] = self.stride;
        let time = Axis::default().stride(st);
        let (x, time) = match t > 1 && past.is_streaming() {
            true => (past.prepend(x, t - 1, st), time),
            false => (x, time.causal(t)),
        };
        let space = |taps, stride| Axis::default().stride(stride).padding(taps / 2, taps / 2);
        conv3d(x, weight, Some(self.bias.val()), [time, space(h, sh), space(w, sw)])
    }
}

/// Epsilon of the norms.
const EPSILON: f64 = 1e-6;

/// Root-mean-square norm over the channels of each place (Zhang and Sennrich 2019): it mixes neither
/// frames nor places, so causality survives it.
#[derive(Module, Debug)]
pub struct ChannelNorm {
    weight: Param<Tensor<1>>,
}

impl ChannelNorm {
    /// A norm over `channels`.
    pub fn new(init: &Init, channels: usize) -> Self {
        Self { weight: init.part("weight").ones([channels]) }
    }

    /// `[B, T, H, W, C]` → the same shape.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        rms_norm(x, self.weight.val(), EPSILON)
    }

    /// `silu` of the norm.
    pub fn silu(&self, x: Tensor<5>) -> Tensor<5> {
        rms_norm_silu(x, self.weight.val(), EPSILON)
    }
}

/// `x + conv(silu(norm(conv(silu(norm(x))))))`.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    norm1: ChannelNorm,
    conv1: CausalConv3d,
    norm2: ChannelNorm,
    conv2: CausalConv3d,
}

impl ResidualBlock {
    /// A block of `channels`; `frames` is the kernel's extent in time, 1 or 3.
    pub fn new(init: &Init, channels: usize, frames: usize) -> Self {
        let conv = |name, gain| CausalConv3d::new(&init.part(name), [channels; 2], [frames, 3, 3], [1; 3], gain);
        Self {
            norm1: ChannelNorm::new(&init.part("norm1"), channels),
            conv1: conv("conv1", std::f32::consts::SQRT_2),
            norm2: ChannelNorm::new(&init.part("norm2"), channels),
            // Small, so that a deep stack starts near the identity.
            conv2: conv("conv2", 0.3),
        }
    }

    /// `[B, T, H, W, C]` → the same shape.
    pub fn forward(&self, x: Tensor<5>, past: &mut Past<5>) -> Tensor<5> {
        let y = self.conv1.forward(self.norm1.silu(x.clone()), past);
        x + self.conv2.forward(self.norm2.silu(y), past)
    }
}

/// Up-sampling by depth to space: a convolution to `s_t·s_h·s_w` times the channels, which then
/// become frames and places (MAGVIT-v2, section 3.2). Of the first frame only the last of its `s_t`
/// copies is kept, so that `1 + n` frames become `1 + s_t·n`.
#[derive(Module, Debug)]
pub struct DepthToSpace {
    conv: CausalConv3d,
    #[module(skip)]
    scale: [usize; 3],
}

impl DepthToSpace {
    /// `input` → `output` channels, `scale = [s_t, s_h, s_w]`.
    pub fn new(init: &Init, [input, output]: [usize; 2], kernel: [usize; 3], scale: [usize; 3]) -> Self {
        let depth = output * scale.iter().product::<usize>();
        Self { conv: CausalConv3d::new(&init.part("conv"), [input, depth], kernel, [1; 3], 1.0), scale }
    }

    /// `[B, T, H, W, C]` → `[B, T', H·s_h, W·s_w, C']`.
    pub fn forward(&self, x: Tensor<5>, past: &mut Past<5>) -> Tensor<5> {
        let x = depth_to_space(self.conv.forward(x, past), self.scale);
        let frames = x.dims()[1];
        if past.started() { x } else { x.slice_dim(1, self.scale[0] - 1..frames) }
    }
}

/// `[B, T, H, W, C·s_t·s_h·s_w]` → `[B, T·s_t, H·s_h, W·s_w, C]`.
pub fn depth_to_space(x: Tensor<5>, [st, sh, sw]: [usize; 3]) -> Tensor<5> {
    let [b, t, h, w, depth] = x.dims();
    let c = depth / (st * sh * sw);
    let x = x.reshape([b, t, h, w, c, st, sh, sw]).permute([0, 1, 5, 2, 6, 3, 7, 4]);
    x.reshape([b, t * st, h * sh, w * sw, c])
}

/// `[B, T, H·s, W·s, C]` → `[B, T, H, W, C·s·s]`: the inverse of [`depth_to_space`] in space.
pub fn space_to_depth(x: Tensor<5>, s: usize) -> Tensor<5> {
    let [b, t, h, w, c] = x.dims();
    let x = x.reshape([b, t, h / s, s, w / s, s, c]).permute([0, 1, 2, 4, 6, 3, 5]);
    x.reshape([b, t, h / s, w / s, c * s * s])
}
