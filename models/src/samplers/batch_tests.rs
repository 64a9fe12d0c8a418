//! A sample does not hang on its batch: alone it is what it is among others, by each sampler of each real backbone.

use super::autoregressive::Autoregressive;
use super::diffusion::{Ddim, Euler, Heun, Steps};
use super::maskgit::{Choice, MaskGit};
use crate::dit::DitConfig;
use crate::lm::LmConfig;
use crate::masked::MaskedConfig;
use crate::testing::{cosine, prompted, salted, sampled, stirred, straight};
use musiva_core::canvas::{ConditionShape, Layout, LevelPattern, TrackShape, Values};
use musiva_core::{
    BackboneConfig, CanvasShape, Predicts, Process, RngKey, SampleRequest, Sampler, Start, TokenKind, TokenShape,
    TokenValues,
};
use std::sync::Arc;

/// Two steps of a clip of 1 × 3 tokens and the sound of its three frames.
fn canvas(clip: TokenKind, sound: TokenKind) -> CanvasShape {
    let sound = TokenShape { grid: [3, 1, 1], kind: sound };
    CanvasShape::new(2, 5, TokenShape { grid: [2, 1, 3], kind: clip }).with_sound(sound, 1, 2).with_context()
}

/// These samples, each with a prompt, a context and a start of its own. One position is given and generated.
fn request(canvas: &Arc<CanvasShape>, samples: &[u64], strength: Option<f64>) -> SampleRequest {
    let layout = match canvas.tracks.len() {
        // A sound alone.
        2 => Layout::with_prompt(canvas, vec![0], vec![1, 2, 3]),
        _ => Layout::with_prompt(canvas, vec![0, 1, 6], vec![1, 2, 3, 4, 5, 7, 8]),
    };
    let each = |positions: &[usize], salt| -> Vec<Values> {
        samples.iter().map(|&s| salted(canvas, s + salt).at(positions, canvas)).collect()
    };
    let words = samples.iter().map(|&s| [1 + s as u32 % 4, 2]);
    let known = each(layout.context(), 100).into_iter().zip(words);
    let mut context: Vec<Values> = known.map(|(known, words)| prompted(canvas, &words, known)).collect();
    for (context, &sample) in context.iter_mut().zip(samples) {
        context.numbers = vec![Some(sample as f64); canvas.conditions.len()];
    }
    SampleRequest {
        context,
        start: strength.map(|strength| Start { tokens: each(layout.target(), 200), strength }),
        layout: Arc::new(layout),
        keys: samples.iter().map(|&s| RngKey::new(1).sample(s)).collect(),
    }
}

/// Codes are the same, numbers almost.
fn same(a: &Values, b: &Values) -> bool {
    let near = |a: &[f32], b: &[f32]| a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-3);
    a.tracks.iter().zip(&b.tracks).all(|pair| match pair {
        (TokenValues::Vectors { values: a, .. }, TokenValues::Vectors { values: b, .. }) => near(a, b),
        (a, b) => a == b,
    })
}

fn check(
    config: &dyn BackboneConfig,
    canvas: &CanvasShape,
    samplers: &[(&dyn Sampler, Option<&Process>, Option<f64>)],
) {
    let model = stirred(config, canvas);
    for (i, (sampler, process, strength)) in samplers.iter().enumerate() {
        let make = |samples: &[u64]| sampled(*sampler, &*model, *process, &request(model.canvas(), samples, *strength));
        let samples = [3, 9, 4];
        let together = make(&samples);
        for (k, &sample) in samples.iter().enumerate() {
            let alone = make(&[sample]).remove(0);
            let same = same(&alone, &together[k]);
            assert!(same, "sampler {i}, sample {sample}: {alone:?} alone, {:?} among others", together[k]);
        }
        assert!(together[0] != together[1] && together[1] != together[2], "sampler {i}: samples are alike");
    }
}

/// A number for each route that a backbone has.
fn numbers(config: &dyn BackboneConfig) -> Vec<ConditionShape> {
    let condition = |(i, &route)| {
        let name = format!("number{i}");
        ConditionShape { from: name.clone(), name, route, range: [0.0, 10.0], dropout: 0.1 }
    };
    config.routes().iter().enumerate().map(condition).collect()
}

/// The same codes of sound in every pattern, and such a sound alone; and with numbers.
fn canvases(config: &dyn BackboneConfig) -> Vec<CanvasShape> {
    let patterns = [LevelPattern::Parallel, LevelPattern::Delay, LevelPattern::Flat];
    let clip = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
    let each = patterns.into_iter().flat_map(|pattern| {
        let mut both = canvas(clip, TokenKind::residual(3, 4));
        both.tracks[1].pattern = pattern;
        let sound = TokenShape { grid: [4, 1, 1], kind: TokenKind::residual(3, 4) };
        let sound = TrackShape { pattern, context: true, ..TrackShape::audio("audio", sound, [1, 1], 1) };
        let alone =
            CanvasShape { tracks: vec![sound, both.tracks[2].clone()], order: both.order, conditions: Vec::new() };
        [both, alone]
    });
    let mut all: Vec<CanvasShape> = each.collect();
    all.push(CanvasShape { conditions: numbers(config), ..all[0].clone() });
    all
}

#[test]
fn of_a_language_model() {
    let config = LmConfig { width: 32, depth: 2, heads: 2, digits: 2, ..Default::default() };
    let plain = Autoregressive { temperature: 0.8, top_k: 3, top_p: 0.9, ..Default::default() };
    let guided = Autoregressive { guidance: 2.5, ..plain };
    for canvas in canvases(&config) {
        check(&config, &canvas, &[(&plain, None, None), (&guided, None, None)]);
    }
}

#[test]
fn of_a_masked_model() {
    let config = MaskedConfig { width: 32, depth: 2, heads: 2, digits: 2, ..Default::default() };
    let plain = MaskGit { steps: 3, ..Default::default() };
    let guided = MaskGit { guidance: 2.5, choice: Choice::Confidence, frame_offset: 0.5, ..plain };
    for canvas in canvases(&config) {
        check(&config, &canvas, &[(&plain, None, None), (&guided, None, None), (&guided, None, Some(0.6))]);
    }
}

#[test]
fn of_a_diffusion_model() {
    let canvas = canvas(TokenKind::Vectors { channels: 3 }, TokenKind::Vectors { channels: 2 });
    let config = DitConfig { width: 32, depth: 2, heads: 2, ..Default::default() };
    let canvas = CanvasShape { conditions: numbers(&config), ..canvas };
    let processes = [straight(Predicts::Velocity), cosine(Predicts::Velocity)];
    let [straight, cosine] = processes.each_ref().map(Some);
    let plain = Steps { steps: 3, ..Default::default() };
    let guided = Steps { guidance: 2.5, shift: 2.0, ..plain };
    let late = Steps { eta: 0.7, frame_offset: 0.5, ..guided };
    check(
        &config,
        &canvas,
        &[
            (&Euler(plain), straight, None),
            (&Euler(late), straight, None),
            (&Euler(late), straight, Some(0.6)),
            (&Heun(guided), straight, None),
            (&Heun(guided), straight, Some(0.6)),
            (&Ddim(guided), cosine, None),
            (&Ddim(late), cosine, Some(0.6)),
        ],
    );
}
