//! Noise schedules that recipes name beside the objectives' own, which are in [`musiva_core::schedule`].

use musiva_core::schedule::Cosine;
use musiva_core::{Family, Schedule};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a recipe says of `kind = "linear"`: noise is added at a rate `β(t)` that rises linearly, as in DDPM (Ho, Jain and
/// Abbeel 2020, section 4: from 1e-4 to 0.02 over 1000 steps), in continuous time (Song et al. 2021, equation 33):
/// `ln α = -(β_max - β_min)/4·t² - β_min/2·t`. By the defaults `σ` is 1 at time 1 within 1e-4.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Linear {
    /// The rate at time 0: 1000 times the `β` of DDPM's first step.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub beta_min: f64,
    /// The rate at time 1: 1000 times the `β` of DDPM's last step. Much below 20 there is signal left at time 1, where
    /// samplers begin with noise alone.
    #[schemars(range(min = 1.0, max = 1000.0))]
    pub beta_max: f64,
}

impl Default for Linear {
    fn default() -> Self {
        Self { beta_min: 0.1, beta_max: 20.0 }
    }
}

impl Schedule for Linear {
    fn name(&self) -> &str {
        "linear"
    }

    fn family(&self) -> Family {
        Family::VariancePreserving
    }

    fn mix(&self, t: f64) -> (f64, f64) {
        // ln α² is minus the integral of β.
        let log_alpha = -(self.beta_max - self.beta_min) / 4.0 * t * t - self.beta_min / 2.0 * t;
        (log_alpha.exp(), (-(2.0 * log_alpha).exp_m1()).sqrt())
    }
}

/// What a recipe says of `kind = "shifted-cosine"`: the cosine schedule with its log signal-to-noise ratio `ln(α²/σ²)`
/// shifted by `2·ln(shift)` (Hoogeboom, Heek and Salimans 2023, "simple diffusion", section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ShiftedCosine {
    /// By what the cosine schedule's `α/σ` is multiplied: `64/d` for pictures of `d` × `d`. Below 1 there is more noise,
    /// 1 is the cosine schedule.
    #[schemars(range(min = 0.001, max = 1000.0))]
    pub shift: f64,
}

impl Default for ShiftedCosine {
    fn default() -> Self {
        Self { shift: 0.5 }
    }
}

impl Schedule for ShiftedCosine {
    fn name(&self) -> &str {
        "shifted-cosine"
    }

    fn family(&self) -> Family {
        Family::VariancePreserving
    }

    fn mix(&self, t: f64) -> (f64, f64) {
        let (alpha, sigma) = Cosine.mix(t);
        let length = (self.shift * alpha).hypot(sigma);
        (self.shift * alpha / length, sigma / length)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::schedule::Straight;

    /// Every schedule, two of them with other settings than by default.
    fn all() -> Vec<Box<dyn Schedule>> {
        vec![
            Box::new(Straight),
            Box::new(Cosine),
            Box::new(Linear::default()),
            Box::new(Linear { beta_min: 0.0, beta_max: 31.0 }),
            Box::new(ShiftedCosine::default()),
            Box::new(ShiftedCosine { shift: 3.0 }),
        ]
    }

    #[test]
    fn each_keeps_the_relation_of_its_family_on_its_way_from_data_to_noise() {
        for schedule in all() {
            let at = |i: u32| schedule.mix(f64::from(i) / 1009.0);
            for (alpha, sigma) in (0..=1009).map(at) {
                let one = match schedule.family() {
                    Family::Straight => alpha + sigma,
                    Family::VariancePreserving => alpha * alpha + sigma * sigma,
                };
                assert!((one - 1.0).abs() < 1e-12, "{schedule:?}: {alpha}, {sigma}");
            }
            assert_eq!(at(0), (1.0, 0.0), "{schedule:?}");
            let (alpha, sigma) = at(1009);
            assert!(alpha < 0.01 && (sigma - 1.0).abs() < 1e-4, "{schedule:?}: {alpha}, {sigma}");
            let ratios: Vec<f64> = (0..=1009).map(|i| schedule.log_snr(f64::from(i) / 1009.0)).collect();
            assert!(ratios[0] == f64::INFINITY && ratios.windows(2).all(|pair| pair[1] < pair[0]), "{schedule:?}");
            assert_eq!(schedule.weight(0.37), 1.0);
        }
    }

    #[test]
    fn the_objectives_own_are_what_they_always_were() {
        for t in [0.0, 0.1, 0.37, 0.5, 0.9, 1.0] {
            assert_eq!(Straight.mix(t), (1.0 - t, t));
            let angle = std::f64::consts::FRAC_PI_2 * t;
            assert_eq!(Cosine.mix(t), (angle.cos(), angle.sin()));
        }
        assert!((Cosine.log_snr(0.5)).abs() < 1e-12 && (Straight.log_snr(0.25) - 2.0 * 3f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn linear_is_the_integral_of_a_rate_that_rises_linearly() {
        for (beta_min, beta_max) in [(0.1, 20.0), (0.0, 31.0), (5.0, 7.0)] {
            let linear = Linear { beta_min, beta_max };
            let (steps, mut integral) = (1000, 0.0);
            for i in 0..steps {
                let middle = (f64::from(i) + 0.5) / f64::from(steps);
                integral += (beta_min + (beta_max - beta_min) * middle) / f64::from(steps);
                let (alpha, sigma) = linear.mix(f64::from(i + 1) / f64::from(steps));
                assert!((alpha - (-integral / 2.0).exp()).abs() < 1e-12, "{linear:?} after {i}");
                assert!((sigma - (1.0 - (-integral).exp()).sqrt()).abs() < 1e-12, "{linear:?} after {i}");
            }
        }
        // The 1000 steps of DDPM: α² is the product of 1 - β.
        let mut product = 1.0;
        for i in 0..1000 {
            product *= 1.0 - (1e-4 + (0.02 - 1e-4) * f64::from(i) / 999.0);
            let (alpha, _) = Linear::default().mix(f64::from(i + 1) / 1000.0);
            assert!((alpha - product.sqrt()).abs() < 2e-3, "{i}: {alpha}, {}", product.sqrt());
        }
    }

    #[test]
    fn the_shifted_cosine_is_shifted_by_as_much_as_it_says() {
        for shift in [0.125, 0.5, 1.0, 3.0] {
            let shifted = ShiftedCosine { shift };
            for t in [0.01, 0.2, 0.5, 0.77, 0.99] {
                let by = shifted.log_snr(t) - Cosine.log_snr(t);
                assert!((by - 2.0 * shift.ln()).abs() < 1e-9, "{shift} at {t}: {by}");
            }
        }
        let (plain, same) = (Cosine.mix(0.3), ShiftedCosine { shift: 1.0 }.mix(0.3));
        assert!((plain.0 - same.0).abs() < 1e-12 && (plain.1 - same.1).abs() < 1e-12);
    }
}
