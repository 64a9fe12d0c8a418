//! The logarithm of the softmax function over the last dimension.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

use crate::blocks::{block_of_rows, contiguous, elements, row_width, transform};
use crate::simd::{Kernel, exp, ln, max, sum};

/// `x - log Σ exp(x)` over the last dimension, from differences to the largest element.
///
/// A masked place is -∞ and stays so; a row needs at least one place that is not masked. For the loss of a class there
/// is [`cross_entropy`](crate::cross_entropy()), which stores no logarithms.
///
/// # Shapes
///
/// - `x`, output: `[.., D]`
pub fn log_softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as LogSoftmax>::value(x.into_dispatch()))
}

/// A backend that has the function: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait LogSoftmax: Backend {
    /// The logarithm of the softmax of `x`.
    fn value(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed_value::<Self>(x)
    }

    /// The gradient by x of a loss whose gradient by the value `y` is `grad`.
    fn gradient(y: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed_gradient::<Self>(y, grad)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl LogSoftmax for burn::backend::Cube {}

impl LogSoftmax for Flex {
    fn value(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if x.dtype() != DType::F32 {
            return composed_value::<Self>(x);
        }
        let width = row_width(&x);
        transform(x, block_of_rows(width), &Value { width })
    }

    fn gradient(y: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if [y.dtype(), grad.dtype()] != [DType::F32; 2] {
            return composed_gradient::<Self>(y, grad);
        }
        let width = row_width(&y);
        let y = contiguous(y);
        transform(grad, block_of_rows(width), &Gradient { y: elements(&y), width })
    }
}

struct Value {
    width: usize,
}

impl Kernel for Value {
    #[inline(always)]
    fn run(&self, _start: usize, block: &mut [f32]) {
        for row in block.chunks_exact_mut(self.width) {
            let largest = max(row);
            let log = ln(sum(row, row, |x, _| exp(x - largest)));
            for x in row {
                *x = (*x - largest) - log;
            }
        }
    }
}

struct Gradient<'a> {
    y: &'a [f32],
    width: usize,
}

impl Kernel for Gradient<'_> {
    /// `g - exp(y)·Σ g`.
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        for (grad, y) in block.chunks_exact_mut(self.width).zip(self.y[start..].chunks_exact(self.width)) {
            let total = sum(grad, grad, |g, _| g);
            for (g, &y) in grad.iter_mut().zip(y) {
                *g -= exp(y) * total;
            }
        }
    }
}

fn composed_value<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let last = x.rank() - 1;
    B::log_softmax(x, last)
}

fn composed_gradient<B: Backend>(y: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let last = y.rank() - 1;
    let total = B::float_sum_dim(grad.clone(), last);
    B::float_sub(grad, B::float_mul(B::float_exp(y), total))
}

/// The backward step; its state is the value, which costs no memory where the next operation keeps it too.
#[derive(Debug)]
struct Step;

impl<B: LogSoftmax> Backward<B, 1> for Step {
    type State = FloatTensor<B>;

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let y = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::gradient(y, grad));
    }
}

impl<B: LogSoftmax, C: CheckpointStrategy> LogSoftmax for Autodiff<B, C> {
    fn value(x: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match Step.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => {
                let y = B::value(x);
                tracked.finish(y.clone(), y)
            }
            OpsKind::UnTracked(untracked) => untracked.finish(B::value(x)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn ours(x: Tensor<3>) -> Tensor<3> {
        log_softmax(x)
    }

    fn reference(x: Tensor<3>) -> Tensor<3> {
        x.clone() - x.exp().sum_dim(2).log()
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_in_double_precision() {
        testing::rows(ours, reference, 1e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_for_any_layout() {
        testing::layouts(ours, reference, 2e-6);
    }

    #[test]
    fn masked_places_stay_out_and_large_numbers_do_not_overflow() {
        const OUT: f32 = f32::NEG_INFINITY;
        let half = -std::f32::consts::LN_2;
        assert_eq!(testing::map_row(ours, &[1e30, OUT, 1e30, -1e30]), [half, OUT, half, -2e30]);
        assert!(testing::map_row(ours, &[OUT; 3]).iter().all(|y| y.is_nan()));
    }

    #[test]
    fn a_nan_spoils_its_row_alone() {
        testing::spoilt_row(ours, f32::NAN);
        testing::spoilt_row(ours, f32::INFINITY);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        let width = testing::WIDTH;
        let y = testing::noise(testing::LARGE, 5);
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours));
        testing::same_for_any_instruction_set(&Value { width });
        testing::same_for_any_instruction_set(&Gradient { y: &y, width });
    }
}
