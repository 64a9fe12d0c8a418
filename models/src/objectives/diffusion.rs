//! `rectified-flow` and `ddpm`: two ways from data to noise, one loss.
//!
//! Time 0 is data, time 1 is noise: `x_t = α(t)·x + σ(t)·ε`, by a [`Schedule`].

#[cfg(test)]
mod tests;

use super::{drop_prompts, frame_progress, stratified};
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::{
    CanvasBatch, CleanBatch, Conditioning, Element, Layout, ModelInput, NoisyVectors, Prediction, columns,
};
use musiva_core::parameters::to_vec;
use musiva_core::schedule::{Cosine, Straight};
use musiva_core::{
    Backbone, BackboneSpec, Bits, BitsKind, ConfigError, Error, ErrorKind, Family, Loss, Objective, Predicts, Process,
    Result, RngKey, RngStream, Schedule, TokenKind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What the backbone's output stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Predict {
    /// The clean data.
    Data,
    /// The noise `ε`. The clean data are computed from it by a division by `α`, which counts as 0.001 at least: near
    /// time 1 noise says little of the data.
    Noise,
    /// `ε - x` by a straight schedule, `α·ε - σ·x` by a variance-preserving one.
    Velocity,
}

impl From<Predict> for Predicts {
    fn from(predict: Predict) -> Self {
        match predict {
            Predict::Data => Self::Data,
            Predict::Noise => Self::Noise,
            Predict::Velocity => Self::Velocity,
        }
    }
}

/// What a recipe says of `kind = "rectified-flow"`: straight lines from data to noise (Liu, Gong and
/// Liu 2022; Lipman et al. 2022). `[schedule]` may name another straight schedule.
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

/// What a recipe says of `kind = "ddpm"`: the cosine schedule, or the variance-preserving one that `[schedule]` names, the
/// backbone predicting `v` (Salimans and Ho 2022), the noise (Ho, Jain and Abbeel 2020) or the data.
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

/// Pushes a uniform time towards noise for `shift > 1`.
pub fn shifted(t: f64, shift: f64) -> f64 {
    shift * t / (1.0 + (shift - 1.0) * t)
}

/// Either of the two with its noise schedule.
#[derive(Clone)]
struct Diffusion {
    name: &'static str,
    process: Process,
    frame_offset: f32,
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

/// What the backbone predicts of noisy vectors, `[B, L, C]`.
fn predict(backbone: &dyn Backbone, conditioning: &Conditioning, input: ModelInput) -> Result<Tensor<3>> {
    match backbone.forward(&CanvasBatch { conditioning: conditioning.clone(), input })? {
        Prediction::Vector(field) => Ok(field),
        Prediction::Logits(_) => {
            Err(Error::new(ErrorKind::Unsupported, "objective", "this backbone predicts no field"))
        }
    }
}

fn loss(s: &Diffusion, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss> {
    let device = backbone.device();
    let x = batch.vectors(&device).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "objective", "these codes have no bits, so no vectors to diffuse")
    })?;
    let [size, length, channels] = x.dims();
    let conditioning = drop_prompts(batch, s.prompt_dropout, key).conditioning_vectors(&device)?;

    let (frames, frame_of) = batch.layout.steps();
    let frame_of = |token: usize| frame_of[token];
    let mut noise = Vec::with_capacity(size * length * channels);
    let mut times = Vec::with_capacity(size * frames);
    for &sample in &batch.samples {
        let key = key.sample(sample);
        noise.extend(key.stream(RngStream::Noise).normals(length * channels));
        let mut stream = key.stream(RngStream::Time);
        let (left, frame_offset) =
            (f64::from(stream.uniform()), f64::from(stream.uniform()) * f64::from(s.frame_offset));
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
    let schedule = &s.process.schedule;
    let alpha = column(&|t| schedule.mix(t).0);
    let sigma = column(&|t| schedule.mix(t).1);
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
    let predict = |backbone: &dyn Backbone, x0_prev| predict(backbone, &conditioning, field(x0_prev));
    let to_clean = |predicted| s.process.clean(alpha.clone(), sigma.clone(), noisy.clone(), predicted);

    let self_conditioned = matches!(backbone.spec(), BackboneSpec::Diffusion { self_conditioned: true, .. });
    let x0_prev = match self_conditioned && key.sample(0).stream(RngStream::SelfCondition).chance(s.self_condition) {
        true => Some(to_clean(predict(&*backbone.frozen(), None)?).detach()),
        false => None,
    };
    let predicted = predict(backbone, x0_prev)?;
    let target = s.process.target(alpha.clone(), sigma.clone(), x.clone(), noise);
    // Of a shorter vector only its own numbers count.
    let own = own_channels(&batch.layout).map(|own| Tensor::<3>::from_data(own, &device));
    // A frame at time 0 is given, there is nothing to learn from it; the others count for it.
    let weigh = |weight: &dyn Fn(f64) -> f64| {
        let live = column(&|t| if t > 0.0 { weight(t) } else { 0.0 });
        own.iter().fold(live, |live, own| live * own.clone())
    };
    let (live, weights) = (weigh(&|_| 1.0), weigh(&|t| schedule.weight(t)));
    let channels = if own.is_some() { 1 } else { channels };
    let counted = live.clone().sum().clamp_min(1.0) * channels as f32;
    let mean = |error: Tensor<3>, weights: Tensor<3>| (error.clone() * error * weights).sum() / counted.clone();
    let miss = to_clean(predicted.clone()).detach() - x;
    Ok(Loss { total: mean(predicted - target, weights), parts: vec![("clean_mse", mean(miss, live))] })
}

