//! SoundStream's discriminator of waveforms, of one scale.

use super::layers::{GAIN, GroupedConv, leaky_relu};
use super::{DiscriminatorConfig, Judgement};
use crate::conv::{Conv, Size};
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::Init;

/// Channels of a group (SoundStream, section III-D).
const GROUP: usize = 4;
/// Moments that become one at each grouped convolution, and how many times wider it is.
const STRIDE: usize = 4;
/// Grouped convolutions.
const DEPTH: usize = 4;
/// Strides that a window of a grouped convolution spans: about MelGAN's 41 taps.
const SPANS: usize = 10;
const FIRST_TAPS: usize = 15;
const JOIN_TAPS: usize = 5;
const LAST_TAPS: usize = 3;

/// A convolution, four grouped ones that each hear a quarter as often in four times as many channels, and two more
/// (SoundStream, section III-D; taps of MelGAN, Kumar et al. 2019): a logit for every 256 samples.
#[derive(Module, Debug)]
pub struct WaveDiscriminator {
    stem: Conv,
    grouped: Vec<GroupedConv>,
    join: Conv,
    head: Conv,
}

/// Channels before and after each grouped convolution.
fn widths(config: &DiscriminatorConfig) -> impl Iterator<Item = [usize; 2]> {
    let width = |i: u32| (config.channels * 4usize.pow(i)).min(config.widest);
    (0..DEPTH as u32).map(move |i| [width(i), width(i + 1)])
}

fn last(config: &DiscriminatorConfig) -> usize {
    widths(config).last().map_or(config.channels, |[_, last]| last)
}

impl WaveDiscriminator {
    /// A discriminator of the size that `config` says.
    pub fn new(config: &DiscriminatorConfig, init: &Init) -> Self {
        let grouped = |(i, [input, output]): (usize, [usize; 2])| {
            GroupedConv::new(&init.part(i), [input, output], input / GROUP, SPANS, STRIDE)
        };
        let last = last(config);
        Self {
            stem: Conv::new(&init.part("stem"), [1, config.channels], [1, 1, FIRST_TAPS], GAIN),
            grouped: widths(config).enumerate().map(grouped).collect(),
            join: Conv::new(&init.part("join"), [last; 2], [1, 1, JOIN_TAPS], GAIN),
            head: Conv::new(&init.part("head"), [last, 1], [1, 1, LAST_TAPS], 1.0),
        }
    }

    /// Of sounds `[B, S]`.
    pub fn forward(&self, sounds: Tensor<2>) -> Judgement {
        let [b, samples] = sounds.dims();
        let flat = |x: &Tensor<3>| x.clone().reshape([b as i32, -1]);
        let signal = |x: Tensor<5>| x.flatten::<3>(1, 3);
        let mut features = Vec::with_capacity(DEPTH + 2);
        let mut x = leaky_relu(signal(self.stem.forward(sounds.reshape([b, 1, 1, samples, 1]))));
        features.push(flat(&x));
        for grouped in &self.grouped {
            x = leaky_relu(grouped.forward(x));
            features.push(flat(&x));
        }
        let x = leaky_relu(self.join.forward(x.unsqueeze_dims(&[1, 1])));
        features.push(x.clone().reshape([b as i32, -1]));
        Judgement { logits: self.head.forward(x).reshape([b as i32, -1]), features }
    }
}

/// What such a discriminator is and takes for so many samples.
pub fn size(config: &DiscriminatorConfig, samples: usize) -> Size {
    let mut size = Size::default();
    let mut moments = samples;
    size.layer([1, config.channels], FIRST_TAPS, moments as f64);
    for [input, output] in widths(config) {
        moments = moments.div_ceil(STRIDE);
        size.layer([GROUP, output], SPANS * STRIDE, moments as f64);
        // Windows are laid side by side for the product.
        size.activations += (input * STRIDE * SPANS * moments) as f64;
    }
    let last = last(config);
    size.layer([last; 2], JOIN_TAPS, moments as f64);
    size.layer([last, 1], LAST_TAPS, moments as f64);
    size
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_that_of_the_layers_at_their_moments() {
        let config = DiscriminatorConfig { channels: 4, widest: 16, blocks: 3, window: 128 };
        let Size { flops, activations, .. } = size(&config, 1023);
        // Four times a quarter of the moments, rounded up; 16 channels from the first on, of four a group.
        let grouped = [(4, 256), (16, 64), (16, 16), (16, 4)];
        let taps = SPANS * STRIDE;
        let products = grouped.map(|(_, moments)| 4 * 16 * taps * moments).iter().sum::<usize>();
        let all = 4 * 15 * 1023 + products + 16 * 16 * 5 * 4 + 16 * 3 * 4;
        assert_eq!(flops, 2.0 * all as f64);
        // Each output before and after its rectifier, and the windows of the grouped ones.
        let outputs = 4 * 1023 + 16 * (256 + 64 + 16 + 4) + 16 * 4 + 4;
        let windows = grouped.map(|(input, moments)| input * taps * moments).iter().sum::<usize>();
        assert_eq!(activations, (2 * outputs + windows) as f64);
    }
}
