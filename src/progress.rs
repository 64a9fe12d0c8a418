//! Bars, and how long each stage took.

use indicatif::{ProgressBar, ProgressStyle};
use std::time::{Duration, Instant};

/// A bar of `total` steps on the standard error, with the time left; silent where that is no terminal.
pub fn bar(total: u64, what: impl Into<String>) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar:.cyan/blue} {pos}/{len}, {eta} left");
    let bar = ProgressBar::new(total).with_message(what.into());
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Stages of a command and how long each took.
#[derive(Default)]
pub struct Stages(Vec<(&'static str, Duration)>);

impl Stages {
    /// Runs a stage, or goes on with it.
    pub fn time<T>(&mut self, name: &'static str, stage: impl FnOnce() -> T) -> T {
        let start = Instant::now();
        let value = stage();
        let took = start.elapsed();
        match self.0.iter_mut().find(|(stage, _)| *stage == name) {
            Some((_, so_far)) => *so_far += took,
            None => self.0.push((name, took)),
        }
        value
    }

    /// `load 0.12 s, sample 3.40 s`
    pub fn text(&self) -> String {
        let stages: Vec<_> = self.0.iter().map(|(name, took)| format!("{name} {:.2} s", took.as_secs_f64())).collect();
        stages.join(", ")
    }
}
