//! Root mean square normalisation (Zhang and Sennrich, arXiv 1910.07467, equation 4).

use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, binary};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, Dispatch, Flex, Shape, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, assert_shape};

use crate::blocks::{block_of_rows, contiguous, elements, generate, row_width, transform};
use crate::layer_norm::widened;
use crate::simd::{Kernel, sum};

/// `x / √(mean(x²) + epsilon) · weight` over the last dimension.
///
/// 16-bit floats are normalised in `f32`.
///
/// # Shapes
///
/// - `x`, output: `[.., D]`
/// - `weight`: `[D]`
///
/// # Panics
///
/// If the weight's length is not the last dimension of `x`.
pub fn rms_norm<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f64) -> Tensor<D> {
    let [width] = weight.dims();
    assert_shape!(x, [.., width]);
    Tensor::from_dispatch(<Dispatch as RmsNorm>::value(x.into_dispatch(), weight.into_dispatch(), epsilon))
}

/// A backend that has the norm: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait RmsNorm: Backend {
    /// The norm of `x`.
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        composed_value::<Self>(x, weight, epsilon)
    }

    /// The gradient by `x` of a loss whose gradient by the value is `grad`.
    fn gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        composed_gradient::<Self>(x, weight, grad, epsilon)
    }

    /// The gradient by the weight of that loss.
    fn weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        composed_weight_gradient::<Self>(x, grad, epsilon)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl RmsNorm for burn::backend::Cube {}

impl RmsNorm for Flex {
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        if [x.dtype(), weight.dtype()] != [DType::F32; 2] {
            return composed_value::<Self>(x, weight, epsilon);
        }
        let block = block_of_rows(row_width(&x));
        let weight = contiguous(weight);
        transform(x, block, &Value { weight: elements(&weight), epsilon: epsilon as f32 })
    }

    fn gradient(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
    ) -> FloatTensor<Self> {
        if [x.dtype(), weight.dtype(), grad.dtype()] != [DType::F32; 3] {
            return composed_gradient::<Self>(x, weight, grad, epsilon);
        }
        let block = block_of_rows(row_width(&x));
        let (x, weight) = (contiguous(x), contiguous(weight));
        transform(grad, block, &Gradient { x: elements(&x), weight: elements(&weight), epsilon: epsilon as f32 })
    }

    fn weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        if [x.dtype(), grad.dtype()] != [DType::F32; 2] {
            return composed_weight_gradient::<Self>(x, grad, epsilon);
        }
        let width = row_width(&x);
        let (x, grad) = (contiguous(x), contiguous(grad));
        let kernel = WeightGradient { x: elements(&x), grad: elements(&grad), width, epsilon: epsilon as f32 };
        let groups = kernel.x.len().div_ceil(kernel.group());
        let partial = generate(Shape::new([groups, width]), width.max(1), &kernel);
        let sums = Sums { rows: elements(&partial), width };
        generate(Shape::new([width]), width.max(1), &sums)
    }
}

struct Value<'a> {
    weight: &'a [f32],
    epsilon: f32,
}

impl Kernel for Value<'_> {
    #[inline(always)]
    fn run(&self, _start: usize, block: &mut [f32]) {
        for row in block.chunks_exact_mut(self.weight.len()) {
            let scale = scale(row, self.epsilon);
            for (x, &weight) in row.iter_mut().zip(self.weight) {
                *x = *x * scale * weight;
            }
        }
    }
}

struct Gradient<'a> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
}

impl Kernel for Gradient<'_> {
    /// With s the scale and h = g·weight: `s·h - x·s³·mean(h·x)`.
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let width = self.weight.len();
        for (grad, x) in block.chunks_exact_mut(width).zip(self.x[start..].chunks_exact(width)) {
            for (g, &weight) in grad.iter_mut().zip(self.weight) {
                *g *= weight;
            }
            let scale = scale(x, self.epsilon);
            let along_y = sum(grad, x, |h, x| h * (x * scale)) / width as f32;
            for (h, &x) in grad.iter_mut().zip(x) {
                *h = (*h - x * scale * along_y) * scale;
            }
        }
    }
}

/// Row i of the output is the sum over a group of rows; a second step adds the groups.
struct WeightGradient<'a> {
    x: &'a [f32],
    grad: &'a [f32],
    width: usize,
    epsilon: f32,
}

impl WeightGradient<'_> {
    /// Elements in a group: rows that share one partial sum. A constant number, so that the order of additions does
    /// not depend on the number of threads.
    fn group(&self) -> usize {
        64 * self.width.max(1)
    }
}

