//! The first load of a library: in a child process, with a time limit.
//!
//! Opening a library runs its constructors before any check can be made. If they crash or hang, only the child does.

use crate::library::Report;
use crate::load::open;
use crate::wrong;
use musiva_core::{Error, Result, files};
use std::ffi::OsString;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// How to start a child process that calls [`probe`].
#[derive(Clone, Debug)]
pub struct Prober {
    /// A program and its first arguments; the library and the file for the report come after.
    pub command: Vec<OsString>,
    /// How long it may take.
    pub limit: Duration,
}

/// The child's side: loads a library, looks at all that it holds and writes a report. Whatever a constructor prints
/// does not get into it.
///
/// # Errors
/// Where the library cannot be loaded, or is not in order.
pub fn probe(library: &Path, report: &Path) -> Result<()> {
    let found = open(library)?.report()?;
    files::write(report, serde_json::to_string(&found).unwrap_or_default().as_bytes())
}

impl Prober {
    /// Has a child look at `library`, which is in the store under its hash. The report is kept beside it, so that a
    /// library is probed once.
    ///
    /// # Errors
    /// Where the child fails, crashes or does not end in time.
    pub fn probe(&self, library: &Path, id: &str) -> Result<Report> {
        let path = library.with_extension(format!("{}.json", env!("CARGO_PKG_VERSION")));
        if let Some(report) = kept(&path) {
            return Ok(report);
        }
        let (program, arguments) = self.command.split_first().expect("a prober has a command");
        let child = Command::new(program)
            .args(arguments)
            .args([library, &path])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn();
        let mut child = child.map_err(|error| Error::io(Path::new(program), "start it", error))?;
        let said = child.stderr.take();
        let listener = std::thread::spawn(move || {
            let mut words = Vec::new();
            // What was said until the end, or the error, is all there is.
            let _ = said.map(|said| std::io::Read::read_to_end(&mut std::io::Read::take(said, 64 << 10), &mut words));
            String::from_utf8_lossy(&words).trim().to_owned()
        });
        let Some(status) = wait(&mut child, self.limit) else {
            let message = format!("loading it takes longer than {} seconds", self.limit.as_secs_f32());
            return Err(wrong(id, message).hint("tell its author: a library's constructor hangs"));
        };
        let words = listener.join().unwrap_or_default();
        match status.success() {
            true => kept(&path).ok_or_else(|| wrong(id, "loading it ended the process before it could be looked at")),
            false => Err(wrong(id, failed(status, &words))),
        }
    }
}

fn kept(path: &Path) -> Option<Report> {
    serde_json::from_slice(&files::read(path, 64 << 20).ok()?).ok()
}

/// How the child ended; `None`: it was ended, for it had not by itself.
fn wait(child: &mut Child, limit: Duration) -> Option<ExitStatus> {
    let start = Instant::now();
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Some(status),
            Ok(None) if start.elapsed() < limit => std::thread::sleep(Duration::from_millis(3)),
            _ => {
                // It may have ended by itself since; the waiting collects it either way.
                let _ = child.kill();
                let _ = child.wait();
                return None;
            }
        }
    }
}

fn failed(status: ExitStatus, words: &str) -> String {
    match words.strip_prefix("error: ").unwrap_or(words) {
        words if status.code().is_some() && !words.is_empty() => words.to_owned(),
        _ => format!("loading it {}", ended(status)),
    }
}

/// How a process ended, in words that follow what ended it.
pub(crate) fn ended(status: ExitStatus) -> String {
    #[cfg(unix)]
    if let Some(signal) = std::os::unix::process::ExitStatusExt::signal(&status) {
        let name = match signal {
            4 => " (illegal instruction)",
            6 => " (abort)",
            7 => " (bus error)",
            8 => " (arithmetic)",
            9 => " (killed, perhaps for want of memory)",
            11 => " (segmentation fault)",
            _ => "",
        };
        return format!("crashes: signal {signal}{name}");
    }
    format!("ends the process: {status}")
}
