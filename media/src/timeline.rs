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

/// Frames at a constant rate, each showing the picture that its file shows at that time.
#[derive(Clone, Debug)]
pub(crate) struct Schedule {
    /// Frames per second.
    pub rate: Rate,
    /// Number of frames.
    pub frames: usize,
    times: Times,
}

/// When the pictures of a file are on show.
#[derive(Clone, Debug)]
enum Times {
    /// One picture, and no time.
    Still,
    /// Picture `k` of so many appears at `k / rate`. The last one is on show for `last` halves of a tick of a clock with
    /// so many ticks a second; `None`: as long as the others.
    Even { rate: Rate, count: usize, last: Option<(u64, u32)> },
    /// Each at a time of its own.
    Uneven(Timeline),
}

/// Rates that are meant even where a coarse clock lets others fit as well.
const NTSC: [(u32, u32); 3] = [(24_000, 1001), (30_000, 1001), (60_000, 1001)];
/// The fastest whole rate on whose grid uneven pictures are looked for.
const FASTEST_GRID: u32 = 60;
/// Frames per second at most, where the shortest picture says how many there are.
const FASTEST: u32 = 240;
/// Frames at most.
const MOST: u128 = 100_000_000;

impl Schedule {
    /// One picture that is not on show for any time of its own.
    pub(crate) fn still() -> Self {
        Self { rate: Rate::whole(1), frames: 1, times: Times::Still }
    }

    /// The rule: pictures whose times agree with one rate, up to the rounding of the file's clock, are frames at that
    /// rate (whole rates before NTSC ones before other fractions). Of others it is the slowest whole rate, or NTSC one, on
    /// whose grid all of them lie, or else that of the shortest picture: none is left out.
    pub(crate) fn of(timeline: Timeline) -> Outcome<Self> {
        let count = timeline.starts.len();
        if count == 0 || timeline.scale == 0 {
            return Err(broken("it holds no pictures"));
        }
        let (rate, times) = match timeline.constant_rate() {
            Some(rate) => (rate, Times::Even { rate, count, last: timeline.last(rate) }),
            None => (timeline.grid(), Times::Uneven(timeline)),
        };
        match Self::sampled(times, rate) {
            Some(schedule) => Ok(schedule),
            None => Err(broken("the times of its pictures are out of all proportion")),
        }
    }

    /// The same pictures at another rate: frame `k` is the one on show at `k / rate`.
    pub(crate) fn at(&self, rate: Rate) -> Outcome<Self> {
        Self::sampled(self.times.clone(), rate).ok_or_else(|| broken(format!("at {rate} fps it has too many frames")))
    }

    /// Frames start as long as the last picture is on show; `None`: they are too many.
    fn sampled(times: Times, rate: Rate) -> Option<Self> {
        let [numerator, denominator] = [rate.numerator, rate.denominator].map(u128::from);
        let frames = match &times {
            Times::Still => 1,
            Times::Even { rate: own, count, last } => {
                let [n, d] = [own.numerator, own.denominator].map(u128::from);
                match last {
                    None => (*count as u128 * d * numerator).div_ceil(n * denominator),
                    Some((halves, scale)) => {
                        let (halves, scale) = (u128::from(*halves), 2 * u128::from(*scale));
                        let until = (*count as u128 - 1) * d * scale + halves * n;
                        until.checked_mul(numerator)?.div_ceil(n * scale * denominator)
                    }
                }
            }
            Times::Uneven(timeline) => (2 * u128::from(timeline.end))
                .saturating_sub(timeline.slack())
                .checked_mul(numerator)?
                .div_ceil(2 * u128::from(timeline.scale) * denominator),
        };
        (frames <= MOST).then(|| Self { rate, frames: frames.max(1) as usize, times })
    }

    /// The picture that frame `frame` shows; `None` past the end.
    pub(crate) fn picture(&self, frame: usize) -> Option<usize> {
        if frame >= self.frames {
            return None;
        }
        let Rate { numerator, denominator } = self.rate;
        Some(match &self.times {
            Times::Still => 0,
            Times::Even { rate, count, .. } => {
                let ticks = frame as u128 * u128::from(denominator) * u128::from(rate.numerator);
                let picture = ticks / (u128::from(numerator) * u128::from(rate.denominator));
                usize::try_from(picture).unwrap_or(usize::MAX).min(count - 1)
            }
            Times::Uneven(timeline) => {
                let [numerator, denominator] = [numerator, denominator].map(u128::from);
                let time = 2 * frame as u128 * u128::from(timeline.scale) * denominator + timeline.slack() * numerator;
                let there = |&start: &u64| 2 * u128::from(start) * numerator <= time;
                timeline.starts.partition_point(there).saturating_sub(1)
            }
        })
    }

    /// Whether frames are the file's pictures, one for one.
    pub(crate) fn is_even(&self) -> bool {
        match &self.times {
            Times::Still => true,
            Times::Even { rate, count, .. } => *rate == self.rate && *count == self.frames,
            Times::Uneven(_) => false,
        }
    }

    /// Whether it is one picture without any time.
    pub(crate) fn is_still(&self) -> bool {
        matches!(self.times, Times::Still)
    }
}

impl Timeline {
    fn durations(&self) -> impl Iterator<Item = u64> {
        let ends = self.starts.iter().skip(1).copied().chain([self.end]);
        self.starts.iter().zip(ends).map(|(&start, end)| end.saturating_sub(start))
    }

