//! A language model and its sessions say the same, and see what they may see.

use super::*;
use crate::testing::{fitted, of_codes, prompts, salted};
use musiva_core::canvas::{Axes, LevelPattern, PerDigit, TrackShape, Values, ints};
use musiva_core::parameters::to_vec;
use musiva_core::{TokenKind, TokenShape};
use std::collections::HashMap;

const PATTERNS: [LevelPattern; 3] = [LevelPattern::Parallel, LevelPattern::Delay, LevelPattern::Flat];

fn clip() -> CanvasShape {
    let kind = TokenKind::Codes { levels: 1, entries: 64, bits: Some(6) };
    CanvasShape::new(5, 11, TokenShape { grid: [3, 2, 3], kind })
}

/// A sound of seven tokens of three codebooks, and no clip.
fn sound(pattern: LevelPattern) -> CanvasShape {
    let tokens = TokenShape { grid: [7, 1, 1], kind: TokenKind::Codes { levels: 3, entries: 10, bits: None } };
    let sound = TrackShape { pattern, ..TrackShape::audio("audio", tokens, [1, 1], 1) };
    let text = TokenShape { grid: [1, 1, 5], kind: TokenKind::Codes { levels: 1, entries: 11, bits: None } };
    CanvasShape {
        tracks: vec![sound, TrackShape::text("text", text)],
        order: PositionOrder::InTime,
        conditions: Vec::new(),
    }
}

/// A clip and such a sound, in time.
fn both(pattern: LevelPattern) -> CanvasShape {
    let tokens = TokenShape { grid: [10, 1, 1], kind: TokenKind::Codes { levels: 3, entries: 10, bits: None } };
    let mut canvas = clip().with_sound(tokens, 2, 2);
    canvas.tracks[1].pattern = pattern;
    canvas
}

fn config() -> LmConfig {
    LmConfig { width: 48, depth: 3, heads: 2, ..Default::default() }
}

fn model(config: &LmConfig, canvas: &CanvasShape) -> Lm {
    Lm::new(config, &fitted(config, canvas), &Device::flex(), &WeightInit::Seed(3)).unwrap()
}

/// Two samples of other prompts.
fn batch(canvas: &Arc<CanvasShape>, target: &[Values], device: &Device) -> CanvasBatch {
    let conditioning = prompts(canvas, &[&[1, 2, 3, 4, 0], &[7, 8, 0, 0, 0]], device);
    let digits = digits(&conditioning.layout, target).concat();
    let shape = [2, conditioning.layout.elements().len(), canvas.most_digits()];
    CanvasBatch { conditioning, input: ModelInput::Codes(ints(&digits, shape, device)) }
}

fn digits(layout: &Layout, target: &[Values]) -> Vec<Vec<u32>> {
    target.iter().map(|target| layout.digits(target).unwrap()).collect()
}

/// Tokens of two samples, of every track that is generated.
fn tokens(canvas: &Arc<CanvasShape>) -> Vec<Values> {
    [1, 2].map(|salt| salted(canvas, salt).at(Layout::whole(canvas).target(), canvas)).into()
}

/// The same of a clip alone, by these codes.
fn clips(canvas: &CanvasShape, codes: &[u32]) -> Vec<Values> {
    codes.chunks(18).map(|codes| of_codes(canvas, codes.to_vec())).collect()
}

fn codes() -> Vec<u32> {
    (0..36).map(|i| i * 29 % 64).collect()
}

/// The logits of each track's digits, once those before them are known.
fn logits(lm: &dyn Backbone, target: &[Values]) -> HashMap<(usize, usize), PerDigit> {
    let batch = batch(lm.canvas(), target, &lm.device());
    let ModelInput::Codes(digits) = &batch.input else { panic!("codes") };
    let Prediction::Logits(all) = lm.forward(&batch).unwrap() else { panic!("logits") };
    let each = all.into_iter().flat_map(|logits| {
        let track = logits.track;
        logits.per_digit(digits).into_iter().enumerate().map(move |(digit, logits)| ((track, digit), logits))
    });
    each.collect()
}

