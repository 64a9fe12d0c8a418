//! `decode`: from saved tokens to media.

use super::args::{DeviceArgs, JsonArgs, OverwriteArgs, RecipeArgs, ScaleArgs, TileArgs};
use super::print::{json, say, tell};
use super::progress::Screen;
use musiva::decode::{SavedTokens, decode_to_file};
use musiva::{Codec, Modality, Result, save, stream};
use std::io;
use std::path::PathBuf;

/// Decode tokens that `generate` or `tokenize` saved
///
///   musiva decode text-to-video out.tokens.safetensors -o out.mp4
///   musiva decode tokenizer-audio steps.safetensors -o steps.wav
///   musiva decode tokenizer-audio --stream < codes.jsonl | ffplay -f s16le -ac 1 -ar 16000 -
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The tokens file
    #[arg(value_name = "TOKENS", required_unless_present = "stream")]
    tokens: Option<PathBuf>,
    /// Output file: .mp4, .gif or .png; a sound: .wav, .flac or .png; a text: .txt. By default out.mp4, or out.wav of a recipe
    /// of sounds alone
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    tiles: TileArgs,
    /// Decode lines of codes from the standard input, as `tokenize --stream` writes them, to sound on the standard
    /// output (16-bit little-endian samples), each as soon as it is read
    #[arg(long, conflicts_with_all = ["tokens", "output", "scale"])]
    stream: bool,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let recipe = args.recipe.open()?;
    let Some(path) = &args.tokens else {
        let codec = Codec::build(&recipe, Modality::Audio, &device)?;
        tell!("{}", stream::decode(&codec, io::stdin().lock(), io::stdout().lock())?);
        return Ok(());
    };
    let output = args.output.clone().unwrap_or_else(|| save::default_output(&recipe));
    save::prepare(&output, &save::OUTPUTS, args.overwrite.overwrite)?;
    let modality = save::modality(&recipe, &output)?;
    let mut saved = SavedTokens::open(path)?;
    let mut screen = Screen::new(args.json.json);
    let codec = screen.time("load", |_| Codec::build(&recipe, modality, &device))?;
    saved.check(path, &recipe, &codec, &mut screen)?;
    saved.provenance = saved.provenance.with("musiva.device", args.device.device);
    let (tiles, scale) = (args.tiles.options(), args.scale.get());
    let line = decode_to_file(&saved, &recipe, &codec, &output, &tiles, scale, &mut screen)?;
    match args.json.json {
        true => json(&serde_json::json!({ "output": output.display().to_string(), "seconds": screen.seconds() })),
        false => say!("{line}\n{}", screen.stages()),
    }
    Ok(())
}
