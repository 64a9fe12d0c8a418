//! Fused kernels for the hot operations of Transformers and of the networks around them, attention and convolution, and
//! for the optimizer's step.
//!
//! Burn's CPU backend, Flex, runs these operations one scalar at a time or as a chain of passes over memory. Here
//! each is one pass of vector instructions, forwards and backwards. Its convolutions spend their time copying: here they
//! are direct. Matrix products in `f32` are not in this crate, as Burn's own are good; those in bf16 are.
//!
//! | operation                | formula, over the last dimension where it has one              | kept for its gradient |
//! |--------------------------|----------------------------------------------------------------|-----------------------|
//! | [`gelu`]                 | `x / (1 + exp(-2√(2/π)·(x + 0.044715·x³)))`, the tanh form     | input                 |
//! | [`silu`]                 | `x / (1 + exp(-x))`                                            | input                 |
//! | [`elu`]                  | `x` above 0, `exp(x) - 1` below                                | input                 |
//! | [`rms_norm`]             | `x / √(mean(x²) + ε) · weight`                                 | input, weight         |
//! | [`rms_norm_silu`]        | `silu(rms_norm(x, weight))`                                    | input, weight         |
//! | [`layer_norm`]           | `(x - mean(x)) / √(var(x) + ε)`, no affine part                | input                 |
//! | [`modulated_layer_norm`] | `layer_norm(x)·(1 + scale[at]) + shift[at]`                    | input, scale          |
//! | [`gated_add`]            | `x + gate[at]·y`                                               | y, gate               |
//! | [`group_norm`]           | `(x - mean(x)) / √(var(x) + ε) · weight + bias`, over a group  | input, weight, bias   |
//! | [`group_norm_silu`]      | `silu(group_norm(x, weight, bias))`                            | input, weight, bias   |
//! | [`softmax`]              | `exp(x) / Σ exp(x)`                                            | output                |
//! | [`log_softmax`]          | `x - log Σ exp(x)`                                             | output                |
//! | [`cross_entropy`]        | `log Σ exp(x) - x[target]`                                     | input, `log Σ exp(x)` |
//! | [`rotary`]               | `(a·cos - b·sin, b·cos + a·sin)` for the halves a, b           | tables                |
//! | [`attention`]            | `softmax(q·kᵀ / √d)·v`, over the keys that a query sees        | inputs, output, Σ exp |
//! | [`conv3d`], [`conv1d`]   | `bias + Σₖ x[stride·t + dilation·k - before]·weight[k]`        | input, weight         |
//! | [`linear_bf16`]          | `x·weight + bias`, products in bf16                            | input, weight         |
//!
//! [`decode`] has the few of them that a language model wants while it draws one token after the other, on plain slices.
//!
//! [`AdamW::step`] and [`sum_of_squares`] have no gradients.
//!
//! # Where the kernels run
//!
//! On Flex with `f32` tensors. Other float types on Flex and every other backend run the composed form of the same
//! formula, with the same gradient formula; the features `cuda`, `vulkan` and `metal` let the functions take tensors
//! of those devices. Gradients are of first order, as everywhere in Burn.
//!
//! An input that is a view of whole rows, as a slice or a permutation that leaves the last dimension alone makes it, is
//! read where it lies; only other views, and those that a gradient wants again, are copied first.
//!
//! # The same bytes
//!
//! On Flex a result has the same bytes whatever the number of threads and whatever the processor: blocks depend on
//! the shape alone, sums run over a fixed number of lanes, and no kernel uses a fused multiply-add, so AVX-512, AVX2,
//! NEON and plain code round alike. (Which NaN comes out of an operation on NaNs is the one exception.)
//!
//! [`attention`], [`linear_bf16`] and the convolutions keep the first half of this promise: the same bytes for any
//! number of threads on one machine. They wait for arithmetic, and a fused multiply-add does twice as much of it;
//! processors without it round differently.
//!
//! # Infinity and NaN
//!
//! On Flex with `f32`: NaN stays NaN, and in a row-wise operation it makes its whole row NaN. `gelu(-∞) = silu(-∞) =
//! 0`, `elu(-∞) = -1`, all with gradient 0, and at +∞ all are +∞ with gradient 1. A row of a norm that holds an
//! infinity is NaN at that place at least. [`softmax`] of a row that holds +∞, or nothing but -∞, is NaN; a lone -∞ has probability 0.
//! [`log_softmax`] and [`cross_entropy`] are NaN for the same rows; the latter is +∞ where the target's logit is -∞, and
//! a row whose incoming gradient is 0, as where a mask leaves it out, has gradient 0 whatever it holds. NaN or an
//! infinity makes its group of its sample NaN in [`group_norm`]. A NaN in a table of [`modulated_layer_norm`] or
//! [`gated_add`] spoils its own column of the positions that stand at its row; of the norm, their gradients by x whole.
//! In [`attention`] a NaN or infinity in a query makes its own row of the output NaN and no other; in a key or value it
//! spoils the rows of the queries that see it, and possibly of others.
//! In a convolution a NaN of the input spoils the windows that see it and no others, so that even a NaN in the future
//! leaves the past of a causal one as it was; whether a NaN or an infinity of the weight spoils a window where its tap
//! lies in the padding is not defined.
//! In [`linear_bf16`] NaN and infinity go where the formula takes them: a row of `x` to its row of the value, a column of
//! the weight to its column; what rounds beyond the largest bf16 number, 3.39e38, is an infinity.
//! What a GPU makes of NaN is its driver's choice.

#![warn(missing_docs)]

mod adamw;
mod attention;
mod blocks;
mod conv;
mod cross_entropy;
pub mod decode;
mod elu;
mod gated_add;
mod gelu;
mod group_kernels;
mod group_norm;
mod lanes;
mod layer_norm;
pub mod limits;
mod memory;
mod modulated_layer_norm;
mod product;
mod rms_norm;
mod rotary;
mod rows;
mod silu;
mod simd;
mod softmax;
mod tables;
#[cfg(test)]
mod testing;
mod threads;
mod unary;

pub use adamw::{AdamW, Moments, sum_of_squares};
pub use attention::{Visible, attention};
pub use conv::{Axis, conv1d, conv1d_transposed, conv3d, conv3d_transposed};
pub use cross_entropy::cross_entropy;
pub use elu::elu;
pub use gated_add::gated_add;
pub use gelu::gelu;
pub use group_norm::{group_norm, group_norm_silu};
pub use layer_norm::layer_norm;
pub use memory::{Allocator, keep_freed_memory};
pub use modulated_layer_norm::modulated_layer_norm;
pub use product::linear_bf16;
pub use rms_norm::{rms_norm, rms_norm_silu};
pub use rotary::rotary;
pub use silu::silu;
pub use softmax::{log_softmax, softmax};
pub use threads::use_current_thread_in_pool;
