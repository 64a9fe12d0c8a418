//! Other sizes and other rates.
//!
//! Written by hand and not taken from a crate with SIMD paths: what a model is trained on must be
//! the same bytes on every machine, and these loops are plain sums in a fixed order.

use musiva_core::{Clip, Error, ErrorKind, Rate, Result};

/// How pixels are weighed when a clip changes its size. All filters widen with the step when they
/// shrink a picture (antialiasing), and act on the codes as they are, as Pillow and torchvision do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Filter {
    /// The nearest pixel.
    Nearest,
    /// The mean of what a pixel covers.
    Area,
    /// Linear interpolation: Pillow's `BILINEAR`, torchvision's `antialias=True`.
    #[default]
    Triangle,
    /// Cubic interpolation (Keys 1981, a = -1/2): Pillow's `BICUBIC`.
    Bicubic,
    /// Windowed sinc of three lobes: the sharpest.
    Lanczos3,
}

impl Filter {
    /// Half the width, in pixels of the coarser picture, and the weight at a distance from its middle.
    fn kernel(self) -> (f64, fn(f64) -> f64) {
        fn sinc(x: f64) -> f64 {
            let x = x * std::f64::consts::PI;
            if x == 0.0 { 1.0 } else { x.sin() / x }
        }
        match self {
            // Open at one end, so that a pixel half-way between two belongs to one of them.
            Self::Nearest | Self::Area => (0.5, |x| f64::from(u8::from(x > -0.5 && x <= 0.5))),
            Self::Triangle => (1.0, |x| (1.0 - x.abs()).max(0.0)),
            Self::Bicubic => (2.0, |x| match x.abs() {
                x if x < 1.0 => (1.5 * x - 2.5) * x * x + 1.0,
                x if x < 2.0 => ((-0.5 * x + 2.5) * x - 4.0) * x + 2.0,
                _ => 0.0,
            }),
            Self::Lanczos3 => (3.0, |x| if x.abs() < 3.0 { sinc(x) * sinc(x / 3.0) } else { 0.0 }),
        }
    }
}

/// For each pixel of the new side, the first pixel of the old one that it takes from, and weights.
struct Taps(Vec<(usize, Vec<f32>)>);

impl Taps {
    fn new(old: usize, new: usize, filter: Filter) -> Self {
        let step = old as f64 / new as f64;
        let (support, weight) = filter.kernel();
        let stretch = if filter == Filter::Nearest { 1.0 } else { step.max(1.0) };
        let tap = |index: usize| {
            let middle = (index as f64 + 0.5) * step;
            if filter == Filter::Nearest {
                return ((middle.floor() as usize).min(old - 1), vec![1.0]);
            }
            let first = (middle - support * stretch).floor().max(0.0) as usize;
            let last = ((middle + support * stretch).ceil() as usize).min(old);
            let weights: Vec<f64> = if filter == Filter::Area {
                // How much of each pixel lies under the new one: exact for any ratio.
                let (left, right) = (middle - step / 2.0, middle + step / 2.0);
                (first..last).map(|at| (right.min(at as f64 + 1.0) - left.max(at as f64)).max(0.0)).collect()
            } else {
                (first..last).map(|at| weight((at as f64 + 0.5 - middle) / stretch)).collect()
            };
            let sum: f64 = weights.iter().sum();
            (first, weights.iter().map(|weight| (weight / sum) as f32).collect())
        };
        Self((0..new).map(tap).collect())
    }
}

