//! `train`: trains what the recipe trains.

mod folder;
mod screen;

use crate::device::DeviceArgs;
use crate::output::say;
use crate::progress::bar;
use crate::provenance::{Provenance, weights};
use crate::recipes::{RecipeArgs, cache};
use crate::shards::origin;
use burn::tensor::Device;
use folder::RunFolder;
use musiva_core::recipe::{Part, Recipe, Target, TrainSettings};
use musiva_core::{Error, ErrorKind, Modality, Result, files};
use musiva_tokenizers::text;
use musiva_train::backbone::{BackboneParts, BackboneTraining};
use musiva_train::sources::{dataset_of, held_out_of};
use musiva_train::token_set::TokenSet;
use musiva_train::tokenizer::{Clips, Medium, Sounds, TokenizerTraining, summary};
use musiva_train::trainer::{Ended, Run, Trainable};
use screen::{Screen, Stop};
use std::path::{Path, PathBuf};

/// Train what the recipe trains: `train.target`
///
/// A run writes its folder: recipe.toml and environment.json (what was run, and on what),
/// metrics.jsonl and TensorBoard events, samples/, checkpoints/ and, at its end,
/// weights.safetensors. Ctrl-C finishes the step, saves a checkpoint and says how to go on; going
/// on gives the same weights, bit by bit, as never having stopped.
///
///   musiva train my-recipe.toml
///   musiva train my-recipe.toml --run runs/wide --set backbone.width=256
///   musiva train my-recipe.toml --resume runs/wide --set backbone.width=256
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The run's folder, new or empty; by default runs/<name of the recipe>
    #[arg(long, value_name = "DIR", conflicts_with = "resume")]
    run: Option<PathBuf>,
    /// Go on with the run in this folder from its newest checkpoint
    #[arg(long, value_name = "DIR")]
    resume: Option<PathBuf>,
    /// How many steps, instead of `train.steps`
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let mut named = args.recipe.clone();
    named.set.extend(args.steps.map(|steps| format!("train.steps={steps}")));
    let recipe = named.open()?;
    let settings = recipe.need_train()?;
    if args.resume.is_none() {
        recipe.check_start().into_result()?;
    }
    let folder = match (&args.resume, &args.run) {
        (Some(folder), _) => RunFolder::reopen(folder, &recipe, &named.registry()?)?,
        (None, Some(folder)) => RunFolder::new(folder)?,
        (None, None) => RunFolder::new(&Path::new("runs").join(name(&recipe)))?,
    };
    folder.describe(&recipe, args.device.device)?;
    let stop = Stop::on_ctrl_c()?;
    let weights = match settings.target {
        Target::Text => train_text(&recipe, settings, folder.path())?,
        Target::Video => {
            let mut trainable = tokenizer::<Clips>(&recipe, settings, &device)?;
            train(args, &recipe, settings, &folder, &mut trainable, stop)?
        }
        Target::Audio => {
            let mut trainable = tokenizer::<Sounds>(&recipe, settings, &device)?;
            train(args, &recipe, settings, &folder, &mut trainable, stop)?
        }
        Target::Backbone => {
            let parts = parts(&recipe, &device)?;
            let tokens = tokens(&recipe, settings, &folder, &parts, &stop)?;
            let (data, held_out) = (dataset_of(&recipe)?, held_out_of(&recipe)?);
            let weight_init = settings.weight_init();
            let mut trainable = BackboneTraining::new(settings, parts, &weight_init, data, tokens, held_out, &device)?;
            train(args, &recipe, settings, &folder, &mut trainable, stop)?
        }
    };
    say!("{}: the weights of {}", weights.display(), settings.target);
    if let (Some(peak), Some(training)) = (peak_memory(), summary(&recipe).training) {
        let mib = |bytes: f64| format!("{:.0} MiB", bytes / (1 << 20) as f64);
        say!("peak of memory: {}, estimated {}", mib(peak), mib(training.memory_bytes));
    }
    let wanted = match settings.target {
        Target::Text => named_weights(&recipe.text),
        Target::Video => named_weights(&recipe.video),
        Target::Audio => named_weights(&recipe.audio),
        Target::Backbone => named_weights(&recipe.backbone),
    };
    match wanted {
        // The files of a built-in recipe are copies that the command makes.
        Some(path) if !path.starts_with(cache()?) => say!("use them: cp {} {}", weights.display(), path.display()),
        _ => say!("use them: --set {}.weights={}", settings.target, weights.display()),
    }
    Ok(())
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

fn named_weights<T: ?Sized>(part: &Option<Part<T>>) -> Option<&Path> {
    part.as_ref().and_then(|part| part.weights.as_deref())
}

/// The recipe's tokenizer of a medium, to be trained.
fn tokenizer<'a, M: Medium>(
    recipe: &'a Recipe,
    settings: &TrainSettings,
    device: &Device,
) -> Result<TokenizerTraining<'a, M>> {
    let config = &*recipe.need_tokenizer(M::MODALITY)?.component;
    let (data, held_out) = (dataset_of(recipe)?, held_out_of(recipe)?);
    TokenizerTraining::new(settings, config, &settings.weight_init(), data, &*held_out, device)
}

