//! Trains the runs of a comparison: each an ordinary run folder, so that every one resumes by itself.

use super::file::Unit;
use super::measure::{Keyed, MEASURED, Measured, TrialLoss, log, read, write};
use super::plan::{Comparison, Member, PlannedRun};
use super::report::Report;
use crate::device::DeviceName;
use crate::recipes::RecipeSource;
use crate::train::{Callbacks, Ended, RunFolder, train};
use burn::tensor::Device;
use musiva_core::recipe::Recipe;
use musiva_core::{Error, ErrorKind, Observer, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Steps by whose time a budget of minutes becomes one of steps.
const TIMED: usize = 12;
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
    /// Runs that are measured, and all; the others are for other processes.
    Waiting(usize, usize),
}

/// Where and on what the work is done, and who watches it.
pub(super) struct Work<'a> {
    pub output: &'a Path,
    pub device: Device,
    pub observer: &'a mut dyn Observer,
    name: DeviceName,
    stop: &'a dyn Fn() -> bool,
}

impl Work<'_> {
    /// Progress of what is called `name`, stage after stage; an error once the work is to stop.
    pub fn progress(&mut self, name: &str) -> impl FnMut(&str, usize, usize) -> Result<()> {
        move |stage, done, total| {
            go_on(self.stop)?;
            self.observer.progress(&format!("{name}: {stage}"), done, total)
        }
    }
}

