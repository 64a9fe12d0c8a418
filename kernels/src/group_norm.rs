//! Group normalisation (Wu and He, arXiv 1803.08494, section 3), channels last.

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

use crate::blocks::{block_of_rows, contiguous, elements, from_values, transform, transform_and_sum};
use crate::group_kernels::{Across, Affine, Grouped, Moments, Slopes, Value};
use crate::layer_norm::widened;
use crate::silu;

/// `(x - mean(x)) / √(var(x) + epsilon) · weight + bias`, with the mean and the variance of each sample and group of
/// channels, over all positions. As many groups as channels: instance normalisation.
///
/// 16-bit floats are normalised in `f32`.
///
/// # Shapes
///
/// - `x`, output: `[B, .., C]`, B samples of positions with C channels
/// - `weight`, `bias`: `[C]`
///
/// # Panics
///
/// If `weight` or `bias` is not `[C]`, or `groups` does not divide C.
pub fn group_norm<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    groups: usize,
    epsilon: f64,
) -> Tensor<D> {
    normalised(x, weight, bias, Settings { groups, epsilon, silu: false })
}

/// `silu(group_norm(x, weight, bias, groups, epsilon))` without a pass of its own.
///
/// # Shapes
///
/// - `x`, output: `[B, .., C]`, B samples of positions with C channels
/// - `weight`, `bias`: `[C]`
///
/// # Panics
///
/// If `weight` or `bias` is not `[C]`, or `groups` does not divide C.
pub fn group_norm_silu<const D: usize>(
    x: Tensor<D>,
    weight: Tensor<1>,
    bias: Tensor<1>,
    groups: usize,
    epsilon: f64,
) -> Tensor<D> {
    normalised(x, weight, bias, Settings { groups, epsilon, silu: true })
}

fn normalised<const D: usize>(x: Tensor<D>, weight: Tensor<1>, bias: Tensor<1>, settings: Settings) -> Tensor<D> {
    let [channels] = weight.dims();
    assert_shape!(x, [.., channels]);
    assert_shape!(bias, [channels]);
    assert!(channels.is_multiple_of(settings.groups), "{} groups of {channels} channels", settings.groups);
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(<Dispatch as GroupNorm>::value(x, weight, bias, settings))
}

/// What is not a tensor.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    groups: usize,
    epsilon: f64,
    /// Whether [`silu`](crate::silu()) follows.
    silu: bool,
}

/// A backend that has the norm: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait GroupNorm: Backend {
    /// The norm of `x`.
    fn value(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        settings: Settings,
    ) -> FloatTensor<Self> {
        composed_value::<Self>(x, weight, bias, settings)
    }

    /// The gradients by `x`, the weight and the bias of a loss whose gradient by the value is `grad`.
    fn gradients(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        settings: Settings,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed_gradients::<Self>(x, weight, bias, grad, settings)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl GroupNorm for burn::backend::Cube {}

impl GroupNorm for Flex {
    fn value(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        settings: Settings,
    ) -> FloatTensor<Self> {
        if [x.dtype(), weight.dtype(), bias.dtype()] != [DType::F32; 3] {
            return composed_value::<Self>(x, weight, bias, settings);
        }
        let grouped = Grouped::new(x.layout().shape(), settings.groups);
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let moments = Moments::of(elements(&x), grouped, settings.epsilon);
        let affine = Affine { moments: &moments, weight: elements(&weight), bias: elements(&bias) };
        let block = block_of_rows(grouped.channels);
        if settings.silu {
            transform(x, block, &Value::<true>(affine))
        } else {
            transform(x, block, &Value::<false>(affine))
        }
    }

    fn gradients(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        settings: Settings,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if [x.dtype(), weight.dtype(), bias.dtype(), grad.dtype()] != [DType::F32; 4] {
            return composed_gradients::<Self>(x, weight, bias, grad, settings);
        }
        let grouped = Grouped::new(x.layout().shape(), settings.groups);
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let (x, weight) = (elements(&x), elements(&weight));
        let moments = Moments::of(x, grouped, settings.epsilon);
        let affine = Affine { moments: &moments, weight, bias: elements(&bias) };
        let walk = grouped.walk();
        let (grad, sums) = if settings.silu {
            transform_and_sum(grad, &walk, &Slopes::<true> { affine, x })
        } else {
            transform_and_sum(grad, &walk, &Slopes::<false> { affine, x })
        };
        let means = grouped.means(&sums, weight);
        let grad = transform(grad, walk.block, &Across { moments: &moments, x, weight, means: &means });
        let row = Shape::new([grouped.channels]);
        let [bias, weight] = grouped.totals(&sums).map(|total| from_values(total, row.clone()));
        (grad, weight, bias)
    }
}

fn composed_value<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    settings: Settings,
) -> FloatTensor<B> {
    let (dtype, shape) = (x.dtype(), x.shape());
    let (y, _) = composed_norm::<B>(split::<B>(x, settings), settings);
    let y = composed_affine::<B>(y, weight, bias);
    let y = if settings.silu { silu::composed_value::<B>(y) } else { y };
    B::float_cast(B::float_reshape(y, shape), dtype.into())
}

