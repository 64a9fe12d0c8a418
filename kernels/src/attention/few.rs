//! The value for few queries, as in decoding: row by row, without tiles, whose columns would be empty. Each key and
//! value is read once, which takes longer than the arithmetic.

use rayon::prelude::*;

use super::tile::{Head, Heads};
use super::visible::View;
use super::{PARALLEL, Sizes};
use crate::rows::Rows;
use crate::simd::{Routine, exp, max, run_fused, sum};

/// Below so many queries, rows are faster than tiles.
pub(super) const FEW: usize = 4;

/// Writes the same as [`forward::value`](super::forward::value).
pub(super) fn value(sizes: Sizes, view: View, q: Heads, k: Heads, v: Heads, value: &mut [f32], log_sums: &mut [f32]) {
    let Sizes { queries, keys, heads, group, width, .. } = sizes;
    let value = Rows::new(value);
    let work = |scores: &mut Vec<f32>, (row, log_sum): (usize, &mut f32)| {
        let (i, head, example) = (row % queries, row / queries % heads, row / queries / heads);
        let seen = view.keys(i);
        // SAFETY: each row of the value is asked for once.
        let out = unsafe { value.row(((example * queries + i) * heads + head) * width, width) };
        run_fused(Row {
            q: q.head(example, head).row(i),
            k: k.head(example, head / group).skip(seen.start),
            v: v.head(example, head / group).skip(seen.start),
            scores: &mut scores[..seen.len()],
            out,
            log_sum,
        });
    };
    let scores = || vec![0.0; keys];
    if sizes.operations() < PARALLEL {
        let mut scores = scores();
        log_sums.iter_mut().enumerate().for_each(|row| work(&mut scores, row));
    } else {
        log_sums.par_iter_mut().enumerate().for_each_init(scores, work);
    }
}

/// Writes the value of `queries` whose keys and values lie in a cache: each sees the first `keys` of its example.
///
/// Queries and value are `[B, n, H, d]`, cached keys and values `[B, H, capacity, d]`.
pub(crate) fn cached(
    [batch, heads, width]: [usize; 3],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    keys: usize,
    value: &mut [f32],
    scores: &mut Vec<f32>,
) {
    let (row, queries) = (heads * width, q.len() / (batch * heads * width));
    let capacity = k.len() / (batch * row);
    assert!(keys <= capacity && k.len() == v.len() && q.len() == value.len());
    scores.resize(q.len() / width * keys, 0.0);
    // A query with its number and what becomes of it.
    type Work<'a> = (usize, ((&'a [f32], &'a mut [f32]), &'a mut [f32]));
    let work = |(i, ((q, out), scores)): Work| {
        let start = (i / heads / queries * heads + i % heads) * capacity * width;
        let head = |values| Head { values, stride: width, width };
        run_fused(Row { q, k: head(&k[start..]), v: head(&v[start..]), scores, out, log_sum: &mut 0.0 });
    };
    if q.len() * keys < PARALLEL {
        let rows = q.chunks_exact(width).zip(value.chunks_exact_mut(width));
        rows.zip(scores.chunks_exact_mut(keys)).enumerate().for_each(work);
    } else {
        let rows = q.par_chunks_exact(width).zip(value.par_chunks_exact_mut(width));
        rows.zip(scores.par_chunks_exact_mut(keys)).enumerate().for_each(work);
    }
}

/// One query against the first keys and values, one for each of the scores.
struct Row<'a> {
    q: &'a [f32],
    k: Head<'a>,
    v: Head<'a>,
    scores: &'a mut [f32],
    out: &'a mut [f32],
    log_sum: &'a mut f32,
}

impl Routine for Row<'_> {
    #[inline(always)]
    fn run<const WIDE: bool, const FUSED: bool>(self) {
        let Row { q, k, v, scores, out, log_sum } = self;
        let scale = 1.0 / (q.len() as f32).sqrt();
        for (j, score) in scores.iter_mut().enumerate() {
            *score = sum(q, k.row(j), |q, k| q * k) * scale;
        }
        let largest = max(scores);
        for score in scores.iter_mut() {
            *score = exp(*score - largest);
        }
        let total = sum(scores, scores, |p, _| p);
        out.fill(0.0);
        for (j, &p) in scores.iter().enumerate() {
            for (out, &v) in out.iter_mut().zip(v.row(j)) {
                *out = if FUSED { p.mul_add(v, *out) } else { p * v + *out };
            }
        }
        for out in out {
            *out *= 1.0 / total;
        }
        *log_sum = largest + total.ln();
    }
}
