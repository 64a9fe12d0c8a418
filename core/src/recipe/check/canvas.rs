//! Whether tokens fit on a canvas, and tasks to it.

use super::Checker;
use crate::canvas::{CanvasShape, PositionOrder, PromptKind, SoundShape};
use crate::recipe::Recipe;
use crate::{ConfigError, MediaShape, TokenKind, TokenShape};

/// A canvas is no longer than this, whatever a recipe says: attention takes its square.
const LONGEST_CANVAS: usize = 1 << 24;

impl Checker<'_> {
    /// The canvas of a silent clip.
    pub(super) fn canvas(&mut self, recipe: &Recipe, tokens: TokenShape, text: TokenShape) -> Option<CanvasShape> {
        let Some(prompt) = PromptKind::of(text.kind) else {
            let message = format!("it makes {}, a canvas begins with codes or with vectors", text.kind);
            self.add("tokenizer.text", &ConfigError::new("", message, "name a text tokenizer that makes one of these"));
            return None;
        };
        if let TokenKind::Codes { entries, .. } = tokens.kind
            && u32::try_from(entries).is_err()
        {
            let message = format!("a codebook of {entries} entries does not fit 32-bit codes");
            self.add("tokenizer.video", &ConfigError::new("", message, "make the codebook smaller"));
            return None;
        }
        // Without a backbone nobody wants all levels of a place in one code.
        if recipe.backbone.is_some() && !fits(tokens.kind) {
            self.too_many_bits("tokenizer.video", tokens.kind);
            return None;
        }
        let mut sides = tokens.grid.into_iter().chain(text.grid);
        let length = sides.try_fold(1usize, usize::checked_mul);
        let order = PositionOrder::default();
        let canvas =
            CanvasShape { prompt: text.length(), text: prompt, tokens, sound: None, has_context: false, order };
        if length.is_none() || canvas.length() > LONGEST_CANVAS {
            let message = format!("the canvas would be longer than {LONGEST_CANVAS} tokens");
            self.add("data", &ConfigError::new("", message, "use smaller or shorter clips, or a stronger compression"));
            return None;
        }
        Some(canvas)
    }

    /// Where the tokens of a clip's sound lie, if a frame lasts for a whole number of them.
    pub(super) fn sound(
        &mut self,
        recipe: &Recipe,
        clip: &Option<MediaShape>,
        sound: &Option<MediaShape>,
        video: TokenShape,
        audio: TokenShape,
    ) -> Option<SoundShape> {
        let (Some(MediaShape::Clip { rate: fps, frames, .. }), Some(MediaShape::Sound { rate, .. })) = (clip, sound)
        else {
            return None;
        };
        let hop = recipe.audio.as_ref()?.component.spec().strides[0] as u64;
        let stride = recipe.video.as_ref()?.component.spec().strides[0];
        let parts = [("tokenizer.video", video.kind), ("tokenizer.audio", audio.kind)];
        if let Some((section, kind)) = parts.into_iter().find(|(_, kind)| !fits(*kind)) {
            self.too_many_bits(section, kind);
            return None;
        }
        // Samples of a frame, and how many samples of tokens as many frames have as it takes to be whole.
        let samples = u64::from(rate.numerator) * u64::from(fps.denominator);
        let frame = u64::from(rate.denominator) * u64::from(fps.numerator);
        let whole = samples.is_multiple_of(frame * hop);
        let tokens_per_frame = (samples / (frame * hop).max(1)) as usize;
        if whole && audio.length() == tokens_per_frame * frames {
            return Some(SoundShape { tokens: audio, tokens_per_frame, stride });
        }
        let seconds = samples as f64 / frame as f64;
        let message = format!("a frame lasts {seconds} samples, a token {hop}: that is no whole number of tokens");
        let nearest = (1..=samples / frame.max(1)).filter(|hop| samples.is_multiple_of(frame * hop));
        let hint = match nearest.min_by_key(|other| other.abs_diff(hop)) {
            Some(other) => format!("let the strides' product be {other}, or change `data.fps` or `data.sound`"),
            None => "change `data.fps` or `data.sound` so that a frame has a whole number of samples".to_owned(),
        };
        self.add("tokenizer.audio", &ConfigError::new("strides", message, hint));
        None
    }

    fn too_many_bits(&mut self, section: &str, kind: TokenKind) {
        let message = format!("a position of this canvas holds a code of 32 bits at most, this makes {kind}");
        self.add(
            section,
            &ConfigError::new("quantizer", message, "name a quantizer of codes with fewer levels or entries"),
        );
    }

    pub(super) fn check_tasks(&mut self, recipe: &Recipe, canvas: &CanvasShape, frames: usize) {
        let Some(video) = &recipe.video else { return };
        let strides = video.component.spec().strides;
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
                errors.extend(task.layout(canvas, strides, None).err());
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

/// Whether a place of a canvas can hold a token: a vector, or a code that, all its levels together, has 32 bits.
fn fits(kind: TokenKind) -> bool {
    matches!(kind, TokenKind::Vectors { .. }) || kind.entries().is_some_and(|entries| entries <= 1 << 32)
}
