//! Tasks: what of a clip and its sound is given, and what is to be made. `[[task]]` in a recipe.
//!
//! A task is data: it says which places of the canvas are given and which are made (a [`Layout`]), and what is left
//! of a clip and a sound for the tokenizers to see. Training cuts its samples by the same functions as generating
//! cuts what a user brings, so a model is asked for nothing that it was not trained on.

#[cfg(test)]
mod given_tests;
mod mask;
#[cfg(test)]
mod tests;

pub use mask::Mask;

use crate::canvas::{CanvasShape, Layout, Values};
use crate::{Clip, ConfigError, Media, Modality, Result, Sound, Stream, Tokenizer};
use mask::touched;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much of a medium is given.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaskSpec {
    /// There is none of it, and it takes no tokens.
    #[default]
    Absent,
    /// All of it is generated.
    Target,
    /// All of it is context.
    Context,
    /// The first `frames` are context.
    First,
    /// The last `frames` are context.
    Last,
    /// The first `frames` and the last are context.
    Ends,
    /// Of a clip what lies outside of a region is context.
    Outside,
    /// Of a clip what lies inside of a region is context.
    Inside,
    /// Of a clip only the first frame is generated.
    Image,
}

impl MaskSpec {
    fn has_target(self) -> bool {
        !matches!(self, Self::Absent | Self::Context)
    }

    /// Whether any of it is given.
    pub fn has_context(self) -> bool {
        !matches!(self, Self::Absent | Self::Target | Self::Image)
    }

    fn of_frames(self) -> bool {
        matches!(self, Self::First | Self::Last | Self::Ends)
    }

    /// Whether part of it lies in a region.
    pub fn has_region(self) -> bool {
        matches!(self, Self::Outside | Self::Inside)
    }

    /// Whether the tokens of what is given are those that the whole has there: a causal tokenizer does not know
    /// what follows.
    fn begins(self) -> bool {
        matches!(self, Self::Context | Self::First)
    }
}

/// One of the tasks of a recipe: `[[task]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// What it is called.
    #[schemars(length(min = 1))]
    pub name: String,
    /// What of the clip is context, and what is generated.
    #[serde(default)]
    pub video: MaskSpec,
    /// What of its sound is context, and what is generated.
    #[serde(default)]
    pub audio: MaskSpec,
    /// How many frames, for "first", "last" and "ends".
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub frames: usize,
    /// How often training draws it, relative to the others.
    #[serde(default = "often")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub weight: f64,
}

fn one() -> usize {
    1
}

fn often() -> f64 {
    1.0
}

impl Task {
    /// The task of a recipe that names none: a clip, with its sound where it has one, from a prompt.
    pub fn from_text(canvas: &CanvasShape) -> Self {
        let (name, audio) = match canvas.sound {
            Some(_) => ("text-to-video-with-sound", MaskSpec::Target),
            None => ("text-to-video", MaskSpec::Absent),
        };
        Self { name: name.into(), video: MaskSpec::Target, audio, frames: 1, weight: 1.0 }
    }

    /// How much of a medium is given.
    pub fn share(&self, modality: Modality) -> MaskSpec {
        match modality {
            Modality::Video => self.video,
            Modality::Audio => self.audio,
            Modality::Text => MaskSpec::Context,
        }
    }

    /// Whether anything is given beside the prompt.
    pub fn has_context(&self) -> bool {
        self.video.has_context() || self.audio.has_context()
    }

