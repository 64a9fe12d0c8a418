//! musiva makes pictures, sound and words out of tokens: a recipe (TOML) wires a dataset, tokenizers, a Transformer and a
//! sampler, and this crate checks, trains, runs and measures it.
//!
//! The command `musiva` is this library with arguments, bars and words. The library prints nothing, never ends the process
//! and listens to no signals: who wants to see what it does hands it an [`Observer`] (or, to [`train`](train::train), a
//! [`Callbacks`](train::Callbacks)), and whatever goes wrong is an [`Error`] with its place, its finding and a hint.
//!
//! ```no_run
//! use musiva::{DeviceName, GenerateRequest, Pipeline, RecipeSource};
//!
//! let recipe = RecipeSource::named("world-lm").set("sampler.temperature=0.9").open()?;
//! println!("{:?}", musiva::check(&recipe).summary);
//!
//! let pipeline = Pipeline::build(&recipe, &DeviceName::Cpu.open()?)?;
//! let request = GenerateRequest { seed: 7, ..GenerateRequest::new("a red ring moves left") };
//! for output in musiva::generate(&pipeline, &request, &mut ())? {
//!     println!("{:?}, {:?}", output.clip, output.sound);
//! }
//! # Ok::<(), musiva::Error>(())
//! ```
//!
//! | to | call |
//! |---|---|
//! | open a recipe by name, file or text, with overrides and components of your own | [`RecipeSource`] |
//! | write the recipes that fit a folder of one's own | [`new_recipes`] |
//! | know what it is and takes | [`check()`] |
//! | download its data, where they are at URLs | [`fetch()`] |
//! | make clips and sounds | [`generate()`], [`generate_with`] |
//! | train | [`train::train`] |
//! | measure | [`evaluate::evaluate_all`], [`gallery()`] |
//! | train and measure several, side by side | [`compare::Comparison`] |
//! | make tokens of media, and media of tokens | [`tokenize()`], [`decode`], [`reconstruct`], [`stream`], or a [`Codec`] |
//! | look at a file | [`inspect::inspect`] |
//!
//! # Components of your own
//!
//! A tokenizer, backbone, objective, noise schedule, sampler, program, dataset or metric is a trait of [`contract`],
//! [`schedule`], [`program`] or [`dataset`]. Wrap it in a [`Component`] and hand it to [`RecipeSource::component`]; recipes
//! then name it by its kind. The `examples/` do so for a tokenizer, a program and a noise schedule.

#![forbid(unsafe_code)]

mod adapt;
mod cache;
mod check;
pub mod compare;
pub mod decode;
mod device;
pub mod evaluate;
mod far;
mod frames;
mod gallery;
mod generate;
mod inputs;
pub mod inspect;
mod memory;
mod new;
mod pieces;
mod plugins;
mod provenance;
mod recipes;
pub mod reconstruct;
mod remote;
pub mod save;
pub mod shards;
pub mod stream;
mod tokenize;
pub mod train;

pub use adapt::{Extent, has_sound, is_sound, read_media};
pub use cache::cache;
pub use check::{CheckReport, Missing, check};
pub use device::DeviceName;
pub use far::{far_from_known, inputs_far_from_known, sample_far_from_known};
pub use gallery::gallery;
pub use generate::{generate, generate_with, outline, program_of};
pub use inputs::{InputFiles, keep_sound};
pub use memory::memory;
pub use new::{NewOptions, NewRecipes, Paradigm, Purpose, new_recipes};
pub use pieces::TileOptions;
pub use plugins::{PluginOptions, trust_file, trusted};
pub use provenance::Provenance;
pub use recipes::{RecipeSource, built_in, registry};
pub use remote::fetch;
pub use tokenize::{TokenizeOptions, tokenize};

pub use burn;
pub use burn::tensor::Device;
pub use musiva_core::pipeline::Codec;
pub use musiva_core::recipe::Recipe;
pub use musiva_core::*;
pub use musiva_kernels::{Allocator, keep_freed_memory, use_current_thread_in_pool};
pub use musiva_models::programs;
pub use {
    musiva_data as data, musiva_media as media, musiva_models as models, musiva_plugin_host as plugin_host,
    musiva_tokenizers as tokenizers, musiva_train as training,
};
