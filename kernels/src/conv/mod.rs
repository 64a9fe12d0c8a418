//! Convolutions of clips and of sound, channels last.
//!
//! A direct convolution: no matrix the size of input times window is ever made, and no padded copy. See `apply` for
//! the value and the gradient by the input, and `weight_gradient` for the rest.

mod apply;
mod composed;
mod map;
#[cfg(test)]
mod tests;
mod weight_gradient;

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::flex::{FlexTensor, Layout};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Bytes, DType, Dispatch, Flex, Shape, TensorMetadata, backend_extension};
use burn::tensor::{Tensor, assert_shape};

use crate::blocks::{contiguous, elements};
use crate::lanes::InstructionSet;
use apply::{Weight, apply};
pub use map::Axis;
use map::Map;
use weight_gradient::Factor;
pub(crate) use weight_gradient::column_sums;

/// The convolution of a clip: `y[t'] = bias + Σₖ x[stride·t' + dilation·k - before] · weight[k]`, so on each axis, with
/// zeros outside of `x`.
///
/// # Shapes
///
/// - `x`: `[B, T, H, W, C]`
/// - `weight`: `[k_t, k_h, k_w, C, C']`
/// - `bias`: `[C']`
/// - `axes`: of T, H and W
/// - output: `[B, T', H', W', C']` with the lengths of [`Axis::windows`]
///
/// # Panics
///
/// If the channels of the weight are not those of `x` and of the bias, if the weight has no taps, or if a stride or a
/// dilation is zero.
pub fn conv3d(x: Tensor<5>, weight: Tensor<5>, bias: Option<Tensor<1>>, axes: [Axis; 3]) -> Tensor<5> {
    let ([_, t, h, w, _], taps) = (x.dims(), taps(&weight));
    let fine = [t, h, w];
    let coarse = [0, 1, 2].map(|i| axes[i].windows(fine[i], taps[i]));
    convolved(x, weight, bias, Map { axes, taps, fine, coarse, up: false })
}

/// The transposed convolution of a clip, for decoders: each place of `x` adds its product with the weight to the places
/// of the window that a [`conv3d`] of the same axes would have had there; the places of the padding are left out.
///
/// # Shapes
///
/// - `x`: `[B, T, H, W, C]`
/// - `weight`: `[k_t, k_h, k_w, C, C']`
/// - `bias`: `[C']`
/// - `axes`: of T, H and W
/// - output: `[B, T', H', W', C']` with the lengths of [`Axis::places`]
///
/// # Panics
///
/// As [`conv3d`].
pub fn conv3d_transposed(x: Tensor<5>, weight: Tensor<5>, bias: Option<Tensor<1>>, axes: [Axis; 3]) -> Tensor<5> {
    let ([_, t, h, w, _], taps) = (x.dims(), taps(&weight));
    let coarse = [t, h, w];
    let fine = [0, 1, 2].map(|i| axes[i].places(coarse[i], taps[i]));
    convolved(x, weight, bias, Map { axes, taps, fine, coarse, up: true })
}

/// The convolution of a signal: [`conv3d`] on one axis.
///
/// # Shapes
///
/// - `x`: `[B, T, C]`
/// - `weight`: `[k, C, C']`
/// - `bias`: `[C']`
/// - output: `[B, T', C']` with the length of [`Axis::windows`]
///
/// # Panics
///
/// As [`conv3d`].
pub fn conv1d(x: Tensor<3>, weight: Tensor<3>, bias: Option<Tensor<1>>, axis: Axis) -> Tensor<3> {
    on_one_axis(conv3d, x, weight, bias, axis)
}

/// The transposed convolution of a signal: [`conv3d_transposed`] on one axis.
///
/// A causal one of stride `s` is that with `padding(0, k - s)`: `T' = s·T`, and `y[s·t..]` hears nothing of `x[t + 1]`.
///
/// # Shapes
///
/// - `x`: `[B, T, C]`
/// - `weight`: `[k, C, C']`
/// - `bias`: `[C']`
/// - output: `[B, T', C']` with the length of [`Axis::places`]
///
/// # Panics
///
/// As [`conv3d`].
pub fn conv1d_transposed(x: Tensor<3>, weight: Tensor<3>, bias: Option<Tensor<1>>, axis: Axis) -> Tensor<3> {
    on_one_axis(conv3d_transposed, x, weight, bias, axis)
}

type Convolution3 = fn(Tensor<5>, Tensor<5>, Option<Tensor<1>>, [Axis; 3]) -> Tensor<5>;

fn on_one_axis(conv: Convolution3, x: Tensor<3>, weight: Tensor<3>, bias: Option<Tensor<1>>, axis: Axis) -> Tensor<3> {
    let ([b, t, c], [k, input, output]) = (x.dims(), weight.dims());
    let (x, weight) = (x.reshape([b, 1, 1, t, c]), weight.reshape([1, 1, k, input, output]));
    conv(x, weight, bias, [Axis::default(), Axis::default(), axis]).flatten(1, 3)
}

fn taps(weight: &Tensor<5>) -> [usize; 3] {
    let [t, h, w, _, _] = weight.dims();
    [t, h, w]
}

fn convolved(x: Tensor<5>, weight: Tensor<5>, bias: Option<Tensor<1>>, map: Map) -> Tensor<5> {
    let [_, _, _, input, output] = weight.dims();
    assert_shape!(x, [_, _, _, _, input]);
    assert!(!map.taps.contains(&0), "a convolution without taps: {:?}", map.taps);
    assert!(map.axes.iter().all(|axis| axis.stride > 0 && axis.dilation > 0), "no step: {:?}", map.axes);
    let bias = bias.unwrap_or_else(|| Tensor::zeros([output], (&x.device(), x.dtype())));
    assert_shape!(bias, [output]);
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as Convolution>::value(x, weight, bias, map))
}