impl Kernel for WeightGradient<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let from = start / self.width * self.group();
        let to = (from + self.group()).min(self.x.len());
        let rows = self.x[from..to].chunks_exact(self.width).zip(self.grad[from..to].chunks_exact(self.width));
        for (x, grad) in rows {
            let scale = scale(x, self.epsilon);
            for ((total, &x), &g) in block.iter_mut().zip(x).zip(grad) {
                *total += g * (x * scale);
            }
        }
    }
}

/// The sums of the columns.
struct Sums<'a> {
    rows: &'a [f32],
    width: usize,
}

impl Kernel for Sums<'_> {
    #[inline(always)]
    fn run(&self, _start: usize, block: &mut [f32]) {
        for row in self.rows.chunks_exact(self.width) {
            for (total, &x) in block.iter_mut().zip(row) {
                *total += x;
            }
        }
    }
}

/// `1 / √(mean(x²) + ε)`.
#[inline(always)]
fn scale(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum(row, row, |x, _| x * x) / row.len() as f32 + epsilon).sqrt()
}

fn composed_value<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    let dtype = x.dtype();
    let weight = as_row::<B>(widened::<B>(weight), x.rank());
    let x = widened::<B>(x);
    let root = composed_root::<B>(x.clone(), epsilon);
    B::float_cast(B::float_mul(B::float_div(x, root), weight), dtype.into())
}

fn composed_gradient<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
    epsilon: f64,
) -> FloatTensor<B> {
    let (dtype, rank) = (x.dtype(), x.rank());
    let x = widened::<B>(x);
    let root = composed_root::<B>(x.clone(), epsilon);
    let y = B::float_div(x, root.clone());
    let h = B::float_mul(widened::<B>(grad), as_row::<B>(widened::<B>(weight), rank));
    let along_y = B::float_mean_dim(B::float_mul(h.clone(), y.clone()), rank - 1);
    let across = B::float_sub(h, B::float_mul(y, along_y));
    B::float_cast(B::float_div(across, root), dtype.into())
}

fn composed_weight_gradient<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    let (dtype, shape) = (x.dtype(), x.shape());
    let width = shape[shape.num_dims() - 1];
    let x = widened::<B>(x);
    let root = composed_root::<B>(x.clone(), epsilon);
    let terms = B::float_mul(widened::<B>(grad), B::float_div(x, root));
    let rows = B::float_reshape(terms, Shape::new([shape.num_elements() / width.max(1), width]));
    B::float_cast(B::float_reshape(B::float_sum_dim(rows, 0), Shape::new([width])), dtype.into())
}

/// `√(mean(x²) + ε)`.
fn composed_root<B: Backend>(x: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    let last = x.rank() - 1;
    let mean = B::float_mean_dim(B::float_mul(x.clone(), x), last);
    B::float_sqrt(B::float_add_scalar(mean, epsilon.into()))
}

/// `[D]` as `[1, .., 1, D]`.
fn as_row<B: Backend>(weight: FloatTensor<B>, rank: usize) -> FloatTensor<B> {
    let mut shape = vec![1; rank];
    shape[rank - 1] = weight.shape().num_elements();
    B::float_reshape(weight, Shape::from(shape))
}

/// The backward step. Its parents are the weight and then x, in this order: the second to be served may overwrite the
/// incoming gradient.
#[derive(Debug)]
struct Step;

impl<B: RmsNorm> Backward<B, 2> for Step {
    type State = (NodeId, NodeId, f64);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (weight, x, epsilon) = ops.state;
        let weight: FloatTensor<B> = checkpointer.retrieve_node_output(weight);
        let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
        binary::<B, _, _>(
            ops.parents,
            ops.node,
            grads,
            |grad| B::weight_gradient(x.clone(), grad, epsilon),
            |grad| B::gradient(x.clone(), weight, grad, epsilon),
        );
    }
}

/// Computes the value again in the backward pass, where the graph is checkpointed.
#[derive(Debug)]
struct Again<B> {
    weight: NodeId,
    x: NodeId,
    epsilon: f64,
    backend: PhantomData<B>,
}

impl<B: RmsNorm> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, value: NodeId) {
        let weight = states.get_state::<FloatTensor<B>>(&self.weight);
        let x = states.get_state::<FloatTensor<B>>(&self.x);
        states.save(value, B::value(x, weight, self.epsilon));
    }
}

