//! The same linear maps out of Burn's operations, for every backend and float type.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Shape, TensorMetadata};
use burn::tensor::FloatDType;

/// The value.
pub(super) fn value<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, bias: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = x.dtype();
    let product = B::float_cast(B::linear(rounded::<B>(x), rounded::<B>(weight), None), dtype.into());
    let mut row = vec![1; product.rank()];
    row[product.rank() - 1] = bias.shape().num_elements();
    B::float_add(product, B::float_reshape(bias, Shape::from(row)))
}

/// The gradient by the input.
pub(super) fn gradient<B: Backend>(weight: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = grad.dtype();
    B::float_cast(B::linear_x_backward(rounded::<B>(weight), rounded::<B>(grad)), dtype.into())
}

/// The gradient by the weight.
pub(super) fn weight_gradient<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let dtype = grad.dtype();
    B::float_cast(B::linear_weight_backward(rounded::<B>(x), rounded::<B>(grad)), dtype.into())
}

/// The gradient by the bias.
pub(super) fn bias_gradient<B: Backend>(grad: FloatTensor<B>) -> FloatTensor<B> {
    B::linear_bias_backward(grad)
}

fn rounded<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_cast(x, FloatDType::BF16)
}
