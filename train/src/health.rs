//! The known diseases of tokenizers in training, found by what a step made and told by name.

use burn::tensor::{Int, Tensor};
use musiva_core::parameters::to_vec;
use musiva_tokenizers::quantizers::CodeUse;
use std::collections::{HashSet, VecDeque};

/// A disease shows in so many looks one after the other before it is told.
const PATIENCE: usize = 5;
/// Looks over which the codes in use are gathered.
const REMEMBERED: usize = 20;
/// Tokens for each entry that must have been seen before an entry counts as dead.
const FAIR: usize = 8;
/// The part of a codebook that is in use, at least.
const ALIVE: f64 = 0.25;
/// Fewer codes than so many, by perplexity, are a collapse.
const COLLAPSED: f64 = 1.5;
/// Largest value that media within [-1, 1] may be made with.
const PEAK: f64 = 4.0;
/// How much of the variation of media must be made again, at least.
const VARIED: f64 = 0.05;
/// So many judgements of a discriminator that are right leave nothing to learn from it, where the tokenizer's adversarial
/// loss is beyond this besides: the margin of the hinge on its far side, odds of six to one against a made place.
const SURE: f64 = 0.99;
const RUNAWAY: f64 = 2.0;
/// The part of its largest value that the entropy of single tokens may have.
const UNSURE: f64 = 0.8;

/// What is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FailureMode {
    /// All tokens have one code.
    Collapse,
    /// Most of a codebook is never used.
    DeadCodes,
    /// No token is sure of its code.
    UnsureCodes,
    /// Media are made far outside of their range.
    OutOfRange,
    /// Clips are made of one colour, sounds silent.
    Flat,
    /// The discriminator tells all media made, and the tokenizer falls behind.
    DiscriminatorWins,
}

impl FailureMode {
    /// Its name, and what helps.
    pub fn describe(self) -> (&'static str, &'static str) {
        match self {
            Self::Collapse => (
                "collapse: almost all tokens have the same code",
                "raise `diversity` (signs), lower `decay` or raise `restart` (codebooks), or start with `unquantized` steps",
            ),
            Self::DeadCodes => (
                "dead codes: most of the codebook is never used",
                "raise `diversity` (signs) or `restart` (codebooks), or use fewer entries",
            ),
            Self::UnsureCodes => (
                "high-entropy codes: the entropy of single tokens stays near its largest value",
                "raise `entropy`, lower `temperature`, or lower `diversity`",
            ),
            Self::OutOfRange => {
                ("values out of range: media are made far beyond [-1, 1]", "lower `learning_rate`, or raise `warmup`")
            }
            Self::Flat => (
                "flat: clips come out in one colour, sounds silent",
                "train longer, raise `foreground` (clips) or take shorter windows (sounds)",
            ),
            Self::DiscriminatorWins => (
                "discriminator winning: it tells all that is made, and the adversarial loss runs away",
                "lower `adversarial.learning_rate`, raise `adversarial.r1` or `adversarial.lecam`, or begin later by `adversarial.start`",
            ),
        }
    }
}

/// What a step made, as far as diseases show in it.
#[derive(Clone, Debug)]
pub struct Stats {
    /// The codes of each level.
    pub codes: Vec<Vec<usize>>,
    /// How many entries each level has; 0 where tokens are no codes.
    pub entries: usize,
    /// The largest value of the media made, without its sign.
    pub peak: f64,
    /// Deviation of the media made.
    pub made: f64,
    /// Deviation of the media that were to be made.
    pub wanted: f64,
    /// How the game against a discriminator stands, where there is one.
    pub adversarial_stats: Option<AdversarialStats>,
}

/// How a tokenizer and its discriminator stand.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdversarialStats {
    /// The tokenizer's adversarial loss, without its weight.
    pub adversarial: f64,
    /// The part of the discriminator's judgements that are right.
    pub accuracy: f64,
}

