//! Layer normalisation without an affine part (Ba et al., arXiv 1607.06450, section 3), as the blocks of a diffusion
//! transformer want it, which scale and shift by their condition (Peebles and Xie, arXiv 2212.09748, section 3.2).

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, FloatDType, TensorMetadata};
use burn::tensor::Tensor;

use crate::simd::{Kernel, sum};
use crate::unary::Function;

/// `(x - mean(x)) / √(var(x) + epsilon)` over the last dimension; `var` divides by the width.
///
/// 16-bit floats are normalised in `f32`.
///
/// # Shapes
///
/// - `x`, output: `[.., D]`
pub fn layer_norm<const D: usize>(x: Tensor<D>, epsilon: f64) -> Tensor<D> {
    Function::LayerNorm { epsilon }.of(x)
}

pub(crate) struct Value {
    pub width: usize,
    pub epsilon: f32,
}

impl Kernel for Value {
    #[inline(always)]
    fn run(&self, _start: usize, block: &mut [f32]) {
        for row in block.chunks_exact_mut(self.width) {
            let (mean, scale) = moments(row, self.epsilon);
            for x in row {
                *x = (*x - mean) * scale;
            }
        }
    }
}

pub(crate) struct Gradient<'a> {
    pub x: &'a [f32],
    pub width: usize,
    pub epsilon: f32,
}

impl Kernel for Gradient<'_> {
    /// With y the value and g its gradient: `(g - mean(g) - y·mean(g·y)) / √(var + ε)`.
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        for (grad, x) in block.chunks_exact_mut(self.width).zip(self.x[start..].chunks_exact(self.width)) {
            let (mean, scale) = moments(x, self.epsilon);
            gradient(grad, x, mean, scale);
        }
    }
}

/// The gradient of one row, in the place of the gradient by its value.
#[inline(always)]
pub(crate) fn gradient(grad: &mut [f32], x: &[f32], mean: f32, scale: f32) {
    let count = x.len() as f32;
    let along_one = sum(grad, grad, |g, _| g) / count;
    let along_y = sum(grad, x, |g, x| g * ((x - mean) * scale)) / count;
    for (g, &x) in grad.iter_mut().zip(x) {
        *g = (*g - along_one - (x - mean) * scale * along_y) * scale;
    }
}

/// The mean and `1 / √(var + ε)`. Two passes: `mean(x²) - mean(x)²` would cancel where the mean is large.
#[inline(always)]
pub(crate) fn moments(row: &[f32], epsilon: f32) -> (f32, f32) {
    let count = row.len() as f32;
    let mean = sum(row, row, |x, _| x) / count;
    let variance = sum(row, row, |x, _| (x - mean) * (x - mean)) / count;
    (mean, 1.0 / (variance + epsilon).sqrt())
}

pub(crate) fn composed_value<B: Backend>(x: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    let dtype = x.dtype();
    let (y, _) = composed_moments::<B>(widened::<B>(x), epsilon);
    B::float_cast(y, dtype.into())
}

pub(crate) fn composed_gradient<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>, epsilon: f64) -> FloatTensor<B> {
    let (dtype, last) = (x.dtype(), x.rank() - 1);
    let grad = widened::<B>(grad);
    let (y, deviation) = composed_moments::<B>(widened::<B>(x), epsilon);
    let along_one = B::float_mean_dim(grad.clone(), last);
    let along_y = B::float_mean_dim(B::float_mul(grad.clone(), y.clone()), last);
    let across = B::float_sub(B::float_sub(grad, along_one), B::float_mul(y, along_y));
    B::float_cast(B::float_div(across, deviation), dtype.into())
}

/// The value and `√(var + ε)`.
pub(crate) fn composed_moments<B: Backend>(x: FloatTensor<B>, epsilon: f64) -> (FloatTensor<B>, FloatTensor<B>) {
    let last = x.rank() - 1;
    let mean = B::float_mean_dim(x.clone(), last);
    let centred = B::float_sub(x, mean);
    let variance = B::float_mean_dim(B::float_mul(centred.clone(), centred.clone()), last);
    let deviation = B::float_sqrt(B::float_add_scalar(variance, epsilon.into()));
    (B::float_div(centred, deviation.clone()), deviation)
}

/// `x` in a type whose squares do not overflow or vanish: 16-bit floats become `f32`.
pub(crate) fn widened<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    match x.dtype() {
        DType::F16 | DType::BF16 => B::float_cast(x, FloatDType::F32),
        _ => x,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing;

    const EPSILON: f64 = 1e-5;

    fn ours(x: Tensor<3>) -> Tensor<3> {
        layer_norm(x, EPSILON)
    }

    fn reference(x: Tensor<3>) -> Tensor<3> {
        let centred = x.clone() - x.mean_dim(2);
        let variance = centred.clone().square().mean_dim(2);
        centred / (variance + EPSILON).sqrt()
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_in_double_precision() {
        testing::rows(ours, reference, 2e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_the_composed_form_for_any_layout() {
        testing::layouts(ours, reference, 5e-6);
    }

    /// Where the elements of a row are close to each other, the rounding of their mean is large beside what is left
    /// when it is taken away: by how much, no formula in `f32` can help. A value may be off by a few roundings of the
    /// largest element over the deviation, a gradient by as much over the deviation once more; and by no more.
    #[test]
    fn rows_of_nearly_equal_elements_are_as_exact_as_their_condition_allows() {
        for width in [2, 3, 5, 61] {
            for (seed, spread) in [1.0, 1e-1, 1e-2, 1e-3, 1e-4].into_iter().enumerate() {
                let row: Vec<f32> = testing::noise(width, seed as u64).iter().map(|x| 2.0 + spread * x).collect();
                let [value, gradient] = testing::row_both(reference, &row, DType::F64);
                let found = testing::row_both(ours, &row, DType::F32);

                let row = row.iter().map(|&x| f64::from(x));
                let mean = row.clone().sum::<f64>() / width as f64;
                let variance = row.clone().map(|x| (x - mean).powi(2)).sum::<f64>() / width as f64;
                let deviation = (variance + EPSILON).sqrt();
                let rounding = 2.0 * f64::from(f32::EPSILON) * row.fold(0.0, f64::max) / deviation;
                let off = |a: &[f64], b: &[f64]| a.iter().zip(b).fold(0.0f64, |off, (a, b)| off.max((a - b).abs()));
                let [value, gradient] = [off(&found[0], &value), off(&found[1], &gradient)];
                assert!(value <= rounding, "width {width}, spread {spread}: {value:e} > {rounding:e}");
                let rounding = rounding / deviation;
                assert!(gradient <= rounding, "gradient, width {width}, spread {spread}: {gradient:e} > {rounding:e}");
            }
        }
    }

    #[test]
    fn a_large_mean_does_not_cancel() {
        let x: Vec<f32> = testing::noise(331, 3).iter().map(|x| x + 1000.0).collect();
        testing::row_near(ours, reference, &x, 1e-4);
    }

    #[test]
    fn a_nan_spoils_its_row_alone() {
        testing::spoilt_row(ours, f32::NAN);
        testing::spoilt_row(ours, f32::INFINITY);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        let (width, epsilon) = (testing::WIDTH, EPSILON as f32);
        let gradient = Gradient { x: &testing::noise(testing::LARGE, 5), width, epsilon };
        testing::same_for_any_thread_count(|| testing::value_and_gradient(ours));
        testing::same_for_any_instruction_set(&Value { width, epsilon });
        testing::same_for_any_instruction_set(&gradient);
    }
}
