//! The extension of Burn's backends by functions of one tensor whose gradient needs that tensor alone.
//!
//! One trait serves them all: the recording of the gradient is the same for each, and the function is a parameter.

use std::marker::PhantomData;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::retro_forward::RetroForward;
use burn::backend::autodiff::checkpoint::state::BackwardStates;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, Dispatch, Flex, backend_extension};
use burn::tensor::Tensor;

use crate::blocks::{BLOCK, block_of_rows, contiguous, elements, row_width, transform};
use crate::{elu, gelu, layer_norm, silu};

/// A function of one tensor.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Function {
    Gelu,
    Silu,
    Elu,
    LayerNorm { epsilon: f64 },
}

impl Function {
    /// Applies the function to `x` on whatever device `x` is.
    pub(crate) fn of<const D: usize>(self, x: Tensor<D>) -> Tensor<D> {
        Tensor::from_dispatch(<Dispatch as Unary>::value(x.into_dispatch(), self))
    }

    fn composed_value<B: Backend>(self, x: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Gelu => gelu::composed_value::<B>(x),
            Self::Silu => silu::composed_value::<B>(x),
            Self::Elu => elu::composed_value::<B>(x),
            Self::LayerNorm { epsilon } => layer_norm::composed_value::<B>(x, epsilon),
        }
    }

    fn composed_gradient<B: Backend>(self, x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
        match self {
            Self::Gelu => gelu::composed_gradient::<B>(x, grad),
            Self::Silu => silu::composed_gradient::<B>(x, grad),
            Self::Elu => elu::composed_gradient::<B>(x, grad),
            Self::LayerNorm { epsilon } => layer_norm::composed_gradient::<B>(x, grad, epsilon),
        }
    }
}

/// A backend that has the functions: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait Unary: Backend {
    /// The function's value at `x`.
    fn value(x: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        function.composed_value::<Self>(x)
    }

    /// The gradient by `x` of a loss whose gradient by the value is `grad`.
    fn gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        function.composed_gradient::<Self>(x, grad)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl Unary for burn::backend::Cube {}

impl Unary for Flex {
    fn value(x: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        if x.dtype() != DType::F32 {
            return function.composed_value::<Self>(x);
        }
        let width = row_width(&x);
        match function {
            Function::Gelu => transform(x, BLOCK, &gelu::Value),
            Function::Silu => transform(x, BLOCK, &silu::Value),
            Function::Elu => transform(x, BLOCK, &elu::Value),
            Function::LayerNorm { epsilon } => {
                transform(x, block_of_rows(width), &layer_norm::Value { width, epsilon: epsilon as f32 })
            }
        }
    }

    fn gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        if x.dtype() != DType::F32 || grad.dtype() != DType::F32 {
            return function.composed_gradient::<Self>(x, grad);
        }
        let width = row_width(&x);
        let x = contiguous(x);
        let x = elements(&x);
        match function {
            Function::Gelu => transform(grad, BLOCK, &gelu::Gradient { x }),
            Function::Silu => transform(grad, BLOCK, &silu::Gradient { x }),
            Function::Elu => transform(grad, BLOCK, &elu::Gradient { x }),
            Function::LayerNorm { epsilon } => {
                transform(grad, block_of_rows(width), &layer_norm::Gradient { x, width, epsilon: epsilon as f32 })
            }
        }
    }
}

/// The backward step of a function.
#[derive(Debug)]
struct Step;

impl<B: Unary> Backward<B, 1> for Step {
    type State = (NodeId, Function);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (x, function) = ops.state;
        let x = checkpointer.retrieve_node_output(x);
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::gradient(x, grad, function));
    }
}

/// Computes the value again in the backward pass, where the graph is checkpointed.
#[derive(Debug)]
struct Again<B> {
    x: NodeId,
    function: Function,
    backend: PhantomData<B>,
}

impl<B: Unary> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, value: NodeId) {
        let x = states.get_state::<FloatTensor<B>>(&self.x);
        states.save(value, B::value(x, self.function));
    }
}

impl<B: Unary, C: CheckpointStrategy> Unary for Autodiff<B, C> {
    fn value(x: FloatTensor<Self>, function: Function) -> FloatTensor<Self> {
        let again = Again::<B> { x: x.id(), function, backend: PhantomData };
        let preparation = Step.prepare::<C>([x.node()]).memory_bound().retro_forward(again).parents([&x]).stateful();
        match preparation {
            OpsKind::Tracked(mut tracked) => {
                let state = (tracked.checkpoint(&x), function);
                tracked.finish(state, B::value(x.into_primitive(), function))
            }
            OpsKind::UnTracked(untracked) => untracked.finish(B::value(x.into_primitive(), function)),
        }
    }
}
