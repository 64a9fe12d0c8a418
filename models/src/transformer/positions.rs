//! Where a position lies: learned vectors and rotations by `(t, h, w)`.
//!
//! The `P` prompt positions lie on the time axis before the clip, at `t = -P … -1`; sound lies on the clip's own
//! time axis, between its steps.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::columns;
use musiva_core::parameters::to_vec;
use musiva_core::{CanvasShape, Init, Layout};
use musiva_kernels::rotary;

/// A learned vector for each place: of the clip the sum of one for its `t`, its `h` and its `w` (factorised
/// positions), of its sound one each; one for each position of the prompt; and one for all that is given, by which
/// it is told from what is to be made.
#[derive(Module, Debug)]
pub struct PositionEmbedding {
    prompt: Param<Tensor<2>>,
    t: Param<Tensor<2>>,
    h: Param<Tensor<2>>,
    w: Param<Tensor<2>>,
    sound: Option<Param<Tensor<2>>>,
    given: Option<Param<Tensor<1>>>,
}

impl PositionEmbedding {
    /// Vectors of `width` for the places of `canvas`.
    pub fn new(init: &Init, canvas: &CanvasShape, width: usize) -> Self {
        let [t, h, w] = canvas.tokens.grid;
        let axis = |name, count| init.part(name).normal([count, width], 0.02);
        Self {
            prompt: axis("prompt", canvas.prompt),
            t: axis("t", t),
            h: axis("h", h),
            w: axis("w", w),
            sound: canvas.sound.map(|sound| axis("sound", sound.tokens.length())),
            given: canvas.has_context.then(|| init.part("given").normal([width], 0.02)),
        }
    }

    /// How many numbers it learns.
    pub fn parameters(canvas: &CanvasShape, width: usize) -> usize {
        let sound = canvas.sound.map_or(0, |sound| sound.tokens.length());
        let rows = canvas.prompt + canvas.tokens.grid.iter().sum::<usize>() + sound + usize::from(canvas.has_context);
        rows * width
    }

    /// Of the prompt, `[1, P, D]`.
    pub fn prompt(&self) -> Tensor<3> {
        self.prompt.val().unsqueeze()
    }

    /// Of all places in their order, `[1, places, D]`.
    fn all(&self) -> Tensor<3> {
        let ([t, width], [h, _], [w, _]) = (self.t.dims(), self.h.dims(), self.w.dims());
        let sum = self.t.val().reshape([t, 1, 1, width])
            + self.h.val().reshape([1, h, 1, width])
            + self.w.val().reshape([1, 1, w, width]);
        let clip = sum.reshape([1, t * h * w, width]);
        match &self.sound {
            Some(sound) => Tensor::cat(vec![clip, sound.val().unsqueeze()], 1),
            None => clip,
        }
    }

    /// Of the places that are given and of those that are to be made, `[1, n, D]` each; nothing where none is given.
    pub fn of(&self, layout: &Layout) -> (Option<Tensor<3>>, Tensor<3>) {
        let all = self.all();
        let context = (!layout.context().is_empty()).then(|| {
            let positions = columns(all.clone(), layout.context());
            match &self.given {
                Some(mark) => positions + mark.val().unsqueeze::<3>(),
                None => positions,
            }
        });
        (context, columns(all, layout.target()))
    }
}

/// Rotary positions on three axes (Su et al. 2021; the split of a head's pairs over axes as in
/// video Transformers since): half of the pairs turn with `t`, a quarter each with `h` and `w`.
#[derive(Clone, Debug)]
pub struct Rotary {
    cos: Tensor<2>,
    sin: Tensor<2>,
    prompt: usize,
}

impl Rotary {
    /// For heads of `size` numbers at the prompt and all places of `canvas`, in their order.
    pub fn new(canvas: &CanvasShape, size: usize, device: &Device) -> Self {
        Self::with_axes(canvas, |position| canvas.coordinates(position), size, device)
    }

    /// The same where places lie elsewhere: at what `axes` says of each.
    pub fn with_axes(canvas: &CanvasShape, axes: impl Fn(usize) -> [f64; 3], size: usize, device: &Device) -> Self {
        let pairs = size / 2;
        let quarter = pairs / 4;
        // Which axis a pair turns with, and the how-manyeth it is there.
        let axis = |pair: usize| match pairs - pair {
            rest if rest <= quarter => (2, pair - (pairs - quarter), quarter),
            rest if rest <= 2 * quarter => (1, pair - (pairs - 2 * quarter), quarter),
            _ => (0, pair, pairs - 2 * quarter),
        };
        let (mut cos, mut sin) = (Vec::new(), Vec::new());
        for row in 0usize..canvas.length() {
            let coordinates = match row.checked_sub(canvas.prompt) {
                None => [row as f64 - canvas.prompt as f64, 0.0, 0.0],
                Some(position) => axes(position),
            };
            let angles: Vec<f64> = (0..pairs)
                .map(|pair| {
                    let (axis, i, of) = axis(pair);
                    // Grids are small: the slowest pair turns once in a hundred places, not ten thousand.
                    coordinates[axis] * 100f64.powf(-(i as f64) / of as f64)
                })
                .collect();
            cos.extend(angles.iter().map(|angle| angle.cos() as f32));
            sin.extend(angles.iter().map(|angle| angle.sin() as f32));
        }
        let table = |values| Tensor::from_data(TensorData::new(values, [canvas.length(), pairs]), device);
        Self { cos: table(cos), sin: table(sin), prompt: canvas.prompt }
    }

    /// That of the positions of a sequence: the prompt, then the places of `layout`.
    pub fn gather(&self, layout: &Layout) -> Self {
        let rows: Vec<usize> =
            (0..self.prompt).chain(layout.positions().map(|position| self.prompt + position)).collect();
        let of = |table: &Tensor<2>| columns(table.clone().unsqueeze::<3>(), &rows).squeeze_dim::<2>(0);
        Self { cos: of(&self.cos), sin: of(&self.sin), prompt: self.prompt }
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
