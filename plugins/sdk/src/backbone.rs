//! Backbones: pure functions of parameters that the host owns and trains.

use crate::export::{Interface, Kind, with};
use crate::{Context, Error, Plugin, Result, Tensor};
use musiva_abi::{self as abi, Call, Instance, Status, Table};
use serde::Serialize;
use std::marker::PhantomData;

/// The sequence that backbones see: a prompt of `P` tokens, then `L` tokens in C order of the grid.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// `P`.
    pub prompt: usize,
    /// How many text tokens there are to choose from.
    pub words: usize,
    /// Places `[t, h, w]`; `L` is their product.
    pub grid: [usize; 3],
    /// Entries `K` where the tokens are codes.
    pub entries: Option<usize>,
    /// Length `C` of the vectors, where the tokens are or have some.
    pub channels: Option<usize>,
}

impl Canvas {
    /// `L`.
    pub fn length(&self) -> usize {
        self.grid.iter().product()
    }

    /// Reads the host's.
    ///
    /// # Safety
    /// `raw` is null or a live canvas.
    unsafe fn read(raw: *const abi::Canvas) -> Result<Self> {
        // SAFETY: by the caller's promise.
        let raw = unsafe { raw.as_ref() }.ok_or_else(|| Error::input("there is no canvas"))?;
        let side = |value: i64| usize::try_from(value).map_err(|_| Error::input("a side of the canvas is below zero"));
        let some = |value: usize| (value > 0).then_some(value);
        Ok(Self {
            prompt: side(raw.prompt)?,
            words: side(raw.words)?,
            grid: [side(raw.grid[0])?, side(raw.grid[1])?, side(raw.grid[2])?],
            entries: some(side(raw.entries)?),
            channels: some(side(raw.channels)?),
        })
    }
}

/// What a backbone is on a canvas.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "predicts", rename_all = "snake_case")]
pub enum BackboneSpec {
    /// Logits of each code, from those before it: f32 `[B, L, K]`.
    Codes,
    /// A vector for each position: f32 `[B, L, C]`.
    Field {
        /// Whether it takes a guess of the clean vectors beside the noisy ones.
        self_conditioned: bool,
    },
}

/// How a parameter starts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum InitRule {
    /// Normal numbers of this deviation.
    Normal(f32),
    /// Zeros.
    Zeros,
    /// Ones.
    Ones,
}

/// A parameter: `theta` is all of them, flat, one after the other.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Parameter {
    /// Unique; parts separated by dots.
    pub name: String,
    /// Its sides.
    pub shape: Vec<usize>,
    /// How it starts.
    pub init: InitRule,
}

/// The input of a forward pass.
#[derive(Clone, Copy, Debug)]
pub struct BackboneInput<'a> {
    /// The canvas.
    pub canvas: Canvas,
    /// Samples `B`.
    pub batch: usize,
    /// All parameters.
    pub theta: &'a [f32],
    /// `[B, P]`, each below the canvas's `words`.
    pub prompt: &'a [i64],
    /// What stands after the prompts.
    pub content: Content<'a>,
}

/// What stands at the positions after the prompt.
#[derive(Clone, Copy, Debug)]
pub enum Content<'a> {
    /// `[B, L]`.
    Codes(&'a [i64]),
    /// Noisy vectors with their times.
    Field {
        /// `[B, L, C]`.
        values: &'a [f32],
        /// The times that occur in each sample, 0 is clean, 1 is noise: `[B, S]`.
        times: &'a [f32],
        /// Which of the `S` times each position stands at: `[L]`.
        at: &'a [i64],
        /// The last guess of the clean vectors, `[B, L, C]`.
        guess: Option<&'a [f32]>,
    },
    /// Nothing yet: decoding step by step.
    Nothing,
}

impl BackboneInput<'_> {
    /// Reads the host's.
    ///
    /// # Safety
    /// `raw` is null, or an input whose tensors live for the call.
    unsafe fn read(raw: *const abi::BackboneInput) -> Result<Self> {
        // SAFETY: by the caller's promise, here and for each of its pointers.
        unsafe {
            let raw = raw.as_ref().ok_or_else(|| Error::input("there is no input"))?;
            let prompt = Tensor::new(raw.prompt)?;
            let content = match (Tensor::optional(raw.x)?, Tensor::optional(raw.times)?) {
                (None, _) => Content::Nothing,
                (Some(codes), None) => Content::Codes(codes.as_slice()?),
                (Some(values), Some(times)) => Content::Field {
                    values: values.as_slice()?,
                    times: times.as_slice()?,
                    at: Tensor::new(raw.at)?.as_slice()?,
                    guess: Tensor::optional(raw.guess)?.map(|guess| guess.as_slice()).transpose()?,
                },
            };
            Ok(Self {
                canvas: Canvas::read(raw.canvas)?,
                batch: prompt.shape().first().copied().unwrap_or(0),
                theta: Tensor::new(raw.theta)?.as_slice()?,
                prompt: prompt.as_slice()?,
                content,
            })
        }
    }
}

/// The model that predicts tokens.
pub trait Backbone: Plugin {
    /// What it is on a canvas.
    ///
    /// # Errors
    /// Where the canvas does not fit.
    fn spec(&self, canvas: &Canvas) -> Result<BackboneSpec>;

