//! Vector quantization: the nearest entry of a learned codebook.
//!
//! Van den Oord et al., "Neural Discrete Representation Learning", 2017, with moving averages; dead
//! entries start again as in SoundStream (Zeghidour et al. 2021, section III-C).

use super::codebook::{Codebook, Following};
use super::{Quantizer, codes_of, squared_gap, straight_through, to_codes, to_indices};
use burn::module::Module;
use burn::tensor::Tensor;
use musiva_core::parameters::to_vec;
use musiva_core::{Init, Quantized, Result, RngKey, RngStream, TokenKind, Tokens};

/// A codebook of `K` vectors.
#[derive(Module, Debug)]
pub struct Vq {
    codebook: Codebook,
    #[module(skip)]
    entries: usize,
}

impl Vq {
    /// A codebook that the first batch starts.
    pub fn new(entries: usize, channels: usize, following: Following, init: &Init) -> Self {
        Self { codebook: Codebook::new(entries, channels, following, &init.part("codebook")), entries }
    }
}

impl Quantizer for Vq {
    fn kind(&self) -> TokenKind {
        TokenKind::Codes { levels: 1, entries: self.entries, bits: None }
    }

    fn forward(&self, moments: Tensor<2>, _: usize, _: RngKey) -> Quantized {
        let z = self.codebook.place(moments.clone());
        let codes = self.codebook.nearest(z.clone());
        let vectors = self.codebook.look_up(codes.clone());
        Quantized {
            vectors: straight_through(z.clone(), vectors.clone()),
            latents: moments,
            log_variance: None,
            codes: Some(codes.unsqueeze_dim(1)),
            commitment: Some(squared_gap(z, vectors).mean()),
            bits: None,
        }
    }

    fn tokens(&self, grid: [usize; 3], latents: Tensor<2>) -> Result<Tokens> {
        let codes = self.codebook.nearest(self.codebook.place(latents.inner()));
        Tokens::codes(grid, self.entries, to_codes(codes))
    }

    fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        let codes = codes_of(self.kind(), tokens)?;
        let entries = to_vec(self.codebook.entries());
        let channels = entries.len() / self.entries;
        Ok(codes.iter().flat_map(|&code| &entries[code as usize * channels..][..channels]).copied().collect())
    }

    fn update_ema(&mut self, made: &Quantized, key: RngKey) {
        let rng = &mut key.stream(RngStream::Codebook);
        let z = self.codebook.place(made.latents.clone().inner());
        match &made.codes {
            Some(codes) if self.codebook.started() => {
                self.codebook.update_ema(&to_vec(z), &to_indices(codes.clone()), rng);
            }
            _ => self.codebook.start(z, rng),
        }
    }
}
