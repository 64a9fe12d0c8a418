//! A sample does not hang on its batch: alone it is what it is among others, by each sampler of each real backbone.

use super::autoregressive::Autoregressive;
use super::diffusion::{Ddim, Euler, Heun, Steps};
use super::maskgit::{Choice, MaskGit};
use crate::dit::DitConfig;
use crate::lm::LmConfig;
use crate::masked::MaskedConfig;
use crate::testing::{sampled, stirred};
use musiva_core::canvas::{Layout, SoundShape, Values};
use musiva_core::{
    BackboneConfig, CanvasShape, NoisePath, Predicts, Process, RngKey, RngStream, SampleRequest, Sampler, Start,
    TokenKind, TokenShape,
};
use std::sync::Arc;

/// Two steps of a clip of 1 × 3 places and the sound of its three frames.
fn canvas(clip: TokenKind, sound: TokenKind) -> CanvasShape {
    let sound = TokenShape { grid: [3, 1, 1], kind: sound };
    CanvasShape {
        sound: Some(SoundShape { tokens: sound, tokens_per_frame: 1, stride: 2 }),
        has_context: true,
        ..CanvasShape::new(2, 5, TokenShape { grid: [2, 1, 3], kind: clip })
    }
}

/// Numbers or codes of a sample for so many places.
fn values(canvas: &CanvasShape, positions: &[usize], sample: u64) -> Values {
    let mut stream = RngKey::new(6).sample(sample).stream(RngStream::Data);
    match canvas.tokens.kind {
        TokenKind::Vectors { .. } => Values::Vectors(stream.normals(positions.len() * canvas.channels().unwrap())),
        _ => Values::Codes(
            positions.iter().map(|&p| stream.below(canvas.kind(p).entries().unwrap() as usize) as u32).collect(),
        ),
    }
}

/// These samples, each with a prompt, a context and a start of its own. One place is given and made.
fn request(canvas: &CanvasShape, samples: &[u64], strength: Option<f64>) -> SampleRequest {
    let layout = Layout::new(vec![0, 1, 6], vec![1, 2, 3, 4, 5, 7, 8]);
    let each =
        |positions: &[usize], salt| samples.iter().map(|&s| values(canvas, positions, s + salt)).collect::<Vec<_>>();
    SampleRequest {
        context: each(layout.context(), 100),
        start: strength.map(|strength| Start { tokens: each(layout.target(), 200), strength }),
        layout: Arc::new(layout),
        ..SampleRequest::prompts(
            samples.iter().map(|&s| vec![1 + s as u32 % 4, 2]).collect(),
            samples.iter().map(|&s| RngKey::new(1).sample(s)).collect(),
            canvas,
        )
    }
}

fn check(config: &dyn BackboneConfig, canvas: &CanvasShape, samplers: &[(&dyn Sampler, Option<Process>, Option<f64>)]) {
    let model = stirred(config, canvas);
    for (i, (sampler, process, strength)) in samplers.iter().enumerate() {
        let make = |samples: &[u64]| sampled(*sampler, &*model, *process, &request(canvas, samples, *strength));
        let samples = [3, 9, 4];
        let together = make(&samples);
        for (k, &sample) in samples.iter().enumerate() {
            let alone = make(&[sample]).remove(0);
            let same = match (&alone, &together[k]) {
                (Values::Codes(alone), Values::Codes(together)) => alone == together,
                (Values::Vectors(alone), Values::Vectors(together)) => {
                    alone.len() == together.len() && alone.iter().zip(together).all(|(a, b)| (a - b).abs() < 1e-3)
                }
                _ => false,
            };
            assert!(same, "sampler {i}, sample {sample}: {alone:?} alone, {:?} among others", together[k]);
        }
        assert!(together[0] != together[1] && together[1] != together[2], "sampler {i}: samples are alike");
    }
}

#[test]
fn of_a_language_model() {
    let canvas = canvas(TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) }, TokenKind::residual(3, 4));
    let config = LmConfig { width: 32, depth: 2, heads: 2, digits: 2, ..Default::default() };
    let plain = Autoregressive { temperature: 0.8, top_k: 3, top_p: 0.9, ..Default::default() };
    let guided = Autoregressive { guidance: 2.5, ..plain };
    check(&config, &canvas, &[(&plain, None, None), (&guided, None, None)]);
}

#[test]
fn of_a_masked_model() {
    let canvas = canvas(TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) }, TokenKind::residual(3, 4));
    let config = MaskedConfig { width: 32, depth: 2, heads: 2, digits: 2, ..Default::default() };
    let plain = MaskGit { steps: 3, ..Default::default() };
    let guided = MaskGit { guidance: 2.5, choice: Choice::Confidence, frame_offset: 0.5, ..plain };
    check(&config, &canvas, &[(&plain, None, None), (&guided, None, None), (&guided, None, Some(0.6))]);
}

#[test]
fn of_a_diffusion_model() {
    let canvas = canvas(TokenKind::Vectors { channels: 3 }, TokenKind::Vectors { channels: 2 });
    let config = DitConfig { width: 32, depth: 2, heads: 2, ..Default::default() };
    let process = |path| Some(Process { path, predicts: Predicts::Velocity });
    let (straight, cosine) = (process(NoisePath::Straight), process(NoisePath::Cosine));
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