/// Those of one digit, flat.
fn flat(logits: &HashMap<(usize, usize), PerDigit>, track: usize, digit: usize) -> Vec<f32> {
    to_vec(logits[&(track, digit)].logits.clone())
}

/// The largest difference of a session's logits from the uncached ones, and the largest of these.
fn difference(lm: &Lm, target: &[Values], mut session: Box<dyn Session>) -> [f32; 2] {
    let (layout, width) = (Layout::whole(&lm.canvas), lm.canvas.most_digits());
    let (whole, digits) = (logits(lm, target), digits(&layout, target));
    let numbers: HashMap<_, _> =
        whole.keys().map(|&(track, digit)| ((track, digit), flat(&whole, track, digit))).collect();
    let (mut difference, mut largest) = (0.0f32, 0.0f32);
    for (j, element) in layout.elements().iter().enumerate() {
        assert_eq!(session.digits(), element.digits);
        let mut picked = Vec::new();
        for digit in element.digits.clone() {
            let PerDigit { at, logits, .. } = &whole[&(element.track, digit)];
            let ([_, n, base], numbers) = (logits.dims(), &numbers[&(element.track, digit)]);
            let cached = to_vec(session.logits(&picked).unwrap());
            assert_eq!(cached.len(), 2 * base);
            let at = at.iter().position(|&i| i == j).unwrap();
            for row in 0..2 {
                let whole = &numbers[(row * n + at) * base..][..base];
                for (a, b) in whole.iter().zip(&cached[row * base..][..base]) {
                    (difference, largest) = (difference.max((a - b).abs()), largest.max(a.abs()));
                }
            }
            picked.push([0, 1].map(|row| digits[row][j * width + digit]).to_vec());
        }
        session.push(&picked).unwrap();
    }
    [difference, largest]
}

/// The same of both kinds of sessions.
#[track_caller]
fn assert_cached_is_uncached(lm: &Lm, target: &[Values]) {
    let conditioning = batch(&lm.canvas, target, &lm.device()).conditioning;
    let [on_slices, _] = difference(lm, target, lm.session(conditioning.clone()).unwrap().unwrap());
    let [on_tensors, _] = difference(lm, target, Box::new(LmSession::new(lm, &conditioning).unwrap()));
    assert!(on_slices < 1e-5 && on_tensors < 1e-5, "{on_slices}, {on_tensors}");
}

#[test]
fn work_is_the_trunks_and_what_logits_and_the_cache_take() {
    let cost = |config: LmConfig| config.cost(&fitted(&config, &clip()));
    // Five words and 18 tokens of 64 entries; five words see each other, all else what comes before it.
    let (n, d, depth) = (23, 48, 3);
    let seen = (n * (n + 1) / 2 + 5 * 4 / 2) as f64 / (n * n) as f64;
    let trunk = config().trunk().cost(&fitted(&config(), &clip()), seen);
    let whole = cost(config());
    let near = |a: f64, b: usize| assert!((a - b as f64).abs() < 1e-3, "{a}, {b}");
    near(whole.forward_flops - trunk.forward_flops, 2 * 18 * 64 * d);
    near(whole.activations - trunk.activations, 2 * 18 * 64);
    // Logits, a key and a value a position and block, and half of the matrices once more, of four bytes a number.
    let matrices = d * (depth * 12 * d + 64);
    near(whole.working_set - trunk.working_set, 18 * 64 + 2 * n * d * depth + matrices / 2);
    // As two digits of eight entries, with matrices of 16 bits.
    let digits = cost(LmConfig { digits: 2, decode: Decode::Bf16, ..config() });
    let matrices = d * (depth * 12 * d + 16);
    near(digits.working_set - trunk.working_set, 18 * 16 + 2 * n * d * depth + matrices / 4);
}

