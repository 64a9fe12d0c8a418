//! Finding and opening recipes: files, those that this crate carries, or text.

use crate::cache::{self, cache};
use crate::plugins::PluginOptions;
use musiva_core::recipe::{Diagnostic, Recipe, RecipeFile, Report};
use musiva_core::{Component, Error, ErrorKind, Registry, Result, files};
use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// A recipe before it is read: where it is, what is changed of it, and which components it can name.
///
/// ```
/// let recipe = musiva::RecipeSource::named("world-lm").set("sampler.temperature=0.9").open()?;
/// assert_eq!(recipe.name, "world-lm");
/// # Ok::<(), musiva::Error>(())
/// ```
pub struct RecipeSource {
    text: Text,
    overrides: Vec<String>,
    plugins: PluginOptions,
    components: Vec<Component>,
    force_weights: bool,
}

enum Text {
    /// A file, or the name of a built-in recipe.
    Named(String),
    /// As if it had been read from a file.
    Written(String, PathBuf),
}

impl RecipeSource {
    /// A recipe file, the name of a built-in recipe such as `text-to-video` ([`built_in`]), or the folder of a run that is
    /// done: its recipe with its weights.
    pub fn named(name: impl Into<String>) -> Self {
        Self::of(Text::Named(name.into()))
    }

    /// A recipe file.
    pub fn file(path: impl AsRef<Path>) -> Self {
        let path = path.as_ref();
        // A name with a folder in front is never that of a built-in recipe.
        let path = if path.components().count() == 1 { Path::new(".").join(path) } else { path.to_owned() };
        Self::of(Text::Named(path.display().to_string()))
    }

    /// TOML, as if it were written in a file of the folder `beside`: its paths are relative to that.
    pub fn text(toml: impl Into<String>, beside: impl AsRef<Path>) -> Self {
        Self::of(Text::Written(toml.into(), beside.as_ref().join("recipe.toml")))
    }

    fn of(text: Text) -> Self {
        Self {
            text,
            overrides: Vec::new(),
            plugins: PluginOptions::default(),
            components: Vec::new(),
            force_weights: false,
        }
    }

    /// Overrides a single key: `dotted.path=VALUE`, `VALUE` being TOML or a bare word.
    pub fn set(mut self, set: impl Into<String>) -> Self {
        self.overrides.push(set.into());
        self
    }

    /// The folder of the data, instead of the recipe's `data.path`.
    pub fn data(self, folder: impl AsRef<Path>) -> Self {
        // A string of JSON is one of TOML, whatever stands in it.
        self.set(format!("data.path={}", serde_json::json!(folder.as_ref().display().to_string())))
    }

    /// Adds a component of one's own, which the recipe names by its kind.
    pub fn component(mut self, component: Component) -> Self {
        self.components.push(component);
        self
    }

    /// Where plugins are, and which may run.
    pub fn plugins(mut self, plugins: PluginOptions) -> Self {
        self.plugins = plugins;
        self
    }

    /// Takes weights that are not what the recipe says, at your own risk.
    pub fn force_weights(mut self, force: bool) -> Self {
        self.force_weights = force;
        self
    }

    /// The recipe, checked.
    ///
    /// # Errors
    /// Everything that is wrong with it, in one error: [`RecipeSource::check`] has it piece by piece.
    pub fn open(self) -> Result<Recipe> {
        self.resolve().map(|(recipe, _)| recipe)
    }

    /// The recipe, checked, with the components that it could name: what [`train`](crate::train) asks for to resume.
    ///
    /// # Errors
    /// As [`RecipeSource::open`].
    pub fn resolve(self) -> Result<(Recipe, Registry)> {
        let (recipe, registry) = self.check()?;
        Ok((recipe?, registry))
    }

