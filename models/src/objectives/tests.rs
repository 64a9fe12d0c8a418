//! The losses of codes by hand, on a clip of three tokens of three entries and a sound of two tokens of two.

use super::drop_prompts;
use super::masked::MaskedTokens;
use super::next_token::NextToken;
use crate::testing::{Asked, Fake, of_codes, salted, softmax};
use burn::tensor::{Device, Tensor};
use musiva_core::canvas::{
    CanvasBatch, CleanBatch, ConditionShape, Head, Layout, LevelPattern, Logits, ModelInput, Prediction, Route,
    TrackShape, Values,
};
use musiva_core::{Backbone, BackboneSpec, CanvasShape, Loss, Objective, RngKey, TokenKind, TokenShape, TokenValues};
use std::f64::consts::LN_2;
use std::sync::Arc;

fn codes(entries: usize) -> TokenKind {
    TokenKind::Codes { levels: 1, entries, bits: None }
}

fn canvas() -> Arc<CanvasShape> {
    let sound = TokenShape { grid: [2, 1, 1], kind: codes(2) };
    Arc::new(CanvasShape::new(1, 4, TokenShape { grid: [1, 1, 3], kind: codes(3) }).with_sound(sound, 2, 1))
}

/// Two samples of the words 1 and 2.
const CODES: [[u32; 5]; 2] = [[2, 0, 1, 1, 0], [1, 1, 0, 0, 1]];

fn batch() -> CleanBatch {
    let canvas = canvas();
    let target = |codes: [u32; 5]| {
        let mut target = of_codes(&canvas, codes[..3].to_vec());
        target.tracks[1] = TokenValues::Codes { levels: 1, entries: 2, codes: codes[3..].to_vec() };
        target
    };
    CleanBatch {
        layout: Arc::new(Layout::whole(&canvas)),
        context: [1, 2].map(|word| canvas.prompt(&[word])).into(),
        target: CODES.map(target).into(),
        samples: vec![0, 1],
        dropout: true,
    }
}

/// Logits of a position of a sample: others each time.
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
    let canvas = Arc::new(CanvasShape::new(1, 2, TokenShape { grid: [1, 1, 1], kind }).with_factors(2));
    let device = Device::flex();
    let fake = Fake::new(BackboneSpec::NextToken, canvas.clone(), move |_| {
        let head = |one: f32| Head { at: vec![0], logits: Tensor::<3>::from_floats([[[0.0, one]]], &Device::flex()) };
        let after = Tensor::<2>::from_floats([[0.0, 0.0], [0.0, 4f32.ln()]], &Device::flex());
        Prediction::Logits(vec![Logits {
            track: 0,
            heads: vec![head(3f32.ln()), head(0.0)],
            digit_conditioning: vec![vec![], vec![after]],
        }])
    });
    for (code, probability) in [(0, 0.25 * 0.5), (1, 0.25 * 0.5), (2, 0.75 * 0.2), (3, 0.75 * 0.8)] {
        let batch = CleanBatch {
            layout: Arc::new(Layout::whole(&canvas)),
            context: vec![canvas.prompt(&[1])],
            target: vec![of_codes(&canvas, vec![code])],
            samples: vec![0],
            dropout: true,
        };
        let loss = NextToken { prompt_dropout: 0.0 }.loss(&fake, &batch, RngKey::new(3)).unwrap();
        let found = f64::from(loss.total.into_scalar::<f32>());
        assert!((found + f64::ln(probability)).abs() < 1e-5, "{code}: {found}");
        let digits = batch.digits(&device).unwrap();
        let conditioning = batch.conditioning_codes(&device).unwrap();
        let input = ModelInput::Codes(digits.clone());
        let Prediction::Logits(mut all) = fake.forward(&CanvasBatch { conditioning, input }).unwrap() else {
            panic!("logits")
        };
        let told = all.remove(0).per_digit(&digits);
        let digits: Vec<i64> = told.iter().map(|told| told.digit.clone().into_scalar::<i64>()).collect();
        assert_eq!(digits, [i64::from(code / 2), i64::from(code % 2)]);
    }
}

