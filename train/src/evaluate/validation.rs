//! What a comparison of models needs beside their evaluations: a loss to choose hyperparameters by, on samples that are not
//! tested, and baselines.

use super::held_out::{losses, tokenized_of};
use super::{Interval, Parts, Progress, bits, spread};
use crate::sources::{dataset_of, held_out_of};
use crate::token_set::TokenSet;
use musiva_core::recipe::Recipe;
use musiva_core::{Dataset, Error, ErrorKind, Result, RngKey, RngStream, Task, TokenValues};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Validation samples, at most.
const SAMPLES: u64 = 64;
/// Training samples that tokens are counted in, at most.
const COUNTED: u64 = 256;
/// What each code is counted beside its occurrences (Krichevsky and Trofimov 1981).
const PRIOR: f64 = 0.5;

/// The loss of a recipe's backbone on held-out samples that `evaluate` with `n` prompts does not test: the mean over its tasks
/// of the bits per sample, or of the objective's own loss where tokens are vectors.
///
/// # Errors
/// Where all held-out samples are tested, and as [`evaluate`](super::evaluate).
pub fn validation_loss(recipe: &Recipe, parts: &Parts, n: usize, seed: u64, progress: &mut Progress) -> Result<f64> {
    let (Some(pipeline), Some(objective)) = (&parts.pipeline, &recipe.objective) else {
        return Err(Error::new(ErrorKind::Unsupported, "objective", "the recipe trains no backbone"));
    };
    let data = held_out_of(recipe)?;
    let which = untested(&*data, n as u64);
    if which.is_empty() {
        let message = format!("all {n} held-out samples are tested, and none is left to choose by");
        return Err(Error::new(ErrorKind::Data, "data", message)
            .hint("lower `evaluate.prompts`, or choose by none: name one learning rate"));
    }
    let mean = |numbers: Vec<f64>| Interval::of(&numbers).mean;
    let (tasks, batch) = (recipe.need_tasks()?, recipe.evaluate.batch);
    let data = tokenized_of(data, which, pipeline, progress)?;
    let each = bits::bits(recipe, &*objective.component, pipeline, &data, &tasks, seed, progress)?;
    if !each.is_empty() {
        return Ok(mean(each.iter().map(|bits| bits.per_sample.mean).collect()));
    }
    let loss = |task: &Task| {
        let losses = losses(&data, pipeline, &*objective.component, task, batch, RngKey::new(seed))?;
        Ok(losses.get("loss").copied().unwrap_or(f64::NAN))
    };
    Ok(mean(tasks.iter().map(loss).collect::<Result<_>>()?))
}

/// Held-out samples that are not among the `n` that are tested.
fn untested(data: &dyn Dataset, n: u64) -> Vec<u64> {
    let Some(len) = data.len() else { return (n..n + SAMPLES).collect() };
    let tested = spread(data, n);
    let others: Vec<u64> = (0..len).filter(|i| tested.binary_search(i).is_err()).collect();
    let count = SAMPLES.min(others.len() as u64) as usize;
    (0..count).map(|i| others[i * others.len() / count]).collect()
}

/// What a model without learning, or with hardly any, needs for the target tokens of a task's held-out samples.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LikelihoodBaseline {
    /// The task.
    pub task: String,
    /// `uniform`: all codes are equally likely. `unigram`: each is as likely as it is frequent in training samples, whatever
    /// stands around it.
    pub model: String,
    /// Bits of all target tokens of a sample.
    pub bits_per_sample: f64,
    /// Bits of a target token.
    pub bits_per_token: f64,
}

