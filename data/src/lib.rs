//! What musiva trains on.
//!
//! - [`world`]: an endless procedural world of moving shapes, and oracles that read a clip back.
//! - [`folder`]: a folder of clips or images with their sound and captions, cut into windows.
//! - [`sounds`]: a folder of sounds, cut into windows.
//! - [`survey`]: what a folder holds, before a recipe says how to read it.
//! - [`webdataset`]: tar shards of clips or images, cut into windows.
//! - [`mixture`]: several of these as one.
//! - [`entropy`]: clips of known entropy, to test likelihoods by.
//!
//! # Nomenclature
//!
//! - **sample**: a clip, a sound or both, with their caption.
//! - **dataset**: samples by number; the same number is always the same sample.
//! - **window**: so many frames in a row of a longer clip, or samples of a longer sound.
//! - **scene**: one sample of the world before it is rendered.
//!
//! Batches are the training loop's; words become tokens in the tokenizers.
#![forbid(unsafe_code)]

mod auto;
mod buckets;
mod captions;
mod clip_sound;
mod csv;
pub mod entropy;
mod files;
pub mod folder;
mod identity;
mod left_out;
pub mod mixture;
mod order;
mod register;
mod scan;
mod shards;
pub mod sounds;
pub mod survey;
pub mod webdataset;
pub mod world;

pub use auto::ByFiles;
pub use buckets::{ClipShape, Shapes};
pub use entropy::EntropyConfig;
pub use folder::{Folder, FolderConfig};
pub use identity::{Identify, Identity};
pub use mixture::{Mixture, MixtureConfig};
pub use musiva_core::dataset::{
    self, DataReport, Dataset, Dropped, Loudness, Part, PixelRange, Readable, Sample, Unreadable,
};
pub use order::shuffled;
pub use register::register;
pub use shards::fetched_path;
pub use sounds::{Sounds, SoundsConfig};
pub use webdataset::WebDatasetConfig;
pub use world::{World, WorldConfig};
