//! Measures of how like two clips or two sounds are.

use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::{Clip, Error, ErrorKind, Result, Sound};

/// Peak signal-to-noise ratio over all pixels in dB, with a peak of 255; infinite for equal clips.
pub fn psnr(a: &Clip, b: &Clip) -> Result<f64> {
    same_shape(a, b)?;
    let squares: f64 = a.pixels().iter().zip(b.pixels()).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    Ok(10.0 * (255.0f64.powi(2) / (squares / a.pixels().len() as f64)).log10())
}

/// Structural similarity (Wang et al. 2004) of the luma, mean over 8×8 windows at every second
/// place, K₁ = 0.01, K₂ = 0.03; 1 for equal clips.
pub fn ssim(a: &Clip, b: &Clip) -> Result<f64> {
    same_shape(a, b)?;
    const SIDE: usize = 8;
    let [frames, height, width] = a.shape();
    let (c1, c2) = ((0.01f64 * 255.0).powi(2), (0.03f64 * 255.0).powi(2));
    let luma = |clip: &Clip, t: usize| -> Vec<f64> {
        let weigh = |p: &[u8]| 0.299 * f64::from(p[0]) + 0.587 * f64::from(p[1]) + 0.114 * f64::from(p[2]);
        clip.frame(t).chunks_exact(3).map(weigh).collect()
    };
    let (mut sum, mut count) = (0.0, 0usize);
    for t in 0..frames {
        let (x, y) = (luma(a, t), luma(b, t));
        for top in (0..=height.saturating_sub(SIDE)).step_by(2) {
            for left in (0..=width.saturating_sub(SIDE)).step_by(2) {
                let (mut n, mut sx, mut sy, mut sxx, mut syy, mut sxy) = (0.0, 0.0, 0.0, 0.0, 0.0, 0.0);
                for row in top..(top + SIDE).min(height) {
                    for column in left..(left + SIDE).min(width) {
                        let (p, q) = (x[row * width + column], y[row * width + column]);
                        (n, sx, sy) = (n + 1.0, sx + p, sy + q);
                        (sxx, syy, sxy) = (sxx + p * p, syy + q * q, sxy + p * q);
                    }
                }
                let (mx, my) = (sx / n, sy / n);
                let (vx, vy, cov) = (sxx / n - mx * mx, syy / n - my * my, sxy / n - mx * my);
                sum += (2.0 * mx * my + c1) * (2.0 * cov + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2));
                count += 1;
            }
        }
    }
    Ok(sum / count as f64)
}

/// How unsteady the error of `b` against `a` is: the root mean square, in codes of 255, of how the differences of each two
/// frames in a row differ, 0 for a clip of one frame. It is the warping error of Lai et al. 2018 ("Learning Blind Video
/// Temporal Consistency", section 4) with the original's own changes in the place of a warp by optical flow: a wrong but
/// steady picture has none, and a frozen one all of the film's motion.
pub fn flicker(a: &Clip, b: &Clip) -> Result<f64> {
    same_shape(a, b)?;
    let error = |t: usize| a.frame(t).iter().zip(b.frame(t)).map(|(&a, &b)| f64::from(b) - f64::from(a));
    let change = |t: usize| error(t).zip(error(t - 1)).map(|(now, before)| (now - before).powi(2)).sum::<f64>();
    let changes = a.pixels().len() / a.frames() * (a.frames() - 1);
    Ok(((1..a.frames()).map(change).sum::<f64>() / changes.max(1) as f64).sqrt())
}

/// The first channel of a sound as a batch of one, `[1, samples]`, on the CPU.
pub(crate) fn row(sound: &Sound) -> Tensor<2> {
    let samples: Vec<f32> = sound.channel(0).collect();
    let shape = [1, samples.len()];
    Tensor::from_data(TensorData::new(samples, shape), &Device::flex())
}

/// Scale-invariant signal-to-noise ratio in dB (Le Roux et al. 2019, equation 3) of the first channel of
/// `made` against `wanted`, both without their means: how much of it is the wanted sound at any loudness.
/// Infinite where it is that sound alone, -∞ where nothing of it is. Both are one of silence: 0.
pub fn si_snr(wanted: &Sound, made: &Sound) -> Result<f64> {
    if wanted.length() != made.length() {
        return Err(Error::new(ErrorKind::Media, "", format!("{wanted:?} and {made:?} cannot be compared")));
    }
    let centred = |sound: &Sound| {
        let mean = sound.channel(0).map(f64::from).sum::<f64>() / sound.length() as f64;
        sound.channel(0).map(|x| f64::from(x) - mean).collect::<Vec<f64>>()
    };
    let (wanted, made) = (centred(wanted), centred(made));
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    let energy = dot(&wanted, &wanted);
    if energy == 0.0 {
        return Ok(if dot(&made, &made) == 0.0 { 0.0 } else { f64::NEG_INFINITY });
    }
    let scale = dot(&made, &wanted) / energy;
    if scale == 0.0 {
        return Ok(f64::NEG_INFINITY);
    }
    let noise: f64 = wanted.iter().zip(&made).map(|(w, m)| (m - scale * w).powi(2)).sum();
    Ok(10.0 * (scale * scale * energy / noise).log10())
}

