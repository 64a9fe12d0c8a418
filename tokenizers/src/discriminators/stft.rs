//! SoundStream's discriminator of complex spectrograms.

use super::layers::{GAIN, leaky_relu};
use super::{DiscriminatorConfig, Judgement};
use crate::conv::{Conv, Size};
use crate::stft::Stft;
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::Init;

/// Strides of the blocks over moments and frequencies (SoundStream, section III-D): every second one halves both.
const STRIDES: [[usize; 2]; 6] = [[1, 2], [2, 2], [1, 2], [2, 2], [1, 2], [2, 2]];
/// Side of the first kernel.
const FIRST: usize = 7;

/// A convolution over moments and frequencies of the real and the imaginary part, six residual blocks that halve the
/// frequencies, and a logit for each moment that is left (SoundStream, section III-D and figure 4). Every second block
/// doubles the channels.
#[derive(Module, Debug)]
pub struct StftDiscriminator {
    stem: Conv,
    blocks: Vec<Block>,
    head: Conv,
    #[module(skip)]
    stft: Stft,
}

#[derive(Module, Debug)]
struct Block {
    conv1: Conv,
    conv2: Conv,
    skip: Conv,
}

/// Channels before and after each block.
fn widths(config: &DiscriminatorConfig) -> impl Iterator<Item = [usize; 2]> {
    (0..STRIDES.len()).map(|i| [config.width(i / 2), config.width(i.div_ceil(2))])
}

/// Frequencies that the blocks leave of a window's.
fn rest(config: &DiscriminatorConfig) -> usize {
    (config.window / 2) >> STRIDES.len()
}

impl StftDiscriminator {
    /// A discriminator of the size that `config` says.
    pub fn new(config: &DiscriminatorConfig, init: &Init) -> Self {
        let widths = widths(config).zip(STRIDES).enumerate();
        let last = config.width(STRIDES.len() / 2);
        Self {
            stem: Conv::new(&init.part("stem"), [2, config.channels], [1, FIRST, FIRST], GAIN),
            blocks: widths.map(|(i, (width, stride))| Block::new(width, stride, &init.part(i))).collect(),
            head: Conv::new(&init.part("head"), [last * rest(config), 1], [1; 3], 1.0),
            stft: Stft::new(config.window, init.device()),
        }
    }

    /// Of sounds `[B, S]` of at least a window.
    pub fn forward(&self, sounds: Tensor<2>) -> Judgement {
        let [real, imaginary] = self.stft.forward(sounds); // [B, T, bins] each
        let [b, moments, bins] = real.dims();
        // The highest frequency goes, so that those that stay can be halved.
        let part = |x: Tensor<3>| x.slice_dim(2, 0..bins - 1).reshape([b, 1, moments, bins - 1, 1]);
        let mut x = leaky_relu(self.stem.forward(Tensor::cat(vec![part(real), part(imaginary)], 4)));
        let mut features = vec![x.clone().reshape([b as i32, -1])];
        for block in &self.blocks {
            x = block.forward(x);
            features.push(x.clone().reshape([b as i32, -1]));
        }
        let [_, _, moments, rest, channels] = x.dims();
        let logits = self.head.forward(x.reshape([b, 1, moments, 1, rest * channels]));
        Judgement { logits: logits.reshape([b as i32, -1]), features }
    }
}

impl Block {
    fn new([input, output]: [usize; 2], [t, f]: [usize; 2], init: &Init) -> Self {
        let strided = [1, t, f];
        Self {
            conv1: Conv::new(&init.part("conv1"), [input; 2], [1, 3, 3], GAIN),
            conv2: Conv::new(&init.part("conv2"), [input, output], [1, t + 2, f + 2], GAIN).stride(strided),
            skip: Conv::new(&init.part("skip"), [input, output], [1, t, f], 1.0).stride(strided),
        }
    }

    /// `[B, 1, T, F, C]` → `[B, 1, ⌈T/s_t⌉, F/2, C']`.
    fn forward(&self, x: Tensor<5>) -> Tensor<5> {
        let y = leaky_relu(self.conv2.forward(leaky_relu(self.conv1.forward(x.clone()))));
        (y + self.skip.forward(x)) * std::f64::consts::FRAC_1_SQRT_2
    }
}

/// What such a discriminator is and takes for so many samples.
pub fn size(config: &DiscriminatorConfig, samples: usize) -> Size {
    let mut size = Size::default();
    let hop = config.window / 4;
    let mut at = [(samples / hop).saturating_sub(3), config.window / 2];
    let places = |[t, f]: [usize; 2]| (t * f) as f64;
    size.layer([2, config.channels], FIRST * FIRST, places(at));
    for ([input, output], [t, f]) in widths(config).zip(STRIDES) {
        size.layer([input; 2], 9, places(at));
        at = [at[0].div_ceil(t), at[1] / f];
        size.layer([input, output], (t + 2) * (f + 2), places(at));
        size.layer([input, output], t * f, places(at));
    }
    size.layer([config.width(STRIDES.len() / 2) * rest(config), 1], 1, at[0] as f64);
    size
}
