//! Encoder and decoder, mirror images of each other.

use super::layers::{CausalConv3d, ChannelNorm, DepthToSpace, ResidualBlock, depth_to_space, space_to_depth};
use super::{Magvit2Config, Stage};
use crate::past::Past;
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::Init;

/// Clip → latents: space to depth, then stages of residual blocks with a strided convolution
/// between them.
#[derive(Module, Debug)]
pub struct Encoder {
    stem: CausalConv3d,
    stages: Vec<EncoderStage>,
    norm: ChannelNorm,
    head: CausalConv3d,
    #[module(skip)]
    patch: usize,
}

#[derive(Module, Debug)]
struct EncoderStage {
    blocks: Vec<ResidualBlock>,
    norm: Option<ChannelNorm>,
    down: Option<CausalConv3d>,
}

impl Encoder {
    /// An encoder to `latents` channels.
    pub fn new(config: &Magvit2Config, latents: usize, init: &Init) -> Self {
        let (first, last) = (&config.stages[0], &config.stages[config.stages.len() - 1]);
        let depth = 3 * config.patch * config.patch;
        let kernel = [first.frames, 3, 3];
        Self {
            stem: CausalConv3d::new(&init.part("stem"), [depth, first.channels], kernel, [1; 3], 1.0),
            stages: config.steps().enumerate().map(|(i, step)| EncoderStage::new(step, &init.part(i))).collect(),
            norm: ChannelNorm::new(&init.part("norm"), last.channels),
            head: CausalConv3d::new(&init.part("head"), [last.channels, latents], [1, 1, 1], [1; 3], 1.0),
            patch: config.patch,
        }
    }

    /// `[B, T, H, W, 3]` → `[B, t, h, w, C]`.
    pub fn forward(&self, clip: Tensor<5>, past: &mut Past<5>) -> Tensor<5> {
        let mut x = self.stem.forward(space_to_depth(clip, self.patch), past);
        for stage in &self.stages {
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x, past));
            if let (Some(norm), Some(down)) = (&stage.norm, &stage.down) {
                // Without this norm the codes collapse to one within fifty steps.
                x = down.forward(norm.forward(x), past);
            }
        }
        self.head.forward(self.norm.silu(x), past)
    }
}

impl EncoderStage {
    fn new((stage, next): (&Stage, Option<&Stage>), init: &Init) -> Self {
        let down = next.map(|next| {
            let kernel = stage.down.map(|s| if s > 1 { 3 } else { 1 });
            CausalConv3d::new(&init.part("down"), [stage.channels, next.channels], kernel, stage.down, 1.0)
        });
        Self {
            blocks: blocks(stage, init),
            norm: next.map(|_| ChannelNorm::new(&init.part("norm"), stage.channels)),
            down,
        }
    }
}

/// Latents → clip.
#[derive(Module, Debug)]
pub struct Decoder {
    stem: CausalConv3d,
    stages: Vec<DecoderStage>,
    norm: ChannelNorm,
    head: CausalConv3d,
    #[module(skip)]
    patch: usize,
}

#[derive(Module, Debug)]
struct DecoderStage {
    up: Option<DepthToSpace>,
    blocks: Vec<ResidualBlock>,
}

impl Decoder {
    /// A decoder from `latents` channels.
    pub fn new(config: &Magvit2Config, latents: usize, init: &Init) -> Self {
        let (first, last) = (&config.stages[0], &config.stages[config.stages.len() - 1]);
        let depth = 3 * config.patch * config.patch;
        let steps: Vec<_> = config.steps().enumerate().collect();
        let stages = steps.into_iter().rev().map(|(i, step)| DecoderStage::new(step, &init.part(i)));
        Self {
            stem: CausalConv3d::new(&init.part("stem"), [latents, last.channels], [last.frames, 3, 3], [1; 3], 1.0),
            stages: stages.collect(),
            norm: ChannelNorm::new(&init.part("norm"), first.channels),
            head: CausalConv3d::new(&init.part("head"), [first.channels, depth], [first.frames, 3, 3], [1; 3], 0.3),
            patch: config.patch,
        }
    }

    /// `[B, t, h, w, C]` → `[B, T, H, W, 3]`.
    pub fn forward(&self, latents: Tensor<5>, past: &mut Past<5>) -> Tensor<5> {
        let mut x = self.stem.forward(latents, past);
        for stage in &self.stages {
            if let Some(up) = &stage.up {
                x = up.forward(x, past);
            }
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x, past));
        }
        let x = self.head.forward(self.norm.silu(x), past);
        depth_to_space(x, [1, self.patch, self.patch])
    }
}

impl DecoderStage {
    fn new((stage, next): (&Stage, Option<&Stage>), init: &Init) -> Self {
        let up = next.map(|next| {
            let channels = [next.channels, stage.channels];
            DepthToSpace::new(&init.part("up"), channels, [next.frames, 3, 3], stage.down)
        });
        Self { up, blocks: blocks(stage, init) }
    }
}

fn blocks(stage: &Stage, init: &Init) -> Vec<ResidualBlock> {
    (0..stage.blocks)
        .map(|i| ResidualBlock::new(&init.part(format!("block{i}")), stage.channels, stage.frames))
        .collect()
}
