//! Multi-head attention with normalised queries and keys and rotary positions.

use super::{Linear, RmsNorm, Rotary};
use burn::module::Module;
use burn::tensor::{Bool, Device, Tensor, TensorData};
use musiva_core::Init;
use musiva_kernels::softmax;

/// Who sees whom. The pattern is data: one attention serves every backbone.
#[derive(Clone, Debug)]
// There is one a model.
#[allow(clippy::large_enum_variant)]
pub enum Pattern {
    /// Everybody sees everybody.
    Full,
    /// A mask, true where a position is *not* seen: `[1, 1, N, N]`.
    Hidden(Tensor<4, Bool>),
}

impl Pattern {
    /// The first `prefix` positions see each other both ways, the rest see what is before them
    /// (prefix LM: Raffel et al. 2020, figure 3).
    pub fn prefix(prefix: usize, length: usize, device: &Device) -> Self {
        let hidden = (0..length * length).map(|i| {
            let (query, key) = (i / length, i % length);
            key > query && key >= prefix
        });
        let data = TensorData::new(hidden.collect::<Vec<bool>>(), [1, 1, length, length]);
        Self::Hidden(Tensor::from_data(data, device))
    }
}

/// Keys and values of the positions so far.
#[derive(Clone, Debug, Default)]
pub struct Cache(Option<[Tensor<4>; 2]>);

impl Cache {
    /// How many positions are remembered.
    pub fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |[keys, _]| keys.dims()[2])
    }

    /// Whether nothing is remembered.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    fn extend(&mut self, keys: Tensor<4>, values: Tensor<4>) -> [Tensor<4>; 2] {
        let all = match self.0.take() {
            None => [keys, values],
            Some([k, v]) => [Tensor::cat(vec![k, keys], 2), Tensor::cat(vec![v, values], 2)],
        };
        self.0.insert(all).clone()
    }
}

/// Multi-head attention.
#[derive(Module, Debug)]
pub struct Attention {
    qkv: Linear,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    out: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    /// `heads` heads over `width`; the output starts `gain` times as large as an ordinary map's.
    pub fn new(init: &Init, width: usize, heads: usize, gain: f32) -> Self {
        Self {
            qkv: Linear::without_bias(&init.part("qkv"), [width, 3 * width], 1.0),
            // Keeps the scores bounded (Dehghani et al. 2023, section 2).
            query_norm: RmsNorm::new(&init.part("query_norm"), width / heads),
            key_norm: RmsNorm::new(&init.part("key_norm"), width / heads),
            out: Linear::new(&init.part("out"), [width, width], gain),
            heads,
        }
    }

    /// How many numbers it learns.
    pub fn parameters(width: usize, heads: usize) -> usize {
        4 * width * width + width + 2 * (width / heads)
    }

    /// `[B, n, D]` → the same shape. With a cache the `n` positions follow those that it remembers,
    /// and see them all: the caller feeds a prefix at once, then one position at a time.
    pub fn forward(&self, x: Tensor<3>, rotary: &Rotary, pattern: &Pattern, cache: Option<&mut Cache>) -> Tensor<3> {
        let [batch, n, width] = x.dims();
        let size = width / self.heads;
        let qkv = self.qkv.forward(x).reshape([batch, n, 3, self.heads, size]).permute([2, 0, 3, 1, 4]);
        let part = |i: usize| qkv.clone().slice_dim(0, i..i + 1).reshape([batch, self.heads, n, size]);
        let from = cache.as_ref().map_or(0, |cache| cache.len());
        let q = rotary.turn(self.query_norm.forward(part(0)), from);
        let k = rotary.turn(self.key_norm.forward(part(1)), from);
        let v = part(2);
        let [k, v] = match cache {
            Some(cache) => cache.extend(k, v),
            None => [k, v],
        };
        let mut scores = (q * (size as f64).powf(-0.5)).matmul(k.swap_dims(2, 3)); // [B, H, n, N]
        if let Pattern::Hidden(hidden) = pattern {
            scores = scores.mask_fill(hidden.clone(), f32::NEG_INFINITY);
        }
        let y = softmax(scores).matmul(v); // [B, H, n, d]
        self.out.forward(y.swap_dims(1, 2).reshape([batch, n, width]))
    }
}
