//! Plugins that a recipe asks for: `[[plugin]]`.
//!
//! A recipe can ask, and must say for what: each plugin with the hash of its library. Whether it is loaded is for whoever
//! runs the recipe to say.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// A plugin that a recipe asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PluginPin {
    /// Its id, which the recipe writes after a `kind =`.
    pub id: String,
    /// Its version, or how it begins: "0.3" takes 0.3.0 and 0.3.7.
    pub version: String,
    /// SHA-256 of its library for each platform, e.g. `{ x86_64-linux = "9f2c…" }`: `musiva plugin hash` prints it. No
    /// other bytes are loaded.
    #[schemars(extend("minProperties" = 1))]
    pub sha256: BTreeMap<String, String>,
}

impl PluginPin {
    /// Whether a plugin of this version is what is asked for.
    pub fn takes(&self, version: &str) -> bool {
        version.strip_prefix(&self.version).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }
}
