//! Where things are: shapes as signed distances, and the reflected path between two walls.
//!
//! Coordinates are `[y, x]` in pixels like sizes are `[H, W]`; pixel `(i, j)` covers
//! `[i, i + 1) × [j, j + 1)`, so its centre is at one half. Lengths are given for a frame whose
//! shorter side is 64 pixels and scale with it.

use super::attributes::{Colour, Direction, Shape, Speed};

/// The dark background, sRGB.
pub(super) const BACKGROUND: [u8; 3] = [20, 20, 24];

/// The hole of the ring, as a part of its radius.
const HOLE: f64 = 0.65;

impl Colour {
    /// The colour in sRGB.
    pub fn rgb(self) -> [u8; 3] {
        match self {
            Self::Red => [224, 48, 48],
            Self::Green => [48, 192, 80],
            Self::Blue => [56, 96, 232],
            Self::Yellow => [232, 208, 48],
        }
    }
}

impl Speed {
    /// Pixels a frame where the shorter side has 64 pixels.
    pub fn pixels_per_frame(self) -> f64 {
        match self {
            Self::Slow => 2.5,
            Self::Fast => 5.0,
        }
    }
}

impl Shape {
    /// How much of the pixel at `[dy, dx]` from the shape's centre the shape of `radius` covers:
    /// the signed distance to its border, clamped to half a pixel on both sides.
    pub(super) fn coverage(self, [dy, dx]: [f64; 2], radius: f64) -> f64 {
        let outside = match self {
            Self::Ring => (dy.hypot(dx) - radius * (1.0 + HOLE) / 2.0).abs() - radius * (1.0 - HOLE) / 2.0,
            Self::Square => dy.abs().max(dx.abs()) - radius,
            // Tip at (-r, 0), base from (r, -r) to (r, r): the largest of three half-plane distances.
            Self::Triangle => (dy - radius).max((2.0 * dx.abs() - dy - radius) / 5f64.sqrt()),
        };
        (0.5 - outside).clamp(0.0, 1.0)
    }

    /// Where the centre of mass lies from the centre of the bounding box, y only: x is symmetric.
    pub(super) fn centroid(self, radius: f64) -> f64 {
        if self == Self::Triangle { radius / 3.0 } else { 0.0 }
    }
}

/// The lengths of a frame size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Geometry {
    /// `[H, W]` in pixels.
    pub size: [usize; 2],
    /// What one pixel at 64 × 64 measures here.
    pub unit: f64,
    /// Half of the side of the shapes' bounding box.
    pub radius: f64,
}

impl Geometry {
    pub fn new(size: [usize; 2]) -> Self {
        let unit = size[0].min(size[1]) as f64 / 64.0;
        Self { size, unit, radius: 10.0 * unit }
    }

    /// The way between the walls along `axis` at `speed`.
    pub fn track(&self, axis: usize, speed: Speed) -> Track {
        Track {
            low: self.radius,
            range: self.size[axis] as f64 - 2.0 * self.radius,
            step: speed.pixels_per_frame() * self.unit,
        }
    }

    /// The pixels along `axis` whose centres lie within `reach` of `centre`.
    pub fn pixels(&self, axis: usize, centre: f64, reach: f64) -> std::ops::Range<usize> {
        let side = self.size[axis];
        let start = (centre - reach - 0.5).ceil().clamp(0.0, side as f64) as usize;
        let end = ((centre + reach - 0.5).floor() + 1.0).clamp(start as f64, side as f64) as usize;
        start..end
    }
}

/// A centre that runs from wall to wall: `low + fold(phase + step·t)`, where `fold` is the triangle
/// wave of period `2·range`. Phases below `range` move forward, those from `range` on move back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Track {
    /// The smallest coordinate of the centre.
    pub low: f64,
    /// The largest coordinate is `low + range`.
    pub range: f64,
    /// Pixels a frame.
    pub step: f64,
}

impl Track {
    /// The coordinate at frame `t`.
    pub fn at(&self, phase: f64, t: f64) -> f64 {
        let u = (phase + self.step * t).rem_euclid(2.0 * self.range);
        self.low + u.min(2.0 * self.range - u)
    }

