//! Which of a recipe's tasks is meant: what is given says what is made.

use super::context::{ContextArgs, Media};
use super::extension::ExtensionPlan;
use crate::output;
use musiva_core::{Error, ErrorKind, MaskSpec, Result, Task};
use std::path::Path;

/// What a file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OutputKind {
    Both,
    Clip,
    Sound,
}

impl OutputKind {
    /// By its name.
    pub fn of(path: &Path) -> Self {
        match &*output::extension(path) {
            "wav" | "flac" => Self::Sound,
            "png" | "gif" => Self::Clip,
            _ => Self::Both,
        }
    }
}

/// What is to be done: a first piece, and more of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What makes the first piece; `None` where it is given.
    pub first: Option<Task>,
    /// By how much it changes what is given, where it does.
    pub strength: Option<f64>,
    /// What makes more of it, one after the other.
    pub extensions: Vec<Extension>,
}

/// More of a clip.
#[derive(Clone, Debug)]
pub struct Extension {
    /// What makes each piece.
    pub task: Task,
    /// Whether the pieces come after what is there, or before it.
    pub after: bool,
    /// How many seconds are added.
    pub seconds: f64,
}

impl Plan {
    /// The names of its tasks.
    pub fn name(&self) -> String {
        let tasks = self.first.iter().chain(self.extensions.iter().map(|extension| &extension.task));
        tasks.map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What is said of it.
    pub fn describe(&self) -> String {
        let first = self.first.iter().map(|task| match self.strength {
            Some(strength) => format!("{}: {}", task.name, changed(task, strength)),
            None => format!("{}: {task}", task.name),
        });
        let more = self.extensions.iter().map(|Extension { task, after, seconds }| {
            format!("{}: {task}, {seconds} s {}", task.name, if *after { "more" } else { "before" })
        });
        first.chain(more).collect::<Vec<_>>().join("\n")
    }
}

/// What an edit does, in words.
fn changed(task: &Task, strength: f64) -> String {
    let clip = match task.video {
        MaskSpec::Absent => None,
        MaskSpec::Outside => Some("a region of the clip"),
        MaskSpec::Inside => Some("what lies around a region of the clip"),
        _ => Some("the clip"),
    };
    let what: Vec<&str> = clip.into_iter().chain((task.audio == MaskSpec::Target).then_some("the sound")).collect();
    // A product such as 100 · 0.07 is a little more than it is.
    let part = (1e4 * strength).round() / 100.0;
    format!(
        "by a prompt it changes {}: strength {strength}, the last {part} % of the sampler's way",
        what.join(" and ")
    )
}

/// The plan for what was brought.
pub fn plan(
    tasks: &[Task],
    args: &ContextArgs,
    extension_plan: &ExtensionPlan,
    media: &Media,
    output_kind: OutputKind,
) -> Result<Plan> {
    let grows = extension_plan.after.is_some() || extension_plan.before.is_some();
    let extends_clip = grows && args.strength.is_none() && !media.clips.is_empty() && media.clips[0].frames() > 1;
    if extends_clip && media.clips.len() > 1 {
        return Err(Error::new(ErrorKind::Unsupported, "--extend", "two clips are given, and one goes on")
            .hint("give one clip, or leave `--extend` out"));
    }
    if extends_clip && args.task.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "--task",
            "a clip that goes on does so by the task that fits it",
        )
        .hint("leave `--task` out"));
    }
    let first = if extends_clip { None } else { Some(first(tasks, args, media, output_kind)?) };
    let heard = media.sound.is_some() || first.as_ref().is_some_and(|task| task.audio == MaskSpec::Target);
    let frames = match &first {
        Some(_) => usize::MAX,
        None => media.clips[0].frames(),
    };
    let more = |seconds: Option<f64>, after: bool| {
        let Some(seconds) = seconds else { return Ok(None) };
        let share = if after { MaskSpec::First } else { MaskSpec::Last };
        let audio = if heard { share } else { MaskSpec::Absent };
        let fits = |task: &&Task| task.video == share && task.audio == audio && task.frames <= frames;
        match tasks.iter().filter(fits).max_by_key(|task| task.frames) {
            Some(task) => Ok(Some(Extension { task: task.clone(), after, seconds })),
            None => {
                let words = if after { "after" } else { "before" };
                let sound = if heard { " and its sound" } else { "" };
                let whose = if extension_plan.of_recipe { "the recipe's `[program]` goes on, and " } else { "" };
                Err(refused(tasks, format!("{whose}this model was not trained to go on {words} with a clip{sound}")))
            }
        }
    };
    let extensions =
        [more(extension_plan.after, true)?, more(extension_plan.before, false)?].into_iter().flatten().collect();
    Ok(Plan { first, strength: args.strength, extensions })
}

