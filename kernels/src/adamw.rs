//! One step of AdamW (Loshchilov and Hutter, arXiv 1711.05101, algorithm 2), with clipping and with a moving average of
//! the parameters, in one pass over memory.

use burn::backend::flex::FlexTensor;
use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, DType, Dispatch, Flex, TensorData, backend_extension};
use burn::tensor::Tensor;
use rayon::prelude::*;

use crate::blocks::{BLOCK, PARALLEL, contiguous, elements, elements_mut};
use crate::simd::{Task, vectorised};

/// The settings of one step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AdamW {
    /// The learning rate, η.
    pub rate: f64,
    /// The decay rates β₁ and β₂ of the moments.
    pub betas: [f64; 2],
    /// What is added to the root of the second moment, ε.
    pub epsilon: f64,
    /// The decay of the parameters, λ, for a learning rate of 1; 0 for those that are not decayed.
    pub weight_decay: f64,
    /// What the gradient is multiplied by, to clip its norm.
    pub scale: f64,
    /// The number of this step, t, from 1.
    pub step: u64,
    /// The decay rate of the moving average of the parameters.
    pub average_decay: f64,
}

/// What an optimizer holds of one parameter, each of the parameter's length.
#[derive(Clone, Debug)]
pub struct Moments {
    /// The first moment, m.
    pub first: Tensor<1>,
    /// The second moment, v.
    pub second: Tensor<1>,
    /// The moving average of the parameter.
    pub average: Tensor<1>,
}

impl AdamW {
    /// The parameter after the step, and the moments after it.
    ///
    /// On Flex with `f32` nothing is copied where nobody else holds the moments and the gradient: the moments are
    /// changed in place, and the new parameter takes the storage of the gradient. It may so be called with a parameter
    /// that a model still holds. No tensor may require gradients.
    ///
    /// # Shapes
    ///
    /// - `parameter`, `gradient`, moments, output: `[N]`
    ///
    /// # Panics
    ///
    /// If the lengths differ.
    pub fn step(self, parameter: Tensor<1>, gradient: Tensor<1>, moments: Moments) -> (Tensor<1>, Moments) {
        let Moments { first, second, average } = moments;
        for other in [&gradient, &first, &second, &average] {
            assert_eq!(other.dims(), parameter.dims(), "the gradient and the moments have the parameter's length");
        }
        let [parameter, gradient, first, second, average] =
            [parameter, gradient, first, second, average].map(Tensor::into_dispatch);
        let (parameter, first, second, average) =
            <Dispatch as Optimizer>::adamw(parameter, gradient, first, second, average, self);
        let [parameter, first, second, average] = [parameter, first, second, average].map(Tensor::from_dispatch);
        (parameter, Moments { first, second, average })
    }
}

/// The sum of the squares of all elements, for the norm to clip by; on Flex with `f32` it is summed in `f64`.
///
/// The tensor must not require gradients.
pub fn sum_of_squares<const D: usize>(x: Tensor<D>) -> f64 {
    let sum = Tensor::<1>::from_dispatch(<Dispatch as Optimizer>::sum_of_squares(x.into_dispatch()));
    sum.into_data().convert::<f64>().iter::<f64>().sum()
}

/// A backend that has the parts of an optimizer: in the composed form, unless it knows better.
#[backend_extension(Flex, Cube: cfg(any(feature = "cuda", feature = "vulkan", feature = "metal")))]
pub(crate) trait Optimizer: Backend {
    /// The parameter, the first and the second moment and the average after a step.
    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        average: FloatTensor<Self>,
        settings: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        composed_adamw::<Self>(parameter, gradient, first, second, average, settings)
    }

    /// The sum of the squares of all elements, `[1]`.
    fn sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        composed_squares::<Self>(x)
    }
}

#[cfg(any(feature = "cuda", feature = "vulkan", feature = "metal"))]
impl Optimizer for burn::backend::Cube {}

impl Optimizer for Flex {
    fn adamw(
        parameter: FloatTensor<Self>,
        gradient: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        average: FloatTensor<Self>,
        settings: AdamW,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        let types = [&parameter, &gradient, &first, &second, &average].map(FlexTensor::dtype);
        if types != [DType::F32; 5] {
            return composed_adamw::<Self>(parameter, gradient, first, second, average, settings);
        }
        let parameter = contiguous(parameter);
        let [mut gradient, mut first, mut second, mut average] = [gradient, first, second, average].map(contiguous);
        let step = Step {
            constants: Constants::new(settings),
            parameter: elements(&parameter),
            gradient: elements_mut(&mut gradient),
            first: elements_mut(&mut first),
            second: elements_mut(&mut second),
            average: elements_mut(&mut average),
        };
        step.run_in_parallel();
        (gradient, first, second, average)
    }

