//! What tells the files of a dataset from others, for who wants to know later whether the data are still the same.

use crate::scan::{CLIPS, SOUNDS};
use crate::{FolderConfig, MixtureConfig, SoundsConfig, WebDatasetConfig, captions, shards};
use musiva_core::{DatasetConfig, Error, Result, files};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    time::UNIX_EPOCH,
};

/// Folders within folders that are looked into, at most.
const DEPTH: usize = 16;
/// Names that a message lists.
const LISTED: usize = 3;

/// What tells files apart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Identify {
    /// By their sizes and the times of their last change: quick.
    #[default]
    Time,
    /// By their sizes and hashes of their content: all of it is read.
    Content,
}

/// The files of a dataset, each with what tells it from another of its name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity(BTreeMap<String, String>);

impl Identity {
    /// Of the files of a dataset: media, captions and metadata, or shards. `None`: of a dataset without files, or of a
    /// plugin's.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn of(config: &dyn DatasetConfig) -> Result<Option<Self>> {
        let config = config.as_any();
        let mut identity = Self::default();
        if let Some(FolderConfig { path, identity: by, .. }) = config.downcast_ref() {
            identity.folder(Path::new(path), "", CLIPS, *by, DEPTH)?;
        } else if let Some(WebDatasetConfig(FolderConfig { path, identity: by, .. })) = config.downcast_ref() {
            identity.shards(path, *by)?;
        } else if let Some(SoundsConfig { path, identity: by, .. }) = config.downcast_ref() {
            match shards::named(path) {
                true => identity.shards(path, *by)?,
                false => identity.folder(Path::new(path), "", SOUNDS, *by, DEPTH)?,
            }
        } else if let Some(MixtureConfig { sources }) = config.downcast_ref() {
            for (number, source) in (1..).zip(sources) {
                let Some(Self(own)) = Self::of(&*source.data)? else { continue };
                identity.0.extend(own.into_iter().map(|(name, mark)| (format!("source {number}: {name}"), mark)));
            }
        } else {
            return Ok(None);
        }
        Ok(Some(identity))
    }

    /// A hash of all of it.
    pub fn hash(&self) -> String {
        files::sha256(serde_json::to_string(&self.0).unwrap_or_default().as_bytes())
    }

    /// A hash of what is the same on every machine that has these files: names and sizes, and their content, where that
    /// was read.
    pub fn portable_hash(&self) -> String {
        let plain = |(name, mark): (&String, &String)| {
            let mark = mark.split_once(", changed").map_or(mark.as_str(), |(size, _)| size);
            format!("{name}\0{mark}\0")
        };
        files::sha256(self.0.iter().map(plain).collect::<String>().as_bytes())
    }

    /// What is otherwise than it was `before`, in words; `None`: nothing.
    pub fn changes(&self, before: &Self) -> Option<String> {
        let names = |of: &Self| of.0.keys().cloned().collect::<BTreeSet<_>>();
        let (now, then) = (names(self), names(before));
        let changed = now.intersection(&then).filter(|name| self.0[*name] != before.0[*name]).cloned().collect();
        let parts = [
            ("changed", changed),
            ("new", now.difference(&then).cloned().collect::<Vec<_>>()),
            ("gone", then.difference(&now).cloned().collect()),
        ];
        let told = |(what, names): &(&str, Vec<String>)| {
            let (is, more) = (if names.len() == 1 { "is" } else { "are" }, names.len() > LISTED);
            let listed = names.iter().take(LISTED).map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("{} {is} {what} ({listed}{})", names.len(), if more { ", …" } else { "" })
        };
        let parts: Vec<_> = parts.iter().filter(|(_, names)| !names.is_empty()).map(told).collect();
        (!parts.is_empty()).then(|| parts.join(", "))
    }

    fn shards(&mut self, path: &str, by: Identify) -> Result<()> {
        for path in shards::paths(path).unwrap_or_default() {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            self.0.insert(name, mark(&path, by)?);
        }
        Ok(())
    }

    /// Media, captions and metadata in `folder`, whose names start with `prefix`, and in `depth` levels below.
    fn folder(&mut self, folder: &Path, prefix: &str, media: &[&str], by: Identify, depth: usize) -> Result<()> {
        let listed = fs::read_dir(folder).and_then(|entries| entries.collect::<std::io::Result<Vec<_>>>());
        let entries = match listed {
            Ok(entries) => entries,
            // What is not there, or cannot be looked into below, is no part of the data; opening them says so.
            Err(error) if depth < DEPTH || error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io(folder, "list the folder", error)),
        };
        for entry in entries {
            let (path, file) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let name = format!("{prefix}{file}");
            let is = |known: &&str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(known));
            if file.starts_with('.') {
                continue;
            }
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if depth > 0 {
                    self.folder(&path, &format!("{name}/"), media, by, depth - 1)?;
                }
            } else if path.is_file() && (media.iter().any(is) || is(&"txt") || captions::FILES.contains(&&*file)) {
                self.0.insert(name, mark(&path, by)?);
            }
        }
        Ok(())
    }
}

