//! Trains and measures the runs of a comparison: each an ordinary run folder, so that every one resumes by itself.

use super::file::Unit;
use super::plan::{Comparison, Cost, Member, PlannedRun};
use super::report::Report;
use crate::device::DeviceName;
use crate::recipes::RecipeSource;
use crate::train::{Callbacks, Ended, RunFolder, train};
use burn::tensor::Device;
use musiva_core::recipe::Recipe;
use musiva_core::{Error, ErrorKind, Observer, Result, files};
use musiva_train::evaluate::{
    Anchor, EvalConfig, Example, Figure, Parts, anchors, evaluate, examples, validation_loss,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Steps by whose time a budget of minutes becomes one of steps.
const TIMED: usize = 12;
/// Samples of each task that the report shows, unless the comparison says.
const SHOWN: usize = 3;
/// What is measured of a run, in its folder.
const MEASURED: &str = "measured.json";
/// Where steps are timed, in the folder of the comparison.
const TIMING: &str = "timing";

/// What a comparison is to do now.
#[derive(Clone, Debug)]
pub struct CompareOptions {
    /// The folder of runs and report.
    pub output: PathBuf,
    /// The device.
    pub device: DeviceName,
    /// Of how many processes that share the work this is which, from 1: `[2, 4]` is the second of four.
    pub shard: [usize; 2],
}

/// How far a comparison is.
#[derive(Debug)]
pub enum Compared {
    /// All is trained and measured, and the report is written.
    Done(Box<Report>),
    /// So many runs of so many are done; the others are for other processes.
    Waiting(usize, usize),
}

/// What was measured of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// What it hangs on: weights and settings.
    key: String,
    /// The learning rate that it was trained with.
    pub learning_rate: f64,
    /// Steps.
    pub steps: usize,
    /// Seconds of training steps, by the run's own log.
    pub seconds: f64,
    /// Bits per token of held-out samples after so many steps.
    pub progress: Vec<(u64, f64)>,
    /// Figures by the sampler of the recipe.
    pub figures: Vec<Figure>,
    /// The same by each of the sampling settings, the recipe's own first.
    pub sampling: Vec<Sampled>,
}

/// Figures by one setting of the sampler.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sampled {
    /// The overrides; none of the recipe's own.
    pub set: Vec<String>,
    /// What a sample takes.
    pub cost: Cost,
    /// Seconds of sampling and decoding a sample, in batches of `evaluate.batch`.
    pub seconds: f64,
    /// What was measured.
    pub figures: Vec<Figure>,
}

/// What all runs are measured against, and what they are shown with.
pub(super) struct Shared {
    pub anchors: Vec<Anchor>,
    /// Of each task, of each member the examples; none of a member that does not have the task.
    pub examples: Vec<(String, Vec<Vec<Example>>)>,
}

/// The folder's own note of what its runs depend on.
#[derive(Clone, PartialEq, Serialize, Deserialize)]
struct Plan {
    /// The part of the budget that learning rates are tried with.
    trial: f64,
    /// Of each member its recipe's hash, the budget in words and the learning rates that are tried.
    members: BTreeMap<String, (String, String, Vec<f64>)>,
    /// Of each member its steps.
    steps: BTreeMap<String, usize>,
}

/// Tells an observer of a training run.
struct Watch<'a> {
    name: &'a str,
    observer: &'a mut dyn Observer,
    stop: &'a dyn Fn() -> bool,
}

impl Callbacks for Watch<'_> {
    fn prepare(&mut self, what: &str, done: u64, total: u64) -> Result<()> {
        if (self.stop)() {
            return Err(Error::new(ErrorKind::Interrupted, "", "stopped"));
        }
        self.observer.progress(&format!("{}: {what}", self.name), done as usize, total as usize)
    }

    fn warn(&mut self, text: &str) {
        self.observer.warn(&format!("{}: {text}", self.name));
    }

    fn step(&mut self, done: u64, total: u64, _: Option<&[(String, f64)]>) {
        // What cannot be said is no reason to stop; the observer's own errors come with the next stage.
        let _ = self.observer.progress(&format!("train {}", self.name), done as usize, total as usize);
    }

    fn stop(&self) -> bool {
        (self.stop)()
    }
}

