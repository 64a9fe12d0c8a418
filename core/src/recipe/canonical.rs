//! A checked recipe written down in full: for run folders, for its hash, and to compare two.

use super::source::joined;
use super::words::toml;
use super::{Recipe, RecipeFile, Report};
use crate::{Registry, Result, files};
use serde::Serialize;
use serde_json::{Map, Value as Json};
use std::{collections::BTreeMap, path::Path};

/// Keys whose change leaves what was trained so far what it was.
const HARMLESS: [&str; 14] = [
    "name",
    "description",
    "sampler",
    "program",
    "evaluate",
    "metric",
    "backbone.decode",
    "train.gradient_checkpointing",
    "train.steps",
    "train.log_every",
    "train.checkpoint_every",
    "train.sample_every",
    "train.keep",
    "train.on_failure",
];

/// A key that two recipes say differently.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Difference {
    /// Its dotted path.
    pub path: String,
    /// What this recipe says, as TOML; `None`: nothing.
    pub here: Option<String>,
    /// What the other one says.
    pub there: Option<String>,
    /// Whether it changes what is trained (model, data, objective, optimizer): a training cannot go
    /// on across it.
    pub matters: bool,
}

impl Recipe {
    /// The merged recipe with every default as TOML that opens as the same recipe from any
    /// directory: paths of files are absolute.
    pub fn resolved(&self) -> String {
        let mut text = String::new();
        write_table(&mut text, "", &self.absolute());
        text
    }

    /// The merged recipe with absolute paths, and URLs without their query strings.
    fn absolute(&self) -> Json {
        let mut json = self.resolved.clone();
        for path in &self.paths {
            let Some(Json::String(file)) = json.pointer_mut(&format!("/{}", path.replace('.', "/"))) else { continue };
            if files::is_url(file) {
                file.truncate(files::without_query(file).len());
            } else if let Ok(absolute) = std::path::absolute(&*file) {
                *file = joined(Path::new(""), &absolute.display().to_string()).display().to_string();
            }
        }
        json
    }

    /// SHA-256 of what the recipe means: every key with its default, without its name and description. Of the paths of files
    /// only the names of these count: folders are another machine's business; of weights not even that.
    pub fn hash(&self) -> String {
        let mut json = self.resolved.clone();
        if let Some(object) = json.as_object_mut() {
            object.retain(|key, _| key != "name" && key != "description");
        }
        for path in &self.paths {
            if let Some(Json::String(file)) = json.pointer_mut(&format!("/{}", path.replace('.', "/"))) {
                let whole = if files::is_url(file) { files::without_query(file) } else { file.as_str() };
                *file =
                    Path::new(whole).file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            }
        }
        strip_weights(&mut json);
        files::sha256(sorted(&json).to_string().as_bytes())
    }

    /// How another recipe, as [`Recipe::resolved`] wrote it down, differs from this one. An older version may have
    /// written it: keys that it did not know stand at their defaults, which do what that version did.
    ///
    /// # Errors
    /// Where it is not TOML.
    pub fn differences(&self, resolved: &str, registry: &Registry) -> Result<Vec<Difference>, Report> {
        let other = RecipeFile::parse(resolved, Path::new("resolved.toml"), &[])?;
        let typed = other.to_json();
        let other = other.check(registry).map_or(typed, |other| other.absolute());
        let mut both: BTreeMap<String, [Option<String>; 2]> = BTreeMap::new();
        for (side, recipe) in [self.absolute(), other].iter().enumerate() {
            leaves(recipe, "", &mut |path, value| both.entry(path).or_default()[side] = Some(value));
        }
        let differ = both.into_iter().filter(|(_, [here, there])| here != there);
        Ok(differ.map(|(path, [here, there])| Difference { matters: matters(&path), path, here, there }).collect())
    }
}

fn matters(path: &str) -> bool {
    let below = |key: &&str| path.strip_prefix(*key).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
    !path.ends_with(".weights") && !HARMLESS.iter().any(below)
}

/// Every value that is no table, with its dotted path and as TOML writes it.
fn leaves(json: &Json, path: &str, see: &mut dyn FnMut(String, String)) {
    match json {
        Json::Object(entries) => {
            for (key, value) in entries {
                leaves(value, &if path.is_empty() { key.clone() } else { format!("{path}.{key}") }, see);
            }
        }
        Json::Null => {}
        // The order of keys says nothing.
        value => see(path.to_owned(), toml(&sorted(value))),
    }
}

/// Keys and values first, then tables, each under its header.
fn write_table(text: &mut String, path: &str, json: &Json) {
    let Some(object) = json.as_object() else { return };
    let key = |key: &str| toml_edit::Key::new(key).to_string();
    let (tables, values): (Vec<_>, Vec<_>) =
        object.iter().filter(|(_, value)| !value.is_null()).partition(|(_, value)| value.is_object());
    if !path.is_empty() && (!values.is_empty() || tables.is_empty()) {
        text.push_str(&format!("\n[{path}]\n"));
    }
    for (name, value) in values {
        text.push_str(&format!("{} = {}\n", key(name), toml(value)));
    }
    for (name, table) in tables {
        let below = if path.is_empty() { key(name) } else { format!("{path}.{}", key(name)) };
        write_table(text, &below, table);
    }
}

fn strip_weights(json: &mut Json) {
    if let Some(object) = json.as_object_mut() {
        object.shift_remove("weights");
        object.values_mut().for_each(strip_weights);
    }
}

fn sorted(json: &Json) -> Json {
    match json {
        Json::Object(object) => {
            let ordered: BTreeMap<_, _> = object.iter().map(|(key, value)| (key.clone(), sorted(value))).collect();
            Json::Object(ordered.into_iter().collect::<Map<_, _>>())
        }
        Json::Array(values) => values.iter().map(sorted).collect(),
        other => other.clone(),
    }
}
