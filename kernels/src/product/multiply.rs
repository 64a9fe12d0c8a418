//! The matrix product, blocked for the caches (Goto and van de Geijn, ACM Transactions on Mathematical Software 34,
//! 2008): panels of the second operand are packed once for all threads; a thread packs a block of rows of the first,
//! and multiplies it tile by tile with the panels. A tile of sums stays in registers while a block of the depth goes by.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use super::pack::{BAND, LINE, Operand, PANEL, UNITS, pack};
use crate::lanes::{InstructionSet, LANES, LaneWork, Lanes};

/// Rows that a thread computes before it takes the next; whole bands.
const ROWS: usize = 96;

/// Units of the second operand that are packed at once, 2 MiB: what goes into the second- and third-level cache.
const PACKED: usize = 1 << 19;

/// Pieces of work to make at least, as far as there are tiles: enough for many threads.
const PIECES: usize = 16;

/// Multiply-adds below which waking a second thread costs more than it saves.
const PARALLEL: usize = 1 << 20;

/// `a·b` of the operands rounded to bf16, plus `start` in each row where there is one.
///
/// `a` is of `[rows, depth]`, `b` of `[depth, columns]`, `start` of `[columns]`; the result of `[rows, columns]`.
pub(super) fn multiply(set: InstructionSet, a: Operand, b: Operand, start: Option<&[f32]>) -> Vec<f32> {
    let (rows, columns) = (a.lines, b.lines);
    a.check();
    b.check();
    assert_eq!(a.depth, b.depth);
    assert!(start.is_none_or(|start| start.len() == columns));
    if a.depth == 0 {
        return start.map_or(vec![0.0; rows * columns], |start| start.repeat(rows));
    }
    let mut out = Vec::with_capacity(rows * columns);
    if rows * columns > 0 {
        let room = Room(out.spare_capacity_mut().as_mut_ptr());
        Product { set, a, b, start, room }.write();
    }
    // SAFETY: the capacity is so large, and `write` has written each element.
    unsafe { out.set_len(rows * columns) };
    out
}

/// The result under construction.
#[derive(Clone, Copy)]
struct Room(*mut MaybeUninit<f32>);

// SAFETY: threads write to different rows or columns.
unsafe impl Send for Room {}
// SAFETY: as above.
unsafe impl Sync for Room {}

struct Product<'a> {
    set: InstructionSet,
    a: Operand<'a>,
    b: Operand<'a>,
    start: Option<&'a [f32]>,
    room: Room,
}

impl Product<'_> {
    fn write(&self) {
        let Self { set, a, b, .. } = *self;
        let units = a.depth.div_ceil(2);
        let width = b.lines.next_multiple_of(PANEL).min(PACKED / UNITS);
        let deep = (PACKED / width / UNITS * UNITS).min(units);
        for from in (0..units).step_by(deep) {
            let units = from..(from + deep).min(units);
            // Rows that lie along the depth are packed by the thread that needs them.
            let bands = if a.along { Vec::new() } else { pack::<1>(set, a, 0..a.lines, units.clone(), BAND) };
            for from in (0..b.lines).step_by(width) {
                let columns = from..(from + width).min(b.lines);
                let panels = pack::<2>(set, b, columns.clone(), units.clone(), PANEL);
                self.add(&Packed { units: units.clone(), columns, bands: &bands, panels: &panels });
            }
        }
    }

    /// Adds the products of what is packed.
    fn add(&self, packed: &Packed) {
        let (rows, panels) = (self.a.lines, packed.columns.len().div_ceil(PANEL));
        let block = rows.div_ceil(PIECES).next_multiple_of(BAND).min(ROWS);
        let blocks = rows.div_ceil(block);
        let parts = PIECES.div_ceil(blocks).min(panels);
        let work = |scratch: &mut Vec<f32>, piece: usize| {
            let (i, part) = (piece / parts, piece % parts);
            let rows = i * block..((i + 1) * block).min(rows);
            let panels = part * panels / parts..(part + 1) * panels / parts;
            let block = Block { product: self, packed, rows, panels, scratch };
            self.set.run_on_pairs(block);
        };
        let pieces = 0..blocks * parts;
        if rows * packed.columns.len() * self.a.depth < PARALLEL {
            let mut scratch = Vec::new();
            pieces.for_each(|piece| work(&mut scratch, piece));
        } else {
            pieces.into_par_iter().for_each_init(Vec::new, work);
        }
    }
}

/// What is packed at one time.
struct Packed<'a> {
    units: Range<usize>,
    columns: Range<usize>,
    /// Of the first operand, where it does not lie along the depth.
    bands: &'a [f32],
    /// Of the second operand.
    panels: &'a [f32],
}

/// Rows and panels to multiply.
struct Block<'a, 'b> {
    product: &'b Product<'a>,
    packed: &'b Packed<'b>,
    rows: Range<usize>,
    panels: Range<usize>,
    scratch: &'b mut Vec<f32>,
}

impl LaneWork for Block<'_, '_> {
    #[inline(always)]
    unsafe fn run<V: Lanes, const ROWS: usize, const VECTORS: usize>(self) {
        // SAFETY: the vector type's instructions exist by this function's contract.
        unsafe {
            match self.product.a.along {
                true => self.add::<V, ROWS, VECTORS, LINE, 1>(),
                false => self.add::<V, ROWS, VECTORS, 1, LANES>(),
            }
        }
    }
}

