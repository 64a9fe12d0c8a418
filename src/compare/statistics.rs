//! What a difference between two arms is worth: intervals by the bootstrap, tests in pairs, and what many tests cost.
//!
//! An arm was trained with some seeds, and each run was measured on the same samples. So a mean varies by the seeds, of which
//! there are few, and by the samples, which all arms share: both are drawn anew, with replacement (Efron 1979), and the
//! differences of two arms sample by sample, in pairs.

use musiva_core::{RngKey, RngStream, Stream};
use serde::Serialize;

/// How often seeds and samples are drawn anew.
const DRAWS: usize = 4000;

/// A mean and its 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Estimate {
    /// The mean over seeds, and over samples where there are such.
    pub mean: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// Standard deviation between seeds; `None` of a single one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seed_deviation: Option<f64>,
}

/// The difference of two arms, first less second.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// The mean.
    pub mean: f64,
    /// The interval's lower end.
    pub low: f64,
    /// Its upper end.
    pub high: f64,
    /// How probable it is that chance alone makes one at least so far from 0, if there is none.
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
        let mean = |i: usize| each.iter().map(|(_, samples)| samples[i]).sum::<f64>() / each.len() as f64;
        Self { means, samples: if alike { (0..count).map(mean).collect() } else { Vec::new() }, shares }
    }

    /// The samples as they are drawn from: of shares with two more that are right and two that are not (Agresti and Coull 1998),
    /// since of samples that are all right none is ever drawn that is not.
    fn drawn_from(&self) -> Vec<f64> {
        let more: &[f64] = if self.shares && !self.samples.is_empty() { &[0.0, 0.0, 100.0, 100.0] } else { &[] };
        [&self.samples[..], more].concat()
    }

    /// An interval within what these numbers can be.
    fn clamp(&self, interval: [f64; 2]) -> [f64; 2] {
        if self.shares { interval.map(|end| end.clamp(0.0, 100.0)) } else { interval }
    }

    fn mean(&self) -> f64 {
        mean(&self.means)
    }
}

fn mean(numbers: &[f64]) -> f64 {
    numbers.iter().sum::<f64>() / numbers.len().max(1) as f64
}

/// How far the mean of as many of `numbers`, drawn anew, is from theirs. Of `n` numbers it varies less than a mean of `n` does,
/// by (n - 1)/n: that is undone.
fn drawn(numbers: &[f64], stream: &mut Stream) -> f64 {
    let n = numbers.len();
    if n < 2 {
        return 0.0;
    }
    let again = (0..n).map(|_| numbers[stream.below(n)]).sum::<f64>() / n as f64;
    (again - mean(numbers)) * (n as f64 / (n as f64 - 1.0)).sqrt()
}

/// The 2.5th and the 97.5th percentile.
fn percentiles(draws: &mut [f64]) -> [f64; 2] {
    draws.sort_by(f64::total_cmp);
    [0.025, 0.975].map(|part| draws[((draws.len() - 1) as f64 * part).round() as usize])
}

fn stream(seed: u64) -> Stream {
    RngKey::new(seed).stream(RngStream::Data)
}

/// The mean of an arm with its interval.
pub fn estimate(runs: &Runs) -> Estimate {
    let mut stream = stream(0);
    let (own, samples) = (runs.mean(), runs.drawn_from());
    let one = |_| own + drawn(&runs.means, &mut stream) + drawn(&samples, &mut stream);
    let [low, high] = runs.clamp(percentiles(&mut (0..DRAWS).map(one).collect::<Vec<_>>()));
    let n = runs.means.len() as f64;
    let squares: f64 = runs.means.iter().map(|seed| (seed - own).powi(2)).sum();
    Estimate { mean: own, low, high, seed_deviation: (n > 1.0).then(|| (squares / (n - 1.0)).sqrt()) }
}

