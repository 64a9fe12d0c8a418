//! The losses that train an audio tokenizer by the samples and spectra of what it makes.

use crate::stft::Stft;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::{Loss, Quantized, Rate};

/// Windows of the spectrograms: 2⁶ to 2¹¹ samples (SoundStream, equation 4).
const WINDOWS: [usize; 6] = [64, 128, 256, 512, 1024, 2048];
/// Mel bands of a spectrogram; of a short window an eighth of its samples.
const BANDS: usize = 64;
/// Magnitudes below are all silence: 80 dB below full scale.
const SILENCE: f64 = 1e-4;

/// How much each term weighs.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SoundLossWeights {
    /// Mean absolute difference of samples.
    pub wave: f32,
    /// Energy of the error over that of the sounds.
    pub noise: f32,
    /// Distance of mel spectrograms.
    pub mel: f32,
    /// Mean squared distance of latents to what stands for them.
    pub commitment: f32,
}

/// Spectrograms in windows of several lengths, on one device at one rate.
#[derive(Clone, Debug)]
pub struct MelScales {
    scales: Vec<MelScale>,
    /// Magnitudes below are all silence to [`distance`](Self::distance).
    floor: f64,
}

impl MelScales {
    /// Samples that a sound has at least.
    pub const SHORTEST: usize = WINDOWS[0];

    /// For sounds at `rate` of at least `length` samples: all windows that fit.
    pub fn new(rate: Rate, length: usize, device: &Device) -> Self {
        let fitting = WINDOWS.into_iter().filter(|&window| window <= length);
        Self { scales: fitting.map(|window| MelScale::new(window, rate.as_f64(), device)).collect(), floor: SILENCE }
    }

    /// The same, to whose distances all is silence that lies so many decibels below full scale (a negative number; -80
    /// unless it is said). A sound that is exactly silent in parts pulls the harder at these the lower it is.
    pub fn with_floor(self, decibels: f64) -> Self {
        Self { floor: 10f64.powf(decibels / 20.0), ..self }
    }

    /// Mean over windows, moments and bands of `|S - Ŝ| + √(w/2)·|log S - log Ŝ|`, the latter as a root mean
    /// square over the bands of a moment (SoundStream, equations 4 and 5): `[B, S]` each, one number.
    pub fn distance(&self, a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
        let mut total: Option<Tensor<1>> = None;
        for scale in &self.scales {
            let (a, b) = (scale.spectrogram(a.clone()), scale.spectrogram(b.clone()));
            let near = (a.clone() - b.clone()).abs().mean();
            let ratio = (a + self.floor).log() - (b + self.floor).log();
            let far = ((ratio.clone() * ratio).mean_dim(2) + 1e-12).sqrt().mean();
            // The paper's weight is of a sum's root over the bands, here of a mean's.
            let term = near + far * (scale.stft.window() as f64 / 2.0).sqrt() / (BANDS as f64).sqrt();
            total = Some(total.map_or(term.clone(), |total| total + term));
        }
        total.expect("a sound has the shortest window at least") / self.scales.len() as f64
    }

    /// How loud each band of each moment is in decibels of full scale, in the longest of the windows: `[B, S]` to
    /// `[B, moments, bands]`; what lies below the floor is at it.
    pub fn decibels(&self, sounds: Tensor<2>) -> Tensor<3> {
        let scale = self.scales.last().expect("a sound has the shortest window at least");
        (scale.spectrogram(sounds) + self.floor).log() * (20.0 / std::f64::consts::LN_10)
    }

    /// Root mean square of the difference in decibels over the frequencies of each moment, mean over the
    /// moments, in the longest of the windows; what lies 80 dB below full scale counts as silence.
    pub fn log_spectral_distance(&self, a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
        let scale = self.scales.last().expect("a sound has the shortest window at least");
        let decibels = |sound| (scale.stft.magnitudes(sound) + SILENCE).log() * (20.0 / std::f64::consts::LN_10);
        let gap = decibels(a) - decibels(b);
        (gap.clone() * gap).mean_dim(2).sqrt().mean()
    }
}

