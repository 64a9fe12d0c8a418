//! `data`: what training would see.

use super::args::RecipeArgs;
use super::print::say;
use super::progress::Screen;
use musiva::data::{Dataset, Sample};
use musiva::media::{Metadata, contact_sheet, spectrogram};
use musiva::training::sources::{dataset_of, held_out_of};
use musiva::{Clip, Modality, Observer, Result, save};
use std::path::PathBuf;

/// Fewer samples than this are not parted: all are trained on and held out.
const FEW: u64 = 16;
/// Samples that are shown.
const SHOWN: u64 = 8;
/// Frames of each.
const COLUMNS: usize = 9;

/// Look at the data of a recipe: how many clips, which are left out and why, a few samples
///
///   musiva data my-recipe.toml
///   musiva data my-recipe.toml --verify
///   musiva data text-to-video -o sheet.png
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// Decode all of it once, and say what cannot be read: every window that is trained on, and every one that is held out
    #[arg(long)]
    verify: bool,
    /// Write a sheet with a row for each of a few clips, or spectrograms of sounds: .png
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<()> {
    let recipe = args.recipe.open()?;
    if let Some(path) = &args.output {
        save::prepare(path, &["png"])?;
    }
    let data = dataset_of(&recipe)?;
    let count = data.len().map_or(SHOWN, |len| len.min(SHOWN));
    let spread = |i: u64| data.len().map_or(i, |len| i * len / count);
    // Before the report, which then knows of those that cannot be read.
    let samples: Vec<Sample> = (0..count).map(|i| data.get(spread(i))).collect::<Result<_>>()?;
    let report = data.report();
    let endless = |count: Option<u64>| count.map_or("endless".to_owned(), |count| count.to_string());
    let shapes = [Modality::Video, Modality::Audio]
        .into_iter()
        .filter_map(|modality| data.shape(modality).map(|shape| format!("{} of shape {shape}", modality.plural())));
    say!("{}: {}", recipe.need_data()?.kind, shapes.collect::<Vec<_>>().join(", "));
    say!("found          {}", endless(report.clips));
    say!("windows        {}", endless(report.windows));
    for dropped in &report.dropped {
        say!("left out       {} {}, such as {}", dropped.count, dropped.reason, dropped.example);
        if args.verify {
            dropped.others.iter().for_each(|other| say!("               {other}"));
        }
    }
    if let Some(pixels) = report.pixels {
        say!("pixels         {} to {}, mean {:.1}, of {} clips", pixels.min, pixels.max, pixels.mean, pixels.samples);
    }
    if let Some(loudness) = report.loudness {
        let decibels = 20.0 * loudness.rms.log10();
        let silent = 100.0 * loudness.silent;
        say!(
            "loudness       {decibels:.1} dB, peak {:.2}, {silent:.0} % silent, of {} sounds",
            loudness.peak,
            loudness.samples
        );
    }
    if args.verify {
        let held_out = held_out_of(&recipe)?;
        // Of a few samples both parts are all of them.
        let parts = [("trained on", &data), ("held out", &held_out)];
        for (part, data) in parts.iter().take(if report.windows < Some(FEW) { 1 } else { 2 }) {
            verify(part, &***data)?;
        }
    }
    say!("captions");
    for sample in &samples {
        say!("  \"{}\"  ({})", sample.caption, sample.id);
    }
    if let Some(path) = &args.output {
        let labels: Vec<&str> = samples.iter().map(|sample| sample.caption.as_str()).collect();
        let clips: Vec<Clip> = match data.shape(Modality::Video) {
            Some(_) => samples.iter().map(|sample| sample.clone().into_clip()).collect::<Result<_>>()?,
            None => samples.iter().map(|sample| spectrogram(&sample.clone().into_sound()?)).collect::<Result<_>>()?,
        };
        say!("{}", save::write(path, &contact_sheet(&clips, COLUMNS, &labels)?, &Metadata::new(), None)?);
    }
    Ok(())
}

/// Reads every sample, and says which cannot be read.
fn verify(part: &str, data: &dyn Dataset) -> Result<()> {
    let Some(count) = data.len() else {
        say!("verified       endless: nothing is read from files");
        return Ok(());
    };
    let mut screen = Screen::default();
    let mut bad = None;
    for index in 0..count {
        if let Err(error) = data.get(index) {
            bad = Some(error);
            break;
        }
        screen.progress("verify", index as usize + 1, count as usize)?;
    }
    let files = data.unreadable();
    let left_out: u64 = files.iter().map(|file| file.count).sum();
    say!("verified       {count} windows that are {part}: {} kept, {left_out} left out", count - left_out);
    for file in files {
        say!("  {file}");
    }
    bad.map_or(Ok(()), Err)
}
