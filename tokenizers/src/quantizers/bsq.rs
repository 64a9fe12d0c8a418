//! Binary spherical quantization: the nearest corner of the cube that is inscribed in the unit sphere.
//!
//! Zhao, Xiong and Krähenbühl, "Image and Video Tokenization with Binary Spherical Quantization", 2024.

use super::lfq::{codes, sign};
use super::{Quantizer, codes_of, squared_gap, straight_through, unit};
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::parameters::to_vec;
use musiva_core::tokens::{code_of, signs};
use musiva_core::{Quantized, Result, RngKey, SoftBits, TokenKind, Tokens};

/// The latent goes to the unit sphere, `u = z/‖z‖`, and from there to `û = sign(u)/√L`: codes are those
/// of lookup-free quantization, but the error is bounded, `‖u - û‖² < 2 - 2/√L` (section 3.2).
#[derive(Module, Debug)]
pub struct Bsq {
    #[module(skip)]
    bits: usize,
}

impl Bsq {
    /// `2^bits` entries.
    pub fn new(bits: usize) -> Self {
        Self { bits }
    }

    /// Length of a vector's every channel.
    fn scale(&self) -> f32 {
        1.0 / (self.bits as f32).sqrt()
    }
}

impl Quantizer for Bsq {
    fn kind(&self) -> TokenKind {
        TokenKind::Codes { levels: 1, entries: 1 << self.bits, bits: Some(self.bits) }
    }

    fn forward(&self, moments: Tensor<2>, _: usize, _: RngKey) -> Quantized {
        let u = unit(moments.clone());
        let vectors = sign(u.clone().inner()) * self.scale();
        Quantized {
            vectors: straight_through(u.clone(), vectors.clone()),
            commitment: Some(squared_gap(u.clone(), vectors).mean()),
            codes: Some(codes(moments.clone())),
            // ‖u - c‖² is 2 - 2·u·c with c = ±1/√L, so a bit is one with σ(4·u/(√L·τ)). Its entropy
            // over a batch is taken as if bits were independent (section 3.3).
            bits: Some(SoftBits { z: u * self.scale(), group: 1 }),
            latents: moments,
            log_variance: None,
        }
    }

    fn tokens(&self, grid: [usize; 3], latents: Tensor<2>) -> Result<Tokens> {
        Tokens::codes(grid, 1 << self.bits, to_vec(latents).chunks(self.bits).map(code_of).collect())
    }

    fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        let corner = |&code| signs(code, self.bits).map(|sign| sign * self.scale());
        Ok(codes_of(self.kind(), tokens)?.iter().flat_map(corner).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantizers::entropies;
    use crate::quantizers::tests::normals;
    use burn::tensor::Device;

    #[test]
    fn the_error_is_below_its_bound() {
        for bits in [1, 3, 11] {
            let z = normals([101, bits], 3, &Device::flex());
            let made = Bsq::new(bits).forward(z.clone(), 1, RngKey::new(0));
            let errors = to_vec(squared_gap(unit(z), made.vectors).sum_dim(1));
            let bound = 2.0 - 2.0 / (bits as f32).sqrt();
            assert!(errors.iter().all(|&error| error <= bound + 1e-5), "{bits} bits: {errors:?}");
        }
    }

    #[test]
    fn soft_entropy_is_that_of_all_corners() {
        // The paper's q̂(c|u) ∝ exp(τ̂·cᵀu) with τ̂ = 2/τ, over all 2^L corners in double precision.
        let (n, bits, temperature) = (29usize, 5usize, 0.3f64);
        let z = normals([n, bits], 11, &Device::flex());
        let rows = to_vec(z.clone());
        let entropy = |p: &[f64]| -p.iter().filter(|&&p| p > 0.0).map(|p| p * p.ln()).sum::<f64>();
        let (mut single, mut ones) = (0.0, vec![0.0; bits]);
        for z in rows.chunks(bits) {
            let length = z.iter().map(|&z| f64::from(z).powi(2)).sum::<f64>().sqrt();
            let weigh = |code: usize| -> f64 {
                let corner = signs(code as u32, bits).map(|sign| f64::from(sign) / (bits as f64).sqrt());
                (2.0 / temperature * corner.zip(z).map(|(c, &z)| c * f64::from(z) / length).sum::<f64>()).exp()
            };
            let weights: Vec<f64> = (0..1 << bits).map(weigh).collect();
            let total: f64 = weights.iter().sum();
            let p: Vec<f64> = weights.iter().map(|w| w / total).collect();
            single += entropy(&p) / n as f64;
            for (bit, one) in ones.iter_mut().enumerate() {
                *one += p.iter().enumerate().filter(|(code, _)| code >> bit & 1 == 1).map(|(_, p)| p).sum::<f64>();
            }
        }
        let batch: f64 = ones.iter().map(|one| entropy(&[one / n as f64, 1.0 - one / n as f64])).sum();
        let bits = Bsq::new(bits).forward(z, 1, RngKey::new(0)).bits.unwrap();
        let even = Tensor::full([n, 1], 1.0 / n as f32, &Device::flex());
        let (found_single, found_batch) = entropies(bits.z, even, temperature as f32, bits.group);
        assert!((f64::from(to_vec(found_single)[0]) - single).abs() < 1e-5);
        assert!((f64::from(to_vec(found_batch)[0]) - batch).abs() < 1e-5);
    }
}
