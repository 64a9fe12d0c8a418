//! What a comparison found, as numbers: to be read by programs, and by [`page`](super::page) for people.

use super::plan::{Comparison, Cost, PlannedRun};
use super::run::{Measured, Shared};
use super::statistics::{Difference, Estimate, Runs, difference, estimate, exponent, holm};
use super::{page, sentences};
use musiva_core::{Result, files};
use musiva_train::evaluate::{ALL_RIGHT, Anchor, BITS_PER_SAMPLE, BITS_PER_TOKEN, Better, Example, Figure};
use serde::Serialize;
use std::fmt::Write;
use std::path::Path;

/// A difference is said to be shown where chance alone makes one so large less often than this, corrected for all tests.
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
    /// Prompts and held-out samples, and the seed of scenes and noise.
    pub prompts: usize,
    /// That seed.
    pub evaluation_seed: u64,
    /// Version of musiva.
    pub musiva: String,
    /// How many tests of differences there are, for which each is corrected.
    pub tests: usize,
    /// What was compared, and what it took.
    pub arms: Vec<ArmReport>,
    /// What was measured.
    pub figures: Vec<FigureReport>,
    /// Models so simple that every other one has to be better.
    pub anchors: Vec<Anchor>,
    /// By how much bits fall as training takes more FLOPs, of arms of three sizes and more.
    pub scaling: Vec<Scaling>,
    #[serde(skip)]
    pub(super) examples: Vec<(String, Vec<Vec<Example>>)>,
}

/// An arm in one size.
#[derive(Debug, Serialize)]
pub struct ArmReport {
    /// Its name.
    pub name: String,
    /// Its recipe, and the hash of it.
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
    /// The learning rate, and the validation losses of those that were tried.
    pub learning_rate: f64,
    /// Each that was tried, with its loss.
    pub tried: Vec<(f64, f64)>,
    /// Bits per token of held-out samples by steps, the mean over the runs.
    pub progress: Vec<(u64, f64)>,
    /// Each sampling setting, the recipe's own first.
    pub sampling: Vec<SamplingReport>,
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
    /// The figures that do not hang on the tokens alone.
    pub figures: Vec<(String, String, Estimate)>,
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
    /// Of each arm the estimate, where it has one, and whether that is an upper bound.
    pub arms: Vec<Option<(Estimate, bool)>>,
    /// Of each two arms the difference, first less second.
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
    /// The arm.
    pub arm: String,
    /// What the bits are of.
    pub of: String,
    /// Training FLOPs and bits of each run.
    pub points: Vec<[f64; 2]>,
    /// The exponent.
    pub exponent: Estimate,
}

impl FigureReport {
    /// The arm that does best, of those that were measured.
    pub(super) fn best(&self) -> Option<usize> {
        let better = self.better?;
        let all = self.arms.iter().enumerate().filter_map(|(arm, found)| Some((arm, found.as_ref()?.0.mean)));
        let best = all.min_by(|a, b| match better {
            Better::Lower => a.1.total_cmp(&b.1),
            Better::Higher => b.1.total_cmp(&a.1),
        });
        best.map(|(arm, _)| arm)
    }

    /// Whether a difference between two arms is shown.
    pub(super) fn is_shown(&self, one: usize, other: usize) -> bool {
        let of = |pair: &&Pair| pair.arms == [one, other] || pair.arms == [other, one];
        self.pairs.iter().find(of).is_some_and(|pair| pair.corrected_p < LEVEL)
    }
}

