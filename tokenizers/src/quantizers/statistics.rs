//! How a codebook is used.

use musiva_core::{TokenValues, Tokens};

/// How evenly a batch of codes uses its codebook.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeUse {
    /// How many entries `K` there are.
    pub entries: usize,
    /// How many different ones occur.
    pub used: usize,
    /// Entropy of how often each occurs, in nats.
    pub entropy: f64,
}

impl CodeUse {
    /// Of codes of a codebook of `entries` entries. Memory goes with the codes, not with the codebook.
    pub fn of(codes: impl Iterator<Item = usize>, entries: usize) -> Self {
        let mut codes: Vec<usize> = codes.collect();
        codes.sort_unstable();
        let n = codes.len() as f64;
        let (mut used, mut entropy) = (0, 0.0);
        for run in codes.chunk_by(|a, b| a == b) {
            let p = run.len() as f64 / n;
            used += 1;
            entropy -= p * p.ln();
        }
        Self { entries, used, entropy }
    }

    /// Of the codes of a batch of one tokenizer's tokens: one for each level, none where tokens are
    /// vectors. Tokens of fewer levels than the first ones count at theirs.
    pub fn of_tokens(tokens: &[Tokens]) -> Vec<Self> {
        let Some(&TokenValues::Codes { levels, entries, .. }) = tokens.first().map(Tokens::values) else {
            return Vec::new();
        };
        let level = |level| {
            let codes = tokens.iter().flat_map(|tokens| {
                let (levels, codes) = match tokens.values() {
                    TokenValues::Codes { levels, codes, .. } => (*levels, codes.as_slice()),
                    TokenValues::Vectors { .. } => (1, [].as_slice()),
                };
                codes.chunks(levels).filter_map(move |codes| codes.get(level)).map(|&code| code as usize)
            });
            Self::of(codes, entries)
        };
        (0..levels).map(level).collect()
    }

    /// How many codes occur in a batch of one tokenizer's tokens, and of how many, all levels together;
    /// `None` of vectors.
    pub fn in_use(tokens: &[Tokens]) -> Option<(usize, usize)> {
        let levels = Self::of_tokens(tokens);
        let sum = |count: fn(&Self) -> usize| levels.iter().map(count).sum();
        (!levels.is_empty()).then(|| (sum(|level| level.used), sum(|level| level.entries)))
    }

    /// The part of the codebook that occurs, 0 to 1.
    pub fn utilisation(&self) -> f64 {
        self.used as f64 / self.entries as f64
    }

    /// How many entries would, used evenly, have the same entropy: 1 to `K`.
    pub fn perplexity(&self) -> f64 {
        self.entropy.exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn even_use_has_the_perplexity_of_what_is_used() {
        let even = CodeUse::of((0..35).map(|i| i % 7), 16);
        assert_eq!((even.used, even.utilisation()), (7, 7.0 / 16.0));
        assert!((even.perplexity() - 7.0).abs() < 1e-12);
        let uneven = CodeUse::of([3, 3, 3, 9].into_iter(), 16);
        assert!((uneven.perplexity() - 4.0 / 27.0f64.powf(0.25)).abs() < 1e-12);
        assert_eq!(CodeUse::of([].into_iter(), 16).perplexity(), 1.0);
    }

    #[test]
    fn levels_are_counted_apart() {
        let tokens = [
            Tokens::levels([1, 1, 3], 2, 8, vec![0, 5, 0, 6, 0, 7]).unwrap(),
            Tokens::levels([1, 1, 2], 1, 8, vec![1, 1]).unwrap(),
        ];
        let found = CodeUse::of_tokens(&tokens);
        assert_eq!(found.iter().map(|level| level.used).collect::<Vec<_>>(), [2, 3]);
        assert_eq!(CodeUse::in_use(&tokens), Some((5, 16)));
        assert_eq!(CodeUse::in_use(&[Tokens::vectors([1, 1, 1], 1, vec![0.5]).unwrap()]), None);
    }
}
