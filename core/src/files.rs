//! Reading with a limit, writing whole or not at all.

use crate::{Error, ErrorKind, Result};
use sha2::{Digest, Sha256};
use std::{fs, io::Read, path::Path};

/// 2³⁰ bytes.
pub const GIGABYTE: u64 = 1 << 30;

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |e| Error::io(path, "read it", e);
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(ErrorKind::Io, path.display().to_string(), format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Writes `bytes` to `path` whole or not at all: to a temporary name in the same folder, synced to
/// the disk, then renamed. Missing folders are made.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |temporary| fs::write(temporary, bytes).map_err(|e| Error::io(path, "write it", e)))
}

/// Lets `write` make a temporary file beside `path`, then syncs and renames it. Where `write`
/// fails, nothing is left behind and what stood at `path` still stands there.
pub fn write_with(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let failed = |e| Error::io(path, "write it", e);
    let name = path.file_name().ok_or_else(|| {
        Error::new(ErrorKind::Io, path.display().to_string(), "not the name of a file")
            .mend("name a file, e.g. out.mp4")
    })?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    temporary.push(format!(".{}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let done = write(&temporary)
        .and_then(|()| fs::File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed))
        .and_then(|()| fs::rename(&temporary, path).map_err(failed));
    if done.is_err() {
        // The first error is the one to report; a file that was never made cannot be removed.
        let _ = fs::remove_file(&temporary);
    }
    done
}

/// SHA-256 of `bytes`, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/a.txt");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |temporary| {
            fs::write(temporary, b"half").unwrap();
            Err(Error::new(ErrorKind::Io, "", "the disk is full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_above_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, &[0; 11]).unwrap();
        assert!(read(&path, 10).is_err());
        assert_eq!(read(&path, 11).unwrap().len(), 11);
    }
}
