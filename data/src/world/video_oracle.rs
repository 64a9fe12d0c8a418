//! Reads a clip of the world back: analytic, no model, nothing learnt.

use super::attributes::{Colour, Direction, Shape, Speed};
use super::config::WorldConfig;
use super::fit::{Fit, fits};
use super::geometry::Geometry;
use super::spot::{Spot, find};
use musiva_core::Clip;
use serde::Serialize;

/// The part of the frames in which something must be seen before anything is decided.
const SEEN: f64 = 0.6;
/// The part of the seen frames that must agree on the colour.
const AGREED: f64 = 0.6;
/// The overlap (soft intersection over union) that a shape needs, and by which it must lead.
const OVERLAP: (f64, f64) = (0.5, 0.04);
/// Root mean square distance from the path, in pixels at 64 × 64, up to which a path is one.
const PATH_ERROR: f64 = 2.0;

/// Reads clips of one frame size.
#[derive(Clone, Copy, Debug)]
pub struct VideoOracle {
    geometry: Geometry,
}

/// What an [`VideoOracle`] sees; `None`: it cannot decide.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Reading {
    /// What moves.
    pub shape: Option<Shape>,
    /// Its colour.
    pub colour: Option<Colour>,
    /// Where it moves at first.
    pub direction: Option<Direction>,
    /// How fast it moves.
    pub speed: Option<Speed>,
    /// How often it bounces after frame 0, up to the moment of the last frame.
    pub bounces: Option<usize>,
    /// When it does, in frames; empty where it cannot be decided.
    pub bounced: Vec<f64>,
    /// The centre `[y, x]` of its bounding box in each frame, in pixels; `None`: not seen.
    pub path: Vec<Option<[f32; 2]>>,
    /// Root mean square distance of the seen centres from the nearest path that the world can
    /// make, in pixels; single frames that are far off are capped.
    pub path_error: Option<f32>,
    /// Overlap of what is seen with the nearest shape, 0 to 1, mean over the frames.
    pub overlap: Option<f32>,
}

impl VideoOracle {
    /// An oracle for clips of the size of `config`; of any length, since a window of a scene keeps
    /// its direction as long as it starts at frame 0.
    pub fn new(config: &WorldConfig) -> Self {
        Self { geometry: Geometry::new(config.size) }
    }

    /// Reads `clip`. Of a clip of another size nothing is decided.
    pub fn read(&self, clip: &Clip) -> Reading {
        let [frames, height, width] = clip.shape();
        if [height, width] != self.geometry.size || height.min(width) < 16 {
            return Reading { path: vec![None; frames], ..Reading::default() };
        }
        let spots: Vec<_> = (0..frames).map(|t| find(clip.frame(t), &self.geometry)).collect();
        let seen: Vec<(f64, &Spot)> =
            spots.iter().enumerate().filter_map(|(t, spot)| Some((t as f64, spot.as_ref()?))).collect();
        if (seen.len() as f64) < SEEN * frames as f64 {
            return Reading { path: vec![None; frames], ..Reading::default() };
        }

        let (nearest, overlap, lead) = self.shape(&seen);
        let centre = |spot: &Spot| [spot.centroid[0] - nearest.centroid(self.geometry.radius), spot.centroid[1]];
        let points: Vec<_> = seen.iter().map(|&(t, spot)| (t, centre(spot))).collect();
        let fits = fits(&points, &self.geometry);
        let best = fits[0];
        let direction = self.decided(&fits, |fit| fit.direction != best.direction).then_some(best.direction);
        let speed = self.decided(&fits, |fit| fit.speed != best.speed).then_some(best.speed);
        let bounced = direction.and(speed).map(|speed| {
            let track = self.geometry.track(best.direction.axis(), speed);
            track.bounces(best.phase, (frames - 1) as f64).map(|(frame, _)| frame).collect::<Vec<_>>()
        });
        Reading {
            shape: (overlap >= OVERLAP.0 && lead >= OVERLAP.1).then_some(nearest),
            colour: colour(&seen),
            direction,
            speed,
            bounces: bounced.as_ref().map(Vec::len),
            bounced: bounced.unwrap_or_default(),
            path: spots.iter().map(|spot| Some(centre(spot.as_ref()?).map(|x| x as f32))).collect(),
            path_error: Some(best.error as f32),
            overlap: Some(overlap as f32),
        }
    }

    /// The nearest shape, its overlap, and by how much it leads.
    fn shape(&self, seen: &[(f64, &Spot)]) -> (Shape, f64, f64) {
        let mut overlaps: Vec<(Shape, f64)> = Shape::ALL
            .iter()
            .map(|&shape| {
                (shape, seen.iter().map(|(_, spot)| self.overlap(shape, spot)).sum::<f64>() / seen.len() as f64)
            })
            .collect();
        overlaps.sort_by(|a, b| b.1.total_cmp(&a.1));
        (overlaps[0].0, overlaps[0].1, overlaps[0].1 - overlaps[1].1)
    }

    /// Soft intersection over union of a spot with `shape` at the same centre of mass.
    fn overlap(&self, shape: Shape, spot: &Spot) -> f64 {
        let radius = self.geometry.radius;
        let [y, x] = [spot.centroid[0] - shape.centroid(radius), spot.centroid[1]];
        let [rows, columns] = &spot.window;
        let pixels = rows.clone().flat_map(|i| columns.clone().map(move |j| [i as f64 + 0.5 - y, j as f64 + 0.5 - x]));
        let (mut both, mut either) = (0.0, 0.0);
        for (at, &seen) in pixels.zip(&spot.coverage) {
            let template = shape.coverage(at, radius);
            both += seen.min(template);
            either += seen.max(template);
        }
        both / either
    }

    /// Whether the best path is near enough and clearly nearer than the best of the `others`.
    fn decided(&self, fits: &[Fit], others: impl Fn(&Fit) -> bool) -> bool {
        let best = fits[0].error;
        let rival = fits.iter().find(|fit| others(fit)).map_or(f64::INFINITY, |fit| fit.error);
        best <= PATH_ERROR * self.geometry.unit && rival >= 1.5 * best + 0.25 * self.geometry.unit
    }
}

/// The colour that enough of the frames agree on.
fn colour(seen: &[(f64, &Spot)]) -> Option<Colour> {
    let votes = |colour| seen.iter().filter(|(_, spot)| spot.colour == Some(colour)).count();
    let most = Colour::ALL.iter().copied().max_by_key(|&colour| votes(colour))?;
    (votes(most) as f64 >= AGREED * seen.len() as f64).then_some(most)
}
