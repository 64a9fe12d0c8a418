//! What a backbone makes of the first samples of the test: to be looked at and listened to.

use super::cases::{Case, Outcome, perform, perform_of};
use super::tasks::is_right;
use super::{Parts, Progress, spread};
use crate::sources::{held_out_of, world_of};
use musiva_core::dataset::Sample;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, MaskSpec, Modality, Result, Sound, Task};
use musiva_data::world::VideoOracle;

/// A sample of the test, and what was made of it.
#[derive(Clone, Debug)]
pub struct Example {
    /// Its caption.
    pub caption: String,
    /// Its own clip and sound.
    pub real: (Option<Clip>, Option<Sound>),
    /// The clip that was made, with what was given of it in its place; `None` where none was to be made.
    pub clip: Option<Clip>,
    /// The sound that was made.
    pub sound: Option<Sound>,
    /// The text that was made.
    pub text: Option<String>,
    /// Whether an oracle finds all of it right, as [`TaskResult::right`](super::TaskResult::right); `None` without an oracle.
    pub right: Option<bool>,
}

/// What a recipe's backbone makes of the first `count` samples of a task's test, which are the same for every recipe on these
/// data; nothing of a recipe without a backbone.
///
/// # Errors
/// What reading, encoding, sampling, decoding or `progress` return.
pub fn examples(
    recipe: &Recipe,
    parts: &Parts,
    task: &Task,
    [count, seed]: [u64; 2],
    progress: &mut Progress,
) -> Result<Vec<Example>> {
    let Some(pipeline) = &parts.pipeline else { return Ok(Vec::new()) };
    let stage = format!("examples of {}", task.name);
    let mut on_step = |done, total| progress(&stage, done, total);
    let example = |sample: Sample, outcome: Outcome, right: Option<bool>| {
        let given = |track: Modality| task.spec(track.track()) == MaskSpec::Context;
        Example {
            caption: sample.caption,
            clip: outcome.clip.filter(|_| !given(Modality::Video)),
            sound: outcome.sound,
            text: outcome.text,
            real: (sample.clip, sample.sound),
            right,
        }
    };
    if let Some(world) = world_of(recipe)? {
        let oracle = VideoOracle::new(world.config());
        let cases: Vec<Case> = (0..count).map(|number| Case::new(&world, seed, number)).collect();
        let made = perform(pipeline, task, &cases, &mut on_step)?;
        let each = cases.iter().zip(made).map(|(case, outcome)| {
            let right = is_right(task, case, &outcome, &oracle);
            example(case.sample(), outcome, Some(right))
        });
        return Ok(each.collect());
    }
    let data = held_out_of(recipe)?;
    let samples = spread(&*data, count).into_iter().map(|i| data.get(i)).collect::<Result<Vec<_>>>()?;
    let made = perform_of(pipeline, task, &samples, [seed, 0], &mut on_step)?;
    Ok(samples.into_iter().zip(made).map(|(sample, outcome)| example(sample, outcome, None)).collect())
}
