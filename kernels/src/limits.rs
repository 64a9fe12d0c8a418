//! What the processor can do at most, by loops of nothing but the one thing: what the speed of a kernel is a share of.

use crate::lanes::{InstructionSet, LANES, LaneWork, Lanes};
use rayon::prelude::*;
use std::hint::black_box;

/// Numbers that a thread reads at a time: a piece comes from memory and not from where another thread had it.
const PIECE: usize = 1 << 16;

/// Multiplies and adds in registers, `rounds` times on every thread, and returns how many operations that were, a
/// multiplication and an addition being two.
pub fn multiply_add(rounds: usize) -> f64 {
    rayon::broadcast(|_| run::<false>(rounds)).iter().sum()
}

/// As [`multiply_add`], of pairs of bf16 numbers where the processor can do that in one instruction. Elsewhere it takes
/// several, as it does in [`linear_bf16`](crate::linear_bf16).
pub fn multiply_add_bf16(rounds: usize) -> f64 {
    rayon::broadcast(|_| run::<true>(rounds)).iter().sum()
}

/// The sum of `numbers`, on all threads: as fast as they come from memory where they are too many for the caches.
pub fn read(numbers: &[f32]) -> f32 {
    let sum = |numbers: &[f32]| {
        let mut sum = 0.0;
        InstructionSet::widest().run(Read { numbers, sum: &mut sum });
        sum
    };
    // By pieces in their order, so that the sum does not depend on the threads.
    numbers.par_chunks(PIECE).map(sum).collect::<Vec<_>>().into_iter().sum()
}

fn run<const PAIRS: bool>(rounds: usize) -> f64 {
    let mut operations = 0.0;
    let work = MultiplyAdd::<PAIRS> { rounds, operations: &mut operations };
    if PAIRS {
        InstructionSet::widest().run_on_pairs(work)
    } else {
        InstructionSet::widest().run(work)
    }
    operations
}

struct MultiplyAdd<'a, const PAIRS: bool> {
    rounds: usize,
    operations: &'a mut f64,
}

impl<const PAIRS: bool> LaneWork for MultiplyAdd<'_, PAIRS> {
    #[inline(always)]
    unsafe fn run<V: Lanes, const ROWS: usize, const VECTORS: usize>(self) {
        let mut lanes = [0.0; LANES];
        // SAFETY: the vector type's instructions exist by this function's contract; there is room for all lanes.
        unsafe {
            let (a, b) = (V::splat(black_box(1.0)), V::splat(black_box(1e-9)));
            let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
            for _ in 0..self.rounds {
                for row in &mut sums {
                    for sum in row {
                        *sum = if PAIRS { sum.add_pairs(a, b) } else { sum.mul_add(a, b) };
                    }
                }
            }
            for sum in sums.iter().flatten() {
                sum.store(lanes.as_mut_ptr());
                black_box(lanes);
            }
        }
        let each = if PAIRS { 4.0 } else { 2.0 };
        *self.operations = each * (self.rounds * ROWS * VECTORS * LANES) as f64;
    }
}

struct Read<'a> {
    numbers: &'a [f32],
    sum: &'a mut f32,
}

impl LaneWork for Read<'_> {
    #[inline(always)]
    unsafe fn run<V: Lanes, const ROWS: usize, const VECTORS: usize>(self) {
        /// Sums that do not wait for each other.
        const SUMS: usize = 8;
        let (pieces, rest) = self.numbers.as_chunks::<{ SUMS * LANES }>();
        // SAFETY: the vector type's instructions exist by this function's contract; a piece has so many numbers.
        unsafe {
            let one = V::splat(1.0);
            let mut sums = [V::splat(0.0); SUMS];
            for piece in pieces {
                for (i, sum) in sums.iter_mut().enumerate() {
                    *sum = V::load(piece.as_ptr().add(i * LANES)).mul_add(one, *sum);
                }
            }
            *self.sum = sums.into_iter().map(|sum| sum.sum()).sum::<f32>() + rest.iter().sum::<f32>();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_is_the_sum() {
        for length in [0, 1, 127, 128, 2 * PIECE + 131] {
            let numbers: Vec<f32> = (0..length).map(|i| (i % 7) as f32).collect();
            assert_eq!(read(&numbers), numbers.iter().sum::<f32>(), "whole numbers add up exactly");
        }
    }

    #[test]
    fn operations_grow_with_the_rounds() {
        for count in [multiply_add, multiply_add_bf16] {
            assert!(count(1) > 0.0 && count(6) == 6.0 * count(1));
        }
    }
}
