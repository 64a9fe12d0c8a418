//! Measures the runs of a comparison, and keeps what was measured in their folders.

use super::plan::{Comparison, Cost, PlannedRun};
use super::run::{Work, runs_file};
use musiva_core::recipe::Recipe;
use musiva_core::{Result, files};
use musiva_train::evaluate::{
    EvalConfig, Example, Figure, LikelihoodBaseline, Parts, evaluate, examples, likelihood_baselines, validation_loss,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Samples of each task that the report shows, unless the comparison says.
const SHOWN: usize = 3;
/// What is measured of a run, in its folder.
pub(super) const MEASURED: &str = "measured.json";

/// A value with what it depends on: weights and settings.
#[derive(Serialize, Deserialize)]
pub(super) struct Keyed<T> {
    pub key: String,
    pub value: T,
}

/// The validation loss of a learning rate that is tried; `None`: it diverged.
pub(super) type TrialLoss = Option<f64>;

/// What was measured of one run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Measured {
    /// The learning rate that it was trained with.
    pub learning_rate: f64,
    /// Training steps.
    pub steps: usize,
    /// Seconds of training steps, by the run's own log.
    pub seconds: f64,
    /// Bits per token of held-out samples, by training steps.
    pub progress: Vec<(u64, f64)>,
    /// Figures by each of the sampling settings, the recipe's own first: that one alone has likelihoods, too.
    pub sampling: Vec<Sampled>,
}

impl Measured {
    /// All figures, by the sampler of the recipe.
    pub fn figures(&self) -> &[Figure] {
        self.sampling.first().map_or(&[], |setting| &setting.figures)
    }
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

/// What stands beside the runs in the report.
pub(super) struct Shared {
    pub baselines: Vec<LikelihoodBaseline>,
    /// Of each task, of each member the examples; none of a member that does not have the task.
    pub examples: Vec<(String, Vec<Vec<Example>>)>,
}

impl Comparison {
    /// The validation loss of a trial that is trained.
    pub(super) fn validated(&self, run: &PlannedRun, trained: &Recipe, weights: &Path, work: &mut Work) -> Result<()> {
        let config = self.measures();
        let key = key(trained, weights, &config, &[])?;
        cached(&runs_file(work.output, run, MEASURED), key, || {
            let finished = self.finished(run, work.output, &[])?;
            let parts = Parts::build(&finished, &work.device)?;
            let loss = validation_loss(&finished, &parts, config.n, config.seed, &mut work.progress(&run.name))?;
            work.observer.note(&format!("{}: validation loss {loss:.4}", run.name));
            Ok(TrialLoss::Some(loss).filter(|loss| loss.is_finite()))
        })
    }

    /// The figures of a run that is trained.
    pub(super) fn measured(&self, run: &PlannedRun, trained: &Recipe, weights: &Path, work: &mut Work) -> Result<()> {
        let sampling = &self.file.arm[self.members[run.member].arm].sampling;
        let key = key(trained, weights, &self.measures(), sampling)?;
        cached(&runs_file(work.output, run, MEASURED), key, || self.measure(run, trained, work))
    }

    fn measure(&self, run: &PlannedRun, trained: &Recipe, work: &mut Work) -> Result<Measured> {
        let member = &self.members[run.member];
        let arm = &self.file.arm[member.arm];
        let mut sampling = Vec::new();
        for set in std::iter::once(Vec::new()).chain(arm.sampling.iter().cloned()) {
            let recipe = self.finished(run, work.output, &set)?;
            let parts = Parts::build(&recipe, &work.device)?;
            // Likelihoods depend on no sampler.
            let config = EvalConfig { bits: set.is_empty(), ..self.measures() };
            let what = if set.is_empty() { run.name.clone() } else { format!("{}, {}", run.name, set.join(" ")) };
            let evaluation = evaluate(&recipe, &parts, &config, &mut work.progress(&what))?;
            let seconds = evaluation.seconds_per_sample().unwrap_or(0.0);
            sampling.push(Sampled { set, cost: Cost::of(&recipe)?, seconds, figures: evaluation.figures() });
        }
        let train = trained.need_train()?;
        // Of what was trained before, the log is in the folder that was named, where one was.
        let log = match (self.trained, &arm.recipe) {
            (true, Some(named)) => log(Path::new(named))?,
            _ => log(&runs_file(work.output, run, ""))?,
        };
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
        work.observer.note(&format!("{}: {took}measured", run.name));
        let (learning_rate, steps) = (train.learning_rate, member.steps.unwrap_or(train.steps));
        Ok(Measured { learning_rate, steps, seconds, progress, sampling })
    }

