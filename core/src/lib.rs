#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]

pub mod canvas;
pub mod contract;
pub mod dataset;
pub mod error;
pub mod files;
pub mod media;
pub mod observer;
pub mod parameters;
pub mod pipeline;
pub mod program;
pub mod random;
pub mod recipe;
pub mod registry;
pub mod sample_request;
pub mod schedule;
pub mod task;
pub mod tokens;

pub use canvas::{CanvasShape, CanvasTokens, Layout};
pub use contract::*;
pub use dataset::Dataset;
pub use error::{ConfigError, Error, ErrorKind, Result};
pub use media::{Clip, Media, MediaShape, Rate, Sound, Timing};
pub use observer::Observer;
pub use parameters::{Init, Parameters, Weights};
pub use pipeline::Pipeline;
pub use program::{GenerateRequest, Inputs, Outline, Output, OutputKind, Program};
pub use random::{RngKey, RngStream, Stream};
pub use registry::{Component, DatasetConfig, Factory, Hosted, Make, Registry};
pub use sample_request::{SampleRequest, Start};
pub use schedule::{Family, Predicts, Process, Schedule};
pub use task::{Encoders, Mask, MaskSpec, Task, TrackMedia};
pub use tokens::{TokenKind, TokenShape, TokenValues, Tokens};
