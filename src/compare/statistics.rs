//! What a difference between two arms is worth: intervals, tests in pairs, and what many tests cost.
//!
//! An arm is trained with some seeds, and each run is measured on the same samples. So a mean varies by the seeds, of which
//! there are few, and by the samples, which all arms share. Both variances add up, and the degrees of freedom are those of
//! Welch and Satterthwaite: with three seeds a bootstrap would give intervals that are far too narrow. Differences of two arms
//! are taken sample by sample, in pairs.

use serde::Serialize;
use statrs::distribution::{Binomial, ContinuousCDF, DiscreteCDF, StudentsT};

/// Quantile of the normal distribution of a 95 % interval.
const Z: f64 = 1.959_964;

/// A mean and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean over seeds, and over samples where there are such.
    pub mean: f64,
    /// The interval; `None` of a single run whose samples are not known one by one.
    pub interval: Option<[f64; 2]>,
    /// Standard deviation over seeds; `None` of a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_deviation: Option<f64>,
}

/// The difference of two arms, first less second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The mean.
    pub mean: f64,
    /// Its 95 % interval.
    pub interval: [f64; 2],
    /// The probability of a difference at least as large if there is none, of a two-sided test.
    pub p: f64,
}

/// Numbers of one arm: of each seed the mean, or that of each sample.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Runs {
    /// Of each seed.
    pub means: Vec<f64>,
    /// Of each sample the mean over the seeds; nothing where only means are known.
    pub samples: Vec<f64>,
    /// Whether these are shares in percent, of samples that are right or not.
    pub shares: bool,
}

impl Runs {
    /// Of each seed its number, and of each of its samples, which are the same ones in each.
    pub fn new(each: &[(f64, &[f64])], shares: bool) -> Self {
        let means = each.iter().map(|(mean, _)| *mean).collect();
        let count = each.iter().map(|(_, samples)| samples.len()).min().unwrap_or(0);
        let alike = each.iter().all(|(_, samples)| samples.len() == count);
        let mean_of = |i: usize| mean(each.iter().map(|(_, samples)| samples[i]));
        Self { means, samples: if alike { (0..count).map(mean_of).collect() } else { Vec::new() }, shares }
    }

    fn mean(&self) -> f64 {
        mean(self.means.iter().copied())
    }
}

/// The mean; 0 of nothing.
pub fn mean(numbers: impl ExactSizeIterator<Item = f64>) -> f64 {
    let count = numbers.len().max(1) as f64;
    numbers.sum::<f64>() / count
}

/// The variance of a mean of several independent parts, and their degrees of freedom.
#[derive(Clone, Copy, Default)]
struct Variance {
    sum: f64,
    /// Of each part its square over its degrees of freedom.
    squares: f64,
    parts: usize,
}

impl Variance {
    /// With the mean of `numbers` as a further part; of fewer than two nothing is known.
    fn and(self, numbers: &[f64]) -> Self {
        let n = numbers.len() as f64;
        if n < 2.0 {
            return self;
        }
        let own = mean(numbers.iter().copied());
        let variance = numbers.iter().map(|x| (x - own).powi(2)).sum::<f64>() / (n - 1.0) / n;
        Self { sum: self.sum + variance, squares: self.squares + variance.powi(2) / (n - 1.0), parts: self.parts + 1 }
    }

    /// Student's distribution with the degrees of freedom of Welch and Satterthwaite; `None` where nothing varies.
    fn student(&self) -> Option<StudentsT> {
        if self.sum <= 0.0 {
            return None;
        }
        StudentsT::new(0.0, 1.0, (self.sum.powi(2) / self.squares).max(1.0)).ok()
    }

    /// Half the width of a 95 % interval; `None` where nothing is known of the variance.
    fn half(&self) -> Option<f64> {
        (self.parts > 0).then(|| self.student().map_or(0.0, |student| student.inverse_cdf(0.975) * self.sum.sqrt()))
    }
}

/// The mean of an arm with its interval.
pub fn estimate(runs: &Runs) -> Estimate {
    let own = runs.mean();
    let seeds = Variance::default().and(&runs.means);
    let interval = match runs.shares && runs.samples.len() > 1 {
        // Wilson's interval of a share, and the seeds' beside it (Zou and Donner 2008).
        true => {
            let seeds = seeds.half().unwrap_or(0.0);
            let [low, high] = wilson(own / 100.0, runs.samples.len()).map(|end| 100.0 * end);
            Some([own - (own - low).hypot(seeds), own + (high - own).hypot(seeds)].map(|end| end.clamp(0.0, 100.0)))
        }
        false => seeds.and(&runs.samples).half().map(|half| [own - half, own + half]),
    };
    let seed_deviation = (runs.means.len() > 1).then(|| (seeds.sum * runs.means.len() as f64).sqrt());
    Estimate { mean: own, interval, seed_deviation }
}

