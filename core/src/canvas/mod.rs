//! The canvas: the one sequence that backbones, samplers and objectives see.
//!
//! A prompt of `P` text tokens, then the tokens of the media. Where a token lies is its *place*: places are
//! numbered, those of the clip first, in C order of its grid, then those of its sound, in time. A [`Layout`] says
//! which places stand in a sequence: those whose tokens are given, then those whose tokens are to be made. So a
//! task is data: image to video, extension, inpainting and video to audio are different layouts of one canvas. No
//! special tokens tell parts and tasks apart, because each position is told its place.
//!
//! A prompt that is short or absent is filled with [`PAD`], or with zeros where prompts are vectors: "no prompt" is a
//! row of these ([`CanvasShape::no_prompt`]), in training and in classifier-free guidance alike, which so needs no second
//! kind of canvas. It is never the vectors that a conditioner makes of an empty text: those are its own choice, and
//! whoever leaves a prompt out has no conditioner at hand.

mod batch;
#[cfg(test)]
mod tests;
mod values;

pub use batch::{
    CanvasBatch, CleanBatch, Conditioning, Logits, MaskedCodes, ModelInput, NoisyVectors, Prediction, TokenBatch,
    columns, ints,
};
pub use values::{CanvasTokens, Values};

use crate::{Modality, TokenKind, TokenShape};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The text token that stands where the prompt has no word.
pub const PAD: u32 = 0;

/// The lengths and kinds of a canvas, known before there are any tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanvasShape {
    /// Length `P` of the prompt.
    pub prompt: usize,
    /// What stands at each of its places.
    pub text: PromptKind,
    /// The tokens of the clip.
    pub tokens: TokenShape,
    /// Those of its sound, where it has any.
    pub sound: Option<SoundShape>,
    /// Whether tokens may be given beside the prompt.
    pub has_context: bool,
    /// In which order places follow each other.
    pub order: PositionOrder,
}

/// What stands at each place of a prompt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PromptKind {
    /// A word of a vocabulary of so many, of which [`PAD`] is one.
    Words(usize),
    /// A vector of so many numbers, as text encoders make them; zeros where there is no word.
    Vectors(usize),
}

impl PromptKind {
    /// The prompts that a text tokenizer of such tokens makes; `None` where they cannot stand in a prompt.
    pub fn of(kind: TokenKind) -> Option<Self> {
        match kind {
            TokenKind::Codes { levels: 1, entries, .. } => Some(Self::Words(entries)),
            TokenKind::Vectors { channels } => Some(Self::Vectors(channels)),
            TokenKind::Codes { .. } => None,
        }
    }
}

/// In which order places follow each other, for models that make one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PositionOrder {
    /// Step by step of the clip's grid, at each the clip and then its sound: nothing is heard before it is seen.
    #[default]
    InTime,
    /// The whole clip, then its whole sound (VideoPoet, Kondratyuk et al. 2023, section 3.2).
    ClipFirst,
}

/// The tokens of a clip's sound, and where they lie beside its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundShape {
    /// The tokens: as many as there are, 1, 1.
    pub tokens: TokenShape,
    /// How many of them last as long as a frame of the clip.
    pub tokens_per_frame: usize,
    /// How many frames one step of the clip's grid stands for; its first stands for one.
    pub stride: usize,
}

impl CanvasShape {
    /// A prompt of words of a vocabulary of so many, and the tokens of a silent clip, all of which are to be made.
    pub fn new(prompt: usize, words: usize, tokens: TokenShape) -> Self {
        Self {
            prompt,
            text: PromptKind::Words(words),
            tokens,
            sound: None,
            has_context: false,
            order: PositionOrder::InTime,
        }
    }

    /// Length of the sequence that holds the prompt and every place once.
    pub fn length(&self) -> usize {
        self.prompt + self.positions()
    }

    /// How many places there are.
    pub fn positions(&self) -> usize {
        self.tokens.length() + self.sound.map_or(0, |sound| sound.tokens.length())
    }

    /// The tokens of a modality.
    pub fn shape(&self, modality: Modality) -> Option<TokenShape> {
        match modality {
            Modality::Video => Some(self.tokens),
            Modality::Audio => self.sound.map(|sound| sound.tokens),
            Modality::Text => None,
        }
    }

    /// The places of a modality.
    pub fn range(&self, modality: Modality) -> std::ops::Range<usize> {
        match modality {
            Modality::Video => 0..self.tokens.length(),
            Modality::Audio => self.tokens.length()..self.positions(),
            Modality::Text => 0..0,
        }
    }

