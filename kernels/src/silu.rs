//! The sigmoid linear unit, also called swish (Hendrycks and Gimpel, arXiv 1606.08415; Ramachandran et al.,
//! arXiv 1710.05941).

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Tensor;

use crate::simd::{Kernel, at_least, exp};
use crate::unary::Function;

/// `x·σ(x) = x / (1 + exp(-x))`, element by element.
///
/// For `f32` on Flex within 3e-7 of the exact value, in relation to the larger of 1 and |x|.
///
/// # Shapes
///
/// - `x`, output: any, the same
pub fn silu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Function::Silu.of(x)
}

/// Where σ(x) is 0 or 1 in `f32`, with room. Beyond it x is replaced by the bound, which keeps 0·∞ away.
const FAR: f32 = 110.0;

pub(crate) struct Value;

impl Kernel for Value {
    #[inline(always)]
    fn run(&self, _start: usize, block: &mut [f32]) {
        for x in block {
            *x = value(*x);
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
            *grad *= slope(x);
        }
    }
}

#[inline(always)]
pub(crate) fn value(x: f32) -> f32 {
    let x = at_least(x, -FAR);
    x / (1.0 + exp(-x))
}

/// `σ + x·σ·(1 - σ)`, from the exponential of -|x|, which cannot overflow.
#[inline(always)]
pub(crate) fn slope(x: f32) -> f32 {
    let x = x.clamp(-FAR, FAR);
    let e = exp(-x.abs());
    let s = 1.0 / (1.0 + e);
    let sigmoid = if x < 0.0 { e * s } else { s };
    sigmoid + x * (e * s * s)
}

pub(crate) fn composed_value<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let x = B::float_clamp_min(x, (-FAR).into());
    B::float_mul(x.clone(), B::sigmoid(x))
}

pub(crate) fn composed_gradient<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let x = B::float_clamp(x, (-FAR).into(), FAR.into());
    let rising = B::sigmoid(x.clone());
    let falling = B::sigmoid(B::float_neg(x.clone()));
    let slope = B::float_mul(rising, B::float_add_scalar(B::float_mul(x, falling), 1.0.into()));
    B::float_mul(grad, slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Scalar};

    fn exact(x: f64) -> f64 {
        x / (1.0 + (-x).exp())
    }

    const SILU: Scalar = Scalar { ours: silu, exact };

    #[test]
    fn agrees_with_the_formula_in_double_precision() {
        testing::scalar_values(&SILU, 3e-7);
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        testing::scalar_slopes(&SILU, 1e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_burns_for_any_layout() {
        testing::layouts(silu::<3>, burn::tensor::activation::silu::<3>, 2e-6);
    }

    #[test]
    fn infinity_and_nan() {
        testing::edges(silu);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        testing::same_for_any_thread_count(|| testing::value_and_gradient(silu::<3>));
        testing::same_for_any_instruction_set(&Value);
        testing::same_for_any_instruction_set(&Gradient { x: &testing::noise(testing::LARGE, 5) });
    }
}
