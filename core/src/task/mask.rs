//! Which part of a clip is to be made.

use super::{MaskSpec, Task};
use crate::{Clip, Stream};

/// Which pixels of a clip lie in the part that is to be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mask {
    shape: [usize; 3],
    target: Vec<bool>,
}

impl Mask {
    /// Of a clip `[T, H, W]`, by a function of frame, row and column.
    pub fn new(shape: [usize; 3], target: impl Fn(usize, usize, usize) -> bool) -> Self {
        let [t, h, w] = shape;
        let pixels = (0..t).flat_map(|t| (0..h).flat_map(move |y| (0..w).map(move |x| (t, y, x))));
        Self { shape, target: pixels.map(|(t, y, x)| target(t, y, x)).collect() }
    }

    /// `[T, H, W]`.
    pub fn shape(&self) -> [usize; 3] {
        self.shape
    }

    /// Whether each pixel is to be made, in C order.
    pub fn target(&self) -> &[bool] {
        &self.target
    }

    /// A rectangle of whole tokens in all frames, drawn for training: its inside or its outside is to be made. Each
    /// side is a quarter to three quarters of the clip's.
    pub(super) fn drawn(task: &Task, [frames, h, w]: [usize; 3], [_, dy, dx]: [usize; 3], stream: &mut Stream) -> Self {
        let mut side = |length: usize| {
            let most = (length * 3 / 4).max(1);
            let least = (length / 4).max(1);
            let extent = least + stream.below(most - least + 1);
            let start = stream.below(length - extent + 1);
            start..start + extent
        };
        let (rows, columns) = (side(h / dy), side(w / dx));
        let inside = move |y: usize, x: usize| rows.contains(&(y / dy)) && columns.contains(&(x / dx));
        Self::new([frames, h, w], |_, y, x| inside(y, x) == (task.spec("video") == MaskSpec::Outside))
    }

    /// What is left of a clip: in each pixel to be made stands the median of those that are not.
    ///
    /// # Panics
    /// Where the clip is of another shape.
    pub fn cover(&self, clip: &Clip) -> Clip {
        assert_eq!(self.shape, clip.shape(), "a mask is of its clip's shape");
        let mut counts = [[0usize; 256]; 3];
        for (pixel, _) in clip.pixels().chunks_exact(3).zip(&self.target).filter(|(_, target)| !**target) {
            counts.iter_mut().zip(pixel).for_each(|(counts, &value)| counts[usize::from(value)] += 1);
        }
        let median = counts.map(|counts| {
            let half = counts.iter().sum::<usize>() / 2;
            let mut below = 0;
            let at = counts.iter().position(|count| {
                below += count;
                below > half
            });
            at.unwrap_or(0) as u8
        });
        self.onto(clip, |_| median)
    }

    /// A clip with what was given where it was given, to the pixel, and what was made elsewhere.
    ///
    /// # Panics
    /// Where the clips are of another shape.
    pub fn paste(&self, context: &Clip, generated: &Clip) -> Clip {
        assert!(self.shape == context.shape() && self.shape == generated.shape(), "a mask is of its clips' shape");
        self.onto(context, |i| std::array::from_fn(|c| generated.pixels()[3 * i + c]))
    }

    /// How far two clips are apart where nothing is to be made: mean over pixels and colours, 0 to 255.
    ///
    /// # Panics
    /// Where the clips are of another shape.
    pub fn apart(&self, a: &Clip, b: &Clip) -> f64 {
        assert!(self.shape == a.shape() && self.shape == b.shape(), "a mask is of its clips' shape");
        let pixels = a.pixels().chunks_exact(3).zip(b.pixels().chunks_exact(3)).zip(&self.target);
        let known = pixels.filter(|(_, target)| !**target).map(|(pair, _)| pair);
        let (mut sum, mut count) = (0, 0u64);
        for (a, b) in known {
            sum += a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b))).sum::<u64>();
            count += 3;
        }
        sum as f64 / count.max(1) as f64
    }

    fn onto(&self, clip: &Clip, value: impl Fn(usize) -> [u8; 3]) -> Clip {
        let mut clip = clip.clone();
        for (i, pixel) in clip.pixels_mut().chunks_exact_mut(3).enumerate().filter(|(i, _)| self.target[*i]) {
            pixel.copy_from_slice(&value(i));
        }
        clip
    }
}

/// Of each place of the clip's grid whether one of its pixels is to be made.
pub(super) fn touched(mask: &Mask, grid: [usize; 3], [dt, dy, dx]: [usize; 3]) -> Vec<bool> {
    let ([_, rows, columns], [_, h, w]) = (mask.shape(), grid);
    let mut touched = vec![false; grid.iter().product()];
    for (i, _) in mask.target().iter().enumerate().filter(|(_, target)| **target) {
        let (t, y, x) = (i / (rows * columns), i / columns % rows, i % columns);
        touched[(t.div_ceil(dt) * h + y / dy) * w + x / dx] = true;
    }
    touched
}
