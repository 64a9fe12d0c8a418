//! Scaled dot-product attention (Vaswani et al., arXiv 1706.03762, section 3.2.1) with grouped heads (Ainslie et al.,
//! arXiv 2305.13245), in tiles (Dao et al., arXiv 2205.14135).

mod backward;
mod composed;
pub(crate) mod few;
mod forward;
mod product;
#[cfg(test)]
mod tests;
mod tile;
mod visible;

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
use tile::{Heads, readable};
use visible::View;
pub use visible::Visible;

/// `softmax(q·kᵀ / √d)·v` for each head, over the keys that [`Visible`] lets a query see.
///
/// H is a multiple of G: each key-value head serves `H / G` neighbouring query heads. On Flex in `f32` the scores are
/// computed in tiles, tiles that nobody sees are skipped, and views whose last dimension is in order are read where
/// they lie. Kept for the gradient: the operands, the value, and one number for each row.
///
/// # Shapes
///
/// - `q`, output: `[B, n, H, d]`
/// - `k`, `v`: `[B, m, G, d]`
///
/// # Panics
///
/// If the shapes do not fit, if there is no key, if there are more queries than keys and not all is visible, or if a
/// window is empty.
pub fn attention(q: Tensor<4>, k: Tensor<4>, v: Tensor<4>, visible: Visible) -> Tensor<4> {
    let [batch, queries, heads, width] = q.dims();
    let [_, keys, shared, _] = k.dims();
    assert_shape!(k, [batch, keys, shared, width]);
    assert_shape!(v, [batch, keys, shared, width]);
    assert!(shared > 0 && heads.is_multiple_of(shared), "{heads} heads cannot share {shared} key-value heads");
    View::new(visible, queries, keys);
    let [q, k, v] = [q, k, v].map(Tensor::into_dispatch);
    Tensor::from_dispatch(<Dispatch as Attention>::value(q, k, v, visible))
}

/// A backend that has attention: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait Attention: Backend {
    /// The value.
    fn value(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, visible: Visible) -> FloatTensor<Self> {
        Self::value_and_log_sums(q, k, v, visible).0
    }

    /// The value, and for each of its rows, `[B, H, n]`, the logarithm of the sum of the exponentials of the scores.
    fn value_and_log_sums(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        visible: Visible,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed::value_and_log_sums::<Self>(q, k, v, visible)
    }

    /// The gradients by q, k and v of a loss whose gradient by the value is `grad`.
    fn gradients(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        value: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        visible: Visible,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed::gradients::<Self>(q, k, v, value, log_sums, grad, visible)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl Attention for burn::backend::Cube {}

impl Attention for Flex {
    fn value_and_log_sums(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        visible: Visible,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        if [q.dtype(), k.dtype(), v.dtype()] != [DType::F32; 3] {
            return composed::value_and_log_sums::<Self>(q, k, v, visible);
        }
        let sizes = Sizes::new(&q, &k);
        let [q, k, v] = [q, k, v].map(readable);
        let mut value = vec![0.0; q.shape().num_elements()];
        let mut log_sums = vec![0.0; sizes.batch * sizes.heads * sizes.queries];
        let [q, k, v] = [&q, &k, &v].map(Heads::new);
        let write = if sizes.queries < few::FEW { few::value } else { forward::value };
        write(sizes, sizes.view(visible), q, k, v, &mut value, &mut log_sums);
        let Sizes { batch, queries, heads, width, .. } = sizes;
        (tensor(value, [batch, queries, heads, width]), tensor(log_sums, [batch, heads, queries]))
    }

    fn gradients(
        q: FloatTensor<Self>,
        k: FloatTensor<Self>,
        v: FloatTensor<Self>,
        value: FloatTensor<Self>,
        log_sums: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        visible: Visible,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        if [q.dtype(), k.dtype(), v.dtype(), grad.dtype()] != [DType::F32; 4] {
            return composed::gradients::<Self>(q, k, v, value, log_sums, grad, visible);
        }
        let sizes = Sizes::new(&q, &k);
        let log_sums = contiguous(log_sums);
        let [q, k, v, value, grad] = [q, k, v, value, grad].map(readable);
        let [mut by_q, mut by_k, mut by_v] = [&q, &k, &v].map(|x| vec![0.0; x.shape().num_elements()]);
        let saved = backward::Saved {
            q: Heads::new(&q),
            k: Heads::new(&k),
            v: Heads::new(&v),
            value: Heads::new(&value),
            grad: Heads::new(&grad),
            log_sums: elements(&log_sums),
        };
        backward::gradients(sizes, sizes.view(visible), saved, &mut by_q, &mut by_k, &mut by_v);
        let Sizes { batch, queries, keys, heads, group, width } = sizes;
        let shared = [batch, keys, heads / group, width];
        (tensor(by_q, [batch, queries, heads, width]), tensor(by_k, shared), tensor(by_v, shared))
    }
}

/// A new tensor of these values.
fn tensor<const D: usize>(values: Vec<f32>, shape: [usize; D]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(Shape::new(shape)), DType::F32)
}

