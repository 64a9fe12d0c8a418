//! A recipe as typed: its files and overrides, read and merged once.

use super::merge::{self, Library};
use super::source::{Document, Node};
use super::walk::Walk;
use super::{PluginPin, Recipe, Report, check};
use crate::Registry;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A recipe as typed: a file, all that it extends and the overrides, merged into one tree. Nothing in it is checked yet.
///
/// Between typed and checked lies what its plugins bring: [`RecipeFile::plugins`] says which ones have to be in the
/// registry before [`RecipeFile::check`].
#[derive(Clone, Debug)]
pub struct RecipeFile {
    path: PathBuf,
    tree: Node,
    /// On words that have been replaced since.
    notes: Report,
}

impl RecipeFile {
    /// Reads a recipe and all that it extends, and applies the overrides `sets` (`dotted.path=VALUE`).
    ///
    /// # Errors
    /// Where a file cannot be read or is not TOML, and where an override has no place to go.
    pub fn open(path: &Path, sets: &[String]) -> Result<Self, Report> {
        Self::open_with(path, sets, &|_| None)
    }

    /// The same, with recipes that may be extended by names, which `library` finds.
    ///
    /// # Errors
    /// As [`RecipeFile::open`].
    pub fn open_with(path: &Path, sets: &[String], library: Library) -> Result<Self, Report> {
        Self::merged(merge::open(path)?, path, sets, library)
    }

    /// The same for a text as if it had been read from `path`.
    ///
    /// # Errors
    /// As [`RecipeFile::open`].
    pub fn parse(text: &str, path: &Path, sets: &[String]) -> Result<Self, Report> {
        Self::parse_with(text, path, sets, &|_| None)
    }

    /// The same, with recipes that may be extended by names, which `library` finds.
    ///
    /// # Errors
    /// As [`RecipeFile::open`].
    pub fn parse_with(text: &str, path: &Path, sets: &[String], library: Library) -> Result<Self, Report> {
        Self::merged(Document::file(path, text.to_owned(), 0), path, sets, library)
    }

    fn merged(first: Arc<Document>, path: &Path, sets: &[String], library: Library) -> Result<Self, Report> {
        let (tree, notes) = merge::tree(first, path, sets, library)?;
        Ok(Self { path: path.to_path_buf(), tree, notes })
    }

    /// The text at a dotted path, where one stands there.
    pub fn text(&self, path: &str) -> Option<&str> {
        let mut node = &self.tree;
        for key in path.split('.') {
            node = &node.get(key)?.node;
        }
        node.text()
    }

    /// The plugins that it asks for.
    ///
    /// # Errors
    /// What is wrong with `[[plugin]]`.
    pub fn plugins(&self) -> Result<Vec<PluginPin>, Report> {
        let Some(entry) = self.tree.get("plugin") else { return Ok(Vec::new()) };
        let mut pin = serde_json::Value::from(schemars::schema_for!(PluginPin));
        let defs = pin.get_mut("$defs").map(serde_json::Value::take).unwrap_or_default();
        let schema = json!({ "type": "array", "items": pin, "$defs": defs });
        let mut walk = Walk::new(&schema);
        let pins = walk.resolve(&schema, &entry.node, "plugin");
        Report(walk.found).into_result()?;
        // What fits its schema is of its type.
        Ok(serde_json::from_value(pins).unwrap_or_default())
    }

    /// What it says, without the places where it says so.
    pub(super) fn to_json(&self) -> serde_json::Value {
        self.tree.to_json()
    }

    /// Checks it against the components of `registry`. Neither weights nor data are touched.
    ///
    /// # Errors
    /// Everything that is wrong with it, all at once.
    pub fn check(self, registry: &Registry) -> Result<Recipe, Report> {
        match check::check(&self.path, self.tree, registry) {
            Ok(recipe) => Ok(Recipe { notes: self.notes, ..recipe }),
            Err(mut report) => {
                report.0.extend(self.notes.0);
                Err(report.sorted())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plugins(text: &str) -> Result<Vec<PluginPin>, Report> {
        RecipeFile::parse(text, Path::new("x.toml"), &[])?.plugins()
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
