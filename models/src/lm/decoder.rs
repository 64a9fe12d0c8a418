//! Drawing token by token on the CPU: the same computation as [`LmSession`](super::LmSession) has out of tensors, on
//! slices, from weights that [`LmConfig::decode`](super::LmConfig::decode) says how to keep.

use super::{Lm, Network, Prefix};
use crate::transformer::{DecodeBlock, DecodeState, Vocabulary, fused_linears};
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::Conditioning;
use musiva_core::parameters::to_vec;
use musiva_core::{Modality, Session};
use musiva_kernels::decode::{Matrix, Stored, rms_norm};
use std::sync::Arc;

/// The weights of a language model, laid out to draw token by token.
#[derive(Clone, Debug)]
pub struct Decoder {
    blocks: Vec<DecodeBlock>,
    norm: Vec<f32>,
    /// Of the clip, and of its sound where it has any.
    codes: Vec<Codes>,
    start: Vec<f32>,
}

/// The codes of one modality.
#[derive(Clone, Debug)]
struct Codes {
    base: usize,
    heads: Vec<Matrix>,
    /// Vectors of each digit's entries, and what heads learn of those before them.
    digits: Vec<Vec<f32>>,
    digit_conditioning: Vec<Vec<f32>>,
}

impl Codes {
    fn new(vocabulary: &Vocabulary, stored: Stored) -> Self {
        Self {
            base: vocabulary.written().base,
            heads: vocabulary.heads.iter().map(|head| fused_linears(&[head], stored)).collect(),
            digits: vocabulary.digits.iter().map(|digit| digit.on_host()).collect(),
            digit_conditioning: vocabulary.seen.iter().map(|seen| seen.on_host()).collect(),
        }
    }
}

impl Decoder {
    pub(super) fn new(network: &Network, stored: Stored) -> Self {
        let block = |block: &super::Block| {
            DecodeBlock::new(&block.norm1, &block.attention, &block.norm2, &block.feed_forward, stored)
        };
        Self {
            blocks: network.blocks.iter().map(block).collect(),
            norm: network.norm.on_host(),
            codes: network.codes.all().map(|vocabulary| Codes::new(vocabulary, stored)).collect(),
            start: to_vec(network.start.val()),
        }
    }
}

/// Canvases on their way.
pub struct DecoderSession {
    decoder: Arc<Decoder>,
    state: DecodeState,
    /// The vectors of the places to be made, and what is made there.
    positions: Vec<f32>,
    modalities: Vec<Modality>,
    /// Cosines and sines of all positions.
    rotary: [Vec<f32>; 2],
    /// Tokens whose places have been gone through.
    done: usize,
    /// The hidden state of the next token, `[B, D]`.
    hidden: Vec<f32>,
}

impl DecoderSession {
    pub(super) fn new(lm: &Lm, decoder: Arc<Decoder>, conditioning: &Conditioning) -> Self {
        let (batch, layout, width) = (conditioning.size(), &*conditioning.layout, decoder.start.len());
        let mut state = DecodeState::new(batch, lm.canvas.prompt + layout.length(), width, decoder.blocks.len());
        let (context, positions) = lm.network.places.of(layout);
        let rotary = lm.rotary.gather(layout).on_host();
        let prefix = to_vec(lm.network.prefix(conditioning, &lm.canvas, context));
        if !prefix.is_empty() {
            let length = prefix.len() / batch / width;
            // Positions that go through together see each other.
            let together = if lm.prefix == Prefix::BothWays { length } else { 1 };
            for from in (0..length).step_by(together) {
                let of = |sample| &prefix[(sample * length + from) * width..][..together * width];
                let mut x: Vec<f32> = (0..batch).flat_map(of).copied().collect();
                state.run(&decoder.blocks, &mut x, &rotary);
            }
        }
        let hidden = decoder.start.repeat(batch);
        let modalities = layout.target().iter().map(|&position| lm.canvas.modality(position)).collect();
        let mut session = Self { decoder, state, positions: to_vec(positions), modalities, rotary, done: 0, hidden };
        session.advance();
        session
    }

    /// Puts the hidden vectors at the place of the next token.
    fn advance(&mut self) {
        let Decoder { blocks, norm, .. } = &*self.decoder;
        let width = norm.len();
        for x in self.hidden.chunks_exact_mut(width) {
            add(x, &self.positions[self.done * width..]);
        }
        self.done += 1;
        self.state.run(blocks, &mut self.hidden, &self.rotary);
        rms_norm(&mut self.hidden, norm, 1e-6);
    }

    /// The codes of the token that is next.
    fn codes(&self) -> &Codes {
        &self.decoder.codes[usize::from(self.modalities[self.done - 1] == Modality::Audio)]
    }
}

/// Adds the first elements of `y` to `x`.
fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

impl Session for DecoderSession {
    fn heads(&self) -> usize {
        self.codes().heads.len()
    }

    fn logits(&self, digits: &[Vec<u32>]) -> Tensor<2> {
        let (head, width) = (&self.codes().heads[digits.len()], self.decoder.norm.len());
        let mut hidden = self.hidden.clone();
        for (table, digit) in self.codes().digit_conditioning.iter().zip(digits) {
            for (x, &entry) in hidden.chunks_exact_mut(width).zip(digit) {
                add(x, &table[entry as usize * width..]);
            }
        }
        let shape = [hidden.len() / width, head.columns()];
        let mut logits = vec![0.0; shape[0] * shape[1]];
        head.multiply(&hidden, &mut logits);
        Tensor::from_data(TensorData::new(logits, shape), &burn::tensor::Device::flex())
    }

    fn push(&mut self, codes: &[u32]) {
        if self.done == self.modalities.len() {
            return;
        }
        let width = self.decoder.norm.len();
        let mut hidden = std::mem::take(&mut self.hidden);
        let Codes { base, digits, .. } = self.codes();
        for (x, &code) in hidden.chunks_exact_mut(width).zip(codes) {
            x.fill(0.0);
            // Digits are written least significant last.
            let mut rest = code as usize;
            for table in digits.iter().rev() {
                add(x, &table[rest % base * width..]);
                rest /= base;
            }
        }
        self.hidden = hidden;
        self.advance();
    }
}
