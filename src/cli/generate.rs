//! `generate`: the target of a task, from a prompt and its context.

use super::args::{DeviceArgs, JsonArgs, OverwriteArgs, RecipeArgs, ScaleArgs};
use super::print::{json, say};
use super::progress::Screen;
use musiva::media::{SheetRow, contact_sheet};
use musiva::programs::Continuation;
use musiva::{
    CanvasTokens, Error, ErrorKind, GenerateRequest, InputFiles, MediaShape, Modality, Observer, Outline, Output,
    OutputKind, Pipeline, Program, Provenance, Recipe, Result, Task, generate_with, inputs_far_from_known, keep_sound,
    save,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Frames of each clip on a sheet of several clips.
const COLUMNS: usize = 9;

/// Generate clips, sounds and captions from a prompt, an image, a clip, a sound or a region
///
/// The inputs select one of the recipe's tasks; the command prints which. The same recipe, seed
/// and inputs give the same file, byte by byte, whatever the number of threads. Tokens are saved
/// before they are decoded, so that no sampling is ever lost.
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
///   musiva generate world-captions-lm --video ring.mp4 -o caption.txt
///   musiva generate sound-lm --prompt "a red ring moves left" -o ring.wav
///   musiva generate sound-lm --audio ring.wav --extend 2 -o longer.wav
///
/// With --count above 1, a .png is one sheet with a row for each clip; other formats are numbered
/// files, out-1.mp4, out-2.mp4 and so on.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(flatten)]
    recipe: RecipeArgs,
    #[command(flatten)]
    shape: ShapeArgs,
    /// The prompt; left out, that of the recipe's program, or none
    #[arg(short, long, default_value = "", hide_default_value = true, value_name = "TEXT")]
    prompt: String,
    #[command(flatten)]
    given: ContextArgs,
    /// Seed of all random numbers
    #[arg(long, default_value_t = 0, value_name = "N")]
    seed: u64,
    /// How many samples; the first is the same as without this option
    #[arg(long, default_value_t = 1, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1024))]
    count: u16,
    /// Output file: .mp4, .gif or .png; a sound alone: .wav or .flac; a caption: .txt. By default out.mp4, or out.wav of a
    /// recipe of sounds alone
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Do not save the tokens
    #[arg(long)]
    no_tokens: bool,
    #[command(flatten)]
    scale: ScaleArgs,
    #[command(flatten)]
    overwrite: OverwriteArgs,
    #[command(flatten)]
    json: JsonArgs,
    #[command(flatten)]
    device: DeviceArgs,
}