    /// The phase of a centre at `coordinate` that moves forward or back.
    pub fn phase(&self, coordinate: f64, forward: bool) -> f64 {
        let u = coordinate - self.low;
        if forward { u } else { 2.0 * self.range - u }
    }

    /// The times in `(0, until]`, in frames, when a wall is met, and whether it is the far one.
    pub fn bounces(self, phase: f64, until: f64) -> impl Iterator<Item = (f64, bool)> {
        let first = (phase / self.range).floor() as i64 + 1;
        (first..)
            .map(move |k| ((k as f64 * self.range - phase) / self.step, k % 2 != 0))
            .take_while(move |&(t, _)| t <= until)
    }
}

/// The wall that a centre on `axis` meets.
pub(super) fn wall(axis: usize, far: bool) -> Direction {
    Direction::along(axis, far)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parts of the bounding box that two shapes cover, by 1,000 × 1,000 points.
    fn overlap(a: Shape, b: Shape) -> f64 {
        let (mut both, mut either) = (0, 0);
        for i in 0..1_000 {
            for j in 0..1_000 {
                let at = [f64::from(i) * 2.0 - 999.0, f64::from(j) * 2.0 - 999.0];
                let (a, b) = (a.coverage(at, 1_000.0) > 0.5, b.coverage(at, 1_000.0) > 0.5);
                both += i32::from(a && b);
                either += i32::from(a || b);
            }
        }
        f64::from(both) / f64::from(either)
    }

    #[test]
    fn shapes_differ_in_many_pixels() {
        for (i, &a) in Shape::ALL.iter().enumerate() {
            for &b in &Shape::ALL[i + 1..] {
                let iou = overlap(a, b);
                assert!(iou <= 0.6, "{a} and {b} overlap by {iou}");
            }
        }
    }

    #[test]
    fn coverage_adds_up_to_the_area_and_its_centroid() {
        let radius = 10.37;
        for (shape, area) in
            [(Shape::Ring, std::f64::consts::PI * (1.0 - HOLE * HOLE)), (Shape::Square, 4.0), (Shape::Triangle, 2.0)]
        {
            let (mut sum, mut moment) = (0.0, 0.0);
            for i in -20..20 {
                for j in -20..20 {
                    let (dy, dx) = (f64::from(i) + 0.31, f64::from(j) - 0.17);
                    let c = shape.coverage([dy, dx], radius);
                    (sum, moment) = (sum + c, moment + c * dy);
                }
            }
            assert!((sum / (area * radius * radius) - 1.0).abs() < 0.01, "{shape}: {sum}");
            assert!((moment / sum - shape.centroid(radius)).abs() < 0.05, "{shape}: {}", moment / sum);
        }
    }

    #[test]
    fn the_path_is_that_of_a_ball_stepped_in_small_steps() {
        let track = Track { low: 10.0, range: 43.7, step: 5.3 };
        for (start, forward) in [(12.5, true), (12.5, false), (50.0, true), (53.6, false)] {
            let phase = track.phase(start, forward);
            let (mut y, mut v, n) = (start, if forward { 1.0 } else { -1.0 }, 10_000);
            let mut hits = Vec::new();
            for i in 0..16 * n {
                y += v * track.step / f64::from(n);
                if y > track.low + track.range || y < track.low {
                    hits.push((f64::from(i) / f64::from(n), v > 0.0));
                    v = -v;
                }
                if (i + 1) % n == 0 {
                    assert!((track.at(phase, f64::from((i + 1) / n)) - y).abs() < 0.01);
                }
            }
            let bounces: Vec<_> = track.bounces(phase, 16.0).collect();
            assert_eq!(bounces.len(), hits.len());
            for (bounce, hit) in bounces.iter().zip(&hits) {
                assert!((bounce.0 - hit.0).abs() < 0.001 && bounce.1 == hit.1, "{bounce:?} {hit:?}");
            }
        }
    }
}
