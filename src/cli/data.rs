//! `data`: what training would see.

use super::args::{JsonArgs, OverwriteArgs, RecipeArgs};
use super::print::{json, print, say, tell};
use super::progress::Screen;
use musiva::data::{Dataset, Part, Sample, Unreadable};
use musiva::media::{Metadata, SheetRow, contact_sheet, spectrogram_with_axes, waveform, waveform_below_spectrogram};
use musiva::training::sources::{dataset_of, held_out_of};
use musiva::{Clip, Error, MediaShape, Modality, Observer, Result, save};
use serde_json::{Value, json};
use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

/// Fewer samples than this are not parted: all are trained on and held out.
const FEW: u64 = 16;
/// Samples that are shown.
const SHOWN: u64 = 8;
/// Windows whose captions are counted.
const LOOKED_AT: u64 = 256;
/// Frames of each.
const COLUMNS: usize = 9;
/// Height of a waveform, in pixels.
const WAVE: usize = 32;

/// Look at the data of a recipe: how many clips, which are left out and why, buckets, captions, a few samples
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
    /// Write a sheet with a row for each of a few clips and its caption, with the waveforms of sounds: .png
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    json: JsonArgs,
}

pub fn run(args: &Args) -> Result<()> {
    if let Some(path) = &args.output {
        save::prepare(path, &["png"], args.overwrite.overwrite)?;
    }
    let recipe = args.recipe.open_with_data(args.json.json)?;
    let (data, held_out) = (dataset_of(&recipe)?, held_out_of(&recipe)?);
    // Before the report, which then knows of those that cannot be read.
    let mut samples = spread(&*data, SHOWN)?;
    let report = data.report();
    if args.json.json {
        let verified = args.verify.then(|| verify_all(&data, &held_out, report.windows)).transpose()?;
        let captions = samples.iter().map(|sample| json!({ "caption": sample.caption, "sample": sample.id }));
        let mut all = json!(report);
        if let Some(all) = all.as_object_mut() {
            all.insert("kind".into(), recipe.need_data()?.kind.clone().into());
            all.insert("held_out".into(), held_out.len().into());
            all.insert("samples".into(), captions.collect());
            all.extend(verified.iter().map(|parts| ("verified".into(), parts.iter().map(Verified::json).collect())));
        }
        json(&all);
        sheet(args, &samples, true)?;
        return verified.into_iter().flatten().find_map(|part| part.bad).map_or(Ok(()), Err);
    }
    let endless = |count: Option<u64>| count.map_or("endless".to_owned(), |count| count.to_string());
    say!("{}: {}", recipe.need_data()?.kind, shapes(|modality| data.shape(modality)));
    say!("found          {}", endless(report.clips));
    say!("windows        {}", endless(report.windows));
    if let (Some(trained), Some(held_out)) = (report.windows, held_out.len()) {
        let note = if trained < FEW { ", so few that they are the same ones" } else { "" };
        say!("held out       {held_out}{note}");
    }
    for dropped in &report.dropped {
        say!("left out       {} {}, such as {}", dropped.count, dropped.reason, dropped.example);
        if args.verify {
            dropped.others.iter().for_each(|other| say!("               {other}"));
        }
    }
    let buckets = recipe.need_data()?.component.buckets();
    let total: f64 = buckets.iter().map(|(weight, _)| weight).sum();
    for (i, (weight, bucket)) in buckets.iter().enumerate() {
        let own = bucket.open(Part::Train)?;
        let share = 100.0 * weight / total;
        let (windows, shapes) = (endless(own.len()), shapes(|modality| bucket.shape(modality)));
        say!("bucket {:<8}{share:.0} % of the steps, {windows} windows, {shapes}", i + 1);
        // All of them are shown.
        let shown = SHOWN.div_ceil(buckets.len() as u64);
        if i == 0 {
            samples.clear();
        }
        samples.extend(spread(&*own, shown)?);
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
        let verified = verify_all(&data, &held_out, report.windows)?;
        verified.iter().for_each(|part| print(&part.text()));
        if let Some(error) = verified.into_iter().find_map(|part| part.bad) {
            return Err(error);
        }
    }
    say!("captions       {}", captions(&*data)?);
    for sample in &samples {
        let all: Vec<_> = sample.captions().map(|caption| format!("\"{caption}\"")).collect();
        say!("  {}  ({})", all.join(", "), sample.id);
    }
    sheet(args, &samples, false)
}

