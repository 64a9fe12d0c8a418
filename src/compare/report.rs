//! What a comparison found, as numbers: to be read by programs, and by [`page`](super::page) for people.

use super::measure::{Measured, Sampled, Shared, TrialLoss};
use super::plan::{Comparison, Cost, PlannedRun};
use super::statistics::{Difference, Estimate, PowerLaw, Runs, difference, estimate, holm, mean, power_law};
use super::{page, sentences};
use musiva_core::{Result, files};
use musiva_train::evaluate::{
    BITS_ABOVE_TRUTH, BITS_PER_SAMPLE, BITS_PER_TOKEN, Better, Example, Figure, LikelihoodBaseline,
};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// The level of significance, after the correction for all tests.
pub const LEVEL: f64 = 0.05;

/// What a comparison found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Its name.
    pub name: String,
    /// What was asked.
    pub question: String,
    /// The answer, in sentences that the intervals support.
    pub answer: Vec<String>,
    /// What it cannot tell.
    pub limits: String,
    /// What the arms differ in beside what is asked, by intent.
    pub differs: Vec<String>,
    /// The budget of a run, in words.
    pub budget: String,
    /// The seeds of training.
    pub seeds: Vec<u64>,
    /// How many prompts and held-out samples.
    pub prompts: usize,
    /// Samples that are generated at a time: seconds of a sample are those in such batches.
    pub batch: usize,
    /// The seed of scenes and noise.
    pub evaluation_seed: u64,
    /// Version of musiva.
    pub musiva: String,
    /// How many tests of differences there are, for which each is corrected.
    pub tests: usize,
    /// What was compared, and what it took.
    pub arms: Vec<ArmReport>,
    /// What was measured.
    pub figures: Vec<FigureReport>,
    /// Baselines of the likelihood: uniform, unigram, and `truth`, the process that drew the samples, where it is known.
    pub baselines: Vec<LikelihoodBaseline>,
    /// How bits fall with training FLOPs, of arms of three sizes and more.
    pub scaling: Vec<Scaling>,
    #[serde(skip)]
    pub(super) examples: Vec<(String, Vec<Vec<Example>>)>,
}

/// An arm in one size.
#[derive(Debug, Serialize)]
pub struct ArmReport {
    /// Its name.
    pub name: String,
    /// Which arm of the comparison it is.
    pub arm: usize,
    /// Which size; `None` where there is one alone.
    pub size: Option<usize>,
    /// The name of its recipe.
    pub recipe: String,
    /// SHA-256 of the recipe, before seeds and steps.
    pub recipe_sha256: String,
    /// What training and sampling take.
    pub cost: Cost,
    /// Steps of each run.
    pub steps: usize,
    /// Floating-point operations of a run's training.
    pub training_flops: f64,
    /// Tokens of a run's training.
    pub training_tokens: f64,
    /// Seconds of training, the mean over the runs; `None` where no log tells.
    pub training_seconds: Option<f64>,
    /// The learning rate.
    pub learning_rate: f64,
    /// Each learning rate that was tried; empty where none was.
    pub tried: Vec<TriedRate>,
    /// Bits per token of held-out samples by steps, the mean over the runs.
    pub progress: Vec<(u64, f64)>,
    /// Each sampling setting, the recipe's own first.
    pub sampling: Vec<SamplingReport>,
}

/// A learning rate that was tried.
#[derive(Debug, Serialize)]
pub struct TriedRate {
    /// The rate.
    pub learning_rate: f64,
    /// Its validation loss; `None`: it diverged.
    pub validation_loss: Option<f64>,
}

/// What one sampling setting takes and makes.
#[derive(Debug, Serialize)]
pub struct SamplingReport {
    /// The overrides; none of the recipe's own.
    pub set: Vec<String>,
    /// Floating-point operations of a sample.
    pub flops: f64,
    /// Evaluations of the backbone that wait for each other.
    pub depth: usize,
    /// Seconds of a sample, the mean over the runs.
    pub seconds: f64,
    /// How good its samples are.
    pub figures: Vec<SamplingFigure>,
}

/// A figure by one sampling setting.
#[derive(Debug, Serialize)]
pub struct SamplingFigure {
    /// What it is of: a task, or a set of prompts.
    pub of: String,
    /// What is measured, unit included.
    pub name: String,
    /// The estimate.
    #[serde(flatten)]
    pub estimate: Estimate,
}

/// A figure of one arm.
#[derive(Debug, Serialize)]
pub struct ArmFigure {
    /// The estimate.
    #[serde(flatten)]
    pub estimate: Estimate,
    /// Whether that is of an upper bound of what is measured.
    pub upper_bound: bool,
}

