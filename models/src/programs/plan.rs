//! What a request asks for: the one place where tasks are chosen by what there is and what is wanted.

use super::Continuation;
use musiva_core::{Error, ErrorKind, GenerateRequest, MaskSpec, Outline, OutputKind, Result, Task};

/// A first piece, and more of it.
#[derive(Clone, Debug)]
pub struct Plan {
    /// What makes the first piece; `None` where it is there.
    pub first: Option<Task>,
    /// By how much it changes the inputs, where it does.
    pub strength: Option<f64>,
    /// What makes more of it, one after the other.
    pub growth: Vec<Growth>,
    /// The prompt of the first piece.
    pub prompt: String,
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
    /// The plan of `program` for `request`, by a model of these `tasks`.
    ///
    /// # Errors
    /// Where there is no task for it; the error lists the tasks that there are.
    pub fn new(program: &Continuation, tasks: &[Task], request: &GenerateRequest) -> Result<Self> {
        let program = program.for_request(request);
        let clips = &request.inputs.clips;
        if clips.len() > 2 {
            return Err(Error::new(ErrorKind::Unsupported, "generate", "more than two images or clips are given")
                .hint("give one to begin with, and one to end with"));
        }
        if request.strength.is_some() {
            check_edit(clips.len(), false, request.inputs.sound.is_some())?;
        }
        let (after, before) = (program.after, program.before);
        let grows = after.is_some() || before.is_some();
        // A clip that goes on is its own first piece.
        let there = grows && request.strength.is_none() && clips.first().is_some_and(|clip| clip.frames() > 1);
        if there && clips.len() > 1 {
            return Err(Error::new(ErrorKind::Unsupported, "--extend", "two clips are given, and one goes on")
                .hint("give one clip, or leave `--extend` out"));
        }
        if there && request.task.is_some() {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "--task",
                "a clip that goes on does so by the task that fits it",
            )
            .hint("leave `--task` out"));
        }
        let first = if there { None } else { Some(first(tasks, request)?) };
        let heard = request.inputs.sound.is_some() || first.as_ref().is_some_and(|task| task.audio == MaskSpec::Target);
        let frames = if there { clips[0].frames() } else { usize::MAX };
        let more = |seconds: Option<f64>, after: bool| {
            let Some(seconds) = seconds else { return Ok(None) };
            let share = if after { MaskSpec::First } else { MaskSpec::Last };
            let audio = if heard { share } else { MaskSpec::Absent };
            let fits = |task: &&Task| task.video == share && task.audio == audio && task.frames <= frames;
            match tasks.iter().filter(fits).max_by_key(|task| task.frames) {
                Some(task) => Ok(Some(Growth { task: task.clone(), after, seconds })),
                None => {
                    let words = if after { "after" } else { "before" };
                    let sound = if heard { " and its sound" } else { "" };
                    let whose = if program.of_recipe { "the recipe's `[program]` goes on, and " } else { "" };
                    Err(refused(
                        tasks,
                        format!("{whose}this model was not trained to go on {words} with a clip{sound}"),
                    ))
                }
            }
        };
        let growth = [more(after, true)?, more(before, false)?].into_iter().flatten().collect();
        let prompt = match (&*request.prompt, program.first_prompt()) {
            ("", Some(prompt)) => prompt.to_owned(),
            (prompt, _) => prompt.to_owned(),
        };
        Ok(Self { first, strength: request.strength, growth, prompt })
    }

    /// What is said of it.
    pub fn outline(&self) -> Outline {
        let tasks = self.first.iter().chain(self.growth.iter().map(|growth| &growth.task));
        let first = self.first.iter().map(|task| match self.strength {
            Some(strength) => format!("{}: {}", task.name, changed(task, strength)),
            None => format!("{}: {task}", task.name),
        });
        let more = self.growth.iter().map(|Growth { task, after, seconds }| {
            format!("{}: {task}, {seconds} s {}", task.name, if *after { "more" } else { "before" })
        });
        Outline {
            tasks: tasks.map(|task| task.name.clone()).collect(),
            prompt: self.prompt.clone(),
            lines: first.chain(more).collect(),
        }
    }
}

/// Whether so many clips, or images where they are `still`, and a sound can be changed: one clip, its sound, or both.
///
/// # Errors
/// Where there is nothing to change, or more than one clip.
pub fn check_edit(clips: usize, still: bool, sound: bool) -> Result<()> {
    let refused = |message: &str, hint: &str| Err(Error::new(ErrorKind::Unsupported, "--strength", message).hint(hint));
    match (if still { 0 } else { clips }, sound) {
        (0, false) => refused("there is no clip and no sound to change", "give one by --video or --audio"),
        _ if clips > 1 || (still && clips > 0) => {
            refused("one clip is changed, and more is given", "give one clip by --video")
        }
        _ => Ok(()),
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
        "by a prompt it changes {}: strength {strength}, the last {part} % of the sampler's schedule",
        what.join(" and ")
    )
}

