//! What the tests of all operations share.

use burn::backend::DType;
use burn::tensor::{Device, Tensor, TensorData};

use crate::simd::{Kernel, SummingKernel, run_on_each, run_summing_on_each};

/// A row width and a number of elements that no vector length divides; the latter enough for several threads.
pub const WIDTH: usize = 61;
pub const LARGE: usize = 17 * 37 * WIDTH;

type Operation = fn(Tensor<3>) -> Tensor<3>;

/// An element-wise function.
pub struct Scalar {
    pub ours: fn(Tensor<1>) -> Tensor<1>,
    pub exact: fn(f64) -> f64,
}

pub fn device() -> Device {
    Device::flex()
}

/// Numbers from -1 to 1 (SplitMix64).
pub fn noise(n: usize, seed: u64) -> Vec<f32> {
    let number = |i: u64| {
        let z = (seed << 32).wrapping_add(i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..n as u64).map(number).collect()
}

pub fn values<const D: usize>(x: Tensor<D>) -> Vec<f64> {
    x.into_data().convert::<f64>().try_into_vec().unwrap()
}

/// Asserts that two lists agree within `tolerance` times the larger of 1 and the largest expected number.
pub fn assert_near(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    let size = expected.iter().fold(1.0f64, |size, x| size.max(x.abs()));
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        let near = (found - expected).abs() <= tolerance * size;
        assert!(near, "at {i}: found {found}, expected {expected}, largest {size}");
    }
}

pub fn line(x: &[f32], dtype: DType, device: &Device) -> Tensor<1> {
    Tensor::from_data(TensorData::new(x.to_vec(), [x.len()]), (device, dtype))
}

/// The gradient of the sum of `f(x)`.
fn slopes(f: fn(Tensor<1>) -> Tensor<1>, x: &[f32], dtype: DType) -> Vec<f64> {
    let x = line(x, dtype, &device().autodiff()).require_grad();
    let grads = f(x.clone()).sum().backward();
    values(x.grad(&grads).unwrap())
}

/// From -20 to 20, and far out.
fn sweep() -> Vec<f32> {
    let far = [-1e30, -1e10, -300.0, -120.0, -100.0, -60.0, 60.0, 100.0, 300.0, 1e10, 1e30];
    (0..=40_009).map(|i| i as f32 * (40.0 / 40_009.0) - 20.0).chain(far).collect()
}

/// Values agree with the exact ones, within `tolerance` times the larger of 1 and |x|.
pub fn scalar_values(scalar: &Scalar, tolerance: f64) {
    for (dtype, tolerance) in [(DType::F32, tolerance), (DType::F64, 1e-12)] {
        let found = values((scalar.ours)(line(&sweep(), dtype, &device())));
        for (&x, found) in sweep().iter().zip(found) {
            let (x, expected) = (x as f64, (scalar.exact)(x as f64));
            assert!((found - expected).abs() <= tolerance * x.abs().max(1.0), "{x}: {found}, expected {expected}");
        }
    }
}

/// Gradients agree with central differences of the exact values.
pub fn scalar_slopes(scalar: &Scalar, tolerance: f64) {
    const STEP: f64 = 1e-5;
    for (dtype, tolerance) in [(DType::F32, tolerance), (DType::F64, 1e-8)] {
        let x: Vec<f32> = sweep().into_iter().filter(|x| x.abs() < 1e3).collect();
        for (&x, found) in x.iter().zip(slopes(scalar.ours, &x, dtype)) {
            let x = x as f64;
            let expected = ((scalar.exact)(x + STEP) - (scalar.exact)(x - STEP)) / (2.0 * STEP);
            assert!((found - expected).abs() <= tolerance, "{x}: {found}, expected {expected}");
        }
    }
}

