//! The linear map of a few rows: each weight is read once for all of them, in the order in which it lies in memory.

use rayon::prelude::*;

use crate::lanes::{InstructionSet, LANES, LaneWork, Lanes, prefetch, to_bf16};

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

/// `[depth, columns]`, with zeros to whole vectors at the end of each row.
#[derive(Clone, Debug)]
enum Weights {
    F32(Vec<f32>),
    Bf16(Vec<u16>),
    Int8(Vec<i8>),
}

/// Rows of the weights that are gone through together, and what a piece of work has at least and how many there are at
/// most: all constants, so that the order of additions is.
const BLOCK: usize = 8;
const PIECE: usize = 64;
const PIECES: usize = 8;

/// Rows that share a reading of the weights at most.
const ROWS: usize = 8;

/// Bytes of a line of the cache.
const LINE: usize = 64;

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
        let width = columns.next_multiple_of(LANES);
        let mut scales = vec![1.0; columns];
        let weights = match stored {
            Stored::F32 => Weights::F32(padded(weight, columns, width, |_, w| w)),
            Stored::Bf16 => Weights::Bf16(padded(weight, columns, width, |_, w| to_bf16(w))),
            Stored::Int8 => {
                let mut largest = vec![0.0f32; columns];
                for row in weight.chunks_exact(columns.max(1)) {
                    largest.iter_mut().zip(row).for_each(|(largest, w)| *largest = largest.max(w.abs()));
                }
                scales = largest.iter().map(|largest| largest / 127.0).collect();
                let steps: Vec<f32> =
                    largest.iter().map(|&largest| if largest > 0.0 { 127.0 / largest } else { 0.0 }).collect();
                Weights::Int8(padded(weight, columns, width, |j, w| (w * steps[j]).round() as i8))
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

    /// Writes `x·W + b` for the rows of `x`, `[n, depth]`, to `out`, `[n, columns]`. `scratch` may have whatever length;
    /// kept from call to call, it is allocated once.
    ///
    /// # Panics
    ///
    /// If the lengths do not fit.
    pub fn multiply(&self, x: &[f32], out: &mut [f32], scratch: &mut Vec<f32>) {
        let Self { depth, columns, .. } = *self;
        assert_eq!(x.len() / depth.max(1), out.len() / columns.max(1));
        assert!(x.len().is_multiple_of(depth.max(1)) && out.len().is_multiple_of(columns.max(1)));
        for (x, out) in x.chunks(ROWS * depth).zip(out.chunks_mut(ROWS * columns)) {
            match &self.weights {
                Weights::F32(weights) => self.multiply_some(weights, x, out, scratch),
                Weights::Bf16(weights) => self.multiply_some(weights, x, out, scratch),
                Weights::Int8(weights) => self.multiply_some(weights, x, out, scratch),
            }
        }
    }

    /// For at most [`ROWS`] rows.
    fn multiply_some<W: Number>(&self, weights: &[W], x: &[f32], out: &mut [f32], scratch: &mut Vec<f32>) {
        let Self { depth, columns, .. } = *self;
        let (rows, width) = (x.len() / depth, columns.next_multiple_of(LANES));
        let piece = depth.div_ceil(PIECES).max(PIECE).next_multiple_of(BLOCK);
        let pieces = depth.div_ceil(piece);
        scratch.resize((pieces * rows * width).max(scratch.len()), 0.0);
        let sums = &mut scratch[..pieces * rows * width];
        let work = |(i, sums): (usize, &mut [f32])| {
            let from = i * piece;
            let weights = &weights[from * width..((from + piece) * width).min(weights.len())];
            InstructionSet::widest().run(Piece { x: &x[from..], depth, weights, sums, width });
        };
        let parts = rows * width;
        if rows * weights.len() < PARALLEL {
            sums.chunks_exact_mut(parts).enumerate().for_each(work);
        } else {
            sums.par_chunks_exact_mut(parts).enumerate().for_each(work);
        }
        let (total, rest) = sums.split_at_mut(parts);
        for part in rest.chunks_exact(parts) {
            total.iter_mut().zip(part).for_each(|(total, part)| *total += part);
        }
        for (out, total) in out.chunks_exact_mut(columns).zip(total.chunks_exact(width)) {
            for (((out, sum), scale), bias) in out.iter_mut().zip(total).zip(&self.scales).zip(&self.bias) {
                *out = sum * scale + bias;
            }
        }
    }
}

/// The rows of `weight`, each number as `store` says, which knows its column.
fn padded<W: Copy + Default>(weight: &[f32], columns: usize, width: usize, store: impl Fn(usize, f32) -> W) -> Vec<W> {
    let mut padded = vec![W::default(); weight.len() / columns.max(1) * width];
    for (to, from) in padded.chunks_exact_mut(width.max(1)).zip(weight.chunks_exact(columns.max(1))) {
        for (j, (to, &from)) in to.iter_mut().zip(from).enumerate() {
            *to = store(j, from);
        }
    }
    padded
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

/// Some rows of the weights, and the sums of their products with each row of `x`.
struct Piece<'a, W> {
    /// From the number that belongs to the first of these weights on.
    x: &'a [f32],
    /// From a row of `x` to the next.
    depth: usize,
    weights: &'a [W],
    /// `[rows, width]`.
    sums: &'a mut [f32],
    width: usize,
}

impl<W: Number> LaneWork for Piece<'_, W> {
    #[inline(always)]
    unsafe fn run<V: Lanes, const ROWS: usize, const VECTORS: usize>(self) {
        // SAFETY: the vector type's instructions exist by this function's contract.
        unsafe {
            match self.sums.len() / self.width {
                1 => self.add::<V, 1>(),
                2 => self.add::<V, 2>(),
                3 | 4 => self.add::<V, 4>(),
                _ => self.add::<V, 8>(),
            }
        }
    }
}

