//! Lookup-free quantization: signs as codes.
//!
//! Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation", ICLR 2024,
//! section 3.1.

use super::{Quantizer, codes_of, squared_gap, straight_through};
use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::tokens::{code_of, signs};
use musiva_core::{Quantized, Result, RngKey, SoftBits, TokenKind, Tokens};

/// Bits whose joint entropy is taken over the whole codebook; more are taken in groups.
const GROUP: usize = 10;

/// Each channel becomes its sign; the code is the signs read as binary digits.
#[derive(Module, Debug)]
pub struct Lfq {
    #[module(skip)]
    bits: usize,
}

impl Lfq {
    /// `2^bits` entries.
    pub fn new(bits: usize) -> Self {
        Self { bits }
    }
}

impl Quantizer for Lfq {
    fn kind(&self) -> TokenKind {
        TokenKind::Codes { levels: 1, entries: 1 << self.bits, bits: Some(self.bits) }
    }

    fn forward(&self, moments: Tensor<2>, _: usize, _: RngKey) -> Quantized {
        let z = moments;
        let vectors = sign(z.clone().inner());
        Quantized {
            vectors: straight_through(z.clone(), vectors.clone()),
            commitment: Some(squared_gap(z.clone(), vectors).mean()),
            codes: Some(codes(z.clone())),
            bits: Some(SoftBits { z: z.clone(), group: GROUP }),
            latents: z,
            log_variance: None,
        }
    }

    fn tokens(&self, grid: [usize; 3], latents: Tensor<2>) -> Result<Tokens> {
        Tokens::codes(grid, 1 << self.bits, to_vec(latents).chunks(self.bits).map(code_of).collect())
    }

    fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        Ok(codes_of(self.kind(), tokens)?.iter().flat_map(|&code| signs(code, self.bits)).collect())
    }
}

/// +1 above zero, -1 elsewhere: zero is no third value.
pub(super) fn sign(z: Tensor<2>) -> Tensor<2> {
    z.greater_elem(0.0).float() * 2.0 - 1.0
}

/// The codes of latents `[N, bits]`, `[N, 1]`, lowest bit first.
pub(super) fn codes(z: Tensor<2>) -> Tensor<2, Int> {
    let z = z.inner();
    let [_, channels] = z.dims();
    let weights: Vec<i64> = (0..channels).map(|i| 1 << i).collect();
    let weights = Tensor::<2, Int>::from_data(TensorData::new(weights, [1, channels]), &z.device());
    (z.greater_elem(0.0).int() * weights).sum_dim(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::quantizers::tests::{ints, normals};
    use burn::tensor::Device;

    #[test]
    fn codes_on_the_device_are_codes_on_the_host() {
        let z = normals([11, 7], 7, &Device::flex());
        let wanted: Vec<i64> = to_vec(z.clone()).chunks(7).map(|z| i64::from(code_of(z))).collect();
        assert_eq!(ints(codes(z)), wanted);
    }
}