#[test]
fn a_vector_for_each_position_fixes_the_lengths() {
    let fixed = |positions| LmConfig { positions, ..config() }.lengths_are_fixed();
    assert_eq!([Positions::Learned, Positions::Rotary].map(fixed), [true, false]);
}

#[test]
fn cached_is_uncached_on_slices_and_on_tensors() {
    for (digits, prefix) in [(1, Prefix::BothWays), (2, Prefix::Causal), (3, Prefix::BothWays)] {
        let lm = model(&LmConfig { digits, prefix, ..config() }, &clip());
        assert_cached_is_uncached(&lm, &clips(&lm.canvas, &codes()));
    }
}

#[test]
fn cached_is_uncached_of_codebooks_in_any_pattern() {
    for pattern in PATTERNS {
        let (alone, both) =
            (model(&config(), &sound(pattern)), model(&LmConfig { digits: 2, ..config() }, &both(pattern)));
        for lm in [alone, both] {
            assert_cached_is_uncached(&lm, &tokens(&lm.canvas));
        }
    }
}

#[test]
fn weights_in_fewer_bytes_change_logits_a_little() {
    let run = |decode| {
        let lm = model(&LmConfig { decode, ..config() }, &clip());
        let target = clips(&lm.canvas, &codes());
        let conditioning = batch(&lm.canvas, &target, &lm.device()).conditioning;
        let [difference, largest] = difference(&lm, &target, lm.session(conditioning).unwrap().unwrap());
        difference / largest
    };
    let (bf16, int8) = (run(Decode::Bf16), run(Decode::Int8));
    assert!(1e-5 < bf16 && bf16 < int8 && int8 < 0.03, "{bf16}, {int8}");
}

#[test]
fn new_weights_are_drawn_from() {
    let mut lm = model(&LmConfig::default(), &clip());
    let conditioning = batch(&lm.canvas, &clips(&lm.canvas, &codes()), &lm.device()).conditioning;
    let first = |lm: &Lm| to_vec(lm.session(conditioning.clone()).unwrap().unwrap().logits(&[]).unwrap());
    let before = first(&lm);
    lm.parameters_mut().update(&mut |_, _, value| value * 2.0);
    assert_ne!(before, first(&lm));
}

#[test]
fn change_a_token_and_no_earlier_or_equal_position_notices() {
    let lm = model(&config(), &clip());
    let before = logits(&lm, &clips(&lm.canvas, &codes()));
    let mut changed = codes();
    changed[7] ^= 5;
    let after = logits(&lm, &clips(&lm.canvas, &changed));
    let (before, after, row) = (flat(&before, 0, 0), flat(&after, 0, 0), 8 * 64);
    assert_eq!(before[..row], after[..row]);
    assert_ne!(before[row..row + 64], after[row..row + 64]);
}

/// Codebook after codebook of every token: who is told of it, by what the model says of each digit of each element.
#[test]
fn change_a_code_and_only_later_codes_notice() {
    for pattern in PATTERNS {
        let lm = model(&config(), &sound(pattern));
        let (layout, device) = (Layout::whole(&lm.canvas), lm.device());
        let (target, length) = (tokens(&lm.canvas), layout.elements().len());
        let before = batch(&lm.canvas, &target, &device);
        let digits = digits(&layout, &target).concat();
        let said = |digits: &[u32]| {
            let input = ints(digits, [2, length, 3], &device);
            let batch = CanvasBatch { input: ModelInput::Codes(input.clone()), ..before.clone() };
            let Prediction::Logits(mut all) = lm.forward(&batch).unwrap() else { panic!("logits") };
            let each = all.remove(0).per_digit(&input).into_iter();
            each.map(|PerDigit { at, logits, .. }| (at, to_vec(logits))).collect::<Vec<_>>()
        };
        let whole = said(&digits);
        for (j, element) in layout.elements().iter().enumerate() {
            for digit in element.digits.clone() {
                let mut changed = digits.clone();
                let code = &mut changed[j * 3 + digit];
                *code = (*code + 1) % 10;
                for (other, ((at, before), (_, after))) in whole.iter().zip(&said(&changed)).enumerate() {
                    for (row, i) in (0..2).flat_map(|row| (0..at.len()).map(move |i| (row, i))) {
                        let own = |numbers: &[f32]| numbers[(row * at.len() + i) * 10..][..10].to_vec();
                        // Codes of one token are told those before them, those of several stand side by side.
                        let within = pattern == LevelPattern::Parallel && at[i] == j && other > digit;
                        let notices = row == 0 && (at[i] > j || within);
                        assert_eq!(
                            own(before) != own(after),
                            notices,
                            "{pattern:?}: {digit} of {j} by {other} of {}",
                            at[i]
                        );
                    }
                }
            }
        }
    }
}

