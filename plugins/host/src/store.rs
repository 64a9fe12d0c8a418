//! Who may have written a library, which bytes it has, and the private copy that is loaded.
//!
//! A library is opened once, without following a link; who owns it and who may write it is asked of the open file; its
//! bytes are hashed in memory and written to a folder that only the user can write. What is loaded is that copy, so
//! that nobody can change the file between the check and the load, or under a mapping later on.

use crate::wrong;
use musiva_core::{Error, Result, files};
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::Read;
use std::path::{Path, PathBuf};

/// No library is larger.
const LARGEST: u64 = 1 << 30;

/// A library whose path has been looked at, in memory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Vetted {
    /// Where it was.
    pub path: PathBuf,
    /// SHA-256 of its bytes.
    pub sha256: String,
    bytes: Vec<u8>,
}

/// Reads a library whose path nobody else can write.
///
/// # Errors
/// Where it is a link or no regular file, where another user owns it or a folder above it, or may write one of them.
pub fn vet(path: &Path) -> Result<Vetted> {
    let path = std::path::absolute(path).map_err(|error| Error::io(path, "find it", error))?;
    let place = path.display().to_string();
    let failed = |error| Error::io(&path, "read it", error);
    let link = fs::symlink_metadata(&path).map_err(failed)?.file_type().is_symlink();
    if link {
        return Err(
            wrong(place, "it is a link, which could lead elsewhere the next time").hint("put the file itself there")
        );
    }
    let mut file = open(&path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() {
        return Err(wrong(place, "it is no regular file"));
    }
    mine(&path, &metadata, false)?;
    let mut below = path.as_path();
    while let Some(folder) = below.parent() {
        let metadata = fs::metadata(folder).map_err(|error| Error::io(folder, "look at it", error))?;
        mine(folder, &metadata, true)?;
        below = folder;
    }
    let mut bytes = Vec::new();
    (&mut file).take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > LARGEST {
        return Err(wrong(place, format!("it is larger than {LARGEST} bytes")));
    }
    Ok(Vetted { sha256: files::sha256(&bytes), path, bytes })
}

#[cfg(target_os = "linux")]
fn open(path: &Path) -> std::io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    // Of asm-generic/fcntl.h; a link that appears between the look and the opening is not followed.
    const O_NOFOLLOW: i32 = if cfg!(target_arch = "aarch64") { 0o100_000 } else { 0o400_000 };
    OpenOptions::new().read(true).custom_flags(O_NOFOLLOW).open(path)
}

#[cfg(not(target_os = "linux"))]
fn open(path: &Path) -> std::io::Result<File> {
    OpenOptions::new().read(true).open(path)
}

/// The user that this process acts as.
#[cfg(unix)]
pub fn user() -> u32 {
    unsafe extern "C" {
        fn geteuid() -> u32;
    }
    // SAFETY: POSIX; it takes nothing, touches nothing and never fails.
    unsafe { geteuid() }
}

/// Sees to it that only the user and the administrator can write a file or folder.
#[cfg(unix)]
fn mine(path: &Path, metadata: &Metadata, folder: bool) -> Result<()> {
    use std::os::unix::fs::MetadataExt;
    let place = path.display().to_string();
    if metadata.uid() != 0 && metadata.uid() != user() {
        return Err(wrong(place, format!("it belongs to another user ({})", metadata.uid()))
            .hint("copy the plugin to a folder of your own"));
    }
    // In a folder such as /tmp others may make files, but cannot replace those of the user.
    let sticky = folder && metadata.mode() & 0o1000 != 0;
    if metadata.mode() & 0o022 != 0 && !sticky {
        let what = if folder { "folder" } else { "file" };
        return Err(wrong(
            place.clone(),
            format!("other users may write this {what} (mode {:03o})", metadata.mode() & 0o777),
        )
        .hint(format!("chmod go-w '{place}'")));
    }
    Ok(())
}

#[cfg(not(unix))]
fn mine(_: &Path, _: &Metadata, _: bool) -> Result<()> {
    Ok(())
}

impl Vetted {
    /// Sees to it that these are the bytes that were asked for.
    ///
    /// # Errors
    /// Where they are others.
    pub fn expect(&self, sha256: &str, who: &str) -> Result<()> {
        if self.sha256.eq_ignore_ascii_case(sha256) {
            return Ok(());
        }
        let message = format!("its sha256 is {}, {who} requires {sha256}", self.sha256);
        Err(wrong(self.path.display().to_string(), message)
            .hint("install the version that is asked for; or, if this one is right, change what asks for the other"))
    }

    /// Puts the bytes into the store, where they are not there yet: the path to load.
    ///
    /// # Errors
    /// Where the store cannot be written, or others could write it.
    pub fn put(&self, store: &Path) -> Result<PathBuf> {
        private_folder(store)?;
        let path = store.join(format!("{}.{}", self.sha256, std::env::consts::DLL_EXTENSION));
        let same = |path: &Path| {
            let file = vet(path).ok();
            file.is_some_and(|file| file.sha256 == self.sha256)
        };
        if !same(&path) {
            files::write(&path, &self.bytes)?;
            permit(&path, 0o500)?;
            if !same(&path) {
                return Err(wrong(path.display().to_string(), "it is not what was written there a moment ago"));
            }
        }
        Ok(path)
    }
}

/// Makes a folder that only the user can look into.
pub(crate) fn private_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).map_err(|error| Error::io(folder, "make it", error))?;
    permit(folder, 0o700)
}

/// Sets who may do what.
#[cfg(unix)]
pub(crate) fn permit(path: &Path, mode: u32) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let permissions = fs::Permissions::from_mode(mode);
    fs::set_permissions(path, permissions).map_err(|error| Error::io(path, "make it private", error))
}

/// Sets who may do what.
#[cfg(not(unix))]
pub(crate) fn permit(_: &Path, _: u32) -> Result<()> {
    Ok(())
}

#[cfg(all(test, unix))]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn library() -> (tempfile::TempDir, PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("liba.so");
        fs::write(&path, b"not a library").unwrap();
        permit(&path, 0o644).unwrap();
        (folder, path)
    }

    #[test]
    fn the_bytes_that_were_hashed_are_those_that_are_loaded() {
        let (folder, path) = library();
        let vetted = vet(&path).unwrap();
        fs::write(&path, b"changed after the check").unwrap();
        let store = folder.path().join("store");
        let stored = vetted.put(&store).unwrap();
        assert_eq!(fs::read(&stored).unwrap(), b"not a library");
        permit(&stored, 0o700).unwrap();
        fs::write(&stored, b"changed in the store").unwrap();
        assert_eq!(fs::read(vetted.put(&store).unwrap()).unwrap(), b"not a library");
        let error = vetted.expect(&"0".repeat(64), "the recipe").unwrap_err().to_string();
        assert!(error.contains("the recipe requires 000"));
    }

    #[test]
    fn paths_that_others_can_write_are_refused() {
        let (folder, path) = library();
        permit(&path, 0o666).unwrap();
        assert!(vet(&path).unwrap_err().to_string().contains("may write this file (mode 666)"));
        permit(&path, 0o600).unwrap();
        permit(folder.path(), 0o777).unwrap();
        assert!(vet(&path).unwrap_err().to_string().contains("may write this folder"));
        permit(folder.path(), 0o700).unwrap();
        vet(&path).unwrap();
        let link = folder.path().join("link.so");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        assert!(vet(&link).unwrap_err().to_string().contains("it is a link"));
        assert!(vet(folder.path()).unwrap_err().to_string().contains("no regular file"));
        assert!(vet(&folder.path().join("gone.so")).is_err());
    }
}
