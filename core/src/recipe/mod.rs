//! Recipes: TOML that wires a dataset, tokenizers, a backbone, an objective and a sampler.
//!
//! A recipe comes in two states. *As typed* ([`RecipeFile`]) it is a tree in which every key knows its line
//! (`source`, `parse`): files that extend each other and `--set` arguments merge into one (`merge`), once.
//! *As checked* ([`Recipe`]) its components are made, shapes have flowed from clip to canvas, and
//! work and memory are known, all without touching a weight. The schema that is enforced ([`schema()`], `walk`) is the one
//! that editors read, but for `extends` ([`published()`]), and all errors are reported together, each with its
//! line and its hint ([`Report`], `hints`). The modules below stand in layers, none of which knows one above it:
//! `source`, `keywords`; `report`, `words`; `parse`, `hints`, `schema`; `published`; `merge`, `walk`; `check`; `file`.

mod canonical;
mod check;
mod condition;
mod data;
mod file;
mod hints;
mod identity;
mod keywords;
mod merge;
mod parse;
mod plugin;
mod published;
mod reference;
mod renamed;
mod report;
mod schema;
mod settings;
mod source;
mod summary;
#[cfg(test)]
mod tests;
mod track;
mod train_table;
mod walk;
mod weights;
mod words;

pub use canonical::Difference;
pub use check::Flow;
pub use condition::ConditionSettings;
pub use file::RecipeFile;
pub use identity::{IDENTITY, Identity, Unlike, annotation};
pub use plugin::PluginPin;
pub use published::published;
pub use reference::reference;
pub use report::{Diagnostic, Report, Severity};
pub use schema::{SECTIONS, Section, schema};
pub use settings::{EvaluateSettings, OnFailure, Schedule, Target, TrainSettings};
pub use source::{Document, Place};
pub use summary::{Edge, Generation, Summary, Training};
pub use track::TrackSettings;
pub use train_table::{TrainTable, TrainTableKind, TrainTables};

use crate::canvas::CanvasShape;
use crate::{
    BackboneConfig, BackboneSpec, DatasetConfig, Error, ErrorKind, MediaShape, MetricConfig, Modality, Objective,
    Program, Registry, Result, Sampler, Task, TokenizerConfig, WeightInit,
};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A component of a recipe, made but not built.
pub struct Part<T: ?Sized> {
    /// What stands there, e.g. `tokenizer.video`: also of a tokenizer of further clips.
    pub section: &'static str,
    /// Where it stands, e.g. `tokenizer.depth`.
    pub path: String,
    /// What the recipe says after `kind =`.
    pub kind: String,
    /// Who brings the component.
    pub origin: String,
    /// Whether it has learned numbers.
    pub learns: bool,
    /// Its configuration with all defaults, without `kind` and `weights`.
    pub config: Json,
    /// Its weights file, usable from the current directory.
    pub weights: Option<PathBuf>,
    /// The component.
    pub component: Arc<T>,
}

impl<T: ?Sized> Part<T> {
    /// Where its numbers come from when it is used, not trained: its weights file.
    ///
    /// # Errors
    /// Where it learns, and the recipe names none.
    pub fn weight_init(&self) -> Result<WeightInit> {
        match &self.weights {
            Some(path) => Ok(WeightInit::File(path.clone())),
            // Without learned numbers there is nothing to read.
            None if !self.learns => Ok(WeightInit::Seed(0)),
            None => Err(Error::new(ErrorKind::Recipe, &*self.path, "it has no weights yet")
                .hint(format!("train it, then set `{}.weights` to the file", self.path))),
        }
    }
}

impl<T: ?Sized> Clone for Part<T> {
    fn clone(&self) -> Self {
        Self {
            path: self.path.clone(),
            kind: self.kind.clone(),
            origin: self.origin.clone(),
            config: self.config.clone(),
            weights: self.weights.clone(),
            component: self.component.clone(),
            ..*self
        }
    }
}

impl<T: ?Sized> std::fmt::Debug for Part<T> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Part({} = {} {})", self.path, self.kind, self.config)
    }
}

/// A length and size of the data.
#[derive(Clone)]
pub struct Bucket {
    /// How often training draws it, relative to the others.
    pub weight: f64,
    /// The data at this length and size.
    pub data: Arc<dyn DatasetConfig>,
    /// Their canvas.
    pub canvas: Arc<CanvasShape>,
}

impl std::fmt::Debug for Bucket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Bucket({} of {:?})", self.weight, self.canvas)
    }
}

