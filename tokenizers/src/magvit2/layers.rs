//! The layers of a causal 3-D convolutional network, each usable on a whole clip or piece by piece.
//!
//! Shapes: `B` batch, `T` frames, `H W` pixels or places, `C` channels, which come last.

use super::config::NormConfig;
use crate::stream_state::StreamState;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use musiva_core::Init;
use musiva_kernels::{Axis, conv3d, group_norm, group_norm_silu, rms_norm, rms_norm_silu};

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

    /// How many numbers a convolution of `[input, output]` channels learns.
    pub fn parameters([input, output]: [usize; 2], [t, h, w]: [usize; 3]) -> usize {
        input * output * t * h * w + output
    }

    /// `[B, T, H, W, C]` → `[B, T', H', W', C']` with `T' = ⌈T/s_t⌉` on a whole clip.
    pub fn forward(&self, x: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        let weight = state.packed(self.weight.val().permute([2, 3, 4, 1, 0]));
        let [t, h, w, _, _] = weight.dims();
        let [st, sh, sw] = self.stride;
        let time = Axis::default().stride(st);
        let (x, time) = match t > 1 && state.is_streaming() {
            true => (state.prepend(x, t - 1, st), time),
            false => (x, time.causal(t)),
        };
        let space = |taps, stride| Axis::default().stride(stride).padding(taps / 2, taps / 2);
        conv3d(x, weight, Some(self.bias.val()), [time, space(h, sh), space(w, sw)])
    }
}

/// Epsilon of the norms.
const EPSILON: f64 = 1e-6;

/// A norm of each place or of each frame, see [`NormConfig`].
#[derive(Module, Debug)]
pub struct Norm {
    weight: Param<Tensor<1>>,
    /// Of a group norm.
    bias: Option<Param<Tensor<1>>>,
    #[module(skip)]
    groups: usize,
}

impl Norm {
    /// A norm of `channels`.
    pub fn new(init: &Init, config: NormConfig, channels: usize) -> Self {
        let weight = init.part("weight").ones([channels]);
        match config {
            NormConfig::Rms => Self { weight, bias: None, groups: 0 },
            NormConfig::Group { groups, .. } => {
                Self { weight, bias: Some(init.part("bias").zeros([channels])), groups }
            }
        }
    }

    /// How many numbers it learns.
    pub fn parameters(config: NormConfig, channels: usize) -> usize {
        match config {
            NormConfig::Rms => channels,
            NormConfig::Group { .. } => 2 * channels,
        }
    }

    /// `[B, T, H, W, C]` → the same shape.
    pub fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        match &self.bias {
            None => rms_norm(x, self.weight.val(), EPSILON),
            Some(bias) => each_frame(x, |x| group_norm(x, self.weight.val(), bias.val(), self.groups, EPSILON)),
        }
    }

    /// `silu` of the norm.
    pub fn silu(&self, x: Tensor<5>) -> Tensor<5> {
        match &self.bias {
            None => rms_norm_silu(x, self.weight.val(), EPSILON),
            Some(bias) => each_frame(x, |x| group_norm_silu(x, self.weight.val(), bias.val(), self.groups, EPSILON)),
        }
    }
}

/// What `norm` makes of `[B·T, H, W, C]`.
fn each_frame(x: Tensor<5>, norm: impl FnOnce(Tensor<4>) -> Tensor<4>) -> Tensor<5> {
    let [b, t, h, w, c] = x.dims();
    norm(x.reshape([b * t, h, w, c])).reshape([b, t, h, w, c])
}

/// A group norm whose scale and shift come from the latents: those of a frame from the [`Style`] of the
/// latent frame that it comes from. The paper (section 3.2) follows StyleGAN in it and gives no more; mean
/// and deviation of a channel are what an adaptive norm sets (Huang and Belongie 2017).
#[derive(Module, Debug)]
pub struct AdaptiveNorm {
    /// From a style to scales and shifts, `[2·latents, 2·C]`.
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
    #[module(skip)]
    groups: usize,
    /// Frames that a latent frame has become.
    #[module(skip)]
    frames: usize,
}

