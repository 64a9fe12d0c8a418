//! How frames, samples and tokens agree in time: one rule, in whole numbers.

use super::Rate;
use crate::{Error, ErrorKind, Result};
use std::ops::Range;

/// A clock of frames and a clock of samples that start together.
///
/// The rule: *a sample belongs to the frame during which it begins.* With `F` frames and `S`
/// samples per second, sample `s` begins at `s / S` and belongs to frame `⌊s·F / S⌋`; frames
/// `a..b` own samples `⌈a·S / F⌉..⌈b·S / F⌉`. Neighbouring ranges of frames therefore own
/// neighbouring ranges of samples, every sample belongs to exactly one frame, and nothing drifts,
/// however long the clip: at 24000/1001 frames and 44,100 samples per second a frame owns 1,839
/// samples or 1,840, and 80 frames own 147,147 exactly.
///
/// Tokens obey the same rule. A token that stands for `hop` samples begins where its first sample
/// begins, so tokens are a clock of `S / hop` per second.
///
/// All arithmetic is on whole numbers; results beyond `usize` stay at its largest value.
///
/// ```
/// use musiva_core::{Rate, Timing};
///
/// let timing = Timing::new(Rate::whole(8), Rate::whole(16_000));
/// assert_eq!(timing.samples(0..17), 0..34_000);
/// assert_eq!(timing.tokens_per_frame(400)?, 5);
/// assert!(timing.tokens_per_frame(320).is_err(), "2,000 samples are not a whole number of 320");
/// assert_eq!(timing.hops(320), [Some(250), Some(400)]);
/// # Ok::<(), musiva_core::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Timing {
    frames: Rate,
    samples: Rate,
}

impl Timing {
    /// `frames` frames and `samples` samples per second.
    pub fn new(frames: Rate, samples: Rate) -> Self {
        Self { frames, samples }
    }

    /// The samples that belong to frames `range`.
    pub fn samples(&self, range: Range<usize>) -> Range<usize> {
        self.tokens(1, range)
    }

    /// The frame to which sample `index` belongs.
    pub fn frame_of(&self, index: usize) -> usize {
        let [samples, frames] = self.ratio();
        whole(index as u128 * frames / samples)
    }

    /// The fewest frames that hold all of `length` samples: what a clip needs to be as long as its
    /// sound.
    pub fn frames_for(&self, length: usize) -> usize {
        length.checked_sub(1).map_or(0, |last| self.frame_of(last).saturating_add(1))
    }

    /// The tokens of `hop` samples each that begin during frames `range`. Panics where `hop` is zero.
    pub fn tokens(&self, hop: usize, range: Range<usize>) -> Range<usize> {
        assert!(hop > 0, "a token stands for at least one sample");
        let [samples, frames] = self.ratio();
        let start = |frame: usize| whole((frame as u128 * samples).div_ceil(frames).div_ceil(hop as u128));
        start(range.start)..start(range.end)
    }

    /// The shortest stretch in which both clocks come out even: `(samples, frames)`, e.g.
    /// `(147147, 80)` for 44.1 kHz and 24000/1001 frames per second.
    pub fn period(&self) -> (usize, usize) {
        let [samples, frames] = self.ratio();
        (whole(samples), whole(frames))
    }

    /// Samples of a frame, where every frame has equally many.
    pub fn samples_per_frame(&self) -> Option<usize> {
        let (samples, frames) = self.period();
        (frames == 1).then_some(samples)
    }

    /// How many tokens of `hop` samples a frame holds, where it holds a whole number.
    ///
    /// # Errors
    /// Where it does not. The hint names the nearest hops that divide a frame or, where frames have
    /// no whole number of samples, the nearest sample rates at which they would.
    pub fn tokens_per_frame(&self, hop: usize) -> Result<usize> {
        let rates = format!("{} samples and {} frames per second", self.samples, self.frames);
        let refused = |found: String, hint: String| Err(Error::new(ErrorKind::Media, "", found).hint(hint));
        let Some(frame) = self.samples_per_frame() else {
            let (samples, frames) = self.period();
            let hint = either(self.sample_rates().map(|rate| rate.map(|rate| format!("{rate} Hz"))));
            return refused(
                format!(
                    "no hop divides a frame: at {rates}, {frames} frames are the first to hold a whole number of samples, {samples}"
                ),
                format!("resample the sound to {hint}"),
            );
        };
        if frame.is_multiple_of(hop) {
            return Ok(frame / hop);
        }
        let hint = either(self.hops(hop).map(|hop| hop.map(|hop| hop.to_string())));
        refused(
            format!("a hop of {hop} samples does not divide a frame, which has {frame} samples at {rates}"),
            format!("use a hop of {hint}"),
        )
    }

