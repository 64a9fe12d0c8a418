//! Noise behind sounds, for tokenizers that learn to take it out again.

use musiva_core::Stream;
use musiva_tokenizers::settings::Noise;
use std::f64::consts::TAU;

/// Octaves, from half the sample rate down, over which noise has its slope; below it is white.
const OCTAVES: i32 = 10;
/// Samples in which the filters forget that they began with silence: several times as long as the lowest one remembers.
const SETTLE: usize = 4096;

/// The samples of a `window` of a sound whose mean power is `power`, with noise behind them as `settings` say; as they are
/// for the share of the windows that stays clean.
pub fn noisy(window: &[f32], power: f64, settings: &Noise, stream: &mut Stream) -> Vec<f32> {
    let mut between = |[least, most]: [f64; 2]| least + (most - least) * f64::from(stream.uniform());
    let (snr, slope, clean) = (between(settings.snr), between(settings.slope), between([0.0, 1.0]));
    if clean < settings.clean {
        return window.to_vec();
    }
    let amplitude = (power / 10f64.powf(snr / 10.0)).sqrt();
    let noise = coloured(window.len(), slope, stream);
    window.iter().zip(noise).map(|(x, noise)| x + (amplitude * noise) as f32).collect()
}

/// Mean power of samples: their mean square.
pub fn power(samples: &[f32]) -> f64 {
    samples.iter().map(|&x| f64::from(x).powi(2)).sum::<f64>() / samples.len().max(1) as f64
}

/// `length` samples of noise of mean power 1, whose power rises by `slope` decibels an octave.
///
/// White noise goes through a pole and a zero for each octave. Between a pole at `f` and a zero at `f·2^r` power falls by 6
/// dB an octave, so on the whole it falls by `6·r`; with the zeros below the poles it rises (after Keshner, "1/f noise",
/// Proceedings of the IEEE, 1982). In the two highest octaves, as filters of samples have it, it is flatter.
fn coloured(length: usize, slope: f64, stream: &mut Stream) -> Vec<f64> {
    let mut noise: Vec<f64> = stream.normals(length + SETTLE).into_iter().map(f64::from).collect();
    let ratio = 10f64.powf(-slope / 20.0);
    for octave in 1..=OCTAVES {
        // In cycles a sample.
        let frequency = 0.5f64.powi(octave + 1);
        let (pole, zero) = ((-TAU * frequency).exp(), (-TAU * frequency * ratio).exp());
        let (mut before, mut made) = (0.0, 0.0);
        for x in &mut noise {
            made = *x - zero * before + pole * made;
            before = std::mem::replace(x, made);
        }
    }
    noise.drain(..SETTLE);
    let loudness = (noise.iter().map(|x| x * x).sum::<f64>() / length.max(1) as f64).sqrt();
    noise.iter_mut().for_each(|x| *x /= loudness);
    noise
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{RngKey, RngStream};

    fn stream(sample: u64) -> Stream {
        RngKey::new(3).sample(sample).stream(RngStream::Background)
    }

    /// Decibels by which a sound is louder than what was added to it.
    fn loudness(sound: &[f32], noisy: &[f32]) -> f64 {
        let noise: Vec<f32> = noisy.iter().zip(sound).map(|(a, b)| a - b).collect();
        10.0 * (power(sound) / power(&noise)).log10()
    }

    /// Power at one frequency, mean over pieces of 1024 samples in a Hann window: a discrete Fourier transform by its
    /// definition.
    fn power_at(samples: &[f64], cycles: usize) -> f64 {
        let pieces = samples.chunks_exact(1024);
        let count = pieces.len() as f64;
        let sum = pieces.map(|piece| {
            let (mut real, mut imaginary) = (0.0, 0.0);
            for (i, x) in piece.iter().enumerate() {
                let turn = TAU * i as f64 / 1024.0;
                let x = x * (1.0 - turn.cos());
                (real, imaginary) =
                    (real + x * (turn * cycles as f64).cos(), imaginary + x * (turn * cycles as f64).sin());
            }
            real * real + imaginary * imaginary
        });
        sum.sum::<f64>() / count
    }

    #[test]
    fn noise_has_the_slope_that_is_asked_for() {
        for slope in [-6.0, -3.0, -1.7, 0.0, 2.5, 6.0] {
            let noise = coloured(1024 * 256, slope, &mut stream(1));
            // Octave by octave, each the mean over some frequencies.
            let octave = |low: usize| (0..8).map(|i| power_at(&noise, low + low * i / 8)).sum::<f64>().log10() * 10.0;
            let found = (octave(64) - octave(4)) / 4.0;
            assert!((found - slope).abs() < 0.25, "{found} dB an octave, not {slope}");
        }
    }

    #[test]
    fn noise_is_as_loud_as_is_asked_for() {
        let sound: Vec<f32> = (0..5003).map(|i| 0.3 * (0.05 * i as f32).sin()).collect();
        let with = |samples: &[f32], snr: f64, slope: f64| {
            let settings = Noise { snr: [snr; 2], slope: [slope; 2], clean: 0.0 };
            noisy(samples, power(samples), &settings, &mut stream(2))
        };
        for (snr, slope) in [(-10.0, 0.0), (0.0, -6.0), (7.5, -3.0), (30.0, 4.0)] {
            let found = loudness(&sound, &with(&sound, snr, slope));
            assert!((found - snr).abs() < 0.01, "{found} dB, not {snr}");
        }
        let silence = vec![0.0; 401];
        assert_eq!(with(&silence, 0.0, 0.0), silence);
        assert!(with(&[], 0.0, 0.0).is_empty());
    }

    #[test]
    fn noise_is_drawn_from_all_that_is_allowed() {
        let sound: Vec<f32> = (0..211).map(|i| 0.3 * (0.05 * i as f32).sin()).collect();
        let settings = Noise { snr: [-5.0, 15.0], slope: [-6.0, 2.0], clean: 0.25 };
        let draw = |i| noisy(&sound, power(&sound), &settings, &mut stream(i));
        let mut drawn: Vec<f64> = (0..600).map(|i| loudness(&sound, &draw(i))).filter(|x| x.is_finite()).collect();
        assert!((410..=490).contains(&drawn.len()), "{} of 600 are not clean", drawn.len());
        drawn.sort_by(f64::total_cmp);
        let [low, middle, high] = [0, drawn.len() / 2, drawn.len() - 1].map(|i| drawn[i]);
        assert!((-5.01..-4.5).contains(&low) && (4.0..6.0).contains(&middle) && (14.5..15.01).contains(&high));
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
    }
}
