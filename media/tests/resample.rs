//! Resampling: levels, phases and lengths of sines, and what must not be heard.

#![allow(clippy::unwrap_used)]

mod common;

use common::{noise, sine_in};
use musiva_core::{Rate, Sound};
use musiva_media::resample;
use std::f64::consts::TAU;

const PAIRS: [(u32, u32); 6] =
    [(44_100, 16_000), (48_000, 16_000), (22_050, 16_000), (16_000, 48_000), (16_000, 44_100), (48_000, 44_100)];

/// Two seconds of a sine at half scale.
fn sine(hertz: f64, rate: u32) -> Sound {
    let value = |at: u32| (0.5 * (TAU * hertz * f64::from(at) / f64::from(rate)).sin()) as f32;
    Sound::new(1, Rate::whole(rate), (0..2 * rate).map(value).collect()).unwrap()
}

fn decibels(ratio: f64) -> f64 {
    20.0 * ratio.log10()
}

/// The second half of the first second to the first half of the second: away from both ends.
fn middle(sound: &Sound) -> (usize, &[f32]) {
    let start = sound.length() / 4;
    (start, &sound.samples()[start..3 * start])
}

#[test]
fn what_passes_keeps_its_level_and_its_place() {
    for (from, to) in PAIRS {
        let nyquist = f64::from(from.min(to)) / 2.0;
        for part in [0.01, 0.2, 0.5, 0.8, 0.9, 0.95, 0.97] {
            let hertz = part * nyquist;
            let made = resample(&sine(hertz, from), Rate::whole(to)).unwrap();
            let (start, samples) = middle(&made);
            let (level, phase, left) = sine_in(samples, start, hertz, to.into());
            assert!(decibels(level / 0.5).abs() < 0.001, "{from} to {to}, {part}: {} dB", decibels(level / 0.5));
            assert!(phase.abs() < 1e-4, "{from} to {to}, {part}: {phase} radians");
            // Images and everything else that was not there: below what 20 bits can tell.
            assert!(decibels(left / 0.5) < -120.0, "{from} to {to}, {part}: {} dB", decibels(left / 0.5));
        }
    }
}

#[test]
fn what_does_not_fit_is_not_folded() {
    for (from, to) in PAIRS.into_iter().filter(|(from, to)| from > to) {
        let (nyquist, top) = (f64::from(to) / 2.0, f64::from(from) / 2.0);
        for hertz in [1.001 * nyquist, 1.01 * nyquist, 1.1 * nyquist, 0.5 * (nyquist + top), 0.999 * top] {
            let made = resample(&sine(hertz, from), Rate::whole(to)).unwrap();
            let (_, samples) = middle(&made);
            let power = samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / samples.len() as f64;
            let level = decibels((2.0 * power).sqrt() / 0.5);
            assert!(level < -120.0, "{from} to {to}: {hertz} Hz at {level} dB");
        }
    }
}

#[test]
fn lengths_are_exact() {
    let rate = |numerator, denominator| Rate::new(numerator, denominator).unwrap();
    let lengths = [1, 2, 3, 440, 441, 442, 7919, 44_101];
    let check = |from: Rate, to: Rate, lengths: &[usize]| {
        for &length in lengths {
            let made = resample(&noise(2, length, 1).with_rate(from), to).unwrap();
            let out = u64::from(to.numerator) * u64::from(from.denominator);
            let into = u64::from(from.numerator) * u64::from(to.denominator);
            assert_eq!(made.length() as u64, (length as u64 * out).div_ceil(into), "{length} from {from} to {to}");
            assert_eq!((made.channels(), made.rate()), (2, to));
        }
    };
    for (from, to) in PAIRS {
        check(rate(from, 1), rate(to, 1), &lengths);
    }
    check(rate(48_000, 1), rate(48_000, 1001), &lengths[6..]);
    check(rate(44_100, 1), rate(44_099, 1), &lengths[6..]);
    check(rate(3, 1), rate(7, 2), &lengths);
}

#[test]
fn channels_are_alone_and_time_does_not_matter() {
    let sound = noise(2, 30_011, 44_100);
    let made = resample(&sound, Rate::whole(16_000)).unwrap();
    for channel in 0..2 {
        let alone = Sound::new(1, sound.rate(), sound.channel(channel).collect()).unwrap();
        let alone = resample(&alone, Rate::whole(16_000)).unwrap();
        assert!(made.channel(channel).eq(alone.samples().iter().copied()));
    }
    // 441 samples later is 160 samples later.
    let later = [vec![0.0; 2 * 441 * 7], sound.samples().to_vec()].concat();
    let later = resample(&Sound::new(2, sound.rate(), later).unwrap(), Rate::whole(16_000)).unwrap();
    let shifted = &later.samples()[2 * 160 * 7..];
    let apart = shifted.iter().zip(made.samples()).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(shifted.len() == made.samples().len() && apart < 1e-6, "{apart}");
}

#[test]
fn there_and_back_is_the_same() {
    // What has no high tones survives 16 kHz → 48 kHz → 16 kHz.
    let sound =
        resample(&resample(&noise(1, 20_011, 16_000), Rate::whole(12_000)).unwrap(), Rate::whole(16_000)).unwrap();
    let back = resample(&resample(&sound, Rate::whole(48_000)).unwrap(), Rate::whole(16_000)).unwrap();
    assert_eq!(back.length(), sound.length());
    let apart = back.samples().iter().zip(sound.samples()).skip(2000).take(16_000).map(|(a, b)| (a - b).abs());
    let apart = apart.fold(0.0, f32::max);
    assert!(apart < 1e-5, "{apart}");
}

#[test]
fn rates_without_sense_are_refused() {
    let refused = resample(&noise(1, 10, 44_100), Rate::whole(4_294_967_291)).unwrap_err().to_string();
    assert!(refused.contains("common rates"), "{refused}");
    // A filter for these would take gigabytes.
    for (old, rate) in [(1, 16_000), (16_000, 1), (7, 48_000)] {
        let refused = resample(&noise(1, 10, old), Rate::whole(rate)).unwrap_err().to_string();
        assert!(refused.contains("common rates"), "{refused}");
    }
    assert_eq!(resample(&noise(1, 10, 100), Rate::whole(48_000)).unwrap().length(), 4800);
}