    /// What is wrong with it on such a canvas, of clips of so many frames.
    pub fn errors(&self, canvas: &CanvasShape, frames: usize) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut error = |path: &str, message: String, hint: String| errors.push(ConfigError::new(path, message, hint));
        if !self.video.has_target() && !self.audio.has_target() {
            error("video", format!("`{}` makes nothing", self.name), "set `video = \"target\"`".into());
        }
        if self.audio.has_region() || self.audio == MaskSpec::Image {
            error("audio", "a sound has no region and no image".into(), "set `audio = \"target\"`".into());
        }
        if self.audio != MaskSpec::Absent && canvas.sound.is_none() {
            let message = format!("`{}` has to do with sound, and the canvas has none", self.name);
            error("audio", message, "add `[tokenizer.audio]`, or delete `audio`".into());
        }
        if self.video == MaskSpec::Image && self.audio != MaskSpec::Absent {
            error("audio", "an image has no sound".into(), "delete `audio`, or set `video = \"target\"`".into());
        }
        let ends = if self.video == MaskSpec::Ends || self.audio == MaskSpec::Ends { 2 } else { 1 };
        if (self.video.of_frames() || self.audio.of_frames()) && ends * self.frames >= frames {
            let message = format!("of {frames} frames {} are given: nothing is left to be made", ends * self.frames);
            error("frames", message, format!("set `frames = {}` or less", (frames - 1) / ends));
        }
        errors
    }

    /// Where tokens are given and where they are made. A task with a region has a mask, of a clip whose tokens
    /// stand for `strides` pixels.
    ///
    /// # Errors
    /// At `frames`, where that many frames are not a whole number of tokens.
    pub fn layout(
        &self,
        canvas: &CanvasShape,
        strides: [usize; 3],
        mask: Option<&Mask>,
    ) -> Result<Layout, ConfigError> {
        let (mut context, mut target) = (Vec::new(), Vec::new());
        let [steps, h, w] = canvas.tokens.grid;
        let area = h * w;
        let n = match self.video.of_frames() {
            true => steps_of(self.frames, strides[0])?,
            false => 0,
        };
        let clip = |range: std::ops::Range<usize>| range.start * area..range.end * area;
        match self.video {
            MaskSpec::Absent => {}
            MaskSpec::Target => target.extend(clip(0..steps)),
            MaskSpec::Context => context.extend(clip(0..steps)),
            MaskSpec::Image => target.extend(clip(0..1)),
            MaskSpec::First => {
                context.extend(clip(0..n));
                target.extend(clip(n..steps));
            }
            // The first of the last frames is given as an image. What its place stands for is more than that.
            MaskSpec::Last => {
                context.extend(clip(steps - n..steps));
                target.extend(clip(0..steps - n + 1));
            }
            MaskSpec::Ends => {
                context.extend(clip(0..n));
                context.extend(clip(steps - n..steps));
                target.extend(clip(n..steps - n + 1));
            }
            MaskSpec::Outside | MaskSpec::Inside => {
                let touched = mask.map(|mask| touched(mask, [steps, h, w], strides)).unwrap_or_default();
                let (to_make, known): (Vec<_>, Vec<_>) =
                    clip(0..steps).partition(|&position| touched.get(position) != Some(&false));
                context.extend(known);
                target.extend(to_make);
            }
        }
        if let Some(sound) = canvas.sound {
            let all = canvas.range(Modality::Audio);
            let (start, end, n) = (all.start, all.end, (self.frames * sound.tokens_per_frame).min(all.len()));
            match self.audio {
                MaskSpec::Target => target.extend(all),
                MaskSpec::Context => context.extend(all),
                MaskSpec::First => {
                    context.extend(start..start + n);
                    target.extend(start + n..end);
                }
                MaskSpec::Last => {
                    context.extend(end - n..end);
                    target.extend(start..end - n);
                }
                MaskSpec::Ends => {
                    context.extend((start..start + n).chain(end - n..end));
                    target.extend(start + n..end - n);
                }
                _ => {}
            }
        }
        canvas.sort(&mut context);
        // What the order follows is of the medium that goes on: a sound that is given whole says none.
        let first = |modality, positions: &[usize]| {
            positions
                .iter()
                .filter(|&&position| canvas.modality(position) == modality)
                .map(|&position| canvas.step(position))
                .min()
        };
        let media = [Modality::Video, Modality::Audio].into_iter();
        let known = media.filter(|&modality| first(modality, &target).is_some()).find_map(|m| first(m, &context));
        canvas.sort_from(known, &mut target);
        Ok(Layout::new(context, target))
    }

    /// What was made, and in it what was given where it was given, to the pixel. What was given is as `clips` of
    /// [`Task::context_tokens`].
    pub fn finish(&self, context: &Clip, generated: &Clip, mask: Option<&Mask>) -> Clip {
        let (n, frames) = (self.frames, generated.frames());
        let mut all = generated.clone();
        let size = generated.pixels().len() / frames;
        let mut put = |at: usize, clip: Clip| {
            all.pixels_mut()[at * size..(at + clip.frames()) * size].copy_from_slice(clip.pixels());
        };
        let (first, last) = (|| context.slice(0..n), || context.slice(context.frames() - n..context.frames()));
        match (self.video, mask) {
            (MaskSpec::Context, _) => put(0, context.clone()),
            (MaskSpec::First, _) => put(0, first()),
            (MaskSpec::Last, _) => put(frames - n, last()),
            (MaskSpec::Ends, _) => {
                put(0, first());
                put(frames - n, last());
            }
            (MaskSpec::Outside | MaskSpec::Inside, Some(mask)) => return mask.paste(context, generated),
            _ => {}
        }
        all
    }

    /// The mask of a training sample of this task, where it has one.
    pub fn draw(&self, clip: [usize; 3], strides: [usize; 3], stream: &mut Stream) -> Option<Mask> {
        self.video.has_region().then(|| Mask::drawn(self, clip, strides, stream))
    }

    /// Whether what is given has other tokens than the whole has at its places, so that it has to be encoded by itself.
    pub fn encodes(&self) -> bool {
        [self.video, self.audio].into_iter().any(|share| share.has_context() && !share.begins())
    }
}

