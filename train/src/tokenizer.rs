//! Training a video tokenizer.

use crate::ahead::Ahead;
use crate::doctor::Vitals;
use crate::measure::psnr;
use crate::trainer::{Look, Trainee, learning_on};
use burn::tensor::{Device, Int, Tensor};
use musiva_core::recipe::TrainSettings;
use musiva_core::{
    Clip, Draw, Error, ErrorKind, Loss, Media, Parameters, Purpose, Reconstruction, Result, Source, TokenKind,
    Tokenizer, TokenizerConfig, Weights,
};
use musiva_data::{Dataset, shuffled};
use musiva_tokenizers::losses::{LossWeights, Target, tokenizer_loss};
use musiva_tokenizers::quantizers::CodeUse;
use std::sync::Arc;

/// Clips shown and measured at each look.
const SHOWN: u64 = 8;

/// A tokenizer in training.
pub struct TokenizerTrainee<'a> {
    settings: TrainSettings,
    config: &'a dyn TokenizerConfig,
    tokenizer: Box<dyn Tokenizer>,
    batches: Ahead<Vec<Clip>>,
    last: Option<Made>,
    shown: Vec<Clip>,
    device: Device,
}

impl<'a> TokenizerTrainee<'a> {
    /// Starts from `source` on an autodiff device; `held_out` are clips that training never sees.
    ///
    /// # Errors
    /// Where the tokenizer is not trainable.
    pub fn new(
        settings: &TrainSettings,
        config: &'a dyn TokenizerConfig,
        source: &Source,
        data: Arc<dyn Dataset>,
        held_out: &dyn Dataset,
        device: &Device,
    ) -> Result<Self> {
        let device = learning_on(device, settings);
        let mut tokenizer = config.build(&device, source)?;
        if tokenizer.trainable().is_none() {
            return Err(Error::new(ErrorKind::Unsupported, "tokenizer.video", "this tokenizer cannot be trained here"));
        }
        let shown = (0..held_out.len().unwrap_or(SHOWN).min(SHOWN))
            .map(|i| held_out.get(i)?.into_clip())
            .collect::<Result<_>>()?;
        let its = settings.clone();
        let batches = Ahead::new(move |part| its.samples(part).map(|index| window(&its, &*data, index)).collect());
        Ok(Self { settings: settings.clone(), config, tokenizer, batches, last: None, shown, device })
    }
}

/// What a step made of which media, without the gradients.
pub(crate) struct Made {
    codes: Option<Tensor<2, Int>>,
    media: Tensor<5>,
    wanted: Tensor<5>,
}

impl Made {
    pub fn of(made: &Reconstruction, wanted: &Tensor<5>) -> Self {
        let codes = made.quantized.codes.clone();
        Self { codes, media: made.media.clone().inner(), wanted: wanted.clone().inner() }
    }

    pub fn vitals(self, kind: TokenKind) -> Vitals {
        let entries = match kind {
            TokenKind::Codes { entries, .. } | TokenKind::Levels { entries, .. } => entries,
            TokenKind::Latents { .. } => 0,
        };
        Vitals::of(self.codes, entries, self.media, self.wanted)
    }
}

/// A window of the clip of sample `index` of the run.
fn window(settings: &TrainSettings, data: &dyn Dataset, index: u64) -> Result<Clip> {
    let clip = data.get(shuffled(index, data.len(), settings.seed))?.into_clip()?;
    let frames = clip.frames();
    let window = settings.frames.unwrap_or(frames).min(frames);
    let start = Draw::new(settings.seed).sample(index).stream(Purpose::Data).below(frames - window + 1);
    Ok(clip.slice(start..start + window))
}

impl Trainee for TokenizerTrainee<'_> {
    fn loss(&mut self, step: u64, part: usize) -> Result<Loss> {
        let clips = self.batches.get(self.settings.part(step, part))?;
        let strides = self.tokenizer.spec().strides;
        let target = Target::new(&clips, strides, &self.device);
        let weights = loss_weights(&self.settings, step);
        let draw = Draw::new(self.settings.seed).step(step);
        let tokenizer = trainable(&mut self.tokenizer);
        let made = tokenizer.reconstruct(target.clips.clone(), true, draw);
        // A frozen encoder's latents stay, so what stands for them stays too.
        if ["encoder", "quantizer"].iter().all(|part| self.settings.trains(part)) {
            tokenizer.follow(&made.quantized, draw);
        }
        self.last = Some(Made::of(&made, &target.clips));
        Ok(tokenizer_loss(&target, made, &weights))
    }

    fn vitals(&mut self) -> Option<Vitals> {
        Some(self.last.take()?.vitals(self.tokenizer.spec().kind))
    }

    fn parameters(&self) -> &dyn Parameters {
        self.tokenizer.learned().expect("checked when it was made")
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        trainable(&mut self.tokenizer).parameters_mut()
    }

    fn sample(&mut self, average: &Weights, _: u64) -> Result<Look> {
        let mut tokenizer = self.config.build(&self.device.clone().inner(), &Source::Seed(0))?;
        trainable(&mut tokenizer).parameters_mut().load(average, "the averaged weights")?;
        let (mut clips, mut quality, mut all) = (Vec::new(), 0.0, Vec::new());
        for clip in &self.shown {
            let tokens = tokenizer.encode(&Media::Clip(clip.clone()))?;
            let made = tokenizer.decode(&tokens)?.clip("tokenizer.video")?;
            quality += psnr(clip, &made)? / self.shown.len() as f64;
            all.push(tokens);
            clips.extend([clip.clone(), made.with_rate(clip.rate())]);
        }
        let mut measures = vec![("psnr".to_owned(), quality)];
        if let Some((used, codes)) = CodeUse::in_use(&all) {
            measures.extend([("codes_in_use".to_owned(), used as f64), ("codes".to_owned(), codes as f64)]);
        }
        Ok(Look { clips, measures, ..Look::default() })
    }
}

pub(crate) fn trainable(tokenizer: &mut Box<dyn Tokenizer>) -> &mut dyn musiva_core::TrainableTokenizer {
    tokenizer.trainable().expect("checked when it was made")
}

/// The weights of the loss at `step`: the diversity term is annealed once the codes stand apart.
fn loss_weights(settings: &TrainSettings, step: u64) -> LossWeights {
    let l = &settings.loss;
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