/// Runs the loop; where the user stopped it, an error that says how to go on.
fn train(
    args: &Args,
    recipe: &Recipe,
    settings: &TrainSettings,
    folder: &RunFolder,
    trainable: &mut dyn Trainable,
    stop: Stop,
) -> Result<PathBuf> {
    let run = Run {
        folder: folder.path().to_owned(),
        settings,
        recipe: recipe.resolved(),
        metadata: Provenance::of(recipe, args.device.device)?.trained(settings.target.section()).tensors(),
    };
    let mut screen = Screen::new(folder.path(), settings.steps as u64, stop);
    let ended = run.train(trainable, folder.resumed(), &mut screen);
    screen.clear();
    match ended? {
        Ended::Done(weights) => Ok(weights),
        Ended::Stopped(step) => {
            let mut command = format!("musiva train {} --resume {}", args.recipe.recipe, folder.path().display());
            args.recipe.set.iter().for_each(|set| command.push_str(&format!(" --set '{set}'")));
            args.steps.iter().for_each(|steps| command.push_str(&format!(" --steps {steps}")));
            command.push_str(&args.recipe.plugins.to_string());
            Err(Error::new(ErrorKind::Interrupted, "", format!("stopped after step {step}, and saved"))
                .hint(format!("go on with: {command}")))
        }
    }
}

/// Byte-pair encoding has no steps: all captions at once.
fn train_text(recipe: &Recipe, settings: &TrainSettings, folder: &Path) -> Result<PathBuf> {
    let part = recipe.need_tokenizer(Modality::Text)?;
    let config: text::TextConfig = serde_json::from_value(part.config.clone()).map_err(|error| {
        Error::new(ErrorKind::Unsupported, "tokenizer.text", format!("`{}` is not trained here", part.kind))
            .caused_by(error)
    })?;
    let data = dataset_of(recipe)?;
    let count = data.len().unwrap_or(settings.clips as u64);
    let bar = bar(count, "captions");
    let captions = (0..count).map(|index| {
        bar.inc(1);
        Ok(data.get(index)?.caption)
    });
    let captions: Vec<String> = captions.collect::<Result<_>>()?;
    bar.finish_and_clear();
    let path = folder.join("tokenizer.json");
    text::train(&config, captions.into_iter(), &path)?;
    Ok(path)
}

/// The recipe's frozen tokenizers, and what trains and tries out the backbone.
fn parts<'a>(recipe: &'a Recipe, device: &Device) -> Result<BackboneParts<'a>> {
    let (text, video) = (recipe.need_tokenizer(Modality::Text)?, recipe.need_tokenizer(Modality::Video)?);
    let canvas = recipe.need_canvas()?;
    let audio = recipe.audio.as_ref().filter(|_| canvas.sound.is_some());
    Ok(BackboneParts {
        config: &*recipe.need_backbone()?.component,
        canvas,
        objective: &*recipe.need_objective()?.component,
        sampler: &*recipe.need_sampler()?.component,
        text: text.component.build(device, &text.weight_init()?)?,
        video: video.component.build(device, &video.weight_init()?)?,
        audio: audio.map(|part| part.component.build(device, &part.weight_init()?)).transpose()?,
        tasks: recipe.need_tasks()?,
    })
}

/// The training clips as tokens. Those of an endless dataset follow from the recipe and are shared
/// between runs; those of a folder, whose files may change, belong to the run.
fn tokens(
    recipe: &Recipe,
    settings: &TrainSettings,
    folder: &RunFolder,
    parts: &BackboneParts,
    stop: &Stop,
) -> Result<TokenSet> {
    if let Some(folder) = &settings.tokens {
        return TokenSet::sharded(folder, &origin(recipe)?.tokenizers, &parts.canvas, &*parts.text);
    }
    let data = dataset_of(recipe)?;
    let count = data.len().unwrap_or(settings.clips as u64);
    let path = match data.len() {
        Some(_) => folder.path().join("tokens.safetensors"),
        None => {
            let frozen = |section: &&str| *section != Target::Backbone.section();
            let hashes: Vec<_> = weights(recipe)?.into_iter().filter(|(section, _)| frozen(section)).collect();
            let mut tokenizers = vec![recipe.need_tokenizer(Modality::Text)?, recipe.need_tokenizer(Modality::Video)?];
            tokenizers.extend(recipe.audio.as_ref().filter(|_| parts.canvas.sound.is_some()));
            let data = recipe.need_data()?;
            let configs: Vec<_> =
                [&data.config].into_iter().chain(tokenizers.iter().map(|part| &part.config)).collect();
            let mut key = serde_json::json!([env!("CARGO_PKG_VERSION"), count, configs, hashes]).to_string();
            if !recipe.plugins.is_empty() {
                // Nothing else says which bytes a plugin is, and plugins may have equal configurations.
                let kinds: Vec<_> = [&data.kind].into_iter().chain(tokenizers.iter().map(|part| &part.kind)).collect();
                key.push_str(&serde_json::json!([kinds, recipe.plugins]).to_string());
            }
            cache()?.join("tokens").join(format!("{}.safetensors", &files::sha256(key.as_bytes())[..32]))
        }
    };
    TokenSet::cached(&path, || {
        let bar = bar(count, "tokenize the clips");
        let set = TokenSet::new(&*data, count, &parts.canvas, &*parts.text, &parts.encoders(), &mut |done| {
            bar.set_position(done);
            stop.leave_if_asked();
        });
        bar.finish_and_clear();
        set
    })
}
