//! Classifier-free guidance is `without + guidance·(with - without)` in every sampler (Ho and Salimans 2022): of logits,
//! and of the clean data. Answers with and without a prompt are known, and of each sample others.

use super::autoregressive::Autoregressive;
use super::diffusion::{Ddim, Euler, Heun, Steps};
use super::maskgit::MaskGit;
use crate::testing::{
    self, Asked, Fake, Log, chi2, cosine, keys, of_codes, of_vectors, prompted, right, sampled, softmax, straight,
};
use musiva_core::canvas::{Layout, Values};
use musiva_core::{BackboneSpec, CanvasShape, Predicts, Process, SampleRequest, Sampler, TokenKind, TokenShape};
use std::sync::Arc;

const GUIDANCES: [f32; 4] = [0.0, 0.5, 1.0, 3.0];

/// Logits of three entries: without a prompt, with the word 1, with the word 2.
const LOGITS: [[f64; 3]; 3] = [[0.3, 0.0, -0.2], [0.0, 0.3, 0.1], [-0.1, 0.1, 0.4]];

/// Three tokens, of which the first is given.
fn canvas(kind: TokenKind) -> Arc<CanvasShape> {
    Arc::new(CanvasShape::new(1, 3, TokenShape { grid: [1, 1, 3], kind }).with_context())
}

/// So many samples, of the words 1, 2, 1, 2, …, each after a context of its own.
fn request(canvas: &Arc<CanvasShape>, size: usize, context: impl Fn(usize) -> Values) -> SampleRequest {
    SampleRequest {
        layout: Arc::new(Layout::with_prompt(canvas, vec![0], vec![1, 2])),
        context: (0..size).map(|i| prompted(canvas, &[1 + i as u32 % 2], context(i))).collect(),
        keys: keys(7, size),
        start: None,
    }
}

/// What a model says of a token after the context and the token before it: the same, turned by both.
fn turned(logits: [f64; 3], by: u32) -> [f64; 3] {
    [0, 1, 2].map(|entry| logits[(entry + by as usize) % 3])
}

fn context(asked: &Asked) -> u32 {
    asked.context[0] as u32
}

/// χ² of pairs of codes against a temperature of 0.7 and guidance of the logits; `sees` is whether the second token hangs
/// on the first.
fn far(sampler: &dyn Sampler, spec: BackboneSpec, guidance: f64, sees: bool) -> f64 {
    let canvas = canvas(TokenKind::Codes { levels: 1, entries: 3, bits: None });
    let backbone = Fake::each(spec, canvas.clone(), move |asked| {
        let logits = |before| turned(LOGITS[asked.word()], context(asked) + before).map(|logit| logit as f32).to_vec();
        vec![logits(0), logits(if sees { asked.codes[0] } else { 0 })]
    });
    let size = 12_000;
    let request = request(&canvas, size, |i| of_codes(&canvas, vec![i as u32 / 2 % 3]));
    let mut counts = [[0.0; 9]; 6];
    for (i, codes) in sampled(sampler, &backbone, None, &request).iter().map(testing::codes).enumerate() {
        counts[i % 6][(codes[0] * 3 + codes[1]) as usize] += 1.0;
    }
    let chance = |word: usize, by: u32| {
        let mixed = [0, 1, 2].map(|k| LOGITS[0][k] + guidance * (LOGITS[word][k] - LOGITS[0][k]));
        softmax(&turned(mixed, by).map(|logit| logit / 0.7))
    };
    let group = |i: usize| {
        let (word, context) = (1 + i % 2, i as u32 / 2);
        let pair = |pair: u32| {
            let (first, second) = (pair / 3, pair % 3);
            let before = if sees { first } else { 0 };
            chance(word, context)[first as usize] * chance(word, context + before)[second as usize]
        };
        chi2(&counts[i], &(0..9).map(pair).collect::<Vec<_>>())
    };
    (0..6).map(group).sum()
}

/// 6 groups of 8 degrees of freedom: above 84.0 once in a thousand.
const FAR: f64 = 84.0;

