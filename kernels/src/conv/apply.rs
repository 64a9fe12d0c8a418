//! The value of a convolution, and of a transposed one: the gradient of each by its input is the other.
//!
//! A tile of output places times output channels stays in registers while taps and input channels go by. For each tap
//! the tile has a table of where its places find their input, with a row of zeros for those that are in the padding:
//! so strides, dilations, borders and the ends of lines cost nothing in the innermost loop, and nothing is copied.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::map::{Map, Phase, for_each_run};
use crate::lanes::{InstructionSet, LANES, LaneWork, Lanes};

/// Output places of one phase that one thread computes before it takes the next.
const PLACES: usize = 96;

/// Elements of the weight that are used on all places of a block before the next: half a megabyte, so that they stay
/// in the second-level cache.
const WEIGHTS: usize = 1 << 17;

/// Multiply-adds below which waking a second thread costs more than it saves.
const PARALLEL: usize = 1 << 18;

/// The weight of a convolution, `[taps, C, C']`, or its reading with input and output channels exchanged.
#[derive(Clone, Copy)]
pub(crate) struct Weight<'a> {
    pub values: &'a [f32],
    /// Input and output channels of the product.
    pub channels: [usize; 2],
    /// Whether the values are `[taps, C', C]`.
    pub exchanged: bool,
}

impl Weight<'_> {
    /// The weight as the tiles read it: taps in the order of the phases, and within `[C'/16, taps, C, 16]` with zeros
    /// at the end of the last 16, or `[taps, C', C]` for [`few`](Self::few) output channels.
    fn packed(&self, phases: &[Phase]) -> Vec<f32> {
        if self.values.is_empty() {
            return Vec::new();
        }
        let [c, n] = self.channels;
        let taps = phases.iter().flat_map(|phase| &phase.taps);
        let (by_input, by_output) = if self.exchanged { (1, c) } else { (n, 1) };
        if self.few() {
            let tap = |tap: usize| {
                let tap = &self.values[tap * c * n..][..c * n];
                (0..n).flat_map(move |n| (0..c).map(move |c| tap[c * by_input + n * by_output]))
            };
            return taps.flat_map(|t| tap(t.index)).collect();
        }
        let panel = self.panel();
        let mut packed =
            vec![0.0; panel * n.div_ceil(LANES) * phases.iter().map(|phase| phase.taps.len()).sum::<usize>()];
        let mut rest = &mut packed[..];
        for phase in phases {
            let (own, later) = rest.split_at_mut(panel * phase.taps.len() * n.div_ceil(LANES));
            rest = later;
            let tiles = own.chunks_exact_mut(panel);
            let sources = (0..n).step_by(LANES).flat_map(|from| phase.taps.iter().map(move |tap| (from, tap.index)));
            for (tile, (from, tap)) in tiles.zip(sources) {
                let source = &self.values[tap * c * n..][..c * n];
                for (c, row) in tile.chunks_exact_mut(LANES).enumerate() {
                    for (j, to) in row[..LANES.min(n - from)].iter_mut().enumerate() {
                        *to = source[c * by_input + (from + j) * by_output];
                    }
                }
            }
        }
        packed
    }

    /// Whether there are so few output channels that vectors lie better along the input channels.
    fn few(&self) -> bool {
        self.channels[1] <= LANES / 2 && self.channels[0] >= LANES
    }

    /// Packed elements of one tap and 16 output channels.
    fn panel(&self) -> usize {
        self.channels[0] * LANES
    }
}

