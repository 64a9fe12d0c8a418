//! The losses of codes by hand, on a clip of three tokens of three entries and a sound of two tokens of two.

use super::drop_prompts;
use super::masked::MaskedTokens;
use super::next_token::NextToken;
use crate::testing::{Asked, Fake, softmax};
use burn::tensor::{Device, Tensor};
use musiva_core::canvas::{
    CanvasBatch, CleanBatch, Layout, Logits, ModelInput, Prediction, PromptKind, SoundShape, Values, ints,
};
use musiva_core::{Backbone, BackboneSpec, CanvasShape, Loss, Objective, RngKey, TokenKind, TokenShape};
use std::f64::consts::LN_2;
use std::sync::Arc;

fn codes(entries: usize) -> TokenKind {
    TokenKind::Codes { levels: 1, entries, bits: None }
}

fn canvas() -> CanvasShape {
    let sound = SoundShape { tokens: TokenShape { grid: [2, 1, 1], kind: codes(2) }, tokens_per_frame: 2, stride: 1 };
    CanvasShape { sound: Some(sound), ..CanvasShape::new(1, 4, TokenShape { grid: [1, 1, 3], kind: codes(3) }) }
}

/// Two samples of the words 1 and 2.
const CODES: [[u32; 5]; 2] = [[2, 0, 1, 1, 0], [1, 1, 0, 0, 1]];

fn batch() -> CleanBatch {
    CleanBatch {
        shape: canvas(),
        prompt: Values::Codes(vec![1, 2]),
        layout: Arc::new(Layout::whole(&canvas())),
        context: Values::Codes(Vec::new()),
        tokens: Values::Codes(CODES.concat()),
        samples: vec![0, 1],
    }
}

/// Logits of a place of a sample: others each time.
fn logits(word: usize, position: usize) -> Vec<f32> {
    let entries = if position < 3 { 3 } else { 2 };
    (0..entries).map(|k| ((word * 7 + position * 5 + k * 3) % 4) as f32 * 0.7 - 1.0).collect()
}

/// What a token costs in nats by these logits.
fn nats(row: usize, position: usize) -> f64 {
    let logits: Vec<f64> = logits(1 + row, position).into_iter().map(f64::from).collect();
    -softmax(&logits)[CODES[row][position] as usize].ln()
}

fn known(asked: &Asked) -> Vec<Vec<f32>> {
    (0..5).map(|position| logits(asked.word(), position)).collect()
}

/// Sure of the code that is true.
fn right(asked: &Asked) -> Vec<Vec<f32>> {
    let code = |position: usize| CODES[asked.word() - 1][position] as usize;
    let entries = |position| if position < 3 { 3 } else { 2 };
    (0..5)
        .map(|position| (0..entries(position)).map(|k| if k == code(position) { 50.0 } else { 0.0 }).collect())
        .collect()
}

#[track_caller]
fn assert_is(loss: &Loss, total: f64, clip: f64, sound: f64) {
    let number = |x: &Tensor<1>| f64::from(x.clone().into_scalar::<f32>());
    let parts: Vec<_> = loss.parts.iter().map(|(name, part)| (*name, number(part) * LN_2)).collect();
    let wanted = [("bits_per_token", total), ("bits_per_token_of_clip", clip), ("bits_per_token_of_sound", sound)];
    let near = |(a, b): (&(&str, f64), &(&str, f64))| a.0 == b.0 && (a.1 - b.1).abs() < 1e-5;
    assert!((number(&loss.total) - total).abs() < 1e-5, "{loss:?}, not {total}");
    assert!(parts.len() == 3 && parts.iter().zip(&wanted).all(near), "{parts:?}, not {wanted:?}");
}

fn mean(nats: impl Iterator<Item = f64>) -> f64 {
    let all: Vec<f64> = nats.collect();
    all.iter().sum::<f64>() / all.len().max(1) as f64
}

#[test]
fn the_loss_of_the_next_token_is_the_mean_of_all() {
    let objective = NextToken { prompt_dropout: 0.0 };
    let (fake, log) = Fake::each(BackboneSpec::NextToken, canvas(), known).watched();
    let loss = objective.loss(&fake, &batch(), RngKey::new(3)).unwrap();
    let of =
        |positions: std::ops::Range<usize>| mean(positions.flat_map(|position| [nats(0, position), nats(1, position)]));
    assert_is(&loss, of(0..5), of(0..3), of(3..5));
    // The backbone reads the clean codes.
    let log = log.lock().unwrap();
    assert_eq!([&log[0][0].codes[..], &log[0][1].codes], [CODES[0], CODES[1]]);

    let sure = Fake::each(BackboneSpec::NextToken, canvas(), right);
    assert_is(&objective.loss(&sure, &batch(), RngKey::new(3)).unwrap(), 0.0, 0.0, 0.0);
}

