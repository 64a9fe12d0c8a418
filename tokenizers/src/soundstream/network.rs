//! Encoder and decoder, mirror images of each other (SoundStream, figure 3).

use super::SoundStreamConfig;
use super::film::Film;
use super::layers::{CausalConv1d, CausalConvTransposed1d, ResidualUnit, TAPS};
use crate::stream_state::StreamState;
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::Init;
use musiva_kernels::elu;

/// Dilations of the residual units of a block.
const DILATIONS: [usize; 3] = [1, 3, 9];
/// Taps of the convolution to the latents.
const LATENT_TAPS: usize = 3;

/// Sound → latents: blocks of three residual units and a strided convolution that doubles the channels.
#[derive(Module, Debug)]
pub struct Encoder {
    stem: CausalConv1d,
    blocks: Vec<EncoderBlock>,
    film: Option<Film>,
    head: CausalConv1d,
}

#[derive(Module, Debug)]
struct EncoderBlock {
    units: Vec<ResidualUnit>,
    down: CausalConv1d,
}

impl Encoder {
    /// An encoder to `latents` channels.
    pub fn new(config: &SoundStreamConfig, latents: usize, init: &Init) -> Self {
        let block = |(i, ([few, many], stride)): (usize, ([usize; 2], usize))| {
            let init = init.part(i);
            let down = CausalConv1d::new(&init.part("down"), [few, many], 2 * stride, [stride, 1], 1.4);
            EncoderBlock { units: units(&init, few), down }
        };
        Self {
            stem: CausalConv1d::new(&init.part("stem"), [1, config.channels], TAPS, [1, 1], 1.0),
            blocks: config.steps().enumerate().map(block).collect(),
            film: config.film.map(|_| Film::new(&init.part("film"), config.widest())),
            head: CausalConv1d::new(&init.part("head"), [config.widest(), latents], LATENT_TAPS, [1, 1], 1.4),
        }
    }

    /// `[B, S, 1]`, and the switch of each token, `[B, S/hop]`, which nothing reads without its layer → `[B, S/hop, C]`.
    pub fn forward(&self, sound: Tensor<3>, denoise_flag: Tensor<2>, state: &mut StreamState<3>) -> Tensor<3> {
        let mut x = self.stem.forward(sound, state);
        for block in &self.blocks {
            x = block.units.iter().fold(x, |x, unit| unit.forward(x, state));
            x = block.down.forward(elu(x), state);
        }
        if let Some(film) = &self.film {
            x = film.forward(x, denoise_flag);
        }
        self.head.forward(elu(x), state)
    }
}

/// Latents → sound.
#[derive(Module, Debug)]
pub struct Decoder {
    stem: CausalConv1d,
    blocks: Vec<DecoderBlock>,
    head: CausalConv1d,
}

#[derive(Module, Debug)]
struct DecoderBlock {
    up: CausalConvTransposed1d,
    units: Vec<ResidualUnit>,
}

impl Decoder {
    /// A decoder from `latents` channels.
    pub fn new(config: &SoundStreamConfig, latents: usize, init: &Init) -> Self {
        let block = |(i, ([few, many], stride)): (usize, ([usize; 2], usize))| {
            let init = init.part(i);
            let up = CausalConvTransposed1d::new(&init.part("up"), [many, few], stride);
            DecoderBlock { up, units: units(&init, few) }
        };
        let steps: Vec<_> = config.steps().enumerate().collect();
        Self {
            stem: CausalConv1d::new(&init.part("stem"), [latents, config.widest()], TAPS, [1, 1], 1.0),
            blocks: steps.into_iter().rev().map(block).collect(),
            head: CausalConv1d::new(&init.part("head"), [config.channels, 1], TAPS, [1, 1], 0.3),
        }
    }

    /// `[B, T, C]` → `[B, hop·T, 1]`.
    pub fn forward(&self, latents: Tensor<3>, state: &mut StreamState<3>) -> Tensor<3> {
        let mut x = self.stem.forward(latents, state);
        for block in &self.blocks {
            x = block.up.forward(elu(x), state);
            x = block.units.iter().fold(x, |x, unit| unit.forward(x, state));
        }
        self.head.forward(elu(x), state)
    }
}

fn units(init: &Init, channels: usize) -> Vec<ResidualUnit> {
    let unit = |(i, dilation)| ResidualUnit::new(&init.part(format!("unit{i}")), channels, dilation);
    DILATIONS.into_iter().enumerate().map(unit).collect()
}

/// Learned numbers of encoder and decoder together, and what each takes for a sample of sound:
/// multiplications, and numbers that training keeps.
pub fn size(config: &SoundStreamConfig, [encoded, decoded]: [usize; 2]) -> Size {
    let mut size = Size::default();
    // From `input` to `output` channels by `taps`, `each` times, once every `samples`.
    let mut layer = |input: usize, output: usize, taps: usize, each: usize, samples: usize| {
        size.parameters += each * (input * output * taps + output);
        size.multiplications += (each * input * output * taps) as f64 / samples as f64;
        // Its input through the activation, and its output.
        size.kept += (each * (input + output)) as f64 / samples as f64;
    };
    let (widest, hop) = (config.widest(), config.hop());
    layer(1, config.channels, TAPS, 1, 1);
    layer(config.channels, 1, TAPS, 1, 1);
    let mut samples = 1;
    for ([few, many], stride) in config.steps() {
        layer(few, few, TAPS, 2 * DILATIONS.len(), samples);
        layer(few, few, 1, 2 * DILATIONS.len(), samples);
        layer(few, many, 2 * stride, 1, samples * stride);
        layer(many, few, 2 * stride, 1, samples * stride);
        samples *= stride;
    }
    layer(widest, encoded, LATENT_TAPS, 1, hop);
    layer(decoded, widest, TAPS, 1, hop);
    if config.film.is_some() {
        size.parameters += Film::parameters(widest);
        size.multiplications += widest as f64 / hop as f64;
        size.kept += 2.0 * widest as f64 / hop as f64;
    }
    size
}

/// See [`size`].
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Size {
    /// Learned numbers of both.
    pub parameters: usize,
    /// Multiplications of both for a sample.
    pub multiplications: f64,
    /// Numbers that training keeps of both for a sample.
    pub kept: f64,
}