impl Comparison {
    /// Trains and measures what is not done yet, and writes the report once all is. Where `stop` says so, the run that is under
    /// way saves a checkpoint; called again, the comparison goes on from it.
    ///
    /// # Errors
    /// Where the folder is of another comparison, a run goes wrong, or `stop` said so.
    pub fn run(
        &self,
        options: &CompareOptions,
        observer: &mut dyn Observer,
        stop: &dyn Fn() -> bool,
    ) -> Result<Compared> {
        let CompareOptions { output, device: name, shard: [own, shards] } = options;
        let device = name.open()?;
        let runs_folder = output.join("runs");
        let steps = self.prepare(output, *name, observer, stop)?;
        let runs = self.runs();
        // A member's trials and runs belong together: none waits for another process.
        let is_ours = |run: &PlannedRun| run.member % shards == own - 1;
        for run in runs.iter().filter(|run| run.trial.is_some() && is_ours(run)) {
            let folder = runs_folder.join(&run.name);
            let file = folder.join(MEASURED);
            let (recipe, weights) =
                match self.trained(run, steps[run.member], None, &runs_folder, *name, observer, stop) {
                    // A rate that is too high is one that is not chosen.
                    Err(error) if error.kind() == ErrorKind::Training => {
                        observer.warn(&format!("{}: {}", run.name, error.message()));
                        files::write(&file, json(&Trial { key: String::new(), loss: None }).as_bytes())?;
                        continue;
                    }
                    trained => trained?,
                };
            let config = self.measures();
            cached(
                &file,
                &key(&recipe, &weights, &config, &[])?,
                |trial: &Trial| &trial.key,
                |key| {
                    let finished = self.finished(run.member, &folder, &[])?;
                    let parts = Parts::build(&finished, &device)?;
                    let loss = validation_loss(&finished, &parts, config.n, config.seed, &mut |stage, done, total| {
                        go_on(stop)?;
                        observer.progress(&format!("{}: {stage}", run.name), done, total)
                    })?;
                    observer.note(&format!("{}: validation loss {loss:.4}", run.name));
                    Ok(Trial { key, loss: Some(loss).filter(|loss| loss.is_finite()) })
                },
            )?;
        }
        for run in runs.iter().filter(|run| run.trial.is_none() && is_ours(run)) {
            let rate = self.chosen(&runs, run, &runs_folder)?;
            let folder = runs_folder.join(&run.name);
            let (recipe, weights) = self.trained(run, steps[run.member], rate, &runs_folder, *name, observer, stop)?;
            let sampling = &self.file.arm[self.members[run.member].arm].sampling;
            let key = key(&recipe, &weights, &self.measures(), sampling)?;
            cached(
                &folder.join(MEASURED),
                &key,
                |measured: &Measured| &measured.key,
                |key| self.measured(run, key, &recipe, &folder, &device, observer, stop),
            )?;
        }
        // What other processes have measured by now.
        let measured = |run: &&PlannedRun| read::<Measured>(&runs_folder.join(&run.name).join(MEASURED));
        let done: BTreeMap<String, Measured> = runs
            .iter()
            .filter(|run| run.trial.is_none())
            .filter_map(|run| Some((run.name.clone(), measured(&run)?)))
            .collect();
        let all: Vec<&PlannedRun> = runs.iter().filter(|run| run.trial.is_none()).collect();
        if done.len() < all.len() {
            return Ok(Compared::Waiting(done.len(), all.len()));
        }
        let shared = self.shared(&runs_folder, &device, observer, stop)?;
        let ordered = all.into_iter().map(|run| (run.clone(), done[&run.name].clone())).collect();
        let trials = self.trials(&runs, &runs_folder);
        let report = Report::new(self, ordered, trials, shared)?;
        report.write(output)?;
        Ok(Compared::Done(Box::new(report)))
    }

