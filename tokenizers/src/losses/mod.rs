//! The losses that train tokenizers: here of video, in `sound` of sound, in [`adversarial`] and [`perceptual`] by the
//! eyes of other networks. They see a tokenizer's [`Reconstruction`] and nothing else of it.

pub mod adversarial;
mod lpips;
pub mod perceptual;
mod sound;

pub use lpips::LpipsConfig;
pub use sound::{MelScales, SoundLossWeights, sound_distortion, sound_latent_loss};

use crate::quantizers::entropies;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::{Clip, Loss, Quantized, Reconstruction};

/// How far round the foreground its emphasis reaches, in pixels.
const REACH: usize = 4;

/// How much each term weighs at the present step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LossWeights {
    /// Mean absolute difference of pixels in `[-1, 1]`.
    pub l1: f32,
    /// Mean squared difference.
    pub l2: f32,
    /// How many times a pixel of the foreground counts.
    pub foreground: f32,
    /// Entropy of each token, made small.
    pub entropy: f32,
    /// Entropy of the mean over the batch, made large.
    pub diversity: f32,
    /// `τ` of the two entropies.
    pub temperature: f32,
    /// Mean squared distance of latents to what stands for them.
    pub commitment: f32,
    /// Kullback-Leibler divergence from the normal distribution, a number of a latent.
    pub kl: f32,
}

/// A batch of clips with what in them is not background.
#[derive(Clone, Debug)]
pub struct Target {
    /// The clips: `[B, T, H, W, 3]` in `[-1, 1]`.
    pub clips: Tensor<5>,
    /// 1 where a pixel is foreground: `[B, T, H, W, 1]`.
    pub pixels: Tensor<5>,
    /// 1 where a token has a foreground pixel: `[B·t·h·w, 1]`.
    pub tokens: Tensor<2>,
}

impl Target {
    /// Clips of one shape, for a tokenizer of these strides. Foreground is what differs by more than
    /// 24 of 255 in some channel from the clip's own median colour, and what lies within `REACH`
    /// pixels of that: a hole that is filled in, or a soft edge, is as wrong as a pixel that is missing.
    pub fn new(clips: &[Clip], strides: [usize; 3], device: &Device) -> Self {
        let [frames, height, width] = clips[0].shape();
        let [st, sh, sw] = strides;
        let grid = [frames.div_ceil(st), height / sh, width / sw];
        let size = frames * height * width;
        let mut pixels = vec![0.0f32; clips.len() * size];
        let mut tokens = vec![0.0f32; clips.len() * grid.iter().product::<usize>()];
        for (i, clip) in clips.iter().enumerate() {
            let plain = median(clip);
            for (at, rgb) in clip.pixels().chunks_exact(3).enumerate() {
                if rgb.iter().zip(plain).any(|(a, b)| a.abs_diff(b) > 24) {
                    let (t, y, x) = (at / (height * width), at / width % height, at % width);
                    for row in y.saturating_sub(REACH)..(y + REACH + 1).min(height) {
                        let row = i * size + (t * height + row) * width;
                        pixels[row + x.saturating_sub(REACH)..row + (x + REACH + 1).min(width)].fill(1.0);
                    }
                    // The first frame is a latent frame of its own.
                    let place = [t.div_ceil(st), y / sh, x / sw];
                    tokens[((i * grid[0] + place[0]) * grid[1] + place[1]) * grid[2] + place[2]] = 1.0;
                }
            }
        }
        let count = tokens.len();
        Self {
            clips: crate::magvit2::to_tensor(clips, device),
            pixels: Tensor::from_data(TensorData::new(pixels, [clips.len(), frames, height, width, 1]), device),
            tokens: Tensor::from_data(TensorData::new(tokens, [count, 1]), device),
        }
    }
}

fn median(clip: &Clip) -> [u8; 3] {
    std::array::from_fn(|channel| {
        let mut counts = [0usize; 256];
        clip.pixels().chunks_exact(3).for_each(|rgb| counts[rgb[channel] as usize] += 1);
        let half = clip.pixels().len() / 6;
        let mut seen = 0;
        let middle = counts.iter().position(|&count| {
            seen += count;
            seen > half
        });
        middle.unwrap_or(0) as u8
    })
}

/// How far `made` (`[B, T, H, W, 3]`) is from the target, with the parts for the log.
pub fn distortion(target: &Target, made: Tensor<5>, weights: &LossWeights) -> Loss {
    let difference = made - target.clips.clone();
    let emphasis = target.pixels.clone() * (weights.foreground - 1.0) + 1.0;
    let emphasis = emphasis.clone() / emphasis.mean().reshape([1, 1, 1, 1, 1]);
    let squares = difference.clone() * difference.clone();
    let l1 = (difference.abs() * emphasis.clone()).mean();
    let l2 = (squares.clone() * emphasis).mean();
    let total = l1.clone() * weights.l1 + l2.clone() * weights.l2;
    Loss { total, parts: vec![("l1", l1), ("l2", l2), ("mse", squares.mean())] }
}

