//! Backbones: predictions that do not depend on the batch or the future, gradients that are those of the function.

use super::{Checked, Kit, noise, words};
use crate::backbone::HostedBackboneConfig;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, NoisyVectors, Prediction, ints};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Layout, Result, TokenKind, TokenShape, WeightInit, Weights,
};
use std::sync::Arc;

/// Places of the clip's tokens, `LENGTH` in all.
const GRID: [usize; 3] = [2, 3, 2];
const LENGTH: usize = GRID[0] * GRID[1] * GRID[2];
/// Words of a prompt.
const PROMPT: usize = 3;
/// Words that prompts have to choose from.
const WORDS: usize = 11;
/// Samples of a batch.
const BATCH: usize = 2;
/// How far two roads to one prediction may be apart, in parts of the largest.
const CLOSE: f32 = 1e-4;
/// How far a central difference may be from the gradient, in parts of it: f32 leaves three or four digits.
const SLOPE: f64 = 2e-2;

pub fn check(kit: &mut Kit) {
    let made = HostedBackboneConfig::new(kit.loaded.library.clone(), &kit.loaded.id, kit.config.clone());
    let config = match made {
        Ok(config) => config,
        Err(error) => {
            kit.run("tables", || Err(words(error)));
            return;
        }
    };
    let canvas = canvas();
    let mut spec = None;
    kit.run("describe", || {
        let found = config.spec(&canvas).map_err(|error| error.message)?;
        spec = Some(found);
        Ok(format!("{found:?} with {} parameters", config.parameters(&canvas)))
    });
    let Some(spec) = spec else { return };
    let built = |device: &Device| config.build(&canvas, device, &WeightInit::Seed(7));
    let whole = Inputs::new(&canvas, BATCH, spec);
    let mut first = Vec::new();
    let ran = kit.run("forward", || {
        let made = built(&Device::flex()).and_then(|model| predict(&*model, &whole)).map_err(words)?;
        let finite = made.iter().all(|value| value.is_finite());
        first = made;
        if finite { Ok(format!("{} numbers", first.len())) } else { Err("a prediction is not a finite number".into()) }
    });
    if !ran {
        return;
    }
    kit.run("batch", || {
        let model = built(&Device::flex()).map_err(words)?;
        let row = first.len() / BATCH;
        for b in 0..BATCH {
            let alone = predict(&*model, &whole.row(b)).map_err(words)?;
            close(&alone, &first[b * row..(b + 1) * row], "a sample's predictions depend on the batch around it")?;
        }
        Ok("a sample is the same alone".into())
    });
    if spec == BackboneSpec::NextToken {
        kit.run("causality", || causality(&*built(&Device::flex()).map_err(words)?, &whole, &first));
        kit.run("step by step", || steps(&*built(&Device::flex()).map_err(words)?, &whole, &first));
    } else {
        kit.skip("causality", "it predicts all vectors at once");
    }
    match config.trains() {
        Ok(()) => {
            kit.run("gradients", || gradients(&mut *built(&Device::flex().autodiff()).map_err(words)?, &whole));
        }
        Err(_) => kit.skip("gradients", "it has none: it can be used, not trained"),
    }
    let (library, id, settings) = (kit.loaded.library.clone(), kit.loaded.id.clone(), kit.config.clone());
    kit.common(&move |instance| {
        drop(instance);
        let config = HostedBackboneConfig::new(library.clone(), &id, settings.clone())?;
        let model = config.build(&canvas, &Device::flex(), &WeightInit::Seed(7))?;
        Ok(super::bytes(&predict(&*model, &whole)?))
    });
}

/// A small canvas, of codes with bits, so that both kinds of backbones can read it.
fn canvas() -> Arc<CanvasShape> {
    let kind = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
    Arc::new(CanvasShape::new(PROMPT, WORDS, TokenShape { grid: GRID, kind }))
}

/// What a prediction is made of.
struct Inputs {
    batch: usize,
    prompt: Vec<u32>,
    codes: Vec<u32>,
    values: Vec<f32>,
    times: Vec<f32>,
    guess: Option<Vec<f32>>,
    field: bool,
    canvas: Arc<CanvasShape>,
}

