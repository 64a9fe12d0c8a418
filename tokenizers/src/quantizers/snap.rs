//! The sums of a residual quantizer's entries, and the codes of the one that lies nearest to a vector.
//!
//! Level by level the nearest entry is not always part of the nearest sum: what is left over may be longer than what the
//! levels below can take. So the search keeps the few best beginnings instead of the one best (beam search), and what is
//! such a sum is found again.

/// Beginnings that the search keeps.
const BEAM: usize = 32;

/// Entries of `Q` codebooks, coarse to fine.
pub(super) struct Sums {
    /// `K × C` numbers each.
    books: Vec<Vec<f32>>,
    channels: usize,
}

impl Sums {
    /// Of vectors of `channels` numbers.
    pub fn new(books: Vec<Vec<f32>>, channels: usize) -> Self {
        Self { books, channels }
    }

    /// The sums `[n, C]` that codes `[n, levels]` stand for.
    pub fn of(&self, codes: &[u32], levels: usize) -> Vec<f32> {
        let mut vectors = vec![0.0; codes.len() / levels * self.channels];
        for (vector, codes) in vectors.chunks_mut(self.channels).zip(codes.chunks(levels)) {
            for (book, &code) in self.books.iter().zip(codes) {
                let entry = &book[code as usize * self.channels..][..self.channels];
                vector.iter_mut().zip(entry).for_each(|(sum, value)| *sum += value);
            }
        }
        vectors
    }

    /// The codes, one a level, of the sum that the search finds nearest to a vector `[C]`.
    pub fn nearest(&self, vector: &[f32]) -> Vec<u32> {
        let mut kept = vec![(Vec::new(), vector.to_vec())];
        for book in &self.books {
            let mut all: Vec<(f32, usize, usize)> = Vec::with_capacity(kept.len() * book.len() / self.channels);
            for (beginning, (_, rest)) in kept.iter().enumerate() {
                let distances = book.chunks(self.channels).map(|entry| squared_distance(rest, entry));
                all.extend(distances.enumerate().map(|(entry, distance)| (distance, beginning, entry)));
            }
            // Of equals the first: the order is one of all, whatever the sort.
            let order = |a: &(f32, usize, usize), b: &(f32, usize, usize)| {
                a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)).then(a.2.cmp(&b.2))
            };
            if all.len() > BEAM {
                all.select_nth_unstable_by(BEAM, order);
                all.truncate(BEAM);
            }
            all.sort_unstable_by(order);
            let longer = |(_, beginning, entry): (f32, usize, usize)| {
                let (codes, rest): &(Vec<u32>, Vec<f32>) = &kept[beginning];
                let its = &book[entry * self.channels..][..self.channels];
                let codes = codes.iter().copied().chain([entry as u32]).collect();
                (codes, rest.iter().zip(its).map(|(rest, value)| rest - value).collect())
            };
            kept = all.into_iter().map(longer).collect();
        }
        kept.swap_remove(0).0
    }
}

fn squared_distance(a: &[f32], b: &[f32]) -> f32 {
    // Eight sums side by side: one alone would wait for itself at each number.
    let mut sums = [0.0f32; 8];
    for (a, b) in a.chunks(8).zip(b.chunks(8)) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += (a - b) * (a - b);
        }
    }
    sums.iter().sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{RngKey, RngStream};

    fn normals(n: usize, seed: u64) -> Vec<f32> {
        RngKey::new(seed).stream(RngStream::Noise).normals(n)
    }

    /// Three codebooks, each smaller than the one before.
    fn sums(entries: usize, channels: usize) -> Sums {
        let book =
            |level| normals(entries * channels, level).into_iter().map(|x| x * 0.7f32.powi(level as i32)).collect();
        Sums::new((0..3).map(book).collect(), channels)
    }

    #[test]
    fn a_sum_is_found_again() {
        let sums = sums(37, 13);
        let mut greedy_fails = 0;
        for i in 0..500u64 {
            let mut rng = RngKey::new(9).sample(i).stream(RngStream::Codebook);
            let codes: Vec<u32> = (0..3).map(|_| rng.below(37) as u32).collect();
            let vector = sums.of(&codes, 3);
            assert_eq!(sums.nearest(&vector), codes);
            let first = |a: &&[f32], b: &&[f32]| squared_distance(a, &vector).total_cmp(&squared_distance(b, &vector));
            let greedy = sums.books[0].chunks(13).min_by(first).unwrap();
            greedy_fails += usize::from(greedy != &sums.books[0][codes[0] as usize * 13..][..13]);
        }
        assert!(greedy_fails > 20, "{greedy_fails}: nothing that the nearest entry would not find, too");
    }

    #[test]
    fn the_nearest_sum_is_that_of_all() {
        let sums = sums(7, 5);
        let (mut same, mut far) = (0, 0.0f32);
        for i in 0..200 {
            let vector = normals(5, 100 + i);
            let distance = |codes: &[u32]| squared_distance(&sums.of(codes, 3), &vector);
            let all = (0..343u32).map(|i| [i / 49, i / 7 % 7, i % 7]);
            let least = all.map(|codes| distance(&codes)).fold(f32::MAX, f32::min);
            let found = distance(&sums.nearest(&vector));
            same += usize::from((found - least).abs() < 1e-5);
            far = far.max(found - least);
        }
        // All 49 beginnings of two levels but the worst 17 are kept.
        assert!(same >= 199, "{same} of 200, {far} farther");
    }
}