    /// The largest hop of at most `near` samples and the smallest of at least `near` samples that
    /// divide a frame: equal where `near` does, `None` where there is none.
    pub fn hops(&self, near: usize) -> [Option<usize>; 2] {
        let Some(frame) = self.samples_per_frame() else { return [None, None] };
        // Divisors come in pairs, one of them no larger than the root.
        let small = (1..).take_while(|&hop: &usize| hop.checked_mul(hop).is_some_and(|square| square <= frame));
        let divisors = small.filter(|hop| frame.is_multiple_of(*hop)).flat_map(|hop| [hop, frame / hop]);
        divisors.fold([None, None], |[below, above], hop| {
            [
                if hop <= near { below.max(Some(hop)) } else { below },
                if hop >= near { Some(above.map_or(hop, |above: usize| above.min(hop))) } else { above },
            ]
        })
    }

    /// The nearest whole sample rates, below and above this one, at which every frame has equally
    /// many samples.
    fn sample_rates(&self) -> [Option<u64>; 2] {
        // The frame rate is in lowest terms: a whole rate is even with it if its numerator divides it.
        let step = u64::from(self.frames.numerator);
        let now = u64::from(self.samples.numerator) / u64::from(self.samples.denominator);
        [Some(now / step * step).filter(|&rate| rate > 0), Some((now / step + 1) * step)]
    }

    /// `[samples, frames]` in lowest terms.
    fn ratio(&self) -> [u128; 2] {
        let times = |a: u32, b: u32| u128::from(a) * u128::from(b);
        let samples = times(self.samples.numerator, self.frames.denominator);
        let frames = times(self.samples.denominator, self.frames.numerator);
        let (mut a, mut b) = (samples, frames);
        while b != 0 {
            (a, b) = (b, a % b);
        }
        [samples / a, frames / a]
    }
}

