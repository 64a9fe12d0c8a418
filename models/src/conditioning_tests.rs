//! What each backbone's answers hang on, and what they do not: of two samples at once, position by position, to the bit.

use crate::dit::DitConfig;
use crate::lm::{LmConfig, Prefix};
use crate::masked::MaskedConfig;
use crate::testing::stirred;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{
    CanvasBatch, Conditioning, MaskedCodes, ModelInput, NoisyVectors, PositionOrder, Prediction, Values, ints,
};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Layout, Modality, RngKey, RngStream, TokenKind, TokenShape,
    TokenValues,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Two steps of a clip of 2 × 3 tokens, and the sound of its three frames, two tokens each.
fn canvas() -> Arc<CanvasShape> {
    let kind = |bits: usize| TokenKind::Codes { levels: 1, entries: 1usize << bits, bits: Some(bits) };
    let sound = TokenShape { grid: [6, 1, 1], kind: kind(3) };
    let canvas = CanvasShape::new(2, 5, TokenShape { grid: [2, 2, 3], kind: kind(4) });
    Arc::new(canvas.with_sound(sound, 2, 2).with_context())
}

fn in_order(order: PositionOrder) -> Arc<CanvasShape> {
    Arc::new(CanvasShape { order, ..CanvasShape::clone(&canvas()) })
}

/// `C`: bits of the longer codes.
const CHANNELS: usize = 4;

/// What two samples are asked; of each number of `L` or `G` the first sample's stand first.
#[derive(Clone)]
struct Question {
    prompt: Vec<u32>,
    context_at: Vec<usize>,
    made: Vec<usize>,
    context: Vec<u32>,
    codes: Vec<u32>,
    hidden: Vec<f32>,
    values: Vec<f32>,
    /// Of each sample the times that occur, and which of them each token stands at: that of its step.
    times: [f32; 4],
    at: Vec<usize>,
    x0_prev: Option<Vec<f32>>,
}

/// Tokens of one sample, a code for each of the positions.
fn values(canvas: &CanvasShape, positions: &[usize], codes: &[u32]) -> Values {
    let mut all = canvas.blank().at(&[], canvas);
    for (&position, &code) in positions.iter().zip(codes) {
        let TokenValues::Codes { codes, .. } = &mut all.tracks[canvas.find(position).0] else { panic!("codes") };
        codes.push(code);
    }
    all
}

/// The first step of the clip is given, and of the sound; the rest is to be generated, in the canvas' order.
fn question(canvas: &CanvasShape) -> Question {
    let (context_at, mut made) = (vec![0, 1, 2, 3, 4, 5, 12, 13], vec![5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17]);
    canvas.sort(&mut made);
    let codes = |positions: &[usize], salt: usize| {
        let code =
            |i: usize| (i * 5 + salt) as u32 % canvas.kind(positions[i % positions.len()]).entries().unwrap() as u32;
        (0..2 * positions.len()).map(code).collect::<Vec<_>>()
    };
    let normals = |sample| RngKey::new(4).sample(sample).stream(RngStream::Noise).normals(2 * made.len() * CHANNELS);
    Question {
        prompt: vec![1, 2, 3, 4],
        context: codes(&context_at, 1),
        codes: codes(&made, 2),
        hidden: [1.0, 0.0].into_iter().cycle().take(2 * made.len()).collect(),
        values: normals(0),
        times: [0.9, 0.7, 0.4, 0.2],
        at: made.iter().map(|&position| canvas.step(position)).collect(),
        x0_prev: Some(normals(1)),
        context_at,
        made,
    }
}

/// What a model says of each token of both samples, as a list of numbers each.
fn said(model: &dyn Backbone, q: &Question) -> Vec<Vec<f32>> {
    let (device, canvas, n) = (Device::flex(), model.canvas(), q.made.len());
    let layout = Arc::new(Layout::with_prompt(canvas, q.context_at.clone(), q.made.clone()));
    let tensor =
        |numbers: &[f32]| Tensor::from_data(TensorData::new(numbers.to_vec(), [2, n, numbers.len() / 2 / n]), &device);
    let codes = || ints(&q.codes, [2, n, 1], &device);
    let input = match model.spec() {
        BackboneSpec::NextToken => ModelInput::Codes(codes()),
        BackboneSpec::Masked => ModelInput::Masked(MaskedCodes { codes: codes(), mask: tensor(&q.hidden) }),
        BackboneSpec::Diffusion { .. } => ModelInput::NoisyVectors(NoisyVectors {
            values: tensor(&q.values),
            times: Tensor::from_data(TensorData::new(q.times.to_vec(), [2, 2]), &device),
            at: q.at.clone(),
            x0_prev: q.x0_prev.as_deref().map(tensor),
        }),
    };
    // The words of the prompt, then what is given.
    let given = |row: usize| {
        let known = q.context_at.len();
        let codes = [&q.prompt[2 * row..][..2], &q.context[known * row..][..known]].concat();
        values(canvas, layout.context(), &codes)
    };
    let vectors = matches!(model.spec(), BackboneSpec::Diffusion { .. });
    let conditioning = Conditioning::new(&layout, &[given(0), given(1)], vectors, &device).unwrap();
    let mut all = vec![Vec::new(); 2 * n];
    let mut put = |at: &[usize], numbers: Tensor<3>| {
        let each = numbers.dims()[2];
        for (i, numbers) in to_vec(numbers).chunks(each).enumerate() {
            all[i / at.len() * n + at[i % at.len()]].extend_from_slice(numbers);
        }
    };
    match model.forward(&CanvasBatch { conditioning, input }).unwrap() {
        Prediction::Vector(field) => put(&(0..n).collect::<Vec<_>>(), field),
        Prediction::Logits(logits) => {
            logits.into_iter().for_each(|l| l.heads.into_iter().for_each(|head| put(&head.at, head.logits)))
        }
    }
    all
}

