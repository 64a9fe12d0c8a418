//! Who looks on while a run goes on: the terminal, and Ctrl-C.

use crate::cli::print::tell;
use crate::cli::progress::bar;
use indicatif::ProgressBar;
use musiva::media::{Metadata, SheetRow, contact_sheet, write_sound};
use musiva::train::{Callbacks, FailureMode, Samples};
use musiva::{Error, ErrorKind, Result, save};
use serde_json::{Value, json};
use std::fs::OpenOptions;
use std::io::Write;
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
            tell!("stopping after this step; once more to stop at once");
        });
        listens.map_err(|error| Error::new(ErrorKind::Unsupported, "Ctrl-C", "cannot be listened to").caused_by(error))
    }

    /// Whether there was one.
    pub fn asked(&self) -> bool {
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
    /// The last that were logged.
    measures: Vec<(String, Value)>,
}

impl Screen {
    /// For a run of `steps` steps in `folder`.
    pub fn new(folder: &Path, steps: u64, stop: Stop) -> Self {
        Self { bar: bar(steps, "train"), preparing: None, folder: folder.to_owned(), stop, measures: Vec::new() }
    }

    /// The last measures, by name.
    pub fn measures(&self) -> &[(String, Value)] {
        &self.measures
    }

    /// Takes the bar away.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }

    fn line(&self, text: &str) {
        match self.bar.is_hidden() {
            true => tell!("{text}"),
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
        self.measures = measures.iter().map(|(name, value)| (name.clone(), (*value).into())).collect();
        let text = said(measures);
        match self.bar.is_hidden() {
            true => tell!("step {done}/{total}  {text}"),
            false => self.bar.set_message(text),
        }
    }

    fn failing(&mut self, step: u64, failure: FailureMode) {
        let (name, hint) = failure.describe();
        self.line(&format!("warning: step {step}: {name}\n  hint: {hint}"));
    }

    fn samples(&mut self, step: u64, look: &Samples) -> Result<()> {
        let path = self.folder.join("samples").join(format!("{step:08}.png"));
        save::prepare(&path, &["png"], true)?;
        // A row for each sample, and above it what was asked for.
        let asked: Vec<String> = look.asked.iter().map(|asked| format!("{}: {}", asked.task, asked.prompt)).collect();
        let label = |i: usize| if asked.len() == look.clips.len() { asked[i].as_str() } else { "" };
        let rows: Vec<SheetRow> =
            look.clips.iter().enumerate().map(|(i, clip)| SheetRow::new(label(i), clip.clone())).collect();
        if !rows.is_empty() {
            save::write(&path, &contact_sheet(&rows, COLUMNS)?, &Metadata::new(), None)?;
        }
        let mut lines = String::new();
        for (i, asked) in look.asked.iter().enumerate() {
            lines += &format!("{}\n", json!({ "step": step, "sample": i, "task": asked.task, "prompt": asked.prompt }));
        }
        append(&self.folder.join("samples").join("index.jsonl"), &lines)?;
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

/// Adds lines to a file, which need not be there.
fn append(path: &Path, lines: &str) -> Result<()> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.and_then(|mut file| file.write_all(lines.as_bytes())).map_err(|error| Error::io(path, "write it", error))
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