fn whole(number: u128) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn either(choices: [Option<String>; 2]) -> String {
    choices.into_iter().flatten().collect::<Vec<_>>().join(" or ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rates() -> Vec<Timing> {
        let frames = [(24_000, 1001), (30_000, 1001), (60_000, 1001), (8, 1), (24, 1), (25, 1), (7, 3)];
        let samples = [(44_100, 1), (48_000, 1), (16_000, 1), (22_050, 1), (8_000, 1), (3, 1), (48_000, 1001)];
        let rate = |(numerator, denominator)| Rate::new(numerator, denominator).unwrap();
        frames.iter().flat_map(|&f| samples.map(|s| Timing::new(rate(f), rate(s)))).collect()
    }

    #[test]
    fn every_sample_belongs_to_one_frame_and_begins_in_it() {
        for timing in rates() {
            let mut next = 0;
            for frame in (0..500).chain([501]) {
                let samples = timing.samples(frame..frame + 1);
                if frame < 501 {
                    assert_eq!(samples.start, next, "{timing:?}");
                    next = samples.end;
                }
                for sample in [samples.start, samples.end.saturating_sub(1)] {
                    if samples.contains(&sample) {
                        assert_eq!(timing.frame_of(sample), frame, "{timing:?}");
                        // Floating point agrees as far as it goes.
                        let time = sample as f64 / timing.samples.as_f64() * timing.frames.as_f64();
                        assert!(time > frame as f64 - 1e-9 && time < (frame + 1) as f64 - 1e-9, "{timing:?}");
                    }
                }
            }
            for (a, b) in [(0, 17), (13, 101), (7, 7)] {
                let apart: usize = (a..b).map(|frame| timing.samples(frame..frame + 1).len()).sum();
                assert_eq!(timing.samples(a..b).len(), apart);
            }
        }
    }

    #[test]
    fn known_numbers() {
        let timing =
            |frames: (u32, u32), samples| Timing::new(Rate::new(frames.0, frames.1).unwrap(), Rate::whole(samples));
        // 44100 · 1001 / 24000 = 1839.3375, worked by hand.
        let film = timing((24_000, 1001), 44_100);
        assert_eq!((film.period(), film.samples_per_frame()), ((147_147, 80), None));
        assert_eq!([film.samples(0..1), film.samples(1..2), film.samples(2..3)], [0..1840, 1840..3679, 3679..5519]);
        // A whole day: 24000/1001 · 86,400 s = 2,071,528.47 frames. No drift.
        assert_eq!(film.samples(2_071_520..2_071_600).len(), 147_147);
        assert_eq!(film.samples(0..2_071_520), 0..(2_071_520 / 80 * 147_147));
        assert_eq!(timing((24_000, 1001), 48_000).samples_per_frame(), Some(2002));
        assert_eq!(timing((30_000, 1001), 48_000).period(), (8008, 5));
        assert_eq!(timing((30_000, 1001), 44_100).period(), (147_147, 100));
        assert_eq!(timing((25, 1), 44_100).samples_per_frame(), Some(1764));
    }

    #[test]
    fn lengths_and_frames_agree() {
        for timing in rates() {
            for length in [1, 2, 1839, 1840, 1841, 7919] {
                let frames = timing.frames_for(length);
                assert!(timing.samples(0..frames).end >= length && timing.samples(0..frames - 1).end < length);
            }
            assert_eq!(timing.frames_for(0), 0);
        }
    }

    #[test]
    fn tokens_begin_where_their_first_sample_begins() {
        for timing in rates() {
            for hop in [1, 2, 7, 320, 400, 4001] {
                for (a, b) in [(0, 1), (1, 2), (5, 23), (499, 500)] {
                    let tokens = timing.tokens(hop, a..b);
                    let samples = timing.samples(a..b);
                    let begins: Vec<_> =
                        samples.filter(|sample| sample % hop == 0).map(|sample| sample / hop).collect();
                    assert_eq!(tokens.clone().collect::<Vec<_>>(), begins, "{timing:?}, a hop of {hop}");
                    if let Ok(each) = timing.tokens_per_frame(hop) {
                        assert_eq!(tokens, a * each..b * each);
                    }
                }
            }
        }
    }

    #[test]
    fn hops_that_do_not_divide_are_named_with_those_that_do() {
        let timing = Timing::new(Rate::whole(8), Rate::whole(16_000));
        assert_eq!(timing.tokens_per_frame(400).unwrap(), 5);
        assert_eq!(timing.tokens_per_frame(2000).unwrap(), 1);
        let refused = |timing: Timing, hop| timing.tokens_per_frame(hop).unwrap_err().to_string();
        let error = refused(timing, 320);
        assert!(error.contains("2000 samples") && error.contains("use a hop of 250 or 400"), "{error}");
        assert!(refused(timing, 2001).ends_with("use a hop of 2000"));
        assert!(refused(timing, 0).ends_with("use a hop of 1"));
        let film = Timing::new(Rate::new(24_000, 1001).unwrap(), Rate::whole(44_100));
        assert!(refused(film, 320).ends_with("resample the sound to 24000 Hz or 48000 Hz"), "{}", refused(film, 320));
        assert_eq!(film.hops(320), [None, None]);
        for timing in rates() {
            let Some(frame) = timing.samples_per_frame() else { continue };
            let divisors: Vec<_> = (1..=frame).filter(|hop| frame % hop == 0).collect();
            for near in [1, 2, 3, 100, 320, 999, 5000] {
                let below = divisors.iter().copied().rfind(|&hop| hop <= near);
                assert_eq!(timing.hops(near), [below, divisors.iter().copied().find(|&hop| hop >= near)]);
            }
        }
    }

    #[test]
    fn what_is_too_large_stays_at_the_largest() {
        let timing = Timing::new(Rate::new(1, u32::MAX).unwrap(), Rate::whole(u32::MAX));
        assert_eq!(timing.samples(0..usize::MAX), 0..usize::MAX);
        assert_eq!(timing.frame_of(usize::MAX), 1);
    }
}
