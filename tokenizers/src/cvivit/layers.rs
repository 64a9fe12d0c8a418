//! The layers of a Transformer over places and over times.
//!
//! Shapes: `R` rows of a batch, `n` positions in each, `D` width, `N` heads, `d = D/N`. (The trunk of the
//! backbones has its like, with what drawing token by token needs; a tokenizer stands below a backbone.)

use crate::stream_state::StreamState;
use burn::module::{Module, Param};
use burn::tensor::module::linear;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::Init;
use musiva_kernels::{Visible, attention, gelu, rms_norm, rotary};

/// What keeps a norm from dividing by zero.
const EPSILON: f64 = 1e-6;
/// The slowest pair of a head turns once in so many positions: grids are small.
const SLOWEST: f64 = 100.0;

/// `y = x·W + b`.
#[derive(Module, Debug)]
pub struct Linear {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl Linear {
    /// Weights of deviation `gain/√input`.
    pub fn new(init: &Init, [input, output]: [usize; 2], gain: f32) -> Self {
        let std = gain / (input as f32).sqrt();
        Self { weight: init.part("weight").normal([input, output], std), bias: init.part("bias").zeros([output]) }
    }

    /// How many numbers it learns.
    pub fn parameters([input, output]: [usize; 2]) -> usize {
        (input + 1) * output
    }

    /// `[…, input]` → `[…, output]`.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        linear(x, self.weight.val(), Some(self.bias.val()))
    }
}

/// Root-mean-square norm with a learned gain (Zhang and Sennrich 2019).
#[derive(Module, Debug)]
pub struct RmsNorm {
    weight: Param<Tensor<1>>,
}

impl RmsNorm {
    /// Over the last dimension, `width` numbers.
    pub fn new(init: &Init, width: usize) -> Self {
        Self { weight: init.part("weight").ones([width]) }
    }

    /// `[…, D]` → the same shape.
    pub fn forward<const R: usize>(&self, x: Tensor<R>) -> Tensor<R> {
        rms_norm(x, self.weight.val(), EPSILON)
    }
}

