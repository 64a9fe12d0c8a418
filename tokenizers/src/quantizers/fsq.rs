//! Finite scalar quantization: each channel is rounded to one of a few levels.
//!
//! Mentzer et al., "Finite Scalar Quantization: VQ-VAE Made Simple", ICLR 2024; names and constants are
//! those of the listing in its appendix A.1.

use super::{Quantizer, codes_of, straight_through};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use musiva_core::{Quantized, Result, RngKey, TokenKind, Tokens};

/// What the bound falls short of, so that no latent rounds beyond the outermost level; above 1000 levels it
/// would keep latents from reaching it.
const EPSILON: f64 = 1e-3;

/// Channel `i` is bounded to `levels[i]` whole numbers and rounded: the codebook is the product of all
/// levels, implicit and never collapsed, so there is nothing to commit to and nothing to diversify.
#[derive(Module, Debug)]
pub struct Fsq {
    #[module(skip)]
    levels: Vec<usize>,
}

impl Fsq {
    /// One channel for each entry of `levels`, which are 2 or more.
    pub fn new(levels: Vec<usize>) -> Self {
        Self { levels }
    }

    /// `⌊L/2⌋` of each channel: from here on levels count from zero, and by it vectors are scaled to
    /// about `[-1, 1]`.
    fn half_width(&self) -> impl Iterator<Item = usize> {
        self.levels.iter().map(|level| level / 2)
    }

    /// A row of numbers, one a channel.
    fn row(&self, values: impl Iterator<Item = f64>, like: &Tensor<2>) -> Tensor<2> {
        let values: Vec<f32> = values.map(|value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, [1, self.levels.len()]), &like.device().inner())
    }

    /// Bounds latents so that rounding gives exactly `L` values, an even `L` those from `-L/2` to
    /// `L/2 - 1`.
    fn bound(&self, z: Tensor<2>) -> Tensor<2> {
        let half_l = |level: &usize| (*level as f64 - 1.0) * (1.0 - EPSILON) / 2.0;
        let offset = |level: &usize| if level % 2 == 1 { 0.0 } else { 0.5 };
        let shift = self.levels.iter().map(|level| (offset(level) / half_l(level)).tan());
        let (shift, half_l, offset) = (
            self.row(shift, &z),
            self.row(self.levels.iter().map(half_l), &z),
            self.row(self.levels.iter().map(offset), &z),
        );
        (z + shift).tanh() * half_l - offset
    }

    /// The codes `[N, 1]` of rounded latents `[N, C]`; the first channel is the lowest digit.
    fn codes(&self, rounded: Tensor<2>) -> Tensor<2, Int> {
        let mut basis = 1i64;
        let (mut weights, mut zero) = (Vec::new(), 0i64);
        for (level, half) in self.levels.iter().zip(self.half_width()) {
            weights.push(basis);
            zero += half as i64 * basis;
            basis *= *level as i64;
        }
        let shape = [1, weights.len()];
        let weights = Tensor::<2, Int>::from_data(TensorData::new(weights, shape), &rounded.device());
        (rounded.int() * weights).sum_dim(1) + zero
    }
}

impl Quantizer for Fsq {
    fn kind(&self) -> TokenKind {
        TokenKind::Codes { levels: 1, entries: self.levels.iter().product(), bits: None }
    }

    fn forward(&self, moments: Tensor<2>, _: usize, _: RngKey) -> Quantized {
        let bounded = self.bound(moments.clone());
        let rounded = bounded.clone().inner().round();
        let half_width = self.row(self.half_width().map(|half| half as f64), &moments);
        Quantized {
            vectors: straight_through(bounded, rounded.clone()) / half_width,
            codes: Some(self.codes(rounded)),
            latents: moments,
            log_variance: None,
            commitment: None,
            bits: None,
        }
    }

    fn tokens(&self, grid: [usize; 3], latents: Tensor<2>) -> Result<Tokens> {
        let codes = super::to_codes(self.codes(self.bound(latents.inner()).round()));
        Tokens::codes(grid, self.levels.iter().product(), codes)
    }

    fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        let codes = codes_of(self.kind(), tokens)?;
        let mut vectors = Vec::with_capacity(codes.len() * self.levels.len());
        for &code in codes {
            let mut rest = code as usize;
            for (level, half) in self.levels.iter().zip(self.half_width()) {
                vectors.push(((rest % level) as f32 - half as f32) / half as f32);
                rest /= level;
            }
        }
        Ok(vectors)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantizers::tests::{ints, normals};
    use burn::tensor::Device;
    use musiva_core::parameters::to_vec;
    use std::collections::BTreeSet;

    /// The paper's listing for one channel, in double precision: what it rounds to, before rounding.
    fn slow(z: f64, levels: usize) -> f64 {
        let half_l = (levels as f64 - 1.0) * (1.0 - 1e-3) / 2.0;
        let offset = if levels.is_multiple_of(2) { 0.5 } else { 0.0 };
        (z + (offset / half_l).tan()).tanh() * half_l - offset
    }

    #[test]
    fn codes_and_vectors_are_the_papers_for_odd_and_even_levels() {
        let levels = vec![2, 3, 4, 5, 7, 8];
        let fsq = Fsq::new(levels.clone());
        let z = normals([509, levels.len()], 5, &Device::flex()) * 2.0;
        let made = fsq.forward(z.clone(), 1, RngKey::new(0));
        let (z, vectors, codes) = (to_vec(z), to_vec(made.vectors), ints(made.codes.unwrap()));
        let mut near = 0;
        for ((z, vectors), code) in z.chunks(levels.len()).zip(vectors.chunks(levels.len())).zip(codes) {
            let (mut wanted, mut basis) = (0, 1);
            for ((&z, &vector), &level) in z.iter().zip(vectors).zip(&levels) {
                let (bounded, half) = (slow(f64::from(z), level), level as f64 / 2.0);
                // Single precision may round a number that lies on an edge to the other side.
                if (bounded - bounded.floor() - 0.5).abs() < 1e-5 {
                    near += 1;
                    continue;
                }
                assert!((f64::from(vector) - bounded.round() / half.floor()).abs() < 1e-6, "{z} of {level}");
                wanted += (bounded.round() + half.floor()) as i64 * basis;
                basis *= level as i64;
            }
            assert!(basis < 2 * 3 * 4 * 5 * 7 * 8 || code == wanted);
        }
        assert!(near < 3, "{near} numbers on an edge");
    }

    #[test]
    fn every_code_is_reached_and_comes_back() {
        let fsq = Fsq::new(vec![3, 2, 4]);
        let all = Tokens::codes([1, 4, 6], 24, (0..24).collect()).unwrap();
        let vectors = fsq.vectors(&all).unwrap();
        let bits = |vector: &[f32]| vector.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
        assert_eq!(vectors.chunks(3).map(bits).collect::<BTreeSet<_>>().len(), 24);
        let z = normals([4001, 3], 1, &Device::flex()) * 3.0;
        let reached: BTreeSet<i64> = ints(fsq.forward(z, 1, RngKey::new(0)).codes.unwrap()).into_iter().collect();
        assert_eq!(reached, (0..24).collect());
    }

    #[test]
    fn the_gradient_is_that_of_the_bound() {
        let fsq = Fsq::new(vec![8, 5]);
        let z = normals([13, 2], 2, &Device::flex().autodiff()).require_grad();
        let made = fsq.forward(z.clone(), 1, RngKey::new(0));
        let gradients = made.vectors.sum().backward();
        let found = to_vec(z.grad(&gradients).unwrap());
        for (i, (&z, &found)) in to_vec(z.inner()).iter().zip(&found).enumerate() {
            let level = [8, 5][i % 2];
            let h = 1e-5;
            let slope = (slow(f64::from(z) + h, level) - slow(f64::from(z) - h, level)) / (2.0 * h);
            assert!((f64::from(found) - slope / (level / 2) as f64).abs() < 1e-4);
        }
    }
}
