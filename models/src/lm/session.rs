//! Decoding element by element on any device, with a cache of keys and values.

use super::Lm;
use crate::code_network::lengths;
use crate::transformer::{KvCache, Rotary, Vocabulary};
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::{Conditioning, Layout, ints};
use musiva_core::{Result, Session};
use musiva_kernels::Visible;
use std::ops::Range;
use std::sync::Arc;

/// Canvases on their way, on any device.
pub struct LmSession {
    lm: Lm,
    layout: Arc<Layout>,
    rotary: Rotary,
    positions: Tensor<3>,
    pub(super) caches: Vec<KvCache>,
    batch: usize,
    /// Elements whose hidden states have been computed.
    done: usize,
    hidden: Tensor<3>,
}

impl LmSession {
    pub fn new(lm: &Lm, conditioning: &Conditioning) -> Result<Self> {
        let lm = Lm { network: lm.network.valid(), ..lm.clone() };
        let (batch, layout, network) = (conditioning.size, conditioning.layout.clone(), &lm.network.network);
        let device = lm.device.clone().inner();
        let (width, heads) = (network.width(), lm.config.heads);
        let cache = KvCache::new([batch, lengths(&layout).iter().sum(), heads, width / heads], &device);
        let (context, positions) = network.context(conditioning)?;
        let start = network.vector().expand([batch, 1, width]);
        let mut session = Self {
            rotary: lm.rotary(&layout),
            positions,
            caches: vec![cache; network.blocks.len()],
            batch,
            done: 0,
            hidden: Tensor::zeros([batch, 1, 1], &device),
            layout,
            lm,
        };
        if let Some(context) = context {
            let visible = session.lm.config.prefix.visible(lengths(&session.layout)[0]);
            session.run(context, visible);
        }
        session.hidden = session.advance(start);
        Ok(session)
    }

    /// The vocabulary of the next element.
    fn vocabulary(&self) -> &Vocabulary {
        self.lm.network.network.tracks.of(self.layout.elements()[self.done - 1].track).vocabulary()
    }

    fn run(&mut self, mut x: Tensor<3>, visible: Visible) -> Tensor<3> {
        let network = &self.lm.network.network;
        for (block, cache) in network.blocks.iter().zip(&mut self.caches) {
            x = block.forward(x, &self.rotary, visible, Some(cache));
        }
        network.norm.forward(x)
    }

    /// Puts `[B, 1, D]` at the position of the next element.
    fn advance(&mut self, x: Tensor<3>) -> Tensor<3> {
        let position = self.positions.clone().slice_dim(1, self.done..self.done + 1);
        self.done += 1;
        self.run(x + position, Visible::Causal)
    }
}

impl Session for LmSession {
    fn digits(&self) -> Range<usize> {
        self.layout.elements()[self.done - 1].digits.clone()
    }

    fn logits(&self, picked: &[Vec<u32>]) -> Result<Tensor<2>> {
        let device = self.lm.device.clone().inner();
        let digit = self.digits().start + picked.len();
        let picked: Vec<_> = picked.iter().map(|digit| ints(digit, [self.batch, 1], &device)).collect();
        let logits = self.vocabulary().logits(self.hidden.clone(), digit, &picked);
        let entries = logits.dims()[2];
        Ok(logits.reshape([self.batch, entries]))
    }

    fn push(&mut self, picked: &[Vec<u32>]) -> Result<()> {
        if self.done == self.layout.elements().len() {
            return Ok(());
        }
        let device = self.lm.device.clone().inner();
        let vocabulary = self.vocabulary();
        let embed = |(digit, picked): (usize, &Vec<u32>)| {
            vocabulary.digits[digit].forward(ints(picked, [self.batch, 1], &device))
        };
        let all = self.digits().zip(picked).map(embed).reduce(|a, b| a + b);
        let width = self.lm.network.network.width();
        let x = all.unwrap_or_else(|| Tensor::from_data(TensorData::zeros::<f32, _>([self.batch, 1, width]), &device));
        self.hidden = self.advance(x);
        Ok(())
    }
}
