//! `data`: what training would see.

use super::args::{JsonArgs, OverwriteArgs, RecipeArgs};
use super::print::{json, print, say};
use super::progress::Screen;
use musiva::data::{Dataset, Sample, Unreadable};
use musiva::media::{Metadata, contact_sheet, spectrogram};
use musiva::training::sources::{dataset_of, held_out_of};
use musiva::{Clip, Error, Modality, Observer, Recipe, Result, save};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;

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
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    json: JsonArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let recipe = args.recipe.open()?;
    if let Some(path) = &args.output {
        save::prepare(path, &["png"], args.overwrite.overwrite)?;
    }
    let data = dataset_of(&recipe)?;
    let count = data.len().map_or(SHOWN, |len| len.min(SHOWN));
    let spread = |i: u64| data.len().map_or(i, |len| i * len / count);
    // Before the report, which then knows of those that cannot be read.
    let samples: Vec<Sample> = (0..count).map(|i| data.get(spread(i))).collect::<Result<_>>()?;
    let report = data.report();
    if args.json.json {
        let verified = if args.verify { verify_all(&recipe, &data, report.windows)? } else { Vec::new() };
        let captions = samples.iter().map(|sample| json!({ "caption": sample.caption, "sample": sample.id }));
        let mut all = json!(report);
        if let Some(all) = all.as_object_mut() {
            all.insert("kind".into(), recipe.need_data()?.kind.clone().into());
            all.insert("samples".into(), captions.collect());
            all.insert("verified".into(), verified.iter().map(Verified::json).collect());
        }
        json(&all);
        sheet(args, &*data, &samples, true)?;
        return verified.into_iter().find_map(|part| part.bad).map_or(Ok(()), Err);
    }
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
        let verified = verify_all(&recipe, &data, report.windows)?;
        verified.iter().for_each(|part| print(&part.text()));
        if let Some(error) = verified.into_iter().find_map(|part| part.bad) {
            return Err(error);
        }
    }
    say!("captions");
    for sample in &samples {
        say!("  \"{}\"  ({})", sample.caption, sample.id);
    }
    sheet(args, &*data, &samples, false)
}

/// Writes the sheet, where one is asked for.
fn sheet(args: &Args, data: &dyn Dataset, samples: &[Sample], json: bool) -> Result<()> {
    if let Some(path) = &args.output {
        let labels: Vec<&str> = samples.iter().map(|sample| sample.caption.as_str()).collect();
        let clips: Vec<Clip> = match data.shape(Modality::Video) {
            Some(_) => samples.iter().map(|sample| sample.clone().into_clip()).collect::<Result<_>>()?,
            None => samples.iter().map(|sample| spectrogram(&sample.clone().into_sound()?)).collect::<Result<_>>()?,
        };
        let written = save::write(path, &contact_sheet(&clips, COLUMNS, &labels)?, &Metadata::new(), None)?;
        if json { eprintln!("{written}") } else { say!("{written}") }
    }
    Ok(())
}

/// A part of the data, read from end to end.
struct Verified {
    part: &'static str,
    /// Windows; `None`: endless.
    windows: Option<u64>,
    left_out: u64,
    files: Vec<Unreadable>,
    /// Why no more was read.
    bad: Option<Error>,
}

impl Verified {
    fn text(&self) -> String {
        let Some(count) = self.windows else {
            return "verified       endless: nothing is read from files\n".to_owned();
        };
        let Self { part, left_out, .. } = self;
        let kept = count - left_out;
        let mut text = format!("verified       {count} windows that are {part}: {kept} kept, {left_out} left out\n");
        self.files.iter().for_each(|file| text.push_str(&format!("  {file}\n")));
        text
    }

    fn json(&self) -> Value {
        let files = self.files.iter().map(|file| json!({ "file": file.place, "why": file.why, "windows": file.count }));
        json!({
            "part": self.part, "windows": self.windows, "left_out": self.left_out, "files": files.collect::<Vec<_>>(),
        })
    }
}

/// Both parts of the data; of a few windows, both are all of them.
fn verify_all(recipe: &Recipe, data: &Arc<dyn Dataset>, windows: Option<u64>) -> Result<Vec<Verified>> {
    let held_out = held_out_of(recipe)?;
    let parts = [("trained on", data), ("held out", &held_out)];
    parts.into_iter().take(if windows < Some(FEW) { 1 } else { 2 }).map(|(part, data)| verify(part, &**data)).collect()
}

/// Reads every sample, and says which cannot be read.
fn verify(part: &'static str, data: &dyn Dataset) -> Result<Verified> {
    let mut verified = Verified { part, windows: data.len(), left_out: 0, files: Vec::new(), bad: None };
    let Some(count) = verified.windows else { return Ok(verified) };
    let mut screen = Screen::default();
    for index in 0..count {
        if let Err(error) = data.get(index) {
            verified.bad = Some(error);
            break;
        }
        screen.progress("verify", index as usize + 1, count as usize)?;
    }
    verified.files = data.unreadable();
    verified.left_out = verified.files.iter().map(|file| file.count).sum();
    Ok(verified)
}
