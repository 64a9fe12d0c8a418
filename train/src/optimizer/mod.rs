//! AdamW (Loshchilov and Hutter 2019, algorithm 2), or Muon for the matrices of the blocks; with
//! clipping of the global norm and an exponential moving average of the parameters.

mod muon;

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use musiva_core::parameters::{Weight, to_vec};
use musiva_core::recipe::TrainSettings;
use musiva_core::{Error, ErrorKind, Parameters, Result, Weights};
use musiva_kernels::{AdamW, Moments, sum_of_squares};
use std::collections::{BTreeMap, BTreeSet};

/// What is remembered of one parameter.
#[derive(Clone, Debug)]
struct Slot {
    shape: Vec<usize>,
    // An option, so that it can be moved out, changed in place and put back.
    state: Option<State>,
}

/// How a parameter is updated, with what that remembers and the average.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "one a parameter: handles, and few of them")]
enum State {
    AdamW(Moments),
    Muon { momentum: Tensor<1>, average: Tensor<1> },
}

/// The optimizer with its state. All of it goes into a checkpoint.
#[derive(Debug)]
pub struct Optimizer {
    settings: TrainSettings,
    slots: BTreeMap<String, Slot>,
    /// Sums of the gradients of this step's parts so far, and of how many.
    gathered: (BTreeMap<String, Tensor<1>>, usize),
}

impl Optimizer {
    /// A fresh state for `parameters`, whose present values start the average.
    ///
    /// # Errors
    /// Where `train.freeze` names what is not there, or leaves nothing to train.
    pub fn new(settings: &TrainSettings, parameters: &dyn Parameters) -> Result<Self> {
        let mut slots = BTreeMap::new();
        parameters.each(&mut |name, shape, value| {
            let zeros = Tensor::zeros_like(&value);
            let state = match settings.muon.is_some() && is_hidden_matrix(name, shape) {
                true => State::Muon { momentum: zeros, average: value },
                false => State::AdamW(Moments { first: zeros.clone(), second: zeros, average: value }),
            };
            slots.insert(name.to_owned(), Slot { shape: shape.to_vec(), state: Some(state) });
        });
        let parts: BTreeSet<&str> = slots.keys().map(|name: &String| name.split('.').next().unwrap_or(name)).collect();
        let wrong = |message: String| {
            let parts: Vec<String> = parts.iter().map(|part| format!("\"{part}\"")).collect();
            Err(Error::new(ErrorKind::Recipe, "train.freeze", message)
                .hint(format!("name some of what is there: {}", parts.join(", "))))
        };
        if let Some(none) = settings.freeze.iter().find(|start| !slots.keys().any(|name| name.starts_with(*start))) {
            return wrong(format!("no parameter's name begins with \"{none}\""));
        }
        if !slots.keys().any(|name| settings.trains(name)) {
            return wrong("it leaves nothing to train".into());
        }
        Ok(Self { settings: settings.clone(), slots, gathered: Default::default() })
    }

    /// Takes up the gradients of one part of a step's batch.
    pub fn gather(&mut self, parameters: &dyn Parameters, mut gradients: Gradients) {
        let (sums, parts) = &mut self.gathered;
        *parts += 1;
        parameters.gradients(&mut gradients, &mut |name, gradient| {
            if self.settings.trains(name) {
                let sum = match sums.remove(name) {
                    Some(sum) => sum + gradient,
                    None => gradient,
                };
                sums.insert(name.to_owned(), sum);
            }
        });
    }

