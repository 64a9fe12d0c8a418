//! Tokenizers.

use crate::export::{Interface, Kind, with};
use crate::{Context, Error, Plugin, Result, Tensor};
use musiva_abi::{self as abi, Call, Instance, Status, Table};
use serde::Serialize;
use std::marker::PhantomData;

/// A kind of medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Modality {
    /// Clips and images: u8 `[T, H, W, 3]`.
    Video,
    /// Sounds: f32 `[N, C]`, full scale is -1 to 1.
    Audio,
    /// UTF-8 text: u8 `[N]`.
    Text,
}

/// What a single token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum TokenKind {
    /// i64 `[t, h, w]`, each below `entries`.
    Codes {
        /// How many entries there are.
        entries: usize,
        /// `Some(b)` where a code *is* the signs of its `b` bits, lowest first.
        bits: Option<usize>,
    },
    /// i64 `[t, h, w, Q]`, each below `entries`, coarse to fine.
    Levels {
        /// `Q`.
        levels: usize,
        /// How many entries each codebook has.
        entries: usize,
    },
    /// f32 `[t, h, w, C]`.
    Latents {
        /// `C`.
        channels: usize,
    },
}

/// What a tokenizer is.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TokenizerSpec {
    /// What it reads and makes.
    pub modality: Modality,
    /// What one of its tokens is.
    pub tokens: TokenKind,
    /// How many input steps `[t, h, w]` one token stands for; 1 for text.
    pub strides: [usize; 3],
    /// Whether a token depends on no later input.
    pub causal: bool,
}

/// Media ⇄ tokens.
pub trait Tokenizer: Plugin {
    /// What it is.
    fn spec(&self) -> TokenizerSpec;

    /// The grid of the tokens of a clip `[T, H, W, 3]`; of a sound `[N, C]`, `[t, 1, 1]`; of a text, whose only side is
    /// 0, `[1, 1, L]`.
    ///
    /// # Errors
    /// Where such media do not fit.
    fn shape(&self, media: &[usize]) -> Result<[usize; 3]>;

    /// Writes the tokens of `media` to output 0, of the grid that [`Tokenizer::shape`] says.
    ///
    /// # Errors
    /// Where the media do not fit.
    fn encode(&mut self, cx: &mut Context, media: Tensor) -> Result<()>;

    /// Writes the media of `tokens` to output 0.
    ///
    /// # Errors
    /// Where the tokens do not fit.
    fn decode(&mut self, cx: &mut Context, tokens: Tensor) -> Result<()>;
}

/// A tokenizer that works on the fly: fed piece by piece it makes the same bytes as of the whole.
pub trait Streaming: Tokenizer {
    /// Forgets what came before, in both directions.
    ///
    /// # Errors
    /// Where it cannot.
    fn reset(&mut self) -> Result<()>;

    /// Takes the next frames `[n, H, W, 3]` or samples `[n, C]` and writes the tokens that are ready to output 0, or nothing yet.
    ///
    /// # Errors
    /// Where the frames do not fit.
    fn encode_step(&mut self, cx: &mut Context, frames: Tensor, last: bool) -> Result<()>;

    /// Takes the next tokens `[n, h, w, …]` and writes the frames or samples that are ready to output 0, or nothing yet.
    ///
    /// # Errors
    /// Where the tokens do not fit.
    fn decode_step(&mut self, cx: &mut Context, tokens: Tensor, last: bool) -> Result<()>;
}

/// [`Tokenizer`] as the ABI sees it.
pub struct TokenizerTable<T>(PhantomData<T>);

impl<T: Tokenizer> Kind for TokenizerTable<T> {
    const KIND: &'static str = "tokenizer";
}

impl<T: Tokenizer> Interface for TokenizerTable<T> {
    type Table = abi::Tokenizer;
    const ID: &'static str = abi::Tokenizer::ID;
    const TABLE: &'static abi::Tokenizer = &abi::Tokenizer {
        struct_size: size_of::<abi::Tokenizer>(),
        describe: Some(describe::<T>),
        shape: Some(shape::<T>),
        encode: Some(encode::<T>),
        decode: Some(decode::<T>),
    };
}

unsafe extern "C" fn describe<T: Tokenizer>(this: *const Instance, call: *const Call) -> Status {
    // SAFETY: the host passes an instance of T and a live call.
    unsafe { with::<T>(this, call, |plugin, cx| cx.json(0, &plugin.spec())) }
}

unsafe extern "C" fn shape<T: Tokenizer>(
    this: *const Instance,
    call: *const Call,
    ndim: i32,
    shape: *const i64,
    grid: *mut i64,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call, `ndim` sides and room for three.
    unsafe {
        with::<T>(this, call, |plugin, _| {
            let ndim = usize::try_from(ndim).map_err(|_| Error::input("a rank below zero"))?;
            let sides = if ndim == 0 { &[] } else { std::slice::from_raw_parts(shape, ndim) };
            let sides: Option<Vec<usize>> = sides.iter().map(|&side| usize::try_from(side).ok()).collect();
            let made = plugin.shape(&sides.ok_or_else(|| Error::input("a side below zero"))?)?;
            for (i, side) in made.into_iter().enumerate() {
                grid.add(i).write(i64::try_from(side).unwrap_or(i64::MAX));
            }
            Ok(())
        })
    }
}

unsafe extern "C" fn encode<T: Tokenizer>(this: *mut Instance, call: *const Call, media: *const abi::Tensor) -> Status {
    // SAFETY: the host passes an instance of T, a live call and a live tensor.
    unsafe { with::<T>(this, call, |plugin, cx| plugin.encode(cx, Tensor::new(media)?)) }
}

unsafe extern "C" fn decode<T: Tokenizer>(
    this: *mut Instance,
    call: *const Call,
    tokens: *const abi::Tensor,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and a live tensor.
    unsafe { with::<T>(this, call, |plugin, cx| plugin.decode(cx, Tensor::new(tokens)?)) }
}

/// [`Streaming`] as the ABI sees it.
pub struct StreamingTable<T>(PhantomData<T>);

impl<T: Streaming> Interface for StreamingTable<T> {
    type Table = abi::TokenizerStreaming;
    const ID: &'static str = abi::TokenizerStreaming::ID;
    const TABLE: &'static abi::TokenizerStreaming = &abi::TokenizerStreaming {
        struct_size: size_of::<abi::TokenizerStreaming>(),
        reset: Some(reset::<T>),
        encode_step: Some(encode_step::<T>),
        decode_step: Some(decode_step::<T>),
    };
}

unsafe extern "C" fn reset<T: Streaming>(this: *mut Instance, call: *const Call) -> Status {
    // SAFETY: the host passes an instance of T and a live call.
    unsafe { with::<T>(this, call, |plugin, _| plugin.reset()) }
}

unsafe extern "C" fn encode_step<T: Streaming>(
    this: *mut Instance,
    call: *const Call,
    frames: *const abi::Tensor,
    last: i32,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and a live tensor.
    unsafe { with::<T>(this, call, |plugin, cx| plugin.encode_step(cx, Tensor::new(frames)?, last != 0)) }
}

unsafe extern "C" fn decode_step<T: Streaming>(
    this: *mut Instance,
    call: *const Call,
    tokens: *const abi::Tensor,
    last: i32,
) -> Status {
    // SAFETY: the host passes an instance of T, a live call and a live tensor.
    unsafe { with::<T>(this, call, |plugin, cx| plugin.decode_step(cx, Tensor::new(tokens)?, last != 0)) }
}
