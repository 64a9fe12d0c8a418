//! `reconstruct`: a clip through the tokenizer and back.

use crate::device::DeviceArgs;
use crate::output::{self, CLIPS, ScaleArgs, say};
use crate::progress::Stages;
use crate::provenance::Provenance;
use crate::recipes::RecipeArgs;
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, MediaShape, Result};
use musiva_media::{Filter, ReadOptions, VideoReader, center_crop, contact_sheet, resample_rate, resize};
use musiva_tokenizers::quantizers::CodeUse;
use musiva_train::measure::{psnr, ssim};
use std::path::{Path, PathBuf};

/// Frames of each row on a sheet.
const COLUMNS: usize = 9;

/// Put a clip or an image through the recipe's tokenizer and back
///
/// The input is brought to the recipe's rate, length and size first; every step is said. A .png
/// shows the original above the reconstruction.
///
///   musiva reconstruct text-to-video walk.mp4 -o walk-again.mp4
///   musiva reconstruct text-to-video walk.mp4 -o compare.png
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// A clip or an image
    #[arg(value_name = "IN")]
    input: PathBuf,
    /// Where to: .mp4, .gif or .png
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
    output::prepare(&args.output, &CLIPS)?;
    let mut stages = Stages::default();
    let before = stages.time("read", || adapted(&recipe, &args.input))?;
    let codec = stages.time("load", || Codec::build(&recipe, &device))?;
    let tokens = stages.time("encode", || codec.encode(before.clone()))?;
    let after = stages.time("decode", || codec.decode(&tokens))?.with_rate(before.rate());
    let media = Provenance::of(&recipe, args.device.device)?.media()?;
    let line = stages.time("write", || match output::is_picture(&args.output) {
        true => {
            let sheet = contact_sheet(&[before.clone(), after.clone()], COLUMNS, &["original", "reconstruction"])?;
            output::write(&args.output, &sheet, &media, args.scale.get())
        }
        false => output::write(&args.output, &after, &media, args.scale.get()),
    })?;
    let [t, h, w] = tokens.grid();
    say!("{line}");
    say!("tokens [{t}, {h}, {w}] of {}", codec.tokenizer().spec().kind);
    say!("PSNR {:.2} dB, SSIM {:.4}", psnr(&before, &after)?, ssim(&before, &after)?);
    if let Some((used, codes)) = CodeUse::in_use(std::slice::from_ref(&tokens)) {
        say!("{used} of {codes} codes in use by {} tokens", t * h * w);
    }
    say!("{}", stages.text());
    Ok(())
}

/// The start of the file as a clip that the recipe's tokenizer takes.
fn adapted(recipe: &Recipe, path: &Path) -> Result<Clip> {
    let MediaShape::Clip { frames, height, width, rate } = recipe.need_media()? else {
        return Err(Error::new(ErrorKind::Unsupported, "data", "a recipe of clips needs data of clips"));
    };
    let mut reader = VideoReader::open(path)?;
    say!("{}: {}", path.display(), reader.info());
    // As much of the file as lasts for the recipe's frames; a still lasts for one.
    let found = reader.info().rate;
    let lasts = (frames as f64 / rate.as_f64() * found.as_f64()).ceil() as usize;
    let clip = match reader.info().frames {
        Some(total) => reader.read(&ReadOptions::window(0, lasts.clamp(1, total.max(1))))?,
        None => first_frames(&mut reader, lasts.max(1))?,
    };
    let mut clip = clip;
    if clip.frames() > 1 && clip.rate() != rate {
        clip = resample_rate(&clip, rate)?;
        say!("  {found} → {rate} frames per second: each frame is the one on show at its time");
    }
    let clip = cut(recipe, clip.with_rate(rate), frames, [height, width])?;
    let [_, old_height, old_width] = clip.shape();
    if [old_height, old_width] == [height, width] {
        return Ok(clip);
    }
    // Until it covers the wanted size; then the middle.
    let scale = (height as f64 / old_height as f64).max(width as f64 / old_width as f64);
    let side = |old: usize, least: usize| ((old as f64 * scale).round() as usize).max(least);
    let [new_height, new_width] = [side(old_height, height), side(old_width, width)];
    say!("  {old_width}×{old_height} → {new_width}×{new_height} pixels by a triangle filter");
    let clip = resize(&clip, new_height, new_width, Filter::Triangle)?;
    if [new_height, new_width] != [height, width] {
        say!("  the middle {width}×{height} pixels");
    }
    center_crop(&clip, height, width)
}

/// The most frames from the start that the tokenizer takes, `most` at most.
fn cut(recipe: &Recipe, clip: Clip, most: usize, [height, width]: [usize; 2]) -> Result<Clip> {
    let tokenizer = &recipe.need_video()?.component;
    let there = clip.frames();
    let fits =
        |&frames: &usize| tokenizer.shape(&MediaShape::Clip { frames, height, width, rate: clip.rate() }).is_ok();
    let frames = (1..=there.min(most)).rev().find(fits).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "tokenizer.video", format!("it takes no clip of up to {there} frames"))
            .mend("name a longer clip")
    })?;
    if frames < there {
        say!("  the first {frames} of {there} frames");
    }
    Ok(clip.slice(0..frames))
}

/// Of a file that does not say how long it is.
fn first_frames(reader: &mut VideoReader, most: usize) -> Result<Clip> {
    let [height, width] = reader.size();
    let rate = reader.info().rate;
    let (mut count, mut pixels) = (0, Vec::new());
    while count < most
        && let Some(frame) = reader.next_frame()?
    {
        pixels.extend_from_slice(&frame.pixels);
        count += 1;
    }
    Clip::new([count, height, width], rate, pixels)
}
