//! A continuous latent with a normal posterior: Kingma and Welling, "Auto-Encoding Variational
//! Bayes", 2014.

use super::{Quantizer, other, replace};
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use musiva_core::parameters::to_vec;
use musiva_core::{Init, Quantized, Result, RngKey, TokenKind, TokenValues, Tokens};

/// A channel whose deviation is less than this part of the others' says nothing, and is not blown up.
const LEAST: f64 = 0.01;

/// No quantizer at all: the mean of the posterior is the token.
///
/// A diffusion model adds noise of unit size, so tokens are standardized channel by channel, as the `scaling_factor` of
/// latent diffusion (Rombach et al. 2022, appendix G) does for all channels together. The statistics are found once, when
/// training ends.
#[derive(Module, Debug)]
pub struct Kl {
    /// Of the latents, `[C]`; 0 in training.
    mean: Param<Tensor<1>>,
    /// Their standard deviation, `[C]`; 1 in training.
    deviation: Param<Tensor<1>>,
}

impl Kl {
    /// Vectors of `channels` numbers.
    pub fn new(channels: usize, init: &Init) -> Self {
        Self { mean: init.zeros([channels]), deviation: init.ones([channels]) }.no_grad()
    }

    /// How many numbers it consists of.
    pub fn parameters(channels: usize) -> usize {
        2 * channels
    }

    fn channels(&self) -> usize {
        self.mean.dims()[0]
    }

    fn statistics(&self) -> [Vec<f32>; 2] {
        [&self.mean, &self.deviation].map(|param| to_vec(param.val().inner()))
    }

    /// Lets the vectors of tokens like these have mean 0 and deviation 1, channel by channel. Nothing changes without any.
    pub fn standardize(&mut self, tokens: &[Tokens]) {
        let channels = self.channels();
        let [mean, deviation] = self.statistics();
        let (mut count, mut sums, mut squares) = (0.0, vec![0.0; channels], vec![0.0; channels]);
        for vector in tokens.iter().filter_map(|tokens| tokens.as_vectors().ok()).flat_map(|all| all.chunks(channels)) {
            count += 1.0;
            for (channel, value) in vector.iter().enumerate() {
                let latent = f64::from(value * deviation[channel] + mean[channel]);
                sums[channel] += latent;
                squares[channel] += latent * latent;
            }
        }
        if count == 0.0 {
            return;
        }
        let means: Vec<f64> = sums.iter().map(|sum| sum / count).collect();
        let variances = squares.iter().zip(&means).map(|(square, mean)| (square / count - mean * mean).max(0.0));
        let variances: Vec<f64> = variances.collect();
        let least = LEAST * (variances.iter().sum::<f64>() / channels as f64).sqrt();
        let deviations = variances.iter().map(|variance| variance.sqrt().max(least));
        let deviations = deviations.map(|size| if size.is_normal() { size as f32 } else { 1.0 }).collect();
        replace(&mut self.mean, means.into_iter().map(|mean| mean as f32).collect());
        replace(&mut self.deviation, deviations);
    }
}

impl Quantizer for Kl {
    fn kind(&self) -> TokenKind {
        TokenKind::Vectors { channels: self.channels() }
    }

    fn forward(&self, moments: Tensor<2>, _: usize, _: RngKey) -> Quantized {
        let channels = self.channels();
        let mean = moments.clone().slice_dim(1, 0..channels);
        Quantized {
            // The decoder reads the mean: with the tiny weight that the KL term has, drawing from
            // the posterior only blurs.
            vectors: mean.clone(),
            latents: mean,
            log_variance: Some(moments.slice_dim(1, channels..2 * channels).clamp(-30.0, 20.0)),
            codes: None,
            commitment: None,
            bits: None,
        }
    }

    fn tokens(&self, grid: [usize; 3], latents: Tensor<2>) -> Result<Tokens> {
        let channels = self.channels();
        let [mean, deviation] = self.statistics();
        let mut values = to_vec(latents);
        for vector in values.chunks_mut(channels) {
            for (value, (mean, deviation)) in vector.iter_mut().zip(mean.iter().zip(&deviation)) {
                *value = (*value - mean) / deviation;
            }
        }
        Tokens::vectors(grid, channels, values)
    }

    fn vectors(&self, tokens: &Tokens) -> Result<Vec<f32>> {
        match tokens.values() {
            TokenValues::Vectors { channels, values } if *channels == self.channels() => {
                let [mean, deviation] = self.statistics();
                let back = |(i, value): (usize, &f32)| value * deviation[i % channels] + mean[i % channels];
                Ok(values.iter().enumerate().map(back).collect())
            }
            _ => Err(other(self.kind(), tokens)),
        }
    }
}
