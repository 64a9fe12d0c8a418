//! Where is the shape in a frame, and what colour has it?

use super::attributes::Colour;
use super::geometry::{BACKGROUND, Geometry};
use std::ops::Range;

/// Distances from the background below this are noise (of 255 per channel, Euclidean).
const NOISE: f32 = 60.0;
/// What is left of the foreground may lie elsewhere: speckle, a ghost.
const SHARE: f32 = 0.6;
/// The foreground, in squares of the radius: the smallest shape covers 1.8, the largest 4.
const AREA: Range<f64> = 0.9..6.0;
/// Where the chroma (largest less smallest channel) is below this, there is no colour to speak of.
const CHROMA: f64 = 40.0;
/// Degrees of hue beyond which a colour has no name, and by which the second name must be farther.
const HUE: (f64, f64) = (40.0, 8.0);

/// The foreground of one frame.
pub(super) struct Spot {
    /// The rows and columns that hold it.
    pub window: [Range<usize>; 2],
    /// How much of each pixel of the window is covered, 0 to 1, row by row.
    pub coverage: Vec<f64>,
    /// Its centre of mass `[y, x]` in pixels.
    pub centroid: [f64; 2],
    /// Its colour, where it has one of the world's.
    pub colour: Option<Colour>,
}

/// Finds the foreground of a frame `[H, W, 3]`: the window of a shape's size that holds the most of
/// it. A window and not a connected region, because a blurred ring may come in pieces and speckle
/// may connect what does not belong together. `None` where there is no single spot of a shape's size.
pub(super) fn find(frame: &[u8], geometry: &Geometry) -> Option<Spot> {
    let distance: Vec<f32> = frame.chunks_exact(3).map(distance).collect();
    let weight: Vec<f32> = distance.iter().map(|&d| if d > NOISE { d } else { 0.0 }).collect();
    let total: f32 = weight.iter().sum();
    if total == 0.0 || weight.iter().filter(|&&w| w > 0.0).count() * 2 > weight.len() {
        return None;
    }
    let (mut centre, width) = (heaviest_window(&weight, geometry), geometry.size[1]);
    // The centre of mass of the triangle is not its middle: the window reaches half a radius further.
    let reach = 1.5 * geometry.radius;
    let window = |centre: [f64; 2]| [0, 1].map(|axis| geometry.pixels(axis, centre[axis], reach));
    // Mean shift: the heaviest window is one of many that hold the whole spot; this centres it.
    for _ in 0..3 {
        let [rows, columns] = window(centre);
        centre = centroid(&rows, &columns, |i, j| f64::from(weight[i * width + j]))?;
    }
    let [rows, columns] = window(centre);
    let inside = || rows.clone().flat_map(|i| columns.clone().map(move |j| i * width + j));
    let mass: f32 = inside().map(|k| weight[k]).sum();
    if mass < SHARE * total {
        return None;
    }
    // The distance of a fully covered pixel; borders weigh little in it.
    let solid = inside().map(|k| weight[k] * weight[k]).sum::<f32>() / mass;
    // Noise below a fifth of it is cut; the ramp between keeps the sub-pixel position.
    let coverage: Vec<f64> = inside().map(|k| f64::from((distance[k] / solid - 0.2) / 0.6).clamp(0.0, 1.0)).collect();
    let area: f64 = coverage.iter().sum();
    if !AREA.contains(&(area / geometry.radius.powi(2))) {
        return None;
    }
    let mut mean = [0.0; 3];
    for (k, c) in inside().zip(&coverage) {
        for (sum, &value) in mean.iter_mut().zip(&frame[k * 3..][..3]) {
            *sum += c * f64::from(value) / area;
        }
    }
    let at = |i: usize, j: usize| coverage[(i - rows.start) * columns.len() + j - columns.start];
    let centroid = centroid(&rows, &columns, at)?;
    Some(Spot { centroid, colour: name(mean), window: [rows.clone(), columns.clone()], coverage })
}

fn distance(pixel: &[u8]) -> f32 {
    let squares = pixel.iter().zip(BACKGROUND).map(|(&p, b)| (f32::from(p) - f32::from(b)).powi(2));
    squares.sum::<f32>().sqrt()
}

