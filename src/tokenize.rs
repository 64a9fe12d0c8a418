//! `tokenize`: from media to saved tokens.

use crate::adapt::{Extent, adapted};
use crate::device::DeviceArgs;
use crate::frames::Frames;
use crate::long::{self, TileArgs};
use crate::output::{self, say};
use crate::progress::Stages;
use crate::provenance::Provenance;
use crate::recipes::RecipeArgs;
use crate::{shards, stream};
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Error, ErrorKind, Modality, Rate, Result, Tokens};
use musiva_train::shards::Portion;
use std::path::{Path, PathBuf};

/// Make tokens of a clip, an image or a sound and save them
///
/// All of the file, however long, at the recipe's rate and size or at its own. `decode` makes media of
/// them again.
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
    /// Where to: .safetensors; with `--dataset` a folder
    #[arg(short, long, default_value = "tokens.safetensors", value_name = "FILE")]
    output: PathBuf,
    /// Keep a clip's own size and rate instead of the recipe's
    #[arg(long, conflicts_with_all = ["sound", "stream"])]
    native: bool,
    #[command(flatten)]
    tiles: TileArgs,
    /// Tokens of all that the recipe trains on, as WebDataset shards: `train.tokens` reads them. Shards that are there
    /// are kept
    #[arg(long, conflicts_with_all = ["input", "sound", "stream"], requires = "output")]
    dataset: bool,
    /// With `--dataset`: make one portion of the shards, so that many machines fill one folder
    #[arg(long, value_name = "I/N", default_value = "1/1", requires = "dataset")]
    shard: Portion,
    /// With `--dataset`: samples of a shard
    #[arg(long, value_name = "N", default_value_t = 1024, requires = "dataset", value_parser = clap::value_parser!(u64).range(1..))]
    per_shard: u64,
    /// Take the sound of a file with pictures and sound, where the recipe reads both
    #[arg(long)]
    sound: bool,
    /// Sound from the standard input (16-bit little-endian samples of one channel at the recipe's rate) to
    /// the standard output (a line of codes a token), each token as soon as it is heard
    #[arg(long, conflicts_with_all = ["input", "output", "sound"])]
    stream: bool,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let recipe = args.recipe.open()?;
    if args.dataset {
        return shards::fill(&recipe, &args.output, args.shard, args.per_shard, &args.device);
    }
    let device = args.device.open()?;
    let Some(input) = &args.input else {
        return stream::encode(&Codec::build(&recipe, Modality::Audio, &device)?);
    };
    output::prepare(&args.output, &["safetensors"])?;
    let modality = match args.sound || (recipe.video.is_none() && recipe.audio.is_some()) {
        true => Modality::Audio,
        false => Modality::Video,
    };
    let mut stages = Stages::default();
    let codec = stages.time("load", || Codec::build(&recipe, modality, &device))?;
    let mut provenance = Provenance::of(&recipe, args.device.device)?.with("musiva.source", input.display());
    let mut streamed = None;
    if modality == Modality::Video {
        streamed = clip(args, &recipe, input, &codec, &mut stages)?;
    }
    let tokens = match streamed {
        Some((tokens, rate)) => {
            provenance = provenance.with(long::RATE, rate);
            tokens
        }
        None => {
            let media = stages.time("read", || adapted(&recipe, input, modality, Extent::Whole))?;
            stages.time("encode", || codec.encode(&media))?
        }
    };
    tokens.save(&args.output, provenance.tensors())?;
    let [t, h, w] = tokens.grid();
    say!("{}: tokens [{t}, {h}, {w}] of {}", args.output.display(), codec.tokenizer().spec().kind);
    say!("{}", stages.text());
    Ok(())
}

/// A clip's tokens and rate; `None` where the tokenizer takes clips only whole.
fn clip(
    args: &Args,
    recipe: &Recipe,
    input: &Path,
    codec: &Codec,
    stages: &mut Stages,
) -> Result<Option<(Tokens, Rate)>> {
    if codec.tokenizer().encoding().is_none() {
        args.tiles.refuse(long::ONLY_WHOLE, "leave `--tile` out")?;
        if args.native {
            let error = Error::new(ErrorKind::Unsupported, "--native", long::ONLY_WHOLE);
            return Err(error.hint("leave `--native` out"));
        }
        return Ok(None);
    }
    let mut frames = Frames::open(recipe, input, args.native)?;
    let tiling = args.tiles.tiling(recipe, frames.size())?;
    let mut pieces = Vec::new();
    let done = long::encode(codec, &mut frames, tiling, stages, &mut |_, tokens, _| {
        pieces.push(tokens);
        Ok(())
    })?;
    done.map(|()| Ok((Tokens::concat(&pieces, 0)?, frames.rate()))).transpose()
}
