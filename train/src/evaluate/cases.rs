//! The test of tasks: scenes that training never saw, and what a backbone makes of a part of them.

use musiva_core::dataset::Sample;
use musiva_core::pipeline::{ContextMedia, Pipeline, Request};
use musiva_core::{Clip, Mask, MaskSpec, Modality, Result, RngKey, RngStream, Sound, Task, TrackMedia};
use musiva_data::World;
use musiva_data::world::{Scene, Split};
use std::collections::BTreeMap;

/// A scene of the test, and what of it there is to give.
pub struct Case {
    /// What happens.
    pub scene: Scene,
    /// What it is told by.
    pub caption: String,
    /// What is seen.
    pub clip: Clip,
    /// What is heard, in a world with sound.
    pub sound: Option<Sound>,
    /// What numbers the world tells of it.
    pub numbers: BTreeMap<String, f64>,
    /// Further streams of the world.
    pub streams: BTreeMap<String, Clip>,
    seed: u64,
    number: u64,
}

impl Case {
    /// Case `number` of the test with this seed.
    pub fn new(world: &World, seed: u64, number: u64) -> Self {
        let key = RngKey::new(seed).sample(number);
        let scene = world.scene(key, Split::Test);
        let Sample { caption, clip, sound, streams, numbers, .. } = scene.sample(key, String::new());
        Self { caption, clip: clip.unwrap_or_else(|| scene.render()), sound, streams, numbers, scene, seed, number }
    }

    /// What a task shows of its clip, the rest grey; `None` where it shows nothing.
    pub fn shown(&self, task: &Task, clip_strides: [usize; 3]) -> Option<Clip> {
        if !task.spec("video").has_context() {
            return None;
        }
        let mut grey = self.clip.clone();
        grey.pixels_mut().fill(96);
        Some(task.finish(&self.clip, &grey, self.mask(task, clip_strides).as_ref()))
    }

    /// What a task lets be heard of its sound, the rest silent; `None` where it gives nothing of it.
    pub fn heard(&self, task: &Task) -> Option<Sound> {
        let sound = self.sound.as_ref().filter(|_| task.spec("audio").has_context())?;
        let (length, channels) = (sound.length(), sound.channels());
        let n = (task.frames_at(&self.clip) as f64 * sound.rate().as_f64() / self.clip.rate().as_f64()) as usize;
        let (first, last) = match task.spec("audio") {
            MaskSpec::First => (n, 0),
            MaskSpec::Last => (0, n),
            MaskSpec::Ends => (n, n),
            _ => (length, length),
        };
        let in_context = |at: usize| at < first || at + last >= length;
        let samples = sound.samples().iter().enumerate();
        let samples = samples.map(|(i, &value)| if in_context(i / channels) { value } else { 0.0 }).collect();
        Sound::new(channels, sound.rate(), samples).ok()
    }

    /// What of its clip is to be made, where the task has a region.
    fn mask(&self, task: &Task, clip_strides: [usize; 3]) -> Option<Mask> {
        region(task, self.clip.shape(), clip_strides, [self.seed, self.number])
    }

    /// As a sample of a dataset.
    pub(super) fn sample(&self) -> Sample {
        Sample {
            clip: Some(self.clip.clone()),
            sound: self.sound.clone(),
            caption: self.caption.clone(),
            streams: self.streams.clone(),
            numbers: self.numbers.clone(),
            ..Sample::default()
        }
    }
}

/// What of a clip of this shape is to be made, where the task has a region.
fn region(task: &Task, clip: [usize; 3], strides: [usize; 3], [seed, number]: [u64; 2]) -> Option<Mask> {
    task.draw(clip, strides, &mut RngKey::new(seed).sample(number).stream(RngStream::Task))
}

/// What was made of a case, with what was given of the clip in its place; a sound that was given is left out.
pub struct Outcome {
    /// The clip, where the task has one.
    pub clip: Option<Clip>,
    /// The sound, where the task makes some.
    pub sound: Option<Sound>,
    /// The text, where the task makes some.
    pub text: Option<String>,
}

