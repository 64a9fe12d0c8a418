//! `tokenize`: from media to saved tokens.

use super::args::{DeviceArgs, JsonArgs, OverwriteArgs, RecipeArgs, TileArgs};
use super::print::{json, say, tell};
use super::progress::Screen;
use musiva::training::shards::Portion;
use musiva::{
    Codec, Extent, Modality, Observer, Provenance, Result, TokenizeOptions, has_sound, is_sound, read_media,
    sample_far_from_known, save, shards, stream, tokenize,
};
use std::io;
use std::path::PathBuf;

/// Tokenize a clip, an image or a sound and save the tokens
///
/// All of the file, however long, at the recipe's rate and size or at its own. `decode` turns them
/// into media again.
///
///   musiva tokenize text-to-video walk.mp4 -o walk.safetensors
///   musiva tokenize text-to-video film.mp4 --native -o film.safetensors
///   musiva tokenize tokenizer-audio steps.wav -o steps.safetensors
///   musiva tokenize text-to-video --dataset -o tokens --shard 3/16
///   ffmpeg -i steps.mp3 -f s16le -ac 1 -ar 16000 - | musiva tokenize tokenizer-audio --stream
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// A clip, an image or a sound
    #[arg(value_name = "IN", required_unless_present_any = ["stream", "dataset"])]
    input: Option<PathBuf>,
    /// Output file: .safetensors; with `--dataset` a folder
    #[arg(short, long, default_value = "tokens.safetensors", value_name = "FILE")]
    output: PathBuf,
    /// Keep a clip's own size and rate instead of the recipe's
    #[arg(long, conflicts_with_all = ["sound", "stream"])]
    native: bool,
    #[command(flatten)]
    tiles: TileArgs,
    /// Tokenize the recipe's whole dataset into WebDataset shards, which `train.tokens` reads. Existing shards are
    /// kept
    #[arg(long, conflicts_with_all = ["input", "sound", "stream"], requires = "output")]
    dataset: bool,
    /// With `--dataset`: write one portion of the shards, so that many machines fill one folder
    #[arg(long, value_name = "I/N", default_value = "1/1", requires = "dataset")]
    shard: Portion,
    /// With `--dataset`: samples per shard
    #[arg(long, value_name = "N", default_value_t = 1024, requires = "dataset", value_parser = clap::value_parser!(u64).range(1..))]
    per_shard: u64,
    /// Take the sound of a file with pictures and sound, where the recipe reads both
    #[arg(long)]
    sound: bool,
    /// Tokenize sound from the standard input (16-bit little-endian samples of one channel at the recipe's rate) to
    /// the standard output (a line of codes per token), each token as soon as its samples are read
    #[arg(long, conflicts_with_all = ["input", "output", "sound"])]
    stream: bool,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let recipe = if args.dataset { args.recipe.open_with_data(args.json.json)? } else { args.recipe.open()? };
    let mut screen = Screen::new(args.json.json);
    if args.dataset {
        let (folder, device) = (&args.output, args.device.open()?);
        let filled = shards::fill(&recipe, folder, args.shard, args.per_shard, &device, &mut screen)?;
        let shards::Filled { made, kept, shards, samples } = filled;
        if args.json.json {
            json(&serde_json::json!({
                "output": folder.display().to_string(), "made": made, "kept": kept, "shards": shards, "samples": samples,
            }));
            return Ok(());
        }
        say!("{}: {made} shards made, {kept} kept, of {shards} for {samples} samples", folder.display());
        say!("train on them: --set train.tokens={}", folder.display());
        return Ok(());
    }
    let device = args.device.open()?;
    let Some(input) = &args.input else {
        let codec = Codec::build(&recipe, Modality::Audio, &device)?;
        // On the standard error: the standard output is the stream's.
        tell!("{}", stream::encode(&codec, io::stdin().lock(), io::stdout().lock())?);
        return Ok(());
    };
    save::prepare(&args.output, &["safetensors"], args.overwrite.overwrite)?;
    let heard = args.sound || (recipe.video.is_none() && recipe.audio.is_some()) || is_sound(&recipe, input);
    let modality = match heard {
        true => Modality::Audio,
        false => Modality::Video,
    };
    let codec = screen.time("load", |_| Codec::build(&recipe, modality, &device))?;
    let first = || read_media(&recipe, input, modality, Extent::Sample, &mut ());
    if let Some(said) = sample_far_from_known(&recipe, &codec, modality, first)? {
        screen.warn(&said);
    }
    if modality == Modality::Video && has_sound(input)? {
        screen.warn(&format!("the sound of {} is left out: `--sound` takes that", input.display()));
    }
    let provenance = Provenance::of(&recipe, args.device.device)?;
    let options = TokenizeOptions { native: args.native, tiles: args.tiles.options() };
    let (tokens, provenance) = tokenize(&recipe, &codec, modality, input, &options, provenance, &mut screen)?;
    tokens.save(&args.output, provenance.tensors())?;
    let [t, h, w] = tokens.grid();
    let kind = codec.tokenizer().spec().kind;
    match args.json.json {
        true => json(&serde_json::json!({
            "output": args.output.display().to_string(),
            "tokens": { "grid": tokens.grid(), "kind": kind.to_string() },
            "seconds": screen.seconds(),
        })),
        false => say!("{}: tokens [{t}, {h}, {w}] of {kind}\n{}", args.output.display(), screen.stages()),
    }
    Ok(())
}
