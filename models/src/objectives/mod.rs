//! Objectives: the training losses of backbones.

pub mod diffusion;
pub mod masked;
pub mod next_token;
#[cfg(test)]
mod tests;

use burn::tensor::{Int, Tensor};
use musiva_core::canvas::{CanvasShape, CleanBatch, Layout, Logits, Values};
use musiva_core::{Modality, RngKey, RngStream};
use musiva_kernels::cross_entropy;

/// Which part of its way each of `frames` frames has walked, once the part `progress` of the whole is. Without `frame_offset` all
/// go together; at 1 each sets out when the one before it has arrived; between, they overlap.
pub fn frame_progress(progress: f64, frames: usize, frame_offset: f64) -> Vec<f64> {
    let ways = 1.0 + frame_offset * (frames - 1) as f64;
    (0..frames).map(|frame| (progress * ways - frame_offset * frame as f64).clamp(0.0, 1.0)).collect()
}

/// How many frames may go each at its own pace, and which of them each token that is to be made is of: one, of which all
/// are, without `frame_offset`.
pub fn frames_of(layout: &Layout, canvas: &CanvasShape, frame_offset: f32) -> (usize, Vec<usize>) {
    match frame_offset {
        0.0 => (1, vec![0; layout.target().len()]),
        _ => layout.steps(canvas),
    }
}

/// How many nats each code `[B, L]` costs by these logits: which of the `L` places, and `[B, n]`, for each modality.
fn nats(logits: Vec<Logits>, codes: &Tensor<2, Int>) -> Vec<(Vec<usize>, Tensor<2>)> {
    let each = logits.into_iter().map(|logits| {
        let (at, size) = (logits.at.clone(), codes.dims()[0]);
        let digits = logits.per_digit(codes).into_iter().map(|(digit, logits)| {
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
        parts.extend(each.into_iter().map(|(at, bits)| match batch.shape.modality(batch.layout.target()[at[0]]) {
            Modality::Audio => ("bits_per_token_of_sound", bits),
            _ => ("bits_per_token_of_clip", bits),
        }));
    }
    parts
}

/// Empties each prompt with probability `p`, so that the model also learns to go without: what
/// classifier-free guidance needs (Ho and Salimans 2022).
fn drop_prompts(batch: &CleanBatch, p: f32, key: RngKey) -> CleanBatch {
    let prompts = batch.samples.iter().enumerate().map(|(i, &sample)| {
        match key.sample(sample).stream(RngStream::Dropout).chance(p) {
            true => batch.shape.no_prompt(),
            false => batch.prompt.part(i, batch.size()),
        }
    });
    CleanBatch { prompt: Values::concat(&prompts.collect::<Vec<_>>()), ..batch.clone() }
}