/// A recipe as checked.
#[derive(Clone, Debug)]
pub struct Recipe {
    /// The file it was read from.
    pub path: PathBuf,
    /// What it is called; may be empty.
    pub name: String,
    /// What it is for; may be empty.
    pub description: String,
    /// `[[plugin]]`: the plugins that it asks for.
    pub plugins: Vec<PluginPin>,
    /// `[data]`.
    pub data: Option<Part<dyn DatasetConfig>>,
    /// `[tokenizer.video]`.
    pub video: Option<Part<dyn TokenizerConfig>>,
    /// `[tokenizer.audio]`.
    pub audio: Option<Part<dyn TokenizerConfig>>,
    /// `[tokenizer.text]`.
    pub text: Option<Part<dyn TokenizerConfig>>,
    /// `[tokenizer.NAME]`: those of further tracks, which hold clips, by the names of these.
    pub further: BTreeMap<String, Part<dyn TokenizerConfig>>,
    /// `[backbone]`.
    pub backbone: Option<Part<dyn BackboneConfig>>,
    /// `[objective]`.
    pub objective: Option<Part<dyn Objective>>,
    /// `[schedule]`; without it, the objective goes by its own. The `objective` above has it already.
    pub schedule: Option<Part<dyn crate::Schedule>>,
    /// `[sampler]`.
    pub sampler: Option<Part<dyn Sampler>>,
    /// `[[metric]]`.
    pub metrics: Vec<Part<dyn MetricConfig>>,
    /// `[[task]]`.
    pub tasks: Vec<Task>,
    /// `[track.*]`.
    pub tracks: BTreeMap<String, TrackSettings>,
    /// `[condition.*]`.
    pub conditions: BTreeMap<String, ConditionSettings>,
    /// `[program]`; a recipe without makes one piece.
    pub program: Option<Part<dyn Program>>,
    /// `[train]`.
    pub train: Option<TrainSettings>,
    /// `[evaluate]`, its defaults where the recipe has none.
    pub evaluate: EvaluateSettings,
    /// The lengths and sizes that training draws from; none: that of the canvas alone.
    pub buckets: Vec<Bucket>,
    /// Whether weights are taken that are not what the recipe says: at the user's own risk.
    pub force_weights: bool,
    flow: Flow,
    /// The whole recipe with all defaults.
    resolved: Json,
    /// Dotted paths of the values that are paths of files.
    paths: Vec<String>,
    /// Where everything was written.
    places: source::Node,
    /// Old words that it was written in.
    notes: Report,
}

impl Recipe {
    /// Reads and checks a recipe that asks for no plugins, or whose plugins are in the registry: [`RecipeFile::open`],
    /// then [`RecipeFile::check`]. See [`Recipe::check_weights`] for what is not looked at.
    ///
    /// # Errors
    /// Everything that is wrong with it, all at once.
    pub fn open(path: &Path, sets: &[String], registry: &Registry) -> Result<Self, Report> {
        RecipeFile::open(path, sets)?.check(registry)
    }

    /// The same for a text as if it had been read from `path`.
    ///
    /// # Errors
    /// As [`Recipe::open`].
    pub fn parse(text: &str, path: &Path, sets: &[String], registry: &Registry) -> Result<Self, Report> {
        RecipeFile::parse(text, path, sets)?.check(registry)
    }

    /// What the recipe says in words that have been replaced since, each with the new one; and what was
    /// [added](Self::add_note).
    pub fn notes(&self) -> &Report {
        &self.notes
    }

    /// Adds a note, such as on where the recipe was found.
    pub fn add_note(&mut self, note: Diagnostic) {
        self.notes.0.push(note.note());
    }

    /// The shapes along the road, as far as the recipe goes.
    pub fn flow(&self) -> &Flow {
        &self.flow
    }

    /// `[data]`, or the error that it is missing.
    pub fn need_data(&self) -> Result<&Part<dyn DatasetConfig>> {
        self.need(self.data.as_ref(), "data")
    }

    /// The tokenizer of a modality, where there is one.
    pub fn tokenizer(&self, modality: Modality) -> Option<&Part<dyn TokenizerConfig>> {
        match modality {
            Modality::Video => self.video.as_ref(),
            Modality::Audio => self.audio.as_ref(),
            Modality::Text => self.text.as_ref(),
        }
    }

