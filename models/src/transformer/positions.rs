//! Where a token lies: learned vectors, and rotations by `(t, h, w)`.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{TrackShape, columns};
use musiva_core::parameters::to_vec;
use musiva_core::{CanvasShape, Error, ErrorKind, Init, Layout, Modality, Result};
use musiva_kernels::rotary;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How a model knows where a token lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Positions {
    /// By learned vectors of rows, columns and times, beside rotary positions: for clips and sounds of one size.
    #[default]
    Learned,
    /// By rotary positions alone (Su et al. 2021), and a learned vector for each track: for clips and sounds of any size.
    Rotary,
}

/// A learned vector for each position: of a clip the sum of one for its `t`, its `h` and its `w` (factorised
/// positions), of sound and text one each; and one for all that is context, by which it is told from what is to be
/// generated.
#[derive(Module, Debug)]
pub struct PositionEmbedding {
    tracks: Vec<TrackPositions>,
    given: Option<Param<Tensor<1>>>,
}

/// The vectors of one track.
#[derive(Module, Debug)]
struct TrackPositions {
    /// `[T, D]`; with rotary positions alone `[1, D]`, that of the track.
    t: Param<Tensor<2>>,
    /// Of clips.
    h: Option<Param<Tensor<2>>>,
    w: Option<Param<Tensor<2>>>,
}

/// How many rows a track has of each axis.
fn rows(track: &TrackShape, positions: Positions) -> (usize, Option<[usize; 2]>) {
    let [t, h, w] = track.tokens.grid;
    match (positions, track.modality) {
        (Positions::Rotary, _) => (1, None),
        (Positions::Learned, Modality::Video) => (t, Some([h, w])),
        (Positions::Learned, _) => (track.tokens.length(), None),
    }
}

/// Whether some of a canvas but text may be context, and so is marked.
fn marks(canvas: &CanvasShape) -> bool {
    canvas.tracks.iter().any(|track| track.context && track.modality != Modality::Text)
}

impl PositionEmbedding {
    /// Vectors of `width` for the positions of `canvas`.
    pub fn new(init: &Init, canvas: &CanvasShape, width: usize, positions: Positions) -> Self {
        let track = |track: &TrackShape| {
            let (time, area) = rows(track, positions);
            let (t, rest) = match &*track.name {
                "video" => (init.part("t"), init.clone()),
                "audio" => (init.part("sound"), init.part("sound")),
                "text" => (init.part("prompt"), init.part("prompt")),
                name => (init.part(format!("track.{name}/t")), init.part(format!("track.{name}"))),
            };
            TrackPositions {
                t: t.normal([time, width], 0.02),
                h: area.map(|[h, _]| rest.part("h").normal([h, width], 0.02)),
                w: area.map(|[_, w]| rest.part("w").normal([w, width], 0.02)),
            }
        };
        Self {
            tracks: canvas.tracks.iter().map(track).collect(),
            given: marks(canvas).then(|| init.part("given").normal([width], 0.02)),
        }
    }

    /// How many numbers it learns.
    pub fn parameters(canvas: &CanvasShape, width: usize, positions: Positions) -> usize {
        let count = |track: &TrackShape| {
            let (time, area) = rows(track, positions);
            time + area.map_or(0, |[h, w]| h + w)
        };
        (canvas.tracks.iter().map(count).sum::<usize>() + usize::from(marks(canvas))) * width
    }

