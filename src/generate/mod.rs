//! `generate`: what is not there, from a prompt and from what is.

mod choose;
mod context;
mod extension;
mod program;

use crate::device::DeviceArgs;
use crate::output::{self, MEDIA, ScaleArgs, say};
use crate::progress::Stages;
use crate::provenance::Provenance;
use crate::recipes::RecipeArgs;
use choose::OutputKind;
use context::ContextArgs;
use extension::ExtensionPlan;
use musiva_core::pipeline::Pipeline;
use musiva_core::{Clip, Result};
use musiva_media::contact_sheet;
use program::{Generated, Program};
use std::path::{Path, PathBuf};

/// Frames of each clip on a sheet of several clips.
const COLUMNS: usize = 9;

/// Make clips and sounds from a prompt, an image, a clip, a sound or a region
///
/// What is given says what is made; the command tells which of the recipe's tasks that is. The same
/// recipe, seed and given media make the same file, byte by byte, whatever the number of threads.
/// Tokens are saved before they are decoded, so that no sampling is ever lost.
///
///   musiva generate text-to-video --prompt "a red ring moves left" -o ring.mp4
///   musiva generate text-to-video --prompt "a green triangle moves right" --count 4 -o sheet.png
///   musiva generate world-lm --prompt "a red ring moves left" -o ring-that-is-heard.mp4
///   musiva generate world-lm --image ring.png --prompt "a red ring moves left" -o ring.mp4
///   musiva generate world-lm --video ring.mp4 --extend 4 -o longer.mp4
///   musiva generate world-lm --video ring.mp4 --region 16,16,32,32 -o other-middle.mp4
///   musiva generate world-dit --video ring.mp4 --prompt "a blue ring moves left" --strength 0.6 -o blue.mp4
///   musiva generate world-lm --video silent.mp4 -o heard.mp4
///   musiva generate world-lm --audio steps.wav -o seen.mp4
///
/// With --count above 1, a .png is one sheet with a row for each clip; other formats are numbered
/// files, out-1.mp4, out-2.mp4 and so on.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    /// What is to be seen and heard; left out, the recipe's program says so, or the model decides
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    prompt: String,
    #[command(flatten)]
    context: ContextArgs,
    /// Seed of all that is drawn
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// How many; the first is the same as without this option
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    count: u16,
    /// Where to: .mp4, .gif or .png; a sound alone: .wav or .flac
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
    output::prepare(&args.output, &MEDIA)?;
    let output_kind = OutputKind::of(&args.output);
    let mut stages = Stages::default();
    let media = stages.time("read", || args.context.read(&recipe))?;
    let extension_plan = ExtensionPlan::new(&args.context, &recipe.program, output_kind);
    let plan = choose::plan(&recipe.need_tasks()?, &args.context, &extension_plan, &media, output_kind)?;
    let prompt = match (&*args.prompt, &extension_plan.prompt) {
        ("", Some(prompt)) => prompt,
        (prompt, _) => prompt,
    };
    if args.context.any() || !recipe.tasks.is_empty() {
        say!("{}", plan.describe());
    }
    let pipeline = stages.time("load", || Pipeline::build(&recipe, &device))?;
    note_unread(&pipeline, prompt)?;

    let count = usize::from(args.count);
    let mut provenance =
        Provenance::of(&recipe, args.device.device)?.with("musiva.prompt", prompt).with("musiva.seed", args.seed);
    if !recipe.tasks.is_empty() {
        provenance = provenance.with("musiva.task", plan.name());
    }
    if let Some(strength) = plan.strength {
        provenance = provenance.with("musiva.strength", strength);
    }
    let files: Vec<PathBuf> = match count {
        1 => vec![args.output.clone()],
        _ => (1..=count).map(|number| output::numbered(&args.output, number)).collect(),
    };
    let of_sample = |sample: usize| provenance.clone().with("musiva.sample", sample);
    let program = Program {
        pipeline: &pipeline,
        plan: &plan,
        media: &media,
        prompt,
        story: &extension_plan.story,
        seed: args.seed,
        batch: recipe.evaluate.batch,
        paste: !args.context.no_paste,
    };
    let made = program.run(count, &mut stages, &mut |sample, round, tokens| {
        if args.no_tokens {
            return Ok(());
        }
        // Of a clip that grows piece by piece each piece has its own.
        let file = if round == 0 { files[sample].clone() } else { output::numbered(&files[sample], round + 1) };
        for (tokens, extension) in [(&tokens.video, "tokens.safetensors"), (&tokens.audio, "sound.tokens.safetensors")]
        {
            let Some(tokens) = tokens else { continue };
            let path = file.with_extension(extension);
            tokens.save(&path, of_sample(sample).tensors())?;
            say!("{}: the tokens; `musiva decode` makes them media again", path.display());
        }
        Ok(())
    })?;
    let written: Result<Vec<String>> = stages.time("write", || match count > 1 && output::is_picture(&args.output) {
        true => {
            let clips: Vec<Clip> = made.into_iter().filter_map(|made| made.clip).collect();
            let labels: Vec<String> = (1..=count).map(|number| format!("seed {} clip {number}", args.seed)).collect();
            let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
            let sheet = contact_sheet(&clips, COLUMNS, &labels)?;
            Ok(vec![output::write(&args.output, &sheet, &provenance.media()?, args.scale.get())?])
        }
        false => (made.iter().zip(&files).enumerate())
            .map(|(sample, (made, file))| write(made, file, &of_sample(sample), args.scale.get()))
            .collect(),
    });
    written?.iter().for_each(|line| say!("{line}"));
    say!("{} from \"{prompt}\", seed {}: {}", recipe.name, args.seed, stages.text());
    Ok(())
}

/// Writes what the file can hold of what was made.
fn write(made: &Generated, file: &Path, provenance: &Provenance, scale: Option<usize>) -> Result<String> {
    let metadata = provenance.media()?;
    match (&made.clip, &made.sound) {
        (Some(clip), Some(sound)) if OutputKind::of(file) == OutputKind::Both => {
            output::write_movie(file, clip, sound, &metadata, scale)
        }
        (None, Some(sound)) => output::write_media(file, &musiva_core::Media::Sound(sound.clone()), &metadata, scale),
        (_, Some(sound)) if OutputKind::of(file) == OutputKind::Sound => {
            output::write_media(file, &musiva_core::Media::Sound(sound.clone()), &metadata, scale)
        }
        (Some(clip), _) => output::write(file, clip, &metadata, scale),
        (None, None) => Ok(format!("{}: there is nothing to write", file.display())),
    }
}

/// Says so where the model does not know all of the prompt's words: it would guess in silence.
fn note_unread(pipeline: &Pipeline, prompt: &str) -> Result<()> {
    let letters = |text: &str| -> String { text.to_lowercase().split_whitespace().collect() };
    if let Some(read) = pipeline.read_back(prompt)?
        && letters(&read) != letters(prompt)
    {
        eprintln!("note: this model does not know all of these words; it reads \"{read}\"");
    }
    Ok(())
}
