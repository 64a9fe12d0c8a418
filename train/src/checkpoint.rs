//! Checkpoints: one safetensors file each, written whole or not at all, with everything that
//! training needs to go on as if it had never stopped.
//!
//! Random numbers and the place in the data follow from the step, so the step is all there is to
//! save of them.

use crate::optimizer::Optimizer;
use musiva_core::parameters::{Precision, open_weights, save_weights};
use musiva_core::{Error, ErrorKind, Parameters, Result, Weights};
use std::collections::HashMap;
use std::path::{Path, PathBuf};

const STEP: &str = "musiva.step";
const RECIPE: &str = "musiva.recipe";

/// Something that learns, with its optimizer: a tokenizer or a backbone, whose part of a checkpoint has no name, or a
/// discriminator, whose part is called [`ADVERSARY`].
pub struct Learner<'a> {
    /// Stands before the names of its tensors.
    pub part: &'static str,
    /// What it has learnt.
    pub parameters: &'a dyn Parameters,
    /// How it learns.
    pub optimizer: &'a Optimizer,
}

/// The part of a checkpoint that is a discriminator's.
pub const ADVERSARY: &str = "adversary.";

/// What a checkpoint holds.
pub struct Checkpoint {
    /// Steps done.
    pub step: u64,
    /// The resolved recipe that it was trained by.
    pub recipe: String,
    weights: Weights,
    path: PathBuf,
}

impl Checkpoint {
    /// Writes the state after `step` steps into `folder`, and removes all but the newest `keep`.
    pub fn save(folder: &Path, keep: usize, step: u64, recipe: &str, learners: &[Learner]) -> Result<PathBuf> {
        let mut all = Weights::new();
        for Learner { part, parameters, optimizer } in learners {
            all.extend(optimizer.state().into_iter().map(|(name, weight)| (format!("{part}{name}"), weight)));
            let model = parameters.weights().into_iter();
            all.extend(model.map(|(name, weight)| (format!("{part}model.{name}"), weight)));
        }
        let metadata = HashMap::from([(STEP.into(), step.to_string()), (RECIPE.into(), recipe.to_owned())]);
        let path = folder.join(format!("{step:08}.safetensors"));
        save_weights(&path, &all, Precision::F32, metadata)?;
        let mut old = list(folder)?;
        old.truncate(old.len().saturating_sub(keep.max(1)));
        for path in old {
            std::fs::remove_file(&path).map_err(|e| Error::io(&path, "remove the old checkpoint", e))?;
        }
        Ok(path)
    }

    /// Opens the newest whole checkpoint in `folder`.
    ///
    /// # Errors
    /// Where there is none.
    pub fn newest(folder: &Path) -> Result<Self> {
        let path = list(folder)?.pop().ok_or_else(|| {
            Error::new(ErrorKind::Weights, folder.display().to_string(), "no checkpoint in this folder")
                .hint("name the folder that `train --run` wrote")
        })?;
        let (weights, metadata) = open_weights(&path)?;
        let get = |key: &str| {
            metadata.get(key).ok_or_else(|| {
                Error::new(ErrorKind::Weights, path.display().to_string(), format!("its metadata lacks `{key}`"))
            })
        };
        let step = get(STEP)?.parse().map_err(|_| {
            Error::new(ErrorKind::Weights, path.display().to_string(), format!("its `{STEP}` is not a number"))
        })?;
        Ok(Self { step, recipe: get(RECIPE)?.clone(), weights, path })
    }

    /// Sets a learner and its optimizer to the checkpoint's state of its `part`.
    ///
    /// # Errors
    /// Where the checkpoint has another state, or none of this part.
    pub fn restore(&self, part: &str, parameters: &mut dyn Parameters, optimizer: &mut Optimizer) -> Result<()> {
        let begins = format!("{part}model.");
        let model = self
            .weights
            .iter()
            .filter_map(|(name, weight)| name.strip_prefix(&begins).map(|name| (name.to_owned(), weight.clone())));
        parameters.load(&model.collect(), &self.path.display().to_string())?;
        let mut device = None;
        parameters.each(&mut |_, _, value| device = Some(value.device()));
        match device {
            Some(device) => optimizer.restore(&self.weights, part, &device),
            None => Ok(()),
        }
    }
}

/// The checkpoints of a folder, oldest first.
fn list(folder: &Path) -> Result<Vec<PathBuf>> {
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(Error::io(folder, "list the checkpoints", e)),
    };
    let mut checkpoints: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            Some((step_of(&path)?, path))
        })
        .collect();
    checkpoints.sort();
    Ok(checkpoints.into_iter().map(|(_, path)| path).collect())
}

/// The step of a checkpoint by its file's name; `None` of any other file: one that is still being written has a name that
/// starts with a dot.
fn step_of(path: &Path) -> Option<u64> {
    let stem = path.file_name()?.to_str()?.strip_suffix(".safetensors")?;
    stem.bytes().all(|b| b.is_ascii_digit()).then(|| stem.parse().ok())?
}

#[cfg(test)]
mod tests;
