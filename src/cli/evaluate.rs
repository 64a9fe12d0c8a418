//! `evaluate`: how good a recipe's tokenizer and backbone are.

use super::args::{DeviceArgs, OverwriteArgs, RecipesArgs};
use super::print::{print, say, table, tell};
use super::progress::Screen;
use musiva::data::world::Scores;
use musiva::evaluate::{
    AudioReconstruction, BACKBONE, Denoised, EvaluateOptions, Evaluation, Evaluations, FEWER_PIXELS, Figures,
    HeldOutTask, Interval, Reconstructed, SoundFigures, TaskBits, TaskResult, X264, evaluate_all, record_held_out,
};
use musiva::{BitsKind, Device, Modality, Provenance, Recipe, Result, files, save};
use std::path::PathBuf;

/// Measure a recipe, or several side by side, on held-out prompts and clips
///
/// On the procedural world, oracles of video and audio read what the clips show. On other data, what
/// is made is compared with held-out samples: the loss, PSNR and SSIM where a part of the clip says
/// what the rest should be, retrieval among all real clips, variety. Recipes can be compared if they
/// have the same data, tokenizers and tasks.
///
///   musiva evaluate text-to-video
///   musiva evaluate text-to-video --prompts 64 --seed 1 --json
///   musiva evaluate world-lm world-masked world-dit
///   musiva evaluate world-lm --task video-to-audio --task continuation
///   musiva evaluate tokenizer-video --baselines --sheet sheet.png
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipes: RecipesArgs,
    /// How many clips and prompts, instead of `evaluate.prompts`
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    prompts: Option<u32>,
    /// Seed of scenes and noise, instead of `evaluate.seed`
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// Measure only this task, and no tokenizer; may be repeated
    #[arg(long = "task", value_name = "NAME")]
    tasks: Vec<String>,
    /// Compare with baselines at the same bit rate: for clips fewer pixels and H.264, for sounds Opus; H.264 and Opus
    /// need an ffmpeg on the PATH
    #[arg(long)]
    baselines: bool,
    /// Write a sheet of originals, reconstructions and error maps; of sounds, spectrograms: .png
    #[arg(long, value_name = "FILE")]
    sheet: Option<PathBuf>,
    /// Write into the weights files of the tokenizers how well they do on their held-out data, and nothing else: later
    /// commands say by that where media are far from them. Training writes it itself
    #[arg(long, conflicts_with_all = ["tasks", "baselines", "sheet", "output", "json"])]
    record: bool,
    /// JSON instead of a table; of several recipes, a list
    #[arg(long)]
    json: bool,
    /// Also write the JSON to this file
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    if let Some(path) = &args.sheet {
        save::prepare(path, &["png"], args.overwrite.overwrite)?;
    }
    if let Some(path) = &args.output {
        save::vacant(path, args.overwrite.overwrite)?;
    }
    let recipes = args.recipes.open_with_data(args.json)?;
    if args.record {
        return record(&recipes, &device);
    }
    let options = EvaluateOptions {
        prompts: args.prompts.map(|n| n as usize),
        seed: args.seed,
        tasks: args.tasks.clone(),
        baselines: args.baselines,
        sheet: args.sheet.is_some(),
    };
    let mut screen = Screen::new(args.json);
    let Evaluations { each: evaluations, sheet } = evaluate_all(&recipes, &options, &device, &mut screen)?;
    if let (Some(path), Some(sheet)) = (&args.sheet, &sheet) {
        let metadata = Provenance::of(&recipes[0], args.device.device)?.media()?;
        tell!("{}", save::write(path, sheet, &metadata, None)?);
    }
    // Plain numbers and strings are always JSON.
    let json = match &evaluations[..] {
        [one] => serde_json::to_string_pretty(one),
        all => serde_json::to_string_pretty(all),
    };
    let json = json.unwrap_or_default();
    if let Some(path) = &args.output {
        files::write(path, format!("{json}\n").as_bytes())?;
    }
    match args.json {
        true => say!("{json}"),
        false => print(&text(&evaluations)),
    }
    Ok(())
}

