//! The canvas that tokens stand on, and whether tasks fit it.

use super::{Checker, Flow};
use crate::canvas::{Axes, CanvasShape, ConditionShape, LevelPattern, TrackShape};
use crate::dataset::FPS;
use crate::recipe::words::{choices, nearest};
use crate::recipe::{Bucket, Part, Recipe};
use crate::{ConfigError, DatasetConfig, MediaShape, Modality, Task, TokenKind, TokenizerSpec};
use std::sync::Arc;

/// Keys of `[[task]]`, and names that parameters have already.
const RESERVED: [&str; 14] = [
    "name", "frames", "seconds", "weight", "clip", "sound", "words", "prompt", "places", "given", "t", "h", "w",
    "start",
];

/// A canvas is no longer than this, whatever a recipe says: attention takes its square.
const LONGEST_CANVAS: usize = 1 << 24;

impl Checker<'_> {
    /// Whether the names of tables can be names of tracks and conditions, and those of tokenizers are names of tracks.
    pub(super) fn names(&mut self, recipe: &Recipe) {
        for (name, part) in recipe.further.iter().filter(|(name, _)| !recipe.tracks.contains_key(*name)) {
            let message = format!("it is for the track `{name}`, and there is none");
            let main = [Modality::Video, Modality::Audio, Modality::Text].map(Modality::track);
            let hint = match nearest(name, recipe.tracks.keys().map(String::as_str).chain(main)) {
                Some(meant) => format!("did you mean `[tokenizer.{meant}]`?"),
                None => format!("add `[track.{name}]`, or delete `[{}]`", part.path),
            };
            self.add(&part.path, &ConfigError::new("", message, hint));
        }
        let tracks = recipe.tracks.keys().map(|name| ("track", name));
        let conditions = recipe.conditions.keys().map(|name| ("condition", name));
        for (table, name) in tracks.chain(conditions).collect::<Vec<_>>() {
            let letters = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
            let plain = name.starts_with(|c: char| c.is_ascii_lowercase()) && name.chars().all(letters);
            let message = if RESERVED.contains(&&**name) {
                format!("`{name}` has a meaning of its own")
            } else if !plain || name.len() > 32 {
                format!("{name:?} is no name: small letters, digits and underscores, 32 at most")
            } else {
                continue;
            };
            let key = toml_edit::Key::new(name).to_string();
            let hint = format!(
                "call it by another name, such as `[{table}.my_{table}]`, with `from = {name:?}` if it is a stream"
            );
            self.add(table, &ConfigError::new(key.trim(), message, hint));
        }
    }

    /// The canvas: a track for the tokens of each medium.
    pub(super) fn canvas(&mut self, recipe: &Recipe, flow: &Flow) -> Option<CanvasShape> {
        let mut tracks = Vec::new();
        if let (Some(tokens), Some(MediaShape::Clip { rate, .. })) = (flow.video, flow.clip) {
            let strides = recipe.video.as_ref()?.component.spec().strides;
            let seconds = strides[0] as f64 / rate.as_f64();
            tracks.push(TrackShape { strides, seconds, ..TrackShape::video(Modality::Video.track(), tokens) });
        }
        // A canvas has sound where there is something to make of it.
        let heard = recipe.backbone.is_some() || !recipe.tasks.is_empty();
        if let (Some(tokens), Some(MediaShape::Sound { rate, .. }), true) = (flow.audio, flow.sound, heard) {
            let strides = recipe.audio.as_ref()?.component.spec().strides;
            // How many tokens last as long as how many frames.
            let (ratio, stride) = match (flow.clip, tracks.first()) {
                (Some(MediaShape::Clip { rate: fps, .. }), Some(video)) => {
                    let tokens = u64::from(rate.numerator) * u64::from(fps.denominator);
                    let frames = strides[0] as u64 * u64::from(rate.denominator) * u64::from(fps.numerator);
                    ([tokens, frames], video.strides[0])
                }
                _ => ([1, 1], 1),
            };
            let seconds = strides[0] as f64 / rate.as_f64();
            let track = TrackShape::audio(Modality::Audio.track(), tokens, ratio, stride);
            tracks.push(TrackShape { strides, seconds, ..track });
        }
        self.streams(recipe, flow, &mut tracks)?;
        if let Some(tokens) = flow.text {
            tracks.push(TrackShape::text(Modality::Text.track(), tokens));
        }
        if tracks.is_empty() {
            return None;
        }
        for track in &mut tracks {
            if let TokenKind::Codes { entries, .. } = track.tokens.kind
                && u32::try_from(entries).is_err()
            {
                let message = format!("a codebook of {entries} entries does not fit 32-bit codes");
                let section = track.modality.section();
                self.add(section, &ConfigError::new("", message, "make the codebook smaller"));
                return None;
            }
            if track.modality == Modality::Text && track.tokens.kind.level_count().is_some_and(|levels| levels > 1) {
                let message = format!("it makes {}, a text is codes of one codebook, or vectors", track.tokens.kind);
                let hint = "name a text tokenizer that makes one of these";
                self.add("tokenizer.text", &ConfigError::new("", message, hint));
                return None;
            }
            if let Some(settings) = recipe.tracks.get(&track.name) {
                track.pattern = settings.pattern;
                if settings.pattern != LevelPattern::Parallel && track.pattern() == LevelPattern::Parallel {
                    let message =
                        format!("`{}` has {}, and a pattern needs several codebooks", track.name, track.tokens.kind);
                    let section = format!("track.{}", track.name);
                    self.add(&section, &ConfigError::new("pattern", message, "delete this key"));
                    return None;
                }
            }
            if let Some(part) = recipe.backbone.as_ref().filter(|_| track.modality != Modality::Text) {
                track.factors = part.component.factors();
            }
        }
        let order = recipe.backbone.as_ref().map_or_else(Default::default, |part| part.component.order());
        let conditions = self.conditions(recipe)?;
        let mut canvas = CanvasShape { tracks, order, conditions };
        let side = |track: &TrackShape| {
            let levels = track.tokens.kind.level_count().unwrap_or(1);
            track.tokens.grid.into_iter().chain([levels]).try_fold(1usize, usize::checked_mul)
        };
        let length = canvas.tracks.iter().try_fold(0usize, |length, track| length.checked_add(side(track)?));
        if length.is_none_or(|length| length > LONGEST_CANVAS) {
            let message = format!("the canvas would be longer than {LONGEST_CANVAS} tokens");
            self.add("data", &ConfigError::new("", message, "use smaller or shorter clips, or a stronger compression"));
            return None;
        }
        let tasks = match recipe.tasks.is_empty() {
            true => vec![Task::from_text(&canvas)],
            false => recipe.tasks.clone(),
        };
        for track in &mut canvas.tracks {
            track.context = tasks.iter().any(|task| task.spec(&track.name).has_context());
            track.target = tasks.iter().any(|task| task.spec(&track.name).has_target());
        }
        Some(canvas)
    }

    /// The canvases of the lengths and sizes that training draws from.
    pub(super) fn buckets(&mut self, recipe: &Recipe) -> Vec<Bucket> {
        let (Some(data), Some(backbone), Some(_)) = (&recipe.data, &recipe.backbone, &recipe.flow().canvas) else {
            return Vec::new();
        };
        let shapes = data.component.buckets();
        // Several datasets of one shape are buckets, too.
        let unlike = |(_, other): &(f64, Arc<dyn DatasetConfig>)| {
            [Modality::Video, Modality::Audio].iter().any(|&m| other.shape(m) != data.component.shape(m))
        };
        if shapes.iter().any(unlike) && backbone.component.lengths_are_fixed() {
            let message = "clips of several shapes, and this backbone learns a vector for each position of one";
            let hint = "set `backbone.positions = \"rotary\"`, or delete `data.shapes`";
            self.add("data", &ConfigError::new("shapes", message, hint));
            return Vec::new();
        }
        let mut buckets = Vec::new();
        for (weight, config) in shapes {
            let mut other = recipe.clone();
            other.data = Some(Part { component: config.clone(), ..data.clone() });
            let shape = |modality| config.shape(modality);
            let (clip, sound) = (shape(Modality::Video), shape(Modality::Audio));
            let mut flow = Flow { clip, sound, text: recipe.flow().text, ..Flow::default() };
            flow.video = self.tokens(&other, Modality::Video, clip);
            flow.audio = self.tokens(&other, Modality::Audio, sound);
            // What does not fit is said already.
            if flow.video.is_some() != recipe.flow().video.is_some()
                || flow.audio.is_some() != recipe.flow().audio.is_some()
            {
                return Vec::new();
            }
            let Some(canvas) = self.canvas(&other, &flow).map(Arc::new) else { return Vec::new() };
            self.check_tasks(&other, &canvas, canvas.frames());
            buckets.push(Bucket { weight, data: config, canvas });
        }
        buckets
    }

    /// The numbers that samples are conditioned on.
    fn conditions(&mut self, recipe: &Recipe) -> Option<Vec<ConditionShape>> {
        let mut all = Vec::new();
        for (name, settings) in &recipe.conditions {
            let section = format!("condition.{name}");
            // `data.fps` is how a recipe calls the key that says it.
            let from = settings.from.as_deref().unwrap_or(name);
            let from = from.strip_prefix("data.").unwrap_or(from);
            let [low, high] = settings.range;
            if low >= high || !(high - low).is_finite() {
                let message = format!("{low} to {high} is no range: expected [low, high]");
                let hint = match low > high && (low - high).is_finite() {
                    true => format!("set `range = [{high:?}, {low:?}]`"),
                    false => "set `range = [0.0, 60.0]`".to_owned(),
                };
                self.add(&section, &ConfigError::new("range", message, hint));
                return None;
            }
            let data = recipe.data.as_ref().filter(|_| self.clean("data"))?;
            if let (FPS, Some(MediaShape::Clip { rate, .. })) = (from, data.component.shape(Modality::Video))
                && !(low..=high).contains(&rate.as_f64())
            {
                let message = format!("the data have {rate} frames a second, which is not from {low} to {high}");
                let hint = format!("set `range = [{:?}, {:?}]`", low.min(rate.as_f64()), high.max(rate.as_f64()));
                self.add(&section, &ConfigError::new("range", message, hint));
                return None;
            }
            let clips = data.component.shape(Modality::Video).is_some();
            if !(data.component.numbers().contains(&from) || (from == FPS && clips)) {
                let known: Vec<&str> =
                    clips.then_some(FPS).into_iter().chain(data.component.numbers().iter().copied()).collect();
                let message = format!("dataset `{}` has no number `{from}`", data.kind);
                let hint = match (nearest(from, known.iter().copied()), known.is_empty()) {
                    (Some(meant), _) => format!("set `from = \"{meant}\"`"),
                    (None, true) => format!("delete `[{section}]`"),
                    (None, false) => format!("set `from` to {}", choices(&known, '"', "or")),
                };
                self.add(&section, &ConfigError::new("from", message, hint));
                return None;
            }
            if let Some(part) = recipe.backbone.as_ref().filter(|_| self.clean("backbone"))
                && !part.component.routes().contains(&settings.route)
            {
                let routes: Vec<&str> = part.component.routes().iter().map(|route| route.word()).collect();
                let message = format!("`{}` does not support `route = \"{}\"`", part.kind, settings.route.word());
                let hint = match routes.first() {
                    Some(first) => format!("set `route = \"{first}\"`; it takes {}", choices(&routes, '"', "or")),
                    None => format!("delete `[{section}]`, or name another backbone"),
                };
                self.add(&section, &ConfigError::new("route", message, hint));
                return None;
            }
            all.push(ConditionShape {
                name: name.clone(),
                from: from.to_owned(),
                route: settings.route,
                range: settings.range,
                dropout: settings.dropout,
            });
        }
        Some(all)
    }

    /// The tracks of further streams of the data.
    fn streams(&mut self, recipe: &Recipe, flow: &Flow, tracks: &mut Vec<TrackShape>) -> Option<()> {
        for (name, settings) in &recipe.tracks {
            let main = [Modality::Video, Modality::Audio, Modality::Text].map(Modality::track);
            if main.contains(&&**name) {
                if recipe.tokenizer_of_track(name).is_none() {
                    let message = format!("the canvas has no `{name}`: there is no `[tokenizer.{name}]`");
                    let hint = format!("add `[tokenizer.{name}]`, or delete `[track.{name}]`");
                    self.add(&format!("track.{name}"), &ConfigError::new("", message, hint));
                } else if let Some(from) = settings.from.as_ref().filter(|from| *from != name) {
                    let message = format!("`{name}` holds the data's own {name}, not `{from}`");
                    let hint = format!("delete this key, and add `[track.{from}]`");
                    self.add(&format!("track.{name}"), &ConfigError::new("from", message, hint));
                }
                continue;
            }
            let section = format!("track.{name}");
            let from = settings.from.as_deref().unwrap_or(name);
            let data = recipe.data.as_ref().filter(|_| self.clean("data"))?;
            let media = self.placed("data", "data", data.component.stream(from))?;
            let (
                Some(main),
                MediaShape::Clip { height, width, rate, .. },
                Some(MediaShape::Clip { height: h, width: w, .. }),
            ) = (recipe.video.as_ref().map(|part| part.component.spec()), media, flow.clip)
            else {
                let message = format!(
                    "`{from}` is a stream of {}, and the recipe has no `[tokenizer.video]`",
                    media.modality().plural()
                );
                self.add(&section, &ConfigError::new("from", message, "add `[tokenizer.video]`"));
                return None;
            };
            let part = recipe.tokenizer_of_track(name)?;
            if !self.modality(part, Modality::Video) {
                return None;
            }
            let tokens = self.placed(&section, &section, part.component.shape(&media))?;
            let spec = part.component.spec();
            let strides = spec.strides;
            if (strides[0], spec.causal) != (main.strides[0], main.causal) {
                let each = |spec: &TokenizerSpec| {
                    let causal = if spec.causal { "causal" } else { "not causal" };
                    format!("{} frames a token, {causal}", spec.strides[0])
                };
                let message = format!("{}, and `tokenizer.video` has {}", each(&spec), each(&main));
                let hint = "name a tokenizer with as many frames a token: all clips of a canvas share its steps";
                self.add(&part.path, &ConfigError::new("", message, hint));
                return None;
            }
            let scale = [h as f64 / height as f64, w as f64 / width as f64];
            let seconds = strides[0] as f64 / rate.as_f64();
            let (from, track) = (from.to_owned(), TrackShape::video(name, tokens));
            tracks.push(TrackShape { from, axes: Axes::Grid { scale }, strides, seconds, ..track });
        }
        Some(())
    }

    pub(super) fn check_tasks(&mut self, recipe: &Recipe, canvas: &Arc<CanvasShape>, frames: usize) {
        for (index, task) in recipe.tasks.iter().enumerate() {
            let mut errors = task.errors(canvas, frames);
            if recipe.tasks[..index].iter().any(|other| other.name == task.name) {
                errors.push(ConfigError::new(
                    "name",
                    format!("there are two tasks called `{}`", task.name),
                    "rename one",
                ));
            }
            if errors.is_empty() {
                errors.extend(task.layout(canvas, None).err());
            }
            errors.iter().for_each(|error| self.add(&format!("task.{index}"), error));
        }
        if !recipe.tasks.is_empty() && recipe.tasks.iter().all(|task| task.weight == 0.0) {
            self.add("task.0", &ConfigError::new("weight", "no task is ever drawn", "set `weight = 1.0`"));
        }
    }

    pub(super) fn check_program(&mut self, recipe: &Recipe) {
        // Without a canvas or tasks in order it would only repeat what is wrong with these.
        if let (Some(program), Ok(tasks), true, Some(MediaShape::Clip { frames, rate, .. })) =
            (&recipe.program, recipe.need_tasks(), self.clean("task"), recipe.flow().clip)
        {
            self.errors("program", Some(program.component.errors(&tasks, frames as f64 / rate.as_f64())));
        }
    }
}