/// Of three codebooks, whichever of their codes stand together: a token costs what its codes do.
#[test]
fn a_token_of_codebooks_costs_its_codes_in_any_pattern() {
    for pattern in [LevelPattern::Parallel, LevelPattern::Delay, LevelPattern::Flat] {
        let kind = TokenKind::Codes { levels: 3, entries: 4, bits: None };
        let sound = TrackShape::audio("audio", TokenShape { grid: [5, 1, 1], kind }, [1, 1], 1);
        let text = TrackShape::text("text", TokenShape { grid: [1, 1, 1], kind: codes(4) });
        let tracks = vec![TrackShape { pattern, ..sound }, text];
        let canvas = Arc::new(CanvasShape { tracks, order: Default::default(), conditions: Vec::new() });
        let layout = Arc::new(Layout::whole(&canvas));
        let target = [5, 6].map(|salt| salted(&canvas, salt).at(layout.target(), &canvas));
        // Logits by the word, the token and the codebook.
        let logits = |word: usize, token: usize, digit: usize| -> Vec<f32> {
            (0..4).map(|k| ((word * 7 + token * 5 + digit * 3 + k * 11) % 6) as f32 * 0.5).collect()
        };
        let nats = |row: usize, token: usize, digit: usize| {
            let TokenValues::Codes { codes, .. } = &target[row].tracks[0] else { panic!("codes") };
            let logits: Vec<f64> = logits(row + 1, token, digit).into_iter().map(f64::from).collect();
            -softmax(&logits)[codes[token * 3 + digit] as usize].ln()
        };
        let fake = |spec| {
            Fake::new(spec, canvas.clone(), move |batch| {
                let (layout, words) = (&batch.conditioning.layout, [1, 2]);
                let head = |digit: usize| {
                    let elements = layout.elements().iter().enumerate();
                    let own: Vec<_> = elements.filter(|(_, element)| element.digits.contains(&digit)).collect();
                    let of = |word| own.iter().map(move |(_, e)| logits(word, e.token - e.lag * digit, digit));
                    let numbers: Vec<f32> = words.into_iter().flat_map(of).flatten().collect();
                    let data = burn::tensor::TensorData::new(numbers, [2, own.len(), 4]);
                    let at = own.iter().map(|(i, _)| *i).collect();
                    Head { at, logits: Tensor::from_data(data, &Device::flex()) }
                };
                let heads = (0..3).map(head).collect();
                Prediction::Logits(vec![Logits { track: 0, heads, digit_conditioning: Vec::new() }])
            })
        };
        let batch = CleanBatch {
            layout: layout.clone(),
            context: [1, 2].map(|word| canvas.prompt(&[word])).into(),
            target: target.to_vec(),
            samples: vec![0, 1],
            dropout: true,
        };
        let number = |x: &Tensor<1>| f64::from(x.clone().into_scalar::<f32>());
        let codes =
            || (0..2).flat_map(|row| (0..5).flat_map(move |token| (0..3).map(move |digit| (row, token, digit))));
        let loss = NextToken { prompt_dropout: 0.0 };
        let loss = loss.loss(&fake(BackboneSpec::NextToken), &batch, RngKey::new(3)).unwrap();
        let wanted = codes().map(|(row, token, digit)| nats(row, token, digit)).sum::<f64>() / 10.0;
        assert!((number(&loss.total) - wanted).abs() < 1e-4, "{pattern:?}: {loss:?}, not {wanted}");
        assert!((number(&loss.parts[0].1) * LN_2 - wanted).abs() < 1e-4, "{pattern:?}");

        for step in 0..5 {
            let (fake, log) = fake(BackboneSpec::Masked).watched();
            let objective = MaskedTokens { prompt_dropout: 0.0, ..MaskedTokens::default() };
            let loss = objective.loss(&fake, &batch, RngKey::new(3).step(step)).unwrap();
            let asked = log.lock().unwrap().remove(0);
            // Masked elements, and which part of a token each is.
            let (mut nats_of_masked, mut tokens) = (0.0, 0.0);
            for (row, (i, element)) in
                (0..2).flat_map(|row| layout.elements().iter().enumerate().map(move |e| (row, e)))
            {
                if asked[row].masked[i] {
                    let digits = element.digits.clone();
                    tokens += digits.len() as f64 / 3.0;
                    nats_of_masked +=
                        digits.map(|digit| nats(row, element.token - element.lag * digit, digit)).sum::<f64>();
                }
            }
            assert!((number(&loss.total) - nats_of_masked / tokens).abs() < 1e-4, "{pattern:?}: {loss:?}");
        }
    }
}

