//! How well a backbone does each of its tasks, by what the world's eye and ear make of the results.

use super::Progress;
use musiva_core::pipeline::{Pipeline, Premise, Request};
use musiva_core::{Clip, Draw, Purpose, Result, Share, Sound, Task};
use musiva_data::World;
use musiva_data::world::{
    Attributes, Hearing, Onsets, Oracle, PartialAttributes, Reading, Scene, Score, Scores, Split, score,
};
use serde::Serialize;

/// Pixels that a shape may be off in the frame beside what is given.
const NEAR: f32 = 2.0;

/// How well one task is done: parts of the cases, 0 to 1; `None` of what the task has nothing of.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Done {
    /// The task.
    pub task: String,
    /// What does it: the recipe's backbone, or a way without learning.
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

/// A scene of the test, and what of it there is to give.
struct Case {
    scene: Scene,
    caption: String,
    clip: Clip,
    sound: Option<Sound>,
}

impl Case {
    fn new(world: &World, draw: Draw) -> Self {
        let scene = world.scene(draw, Split::Test);
        Self { caption: scene.caption(draw), clip: scene.render(), sound: scene.sound(), scene }
    }
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
    fn done(self, task: &Task, by: &'static str) -> Done {
        let part = |all: &[bool]| {
            (!all.is_empty()).then(|| all.iter().filter(|&&right| right).count() as f64 / all.len() as f64)
        };
        Done {
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

    fn see(&mut self, task: &Task, case: &Case, reading: &Reading) {
        let forced = !matches!(task.video, Share::Made | Share::Image);
        let mut asked = match forced {
            true => PartialAttributes::from(case.scene.attributes),
            false => Attributes::parse(&case.caption).unwrap_or_default(),
        };
        if task.video == Share::Image {
            // A still shows no motion.
            (asked.direction, asked.speed) = (None, None);
        }
        self.scores.push(score(asked, reading));
        if task.audio == Share::Given {
            let frame = case.scene.seconds_per_frame();
            let wanted: Vec<f64> = case.scene.events().iter().map(|event| event.time).collect();
            let shown: Vec<f64> = reading.bounced.iter().map(|at| at * frame).collect();
            *self.onsets.get_or_insert_default() += Onsets::of(&shown, &wanted, frame);
        }
        let last = case.clip.frames();
        let beside = match task.video {
            Share::First | Share::Ends => Some(task.frames),
            Share::Last => last.checked_sub(task.frames + 1),
            _ => None,
        };
        if let Some(at) = beside {
            let [y, x] = case.scene.path()[at];
            let near = |[found_y, found_x]: [f32; 2]| (found_y - y).hypot(found_x - x) < NEAR;
            self.near.push(reading.path.get(at).copied().flatten().is_some_and(near));
        }
    }

    fn hear(&mut self, task: &Task, case: &Case, reading: Option<&Reading>, sound: &Sound) {
        let hearing = Hearing::of(sound);
        self.pitch.push(hearing.colour == Some(case.scene.attributes.colour));
        self.timbre.push(hearing.shape == Some(case.scene.attributes.shape));
        let frame = case.scene.seconds_per_frame();
        let wanted: Vec<f64> = match (task.video, reading) {
            // Nothing says when.
            (Share::Absent, _) => return,
            (Share::Made, Some(reading)) => reading.bounced.iter().map(|at| at * frame).collect(),
            _ => case.scene.events().iter().map(|event| event.time).collect(),
        };
        *self.onsets.get_or_insert_default() += Onsets::of(&hearing.onsets, &wanted, frame);
    }
}

/// Has each of `tasks` done for `n` test scenes, `batch` at a time.
pub(super) fn tasks(
    pipeline: &Pipeline,
    world: &World,
    tasks: &[Task],
    [n, batch]: [usize; 2],
    seed: u64,
    progress: &mut Progress,
) -> Result<Vec<Done>> {
    let oracle = Oracle::new(world.config());
    let mut all = Vec::new();
    for task in tasks {
        let trial = Trial { pipeline, world, oracle: &oracle, task, seed };
        let mut counts = Counts::default();
        for start in (0..n).step_by(batch.max(1)) {
            let draws: Vec<_> =
                (start..n.min(start + batch.max(1))).map(|i| Draw::new(seed).sample(i as u64)).collect();
            let cases: Vec<Case> = draws.iter().map(|&draw| Case::new(world, draw)).collect();
            let name = task.name.clone();
            let mut watch = |done, total: usize| progress(&name, start + cases.len() * done / total.max(1), n);
            trial.batch(&cases, start as u64, &mut counts, &mut watch)?;
        }
        all.push(counts.done(task, "backbone"));
        if task.video == Share::Given && task.audio == Share::Made {
            all.push(trial.placed(n));
        }
    }
    Ok(all)
}

/// One task, done by one backbone.
struct Trial<'a> {
    pipeline: &'a Pipeline,
    world: &'a World,
    oracle: &'a Oracle,
    task: &'a Task,
    seed: u64,
}

impl Trial<'_> {
    fn batch(
        &self,
        cases: &[Case],
        first: u64,
        counts: &mut Counts,
        watch: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<()> {
        let Self { pipeline, task, seed, .. } = *self;
        let prompts = cases.iter().map(|case| case.caption.clone()).collect();
        let clips: Vec<Clip> = cases.iter().map(|case| case.clip.clone()).collect();
        let sounds: Vec<Sound> = cases.iter().filter_map(|case| case.sound.clone()).collect();
        let strides = pipeline.codec().tokenizer().spec().strides;
        let mut stream = Draw::new(seed).sample(first).stream(Purpose::Task);
        let mask = cases.first().and_then(|case| task.draw(case.clip.shape(), strides, &mut stream));
        let premise = Premise { task, clips: &clips, sounds: &sounds, mask: mask.as_ref() };
        let order = pipeline.order_of(&Request { prompts, seed, first }, &premise)?;
        for (tokens, case) in pipeline.once(&order, watch)?.iter().zip(cases) {
            counts.n += 1;
            let clip = pipeline.clip(tokens)?.map(|clip| match clip.shape() == case.clip.shape() {
                true => task.finish(&case.clip, &clip, mask.as_ref()),
                false => clip,
            });
            let reading = clip.map(|clip| self.oracle.read(&clip));
            if let Some(reading) = reading.as_ref().filter(|_| task.video != Share::Given) {
                counts.see(task, case, reading);
            }
            if task.audio != Share::Given
                && let Some(sound) = pipeline.sound(tokens)?
            {
                counts.hear(task, case, reading.as_ref(), &sound);
            }
        }
        Ok(())
    }

    /// The way without learning from a clip to its sound: see, classify, place.
    fn placed(&self, n: usize) -> Done {
        let mut counts = Counts::default();
        for case in (0..n).map(|i| Case::new(self.world, Draw::new(self.seed).sample(i as u64))) {
            counts.n += 1;
            let reading = self.oracle.read(&case.clip);
            match self.world.placed(&reading) {
                Some(sound) => counts.hear(self.task, &case, Some(&reading), &sound),
                None => [&mut counts.pitch, &mut counts.timbre].into_iter().for_each(|all| all.push(false)),
            }
        }
        counts.done(self.task, "placed tones")
    }
}
