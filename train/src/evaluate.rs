//! How good a recipe's tokenizer and backbone are, on prompts and clips that training never saw.
//!
//! Of the procedural world, oracles read what a clip shows and compare it with what its caption
//! asks for. Of any other data, what is made is compared with what was held out, and with all real samples.

mod agreement;
mod baselines;
mod bits;
mod cases;
mod denoise;
mod examples;
mod features;
mod figures;
mod frechet;
mod held_out;
mod reader;
mod sheet;
mod sound;
mod tasks;
mod validation;
mod video;

pub use agreement::Agreement;
pub use baselines::{Baseline, FEWER_PIXELS, X264, fewer_pixels};
pub use bits::{Interval, TaskBits};
pub use cases::{Case, Outcome, perform};
pub use denoise::{Against, Denoised};
pub use examples::{Example, examples};
pub use features::{Retrieval, Variety};
pub use figures::{BITS_ABOVE_TRUTH, BITS_PER_SAMPLE, BITS_PER_TOKEN, Better, Figure};
pub use held_out::HeldOutTask;
pub use reader::CaptionClassifier;
pub use sheet::sheet;
pub use sound::{AudioReconstruction, Heard, OpusBaseline, SoundFigures, WithLevels};
pub use tasks::{BACKBONE, TaskResult};
pub use validation::{LikelihoodBaseline, likelihood_baselines, validation_loss};
pub use video::{Figures, Reconstructed};

use crate::sources::{dataset_of, held_out_of, world_of};
use burn::tensor::Device;
use musiva_core::pipeline::{Codec, Pipeline, Request};
use musiva_core::recipe::{Part, Recipe};
use musiva_core::{Error, ErrorKind, Metric, MetricSample, Modality, Output, Result, RngKey, Task};
use musiva_data::world::{Attributes, Score, Scores, Split, VideoOracle, score};
use musiva_data::{Dataset, World};
use musiva_tokenizers::settings::Noise;
use serde::Serialize;
use sound::{Sources, resound};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::Instant;
use video::{reconstruct_data, reconstruct_world};

/// Told of each stage how far it is: its name, done, total. An error from it cancels.
pub type Progress<'a> = dyn FnMut(&str, usize, usize) -> Result<()> + 'a;

/// What was measured.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Evaluation {
    /// The recipe's name.
    pub recipe: String,
    /// [`Recipe::hash`].
    pub recipe_sha256: String,
    /// Seed of scenes and noise.
    pub seed: u64,
    /// Clips made again by the video tokenizer, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reconstruction: Option<Reconstructed>,
    /// Sounds made again by the audio tokenizer, where there is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sound: Option<AudioReconstruction>,
    /// What becomes of sounds with more and more noise behind them; empty where no tokenizer takes noise out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub denoised: Vec<Denoised>,
    /// What `[[metric]]` asks for, of each set of samples; empty where it asks for nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub metrics: Vec<Measured>,
    /// Clips made from prompts, a row for each set of prompts; empty without a backbone or an oracle.
    pub generation: Vec<Generated>,
    /// How well the recipe's `[[task]]`s are done, instead; empty where it names none.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tasks: Vec<TaskResult>,
    /// Bits per token of held-out samples, task by task; empty without a backbone, and where its tokens are vectors.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub bits: Vec<TaskBits>,
    /// How well tasks are done on held-out data that no oracle reads; empty of the procedural world, and without a backbone.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub held_out: Vec<HeldOutTask>,
}

impl Evaluation {
    /// Seconds that sampling and decoding one sample took, the mean over all that were made; `None` where none was.
    pub fn seconds_per_sample(&self) -> Option<f64> {
        let made = self.generation.iter().map(|made| (made.seconds, made.seen.n));
        let done = self.tasks.iter().filter(|done| done.by == BACKBONE).map(|done| (done.seconds, done.n));
        let held_out = self.held_out.iter().map(|task| (task.seconds, task.n));
        let (seconds, n) = made.chain(done).chain(held_out).fold((0.0, 0), |(a, b), (c, d)| (a + c, b + d));
        (n > 0).then(|| seconds / n as f64)
    }

    /// Whether nothing was measured.
    pub fn is_empty(&self) -> bool {
        self.reconstruction.is_none()
            && self.sound.is_none()
            && self.generation.is_empty()
            && self.tasks.is_empty()
            && self.held_out.is_empty()
    }
}

