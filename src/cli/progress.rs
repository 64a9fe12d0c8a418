//! Bars, and how long each stage took.

use super::print::{say, tell};
use indicatif::{ProgressBar, ProgressStyle};
use musiva::{Observer, Result};
use serde_json::Value;
use std::time::Duration;

/// A bar of `total` steps on the standard error, with the time left; silent where that is no terminal.
pub fn bar(total: u64, what: impl Into<String>) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar:.cyan/blue} {pos}/{len}, {eta} left");
    let bar = ProgressBar::new(total).with_message(what.into());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// The terminal: notes on the standard output, bars and warnings on the standard error.
#[derive(Default)]
pub struct Screen {
    /// Of the stage that is under way.
    bar: Option<(String, ProgressBar)>,
    /// Stages and how long each took.
    stages: Vec<(&'static str, Duration)>,
    /// The standard output is for programs: notes go to the standard error.
    json: bool,
}

impl Screen {
    /// With `json`, nothing is said on the standard output.
    pub fn new(json: bool) -> Self {
        Self { bar: None, stages: Vec::new(), json }
    }

    /// Seconds of each stage, for programs.
    pub fn seconds(&self) -> Value {
        self.stages.iter().map(|(name, took)| ((*name).to_owned(), Value::from(took.as_secs_f64()))).collect()
    }

    /// `load 0.12 s, sample 3.40 s`
    pub fn stages(&self) -> String {
        let stages = self.stages.iter().map(|(name, took)| format!("{name} {:.2} s", took.as_secs_f64()));
        stages.collect::<Vec<_>>().join(", ")
    }

    /// Runs a stage, or goes on with it.
    pub fn time<T>(&mut self, stage: &'static str, work: impl FnOnce(&mut dyn Observer) -> T) -> T {
        (self as &mut dyn Observer).time(stage, work)
    }

    /// Takes the bar away.
    fn clear(&mut self) {
        if let Some((_, bar)) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

impl Observer for Screen {
    fn note(&mut self, text: &str) {
        let say = || if self.json { tell!("{text}") } else { say!("{text}") };
        match &self.bar {
            Some((_, bar)) => bar.suspend(say),
            None => say(),
        }
    }

    fn warn(&mut self, text: &str) {
        match &self.bar {
            Some((_, bar)) => bar.suspend(|| tell!("note: {text}")),
            None => tell!("note: {text}"),
        }
    }

    fn progress(&mut self, stage: &str, done: usize, total: usize) -> Result<()> {
        if self.bar.as_ref().is_none_or(|(of, _)| of != stage) {
            self.clear();
            self.bar = Some((stage.to_owned(), bar(total as u64, stage)));
        }
        if let Some((_, bar)) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
        }
        if done >= total {
            self.clear();
        }
        Ok(())
    }

    fn took(&mut self, stage: &'static str, time: Duration) {
        match self.stages.iter_mut().find(|(other, _)| *other == stage) {
            Some((_, so_far)) => *so_far += time,
            None => self.stages.push((stage, time)),
        }
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        self.clear();
    }
}