#[test]
fn tokens_drawn_one_after_the_other_follow_the_guided_logits() {
    for guidance in GUIDANCES {
        let sampler = Autoregressive { guidance, temperature: 0.7, ..Autoregressive::default() };
        let found = far(&sampler, BackboneSpec::NextToken, f64::from(guidance), true);
        assert!(found < FAR, "guidance {guidance}: {found}");
    }
}

#[test]
fn hidden_tokens_follow_the_guided_logits() {
    for guidance in GUIDANCES {
        let sampler = MaskGit { guidance, temperature: 0.7, steps: 2, ..MaskGit::default() };
        let found = far(&sampler, BackboneSpec::Masked, f64::from(guidance), false);
        assert!(found < FAR, "guidance {guidance}: {found}");
    }
}

/// The clean data that a model takes for known by the word and the context, in each channel of each token.
const CLEAN: [f64; 3] = [-1.0, 0.5, 2.0];

/// Says so at any time and of any noise.
fn sure(process: &Process) -> (Fake, Log) {
    let process = process.clone();
    let canvas = canvas(TokenKind::Vectors { channels: 2 });
    let spec = BackboneSpec::Diffusion { channels: 2, self_conditioned: false };
    let fake = Fake::each(spec, canvas, move |asked| {
        let context = f64::from(asked.context[0]);
        let number = |i: usize| {
            let (clean, t) = (CLEAN[asked.word()] + context + i as f64, asked.times[0]);
            let (alpha, sigma) = process.schedule.mix(t);
            right(&process, clean, (f64::from(asked.values[i]) - alpha * clean) / sigma, t) as f32
        };
        (0..2).map(|position| (0..2).map(|channel| number(2 * position + channel)).collect()).collect()
    });
    fake.watched()
}

#[test]
fn clean_data_are_guided() {
    type Make = fn(Steps) -> Box<dyn Sampler>;
    type Of = fn(Predicts) -> Process;
    let samplers: [(Make, Of, usize); 3] = [
        (|steps| Box::new(Euler(steps)), straight, 3),
        (|steps| Box::new(Heun(steps)), straight, 5),
        (|steps| Box::new(Ddim(steps)), cosine, 3),
    ];
    for (make, of, calls) in samplers {
        for (guidance, predicts) in GUIDANCES.into_iter().flat_map(|g| [(g, Predicts::Data), (g, Predicts::Velocity)]) {
            let (process, size) = (of(predicts), 5);
            let (backbone, log) = sure(&process);
            let request = request(&backbone.canvas, size, |i| of_vectors(&backbone.canvas, vec![10.0 * i as f32, 0.0]));
            let sampler = make(Steps { steps: 3, guidance, ..Steps::default() });
            let sampled = sampled(&*sampler, &backbone, Some(&process), &request);
            for (i, found) in sampled.iter().map(testing::vectors).enumerate() {
                let (with, without, guidance) = (CLEAN[1 + i % 2], CLEAN[0], f64::from(guidance));
                for (j, &found) in found.iter().enumerate() {
                    let wanted = without + guidance * (with - without) + (10 * i + j) as f64;
                    assert!((f64::from(found) - wanted).abs() < 1e-3, "{process:?} {guidance}: {found}, {wanted}");
                }
            }
            // Who needs no guidance does not pay for it.
            let rows: Vec<usize> = log.lock().unwrap().iter().map(Vec::len).collect();
            assert_eq!(rows, vec![if guidance == 1.0 { size } else { 2 * size }; calls]);
        }
    }
}

#[test]
fn both_halves_see_the_same_noise_and_the_same_guess() {
    let process = straight(Predicts::Data);
    let (backbone, log) = sure(&process);
    let request = request(&backbone.canvas, 2, |i| of_vectors(&backbone.canvas, vec![i as f32, 0.0]));
    let sampler = Euler(Steps { steps: 3, guidance: 2.0, ..Steps::default() });
    sampled(&sampler, &backbone, Some(&process), &request);
    for call in log.lock().unwrap().iter() {
        for (with, without) in call[..2].iter().zip(&call[2..]) {
            assert_eq!(without, &Asked { prompt: vec![0.0], ..with.clone() });
        }
    }
}
