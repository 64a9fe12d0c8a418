//! From the frames of a file to those of a window: how they fit its size.

/// Scales frames until they cover a size, by a triangle filter that is as wide as two pixels of
/// the coarser of both grids, and cuts out the middle.
#[derive(Debug)]
pub(super) struct Framing {
    from: [usize; 2],
    rows: Vec<Taps>,
    columns: Vec<Taps>,
}

/// The pixels that make one pixel: the first of them, and the weight of each.
#[derive(Debug)]
struct Taps {
    start: usize,
    weights: Vec<f32>,
}

impl Framing {
    /// From frames of size `from` to frames of size `to`, both `[H, W]`.
    pub fn new(from: [usize; 2], to: [usize; 2]) -> Self {
        let scale = (to[0] as f64 / from[0] as f64).max(to[1] as f64 / from[1] as f64);
        Self { from, rows: taps(from[0], to[0], scale), columns: taps(from[1], to[1], scale) }
    }

    /// Appends the framed `frame` to `out`; `false`, and nothing done, where it has another size.
    pub fn apply(&self, frame: &[u8], out: &mut Vec<u8>) -> bool {
        let [height, width] = self.from;
        if frame.len() != height * width * 3 {
            return false;
        }
        let mut row = vec![0f32; width * 3];
        for vertical in &self.rows {
            row.fill(0.0);
            for (weight, line) in vertical.weights.iter().zip(frame[vertical.start * width * 3..].chunks(width * 3)) {
                row.iter_mut().zip(line).for_each(|(sum, &value)| *sum += weight * f32::from(value));
            }
            for horizontal in &self.columns {
                let mut pixel = [0f32; 3];
                let run = row[horizontal.start * 3..].chunks_exact(3);
                for (weight, values) in horizontal.weights.iter().zip(run) {
                    pixel.iter_mut().zip(values).for_each(|(sum, value)| *sum += weight * value);
                }
                out.extend(pixel.map(|value| value.round() as u8));
            }
        }
        true
    }
}

/// The taps of `to` pixels in the middle of `from` pixels scaled by `scale`.
fn taps(from: usize, to: usize, scale: f64) -> Vec<Taps> {
    let reach = (1.0 / scale).max(1.0);
    (0..to)
        .map(|index| {
            let centre = (index as f64 + 0.5 - to as f64 / 2.0) / scale + from as f64 / 2.0;
            let start = (centre - reach).floor().max(0.0) as usize;
            let end = ((centre + reach).ceil() as usize).min(from);
            let weight = |i: usize| (1.0 - (i as f64 + 0.5 - centre).abs() / reach).max(0.0);
            let total: f64 = (start..end).map(weight).sum();
            Taps { start, weights: (start..end).map(|i| (weight(i) / total) as f32).collect() }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(from: [usize; 2], to: [usize; 2], pixel: impl Fn(usize, usize, usize) -> u8) -> Vec<u8> {
        let (mut frame, mut out) = (Vec::new(), Vec::new());
        for i in 0..from[0] {
            for j in 0..from[1] {
                frame.extend([0, 1, 2].map(|c| pixel(i, j, c)));
            }
        }
        assert!(Framing::new(from, to).apply(&frame, &mut out));
        assert_eq!(out.len(), to[0] * to[1] * 3);
        out
    }

    #[test]
    fn the_same_size_is_the_same_frame_and_a_crop_is_its_middle() {
        let pixel = |i: usize, j: usize, c: usize| (i * 31 + j * 7 + c * 101) as u8;
        let at = |out: &[u8], width: usize, i: usize, j: usize, c: usize| out[(i * width + j) * 3 + c];
        for (from, to, [top, left]) in
            [([11, 13], [11, 13], [0, 0]), ([11, 19], [11, 13], [0, 3]), ([23, 13], [11, 13], [6, 0])]
        {
            let out = framed(from, to, pixel);
            for i in 0..to[0] {
                for j in 0..to[1] {
                    for c in 0..3 {
                        assert_eq!(at(&out, to[1], i, j, c), pixel(i + top, j + left, c));
                    }
                }
            }
        }
    }

    #[test]
    fn flat_stays_flat_and_a_ramp_stays_a_ramp() {
        for (from, to) in [([37, 53], [11, 13]), ([7, 5], [23, 17]), ([240, 320], [64, 64]), ([1, 1], [8, 8])] {
            assert!(framed(from, to, |_, _, _| 77).iter().all(|&x| x == 77));
        }
        // 101 columns to 21: the middle column stays, each is 101/21 further than the one before it.
        let out = framed([101, 101], [21, 21], |_, j, _| (2 * j) as u8);
        for j in 1..20 {
            let wanted = 2.0 * ((j as f64 + 0.5) * 101.0 / 21.0 - 0.5);
            assert!((f64::from(out[(10 * 21 + j) * 3]) - wanted).abs() <= 0.6, "column {j}");
        }
        // A pattern finer than the new grid becomes its mean instead of an alias.
        let fine = framed([96, 96], [12, 12], |_, j, _| if j % 2 == 0 { 0 } else { 200 });
        let inside = |k: usize| (1..11).contains(&(k / 3 % 12));
        assert!((0..fine.len()).filter(|&k| inside(k)).all(|k| fine[k].abs_diff(100) <= 3), "{fine:?}");
    }

    #[test]
    fn a_frame_of_another_size_is_refused() {
        let mut out = Vec::new();
        assert!(!Framing::new([5, 7], [8, 8]).apply(&[0; 5 * 7 * 3 - 1], &mut out) && out.is_empty());
    }
}
