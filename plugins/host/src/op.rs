//! A plugin's backbone as an operation of Burn: forwards by `forward`, backwards by `vjp`.

use crate::backbone::Pass;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Dispatch, Flex, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::{Error, Result};
use std::sync::Arc;

/// The predictions `[B, L, K or C]` by `theta`, `[N]`, and the values of a field, `[B, L, C]`; of codes, which have no
/// gradient, `x` is whatever `[1, 1, 1]`.
///
/// # Errors
/// Where the plugin fails.
///
/// # Unwinds
/// A backward pass through the predictions, with the [`Error`] where the plugin fails: Burn has no place to return one.
pub fn predict(theta: Tensor<1>, x: Tensor<3>, pass: Pass) -> Result<Tensor<3>> {
    let y = pass.forward(&to_vec(theta.clone().inner()), &to_vec(x.clone().inner()))?;
    let (y, theta, x) = (TensorData::new(y, pass.output()), theta.into_dispatch(), x.into_dispatch());
    Ok(Tensor::from_dispatch(<Dispatch as Hosted>::predict(theta, x, y, Arc::new(pass))))
}

/// A backend that can call plugins: all can, by way of the host's memory.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait Hosted: Backend {
    /// The predictions `y`, as what the plugin made of `theta` and `x`.
    fn predict(theta: FloatTensor<Self>, _x: FloatTensor<Self>, y: TensorData, _pass: Arc<Pass>) -> FloatTensor<Self> {
        Self::float_from_data(y, &theta.device())
    }

    /// The gradients by theta and x of a loss whose gradient by the predictions is `dy`.
    fn gradients(
        theta: FloatTensor<Self>,
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        pass: Arc<Pass>,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let device = theta.device();
        let shape = x.shape();
        let [theta, x, dy] = [theta, x, dy].map(values::<Self>);
        let (by_theta, by_x) = pass.vjp(&theta, &x, &dy).unwrap_or_else(|error| escape(error));
        let count = by_theta.len();
        (
            Self::float_from_data(TensorData::new(by_theta, [count]), &device),
            Self::float_from_data(TensorData::new(by_x, shape), &device),
        )
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl Hosted for burn::backend::Cube {}

impl Hosted for Flex {}

/// The elements on the host: no copy on the CPU, where nobody else holds the tensor.
fn values<B: Backend>(tensor: FloatTensor<B>) -> Vec<f32> {
    let data = burn::tensor::read_sync(B::float_into_data(tensor)).expect("a tensor can be read");
    data.convert::<f32>().try_into_vec().expect("converted to f32 a moment before")
}

/// Leaves by unwinding, without the words of a panic.
fn escape(error: Error) -> ! {
    std::panic::resume_unwind(Box::new(error))
}

/// The backward step. Its parents are theta and x.
#[derive(Debug)]
struct Step;

impl<B: Hosted> Backward<B, 2> for Step {
    type State = (NodeId, NodeId, Arc<Pass>);

    fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (theta, x, pass) = ops.state;
        let theta = checkpointer.retrieve_node_output(theta);
        let x = checkpointer.retrieve_node_output(x);
        let dy = grads.consume::<B>(&ops.node);
        let (by_theta, by_x) = B::gradients(theta, x, dy, pass);
        for (parent, grad) in ops.parents.into_iter().zip([by_theta, by_x]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

impl<B: Hosted, C: CheckpointStrategy> Hosted for Autodiff<B, C> {
    fn predict(theta: FloatTensor<Self>, x: FloatTensor<Self>, y: TensorData, pass: Arc<Pass>) -> FloatTensor<Self> {
        // What is kept for the backward pass is the input alone: `vjp` computes the rest again.
        match Step.prepare::<C>([theta.node(), x.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut tracked) => {
                let state = (tracked.checkpoint(&theta), tracked.checkpoint(&x), pass.clone());
                tracked.finish(state, B::predict(theta.into_primitive(), x.into_primitive(), y, pass))
            }
            OpsKind::UnTracked(untracked) => {
                untracked.finish(B::predict(theta.into_primitive(), x.into_primitive(), y, pass))
            }
        }
    }
}
