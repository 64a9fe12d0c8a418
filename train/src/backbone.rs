//! Training a backbone over frozen tokenizers, on one task or on many.

use crate::token_set::TokenSet;
use crate::trainer::{Asked, Samples, Trainable, learning_on};
use burn::tensor::Device;
use musiva_core::canvas::{CleanBatch, Values};
use musiva_core::parameters::{grown, open_weights, to_vec};
use musiva_core::pipeline::Codecs;
use musiva_core::recipe::TrainSettings;
use musiva_core::{
    Backbone, BackboneConfig, CanvasShape, Encoders, Error, ErrorKind, Loss, Media, MediaShape, Modality, Objective,
    Parameters, Result, RngKey, RngStream, Sampler, Stream, Task, TrackMedia, WeightInit, Weights,
};
use musiva_data::Dataset;
use musiva_media::spectrogram_with_axes;
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
    pub canvas: Arc<CanvasShape>,
    /// The `[objective]`.
    pub objective: &'a dyn Objective,
    /// The `[sampler]`, to look at samples by.
    pub sampler: &'a dyn Sampler,
    /// The frozen tokenizers of the canvas' tracks.
    pub codecs: Codecs,
    /// What it learns.
    pub tasks: Vec<Task>,
}

impl BackboneParts<'_> {
    /// The tokenizers of the tracks.
    pub fn encoders(&self) -> Encoders<'_> {
        self.codecs.encoders()
    }
}

/// Samples as media and as tokens.
pub(crate) struct TrainingData {
    pub canvas: Arc<CanvasShape>,
    pub data: Arc<dyn Dataset>,
    pub tokens: TokenSet,
}

/// What a backbone is trained on: samples of one length and size.
pub struct TrainingBucket {
    /// How often a step draws it, relative to the others.
    pub weight: f64,
    /// Its canvas.
    pub canvas: Arc<CanvasShape>,
    /// The samples.
    pub data: Arc<dyn Dataset>,
    /// Their tokens.
    pub tokens: TokenSet,
    /// Samples that training never sees.
    pub held_out: Arc<dyn Dataset>,
}

impl TrainingData {
    /// A batch of a task: the samples `indices`, whose random numbers are those of `samples`. What is drawn for all of
    /// them is drawn from `stream`. Of several captions a sample has the first.
    pub fn batch(
        &self,
        encoders: &Encoders,
        task: &Task,
        indices: &[usize],
        samples: Vec<u64>,
        stream: &mut Stream,
    ) -> Result<CleanBatch> {
        let first: Vec<_> = indices.iter().map(|&index| (index, 0)).collect();
        self.drawn(encoders, task, &first, samples, stream)
    }

    /// The same of samples each with a number that draws one of its captions.
    fn drawn(
        &self,
        encoders: &Encoders,
        task: &Task,
        indices: &[(usize, u32)],
        samples: Vec<u64>,
        stream: &mut Stream,
    ) -> Result<CleanBatch> {
        let canvas = &self.canvas;
        let mask = match (self.data.shape(Modality::Video), canvas.track(Modality::Video.track())) {
            (Some(MediaShape::Clip { frames, height, width, .. }), Some(track)) => {
                task.draw([frames, height, width], track.strides, stream)
            }
            _ => None,
        };
        let layout = task
            .layout(canvas, mask.as_ref())
            .map_err(|error| error.into_error(ErrorKind::Recipe, format!("task `{}`", task.name)))?;
        let values = indices.iter().map(|&(index, caption)| self.tokens.values(canvas, index, caption));
        let mut values = values.collect::<Result<Vec<Values>>>()?;
        let at = |values: &[Values], positions: &[usize]| values.iter().map(|v| v.at(positions, canvas)).collect();
        let target = at(&values, layout.target());
        if task.encodes() {
            let mut media = TrackMedia::new();
            for &(index, caption) in indices {
                let sample = self.data.get(index as u64)?.drawn(caption);
                for track in canvas.tracks.iter().filter(|track| task.spec(&track.name).has_context()) {
                    media.entry(track.name.clone()).or_default().push(sample.medium(&track.from)?);
                }
            }
            task.lay_context(canvas, encoders, mask.as_ref(), &media, true, &mut values)?;
        }
        let context = at(&values, layout.context());
        Ok(CleanBatch { context, target, layout: Arc::new(layout), samples, dropout: true })
    }
}

