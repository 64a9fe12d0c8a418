//! `data`: what training would see.

use super::args::RecipeArgs;
use super::print::say;
use super::progress::Screen;
use musiva::data::{Dataset, Part, Sample};
use musiva::media::{Metadata, contact_sheet, spectrogram, waveform};
use musiva::training::sources::{dataset_of, held_out_of};
use musiva::{Clip, MediaShape, Modality, Observer, Rate, Result, save};
use std::{collections::BTreeSet, path::PathBuf};

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
}

pub fn run(args: &Args) -> Result<()> {
    let recipe = args.recipe.open()?;
    if let Some(path) = &args.output {
        save::prepare(path, &["png"])?;
    }
    let data = dataset_of(&recipe)?;
    // Before the report, which then knows of those that cannot be read.
    let mut samples = spread(&*data, SHOWN)?;
    let report = data.report();
    let endless = |count: Option<u64>| count.map_or("endless".to_owned(), |count| count.to_string());
    say!("{}: {}", recipe.need_data()?.kind, shapes(|modality| data.shape(modality)));
    say!("found          {}", endless(report.clips));
    say!("windows        {}", endless(report.windows));
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
        let held_out = held_out_of(&recipe)?;
        // Of a few samples both parts are all of them.
        let parts = [("trained on", &data), ("held out", &held_out)];
        for (part, data) in parts.iter().take(if report.windows < Some(FEW) { 1 } else { 2 }) {
            verify(part, &***data)?;
        }
    }
    say!("captions       {}", captions(&*data)?);
    for sample in &samples {
        let all: Vec<_> = sample.captions().map(|caption| format!("\"{caption}\"")).collect();
        say!("  {}  ({})", all.join(", "), sample.id);
    }
    if let Some(path) = &args.output {
        say!("{}", save::write(path, &sheet(&samples)?, &Metadata::new(), None)?);
    }
    Ok(())
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
fn sheet(samples: &[Sample]) -> Result<Clip> {
    let mut rows = Vec::new();
    let peak = samples.iter().flat_map(|sample| &sample.sound).flat_map(|sound| sound.samples());
    let peak = peak.fold(0.01f32, |peak, value| peak.max(value.abs()));
    for sample in samples {
        let first = match (&sample.clip, &sample.sound) {
            (Some(clip), _) => clip.clone(),
            (None, Some(sound)) => spectrogram(sound)?,
            (None, None) => continue,
        };
        let [frames, _, width] = first.shape();
        if let Some(sound) = &sample.sound {
            let Rate { numerator, denominator } = sound.rate();
            let rate = match &sample.clip {
                Some(clip) => clip.rate(),
                // All of it on its one frame.
                None => Rate::new(numerator, denominator.saturating_mul(sound.length() as u32))?,
            };
            rows.push((format!("{}: sound", sample.caption), waveform(sound, rate, [frames, WAVE, width], peak)?));
        }
        let at = rows.len() - usize::from(sample.sound.is_some());
        rows.insert(at, (sample.caption.clone(), first));
    }
    let clips: Vec<Clip> = rows.iter().map(|(_, clip)| clip.clone()).collect();
    let labels: Vec<&str> = rows.iter().map(|(label, _): &(String, Clip)| label.as_str()).collect();
    contact_sheet(&clips, COLUMNS, &labels)
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