fn same_shape(a: &Clip, b: &Clip) -> Result<()> {
    match a.shape() == b.shape() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Media, "", format!("{a:?} and {b:?} cannot be compared"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Rate;

    fn clip(value: impl Fn(usize) -> u8) -> Clip {
        Clip::new([2, 11, 13], Rate::whole(8), (0..2 * 11 * 13 * 3).map(value).collect()).unwrap()
    }

    #[test]
    fn equal_clips_are_perfect_and_a_known_error_has_its_decibels() {
        let a = clip(|i| (i * 37 % 200) as u8);
        assert_eq!(psnr(&a, &a).unwrap(), f64::INFINITY);
        assert!((ssim(&a, &a).unwrap() - 1.0).abs() < 1e-12);
        let b = clip(|i| (i * 37 % 200) as u8 + 5);
        assert!((psnr(&a, &b).unwrap() - 20.0 * (255.0f64 / 5.0).log10()).abs() < 1e-9);
        let noise = clip(|i| (i * 91 % 251) as u8);
        assert!(ssim(&a, &noise).unwrap() < ssim(&a, &b).unwrap());
    }

    /// Frames of 8 rows, with the same code in all colours of a pixel.
    fn greys(width: usize, frames: &[&dyn Fn(usize, usize) -> u8]) -> Clip {
        let pixel = |frame: &dyn Fn(usize, usize) -> u8, i: usize| [frame(i / width, i % width); 3];
        let pixels = frames.iter().flat_map(|frame| (0..8 * width).flat_map(move |i| pixel(*frame, i)));
        Clip::new([frames.len(), 8, width], Rate::whole(8), pixels.collect()).unwrap()
    }

    #[test]
    fn peak_noise_is_of_the_mean_square_over_all_pixels_and_frames() {
        // Of two frames one is off by 10 in half of its columns, the other by 6 everywhere: 43 is the mean square.
        let a = greys(8, &[&|_, _| 100, &|_, _| 50]);
        let b = greys(8, &[&|_, x| if x < 4 { 110 } else { 100 }, &|_, _| 44]);
        let wanted = 10.0 * (255.0f64 * 255.0 / 43.0).log10();
        assert!((psnr(&a, &b).unwrap() - wanted).abs() < 1e-9 && (wanted - 31.796).abs() < 1e-3);
        // As far apart as can be.
        assert_eq!(psnr(&greys(8, &[&|_, _| 0]), &greys(8, &[&|_, _| 255])).unwrap(), 0.0);
    }

    const C1: f64 = 6.5025;
    const C2: f64 = 58.5225;

    #[test]
    fn structural_similarity_is_that_of_the_formula() {
        let is = |a: &Clip, b: &Clip, wanted: f64| {
            let (found, back) = (ssim(a, b).unwrap(), ssim(b, a).unwrap());
            assert!((found - wanted).abs() < 1e-9 && (back - wanted).abs() < 1e-9, "{found}, {back}, not {wanted}");
        };
        // Flat pictures differ in their means alone.
        let flat = |grey: u8| greys(8, &[&move |_, _| grey]);
        let means = |x: f64, y: f64| (2.0 * x * y + C1) / (x * x + y * y + C1);
        is(&flat(100), &flat(150), means(100.0, 150.0));
        // A chequered one and its negative: equal means, variances of 20², and a covariance of -20².
        let chequered =
            |sign: i16| greys(8, &[&move |y, x| (100 + sign * if (x + y) % 2 == 0 { 20 } else { -20 }) as u8]);
        is(&chequered(1), &chequered(-1), (C2 - 800.0) / (C2 + 800.0));
        // Half as much contrast: variances of 400 and 100, a covariance of 200.
        let faint = greys(8, &[&|y, x| if (x + y) % 2 == 0 { 110 } else { 90 }]);
        is(&chequered(1), &faint, (400.0 + C2) / (500.0 + C2));
        // The mean over frames.
        let two = |second: u8| greys(8, &[&|_, _| 100, &move |_, _| second]);
        is(&two(100), &two(150), (1.0 + means(100.0, 150.0)) / 2.0);
        // The mean over windows at every second place: columns 0 to 7 and 2 to 9, of which the second knows no error.
        let ten = |edge: u8| greys(10, &[&move |_, x| if x < 2 { edge } else { 100 }]);
        // A quarter of the first window is 140: its mean is 110, its variance 1200 / 4.
        let first = means(100.0, 110.0) * C2 / (300.0 + C2);
        is(&ten(100), &ten(140), (first + 1.0) / 2.0);
        // Colours count by their luma.
        let red = |r: u8| Clip::new([1, 8, 8], Rate::whole(8), [r, 0, 0].repeat(64)).unwrap();
        is(&red(200), &red(100), means(0.299 * 200.0, 0.299 * 100.0));
        let blue = |b: u8| Clip::new([1, 8, 8], Rate::whole(8), [0, 0, b].repeat(64)).unwrap();
        is(&blue(200), &red(200), means(0.114 * 200.0, 0.299 * 200.0));
    }

    #[test]
    fn flicker_is_a_root_mean_square_over_pixels_and_changes_of_frames() {
        // The error is 0, then 3, then 7: it changes by 3 and by 4.
        let still = greys(8, &[&|_, _| 60, &|_, _| 60, &|_, _| 60]);
        let unsteady = greys(8, &[&|_, _| 60, &|_, _| 63, &|_, _| 67]);
        assert!((flicker(&still, &unsteady).unwrap() - (25.0f64 / 2.0).sqrt()).abs() < 1e-12);
        // As much in a quarter of the columns only: a quarter of the squares.
        let part = greys(8, &[&|_, _| 60, &|_, x| if x < 2 { 63 } else { 60 }, &|_, x| if x < 2 { 67 } else { 60 }]);
        assert!((flicker(&still, &part).unwrap() - (25.0f64 / 8.0).sqrt()).abs() < 1e-12);
        // Longer clips that flicker alike flicker no more, and a frozen one lacks all of the film's motion.
        let (short, long) = ([60u8, 66], [60u8, 66, 60, 66, 60, 66]);
        for greys_of in [&short[..], &long[..]] {
            let frames: Vec<_> = greys_of.iter().map(|&grey| move |_: usize, _: usize| grey).collect();
            let frames: Vec<&dyn Fn(usize, usize) -> u8> = frames.iter().map(|frame| frame as _).collect();
            let moving = greys(8, &frames);
            let frozen = greys(8, &vec![frames[0]; frames.len()]);
            assert!((flicker(&moving, &frozen).unwrap() - 6.0).abs() < 1e-12);
            assert!((flicker(&frozen, &moving).unwrap() - 6.0).abs() < 1e-12);
        }
    }

    #[test]
    fn a_steady_error_does_not_flicker() {
        let a = clip(|i| (i * 37 % 200) as u8);
        assert_eq!(flicker(&a, &clip(|i| (i * 37 % 200 + 5) as u8)).unwrap(), 0.0);
        let frame = 11 * 13 * 3;
        // Off by 3 in the first frame and by -4 in the second.
        let unsteady = clip(|i| (i * 37 % 200) as u8 + 4).pixels().to_vec();
        let unsteady: Vec<u8> =
            unsteady.iter().enumerate().map(|(i, &x)| if i < frame { x + 3 } else { x - 4 }).collect();
        let unsteady = Clip::new([2, 11, 13], Rate::whole(8), unsteady).unwrap();
        assert!((flicker(&a, &unsteady).unwrap() - 7.0).abs() < 1e-12);
        assert_eq!(flicker(&a.slice(0..1), &unsteady.slice(1..2)).unwrap(), 0.0);
    }

    #[test]
    fn a_known_noise_has_its_decibels_at_any_loudness() {
        let sound =
            |value: &dyn Fn(usize) -> f32| Sound::new(1, Rate::whole(8000), (0..1000).map(value).collect()).unwrap();
        let sine = |i: usize| (0.1 * std::f32::consts::TAU * i as f32).sin();
        // At right angles to the sine, a tenth of its amplitude: 20 dB.
        let noisy = |i: usize| 0.5 * (sine(i) + 0.1 * (0.2 * std::f32::consts::TAU * i as f32).sin()) + 0.3;
        let wanted = sound(&sine);
        assert!((si_snr(&wanted, &sound(&noisy)).unwrap() - 20.0).abs() < 1e-3);
        assert!(si_snr(&wanted, &sound(&|i| -2.0 * sine(i))).unwrap() > 90.0);
        let silence = sound(&|_| 0.0);
        assert_eq!(si_snr(&wanted, &silence).unwrap(), f64::NEG_INFINITY);
        assert_eq!(si_snr(&silence, &wanted).unwrap(), f64::NEG_INFINITY);
        assert_eq!(si_snr(&silence, &silence).unwrap(), 0.0);
        assert!(si_snr(&wanted, &wanted.slice(0..5)).is_err());
    }

    #[test]
    fn noise_is_counted_beside_the_wanted_sound_alone() {
        // By hand: [3, -3, 1, -1] is [2, -2, 2, -2] and, at right angles to it, [1, -1, -1, 1]: 16 to 4.
        let sound = |samples: [f32; 4]| Sound::new(1, Rate::whole(8000), samples.to_vec()).unwrap();
        let wanted = sound([2.0, -2.0, 2.0, -2.0]);
        let decibels = |made| si_snr(&wanted, &sound(made)).unwrap();
        assert!((decibels([3.0, -3.0, 1.0, -1.0]) - 10.0 * 4.0f64.log10()).abs() < 1e-6);
        // Twice as loud and moved up it is as near.
        assert!((decibels([7.0, -5.0, 3.0, -1.0]) - 10.0 * 4.0f64.log10()).abs() < 1e-6);
        assert_eq!(decibels([1.0, 1.0, -1.0, -1.0]), f64::NEG_INFINITY);
    }

    #[test]
    fn clips_of_other_shapes_are_no_pair() {
        let a = clip(|_| 0);
        assert!(psnr(&a, &a.slice(0..1)).is_err() && ssim(&a, &a.slice(0..1)).is_err());
    }
}
