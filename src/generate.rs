//! `generate`: from a prompt to a clip.

use crate::device::DeviceArgs;
use crate::output::{self, CLIPS, ScaleArgs, say};
use crate::progress::{Stages, bar};
use crate::provenance::Provenance;
use crate::recipes::RecipeArgs;
use musiva_core::pipeline::{Pipeline, Request};
use musiva_core::{Clip, Order, Result, Tokens};
use musiva_media::contact_sheet;
use std::path::{Path, PathBuf};

/// Frames of each clip on a sheet of several clips.
const COLUMNS: usize = 9;

/// Make clips from a prompt
///
/// The same recipe, prompt and seed make the same file, byte by byte, whatever the number of
/// threads. Tokens are saved before they are decoded, so that no sampling is ever lost.
///
///   musiva generate text-to-video --prompt "a red ring moves left" -o ring.mp4
///   musiva generate text-to-video --prompt "a blue square goes up" --seed 7 -o square.gif
///   musiva generate text-to-video --prompt "a green triangle moves right" --count 4 -o sheet.png
///   musiva generate my-recipe.toml --prompt "…" --set sampler.guidance=3
///
/// With --count above 1, a .png is one sheet with a row for each clip; other formats are numbered
/// files, out-1.mp4, out-2.mp4 and so on.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// What the clip shall show
    #[arg(short, long, value_name = "TEXT")]
    prompt: String,
    /// Seed of all that is drawn
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// How many clips; the first is the same as without this option
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    count: u16,
    /// Where to: .mp4, .gif or .png
    #[arg(short, long, default_value = "out.mp4", value_name = "FILE")]
    output: PathBuf,
    /// Do not save the tokens
    #[arg(long)]
    no_tokens: bool,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let recipe = args.recipe.open()?;
    output::prepare(&args.output, &CLIPS)?;
    let mut stages = Stages::default();
    let pipeline = stages.time("load", || Pipeline::build(&recipe, &device))?;
    let count = usize::from(args.count);
    let request = Request { prompts: vec![args.prompt.clone(); count], seed: args.seed, first: 0 };
    let order = stages.time("encode prompt", || pipeline.order(&request))?;
    note_unread(&pipeline, &args.prompt)?;
    let tokens = stages.time("sample", || sample(&pipeline, &order, recipe.evaluate.batch))?;

    let provenance =
        Provenance::of(&recipe, args.device.device)?.with("musiva.prompt", &args.prompt).with("musiva.seed", args.seed);
    let files: Vec<PathBuf> = match count {
        1 => vec![args.output.clone()],
        _ => (1..=count).map(|number| output::numbered(&args.output, number)).collect(),
    };
    let of_sample = |sample: usize| provenance.clone().with("musiva.sample", sample);
    if !args.no_tokens {
        for (sample, (tokens, file)) in tokens.iter().zip(&files).enumerate() {
            let path = tokens_file(file);
            tokens.save(&path, of_sample(sample).tensors())?;
            say!("{}: the tokens; `musiva decode` makes them a clip again", path.display());
        }
    }
    let decoded: Result<Vec<Clip>> =
        stages.time("decode", || tokens.iter().map(|tokens| pipeline.codec().clip(tokens)).collect());
    let clips = decoded?;
    let written: Result<Vec<String>> = stages.time("write", || match count > 1 && output::is_picture(&args.output) {
        true => {
            let labels: Vec<String> = (1..=count).map(|number| format!("seed {} clip {number}", args.seed)).collect();
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let sheet = contact_sheet(&clips, COLUMNS, &labels)?;
            Ok(vec![output::write(&args.output, &sheet, &provenance.media()?, args.scale.get())?])
        }
        false => (clips.iter().zip(&files).enumerate())
            .map(|(sample, (clip, file))| output::write(file, clip, &of_sample(sample).media()?, args.scale.get()))
            .collect(),
    });
    written?.iter().for_each(|line| say!("{line}"));
    say!("{} from \"{}\", seed {}: {}", recipe.name, args.prompt, args.seed, stages.text());
    Ok(())
}

/// `out.mp4` → `out.tokens.safetensors`.
fn tokens_file(path: &Path) -> PathBuf {
    path.with_extension("tokens.safetensors")
}

/// Fills the canvases of `order`, so many at a time.
fn sample(pipeline: &Pipeline, order: &Order, batch: usize) -> Result<Vec<Tokens>> {
    let bar = bar(0, "sample");
    let batches = order.draws.len().div_ceil(batch);
    let mut all = Vec::with_capacity(order.draws.len());
    for (index, (prompt, draws)) in order.prompt.chunks(batch).zip(order.draws.chunks(batch)).enumerate() {
        let order = Order::prompts(prompt.to_vec(), draws.to_vec(), pipeline.canvas());
        let made = pipeline.once(&order, &mut |done, total| {
            bar.set_length((batches * total) as u64);
            bar.set_position((index * total + done) as u64);
            Ok(())
        })?;
        all.extend(made.into_iter().filter_map(|tokens| tokens.video));
    }
    bar.finish_and_clear();
    Ok(all)
}

/// Says so where the model does not know all of the prompt's words: it would guess in silence.
fn note_unread(pipeline: &Pipeline, prompt: &str) -> Result<()> {
    let letters = |text: &str| -> String { text.to_lowercase().split_whitespace().collect() };
    let read = pipeline.read_back(prompt)?;
    if letters(&read) != letters(prompt) {
        eprintln!("note: this model does not know all of these words; it reads \"{read}\"");
    }
    Ok(())
}