/// A backbone in training.
pub struct BackboneTraining<'a> {
    settings: TrainSettings,
    parts: BackboneParts<'a>,
    backbone: Box<dyn Backbone>,
    buckets: Vec<Bucket>,
}

/// A bucket with its held-out samples tokenized.
struct Bucket {
    weight: f64,
    train: TrainingData,
    held_out: TrainingData,
    /// An epoch, and the order of its samples.
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
        let bucket = TrainingBucket { weight: 1.0, canvas: parts.canvas.clone(), data, tokens, held_out };
        Self::of_buckets(settings, parts, weight_init, vec![bucket], device)
    }

    /// The same on samples of several lengths and sizes: each step draws one of them, by its number and the seed alone.
    ///
    /// # Errors
    /// As [`BackboneTraining::new`].
    pub fn of_buckets(
        settings: &TrainSettings,
        parts: BackboneParts<'a>,
        weight_init: &WeightInit,
        buckets: Vec<TrainingBucket>,
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
        let encoders = parts.encoders();
        let bucket = |TrainingBucket { weight, canvas, data, tokens, held_out }: TrainingBucket| {
            // Without looks at samples nobody asks for what is held out.
            let most = if settings.sample_every == 0 { 0 } else { HELD_OUT };
            let count = held_out.len().unwrap_or(most).min(most);
            let theirs = TokenSet::new(&*held_out, count, &canvas, &encoders, &mut |_| Ok(()))?;
            let held_out = TrainingData { canvas: canvas.clone(), data: held_out, tokens: theirs };
            let train = TrainingData { canvas, data, tokens };
            Ok(Bucket { weight, train, held_out, order: (u64::MAX, Vec::new()) })
        };
        let buckets = buckets.into_iter().map(bucket).collect::<Result<Vec<_>>>()?;
        if buckets.is_empty() || buckets.iter().any(|bucket| bucket.train.tokens.count() == 0) {
            return Err(Error::new(ErrorKind::Data, "data", "there is nothing to train on"));
        }
        Ok(Self { settings: settings.clone(), parts, backbone, buckets })
    }

    /// The bucket of a part of a step, by the weights of all.
    fn bucket(&self, step: u64, part: usize) -> usize {
        if self.buckets.len() == 1 {
            return 0;
        }
        let mut stream = RngKey::new(self.settings.seed).step(step).sample(part as u64).stream(RngStream::Bucket);
        let weights = self.buckets.iter().map(|bucket| bucket.weight);
        let mut left = f64::from(stream.uniform()) * weights.sum::<f64>();
        let drawn = self.buckets.iter().position(|bucket| {
            left -= bucket.weight;
            left < 0.0
        });
        drawn.unwrap_or(self.buckets.len() - 1)
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

    fn averaged(&self, average: &Weights) -> Result<Box<dyn Backbone>> {
        let mut backbone = self.backbone.frozen();
        backbone.parameters_mut().load(average, "the averaged weights")?;
        Ok(backbone)
    }
}

impl Bucket {
    /// Which sample the `n`th of the run of `seed` is: each epoch in an order of its own.
    fn index(&mut self, seed: u64, n: u64) -> usize {
        let count = self.train.tokens.count() as u64;
        let epoch = n / count;
        if self.order.0 != epoch {
            let mut order: Vec<usize> = (0..self.train.tokens.count()).collect();
            RngKey::new(seed).step(epoch).stream(RngStream::Shuffle).shuffle(&mut order);
            self.order = (epoch, order);
        }
        self.order.1[(n % count) as usize]
    }
}