/// The task of the first piece.
fn first(tasks: &[Task], request: &GenerateRequest) -> Result<Task> {
    let (inputs, holds) = (&request.inputs, request.output);
    // What is changed is made, though there is some of it; nothing else is.
    let changed = |there: bool| Some(if there { MaskSpec::Target } else { MaskSpec::Absent });
    let edited = request.strength.is_some();
    let video = match () {
        () if inputs.mask.is_some() && inputs.outside => Some(MaskSpec::Inside),
        () if inputs.mask.is_some() => Some(MaskSpec::Outside),
        () if edited => changed(!inputs.clips.is_empty()),
        () if inputs.clips.len() > 1 => Some(MaskSpec::Ends),
        () => inputs.clips.first().map(|clip| if clip.frames() == 1 { MaskSpec::First } else { MaskSpec::Context }),
    };
    let audio = match edited {
        true => changed(inputs.sound.is_some()),
        false => inputs.sound.as_ref().map(|_| MaskSpec::Context),
    };
    let frames = inputs.clips.iter().map(|clip| clip.frames()).min().unwrap_or(usize::MAX);
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
        let held = match holds {
            OutputKind::Both => shown,
            OutputKind::Clip => shown && task.video != MaskSpec::Context,
            OutputKind::Sound => {
                task.audio == MaskSpec::Target && !matches!(task.video, MaskSpec::Target | MaskSpec::Image)
            }
        };
        video && audio && held
    };
    if let Some(name) = &request.task {
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
            usize::from(matches!(task.video, MaskSpec::Absent | MaskSpec::Image) == (holds == OutputKind::Sound));
        (of_clip, sound == (holds != OutputKind::Clip), task.frames)
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
    use crate::programs::{Extend, Moment, PromptSchedule};
    use musiva_core::{Clip, Inputs, Mask, Rate, Sound};

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

    const ONCE: Continuation = Continuation::once();

    fn chosen(program: &Continuation, request: &GenerateRequest) -> Result<String> {
        Plan::new(program, &tasks(), request).map(|plan| plan.outline().tasks.join(", "))
    }

    fn clips(frames: &[usize]) -> Inputs {
        Inputs { clips: frames.iter().map(|&n| clip(n)).collect(), ..Inputs::default() }
    }

    fn of(inputs: &Inputs) -> GenerateRequest {
        GenerateRequest { inputs: inputs.clone(), ..GenerateRequest::default() }
    }

    #[test]
    fn what_is_given_says_what_is_made() {
        use OutputKind::*;
        let heard = Inputs { sound: Some(sound()), ..Inputs::default() };
        let both = Inputs { sound: Some(sound()), ..clips(&[17]) };
        let name = |inputs: &Inputs, output| chosen(&ONCE, &GenerateRequest { output, ..of(inputs) }).unwrap();
        assert_eq!(name(&Inputs::default(), Both), "t2va");
        assert_eq!(name(&Inputs::default(), Clip), "t2v");
        assert_eq!(name(&Inputs::default(), Sound), "t2a");
        assert_eq!(name(&clips(&[1]), Both), "i2v");
        assert_eq!(name(&clips(&[1, 1]), Both), "interpolation");
        assert_eq!(name(&clips(&[7, 5]), Both), "connection");
        assert_eq!(name(&clips(&[17]), Both), "v2a");
        assert_eq!(name(&clips(&[17]), Sound), "v2a");
        assert_eq!(name(&heard, Both), "a2v");
        let masked = Inputs { mask: Some(Mask::new([17, 2, 2], |_, _, x| x == 0)), ..clips(&[17]) };
        assert_eq!(name(&masked, Both), "inpainting");
        assert_eq!(name(&Inputs { outside: true, ..masked.clone() }, Both), "outpainting");
        let named = GenerateRequest { task: Some("t2i".into()), output: Clip, ..GenerateRequest::default() };
        assert_eq!(chosen(&ONCE, &named).unwrap(), "t2i");

        let extended = |program: Continuation, inputs: &Inputs| chosen(&program, &of(inputs)).unwrap();
        let extend = || Continuation::once().extend(2.0);
        assert_eq!(extended(extend(), &clips(&[17])), "extension");
        assert_eq!(extended(extend(), &clips(&[1])), "i2v, extension");
        assert_eq!(extended(extend(), &Inputs::default()), "t2va, continuation");
        assert_eq!(extended(extend(), &both), "continuation");
        assert_eq!(extended(Continuation::once().before(1.0), &clips(&[9])), "backward");

        // What is changed is made anew, whatever the file could hold besides.
        let edit = |inputs: &Inputs, output| GenerateRequest { strength: Some(0.5), output, ..of(inputs) };
        assert_eq!(chosen(&ONCE, &edit(&clips(&[17]), Both)).unwrap(), "t2v");
        assert_eq!(chosen(&ONCE, &edit(&both, Both)).unwrap(), "t2va");
        assert_eq!(chosen(&ONCE, &edit(&heard, Sound)).unwrap(), "t2a");
        assert_eq!(chosen(&ONCE, &edit(&masked, Both)).unwrap(), "inpainting");
        assert_eq!(chosen(&extend(), &edit(&both, Both)).unwrap(), "t2va, continuation");
    }

    #[test]
    fn what_it_was_not_trained_for_is_refused_with_what_it_was() {
        let both = Inputs { sound: Some(sound()), ..clips(&[17]) };
        let wrong =
            |program: &Continuation, request: &GenerateRequest| chosen(program, request).unwrap_err().to_string();
        let error = wrong(&ONCE, &of(&both));
        assert!(error.contains("not trained for what is given") && error.contains("continuation"), "{error}");
        let before = Continuation::once().before(1.0);
        assert!(wrong(&before, &of(&both)).contains("before with a clip and its sound"));
        // A clip too short for what goes on from nine frames goes on from its last one; with sound there is no such task.
        let extend = Continuation::once().extend(1.0);
        assert_eq!(chosen(&extend, &of(&clips(&[5]))).unwrap(), "i2v");
        wrong(&extend, &of(&Inputs { sound: Some(sound()), ..clips(&[5]) }));
        // What would be ignored is refused.
        assert!(wrong(&extend, &of(&clips(&[17, 17]))).contains("two clips"));
        let by_name = |name: &str, inputs: &Inputs| GenerateRequest { task: Some(name.into()), ..of(inputs) };
        assert!(wrong(&extend, &by_name("extension", &clips(&[17]))).contains("--task"));
        assert!(wrong(&ONCE, &by_name("t2a", &Inputs::default())).contains("output file"));
        assert!(wrong(&ONCE, &by_name("t2x", &Inputs::default())).contains("no task `t2x`"));
    }

    #[test]
    fn a_request_that_says_what_is_made_stands_above_the_recipe() {
        let moment = |at, prompt: &str| Moment { at, prompt: prompt.into() };
        let prompts = vec![moment(0.0, "a"), moment(3.0, "b")];
        let recipe = Continuation::from(PromptSchedule { seconds: 4.0, prompts });
        let name = |request: &GenerateRequest| chosen(&recipe, request).unwrap();
        let plan = Plan::new(&recipe, &tasks(), &GenerateRequest::default()).unwrap();
        assert_eq!((plan.prompt.as_str(), plan.growth[0].seconds), ("a", 4.0));
        let own = Plan::new(&recipe, &tasks(), &GenerateRequest::new("c")).unwrap();
        assert_eq!((own.prompt.as_str(), own.growth.len()), ("c", 1));
        assert_eq!(name(&of(&clips(&[1]))), "i2v, extension");
        // A part of a clip, the way between two, a task by its name, a sound: that is all that is made.
        let mask = Some(Mask::new([17, 2, 2], |_, _, x| x == 0));
        assert_eq!(name(&of(&Inputs { mask, ..clips(&[17]) })), "inpainting");
        assert_eq!(name(&of(&clips(&[1, 1]))), "interpolation");
        let t2v = GenerateRequest { task: Some("t2v".into()), ..GenerateRequest::default() };
        let plan = Plan::new(&recipe, &tasks(), &t2v).unwrap();
        assert_eq!((plan.outline().tasks, plan.prompt.as_str()), (vec!["t2v".to_owned()], ""));
        let sound = GenerateRequest { output: OutputKind::Sound, ..GenerateRequest::default() };
        assert_eq!(name(&sound), "t2a");
        // What is asked for by name goes on all the same.
        let asked = Continuation::once().extend(1.0);
        assert_eq!(chosen(&asked, &t2v).unwrap(), "t2v, extension");
        let none = Continuation::from(Extend { seconds: 1.0 });
        let error = Plan::new(&none, &tasks()[..2], &GenerateRequest::default()).unwrap_err().to_string();
        assert!(error.contains("the recipe's `[program]` goes on"), "{error}");
    }
}