impl Inputs {
    fn new(canvas: &Arc<CanvasShape>, batch: usize, spec: BackboneSpec) -> Self {
        let count = |n: usize, most: u32, step: u32| (0..n as u32).map(|i| i * step % most).collect();
        let numbers = batch * LENGTH * canvas.channels().unwrap_or(0);
        let guessed = matches!(spec, BackboneSpec::Diffusion { self_conditioned: true, .. });
        Self {
            batch,
            prompt: count(batch * PROMPT, WORDS as u32, 5),
            codes: count(batch * LENGTH, 16, 7),
            values: noise(numbers, 1),
            times: (0..batch).map(|b| 0.3 + 0.4 * b as f32).collect(),
            guess: guessed.then(|| noise(numbers, 2)),
            field: spec != BackboneSpec::NextToken,
            canvas: canvas.clone(),
        }
    }

    fn row(&self, b: usize) -> Self {
        fn part<T: Clone>(all: &[T], b: usize, batch: usize) -> Vec<T> {
            let size = all.len() / batch;
            all[b * size..(b + 1) * size].to_vec()
        }
        let n = self.batch;
        Self {
            batch: 1,
            prompt: part(&self.prompt, b, n),
            codes: part(&self.codes, b, n),
            values: part(&self.values, b, n),
            times: part(&self.times, b, n),
            guess: self.guess.as_ref().map(|guess| part(guess, b, n)),
            field: self.field,
            canvas: self.canvas.clone(),
        }
    }

    fn conditioning(&self, device: &Device) -> Result<Conditioning> {
        let prompts: Vec<_> = self.prompt.chunks(PROMPT).map(|words| self.canvas.prompt(words)).collect();
        Conditioning::new(&Arc::new(Layout::whole(&self.canvas)), &prompts, self.field, device)
    }

    fn batch(&self, device: &Device) -> Result<CanvasBatch> {
        let tensor = |values: &[f32]| {
            let channels = values.len() / (self.batch * LENGTH);
            Tensor::<3>::from_data(TensorData::new(values.to_vec(), [self.batch, LENGTH, channels]), device)
        };
        let input = match self.field {
            false => ModelInput::Codes(ints(&self.codes, [self.batch, LENGTH, 1], device)),
            true => ModelInput::NoisyVectors(NoisyVectors {
                values: tensor(&self.values),
                times: Tensor::from_data(TensorData::new(self.times.clone(), [self.batch, 1]), device),
                at: vec![0; LENGTH],
                x0_prev: self.guess.as_deref().map(tensor),
            }),
        };
        Ok(CanvasBatch { conditioning: self.conditioning(device)?, input })
    }
}

fn of(prediction: Prediction) -> Tensor<3> {
    match prediction {
        Prediction::Vector(field) => field,
        Prediction::Logits(mut all) => all.remove(0).heads.remove(0).logits,
    }
}

fn predict(model: &dyn Backbone, inputs: &Inputs) -> Result<Vec<f32>> {
    Ok(to_vec(of(model.forward(&inputs.batch(&model.device())?)?)))
}

/// What unwinds from a backward pass is the plugin's error.
fn guarded<T>(body: impl FnOnce() -> Result<T>) -> std::result::Result<T, String> {
    match std::panic::catch_unwind(std::panic::AssertUnwindSafe(body)) {
        Ok(outcome) => outcome.map_err(words),
        Err(payload) => match payload.downcast::<musiva_core::Error>() {
            Ok(error) => Err(words(*error)),
            Err(other) => std::panic::resume_unwind(other),
        },
    }
}

fn close(a: &[f32], b: &[f32], otherwise: &str) -> Checked {
    let largest = b.iter().fold(1e-3f32, |most, value| most.max(value.abs()));
    let apart = a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    match a.len() == b.len() && apart <= CLOSE * largest {
        true => Ok(String::new()),
        false => Err(format!("{otherwise} (by up to {apart:e})")),
    }
}

fn causality(model: &dyn Backbone, whole: &Inputs, first: &[f32]) -> Checked {
    let (row, position) = (first.len() / BATCH, LENGTH / 2);
    let mut changed = whole.row(0);
    changed.codes[position] ^= 5;
    let after = predict(model, &changed).map_err(words)?;
    let before = row / LENGTH * (position + 1);
    close(&after[..before], &first[..before], "a prediction depends on its own or a later code")?;
    match after[before..] == first[before..row] {
        true => Err("no prediction depends on an earlier code".into()),
        false => Ok(format!("code {position} changes the predictions after it alone")),
    }
}

