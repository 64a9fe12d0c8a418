//! MAGVIT-v2's video tokenizer: a causal 3-D convolutional autoencoder round a quantizer.
//!
//! Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation", ICLR 2024. The
//! paper's body and light ones that train on a laptop are recipes of the same code: the paper has no
//! patches before its first convolution, group norms, and in the decoder norms that the latents steer.
//! Its group norm is taken here of each frame by itself: over all frames it would see later ones.

mod config;
mod inflate;
mod layers;
mod network;
#[cfg(test)]
mod tests;

pub use crate::video::to_tensor;
pub use config::{Magvit2Config, NormConfig, Stage};

use crate::quantizers::AnyQuantizer;
use crate::stream_state::StreamState;
use crate::video::{VideoNetwork, VideoTokenizer};
use burn::module::Module;
use burn::tensor::Tensor;
use network::{Decoder, Encoder};

/// The tokenizer with its weights.
pub type Magvit2 = VideoTokenizer<Network>;

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
