//! How well a backbone does its tasks on data that no oracle reads: its loss on what is held out, and what it makes beside
//! what there is.

use super::agreement::{Agreement, Agreements};
use super::cases::{Outcome, perform_of};
use super::features::{Features, Gallery, Retrieval, Variety};
use super::sound::{Measures, SoundFigures, Sums};
use super::video::{Figures, Mean};
use super::{Measured, Metrics, Progress, spread};
use crate::backbone::TrainingData;
use crate::sources::{dataset_of, held_out_of};
use crate::token_set::TokenSet;
use musiva_core::dataset::{DataReport, Sample};
use musiva_core::parameters::to_vec;
use musiva_core::pipeline::Pipeline;
use musiva_core::recipe::Recipe;
use musiva_core::{
    BackboneSpec, Clip, Dataset, Error, ErrorKind, MaskSpec, MediaShape, MetricSample, Modality, Objective, Output,
    Result, RngKey, RngStream, Task,
};
use musiva_tokenizers::losses::MelScales;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;

/// Real clips or sounds that what was made is compared with, at most.
const REAL: u64 = 2048;
/// Draws of masks, timesteps and noise of each sample, where the loss has such.
const DRAWS: u64 = 4;

/// How well one task is done on held-out data.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeldOutTask {
    /// The task.
    pub task: String,
    /// How many held-out samples.
    pub n: usize,
    /// The objective's loss on them, with nothing dropped; its parts by the names of the training log. `bits_per_token` of a
    /// masked model is of masked tokens: what can be compared between paradigms is [`TaskBits`](super::TaskBits).
    pub loss: BTreeMap<String, f64>,
    /// How like the held-out clips are those that were made of a part of them: of frames that were given, only the others are
    /// looked at.
    pub clips: Option<Figures>,
    /// The same of sounds, where a part of the sound or its clip was given.
    pub sounds: Option<SoundFigures>,
    /// The part of the captions that are the sample's own, but for case and spaces.
    pub captions: Option<f64>,
    /// Of what was made, whether the nearest real one is the one that was asked for.
    pub retrieval: Vec<Retrieval>,
    /// How different from each other and from what was trained on is what was made.
    pub variety: Vec<Variety>,
    /// Whether what is seen and what is heard start together, where there are both and one of them was made.
    pub agreement: Option<Agreement>,
    /// Seconds that sampling and decoding took, of all samples together.
    #[serde(skip)]
    pub seconds: f64,
}

/// At most `n` held-out samples of `recipe`, with their tokens.
///
/// # Errors
/// Where nothing is held out, or it cannot be read.
pub(super) fn tokenized(
    recipe: &Recipe,
    pipeline: &Pipeline,
    n: usize,
    progress: &mut Progress,
) -> Result<TrainingData> {
    let data = held_out_of(recipe)?;
    let which = spread(&*data, n as u64);
    tokenized_of(data, which, pipeline, progress)
}

/// Some samples of `data`, with their tokens.
///
/// # Errors
/// Where there is none, or it cannot be read.
pub(super) fn tokenized_of(
    data: Arc<dyn Dataset>,
    which: Vec<u64>,
    pipeline: &Pipeline,
    progress: &mut Progress,
) -> Result<TrainingData> {
    let data: Arc<dyn Dataset> = Arc::new(Picked { inner: data, which });
    let (canvas, count) = (pipeline.canvas().clone(), data.len().unwrap_or_default());
    if count == 0 {
        return Err(Error::new(ErrorKind::Data, "data", "nothing is held out, so there is nothing to measure on")
            .hint("add files, so that a twentieth of them can be held out"));
    }
    let tokens = TokenSet::new(&*data, count, &canvas, &pipeline.encoders(), &mut |done| {
        progress("tokenize held-out samples", done as usize, count as usize)
    })?;
    Ok(TrainingData { canvas, data, tokens })
}