/// The centre of the box of the shapes' size with the largest sum of `weight`, by a summed-area table.
fn heaviest_window(weight: &[f32], geometry: &Geometry) -> [f64; 2] {
    let [height, width] = geometry.size;
    let side = (2.0 * geometry.radius).ceil() as usize;
    let mut table = vec![0f64; (height + 1) * (width + 1)];
    for i in 0..height {
        let mut row = 0.0;
        for j in 0..width {
            row += f64::from(weight[i * width + j]);
            table[(i + 1) * (width + 1) + j + 1] = table[i * (width + 1) + j + 1] + row;
        }
    }
    let at = |i: usize, j: usize| table[i * (width + 1) + j];
    let (mut best, mut place) = (f64::NEG_INFINITY, [0, 0]);
    for i in 0..=height - side {
        for j in 0..=width - side {
            let sum = at(i + side, j + side) - at(i, j + side) - at(i + side, j) + at(i, j);
            if sum > best {
                (best, place) = (sum, [i, j]);
            }
        }
    }
    place.map(|start| start as f64 + side as f64 / 2.0)
}

fn centroid(rows: &Range<usize>, columns: &Range<usize>, weight: impl Fn(usize, usize) -> f64) -> Option<[f64; 2]> {
    let (mut sum, mut y, mut x) = (0.0, 0.0, 0.0);
    for i in rows.clone() {
        for j in columns.clone() {
            let w = weight(i, j);
            sum += w;
            y += w * (i as f64 + 0.5);
            x += w * (j as f64 + 0.5);
        }
    }
    (sum > 0.0).then(|| [y / sum, x / sum])
}

/// The name of a colour, by its hue.
fn name(rgb: [f64; 3]) -> Option<Colour> {
    let hue = hue(rgb)?;
    let mut distances: Vec<(f64, Colour)> = Colour::ALL
        .iter()
        .filter_map(|&colour| {
            let apart = (hue - self::hue(colour.rgb().map(f64::from))?).rem_euclid(360.0);
            Some((apart.min(360.0 - apart), colour))
        })
        .collect();
    distances.sort_by(|a, b| a.0.total_cmp(&b.0));
    let [first, second, ..] = distances[..] else { return None };
    (first.0 <= HUE.0 && second.0 >= first.0 + HUE.1).then_some(first.1)
}

/// Hue in degrees (HSV); `None` for greys.
fn hue([r, g, b]: [f64; 3]) -> Option<f64> {
    let (max, chroma) = (r.max(g).max(b), r.max(g).max(b) - r.min(g).min(b));
    if chroma < CHROMA {
        return None;
    }
    let sextant = if max == r {
        (g - b) / chroma
    } else if max == g {
        (b - r) / chroma + 2.0
    } else {
        (r - g) / chroma + 4.0
    };
    Some((sextant * 60.0).rem_euclid(360.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hues_are_those_of_the_colour_circle() {
        for (rgb, wanted) in [
            ([255, 0, 0], 0.0),
            ([255, 255, 0], 60.0),
            ([0, 255, 0], 120.0),
            ([0, 255, 255], 180.0),
            ([0, 0, 255], 240.0),
            ([255, 0, 255], 300.0),
        ] {
            assert_eq!(hue(rgb.map(f64::from)), Some(wanted));
        }
        assert_eq!(hue([120.0; 3]), None);
    }

    #[test]
    fn colours_between_two_names_have_none() {
        let middle = |a: Colour, b: Colour| {
            let (a, b) = (a.rgb(), b.rgb());
            [0, 1, 2].map(|i| (f64::from(a[i]) + f64::from(b[i])) / 2.0)
        };
        assert_eq!(name(middle(Colour::Red, Colour::Blue)), None);
        assert_eq!(name(middle(Colour::Red, Colour::Yellow)), None);
        for &colour in Colour::ALL {
            assert_eq!(name(colour.rgb().map(|x| f64::from(x) * 0.6)), Some(colour));
        }
    }
}
