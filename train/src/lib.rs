//! Training: the loop, the optimizer, checkpoints that resume to the bit, logs and measures.

#![forbid(unsafe_code)]

mod ahead;
pub mod backbone;
pub mod checkpoint;
mod denoise;
pub mod evaluate;
mod events;
pub mod fidelity;
pub mod health;
mod log;
pub mod measure;
mod noise;
pub mod optimizer;
pub mod shards;
pub mod sources;
pub mod token_set;
pub mod tokenizer;
pub mod trainer;
