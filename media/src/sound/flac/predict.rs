//! One channel of a block: predicted, and the rest coded (RFC 9639 §9.2).

use super::{bits::BitWriter, rice::Residual};

/// Orders of linear prediction that are tried; 12 is the most in the streamable subset at 48 kHz.
const ORDERS: [usize; 3] = [4, 8, 12];

/// Bits of a quantized coefficient.
const PRECISION: u32 = 14;

/// The coded samples of one channel.
pub(super) struct Subframe {
    samples: Vec<i32>,
    /// Bits of a sample.
    bits: u32,
    kind: Kind,
    cost: u64,
}

enum Kind {
    /// All samples are equal.
    Constant,
    /// As they are.
    Verbatim,
    /// Predicted by the polynomial through the last `order` samples.
    Fixed { order: usize, residual: Residual },
    /// Predicted by a weighted sum of the last samples, shifted to the right.
    Linear { coefficients: Vec<i32>, shift: u32, residual: Residual },
}

impl Subframe {
    /// The shortest code that we know for samples of `bits` bits.
    pub(super) fn best(samples: &[i32], bits: u32) -> Self {
        let count = samples.len() as u64;
        let width = u64::from(bits);
        let mut best = (Kind::Verbatim, 8 + count * width);
        let mut offer = |kind: Kind, cost: u64| {
            if cost < best.1 {
                best = (kind, cost);
            }
        };
        if samples.iter().all(|&sample| sample == samples[0]) {
            offer(Kind::Constant, 8 + width);
        } else {
            for order in 0..=4.min(samples.len() - 1) {
                if let Some(residual) = fixed(samples, order) {
                    let cost = 8 + order as u64 * width + residual.cost;
                    offer(Kind::Fixed { order, residual }, cost);
                }
            }
            for (coefficients, shift) in linear_predictors(samples) {
                let order = coefficients.len();
                if let Some(residual) = linear(samples, &coefficients, shift) {
                    let cost = 8 + 9 + order as u64 * (width + u64::from(PRECISION)) + residual.cost;
                    offer(Kind::Linear { coefficients, shift, residual }, cost);
                }
            }
        }
        let (kind, cost) = best;
        Self { samples: samples.to_vec(), bits, kind, cost }
    }

    /// Bits that it takes, at most.
    pub(super) fn cost(&self) -> u64 {
        self.cost
    }

    pub(super) fn write(&self, out: &mut BitWriter) {
        let first = |out: &mut BitWriter, count: usize| {
            self.samples[..count].iter().for_each(|&sample| out.put_signed(sample, self.bits));
        };
        // A zero, six bits for the kind, and a zero: no bits of the samples are unused.
        match &self.kind {
            Kind::Constant => {
                out.put(0, 8);
                first(out, 1);
            }
            Kind::Verbatim => {
                out.put(1 << 1, 8);
                first(out, self.samples.len());
            }
            Kind::Fixed { order, residual } => {
                out.put((0b001000 | *order as u64) << 1, 8);
                first(out, *order);
                residual.write(out);
            }
            Kind::Linear { coefficients, shift, residual } => {
                out.put((0b100000 | (coefficients.len() as u64 - 1)) << 1, 8);
                first(out, coefficients.len());
                out.put(u64::from(PRECISION) - 1, 4);
                out.put((*shift).into(), 5);
                coefficients.iter().for_each(|&coefficient| out.put_signed(coefficient, PRECISION));
                residual.write(out);
            }
        }
    }
}

/// What is left of `samples` when each is predicted by those before it (§9.2.5): the differences of
/// order `order`.
fn fixed(samples: &[i32], order: usize) -> Option<Residual> {
    const BINOMIALS: [&[i64]; 5] = [&[], &[1], &[2, -1], &[3, -3, 1], &[4, -6, 4, -1]];
    predicted(samples, order, |before| before.iter().rev().zip(BINOMIALS[order]).map(|(&s, b)| i64::from(s) * b).sum())
}

/// What is left of `samples` under linear prediction (§9.2.6).
fn linear(samples: &[i32], coefficients: &[i32], shift: u32) -> Option<Residual> {
    let weigh = |(&sample, &coefficient): (&i32, &i32)| i64::from(sample) * i64::from(coefficient);
    predicted(samples, coefficients.len(), |before| {
        before.iter().rev().zip(coefficients).map(weigh).sum::<i64>() >> shift
    })
}

fn predicted(samples: &[i32], order: usize, predict: impl Fn(&[i32]) -> i64) -> Option<Residual> {
    let left = (order..samples.len()).map(|at| i64::from(samples[at]) - predict(&samples[at - order..at]));
    Residual::new(order, left)
}

/// Predictors of the orders in [`ORDERS`], by the autocorrelation of the samples under Welch's window
/// and Levinson's recursion, in whole numbers with their shift.
fn linear_predictors(samples: &[i32]) -> Vec<(Vec<i32>, u32)> {
    let most = ORDERS[ORDERS.len() - 1];
    if samples.len() <= 2 * most {
        return Vec::new();
    }
    let (middle, reach) = ((samples.len() - 1) as f64 / 2.0, (samples.len() + 1) as f64 / 2.0);
    let window = |at: usize| 1.0 - ((at as f64 - middle) / reach).powi(2);
    let weighed: Vec<f64> = samples.iter().enumerate().map(|(at, &sample)| f64::from(sample) * window(at)).collect();
    let correlation = |lag: usize| weighed[lag..].iter().zip(&weighed).map(|(a, b)| a * b).sum::<f64>();
    let correlations: Vec<f64> = (0..=most).map(correlation).collect();

    let mut found = Vec::new();
    let mut error = correlations[0];
    let mut weights: Vec<f64> = Vec::new();
    for order in 1..=most {
        if error.is_nan() || error <= 0.0 {
            break;
        }
        let rest: f64 = weights.iter().zip(correlations[1..order].iter().rev()).map(|(w, c)| w * c).sum();
        let reflection = (correlations[order] - rest) / error;
        let turned: Vec<f64> = weights.iter().rev().copied().collect();
        weights.iter_mut().zip(turned).for_each(|(weight, other)| *weight -= reflection * other);
        weights.push(reflection);
        error *= 1.0 - reflection * reflection;
        if ORDERS.contains(&order) {
            found.extend(quantized(&weights));
        }
    }
    found
}

/// Weights as whole numbers of [`PRECISION`] bits over a power of two; each takes on the rounding
/// error of the one before. `None` where they are too large or vanish.
fn quantized(weights: &[f64]) -> Option<(Vec<i32>, u32)> {
    let limit = f64::from(1 << (PRECISION - 1));
    let largest = weights.iter().fold(0.0f64, |largest, weight| largest.max(weight.abs()));
    let shift = (0..=15u32).rev().find(|&shift| largest * f64::from(1u32 << shift) < limit - 1.0)?;
    let mut carried = 0.0;
    let whole = weights.iter().map(|weight| {
        let exact = weight * f64::from(1u32 << shift) + carried;
        let nearest = exact.round().clamp(-limit, limit - 1.0);
        carried = exact - nearest;
        nearest as i32
    });
    let whole: Vec<i32> = whole.collect();
    whole.iter().any(|&weight| weight != 0).then_some((whole, shift))
}
