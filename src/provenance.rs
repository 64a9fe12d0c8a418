//! Where a file comes from, inside the file.

use crate::device::DeviceName;
use musiva_core::recipe::{Part, Recipe};
use musiva_core::{Result, files};
use musiva_media::Metadata;
use std::collections::{BTreeMap, HashMap};

/// Keys and values in the order of the keys: equal provenance is equal bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance(BTreeMap<String, String>);

/// What [`Tokens::save`](musiva_core::Tokens::save) says of the tokens themselves.
const OF_TOKENS: &str = "musiva.tokens.";

/// What the tokenizer of saved tokens computes: [`Recipe::tokenizer_sha256`].
const TOKENIZER: &str = "musiva.tokenizer.sha256";

/// In front of the section whose weights a hash is of.
const WEIGHTS: &str = "musiva.weights.sha256.";

impl Provenance {
    /// Version, device, the recipe, its plugins and the hashes of all weights that it names and that are there.
    pub fn of(recipe: &Recipe, device: DeviceName) -> Result<Self> {
        let mut this = Self::default()
            .with("musiva.version", env!("CARGO_PKG_VERSION"))
            .with("musiva.device", device)
            .with("musiva.recipe", &recipe.name)
            .with("musiva.recipe.sha256", recipe.hash());
        if recipe.force_weights {
            this = this.with("musiva.weights.forced", true);
        }
        for pin in &recipe.plugins {
            let sha256 = pin.sha256.get(&musiva_plugin_host::platform()).map_or("", String::as_str);
            this = this.with(&format!("musiva.plugin.{}", pin.id), format!("{} sha256 {sha256}", pin.version));
        }
        for (section, hash) in weights(recipe)? {
            this = this.with(&format!("{WEIGHTS}{section}"), hash);
        }
        Ok(this)
    }

    /// What tokens were saved with.
    pub fn of_tokens(metadata: HashMap<String, String>) -> Self {
        let ours = |key: &String| key.starts_with("musiva.") && !key.starts_with(OF_TOKENS);
        Self(metadata.into_iter().filter(|(key, _)| ours(key)).collect())
    }

    /// With one more.
    pub fn with(mut self, key: &str, value: impl std::fmt::Display) -> Self {
        self.0.insert(key.to_owned(), value.to_string());
        self
    }

    /// Of the tokens of a track, which know what tokenizer they are of.
    ///
    /// # Errors
    /// Where its weights cannot be read.
    pub fn of_track(self, recipe: &Recipe, track: &str) -> Result<Self> {
        Ok(match recipe.tokenizer_sha256(track)? {
            Some(hash) => self.with(TOKENIZER, hash),
            None => self,
        })
    }

    /// What the tokenizer of saved tokens computes, where they say it.
    pub fn tokenizer_sha256(&self) -> Option<&str> {
        self.get(TOKENIZER)
    }

    /// Without the weights of a part that is being trained: they are not what was used.
    pub fn trained(mut self, section: &str) -> Self {
        self.0.remove(&format!("{WEIGHTS}{section}"));
        self
    }

    /// With all of another.
    pub fn and(mut self, other: &Self) -> Self {
        self.0.extend(other.0.clone());
        self
    }

    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).map(String::as_str)
    }

    /// For media files, whose content no tokenizer is needed to read.
    pub fn media(&self) -> Result<Metadata> {
        let mut all = self.0.iter().filter(|(key, _)| *key != TOKENIZER);
        all.try_fold(Metadata::new(), |all, (key, value)| all.with(key, value))
    }

    /// For safetensors files.
    pub fn tensors(&self) -> HashMap<String, String> {
        self.0.clone().into_iter().collect()
    }
}

/// SHA-256 of the weights files that the recipe names and that are there, by section.
pub fn weights(recipe: &Recipe) -> Result<BTreeMap<String, String>> {
    fn named<T: ?Sized>(part: &Part<T>) -> Option<(&str, &std::path::Path)> {
        Some((&part.path, part.weights.as_deref()?))
    }
    let all = recipe.tokenizers().map(named).chain(recipe.backbone.as_ref().map(named));
    let there = all.flatten().filter(|(_, path)| path.is_file());
    there.map(|(section, path)| Ok((section.to_owned(), files::sha256_of(path)?))).collect()
}
