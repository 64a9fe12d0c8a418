//! `new`: recipes that fit a folder.

use super::args::{DeviceArgs, JsonArgs, OverwriteArgs};
use super::print::{json, say};
use super::progress::Screen;
use musiva::{NewOptions, Paradigm, Purpose, Result, new_recipes};
use std::path::PathBuf;

/// Write the recipes that fit a folder of clips, sounds or pictures
///
/// Looks at all files and their captions, chooses size, rates and windows, trains the text tokenizer, and writes recipes of
/// tokenizers and a model as large as the hours allow on this machine. Then it prints the commands to come.
///
///   musiva new my-clips
///   musiva new my-clips --for video-to-audio --hours 8 -o runs/foley
///   musiva new my-sounds --for text-to-audio --paradigm masked
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The folder; its subfolders belong to it
    #[arg(value_name = "FOLDER")]
    folder: PathBuf,
    /// What the model is to do: text-to-image, text-to-video, image-to-video, video-to-audio, audio-to-video, text-to-audio
    /// or audio-continuation; by default what fits the folder
    #[arg(long = "for", value_name = "TASK")]
    purpose: Option<Purpose>,
    /// How: lm, a language model; masked, a masked model; dit, a diffusion Transformer
    #[arg(long, value_name = "PARADIGM", default_value = "lm")]
    paradigm: Paradigm,
    /// Leave the sound of clips out
    #[arg(long)]
    silent: bool,
    /// How many hours all training may take
    #[arg(long, value_name = "N", default_value_t = 3.0)]
    hours: f64,
    /// The folder of the recipes; by default that of the data with `-model` behind its name, here
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

pub fn run(args: &Args) -> Result<()> {
    let name = || {
        let path = args.folder.canonicalize().unwrap_or_else(|_| args.folder.clone());
        format!("{}-model", path.file_name().unwrap_or_default().to_string_lossy())
    };
    let out = args.output.clone().unwrap_or_else(|| name().into());
    let options = NewOptions {
        purpose: args.purpose,
        paradigm: args.paradigm,
        silent: args.silent,
        hours: args.hours,
        device: args.device.device,
        overwrite: args.overwrite.overwrite,
    };
    let new = new_recipes(&args.folder, &out, &options, &mut Screen::new(args.json.json))?;
    if args.json.json {
        json(&new);
        return Ok(());
    }
    say!("{}: {}", args.folder.display(), new.found);
    say!("{}: recipes for {}", out.display(), new.purpose);
    new.notes.iter().for_each(|note| say!("  {note}"));
    say!("\nnow, one after the other:");
    new.commands.iter().for_each(|command| say!("  {command}"));
    Ok(())
}