#[derive(clap::Args, Clone, Debug, Default)]
#[command(next_help_heading = "Context")]
struct ContextArgs {
    /// The first frame; a second image: the last frame
    #[arg(long, value_name = "FILE")]
    image: Vec<PathBuf>,
    /// A clip: to extend, to add sound to, to change a region of; with a second one, to connect the two
    #[arg(long, value_name = "FILE", conflicts_with = "image")]
    video: Vec<PathBuf>,
    /// A sound
    #[arg(long, value_name = "FILE")]
    audio: Option<PathBuf>,
    /// Leave out the sound of `--video`. Else a model that can takes it as context, and where no other is made it stays
    #[arg(long, requires = "video")]
    no_sound: bool,
    /// A rectangle of the clip to generate anew, in pixels of the recipe's frames
    #[arg(long, value_name = "X,Y,WIDTH,HEIGHT", requires = "video", conflicts_with_all = ["extend", "extend_before"], value_parser = rectangle)]
    region: Option<[usize; 4]>,
    /// A picture or a clip that is white where the clip is to be generated anew
    #[arg(long, value_name = "FILE", requires = "video", conflicts_with_all = ["region", "extend", "extend_before"])]
    mask: Option<PathBuf>,
    /// Keep the region and generate what lies around it
    #[arg(long, requires = "video")]
    outside: bool,
    /// Extend the clip by so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    extend: Option<f64>,
    /// Prepend so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds, requires = "video")]
    extend_before: Option<f64>,
    /// Another prompt from this second on; may be repeated
    #[arg(long, value_name = "SECOND:TEXT", value_parser = moment, requires = "extend")]
    then: Vec<(f64, String)>,
    /// Edit the clip and the sound instead of continuing them (SDEdit): near 0 they stay as they are, 1 leaves
    /// nothing of them
    #[arg(long, value_name = "SHARE", value_parser = share)]
    strength: Option<f64>,
    /// End with the image that the clip begins with
    #[arg(long = "loop", requires = "image")]
    looped: bool,
    /// A clip of a further stream, by the name of its `[track.NAME]`, such as a depth map; may be repeated
    #[arg(long, value_name = "NAME=FILE", value_parser = stream)]
    stream: Vec<(String, PathBuf)>,
    /// A number that the model is conditioned on, by the name of its `[condition.NAME]`; may be repeated
    #[arg(long, value_name = "NAME=NUMBER", value_parser = condition)]
    condition: Vec<(String, f64)>,
    /// Which of the recipe's tasks, where the inputs leave a choice
    #[arg(long, value_name = "NAME")]
    task: Option<String>,
    /// Do not paste the context back into the output: show the model's reconstruction of it
    #[arg(long)]
    no_paste: bool,
}

/// How long and how large a clip is, where the model knows more than one length and size.
#[derive(clap::Args)]
struct ShapeArgs {
    /// Height and width in pixels, instead of the recipe's; a model with `positions = "rotary"` makes any
    #[arg(long, value_name = "HEIGHT,WIDTH", value_parser = size)]
    size: Option<[usize; 2]>,
    /// Frames of a clip, instead of the recipe's; a model with `positions = "rotary"` makes any
    #[arg(long, value_name = "N")]
    frames: Option<usize>,
}

impl ShapeArgs {
    /// The recipe with these.
    fn open(&self, recipe: &RecipeArgs) -> Result<Recipe> {
        if self.size.is_none() && self.frames.is_none() {
            return recipe.open();
        }
        let plain = recipe.open()?;
        let own = match plain.need_media(Modality::Video)? {
            MediaShape::Clip { frames, height, width, .. } => {
                self.size.is_none_or(|size| size == [height, width]) && self.frames.is_none_or(|n| n == frames)
            }
            _ => false,
        };
        if own {
            return Ok(plain);
        }
        if plain.need_backbone()?.component.lengths_are_fixed() {
            let message = "this model learned a vector for each position of the recipe's clips, and makes no others";
            return Err(Error::new(ErrorKind::Unsupported, "--size, --frames", message)
                .hint("leave them out, or train with `backbone.positions = \"rotary\"`"));
        }
        let mut recipe = recipe.clone();
        recipe.set.extend(self.size.map(|[height, width]| format!("data.size=[{height}, {width}]")));
        recipe.set.extend(self.frames.map(|frames| format!("data.frames={frames}")));
        recipe.source()?.open()
    }
}

impl ContextArgs {
    fn files(&self) -> InputFiles {
        InputFiles {
            images: self.image.clone(),
            videos: self.video.clone(),
            audio: self.audio.clone(),
            streams: self.stream.iter().cloned().collect(),
            region: self.region,
            mask: self.mask.clone(),
            outside: self.outside,
            looped: self.looped,
        }
    }

    /// The program that flags ask for, where they ask for one.
    fn program(&self) -> Option<Continuation> {
        let program = match (self.extend, self.extend_before) {
            (None, None) => return None,
            (Some(after), None) => Continuation::once().extend(after),
            (None, Some(before)) => Continuation::once().before(before),
            (Some(after), Some(before)) => Continuation::once().extend(after).before(before),
        };
        Some(self.then.iter().fold(program, |program, (at, prompt)| program.then(*at, prompt)))
    }
}

