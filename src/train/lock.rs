//! One run at a time in a folder.

use musiva_core::{Error, ErrorKind, Result};
use musiva_train::trainer::Callbacks;
use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

/// The file that is locked; it says who has locked it.
pub const NAME: &str = "run.lock";

/// No process says more of itself.
const LONGEST: u64 = 4096;

/// A folder that no other run may use. The system releases it when the process ends, however it does, so the file that
/// is left behind locks nobody out.
pub struct RunLock {
    /// Locked as long as it is open.
    _file: File,
}

impl RunLock {
    /// Locks `folder`. Where the file system has no locks, the callbacks get a warning and nothing is locked.
    ///
    /// # Errors
    /// Where another process has locked it, or it cannot be written.
    pub fn take(folder: &Path, callbacks: &mut dyn Callbacks) -> Result<Self> {
        let path = folder.join(NAME);
        let failed = |error| {
            Error::io(&path, "lock the run's folder", error).hint("a run writes to its folder: name another by `--run`")
        };
        if path.is_symlink() {
            let message = "it is a link, and what it leads to is not ours to write";
            return Err(Error::new(ErrorKind::Io, path.display().to_string(), message)
                .hint("delete it, or name another folder by `--run`"));
        }
        let mut file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut who = String::new();
                // Who it is, is said as far as it can be read.
                let _ = file.take(LONGEST).read_to_string(&mut who);
                let who = if who.trim().is_empty() { "another process" } else { who.trim() };
                return Err(Error::new(
                    ErrorKind::Io,
                    folder.display().to_string(),
                    format!("a run is going on in it: {who}"),
                )
                .hint("wait for it, end it, or name another folder by `--run`"));
            }
            Err(TryLockError::Error(error)) => callbacks.warn(&format!(
                "{}: this file system has no locks ({error}): nothing keeps a second run out of it",
                folder.display()
            )),
        }
        file.set_len(0).and_then(|()| file.write_all(me().as_bytes())).map_err(failed)?;
        Ok(Self { _file: file })
    }
}

/// This process, in words.
fn me() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let on = if host.trim().is_empty() { String::new() } else { format!(" on {}", host.trim()) };
    let command: Vec<_> = std::env::args_os().map(|argument| argument.to_string_lossy().into_owned()).collect();
    format!("process {}{on}: {}\n", std::process::id(), command.join(" "))
}
