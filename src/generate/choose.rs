//! Which of a recipe's tasks is meant: what is given says what is made.

use super::course::Course;
use super::given::{GivenArgs, Media};
use crate::output;
use musiva_core::{Error, ErrorKind, Result, Share, Task};
use std::path::Path;

/// What a file can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    Both,
    Clip,
    Sound,
}

impl Holds {
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
    pub growth: Vec<Growth>,
}

/// More of a clip.
#[derive(Clone, Debug)]
pub struct Growth {
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
        let tasks = self.first.iter().chain(self.growth.iter().map(|growth| &growth.task));
        tasks.map(|task| task.name.as_str()).collect::<Vec<_>>().join(", ")
    }

    /// What is said of it.
    pub fn told(&self) -> String {
        let first = self.first.iter().map(|task| match self.strength {
            Some(strength) => format!("{}: {}", task.name, changed(task, strength)),
            None => format!("{}: {task}", task.name),
        });
        let more = self.growth.iter().map(|Growth { task, after, seconds }| {
            format!("{}: {task}, {seconds} s {}", task.name, if *after { "more" } else { "before" })
        });
        first.chain(more).collect::<Vec<_>>().join("\n")
    }
}

/// What an edit does, in words.
fn changed(task: &Task, strength: f64) -> String {
    let clip = match task.video {
        Share::Absent => None,
        Share::Outside => Some("a region of the clip"),
        Share::Inside => Some("what lies around a region of the clip"),
        _ => Some("the clip"),
    };
    let what: Vec<&str> = clip.into_iter().chain((task.audio == Share::Made).then_some("the sound")).collect();
    // A product such as 100 · 0.07 is a little more than it is.
    let part = (1e4 * strength).round() / 100.0;
    format!(
        "by a prompt it changes {}: strength {strength}, the last {part} % of the sampler's way",
        what.join(" and ")
    )
}

/// The plan for what was brought.
pub fn plan(tasks: &[Task], args: &GivenArgs, course: &Course, media: &Media, holds: Holds) -> Result<Plan> {
    let grows = course.after.is_some() || course.before.is_some();
    let given = grows && args.strength.is_none() && !media.clips.is_empty() && media.clips[0].frames() > 1;
    if given && media.clips.len() > 1 {
        return Err(Error::new(ErrorKind::Unsupported, "--extend", "two clips are given, and one goes on")
            .mend("give one clip, or leave `--extend` out"));
    }
    if given && args.task.is_some() {
        return Err(Error::new(
            ErrorKind::Unsupported,
            "--task",
            "a clip that goes on does so by the task that fits it",
        )
        .mend("leave `--task` out"));
    }
    let first = if given { None } else { Some(first(tasks, args, media, holds)?) };
    let heard = media.sound.is_some() || first.as_ref().is_some_and(|task| task.audio == Share::Made);
    let frames = match &first {
        Some(_) => usize::MAX,
        None => media.clips[0].frames(),
    };
    let more = |seconds: Option<f64>, after: bool| {
        let Some(seconds) = seconds else { return Ok(None) };
        let share = if after { Share::First } else { Share::Last };
        let audio = if heard { share } else { Share::Absent };
        let fits = |task: &&Task| task.video == share && task.audio == audio && task.frames <= frames;
        match tasks.iter().filter(fits).max_by_key(|task| task.frames) {
            Some(task) => Ok(Some(Growth { task: task.clone(), after, seconds })),
            None => {
                let words = if after { "after" } else { "before" };
                let sound = if heard { " and its sound" } else { "" };
                let whose = if course.of_recipe { "the recipe's `[program]` goes on, and " } else { "" };
                Err(refused(tasks, format!("{whose}this model was not trained to go on {words} with a clip{sound}")))
            }
        }
    };
    let growth = [more(course.after, true)?, more(course.before, false)?].into_iter().flatten().collect();
    Ok(Plan { first, strength: args.strength, growth })
}