    /// Its parameters on a canvas, in the order of theta.
    ///
    /// # Errors
    /// Where the canvas does not fit.
    fn parameters(&self, canvas: &Canvas) -> Result<Vec<Parameter>>;

    /// Writes the predictions to output 0: of codes `[B, L, K]`, of a field `[B, L, C]`. A prediction of a code
    /// depends on the prompt and the codes before it alone.
    ///
    /// # Errors
    /// Where the input does not fit.
    fn forward(&self, cx: &mut Context, input: &BackboneInput) -> Result<()>;
}

/// A backbone that can be trained.
pub trait Vjp: Backbone {
    /// The vector-Jacobian product of [`Backbone::forward`] at `input` with `dy`, which is shaped as its output: by
    /// theta to output 0, `[N]`; of a field, by its values to output 1, `[B, L, C]`.
    ///
    /// # Errors
    /// Where the input does not fit.
    fn vjp(&self, cx: &mut Context, input: &BackboneInput, dy: &[f32]) -> Result<()>;
}

/// A backbone of codes that decodes step by step.
pub trait Cache: Backbone {
    /// Starts over with these parameters and prompts; logits of the first token to output 0, `[B, K]`.
    ///
    /// # Errors
    /// Where the input does not fit.
    fn begin(&mut self, cx: &mut Context, input: &BackboneInput) -> Result<()>;

    /// Goes on by the picked tokens, `[B]`; logits of the next one to output 0, `[B, K]`.
    ///
    /// # Errors
    /// Where the canvas is full.
    fn step(&mut self, cx: &mut Context, input: &BackboneInput, tokens: &[i64]) -> Result<()>;
}

/// [`Backbone`] as the ABI sees it.
pub struct BackboneTable<T>(PhantomData<T>);

impl<T: Backbone> Kind for BackboneTable<T> {
    const KIND: &'static str = "backbone";
}

impl<T: Backbone> Interface for BackboneTable<T> {
    type Table = abi::Backbone;
    const ID: &'static str = abi::Backbone::ID;
    const TABLE: &'static abi::Backbone = &abi::Backbone {
        struct_size: size_of::<abi::Backbone>(),
        describe: Some(describe::<T>),
        parameters: Some(parameters::<T>),
        forward: Some(forward::<T>),
    };
}

unsafe extern "C" fn describe<T: Backbone>(
    this: *const Instance,
    call: *const Call,
    canvas: *const abi::Canvas,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and a live canvas.
    unsafe {
        with::<T>(this, call, |plugin, cx| {
            let spec = plugin.spec(&Canvas::read(canvas)?)?;
            cx.json(0, &spec)
        })
    }
}

unsafe extern "C" fn parameters<T: Backbone>(
    this: *const Instance,
    call: *const Call,
    canvas: *const abi::Canvas,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and a live canvas.
    unsafe {
        with::<T>(this, call, |plugin, cx| {
            let parameters = plugin.parameters(&Canvas::read(canvas)?)?;
            cx.json(0, &parameters)
        })
    }
}

unsafe extern "C" fn forward<T: Backbone>(
    this: *const Instance,
    call: *const Call,
    input: *const abi::BackboneInput,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and a live input.
    unsafe { with::<T>(this, call, |plugin, cx| plugin.forward(cx, &BackboneInput::read(input)?)) }
}

/// [`Vjp`] as the ABI sees it.
pub struct VjpTable<T>(PhantomData<T>);

impl<T: Vjp> Interface for VjpTable<T> {
    type Table = abi::BackboneVjp;
    const ID: &'static str = abi::BackboneVjp::ID;
    const TABLE: &'static abi::BackboneVjp =
        &abi::BackboneVjp { struct_size: size_of::<abi::BackboneVjp>(), vjp: Some(vjp::<T>) };
}

unsafe extern "C" fn vjp<T: Vjp>(
    this: *const Instance,
    call: *const Call,
    input: *const abi::BackboneInput,
    dy: *const abi::Tensor,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call, a live input and a live tensor.
    unsafe {
        with::<T>(this, call, |plugin, cx| plugin.vjp(cx, &BackboneInput::read(input)?, Tensor::new(dy)?.as_slice()?))
    }
}

/// [`Cache`] as the ABI sees it.
pub struct CacheTable<T>(PhantomData<T>);

impl<T: Cache> Interface for CacheTable<T> {
    type Table = abi::BackboneCache;
    const ID: &'static str = abi::BackboneCache::ID;
    const TABLE: &'static abi::BackboneCache = &abi::BackboneCache {
        struct_size: size_of::<abi::BackboneCache>(),
        begin: Some(begin::<T>),
        step: Some(step::<T>),
    };
}

unsafe extern "C" fn begin<T: Cache>(
    this: *mut Instance,
    call: *const Call,
    input: *const abi::BackboneInput,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and a live input.
    unsafe { with::<T>(this, call, |plugin, cx| plugin.begin(cx, &BackboneInput::read(input)?)) }
}

unsafe extern "C" fn step<T: Cache>(
    this: *mut Instance,
    call: *const Call,
    input: *const abi::BackboneInput,
    tokens: *const abi::Tensor,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call, a live input and a live tensor.
    unsafe {
        with::<T>(this, call, |plugin, cx| {
            plugin.step(cx, &BackboneInput::read(input)?, Tensor::new(tokens)?.as_slice()?)
        })
    }
}