/// The difference of two arms with its interval; `None` where neither seeds nor samples say by how much it may vary.
pub fn difference(first: &Runs, second: &Runs) -> Option<Difference> {
    let mut pairs: Vec<f64> = match first.samples.len() == second.samples.len() {
        true => first.samples.iter().zip(&second.samples).map(|(a, b)| a - b).collect(),
        false => Vec::new(),
    };
    if first.shares && !pairs.is_empty() {
        // As the samples of one: a pair for each side.
        pairs.extend([-100.0, 100.0]);
    }
    if pairs.len() < 2 && (first.means.len() < 2 || second.means.len() < 2) {
        return None;
    }
    let mut stream = stream(1);
    let own = first.mean() - second.mean();
    let one = |_| {
        let seeds = drawn(&first.means, &mut stream) - drawn(&second.means, &mut stream);
        own + seeds + drawn(&pairs, &mut stream)
    };
    let mut draws: Vec<f64> = (0..DRAWS).map(one).collect();
    let tail = |beyond: fn(&&f64) -> bool| draws.iter().filter(beyond).count() as f64;
    let least = tail(|draw| **draw <= 0.0).min(tail(|draw| **draw >= 0.0));
    let p = (2.0 * (least + 1.0) / (DRAWS as f64 + 1.0)).min(1.0);
    let [low, high] = percentiles(&mut draws);
    Some(Difference { mean: own, low, high, p })
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

/// A power law `y = a·x^b` through points, by least squares of the logarithms: `b` and its 95 % interval, from points drawn
/// anew; `None` of fewer than three different `x`, or where one is not above 0.
pub fn exponent(points: &[[f64; 2]]) -> Option<Estimate> {
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
    let slope = |points: &[[f64; 2]]| {
        let n = points.len() as f64;
        let [x, y] = [0, 1].map(|axis| points.iter().map(|point| point[axis]).sum::<f64>() / n);
        let both: f64 = points.iter().map(|point| (point[0] - x) * (point[1] - y)).sum();
        let own: f64 = points.iter().map(|point| (point[0] - x).powi(2)).sum();
        (own > 1e-12).then_some(both / own)
    };
    let mean = slope(&logs)?;
    let mut stream = stream(2);
    let one = |_| slope(&(0..logs.len()).map(|_| logs[stream.below(logs.len())]).collect::<Vec<_>>());
    let mut draws: Vec<f64> = (0..DRAWS).filter_map(one).collect();
    let [low, high] = percentiles(&mut draws);
    Some(Estimate { mean, low, high, seed_deviation: None })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` numbers of a normal distribution.
    fn normals(count: usize, scale: f64, stream: &mut Stream) -> Vec<f64> {
        stream.normals(count).into_iter().map(|x| scale * f64::from(x)).collect()
    }

    /// An arm of the mean 0 whose seeds and samples vary.
    fn arm(seeds: usize, samples: &[f64], stream: &mut Stream) -> Runs {
        let seeds: Vec<f64> = normals(seeds, 0.3, stream);
        let each: Vec<(f64, Vec<f64>)> = seeds
            .iter()
            .map(|seed| {
                let own: Vec<f64> = samples.iter().map(|sample| sample + seed).collect();
                (mean(&own), own)
            })
            .collect();
        Runs::new(&each.iter().map(|(mean, samples)| (*mean, &samples[..])).collect::<Vec<_>>(), false)
    }

    #[test]
    fn intervals_hold_the_truth_as_often_as_they_say() {
        let mut stream = RngKey::new(7).stream(RngStream::Noise);
        let (mut held, mut found, n) = (0, 0, 200);
        for _ in 0..n {
            let samples = normals(40, 1.0, &mut stream);
            let one = arm(5, &samples, &mut stream);
            let estimate = estimate(&one);
            held += usize::from(estimate.low <= 0.0 && estimate.high >= 0.0);
            // Another arm that is as good, measured on the same samples.
            let other = difference(&one, &arm(5, &samples, &mut stream)).unwrap();
            found += usize::from(other.p < 0.05);
            let apart = other.low > 0.0 || other.high < 0.0;
            assert!(if apart { other.p < 0.06 } else { other.p > 0.04 }, "test and interval are one: {other:?}");
        }
        // 95 % and 5 %; of five seeds a percentile bootstrap is somewhat too narrow.
        assert!(held >= 176 && held < n, "{held} of {n}");
        assert!(found <= 32, "{found} of {n} without a difference");
    }

    #[test]
    fn what_is_the_same_in_both_does_not_hide_a_difference() {
        // Samples differ by ten, arms by a tenth.
        let mut stream = RngKey::new(3).stream(RngStream::Noise);
        let samples = normals(60, 10.0, &mut stream);
        let better: Vec<f64> =
            samples.iter().zip(normals(60, 0.05, &mut stream)).map(|(x, noise)| x - 0.1 + noise).collect();
        let [one, other] = [&better, &samples].map(|samples| Runs::new(&[(mean(samples), &samples[..])], false));
        let found = difference(&one, &other).unwrap();
        assert!(found.high < 0.0 && found.p < 0.01, "{found:?}");
        assert!((found.mean + 0.1).abs() < 0.03);
        let apart = estimate(&one);
        assert!(apart.high - apart.low > 3.0, "alone the samples say little: {apart:?}");
        // Of one run each, without samples, nothing is known of chance.
        let alone = |mean: f64| Runs::new(&[(mean, &[][..])], false);
        assert_eq!(difference(&alone(1.0), &alone(2.0)), None);
    }

    #[test]
    fn shares_stay_shares_and_are_never_sure() {
        let share = |right: usize, of: usize| {
            let samples: Vec<f64> = (0..of).map(|i| if i < right { 100.0 } else { 0.0 }).collect();
            Runs::new(&[(mean(&samples), &samples[..])], true)
        };
        let all = estimate(&share(16, 16));
        assert!(all.mean == 100.0 && all.high == 100.0 && (70.0..97.0).contains(&all.low), "{all:?}");
        let most = estimate(&share(300, 400));
        assert!((most.low - 70.7).abs() < 1.0 && (most.high - 79.3).abs() < 1.0, "{most:?}");
        let none = difference(&share(16, 16), &share(16, 16)).unwrap();
        assert!(none.p > 0.5 && none.low < 0.0 && none.high > 0.0, "{none:?}");
        let clear = difference(&share(16, 16), &share(0, 16)).unwrap();
        assert!(clear.p < 0.01 && clear.low > 50.0, "{clear:?}");
    }

    #[test]
    fn many_tests_are_corrected_step_by_step() {
        assert_eq!(holm(&[0.01, 0.04, 0.03]), [0.03, 0.06, 0.06]);
        assert_eq!(holm(&[0.5, 0.9]), [1.0, 1.0]);
        assert!(holm(&[]).is_empty());
    }

    #[test]
    fn a_power_law_is_found() {
        let points: Vec<[f64; 2]> = [1.0, 2.0, 4.0, 8.0].map(|x: f64| [x * 1e12, 7.0 * x.powf(-0.3)]).to_vec();
        let found = exponent(&points).unwrap();
        assert!([found.mean, found.low, found.high].iter().all(|b| (b + 0.3).abs() < 1e-9), "{found:?}");
        assert_eq!(exponent(&points[..2]), None);
        assert_eq!(exponent(&[[1.0, 1.0], [2.0, 0.0], [3.0, 1.0]]), None);
    }
}
