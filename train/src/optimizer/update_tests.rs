//! Updates by hand: what is decayed, how gradients are clipped, how the rate goes, what the average is, and that all of it
//! goes on after a checkpoint.

use super::*;
use crate::checkpoint::{Checkpoint, Learner};
use burn::module::{Module, Param};
use musiva_core::Init;
use musiva_core::recipe::Schedule;

/// A matrix of a block (Muon's), a kernel, a matrix that is no block's, a gain and a bias (all AdamW's).
#[derive(Module, Debug)]
struct Net {
    blocks: Vec<Block>,
    kernel: Param<Tensor<5>>,
    head: Param<Tensor<2>>,
}

#[derive(Module, Debug)]
struct Block {
    weight: Param<Tensor<2>>,
    gain: Param<Tensor<1>>,
    bias: Param<Tensor<1>>,
}

impl Net {
    fn new() -> Self {
        let init = Init::new(4, &Device::flex().autodiff());
        let normal = |name| init.part(name);
        let block = Block {
            weight: normal("weight").normal([3, 4], 1.0),
            gain: normal("gain").normal([4], 1.0),
            bias: normal("bias").normal([4], 1.0),
        };
        let (kernel, head) = (normal("kernel").normal([2, 1, 3, 1, 1], 1.0), normal("head").normal([4, 2], 1.0));
        Self { blocks: vec![block], kernel, head }
    }

    /// All parameters, each times a number of its own.
    fn sum(&self, of: [f32; 5]) -> Tensor<1> {
        let block = &self.blocks[0];
        block.weight.val().sum() * of[0]
            + block.gain.val().sum() * of[1]
            + block.bias.val().sum() * of[2]
            + self.kernel.val().sum() * of[3]
            + self.head.val().sum() * of[4]
    }

    /// A loss whose gradient is another one at each step, and hangs on where the parameters are.
    fn loss(&self, step: u64) -> Tensor<1> {
        let block = &self.blocks[0];
        let aim = (step as f32 * 1.7).sin();
        let row = block.weight.val().matmul(self.head.val()) - aim;
        let rest = block.gain.val() * block.bias.val() + aim;
        (row.clone() * row).sum() + (rest.clone() * rest).sum() + (self.kernel.val() - aim).square().sum()
    }
}

fn settings() -> TrainSettings {
    TrainSettings {
        steps: 1000,
        learning_rate: 0.1,
        schedule: Schedule::Constant,
        warmup: 0,
        weight_decay: 0.0,
        clip: 1e9,
        ema: 0.5,
        ..TrainSettings::default()
    }
}

fn near(what: &str, found: &[f32], wanted: impl IntoIterator<Item = f64>) {
    let wanted: Vec<f64> = wanted.into_iter().collect();
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (a, b) in found.iter().zip(&wanted) {
        assert!((f64::from(*a) - b).abs() <= 2e-6 * b.abs().max(1.0), "{what}: {found:?}, not {wanted:?}");
    }
}

fn wide(weight: &Weight) -> impl Iterator<Item = f64> {
    weight.values.iter().map(|&value| f64::from(value))
}

#[test]
fn matrices_and_kernels_decay_and_gains_and_biases_do_not() {
    for muon in [None, Some(0.02)] {
        let mut model = Net::new();
        let s = TrainSettings { weight_decay: 0.3, muon, ..settings() };
        let mut optimizer = Optimizer::new(&s, &model).unwrap();
        let before = model.weights();
        // Gradients of zero: only what decays moves.
        optimizer.gather(&model, model.sum([0.0; 5]).backward());
        assert_eq!(optimizer.step(0, &mut model).unwrap(), 0.0);
        let after = model.weights();
        for name in ["blocks.0.weight", "kernel", "head"] {
            let rate = if name == "blocks.0.weight" { muon.unwrap_or(0.1) } else { 0.1 };
            near(name, &after[name].values, wide(&before[name]).map(|w| w * (1.0 - rate * 0.3)));
        }
        for name in ["blocks.0.gain", "blocks.0.bias"] {
            assert_eq!(after[name], before[name], "{name}");
        }
    }
}

/// The gradients of a step as AdamW takes them: its first moment after the first step is `1 - β₁` of them.
fn taken(optimizer: &Optimizer, name: &str) -> Vec<f64> {
    wide(&optimizer.state()[&format!("m.{name}")]).map(|moment| moment / 0.1).collect()
}

