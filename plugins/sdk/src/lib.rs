//! The kit for plugins: write one trait, call one macro, ship one shared library.
//!
//! ```
//! use musiva_plugin::schemars::{self, JsonSchema};
//! use musiva_plugin::serde::Deserialize;
//! use musiva_plugin::{Context, Modality, Plugin, Result, Tensor, TokenKind, Tokenizer, TokenizerSpec, export_plugin};
//!
//! /// Brightness in equal steps.
//! struct Uniform {
//!     levels: usize,
//! }
//!
//! #[derive(Deserialize, JsonSchema)]
//! #[serde(crate = "musiva_plugin::serde", default, deny_unknown_fields)]
//! struct UniformConfig {
//!     /// How many steps there are.
//!     #[schemars(range(min = 2, max = 256))]
//!     levels: usize,
//! }
//!
//! impl Default for UniformConfig {
//!     fn default() -> Self {
//!         Self { levels: 16 }
//!     }
//! }
//!
//! impl Plugin for Uniform {
//!     const ID: &'static str = "org.example.uniform";
//!     const VERSION: &'static str = "0.1.0";
//!     const SUMMARY: &'static str = "brightness in equal steps";
//!     type Config = UniformConfig;
//!
//!     fn new(config: UniformConfig) -> Result<Self> {
//!         Ok(Self { levels: config.levels })
//!     }
//! }
//!
//! impl Tokenizer for Uniform {
//!     fn spec(&self) -> TokenizerSpec {
//!         TokenizerSpec {
//!             modality: Modality::Video,
//!             tokens: TokenKind::Codes { entries: self.levels, bits: None },
//!             strides: [1, 1, 1],
//!             causal: true,
//!         }
//!     }
//!
//!     fn shape(&self, media: &[usize]) -> Result<[usize; 3]> {
//!         Ok([media[0], media[1], media[2]])
//!     }
//!
//!     fn encode(&mut self, cx: &mut Context, media: Tensor) -> Result<()> {
//!         let codes = cx.output::<i64>(0, &media.shape()[..3])?;
//!         for (code, pixel) in codes.iter_mut().zip(media.as_slice::<u8>()?.chunks(3)) {
//!             let sum: usize = pixel.iter().map(|&value| usize::from(value)).sum();
//!             *code = (sum * self.levels / 766) as i64;
//!         }
//!         Ok(())
//!     }
//!
//!     fn decode(&mut self, cx: &mut Context, tokens: Tensor) -> Result<()> {
//!         let pixels = cx.output::<u8>(0, &[tokens.shape(), &[3]].concat())?;
//!         for (pixel, &code) in pixels.chunks_mut(3).zip(tokens.as_slice::<i64>()?) {
//!             pixel.fill((code as usize * 255 / (self.levels - 1)) as u8);
//!         }
//!         Ok(())
//!     }
//! }
//!
//! export_plugin!(Uniform: Tokenizer);
//! # fn main() {}
//! ```
//!
//! The functions that the ABI sees are made by [`export_plugin!`]. Each runs its plugin behind a guard: an [`Error`]
//! becomes a status with its message, a panic becomes a status and the end of the instance. What no guard can catch is
//! a stack overflow, a panic while panicking, an abort for want of memory and undefined behaviour. A library that is
//! built with `panic = "abort"` does not compile.
//!
//! Plugins are [`Send`] and nothing more: the host calls an instance from one thread at a time.
//!
//! What each function must do stands at its trait; the C headers in `plugins/include/musiva` are the normative text.

#![warn(missing_docs)]

mod backbone;
mod context;
mod error;
pub mod export;
mod kinds;
mod log;
mod tensor;
#[cfg(test)]
mod tests;
mod tokenizer;

pub use backbone::{Backbone, BackboneInput, BackboneSpec, Cache, Canvas, Content, InitRule, Parameter, Vjp};
pub use context::Context;
pub use error::{Error, Result};
pub use kinds::{
    Conditioner, ConditionerSpec, Dataset, DatasetSpec, Drives, Metric, Plugin, Sample, Sampler, SamplerSpec,
};
pub use log::{Level, log};
pub use musiva_abi as abi;
pub use tensor::{Element, Tensor};
pub use tokenizer::{Modality, Streaming, TokenKind, Tokenizer, TokenizerSpec};
pub use {schemars, serde, serde_json};
