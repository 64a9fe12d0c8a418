//! The value: scores, softmax and weighted sum, tile by tile (Dao et al., arXiv 2205.14135, algorithm 1, with the
//! order of the loops of arXiv 2307.08691).

use std::ops::Range;

use rayon::prelude::*;

use super::product::{PANEL, Product};
use super::tile::{Head, Heads, KEYS, QUERIES, query_tile, query_tiles, steps};
use super::visible::View;
use super::{PARALLEL, Sizes};
use crate::rows::Rows;
use crate::simd::{Routine, exp, run_fused};

/// Writes the value `[B, n, H, d]` and the logarithms of the sums of exponentials of the scores, `[B, H, n]`.
pub(super) fn value(sizes: Sizes, view: View, q: Heads, k: Heads, v: Heads, value: &mut [f32], log_sums: &mut [f32]) {
    let Sizes { batch, queries, heads, group, width, .. } = sizes;
    let (value, log_sums) = (Rows::new(value), Rows::new(log_sums));
    let tiles = query_tiles(queries);
    let work = |scratch: &mut Scratch, unit: usize| {
        let (tile, head, example) = (unit % tiles, unit / tiles % heads, unit / tiles / heads);
        let rows = query_tile(tile, queries);
        let (k, v) = (k.head(example, head / group), v.head(example, head / group));
        scratch.run(q.head(example, head), k, v, view, &rows);
        for (lane, i) in rows.clone().enumerate() {
            // SAFETY: a row of the value belongs to one tile of one head.
            let row = unsafe { value.row(((example * queries + i) * heads + head) * width, width) };
            scratch.write_row(lane, row);
        }
        // SAFETY: a row of a head belongs to one tile.
        let log_sums = unsafe { log_sums.row((example * heads + head) * queries + rows.start, rows.len()) };
        scratch.write_log_sums(log_sums);
    };
    let units = batch * heads * tiles;
    if sizes.operations() < PARALLEL {
        let mut scratch = Scratch::new(width);
        (0..units).for_each(|unit| work(&mut scratch, unit));
    } else {
        (0..units).into_par_iter().for_each_init(|| Scratch::new(width), work);
    }
}

/// What a tile of queries has seen so far. A column of each matrix belongs to one query.
struct Scratch {
    /// Queries of the tile, rounded up to whole panels.
    lanes: usize,
    /// `[d, lanes]`, divided by √d.
    queries: Vec<f32>,
    /// `[KEYS, lanes]`: scores, then their exponentials.
    scores: Vec<f32>,
    /// `[d, lanes]`: the sum of the values, weighted by the exponentials.
    weighted: Vec<f32>,
    statistics: Statistics,
}

/// The softmax of each query, as far as the keys have been seen.
struct Statistics {
    largest: [f32; QUERIES],
    /// Of the exponentials of the differences to the largest score.
    sum: [f32; QUERIES],
}

impl Scratch {
    fn new(width: usize) -> Self {
        let statistics = Statistics { largest: [0.0; QUERIES], sum: [0.0; QUERIES] };
        Self {
            lanes: 0,
            queries: vec![0.0; width * QUERIES],
            scores: vec![0.0; KEYS * QUERIES],
            weighted: vec![0.0; width * QUERIES],
            statistics,
        }
    }

    fn run(&mut self, q: Head, k: Head, v: Head, view: View, rows: &Range<usize>) {
        let width = q.width;
        let lanes = rows.len().next_multiple_of(PANEL);
        self.lanes = lanes;
        q.write_columns(rows, 1.0 / (width as f32).sqrt(), lanes, &mut self.queries);
        self.weighted.fill(0.0);
        // Not -∞: the difference of a hidden score to it must be -∞.
        self.statistics.largest.fill(f32::MIN);
        self.statistics.sum.fill(0.0);
        for step in steps(view, rows.clone()) {
            let (keys, seeing) = (&step.keys, &step.lanes);
            let scores = &mut self.scores[..keys.len() * lanes];
            let product = Product {
                rows: keys.len(),
                depth: width,
                columns: seeing.len(),
                a: k.from(keys.start),
                a_row: k.stride,
                a_column: 1,
                b: &self.queries[seeing.start..],
                b_row: lanes,
                out_row: lanes,
                add: false,
            };
            product.write(&mut scores[seeing.start..]);
            step.hide(scores, lanes, view, rows);
            run_fused(Exponentials {
                scores,
                weighted: &mut self.weighted[..width * lanes],
                lanes,
                panels: seeing.start / PANEL..seeing.end / PANEL,
                statistics: &mut self.statistics,
            });
            let product = Product {
                rows: width,
                depth: keys.len(),
                columns: seeing.len(),
                a: v.from(keys.start),
                a_row: 1,
                a_column: v.stride,
                b: &scores[seeing.start..],
                b_row: lanes,
                out_row: lanes,
                add: true,
            };
            product.write(&mut self.weighted[seeing.start..]);
        }
    }

    fn write_row(&self, lane: usize, row: &mut [f32]) {
        let scale = 1.0 / self.statistics.sum[lane];
        for (out, x) in row.iter_mut().zip(self.weighted[lane..].iter().step_by(self.lanes)) {
            *out = x * scale;
        }
    }

    fn write_log_sums(&self, log_sums: &mut [f32]) {
        for ((out, largest), sum) in log_sums.iter_mut().zip(&self.statistics.largest).zip(&self.statistics.sum) {
            *out = largest + sum.ln();
        }
    }
}

/// Replaces scores by the exponentials of their differences to the largest so far, and makes the weighted sum fit.
struct Exponentials<'a> {
    scores: &'a mut [f32],
    weighted: &'a mut [f32],
    lanes: usize,
    panels: Range<usize>,
    statistics: &'a mut Statistics,
}

impl Routine for Exponentials<'_> {
    #[inline(always)]
    fn run<const WIDE: bool, const FUSED: bool>(self) {
        let all_largest = self.statistics.largest.as_chunks_mut::<PANEL>().0;
        let all_sums = self.statistics.sum.as_chunks_mut::<PANEL>().0;
        for i in self.panels {
            let (largest, sum) = (&mut all_largest[i], &mut all_sums[i]);
            let mut top = *largest;
            for row in self.scores.chunks_exact(self.lanes) {
                let row = &row.as_chunks::<PANEL>().0[i];
                for l in 0..PANEL {
                    top[l] = if row[l] > top[l] { row[l] } else { top[l] };
                }
            }
            if top != *largest {
                // What is kept so far has been divided by the exponential of a smaller number.
                let mut decay = [0.0; PANEL];
                for l in 0..PANEL {
                    decay[l] = exp(largest[l] - top[l]);
                    sum[l] *= decay[l];
                }
                for row in self.weighted.chunks_exact_mut(self.lanes) {
                    let row = &mut row.as_chunks_mut::<PANEL>().0[i];
                    for l in 0..PANEL {
                        row[l] *= decay[l];
                    }
                }
                *largest = top;
            }
            let mut total = [0.0; PANEL];
            for row in self.scores.chunks_exact_mut(self.lanes) {
                let row = &mut row.as_chunks_mut::<PANEL>().0[i];
                for l in 0..PANEL {
                    row[l] = exp(row[l] - top[l]);
                    total[l] += row[l];
                }
            }
            for l in 0..PANEL {
                sum[l] += total[l];
            }
        }
    }
}
