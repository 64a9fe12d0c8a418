//! Encoder and decoder, mirror images of each other (Phenaki, figure 2).

use super::CVivitConfig;
use super::layers::{Block, Linear, RmsNorm, Rotary};
use crate::stream_state::StreamState;
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::Init;

/// Spatial and temporal blocks.
#[derive(Module, Debug)]
pub struct Blocks {
    spatial: Vec<Block>,
    temporal: Vec<Block>,
    /// Numbers of a head.
    #[module(skip)]
    size: usize,
    #[module(skip)]
    window: usize,
}

impl Blocks {
    fn new(config: &CVivitConfig, init: &Init) -> Self {
        let sizes = [config.width, config.heads];
        // So that the sum over all branches starts no larger than what it is added to.
        let gain = 1.0 / (2.0 * (config.spatial + config.temporal) as f32).sqrt();
        let blocks = |name, count| {
            let block = |i| Block::new(&init.part(name).part(i), sizes, gain);
            (0..count).map(block).collect()
        };
        Self {
            spatial: blocks("spatial", config.spatial),
            temporal: blocks("temporal", config.temporal),
            size: config.width / config.heads,
            window: config.window,
        }
    }

    /// `[B, t, h, w, D]` → the same shape.
    fn over_places(&self, x: Tensor<5>) -> Tensor<5> {
        let [_, _, h, w, _] = x.dims();
        let rotary = Rotary::positions([h, w], self.size, &x.device());
        self.spatial.iter().fold(x, |x, block| block.over_places(x, &rotary))
    }

    /// `[B, t, h, w, D]` → the same shape.
    fn over_moments(&self, x: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        let rotary = Rotary::moments(self.window - 1 + x.dims()[1], self.size, &x.device());
        self.temporal.iter().fold(x, |x, block| block.over_moments(x, &rotary, self.window, state))
    }
}

/// Clip → latents.
#[derive(Module, Debug)]
pub struct Encoder {
    image: Linear,
    video: Linear,
    blocks: Blocks,
    norm: RmsNorm,
    head: Linear,
    #[module(skip)]
    patch: [usize; 3],
}

impl Encoder {
    /// An encoder to `latents` channels.
    pub fn new(config: &CVivitConfig, latents: usize, init: &Init) -> Self {
        let [image, video] = config.patches();
        Self {
            image: Linear::new(&init.part("image"), [image, config.width], 1.0),
            video: Linear::new(&init.part("video"), [video, config.width], 1.0),
            blocks: Blocks::new(config, &init.part("blocks")),
            norm: RmsNorm::new(&init.part("norm"), config.width),
            head: Linear::new(&init.part("head"), [config.width, latents], 1.0),
            patch: config.patch,
        }
    }

    /// `[B, T, H, W, 3]` → `[B, t, h, w, C]`.
    pub fn forward(&self, clip: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        let frames = clip.dims()[1];
        let [time, ph, pw] = self.patch;
        // The first frame is an image of its own.
        let alone = usize::from(!state.started());
        let mut parts = Vec::new();
        if alone > 0 {
            parts.push(self.image.forward(patches(clip.clone().slice_dim(1, 0..1), [1, ph, pw])));
        }
        if frames > alone {
            parts.push(self.video.forward(patches(clip.slice_dim(1, alone..frames), [time, ph, pw])));
        }
        let x = self.blocks.over_places(Tensor::cat(parts, 1));
        let x = self.blocks.over_moments(x, state);
        self.head.forward(self.norm.forward(x))
    }
}

/// Latents → clip.
#[derive(Module, Debug)]
pub struct Decoder {
    stem: Linear,
    blocks: Blocks,
    norm: RmsNorm,
    image: Linear,
    video: Linear,
    #[module(skip)]
    patch: [usize; 3],
}

impl Decoder {
    /// A decoder from `latents` channels.
    pub fn new(config: &CVivitConfig, latents: usize, init: &Init) -> Self {
        let [image, video] = config.patches();
        Self {
            stem: Linear::new(&init.part("stem"), [latents, config.width], 1.0),
            blocks: Blocks::new(config, &init.part("blocks")),
            norm: RmsNorm::new(&init.part("norm"), config.width),
            image: Linear::new(&init.part("image"), [config.width, image], 0.3),
            video: Linear::new(&init.part("video"), [config.width, video], 0.3),
            patch: config.patch,
        }
    }

    /// `[B, t, h, w, C]` → `[B, T, H, W, 3]`.
    pub fn forward(&self, latents: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        let frames = latents.dims()[1];
        let [time, ph, pw] = self.patch;
        let alone = usize::from(!state.started());
        let x = self.blocks.over_moments(self.stem.forward(latents), state);
        let x = self.norm.forward(self.blocks.over_places(x));
        let mut parts = Vec::new();
        if alone > 0 {
            parts.push(pixels(self.image.forward(x.clone().slice_dim(1, 0..1)), [1, ph, pw]));
        }
        if frames > alone {
            parts.push(pixels(self.video.forward(x.slice_dim(1, alone..frames)), [time, ph, pw]));
        }
        Tensor::cat(parts, 1)
    }
}

/// `[B, t·p_t, h·p_h, w·p_w, 3]` → `[B, t, h, w, p_t·p_h·p_w·3]`.
fn patches(clip: Tensor<5>, [pt, ph, pw]: [usize; 3]) -> Tensor<5> {
    let [b, frames, height, width, c] = clip.dims();
    let (t, h, w) = (frames / pt, height / ph, width / pw);
    let x = clip.reshape([b, t, pt, h, ph, w, pw, c]).permute([0, 1, 3, 5, 2, 4, 6, 7]);
    x.reshape([b, t, h, w, pt * ph * pw * c])
}

/// The inverse of [`patches`].
fn pixels(x: Tensor<5>, [pt, ph, pw]: [usize; 3]) -> Tensor<5> {
    let [b, t, h, w, depth] = x.dims();
    let c = depth / (pt * ph * pw);
    let x = x.reshape([b, t, h, w, pt, ph, pw, c]).permute([0, 1, 4, 2, 5, 3, 6, 7]);
    x.reshape([b, t * pt, h * ph, w * pw, c])
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, Int};
    use musiva_core::parameters::to_vec;

    #[test]
    fn patches_come_back_and_each_is_one_place() {
        let clip = Tensor::<1, Int>::arange(0..2 * 6 * 4 * 6 * 3, &Device::flex()).float().reshape([2, 6, 4, 6, 3]);
        let patched = patches(clip.clone(), [3, 2, 2]);
        assert_eq!(patched.dims(), [2, 2, 2, 3, 36]);
        let first = to_vec(patched.clone().slice([0..1, 0..1, 0..1, 0..1, 0..36]));
        let wanted = to_vec(clip.clone().slice([0..1, 0..3, 0..2, 0..2, 0..3]));
        assert_eq!(first, wanted);
        assert_eq!(to_vec(pixels(patched, [3, 2, 2])), to_vec(clip));
    }
}
