//! What a recipe says of the tokenizer, and what follows from it without a weight.

use super::Network;
use super::inflate::inflated;
use super::layers::{AdaptiveNorm, CausalConv3d, Norm, ResidualBlock};
use super::network::{Decoder, Encoder};
use crate::quantizers::QuantizerConfig;
use crate::video::{VideoTokenizer, spec, token_shape};
use burn::tensor::Device;
use musiva_core::{
    ConfigError, Cost, Init, MediaShape, Result, TokenShape, Tokenizer, TokenizerConfig, TokenizerSpec, WeightInit,
    Weights,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const KIND: &str = "magvit2";

/// What a recipe says of a `kind = "magvit2"` tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Magvit2Config {
    /// Side of the square patch of pixels that becomes one position before the first convolution.
    #[schemars(range(min = 1, max = 16))]
    pub patch: usize,
    /// The encoder's stages from the pixels to the latents; the decoder mirrors them.
    #[schemars(length(min = 1, max = 12))]
    pub stages: Vec<Stage>,
    /// What is normalised before each convolution.
    pub norm: NormConfig,
    /// What turns latents into tokens.
    pub quantizer: QuantizerConfig,
}

/// One resolution of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Width.
    #[schemars(range(min = 1, max = 4096))]
    pub channels: usize,
    /// Residual blocks.
    #[schemars(range(max = 64))]
    pub blocks: usize,
    /// Extent of the kernels in time: 1 sees single frames, 3 sees two frames back.
    #[schemars(range(min = 1, max = 3))]
    pub frames: usize,
    /// How many frames, rows and columns become one on the way to the next stage, `[t, h, w]`, each
    /// 1 or 2; `[1, 1, 1]` for the last stage.
    #[serde(default = "no_stride")]
    pub down: [usize; 3],
}

/// What is normalised before each convolution. Neither mixes frames, so causality survives both.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
pub enum NormConfig {
    /// The channels of each position, by their root mean square (Zhang and Sennrich 2019).
    #[default]
    Rms,
    /// Groups of channels over all positions of a frame (Wu and He 2018), as in the paper.
    Group {
        /// Groups, which divide the width of every stage.
        #[schemars(range(min = 1, max = 4096))]
        groups: usize,
        /// Whether the decoder has, before the blocks of each resolution, one more norm whose scale and shift
        /// come from the quantized latents (MAGVIT-v2, section 3.2).
        #[serde(default)]
        adaptive: bool,
    },
}

fn no_stride() -> [usize; 3] {
    [1; 3]
}

impl Default for Magvit2Config {
    fn default() -> Self {
        let stage = |channels, blocks, frames, down| Stage { channels, blocks, frames, down };
        Self {
            patch: 4,
            stages: vec![
                stage(32, 1, 1, [1, 2, 2]),
                stage(48, 1, 3, [2, 1, 1]),
                stage(64, 1, 3, [2, 1, 1]),
                stage(96, 2, 3, [1; 3]),
            ],
            norm: NormConfig::default(),
            quantizer: QuantizerConfig::default(),
        }
    }
}

/// Half of the network.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Half {
    Encoder,
    Decoder,
}

impl Stage {
    /// The kernel of its convolutions.
    pub(super) fn kernel(&self) -> [usize; 3] {
        [self.frames, 3, 3]
    }

    /// The kernel of the strided convolution to the next stage.
    pub(super) fn down_kernel(&self) -> [usize; 3] {
        self.down.map(|s| if s > 1 { 3 } else { 1 })
    }
}

impl Magvit2Config {
    /// Frames, rows and columns of a clip that one token stands for.
    pub fn strides(&self) -> [usize; 3] {
        let steps = self.stages.iter().rev().skip(1);
        steps.fold([1, self.patch, self.patch], |[t, h, w], s| [t * s.down[0], h * s.down[1], w * s.down[2]])
    }

    /// Each stage with the one after it.
    pub(super) fn steps(&self) -> impl Iterator<Item = (&Stage, Option<&Stage>)> {
        self.stages.iter().enumerate().map(|(i, stage)| (stage, self.stages.get(i + 1)))
    }

    /// The first and the last stage.
    pub(super) fn ends(&self) -> [&Stage; 2] {
        [&self.stages[0], &self.stages[self.stages.len() - 1]]
    }

    /// Groups of the norms that the latents steer, where there are such.
    pub(super) fn adaptive(&self) -> Option<usize> {
        match self.norm {
            NormConfig::Group { groups, adaptive: true } => Some(groups),
            NormConfig::Group { adaptive: false, .. } | NormConfig::Rms => None,
        }
    }

    pub(super) fn network(&self, init: &Init) -> Network {
        let channels = self.quantizer.channels();
        Network {
            encoder: Encoder::new(self, channels * self.quantizer.moments(), &init.part("encoder")),
            decoder: Decoder::new(self, channels, &init.part("decoder")),
            quantizer: self.quantizer.init(&init.part("quantizer")),
        }
    }

