//! What a token is, and how many there are.

use super::TokenValues;
use std::fmt;

/// What a single token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenKind {
    /// An entry of each of `Q` codebooks, coarse to fine (residual quantization); most tokenizers have one codebook.
    Codes {
        /// How many codebooks `Q` there are, at least 1.
        levels: usize,
        /// How many entries `K` each of them has.
        entries: usize,
        /// `Some(b)` where an entry may be read as the ±1 vector of its `b` binary digits, lowest first, so that a
        /// diffusion backbone can read codes: level after level, coarse first. Entries of lookup-free quantization
        /// *are* these vectors; of a residual quantizer they are the analog bits of the entry's number.
        bits: Option<usize>,
    },
    /// A real vector (continuous latents, the states of a text encoder).
    Vectors {
        /// Its length `C`.
        channels: usize,
    },
}

impl TokenKind {
    /// Codes of `levels` residual codebooks. Where `entries` is a power of two, an entry's number has bits (Chen,
    /// Zhang and Hinton 2023, "Analog Bits", section 2).
    pub fn residual(levels: usize, entries: usize) -> Self {
        let bits = entries.is_power_of_two().then(|| entries.ilog2() as usize);
        Self::Codes { levels, entries, bits }
    }

    /// Length of the vector that a diffusion backbone reads, where there is one.
    pub fn channels(self) -> Option<usize> {
        match self {
            Self::Codes { levels, bits, .. } => bits.map(|bits| levels * bits),
            Self::Vectors { channels } => Some(channels),
        }
    }

    /// How many codebooks there are; `None` of vectors.
    pub fn level_count(self) -> Option<usize> {
        match self {
            Self::Codes { levels, .. } => Some(levels),
            Self::Vectors { .. } => None,
        }
    }

    /// How many different tokens there can be at a place, where all levels together are one number: `K^Q`. `None` of
    /// vectors, and beyond 64 bits.
    pub fn entries(self) -> Option<u64> {
        match self {
            Self::Codes { levels, entries, .. } => (entries as u64).checked_pow(u32::try_from(levels).ok()?),
            Self::Vectors { .. } => None,
        }
    }

    /// Bits that a token takes where all codes are equally frequent, `Q·log₂K`; `None` of vectors.
    pub fn information(self) -> Option<f64> {
        match self {
            Self::Codes { levels, entries, .. } => Some(levels as f64 * (entries as f64).log2()),
            Self::Vectors { .. } => None,
        }
    }

    /// Whether `values` are tokens of this kind; coarse levels alone are.
    pub fn holds(self, values: &TokenValues) -> bool {
        match (self, values.kind()) {
            (Self::Codes { levels, entries, .. }, Self::Codes { levels: some, entries: found, .. }) => {
                entries == found && some <= levels
            }
            (Self::Vectors { channels }, Self::Vectors { channels: found }) => channels == found,
            _ => false,
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codes { levels: 1, entries, bits: Some(bits) } => {
                write!(f, "codes of {entries} entries ({bits} bits)")
            }
            Self::Codes { levels: 1, entries, bits: None } => write!(f, "codes of {entries} entries"),
            Self::Codes { levels, entries, .. } => write!(f, "{levels} codebooks of {entries} entries"),
            Self::Vectors { channels } => write!(f, "vectors of {channels} channels"),
        }
    }
}

/// How many tokens there are, where they lie and what each of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TokenShape {
    /// Places `[t, h, w]`; the sequence runs through them in C order.
    pub grid: [usize; 3],
    /// What each token is.
    pub kind: TokenKind,
}

impl TokenShape {
    /// Number of tokens `L`.
    pub fn length(&self) -> usize {
        self.grid.iter().product()
    }
}

impl fmt::Display for TokenShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [t, h, w] = self.grid;
        // "40 8 codebooks" would read as one number.
        let of = if self.kind.level_count().is_some_and(|levels| levels > 1) { "tokens of " } else { "" };
        write!(f, "[{t}, {h}, {w}] = {} {of}{}", self.length(), self.kind)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_says_what_it_is_and_what_it_takes() {
        let one = TokenKind::Codes { levels: 1, entries: 1024, bits: Some(10) };
        let many = TokenKind::residual(8, 1024);
        let odd = TokenKind::residual(3, 7);
        let vectors = TokenKind::Vectors { channels: 16 };
        let said = [one, TokenKind::Codes { levels: 1, entries: 7, bits: None }, many, odd, vectors]
            .map(|kind| TokenShape { grid: [5, 2, 3], kind }.to_string());
        assert_eq!(
            said,
            [
                "[5, 2, 3] = 30 codes of 1024 entries (10 bits)",
                "[5, 2, 3] = 30 codes of 7 entries",
                "[5, 2, 3] = 30 tokens of 8 codebooks of 1024 entries",
                "[5, 2, 3] = 30 tokens of 3 codebooks of 7 entries",
                "[5, 2, 3] = 30 vectors of 16 channels",
            ]
        );
        assert_eq!([one, many, odd, vectors].map(TokenKind::channels), [Some(10), Some(80), None, Some(16)]);
        assert_eq!([one, many, odd, vectors].map(TokenKind::level_count), [Some(1), Some(8), Some(3), None]);
        assert_eq!([one, many, odd, vectors].map(TokenKind::entries), [Some(1024), None, Some(343), None]);
        assert_eq!([one, many, vectors].map(TokenKind::information), [Some(10.0), Some(80.0), None]);
    }

    #[test]
    fn coarse_levels_are_of_the_kind_and_finer_ones_are_not() {
        let codes = |levels, entries| TokenValues::Codes { levels, entries, codes: vec![0; levels] };
        let kind = TokenKind::residual(3, 8);
        assert!(kind.holds(&codes(3, 8)) && kind.holds(&codes(1, 8)));
        assert!(!kind.holds(&codes(4, 8)) && !kind.holds(&codes(3, 7)));
        let vectors = TokenValues::Vectors { channels: 3, values: vec![0.0; 3] };
        assert!(!kind.holds(&vectors) && TokenKind::Vectors { channels: 3 }.holds(&vectors));
        assert!(!TokenKind::Vectors { channels: 3 }.holds(&codes(3, 8)));
    }
}
