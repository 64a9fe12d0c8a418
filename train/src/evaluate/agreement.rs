//! Whether sight and sound agree: do things start to be heard when something happens to be seen?

use musiva_core::{Clip, Sound};
use serde::Serialize;

/// Where loudness is measured, times a second.
const LOOKS: f64 = 100.0;
/// Decibels by which loudness rises within 30 ms where a sound starts.
const RISE: f64 = 9.0;
/// Quieter than this, in decibels of full scale, is nothing.
const FLOOR: f64 = -60.0;
/// Seconds between two onsets of one kind, at least.
const APART: f64 = 0.1;
/// A change of motion counts from this share of the largest one on.
const SUDDEN: f64 = 0.4;

/// How well onsets that are heard go with those that are seen: F1, the harmonic mean of the share of heard ones that are seen
/// and of seen ones that are heard, over all samples, each within a frame and a half.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Agreement {
    /// Samples in which something is heard and something is seen.
    pub n: usize,
    /// Of what was made.
    pub made: f64,
    /// Of the held-out clips and their own sounds.
    pub held_out: f64,
    /// Of held-out clips and the sounds of others: what chance gives.
    pub chance: f64,
}

/// Onsets of one sample: seconds at which something is seen and heard to start.
#[derive(Clone, Debug, Default)]
struct Moments {
    seen: Vec<f64>,
    heard: Vec<f64>,
    tolerance: f64,
}

/// Onsets of samples, made and real.
#[derive(Default)]
pub(super) struct Agreements {
    made: Vec<Moments>,
    real: Vec<Moments>,
}

impl Agreements {
    /// Adds a clip and a sound that were made, and the real ones.
    pub fn add(&mut self, made: (&Clip, &Sound), real: (&Clip, &Sound)) {
        let of = |(clip, sound): (&Clip, &Sound)| Moments {
            seen: seen(clip),
            heard: heard(sound),
            tolerance: 1.5 / clip.rate().as_f64(),
        };
        self.made.push(of(made));
        self.real.push(of(real));
    }

    /// The figures; `None` where nothing is heard or seen.
    pub fn result(&self) -> Option<Agreement> {
        let others: Vec<Moments> = (self.real.iter().zip(self.real.iter().cycle().skip(1)))
            .map(|(one, other)| Moments { heard: other.heard.clone(), ..one.clone() })
            .collect();
        let n = self.real.iter().filter(|moments| !moments.seen.is_empty() && !moments.heard.is_empty()).count();
        let (made, held_out, chance) = (f1(&self.made), f1(&self.real)?, f1(&others));
        (n > 0).then(|| Agreement { n, made: made.unwrap_or(0.0), held_out, chance: chance.unwrap_or(0.0) })
    }
}

/// Of all samples together; `None` where nothing happens in any.
fn f1(all: &[Moments]) -> Option<f64> {
    let (mut right, mut total) = (0.0, 0.0);
    for Moments { seen, heard, tolerance } in all {
        let mut free = seen.clone();
        for at in heard {
            let near = |other: &f64| (other - at).abs();
            let nearest = (0..free.len()).min_by(|&a, &b| near(&free[a]).total_cmp(&near(&free[b])));
            if let Some(nearest) = nearest.filter(|&i| near(&free[i]) <= *tolerance) {
                free.remove(nearest);
                right += 2.0;
            }
        }
        total += (seen.len() + heard.len()) as f64;
    }
    (total > 0.0).then(|| right / total)
}

/// When a sound starts, in seconds.
fn heard(sound: &Sound) -> Vec<f64> {
    let rate = sound.rate().as_f64();
    let hop = ((rate / LOOKS).round() as usize).max(1);
    let samples: Vec<f32> = sound.channel(0).collect();
    let loud = |block: &[f32]| {
        let power = block.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>() / block.len() as f64;
        (10.0 * power.max(1e-12).log10()).max(FLOOR)
    };
    // In front of it there is silence.
    let loud: Vec<f64> = [FLOOR; 3].into_iter().chain(samples.chunks(hop).map(loud)).collect();
    let rise = loud.windows(4).map(|four| four[3] - four[0]).collect::<Vec<_>>();
    peaks(&rise, hop as f64 / rate, RISE)
}

