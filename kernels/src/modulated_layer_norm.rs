//! Adaptive layer normalisation: a norm whose scale and shift come from a condition (Peebles and Xie, arXiv 2212.09748,
//! section 3.2, `modulate`), with a condition for each position at no cost.

use std::marker::PhantomData;
use std::sync::Arc;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

use crate::blocks::{block_of_rows, contiguous, elements, from_values, transform, transform_and_sum};
use crate::layer_norm::{self, composed_moments, moments, widened};
use crate::simd::{Kernel, SummingKernel};
use crate::tables::{self, Places, composed_gather, composed_spread};

/// `layer_norm(x)·(1 + scale[at]) + shift[at]`, the norm over the last dimension without an affine part of its own.
///
/// `at` says for each position which row of the tables is its condition. The gradient of a table's row is the sum over
/// the positions that stand at it. 16-bit floats are normalised in `f32`.
///
/// # Shapes
///
/// - `x`, output: `[B, N, D]`
/// - `shift`, `scale`: `[B, S, D]`; views are as good as tensors of their own
/// - `at`: `[N]`, each below S
///
/// # Panics
///
/// If the shapes do not fit, or an entry of `at` is not below S.
pub fn modulated_layer_norm(x: Tensor<3>, shift: Tensor<3>, scale: Tensor<3>, at: &[usize], epsilon: f64) -> Tensor<3> {
    tables::check(&x, &[&shift, &scale], at);
    let [x, shift, scale] = [x, shift, scale].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as ModulatedLayerNorm>::value(x, shift, scale, at.into(), epsilon))
}

/// A backend that has the norm: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait ModulatedLayerNorm: Backend {
    /// The modulated norm of `x`.
    fn value(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        at: Arc<[usize]>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        composed_value::<Self>(x, shift, scale, &at, epsilon)
    }

    /// The gradients by x, shift and scale of a loss whose gradient by the value is `grad`.
    fn gradients(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        at: Arc<[usize]>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed_gradients::<Self>(x, scale, grad, &at, epsilon)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl ModulatedLayerNorm for burn::backend::Cube {}

impl ModulatedLayerNorm for Flex {
    fn value(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        at: Arc<[usize]>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        if [x.dtype(), shift.dtype(), scale.dtype()] != [DType::F32; 3] {
            return composed_value::<Self>(x, shift, scale, &at, epsilon);
        }
        let (shift, scale) = (contiguous(shift), contiguous(scale));
        let [_, rows, width] = scale.layout().shape().dims();
        let places = Places { at: &at, rows, width };
        let (shift, scale) = (elements(&shift), elements(&scale));
        transform(x, block_of_rows(width), &Value { places, shift, scale, epsilon: epsilon as f32 })
    }

    fn gradients(
        x: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        at: Arc<[usize]>,
        epsilon: f64,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if [x.dtype(), scale.dtype(), grad.dtype()] != [DType::F32; 3] {
            return composed_gradients::<Self>(x, scale, grad, &at, epsilon);
        }
        let (x, scale) = (contiguous(x), contiguous(scale));
        let table = scale.layout().shape().clone();
        let [batches, rows, width] = table.dims();
        let places = Places { at: &at, rows, width };
        let kernel = Slopes { places, x: elements(&x), scale: elements(&scale), epsilon: epsilon as f32 };
        let (grad, sums) = transform_and_sum(grad, &places.walk(batches, 2), &kernel);
        let half = |first: usize| {
            let halves = sums.chunks((rows * width).max(1)).skip(first).step_by(2);
            from_values(halves.flatten().copied().collect(), table.clone())
        };
        (grad, half(0), half(1))
    }
}

struct Value<'a> {
    places: Places<'a>,
    shift: &'a [f32],
    scale: &'a [f32],
    epsilon: f32,
}

impl Kernel for Value<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let width = self.places.width;
        for (i, row) in block.chunks_exact_mut(width).enumerate() {
            let place = start / width + i;
            let (mean, inverse) = moments(row, self.epsilon);
            let (shift, scale) = (self.places.of(self.shift, place), self.places.of(self.scale, place));
            for ((x, &shift), &scale) in row.iter_mut().zip(shift).zip(scale) {
                *x = (*x - mean) * inverse * (1.0 + scale) + shift;
            }
        }
    }
}

