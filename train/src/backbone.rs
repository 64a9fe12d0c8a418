//! Training a backbone over frozen tokenizers, on one task or on many.

use crate::token_set::TokenSet;
use crate::trainer::{Samples, Trainable, learning_on};
use burn::tensor::Device;
use musiva_core::canvas::{CleanBatch, Values};
use musiva_core::parameters::{grown, open_weights, to_vec};
use musiva_core::recipe::TrainSettings;
use musiva_core::{
    Backbone, BackboneConfig, CanvasShape, Encoders, Error, ErrorKind, Loss, MediaShape, Modality, Objective,
    Parameters, Result, RngKey, RngStream, Sampler, Stream, Task, Tokenizer, WeightInit, Weights,
};
use musiva_data::Dataset;
use musiva_media::spectrogram;
use std::sync::Arc;

/// Clips made at each look.
const SHOWN: usize = 8;
/// Held-out clips whose loss is measured at each look.
const HELD_OUT: u64 = 64;

/// The parts of a recipe that a backbone is trained with.
pub struct BackboneParts<'a> {
    /// The `[backbone]`.
    pub config: &'a dyn BackboneConfig,
    /// Its canvas.
    pub canvas: CanvasShape,
    /// The `[objective]`.
    pub objective: &'a dyn Objective,
    /// The `[sampler]`, to look at samples by.
    pub sampler: &'a dyn Sampler,
    /// The frozen text tokenizer.
    pub text: Box<dyn Tokenizer>,
    /// The frozen video tokenizer.
    pub video: Box<dyn Tokenizer>,
    /// The frozen audio tokenizer, where the canvas has sound.
    pub audio: Option<Box<dyn Tokenizer>>,
    /// What it learns.
    pub tasks: Vec<Task>,
}

impl BackboneParts<'_> {
    /// The tokenizers of media.
    pub fn encoders(&self) -> Encoders<'_> {
        Encoders { video: &*self.video, audio: self.audio.as_deref() }
    }
}

/// Samples as media and as tokens.
struct TrainingData {
    data: Arc<dyn Dataset>,
    tokens: TokenSet,
}

impl TrainingData {
    /// A batch of a task: the samples `indices`, whose random numbers are those of `samples`. What is drawn for all of
    /// them is drawn from `stream`.
    fn batch(
        &self,
        parts: &BackboneParts,
        task: &Task,
        indices: &[usize],
        samples: Vec<u64>,
        stream: &mut Stream,
    ) -> Result<CleanBatch> {
        let (canvas, encoders) = (&parts.canvas, parts.encoders());
        let strides = encoders.video.spec().strides;
        let clip = match self.data.shape(Modality::Video) {
            Some(MediaShape::Clip { frames, height, width, .. }) => [frames, height, width],
            _ => [0; 3],
        };
        let mask = task.draw(clip, strides, stream);
        let layout = task
            .layout(canvas, strides, mask.as_ref())
            .map_err(|error| error.into_error(ErrorKind::Recipe, format!("task `{}`", task.name)))?;
        let context = match task.encodes() {
            false => self.tokens.values(canvas, indices, layout.context())?,
            true => {
                let (mut clips, mut sounds) = (Vec::new(), Vec::new());
                for &index in indices {
                    let sample = self.data.get(index as u64)?;
                    clips.extend(sample.clip);
                    sounds.extend(sample.sound);
                }
                Values::concat(&task.context_tokens(canvas, &encoders, &layout, mask.as_ref(), &clips, &sounds)?)
            }
        };
        Ok(CleanBatch {
            shape: *canvas,
            prompt: self.tokens.prompts(indices),
            context,
            tokens: self.tokens.values(canvas, indices, layout.target())?,
            layout: Arc::new(layout),
            samples,
        })
    }
}

/// A backbone in training.
pub struct BackboneTraining<'a> {
    settings: TrainSettings,
    parts: BackboneParts<'a>,
    backbone: Box<dyn Backbone>,
    train: TrainingData,
    held_out: TrainingData,
    order: (u64, Vec<usize>),
}

impl<'a> BackboneTraining<'a> {
    /// Starts from `weight_init`; `tokens` are those of the training samples `data`, `held_out` are samples that training
    /// never sees.
    ///
    /// # Errors
    /// Where there is nothing to train on, the weights do not fit, or a held-out sample cannot be encoded.
    pub fn new(
        settings: &TrainSettings,
        parts: BackboneParts<'a>,
        weight_init: &WeightInit,
        data: Arc<dyn Dataset>,
        tokens: TokenSet,
        held_out: Arc<dyn Dataset>,
        device: &Device,
    ) -> Result<Self> {
        let device = learning_on(device, settings);
        let backbone = match weight_init {
            WeightInit::File(path) if settings.grow => {
                let mut backbone = parts.config.build(&parts.canvas, &device, &WeightInit::Seed(settings.seed))?;
                let place = path.display().to_string();
                let weights = grown(backbone.parameters(), open_weights(path)?.0, &place)?;
                backbone.parameters_mut().load(&weights, &place)?;
                backbone
            }
            _ => parts.config.build(&parts.canvas, &device, weight_init)?,
        };
        let count = held_out.len().unwrap_or(HELD_OUT).min(HELD_OUT);
        let theirs = TokenSet::new(&*held_out, count, &parts.canvas, &*parts.text, &parts.encoders(), &mut |_| Ok(()))?;
        if tokens.count() == 0 {
            return Err(Error::new(ErrorKind::Data, "data", "there is nothing to train on"));
        }
        Ok(Self {
            settings: settings.clone(),
            parts,
            backbone,
            train: TrainingData { data, tokens },
            held_out: TrainingData { data: held_out, tokens: theirs },
            order: (u64::MAX, Vec::new()),
        })
    }