impl AdaptiveNorm {
    /// A norm of `channels` of frames of which `frames` come of one latent frame of `latents` numbers a
    /// place; an ordinary norm at first.
    pub fn new(init: &Init, [latents, channels]: [usize; 2], groups: usize, frames: usize) -> Self {
        Self {
            weight: init.part("weight").zeros([2 * latents, 2 * channels]),
            bias: init.part("bias").zeros([2 * channels]),
            groups,
            frames,
        }
    }

    /// How many numbers it learns.
    pub fn parameters(latents: usize, channels: usize) -> usize {
        (2 * latents + 1) * 2 * channels
    }

    /// `[B, T, H, W, C]` → the same shape.
    pub fn forward(&self, x: Tensor<5>, style: &Style) -> Tensor<5> {
        let [b, frames, _, _, channels] = x.dims();
        let all = self.frames * style.0.dims()[1];
        let map = style.0.clone().matmul(self.weight.val().unsqueeze()) + self.bias.val().unsqueeze();
        // Of the first latent frame of a clip there is one frame, the last of its copies.
        let map = map.unsqueeze_dim::<4>(2).repeat_dim(2, self.frames).reshape([b, all, 2 * channels]);
        let map = map.slice_dim(1, all - frames..all).reshape([b, frames, 1, 1, 2 * channels]);
        let [scale, shift] = [0, channels].map(|from| map.clone().slice_dim(4, from..from + channels));
        let (one, none) = (Tensor::ones([channels], &x.device()), Tensor::zeros([channels], &x.device()));
        let x = each_frame(x, |x| group_norm(x, one, none, self.groups, EPSILON));
        x * (scale + 1.0) + shift
    }
}

/// Mean and deviation of each channel of each latent frame, `[B, t, 2·latents]`.
#[derive(Clone, Debug)]
pub struct Style(Tensor<3>);

impl Style {
    /// Of `[B, t, h, w, latents]`.
    pub fn of(latents: Tensor<5>) -> Self {
        let [b, t, h, w, channels] = latents.dims();
        let places = latents.reshape([b, t, h * w, channels]);
        let mean = places.clone().mean_dim(2);
        let gap = places - mean.clone();
        let deviation = (gap.clone() * gap).mean_dim(2).add_scalar(EPSILON).sqrt();
        Self(Tensor::cat(vec![mean, deviation], 3).squeeze_dim(2))
    }

    /// The numbers.
    #[cfg(test)]
    pub fn values(&self) -> Tensor<3> {
        self.0.clone()
    }
}

/// `x + conv(silu(norm(conv(silu(norm(x))))))`.
#[derive(Module, Debug)]
pub struct ResidualBlock {
    norm1: Norm,
    conv1: CausalConv3d,
    norm2: Norm,
    conv2: CausalConv3d,
}

impl ResidualBlock {
    /// A block of `channels`; `frames` is the kernel's extent in time, 1 or 3.
    pub fn new(init: &Init, norm: NormConfig, channels: usize, frames: usize) -> Self {
        let conv = |name, gain| CausalConv3d::new(&init.part(name), [channels; 2], [frames, 3, 3], [1; 3], gain);
        Self {
            norm1: Norm::new(&init.part("norm1"), norm, channels),
            conv1: conv("conv1", std::f32::consts::SQRT_2),
            norm2: Norm::new(&init.part("norm2"), norm, channels),
            // Small, so that a deep stack starts near the identity.
            conv2: conv("conv2", 0.3),
        }
    }

    /// How many numbers it learns.
    pub fn parameters(norm: NormConfig, channels: usize, frames: usize) -> usize {
        2 * (Norm::parameters(norm, channels) + CausalConv3d::parameters([channels; 2], [frames, 3, 3]))
    }

    /// `[B, T, H, W, C]` → the same shape.
    pub fn forward(&self, x: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        let y = self.conv1.forward(self.norm1.silu(x.clone()), state);
        x + self.conv2.forward(self.norm2.silu(y), state)
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
    pub fn forward(&self, x: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        let x = depth_to_space(self.conv.forward(x, state), self.scale);
        let frames = x.dims()[1];
        if state.started() { x } else { x.slice_dim(1, self.scale[0] - 1..frames) }
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
