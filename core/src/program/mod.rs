//! Programs: what is asked of a pipeline, and in which order. `[program]` in a recipe.
//!
//! A sampler fills one canvas. A program makes clips and sounds of one canvas or of many, each from what is there: it
//! chooses tasks, hands on the end of one piece as the beginning of the next, and puts pieces together. [`Pieces`] does
//! what every program needs: a batch of pieces by one task, from media to media.

mod pieces;

pub use pieces::{Pieces, joined};

use crate::pipeline::Pipeline;
use crate::{Clip, ConfigError, Mask, Observer, Result, Sound, Task};
use std::collections::BTreeMap;

/// What a program is asked for.
#[derive(Clone, Debug)]
pub struct GenerateRequest {
    /// What is to be seen and heard; an empty one is none.
    pub prompt: String,
    /// What there is beside the prompt.
    pub inputs: Inputs,
    /// Change the inputs instead of going on from them, by so much: in `(0, 1]`, near 0 they stay as they are.
    pub strength: Option<f64>,
    /// The name of the task of the first piece, where the inputs leave a choice.
    pub task: Option<String>,
    /// What is wanted.
    pub output: OutputKind,
    /// Whether what is context comes back to the pixel, not as the model's own picture of it.
    pub paste: bool,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// How many samples: at most [`MOST_SAMPLES`]. Sample `i` is the same whatever the count.
    pub count: usize,
    /// How many samples are made at once; changes none of them.
    pub batch: usize,
    /// The numbers that samples are conditioned on, by the names of the recipe's `[condition.*]`.
    pub conditions: BTreeMap<String, f64>,
}

/// Samples of one request at most: the numbers of a piece's samples stand beside those of the piece before it.
pub const MOST_SAMPLES: usize = 1024;

impl GenerateRequest {
    /// One sample from a prompt, seed 0.
    pub fn new(prompt: impl Into<String>) -> Self {
        Self { prompt: prompt.into(), ..Self::default() }
    }
}

impl Default for GenerateRequest {
    fn default() -> Self {
        Self {
            prompt: String::new(),
            inputs: Inputs::default(),
            strength: None,
            task: None,
            output: OutputKind::default(),
            paste: true,
            seed: 0,
            count: 1,
            batch: 16,
            conditions: BTreeMap::new(),
        }
    }
}

/// What there is beside the prompt: media at the recipe's rates and of its frames' size.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    /// None, one, or two to make the way between; an image is a clip of a single frame.
    pub clips: Vec<Clip>,
    /// The sound, mono.
    pub sound: Option<Sound>,
    /// Clips of further streams, by the names of their tracks.
    pub streams: BTreeMap<String, Clip>,
    /// What of the first clip is to be made, as long as the recipe's clips.
    pub mask: Option<Mask>,
    /// Whether the mask's context is a region, and what is made lies around it.
    pub outside: bool,
}

/// What is wanted of a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OutputKind {
    /// A clip, with its sound where there is one.
    #[default]
    Both,
    /// A clip without sound.
    Clip,
    /// A sound without pictures.
    Sound,
    /// A text.
    Text,
}

/// A sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Output {
    /// The clip, where there is one.
    pub clip: Option<Clip>,
    /// The sound, where there is one.
    pub sound: Option<Sound>,
    /// The text, where some was generated.
    pub text: Option<String>,
    /// Clips of further streams, by the names of their tracks.
    pub streams: BTreeMap<String, Clip>,
}

impl From<Clip> for Output {
    fn from(clip: Clip) -> Self {
        Self { clip: Some(clip), ..Self::default() }
    }
}

impl From<Sound> for Output {
    fn from(sound: Sound) -> Self {
        Self { sound: Some(sound), ..Self::default() }
    }
}

/// What a program is going to do for a request.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outline {
    /// The names of the tasks, in their order.
    pub tasks: Vec<String>,
    /// The prompt that it begins with: the request's, or the program's own where that has none.
    pub prompt: String,
    /// In words, a line for each task.
    pub lines: Vec<String>,
}

/// How clips and sounds come of pieces.
///
/// # For the caller
/// `outline` touches no weight: ask it before [`Pipeline::build`], for it refuses what the model cannot do.
///
/// # For who implements it
/// The same pipeline, request and program make the same outputs to the bit, sample `i` whatever the count and the batch.
/// [`Pieces`] keeps that, as long as each sample depends on its own pieces alone.
pub trait Program: Send + Sync {
    /// What is wrong with it for a model of these tasks, whose clips last `seconds`.
    fn errors(&self, _tasks: &[Task], _seconds: f64) -> Vec<ConfigError> {
        Vec::new()
    }

    /// What it does whatever the request, in a line.
    fn summary(&self) -> String;

    /// What it would do.
    ///
    /// # Errors
    /// Where a model of these tasks cannot do what is asked for.
    fn outline(&self, _tasks: &[Task], request: &GenerateRequest) -> Result<Outline> {
        Ok(Outline { prompt: request.prompt.clone(), ..Outline::default() })
    }

    /// Makes `request.count` samples.
    ///
    /// # Errors
    /// As [`Program::outline`]; where inputs do not fit the tokenizers; and what `observer` returns.
    fn run(&self, pipeline: &Pipeline, request: &GenerateRequest, observer: &mut dyn Observer) -> Result<Vec<Output>>;
}
