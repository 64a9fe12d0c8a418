//! `musiva/backbone.h`.

use crate::{Call, Instance, Status, Tensor};

/// `musiva_canvas`.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Canvas {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// Length `P` of the prompt.
    pub prompt: i64,
    /// How many text tokens there are to choose from.
    pub words: i64,
    /// Places `[t, h, w]` of the `L` tokens.
    pub grid: [i64; 3],
    /// Entries of codes, else 0.
    pub entries: i64,
    /// Length of the vectors, 0 where there are none.
    pub channels: i64,
}

/// `musiva_backbone_input`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BackboneInput {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// The canvas.
    pub canvas: *const Canvas,
    /// f32 `[N]`.
    pub theta: *const Tensor,
    /// i64 `[B, P]`.
    pub prompt: *const Tensor,
    /// i64 `[B, L]` or f32 `[B, L, C]`.
    pub x: *const Tensor,
    /// f32 `[B, S]`, or null.
    pub times: *const Tensor,
    /// i64 `[L]`, or null.
    pub at: *const Tensor,
    /// f32 `[B, L, C]`, or null.
    pub guess: *const Tensor,
}

/// Asks about a canvas.
pub type OfCanvas = unsafe extern "C" fn(this: *const Instance, call: *const Call, canvas: *const Canvas) -> Status;

/// `musiva_backbone_1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct Backbone {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// What it is on a canvas, as JSON.
    pub describe: Option<OfCanvas>,
    /// Its parameters on a canvas, as JSON.
    pub parameters: Option<OfCanvas>,
    /// The predictions.
    pub forward:
        Option<unsafe extern "C" fn(this: *const Instance, call: *const Call, input: *const BackboneInput) -> Status>,
}

/// `musiva_backbone_vjp_1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BackboneVjp {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// The vector-Jacobian product.
    pub vjp: Option<
        unsafe extern "C" fn(
            this: *const Instance,
            call: *const Call,
            input: *const BackboneInput,
            dy: *const Tensor,
        ) -> Status,
    >,
}

/// `musiva_backbone_cache_1`.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct BackboneCache {
    /// Size of the struct as its writer knows it.
    pub struct_size: usize,
    /// Starts over.
    pub begin:
        Option<unsafe extern "C" fn(this: *mut Instance, call: *const Call, input: *const BackboneInput) -> Status>,
    /// Goes on by the picked tokens.
    pub step: Option<
        unsafe extern "C" fn(
            this: *mut Instance,
            call: *const Call,
            input: *const BackboneInput,
            tokens: *const Tensor,
        ) -> Status,
    >,
}