/// The product of `clips` clips of `source`, `[clips, T, H, W, C]`, and the weight, plus the bias: the elements of
/// `[clips, T', H', W', C']`.
pub(crate) fn apply(
    set: InstructionSet,
    map: &Map,
    clips: usize,
    source: &[f32],
    weight: Weight,
    bias: &[f32],
) -> Vec<f32> {
    let [c, n] = weight.channels;
    let places = clips * map.output().iter().product::<usize>();
    assert_eq!(source.len(), clips * map.source().iter().product::<usize>() * c);
    assert_eq!(weight.values.len(), map.taps.iter().product::<usize>() * c * n);
    let mut output = Vec::with_capacity(places * n);
    if places * n == 0 {
        return output;
    }
    let phases = map.phases();
    // All phases have their turn in each block, and there are blocks for many threads.
    let block = (places / phases.len()).div_ceil(32).next_multiple_of(12).min(PLACES) * phases.len();
    let packed = weight.packed(&phases);
    let zeros = vec![0.0; c];
    let product = Product { map, phases, source, weight, packed, zeros };
    let fill = |(i, room): (usize, &mut [MaybeUninit<f32>])| {
        for row in room.chunks_exact_mut(n) {
            row.write_copy_of_slice(bias);
        }
        // SAFETY: a block is whole rows, and each has been written.
        let output = unsafe { room.assume_init_mut() };
        set.run(Block { product: &product, first: i * block, output });
    };
    let room = &mut output.spare_capacity_mut()[..places * n];
    if places * weight.values.len() < PARALLEL {
        room.chunks_mut(block * n).enumerate().for_each(fill);
    } else {
        room.par_chunks_mut(block * n).enumerate().for_each(fill);
    }
    // SAFETY: the capacity is at least `places * n`, and the blocks, which cover so many elements, have been written.
    unsafe { output.set_len(places * n) };
    output
}

struct Product<'a> {
    map: &'a Map,
    phases: Vec<Phase>,
    source: &'a [f32],
    weight: Weight<'a>,
    packed: Vec<f32>,
    /// What a place in the padding reads: as many zeros as there are input channels.
    zeros: Vec<f32>,
}

/// The outputs from place `first` on, which hold the bias.
struct Block<'a, 'b> {
    product: &'b Product<'a>,
    first: usize,
    output: &'b mut [f32],
}

/// An output and the place of its sources, before the tap's offset.
struct Place {
    row: usize,
    clip: usize,
    source: [isize; 3],
}

/// Where the places of a tile find their input for one tap.
struct TapRows<const ROWS: usize> {
    /// The tap's number within its phase.
    tap: usize,
    /// Whether any of the rows is not padding.
    met: bool,
    rows: [*const f32; ROWS],
}

impl LaneWork for Block<'_, '_> {
    #[inline(always)]
    unsafe fn run<V: Lanes, const ROWS: usize, const VECTORS: usize>(self) {
        let Self { product, first, output } = self;
        let [c, n] = product.weight.channels;
        let end = first + output.len() / n;
        let (mut places, mut table) = (Vec::new(), Vec::new());
        let mut packed = &product.packed[..];
        for phase in &product.phases {
            let elements = phase.taps.len() * if product.weight.few() { c * n } else { c * n.next_multiple_of(LANES) };
            let (own, later) = packed.split_at(elements);
            packed = later;
            places.clear();
            for_each_run(product.map.output(), first..end, |run| {
                phase.for_each(&run, |row, source| places.push(Place { row: row - first, clip: run.clip, source }));
            });
            let taps = (WEIGHTS / (c * n).max(1)).max(1);
            for start in (0..phase.taps.len()).step_by(taps) {
                let taps = start..(start + taps).min(phase.taps.len());
                for tile in places.chunks(ROWS) {
                    product.look_up::<ROWS>(phase, taps.clone(), tile, &mut table);
                    let rows = &mut tile.iter().map(|place| place.row * n);
                    let rows: [Option<usize>; ROWS] = std::array::from_fn(|_| rows.next());
                    // SAFETY: the vector type's instructions exist by this function's contract. `look_up` made the
                    // table for this tile, of places inside of the source, whose length `apply` has checked.
                    unsafe {
                        if product.weight.few() {
                            few_outputs::<V, ROWS>(&table, [c, n], own, rows, output);
                        } else {
                            many_outputs::<V, ROWS, VECTORS>(&table, [c, n], own, rows, output, phase.taps.len());
                        }
                    }
                }
            }
        }
    }
}

