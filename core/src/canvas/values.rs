//! Tokens at positions, on the host.

use super::CanvasShape;
use crate::tokens::tokens_error;
use crate::{Result, TokenValues, Tokens};
use std::collections::BTreeMap;

/// Tokens of one sample at some positions: those of each track of the canvas, in the order of the positions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values {
    /// Of each track; nothing of those without a position.
    pub tracks: Vec<TokenValues>,
    /// Of each condition its number, where there is one.
    pub numbers: Vec<Option<f64>>,
}

impl Values {
    /// Those at some of the positions, of all of which these are.
    pub fn at(&self, positions: &[usize], canvas: &CanvasShape) -> Self {
        fn pick<T: Copy>(all: &[T], indices: &[usize], each: usize) -> Vec<T> {
            indices.iter().flat_map(|&index| &all[index * each..(index + 1) * each]).copied().collect()
        }
        let mut indices = vec![Vec::new(); canvas.tracks.len()];
        for &position in positions {
            let (track, index) = canvas.find(position);
            indices[track].push(index);
        }
        let of = |(values, indices): (&TokenValues, Vec<usize>)| match values {
            TokenValues::Codes { levels, entries, codes } => {
                TokenValues::Codes { levels: *levels, entries: *entries, codes: pick(codes, &indices, *levels) }
            }
            TokenValues::Vectors { channels, values } => {
                TokenValues::Vectors { channels: *channels, values: pick(values, &indices, *channels) }
            }
        };
        Self { tracks: self.tracks.iter().zip(indices).map(of).collect(), numbers: self.numbers.clone() }
    }

    /// Writes tokens over those of a track that begin at its token `index`, of all of which these are.
    ///
    /// # Errors
    /// Where the tokens are not of the kind that stands there, or are more than there are.
    pub fn lay(&mut self, track: usize, index: usize, tokens: &Tokens) -> Result<()> {
        fn put<T: Copy>(slots: &mut [T], index: usize, new: &[T], each: usize) -> Option<()> {
            slots.get_mut(index * each..index * each + new.len())?.copy_from_slice(new);
            Some(())
        }
        let done = match (&mut self.tracks[track], tokens.values()) {
            (
                TokenValues::Codes { levels, entries, codes },
                TokenValues::Codes { levels: found, entries: of, codes: new },
            ) if levels == found && entries == of => put(codes, index, new, *levels),
            (TokenValues::Vectors { channels, values }, TokenValues::Vectors { channels: found, values: new })
                if channels == found =>
            {
                put(values, index, new, *channels)
            }
            (own, other) => {
                let message = format!("{} where {} were expected", other.kind(), own.kind());
                return Err(tokens_error(message));
            }
        };
        done.ok_or_else(|| tokens_error(format!("a grid of {:?} does not fit the canvas", tokens.grid())))
    }
}

/// Whole tracks as tokens, by their names.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CanvasTokens {
    /// The tokens of each track that there is.
    pub tracks: BTreeMap<String, Tokens>,
}

impl CanvasTokens {
    /// The tokens of the track of this name.
    pub fn get(&self, track: &str) -> Option<&Tokens> {
        self.tracks.get(track)
    }
}

impl<const N: usize> From<[(&str, Tokens); N]> for CanvasTokens {
    fn from(tracks: [(&str, Tokens); N]) -> Self {
        Self { tracks: tracks.into_iter().map(|(name, tokens)| (name.to_owned(), tokens)).collect() }
    }
}