    fn sum_of_squares(x: FloatTensor<Self>) -> FloatTensor<Self> {
        if x.dtype() != DType::F32 {
            return composed_squares::<Self>(x);
        }
        let x = contiguous(x);
        let total = squares(elements(&x));
        FlexTensor::from_data(TensorData::new(vec![total], [1]))
    }
}

/// The settings as the kernel wants them.
#[derive(Clone, Copy)]
struct Constants {
    rate: f32,
    /// 1 - β₁ and 1 - β₂, and as much for the average. Moments and average move by a fraction of their distance: to
    /// multiply by β and 1 - β, each rounded, would pull a steady average off its mark by 3 in 10,000 for β = 0.9999.
    towards: [f32; 3],
    /// 1 / (1 - β₁ᵗ) and 1 / (1 - β₂ᵗ).
    corrections: [f32; 2],
    epsilon: f32,
    weight_decay: f32,
    scale: f32,
}

impl Constants {
    fn new(settings: AdamW) -> Self {
        let [towards_first, towards_second] = settings.betas.map(|beta| (1.0 - beta) as f32);
        Self {
            rate: settings.rate as f32,
            towards: [towards_first, towards_second, (1.0 - settings.average_decay) as f32],
            corrections: settings.betas.map(|beta| (1.0 / (1.0 - beta.powf(settings.step as f64))) as f32),
            epsilon: settings.epsilon as f32,
            weight_decay: settings.weight_decay as f32,
            scale: settings.scale as f32,
        }
    }
}

/// A step of slices of one length; the new parameter takes the place of the gradient.
struct Step<'a> {
    constants: Constants,
    parameter: &'a [f32],
    gradient: &'a mut [f32],
    first: &'a mut [f32],
    second: &'a mut [f32],
    average: &'a mut [f32],
}

impl Step<'_> {
    fn run_in_parallel(self) {
        if self.parameter.len() < PARALLEL {
            return vectorised(self);
        }
        let constants = self.constants;
        let inputs = (self.parameter.par_chunks(BLOCK), self.gradient.par_chunks_mut(BLOCK));
        let moments = (self.first.par_chunks_mut(BLOCK), self.second.par_chunks_mut(BLOCK));
        let blocks = (inputs.0, inputs.1, moments.0, moments.1, self.average.par_chunks_mut(BLOCK));
        blocks.into_par_iter().for_each(|(parameter, gradient, first, second, average)| {
            vectorised(Step { constants, parameter, gradient, first, second, average });
        });
    }
}

impl Task for Step<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Constants { rate, towards, corrections, epsilon, weight_decay, scale } = self.constants;
        let moments = self.first.iter_mut().zip(self.second).zip(self.average);
        for ((&x, g), ((m, v), average)) in self.parameter.iter().zip(self.gradient).zip(moments) {
            let gradient = *g * scale;
            *m += (gradient - *m) * towards[0];
            *v += (gradient * gradient - *v) * towards[1];
            let direction = *m * corrections[0] / ((*v * corrections[1]).sqrt() + epsilon);
            *g = x - rate * (direction + weight_decay * x);
            *average += (*g - *average) * towards[2];
        }
    }
}

/// The sum of the squares, in an order that depends on the length alone.
fn squares(x: &[f32]) -> f64 {
    if x.len() < PARALLEL {
        return x.chunks(BLOCK).map(|x| vectorised(Squares(x))).sum();
    }
    let blocks: Vec<f64> = x.par_chunks(BLOCK).map(|x| vectorised(Squares(x))).collect();
    blocks.iter().sum()
}

struct Squares<'a>(&'a [f32]);

impl Task for Squares<'_> {
    type Output = f64;

    #[inline(always)]
    fn run(self) -> f64 {
        /// As in the sums of `f32`, a constant number of partial sums.
        const LANES: usize = 32;
        let (blocks, rest) = self.0.as_chunks::<LANES>();
        let mut lanes = [0.0; LANES];
        for block in blocks {
            for i in 0..LANES {
                lanes[i] += f64::from(block[i]) * f64::from(block[i]);
            }
        }
        let rest: f64 = rest.iter().map(|&x| f64::from(x) * f64::from(x)).sum();
        lanes.iter().sum::<f64>() + rest
    }
}

