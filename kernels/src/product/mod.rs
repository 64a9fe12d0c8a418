//! Linear maps whose products are in bf16, sums in `f32` (mixed precision: Micikevicius et al., arXiv 1710.03740; with
//! bf16: Kalamkar et al., arXiv 1905.12322).

mod composed;
mod multiply;
mod pack;
#[cfg(test)]
mod tests;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, Dispatch, Flex, Shape, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, assert_shape};

use crate::blocks::{contiguous, elements, from_values, row_width};
use crate::conv::column_sums;
use crate::lanes::InstructionSet;
use multiply::multiply;
use pack::Operand;

/// `x·weight + bias` with `x` and `weight` rounded to bf16 and the sums in `f32`; so are the products in its gradients.
///
/// A rounded number is within 2⁻⁸ of itself, and below 1.2e-38 becomes zero. On Flex in `f32` a sum of `K` products
/// then is within `K·2⁻²⁴` of the sum of their sizes of the exact one. Other backends and float types multiply bf16
/// tensors, and so round the result as well.
///
/// # Shapes
///
/// - `x`: `[…, K]`
/// - `weight`: `[K, N]`
/// - `bias`: `[N]`
/// - output: `[…, N]`
///
/// # Panics
///
/// If the shapes do not fit.
pub fn linear_bf16<const R: usize>(x: Tensor<R>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<R> {
    let [depth, columns] = weight.dims();
    assert_eq!(x.dims()[R - 1], depth, "the last dimension of x is the first of the weight");
    let bias = bias.unwrap_or_else(|| Tensor::zeros([columns], (&x.device(), x.dtype())));
    assert_shape!(bias, [columns]);
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Linear>::value(x, weight, bias))
}

/// A backend that has the linear map: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait Linear: Backend {
    /// The value.
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::value::<Self>(x, weight, bias)
    }

    /// The gradient by `x` of a loss whose gradient by the value is `grad`.
    fn gradient(weight: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::gradient::<Self>(weight, grad)
    }

    /// The gradient by the weight of that loss.
    fn weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::weight_gradient::<Self>(x, grad)
    }

    /// The gradient by the bias of that loss.
    fn bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::bias_gradient::<Self>(grad)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl Linear for burn::backend::Cube {}

impl Linear for Flex {
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        if [x.dtype(), weight.dtype(), bias.dtype()] != [DType::F32; 3] {
            return composed::value::<Self>(x, weight, bias);
        }
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let values = multiply(InstructionSet::widest(), along(&x), across(&weight), Some(elements(&bias)));
        from_values(values, of_width(&x, weight.shape()[1]))
    }

    fn gradient(weight: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if [weight.dtype(), grad.dtype()] != [DType::F32; 2] {
            return composed::gradient::<Self>(weight, grad);
        }
        let (weight, grad) = (contiguous(weight), contiguous(grad));
        let values = multiply(InstructionSet::widest(), along(&grad), along(&weight), None);
        from_values(values, of_width(&grad, weight.shape()[0]))
    }

    fn weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if [x.dtype(), grad.dtype()] != [DType::F32; 2] {
            return composed::weight_gradient::<Self>(x, grad);
        }
        let (x, grad) = (contiguous(x), contiguous(grad));
        let values = multiply(InstructionSet::widest(), across(&x), across(&grad), None);
        from_values(values, Shape::new([row_width(&x), row_width(&grad)]))
    }

    fn bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if grad.dtype() != DType::F32 {
            return composed::bias_gradient::<Self>(grad);
        }
        let (width, grad) = (row_width(&grad), contiguous(grad));
        from_values(column_sums(elements(&grad), width), Shape::new([width]))
    }
}

/// The rows of `x` as the lines of an operand.
fn along(x: &FlexTensor) -> Operand<'_> {
    let (width, values) = (row_width(x), elements(x));
    Operand { values, lines: values.len() / width.max(1), depth: width, along: true }
}

/// The columns of `x` as the lines of an operand.
fn across(x: &FlexTensor) -> Operand<'_> {
    let (width, values) = (row_width(x), elements(x));
    Operand { values, lines: width, depth: values.len() / width.max(1), along: false }
}

/// The shape of `x` with rows of another width.
fn of_width(x: &FlexTensor, width: usize) -> Shape {
    let mut shape = x.shape();
    let last = shape.num_dims() - 1;
    shape[last] = width;
    shape
}

/// The backward step of input, weight and bias.
#[derive(Debug)]
struct Step;

impl<B: Linear> Backward<B, 3> for Step {
    type State = (NodeId, NodeId);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (x, weight) = ops.state;
        let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
        let weight: FloatTensor<B> = checkpointer.retrieve_node_output(weight);
        let grad = grads.consume::<B>(&ops.node);
        let [of_x, of_weight, of_bias] = ops.parents;
        if let Some(node) = of_x {
            grads.register::<B>(node.id, B::gradient(weight, grad.clone()));
        }
        if let Some(node) = of_weight {
            grads.register::<B>(node.id, B::weight_gradient(x, grad.clone()));
        }
        if let Some(node) = of_bias {
            grads.register::<B>(node.id, B::bias_gradient(grad));
        }
    }
}

impl<B: Linear, C: CheckpointStrategy> Linear for Autodiff<B, C> {
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>) -> FloatTensor<Self> {
        match Step.prepare::<C>([x.node(), weight.node(), bias.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut tracked) => {
                let state = (tracked.checkpoint(&x), tracked.checkpoint(&weight));
                let value = B::value(x.into_primitive(), weight.into_primitive(), bias.into_primitive());
                tracked.finish(state, value)
            }
            OpsKind::UnTracked(untracked) => {
                untracked.finish(B::value(x.into_primitive(), weight.into_primitive(), bias.into_primitive()))
            }
        }
    }
}
