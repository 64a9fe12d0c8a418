//! Multi-head attention with normalised queries and keys and rotary positions.

use super::{Linear, RmsNorm, Rotary, TrunkConfig};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use musiva_core::Init;
use musiva_kernels::{Visible, attention};

/// Keys and values of the positions so far: `[B, capacity, H, d]` each, of which the first are filled.
#[derive(Clone, Debug)]
pub struct KvCache {
    keys: Tensor<4>,
    values: Tensor<4>,
    len: usize,
}

impl KvCache {
    /// An empty cache with room for `[B, capacity, H, d]`.
    pub fn new(buffer: [usize; 4], device: &Device) -> Self {
        let buffer = Tensor::zeros(buffer, device);
        Self { keys: buffer.clone(), values: buffer, len: 0 }
    }

    /// The first position's value, as numbers.
    #[cfg(test)]
    pub fn first_value(&self) -> Vec<f32> {
        musiva_core::parameters::to_vec(self.values.clone().slice_dim(0, 0..1).slice_dim(1, 0..1))
    }

    /// Remembers `n` more positions; returns the keys and the values of all.
    fn extend(&mut self, keys: Tensor<4>, values: Tensor<4>) -> [Tensor<4>; 2] {
        let [batch, n, heads, size] = keys.dims();
        let at = [0..batch, self.len..self.len + n, 0..heads, 0..size];
        self.len += n;
        // The tensors are moved out and in, so that the new rows are written in place.
        let all = |buffer: &mut Tensor<4>, new| {
            let old = std::mem::replace(buffer, Tensor::zeros([1, 1, 1, 1], &buffer.device()));
            *buffer = old.slice_assign(at.clone(), new);
            buffer.clone().slice_dim(1, 0..self.len)
        };
        [all(&mut self.keys, keys), all(&mut self.values, values)]
    }
}

/// Multi-head attention.
#[derive(Module, Debug)]
pub struct Attention {
    pub(super) query: Linear,
    pub(super) key: Linear,
    pub(super) value: Linear,
    pub(super) query_norm: RmsNorm,
    pub(super) key_norm: RmsNorm,
    pub(super) out: Linear,
    #[module(skip)]
    pub(super) heads: usize,
}

impl Attention {
    /// As the trunk is; the output starts `gain` times as large as an ordinary map's.
    pub fn new(init: &Init, config: &TrunkConfig, gain: f32) -> Self {
        let TrunkConfig { width, heads, precision, .. } = *config;
        let map = |name| Linear::without_bias(&init.part(name), [width, width], 1.0).in_precision(precision);
        Self {
            query: map("query"),
            key: map("key"),
            value: map("value"),
            // Keeps the scores bounded (Dehghani et al. 2023, section 2).
            query_norm: RmsNorm::new(&init.part("query_norm"), width / heads),
            key_norm: RmsNorm::new(&init.part("key_norm"), width / heads),
            out: Linear::new(&init.part("out"), [width, width], gain).in_precision(precision),
            heads,
        }
    }

    /// How many numbers it learns.
    pub fn parameters(width: usize, heads: usize) -> usize {
        4 * width * width + width + 2 * (width / heads)
    }

    /// `[B, n, D]` → the same shape. With a cache the `n` positions follow those that it remembers.
    pub fn forward(&self, x: Tensor<3>, rotary: &Rotary, visible: Visible, cache: Option<&mut KvCache>) -> Tensor<3> {
        let [batch, n, width] = x.dims();
        let split = |x: Tensor<3>| x.reshape([batch, n, self.heads, width / self.heads]);
        let from = cache.as_ref().map_or(0, |cache| cache.len);
        let q = rotary.rotate(self.query_norm.forward(split(self.query.forward(x.clone()))), from);
        let k = rotary.rotate(self.key_norm.forward(split(self.key.forward(x.clone()))), from);
        let v = split(self.value.forward(x));
        let [k, v] = match cache {
            Some(cache) => cache.extend(k, v),
            None => [k, v],
        };
        self.out.forward(attention(q, k, v, visible).reshape([batch, n, width]))
    }
}
