//! Which path was it? All directions, speeds and phases are tried against what was seen.

use super::attributes::{Direction, Speed};
use super::geometry::Geometry;

/// The best path of one direction and speed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fit {
    pub direction: Direction,
    pub speed: Speed,
    /// Phase on the [`Track`](super::geometry::Track) at frame 0.
    pub phase: f64,
    /// Root of the mean squared distance in pixels, each distance capped.
    pub error: f64,
}

/// A single frame that is far off must not outvote the others; pixels at 64 × 64.
const CAP: f64 = 6.0;

/// The best path of each direction and speed through `points` (frame, centre), best first.
/// `points` must not be empty.
pub(super) fn fits(points: &[(f64, [f64; 2])], geometry: &Geometry) -> Vec<Fit> {
    let mut fits = Vec::with_capacity(8);
    for &direction in Direction::ALL {
        for &speed in Speed::ALL {
            let (phase, error) = best_phase(points, geometry, direction, speed);
            fits.push(Fit { direction, speed, phase, error });
        }
    }
    fits.sort_by(|a, b| a.error.total_cmp(&b.error));
    fits
}

fn best_phase(points: &[(f64, [f64; 2])], geometry: &Geometry, direction: Direction, speed: Speed) -> (f64, f64) {
    let axis = direction.axis();
    let track = geometry.track(axis, speed);
    // The cross coordinate stands still. Its median, because a mean would follow outliers.
    let mut across: Vec<f64> = points.iter().map(|(_, at)| at[1 - axis]).collect();
    across.sort_by(f64::total_cmp);
    let still = across[across.len() / 2];
    let cap = (CAP * geometry.unit).powi(2);
    let error = |phase: f64| {
        let squares = points
            .iter()
            .map(|&(t, at)| ((at[axis] - track.at(phase, t)).powi(2) + (at[1 - axis] - still).powi(2)).min(cap));
        (squares.sum::<f64>() / points.len() as f64).sqrt()
    };

    // A direction that is left before it lasted a frame is none: without this, who starts at a wall
    // would have moved towards it as well as away from it.
    let from = if direction.forward() { 0.0 } else { track.range };
    let within = |phase: f64| phase.clamp(from, from + track.range - track.step);
    // A grid of half pixels finds the valley, ever smaller grids its bottom.
    let mut step = 0.5 * geometry.unit;
    let steps = (track.range / step).ceil() as usize;
    let pick = |phases: &mut dyn Iterator<Item = f64>| {
        phases.map(|p| (p, error(p))).fold((from, f64::INFINITY), |a, b| if b.1 < a.1 { b } else { a })
    };
    let mut best = pick(&mut (0..=steps).map(|i| within(from + i as f64 * step)));
    for _ in 0..4 {
        step /= 4.0;
        let centre = best.0;
        best = pick(&mut (-4..=4).map(|i| within(centre + f64::from(i) * step)));
    }
    best
}