/// Rotations of the pairs of a head by where a position stands.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rotary {
    /// Of the places of a frame in reading order: half of a head's pairs turn with the row, half with the
    /// column.
    pub fn positions([h, w]: [usize; 2], size: usize, device: &Device) -> Self {
        let places = (0..h).flat_map(|row| (0..w).map(move |column| [row, column]));
        Self::new(places, size, device)
    }

    /// Of `frames` moments, one after the other.
    pub fn moments(frames: usize, size: usize, device: &Device) -> Self {
        Self::new((0..frames).map(|frame| [frame]), size, device)
    }

    fn new<const A: usize>(positions: impl Iterator<Item = [usize; A]>, size: usize, device: &Device) -> Self {
        let pairs = size / 2;
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for position in positions {
            for pair in 0..pairs {
                let (axis, turn) = (pair * A / pairs, (pair * A % pairs) as f64 / pairs as f64);
                let angle = position[axis] as f64 * SLOWEST.powf(-turn);
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        let table = |values: Vec<f32>| {
            let shape = [values.len() / pairs, pairs];
            Tensor::from_data(TensorData::new(values, shape), device)
        };
        Self { cos: table(cos), sin: table(sin) }
    }

    /// Turns `[R, n, N, d]`, which stand at the `n` positions from `from` on.
    fn rotate(&self, x: Tensor<4>, from: usize) -> Tensor<4> {
        let n = x.dims()[1];
        let at = |table: &Tensor<2>| table.clone().slice_dim(0, from..from + n);
        rotary(x, at(&self.cos), at(&self.sin))
    }
}

/// Multi-head attention with normalised queries and keys (Dehghani et al. 2023, section 2).
#[derive(Module, Debug)]
pub struct Attention {
    query: Linear,
    key: Linear,
    value: Linear,
    query_norm: RmsNorm,
    key_norm: RmsNorm,
    out: Linear,
    #[module(skip)]
    heads: usize,
}

impl Attention {
    fn new(init: &Init, [width, heads]: [usize; 2], gain: f32) -> Self {
        let map = |name, gain| Linear::new(&init.part(name), [width; 2], gain);
        let norm = |name| RmsNorm::new(&init.part(name), width / heads);
        Self {
            query: map("query", 1.0),
            key: map("key", 1.0),
            value: map("value", 1.0),
            query_norm: norm("query_norm"),
            key_norm: norm("key_norm"),
            out: map("out", gain),
            heads,
        }
    }

    /// Queries, keys and values of `[R, n, D]`, `[R, n, N, d]` each.
    fn split(&self, x: Tensor<3>) -> [Tensor<4>; 3] {
        let [rows, n, width] = x.dims();
        let split = |map: &Linear| map.forward(x.clone()).reshape([rows, n, self.heads, width / self.heads]);
        [self.query_norm.forward(split(&self.query)), self.key_norm.forward(split(&self.key)), split(&self.value)]
    }

    fn join(&self, x: Tensor<4>) -> Tensor<3> {
        let [rows, n, heads, size] = x.dims();
        self.out.forward(x.reshape([rows, n, heads * size]))
    }

    /// `[R, n, D]` → the same shape: all see all.
    fn over_places(&self, x: Tensor<3>, rotary: &Rotary) -> Tensor<3> {
        let [q, k, v] = self.split(x);
        self.join(attention(rotary.rotate(q, 0), rotary.rotate(k, 0), v, Visible::Full))
    }

    /// `[R, n, D]` → the same shape: each moment sees itself and those before it, `window` in all. Keys are
    /// remembered as they were before their rotation: only distances matter, so a piece may count from
    /// wherever what is remembered starts.
    fn over_moments(&self, x: Tensor<3>, rotary: &Rotary, window: usize, state: &mut StreamState<5>) -> Tensor<3> {
        let n = x.dims()[1];
        let [q, k, v] = self.split(x);
        let both = state.recall(Tensor::stack(vec![k, v], 2), window - 1); // [R, m, 2, N, d]
        let m = both.dims()[1];
        let [k, v] = [0, 1].map(|i| both.clone().slice_dim(2, i..i + 1).squeeze_dim(2));
        self.join(attention(rotary.rotate(q, m - n), rotary.rotate(k, 0), v, Visible::Window(window)))
    }
}

/// `x + attention(norm(x))`, then `x + W₂·gelu(W₁·norm(x))` with four times the width inside.
#[derive(Module, Debug)]
pub struct Block {
    norm1: RmsNorm,
    attention: Attention,
    norm2: RmsNorm,
    up: Linear,
    down: Linear,
}

impl Block {
    /// A block of `[width, heads]` whose branches start `gain` times as large as an ordinary map.
    pub fn new(init: &Init, [width, heads]: [usize; 2], gain: f32) -> Self {
        Self {
            norm1: RmsNorm::new(&init.part("norm1"), width),
            attention: Attention::new(&init.part("attention"), [width, heads], gain),
            norm2: RmsNorm::new(&init.part("norm2"), width),
            up: Linear::new(&init.part("up"), [width, 4 * width], 1.0),
            down: Linear::new(&init.part("down"), [4 * width, width], gain),
        }
    }

    /// How many numbers it learns.
    pub fn parameters([width, heads]: [usize; 2]) -> usize {
        let maps = 4 * Linear::parameters([width; 2]);
        maps + Linear::parameters([width, 4 * width])
            + Linear::parameters([4 * width, width])
            + 2 * width
            + 2 * (width / heads)
    }

    /// Over the places of frames, `[B, t, h, w, D]` → the same shape.
    pub fn over_places(&self, x: Tensor<5>, rotary: &Rotary) -> Tensor<5> {
        let [b, t, h, w, width] = x.dims();
        let x = x.reshape([b * t, h * w, width]);
        let x = x.clone() + self.attention.over_places(self.norm1.forward(x), rotary);
        self.feed_forward(x).reshape([b, t, h, w, width])
    }

    /// Over the moments of places, `[B, t, h, w, D]` → the same shape.
    pub fn over_moments(&self, x: Tensor<5>, rotary: &Rotary, window: usize, state: &mut StreamState<5>) -> Tensor<5> {
        let [b, t, h, w, width] = x.dims();
        let places = |x: Tensor<4>| x.swap_dims(1, 2);
        let x = places(x.reshape([b, t, h * w, width])).reshape([b * h * w, t, width]);
        let x = x.clone() + self.attention.over_moments(self.norm1.forward(x), rotary, window, state);
        places(self.feed_forward(x).reshape([b, h * w, t, width])).reshape([b, t, h, w, width])
    }

    fn feed_forward(&self, x: Tensor<3>) -> Tensor<3> {
        x.clone() + self.down.forward(gelu(self.up.forward(self.norm2.forward(x))))
    }
}
