//! A block as the CPU runs it to draw token by token: on slices, with the weights in few bytes.

use super::layers::NORM_EPSILON;
use super::{Attention, FeedForward, RmsNorm, fused_linears};
use musiva_kernels::decode::{Matrix, Stored, attention, gelu, rms_norm, rotary, step};

/// `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
#[derive(Clone, Debug)]
pub struct DecodeBlock {
    norm1: Vec<f32>,
    query_key_value: Matrix,
    query_norm: Vec<f32>,
    key_norm: Vec<f32>,
    heads: usize,
    out: Matrix,
    norm2: Vec<f32>,
    up: Matrix,
    down: Matrix,
}

/// Keys and values of one block, `[B, H, capacity, D/H]` each.
#[derive(Clone, Debug)]
struct KvCache {
    keys: Vec<f32>,
    values: Vec<f32>,
}

/// What blocks need to go through a canvas: their caches, and room to compute in, which is kept from step to step.
#[derive(Clone, Debug)]
pub struct DecodeState {
    batch: usize,
    /// Positions that stand in the caches.
    done: usize,
    capacity: usize,
    caches: Vec<KvCache>,
    y: Vec<f32>,
    query_key_value: Vec<f32>,
    queries: Vec<f32>,
    keys: Vec<f32>,
    hidden: Vec<f32>,
    scratch: Vec<f32>,
}

impl DecodeState {
    /// For `batch` canvases of `capacity` positions, of which none has been seen.
    pub fn new(batch: usize, capacity: usize, width: usize, blocks: usize) -> Self {
        let cache =
            || KvCache { keys: vec![0.0; batch * capacity * width], values: vec![0.0; batch * capacity * width] };
        let empty = Vec::new;
        Self {
            batch,
            done: 0,
            capacity,
            caches: (0..blocks).map(|_| cache()).collect(),
            y: empty(),
            query_key_value: empty(),
            queries: empty(),
            keys: empty(),
            hidden: empty(),
            scratch: empty(),
        }
    }

    /// Goes through the next positions by all blocks: `x` is `[B, n, D]`; `tables` are those of the whole canvas.
    /// Each position sees all that are in the caches then, its neighbours among them.
    pub fn run(&mut self, blocks: &[DecodeBlock], x: &mut [f32], tables: &[Vec<f32>; 2]) {
        step(|| blocks.iter().enumerate().for_each(|(i, block)| block.run(self, i, x, tables)));
        self.done += x.len() / self.batch / blocks[0].norm1.len();
    }
}

impl DecodeBlock {
    /// The block of these parts.
    pub fn new(
        norm1: &RmsNorm,
        attention: &Attention,
        norm2: &RmsNorm,
        feed_forward: &FeedForward,
        stored: Stored,
    ) -> Self {
        let Attention { query, key, value, query_norm, key_norm, out, heads } = attention;
        Self {
            norm1: norm1.on_host(),
            query_key_value: fused_linears(&[query, key, value], stored),
            query_norm: query_norm.on_host(),
            key_norm: key_norm.on_host(),
            heads: *heads,
            out: fused_linears(&[out], stored),
            norm2: norm2.on_host(),
            up: fused_linears(&[&feed_forward.up], stored),
            down: fused_linears(&[&feed_forward.down], stored),
        }
    }

    fn run(&self, state: &mut DecodeState, block: usize, x: &mut [f32], tables: &[Vec<f32>; 2]) {
        let DecodeState { batch, done, capacity, caches, y, query_key_value, queries, keys, hidden, scratch } = state;
        let (width, size) = (self.norm1.len(), self.query_norm.len());
        let n = x.len() / width / *batch;
        y.clear();
        y.extend_from_slice(x);
        rms_norm(y, &self.norm1, NORM_EPSILON as f32);
        query_key_value.resize(3 * x.len(), 0.0);
        self.query_key_value.multiply(y, query_key_value);
        queries.clear();
        keys.clear();
        for row in query_key_value.chunks_exact(3 * width) {
            queries.extend_from_slice(&row[..width]);
            keys.extend_from_slice(&row[width..2 * width]);
        }
        let [cos, sin] = tables.each_ref().map(|table| &table[*done * size / 2..(*done + n) * size / 2]);
        for (rows, gains) in [(&mut *queries, &self.query_norm), (keys, &self.key_norm)] {
            rms_norm(rows, gains, NORM_EPSILON as f32);
            rotary(rows, [self.heads, size], cos, sin);
        }
        let cache = &mut caches[block];
        for (i, row) in query_key_value.chunks_exact(3 * width).enumerate() {
            let (keys, values) = (&keys[i * width..][..width], &row[2 * width..]);
            for (head, (key, value)) in keys.chunks_exact(size).zip(values.chunks_exact(size)).enumerate() {
                let at = ((i / n * self.heads + head) * *capacity + *done + i % n) * size;
                cache.keys[at..at + size].copy_from_slice(key);
                cache.values[at..at + size].copy_from_slice(value);
            }
        }
        let sizes = [*batch, self.heads, size];
        attention(sizes, queries, &cache.keys, &cache.values, *done + n, y, scratch);
        // The queries are no longer wanted.
        self.out.multiply(y, queries);
        x.iter_mut().zip(&*queries).for_each(|(x, y)| *x += y);

        y.copy_from_slice(x);
        rms_norm(y, &self.norm2, NORM_EPSILON as f32);
        hidden.resize(x.len() / width * self.up.columns(), 0.0);
        self.up.multiply(y, hidden);
        gelu(hidden);
        self.down.multiply(hidden, y);
        x.iter_mut().zip(&*y).for_each(|(x, y)| *x += y);
    }
}
