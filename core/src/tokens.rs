//! Tokens: what tokenizers make of media and backbones think in.

mod pieces;

use crate::{Error, ErrorKind, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use serde::{Deserialize, Serialize};
use std::{collections::HashMap, fmt, path::Path};

/// What a single token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenKind {
    /// An entry of a codebook.
    Codes {
        /// How many entries `K` there are.
        entries: usize,
        /// `Some(b)` where entry `i` *is* the vector of signs of its `b` binary digits (lookup-free
        /// quantization), so that a diffusion backbone can read the same token as a ±1 vector.
        bits: Option<usize>,
    },
    /// An entry of each of `Q` codebooks, coarse to fine: the vector is the sum of the entries
    /// (residual quantization).
    Levels {
        /// How many codebooks `Q` there are.
        levels: usize,
        /// How many entries `K` each of them has.
        entries: usize,
    },
    /// A real vector.
    Latents {
        /// Its length `C`.
        channels: usize,
    },
}

impl TokenKind {
    /// Length of the vector that a diffusion backbone reads, where there is one.
    pub fn channels(self) -> Option<usize> {
        match self {
            Self::Codes { bits, .. } => bits,
            // The bits of each level's entry, as if it were a number (Chen, Zhang and Hinton 2023, section 2).
            Self::Levels { levels, entries } if entries.is_power_of_two() => Some(levels * entries.ilog2() as usize),
            Self::Levels { .. } => None,
            Self::Latents { channels } => Some(channels),
        }
    }

    /// How many different tokens there can be at a place, where all levels together are one number.
    pub fn entries(self) -> Option<u64> {
        match self {
            Self::Codes { entries, .. } => Some(entries as u64),
            Self::Levels { levels, entries } => (entries as u64).checked_pow(u32::try_from(levels).ok()?),
            Self::Latents { .. } => None,
        }
    }

    /// Whether `values` are tokens of this kind; coarse levels alone are.
    pub fn holds(self, values: &TokenValues) -> bool {
        match (self, values) {
            (Self::Codes { entries, .. }, TokenValues::Codes { entries: found, .. }) => entries == *found,
            (Self::Levels { levels, entries }, TokenValues::Levels { levels: some, entries: found, .. }) => {
                entries == *found && *some <= levels
            }
            (Self::Latents { channels }, TokenValues::Latents { channels: found, .. }) => channels == *found,
            _ => false,
        }
    }
}

impl fmt::Display for TokenKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Codes { entries, bits: Some(bits) } => write!(f, "codes of {entries} entries ({bits} bits)"),
            Self::Codes { entries, bits: None } => write!(f, "codes of {entries} entries"),
            Self::Levels { levels, entries } => write!(f, "{levels} levels of codes of {entries} entries"),
            Self::Latents { channels } => write!(f, "latents of {channels} channels"),
        }
    }
}

/// How many tokens there are, where they lie and what each of them is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenShape {
    /// Places `[t, h, w]`; the sequence runs through them in C order.
    pub grid: [usize; 3],
    /// What stands at each place.
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
        write!(f, "[{t}, {h}, {w}] = {} {}", self.length(), self.kind)
    }
}

/// The tokens of one medium, on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct Tokens {
    grid: [usize; 3],
    values: TokenValues,
}

/// The tokens' values in C order of the grid.
#[derive(Clone, Debug, PartialEq)]
pub enum TokenValues {
    /// `L` entries.
    Codes {
        /// Size of the codebook: every code is below it.
        entries: usize,
        /// The entries.
        codes: Vec<u32>,
    },
    /// `L × Q` entries: all levels of a place stand together, coarse to fine. A sequence of another
    /// order (level by level, delayed) is for a layout to make.
    Levels {
        /// `Q`, which may be less than the tokenizer has: the coarse levels stand for themselves.
        levels: usize,
        /// Size of each codebook: every code is below it.
        entries: usize,
        /// The entries.
        codes: Vec<u32>,
    },
    /// `L × C` numbers.
    Latents {
        /// `C`.
        channels: usize,
        /// The numbers.
        values: Vec<f32>,
    },
}

impl Tokens {
    /// Tokens from codes.
    ///
    /// # Errors
    /// Where there are not `t·h·w` codes, or one is not below `entries`: an out-of-range code would
    /// be an out-of-bounds read in an embedding.
    pub fn codes(grid: [usize; 3], entries: usize, codes: Vec<u32>) -> Result<Self> {
        if codes.len() != length(grid)? {
            return Err(tokens_error(format!("{} codes do not fill the grid {grid:?}", codes.len())));
        }
        below(entries, &codes)?;
        Ok(Self { grid, values: TokenValues::Codes { entries, codes } })
    }

