//! Tasks: what of each track is context, and what is to be generated. `[[task]]` in a recipe.
//!
//! A task is data: a map from track to [`MaskSpec`]. What a mask spec means is said once, by [`MaskSpec::divide`]: which
//! steps of a track are context and which are target. The [`Layout`], what the tokenizers see of media, and how a program
//! reads what a user brings follow from it. Training cuts its samples by the same functions as generating cuts what a
//! user brings, so a model is asked for nothing that it was not trained on.

#[cfg(test)]
mod given_tests;
mod mask;
#[cfg(test)]
mod tests;

pub use mask::Mask;

use crate::canvas::{CanvasShape, Layout, TrackShape, Values};
use crate::{Clip, ConfigError, Error, ErrorKind, Media, Modality, Result, Stream, Tokenizer};
use mask::touched;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;

/// How much of a track is given.
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
    /// The first `frames`, or `seconds`, are context.
    First,
    /// The last `frames`, or `seconds`, are context.
    Last,
    /// The first `frames`, or `seconds`, and the last are context.
    Ends,
    /// Of a clip what lies outside of a region is context.
    Outside,
    /// Of a clip what lies inside of a region is context.
    Inside,
    /// Of a clip only the first frame is generated.
    Image,
}

impl MaskSpec {
    /// Whether any of it is generated.
    pub fn has_target(self) -> bool {
        !matches!(self, Self::Absent | Self::Context)
    }

    /// Whether any of it is given.
    pub fn has_context(self) -> bool {
        !matches!(self, Self::Absent | Self::Target | Self::Image)
    }

    /// Whether it counts frames or seconds.
    pub fn has_ends(self) -> bool {
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

    /// Which of `length` steps are context, and which are to be generated, where `n` are given at an end. Of a `clip` what
    /// is given at its end begins with an image, and its first step there stands for more than that: it is both.
    ///
    /// Of a spec with a region all are to be generated: its mask says which are not.
    pub fn divide(self, length: usize, n: usize, clip: bool) -> Parts {
        let n = n.min(length);
        let (last, rest) = (length - n, length - n + usize::from(clip && n > 0));
        let one = |range: Range<usize>| vec![range];
        let [context, target] = match self {
            Self::Absent => [vec![], vec![]],
            Self::Target | Self::Outside | Self::Inside => [vec![], one(0..length)],
            Self::Context => [one(0..length), vec![]],
            Self::Image => [vec![], one(0..1)],
            Self::First => [one(0..n), one(n..length)],
            Self::Last => [one(last..length), one(0..rest)],
            Self::Ends => [vec![0..n, last..length], one(n..rest)],
        };
        Parts { context, target }
    }
}

/// Which steps of a track are context, and which are to be generated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Parts {
    /// Context.
    pub context: Vec<Range<usize>>,
    /// To be generated.
    pub target: Vec<Range<usize>>,
}

/// One of the tasks of a recipe: `[[task]]`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// What it is called.
    #[schemars(length(min = 1))]
    pub name: String,
    /// How many frames, for "first", "last" and "ends".
    #[serde(default = "one")]
    #[schemars(range(min = 1))]
    pub frames: usize,
    /// How many seconds, for "first", "last" and "ends", instead of `frames`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.001, max = 3600.0))]
    pub seconds: Option<f64>,
    /// How often training draws it, relative to the others.
    #[serde(default = "often")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub weight: f64,
    /// For each track by its name what of it is context, and what is generated. A track that is not named is absent, but
    /// for the prompt, `text`, which is context.
    #[serde(flatten)]
    pub tracks: BTreeMap<String, MaskSpec>,
}

fn one() -> usize {
    1
}

fn often() -> f64 {
    1.0
}

/// Media for the tracks of a canvas, by name: one for each sample.
pub type TrackMedia = BTreeMap<String, Vec<Media>>;

/// The tokenizers of the tracks, by name.
pub type Encoders<'a> = BTreeMap<String, &'a dyn Tokenizer>;

impl Task {
    /// A task of some tracks.
    pub fn new<const N: usize>(name: &str, tracks: [(&str, MaskSpec); N]) -> Self {
        let tracks = tracks.into_iter().map(|(track, spec)| (track.to_owned(), spec)).collect();
        Self { name: name.to_owned(), frames: 1, seconds: None, weight: 1.0, tracks }
    }