    /// The task of a part of a step, by the weights of all.
    fn task(&self, stream: &mut Stream) -> &Task {
        let tasks = &self.parts.tasks;
        let mut left = f64::from(stream.uniform()) * tasks.iter().map(|task| task.weight).sum::<f64>();
        let drawn = tasks.iter().find(|task| {
            left -= task.weight;
            left < 0.0
        });
        drawn.unwrap_or_else(|| tasks.last().expect("a backbone is for something"))
    }

    /// Which sample the `n`th of the run is: each epoch in an order of its own.
    fn index(&mut self, n: u64) -> usize {
        let count = self.train.tokens.count() as u64;
        let epoch = n / count;
        if self.order.0 != epoch {
            let mut order: Vec<usize> = (0..self.train.tokens.count()).collect();
            RngKey::new(self.settings.seed).step(epoch).stream(RngStream::Shuffle).shuffle(&mut order);
            self.order = (epoch, order);
        }
        self.order.1[(n % count) as usize]
    }

    fn averaged(&self, average: &Weights) -> Result<Box<dyn Backbone>> {
        let mut backbone = self.backbone.frozen();
        backbone.parameters_mut().load(average, "the averaged weights")?;
        Ok(backbone)
    }
}

impl Trainable for BackboneTraining<'_> {
    fn loss(&mut self, step: u64, part: usize) -> Result<Loss> {
        let samples: Vec<u64> = self.settings.samples(self.settings.part(step, part)).collect();
        let indices: Vec<usize> = samples.iter().map(|&n| self.index(n)).collect();
        let key = RngKey::new(self.settings.seed).step(step);
        let mut stream = key.sample(part as u64).stream(RngStream::Task);
        let task = self.task(&mut stream);
        let batch = self.train.batch(&self.parts, task, &indices, samples, &mut stream)?;
        self.parts.objective.loss(&*self.backbone, &batch, key)
    }

    fn parameters(&self) -> &dyn Parameters {
        self.backbone.parameters()
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        self.backbone.parameters_mut()
    }

    fn sample(&mut self, average: &Weights, step: u64) -> Result<Samples> {
        let backbone = self.averaged(average)?;
        let mut result = Samples::default();
        // Always the same noise, times and regions, so that the curve shows the model and not the draw.
        let key = RngKey::new(self.settings.seed).step(u64::MAX);
        let all: Vec<usize> = (0..self.held_out.tokens.count()).collect();
        let batches: Vec<&[usize]> = all.chunks(self.settings.batch).collect();
        let tasks = &self.parts.tasks;
        // All that is held out for a single task, a batch for each of many.
        let of_each = if tasks.len() == 1 { batches.len() } else { 1 };
        let (mut loss, mut counted) = (0.0, 0);
        for (t, task) in tasks.iter().enumerate() {
            let (mut own, mut n) = (0.0, 0);
            for b in 0..of_each {
                let indices = batches[(t + b) % batches.len()];
                let samples = indices.iter().map(|&i| i as u64).collect();
                let mut stream = key.sample(t as u64).stream(RngStream::Task);
                let batch = self.held_out.batch(&self.parts, task, indices, samples, &mut stream)?;
                let one = self.parts.objective.loss(&*backbone, &batch, key)?;
                own += f64::from(to_vec(one.total)[0]) * indices.len() as f64;
                n += indices.len();
            }
            if tasks.len() > 1 {
                result.measures.push((format!("held_out_loss.{}", task.name), own / n as f64));
            }
            loss += own;
            counted += n;
        }
        result.measures.insert(0, ("held_out_loss".to_owned(), loss / counted.max(1) as f64));

        // One task after the other has its samples shown.
        let turn = step / (self.settings.sample_every as u64).max(1);
        let task = &tasks[turn as usize % tasks.len()];
        let shown: Vec<usize> = all.into_iter().take(SHOWN).collect();
        let samples: Vec<u64> = shown.iter().map(|&i| i as u64).collect();
        let mut stream = key.stream(RngStream::Task);
        let batch = self.held_out.batch(&self.parts, task, &shown, samples.clone(), &mut stream)?;
        let request =
            batch.sample_request(samples.iter().map(|&i| RngKey::new(self.settings.seed).sample(i)).collect());
        let mut sampling = self.parts.sampler.begin(&*backbone, self.parts.objective.process(), &request)?;
        while sampling.progress().0 < sampling.progress().1 {
            sampling.step(&*backbone)?;
        }
        for (tokens, &index) in request.tokens(&self.parts.canvas, &sampling.tokens()?)?.iter().zip(&shown) {
            let sample = self.held_out.data.get(index as u64)?;
            if let (Some(tokens), Some(clip)) = (&tokens.video, sample.clip) {
                result.clips.push(self.parts.video.decode(tokens)?.clip("tokenizer.video")?.with_rate(clip.rate()));
            }
            if let (Some(tokens), Some(audio), Some(sound)) = (&tokens.audio, &self.parts.audio, sample.sound) {
                result.sounds.push(audio.decode(tokens)?.sound("tokenizer.audio")?.with_rate(sound.rate()));
            }
        }
        if result.clips.is_empty() {
            result.clips = result.sounds.iter().map(spectrogram).collect::<Result<_>>()?;
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests;
