//! AdamW (Loshchilov and Hutter 2019, algorithm 2), with clipping of the global norm and an
//! exponential moving average of the parameters.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use musiva_core::parameters::{Weight, to_vec};
use musiva_core::recipe::TrainSettings;
use musiva_core::{Error, ErrorKind, Parameters, Result, Weights};
use std::collections::BTreeMap;

/// One parameter's moments and average.
#[derive(Clone, Debug)]
struct Slot {
    shape: Vec<usize>,
    m: Tensor<1>,
    v: Tensor<1>,
    average: Tensor<1>,
}

/// The optimizer with its state. All of it goes into a checkpoint.
#[derive(Debug)]
pub struct AdamW {
    settings: TrainSettings,
    slots: BTreeMap<String, Slot>,
}

impl AdamW {
    /// A fresh state for `parameters`, whose present values start the average.
    pub fn new(settings: &TrainSettings, parameters: &dyn Parameters) -> Self {
        let mut slots = BTreeMap::new();
        parameters.each(&mut |name, shape, value| {
            let zeros = Tensor::zeros_like(&value);
            slots.insert(name.to_owned(), Slot { shape: shape.to_vec(), m: zeros.clone(), v: zeros, average: value });
        });
        Self { settings: settings.clone(), slots }
    }

    /// One update at `step` (from 0); returns the norm of the gradients before clipping.
    ///
    /// # Errors
    /// Where a gradient is not a finite number: nothing is changed then.
    pub fn step(&mut self, step: u64, parameters: &mut dyn Parameters, mut gradients: Gradients) -> Result<f64> {
        let mut found: BTreeMap<String, Tensor<1>> = BTreeMap::new();
        parameters.gradients(&mut gradients, &mut |name, gradient| {
            if self.settings.trains(name) {
                found.insert(name.to_owned(), gradient);
            }
        });
        let squares: f64 = found.values().map(|g| f64::from(to_vec((g.clone() * g.clone()).sum())[0])).sum();
        let norm = squares.sqrt();
        if !norm.is_finite() {
            return Err(Error::new(ErrorKind::Training, format!("step {step}"), "the gradient is not a finite number")
                .mend("lower `train.learning_rate`, or lengthen `train.warmup`, and resume from the last checkpoint"));
        }
        let s = &self.settings;
        let scale = (s.clip / (norm + 1e-12)).min(1.0);
        let [beta1, beta2] = s.betas;
        let rate = s.rate(step as usize);
        let t = (step + 1) as i32;
        let (correct1, correct2) = (1.0 - beta1.powi(t), 1.0 - beta2.powi(t));
        // Early on the average must not stay at the random start: its decay warms up.
        let decay = s.ema.min((1.0 + step as f64) / (10.0 + step as f64));
        let slots = &mut self.slots;
        parameters.update(&mut |name, shape, value| {
            let slot = slots.get_mut(name).expect("slots are made from these parameters");
            let Some(gradient) = found.remove(name) else { return value };
            let g = gradient * scale;
            slot.m = slot.m.clone() * beta1 + g.clone() * (1.0 - beta1);
            slot.v = slot.v.clone() * beta2 + g.clone() * g * (1.0 - beta2);
            let direction = (slot.m.clone() / correct1) / ((slot.v.clone() / correct2).sqrt() + s.epsilon);
            // Gains, biases and norms are not decayed: pulling them to zero has no meaning.
            let decayed = if shape.len() > 1 { value.clone() * s.weight_decay } else { value.zeros_like() };
            let value = value - (direction + decayed) * rate;
            slot.average = slot.average.clone() * decay + value.clone() * (1.0 - decay);
            value
        });
        Ok(norm)
    }

    /// The moving average of the parameters.
    pub fn average(&self) -> Weights {
        self.copy(|slot| &slot.average)
    }

    fn copy(&self, pick: impl Fn(&Slot) -> &Tensor<1>) -> Weights {
        let weight = |slot: &Slot| Weight { shape: slot.shape.clone(), values: to_vec(pick(slot).clone()) };
        self.slots.iter().map(|(name, slot)| (name.clone(), weight(slot))).collect()
    }

    /// Everything that a checkpoint needs beside the parameters themselves.
    pub fn state(&self) -> Weights {
        let mut state = Weights::new();
        let mut add = |prefix: &str, weights: Weights| {
            state.extend(weights.into_iter().map(|(name, weight)| (format!("{prefix}.{name}"), weight)));
        };
        add("m", self.copy(|slot| &slot.m));
        add("v", self.copy(|slot| &slot.v));
        add("ema", self.average());
        state
    }

    /// Takes up a state that [`AdamW::state`] gave.
    ///
    /// # Errors
    /// Where the state lacks a tensor or has it in another shape.
    pub fn restore(&mut self, state: &Weights, device: &Device) -> Result<()> {
        for (name, slot) in &mut self.slots {
            let get = |prefix: &str| {
                let key = format!("{prefix}.{name}");
                let weight = state.get(&key).filter(|weight| weight.shape == slot.shape).ok_or_else(|| {
                    Error::new(ErrorKind::Weights, "checkpoint", format!("`{key}` {:?} is missing", slot.shape))
                })?;
                let count = weight.values.len();
                Ok::<Tensor<1>, Error>(Tensor::from_data(TensorData::new(weight.values.clone(), [count]), device))
            };
            (slot.m, slot.v, slot.average) = (get("m")?, get("v")?, get("ema")?);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::module::{Module, Param};
    use musiva_core::Init;

    #[derive(Module, Debug)]
    struct One {
        w: Param<Tensor<2>>,
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
        let device = Device::flex().autodiff();
        let mut model = One { w: Init::new(1, &device).part("w").normal([2, 3], 1.0) };
        let s = TrainSettings { schedule: musiva_core::recipe::Schedule::Constant, ..settings() };
        let mut adam = AdamW::new(&s, &model);
        let mut w: Vec<f64> = to_vec(model.w.val()).iter().map(|&w| f64::from(w)).collect();
        let (mut m, mut v) = ([0.0; 6], [0.0; 6]);
        for step in 0..2 {
            let loss = (model.w.val() * model.w.val() * model.w.val()).sum();
            adam.step(step, &mut model, loss.backward()).unwrap();
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
    fn a_gradient_that_is_no_number_changes_nothing() {
        let mut model = One { w: Init::new(1, &Device::flex().autodiff()).part("w").normal([2, 3], 1.0) };
        let mut adam = AdamW::new(&settings(), &model);
        let before = model.weights();
        let loss = (model.w.val() * f32::NAN).sum();
        assert!(adam.step(0, &mut model, loss.backward()).is_err());
        assert_eq!(model.weights(), before);
    }
}
