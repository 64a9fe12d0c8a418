//! The kernels of [`group_norm`](crate::group_norm()), and what they know of samples, groups and channels.

use burn::backend::Shape;

use crate::blocks::{PART, Walk, block_of_rows, reduce};
use crate::silu;
use crate::simd::{Kernel, SummingKernel};

/// Samples of positions of channels, in groups.
#[derive(Clone, Copy)]
pub(crate) struct Grouped {
    /// B.
    pub samples: usize,
    /// N, of each sample.
    pub positions: usize,
    /// C.
    pub channels: usize,
    /// G.
    groups: usize,
}

impl Grouped {
    /// For `[B, .., C]`.
    pub fn new(shape: &Shape, groups: usize) -> Self {
        let last = shape.num_dims() - 1;
        let positions = shape[1..last].iter().product();
        Self { samples: shape[0], positions, channels: shape[last], groups }
    }

    /// How to walk `[B, N, C]` for two sums for each sample and channel.
    pub fn walk(&self) -> Walk {
        let width = self.channels.max(1);
        Walk { segments: self.samples, part: PART * width, block: block_of_rows(width), sums: 2 * self.channels }
    }

    /// The two rows of `pairs`, `[B, 2, C]`, for the sample of element `place` of `[B, N, C]`.
    #[inline(always)]
    pub fn pair<'a>(&self, pairs: &'a [f32], place: usize) -> (&'a [f32], &'a [f32]) {
        let sample = place / (self.positions * self.channels);
        pairs[2 * sample * self.channels..][..2 * self.channels].split_at(self.channels)
    }

    /// `sums`, `[B, 2, C]`, times `weight`, `[C]`, as means over the groups, each for all channels of the group.
    pub fn means(&self, sums: &[f32], weight: &[f32]) -> Vec<f32> {
        let width = self.width();
        let count = (width * self.positions) as f32;
        let weights = weight.chunks(width).cycle();
        let groups = sums.chunks(width).zip(weights);
        let mean = |(sums, weight): (&[f32], &[f32])| {
            let sum: f32 = sums.iter().zip(weight).map(|(sum, weight)| sum * weight).sum();
            std::iter::repeat_n(sum / count, width)
        };
        groups.flat_map(mean).collect()
    }

    /// `sums`, `[B, 2, C]`, summed over the samples.
    pub fn totals(&self, sums: &[f32]) -> [Vec<f32>; 2] {
        let mut totals = [vec![0.0; self.channels], vec![0.0; self.channels]];
        for (i, row) in sums.chunks(self.channels.max(1)).enumerate() {
            totals[i % 2].iter_mut().zip(row).for_each(|(total, x)| *total += x);
        }
        totals
    }

    /// Channels in a group.
    fn width(&self) -> usize {
        (self.channels / self.groups).max(1)
    }

    /// Parts of a sample, of [`PART`] positions each.
    fn parts(&self) -> usize {
        self.positions.div_ceil(PART)
    }
}

/// The mean and `1 / √(var + ε)` of each sample and group.
pub(crate) struct Moments {
    pub grouped: Grouped,
    /// `[B, 2, C]`: the means and the scales, each for all channels of its group.
    pairs: Vec<f32>,
}

impl Moments {
    /// The moments of `x`, `[B, N, C]`.
    pub fn of(x: &[f32], grouped: Grouped, epsilon: f64) -> Self {
        let per_part = 2 * grouped.groups;
        let cost = PART * grouped.width();
        let length = if x.is_empty() { 0 } else { grouped.samples * grouped.parts() * per_part };
        let parts = reduce(length, per_part, cost, &PartMoments { x, grouped });
        let mut pairs = Vec::with_capacity(grouped.samples * 2 * grouped.channels);
        for parts in parts.chunks(per_part * grouped.parts().max(1)) {
            let groups: Vec<_> = (0..grouped.groups).map(|group| joined(parts, group, grouped, epsilon)).collect();
            pairs.extend(groups.iter().flat_map(|&(mean, _)| std::iter::repeat_n(mean, grouped.width())));
            pairs.extend(groups.iter().flat_map(|&(_, scale)| std::iter::repeat_n(scale, grouped.width())));
        }
        Self { grouped, pairs }
    }