/// What the latents of clips add to the loss, with the parts for the log; `None` where their quantizer wants nothing of
/// them.
pub fn latent_loss(target: &Target, made: Quantized, weights: &LossWeights) -> Option<Loss> {
    let w = weights;
    let mut all: Vec<Tensor<1>> = Vec::new();
    let mut parts = Vec::new();
    if let Some(log_variance) = made.log_variance {
        let mean = made.latents;
        let kl = ((mean.clone() * mean + log_variance.clone().exp() - log_variance - 1.0) * 0.5).mean();
        all.push(kl.clone() * w.kl);
        parts.push(("kl", kl));
    }
    if let Some(commitment) = made.commitment {
        all.push(commitment.clone() * w.commitment);
        parts.push(("commitment", commitment));
    }
    if let Some(bits) = made.bits {
        // Codes are wanted for what is to be seen: were the plain background to count, the same
        // patch would be driven to many codes, which a backbone would have to learn as noise.
        let mask = match w.foreground > 1.0 {
            true => target.tokens.clone() + 1e-4,
            false => Tensor::ones_like(&target.tokens),
        };
        let mask = mask.clone() / mask.sum().reshape([1, 1]);
        let (single, batch) = entropies(bits.z, mask, w.temperature, bits.group);
        all.push(single.clone() * w.entropy - batch.clone() * w.diversity);
        parts.extend([("entropy", single), ("diversity", batch)]);
    }
    let total = all.into_iter().reduce(|sum, term| sum + term)?;
    Some(Loss { total, parts })
}

/// The loss of a reconstruction by its pixels and latents, with its parts for the log.
pub fn tokenizer_loss(target: &Target, made: Reconstruction, weights: &LossWeights) -> Loss {
    sum(distortion(target, made.media, weights), latent_loss(target, made.quantized, weights))
}

