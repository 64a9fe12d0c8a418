//! `train`: trains what the recipe trains.

mod screen;

use super::args::{DeviceArgs, JsonArgs, RecipeArgs};
use super::print::{json, say};
use musiva::recipe::{Recipe, Target};
use musiva::train::{Ended, RunFolder, train};
use musiva::training::tokenizer::summary;
use musiva::{ConfigError, Error, ErrorKind, Result, fetch};
use screen::Screen;
pub use screen::Stop;
use serde_json::{Map, json};
use std::path::{Path, PathBuf};

/// Train the recipe's `train.target`: a tokenizer or the backbone
///
/// A run writes its run folder: recipe.toml and environment.json (what was run, and on what),
/// metrics.jsonl and TensorBoard events (scalars, samples, hyperparameters), samples/ (their tasks and
/// prompts in index.jsonl), checkpoints/ and, at its end, weights.safetensors. Ctrl-C finishes the
/// step, saves a checkpoint and prints how to resume; a resumed run ends with the same weights, bit by
/// bit, as an uninterrupted one.
///
///   musiva train my-recipe.toml
///   musiva train my-recipe.toml --run runs/wide --set backbone.width=256
///   musiva train my-recipe.toml --resume runs/wide --set backbone.width=256
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The run folder, new or empty; by default runs/<name of the recipe>
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    run: Option<PathBuf>,
    /// Resume the run in this folder from its newest checkpoint
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// How many steps, instead of `train.steps`
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    args.device.open()?;
    let mut named = args.recipe.clone();
    named.set.extend(args.steps.map(|steps| format!("train.steps={steps}")));
    let (mut recipe, registry) = named.source()?.resolve()?;
    recipe.need_train()?;
    if let Some(ConfigError { path, message, hint }) = recipe.need_data()?.component.missing() {
        // Before a folder is made.
        return Err(Error::new(ErrorKind::Data, format!("data.{path}"), message).hint(hint));
    }
    if args.resume.is_none() {
        // Before a folder is made.
        recipe.check_start().into_result()?;
    }
    let stop = Stop::default();
    let path = match (&args.resume, &args.run) {
        (Some(folder), _) | (None, Some(folder)) => folder.clone(),
        (None, None) => Path::new("runs").join(name(&recipe)),
    };
    let mut screen = Screen::new(&path, recipe.need_train()?.steps as u64, stop.clone());
    let folder = match args.resume {
        Some(_) => RunFolder::reopen(&path, &recipe, &registry, &mut screen)?,
        None => RunFolder::new(&path, &mut screen)?,
    };
    fetch(&mut recipe, &mut super::progress::Screen::new(args.json.json))?;
    let settings = recipe.need_train()?;
    stop.on_ctrl_c()?;
    let ended = train(&recipe, &folder, args.device.device, &mut screen);
    screen.clear();
    let weights = match ended? {
        Ended::Done(weights) => weights,
        Ended::Stopped(step) => return Err(stopped(args, step, &path)),
    };
    let (peak, estimated) = (peak_memory(), summary(&recipe).training.map(|training| training.memory_bytes));
    if args.json.json {
        json(&json!({
            "target": settings.target,
            "run": path.display().to_string(),
            "weights": weights.display().to_string(),
            "steps": settings.steps,
            "measures": screen.measures().iter().cloned().collect::<Map<_, _>>(),
            "peak_memory_bytes": peak,
            "estimated_memory_bytes": estimated,
        }));
        return Ok(());
    }
    say!("{}: the weights of {}", weights.display(), settings.target);
    if let (Some(peak), Some(estimated)) = (peak, estimated) {
        let mib = |bytes: f64| format!("{:.0} MiB", bytes / (1 << 20) as f64);
        say!("peak memory {}, estimated {} for a training step", mib(peak), mib(estimated));
    }
    let named = match settings.target {
        Target::Text => recipe.text.as_ref().and_then(|part| part.weights.as_ref()),
        Target::Video => recipe.video.as_ref().and_then(|part| part.weights.as_ref()),
        Target::Audio => recipe.audio.as_ref().and_then(|part| part.weights.as_ref()),
        Target::Backbone => recipe.backbone.as_ref().and_then(|part| part.weights.as_ref()),
    };
    match named {
        Some(path) if same(path, &weights) => say!("the recipe finds them there"),
        // Weights that are there already may be the only copy of something better.
        Some(path) if !path.exists() => say!("use them: cp {} {}", weights.display(), path.display()),
        _ => say!("use them: --set {}.weights={}", settings.target, weights.display()),
    }
    Ok(())
}

/// Whether both are one file.
fn same(one: &Path, other: &Path) -> bool {
    one.canonicalize().is_ok_and(|one| other.canonicalize().is_ok_and(|other| one == other))
}

/// How to go on.
fn stopped(args: &Args, step: u64, folder: &Path) -> Error {
    let mut command = format!("musiva train {} --resume {}", args.recipe.recipe, folder.display());
    args.recipe.set.iter().for_each(|set| command.push_str(&format!(" --set '{set}'")));
    args.steps.iter().for_each(|steps| command.push_str(&format!(" --steps {steps}")));
    command.push_str(&format!("{}{}", args.recipe.data, args.recipe.plugins));
    Error::new(ErrorKind::Interrupted, "", format!("stopped after step {step}, and saved"))
        .hint(format!("resume with: {command}"))
}

/// The most bytes of memory that this process has had at once, where the system says so.
fn peak_memory() -> Option<f64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? * 1024.0)
}

fn name(recipe: &Recipe) -> String {
    let stem = || recipe.path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    if recipe.name.is_empty() { stem() } else { recipe.name.clone() }
}