impl Report {
    pub(super) fn new(
        comparison: &Comparison,
        runs: Vec<(PlannedRun, Measured)>,
        trials: Vec<(PlannedRun, f64)>,
        shared: Shared,
    ) -> Result<Self> {
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
                    recipe: member.recipe.name.clone(),
                    recipe_sha256: member.recipe.hash(),
                    cost: member.cost,
                    steps,
                    training_flops: member.cost.flops_per_step * steps as f64,
                    training_tokens: member.cost.tokens_per_step * steps as f64,
                    training_seconds: Some(mean(own.iter().map(|run| run.seconds))).filter(|seconds| *seconds > 0.0),
                    learning_rate: own.first().map_or(0.0, |run| run.learning_rate),
                    tried: tried.filter_map(|(run, loss)| Some((run.trial?, *loss))).collect(),
                    progress: progress(&own),
                    sampling: sampling(&own),
                }
            })
            .collect();
        let members: Vec<Vec<&Measured>> = (0..arms.len()).map(of_member).collect();
        let mut figures = figures(&members);
        let all: Vec<f64> = figures.iter().flat_map(|figure| &figure.pairs).map(|pair| pair.difference.p).collect();
        let pairs = figures.iter_mut().flat_map(|figure| &mut figure.pairs);
        pairs.zip(holm(&all)).for_each(|(pair, corrected)| pair.corrected_p = corrected);
        let config = comparison.measures();
        let mut report = Self {
            name: comparison.file.name.clone(),
            question: comparison.file.question.clone(),
            answer: Vec::new(),
            limits: comparison.file.limits.clone(),
            differs: comparison.differs.clone(),
            budget: comparison.file.budget.to_string(),
            seeds: comparison.file.seeds.clone(),
            prompts: config.n,
            evaluation_seed: config.seed,
            musiva: env!("CARGO_PKG_VERSION").to_owned(),
            tests: all.len(),
            scaling: scaling(comparison, &members, &arms),
            arms,
            figures,
            anchors: shared.anchors,
            examples: shared.examples,
        };
        report.answer = sentences::answer(&report);
        Ok(report)
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
        for figure in &self.figures {
            for (arm, found) in self.arms.iter().zip(&figure.arms) {
                let Some((Estimate { mean, low, high, seed_deviation }, bound)) = found else { continue };
                let deviation = seed_deviation.map_or(String::new(), |deviation| deviation.to_string());
                let names = [&figure.of, &figure.name, &arm.name].map(|name| quoted(name)).join(",");
                let _ = writeln!(text, "{names},{mean},{low},{high},{deviation},{bound}");
            }
        }
        text
    }

    /// What quality is read off, of a task: the first figure of those that say it, which hang on no likelihood.
    pub(super) fn quality(&self) -> impl Iterator<Item = &FigureReport> {
        let mut seen = Vec::new();
        let figures = self.figures.iter().filter(|figure| is_quality(&figure.name));
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

/// Whether a figure says of samples by itself how good they are.
fn is_quality(name: &str) -> bool {
    name == ALL_RIGHT || name.starts_with("retrieval") || name.starts_with("PSNR") || name.starts_with("mel distance")
}

fn mean(numbers: impl Iterator<Item = f64>) -> f64 {
    let (sum, count) = numbers.fold((0.0, 0), |(sum, count), number| (sum + number, count + 1));
    sum / f64::from(count.max(1))
}

/// The bits after each number of steps that all runs were looked at.
fn progress(runs: &[&Measured]) -> Vec<(u64, f64)> {
    let Some((first, others)) = runs.split_first() else { return Vec::new() };
    let at = |run: &Measured, step: u64| run.progress.iter().find(|(other, _)| *other == step).map(|(_, bits)| *bits);
    let mean_at = |&(step, bits): &(u64, f64)| {
        let all: Option<Vec<f64>> = others.iter().map(|run| at(run, step)).collect();
        Some((step, mean(all?.into_iter().chain([bits]))))
    };
    first.progress.iter().filter_map(mean_at).collect()
}

/// A figure of several runs.
fn runs_of(runs: &[&[Figure]], of: &str, name: &str) -> Option<(Runs, bool)> {
    let find = |figures: &&[Figure]| figures.iter().find(|figure| figure.of == of && figure.name == name).cloned();
    let found: Vec<Figure> = runs.iter().filter_map(find).collect();
    if found.len() < runs.len() || found.is_empty() {
        return None;
    }
    let each: Vec<(f64, &[f64])> = found.iter().map(|figure| (figure.value, &figure.samples[..])).collect();
    let shares = found.iter().all(|figure| figure.name.ends_with('%'));
    Some((Runs::new(&each, shares), found.iter().any(|figure| figure.upper_bound)))
}

fn sampling(runs: &[&Measured]) -> Vec<SamplingReport> {
    let Some(first) = runs.first() else { return Vec::new() };
    let setting = |(number, setting): (usize, &super::run::Sampled)| {
        let own: Vec<&[Figure]> = runs.iter().filter_map(|run| Some(&run.sampling.get(number)?.figures[..])).collect();
        let figure = |figure: &Figure| {
            let (found, _) = runs_of(&own, &figure.of, &figure.name)?;
            Some((figure.of.clone(), figure.name.clone(), estimate(&found)))
        };
        let figures = setting.figures.iter().filter(|figure| is_quality(&figure.name)).filter_map(figure);
        SamplingReport {
            set: setting.set.clone(),
            flops: setting.cost.sampling_flops,
            depth: setting.cost.depth,
            seconds: mean(runs.iter().filter_map(|run| Some(run.sampling.get(number)?.seconds))),
            figures: figures.collect(),
        }
    };
    first.sampling.iter().enumerate().map(setting).collect()
}

fn figures(members: &[Vec<&Measured>]) -> Vec<FigureReport> {
    let mut names: Vec<(&str, &str, Option<Better>)> = Vec::new();
    for figure in members.iter().flatten().flat_map(|run| &run.figures) {
        if !names.iter().any(|(of, name, _)| (*of, *name) == (&figure.of, &figure.name)) {
            names.push((&figure.of, &figure.name, figure.better));
        }
    }
    let report = |(of, name, better): (&str, &str, Option<Better>)| {
        let found: Vec<Option<(Runs, bool)>> = members
            .iter()
            .map(|runs| runs_of(&runs.iter().map(|run| &run.figures[..]).collect::<Vec<_>>(), of, name))
            .collect();
        let mut pairs = Vec::new();
        // Bits per token and per sample are one test.
        let tested = better.is_some() && name != BITS_PER_TOKEN;
        for one in (0..found.len()).filter(|_| tested) {
            for other in one + 1..found.len() {
                if let (Some((a, _)), Some((b, _))) = (&found[one], &found[other])
                    && let Some(difference) = difference(a, b)
                {
                    pairs.push(Pair { arms: [one, other], difference, corrected_p: 1.0 });
                }
            }
        }
        let arms = found.iter().map(|found| found.as_ref().map(|(runs, bound)| (estimate(runs), *bound))).collect();
        FigureReport { of: of.to_owned(), name: name.to_owned(), better, arms, pairs }
    };
    names.into_iter().map(report).collect()
}

/// Of each arm that comes in three sizes or more.
fn scaling(comparison: &Comparison, members: &[Vec<&Measured>], arms: &[ArmReport]) -> Vec<Scaling> {
    let mut all = Vec::new();
    for (number, arm) in comparison.file.arm.iter().enumerate() {
        let own: Vec<usize> = (0..members.len()).filter(|&i| comparison.members[i].arm == number).collect();
        let bits = own.iter().flat_map(|&i| &members[i]).flat_map(|run| &run.figures);
        let mut of: Vec<&str> =
            bits.filter(|figure| figure.name == BITS_PER_SAMPLE).map(|figure| figure.of.as_str()).collect();
        of.dedup();
        of.sort_unstable();
        of.dedup();
        for of in of {
            let point = |&i: &usize| {
                let value = |run: &&&Measured| {
                    let figure = run.figures.iter().find(|figure| figure.of == of && figure.name == BITS_PER_SAMPLE);
                    figure.map(|figure| [arms[i].training_flops, figure.value])
                };
                members[i].iter().filter_map(|run| value(&run)).collect::<Vec<_>>()
            };
            let points: Vec<[f64; 2]> = own.iter().flat_map(point).collect();
            if let Some(exponent) = exponent(&points) {
                all.push(Scaling { arm: arm.name.clone(), of: of.to_owned(), points, exponent });
            }
        }
    }
    all
}
