//! Samplers of plugins behind the contract. The host calls the model between their steps.

use crate::ask::{Ask, Element, View};
use crate::call::Wanted;
use crate::instance::Instance;
use crate::library::Library;
use crate::wrong;
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, NoisyVectors, Prediction, Values};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneSpec, CanvasShape, ConfigError, Modality, Process, Result, RngKey, RngStream, SampleRequest,
    Sampler, Sampling, Session,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// What `describe` answers.
#[derive(Clone, Copy, Deserialize)]
struct Answer {
    drives: Drives,
    #[serde(default = "unguided")]
    guidance: f32,
}

fn unguided() -> f32 {
    1.0
}

#[derive(Clone, Copy, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Drives {
    Codes,
    Field,
}

/// An instance with what it drives.
pub(crate) struct Held {
    instance: Instance,
    answer: Answer,
}

impl Held {
    pub fn new(instance: Instance) -> Result<Self> {
        let answer: Answer = instance.answer(Ask::Describe)?;
        match answer.guidance.is_finite() {
            true => Ok(Self { instance, answer }),
            false => Err(wrong(instance.id(), "describe: its guidance is no number")),
        }
    }

    /// Whether it drives fields, and not codes.
    pub fn drives_field(&self) -> bool {
        self.answer.drives == Drives::Field
    }

    /// The times of a field: from 1 down to 0.
    pub fn times(&self) -> Result<Vec<f32>> {
        let wanted = [Wanted::some("the times", Element::F32, &[None])];
        let times = self.instance.run(Ask::Times, &wanted)?.output(0).f32();
        let ends = (times.first(), times.last()) == (Some(&1.0), Some(&0.0));
        match ends && times.windows(2).all(|pair| pair[1] < pair[0]) {
            true => Ok(times),
            false => Err(wrong(self.instance.id(), "begin: its times do not fall from 1 to 0")),
        }
    }

    /// `x` at the next time.
    pub fn step(&self, index: usize, x: &[f32], clean: &[f32], sides: [usize; 3]) -> Result<Vec<f32>> {
        let wanted = [Wanted::exact("the next x", Element::F32, &sides)];
        let ask = Ask::Walk(index as i64, View::of(x, &sides), View::of(clean, &sides));
        Ok(self.instance.run(ask, &wanted)?.output(0).f32())
    }

    /// A code a row.
    pub fn pick(&self, logits: &[f32], uniform: &[f32]) -> Result<Vec<u32>> {
        let (rows, entries) = (uniform.len(), logits.len() / uniform.len().max(1));
        let wanted = [Wanted::exact("the codes", Element::I64, &[rows])];
        let ask = Ask::Pick(View::of(logits, &[rows, entries]), View::of(uniform, &[rows]));
        let mut returned = self.instance.run(ask, &wanted)?;
        let code = |code: i64| {
            u32::try_from(code).ok().filter(|&code| (code as usize) < entries).ok_or_else(|| {
                wrong(self.instance.id(), format!("pick: it picks the code {code} of {entries} entries"))
            })
        };
        returned.output(0).i64().into_iter().map(code).collect()
    }
}

/// A sampler of a plugin.
pub struct HostedSampler {
    library: Arc<Library>,
    id: String,
    config: Value,
    answer: Answer,
    steps: usize,
}

impl HostedSampler {
    /// Makes an instance and asks what it drives.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration, or its answers are not in order.
    pub fn new(library: Arc<Library>, id: &str, config: Value) -> Result<Self> {
        let held = Held::new(library.create(id, &config)?)?;
        let steps = if held.drives_field() { held.times()?.len() - 1 } else { 0 };
        Ok(Self { library, id: id.to_owned(), config, answer: held.answer, steps })
    }

    fn guided(&self) -> bool {
        self.answer.guidance != 1.0
    }
}

