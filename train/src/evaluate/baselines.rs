//! What the bits of a clip's tokens buy elsewhere.

use super::video::{Figures, Mean};
use musiva_core::{Clip, Result};
use musiva_media::{Filter, H264, resize};
use serde::Serialize;

/// How well other ways make the clips again with the bits of the tokens.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Baseline {
    /// Which way.
    pub name: &'static str,
    /// What it took, in bits a pixel.
    pub bits_per_pixel: f64,
    /// Its figures, means over the clips.
    #[serde(flatten)]
    pub figures: Figures,
}

/// The name of [`fewer_pixels`].
pub const FEWER_PIXELS: &str = "fewer pixels, bicubic";
/// The name of H.264.
pub const X264: &str = "H.264 (x264)";

/// All baselines over the clips so far.
pub(super) struct Baselines {
    h264: Option<H264>,
    rows: Vec<(&'static str, f64, Mean)>,
}

impl Baselines {
    pub fn new() -> Self {
        let h264 = H264::find();
        let names = [FEWER_PIXELS].into_iter().chain(h264.map(|_| X264));
        Self { h264, rows: names.map(|name| (name, 0.0, Mean::default())).collect() }
    }

    /// Clips made of `clip` with so many bits, by the names of the ways.
    pub fn add(&mut self, clip: &Clip, bits: f64) -> Result<Vec<(&'static str, Clip)>> {
        let mut made = vec![fewer_pixels(clip, bits)?];
        if let Some(h264) = self.h264 {
            let coded = h264.code(clip, (bits / 8.0) as usize)?;
            made.push((coded.media, 8.0 * coded.bytes as f64));
        }
        let pixels = clip.shape().iter().product::<usize>() as f64;
        for ((_, taken, mean), (again, bits)) in self.rows.iter_mut().zip(&made) {
            *taken += bits / pixels;
            mean.add(Figures::of(clip, again)?);
        }
        Ok(self.rows.iter().map(|(name, ..)| *name).zip(made.into_iter().map(|(clip, _)| clip)).collect())
    }

    pub fn rows(self) -> Vec<Baseline> {
        let row = |(name, taken, mean): (&'static str, f64, Mean)| Baseline {
            name,
            bits_per_pixel: taken / mean.n().max(1) as f64,
            figures: mean.mean(),
        };
        self.rows.into_iter().map(row).collect()
    }
}

/// The clip scaled down and up again by the bicubic filter, and the bits that the small one takes at 8 for each of the
/// three samples of a pixel. The small clip has all frames, or half, a quarter, … of them, its sides in proportion and as
/// long as the bits allow: whichever comes back best by PSNR.
///
/// # Errors
/// None for a clip that has pixels.
pub fn fewer_pixels(clip: &Clip, bits: f64) -> Result<(Clip, f64)> {
    let [frames, height, width] = clip.shape();
    let most = bits / 24.0;
    let mut best: Option<(f64, Clip, f64)> = None;
    let counts = std::iter::successors(Some(frames), |&n| (n > 1).then(|| n.div_ceil(2)));
    // As many frames as there are pixels, and at least one.
    for count in counts.filter(|&count| count == 1 || count as f64 <= most) {
        let scale = (most / count as f64 / (height * width) as f64).sqrt().min(1.0);
        // At least a pixel; then as many rows as fit, and as many columns as fit with these rows.
        let rows = ((height as f64 * scale) as usize).max(1);
        let columns = ((most / (count * rows) as f64) as usize).clamp(1, (width * rows).div_ceil(height));
        let small = resize(&over_time(clip, count)?, rows, columns, Filter::Bicubic)?;
        let again = over_time(&resize(&small, height, width, Filter::Bicubic)?, frames)?.with_rate(clip.rate());
        let quality = crate::measure::psnr(clip, &again)?;
        if best.as_ref().is_none_or(|(most, ..)| quality > *most) {
            best = Some((quality, again, 24.0 * (count * rows * columns) as f64));
        }
    }
    let (_, again, taken) = best.expect("a clip has a frame");
    Ok((again, taken))
}

/// The clip in another number of frames by the bicubic filter: each pixel's course is a column of a picture.
fn over_time(clip: &Clip, frames: usize) -> Result<Clip> {
    let [before, height, width] = clip.shape();
    let courses = Clip::new([1, before, height * width], clip.rate(), clip.pixels().to_vec())?;
    let courses = resize(&courses, frames, height * width, Filter::Bicubic)?;
    Clip::new([frames, height, width], clip.rate(), courses.pixels().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::measure::psnr;
    use musiva_core::Rate;

    fn clip(pixel: impl Fn([usize; 3]) -> u8) -> Clip {
        let at = |i: usize| [i / (37 * 53 * 3), i / (53 * 3) % 37, i / 3 % 53];
        Clip::new([9, 37, 53], Rate::whole(24), (0..9 * 37 * 53 * 3).map(|i| pixel(at(i))).collect()).unwrap()
    }

    #[test]
    fn the_bits_are_kept_and_spent_where_they_help() {
        let still = clip(|[_, y, x]| (3 * y + 2 * x) as u8);
        let flashing = clip(|[t, y, x]| if t % 2 == 0 { (y + x) as u8 } else { 255 - (y + x) as u8 });
        for bits in [300.0, 5000.0, 60_000.0] {
            for clip in [&still, &flashing] {
                let (again, taken) = fewer_pixels(clip, bits).unwrap();
                assert!(taken <= bits && taken > 0.2 * bits, "{taken} of {bits}");
                assert_eq!((again.shape(), again.rate()), (clip.shape(), clip.rate()));
            }
        }
        let quality = |clip: &Clip, bits| psnr(clip, &fewer_pixels(clip, bits).unwrap().0).unwrap();
        assert!(quality(&still, 5000.0) > quality(&still, 300.0) + 3.0);
        assert!(quality(&flashing, 60_000.0) > 25.0);
        let everything = 24.0 * (9 * 37 * 53) as f64;
        assert_eq!(fewer_pixels(&flashing, everything).unwrap(), (flashing, everything));
        // Less than a pixel cannot be had.
        assert_eq!(fewer_pixels(&still, 1.0).unwrap().1, 24.0);
    }

    #[test]
    fn rows_are_means() {
        let clips = [
            clip(|[_, y, x]| (3 * y + 2 * x) as u8),
            clip(|[t, y, x]| (20 * t + 5 * y + x) as u8),
            clip(|[t, _, x]| (60 + 3 * x - t) as u8),
        ];
        let bits = [20_000.0, 3_000.0, 900.0];
        let (mut all, mut sums) = (Baselines::new(), [0.0; 4]);
        for (clip, bits) in clips.iter().zip(bits) {
            let made = all.add(clip, bits).unwrap();
            let (wanted, taken) = fewer_pixels(clip, bits).unwrap();
            assert_eq!((made[0].0, &made[0].1), (FEWER_PIXELS, &wanted));
            let Figures { psnr, ssim, flicker } = Figures::of(clip, &wanted).unwrap();
            let figures = [taken / (9 * 37 * 53) as f64, psnr, ssim, flicker];
            sums.iter_mut().zip(figures).for_each(|(sum, figure)| *sum += figure);
        }
        let row = &all.rows()[0];
        let found = [row.bits_per_pixel, row.figures.psnr, row.figures.ssim, row.figures.flicker];
        for (found, sum) in found.into_iter().zip(sums) {
            assert!((found - sum / 3.0).abs() < 1e-9 * found.abs(), "{row:?}, not a third of {sums:?}");
        }
    }
}
