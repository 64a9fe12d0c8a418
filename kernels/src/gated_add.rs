//! The end of a block of a diffusion transformer: the block's output, through a gate that comes from a condition, added
//! to the residual stream (Peebles and Xie, arXiv 2212.09748, section 3.2).

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
use crate::simd::{Kernel, SummingKernel};
use crate::tables::{self, Places, composed_gather, composed_spread};

/// `x + gate[at]·y`.
///
/// `at` says for each position which row of the table is its gate. The gradient of a row is the sum over the positions
/// that stand at it.
///
/// # Shapes
///
/// - `x`, `y`, output: `[B, N, D]`
/// - `gate`: `[B, S, D]`; a view is as good as a tensor of its own
/// - `at`: `[N]`, each below S
///
/// # Panics
///
/// If the shapes do not fit, or an entry of `at` is not below S.
pub fn gated_add(x: Tensor<3>, y: Tensor<3>, gate: Tensor<3>, at: &[usize]) -> Tensor<3> {
    tables::check(&x, &[&gate], at);
    assert_eq!(x.dims(), y.dims(), "x and y have one shape");
    let [x, y, gate] = [x, y, gate].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as GatedAdd>::value(x, y, gate, at.into()))
}

/// A backend that has the sum: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait GatedAdd: Backend {
    /// The sum of `x` and the gated `y`.
    fn value(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        at: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        composed_value::<Self>(x, y, gate, &at)
    }

    /// The gradients by y and the gate of a loss whose gradient by the value, and so by x, is `grad`.
    fn gradients(
        y: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        at: Arc<[usize]>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed_gradients::<Self>(y, gate, grad, &at)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl GatedAdd for burn::backend::Cube {}

impl GatedAdd for Flex {
    fn value(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        at: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        if [x.dtype(), y.dtype(), gate.dtype()] != [DType::F32; 3] {
            return composed_value::<Self>(x, y, gate, &at);
        }
        let (y, gate) = (contiguous(y), contiguous(gate));
        let [_, rows, width] = gate.layout().shape().dims();
        let places = Places { at: &at, rows, width };
        transform(x, block_of_rows(width), &Value { places, y: elements(&y), gate: elements(&gate) })
    }

    fn gradients(
        y: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        at: Arc<[usize]>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        if [y.dtype(), gate.dtype(), grad.dtype()] != [DType::F32; 3] {
            return composed_gradients::<Self>(y, gate, grad, &at);
        }
        let (y, gate) = (contiguous(y), contiguous(gate));
        let table = gate.layout().shape().clone();
        let [batches, rows, width] = table.dims();
        let places = Places { at: &at, rows, width };
        let kernel = Slopes { places, y: elements(&y), gate: elements(&gate) };
        let (grad, sums) = transform_and_sum(grad, &places.walk(batches, 1), &kernel);
        (grad, from_values(sums, table))
    }
}

struct Value<'a> {
    places: Places<'a>,
    y: &'a [f32],
    gate: &'a [f32],
}

impl Kernel for Value<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let width = self.places.width;
        let rows = block.chunks_exact_mut(width).zip(self.y[start..].chunks_exact(width));
        for (i, (x, y)) in rows.enumerate() {
            let gate = self.places.of(self.gate, start / width + i);
            for ((x, &y), &gate) in x.iter_mut().zip(y).zip(gate) {
                *x += gate * y;
            }
        }
    }
}

/// Turns the gradient by the value into the one by y; sums those of the gate's table.
struct Slopes<'a> {
    places: Places<'a>,
    y: &'a [f32],
    gate: &'a [f32],
}

impl SummingKernel for Slopes<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32], sums: &mut [f32]) {
        let width = self.places.width;
        let rows = block.chunks_exact_mut(width).zip(self.y[start..].chunks_exact(width));
        for (i, (grad, y)) in rows.enumerate() {
            let place = start / width + i;
            let (by_gate, gate) = (self.places.sums(sums, place), self.places.of(self.gate, place));
            for (((g, &y), by_gate), &gate) in grad.iter_mut().zip(y).zip(by_gate).zip(gate) {
                *by_gate += *g * y;
                *g *= gate;
            }
        }
    }
}

fn composed_value<B: Backend>(
    x: FloatTensor<B>,
    y: FloatTensor<B>,
    gate: FloatTensor<B>,
    at: &[usize],
) -> FloatTensor<B> {
    B::float_add(x, B::float_mul(composed_spread::<B>(gate, at), y))
}