    /// What stands beside the runs in the report.
    pub(super) fn shared(&self, work: &mut Work) -> Result<Shared> {
        let config = self.measures();
        let shown = self.file.evaluate.shown.unwrap_or(SHOWN) as u64;
        let mut shared = Shared { baselines: Vec::new(), examples: Vec::new() };
        for (number, member) in self.members.iter().enumerate() {
            let runs = self.runs();
            let Some(run) = runs.iter().find(|run| run.trial.is_none() && run.member == number) else { continue };
            let recipe = self.finished(run, work.output, &[])?;
            let parts = Parts::build(&recipe, &work.device)?;
            let mut progress = work.progress(&member.name);
            if number == 0 {
                let [n, seed] = [config.n as u64, config.seed];
                shared.baselines = likelihood_baselines(&recipe, &parts, config.tasks, [n, seed], &mut progress)?;
            }
            let asked_for = |name: &String| config.tasks.is_empty() || config.tasks.contains(name);
            for task in recipe.need_tasks()?.iter().filter(|task| shown > 0 && asked_for(&task.name)) {
                let made = examples(&recipe, &parts, task, [shown, config.seed], &mut progress)?;
                let known = shared.examples.iter().position(|(name, _)| *name == task.name);
                let at = known.unwrap_or_else(|| {
                    shared.examples.push((task.name.clone(), vec![Vec::new(); self.members.len()]));
                    shared.examples.len() - 1
                });
                shared.examples[at].1[number] = made;
            }
        }
        Ok(shared)
    }
}

/// A hash of what figures depend on.
fn key(recipe: &Recipe, weights: &Path, config: &EvalConfig, sampling: &[Vec<String>]) -> Result<String> {
    let weights = files::sha256_of(weights)?;
    let EvalConfig { n, seed, batch, tasks, .. } = config;
    let version = env!("CARGO_PKG_VERSION");
    let all = serde_json::json!([version, recipe.hash(), weights, n, seed, batch, tasks, sampling]);
    Ok(files::sha256(all.to_string().as_bytes()))
}

/// Sees to it that a file holds a value of this key: what it holds, or else what is found now.
fn cached<T: Serialize + DeserializeOwned>(path: &Path, key: String, find: impl FnOnce() -> Result<T>) -> Result<()> {
    if read::<Keyed<T>>(path).is_some_and(|found| found.key == key) {
        return Ok(());
    }
    let value = find()?;
    write(path, &Keyed { key, value })
}

/// What a file holds; `None` where it is missing or holds something else, and is made again.
pub(super) fn read<T: DeserializeOwned>(path: &Path) -> Option<T> {
    serde_json::from_slice(&files::read(path, files::GIGABYTE).ok()?).ok()
}

/// Plain numbers and strings are always JSON.
pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<()> {
    files::write(path, (serde_json::to_string_pretty(value).unwrap_or_default() + "\n").as_bytes())
}

/// The lines of a run's log; none where there is no log.
pub(super) fn log(folder: &Path) -> Result<Vec<serde_json::Map<String, serde_json::Value>>> {
    let path = folder.join("metrics.jsonl");
    let bytes = if path.is_file() { files::read(&path, files::GIGABYTE)? } else { Vec::new() };
    Ok(bytes.split(|&byte| byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect())
}
