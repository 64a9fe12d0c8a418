//! `euler`, `heun` and `ddim`: from noise to data in a few steps.

use crate::objectives::diffusion::shifted;
use crate::objectives::frame_progress;
use burn::tensor::{Bool, Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Conditioning, Element, ModelInput, NoisyVectors, Prediction, Values};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneSpec, CanvasShape, ConfigError, Error, ErrorKind, Family, Process, Result, RngKey, RngStream,
    SampleRequest, Sampler, Sampling, TokenKind,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a recipe says of a diffusion sampler.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Steps {
    /// Steps from noise to data.
    #[schemars(range(min = 1, max = 10_000))]
    pub steps: usize,
    /// Classifier-free guidance: `without + guidance·(with - without)`; 1 for none.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub guidance: f32,
    /// More steps near the noise for values above 1: `t' = s·t / (1 + (s - 1)·t)`.
    #[schemars(range(min = 0.01, max = 100.0))]
    pub shift: f32,
    /// Clips the predicted clean bits of codes, which are ±1, to `[-clip, clip]`; 0 for no limit. Latents are not
    /// clipped.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub clip: f32,
    /// Fresh noise in each step of `euler` and `ddim`: 0 for none, 1 for as much as ancestral sampling
    /// takes (η of Song, Meng and Ermon 2021, equation 16).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub eta: f32,
    /// Frames one after the other in `euler` and `ddim`: 0 for all together, 1 for each once the one
    /// before it is done, between for an overlap. At most what the objective trains with.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub frame_offset: f32,
}

impl Default for Steps {
    fn default() -> Self {
        Self { steps: 50, guidance: 1.0, shift: 1.0, clip: 0.0, eta: 0.0, frame_offset: 0.0 }
    }
}

/// How a step is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Solver {
    /// First order along a straight schedule; without fresh noise the Euler step of `dx/dσ = (x_t - x̂)/σ`.
    Euler,
    /// Second order: the mean of the slopes at both ends (Karras et al. 2022, algorithm 1).
    Heun,
    /// Euler's step along a variance-preserving schedule (Song, Meng and Ermon 2021, equation 12).
    Ddim,
}