/// The clip at another size, `[T, height, width]`. Proportions are the caller's business.
///
/// # Errors
/// Where a side is zero.
pub fn resize(clip: &Clip, height: usize, width: usize, filter: Filter) -> Result<Clip> {
    let [frames, old_height, old_width] = clip.shape();
    if height == 0 || width == 0 {
        return Err(Error::new(ErrorKind::Media, "", format!("a clip of {width}×{height} pixels has no pixels"))
            .hint("ask for at least one pixel a side"));
    }
    if [height, width] == [old_height, old_width] {
        return Ok(clip.clone());
    }
    let (rows, columns) = (Taps::new(old_height, height, filter), Taps::new(old_width, width, filter));
    let mut pixels = Vec::with_capacity(frames * height * width * 3);
    let mut line = vec![0f32; old_width * 3];
    for index in 0..frames {
        let frame = clip.frame(index);
        for (first, weights) in &rows.0 {
            line.fill(0.0);
            for (row, weight) in (*first..).zip(weights) {
                let codes = &frame[row * old_width * 3..][..old_width * 3];
                for (sum, &code) in line.iter_mut().zip(codes) {
                    *sum += weight * f32::from(code);
                }
            }
            for (first, weights) in &columns.0 {
                let mut sum = [0f32; 3];
                for (pixel, weight) in line[first * 3..].chunks_exact(3).zip(weights) {
                    for (sum, value) in sum.iter_mut().zip(pixel) {
                        *sum += weight * value;
                    }
                }
                pixels.extend(sum.map(|sum| (sum + 0.5).clamp(0.0, 255.0) as u8));
            }
        }
    }
    Clip::new([frames, height, width], clip.rate(), pixels)
}

/// The middle `[T, height, width]` of the clip; where the margin is odd, the smaller half is cut off
/// at the top and the left.
///
/// # Errors
/// Where a side is zero or longer than the clip's.
pub fn center_crop(clip: &Clip, height: usize, width: usize) -> Result<Clip> {
    let [frames, old_height, old_width] = clip.shape();
    if height > old_height || width > old_width || height == 0 || width == 0 {
        return Err(Error::new(
            ErrorKind::Media,
            "",
            format!("{width}×{height} pixels cannot be cut out of {old_width}×{old_height}"),
        )
        .hint("resize the clip first, or cut out less"));
    }
    let (top, left) = ((old_height - height) / 2, (old_width - width) / 2);
    let mut pixels = Vec::with_capacity(frames * height * width * 3);
    for index in 0..frames {
        for row in clip.frame(index).chunks_exact(old_width * 3).skip(top).take(height) {
            pixels.extend_from_slice(&row[left * 3..(left + width) * 3]);
        }
    }
    Clip::new([frames, height, width], clip.rate(), pixels)
}

/// The clip at another frame rate and of the same length: frame `k` is the one on show at time
/// `k / rate`, that is the nearest earlier one. The last frame is on show for one period.
///
/// # Errors
/// Where the result would have more than a hundred times as many frames and more than 4 GiB.
pub fn resample_rate(clip: &Clip, rate: Rate) -> Result<Clip> {
    let [frames, height, width] = clip.shape();
    let old = clip.rate();
    // Frame k of the new clip shows frame floor(k · old / new); all in whole numbers.
    let numerator = u128::from(old.numerator) * u128::from(rate.denominator);
    let denominator = u128::from(old.denominator) * u128::from(rate.numerator);
    let count = (frames as u128 * denominator).div_ceil(numerator);
    let bytes = count * (height * width * 3) as u128;
    if count > 100 * frames as u128 && bytes > 4 << 30 {
        return Err(Error::new(
            ErrorKind::Media,
            "",
            format!("{frames} frames at {old} fps are {count} at {rate} fps"),
        )
        .hint("choose a lower rate"));
    }
    let mut pixels = Vec::with_capacity(bytes as usize);
    for index in 0..count {
        pixels.extend_from_slice(clip.frame((index * numerator / denominator) as usize));
    }
    Clip::new([count as usize, height, width], rate, pixels)
}

