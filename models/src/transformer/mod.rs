//! The trunk that every backbone stands on.
//!
//! Shapes: `B` batch, `N` positions of the whole sequence, `G` of context, `L` elements to be generated, `D` width, `H` heads, `d = D/H`.

mod attention;
mod decode;
mod layers;
mod names;
mod numbers;
mod positions;
#[cfg(test)]
mod tests;
mod tracks;

pub use attention::{Attention, KvCache};
pub use decode::{DecodeBlock, DecodeState};
pub use layers::{Embedding, FeedForward, Linear, RmsNorm, fused_linears};
pub use names::{Named, of_tracks};
pub use numbers::{FEATURES, Numbers, features};
pub use positions::{PositionEmbedding, Positions, Rotary};
pub use tracks::{Track, Tracks, Vocabulary, check_codes, logits, together};

use musiva_core::{CanvasShape, ConfigError, Cost};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the matrix products of a trunk are computed in. Weights, norms, the attention's softmax and the sums of the
/// products are in `f32` in any case.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Precision {
    /// 32-bit floats.
    #[default]
    F32,
    /// 16-bit floats with eight bits of exponent: both factors of a product are rounded to them.
    Bf16,
}

/// The size of a Transformer, and how exact it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct TrunkConfig {
    /// Width `D`.
    #[schemars(range(min = 8, max = 16384))]
    pub width: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 256))]
    pub depth: usize,
    /// Attention heads; they divide the width into even parts of at least 8.
    #[schemars(range(min = 1, max = 256))]
    pub heads: usize,
    /// What the blocks' matrix products are computed in.
    pub precision: Precision,
}

impl TrunkConfig {
    /// What is wrong with these sizes.
    pub fn errors(&self) -> Vec<ConfigError> {
        let Self { width, depth, heads, .. } = *self;
        let mut errors = Vec::new();
        if heads == 0 || !width.is_multiple_of(heads) {
            let fitting = (1..=heads.clamp(1, width.max(1))).rev().find(|h| fits(width, *h));
            let hint = fitting.map_or("set `width = 128` and `heads = 4`".into(), |h| format!("set `heads = {h}`"));
            errors.push(ConfigError::new("heads", format!("{heads} heads do not divide a width of {width}"), hint));
        } else if !fits(width, heads) {
            let message =
                format!("{heads} heads of {} numbers: rotary positions want an even number, 8 or more", width / heads);
            errors.push(ConfigError::new("heads", message, format!("set `heads = {}`", (width / 32).max(1))));
        }
        if depth == 0 {
            errors.push(ConfigError::new("depth", "a Transformer of no blocks predicts nothing", "set `depth = 4`"));
        }
        errors
    }

    /// Work of the blocks over a canvas; `attended` is the share of all pairs of positions that the
    /// attention computes.
    pub fn cost(&self, canvas: &CanvasShape, attended: f64) -> Cost {
        let (n, d, h) = (canvas.length() as f64, self.width as f64, self.heads as f64);
        let depth = self.depth as f64;
        let products = 2.0 * n * 12.0 * d * d;
        let attention = 4.0 * n * n * d * attended;
        Cost {
            forward_flops: depth * (products + attention),
            // What gradients want again of a block: the input of each half and its norm (4), queries and
            // keys before their norms and after their rotations (4), values, what the attention gives
            // with a number a row and head, the hidden layer before and after its activation (8).
            activations: depth * (n * d * 18.0 + h * n),
            working_set: n * d * 12.0,
        }
    }
}

fn fits(width: usize, heads: usize) -> bool {
    width.is_multiple_of(heads) && (width / heads).is_multiple_of(2) && width / heads >= 8
}
