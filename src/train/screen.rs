//! Who looks on while a run goes on: the terminal, and Ctrl-C.

use crate::output;
use crate::progress::bar;
use indicatif::ProgressBar;
use musiva_core::{Error, ErrorKind, Result};
use musiva_media::{Metadata, contact_sheet, write_sound};
use musiva_train::health::FailureMode;
use musiva_train::trainer::{Callbacks, Samples};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames of each clip on a sheet of samples.
const COLUMNS: usize = 9;
/// What a shell says of a command that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Whether the user asked to stop.
#[derive(Clone)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens to Ctrl-C and to the system's request to end. The second time ends at once.
    pub fn on_ctrl_c() -> Result<Self> {
        let asked = Arc::new(AtomicBool::new(false));
        let seen = asked.clone();
        ctrlc::set_handler(move || {
            if seen.swap(true, Ordering::SeqCst) {
                std::process::exit(INTERRUPTED);
            }
            eprintln!("stopping after this step; once more to stop at once");
        })
        .map_err(|error| Error::new(ErrorKind::Unsupported, "Ctrl-C", "cannot be listened to").caused_by(error))?;
        Ok(Self(asked))
    }

    fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }

    /// Ends the command where there is nothing yet that could be saved.
    pub fn leave_if_asked(&self) {
        if self.asked() {
            eprintln!("stopped before the first step: there is nothing to save");
            std::process::exit(INTERRUPTED);
        }
    }
}

/// A bar on a terminal, lines elsewhere.
pub struct Screen {
    bar: ProgressBar,
    folder: PathBuf,
    stop: Stop,
}

impl Screen {
    /// For a run of `steps` steps in `folder`.
    pub fn new(folder: &Path, steps: u64, stop: Stop) -> Self {
        Self { bar: bar(steps, "train"), folder: folder.to_owned(), stop }
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        match self.bar.is_hidden() {
            true => eprintln!("{text}"),
            false => self.bar.println(text),
        }
    }
}

impl Callbacks for Screen {
    fn step(&mut self, done: u64, total: u64, measures: Option<&[(String, f64)]>) {
        let first = self.bar.position() == 0;
        self.bar.set_position(done);
        if first {
            // Of a run that goes on, the steps before were not made just now.
            self.bar.reset_eta();
        }
        let Some(measures) = measures else { return };
        let text = said(measures);
        match self.bar.is_hidden() {
            true => eprintln!("step {done}/{total}  {text}"),
            false => self.bar.set_message(text),
        }
    }

    fn failing(&mut self, step: u64, failure: FailureMode) {
        let (name, hint) = failure.describe();
        self.line(&format!("warning: step {step}: {name}\n  hint: {hint}"));
    }

    fn samples(&mut self, step: u64, samples: &Samples) -> Result<()> {
        let path = self.folder.join("samples").join(format!("{step:08}.png"));
        output::prepare(&path, &["png"])?;
        output::write(&path, &contact_sheet(&samples.clips, COLUMNS, &[])?, &Metadata::new(), None)?;
        for (i, sound) in samples.sounds.iter().enumerate() {
            write_sound(output::numbered(&path.with_extension("wav"), i), sound, &Metadata::new())?;
        }
        self.line(&format!("step {step}  {}  {}", said(&samples.measures), path.display()));
        Ok(())
    }

    fn saved(&mut self, step: u64, path: &Path) {
        tracing::info!("step {step}: saved {}", path.display());
    }

    fn stop(&self) -> bool {
        self.stop.asked()
    }
}

/// `loss 0.123  learning_rate 0.001`
fn said(measures: &[(String, f64)]) -> String {
    let all: Vec<_> = measures.iter().map(|(name, value)| format!("{name} {}", digits(*value))).collect();
    all.join("  ")
}

/// Four significant digits or so.
fn digits(value: f64) -> String {
    match value.abs() {
        size if size != 0.0 && size < 1e-2 => format!("{value:.2e}"),
        size if size >= 100.0 => format!("{value:.0}"),
        _ => format!("{value:.4}"),
    }
}