/// Two losses as one.
pub fn sum(mut loss: Loss, other: Option<Loss>) -> Loss {
    if let Some(other) = other {
        loss.total = loss.total + other.total;
        loss.parts.extend(other.parts);
    }
    loss
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{Rate, parameters::to_vec};

    fn dot(frame: usize, y: usize, x: usize) -> Clip {
        let mut pixels = vec![20u8; 5 * 8 * 16 * 3];
        pixels[((frame * 8 + y) * 16 + x) * 3 + 1] = 200;
        Clip::new([5, 8, 16], Rate::whole(8), pixels).unwrap()
    }

    #[test]
    fn a_foreground_pixel_marks_its_token() {
        for (frame, y, x, token) in [(0, 0, 0, 0), (0, 7, 15, 7), (1, 0, 0, 8), (4, 3, 4, 9), (4, 4, 12, 15)] {
            let target = Target::new(&[dot(frame, y, x)], [4, 4, 4], &Device::flex());
            let marked: Vec<usize> =
                to_vec(target.tokens).iter().enumerate().filter(|(_, m)| **m > 0.0).map(|(i, _)| i).collect();
            assert_eq!(marked, [token], "frame {frame}, row {y}, column {x}");
            let reach = |at: usize, side: usize| ((at + REACH).min(side - 1) - at.saturating_sub(REACH) + 1) as f32;
            assert_eq!(to_vec(target.pixels.sum()), [reach(y, 8) * reach(x, 16)]);
        }
    }

    #[test]
    fn the_background_is_the_median_of_each_colour() {
        let of =
            |pixels: &[[u8; 3]]| median(&Clip::new([1, 1, pixels.len()], Rate::whole(8), pixels.concat()).unwrap());
        assert_eq!(of(&[[9, 1, 200], [7, 2, 200], [8, 3, 0], [255, 4, 200], [0, 5, 0]]), [8, 3, 200]);
        assert_eq!(of(&[[7; 3]]), [7; 3]);
    }

    #[test]
    fn emphasis_does_not_change_an_even_error() {
        let target = Target::new(&[dot(2, 3, 4)], [4, 4, 4], &Device::flex());
        let made = Reconstruction {
            media: target.clips.clone() + 0.5,
            quantized: Quantized {
                vectors: Tensor::zeros([16, 3], &Device::flex()),
                latents: Tensor::zeros([16, 3], &Device::flex()),
                log_variance: Some(Tensor::zeros([16, 3], &Device::flex())),
                codes: None,
                commitment: None,
                bits: None,
            },
        };
        let weights = LossWeights {
            l1: 1.0,
            l2: 2.0,
            foreground: 7.0,
            entropy: 0.0,
            diversity: 0.0,
            temperature: 1.0,
            commitment: 0.0,
            kl: 1.0,
        };
        let loss = tokenizer_loss(&target, made, &weights);
        assert!((to_vec(loss.total)[0] - (0.5 + 2.0 * 0.25)).abs() < 1e-5);
    }

    /// A posterior of these means and log-variances, one number a latent.
    fn posterior(means: &[f32], log_variances: &[f32]) -> Quantized {
        let column = |values: &[f32]| {
            Tensor::<2>::from_data(TensorData::new(values.to_vec(), [values.len(), 1]), &Device::flex())
        };
        Quantized { log_variance: Some(column(log_variances)), ..Quantized::free(column(means), 1) }
    }

    #[test]
    fn the_divergence_of_a_posterior_is_that_of_the_closed_form() {
        let target = Target::new(&[dot(2, 3, 4)], [4, 4, 4], &Device::flex());
        let weights = LossWeights { kl: 0.5, ..NOTHING };
        let divergence = |means: &[f32], log_variances: &[f32]| {
            let Loss { total, parts } = latent_loss(&target, posterior(means, log_variances), &weights).unwrap();
            let [("kl", kl)] = &parts[..] else { panic!("{parts:?}") };
            let kl = to_vec(kl.clone())[0];
            assert_eq!(to_vec(total), [0.5 * kl]);
            f64::from(kl)
        };
        // Kingma and Welling, appendix B: (μ² + σ² - ln σ² - 1) / 2.
        let e = std::f64::consts::E;
        for (mean, log_variance, wanted) in [
            (0.0, 0.0, 0.0),
            (3.0, 0.0, 4.5),
            (-3.0, 0.0, 4.5),
            (0.0, 1.0, (e - 2.0) / 2.0),
            (0.0, -1.0, 0.5 / e),
            (2.0, 4.0f32.ln(), (4.0 + 4.0 - 4.0f64.ln() - 1.0) / 2.0),
        ] {
            let found = divergence(&[mean], &[log_variance]);
            assert!((found - wanted).abs() < 1e-6, "mean {mean}, log-variance {log_variance}: {found}, not {wanted}");
        }
        // Of several numbers it is the mean.
        let found = divergence(&[3.0, 0.0, 1.0, 0.0], &[0.0, 1.0, 0.0, 0.0]);
        assert!((found - (4.5 + (e - 2.0) / 2.0 + 0.5) / 4.0).abs() < 1e-6, "{found}");
    }

    const NOTHING: LossWeights = LossWeights {
        l1: 0.0,
        l2: 0.0,
        foreground: 1.0,
        entropy: 0.0,
        diversity: 0.0,
        temperature: 1.0,
        commitment: 0.0,
        kl: 0.0,
    };

    #[test]
    fn commitment_weighs_what_it_is_said_to_and_latents_that_are_free_want_nothing() {
        let target = Target::new(&[dot(2, 3, 4)], [4, 4, 4], &Device::flex());
        let free = || Quantized::free(Tensor::zeros([16, 3], &Device::flex()), 3);
        assert!(latent_loss(&target, free(), &LossWeights { commitment: 1.0, ..NOTHING }).is_none());
        let committed = || Quantized { commitment: Some(Tensor::from_data([3.0f32], &Device::flex())), ..free() };
        let video = latent_loss(&target, committed(), &LossWeights { commitment: 0.25, ..NOTHING }).unwrap();
        let weights = SoundLossWeights { wave: 1.0, noise: 1.0, mel: 1.0, commitment: 0.25 };
        let sound = sound_latent_loss(committed(), &weights).unwrap();
        for Loss { total, parts } in [video, sound] {
            assert_eq!((to_vec(total), parts[0].0, to_vec(parts[0].1.clone())), (vec![0.75], "commitment", vec![3.0]));
        }
    }

    #[test]
    fn pixels_count_by_how_far_they_are_off_and_by_the_emphasis() {
        // A dot in a corner: REACH + 1 pixels each way of one frame are emphasised, 25 of 640.
        let target = Target::new(&[dot(2, 0, 0)], [4, 4, 4], &Device::flex());
        let [near, all] = [25.0, 640.0];
        let off = |inside: f32, outside: f32| {
            let by = target.pixels.clone() * (inside - outside) + outside;
            distortion(
                &target,
                target.clips.clone() + by,
                &LossWeights { l1: 3.0, l2: 2.0, foreground: 4.0, ..NOTHING },
            )
        };
        for (inside, outside) in [(0.5, 0.0), (0.0, 0.5), (-0.5, 0.25)] {
            let Loss { total, parts } = off(inside, outside);
            let weighed =
                |inside: f32, outside: f32| (4.0 * near * inside + (all - near) * outside) / (all + 3.0 * near);
            let l1 = weighed(inside.abs(), outside.abs());
            let l2 = weighed(inside * inside, outside * outside);
            let mse = (near * inside * inside + (all - near) * outside * outside) / all;
            for ((name, found), (wanted_name, wanted)) in parts.into_iter().zip([("l1", l1), ("l2", l2), ("mse", mse)])
            {
                assert_eq!(name, wanted_name);
                assert!((to_vec(found)[0] - wanted).abs() < 1e-5, "{name}");
            }
            assert!((to_vec(total)[0] - (3.0 * l1 + 2.0 * l2)).abs() < 1e-5);
        }
    }
}