/// Measures `tasks` on held-out samples, `batch` at a time.
pub(super) fn held_out_tasks(
    recipe: &Recipe,
    pipeline: &Pipeline,
    tokenized: &TrainingData,
    tasks: &[Task],
    batch: usize,
    seed: u64,
    progress: &mut Progress,
) -> Result<(Vec<HeldOutTask>, Vec<Measured>)> {
    let samples = (0..tokenized.tokens.count() as u64).map(|i| tokenized.data.get(i)).collect::<Result<Vec<_>>>()?;
    let galleries = galleries(recipe, pipeline, tasks, &samples, progress)?;
    let (mut all, mut measured) = (Vec::new(), Vec::new());
    for (number, task) in tasks.iter().enumerate() {
        let loss = match &recipe.objective {
            Some(objective) => losses(
                tokenized,
                pipeline,
                &*objective.component,
                task,
                batch,
                RngKey::new(seed).sample(number as u64),
            )?,
            None => BTreeMap::new(),
        };
        let mut counts = Counts::new(recipe, task, galleries.len())?;
        for some in samples.chunks(batch.max(1)) {
            let start = counts.n;
            let mut on_step =
                |done, total: usize| progress(&task.name, start + some.len() * done / total.max(1), samples.len());
            let clock = Instant::now();
            let made = perform_of(pipeline, task, some, [seed, start as u64], &mut on_step)?;
            counts.seconds += clock.elapsed().as_secs_f64();
            for (sample, outcome) in some.iter().zip(&made) {
                counts.count(sample, outcome, &galleries)?;
            }
        }
        let (result, metrics) = counts.result(loss, &samples, &galleries)?;
        all.push(result);
        measured.extend(metrics);
    }
    Ok((all, measured))
}

/// The real clips and sounds that what `tasks` make is compared with.
fn galleries(
    recipe: &Recipe,
    pipeline: &Pipeline,
    tasks: &[Task],
    held_out: &[Sample],
    progress: &mut Progress,
) -> Result<Vec<Gallery>> {
    let makes = |modality: Modality| {
        pipeline.canvas().track(modality.track()).is_some()
            && tasks.iter().any(|task| task.spec(modality.track()).has_target())
    };
    let mut galleries: Vec<Gallery> =
        Features::ALL.into_iter().filter(|features| makes(features.modality())).map(Gallery::new).collect();
    for (i, sample) in held_out.iter().enumerate() {
        galleries.iter_mut().try_for_each(|gallery| gallery.add(sample, Some(i)))?;
    }
    if galleries.is_empty() {
        return Ok(galleries);
    }
    let train = dataset_of(recipe)?;
    let which = spread(&*train, REAL);
    let total = which.len();
    for (done, i) in which.into_iter().enumerate() {
        progress("look at real samples", done, total)?;
        let sample = train.get(i)?;
        galleries.iter_mut().try_for_each(|gallery| gallery.add(&sample, None))?;
    }
    Ok(galleries)
}

/// The loss of a task and its parts, means over the samples.
pub(super) fn losses(
    data: &TrainingData,
    pipeline: &Pipeline,
    objective: &dyn Objective,
    task: &Task,
    batch: usize,
    key: RngKey,
) -> Result<BTreeMap<String, f64>> {
    let exact = pipeline.backbone().spec() == BackboneSpec::NextToken;
    let indices: Vec<usize> = (0..data.tokens.count()).collect();
    let (mut sums, mut weight) = (BTreeMap::<String, f64>::new(), 0.0);
    for draw in 0..if exact { 1 } else { DRAWS } {
        for some in indices.chunks(batch.max(1)) {
            let samples = some.iter().map(|&i| i as u64).collect();
            let mut stream = key.step(draw).sample(some[0] as u64).stream(RngStream::Task);
            let mut batch = data.batch(&pipeline.encoders(), task, some, samples, &mut stream)?;
            batch.dropout = false;
            let loss = objective.loss(pipeline.backbone(), &batch, key.step(draw))?;
            let parts = loss.parts.into_iter().chain([("loss", loss.total)]);
            for (name, value) in parts {
                *sums.entry(name.to_owned()).or_default() += f64::from(to_vec(value)[0]) * some.len() as f64;
            }
            weight += some.len() as f64;
        }
    }
    Ok(sums.into_iter().map(|(name, sum)| (name, sum / weight)).collect())
}

