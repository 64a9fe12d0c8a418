//! How well a backbone does each of its tasks, by what the world's eye and ear make of the results.

use super::Progress;
use super::cases::{Case, Outcome, perform};
use musiva_core::pipeline::Pipeline;
use musiva_core::{MaskSpec, Result, Sound, Task};
use musiva_data::World;
use musiva_data::world::{
    Attributes, AudioReading, Onsets, PartialAttributes, Reading, Score, Scores, VideoOracle, score,
};
use serde::Serialize;

/// Pixels that a shape may be off in the frame beside what is given.
const NEAR: f32 = 2.0;

/// Who does a task in [`Done::by`]: the recipe's backbone.
pub const BACKBONE: &str = "backbone";

/// How well one task is done: parts of the cases, 0 to 1; `None` of what the task has nothing of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TaskResult {
    /// The task.
    pub task: String,
    /// What does it: [`BACKBONE`], or a way without learning.
    pub by: &'static str,
    /// How many cases.
    pub n: usize,
    /// What is seen in clips that were made, against the prompt or, where part of a clip was given, its scene.
    pub seen: Option<Scores>,
    /// In the frame beside what was given the shape is within two pixels of where it goes on.
    pub position: Option<f64>,
    /// F1 of onsets at bounces, one video frame off at most: of the scene where it is given, else of the clip that was
    /// made with the sound.
    pub onsets: Option<f64>,
    /// The pitch is right.
    pub pitch: Option<f64>,
    /// The timbre is right.
    pub timbre: Option<f64>,
}

/// Counts over the cases of a task.
#[derive(Default)]
struct Counts {
    n: usize,
    scores: Vec<Score>,
    near: Vec<bool>,
    onsets: Option<Onsets>,
    pitch: Vec<bool>,
    timbre: Vec<bool>,
}

impl Counts {
    fn result(self, task: &Task, by: &'static str) -> TaskResult {
        let part = |all: &[bool]| {
            (!all.is_empty()).then(|| all.iter().filter(|&&right| right).count() as f64 / all.len() as f64)
        };
        TaskResult {
            task: task.name.clone(),
            by,
            n: self.n,
            position: part(&self.near),
            onsets: self.onsets.map(Onsets::f1),
            pitch: part(&self.pitch),
            timbre: part(&self.timbre),
            seen: (!self.scores.is_empty()).then(|| self.scores.into_iter().collect()),
        }
    }

    fn count(&mut self, task: &Task, case: &Case, outcome: &Outcome, oracle: &VideoOracle) {
        self.n += 1;
        let reading = outcome.clip.as_ref().map(|clip| oracle.read(clip));
        if let Some(reading) = reading.as_ref().filter(|_| task.video != MaskSpec::Context) {
            self.see(task, case, reading);
        }
        if let Some(sound) = &outcome.sound {
            self.hear(task, case, reading.as_ref(), sound);
        }
    }

    fn see(&mut self, task: &Task, case: &Case, reading: &Reading) {
        let forced = !matches!(task.video, MaskSpec::Target | MaskSpec::Image);
        let asked = match forced {
            true => PartialAttributes::from(case.scene.attributes),
            false => Attributes::parse(&case.caption).unwrap_or_default(),
        };
        let frames = if task.video == MaskSpec::Image { 1 } else { case.clip.frames() };
        self.scores.push(score(asked.within(frames), reading));
        if task.audio == MaskSpec::Context {
            let frame = case.scene.seconds_per_frame();
            let wanted: Vec<f64> = case.scene.events().iter().map(|event| event.time).collect();
            let shown: Vec<f64> = reading.bounced.iter().map(|at| at * frame).collect();
            *self.onsets.get_or_insert_default() += Onsets::of(&shown, &wanted, frame);
        }
        let last = case.clip.frames();
        let beside = match task.video {
            MaskSpec::First | MaskSpec::Ends => Some(task.frames),
            MaskSpec::Last => last.checked_sub(task.frames + 1),
            _ => None,
        };
        if let Some(at) = beside {
            let [y, x] = case.scene.path()[at];
            let near = |[found_y, found_x]: [f32; 2]| (found_y - y).hypot(found_x - x) < NEAR;
            self.near.push(reading.path.get(at).copied().flatten().is_some_and(near));
        }
    }

    fn hear(&mut self, task: &Task, case: &Case, reading: Option<&Reading>, sound: &Sound) {
        let hearing = AudioReading::of(sound);
        self.pitch.push(hearing.colour == Some(case.scene.attributes.colour));
        self.timbre.push(hearing.shape == Some(case.scene.attributes.shape));
        let frame = case.scene.seconds_per_frame();
        let wanted: Vec<f64> = match (task.video, reading) {
            // Nothing says when.
            (MaskSpec::Absent, _) => return,
            (MaskSpec::Target, Some(reading)) => reading.bounced.iter().map(|at| at * frame).collect(),
            _ => case.scene.events().iter().map(|event| event.time).collect(),
        };
        *self.onsets.get_or_insert_default() += Onsets::of(&hearing.onsets, &wanted, frame);
    }
}

/// Has each of `tasks` done for `n` test scenes, `batch` at a time.
pub(super) fn tasks(
    pipeline: &Pipeline,
    world: &World,
    tasks: &[&Task],
    [n, batch]: [usize; 2],
    seed: u64,
    progress: &mut Progress,
) -> Result<Vec<TaskResult>> {
    let oracle = VideoOracle::new(world.config());
    let mut all = Vec::new();
    for task in tasks {
        let mut counts = Counts::default();
        for start in (0..n).step_by(batch.max(1)) {
            let numbers = start as u64..n.min(start + batch.max(1)) as u64;
            let cases: Vec<Case> = numbers.map(|number| Case::new(world, seed, number)).collect();
            let mut on_step = |done, total: usize| progress(&task.name, start + cases.len() * done / total.max(1), n);
            let made = perform(pipeline, task, &cases, &mut on_step)?;
            for (case, outcome) in cases.iter().zip(made) {
                counts.count(task, case, &outcome, &oracle);
            }
        }
        all.push(counts.result(task, BACKBONE));
        if task.video == MaskSpec::Context && task.audio == MaskSpec::Target {
            all.push(placed(world, &oracle, task, [n as u64, seed]));
        }
    }
    Ok(all)
}

/// The way without learning from a clip to its sound: see, classify, place.
fn placed(world: &World, oracle: &VideoOracle, task: &Task, [n, seed]: [u64; 2]) -> TaskResult {
    let mut counts = Counts::default();
    for case in (0..n).map(|number| Case::new(world, seed, number)) {
        let sound = world.placed(&oracle.read(&case.clip));
        if sound.is_none() {
            [&mut counts.pitch, &mut counts.timbre].into_iter().for_each(|all| all.push(false));
        }
        counts.count(task, &case, &Outcome { clip: Some(case.clip.clone()), sound }, oracle);
    }
    counts.result(task, "placed tones")
}
