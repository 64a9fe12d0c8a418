//! Programs: one piece, or a clip that goes on piece by piece, by one prompt or by several.
//!
//! All three are a [`Continuation`]; `plan` chooses its tasks, `run` makes its pieces.

mod config;
mod plan;
mod run;
#[cfg(test)]
mod run_tests;

pub use config::{Extend, Moment, Once, PromptSchedule};
pub use plan::check_edit;

use musiva_core::{
    ConfigError, GenerateRequest, MaskSpec, Observer, Outline, Output, OutputKind, Pipeline, Program, Result, Task,
};
use plan::Plan;
use std::borrow::Cow;

/// A first piece, then more of it after and before, each from the last or the first frames of what is there.
///
/// ```
/// use musiva_models::programs::Continuation;
///
/// let program = Continuation::once().extend(4.0).then(2.0, "a blue ring moves left");
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Continuation {
    /// Seconds that are made after the first piece.
    after: Option<f64>,
    /// Seconds that are made before it.
    before: Option<f64>,
    /// Prompts by the second from which on they hold; one at 0 is that of the first piece, where the request has none.
    prompts: Vec<Moment>,
    /// Whether a recipe says so: then a request that says what is made stands above it.
    of_recipe: bool,
}

impl Continuation {
    /// One piece.
    pub const fn once() -> Self {
        Self { after: None, before: None, prompts: Vec::new(), of_recipe: false }
    }

    /// Extends the clip by this many seconds after its end.
    pub fn extend(self, seconds: f64) -> Self {
        Self { after: Some(seconds), ..self }
    }

    /// Extends the clip by this many seconds before its beginning.
    pub fn before(self, seconds: f64) -> Self {
        Self { before: Some(seconds), ..self }
    }

    /// With another prompt from a second on, for the pieces that begin then or later.
    pub fn then(mut self, at: f64, prompt: impl Into<String>) -> Self {
        self.prompts.push(Moment { at, prompt: prompt.into() });
        self
    }

    /// What holds for a request: of a part of a clip, of the way between two, of a task by its name, of a text, and of the
    /// sound of a model of clips no more is made because a recipe would go on.
    fn for_request(&self, tasks: &[Task], request: &GenerateRequest) -> Cow<'_, Self> {
        let inputs = &request.inputs;
        let says = inputs.mask.is_some() || inputs.clips.len() > 1 || request.task.is_some();
        let ends = match request.output {
            OutputKind::Text => true,
            OutputKind::Sound => !plan::sounds_alone(tasks),
            OutputKind::Both | OutputKind::Clip => false,
        };
        match self.of_recipe && (says || ends) {
            true => Cow::Owned(Self::once()),
            false => Cow::Borrowed(self),
        }
    }

    /// The program's own prompt of the first piece.
    fn first_prompt(&self) -> Option<&str> {
        self.prompts.iter().find(|moment| moment.at == 0.0).map(|moment| &*moment.prompt)
    }

    /// The prompt that begins last until a second, of those that begin after the first piece's.
    fn prompt_at(&self, second: f64) -> Option<&str> {
        let begun = self.prompts.iter().filter(|moment| moment.at > 0.0 && moment.at <= second + 1e-9);
        begun.max_by(|a, b| a.at.total_cmp(&b.at)).map(|moment| &*moment.prompt)
    }
}