/// One measure of all arms.
#[derive(Debug, Serialize)]
pub struct FigureReport {
    /// What it is of: a task, or a set of prompts.
    pub of: String,
    /// What is measured, unit included.
    pub name: String,
    /// Which direction is the better one.
    pub better: Option<Better>,
    /// Whether it says by itself how good samples are.
    pub is_quality: bool,
    /// Of each arm, where it has one.
    pub arms: Vec<Option<ArmFigure>>,
    /// Of each two arms of one size the difference, first less second.
    pub pairs: Vec<Pair>,
}

/// The difference of two arms.
#[derive(Debug, Serialize)]
pub struct Pair {
    /// The arms, by their numbers.
    pub arms: [usize; 2],
    /// By how much the first is above the second.
    pub difference: Difference,
    /// The same probability, corrected for all tests of the report.
    pub corrected_p: f64,
}

/// A power law of bits over training FLOPs.
#[derive(Debug, Serialize)]
pub struct Scaling {
    /// The arm, by its number in the comparison.
    pub arm: usize,
    /// Its name.
    pub name: String,
    /// What the bits are of.
    pub of: String,
    /// What is fitted: bits per sample, or those above the truth where it is known.
    pub figure: &'static str,
    /// Training FLOPs and bits of each run.
    pub points: Vec<[f64; 2]>,
    /// The law.
    #[serde(flatten)]
    pub law: PowerLaw,
}

impl FigureReport {
    /// Of some arms those with the best mean: several where they are equal.
    pub(super) fn best(&self, arms: &[usize]) -> Vec<usize> {
        let sign = match self.better {
            None => return Vec::new(),
            Some(Better::Lower) => 1.0,
            Some(Better::Higher) => -1.0,
        };
        let means = || arms.iter().filter_map(|&arm| Some((arm, sign * self.arms[arm].as_ref()?.estimate.mean)));
        let least = means().map(|(_, mean)| mean).fold(f64::INFINITY, f64::min);
        means().filter(|(_, mean)| *mean == least).map(|(arm, _)| arm).collect()
    }

    /// Whether the better one of two arms is significantly better than the other. Of one whose number is an upper bound that is
    /// above the other's nobody knows: its own may be below.
    pub(super) fn is_significant(&self, pair: &Pair) -> bool {
        let [one, other] = pair.arms;
        let worse = match (self.better, pair.difference.mean > 0.0) {
            (None, _) => return false,
            (Some(Better::Lower), true) | (Some(Better::Higher), false) => one,
            _ => other,
        };
        pair.corrected_p < LEVEL && !self.is_bound(worse)
    }

    /// Whether the number of an arm is an upper bound.
    pub(super) fn is_bound(&self, arm: usize) -> bool {
        self.arms[arm].as_ref().is_some_and(|found| found.upper_bound)
    }

    /// The pair of two arms, in either order.
    pub(super) fn pair(&self, one: usize, other: usize) -> Option<&Pair> {
        self.pairs.iter().find(|pair| pair.arms == [one, other] || pair.arms == [other, one])
    }
}

impl Report {
    pub(super) fn new(
        comparison: &Comparison,
        runs: Vec<(PlannedRun, Measured)>,
        trials: Vec<(PlannedRun, TrialLoss)>,
        shared: Shared,
    ) -> Self {
        let of_member = |member: usize| -> Vec<&Measured> {
            runs.iter().filter(|(run, _)| run.member == member).map(|(_, measured)| measured).collect()
        };
        let arms: Vec<ArmReport> = comparison
            .members
            .iter()
            .enumerate()
            .map(|(number, member)| {
                let own = of_member(number);
                let steps = own.first().map_or(0, |run| run.steps);
                let tried = trials.iter().filter(|(run, _)| run.member == number);
                ArmReport {
                    name: member.name.clone(),
                    arm: member.arm,
                    size: member.size,
                    recipe: member.recipe.name.clone(),
                    recipe_sha256: member.recipe.hash(),
                    cost: member.cost,
                    steps,
                    training_flops: member.cost.flops_per_step * steps as f64,
                    training_tokens: member.cost.tokens_per_step * steps as f64,
                    training_seconds: Some(mean(own.iter().map(|run| run.seconds))).filter(|seconds| *seconds > 0.0),
                    learning_rate: own.first().map_or(0.0, |run| run.learning_rate),
                    tried: tried
                        .filter_map(|(run, loss)| Some(TriedRate { learning_rate: run.trial?, validation_loss: *loss }))
                        .collect(),
                    progress: progress(&own),
                    sampling: sampling(&own),
                }
            })
            .collect();
        let members: Vec<Vec<&Measured>> = (0..arms.len()).map(of_member).collect();
        let sizes: Vec<Option<usize>> = comparison.members.iter().map(|member| member.size).collect();
        let mut figures = figures(&members, &sizes);
        let all: Vec<f64> = figures.iter().flat_map(|figure| &figure.pairs).map(|pair| pair.difference.p).collect();
        let pairs = figures.iter_mut().flat_map(|figure| &mut figure.pairs);
        pairs.zip(holm(&all)).for_each(|(pair, corrected)| pair.corrected_p = corrected);
        let config = comparison.measures();
        let truths = truths(&members);
        let mut report = Self {
            name: comparison.file.name.clone(),
            question: comparison.file.question.clone(),
            answer: Vec::new(),
            limits: comparison.file.limits.clone(),
            differs: comparison.differs.clone(),
            budget: comparison.file.budget.to_string(),
            seeds: comparison.file.seeds.clone(),
            prompts: config.n,
            batch: config.batch,
            evaluation_seed: config.seed,
            musiva: env!("CARGO_PKG_VERSION").to_owned(),
            tests: all.len(),
            scaling: scaling(comparison, &members, &arms),
            arms,
            figures,
            baselines: shared.baselines.into_iter().chain(truths).collect(),
            examples: shared.examples,
        };
        report.answer = sentences::answer(&report);
        report
    }