    /// Halves of a tick that the clock may have rounded away. Clocks that are coarser than hundredths, those of GIF, are exact:
    /// they tick once a picture.
    fn slack(&self) -> u128 {
        u128::from(self.scale >= 100)
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

    /// How long the last picture is on show, in halves of a tick, less the half that a clock may round away; `None`: as
    /// long as one at `rate`, or the file does not say.
    fn last(&self, rate: Rate) -> Option<(u64, u32)> {
        let last = self.durations().last().filter(|&ticks| ticks > 0)?;
        let period = f64::from(self.scale) / rate.as_f64();
        ((last as f64 - period).abs() > 1.0 + 1e-6).then(|| (last.saturating_mul(2) - 1, self.scale))
    }

    /// The slowest rate on whose grid all pictures start, up to the rounding of the clock; else that of the shortest one.
    fn grid(&self) -> Rate {
        let lies = |rate: &Rate| {
            let (ticks, slack) = (
                f64::from(self.scale) / rate.as_f64(),
                match self.scale {
                    0..100 => 1e-6,
                    100..1000 => 0.5 + 1e-6,
                    _ => 1.0,
                },
            );
            let near = |start: f64| ((start / ticks).round() * ticks - start).abs() <= slack;
            self.starts.iter().all(|&start| near(start as f64))
        };
        let ntsc = NTSC.into_iter().filter_map(|(numerator, denominator)| Rate::new(numerator, denominator).ok());
        if let Some(rate) = (1..=FASTEST_GRID).map(Rate::whole).chain(ntsc).find(lies) {
            return rate;
        }
        let shortest = self.durations().filter(|&ticks| ticks > 0).min().unwrap_or(1);
        let rate = rate(self.scale, shortest);
        if rate.as_f64() > f64::from(FASTEST) { Rate::whole(FASTEST) } else { rate }
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
            prop_assert_eq!(schedule.frames, frames as usize);
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

    /// What a timeline in seconds shows at `rate`, by the definition.
    fn shown(starts: &[f64], end: f64, rate: f64) -> Vec<usize> {
        let on = |time: f64| starts.iter().rposition(|&start| start <= time + 1e-9).unwrap();
        (0..).map(|frame| f64::from(frame) / rate).take_while(|&time| time < end - 1e-9).map(on).collect()
    }

    fn sampled(schedule: &Schedule, rate: u32) -> Vec<usize> {
        let schedule = schedule.at(Rate::whole(rate)).unwrap();
        assert_eq!(schedule.picture(schedule.frames), None);
        (0..schedule.frames).map(|frame| schedule.picture(frame).unwrap()).collect()
    }

    #[test]
    fn any_rate_is_sampled_from_the_times_themselves() {
        // A picture a second, and four of an eighth from second 4 on: their grid is 8 a second, not a median or mean.
        let eighths = [0, 8, 16, 24, 32, 33, 34, 35, 36, 44, 52, 60];
        let seconds = eighths.map(|start| f64::from(start) / 8.0);
        for scale in [8, 1000, 8000, 90_000] {
            let tick = |eighth: u32| u64::from(eighth * scale / 8);
            let timeline = Timeline { scale, starts: eighths.map(tick).into(), end: tick(61) };
            let schedule = Schedule::of(timeline).unwrap();
            assert!(!schedule.is_even());
            assert_eq!(schedule.rate, Rate::whole(8));
            for rate in [1, 3, 7, 8, 24, 50] {
                assert_eq!(sampled(&schedule, rate), shown(&seconds, 61.0 / 8.0, f64::from(rate)), "{scale}, {rate}");
            }
            assert_eq!(sampled(&schedule, 8)[32..36], [4, 5, 6, 7]);
        }
    }

    #[test]
    fn a_clock_of_thousandths_shows_every_picture_of_a_constant_rate() {
        let schedule = Schedule::of(rounded(Rate::whole(24), 49, 1000)).unwrap();
        assert_eq!(sampled(&schedule, 24), (0..49).collect::<Vec<_>>());
        assert_eq!(sampled(&schedule, 8), (0..17).map(|frame| 3 * frame).collect::<Vec<_>>());
        let uneven = [0, 42, 83, 125, 208];
        let schedule = Schedule::of(Timeline { scale: 1000, starts: uneven.into(), end: 250 }).unwrap();
        assert_eq!((schedule.rate, sampled(&schedule, 24)), (Rate::whole(24), vec![0, 1, 2, 3, 3, 4]));
    }

    #[test]
    fn a_last_picture_lasts_as_long_as_its_file_says() {
        let of = |last: u64| {
            Schedule::of(Timeline { scale: 100, starts: (0..10).map(|k| 10 * k).collect(), end: 90 + last }).unwrap()
        };
        assert_eq!([10, 300, 5, 0].map(|last| of(last).frames), [10, 39, 10, 10]);
        assert_eq!([true, false, true], [10, 300, 5].map(|last| of(last).is_even()));
        let held = of(300);
        assert_eq!((held.picture(9), held.picture(38), held.picture(39)), (Some(9), Some(9), None));
        assert_eq!([8, 10, 20, 1].map(|rate| sampled(&held, rate).len()), [32, 39, 78, 4]);
        // One picture that is on show for three seconds, and one that has no time.
        let one = Schedule::of(Timeline { scale: 1000, starts: vec![0], end: 3000 }).unwrap();
        assert_eq!((sampled(&one, 8), sampled(&Schedule::still(), 8)), (vec![0; 24], vec![0]));
        // Two days at a frame each tick are no clip.
        assert!(Schedule::of(Timeline { scale: 1 << 30, starts: vec![0, 1], end: u64::MAX }).is_err());
    }
}