#[test]
fn a_long_gradient_is_scaled_down_to_the_clip_by_the_norm_of_all_together() {
    // 3 for each of 4 biases, 4 for each of 4 gains: the squares sum up to 36 + 64, the norm is 10.
    let step = |clip, of: [f32; 5], parts: usize| {
        let mut model = Net::new();
        let mut optimizer = Optimizer::new(&TrainSettings { clip, ..settings() }, &model).unwrap();
        for _ in 0..parts {
            optimizer.gather(&model, model.sum(of).backward());
        }
        let norm = optimizer.step(0, &mut model).unwrap();
        (norm, taken(&optimizer, "blocks.0.gain")[0], taken(&optimizer, "blocks.0.bias")[0])
    };
    let is = |found: (f64, f64, f64), wanted: (f64, f64, f64)| {
        for (a, b) in [(found.0, wanted.0), (found.1, wanted.1), (found.2, wanted.2)] {
            assert!((a - b).abs() < 1e-5 * b.abs(), "{found:?}, not {wanted:?}");
        }
    };
    let of = [0.0, 4.0, 3.0, 0.0, 0.0];
    is(step(2.0, of, 1), (10.0, 0.8, 0.6));
    // The norm is told as it was before, and what is short stays as it is.
    is(step(10.1, of, 1), (10.0, 4.0, 3.0));
    is(step(9.9, of, 1), (10.0, 3.96, 2.97));
    // It is the mean of the parts that is clipped, not their sum.
    is(step(2.0, of, 5), (10.0, 0.8, 0.6));
    is(step(10.1, of, 5), (10.0, 4.0, 3.0));
}

#[test]
fn muon_takes_the_clipped_gradient_too() {
    // 5 for each of the block's 12 numbers and of no other: the norm is 5 · √12.
    let mut model = Net::new();
    let mut optimizer = Optimizer::new(&TrainSettings { muon: Some(0.02), clip: 1.0, ..settings() }, &model).unwrap();
    optimizer.gather(&model, model.sum([5.0, 0.0, 0.0, 0.0, 0.0]).backward());
    assert!((optimizer.step(0, &mut model).unwrap() - 5.0 * 12f64.sqrt()).abs() < 1e-4);
    let momentum = optimizer.state()["momentum.blocks.0.weight"].clone();
    near("momentum", &momentum.values, [0.05 / 12f64.sqrt(); 12]);
}

#[test]
fn what_is_frozen_neither_moves_nor_counts_for_the_norm() {
    let mut model = Net::new();
    let s = TrainSettings { freeze: vec!["blocks.0.gain".into()], weight_decay: 0.3, ..settings() };
    let mut optimizer = Optimizer::new(&s, &model).unwrap();
    let before = model.weights();
    optimizer.gather(&model, model.sum([0.0, 400.0, 3.0, 0.0, 0.0]).backward());
    assert!((optimizer.step(0, &mut model).unwrap() - 6.0).abs() < 1e-5);
    assert_eq!(model.weights()["blocks.0.gain"], before["blocks.0.gain"]);
    assert_ne!(model.weights()["blocks.0.bias"], before["blocks.0.bias"]);
}

#[test]
fn steps_are_as_long_as_the_rate_says_through_warm_up_and_decay() {
    // Under one constant gradient each of AdamW's steps is the rate itself, once its moments are made up for.
    let s = TrainSettings {
        steps: 12,
        warmup: 4,
        schedule: Schedule::Cosine,
        final_rate: 0.1,
        muon: Some(0.02),
        epsilon: 1e-12,
        ..settings()
    };
    let mut model = Net::new();
    let mut optimizer = Optimizer::new(&s, &model).unwrap();
    // A quarter, a half, three quarters, all; then along half a cosine over the eight steps that are left.
    let cosine = |eighths: f64| 0.1 + 0.9 * 0.5 * (1.0 + (std::f64::consts::PI * eighths / 8.0).cos());
    let wanted = [0.25, 0.5, 0.75, 1.0, cosine(0.0), cosine(1.0), cosine(2.0), cosine(3.0), 0.55];
    let mut first = None;
    for (step, wanted) in (0..).zip(wanted) {
        let before = model.weights();
        optimizer.gather(&model, model.sum([1.0, 0.0, 2.0, 0.0, 0.0]).backward());
        optimizer.step(step, &mut model).unwrap();
        let after = model.weights();
        let moved = |name: &str| f64::from(before[name].values[0] - after[name].values[0]);
        assert!((moved("blocks.0.bias") - 0.1 * wanted).abs() < 1e-5, "step {step}");
        // Muon's rate goes the same way: the direction of one constant gradient is always the same.
        let direction = moved("blocks.0.weight") / (0.02 * wanted);
        assert!((0.2..0.5).contains(&direction), "step {step}: {direction}");
        assert!((direction - *first.get_or_insert(direction)).abs() < 1e-3, "step {step}: {direction}");
    }
}

