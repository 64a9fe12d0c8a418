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
use std::time::Instant;

/// Pixels that a shape may be off in the frame beside what is given.
const NEAR: f32 = 2.0;

/// Who does a task in [`TaskResult::by`]: the recipe's backbone.
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
    /// A caption that was made is right in colour and shape; of a clip in direction, too, and in speed where it says one.
    pub caption: Option<f64>,
    /// Of each case, whether all of that is right; whether onsets are is not asked.
    #[serde(skip)]
    pub right: Vec<bool>,
    /// Seconds that sampling and decoding took, of all cases together.
    #[serde(skip)]
    pub seconds: f64,
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
    captions: Vec<bool>,
    right: Vec<bool>,
    seconds: f64,
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
            caption: part(&self.captions),
            seen: (!self.scores.is_empty()).then(|| self.scores.into_iter().collect()),
            right: self.right,
            seconds: self.seconds,
        }
    }

    fn count(&mut self, task: &Task, case: &Case, outcome: &Outcome, oracle: &VideoOracle) {
        self.n += 1;
        let before = [&self.near, &self.pitch, &self.timbre, &self.captions].map(Vec::len);
        let scored = self.scores.len();
        let reading = outcome.clip.as_ref().map(|clip| oracle.read(clip));
        if let Some(reading) = reading.as_ref().filter(|_| task.spec("video") != MaskSpec::Context) {
            self.see(task, case, reading);
        }
        if let Some(text) = &outcome.text {
            let (said, scene) = (Attributes::parse(text).unwrap_or_default(), case.scene.attributes);
            let seen = task.spec("video").has_context();
            let moves =
                !seen || (said.direction == Some(scene.direction) && said.speed.is_none_or(|s| s == scene.speed));
            self.captions.push(said.colour == Some(scene.colour) && said.shape == Some(scene.shape) && moves);
        }
        if let Some(sound) = &outcome.sound {
            self.hear(task, case, reading.as_ref(), sound);
        }
        let all = [&self.near, &self.pitch, &self.timbre, &self.captions];
        let found = all.into_iter().zip(before).flat_map(|(all, before)| &all[before..]).copied();
        let seen = self.scores[scored..].iter().map(Score::right);
        let found: Vec<bool> = found.chain(seen).collect();
        self.right.push(!found.is_empty() && found.into_iter().all(|right| right));
    }

    fn see(&mut self, task: &Task, case: &Case, reading: &Reading) {
        let forced = !matches!(task.spec("video"), MaskSpec::Target | MaskSpec::Image);
        let asked = match forced {
            true => PartialAttributes::from(case.scene.attributes),
            false => Attributes::parse(&case.caption).unwrap_or_default(),
        };
        let frames = if task.spec("video") == MaskSpec::Image { 1 } else { case.clip.frames() };
        self.scores.push(score(asked.within(frames), reading));
        if task.spec("audio") == MaskSpec::Context {
            let frame = case.scene.seconds_per_frame();
            let wanted: Vec<f64> = case.scene.events().iter().map(|event| event.time).collect();
            let shown: Vec<f64> = reading.bounced.iter().map(|at| at * frame).collect();
            *self.onsets.get_or_insert_default() += Onsets::of(&shown, &wanted, frame);
        }
        let last = case.clip.frames();
        let beside = match task.spec("video") {
            MaskSpec::First | MaskSpec::Ends => Some(task.frames_at(&case.clip)),
            MaskSpec::Last => last.checked_sub(task.frames_at(&case.clip) + 1),
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
        let wanted: Vec<f64> = match (task.spec("video"), reading) {
            // Nothing says when.
            (MaskSpec::Absent, _) => return,
            (MaskSpec::Target, Some(reading)) => reading.bounced.iter().map(|at| at * frame).collect(),
            _ => case.scene.events().iter().map(|event| event.time).collect(),
        };
        *self.onsets.get_or_insert_default() += Onsets::of(&hearing.onsets, &wanted, frame);
    }
}

/// Whether all of what was made of one case is right.
pub(super) fn is_right(task: &Task, case: &Case, outcome: &Outcome, oracle: &VideoOracle) -> bool {
    let mut counts = Counts::default();
    counts.count(task, case, outcome, oracle);
    counts.right == [true]
}