    /// Of the context and of what is to be generated, `[1, G, D]` and `[1, L, D]`; nothing where there is no context.
    ///
    /// # Errors
    /// Where the layout is of a canvas of other sizes, and there is a vector for each position.
    pub fn of(&self, layout: &Layout) -> Result<(Option<Tensor<3>>, Tensor<3>)> {
        let canvas = layout.canvas();
        // The vectors of all tracks, one after the other, and where each track's begin.
        let (mut all, mut starts, mut count) = (Vec::new(), Vec::new(), 0);
        for (own, track) in self.tracks.iter().zip(&canvas.tracks) {
            let [time, width] = own.t.dims();
            let rows = match (&own.h, &own.w) {
                (Some(h), Some(w)) => {
                    let ([rows, _], [columns, _]) = (h.dims(), w.dims());
                    let sum = own.t.val().reshape([time, 1, 1, width])
                        + h.val().reshape([1, rows, 1, width])
                        + w.val().reshape([1, 1, columns, width]);
                    sum.reshape([1, time * rows * columns, width])
                }
                _ => own.t.val().unsqueeze(),
            };
            let n = rows.dims()[1];
            if n != 1 && n != track.tokens.length() {
                let message = format!("`{}` has {} tokens, this model learned {n}", track.name, track.tokens.length());
                return Err(Error::new(ErrorKind::Unsupported, "backbone.positions", message)
                    .hint("train one with `positions = \"rotary\"` for other sizes"));
            }
            starts.push((count, n));
            count += n;
            all.push(rows);
        }
        let all = Tensor::cat(all, 1);
        let row = |track: usize, index: usize| starts[track].0 + index.min(starts[track].1 - 1);
        let target: Vec<usize> = layout.elements().iter().map(|element| row(element.track, element.index)).collect();
        let context = (!layout.context().is_empty()).then(|| {
            let found: Vec<(usize, usize)> = layout.context().iter().map(|&position| canvas.find(position)).collect();
            let rows: Vec<usize> = found.iter().map(|&(track, index)| row(track, index)).collect();
            let positions = columns(all.clone(), &rows);
            let marked = found.iter().map(|&(track, _)| f32::from(canvas.tracks[track].modality != Modality::Text));
            match &self.given {
                Some(mark) => {
                    let marked = TensorData::new(marked.collect::<Vec<f32>>(), [1, found.len(), 1]);
                    let marked = Tensor::<3>::from_data(marked, &positions.device());
                    positions + mark.val().unsqueeze::<3>() * marked
                }
                None => positions,
            }
        });
        Ok((context, columns(all, &target)))
    }
}

/// Rotary positions on three axes (Su et al. 2021; the split of a head's pairs over axes as in
/// video Transformers since): half of the pairs turn with `t`, a quarter each with `h` and `w`.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor<2>,
    sin: Tensor<2>,
}

impl Rotary {
    /// For heads of `size` numbers at the sequence of a layout: the tokens of conditions, which lie nowhere, context, target.
    pub fn new(layout: &Layout, size: usize, device: &Device) -> Self {
        let canvas = layout.canvas();
        Self::with_axes(layout, |track, index| canvas.tracks[track].coordinates(index), size, device)
    }

    /// The same where tokens lie elsewhere: at what `axes` says of a track's tokens.
    pub fn with_axes(layout: &Layout, axes: impl Fn(usize, usize) -> [f64; 3], size: usize, device: &Device) -> Self {
        let pairs = size / 2;
        let quarter = pairs / 4;
        // Which axis a pair turns with, and how fast. Grids are small: the slowest pair turns once in a hundred positions,
        // not ten thousand.
        let speed = |pair: usize| {
            let (axis, i, of) = match pairs - pair {
                rest if rest <= quarter => (2, pair - (pairs - quarter), quarter),
                rest if rest <= 2 * quarter => (1, pair - (pairs - 2 * quarter), quarter),
                _ => (0, pair, pairs - 2 * quarter),
            };
            (axis, 100f64.powf(-(i as f64) / of as f64))
        };
        let speeds: Vec<(usize, f64)> = (0..pairs).map(speed).collect();
        let canvas = layout.canvas();
        let context = layout.context().iter().map(|&position| canvas.find(position));
        let target = layout.elements().iter().map(|element| (element.track, element.index));
        let conditions = canvas.condition_tokens();
        let (mut cos, mut sin) = (vec![1.0; conditions * pairs], vec![0.0; conditions * pairs]);
        for (track, index) in context.chain(target) {
            let coordinates = axes(track, index);
            let angles = speeds.iter().map(|&(axis, speed)| coordinates[axis] * speed);
            for angle in angles {
                cos.push(angle.cos() as f32);
                sin.push(angle.sin() as f32);
            }
        }
        let table = |values| Tensor::from_data(TensorData::new(values, [conditions + layout.length(), pairs]), device);
        Self { cos: table(cos), sin: table(sin) }
    }

