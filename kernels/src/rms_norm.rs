//! Root mean square normalisation (Zhang and Sennrich, arXiv 1910.07467, equation 4).

use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, Dispatch, Flex, Shape, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, assert_shape};

use crate::blocks::{
    PART, Walk, block_of_rows, contiguous, elements, from_values, row_width, transform, transform_and_sum,
};
use crate::layer_norm::widened;
use crate::silu;
use crate::simd::{Kernel, SummingKernel, sum};

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
    normalised(x, weight, epsilon, false)
}

/// `silu(rms_norm(x, weight, epsilon))` in one pass, as a block of convolutions wants it.
///
/// # Shapes
///
/// - `x`, output: `[.., D]`
/// - `weight`: `[D]`
///
/// # Panics
///
/// If the weight's length is not the last dimension of `x`.
pub fn rms_norm_silu<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f64) -> Tensor<D> {
    normalised(x, weight, epsilon, true)
}

fn normalised<const D: usize>(x: Tensor<D>, weight: Tensor<1>, epsilon: f64, silu: bool) -> Tensor<D> {
    let [width] = weight.dims();
    assert_shape!(x, [.., width]);
    Tensor::from_dispatch(<Dispatch as RmsNorm>::value(x.into_dispatch(), weight.into_dispatch(), epsilon, silu))
}

/// A backend that has the norm: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait RmsNorm: Backend {
    /// The norm of `x`, and its [`silu`](crate::silu) if so wanted.
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64, silu: bool) -> FloatTensor<Self> {
        composed_value::<Self>(x, weight, epsilon, silu)
    }

    /// The gradients by `x` and the weight of a loss whose gradient by the value is `grad`.
    fn gradients(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
        silu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed_gradients::<Self>(x, weight, grad, epsilon, silu)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl RmsNorm for burn::backend::Cube {}

impl RmsNorm for Flex {
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64, silu: bool) -> FloatTensor<Self> {
        if [x.dtype(), weight.dtype()] != [DType::F32; 2] {
            return composed_value::<Self>(x, weight, epsilon, silu);
        }
        let block = block_of_rows(row_width(&x));
        let weight = contiguous(weight);
        let (weight, epsilon) = (elements(&weight), epsilon as f32);
        if silu {
            transform(x, block, &Value::<true> { weight, epsilon })
        } else {
            transform(x, block, &Value::<false> { weight, epsilon })
        }
    }

    fn gradients(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        epsilon: f64,
        silu: bool,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        if [x.dtype(), weight.dtype(), grad.dtype()] != [DType::F32; 3] {
            return composed_gradients::<Self>(x, weight, grad, epsilon, silu);
        }
        let width = row_width(&x);
        let walk = Walk { segments: 1, part: PART * width.max(1), block: block_of_rows(width), sums: width };
        let (x, weight) = (contiguous(x), contiguous(weight));
        let (x, weight, epsilon) = (elements(&x), elements(&weight), epsilon as f32);
        let (grad, sums) = if silu {
            transform_and_sum(grad, &walk, &Slopes::<true> { x, weight, epsilon })
        } else {
            transform_and_sum(grad, &walk, &Slopes::<false> { x, weight, epsilon })
        };
        (grad, from_values(sums, Shape::new([width])))
    }
}

pub(crate) struct Value<'a, const SILU: bool> {
    pub weight: &'a [f32],
    pub epsilon: f32,
}

impl<const SILU: bool> Kernel for Value<'_, SILU> {
    #[inline(always)]
    fn run(&self, _start: usize, block: &mut [f32]) {
        for row in block.chunks_exact_mut(self.weight.len()) {
            let scale = scale(row, self.epsilon);
            for (x, &weight) in row.iter_mut().zip(self.weight) {
                let y = *x * scale * weight;
                *x = if SILU { silu::value(y) } else { y };
            }
        }
    }
}

/// Turns the gradient by the value into the one by x; sums that by the weight.
struct Slopes<'a, const SILU: bool> {
    x: &'a [f32],
    weight: &'a [f32],
    epsilon: f32,
}

impl<const SILU: bool> SummingKernel for Slopes<'_, SILU> {
    /// With s the scale, g the gradient by the norm and h = g·weight: `s·h - x·s³·mean(h·x)` by x, g·x·s by the weight.
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32], sums: &mut [f32]) {
        let width = self.weight.len();
        for (grad, x) in block.chunks_exact_mut(width).zip(self.x[start..].chunks_exact(width)) {
            let scale = scale(x, self.epsilon);
            for (((g, &x), &weight), total) in grad.iter_mut().zip(x).zip(self.weight).zip(&mut *sums) {
                let y = x * scale;
                let by_norm = if SILU { *g * silu::slope(y * weight) } else { *g };
                *total += by_norm * y;
                *g = by_norm * weight;
            }
            let along_y = sum(grad, x, |h, x| h * (x * scale)) / width as f32;
            for (h, &x) in grad.iter_mut().zip(x) {
                *h = (*h - x * scale * along_y) * scale;
            }
        }
    }
}

/// `1 / √(mean(x²) + ε)`.
#[inline(always)]
fn scale(row: &[f32], epsilon: f32) -> f32 {
    1.0 / (sum(row, row, |x, _| x * x) / row.len() as f32 + epsilon).sqrt()
}

