//! Tokens: what tokenizers make of media and backbones think in.

mod file;
mod kind;
mod pieces;

pub use kind::{TokenKind, TokenShape};

use crate::{Error, ErrorKind, Result};

/// The tokens of one medium, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    grid: [usize; 3],
    values: TokenValues,
}

/// The tokens' values in C order of the grid.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenValues {
    /// `L × Q` entries, `[t, h, w, Q]`: all levels of a place stand together, coarse to fine. A sequence of another
    /// order (level by level, delayed) is for a layout to make.
    Codes {
        /// `Q`, which may be less than the tokenizer has: the coarse levels stand for themselves.
        levels: usize,
        /// Size `K` of each codebook: every code is below it.
        entries: usize,
        /// The entries.
        codes: Vec<u32>,
    },
    /// `L × C` numbers, `[t, h, w, C]`.
    Vectors {
        /// `C`.
        channels: usize,
        /// The numbers.
        values: Vec<f32>,
    },
}

impl TokenValues {
    /// What the tokens are; whether codes have bits, their values do not say.
    pub fn kind(&self) -> TokenKind {
        match *self {
            Self::Codes { levels, entries, .. } => TokenKind::Codes { levels, entries, bits: None },
            Self::Vectors { channels, .. } => TokenKind::Vectors { channels },
        }
    }

    /// How many tokens they are, `L`.
    pub fn count(&self) -> usize {
        match self {
            Self::Codes { levels, codes, .. } => codes.len() / (*levels).max(1),
            Self::Vectors { channels, values } => values.len() / (*channels).max(1),
        }
    }
}

impl Tokens {
    /// Tokens from the codes of one codebook.
    ///
    /// # Errors
    /// As [`levels`](Self::levels).
    pub fn codes(grid: [usize; 3], entries: usize, codes: Vec<u32>) -> Result<Self> {
        Self::levels(grid, 1, entries, codes)
    }

    /// Tokens from the codes of `levels` codebooks, `[t, h, w, Q]` in C order.
    ///
    /// # Errors
    /// Where there are not `t·h·w·Q` codes, or one is not below `entries`: an out-of-range code would
    /// be an out-of-bounds read in an embedding.
    pub fn levels(grid: [usize; 3], levels: usize, entries: usize, codes: Vec<u32>) -> Result<Self> {
        let wanted = length(grid)?.checked_mul(levels).filter(|&codes| codes > 0);
        if wanted != Some(codes.len()) {
            let kind = TokenKind::Codes { levels, entries, bits: None };
            return Err(tokens_error(format!("{} numbers do not fill the grid {grid:?} with {kind}", codes.len())));
        }
        if let Some(code) = codes.iter().find(|&&code| code as usize >= entries) {
            return Err(tokens_error(format!("code {code} is not in a codebook of {entries} entries")));
        }
        Ok(Self { grid, values: TokenValues::Codes { levels, entries, codes } })
    }

    /// Tokens from real vectors, `[t, h, w, C]` in C order.
    ///
    /// # Errors
    /// Where the values do not fill the grid, or one is not finite.
    pub fn vectors(grid: [usize; 3], channels: usize, values: Vec<f32>) -> Result<Self> {
        if length(grid)?.checked_mul(channels) != Some(values.len()) {
            let kind = TokenKind::Vectors { channels };
            return Err(tokens_error(format!("{} numbers do not fill the grid {grid:?} with {kind}", values.len())));
        }
        if let Some(value) = values.iter().find(|value| !value.is_finite()) {
            return Err(tokens_error(format!("a vector holds {value}, which is not a finite number")));
        }
        Ok(Self { grid, values: TokenValues::Vectors { channels, values } })
    }

    /// Places `[t, h, w]`.
    pub fn grid(&self) -> [usize; 3] {
        self.grid
    }

    /// The values.
    pub fn values(&self) -> &TokenValues {
        &self.values
    }

    /// How many codes a token has, one of each codebook; `None` for vectors.
    pub fn level_count(&self) -> Option<usize> {
        self.values.kind().level_count()
    }

    /// The codes `[L, Q]`, all levels of a place together, coarse to fine.
    ///
    /// # Errors
    /// Where these are vectors.
    pub fn as_codes(&self) -> Result<&[u32]> {
        match &self.values {
            TokenValues::Codes { codes, .. } => Ok(codes),
            TokenValues::Vectors { .. } => Err(self.unlike("codes")),
        }
    }

    /// The vectors `[L, C]`.
    ///
    /// # Errors
    /// Where these are codes.
    pub fn as_vectors(&self) -> Result<&[f32]> {
        match &self.values {
            TokenValues::Vectors { values, .. } => Ok(values),
            TokenValues::Codes { .. } => Err(self.unlike("vectors")),
        }
    }

