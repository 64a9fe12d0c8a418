//! Measures of how like two clips are.

use musiva_core::{Clip, Error, ErrorKind, Result};

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

    #[test]
    fn clips_of_other_shapes_are_no_pair() {
        let a = clip(|_| 0);
        assert!(psnr(&a, &a.slice(0..1)).is_err() && ssim(&a, &a.slice(0..1)).is_err());
    }
}