/// Turns the gradient by the value into the one by x; sums those of the shift's table and, behind it, the scale's.
struct Slopes<'a> {
    places: Places<'a>,
    x: &'a [f32],
    scale: &'a [f32],
    epsilon: f32,
}

impl SummingKernel for Slopes<'_> {
    /// With y the norm, r its `1 / √(var + ε)` and h = g·(1 + scale): `(h - mean(h) - y·mean(h·y))·r` by x, g by the
    /// shift, g·y by the scale.
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32], sums: &mut [f32]) {
        let width = self.places.width;
        let (shifts, scales) = sums.split_at_mut(self.places.rows * width);
        let rows = block.chunks_exact_mut(width).zip(self.x[start..].chunks_exact(width));
        for (i, (grad, x)) in rows.enumerate() {
            let place = start / width + i;
            let (mean, inverse) = moments(x, self.epsilon);
            let (shift, by_scale) = (self.places.sums(shifts, place), self.places.sums(scales, place));
            let scale = self.places.of(self.scale, place);
            for ((((g, &x), shift), by_scale), &scale) in grad.iter_mut().zip(x).zip(shift).zip(by_scale).zip(scale) {
                *shift += *g;
                *by_scale += *g * ((x - mean) * inverse);
                *g *= 1.0 + scale;
            }
            layer_norm::gradient(grad, x, mean, inverse);
        }
    }
}

fn composed_value<B: Backend>(
    x: FloatTensor<B>,
    shift: FloatTensor<B>,
    scale: FloatTensor<B>,
    at: &[usize],
    epsilon: f64,
) -> FloatTensor<B> {
    let dtype = x.dtype();
    let (y, _) = composed_moments::<B>(widened::<B>(x), epsilon);
    let gain = B::float_add_scalar(widened::<B>(scale), 1.0.into());
    let scaled = B::float_mul(y, composed_spread::<B>(gain, at));
    let shifted = B::float_add(scaled, composed_spread::<B>(widened::<B>(shift), at));
    B::float_cast(shifted, dtype.into())
}

fn composed_gradients<B: Backend>(
    x: FloatTensor<B>,
    scale: FloatTensor<B>,
    grad: FloatTensor<B>,
    at: &[usize],
    epsilon: f64,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (dtype, rows) = (x.dtype(), scale.shape()[1]);
    let (x, grad) = (widened::<B>(x), widened::<B>(grad));
    let (y, _) = composed_moments::<B>(x.clone(), epsilon);
    let by_scale = composed_gather::<B>(B::float_mul(grad.clone(), y), at, rows);
    let by_shift = composed_gather::<B>(grad.clone(), at, rows);
    let gain = B::float_add_scalar(widened::<B>(scale), 1.0.into());
    let by_norm = B::float_mul(grad, composed_spread::<B>(gain, at));
    let by_x = layer_norm::composed_gradient::<B>(x, by_norm, epsilon);
    let [by_x, by_shift, by_scale] = [by_x, by_shift, by_scale].map(|grad| B::float_cast(grad, dtype.into()));
    (by_x, by_shift, by_scale)
}

/// The backward step. Its parents are x, shift and scale.
#[derive(Debug)]
struct Step;

impl<B: ModulatedLayerNorm> Backward<B, 3> for Step {
    type State = (NodeId, NodeId, Arc<[usize]>, f64);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (x, scale, at, epsilon) = ops.state;
        let x = checkpointer.retrieve_node_output(x);
        let scale = checkpointer.retrieve_node_output(scale);
        let grad = grads.consume::<B>(&ops.node);
        let (x, shift, scale) = B::gradients(x, scale, grad, at, epsilon);
        for (parent, grad) in ops.parents.into_iter().zip([x, shift, scale]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

/// Computes the value again in the backward pass, where the graph is checkpointed.
#[derive(Debug)]
struct Again<B> {
    x: NodeId,
    shift: NodeId,
    scale: NodeId,
    at: Arc<[usize]>,
    epsilon: f64,
    backend: PhantomData<B>,
}

impl<B: ModulatedLayerNorm> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, value: NodeId) {
        let [x, shift, scale] = [self.x, self.shift, self.scale].map(|node| states.get_state::<FloatTensor<B>>(&node));
        states.save(value, B::value(x, shift, scale, self.at.clone(), self.epsilon));
    }
}

