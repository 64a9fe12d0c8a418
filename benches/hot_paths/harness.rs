//! What all cases share.

use super::Result;
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use musiva_core::parameters::{Weight, to_vec};
use musiva_core::{Parameters, RngKey, RngStream, Weights};
use std::time::{Duration, Instant};

/// Cases of one component, and what a reference has to read to run the very same numbers.
pub struct Group {
    /// Name of the exported file.
    pub name: &'static str,
    /// The cases.
    pub cases: Vec<Case>,
    /// `weights.*`, `inputs.*`, `outputs.*` and `gradients.*`, where a reference wants them.
    pub export: Option<Export>,
}

/// Makes what is exported.
pub type Export = Box<dyn Fn() -> Result<Weights>>;

/// A hot path.
pub struct Case {
    /// What it is called here and in the reference.
    pub name: String,
    /// What it costs, where that is known beforehand.
    pub work: Option<Work>,
    /// The line of the scaling tables that it stands in, and where.
    pub point: Option<(&'static str, f64)>,
    /// How many times a run does what is measured.
    per: usize,
    run: Box<dyn FnMut()>,
}

/// What is measured costs so much; which of the processor's limits it is to be held against.
#[derive(Clone, Copy, Debug)]
pub enum Work {
    /// Operations on f32.
    F32(f64),
    /// Operations of which the products are in bf16.
    Bf16(f64),
    /// Bytes to be read.
    Bytes(f64),
}

impl Work {
    /// Amount and unit: billions of it in a second are what a table shows.
    pub fn amount(self) -> (f64, &'static str) {
        match self {
            Self::F32(count) => (count, "GFLOP/s f32"),
            Self::Bf16(count) => (count, "GFLOP/s bf16"),
            Self::Bytes(count) => (count, "GB/s"),
        }
    }
}

impl Case {
    /// One run is one time.
    pub fn new(name: impl Into<String>, run: impl FnMut() + 'static) -> Self {
        Self { name: name.into(), work: None, point: None, per: 1, run: Box::new(run) }
    }

    /// What is measured costs `work`.
    pub fn work(self, work: Work) -> Self {
        Self { work: Some(work), ..self }
    }

    /// It stands in the line `name` at `x`.
    pub fn at(self, name: &'static str, x: usize) -> Self {
        Self { point: Some((name, x as f64)), ..self }
    }

    /// One run is `per` times.
    pub fn per(self, per: usize) -> Self {
        Self { per, ..self }
    }

    /// Milliseconds of each run within the budget, `least` at least, after one to warm up.
    pub fn times(&mut self, budget: Duration, least: usize) -> Vec<f64> {
        (self.run)();
        let mut times = Vec::new();
        let begin = Instant::now();
        while times.len() < least || begin.elapsed() < budget {
            let start = Instant::now();
            (self.run)();
            times.push(start.elapsed().as_secs_f64() * 1e3 / self.per as f64);
        }
        times
    }
}

pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

/// Normal numbers; equal seeds, equal numbers.
pub fn noise<const D: usize>(seed: u64, shape: [usize; D], device: &Device) -> Tensor<D> {
    let values = RngKey::new(seed).stream(RngStream::Noise).normals(shape.iter().product());
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// Moves every number a little: layers that start at zero would hide what is before them.
pub fn stir(parameters: &mut dyn Parameters) {
    let mut seed = 100;
    parameters.update(&mut |_, _, value| {
        seed += 1;
        let shape = value.dims();
        value.clone() + noise(seed, shape, &value.device()) * 0.03
    });
}

/// Puts the values of `parameters` and their gradients among the exports.
pub fn export_learned(exports: &mut Weights, parameters: &dyn Parameters, mut gradients: Gradients) {
    parameters.each(&mut |name, shape, value| {
        exports.insert(format!("weights.{name}"), Weight { shape: shape.to_vec(), values: to_vec(value) });
    });
    parameters.gradients(&mut gradients, &mut |name, gradient| {
        insert(exports, &format!("gradients.{name}"), gradient);
    });
}

/// Puts a tensor among the exports.
pub fn insert<const D: usize>(exports: &mut Weights, name: &str, tensor: Tensor<D>) {
    let shape = tensor.dims().to_vec();
    exports.insert(name.to_owned(), Weight { shape, values: to_vec(tensor) });
}