/// What tells a file from another of its name.
fn mark(path: &Path, by: Identify) -> Result<String> {
    let failed = |error| Error::io(path, "read it", error);
    let about = path.metadata().map_err(failed)?;
    let size = about.len();
    match by {
        Identify::Time => {
            let changed = about.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
            let changed =
                changed.map_or("?".to_owned(), |time| format!("{}.{:09}", time.as_secs(), time.subsec_nanos()));
            Ok(format!("{size} bytes, changed {changed}"))
        }
        Identify::Content => Ok(format!("{size} bytes, {}", files::sha256_of(path)?)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::WorldConfig;
    use std::fs::File;

    #[test]
    fn what_has_changed_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("sub")).unwrap();
        for name in ["a.mp4", "b.mp4", "a.txt", "sub/metadata.csv", "notes.md", ".hidden.mp4"] {
            fs::write(at(name), name).unwrap();
        }
        let long_ago = UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        let set_time = |name: &str| File::options().write(true).open(at(name)).unwrap().set_modified(long_ago).unwrap();
        set_time("a.mp4");
        let of = |identity| {
            let path = folder.path().display().to_string();
            Identity::of(&FolderConfig { path, identity, ..FolderConfig::default() }).unwrap().unwrap()
        };
        let before = [Identify::Time, Identify::Content].map(of);
        assert_eq!(before[0].0.keys().collect::<Vec<_>>(), ["a.mp4", "a.txt", "b.mp4", "sub/metadata.csv"]);
        assert_eq!(before[0].0["a.mp4"], "5 bytes, changed 1000000000.000000000");
        assert_eq!(of(Identify::Time).changes(&before[0]), None);
        // Another content of the same size and time.
        fs::write(at("a.mp4"), "A.mp4").unwrap();
        set_time("a.mp4");
        assert_eq!(of(Identify::Time), before[0]);
        assert_eq!(of(Identify::Content).changes(&before[1]).unwrap(), "1 is changed (a.mp4)");
        assert!(of(Identify::Content).portable_hash() != before[1].portable_hash());
        // Another time of the same content.
        fs::write(at("a.mp4"), "a.mp4").unwrap();
        assert_eq!(of(Identify::Content).hash(), before[1].hash());
        assert_eq!(of(Identify::Time).changes(&before[0]).unwrap(), "1 is changed (a.mp4)");
        assert_eq!(of(Identify::Time).portable_hash(), before[0].portable_hash());
        fs::remove_file(at("b.mp4")).unwrap();
        for i in 0..4 {
            fs::write(at(&format!("c{i}.png")), "new").unwrap();
        }
        let told = of(Identify::Content).changes(&before[1]).unwrap();
        assert_eq!(told, "4 are new (c0.png, c1.png, c2.png, …), 1 is gone (b.mp4)");
        let json = serde_json::to_string(&before[0]).unwrap();
        assert_eq!(serde_json::from_str::<Identity>(&json).unwrap(), before[0]);
        assert_eq!(Identity::of(&WorldConfig::default()).unwrap(), None);
    }
}