pub fn run(args: &Args) -> Result<()> {
    let device = args.device.open()?;
    let recipe = args.shape.open(&args.recipe)?;
    let output = args.output.clone().unwrap_or_else(|| save::default_output(&recipe));
    save::prepare(&output, &save::OUTPUTS, args.overwrite.overwrite)?;
    match save::output_kind(&output) {
        OutputKind::Text => drop(recipe.need_tokenizer(Modality::Text)?),
        _ => drop(save::modality(&recipe, &output)?),
    }
    let mut screen = Screen::new(args.json.json);
    once("--condition", args.given.condition.iter().map(|(name, _)| name))?;
    once("--stream", args.given.stream.iter().map(|(name, _)| name))?;
    let files = args.given.files();
    if args.given.strength.is_some() {
        files.check_edit(&recipe)?;
    }
    let mut request = GenerateRequest {
        prompt: args.prompt.clone(),
        inputs: screen.time("read", |screen| files.read(&recipe, screen))?,
        strength: args.given.strength,
        task: args.given.task.clone(),
        output: save::output_kind(&output),
        paste: !args.given.no_paste,
        seed: args.seed,
        count: usize::from(args.count),
        batch: recipe.evaluate.batch,
        conditions: args.given.condition.iter().cloned().collect(),
    };
    let by_flags = args.given.program();
    let program = by_flags.as_ref().map_or(musiva::program_of(&recipe), |program| program as &dyn Program);
    let kept = match args.given.no_sound {
        true => None,
        false => files.sound_of_clip(&recipe, program, &mut request, &mut screen)?,
    };
    let all = recipe.need_tasks()?;
    let Outline { tasks, prompt, lines } = program.outline(&all, &request)?;
    if files.any() || !recipe.tasks.is_empty() {
        screen.note(&lines.join("\n"));
    }
    let targets = match request.count {
        1 => vec![output.clone()],
        count => (1..=count).map(|number| save::numbered(&output, number)).collect(),
    };
    let done: Vec<&Task> = all.iter().filter(|task| tasks.contains(&task.name)).collect();
    let mut tracks = BTreeMap::new();
    for track in recipe.need_canvas()?.tracks.iter().map(|track| &track.name).filter(|_| !args.no_tokens) {
        let generated = done.is_empty() || done.iter().any(|task| task.spec(track).has_target());
        // A prompt stands in the provenance.
        if generated || track != Modality::Text.track() {
            tracks.insert(track.clone(), (generated, Provenance::default().of_track(&recipe, track)?));
        }
    }
    if !args.overwrite.overwrite {
        let pieces = by_flags.is_some() || recipe.program.is_some();
        let extensions = tracks.keys().map(|track| tokens_extension(track)).collect();
        all_vacant(&targets, save::is_picture(&output), &extensions, pieces)?;
    }
    let pipeline = screen.time("load", |_| Pipeline::build(&recipe, &device))?;
    inputs_far_from_known(&recipe, &pipeline, &request.inputs)?.iter().for_each(|said| screen.warn(said));
    let mut provenance =
        Provenance::of(&recipe, args.device.device)?.with("musiva.prompt", &prompt).with("musiva.seed", args.seed);
    if !recipe.tasks.is_empty() {
        provenance = provenance.with("musiva.task", tasks.join(", "));
    }
    if let Some(strength) = request.strength {
        provenance = provenance.with("musiva.strength", strength);
    }
    for (name, number) in &request.conditions {
        provenance = provenance.with(&format!("musiva.condition.{name}"), number);
    }
    if let Some(program) = &by_flags {
        provenance = provenance.with("musiva.program", program.summary());
    }
    for (name, value) in files.told()? {
        provenance = provenance.with(&format!("musiva.input.{name}"), value);
    }
    let mut saving = Saving { screen, files: targets, provenance, tracks };
    let mut outputs = generate_with(program, &pipeline, &request, &mut saving)?;
    if let Some(sound) = kept {
        for output in &mut outputs {
            let of = |clip| keep_sound(&sound, clip, args.given.extend_before.unwrap_or_default());
            output.sound = output.clip.as_ref().map(of).transpose()?;
        }
    }
    let written = saving.write(args, &output, outputs)?;
    if args.json.json {
        let outputs = if save::is_picture(&output) { std::slice::from_ref(&output) } else { &saving.files[..] };
        json(&serde_json::json!({
            "recipe": recipe.name,
            "prompt": prompt,
            "seed": args.seed,
            "tasks": tasks,
            "outputs": outputs.iter().map(|file| file.display().to_string()).collect::<Vec<_>>(),
            "seconds": saving.screen.seconds(),
        }));
        return Ok(());
    }
    written.iter().for_each(|line| say!("{line}"));
    let prompt = if prompt.is_empty() { "no prompt".to_owned() } else { format!("\"{prompt}\"") };
    say!("{}, {prompt}, seed {}: {}", recipe.name, args.seed, saving.screen.stages());
    Ok(())
}