/// Values and gradients of an activation at the ends of the number line, in vectors and in their tails.
pub fn edges(f: fn(Tensor<1>) -> Tensor<1>) {
    let inputs = [f32::NEG_INFINITY, f32::MIN, -1e4, -0.0, 0.0, 1e4, f32::MAX, f32::INFINITY, f32::NAN, -f32::NAN];
    let x: Vec<f32> = inputs.iter().copied().cycle().take(331).collect();
    let y = values(f(line(&x, DType::F32, &device())));
    for ((x, y), slope) in x.iter().zip(y).zip(slopes(f, &x, DType::F32)) {
        if x.is_nan() {
            assert!(y.is_nan() && slope.is_nan(), "{x}: {y}, slope {slope}");
        } else {
            assert_eq!(y, x.max(0.0) as f64, "{x}");
            let expected = if *x == 0.0 { 0.5 } else { f64::from(u8::from(*x > 0.0)) };
            assert_eq!(slope, expected, "slope at {x}");
        }
    }
    // The composed form.
    let y = values(f(line(&[f32::NEG_INFINITY, f32::INFINITY, f32::NAN], DType::F64, &device())));
    assert!(y[0].abs() < 1e-40 && y[1] == f64::INFINITY && y[2].is_nan(), "{y:?}");
}

fn cube(shape: [usize; 3], dtype: DType, device: &Device) -> Tensor<3> {
    let x = noise(shape.iter().product(), 1).iter().map(|x| 3.0 * x).collect::<Vec<_>>();
    Tensor::from_data(TensorData::new(x, shape), (device, dtype))
}

/// The value of `f(view(x))`, and the gradient by x of its product with noise.
pub fn both(f: Operation, view: Operation, shape: [usize; 3], dtype: DType) -> [Vec<f64>; 2] {
    let x = cube(shape, dtype, &device().autodiff()).require_grad();
    let y = f(view(x.clone()));
    let weights = TensorData::new(noise(y.shape().num_elements(), 2), y.dims());
    let grads = (y.clone() * Tensor::from_data(weights, (&y.device(), dtype))).sum().backward();
    [values(y), values(x.grad(&grads).unwrap())]
}

/// The value for one row, and its gradient as in [`both`].
pub fn row_both(f: Operation, row: &[f32], dtype: DType) -> [Vec<f64>; 2] {
    let x = line(row, dtype, &device().autodiff()).require_grad();
    let y = f(x.clone().unsqueeze());
    let weights = line(&noise(row.len(), 2), dtype, &y.device());
    let grads = (y.clone() * weights.unsqueeze()).sum().backward();
    [values(y), values(x.grad(&grads).unwrap())]
}

/// Values and gradients for inputs that are views, with and without a gradient; inputs that are held stay as they are.
pub fn layouts(ours: Operation, reference: Operation, tolerance: f64) {
    let views: [Operation; 7] = [
        |x| x,
        |x| x.swap_dims(0, 2),
        |x| x.swap_dims(1, 2),
        |x| x.slice([1.., 2.., 0..]),
        |x| x.slice([0.., 1.., 1..]),
        |x| x.flip([2, 0]),
        |x| x.narrow(0, 0, 1).expand([3, -1, -1]),
    ];
    for shape in [[5, 7, 11], [7, 11, 13], [7, 67, 5], [31, 37, 41]] {
        for view in views {
            let expected = both(reference, view, shape, DType::F64);
            for (found, expected) in both(ours, view, shape, DType::F32).iter().zip(&expected) {
                assert_near(found, expected, tolerance);
            }
            let x = cube(shape, DType::F32, &device());
            assert_near(&values(ours(view(x.clone()))), &expected[0], tolerance);
            assert_eq!(values(x.clone()), values(cube(shape, DType::F32, &device())));
            assert_near(&values(ours(view(x))), &expected[0], tolerance);
        }
    }
}

/// Values and gradients of a row-wise operation: of the kernels in `f32` and of the composed form in `f64`, against
/// Burn's own gradient of `reference` and against finite differences of it.
pub fn rows(ours: Operation, reference: Operation, tolerance: f64) {
    let shapes =
        [[1, 1, 1], [1, 2, 1], [5, 3, 2], [2, 3, 5], [3, 1, 31], [1, 7, 37], [2, 5, 67], [3, 2, 331], [1, 3, 4999]];
    for shape in shapes {
        let [value, gradient] = both(reference, |x| x, shape, DType::F64);
        for (dtype, tolerance) in [(DType::F32, tolerance), (DType::F64, 1e-11), (DType::BF16, 0.03)] {
            let found = both(ours, |x| x, shape, dtype);
            assert_near(&found[0], &value, tolerance);
            assert_near(&found[1], &gradient, tolerance);
        }
    }
    finite_differences(ours, reference);
    for shape in [[0, 3, 5], [2, 0, 5], [2, 3, 0]] {
        assert_eq!(ours(cube(shape, DType::F32, &device())).dims(), shape);
    }
}