    /// The task of a recipe that names none: all that is no text, from a prompt.
    pub fn from_text(canvas: &CanvasShape) -> Self {
        let has = |modality| canvas.tracks.iter().any(|track| track.modality == modality);
        let name = match (has(Modality::Video), has(Modality::Audio)) {
            (true, true) => "text-to-video-with-sound",
            (false, true) => "text-to-audio",
            _ => "text-to-video",
        };
        let media = canvas.tracks.iter().filter(|track| track.modality != Modality::Text);
        Self { tracks: media.map(|track| (track.name.clone(), MaskSpec::Target)).collect(), ..Self::new(name, []) }
    }

    /// How much of a track is given.
    pub fn spec(&self, track: &str) -> MaskSpec {
        match self.tracks.get(track) {
            Some(spec) => *spec,
            None if track == Modality::Text.track() => MaskSpec::Context,
            None => MaskSpec::Absent,
        }
    }

    /// Whether anything is given beside the prompt.
    pub fn has_context(&self) -> bool {
        self.tracks.iter().any(|(track, spec)| track != Modality::Text.track() && spec.has_context())
    }

    /// What is wrong with it on such a canvas, of clips of so many frames.
    pub fn errors(&self, canvas: &CanvasShape, frames: usize) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let mut error = |path: &str, message: String, hint: String| errors.push(ConfigError::new(path, message, hint));
        let main = canvas.tracks.iter().find(|track| track.modality != Modality::Text).map_or("video", |t| &t.name);
        if !self.tracks.values().any(|spec| spec.has_target()) {
            error(main, format!("`{}` generates nothing", self.name), format!("set `{main} = \"target\"`"));
        }
        for (name, &spec) in &self.tracks {
            let Some(track) = canvas.track(name) else {
                if spec != MaskSpec::Absent {
                    let message = format!("`{}` names the track `{name}`, which the canvas does not have", self.name);
                    let hint = match &**name {
                        "video" | "audio" | "text" => format!("add `[tokenizer.{name}]`, or delete `{name}`"),
                        _ => {
                            let tracks: Vec<_> =
                                canvas.tracks.iter().map(|track| format!("`{}`", track.name)).collect();
                            format!("name one of {}, or add `[track.{name}]`", tracks.join(", "))
                        }
                    };
                    error(name, message, hint);
                }
                continue;
            };
            let only = match track.modality {
                Modality::Video if spec.has_region() && name != Modality::Video.track() => {
                    "regions are supported for `video` only"
                }
                Modality::Video => continue,
                Modality::Audio if spec.has_region() || spec == MaskSpec::Image => "a sound has no region and no image",
                Modality::Text if spec.has_region() || spec == MaskSpec::Image || spec.has_ends() => {
                    "a text is context, target or absent as a whole"
                }
                _ => continue,
            };
            error(name, only.into(), format!("set `{name} = \"target\"`"));
        }
        if self.spec("video") == MaskSpec::Image && self.spec("audio") != MaskSpec::Absent {
            error("audio", "an image has no sound".into(), "delete `audio`, or set `video = \"target\"`".into());
        }
        if !errors.is_empty() {
            return errors;
        }
        let mut error = |path: &str, message: String, hint: String| errors.push(ConfigError::new(path, message, hint));
        let specs: Vec<(&TrackShape, MaskSpec)> = canvas
            .tracks
            .iter()
            .map(|track| (track, self.spec(&track.name)))
            .filter(|(_, spec)| spec.has_ends())
            .collect();
        let ends = if specs.iter().any(|(_, spec)| *spec == MaskSpec::Ends) { 2 } else { 1 };
        let clips = canvas.tracks.iter().any(|track| track.modality == Modality::Video);
        if specs.is_empty() {
            let unused = [("frames", self.frames != 1), ("seconds", self.seconds.is_some())];
            for (key, _) in unused.into_iter().filter(|(_, unused)| *unused) {
                let message = format!("no track of `{}` is \"first\", \"last\" or \"ends\"", self.name);
                error(key, message, "delete this key".into());
            }
        } else if let Some(seconds) = self.seconds {
            if self.frames != 1 {
                let message = format!("{} frames and {seconds} seconds are given", self.frames);
                error("seconds", message, "delete one of `frames` and `seconds`".into());
            }
            for (track, _) in specs {
                let whole = match track.modality {
                    Modality::Video => frames as f64 * track.seconds / track.strides[0] as f64,
                    _ => track.tokens.length() as f64 * track.seconds,
                };
                if ends as f64 * seconds >= whole {
                    let message =
                        format!("of {whole} s {} s are given: nothing is left to be generated", ends as f64 * seconds);
                    error("seconds", message, format!("set `seconds = {}`", whole / (2 * ends) as f64));
                    break;
                }
            }
        } else if !clips {
            let message = "without clips there are no frames to count".to_owned();
            error("frames", message, "set `seconds = 1.0`".into());
        } else if ends * self.frames >= frames {
            let message =
                format!("of {frames} frames {} are given: nothing is left to be generated", ends * self.frames);
            // The most that leave something, and are whole tokens of the clip.
            let video = canvas.track(Modality::Video.track()).filter(|track| self.spec(&track.name).has_ends());
            let stride = video.map_or(1, |track| track.strides[0]);
            let hint = match ((frames.max(1) - 1) / ends).checked_sub(1) {
                Some(most) => format!("set `frames = {}` or less", most / stride * stride + 1),
                None => "let the data have longer clips, or delete this task".to_owned(),
            };
            error("frames", message, hint);
        }
        errors
    }

    /// The part of a canvas that the task computes on: absent tracks take no positions, and what is context has no logits. What
    /// has both counts as target.
    pub fn part_of(&self, canvas: &CanvasShape) -> CanvasShape {
        let mut part = canvas.clone();
        part.tracks.retain(|track| self.spec(&track.name) != MaskSpec::Absent);
        for track in &mut part.tracks {
            let spec = self.spec(&track.name);
            track.target = spec.has_target();
            if spec == MaskSpec::Image {
                track.tokens.grid[0] = 1;
            }
        }
        part
    }

    /// How many samples are given at the beginning of a sound of such a canvas; 0 where it counts frames.
    pub fn samples_of(&self, canvas: &CanvasShape) -> usize {
        let track = canvas.tracks.iter().find(|track| track.modality == Modality::Audio);
        let steps =
            track.filter(|_| self.seconds.is_some()).and_then(|track| Some((track, self.steps_of(track, 0).ok()?)));
        steps.map_or(0, |(track, [first, _])| first * track.strides[0])
    }

    /// How many frames are given at an end of a clip of such a track.
    fn frames_of(&self, track: &TrackShape) -> usize {
        match self.seconds {
            Some(seconds) => ((seconds * track.strides[0] as f64 / track.seconds).round() as usize).max(1),
            None => self.frames,
        }
    }

    /// How many steps of a track are given at its beginning, and how many at its end.
    fn steps_of(&self, track: &TrackShape, frames: usize) -> Result<[usize; 2], ConfigError> {
        let length = track.tokens.grid[0];
        match track.modality {
            Modality::Video => match (steps_of(self.frames_of(track), track.strides[0]), self.seconds) {
                (Ok(n), _) => Ok([n; 2]),
                (Err(error), None) => Err(error),
                (Err(_), Some(seconds)) => {
                    let (stride, frame) = (track.strides[0], track.seconds / track.strides[0] as f64);
                    let fitting = (self.frames_of(track) - 1) / stride * stride + 1;
                    let message =
                        format!("{seconds} s are {} frames, no whole number of tokens", self.frames_of(track));
                    let hint = format!(
                        "set `seconds = {}` or `seconds = {}`",
                        fitting as f64 * frame,
                        (fitting + stride) as f64 * frame
                    );
                    Err(ConfigError::new("seconds", message, hint))
                }
            },
            Modality::Text => Ok([length; 2]),
            Modality::Audio => match self.seconds {
                Some(seconds) => Ok([((seconds / track.seconds).round() as usize).clamp(1, length); 2]),
                None => {
                    let first = track.tokens_of(self.frames).min(length);
                    Ok([first, length - track.tokens_of(frames.saturating_sub(self.frames)).min(length)])
                }
            },
        }
    }

    /// What of a track is context, and what is to be generated.
    fn parts(&self, canvas: &CanvasShape, track: &TrackShape) -> Result<Parts, ConfigError> {
        let spec = self.spec(&track.name);
        let n = match spec.has_ends() {
            true => self.steps_of(track, canvas.frames())?,
            false => [0; 2],
        };
        let n = if spec == MaskSpec::Last { n[1] } else { n[0] };
        Ok(spec.divide(track.tokens.grid[0], n, track.modality == Modality::Video))
    }

    /// Where tokens are given and where they are generated. A task with a region has a mask.
    ///
    /// # Errors
    /// At `frames` or `seconds`, where that much is not a whole number of tokens.
    pub fn layout(&self, canvas: &Arc<CanvasShape>, mask: Option<&Mask>) -> Result<Layout, ConfigError> {
        let (mut context, mut target) = (Vec::new(), Vec::new());
        for (index, track) in canvas.tracks.iter().enumerate() {
            let (spec, range) = (self.spec(&track.name), canvas.range(index));
            let area = track.tokens.grid[1] * track.tokens.grid[2];
            let positions = |steps: &Range<usize>| range.start + steps.start * area..range.start + steps.end * area;
            let parts = self.parts(canvas, track)?;
            context.extend(parts.context.iter().flat_map(positions));
            let generated = parts.target.iter().flat_map(positions);
            match mask.filter(|_| spec.has_region()) {
                Some(mask) => {
                    let touched = touched(mask, track.tokens.grid, track.strides);
                    let (inside, outside): (Vec<_>, Vec<_>) =
                        generated.partition(|position| touched[position - range.start]);
                    context.extend(outside);
                    target.extend(inside);
                }
                None => target.extend(generated),
            }
        }
        canvas.sort(&mut context);
        // What the order follows is of the medium that goes on: a sound that is given whole says none.
        let first = |track: usize, positions: &[usize]| {
            let range = canvas.range(track);
            positions.iter().filter(|position| range.contains(position)).map(|&position| canvas.step(position)).min()
        };
        let media = (0..canvas.tracks.len()).filter(|&track| canvas.tracks[track].modality != Modality::Text);
        let mut generated = media.filter(|&track| first(track, &target).is_some());
        let known = generated.find_map(|track| first(track, &context));
        canvas.sort_from(known, &mut target);
        Ok(Layout::new(canvas, context, target))
    }

    /// What was generated, and in it what was given where it was given, to the pixel. What was given is as the clips of
    /// [`Task::lay_context`].
    pub fn finish(&self, context: &Clip, generated: &Clip, mask: Option<&Mask>) -> Clip {
        let (n, frames) = (self.frames_at(generated), generated.frames());
        let mut all = generated.clone();
        let size = generated.pixels().len() / frames;
        let mut put = |at: usize, clip: Clip| {
            all.pixels_mut()[at * size..(at + clip.frames()) * size].copy_from_slice(clip.pixels());
        };
        let (first, last) = (|| context.slice(0..n), || context.slice(context.frames() - n..context.frames()));
        match (self.spec("video"), mask) {
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

    /// How many frames are given at an end of a clip of such a rate.
    pub fn frames_at(&self, clip: &Clip) -> usize {
        match self.seconds {
            Some(seconds) => ((seconds * clip.rate().as_f64()).round() as usize).max(1),
            None => self.frames,
        }
    }

    /// The mask of a training sample of this task, where it has one.
    pub fn draw(&self, clip: [usize; 3], strides: [usize; 3], stream: &mut Stream) -> Option<Mask> {
        self.spec("video").has_region().then(|| Mask::drawn(self, clip, strides, stream))
    }

    /// Whether what is given has other tokens than the whole has at its positions, so that it has to be encoded by itself.
    pub fn encodes(&self) -> bool {
        self.tracks.values().any(|spec| spec.has_context() && !spec.begins())
    }

    /// Lays the tokens of what the tracks' media give of themselves over the whole canvases of samples; what is to be
    /// generated is not looked at. Of `changed` only those that are not what the whole has at their positions.
    ///
    /// # Errors
    /// Where media that are given are missing, and as encoding.
    pub fn lay_context(
        &self,
        canvas: &CanvasShape,
        encoders: &Encoders,
        mask: Option<&Mask>,
        media: &TrackMedia,
        changed: bool,
        samples: &mut [Values],
    ) -> Result<()> {
        for (index, track) in canvas.tracks.iter().enumerate() {
            let spec = self.spec(&track.name);
            if !spec.has_context() || (changed && spec.begins()) {
                continue;
            }
            let missing = |what: String| Error::new(ErrorKind::Media, &track.name, format!("`{}` {what}", self.name));
            let encoder = encoders.get(&track.name).ok_or_else(|| missing("has no tokenizer for it".into()))?;
            let media = media.get(&track.name).map_or(&[][..], |media| media);
            if media.len() != samples.len() {
                let what = track.modality.plural();
                return Err(missing(format!("requires {} {what}, there are {}", samples.len(), media.len())));
            }
            let area = track.tokens.grid[1] * track.tokens.grid[2];
            for (piece, step) in self.pieces(canvas, track, mask, media)? {
                for (sample, tokens) in samples.iter_mut().zip(encoder.encode_all(&piece)?) {
                    if track.modality == Modality::Text {
                        tokens.fitting(&track.tokens)?;
                    }
                    sample.lay(index, step * area, &tokens)?;
                }
            }
        }
        Ok(())
    }

    /// What is given of a track's media, each piece with the step of its grid at which its tokens lie.
    fn pieces(
        &self,
        canvas: &CanvasShape,
        track: &TrackShape,
        mask: Option<&Mask>,
        media: &[Media],
    ) -> Result<Vec<(Vec<Media>, usize)>> {
        let spec = self.spec(&track.name);
        if let Some(mask) = mask.filter(|_| spec.has_region()) {
            let covered = |media: &Media| match media {
                Media::Clip(clip) => Media::Clip(mask.cover(clip)),
                other => other.clone(),
            };
            return Ok(vec![(media.iter().map(covered).collect(), 0)]);
        }
        let length = track.tokens.grid[0];
        let parts = self
            .parts(canvas, track)
            .map_err(|error| error.into_error(ErrorKind::Recipe, format!("task `{}`", self.name)))?;
        let piece = |steps: &Range<usize>| {
            let cut = |media: &Media| match media {
                Media::Clip(clip) => {
                    let n = match spec {
                        MaskSpec::Context => clip.frames(),
                        _ => self.frames_of(track).min(clip.frames()),
                    };
                    let start = if steps.start == 0 { 0 } else { clip.frames() - n };
                    Media::Clip(clip.slice(start..start + n))
                }
                Media::Sound(sound) => {
                    let n = (steps.len() * track.strides[0]).min(sound.length());
                    let start = if steps.start == 0 { 0 } else { sound.length() - n };
                    Media::Sound(sound.slice(start..start + n))
                }
                Media::Text(text) => Media::Text(text.clone()),
            };
            (media.iter().map(cut).collect(), steps.start)
        };
        debug_assert!(parts.context.iter().all(|steps| steps.end <= length));
        Ok(parts.context.iter().map(piece).collect())
    }
}

impl std::fmt::Display for Task {
    /// What is given and what is made, in words.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let stretch = match self.seconds {
            Some(seconds) => format!("{seconds} s"),
            None if self.frames == 1 => "frame".to_owned(),
            None => format!("{} frames", self.frames),
        };
        let (mut context, mut target) = (Vec::new(), Vec::new());
        if self.spec("text") == MaskSpec::Context {
            context.push("prompt".to_owned());
        }
        let known = [("video", "clip"), ("audio", "sound"), ("text", "caption")];
        let named = known.into_iter().filter(|(track, _)| self.tracks.contains_key(*track));
        let other = self.tracks.keys().map(|track| (&**track, &**track));
        let other = other.filter(|(track, _)| known.iter().all(|(known, _)| known != track));
        for (track, what) in named.chain(other) {
            match self.spec(track) {
                MaskSpec::Absent => {}
                MaskSpec::Context if track == "text" => {}
                MaskSpec::Target => target.push(what.to_owned()),
                MaskSpec::Context => context.push(what.to_owned()),
                MaskSpec::Image => target.push("image".into()),
                spec @ (MaskSpec::First | MaskSpec::Last | MaskSpec::Ends) => {
                    let which = match spec {
                        MaskSpec::First => format!("first {stretch}"),
                        MaskSpec::Last => format!("last {stretch}"),
                        _ => format!("first and last {stretch}"),
                    };
                    context.push(format!("{which} of the {what}"));
                    target.push(format!("rest of the {what}"));
                }
                MaskSpec::Outside => {
                    context.push(format!("{what} with a region masked"));
                    target.push("the region".into());
                }
                MaskSpec::Inside => {
                    context.push(format!("a region of the {what}"));
                    target.push("what lies around it".into());
                }
            }
        }
        if context.is_empty() {
            context.push("nothing".to_owned());
        }
        write!(f, "{} → {}", context.join(" + "), target.join(" + "))
    }
}

/// How many steps of the grid so many frames are.
fn steps_of(frames: usize, stride: usize) -> Result<usize, ConfigError> {
    if (frames - 1).is_multiple_of(stride) {
        return Ok((frames - 1) / stride + 1);
    }
    let fitting = (frames - 1) / stride * stride + 1;
    let message = format!("{frames} frames are no whole number of tokens: expected 1 + {stride}n");
    Err(ConfigError::new("frames", message, format!("set `frames = {fitting}` or {}", fitting + stride)))
}
