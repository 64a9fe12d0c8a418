//! The order in which samples that end are trained on.

use musiva_core::{RngKey, RngStream};

/// Rounds of the Feistel network; four make its order random (Luby and Rackoff 1988).
const ROUNDS: u64 = 4;

/// Which sample comes at place `index` of a run: each epoch is all `count` of them, once, in an order of its own. Where
/// `count` is `None`, sample `index` itself.
///
/// It takes no memory: a Feistel network of a few bits is walked until it comes to a number below `count`.
pub fn shuffled(index: u64, count: Option<u64>, seed: u64) -> u64 {
    let Some(count) = count.filter(|&count| count > 0) else { return index };
    let (epoch, mut place) = (index / count, index % count);
    let half = (u64::BITS - (count - 1).leading_zeros()).div_ceil(2).max(1);
    let mask = (1u64 << half) - 1;
    loop {
        for round in 0..ROUNDS {
            let (left, right) = (place >> half, place & mask);
            let key = RngKey::new(seed).step(epoch * ROUNDS + round).sample(right);
            place = right << half | (left ^ u64::from(key.stream(RngStream::Shuffle).bits()) & mask);
        }
        if place < count {
            return place;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_epoch_is_all_samples_once_in_an_order_of_its_own() {
        for count in [1, 2, 3, 7, 97, 1021] {
            let epoch = |epoch: u64, seed| -> Vec<u64> {
                (0..count).map(|i| shuffled(epoch * count + i, Some(count), seed)).collect()
            };
            for all in [epoch(0, 1), epoch(1, 1), epoch(0, 2)] {
                let mut sorted = all.clone();
                sorted.sort_unstable();
                assert_eq!(sorted, (0..count).collect::<Vec<_>>());
            }
            if count > 7 {
                assert!(epoch(0, 1) != epoch(1, 1) && epoch(0, 1) != epoch(0, 2));
            }
        }
        assert_eq!([3, u64::MAX].map(|i| shuffled(i, None, 1)), [3, u64::MAX]);
    }

    #[test]
    fn neighbours_are_strewn() {
        let count = 1009;
        let near =
            (0..count - 1).filter(|&i| shuffled(i, Some(count), 5).abs_diff(shuffled(i + 1, Some(count), 5)) < 10);
        // Of a random order some 18 in 1009 steps are so short.
        assert!(near.count() < 40);
    }
}
