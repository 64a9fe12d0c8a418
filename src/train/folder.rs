//! The folder of a run: what was run, and whether it may go on.

use super::lock::{self, RunLock};
use crate::device::DeviceName;
use crate::provenance::weights;
use musiva_core::recipe::Recipe;
use musiva_core::{Error, ErrorKind, Registry, Result, files};
use musiva_data::Identity;
use musiva_train::checkpoint::Checkpoint;
use musiva_train::trainer::{Callbacks, Run};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What a run writes before its first checkpoint, beside the tokens of its clips and its events.
const BEFORE: [&str; 7] =
    [lock::NAME, "data.json", "environment.json", "recipe.toml", "metrics.jsonl", "checkpoints", "samples"];

/// Where a run lies. As long as it is held, no other process has it.
pub struct RunFolder {
    path: PathBuf,
    resumed: bool,
    _lock: RunLock,
}

/// One call of `train`: a run that was resumed has several.
#[derive(Serialize, Deserialize)]
struct Session {
    musiva: String,
    command: Vec<String>,
    device: String,
    threads: usize,
    system: String,
    recipe: String,
    recipe_sha256: String,
    weights_sha256: BTreeMap<String, String>,
}

/// `environment.json`.
#[derive(Default, Serialize, Deserialize)]
struct Environment {
    sessions: Vec<Session>,
}

impl RunFolder {
    /// A new or empty folder, or that of a run which ended before its first checkpoint.
    ///
    /// # Errors
    /// Where there is something else in it, another run is going on in it, or it cannot be made.
    pub fn new(path: &Path, callbacks: &mut dyn Callbacks) -> Result<Self> {
        let failed = |error| Error::io(path, "make the run's folder", error);
        fs::create_dir_all(path).map_err(failed)?;
        let here: Vec<_> = fs::read_dir(path).and_then(Iterator::collect).map_err(failed)?;
        let here: Vec<String> =
            here.iter().map(|e: &fs::DirEntry| e.file_name().to_string_lossy().into_owned()).collect();
        // A folder of something else gets no file of ours, not even a lock.
        let locked = here.is_empty() || here.iter().any(|name| name == lock::NAME);
        if !locked || !here.iter().all(|name| before_its_first_checkpoint(name)) {
            return Err(not_empty(path));
        }
        let lock = RunLock::take(path, callbacks)?;
        if here.iter().any(|name| name != lock::NAME) {
            if saved(path) {
                return Err(not_empty(path));
            }
            // Tokens may be of other data, and there is nothing to go on from.
            for left in here.iter().filter(|name| *name != lock::NAME).map(|name| path.join(name)) {
                if !left.is_dir() {
                    fs::remove_file(&left).map_err(|error| Error::io(&left, "remove it", error))?;
                }
            }
            let place = path.display();
            callbacks.warn(&format!("{place}: the run in it ended before its first checkpoint, and starts anew"));
        }
        Ok(Self { path: path.to_owned(), resumed: false, _lock: lock })
    }

    /// The folder of a run that `recipe` may go on with.
    ///
    /// # Errors
    /// Where there is no checkpoint, another run is going on in it, or the recipe or the frozen weights that it names
    /// have changed in what is trained.
    pub fn reopen(path: &Path, recipe: &Recipe, registry: &Registry, callbacks: &mut dyn Callbacks) -> Result<Self> {
        if !path.is_dir() {
            // The error of a folder without a checkpoint.
            Checkpoint::newest(&Run::checkpoints(path))?;
        }
        let lock = RunLock::take(path, callbacks)?;
        let checkpoint = Checkpoint::newest(&Run::checkpoints(path))?;
        let differences = recipe.differences(&checkpoint.recipe, registry)?;
        let say = |value: &Option<String>| value.clone().unwrap_or_else(|| "nothing".into());
        let line = |d: &musiva_core::recipe::Difference| {
            format!("\n  `{}` is {}, the run has {}", d.path, say(&d.here), say(&d.there))
        };
        let (matter, harmless): (Vec<_>, Vec<_>) = differences.iter().partition(|difference| difference.matters);
        if let Some(first) = matter.first() {
            let lines: String = matter.iter().map(|difference| line(difference)).collect();
            return Err(Error::new(
                ErrorKind::Recipe,
                path.display().to_string(),
                format!("the recipe has changed in what is trained:{lines}"),
            )
            .hint(format!("set `{}` back, or start a new run by `--run`", first.path)));
        }
        for difference in harmless {
            callbacks.warn(&format!("the recipe has changed:{}", line(difference)));
        }
        let this = Self { path: path.to_owned(), resumed: true, _lock: lock };
        this.same_weights(recipe)?;
        Ok(this)
    }