    /// Sees to it that the folder is of this comparison; the steps of each member.
    fn prepare(
        &self,
        output: &Path,
        device: DeviceName,
        observer: &mut dyn Observer,
        stop: &dyn Fn() -> bool,
    ) -> Result<Vec<usize>> {
        let path = output.join("plan.json");
        let member = |member: &Member| {
            let budget = format!("{}, times {}", self.file.budget, self.budget_times(member));
            (member.name.clone(), (member.recipe.hash(), budget, self.rates(member).to_vec()))
        };
        let members = self.members.iter().map(member).collect();
        let mut plan = Plan { trial: self.file.trial, members, steps: BTreeMap::new() };
        if !path.exists() {
            if !is_free(output) {
                return Err(not_ours(output));
            }
            for member in &self.members {
                let steps = match member.steps {
                    Some(steps) => steps,
                    None if self.trained => 0,
                    None => self.timed(member, output, device, observer, stop)?,
                };
                plan.steps.insert(member.name.clone(), steps);
            }
        }
        // Another process may have been faster, and its times are those that count.
        match path.exists() {
            true => {
                let before = read::<Plan>(&path).ok_or_else(|| not_ours(output))?;
                plan.steps = before.steps.clone();
                let changed = plan.members.iter().find(|(name, now)| before.members.get(*name) != Some(now));
                if let Some((name, _)) = changed {
                    let message =
                        format!("its arm `{name}` is another than now, by its recipe, budget or learning rates");
                    return Err(Error::new(ErrorKind::Recipe, output.display().to_string(), message)
                        .hint("name another folder by `-o`, or set back what has changed"));
                }
                if before.trial != plan.trial {
                    return Err(Error::new(
                        ErrorKind::Recipe,
                        output.display().to_string(),
                        "its `trial` is another than now",
                    )
                    .hint(format!("set `trial = {}`, or name another folder by `-o`", before.trial)));
                }
            }
            false => files::write(&path, json(&plan).as_bytes())?,
        }
        Ok(self.members.iter().map(|member| plan.steps.get(&member.name).copied().unwrap_or(1)).collect())
    }

    /// Steps that a budget of minutes is enough for, by the time of a few.
    fn timed(
        &self,
        member: &Member,
        output: &Path,
        device: DeviceName,
        observer: &mut dyn Observer,
        stop: &dyn Fn() -> bool,
    ) -> Result<usize> {
        let Some((minutes, Unit::Minutes)) = self.file.budget.get() else { return Ok(1) };
        let minutes = minutes * self.budget_times(member);
        let folder = output.join(TIMING).join(format!("{}-{}", member.name, std::process::id()));
        if folder.exists() {
            std::fs::remove_dir_all(&folder).map_err(|error| Error::io(&folder, "remove it", error))?;
        }
        let set =
            [format!("train.steps={TIMED}"), "train.sample_every=0".into(), format!("train.log_every={}", TIMED / 2)];
        let recipe = self.source(member.arm, member.size, &set).open()?;
        let name = format!("{}-timing", member.name);
        let mut watch = Watch { name: &name, observer, stop };
        let run = RunFolder::new(&folder, &mut watch)?;
        if let Ended::Stopped(_) = train(&recipe, &run, device, &mut watch)? {
            return Err(interrupted());
        }
        let log = log(&folder)?;
        let seconds = log.last().and_then(|measures| measures.get("seconds_per_step")?.as_f64());
        let seconds = seconds.filter(|seconds| *seconds > 0.0).unwrap_or(1.0);
        std::fs::remove_dir_all(output.join(TIMING)).map_err(|error| Error::io(&folder, "remove it", error))?;
        Ok(((60.0 * minutes / seconds).round() as usize).max(1))
    }

    /// Trains a run to its end, from where it is; its recipe, and the weights.
    #[expect(clippy::too_many_arguments)]
    fn trained(
        &self,
        run: &PlannedRun,
        steps: usize,
        rate: Option<f64>,
        runs: &Path,
        device: DeviceName,
        observer: &mut dyn Observer,
        stop: &dyn Fn() -> bool,
    ) -> Result<(Recipe, PathBuf)> {
        if let (true, Member { recipe, .. }) = (self.trained, &self.members[run.member]) {
            let weights = recipe.backbone.as_ref().and_then(|part| part.weights.clone()).unwrap_or_default();
            return Ok((self.finished(run.member, runs, &[])?, weights));
        }
        let folder = runs.join(&run.name);
        let (recipe, registry) = self.recipe(run, steps, rate)?;
        let diverged =
            read::<Trial>(&folder.join(MEASURED)).filter(|trial| trial.loss.is_none() && run.trial.is_some());
        if diverged.is_some() {
            return Err(Error::new(ErrorKind::Training, run.name.clone(), "this learning rate diverged"));
        }
        let weights = folder.join("weights.safetensors");
        if weights.is_file() {
            return Ok((recipe, weights));
        }
        go_on(stop)?;
        let mut watch = Watch { name: &run.name, observer, stop };
        let begun = std::fs::read_dir(folder.join("checkpoints")).is_ok_and(|mut all| all.next().is_some());
        let place = match begun {
            true => RunFolder::reopen(&folder, &recipe, &registry, &mut watch)?,
            false => RunFolder::new(&folder, &mut watch)?,
        };
        match train(&recipe, &place, device, &mut watch)? {
            Ended::Done(weights) => Ok((recipe, weights)),
            Ended::Stopped(_) => Err(interrupted()),
        }
    }