impl Sampler for HostedSampler {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec, process: Option<&Process>) -> Result<(), ConfigError> {
        match (self.answer.drives, backbone, process) {
            (Drives::Codes, BackboneSpec::NextToken, _) | (Drives::Field, BackboneSpec::Diffusion { .. }, Some(_)) => {
                Ok(())
            }
            (Drives::Codes, ..) => {
                let message = format!("`{}` picks codes, this backbone predicts vectors", self.id);
                Err(ConfigError::new("kind", message, "name a sampler of diffusion, e.g. `sampler.kind = \"euler\"`"))
            }
            (Drives::Field, ..) => {
                let message = format!("`{}` drives a model of vectors, this backbone predicts the next token", self.id);
                Err(ConfigError::new("kind", message, "set `sampler.kind = \"autoregressive\"`"))
            }
        }
    }

    fn forwards(&self, canvas: &CanvasShape) -> f64 {
        let passes = match self.answer.drives {
            // A pass with a cache over all tokens is one over the whole canvas.
            Drives::Codes => {
                let text = canvas.tracks.iter().filter(|track| track.modality == Modality::Text && !track.target);
                let prompt: usize = text.map(|track| track.tokens.length()).sum();
                1.0 + prompt as f64 / canvas.length() as f64
            }
            Drives::Field => self.steps as f64,
        };
        passes * if self.guided() { 2.0 } else { 1.0 }
    }

    fn depth(&self, canvas: &CanvasShape) -> usize {
        match self.answer.drives {
            Drives::Codes => canvas.target_elements(),
            Drives::Field => self.steps,
        }
    }

    fn edits(&self) -> Result<(), ConfigError> {
        match self.answer.drives {
            Drives::Field => Ok(()),
            Drives::Codes => {
                let message =
                    format!("`{}` picks one code after the other: it has no way from a clip to a changed one", self.id);
                Err(ConfigError::new("kind", message, "name a sampler of a diffusion or a masked model"))
            }
        }
    }

    fn begin(
        &self,
        backbone: &dyn Backbone,
        process: Option<&Process>,
        request: &SampleRequest,
    ) -> Result<Box<dyn Sampling>> {
        let held = Held::new(self.library.create(&self.id, &self.config)?)?;
        let size = request.keys.len();
        let conditioning = request.conditioning(backbone, if self.guided() { 2 * size } else { size })?;
        let common = Common { held: Mutex::new(held), conditioning, keys: request.keys.clone() };
        let Some(channels) = field_channels(backbone) else {
            let session = backbone.session(common.conditioning.clone())?;
            let session = session.ok_or_else(|| wrong(&self.id, "this backbone cannot decode step by step"))?;
            return Ok(Box::new(Codes { common, session, draws: 0, digits: vec![Vec::new(); size] }));
        };
        let process = process.cloned().ok_or_else(|| wrong(&self.id, "the objective names no noise"))?;
        let times = common.held().times()?;
        let count = common.length() * channels;
        let mut x: Vec<f32> = request.keys.iter().flat_map(|key| key.stream(RngStream::Noise).normals(count)).collect();
        let steps = times.len() - 1;
        let step = steps - request.left(steps).1;
        // Before the first step all is noise, and nothing is left of a start.
        if let Some(start) = request.start.as_ref().filter(|_| step > 0) {
            let start = start.vectors(&request.layout, &backbone.device());
            let start =
                start.ok_or_else(|| wrong(&self.id, "these codes have no bits, so no vectors to go on from"))?;
            let (alpha, sigma) = process.schedule.mix(f64::from(times[step]));
            x.iter_mut().zip(to_vec(start)).for_each(|(x, start)| *x = start * alpha as f32 + *x * sigma as f32);
        }
        Ok(Box::new(Vectors { common, process, channels, times, x, guess: None, step }))
    }
}

fn field_channels(backbone: &dyn Backbone) -> Option<usize> {
    match backbone.spec() {
        BackboneSpec::Diffusion { channels, .. } => Some(channels),
        BackboneSpec::NextToken | BackboneSpec::Masked => None,
    }
}

/// What both ways share.
struct Common {
    held: Mutex<Held>,
    /// Of all rows: with guidance, those without a prompt come after.
    conditioning: Conditioning,
    keys: Vec<RngKey>,
}

impl Common {
    fn held(&self) -> std::sync::MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn rows(&self) -> usize {
        self.conditioning.size
    }

    fn size(&self) -> usize {
        self.keys.len()
    }

    /// How many elements are to be made.
    fn length(&self) -> usize {
        self.conditioning.layout.elements().len()
    }

    /// Of the rows with and without the prompt, the one that guidance makes of the two.
    fn guide(&self, all: Vec<f32>) -> Vec<f32> {
        if self.rows() == self.size() {
            return all;
        }
        let guidance = self.held().answer.guidance;
        let (with, without) = all.split_at(all.len() / 2);
        with.iter().zip(without).map(|(with, without)| without + (with - without) * guidance).collect()
    }
}

