//! `decode`: from saved tokens to media.

use crate::device::DeviceArgs;
use crate::long::{self, TileArgs};
use crate::output::{self, ClipSink, MEDIA, ScaleArgs, say};
use crate::progress::Stages;
use crate::provenance::Provenance;
use crate::recipes::RecipeArgs;
use crate::stream;
use musiva_core::pipeline::Codec;
use musiva_core::{Error, ErrorKind, Media, Modality, Result, Tokens};
use std::path::PathBuf;

/// Make media of the tokens that `generate` or `tokenize` saved
///
///   musiva decode text-to-video out.tokens.safetensors -o out.mp4
///   musiva decode tokenizer-audio steps.safetensors -o steps.wav
///   musiva decode tokenizer-audio --stream < codes.jsonl | ffplay -f s16le -ac 1 -ar 16000 -
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// The tokens
    #[arg(value_name = "TOKENS", required_unless_present = "stream")]
    tokens: Option<PathBuf>,
    /// Where to: .mp4, .gif or .png; a sound: .wav, .flac or .png
    #[arg(short, long, default_value = "out.mp4", value_name = "FILE")]
    output: PathBuf,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    tiles: TileArgs,
    /// Lines of codes from the standard input, as `tokenize --stream` writes them, to sound on the standard
    /// output (16-bit little-endian samples), each as soon as it is there
    #[arg(long, conflicts_with_all = ["tokens", "output", "scale"])]
    stream: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let recipe = args.recipe.open()?;
    let Some(path) = &args.tokens else {
        return stream::decode(&Codec::build(&recipe, Modality::Audio, &device)?);
    };
    output::prepare(&args.output, &MEDIA)?;
    let modality = output::modality(&recipe, &args.output)?;
    let (tokens, metadata) = Tokens::open(path)?;
    let mut stages = Stages::default();
    let codec = stages.time("load", || Codec::build(&recipe, modality, &device))?;
    let kind = codec.tokenizer().spec().kind;
    if !kind.holds(tokens.values()) {
        let message = format!("these tokens are not {kind}");
        return Err(Error::new(ErrorKind::Weights, path.display().to_string(), message)
            .hint("name the recipe that made them: `musiva inspect` says which"));
    }
    let provenance = Provenance::of_tokens(metadata).with("musiva.device", args.device.device);
    if provenance.get("musiva.recipe.sha256").is_some_and(|hash| hash != recipe.hash()) {
        let made_by = provenance.get("musiva.recipe").unwrap_or("another recipe");
        eprintln!("note: {made_by} made these tokens, with other settings than {} has now", recipe.name);
    }
    let rate = provenance.get(long::RATE).and_then(long::parse_rate).unwrap_or(codec.rate());
    let metadata = provenance.media()?;
    let mut line = None;
    if modality == Modality::Video && codec.tokenizer().decoding().is_some() {
        let ([_, sh, sw], [_, h, w]) = (codec.tokenizer().spec().strides, tokens.grid());
        let size = [h * sh, w * sw];
        let tiling = args.tiles.tiling(&recipe, size)?;
        let mut sink = ClipSink::create(&args.output, size, rate, &metadata, args.scale.get())?;
        long::decode(&codec, &tokens, tiling, &mut stages, &mut |clip, stages| {
            stages.time("write", || sink.push(&clip))
        })?;
        line = Some(stages.time("write", || sink.finish())?);
    }
    let line = match line {
        Some(line) => line,
        None => {
            args.tiles.refuse(long::ONLY_WHOLE, "leave `--tile` out")?;
            let media = match stages.time("decode", || codec.decode(&tokens))? {
                Media::Clip(clip) => Media::Clip(clip.with_rate(rate)),
                other => other,
            };
            stages.time("write", || output::write_media(&args.output, &media, &metadata, args.scale.get()))?
        }
    };
    say!("{line}\n{}", stages.text());
    Ok(())
}
