//! What musiva trains on.
//!
//! - [`world`]: an endless procedural world of moving shapes, and oracles that read a clip back.
//! - [`folder`]: a folder of clips or images with captions, cut into windows.
//!
//! # Nomenclature
//!
//! - **sample**: a clip, a sound or both, with their caption.
//! - **dataset**: samples by number; the same number is always the same sample.
//! - **window**: so many frames in a row of a longer clip.
//! - **scene**: one sample of the world before it is rendered.
//!
//! Order, shuffling and batches are the training loop's; words become tokens in the tokenizers.
#![forbid(unsafe_code)]

pub mod dataset;
pub mod folder;
mod register;
pub mod world;

pub use dataset::{DataReport, Dataset, Dropped, Loudness, PixelRange, Sample};
pub use folder::{Folder, FolderConfig};
pub use register::register;
pub use world::{World, WorldConfig};