/// Which of the answers change, sample by sample, once the question does.
fn changed(model: &dyn Backbone, before: &Question, change: impl Fn(&mut Question)) -> BTreeSet<usize> {
    let mut after = before.clone();
    change(&mut after);
    let (before, after) = (said(model, before), said(model, &after));
    (0..before.len()).filter(|&i| before[i] != after[i]).collect()
}

fn all(range: std::ops::Range<usize>) -> BTreeSet<usize> {
    range.collect()
}

const N: usize = 11;

fn lm() -> LmConfig {
    LmConfig { width: 32, depth: 2, heads: 2, ..Default::default() }
}

fn masked() -> MaskedConfig {
    MaskedConfig { width: 32, depth: 2, heads: 2, ..Default::default() }
}

fn dit() -> DitConfig {
    DitConfig { width: 32, depth: 2, heads: 2, ..Default::default() }
}

fn models() -> [Box<dyn Backbone>; 4] {
    let causal = LmConfig { prefix: Prefix::Causal, ..lm() };
    [&lm() as &dyn BackboneConfig, &causal, &masked(), &dit()].map(|config| stirred(config, &canvas()))
}

#[test]
fn prompt_and_context_are_seen_by_all_tokens_of_their_sample_alone() {
    let q = question(&canvas());
    for (i, model) in models().iter().enumerate() {
        assert_eq!(said(&**model, &q).len(), 2 * N);
        for word in 0..2 {
            assert_eq!(changed(&**model, &q, |q| q.prompt[word] ^= 1), all(0..N), "model {i}");
            assert_eq!(changed(&**model, &q, |q| q.prompt[2 + word] = 0), all(N..2 * N), "model {i}");
        }
        for token in 0..q.context_at.len() {
            assert_eq!(changed(&**model, &q, |q| q.context[token] ^= 1), all(0..N), "model {i}");
            assert_eq!(changed(&**model, &q, |q| q.context[8 + token] ^= 1), all(N..2 * N), "model {i}");
        }
    }
}

#[test]
fn a_language_model_sees_what_stands_before_and_nothing_after() {
    for order in [PositionOrder::InTime, PositionOrder::ClipFirst] {
        let canvas = in_order(order);
        let model = stirred(&LmConfig { order, ..lm() }, &canvas);
        let q = question(&canvas);
        for j in 0..N {
            assert_eq!(changed(&*model, &q, |q| q.codes[j] ^= 1), all(j + 1..N), "{order:?}");
            assert_eq!(changed(&*model, &q, |q| q.codes[N + j] ^= 1), all(N + j + 1..2 * N), "{order:?}");
        }
    }
}

#[test]
fn the_whole_clip_is_drawn_before_its_sound_or_sound_with_its_step() {
    for order in [PositionOrder::InTime, PositionOrder::ClipFirst] {
        let config = LmConfig { order, ..lm() };
        let canvas = in_order(config.order());
        let model = stirred(&config, &canvas);
        let q = Question { made: Layout::whole(&canvas).target().to_vec(), context_at: vec![0], ..question(&canvas) };
        let n = q.made.len();
        let (codes, context) = ([3u32].repeat(2 * n), vec![1, 1]);
        let at = q.made.iter().map(|&position| canvas.step(position)).collect();
        let q = Question { codes, context, at, ..q };
        // Whether what is said of one token hangs on another.
        let hangs = |of: usize, on: usize| {
            let [of, on] = [of, on].map(|position| q.made.iter().position(|&p| p == position).unwrap());
            changed(&*model, &q, |q| q.codes[on] ^= 1).contains(&of)
        };
        let (clip, sound): (Vec<usize>, Vec<usize>) = (0..n).partition(|&p| canvas.modality(p) == Modality::Video);
        assert!(clip.iter().all(|&seen| hangs(*sound.last().unwrap(), seen)));
        // Sound of the first step, and the clip of the second.
        let (first, second) = (sound[0], clip[6]);
        let (clip_sees, sound_sees) = (hangs(second, first), hangs(first, second));
        assert_eq!((clip_sees, sound_sees), (order == PositionOrder::InTime, order == PositionOrder::ClipFirst));
        assert!(!hangs(clip[0], first) && hangs(first, clip[0]), "the clip of a step comes before its sound");
    }
}