fn composed_adamw<B: Backend>(
    parameter: FloatTensor<B>,
    gradient: FloatTensor<B>,
    first: FloatTensor<B>,
    second: FloatTensor<B>,
    average: FloatTensor<B>,
    settings: AdamW,
) -> (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) {
    let towards = |from: FloatTensor<B>, to: FloatTensor<B>, decay: f64| {
        let step = B::float_mul_scalar(B::float_sub(to, from.clone()), (1.0 - decay).into());
        B::float_add(from, step)
    };
    let [beta1, beta2] = settings.betas;
    let corrections = settings.betas.map(|beta| 1.0 / (1.0 - beta.powf(settings.step as f64)));
    let gradient = B::float_mul_scalar(gradient, settings.scale.into());
    let first = towards(first, gradient.clone(), beta1);
    let second = towards(second, B::float_mul(gradient.clone(), gradient), beta2);
    let root = B::float_sqrt(B::float_mul_scalar(second.clone(), corrections[1].into()));
    let direction = B::float_div(
        B::float_mul_scalar(first.clone(), corrections[0].into()),
        B::float_add_scalar(root, settings.epsilon.into()),
    );
    let decayed = B::float_mul_scalar(parameter.clone(), settings.weight_decay.into());
    let change = B::float_mul_scalar(B::float_add(direction, decayed), settings.rate.into());
    let parameter = B::float_sub(parameter, change);
    let average = towards(average, parameter.clone(), settings.average_decay);
    (parameter, first, second, average)
}

