//! Bits per token of held-out samples, the negative log-likelihood: one unit for language models, masked models and diffusion
//! on bits.

use super::Progress;
use crate::backbone::TrainingData;
use musiva_core::pipeline::Pipeline;
use musiva_core::recipe::Recipe;
use musiva_core::{Bits, BitsKind, MaskSpec, Modality, Objective, Result, RngKey, RngStream, Task};
use musiva_data::entropy::BITS;
use serde::Serialize;
use std::collections::BTreeMap;

/// Estimates of a bound of each sample.
const DRAWS: u64 = 8;

/// The negative log-likelihood of a task's target tokens, means over held-out samples. The model is not guided, and nothing is
/// dropped.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskBits {
    /// The task.
    pub task: String,
    /// How many held-out samples.
    pub n: usize,
    /// Whether this is exact or an upper bound.
    pub kind: BitsKind,
    /// How many estimates of each sample there are; 1 of what is exact.
    pub draws: u64,
    /// Bits of all target tokens of a sample.
    pub per_sample: Interval,
    /// Bits of a target token.
    pub per_token: Interval,
    /// Bits of a token of each track that has target tokens.
    pub tracks: BTreeMap<String, Interval>,
    /// What the process that drew the samples takes for them, where the data tell and nothing is lost of them in tokens: no model
    /// can have fewer on average.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub truth: Option<Interval>,
    /// Bits of all target tokens of each sample.
    #[serde(skip)]
    pub samples: Vec<f64>,
    /// The same by the process that drew them; nothing where it is unknown.
    #[serde(skip)]
    pub true_samples: Vec<f64>,
}

/// A mean over samples and its 95 % confidence interval, 1.96 standard errors to both sides.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// The mean.
    pub mean: f64,
    /// The interval's lower end; the mean itself of a single sample.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
}

impl Interval {
    /// Of the mean of some numbers, at least one.
    pub fn of(numbers: &[f64]) -> Self {
        let n = numbers.len().max(1) as f64;
        let mean = numbers.iter().sum::<f64>() / n;
        let squares: f64 = numbers.iter().map(|number| (number - mean).powi(2)).sum();
        let error = if n > 1.0 { 1.96 * (squares / (n - 1.0) / n).sqrt() } else { 0.0 };
        Self { mean, low: mean - error, high: mean + error }
    }

    fn map(self, change: impl Fn(f64) -> f64) -> Self {
        Self { mean: change(self.mean), low: change(self.low), high: change(self.high) }
    }
}

/// Bits of the target tokens of `tasks`; nothing of tasks whose target tokens are vectors.
pub(super) fn bits(
    recipe: &Recipe,
    objective: &dyn Objective,
    pipeline: &Pipeline,
    data: &TrainingData,
    tasks: &[Task],
    seed: u64,
    progress: &mut Progress,
) -> Result<Vec<TaskBits>> {
    // Of pixels that are tokens themselves nothing is lost.
    let lossless = recipe.tokenizer(Modality::Video).is_some_and(|part| part.kind == "pixels");
    let batch = recipe.evaluate.batch;
    let each = tasks.iter().enumerate().map(|(number, task)| {
        // Other draws for each task.
        let key = RngKey::new(seed.wrapping_add(number as u64));
        of_task(data, pipeline, objective, task, (batch, lossless), key, progress)
    });
    Ok(each.collect::<Result<Vec<_>>>()?.into_iter().flatten().collect())
}

