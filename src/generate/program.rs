//! The program: a first piece, then more of it before and after, each from the last of what is there.

use super::choose::{Extension, Plan};
use super::context::Media;
use crate::output::say;
use crate::progress::{Stages, bar};
use musiva_core::pipeline::{ContextMedia, Pipeline, Request};
use musiva_core::{CanvasTokens, Clip, Error, ErrorKind, MaskSpec, Result, Sound, Task};

/// Samples are numbered by round, so that each piece has noise of its own; there are no more of them at once.
const SAMPLES: u64 = 1024;

/// What is made, from what.
pub struct Program<'a> {
    pub pipeline: &'a Pipeline,
    pub plan: &'a Plan,
    pub media: &'a Media,
    pub prompt: &'a str,
    /// Prompts that hold from a second on.
    pub story: &'a [(f64, String)],
    pub seed: u64,
    /// How many samples at once.
    pub batch: usize,
    /// Whether what was given comes back to the pixel.
    pub paste: bool,
}

/// A sample.
#[derive(Clone, Debug, Default)]
pub struct Generated {
    pub clip: Option<Clip>,
    pub sound: Option<Sound>,
}

/// Told of the tokens of each sample and round before they are decoded.
type Save<'a> = dyn FnMut(usize, usize, &CanvasTokens) -> Result<()> + 'a;

impl Program<'_> {
    /// Makes `count` samples.
    pub fn run(&self, count: usize, stages: &mut Stages, save: &mut Save) -> Result<Vec<Generated>> {
        let there = Generated { clip: self.media.clips.first().cloned(), sound: self.media.sound.clone() };
        let mut run = Run { program: self, all: vec![there; count], round: 0, stages, save };
        if let Some(task) = &self.plan.first {
            let context_media = self.context_media(task)?;
            let made = run.piece(task, vec![context_media.clone(); count], self.prompt, self.plan.strength)?;
            run.all = made.into_iter().map(|made| self.first(task, &context_media, made)).collect::<Result<_>>()?;
        }
        self.plan.extensions.iter().try_for_each(|extension| run.extend(extension))?;
        Ok(run.all)
    }

    /// What the first task is given, as long as it wants it.
    fn context_media(&self, task: &Task) -> Result<Generated> {
        let Media { clips, sound, .. } = self.media;
        let canvas = self.pipeline.canvas();
        let stride = self.pipeline.codec().tokenizer().spec().strides[0];
        let frames = (canvas.tokens.grid[0] - 1) * stride + 1;
        let short = |what: &str, has: String, wanted: String| {
            Err(Error::new(ErrorKind::Media, what, format!("`{}` wants {wanted}, this has {has}", task.name))
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
                        say!("the first {frames} of its {} frames", clip.frames());
                    }
                    Some(clip.slice(0..frames))
                }
                None => None,
            },
            _ => clips.first().cloned(),
        };
        let sound = match (task.audio, sound, self.pipeline.audio(), canvas.sound) {
            (MaskSpec::Context | MaskSpec::Target, Some(sound), Some(codec), Some(shape)) => {
                let samples = shape.tokens.length() * codec.tokenizer().spec().strides[0];
                if sound.length() != samples {
                    let how = if sound.length() < samples { "silence follows" } else { "the rest is left out" };
                    say!("a sound of {} samples for a clip of {samples}: {how}", sound.length());
                }
                Some(sound.clone().with_length(samples))
            }
            _ => None,
        };
        Ok(Generated { clip, sound })
    }

    /// What the first task made, with what was given beside it.
    fn first(&self, task: &Task, context_media: &Generated, made: Generated) -> Result<Generated> {
        let clip = match (&context_media.clip, made.clip) {
            (Some(context), Some(clip)) if self.paste => {
                let finished = task.finish(context, &clip, self.media.mask.as_ref());
                if let Some(mask) = &self.media.mask {
                    let off = mask.apart(context, &clip);
                    say!("what was given is as it was; the model's own picture of it is {off:.1} of 255 off");
                }
                Some(finished)
            }
            (Some(context), None) if task.video == MaskSpec::Context => Some(context.clone()),
            (_, clip) => clip,
        };
        // From the start of one clip to the end of the other.
        let clip = match (task.video, clip, &self.media.clips[..]) {
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
        Ok(Generated {
            clip,
            sound: if task.audio == MaskSpec::Context { context_media.sound.clone() } else { made.sound },
        })
    }

    /// The prompt that holds at a second.
    fn prompt_at(&self, second: f64) -> &str {
        let begun = self.story.iter().filter(|(from, _)| *from <= second + 1e-9);
        begun.max_by(|a, b| a.0.total_cmp(&b.0)).map_or(self.prompt, |(_, prompt)| prompt)
    }

    /// The last frames of what is there, or the first, with their sound.
    fn end(&self, made: &Generated, n: usize, last: bool) -> Result<Generated> {
        let clip = made.clip.as_ref().filter(|clip| clip.frames() >= n).ok_or_else(|| {
            Error::new(ErrorKind::Media, "--extend", format!("to go on takes {n} frames, and there are fewer"))
                .hint("give a longer clip")
        })?;
        let range = if last { clip.frames() - n..clip.frames() } else { 0..n };
        let sound = match (&made.sound, self.pipeline.canvas().sound, self.pipeline.audio()) {
            (Some(sound), Some(shape), Some(codec)) => {
                let samples_per_frame = shape.tokens_per_frame * codec.tokenizer().spec().strides[0];
                let whole = sound.clone().with_length(clip.frames() * samples_per_frame);
                Some(whole.slice(range.start * samples_per_frame..range.end * samples_per_frame))
            }
            _ => None,
        };
        Ok(Generated { clip: Some(clip.slice(range)), sound })
    }
}

