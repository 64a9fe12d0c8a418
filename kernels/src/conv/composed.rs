//! The same convolutions out of Burn's operations, for every backend and float type.

use burn::backend::ops::{ConvOptions, ConvTransposeOptions};
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, Shape, Slice, TensorMetadata};

use super::map::Map;

/// Channels from the end of the dimensions to their second place.
const CHANNELS_FIRST: [usize; 5] = [0, 4, 1, 2, 3];
const CHANNELS_LAST: [usize; 5] = [0, 2, 3, 4, 1];

/// The value.
pub(crate) fn value<B: Backend>(
    x: FloatTensor<B>,
    weight: FloatTensor<B>,
    bias: FloatTensor<B>,
    map: Map,
) -> FloatTensor<B> {
    let row = Shape::new([1, 1, 1, 1, bias.shape().num_elements()]);
    B::float_add(product::<B>(x, weight, map), B::float_reshape(bias, row))
}

/// The gradient by the input.
pub(crate) fn gradient<B: Backend>(weight: FloatTensor<B>, grad: FloatTensor<B>, map: Map) -> FloatTensor<B> {
    product::<B>(grad, B::float_swap_dims(weight, 3, 4), map.adjoint())
}

/// The value without the bias.
fn product<B: Backend>(x: FloatTensor<B>, weight: FloatTensor<B>, map: Map) -> FloatTensor<B> {
    let [stride, dilation] = [map.axes.map(|axis| axis.stride), map.axes.map(|axis| axis.dilation)];
    if map.is_empty() {
        let [t, h, w] = map.output();
        let shape = Shape::new([x.shape()[0], t, h, w, weight.shape()[4]]);
        return B::float_zeros(shape, &x.device(), x.dtype().into());
    }
    if !map.up {
        let x = B::float_permute(padded::<B>(x, map), &CHANNELS_FIRST);
        let weight = B::float_permute(weight, &[4, 3, 0, 1, 2]);
        let y = B::conv3d(x, weight, None, ConvOptions::new(stride, [0; 3], dilation, 1));
        return B::float_permute(y, &CHANNELS_LAST);
    }
    // All that the windows cover, and the places behind them that no window covers.
    let covered = [0, 1, 2].map(|i| (map.coarse[i] - 1) * stride[i] + dilation[i] * (map.taps[i] - 1) + 1);
    let wanted = [0, 1, 2].map(|i| map.axes[i].before + map.fine[i]);
    let behind = [0, 1, 2].map(|i| wanted[i].saturating_sub(covered[i]));
    let (x, weight) = (B::float_permute(x, &CHANNELS_FIRST), B::float_permute(weight, &[3, 4, 0, 1, 2]));
    let options = ConvTransposeOptions::new(stride, [0; 3], behind, dilation, 1);
    let y = B::float_permute(B::conv_transpose3d(x, weight, None, options), &CHANNELS_LAST);
    inner::<B>(y, map.axes.map(|axis| axis.before), map.fine)
}

/// The gradient by the weight.
pub(crate) fn weight_gradient<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>, map: Map) -> FloatTensor<B> {
    if map.is_empty() {
        let [t, h, w] = map.taps;
        let shape = Shape::new([t, h, w, x.shape()[4], grad.shape()[4]]);
        return B::float_zeros(shape, &x.device(), x.dtype().into());
    }
    let (fine, coarse) = if map.up { (grad, x) } else { (x, grad) };
    // A convolution whose batch is the channels and whose channels are the batch: the windows become the taps.
    let batch_second = [4, 0, 1, 2, 3];
    let (fine, coarse) =
        (B::float_permute(padded::<B>(fine, map), &batch_second), B::float_permute(coarse, &batch_second));
    let [stride, dilation] = [map.axes.map(|axis| axis.stride), map.axes.map(|axis| axis.dilation)];
    let sums = B::conv3d(fine, coarse, None, ConvOptions::new(dilation, [0; 3], stride, 1));
    let sums = inner::<B>(B::float_permute(sums, &CHANNELS_LAST), [0; 3], map.taps); // [fine channels, taps, coarse]
    B::float_permute(sums, if map.up { &[1, 2, 3, 4, 0] } else { &[1, 2, 3, 0, 4] })
}

/// The sums over all places.
pub(crate) fn bias_gradient<B: Backend>(grad: FloatTensor<B>) -> FloatTensor<B> {
    let shape = grad.shape();
    let (channels, last) = (shape[4], shape.num_elements() / shape[4].max(1));
    let rows = B::float_reshape(grad, Shape::new([last, channels]));
    B::float_reshape(B::float_sum_dim(rows, 0), Shape::new([channels]))
}

/// The fine places between the zeros of the padding.
fn padded<B: Backend>(fine: FloatTensor<B>, map: Map) -> FloatTensor<B> {
    let before = map.axes.map(|axis| axis.before);
    if map.axes.iter().all(|axis| axis.before + axis.after == 0) {
        return fine;
    }
    let (mut shape, device, dtype) = (fine.shape(), fine.device(), fine.dtype());
    for i in 0..3 {
        shape[i + 1] += before[i] + map.axes[i].after;
    }
    let zeros = B::float_zeros(shape.clone(), &device, dtype.into());
    B::float_slice_assign(zeros, &slices(&shape, before, map.fine), fine)
}

/// `size` places of three middle dimensions, from `start` on.
fn inner<B: Backend>(x: FloatTensor<B>, start: [usize; 3], size: [usize; 3]) -> FloatTensor<B> {
    let slices = slices(&x.shape(), start, size);
    B::float_slice(x, &slices)
}

fn slices(shape: &Shape, start: [usize; 3], size: [usize; 3]) -> [Slice; 5] {
    let [t, h, w] = [0, 1, 2].map(|i| Slice::from(start[i]..start[i] + size[i]));
    [Slice::from(0..shape[0]), t, h, w, Slice::from(0..shape[4])]
}