    /// Tokens from the codes of several levels, `[t, h, w, Q]` in C order.
    ///
    /// # Errors
    /// Where there are not `t·h·w·Q` codes, or one is not below `entries`.
    pub fn levels(grid: [usize; 3], levels: usize, entries: usize, codes: Vec<u32>) -> Result<Self> {
        if levels == 0 || length(grid)?.checked_mul(levels) != Some(codes.len()) {
            let message = format!("{} codes do not fill the grid {grid:?} with {levels} levels", codes.len());
            return Err(tokens_error(message));
        }
        below(entries, &codes)?;
        Ok(Self { grid, values: TokenValues::Levels { levels, entries, codes } })
    }

    /// Tokens from latent vectors, `[t, h, w, C]` in C order.
    ///
    /// # Errors
    /// Where the values do not fill the grid, or one is not finite.
    pub fn latents(grid: [usize; 3], channels: usize, values: Vec<f32>) -> Result<Self> {
        if length(grid)?.checked_mul(channels) != Some(values.len()) {
            return Err(tokens_error(format!(
                "{} values do not fill the grid {grid:?} with {channels} channels",
                values.len()
            )));
        }
        if values.iter().any(|value| !value.is_finite()) {
            return Err(tokens_error("a latent is not a finite number".into()));
        }
        Ok(Self { grid, values: TokenValues::Latents { channels, values } })
    }

    /// Places `[t, h, w]`.
    pub fn grid(&self) -> [usize; 3] {
        self.grid
    }

    /// The values.
    pub fn values(&self) -> &TokenValues {
        &self.values
    }

    /// The codes, one a place.
    ///
    /// # Errors
    /// Where these are latents, or codes of several levels.
    pub fn as_codes(&self) -> Result<&[u32]> {
        match &self.values {
            TokenValues::Codes { codes, .. } => Ok(codes),
            TokenValues::Levels { levels, .. } => {
                Err(tokens_error(format!("{levels} levels of codes where one code a place was expected")))
            }
            TokenValues::Latents { .. } => Err(tokens_error("latents where codes were expected".into())),
        }
    }

