//! Each diffusion sampler on data whose best prediction is known in closed form.
//!
//! The data are Gaussian, `x ~ N(μ, s²)` in every channel, so the clean data's mean given the noisy
//! ones is `μ + α·s²/(α²s² + σ²)·(x_t - α·μ)`; a backbone that says so turns noise into `N(μ, s²)`.

use super::diffusion::{Ddim, Euler, Heun, Steps};
use crate::schedules::Linear;
use crate::testing::{self, Fake, cosine, keys, straight};
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, ModelInput, Prediction};
use musiva_core::{
    BackboneSpec, CanvasShape, Family, Predicts, Process, RngKey, SampleRequest, Sampler, TokenKind, TokenShape,
    TokenValues,
};
use std::sync::Arc;

pub(super) const MEAN: f64 = 0.7;
pub(super) const DEVIATION: f64 = 0.5;

/// The best prediction of the data at any time.
pub(super) fn exact(process: &Process) -> Fake {
    let tokens = TokenShape { grid: [3, 5, 7], kind: TokenKind::Vectors { channels: 3 } };
    let spec = BackboneSpec::Diffusion { channels: 3, self_conditioned: false };
    let process = process.clone();
    Fake::new(spec, CanvasShape::new(2, 3, tokens), move |batch| best(&process, batch))
}

fn best(process: &Process, batch: &CanvasBatch) -> Prediction {
    let ModelInput::NoisyVectors(field) = &batch.input else { panic!("a field") };
    // Each token's α and σ, [1, L, 1]: all samples of a batch walk together.
    let times = musiva_core::parameters::to_vec(field.times.clone());
    let column = |value: &dyn Fn(f64, f64) -> f64| {
        let of = |at: &usize| {
            let (alpha, sigma) = process.schedule.mix(f64::from(times[*at]));
            value(alpha, sigma) as f32
        };
        let values: Vec<f32> = field.at.iter().map(of).collect();
        Tensor::<3>::from_data(TensorData::new(values, [1, field.at.len(), 1]), &Device::flex())
    };
    let (alpha, sigma) = (column(&|a, _| a), column(&|_, s| s));
    let x = field.values.clone();
    let pull = column(&|a, s| a * DEVIATION.powi(2) / (a.powi(2) * DEVIATION.powi(2) + s.powi(2)));
    let clean = (x.clone() - alpha.clone() * MEAN) * pull + MEAN;
    // ε from x_t = α·x + σ·ε; at t = 0 nobody asks.
    let noise = (x - clean.clone() * alpha.clone()) / sigma.clone().clamp_min(1e-6);
    Prediction::Vector(match (process.predicts, process.schedule.family()) {
        (Predicts::Data, _) => clean,
        (Predicts::Noise, _) => noise,
        (Predicts::Velocity, Family::Straight) => noise - clean,
        (Predicts::Velocity, Family::VariancePreserving) => noise * alpha - clean * sigma,
    })
}

/// Mean and deviation of what comes out, over 63,000 numbers.
fn run(sampler: &dyn Sampler, process: Process) -> (f64, f64) {
    let backbone = exact(&process);
    let request = SampleRequest::prompts(&vec![vec![1, 2]; 200], keys(3, 200), &backbone.canvas);
    let sampled = testing::sampled(sampler, &backbone, Some(&process), &request);
    let values: Vec<f64> = sampled.iter().flat_map(testing::vectors).map(|&value| f64::from(value)).collect();
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n).sqrt())
}

fn steps(steps: usize) -> Steps {
    Steps { steps, ..Steps::default() }
}

/// Standard errors of mean and deviation are 0.002 and 0.0014.
fn assert_right((mean, deviation): (f64, f64), discretisation: f64) {
    assert!((mean - MEAN).abs() < 0.008 + discretisation, "mean {mean}");
    assert!((deviation - DEVIATION).abs() < 0.006 + discretisation, "deviation {deviation}");
}

