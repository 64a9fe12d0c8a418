//! The user's folder for what can be made again.

use crate::save::can_write;
use musiva_core::{Error, ErrorKind, Result};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// Where there is no home, or one that cannot be written.
static INSTEAD: OnceLock<PathBuf> = OnceLock::new();

/// The user's folder for what can be made again: `MUSIVA_CACHE`, or the platform's; where there is none, or it cannot be
/// written, one of the user's own beside the temporary files.
///
/// # Errors
/// Where there is no room for one either.
pub fn cache() -> Result<PathBuf> {
    if let Some(folder) = set("MUSIVA_CACHE") {
        return Ok(folder);
    }
    let usual = set("XDG_CACHE_HOME")
        .or_else(|| set("LOCALAPPDATA"))
        .map(|folder| folder.join("musiva"))
        .or_else(|| set("HOME").map(|home| home.join(".cache").join("musiva")));
    if let Some(folder) = usual.filter(|folder| INSTEAD.get().is_none() && can_write(folder).is_ok()) {
        return Ok(folder);
    }
    match INSTEAD.get() {
        Some(folder) => Ok(folder.clone()),
        None => {
            let folder = temporary()?;
            Ok(INSTEAD.get_or_init(|| folder).clone())
        }
    }
}

/// What is to be said of the folder, where it is not the usual one.
pub(crate) fn said() -> Option<String> {
    let folder = INSTEAD.get()?.display();
    Some(format!("there is no folder for caches that can be written: what can be made again lies in {folder}"))
}

/// How to choose another.
pub(crate) const HINT: &str = "set MUSIVA_CACHE to a folder that can be written";

/// A variable of the environment that says something.
pub(crate) fn set(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// A folder among the temporary files that nobody else can write.
fn temporary() -> Result<PathBuf> {
    let base = env::temp_dir();
    let failed = |folder: &Path, error| Error::io(folder, "make a folder for caches", error).hint(HINT);
    #[cfg(unix)]
    {
        use std::os::unix::fs::{DirBuilderExt, MetadataExt};
        let user = musiva_plugin_host::user();
        let folder = base.join(format!("musiva-{user}"));
        match fs::DirBuilder::new().mode(0o700).create(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => return Err(failed(&folder, error)),
            _ => {}
        }
        // Others may have been here first: what they could change is not to be trusted.
        let found = fs::symlink_metadata(&folder).map_err(|error| failed(&folder, error))?;
        match found.is_dir() && found.uid() == user && found.mode() & 0o022 == 0 {
            true => Ok(folder),
            false => {
                let message = "it is no folder that this user alone can write";
                Err(Error::new(ErrorKind::Io, folder.display().to_string(), message).hint(HINT))
            }
        }
    }
    #[cfg(not(unix))]
    {
        let folder = base.join("musiva");
        fs::create_dir_all(&folder).map_err(|error| failed(&folder, error))?;
        Ok(folder)
    }
}
