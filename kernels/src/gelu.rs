//! The Gaussian error linear unit in its tanh form (Hendrycks and Gimpel, arXiv 1606.08415, section 2).

use burn::backend::Backend;
use burn::backend::tensor::FloatTensor;
use burn::tensor::Tensor;

use crate::simd::{Kernel, at_least, exp};
use crate::unary::Function;

/// `0.5·x·(1 + tanh(√(2/π)·(x + 0.044715·x³)))`, element by element: what PyTorch calls `gelu(approximate="tanh")`.
///
/// For `f32` on Flex within 5e-7 of the exact value of this formula, in relation to the larger of 1 and |x|.
/// For the exact Gaussian form see `burn::tensor::activation::gelu`.
///
/// # Shapes
///
/// - `x`, output: any, the same
pub fn gelu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    Function::Gelu.of(x)
}

// With tanh(u) = 2σ(2u) - 1 the formula is x·σ(v), where v = 2√(2/π)·x + 2√(2/π)·0.044715·x³: one exponential, and
// no cancellation where x is negative.
const LINEAR: f64 = 1.595_769_121_605_730_7;
const CUBIC: f64 = LINEAR * 0.044_715;

/// Where σ(v) is 0 or 1 in `f32`, with room. Beyond it x is replaced by the bound, which keeps 0·∞ away.
const FAR: f32 = 16.0;

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
fn value(x: f32) -> f32 {
    let x = at_least(x, -FAR);
    let v = x * (LINEAR as f32 + CUBIC as f32 * (x * x));
    x / (1.0 + exp(-v))
}

/// `σ + x·v'·σ·(1 - σ)`, from the exponential of -|v|, which cannot overflow.
#[inline(always)]
fn slope(x: f32) -> f32 {
    let x = x.clamp(-FAR, FAR);
    let square = x * x;
    let v = x * (LINEAR as f32 + CUBIC as f32 * square);
    let v_slope = LINEAR as f32 + 3.0 * CUBIC as f32 * square;
    let e = exp(-v.abs());
    let s = 1.0 / (1.0 + e);
    let sigmoid = if v < 0.0 { e * s } else { s };
    sigmoid + x * v_slope * (e * s * s)
}

pub(crate) fn composed_value<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    let x = B::float_clamp_min(x, (-FAR).into());
    let (v, _) = composed_v::<B>(x.clone());
    B::float_mul(x, B::sigmoid(v))
}

pub(crate) fn composed_gradient<B: Backend>(x: FloatTensor<B>, grad: FloatTensor<B>) -> FloatTensor<B> {
    let x = B::float_clamp(x, (-FAR).into(), FAR.into());
    let (v, v_slope) = composed_v::<B>(x.clone());
    let rising = B::sigmoid(v.clone());
    let falling = B::sigmoid(B::float_neg(v));
    let bend = B::float_mul(B::float_mul(x, v_slope), falling);
    let slope = B::float_mul(rising, B::float_add_scalar(bend, 1.0.into()));
    B::float_mul(grad, slope)
}

/// v and its slope.
fn composed_v<B: Backend>(x: FloatTensor<B>) -> (FloatTensor<B>, FloatTensor<B>) {
    let cubic = B::float_mul_scalar(B::float_mul(x.clone(), x.clone()), CUBIC.into());
    let v_slope = B::float_add_scalar(B::float_mul_scalar(cubic.clone(), 3.0.into()), LINEAR.into());
    (B::float_mul(x, B::float_add_scalar(cubic, LINEAR.into())), v_slope)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, Scalar};
    use burn::tensor::activation::gelu_approximate;

    fn exact(x: f64) -> f64 {
        0.5 * x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x * x * x)).tanh())
    }

    const GELU: Scalar = Scalar { ours: gelu, exact };

    #[test]
    fn agrees_with_the_formula_in_double_precision() {
        testing::scalar_values(&GELU, 5e-7);
    }

    #[test]
    fn the_gradient_agrees_with_finite_differences() {
        testing::scalar_slopes(&GELU, 3e-6);
    }

    #[test]
    fn value_and_gradient_agree_with_burns_for_any_layout() {
        testing::layouts(gelu::<3>, gelu_approximate::<3>, 3e-6);
    }

    #[test]
    fn infinity_and_nan() {
        testing::edges(gelu);
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        testing::same_for_any_thread_count(|| testing::value_and_gradient(gelu::<3>));
        testing::same_for_any_instruction_set(&Value);
        testing::same_for_any_instruction_set(&Gradient { x: &testing::noise(testing::LARGE, 5) });
    }
}
