//! `rectified-flow` and `ddpm`: two ways from data to noise, one loss.
//!
//! Time 0 is data, time 1 is noise: `x_t = α(t)·x + σ(t)·ε`.

use super::drop_prompts;
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, CleanBatch, Content, Field, Prediction};
use musiva_core::{
    Backbone, BackboneSpec, Draw, Error, ErrorKind, Flaw, Loss, NoisePath, Objective, Predicts, Process, Purpose,
    Result,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the backbone's output stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Predict {
    /// The clean data.
    Data,
    /// `ε - x` on the straight path, `α·ε - σ·x` on the cosine path.
    Velocity,
}

impl From<Predict> for Predicts {
    fn from(predict: Predict) -> Self {
        match predict {
            Predict::Data => Self::Data,
            Predict::Velocity => Self::Velocity,
        }
    }
}

/// What a recipe says of `kind = "rectified-flow"`: straight lines from data to noise (Liu, Gong and
/// Liu 2022; Lipman et al. 2022).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct RectifiedFlow {
    /// What the backbone predicts.
    pub predict: Predict,
    /// Times are uniform, then pushed towards noise: `t' = s·t / (1 + (s - 1)·t)` (Esser et al. 2024,
    /// section 5.3.2).
    #[schemars(range(min = 0.01, max = 100.0))]
    pub shift: f32,
    /// Probability of training without the prompt.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub prompt_dropout: f32,
    /// Probability of a step with self-conditioning, where the backbone has it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub self_condition: f32,
}

impl Default for RectifiedFlow {
    fn default() -> Self {
        Self { predict: Predict::Velocity, shift: 1.0, prompt_dropout: 0.1, self_condition: 0.5 }
    }
}

/// What a recipe says of `kind = "ddpm"`: the variance-preserving path with the cosine schedule, the
/// backbone predicting `v` (Salimans and Ho 2022) or the data.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ddpm {
    /// What the backbone predicts.
    pub predict: Predict,
    /// Probability of training without the prompt.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub prompt_dropout: f32,
    /// Probability of a step with self-conditioning, where the backbone has it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub self_condition: f32,
}

impl Default for Ddpm {
    fn default() -> Self {
        Self { predict: Predict::Velocity, prompt_dropout: 0.1, self_condition: 0.5 }
    }
}

/// `α(t)` and `σ(t)`.
pub fn mix(path: NoisePath, t: f64) -> (f64, f64) {
    match path {
        NoisePath::Straight => (1.0 - t, t),
        NoisePath::Cosine => {
            let angle = std::f64::consts::FRAC_PI_2 * t;
            (angle.cos(), angle.sin())
        }
    }
}

/// The clean data that a prediction at time `t` stands for.
pub fn clean(process: Process, t: f64, noisy: Tensor<3>, predicted: Tensor<3>) -> Tensor<3> {
    match (process.predicts, process.path) {
        (Predicts::Data, _) => predicted,
        // x_t = (1 - t)·x + t·ε and v = ε - x, so x = x_t - t·v.
        (Predicts::Velocity, NoisePath::Straight) => noisy - predicted * t,
        (Predicts::Velocity, NoisePath::Cosine) => {
            let (alpha, sigma) = mix(process.path, t);
            noisy * alpha - predicted * sigma
        }
    }
}

/// Pushes a uniform time towards noise for `shift > 1`.
pub fn shifted(t: f64, shift: f64) -> f64 {
    shift * t / (1.0 + (shift - 1.0) * t)
}

struct Settings {
    process: Process,
    shift: f64,
    prompt_dropout: f32,
    self_condition: f32,
}

fn needs_field(name: &str, backbone: &BackboneSpec) -> Result<(), Flaw> {
    match backbone {
        BackboneSpec::Field { .. } => Ok(()),
        BackboneSpec::NextToken => Err(Flaw::new(
            "kind",
            format!("{name} trains a model that predicts a field of vectors, this backbone predicts the next token"),
            "set `objective.kind = \"next-token\"`, or `backbone.kind = \"dit\"`",
        )),
    }
}

