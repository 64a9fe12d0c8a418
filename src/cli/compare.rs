//! `compare`: arms that are trained alike, measured alike, and set side by side.

use super::args::{DeviceArgs, JsonArgs, PluginArgs};
use super::print::{json, print, say, table};
use super::progress::Screen;
use super::train::Stop;
use musiva::compare::{CompareOptions, Compared, Comparison, ComparisonFile, ComparisonOverrides};
use musiva::{Error, ErrorKind, Result, built_in};
use serde_json::json;
use std::path::{Path, PathBuf};

/// Train arms with the same budget, measure them alike, and write a report
///
/// A comparison (TOML) names arms, each a recipe with overrides, a budget in FLOPs, steps, tokens or
/// minutes, and seeds. Learning rates are chosen for each arm on validation samples. Each run is an
/// ordinary run folder below OUTPUT/runs; called again, the comparison goes on from where it is. The
/// report is one page that opens without a network, and the same as JSON and CSV.
///
/// Several recipes with weights, or folders of runs, are measured as they are.
///
///   musiva compare text-to-video-lm text-to-video-dit --differs budget -o report
///   musiva compare compare.toml -o report --dry-run
///   musiva compare compare.toml -o report
///   musiva compare compare.toml -o report --shard 1/2 & musiva compare compare.toml -o report --shard 2/2
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The comparison, a TOML file; or two and more recipes with weights, or folders of runs
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// The folder of the runs and the report, new or of this comparison
    #[arg(short, long, value_name = "DIR", required_unless_present = "dry_run")]
    output: Option<PathBuf>,
    /// The folder of your data, instead of the recipes' own
    #[arg(long, value_name = "PATH")]
    data: Option<PathBuf>,
    /// How many prompts and held-out samples, instead of `evaluate.prompts`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    prompts: Option<u32>,
    /// Seed of scenes and noise, instead of `evaluate.seed`
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Measure only this task; may be repeated
    #[arg(long = "task", value_name = "NAME")]
    tasks: Vec<String>,
    /// What the arms also differ in by intent, such as `data` or `budget`: said at the top of the report; may be repeated
    #[arg(long, value_name = "SECTION")]
    differs: Vec<String>,
    /// Print the runs and what they take, and train nothing
    #[arg(long)]
    dry_run: bool,
    /// Do the runs of a part of the arms, so that several processes share them: I of N
    #[arg(long, value_name = "I/N", default_value = "1/1", value_parser = shard)]
    shard: [usize; 2],
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    plugins: PluginArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

fn shard(text: &str) -> Result<[usize; 2], String> {
    let parts = text.split_once('/').and_then(|(i, n)| Some([i.parse().ok()?, n.parse().ok()?]));
    parts.filter(|&[i, n]| i >= 1 && i <= n).ok_or_else(|| "write which part of how many, such as 1/2".to_owned())
}

pub fn run(args: &Args) -> Result<()> {
    let overrides = ComparisonOverrides {
        data: args.data.clone(),
        plugins: args.plugins.options()?,
        prompts: args.prompts.map(|n| n as usize),
        seed: args.seed,
        tasks: args.tasks.clone(),
        differs: args.differs.clone(),
    };
    let comparisons = args.files.iter().filter(|file| ComparisonFile::is_one(Path::new(file)) == Some(true)).count();
    if comparisons > 0 && args.files.len() > 1 {
        let message =
            format!("{comparisons} of {} files are comparisons, which have arms of their own", args.files.len());
        return Err(Error::new(ErrorKind::Recipe, args.files.join(", "), message).hint("name one comparison alone"));
    }
    let comparison = match &args.files[..] {
        [one] if is_recipe(one) => {
            let message = "one recipe alone is no comparison, and this is no file with `[[arm]]`s";
            return Err(Error::new(ErrorKind::Recipe, one, message)
                .hint("name a comparison (docs/compare.md), or two and more recipes with weights"));
        }
        [one] => Comparison::open(Path::new(one), &overrides)?,
        several => Comparison::of_trained(several, &overrides)?,
    };
    let Some(output) = args.output.as_ref().filter(|_| !args.dry_run) else {
        plan(&comparison, args.json.json);
        return Ok(());
    };
    let options = CompareOptions { output: output.clone(), device: args.device.device, shard: args.shard };
    let stop = Stop::default();
    stop.on_ctrl_c()?;
    let mut screen = Screen::new(args.json.json);
    match comparison.run(&options, &mut screen, &|| stop.asked())? {
        Compared::Done(report) => {
            let page = output.join("index.html");
            if args.json.json {
                json(&report);
                return Ok(());
            }
            report.answer.iter().for_each(|sentence| say!("{sentence}"));
            say!("{}", page.display());
            Ok(())
        }
        Compared::Waiting(done, all) if args.shard != [1, 1] => {
            say!(
                "{done} of {all} runs are measured; once all are, the same command without `--shard` writes the report"
            );
            Ok(())
        }
        Compared::Waiting(done, all) => {
            Err(Error::new(ErrorKind::Training, output.display().to_string(), format!("{done} of {all} runs are done")))
        }
    }
}

/// Whether something is a recipe, or a run's folder, rather than a comparison; of a file that cannot be read nobody knows.
fn is_recipe(name: &str) -> bool {
    let path = Path::new(name);
    let known = !path.exists() && built_in().any(|recipe| recipe == name);
    known || path.is_dir() || ComparisonFile::is_one(path) == Some(false)
}

/// What is to be trained, and what that takes.
fn plan(comparison: &Comparison, as_json: bool) {
    let members = comparison.members();
    let runs = comparison.runs();
    if as_json {
        let all = members.iter().map(|member| {
            json!({ "name": member.name, "recipe": member.recipe.name, "recipe_sha256": member.recipe.hash(),
                    "steps": member.steps, "cost": member.cost })
        });
        json(&json!({ "arms": all.collect::<Vec<_>>(), "runs": runs }));
        return;
    }
    say!("{}: {}", comparison.file().name, comparison.file().question);
    let head = [
        "arm",
        "parameters",
        "steps",
        "FLOPs a step",
        "training FLOPs",
        "memory",
        "FLOPs a sample",
        "sequential evaluations",
    ];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut total = 0.0;
    for member in members {
        let (cost, steps) = (member.cost, member.steps.map_or(f64::NAN, |steps| steps as f64));
        let own = runs.iter().filter(|run| comparison.member_of(run).name == member.name);
        let parts = own.map(|run| if run.trial.is_some() { comparison.file().trial } else { 1.0 });
        total += steps * cost.flops_per_step * parts.sum::<f64>();
        rows.push(vec![
            member.name.clone(),
            format!("{:.2} M", cost.parameters as f64 / 1e6),
            member.steps.map_or("by time".to_owned(), |steps| steps.to_string()),
            format!("{:.2e}", cost.flops_per_step),
            if steps.is_nan() { "by time".to_owned() } else { format!("{:.2e}", steps * cost.flops_per_step) },
            format!("{:.0} MiB", cost.memory_bytes / f64::from(1 << 20)),
            format!("{:.2e}", cost.sampling_flops),
            cost.depth.to_string(),
        ]);
    }
    print(&table(&rows));
    let trials = runs.iter().filter(|run| run.trial.is_some()).count();
    let measured = runs.len() - trials;
    let work = if total.is_nan() { String::new() } else { format!(", {total:.2e} training FLOPs") };
    say!("{measured} runs to be measured, and before them {trials} trials of learning rates{work}");
}