    /// The numbers, `C` a place.
    ///
    /// # Errors
    /// Where these are codes.
    pub fn as_latents(&self) -> Result<&[f32]> {
        match &self.values {
            TokenValues::Latents { values, .. } => Ok(values),
            _ => Err(tokens_error("codes where latents were expected".into())),
        }
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

    /// One code a place: of several levels the number whose digits they are, coarse first.
    ///
    /// # Errors
    /// Where these are latents, or such a number has more than 32 bits.
    pub fn packed(&self) -> Result<Vec<u32>> {
        match &self.values {
            TokenValues::Codes { codes, .. } => Ok(codes.clone()),
            TokenValues::Levels { levels, entries, codes } => {
                let pack = |all: u32, &code: &u32| all.checked_mul(*entries as u32)?.checked_add(code);
                let packed = codes.chunks(*levels).map(|codes| codes.iter().try_fold(0u32, pack));
                let packed: Option<Vec<u32>> = packed.collect();
                packed.ok_or_else(|| tokens_error(format!("{levels} levels of {entries} entries are no 32-bit number")))
            }
            TokenValues::Latents { .. } => Err(tokens_error("latents where codes were expected".into())),
        }
    }

    /// Tokens of a shape whose [`Tokens::packed`] these are.
    ///
    /// # Errors
    /// Where there are not as many as places, one is out of range, or the shape's tokens are latents.
    pub fn unpacked(shape: &TokenShape, codes: &[u32]) -> Result<Self> {
        match shape.kind {
            TokenKind::Codes { entries, .. } => Self::codes(shape.grid, entries, codes.to_vec()),
            TokenKind::Levels { levels, entries } => {
                if let Some(code) =
                    codes.iter().find(|&&code| shape.kind.entries().is_some_and(|n| u64::from(code) >= n))
                {
                    return Err(tokens_error(format!("a code of {code} is not of {}", shape.kind)));
                }
                let digit = |code: u32, level: usize| {
                    (u64::from(code) / (entries as u64).pow((levels - 1 - level) as u32) % entries as u64) as u32
                };
                let codes = codes.iter().flat_map(|&code| (0..levels).map(move |level| digit(code, level)));
                Self::levels(shape.grid, levels, entries, codes.collect())
            }
            TokenKind::Latents { .. } => Err(tokens_error("codes where latents were expected".into())),
        }
    }

    /// The coarse ones of several levels alone; all else as it is.
    pub fn coarse(&self, keep: usize) -> Self {
        match &self.values {
            TokenValues::Levels { levels, entries, codes } if (1..*levels).contains(&keep) => {
                let codes = codes.chunks(*levels).flat_map(|codes| codes[..keep].iter().copied()).collect();
                let values = TokenValues::Levels { levels: keep, entries: *entries, codes };
                Self { grid: self.grid, values }
            }
            _ => self.clone(),
        }
    }

    /// Writes the tokens as safetensors: a tensor `codes` (U32, `[t, h, w]`, of levels `[t, h, w, Q]`)
    /// or `latents` (F32, `[t, h, w, C]`), and `metadata`. Written to a temporary name and renamed.
    pub fn save(&self, path: &Path, metadata: HashMap<String, String>) -> Result<()> {
        let file = self.to_safetensors(metadata).map_err(|error| at(path, error.message().into()))?;
        crate::files::write(path, &file)
    }

    /// The bytes of the file that [`save`](Self::save) writes.
    ///
    /// # Errors
    /// Where there are more tokens than a file can hold.
    pub fn to_safetensors(&self, mut metadata: HashMap<String, String>) -> Result<Vec<u8>> {
        let [t, h, w] = self.grid;
        let bytes = |codes: &[u32]| codes.iter().flat_map(|code| code.to_le_bytes()).collect::<Vec<u8>>();
        let (name, dtype, shape, bytes) = match &self.values {
            TokenValues::Codes { entries, codes } => {
                metadata.insert("musiva.tokens.entries".into(), entries.to_string());
                ("codes", Dtype::U32, vec![t, h, w], bytes(codes))
            }
            TokenValues::Levels { levels, entries, codes } => {
                metadata.insert("musiva.tokens.entries".into(), entries.to_string());
                ("codes", Dtype::U32, vec![t, h, w, *levels], bytes(codes))
            }
            TokenValues::Latents { channels, values } => {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                ("latents", Dtype::F32, vec![t, h, w, *channels], bytes)
            }
        };
        let view = TensorView::new(dtype, shape, &bytes).map_err(|e| tokens_error(e.to_string()))?;
        crate::files::safetensors([(name, view)], metadata).map_err(|e| tokens_error(e.to_string()))
    }

    /// Reads tokens that [`Tokens::save`] wrote, with their metadata.
    ///
    /// # Errors
    /// Where the file is truncated, holds something else, or a value is out of range.
    pub fn open(path: &Path) -> Result<(Self, HashMap<String, String>)> {
        Self::from_safetensors(&crate::files::read(path, crate::files::GIGABYTE)?, path)
    }

    /// Tokens and metadata of the bytes of such a file; `path` is where they come from.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_safetensors(bytes: &[u8], path: &Path) -> Result<(Self, HashMap<String, String>)> {
        let broken = |e: safetensors::SafeTensorError| {
            at(path, format!("not a whole safetensors file ({e})")).hint("make the tokens again")
        };
        let (_, head) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let metadata = head.metadata().clone().unwrap_or_default();
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let words = |view: &TensorView| -> Vec<[u8; 4]> { view.data().as_chunks().0.to_vec() };
        let tokens = if let Ok(view) = tensors.tensor("codes") {
            let (Dtype::U32, &[t, h, w, ref levels @ ..]) = (view.dtype(), view.shape()) else {
                return Err(at(path, format!("`codes` is {:?} {:?}, not U32 [t, h, w]", view.dtype(), view.shape())));
            };
            let entries = metadata.get("musiva.tokens.entries").and_then(|n| n.parse().ok());
            let entries = entries.ok_or_else(|| at(path, "its metadata lacks `musiva.tokens.entries`".into()))?;
            let codes = words(&view).into_iter().map(u32::from_le_bytes).collect();
            match *levels {
                [] => Self::codes([t, h, w], entries, codes),
                [levels] => Self::levels([t, h, w], levels, entries, codes),
                _ => Err(tokens_error(format!("`codes` is {:?}, not [t, h, w] or [t, h, w, Q]", view.shape()))),
            }
        } else if let Ok(view) = tensors.tensor("latents") {
            let (Dtype::F32, &[t, h, w, channels]) = (view.dtype(), view.shape()) else {
                return Err(at(
                    path,
                    format!("`latents` is {:?} {:?}, not F32 [t, h, w, C]", view.dtype(), view.shape()),
                ));
            };
            Self::latents([t, h, w], channels, words(&view).into_iter().map(f32::from_le_bytes).collect())
        } else {
            Err(tokens_error("it holds neither `codes` nor `latents`: not a tokens file".into()))
        };
        tokens.map(|tokens| (tokens, metadata)).map_err(|e| at(path, e.message().into()))
    }
}