impl Stats {
    /// Of codes `[N, Q]` (-1: left out) of levels of `entries` entries, and of media made and wanted.
    pub fn of(codes: Option<Tensor<2, Int>>, entries: usize, made: Tensor<5>, wanted: Tensor<5>) -> Self {
        let codes = codes.map_or(Vec::new(), |codes| {
            let levels = codes.dims()[1];
            let all: Vec<i64> = codes.into_data().iter::<i64>().collect();
            let level = |q| all.iter().skip(q).step_by(levels).filter_map(|&code| usize::try_from(code).ok()).collect();
            (0..levels).map(level).collect()
        });
        let (made, wanted) = (to_vec(made.inner()), to_vec(wanted.inner()));
        let peak = made.iter().fold(0f32, |peak, x| peak.max(x.abs()));
        let (made, wanted) = (deviation(&made), deviation(&wanted));
        Self { codes, entries, peak: f64::from(peak), made, wanted, adversarial_stats: None }
    }

    /// For the log.
    pub fn measures(&self) -> Vec<(String, f64)> {
        let uses: Vec<CodeUse> = self.uses().collect();
        if uses.is_empty() {
            return Vec::new();
        }
        let mean = |value: fn(&CodeUse) -> f64| uses.iter().map(value).sum::<f64>() / uses.len() as f64;
        vec![
            ("codebook_use".to_owned(), mean(CodeUse::utilisation)),
            ("perplexity".to_owned(), mean(CodeUse::perplexity)),
        ]
    }

    fn uses(&self) -> impl Iterator<Item = CodeUse> {
        let levels = self.codes.iter().filter(|codes| !codes.is_empty());
        levels.map(|codes| CodeUse::of(codes.iter().copied(), self.entries))
    }
}

fn deviation(values: &[f32]) -> f64 {
    let n = values.len().max(1) as f64;
    let mean = values.iter().map(|&x| f64::from(x)).sum::<f64>() / n;
    (values.iter().map(|&x| (f64::from(x) - mean).powi(2)).sum::<f64>() / n).sqrt()
}

/// Looks at every logged step.
#[derive(Debug, Default)]
pub struct HealthMonitor {
    /// The codes in use at the last looks, `(level, code)`, and how many tokens were seen.
    seen: VecDeque<(HashSet<(usize, usize)>, usize)>,
    /// In how many looks one after the other each disease showed.
    shown: [usize; ALL.len()],
}

const ALL: [FailureMode; 6] = [
    FailureMode::Collapse,
    FailureMode::DeadCodes,
    FailureMode::UnsureCodes,
    FailureMode::OutOfRange,
    FailureMode::Flat,
    FailureMode::DiscriminatorWins,
];

impl HealthMonitor {
    /// What has now shown long enough to be told; each disease is told once, until it was gone for a
    /// while. `entropy` is that of single tokens in nats, where training takes it.
    pub fn check(&mut self, stats: &Stats, entropy: Option<f64>) -> Vec<FailureMode> {
        let mut found = Vec::new();
        for (failure, shown) in ALL.into_iter().zip(self.signs(stats, entropy)) {
            let count = &mut self.shown[failure as usize];
            *count = if shown { *count + 1 } else { 0 };
            if *count == PATIENCE {
                found.push(failure);
            }
        }
        found
    }