macro_rules! sampler {
    ($(#[$doc:meta])* $name:ident, $solver:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Steps);

        impl Sampler for $name {
            fn errors(&self) -> Vec<ConfigError> {
                errors(&self.0, $solver)
            }
            fn fits(&self, backbone: &BackboneSpec, process: Option<&Process>) -> Result<(), ConfigError> {
                fits($solver, backbone, process)
            }
            fn forwards(&self, _: &CanvasShape) -> f64 {
                passes(&self.0, $solver) as f64 * if self.0.guidance == 1.0 { 1.0 } else { 2.0 }
            }
            fn depth(&self, _: &CanvasShape) -> usize {
                passes(&self.0, $solver)
            }
            fn frame_offset(&self) -> f32 {
                self.0.frame_offset
            }
            fn edits(&self) -> Result<(), ConfigError> {
                Ok(())
            }
            fn begin(&self, backbone: &dyn Backbone, process: Option<&Process>, request: &SampleRequest) -> Result<Box<dyn Sampling>> {
                begin(self.0, $solver, backbone, process, request)
            }
        }
    };
}

sampler!(
    /// What a recipe says of `kind = "euler"`.
    Euler,
    Solver::Euler
);
sampler!(
    /// What a recipe says of `kind = "heun"`.
    Heun,
    Solver::Heun
);
sampler!(
    /// What a recipe says of `kind = "ddim"`.
    Ddim,
    Solver::Ddim
);

fn errors(steps: &Steps, solver: Solver) -> Vec<ConfigError> {
    let mut errors = Vec::new();
    if solver == Solver::Heun {
        if steps.eta > 0.0 {
            let message = "heun cannot add fresh noise: its second slope corrects the first";
            errors.push(ConfigError::new("eta", message, "delete `eta`, or set `sampler.kind = \"euler\"`"));
        }
        if steps.frame_offset > 0.0 {
            let message = "heun denoises all frames together";
            errors.push(ConfigError::new(
                "frame_offset",
                message,
                "delete `frame_offset`, or set `sampler.kind = \"euler\"`",
            ));
        }
    }
    errors
}

/// Evaluations of the backbone, one after the other.
fn passes(steps: &Steps, solver: Solver) -> usize {
    match solver {
        // The last step of Heun ends at the data, where there is no slope to mend with.
        Solver::Heun => 2 * steps.steps - 1,
        Solver::Euler | Solver::Ddim => steps.steps,
    }
}

fn fits(solver: Solver, backbone: &BackboneSpec, process: Option<&Process>) -> Result<(), ConfigError> {
    if *backbone == BackboneSpec::Masked {
        return Err(ConfigError::new(
            "kind",
            "a diffusion sampler requires a model that predicts vectors; this one predicts masked tokens",
            "set `sampler.kind = \"maskgit\"`, or `backbone.kind = \"dit\"`",
        ));
    }
    let (BackboneSpec::Diffusion { .. }, Some(process)) = (backbone, process) else {
        return Err(ConfigError::new(
            "kind",
            "a diffusion sampler requires a model that predicts vectors; this one predicts the next token",
            "set `sampler.kind = \"autoregressive\"`, or `backbone.kind = \"dit\"`",
        ));
    };
    let (found, name) = (process.schedule.family(), process.schedule.name());
    let (wanted, hint) = match (solver, found) {
        (Solver::Euler | Solver::Heun, Family::Straight) | (Solver::Ddim, Family::VariancePreserving) => return Ok(()),
        (Solver::Euler | Solver::Heun, Family::VariancePreserving) => (
            Family::Straight,
            "set `sampler.kind = \"ddim\"`, or `objective.kind = \"rectified-flow\"` without a `[schedule]`",
        ),
        (Solver::Ddim, Family::Straight) => (
            Family::VariancePreserving,
            "set `sampler.kind = \"euler\"`, or `objective.kind = \"ddpm\"` without a `[schedule]`",
        ),
    };
    let message = format!("this sampler follows a schedule that is {wanted}, the objective's, `{name}`, is {found}");
    Err(ConfigError::new("kind", message, hint))
}

fn begin(
    settings: Steps,
    solver: Solver,
    backbone: &dyn Backbone,
    process: Option<&Process>,
    request: &SampleRequest,
) -> Result<Box<dyn Sampling>> {
    let process = process
        .cloned()
        .ok_or_else(|| Error::new(ErrorKind::Unsupported, "sampler", "the objective names no noise"))?;
    let BackboneSpec::Diffusion { channels, .. } = backbone.spec() else {
        return Err(Error::new(ErrorKind::Unsupported, "sampler", "this backbone predicts no field"));
    };
    let (size, length) = (request.keys.len(), request.layout.elements().len());
    let noise: Vec<f32> =
        request.keys.iter().flat_map(|key| key.stream(RngStream::Noise).normals(length * channels)).collect();
    let device = backbone.device();
    let mut x = Tensor::from_data(TensorData::new(noise, [size, length, channels]), &device);
    let (strength, steps) = request.left(settings.steps);
    // At strength 1 nothing is left of a start, whatever the schedule's rounding.
    if let Some(start) = request.start.as_ref().filter(|_| strength < 1.0) {
        let start = start.vectors(&request.layout, &device).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "sampler", "these codes have no bits, so no vectors to go on from")
        })?;
        let (alpha, sigma) = process.schedule.mix(shifted(strength, f64::from(settings.shift)));
        x = start * alpha + x * sigma;
    }
    let (frames, frame_of) = request.layout.steps();
    let tracks = &request.layout.canvas().tracks;
    let is_latent = |element: &Element| matches!(tracks[element.track].tokens.kind, TokenKind::Vectors { .. });
    let latents: Vec<bool> = request.layout.elements().iter().map(is_latent).collect();
    let latents = Tensor::<3, Bool>::from_data(TensorData::new(latents, [1, length, 1]), &device);
    Ok(Box::new(State {
        frames,
        frame_of,
        settings: Steps { steps, ..settings },
        strength,
        solver,
        process,
        latents,
        conditioning: request.conditioning(backbone, if settings.guidance == 1.0 { size } else { 2 * size })?,
        keys: request.keys.clone(),
        x,
        x0_prev: None,
        step: 0,
    }))
}

struct State {
    /// Of the steps, those that are left.
    settings: Steps,
    /// The time, before the shift, that every frame sets out from.
    strength: f64,
    solver: Solver,
    process: Process,
    /// Which of the elements that are to be generated are latents: `[1, L, 1]`.
    latents: Tensor<3, Bool>,
    conditioning: Conditioning,
    /// How many frames there are, and which of them each token belongs to.
    frames: usize,
    frame_of: Vec<usize>,
    keys: Vec<RngKey>,
    x: Tensor<3>,
    x0_prev: Option<Tensor<3>>,
    step: usize,
}

impl State {
    /// The time of each frame before `step`.
    fn times(&self, step: usize) -> Vec<f64> {
        let progress = step as f64 / self.settings.steps as f64;
        let frames = frame_progress(progress, self.frames, f64::from(self.settings.frame_offset));
        let time = |progress: f64| shifted(self.strength * (1.0 - progress), f64::from(self.settings.shift));
        frames.into_iter().map(time).collect()
    }

    /// A number for each frame as a number for each token, `[1, L, 1]`.
    fn column(&self, values: Vec<f64>) -> Tensor<3> {
        let values: Vec<f32> = self.frame_of.iter().map(|&frame| values[frame] as f32).collect();
        let length = values.len();
        Tensor::from_data(TensorData::new(values, [1, length, 1]), &self.x.device())
    }

