//! Encoder and decoder, mirror images of each other.

use super::config::{Magvit2Config, NormConfig, Stage};
use super::layers::{
    AdaptiveNorm, CausalConv3d, DepthToSpace, Norm, ResidualBlock, Style, depth_to_space, space_to_depth,
};
use crate::stream_state::StreamState;
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::Init;

/// Clip → latents: space to depth, then stages of residual blocks with a strided convolution
/// between them.
#[derive(Module, Debug)]
pub struct Encoder {
    stem: CausalConv3d,
    stages: Vec<EncoderStage>,
    norm: Norm,
    head: CausalConv3d,
    #[module(skip)]
    patch: usize,
}

#[derive(Module, Debug)]
struct EncoderStage {
    blocks: Vec<ResidualBlock>,
    norm: Option<Norm>,
    down: Option<CausalConv3d>,
}

impl Encoder {
    /// An encoder to `latents` channels.
    pub fn new(config: &Magvit2Config, latents: usize, init: &Init) -> Self {
        let [first, last] = config.ends();
        let depth = 3 * config.patch * config.patch;
        Self {
            stem: CausalConv3d::new(&init.part("stem"), [depth, first.channels], first.kernel(), [1; 3], 1.0),
            stages: config
                .steps()
                .enumerate()
                .map(|(i, it)| EncoderStage::new(config.norm, it, &init.part(i)))
                .collect(),
            norm: Norm::new(&init.part("norm"), config.norm, last.channels),
            head: CausalConv3d::new(&init.part("head"), [last.channels, latents], [1, 1, 1], [1; 3], 1.0),
            patch: config.patch,
        }
    }

    /// `[B, T, H, W, 3]` → `[B, t, h, w, C]`.
    pub fn forward(&self, clip: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        let mut x = self.stem.forward(space_to_depth(clip, self.patch), state);
        for stage in &self.stages {
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x, state));
            if let (Some(norm), Some(down)) = (&stage.norm, &stage.down) {
                // Without this norm the codes collapse to one within fifty steps.
                x = down.forward(norm.forward(x), state);
            }
        }
        self.head.forward(self.norm.silu(x), state)
    }
}

impl EncoderStage {
    fn new(norm: NormConfig, (stage, next): (&Stage, Option<&Stage>), init: &Init) -> Self {
        let down = next.map(|next| {
            let channels = [stage.channels, next.channels];
            CausalConv3d::new(&init.part("down"), channels, stage.down_kernel(), stage.down, 1.0)
        });
        Self {
            blocks: blocks(norm, stage, init),
            norm: next.map(|_| Norm::new(&init.part("norm"), norm, stage.channels)),
            down,
        }
    }
}

/// Latents → clip.
#[derive(Module, Debug)]
pub struct Decoder {
    stem: CausalConv3d,
    stages: Vec<DecoderStage>,
    norm: Norm,
    head: CausalConv3d,
    #[module(skip)]
    patch: usize,
}

#[derive(Module, Debug)]
struct DecoderStage {
    up: Option<DepthToSpace>,
    adaptive: Option<AdaptiveNorm>,
    blocks: Vec<ResidualBlock>,
}

impl Decoder {
    /// A decoder from `latents` channels.
    pub fn new(config: &Magvit2Config, latents: usize, init: &Init) -> Self {
        let [first, last] = config.ends();
        let depth = 3 * config.patch * config.patch;
        let mut stages = Vec::new();
        // Frames that a latent frame has become.
        let mut frames = 1;
        for (i, step) in config.steps().enumerate().collect::<Vec<_>>().into_iter().rev() {
            frames *= step.0.down[0];
            stages.push(DecoderStage::new(config, step, [latents, frames], &init.part(i)));
        }
        Self {
            stem: CausalConv3d::new(&init.part("stem"), [latents, last.channels], last.kernel(), [1; 3], 1.0),
            stages,
            norm: Norm::new(&init.part("norm"), config.norm, first.channels),
            head: CausalConv3d::new(&init.part("head"), [first.channels, depth], first.kernel(), [1; 3], 0.3),
            patch: config.patch,
        }
    }

    /// `[B, t, h, w, C]` → `[B, T, H, W, 3]`.
    pub fn forward(&self, latents: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        let adaptive = self.stages.iter().any(|stage| stage.adaptive.is_some());
        let style = adaptive.then(|| Style::of(latents.clone()));
        let mut x = self.stem.forward(latents, state);
        for stage in &self.stages {
            if let Some(up) = &stage.up {
                x = up.forward(x, state);
            }
            if let (Some(norm), Some(style)) = (&stage.adaptive, &style) {
                x = norm.forward(x, style);
            }
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x, state));
        }
        let x = self.head.forward(self.norm.silu(x), state);
        depth_to_space(x, [1, self.patch, self.patch])
    }
}

impl DecoderStage {
    fn new(
        config: &Magvit2Config,
        (stage, next): (&Stage, Option<&Stage>),
        [latents, frames]: [usize; 2],
        init: &Init,
    ) -> Self {
        let up = next.map(|next| {
            let channels = [next.channels, stage.channels];
            DepthToSpace::new(&init.part("up"), channels, next.kernel(), stage.down)
        });
        let adaptive = config
            .adaptive()
            .map(|groups| AdaptiveNorm::new(&init.part("adaptive"), [latents, stage.channels], groups, frames));
        Self { up, adaptive, blocks: blocks(config.norm, stage, init) }
    }
}

fn blocks(norm: NormConfig, stage: &Stage, init: &Init) -> Vec<ResidualBlock> {
    let block = |i| ResidualBlock::new(&init.part(format!("block{i}")), norm, stage.channels, stage.frames);
    (0..stage.blocks).map(block).collect()
}