impl<B: ModulatedLayerNorm, C: CheckpointStrategy> ModulatedLayerNorm for Autodiff<B, C> {
    fn value(
        x: FloatTensor<Self>,
        shift: FloatTensor<Self>,
        scale: FloatTensor<Self>,
        at: Arc<[usize]>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        let again = Again::<B> {
            x: x.id(),
            shift: shift.id(),
            scale: scale.id(),
            at: at.clone(),
            epsilon,
            backend: PhantomData,
        };
        let preparation = Step
            .prepare::<C>([x.node(), shift.node(), scale.node()])
            .memory_bound()
            .retro_forward(again)
            .parents([&x, &shift, &scale])
            .stateful();
        match preparation {
            OpsKind::Tracked(mut tracked) => {
                let state = (tracked.checkpoint(&x), tracked.checkpoint(&scale), at.clone(), epsilon);
                let [x, shift, scale] = [x, shift, scale].map(|x| x.into_primitive());
                tracked.finish(state, B::value(x, shift, scale, at, epsilon))
            }
            OpsKind::UnTracked(untracked) => {
                let [x, shift, scale] = [x, shift, scale].map(|x| x.into_primitive());
                untracked.finish(B::value(x, shift, scale, at, epsilon))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::{at, row, table};
    use crate::testing;

    const EPSILON: f64 = 1e-5;

    /// With shift and scale out of the second and the fifth part of six.
    fn of(x: Tensor<3>, conditions: Tensor<3>, at: &[usize]) -> Tensor<3> {
        modulated_layer_norm(x, row(&conditions, 1), row(&conditions, 4), at, EPSILON)
    }

    fn composed(x: Tensor<3>, conditions: Tensor<3>, at: &[usize]) -> Tensor<3> {
        let at = tables::tests::indices(at);
        let spread = |i| row(&conditions, i).select(1, at.clone());
        let centred = x.clone() - x.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2);
        centred / (variance + EPSILON).sqrt() * (spread(4) + 1.0) + spread(1)
    }

    fn ours(x: Tensor<3>) -> Tensor<3> {
        let (conditions, at) = (table(&x, 6), at(x.dims()[1]));
        of(x, conditions, &at)
    }

    fn reference(x: Tensor<3>) -> Tensor<3> {
        let (conditions, at) = (table(&x, 6), at(x.dims()[1]));
        composed(x, conditions, &at)
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_in_double_precision() {
        testing::rows(ours, reference, 3e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_for_any_layout() {
        testing::layouts(ours, reference, 1e-5);
    }

    #[test]
    fn the_tables_have_their_gradients() {
        tables::tests::gradients(|[x, y, c], at| of(x, c, at) + y, |[x, y, c], at| composed(x, c, at) + y);
    }

    #[test]
    fn a_nan_spoils_its_row_alone() {
        testing::spoilt_row(ours, f32::NAN);
        testing::spoilt_row(ours, f32::INFINITY);
    }

    #[test]
    #[should_panic(expected = "position 5 is not in tables of 5 rows")]
    fn a_position_beyond_the_tables_is_a_bug() {
        let x = Tensor::zeros([1, 2, 3], &testing::device());
        of(x, Tensor::zeros([1, 5, 18], &testing::device()), &[4, 5]);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        let (width, epsilon) = (testing::WIDTH, EPSILON as f32);
        let (x, scale) = (&testing::noise(testing::LARGE, 5)[..], &testing::noise(testing::LARGE, 6)[..]);
        let places = Places { at: &at(37), rows: 5, width };
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours));
        tables::tests::same_for_any_thread_count(|[x, y, c], at| of(x, c, at) + y);
        testing::same_for_any_instruction_set(&Value { places, shift: x, scale, epsilon });
        let slopes = Slopes { places, x, scale, epsilon };
        testing::summing_is_the_same_for_any_instruction_set(&slopes, 2 * 5 * width);
    }
}
