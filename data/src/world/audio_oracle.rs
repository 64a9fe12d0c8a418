//! Reads a sound of the world back: analytic, no model, nothing learnt.

use super::attributes::{Colour, Shape, Speed};
use super::scene::Event;
use super::tone::{DECAY, PARTIALS};
use musiva_core::Sound;
use serde::Serialize;
use std::f64::consts::TAU;

/// Seconds of the stretches whose energies are compared.
const STRETCH: f64 = 0.01;
/// An onset is a stretch with so many times the energy of the one before it.
const RISE: f64 = 4.0;
/// Root mean square below which nothing is heard; full scale is 1.
const FLOOR: f64 = 0.02;
/// And below this part of the loudest stretch of the sound.
const FAINT: f64 = 0.2;
/// Seconds from an onset to the next, at least: a tone beats within itself.
const APART: f64 = 0.15;
/// Seconds of a tone that are listened to.
const LISTENED: f64 = 2.0 * DECAY;
/// The part of the energy that a pitch and its partials must explain.
const EXPLAINED: f64 = 0.4;

/// What is heard; `None`: it cannot be decided.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct AudioReading {
    /// The moments, in seconds, at which a tone begins.
    pub onsets: Vec<f64>,
    /// By the pitch of most tones.
    pub colour: Option<Colour>,
    /// By the timbre of most tones.
    pub shape: Option<Shape>,
    /// By the loudness of most tones.
    pub speed: Option<Speed>,
}

impl AudioReading {
    /// Listens to the first channel of `sound`.
    pub fn of(sound: &Sound) -> Self {
        let samples: Vec<f64> = sound.channel(0).map(f64::from).collect();
        let rate = sound.rate().as_f64();
        let onsets = onsets(&samples, rate);
        let heard: Vec<_> = onsets.iter().filter_map(|&onset| tone(&samples[onset..], rate)).collect();
        Self {
            onsets: onsets.iter().map(|&onset| onset as f64 / rate).collect(),
            colour: most(heard.iter().map(|tone| tone.0)),
            shape: most(heard.iter().map(|tone| tone.1)),
            speed: most(heard.iter().map(|tone| tone.2)),
        }
    }

    /// Right and wrong onsets against the bounces of a scene, no more than `tolerance` seconds apart:
    /// each bounce is met by one onset at most.
    pub fn onsets_against(&self, events: &[Event], tolerance: f64) -> Onsets {
        let wanted: Vec<f64> = events.iter().map(|event| event.time).collect();
        Onsets::of(&self.onsets, &wanted, tolerance)
    }
}

/// Onsets counted, to be summed over sounds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Onsets {
    /// Bounces with an onset.
    pub met: usize,
    /// Onsets.
    pub heard: usize,
    /// Bounces.
    pub wanted: usize,
}

impl Onsets {
    /// Of moments that were heard and of those that were wanted, no more than `tolerance` apart: each of the wanted is
    /// met by one of the heard at most.
    pub fn of(heard: &[f64], wanted: &[f64], tolerance: f64) -> Self {
        let mut free = heard.to_vec();
        let mut met = 0;
        for moment in wanted {
            if let Some(at) = free.iter().position(|onset| (onset - moment).abs() <= tolerance) {
                free.remove(at);
                met += 1;
            }
        }
        Self { met, heard: heard.len(), wanted: wanted.len() }
    }

    /// The harmonic mean of precision and recall, 0 to 1; 1 where there is nothing to hear and nothing
    /// is heard.
    pub fn f1(self) -> f64 {
        match self.heard + self.wanted {
            0 => 1.0,
            all => 2.0 * self.met as f64 / all as f64,
        }
    }
}

impl std::ops::AddAssign for Onsets {
    fn add_assign(&mut self, other: Self) {
        self.met += other.met;
        self.heard += other.heard;
        self.wanted += other.wanted;
    }
}

