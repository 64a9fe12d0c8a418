//! Attention by whole matrix products, for every backend. The query heads of a shared key-value head stand one after
//! the other in one matrix of `H / G · n` rows; softmax and gradients of scores are in `f32` at least.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, Shape, TensorData, TensorMetadata};

use super::Sizes;
use super::visible::Visible;
use crate::layer_norm::widened;

/// See [`Attention::value_and_log_sums`](super::Attention::value_and_log_sums).
pub(super) fn value_and_log_sums<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    visible: Visible,
) -> (FloatTensor<B>, FloatTensor<B>) {
    let (dtype, sizes) = (q.dtype(), Sizes::new(&q, &k));
    let scores = scores::<B>(sizes, q, k, visible);
    let largest = B::float_max_dim(scores.clone(), 3);
    let exponentials = B::float_exp(B::float_sub(scores, largest.clone()));
    let sums = B::float_sum_dim(exponentials.clone(), 3);
    let probabilities = B::float_cast(B::float_div(exponentials, sums.clone()), dtype.into());
    let value = ungrouped::<B>(sizes, B::float_matmul(probabilities, grouped::<B>(sizes, v)));
    let log_sums = B::float_add(B::float_log(sums), largest);
    (value, B::float_reshape(log_sums, Shape::new([sizes.batch, sizes.heads, sizes.queries])))
}

/// See [`Attention::gradients`](super::Attention::gradients).
pub(super) fn gradients<B: Backend>(
    q: FloatTensor<B>,
    k: FloatTensor<B>,
    v: FloatTensor<B>,
    value: FloatTensor<B>,
    log_sums: FloatTensor<B>,
    grad: FloatTensor<B>,
    visible: Visible,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let (dtype, sizes) = (q.dtype(), Sizes::new(&q, &k));
    let [value, grad] = [value, grad].map(|x| grouped::<B>(sizes, x));
    let column = Shape::new([sizes.batch, sizes.heads / sizes.group, sizes.group * sizes.queries, 1]);
    let log_sums = B::float_reshape(log_sums, column);
    let scores = scores::<B>(sizes, q.clone(), k.clone(), visible);
    let probabilities = B::float_exp(B::float_sub(scores, log_sums));

    let along_value = B::float_sum_dim(B::float_mul(widened::<B>(grad.clone()), widened::<B>(value)), 3);
    let [q, k, v] = [q, k, v].map(|x| grouped::<B>(sizes, x));
    let by_probabilities = widened::<B>(B::float_matmul(grad.clone(), B::float_swap_dims(v, 2, 3)));
    let by_scores = B::float_mul(probabilities.clone(), B::float_sub(by_probabilities, along_value));
    let by_scores = B::float_cast(B::float_mul_scalar(by_scores, sizes.scale().into()), dtype.into());
    let probabilities = B::float_cast(probabilities, dtype.into());

    let by_q = ungrouped::<B>(sizes, B::float_matmul(by_scores.clone(), k));
    let by_k = B::float_matmul(B::float_swap_dims(by_scores, 2, 3), q);
    let by_v = B::float_matmul(B::float_swap_dims(probabilities, 2, 3), grad);
    (by_q, B::float_swap_dims(by_k, 1, 2), B::float_swap_dims(by_v, 1, 2))
}

/// `q·kᵀ / √d`, -∞ where a query does not see a key: `[B, G, H / G · n, m]`.
fn scores<B: Backend>(sizes: Sizes, q: FloatTensor<B>, k: FloatTensor<B>, visible: Visible) -> FloatTensor<B> {
    let device = q.device();
    let [q, k] = [q, k].map(|x| grouped::<B>(sizes, x));
    let scores = widened::<B>(B::float_matmul(q, B::float_swap_dims(k, 2, 3)));
    let scores = B::float_mul_scalar(scores, sizes.scale().into());
    if visible == Visible::Full {
        return scores;
    }
    let view = sizes.view(visible);
    let mut hidden = vec![f32::NEG_INFINITY; sizes.queries * sizes.keys];
    for (query, row) in hidden.chunks_exact_mut(sizes.keys).enumerate() {
        row[view.keys(query)].fill(0.0);
    }
    let hidden = B::float_from_data(
        TensorData::new(hidden.repeat(sizes.group), [1, 1, sizes.group * sizes.queries, sizes.keys]),
        &device,
    );
    let dtype: DType = scores.dtype();
    B::float_add(scores, B::float_cast(hidden, dtype.into()))
}

/// `[B, n, H, d]` as `[B, G, H / G · n, d]`.
fn grouped<B: Backend>(sizes: Sizes, x: FloatTensor<B>) -> FloatTensor<B> {
    let rows = x.shape().num_elements() / (sizes.batch * sizes.heads / sizes.group * sizes.width).max(1);
    let shape = Shape::new([sizes.batch, sizes.heads / sizes.group, rows, sizes.width]);
    B::float_reshape(B::float_swap_dims(x, 1, 2), shape)
}

/// `[B, G, H / G · n, d]` as `[B, n, H, d]`.
fn ungrouped<B: Backend>(sizes: Sizes, x: FloatTensor<B>) -> FloatTensor<B> {
    let Sizes { batch, queries, heads, width, .. } = sizes;
    B::float_swap_dims(B::float_reshape(x, Shape::new([batch, heads, queries, width])), 1, 2)
}
