//! A continuation on its way: a first piece, then more of it before and after, each from an end of what is there.

use super::Continuation;
use super::plan::{Growth, Plan};
use musiva_core::program::{Pieces, joined};
use musiva_core::{
    Clip, Error, ErrorKind, GenerateRequest, Inputs, MaskSpec, Observer, Output, Pipeline, Rate, Result, Sound, Task,
    Timing,
};

/// Makes what `plan` says.
pub fn run(
    program: &Continuation,
    plan: &Plan,
    pipeline: &Pipeline,
    request: &GenerateRequest,
    observer: &mut dyn Observer,
) -> Result<Vec<Output>> {
    let there = Output {
        clip: request.inputs.clips.first().cloned(),
        sound: request.inputs.sound.clone(),
        ..Output::default()
    };
    let all = vec![there; request.count];
    let mut run = Run { program, plan, pipeline, request, all, pieces: Pieces::new(pipeline, request, observer) };
    if let Some(task) = &plan.first {
        let premise = run.premise(task)?;
        let made = run.pieces.make(task, &vec![premise.clone(); request.count], &plan.prompt, plan.strength)?;
        run.all = made.into_iter().map(|made| run.first(task, &premise, made)).collect::<Result<_>>()?;
    }
    plan.growth.iter().try_for_each(|growth| run.grow(growth))?;
    Ok(run.all)
}

struct Run<'a> {
    program: &'a Continuation,
    plan: &'a Plan,
    pipeline: &'a Pipeline,
    request: &'a GenerateRequest,
    pieces: Pieces<'a>,
    /// What there is so far of each sample.
    all: Vec<Output>,
}