/// The samples at which tones begin, to about a millisecond.
fn onsets(samples: &[f64], rate: f64) -> Vec<usize> {
    let stretch = ((STRETCH * rate) as usize).max(1);
    let step = (stretch / 8).max(1);
    // Sums of squares up to each sample, so that any stretch's energy is one difference.
    let sums: Vec<f64> = std::iter::once(0.0)
        .chain(samples.iter().scan(0.0, |sum, x| {
            *sum += x * x;
            Some(*sum)
        }))
        .collect();
    let energy = |from: isize| {
        let at = |i: isize| sums[i.clamp(0, samples.len() as isize) as usize];
        (at(from + stretch as isize) - at(from)) / stretch as f64
    };
    let places: Vec<isize> = (0..samples.len()).step_by(step).map(|at| at as isize).collect();
    let loudest = places.iter().map(|&at| energy(at)).fold(0.0, f64::max);
    let floor = (FLOOR * FLOOR).max(FAINT * FAINT * loudest);
    let apart = (APART * rate) as usize;
    let mut found: Vec<usize> = Vec::new();
    for &at in &places {
        let (now, before) = (energy(at), energy(at - stretch as isize));
        if now > floor && now > RISE * (before + 1e-9) && found.last().is_none_or(|&last| at as usize >= last + apart) {
            // A stretch that only ends in the tone is loud enough: the tone begins where it is at its steepest.
            let rises = |&from: &isize| energy(from) - energy(from - stretch as isize);
            let span = (0..=8).map(|i| at + i * step as isize);
            let steepest = span.max_by(|a, b| rises(a).total_cmp(&rises(b))).unwrap_or(at);
            found.push((steepest as usize).min(samples.len() - 1));
        }
    }
    found
}

/// Colour, shape and speed of the tone that `samples` begin with.
fn tone(samples: &[f64], rate: f64) -> Option<(Colour, Shape, Speed)> {
    let length = ((LISTENED * rate) as usize).min(samples.len());
    let samples = &samples[..length];
    // Amplitude of a decaying partial: its projection on the decaying sine and cosine.
    let decays: Vec<f64> = (0..length).map(|i| (-(i as f64) / rate / DECAY).exp()).collect();
    let weight: f64 = decays.iter().map(|d| d * d).sum::<f64>() / 2.0;
    let amplitude = |frequency: f64| {
        let (mut sine, mut cosine) = (0.0, 0.0);
        for (i, (sample, decay)) in samples.iter().zip(&decays).enumerate() {
            let (s, c) = (TAU * frequency * i as f64 / rate).sin_cos();
            sine += sample * decay * s;
            cosine += sample * decay * c;
        }
        sine.hypot(cosine) / weight
    };
    let pitched = |&colour: &Colour| (amplitude(colour.pitch()), colour);
    let (loudness, colour) = Colour::ALL.iter().map(pitched).max_by(|a, b| a.0.total_cmp(&b.0))?;
    let partials: [f64; PARTIALS] = std::array::from_fn(|i| amplitude(colour.pitch() * (i + 1) as f64));
    let energy: f64 = samples.iter().map(|x| x * x).sum();
    let explained: f64 = partials.iter().map(|a| a * a * weight).sum();
    if explained < EXPLAINED * energy {
        return None;
    }
    let distance = |shape: &Shape| {
        let partials = partials.iter().zip(shape.partials());
        partials.skip(1).map(|(found, wanted)| (found / loudness - wanted).powi(2)).sum::<f64>()
    };
    let shape = *Shape::ALL.iter().min_by(|a, b| distance(a).total_cmp(&distance(b)))?;
    let far = |speed: &Speed| (loudness / speed.loudness()).ln().abs();
    let speed = *Speed::ALL.iter().min_by(|a, b| far(a).total_cmp(&far(b)))?;
    Some((colour, shape, speed))
}

