//! Which runs a comparison has, and what each takes: known before a step is trained.

use super::file::{Arm, ComparisonFile, Size, Unit};
use crate::plugins::PluginOptions;
use crate::recipes::{RecipeSource, built_in};
use musiva_core::parameters::open_weights;
use musiva_core::recipe::{Recipe, Target};
use musiva_core::{Error, ErrorKind, Registry, Result};
use musiva_train::evaluate::{EvalConfig, differences};
use musiva_train::tokenizer::summary;
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Most steps of a run.
const MOST_STEPS: f64 = 1e8;

/// A comparison whose recipes have been opened and found comparable.
pub struct Comparison {
    pub(super) file: ComparisonFile,
    folder: PathBuf,
    /// Whether the arms are trained already.
    pub(super) trained: bool,
    data: Option<PathBuf>,
    plugins: PluginOptions,
    /// Of each arm in each size.
    pub(super) members: Vec<Member>,
    /// The sections in which recipes differ, as the comparison allows.
    pub(super) differs: Vec<String>,
}

/// What is said of a comparison beside its file.
#[derive(Clone, Debug, Default)]
pub struct ComparisonOverrides {
    /// The folder of the data, instead of the recipes' `data.path`.
    pub data: Option<PathBuf>,
    /// Where plugins are, and which may run.
    pub plugins: PluginOptions,
    /// Prompts and held-out samples, instead of `evaluate.prompts`.
    pub prompts: Option<usize>,
    /// Seed of scenes and noise, instead of `evaluate.seed`.
    pub seed: Option<u64>,
    /// The tasks that are measured, instead of `evaluate.tasks`; of none, those.
    pub tasks: Vec<String>,
    /// Sections in which recipes differ by intent, beside `differs`.
    pub differs: Vec<String>,
}

/// An arm in one size.
pub struct Member {
    pub(super) arm: usize,
    pub(super) size: Option<usize>,
    /// Its name: of the arm, and of the size where there are several.
    pub name: String,
    /// Its recipe, before a run changes steps, seed and learning rate.
    pub recipe: Recipe,
    /// Steps that the budget is enough for; `None` of minutes, before they are measured. Of what is trained already, those that its
    /// weights tell of.
    pub steps: Option<usize>,
    /// What training and sampling take.
    pub cost: Cost,
}

/// What a member takes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Numbers that are learned.
    pub parameters: usize,
    /// Floating-point operations of a training step.
    pub flops_per_step: f64,
    /// Tokens of the canvas in a training step, context included: the mean over the tasks.
    pub tokens_per_step: f64,
    /// Estimated peak of memory in training, bytes.
    pub memory_bytes: f64,
    /// Floating-point operations of sampling one sample, decoding included.
    pub sampling_flops: f64,
    /// Passes of the backbone over the canvas that sampling takes, guidance included.
    pub forwards: f64,
    /// Evaluations of the backbone that wait for each other.
    pub depth: usize,
}

/// A run of a comparison.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PlannedRun {
    /// Its folder below `runs/`.
    pub name: String,
    /// Which of [`Comparison::members`] it is of.
    pub(super) member: usize,
    /// Its seed.
    pub seed: u64,
    /// The learning rate that is tried; `None` of a run that is measured.
    pub trial: Option<f64>,
}

impl Cost {
    pub(super) fn of(recipe: &Recipe) -> Result<Self> {
        let summary = summary(recipe);
        let (canvas, tasks) = (recipe.need_canvas()?, recipe.need_tasks()?);
        let weights: f64 = tasks.iter().map(|task| task.weight).sum();
        let tokens: f64 = tasks.iter().map(|task| task.weight / weights * task.part_of(&canvas).length() as f64).sum();
        let (Some(training), Some(generation)) = (summary.training, summary.generation) else {
            return Err(Error::new(
                ErrorKind::Recipe,
                recipe.path.display().to_string(),
                "it has no `[train]` or `[sampler]`",
            )
            .hint("add both: a comparison trains each arm, and samples from it"));
        };
        Ok(Self {
            parameters: summary.parameters.iter().find(|(part, _)| part == "backbone").map_or(0, |(_, count)| *count),
            flops_per_step: training.flops_per_step,
            tokens_per_step: tokens * training.batch as f64,
            memory_bytes: training.memory_bytes,
            sampling_flops: generation.flops_per_sample,
            forwards: generation.forwards,
            depth: recipe.need_sampler()?.component.depth(&canvas),
        })
    }
}

