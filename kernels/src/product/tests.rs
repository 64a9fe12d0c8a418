use burn::backend::DType;
use burn::tensor::{Device, Tensor, TensorData};

use super::linear_bf16;
use super::multiply::multiply;
use super::pack::Operand;
use crate::lanes::{InstructionSet, to_bf16};
use crate::testing::{assert_near, device, noise, same_for_any_thread_count, values};

fn rounded(x: f32) -> f64 {
    f64::from(f32::from_bits(u32::from(to_bf16(x)) << 16))
}

/// `start + a·b` of rounded operands in double precision; `a` is `[m, k]`, `b` is `[k, n]`.
fn exact([m, n, k]: [usize; 3], a: &[f32], b: &[f32], start: &[f32]) -> Vec<f64> {
    let mut out = Vec::with_capacity(m * n);
    for i in 0..m {
        for j in 0..n {
            let products = (0..k).map(|p| rounded(a[i * k + p]) * rounded(b[p * n + j]));
            out.push(f64::from(start[j]) + products.sum::<f64>());
        }
    }
    out
}

fn transposed(x: &[f32], [rows, columns]: [usize; 2]) -> Vec<f32> {
    (0..rows * columns).map(|i| x[i % rows * columns + i / rows]).collect()
}

#[test]
fn rounds_to_the_nearest_and_ties_to_even() {
    let back = |x: f32| rounded(x) as f32;
    let unit = 1.0 / 128.0;
    assert_eq!(back(1.0 + 0.49 * unit), 1.0);
    assert_eq!(back(1.0 + 0.51 * unit), 1.0 + unit);
    assert_eq!(back(1.0 + 0.5 * unit), 1.0);
    assert_eq!(back(-1.0 - 1.5 * unit), -1.0 - 2.0 * unit);
    assert_eq!(back(f32::MAX), f32::INFINITY);
    assert_eq!(back(f32::MIN_POSITIVE), f32::MIN_POSITIVE);
    assert_eq!(back(-f32::MIN_POSITIVE / 2.0).to_bits(), (-0.0f32).to_bits());
    assert!(back(f32::from_bits(0x7f80_0001)).is_nan());
}

#[test]
fn agrees_with_double_precision_on_each_instruction_set_however_operands_lie() {
    let shapes =
        [[1, 1, 1], [3, 5, 7], [13, 37, 61], [101, 67, 131], [97, 131, 613], [5, 2503, 103], [11, 0, 3], [3, 4, 0]];
    for [m, n, k] in shapes {
        let (a, b, start) = (noise(m * k, 1), noise(k * n, 2), noise(n, 3));
        let expected = exact([m, n, k], &a, &b, &start);
        let (turned_a, turned_b) = (transposed(&a, [m, k]), transposed(&b, [k, n]));
        for set in InstructionSet::all() {
            for (a, a_along) in [(&a, true), (&turned_a, false)] {
                for (b, b_along) in [(&b, false), (&turned_b, true)] {
                    let a = Operand { values: a, lines: m, depth: k, along: a_along };
                    let b = Operand { values: b, lines: n, depth: k, along: b_along };
                    let found: Vec<f64> = multiply(set, a, b, Some(&start)).into_iter().map(f64::from).collect();
                    assert_near(&found, &expected, (k + 1) as f64 * 2f64.powi(-24));
                }
            }
        }
    }
}

/// The value, and the gradients of its product with noise.
fn all(x: Tensor<3>, weight: Tensor<2>, bias: Tensor<1>) -> [Vec<f64>; 4] {
    let y = linear_bf16(x.clone(), weight.clone(), Some(bias.clone()));
    let noise = TensorData::new(noise(y.shape().num_elements(), 9), y.dims());
    let grads = (y.clone() * Tensor::from_data(noise, (&y.device(), y.dtype()))).sum().backward();
    let (by_x, by_weight) = (x.grad(&grads).unwrap(), weight.grad(&grads).unwrap());
    [values(y), values(by_x), values(by_weight), values(bias.grad(&grads).unwrap())]
}

