//! `gallery`: a page of what recipes make of each of their tasks.

use super::args::{DeviceArgs, RecipesArgs};
use super::print::say;
use super::progress::Screen;
use musiva::{Result, gallery, save};
use std::path::PathBuf;

/// Show what recipes make of each of their tasks, on a page of pictures
///
/// Of each task one scene of the procedural world that training never saw: the first of the test for
/// the first task, the second for the second and so on, none chosen. The page is Markdown; a folder beside
/// it of the same name holds its sheets of frames, with sounds as waveforms below, and what is heard.
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
    /// Where to: .md
    #[arg(short, long, default_value = "gallery.md", value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let recipes = args.recipes.open()?;
    save::prepare(&args.output, &["md"])?;
    let tasks = gallery(&recipes, args.seed, &args.output, (&device, args.device.device), &mut Screen::default())?;
    say!("{}: {tasks} tasks by {} recipes", args.output.display(), recipes.len());
    Ok(())
}
