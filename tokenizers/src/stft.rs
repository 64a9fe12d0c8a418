//! The short-time Fourier transform, as one matrix product.

use burn::tensor::{Device, Tensor, TensorData};
use std::f64::consts::TAU;

/// The tables of a transform in Hann windows a quarter apart.
#[derive(Clone, Debug)]
pub struct Stft {
    window: usize,
    /// Windowed cosines and sines, `[w, 2·bins]`, such that a sine of full scale has magnitude 1.
    waves: Tensor<2>,
}

impl Stft {
    /// For windows of so many samples, a multiple of four.
    pub fn new(window: usize, device: &Device) -> Self {
        let bins = window / 2 + 1;
        let hann = |i: usize| 0.5 - 0.5 * (TAU * i as f64 / window as f64).cos();
        let scale = 2.0 / (0..window).map(hann).sum::<f64>();
        let mut waves = Vec::with_capacity(window * 2 * bins);
        for i in 0..window {
            let wave = |part: fn(f64) -> f64| {
                move |bin: usize| (scale * hann(i) * part(TAU * (i * bin % window) as f64 / window as f64)) as f32
            };
            waves.extend((0..bins).map(wave(f64::cos)));
            waves.extend((0..bins).map(wave(f64::sin)));
        }
        Self { window, waves: Tensor::from_data(TensorData::new(waves, [window, 2 * bins]), device) }
    }

    /// Samples of a window.
    pub fn window(&self) -> usize {
        self.window
    }

    /// The parts of cosines and of sines, `[B, S]` → `[B, T, bins]` both. What of the end does not fill a window is left
    /// out.
    pub fn forward(&self, sound: Tensor<2>) -> [Tensor<3>; 2] {
        let (hop, [b, samples]) = (self.window / 4, sound.dims());
        let steps = samples / hop;
        let frames = steps - 3;
        let steps: Tensor<3> = sound.slice_dim(1, 0..steps * hop).reshape([b, steps, hop]);
        let quarters = (0..4).map(|i| steps.clone().slice_dim(1, i..i + frames)).collect();
        let windows = Tensor::cat(quarters, 2); // [B, T, w]
        let bins = self.window / 2 + 1;
        let waves = windows.reshape([b * frames, self.window]).matmul(self.waves.clone());
        [0..bins, bins..2 * bins].map(|part| waves.clone().slice_dim(1, part).reshape([b, frames, bins]))
    }

    /// Magnitudes: `[B, S]` → `[B, T, bins]`.
    pub fn magnitudes(&self, sound: Tensor<2>) -> Tensor<3> {
        let [cosines, sines] = self.forward(sound);
        // Within the root, so that silence has a gradient.
        (cosines.clone() * cosines + sines.clone() * sines + 1e-14).sqrt()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::parameters::to_vec;

    #[test]
    fn a_sine_has_its_magnitude_at_its_frequency() {
        for window in [64, 256, 1024] {
            let (bins, bin) = (window / 2 + 1, window / 8);
            let sine = |i: usize| 0.5 * (TAU * i as f64 / 8.0).sin() as f32;
            let sound = Tensor::from_data(
                TensorData::new((0..3 * window).map(sine).collect(), [1, 3 * window]),
                &Device::flex(),
            );
            let magnitudes = to_vec(Stft::new(window, &Device::flex()).magnitudes(sound));
            assert_eq!(magnitudes.len(), 9 * bins);
            for moment in magnitudes.chunks(bins) {
                assert!((moment[bin] - 0.5).abs() < 1e-3, "window {window}: {}", moment[bin]);
                assert!(moment[bin + 2..].iter().all(|x| *x < 1e-3));
            }
        }
    }
}
