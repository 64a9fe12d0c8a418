//! The exponential linear unit (Clevert, Unterthiner and Hochreiter, arXiv 1511.07289, equation 6) with α = 1.

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Tensor;

use crate::simd::{Kernel, exp};
use crate::unary::Function;

/// `x` above zero, `exp(x) - 1` below, element by element.
///
/// For `f32` on Flex within 3e-7 of the exact value, in relation to the larger of 1 and |x|.
///
/// # Shapes
///
/// - `x`, output: any, the same
pub fn elu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Function::Elu.of(x)
}

pub(crate) struct Value;

impl Kernel for Value {
    #[inline(always)]
    fn run(&self, _start: usize, block: &mut [f32]) {
        for x in block {
            let below = exp(*x) - 1.0;
            *x = if *x > 0.0 { *x } else { below };
        }
    }
}

pub(crate) struct Gradient<'a> {
    pub x: &'a [f32],
}

impl Kernel for Gradient<'_> {
    #[inline(always)]
    fn run(&self, start: usize, block: &mut [f32]) {
        for (grad, &x) in block.iter_mut().zip(&self.x[start..]) {
            let below = exp(x);
            *grad *= if x > 0.0 { 1.0 } else { below };
        }
    }
}

/// The exponential of what lies below zero, 1 above, where it could overflow.
fn below<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_exp(B::float_clamp_max(x, 0.0.into()))
}

pub(crate) fn composed_value<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let above = B::float_clamp_min(x.clone(), 0.0.into());
    B::float_add(above, B::float_add_scalar(below::<B>(x), (-1.0).into()))
}

pub(crate) fn composed_gradient<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    B::float_mul(grad, below::<B>(x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Scalar};
    use burn::tensor::DType;

    fn exact(x: f64) -> f64 {
        if x > 0.0 { x } else { x.exp_m1() }
    }

    const ELU: Scalar = Scalar { ours: elu, exact };

    #[test]
    fn agrees_with_the_formula_in_double_precision() {
        testing::scalar_values(&ELU, 3e-7);
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        testing::scalar_slopes(&ELU, 1e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_burns_for_any_layout() {
        testing::layouts(elu::<3>, |x| burn::tensor::activation::elu(x, 1.0), 2e-6);
    }

    #[test]
    fn infinity_and_nan() {
        for dtype in [DType::F32, DType::F64] {
            let x = [f32::NEG_INFINITY, -200.0, 0.0, 200.0, f32::INFINITY, f32::NAN];
            let y = testing::values(elu(testing::line(&x, dtype, &testing::device())));
            assert_eq!(y[..5], [-1.0, -1.0, 0.0, 200.0, f64::INFINITY], "{dtype:?}");
            assert!(y[5].is_nan());
        }
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        testing::same_for_any_thread_count(|| testing::value_and_gradient(elu::<3>));
        testing::same_for_any_instruction_set(&Value);
        testing::same_for_any_instruction_set(&Gradient { x: &testing::noise(testing::LARGE, 5) });
    }
}