    /// Cosines and sines, `[N, d/2]` each.
    pub fn on_host(&self) -> [Vec<f32>; 2] {
        [&self.cos, &self.sin].map(|table| to_vec(table.clone()))
    }

    /// Turns `[B, n, H, d]`, which stand at the positions `from..from + n`.
    pub fn rotate(&self, x: Tensor<4>, from: usize) -> Tensor<4> {
        let n = x.dims()[1];
        let at = |table: &Tensor<2>| table.clone().slice_dim(0, from..from + n);
        rotary(x, at(&self.cos), at(&self.sin))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{TokenKind, TokenShape};
    use std::sync::Arc;

    const WIDTH: usize = 3;

    /// Two words and a clip of 2 × 2 × 3 tokens.
    fn canvas() -> Arc<CanvasShape> {
        let kind = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
        Arc::new(CanvasShape::new(2, 5, TokenShape { grid: [2, 2, 3], kind }).with_context())
    }

    #[test]
    fn of_a_clip_a_position_is_the_sum_of_its_axes_and_what_is_given_is_marked() {
        let canvas = canvas();
        let init = Init::new(3, &Device::flex());
        let positions = PositionEmbedding::new(&init, &canvas, WIDTH, Positions::Learned);
        // The second step of the clip is generated, the first given, and the prompt.
        let layout = Layout::with_prompt(&canvas, (0..6).collect(), (6..12).collect());
        let (context, target) = positions.of(&layout).unwrap();
        let row = |table: &Param<Tensor<2>>, i: usize| to_vec(table.val().slice_dim(0, i..i + 1));
        let sum = |vectors: &[Vec<f32>]| (0..WIDTH).map(|i| vectors.iter().map(|v| v[i]).sum()).collect::<Vec<f32>>();
        let (video, text) = (&positions.tracks[0], &positions.tracks[1]);
        let (h, w) = (video.h.as_ref().unwrap(), video.w.as_ref().unwrap());
        let place = |t, y, x| vec![row(&video.t, t), row(h, y), row(w, x)];
        let mark = to_vec(positions.given.as_ref().unwrap().val());
        let grid = || (0..2).flat_map(|y| (0..3).map(move |x| (y, x)));
        let generated = grid().map(|(y, x)| sum(&place(1, y, x)));
        let given = grid().map(|(y, x)| sum(&[place(0, y, x), vec![mark.clone()]].concat()));
        // A prompt is context anyway, and is not marked.
        let words = (0..2).map(|i| row(&text.t, i));
        let near = |found: Vec<f32>, wanted: Vec<Vec<f32>>| {
            let wanted = wanted.concat();
            assert_eq!(found.len(), wanted.len());
            assert!(found.iter().zip(&wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{found:?}, {wanted:?}");
        };
        near(to_vec(target), generated.collect());
        near(to_vec(context.unwrap()), words.chain(given).collect());
    }

    #[test]
    fn half_of_the_pairs_turn_with_time_and_a_quarter_with_each_side() {
        let layout = Layout::whole(&canvas());
        // Of 16 numbers 8 pairs: 4, 2 and 2. Each axis turns by a radian a step and slower, down towards a hundredth.
        let [t, y, x] = [3.0, 5.0, 7.0f64];
        let [cos, sin] = Rotary::with_axes(&layout, |_, _| [t, y, x], 16, &Device::flex()).on_host();
        let slower = |of: f64, i: f64| 1.0 / 100f64.powf(i / of);
        let wanted = [
            t,
            t * slower(4.0, 1.0),
            t * slower(4.0, 2.0),
            t * slower(4.0, 3.0),
            y,
            y * slower(2.0, 1.0),
            x,
            x * slower(2.0, 1.0),
        ];
        assert_eq!(cos.len(), layout.length() * 8);
        for (cos, sin) in cos.chunks(8).zip(sin.chunks(8)) {
            for (i, angle) in wanted.iter().enumerate() {
                assert!((f64::from(cos[i]) - angle.cos()).abs() < 1e-6, "{i}");
                assert!((f64::from(sin[i]) - angle.sin()).abs() < 1e-6, "{i}");
            }
        }
    }
}
