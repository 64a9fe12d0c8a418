//! Arguments that subcommands share.

use super::print::{tell, tell_text};
use super::progress::Screen;
use musiva::recipe::Recipe;
use musiva::{Device, DeviceName, Error, PluginOptions, RecipeSource, Result, TileOptions, fetch};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fmt};

/// `--device`.
#[derive(clap::Args)]
pub struct DeviceArgs {
    /// Device to compute on: cpu, cuda, cuda:N, vulkan or metal. GPUs are features of the build
    #[arg(long, default_value = "cpu", value_name = "DEVICE")]
    pub device: DeviceName,
}

impl DeviceArgs {
    /// The device, tried out.
    pub fn open(&self) -> Result<Device> {
        self.device.open()
    }
}

/// A recipe on the command line.
#[derive(Clone, clap::Args)]
pub struct RecipeArgs {
    /// A recipe file, the name of a built-in recipe such as `text-to-video`, or the folder of a run
    #[arg(value_name = "RECIPE")]
    pub recipe: String,
    /// Override a key of the recipe, e.g. `--set sampler.guidance=3`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    #[command(flatten)]
    pub data: DataArgs,
    /// Use weights that were trained with other settings than the recipe's, at your own risk
    #[arg(long)]
    pub force_weights: bool,
    #[command(flatten)]
    pub plugins: PluginArgs,
}

impl RecipeArgs {
    /// The recipe, checked; notes on it are printed.
    pub fn open(&self) -> Result<Recipe> {
        let recipe = self.source()?.open()?;
        if !recipe.notes().0.is_empty() {
            tell_text(&recipe.notes().to_string());
        }
        if recipe.force_weights {
            tell!("warning: --force-weights: weights are not compared with the recipe");
        }
        Ok(recipe)
    }

    /// The recipe, checked; data at URLs are downloaded. `json`: nothing is said on the standard output.
    pub fn open_with_data(&self, json: bool) -> Result<Recipe> {
        let mut recipe = self.open()?;
        fetch(&mut recipe, &mut Screen::new(json))?;
        Ok(recipe)
    }

    /// The recipe, to be read.
    pub fn source(&self) -> Result<RecipeSource> {
        let source = RecipeSource::named(&self.recipe).plugins(self.plugins.options()?);
        let source = self.set.iter().fold(source, RecipeSource::set);
        let source = source.force_weights(self.force_weights);
        Ok(self.data.data.iter().fold(source, RecipeSource::data))
    }
}

/// Where the data of a recipe lie, on the command line.
#[derive(Clone, clap::Args)]
pub struct DataArgs {
    /// The folder of your data, instead of the recipe's: the same as `--set data.path=PATH`
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
}

/// As on the command line, to go on with the same data.
impl fmt::Display for DataArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.data.iter().try_for_each(|path| write!(f, " --data '{}'", path.display()))
    }
}

/// One recipe or several on the command line.
#[derive(clap::Args)]
pub struct RecipesArgs {
    /// Recipe files, or names of built-in recipes such as `text-to-video`
    #[arg(value_name = "RECIPE", required = true)]
    recipes: Vec<String>,
    /// Override a key of each recipe, e.g. `--set sampler.guidance=3`; may be repeated
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    #[command(flatten)]
    data: DataArgs,
    /// Use weights that were trained with other settings than the recipe's, at your own risk
    #[arg(long)]
    force_weights: bool,
    #[command(flatten)]
    plugins: PluginArgs,
}

impl RecipesArgs {
    /// The recipes, checked, one at least; data at URLs are downloaded. `json`: nothing is said on the standard output.
    pub fn open_with_data(&self, json: bool) -> Result<Vec<Recipe>> {
        let args = |recipe: &String| RecipeArgs {
            recipe: recipe.clone(),
            set: self.set.clone(),
            data: self.data.clone(),
            force_weights: self.force_weights,
            plugins: self.plugins.clone(),
        };
        self.recipes.iter().map(|recipe| args(recipe).open_with_data(json)).collect()
    }
}

/// What the user says of plugins.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PluginArgs {
    /// A folder that holds plugins, or one plugin's own; may be repeated
    #[arg(long, value_name = "DIR")]
    plugin_path: Vec<PathBuf>,
    /// Let this plugin run, this time only; may be repeated
    #[arg(long, value_name = "ID")]
    allow_plugin: Vec<String>,
    /// Run plugins in child processes, so that a crash is an error; a call may take SECONDS
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "600",
          value_parser = clap::value_parser!(u32).range(1..))]
    isolate: Option<u32>,
}

impl PluginArgs {
    /// The same for the library: this command looks at plugins for itself.
    pub fn options(&self) -> Result<PluginOptions> {
        let program = env::current_exe().map_err(|error| Error::io(Path::new("musiva"), "find itself", error))?;
        Ok(PluginOptions {
            folders: self.plugin_path.clone(),
            allowed: self.allow_plugin.clone(),
            isolate: self.isolate.map(|seconds| Duration::from_secs(u64::from(seconds))),
            musiva: Some(program),
        })
    }
}

/// As on the command line, to go on with the same plugins.
impl fmt::Display for PluginArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin_path.iter().try_for_each(|folder| write!(f, " --plugin-path '{}'", folder.display()))?;
        self.allow_plugin.iter().try_for_each(|id| write!(f, " --allow-plugin {id}"))?;
        self.isolate.iter().try_for_each(|seconds| write!(f, " --isolate={seconds}"))
    }
}

/// `--overwrite`.
#[derive(clap::Args)]
pub struct OverwriteArgs {
    /// Write over files that are there already
    #[arg(long)]
    pub overwrite: bool,
}

/// `--json`.
#[derive(clap::Args)]
pub struct JsonArgs {
    /// JSON on the standard output instead of text; what else is to be said goes to the standard error
    #[arg(long)]
    pub json: bool,
}

/// `--scale`.
#[derive(clap::Args)]
pub struct ScaleArgs {
    /// Enlarge each pixel to N×N; by default until the shorter side has 256 pixels
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=256))]
    pub scale: Option<u16>,
}

impl ScaleArgs {
    /// The factor, where one was given.
    pub fn get(&self) -> Option<usize> {
        self.scale.map(usize::from)
    }
}

/// How large frames are taken.
#[derive(clap::Args)]
pub struct TileArgs {
    /// Process frames in square tiles of so many pixels, 0: whole; by default whole where they fit in memory
    #[arg(long, value_name = "PIXELS")]
    tile: Option<usize>,
    /// Minimum overlap of tiles, in pixels; by default 32, or half of a small tile
    #[arg(long, value_name = "PIXELS", requires = "tile")]
    overlap: Option<usize>,
}

impl TileArgs {
    /// The same for the library.
    pub fn options(&self) -> TileOptions {
        TileOptions { tile: self.tile, overlap: self.overlap }
    }
}
