//! From the times at which pictures appear to a clip with one frame rate.

use crate::fault::{Outcome, broken};
use musiva_core::Rate;

/// When each picture of a file appears, in ticks from the first one.
#[derive(Clone, Debug)]
pub(crate) struct Timeline {
    /// Ticks per second, above zero.
    pub scale: u32,
    /// Start of each picture: ascending, the first one 0.
    pub starts: Vec<u64>,
    /// End of the last picture.
    pub end: u64,
}

/// Frames at a constant rate, each showing one of the file's pictures.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Frames per second.
    pub rate: Rate,
    /// Number of frames, where it is known before the last one is read.
    pub frames: Option<usize>,
    /// Present where the file's pictures do not come at a constant rate.
    uneven: Option<Timeline>,
}

/// Rates that are meant even where a coarse clock lets others fit as well.
const NTSC: [(u32, u32); 3] = [(24_000, 1001), (30_000, 1001), (60_000, 1001)];

impl Schedule {
    /// One frame for each picture.
    pub(crate) fn even(rate: Rate, frames: Option<usize>) -> Self {
        Self { rate, frames, uneven: None }
    }

    /// The rule: pictures whose times agree with one rate, up to the rounding of the file's clock,
    /// are frames at that rate (whole rates before NTSC ones before other fractions). Others are
    /// resampled at one frame per *median* picture duration: frame `k` shows the picture that is on
    /// show at time `k / rate`.
    pub(crate) fn of(timeline: Timeline) -> Outcome<Self> {
        let frames = timeline.starts.len();
        if frames == 0 || timeline.scale == 0 {
            return Err(broken("it holds no pictures"));
        }
        if let Some(rate) = timeline.constant_rate() {
            return Ok(Self::even(rate, Some(frames)));
        }
        let mut durations: Vec<u64> = timeline.durations().collect();
        let middle = durations.len() / 2;
        let median = *durations.select_nth_unstable(middle).1;
        let rate = rate(timeline.scale, median.max(1));
        let period = rate.as_f64().recip() * f64::from(timeline.scale);
        let count = (timeline.end as f64 / period - 1e-9).ceil().max(1.0);
        if count > 1e8 {
            return Err(broken("the times of its pictures are out of all proportion"));
        }
        Ok(Self { rate, frames: Some(count as usize), uneven: Some(timeline) })
    }

    /// The picture that frame `frame` shows; `None` past the end.
    pub(crate) fn picture(&self, frame: usize) -> Option<usize> {
        if self.frames.is_some_and(|frames| frame >= frames) {
            return None;
        }
        let Some(timeline) = &self.uneven else { return Some(frame) };
        let ticks = frame as u128 * u128::from(timeline.scale) * u128::from(self.rate.denominator)
            / u128::from(self.rate.numerator);
        Some(timeline.starts.partition_point(|&start| u128::from(start) <= ticks).saturating_sub(1))
    }

    /// Whether frames are the file's pictures, one for one.
    pub(crate) fn is_even(&self) -> bool {
        self.uneven.is_none()
    }
}

impl Timeline {
    fn durations(&self) -> impl Iterator<Item = u64> {
        let ends = self.starts.iter().skip(1).copied().chain([self.end]);
        self.starts.iter().zip(ends).map(|(&start, end)| end.saturating_sub(start))
    }

    fn constant_rate(&self) -> Option<Rate> {
        let first = self.durations().next().filter(|&ticks| ticks > 0)?;
        // The last picture may be held or cut: it says nothing about the rate of the others.
        let told = (self.starts.len() - 1).max(1);
        if self.durations().take(told).all(|ticks| ticks == first) {
            return Some(rate(self.scale, first));
        }
        // Half a tick for clocks that round, one for those that cut off.
        [0.5, 1.0].into_iter().find_map(|slack| self.rate_within(slack))
    }

    /// A rate whose pictures all start within `slack` ticks of the stated times.
    fn rate_within(&self, slack: f64) -> Option<Rate> {
        let (mut low, mut high) = (f64::MIN_POSITIVE, f64::MAX);
        for (index, &start) in self.starts.iter().enumerate().skip(1) {
            low = low.max((start as f64 - slack) / index as f64);
            high = high.min((start as f64 + slack) / index as f64);
        }
        let (slowest, fastest) = (f64::from(self.scale) / high, f64::from(self.scale) / low);
        if !(slowest <= fastest && slowest > 0.0 && fastest < 1e6) {
            return None;
        }
        let fits = |rate: f64| rate >= slowest * (1.0 - 1e-12) && rate <= fastest * (1.0 + 1e-12);
        let centre = (slowest + fastest) / 2.0;
        let of = |denominator: u32| {
            let numerator = (centre * f64::from(denominator)).round();
            (numerator >= 1.0 && fits(numerator / f64::from(denominator))).then_some((numerator as u32, denominator))
        };
        let ntsc =
            || NTSC.into_iter().find(|&(numerator, denominator)| fits(f64::from(numerator) / f64::from(denominator)));
        let (numerator, denominator) = of(1).or_else(ntsc).or_else(|| (2..=1000).find_map(of))?;
        Rate::new(numerator, denominator).ok()
    }
}

/// `scale / ticks` per second, with the numbers cut down to fit a [`Rate`].
pub(crate) fn rate(scale: u32, ticks: u64) -> Rate {
    let ticks = u32::try_from(ticks).unwrap_or(u32::MAX);
    Rate::new(scale.max(1), ticks.max(1)).unwrap_or_else(|_| Rate::whole(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn rounded(rate: Rate, frames: u64, scale: u32) -> Timeline {
        let at = |k: u64| (k as f64 * f64::from(scale) / rate.as_f64()).round() as u64;
        Timeline { scale, starts: (0..frames).map(at).collect(), end: at(frames) }
    }

    proptest! {
        #[test]
        fn whole_rates_survive_a_clock_of_hundredths(per_second in 1u32..=50, frames in 2u64..200) {
            let schedule = Schedule::of(rounded(Rate::whole(per_second), frames, 100)).unwrap();
            prop_assert!(schedule.is_even());
            prop_assert_eq!(schedule.frames, Some(frames as usize));
            // A few frames cannot tell neighbouring rates apart: the times themselves must agree.
            let (found, meant) = (schedule.rate.as_f64(), f64::from(per_second));
            for k in 0..frames {
                prop_assert!((k as f64 * 100.0 * (1.0 / found - 1.0 / meant)).abs() <= 2.0);
            }
        }
    }

    #[test]
    fn common_rates_are_found_exactly() {
        for (rate, scale) in [(24, 100), (8, 100), (12, 100), (30, 100), (25, 1000), (30, 600)] {
            let found = Schedule::of(rounded(Rate::whole(rate), 29, scale)).unwrap();
            assert_eq!(found.rate, Rate::whole(rate), "at {scale} ticks per second");
        }
        let ntsc = Rate::new(24_000, 1001).unwrap();
        assert_eq!(Schedule::of(rounded(ntsc, 2000, 1000)).unwrap().rate, ntsc);
    }

    #[test]
    fn uneven_pictures_are_held_for_their_time() {
        let schedule = Schedule::of(Timeline { scale: 100, starts: vec![0, 10, 20, 50, 60], end: 70 }).unwrap();
        assert_eq!(schedule.rate, Rate::whole(10));
        let shown: Vec<_> = (0..8).map(|frame| schedule.picture(frame)).collect();
        assert_eq!(shown, [Some(0), Some(1), Some(2), Some(2), Some(2), Some(3), Some(4), None]);
    }
}