    fn signs(&mut self, stats: &Stats, entropy: Option<f64>) -> [bool; ALL.len()] {
        let collapsed = stats.entries >= 4 && stats.uses().next().is_some_and(|level| level.perplexity() < COLLAPSED);
        let codes = stats.codes.iter().enumerate().flat_map(|(level, codes)| codes.iter().map(move |&c| (level, c)));
        self.seen.push_back((codes.collect(), stats.codes.first().map_or(0, Vec::len)));
        if self.seen.len() > REMEMBERED {
            self.seen.pop_front();
        }
        let tokens: usize = self.seen.iter().map(|(_, count)| count).sum();
        let alive: HashSet<_> = self.seen.iter().flat_map(|(codes, _)| codes).collect();
        let all = stats.entries * stats.codes.len();
        let dead = all > 0 && tokens >= FAIR * stats.entries && (alive.len() as f64) < ALIVE * all as f64;
        let unsure = entropy.is_some_and(|entropy| entropy > UNSURE * (stats.entries.max(2) as f64).ln());
        let flat = stats.wanted > 0.0 && stats.made < VARIED * stats.wanted;
        let beaten = stats.adversarial_stats.is_some_and(|adversarial_stats| {
            adversarial_stats.accuracy >= SURE && adversarial_stats.adversarial > RUNAWAY
        });
        [collapsed, dead && !collapsed, unsure, stats.peak > PEAK, flat, beaten]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Healthy: 64 of 64 entries, evenly, media as they should be.
    fn healthy() -> Stats {
        let adversarial_stats = Some(AdversarialStats { adversarial: 0.9, accuracy: 0.7 });
        let codes = vec![(0..640).map(|i| i % 64).collect()];
        Stats { codes, entries: 64, peak: 1.1, made: 0.3, wanted: 0.3, adversarial_stats }
    }

    /// What is told in 30 looks, and at which.
    fn found(stats: &Stats, entropy: Option<f64>) -> Vec<(usize, FailureMode)> {
        let mut monitor = HealthMonitor::default();
        (1..=30).flat_map(|check| monitor.check(stats, entropy).into_iter().map(move |d| (check, d))).collect()
    }

    #[test]
    fn each_disease_is_told_once_by_its_name() {
        assert_eq!(found(&healthy(), Some(1.0)), []);
        let collapsed = Stats { codes: vec![vec![7; 640]], ..healthy() };
        assert_eq!(found(&collapsed, None), [(5, FailureMode::Collapse)]);
        let dead = Stats { codes: vec![(0..640).map(|i| i % 9).collect()], ..healthy() };
        assert_eq!(found(&dead, None), [(5, FailureMode::DeadCodes)]);
        assert_eq!(found(&healthy(), Some(4.0)), [(5, FailureMode::UnsureCodes)]);
        assert_eq!(found(&Stats { peak: 40.0, ..healthy() }, None), [(5, FailureMode::OutOfRange)]);
        assert_eq!(found(&Stats { made: 0.001, ..healthy() }, None), [(5, FailureMode::Flat)]);
        let adversarial_stats = |adversarial, accuracy| Stats {
            adversarial_stats: Some(AdversarialStats { adversarial, accuracy }),
            ..healthy()
        };
        assert_eq!(found(&adversarial_stats(2.5, 1.0), None), [(5, FailureMode::DiscriminatorWins)]);
        // A discriminator that is right, but not by much, still teaches; so does one that errs.
        assert_eq!(
            (found(&adversarial_stats(1.4, 1.0), None), found(&adversarial_stats(2.5, 0.9), None)),
            (vec![], vec![])
        );
    }

    #[test]
    fn what_was_not_seen_often_enough_is_not_dead() {
        // 20 tokens a look: after 20 looks 400 of the 512 that eight for each entry are.
        let few = Stats { codes: vec![(0..20).map(|i| i % 9).collect()], ..healthy() };
        assert_eq!(found(&few, None), []);
        let mut monitor = HealthMonitor::default();
        for turn in 0..30 {
            // Other codes each time: all of them are alive.
            let codes = (0..640).map(|i| (i % 9 + 9 * turn) % 64).collect();
            assert_eq!(monitor.check(&Stats { codes: vec![codes], ..healthy() }, None), []);
        }
    }

    #[test]
    fn silence_where_there_was_silence_is_right_and_a_short_fit_is_none() {
        assert_eq!(found(&Stats { made: 0.0, wanted: 0.0, ..healthy() }, None), []);
        let mut monitor = HealthMonitor::default();
        for check in 0..40 {
            let peak = if check % 5 == 4 { 1.0 } else { 40.0 };
            assert_eq!(monitor.check(&Stats { peak, ..healthy() }, None), []);
        }
    }
}