/// Of every tokenizer that the recipes name weights of.
fn record(recipes: &[Recipe], device: &Device) -> Result<()> {
    for recipe in recipes {
        let tokenizers = [(Modality::Video, &recipe.video), (Modality::Audio, &recipe.audio)];
        for (modality, weights) in
            tokenizers.into_iter().filter_map(|(m, part)| Some((m, part.as_ref()?.weights.as_ref()?)))
        {
            let held_out = record_held_out(recipe, modality, device)?;
            say!("{}: {} on {} held-out samples", weights.display(), held_out.fidelity, held_out.samples);
        }
    }
    Ok(())
}

fn text(evaluations: &[Evaluation]) -> String {
    let mut text = String::new();
    for Evaluation { recipe, recipe_sha256, seed, .. } in evaluations {
        text.push_str(&format!("{recipe}  sha256 {}  seed {seed}\n", &recipe_sha256[..16]));
    }
    text.push('\n');
    text.extend(evaluations.iter().filter_map(|evaluation| evaluation.sound.as_ref()).map(resounded));
    let noisy = evaluations.iter().filter(|evaluation| !evaluation.denoised.is_empty());
    text.extend(noisy.map(|evaluation| denoised(&evaluation.denoised)));
    text.extend(evaluations.iter().filter_map(|evaluation| evaluation.reconstruction.as_ref()).map(reconstructed));
    let several = evaluations.len() > 1;
    let metrics = evaluations.iter().flat_map(|evaluation| {
        evaluation.metrics.iter().map(move |metric| {
            let values: Vec<_> = metric.values.iter().map(|(name, value)| format!("{name} {value:.4}")).collect();
            let samples =
                if several { format!("{}, {}", evaluation.recipe, metric.samples) } else { metric.samples.clone() };
            vec![samples, metric.kind.clone(), values.join(", ")]
        })
    });
    text.push_str(&table(&metrics.collect::<Vec<_>>()));
    let made = evaluations.iter().find_map(|evaluation| evaluation.reconstruction.as_ref());
    if let Some((Some(seen), bounces)) = made.map(|made| (&made.seen, made.bounces)) {
        text.push_str(&asked_for(evaluations, seen, bounces));
    }
    text.push_str(&held_out(evaluations));
    text.push_str(&bits(evaluations));
    if evaluations.iter().any(|evaluation| !evaluation.tasks.is_empty()) {
        text.push_str(&format!("\nhow well each task is done\n{}", done(evaluations)));
    }
    text
}

