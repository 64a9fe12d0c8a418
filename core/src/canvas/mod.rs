//! The canvas: the one sequence that backbones, samplers and objectives see.
//!
//! A canvas has *tracks*: the tokens of a clip, of its sound, of a text, of whatever else a recipe names. Where a token
//! lies is its *position*: positions are numbered one track after the other, within a track in C order of its grid. A
//! [`Layout`] says which positions stand in a sequence: those whose tokens are context, then those whose tokens are to
//! be generated. So a task is data: image to video, extension, inpainting, video to audio and captioning are different
//! layouts of one canvas. No special tokens tell parts and tasks apart, because each token is told its position.
//!
//! A prompt is a text track that is context, a caption is one that is generated. A prompt that is short or absent is
//! filled with [`PAD`], or with zeros where its tokens are vectors: "no prompt" is a row of these
//! ([`CanvasShape::without_prompt`]), in training and in classifier-free guidance alike, which so needs no second kind of
//! canvas. It is never the vectors that a text encoder makes of an empty text: those are its own choice, and whoever
//! leaves a prompt out has no encoder at hand.

mod batch;
mod layout;
mod shape;
#[cfg(test)]
mod tests;
mod values;

pub(crate) use batch::vectors;
pub use batch::{
    CanvasBatch, CleanBatch, Conditioning, ContextTokens, Head, Logits, MaskedCodes, ModelInput, NoisyVectors,
    PerDigit, Prediction, TokenBatch, columns, ints,
};
pub use layout::{Element, Layout};
pub use shape::{Axes, CanvasShape, ConditionShape, Digits, LevelPattern, PositionOrder, Route, TrackShape};
pub use values::{CanvasTokens, Values};

/// The text token that stands where a prompt has no word.
pub const PAD: u32 = 0;
