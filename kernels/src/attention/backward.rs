//! The gradients, from the scores computed once more (Dao et al., arXiv 2205.14135, algorithm 4).

use std::ops::Range;

use rayon::prelude::*;

use super::product::{PANEL, Product};
use super::tile::{Head, Heads, KEYS, QUERIES, Step, query_tile, query_tiles, steps};
use super::visible::View;
use super::{PARALLEL, Sizes};
use crate::rows::Rows;
use crate::simd::{Routine, exp, run_fused};

/// What the gradients are computed from: the operands, the value, the gradient by it, and what
/// [`forward::value`](super::forward::value) kept.
#[derive(Clone, Copy)]
pub(super) struct Saved<'a> {
    pub q: Heads<'a>,
    pub k: Heads<'a>,
    pub v: Heads<'a>,
    pub value: Heads<'a>,
    pub grad: Heads<'a>,
    pub log_sums: &'a [f32],
}

/// Writes the gradients by the queries, `[B, n, H, d]`, and by keys and values, `[B, m, G, d]`. A key-value head is
/// one unit of work, so that each sum has one order.
pub(super) fn gradients(sizes: Sizes, view: View, saved: Saved, by_q: &mut [f32], by_k: &mut [f32], by_v: &mut [f32]) {
    let Sizes { batch, queries, keys, heads, group, width } = sizes;
    let (by_q, by_k, by_v) = (Rows::new(by_q), Rows::new(by_k), Rows::new(by_v));
    let shared = heads / group;
    let scale = 1.0 / (width as f32).sqrt();
    let work = |scratch: &mut Scratch, unit: usize| {
        let (example, shared_head) = (unit / shared, unit % shared);
        let (k, v) = (saved.k.head(example, shared_head), saved.v.head(example, shared_head));
        scratch.by_keys.fill(0.0);
        scratch.by_values.fill(0.0);
        for head in shared_head * group..(shared_head + 1) * group {
            for tile in 0..query_tiles(queries) {
                let rows = query_tile(tile, queries);
                let log_sums = &saved.log_sums[(example * heads + head) * queries..][rows.clone()];
                let [q, value, grad] = [saved.q, saved.value, saved.grad].map(|x| x.head(example, head));
                scratch.take(q, value, grad, log_sums, &rows);
                for step in steps(view, rows.clone()) {
                    scratch.run(k, v, view, &rows, &step);
                }
                for (lane, i) in rows.clone().enumerate() {
                    // SAFETY: a row belongs to one head, whose rows come one after the other.
                    let row = unsafe { by_q.row(((example * queries + i) * heads + head) * width, width) };
                    let column = scratch.by_queries[lane..].iter().step_by(scratch.lanes);
                    row.iter_mut().zip(column).for_each(|(out, x)| *out = x * scale);
                }
            }
        }
        for (out, sums) in [(&by_k, &scratch.by_keys), (&by_v, &scratch.by_values)] {
            for (j, sums) in sums.chunks_exact(scratch.padded).enumerate() {
                // SAFETY: a row belongs to one shared head, whose rows come one after the other.
                let row = unsafe { out.row(((example * keys + j) * shared + shared_head) * width, width) };
                row.copy_from_slice(&sums[..width]);
            }
        }
    };
    let units = batch * shared;
    if sizes.operations() < PARALLEL {
        let mut scratch = Scratch::new(keys, width);
        (0..units).for_each(|unit| work(&mut scratch, unit));
    } else {
        (0..units).into_par_iter().for_each_init(|| Scratch::new(keys, width), work);
    }
}

struct Scratch {
    /// Numbers in a row of a head, rounded up to whole panels.
    padded: usize,
    /// Queries of the tile, rounded up to whole panels.
    lanes: usize,
    /// Queries, divided by √d, and the gradient by the value: `[lanes, padded]`.
    queries: Vec<f32>,
    grads: Vec<f32>,
    /// The same, `[d, lanes]`.
    query_columns: Vec<f32>,
    grad_columns: Vec<f32>,
    /// `[KEYS, lanes]`: the probabilities, and the gradient by the scores.
    probabilities: Vec<f32>,
    by_scores: Vec<f32>,
    /// The gradients: `[d, lanes]`, divided by the scale, and `[m, padded]`.
    by_queries: Vec<f32>,
    by_keys: Vec<f32>,
    by_values: Vec<f32>,
    log_sums: [f32; QUERIES],
    /// The inner products of the value and the gradient by it.
    along_value: [f32; QUERIES],
}

impl Scratch {
    fn new(keys: usize, width: usize) -> Self {
        let padded = width.next_multiple_of(PANEL);
        let zeros = |n: usize| vec![0.0; n];
        Self {
            padded,
            lanes: 0,
            queries: zeros(QUERIES * padded),
            grads: zeros(QUERIES * padded),
            query_columns: zeros(width * QUERIES),
            grad_columns: zeros(width * QUERIES),
            probabilities: zeros(KEYS * QUERIES),
            by_scores: zeros(KEYS * QUERIES),
            by_queries: zeros(width * QUERIES),
            by_keys: zeros(keys * padded),
            by_values: zeros(keys * padded),
            log_sums: [0.0; QUERIES],
            along_value: [0.0; QUERIES],
        }
    }