fn loss(s: &Settings, backbone: &dyn Backbone, batch: &CleanBatch, draw: Draw) -> Result<Loss> {
    let device = backbone.device();
    let x = batch.vectors(&device).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "objective", "these codes have no bits, so no vectors to diffuse")
    })?;
    let [size, length, channels] = x.dims();
    let prompt = drop_prompts(batch, s.prompt_dropout, draw).prompt(&device);

    let mut noise = Vec::with_capacity(size * length * channels);
    let mut times = Vec::with_capacity(size);
    for &sample in &batch.samples {
        let draw = draw.sample(sample);
        noise.extend(draw.stream(Purpose::Noise).normals(length * channels));
        times.push(shifted(f64::from(draw.stream(Purpose::Time).uniform()), s.shift));
    }
    let noise = Tensor::<3>::from_data(TensorData::new(noise, [size, length, channels]), &device);
    let column = |value: &dyn Fn(f64) -> f64| {
        let values: Vec<f32> = times.iter().map(|&t| value(t) as f32).collect();
        Tensor::<3>::from_data(TensorData::new(values, [size, 1, 1]), &device)
    };
    let alpha = column(&|t| mix(s.process.path, t).0);
    let sigma = column(&|t| mix(s.process.path, t).1);
    let noisy = x.clone() * alpha.clone() + noise.clone() * sigma.clone();
    let field = |guess| {
        Content::Field(Field {
            values: noisy.clone(),
            times: column(&|t| t).reshape([size, 1]),
            at: vec![0; length],
            guess,
        })
    };
    let predict = |backbone: &dyn Backbone, guess| match backbone
        .forward(&CanvasBatch { prompt: prompt.clone(), content: field(guess) })
    {
        Prediction::Field(field) => Ok(field),
        Prediction::Logits(_) => {
            Err(Error::new(ErrorKind::Unsupported, "objective", "this backbone predicts no field"))
        }
    };
    let to_clean = |predicted: Tensor<3>| match (s.process.predicts, s.process.path) {
        (Predicts::Data, _) => predicted,
        (Predicts::Velocity, NoisePath::Straight) => noisy.clone() - predicted * sigma.clone(),
        (Predicts::Velocity, NoisePath::Cosine) => noisy.clone() * alpha.clone() - predicted * sigma.clone(),
    };

    let self_conditioned = matches!(backbone.spec(), BackboneSpec::Field { self_conditioned: true, .. });
    let guess = match self_conditioned && draw.sample(0).stream(Purpose::SelfCondition).chance(s.self_condition) {
        true => Some(to_clean(predict(&*backbone.frozen(), None)?).detach()),
        false => None,
    };
    let predicted = predict(backbone, guess)?;
    let target = match (s.process.predicts, s.process.path) {
        (Predicts::Data, _) => x.clone(),
        (Predicts::Velocity, NoisePath::Straight) => noise - x.clone(),
        (Predicts::Velocity, NoisePath::Cosine) => noise * alpha.clone() - x.clone() * sigma.clone(),
    };
    let error = predicted.clone() - target;
    let total = (error.clone() * error).mean();
    let miss = to_clean(predicted).detach() - x;
    Ok(Loss { total, parts: vec![("clean_mse", (miss.clone() * miss).mean())] })
}

impl RectifiedFlow {
    fn settings(&self) -> Settings {
        Settings {
            process: Process { path: NoisePath::Straight, predicts: self.predict.into() },
            shift: f64::from(self.shift),
            prompt_dropout: self.prompt_dropout,
            self_condition: self.self_condition,
        }
    }
}

impl Objective for RectifiedFlow {
    fn flaws(&self) -> Vec<Flaw> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec) -> Result<(), Flaw> {
        needs_field("rectified-flow", backbone)
    }

    fn process(&self) -> Option<Process> {
        Some(self.settings().process)
    }

    fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, draw: Draw) -> Result<Loss> {
        loss(&self.settings(), backbone, batch, draw)
    }

    fn forwards(&self) -> f64 {
        1.0 + f64::from(self.self_condition) / 3.0
    }
}

impl Ddpm {
    fn settings(&self) -> Settings {
        Settings {
            process: Process { path: NoisePath::Cosine, predicts: self.predict.into() },
            shift: 1.0,
            prompt_dropout: self.prompt_dropout,
            self_condition: self.self_condition,
        }
    }
}

impl Objective for Ddpm {
    fn flaws(&self) -> Vec<Flaw> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec) -> Result<(), Flaw> {
        needs_field("ddpm", backbone)
    }

    fn process(&self) -> Option<Process> {
        Some(self.settings().process)
    }

    fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, draw: Draw) -> Result<Loss> {
        loss(&self.settings(), backbone, batch, draw)
    }

    fn forwards(&self) -> f64 {
        1.0 + f64::from(self.self_condition) / 3.0
    }
}
