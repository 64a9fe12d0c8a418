//! Where plugins are looked for. Never in the working directory, and never by a bare name.

use crate::manifest::{MANIFEST, Manifest};
use musiva_core::Result;
use std::ffi::OsStr;
use std::path::{Path, PathBuf};

/// A plugin that was found, not loaded.
#[derive(Debug)]
pub struct Found {
    /// Its folder.
    pub folder: PathBuf,
    /// Its manifest, or what is wrong with it.
    pub manifest: Result<Manifest>,
}

/// The folders that plugins are looked for in: those `named`, those in the variable `MUSIVA_PLUGIN_PATH` (`path`), the
/// user's (below `data`) and the system's.
pub fn search_path(named: &[PathBuf], path: Option<&OsStr>, data: Option<&Path>) -> Vec<PathBuf> {
    let listed = path.map(std::env::split_paths).into_iter().flatten();
    let all = named.iter().cloned().chain(listed).chain(data.map(|data| data.join("musiva/plugins")));
    // A relative path in a variable would mean the working directory.
    let mut all: Vec<_> = all.filter(|folder| !folder.as_os_str().is_empty()).collect();
    for folder in &mut all[..named.len()] {
        *folder = std::path::absolute(&*folder).unwrap_or_default();
    }
    all.retain(|folder| folder.is_absolute());
    if cfg!(unix) {
        all.push("/usr/lib/musiva/plugins".into());
    }
    all
}

/// All plugins in these folders, in their order: each may be a plugin's own, or hold plugins' folders.
pub fn find(search: &[PathBuf]) -> Vec<Found> {
    let found = |folder: PathBuf| Found { manifest: Manifest::read(&folder), folder };
    let is_plugin = |folder: &PathBuf| folder.join(MANIFEST).exists();
    let mut all = Vec::new();
    for folder in search {
        if is_plugin(folder) {
            all.push(found(folder.clone()));
            continue;
        }
        let Ok(entries) = std::fs::read_dir(folder) else { continue };
        let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(is_plugin).collect();
        below.sort();
        all.extend(below.into_iter().map(found));
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_found_in_order_and_never_by_a_relative_variable() {
        let search =
            search_path(&["named".into()], Some(OsStr::new("plugins:/opt/a")), Some(Path::new("/home/x/data")));
        assert!(search[0].is_absolute() && search[0].ends_with("named"));
        let rest: Vec<_> = search[1..].iter().map(|path| path.to_str().unwrap()).collect();
        assert_eq!(rest, ["/opt/a", "/home/x/data/musiva/plugins", "/usr/lib/musiva/plugins"]);
        let folder = tempfile::tempdir().unwrap();
        for name in ["b", "a", "none"] {
            std::fs::create_dir(folder.path().join(name)).unwrap();
        }
        std::fs::write(folder.path().join("b").join(MANIFEST), "id = 3").unwrap();
        std::fs::write(folder.path().join("a").join(MANIFEST), "").unwrap();
        let found = find(&[folder.path().to_owned(), "/no/such/folder".into(), folder.path().join("b")]);
        let names: Vec<_> = found.iter().map(|found| found.folder.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a", "b", "b"]);
        assert!(found.iter().all(|found| found.manifest.is_err()));
    }
}