/// The log-SNRs `λ = ln(α²/σ²)` over which [`bits`] integrates, as far as the schedule has them. At the first the prior term is
/// 1e-4 nats a bit; at the last bits are read out.
const LOG_SNR: [f64; 2] = [-8.5, 2.5];
/// The probabilities of the read-out are clamped to this and 1 less this.
const CLAMP: f64 = 1e-4;

/// The variational bound (NELBO) of Gaussian diffusion on ±1 bits in continuous time (Kingma et al. 2021, "Variational
/// Diffusion Models", equations 11 and 17), a bit: the prior term `½·ln(1 + e^λ)` at the first of [`LOG_SNR`], the diffusion
/// term `½·∫ e^λ·(x - x̂)² dλ` between both, and at the last one the reconstruction term `-ln P(x)`, a Bernoulli read-out by the
/// denoiser itself, `P(+1) = (1 + x̂)/2`. It depends on α and σ by their ratio alone. Self-conditioning is off.
fn bits(
    s: &Diffusion,
    backbone: &dyn Backbone,
    batch: &CleanBatch,
    key: RngKey,
    draw: [u64; 2],
) -> Result<Option<Bits>> {
    let tracks = &batch.layout.canvas().tracks;
    let by_track = batch.layout.target_by_track();
    let are_codes = by_track.iter().all(|(track, _)| matches!(tracks[*track].tokens.kind, TokenKind::Codes { .. }));
    let device = backbone.device();
    let Some(x) = batch.vectors(&device).filter(|_| are_codes) else { return Ok(None) };
    let [size, length, channels] = x.dims();
    let conditioning = batch.conditioning_vectors(&device)?;
    let (frames, frame_of) = batch.layout.steps();
    let schedule = &s.process.schedule;
    let key_of = |row: usize| key.sample(batch.samples[row]).step(draw[0]);
    let column = |values: Vec<f32>| Tensor::<3>::from_data(TensorData::new(values, [size, 1, 1]), &device);
    let noise_of = |purpose: RngStream| {
        let values = (0..size).flat_map(|row| key_of(row).stream(purpose).normals(length * channels)).collect();
        Tensor::<3>::from_data(TensorData::new::<f32, _>(values, [size, length, channels]), &device)
    };
    // The model's estimate x̂ of the clean bits at these log-SNRs, one for each sample.
    let denoised = |ratios: &[f64], noise: Tensor<3>| -> Result<Tensor<3>> {
        let times: Vec<f64> = ratios.iter().map(|&ratio| time_of(&**schedule, ratio)).collect();
        let mix = |which: fn((f64, f64)) -> f64| column(times.iter().map(|&t| which(schedule.mix(t)) as f32).collect());
        let (alpha, sigma) = (mix(|(alpha, _)| alpha), mix(|(_, sigma)| sigma));
        let noisy = x.clone() * alpha.clone() + noise * sigma.clone();
        let all_frames = times.iter().flat_map(|&t| vec![t as f32; frames]).collect();
        let input = ModelInput::NoisyVectors(NoisyVectors {
            values: noisy.clone(),
            times: Tensor::from_data(TensorData::new::<f32, _>(all_frames, [size, frames]), &device),
            at: frame_of.clone(),
            x0_prev: None,
        });
        let predicted = predict(backbone, &conditioning, input)?;
        Ok(s.process.clean(alpha, sigma, noisy, predicted).clamp(-1.0, 1.0))
    };
    // A schedule may leave more of the signal at time 1.
    let first = LOG_SNR[0].max(schedule.log_snr(1.0));
    let last = LOG_SNR[1].min(schedule.log_snr(0.0));
    if !(first < 0.0 && last > 0.0) {
        return Ok(None);
    }
    let drawn = batch.samples.iter().map(|&sample| draw_log_snr(stratified(key.sample(sample), draw), [first, last]));
    let (ratios, weights): (Vec<f64>, Vec<f64>) = drawn.unzip();
    let miss = denoised(&ratios, noise_of(RngStream::Noise))? - x.clone();
    let weights = column(weights.iter().map(|&weight| weight as f32).collect());
    let walked = miss.clone() * miss * weights;
    // A stream that is free here: the noise of the read-out is independent of the other.
    let read = denoised(&vec![last; size], noise_of(RngStream::SelfCondition))?;
    let right = ((read * x + 1.0) / 2.0).clamp(CLAMP, 1.0 - CLAMP);
    let nats = walked - right.log() + 0.5 * first.exp().ln_1p();
    let nats = match own_channels(&batch.layout) {
        Some(own) => nats * Tensor::<3>::from_data(own, &device),
        None => nats,
    };
    let tokens: Tensor<2> = nats.sum_dim(2).squeeze_dim(2);
    let bits = |at: &[usize]| {
        let sums = to_vec(columns(tokens.clone(), at).sum_dim(1).squeeze_dim::<1>(1));
        sums.into_iter().map(|nats| f64::from(nats) / std::f64::consts::LN_2).collect()
    };
    let tracks = by_track.iter().map(|(track, at)| (*track, bits(at))).collect();
    Ok(Some(Bits { tracks, kind: BitsKind::UpperBound }))
}

