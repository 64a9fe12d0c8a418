//! `reconstruct`: media through the tokenizer and back.

use crate::adapt::{Extent, adapted};
use crate::device::DeviceArgs;
use crate::output::{self, MEDIA, ScaleArgs, say};
use crate::progress::Stages;
use crate::provenance::Provenance;
use crate::recipes::RecipeArgs;
use musiva_core::pipeline::Codec;
use musiva_core::{Media, Result};
use musiva_media::{contact_sheet, error_map, spectrogram};
use musiva_tokenizers::quantizers::CodeUse;
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
