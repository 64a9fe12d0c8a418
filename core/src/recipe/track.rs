//! `[track.NAME]`: what stands on the canvas beside the tokens of the clip, the sound and the prompt.

use crate::canvas::LevelPattern;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A track of the canvas. `video`, `audio` and `text` are there where the recipe has their tokenizers; a table of another
/// name adds one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrackSettings {
    /// Which further stream of the data it holds, by name; left out, that of the track's own name. `video`, `audio` and
    /// `text` hold the clip, the sound and the caption.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How the codes of several codebooks become a sequence.
    pub pattern: LevelPattern,
}
