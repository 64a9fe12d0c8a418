//! A page of what recipes make of each of their tasks.

use crate::device::DeviceName;
use crate::provenance::Provenance;
use crate::save;
use burn::tensor::Device;
use musiva_core::pipeline::Pipeline;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, MaskSpec, Media, Modality, Observer, Result, Sound, Task, files};
use musiva_media::{SheetRow, contact_sheet, waveform, write_clip};
use musiva_train::evaluate::{Case, Outcome, comparable, perform};
use musiva_train::sources::world_of;
use std::path::Path;

/// Rows of pixels of a waveform.
const WAVE: usize = 40;

/// Writes a page (Markdown) and a folder beside it of the same name, with pictures and sounds: of each task of the
/// recipes one scene of the procedural world that training never saw. Returns how many tasks there are.
///
/// # Errors
/// Where the recipes' data are no procedural world, or differ; where one cannot be built; and what `observer` returns.
pub fn gallery(
    recipes: &[Recipe],
    seed: Option<u64>,
    output: &Path,
    (device, name): (&Device, DeviceName),
    observer: &mut dyn Observer,
) -> Result<usize> {
    comparable(recipes)?;
    let [first, ..] = recipes else { return Ok(0) };
    let world = world_of(first)?.ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "data", "a gallery shows scenes of the procedural world")
            .hint("set `data.kind = \"world\"`, or use `musiva generate`")
    })?;
    let seed = seed.unwrap_or(first.evaluate.seed);
    let tasks = first.need_tasks()?;
    let pages = tasks.iter().zip(0..).map(|(task, number)| Page { task, case: Case::new(&world, seed, number) });
    let mut pages: Vec<(Page, Vec<Outcome>)> = pages.map(|page| (page, Vec::new())).collect();
    for recipe in recipes {
        let pipeline = Pipeline::build(recipe, device)?;
        for (page, outcomes) in &mut pages {
            let stage = format!("{}: {}", recipe.name, page.task.name);
            outcomes.extend(perform(&pipeline, page.task, std::slice::from_ref(&page.case), &mut |done, total| {
                observer.progress(&stage, done, total)
            })?);
        }
    }

    let folder = output.with_extension("");
    std::fs::create_dir_all(&folder).map_err(|error| Error::io(&folder, "make it", error))?;
    let command = recipes.iter().map(|recipe| recipe.name.as_str()).collect::<Vec<_>>().join(" ");
    let mut text = format!(
        "# Gallery\n\nEach task once, of a scene that training never saw: not cherry-picked. \
         Made by `musiva gallery {command} --seed {seed}`.\n"
    );
    for (page, outcomes) in &pages {
        text.push_str(&page.write(recipes, outcomes, &folder, name)?);
    }
    files::write(output, text.as_bytes())?;
    Ok(tasks.len())
}

/// A task and its scene.
struct Page<'a> {
    task: &'a Task,
    case: Case,
}

impl Page<'_> {
    /// Writes the files, and returns what the page says.
    fn write(&self, recipes: &[Recipe], outcomes: &[Outcome], folder: &Path, device: DeviceName) -> Result<String> {
        let Self { task, case } = self;
        let strides = recipes[0].need_tokenizer(Modality::Video)?.component.spec().strides;
        let name = folder.file_name().unwrap_or_default().to_string_lossy();
        let mut rows = Rows::new(case);
        rows.add("scene", Some(&case.clip), case.sound.as_ref())?;
        if task.has_context() {
            rows.add("given", case.shown(task, strides).as_ref(), case.heard(task).as_ref())?;
        }
        let mut media = Vec::new();
        for (recipe, outcome) in recipes.iter().zip(outcomes) {
            // What was given is not shown again.
            let clip = outcome.clip.as_ref().filter(|_| task.spec("video") != MaskSpec::Context);
            rows.add(&recipe.name, clip, outcome.sound.as_ref())?;
            let sound = outcome.sound.as_ref().or(case.sound.as_ref().filter(|_| task.spec("audio").has_context()));
            let Some(sound) = sound else { continue };
            let metadata = Provenance::of(recipe, device)?.with("musiva.task", &task.name).media()?;
            let extension = if outcome.clip.is_some() { "mp4" } else { "flac" };
            let file = format!("{}-{}.{extension}", task.name, recipe.name);
            match &outcome.clip {
                Some(clip) => save::write_movie(&folder.join(&file), clip, sound, &metadata, None)?,
                None => save::write_media(&folder.join(&file), &Media::Sound(sound.clone()), &metadata, None)?,
            };
            media.push(format!("[{}]({name}/{file})", recipe.name));
        }
        let picture = format!("{}.png", task.name);
        let names: Vec<&str> = recipes.iter().map(|recipe| recipe.name.as_str()).collect();
        let metadata = Provenance::of(&recipes[0], device)?.with("musiva.recipes", names.join(", ")).media()?;
        write_clip(folder.join(&picture), &rows.sheet()?, &metadata)?;
        let title = format!("\n## {}\n\n", task.name);
        let bounces = match (&case.sound, case.scene.events().len()) {
            (None, _) => String::new(),
            (_, 1) => ", which bounces once".into(),
            (_, n) => format!(", which bounces {n} times"),
        };
        let heard = if media.is_empty() { String::new() } else { format!("\nListen: {}\n", media.join(", ")) };
        Ok(format!("{title}“{}”{bounces}; {task}.\n\n![{}]({name}/{picture})\n{heard}", case.caption, task.name))
    }
}

/// Rows of a sheet.
struct Rows<'a> {
    case: &'a Case,
    /// The loudest sample of the scene.
    peak: f32,
    rows: Vec<SheetRow>,
}

impl<'a> Rows<'a> {
    fn new(case: &'a Case) -> Self {
        let samples = case.sound.iter().flat_map(|sound| sound.samples());
        let peak = samples.fold(0.01f32, |peak, value| peak.max(value.abs()));
        Self { case, peak, rows: Vec::new() }
    }

    /// A clip and below it its sound, as far as there are any.
    fn add(&mut self, label: &str, clip: Option<&Clip>, sound: Option<&Sound>) -> Result<()> {
        if let Some(clip) = clip {
            self.rows.push(SheetRow::new(label, clip.clone()));
        }
        if let Some(sound) = sound {
            let [frames, _, width] = self.case.clip.shape();
            let wave = waveform(sound, self.case.clip.rate(), [frames, WAVE, width], self.peak)?;
            self.rows.push(SheetRow::new(format!("{label}: sound"), wave));
        }
        Ok(())
    }

    fn sheet(&self) -> Result<Clip> {
        contact_sheet(&self.rows, self.case.clip.frames())
    }
}