/// How much of what prompts ask for the clips show.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Generated {
    /// Which prompts.
    pub prompts: &'static str,
    /// What the oracle sees.
    pub seen: Scores,
    /// Of each prompt, whether all that it asks for is seen.
    #[serde(skip)]
    pub right: Vec<bool>,
    /// Seconds that sampling and decoding took, of all prompts together.
    #[serde(skip)]
    pub seconds: f64,
}

/// The numbers of a `[[metric]]`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Measured {
    /// Which samples were measured against those that they should have been.
    pub samples: String,
    /// The metric's `kind`.
    pub kind: String,
    /// Its numbers by name.
    pub values: BTreeMap<String, f64>,
}

/// All metrics of a recipe, on one set of samples.
struct Metrics(Vec<(String, Box<dyn Metric>)>);

impl Metrics {
    fn new(recipe: &Recipe) -> Result<Self> {
        let all = recipe.metrics.iter().map(|part| Ok((part.kind.clone(), part.component.build()?)));
        all.collect::<Result<_>>().map(Self)
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn update(&mut self, sample: MetricSample) -> Result<()> {
        self.0.iter_mut().try_for_each(|(_, metric)| metric.update(sample))
    }

    /// A reconstruction beside the original.
    fn compare<T: Clone + Into<Output>>(&mut self, made: &T, reference: &T, caption: &str) -> Result<()> {
        if self.is_empty() {
            return Ok(());
        }
        let [made, reference]: [Output; 2] = [made, reference].map(|media| media.clone().into());
        self.update(MetricSample { made: &made, given: &Output::default(), reference: &reference, caption })
    }

    /// Of those that found something to measure.
    fn results(self, samples: &str) -> Result<Vec<Measured>> {
        let result = |(kind, mut metric): (String, Box<dyn Metric>)| match metric.result() {
            Ok(values) if values.is_empty() => None,
            values => Some(values.map(|values| Measured { samples: samples.to_owned(), kind, values })),
        };
        self.0.into_iter().filter_map(result).collect()
    }
}

/// What is to be measured.
#[derive(Clone, Copy, Debug)]
pub struct EvalConfig<'a> {
    /// Clips and sounds, and prompts of each set.
    pub n: usize,
    /// Seed of scenes and noise.
    pub seed: u64,
    /// How many prompts are sampled at a time.
    pub batch: usize,
    /// Whether the tokenizers are measured, too.
    pub tokenizers: bool,
    /// Whether other codecs do the same with the same bits: [`Baseline`].
    pub baselines: bool,
    /// Whether the likelihood of held-out tokens is measured.
    pub bits: bool,
    /// The names of the tasks; of none, all.
    pub tasks: &'a [String],
}

/// Sees to it that the figures of recipes can stand side by side: that all have the same data, tokenizers and tasks.
/// Tokenizers are the same whether their tokens are kept as codes or as the vectors of these: both decode to the same.
///
/// # Errors
/// Where two differ, naming in what.
pub fn comparable(recipes: &[Recipe]) -> Result<()> {
    let Some((first, others)) = recipes.split_first() else { return Ok(()) };
    for other in others {
        if let Some(section) = differences(first, other).first() {
            let message = format!("`{}` and `{}` differ in `[{section}]`", first.name, other.name);
            return Err(Error::new(ErrorKind::Recipe, other.path.display().to_string(), message)
                .hint("evaluate each by itself: figures of different tests do not stand side by side"));
        }
    }
    Ok(())
}

/// The sections in which two recipes differ of those that figures depend on: data, tokenizers and tasks.
pub fn differences(first: &Recipe, other: &Recipe) -> Vec<String> {
    let tokenizer =
        |modality: Modality| (modality.section(), alike(first.tokenizer(modality), other.tokenizer(modality)));
    let sections = [
        ("data", alike(first.data.as_ref(), other.data.as_ref())),
        tokenizer(Modality::Video),
        tokenizer(Modality::Audio),
        tokenizer(Modality::Text),
        ("task", same_tasks(first, other)),
    ];
    let names = first.further.keys().chain(other.further.keys());
    let further = names.map(|name| {
        let [a, b] = [first, other].map(|recipe| recipe.further.get(name));
        (a.or(b).map_or("", |part| &part.path), alike(a, b))
    });
    let differ = sections.into_iter().chain(further).filter(|(_, alike)| !alike);
    differ.map(|(section, _)| section.to_owned()).collect()
}