/// What the oracle sees of clips that came back from their tokens, and of those that were made of prompts.
fn asked_for(evaluations: &[Evaluation], seen: &Scores, bounces: Option<f64>) -> String {
    let several = evaluations.len() > 1;
    let head = ["", "n", "colour", "shape", "direction", "speed", "all three", "bounces"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut row = |name: String, seen: &Scores, bounces: Option<f64>| {
        let parts = [seen.colour, seen.shape, seen.direction, seen.speed, seen.all, bounces];
        rows.push([name, seen.n.to_string()].into_iter().chain(parts.map(percent)).collect());
    };
    row("reconstructed".into(), seen, bounces);
    for evaluation in evaluations {
        let by = if several { &evaluation.recipe } else { "generated" };
        for generated in &evaluation.generation {
            row(format!("{by}, {}", generated.prompts), &generated.seen, None);
        }
    }
    format!("\nhow often the oracle sees what the prompt asks for\n{}", table(&rows))
}

/// Task after task, what each recipe makes of it.
fn done(evaluations: &[Evaluation]) -> String {
    let head =
        ["", "", "n", "colour", "shape", "direction", "speed", "position", "onsets (F1)", "pitch", "timbre", "caption"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let mut task = "";
    // A baseline without learning is the same beside every recipe.
    let all = evaluations.iter().enumerate().flat_map(|(i, evaluation)| {
        let each = evaluation.tasks.iter().filter(move |done| done.by == BACKBONE || i == 0);
        each.map(move |done| (if done.by == BACKBONE { evaluation.recipe.as_str() } else { done.by }, done))
    });
    let mut all: Vec<(&str, &TaskResult)> = all.collect();
    // Tasks that the first recipe does not have come last.
    let order = |name: &str| evaluations[0].tasks.iter().position(|done| done.task == name).unwrap_or(usize::MAX);
    all.sort_by_key(|(_, done)| order(&done.task));
    for (by, done) in all {
        let seen = done.seen.unwrap_or_default();
        let parts = [
            seen.colour,
            seen.shape,
            seen.direction,
            seen.speed,
            done.position,
            done.onsets,
            done.pitch,
            done.timbre,
            done.caption,
        ];
        let name = if done.task == task { "" } else { &done.task };
        task = &done.task;
        let names = [name.to_owned(), by.to_owned(), done.n.to_string()];
        rows.push(names.into_iter().chain(parts.map(percent)).collect());
    }
    table(&rows)
}

/// Bits per token of held-out samples, task after task.
fn bits(evaluations: &[Evaluation]) -> String {
    let all = evaluations.iter().flat_map(|one| one.bits.iter().map(move |bits| (one.recipe.as_str(), bits)));
    let mut all: Vec<(&str, &TaskBits)> = all.collect();
    let Some((_, first)) = all.first().copied() else { return String::new() };
    let order = |name: &str| evaluations[0].bits.iter().position(|bits| bits.task == name).unwrap_or(usize::MAX);
    all.sort_by_key(|(_, bits)| order(&bits.task));
    let within = |interval: Interval, digits: usize| match first.n {
        1 => format!("{:.digits$}", interval.mean),
        _ => format!("{:.digits$} ± {:.digits$}", interval.mean, interval.high - interval.mean),
    };
    let head = ["", "", "", "bits per token", "of clips", "of sounds", "of texts", "bits per sample", "truth"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (recipe, bits) in &all {
        let kind = match bits.kind {
            BitsKind::Exact => "exact".to_owned(),
            BitsKind::UpperBound => format!("upper bound, {} draws", bits.draws),
        };
        let track = |name: &str| bits.tracks.get(name).map_or("–".to_owned(), |&own| within(own, 3));
        let names = [bits.task.clone(), (*recipe).to_owned(), kind, within(bits.per_token, 3)];
        let tracks = [Modality::Video, Modality::Audio, Modality::Text].map(|modality| track(modality.track()));
        let truth = bits.truth.map_or("–".to_owned(), |truth| within(truth, 1));
        rows.push(names.into_iter().chain(tracks).chain([within(bits.per_sample, 1), truth]).collect());
    }
    let n = first.n;
    format!("\nnegative log-likelihood of {n} held-out samples, ± 1.96 standard errors\n{}", table(&rows))
}

/// Task after task, what each recipe makes of held-out data.
fn held_out(evaluations: &[Evaluation]) -> String {
    let all: Vec<(&str, &HeldOutTask)> = evaluations
        .iter()
        .flat_map(|evaluation| evaluation.held_out.iter().map(move |task| (&*evaluation.recipe, task)))
        .collect();
    let Some((_, first)) = all.first() else { return String::new() };
    let number =
        |number: Option<f64>, digits: usize| number.map_or("–".into(), |number| format!("{number:.digits$}"));
    let head = ["", "", "n", "loss", "PSNR", "SSIM", "SI-SNR", "mel distance", "caption"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for (recipe, task) in &all {
        let cells = [
            number(task.loss.get("loss").copied(), 4),
            number(task.clips.map(|figures| figures.psnr), 2),
            number(task.clips.map(|figures| figures.ssim), 4),
            number(task.sounds.map(|figures| figures.si_snr), 2),
            number(task.sounds.map(|figures| figures.mel_distance), 3),
            percent(task.captions),
        ];
        let names = [task.task.clone(), (*recipe).to_owned(), task.n.to_string()];
        rows.push(names.into_iter().chain(cells).collect());
    }
    let mut text = format!("\n{} held-out samples, each task of them\n{}", first.n, table(&rows));
    let found = all.iter().flat_map(|(recipe, task)| task.retrieval.iter().map(move |found| (recipe, task, found)));
    let head = ["", "", "compared by", "real ones", "top 1", "top 5", "median rank"];
    let rows = found.map(|(recipe, task, found)| {
        let parts = [found.top_1, found.top_5].map(|part| percent(Some(part)));
        let names = [task.task.clone(), (*recipe).to_string(), found.features.to_owned(), found.real.to_string()];
        names.into_iter().chain(parts).chain([found.median_rank.to_string()]).collect()
    });
    let rows: Vec<Vec<String>> = [head.map(str::to_owned).to_vec()].into_iter().chain(rows).collect();
    if rows.len() > 1 {
        text.push_str(&format!(
            "\nis the real one that is nearest to what was made the one that was asked for?\n{}",
            table(&rows)
        ));
    }
    let varied = all.iter().flat_map(|(recipe, task)| task.variety.iter().map(move |varied| (recipe, task, varied)));
    let head = [
        "",
        "",
        "compared by",
        "to the nearest trained on",
        "of held-out ones",
        "between two",
        "of held-out ones",
        "Fréchet",
        "of trained ones",
    ];
    let rows = varied.map(|(recipe, task, varied)| {
        let cells = [
            varied.nearest_trained,
            varied.held_out_nearest_trained,
            varied.pairs,
            varied.held_out_pairs,
            varied.frechet,
            varied.trained_frechet,
        ];
        let names = [task.task.clone(), (*recipe).to_string(), varied.features.to_owned()];
        names.into_iter().chain(cells.map(|cell| format!("{cell:.1}"))).collect()
    });
    let rows: Vec<Vec<String>> = [head.map(str::to_owned).to_vec()].into_iter().chain(rows).collect();
    if rows.len() > 1 {
        let what = "root mean squares, 0 to 255, and Fréchet distances, which are squares";
        text.push_str(&format!("\nhow far apart what was made is: {what}\n{}", table(&rows)));
    }
    let agreed = all.iter().filter_map(|(recipe, task)| Some((recipe, task, task.agreement?)));
    let head = ["", "", "n", "generated", "held-out", "chance"];
    let rows = agreed.map(|(recipe, task, agreed)| {
        let names = [task.task.clone(), (*recipe).to_string(), agreed.n.to_string()];
        names.into_iter().chain([agreed.made, agreed.held_out, agreed.chance].map(|part| percent(Some(part)))).collect()
    });
    let rows: Vec<Vec<String>> = [head.map(str::to_owned).to_vec()].into_iter().chain(rows).collect();
    if rows.len() > 1 {
        text.push_str(&format!("\ndo sight and sound start together? (F1 of onsets)\n{}", table(&rows)));
    }
    text
}

fn percent(part: Option<f64>) -> String {
    part.map_or("–".to_owned(), |part| format!("{:.1} %", 100.0 * part))
}

fn reconstructed(made: &Reconstructed) -> String {
    let head = ["", "bits a pixel", "PSNR", "SSIM", "flicker"];
    let row = |name: &str, bits: Option<f64>, figures: &Figures| {
        let bits = bits.map_or("–".into(), |bits| format!("{bits:.4}"));
        let Figures { psnr, ssim, flicker } = figures;
        vec![name.to_owned(), bits, format!("{psnr:.2} dB"), format!("{ssim:.4}"), format!("{flicker:.2}")]
    };
    let mut rows = vec![head.map(str::to_owned).to_vec(), row("tokens", made.bits_per_pixel, &made.figures)];
    rows.extend(made.baselines.iter().map(|other| row(other.name, Some(other.bits_per_pixel), &other.figures)));
    let mut text = format!("{} held-out clips reconstructed\n{}", made.n, table(&rows));
    if let Some(used) = made.codebook_use {
        let perplexity: Vec<_> = made.perplexity.iter().map(|value| format!("{value:.0}")).collect();
        text.push_str(&format!("codebook use {:.1} %, perplexity {}\n", 100.0 * used, perplexity.join(", ")));
    }
    let has = |name| made.baselines.iter().any(|other| other.name == name);
    if has(FEWER_PIXELS) && !has(X264) {
        text.push_str(&format!("{X264} is left out: there is no ffmpeg with it on the PATH\n"));
    }
    text
}

fn denoised(all: &[Denoised]) -> String {
    let head = ["", "SI-SNR to the clean sound", "mel distance", "SI-SNR to the noisy sound", "mel distance"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    let row = |name: String, clean: &SoundFigures, noisy: Option<&SoundFigures>| {
        let cells = |figures: Option<&SoundFigures>| match figures {
            Some(figures) => [format!("{:.2} dB", figures.si_snr), format!("{:.3}", figures.mel_distance)],
            None => ["–", "–"].map(str::to_owned),
        };
        [name].into_iter().chain(cells(Some(clean))).chain(cells(noisy)).collect::<Vec<_>>()
    };
    for Denoised { snr, noisy, on, off, .. } in all {
        rows.push(row(format!("noise {snr} dB below"), noisy, None));
        rows.push(row("  flag on".into(), &on.clean, Some(&on.noisy)));
        rows.push(row("  flag off".into(), &off.clean, Some(&off.noisy)));
    }
    format!("{} held-out sounds with noise\n{}\n", all[0].n, table(&rows))
}

fn resounded(sound: &AudioReconstruction) -> String {
    let head = ["", "bits a second", "SI-SNR", "mel distance", "log-spectral distance", "captions read"];
    let row = |name: String, bits: Option<f64>, figures: &SoundFigures| {
        let SoundFigures { si_snr, mel_distance, log_spectral_distance, read } = figures;
        let bits = bits.map_or("–".into(), |bits| format!("{bits:.0}"));
        let (snr, spectral) = (format!("{si_snr:.2} dB"), format!("{log_spectral_distance:.2} dB"));
        [name, bits, snr, format!("{mel_distance:.3}"), spectral]
            .into_iter()
            .chain(read.map(|part| percent(Some(part))))
            .collect()
    };
    let columns = if sound.read.is_some() { 6 } else { 5 };
    let mut rows: Vec<Vec<String>> = vec![head[..columns].iter().map(|&cell| cell.to_owned()).collect()];
    for with in &sound.levels {
        let name = if with.levels == 1 { "1 codebook".to_owned() } else { format!("{} codebooks", with.levels) };
        rows.push(row(name, with.bits_per_second, &with.figures));
    }
    if let Some(opus) = &sound.opus {
        rows.push(row("Opus".into(), Some(opus.bits_per_second), &opus.figures));
    }
    let mut text = format!(
        "{} held-out sounds reconstructed, {} tokens a second\n",
        sound.n,
        (100.0 * sound.tokens_per_second).round() / 100.0
    );
    text.push_str(&table(&rows));
    if let Some(read) = sound.read {
        text.push_str(&format!("of the originals the classifier reads {}\n", percent(Some(read))));
    }
    if !sound.codebook_use.is_empty() {
        let uses: Vec<String> = sound.codebook_use.iter().map(|&part| percent(Some(part))).collect();
        let perplexity: Vec<String> = sound.perplexity.iter().map(|value| format!("{value:.0}")).collect();
        let (uses, perplexity) = (uses.join(", "), perplexity.join(", "));
        text.push_str(&format!("codebook use, by codebook: {uses}\nperplexity, by codebook: {perplexity}\n"));
    }
    if let Some(heard) = sound.heard {
        let (pitch, timbre) = (percent(Some(heard.colour)), percent(Some(heard.shape)));
        text.push_str(&format!(
            "what the audio oracle reads right: onsets (F1) {}, pitch {pitch}, timbre {timbre}, loudness {}\n",
            percent(Some(heard.onsets)),
            percent(Some(heard.speed))
        ));
    }
    text.push('\n');
    text
}
