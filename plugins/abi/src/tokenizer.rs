//! `musiva/tokenizer.h`.

use crate::{Call, Instance, Status, Tensor};

/// `musiva_tokenizer_1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Tokenizer {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// What it is, as JSON.
    pub describe: Option<unsafe extern "C" fn(this: *const Instance, call: *const Call) -> Status>,
    /// The grid of the tokens of such media.
    pub shape: Option<
        unsafe extern "C" fn(
            this: *const Instance,
            call: *const Call,
            ndim: i32,
            shape: *const i64,
            grid: *mut i64,
        ) -> Status,
    >,
    /// Media to tokens.
    pub encode: Option<unsafe extern "C" fn(this: *mut Instance, call: *const Call, media: *const Tensor) -> Status>,
    /// Tokens to media.
    pub decode: Option<unsafe extern "C" fn(this: *mut Instance, call: *const Call, tokens: *const Tensor) -> Status>,
}

/// One step of a stream.
pub type StreamStep =
    unsafe extern "C" fn(this: *mut Instance, call: *const Call, piece: *const Tensor, last: i32) -> Status;

/// `musiva_tokenizer_streaming_1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct TokenizerStreaming {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// Forgets what came before.
    pub reset: Option<unsafe extern "C" fn(this: *mut Instance, call: *const Call) -> Status>,
    /// The next frames to tokens.
    pub encode_step: Option<StreamStep>,
    /// The next tokens to frames.
    pub decode_step: Option<StreamStep>,
}