fn composed_value<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, epsilon: f64, silu: bool) -> FloatTensor<B> {
    let dtype = x.dtype();
    let weight = as_row::<B>(widened::<B>(weight), x.rank());
    let x = widened::<B>(x);
    let root = composed_root::<B>(x.clone(), epsilon);
    let y = B::float_mul(B::float_div(x, root), weight);
    B::float_cast(if silu { silu::composed_value::<B>(y) } else { y }, dtype.into())
}

fn composed_gradients<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    grad: FloatTensor<B>,
    epsilon: f64,
    silu: bool,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (dtype, shape, last) = (x.dtype(), x.shape(), x.rank() - 1);
    let (x, mut grad) = (widened::<B>(x), widened::<B>(grad));
    let weight = as_row::<B>(widened::<B>(weight), shape.num_dims());
    let root = composed_root::<B>(x.clone(), epsilon);
    let y = B::float_div(x, root.clone());
    if silu {
        grad = silu::composed_gradient::<B>(B::float_mul(y.clone(), weight.clone()), grad);
    }
    let terms = B::float_mul(grad.clone(), y.clone());
    let h = B::float_mul(grad, weight);
    let along_y = B::float_mean_dim(B::float_mul(h.clone(), y.clone()), last);
    let by_x = B::float_div(B::float_sub(h, B::float_mul(y, along_y)), root);
    let rows = Shape::new([shape.num_elements() / shape[last].max(1), shape[last]]);
    let sums = B::float_sum_dim(B::float_reshape(terms, rows), 0);
    let by_weight = B::float_reshape(sums, Shape::new([shape[last]]));
    (B::float_cast(by_x, dtype.into()), B::float_cast(by_weight, dtype.into()))
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

/// The backward step. Its parents are x and the weight.
#[derive(Debug)]
struct Step;

impl<B: RmsNorm> Backward<B, 2> for Step {
    type State = (NodeId, NodeId, f64, bool);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (x, weight, epsilon, silu) = ops.state;
        let x = checkpointer.retrieve_node_output(x);
        let weight = checkpointer.retrieve_node_output(weight);
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight) = B::gradients(x, weight, grad, epsilon, silu);
        for (parent, grad) in ops.parents.into_iter().zip([x, weight]) {
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
    weight: NodeId,
    epsilon: f64,
    silu: bool,
    backend: PhantomData<B>,
}

impl<B: RmsNorm> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, value: NodeId) {
        let x = states.get_state::<FloatTensor<B>>(&self.x);
        let weight = states.get_state::<FloatTensor<B>>(&self.weight);
        states.save(value, B::value(x, weight, self.epsilon, self.silu));
    }
}

impl<B: RmsNorm, C: CheckpointStrategy> RmsNorm for Autodiff<B, C> {
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, epsilon: f64, silu: bool) -> FloatTensor<Self> {
        let again = Again::<B> { x: x.id(), weight: weight.id(), epsilon, silu, backend: PhantomData };
        let preparation = Step
            .prepare::<C>([x.node(), weight.node()])
            .memory_bound()
            .retro_forward(again)
            .parents([&x, &weight])
            .stateful();
        match preparation {
            OpsKind::Tracked(mut tracked) => {
                let state = (tracked.checkpoint(&x), tracked.checkpoint(&weight), epsilon, silu);
                tracked.finish(state, B::value(x.into_primitive(), weight.into_primitive(), epsilon, silu))
            }
            OpsKind::UnTracked(untracked) => {
                untracked.finish(B::value(x.into_primitive(), weight.into_primitive(), epsilon, silu))
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

    fn ours_silu(x: Tensor<3>) -> Tensor<3> {
        let weight = weight(&x);
        rms_norm_silu(x, weight, EPSILON)
    }

    fn reference_silu(x: Tensor<3>) -> Tensor<3> {
        burn::tensor::activation::silu(reference(x))
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_in_double_precision() {
        testing::rows(ours, reference, 2e-6);
        testing::rows(ours_silu, reference_silu, 3e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_for_any_layout() {
        testing::layouts(ours, reference, 5e-6);
        testing::layouts(ours_silu, reference_silu, 5e-6);
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
                    let ours = gradient(&|x, weight| rms_norm_silu(x, weight, EPSILON));
                    let silu = |x, weight| burn::tensor::activation::silu(composed(x, weight));
                    testing::assert_near(&ours, &gradient(&silu), 1e-5);
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
        testing::spoilt_row(ours_silu, f32::NAN);
        testing::spoilt_row(ours_silu, f32::INFINITY);
    }

    #[test]
    #[should_panic(expected = "expected 4, got 3")]
    fn a_weight_of_another_width_is_a_bug() {
        rms_norm(Tensor::<2>::zeros([2, 3], &device()), Tensor::ones([4], &device()), EPSILON);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        let (weight, x, epsilon) = (&noise(testing::WIDTH, 3)[..], &noise(testing::LARGE, 5)[..], EPSILON as f32);
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours));
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours_silu));
        testing::same_for_any_instruction_set(&Value::<false> { weight, epsilon });
        testing::same_for_any_instruction_set(&Value::<true> { weight, epsilon });
        let sums = weight.len();
        testing::summing_is_the_same_for_any_instruction_set(&Slopes::<false> { x, weight, epsilon }, sums);
        testing::summing_is_the_same_for_any_instruction_set(&Slopes::<true> { x, weight, epsilon }, sums);
    }
}