impl Product<'_> {
    /// Fills the table of a tile for some taps of its phase, less those that meet nothing but padding.
    #[inline(always)]
    fn look_up<const ROWS: usize>(
        &self,
        phase: &Phase,
        taps: Range<usize>,
        tile: &[Place],
        table: &mut Vec<TapRows<ROWS>>,
    ) {
        let (size, c) = (self.map.source(), self.weight.channels[0]);
        let flat = |[t, h, w]: [isize; 3]| ((t * size[1] as isize + h) * size[2] as isize + w) * c as isize;
        let clip = size.iter().product::<usize>() * c;
        table.clear();
        table.extend(taps.clone().map(|tap| TapRows { tap, met: false, rows: [self.zeros.as_ptr(); ROWS] }));
        for (row, place) in tile.iter().enumerate() {
            // What leads out of the source wraps around, and is not used.
            let first = self.source.as_ptr().wrapping_add(place.clip * clip).wrapping_offset(flat(place.source));
            let inside = |offset: [isize; 3]| {
                // What is below zero becomes a large number.
                (0..3).all(|axis| ((place.source[axis] + offset[axis]) as usize) < size[axis])
            };
            let inside_for_all = inside(phase.least) && inside(phase.most);
            for (entry, tap) in table.iter_mut().zip(&phase.taps[taps.clone()]) {
                if inside_for_all || inside(tap.offset) {
                    entry.rows[row] = first.wrapping_offset(flat(tap.offset));
                    entry.met = true;
                }
            }
        }
        table.retain(|entry| entry.met);
    }
}

/// Adds the products of a tile, whose places begin at `rows` of `output`, for all output channels.
///
/// # Safety
///
/// That of [`Lanes`], and each pointer of the table leads to as many elements as there are input channels.
#[inline(always)]
unsafe fn many_outputs<V: Lanes, const ROWS: usize, const VECTORS: usize>(
    table: &[TapRows<ROWS>],
    [c, n]: [usize; 2],
    packed: &[f32],
    rows: [Option<usize>; ROWS],
    output: &mut [f32],
    taps: usize,
) {
    let panel = taps * c * LANES;
    let mut from = 0;
    while from < n {
        let weights = &packed[from / LANES * panel..];
        // SAFETY: this function's contract.
        unsafe {
            if n - from > (VECTORS - 1) * LANES {
                panels::<V, ROWS, VECTORS>(table, c, weights, panel, rows, output, from..n);
                from += VECTORS * LANES;
            } else {
                panels::<V, ROWS, 1>(table, c, weights, panel, rows, output, from..n);
                from += LANES;
            }
        }
    }
}

/// Adds the products for `16·VECTORS` output channels, or as many as there are.
///
/// # Safety
///
/// That of [`many_outputs`].
#[inline(always)]
unsafe fn panels<V: Lanes, const ROWS: usize, const VECTORS: usize>(
    table: &[TapRows<ROWS>],
    c: usize,
    weights: &[f32],
    panel: usize,
    rows: [Option<usize>; ROWS],
    output: &mut [f32],
    channels: Range<usize>,
) {
    let width = |vector: usize| (channels.len() - vector * LANES).min(LANES);
    assert!(weights.len() >= (VECTORS - 1) * panel + table.last().map_or(0, |last| last.tap + 1) * c * LANES);
    // SAFETY: this function's contract; the slices and the line above hold the other accesses in bounds.
    unsafe {
        let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
        for (sums, row) in sums.iter_mut().zip(rows) {
            let Some(row) = row else { continue };
            for (vector, sum) in sums.iter_mut().enumerate() {
                let from = &output[row + channels.start + vector * LANES..][..width(vector)];
                *sum = V::load_first(from.as_ptr(), from.len());
            }
        }
        add_taps(&mut sums, table, c, weights.as_ptr(), panel);
        for (sums, row) in sums.iter().zip(rows) {
            let Some(row) = row else { continue };
            for (vector, sum) in sums.iter().enumerate() {
                let to = &mut output[row + channels.start + vector * LANES..][..width(vector)];
                sum.store_first(to.as_mut_ptr(), to.len());
            }
        }
    }
}

