//! Training a tokenizer of clips or of sounds.

mod adversary;
mod clips;
mod sounds;
mod variety;

pub use adversary::Adversary;
pub use clips::Clips;
pub use sounds::Sounds;

use crate::ahead::Ahead;
use crate::fidelity::HeldOut;
use crate::health::Stats;
use crate::trainer::{Samples, Trainable, learning_on};
use burn::tensor::{Device, Int, Tensor};
use musiva_core::parameters::{grown, open_weights};
use musiva_core::recipe::{Recipe, Summary, Target, TrainSettings};
use musiva_core::{
    Error, ErrorKind, Loss, Media, MediaShape, Modality, Parameters, Quantized, Reconstruction, Result, RngKey,
    TokenKind, Tokenizer, TokenizerConfig, Tokens, TrainableTokenizer, WeightInit, Weights,
};
use musiva_data::{Dataset, Unreadable};
use musiva_tokenizers::losses::perceptual::FeatureNet;
use musiva_tokenizers::losses::sum;
use musiva_tokenizers::quantizers::CodeUse;
use musiva_tokenizers::settings::{Adversarial, Perceptual};
use std::sync::Arc;

/// Samples by which latents are standardized when training ends.
const STANDARDIZED: u64 = 64;

/// What differs between clips and sounds in training.
pub trait Medium: Sized + 'static {
    /// What is cut from the data for a part of a batch, ahead and without tensors.
    type Cut: Send + 'static;
    /// What a part of a batch is to become again.
    type Target;
    /// Which it is.
    const MODALITY: Modality;

    /// The losses and what is looked at, for the media of `held_out`, which training never sees.
    ///
    /// # Errors
    /// Where settings and media do not fit each other, or a file cannot be read.
    fn new(
        settings: &TrainSettings,
        config: &dyn TokenizerConfig,
        held_out: &dyn Dataset,
        device: &Device,
    ) -> Result<Self>;
    /// Cuts part `part` of the run from the data.
    ///
    /// # Errors
    /// What reading the data returns.
    fn cut(settings: &TrainSettings, strides: [usize; 3], data: &dyn Dataset, part: u64) -> Result<Self::Cut>;
    /// Puts it on the device.
    fn target(&self, cut: Self::Cut) -> Self::Target;
    /// The media that are to be made, which most often are also those that they are made of.
    fn media(target: &Self::Target) -> Tensor<5>;
    /// What the tokenizer makes of what it is given.
    fn reconstruct(
        tokenizer: &dyn TrainableTokenizer,
        target: &Self::Target,
        quantize: bool,
        key: RngKey,
    ) -> Reconstruction {
        tokenizer.reconstruct(Self::media(target), quantize, key)
    }
    /// Whether latents are quantized at `step`.
    fn quantizes(&self, _step: u64) -> bool {
        true
    }
    /// How far the media made are from the target.
    fn distortion(&self, target: &Self::Target, made: Tensor<5>, step: u64) -> Loss;
    /// What the latents add to the loss.
    fn latent_loss(&self, target: &Self::Target, made: Quantized, step: u64) -> Option<Loss>;
    /// Media that are looked at, which training never sees.
    fn held_out(&self) -> Vec<Media>;
    /// Shows and measures what a tokenizer makes of the media that are looked at; their tokens too.
    ///
    /// # Errors
    /// What the tokenizer returns.
    fn samples(&self, tokenizer: &dyn Tokenizer) -> Result<(Samples, Vec<Tokens>)>;
}

/// A tokenizer in training, and the discriminator that it plays against, where there is one.
pub struct TokenizerTraining<'a, M: Medium> {
    settings: TrainSettings,
    config: &'a dyn TokenizerConfig,
    tokenizer: Box<dyn Tokenizer>,
    adversary: Option<Adversary>,
    medium: M,
    data: Arc<dyn Dataset>,
    batches: Ahead<M::Cut>,
    last: Option<LastBatch>,
    device: Device,
}