/// Steps `from..to` of a run, with the parameters after each.
fn go_on(model: &mut Net, optimizer: &mut Optimizer, steps: std::ops::Range<u64>) -> Vec<Weights> {
    let mut all = Vec::new();
    for step in steps {
        optimizer.gather(model, model.loss(step).backward());
        optimizer.step(step, model).unwrap();
        all.push(model.weights());
    }
    all
}

#[test]
fn the_average_warms_up_and_then_keeps_its_decay() {
    for (muon, ema) in [(None, 0.4), (Some(0.02), 0.4), (Some(0.02), 0.999), (None, 0.0)] {
        let s = TrainSettings { muon, ema, ..settings() };
        let mut model = Net::new();
        let mut optimizer = Optimizer::new(&s, &model).unwrap();
        let mut wanted = model.weights();
        assert_eq!(optimizer.average(), wanted, "before the first step");
        // 1/10, 2/11, 3/12, … until it is `ema`.
        for (step, now) in (0..).zip(go_on(&mut model, &mut optimizer, 0..12)) {
            let decay = ema.min(f64::from(1 + step) / f64::from(10 + step));
            for (name, average) in &mut wanted {
                for (average, now) in average.values.iter_mut().zip(&now[name].values) {
                    *average = (decay * f64::from(*average) + (1.0 - decay) * f64::from(*now)) as f32;
                }
            }
        }
        for (name, average) in optimizer.average() {
            near(&name, &average.values, wide(&wanted[&name]));
        }
    }
}

/// A checkpoint after `step` steps, and what a fresh run makes of it.
fn resumed(model: &Net, optimizer: &Optimizer, s: &TrainSettings, step: u64) -> (Net, Optimizer) {
    let folder = tempfile::tempdir().unwrap();
    Checkpoint::save(folder.path(), 1, step, "", &[Learner { part: "", parameters: model, optimizer }]).unwrap();
    let mut model = Net::new();
    model.update(&mut |_, _, value| value * 0.0 + 9.0);
    let mut fresh = Optimizer::new(s, &model).unwrap();
    Checkpoint::newest(folder.path()).unwrap().restore("", &mut model, &mut fresh).unwrap();
    (model, fresh)
}

#[test]
fn muons_momentum_and_all_else_go_on_after_a_checkpoint() {
    let s = TrainSettings { muon: Some(0.02), weight_decay: 0.1, clip: 1.0, ema: 0.999, ..settings() };
    let mut whole = Net::new();
    let mut optimizer = Optimizer::new(&s, &whole).unwrap();
    go_on(&mut whole, &mut optimizer, 0..5);
    let (mut second, mut its) = resumed(&whole, &optimizer, &s, 5);
    let state = its.state();
    assert_eq!((second.weights(), &state), (whole.weights(), &optimizer.state()));
    for name in ["momentum.blocks.0.weight", "m.head", "v.head", "ema.blocks.0.weight", "ema.head"] {
        assert!(state[name].values.iter().any(|&value| value != 0.0), "{name} says something");
    }
    assert!(!state.contains_key("m.blocks.0.weight") && !state.contains_key("momentum.head"));

    // Each part of the state counts: without it the run goes elsewhere.
    for part in ["momentum.", "m.", "v.", "ema."] {
        let (mut other, mut forgetful) = resumed(&whole, &optimizer, &s, 5);
        let mut state = state.clone();
        let lost = state.iter_mut().filter(|(name, _)| name.starts_with(part));
        lost.for_each(|(_, weight)| weight.values.fill(0.0));
        forgetful.restore(&state, "", &Device::flex()).unwrap();
        go_on(&mut other, &mut forgetful, 5..9);
        let (mut same, mut its) = resumed(&whole, &optimizer, &s, 5);
        go_on(&mut same, &mut its, 5..9);
        assert_ne!(forgetful.average(), its.average(), "{part}");
        assert_eq!(other.weights() == same.weights(), part == "ema.", "{part}");
    }

    let (one, two) = (go_on(&mut whole, &mut optimizer, 5..9), go_on(&mut second, &mut its, 5..9));
    assert_eq!(one, two);
    assert_eq!(optimizer.state(), its.state());
}

#[test]
fn a_checkpoint_without_a_part_of_the_state_is_refused() {
    let s = TrainSettings { muon: Some(0.02), ..settings() };
    let (model, state) = (Net::new(), Optimizer::new(&s, &Net::new()).unwrap().state());
    for name in state.keys() {
        let (mut lacks, mut odd) = (state.clone(), state.clone());
        lacks.remove(name);
        odd.get_mut(name).unwrap().shape.push(1);
        for state in [lacks, odd] {
            let error = Optimizer::new(&s, &model).unwrap().restore(&state, "", &Device::flex()).unwrap_err();
            assert!(error.to_string().contains(name.as_str()), "{error}");
        }
    }
}