/// Each pixel `scale × scale` times.
pub(crate) fn enlarge(clip: &Clip, scale: usize) -> Result<Clip> {
    let [_, height, width] = clip.shape();
    resize(clip, height * scale, width * scale, Filter::Nearest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn clip(shape: [usize; 3], rate: u32) -> Clip {
        let mut state = 1u32;
        let mut noise = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        Clip::new(shape, Rate::whole(rate), (0..shape.iter().product::<usize>() * 3).map(|_| noise()).collect())
            .unwrap()
    }

    #[test]
    fn others_give_the_same() {
        // Triangle, Bicubic and Lanczos3 as Pillow has them; its `BOX` takes whole pixels, ours is by hand:
        // (0 + 10 + 40/3) / (7/3) and so on.
        // numpy.asarray(PIL.Image.fromarray(ramp).resize((3, 1), filter)), ramp = [[0, 10, 40, 90, 160, 250, 255]].
        let ramp = [0u8, 10, 40, 90, 160, 250, 255].iter().flat_map(|&grey| [grey; 3]).collect();
        let ramp = Clip::new([1, 1, 7], Rate::whole(1), ramp).unwrap();
        for (filter, wanted) in WANTED {
            let out = resize(&ramp, 1, 3, filter).unwrap();
            let grey: Vec<i32> = out.pixels().chunks(3).map(|pixel| pixel[0].into()).collect();
            assert!(grey.iter().zip(wanted).all(|(a, b)| (a - b).abs() <= 1), "{filter:?}: {grey:?} is not {wanted:?}");
        }
    }

    const WANTED: [(Filter, [i32; 3]); 4] = [
        (Filter::Area, [10, 96, 239]),
        (Filter::Triangle, [13, 99, 233]),
        (Filter::Bicubic, [7, 97, 240]),
        (Filter::Lanczos3, [3, 96, 245]),
    ];

    proptest! {
        #[test]
        fn flat_stays_flat(grey: u8, height in 1usize..23, width in 1usize..23, filter in 0usize..5) {
            let filter = [Filter::Nearest, Filter::Area, Filter::Triangle, Filter::Bicubic, Filter::Lanczos3][filter];
            let flat = Clip::new([2, 7, 11], Rate::whole(8), vec![grey; 2 * 7 * 11 * 3]).unwrap();
            let out = resize(&flat, height, width, filter).unwrap();
            prop_assert!(out.pixels().iter().all(|&code| code == grey));
        }

        #[test]
        fn a_rate_and_back_again(frames in 1usize..40, times in 1u32..5) {
            let before = clip([frames, 1, 2], 6);
            let faster = resample_rate(&before, Rate::whole(6 * times)).unwrap();
            prop_assert_eq!(faster.frames(), frames * times as usize);
            prop_assert_eq!(resample_rate(&faster, Rate::whole(6)).unwrap(), before);
        }
    }

    #[test]
    fn area_of_whole_steps_is_the_mean() {
        let before = clip([1, 6, 10], 8);
        let after = resize(&before, 3, 5, Filter::Area).unwrap();
        for (index, &code) in after.pixels().iter().enumerate() {
            let (row, column, channel) = (index / 15, index / 3 % 5, index % 3);
            let at = |dy, dx| u32::from(before.pixels()[((2 * row + dy) * 10 + 2 * column + dx) * 3 + channel]);
            let mean = (at(0, 0) + at(0, 1) + at(1, 0) + at(1, 1) + 2) / 4;
            assert!(mean.abs_diff(code.into()) <= 1);
        }
    }

    #[test]
    fn the_crop_is_the_middle_and_rates_take_earlier_frames() {
        let before = clip([5, 7, 11], 25);
        let cropped = center_crop(&before, 3, 4).unwrap();
        assert_eq!(cropped.frame(2)[..3], before.frame(2)[(2 * 11 + 3) * 3..][..3]);
        assert!(center_crop(&before, 8, 4).is_err());
        let slower = resample_rate(&before, Rate::whole(10)).unwrap();
        assert_eq!(slower.frames(), 2);
        assert_eq!(slower.frame(1), before.frame(2));
    }
}