/// Sees to it that neither a sample nor its tokens are there already, `extensions` being those of the tokens: of a program
/// of `pieces` those of any piece.
fn all_vacant(files: &[PathBuf], picture: bool, extensions: &BTreeSet<String>, pieces: bool) -> Result<()> {
    // A picture shows all samples, and is looked at already.
    files.iter().filter(|_| !picture).try_for_each(|file| save::vacant(file, false))?;
    for (file, extension) in files.iter().flat_map(|file| extensions.iter().map(move |extension| (file, extension))) {
        save::vacant(&file.with_extension(extension), false)?;
        let stem = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let is_piece = |name: &str| {
            let number = name.strip_prefix(&stem)?.strip_suffix(extension)?.strip_suffix('.')?.strip_prefix('-')?;
            number.parse::<usize>().ok()
        };
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        // A folder that cannot be listed cannot be written to, which is said when it is.
        let others = folder.read_dir().into_iter().flatten().flatten().filter(|_| pieces);
        for other in others.filter(|other| is_piece(&other.file_name().to_string_lossy()).is_some()) {
            save::vacant(&other.path(), false)?;
        }
    }
    Ok(())
}

/// How the name of the file ends that holds the tokens of a track.
fn tokens_extension(track: &str) -> String {
    match track {
        "video" => "tokens.safetensors".into(),
        "audio" => "sound.tokens.safetensors".into(),
        track => format!("{track}.tokens.safetensors"),
    }
}

/// The screen; and the files that tokens are saved in before they are decoded, and outputs when they are whole.
struct Saving {
    screen: Screen,
    /// Of each sample.
    files: Vec<PathBuf>,
    provenance: Provenance,
    /// Of each track whose tokens are saved whether some of it is generated, and what tokenizer they are of.
    tracks: BTreeMap<String, (bool, Provenance)>,
}

impl Saving {
    fn of_sample(&self, sample: usize) -> Provenance {
        self.provenance.clone().with("musiva.sample", sample)
    }

    /// Writes all outputs, each to its file or all to one picture.
    fn write(&mut self, args: &Args, output: &Path, outputs: Vec<Output>) -> Result<Vec<String>> {
        let Self { files, provenance, .. } = &*self;
        let scale = args.scale.get();
        let write = || match outputs.len() > 1 && save::is_picture(output) {
            true => {
                let row = |(number, output): (i32, &Output)| {
                    Some(SheetRow::new(format!("seed {}, clip {number}", args.seed), output.clip.clone()?))
                };
                let rows: Vec<SheetRow> = (1..).zip(&outputs).filter_map(row).collect();
                Ok(vec![save::write(output, &contact_sheet(&rows, COLUMNS)?, &provenance.media()?, scale)?])
            }
            false => (outputs.iter().zip(files).enumerate())
                .map(|(sample, (output, file))| save::write_output(file, output, &self.of_sample(sample), scale))
                .collect(),
        };
        let start = Instant::now();
        let written = write();
        self.screen.took("write", start.elapsed());
        written
    }
}

