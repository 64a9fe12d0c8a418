//! How the kernels read and write heads and cut them into tiles.

use std::ops::Range;

use burn::backend::TensorMetadata;
use burn::backend::flex::FlexTensor;

use super::product::PANEL;
use super::visible::View;

/// Queries in a tile at most. Tiles are transposed, so that a vector holds one number of each of many queries: then no
/// step sums across a vector.
pub(super) const QUERIES: usize = 4 * PANEL;

/// Keys in a tile at most: with [`QUERIES`], scores and the rows that meet them lie in the first-level cache.
pub(super) const KEYS: usize = 64;

/// The tiles of queries: as few as can be, as even as whole panels allow.
pub(super) fn query_tiles(queries: usize) -> usize {
    queries.div_ceil(QUERIES)
}

/// The queries of tile `i`.
pub(super) fn query_tile(i: usize, queries: usize) -> Range<usize> {
    let (tiles, panels) = (query_tiles(queries), queries.div_ceil(PANEL));
    let place = |i: usize| (i * panels / tiles * PANEL).min(queries);
    place(i)..place(i + 1)
}

/// A tile of keys, and those panels of a tile of queries that see some of them.
pub(super) struct Step {
    pub keys: Range<usize>,
    /// Columns of the tile of queries, in whole panels.
    pub lanes: Range<usize>,
    /// Whether all of the queries see all of the keys.
    whole: bool,
}

/// The tiles of keys that some of the queries see. Where some see what others do not, tiles are small, so that little
/// is computed in vain.
pub(super) fn steps(view: View, queries: Range<usize>) -> impl Iterator<Item = Step> {
    let lanes = queries.len().next_multiple_of(PANEL);
    let (mut from, end) = (view.keys(queries.start).start, view.keys(queries.end - 1).end);
    std::iter::from_fn(move || {
        let large = from..(from + KEYS).min(end);
        if large.is_empty() {
            return None;
        }
        if view.is_whole(&queries, &large) {
            from = large.end;
            return Some(Step { keys: large, lanes: 0..lanes, whole: true });
        }
        let keys = from..(from + PANEL).min(end);
        from = keys.end;
        let first = view.queries(keys.start).start.max(queries.start) - queries.start;
        let last = view.queries(keys.end - 1).end.min(queries.end) - queries.start;
        let lanes = first / PANEL * PANEL..last.next_multiple_of(PANEL);
        Some(Step { whole: view.is_whole(&queries, &keys), keys, lanes })
    })
}

impl Step {
    /// Overwrites, in scores with a row of `width` for each key, those of queries that do not see the key.
    pub fn hide(&self, scores: &mut [f32], width: usize, view: View, queries: &Range<usize>) {
        if self.whole {
            return;
        }
        for (row, key) in scores.chunks_exact_mut(width).zip(self.keys.clone()) {
            let seen = view.queries(key);
            let [from, to] = [seen.start, seen.end].map(|i| i.clamp(queries.start, queries.end) - queries.start);
            row[..from].fill(f32::NEG_INFINITY);
            row[to.max(from)..].fill(f32::NEG_INFINITY);
        }
    }
}

/// `x` with each row of its last dimension in order and no step backwards: copies only where this is not so.
pub(super) fn readable(x: FlexTensor) -> FlexTensor {
    let strides = x.layout().strides();
    if strides[3] == 1 && strides.iter().all(|&stride| stride >= 0) { x } else { x.to_contiguous() }
}

/// Reads the heads of a tensor `[B, n, H, d]` that came out of [`readable`].
#[derive(Clone, Copy)]
pub(super) struct Heads<'a> {
    values: &'a [f32],
    strides: [usize; 3],
    width: usize,
}

impl<'a> Heads<'a> {
    pub fn new(x: &'a FlexTensor) -> Self {
        let layout = x.layout();
        let strides = std::array::from_fn(|i| layout.strides()[i].unsigned_abs());
        Self { values: &x.storage::<f32>()[layout.start_offset()..], strides, width: x.shape()[3] }
    }

    pub fn head(&self, batch: usize, head: usize) -> Head<'a> {
        let start = batch * self.strides[0] + head * self.strides[2];
        Head { values: &self.values[start..], stride: self.strides[1], width: self.width }
    }
}

/// One head of one example: rows of `width` numbers, `stride` apart.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    pub values: &'a [f32],
    pub stride: usize,
    pub width: usize,
}

impl<'a> Head<'a> {
    #[inline(always)]
    pub fn row(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.stride..][..self.width]
    }

    /// The rows from row `i` on.
    pub fn skip(self, i: usize) -> Self {
        Self { values: self.from(i), ..self }
    }

    /// The values from row `i` on.
    pub fn from(&self, i: usize) -> &'a [f32] {
        &self.values[i * self.stride..]
    }

    /// Writes some rows, times `scale`, as the columns of `out`, whose rows have `width` numbers; the other columns
    /// become zero.
    pub fn write_columns(&self, rows: &Range<usize>, scale: f32, width: usize, out: &mut [f32]) {
        let out = &mut out[..self.width * width];
        if rows.len() < width {
            out.fill(0.0);
        }
        for (column, i) in rows.clone().enumerate() {
            for (x, out) in self.row(i).iter().zip(out[column..].iter_mut().step_by(width)) {
                *out = x * scale;
            }
        }
    }

    /// Writes some rows, times `scale`, as rows of `width` numbers, filled up with zeros.
    pub fn write_rows(&self, rows: &Range<usize>, scale: f32, width: usize, out: &mut [f32]) {
        for (row, i) in out.chunks_exact_mut(width).zip(rows.clone()) {
            let (row, rest) = row.split_at_mut(self.width);
            for (out, x) in row.iter_mut().zip(self.row(i)) {
                *out = x * scale;
            }
            rest.fill(0.0);
        }
    }
}
