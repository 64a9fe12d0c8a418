//! What a bounce sounds like: a struck tone, pitch by colour, timbre by shape, loudness by speed.

use super::attributes::{Attributes, Colour, Shape, Speed};
use super::scene::Event;
use musiva_core::{Rate, Sound};
use std::f64::consts::TAU;

/// Seconds in which a tone falls to `1/e`.
pub(super) const DECAY: f64 = 0.06;
/// A tone is over after so many times [`DECAY`]: 60 dB down.
const LASTS: f64 = 6.9;
/// Partials that a tone has at most, the fundamental among them.
pub(super) const PARTIALS: usize = 3;

impl Colour {
    /// The fundamental in Hz: fourths apart, so that no partial of one is the fundamental of another.
    pub fn pitch(self) -> f64 {
        match self {
            Self::Red => 330.0,
            Self::Green => 440.0,
            Self::Blue => 587.0,
            Self::Yellow => 784.0,
        }
    }
}

impl Shape {
    /// Amplitudes of the first three partials: few and strong, so that they survive a small codec.
    pub fn partials(self) -> [f64; PARTIALS] {
        match self {
            Self::Ring => [1.0, 0.0, 0.0],
            Self::Square => [1.0, 0.0, 0.8],
            Self::Triangle => [1.0, 0.8, 0.5],
        }
    }
}

impl Speed {
    /// Amplitude of the fundamental at the moment of the bounce; full scale is 1.
    pub fn loudness(self) -> f64 {
        match self {
            Self::Slow => 0.16,
            Self::Fast => 0.4,
        }
    }
}

/// The tones of `events` in `length` samples at `rate`. Each begins with the first sample that is not
/// before its bounce, in the phase that it has there.
pub(super) fn tones(attributes: Attributes, events: &[Event], length: usize, rate: Rate) -> Sound {
    let mut samples = vec![0.0f32; length];
    let (pitch, partials) = (attributes.colour.pitch(), attributes.shape.partials());
    let rate_in_hz = rate.as_f64();
    for event in events {
        let first = onset(event, rate);
        let last = (first + (LASTS * DECAY * rate_in_hz) as usize).min(length);
        for (index, sample) in samples.iter_mut().enumerate().take(last).skip(first) {
            let t = index as f64 / rate_in_hz - event.time;
            let wave = |(i, amplitude): (usize, &f64)| amplitude * (TAU * pitch * (i + 1) as f64 * t).sin();
            let wave: f64 = partials.iter().enumerate().map(wave).sum();
            *sample += (attributes.speed.loudness() * (-t / DECAY).exp() * wave) as f32;
        }
    }
    Sound::new(1, rate, samples).expect("finite samples, one at least")
}

/// The first sample of the tone of `event`.
pub(super) fn onset(event: &Event, rate: Rate) -> usize {
    (event.time * rate.as_f64()).ceil() as usize
}
