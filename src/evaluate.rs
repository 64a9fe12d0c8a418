//! `evaluate`: how good a recipe's tokenizer and backbone are.

use crate::device::DeviceArgs;
use crate::output::{print, say, table};
use crate::progress::bar;
use crate::recipes::RecipeArgs;
use musiva_core::{Result, files};
use musiva_data::world::Scores;
use musiva_train::evaluate::{Done, Evaluation, Parts, Resounded, evaluate};
use std::path::PathBuf;

/// Measure a recipe on prompts and clips that training never saw
///
/// Of the procedural world, oracles read from the clips what they show; of other data there is no
/// oracle, and the tokenizer alone is measured.
///
///   musiva evaluate text-to-video
///   musiva evaluate text-to-video --prompts 64 --seed 1 --json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// How many clips and prompts, instead of `evaluate.prompts`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    prompts: Option<u32>,
    /// Seed of scenes and noise, instead of `evaluate.seed`
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Write the JSON here as well
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let recipe = args.recipe.open()?;
    let settings = recipe.evaluate;
    let parts = Parts::build(&recipe, &device)?;
    let n = args.prompts.map_or(settings.prompts, |n| n as usize);
    let seed = args.seed.unwrap_or(settings.seed);
    let bar = bar(0, "");
    let evaluation = evaluate(&recipe, &parts, n, seed, settings.batch, &mut |stage, done, total| {
        if bar.message() != stage {
            bar.reset();
            bar.set_message(stage.to_owned());
        }
        bar.set_length(total as u64);
        bar.set_position(done as u64);
        Ok(())
    })?;
    bar.finish_and_clear();
    // Plain numbers and strings are always JSON.
    let json = serde_json::to_string_pretty(&evaluation).unwrap_or_default();
    if let Some(path) = &args.output {
        files::write(path, format!("{json}\n").as_bytes())?;
    }
    match args.json {
        true => say!("{json}"),
        false => print(&text(&evaluation)),
    }
    Ok(())
}

fn text(evaluation: &Evaluation) -> String {
    let percent = |part: Option<f64>| part.map_or("–".to_owned(), |part| format!("{:.1} %", 100.0 * part));
    let mut text =
        format!("{}  sha256 {}  seed {}\n\n", evaluation.recipe, &evaluation.recipe_sha256[..16], evaluation.seed);
    if let Some(sound) = &evaluation.sound {
        text.push_str(&resounded(sound));
    }
    let Some(made) = &evaluation.reconstruction else { return text };
    text.push_str(&format!(
        "reconstruction of {} held-out clips: PSNR {:.2} dB, SSIM {:.4}, codebook use {}\n",
        made.n,
        made.psnr,
        made.ssim,
        percent(made.codebook_use)
    ));
    let metrics = evaluation.metrics.iter().map(|metric| {
        let values: Vec<_> = metric.values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
        vec![metric.clips.clone(), metric.kind.clone(), values.join(", ")]
    });
    text.push_str(&table(&metrics.collect::<Vec<_>>()));
    if made.seen.is_none() {
        text.push_str("there is no oracle for these data: nothing else is measured\n");
        return text;
    }
    let head = ["", "n", "colour", "shape", "direction", "speed", "all three", "bounces"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut row = |name: &str, seen: &Scores, bounces: Option<f64>| {
        let parts = [seen.colour, seen.shape, seen.direction, seen.speed, seen.all, bounces];
        rows.push([name.to_owned(), seen.n.to_string()].into_iter().chain(parts.map(percent)).collect());
    };
    if let Some(seen) = &made.seen {
        row("reconstructed", seen, made.bounces);
    }
    for generated in &evaluation.generation {
        row(&format!("generated, {}", generated.prompts), &generated.seen, None);
    }
    text.push_str(&format!("\nwhat the oracle sees is what was asked for\n{}", table(&rows)));
    if !evaluation.tasks.is_empty() {
        text.push_str(&format!("\nhow well each task is done\n{}", done(&evaluation.tasks)));
    }
    text
}

fn done(tasks: &[Done]) -> String {
    let percent = |part: Option<f64>| part.map_or("–".to_owned(), |part| format!("{:.1} %", 100.0 * part));
    let head = ["", "n", "colour", "shape", "direction", "speed", "position", "onsets (F1)", "pitch", "timbre"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    rows.extend(tasks.iter().map(|done| {
        let name = if done.by == "backbone" { done.task.clone() } else { format!("{}, {}", done.task, done.by) };
        let seen = done.seen.unwrap_or_default();
        let parts =
            [seen.colour, seen.shape, seen.direction, seen.speed, done.position, done.onsets, done.pitch, done.timbre];
        [name, done.n.to_string()].into_iter().chain(parts.map(percent)).collect()
    }));
    table(&rows)
}

fn resounded(sound: &Resounded) -> String {
    let row = |cells: [&str; 5]| cells.map(str::to_owned).to_vec();
    let mut rows = vec![row(["levels", "bits a second", "SI-SNR", "mel distance", "log-spectral distance"])];
    rows.extend(sound.levels.iter().map(|with| {
        let bits = with.bits_per_second.map_or("–".into(), |bits| format!("{bits:.0}"));
        vec![
            with.levels.to_string(),
            bits,
            format!("{:.2} dB", with.si_snr),
            format!("{:.3}", with.mel_distance),
            format!("{:.2} dB", with.log_spectral_distance),
        ]
    }));
    let uses: Vec<String> = sound.codebook_use.iter().map(|part| format!("{:.1} %", 100.0 * part)).collect();
    let mut text = format!("{} held-out sounds made again, {} tokens a second\n", sound.n, sound.tokens_per_second);
    if !uses.is_empty() {
        text.push_str(&format!("codebook use, level by level: {}\n", uses.join(", ")));
    }
    text.push_str(&table(&rows));
    if let Some(heard) = sound.heard {
        let percent = |part: f64| format!("{:.1} %", 100.0 * part);
        let (pitch, timbre) = (percent(heard.colour), percent(heard.shape));
        text.push_str(&format!(
            "heard as it should be: onsets (F1) {}, pitch {pitch}, timbre {timbre}, loudness {}\n",
            percent(heard.onsets),
            percent(heard.speed)
        ));
    }
    text.push('\n');
    text
}