/// Of the numbers of a sample those that the model is conditioned on, by the names of its conditions.
pub(super) fn numbers(pipeline: &Pipeline, sample: &BTreeMap<String, f64>) -> BTreeMap<String, f64> {
    let conditions = pipeline.canvas().conditions.iter();
    conditions.filter_map(|condition| Some((condition.name.clone(), *sample.get(&condition.from)?))).collect()
}

/// Has a task done for cases in a row, all with the region of the first. `on_step` is told how many steps are done, and
/// of how many.
///
/// # Errors
/// What encoding, sampling, decoding or `on_step` return.
pub fn perform(
    pipeline: &Pipeline,
    task: &Task,
    cases: &[Case],
    on_step: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Outcome>> {
    let Some(Case { seed, number, .. }) = cases.first() else { return Ok(Vec::new()) };
    let samples: Vec<Sample> = cases.iter().map(Case::sample).collect();
    perform_of(pipeline, task, &samples, [*seed, *number], on_step)
}

/// The same for samples of a dataset, the first of which has this number.
pub(super) fn perform_of(
    pipeline: &Pipeline,
    task: &Task,
    samples: &[Sample],
    [seed, number]: [u64; 2],
    on_step: &mut dyn FnMut(usize, usize) -> Result<()>,
) -> Result<Vec<Outcome>> {
    let encoders = pipeline.encoders();
    let text = encoders.get(Modality::Text.track());
    let prompt = |Sample { caption, .. }: &Sample| {
        // Of a caption that is too long the beginning, as in training.
        let short = text.map_or(Ok(None), |text| text.shortened(caption))?;
        Ok(short.unwrap_or_else(|| caption.clone()))
    };
    let prompts = samples.iter().map(prompt).collect::<Result<_>>()?;
    let conditions = samples.iter().map(|sample| numbers(pipeline, &sample.numbers)).collect();
    let mut media = TrackMedia::new();
    for track in pipeline.canvas().tracks.iter().filter(|track| track.modality != Modality::Text) {
        media.insert(track.name.clone(), samples.iter().filter_map(|sample| sample.medium(&track.from).ok()).collect());
    }
    let strides = pipeline.canvas().track(Modality::Video.track()).map_or([1; 3], |track| track.strides);
    let first = samples.first().and_then(|sample| sample.clip.as_ref());
    let mask = first.and_then(|clip| region(task, clip.shape(), strides, [seed, number]));
    let context_media = ContextMedia { task, media: &media, mask: mask.as_ref() };
    let sample_request =
        pipeline.task_request(&Request { prompts, seed, first: number, conditions }, &context_media)?;
    let outcome = |(tokens, sample): (_, &Sample)| {
        let made = pipeline.output(task, tokens)?;
        let clip = match (made.clip, &sample.clip, task.spec("video")) {
            (Some(made), Some(clip), _) if made.shape() == clip.shape() => {
                Some(task.finish(clip, &made, mask.as_ref()))
            }
            (None, clip, MaskSpec::Context) => clip.clone(),
            (clip, ..) => clip,
        };
        Ok(Outcome { clip, sound: made.sound, text: made.text })
    };
    pipeline.once(&sample_request, on_step)?.iter().zip(samples).map(outcome).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_data::WorldConfig;

    fn task(video: MaskSpec, audio: MaskSpec, frames: usize) -> Task {
        Task { frames, ..Task::new("x", [("video", video), ("audio", audio)]) }
    }

    /// 17 frames at 8 a second, 1000 samples each.
    fn case() -> Case {
        Case::new(&World::new(WorldConfig { sound: Some(8000), ..WorldConfig::default() }).unwrap(), 3, 5)
    }

    #[test]
    fn of_a_sound_only_what_is_given_is_heard() {
        let case =
            Case { sound: Some(Sound::new(1, musiva_core::Rate::whole(8000), vec![1.0; 17_000]).unwrap()), ..case() };
        let heard = |audio, frames| {
            let sound = case.heard(&task(MaskSpec::Absent, audio, frames))?;
            let samples = sound.samples();
            assert_eq!(samples.len(), 17_000);
            let first = samples.iter().take_while(|&&x| x == 1.0).count();
            let last = samples.iter().rev().take_while(|&&x| x == 1.0).count();
            assert_eq!(samples.iter().filter(|&&x| x == 1.0).count(), (first + last).min(17_000), "nothing between");
            Some([first, last])
        };
        assert_eq!(heard(MaskSpec::First, 1), Some([1000, 0]));
        assert_eq!(heard(MaskSpec::First, 3), Some([3000, 0]));
        assert_eq!(heard(MaskSpec::Last, 1), Some([0, 1000]));
        assert_eq!(heard(MaskSpec::Last, 5), Some([0, 5000]));
        assert_eq!(heard(MaskSpec::Ends, 2), Some([2000, 2000]));
        assert_eq!(heard(MaskSpec::Context, 1), Some([17_000, 17_000]));
        assert_eq!((heard(MaskSpec::Target, 1), heard(MaskSpec::Absent, 1)), (None, None));
        let second = Task { seconds: Some(1.0), ..task(MaskSpec::Absent, MaskSpec::First, 1) };
        let given = case.heard(&second).unwrap().samples().iter().take_while(|&&x| x == 1.0).count();
        assert_eq!(given, 8000);
    }

    #[test]
    fn of_a_clip_only_what_is_given_is_shown() {
        let case = case();
        let shown = |video, frames| {
            let clip = case.shown(&task(video, MaskSpec::Absent, frames), [4, 8, 8])?;
            let same = (0..17).filter(|&t| clip.frame(t) == case.clip.frame(t)).collect::<Vec<_>>();
            let grey = (0..17).filter(|&t| clip.frame(t).iter().all(|&x| x == 96)).count();
            assert_eq!(same.len() + grey, 17);
            Some(same)
        };
        assert_eq!(shown(MaskSpec::First, 1), Some(vec![0]));
        assert_eq!(shown(MaskSpec::First, 5), Some((0..5).collect()));
        assert_eq!(shown(MaskSpec::Last, 5), Some((12..17).collect()));
        assert_eq!(shown(MaskSpec::Ends, 1), Some(vec![0, 16]));
        assert_eq!(shown(MaskSpec::Context, 1), Some((0..17).collect()));
        assert_eq!(shown(MaskSpec::Target, 1), None);
    }

    #[test]
    fn of_a_clip_with_a_region_all_else_is_shown() {
        let case = case();
        let [frames, height, width] = case.clip.shape();
        let shown = |video| case.shown(&task(video, MaskSpec::Absent, 1), [4, 8, 8]).unwrap();
        let grey = |clip: &Clip| -> Vec<bool> {
            let pixels = clip.pixels().chunks_exact(3).zip(case.clip.pixels().chunks_exact(3));
            let all = pixels.map(|(shown, whole)| {
                assert!(shown == whole || shown == [96; 3], "{shown:?} of {whole:?}");
                shown == [96; 3]
            });
            all.collect()
        };
        // A rectangle, in all frames the same, of a quarter to three quarters of each side.
        let grey = grey(&shown(MaskSpec::Outside));
        let area = height * width;
        assert!((1..frames).all(|t| grey[t * area..(t + 1) * area] == grey[..area]));
        let count = grey[..area].iter().filter(|grey| **grey).count();
        assert!((area / 16..=area * 9 / 16).contains(&count), "{count} of {area}");
        // The same part of the same case, asked for again.
        assert_eq!(shown(MaskSpec::Outside), shown(MaskSpec::Outside));
    }

    #[test]
    fn a_case_is_the_same_whenever_it_is_asked_for_and_none_is_like_another() {
        let world = World::new(WorldConfig::default()).unwrap();
        let clip = |seed, number| Case::new(&world, seed, number).clip;
        assert_eq!(clip(3, 5), clip(3, 5));
        assert!(clip(3, 5) != clip(3, 6) && clip(3, 5) != clip(4, 5));
    }
}
