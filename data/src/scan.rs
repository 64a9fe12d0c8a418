//! Which files are there, and what do their captions say?

use musiva_core::{ConfigError, Error, ErrorKind, Result};
use serde::Deserialize;
use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
};

/// What counts as a clip or an image, by its extension.
pub(crate) const CLIPS: &[&str] = &["mp4", "mov", "m4v", "mkv", "webm", "avi", "gif", "png", "jpg", "jpeg", "webp"];
/// What counts as a sound, by its extension.
pub(crate) const SOUNDS: &[&str] = &["wav", "flac", "mp3", "ogg", "oga", "aac", "m4a", "mp4", "mov"];
/// Folders within folders, at most: deeper ones are a mistake or a loop.
const DEPTH: usize = 16;
/// Bytes of a caption or a line of metadata, at most.
const LONGEST: u64 = 65_536;
/// The captions of a whole folder, as Hugging Face's `videofolder` and `imagefolder` have them.
pub(crate) const METADATA: &str = "metadata.jsonl";

/// What is wrong where `path` is no folder: nothing is named, or what is named is not there. `wanted` says what is expected
/// in it.
pub(crate) fn missing(path: &str, wanted: &str) -> Option<ConfigError> {
    if Path::new(path).is_dir() {
        return None;
    }
    let found = match path {
        "" => "no folder is named".to_owned(),
        path => format!("there is no folder {path}"),
    };
    Some(ConfigError::new("path", format!("{found}; expected a folder of {wanted}"), "name yours by `--data FOLDER`"))
}

/// A file that looks like media.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub path: PathBuf,
    /// Path below the folder, with `/` between its parts.
    pub name: String,
    /// Its caption; `None`: it has none.
    pub caption: Option<String>,
}

/// What a folder holds, in the order of the names.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub found: Vec<Found>,
    /// Names in the metadata for which there is no file.
    pub missing: Vec<String>,
}

#[derive(Deserialize)]
struct Line {
    file_name: String,
    #[serde(default)]
    text: Option<String>,
}

/// Lists `folder`: files of one of the `extensions` in it and below, hidden ones left out, with their
/// captions from `metadata.jsonl` or else from `name.txt` beside `name.mp4`.
pub(crate) fn scan(folder: &Path, extensions: &[&str]) -> Result<Listing> {
    let mut files = BTreeMap::new();
    walk(folder, "", DEPTH, extensions, &mut files)?;
    let mut captions = metadata(&folder.join(METADATA))?;
    let mut found = Vec::with_capacity(files.len());
    for (name, path) in files {
        let listed = captions.remove(&name).flatten();
        let caption = match listed {
            Some(caption) => Some(caption),
            None => beside(&path.with_extension("txt"))?,
        };
        let caption = caption.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty());
        found.push(Found { path, name, caption });
    }
    Ok(Listing { found, missing: captions.into_keys().collect() })
}

fn walk(
    folder: &Path,
    prefix: &str,
    depth: usize,
    extensions: &[&str],
    files: &mut BTreeMap<String, PathBuf>,
) -> Result<()> {
    let failed = |error| Error::io(folder, "list the folder", error);
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let (path, name) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
        if name.starts_with('.') {
            continue;
        }
        // The entry's own type: a link to a folder is not followed, it could lead in a circle.
        if entry.file_type().map_err(failed)?.is_dir() {
            if depth > 0 {
                walk(&path, &format!("{prefix}{name}/"), depth - 1, extensions, files)?;
            }
        } else if path.extension().is_some_and(|e| extensions.iter().any(|known| e.eq_ignore_ascii_case(known))) {
            files.insert(format!("{prefix}{name}"), path);
        }
    }
    Ok(())
}

/// Captions by name from a metadata file; empty where there is none.
fn metadata(path: &Path) -> Result<BTreeMap<String, Option<String>>> {
    let mut captions = BTreeMap::new();
    let file = match fs::File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(captions),
        Err(error) => return Err(Error::io(path, "open", error)),
    };
    let mut reader = BufReader::new(file);
    for number in 1.. {
        let wrong = |message: String| {
            Error::new(ErrorKind::Data, format!("{}:{number}", path.display()), message)
                .hint(r#"write one object on each line, like {"file_name": "a.mp4", "text": "a red ring moves left"}"#)
        };
        let mut line = Vec::new();
        std::io::Read::take(&mut reader, LONGEST)
            .read_until(b'\n', &mut line)
            .map_err(|error| Error::io(path, "read", error))?;
        if line.is_empty() {
            break;
        }
        if line.len() as u64 == LONGEST {
            return Err(wrong(format!("the line is longer than {LONGEST} bytes")));
        }
        if line.trim_ascii().is_empty() {
            continue;
        }
        let Line { file_name, text } = serde_json::from_slice(&line)
            .map_err(|error| wrong("this line is not an object with a `file_name`".into()).caused_by(error))?;
        if captions.insert(file_name.clone(), text).is_some() {
            return Err(wrong(format!("`{file_name}` is listed twice")).hint("delete one of the two lines"));
        }
    }
    Ok(captions)
}

/// The caption beside a file; `None` where there is none.
fn beside(path: &Path) -> Result<Option<String>> {
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(Error::io(path, "read the caption", error)),
    };
    if size > LONGEST {
        let message = format!("a caption of {size} bytes; at most {LONGEST} are read");
        return Err(
            Error::new(ErrorKind::Data, path.display().to_string(), message).hint("shorten it, or move the file away")
        );
    }
    fs::read_to_string(path).map(Some).map_err(|error| Error::io(path, "read the caption", error))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        folder
    }

    #[test]
    fn captions_come_from_metadata_or_from_beside() {
        let folder = folder(&[
            ("b.mp4", ""),
            ("b.txt", " beside b\n"),
            ("sub/a.GIF", ""),
            ("sub/a.txt", "not this one"),
            ("c.png", ""),
            ("d.png", ""),
            ("d.txt", "  \n"),
            (".hidden.mp4", ""),
            ("notes.md", ""),
            (
                "metadata.jsonl",
                "{\"file_name\": \"sub/a.GIF\", \"text\": \"in the list\", \"more\": 1}\n\n{\"file_name\": \"gone.mp4\"}",
            ),
        ]);
        let listing = scan(folder.path(), CLIPS).unwrap();
        let found: Vec<_> = listing.found.iter().map(|f| (f.name.as_str(), f.caption.as_deref())).collect();
        assert_eq!(
            found,
            [("b.mp4", Some("beside b")), ("c.png", None), ("d.png", None), ("sub/a.GIF", Some("in the list"))]
        );
        assert_eq!(listing.missing, ["gone.mp4"]);
    }

    #[test]
    fn bad_metadata_is_named_by_its_line() {
        let good = "{\"file_name\": \"a.mp4\"}\n";
        for (text, finding) in [
            (format!("{good}oops\n"), "not an object"),
            (format!("{good}{good}"), "listed twice"),
            (format!("{good}{}", "x".repeat(70_000)), "longer than"),
        ] {
            let folder = folder(&[("metadata.jsonl", &text)]);
            let error = scan(folder.path(), CLIPS).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Data);
            assert!(error.to_string().contains("metadata.jsonl:2") && error.message().contains(finding), "{error}");
        }
        assert_eq!(scan(Path::new("no/such/folder"), CLIPS).unwrap_err().kind(), ErrorKind::Io);
    }
}