impl Program for Continuation {
    fn errors(&self, tasks: &[Task], clip: f64) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let Some(seconds) = self.after else { return errors };
        let goes_on = |task: &Task| {
            let audio = task.spec("audio");
            match task.spec("video") {
                MaskSpec::First => matches!(audio, MaskSpec::Absent | MaskSpec::First),
                MaskSpec::Absent => audio == MaskSpec::First,
                _ => false,
            }
        };
        if !tasks.iter().any(goes_on) {
            let message = "the model has no task that goes on from the first frames of a clip";
            let hint = "add a `[[task]]` with `video = \"first\"` and train, or set `kind = \"once\"`";
            errors.push(ConfigError::new("kind", message, hint));
        }
        for (index, pair) in self.prompts.windows(2).enumerate().filter(|(_, pair)| pair[1].at <= pair[0].at) {
            let message = format!("the prompt at {} s follows one at {} s", pair[1].at, pair[0].at);
            let hint = format!("let it begin after {} s, or put it before", pair[0].at);
            errors.push(ConfigError::new(format!("prompts[{}].at", index + 1), message, hint));
        }
        let end = clip + seconds;
        for (index, late) in self.prompts.iter().enumerate().filter(|(_, moment)| moment.at >= end) {
            let message = format!("it begins at {} s, and the clip ends at {end} s", late.at);
            let hint = format!("let it begin earlier, or set `seconds` above {}", late.at - clip);
            errors.push(ConfigError::new(format!("prompts[{index}].at"), message, hint));
        }
        errors
    }

    fn summary(&self) -> String {
        let before = self.before.map(|seconds| format!(", {seconds} s before"));
        let after = self.after.map(|seconds| format!(", then {seconds} s more"));
        let prompts = self.prompts.iter().map(|moment| format!("; from {} s \"{}\"", moment.at, moment.prompt));
        let more: String = after.into_iter().chain(before).chain(prompts).collect();
        if more.is_empty() { "one piece".to_owned() } else { format!("a piece{more}") }
    }

    fn outline(&self, tasks: &[Task], request: &GenerateRequest) -> Result<Outline> {
        Ok(Plan::new(self, tasks, request)?.outline())
    }

    fn run(&self, pipeline: &Pipeline, request: &GenerateRequest, observer: &mut dyn Observer) -> Result<Vec<Output>> {
        let plan = Plan::new(self, pipeline.tasks(), request)?;
        run::run(&self.for_request(pipeline.tasks(), request), &plan, pipeline, request, observer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(video: MaskSpec, audio: MaskSpec) -> Task {
        Task::new("a", [("video", video), ("audio", audio)])
    }

    fn schedule(times: &[f64]) -> Continuation {
        times.iter().fold(Continuation::once().extend(3.0), |program, &at| program.then(at, "b"))
    }

    fn paths(program: &Continuation, tasks: &[Task]) -> Vec<String> {
        program.errors(tasks, 2.0).into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn to_go_on_takes_a_task_and_prompts_come_one_after_the_other() {
        let able = [task(MaskSpec::Target, MaskSpec::Target), task(MaskSpec::First, MaskSpec::First)];
        let none: [String; 0] = [];
        assert_eq!(paths(&Continuation::once(), &[]), none);
        assert_eq!(paths(&schedule(&[0.0, 1.5, 4.9]), &able), none);
        assert_eq!(paths(&schedule(&[1.0, 1.0, 0.5]), &able), ["prompts[1].at", "prompts[2].at"]);
        assert_eq!(paths(&schedule(&[1.0, 5.0]), &able), ["prompts[1].at"]);
        // Sounds go on without clips.
        let sounds = [task(MaskSpec::Absent, MaskSpec::Target), task(MaskSpec::Absent, MaskSpec::First)];
        assert_eq!(paths(&schedule(&[1.0]), &sounds), none);
        for unable in [
            task(MaskSpec::Absent, MaskSpec::Target),
            task(MaskSpec::Absent, MaskSpec::Last),
            task(MaskSpec::Target, MaskSpec::Target),
            task(MaskSpec::Last, MaskSpec::Absent),
            task(MaskSpec::First, MaskSpec::Target),
        ] {
            assert_eq!(paths(&Continuation::once().extend(1.0), &[unable]), ["kind"]);
        }
    }

    #[test]
    fn a_prompt_holds_from_its_second_until_the_next() {
        let program = Continuation::once().extend(9.0).then(0.0, "a").then(3.0, "b").then(5.0, "c");
        assert_eq!(program.first_prompt(), Some("a"));
        let at = |second| program.prompt_at(second);
        assert_eq!([at(0.0), at(2.9), at(3.0), at(4.9), at(8.0)], [None, None, Some("b"), Some("b"), Some("c")]);
        assert_eq!(program.summary(), "a piece, then 9 s more; from 0 s \"a\"; from 3 s \"b\"; from 5 s \"c\"");
        assert_eq!(Continuation::once().summary(), "one piece");
    }
}
