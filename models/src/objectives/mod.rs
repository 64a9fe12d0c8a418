//! Objectives: the training losses of backbones.

#[cfg(test)]
mod bits_tests;
pub mod diffusion;
pub mod masked;
pub mod next_token;
#[cfg(test)]
mod tests;

use burn::tensor::{Int, Tensor};
use musiva_core::canvas::{CanvasBatch, CleanBatch, Conditioning, Layout, Logits, ModelInput, PerDigit, Prediction};
use musiva_core::parameters::to_vec;
use musiva_core::{Backbone, Error, ErrorKind, Modality, Result, RngKey, RngStream};
use musiva_kernels::cross_entropy;
use std::f64::consts::LN_2;

/// Which part of its way each of `frames` frames has walked, once the part `progress` of the whole is. Without `frame_offset` all
/// go together; at 1 each sets out when the one before it has arrived; between, they overlap.
pub fn frame_progress(progress: f64, frames: usize, frame_offset: f64) -> Vec<f64> {
    let ways = 1.0 + frame_offset * (frames - 1) as f64;
    (0..frames).map(|frame| (progress * ways - frame_offset * frame as f64).clamp(0.0, 1.0)).collect()
}

/// How many frames may go each at its own pace, and which of them each element that is to be generated is of: one, of which
/// all are, without `frame_offset`.
pub fn frames_of(layout: &Layout, frame_offset: f32) -> (usize, Vec<usize>) {
    match frame_offset {
        0.0 => (1, vec![0; layout.elements().len()]),
        _ => layout.steps(),
    }
}

/// What the digits of one track cost.
struct Nats {
    /// The track.
    track: usize,
    /// Of which of the `L` elements, and how many nats each costs: `[B, n]`. Once for all digits of an element, where all
    /// elements have all of them, else once for each digit.
    costs: Vec<(Vec<usize>, Tensor<2>)>,
}

/// How many nats each digit `[B, L, D]` costs by the logits that a backbone predicts from `input`, track by track.
fn costs(
    backbone: &dyn Backbone,
    conditioning: Conditioning,
    input: ModelInput,
    digits: &Tensor<3, Int>,
) -> Result<Vec<Nats>> {
    match backbone.forward(&CanvasBatch { conditioning, input })? {
        Prediction::Logits(logits) => Ok(nats(logits, digits)),
        Prediction::Vector(_) => {
            Err(Error::new(ErrorKind::Unsupported, "objective", "this backbone predicts no logits"))
        }
    }
}

/// How many nats each digit `[B, L, D]` costs by these logits, track by track.
fn nats(logits: Vec<Logits>, digits: &Tensor<3, Int>) -> Vec<Nats> {
    let each = logits.into_iter().map(|logits| {
        let (track, size) = (logits.track, digits.dims()[0]);
        let mut costs: Vec<(Vec<usize>, Tensor<2>)> = Vec::new();
        for PerDigit { at, digit, logits } in logits.per_digit(digits) {
            let [_, n, base] = logits.dims();
            let nats = cross_entropy(logits.reshape([size * n, base]), digit.reshape([size * n])).reshape([size, n]);
            match costs.last_mut().filter(|(known, _)| *known == at) {
                Some((_, sum)) => *sum = sum.clone() + nats,
                None => costs.push((at, nats)),
            }
        }
        Nats { track, costs }
    });
    each.collect()
}

/// The bits of the digits of each track, sample by sample; `weigh` weighs the nats `[B, n]` of the elements at some places.
fn bits_by_track(nats: Vec<Nats>, weigh: impl Fn(&[usize], Tensor<2>) -> Tensor<2>) -> Vec<(usize, Vec<f64>)> {
    let each = nats.into_iter().map(|Nats { track, costs }| {
        let nats = costs.into_iter().map(|(at, nats)| weigh(&at, nats).sum_dim(1).squeeze_dim::<1>(1));
        (track, to_vec(sum(nats)).into_iter().map(|nats| f64::from(nats) / LN_2).collect())
    });
    each.collect()
}

/// Stratified sampling: a sample's numbers of all draws are uniform in `[0, 1)` and evenly spaced from an offset of its own.
fn stratified(key: RngKey, [draw, draws]: [u64; 2]) -> f64 {
    let first = f64::from(key.step(0).stream(RngStream::Time).uniform());
    (first + draw as f64 / draws.max(1) as f64).fract()
}

/// The sum of all.
fn sum(each: impl Iterator<Item = Tensor<1>>) -> Tensor<1> {
    each.reduce(|a, b| a + b).expect("there is some track")
}

/// What the log says of `bits` a token, and of those of each track where there are several.
fn parts(batch: &CleanBatch, bits: Tensor<1>, each: Vec<(usize, Tensor<1>)>) -> Vec<(&'static str, Tensor<1>)> {
    let mut parts = vec![("bits_per_token", bits)];
    if each.len() > 1 {
        let tracks = &batch.layout.canvas().tracks;
        parts.extend(each.into_iter().map(|(track, bits)| match (tracks[track].modality, &*tracks[track].name) {
            (Modality::Audio, _) => ("bits_per_token_of_sound", bits),
            (Modality::Text, _) => ("bits_per_token_of_text", bits),
            (Modality::Video, "video") => ("bits_per_token_of_clip", bits),
            (Modality::Video, _) => ("bits_per_token_of_other_clips", bits),
        }));
    }
    parts
}

/// Empties each prompt with probability `p`, and each number with its own, so that the model also learns to go without: what
/// classifier-free guidance needs (Ho and Salimans 2022).
fn drop_prompts(batch: &CleanBatch, p: f32, key: RngKey) -> CleanBatch {
    if !batch.dropout {
        return batch.clone();
    }
    let canvas = batch.layout.canvas();
    let each = batch.samples.iter().zip(&batch.context).map(|(&sample, context)| {
        let mut stream = key.sample(sample).stream(RngStream::Dropout);
        let mut context = match stream.chance(p) {
            true => canvas.without_prompt(context.clone()),
            false => context.clone(),
        };
        for (condition, number) in canvas.conditions.iter().zip(&mut context.numbers) {
            if stream.chance(condition.dropout) {
                *number = None;
            }
        }
        context
    });
    CleanBatch { context: each.collect(), ..batch.clone() }
}