/// Writes the sheet, where one is asked for.
fn sheet(args: &Args, samples: &[Sample], json: bool) -> Result<()> {
    if let Some(path) = &args.output {
        let written = save::write(path, &rows(samples)?, &Metadata::new(), None)?;
        if json { tell!("{written}") } else { say!("{written}") }
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
fn verify_all(data: &Arc<dyn Dataset>, held_out: &Arc<dyn Dataset>, windows: Option<u64>) -> Result<Vec<Verified>> {
    let parts = [("trained on", data), ("held out", held_out)];
    parts.into_iter().take(if windows < Some(FEW) { 1 } else { 2 }).map(|(part, data)| verify(part, &**data)).collect()
}

/// `most` samples, spread over all.
fn spread(data: &dyn Dataset, most: u64) -> Result<Vec<Sample>> {
    let count = data.len().map_or(most, |len| len.min(most));
    (0..count).map(|i| data.get(data.len().map_or(i, |len| i * len / count))).collect()
}

/// The shapes of what there is.
fn shapes(of: impl Fn(Modality) -> Option<MediaShape>) -> String {
    let media = [Modality::Video, Modality::Audio].into_iter();
    let shapes = media.filter_map(|m| of(m).map(|shape| format!("{} of shape {shape}", m.plural())));
    shapes.collect::<Vec<_>>().join(", ")
}

/// How many captions there are, and how long they are.
fn captions(data: &dyn Dataset) -> Result<String> {
    let count = data.len().map_or(LOOKED_AT, |len| len.min(LOOKED_AT));
    let at = |i: u64| data.len().map_or(i, |len| i * len / count);
    let all = (0..count).map(|i| data.captions(at(i))).collect::<Result<Vec<_>>>()?.concat();
    let words = || all.iter().map(|caption| caption.split_whitespace().count());
    let different: BTreeSet<_> = all.iter().filter(|caption| !caption.is_empty()).collect();
    Ok(format!(
        "{} different ones in {count} windows, {:.1} to a window, of {} to {} words",
        different.len(),
        all.len() as f64 / count.max(1) as f64,
        words().min().unwrap_or(0),
        words().max().unwrap_or(0)
    ))
}

/// A row for each clip, below its caption, and one for the waveform of its sound, moment below moment; of a sound alone its
/// spectrogram and its waveform.
fn rows(samples: &[Sample]) -> Result<Clip> {
    let mut rows = Vec::new();
    let peak = samples.iter().flat_map(|sample| &sample.sound).flat_map(|sound| sound.samples());
    let peak = peak.fold(0.01f32, |peak, value| peak.max(value.abs()));
    for sample in samples {
        let first = match (&sample.clip, &sample.sound) {
            (Some(clip), _) => clip.clone(),
            (None, Some(sound)) => spectrogram_with_axes(sound)?,
            (None, None) => continue,
        };
        let [frames, _, width] = first.shape();
        rows.push(SheetRow::new(sample.caption.clone(), first));
        let Some(sound) = &sample.sound else { continue };
        let wave = match &sample.clip {
            Some(clip) => waveform(sound, clip.rate(), [frames, WAVE, width], peak)?,
            None => waveform_below_spectrogram(sound, WAVE, peak)?,
        };
        rows.push(SheetRow::new(format!("{}: sound", sample.caption), wave));
    }
    contact_sheet(&rows, COLUMNS)
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