    /// What the guess, `x` and fresh noise weigh in a step of one frame from time `t` to `next`.
    fn weights(&self, t: f64, next: f64) -> [f64; 3] {
        if t == next {
            return [0.0, 1.0, 0.0];
        }
        let (alpha, sigma) = self.process.schedule.mix(t);
        let (alpha_next, sigma_next) = self.process.schedule.mix(next);
        // The deviation of what comes, given x and the clean data, times η.
        let kept = alpha / alpha_next * sigma_next;
        let fresh = f64::from(self.settings.eta) * sigma_next / sigma * (sigma * sigma - kept * kept).max(0.0).sqrt();
        let old = (sigma_next * sigma_next - fresh * fresh).max(0.0).sqrt() / sigma;
        [alpha_next - alpha * old, old, fresh]
    }

    /// From `x` at `times` to the times `next`, given the guess of the clean data: what the guess says
    /// is noise stays, but for the part that `eta` draws anew.
    fn denoise_step(&self, x: Tensor<3>, x0: Tensor<3>, times: &[f64], next: &[f64]) -> Tensor<3> {
        let weights: Vec<_> = times.iter().zip(next).map(|(&t, &next)| self.weights(t, next)).collect();
        let column = |part: fn(&[f64; 3]) -> f64| self.column(weights.iter().map(part).collect());
        let [size, length, channels] = x.dims();
        let x = x0 * column(|w| w[0]) + x * column(|w| w[1]);
        if self.settings.eta == 0.0 {
            return x;
        }
        let step = self.step as u64 + 1;
        let fresh = self.keys.iter().flat_map(|d| d.step(step).stream(RngStream::Noise).normals(length * channels));
        let fresh = TensorData::new(fresh.collect::<Vec<f32>>(), [size, length, channels]);
        x.clone() + Tensor::from_data(fresh, &x.device()) * column(|w| w[2])
    }

    /// The guess of the clean data at the times of the frames.
    fn clean(&self, backbone: &dyn Backbone, x: Tensor<3>, times: &[f64]) -> Result<Tensor<3>> {
        let [size, _, _] = x.dims();
        let rows = self.conditioning.size;
        let guided = rows > size;
        let double = |x: Tensor<3>| if guided { Tensor::cat(vec![x.clone(), x], 0) } else { x };
        let device = backbone.device();
        let noisy = double(x);
        let moments: Vec<f32> = (0..rows).flat_map(|_| times.iter().map(|&t| t as f32)).collect();
        let batch = CanvasBatch {
            conditioning: self.conditioning.clone(),
            input: ModelInput::NoisyVectors(NoisyVectors {
                values: noisy.clone(),
                times: Tensor::from_data(TensorData::new(moments, [rows, times.len()]), &device),
                at: self.frame_of.clone(),
                x0_prev: self.x0_prev.clone().map(double),
            }),
        };
        let Prediction::Vector(predicted) = backbone.forward(&batch)? else {
            return Err(Error::new(ErrorKind::Unsupported, "sampler", "this backbone predicts no field"));
        };
        let mixed: Vec<_> = times.iter().map(|&t| self.process.schedule.mix(t)).collect();
        let alpha = self.column(mixed.iter().map(|m| m.0).collect());
        let sigma = self.column(mixed.iter().map(|m| m.1).collect());
        let mut x = self.process.clean(alpha, sigma, noisy, predicted);
        if guided {
            let with = x.clone().slice_dim(0, 0..size);
            let without = x.slice_dim(0, size..rows);
            x = without.clone() + (with - without) * self.settings.guidance;
        }
        let clip = self.settings.clip;
        Ok(match clip > 0.0 {
            true => x.clone().clamp(-clip, clip).mask_where(self.latents.clone().expand(x.dims()), x),
            false => x,
        })
    }
}

impl Sampling for State {
    fn progress(&self) -> (usize, usize) {
        (self.step, self.settings.steps)
    }

    fn step(&mut self, backbone: &dyn Backbone) -> Result<()> {
        let (times, next) = (self.times(self.step), self.times(self.step + 1));
        let x = self.x.clone();
        let x0 = self.clean(backbone, x.clone(), &times)?;
        self.x0_prev = Some(x0.clone());
        self.x = match self.solver {
            Solver::Euler | Solver::Ddim => self.denoise_step(x, x0, &times, &next),
            // Along a straight schedule dx/dσ = (x_t - x̂)/σ; all frames walk together.
            Solver::Heun => {
                let [sigma, end] = [times[0], next[0]].map(|t| self.process.schedule.mix(t).1);
                let slope = (x.clone() - x0) / sigma;
                let ahead = x.clone() + slope.clone() * (end - sigma);
                if next[0] == 0.0 {
                    ahead
                } else {
                    let there = self.clean(backbone, ahead.clone(), &next)?;
                    let slope = (slope + (ahead - there) / end) * 0.5;
                    x + slope * (end - sigma)
                }
            }
        };
        self.step += 1;
        Ok(())
    }

    fn tokens(&self) -> Result<Vec<Values>> {
        let [_, length, channels] = self.x.dims();
        let (values, layout) = (to_vec(self.x.clone()), &self.conditioning.layout);
        Ok(values.chunks(length * channels).map(|vectors| layout.of_vectors(vectors)).collect())
    }
}