fn composed_gradients<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    grad: FloatTensor<B>,
    settings: Settings,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (dtype, shape) = (x.dtype(), x.shape());
    let row = weight.shape();
    let (y, deviation) = composed_norm::<B>(split::<B>(x, settings), settings);
    let mut grad = split::<B>(grad, settings);
    if settings.silu {
        grad = silu::composed_gradient::<B>(composed_affine::<B>(y.clone(), weight.clone(), bias), grad);
    }
    let over_positions = |x| B::float_cast(B::float_reshape(B::float_sum_dims(x, &[0, 1]), row.clone()), dtype.into());
    let by_bias = over_positions(grad.clone());
    let by_weight = over_positions(B::float_mul(grad.clone(), y.clone()));
    let h = B::float_mul(grad, as_groups::<B>(weight, &y));
    let along_one = group_mean::<B>(h.clone());
    let along_y = group_mean::<B>(B::float_mul(h.clone(), y.clone()));
    let across = B::float_sub(B::float_sub(h, along_one), B::float_mul(y, along_y));
    let by_x = B::float_reshape(B::float_div(across, deviation), shape);
    (B::float_cast(by_x, dtype.into()), by_weight, by_bias)
}

/// `[B, .., C]` as `[B, N, G, C / G]`.
fn split<B: Backend>(x: FloatTensor<B>, settings: Settings) -> FloatTensor<B> {
    let grouped = Grouped::new(&x.shape(), settings.groups);
    let shape = [grouped.samples, grouped.positions, settings.groups, grouped.channels / settings.groups];
    B::float_reshape(widened::<B>(x), Shape::new(shape))
}

/// The norm and `√(var + ε)` of `[B, N, G, C / G]`.
fn composed_norm<B: Backend>(x: FloatTensor<B>, settings: Settings) -> (FloatTensor<B>, FloatTensor<B>) {
    let centred = B::float_sub(x.clone(), group_mean::<B>(x));
    let variance = group_mean::<B>(B::float_mul(centred.clone(), centred.clone()));
    let deviation = B::float_sqrt(B::float_add_scalar(variance, settings.epsilon.into()));
    (B::float_div(centred, deviation.clone()), deviation)
}

fn group_mean<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mean_dim(B::float_mean_dim(x, 3), 1)
}

fn composed_affine<B: Backend>(y: FloatTensor<B>, weight: FloatTensor<B>, bias: FloatTensor<B>) -> FloatTensor<B> {
    let (weight, bias) = (as_groups::<B>(weight, &y), as_groups::<B>(bias, &y));
    B::float_add(B::float_mul(y, weight), bias)
}

/// `[C]` as `[1, 1, G, C / G]`, the groups those of `beside`.
fn as_groups<B: Backend>(row: FloatTensor<B>, beside: &FloatTensor<B>) -> FloatTensor<B> {
    let shape = beside.shape();
    B::float_reshape(widened::<B>(row), Shape::new([1, 1, shape[2], shape[3]]))
}

