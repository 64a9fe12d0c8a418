//! A canvas that the ABI has words for: the tokens of a clip, all of which are generated from a prompt of words.

use super::values_of;
use crate::ask::Canvas;
use crate::wrong;
use musiva_core::canvas::{Conditioning, LevelPattern, PAD, TokenBatch};
use musiva_core::{CanvasShape, ConfigError, Modality, Result, TokenKind};
use std::ops::Range;

/// Such a canvas.
#[derive(Clone, Debug)]
pub struct ClipCanvas {
    /// In the words of the ABI.
    pub words: Canvas,
    /// The track of the clip.
    pub video: usize,
    /// That of the prompt.
    text: usize,
    /// The positions of the clip.
    clip: Range<usize>,
    /// Those of the prompt.
    prompt: Range<usize>,
}

impl ClipCanvas {
    /// Reads a canvas.
    ///
    /// # Errors
    /// Where the ABI has no words for it.
    pub fn of(canvas: &CanvasShape) -> Result<Self, ConfigError> {
        let refused = |has: String, hint: String| {
            let message = format!("a plugin's backbone makes clips from prompts; this recipe has {has}");
            Err(ConfigError::new("kind", message, format!("{hint}, or name a built-in backbone")))
        };
        let (mut video, mut text) = (None, None);
        for (index, track) in canvas.tracks.iter().enumerate() {
            let slot = match track.modality {
                Modality::Audio => return refused("sound".into(), "leave `[tokenizer.audio]` out".into()),
                Modality::Video => &mut video,
                Modality::Text => &mut text,
            };
            if slot.replace(index).is_some() {
                let name = &track.name;
                return refused(format!("one more track, `{name}`"), format!("leave `[track.{name}]` out"));
            }
            let is_text = track.modality == Modality::Text;
            if is_text && track.target {
                return refused("tasks that generate text".into(), "leave these out".into());
            }
            if !is_text && track.context {
                return refused("tasks with more given".into(), "leave these out".into());
            }
        }
        let Some(video) = video else {
            return refused("no clips".into(), "add `[tokenizer.video]`".into());
        };
        let (text, words) = match text.map(|text| (text, canvas.tracks[text].tokens.kind)) {
            Some((text, TokenKind::Codes { levels: 1, entries, .. })) => (text, entries),
            other => {
                let (found, hint) = match other {
                    Some((_, kind)) => (format!("text tokenizer makes {kind}"), "set `tokenizer.text.kind = \"bpe\"`"),
                    None => ("prompts have no tokenizer".to_owned(), "add `[tokenizer.text]`"),
                };
                let message = format!("a plugin's backbone reads prompts as words; this recipe's {found}");
                return Err(ConfigError::new("kind", message, format!("{hint}, or name a built-in backbone")));
            }
        };
        let track = &canvas.tracks[video];
        if track.pattern() != LevelPattern::Parallel || track.factors != 1 {
            let name = &track.name;
            let message = format!("a plugin's backbone reads a token at each place; those of `{name}` are taken apart");
            let hint = format!("delete `track.{name}.pattern`, or name a built-in backbone");
            return Err(ConfigError::new("kind", message, hint));
        }
        let entries = match track.tokens.kind {
            TokenKind::Codes { levels: 1, entries, .. } => entries,
            // The ABI knows codes of one codebook.
            TokenKind::Codes { .. } | TokenKind::Vectors { .. } => 0,
        };
        let (clip, prompt) = (canvas.range(video), canvas.range(text));
        let words = Canvas {
            prompt: prompt.len() as i64,
            words: words as i64,
            grid: track.tokens.grid.map(|side| side as i64),
            entries: entries as i64,
            channels: track.tokens.kind.channels().unwrap_or(0) as i64,
        };
        Ok(Self { words, video, text, clip, prompt })
    }

    /// How many tokens the clip has.
    pub fn length(&self) -> usize {
        self.clip.len()
    }

    /// How many words the prompt has.
    pub fn prompt(&self) -> usize {
        self.prompt.len()
    }

    /// Prompts `[B, P]`, row after row; no word at all where a layout leaves them out.
    ///
    /// # Errors
    /// Where a layout is of more or of less than a whole clip from its prompt, which a plugin, here `id`, cannot see.
    pub fn prompts(&self, id: &str, conditioning: &Conditioning) -> Result<Vec<i64>> {
        let layout = &conditioning.layout;
        let is = |positions: &[usize], range: &Range<usize>| positions.iter().copied().eq(range.clone());
        let prompted = is(layout.context(), &self.prompt);
        if !is(layout.target(), &self.clip) || !(prompted || layout.context().is_empty()) {
            let message = "a plugin's backbone generates whole clips from prompts, and this task is of something else";
            return Err(wrong(id, message).hint("leave that task out, or name a built-in backbone"));
        }
        let side = [conditioning.size, self.prompt()];
        match conditioning.of_track(self.text) {
            None => Ok(vec![i64::from(PAD); side[0] * side[1]]),
            Some(TokenBatch::Codes(words)) if words.dims() == [side[0], side[1], 1] => Ok(values_of(words)),
            Some(_) => Err(wrong(id, "a plugin's backbone reads prompts as words, and these are none")),
        }
    }
}