/// One spectrogram's tables.
#[derive(Clone, Debug)]
struct MelScale {
    stft: Stft,
    /// From magnitudes to bands: `[bins, bands]`.
    bands: Tensor<2>,
}

impl MelScale {
    fn new(window: usize, rate: f64, device: &Device) -> Self {
        let (bins, count) = (window / 2 + 1, BANDS.min(window / 8));
        let bands = triangles(bins, count, rate);
        Self {
            stft: Stft::new(window, device),
            bands: Tensor::from_data(TensorData::new(bands, [bins, count]), device),
        }
    }

    /// Magnitudes in mel bands: `[B, S]` → `[B, T, bands]`.
    fn spectrogram(&self, sound: Tensor<2>) -> Tensor<3> {
        self.stft.magnitudes(sound).matmul(self.bands.clone().unsqueeze())
    }
}

/// Triangular bands, evenly spaced in mel (`2595·log₁₀(1 + f/700)`) from 0 to half of `rate`, each of area 1 over the
/// bins; a band narrower than a bin takes the nearest: `[bins, count]`.
fn triangles(bins: usize, count: usize, rate: f64) -> Vec<f32> {
    let mel = |hertz: f64| 2595.0 * (1.0 + hertz / 700.0).log10();
    let hertz = |mel: f64| 700.0 * (10f64.powf(mel / 2595.0) - 1.0);
    let top = mel(rate / 2.0);
    // In bins.
    let edge = |i: usize| hertz(top * i as f64 / (count + 1) as f64) / (rate / 2.0) * (bins - 1) as f64;
    let mut bands = vec![0.0f32; bins * count];
    for band in 0..count {
        let [low, middle, high] = [edge(band), edge(band + 1), edge(band + 2)];
        let weight = |bin: usize| {
            let x = bin as f64;
            let side = if x < middle { (x - low) / (middle - low) } else { (high - x) / (high - middle) };
            side.max(0.0)
        };
        let sum: f64 = (0..bins).map(weight).sum();
        match sum > 0.0 {
            true => (0..bins).for_each(|bin| bands[bin * count + band] = (weight(bin) / sum) as f32),
            false => bands[(middle.round() as usize).min(bins - 1) * count + band] = 1.0,
        }
    }
    bands
}

/// How far `made` is from `sounds`, `[B, S, 1, 1, 1]` both, with the parts for the log.
pub fn sound_distortion(sounds: Tensor<5>, made: Tensor<5>, mel: &MelScales, weights: &SoundLossWeights) -> Loss {
    let [b, samples, _, _, _] = sounds.dims();
    let flat = |x: Tensor<5>| x.reshape([b, samples]);
    let (sounds, made) = (flat(sounds), flat(made));
    let error = sounds.clone() - made.clone();
    let wave = error.clone().abs().mean();
    // Of a batch that is all silence the error counts as if it were 40 dB below full scale.
    let energy = sounds.clone().square().mean().clamp_min(1e-4);
    let noise = error.square().mean() / energy;
    let mel = mel.distance(sounds, made);
    let mut total = wave.clone() * weights.wave + mel.clone() * weights.mel;
    if weights.noise > 0.0 {
        total = total + noise.clone() * weights.noise;
    }
    Loss { total, parts: vec![("wave", wave), ("noise", noise), ("mel", mel)] }
}

