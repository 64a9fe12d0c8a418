//! Time against tokens, canvases and threads. At the sizes of the recipes the maps are linear in tokens and canvases and
//! attention is quadratic in the tokens: the exponent says which of them rules.

use super::Result;
use super::backbones::{coded, noisy};
use super::harness::{Case, Group};
use burn::tensor::Device;
use musiva_core::{BackboneConfig, CanvasShape, TokenKind, TokenShape, WeightInit};
use musiva_models::{dit::DitConfig, lm::LmConfig};
use rayon::ThreadPool;
use std::hint::black_box;
use std::sync::{Arc, Mutex};

/// Channels, and bits, of a token.
const BITS: usize = 10;
/// Frames of 8×8 tokens of one canvas.
const FRAMES: [usize; 5] = [4, 8, 16, 32, 64];
/// Canvases of [`TOKENS`] at once.
const CANVASES: [usize; 4] = [1, 2, 4, 8];
/// Frames of a canvas where it is not they that grow.
const FEW: usize = 4;
const ALONE: &str = "nobody else holds it";

pub fn group() -> Result<Group> {
    let mut cases = Vec::new();
    for frames in FRAMES {
        let [dit, lm] = forwards(1, frames, None)?;
        cases.extend([
            dit.at("dit forward against tokens", frames * 64),
            lm.at("lm forward against tokens", frames * 64),
        ]);
    }
    for canvases in CANVASES {
        let [dit, lm] = forwards(canvases, FEW, None)?;
        cases
            .extend([dit.at("dit forward against canvases", canvases), lm.at("lm forward against canvases", canvases)]);
    }
    for threads in 1..=rayon::current_num_threads() {
        let [dit, lm] = forwards(8, FEW, Some(threads))?;
        cases.extend([dit.at("dit forward against threads", threads), lm.at("lm forward against threads", threads)]);
    }
    Ok(Group { name: "scaling", cases, export: None })
}

/// Forward passes of both, on so many threads where it is said.
fn forwards(canvases: usize, frames: usize, threads: Option<usize>) -> Result<[Case; 2]> {
    let device = Device::flex();
    let kind = TokenKind::Codes { levels: 1, entries: 1 << BITS, bits: Some(BITS) };
    let tokens = TokenShape { grid: [frames, 8, 8], kind };
    let canvas = Arc::new(CanvasShape::new(12, 64, tokens));
    let threaded = threads.map(|threads| format!(", {threads} threads")).unwrap_or_default();
    let name = |kind| format!("scaling: {kind} forward, {canvases} canvases of {} tokens{threaded}", tokens.length());
    let pool = threads.map(|threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build()).transpose()?;
    let pool = Arc::new(pool);
    let dit = DitConfig::default().build(&canvas, &device, &WeightInit::Seed(1))?;
    let field = noisy(&canvas, [canvases, tokens.length(), BITS], &device);
    let lm = LmConfig::default().build(&canvas, &device, &WeightInit::Seed(1))?;
    let codes = coded(&canvas, canvases, &device);
    let (dit, lm, same) = (Mutex::new(dit), Mutex::new(lm), pool.clone());
    Ok([
        Case::new(name("dit"), move || {
            run_on(&pool, || drop(black_box(dit.lock().expect(ALONE).forward(&field))));
        }),
        Case::new(name("lm"), move || {
            run_on(&same, || drop(black_box(lm.lock().expect(ALONE).forward(&codes))));
        }),
    ])
}

/// Runs `work` on the threads of `pool`, or where all other cases run.
fn run_on<T: Send>(pool: &Option<ThreadPool>, work: impl FnOnce() -> T + Send) -> T {
    match pool {
        Some(pool) => pool.install(work),
        None => work(),
    }
}

/// The exponent `e` of the curve `time = c·xᵉ` next to `points` of x and time, by least squares of the logarithms.
pub fn exponent(points: &[(f64, f64)]) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let count = logs.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| logs.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let (along, across) = logs
        .iter()
        .fold((0.0, 0.0), |(along, across), p| (along + (p.0 - x) * (p.0 - x), across + (p.0 - x) * (p.1 - y)));
    (along > 0.0).then(|| across / along)
}