impl Trainable for BackboneTraining<'_> {
    fn loss(&mut self, step: u64, part: usize) -> Result<Loss> {
        let samples: Vec<u64> = self.settings.samples(self.settings.part(step, part)).collect();
        let (bucket, seed) = (self.bucket(step, part), self.settings.seed);
        let key = RngKey::new(seed).step(step);
        let caption = |n: u64| key.sample(n).stream(RngStream::Caption).bits();
        let indices: Vec<_> = samples.iter().map(|&n| (self.buckets[bucket].index(seed, n), caption(n))).collect();
        let mut stream = key.sample(part as u64).stream(RngStream::Task);
        let task = self.task(&mut stream);
        let batch = self.buckets[bucket].train.drawn(&self.parts.encoders(), task, &indices, samples, &mut stream)?;
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
        let tasks = &self.parts.tasks;
        let (mut loss, mut counted) = (0.0, 0);
        // Bits of target tokens, and how many these are.
        let mut bits = [0.0; 2];
        for (t, task) in tasks.iter().enumerate() {
            let (mut own, mut n) = (0.0, 0);
            for bucket in &self.buckets {
                let all: Vec<usize> = (0..bucket.held_out.tokens.count()).collect();
                let batches: Vec<&[usize]> = all.chunks(self.settings.batch).collect();
                // All that is held out for a single task, a batch for each of many.
                let of_each = if tasks.len() == 1 { batches.len() } else { 1 };
                for b in 0..of_each {
                    let indices = batches[(t + b) % batches.len()];
                    let samples = indices.iter().map(|&i| i as u64).collect();
                    let mut stream = key.sample(t as u64).stream(RngStream::Task);
                    let batch = bucket.held_out.batch(&self.parts.encoders(), task, indices, samples, &mut stream)?;
                    let one = self.parts.objective.loss(&*backbone, &batch, key)?;
                    own += f64::from(to_vec(one.total)[0]) * indices.len() as f64;
                    n += indices.len();
                    let whole = CleanBatch { dropout: false, ..batch };
                    if let Some(found) = self.parts.objective.bits(&*backbone, &whole, key, [0, 1])? {
                        bits[0] += found.tracks.iter().flat_map(|(_, bits)| bits).sum::<f64>();
                        bits[1] += (whole.layout.target().len() * indices.len()) as f64;
                    }
                }
            }
            if tasks.len() > 1 {
                result.measures.push((format!("held_out_loss.{}", task.name), own / n as f64));
            }
            loss += own;
            counted += n;
        }
        result.measures.insert(0, ("held_out_loss".to_owned(), loss / counted.max(1) as f64));
        let [bits, tokens] = bits;
        if tokens > 0.0 {
            result.measures.push(("held_out_bits_per_token".to_owned(), bits / tokens));
        }

        // One task after the other has its samples shown, and one bucket after the other.
        let turn = (step / (self.settings.sample_every as u64).max(1)) as usize;
        let (task, bucket) = (&tasks[turn % tasks.len()], &self.buckets[turn % self.buckets.len()]);
        let shown: Vec<usize> = (0..bucket.held_out.tokens.count()).take(SHOWN).collect();
        let samples: Vec<u64> = shown.iter().map(|&i| i as u64).collect();
        let mut stream = key.stream(RngStream::Task);
        let batch = bucket.held_out.batch(&self.parts.encoders(), task, &shown, samples.clone(), &mut stream)?;
        let request =
            batch.sample_request(samples.iter().map(|&i| RngKey::new(self.settings.seed).sample(i)).collect());
        let process = self.parts.objective.process();
        let mut sampling = self.parts.sampler.begin(&*backbone, process.as_ref(), &request)?;
        while sampling.progress().0 < sampling.progress().1 {
            sampling.step(&*backbone)?;
        }
        for tokens in request.tokens(&sampling.tokens()?)? {
            let text = Modality::Text.track();
            let prompt = tokens.tracks.get(text).zip(self.parts.codecs.get(text));
            let prompt = prompt.filter(|_| !task.spec(text).has_target());
            // Not every text encoder decodes.
            let prompt = prompt.and_then(|(tokens, codec)| codec.decode(tokens).ok()?.text(text).ok());
            let prompt = prompt.unwrap_or_default();
            result.asked.push(Asked { task: task.name.clone(), prompt });
            for (track, tokens) in &tokens.tracks {
                // What is given as a whole is not shown, and not every text encoder decodes.
                let (spec, codec) = (task.spec(track), self.parts.codecs.get(track));
                let Some(codec) = codec.filter(|_| spec.has_target()) else { continue };
                match codec.decode(tokens)? {
                    Media::Clip(clip) => result.clips.push(clip),
                    Media::Sound(sound) => result.sounds.push(sound),
                    Media::Text(text) => result.texts.push(text),
                }
            }
        }
        if result.clips.is_empty() {
            result.clips = result.sounds.iter().map(spectrogram_with_axes).collect::<Result<_>>()?;
        }
        Ok(result)
    }
}

#[cfg(test)]
mod tests;