/// Whether weights tell of as much training, within a twentieth.
fn like_budgets(one: &Member, other: &Member) -> bool {
    let flops = |member: &Member| Some(member.steps? as f64 * member.cost.flops_per_step);
    match (flops(one), flops(other)) {
        (Some(one), Some(other)) => (one / other).ln().abs() < 0.05,
        _ => false,
    }
}

impl Comparison {
    /// Opens a comparison and the recipes of its arms.
    ///
    /// # Errors
    /// Where the file or a recipe is wrong, one does not train a backbone, or they differ in what is not to differ.
    pub fn open(path: &Path, overrides: &ComparisonOverrides) -> Result<Self> {
        let file = ComparisonFile::read(path)?;
        let folder = path.parent().unwrap_or(Path::new("")).to_owned();
        Self::new(file, folder, false, overrides, &path.display().to_string())
    }

    /// A comparison of what is trained already: recipes with weights, and folders of runs that are done.
    ///
    /// # Errors
    /// As [`open`](Self::open); `budget` is one of what is not to differ, as far as weights tell of it.
    pub fn of_trained(names: &[String], overrides: &ComparisonOverrides) -> Result<Self> {
        let mut arm: Vec<Arm> = Vec::new();
        for name in names {
            let stem = Path::new(name).file_stem().map_or("arm".into(), |stem| stem.to_string_lossy()).into_owned();
            let taken = |name: &str| arm.iter().any(|arm| arm.name == name);
            let free = (2..).map(|number| format!("{stem}-{number}")).find(|name| !taken(name));
            let own = if taken(&stem) { free.unwrap_or_default() } else { stem };
            arm.push(Arm { name: own, recipe: Some(name.clone()), ..Arm::default() });
        }
        let names: Vec<&str> = arm.iter().map(|arm| &*arm.name).collect();
        let question = format!("How do {} compare?", names.join(", "));
        let file = ComparisonFile { schema: 1, name: names.join(", "), question, arm, ..ComparisonFile::default() };
        Self::new(file, PathBuf::new(), true, overrides, "the arms")
    }

    fn new(
        mut file: ComparisonFile,
        folder: PathBuf,
        trained: bool,
        overrides: &ComparisonOverrides,
        place: &str,
    ) -> Result<Self> {
        let ComparisonOverrides { data, plugins, prompts, seed, tasks, differs } = overrides.clone();
        file.evaluate.prompts = prompts.or(file.evaluate.prompts);
        file.evaluate.seed = seed.or(file.evaluate.seed);
        file.evaluate.tasks = if tasks.is_empty() { file.evaluate.tasks } else { tasks };
        file.differs.extend(differs);
        let mut this = Self { file, folder, trained, data, plugins, members: Vec::new(), differs: Vec::new() };
        let sizes: Vec<Option<usize>> = match this.file.size.len() {
            0 => vec![None],
            count => (0..count).map(Some).collect(),
        };
        for arm in 0..this.file.arm.len() {
            for &size in &sizes {
                this.members.push(this.member(arm, size)?);
            }
        }
        for member in &this.members {
            for set in &this.arm(member.arm).sampling {
                this.source(member.arm, member.size, set)
                    .open()
                    .map_err(|error| this.within(member.arm, member.size, error))?;
            }
        }
        this.differs = this.differences(place)?;
        this.known_tasks(place)?;
        Ok(this)
    }

    fn arm(&self, arm: usize) -> &Arm {
        &self.file.arm[arm]
    }

    fn size(&self, size: Option<usize>) -> Option<&Size> {
        size.map(|size| &self.file.size[size])
    }

    /// The recipe of a member with overrides of one's own.
    pub(super) fn source(&self, arm: usize, size: Option<usize>, set: &[String]) -> RecipeSource {
        let own = self.arm(arm);
        let named = own.recipe.as_ref().or(self.file.recipe.as_ref()).map_or("", |name| name);
        if self.trained {
            return self.prepared(RecipeSource::named(named), &[set]);
        }
        let beside = self.folder.join(named);
        let known = built_in().any(|name| name == named) && !beside.is_file();
        let source = if known { RecipeSource::named(named) } else { RecipeSource::file(beside) };
        self.prepared(source, &[&self.file.set, &own.set, self.size(size).map_or(&[][..], |size| &size.set), set])
    }

