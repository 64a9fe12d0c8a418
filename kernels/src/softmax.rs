//! The softmax function over the last dimension, and its logarithm.

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

/// `exp(x) / Σ exp(x)` over the last dimension, from differences to the largest element.
///
/// A masked place is -∞ and gets 0; a row needs at least one place that is not masked.
///
/// # Shapes
///
/// - `x`, output: `[.., D]`
pub fn softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Softmax>::value(x.into_dispatch(), Form::Probability))
}

/// `x - log Σ exp(x)` over the last dimension, from differences to the largest element.
///
/// A masked place is -∞ and stays so; a row needs at least one place that is not masked. For the loss of a class there
/// is [`cross_entropy`](crate::cross_entropy()), which stores no logarithms.
///
/// # Shapes
///
/// - `x`, output: `[.., D]`
pub fn log_softmax<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Tensor::from_dispatch(<Dispatch as Softmax>::value(x.into_dispatch(), Form::Logarithm))
}

/// What a row becomes.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Form {
    Probability,
    Logarithm,
}

/// A backend that has the functions: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait Softmax: Backend {
    /// The softmax of `x`, or its logarithm.
    fn value(x: FloatTensor<Self>, form: Form) -> FloatTensor<Self> {
        composed_value::<Self>(x, form)
    }

    /// The gradient by x of a loss whose gradient by the value `y` is `grad`.
    fn gradient(y: FloatTensor<Self>, grad: FloatTensor<Self>, form: Form) -> FloatTensor<Self> {
        composed_gradient::<Self>(y, grad, form)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl Softmax for burn::backend::Cube {}

impl Softmax for Flex {
    fn value(x: FloatTensor<Self>, form: Form) -> FloatTensor<Self> {
        if x.dtype() != DType::F32 {
            return composed_value::<Self>(x, form);
        }
        let width = row_width(&x);
        transform(x, block_of_rows(width), &Value { width, form })
    }

    fn gradient(y: FloatTensor<Self>, grad: FloatTensor<Self>, form: Form) -> FloatTensor<Self> {
        if [y.dtype(), grad.dtype()] != [DType::F32; 2] {
            return composed_gradient::<Self>(y, grad, form);
        }
        let width = row_width(&y);
        let y = contiguous(y);
        transform(grad, block_of_rows(width), &Gradient { y: elements(&y), width, form })
    }
}

struct Value {
    width: usize,
    form: Form,
}

impl Kernel for Value {
    #[inline(always)]
    fn run(&self, _start: usize, block: &mut [f32]) {
        for row in block.chunks_exact_mut(self.width) {
            let largest = max(row);
            match self.form {
                Form::Probability => {
                    for x in row.iter_mut() {
                        *x = exp(*x - largest);
                    }
                    let scale = 1.0 / sum(row, row, |x, _| x);
                    for x in row {
                        *x *= scale;
                    }
                }
                Form::Logarithm => {
                    let log = ln(sum(row, row, |x, _| exp(x - largest)));
                    for x in row {
                        *x = (*x - largest) - log;
                    }
                }
            }
        }
    }
}

struct Gradient<'a> {
    y: &'a [f32],
    width: usize,
    form: Form,
}

impl Kernel for Gradient<'_> {
    /// `y·(g - Σ g·y)`; of the logarithm `g - exp(y)·Σ g`.
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        for (grad, y) in block.chunks_exact_mut(self.width).zip(self.y[start..].chunks_exact(self.width)) {
            match self.form {
                Form::Probability => {
                    let along_y = sum(grad, y, |g, y| g * y);
                    for (g, &y) in grad.iter_mut().zip(y) {
                        *g = y * (*g - along_y);
                    }
                }
                Form::Logarithm => {
                    let total = sum(grad, grad, |g, _| g);
                    for (g, &y) in grad.iter_mut().zip(y) {
                        *g -= exp(y) * total;
                    }
                }
            }
        }
    }
}

fn composed_value<B: Backend>(x: FloatTensor<B>, form: Form) -> FloatTensor<B> {
    let last = x.rank() - 1;
    match form {
        Form::Probability => B::softmax(x, last),
        Form::Logarithm => B::log_softmax(x, last),
    }
}

fn composed_gradient<B: Backend>(y: FloatTensor<B>, grad: FloatTensor<B>, form: Form) -> FloatTensor<B> {
    let last = y.rank() - 1;
    match form {
        Form::Probability => {
            let along_y = B::float_sum_dim(B::float_mul(grad.clone(), y.clone()), last);
            B::float_mul(y, B::float_sub(grad, along_y))
        }
        Form::Logarithm => {
            let total = B::float_sum_dim(grad.clone(), last);
            B::float_sub(grad, B::float_mul(B::float_exp(y), total))
        }
    }
}

/// The backward step; its state is the value, which costs no memory where the next operation keeps it too.
#[derive(Debug)]
struct Step;

impl<B: Softmax> Backward<B, 1> for Step {
    type State = (FloatTensor<B>, Form);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let (y, form) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::gradient(y, grad, form));
    }
}

impl<B: Softmax, C: CheckpointStrategy> Softmax for Autodiff<B, C> {
    fn value(x: FloatTensor<Self>, form: Form) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        match Step.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => {
                let y = B::value(x, form);
                tracked.finish((y.clone(), form), y)
            }
            OpsKind::UnTracked(untracked) => untracked.finish(B::value(x, form)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    fn ours(x: Tensor<3>) -> Tensor<3> {
        softmax(x)
    }

    fn reference(x: Tensor<3>) -> Tensor<3> {
        let exp = x.exp();
        exp.clone() / exp.sum_dim(2)
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
    fn masked_places_get_nothing_and_large_numbers_do_not_overflow() {
        let row = [1e30, f32::NEG_INFINITY, 1e30, -1e30];
        assert_eq!(testing::map_row(ours, &row), [0.5, 0.0, 0.5, 0.0]);
        assert!(testing::map_row(ours, &[f32::NEG_INFINITY; 3]).iter().all(|y| y.is_nan()));
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
        testing::same_for_any_instruction_set(&Value { width, form: Form::Probability });
        testing::same_for_any_instruction_set(&Gradient { y: &y, width, form: Form::Probability });
    }
}

#[cfg(test)]
mod logarithm_tests {
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
        testing::same_for_any_instruction_set(&Value { width, form: Form::Logarithm });
        testing::same_for_any_instruction_set(&Gradient { y: &y, width, form: Form::Logarithm });
    }
}
