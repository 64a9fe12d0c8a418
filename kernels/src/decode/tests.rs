use burn::tensor::{Tensor, TensorData};

use super::{Matrix, Stored};
use crate::Visible;
use crate::lanes::to_bf16;
use crate::testing::{assert_near, device, noise, same_for_any_thread_count, values};

fn widened(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// The weights as they are stored, by the words of [`Stored`] alone.
fn rounded(weight: &[f32], columns: usize, stored: Stored) -> Vec<f64> {
    let largest = |j: usize| weight[j..].iter().step_by(columns).fold(0.0f32, |largest, w| largest.max(w.abs()));
    let one = |(i, &w): (usize, &f32)| match stored {
        Stored::F32 => f64::from(w),
        Stored::Bf16 => f64::from(f32::from_bits(u32::from(to_bf16(w)) << 16)),
        Stored::Int8 => {
            let unit = f64::from(largest(i % columns)) / 127.0;
            if unit == 0.0 { 0.0 } else { (f64::from(w) / unit).round() * unit }
        }
    };
    weight.iter().enumerate().map(one).collect()
}

fn exact(x: &[f32], weight: &[f64], [depth, columns]: [usize; 2], bias: &[f32]) -> Vec<f64> {
    let row = |x: &[f32]| -> Vec<f64> {
        let sum = |j: usize| (0..depth).map(|k| f64::from(x[k]) * weight[k * columns + j]).sum::<f64>();
        (0..columns).map(|j| sum(j) + f64::from(bias[j])).collect()
    };
    x.chunks(depth).flat_map(row).collect()
}

fn multiply(matrix: &Matrix, x: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; x.len() / matrix.depth() * matrix.columns()];
    matrix.multiply(x, &mut out);
    out
}

#[test]
fn agrees_with_double_precision_for_any_number_of_rows() {
    for [depth, columns] in [[1, 1], [7, 3], [67, 37], [131, 331], [1031, 61]] {
        let (weight, bias) = (noise(depth * columns, 1), noise(columns, 2));
        for stored in [Stored::F32, Stored::Bf16, Stored::Int8] {
            let matrix = Matrix::new(&weight, [depth, columns], Some(&bias), stored);
            for rows in [1, 2, 3, 5, 8, 13] {
                let x = noise(rows * depth, 3);
                let expected = exact(&x, &rounded(&weight, columns, stored), [depth, columns], &bias);
                assert_near(&widened(&multiply(&matrix, &x)), &expected, 1e-6 * (depth as f64).sqrt());
            }
        }
    }
}

#[test]
fn stored_weights_are_as_near_as_is_said() {
    let (depth, columns) = (61, 67);
    let mut weight = noise(depth * columns, 1);
    // A column of zeros, and one with a large number.
    weight.iter_mut().skip(5).step_by(columns).for_each(|w| *w = 0.0);
    weight[columns + 11] = 100.0;
    let one = |k: usize| (0..depth).map(|i| f32::from(u8::from(i == k))).collect::<Vec<_>>();
    let unit: Vec<f32> = (0..depth).flat_map(one).collect();
    for stored in [Stored::F32, Stored::Bf16, Stored::Int8] {
        let found = multiply(&Matrix::new(&weight, [depth, columns], None, stored), &unit);
        for (i, (found, &w)) in found.iter().zip(&weight).enumerate() {
            let largest = weight[i % columns..].iter().step_by(columns).fold(0.0f32, |largest, w| largest.max(w.abs()));
            let room = match stored {
                Stored::F32 => 0.0,
                Stored::Bf16 => w.abs() / 256.0,
                Stored::Int8 => largest * (1.0 / 254.0 + 1e-6),
            };
            assert!((found - w).abs() <= room, "{stored:?}: {w} became {found}");
        }
    }
}

#[test]
fn a_row_does_not_notice_its_neighbours() {
    let (depth, columns) = (131, 67);
    let matrix = Matrix::new(&noise(depth * columns, 1), [depth, columns], None, Stored::Int8);
    let x = noise(13 * depth, 2);
    let together = multiply(&matrix, &x);
    let alone: Vec<f32> = x.chunks(depth).flat_map(|row| multiply(&matrix, row)).collect();
    assert_eq!(together, alone);
}

#[test]
fn the_same_bytes_for_any_thread_count() {
    let (depth, columns) = (613, 331);
    let matrix = Matrix::new(&noise(depth * columns, 1), [depth, columns], None, Stored::F32);
    same_for_any_thread_count(|| widened(&multiply(&matrix, &noise(2 * depth, 2))));
}

#[test]
fn the_operations_on_slices_are_those_on_tensors() {
    let [b, n, heads, d, capacity, keys] = [2, 3, 5, 8, 11, 7];
    let q = noise(b * n * heads * d, 1);
    let (k, v) = (noise(b * capacity * heads * d, 2), noise(b * capacity * heads * d, 3));
    let tensor = |x: &[f32], n: usize| Tensor::<4>::from_data(TensorData::new(x.to_vec(), [b, n, heads, d]), &device());
    let table = |seed| noise(n * d / 2, seed);
    let (cos, sin, weight) = (table(4), table(5), noise(d, 6));
    let line = |x: &[f32]| Tensor::<1>::from_data(TensorData::new(x.to_vec(), [x.len()]), &device());

    let [mut gelu, mut norm, mut turned, mut value] = [q.clone(), q.clone(), q.clone(), vec![f32::NAN; q.len()]];
    super::gelu(&mut gelu);
    super::rms_norm(&mut norm, &weight, 1e-6);
    super::rotary(&mut turned, [heads, d], &cos, &sin);
    // Keys and values of a head lie one after the other.
    let by_head = |x: &[f32]| {
        let place = |i: usize| {
            ((i / (capacity * d * heads) * capacity + i / d % capacity) * heads + i / (capacity * d) % heads) * d
                + i % d
        };
        (0..x.len()).map(|i| x[place(i)]).collect::<Vec<_>>()
    };
    super::attention([b, heads, d], &q, &by_head(&k), &by_head(&v), keys, &mut value, &mut Vec::new());

    let q = tensor(&q, n);
    let tables = [&cos, &sin].map(|table| line(table).reshape([n, d / 2]));
    let [cos, sin] = tables;
    let [k, v] = [&k, &v].map(|x| tensor(x, capacity).slice_dim(1, 0..keys));
    let near = |found: &[f32], expected: Tensor<4>| assert_near(&widened(found), &values(expected), 1e-6);
    near(&gelu, crate::gelu(q.clone()));
    near(&norm, crate::rms_norm(q.clone(), line(&weight), 1e-6));
    near(&turned, crate::rotary(q.clone(), cos, sin));
    near(&value, crate::attention(q, k, v, Visible::Full));
}