/// Of a clip and what it should be the frames that were generated, where the rest says what they should be: a part of the
/// clip, or another stream of it.
fn generated(task: &Task, wanted: &Clip, made: &Clip) -> Option<[Clip; 2]> {
    let (n, all) = (task.frames_at(wanted), wanted.frames());
    let frames = match task.spec(Modality::Video.track()) {
        MaskSpec::First => n..all,
        MaskSpec::Last => 0..all.saturating_sub(n),
        MaskSpec::Ends => n..all.saturating_sub(n),
        MaskSpec::Outside | MaskSpec::Inside => 0..all,
        MaskSpec::Target if task.tracks.iter().any(|(track, spec)| is_stream(track) && spec.has_context()) => 0..all,
        _ => return None,
    };
    (wanted.shape() == made.shape() && !frames.is_empty())
        .then(|| [wanted, made].map(|clip| clip.slice(frames.clone())))
}

/// Whether a track is a further stream of the clip.
fn is_stream(track: &str) -> bool {
    ![Modality::Video, Modality::Audio, Modality::Text].map(Modality::track).contains(&track)
}

/// Sums over what was made by a task.
struct Counts<'a> {
    task: &'a Task,
    n: usize,
    clips: Mean,
    sounds: Sums,
    /// All sounds of a dataset have one shape.
    measures: Option<Measures<'static>>,
    captions: Vec<bool>,
    metrics: Metrics,
    agreements: Agreements,
    /// Of each gallery the features of what was made, with the sample that it was made of.
    made: Vec<Vec<(usize, Vec<u8>)>>,
    seconds: f64,
}

impl<'a> Counts<'a> {
    fn new(recipe: &Recipe, task: &'a Task, galleries: usize) -> Result<Self> {
        Ok(Self {
            task,
            n: 0,
            clips: Mean::default(),
            sounds: Sums::default(),
            measures: None,
            captions: Vec::new(),
            metrics: Metrics::new(recipe)?,
            agreements: Agreements::default(),
            made: vec![Vec::new(); galleries],
            seconds: 0.0,
        })
    }

    fn count(&mut self, sample: &Sample, outcome: &Outcome, galleries: &[Gallery]) -> Result<()> {
        let [video, audio, text] =
            [Modality::Video, Modality::Audio, Modality::Text].map(|modality| self.task.spec(modality.track()));
        if let (Some(wanted), Some(made), true) = (&sample.clip, &outcome.clip, video.has_target())
            && let Some([wanted, made]) = generated(self.task, wanted, made)
        {
            self.clips.add(Figures::of(&wanted, &made)?);
        }
        // A sound is told by a part of it, or by its clip.
        let told = audio.has_context() || video == MaskSpec::Context;
        if let (Some(wanted), Some(made), true) = (&sample.sound, &outcome.sound, told && audio.has_target())
            && wanted.length() == made.length()
            && wanted.length() >= MelScales::SHORTEST
        {
            let measures = self.measures.get_or_insert_with(|| Measures::of(wanted, None));
            self.sounds.add(wanted, made, "", measures)?;
        }
        // What is given as a whole is the sample's own.
        let [clip, sound] = [video, audio].map(|spec| spec == MaskSpec::Context);
        let clip = if clip { sample.clip.as_ref() } else { outcome.clip.as_ref().filter(|_| video.has_target()) };
        let sound = if sound { sample.sound.as_ref() } else { outcome.sound.as_ref().filter(|_| audio.has_target()) };
        if let (Some(clip), Some(sound), Some(real), Some(own)) = (clip, sound, &sample.clip, &sample.sound)
            && (video.has_target() || audio.has_target())
        {
            self.agreements.add((clip, sound), (real, own));
        }
        if !self.metrics.is_empty() {
            let has_shape = |clip: &&Clip| sample.clip.as_ref().is_some_and(|real| real.shape() == clip.shape());
            let made = Output {
                clip: outcome.clip.as_ref().filter(|_| video.has_target()).filter(has_shape).cloned(),
                sound: outcome.sound.clone().filter(|_| audio.has_target()),
                text: outcome.text.clone().filter(|_| text.has_target()),
                ..Output::default()
            };
            let real = Output {
                clip: sample.clip.clone(),
                sound: sample.sound.clone(),
                text: Some(sample.caption.clone()),
                ..Output::default()
            };
            let given = Output {
                clip: real.clip.clone().filter(|_| video == MaskSpec::Context),
                sound: real.sound.clone().filter(|_| audio == MaskSpec::Context),
                text: real.text.clone().filter(|_| text == MaskSpec::Context),
                ..Output::default()
            };
            let caption = &sample.caption;
            self.metrics.update(MetricSample { made: &made, given: &given, reference: &real, caption })?;
        }
        if let (Some(made), true) = (&outcome.text, text.has_target()) {
            let plain = |text: &str| text.split_whitespace().map(str::to_lowercase).collect::<Vec<_>>();
            self.captions.push(plain(made) == plain(&sample.caption));
        }
        for (gallery, all) in galleries.iter().zip(&mut self.made) {
            let features = gallery.features();
            if self.task.spec(features.modality().track()).has_target() {
                let made = features.of(outcome.clip.as_ref(), outcome.sound.as_ref())?;
                all.extend(made.map(|made| (self.n, made)));
            }
        }
        self.n += 1;
        Ok(())
    }