/// A program on its way.
struct Run<'a> {
    program: &'a Program<'a>,
    /// What there is so far of each sample.
    all: Vec<Generated>,
    /// How many pieces have been made of each.
    round: usize,
    stages: &'a mut Stages,
    save: &'a mut Save<'a>,
}

impl Run<'_> {
    /// Adds pieces after or before all that is there, until so many seconds have been added.
    fn extend(&mut self, &Extension { ref task, after, seconds }: &Extension) -> Result<()> {
        let program = self.program;
        let rate = program.pipeline.codec().rate();
        let wanted = (seconds * rate.as_f64()).round().max(1.0) as usize;
        let (n, mut added) = (task.frames, 0);
        while added < wanted {
            let ends: Result<Vec<Generated>> = self.all.iter().map(|made| program.end(made, n, after)).collect();
            let now = self.all[0].clip.as_ref().map_or(0, Clip::frames) as f64 / rate.as_f64();
            let prompt = if after { program.prompt_at(now) } else { program.prompt };
            let made = self.piece(task, ends?, prompt, None)?;
            let mut new = 0;
            for (all, made) in self.all.iter_mut().zip(made) {
                let (Some(old), Some(clip)) = (&all.clip, &made.clip) else { continue };
                new = (clip.frames() - n).min(wanted - added);
                let range = if after { n..n + new } else { clip.frames() - n - new..clip.frames() - n };
                let piece = clip.slice(range.clone());
                if let (Some(heard), Some(sound)) = (&all.sound, &made.sound) {
                    let samples_per_frame = sound.length() / clip.frames();
                    // A clip and its sound end together from here on.
                    let heard = heard.clone().with_length(old.frames() * samples_per_frame);
                    let piece = sound.slice(range.start * samples_per_frame..range.end * samples_per_frame);
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

    /// A piece of each sample, or with a strength a changed one: the next round.
    fn piece(
        &mut self,
        task: &Task,
        context: Vec<Generated>,
        prompt: &str,
        strength: Option<f64>,
    ) -> Result<Vec<Generated>> {
        let Program { pipeline, media, seed, batch, .. } = *self.program;
        let (batches, bar) = (context.len().div_ceil(batch), bar(0, "sample"));
        let mut all = Vec::with_capacity(context.len());
        for (index, context) in context.chunks(batch).enumerate() {
            let clips: Vec<Clip> = context.iter().filter_map(|context| context.clip.clone()).collect();
            let sounds: Vec<Sound> = context.iter().filter_map(|context| context.sound.clone()).collect();
            let first = (index * batch) as u64 + SAMPLES * self.round as u64;
            let request = Request { prompts: vec![prompt.to_owned(); context.len()], seed, first };
            let context_media = ContextMedia { task, clips: &clips, sounds: &sounds, mask: media.mask.as_ref() };
            let sample_request = self.stages.time("encode", || match strength {
                Some(strength) => pipeline.edit_request(&request, &context_media, strength),
                None => pipeline.task_request(&request, &context_media),
            })?;
            all.extend(self.stages.time("sample", || {
                pipeline.once(&sample_request, &mut |done, total| {
                    bar.set_length((batches * total) as u64);
                    bar.set_position((index * total + done) as u64);
                    Ok(())
                })
            })?);
        }
        bar.finish_and_clear();
        for (sample, tokens) in all.iter().enumerate() {
            (self.save)(sample, self.round, tokens)?;
        }
        self.round += 1;
        let decode = |tokens: &CanvasTokens| {
            // What is given whole is not decoded: it is there.
            let clip = if task.video == MaskSpec::Context { None } else { pipeline.clip(tokens)? };
            Ok(Generated { clip, sound: pipeline.sound(tokens)? })
        };
        self.stages.time("decode", || all.iter().map(decode).collect())
    }
}

/// Clips of one size, one after the other.
fn joined<'a>(clips: impl IntoIterator<Item = &'a Clip>) -> Result<Clip> {
    let clips: Vec<&Clip> = clips.into_iter().collect();
    let [_, height, width] = clips[0].shape();
    let frames = clips.iter().map(|clip| clip.frames()).sum();
    let pixels = clips.iter().flat_map(|clip| clip.pixels()).copied().collect();
    Clip::new([frames, height, width], clips[0].rate(), pixels)
}