#[test]
fn a_dropped_prompt_is_no_prompt_and_hangs_on_its_sample_alone() {
    let words = CanvasShape::new(3, 7, TokenShape { grid: [1, 1, 2], kind: codes(4) }).with_context();
    let mut vectors = words.clone();
    vectors.tracks[1].tokens.kind = TokenKind::Vectors { channels: 2 };
    let texts = [
        TokenValues::Codes { levels: 1, entries: 7, codes: vec![5; 3] },
        TokenValues::Vectors { channels: 2, values: vec![0.5; 6] },
    ];
    for (canvas, said) in [words, vectors].map(Arc::new).into_iter().zip(texts) {
        // The first token is given: it stays.
        let layout = Arc::new(Layout::with_prompt(&canvas, vec![0], vec![1]));
        let mut context = of_codes(&canvas, vec![3]);
        context.tracks[1] = said;
        let nothing = canvas.without_prompt(context.clone());
        assert!(nothing.tracks[0] == context.tracks[0] && nothing != context);
        let batch = |samples: Vec<u64>| CleanBatch {
            layout: layout.clone(),
            context: vec![context.clone(); samples.len()],
            target: vec![of_codes(&canvas, vec![0]); samples.len()],
            samples,
            dropout: true,
        };
        let key = RngKey::new(3).step(11);
        let each: Vec<Values> = drop_prompts(&batch((0..64).collect()), 0.5, key).context;
        let dropped = each.iter().filter(|prompt| **prompt == nothing).count();
        assert!((16..48).contains(&dropped), "{dropped}");
        assert!(each.iter().all(|prompt| [&nothing, &context].contains(&prompt)));
        assert_eq!(drop_prompts(&batch(vec![17]), 0.5, key).context, each[17..18]);
        assert_eq!(drop_prompts(&batch(vec![3, 4]), 0.0, key).context, batch(vec![3, 4]).context);
    }
}

#[test]
fn numbers_are_dropped_each_as_often_as_it_says() {
    let condition = |name: &str, dropout| ConditionShape {
        name: name.into(),
        from: name.into(),
        route: Route::Add,
        range: [0.0, 1.0],
        dropout,
    };
    let conditions = vec![condition("never", 0.0), condition("often", 0.5), condition("always", 1.0)];
    let canvas = Arc::new(CanvasShape { conditions, ..CanvasShape::clone(&canvas()) });
    let layout = Arc::new(Layout::whole(&canvas));
    let context = Values { numbers: vec![Some(0.5); 3], ..canvas.prompt(&[1]) };
    let batch = |samples: Vec<u64>| CleanBatch {
        layout: layout.clone(),
        context: vec![context.clone(); samples.len()],
        target: vec![canvas.blank().at(layout.target(), &canvas); samples.len()],
        samples,
        dropout: true,
    };
    let key = RngKey::new(3).step(11);
    let each = drop_prompts(&batch((0..64).collect()), 0.0, key).context;
    let told = |i: usize| each.iter().filter(|context| context.numbers[i] == Some(0.5)).count();
    assert_eq!([told(0), told(2)], [64, 0]);
    assert!((16..48).contains(&told(1)), "{}", told(1));
    assert!(each.iter().all(|found| found.tracks == context.tracks));
    assert_eq!(drop_prompts(&batch(vec![17]), 0.0, key).context, each[17..18]);
    // Without the prompt goes what a model knows to go without.
    let without = &drop_prompts(&batch(vec![0]), 1.0, key).context[0];
    assert_eq!((without.numbers.clone(), without.tracks == context.tracks), (vec![Some(0.5), None, None], false));
}