fn composed_squares<B: Backend>(x: FloatTensor<B>) -> FloatTensor<B> {
    B::float_sum(B::float_mul(x.clone(), x))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{self, device, noise};

    const LENGTHS: [usize; 5] = [1, 31, 331, BLOCK + 1, PARALLEL + 61];

    fn settings(step: u64) -> AdamW {
        AdamW { rate: 0.01, betas: [0.9, 0.95], epsilon: 1e-8, weight_decay: 0.1, scale: 0.7, step, average_decay: 0.9 }
    }

    fn tensor(values: &[f32], dtype: DType) -> Tensor<1> {
        Tensor::from_data(TensorData::new(values.to_vec(), [values.len()]), (&device(), dtype))
    }

    /// The parameter and its average after some steps with gradients of noise.
    fn steps(n: usize, dtype: DType) -> [Tensor<1>; 2] {
        let mut parameter = tensor(&noise(n, 0), dtype);
        let zeros = Tensor::zeros_like(&parameter);
        let mut moments = Moments { first: zeros.clone(), second: zeros, average: parameter.clone() };
        for step in 1..=5 {
            (parameter, moments) = settings(step).step(parameter, tensor(&noise(n, step), dtype), moments);
        }
        [parameter, moments.average]
    }

    /// The algorithm of the paper, one number after the other, with its bias corrections written out.
    fn plain(n: usize) -> [Vec<f64>; 2] {
        let gradients: Vec<Vec<f32>> = (1..=5).map(|step| noise(n, step)).collect();
        let run = |(i, x): (usize, f32)| {
            let (mut x, mut average, mut m, mut v) = (f64::from(x), f64::from(x), 0.0, 0.0);
            for (t, gradients) in (1..).zip(&gradients) {
                let g = 0.7 * f64::from(gradients[i]);
                m = 0.9 * m + 0.1 * g;
                v = 0.95 * v + 0.05 * g * g;
                let (first, second) = (m / (1.0 - 0.9f64.powi(t)), v / (1.0 - 0.95f64.powi(t)));
                x -= 0.01 * (first / (second.sqrt() + 1e-8) + 0.1 * x);
                average = 0.9 * average + 0.1 * x;
            }
            (x, average)
        };
        let (x, average) = noise(n, 0).into_iter().enumerate().map(run).unzip();
        [x, average]
    }

    #[test]
    fn steps_are_those_of_the_algorithm() {
        for n in LENGTHS {
            let expected = plain(n);
            for (dtype, tolerance) in [(DType::F32, 1e-6), (DType::F64, 1e-13)] {
                for (found, expected) in steps(n, dtype).into_iter().zip(&expected) {
                    testing::assert_near(&testing::values(found), expected, tolerance);
                }
            }
        }
    }

    #[test]
    fn what_somebody_else_holds_does_not_change() {
        let n = 101;
        let [x, g, m, v, a] = [1, 2, 3, 4, 5].map(|seed| tensor(&noise(n, seed), DType::F32).abs());
        let before = [&x, &g, &m, &v, &a].map(|x| testing::values(x.clone()));
        let moments = Moments { first: m.clone(), second: v.clone(), average: a.clone() };
        let (y, _) = settings(1).step(x.clone(), g.clone(), moments);
        assert_ne!(testing::values(y), before[0]);
        assert_eq!([x, g, m, v, a].map(testing::values), before);
    }

    #[test]
    fn a_lone_gradient_gives_its_storage_to_the_parameter() {
        let storage = |x: &FlexTensor| elements(x).as_ptr();
        let [x, g, m, v, a] = [1, 2, 3, 4, 5].map(|seed| FlexTensor::from_data(TensorData::new(noise(97, seed), [97])));
        let before = [&g, &m, &v, &a].map(storage);
        let (x, m, v, a) = Flex::adamw(x.clone(), g, m, v, a, settings(1));
        assert_eq!([&x, &m, &v, &a].map(storage), before);
    }

    #[test]
    fn a_steady_average_stays_at_its_mark() {
        let ones = Tensor::<1>::ones([7], &device());
        let mut moments = Moments { first: ones.zeros_like(), second: ones.zeros_like(), average: ones.clone() };
        let settings = AdamW { weight_decay: 0.0, average_decay: 0.9999, ..settings(1) };
        for _ in 0..1000 {
            (_, moments) = settings.step(ones.clone(), ones.zeros_like(), moments);
        }
        assert_eq!(testing::values(moments.average), [1.0; 7]);
    }

    #[test]
    fn squares_are_summed_in_double_precision() {
        for n in LENGTHS {
            let x: Vec<f32> = noise(n, 1).iter().map(|x| 1e15 * x).collect();
            let expected: f64 = x.iter().map(|&x| f64::from(x).powi(2)).sum();
            for x in [tensor(&x, DType::F32), tensor(&x, DType::F64)] {
                assert!((sum_of_squares(x) / expected - 1.0).abs() < 1e-13);
            }
        }
        assert_eq!(sum_of_squares(tensor(&[3e38, 0.0], DType::F32)), f64::from(3e38f32).powi(2));
        assert!(sum_of_squares(tensor(&[f32::NAN, 0.0], DType::F32)).is_nan());
        assert_eq!(sum_of_squares(Tensor::<2>::zeros([0, 3], &device())), 0.0);
    }

    #[test]
    fn a_view_is_as_good_as_a_tensor() {
        let x = tensor(&noise(42, 1), DType::F32).reshape([6, 7]);
        let expected = sum_of_squares(x.clone().slice([1..5, 2..6]).reshape([-1]));
        assert!((sum_of_squares(x.slice([1..5, 2..6])) / expected - 1.0).abs() < 1e-14);
    }

    #[test]
    #[should_panic(expected = "the parameter's length")]
    fn a_gradient_of_another_length_is_a_bug() {
        let x = |n| Tensor::zeros([n], &device());
        settings(1).step(x(2), x(3), Moments { first: x(2), second: x(2), average: x(2) });
    }

    #[test]
    fn the_same_bytes_for_any_thread_count_and_instruction_set() {
        testing::same_for_any_thread_count(|| steps(3 * PARALLEL + 7, DType::F32).map(testing::values).concat());
        let x = noise(3 * PARALLEL + 7, 1);
        testing::same_for_any_thread_count(|| vec![squares(&x)]);
        assert_eq!(vectorised(Squares(&x)), Squares(&x).run());
        let with = |run: fn(Step)| {
            let [mut gradient, mut first, mut second, mut average] = [2, 3, 4, 5].map(|seed| noise(x.len(), seed));
            second.iter_mut().for_each(|v| *v = v.abs());
            run(Step {
                constants: Constants::new(settings(3)),
                parameter: &x,
                gradient: &mut gradient,
                first: &mut first,
                second: &mut second,
                average: &mut average,
            });
            [gradient, first, second, average]
        };
        assert_eq!(with(|step| vectorised(step)), with(|step| step.run()));
    }
}