/// Picking one code after the other.
struct Codes {
    common: Common,
    session: Box<dyn Session>,
    /// Digits picked so far.
    draws: u64,
    /// Of each sample the digits of the elements that are done, `[n, D]`.
    digits: Vec<Vec<u32>>,
}

impl Codes {
    /// How many digits stand side by side.
    fn width(&self) -> usize {
        self.common.conditioning.canvas().most_digits()
    }
}

impl Sampling for Codes {
    fn progress(&self) -> (usize, usize) {
        (self.digits.first().map_or(0, Vec::len) / self.width(), self.common.length())
    }

    fn step(&mut self, _: &dyn Backbone) -> Result<()> {
        let (mut digits, mut rows) = (Vec::new(), vec![vec![0u32; self.width()]; self.common.size()]);
        for digit in self.session.digits() {
            let logits = self.common.guide(to_vec(self.session.logits(&digits)?));
            let draw = self.draws;
            let uniform = |key: &RngKey| key.step(draw).stream(RngStream::Pick).uniform();
            let uniform: Vec<f32> = self.common.keys.iter().map(uniform).collect();
            let mut picked = self.common.held().pick(&logits, &uniform)?;
            rows.iter_mut().zip(&picked).for_each(|(row, &entry)| row[digit] = entry);
            if self.common.rows() > self.common.size() {
                picked.extend_from_within(..);
            }
            digits.push(picked);
            self.draws += 1;
        }
        self.digits.iter_mut().zip(rows).for_each(|(all, row)| all.extend(row));
        self.session.push(&digits)
    }

    fn tokens(&self) -> Result<Vec<Values>> {
        let layout = &self.common.conditioning.layout;
        Ok(self.digits.iter().map(|digits| layout.of_digits(digits)).collect())
    }
}

/// Going from noise to data.
struct Vectors {
    common: Common,
    process: Process,
    channels: usize,
    times: Vec<f32>,
    x: Vec<f32>,
    guess: Option<Vec<f32>>,
    step: usize,
}

impl Vectors {
    fn sides(&self) -> [usize; 3] {
        [self.common.size(), self.common.length(), self.channels]
    }

    /// The guess of the clean vectors at time `t`.
    fn clean(&self, backbone: &dyn Backbone, t: f32) -> Result<Vec<f32>> {
        let (device, rows) = (backbone.device(), self.common.rows());
        let [_, length, channels] = self.sides();
        let tensor = |values: &[f32]| {
            let all = values.iter().copied().cycle().take(rows * length * channels).collect::<Vec<_>>();
            Tensor::<3>::from_data(TensorData::new(all, [rows, length, channels]), &device)
        };
        let batch = CanvasBatch {
            conditioning: self.common.conditioning.clone(),
            input: ModelInput::NoisyVectors(NoisyVectors {
                values: tensor(&self.x),
                times: Tensor::full([rows, 1], t, &device),
                at: vec![0; length],
                x0_prev: self.guess.as_deref().map(tensor),
            }),
        };
        let Prediction::Vector(predicted) = backbone.forward(&batch)? else {
            return Err(wrong(self.common.held().instance.id(), "this backbone predicts no field"));
        };
        let noisy = tensor(&self.x);
        let (alpha, sigma) = self.process.schedule.mix(f64::from(t));
        let one = |value: f64| Tensor::full([1, 1, 1], value as f32, &device);
        let clean = self.process.clean(one(alpha), one(sigma), noisy, predicted);
        Ok(self.common.guide(to_vec(clean)))
    }
}

impl Sampling for Vectors {
    fn progress(&self) -> (usize, usize) {
        (self.step, self.times.len() - 1)
    }

    fn step(&mut self, backbone: &dyn Backbone) -> Result<()> {
        let clean = self.clean(backbone, self.times[self.step])?;
        self.x = self.common.held().step(self.step, &self.x, &clean, self.sides())?;
        self.guess = Some(clean);
        self.step += 1;
        Ok(())
    }

    fn tokens(&self) -> Result<Vec<Values>> {
        let [_, length, channels] = self.sides();
        let layout = &self.common.conditioning.layout;
        Ok(self.x.chunks(length * channels).map(|vectors| layout.of_vectors(vectors)).collect())
    }
}
