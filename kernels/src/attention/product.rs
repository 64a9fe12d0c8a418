//! The matrix product of tiles that lie in the first-level cache.

use crate::simd::{Routine, run_fused};

/// Numbers in the smallest panel: tiles have a multiple of so many columns.
pub(super) const PANEL: usize = 16;

/// `out = A·B`, or `out += A·B`.
///
/// A is read number by number, so that it may be stored by rows or by columns; B and the output are read and written
/// by vectors along their rows.
pub(super) struct Product<'a> {
    pub rows: usize,
    pub depth: usize,
    /// A multiple of [`PANEL`].
    pub columns: usize,
    pub a: &'a [f32],
    /// From a row of A to the next.
    pub a_row: usize,
    /// From a column of A to the next.
    pub a_column: usize,
    pub b: &'a [f32],
    /// From a row of B to the next.
    pub b_row: usize,
    /// From a row of the output to the next.
    pub out_row: usize,
    /// Whether the product is added to what the output holds.
    pub add: bool,
}

impl Product<'_> {
    /// Computes the product.
    pub fn write(&self, out: &mut [f32]) {
        let Product { rows, depth, columns, a_row, a_column, b_row, out_row, .. } = *self;
        if rows == 0 || columns == 0 || depth == 0 {
            return;
        }
        assert!(columns.is_multiple_of(PANEL));
        assert!((rows - 1) * a_row + (depth - 1) * a_column < self.a.len());
        assert!((depth - 1) * b_row + columns <= self.b.len());
        assert!((rows - 1) * out_row + columns <= out.len());
        run_fused(Into { product: self, out });
    }
}

/// A product whose matrices have been checked to be as large as it says, and where it goes.
struct Into<'a> {
    product: &'a Product<'a>,
    out: &'a mut [f32],
}

impl Routine for Into<'_> {
    #[inline(always)]
    fn run<const WIDE: bool, const FUSED: bool>(mut self) {
        let columns = self.product.columns;
        let mut from = 0;
        while from < columns {
            from += match (columns - from) / PANEL {
                4.. if WIDE => self.panels::<4, FUSED>(from),
                3 if WIDE => self.panels::<3, FUSED>(from),
                2 if WIDE => self.panels::<2, FUSED>(from),
                _ => self.panels::<1, FUSED>(from),
            };
        }
    }
}

impl Into<'_> {
    /// Computes so many panels of columns, from the given column, and returns the number of columns.
    #[inline(always)]
    fn panels<const PANELS: usize, const FUSED: bool>(&mut self, from: usize) -> usize {
        let rows = self.product.rows;
        for row in (0..rows).step_by(4) {
            match rows - row {
                1 => self.block::<1, PANELS, FUSED>(row, from),
                2 => self.block::<2, PANELS, FUSED>(row, from),
                3 => self.block::<3, PANELS, FUSED>(row, from),
                _ => self.block::<4, PANELS, FUSED>(row, from),
            }
        }
        PANELS * PANEL
    }

    /// Computes a block of the output whose sums the registers hold. The compiler keeps them there because rows of B
    /// and of the output are copied as a whole: read through references, they would be taken number by number.
    #[inline(always)]
    fn block<const ROWS: usize, const PANELS: usize, const FUSED: bool>(&mut self, row: usize, column: usize) {
        type Columns<const PANELS: usize> = [[f32; PANEL]; PANELS];
        let Product { depth, a, a_row, a_column, b, b_row, out_row, add, .. } = *self.product;
        let mut sums: [Columns<PANELS>; ROWS] = [[[0.0; PANEL]; PANELS]; ROWS];
        for k in 0..depth {
            // SAFETY: the block lies within the rows and columns of the product, which `Product::write` has checked to
            // lie within the slices.
            let b = unsafe { b.as_ptr().add(k * b_row + column).cast::<Columns<PANELS>>().read() };
            for (r, sums) in sums.iter_mut().enumerate() {
                // SAFETY: as above.
                let a = unsafe { *a.get_unchecked((row + r) * a_row + k * a_column) };
                for p in 0..PANELS {
                    for c in 0..PANEL {
                        sums[p][c] = if FUSED { a.mul_add(b[p][c], sums[p][c]) } else { a * b[p][c] + sums[p][c] };
                    }
                }
            }
        }
        for (r, mut sums) in sums.into_iter().enumerate() {
            // SAFETY: as above.
            let out =
                unsafe { &mut *self.out.as_mut_ptr().add((row + r) * out_row + column).cast::<Columns<PANELS>>() };
            if add {
                let before = *out;
                for p in 0..PANELS {
                    for c in 0..PANEL {
                        sums[p][c] += before[p][c];
                    }
                }
            }
            *out = sums;
        }
    }
}