/// Whether tasks of one name are one task in both, and there is one that both have, or none in either.
fn same_tasks(first: &Recipe, other: &Recipe) -> bool {
    let of_name = |name: &str| other.tasks.iter().find(|task| task.name == name);
    let pairs = || first.tasks.iter().filter_map(|task| Some((task, of_name(&task.name)?)));
    let some = pairs().next().is_some() || (first.tasks.is_empty() && other.tasks.is_empty());
    some && pairs().all(|(one, another)| Task { weight: 1.0, ..one.clone() } == Task { weight: 1.0, ..another.clone() })
}

/// Numbers of `count` samples, or of all where there are fewer, spread evenly over `data`: neighbours, by their names, tend
/// to be alike.
fn spread(data: &dyn Dataset, count: u64) -> Vec<u64> {
    let len = data.len().unwrap_or(count);
    let count = count.min(len);
    (0..count).map(|i| i * len / count).collect()
}

/// Whether two components are one, with the same weights, whatever it keeps its codes as.
fn alike<T: ?Sized>(one: Option<&Part<T>>, other: Option<&Part<T>>) -> bool {
    fn said<T: ?Sized>(part: &Part<T>) -> (&str, serde_json::Value, Option<&Path>) {
        let mut config = part.config.clone();
        if let Some(quantizer) = config.get_mut("quantizer").and_then(serde_json::Value::as_object_mut) {
            quantizer.remove("tokens");
        }
        (&part.kind, config, part.weights.as_deref())
    }
    one.map(said) == other.map(said)
}