fn tensor<const D: usize>(seed: u64, shape: [usize; D], dtype: DType, device: &Device) -> Tensor<D> {
    Tensor::from_data(TensorData::new(noise(shape.iter().product(), seed), shape), (device, dtype))
}

#[test]
fn gradients_are_products_of_rounded_factors() {
    let [batch, rows, k, n] = [3, 37, 61, 43];
    let m = batch * rows;
    let made = |dtype| {
        let device = device().autodiff();
        let (weight, bias) = (tensor(2, [k, n], dtype, &device), tensor(3, [n], dtype, &device));
        let x = tensor(1, [batch, rows, k], dtype, &device);
        all(x.require_grad(), weight.require_grad(), bias.require_grad())
    };
    let (x, weight, bias, grad) = (noise(m * k, 1), noise(k * n, 2), noise(n, 3), noise(m * n, 9));
    let value = exact([m, n, k], &x, &weight, &bias);
    let by_x = exact([m, k, n], &grad, &transposed(&weight, [k, n]), &vec![0.0; k]);
    let by_weight = exact([k, n, m], &transposed(&x, [m, k]), &grad, &vec![0.0; n]);
    let by_bias: Vec<f64> = (0..n).map(|j| grad[j..].iter().step_by(n).map(|&g| f64::from(g)).sum()).collect();
    let expected = [value, by_x, by_weight, by_bias];
    // The composed form rounds its results as well.
    for (dtype, tolerance) in [(DType::F32, 1e-5), (DType::F64, 2f64.powi(-8))] {
        for (found, expected) in made(dtype).iter().zip(&expected) {
            assert_near(found, expected, tolerance);
        }
    }
}

#[test]
fn views_are_what_they_show() {
    let views: [fn(Tensor<3>) -> Tensor<3>; 5] = [
        |x| x.swap_dims(0, 1),
        |x| x.swap_dims(1, 2),
        |x| x.slice([1.., 2.., 3..]),
        |x| x.flip([0, 2]),
        |x| x.narrow(0, 0, 1).expand([3, -1, -1]),
    ];
    for view in views {
        let x = view(tensor(1, [7, 11, 13], DType::F32, &device()));
        let width = x.dims()[2];
        let weight = tensor(2, [5, width], DType::F32, &device()).swap_dims(0, 1);
        let found = linear_bf16(x.clone(), weight.clone(), None);
        let copied = Tensor::<3>::from_data(x.into_data(), &device());
        let expected = linear_bf16(copied, Tensor::from_data(weight.into_data(), &device()), None);
        assert_eq!(values(found), values(expected));
    }
}

#[test]
fn nan_and_infinity_spoil_their_row_alone() {
    let (m, n, k) = (29, 37, 31);
    for (bad, row) in [(f32::NAN, 13), (f32::INFINITY, 28)] {
        let mut x = noise(m * k, 1);
        let weight = Tensor::<2>::from_data(TensorData::new(noise(k * n, 2), [k, n]), &device());
        let run = |x: &[f32]| -> Vec<f64> {
            values(linear_bf16(
                Tensor::<2>::from_data(TensorData::new(x.to_vec(), [m, k]), &device()),
                weight.clone(),
                None,
            ))
        };
        let sound = run(&x);
        x[row * k + 17] = bad;
        for (i, (found, sound)) in run(&x).into_iter().zip(sound).enumerate() {
            assert!(if i / n == row { !found.is_finite() } else { found == sound }, "row {}: {found}", i / n);
        }
    }
}

#[test]
fn the_same_bytes_for_any_thread_count() {
    same_for_any_thread_count(|| {
        let device = device().autodiff();
        let (weight, bias) = (tensor(2, [131, 67], DType::F32, &device), tensor(3, [67], DType::F32, &device));
        let x = tensor(1, [3, 211, 131], DType::F32, &device);
        all(x.require_grad(), weight.require_grad(), bias.require_grad()).concat()
    });
}
