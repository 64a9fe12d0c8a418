//! `euler`, `heun` and `ddim`: from noise to data in a few steps.

use crate::objectives::diffusion::{clean, mix, shifted};
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Content, Field, PAD, Prediction, ints};
use musiva_core::parameters::to_vec;
use musiva_core::tokens::code_of;
use musiva_core::{
    Backbone, BackboneSpec, CanvasShape, Error, ErrorKind, Flaw, NoisePath, Order, Process, Purpose, Result, Sampler,
    Sampling, TokenKind, Tokens,
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
    /// Keeps each guess of the clean data within `[-clip, clip]`; 0 for no limit. 1 suits ±1 bits.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub clip: f32,
}

impl Default for Steps {
    fn default() -> Self {
        Self { steps: 50, guidance: 1.0, shift: 1.0, clip: 0.0 }
    }
}

/// How a step is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Solver {
    /// First order along the straight path.
    Euler,
    /// Second order: the mean of the slopes at both ends (Karras et al. 2022, algorithm 1).
    Heun,
    /// The deterministic step of DDIM along the cosine path (Song, Meng and Ermon 2021, equation 12
    /// with η = 0).
    Ddim,
}

macro_rules! sampler {
    ($(#[$doc:meta])* $name:ident, $solver:expr) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(transparent)]
        pub struct $name(pub Steps);

        impl Sampler for $name {
            fn flaws(&self) -> Vec<Flaw> {
                Vec::new()
            }
            fn fits(&self, backbone: &BackboneSpec, process: Option<&Process>) -> Result<(), Flaw> {
                fits($solver, backbone, process)
            }
            fn forwards(&self, _: &CanvasShape) -> f64 {
                forwards(&self.0, $solver)
            }
            fn begin(&self, backbone: &dyn Backbone, process: Option<Process>, order: &Order) -> Result<Box<dyn Sampling>> {
                begin(self.0, $solver, backbone, process, order)
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

fn forwards(steps: &Steps, solver: Solver) -> f64 {
    let passes = match solver {
        // The last step of Heun ends at the data, where there is no slope to mend with.
        Solver::Heun => 2 * steps.steps - 1,
        Solver::Euler | Solver::Ddim => steps.steps,
    };
    passes as f64 * if steps.guidance == 1.0 { 1.0 } else { 2.0 }
}

fn fits(solver: Solver, backbone: &BackboneSpec, process: Option<&Process>) -> Result<(), Flaw> {
    let (BackboneSpec::Field { .. }, Some(process)) = (backbone, process) else {
        return Err(Flaw::new(
            "kind",
            "a diffusion sampler wants a model that predicts a field of vectors; this one predicts the next token",
            "set `sampler.kind = \"autoregressive\"`, or `backbone.kind = \"dit\"`",
        ));
    };
    match (solver, process.path) {
        (Solver::Euler | Solver::Heun, NoisePath::Cosine) => Err(Flaw::new(
            "kind",
            "this sampler walks the straight path of rectified-flow, the objective mixes noise by ddpm's cosine schedule",
            "set `sampler.kind = \"ddim\"`, or `objective.kind = \"rectified-flow\"`",
        )),
        (Solver::Ddim, NoisePath::Straight) => Err(Flaw::new(
            "kind",
            "ddim walks the cosine schedule of ddpm, the objective mixes noise along rectified-flow's straight path",
            "set `sampler.kind = \"euler\"`, or `objective.kind = \"ddpm\"`",
        )),
        _ => Ok(()),
    }
}

fn begin(
    settings: Steps,
    solver: Solver,
    backbone: &dyn Backbone,
    process: Option<Process>,
    order: &Order,
) -> Result<Box<dyn Sampling>> {
    let canvas = *backbone.canvas();
    let process =
        process.ok_or_else(|| Error::new(ErrorKind::Unsupported, "sampler", "the objective names no noise"))?;
    let BackboneSpec::Field { channels, .. } = backbone.spec() else {
        return Err(Error::new(ErrorKind::Unsupported, "sampler", "this backbone predicts no field"));
    };
    let (size, length) = (order.prompt.len(), canvas.tokens.length());
    let noise: Vec<f32> =
        order.draws.iter().flat_map(|draw| draw.stream(Purpose::Noise).normals(length * channels)).collect();
    let device = backbone.device();
    Ok(Box::new(State {
        settings,
        solver,
        process,
        canvas,
        prompt: order.prompt.concat(),
        x: Tensor::from_data(TensorData::new(noise, [size, length, channels]), &device),
        guess: None,
        step: 0,
    }))
}

struct State {
    settings: Steps,
    solver: Solver,
    process: Process,
    canvas: CanvasShape,
    prompt: Vec<u32>,
    x: Tensor<3>,
    guess: Option<Tensor<3>>,
    step: usize,
}

impl State {
    fn time(&self, step: usize) -> f64 {
        shifted(1.0 - step as f64 / self.settings.steps as f64, f64::from(self.settings.shift))
    }

    /// The guess of the clean data at time `t`.
    fn clean(&self, backbone: &dyn Backbone, x: Tensor<3>, t: f64) -> Result<Tensor<3>> {
        let [size, length, _] = x.dims();
        let guided = self.settings.guidance != 1.0;
        let rows = if guided { 2 * size } else { size };
        let double = |x: Tensor<3>| if guided { Tensor::cat(vec![x.clone(), x], 0) } else { x };
        let mut prompt = self.prompt.clone();
        prompt.resize(rows * self.canvas.prompt, PAD);
        let device = backbone.device();
        let noisy = double(x);
        let batch = CanvasBatch {
            prompt: ints(&prompt, [rows, self.canvas.prompt], &device),
            content: Content::Field(Field {
                values: noisy.clone(),
                times: Tensor::full([rows, 1], t, &device),
                at: vec![0; length],
                guess: self.guess.clone().map(double),
            }),
        };
        let Prediction::Field(predicted) = backbone.forward(&batch) else {
            return Err(Error::new(ErrorKind::Unsupported, "sampler", "this backbone predicts no field"));
        };
        let mut x = clean(self.process, t, noisy, predicted);
        if guided {
            let with = x.clone().slice_dim(0, 0..size);
            let without = x.slice_dim(0, size..rows);
            x = without.clone() + (with - without) * self.settings.guidance;
        }
        let clip = self.settings.clip;
        Ok(if clip > 0.0 { x.clamp(-clip, clip) } else { x })
    }
}

impl Sampling for State {
    fn progress(&self) -> (usize, usize) {
        (self.step, self.settings.steps)
    }

    fn step(&mut self, backbone: &dyn Backbone) -> Result<()> {
        let (t, next) = (self.time(self.step), self.time(self.step + 1));
        let x = self.x.clone();
        let guess = self.clean(backbone, x.clone(), t)?;
        self.guess = Some(guess.clone());
        self.x = match self.solver {
            Solver::Ddim => {
                let (alpha, sigma) = mix(NoisePath::Cosine, t);
                let (alpha_next, sigma_next) = mix(NoisePath::Cosine, next);
                let noise = (x - guess.clone() * alpha) / sigma;
                guess * alpha_next + noise * sigma_next
            }
            // On the straight path dx/dt = (x_t - x̂)/t.
            Solver::Euler => x.clone() + (x - guess) * ((next - t) / t),
            Solver::Heun => {
                let slope = (x.clone() - guess) / t;
                let ahead = x.clone() + slope.clone() * (next - t);
                if next == 0.0 {
                    ahead
                } else {
                    let there = self.clean(backbone, ahead.clone(), next)?;
                    let slope = (slope + (ahead - there) / next) * 0.5;
                    x + slope * (next - t)
                }
            }
        };
        self.step += 1;
        Ok(())
    }

    fn tokens(&self) -> Result<Vec<Tokens>> {
        let [_, length, channels] = self.x.dims();
        let grid = self.canvas.tokens.grid;
        let values = to_vec(self.x.clone());
        let tokens = values.chunks(length * channels).map(|values| match self.canvas.tokens.kind {
            // The sign of each number is the bit that it stands for.
            TokenKind::Codes { entries, .. } => {
                Tokens::codes(grid, entries, values.chunks(channels).map(code_of).collect())
            }
            TokenKind::Levels { .. } => unreachable!("a field has channels, levels of codes have none"),
            TokenKind::Latents { channels } => Tokens::latents(grid, channels, values.to_vec()),
        });
        tokens.collect()
    }
}
