//! Rotary positions (Su et al. 2021, RoFormer, equation 34), the halves of a head turned against each other.

use burn::backend::autodiff::Autodiff;
use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, Dispatch, Flex, Shape, Slice, TensorMetadata, backend_extension};
use burn::tensor::Tensor;

use crate::blocks::{block_of_rows, contiguous, elements, transform};
use crate::simd::Kernel;

/// Turns each pair `(x_i, x_{i + d/2})` of a head by the angle of its position: `(x_i·cos - x_{i+d/2}·sin,
/// x_{i+d/2}·cos + x_i·sin)`.
///
/// The tables are constants: they get no gradient.
///
/// # Shapes
///
/// - `x`, output: `[B, n, H, d]`, `d` even
/// - `cos`, `sin`: `[n, d/2]`, of the angle of each position and pair
///
/// # Panics
///
/// If the shapes do not fit.
pub fn rotary(x: Tensor<4>, cos: Tensor<2>, sin: Tensor<2>) -> Tensor<4> {
    let [_, n, _, d] = x.dims();
    assert_eq!([cos.dims(), sin.dims()], [[n, d / 2]; 2], "a table has a row a position and a column a pair");
    assert!(d.is_multiple_of(2), "a head of {d} numbers has no halves");
    let [cos, sin] = [cos, sin].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Rotate>::value(x.into_dispatch(), cos, sin))
}

/// A backend that has the function: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait Rotate: Backend {
    /// `x`, turned.
    fn value(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        composed::<Self>(x, cos, sin)
    }

    /// The gradient by x of a loss whose gradient by the value is `grad`: turned back.
    fn gradient(grad: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        Self::value(grad, cos, Self::float_neg(sin))
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl Rotate for burn::backend::Cube {}

impl Rotate for Flex {
    fn value(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        if [x.dtype(), cos.dtype(), sin.dtype()] != [DType::F32; 3] {
            return composed::<Self>(x, cos, sin);
        }
        let [_, n, heads, size] = x.layout().shape().dims();
        let (cos, sin) = (contiguous(cos), contiguous(sin));
        let kernel = Value { n, heads, size, cos: elements(&cos), sin: elements(&sin) };
        transform(x, block_of_rows(size), &kernel)
    }
}

pub(crate) struct Value<'a> {
    pub n: usize,
    pub heads: usize,
    pub size: usize,
    pub cos: &'a [f32],
    pub sin: &'a [f32],
}

impl Kernel for Value<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let half = self.size / 2;
        for (i, row) in block.chunks_exact_mut(self.size).enumerate() {
            let position = (start / self.size + i) / self.heads % self.n;
            let (cos, sin) = (&self.cos[position * half..][..half], &self.sin[position * half..][..half]);
            let (left, right) = row.split_at_mut(half);
            for (((a, b), &cos), &sin) in left.iter_mut().zip(right).zip(cos).zip(sin) {
                (*a, *b) = (*a * cos - *b * sin, *b * cos + *a * sin);
            }
        }
    }
}

fn composed<B: Backend>(x: FloatTensor<B>, cos: FloatTensor<B>, sin: FloatTensor<B>) -> FloatTensor<B> {
    let [batch, n, heads, size] = x.shape().dims();
    let half = size / 2;
    let part = |from: usize| {
        let whole = |length: usize| Slice::from(0..length);
        B::float_slice(x.clone(), &[whole(batch), whole(n), whole(heads), Slice::from(from..from + half)])
    };
    let (left, right) = (part(0), part(half));
    let [cos, sin] = [cos, sin].map(|table| B::float_reshape(table, Shape::new([1, n, 1, half])));
    let turned = |a: &FloatTensor<B>, b: &FloatTensor<B>| {
        (B::float_mul(a.clone(), cos.clone()), B::float_mul(b.clone(), sin.clone()))
    };
    let (a, b) = turned(&left, &right);
    let (c, d) = turned(&right, &left);
    B::float_cat(vec![B::float_sub(a, b), B::float_add(c, d)], 3)
}