    /// A recipe with overrides, the data and the plugins of this comparison.
    pub(super) fn prepared(&self, source: RecipeSource, sets: &[&[String]]) -> RecipeSource {
        let source = source.plugins(self.plugins.clone());
        let source = sets.iter().flat_map(|set| set.iter()).fold(source, RecipeSource::set);
        self.data.iter().fold(source, RecipeSource::data)
    }

    /// An error of a recipe, with the arm and the size that it is of.
    fn within(&self, arm: usize, size: Option<usize>, error: Error) -> Error {
        let size = self.size(size).map_or(String::new(), |size| format!(" in size `{}`", size.name));
        let place = format!("arm `{}`{size}", self.arm(arm).name);
        Error::new(error.kind(), place, "its recipe, with its overrides, cannot be used").caused_by(error)
    }

    /// The factor on the budget of the comparison.
    pub(super) fn budget_times(&self, size: Option<usize>) -> f64 {
        self.size(size).map_or(1.0, |size| size.budget)
    }

    fn member(&self, arm: usize, size: Option<usize>) -> Result<Member> {
        let recipe = self.source(arm, size, &[]).open().map_err(|error| self.within(arm, size, error))?;
        let train = recipe.need_train()?;
        if train.target != Target::Backbone {
            let message = format!("arm `{}` trains {}", self.arm(arm).name, train.target);
            return Err(Error::new(ErrorKind::Recipe, recipe.path.display().to_string(), message)
                .hint("set `train.target = \"backbone\"`: a comparison is of backbones over the same tokenizers"));
        }
        let cost = Cost::of(&recipe)?;
        if self.trained {
            let name = self.arm(arm).name.clone();
            let weights = recipe.backbone.as_ref().and_then(|part| part.weights.clone());
            let weights = weights.ok_or_else(|| {
                Error::new(ErrorKind::Weights, recipe.path.display().to_string(), "it names no weights of its backbone")
                    .hint("train it, and name the run's folder; or write a comparison that trains its arms: docs/compare.md")
            })?;
            let steps = open_weights(&weights)?.1.get("musiva.steps").and_then(|steps| steps.parse().ok());
            return Ok(Member { arm, size, name, recipe, steps, cost });
        }
        let times = self.budget_times(size);
        let steps = match self.file.budget.get() {
            Some((amount, Unit::Flops)) => Some(amount * times / cost.flops_per_step),
            Some((amount, Unit::Tokens)) => Some(amount * times / cost.tokens_per_step),
            Some((amount, Unit::Steps)) => Some(amount * times),
            Some((_, Unit::Minutes)) | None => None,
        };
        let name = match self.size(size) {
            Some(size) => format!("{}-{}", self.arm(arm).name, size.name),
            None => self.arm(arm).name.clone(),
        };
        if let Some(steps) = steps.filter(|steps| *steps > MOST_STEPS) {
            let place = recipe.path.display().to_string();
            return Err(Error::new(
                ErrorKind::Recipe,
                place,
                format!("the budget is {steps:.1e} steps of `{name}`, which never end"),
            )
            .hint("lower the budget"));
        }
        let steps = steps.map(|steps| steps.round() as usize);
        if steps == Some(0) {
            let message =
                format!("the budget is not enough for one step of `{name}`, {:.2e} FLOPs", cost.flops_per_step);
            return Err(Error::new(ErrorKind::Recipe, recipe.path.display().to_string(), message)
                .hint("raise the budget, or lower `train.batch`"));
        }
        Ok(Member { arm, size, name, recipe, steps, cost })
    }

    /// Sees to it that the arms differ in nothing but what is compared; what they differ in by intent.
    fn differences(&self, place: &str) -> Result<Vec<String>> {
        let mut found = Vec::new();
        let Some((first, others)) = self.members.split_first() else { return Ok(found) };
        for other in others {
            let clips = |member: &Member| member.recipe.train.as_ref().map(|train| train.clips);
            let conditions = |member: &Member| Ok::<_, Error>(member.recipe.need_canvas()?.conditions.clone());
            let further = [
                ("task", first.recipe.tasks == other.recipe.tasks),
                ("condition", conditions(first)? == conditions(other)?),
                ("train.clips", clips(first) == clips(other)),
                ("budget", !self.trained || like_budgets(first, other)),
            ];
            let further = further.into_iter().filter(|(_, alike)| !alike).map(|(section, _)| section.to_owned());
            for section in differences(&first.recipe, &other.recipe).into_iter().chain(further) {
                if !self.file.differs.contains(&section) {
                    let message = format!("`{}` and `{}` differ in `{section}`", first.name, other.name);
                    let said = match self.trained {
                        true => format!("`--differs {section}`"),
                        false => format!("`differs = [\"{section}\"]`"),
                    };
                    return Err(Error::new(ErrorKind::Recipe, place, message)
                        .hint(format!("make it the same, or say that it is meant: {said}")));
                }
                if !found.contains(&section) {
                    found.push(section);
                }
            }
        }
        Ok(found)
    }