    /// Whose token lies at a place.
    pub fn modality(&self, position: usize) -> Modality {
        if position < self.tokens.length() { Modality::Video } else { Modality::Audio }
    }

    /// What the token at a place is.
    pub fn kind(&self, position: usize) -> TokenKind {
        match (self.modality(position), self.sound) {
            (Modality::Audio, Some(sound)) => sound.tokens.kind,
            _ => self.tokens.kind,
        }
    }

    /// The step of the clip's grid at which a place lies; sound lies at the step that its frame is of.
    pub fn step(&self, position: usize) -> usize {
        let [_, h, w] = self.tokens.grid;
        match (position.checked_sub(self.tokens.length()), self.sound) {
            (Some(i), Some(sound)) => (i / sound.tokens_per_frame).div_ceil(sound.stride),
            _ => position / (h * w),
        }
    }

    /// Where a place lies: `[t, h, w]`, in steps of the clip's grid. Sound lies between its steps at `h = w = 0`.
    pub fn coordinates(&self, position: usize) -> [f64; 3] {
        let [_, h, w] = self.tokens.grid;
        match (position.checked_sub(self.tokens.length()), self.sound) {
            (Some(i), Some(sound)) => {
                // A step of `s` frames ends with frame `s·t`: its middle lies half a step, less half a frame, before.
                let frame = (i as f64 + 0.5) / sound.tokens_per_frame as f64 - 0.5;
                let stride = sound.stride as f64;
                [(frame + (stride - 1.0) / 2.0) / stride, 0.0, 0.0]
            }
            _ => [(position / (h * w)) as f64, (position / w % h) as f64, (position % w) as f64],
        }
    }

    /// Puts places in their order.
    pub fn sort(&self, positions: &mut [usize]) {
        self.sort_by_step(positions, |step| step);
    }

    /// Puts places that are to be made in the order in which they are, where the first step that is known is `known`: as
    /// [`CanvasShape::sort`], but where the end is known and the beginning is not, what lies next to it comes first, and a
    /// clip grows backwards.
    pub fn sort_from(&self, known: Option<usize>, positions: &mut [usize]) {
        match known {
            None | Some(0) => self.sort(positions),
            Some(first) => self.sort_by_step(positions, |step| (first.abs_diff(step), step)),
        }
    }

    fn sort_by_step<K: Ord>(&self, positions: &mut [usize], rank: impl Fn(usize) -> K) {
        positions.sort_by_cached_key(|&position| {
            let sound_waits = self.order == PositionOrder::ClipFirst && self.modality(position) == Modality::Audio;
            (sound_waits, rank(self.step(position)), position)
        });
    }

    /// Length of the vectors that a diffusion backbone reads: that of the longest; the shorter ones end in zeros.
    /// `None` where some tokens have none.
    pub fn channels(&self) -> Option<usize> {
        let sound = self.sound.map_or(Some(0), |sound| sound.tokens.kind.channels())?;
        Some(self.tokens.kind.channels()?.max(sound))
    }
}

/// Which places stand in a sequence after the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    context: Vec<usize>,
    target: Vec<usize>,
}

impl Layout {
    /// Tokens are given at the first, and are to be made at the second. A place may be both, where what is given
    /// there is only a hint of what is to be made.
    pub fn new(context: Vec<usize>, target: Vec<usize>) -> Self {
        Self { context, target }
    }

    /// All of a canvas is to be made.
    pub fn whole(canvas: &CanvasShape) -> Self {
        let mut all: Vec<usize> = (0..canvas.positions()).collect();
        canvas.sort(&mut all);
        Self::new(Vec::new(), all)
    }

    /// Where tokens are given.
    pub fn context(&self) -> &[usize] {
        &self.context
    }

    /// Where tokens are to be made, in their order.
    pub fn target(&self) -> &[usize] {
        &self.target
    }

    /// All places of the sequence.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.context.iter().chain(&self.target).copied()
    }

    /// How many steps of the clip's grid there is something to make at, and the how-manyeth of them, in the order in
    /// which they are made, each place is of.
    pub fn steps(&self, canvas: &CanvasShape) -> (usize, Vec<usize>) {
        let mut steps = Vec::new();
        let rank = |&position: &usize| {
            let step = canvas.step(position);
            steps.iter().position(|&known| known == step).unwrap_or_else(|| {
                steps.push(step);
                steps.len() - 1
            })
        };
        let of = self.target.iter().map(rank).collect();
        (steps.len(), of)
    }

    /// How many tokens follow the prompt.
    pub fn length(&self) -> usize {
        self.context.len() + self.target.len()
    }
}