    /// Writes `index.html`, `report.json` and `figures.csv`.
    ///
    /// # Errors
    /// Where the folder cannot be written, or a sample cannot be encoded.
    pub fn write(&self, folder: &Path) -> Result<()> {
        // Plain numbers and strings are always JSON.
        let json = serde_json::to_string_pretty(self).unwrap_or_default();
        files::write(&folder.join("report.json"), format!("{json}\n").as_bytes())?;
        files::write(&folder.join("figures.csv"), self.csv().as_bytes())?;
        files::write(&folder.join("index.html"), page::html(self)?.as_bytes())
    }

    /// The figures as a table: a row for each arm.
    fn csv(&self) -> String {
        let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
        let mut text = "of,figure,arm,mean,low,high,seed_deviation,upper_bound\n".to_owned();
        let said = |number: Option<f64>| number.map_or(String::new(), |number| number.to_string());
        for figure in &self.figures {
            for (arm, found) in self.arms.iter().zip(&figure.arms) {
                let Some(ArmFigure { estimate, upper_bound }) = found else { continue };
                let [low, high] = [0, 1].map(|end| said(estimate.interval.map(|interval| interval[end])));
                let (mean, deviation) = (estimate.mean, said(estimate.seed_deviation));
                let names = [&figure.of, &figure.name, &arm.name].map(|name| quoted(name)).join(",");
                let _ = writeln!(text, "{names},{mean},{low},{high},{deviation},{upper_bound}");
            }
        }
        text
    }

    /// Of each task the first figure that says how good its samples are.
    pub(super) fn quality(&self) -> impl Iterator<Item = &FigureReport> {
        let mut seen = Vec::new();
        let figures = self.figures.iter().filter(|figure| figure.is_quality);
        figures.filter(move |figure| {
            let first = !seen.contains(&&figure.of);
            seen.push(&figure.of);
            first
        })
    }

    /// The negative log-likelihoods.
    pub(super) fn bits(&self) -> impl Iterator<Item = &FigureReport> {
        self.figures.iter().filter(|figure| figure.name == BITS_PER_SAMPLE)
    }
}

/// Bits by training steps, the mean over the runs.
fn progress(runs: &[&Measured]) -> Vec<(u64, f64)> {
    let Some((first, others)) = runs.split_first() else { return Vec::new() };
    let at = |run: &Measured, step: u64| run.progress.iter().find(|(other, _)| *other == step).map(|(_, bits)| *bits);
    let mean_at = |&(step, bits): &(u64, f64)| {
        let all: Option<Vec<f64>> = others.iter().map(|run| at(run, step)).collect();
        let all: Vec<f64> = all?.into_iter().chain([bits]).collect();
        Some((step, mean(all.into_iter())))
    };
    first.progress.iter().filter_map(mean_at).collect()
}

/// A figure of several runs.
fn runs_of<'a>(runs: &[&'a [Figure]], of: &str, name: &str) -> Option<(Runs, bool)> {
    let find = |figures: &&'a [Figure]| figures.iter().find(|figure| figure.of == of && figure.name == name);
    let found: Vec<&Figure> = runs.iter().filter_map(find).collect();
    if found.len() < runs.len() || found.is_empty() {
        return None;
    }
    let each: Vec<(f64, &[f64])> = found.iter().map(|figure| (figure.value, &figure.samples[..])).collect();
    let shares = found.iter().all(|figure| figure.name.ends_with('%'));
    Some((Runs::new(&each, shares), found.iter().any(|figure| figure.upper_bound)))
}

