//! Editing by strength: what a sampler makes of tokens that it starts from.

use super::diffusion::{Ddim, Euler, Heun, Steps};
use super::maskgit::MaskGit;
use super::tests::{DEVIATION, MEAN, exact};
use crate::objectives::masked::MaskSchedule;
use crate::testing::{self, Fake, cosine, of_codes, of_vectors, straight};
use burn::tensor::{Device, Tensor};
use musiva_core::canvas::{Logits, Prediction, Values};
use musiva_core::{
    Backbone, BackboneSpec, CanvasShape, Predicts, Process, RngKey, RngStream, SampleRequest, Sampler, Start,
    TokenKind, TokenShape,
};

/// So many that a token hardly comes out as what it was.
const ENTRIES: usize = 4099;
/// Tokens of the clip.
const LENGTH: usize = 3 * 5 * 7;

/// Knows nothing: every token is as likely as any other.
fn ignorant() -> Fake {
    let kind = TokenKind::Codes { levels: 1, entries: ENTRIES, bits: None };
    let canvas = CanvasShape::new(1, 2, TokenShape { grid: [3, 5, 7], kind });
    Fake::new(BackboneSpec::Masked, canvas, move |batch| {
        let shape = [batch.conditioning.size, LENGTH, ENTRIES];
        Prediction::Logits(vec![Logits::of_one(0, (0..LENGTH).collect(), Tensor::zeros(shape, &Device::flex()))])
    })
}

/// What is made of each sample, from `start` or from nothing, and in how many steps.
fn sampled(
    sampler: &dyn Sampler,
    backbone: &dyn Backbone,
    process: Option<&Process>,
    samples: &[u64],
    start: Option<Start>,
) -> (Vec<Values>, usize) {
    let words = backbone.canvas().track("text").unwrap().tokens.length();
    let (prompts, keys) = (vec![vec![1; words]; samples.len()], samples.iter());
    let keys = keys.map(|&sample| RngKey::new(3).sample(sample)).collect();
    let request = SampleRequest { start, ..SampleRequest::prompts(&prompts, keys, backbone.canvas()) };
    let mut sampling = sampler.begin(backbone, process, &request).unwrap();
    while sampling.progress().0 < sampling.progress().1 {
        sampling.step(backbone).unwrap();
    }
    (sampling.tokens().unwrap(), sampling.progress().1)
}

fn numbers(values: &[Values]) -> Vec<f64> {
    values.iter().flat_map(testing::vectors).map(|&number| f64::from(number)).collect()
}

/// Clips of the data that [`exact`] knows.
fn data(backbone: &Fake, samples: u64) -> Vec<Values> {
    let normals = |sample| RngKey::new(8).sample(sample).stream(RngStream::Data).normals(LENGTH * 3);
    let number = |x: f32| (MEAN + DEVIATION * f64::from(x)) as f32;
    let clip = |sample| of_vectors(&backbone.canvas, normals(sample).into_iter().map(number).collect());
    (0..samples).map(clip).collect()
}

/// A sampler, and the process that it reverses, by what a backbone predicts.
type Reversal = (Box<dyn Sampler>, fn(Predicts) -> Process);

/// Every diffusion sampler with a shift that rounds, in so many steps.
fn diffusion(steps: usize) -> Vec<Reversal> {
    let plain = Steps { steps, shift: 2.9, ..Steps::default() };
    let late = Steps { frame_offset: 0.7, eta: 0.3, ..plain };
    vec![
        (Box::new(Euler(plain)), straight),
        (Box::new(Euler(late)), straight),
        (Box::new(Heun(plain)), straight),
        (Box::new(Ddim(plain)), cosine),
        (Box::new(Ddim(Steps { frame_offset: 1.0, ..plain })), cosine),
    ]
}

#[test]
fn strength_1_is_generation_from_nothing_to_the_byte() {
    for (i, (sampler, of)) in diffusion(7).iter().enumerate() {
        let process = of(Predicts::Data);
        let backbone = exact(&process);
        let start = Start { tokens: data(&backbone, 2), strength: 1.0 };
        let made = |start| sampled(&**sampler, &backbone, Some(&process), &[4, 5], start);
        assert!(made(Some(start)) == made(None), "sampler {i}");
    }
    use MaskSchedule::*;
    let model = ignorant();
    let tokens = vec![of_codes(&model.canvas, vec![1; LENGTH]); 2];
    for schedule in [Cosine, Linear, Square, Cubic, Root, Exponential, Logarithmic] {
        let sampler = MaskGit { steps: 7, schedule, ..MaskGit::default() };
        let start = Start { tokens: tokens.clone(), strength: 1.0 };
        let of = |start| sampled(&sampler, &model, None, &[4, 5], start);
        assert!(of(Some(start)) == of(None), "{schedule:?}");
    }
}

