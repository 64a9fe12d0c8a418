//! Drawing token by token on the CPU: the same computation as [`LmSession`](super::LmSession) has out of tensors, on
//! slices, from weights that [`LmConfig::decode`](super::LmConfig::decode) says how to keep.

use super::{Lm, Prefix};
use crate::code_network::{Block, CodeNetwork, lengths};
use crate::transformer::{DecodeBlock, DecodeState, Vocabulary, fused_linears};
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::{Conditioning, Layout};
use musiva_core::parameters::to_vec;
use musiva_core::{CanvasShape, Result, Session};
use musiva_kernels::decode::{Matrix, Stored, rms_norm};
use std::ops::Range;
use std::sync::Arc;

/// The weights of a language model, laid out to draw token by token.
#[derive(Clone, Debug)]
pub struct Decoder {
    blocks: Vec<DecodeBlock>,
    norm: Vec<f32>,
    /// Of each track; nothing of those that are not generated.
    codes: Vec<Option<Codes>>,
    start: Vec<f32>,
}

/// The codes of one track.
#[derive(Clone, Debug)]
struct Codes {
    heads: Vec<Matrix>,
    /// Vectors of each digit's entries, and what heads learn of those before them.
    digits: Vec<Vec<f32>>,
    digit_conditioning: Vec<Vec<f32>>,
}

impl Codes {
    fn new(vocabulary: &Vocabulary, stored: Stored) -> Self {
        Self {
            heads: vocabulary.heads.iter().map(|head| fused_linears(&[head], stored)).collect(),
            digits: vocabulary.digits.iter().map(|digit| digit.on_host()).collect(),
            digit_conditioning: vocabulary.seen.iter().map(|seen| seen.on_host()).collect(),
        }
    }
}

impl Decoder {
    pub(super) fn new(network: &CodeNetwork, canvas: &CanvasShape, stored: Stored) -> Self {
        let block =
            |block: &Block| DecodeBlock::new(&block.norm1, &block.attention, &block.norm2, &block.feed_forward, stored);
        Self {
            blocks: network.blocks.iter().map(block).collect(),
            norm: network.norm.on_host(),
            codes: canvas
                .tracks
                .iter()
                .enumerate()
                .map(|(i, track)| track.target.then(|| Codes::new(network.tracks.of(i).vocabulary(), stored)))
                .collect(),
            start: to_vec(network.vector.val()),
        }
    }
}

/// Canvases on their way.
pub struct DecoderSession {
    decoder: Arc<Decoder>,
    state: DecodeState,
    /// What is to be generated, and the vectors of its positions: for all samples, or of each.
    layout: Arc<Layout>,
    positions: Vec<f32>,
    of_each: bool,
    /// Cosines and sines of all positions.
    rotary: [Vec<f32>; 2],
    /// Elements whose positions have been gone through.
    done: usize,
    /// The hidden state of the next element, `[B, D]`.
    hidden: Vec<f32>,
}

impl DecoderSession {
    pub(super) fn new(lm: &Lm, decoder: Arc<Decoder>, conditioning: &Conditioning) -> Result<Self> {
        let (batch, layout, width) = (conditioning.size, conditioning.layout.clone(), decoder.start.len());
        let mut state = DecodeState::new(batch, lengths(&layout).iter().sum(), width, decoder.blocks.len());
        let (context, positions) = lm.network.network.context(conditioning)?;
        let of_each = positions.dims()[0] > 1;
        let rotary = lm.rotary(&layout).on_host();
        if let Some(prefix) = context.map(to_vec) {
            let length = prefix.len() / batch / width;
            // Positions that go through together see each other.
            let together = if lm.config.prefix == Prefix::BothWays { length } else { 1 };
            for from in (0..length).step_by(together) {
                let of = |sample| &prefix[(sample * length + from) * width..][..together * width];
                let mut x: Vec<f32> = (0..batch).flat_map(of).copied().collect();
                state.run(&decoder.blocks, &mut x, &rotary);
            }
        }
        let hidden = decoder.start.repeat(batch);
        let mut session =
            Self { decoder, state, positions: to_vec(positions), of_each, layout, rotary, done: 0, hidden };
        session.advance();
        Ok(session)
    }

    /// Puts the hidden vectors at the position of the next element.
    fn advance(&mut self) {
        let Decoder { blocks, norm, .. } = &*self.decoder;
        let width = norm.len();
        let length = self.layout.elements().len();
        for (sample, x) in self.hidden.chunks_exact_mut(width).enumerate() {
            let row = if self.of_each { sample * length + self.done } else { self.done };
            add(x, &self.positions[row * width..]);
        }
        self.done += 1;
        self.state.run(blocks, &mut self.hidden, &self.rotary);
        rms_norm(&mut self.hidden, norm, 1e-6);
    }

    /// The codes of the next element.
    fn codes(&self) -> &Codes {
        let track = self.layout.elements()[self.done - 1].track;
        self.decoder.codes[track].as_ref().expect("what is generated has heads")
    }
}

/// Adds the first elements of `y` to `x`.
fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

impl Session for DecoderSession {
    fn digits(&self) -> Range<usize> {
        self.layout.elements()[self.done - 1].digits.clone()
    }

    fn logits(&self, picked: &[Vec<u32>]) -> Result<Tensor<2>> {
        let Codes { heads, digit_conditioning, .. } = self.codes();
        let (head, width) = (&heads[self.digits().start + picked.len()], self.decoder.norm.len());
        let mut hidden = self.hidden.clone();
        for (table, digit) in digit_conditioning.iter().zip(picked) {
            for (x, &entry) in hidden.chunks_exact_mut(width).zip(digit) {
                add(x, &table[entry as usize * width..]);
            }
        }
        let shape = [hidden.len() / width, head.columns()];
        let mut logits = vec![0.0; shape[0] * shape[1]];
        head.multiply(&hidden, &mut logits);
        Ok(Tensor::from_data(TensorData::new(logits, shape), &burn::tensor::Device::flex()))
    }

    fn push(&mut self, picked: &[Vec<u32>]) -> Result<()> {
        if self.done == self.layout.elements().len() {
            return Ok(());
        }
        let width = self.decoder.norm.len();
        let mut hidden = std::mem::take(&mut self.hidden);
        hidden.fill(0.0);
        let tables = &self.codes().digits[self.digits()];
        // The least significant first.
        for (table, digit) in tables.iter().zip(picked).rev() {
            for (x, &entry) in hidden.chunks_exact_mut(width).zip(digit) {
                add(x, &table[entry as usize * width..]);
            }
        }
        self.hidden = hidden;
        self.advance();
        Ok(())
    }
}
