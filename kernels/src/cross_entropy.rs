//! The cross entropy of a softmax with a class, row by row: the loss of every model that predicts tokens.

use burn::backend::autodiff::checkpoint::base::Checkpointer;
use burn::backend::autodiff::checkpoint::strategy::CheckpointStrategy;
use burn::backend::autodiff::grads::Gradients;
use burn::backend::autodiff::ops::{Backward, Ops, OpsKind, unary};
use burn::backend::autodiff::{Autodiff, NodeId};
use burn::backend::flex::FlexTensor;
use burn::backend::tensor::{FloatTensor, IndexingUpdateOp, IntTensor};
use burn::backend::{Backend, DType, Dispatch, Flex, Shape, TensorMetadata, backend_extension};
use burn::tensor::{Int, Tensor, assert_shape};

use crate::blocks::{block_of_rows, contiguous, elements, from_values, reduce, row_width, transform};
use crate::layer_norm::widened;
use crate::simd::{Kernel, exp, ln, max, sum};

/// `log Σ exp(x) - x[target]` of each row x of `logits`, in nats.
///
/// The probabilities are never stored: the gradient, `grad·(softmax(x) - onehot(target))`, is made in one pass over
/// the logits. 16-bit floats are summed in `f32`.
///
/// # Shapes
///
/// - `logits`: `[N, K]`, N rows of K classes
/// - `targets`: `[N]`, each in `0..K`
/// - output: `[N]`
///
/// # Panics
///
/// If the lengths differ; on Flex also if a target is not in `0..K`.
pub fn cross_entropy(logits: Tensor<2>, targets: Tensor<1, Int>) -> Tensor<1> {
    let [rows] = targets.dims();
    assert_shape!(logits, [rows, ..]);
    Tensor::from_dispatch(<Dispatch as CrossEntropy>::loss(logits.into_dispatch(), targets.into_dispatch()))
}

/// A backend that has the loss: in the composed form, unless it knows better.
#[backend_extension(Flex, Autodiff, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait CrossEntropy: Backend {
    /// The loss of each row.
    fn loss(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        Self::loss_and_log_sum(logits, targets).0
    }

    /// The loss of each row, and the logarithm of its sum of exponentials, which the gradient wants.
    fn loss_and_log_sum(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        composed_value::<Self>(logits, targets)
    }

    /// The gradient by the logits of a loss whose gradient by the value is `grad`.
    fn gradient(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        log_sum: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        composed_gradient::<Self>(logits, targets, log_sum, grad)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl CrossEntropy for burn::backend::Cube {}

impl CrossEntropy for Flex {
    fn loss_and_log_sum(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> (FloatTensor<Self>, FloatTensor<Self>) {
        let (rows, width) = (targets.layout().num_elements(), row_width(&logits));
        let classes = classes(&targets, width);
        if logits.dtype() != DType::F32 {
            return composed_value::<Self>(logits, targets);
        }
        let logits = contiguous(logits);
        let kernel = Value { logits: elements(&logits), targets: &classes, width };
        let block = 2 * block_of_rows(width) / width.max(1);
        let pairs = reduce(2 * rows, block.max(2), width, &kernel);
        let column = |i| from_values(pairs.iter().skip(i).step_by(2).copied().collect(), Shape::new([rows]));
        (column(0), column(1))
    }

    fn gradient(
        logits: FloatTensor<Self>,
        targets: IntTensor<Self>,
        log_sum: FloatTensor<Self>,
        grad: FloatTensor<Self>,
    ) -> FloatTensor<Self> {
        if [logits.dtype(), log_sum.dtype(), grad.dtype()] != [DType::F32; 3] {
            return composed_gradient::<Self>(logits, targets, log_sum, grad);
        }
        let width = row_width(&logits);
        let (log_sum, grad) = (contiguous(log_sum), contiguous(grad));
        let targets = &classes(&targets, width)[..];
        let kernel = Gradient { targets, log_sum: elements(&log_sum), grad: elements(&grad), width };
        transform(logits, block_of_rows(width), &kernel)
    }
}

/// The targets, all below `width`.
fn classes(targets: &FlexTensor, width: usize) -> Vec<usize> {
    let check = |target: i64| match usize::try_from(target) {
        Ok(class) if class < width => class,
        _ => panic!("cross_entropy: target {target} is not one of {width} classes"),
    };
    let targets = contiguous(targets.clone());
    match targets.dtype() {
        DType::I64 => targets.as_slice::<i64>().into_iter().flatten().map(|&target| check(target)).collect(),
        DType::I32 => targets.as_slice::<i32>().into_iter().flatten().map(|&target| check(target.into())).collect(),
        other => panic!("cross_entropy: targets are I32 or I64, not {other:?}"),
    }
}

/// Makes pairs: the loss of a row, and the logarithm of its sum of exponentials.
struct Value<'a> {
    logits: &'a [f32],
    targets: &'a [usize],
    width: usize,
}

impl Kernel for Value<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let first = start / 2;
        let rows = self.logits[first * self.width..].chunks_exact(self.width).zip(&self.targets[first..]);
        for (pair, (row, &target)) in block.chunks_exact_mut(2).zip(rows) {
            let largest = max(row);
            let log = ln(sum(row, row, |x, _| exp(x - largest)));
            // A small loss is not the difference of two large numbers.
            pair[0] = log + (largest - row[target]);
            pair[1] = log + largest;
        }
    }
}