    fn known_tasks(&self, place: &str) -> Result<()> {
        for member in &self.members {
            let tasks = member.recipe.need_tasks()?;
            if let Some(asked) =
                self.file.evaluate.tasks.iter().find(|asked| tasks.iter().all(|task| task.name != **asked))
            {
                let known: Vec<&str> = tasks.iter().map(|task| &*task.name).collect();
                let place = format!("{place}, `evaluate.tasks`");
                return Err(Error::new(ErrorKind::Recipe, place, format!("`{}` has no task `{asked}`", member.name))
                    .hint(format!("name some of {}", known.join(", "))));
            }
        }
        Ok(())
    }

    /// The learning rates that a member is tried with; one alone needs no trial.
    pub(super) fn rates(&self, member: &Member) -> &[f64] {
        &self.arm(member.arm).learning_rates
    }

    /// All runs: trials first, then those that are measured.
    pub fn runs(&self) -> Vec<PlannedRun> {
        if self.trained {
            let run =
                |(member, own): (usize, &Member)| PlannedRun { name: own.name.clone(), member, seed: 0, trial: None };
            return self.members.iter().enumerate().map(run).collect();
        }
        let members = || self.members.iter().enumerate();
        let trials = members().flat_map(|(number, member)| {
            let rates = self.rates(member);
            let rates = if rates.len() > 1 { rates } else { &[] };
            let name = |rate: &f64| format!("{}-trial-{rate}", member.name);
            let run = move |rate: &f64| PlannedRun {
                name: name(rate),
                member: number,
                seed: self.file.seeds[0],
                trial: Some(*rate),
            };
            rates.iter().map(run).collect::<Vec<_>>()
        });
        let measured = members().flat_map(|(number, member)| {
            let run = move |&seed: &u64| PlannedRun {
                name: format!("{}-seed-{seed}", member.name),
                member: number,
                seed,
                trial: None,
            };
            self.file.seeds.iter().map(run)
        });
        trials.chain(measured).collect()
    }

    /// The recipe of a run of `steps` steps; of a trial a part of them.
    ///
    /// # Errors
    /// Where an override cannot be made.
    pub(super) fn recipe(&self, run: &PlannedRun, steps: usize, rate: Option<f64>) -> Result<(Recipe, Registry)> {
        let member = &self.members[run.member];
        // A trial has a part of the steps, and no curve.
        let (steps, points) = match run.trial {
            Some(_) => (((steps as f64 * self.file.trial).round() as usize).max(1), 0),
            None => (steps, self.file.curve_points),
        };
        let mut set = vec![
            format!("train.steps={steps}"),
            format!("train.seed={}", run.seed),
            format!("train.sample_every={}", steps.checked_div(points).unwrap_or(0).max(points.min(1))),
        ];
        set.extend(run.trial.or(rate).map(|rate| format!("train.learning_rate={rate:?}")));
        self.source(member.arm, member.size, &set).resolve()
    }

    /// What is measured of every run.
    pub(super) fn measures(&self) -> EvalConfig<'_> {
        let first = &self.members[0].recipe;
        EvalConfig {
            n: self.file.evaluate.prompts.unwrap_or(first.evaluate.prompts),
            seed: self.file.evaluate.seed.unwrap_or(first.evaluate.seed),
            batch: first.evaluate.batch,
            tokenizers: false,
            baselines: false,
            bits: true,
            tasks: &self.file.evaluate.tasks,
        }
    }

    /// What a run is of.
    pub fn member_of(&self, run: &PlannedRun) -> &Member {
        &self.members[run.member]
    }

    /// The arms, each in each size.
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The file.
    pub fn file(&self) -> &ComparisonFile {
        &self.file
    }
}