    /// One update at `step` (from 0) by the mean of the gathered gradients; returns its norm before
    /// clipping.
    ///
    /// # Errors
    /// Where a gradient is not a finite number: nothing is changed then.
    pub fn step(&mut self, step: u64, parameters: &mut dyn Parameters) -> Result<f64> {
        let (mut found, parts) = std::mem::take(&mut self.gathered);
        let squares: f64 = found.values().map(|gradient| sum_of_squares(gradient.clone())).sum();
        let norm = squares.sqrt() / parts as f64;
        if !norm.is_finite() {
            return Err(Error::new(ErrorKind::Training, format!("step {step}"), "the gradient is not a finite number")
                .hint("lower `train.learning_rate`, or lengthen `train.warmup`, and resume from the last checkpoint"));
        }
        let s = &self.settings;
        let scale = (s.clip / (norm + 1e-12)).min(1.0) / parts as f64;
        let rate = s.rate(step as usize);
        // Early on the average must not stay at the random start: its decay warms up.
        let average_decay = s.ema.min((1.0 + step as f64) / (10.0 + step as f64));
        let slots = &mut self.slots;
        parameters.update(&mut |name, shape, value| {
            let slot = slots.get_mut(name).expect("slots are made from these parameters");
            let state = slot.state.take().expect("it is always put back");
            // Gains, biases and norms are not decayed: pulling them to zero has no meaning.
            let weight_decay = if shape.len() > 1 { s.weight_decay } else { 0.0 };
            let (value, state) = match (found.remove(name), state) {
                // What no gradient moves (frozen, or a codebook that follows its batches) is its own average.
                (None, state) => (value.clone(), state.with_average(value)),
                (Some(gradient), State::AdamW(moments)) => {
                    let (betas, epsilon, step) = (s.betas, s.epsilon, step + 1);
                    let step = AdamW { rate, betas, epsilon, weight_decay, scale, step, average_decay };
                    let (value, moments) = step.step(value, gradient, moments);
                    (value, State::AdamW(moments))
                }
                (Some(gradient), State::Muon { momentum, average }) => {
                    let [momentum, direction] = muon::direction(momentum, gradient * scale, [shape[0], shape[1]]);
                    let rate = rate * s.muon.unwrap_or_default() / s.learning_rate;
                    let value = value.clone() - (direction + value * weight_decay) * rate;
                    let average = average.clone() + (value.clone() - average) * (1.0 - average_decay);
                    (value, State::Muon { momentum, average })
                }
            };
            slot.state = Some(state);
            value
        });
        Ok(norm)
    }

    /// The moving average of the parameters.
    pub fn average(&self) -> Weights {
        self.copies(|part, name| (part == "ema").then(|| name.to_owned()))
    }

    /// Everything that a checkpoint needs beside the parameters themselves.
    pub fn state(&self) -> Weights {
        self.copies(|part, name| Some(format!("{part}.{name}")))
    }

    /// Copies on the host of those parts of the state that `named` has a name for.
    fn copies(&self, named: impl Fn(&str, &str) -> Option<String>) -> Weights {
        let mut copies = Weights::new();
        for (name, slot) in &self.slots {
            for (part, value) in slot.state.iter().flat_map(State::parts) {
                if let Some(key) = named(part, name) {
                    copies.insert(key, Weight { shape: slot.shape.clone(), values: to_vec(value.clone()) });
                }
            }
        }
        copies
    }

    /// Takes up a state that [`Optimizer::state`] gave, its names with `part` before them.
    ///
    /// # Errors
    /// Where the state lacks a tensor or has it in another shape.
    pub fn restore(&mut self, state: &Weights, part: &str, device: &Device) -> Result<()> {
        for (name, slot) in &mut self.slots {
            let get = |what: &str| {
                let key = format!("{part}{what}.{name}");
                let weight = state.get(&key).filter(|weight| weight.shape == slot.shape).ok_or_else(|| {
                    Error::new(ErrorKind::Weights, "checkpoint", format!("`{key}` {:?} is missing", slot.shape))
                })?;
                let count = weight.values.len();
                Ok::<Tensor<1>, Error>(Tensor::from_data(TensorData::new(weight.values.clone(), [count]), device))
            };
            slot.state = match slot.state.take() {
                Some(State::AdamW(_)) => {
                    Some(State::AdamW(Moments { first: get("m")?, second: get("v")?, average: get("ema")? }))
                }
                Some(State::Muon { .. }) => Some(State::Muon { momentum: get("momentum")?, average: get("ema")? }),
                None => None,
            };
        }
        Ok(())
    }
}

/// Muon is for linear maps between hidden layers; embeddings, heads, gains and biases are AdamW's.
fn is_hidden_matrix(name: &str, shape: &[usize]) -> bool {
    name.split('.').any(|part| part == "blocks") && shape.len() == 2
}

impl State {
    /// What is remembered, by name.
    fn parts(&self) -> Vec<(&'static str, &Tensor<1>)> {
        match self {
            Self::AdamW(Moments { first, second, average }) => vec![("m", first), ("v", second), ("ema", average)],
            Self::Muon { momentum, average } => vec![("momentum", momentum), ("ema", average)],
        }
    }

    fn with_average(self, average: Tensor<1>) -> Self {
        match self {
            Self::AdamW(moments) => Self::AdamW(Moments { average, ..moments }),
            Self::Muon { momentum, .. } => Self::Muon { momentum, average },
        }
    }
}