#[test]
fn each_sampler_turns_noise_into_the_data() {
    for predicts in [Predicts::Data, Predicts::Velocity] {
        assert_right(run(&Euler(steps(400)), straight(predicts)), 0.003);
        assert_right(run(&Heun(steps(40)), straight(predicts)), 0.003);
        assert_right(run(&Ddim(steps(400)), cosine(predicts)), 0.003);
        assert_right(run(&Ddim(steps(400)), Process::new(Linear::default(), predicts)), 0.003);
    }
    // Where nothing is left of the data, predicted noise says nothing of them: the first step is a small one.
    assert_right(run(&Euler(steps(400)), straight(Predicts::Noise)), 0.003);
    assert_right(run(&Heun(steps(400)), straight(Predicts::Noise)), 0.003);
    assert_right(run(&Ddim(steps(400)), cosine(Predicts::Noise)), 0.003);
    assert_right(run(&Ddim(steps(400)), Process::new(Linear::default(), Predicts::Noise)), 0.003);
}

#[test]
fn fresh_noise_leaves_the_data_as_they_are() {
    for eta in [0.5, 1.0] {
        let steps = Steps { eta, ..steps(400) };
        assert_right(run(&Euler(steps), straight(Predicts::Data)), 0.003);
        assert_right(run(&Ddim(steps), cosine(Predicts::Velocity)), 0.003);
    }
    let kept = run(&Euler(steps(10)), straight(Predicts::Data));
    let fresh = run(&Euler(Steps { eta: 1.0, ..steps(10) }), straight(Predicts::Data));
    assert!(kept != fresh, "fresh noise makes other samples");
}

#[test]
fn frames_may_walk_one_after_the_other() {
    for frame_offset in [0.3, 1.0] {
        for eta in [0.0, 1.0] {
            let steps = Steps { frame_offset, eta, ..steps(1000) };
            assert_right(run(&Euler(steps), straight(Predicts::Velocity)), 0.003);
            assert_right(run(&Ddim(steps), cosine(Predicts::Data)), 0.003);
        }
    }
}

#[test]
fn the_second_order_is_nearer_in_as_many_passes() {
    let miss = |(_, deviation): (f64, f64)| (deviation - DEVIATION).abs();
    let euler = run(&Euler(steps(19)), straight(Predicts::Data));
    let heun = run(&Heun(steps(10)), straight(Predicts::Data));
    assert!(miss(heun) < miss(euler), "{heun:?} {euler:?}");
}

#[test]
fn one_step_is_the_mean() {
    // From pure noise the best guess knows nothing: the data's mean, and one step goes there.
    let (mean, deviation) = run(&Euler(steps(1)), straight(Predicts::Data));
    assert!((mean - MEAN).abs() < 1e-5 && deviation < 1e-4, "{mean} {deviation}");
}

#[test]
fn a_limit_is_one_of_bits_and_none_of_latents() {
    let process = straight(Predicts::Data);
    let mut backbone = exact(&process);
    let latents = TokenShape { grid: [3, 1, 1], ..backbone.canvas.tracks[0].tokens };
    let mut canvas = CanvasShape::clone(&backbone.canvas).with_sound(latents, 1, 1);
    canvas.tracks[0].tokens.kind = TokenKind::Codes { levels: 1, entries: 8, bits: Some(3) };
    backbone.canvas = Arc::new(canvas);
    let request = SampleRequest::prompts(&[vec![1, 2]], vec![RngKey::new(3)], &backbone.canvas);
    let euler = Euler(Steps { clip: 0.5, ..steps(2) });
    let (backbone, log) = backbone.watched();
    let sampled = testing::sampled(&euler, &backbone, Some(&process), &request).remove(0);
    assert!(matches!(sampled.tracks[..2], [TokenValues::Codes { .. }, TokenValues::Vectors { .. }]));
    // What the first step took for clean, of which nothing but the mean is known yet.
    let log = log.lock().unwrap();
    let clean = log[1][0].x0_prev.as_ref().unwrap();
    for (element, vector) in request.layout.elements().iter().zip(clean.chunks(3)) {
        let wanted = if element.track == 0 { 0.5 } else { MEAN as f32 };
        assert!(vector.iter().all(|x| (x - wanted).abs() < 1e-5), "{element:?}: {vector:?}");
    }
}