/// Measures a recipe.
///
/// # Errors
/// What building, tokenizing, sampling or `progress` return.
pub fn evaluate(recipe: &Recipe, parts: &Parts, config: &EvalConfig, progress: &mut Progress) -> Result<Evaluation> {
    let EvalConfig { n, seed, batch, tokenizers, baselines, bits: wants_bits, tasks: asked } = *config;
    let world = world_of(recipe)?;
    let reconstruction = match (parts.video().filter(|_| tokenizers), &world) {
        (Some(codec), Some(world)) => {
            Some(reconstruct_world(codec, world, [n as u64, seed], recipe, baselines, progress)?)
        }
        (Some(codec), None) => {
            Some(reconstruct_data(codec, &*held_out_of(recipe)?, n as u64, recipe, baselines, progress)?)
        }
        (None, _) => None,
    };
    let (reconstruction, measured) = reconstruction.unzip();
    let mut measured = measured.unwrap_or_default();
    let mut denoised = Vec::new();
    let sound = match parts.audio.as_ref().filter(|_| tokenizers) {
        Some(codec) => {
            let sources = Sources {
                world: world.as_ref(),
                held_out: &*held_out_of(recipe)?,
                train: if recipe.evaluate.read_captions { Some(dataset_of(recipe)?) } else { None },
            };
            let noise =
                recipe.train.as_ref().and_then(|train| train.tables.get::<Noise>()).copied().unwrap_or_default();
            denoised = denoise::denoise(codec.tokenizer(), &sources, &noise, [n as u64, seed], progress)?;
            let mut metrics = Metrics::new(recipe)?;
            let sound = resound(codec, &sources, [n as u64, seed], baselines, &mut metrics, progress)?;
            measured.extend(metrics.results("reconstructed sounds")?);
            Some(sound)
        }
        None => None,
    };
    let (mut generation, mut done, mut held_out, mut bits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    if let Some(pipeline) = &parts.pipeline {
        let asked_for = |task: &Task| asked.is_empty() || asked.contains(&task.name);
        let tasks: Vec<Task> = recipe.need_tasks()?.into_iter().filter(asked_for).collect();
        let tokenized = |progress: &mut Progress| held_out::tokenized(recipe, pipeline, n, progress);
        let mut data = None;
        if let Some(objective) = recipe.objective.as_ref().filter(|_| wants_bits) {
            let data = data.insert(tokenized(progress)?);
            bits = bits::bits(recipe, &*objective.component, pipeline, data, &tasks, seed, progress)?;
        }
        match &world {
            None => {
                let data = data.map_or_else(|| tokenized(progress), Ok)?;
                let (results, metrics) =
                    held_out::held_out_tasks(recipe, pipeline, &data, &tasks, batch, seed, progress)?;
                held_out = results;
                measured.extend(metrics);
            }
            Some(world) if !recipe.tasks.is_empty() => {
                done = tasks::tasks(pipeline, world, &tasks, [n, batch], seed, progress)?;
            }
            Some(world) => {
                let sets = [(Split::Test, "all combinations"), (Split::HeldOut, "combinations never trained on")];
                let none_held_out = world.config().held_out.is_empty();
                for (split, prompts) in sets.into_iter().filter(|(split, _)| *split == Split::Test || !none_held_out) {
                    let mut metrics = Metrics::new(recipe)?;
                    let (scores, seconds) =
                        generate(pipeline, world, split, config, &mut metrics, &mut |done, total| {
                            progress(&format!("generate, {prompts}"), done, total)
                        })?;
                    measured.extend(metrics.results(&format!("generated, {prompts}"))?);
                    let right = scores.iter().map(Score::right).collect();
                    generation.push(Generated { prompts, seen: scores.into_iter().collect(), right, seconds });
                }
            }
        }
    }
    let (name, recipe_sha256) = (recipe.name.clone(), recipe.hash());
    Ok(Evaluation {
        recipe: name,
        recipe_sha256,
        seed,
        reconstruction,
        sound,
        denoised,
        metrics: measured,
        generation,
        tasks: done,
        bits,
        held_out,
    })
}

/// The built parts of a recipe that there are to measure.
pub struct Parts {
    video: Option<Codec>,
    audio: Option<Codec>,
    pipeline: Option<Pipeline>,
}

impl Parts {
    /// Builds all that `recipe` has on `device`.
    ///
    /// # Errors
    /// As [`Codec::build`] and [`Pipeline::build`].
    pub fn build(recipe: &Recipe, device: &Device) -> Result<Self> {
        let codec = |modality, wanted: bool| match wanted && recipe.tokenizer(modality).is_some() {
            true => Codec::build(recipe, modality, device).map(Some),
            false => Ok(None),
        };
        let pipeline = match recipe.backbone {
            Some(_) => Some(Pipeline::build(recipe, device)?),
            None => None,
        };
        Ok(Self { video: codec(Modality::Video, pipeline.is_none())?, audio: codec(Modality::Audio, true)?, pipeline })
    }

    /// Clips to tokens and back.
    fn video(&self) -> Option<&Codec> {
        self.pipeline.as_ref().and_then(|pipeline| pipeline.codec(Modality::Video.track())).or(self.video.as_ref())
    }
}

fn generate(
    pipeline: &Pipeline,
    world: &World,
    split: Split,
    config: &EvalConfig,
    metrics: &mut Metrics,
    progress: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<(Vec<Score>, f64)> {
    let EvalConfig { n, seed, batch, .. } = *config;
    let (oracle, task) = (VideoOracle::new(world.config()), Task::from_text(pipeline.canvas()));
    let (mut scores, mut seconds) = (Vec::with_capacity(n), 0.0);
    for start in (0..n).step_by(batch.max(1)) {
        let keys = (start..(start + batch.max(1)).min(n)).map(|i| RngKey::new(seed).sample(i as u64));
        let scenes: Vec<_> = keys.map(|key| (world.scene(key, split), key)).collect();
        let prompts: Vec<String> = scenes.iter().map(|(scene, key)| scene.caption(*key)).collect();
        let samples = scenes.iter().map(|(scene, key)| scene.sample(*key, String::new()));
        let conditions = samples.map(|sample| cases::numbers(pipeline, &sample.numbers)).collect();
        let asked: Vec<_> = prompts.iter().map(|prompt| Attributes::parse(prompt).unwrap_or_default()).collect();
        let sample_request =
            pipeline.sample_request(&Request { prompts: prompts.clone(), seed, first: start as u64, conditions })?;
        // Steps of all batches together, in clips: a batch that is half sampled counts half.
        let clock = Instant::now();
        let tokens = pipeline
            .once(&sample_request, &mut |done, total| progress(start + asked.len() * done / total.max(1), n))?;
        let outputs = tokens.iter().map(|tokens| pipeline.output(&task, tokens)).collect::<Result<Vec<_>>>()?;
        seconds += clock.elapsed().as_secs_f64();
        for (i, (made, asked)) in outputs.iter().zip(asked).enumerate() {
            let Some(clip) = &made.clip else { continue };
            if !metrics.is_empty() {
                let (scene, _) = &scenes[i];
                let reference = Output { clip: Some(scene.render()), sound: scene.sound(), ..Output::default() };
                let (given, caption) = (Output::default(), &prompts[i]);
                metrics.update(MetricSample { made, given: &given, reference: &reference, caption })?;
            }
            scores.push(score(asked.within(clip.frames()), &oracle.read(clip)));
        }
    }
    progress(n, n)?;
    Ok((scores, seconds))
}

#[cfg(test)]
mod tests;