#[cfg(test)]
mod update_tests;

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::{Module, Param};
    use musiva_core::Init;

    #[derive(Module, Debug)]
    struct One {
        w: Param<Tensor<2>>,
    }

    #[derive(Module, Debug)]
    struct Two {
        w: One,
        codebook: One,
    }

    impl One {
        fn new(seed: u64) -> Self {
            Self { w: Init::new(seed, &Device::flex().autodiff()).part("w").normal([2, 3], 1.0) }
        }
    }

    fn settings() -> TrainSettings {
        TrainSettings {
            steps: 100,
            learning_rate: 0.1,
            warmup: 0,
            weight_decay: 0.3,
            clip: 1e9,
            ema: 0.5,
            ..TrainSettings::default()
        }
    }

    #[test]
    fn two_steps_are_those_of_the_algorithm() {
        let mut model = One::new(1);
        let s = TrainSettings { schedule: musiva_core::recipe::Schedule::Constant, ..settings() };
        let mut adam = Optimizer::new(&s, &model).unwrap();
        let mut w: Vec<f64> = to_vec(model.w.val()).iter().map(|&w| f64::from(w)).collect();
        let (mut m, mut v) = ([0.0; 6], [0.0; 6]);
        for step in 0..2 {
            let loss = (model.w.val() * model.w.val() * model.w.val()).sum();
            adam.gather(&model, loss.backward());
            adam.step(step, &mut model).unwrap();
            for i in 0..6 {
                let g = 3.0 * w[i] * w[i];
                m[i] = s.betas[0] * m[i] + (1.0 - s.betas[0]) * g;
                v[i] = s.betas[1] * v[i] + (1.0 - s.betas[1]) * g * g;
                let (mh, vh) =
                    (m[i] / (1.0 - s.betas[0].powi(step as i32 + 1)), v[i] / (1.0 - s.betas[1].powi(step as i32 + 1)));
                w[i] -= 0.1 * (mh / (vh.sqrt() + s.epsilon) + 0.3 * w[i]);
            }
        }
        for (a, b) in to_vec(model.w.val()).iter().zip(&w) {
            assert!((f64::from(*a) - b).abs() < 1e-5, "{a} {b}");
        }
    }

    #[test]
    fn what_no_gradient_moves_is_its_own_average() {
        let mut model = Two { w: One::new(1), codebook: One::new(2) };
        let mut optimizer = Optimizer::new(&settings(), &model).unwrap();
        model.codebook.update(&mut |_, _, value| value + 1.0);
        optimizer.gather(&model, model.w.w.val().sum().backward());
        optimizer.step(0, &mut model).unwrap();
        let (average, now) = (optimizer.average(), model.weights());
        assert_eq!(average["codebook.w"], now["codebook.w"]);
        assert_ne!(average["w.w"], now["w.w"]);
    }

    #[test]
    fn a_gradient_that_is_no_number_changes_nothing() {
        let mut model = One::new(1);
        let mut adam = Optimizer::new(&settings(), &model).unwrap();
        let before = model.weights();
        let loss = (model.w.val() * f32::NAN).sum();
        adam.gather(&model, loss.backward());
        assert!(adam.step(0, &mut model).is_err());
        assert_eq!(model.weights(), before);
    }

    #[test]
    fn what_is_frozen_must_be_there_and_leave_something() {
        let model = One::new(1);
        for (freeze, found) in [("encoder", "begins with \"encoder\""), ("w", "nothing to train")] {
            let s = TrainSettings { freeze: vec![freeze.into()], ..settings() };
            let error = Optimizer::new(&s, &model).unwrap_err().to_string();
            assert!(error.contains(found) && error.contains("\"w\""), "{error}");
        }
    }

    #[test]
    fn the_parts_of_a_step_count_as_their_mean() {
        let step = |scales: &[f32]| {
            let mut model = One::new(1);
            let mut optimizer = Optimizer::new(&TrainSettings { clip: 0.5, ..settings() }, &model).unwrap();
            for &scale in scales {
                optimizer.gather(&model, (model.w.val() * model.w.val() * scale).sum().backward());
            }
            let norm = optimizer.step(0, &mut model).unwrap();
            (norm, model.weights())
        };
        let (parts, whole) = (step(&[1.0, 3.0, 2.0]), step(&[2.0]));
        assert!((parts.0 / whole.0 - 1.0).abs() < 1e-6);
        assert!(parts.1["w"].values.iter().zip(&whole.1["w"].values).all(|(a, b)| (a - b).abs() < 1e-6));
        assert!((step(&[3.0]).0 / step(&[1.0]).0 - 3.0).abs() < 1e-6);
    }
}