    fn unlike(&self, expected: &str) -> Error {
        tokens_error(format!("{} where {expected} were expected", self.values.kind()))
    }

    /// These tokens, which are to be of a shape.
    ///
    /// # Errors
    /// Where they are of another.
    pub fn fitting(&self, shape: &TokenShape) -> Result<&Self> {
        match self.grid == shape.grid && shape.kind.holds(&self.values) {
            true => Ok(self),
            false => Err(tokens_error(format!("a grid of {:?} where {shape} were expected", self.grid))),
        }
    }

    /// The first `keep` levels alone; all else as it is.
    pub fn coarse(&self, keep: usize) -> Self {
        match &self.values {
            TokenValues::Codes { levels, entries, codes } if (1..*levels).contains(&keep) => {
                let codes = codes.chunks(*levels).flat_map(|codes| codes[..keep].iter().copied()).collect();
                let values = TokenValues::Codes { levels: keep, entries: *entries, codes };
                Self { grid: self.grid, values }
            }
            _ => self.clone(),
        }
    }
}

fn length(grid: [usize; 3]) -> Result<usize> {
    let length = grid.iter().try_fold(1usize, |n, &side| n.checked_mul(side)).filter(|&n| n > 0);
    length.ok_or_else(|| tokens_error(format!("{grid:?} is no grid")))
}

pub(crate) fn tokens_error(message: String) -> Error {
    Error::new(ErrorKind::Weights, "tokens", message)
}

/// The digits of `code` as ±1, lowest bit first (MAGVIT-v2, section 3: `index = Σ 2ⁱ·[zᵢ > 0]`).
pub fn signs(code: u32, bits: usize) -> impl Iterator<Item = f32> {
    (0..bits).map(move |i| if code >> i & 1 == 1 { 1.0 } else { -1.0 })
}

/// The code whose [`signs`] these are: a value above zero is a one.
pub fn code_of(signs: &[f32]) -> u32 {
    signs.iter().enumerate().fold(0, |code, (i, &z)| code | u32::from(z > 0.0) << i)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_survive_the_way_through_bits() {
        for bits in [1, 7, 10, 18] {
            for code in (0..1u32 << bits).step_by(if bits > 10 { 101 } else { 1 }) {
                assert_eq!(code_of(&signs(code, bits).collect::<Vec<_>>()), code);
            }
        }
    }

    #[test]
    fn a_code_out_of_range_is_refused() {
        assert!(Tokens::codes([1, 1, 2], 4, vec![3, 4]).is_err());
        assert!(Tokens::levels([1, 1, 1], 2, 4, vec![3, 4]).is_err());
        assert!(Tokens::levels([1, 1, 2], 0, 4, vec![]).is_err());
        assert!(Tokens::vectors([1, 1, 1], 1, vec![f32::NAN]).is_err());
        // A grid of no places, and one of more than can be counted.
        for grid in [[0, 1, 1], [2, 0, 3], [usize::MAX, 2, 1]] {
            assert!(Tokens::codes(grid, 4, vec![]).is_err() && Tokens::vectors(grid, 1, vec![]).is_err(), "{grid:?}");
        }
    }

    #[test]
    fn values_are_read_as_what_they_are() {
        let levels = Tokens::levels([1, 2, 3], 5, 31, (0..30).collect()).unwrap();
        let coarse = Tokens::levels([1, 2, 3], 2, 31, (0..30).filter(|i| i % 5 < 2).collect()).unwrap();
        assert_eq!((levels.coarse(2), levels.coarse(9)), (coarse, levels.clone()));
        let codes = Tokens::codes([1, 2, 3], 31, (0..30).filter(|i| i % 5 < 1).collect()).unwrap();
        assert_eq!((levels.coarse(1), codes.coarse(1)), (codes.clone(), codes.clone()));
        let vectors = Tokens::vectors([1, 2, 3], 2, vec![0.5; 12]).unwrap();
        assert_eq!([&codes, &levels, &vectors].map(Tokens::level_count), [Some(1), Some(5), None]);
        assert_eq!(levels.as_codes().unwrap(), (0..30).collect::<Vec<_>>());
        assert_eq!(vectors.as_vectors().unwrap(), [0.5; 12]);
        let refused = [vectors.as_codes().unwrap_err(), levels.as_vectors().unwrap_err()];
        assert_eq!(
            refused.map(|error| error.message().to_owned()),
            [
                "vectors of 2 channels where codes were expected",
                "5 codebooks of 31 entries where vectors were expected"
            ]
        );
    }
}
