//! How good recipes' tokenizers and backbones are, side by side.

pub use musiva_train::evaluate::*;

use burn::tensor::Device;
use musiva_core::pipeline::Codec;
use musiva_core::recipe::{Recipe, Target};
use musiva_core::{Clip, Error, ErrorKind, Media, Modality, Observer, Result};
use musiva_media::contact_sheet;
use musiva_train::fidelity::{HELD_OUT, HeldOut};
use musiva_train::sources::held_out_of;

/// Frames of each clip on a sheet, and sounds.
const COLUMNS: usize = 9;
/// Held-out samples that a tokenizer's weights file tells of.
const RECORDED: u64 = 8;

/// What is measured.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluateOptions {
    /// Clips, sounds, and prompts of each set; `None`: the first recipe's `evaluate.prompts`.
    pub prompts: Option<usize>,
    /// Seed of scenes and noise; `None`: the first recipe's `evaluate.seed`.
    pub seed: Option<u64>,
    /// These tasks alone, and no tokenizer; of none, all.
    pub tasks: Vec<String>,
    /// Whether other codecs do the same with the same bits.
    pub baselines: bool,
    /// Whether a [`sheet`] of the first recipe is made.
    pub sheet: bool,
}

/// What was measured of recipes.
#[derive(Clone, Debug)]
pub struct Evaluations {
    /// Of each.
    pub each: Vec<Evaluation>,
    /// A few originals beside what became of them, where it was asked for.
    pub sheet: Option<Clip>,
}

/// Measures recipes that can stand side by side, at least one.
///
/// # Errors
/// Where they differ in data, tokenizers or tasks; where one cannot be built; and what `observer` returns.
pub fn evaluate_all(
    recipes: &[Recipe],
    options: &EvaluateOptions,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Evaluations> {
    comparable(recipes)?;
    let Some(first) = recipes.first() else { return Ok(Evaluations { each: Vec::new(), sheet: None }) };
    known_tasks(&options.tasks, first)?;
    let (mut each, mut sheet_of_first) = (Vec::new(), None);
    for (i, recipe) in recipes.iter().enumerate() {
        let parts = Parts::build(recipe, device)?;
        // All have the same tokenizers.
        let config = EvalConfig {
            n: options.prompts.unwrap_or(first.evaluate.prompts),
            seed: options.seed.unwrap_or(first.evaluate.seed),
            batch: recipe.evaluate.batch,
            tokenizers: i == 0 && options.tasks.is_empty(),
            baselines: options.baselines,
            bits: true,
            tasks: &options.tasks,
        };
        each.push(evaluate(recipe, &parts, &config, &mut |stage, done, total| match recipes {
            [_] => observer.progress(stage, done, total),
            _ => observer.progress(&format!("{}: {stage}", recipe.name), done, total),
        })?);
        if each.last().is_some_and(Evaluation::is_empty) {
            let message = "it has nothing that can be measured";
            return Err(Error::new(ErrorKind::Unsupported, recipe.path.display().to_string(), message)
                .hint("name a recipe with a video or audio tokenizer, or with a backbone"));
        }
        if options.sheet && i == 0 {
            sheet_of_first = Some(contact_sheet(&sheet(recipe, &parts, options.baselines)?, COLUMNS)?);
        }
    }
    Ok(Evaluations { each, sheet: sheet_of_first })
}

/// Writes into the weights file of a recipe's tokenizer how well it does on held-out data, by which `generate`, `tokenize`
/// and `reconstruct` know media that are far from those. Training does so itself.
///
/// # Errors
/// Where it has no weights of its own, or data or weights cannot be read or written.
pub fn record_held_out(recipe: &Recipe, modality: Modality, device: &Device) -> Result<HeldOut> {
    let codec = Codec::build(recipe, modality, device)?;
    let data = held_out_of(recipe)?;
    let count = data.len().unwrap_or(RECORDED).min(RECORDED);
    let samples = (0..count).map(|i| data.get(i)?.medium(modality.track()));
    let samples: Vec<Media> = samples.collect::<Result<_>>()?;
    let nothing = || Error::new(ErrorKind::Data, "data", "no sample of the held-out data can be measured");
    let held_out = HeldOut::of(codec.tokenizer(), &samples)?.ok_or_else(nothing)?;
    let target = if modality == Modality::Audio { Target::Audio } else { Target::Video };
    recipe.annotate(target, HELD_OUT, held_out.json())?;
    Ok(held_out)
}

/// Sees to it that a recipe has the tasks that are asked for.
fn known_tasks(asked: &[String], recipe: &Recipe) -> Result<()> {
    let known: Vec<&str> = recipe.tasks.iter().map(|task| task.name.as_str()).collect();
    match asked.iter().find(|name| !known.contains(&name.as_str())) {
        None => Ok(()),
        Some(name) => {
            let hint = match known.is_empty() {
                true => "leave `--task` out: the recipe has no `[[task]]`".to_owned(),
                false => format!("name one of {}", known.join(", ")),
            };
            Err(Error::new(ErrorKind::Unsupported, "--task", format!("{} has no task `{name}`", recipe.name))
                .hint(hint))
        }
    }
}
