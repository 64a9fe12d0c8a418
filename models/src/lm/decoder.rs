//! Drawing token by token on the CPU: the same computation as [`LmSession`](super::LmSession) has out of tensors, on
//! slices, from weights that [`LmConfig::decode`](super::LmConfig::decode) says how to keep.

use super::{Lm, Network};
use crate::transformer::{DecodeBlock, Room, Rotary, side_by_side};
use burn::tensor::{Int, Tensor, TensorData};
use musiva_core::Session;
use musiva_core::parameters::to_vec;
use musiva_kernels::decode::{Matrix, Stored, rms_norm};
use std::sync::Arc;

/// The weights of a language model, laid out to draw token by token.
#[derive(Clone, Debug)]
pub struct Decoder {
    blocks: Vec<DecodeBlock>,
    norm: Vec<f32>,
    heads: Vec<Matrix>,
    /// Vectors of each digit's entries, what heads learn of those before them, and the vectors of the places.
    digits: Vec<Vec<f32>>,
    seen: Vec<Vec<f32>>,
    places: Vec<f32>,
    start: Vec<f32>,
    /// Cosines and sines of all positions.
    rotary: [Vec<f32>; 2],
}

impl Decoder {
    pub(super) fn new(network: &Network, rotary: &Rotary, stored: Stored) -> Self {
        let block = |block: &super::Block| {
            DecodeBlock::new(&block.norm1, &block.attention, &block.norm2, &block.feed_forward, stored)
        };
        Self {
            blocks: network.blocks.iter().map(block).collect(),
            norm: network.norm.on_host(),
            heads: network.heads.iter().map(|head| side_by_side(&[head], stored)).collect(),
            digits: network.digits.iter().map(|digit| digit.on_host()).collect(),
            seen: network.seen.iter().map(|seen| seen.on_host()).collect(),
            places: to_vec(network.places.tokens()),
            start: to_vec(network.start.val()),
            rotary: rotary.on_host(),
        }
    }
}

/// Canvases on their way.
pub struct DecoderSession {
    decoder: Arc<Decoder>,
    room: Room,
    base: usize,
    length: usize,
    /// Tokens whose places have been gone through.
    done: usize,
    /// The hidden state of the next token, `[B, D]`.
    hidden: Vec<f32>,
}

impl DecoderSession {
    /// After the prompts, `[B, P]`.
    pub(super) fn new(lm: &Lm, decoder: Arc<Decoder>, prompt: Tensor<2, Int>) -> Self {
        let (batch, width) = (prompt.dims()[0], decoder.start.len());
        let mut room = Room::new(batch, lm.canvas.length(), width, decoder.blocks.len());
        if lm.canvas.prompt > 0 {
            room.run(&decoder.blocks, &mut to_vec(lm.network.prompt(prompt)), &decoder.rotary);
        }
        let hidden = decoder.start.repeat(batch);
        let mut session = Self { decoder, room, base: lm.base, length: lm.canvas.tokens.length(), done: 0, hidden };
        session.place();
        session
    }

    /// Puts the hidden vectors at the place of the next token.
    fn place(&mut self) {
        let Decoder { blocks, norm, places, rotary, .. } = &*self.decoder;
        let width = norm.len();
        for x in self.hidden.chunks_exact_mut(width) {
            add(x, &places[self.done * width..]);
        }
        self.done += 1;
        self.room.run(blocks, &mut self.hidden, rotary);
        rms_norm(&mut self.hidden, norm, 1e-6);
    }
}

/// Adds the first elements of `y` to `x`.
fn add(x: &mut [f32], y: &[f32]) {
    x.iter_mut().zip(y).for_each(|(x, y)| *x += y);
}

impl Session for DecoderSession {
    fn heads(&self) -> usize {
        self.decoder.heads.len()
    }

    fn logits(&self, digits: &[Vec<u32>]) -> Tensor<2> {
        let (head, width) = (&self.decoder.heads[digits.len()], self.decoder.norm.len());
        let mut hidden = self.hidden.clone();
        for (table, digit) in self.decoder.seen.iter().zip(digits) {
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
        if self.done == self.length {
            return;
        }
        let width = self.decoder.norm.len();
        for (x, &code) in self.hidden.chunks_exact_mut(width).zip(codes) {
            x.fill(0.0);
            // Digits are written least significant last.
            let mut rest = code as usize;
            for table in self.decoder.digits.iter().rev() {
                add(x, &table[rest % self.base * width..]);
                rest /= self.base;
            }
        }
        self.place();
    }
}