    /// The recipe, or the report of everything that is wrong with it.
    ///
    /// # Errors
    /// Where there is no such recipe, or a plugin that it asks for may not run.
    pub fn check(self) -> Result<(Result<Recipe, Report>, Registry)> {
        let library = |name: &str| {
            let known = built_in().any(|other| other == name);
            known.then(|| unpack().ok().map(|folder| folder.join(format!("{name}.toml")))).flatten()
        };
        let file = match &self.text {
            Text::Named(name) => {
                let path = path(name)?;
                match run(&path) {
                    Some((recipe, weights)) => {
                        let overrides = [&[weights], &self.overrides[..]].concat();
                        RecipeFile::open_with(&recipe, &overrides, &library)
                    }
                    None if path.is_dir() => {
                        let message =
                            "this folder is not of a run that is done: it needs recipe.toml and weights.safetensors";
                        return Err(Error::new(ErrorKind::Recipe, path.display().to_string(), message)
                            .hint("resume the run by `musiva train RECIPE --resume`, or name a recipe's file"));
                    }
                    None => RecipeFile::open_with(&path, &self.overrides, &library),
                }
            }
            Text::Written(toml, path) => RecipeFile::parse_with(toml, path, &self.overrides, &library),
        };
        let mut registry = registry()?;
        let file = match file {
            Ok(file) => file,
            Err(report) => return Ok((Err(report), registry)),
        };
        let pins = file.plugins()?;
        if !pins.is_empty() {
            let loader = self.plugins.loader()?;
            for pin in &pins {
                musiva_plugin_host::register(&mut registry, &loader.load(pin)?)?;
            }
        }
        self.components.into_iter().try_for_each(|component| registry.register(component))?;
        let force_weights = self.force_weights;
        let recipe = file.check(&registry).map(|mut recipe| {
            recipe.force_weights = force_weights;
            if let Some(said) = cache::said() {
                recipe.add_note(Diagnostic::error("", said).hint(cache::HINT));
            }
            recipe
        });
        Ok((recipe, registry))
    }
}

/// Of the folder of a training run that is done: its recipe, and the override that names its weights.
fn run(folder: &Path) -> Option<(PathBuf, String)> {
    let (recipe, weights) = (folder.join("recipe.toml"), folder.join("weights.safetensors"));
    if !folder.is_dir() || !recipe.is_file() || !weights.is_file() {
        return None;
    }
    let file = RecipeFile::open(&recipe, &[]).ok()?;
    let target = file.text("train.target")?;
    let weights = std::path::absolute(weights).ok()?;
    Some((recipe, format!("{target}.weights={}", serde_json::json!(weights.display().to_string()))))
}

/// The file of a recipe: as named, or unpacked from this crate.
fn path(name: &str) -> Result<PathBuf> {
    let path = Path::new(name);
    if path.exists() || path.components().count() != 1 || path.extension().is_some() {
        return Ok(path.to_owned());
    }
    match built_in().any(|other| other == name) {
        true => Ok(unpack()?.join(format!("{name}.toml"))),
        false => Err(Error::new(ErrorKind::Recipe, name, "no such file, and no built-in recipe of this name")
            .hint(format!("name a file, or one of {}", built_in().collect::<Vec<_>>().join(", ")))),
    }
}

/// All built-in components.
///
/// # Errors
/// None, unless two of them have one name.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::default();
    musiva_data::register(&mut registry)?;
    musiva_tokenizers::register(&mut registry)?;
    musiva_models::register(&mut registry)?;
    Ok(registry)
}

/// The names of the recipes that this crate carries.
pub fn built_in() -> impl Iterator<Item = &'static str> {
    FILES.iter().filter_map(|(name, _)| name.strip_suffix(".toml"))
}

/// Writes the carried files to a folder of the cache that is named after what they hold, where they
/// are not there yet, and returns it.
fn unpack() -> Result<PathBuf> {
    let folder = cache()?.join("recipes").join(FILES_HASH);
    for (name, bytes) in FILES {
        let path = folder.join(name);
        // Files are written whole or not at all: one of the right length is the right one.
        if path.metadata().is_ok_and(|found| found.len() == bytes.len() as u64) {
            continue;
        }
        files::write(&path, bytes)?;
    }
    Ok(folder)
}