fn composed_gradients<B: Backend>(
    y: FloatTensor<B>,
    gate: FloatTensor<B>,
    grad: FloatTensor<B>,
    at: &[usize],
) -> (FloatTensor<B>, FloatTensor<B>) {
    let rows = gate.shape()[1];
    let by_gate = composed_gather::<B>(B::float_mul(grad.clone(), y), at, rows);
    (B::float_mul(grad, composed_spread::<B>(gate, at)), by_gate)
}

/// The backward step. Its parents are x, y and the gate.
#[derive(Debug)]
struct Step;

impl<B: GatedAdd> Backward<B, 3> for Step {
    type State = (NodeId, NodeId, Arc<[usize]>);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (y, gate, at) = ops.state;
        let y = checkpointer.retrieve_node_output(y);
        let gate = checkpointer.retrieve_node_output(gate);
        let grad = grads.consume::<B>(&ops.node);
        let [by_x, by_y, by_gate] = ops.parents;
        if let Some(x) = by_x {
            grads.register::<B>(x.id, grad.clone());
        }
        let (y, gate) = B::gradients(y, gate, grad, at);
        for (parent, grad) in [(by_y, y), (by_gate, gate)] {
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
    y: NodeId,
    gate: NodeId,
    at: Arc<[usize]>,
    backend: PhantomData<B>,
}

impl<B: GatedAdd> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, value: NodeId) {
        let [x, y, gate] = [self.x, self.y, self.gate].map(|node| states.get_state::<FloatTensor<B>>(&node));
        states.save(value, B::value(x, y, gate, self.at.clone()));
    }
}

impl<B: GatedAdd, C: CheckpointStrategy> GatedAdd for Autodiff<B, C> {
    fn value(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        gate: FloatTensor<Self>,
        at: Arc<[usize]>,
    ) -> FloatTensor<Self> {
        let again = Again::<B> { x: x.id(), y: y.id(), gate: gate.id(), at: at.clone(), backend: PhantomData };
        let preparation = Step
            .prepare::<C>([x.node(), y.node(), gate.node()])
            .memory_bound()
            .retro_forward(again)
            .parents([&x, &y, &gate])
            .stateful();
        match preparation {
            OpsKind::Tracked(mut tracked) => {
                let state = (tracked.checkpoint(&y), tracked.checkpoint(&gate), at.clone());
                let [x, y, gate] = [x, y, gate].map(|x| x.into_primitive());
                tracked.finish(state, B::value(x, y, gate, at))
            }
            OpsKind::UnTracked(untracked) => {
                let [x, y, gate] = [x, y, gate].map(|x| x.into_primitive());
                untracked.finish(B::value(x, y, gate, at))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables::tests::{at, row, table};
    use crate::testing;

    /// With the gate out of the third part of six.
    fn of(x: Tensor<3>, y: Tensor<3>, conditions: Tensor<3>, at: &[usize]) -> Tensor<3> {
        gated_add(x, y, row(&conditions, 2), at)
    }

    fn composed(x: Tensor<3>, y: Tensor<3>, conditions: Tensor<3>, at: &[usize]) -> Tensor<3> {
        x + row(&conditions, 2).select(1, tables::tests::indices(at)) * y
    }

    fn ours(x: Tensor<3>) -> Tensor<3> {
        let (conditions, at) = (table(&x, 6), at(x.dims()[1]));
        of(x.clone(), x.square(), conditions, &at)
    }

    fn reference(x: Tensor<3>) -> Tensor<3> {
        let (conditions, at) = (table(&x, 6), at(x.dims()[1]));
        composed(x.clone(), x.square(), conditions, &at)
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_in_double_precision() {
        testing::rows(ours, reference, 1e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_for_any_layout() {
        testing::layouts(ours, reference, 1e-6);
        testing::layouts(|x| ours(x.clone()) + x, |x| reference(x.clone()) + x, 1e-6);
    }

    #[test]
    fn the_table_and_both_terms_have_their_gradients() {
        tables::tests::gradients(|[x, y, c], at| of(x, y, c, at), |[x, y, c], at| composed(x, y, c, at));
    }

    #[test]
    #[should_panic(expected = "x and y have one shape")]
    fn terms_of_two_shapes_are_a_bug() {
        let zeros = |n| Tensor::zeros([1, n, 3], &testing::device());
        gated_add(zeros(2), zeros(1), zeros(1), &[0, 0]);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        let width = testing::WIDTH;
        let (y, gate) = (&testing::noise(testing::LARGE, 5)[..], &testing::noise(testing::LARGE, 6)[..]);
        let places = Places { at: &at(37), rows: 5, width };
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours));
        tables::tests::same_for_any_thread_count(|[x, y, c], at| of(x, y, c, at));
        testing::same_for_any_instruction_set(&Value { places, y, gate });
        testing::summing_is_the_same_for_any_instruction_set(&Slopes { places, y, gate }, 5 * width);
    }
}