/// Wilson's interval of a share, 0 to 1, of `n` samples (Wilson 1927).
fn wilson(share: f64, n: usize) -> [f64; 2] {
    let n = n as f64;
    let centre = (share + Z * Z / (2.0 * n)) / (1.0 + Z * Z / n);
    let half = Z / (1.0 + Z * Z / n) * (share * (1.0 - share) / n + Z * Z / (4.0 * n * n)).sqrt();
    [(centre - half).max(0.0), (centre + half).min(1.0)]
}

/// The difference of two arms with its interval; `None` where neither seeds nor samples say by how much it may vary.
pub fn difference(first: &Runs, second: &Runs) -> Option<Difference> {
    let own = first.mean() - second.mean();
    let mut pairs: Vec<f64> = match first.samples.len() == second.samples.len() {
        true => first.samples.iter().zip(&second.samples).map(|(a, b)| a - b).collect(),
        false => Vec::new(),
    };
    let one_run_each = first.means.len() == 1 && second.means.len() == 1;
    if pairs.len() < 2 && (first.means.len() < 2 || second.means.len() < 2) {
        return None;
    }
    let sign = (first.shares && one_run_each).then(|| sign_test(&pairs));
    if first.shares && !pairs.is_empty() {
        // A pair for each side: of samples that all agree nobody knows that they always do (Agresti and Min 2005).
        pairs.extend([-100.0, 100.0]);
    }
    let variance = Variance::default().and(&first.means).and(&second.means).and(&pairs);
    let half = variance.half()?;
    let p = match (sign, variance.student()) {
        (Some(p), _) => p,
        (None, Some(student)) => 2.0 * student.cdf(-own.abs() / variance.sum.sqrt()),
        (None, None) => {
            if own == 0.0 {
                1.0
            } else {
                0.0
            }
        }
    };
    let ends = [own - half, own + half];
    let interval = if first.shares { ends.map(|end| end.clamp(-100.0, 100.0)) } else { ends };
    Some(Difference { mean: own, interval, p })
}

/// The exact test of pairs of right and wrong (McNemar 1947): whether those that differ differ to both sides alike.
fn sign_test(pairs: &[f64]) -> f64 {
    let [above, below] = [pairs.iter().filter(|x| **x > 0.0).count(), pairs.iter().filter(|x| **x < 0.0).count()];
    let tail = Binomial::new(0.5, (above + below) as u64).map(|binomial| binomial.cdf(above.min(below) as u64));
    tail.map_or(1.0, |tail| (2.0 * tail).min(1.0))
}

/// The same probabilities, corrected for how many they are: the chance that one of them or more is at least as small by chance
/// alone (Holm 1979).
pub fn holm(all: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..all.len()).collect();
    order.sort_by(|&a, &b| all[a].total_cmp(&all[b]));
    let (mut corrected, mut most) = (vec![1.0; all.len()], 0.0f64);
    for (rank, i) in order.into_iter().enumerate() {
        most = most.max((all[i] * (all.len() - rank) as f64).min(1.0));
        corrected[i] = most;
    }
    corrected
}

/// A power law `y = a·x^b` through points.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct PowerLaw {
    /// `a`.
    pub factor: f64,
    /// `b` with its 95 % interval.
    pub exponent: Estimate,
}