/// Importance sampling: the log-SNR λ that a uniform number `u` draws between `ends`, one below 0 and one above, and `½·e^λ`
/// over its density. The density is proportional to `e^(λ/2)` below 0, where the integrand vanishes, and constant above.
fn draw_log_snr(u: f64, ends: [f64; 2]) -> (f64, f64) {
    let [first, last] = ends.map(|ratio| ratio / 2.0);
    let (below, above) = (2.0 * (1.0 - first.exp()), 2.0 * last);
    let (at, all) = (u * (below + above), below + above);
    let ratio = if at < below { 2.0 * (first.exp() + at / 2.0).ln() } else { at - below };
    let density = (ratio / 2.0).min(0.0).exp() / all;
    (ratio, 0.5 * ratio.exp() / density)
}

/// The time at which a schedule, whose log-SNR falls with time, has this log-SNR: by bisection.
fn time_of(schedule: &dyn Schedule, log_snr: f64) -> f64 {
    let (mut early, mut late) = (0.0, 1.0);
    for _ in 0..60 {
        let t = 0.5 * (early + late);
        *(if schedule.log_snr(t) > log_snr { &mut early } else { &mut late }) = t;
    }
    0.5 * (early + late)
}

/// `[1, L, C]`, 1 where a number is of an element's vector, 0 after its end; `None` where all are as long.
fn own_channels(layout: &Layout) -> Option<TensorData> {
    let canvas = layout.canvas();
    let longest = canvas.channels()?;
    let length = |element: &Element| canvas.tracks[element.track].tokens.kind.channels();
    let lengths: Vec<usize> = layout.elements().iter().filter_map(length).collect();
    let row = |&length: &usize| (0..longest).map(move |i| if i < length { 1.0f32 } else { 0.0 });
    let short = lengths.iter().any(|&length| length < longest);
    short.then(|| TensorData::new(lengths.iter().flat_map(row).collect(), [1, lengths.len(), longest]))
}

