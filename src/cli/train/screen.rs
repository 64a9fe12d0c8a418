//! Who looks on while a run goes on: the terminal, and Ctrl-C.

use crate::cli::progress::bar;
use indicatif::ProgressBar;
use musiva::media::{Metadata, contact_sheet, write_sound};
use musiva::train::{Callbacks, FailureMode, Samples};
use musiva::{Error, ErrorKind, Result, save};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Frames of each clip on a sheet of samples.
const COLUMNS: usize = 9;
/// What a shell says of a command that Ctrl-C ended.
const INTERRUPTED: i32 = 130;

/// Whether the user asked to stop.
#[derive(Clone, Default)]
pub struct Stop(Arc<AtomicBool>);

impl Stop {
    /// Listens to Ctrl-C and to the system's request to end. The second time ends at once.
    pub fn on_ctrl_c(&self) -> Result<()> {
        let asked = self.0.clone();
        let listens = ctrlc::set_handler(move || {
            if asked.swap(true, Ordering::SeqCst) {
                std::process::exit(INTERRUPTED);
            }
            eprintln!("stopping after this step; once more to stop at once");
        });
        listens.map_err(|error| Error::new(ErrorKind::Unsupported, "Ctrl-C", "cannot be listened to").caused_by(error))
    }

    fn asked(&self) -> bool {
        self.0.load(Ordering::SeqCst)
    }
}

/// A bar on a terminal, lines elsewhere.
pub struct Screen {
    bar: ProgressBar,
    /// While samples are made ready.
    preparing: Option<ProgressBar>,
    folder: PathBuf,
    stop: Stop,
}

impl Screen {
    /// For a run of `steps` steps in `folder`.
    pub fn new(folder: &Path, steps: u64, stop: Stop) -> Self {
        Self { bar: bar(steps, "train"), preparing: None, folder: folder.to_owned(), stop }
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
    fn prepare(&mut self, what: &str, done: u64, total: u64) -> Result<()> {
        let bar = self.preparing.get_or_insert_with(|| bar(total, what));
        bar.set_position(done);
        if done >= total {
            bar.finish_and_clear();
            self.preparing = None;
        }
        match self.stop.asked() {
            true => {
                Err(Error::new(ErrorKind::Interrupted, "", "stopped before the first step: there is nothing to save"))
            }
            false => Ok(()),
        }
    }

    fn warn(&mut self, text: &str) {
        self.line(&format!("note: {text}"));
    }

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

    fn samples(&mut self, step: u64, look: &Samples) -> Result<()> {
        let path = self.folder.join("samples").join(format!("{step:08}.png"));
        save::prepare(&path, &["png"])?;
        if !look.clips.is_empty() {
            save::write(&path, &contact_sheet(&look.clips, COLUMNS, &[])?, &Metadata::new(), None)?;
        }
        if !look.texts.is_empty() {
            musiva::files::write(&path.with_extension("txt"), format!("{}\n", look.texts.join("\n")).as_bytes())?;
        }
        for (i, sound) in look.sounds.iter().enumerate() {
            write_sound(save::numbered(&path.with_extension("wav"), i), sound, &Metadata::new())?;
        }
        self.line(&format!("step {step}  {}  {}", said(&look.measures), path.display()));
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