/// The backward step. Its parents are x, the weight and the bias.
#[derive(Debug)]
struct Step;

impl<B: GroupNorm> Backward<B, 3> for Step {
    type State = ([NodeId; 3], Settings);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (nodes, settings) = ops.state;
        let [x, weight, bias] = nodes.map(|node| checkpointer.retrieve_node_output(node));
        let grad = grads.consume::<B>(&ops.node);
        let (x, weight, bias) = B::gradients(x, weight, bias, grad, settings);
        for (parent, grad) in ops.parents.into_iter().zip([x, weight, bias]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, grad);
            }
        }
    }
}

/// Computes the value again in the backward pass, where the graph is checkpointed.
#[derive(Debug)]
struct Again<B> {
    nodes: [NodeId; 3],
    settings: Settings,
    backend: PhantomData<B>,
}

impl<B: GroupNorm> RetroForward for Again<B> {
    fn forward(&self, states: &mut BackwardStates, value: NodeId) {
        let [x, weight, bias] = self.nodes.map(|node| states.get_state::<FloatTensor<B>>(&node));
        states.save(value, B::value(x, weight, bias, self.settings));
    }
}

impl<B: GroupNorm, C: CheckpointStrategy> GroupNorm for Autodiff<B, C> {
    fn value(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        settings: Settings,
    ) -> FloatTensor<Self> {
        let nodes = [x.id(), weight.id(), bias.id()];
        let preparation = Step
            .prepare::<C>([x.node(), weight.node(), bias.node()])
            .memory_bound()
            .retro_forward(Again::<B> { nodes, settings, backend: PhantomData })
            .parents([&x, &weight, &bias])
            .stateful();
        match preparation {
            OpsKind::Tracked(mut tracked) => {
                let nodes = [&x, &weight, &bias].map(|x| tracked.checkpoint(x));
                let [x, weight, bias] = [x, weight, bias].map(|x| x.into_primitive());
                tracked.finish((nodes, settings), B::value(x, weight, bias, settings))
            }
            OpsKind::UnTracked(untracked) => {
                let [x, weight, bias] = [x, weight, bias].map(|x| x.into_primitive());
                untracked.finish(B::value(x, weight, bias, settings))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, device, noise};
    use burn::tensor::TensorData;
    use burn::tensor::activation::silu;

    const EPSILON: f64 = 1e-5;

    type Operation = fn(Tensor<3>, [Tensor<1>; 2]) -> Tensor<3>;

    /// Three groups where they fit, else one for each channel of few, else one.
    fn groups(x: &Tensor<3>) -> usize {
        match x.dims()[2] {
            channels if channels % 3 == 0 => 3,
            channels @ 1..=5 => channels,
            _ => 1,
        }
    }

    fn of(x: Tensor<3>, [weight, bias]: [Tensor<1>; 2]) -> Tensor<3> {
        let groups = groups(&x);
        group_norm(x, weight, bias, groups, EPSILON)
    }

    fn of_silu(x: Tensor<3>, [weight, bias]: [Tensor<1>; 2]) -> Tensor<3> {
        let groups = groups(&x);
        group_norm_silu(x, weight, bias, groups, EPSILON)
    }

    fn composed(x: Tensor<3>, [weight, bias]: [Tensor<1>; 2]) -> Tensor<3> {
        let ([b, n, c], groups) = (x.dims(), groups(&x));
        let x = x.reshape([b, n, groups, c / groups]).swap_dims(1, 2).reshape([b, groups, n * c / groups]);
        let centred = x.clone() - x.mean_dim(2);
        let y = centred.clone() / (centred.square().mean_dim(2) + EPSILON).sqrt();
        let y = y.reshape([b, groups, n, c / groups]).swap_dims(1, 2).reshape([b, n, c]);
        y * weight.unsqueeze() + bias.unsqueeze()
    }

    /// A weight and a bias for the channels of `x`, of its type and device.
    fn rows(x: &Tensor<3>) -> [Tensor<1>; 2] {
        let channels = x.dims()[2];
        let row = |seed, mean: f32| {
            let values: Vec<f32> = noise(channels, seed).iter().map(|x| mean + x).collect();
            Tensor::from_data(TensorData::new(values, [channels]), (&x.device(), x.dtype()))
        };
        [row(11, 1.0), row(12, 0.0)]
    }

    fn ours(x: Tensor<3>) -> Tensor<3> {
        let rows = rows(&x);
        of(x, rows)
    }

    fn ours_silu(x: Tensor<3>) -> Tensor<3> {
        let rows = rows(&x);
        of_silu(x, rows)
    }

    fn reference(x: Tensor<3>) -> Tensor<3> {
        let rows = rows(&x);
        composed(x, rows)
    }

    fn reference_silu(x: Tensor<3>) -> Tensor<3> {
        silu(reference(x))
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_in_double_precision() {
        testing::rows(ours, reference, 3e-6);
        testing::rows(ours_silu, reference_silu, 3e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_for_any_layout() {
        testing::layouts(ours, reference, 1e-5);
        testing::layouts(ours_silu, reference_silu, 1e-5);
    }

    #[test]
    fn weight_and_bias_have_their_gradients() {
        let gradients = |f: Operation, shape: [usize; 3], dtype| {
            let tensor = |seed| {
                let data = TensorData::new(noise(shape.iter().product(), seed), shape);
                Tensor::<3>::from_data(data, (&device().autodiff(), dtype))
            };
            let rows = rows(&tensor(1)).map(Tensor::require_grad);
            let grads = (f(tensor(1), rows.clone()) * tensor(2)).sum().backward();
            rows.map(|row| testing::values(row.grad(&grads).expect("a gradient"))).concat()
        };
        let pairs: [[Operation; 2]; 2] = [[of, composed], [of_silu, |x, rows| silu(composed(x, rows))]];
        for [ours, reference] in pairs {
            for shape in [[1, 2, 1], [3, 131, 12], [2, 64, 9], [1, 1031, 7]] {
                let expected = gradients(reference, shape, DType::F64);
                testing::assert_near(&gradients(ours, shape, DType::F32), &expected, 1e-5);
                testing::assert_near(&gradients(ours, shape, DType::F64), &expected, 1e-11);
            }
        }
    }

    #[test]
    fn a_large_mean_does_not_cancel() {
        let shape = [2, 331, 6];
        let x: Vec<f32> = noise(2 * 331 * 6, 1).iter().map(|x| x + 1000.0).collect();
        let run = |f: fn(Tensor<3>) -> Tensor<3>, dtype| {
            testing::values(f(Tensor::from_data(TensorData::new(x.clone(), shape), (&device(), dtype))))
        };
        testing::assert_near(&run(ours, DType::F32), &run(reference, DType::F64), 2e-4);
    }

    #[test]
    fn a_nan_spoils_its_group_of_its_sample_alone() {
        let mut x = noise(3 * 67 * 6, 1);
        let run =
            |x: &[f32]| testing::values(ours(Tensor::from_data(TensorData::new(x.to_vec(), [3, 67, 6]), &device())));
        let sound = run(&x);
        for bad in [f32::NAN, f32::INFINITY] {
            // The second sample's channel 2, of the second group.
            let place = (67 + 31) * 6 + 2;
            x[place] = bad;
            for (i, (found, sound)) in run(&x).into_iter().zip(&sound).enumerate() {
                let same_group = i / (67 * 6) == 1 && i % 6 / 2 == 1;
                assert!(if same_group { found.is_nan() } else { found == *sound }, "{i}: {found}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "4 groups of 6 channels")]
    fn groups_that_do_not_fit_are_a_bug() {
        let row = |n| Tensor::zeros([n], &device());
        group_norm(Tensor::<3>::zeros([1, 2, 6], &device()), row(6), row(6), 4, EPSILON);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count() {
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours));
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours_silu));
    }
}
