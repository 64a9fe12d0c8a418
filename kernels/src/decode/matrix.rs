//! The linear map of a few rows: each weight is read once for all of them, in the order in which it lies in memory.
//!
//! Weights lie in panels of as many columns as have their sums in registers, a panel's rows one after the other: so a
//! panel is one stretch of memory that is read from its start to its end.

use rayon::prelude::*;

use crate::lanes::{InstructionSet, LANES, LaneWork, Lanes, prefetch, to_bf16};
use crate::rows::Rows;

/// What a [`Matrix`] keeps its weights in. Products and sums are in `f32` in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// As they are: 4 bytes a weight.
    F32,
    /// Rounded to bf16, so within 2⁻⁸ of themselves: 2 bytes a weight.
    Bf16,
    /// Rounded to multiples of a 127th of the largest of their output, so within a 254th of that: 1 byte a weight.
    Int8,
}

/// A linear map `x·W + b`, kept for products with few rows.
#[derive(Clone, Debug)]
pub struct Matrix {
    depth: usize,
    columns: usize,
    weights: Weights,
    /// What the sums of an output are multiplied by, and what is added then.
    scales: Vec<f32>,
    bias: Vec<f32>,
}

/// `[panels, depth, PANEL]`, with zeros behind the last column.
#[derive(Clone, Debug)]
enum Weights {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    Int8(Vec<i8>),
}

/// Vectors of sums, and columns, of a panel.
const VECTORS: usize = 4;
const PANEL: usize = VECTORS * LANES;

/// Rows that share a reading of the weights at most: their sums still fit into the registers.
const ROWS: usize = 4;

/// Bytes of a line of the cache, and how far ahead of the sums they are asked for.
const LINE: usize = 64;
const AHEAD: usize = 2048;

/// Multiply-adds below which waking a second thread costs more than it saves.
const PARALLEL: usize = 1 << 16;

impl Matrix {
    /// The map by `weight`, `[depth, columns]`, and `bias`, `[columns]`.
    ///
    /// # Panics
    ///
    /// If the lengths are not these.
    pub fn new(weight: &[f32], [depth, columns]: [usize; 2], bias: Option<&[f32]>, stored: Stored) -> Self {
        assert_eq!(weight.len(), depth * columns);
        let bias = bias.map_or_else(|| vec![0.0; columns], <[f32]>::to_vec);
        assert_eq!(bias.len(), columns);
        let shape = [depth, columns];
        let mut scales = vec![1.0; columns];
        let weights = match stored {
            Stored::F32 => Weights::F32(panels(weight, shape, |_, w| w)),
            Stored::Bf16 => Weights::Bf16(panels(weight, shape, |_, w| to_bf16(w))),
            Stored::Int8 => {
                let mut largest = vec![0.0f32; columns];
                for row in weight.chunks_exact(columns.max(1)) {
                    largest.iter_mut().zip(row).for_each(|(largest, w)| *largest = largest.max(w.abs()));
                }
                scales = largest.iter().map(|largest| largest / 127.0).collect();
                let steps: Vec<f32> =
                    largest.iter().map(|&largest| if largest > 0.0 { 127.0 / largest } else { 0.0 }).collect();
                Weights::Int8(panels(weight, shape, |j, w| (w * steps[j]).round() as i8))
            }
        };
        Self { depth, columns, weights, scales, bias }
    }

    /// Length of an input row.
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Length of an output row.
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Writes `x·W + b` for the rows of `x`, `[n, depth]`, to `out`, `[n, columns]`.
    ///
    /// # Panics
    ///
    /// If the lengths do not fit.
    pub fn multiply(&self, x: &[f32], out: &mut [f32]) {
        let Self { depth, columns, .. } = *self;
        assert_eq!(x.len() / depth.max(1), out.len() / columns.max(1));
        assert!(x.len().is_multiple_of(depth.max(1)) && out.len().is_multiple_of(columns.max(1)));
        for (x, out) in x.chunks(ROWS * depth).zip(out.chunks_mut(ROWS * columns)) {
            match &self.weights {
                Weights::F32(weights) => self.multiply_some(weights, x, out),
                Weights::Bf16(weights) => self.multiply_some(weights, x, out),
                Weights::Int8(weights) => self.multiply_some(weights, x, out),
            }
        }
    }

