//! `[condition.NAME]`: numbers that samples are conditioned on.

use crate::canvas::Route;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A number that samples are conditioned on: frames a second, speed, a score.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ConditionSettings {
    /// Which number of the data's samples, by name; left out, that of the table's own name. `fps` every clip has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// How the backbone takes it in.
    pub route: Route,
    /// The range that it lies in.
    pub range: [f64; 2],
    /// Probability of training without it, so that it may be left out; 0: it is always there.
    #[schemars(extend("minimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub dropout: f32,
}

impl Default for ConditionSettings {
    fn default() -> Self {
        Self { from: None, route: Route::Add, range: [0.0, 60.0], dropout: 0.1 }
    }
}