/// Has each of `tasks` done for `n` test scenes, `batch` at a time.
pub(super) fn tasks(
    pipeline: &Pipeline,
    world: &World,
    tasks: &[Task],
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
            let start = Instant::now();
            let made = perform(pipeline, task, &cases, &mut on_step)?;
            counts.seconds += start.elapsed().as_secs_f64();
            for (case, outcome) in cases.iter().zip(made) {
                counts.count(task, case, &outcome, &oracle);
            }
        }
        all.push(counts.result(task, BACKBONE));
        if task.spec("video") == MaskSpec::Context && task.spec("audio") == MaskSpec::Target {
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
        counts.count(task, &case, &Outcome { clip: Some(case.clip.clone()), sound, text: None }, oracle);
    }
    counts.result(task, "placed tones")
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_data::WorldConfig;
    use musiva_data::world::{Colour, Direction, Speed};

    fn world() -> World {
        World::new(WorldConfig { sound: Some(16_000), ..WorldConfig::default() }).unwrap()
    }

    fn task(video: MaskSpec, audio: MaskSpec) -> Task {
        Task::new("x", [("video", video), ("audio", audio)])
    }

    /// What is told of a task where case `i` came out as `made` says.
    fn result(task: &Task, n: u64, made: impl Fn(u64, &Case) -> Outcome) -> TaskResult {
        let (world, mut counts) = (world(), Counts::default());
        let oracle = VideoOracle::new(world.config());
        for i in 0..n {
            let case = Case::new(&world, 7, i);
            counts.count(task, &case, &made(i, &case), &oracle);
        }
        counts.result(task, BACKBONE)
    }

    /// As it should be, as far as the task makes something of it.
    fn right(task: &Task, case: &Case) -> Outcome {
        let clip = match task.spec("video") {
            MaskSpec::Absent => None,
            MaskSpec::Image => Some(case.clip.slice(0..1)),
            _ => Some(case.clip.clone()),
        };
        let sound = case.sound.clone().filter(|_| !matches!(task.spec("audio"), MaskSpec::Absent | MaskSpec::Context));
        Outcome { clip, sound, text: None }
    }

    /// A black clip, and silence.
    fn nothing(task: &Task, case: &Case) -> Outcome {
        let Outcome { mut clip, sound, text } = right(task, case);
        clip.iter_mut().for_each(|clip| clip.pixels_mut().fill(0));
        let silent = |sound: Sound| Sound::new(1, sound.rate(), vec![0.0; sound.length()]).unwrap();
        Outcome { clip, sound: sound.map(silent), text }
    }

    #[test]
    fn a_caption_is_right_in_what_its_clip_shows() {
        let caption = |video| Task::new("x", [("video", video), ("text", MaskSpec::Target)]);
        let told = |video, say: &dyn Fn(Attributes) -> String| {
            let say = |_: u64, case: &Case| Outcome { clip: None, sound: None, text: Some(say(case.scene.attributes)) };
            result(&caption(video), 12, say).caption.unwrap()
        };
        let other =
            |direction: Direction| if direction == Direction::ALL[0] { Direction::ALL[1] } else { Direction::ALL[0] };
        let faster = |speed: Speed| if speed == Speed::ALL[0] { Speed::ALL[1] } else { Speed::ALL[0] };
        let whole = |a: Attributes, direction: Direction, speed: Speed| {
            format!("a {speed} {} {} moves {direction}", a.colour, a.shape)
        };
        for video in [MaskSpec::Context, MaskSpec::Absent] {
            // Of a clip that is not given nothing but colour and shape could be known.
            let seen = video == MaskSpec::Context;
            let only_seen = if seen { 0.0 } else { 1.0 };
            assert_eq!(told(video, &|a| format!("{} {} {}", a.colour, a.shape, a.direction)), 1.0);
            assert_eq!(told(video, &|a| whole(a, a.direction, a.speed)), 1.0);
            assert_eq!(told(video, &|a| whole(a, a.direction, faster(a.speed))), only_seen);
            assert_eq!(told(video, &|a| whole(a, other(a.direction), a.speed)), only_seen);
            assert_eq!(told(video, &|a| format!("{} {}", a.colour, a.shape)), only_seen);
            let colour = |a: Attributes| if a.colour == Colour::ALL[0] { Colour::ALL[1] } else { Colour::ALL[0] };
            assert_eq!(told(video, &|a| format!("{} {} {}", colour(a), a.shape, a.direction)), 0.0);
            assert_eq!(told(video, &|_| String::new()), 0.0);
        }
    }

    #[test]
    fn what_is_right_is_all_right_and_what_is_not_asked_for_is_not_told() {
        use MaskSpec::*;
        // Whether something is said of what is seen, of the position, of onsets, and of tones.
        for (video, audio, told) in [
            (Target, Absent, [true, false, false, false]),
            (Target, Target, [true, false, true, true]),
            (Target, Context, [true, false, true, false]),
            (Context, Target, [false, false, true, true]),
            (Absent, Target, [false, false, false, true]),
            (First, Absent, [true, true, false, false]),
            (Last, Target, [true, true, true, true]),
            (Ends, Context, [true, true, true, false]),
            (Image, Absent, [true, false, false, false]),
        ] {
            let task = task(video, audio);
            let found = result(&task, 12, |_, case| right(&task, case));
            let all = |told: bool| told.then_some(1.0);
            assert_eq!((found.n, found.by, &*found.task), (12, "backbone", "x"));
            assert_eq!(
                [found.position, found.onsets, found.pitch],
                [all(told[1]), all(told[2]), all(told[3])],
                "{task}"
            );
            assert_eq!(found.timbre, found.pitch, "{task}");
            let seen = found.seen.map(|seen| (seen.n, seen.colour, seen.shape));
            assert_eq!(seen, told[0].then_some((12, Some(1.0), Some(1.0))), "{task}");
        }
    }

    #[test]
    fn figures_are_the_parts_of_the_cases_that_are_right() {
        let task = task(MaskSpec::First, MaskSpec::Target);
        // Three of twelve are nothing at all.
        let found = result(&task, 12, |i, case| if i % 4 == 2 { nothing(&task, case) } else { right(&task, case) });
        let seen = found.seen.unwrap();
        assert_eq!(
            (seen.n, seen.colour, seen.shape, seen.direction, seen.all),
            (12, Some(0.75), Some(0.75), Some(0.75), Some(0.75))
        );
        assert_eq!((found.position, found.pitch, found.timbre), (Some(0.75), Some(0.75), Some(0.75)));
        // Onsets are counted over all cases: those of three are missed.
        let bounces = |all: &mut dyn Iterator<Item = u64>| {
            all.map(|i| Case::new(&world(), 7, i).scene.events().len()).sum::<usize>() as f64
        };
        let (wanted, missed) = (bounces(&mut (0..12)), bounces(&mut [2, 6, 10].into_iter()));
        let f1 = 2.0 * (wanted - missed) / (2.0 * wanted - missed);
        assert!((found.onsets.unwrap() - f1).abs() < 1e-12, "{:?}, not {f1}", found.onsets);
    }

    #[test]
    fn a_position_is_that_of_the_frame_beside_what_is_given() {
        // Only one frame of each clip is left: that beside the first, or that beside the last, or another one; a far one stands
        // in place of all others.
        let only = |t: usize, far: usize| {
            move |_: u64, case: &Case| {
                let mut clip = case.clip.clone();
                let size = clip.pixels().len() / clip.frames();
                let other = case.clip.frame(far).to_vec();
                (0..clip.frames()).filter(|&at| at != t).for_each(|at| {
                    clip.pixels_mut()[at * size..][..size].copy_from_slice(&other);
                });
                Outcome { clip: Some(clip), sound: None, text: None }
            }
        };
        let cases = [(MaskSpec::First, 1, 2, 15), (MaskSpec::Last, 15, 14, 1), (MaskSpec::Ends, 1, 3, 15)];
        for (video, right, wrong, far) in cases {
            let task = task(video, MaskSpec::Absent);
            assert_eq!(result(&task, 12, only(right, far)).position, Some(1.0), "{video:?}");
            assert!(result(&task, 12, only(wrong, far)).position.unwrap() < 0.5, "{video:?}");
            // A quarter of a second is two frames.
            let of_seconds = Task { seconds: Some(0.25), ..task };
            let (right, far) = if video == MaskSpec::Last { (14, 1) } else { (2, 15) };
            assert_eq!(result(&of_seconds, 12, only(right, far)).position, Some(1.0), "{video:?}");
        }
    }
}