/// Operations below which waking a second thread costs more than it saves.
const PARALLEL: usize = 1 << 20;

/// The sizes of the operands.
#[derive(Clone, Copy)]
struct Sizes {
    batch: usize,
    queries: usize,
    keys: usize,
    heads: usize,
    /// Query heads that share a key-value head.
    group: usize,
    /// Of a row of a head: d.
    width: usize,
}

impl Sizes {
    fn new(q: &impl TensorMetadata, k: &impl TensorMetadata) -> Self {
        let (q, k) = (q.shape(), k.shape());
        Self { batch: q[0], queries: q[1], keys: k[1], heads: q[2], group: q[2] / k[2], width: q[3] }
    }

    fn view(&self, visible: Visible) -> View {
        View::new(visible, self.queries, self.keys)
    }

    /// `1 / √d`, by which scores are multiplied.
    fn scale(&self) -> f64 {
        1.0 / (self.width as f64).sqrt()
    }

    /// Multiplications in the scores.
    fn operations(&self) -> usize {
        self.batch * self.heads * self.queries * self.keys * self.width
    }
}

/// The backward step.
#[derive(Debug)]
struct Step;

impl<B: Attention> Backward<B, 3> for Step {
    type State = ([NodeId; 3], FloatTensor<B>, FloatTensor<B>, Visible);

    fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (operands, value, log_sums, visible) = ops.state;
        let [q, k, v]: [FloatTensor<B>; 3] = operands.map(|operand| checkpointer.retrieve_node_output(operand));
        let grad = grads.consume::<B>(&ops.node);
        let (by_q, by_k, by_v) = B::gradients(q, k, v, value, log_sums, grad, visible);
        for (parent, gradient) in ops.parents.into_iter().zip([by_q, by_k, by_v]) {
            if let Some(parent) = parent {
                grads.register::<B>(parent.id, gradient);
            }
        }
    }
}

impl<B: Attention, C: CheckpointStrategy> Attention for Autodiff<B, C> {
    fn value(q: FloatTensor<Self>, k: FloatTensor<Self>, v: FloatTensor<Self>, visible: Visible) -> FloatTensor<Self> {
        match Step.prepare::<C>([q.node(), k.node(), v.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut tracked) => {
                let operands = [&q, &k, &v].map(|operand| tracked.checkpoint(operand));
                let [q, k, v] = [q, k, v].map(|operand| operand.into_primitive());
                let (value, log_sums) = B::value_and_log_sums(q, k, v, visible);
                tracked.finish((operands, value.clone(), log_sums, visible), value)
            }
            OpsKind::UnTracked(untracked) => {
                let [q, k, v] = [q, k, v].map(|operand| operand.into_primitive());
                untracked.finish(B::value(q, k, v, visible))
            }
        }
    }
}