impl Objective for Diffusion {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec) -> Result<(), ConfigError> {
        needs_field(self.name, backbone)
    }

    fn process(&self) -> Option<Process> {
        Some(self.process.clone())
    }

    fn with_schedule(&self, schedule: Arc<dyn Schedule>) -> Result<Arc<dyn Objective>, ConfigError> {
        let (wanted, found) = (self.process.schedule.family(), schedule.family());
        if wanted == found {
            let process = Process { schedule, ..self.process.clone() };
            return Ok(Arc::new(Self { process, ..self.clone() }));
        }
        let (name, own) = (schedule.name(), self.name);
        let message = format!("`{name}` is {found}, {own} mixes noise by a schedule that is {wanted}");
        let [objective, sampler] = match found {
            Family::Straight => ["rectified-flow", "euler"],
            Family::VariancePreserving => ["ddpm", "ddim"],
        };
        let other = format!("set `objective.kind = \"{objective}\"` and `sampler.kind = \"{sampler}\"`");
        Err(ConfigError::new("kind", message, format!("delete `[schedule]`, or {other}")))
    }

    fn meaning(&self) -> &'static [&'static str] {
        &["predict"]
    }

    fn frame_offset(&self) -> f32 {
        self.frame_offset
    }

    fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss> {
        loss(self, backbone, batch, key)
    }

    fn bits(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey, draw: [u64; 2]) -> Result<Option<Bits>> {
        bits(self, backbone, batch, key, draw)
    }

    fn forwards(&self) -> f64 {
        1.0 + f64::from(self.self_condition)
    }
}

impl RectifiedFlow {
    fn diffusion(&self) -> Diffusion {
        Diffusion {
            name: "rectified-flow",
            process: Process::new(Straight, self.predict.into()),
            frame_offset: self.frame_offset,
            shift: f64::from(self.shift),
            prompt_dropout: self.prompt_dropout,
            self_condition: self.self_condition,
        }
    }
}

impl Ddpm {
    fn diffusion(&self) -> Diffusion {
        Diffusion {
            name: "ddpm",
            process: Process::new(Cosine, self.predict.into()),
            frame_offset: self.frame_offset,
            shift: 1.0,
            prompt_dropout: self.prompt_dropout,
            self_condition: self.self_condition,
        }
    }
}

/// What a recipe says of an objective is one, with its own noise schedule.
macro_rules! objective {
    ($config:ty) => {
        impl Objective for $config {
            fn errors(&self) -> Vec<ConfigError> {
                self.diffusion().errors()
            }
            fn fits(&self, backbone: &BackboneSpec) -> Result<(), ConfigError> {
                self.diffusion().fits(backbone)
            }
            fn process(&self) -> Option<Process> {
                self.diffusion().process()
            }
            fn with_schedule(&self, schedule: Arc<dyn Schedule>) -> Result<Arc<dyn Objective>, ConfigError> {
                self.diffusion().with_schedule(schedule)
            }
            fn meaning(&self) -> &'static [&'static str] {
                self.diffusion().meaning()
            }
            fn frame_offset(&self) -> f32 {
                self.frame_offset
            }
            fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss> {
                self.diffusion().loss(backbone, batch, key)
            }
            fn bits(
                &self,
                backbone: &dyn Backbone,
                batch: &CleanBatch,
                key: RngKey,
                draw: [u64; 2],
            ) -> Result<Option<Bits>> {
                self.diffusion().bits(backbone, batch, key, draw)
            }
            fn forwards(&self) -> f64 {
                self.diffusion().forwards()
            }
        }
    };
}

objective!(RectifiedFlow);
objective!(Ddpm);
