//! Plugins that a recipe asks for: `[[plugin]]`.
//!
//! A recipe can ask, and must say for what: each plugin with the hash of its library. Whether it is loaded is for whoever
//! runs the recipe to say.

use super::report::Report;
use super::walk::Walk;
use super::{Recipe, merge};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::{collections::BTreeMap, path::Path};

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

impl Recipe {
    /// The plugins that a recipe with all that it extends and `sets` on top asks for: their components have to be in the
    /// registry before the recipe is opened.
    ///
    /// # Errors
    /// Where the recipe cannot be read, or what it says of plugins is wrong.
    pub fn plugins(path: &Path, sets: &[String]) -> Result<Vec<PluginPin>, Report> {
        let (tree, _) = merge::tree(merge::open(path)?, path, sets)?;
        let Some(entry) = tree.get("plugin") else { return Ok(Vec::new()) };
        let mut pin = serde_json::Value::from(schemars::schema_for!(PluginPin));
        let defs = pin.get_mut("$defs").map(serde_json::Value::take).unwrap_or_default();
        let schema = json!({ "type": "array", "items": pin, "$defs": defs });
        let mut walk = Walk::new(&schema);
        let pins = walk.resolve(&schema, &entry.node, "plugin");
        Report(walk.found).into_result()?;
        // What fits its schema is of its type.
        Ok(serde_json::from_value(pins).unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugins(text: &str) -> Result<Vec<PluginPin>, Report> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.toml");
        std::fs::write(&path, text).unwrap();
        Recipe::plugins(&path, &[])
    }

    #[test]
    fn a_recipe_without_pins_asks_for_nothing_and_one_with_them_for_those() {
        assert_eq!(plugins("schema = 1\n").unwrap(), []);
        let text =
            "schema = 1\n[[plugin]]\nid = \"org.example.a\"\nversion = \"0.3\"\nsha256 = { x86_64-linux = \"9f\" }\n";
        let [pin] = &plugins(text).unwrap()[..] else { panic!("one plugin") };
        assert_eq!((&*pin.id, &*pin.sha256["x86_64-linux"]), ("org.example.a", "9f"));
        assert!(["0.3", "0.3.0", "0.3.7"].iter().all(|version| pin.takes(version)));
        assert!(["0.30.0", "0.2.3", "1.0.3"].iter().all(|version| !pin.takes(version)));
    }

    #[test]
    fn a_plugin_without_a_pin_is_refused() {
        let report = plugins("schema = 1\n[[plugin]]\nid = \"org.example.a\"\nversion = \"0.3\"\n").unwrap_err();
        let text = report.to_string();
        assert!(text.contains("sha256") && text.contains("it is missing"), "{text}");
    }
}
