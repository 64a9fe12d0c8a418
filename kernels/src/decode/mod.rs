//! What a language model wants while it draws one token after the other: linear maps of a few rows, and the operations
//! around them, on plain slices.
//!
//! There a step is over in tens of microseconds, in which a tensor's allocation counts, and it waits for the weights to
//! come from memory. So [`Matrix`] keeps weights in few bytes, and what room the
//! operations want is handed to them and kept from step to step.
//!
//! A row's result has the same bytes whatever rows are beside it, and whatever the number of threads.

mod matrix;
#[cfg(test)]
mod tests;

pub use matrix::{Matrix, Stored};

use crate::simd::run_vectorised;

/// Does `work` on one of the threads that the operations in it are shared among. To get there takes longer than a small
/// operation does, so a step is done as a whole.
pub fn step<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    rayon::scope(|_| work())
}

/// [`gelu`](crate::gelu()) of each element.
pub fn gelu(x: &mut [f32]) {
    run_vectorised(&crate::gelu::Value, 0, x);
}

/// [`rms_norm`](crate::rms_norm()) of each row as long as `weight`.
pub fn rms_norm(x: &mut [f32], weight: &[f32], epsilon: f32) {
    run_vectorised(&crate::rms_norm::Value::<false> { weight, epsilon }, 0, x);
}

/// [`rotary`](crate::rotary()) of `[B, n, heads, d]` by tables `[n, d/2]`, where `size` is d.
///
/// # Panics
///
/// If a table is empty or the tables are not as long as each other.
pub fn rotary(x: &mut [f32], [heads, size]: [usize; 2], cos: &[f32], sin: &[f32]) {
    assert_eq!(cos.len(), sin.len());
    run_vectorised(&crate::rotary::Value { n: cos.len() / (size / 2), heads, size, cos, sin }, 0, x);
}

/// [`attention`](crate::attention()) where each query sees the first `keys` keys of its example.
///
/// # Shapes
///
/// - `q`, `value`: `[B, n, H, d]`, `[B, H, d]` being `sizes`
/// - `k`, `v`: `[B, H, capacity, d]`
/// - `scratch`: whatever length; kept from call to call, it grows only as `keys` do
///
/// # Panics
///
/// If the lengths do not fit, or there are fewer than `keys` keys, or none.
pub fn attention(
    sizes: [usize; 3],
    q: &[f32],
    k: &[f32],
    v: &[f32],
    keys: usize,
    value: &mut [f32],
    scratch: &mut Vec<f32>,
) {
    crate::attention::few::cached(sizes, q, k, v, keys, value, scratch);
}