fn steps(model: &dyn Backbone, whole: &Inputs, first: &[f32]) -> Checked {
    let width = first.len() / BATCH / LENGTH;
    let conditioning = whole.conditioning(&model.device()).map_err(words)?;
    let session = model.session(conditioning).map_err(words)?;
    let mut session = session.expect("a model of codes decodes step by step");
    for position in 0..LENGTH {
        let logits = to_vec(session.logits(&[]).map_err(words)?);
        for b in 0..BATCH {
            let wanted = &first[(b * LENGTH + position) * width..][..width];
            let otherwise = "step by step it predicts something else than at once";
            close(&logits[b * width..][..width], wanted, otherwise)
                .map_err(|message| format!("at token {position} {message}"))?;
        }
        session.push(&[vec![whole.codes[position], whole.codes[LENGTH + position]]]).map_err(words)?;
    }
    Ok("the same as at once".into())
}

/// Gradients against central differences along random directions, and whether they are linear.
fn gradients(model: &mut dyn Backbone, whole: &Inputs) -> Checked {
    let start = model.parameters().weights();
    // A start at zeros would hide whatever is multiplied by them.
    let mut moved = start.clone();
    let names: Vec<String> = moved.keys().cloned().collect();
    for (i, weight) in moved.values_mut().enumerate() {
        weight
            .values
            .iter_mut()
            .zip(noise(weight.shape.iter().product(), 11 + i as u64))
            .for_each(|(v, n)| *v += 0.1 * n);
    }
    model.parameters_mut().load(&moved, "the check").map_err(words)?;
    let device = model.device();
    let batch = whole.batch(&device).map_err(words)?;
    let dims = of(model.forward(&batch).map_err(words)?).dims();
    let dy = Tensor::<3>::from_data(TensorData::new(noise(dims.iter().product(), 3), dims), &device);
    let slope = |model: &dyn Backbone, scale: f32| {
        guarded(|| {
            let loss = (of(model.forward(&batch)?) * dy.clone() * scale).sum();
            let mut found = loss.backward();
            let mut all = Weights::new();
            model.parameters().gradients(&mut found, &mut |name, value| {
                let shape = moved[name].shape.clone();
                all.insert(name.to_owned(), musiva_core::parameters::Weight { shape, values: to_vec(value) });
            });
            Ok(all)
        })
    };
    let once = slope(model, 1.0)?;
    let twice = slope(model, 2.0)?;
    for (name, weight) in &once {
        let double: Vec<f32> = weight.values.iter().map(|value| 2.0 * value).collect();
        close(&twice[name].values, &double, &format!("the gradient by `{name}` is not linear in dy"))?;
    }
    let mut worst = 0f64;
    for (i, name) in names.iter().enumerate() {
        let Some(gradient) = once.get(name) else { return Err(format!("there is no gradient by `{name}`")) };
        // Along the gradient itself, where the slope is steepest, with some noise to see what is left out.
        let norm = gradient.values.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt().max(1e-12);
        let noise = noise(gradient.values.len(), 101 + i as u64);
        let length = (noise.len() as f64).sqrt();
        let direction: Vec<f64> = gradient
            .values
            .iter()
            .zip(&noise)
            .map(|(&g, &n)| (f64::from(g) / norm + f64::from(n) / length) / 2f64.sqrt())
            .collect();
        let mut value_at = |step: f64| {
            let mut there = moved.clone();
            let values = &mut there.get_mut(name).expect("of the same model").values;
            values.iter_mut().zip(&direction).for_each(|(value, d)| *value = (f64::from(*value) + step * d) as f32);
            model.parameters_mut().load(&there, "the check").map_err(words)?;
            let y = to_vec(of(model.forward(&batch).map_err(words)?).inner());
            let dy = to_vec(dy.clone());
            Ok::<f64, String>(y.iter().zip(&dy).map(|(&y, &d)| f64::from(y) * f64::from(d)).sum())
        };
        let step = 1e-2;
        let difference = (value_at(step)? - value_at(-step)?) / (2.0 * step);
        let slope: f64 = gradient.values.iter().zip(&direction).map(|(&g, d)| f64::from(g) * d).sum();
        let apart = (difference - slope).abs() / difference.abs().max(slope.abs()).max(1e-2);
        worst = worst.max(apart);
        if apart > SLOPE {
            return Err(format!(
                "the gradient by `{name}` is {slope:.6} along a direction, the difference {difference:.6}"
            ));
        }
    }
    Ok(format!("within {worst:.1e} of central differences, and linear"))
}