impl Observer for Saving {
    fn note(&mut self, text: &str) {
        self.screen.note(text);
    }

    fn warn(&mut self, text: &str) {
        self.screen.warn(text);
    }

    fn progress(&mut self, stage: &str, done: usize, total: usize) -> Result<()> {
        self.screen.progress(stage, done, total)
    }

    fn took(&mut self, stage: &'static str, time: Duration) {
        self.screen.took(stage, time);
    }

    fn tokens(&mut self, sample: usize, piece: usize, tokens: &CanvasTokens) -> Result<()> {
        // Of a clip that grows piece by piece each piece has its own.
        let file = &self.files[sample];
        let file = if piece == 0 { file.clone() } else { save::numbered(file, piece + 1) };
        for (track, (generated, of)) in &self.tracks {
            let Some(tokens) = tokens.tracks.get(track) else { continue };
            let extension = tokens_extension(track);
            let path = file.with_extension(extension);
            tokens.save(&path, self.of_sample(sample).and(of).tensors())?;
            let what = if *generated { "tokens" } else { "tokens of the context" };
            self.screen.note(&format!("saved {what} to {} (`musiva decode` reads them)", path.display()));
        }
        Ok(())
    }
}

fn rectangle(text: &str) -> std::result::Result<[usize; 4], String> {
    let sides: std::result::Result<Vec<usize>, _> = text.split(',').map(|side| side.trim().parse()).collect();
    sides
        .ok()
        .and_then(|sides| sides.try_into().ok())
        .ok_or_else(|| "expected four whole numbers: X,Y,WIDTH,HEIGHT".into())
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let number = text.trim_end_matches('s').parse::<f64>();
    number.ok().filter(|s| (0.0..=3600.0).contains(s) && *s > 0.0).ok_or_else(|| "above 0, 3600 at most".into())
}

/// Sees to it that no name is given twice.
fn once<'a>(flag: &str, names: impl Iterator<Item = &'a String>) -> Result<()> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(Error::new(ErrorKind::Unsupported, flag, format!("`{name}` is given twice"))
                .hint("leave one of the two out"));
        }
    }
    Ok(())
}

fn stream(text: &str) -> std::result::Result<(String, PathBuf), String> {
    let parts = text.split_once('=').map(|(name, file)| (name.trim().to_owned(), PathBuf::from(file)));
    parts.ok_or_else(|| "expected a name, an equals sign and a file: depth=depth.mp4".into())
}

fn size(text: &str) -> std::result::Result<[usize; 2], String> {
    let sides: Option<Vec<usize>> = text.split([',', 'x', '×']).map(|side| side.trim().parse().ok()).collect();
    sides.and_then(|sides| sides.try_into().ok()).ok_or_else(|| "expected two whole numbers: HEIGHT,WIDTH".into())
}

fn condition(text: &str) -> std::result::Result<(String, f64), String> {
    let parts =
        text.split_once('=').and_then(|(name, number)| Some((name.trim().to_owned(), number.trim().parse().ok()?)));
    parts.ok_or_else(|| "expected a name, an equals sign and a number: fps=12".into())
}

fn share(text: &str) -> std::result::Result<f64, String> {
    let number = text.parse::<f64>();
    number.ok().filter(|share| *share > 0.0 && *share <= 1.0).ok_or_else(|| "above 0, 1 at most".into())
}

fn moment(text: &str) -> std::result::Result<(f64, String), String> {
    let (second, prompt) = text.split_once(':').ok_or("expected a second, a colon and a prompt: 2:TEXT")?;
    Ok((seconds(second)?, prompt.trim().to_owned()))
}