impl Block<'_, '_> {
    /// `ROW` and `UNIT`: from a row of the packed first operand to the next, and from a unit to the next.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`].
    #[inline(always)]
    unsafe fn add<V: Lanes, const ROWS: usize, const VECTORS: usize, const ROW: usize, const UNIT: usize>(self) {
        let Self { product, packed, rows, panels, scratch } = self;
        let Packed { units, columns, .. } = packed;
        let (all_bands, all_panels) = (product.a.lines.div_ceil(BAND), columns.len().div_ceil(PANEL));
        if UNIT == 1 {
            scratch.resize(rows.len().next_multiple_of(ROWS) * LINE, 0.0);
        }
        for from in units.clone().step_by(UNITS) {
            let some = from..(from + UNITS).min(units.end);
            if UNIT == 1 {
                for (row, to) in rows.clone().zip(scratch.chunks_exact_mut(LINE)) {
                    // SAFETY: the operand has the row, and a line of the scratch has room for it.
                    unsafe { product.a.write_line::<V>(row, &some, to.as_mut_ptr()) };
                }
            }
            for panel in panels.clone() {
                let b = &packed.panels[((from - units.start) * all_panels + panel * some.len()) * PANEL..];
                let b = &b[..some.len() * PANEL];
                for start in rows.clone().step_by(ROWS) {
                    let a = if UNIT == 1 {
                        &scratch[(start - rows.start) * LINE..][..ROWS * LINE]
                    } else {
                        let band = (from - units.start) * all_bands + start / BAND * some.len();
                        &packed.bands[band * LANES + start % BAND..][..some.len() * LANES - start % BAND]
                    };
                    let rows = start..(start + ROWS).min(rows.end);
                    for v in (0..PANEL / LANES).step_by(VECTORS) {
                        let column = columns.start + panel * PANEL + v * LANES;
                        if column < columns.end {
                            let b = b[v * LANES..].as_ptr();
                            // SAFETY: the operands were packed as the tile reads them; the result has these rows and
                            // columns, and nobody else writes to them.
                            unsafe {
                                let mut sums = product.sums::<V, ROWS, VECTORS>(&rows, column, from == 0);
                                add_tile::<V, ROWS, VECTORS, ROW, UNIT>(&mut sums, a.as_ptr(), b, some.len());
                                product.store::<V, ROWS, VECTORS>(&sums, &rows, column);
                            }
                        }
                    }
                }
            }
        }
    }
}

impl Product<'_> {
    /// Where the lanes of vector `v` of a tile lie in the result, and how many are columns.
    #[inline(always)]
    fn place(&self, row: usize, column: usize, v: usize) -> (*mut f32, usize) {
        let (columns, column) = (self.b.lines, column + v * LANES);
        (self.room.0.cast::<f32>().wrapping_add(row * columns + column), columns.saturating_sub(column).min(LANES))
    }

    /// What a tile's sums begin with: `start` where the depth does, else what the result holds.
    #[inline(always)]
    unsafe fn sums<V: Lanes, const ROWS: usize, const VECTORS: usize>(
        &self,
        rows: &Range<usize>,
        column: usize,
        first: bool,
    ) -> [[V; VECTORS]; ROWS] {
        // SAFETY: the caller has the instructions; only what the result or `start` has is read.
        unsafe {
            let mut sums = [[V::splat(0.0); VECTORS]; ROWS];
            for (r, sums) in sums.iter_mut().enumerate().take(rows.len()) {
                for (v, sum) in sums.iter_mut().enumerate() {
                    let (place, n) = self.place(rows.start + r, column, v);
                    match self.start {
                        _ if !first => *sum = V::load_first(place, n),
                        Some(start) => *sum = V::load_first(start.as_ptr().wrapping_add(column + v * LANES), n),
                        None => (),
                    }
                }
            }
            sums
        }
    }

    #[inline(always)]
    unsafe fn store<V: Lanes, const ROWS: usize, const VECTORS: usize>(
        &self,
        sums: &[[V; VECTORS]; ROWS],
        rows: &Range<usize>,
        column: usize,
    ) {
        for (r, sums) in sums.iter().enumerate().take(rows.len()) {
            for (v, sum) in sums.iter().enumerate() {
                let (place, n) = self.place(rows.start + r, column, v);
                // SAFETY: the caller has the instructions, and the place is within the result.
                unsafe { sum.store_first(place, n) };
            }
        }
    }
}

/// Adds the product of a packed tile and a packed panel.
///
/// # Safety
///
/// That of [`Lanes`]; so many units are there.
#[inline(always)]
#[expect(clippy::needless_range_loop, reason = "only constants index the sums, so that they stay in registers")]
unsafe fn add_tile<V: Lanes, const ROWS: usize, const VECTORS: usize, const ROW: usize, const UNIT: usize>(
    sums: &mut [[V; VECTORS]; ROWS],
    a: *const f32,
    b: *const f32,
    units: usize,
) {
    // SAFETY: this function's contract.
    unsafe {
        let mut tile = [[V::splat(0.0); VECTORS]; ROWS];
        for r in 0..ROWS {
            for v in 0..VECTORS {
                tile[r][v] = sums[r][v];
            }
        }
        for u in 0..units {
            let mut vectors = [V::splat(0.0); VECTORS];
            for v in 0..VECTORS {
                vectors[v] = V::load(b.add(u * PANEL + v * LANES));
            }
            for r in 0..ROWS {
                let number = V::splat(a.add(r * ROW + u * UNIT).read());
                for v in 0..VECTORS {
                    tile[r][v] = tile[r][v].add_pairs(number, vectors[v]);
                }
            }
        }
        for r in 0..ROWS {
            for v in 0..VECTORS {
                sums[r][v] = tile[r][v];
            }
        }
    }
}