/// The gradient in `f64` agrees with finite differences of the reference.
pub fn finite_differences(ours: Operation, reference: Operation) {
    const STEP: f64 = 1e-5;
    const SHAPE: [usize; 3] = [1, 3, 7];
    let [_, gradient] = both(ours, |x| x, SHAPE, DType::F64);
    let x = values(cube(SHAPE, DType::F64, &device()));
    let weights = noise(x.len(), 2);
    let loss = |i: usize, step: f64| -> f64 {
        let mut x = x.clone();
        x[i] += step;
        let y = reference(Tensor::from_data(TensorData::new(x, SHAPE), (&device(), DType::F64)));
        values(y).iter().zip(&weights).map(|(y, &weight)| y * weight as f64).sum()
    };
    let expected: Vec<f64> = (0..x.len()).map(|i| (loss(i, STEP) - loss(i, -STEP)) / (2.0 * STEP)).collect();
    assert_near(&gradient, &expected, 1e-8);
}

/// The operation's result for one row.
pub fn map_row(f: Operation, row: &[f32]) -> Vec<f32> {
    let x = Tensor::from_data(TensorData::new(row.to_vec(), [1, 1, row.len()]), &device());
    f(x).into_data().try_into_vec().unwrap()
}

/// The operation and its reference in double precision agree on one row.
pub fn row_near(ours: Operation, reference: Operation, row: &[f32], tolerance: f64) {
    let data = TensorData::new(row.to_vec(), [1, 1, row.len()]);
    let expected = values(reference(Tensor::from_data(data, (&device(), DType::F64))));
    let found: Vec<f64> = map_row(ours, row).into_iter().map(f64::from).collect();
    assert_near(&found, &expected, tolerance);
}

/// `bad` at one place makes this place NaN, and the row if it is NaN, and leaves the other rows as they were.
pub fn spoilt_row(f: Operation, bad: f32) {
    const N: usize = 67;
    for place in [0, 30, N - 1] {
        let mut x = noise(3 * N, 1);
        let run = |x: &[f32]| -> Vec<f32> {
            let x = Tensor::from_data(TensorData::new(x.to_vec(), [1, 3, N]), &device());
            f(x).into_data().try_into_vec().unwrap()
        };
        let sound = run(&x);
        x[N + place] = bad;
        let found = run(&x);
        assert_eq!(found[..N], sound[..N]);
        assert_eq!(found[2 * N..], sound[2 * N..]);
        assert!(found[N + place].is_nan());
        assert!(!bad.is_nan() || found[N..2 * N].iter().all(|y| y.is_nan()));
    }
}

/// The value and the gradient for a tensor that is large enough for several threads.
pub fn value_and_gradient(f: Operation) -> Vec<f64> {
    both(f, |x| x, [17, 37, WIDTH], DType::F32).concat()
}

pub fn same_for_any_thread_count(f: impl Fn() -> Vec<f64> + Sync) {
    let run = |threads| rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap().install(&f);
    let expected = run(1);
    for threads in [2, 3, 7] {
        assert!(run(threads) == expected, "{threads} threads");
    }
}

pub fn same_for_any_instruction_set(kernel: &impl Kernel) {
    assert_same_bits(&run_on_each(kernel, &noise(37 * WIDTH, 9)));
}

pub fn summing_is_the_same_for_any_instruction_set(kernel: &impl SummingKernel, sums: usize) {
    assert_same_bits(&run_summing_on_each(kernel, &noise(37 * WIDTH, 9), sums));
}

fn assert_same_bits(results: &[Vec<f32>]) {
    let bits = |x: &Vec<f32>| x.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
    for result in &results[1..] {
        assert!(bits(result) == bits(&results[0]));
    }
}