impl std::fmt::Display for Task {
    /// What is given and what is made, in words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let frames = if self.frames == 1 { "frame".to_owned() } else { format!("{} frames", self.frames) };
        let (mut context, mut target) = (vec!["a prompt".to_owned()], Vec::new());
        for (share, what) in [(self.video, "clip"), (self.audio, "sound")] {
            match share {
                MaskSpec::Absent => {}
                MaskSpec::Target => target.push(format!("the {what}")),
                MaskSpec::Context => context.push(format!("the {what}")),
                MaskSpec::Image => target.push("an image".into()),
                MaskSpec::First | MaskSpec::Last | MaskSpec::Ends => {
                    let which = match share {
                        MaskSpec::First => format!("first {frames}"),
                        MaskSpec::Last => format!("last {frames}"),
                        _ => format!("first and last {frames}"),
                    };
                    context.push(format!("the {what} of the {which}"));
                    target.push(format!("the rest of the {what}"));
                }
                MaskSpec::Outside => {
                    context.push("a clip but for a region".into());
                    target.push("the region".into());
                }
                MaskSpec::Inside => {
                    context.push("a region of a clip".into());
                    target.push("what lies around it".into());
                }
            }
        }
        write!(f, "from {} it makes {}", context.join(" and "), target.join(" and "))
    }
}

/// How many steps of the grid so many frames are.
fn steps_of(frames: usize, stride: usize) -> Result<usize, ConfigError> {
    if (frames - 1).is_multiple_of(stride) {
        return Ok((frames - 1) / stride + 1);
    }
    let fitting = (frames - 1) / stride * stride + 1;
    let message = format!("{frames} frames are no whole number of tokens, of which each after the first has {stride}");
    Err(ConfigError::new("frames", message, format!("set `frames = {fitting}` or {}", fitting + stride)))
}

/// The tokenizers that what is given is encoded with.
pub struct Encoders<'a> {
    /// Of clips.
    pub video: &'a dyn Tokenizer,
    /// Of sounds, where the canvas has any.
    pub audio: Option<&'a dyn Tokenizer>,
}

