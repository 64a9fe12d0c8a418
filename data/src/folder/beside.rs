//! The sound of a file beside its pictures, on the file's one timeline.

use super::{Probe, SoundTrack};
use musiva_core::Rate;
use std::ops::Range;

/// Where the sound of a file lies beside its pictures, in samples at the rate of the windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Beside {
    /// Number of the sample that sounds when the first picture appears; below zero where the sound starts later.
    first: i64,
    length: usize,
}

impl Beside {
    pub fn new(probe: &Probe, track: &SoundTrack, rate: Rate) -> Self {
        let first = ((probe.start - track.start) * rate.as_f64()).round() as i64;
        Self { first, length: track.length }
    }

    /// The samples of the file that sound during `length` samples from sample `start` on, counted from the first picture,
    /// and how many of those `length` pass before the first of them. Outside of that there is silence.
    pub fn window(&self, start: usize, length: usize) -> (Range<usize>, usize) {
        let start = i128::from(self.first) + start as i128;
        // Both lie within 0 and the length of the file.
        let within = |sample: i128| sample.clamp(0, self.length as i128);
        let (from, to) = (within(start), within(start + length as i128));
        (from as usize..to as usize, (from - start).clamp(0, length as i128) as usize)
    }

    /// Seconds of the sound that are cut before and behind pictures that last so many seconds.
    pub fn cut(&self, seconds: f64, rate: Rate) -> [f64; 2] {
        let [first, length] = [self.first as f64, self.length as f64].map(|samples| samples / rate.as_f64());
        [first, length - first - seconds].map(|cut| cut.clamp(0.0, length))
    }

    /// Seconds of silence before and behind the sound, during pictures that last so many seconds.
    pub fn silence(&self, seconds: f64, rate: Rate) -> [f64; 2] {
        let [first, length] = [self.first as f64, self.length as f64].map(|samples| samples / rate.as_f64());
        [-first, seconds - (length - first)].map(|silence| silence.clamp(0.0, seconds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn beside(pictures: f64, sound: f64, length: usize) -> Beside {
        let probe = Probe { frames: 9, size: [8, 8], start: pictures };
        Beside::new(&probe, &SoundTrack { start: sound, length }, Rate::whole(100))
    }

    #[test]
    fn samples_are_those_of_the_same_time() {
        let together = beside(0.25, 0.25, 90);
        assert_eq!([together.window(0, 50), together.window(50, 50)], [(0..50, 0), (50..90, 0)]);
        assert_eq!(together.window(100, 50).0.len(), 0);
        // The sound starts a fifth of a second after the pictures, or before them.
        let late = beside(0.0, 0.2, 90);
        assert_eq!(
            [late.window(0, 50), late.window(50, 50), late.window(100, 50)],
            [(0..30, 20), (30..80, 0), (80..90, 0)]
        );
        assert_eq!(late.window(0, 15), (0..0, 15));
        let early = beside(0.3, 0.1, 90);
        assert_eq!([early.window(0, 50), early.window(50, 50)], [(20..70, 0), (70..90, 0)]);
        // What a file says is not believed blindly.
        for odd in [beside(f64::NAN, 0.0, 9), beside(f64::INFINITY, 0.0, 9), beside(0.0, 1e300, 9)] {
            let (range, before) = odd.window(usize::MAX, 50);
            assert!(range.end <= 9 && before + range.len() <= 50, "{odd:?}");
        }
    }

    #[test]
    fn silence_is_told_in_seconds() {
        let rate = Rate::whole(100);
        assert_eq!(beside(0.0, 0.0, 100).silence(1.0, rate), [0.0, 0.0]);
        assert_eq!(beside(0.0, 0.25, 50).silence(1.0, rate), [0.25, 0.25]);
        assert_eq!(beside(0.5, 0.0, 100).silence(1.0, rate), [0.0, 0.5]);
        assert_eq!(beside(0.0, 7.0, 100).silence(1.0, rate), [1.0, 0.0]);
        assert_eq!(beside(0.0, 0.25, 50).cut(1.0, rate), [0.0, 0.0]);
        assert_eq!(beside(0.5, 0.0, 200).cut(1.0, rate), [0.5, 0.5]);
    }
}