    /// Begins a tile of queries.
    fn take(&mut self, q: Head, value: Head, grad: Head, log_sums: &[f32], rows: &Range<usize>) {
        let (lanes, padded) = (rows.len().next_multiple_of(PANEL), self.padded);
        let scale = 1.0 / (q.width as f32).sqrt();
        self.lanes = lanes;
        q.write_rows(rows, scale, padded, &mut self.queries);
        grad.write_rows(rows, 1.0, padded, &mut self.grads);
        q.write_columns(rows, scale, lanes, &mut self.query_columns);
        grad.write_columns(rows, 1.0, lanes, &mut self.grad_columns);
        self.by_queries.fill(0.0);
        self.log_sums.fill(0.0);
        self.log_sums[..rows.len()].copy_from_slice(log_sums);
        self.along_value.fill(0.0);
        for (along, i) in self.along_value.iter_mut().zip(rows.clone()) {
            *along = crate::simd::sum(value.row(i), grad.row(i), |y, g| y * g);
        }
    }

    /// Adds what a tile of keys contributes.
    fn run(&mut self, k: Head, v: Head, view: View, rows: &Range<usize>, step: &Step) {
        let Step { keys, lanes: seeing, .. } = step;
        let (width, lanes, padded) = (k.width, self.lanes, self.padded);
        let probabilities = &mut self.probabilities[..keys.len() * lanes];
        let by_scores = &mut self.by_scores[..keys.len() * lanes];
        // Keys against queries, values against gradients.
        let across = |a: Head<'_>, b: &[f32], out: &mut [f32]| {
            let product = Product {
                rows: keys.len(),
                depth: width,
                columns: seeing.len(),
                a: a.from(keys.start),
                a_row: a.stride,
                a_column: 1,
                b: &b[seeing.start..],
                b_row: lanes,
                out_row: lanes,
                add: false,
            };
            product.write(&mut out[seeing.start..]);
        };
        across(k, &self.query_columns, probabilities);
        across(v, &self.grad_columns, by_scores);
        step.hide(probabilities, lanes, view, rows);
        run_fused(ByScores {
            probabilities,
            by_scores,
            lanes,
            panels: seeing.start / PANEL..seeing.end / PANEL,
            log_sums: &self.log_sums,
            along_value: &self.along_value,
        });
        // Sums over the queries.
        let down = |a: &[f32], b: &[f32], out: &mut [f32]| {
            let product = Product {
                rows: keys.len(),
                depth: seeing.end.min(rows.len()) - seeing.start,
                columns: padded,
                a: &a[seeing.start..],
                a_row: lanes,
                a_column: 1,
                b: &b[seeing.start * padded..],
                b_row: padded,
                out_row: padded,
                add: true,
            };
            product.write(&mut out[keys.start * padded..]);
        };
        down(probabilities, &self.grads, &mut self.by_values);
        down(by_scores, &self.queries, &mut self.by_keys);
        let product = Product {
            rows: width,
            depth: keys.len(),
            columns: seeing.len(),
            a: k.from(keys.start),
            a_row: 1,
            a_column: k.stride,
            b: &by_scores[seeing.start..],
            b_row: lanes,
            out_row: lanes,
            add: true,
        };
        product.write(&mut self.by_queries[seeing.start..]);
    }
}

/// Replaces scores by probabilities, and the gradient by the probabilities by that by the scores.
struct ByScores<'a> {
    probabilities: &'a mut [f32],
    by_scores: &'a mut [f32],
    lanes: usize,
    panels: Range<usize>,
    log_sums: &'a [f32; QUERIES],
    along_value: &'a [f32; QUERIES],
}

impl Routine for ByScores<'_> {
    #[inline(always)]
    fn run<const WIDE: bool, const FUSED: bool>(self) {
        let rows = self.probabilities.chunks_exact_mut(self.lanes).zip(self.by_scores.chunks_exact_mut(self.lanes));
        for (p, g) in rows {
            let (p, g) = (p.as_chunks_mut::<PANEL>().0, g.as_chunks_mut::<PANEL>().0);
            let (log_sums, along_value) =
                (self.log_sums.as_chunks::<PANEL>().0, self.along_value.as_chunks::<PANEL>().0);
            for i in self.panels.clone() {
                let (p, g) = (&mut p[i], &mut g[i]);
                for l in 0..PANEL {
                    p[l] = exp(p[l] - log_sums[i][l]);
                    g[l] = p[l] * (g[l] - along_value[i][l]);
                }
            }
        }
    }
}