impl Task {
    /// The tokens at the places of `layout` that are given, of each sample, from what `clips` and `sounds` show there;
    /// what is to be made is not looked at. Media that are not given may be missing.
    ///
    /// # Errors
    /// As encoding.
    pub fn context_tokens(
        &self,
        canvas: &CanvasShape,
        encoders: &Encoders,
        layout: &Layout,
        mask: Option<&Mask>,
        clips: &[Clip],
        sounds: &[Sound],
    ) -> Result<Vec<Values>> {
        let mut all = vec![canvas.blank(); clips.len().max(sounds.len())];
        let stride = encoders.video.spec().strides[0];
        for (piece, step) in self.clips(canvas, stride, clips, mask) {
            let at = canvas.range(Modality::Video).start + step * canvas.tokens.grid[1] * canvas.tokens.grid[2];
            for (all, tokens) in all.iter_mut().zip(encoders.video.encode_all(&piece)?) {
                all.lay(canvas, at, &tokens)?;
            }
        }
        if let Some(audio) = encoders.audio {
            let hop = audio.spec().strides[0];
            for (piece, token) in self.sounds(canvas, hop, sounds) {
                for (all, tokens) in all.iter_mut().zip(audio.encode_all(&piece)?) {
                    all.lay(canvas, canvas.range(Modality::Audio).start + token, &tokens)?;
                }
            }
        }
        Ok(all.into_iter().map(|all| all.at(layout.context(), canvas)).collect())
    }

    /// What is given of the clips, each piece with the step of the grid at which its tokens lie.
    fn clips(
        &self,
        canvas: &CanvasShape,
        stride: usize,
        clips: &[Clip],
        mask: Option<&Mask>,
    ) -> Vec<(Vec<Media>, usize)> {
        let cut = |of: &dyn Fn(&Clip) -> Clip| clips.iter().map(|clip| Media::Clip(of(clip))).collect::<Vec<_>>();
        let (n, steps) = (self.frames, canvas.tokens.grid[0]);
        let first = || (cut(&|clip| clip.slice(0..n)), 0);
        let last = || (cut(&|clip| clip.slice(clip.frames() - n..clip.frames())), steps - 1 - (n - 1) / stride);
        match (self.video, mask) {
            (MaskSpec::Context, _) => vec![(cut(&Clip::clone), 0)],
            (MaskSpec::First, _) => vec![first()],
            (MaskSpec::Last, _) => vec![last()],
            (MaskSpec::Ends, _) => vec![first(), last()],
            (MaskSpec::Outside | MaskSpec::Inside, Some(mask)) => vec![(cut(&|clip| mask.cover(clip)), 0)],
            _ => Vec::new(),
        }
    }

    /// What is given of the sounds, each piece with the token at which it begins.
    fn sounds(&self, canvas: &CanvasShape, hop: usize, sounds: &[Sound]) -> Vec<(Vec<Media>, usize)> {
        let Some(sound) = canvas.sound else { return Vec::new() };
        let tokens = sound.tokens.length();
        let n = (self.frames * sound.tokens_per_frame).min(tokens);
        let first = |n: usize| {
            let piece = |sound: &Sound| Media::Sound(sound.slice(0..(n * hop).min(sound.length())));
            (sounds.iter().map(piece).collect::<Vec<_>>(), 0)
        };
        let last = || {
            let piece = |sound: &Sound| {
                let length = sound.length();
                Media::Sound(sound.slice(length - (n * hop).min(length)..length))
            };
            (sounds.iter().map(piece).collect::<Vec<_>>(), tokens - n)
        };
        match self.audio {
            MaskSpec::Context => vec![first(tokens)],
            MaskSpec::First => vec![first(n)],
            MaskSpec::Last => vec![last()],
            MaskSpec::Ends => vec![first(n), last()],
            _ => Vec::new(),
        }
    }
}