/// The backward step; its state is the tables.
#[derive(Debug)]
struct Step;

impl<B: Rotate> Backward<B, 1> for Step {
    type State = (FloatTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let (cos, sin) = ops.state;
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::gradient(grad, cos, sin));
    }
}

impl<B: Rotate, C: CheckpointStrategy> Rotate for Autodiff<B, C> {
    fn value(x: FloatTensor<Self>, cos: FloatTensor<Self>, sin: FloatTensor<Self>) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let [cos, sin] = [cos, sin].map(|table| table.into_primitive());
        match Step.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(tracked) => tracked.finish((cos.clone(), sin.clone()), B::value(x, cos, sin)),
            OpsKind::UnTracked(untracked) => untracked.finish(B::value(x, cos, sin)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::noise;
    use burn::tensor::{Device, TensorData};

    fn tables(n: usize, half: usize, device: &Device) -> [Tensor<2>; 2] {
        let angles = noise(n * half, 3);
        let table = |of: fn(f32) -> f32| {
            let values: Vec<f32> = angles.iter().map(|&angle| of(angle)).collect();
            Tensor::from_data(TensorData::new(values, [n, half]), device)
        };
        [table(f32::cos), table(f32::sin)]
    }

    fn tensor(shape: [usize; 4], seed: u64, device: &Device) -> Tensor<4> {
        Tensor::from_data(TensorData::new(noise(shape.iter().product(), seed), shape), device)
    }

    fn values(x: Tensor<4>) -> Vec<f32> {
        x.into_data().try_into_vec().unwrap()
    }

    #[test]
    fn the_kernel_is_the_composed_form_and_both_are_rotations() {
        let device = Device::flex();
        for [batch, n, heads, size] in [[1, 1, 1, 2], [2, 7, 3, 10], [3, 331, 2, 38]] {
            let x = tensor([batch, n, heads, size], 1, &device);
            let [cos, sin] = tables(n, size / 2, &device);
            let ours = values(rotary(x.clone(), cos.clone(), sin.clone()));
            let half = size / 2;
            let at = |table: Tensor<2>| table.reshape([1, n, 1, half]);
            let (left, right) = (x.clone().slice_dim(3, 0..half), x.clone().slice_dim(3, half..size));
            let (c, s) = (at(cos.clone()), at(sin.clone()));
            let reference =
                Tensor::cat(vec![left.clone() * c.clone() - right.clone() * s.clone(), right * c + left * s], 3);
            assert_eq!(ours, values(reference));
            let back = values(rotary(rotary(x.clone(), cos.clone(), sin.clone()), cos, sin.neg()));
            assert!(back.iter().zip(values(x)).all(|(a, b)| (a - b).abs() < 1e-5));
        }
    }

    #[test]
    fn views_are_turned_as_tensors_are() {
        let device = Device::flex();
        let x = tensor([2, 3, 5, 14], 4, &device).swap_dims(1, 2);
        let [cos, sin] = tables(5, 7, &device);
        let copy = Tensor::from_data(x.clone().into_data(), &device);
        assert_eq!(values(rotary(x, cos.clone(), sin.clone())), values(rotary(copy, cos, sin)));
    }

    #[test]
    fn the_gradient_turns_back() {
        let device = Device::flex().autodiff();
        let x = tensor([2, 5, 3, 6], 6, &device).require_grad();
        let [cos, sin] = tables(5, 3, &device.clone().inner());
        let wanted = tensor([2, 5, 3, 6], 7, &device.clone().inner());
        let y = rotary(x.clone(), cos.clone(), sin.clone());
        let loss = (y * Tensor::from_inner(wanted.clone())).sum();
        let grad = x.grad(&loss.backward()).unwrap();
        assert_eq!(values(grad), values(rotary(wanted, cos, sin.neg())));
    }
}