/// A backend that has the convolutions: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait Convolution: Backend {
    /// The convolution of `x` along `map`.
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>, map: Map) -> FloatTensor<Self> {
        composed::value::<Self>(x, weight, bias, map)
    }

    /// The gradient by the input of a loss whose gradient by the value is `grad`.
    fn gradient(weight: FloatTensor<Self>, grad: FloatTensor<Self>, map: Map) -> FloatTensor<Self> {
        composed::gradient::<Self>(weight, grad, map)
    }

    /// The gradient by the weight of that loss.
    fn weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>, map: Map) -> FloatTensor<Self> {
        composed::weight_gradient::<Self>(x, grad, map)
    }

    /// The gradient by the bias of that loss.
    fn bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::bias_gradient::<Self>(grad)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl Convolution for burn::backend::Cube {}

impl Convolution for Flex {
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>, map: Map) -> FloatTensor<Self> {
        if [x.dtype(), weight.dtype(), bias.dtype()] != [DType::F32; 3] {
            return composed::value::<Self>(x, weight, bias, map);
        }
        let channels = [weight.shape()[3], weight.shape()[4]];
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let weight = Weight { values: elements(&weight), channels, exchanged: false };
        let clips = x.shape()[0];
        let values = apply(InstructionSet::widest(), &map, clips, elements(&x), weight, elements(&bias));
        clip(clips, map.output(), channels[1], values)
    }

    fn gradient(weight: FloatTensor<Self>, grad: FloatTensor<Self>, map: Map) -> FloatTensor<Self> {
        if [weight.dtype(), grad.dtype()] != [DType::F32; 2] {
            return composed::gradient::<Self>(weight, grad, map);
        }
        let [input, output] = [weight.shape()[3], weight.shape()[4]];
        let (weight, grad) = (contiguous(weight), contiguous(grad));
        let weight = Weight { values: elements(&weight), channels: [output, input], exchanged: true };
        let (clips, back) = (grad.shape()[0], map.adjoint());
        let values = apply(InstructionSet::widest(), &back, clips, elements(&grad), weight, &vec![0.0; input]);
        clip(clips, back.output(), input, values)
    }

    fn weight_gradient(x: FloatTensor<Self>, grad: FloatTensor<Self>, map: Map) -> FloatTensor<Self> {
        if [x.dtype(), grad.dtype()] != [DType::F32; 2] {
            return composed::weight_gradient::<Self>(x, grad, map);
        }
        let (x, grad) = (contiguous(x), contiguous(grad));
        let [input, output] = [&x, &grad].map(|x| Factor { values: elements(x), channels: x.shape()[4] });
        let (fine, coarse) = if map.up { (output, input) } else { (input, output) };
        let [t, h, w] = map.taps;
        let shape = Shape::new([t, h, w, input.channels, output.channels]);
        let set = InstructionSet::widest();
        tensor(shape, weight_gradient::weight_gradient(set, &map, x.shape()[0], fine, coarse))
    }

    fn bias_gradient(grad: FloatTensor<Self>) -> FloatTensor<Self> {
        if grad.dtype() != DType::F32 {
            return composed::bias_gradient::<Self>(grad);
        }
        let (channels, grad) = (grad.shape()[4], contiguous(grad));
        tensor(Shape::new([channels]), column_sums(elements(&grad), channels))
    }
}

fn clip(clips: usize, [t, h, w]: [usize; 3], channels: usize, values: Vec<f32>) -> FlexTensor {
    tensor(Shape::new([clips, t, h, w, channels]), values)
}

fn tensor(shape: Shape, values: Vec<f32>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape), DType::F32)
}

/// The backward step of input, weight and bias.
#[derive(Debug)]
struct Step;

impl<B: Convolution> Backward<B, 3> for Step {
    type State = (NodeId, NodeId, Map);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (x, weight, map) = ops.state;
        let x: FloatTensor<B> = checkpointer.retrieve_node_output(x);
        let weight: FloatTensor<B> = checkpointer.retrieve_node_output(weight);
        let grad = grads.consume::<B>(&ops.node);
        let [of_x, of_weight, of_bias] = ops.parents;
        if let Some(node) = of_x {
            grads.register::<B>(node.id, B::gradient(weight, grad.clone(), map));
        }
        if let Some(node) = of_weight {
            grads.register::<B>(node.id, B::weight_gradient(x, grad.clone(), map));
        }
        if let Some(node) = of_bias {
            grads.register::<B>(node.id, B::bias_gradient(grad));
        }
    }
}

impl<B: Convolution, C: CheckpointStrategy> Convolution for Autodiff<B, C> {
    fn value(x: FloatTensor<Self>, weight: FloatTensor<Self>, bias: FloatTensor<Self>, map: Map) -> FloatTensor<Self> {
        match Step.prepare::<C>([x.node(), weight.node(), bias.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut tracked) => {
                let state = (tracked.checkpoint(&x), tracked.checkpoint(&weight), map);
                let value = B::value(x.into_primitive(), weight.into_primitive(), bias.into_primitive(), map);
                tracked.finish(state, value)
            }
            OpsKind::UnTracked(untracked) => {
                let value = B::value(x.into_primitive(), weight.into_primitive(), bias.into_primitive(), map);
                untracked.finish(value)
            }
        }
    }
}