/// The power law by least squares of the logarithms, without a constant that remains; `None` of fewer than three different `x`, or
/// where a number is not above 0.
pub fn power_law(points: &[[f64; 2]]) -> Option<PowerLaw> {
    let logs: Vec<[f64; 2]> = points.iter().map(|point| point.map(f64::ln)).collect();
    if logs.iter().flatten().any(|log| !log.is_finite()) {
        return None;
    }
    let mut different: Vec<f64> = logs.iter().map(|log| log[0]).collect();
    different.sort_by(f64::total_cmp);
    different.dedup_by(|a, b| (*a - *b).abs() < 1e-9);
    if different.len() < 3 {
        return None;
    }
    let n = logs.len() as f64;
    let [x, y] = [0, 1].map(|axis| mean(logs.iter().map(|point| point[axis])));
    let squares: f64 = logs.iter().map(|point| (point[0] - x).powi(2)).sum();
    let slope = logs.iter().map(|point| (point[0] - x) * (point[1] - y)).sum::<f64>() / squares;
    let rest: f64 = logs.iter().map(|point| (point[1] - y - slope * (point[0] - x)).powi(2)).sum();
    let error = (rest / (n - 2.0) / squares).sqrt();
    let half = StudentsT::new(0.0, 1.0, n - 2.0).ok()?.inverse_cdf(0.975) * error;
    let exponent = Estimate { mean: slope, interval: Some([slope - half, slope + half]), seed_deviation: None };
    Some(PowerLaw { factor: (y - slope * x).exp(), exponent })
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{RngKey, RngStream, Stream};

    /// `count` numbers of a normal distribution.
    fn normals(count: usize, scale: f64, stream: &mut Stream) -> Vec<f64> {
        stream.normals(count).into_iter().map(|x| scale * f64::from(x)).collect()
    }

    fn runs(each: &[Vec<f64>], shares: bool) -> Runs {
        let each: Vec<(f64, &[f64])> = each.iter().map(|own| (mean(own.iter().copied()), &own[..])).collect();
        Runs::new(&each, shares)
    }

    /// An arm of the mean 0 whose seeds and samples vary.
    fn arm(seeds: usize, samples: &[f64], stream: &mut Stream) -> Runs {
        let seeds = normals(seeds, 0.3, stream);
        runs(&seeds.iter().map(|seed| samples.iter().map(|sample| sample + seed).collect()).collect::<Vec<_>>(), false)
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut stream = RngKey::new(7).stream(RngStream::Noise);
        for (seeds, count) in [(2, 40), (3, 40), (5, 40), (3, 4), (1, 10)] {
            let (mut held, mut found, n) = (0, 0, 600);
            for _ in 0..n {
                let samples = normals(count, 1.0, &mut stream);
                let one = arm(seeds, &samples, &mut stream);
                let found_interval = estimate(&one).interval.unwrap();
                held += usize::from(found_interval[0] <= 0.0 && found_interval[1] >= 0.0);
                if seeds > 1 {
                    // Another arm that is as good, measured on the same samples.
                    let other = difference(&one, &arm(seeds, &samples, &mut stream)).unwrap();
                    found += usize::from(other.p < 0.05);
                    assert_eq!(other.p < 0.05, other.interval[0] > 0.0 || other.interval[1] < 0.0, "{other:?}");
                }
            }
            // 95 % and 5 %, within four deviations; with one seed the interval knows nothing of seeds.
            let least = if seeds == 1 { 480 } else { 548 };
            assert!(held >= least, "{held} of {n}, {seeds} seeds");
            assert!(found <= 52, "{found} of {n} without a difference, {seeds} seeds");
        }
    }

    #[test]
    fn what_is_the_same_in_both_does_not_hide_a_difference() {
        // Samples differ by ten, arms by a tenth.
        let mut stream = RngKey::new(3).stream(RngStream::Noise);
        let samples = normals(60, 10.0, &mut stream);
        let better: Vec<f64> =
            samples.iter().zip(normals(60, 0.05, &mut stream)).map(|(x, noise)| x - 0.1 + noise).collect();
        let [one, other] = [better, samples].map(|samples| runs(&[samples], false));
        let found = difference(&one, &other).unwrap();
        assert!(found.interval[1] < 0.0 && found.p < 1e-6, "{found:?}");
        assert!((found.mean + 0.1).abs() < 0.03);
        let [low, high] = estimate(&one).interval.unwrap();
        assert!(high - low > 3.0, "alone the samples say little");
        // Of one run each, without samples, nothing is known of chance.
        let alone = |mean: f64| Runs::new(&[(mean, &[][..])], false);
        assert_eq!((difference(&alone(1.0), &alone(2.0)), estimate(&alone(1.0)).interval), (None, None));
    }

    #[test]
    fn shares_stay_shares_and_are_never_sure() {
        let share =
            |right: usize, of: usize| runs(&[(0..of).map(|i| if i < right { 100.0 } else { 0.0 }).collect()], true);
        // Wilson 1927: of 16 of 16 it is [80.6, 100], of 300 of 400 [70.5, 79.0].
        for (found, wanted) in [(share(16, 16), [80.6, 100.0]), (share(300, 400), [70.5, 79.0])] {
            let found = estimate(&found).interval.unwrap();
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 0.1), "{found:?}, not {wanted:?}");
        }
        let none = difference(&share(16, 16), &share(16, 16)).unwrap();
        assert!(none.p == 1.0 && none.interval[0] < 0.0 && none.interval[1] > 0.0, "{none:?}");
        // All four of four pairs on one side happen by chance in one of eight cases.
        assert!((difference(&share(4, 4), &share(0, 4)).unwrap().p - 0.125).abs() < 1e-9);
        let clear = difference(&share(16, 16), &share(0, 16)).unwrap();
        assert!(clear.p < 1e-3 && clear.interval[0] > 50.0 && clear.interval[1] <= 100.0, "{clear:?}");
    }

    #[test]
    fn many_tests_are_corrected_step_by_step() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[0.5, 0.9]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_power_law_is_found() {
        let points: Vec<[f64; 2]> = [1.0, 2.0, 4.0, 8.0].map(|x: f64| [x * 1e12, 7.0 * (x * 1e12).powf(-0.3)]).to_vec();
        let found = power_law(&points).unwrap();
        assert!((found.exponent.mean + 0.3).abs() < 1e-9 && (found.factor / 7.0 - 1.0).abs() < 1e-6, "{found:?}");
        assert_eq!(power_law(&points[..2]), None);
        assert_eq!(power_law(&[[1.0, 1.0], [2.0, 0.0], [3.0, 1.0]]), None);
    }
}
