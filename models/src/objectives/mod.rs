//! Objectives: the training losses of backbones.

pub mod diffusion;
pub mod masked;
pub mod next_token;

use musiva_core::canvas::{CleanBatch, PAD};
use musiva_core::{Draw, Purpose};

/// Empties each prompt with probability `p`, so that the model also learns to go without: what
/// classifier-free guidance needs (Ho and Salimans 2022).
fn drop_prompts(batch: &CleanBatch, p: f32, draw: Draw) -> CleanBatch {
    let mut dropped = batch.clone();
    for (row, &sample) in dropped.prompt.chunks_mut(batch.shape.prompt).zip(&batch.samples) {
        if draw.sample(sample).stream(Purpose::Dropout).chance(p) {
            row.fill(PAD);
        }
    }
    dropped
}