fn first(tasks: &[Task], args: &ContextArgs, media: &Media, output_kind: OutputKind) -> Result<Task> {
    // What is changed is made, though there is some of it; nothing else is.
    let changed = |there: bool| Some(if there { MaskSpec::Target } else { MaskSpec::Absent });
    let edited = args.strength.is_some();
    let video = match () {
        () if media.mask.is_some() && args.outside => Some(MaskSpec::Inside),
        () if media.mask.is_some() => Some(MaskSpec::Outside),
        () if edited => changed(!media.clips.is_empty()),
        () if media.clips.len() > 1 => Some(MaskSpec::Ends),
        () => media.clips.first().map(|clip| if clip.frames() == 1 { MaskSpec::First } else { MaskSpec::Context }),
    };
    let audio = match edited {
        true => changed(media.sound.is_some()),
        false => media.sound.as_ref().map(|_| MaskSpec::Context),
    };
    let frames = media.clips.iter().map(|clip| clip.frames()).min().unwrap_or(usize::MAX);
    let fits = |task: &Task| {
        let counted = !matches!(task.video, MaskSpec::First | MaskSpec::Ends) || task.frames <= frames;
        let video = match video {
            None => matches!(task.video, MaskSpec::Target | MaskSpec::Absent | MaskSpec::Image),
            Some(share) => task.video == share && counted,
        };
        let audio = match audio {
            None => matches!(task.audio, MaskSpec::Target | MaskSpec::Absent),
            Some(share) => task.audio == share,
        };
        let shown = task.video != MaskSpec::Absent;
        let held = match output_kind {
            OutputKind::Both => shown,
            OutputKind::Clip => shown && task.video != MaskSpec::Context,
            OutputKind::Sound => {
                task.audio == MaskSpec::Target && !matches!(task.video, MaskSpec::Target | MaskSpec::Image)
            }
        };
        video && audio && held
    };
    if let Some(name) = &args.task {
        let Some(task) = tasks.iter().find(|task| task.name == *name) else {
            return Err(refused(tasks, format!("this recipe has no task `{name}`")));
        };
        return match fits(task) {
            true => Ok(task.clone()),
            false => {
                Err(refused(tasks, format!("`{name}` does not go with what is given, or not with the output file")))
            }
        };
    }
    // What makes most of what the file can hold, and of equals what is given most.
    let rank = |task: &&Task| {
        let sound = task.audio == MaskSpec::Target;
        let of_clip =
            usize::from(matches!(task.video, MaskSpec::Absent | MaskSpec::Image) == (output_kind == OutputKind::Sound));
        (of_clip, sound == (output_kind != OutputKind::Clip), task.frames)
    };
    let found = tasks.iter().filter(|task| fits(task)).max_by_key(rank);
    found.cloned().ok_or_else(|| refused(tasks, "this model was not trained for what is given here".to_owned()))
}

