//! What recipes write in `[program]`.

use super::Continuation;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// One piece, as long as the recipe's clips. What a recipe without this table does.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Once {}

/// It extends the clip from its last frames, piece by piece: `--extend`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Extend {
    /// How many seconds to add.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 3600.0))]
    pub seconds: f64,
}

/// It extends the clip, with other prompts in time: `--extend` with `--then`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PromptSchedule {
    /// How many seconds to add.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 3600.0))]
    pub seconds: f64,
    /// The prompts, one after the other. One at 0 is that of the first piece, where the command names none.
    #[schemars(length(min = 1))]
    pub prompts: Vec<Moment>,
}

/// A prompt and when it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The second of the clip from which on it holds, for the pieces that begin then or later.
    #[schemars(range(min = 0.0, max = 7200.0))]
    pub at: f64,
    /// The prompt.
    pub prompt: String,
}

impl From<Once> for Continuation {
    fn from(_: Once) -> Self {
        Self { of_recipe: true, ..Self::default() }
    }
}

impl From<Extend> for Continuation {
    fn from(Extend { seconds }: Extend) -> Self {
        Self { after: Some(seconds), of_recipe: true, ..Self::default() }
    }
}

impl From<PromptSchedule> for Continuation {
    fn from(PromptSchedule { seconds, prompts }: PromptSchedule) -> Self {
        Self { after: Some(seconds), prompts, of_recipe: true, ..Self::default() }
    }
}
