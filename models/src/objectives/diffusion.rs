//! `rectified-flow` and `ddpm`: two ways from data to noise, one loss.
//!
//! Time 0 is data, time 1 is noise: `x_t = α(t)·x + σ(t)·ε`.

#[cfg(test)]
mod tests;

use super::{drop_prompts, frame_progress};
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, CleanBatch, ModelInput, NoisyVectors, Prediction};
use musiva_core::{
    Backbone, BackboneSpec, CanvasShape, ConfigError, Error, ErrorKind, Loss, NoisePath, Objective, Predicts, Process,
    Result, RngKey, RngStream,
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
    /// Timesteps are uniform, then shifted towards noise: `t' = s·t / (1 + (s - 1)·t)` (Esser et al. 2024, section
    /// 5.3.2).
    #[schemars(range(min = 0.01, max = 100.0))]
    pub shift: f32,
    /// Probability of training without the prompt.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub prompt_dropout: f32,
    /// Probability of a step with self-conditioning, where the backbone has it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub self_condition: f32,
    /// Largest difference between the timesteps of a sample's frames: 0 for all at once, 1 for one frame after the
    /// other; each training sample draws its own between 0 and this (after Chen et al. 2024, "Diffusion Forcing").
    #[schemars(range(min = 0.0, max = 1.0))]
    pub frame_offset: f32,
}

impl Default for RectifiedFlow {
    fn default() -> Self {
        Self { predict: Predict::Velocity, shift: 1.0, prompt_dropout: 0.1, self_condition: 0.5, frame_offset: 0.0 }
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
    /// Largest difference between the timesteps of a sample's frames: 0 for all at once, 1 for one frame after the
    /// other; each training sample draws its own between 0 and this (after Chen et al. 2024, "Diffusion Forcing").
    #[schemars(range(min = 0.0, max = 1.0))]
    pub frame_offset: f32,
}

impl Default for Ddpm {
    fn default() -> Self {
        Self { predict: Predict::Velocity, prompt_dropout: 0.1, self_condition: 0.5, frame_offset: 0.0 }
    }
}

/// The clean data that a prediction stands for where `x_t = α·x + σ·ε`; `[B, L, C]`, and `[B, L, 1]`
/// for α and σ.
pub fn clean(
    process: Process,
    alpha: Tensor<3>,
    sigma: Tensor<3>,
    noisy: Tensor<3>,
    predicted: Tensor<3>,
) -> Tensor<3> {
    match (process.predicts, process.path) {
        (Predicts::Data, _) => predicted,
        // x_t = (1 - t)·x + t·ε and v = ε - x, so x = x_t - t·v.
        (Predicts::Velocity, NoisePath::Straight) => noisy - predicted * sigma,
        (Predicts::Velocity, NoisePath::Cosine) => noisy * alpha - predicted * sigma,
    }
}

/// Pushes a uniform time towards noise for `shift > 1`.
pub fn shifted(t: f64, shift: f64) -> f64 {
    shift * t / (1.0 + (shift - 1.0) * t)
}

struct Settings {
    process: Process,
    frame_offset: f64,
    shift: f64,
    prompt_dropout: f32,
    self_condition: f32,
}

fn needs_field(name: &str, backbone: &BackboneSpec) -> Result<(), ConfigError> {
    match backbone {
        BackboneSpec::Diffusion { .. } => Ok(()),
        BackboneSpec::NextToken => Err(ConfigError::new(
            "kind",
            format!("{name} trains a model that predicts vectors, this backbone predicts the next token"),
            "set `objective.kind = \"next-token\"`, or `backbone.kind = \"dit\"`",
        )),
        BackboneSpec::Masked => Err(ConfigError::new(
            "kind",
            format!("{name} trains a model that predicts vectors, this backbone predicts masked tokens"),
            "set `objective.kind = \"masked\"`, or `backbone.kind = \"dit\"`",
        )),
    }
}

fn loss(s: &Settings, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss> {
    let device = backbone.device();
    let x = batch.vectors(&device).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "objective", "these codes have no bits, so no vectors to diffuse")
    })?;
    let [size, length, channels] = x.dims();
    let conditioning = drop_prompts(batch, s.prompt_dropout, key).conditioning_vectors(&device);

    let canvas = backbone.canvas();
    let (frames, frame_of) = batch.layout.steps(canvas);
    let frame_of = |token: usize| frame_of[token];
    let mut noise = Vec::with_capacity(size * length * channels);
    let mut times = Vec::with_capacity(size * frames);
    for &sample in &batch.samples {
        let key = key.sample(sample);
        noise.extend(key.stream(RngStream::Noise).normals(length * channels));
        let mut stream = key.stream(RngStream::Time);
        let (left, frame_offset) = (f64::from(stream.uniform()), f64::from(stream.uniform()) * s.frame_offset);
        times.extend(
            frame_progress(1.0 - left, frames, frame_offset)
                .into_iter()
                .map(|progress| shifted(1.0 - progress, s.shift)),
        );
    }
    let noise = Tensor::<3>::from_data(TensorData::new(noise, [size, length, channels]), &device);
    // What depends on the time of each token, [B, L, 1].
    let column = |value: &dyn Fn(f64) -> f64| {
        let of = |sample: usize, token: usize| value(times[sample * frames + frame_of(token)]) as f32;
        let values: Vec<f32> = (0..size).flat_map(|b| (0..length).map(move |l| of(b, l))).collect();
        Tensor::<3>::from_data(TensorData::new(values, [size, length, 1]), &device)
    };
    let alpha = column(&|t| s.process.path.mix(t).0);
    let sigma = column(&|t| s.process.path.mix(t).1);
    let noisy = x.clone() * alpha.clone() + noise.clone() * sigma.clone();
    let moments: Vec<f32> = times.iter().map(|&t| t as f32).collect();
    let field = |x0_prev| {
        ModelInput::NoisyVectors(NoisyVectors {
            values: noisy.clone(),
            times: Tensor::from_data(TensorData::new(moments.clone(), [size, frames]), &device),
            at: (0..length).map(frame_of).collect(),
            x0_prev,
        })
    };
    let predict = |backbone: &dyn Backbone, x0_prev| match backbone
        .forward(&CanvasBatch { conditioning: conditioning.clone(), input: field(x0_prev) })
    {
        Prediction::Vector(field) => Ok(field),
        Prediction::Logits(_) => {
            Err(Error::new(ErrorKind::Unsupported, "objective", "this backbone predicts no field"))
        }
    };
    let to_clean = |predicted: Tensor<3>| clean(s.process, alpha.clone(), sigma.clone(), noisy.clone(), predicted);

    let self_conditioned = matches!(backbone.spec(), BackboneSpec::Diffusion { self_conditioned: true, .. });
    let x0_prev = match self_conditioned && key.sample(0).stream(RngStream::SelfCondition).chance(s.self_condition) {
        true => Some(to_clean(predict(&*backbone.frozen(), None)?).detach()),
        false => None,
    };
    let predicted = predict(backbone, x0_prev)?;
    let target = match (s.process.predicts, s.process.path) {
        (Predicts::Data, _) => x.clone(),
        (Predicts::Velocity, NoisePath::Straight) => noise - x.clone(),
        (Predicts::Velocity, NoisePath::Cosine) => noise * alpha.clone() - x.clone() * sigma.clone(),
    };
    // A frame at time 0 is given, there is nothing to learn from it; the others count for it.
    let live = column(&|t| if t > 0.0 { 1.0 } else { 0.0 });
    let (live, channels) = match own_channels(canvas, batch.layout.target()) {
        // Of a shorter vector only its own numbers count.
        Some(own) => (live * Tensor::<3>::from_data(own, &device), 1),
        None => (live, channels),
    };
    let counted = live.clone().sum().clamp_min(1.0) * channels as f32;
    let mean = |error: Tensor<3>| (error.clone() * error * live.clone()).sum() / counted.clone();
    let miss = to_clean(predicted.clone()).detach() - x;
    Ok(Loss { total: mean(predicted - target), parts: vec![("clean_mse", mean(miss))] })
}