#[test]
fn the_loss_of_hidden_tokens_is_the_mean_of_those_alone() {
    let objective = MaskedTokens { prompt_dropout: 0.0, ..MaskedTokens::default() };
    for step in 0..20 {
        let (fake, log) = Fake::each(BackboneSpec::Masked, canvas(), known).watched();
        let loss = objective.loss(&fake, &batch(), RngKey::new(3).step(step)).unwrap();
        let asked = log.lock().unwrap().remove(0);
        let of = |positions: std::ops::Range<usize>| {
            let all = positions.flat_map(|position| [(0, position), (1, position)]);
            mean(
                all.filter(|&(row, position): &(usize, usize)| asked[row].masked[position])
                    .map(|(row, position)| nats(row, position)),
            )
        };
        assert_is(&loss, of(0..5), of(0..3), of(3..5));
        // What is not hidden is what is true, and of each sample something is hidden.
        for (row, asked) in asked.iter().enumerate() {
            assert!((0..5).all(|i| asked.masked[i] || asked.codes[i] == CODES[row][i]));
            assert!(asked.masked.contains(&true));
        }

        let sure = Fake::each(BackboneSpec::Masked, canvas(), right);
        assert_is(&objective.loss(&sure, &batch(), RngKey::new(3).step(step)).unwrap(), 0.0, 0.0, 0.0);
        // Of what is not hidden nothing is asked: to be wrong there costs nothing.
        let lazy = Fake::each(BackboneSpec::Masked, canvas(), |asked| {
            let wrong = |logits: Vec<f32>| logits.into_iter().map(|logit| -logit).collect();
            right(asked).into_iter().zip(&asked.masked).map(|(l, &hidden)| if hidden { l } else { wrong(l) }).collect()
        });
        assert_is(&objective.loss(&lazy, &batch(), RngKey::new(3).step(step)).unwrap(), 0.0, 0.0, 0.0);
    }
}

#[test]
fn each_digit_is_told_those_before_it() {
    // One token of two binary digits: the first is a one by 3/4; after a zero the second is by 1/2, after a one by 4/5.
    let kind = TokenKind::Codes { levels: 1, entries: 4, bits: Some(2) };
    let canvas = CanvasShape::new(1, 2, TokenShape { grid: [1, 1, 1], kind });
    let device = Device::flex();
    let fake = Fake::new(BackboneSpec::NextToken, canvas, move |_| {
        let head = |one: f32| Tensor::<3>::from_floats([[[0.0, one]]], &Device::flex());
        let after = Tensor::<2>::from_floats([[0.0, 0.0], [0.0, 4f32.ln()]], &Device::flex());
        Prediction::Logits(vec![Logits {
            at: vec![0],
            heads: vec![head(3f32.ln()), head(0.0)],
            digit_conditioning: vec![vec![], vec![after]],
        }])
    });
    for (code, probability) in [(0, 0.25 * 0.5), (1, 0.25 * 0.5), (2, 0.75 * 0.2), (3, 0.75 * 0.8)] {
        let batch = CleanBatch {
            shape: canvas,
            prompt: Values::Codes(vec![1]),
            layout: Arc::new(Layout::whole(&canvas)),
            context: Values::Codes(Vec::new()),
            tokens: Values::Codes(vec![code]),
            samples: vec![0],
        };
        let loss = NextToken { prompt_dropout: 0.0 }.loss(&fake, &batch, RngKey::new(3)).unwrap();
        let found = f64::from(loss.total.into_scalar::<f32>());
        assert!((found + f64::ln(probability)).abs() < 1e-5, "{code}: {found}");
        let input = ModelInput::Codes(ints(&[code], [1, 1], &device));
        let Prediction::Logits(mut all) =
            fake.forward(&CanvasBatch { conditioning: batch.conditioning_codes(&device), input })
        else {
            panic!("logits")
        };
        let told = all.remove(0).per_digit(&ints(&[code], [1, 1], &device));
        let digits: Vec<i64> = told.iter().map(|(digit, _)| digit.clone().into_scalar::<i64>()).collect();
        assert_eq!(digits, [i64::from(code / 2), i64::from(code % 2)]);
    }
}

#[test]
fn a_dropped_prompt_is_no_prompt_and_hangs_on_its_sample_alone() {
    let words = CanvasShape::new(3, 7, TokenShape { grid: [1, 1, 2], kind: codes(4) });
    let vectors = CanvasShape { text: PromptKind::Vectors(2), ..words };
    for (shape, said) in [(words, Values::Codes(vec![5; 3])), (vectors, Values::Vectors(vec![0.5; 6]))] {
        let batch = |samples: Vec<u64>| CleanBatch {
            shape,
            prompt: Values::concat(&vec![said.clone(); samples.len()]),
            layout: Arc::new(Layout::whole(&shape)),
            context: Values::Codes(Vec::new()),
            tokens: Values::Codes(vec![0; 2 * samples.len()]),
            samples,
        };
        let key = RngKey::new(3).step(11);
        let all = drop_prompts(&batch((0..64).collect()), 0.5, key).prompt;
        let each: Vec<Values> = (0..64).map(|i| all.part(i, 64)).collect();
        let dropped = each.iter().filter(|prompt| **prompt == shape.no_prompt()).count();
        assert!((16..48).contains(&dropped), "{dropped}");
        assert!(each.iter().all(|prompt| [&shape.no_prompt(), &said].contains(&prompt)));
        assert_eq!(drop_prompts(&batch(vec![17]), 0.5, key).prompt, each[17]);
        assert_eq!(drop_prompts(&batch(vec![3, 4]), 0.0, key).prompt, batch(vec![3, 4]).prompt);
    }
}
