//! C-ViViT, Phenaki's video tokenizer: patches, a Transformer over the places of each frame, a causal
//! Transformer over the frames of each place, a quantizer, and the same backwards.
//!
//! Villegas et al., "Phenaki: Variable Length Video Generation from Open Domain Textual Description", ICLR
//! 2023, section 2.1. What is not the paper's: places and times are told by rotations (Su et al. 2021)
//! instead of learned tables, so that any size and any length will do; queries and keys are normalised; and a
//! temporal layer looks back over a window, so that memory does not grow with the clip.

mod config;
mod layers;
mod network;
#[cfg(test)]
mod tests;

pub use config::CVivitConfig;

use crate::quantizers::AnyQuantizer;
use crate::stream_state::StreamState;
use crate::video::{VideoNetwork, VideoTokenizer};
use burn::module::Module;
use burn::tensor::Tensor;
use network::{Decoder, Encoder};

/// The tokenizer with its weights.
pub type CVivit = VideoTokenizer<Network>;

/// Encoder, quantizer, decoder.
#[derive(Module, Debug)]
pub struct Network {
    encoder: Encoder,
    decoder: Decoder,
    quantizer: AnyQuantizer,
}

impl VideoNetwork for Network {
    fn encode(&self, clip: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        self.encoder.forward(clip, state)
    }

    fn decode(&self, latents: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5> {
        self.decoder.forward(latents, state)
    }

    fn quantizer(&self) -> &AnyQuantizer {
        &self.quantizer
    }

    fn quantizer_mut(&mut self) -> &mut AnyQuantizer {
        &mut self.quantizer
    }
}
