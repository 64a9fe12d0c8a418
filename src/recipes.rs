//! Finding and opening recipes: files, or those that the command carries.

use crate::plugin::PluginArgs;
use musiva_core::recipe::Recipe;
use musiva_core::{Error, ErrorKind, Registry, Result, files};
use musiva_train::evaluate::comparable;
use std::path::{Path, PathBuf};

include!(concat!(env!("OUT_DIR"), "/recipes.rs"));

/// A recipe on the command line.
#[derive(Clone, clap::Args)]
pub struct RecipeArgs {
    /// A recipe file, or the name of a built-in recipe such as `text-to-video`
    #[arg(value_name = "RECIPE")]
    pub recipe: String,
    /// Lay a single key on top of the recipe, e.g. `--set sampler.guidance=3`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub plugins: PluginArgs,
}

impl RecipeArgs {
    /// The recipe, checked. Notes on it are printed.
    pub fn open(&self) -> Result<Recipe> {
        let recipe = Recipe::open(&self.path()?, &self.set, &self.registry()?)?;
        if !recipe.notes().0.is_empty() {
            eprint!("{}", recipe.notes());
        }
        Ok(recipe)
    }

    /// All components that this recipe can name: the built-in ones, and those of the plugins that it asks for and the
    /// user lets in.
    pub fn registry(&self) -> Result<Registry> {
        let mut registry = registry()?;
        let pins = Recipe::plugins(&self.path()?, &self.set)?;
        if !pins.is_empty() {
            let loader = self.plugins.loader()?;
            for pin in &pins {
                musiva_plugin_host::register(&mut registry, &loader.load(pin)?)?;
            }
        }
        Ok(registry)
    }

    /// Its file: as named, or unpacked from the command.
    pub fn path(&self) -> Result<PathBuf> {
        let path = Path::new(&self.recipe);
        if path.exists() || path.components().count() != 1 || path.extension().is_some() {
            return Ok(path.to_owned());
        }
        match FILES.iter().any(|(name, _)| name.strip_suffix(".toml") == Some(self.recipe.as_str())) {
            true => Ok(unpack()?.join(format!("{}.toml", self.recipe))),
            false => {
                Err(Error::new(ErrorKind::Recipe, &self.recipe, "no such file, and no built-in recipe of this name")
                    .hint(format!("name a file, or one of {}", built_in().collect::<Vec<_>>().join(", "))))
            }
        }
    }
}

/// One recipe or several on the command line.
#[derive(clap::Args)]
pub struct RecipesArgs {
    /// Recipe files, or names of built-in recipes such as `text-to-video`
    #[arg(value_name = "RECIPE", required = true)]
    recipes: Vec<String>,
    /// Lay a single key on top of each recipe, e.g. `--set sampler.guidance=3`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    plugins: PluginArgs,
}

impl RecipesArgs {
    /// The recipes, checked: one at least, and such as can stand side by side.
    pub fn open(&self) -> Result<Vec<Recipe>> {
        let args = |recipe: &String| RecipeArgs {
            recipe: recipe.clone(),
            set: self.set.clone(),
            plugins: self.plugins.clone(),
        };
        let recipes: Vec<Recipe> = self.recipes.iter().map(|recipe| args(recipe).open()).collect::<Result<_>>()?;
        comparable(&recipes)?;
        Ok(recipes)
    }
}

/// All built-in components.
pub fn registry() -> Result<Registry> {
    let mut registry = Registry::default();
    musiva_data::register(&mut registry)?;
    musiva_tokenizers::register(&mut registry)?;
    musiva_models::register(&mut registry)?;
    Ok(registry)
}

fn built_in() -> impl Iterator<Item = &'static str> {
    FILES.iter().filter_map(|(name, _)| name.strip_suffix(".toml"))
}

/// Writes the carried files to a folder of the cache that is named after what they hold, where they
/// are not there yet, and returns it.
fn unpack() -> Result<PathBuf> {
    let all: Vec<u8> = FILES.iter().flat_map(|(name, bytes)| [name.as_bytes(), bytes].concat()).collect();
    let folder = cache()?.join("recipes").join(&files::sha256(&all)[..16]);
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

/// The user's folder for what can be made again: `MUSIVA_CACHE`, or the platform's.
pub fn cache() -> Result<PathBuf> {
    let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("MUSIVA_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("musiva")))
        .or_else(|| set("LOCALAPPDATA").map(|folder| folder.join("musiva")))
        .or_else(|| set("HOME").map(|home| home.join(".cache").join("musiva")))
        .ok_or_else(|| {
            Error::new(ErrorKind::Io, "", "there is no folder for caches").hint("set MUSIVA_CACHE to a folder")
        })
}