    /// The mean and the scale of each channel, for the sample of element `place`.
    #[inline(always)]
    pub fn at(&self, place: usize) -> (&[f32], &[f32]) {
        self.grouped.pair(&self.pairs, place)
    }
}

/// The mean and `1 / √(var + ε)` of a group, from those of its parts (Chan et al. 1979): nothing cancels.
fn joined(parts: &[f32], group: usize, grouped: Grouped, epsilon: f64) -> (f32, f32) {
    let (mut count, mut mean, mut squares) = (0.0, 0.0, 0.0);
    for (i, part) in parts.chunks(2 * grouped.groups).enumerate() {
        let more = ((grouped.positions - i * PART).min(PART) * grouped.width()) as f64;
        let (part_mean, part_squares) = (f64::from(part[group]), f64::from(part[grouped.groups + group]));
        let distance = part_mean - mean;
        let total = count + more;
        mean += distance * more / total;
        squares += part_squares + distance * distance * count * more / total;
        count = total;
    }
    (mean as f32, (1.0 / (squares / count + epsilon).sqrt()) as f32)
}

/// Makes, for each sample and part, the means of the groups and then their sums of squared distances from it.
struct PartMoments<'a> {
    x: &'a [f32],
    grouped: Grouped,
}

impl Kernel for PartMoments<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let Grouped { positions, channels, groups, .. } = self.grouped;
        let mut sums = vec![0.0; channels];
        let mut means = vec![0.0; channels];
        for (i, part) in block.chunks_exact_mut(2 * groups).enumerate() {
            let place = start / (2 * groups) + i;
            let (sample, first) = (place / self.grouped.parts(), place % self.grouped.parts() * PART);
            let count = (positions - first).min(PART);
            let rows = &self.x[(sample * positions + first) * channels..][..count * channels];
            let (part_means, part_squares) = part.split_at_mut(groups);

            sums.fill(0.0);
            for row in rows.chunks_exact(channels) {
                for (sum, x) in sums.iter_mut().zip(row) {
                    *sum += x;
                }
            }
            self.add_groups(&sums, part_means);
            for (mean, means) in part_means.iter_mut().zip(means.chunks_exact_mut(self.grouped.width())) {
                *mean /= (count * self.grouped.width()) as f32;
                means.fill(*mean);
            }

            sums.fill(0.0);
            for row in rows.chunks_exact(channels) {
                for ((sum, x), mean) in sums.iter_mut().zip(row).zip(&means) {
                    *sum += (x - mean) * (x - mean);
                }
            }
            self.add_groups(&sums, part_squares);
        }
    }
}

impl PartMoments<'_> {
    /// The sums over the channels of each group.
    #[inline(always)]
    fn add_groups(&self, channels: &[f32], groups: &mut [f32]) {
        for (group, channels) in groups.iter_mut().zip(channels.chunks_exact(self.grouped.width())) {
            *group = channels.iter().sum();
        }
    }
}

/// What makes the value out of x.
#[derive(Clone, Copy)]
pub(crate) struct Affine<'a> {
    pub moments: &'a Moments,
    pub weight: &'a [f32],
    pub bias: &'a [f32],
}

pub(crate) struct Value<'a, const SILU: bool>(pub Affine<'a>);

impl<const SILU: bool> Kernel for Value<'_, SILU> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let Affine { moments, weight, bias } = self.0;
        for (i, row) in block.chunks_exact_mut(weight.len()).enumerate() {
            let (mean, scale) = moments.at(start + i * weight.len());
            let affine = weight.iter().zip(bias);
            for (((x, &mean), &scale), (&weight, &bias)) in row.iter_mut().zip(mean).zip(scale).zip(affine) {
                let y = (*x - mean) * scale * weight + bias;
                *x = if SILU { silu::value(y) } else { y };
            }
        }
    }
}

/// Turns the gradient by the value into the one before [`silu`](crate::silu()). Sums for each sample and channel that
/// gradient and, behind it, its product with the norm.
pub(crate) struct Slopes<'a, const SILU: bool> {
    pub affine: Affine<'a>,
    pub x: &'a [f32],
}