/// What the latents of sounds add to the loss, where their quantizer wants something of them.
pub fn sound_latent_loss(made: Quantized, weights: &SoundLossWeights) -> Option<Loss> {
    let commitment = made.commitment?;
    Some(Loss { total: commitment.clone() * weights.commitment, parts: vec![("commitment", commitment)] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::parameters::to_vec;
    use std::f64::consts::TAU;

    fn sine(hertz: f64, amplitude: f64, length: usize) -> Tensor<2> {
        let samples = (0..length).map(|i| (amplitude * (TAU * hertz * i as f64 / 16_000.0).sin()) as f32).collect();
        Tensor::from_data(TensorData::new::<f32, _>(samples, [1, length]), &Device::flex())
    }

    #[test]
    fn a_sine_is_loudest_in_its_band() {
        for window in WINDOWS {
            let scale = MelScale::new(window, 16_000.0, &Device::flex());
            let bands = to_vec(scale.spectrogram(sine(2000.0, 0.5, 4096)));
            let count = scale.bands.dims()[1];
            let loudest = (0..count).max_by(|&a, &b| bands[a].total_cmp(&bands[b])).unwrap();
            let top = 2595.0 * (1.0 + 8000.0f64 / 700.0).log10();
            let wanted = 2595.0 * (1.0 + 2000.0f64 / 700.0).log10() / top * (count + 1) as f64 - 1.0;
            assert!((loudest as f64 - wanted).abs() <= 1.0, "window {window}: band {loudest}, not {wanted}");
        }
    }

    #[test]
    fn bands_are_means_and_cover_everything() {
        for (bins, count) in [(33, 8), (129, 32), (1025, 64)] {
            let bands = triangles(bins, count, 16_000.0);
            for band in 0..count {
                let sum: f32 = (0..bins).map(|bin| bands[bin * count + band]).sum();
                assert!((sum - 1.0).abs() < 1e-5, "band {band} of {count}: {sum}");
            }
        }
    }

    #[test]
    fn bands_are_triangles_evenly_spaced_in_mel() {
        // A mel is a constant ratio of `1 + f/700`: so are the edges of the bands, from 0 to 8 kHz.
        let (rate, bins) = (16_000.0, 129);
        for count in [8, 32, 100] {
            let top = 1.0f64 + rate / 2.0 / 700.0;
            let edge = |i: usize| 700.0 * (top.powf(i as f64 / (count + 1) as f64) - 1.0);
            let hertz = |bin: usize| bin as f64 * rate / 2.0 / (bins - 1) as f64;
            let bands = triangles(bins, count, rate);
            let mut narrow = 0;
            for band in 0..count {
                let [low, middle, high] = [edge(band), edge(band + 1), edge(band + 2)];
                // How high the triangle stands over each bin.
                let height =
                    |bin| ((hertz(bin) - low) / (middle - low)).min((high - hertz(bin)) / (high - middle)).max(0.0);
                let mut wanted: Vec<f64> = (0..bins).map(height).collect();
                let area: f64 = wanted.iter().sum();
                if area == 0.0 {
                    narrow += 1;
                    let far = |bin: &usize| (hertz(*bin) - middle).abs();
                    wanted[(0..bins).min_by(|a, b| far(a).total_cmp(&far(b))).unwrap()] = 1.0;
                }
                let area = if area == 0.0 { 1.0 } else { area };
                for (bin, wanted) in wanted.into_iter().enumerate() {
                    let found = f64::from(bands[bin * count + band]);
                    assert!((found - wanted / area).abs() < 1e-5, "band {band} of {count}, bin {bin}");
                }
            }
            assert_eq!(narrow > 0, count == 100, "{narrow} of {count}");
        }
    }

    #[test]
    fn of_a_sound_and_its_echo_the_distance_is_known() {
        // Of noise nothing is near the floor; at half the loudness each magnitude is half, its logarithm ln 2 less.
        let numbers = musiva_core::RngKey::new(3).stream(musiva_core::RngStream::Noise).normals(4096);
        let loud = Tensor::<2>::from_data(TensorData::new(numbers, [1, 4096]), &Device::flex());
        let scales = MelScales::new(Rate::whole(16_000), 4096, &Device::flex()).with_floor(-300.0);
        let term = |scale: &MelScale| {
            let near = 0.5 * f64::from(to_vec(scale.spectrogram(loud.clone()).mean())[0]);
            near + (scale.stft.window() as f64 / 2.0).sqrt() * std::f64::consts::LN_2 / (BANDS as f64).sqrt()
        };
        let wanted = scales.scales.iter().map(term).sum::<f64>() / 6.0;
        let found = f64::from(to_vec(scales.distance(loud.clone(), loud * 0.5))[0]);
        assert!((found - wanted).abs() < 1e-4 * wanted, "{found}, {wanted}");
    }

    #[test]
    fn each_part_of_the_loss_counts_by_its_weight() {
        let scales = MelScales::new(Rate::whole(8000), 256, &Device::flex());
        let clip = |sound: Tensor<2>| sound.reshape([1, 256, 1, 1, 1]);
        let (sound, made) = (clip(sine(440.0, 0.5, 256)), clip(sine(440.0, 0.5, 256)) * 0.5);
        for (wave, noise, mel) in [(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (2.0, 3.0, 5.0)] {
            let weights = SoundLossWeights { wave, noise, mel, commitment: 0.0 };
            let loss = sound_distortion(sound.clone(), made.clone(), &scales, &weights);
            let part = |name: &str| to_vec(loss.parts.iter().find(|(part, _)| *part == name).unwrap().1.clone())[0];
            let mean = to_vec(sound.clone().abs().mean())[0];
            // Half of the sound is missing, a quarter of its energy.
            assert!((part("wave") - 0.5 * mean).abs() < 1e-6 && (part("noise") - 0.25).abs() < 1e-6);
            let wanted = wave * part("wave") + noise * part("noise") + mel * part("mel");
            assert!((to_vec(loss.total)[0] - wanted).abs() < 1e-5 * wanted);
        }
    }

    #[test]
    fn equal_sounds_are_near_and_others_far() {
        let scales = MelScales::new(Rate::whole(16_000), 3000, &Device::flex());
        let distance = |a: Tensor<2>, b: Tensor<2>| to_vec(scales.distance(a, b))[0];
        let (a, quieter, other) = (sine(440.0, 0.4, 3000), sine(440.0, 0.35, 3000), sine(880.0, 0.4, 3000));
        assert!(distance(a.clone(), a.clone()) < 1e-4);
        let (near, far) = (distance(a.clone(), quieter), distance(a.clone(), other));
        assert!(near > 1e-3 && far > 3.0 * near, "{near} {far}");
        assert!(distance(a.clone(), sine(440.0, 0.0, 3000)).is_finite(), "silence is a sound");
        let decibels = |a: Tensor<2>, b: Tensor<2>| to_vec(scales.log_spectral_distance(a, b))[0];
        assert!(decibels(a.clone(), a.clone()) < 1e-4 && decibels(a.clone(), sine(880.0, 0.4, 3000)) > 1.0);
    }

    #[test]
    fn what_lies_below_the_floor_is_silence() {
        let scales = |floor| MelScales::new(Rate::whole(16_000), 3000, &Device::flex()).with_floor(floor);
        let distance =
            |floor, amplitude| to_vec(scales(floor).distance(sine(440.0, 0.0, 3000), sine(440.0, amplitude, 3000)))[0];
        // 66 dB below full scale.
        assert!(distance(-40.0, 5e-4) < 0.1 * distance(-80.0, 5e-4));
        // Unless it is said, the floor is 80 dB down.
        let unsaid = MelScales::new(Rate::whole(16_000), 3000, &Device::flex());
        let unsaid = to_vec(unsaid.distance(sine(440.0, 0.0, 3000), sine(440.0, 0.1, 3000)))[0];
        assert!((unsaid - distance(-80.0, 0.1)).abs() < 1e-5);
    }

    #[test]
    fn near_silence_has_a_finite_gradient() {
        let device = Device::flex().autodiff();
        let scales = MelScales::new(Rate::whole(8000), 256, &device);
        // Of perfect silence the gradient of each magnitude is zero, in all directions alike.
        let silent = Tensor::<2>::from_inner(sine(1000.0, 1e-7, 256)).require_grad();
        let target = Tensor::from_inner(sine(440.0, 0.3, 256));
        let grads = scales.distance(silent.clone(), target).backward();
        let slope = to_vec(silent.grad(&grads).unwrap());
        assert!(slope.iter().all(|g| g.is_finite()) && slope.iter().any(|g| *g != 0.0));
    }
}