/// By what the last block keeps of the first word.
#[test]
fn a_causal_prefix_does_not_look_ahead() {
    let first = |prefix, last: u32| {
        let lm = model(&LmConfig { prefix, ..config() }, &clip());
        let session = LmSession::new(&lm, &prompts(&lm.canvas, &[&[1, 2, 3, 4, last]], &lm.device())).unwrap();
        session.caches.last().unwrap().first_value()
    };
    assert_eq!(first(Prefix::Causal, 5), first(Prefix::Causal, 6));
    assert_ne!(first(Prefix::BothWays, 5), first(Prefix::BothWays, 6));
}

#[test]
fn sound_turns_with_the_clip_or_after_it() {
    let kind = TokenKind::Codes { levels: 1, entries: 8, bits: Some(3) };
    let canvas = clip().with_sound(TokenShape { grid: [4, 1, 1], kind }, 1, 1);
    let cosines = |sound_axis| {
        let lm = model(&LmConfig { depth: 1, sound_axis, ..config() }, &canvas);
        // The prompt, the clip and then its sound.
        let [cosines, _] = lm.rotary(&Layout::with_prompt(&lm.canvas, vec![], (0..22).collect())).on_host();
        // The fastest pair turns by one radian a step.
        cosines.chunks_exact(12).map(|row| row[0]).collect::<Vec<f32>>()
    };
    let [with, after] = [SoundAxis::Clip, SoundAxis::AfterClip].map(cosines);
    let clip = 5 + 18;
    assert_eq!(with[..clip], after[..clip]);
    for i in 0..4 {
        let near = |found: f32, t: f64| assert!((f64::from(found) - t.cos()).abs() < 1e-6, "{found}, {i}");
        near(with[clip + i], i as f64);
        near(after[clip + i], (3 + i) as f64);
    }
}

#[test]
fn a_sound_alone_turns_by_a_step_a_token() {
    let lm = model(&config(), &sound(LevelPattern::Delay));
    assert_eq!(lm.canvas.tracks[0].axes, Axes::Time { frames: [1, 1], stride: 1 });
    let [cosines, _] = lm.rotary(&Layout::whole(&lm.canvas)).on_host();
    let turned: Vec<f32> = cosines.chunks_exact(12).map(|row| row[0]).collect();
    // A prompt before the beginning, and with a delay two elements beyond the end.
    assert_eq!(turned.len(), 5 + 7 + 2);
    let near = |(found, t): (f32, i32)| (f64::from(found) - f64::from(t).cos()).abs() < 1e-6;
    assert!(turned.iter().copied().zip(-5..9).all(near), "{turned:?}");
}

#[test]
fn parameters_are_counted_without_building() {
    let canvases = PATTERNS.into_iter().flat_map(|pattern| [sound(pattern), both(pattern)]).chain([clip()]);
    for canvas in canvases {
        for (digits, positions) in [(1, Positions::Learned), (2, Positions::Learned), (2, Positions::Rotary)] {
            let config = LmConfig { digits, positions, ..config() };
            let lm = model(&config, &canvas);
            assert_eq!(config.parameters(&lm.canvas), lm.parameters().count());
        }
    }
}