    /// For at most [`ROWS`] rows.
    fn multiply_some<W: Number>(&self, weights: &[W], x: &[f32], out: &mut [f32]) {
        let Self { depth, columns, ref scales, ref bias, .. } = *self;
        let out = Rows::new(out);
        let work = |(i, weights): (usize, &[W])| {
            let (from, width) = (i * PANEL, PANEL.min(columns - i * PANEL));
            let mut sums = [[0.0; PANEL]; ROWS];
            InstructionSet::widest().run(Panel { x, depth, weights, sums: &mut sums });
            for (row, sums) in sums.iter().enumerate().take(x.len() / depth) {
                // SAFETY: each panel has columns of its own.
                let out = unsafe { out.row(row * columns + from, width) };
                for (((out, sum), scale), bias) in out.iter_mut().zip(sums).zip(&scales[from..]).zip(&bias[from..]) {
                    *out = sum * scale + bias;
                }
            }
        };
        let together = PARALLEL.div_ceil(x.len() * PANEL);
        if weights.len() / depth / PANEL <= together {
            weights.chunks_exact(depth * PANEL).enumerate().for_each(work);
        } else {
            weights.par_chunks_exact(depth * PANEL).enumerate().with_min_len(together).for_each(work);
        }
    }
}

/// The numbers of `weight`, `[depth, columns]`, in panels, each as `store` says, which knows its column.
fn panels<W: Copy + Default>(weight: &[f32], [depth, columns]: [usize; 2], store: impl Fn(usize, f32) -> W) -> Vec<W> {
    let mut panels = vec![W::default(); columns.div_ceil(PANEL) * depth * PANEL];
    for (k, row) in weight.chunks_exact(columns.max(1)).enumerate() {
        for (j, &w) in row.iter().enumerate() {
            panels[(j / PANEL * depth + k) * PANEL + j % PANEL] = store(j, w);
        }
    }
    panels
}

/// A number that weights are stored in.
trait Number: Copy + Sync {
    /// The numbers from `from` on.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`].
    unsafe fn load<V: Lanes>(from: *const Self) -> V;
}

// SAFETY of all blocks below: the caller's.
impl Number for f32 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const Self) -> V {
        unsafe { V::load(from) }
    }
}

impl Number for u16 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const Self) -> V {
        unsafe { V::load_bf16(from) }
    }
}

impl Number for i8 {
    #[inline(always)]
    unsafe fn load<V: Lanes>(from: *const Self) -> V {
        unsafe { V::load_i8(from) }
    }
}

/// A panel, and the sums of its products with each row of `x`.
struct Panel<'a, W> {
    /// `[rows, depth]`.
    x: &'a [f32],
    depth: usize,
    /// `[depth, PANEL]`.
    weights: &'a [W],
    sums: &'a mut [[f32; PANEL]; ROWS],
}

impl<W: Number> LaneWork for Panel<'_, W> {
    #[inline(always)]
    unsafe fn run<V: Lanes, const _ROWS: usize, const _VECTORS: usize>(self) {
        // SAFETY: the vector type's instructions exist by this function's contract.
        unsafe {
            match self.x.len() / self.depth {
                1 => self.sum::<V, 1>(),
                2 => self.sum::<V, 2>(),
                _ => self.sum::<V, ROWS>(),
            }
        }
    }
}

impl<W: Number> Panel<'_, W> {
    /// For at most `N` rows; the last one is computed again in place of those that are not there.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`].
    #[inline(always)]
    unsafe fn sum<V: Lanes, const N: usize>(self) {
        let Self { x, depth, weights, sums } = self;
        let rows: [&[f32]; N] = std::array::from_fn(|n| &x[n.min(x.len() / depth - 1) * depth..][..depth]);
        // SAFETY: this function's contract; a row of the weights and one of the sums have so many vectors.
        unsafe {
            let mut totals = [[V::splat(0.0); VECTORS]; N];
            for (k, weights) in weights.chunks_exact(PANEL).enumerate() {
                for line in (0..size_of_val(weights)).step_by(LINE) {
                    prefetch(weights.as_ptr().cast::<u8>().wrapping_add(AHEAD + line));
                }
                let weights: [V; VECTORS] = std::array::from_fn(|v| W::load(weights.as_ptr().add(v * LANES)));
                for n in 0..N {
                    let factor = V::splat(rows[n][k]);
                    for v in 0..VECTORS {
                        totals[n][v] = factor.mul_add(weights[v], totals[n][v]);
                    }
                }
            }
            for n in 0..N {
                for v in 0..VECTORS {
                    totals[n][v].store(sums[n][v * LANES..].as_mut_ptr());
                }
            }
        }
    }
}