/// Makes the gradient out of the logits.
struct Gradient<'a> {
    targets: &'a [usize],
    log_sum: &'a [f32],
    grad: &'a [f32],
    width: usize,
}

impl Kernel for Gradient<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        let first = start / self.width;
        for (i, row) in block.chunks_exact_mut(self.width).enumerate() {
            let (grad, log_sum) = (self.grad[first + i], self.log_sum[first + i]);
            if grad == 0.0 {
                // A row that does not count, as where a token is given and not predicted.
                row.fill(0.0);
                continue;
            }
            for x in row.iter_mut() {
                *x = grad * exp(*x - log_sum);
            }
            row[self.targets[first + i]] -= grad;
        }
    }
}

fn composed_value<B: Backend>(logits: FloatTensor<B>, targets: IntTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let dtype = logits.dtype();
    let rows = Shape::new([logits.shape()[0]]);
    let logits = widened::<B>(logits);
    let largest = B::float_max_dim(logits.clone(), 1);
    let shifted = B::float_sub(logits, largest.clone());
    let log = B::float_log(B::float_sum_dim(B::float_exp(shifted.clone()), 1));
    let own = B::float_gather(1, shifted, column::<B>(targets));
    let loss = B::float_reshape(B::float_sub(log.clone(), own), rows.clone());
    (B::float_cast(loss, dtype.into()), B::float_reshape(B::float_add(log, largest), rows))
}

fn composed_gradient<B: Backend>(
    logits: FloatTensor<B>,
    targets: IntTensor<B>,
    log_sum: FloatTensor<B>,
    grad: FloatTensor<B>,
) -> FloatTensor<B> {
    let dtype = logits.dtype();
    let rows = Shape::new([logits.shape()[0], 1]);
    let grad = B::float_reshape(widened::<B>(grad), rows.clone());
    let likely = B::float_exp(B::float_sub(widened::<B>(logits), B::float_reshape(log_sum, rows)));
    let spread = B::float_mul(likely, grad.clone());
    let gradient = B::float_scatter(1, spread, column::<B>(targets), B::float_neg(grad), IndexingUpdateOp::Add);
    B::float_cast(gradient, dtype.into())
}

/// `[N]` as `[N, 1]`.
fn column<B: Backend>(targets: IntTensor<B>) -> IntTensor<B> {
    let rows = targets.shape().num_elements();
    B::int_reshape(targets, Shape::new([rows, 1]))
}

/// The backward step.
#[derive(Debug)]
struct Step;

impl<B: CrossEntropy> Backward<B, 1> for Step {
    type State = (NodeId, IntTensor<B>, FloatTensor<B>);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, checkpointer: &mut Checkpointer) {
        let (logits, targets, log_sum) = ops.state;
        let logits = checkpointer.retrieve_node_output(logits);
        unary::<B, _>(ops.parents, ops.node, grads, |grad| B::gradient(logits, targets, log_sum, grad));
    }
}

