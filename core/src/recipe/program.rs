//! `[program]`: how far `generate` goes on where the command does not say.

use crate::{ConfigError, MaskSpec, Task};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;

/// How far a clip that is made goes on, where the command says nothing else: `[program]`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProgramSettings {
    /// It does not: one piece, as long as the recipe's clips. What a recipe without this table does.
    #[default]
    Once,
    /// It goes on from its last frames, piece by piece: `--extend`.
    Extend {
        /// For so many seconds more.
        #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 3600.0))]
        seconds: f64,
    },
    /// It goes on, and in time other prompts hold: `--extend` with `--then`.
    PromptSchedule {
        /// For so many seconds more.
        #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 3600.0))]
        seconds: f64,
        /// The prompts, one after the other. One at 0 is that of the first piece, where the command names none.
        #[schemars(length(min = 1))]
        prompts: Vec<Moment>,
    },
}

/// A prompt and when it begins.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Moment {
    /// The second of the clip from which on it holds, for the pieces that begin then or later.
    #[schemars(range(min = 0.0, max = 7200.0))]
    pub at: f64,
    /// What is to be seen and heard.
    pub prompt: String,
}

impl ProgramSettings {
    /// How many seconds it goes on for; `None` where it does not.
    pub fn seconds(&self) -> Option<f64> {
        match self {
            Self::Once => None,
            Self::Extend { seconds } | Self::PromptSchedule { seconds, .. } => Some(*seconds),
        }
    }

    /// The prompts of a schedule.
    pub fn prompts(&self) -> &[Moment] {
        match self {
            Self::PromptSchedule { prompts, .. } => prompts,
            _ => &[],
        }
    }

    /// What is wrong with it for a model of these tasks, whose clips last so many seconds.
    pub fn errors(&self, tasks: &[Task], clip: f64) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        let Some(seconds) = self.seconds() else { return errors };
        let goes_on =
            |task: &Task| task.video == MaskSpec::First && matches!(task.audio, MaskSpec::Absent | MaskSpec::First);
        if !tasks.iter().any(goes_on) {
            let message = "the model has no task that goes on from the first frames of a clip";
            let hint = "add a `[[task]]` with `video = \"first\"` and train, or set `kind = \"once\"`";
            errors.push(ConfigError::new("kind", message, hint));
        }
        let prompts = self.prompts();
        for (index, pair) in prompts.windows(2).enumerate().filter(|(_, pair)| pair[1].at <= pair[0].at) {
            let message = format!("the prompt at {} s follows one at {} s", pair[1].at, pair[0].at);
            let hint = format!("let it begin after {} s, or put it before", pair[0].at);
            errors.push(ConfigError::new(format!("prompts[{}].at", index + 1), message, hint));
        }
        let end = clip + seconds;
        for (index, late) in prompts.iter().enumerate().filter(|(_, moment)| moment.at >= end) {
            let message = format!("it begins at {} s, and the clip ends at {end} s", late.at);
            let hint = format!("let it begin earlier, or set `seconds` above {}", late.at - clip);
            errors.push(ConfigError::new(format!("prompts[{index}].at"), message, hint));
        }
        errors
    }
}

impl fmt::Display for ProgramSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(seconds) = self.seconds() else { return f.write_str("one piece") };
        write!(f, "a piece, then {seconds} s more")?;
        self.prompts().iter().try_for_each(|moment| write!(f, "; from {} s \"{}\"", moment.at, moment.prompt))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn task(video: MaskSpec, audio: MaskSpec) -> Task {
        Task { name: "a".into(), video, audio, frames: 1, weight: 1.0 }
    }

    fn schedule(times: &[f64]) -> ProgramSettings {
        let moment = |&at: &f64| Moment { at, prompt: "b".into() };
        ProgramSettings::PromptSchedule { seconds: 3.0, prompts: times.iter().map(moment).collect() }
    }

    fn paths(program: &ProgramSettings, tasks: &[Task]) -> Vec<String> {
        program.errors(tasks, 2.0).into_iter().map(|error| error.path).collect()
    }

    #[test]
    fn to_go_on_takes_a_task_and_prompts_come_one_after_the_other() {
        let able = [task(MaskSpec::Target, MaskSpec::Target), task(MaskSpec::First, MaskSpec::First)];
        let none: [String; 0] = [];
        assert_eq!(paths(&ProgramSettings::Once, &[]), none);
        assert_eq!(paths(&schedule(&[0.0, 1.5, 4.9]), &able), none);
        assert_eq!(paths(&schedule(&[1.0, 1.0, 0.5]), &able), ["prompts[1].at", "prompts[2].at"]);
        assert_eq!(paths(&schedule(&[1.0, 5.0]), &able), ["prompts[1].at"]);
        for unable in [
            task(MaskSpec::Target, MaskSpec::Target),
            task(MaskSpec::Last, MaskSpec::Absent),
            task(MaskSpec::First, MaskSpec::Target),
        ] {
            assert_eq!(paths(&ProgramSettings::Extend { seconds: 1.0 }, &[unable]), ["kind"]);
        }
    }
}
