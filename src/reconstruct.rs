//! `reconstruct`: media through the tokenizer and back.

use crate::adapt::{Extent, adapted};
use crate::device::DeviceArgs;
use crate::frames::Frames;
use crate::long::{self, TileArgs};
use crate::output::{self, ClipSink, MEDIA, ScaleArgs, say};
use crate::progress::Stages;
use crate::provenance::Provenance;
use crate::recipes::RecipeArgs;
use burn::tensor::Device;
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, Media, Modality, Result, Tokens};
use musiva_media::{contact_sheet, error_map, spectrogram};
use musiva_tokenizers::quantizers::CodeUse;
use musiva_tokenizers::tiles;
use musiva_train::measure::{psnr, si_snr, ssim};
use std::path::PathBuf;

/// Frames of each row on a sheet.
const COLUMNS: usize = 9;
/// What stands above the rows of a picture.
const LABELS: [&str; 3] = ["original", "reconstruction", "error"];

/// Put a clip, an image or a sound through the recipe's tokenizer and back
///
/// The input is brought to the recipe's rate, length and size first; every step is said. A .png
/// shows the original above the reconstruction and a map of the error, of sounds their spectrograms.
///
///   musiva reconstruct text-to-video walk.mp4 -o walk-again.mp4
///   musiva reconstruct text-to-video walk.mp4 -o compare.png
///   musiva reconstruct text-to-video film.mp4 --whole --native -o film-again.mp4
///   musiva reconstruct tokenizer-audio steps.wav -o steps-again.wav
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// A clip, an image or a sound
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where to: .mp4, .gif or .png; a sound: .wav, .flac or .png
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// All of a clip, however long, and not only as much as the recipe's data have of a sample
    #[arg(long)]
    whole: bool,
    /// Keep the clip's own size and rate instead of the recipe's
    #[arg(long, requires = "whole")]
    native: bool,
    #[command(flatten)]
    tiles: TileArgs,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let recipe = args.recipe.open()?;
    output::prepare(&args.output, &MEDIA)?;
    let modality = output::modality(&recipe, &args.output)?;
    if args.whole {
        return whole(args, &recipe, modality, &device);
    }
    args.tiles.refuse("a sample of the recipe's size is taken whole", "add `--whole`")?;
    let mut stages = Stages::default();
    let before = stages.time("read", || adapted(&recipe, &args.input, modality, Extent::Sample))?;
    let codec = stages.time("load", || Codec::build(&recipe, modality, &device))?;
    let tokens = stages.time("encode", || codec.encode(&before))?;
    let after = stages.time("decode", || codec.decode(&tokens))?;
    let metadata = Provenance::of(&recipe, args.device.device)?.media()?;
    let picture = output::is_picture(&args.output);
    let (line, quality) = match (before, after) {
        (Media::Clip(before), Media::Clip(after)) => {
            let after = after.with_rate(before.rate());
            let line = stages.time("write", || match picture {
                true => {
                    let sheet =
                        contact_sheet(&[before.clone(), after.clone(), error_map(&before, &after)?], COLUMNS, &LABELS)?;
                    output::write(&args.output, &sheet, &metadata, args.scale.get())
                }
                false => output::write(&args.output, &after, &metadata, args.scale.get()),
            })?;
            (line, format!("PSNR {:.2} dB, SSIM {:.4}", psnr(&before, &after)?, ssim(&before, &after)?))
        }
        (Media::Sound(before), Media::Sound(after)) => {
            let after = after.with_length(before.length());
            let line = stages.time("write", || match picture {
                true => {
                    let sheet = contact_sheet(&[spectrogram(&before)?, spectrogram(&after)?], 1, &LABELS[..2])?;
                    output::write(&args.output, &sheet, &metadata, args.scale.get())
                }
                false => output::write_media(&args.output, &Media::Sound(after.clone()), &metadata, None),
            })?;
            (line, format!("SI-SNR {:.2} dB", si_snr(&before, &after)?))
        }
        (_, other) => return Err(other.unexpected(modality.section(), modality)),
    };
    let [t, h, w] = tokens.grid();
    say!("{line}");
    say!("tokens [{t}, {h}, {w}] of {}", codec.tokenizer().spec().kind);
    say!("{quality}");
    if let Some((used, codes)) = CodeUse::in_use(std::slice::from_ref(&tokens)) {
        say!("{used} of {codes} codes in use by {} tokens", t * h * w);
    }
    say!("{}", stages.text());
    Ok(())
}

/// All of a clip, a few frames at a time.
fn whole(args: &Args, recipe: &Recipe, modality: Modality, device: &Device) -> Result<()> {
    let refused = |message: &str, hint: &str| {
        Err(Error::new(ErrorKind::Unsupported, args.output.display().to_string(), message).hint(hint))
    };
    if modality != Modality::Video || output::is_picture(&args.output) {
        return refused("only clips are written as they come", "name it like out.mp4, or leave `--whole` out");
    }
    let mut stages = Stages::default();
    let codec = stages.time("load", || Codec::build(recipe, modality, device))?;
    let mut frames = Frames::open(recipe, &args.input, args.native)?;
    let (size, rate) = (frames.size(), frames.rate());
    let tiling = args.tiles.tiling(recipe, size)?;
    let [_, h, w] = codec.tokenizer().spec().strides;
    let decoding = tiles::decoding(codec.tokenizer(), [size[0] / h, size[1] / w], tiling)?;
    let Some(mut decoding) = decoding else {
        return refused(long::ONLY_WHOLE, "leave `--whole` out");
    };
    let metadata = Provenance::of(recipe, args.device.device)?.media()?;
    let mut sink = ClipSink::create(&args.output, size, rate, &metadata, args.scale.get())?;
    let (mut likeness, mut pieces) = (Likeness::default(), Vec::new());
    long::encode(&codec, &mut frames, tiling, &mut stages, &mut |before, tokens, stages| {
        let after = stages.time("decode", || decoding.push(&tokens))?.clip(modality.section())?;
        stages.time("compare", || likeness.add(&before, &after.clone().with_rate(before.rate())))?;
        pieces.push(tokens);
        stages.time("write", || sink.push(&after))
    })?;
    let tokens = Tokens::concat(&pieces, 0)?;
    let [t, h, w] = tokens.grid();
    say!("{}", stages.time("write", || sink.finish())?);
    say!("tokens [{t}, {h}, {w}] of {}", codec.tokenizer().spec().kind);
    say!("{}", likeness.text());
    if let Some((used, codes)) = CodeUse::in_use(std::slice::from_ref(&tokens)) {
        say!("{used} of {codes} codes in use by {} tokens", t * h * w);
    }
    say!("{}", stages.text());
    Ok(())
}

/// How like two clips are that come piece by piece.
#[derive(Default)]
struct Likeness {
    frames: f64,
    /// Sums over the frames.
    squares: f64,
    similarity: f64,
}

impl Likeness {
    fn add(&mut self, before: &Clip, after: &Clip) -> Result<()> {
        let frames = before.frames() as f64;
        self.frames += frames;
        self.squares += frames * 10f64.powf(-psnr(before, after)? / 10.0);
        self.similarity += frames * ssim(before, after)?;
        Ok(())
    }

    fn text(&self) -> String {
        let psnr = -10.0 * (self.squares / self.frames).log10();
        format!("PSNR {psnr:.2} dB, SSIM {:.4}", self.similarity / self.frames)
    }
}