impl<B: RmsNorm, C: CheckpointStrategy> RmsNorm for Autodiff<B, C> {
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64) -> FloatTensor<Self> {
        let again = Again::<B> { weight: weight.id(), x: x.id(), epsilon, backend: PhantomData };
        let preparation = Step
            .prepare::<C>([weight.node(), x.node()])
            .memory_bound()
            .retro_forward(again)
            .parents([&weight, &x])
            .stateful();
        match preparation {
            OpsKind::Tracked(mut tracked) => {
                let state = (tracked.checkpoint(&weight), tracked.checkpoint(&x), epsilon);
                tracked.finish(state, B::value(x.into_primitive(), weight.into_primitive(), epsilon))
            }
            OpsKind::UnTracked(untracked) => {
                untracked.finish(B::value(x.into_primitive(), weight.into_primitive(), epsilon))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, device, noise};
    use burn::tensor::TensorData;

    const EPSILON: f64 = 1e-6;

    /// A weight of the width, type and device of `x`.
    fn weight(x: &Tensor<3>) -> Tensor<1> {
        let width = x.dims()[2];
        let values: Vec<f32> = noise(width, 11).iter().map(|w| 1.0 + w).collect();
        Tensor::from_data(TensorData::new(values, [width]), (&x.device(), x.dtype()))
    }

    fn composed(x: Tensor<3>, weight: Tensor<1>) -> Tensor<3> {
        x.clone() / (x.square().mean_dim(2) + EPSILON).sqrt() * weight.unsqueeze()
    }

    fn ours(x: Tensor<3>) -> Tensor<3> {
        let weight = weight(&x);
        rms_norm(x, weight, EPSILON)
    }

    fn reference(x: Tensor<3>) -> Tensor<3> {
        let weight = weight(&x);
        composed(x, weight)
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_in_double_precision() {
        testing::rows(ours, reference, 2e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_for_any_layout() {
        testing::layouts(ours, reference, 5e-6);
    }

    #[test]
    fn the_weight_has_its_gradient_with_and_without_one_for_x() {
        for (rows, width) in [(1, 1), (7, 13), (131, 37), (64, 5), (65, 5)] {
            for dtype in [DType::F32, DType::F64] {
                for x_is_tracked in [true, false] {
                    let device = device().autodiff();
                    let tensor = |seed| {
                        let data = TensorData::new(noise(rows * width, seed), [1, rows, width]);
                        Tensor::<3>::from_data(data, (&device, dtype))
                    };
                    let gradient = |norm: &dyn Fn(Tensor<3>, Tensor<1>) -> Tensor<3>| {
                        let weight = weight(&tensor(1)).require_grad();
                        let x = if x_is_tracked { tensor(1).require_grad() } else { tensor(1) };
                        let grads = (norm(x, weight.clone()) * tensor(2)).sum().backward();
                        testing::values(weight.grad(&grads).expect("a gradient by the weight"))
                    };
                    let ours = gradient(&|x, weight| rms_norm(x, weight, EPSILON));
                    testing::assert_near(&ours, &gradient(&composed), 1e-5);
                }
            }
        }
    }

    #[test]
    fn the_weights_gradient_is_the_same_for_any_thread_count() {
        let gradient = || {
            let device = device().autodiff();
            let x = TensorData::new(noise(testing::LARGE, 1), [testing::LARGE / 17, 17]);
            let weight = Tensor::<1>::ones([17], &device).require_grad();
            let y = rms_norm(Tensor::<2>::from_data(x, &device), weight.clone(), EPSILON);
            let grads = y.square().sum().backward();
            testing::values(weight.grad(&grads).expect("a gradient by the weight"))
        };
        testing::same_for_any_thread_count(gradient);
    }

    #[test]
    fn a_nan_spoils_its_row_alone() {
        testing::spoilt_row(ours, f32::NAN);
        testing::spoilt_row(ours, f32::INFINITY);
    }

    #[test]
    #[should_panic(expected = "expected 4, got 3")]
    fn a_weight_of_another_width_is_a_bug() {
        rms_norm(Tensor::<2>::zeros([2, 3], &device()), Tensor::ones([4], &device()), EPSILON);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        let (weight, epsilon) = (&noise(testing::WIDTH, 3)[..], EPSILON as f32);
        let gradient = Gradient { x: &noise(testing::LARGE, 5), weight, epsilon };
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours));
        testing::same_for_any_instruction_set(&Value { weight, epsilon });
        testing::same_for_any_instruction_set(&gradient);
    }
}