    /// Multiplications and additions of the convolutions of one half, and the numbers that its activations hold.
    fn work(&self, half: Half, [frames, height, width]: [usize; 3]) -> Cost {
        let (mut flops, mut kept, mut widest) = (0.0, 0.0, 0.0f64);
        let mut size = [frames, height / self.patch, width / self.patch];
        let [first, last] = self.ends();
        let pixels = 3 * self.patch * self.patch;
        let of_conv = |size: [usize; 3], kernel: [usize; 3], [input, output]: [usize; 2]| {
            2.0 * size.iter().chain(&kernel).chain(&[input, output]).map(|&n| n as f64).product::<f64>()
        };
        flops += of_conv(size, first.kernel(), [pixels, first.channels]);
        for (stage, next) in self.steps() {
            let (c, n) = (stage.channels, size.iter().product::<usize>() as f64);
            flops += 2.0 * stage.blocks as f64 * of_conv(size, stage.kernel(), [c; 2]);
            // Of a residual block: its input, what its two norms give, and the first convolution.
            kept += 4.0 * n * (c * stage.blocks) as f64;
            widest = widest.max(4.0 * n * c as f64);
            if let Some(next) = next {
                let [t, h, w] = stage.down;
                size = [size[0].div_ceil(t), size[1] / h, size[2] / w];
                flops += match half {
                    Half::Encoder => of_conv(size, stage.down_kernel(), [c, next.channels]),
                    Half::Decoder => of_conv(size, next.kernel(), [next.channels, c * t * h * w]),
                };
                kept += 2.0 * n * c as f64;
            }
        }
        let latents = self.quantizer.channels();
        flops += match half {
            Half::Encoder => of_conv(size, [1; 3], [last.channels, latents * self.quantizer.moments()]),
            Half::Decoder => of_conv(size, last.kernel(), [latents, last.channels]),
        };
        // Of the loss: the difference, its absolute, its square, both weighted.
        kept += 5.0 * 3.0 * (frames * height * width) as f64;
        Cost { forward_flops: flops, activations: kept, working_set: widest }
    }
}

impl TokenizerConfig for Magvit2Config {
    fn neutral(&self) -> &'static [&'static str] {
        crate::quantizers::NEUTRAL
    }

    fn errors(&self) -> Vec<ConfigError> {
        let mut errors = self.quantizer.errors();
        for (i, (stage, next)) in self.steps().enumerate() {
            if stage.frames != 1 && stage.frames != 3 {
                let message = format!("a causal kernel spans 1 or 3 frames, not {}", stage.frames);
                errors.push(ConfigError::new(format!("stages.{i}.frames"), message, "set `frames = 3`"));
            }
            if stage.down.iter().any(|&s| s != 1 && s != 2) {
                let message = format!("a stage halves or keeps, it cannot divide by {:?}", stage.down);
                errors.push(ConfigError::new(format!("stages.{i}.down"), message, "use 1s and 2s, in more stages"));
            }
            if next.is_none() && stage.down != [1; 3] {
                let message = format!("the last stage has no next one to go down to by {:?}", stage.down);
                errors.push(ConfigError::new(format!("stages.{i}.down"), message, "set `down = [1, 1, 1]`"));
            }
        }
        if let NormConfig::Group { groups, .. } = self.norm {
            let undivided = |stage: &&Stage| !stage.channels.is_multiple_of(groups);
            if let Some(stage) = self.stages.iter().find(undivided) {
                let message = format!("{groups} groups do not divide a stage of {} channels", stage.channels);
                let fits = |groups: &usize| self.stages.iter().all(|stage| stage.channels.is_multiple_of(*groups));
                let fitting = (1..=groups.max(1)).rev().find(fits).unwrap_or(1);
                errors.push(ConfigError::new("norm.groups", message, format!("set `groups = {fitting}`")));
            }
        }
        errors
    }

    fn spec(&self) -> TokenizerSpec {
        spec(self.strides(), &self.quantizer)
    }

    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        token_shape(KIND, &self.spec(), media)
    }

    fn parameters(&self) -> usize {
        let conv = CausalConv3d::parameters;
        let norm = |channels| Norm::parameters(self.norm, channels);
        let [first, last] = self.ends();
        let (pixels, latents) = (3 * self.patch * self.patch, self.quantizer.channels());
        let mut count = self.quantizer.parameters();
        count += conv([pixels, first.channels], first.kernel()) + norm(last.channels);
        count += conv([last.channels, latents * self.quantizer.moments()], [1; 3]);
        count += conv([latents, last.channels], last.kernel()) + norm(first.channels);
        count += conv([first.channels, pixels], first.kernel());
        for (stage, next) in self.steps() {
            let c = stage.channels;
            count += 2 * stage.blocks * ResidualBlock::parameters(self.norm, c, stage.frames);
            if self.adaptive().is_some() {
                count += AdaptiveNorm::parameters(latents, c);
            }
            if let Some(next) = next {
                count += norm(c) + conv([c, next.channels], stage.down_kernel());
                count += conv([next.channels, c * stage.down.iter().product::<usize>()], next.kernel());
            }
        }
        count
    }

    fn cost(&self, media: &MediaShape) -> [Cost; 2] {
        match *media {
            MediaShape::Clip { frames, height, width, .. } => {
                [Half::Encoder, Half::Decoder].map(|half| self.work(half, [frames, height, width]))
            }
            _ => [Cost::default(); 2],
        }
    }

    fn inflate(&self, weights: Weights) -> Result<Weights> {
        inflated(self, weights)
    }

    fn build(&self, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        let mut network = self.network(&weight_init.init(device));
        weight_init.load(&mut network)?;
        Ok(Box::new(VideoTokenizer::new(KIND, self.spec(), &self.quantizer, network, device)))
    }
}
