//! The processor's own limits, and matrix products at the sizes of the trunk and large ones: how near kernels come.

use super::harness::{Case, Group, Work, noise};
use burn::tensor::{Device, module::linear};
use musiva_kernels::{limits, linear_bf16};
use std::cell::LazyCell;
use std::hint::black_box;

/// M, K, N: a batch of 16 canvases of 332 positions through maps of the trunk, and a large square.
const SIZES: [[usize; 3]; 4] = [[5312, 128, 128], [5312, 128, 512], [5312, 512, 128], [2048, 2048, 2048]];
/// Rounds of multiplying and adding: some tens of milliseconds.
const ROUNDS: usize = 10_000_000;
/// Numbers to read: 512 MiB, more than any cache holds.
const NUMBERS: usize = 1 << 27;

/// What the cases' names begin with that find the limits.
pub const LIMIT: &str = "limit, ";

pub fn group() -> Group {
    let numbers = LazyCell::new(|| vec![1.0f32; NUMBERS]);
    let all = |count: fn(usize) -> f64| count(1) * ROUNDS as f64;
    let mut cases = vec![
        Case::new(format!("{LIMIT}multiply-adds f32"), || {
            black_box(limits::multiply_add(ROUNDS));
        })
        .work(Work::F32(all(limits::multiply_add))),
        Case::new(format!("{LIMIT}multiply-adds bf16"), || {
            black_box(limits::multiply_add_bf16(ROUNDS));
        })
        .work(Work::Bf16(all(limits::multiply_add_bf16))),
        Case::new(format!("{LIMIT}reads"), move || {
            black_box(limits::read(&numbers));
        })
        .work(Work::Bytes(4.0 * NUMBERS as f64)),
    ];
    cases.extend(SIZES.into_iter().flat_map(product));
    Group { name: "limits", cases, export: None }
}

fn product([m, k, n]: [usize; 3]) -> [Case; 2] {
    let device = Device::flex();
    let (x, weight) = (noise(1, [m, k], &device), noise(2, [k, n], &device));
    let (same_x, same_weight) = (x.clone(), weight.clone());
    let operations = (2 * m * k * n) as f64;
    [
        Case::new(format!("product {m}x{k}x{n}"), move || {
            black_box(linear(x.clone(), weight.clone(), None));
        })
        .work(Work::F32(operations)),
        Case::new(format!("product {m}x{k}x{n} bf16"), move || {
            black_box(linear_bf16(same_x.clone(), same_weight.clone(), None));
        })
        .work(Work::Bf16(operations)),
    ]
}
