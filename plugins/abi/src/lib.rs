//! The plugin ABI in Rust: a mirror of the C headers in `plugins/include/musiva`.
//!
//! The headers are normative: what a function promises, who may call it and when is said there and not repeated here. A
//! test compiles them as C99 and C++17 and compares every size, offset and constant with this mirror. No dependency,
//! no `std`: whoever cannot use the kit (`musiva-plugin`) can use this.
//!
//! Every function pointer is an `Option`: what a library leaves out is a null pointer, and a reader finds out by looking.
//! All structs are valid as zeros.

#![no_std]

mod backbone;
mod call;
mod kinds;
mod plugin;
mod tokenizer;

pub use backbone::*;
pub use call::*;
pub use kinds::*;
pub use plugin::*;
pub use tokenizer::*;

/// An instance, whatever the plugin makes of it: only ever behind a pointer.
#[repr(C)]
pub struct Instance {
    _opaque: [u8; 0],
}

/// Marks the tables of interfaces, and says what each is asked for by.
///
/// # Safety
/// The type is `repr(C)`, valid as zeros, and begins with `struct_size: usize`.
pub unsafe trait Table: Copy + 'static {
    /// The interface's id.
    const ID: &'static str;
    /// Its name in the headers, for messages.
    const NAME: &'static str;
}

macro_rules! tables {
    ($($table:ident $id:literal $name:literal;)+) => { $(
        // SAFETY: repr(C), a usize first, the rest options of functions.
        unsafe impl Table for $table {
            const ID: &'static str = $id;
            const NAME: &'static str = $name;
        }
    )+ };
}

tables! {
    Tokenizer "musiva.tokenizer/1" "musiva_tokenizer_1";
    TokenizerStreaming "musiva.tokenizer.streaming/1" "musiva_tokenizer_streaming_1";
    Backbone "musiva.backbone/1" "musiva_backbone_1";
    BackboneVjp "musiva.backbone.vjp/1" "musiva_backbone_vjp_1";
    BackboneCache "musiva.backbone.cache/1" "musiva_backbone_cache_1";
    Conditioner "musiva.conditioner/1" "musiva_conditioner_1";
    Sampler "musiva.sampler/1" "musiva_sampler_1";
    Metric "musiva.metric/1" "musiva_metric_1";
    Dataset "musiva.dataset/1" "musiva_dataset_1";
}