impl<W: Number> Piece<'_, W> {
    /// For at most `N` rows; the last one is computed again in place of those that are not there.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`].
    #[inline(always)]
    unsafe fn add<V: Lanes, const N: usize>(self) {
        let Self { x, depth, weights, sums, width } = self;
        let rows = sums.len() / width;
        sums.fill(0.0);
        for (block, weights) in weights.chunks(BLOCK * width).enumerate() {
            let numbers = std::array::from_fn(|row| &x[row.min(rows - 1) * depth + block * BLOCK..]);
            // SAFETY: this function's contract.
            unsafe {
                if weights.len() == BLOCK * width {
                    add_rows::<V, W, N, BLOCK>(numbers, weights, sums, width);
                } else {
                    for (i, weights) in weights.chunks_exact(width).enumerate() {
                        add_rows::<V, W, N, 1>(numbers.map(|row| &row[i..]), weights, sums, width);
                    }
                }
            }
        }
    }
}

/// Adds the products of the first `K` numbers of each of `N` rows with so many rows of the weights.
///
/// # Safety
///
/// That of [`Lanes`].
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "only constants index the sums, so that they stay in registers")]
unsafe fn add_rows<V: Lanes, W: Number, const N: usize, const K: usize>(
    numbers: [&[f32]; N],
    weights: &[W],
    sums: &mut [f32],
    width: usize,
) {
    let rows = sums.len() / width;
    let mut factors = [[0.0; K]; N];
    for n in 0..N {
        factors[n].copy_from_slice(&numbers[n][..K]);
    }
    assert!(weights.len() >= K * width && rows <= N);
    for column in (0..width).step_by(LANES) {
        // SAFETY: this function's contract; a row of the weights and one of the sums have `width` numbers, a multiple
        // of the lanes.
        unsafe {
            let mut vectors = [V::splat(0.0); N];
            for n in 0..N {
                vectors[n] = V::load(sums.as_ptr().add(n.min(rows - 1) * width + column));
            }
            // The processor foresees no more than a row, and rows are short: what the next rows hold is asked for here.
            for line in (0..K * LANES * size_of::<W>()).step_by(LINE) {
                let ahead = weights.as_ptr().wrapping_add(K * (width + column)).cast::<u8>();
                prefetch(ahead.wrapping_add(line));
            }
            for k in 0..K {
                let weight: V = W::load(weights.as_ptr().add(k * width + column));
                for n in 0..N {
                    vectors[n] = V::splat(factors[n][k]).mul_add(weight, vectors[n]);
                }
            }
            for n in 0..N {
                if n < rows {
                    vectors[n].store(sums.as_mut_ptr().add(n * width + column));
                }
            }
        }
    }
}
