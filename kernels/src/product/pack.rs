//! Brings operands into the order in which the tiles read them.
//!
//! A *unit* is what one instruction takes of the depth: a pair of bf16 numbers, which the kernels carry about as the
//! bits of one `f32`.

use std::mem::MaybeUninit;
use std::ops::Range;

use rayon::prelude::*;

use crate::lanes::{InstructionSet, LANES, LaneWork, Lanes};

/// Units of a packed block: an operand's share of the first-level cache.
pub(super) const UNITS: usize = 256;

/// Columns of a packed panel of the second operand.
pub(super) const PANEL: usize = 2 * LANES;

/// Rows of a packed panel of a first operand that does not lie along the depth, in the room of a vector: a multiple of
/// the rows of every tile.
pub(super) const BAND: usize = 12;

/// Units below which waking a second thread costs more than it saves.
const PARALLEL: usize = 1 << 16;

/// From a line of a packed first operand to the next, where they lie along the depth; not a power of two, so that
/// lines do not fall upon the same places of the cache.
pub(super) const LINE: usize = UNITS + LANES;

/// An operand as it lies in memory. Its *lines* are the rows of a first operand, the columns of a second.
#[derive(Clone, Copy)]
pub(super) struct Operand<'a> {
    pub values: &'a [f32],
    /// How many lines there are.
    pub lines: usize,
    pub depth: usize,
    /// Whether the numbers of a line lie side by side, and lines one after the other; else it is the other way round.
    pub along: bool,
}

impl Operand<'_> {
    pub fn check(&self) {
        assert_eq!(self.values.len(), self.lines * self.depth);
    }

    /// Writes one line's units as they come: `to[0..units]`.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`]. The operand has the line and lies along; `to` has room for the units rounded up to whole
    /// vectors.
    #[inline(always)]
    pub unsafe fn write_line<V: Lanes>(&self, line: usize, units: &Range<usize>, to: *mut f32) {
        let from = &self.values[line * self.depth..][2 * units.start..(2 * units.end).min(self.depth)];
        for (i, piece) in from.chunks(2 * LANES).enumerate() {
            let (low, high) = piece.split_at(piece.len().min(LANES));
            // SAFETY: the loads stay within the piece, the store within the rounded-up units.
            unsafe {
                let low = V::load_first(low.as_ptr(), low.len());
                let high = V::load_first(high.as_ptr(), high.len());
                V::neighbours(low, high).store(to.add(i * LANES));
            }
        }
    }

    /// Writes some lines side by side: line `lines.start + j` of unit `units.start + u` to `to[u·16·VECTORS + j]`, and
    /// zeros up to `16·VECTORS` lines.
    ///
    /// # Safety
    ///
    /// That of [`Lanes`]. The operand has the lines, at most `16·VECTORS`, and the units, at most [`UNITS`]; there is
    /// room for them.
    #[inline(always)]
    unsafe fn write_panel<V: Lanes, const VECTORS: usize>(
        &self,
        lines: Range<usize>,
        units: &Range<usize>,
        to: *mut f32,
    ) {
        let (count, step) = (lines.len(), VECTORS * LANES);
        // SAFETY: this function's contract. What is loaded are numbers that the operand has: `count` at most.
        unsafe {
            if self.along {
                let mut line = [0.0; LINE];
                for j in 0..step {
                    if j < count {
                        self.write_line::<V>(lines.start + j, units, line.as_mut_ptr());
                    }
                    for (u, unit) in line[..units.len()].iter().enumerate() {
                        to.add(u * step + j).write(if j < count { *unit } else { 0.0 });
                    }
                }
                return;
            }
            let row = |depth: usize, v: usize| {
                let n = if depth < self.depth { count.saturating_sub(v * LANES).min(LANES) } else { 0 };
                V::load_first(self.values.as_ptr().wrapping_add(depth * self.lines + lines.start + v * LANES), n)
            };
            for (u, unit) in units.clone().enumerate() {
                for v in 0..VECTORS {
                    V::pairs(row(2 * unit, v), row(2 * unit + 1, v)).store(to.add(u * step + v * LANES));
                }
            }
        }
    }
}

/// Units of all panels of a job that are packed before the next ones, so that the lines of the cache that several
/// panels share are read once.
const TURN: usize = 16;

/// Panels that one thread packs before it takes the next.
const JOB: usize = 8;

/// Packs some lines and units of an operand: `[blocks of 256 units, panels, units, 16·VECTORS]`, where a panel holds
/// `width` lines.
pub(super) fn pack<const VECTORS: usize>(
    set: InstructionSet,
    operand: Operand,
    lines: Range<usize>,
    units: Range<usize>,
    width: usize,
) -> Vec<f32> {
    let step = VECTORS * LANES;
    let panels = lines.len().div_ceil(width);
    let size = panels * units.len() * step;
    let mut packed = Vec::with_capacity(size);
    let blocks = packed.spare_capacity_mut()[..size].chunks_mut((panels * UNITS * step).max(1)).enumerate();
    let jobs = blocks.flat_map(|(i, block)| {
        let from = units.start + i * UNITS;
        let units = from..(from + UNITS).min(units.end);
        let chunks = block.chunks_mut(JOB * units.len() * step).enumerate();
        let lines = lines.clone();
        chunks.map(move |(i, panels)| {
            let lines = lines.start + i * JOB * width..lines.end;
            Panels::<VECTORS> { operand, lines, units: units.clone(), width, panels }
        })
    });
    let work = |job: Panels<VECTORS>| set.run_on_pairs(job);
    if lines.len() * units.len() < PARALLEL {
        jobs.for_each(work);
    } else {
        jobs.collect::<Vec<_>>().into_par_iter().for_each(work);
    }
    // SAFETY: the capacity is so large, and the jobs have written each element.
    unsafe { packed.set_len(size) };
    packed
}

/// Panels of one block of units to pack.
struct Panels<'a, const VECTORS: usize> {
    operand: Operand<'a>,
    /// The lines from the first of the first panel on.
    lines: Range<usize>,
    units: Range<usize>,
    width: usize,
    panels: &'a mut [MaybeUninit<f32>],
}

impl<const P: usize> LaneWork for Panels<'_, P> {
    #[inline(always)]
    unsafe fn run<V: Lanes, const ROWS: usize, const VECTORS: usize>(self) {
        let Self { operand, lines, units, width, panels } = self;
        let size = units.len() * P * LANES;
        // Along the depth, lines are better read at once.
        let turn = if operand.along { UNITS } else { TURN };
        for from in units.clone().step_by(turn) {
            let some = from..(from + turn).min(units.end);
            for (i, panel) in panels.chunks_exact_mut(size).enumerate() {
                let first = lines.start + i * width;
                let lines = first..(first + width).min(lines.end);
                let to = panel[(from - units.start) * P * LANES..][..some.len() * P * LANES].as_mut_ptr().cast();
                // SAFETY: the instructions exist by this function's contract, the slice above has room for the units,
                // and the operand has the lines.
                unsafe { operand.write_panel::<V, P>(lines, &some, to) };
            }
        }
    }
}