    fn result(
        self,
        loss: BTreeMap<String, f64>,
        samples: &[Sample],
        galleries: &[Gallery],
    ) -> Result<(HeldOutTask, Vec<Measured>)> {
        let (mut retrieval, mut variety) = (Vec::new(), Vec::new());
        for (gallery, made) in galleries.iter().zip(self.made) {
            variety.extend(gallery.variety(&made.iter().map(|(_, feature)| feature.clone()).collect::<Vec<_>>()));
            // Where neither a caption nor context asks for something, nothing is right.
            let asks = |i: usize| self.task.has_context() || !samples[i].caption.is_empty();
            let made = made.into_iter().filter(|(i, _)| asks(*i));
            let made = made.map(|(i, feature)| (i, &*samples[i].caption, feature));
            retrieval.extend(gallery.retrieval(&made.collect::<Vec<_>>()));
        }
        let right = self.captions.iter().filter(|&&right| right).count();
        let result = HeldOutTask {
            task: self.task.name.clone(),
            n: self.n,
            loss,
            clips: (self.clips.n() > 0).then(|| self.clips.mean()),
            sounds: (self.sounds.n() > 0).then(|| self.sounds.mean(false)),
            captions: (!self.captions.is_empty()).then(|| right as f64 / self.captions.len() as f64),
            retrieval,
            variety,
            agreement: self.agreements.result(),
            seconds: self.seconds,
        };
        Ok((result, self.metrics.results(&format!("generated, {}", self.task.name))?))
    }
}

/// Some of the samples of a dataset.
struct Picked {
    inner: Arc<dyn Dataset>,
    which: Vec<u64>,
}

impl Dataset for Picked {
    fn len(&self) -> Option<u64> {
        Some(self.which.len() as u64)
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let which = self.which.get(index as usize).copied().unwrap_or(u64::MAX);
        self.inner.get(which)
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.inner.shape(modality)
    }

    fn report(&self) -> DataReport {
        self.inner.report()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Rate;

    #[test]
    fn only_what_was_generated_is_measured() {
        let clip = |codes: std::ops::Range<u8>| {
            let pixels = codes.clone().flat_map(|code| vec![code; 8 * 8 * 3]).collect();
            Clip::new([codes.len(), 8, 8], Rate::whole(8), pixels).unwrap()
        };
        let (wanted, made) = (clip(0..17), clip(50..67));
        let frames = |video, frames| {
            let task = Task { frames, ..Task::new("x", [("video", video)]) };
            let [wanted, made] = generated(&task, &wanted, &made)?;
            assert_eq!(wanted.frames(), made.frames());
            assert_eq!(wanted.frame(0)[0] + 50, made.frame(0)[0]);
            Some((wanted.frame(0)[0], wanted.frames()))
        };
        assert_eq!(frames(MaskSpec::First, 5), Some((5, 12)));
        assert_eq!(frames(MaskSpec::Last, 5), Some((0, 12)));
        assert_eq!(frames(MaskSpec::Ends, 5), Some((5, 7)));
        assert_eq!(frames(MaskSpec::Outside, 1), Some((0, 17)));
        // A prompt does not say what each pixel should be.
        assert_eq!(frames(MaskSpec::Target, 1), None);
        assert_eq!(frames(MaskSpec::Ends, 9), None, "nothing is left");
        // A depth map does.
        let task = Task::new("x", [("depth", MaskSpec::Context), ("video", MaskSpec::Target)]);
        assert_eq!(generated(&task, &wanted, &made).map(|[wanted, _]| wanted.frames()), Some(17));
        assert!(generated(&task, &wanted, &clip(0..9)).is_none());
    }
}
