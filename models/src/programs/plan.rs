//! What a request asks for: the one place where tasks are chosen by what there is and what is wanted.

use super::Continuation;
use musiva_core::{Clip, Error, ErrorKind, GenerateRequest, Inputs, MaskSpec, Outline, OutputKind, Result, Task};

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
        let program = program.for_request(tasks, request);
        let (clips, sounds) = (&request.inputs.clips, sounds_alone(tasks));
        if clips.len() > 2 {
            return Err(Error::new(ErrorKind::Unsupported, "generate", "more than two images or clips are given")
                .hint("give one to begin with, and one to end with"));
        }
        if request.strength.is_some() {
            check_edit(clips.len(), false, request.inputs.sound.is_some())?;
        }
        let (after, before) = (program.after, program.before);
        let grows = after.is_some() || before.is_some();
        if grows && request.output == OutputKind::Text {
            return Err(Error::new(ErrorKind::Unsupported, "--extend", "a text cannot be extended")
                .hint("leave `--extend` out"));
        }
        if grows && request.output == OutputKind::Sound && !sounds {
            let message = "a clip that goes on is more than a sound";
            return Err(Error::new(ErrorKind::Unsupported, "--extend", message).hint("name the file .mp4"));
        }
        // A clip that goes on is its own first piece, and so is a sound where there are no clips.
        let there = match clips.first() {
            Some(clip) => clip.frames() > 1,
            None => sounds && request.inputs.sound.is_some(),
        };
        let there = there && grows && request.strength.is_none();
        if there && clips.len() > 1 {
            return Err(Error::new(ErrorKind::Unsupported, "--extend", "two clips are given, and one goes on")
                .hint("give one clip, or leave `--extend` out"));
        }
        if there && request.task.is_some() {
            return Err(Error::new(ErrorKind::Unsupported, "--task", "what goes on does so by the task that fits it")
                .hint("leave `--task` out"));
        }
        let first = if there { None } else { Some(first(tasks, request)?) };
        let heard =
            request.inputs.sound.is_some() || first.as_ref().is_some_and(|task| task.spec("audio") == MaskSpec::Target);
        let more = |seconds: Option<f64>, after: bool| {
            let Some(seconds) = seconds else { return Ok(None) };
            let share = if after { MaskSpec::First } else { MaskSpec::Last };
            let audio = if heard { share } else { MaskSpec::Absent };
            let fits = |task: &&Task| match sounds {
                true => task.spec("audio") == share,
                false => task.spec("video") == share && task.spec("audio") == audio,
            };
            // Clips and sounds grow, texts and further streams do not.
            let plain = |task: &&Task| {
                let mut others = task.tracks.iter().filter(|(track, _)| !["video", "audio"].contains(&&***track));
                others.all(|(track, spec)| *spec == MaskSpec::Absent || (track == "text" && *spec == MaskSpec::Context))
            };
            let grow = || tasks.iter().filter(fits).filter(plain);
            let long = |task: &&Task| !there || long_enough(task, &request.inputs);
            match (grow().filter(long).max_by_key(|task| extent(task, clips)), grow().next()) {
                (Some(task), _) => Ok(Some(Growth { task: task.clone(), after, seconds })),
                (None, Some(task)) => Err(too_short(task, &request.inputs)),
                (None, None) => {
                    let words = if after { "after" } else { "before" };
                    let what = match (sounds, heard) {
                        (true, _) => "a sound",
                        (false, true) => "a clip and its sound",
                        (false, false) => "a clip",
                    };
                    let whose = if program.of_recipe { "the recipe's `[program]` goes on, and " } else { "" };
                    Err(refused(tasks, format!("{whose}this model was not trained to continue {words} {what}")))
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
    let clip = match task.spec("video") {
        MaskSpec::Absent => None,
        MaskSpec::Outside => Some("a region of the clip"),
        MaskSpec::Inside => Some("what lies around a region of the clip"),
        _ => Some("the clip"),
    };
    let what: Vec<&str> =
        clip.into_iter().chain((task.spec("audio") == MaskSpec::Target).then_some("the sound")).collect();
    // A product such as 100 · 0.07 is a little more than it is.
    let part = (1e4 * strength).round() / 100.0;
    format!("edits {} towards the prompt: strength {strength}, the last {part} % of the steps", what.join(" and "))
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
    let sounds = sounds_alone(tasks);
    let fits = |task: &Task| {
        let video = match video {
            None => matches!(task.spec("video"), MaskSpec::Target | MaskSpec::Absent | MaskSpec::Image),
            Some(share) => task.spec("video") == share && long_enough(task, inputs),
        };
        let audio = match audio {
            None => matches!(task.spec("audio"), MaskSpec::Target | MaskSpec::Absent),
            // A sound that is given goes on where that is all a model of sounds can do with it.
            Some(MaskSpec::Context) if sounds => {
                matches!(task.spec("audio"), MaskSpec::Context | MaskSpec::First) && long_enough(task, inputs)
            }
            Some(share) => task.spec("audio") == share,
        };
        // Each further stream that is given is context, and no other.
        let mut streams = task.tracks.iter().filter(|(track, _)| !["video", "audio", "text"].contains(&&***track));
        if !streams.all(|(track, spec)| spec.has_context() == inputs.streams.contains_key(track))
            || inputs.streams.keys().any(|track| !task.spec(track).has_context())
        {
            return false;
        }
        let seen = task.tracks.iter().any(|(track, spec)| !["audio", "text"].contains(&&**track) && spec.has_target());
        let shown = task.spec("video") != MaskSpec::Absent || seen;
        let told = task.spec("text").has_target();
        let held = match holds {
            OutputKind::Text => told,
            _ if told => false,
            // Of a sound alone a picture shows the spectrogram.
            OutputKind::Both | OutputKind::Clip if sounds => true,
            OutputKind::Both => shown,
            OutputKind::Clip => seen,
            OutputKind::Sound => {
                task.spec("audio").has_target() && !matches!(task.spec("video"), MaskSpec::Target | MaskSpec::Image)
            }
        };
        video && audio && held
    };
    if let Some(name) = &request.task {
        let Some(task) = tasks.iter().find(|task| task.name == *name) else {
            let known: Vec<&str> = tasks.iter().map(|task| &*task.name).collect();
            let error = Error::new(ErrorKind::Unsupported, "--task", format!("this recipe has no task `{name}`"));
            return Err(error.hint(format!("name one of {}", known.join(", "))));
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
        let sound = task.spec("audio") == MaskSpec::Target;
        let of_clip = usize::from(
            matches!(task.spec("video"), MaskSpec::Absent | MaskSpec::Image) == (holds == OutputKind::Sound),
        );
        (of_clip, sound == (holds != OutputKind::Clip), extent(task, &inputs.clips))
    };
    let found = tasks.iter().filter(|task| fits(task)).max_by_key(rank);
    let short = || tasks.iter().find(|task| sounds && audio.is_some() && task.spec("audio").has_ends());
    found.cloned().ok_or_else(|| match short().filter(|task| !long_enough(task, inputs)) {
        Some(task) => too_short(task, inputs),
        None => refused(tasks, "this model was not trained for what is given here".to_owned()),
    })
}

/// What is given is shorter than what a task takes of an end.
fn too_short(task: &Task, inputs: &Inputs) -> Error {
    let (needs, found) = match (task.seconds, inputs.clips.first(), &inputs.sound) {
        (Some(seconds), _, Some(sound)) => (format!("{seconds} s"), format!("{:.2} s", sound.seconds())),
        (_, Some(clip), _) => (format!("{} frames", task.frames_at(clip)), clip.frames().to_string()),
        _ => (format!("{} frames", task.frames), "less".to_owned()),
    };
    let message = format!("`{}` needs {needs} of what is given, and there are {found}", task.name);
    Error::new(ErrorKind::Unsupported, "generate", message).hint("give a longer file")
}

/// Whether the media that are there are as long as what the task is given of their ends.
fn long_enough(task: &Task, inputs: &Inputs) -> bool {
    let clips = !task.spec("video").has_ends() || inputs.clips.iter().all(|clip| task.frames_at(clip) <= clip.frames());
    let sound = match (&inputs.sound, task.seconds) {
        (Some(sound), Some(seconds)) if task.spec("audio").has_ends() => {
            (seconds * sound.rate().as_f64()).round() as usize <= sound.length()
        }
        _ => true,
    };
    clips && sound
}

/// How much a task is given of an end: in frames where there are clips, else in frames or thousandths of a second, as it
/// says itself.
fn extent(task: &Task, clips: &[Clip]) -> usize {
    match (clips.first(), task.seconds) {
        (Some(clip), _) => task.frames_at(clip),
        (None, Some(seconds)) => (1e3 * seconds).round() as usize,
        (None, None) => task.frames,
    }
}

/// Whether a model of these tasks has to do with sounds, and with no clips at all.
pub(super) fn sounds_alone(tasks: &[Task]) -> bool {
    let is = |track: &'static str| tasks.iter().any(move |task| task.spec(track) != MaskSpec::Absent);
    is("audio") && !is("video")
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
    use musiva_core::{Mask, Rate, Sound};

    fn task(name: &str, video: MaskSpec, audio: MaskSpec, frames: usize) -> Task {
        Task { frames, ..Task::new(name, [("video", video), ("audio", audio)]) }
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

    fn chosen_of(tasks: &[Task], program: &Continuation, request: &GenerateRequest) -> Result<String> {
        Plan::new(program, tasks, request).map(|plan| plan.outline().tasks.join(", "))
    }

    fn chosen(program: &Continuation, request: &GenerateRequest) -> Result<String> {
        chosen_of(&tasks(), program, request)
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
    fn a_clip_that_is_given_whole_is_no_clip_that_is_made() {
        let clip = |inputs: &Inputs| GenerateRequest { output: OutputKind::Clip, ..of(inputs) };
        let error = chosen(&ONCE, &clip(&clips(&[17]))).unwrap_err().to_string();
        assert!(error.contains("not trained for what is given"), "{error}");
        for (inputs, name) in [(clips(&[1]), "i2v"), (clips(&[7, 5]), "connection")] {
            assert_eq!(chosen(&ONCE, &clip(&inputs)).unwrap(), name);
        }
    }

    #[test]
    fn one_clip_its_sound_or_both_are_changed() {
        let told = |clips, still, sound| check_edit(clips, still, sound).map_err(|error| error.message().to_owned());
        for (clips, sound) in [(1, false), (0, true), (1, true)] {
            assert_eq!(told(clips, false, sound), Ok(()));
        }
        let nothing = Err("there is no clip and no sound to change".to_owned());
        // An image is no clip.
        assert_eq!([told(0, false, false), told(1, true, false)], [nothing.clone(), nothing]);
        let more = Err("one clip is changed, and more is given".to_owned());
        assert_eq!(
            [told(2, false, false), told(2, false, true), told(1, true, true)],
            [more.clone(), more.clone(), more]
        );
    }

    #[test]
    fn a_model_of_sounds_alone_makes_sounds_and_goes_on_with_them() {
        let from_text = Task::new("text-to-audio", [("audio", MaskSpec::Target)]);
        let goes_on = Task { seconds: Some(1.0), ..Task::new("audio-continuation", [("audio", MaskSpec::First)]) };
        let tasks = [from_text, goes_on];
        let seconds = |seconds: usize| {
            let sound = Sound::new(1, Rate::whole(16_000), vec![0.0; 16_000 * seconds]).unwrap();
            Inputs { sound: Some(sound), ..Inputs::default() }
        };
        let extend = || Continuation::once().extend(2.0);
        let nothing = Inputs::default();
        for output in [OutputKind::Sound, OutputKind::Both] {
            let request = |inputs: &Inputs| GenerateRequest { output, ..of(inputs) };
            let name = |program: &Continuation, inputs: &Inputs| chosen_of(&tasks, program, &request(inputs)).unwrap();
            assert_eq!(name(&ONCE, &nothing), "text-to-audio");
            assert_eq!(name(&ONCE, &seconds(3)), "audio-continuation");
            // A sound that is there is its own first piece; else one is made.
            assert_eq!(name(&extend(), &seconds(1)), "audio-continuation");
            assert!(Plan::new(&extend(), &tasks, &request(&seconds(1))).unwrap().first.is_none());
            assert_eq!(name(&extend(), &nothing), "text-to-audio, audio-continuation");
            // What is changed is made anew, and then goes on.
            let edit = GenerateRequest { strength: Some(0.5), ..request(&seconds(3)) };
            assert_eq!(chosen_of(&tasks, &ONCE, &edit).unwrap(), "text-to-audio");
            assert_eq!(chosen_of(&tasks, &extend(), &edit).unwrap(), "text-to-audio, audio-continuation");
            // A recipe that goes on does so, though a file of sound is all that is wanted.
            let recipe = Continuation::from(Extend { seconds: 2.0 });
            assert_eq!(name(&recipe, &nothing), "text-to-audio, audio-continuation");
            let by_name = GenerateRequest { task: Some("audio-continuation".into()), ..request(&seconds(3)) };
            assert_eq!(chosen_of(&tasks, &recipe, &by_name).unwrap(), "audio-continuation");
        }
        let wrong = |program: &Continuation, inputs: &Inputs, output| {
            chosen_of(&tasks, program, &GenerateRequest { output, ..of(inputs) }).unwrap_err().to_string()
        };
        // Half a second is too short for what goes on from one.
        let half = Sound::new(1, Rate::whole(16_000), vec![0.0; 8_000]).unwrap();
        let half = Inputs { sound: Some(half), ..Inputs::default() };
        for program in [&ONCE, &extend()] {
            assert!(
                wrong(program, &half, OutputKind::Sound).contains("needs 1 s of what is given, and there are 0.50 s")
            );
        }
        let before = Continuation::once().before(1.0);
        assert!(wrong(&before, &seconds(1), OutputKind::Sound).contains("continue before a sound"));
        // It writes nothing, and a picture shows a spectrogram.
        assert!(wrong(&ONCE, &nothing, OutputKind::Text).contains("not trained for what is given"));
        let picture = GenerateRequest { output: OutputKind::Clip, ..of(&nothing) };
        assert_eq!(chosen_of(&tasks, &ONCE, &picture).unwrap(), "text-to-audio");
        assert!(wrong(&ONCE, &clips(&[17]), OutputKind::Both).contains("not trained for what is given"));
    }

    #[test]
    fn seconds_are_counted_in_frames_of_the_clip() {
        // Of eight frames a second: eight frames are given, and four.
        let of_seconds =
            |name: &str, spec, seconds| Task { seconds: Some(seconds), ..Task::new(name, [("video", spec)]) };
        let tasks = [
            of_seconds("second", MaskSpec::First, 1.0),
            of_seconds("half", MaskSpec::First, 0.5),
            of_seconds("ends", MaskSpec::Ends, 0.5),
            task("i2v", MaskSpec::First, MaskSpec::Absent, 1),
            task("t2v", MaskSpec::Target, MaskSpec::Absent, 1),
        ];
        let extend = Continuation::once().extend(1.0);
        let name = |program: &Continuation, frames: &[usize]| chosen_of(&tasks, program, &of(&clips(frames)));
        assert_eq!(name(&ONCE, &[1]).unwrap(), "i2v");
        assert_eq!(name(&extend, &[3]).unwrap(), "i2v");
        assert_eq!(name(&extend, &[7]).unwrap(), "half");
        assert_eq!(name(&extend, &[8]).unwrap(), "second");
        assert_eq!(name(&extend, &[]).unwrap(), "t2v, second");
        assert_eq!(name(&ONCE, &[4, 5]).unwrap(), "ends");
        assert!(name(&ONCE, &[4, 3]).is_err());
    }

    #[test]
    fn a_caption_is_made_where_a_text_is_wanted_and_never_else() {
        use OutputKind::*;
        let caption = Task::new("caption", [("video", MaskSpec::Context), ("text", MaskSpec::Target)]);
        let mut tasks = tasks();
        let outputs = [Both, Clip, Sound, Text];
        let heard = Inputs { sound: Some(sound()), ..Inputs::default() };
        let masked = Inputs { mask: Some(Mask::new([17, 2, 2], |_, _, x| x == 0)), ..clips(&[17]) };
        let both = Inputs { sound: Some(sound()), ..clips(&[17]) };
        let inputs = [Inputs::default(), clips(&[1]), clips(&[17]), clips(&[9, 9]), heard, masked, both];
        let programs = [ONCE, Continuation::once().extend(2.0), Continuation::from(Extend { seconds: 2.0 })];
        let all = |tasks: &[Task]| {
            let mut all = Vec::new();
            for inputs in &inputs {
                for (program, strength) in programs.iter().flat_map(|program| [(program, None), (program, Some(0.5))]) {
                    for output in outputs {
                        let request = GenerateRequest { output, strength, ..of(inputs) };
                        all.push((output, inputs.clips.len(), chosen_of(tasks, program, &request).ok()));
                    }
                }
            }
            all
        };
        let without = all(&tasks);
        // First or last among the tasks, it changes nothing of what was chosen before.
        for at in [0, tasks.len()] {
            tasks.insert(at, caption.clone());
            for ((output, clips, with), (_, _, without)) in all(&tasks).into_iter().zip(&without) {
                match with.as_deref() {
                    Some("caption") => assert_eq!((output, clips, without), (Text, 1, &None)),
                    _ => assert_eq!(&with, without),
                }
            }
            let told = |program: &Continuation, inputs: &Inputs| {
                chosen_of(&tasks, program, &GenerateRequest { output: Text, ..of(inputs) })
            };
            let [once, extended, by_recipe] = &programs;
            assert_eq!(told(once, &clips(&[17])).unwrap(), "caption");
            // The recipe's program does not go on with a text, and a flag that asks for it is refused.
            assert_eq!(told(by_recipe, &clips(&[17])).unwrap(), "caption");
            assert!(told(extended, &clips(&[17])).unwrap_err().to_string().contains("a text cannot be extended"));
            assert!(told(once, &Inputs::default()).is_err());
            let named = GenerateRequest { task: Some("caption".into()), ..of(&clips(&[17])) };
            assert!(chosen_of(&tasks, once, &named).unwrap_err().to_string().contains("output file"));
            tasks.remove(at);
        }
    }

    #[test]
    fn what_it_was_not_trained_for_is_refused_with_what_it_was() {
        let both = Inputs { sound: Some(sound()), ..clips(&[17]) };
        let wrong =
            |program: &Continuation, request: &GenerateRequest| chosen(program, request).unwrap_err().to_string();
        let error = wrong(&ONCE, &of(&both));
        assert!(error.contains("not trained for what is given") && error.contains("continuation"), "{error}");
        let before = Continuation::once().before(1.0);
        assert!(wrong(&before, &of(&both)).contains("continue before a clip and its sound"));
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