impl<'a, M: Medium> TokenizerTraining<'a, M> {
    /// Starts from `weight_init` on an autodiff device; `held_out` are media that training never sees.
    ///
    /// # Errors
    /// Where the tokenizer is not trainable, or settings, weights and media do not fit each other.
    pub fn new(
        settings: &TrainSettings,
        config: &'a dyn TokenizerConfig,
        weight_init: &WeightInit,
        data: Arc<dyn Dataset>,
        held_out: &dyn Dataset,
        device: &Device,
    ) -> Result<Self> {
        let device = learning_on(device, settings);
        let mut tokenizer = match weight_init {
            WeightInit::File(path) if settings.inflate || settings.grow => {
                let mut tokenizer = config.build(&device, &WeightInit::Seed(settings.seed))?;
                let network = trained(&mut tokenizer, M::MODALITY)?.parameters_mut();
                let (weights, place) = (open_weights(path)?.0, path.display().to_string());
                let weights = match settings.inflate {
                    true => config.inflate(weights)?,
                    false => grown(network, weights, &place)?,
                };
                network.load(&weights, &place)?;
                tokenizer
            }
            _ => config.build(&device, weight_init)?,
        };
        trained(&mut tokenizer, M::MODALITY)?;
        let medium = M::new(settings, config, held_out, &device)?;
        let adversary = Adversary::new(settings.clone(), M::MODALITY, &device);
        let (its, strides) = (settings.clone(), config.spec().strides);
        let read = data.clone();
        let batches = Ahead::new(move |part| M::cut(&its, strides, &*read, part));
        let settings = settings.clone();
        Ok(Self { settings, config, tokenizer, adversary, medium, data, batches, last: None, device })
    }
}

impl<M: Medium> TokenizerTraining<'_, M> {
    /// The tokenizer of the averaged weights, without gradients.
    fn averaged(&self, average: &Weights) -> Result<Box<dyn Tokenizer>> {
        let mut tokenizer = self.config.build(&self.device.clone().inner(), &WeightInit::Seed(0))?;
        trained(&mut tokenizer, M::MODALITY)?.parameters_mut().load(average, "the averaged weights")?;
        Ok(tokenizer)
    }
}

/// What a step made of which media, without the gradients.
struct LastBatch {
    codes: Option<Tensor<2, Int>>,
    media: Tensor<5>,
    wanted: Tensor<5>,
}

impl LastBatch {
    fn of(made: &Reconstruction, wanted: &Tensor<5>) -> Self {
        let codes = made.quantized.codes.clone();
        Self { codes, media: made.media.clone().inner(), wanted: wanted.clone().inner() }
    }

    fn stats(self, kind: TokenKind) -> Stats {
        let entries = match kind {
            TokenKind::Codes { entries, .. } => entries,
            TokenKind::Vectors { .. } => 0,
        };
        Stats::of(self.codes, entries, self.media, self.wanted)
    }
}