    /// The recipe of a run that is done, with its weights.
    fn finished(&self, member: usize, folder: &Path, set: &[String]) -> Result<Recipe> {
        if self.trained {
            return self.source(self.members[member].arm, None, set).open();
        }
        // The folder has data and overrides in it already.
        let source = RecipeSource::named(folder.display().to_string());
        self.prepared(source, &[set]).open()
    }

    /// The learning rate that a run is to have; `None`: the recipe's own. Its trials are done. What is once chosen stays, whatever
    /// is measured later.
    fn chosen(&self, runs: &[PlannedRun], run: &PlannedRun, folder: &Path) -> Result<Option<f64>> {
        let member = &self.members[run.member];
        let rates = self.rates(member);
        if rates.len() < 2 {
            return Ok(rates.first().copied());
        }
        let path = folder.join(format!("{}-learning-rate.json", member.name));
        if let Some(rate) = read::<f64>(&path) {
            return Ok(Some(rate));
        }
        let trials = self.trials(runs, folder).into_iter().filter(|(trial, _)| trial.member == run.member);
        let best = trials.filter_map(|(trial, loss)| Some((loss?, trial.trial?))).min_by(|a, b| a.0.total_cmp(&b.0));
        let Some((_, rate)) = best else {
            let message = "no learning rate gives a loss that is a number";
            return Err(
                Error::new(ErrorKind::Training, member.name.clone(), message).hint("name lower `learning_rates`")
            );
        };
        files::write(&path, json(&rate).as_bytes())?;
        Ok(Some(rate))
    }

    /// The validation losses of all trials; `None` of those that diverged.
    fn trials(&self, runs: &[PlannedRun], folder: &Path) -> Vec<(PlannedRun, Option<f64>)> {
        let trials = runs.iter().filter(|run| run.trial.is_some());
        let loss = |run: &PlannedRun| Some((run.clone(), read::<Trial>(&folder.join(&run.name).join(MEASURED))?.loss));
        trials.filter_map(loss).collect()
    }

    #[expect(clippy::too_many_arguments)]
    fn measured(
        &self,
        run: &PlannedRun,
        key: String,
        trained: &Recipe,
        folder: &Path,
        device: &Device,
        observer: &mut dyn Observer,
        stop: &dyn Fn() -> bool,
    ) -> Result<Measured> {
        let arm = &self.file.arm[self.members[run.member].arm];
        let settings = std::iter::once(Vec::new()).chain(arm.sampling.iter().cloned());
        let (mut sampling, mut figures) = (Vec::new(), Vec::new());
        for set in settings {
            let recipe = self.finished(run.member, folder, &set)?;
            let parts = Parts::build(&recipe, device)?;
            // What is said of tokens hangs on no sampler.
            let config = EvalConfig { bits: set.is_empty(), ..self.measures() };
            let what = if set.is_empty() { String::new() } else { format!(", {}", set.join(" ")) };
            let evaluation = evaluate(&recipe, &parts, &config, &mut |stage, done, total| {
                go_on(stop)?;
                observer.progress(&format!("{}{what}: {stage}", run.name), done, total)
            })?;
            let found = evaluation.figures();
            let seconds = evaluation.seconds_per_sample().unwrap_or(0.0);
            if set.is_empty() {
                figures = found.clone();
            }
            sampling.push(Sampled { set, cost: Cost::of(&recipe)?, seconds, figures: found });
        }
        let train = trained.need_train()?;
        // Of what was trained before its folder tells, where a folder was named.
        let named = self.file.arm[self.members[run.member].arm].recipe.as_ref().filter(|_| self.trained);
        let log = log(named.map_or(folder, |named| Path::new(named)))?;
        let (mut seconds, mut before, mut progress) = (0.0, 0, Vec::new());
        for measures in log {
            let number = |name: &str| measures.get(name).and_then(serde_json::Value::as_f64);
            let step = number("step").unwrap_or(0.0) as u64;
            if let Some(each) = number("seconds_per_step") {
                seconds += each * step.saturating_sub(before) as f64;
                before = step;
            }
            progress.extend(number("held_out_bits_per_token").map(|bits| (step, bits)));
        }
        let took = if self.trained { String::new() } else { format!("{} steps in {seconds:.0} s, ", train.steps) };
        observer.note(&format!("{}: {took}measured", run.name));
        let (learning_rate, steps) = (train.learning_rate, self.members[run.member].steps.unwrap_or(train.steps));
        Ok(Measured { key, learning_rate, steps, seconds, progress, figures, sampling })
    }

