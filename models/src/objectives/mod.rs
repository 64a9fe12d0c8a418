//! Objectives: the training losses of backbones.

pub mod diffusion;
pub mod masked;
pub mod next_token;

use burn::tensor::{Int, Tensor};
use musiva_core::canvas::{CanvasShape, CleanBatch, Layout, Logits, PAD};
use musiva_core::{Draw, Modality, Purpose};
use musiva_kernels::cross_entropy;

/// Which part of its way each of `frames` frames has walked, once the part `gone` of the whole is. Without `stagger` all
/// go together; at 1 each sets out when the one before it has arrived; between, they overlap.
pub fn frames_gone(gone: f64, frames: usize, stagger: f64) -> Vec<f64> {
    let ways = 1.0 + stagger * (frames - 1) as f64;
    (0..frames).map(|frame| (gone * ways - stagger * frame as f64).clamp(0.0, 1.0)).collect()
}

/// How many frames may go each at its own pace, and which of them each token that is to be made is of: one, of which all
/// are, without `stagger`.
pub fn frames_of(layout: &Layout, canvas: &CanvasShape, stagger: f32) -> (usize, Vec<usize>) {
    match stagger {
        0.0 => (1, vec![0; layout.made().len()]),
        _ => layout.steps(canvas),
    }
}

/// How many nats each code `[B, L]` costs by these logits: which of the `L` places, and `[B, n]`, for each modality.
fn nats(logits: Vec<Logits>, codes: &Tensor<2, Int>) -> Vec<(Vec<usize>, Tensor<2>)> {
    let each = logits.into_iter().map(|logits| {
        let (at, size) = (logits.at.clone(), codes.dims()[0]);
        let digits = logits.told(codes).into_iter().map(|(digit, logits)| {
            let [size, n, base] = logits.dims();
            cross_entropy(logits.reshape([size * n, base]), digit.reshape([size * n]))
        });
        let nats = digits.reduce(|a, b| a + b).expect("a token has at least one digit");
        let n = at.len();
        (at, nats.reshape([size, n]))
    });
    each.collect()
}

/// The sum of all.
fn sum(each: impl Iterator<Item = Tensor<1>>) -> Tensor<1> {
    each.reduce(|a, b| a + b).expect("there is some modality")
}

/// What the log says of `bits` a token, and of those of each modality where there are several.
fn parts(batch: &CleanBatch, bits: Tensor<1>, each: Vec<(Vec<usize>, Tensor<1>)>) -> Vec<(&'static str, Tensor<1>)> {
    let mut parts = vec![("bits_per_token", bits)];
    if each.len() > 1 {
        parts.extend(each.into_iter().map(|(at, bits)| match batch.shape.modality(batch.layout.made()[at[0]]) {
            Modality::Audio => ("bits_per_token_of_sound", bits),
            _ => ("bits_per_token_of_clip", bits),
        }));
    }
    parts
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
