//! `gallery`: a page of what recipes make of each of their tasks.

use super::args::{DeviceArgs, JsonArgs, OverwriteArgs, RecipesArgs};
use super::print::{json, say};
use super::progress::Screen;
use musiva::{Result, gallery, save};
use std::path::PathBuf;

/// Write a page of pictures of what recipes generate for each of their tasks
///
/// For each task one held-out scene of the procedural world: the first of the test set for the first
/// task, the second for the second and so on, not cherry-picked. The page is Markdown; a folder of the same
/// name beside it holds the sheets of frames, with sounds as waveforms below, and the sound files.
///
///   musiva gallery world-lm world-masked world-dit -o gallery.md
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipes: RecipesArgs,
    /// Seed of scenes and noise, instead of `evaluate.seed`
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Output file: .md
    #[arg(short, long, default_value = "gallery.md", value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    save::prepare(&args.output, &["md"], args.overwrite.overwrite)?;
    save::vacant(&args.output.with_extension(""), args.overwrite.overwrite)?;
    let recipes = args.recipes.open_with_data(args.json.json)?;
    let mut screen = Screen::new(args.json.json);
    let tasks = gallery(&recipes, args.seed, &args.output, (&device, args.device.device), &mut screen)?;
    match args.json.json {
        true => json(
            &serde_json::json!({ "output": args.output.display().to_string(), "tasks": tasks, "recipes": recipes.len() }),
        ),
        false => say!("{}: {tasks} tasks by {} recipes", args.output.display(), recipes.len()),
    }
    Ok(())
}