    /// What stands beside the runs in the report.
    fn shared(
        &self,
        runs: &Path,
        device: &Device,
        observer: &mut dyn Observer,
        stop: &dyn Fn() -> bool,
    ) -> Result<Shared> {
        let config = self.measures();
        let (mut all_examples, mut all_anchors) = (Vec::<(String, Vec<Vec<Example>>)>::new(), Vec::new());
        for (number, member) in self.members.iter().enumerate() {
            let run = self.runs().into_iter().find(|run| run.trial.is_none() && run.member == number);
            let folder = runs.join(run.map_or(String::new(), |run| run.name));
            let recipe = self.finished(number, &folder, &[])?;
            let parts = Parts::build(&recipe, device)?;
            let mut progress = |stage: &str, done, total| {
                go_on(stop)?;
                observer.progress(&format!("{}: {stage}", member.name), done, total)
            };
            if number == 0 {
                let [n, seed] = [config.n as u64, config.seed];
                all_anchors = anchors(&recipe, &parts, config.tasks, [n, seed], &mut progress)?;
            }
            let tasks = recipe.need_tasks()?;
            let shown = self.file.evaluate.shown.unwrap_or(SHOWN) as u64;
            for task in tasks
                .iter()
                .filter(|_| shown > 0)
                .filter(|task| config.tasks.is_empty() || config.tasks.contains(&task.name))
            {
                let made = examples(&recipe, &parts, task, [shown, config.seed], &mut progress)?;
                if !all_examples.iter().any(|(name, _)| *name == task.name) {
                    all_examples.push((task.name.clone(), vec![Vec::new(); self.members.len()]));
                }
                if let Some((_, each)) = all_examples.iter_mut().find(|(name, _)| *name == task.name) {
                    each[number] = made;
                }
            }
        }
        Ok(Shared { anchors: all_anchors, examples: all_examples })
    }
}

/// What is measured of a trial.
#[derive(Serialize, Deserialize)]
struct Trial {
    key: String,
    /// `None`: it diverged.
    loss: Option<f64>,
}

/// A hash of what figures hang on.
fn key(recipe: &Recipe, weights: &Path, config: &EvalConfig, sampling: &[Vec<String>]) -> Result<String> {
    let weights = files::sha256_of(weights)?;
    let EvalConfig { n, seed, batch, tasks, .. } = config;
    let version = env!("CARGO_PKG_VERSION");
    let all = serde_json::json!([version, recipe.hash(), weights, n, seed, batch, tasks, sampling]);
    Ok(files::sha256(all.to_string().as_bytes()))
}

/// What a file holds, where it is of this key, or else what is found now.
fn cached<T: Serialize + DeserializeOwned>(
    path: &Path,
    key: &str,
    of: impl Fn(&T) -> &String,
    find: impl FnOnce(String) -> Result<T>,
) -> Result<T> {
    if let Some(found) = read::<T>(path).filter(|found| of(found) == key) {
        return Ok(found);
    }
    let found = find(key.to_owned())?;
    files::write(path, json(&found).as_bytes())?;
    Ok(found)
}

fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&files::read(path, files::GIGABYTE).ok()?).ok()
}

/// Plain numbers and strings are always JSON.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string_pretty(value).unwrap_or_default() + "\n"
}

/// The lines of a run's log.
fn log(folder: &Path) -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    let path = folder.join("metrics.jsonl");
    let bytes = if path.is_file() { files::read(&path, files::GIGABYTE)? } else { Vec::new() };
    Ok(bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}

/// Whether a folder is not there, or has nothing in it but what a comparison leaves there before its plan.
fn is_free(folder: &Path) -> bool {
    let ours = |name: &str| name == TIMING || (name.starts_with('.') && name.ends_with(".tmp"));
    match std::fs::read_dir(folder) {
        Ok(mut all) => all.all(|entry| entry.is_ok_and(|entry| ours(&entry.file_name().to_string_lossy()))),
        Err(error) => error.kind() == std::io::ErrorKind::NotFound,
    }
}

fn not_ours(output: &Path) -> Error {
    Error::new(ErrorKind::Io, output.display().to_string(), "there is something else than a comparison in it")
        .hint("name an empty or a new folder by `-o`")
}

fn go_on(stop: &dyn Fn() -> bool) -> Result<()> {
    if stop() { Err(interrupted()) } else { Ok(()) }
}

fn interrupted() -> Error {
    Error::new(ErrorKind::Interrupted, "", "stopped, and saved").hint("the same command goes on from here")
}