/// The likelihood baselines of each task of a recipe, on the samples that `evaluate` measures; none where tokens are vectors.
///
/// # Errors
/// As [`evaluate`](super::evaluate).
pub fn likelihood_baselines(
    recipe: &Recipe,
    parts: &Parts,
    tasks: &[String],
    [n, seed]: [u64; 2],
    progress: &mut Progress,
) -> Result<Vec<LikelihoodBaseline>> {
    let Some(pipeline) = &parts.pipeline else { return Ok(Vec::new()) };
    let (canvas, encoders) = (pipeline.canvas(), pipeline.encoders());
    let train = dataset_of(recipe)?;
    let clips = recipe.train.as_ref().map_or(COUNTED, |train| train.clips as u64);
    let count = train.len().unwrap_or(clips).min(COUNTED);
    let trained = TokenSet::new(&*train, count, canvas, &encoders, &mut |done| {
        progress("count the codes of training samples", done as usize, count as usize)
    })?;
    let mut counts = Counts::default();
    for i in 0..trained.count() {
        for (track, values) in trained.values(canvas, i, 0)?.tracks.iter().enumerate() {
            counts.add(track, values);
        }
    }
    let data = held_out_of(recipe)?;
    let which = spread(&*data, n);
    let data = tokenized_of(data, which, pipeline, progress)?;
    let mut all = Vec::new();
    for task in recipe.need_tasks()?.iter().filter(|task| tasks.is_empty() || tasks.contains(&task.name)) {
        let (mut bits, mut tokens) = ([0.0; 2], 0);
        let indices: Vec<usize> = (0..data.tokens.count()).collect();
        for some in indices.chunks(recipe.evaluate.batch.max(1)) {
            let mut stream = RngKey::new(seed).sample(some[0] as u64).stream(RngStream::Task);
            let samples = some.iter().map(|&i| i as u64).collect();
            let batch = data.batch(&encoders, task, some, samples, &mut stream)?;
            for (track, values) in batch.target.iter().flat_map(|target| target.tracks.iter().enumerate()) {
                if matches!(values, TokenValues::Vectors { .. }) && values.count() > 0 {
                    return Ok(Vec::new());
                }
                let own = counts.bits(track, values);
                bits = std::array::from_fn(|model| bits[model] + own[model]);
                tokens += values.count();
            }
        }
        let samples = data.tokens.count() as f64;
        all.extend(["uniform", "unigram"].into_iter().zip(bits).map(|(model, bits)| LikelihoodBaseline {
            task: task.name.clone(),
            model: model.to_owned(),
            bits_per_sample: bits / samples,
            bits_per_token: bits / tokens.max(1) as f64,
        }));
    }
    Ok(all)
}

/// How often each code stands in each level of each track.
#[derive(Default)]
struct Counts {
    each: HashMap<(usize, usize, u32), f64>,
    all: HashMap<(usize, usize), f64>,
}

impl Counts {
    fn add(&mut self, track: usize, values: &TokenValues) {
        let TokenValues::Codes { levels, codes, .. } = values else { return };
        for (i, &code) in codes.iter().enumerate() {
            let level = i % levels;
            *self.each.entry((track, level, code)).or_default() += 1.0;
            *self.all.entry((track, level)).or_default() += 1.0;
        }
    }

    /// What uniform and unigram codes take, in bits.
    fn bits(&self, track: usize, values: &TokenValues) -> [f64; 2] {
        let TokenValues::Codes { levels, entries, codes } = values else { return [0.0; 2] };
        let entries = *entries as f64;
        let unigram = |(i, &code): (usize, &u32)| {
            let level = i % levels;
            let count = |found: Option<&f64>| found.copied().unwrap_or_default();
            let own = count(self.each.get(&(track, level, code))) + PRIOR;
            ((count(self.all.get(&(track, level))) + PRIOR * entries) / own).log2()
        };
        [codes.len() as f64 * entries.log2(), codes.iter().enumerate().map(unigram).sum()]
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::Many;
    use super::*;

    fn codes(codes: &[u32]) -> TokenValues {
        TokenValues::Codes { levels: 2, entries: 4, codes: codes.to_vec() }
    }

    #[test]
    fn frequent_codes_take_few_bits_and_all_of_them_together_a_whole_probability() {
        let mut counts = Counts::default();
        // Of the first level 0 alone, of the second 1 and 2 alike; another track counts by itself.
        counts.add(0, &codes(&[0, 1, 0, 2, 0, 1, 0, 2]));
        counts.add(1, &codes(&[3, 3, 3, 3]));
        assert_eq!(counts.bits(0, &codes(&[0, 1]))[0], 4.0);
        let of = |track: usize, pair: [u32; 2]| counts.bits(track, &codes(&pair))[1];
        // (4 + 1/2)/(4 + 2) and (2 + 1/2)/(4 + 2).
        assert!((of(0, [0, 1]) - ((6.0f64 / 4.5).log2() + (6.0f64 / 2.5).log2())).abs() < 1e-12);
        assert!(of(0, [0, 1]) < of(0, [1, 1]) && of(1, [3, 3]) < of(1, [0, 0]));
        let pairs = (0..16).map(|i| [i / 4, i % 4]);
        let total: f64 = pairs.map(|pair| (-of(0, pair)).exp2()).sum();
        assert!((total - 1.0).abs() < 1e-12, "{total}");
    }

    #[test]
    fn what_is_tested_is_not_chosen_by() {
        for (len, n) in [(Some(10), 4), (Some(200), 100), (Some(1000), 3), (Some(5), 5), (Some(5), 9), (None, 7)] {
            let data = Many(len);
            let (tested, chosen) = (spread(&data, n), untested(&data, n));
            assert!(chosen.iter().all(|i| !tested.contains(i) && len.is_none_or(|len| *i < len)), "{len:?}, {n}");
            let left = len.map_or(SAMPLES, |len| len.saturating_sub(n)).min(SAMPLES);
            assert_eq!(chosen.len() as u64, left);
            assert!(chosen.is_sorted_by(|a, b| a < b));
        }
    }
}