/// `[1, n, C]`, 1 where a number is of the vector at a place, 0 after its end; `None` where all are as long.
fn own_channels(canvas: &CanvasShape, positions: &[usize]) -> Option<TensorData> {
    let longest = canvas.channels()?;
    let lengths: Vec<usize> = positions.iter().filter_map(|&position| canvas.kind(position).channels()).collect();
    let row = |&length: &usize| (0..longest).map(move |i| if i < length { 1.0f32 } else { 0.0 });
    let short = lengths.iter().any(|&length| length < longest);
    short.then(|| TensorData::new(lengths.iter().flat_map(row).collect(), [1, positions.len(), longest]))
}

impl RectifiedFlow {
    fn settings(&self) -> Settings {
        Settings {
            process: Process { path: NoisePath::Straight, predicts: self.predict.into() },
            frame_offset: f64::from(self.frame_offset),
            shift: f64::from(self.shift),
            prompt_dropout: self.prompt_dropout,
            self_condition: self.self_condition,
        }
    }
}

impl Objective for RectifiedFlow {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec) -> Result<(), ConfigError> {
        needs_field("rectified-flow", backbone)
    }

    fn process(&self) -> Option<Process> {
        Some(self.settings().process)
    }

    fn frame_offset(&self) -> f32 {
        self.frame_offset
    }

    fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss> {
        loss(&self.settings(), backbone, batch, key)
    }

    fn forwards(&self) -> f64 {
        1.0 + f64::from(self.self_condition) / 3.0
    }
}

impl Ddpm {
    fn settings(&self) -> Settings {
        Settings {
            process: Process { path: NoisePath::Cosine, predicts: self.predict.into() },
            frame_offset: f64::from(self.frame_offset),
            shift: 1.0,
            prompt_dropout: self.prompt_dropout,
            self_condition: self.self_condition,
        }
    }
}

impl Objective for Ddpm {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec) -> Result<(), ConfigError> {
        needs_field("ddpm", backbone)
    }

    fn process(&self) -> Option<Process> {
        Some(self.settings().process)
    }

    fn frame_offset(&self) -> f32 {
        self.frame_offset
    }

    fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss> {
        loss(&self.settings(), backbone, batch, key)
    }

    fn forwards(&self) -> f64 {
        1.0 + f64::from(self.self_condition) / 3.0
    }
}