/// A file in the folder of a run; of an empty name the folder.
pub(super) fn runs_file(output: &Path, run: &PlannedRun, name: &str) -> PathBuf {
    output.join("runs").join(&run.name).join(name)
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
        let work = &mut Work { output, device: name.open()?, observer, name: *name, stop };
        let steps = self.prepare(work)?;
        let (trials, runs): (Vec<_>, Vec<_>) = self.runs().into_iter().partition(|run| run.trial.is_some());
        // A member's trials and runs belong together: none waits for another process.
        let is_ours = |run: &&PlannedRun| run.member % shards == own - 1;
        for run in trials.iter().filter(is_ours) {
            match self.train_run(run, steps[run.member], None, work) {
                Ok((recipe, weights)) => self.validated(run, &recipe, &weights, work)?,
                // A rate that is too high is one that is not chosen.
                Err(error) if error.kind() == ErrorKind::Training => {
                    work.observer.warn(&format!("{}: {}", run.name, error.message()));
                    let diverged = Keyed { key: String::new(), value: TrialLoss::None };
                    write(&runs_file(output, run, MEASURED), &diverged)?;
                }
                Err(error) => return Err(error),
            }
        }
        for run in runs.iter().filter(is_ours) {
            let rate = self.chosen(&trials, run.member, output)?;
            let (recipe, weights) = self.train_run(run, steps[run.member], rate, work)?;
            self.measured(run, &recipe, &weights, work)?;
        }
        // What other processes have measured by now is read, too.
        let measured = |run: &PlannedRun| {
            let found: Keyed<Measured> = read(&runs_file(output, run, MEASURED))?;
            Some((run.clone(), found.value))
        };
        let done: Vec<(PlannedRun, Measured)> = runs.iter().filter_map(measured).collect();
        if done.len() < runs.len() {
            return Ok(Compared::Waiting(done.len(), runs.len()));
        }
        let shared = self.shared(work)?;
        let report = Report::new(self, done, losses(&trials, output), shared);
        report.write(output)?;
        Ok(Compared::Done(Box::new(report)))
    }

    /// Sees to it that the folder is of this comparison; the steps of each member.
    fn prepare(&self, work: &mut Work) -> Result<Vec<usize>> {
        let (output, path) = (work.output, work.output.join("plan.json"));
        let member = |member: &Member| {
            let budget = format!("{}, times {}", self.file.budget, self.budget_times(member.size));
            (member.name.clone(), (member.recipe.hash(), budget, self.rates(member).to_vec()))
        };
        let members = self.members.iter().map(member).collect();
        let mut plan = Plan { trial: self.file.trial, members, steps: BTreeMap::new() };
        if !path.exists() {
            if !is_free(output) {
                return Err(not_ours(output));
            }
            for member in &self.members {
                let steps = match (member.steps, self.file.budget.get()) {
                    (Some(steps), _) => steps,
                    (None, Some((minutes, Unit::Minutes))) => {
                        self.timed(member, minutes * self.budget_times(member.size), work)?
                    }
                    // Trained already, and nothing says how long.
                    (None, _) => 0,
                };
                plan.steps.insert(member.name.clone(), steps);
            }
        }
        // Another process may have been faster, and its times are those that count.
        if path.exists() {
            let before = read::<Plan>(&path).ok_or_else(|| not_ours(output))?;
            let changed = plan.members.iter().find(|(name, now)| before.members.get(*name) != Some(now));
            let (message, hint) = match changed {
                Some((name, _)) => (
                    format!("its arm `{name}` is another than now, by its recipe, budget or learning rates"),
                    "set back what has changed".to_owned(),
                ),
                None if before.trial != plan.trial => {
                    ("its `trial` is another than now".to_owned(), format!("set `trial = {}`", before.trial))
                }
                None => {
                    let steps = |member: &Member| before.steps.get(&member.name).copied();
                    return self.members.iter().map(steps).collect::<Option<_>>().ok_or_else(|| not_ours(output));
                }
            };
            return Err(Error::new(ErrorKind::Recipe, output.display().to_string(), message)
                .hint(format!("{hint}, or name another folder by `-o`")));
        }
        write(&path, &plan)?;
        Ok(self.members.iter().map(|member| plan.steps[&member.name]).collect())
    }

    /// Steps that so many minutes are enough for, by the time of a few.
    fn timed(&self, member: &Member, minutes: f64, work: &mut Work) -> Result<usize> {
        let timing = work.output.join(TIMING);
        let folder = timing.join(format!("{}-{}", member.name, std::process::id()));
        let remove = |folder: &Path| match folder.exists() {
            true => std::fs::remove_dir_all(folder).map_err(|error| Error::io(folder, "remove it", error)),
            false => Ok(()),
        };
        remove(&folder)?;
        let set =
            [format!("train.steps={TIMED}"), "train.sample_every=0".into(), format!("train.log_every={}", TIMED / 2)];
        let recipe = self.source(member.arm, member.size, &set).open()?;
        let name = format!("{}-timing", member.name);
        let mut watch = Watch { name: &name, observer: work.observer, stop: work.stop };
        let run = RunFolder::new(&folder, &mut watch)?;
        if let Ended::Stopped(_) = train(&recipe, &run, work.name, &mut watch)? {
            return Err(interrupted());
        }
        let log = log(&folder)?;
        let seconds = log.last().and_then(|measures| measures.get("seconds_per_step")?.as_f64());
        let seconds = seconds.filter(|seconds| *seconds > 0.0).ok_or_else(|| {
            Error::new(ErrorKind::Training, name.clone(), "its log does not say how long a step takes")
                .hint("set `budget.steps` instead of `budget.minutes`")
        })?;
        remove(&timing)?;
        Ok(((60.0 * minutes / seconds).round() as usize).max(1))
    }

    /// Trains a run to its end, from where it is; its recipe, and the weights.
    fn train_run(
        &self,
        run: &PlannedRun,
        steps: usize,
        rate: Option<f64>,
        work: &mut Work,
    ) -> Result<(Recipe, PathBuf)> {
        if self.trained {
            let recipe = self.finished(run, work.output, &[])?;
            let weights = recipe.backbone.as_ref().and_then(|part| part.weights.clone()).unwrap_or_default();
            return Ok((recipe, weights));
        }
        if run.trial.is_some() && matches!(loss(run, work.output), Some(None)) {
            return Err(Error::new(ErrorKind::Training, run.name.clone(), "this learning rate diverged"));
        }
        let (recipe, registry) = self.recipe(run, steps, rate)?;
        let weights = runs_file(work.output, run, "weights.safetensors");
        if weights.is_file() {
            return Ok((recipe, weights));
        }
        go_on(work.stop)?;
        let mut watch = Watch { name: &run.name, observer: work.observer, stop: work.stop };
        let folder = runs_file(work.output, run, "");
        let begun = std::fs::read_dir(folder.join("checkpoints")).is_ok_and(|mut all| all.next().is_some());
        let place = match begun {
            true => RunFolder::reopen(&folder, &recipe, &registry, &mut watch)?,
            false => RunFolder::new(&folder, &mut watch)?,
        };
        match train(&recipe, &place, work.name, &mut watch)? {
            Ended::Done(weights) => Ok((recipe, weights)),
            Ended::Stopped(_) => Err(interrupted()),
        }
    }

    /// The recipe of a run that is done, with its weights.
    pub(super) fn finished(&self, run: &PlannedRun, output: &Path, set: &[String]) -> Result<Recipe> {
        if self.trained {
            return self.source(self.members[run.member].arm, None, set).open();
        }
        // The folder has data and overrides in it already.
        let source = RecipeSource::named(runs_file(output, run, "").display().to_string());
        self.prepared(source, &[set]).open()
    }

    /// The learning rate of a member's runs; `None`: the recipe's own. Its trials are done. What is once chosen stays, whatever is
    /// measured later.
    fn chosen(&self, trials: &[PlannedRun], member: usize, output: &Path) -> Result<Option<f64>> {
        let (rates, name) = (self.rates(&self.members[member]), &self.members[member].name);
        if rates.len() < 2 {
            return Ok(rates.first().copied());
        }
        let path = output.join("runs").join(format!("{name}-learning-rate.json"));
        if let Some(rate) = read::<f64>(&path) {
            return Ok(Some(rate));
        }
        let own = losses(trials, output).into_iter().filter(|(trial, _)| trial.member == member);
        let best = own.filter_map(|(trial, loss)| Some((loss?, trial.trial?))).min_by(|a, b| a.0.total_cmp(&b.0));
        let (_, rate) = best.ok_or_else(|| {
            Error::new(ErrorKind::Training, name, "no learning rate gives a loss that is a number")
                .hint("name lower `learning_rates`")
        })?;
        write(&path, &rate)?;
        Ok(Some(rate))
    }
}

/// The validation loss of a trial; `None` where it is not measured yet.
fn loss(trial: &PlannedRun, output: &Path) -> Option<TrialLoss> {
    read::<Keyed<TrialLoss>>(&runs_file(output, trial, MEASURED)).map(|found| found.value)
}

/// The validation losses of all trials that are measured.
fn losses(trials: &[PlannedRun], output: &Path) -> Vec<(PlannedRun, TrialLoss)> {
    trials.iter().filter_map(|trial| Some((trial.clone(), loss(trial, output)?))).collect()
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