impl<B: CrossEntropy, C: CheckpointStrategy> CrossEntropy for Autodiff<B, C> {
    fn loss(logits: FloatTensor<Self>, targets: IntTensor<Self>) -> FloatTensor<Self> {
        match Step.prepare::<C>([logits.node()]).compute_bound().stateful() {
            OpsKind::Tracked(mut tracked) => {
                let node = tracked.checkpoint(&logits);
                let (loss, log_sum) = B::loss_and_log_sum(logits.into_primitive(), targets.clone());
                tracked.finish((node, targets, log_sum), loss)
            }
            OpsKind::UnTracked(untracked) => untracked.finish(B::loss(logits.into_primitive(), targets)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, device, noise};
    use burn::tensor::TensorData;

    /// A class for each row.
    fn targets(rows: usize, classes: usize, dtype: DType) -> Tensor<1, Int> {
        let targets: Vec<i64> = (0..rows).map(|i| ((i * 7919 + 13) % classes) as i64).collect();
        Tensor::from_data(TensorData::new(targets, [rows]), (&device(), dtype))
    }

    /// `[A, B, K]` to `[A, B, 1]`.
    fn ours(x: Tensor<3>) -> Tensor<3> {
        let [a, b, classes] = x.dims();
        cross_entropy(x.reshape([a * b, classes]), targets(a * b, classes, DType::I32)).reshape([a, b, 1])
    }

    fn reference(x: Tensor<3>) -> Tensor<3> {
        let [a, b, classes] = x.dims();
        let targets = targets(a * b, classes, DType::I64).reshape([a, b, 1]);
        x.clone().exp().sum_dim(2).log() - x.gather(2, targets)
    }

    fn row(logits: &[f32], target: i64) -> [Vec<f64>; 2] {
        let logits = TensorData::new(logits.to_vec(), [1, logits.len()]);
        let logits = Tensor::<2>::from_data(logits, &device().autodiff()).require_grad();
        let loss = cross_entropy(logits.clone(), Tensor::from_data([target], &device()));
        let grads = loss.clone().backward();
        [testing::values(loss), testing::values(logits.grad(&grads).expect("a gradient"))]
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_in_double_precision() {
        for shape in [[1, 1, 1], [1, 2, 1], [5, 3, 2], [3, 1, 31], [1, 7, 37], [2, 5, 67], [17, 37, 61], [1, 3, 4999]] {
            let [value, gradient] = testing::both(reference, |x| x, shape, DType::F64);
            for (dtype, tolerance) in [(DType::F32, 2e-6), (DType::F64, 1e-12), (DType::BF16, 0.03)] {
                let found = testing::both(ours, |x| x, shape, dtype);
                testing::assert_near(&found[0], &value, tolerance);
                testing::assert_near(&found[1], &gradient, tolerance);
            }
        }
        testing::finite_differences(ours, reference);
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_for_any_layout() {
        testing::layouts(ours, reference, 2e-6);
    }

    #[test]
    fn targets_may_be_a_view() {
        let logits = Tensor::<2>::from_data(TensorData::new(noise(35, 1), [5, 7]), &device());
        let targets: Tensor<1, Int> = Tensor::from_data([6, 0, 3, 3, 1], &device());
        let forth = cross_entropy(logits.clone(), targets.clone());
        let back = cross_entropy(logits.flip([0]), targets.flip([0])).flip([0]);
        assert_eq!(testing::values(forth), testing::values(back));
    }

    #[test]
    fn no_rows_have_no_losses() {
        let loss = cross_entropy(Tensor::zeros([0, 3], &device()), Tensor::zeros([0], &device()));
        assert_eq!(loss.dims(), [0]);
    }

    #[test]
    fn small_losses_keep_their_digits_and_large_logits_do_not_overflow() {
        let exact = (-10.0f64).exp().ln_1p();
        let [loss, gradient] = row(&[1000.0, 990.0], 0);
        assert!((loss[0] / exact - 1.0).abs() < 2e-3, "{loss:?}, expected {exact}");
        testing::assert_near(&gradient, &[-4.54e-5, 4.54e-5], 1e-4);
        assert_eq!(row(&[1e30, 0.0, -1e30], 1), [vec![f64::from(1e30f32)], vec![1.0, -1.0, 0.0]]);
    }

    #[test]
    fn infinity_and_nan() {
        const OUT: f32 = f32::NEG_INFINITY;
        let [loss, gradient] = row(&[0.5, OUT, 0.5], 0);
        testing::assert_near(&[loss, gradient].concat(), &[2f64.ln(), -0.5, 0.0, 0.5], 1e-7);
        assert_eq!(row(&[0.5, OUT, OUT], 1), [vec![f64::INFINITY], vec![1.0, -1.0, 0.0]]);
        for bad in [[0.5, f32::NAN, 0.5], [0.5, f32::INFINITY, 0.5], [OUT; 3]] {
            let [loss, gradient] = row(&bad, 0);
            assert!(loss[0].is_nan() && gradient.iter().any(|g| g.is_nan()), "{bad:?}: {loss:?}, {gradient:?}");
        }
    }

    #[test]
    fn a_row_that_does_not_count_has_no_gradient_whatever_it_holds() {
        let logits = Tensor::<2>::from_data([[f32::NAN, 1.0], [0.0, 0.0]], &device().autodiff()).require_grad();
        let loss = cross_entropy(logits.clone(), Tensor::from_data([0, 1], &device()));
        let grads = loss.narrow(0, 1, 1).backward();
        assert_eq!(testing::values(logits.grad(&grads).expect("a gradient")), [0.0, 0.0, 0.5, -0.5]);
    }

    #[test]
    #[should_panic(expected = "target 3 is not one of 3 classes")]
    fn a_target_beyond_the_classes_is_a_bug() {
        row(&[0.0; 3], 3);
    }

    #[test]
    #[should_panic(expected = "target -1 is not one of 3 classes")]
    fn a_negative_target_is_a_bug() {
        row(&[0.0; 3], -1);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        const WIDTH: usize = 17;
        let (logits, log_sum) = (noise(testing::LARGE, 5), noise(testing::LARGE, 6));
        let targets: Vec<usize> = (0..testing::LARGE).map(|i| i % WIDTH).collect();
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours));
        testing::same_for_any_instruction_set(&Value { logits: &logits, targets: &targets, width: WIDTH });
        let (log_sum, grad) = (&log_sum[..], &logits[..]);
        testing::same_for_any_instruction_set(&Gradient { targets: &targets, log_sum, grad, width: WIDTH });
    }
}
