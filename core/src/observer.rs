//! Who looks on while work is done: callbacks instead of printing.

use crate::program::Output;
use crate::{CanvasTokens, Result};
use std::time::{Duration, Instant};

/// Callbacks of generating, measuring and tokenizing.
///
/// # For who implements it
/// Each method does nothing unless it is overridden; `()` overrides none. An error from one of those that return a
/// result cancels the work, and is what the work returns.
pub trait Observer {
    /// A step that was taken, in a line: a file was read, resized, cut.
    fn note(&mut self, _text: &str) {}

    /// Something that may not be what was meant, in a line. The work goes on.
    fn warn(&mut self, _text: &str) {}

    /// `done` of `total` parts of a stage are done.
    fn progress(&mut self, _stage: &str, _done: usize, _total: usize) -> Result<()> {
        Ok(())
    }

    /// A part of a stage took so long; stages come again.
    fn took(&mut self, _stage: &'static str, _time: Duration) {}

    /// The tokens of a piece of a sample (both counted from 0), before they are decoded.
    fn tokens(&mut self, _sample: usize, _piece: usize, _tokens: &CanvasTokens) -> Result<()> {
        Ok(())
    }

    /// A preview: a piece of a sample, decoded, before the sample is whole.
    fn preview(&mut self, _sample: usize, _piece: usize, _output: &Output) -> Result<()> {
        Ok(())
    }
}

impl Observer for () {}

impl dyn Observer + '_ {
    /// Does some of the work of a stage, and says how long it took.
    pub fn time<T>(&mut self, stage: &'static str, work: impl FnOnce(&mut dyn Observer) -> T) -> T {
        let start = Instant::now();
        let value = work(self);
        self.took(stage, start.elapsed());
        value
    }
}