/// Adds the products of a tile with vectors of the weight, `panel` elements apart.
///
/// # Safety
///
/// That of [`many_outputs`]; there are weights for each tap of the table.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "only constants index the sums, so that they stay in registers")]
unsafe fn add_taps<V: Lanes, const ROWS: usize, const VECTORS: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    table: &[TapRows<ROWS>],
    c: usize,
    weights: *const f32,
    panel: usize,
) {
    let mut tile = [[sums[0][0]; VECTORS]; ROWS];
    for r in 0..ROWS {
        for v in 0..VECTORS {
            tile[r][v] = sums[r][v];
        }
    }
    // SAFETY: this function's contract.
    unsafe {
        for TapRows { tap, rows, .. } in table {
            let weights = weights.add(tap * c * LANES);
            for i in 0..c {
                let mut vectors = [V::splat(0.0); VECTORS];
                for v in 0..VECTORS {
                    vectors[v] = V::load(weights.add(v * panel + i * LANES));
                }
                for r in 0..ROWS {
                    let x = V::splat(*rows[r].add(i));
                    for v in 0..VECTORS {
                        tile[r][v] = x.mul_add(vectors[v], tile[r][v]);
                    }
                }
            }
        }
    }
    for r in 0..ROWS {
        for v in 0..VECTORS {
            sums[r][v] = tile[r][v];
        }
    }
}

/// Adds the products of a tile for an output of few channels: vectors lie along the input channels.
///
/// # Safety
///
/// That of [`many_outputs`].
#[inline(always)]
unsafe fn few_outputs<V: Lanes, const ROWS: usize>(
    table: &[TapRows<ROWS>],
    [c, n]: [usize; 2],
    packed: &[f32],
    rows: [Option<usize>; ROWS],
    output: &mut [f32],
) {
    for first in (0..ROWS).step_by(3) {
        let rows = [0, 1, 2].map(|i| rows[first + i]);
        let mut from = 0;
        while from < n {
            // SAFETY: this function's contract.
            unsafe {
                if n - from >= 4 {
                    dots::<V, ROWS, 4>(table, first, [c, n], packed, rows, output, from);
                    from += 4;
                } else {
                    dots::<V, ROWS, 1>(table, first, [c, n], packed, rows, output, from);
                    from += 1;
                }
            }
        }
    }
}

/// Adds the products of three places from `first` on and `OUTPUTS` channels from `from` on.
///
/// # Safety
///
/// That of [`many_outputs`].
#[inline(always)]
unsafe fn dots<V: Lanes, const ROWS: usize, const OUTPUTS: usize>(
    table: &[TapRows<ROWS>],
    first: usize,
    [c, n]: [usize; 2],
    packed: &[f32],
    rows: [Option<usize>; 3],
    output: &mut [f32],
    from: usize,
) {
    assert!(packed.len() >= table.last().map_or(0, |last| last.tap + 1) * c * n);
    // SAFETY: this function's contract; the line above and `from + OUTPUTS <= n` hold the weights in bounds.
    unsafe {
        let mut sums = [[V::splat(0.0); OUTPUTS]; 3];
        for TapRows { tap, rows, .. } in table {
            let weights = packed.as_ptr().add((tap * n + from) * c);
            let rows = [0, 1, 2].map(|i| rows[first + i]);
            let whole = c / LANES * LANES;
            for i in (0..whole).step_by(LANES) {
                add_products(&mut sums, rows, weights, c, i, LANES);
            }
            if whole < c {
                add_products::<V, OUTPUTS>(&mut sums, rows, weights, c, whole, c - whole);
            }
        }
        for (sums, row) in sums.iter().zip(rows) {
            let Some(row) = row else { continue };
            for (o, sum) in sums.iter().enumerate() {
                output[row + from + o] += sum.sum();
            }
        }
    }
}

/// Adds the products of `width` input channels, from `i` on, of three places with rows of the weight `c` apart.
///
/// # Safety
///
/// That of [`Lanes`]; all rows have at least `i + width` elements, and `width` is at most 16.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "only constants index the sums, so that they stay in registers")]
unsafe fn add_products<V: Lanes, const OUTPUTS: usize>(
    sums: &mut [[V; OUTPUTS]; 3],
    rows: [*const f32; 3],
    weights: *const f32,
    c: usize,
    i: usize,
    width: usize,
) {
    // SAFETY: this function's contract.
    unsafe {
        let mut vectors = [V::splat(0.0); OUTPUTS];
        for o in 0..OUTPUTS {
            vectors[o] = V::load_first(weights.add(o * c + i), width);
        }
        for r in 0..3 {
            let x = V::load_first(rows[r].add(i), width);
            for o in 0..OUTPUTS {
                sums[r][o] = x.mul_add(vectors[o], sums[r][o]);
            }
        }
    }
}