#[test]
fn a_masked_model_sees_what_is_not_hidden() {
    let model = stirred(&masked(), &canvas());
    let q = question(&canvas());
    for j in 0..N {
        let wanted = if q.hidden[j] == 1.0 { all(0..0) } else { all(0..N) };
        assert_eq!(changed(&*model, &q, |q| q.codes[j] ^= 1), wanted, "{j}");
        assert_eq!(changed(&*model, &q, |q| q.hidden[j] = 1.0 - q.hidden[j]), all(0..N), "{j}");
    }
}

#[test]
fn a_diffusion_model_sees_vectors_times_and_the_guess() {
    let alone = stirred(&DitConfig { self_condition: false, ..dit() }, &canvas());
    let model = stirred(&dit(), &canvas());
    let q = question(&canvas());
    for time in 0..4 {
        let rows = if time < 2 { all(0..N) } else { all(N..2 * N) };
        assert_eq!(changed(&*model, &q, |q| q.times[time] += 0.05), rows);
    }
    for position in 0..N {
        let (first, second) = (position * CHANNELS, (N + position) * CHANNELS);
        assert_eq!(changed(&*model, &q, |q| q.values[first] += 0.5), all(0..N));
        assert_eq!(changed(&*model, &q, |q| q.values[second] += 0.5), all(N..2 * N));
        assert_eq!(changed(&*model, &q, |q| q.x0_prev.as_mut().unwrap()[first] += 0.5), all(0..N));
        assert_eq!(changed(&*alone, &q, |q| q.x0_prev.as_mut().unwrap()[first] += 0.5), all(0..0));
        // The last number of a sound's vector is after its end.
        let ends = canvas().modality(q.made[position]) == Modality::Audio;
        let wanted = if ends { all(0..0) } else { all(0..N) };
        assert_eq!(changed(&*model, &q, |q| q.values[first + CHANNELS - 1] += 0.5), wanted);
        assert_eq!(changed(&*model, &q, |q| q.x0_prev.as_mut().unwrap()[first + CHANNELS - 1] += 0.5), wanted);
        assert!(
            said(&*model, &q)
                .iter()
                .zip(q.made.iter().cycle())
                .all(|(vector, &made)| { canvas().modality(made) == Modality::Video || vector[CHANNELS - 1] == 0.0 })
        );
    }
    // What is given stands at time 0, whichever of the others is named first.
    let other = |q: &mut Question| {
        q.times = [0.7, 0.9, 0.2, 0.4];
        q.at.iter_mut().for_each(|at| *at = 1 - *at);
    };
    assert_eq!(changed(&*model, &q, other), all(0..0));
    // No guess is a guess of zeros.
    let zeros = Question { x0_prev: Some(vec![0.0; 2 * N * CHANNELS]), ..q.clone() };
    assert_eq!(changed(&*model, &zeros, |q| q.x0_prev = None), all(0..0));
    assert_eq!(changed(&*model, &q, |q| q.x0_prev = None), all(0..2 * N));
}

/// Tokens are known by their positions and not by where they stand in the sequence: told in another order a model says the
/// same, and told of another position it does not.
#[test]
fn a_token_is_known_by_its_position() {
    let q = question(&canvas());
    let close = |a: &[Vec<f32>], b: &[Vec<f32>]| {
        a.concat().iter().zip(b.concat()).all(|(a, b)| (a - b).abs() < 1e-4) && a.len() == b.len()
    };
    for (i, model) in models().iter().enumerate() {
        let before = said(&**model, &q);
        let mut context = q.clone();
        context.context_at.reverse();
        context.context = q.context.chunks(8).flat_map(|row| row.iter().rev().copied()).collect();
        // A causal prefix has an order.
        assert_eq!(close(&before, &said(&**model, &context)), i != 1, "model {i}");
        assert_eq!(changed(&**model, &q, |q| q.context_at[7] = 14), all(0..2 * N), "model {i}");

        fn turn<T: Clone>(numbers: &[T], each: usize) -> Vec<T> {
            let row = |row: &[T]| row.chunks(each).rev().flatten().cloned().collect::<Vec<_>>();
            numbers.chunks(N * each).flat_map(row).collect()
        }
        let mut backwards = q.clone();
        backwards.made.reverse();
        backwards.at.reverse();
        backwards.codes = turn(&q.codes, 1);
        backwards.hidden = turn(&q.hidden, 1);
        backwards.values = turn(&q.values, CHANNELS);
        backwards.x0_prev = q.x0_prev.as_ref().map(|x0_prev| turn(x0_prev, CHANNELS));
        let said = turn(&said(&**model, &backwards), 1);
        assert_eq!(close(&before, &said), model.spec() != BackboneSpec::NextToken, "model {i}");
    }
}
