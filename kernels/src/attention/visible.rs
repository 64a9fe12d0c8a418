//! Which positions a query sees.

use std::ops::Range;

/// Which keys a query sees, described rather than given as a mask.
///
/// Queries and keys stand on one line of positions. Where there are fewer queries than keys, the queries stand at the
/// last positions, as in decoding with a cache.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Visible {
    /// Every query sees every key. There may be more queries than keys.
    Full,
    /// A query sees its own position and all before it.
    Causal,
    /// The first so many positions see each other both ways; later positions are causal.
    Prefix(usize),
    /// A query sees its own position and those before it, this many in all.
    Window(usize),
}

/// [`Visible`] for given numbers of queries and keys. Both ends of [`View::keys`] grow with the query, and both ends of
/// [`View::queries`] with the key.
#[derive(Clone, Copy)]
pub(super) struct View {
    visible: Visible,
    queries: usize,
    keys: usize,
}

impl View {
    pub fn new(visible: Visible, queries: usize, keys: usize) -> Self {
        assert!(keys > 0, "attention needs a key");
        assert!(visible == Visible::Full || queries <= keys, "{queries} queries have no place among {keys} keys");
        assert!(visible != Visible::Window(0), "attention in a window of no positions");
        Self { visible, queries, keys }
    }

    /// The keys that the query sees.
    pub fn keys(&self, query: usize) -> Range<usize> {
        let position = || query + self.keys - self.queries;
        match self.visible {
            Visible::Full => 0..self.keys,
            Visible::Causal => 0..position() + 1,
            Visible::Prefix(length) => 0..(position() + 1).max(length.min(self.keys)),
            Visible::Window(length) => (position() + 1).saturating_sub(length)..position() + 1,
        }
    }

    /// The queries that see the key.
    pub fn queries(&self, key: usize) -> Range<usize> {
        let at = |position: usize| position.saturating_sub(self.keys - self.queries).min(self.queries);
        match self.visible {
            Visible::Full => 0..self.queries,
            Visible::Prefix(length) if key < length => 0..self.queries,
            Visible::Causal | Visible::Prefix(_) => at(key)..self.queries,
            Visible::Window(length) => at(key)..at(key.saturating_add(length)),
        }
    }

    /// Whether each of the queries sees each of the keys.
    pub fn is_whole(&self, queries: &Range<usize>, keys: &Range<usize>) -> bool {
        self.keys(queries.start).end >= keys.end && self.keys(queries.end - 1).start <= keys.start
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Visible; 9] = [
        Visible::Full,
        Visible::Causal,
        Visible::Prefix(0),
        Visible::Prefix(3),
        Visible::Prefix(10),
        Visible::Prefix(99),
        Visible::Window(1),
        Visible::Window(4),
        Visible::Window(usize::MAX),
    ];

    #[test]
    fn both_directions_follow_the_definition() {
        for (n, m) in [(1, 1), (1, 7), (7, 7), (5, 11)] {
            for visible in ALL {
                let view = View::new(visible, n, m);
                for (i, j) in (0..n).flat_map(|i| (0..m).map(move |j| (i, j))) {
                    let place = i + m - n;
                    let expected = match visible {
                        Visible::Full => true,
                        Visible::Causal => j <= place,
                        Visible::Prefix(p) => j <= place || j < p && place < p,
                        Visible::Window(w) => j <= place && place - j < w,
                    };
                    assert_eq!(view.keys(i).contains(&j), expected, "{visible:?} {n} {m}: {i} sees {j}");
                    assert_eq!(view.queries(j).contains(&i), expected, "{visible:?} {n} {m}: {j} is seen by {i}");
                }
            }
        }
    }

    #[test]
    fn there_may_be_more_queries_than_keys_where_all_see_all() {
        let view = View::new(Visible::Full, 5, 2);
        assert_eq!((view.keys(4), view.queries(1)), (0..2, 0..5));
    }
}
