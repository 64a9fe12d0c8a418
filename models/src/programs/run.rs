//! A continuation on its way: a first piece, then more of it before and after, each from an end of what is there.

use super::Continuation;
use super::plan::{Growth, Plan};
use musiva_core::program::{Pieces, joined};
use musiva_core::{
    Clip, Error, ErrorKind, GenerateRequest, Inputs, MaskSpec, Observer, Output, Pipeline, Result, Sound, Task,
};

/// Makes what `plan` says.
pub fn run(
    program: &Continuation,
    plan: &Plan,
    pipeline: &Pipeline,
    request: &GenerateRequest,
    observer: &mut dyn Observer,
) -> Result<Vec<Output>> {
    let there = Output { clip: request.inputs.clips.first().cloned(), sound: request.inputs.sound.clone() };
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
        let canvas = pipeline.canvas();
        let stride = pipeline.codec().tokenizer().spec().strides[0];
        let frames = (canvas.tokens.grid[0] - 1) * stride + 1;
        let short = |what: &str, has: String, wanted: String| {
            Err(Error::new(ErrorKind::Media, what, format!("`{}` requires {wanted}, this has {has}", task.name))
                .hint("give a longer one, or another task by --task"))
        };
        let clip = match task.video {
            MaskSpec::Ends => {
                let n = task.frames;
                let (first, last) = (&clips[0], &clips[1]);
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
        let sound = match (task.audio, sound, pipeline.audio(), canvas.sound) {
            (MaskSpec::Context | MaskSpec::Target, Some(sound), Some(codec), Some(shape)) => {
                let samples = shape.tokens.length() * codec.tokenizer().spec().strides[0];
                if sound.length() != samples {
                    let how = if sound.length() < samples { "silence follows" } else { "the rest is left out" };
                    observer.note(&format!("a sound of {} samples for a clip of {samples}: {how}", sound.length()));
                }
                Some(sound.clone().with_length(samples))
            }
            _ => None,
        };
        Ok(Output { clip, sound })
    }

    /// What the first task made, with what was given beside it.
    fn first(&mut self, task: &Task, premise: &Output, made: Output) -> Result<Output> {
        let clip = match (&premise.clip, made.clip) {
            (Some(conditioning), Some(clip)) if self.request.paste => {
                let finished = task.finish(conditioning, &clip, self.request.inputs.mask.as_ref());
                if let Some(mask) = &self.request.inputs.mask {
                    let off = mask.apart(conditioning, &clip);
                    self.pieces.observer().note(&format!(
                        "what was given is as it was; the model's own picture of it is {off:.1} of 255 off"
                    ));
                }
                Some(finished)
            }
            (Some(conditioning), None) if task.video == MaskSpec::Context => Some(conditioning.clone()),
            (_, clip) => clip,
        };
        // From the start of one clip to the end of the other.
        let clip = match (task.video, clip, &self.request.inputs.clips[..]) {
            (MaskSpec::Ends, Some(clip), [first, last]) => {
                let n = task.frames;
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
        Ok(Output { clip, sound: if task.audio == MaskSpec::Context { premise.sound.clone() } else { made.sound } })
    }

    /// The last frames of what is there, or the first, with their sound.
    fn end(&self, made: &Output, n: usize, last: bool) -> Result<Output> {
        let clip = made.clip.as_ref().filter(|clip| clip.frames() >= n).ok_or_else(|| {
            Error::new(ErrorKind::Media, "--extend", format!("to go on takes {n} frames, and there are fewer"))
                .hint("give a longer clip")
        })?;
        let range = if last { clip.frames() - n..clip.frames() } else { 0..n };
        let sound = match (&made.sound, self.pipeline.canvas().sound, self.pipeline.audio()) {
            (Some(sound), Some(shape), Some(codec)) => {
                let tokens_per_frame = shape.tokens_per_frame * codec.tokenizer().spec().strides[0];
                let whole = sound.clone().with_length(clip.frames() * tokens_per_frame);
                Some(whole.slice(range.start * tokens_per_frame..range.end * tokens_per_frame))
            }
            _ => None,
        };
        Ok(Output { clip: Some(clip.slice(range)), sound })
    }

    /// Adds pieces after or before all that is there, until the requested seconds have been added.
    fn grow(&mut self, &Growth { ref task, after, seconds }: &Growth) -> Result<()> {
        let rate = self.pipeline.codec().rate();
        let wanted = (seconds * rate.as_f64()).round().max(1.0) as usize;
        let (n, mut added) = (task.frames, 0);
        while added < wanted {
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
                if let (Some(heard), Some(sound)) = (&all.sound, &made.sound) {
                    let tokens_per_frame = sound.length() / clip.frames();
                    // A clip and its sound end together from here on.
                    let heard = heard.clone().with_length(old.frames() * tokens_per_frame);
                    let piece = sound.slice(range.start * tokens_per_frame..range.end * tokens_per_frame);
                    let parts = if after { [heard, piece] } else { [piece, heard] };
                    let samples = parts.iter().flat_map(|sound| sound.samples()).copied().collect();
                    all.sound = Some(Sound::new(1, sound.rate(), samples)?);
                }
                all.clip = Some(joined(if after { [old, &piece] } else { [&piece, old] })?);
            }
            if new == 0 {
                return Err(Error::new(ErrorKind::Unsupported, "--extend", "there is no clip to go on with"));
            }
            added += new;
        }
        Ok(())
    }
}
