//! Clips in training.

use super::Medium;
use crate::measure::psnr;
use crate::trainer::Samples;
use burn::tensor::{Device, Tensor};
use musiva_core::recipe::TrainSettings;
use musiva_core::{
    Clip, Error, ErrorKind, Loss, Media, Modality, Quantized, Result, RngKey, RngStream, Tokenizer, TokenizerConfig,
    Tokens,
};
use musiva_data::{Dataset, shuffled};
use musiva_tokenizers::losses::perceptual::FeatureNet;
use musiva_tokenizers::losses::{LossWeights, Target, distortion, latent_loss};
use musiva_tokenizers::settings::{Perceptual, TokenizerLoss};

/// Clips shown and measured at each look.
const SHOWN: u64 = 8;

/// The losses of clips, and those that are shown.
pub struct Clips {
    settings: TrainSettings,
    perceptual: Option<(Perceptual, FeatureNet)>,
    shown: Vec<Clip>,
    strides: [usize; 3],
    device: Device,
}

impl Medium for Clips {
    type Cut = Vec<Clip>;
    type Target = Target;
    const MODALITY: Modality = Modality::Video;

    fn new(
        settings: &TrainSettings,
        config: &dyn TokenizerConfig,
        held_out: &dyn Dataset,
        device: &Device,
    ) -> Result<Self> {
        let shown = (0..held_out.len().unwrap_or(SHOWN).min(SHOWN)).map(|i| held_out.get(i)?.into_clip());
        let shown: Vec<Clip> = shown.collect::<Result<_>>()?;
        let perceptual = match settings.tables.get::<Perceptual>() {
            Some(perceptual) => {
                let small = |clip: &Clip| clip.shape()[1..].iter().any(|&side| side < FeatureNet::SMALLEST);
                if shown.iter().any(small) {
                    let message = format!("it looks at clips of at least {0}×{0} pixels", FeatureNet::SMALLEST);
                    return Err(Error::new(ErrorKind::Recipe, "train.perceptual", message)
                        .hint("make `data.size` larger, or delete this table"));
                }
                let net = match &perceptual.weights {
                    Some(path) => FeatureNet::lpips_vgg16(path, device)?,
                    None => FeatureNet::random(device),
                };
                Some((perceptual.clone(), net))
            }
            None => None,
        };
        Ok(Self {
            settings: settings.clone(),
            perceptual,
            shown,
            strides: config.spec().strides,
            device: device.clone(),
        })
    }

    fn cut(settings: &TrainSettings, _: [usize; 3], data: &dyn Dataset, part: u64) -> Result<Vec<Clip>> {
        let frames = if settings.of_images(part) { Some(1) } else { settings.frames };
        settings.samples(part).map(|index| window(settings, frames, data, index)).collect()
    }

    fn target(&self, clips: Vec<Clip>) -> Target {
        Target::new(&clips, self.strides, &self.device)
    }

    fn media(target: &Target) -> Tensor<5> {
        target.clips.clone()
    }

    fn distortion(&self, target: &Target, made: Tensor<5>, step: u64) -> Loss {
        let mut loss = distortion(target, made.clone(), &weights(&self.settings, step));
        if let Some((settings, net)) = &self.perceptual {
            let frames = self.looked_at(settings, made.dims()[1], step);
            let pictures = |clips: &Tensor<5>| {
                let frames = frames.iter().map(|&t| clips.clone().slice_dim(1, t..t + 1)).collect();
                Tensor::cat(frames, 1).flatten::<4>(0, 1)
            };
            let distance = net.distance(pictures(&made), pictures(&target.clips)).mean();
            loss.total = loss.total + distance.clone() * settings.weight;
            // A network of random weights makes no LPIPS, and is not to be taken for it.
            loss.parts.push((if settings.weights.is_some() { "lpips" } else { "random_features" }, distance));
        }
        loss
    }

    fn latent_loss(&self, target: &Target, made: Quantized, step: u64) -> Option<Loss> {
        latent_loss(target, made, &weights(&self.settings, step))
    }

    fn held_out(&self) -> Vec<Media> {
        self.shown.iter().cloned().map(Media::Clip).collect()
    }

    fn samples(&self, tokenizer: &dyn Tokenizer) -> Result<(Samples, Vec<Tokens>)> {
        let (mut samples, mut quality, mut all) = (Samples::default(), 0.0, Vec::new());
        for clip in &self.shown {
            let tokens = tokenizer.encode(&Media::Clip(clip.clone()))?;
            let made = tokenizer.decode(&tokens)?.clip(Self::MODALITY.section())?;
            quality += psnr(clip, &made)? / self.shown.len() as f64;
            all.push(tokens);
            samples.clips.extend([clip.clone(), made.with_rate(clip.rate())]);
        }
        samples.measures.push(("psnr".to_owned(), quality));
        Ok((samples, all))
    }
}

impl Clips {
    /// The frames, of so many, that the perceptual loss looks at.
    fn looked_at(&self, settings: &Perceptual, frames: usize, step: u64) -> Vec<usize> {
        let mut order: Vec<usize> = (0..frames).collect();
        if let Some(count) = settings.frames.filter(|&count| count < frames) {
            RngKey::new(self.settings.seed).step(step).stream(RngStream::Frames).shuffle(&mut order);
            order.truncate(count);
        }
        order
    }
}

/// A window of so many frames of the clip of sample `index` of the run.
fn window(settings: &TrainSettings, wanted: Option<usize>, data: &dyn Dataset, index: u64) -> Result<Clip> {
    let clip = data.get(shuffled(index, data.len(), settings.seed))?.into_clip()?;
    let frames = clip.frames();
    let window = wanted.unwrap_or(frames).min(frames);
    let start = RngKey::new(settings.seed).sample(index).stream(RngStream::Data).below(frames - window + 1);
    Ok(clip.slice(start..start + window))
}

/// The weights of the loss at `step`: the diversity term is annealed once the codes stand apart.
fn weights(settings: &TrainSettings, step: u64) -> LossWeights {
    let l = settings.tables.get::<TokenizerLoss>().copied().unwrap_or_default();
    let done = step as f64 / settings.steps.max(1) as f64;
    LossWeights {
        l1: l.l1 as f32,
        l2: l.l2 as f32,
        foreground: l.foreground as f32,
        entropy: l.entropy as f32,
        diversity: l.diversity_at(done) as f32,
        temperature: l.temperature as f32,
        commitment: l.commitment as f32,
        kl: l.kl as f32,
    }
}
