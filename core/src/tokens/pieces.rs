//! Tokens cut out of others, and put together.

use super::{TokenKind, TokenValues, Tokens, tokens_error};
use crate::Result;
use std::ops::Range;

impl Tokens {
    /// The tokens of some frames, rows and columns. Panics where the grid has not got them, which is a bug of
    /// the caller.
    pub fn crop(&self, window: [Range<usize>; 3]) -> Self {
        let within = |(range, side): (&Range<usize>, usize)| !range.is_empty() && range.end <= side;
        assert!(window.iter().zip(self.grid).all(within), "{window:?} is not within {:?}", self.grid);
        let values = match &self.values {
            TokenValues::Codes { levels, entries, codes } => {
                TokenValues::Codes { levels: *levels, entries: *entries, codes: cut(codes, self.grid, &window) }
            }
            TokenValues::Vectors { channels, values } => {
                TokenValues::Vectors { channels: *channels, values: cut(values, self.grid, &window) }
            }
        };
        Self { grid: window.map(|range| range.len()), values }
    }

    /// Tokens one after the other along an axis of the grid: 0 frames, 1 rows, 2 columns.
    ///
    /// # Errors
    /// Where there are none, they are not of one kind, or their other sides differ.
    pub fn concat(parts: &[Self], axis: usize) -> Result<Self> {
        let first = parts.first().ok_or_else(|| tokens_error("no tokens to put together".into()))?;
        let mut grid = first.grid;
        grid[axis] = parts.iter().map(|part| part.grid[axis]).sum();
        let alike = |part: &Self| (0..3).all(|side| side == axis || part.grid[side] == grid[side]);
        if let Some(other) = parts.iter().find(|part| !alike(part)) {
            let message = format!("tokens {:?} and {:?} do not fit side by side", first.grid, other.grid);
            return Err(tokens_error(message));
        }
        let kind = first.values.kind();
        if let Some(other) = parts.iter().map(|part| part.values.kind()).find(|&other| other != kind) {
            return Err(tokens_error(format!("{kind} and {other} cannot be put together")));
        }
        // What lies together in each part: all behind the axis.
        let outer: usize = grid[..axis].iter().product();
        match kind {
            TokenKind::Codes { levels, entries, .. } => {
                Self::levels(grid, levels, entries, woven(parts, outer, Self::as_codes)?)
            }
            TokenKind::Vectors { channels } => Self::vectors(grid, channels, woven(parts, outer, Self::as_vectors)?),
        }
    }
}

/// What a window of a grid holds.
fn cut<T: Copy>(values: &[T], grid: [usize; 3], [frames, rows, columns]: &[Range<usize>; 3]) -> Vec<T> {
    let [_, h, w] = grid;
    let each = values.len() / grid.iter().product::<usize>();
    let lines = frames.clone().flat_map(|frame| rows.clone().map(move |row| (frame * h + row) * w));
    lines.flat_map(|line| &values[(line + columns.start) * each..(line + columns.end) * each]).copied().collect()
}

/// The values of all parts, which are cut into `outer` pieces each, piece by piece in turn.
fn woven<T: Copy>(parts: &[Tokens], outer: usize, values: impl Fn(&Tokens) -> Result<&[T]>) -> Result<Vec<T>> {
    let parts = parts.iter().map(values).collect::<Result<Vec<_>>>()?;
    let piece =
        |i: usize| parts.iter().flat_map(move |part| &part[i * (part.len() / outer)..(i + 1) * (part.len() / outer)]);
    Ok((0..outer).flat_map(piece).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> [Tokens; 3] {
        let grid = [3, 5, 7];
        [
            Tokens::codes(grid, 105, (0..105).collect()).unwrap(),
            Tokens::levels(grid, 2, 210, (0..210).collect()).unwrap(),
            Tokens::vectors(grid, 2, (0..210).map(|i| i as f32).collect()).unwrap(),
        ]
    }

    #[test]
    fn what_is_cut_along_an_axis_comes_together_again() {
        for whole in all() {
            let frames = [0..2, 2..3].map(|frames| whole.crop([frames, 0..5, 0..7]));
            assert_eq!(Tokens::concat(&frames, 0).unwrap(), whole);
            let rows = [0..2, 2..3, 3..5].map(|rows| whole.crop([0..3, rows, 0..7]));
            assert_eq!(Tokens::concat(&rows, 1).unwrap(), whole);
            let columns = [0..6, 6..7].map(|columns| whole.crop([0..3, 0..5, columns]));
            assert_eq!(Tokens::concat(&columns, 2).unwrap(), whole);
            let twice = Tokens::concat(&[whole.clone(), whole.clone()], 0).unwrap();
            assert_eq!(twice.grid(), [6, 5, 7]);
        }
        let [codes, ..] = all();
        // Frame 1, rows 2 and 3, columns 4 to 6.
        let cut = codes.crop([1..2, 2..4, 4..7]);
        assert_eq!(cut.as_codes().unwrap(), [53, 54, 55, 60, 61, 62]);
    }

    #[test]
    fn what_does_not_fit_is_refused() {
        let [codes, levels, _] = all();
        assert!(Tokens::concat(&[], 0).is_err());
        assert!(Tokens::concat(&[codes.clone(), levels], 0).is_err());
        assert!(Tokens::concat(&[codes.clone(), codes.crop([0..3, 0..2, 0..7])], 2).is_err());
        let other = Tokens::codes([3, 5, 7], 106, vec![0; 105]).unwrap();
        assert!(Tokens::concat(&[codes, other], 1).is_err());
    }
}