fn sampling(runs: &[&Measured]) -> Vec<SamplingReport> {
    let Some(first) = runs.first() else { return Vec::new() };
    let setting = |(number, setting): (usize, &Sampled)| {
        let own: Vec<&[Figure]> = runs.iter().filter_map(|run| Some(&run.sampling.get(number)?.figures[..])).collect();
        let figure = |figure: &Figure| {
            let (found, _) = runs_of(&own, &figure.of, &figure.name)?;
            let (of, name) = (figure.of.clone(), figure.name.clone());
            Some(SamplingFigure { of, name, estimate: estimate(&found) })
        };
        let seconds: Vec<f64> = runs.iter().filter_map(|run| Some(run.sampling.get(number)?.seconds)).collect();
        let figures = setting.figures.iter().filter(|figure| figure.is_quality).filter_map(figure);
        SamplingReport {
            set: setting.set.clone(),
            flops: setting.cost.sampling_flops,
            depth: setting.cost.depth,
            seconds: mean(seconds.into_iter()),
            figures: figures.collect(),
        }
    };
    first.sampling.iter().enumerate().map(setting).collect()
}

fn figures(members: &[Vec<&Measured>], sizes: &[Option<usize>]) -> Vec<FigureReport> {
    let mut all: Vec<&Figure> = Vec::new();
    for figure in members.iter().flatten().flat_map(|run| run.figures()) {
        if !all.iter().any(|other| (&other.of, &other.name) == (&figure.of, &figure.name)) {
            all.push(figure);
        }
    }
    let report = |Figure { of, name, better, is_quality, .. }: &Figure| {
        let found: Vec<Option<(Runs, bool)>> = members
            .iter()
            .map(|runs| runs_of(&runs.iter().map(|run| run.figures()).collect::<Vec<_>>(), of, name))
            .collect();
        let mut pairs = Vec::new();
        // Bits per token, per sample and above the truth are one test.
        let tested = better.is_some() && name != BITS_PER_TOKEN && name != BITS_ABOVE_TRUTH;
        for one in (0..found.len()).filter(|_| tested) {
            for other in (one + 1..found.len()).filter(|&other| sizes[one] == sizes[other]) {
                if let (Some((a, _)), Some((b, _))) = (&found[one], &found[other])
                    && let Some(difference) = difference(a, b)
                {
                    pairs.push(Pair { arms: [one, other], difference, corrected_p: 1.0 });
                }
            }
        }
        let arm = |(runs, bound): &(Runs, bool)| ArmFigure { estimate: estimate(runs), upper_bound: *bound };
        let arms = found.iter().map(|found| found.as_ref().map(arm)).collect();
        FigureReport { of: of.clone(), name: name.clone(), better: *better, is_quality: *is_quality, arms, pairs }
    };
    all.into_iter().map(report).collect()
}

/// What the process that drew the samples takes for them, task after task, where it is known.
fn truths(members: &[Vec<&Measured>]) -> Vec<LikelihoodBaseline> {
    let Some(run) = members.iter().flatten().next() else { return Vec::new() };
    let find = |of: &str, name: &str| run.figures().iter().find(|figure| figure.of == of && figure.name == name);
    let truth = |above: &Figure| {
        let [sample, token] = [BITS_PER_SAMPLE, BITS_PER_TOKEN].map(|name| find(&above.of, name));
        let (sample, token) = (sample?.value, token?.value);
        let bits_per_sample = sample - above.value;
        let bits_per_token = bits_per_sample * token / sample;
        let (task, model) = (above.of.clone(), "truth".to_owned());
        Some(LikelihoodBaseline { task, model, bits_per_sample, bits_per_token })
    };
    run.figures().iter().filter(|figure| figure.name == BITS_ABOVE_TRUTH).filter_map(truth).collect()
}

/// Of each arm that comes in three sizes or more: of bits above the truth, where it is known.
fn scaling(comparison: &Comparison, members: &[Vec<&Measured>], arms: &[ArmReport]) -> Vec<Scaling> {
    let mut all = Vec::new();
    let of_bits = |figure: &&Figure| figure.name == BITS_PER_SAMPLE;
    let Some(first) = members.iter().flatten().next() else { return all };
    for (number, arm) in comparison.file.arm.iter().enumerate() {
        for of in first.figures().iter().filter(of_bits).map(|figure| &figure.of) {
            let known = first.figures().iter().any(|figure| figure.of == *of && figure.name == BITS_ABOVE_TRUTH);
            let figure = if known { BITS_ABOVE_TRUTH } else { BITS_PER_SAMPLE };
            let own = (0..members.len()).filter(|&i| comparison.members[i].arm == number);
            let points = own.flat_map(|i| members[i].iter().map(move |run| (i, run))).filter_map(|(i, run)| {
                let found = run.figures().iter().find(|found| found.of == *of && found.name == figure)?;
                Some([arms[i].training_flops, found.value])
            });
            let points: Vec<[f64; 2]> = points.collect();
            if let Some(law) = power_law(&points) {
                all.push(Scaling { arm: number, name: arm.name.clone(), of: of.clone(), figure, points, law });
            }
        }
    }
    all
}
