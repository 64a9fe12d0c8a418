//! The gradients of a convolution by its weight and its bias.
//!
//! A tile of the weight of one tap stays in registers while the places go by at which the tap meets the input.

use rayon::prelude::*;

use super::map::Map;
use crate::lanes::{InstructionSet, LANES, LaneWork, Lanes};

/// Places that go by for all tiles of a tap before the next: what they read stays in the second-level cache, and sums
/// over many places are sums of sums.
const PLACES: usize = 256;

/// Tasks for the threads, if there are so many places.
const TASKS: usize = 32;

/// One of the two factors: places of so many channels.
#[derive(Clone, Copy)]
pub(crate) struct Factor<'a> {
    pub values: &'a [f32],
    pub channels: usize,
}

/// The sums over all places of the products of channels of `fine` and `coarse` that meet in each tap: the elements of
/// `[taps, fine channels, coarse channels]`, or of `[taps, coarse channels, fine channels]` if the map leads up.
pub(crate) fn weight_gradient(set: InstructionSet, map: &Map, clips: usize, fine: Factor, coarse: Factor) -> Vec<f32> {
    let taps: usize = map.taps.iter().product();
    assert_eq!(fine.values.len(), clips * map.fine.iter().product::<usize>() * fine.channels);
    assert_eq!(coarse.values.len(), clips * map.coarse.iter().product::<usize>() * coarse.channels);
    let (size, windows) = (fine.channels * coarse.channels, clips * map.coarse.iter().product::<usize>());
    if size == 0 || taps == 0 || windows == 0 {
        return vec![0.0; taps * size];
    }
    // Vectors lie along the channels that fill them. The number of groups depends on the shapes alone, and their sums
    // take no more memory than the factors.
    let fine_in_lanes = coarse.channels < LANES && fine.channels > coarse.channels;
    let memory = (fine.values.len() + coarse.values.len()) / (taps * size);
    let groups = TASKS.div_ceil(taps).min(windows.div_ceil(4 * PLACES)).min(memory).max(1);
    let group = windows.div_ceil(groups);

    let mut sums = vec![0.0; groups * taps * size];
    sums.par_chunks_mut(size).enumerate().for_each(|(i, sums)| {
        let windows = i / taps * group..(i / taps * group + group).min(windows);
        set.run(TapSums { map, tap: i % taps, windows, fine, coarse, fine_in_lanes, sums });
    });
    let (total, others) = sums.split_at(taps * size);
    let mut total = total.to_vec();
    for group in others.chunks_exact(taps * size) {
        total.iter_mut().zip(group).for_each(|(total, x)| *total += x);
    }
    match (fine_in_lanes, map.up) {
        (false, true) => exchanged(&total, [fine.channels, coarse.channels]),
        (true, false) => exchanged(&total, [coarse.channels, fine.channels]),
        _ => total,
    }
}