    /// Whether the frozen parts are still those of the run's last session.
    fn same_weights(&self, recipe: &Recipe) -> Result<()> {
        let Some(last) = self.environment()?.sessions.pop() else { return Ok(()) };
        for (section, hash) in weights(recipe)? {
            // Of what is trained there is no entry.
            if last.weights_sha256.get(&section).is_some_and(|old| *old != hash) {
                let message = format!("the weights of `{section}` are not those that the run was started with");
                return Err(Error::new(ErrorKind::Weights, self.path.display().to_string(), message)
                    .hint(format!("set `{section}.weights` back to them, or start a new run by `--run`")));
            }
        }
        Ok(())
    }

    /// Writes down which files are trained on, and tells by what they are not those of the run's last session.
    pub(crate) fn same_data(&self, data: &Identity, callbacks: &mut dyn Callbacks) -> Result<()> {
        let path = self.path.join("data.json");
        if path.exists() {
            let bytes = files::read(&path, files::GIGABYTE)?;
            let before: Identity = serde_json::from_slice(&bytes).map_err(|error| {
                Error::new(ErrorKind::Io, path.display().to_string(), "this is not what `train` wrote there")
                    .hint("move the file away")
                    .caused_by(error)
            })?;
            if let Some(changes) = data.changes(&before) {
                callbacks.warn(&format!("the files of `data` are not those that this run was trained on: {changes}"));
            }
        }
        // Plain strings are always JSON.
        let json = serde_json::to_string_pretty(data).unwrap_or_default();
        files::write(&path, format!("{json}\n").as_bytes())
    }

    /// Where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the run goes on.
    pub fn resumed(&self) -> bool {
        self.resumed
    }

    /// Writes down what is run: `recipe.toml` and `environment.json`.
    pub(crate) fn describe(&self, recipe: &Recipe, device: DeviceName) -> Result<()> {
        let mut environment = self.environment()?;
        let target = recipe.need_train()?.target.section();
        let frozen = weights(recipe)?.into_iter().filter(|(section, _)| *section != target);
        environment.sessions.push(Session {
            musiva: env!("CARGO_PKG_VERSION").into(),
            command: std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect(),
            device: device.to_string(),
            threads: rayon::current_num_threads(),
            system: format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
            recipe: recipe.name.clone(),
            recipe_sha256: recipe.hash(),
            weights_sha256: frozen.map(|(section, hash)| (section.to_owned(), hash)).collect(),
        });
        // Plain strings and numbers are always JSON.
        let json = serde_json::to_string_pretty(&environment).unwrap_or_default();
        files::write(&self.path.join("environment.json"), format!("{json}\n").as_bytes())?;
        files::write(&self.path.join("recipe.toml"), recipe.resolved().as_bytes())
    }

    fn environment(&self) -> Result<Environment> {
        let path = self.path.join("environment.json");
        if !path.exists() {
            return Ok(Environment::default());
        }
        let bytes = files::read(&path, files::GIGABYTE)?;
        serde_json::from_slice(&bytes).map_err(|error| {
            Error::new(ErrorKind::Io, path.display().to_string(), "this is not what `train` wrote there")
                .hint("move the file away")
                .caused_by(error)
        })
    }
}

/// Whether a run may have left a file of this name before its first checkpoint.
fn before_its_first_checkpoint(name: &str) -> bool {
    let temporary = name.starts_with('.') && name.ends_with(".tmp");
    let tokens = name.starts_with("tokens") && name.ends_with(".safetensors");
    BEFORE.contains(&name) || tokens || temporary || name.starts_with("events.out.tfevents.")
}

/// Whether the run in a folder has a checkpoint to go on from.
fn saved(folder: &Path) -> bool {
    fs::read_dir(Run::checkpoints(folder)).is_ok_and(|mut all| all.next().is_some())
}

fn not_empty(path: &Path) -> Error {
    let resume = match Checkpoint::newest(&Run::checkpoints(path)) {
        Ok(_) => format!("resume the run in it by `--resume {}`, or ", path.display()),
        Err(_) => String::new(),
    };
    Error::new(ErrorKind::Io, path.display().to_string(), "this folder is not empty")
        .hint(format!("{resume}name another folder by `--run`"))
}