    /// The tokenizer of a track of the canvas, where there is one: its own, or that of clips.
    pub fn tokenizer_of_track(&self, track: &str) -> Option<&Part<dyn TokenizerConfig>> {
        if let Some(own) = self.further.get(track) {
            return Some(own);
        }
        let main = [Modality::Audio, Modality::Text].into_iter().find(|modality| modality.track() == track);
        self.tokenizer(main.unwrap_or(Modality::Video))
    }

    /// All tokenizers, in the order of the recipe language.
    pub fn tokenizers(&self) -> impl Iterator<Item = &Part<dyn TokenizerConfig>> {
        [&self.video, &self.audio, &self.text].into_iter().flatten().chain(self.further.values())
    }

    /// The tokenizer of a modality, or the error that it is missing.
    pub fn need_tokenizer(&self, modality: Modality) -> Result<&Part<dyn TokenizerConfig>> {
        self.need(self.tokenizer(modality), modality.section())
    }

    /// `[backbone]`, or the error that it is missing.
    pub fn need_backbone(&self) -> Result<&Part<dyn BackboneConfig>> {
        self.need(self.backbone.as_ref(), "backbone")
    }

    /// `[objective]`, or the error that it is missing.
    pub fn need_objective(&self) -> Result<&Part<dyn Objective>> {
        self.need(self.objective.as_ref(), "objective")
    }

    /// `[sampler]`, or the error that it is missing.
    pub fn need_sampler(&self) -> Result<&Part<dyn Sampler>> {
        self.need(self.sampler.as_ref(), "sampler")
    }

    /// `[train]`, or the error that it is missing.
    pub fn need_train(&self) -> Result<&TrainSettings> {
        self.need(self.train.as_ref(), "train")
    }

    /// The shape of the dataset's media of a modality, or the error that it has none.
    pub fn need_media(&self, modality: Modality) -> Result<MediaShape> {
        let shape = match modality {
            Modality::Video => self.flow.clip,
            Modality::Audio => self.flow.sound,
            Modality::Text => Some(MediaShape::Text),
        };
        self.need_data()?;
        shape.ok_or_else(|| {
            let message = format!("the recipe's data have no {}, and this command needs some", modality.plural());
            Error::new(ErrorKind::Recipe, self.path.display().to_string(), message)
        })
    }

    /// The shape of the stream that a track of the canvas holds, beside the clip, the sound and the text.
    ///
    /// # Errors
    /// Where the canvas has no such track; the error names those that there are.
    pub fn stream(&self, track: &str) -> Result<MediaShape> {
        let canvas = self.need_canvas()?;
        let main = [Modality::Video, Modality::Audio, Modality::Text].map(Modality::track);
        let place = self.path.display().to_string();
        let Some(shape) = canvas.track(track).filter(|track| !main.contains(&&*track.name)) else {
            let known = canvas.tracks.iter().map(|track| &*track.name).filter(|name| !main.contains(name));
            let known: Vec<&str> = known.collect();
            let hint = match known.is_empty() {
                true => "leave it out: the recipe has no `[track.*]`".to_owned(),
                false => format!("name one of {}", words::choices(&known, '`', "or")),
            };
            let message = format!("the recipe has no stream `{track}`");
            return Err(Error::new(ErrorKind::Recipe, place, message).hint(hint));
        };
        let found = self.need_data()?.component.stream(&shape.from);
        found.map_err(|error| error.into_error(ErrorKind::Recipe, place))
    }

    /// The canvas, or the error that there is none.
    pub fn need_canvas(&self) -> Result<Arc<CanvasShape>> {
        self.need(self.flow.canvas.clone(), "backbone")
    }

    /// What the backbone is for: `[[task]]`, or clips from prompts.
    ///
    /// # Errors
    /// Where there is no canvas.
    pub fn need_tasks(&self) -> Result<Vec<Task>> {
        let canvas = self.need_canvas()?;
        Ok(if self.tasks.is_empty() { vec![Task::from_text(&canvas)] } else { self.tasks.clone() })
    }

    /// What the backbone is on the canvas, or the error that there is none.
    pub fn need_backbone_spec(&self) -> Result<BackboneSpec> {
        self.need(self.flow.backbone, "backbone")
    }

    fn need<T>(&self, part: Option<T>, section: &str) -> Result<T> {
        part.ok_or_else(|| {
            let message = format!("the recipe has no `[{section}]`, and this command needs one");
            Error::new(ErrorKind::Recipe, self.path.display().to_string(), message)
                .hint(format!("add `[{section}]`, or name another recipe"))
        })
    }
}
