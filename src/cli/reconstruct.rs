//! `reconstruct`: media through the tokenizer and back.

use super::args::{DeviceArgs, JsonArgs, OverwriteArgs, RecipeArgs, ScaleArgs, TileArgs};
use super::print::{json, say, tell};
use super::progress::Screen;
use musiva::recipe::Recipe;
use musiva::reconstruct::{Likeness, WholeOptions, reconstruct, reconstruct_whole};
use musiva::tokenizers::quantizers::CodeUse;
use musiva::training::fidelity::Fidelity;
use musiva::{
    Codec, Device, Error, ErrorKind, Extent, Modality, Observer, Provenance, Result, Tokens, far_from_known, has_sound,
    is_sound, read_media, save,
};
use std::path::PathBuf;

/// Encode and decode a clip, an image or a sound with the recipe's tokenizer
///
/// The input is first converted to the recipe's rate, length and size; every step is printed. A .png
/// shows the original above the reconstruction and a map of the error, for sounds their spectrograms.
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
    /// Output file: .mp4, .gif or .png; a sound: .wav, .flac or .png
    #[arg(short, long, value_name = "OUT")]
    output: PathBuf,
    /// All of a clip or a sound, however long, not only as much as a sample of the recipe's data
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
    overwrite: OverwriteArgs,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let recipe = args.recipe.open()?;
    save::prepare(&args.output, &save::MEDIA, args.overwrite.overwrite)?;
    let modality = match save::modality(&recipe, &args.output)? {
        Modality::Video if is_sound(&recipe, &args.input) => Modality::Audio,
        modality => modality,
    };
    if modality == Modality::Video && has_sound(&args.input)? {
        tell!("note: the sound of {} is left out", args.input.display());
    }
    match (modality, args.whole) {
        (Modality::Video, true) => whole(args, &recipe, &device),
        _ => sample(args, &recipe, modality, &device),
    }
}

/// As much as the recipe's data have of a sample; of a sound all, where that is asked for.
fn sample(args: &Args, recipe: &Recipe, modality: Modality, device: &Device) -> Result<()> {
    let refused =
        |place: &str, message: &str, hint: &str| Err(Error::new(ErrorKind::Unsupported, place, message).hint(hint));
    if modality == Modality::Audio && (args.native || args.tiles.options().tile.is_some()) {
        return refused("--native, --tile", "a sound has no size", "leave them out");
    }
    if args.tiles.options().tile.is_some() {
        return refused("--tile", "a sample of the recipe's size is taken whole", "add `--whole`");
    }
    let extent = if args.whole { Extent::Whole } else { Extent::Sample };
    let mut screen = Screen::new(args.json.json);
    let before = screen.time("read", |screen| read_media(recipe, &args.input, modality, extent, screen))?;
    let codec = screen.time("load", |_| Codec::build(recipe, modality, device))?;
    let done = reconstruct(&codec, before, &mut screen)?;
    if let Some(here) = Fidelity::between(&done.before, &done.after)?
        && let Some(said) = far_from_known(recipe, modality, here)?
    {
        screen.warn(&said);
    }
    let metadata = Provenance::of(recipe, args.device.device)?.media()?;
    let written = screen.time("write", |_| done.save(&args.output, &metadata, args.scale.get()))?;
    report(args, &written, &codec, &done.tokens, done.likeness()?, &screen);
    Ok(())
}

/// All of a clip, a few frames at a time.
fn whole(args: &Args, recipe: &Recipe, device: &Device) -> Result<()> {
    if save::is_picture(&args.output) {
        let message = "a picture has room for a sample, not for a whole clip";
        return Err(Error::new(ErrorKind::Unsupported, args.output.display().to_string(), message)
            .hint("name it like out.mp4, or leave `--whole` out"));
    }
    let mut screen = Screen::new(args.json.json);
    let codec = screen.time("load", |_| Codec::build(recipe, Modality::Video, device))?;
    let options = WholeOptions {
        output: &args.output,
        metadata: &Provenance::of(recipe, args.device.device)?.media()?,
        native: args.native,
        tiles: args.tiles.options(),
        scale: args.scale.get(),
    };
    let done = reconstruct_whole(recipe, &codec, &args.input, &options, &mut screen)?;
    if let Likeness::Clip { psnr, .. } = done.likeness
        && let Some(said) = far_from_known(recipe, Modality::Video, Fidelity::psnr(psnr))?
    {
        screen.warn(&said);
    }
    report(args, &done.written, &codec, &done.tokens, done.likeness, &screen);
    Ok(())
}

fn report(args: &Args, written: &str, codec: &Codec, tokens: &Tokens, likeness: Likeness, screen: &Screen) {
    let [t, h, w] = tokens.grid();
    let kind = codec.tokenizer().spec().kind;
    let in_use = CodeUse::in_use(std::slice::from_ref(tokens));
    if args.json.json {
        return json(&serde_json::json!({
            "output": args.output.display().to_string(),
            "tokens": { "grid": tokens.grid(), "kind": kind.to_string() },
            "likeness": likeness,
            "codes_in_use": in_use.map(|(used, _)| used),
            "codes": in_use.map(|(_, codes)| codes),
            "seconds": screen.seconds(),
        }));
    }
    say!("{written}\ntokens [{t}, {h}, {w}] of {kind}\n{likeness}");
    if let Some((used, codes)) = in_use {
        say!("{used} of {codes} codes in use by {} tokens", t * h * w);
    }
    say!("{}", screen.stages());
}
