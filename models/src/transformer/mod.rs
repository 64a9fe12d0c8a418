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
        if !fits(width, heads) {
            let message = match width.checked_rem(heads) {
                Some(0) => {
                    let each = width / heads;
                    format!("{heads} heads of {each} numbers: rotary positions want an even number, 8 or more")
                }
                _ => format!("{heads} heads do not divide a width of {width}"),
            };
            let fitting = (1..=heads.clamp(1, width.max(1))).rev().find(|h| fits(width, *h));
            let hint = fitting.map_or("set `width = 128` and `heads = 4`".into(), |h| format!("set `heads = {h}`"));
            errors.push(ConfigError::new("heads", message, hint));
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

#[cfg(test)]
mod config_tests {
    use super::*;
    use musiva_core::{TokenKind, TokenShape};

    fn trunk(width: usize, depth: usize, heads: usize) -> TrunkConfig {
        TrunkConfig { width, depth, heads, precision: Precision::F32 }
    }

    #[test]
    fn heads_are_even_parts_of_the_width_and_the_hint_names_some_that_are() {
        for width in 8usize..=130 {
            for heads in 0..=40 {
                let each = width.checked_div(heads).filter(|each| each * heads == width).unwrap_or(0);
                let errors = trunk(width, 1, heads).errors();
                assert_eq!(errors.is_empty(), each >= 8 && each % 2 == 0, "{width}, {heads}");
                let Some(error) = errors.first() else { continue };
                assert_eq!(error.path, "heads");
                let fitting = error.hint.strip_prefix("set `heads = ").and_then(|hint| hint.strip_suffix('`'));
                match fitting.map(|heads| heads.parse().unwrap()) {
                    Some(heads) => assert!(trunk(width, 1, heads).errors().is_empty(), "{width}: {}", error.hint),
                    None => assert_eq!((width % 2, &*error.hint), (1, "set `width = 128` and `heads = 4`")),
                }
            }
        }
        assert_eq!(trunk(64, 0, 4).errors().iter().map(|error| &*error.path).collect::<Vec<_>>(), ["depth"]);
    }

    #[test]
    fn work_is_that_of_the_matrices_and_of_the_attention() {
        // Two words and a clip of 2 × 2 × 2 tokens: 10 positions.
        let kind = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
        let canvas = CanvasShape::new(2, 5, TokenShape { grid: [2, 2, 2], kind });
        let Cost { forward_flops, activations, working_set } = trunk(16, 3, 2).cost(&canvas, 0.5);
        // A block has 12 matrices of 16 × 16, each number a multiplication and an addition at each position; of the pairs
        // of positions, half of which are seen, products with keys and values of 16 numbers.
        let matrices = 12 * 16 * 16 * 2 * 10;
        let attention = 10 * 10 / 2 * 2 * 16 * 2;
        assert_eq!(forward_flops, f64::from(3 * (matrices + attention)));
        // Of each block 18 vectors a position and a number for each of two heads.
        assert_eq!(activations, f64::from(3 * 10 * (18 * 16 + 2)));
        assert_eq!(working_set, f64::from(10 * 16 * 12));
    }
}
