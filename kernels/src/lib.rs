//! Fused kernels for the hot element-wise and row-wise operations of a Transformer.
//!
//! Burn's CPU backend, Flex, runs these operations one scalar at a time or as a chain of passes over memory. Here
//! each is one pass of vector instructions, forwards and backwards. Matrix products, convolutions and attention are
//! not in this crate: Burn's own are good.
//!
//! | operation      | formula, over the last dimension where it has one               | kept for its gradient |
//! |----------------|-----------------------------------------------------------------|-----------------------|
//! | [`gelu`]       | `x / (1 + exp(-2√(2/π)·(x + 0.044715·x³)))`, the tanh form      | input                 |
//! | [`silu`]       | `x / (1 + exp(-x))`                                             | input                 |
//! | [`rms_norm`]   | `x / √(mean(x²) + ε) · weight`                                  | input, weight         |
//! | [`layer_norm`] | `(x - mean(x)) / √(var(x) + ε)`, no affine part                 | input                 |
//! | [`softmax`]    | `exp(x) / Σ exp(x)`                                             | output                |
//!
//! # Where the kernels run
//!
//! On Flex with `f32` tensors. Other float types on Flex and every other backend run the composed form of the same
//! formula, with the same gradient formula; the features `cuda`, `vulkan` and `metal` let the functions take tensors
//! of those devices. Gradients are of first order, as everywhere in Burn.
//!
//! # The same bytes
//!
//! On Flex a result has the same bytes whatever the number of threads and whatever the processor: blocks depend on
//! the shape alone, sums run over a fixed number of lanes, and no kernel uses a fused multiply-add, so AVX-512, AVX2,
//! NEON and plain code round alike. (Which NaN comes out of an operation on NaNs is the one exception.)
//!
//! # Infinity and NaN
//!
//! On Flex with `f32`: NaN stays NaN, and in a row-wise operation it makes its whole row NaN. `gelu(-∞) = silu(-∞) =
//! 0`, both with gradient 0, and at +∞ both are +∞ with gradient 1. A row of a norm that holds an infinity is NaN at
//! that place at least. [`softmax`] of a row that holds +∞, or nothing but -∞, is NaN; a lone -∞ has probability 0.
//! What a GPU makes of NaN is its driver's choice.

#![warn(missing_docs)]

mod blocks;
mod gelu;
mod layer_norm;
mod rms_norm;
mod silu;
mod simd;
mod softmax;
#[cfg(test)]
mod testing;
mod unary;

pub use gelu::gelu;
pub use layer_norm::layer_norm;
pub use rms_norm::rms_norm;
pub use silu::silu;
pub use softmax::softmax;
