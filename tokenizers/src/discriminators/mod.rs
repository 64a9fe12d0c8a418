//! Discriminators: networks that learn to tell media made by a tokenizer from real ones, so that the tokenizer learns to
//! make what they cannot tell. They are a part of training and of no tokenizer; the losses of both sides stand in
//! [`losses::adversarial`](crate::losses::adversarial).
//!
//! A discriminator has *heads* that judge by themselves: one of clips, [`VideoDiscriminator`]; four of sounds, the
//! [`WaveDiscriminator`] at the samples' rate, at a half and at a quarter of it, and the [`StftDiscriminator`]. A head's
//! *logits* are above zero where it takes a place to be real.

mod layers;
mod stft;
mod video;
mod wave;

pub use stft::StftDiscriminator;
pub use video::VideoDiscriminator;
pub use wave::WaveDiscriminator;

use crate::conv::Size;
use burn::module::{Module, Param};
use burn::tensor::{Tensor, TensorData};
use layers::blur_pool;
use musiva_core::parameters::to_vec;
use musiva_core::{Init, MediaShape, Modality};

/// Rates that sounds are heard at, each half of the one before.
const SCALES: usize = 3;
/// Decay of the anchors, once there were many steps (Tseng et al. 2021).
const DECAY: f64 = 0.99;

/// How large a discriminator is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiscriminatorConfig {
    /// Channels of the first layer.
    pub channels: usize,
    /// Channels that no layer has more of.
    pub widest: usize,
    /// Residual blocks of a video discriminator.
    pub blocks: usize,
    /// Samples of the windows whose spectrum a sound discriminator sees, a multiple of 128.
    pub window: usize,
}

impl DiscriminatorConfig {
    /// Channels after so many blocks that double them.
    fn width(&self, blocks: usize) -> usize {
        (self.channels << blocks.min(32)).min(self.widest)
    }

    /// Channels before and after each block of a video discriminator.
    fn widths(&self) -> impl Iterator<Item = [usize; 2]> {
        (0..self.blocks).map(|i| [self.width(i), self.width(i + 1)])
    }

    /// What a discriminator of media of this shape is and takes.
    pub fn size(&self, media: &MediaShape) -> Size {
        match *media {
            MediaShape::Clip { frames, height, width, .. } => {
                Size { parameters: 2, ..Size::default() } + video::size(self, [frames, height, width])
            }
            MediaShape::Sound { samples, .. } => {
                let waves = (0..SCALES).map(|scale| wave::size(self, samples.div_ceil(1 << scale)));
                let anchors = Size { parameters: 2 * (SCALES + 1), ..Size::default() };
                waves.fold(anchors + stft::size(self, samples), std::ops::Add::add)
            }
            MediaShape::Text => Size::default(),
        }
    }
}

/// What a head makes of a batch.
#[derive(Clone, Debug)]
pub struct Judgement {
    /// Above zero: real. `[B, N]` for `N` places.
    pub logits: Tensor<2>,
    /// What its layers saw, from the medium to the logits: `[B, …]` each.
    pub features: Vec<Tensor<2>>,
}

/// A discriminator of one modality.
#[derive(Module, Debug)]
pub struct Discriminator {
    heads: Heads,
    /// Moving averages of the logits of real and of made media, a row a head, `[K, 2]`: no gradient moves them.
    anchors: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
#[expect(clippy::large_enum_variant, reason = "one a training")]
enum Heads {
    Clips(VideoDiscriminator),
    Sounds(SoundHeads),
}

#[derive(Module, Debug)]
struct SoundHeads {
    waves: Vec<WaveDiscriminator>,
    stft: StftDiscriminator,
}

impl Discriminator {
    /// A discriminator of clips or of sounds.
    ///
    /// # Panics
    /// Of text there is none.
    pub fn new(config: &DiscriminatorConfig, modality: Modality, init: &Init) -> Self {
        let (heads, count) = match modality {
            Modality::Video => (Heads::Clips(VideoDiscriminator::new(config, &init.part("video"))), 1),
            Modality::Audio => {
                let wave = |scale| WaveDiscriminator::new(config, &init.part(format!("wave{scale}")));
                let waves = (0..SCALES).map(wave).collect();
                let stft = StftDiscriminator::new(config, &init.part("stft"));
                (Heads::Sounds(SoundHeads { waves, stft }), SCALES + 1)
            }
            Modality::Text => panic!("text is not judged"),
        };
        Self { heads, anchors: still(init.zeros([count, 2])) }
    }

    /// What each head makes of media: clips `[B, T, H, W, 3]`, or sounds `[B, S, 1, 1, 1]` of at least a window.
    pub fn forward(&self, media: Tensor<5>) -> Vec<Judgement> {
        match &self.heads {
            Heads::Clips(video) => vec![video.forward(media)],
            Heads::Sounds(heads) => {
                let mut sounds: Tensor<2> = media.flatten(1, 4);
                let spectral = heads.stft.forward(sounds.clone());
                let mut all = Vec::with_capacity(SCALES + 1);
                for wave in &heads.waves {
                    all.push(wave.forward(sounds.clone()));
                    sounds = blur_pool(sounds, 1);
                }
                all.push(spectral);
                all
            }
        }
    }

    /// What each sample of the batch is taken for, on the mean over places and heads: `[B]`.
    pub fn score(&self, media: Tensor<5>) -> Tensor<1> {
        let heads = self.forward(media);
        let count = heads.len() as f64;
        let means = heads.into_iter().map(|head| head.logits.mean_dim(1).squeeze_dim::<1>(1));
        means.reduce(|sum, mean| sum + mean).expect("there is a head") / count
    }

    /// Moving averages of the logits of real and of made media, a row a head: `[K, 2]`.
    pub fn anchors(&self) -> Tensor<2> {
        self.anchors.val().detach()
    }

    /// Lets the anchors follow the judgements of a step, which is the `step`th from zero: the first sets them.
    pub fn update_ema(&mut self, real: &[Judgement], made: &[Judgement], step: u64) {
        let decay = DECAY.min(step as f64 / (step as f64 + 9.0));
        let mean = |head: &Judgement| f64::from(to_vec(head.logits.clone().inner().mean())[0]);
        let new = real.iter().zip(made).flat_map(|(real, made)| [mean(real), mean(made)]);
        let old = to_vec(self.anchors.val().inner());
        let mixed = old.iter().zip(new).map(|(&old, new)| (decay * f64::from(old) + (1.0 - decay) * new) as f32);
        let (values, shape) = (mixed.collect::<Vec<f32>>(), [old.len() / 2, 2]);
        self.anchors = self
            .anchors
            .clone()
            .map(|old| Tensor::from_data(TensorData::new(values, shape), &old.device()).set_require_grad(false));
    }

    /// The same, of which nothing learns: gradients go through it to the media alone.
    pub fn frozen(&self) -> Self {
        self.clone().no_grad()
    }
}

fn still(param: Param<Tensor<2>>) -> Param<Tensor<2>> {
    param.map(|value| value.set_require_grad(false))
}

#[cfg(test)]
mod tests;