impl<M: Medium> Trainable for TokenizerTraining<'_, M> {
    fn loss(&mut self, step: u64, part: usize) -> Result<Loss> {
        let target = self.medium.target(self.batches.get(self.settings.part(step, part))?);
        let media = M::media(&target);
        let key = RngKey::new(self.settings.seed).step(step);
        let quantize = self.medium.quantizes(step);
        let tokenizer = trained(&mut self.tokenizer, M::MODALITY)?;
        let made = M::reconstruct(tokenizer, &target, quantize, key);
        // A frozen encoder's latents stay, so what stands for them stays too.
        if quantize && ["encoder", "quantizer"].iter().all(|part| self.settings.trains(part)) {
            tokenizer.update_ema(&made.quantized, key);
        }
        self.last = Some(LastBatch::of(&made, &media));
        let distortion = |made| self.medium.distortion(&target, made, step);
        let of_media = match &mut self.adversary {
            Some(adversary) => adversary.pull(media, made.media, distortion, step),
            None => distortion(made.media),
        };
        Ok(sum(of_media, self.medium.latent_loss(&target, made.quantized, step)))
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        self.data.unreadable()
    }

    fn adversary(&self) -> Option<&Adversary> {
        self.adversary.as_ref()
    }

    fn adversary_mut(&mut self) -> Option<&mut Adversary> {
        self.adversary.as_mut()
    }

    fn stats(&mut self) -> Option<Stats> {
        let stats = self.last.take()?.stats(self.tokenizer.spec().codes);
        Some(Stats { adversarial_stats: self.adversary.as_mut().and_then(Adversary::adversarial_stats), ..stats })
    }

    fn parameters(&self) -> &dyn Parameters {
        self.tokenizer.learned().expect("checked when it was made")
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        self.tokenizer.trainable().expect("checked when it was made").parameters_mut()
    }

    fn finish(&mut self, mut average: Weights) -> Result<(Weights, Option<HeldOut>)> {
        let mut tokenizer = self.averaged(&average)?;
        let is_vectors = matches!(tokenizer.spec().codes, TokenKind::Vectors { .. });
        // A frozen encoder's latents stay, so their statistics stay, too.
        if is_vectors && ["encoder", "quantizer"].iter().all(|part| self.settings.trains(part)) {
            let count = self.data.len().unwrap_or(STANDARDIZED).min(STANDARDIZED);
            let spread = |i: u64| self.data.len().map_or(i, |len| i * len / count);
            let tokens = (0..count).map(|i| tokenizer.encode(&self.data.get(spread(i))?.medium(M::MODALITY.track())?));
            let tokens: Vec<Tokens> = tokens.collect::<Result<_>>()?;
            let trained = trained(&mut tokenizer, M::MODALITY)?;
            trained.standardize(&tokens);
            average = trained.parameters_mut().weights();
        }
        let held_out = HeldOut::of(&*tokenizer, &self.medium.held_out())?;
        Ok((average, held_out))
    }

    fn sample(&mut self, average: &Weights, _: u64) -> Result<Samples> {
        let tokenizer = self.averaged(average)?;
        let (mut samples, tokens) = self.medium.samples(&*tokenizer)?;
        if let Some((used, codes)) = CodeUse::in_use(&tokens) {
            samples.measures.extend([("codes_in_use".to_owned(), used as f64), ("codes".to_owned(), codes as f64)]);
        }
        Ok(samples)
    }
}

/// The side of a tokenizer that is trained.
fn trained(tokenizer: &mut Box<dyn Tokenizer>, modality: Modality) -> Result<&mut dyn TrainableTokenizer> {
    tokenizer
        .trainable()
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, modality.section(), "this tokenizer cannot be trained here"))
}

/// What a recipe takes, with the networks that its tokenizer is trained by: a discriminator, and one that looks at
/// pictures.
pub fn summary(recipe: &Recipe) -> Summary {
    let mut summary = recipe.summary();
    let (Some(settings), Some(training)) = (&recipe.train, &mut summary.training) else { return summary };
    let (modality, window) = match training.target {
        Target::Video => (Modality::Video, settings.frames),
        _ => (Modality::Audio, settings.samples),
    };
    let Ok(media) = recipe.need_media(modality) else { return summary };
    let media = window.map_or(media, |window| media.window(window));
    let (batch, part) = (settings.batch as f64, (settings.batch / settings.accumulate) as f64);
    if let Some(game) = settings.tables.get::<Adversarial>() {
        let size = adversary::config(game).size(&media);
        // Forwards: real media once, made ones for each side. Backwards: of its own weights twice, of made media once.
        training.flops_per_step += batch * size.flops * (3.0 + 2.0 * 2.0 + 1.0);
        // Weights, gradients, two moments and their average; what one side keeps, or two passes of the other.
        training.memory_bytes += 4.0 * (5.0 * size.parameters as f64 + 2.0 * size.activations * part);
        summary.parameters.push(("train.adversarial".into(), size.parameters));
    }
    if let (Some(perceptual), MediaShape::Clip { frames, height, width, .. }) =
        (settings.tables.get::<Perceptual>(), media)
    {
        let size = FeatureNet::size(perceptual.weights.is_some(), [height, width]);
        let frames = perceptual.frames.unwrap_or(frames).min(frames) as f64;
        // Both pictures forwards, the made one backwards.
        training.flops_per_step += batch * frames * size.flops * 3.0;
        training.memory_bytes += 4.0 * (size.parameters as f64 + size.activations * frames * part);
    }
    summary
}

#[cfg(test)]
mod tests;
