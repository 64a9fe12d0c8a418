//! Objectives: the training losses of backbones.

pub mod diffusion;
pub mod masked;
pub mod next_token;

use burn::tensor::{Int, Tensor};
use musiva_core::canvas::{CleanBatch, PAD};
use musiva_core::{Draw, Purpose};
use musiva_kernels::cross_entropy;

/// How many nats each code `[B, L]` costs by the logits `[B, L, K]` of its digits, most significant first:
/// `[B·L]`.
fn nats(heads: Vec<Tensor<3>>, codes: Tensor<2, Int>) -> Tensor<1> {
    let count = codes.dims().iter().product::<usize>();
    let mut rest = codes;
    let digits = heads.into_iter().rev().map(|logits| {
        let base = logits.dims()[2];
        let digit = rest.clone().remainder_scalar(base as i64);
        rest = rest.clone() / base as i64;
        cross_entropy(logits.reshape([count, base]), digit.reshape([count]))
    });
    digits.reduce(|a, b| a + b).expect("a token has at least one digit")
}

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