impl Run<'_> {
    /// What the first task is given, as long as it wants it.
    fn premise(&mut self, task: &Task) -> Result<Output> {
        let (pipeline, observer) = (self.pipeline, self.pieces.observer());
        let Inputs { clips, sound, .. } = &self.request.inputs;
        let frames = pipeline.canvas().frames();
        let short = |what: &str, has: String, wanted: String| {
            Err(Error::new(ErrorKind::Media, what, format!("`{}` requires {wanted}, this has {has}", task.name))
                .hint("give a longer one; `--extend SECONDS` goes on from a short one"))
        };
        let clip = match task.spec("video") {
            MaskSpec::Ends => {
                let (first, last) = (&clips[0], &clips[1]);
                let n = task.frames_at(first);
                Some(joined([&first.slice(first.frames() - n..first.frames()), &last.slice(0..n)])?)
            }
            // What is changed is made, and yet it is there.
            MaskSpec::Context | MaskSpec::Target | MaskSpec::Outside | MaskSpec::Inside => match clips.first() {
                Some(clip) if clip.frames() < frames => {
                    return short("--video", format!("{}", clip.frames()), format!("{frames} frames"));
                }
                Some(clip) => {
                    if clip.frames() > frames {
                        observer.note(&format!("the first {frames} of its {} frames", clip.frames()));
                    }
                    Some(clip.slice(0..frames))
                }
                None => None,
            },
            _ => clips.first().cloned(),
        };
        let sound = match (task.spec("audio"), sound) {
            (MaskSpec::Context | MaskSpec::Target, Some(sound)) => {
                let samples = pipeline.samples();
                if sound.length() != samples {
                    let how = if sound.length() < samples { "silence follows" } else { "the rest is left out" };
                    observer.note(&format!(
                        "a sound of {} samples where there is room for {samples}: {how}",
                        sound.length()
                    ));
                }
                Some(sound.clone().with_length(samples))
            }
            (MaskSpec::Absent, _) => None,
            (_, sound) => sound.clone(),
        };
        let streams = self.request.inputs.streams.clone();
        Ok(Output { clip, sound, streams, ..Output::default() })
    }

    /// What the first task made, with what was given beside it.
    fn first(&mut self, task: &Task, premise: &Output, made: Output) -> Result<Output> {
        let clip = match (&premise.clip, made.clip) {
            (Some(conditioning), Some(clip)) if self.request.paste => {
                let finished = task.finish(conditioning, &clip, self.request.inputs.mask.as_ref());
                if let Some(mask) = &self.request.inputs.mask {
                    let off = mask.apart(conditioning, &clip);
                    self.pieces.observer().note(&format!(
                        "context pasted back unchanged; its reconstruction differs by {off:.1} of 255 on average"
                    ));
                }
                Some(finished)
            }
            (Some(conditioning), None) if task.spec("video") == MaskSpec::Context => Some(conditioning.clone()),
            (_, clip) => clip,
        };
        // From the start of one clip to the end of the other.
        let clip = match (task.spec("video"), clip, &self.request.inputs.clips[..]) {
            (MaskSpec::Ends, Some(clip), [first, last]) => {
                let n = task.frames_at(first);
                let parts = [(first, 0..first.frames() - n), (&clip, 0..clip.frames()), (last, n..last.frames())];
                let parts: Vec<Clip> = parts
                    .into_iter()
                    .filter(|(_, range)| !range.is_empty())
                    .map(|(clip, range)| clip.slice(range))
                    .collect();
                Some(joined(&parts)?)
            }
            (_, clip, _) => clip,
        };
        let sound = match (task.spec("audio"), &premise.sound, made.sound) {
            (MaskSpec::Context, given, _) => given.clone(),
            // A sound that goes on begins with what was given, to the sample.
            (MaskSpec::First, Some(given), Some(sound)) if self.request.paste && premise.clip.is_none() => {
                let n = task.samples_of(self.pipeline.canvas()).min(given.length()).min(sound.length());
                Some(joined_sounds(&[given.slice(0..n), sound.slice(n..sound.length())])?)
            }
            (_, _, made) => made,
        };
        Ok(Output { clip, sound, text: made.text, streams: made.streams })
    }

    /// The last frames of what is there, or the first, with their sound.
    fn end(&self, made: &Output, n: usize, last: bool) -> Result<Output> {
        let clip = made.clip.as_ref().filter(|clip| clip.frames() >= n).ok_or_else(|| {
            Error::new(ErrorKind::Media, "--extend", format!("an extension needs {n} frames, and there are fewer"))
                .hint("give a longer clip")
        })?;
        let range = if last { clip.frames() - n..clip.frames() } else { 0..n };
        let sound = made.sound.as_ref().map(|sound| {
            let timing = Timing::new(clip.rate(), sound.rate());
            let whole = sound.clone().with_length(timing.samples(0..clip.frames()).len());
            whole.slice(timing.samples(range.clone()))
        });
        Ok(Output { clip: Some(clip.slice(range)), sound, ..Output::default() })
    }

    /// Adds pieces after or before all that is there, until the requested seconds have been added.
    fn grow(&mut self, growth: &Growth) -> Result<()> {
        match self.pipeline.codec("video") {
            Some(codec) => self.grow_clips(growth, codec.rate()),
            None => self.grow_sounds(growth),
        }
    }

    fn grow_clips(&mut self, &Growth { ref task, after, seconds }: &Growth, rate: Rate) -> Result<()> {
        let wanted = (seconds * rate.as_f64()).round().max(1.0) as usize;
        let (mut added, mut n) = (0, 0);
        while added < wanted {
            n = self.all[0].clip.as_ref().map_or(n, |clip| task.frames_at(clip));
            let ends: Result<Vec<Output>> = self.all.iter().map(|made| self.end(made, n, after)).collect();
            let now = self.all[0].clip.as_ref().map_or(0, Clip::frames) as f64 / rate.as_f64();
            let prompt = self.program.prompt_at(now).filter(|_| after).unwrap_or(&self.plan.prompt);
            let made = self.pieces.make(task, &ends?, prompt, None)?;
            let mut new = 0;
            for (all, made) in self.all.iter_mut().zip(made) {
                let (Some(old), Some(clip)) = (&all.clip, &made.clip) else { continue };
                new = (clip.frames() - n).min(wanted - added);
                let range = if after { n..n + new } else { clip.frames() - n - new..clip.frames() - n };
                let piece = clip.slice(range.clone());
                let whole = joined(if after { [old, &piece] } else { [&piece, old] })?;
                if let (Some(heard), Some(sound)) = (&all.sound, &made.sound) {
                    let timing = Timing::new(clip.rate(), sound.rate());
                    // A clip and its sound end together from here on.
                    let heard = heard.clone().with_length(timing.samples(0..old.frames()).len());
                    let piece = sound.slice(timing.samples(range));
                    let parts = if after { [heard, piece] } else { [piece, heard] };
                    let joined = joined_sounds(&parts)?;
                    all.sound = Some(joined.with_length(timing.samples(0..whole.frames()).len()));
                }
                all.clip = Some(whole);
            }
            if new == 0 {
                return Err(Error::new(ErrorKind::Unsupported, "--extend", "there is no clip to go on with"));
            }
            added += new;
        }
        Ok(())
    }

    /// The same for a model of sounds alone.
    fn grow_sounds(&mut self, &Growth { ref task, after, seconds }: &Growth) -> Result<()> {
        let nothing = || Error::new(ErrorKind::Unsupported, "--extend", "there is no sound to go on with");
        let rate = self.all.first().and_then(|made| made.sound.as_ref()).ok_or_else(nothing)?.rate();
        let n = task.samples_of(self.pipeline.canvas());
        let wanted = (seconds * rate.as_f64()).round().max(1.0) as usize;
        let mut added = 0;
        while added < wanted {
            let end = |made: &Output| {
                let sound = made.sound.as_ref().filter(|sound| sound.length() >= n && n > 0).ok_or_else(|| {
                    Error::new(
                        ErrorKind::Media,
                        "--extend",
                        format!("an extension needs {n} samples, and there are fewer"),
                    )
                    .hint("give a longer sound")
                })?;
                let range = if after { sound.length() - n..sound.length() } else { 0..n };
                Ok(Output { sound: Some(sound.slice(range)), ..Output::default() })
            };
            let ends: Result<Vec<Output>> = self.all.iter().map(end).collect();
            let now = self.all[0].sound.as_ref().map_or(0.0, Sound::seconds);
            let prompt = self.program.prompt_at(now).filter(|_| after).unwrap_or(&self.plan.prompt);
            let made = self.pieces.make(task, &ends?, prompt, None)?;
            let mut new = 0;
            for (all, made) in self.all.iter_mut().zip(made) {
                let (Some(old), Some(sound)) = (all.sound.take(), made.sound) else { continue };
                new = sound.length().saturating_sub(n).min(wanted - added);
                let end = sound.length() - n;
                let piece = sound.slice(if after { n..n + new } else { end - new..end });
                all.sound = Some(joined_sounds(&if after { [old, piece] } else { [piece, old] })?);
            }
            if new == 0 {
                return Err(nothing());
            }
            added += new;
        }
        Ok(())
    }
}

/// Mono sounds of one rate, one after the other.
fn joined_sounds(parts: &[Sound; 2]) -> Result<Sound> {
    let samples = parts.iter().flat_map(|sound| sound.samples()).copied().collect();
    Sound::new(1, parts[0].rate(), samples)
}