/// `[taps, rows, columns]` as `[taps, columns, rows]`.
fn exchanged<'a>(values: &'a [f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let column = |(tap, j): (&'a [f32], usize)| tap[j..].iter().step_by(columns);
    values
        .chunks_exact(rows * columns)
        .flat_map(|tap| (0..columns).map(move |j| (tap, j)))
        .flat_map(column)
        .copied()
        .collect()
}

/// The sums of the columns of rows of `width` numbers.
pub(crate) fn column_sums(values: &[f32], width: usize) -> Vec<f32> {
    let sum = |rows: &[f32]| {
        let mut total = vec![0.0; width];
        for row in rows.chunks_exact(width.max(1)) {
            total.iter_mut().zip(row).for_each(|(total, x)| *total += x);
        }
        total
    };
    let groups: Vec<Vec<f32>> = values.par_chunks((PLACES * width).max(1)).map(sum).collect();
    sum(&groups.concat())
}

/// The sums of one tap over some windows.
struct TapSums<'a, 'b> {
    map: &'a Map,
    tap: usize,
    windows: std::ops::Range<usize>,
    fine: Factor<'a>,
    coarse: Factor<'a>,
    fine_in_lanes: bool,
    sums: &'b mut [f32],
}

impl LaneWork for TapSums<'_, '_> {
    #[inline(always)]
    unsafe fn run<V: Lanes, const ROWS: usize, const VECTORS: usize>(self) {
        let (rows, lanes) = if self.fine_in_lanes { (self.coarse, self.fine) } else { (self.fine, self.coarse) };
        let mut pairs = Vec::with_capacity(PLACES);
        for start in self.windows.clone().step_by(PLACES) {
            self.map.meetings(self.tap, start..(start + PLACES).min(self.windows.end), &mut pairs);
            for (fine, coarse) in &mut pairs {
                if self.fine_in_lanes {
                    std::mem::swap(fine, coarse);
                }
                // From here on: elements of the rows' factor and of the lanes'.
                *fine *= rows.channels;
                *coarse *= lanes.channels;
            }
            // Tiles of nearly the same height.
            let tiles = rows.channels.div_ceil(ROWS);
            for tile in 0..tiles {
                let (first, end) = (tile * rows.channels / tiles, (tile + 1) * rows.channels / tiles);
                let tile = Tile { pairs: &pairs, rows, lanes, first };
                // SAFETY: the vector type's instructions exist by this function's contract; `meetings` gives places
                // inside of both factors, and `first..end` are channels of the first.
                unsafe {
                    match end - first {
                        1 => tile.add::<V, 1, VECTORS>(self.sums),
                        2 => tile.add::<V, 2, VECTORS>(self.sums),
                        3 => tile.add::<V, 3, VECTORS>(self.sums),
                        4 => tile.add::<V, 4, VECTORS>(self.sums),
                        5 => tile.add::<V, 5, VECTORS>(self.sums),
                        6 => tile.add::<V, 6, VECTORS>(self.sums),
                        7 => tile.add::<V, 7, VECTORS>(self.sums),
                        8 => tile.add::<V, 8, VECTORS>(self.sums),
                        9 => tile.add::<V, 9, VECTORS>(self.sums),
                        10 => tile.add::<V, 10, VECTORS>(self.sums),
                        11 => tile.add::<V, 11, VECTORS>(self.sums),
                        12 => tile.add::<V, 12, VECTORS>(self.sums),
                        height => unreachable!("a tile of {height} rows"),
                    }
                }
            }
        }
    }
}

/// The products of some channels of `rows`, from `first` on, with those of `lanes`.
struct Tile<'a> {
    /// The elements of the two factors where places that meet begin.
    pairs: &'a [(usize, usize)],
    rows: Factor<'a>,
    lanes: Factor<'a>,
    first: usize,
}

impl Tile<'_> {
    /// Adds the sums over the pairs to `sums`, `[channels of rows, channels of lanes]`.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`]; the pairs lie in the factors, and `first + ROWS` is no more than the channels of the rows.
    #[inline(always)]
    unsafe fn add<V: Lanes, const ROWS: usize, const VECTORS: usize>(&self, sums: &mut [f32]) {
        let n = self.lanes.channels;
        let mut from = 0;
        while from < n {
            // SAFETY: this function's contract.
            unsafe {
                match (n - from) / LANES {
                    0 => self.add_panels::<V, ROWS, 1, false>(sums, from),
                    whole if whole < VECTORS => self.add_panels::<V, ROWS, 1, true>(sums, from),
                    _ => self.add_panels::<V, ROWS, VECTORS, true>(sums, from),
                }
            }
            from += if (n - from) / LANES < VECTORS { LANES } else { VECTORS * LANES };
        }
    }

    /// Adds the sums for `16·VECTORS` lanes, or, if they are not whole, what is left of one vector.
    ///
    /// # Safety
    ///
    /// That of [`add`](Self::add).
    #[inline(always)]
    #[expect(clippy::needless_range_loop, reason = "only constants index the sums, so that they stay in registers")]
    unsafe fn add_panels<V: Lanes, const ROWS: usize, const VECTORS: usize, const WHOLE: bool>(
        &self,
        sums: &mut [f32],
        from: usize,
    ) {
        let n = self.lanes.channels;
        let width = if WHOLE { LANES } else { n - from };
        // SAFETY: this function's contract; slices hold the accesses to the sums in bounds.
        unsafe {
            let mut tile = [[V::splat(0.0); VECTORS]; ROWS];
            for &(row, lane) in self.pairs {
                let row = self.rows.values.as_ptr().add(row + self.first);
                let lane = self.lanes.values.as_ptr().add(lane + from);
                let mut vectors = [V::splat(0.0); VECTORS];
                for v in 0..VECTORS {
                    vectors[v] = V::load_first(lane.add(v * LANES), width);
                }
                for r in 0..ROWS {
                    let x = V::splat(*row.add(r));
                    for v in 0..VECTORS {
                        tile[r][v] = x.mul_add(vectors[v], tile[r][v]);
                    }
                }
            }
            for (r, tile) in tile.iter().enumerate() {
                for (v, sum) in tile.iter().enumerate() {
                    let to = &mut sums[(self.first + r) * n + from + v * LANES..][..width];
                    let before = V::load_first(to.as_ptr(), width);
                    V::splat(1.0).mul_add(*sum, before).store_first(to.as_mut_ptr(), width);
                }
            }
        }
    }
}