fn refused(tasks: &[Task], message: String) -> Error {
    let known: Vec<String> = tasks.iter().map(|task| format!("  {}: {task}", task.name)).collect();
    Error::new(ErrorKind::Unsupported, "generate", message)
        .hint(format!("give what one of its tasks asks for, or name one by --task\n{}", known.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::recipe::ProgramSettings;
    use musiva_core::{Clip, Mask, Rate, Sound};

    fn task(name: &str, video: MaskSpec, audio: MaskSpec, frames: usize) -> Task {
        Task { name: name.into(), video, audio, frames, weight: 1.0 }
    }

    fn tasks() -> Vec<Task> {
        use MaskSpec::*;
        vec![
            task("t2i", Image, Absent, 1),
            task("t2v", Target, Absent, 1),
            task("t2a", Absent, Target, 1),
            task("t2va", Target, Target, 1),
            task("i2v", First, Absent, 1),
            task("extension", First, Absent, 9),
            task("backward", Last, Absent, 9),
            task("interpolation", Ends, Absent, 1),
            task("connection", Ends, Absent, 5),
            task("inpainting", Outside, Absent, 1),
            task("outpainting", Inside, Absent, 1),
            task("v2a", Context, Target, 1),
            task("a2v", Target, Context, 1),
            task("continuation", First, First, 9),
        ]
    }

    fn clip(frames: usize) -> Clip {
        Clip::new([frames, 2, 2], Rate::whole(8), vec![0; frames * 12]).unwrap()
    }

    fn sound() -> Sound {
        Sound::new(1, Rate::whole(16_000), vec![0.0; 10]).unwrap()
    }

    fn chosen(args: &ContextArgs, media: &Media, file: &str) -> Result<String> {
        let output_kind = OutputKind::of(Path::new(file));
        let extension_plan = ExtensionPlan::new(args, &ProgramSettings::Once, output_kind);
        plan(&tasks(), args, &extension_plan, media, output_kind).map(|plan| plan.name())
    }

    #[test]
    fn what_is_given_says_what_is_made() {
        let none = ContextArgs::default();
        let clips = |frames: &[usize]| Media { clips: frames.iter().map(|&n| clip(n)).collect(), ..Media::default() };
        let heard = Media { sound: Some(sound()), ..Media::default() };
        let name = |args: &ContextArgs, media: &Media, file| chosen(args, media, file).unwrap();
        assert_eq!(name(&none, &Media::default(), "a.mp4"), "t2va");
        assert_eq!(name(&none, &Media::default(), "a.gif"), "t2v");
        assert_eq!(name(&none, &Media::default(), "a.wav"), "t2a");
        assert_eq!(name(&none, &clips(&[1]), "a.mp4"), "i2v");
        assert_eq!(name(&none, &clips(&[1, 1]), "a.mp4"), "interpolation");
        assert_eq!(name(&none, &clips(&[7, 5]), "a.mp4"), "connection");
        assert_eq!(name(&none, &clips(&[17]), "a.mp4"), "v2a");
        assert_eq!(name(&none, &clips(&[17]), "a.wav"), "v2a");
        assert_eq!(name(&none, &heard, "a.mp4"), "a2v");
        let masked = Media { mask: Some(Mask::new([17, 2, 2], |_, _, x| x == 0)), ..clips(&[17]) };
        assert_eq!(name(&none, &masked, "a.mp4"), "inpainting");
        assert_eq!(name(&ContextArgs { outside: true, ..none.clone() }, &masked, "a.mp4"), "outpainting");
        let extend = ContextArgs { extend: Some(2.0), ..none.clone() };
        assert_eq!(name(&extend, &clips(&[17]), "a.mp4"), "extension");
        assert_eq!(name(&extend, &clips(&[1]), "a.mp4"), "i2v, extension");
        assert_eq!(name(&extend, &Media::default(), "a.mp4"), "t2va, continuation");
        let both = Media { sound: Some(sound()), ..clips(&[17]) };
        assert_eq!(name(&extend, &both, "a.mp4"), "continuation");
        assert_eq!(name(&ContextArgs { extend_before: Some(1.0), ..none.clone() }, &clips(&[9]), "a.mp4"), "backward");
        let named = ContextArgs { task: Some("t2i".into()), ..none.clone() };
        assert_eq!(name(&named, &Media::default(), "a.png"), "t2i");
        // What is changed is made anew, whatever the file could hold besides.
        let edit = ContextArgs { strength: Some(0.5), ..none };
        assert_eq!(name(&edit, &clips(&[17]), "a.mp4"), "t2v");
        assert_eq!(name(&edit, &both, "a.mp4"), "t2va");
        assert_eq!(name(&edit, &heard, "a.wav"), "t2a");
        assert_eq!(name(&edit, &masked, "a.mp4"), "inpainting");
        assert_eq!(name(&ContextArgs { extend: Some(1.0), ..edit }, &both, "a.mp4"), "t2va, continuation");
    }

    #[test]
    fn what_it_was_not_trained_for_is_refused_with_what_it_was() {
        let none = ContextArgs::default();
        let both = Media { clips: vec![clip(17)], sound: Some(sound()), ..Media::default() };
        let error = chosen(&none, &both, "a.mp4").unwrap_err().to_string();
        assert!(error.contains("not trained for what is given") && error.contains("continuation"), "{error}");
        let before = ContextArgs { extend_before: Some(1.0), ..none.clone() };
        assert!(chosen(&before, &both, "a.mp4").unwrap_err().to_string().contains("before with a clip and its sound"));
        // A clip too short for what goes on from nine frames goes on from its last one; with sound there is no such task.
        let extend = ContextArgs { extend: Some(1.0), ..none.clone() };
        let short = Media { clips: vec![clip(5)], ..Media::default() };
        assert_eq!(chosen(&extend, &short, "a.mp4").unwrap(), "i2v");
        assert!(chosen(&extend, &Media { sound: Some(sound()), ..short }, "a.mp4").is_err());
        // What would be ignored is refused.
        let two = Media { clips: vec![clip(17), clip(17)], ..Media::default() };
        assert!(chosen(&extend, &two, "a.mp4").unwrap_err().to_string().contains("two clips"));
        let one = Media { clips: vec![clip(17)], ..Media::default() };
        let by_name = ContextArgs { task: Some("extension".into()), ..extend.clone() };
        assert!(chosen(&by_name, &one, "a.mp4").unwrap_err().to_string().contains("--task"));
        let named = ContextArgs { task: Some("t2a".into()), ..none.clone() };
        assert!(chosen(&named, &Media::default(), "a.mp4").unwrap_err().to_string().contains("output file"));
        let unknown = ContextArgs { task: Some("t2x".into()), ..none };
        assert!(chosen(&unknown, &Media::default(), "a.mp4").unwrap_err().to_string().contains("no task `t2x`"));
    }
}