fn first(tasks: &[Task], args: &GivenArgs, media: &Media, holds: Holds) -> Result<Task> {
    // What is changed is made, though there is some of it; nothing else is.
    let changed = |there: bool| Some(if there { Share::Made } else { Share::Absent });
    let edited = args.strength.is_some();
    let video = match () {
        () if media.mask.is_some() && args.outside => Some(Share::Inside),
        () if media.mask.is_some() => Some(Share::Outside),
        () if edited => changed(!media.clips.is_empty()),
        () if media.clips.len() > 1 => Some(Share::Ends),
        () => media.clips.first().map(|clip| if clip.frames() == 1 { Share::First } else { Share::Given }),
    };
    let audio = match edited {
        true => changed(media.sound.is_some()),
        false => media.sound.as_ref().map(|_| Share::Given),
    };
    let frames = media.clips.iter().map(|clip| clip.frames()).min().unwrap_or(usize::MAX);
    let fits = |task: &Task| {
        let counted = !matches!(task.video, Share::First | Share::Ends) || task.frames <= frames;
        let video = match video {
            None => matches!(task.video, Share::Made | Share::Absent | Share::Image),
            Some(share) => task.video == share && counted,
        };
        let audio = match audio {
            None => matches!(task.audio, Share::Made | Share::Absent),
            Some(share) => task.audio == share,
        };
        let shown = task.video != Share::Absent;
        let held = match holds {
            Holds::Both => shown,
            Holds::Clip => shown && task.video != Share::Given,
            Holds::Sound => task.audio == Share::Made && !matches!(task.video, Share::Made | Share::Image),
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
        let sound = task.audio == Share::Made;
        let of_clip = usize::from(matches!(task.video, Share::Absent | Share::Image) == (holds == Holds::Sound));
        (of_clip, sound == (holds != Holds::Clip), task.frames)
    };
    let found = tasks.iter().filter(|task| fits(task)).max_by_key(rank);
    found.cloned().ok_or_else(|| refused(tasks, "this model was not trained for what is given here".to_owned()))
}

fn refused(tasks: &[Task], message: String) -> Error {
    let known: Vec<String> = tasks.iter().map(|task| format!("  {}: {task}", task.name)).collect();
    Error::new(ErrorKind::Unsupported, "generate", message)
        .mend(format!("give what one of its tasks asks for, or name one by --task\n{}", known.join("\n")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::recipe::ProgramSettings;
    use musiva_core::{Clip, Mask, Rate, Sound};

    fn task(name: &str, video: Share, audio: Share, frames: usize) -> Task {
        Task { name: name.into(), video, audio, frames, weight: 1.0 }
    }

    fn tasks() -> Vec<Task> {
        use Share::*;
        vec![
            task("t2i", Image, Absent, 1),
            task("t2v", Made, Absent, 1),
            task("t2a", Absent, Made, 1),
            task("t2va", Made, Made, 1),
            task("i2v", First, Absent, 1),
            task("extension", First, Absent, 9),
            task("backward", Last, Absent, 9),
            task("interpolation", Ends, Absent, 1),
            task("connection", Ends, Absent, 5),
            task("inpainting", Outside, Absent, 1),
            task("outpainting", Inside, Absent, 1),
            task("v2a", Given, Made, 1),
            task("a2v", Made, Given, 1),
            task("continuation", First, First, 9),
        ]
    }

    fn clip(frames: usize) -> Clip {
        Clip::new([frames, 2, 2], Rate::whole(8), vec![0; frames * 12]).unwrap()
    }

    fn sound() -> Sound {
        Sound::new(1, Rate::whole(16_000), vec![0.0; 10]).unwrap()
    }

    fn chosen(args: &GivenArgs, media: &Media, file: &str) -> Result<String> {
        let holds = Holds::of(Path::new(file));
        let course = Course::new(args, &ProgramSettings::Once, holds);
        plan(&tasks(), args, &course, media, holds).map(|plan| plan.name())
    }

    #[test]
    fn what_is_given_says_what_is_made() {
        let none = GivenArgs::default();
        let clips = |frames: &[usize]| Media { clips: frames.iter().map(|&n| clip(n)).collect(), ..Media::default() };
        let heard = Media { sound: Some(sound()), ..Media::default() };
        let name = |args: &GivenArgs, media: &Media, file| chosen(args, media, file).unwrap();
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
        assert_eq!(name(&GivenArgs { outside: true, ..none.clone() }, &masked, "a.mp4"), "outpainting");
        let extend = GivenArgs { extend: Some(2.0), ..none.clone() };
        assert_eq!(name(&extend, &clips(&[17]), "a.mp4"), "extension");
        assert_eq!(name(&extend, &clips(&[1]), "a.mp4"), "i2v, extension");
        assert_eq!(name(&extend, &Media::default(), "a.mp4"), "t2va, continuation");
        let both = Media { sound: Some(sound()), ..clips(&[17]) };
        assert_eq!(name(&extend, &both, "a.mp4"), "continuation");
        assert_eq!(name(&GivenArgs { extend_before: Some(1.0), ..none.clone() }, &clips(&[9]), "a.mp4"), "backward");
        let named = GivenArgs { task: Some("t2i".into()), ..none.clone() };
        assert_eq!(name(&named, &Media::default(), "a.png"), "t2i");
        // What is changed is made anew, whatever the file could hold besides.
        let edit = GivenArgs { strength: Some(0.5), ..none };
        assert_eq!(name(&edit, &clips(&[17]), "a.mp4"), "t2v");
        assert_eq!(name(&edit, &both, "a.mp4"), "t2va");
        assert_eq!(name(&edit, &heard, "a.wav"), "t2a");
        assert_eq!(name(&edit, &masked, "a.mp4"), "inpainting");
        assert_eq!(name(&GivenArgs { extend: Some(1.0), ..edit }, &both, "a.mp4"), "t2va, continuation");
    }

    #[test]
    fn what_it_was_not_trained_for_is_refused_with_what_it_was() {
        let none = GivenArgs::default();
        let both = Media { clips: vec![clip(17)], sound: Some(sound()), ..Media::default() };
        let error = chosen(&none, &both, "a.mp4").unwrap_err().to_string();
        assert!(error.contains("not trained for what is given") && error.contains("continuation"), "{error}");
        let before = GivenArgs { extend_before: Some(1.0), ..none.clone() };
        assert!(chosen(&before, &both, "a.mp4").unwrap_err().to_string().contains("before with a clip and its sound"));
        // A clip too short for what goes on from nine frames goes on from its last one; with sound there is no such task.
        let extend = GivenArgs { extend: Some(1.0), ..none.clone() };
        let short = Media { clips: vec![clip(5)], ..Media::default() };
        assert_eq!(chosen(&extend, &short, "a.mp4").unwrap(), "i2v");
        assert!(chosen(&extend, &Media { sound: Some(sound()), ..short }, "a.mp4").is_err());
        // What would be ignored is refused.
        let two = Media { clips: vec![clip(17), clip(17)], ..Media::default() };
        assert!(chosen(&extend, &two, "a.mp4").unwrap_err().to_string().contains("two clips"));
        let one = Media { clips: vec![clip(17)], ..Media::default() };
        let by_name = GivenArgs { task: Some("extension".into()), ..extend.clone() };
        assert!(chosen(&by_name, &one, "a.mp4").unwrap_err().to_string().contains("--task"));
        let named = GivenArgs { task: Some("t2a".into()), ..none.clone() };
        assert!(chosen(&named, &Media::default(), "a.mp4").unwrap_err().to_string().contains("output file"));
        let unknown = GivenArgs { task: Some("t2x".into()), ..none };
        assert!(chosen(&unknown, &Media::default(), "a.mp4").unwrap_err().to_string().contains("no task `t2x`"));
    }
}
