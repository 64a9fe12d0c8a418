//! A continuous latent with a normal posterior: Kingma and Welling, "Auto-Encoding Variational
//! Bayes", 2014.

use super::{Quantizer, other};
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::parameters::to_vec;
use musiva_core::{Quantized, Result, RngKey, TokenKind, TokenValues, Tokens};

/// No quantizer at all: the mean of the posterior is the token.
#[derive(Module, Debug)]
pub struct Kl {
    #[module(skip)]
    channels: usize,
}

impl Kl {
    /// Vectors of `channels` numbers.
    pub fn new(channels: usize) -> Self {
        Self { channels }
    }
}

impl Quantizer for Kl {
    fn kind(&self) -> TokenKind {
        TokenKind::Vectors { channels: self.channels }
    }

    fn forward(&self, moments: Tensor<2>, _: usize, _: RngKey) -> Quantized {
        let mean = moments.clone().slice_dim(1, 0..self.channels);
        Quantized {
            // The decoder reads the mean: with the tiny weight that the KL term has, drawing from
            // the posterior only blurs.
            vectors: mean.clone(),
            latents: mean,
            log_variance: Some(moments.slice_dim(1, self.channels..2 * self.channels).clamp(-30.0, 20.0)),
            codes: None,
            commitment: None,
            bits: None,
        }
    }

    fn tokens(&self, grid: [usize; 3], latents: Tensor<2>) -> Result<Tokens> {
        Tokens::vectors(grid, self.channels, to_vec(latents))
    }

    fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        match tokens.values() {
            TokenValues::Vectors { channels, values } if *channels == self.channels => Ok(values.clone()),
            _ => Err(other(self.kind(), tokens)),
        }
    }
}
