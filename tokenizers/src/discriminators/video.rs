//! MAGVIT-v2's discriminator of clips: StyleGAN's in three dimensions, with blur pooling.

use super::layers::{GAIN, blur_pool, leaky_relu};
use super::{DiscriminatorConfig, Judgement};
use crate::conv::{Conv, Size};
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::Init;

/// Residual blocks that halve frames, rows and columns and double the channels, and a logit for each place that is left
/// (Yu et al., "MAGVIT", 2023, appendix A; blur pooling as in MAGVIT-v2, appendix A). Where the paper joins all places
/// to one logit by dense layers, each place here has its own (Isola et al. 2017): so clips of any length and size, and
/// single images, are judged by one network.
#[derive(Module, Debug)]
pub struct VideoDiscriminator {
    stem: Conv,
    blocks: Vec<Block>,
    join: Conv,
    head: Conv,
}

#[derive(Module, Debug)]
struct Block {
    conv1: Conv,
    conv2: Conv,
    skip: Conv,
}

/// A kernel that sees a place and its neighbours in time and space.
const CUBE: [usize; 3] = [3; 3];

impl VideoDiscriminator {
    /// A discriminator of the size that `config` says.
    pub fn new(config: &DiscriminatorConfig, init: &Init) -> Self {
        let widths: Vec<[usize; 2]> = config.widths().collect();
        let last = config.width(config.blocks);
        Self {
            stem: Conv::new(&init.part("stem"), [3, config.channels], CUBE, GAIN),
            blocks: widths.into_iter().enumerate().map(|(i, width)| Block::new(width, &init.part(i))).collect(),
            join: Conv::new(&init.part("join"), [last; 2], CUBE, GAIN),
            head: Conv::new(&init.part("head"), [last, 1], [1; 3], 1.0),
        }
    }

    /// Of clips `[B, T, H, W, 3]`.
    pub fn forward(&self, clips: Tensor<5>) -> Judgement {
        let b = clips.dims()[0] as i32;
        let mut features = Vec::with_capacity(self.blocks.len() + 2);
        let mut x = leaky_relu(self.stem.forward(clips));
        features.push(x.clone().reshape([b, -1]));
        for block in &self.blocks {
            x = block.forward(x);
            features.push(x.clone().reshape([b, -1]));
        }
        x = leaky_relu(self.join.forward(x));
        features.push(x.clone().reshape([b, -1]));
        Judgement { logits: self.head.forward(x).reshape([b, -1]), features }
    }
}

impl Block {
    fn new([input, output]: [usize; 2], init: &Init) -> Self {
        Self {
            conv1: Conv::new(&init.part("conv1"), [input; 2], CUBE, GAIN),
            conv2: Conv::new(&init.part("conv2"), [input, output], CUBE, GAIN),
            skip: Conv::new(&init.part("skip"), [input, output], [1; 3], 1.0),
        }
    }

    /// `[B, T, H, W, C]` → `[B, ⌈T/2⌉, ⌈H/2⌉, ⌈W/2⌉, C']`.
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let halved = |x| (1..4).fold(x, blur_pool::<5>);
        let y = halved(leaky_relu(self.conv1.forward(x.clone())));
        let y = leaky_relu(self.conv2.forward(y));
        (y + self.skip.forward(halved(x))) * std::f64::consts::FRAC_1_SQRT_2
    }
}

/// What such a discriminator is and takes for a clip of `[t, h, w]`.
pub fn size(config: &DiscriminatorConfig, clip: [usize; 3]) -> Size {
    let mut size = Size::default();
    let places = |clip: [usize; 3]| clip.iter().product::<usize>() as f64;
    let mut at = clip;
    size.layer([3, config.channels], 27, places(at));
    for [input, output] in config.widths() {
        size.layer([input; 2], 27, places(at));
        at = at.map(|side| side.div_ceil(2));
        size.layer([input, output], 27, places(at));
        size.layer([input, output], 1, places(at));
    }
    let last = config.width(config.blocks);
    size.layer([last; 2], 27, places(at));
    size.layer([last, 1], 1, places(at));
    size
}