fn length(grid: [usize; 3]) -> Result<usize> {
    let length = grid.iter().try_fold(1usize, |n, &side| n.checked_mul(side)).filter(|&n| n > 0);
    length.ok_or_else(|| tokens_error(format!("{grid:?} is no grid")))
}

fn below(entries: usize, codes: &[u32]) -> Result<()> {
    match codes.iter().find(|&&code| code as usize >= entries) {
        Some(code) => Err(tokens_error(format!("code {code} is not in a codebook of {entries} entries"))),
        None => Ok(()),
    }
}

pub(crate) fn tokens_error(message: String) -> Error {
    Error::new(ErrorKind::Weights, "tokens", message)
}

fn at(path: &Path, message: String) -> Error {
    Error::new(ErrorKind::Weights, path.display().to_string(), message)
}

/// The digits of `code` as ±1, lowest bit first (MAGVIT-v2, section 3: index = Σ 2ⁱ·[zᵢ > 0]).
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
    use proptest::prelude::*;

    #[test]
    fn codes_survive_the_way_through_bits() {
        for bits in [1, 7, 10, 18] {
            for code in (0..1u32 << bits).step_by(if bits > 10 { 101 } else { 1 }) {
                assert_eq!(code_of(&signs(code, bits).collect::<Vec<_>>()), code);
            }
        }
    }

    #[test]
    fn tokens_survive_the_way_through_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let metadata = HashMap::from([("prompt".to_string(), "ein roter Ring – 赤".to_string())]);
        let codes = Tokens::codes([2, 3, 5], 7, (0..30).map(|i| i % 7).collect()).unwrap();
        codes.save(&path, metadata.clone()).unwrap();
        let (back, found) = Tokens::open(&path).unwrap();
        assert_eq!((back, &found["prompt"]), (codes.clone(), &metadata["prompt"]));
        let latents = Tokens::latents([1, 2, 3], 2, (0..12).map(|i| i as f32 / 7.0).collect()).unwrap();
        latents.save(&path, metadata.clone()).unwrap();
        assert_eq!(Tokens::open(&path).unwrap().0, latents);
        let levels = Tokens::levels([1, 2, 3], 5, 31, (0..30).collect()).unwrap();
        levels.save(&path, metadata).unwrap();
        assert_eq!(Tokens::open(&path).unwrap().0, levels);
        let coarse = Tokens::levels([1, 2, 3], 2, 31, (0..30).filter(|i| i % 5 < 2).collect()).unwrap();
        assert_eq!((levels.coarse(2), levels.coarse(9), codes.coarse(1)), (coarse, levels.clone(), codes));
        assert!(levels.as_codes().unwrap_err().to_string().contains("5 levels"));
    }

    #[test]
    fn a_code_out_of_range_is_refused() {
        assert!(Tokens::codes([1, 1, 2], 4, vec![3, 4]).is_err());
        assert!(Tokens::levels([1, 1, 1], 2, 4, vec![3, 4]).is_err());
        assert!(Tokens::levels([1, 1, 2], 0, 4, vec![]).is_err());
        assert!(Tokens::latents([1, 1, 1], 1, vec![f32::NAN]).is_err());
    }

    proptest! {
        #[test]
        fn a_damaged_tokens_file_is_an_error_or_tokens(cut in 0usize..200, at in 0usize..200, bit in 0u8..8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.safetensors");
            Tokens::codes([1, 2, 3], 1024, vec![1, 2, 3, 4, 5, 1023]).unwrap().save(&path, HashMap::new()).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let n = bytes.len();
            bytes[at % n] ^= 1 << bit;
            bytes.truncate(n - cut % n);
            std::fs::write(&path, bytes).unwrap();
            let _ = Tokens::open(&path);
        }
    }
}