/// When something that is seen starts, stops or turns, in seconds: where the change from frame to frame itself changes most.
fn seen(clip: &Clip) -> Vec<f64> {
    let frames = clip.frames();
    let change = |t: usize| {
        let (a, b) = (clip.frame(t - 1), clip.frame(t));
        a.iter().zip(b).map(|(a, b)| f64::from(a.abs_diff(*b))).sum::<f64>() / a.len() as f64
    };
    let changes: Vec<f64> = (1..frames).map(change).collect();
    // Between frames t and t + 1 and between t + 1 and t + 2.
    let mut turns = vec![0.0];
    turns.extend(changes.windows(2).map(|two| (two[1] - two[0]).abs()));
    let most = turns.iter().copied().fold(0.0, f64::max);
    if most < 0.25 {
        return Vec::new();
    }
    peaks(&turns, 1.0 / clip.rate().as_f64(), SUDDEN * most)
}

/// The times of values that are at least `least` and largest within [`APART`] on both sides; of equal ones the first.
fn peaks(values: &[f64], step: f64, least: f64) -> Vec<f64> {
    let reach = ((APART / step).round() as usize).max(1);
    let is_peak = |&i: &usize| {
        let near = i.saturating_sub(reach)..(i + reach + 1).min(values.len());
        values[i] >= least
            && near.into_iter().all(|j| if j < i { values[j] < values[i] } else { values[j] <= values[i] })
    };
    (0..values.len()).filter(is_peak).map(|i| i as f64 * step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Rate;

    /// A square that jumps at these frames, 20 a second.
    fn clip(jumps: &[usize]) -> Clip {
        let mut pixels = Vec::new();
        for t in 0..20 {
            let place = jumps.iter().filter(|&&jump| jump <= t).count() % 2;
            pixels.extend((0..8 * 8).flat_map(|i| [if (i % 8 / 4) == place { 200u8 } else { 0 }; 3]));
        }
        Clip::new([20, 8, 8], Rate::whole(20), pixels).unwrap()
    }

    /// Decaying tones from these moments on, in a second.
    fn sound(starts: &[f64]) -> Sound {
        let tone = |k: usize| {
            let t = k as f64 / 8000.0;
            let one = |start: &f64| if t < *start { 0.0 } else { (-20.0 * (t - start)).exp() * (2000.0 * t).sin() };
            starts.iter().map(one).sum::<f64>() as f32 * 0.5
        };
        Sound::new(1, Rate::whole(8000), (0..8000).map(tone).collect()).unwrap()
    }

    #[test]
    fn onsets_are_found_where_they_are() {
        let near = |found: Vec<f64>, wanted: &[f64], tolerance: f64| {
            assert_eq!(found.len(), wanted.len(), "{found:?}");
            assert!(found.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= tolerance), "{found:?}");
        };
        near(heard(&sound(&[0.0, 0.3, 0.75])), &[0.0, 0.3, 0.75], 0.03);
        near(heard(&sound(&[])), &[], 0.0);
        // A jump at frame 6 is there at 0.3 s; standing still is nothing.
        near(seen(&clip(&[6, 14])), &[0.3, 0.7], 0.051);
        near(seen(&clip(&[])), &[], 0.0);
    }

    #[test]
    fn what_agrees_does_and_what_does_not_does_not() {
        let mut all = Agreements::default();
        for jumps in [[4usize, 12], [6, 15], [8, 17]] {
            let (video, own) = (clip(&jumps), sound(&jumps.map(|jump| jump as f64 / 20.0)));
            all.add((&video, &sound(&[0.01, 0.95])), (&video, &own));
        }
        let found = all.result().unwrap();
        assert_eq!((found.n, found.held_out, found.made), (3, 1.0, 0.0));
        assert!(found.chance < 0.5, "{found:?}");
        let mut silent = Agreements::default();
        silent.add((&clip(&[3]), &sound(&[])), (&clip(&[]), &sound(&[])));
        assert_eq!(silent.result(), None);
    }

    #[test]
    fn each_onset_is_matched_once() {
        let one = |seen: &[f64], heard: &[f64]| Moments { seen: seen.to_vec(), heard: heard.to_vec(), tolerance: 0.1 };
        assert_eq!(f1(&[one(&[0.5], &[0.45, 0.55])]), Some(2.0 / 3.0));
        assert_eq!(f1(&[one(&[0.5, 0.9], &[0.5])]), Some(2.0 / 3.0));
        assert_eq!(f1(&[one(&[0.5], &[0.7])]), Some(0.0));
        assert_eq!(f1(&[one(&[], &[])]), None);
    }
}