fn of_task(
    data: &TrainingData,
    pipeline: &Pipeline,
    objective: &dyn Objective,
    task: &Task,
    (batch, lossless): (usize, bool),
    key: RngKey,
    progress: &mut Progress,
) -> Result<Option<TaskBits>> {
    let count = data.tokens.count();
    // Bits of each sample, summed over the draws, track by track; and how many tokens each track has in all.
    let mut all = BTreeMap::<usize, Vec<f64>>::new();
    let mut tokens = BTreeMap::<usize, usize>::new();
    let (mut kind, mut draws) = (BitsKind::UpperBound, DRAWS);
    let indices: Vec<usize> = (0..count).collect();
    for some in indices.chunks(batch.max(1)) {
        progress(&format!("bits of {}", task.name), some[0], count)?;
        // What is given and where regions lie is the same in all draws.
        let mut stream = key.sample(some[0] as u64).stream(RngStream::Task);
        let samples = some.iter().map(|&i| i as u64).collect();
        let mut batch = data.batch(&pipeline.encoders(), task, some, samples, &mut stream)?;
        batch.dropout = false;
        for draw in 0..DRAWS {
            let bits = objective.bits(pipeline.backbone(), &batch, key, [draw, DRAWS])?;
            let Some(Bits { tracks, kind: found }) = bits else { return Ok(None) };
            for (track, bits) in tracks {
                let own = all.entry(track).or_insert_with(|| vec![0.0; count]);
                some.iter().zip(bits).for_each(|(&i, bits)| own[i] += bits);
            }
            kind = found;
            if kind == BitsKind::Exact {
                draws = 1;
                break;
            }
        }
        for (track, count) in batch.layout.tokens_by_track().into_iter().enumerate() {
            *tokens.entry(track).or_default() += count * some.len();
        }
    }
    all.values_mut().flatten().for_each(|bits| *bits /= draws as f64);
    let names = &data.canvas.tracks;
    let mean_tokens = |track: usize| tokens[&track] as f64 / count as f64;
    let total: Vec<f64> = (0..count).map(|i| all.values().map(|own| own[i]).sum()).collect();
    let tracks: BTreeMap<_, _> = all
        .iter()
        .map(|(&track, own)| (names[track].name.clone(), Interval::of(own).map(|bits| bits / mean_tokens(track))))
        .collect();
    let per_sample = Interval::of(&total);
    let each: f64 = all.keys().map(|&track| mean_tokens(track)).sum();
    let per_token = per_sample.map(|bits| bits / each);
    let true_samples = if lossless && is_whole(task) { true_bits(data)? } else { Vec::new() };
    Ok(Some(TaskBits {
        task: task.name.clone(),
        n: count,
        kind,
        draws,
        per_sample,
        per_token,
        tracks,
        truth: (!true_samples.is_empty()).then(|| Interval::of(&true_samples)),
        samples: total,
        true_samples,
    }))
}

/// Whether a task generates the whole clip, of its caption at most.
fn is_whole(task: &Task) -> bool {
    let rest = task
        .tracks
        .iter()
        .filter(|(track, _)| ![Modality::Video, Modality::Text].map(Modality::track).contains(&&***track));
    task.spec(Modality::Video.track()) == MaskSpec::Target
        && rest.into_iter().all(|(_, spec)| *spec == MaskSpec::Absent)
}

/// What the data tell of their own bits; nothing where they do not.
fn true_bits(data: &TrainingData) -> Result<Vec<f64>> {
    let bits = |i: u64| Ok(data.data.get(i)?.numbers.get(BITS).copied());
    let all = (0..data.tokens.count() as u64).map(bits).collect::<Result<Option<Vec<f64>>>>()?;
    Ok(all.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_of_two_standard_errors() {
        // Deviations ±2 of four: a variance of 16/3, a standard error of √(4/3).
        let found = Interval::of(&[1.0, 5.0, 1.0, 5.0]);
        let error = 1.96 * (4.0f64 / 3.0).sqrt();
        assert!((found.mean - 3.0).abs() < 1e-12 && (found.high - 3.0 - error).abs() < 1e-12);
        assert!((found.low - 3.0 + error).abs() < 1e-12);
        assert_eq!(Interval::of(&[7.0]), Interval { mean: 7.0, low: 7.0, high: 7.0 });
        assert_eq!(found.map(|x| x / 2.0).mean, 1.5);
    }
}