#[test]
fn near_0_clips_stay_and_with_strength_they_go_further() {
    for (i, (sampler, of)) in diffusion(40).iter().enumerate() {
        let process = of(Predicts::Velocity);
        let backbone = exact(&process);
        let clips = data(&backbone, 3);
        let away = |strength| {
            let start = Start { tokens: clips.clone(), strength };
            let (sampled, steps) = sampled(&**sampler, &backbone, Some(&process), &[0, 1, 2], Some(start));
            let pairs = numbers(&sampled).into_iter().zip(numbers(&clips));
            let (sum, count) = pairs.fold((0.0, 0), |(sum, n), (a, b)| (sum + (a - b).powi(2), n + 1));
            ((sum / f64::from(count)).sqrt(), steps)
        };
        let all = [0.001, 0.25, 0.5, 0.75, 1.0].map(away);
        assert!(all[0].0 < 0.02 && all.windows(2).all(|pair| pair[0].0 < pair[1].0), "sampler {i}: {all:?}");
        assert_eq!(all.map(|(_, steps)| steps), [1, 10, 20, 30, 40]);
    }
}

/// The way from the data's noisy marginal leads back to the data: an edit of a clip is a clip, whatever the strength.
#[test]
fn what_an_edit_makes_of_the_data_is_distributed_as_the_data() {
    for (i, (sampler, of)) in diffusion(400).iter().enumerate() {
        let process = of(Predicts::Data);
        let backbone = exact(&process);
        let samples: Vec<u64> = (0..60).collect();
        let start = Start { tokens: data(&backbone, 60), strength: 0.5 };
        let all = numbers(&sampled(&**sampler, &backbone, Some(&process), &samples, Some(start)).0);
        let n = all.len() as f64;
        let mean = all.iter().sum::<f64>() / n;
        let deviation = (all.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / n).sqrt();
        // Of 18,900 numbers the standard errors are 0.0036 and 0.0026.
        assert!(
            (mean - MEAN).abs() < 0.015 && (deviation - DEVIATION).abs() < 0.013,
            "sampler {i}: {mean} {deviation}"
        );
    }
}

#[test]
fn as_many_tokens_change_as_the_schedule_hides_there_and_with_strength_these_and_more() {
    let model = ignorant();
    let sampler = MaskGit { steps: 10, guidance: 2.0, ..MaskGit::default() };
    let tokens: Vec<u32> = (0..LENGTH as u32).collect();
    let edit = |strength, samples: &[u64]| {
        let start = Start { tokens: vec![of_codes(&model.canvas, tokens.clone()); samples.len()], strength };
        sampled(&sampler, &model, None, samples, Some(start))
    };
    let changed = |strength| -> (Vec<usize>, usize) {
        let (sampled, steps) = edit(strength, &[6]);
        let codes = testing::codes(&sampled[0]);
        ((0..tokens.len()).filter(|&position| codes[position] != tokens[position]).collect(), steps)
    };
    let mut before = Vec::new();
    for (strength, left) in [(0.001, 1), (0.2, 2), (0.45, 5), (0.8, 8), (1.0, 10)] {
        let (now, steps) = changed(strength);
        let masked =
            (MaskSchedule::Cosine.masked_fraction(1.0 - strength, tokens.len()) * tokens.len() as f64).floor() as usize;
        // One of 4,099 comes out as it was.
        assert!(now.len() <= masked && masked <= now.len() + 1, "{strength}: {} of {masked}", now.len());
        assert!(before.iter().all(|position| now.contains(position)), "{strength}");
        assert_eq!(steps, left);
        before = now;
    }
    assert_eq!(changed(0.001).0, [0; 0]);
    assert_eq!(edit(0.6, &[3, 4, 5]).0[1], edit(0.6, &[4]).0[0], "a sample does not hang on its batch");
}

#[test]
fn one_token_after_the_other_cannot_be_edited() {
    let error = super::autoregressive::Autoregressive::default().edits().unwrap_err();
    assert!(error.message.contains("diffusion and masked models"), "{}", error.message);
}