impl<const SILU: bool> SummingKernel for Slopes<'_, SILU> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32], sums: &mut [f32]) {
        let Affine { moments, weight, bias } = self.affine;
        let channels = weight.len();
        let (totals, along_y) = sums.split_at_mut(channels);
        let rows = block.chunks_exact_mut(channels).zip(self.x[start..].chunks_exact(channels));
        for (i, (grad, x)) in rows.enumerate() {
            let (mean, scale) = moments.at(start + i * channels);
            let norm = x.iter().zip(mean).zip(scale).map(|((x, mean), scale)| (x - mean) * scale);
            let sums = totals.iter_mut().zip(&mut *along_y);
            let affine = weight.iter().zip(bias);
            for (((g, y), (total, along_y)), (weight, bias)) in grad.iter_mut().zip(norm).zip(sums).zip(affine) {
                if SILU {
                    *g *= silu::slope(y * weight + bias);
                }
                *total += *g;
                *along_y += *g * y;
            }
        }
    }
}

/// With y the norm, s its scale and h = g·weight: `(h - mean(h) - y·mean(h·y))·s`, the means over the group.
pub(crate) struct Across<'a> {
    pub moments: &'a Moments,
    pub x: &'a [f32],
    pub weight: &'a [f32],
    /// `mean(h)` and `mean(h·y)` for each sample and channel, `[B, 2, C]`.
    pub means: &'a [f32],
}

impl Kernel for Across<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let channels = self.weight.len();
        let rows = block.chunks_exact_mut(channels).zip(self.x[start..].chunks_exact(channels));
        for (i, (grad, x)) in rows.enumerate() {
            let place = start + i * channels;
            let (mean, scale) = self.moments.at(place);
            let (along_one, along_y) = self.moments.grouped.pair(self.means, place);
            let moments = x.iter().zip(mean).zip(scale);
            let means = along_one.iter().zip(along_y);
            for (((g, weight), ((x, mean), scale)), (one, along_y)) in
                grad.iter_mut().zip(self.weight).zip(moments).zip(means)
            {
                *g = (*g * weight - one - (x - mean) * scale * along_y) * scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, noise};

    #[test]
    fn moments_are_those_of_the_groups() {
        for (samples, positions, channels, groups) in [(1, 1, 1, 1), (2, 7, 6, 3), (3, 131, 10, 2), (1, 64, 5, 5)] {
            let x = noise(samples * positions * channels, 1);
            let moments = Moments::of(&x, Grouped { samples, positions, channels, groups }, 1e-5);
            let width = channels / groups;
            for sample in 0..samples {
                let (means, scales) = moments.at((sample + 1) * positions * channels - 1);
                for channel in 0..channels {
                    let group = x.iter().enumerate().filter(|(i, _)| {
                        i / (positions * channels) == sample && i % channels / width == channel / width
                    });
                    let group: Vec<f64> = group.map(|(_, &x)| f64::from(x)).collect();
                    let mean = group.iter().sum::<f64>() / group.len() as f64;
                    let variance = group.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / group.len() as f64;
                    assert!((f64::from(means[channel]) - mean).abs() < 1e-7);
                    assert!((f64::from(scales[channel]) * (variance + 1e-5).sqrt() - 1.0).abs() < 1e-6);
                }
            }
        }
    }

    #[test]
    fn the_same_bytes_for_any_instruction_set() {
        let (channels, positions) = (testing::WIDTH, 20 * PART);
        let x = &noise(positions * channels, 5)[..];
        let grouped = |groups| Grouped { samples: 1, positions, channels, groups };
        testing::same_for_any_instruction_set(&PartMoments { x, grouped: grouped(channels) });
        let moments = Moments::of(x, grouped(1), 1e-5);
        let affine = Affine { moments: &moments, weight: &noise(channels, 6), bias: &noise(channels, 7) };
        testing::same_for_any_instruction_set(&Value::<true>(affine));
        testing::summing_is_the_same_for_any_instruction_set(&Slopes::<true> { affine, x }, 2 * channels);
        let means = &noise(2 * channels, 8);
        testing::same_for_any_instruction_set(&Across { moments: &moments, x, weight: affine.weight, means });
    }
}