/// What is said most often; of equals what was said first.
fn most<T: PartialEq + Copy>(said: impl Iterator<Item = T>) -> Option<T> {
    let mut counts: Vec<(T, usize)> = Vec::new();
    for word in said {
        match counts.iter_mut().find(|(other, _)| *other == word) {
            Some((_, count)) => *count += 1,
            None => counts.push((word, 1)),
        }
    }
    counts.into_iter().rev().max_by_key(|(_, count)| *count).map(|(word, _)| word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::world::{Split, World, WorldConfig};
    use musiva_core::{RngKey, RngStream, Timing};

    fn world() -> World {
        World::new(WorldConfig { sound: Some(16_000), ..WorldConfig::default() }).unwrap()
    }

    /// How many of 300 scenes are heard right in onsets, colour, shape and speed, with noise of this
    /// deviation.
    fn right(noise: f32) -> [usize; 4] {
        let world = world();
        let mut right = [0; 4];
        for i in 0..300 {
            let key = RngKey::new(5).sample(i);
            let scene = world.scene(key, Split::Test);
            let sound = scene.sound().unwrap();
            let noises = key.stream(RngStream::Noise).normals(sound.length());
            let noisy = sound.samples().iter().zip(noises).map(|(x, n)| x + noise * n).collect();
            let heard = AudioReading::of(&Sound::new(1, sound.rate(), noisy).unwrap());
            let events = scene.events();
            let onsets = heard.onsets_against(&events, 0.004);
            right[0] += usize::from(onsets.met == onsets.wanted && onsets.heard == onsets.wanted);
            right[1] += usize::from(heard.colour == Some(scene.attributes.colour));
            right[2] += usize::from(heard.shape == Some(scene.attributes.shape));
            right[3] += usize::from(heard.speed == Some(scene.attributes.speed));
        }
        right
    }

    #[test]
    fn the_worlds_sounds_are_heard_right() {
        assert_eq!(right(0.0), [300; 4]);
    }

    #[test]
    fn mild_noise_is_heard_through() {
        assert!(right(0.005).iter().all(|&n| n >= 297), "{:?}", right(0.005));
    }

    #[test]
    fn silence_noise_and_other_tones_are_nothing_of_the_world() {
        let rate = musiva_core::Rate::whole(16_000);
        let silence = Sound::new(1, rate, vec![0.0; 8000]).unwrap();
        assert_eq!(AudioReading::of(&silence), AudioReading::default());
        let noise = RngKey::new(1).stream(RngStream::Noise).normals(8000);
        let noise = AudioReading::of(&Sound::new(1, rate, noise).unwrap());
        assert_eq!((noise.colour, noise.shape), (None, None));
        let other = (0..8000).map(|i| (TAU * 1500.0 * f64::from(i) / 16_000.0).sin() as f32 * 0.3).collect();
        assert_eq!(AudioReading::of(&Sound::new(1, rate, other).unwrap()).colour, None);
    }

    #[test]
    fn an_onset_meets_one_bounce_at_most() {
        let event = |time| Event { time, frame: 8.0 * time, wall: super::super::Direction::Up, place: [0.0; 2] };
        let hearing = AudioReading { onsets: vec![0.5, 1.1], ..AudioReading::default() };
        let onsets = hearing.onsets_against(&[event(0.49), event(0.51), event(2.0)], 0.125);
        assert_eq!(onsets, Onsets { met: 1, heard: 2, wanted: 3 });
        assert!((onsets.f1() - 0.4).abs() < 1e-12);
        assert_eq!(Onsets::default().f1(), 1.0);
    }

    #[test]
    fn onsets_of_many_sounds_have_one_f1() {
        // Met, heard and wanted by hand: (1, 1, 2), (2, 3, 2), (0, 1, 1): 3 of 5 and of 5.
        let (close, far) = (0.1, 0.3);
        let mut all = Onsets::of(&[0.5 + close], &[0.5, 2.0], 0.1 + 1e-9);
        assert_eq!((all, all.f1()), (Onsets { met: 1, heard: 1, wanted: 2 }, 2.0 / 3.0));
        let more = Onsets::of(&[1.0, 0.4, 3.0], &[0.5, 1.1], 0.1 + 1e-9);
        assert_eq!((more, more.f1()), (Onsets { met: 2, heard: 3, wanted: 2 }, 0.8));
        let wrong = Onsets::of(&[0.5 + far], &[0.5], 0.1);
        assert_eq!((wrong, wrong.f1()), (Onsets { met: 0, heard: 1, wanted: 1 }, 0.0));
        all += more;
        all += wrong;
        assert_eq!((all, all.f1()), (Onsets { met: 3, heard: 5, wanted: 5 }, 0.6));
        // What is only missed, and what is only made up.
        assert_eq!(Onsets::of(&[], &[1.0], 0.1).f1(), 0.0);
        assert_eq!(Onsets::of(&[1.0], &[], 0.1).f1(), 0.0);
    }

    #[test]
    fn a_sound_lasts_as_long_as_its_clip_and_begins_at_the_bounce() {
        let scene = world().scene(RngKey::new(2).sample(3), Split::Train);
        let (sound, clip) = (scene.sound().unwrap(), scene.render());
        assert_eq!(sound.length(), Timing::new(clip.rate(), sound.rate()).samples(0..clip.frames()).end);
        let first = scene.events()[0].time * 16_000.0;
        let loud = sound.samples().iter().position(|x| *x != 0.0).unwrap();
        assert!((loud as f64 - first) >= 0.0 && (loud as f64 - first) < 2.0, "{loud} {first}");
    }
}
