//! Noise schedules: how signal and noise are mixed on the way from data to noise, and what a backbone predicts there.
//!
//! Time 0 is data, time 1 is noise: `x_t = α(t)·x + σ(t)·ε`.

use crate::ConfigError;
use burn::tensor::Tensor;
use std::f64::consts::FRAC_PI_2;
use std::fmt::{self, Debug, Display};
use std::sync::Arc;

/// Mixing of signal and noise: `x_t = α(t)·x + σ(t)·ε`.
pub trait Schedule: Send + Sync + Debug {
    /// Its name, in messages and in weights files: the `kind` by which recipes name it.
    fn name(&self) -> &str;
    /// What is wrong with the configuration by itself.
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    /// Which relation `α` and `σ` keep.
    fn family(&self) -> Family;
    /// `α(t)` and `σ(t)` for `t` in `[0, 1]`: `α` falls from 1, `σ` rises from 0 to 1, or almost. Samplers begin at time 1
    /// with noise alone.
    fn mix(&self, t: f64) -> (f64, f64);
    /// The log of the signal-to-noise ratio, `ln(α²/σ²)`; infinite at time 0.
    fn log_snr(&self, t: f64) -> f64 {
        let (alpha, sigma) = self.mix(t);
        2.0 * (alpha / sigma).ln()
    }
    /// What the squared error of a prediction at time `t` above 0 weighs in the loss.
    fn weight(&self, _t: f64) -> f64 {
        1.0
    }
}

/// A relation of `α` and `σ`: objectives and samplers are made for one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// `α + σ = 1`.
    Straight,
    /// `α² + σ² = 1`: data of variance 1 keep it.
    VariancePreserving,
}

impl Display for Family {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Straight => "straight (α + σ = 1)",
            Self::VariancePreserving => "variance-preserving (α² + σ² = 1)",
        })
    }
}

/// `α = 1 - t`, `σ = t`: the straight line of rectified flow (Liu, Gong and Liu 2022).
#[derive(Clone, Copy, Debug)]
pub struct Straight;

impl Schedule for Straight {
    fn name(&self) -> &str {
        "straight"
    }

    fn family(&self) -> Family {
        Family::Straight
    }

    fn mix(&self, t: f64) -> (f64, f64) {
        (1.0 - t, t)
    }
}

/// `α = cos(πt/2)`, `σ = sin(πt/2)`: DDPM with the cosine schedule (Nichol and Dhariwal 2021, without their offset;
/// Salimans and Ho 2022).
#[derive(Clone, Copy, Debug)]
pub struct Cosine;

impl Schedule for Cosine {
    fn name(&self) -> &str {
        "cosine"
    }

    fn family(&self) -> Family {
        Family::VariancePreserving
    }

    fn mix(&self, t: f64) -> (f64, f64) {
        let angle = FRAC_PI_2 * t;
        (angle.cos(), angle.sin())
    }
}

/// The way from data to noise that a diffusion backbone was trained on, and what it predicts.
#[derive(Clone, Debug)]
pub struct Process {
    /// How signal and noise are mixed at time `t`.
    pub schedule: Arc<dyn Schedule>,
    /// What the backbone's vectors stand for.
    pub predicts: Predicts,
}

/// What a diffusion backbone's vectors stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Predicts {
    /// The clean data `x`.
    Data,
    /// The noise `ε` (Ho, Jain and Abbeel 2020).
    Noise,
    /// `ε - x` on a straight schedule, which is `dx_t/dσ`; `v = α·ε - σ·x` on a variance-preserving one (Salimans and Ho
    /// 2022).
    Velocity,
}

/// The smallest `α` that the clean data are computed with from predicted noise, `(x_t - σ·ε)/α`: at time 1 there may be no
/// signal left, and nothing to divide by.
pub const LEAST_ALPHA: f64 = 1e-3;

impl Process {
    /// Of a schedule of one's own.
    pub fn new(schedule: impl Schedule + 'static, predicts: Predicts) -> Self {
        Self { schedule: Arc::new(schedule), predicts }
    }

    /// What the backbone is to predict of clean data and noise, `[B, L, C]`; `[B, L, 1]` for α and σ.
    pub fn target(&self, alpha: Tensor<3>, sigma: Tensor<3>, clean: Tensor<3>, noise: Tensor<3>) -> Tensor<3> {
        match (self.predicts, self.schedule.family()) {
            (Predicts::Data, _) => clean,
            (Predicts::Noise, _) => noise,
            (Predicts::Velocity, Family::Straight) => noise - clean,
            (Predicts::Velocity, Family::VariancePreserving) => noise * alpha - clean * sigma,
        }
    }

    /// The clean data that a prediction stands for where `x_t = α·x + σ·ε`, `[B, L, C]`; `[B, L, 1]` for α and σ. Of
    /// predicted noise `α` counts as [`LEAST_ALPHA`] at least.
    pub fn clean(&self, alpha: Tensor<3>, sigma: Tensor<3>, noisy: Tensor<3>, predicted: Tensor<3>) -> Tensor<3> {
        match (self.predicts, self.schedule.family()) {
            (Predicts::Data, _) => predicted,
            (Predicts::Noise, _) => (noisy - predicted * sigma) / alpha.clamp_min(LEAST_ALPHA),
            // x_t = (1 - σ)·x + σ·ε and v = ε - x, so x = x_t - σ·v.
            (Predicts::Velocity, Family::Straight) => noisy - predicted * sigma,
            (Predicts::Velocity, Family::VariancePreserving) => noisy * alpha - predicted * sigma,
        }
    }
}
