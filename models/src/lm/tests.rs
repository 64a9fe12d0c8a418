//! A language model and its sessions say the same, and see what they may see.

use super::*;
use musiva_core::canvas::SoundShape;
use musiva_core::parameters::to_vec;
use musiva_core::{TokenKind, TokenShape};

fn canvas() -> CanvasShape {
    let kind = TokenKind::Codes { levels: 1, entries: 64, bits: Some(6) };
    CanvasShape::new(5, 11, TokenShape { grid: [3, 2, 3], kind })
}

fn batch(codes: &[u32], device: &Device) -> CanvasBatch {
    let prompt = ints(&[1, 2, 3, 4, 0, 7, 8, 0, 0, 0], [2, 5], device);
    CanvasBatch {
        conditioning: Conditioning::prompt(prompt, &canvas()),
        input: ModelInput::Codes(ints(codes, [2, 18], device)),
    }
}

fn codes() -> Vec<u32> {
    (0..36).map(|i| i * 29 % 64).collect()
}

fn logits(lm: &dyn Backbone, codes: &[u32]) -> Vec<Vec<f32>> {
    let Prediction::Logits(mut all) = lm.forward(&batch(codes, &lm.device())) else { panic!("logits") };
    let per_digit = all.remove(0).per_digit(&ints(codes, [2, 18], &lm.device()));
    per_digit.into_iter().map(|(_, logits)| to_vec(logits)).collect()
}

/// The largest difference of a session's logits from the uncached ones, and the largest of these.
fn difference(lm: &Lm, mut session: Box<dyn Session>) -> [f32; 2] {
    let (codes, digits) = (codes(), lm.network.codes.of(Modality::Video).written().count);
    let whole = logits(lm, &codes);
    let base = whole[0].len() / 36;
    let (mut difference, mut largest) = (0.0f32, 0.0f32);
    for j in 0..18 {
        let token = |row: usize| codes[row * 18 + j];
        let digit = |row, i: usize| token(row) / (base as u32).pow((digits - 1 - i) as u32) % base as u32;
        let mut seen = Vec::new();
        for (i, whole) in whole.iter().enumerate() {
            let cached = to_vec(session.logits(&seen));
            for row in 0..2 {
                let whole = &whole[(row * 18 + j) * base..][..base];
                for (a, b) in whole.iter().zip(&cached[row * base..][..base]) {
                    (difference, largest) = (difference.max((a - b).abs()), largest.max(a.abs()));
                }
            }
            seen.push(vec![digit(0, i), digit(1, i)]);
        }
        session.push(&[token(0), token(1)]);
    }
    [difference, largest]
}

#[test]
fn cached_is_uncached_on_slices_and_on_tensors() {
    for (digits, prefix) in [(1, Prefix::BothWays), (2, Prefix::Causal), (3, Prefix::BothWays)] {
        let config = LmConfig { width: 48, depth: 3, heads: 2, digits, prefix, ..Default::default() };
        let lm = Lm::new(&config, &canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
        let conditioning = batch(&codes(), &lm.device()).conditioning;
        let [on_slices, _] = difference(&lm, lm.session(conditioning.clone()).unwrap());
        let [on_tensors, _] = difference(&lm, Box::new(LmSession::new(&lm, &conditioning)));
        assert!(on_slices < 1e-5 && on_tensors < 1e-5, "{on_slices}, {on_tensors}");
    }
}

#[test]
fn weights_in_fewer_bytes_change_logits_a_little() {
    let run = |decode| {
        let config = LmConfig { width: 48, depth: 3, heads: 2, decode, ..Default::default() };
        let lm = Lm::new(&config, &canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
        let [difference, largest] = difference(&lm, lm.session(batch(&codes(), &lm.device()).conditioning).unwrap());
        difference / largest
    };
    let (bf16, int8) = (run(Decode::Bf16), run(Decode::Int8));
    assert!(1e-5 < bf16 && bf16 < int8 && int8 < 0.03, "{bf16}, {int8}");
}

#[test]
fn new_weights_are_drawn_from() {
    let mut lm = Lm::new(&LmConfig::default(), &canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
    let conditioning = batch(&codes(), &lm.device()).conditioning;
    let before = to_vec(lm.session(conditioning.clone()).unwrap().logits(&[]));
    lm.parameters_mut().update(&mut |_, _, value| value * 2.0);
    assert_ne!(before, to_vec(lm.session(conditioning).unwrap().logits(&[])));
}

#[test]
fn change_a_token_and_no_earlier_or_equal_place_notices() {
    let lm = LmConfig { width: 48, depth: 3, heads: 2, ..Default::default() }
        .build(&canvas(), &Device::flex(), &WeightInit::Seed(3))
        .unwrap();
    let before = logits(&*lm, &codes());
    let mut changed = codes();
    changed[7] ^= 5;
    let after = logits(&*lm, &changed);
    let row = 8 * 64;
    assert_eq!(before[0][..row], after[0][..row]);
    assert_ne!(before[0][row..row + 64], after[0][row..row + 64]);
}

/// By what the last block keeps of the first word.
#[test]
fn a_causal_prefix_does_not_look_ahead() {
    let first = |prefix, last: u32| {
        let config = LmConfig { width: 48, depth: 3, heads: 2, prefix, ..Default::default() };
        let lm = Lm::new(&config, &canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
        let prompt = ints(&[1, 2, 3, 4, last], [1, 5], &Device::flex());
        let session = LmSession::new(&lm, &Conditioning::prompt(prompt, &canvas()));
        session.caches.last().unwrap().first_value()
    };
    assert_eq!(first(Prefix::Causal, 5), first(Prefix::Causal, 6));
    assert_ne!(first(Prefix::BothWays, 5), first(Prefix::BothWays, 6));
}

#[test]
fn sound_turns_with_the_clip_or_after_it() {
    let sound = SoundShape {
        tokens: TokenShape { grid: [4, 1, 1], kind: TokenKind::Codes { levels: 1, entries: 8, bits: Some(3) } },
        tokens_per_frame: 1,
        stride: 1,
    };
    let canvas = CanvasShape { sound: Some(sound), ..canvas() };
    let cosines = |sound_axis| {
        let config = LmConfig { width: 48, depth: 1, heads: 2, sound_axis, ..Default::default() };
        let lm = Lm::new(&config, &canvas, &Device::flex(), &WeightInit::Seed(3)).unwrap();
        let [cosines, _] = lm.rotary.on_host();
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
fn parameters_are_counted_without_building() {
    for digits in [1, 2] {
        let config = LmConfig { width: 48, depth: 3, heads: 2, digits, ..Default::default() };
        let lm = config.build(&canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
        assert_eq!(config.parameters(&canvas()), lm.parameters().count());
    }
}
