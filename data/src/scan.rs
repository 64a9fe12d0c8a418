//! Which files are there, and what do their captions say?
//!
//! What is wrong with one of them is noted, and the others are read: only a folder that cannot be listed at all is an error.

use crate::captions::{self, Listed};
use musiva_core::{ConfigError, Error, Result};
use std::{
    fs,
    path::{Path, PathBuf},
};

/// What counts as a clip or an image, by its extension.
pub(crate) const CLIPS: &[&str] = &[
    "mp4", "mov", "m4v", "mkv", "webm", "avi", "mpg", "mpeg", "ts", "wmv", "flv", "3gp", "ogv", "gif", "png", "apng",
    "jpg", "jpeg", "webp",
];
/// What counts as a sound, by its extension.
pub(crate) const SOUNDS: &[&str] = &[
    "wav", "flac", "mp3", "ogg", "oga", "opus", "aac", "m4a", "mp4", "mov", "mkv", "mka", "webm", "wma", "aiff", "aif",
    "caf",
];
/// Folders within folders, at most: deeper ones are a mistake or a loop.
const DEPTH: usize = 16;

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
    /// Its caption; `None`: it has none; or why it cannot be read.
    pub caption: Result<Option<String>, String>,
}

/// What a folder holds, in the order of the names.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub found: Vec<Found>,
    /// Names in the metadata for which there is no file.
    pub missing: Vec<String>,
    /// Lines of metadata that say nothing, and why.
    pub broken: Vec<String>,
    /// Folders that were not looked into, and why.
    pub passed: Vec<String>,
    /// Files that look like metadata, of kinds that are not read.
    pub unread: Vec<String>,
}

/// Lists `folder`: files of one of the `extensions` in it and below, hidden ones left out, with their captions from
/// metadata or else from `name.txt` beside `name.mp4`. `column` names the captions in the metadata.
pub(crate) fn scan(folder: &Path, extensions: &[&str], column: Option<&str>) -> Result<Listing> {
    let mut walk = Walk { extensions, files: Vec::new(), metadata: Vec::new(), passed: Vec::new(), unread: Vec::new() };
    walk.look(folder, "", DEPTH).map_err(|error| Error::io(folder, "list the folder", error))?;
    let Walk { mut files, mut metadata, passed, mut unread, .. } = walk;
    unread.sort();
    files.sort();
    metadata.sort();
    let mut listed = Listed::default();
    for (prefix, path) in &metadata {
        listed.read(path, prefix, column);
    }
    let found = files.into_iter().map(|(name, path)| {
        let caption = match listed.take(&name).filter(|caption| !caption.trim().is_empty()) {
            Some(caption) => Ok(Some(caption)),
            None => beside(&path.with_extension("txt")),
        };
        // Byte order marks are no part of a caption, wherever an editor or a table has left one.
        let trimmed = |caption: String| {
            Some(caption.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}').to_owned())
                .filter(|c| !c.is_empty())
        };
        Found { path, name, caption: caption.map(|caption| caption.and_then(trimmed)) }
    });
    let found = found.collect();
    Ok(Listing { found, missing: listed.left().collect(), broken: listed.broken, passed, unread })
}

/// A walk through folders.
struct Walk<'a> {
    extensions: &'a [&'a str],
    /// Names and paths.
    files: Vec<(String, PathBuf)>,
    /// Names of folders, and paths of metadata in them.
    metadata: Vec<(String, PathBuf)>,
    passed: Vec<String>,
    unread: Vec<String>,
}

impl Walk<'_> {
    /// Looks into `folder`, whose files have names that start with `prefix`, and into `depth` levels below.
    fn look(&mut self, folder: &Path, prefix: &str, depth: usize) -> std::io::Result<()> {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let (path, file) = (entry.path(), entry.file_name().to_string_lossy().into_owned());
            let name = format!("{prefix}{file}");
            if file.starts_with('.') {
                continue;
            }
            // The entry's own type: a link to a folder is not followed, it could lead in a circle.
            let kind = entry.file_type()?;
            if kind.is_dir() {
                let looked = match depth {
                    0 => Err(format!("it lies more than {DEPTH} folders deep")),
                    _ => self.look(&path, &format!("{name}/"), depth - 1).map_err(|error| error.to_string()),
                };
                self.passed.extend(looked.err().map(|why| format!("{name}: {why}")));
            } else if kind.is_symlink() && path.is_dir() {
                self.passed.push(format!("{name}: it is a link to a folder"));
            } else if captions::FILES.contains(&file.as_str()) {
                self.metadata.push((prefix.to_owned(), path));
            } else if captions::looks_like_metadata(&file) {
                self.unread.push(name);
            } else if path
                .extension()
                .is_some_and(|e| self.extensions.iter().any(|known| e.eq_ignore_ascii_case(known)))
            {
                self.files.push((name, path));
            }
        }
        Ok(())
    }
}

/// The caption beside a file, without a byte order mark; `None` where there is none.
fn beside(path: &Path) -> Result<Option<String>, String> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let failed = |error: std::io::Error| format!("{name}: {error}");
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let most = captions::LONGEST;
    if size > most as u64 {
        return Err(format!("{name} has {size} bytes, more than {most}: shorten it, or move it away"));
    }
    let text = String::from_utf8(fs::read(path).map_err(failed)?)
        .map_err(|_| format!("{name} is not UTF-8: save it as UTF-8"))?;
    Ok(Some(text.strip_prefix('\u{feff}').unwrap_or(&text).to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::ErrorKind;

    fn folder(files: &[(&str, &[u8])]) -> tempfile::TempDir {
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
            ("b.mp4", b""),
            ("b.txt", b" beside b\n"),
            ("sub/a.GIF", b""),
            ("sub/a.txt", b"not this one"),
            ("c.png", b""),
            ("d.png", b""),
            ("d.txt", b"  \n"),
            ("e.png", b""),
            ("e.txt", "\u{feff}a red ring\nmoves left\r\n".as_bytes()),
            (".hidden.mp4", b""),
            ("notes.md", b""),
            (
                "metadata.jsonl",
                b"{\"file_name\": \"sub/a.GIF\", \"text\": \"in the list\", \"more\": 1}\n\n{\"file_name\": \"gone.mp4\"}",
            ),
            ("sub/metadata.csv", b"file_name,text\nf.mp4,near\n"),
            ("sub/f.mp4", b""),
        ]);
        let listing = scan(folder.path(), CLIPS, None).unwrap();
        let captions = listing.found.iter().map(|f| (f.name.as_str(), f.caption.as_ref().unwrap().as_deref()));
        let wanted = [
            ("b.mp4", Some("beside b")),
            ("c.png", None),
            ("d.png", None),
            ("e.png", Some("a red ring\nmoves left")),
            ("sub/a.GIF", Some("in the list")),
            ("sub/f.mp4", Some("near")),
        ];
        assert_eq!(captions.collect::<Vec<_>>(), wanted);
        assert_eq!((listing.missing, listing.broken, listing.passed), (vec!["gone.mp4".into()], vec![], vec![]));
        assert!(listing.unread.is_empty());
    }

    #[test]
    fn metadata_of_other_kinds_are_named() {
        let folder = folder(&[
            ("a.mp4", b""),
            ("metadata.parquet", b"PAR1"),
            ("sub/Metadata.JSONL", b""),
            ("sub/metadata.csv.gz", b""),
            ("sub/b.mp4", b""),
            ("captions.json", b"{}"),
            ("metadata.mp4", b""),
        ]);
        let listing = scan(folder.path(), CLIPS, None).unwrap();
        assert_eq!(listing.unread, ["metadata.parquet", "sub/Metadata.JSONL", "sub/metadata.csv.gz"]);
        assert_eq!(listing.found.len(), 3);
    }

    #[test]
    fn byte_order_marks_are_no_part_of_a_caption() {
        let folder = folder(&[
            ("a.mp4", b""),
            ("b.mp4", b""),
            ("c.mp4", b""),
            ("metadata.csv", "\u{feff}file_name,text\na.mp4,\u{feff}red\n\u{feff}b.mp4,blue\n".as_bytes()),
            ("c.txt", "\u{feff} \u{feff}green\r\n\u{feff}".as_bytes()),
        ]);
        let listing = scan(folder.path(), CLIPS, None).unwrap();
        let captions: Vec<_> = listing.found.iter().map(|file| file.caption.clone().unwrap().unwrap()).collect();
        assert_eq!(captions, ["red", "blue", "green"]);
    }

    #[test]
    fn what_is_wrong_with_one_is_noted_and_the_others_are_there() {
        let long = [b'x'; captions::LONGEST + 1];
        let folder = folder(&[
            ("a.mp4", b""),
            ("b.mp4", b""),
            ("b.txt", b"ein r\xf6tlicher Ring"),
            ("c.mp4", b""),
            ("c.txt", &long),
            ("d.mp4", b""),
            ("d.txt/e.mp4", b""),
            ("metadata.jsonl", b"oops\n{\"file_name\": \"a.mp4\", \"text\": \"good\"}"),
        ]);
        let listing = scan(folder.path(), CLIPS, None).unwrap();
        let found: Vec<_> = listing.found.iter().map(|file| (file.name.as_str(), file.caption.clone())).collect();
        assert_eq!(found[0], ("a.mp4", Ok(Some("good".into()))));
        let why = |at: usize| found[at].1.clone().unwrap_err();
        assert!(why(1).contains("b.txt is not UTF-8") && why(2).contains("65537 bytes") && why(3).contains("d.txt"));
        assert_eq!((found[4].0, listing.broken.len()), ("d.txt/e.mp4", 1));
        assert!(listing.broken[0].starts_with("metadata.jsonl:1: it is not an object"), "{}", listing.broken[0]);
        assert_eq!(scan(Path::new("no/such/folder"), CLIPS, None).unwrap_err().kind(), ErrorKind::Io);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_is_told_and_one_to_a_file_is_followed() {
        let folder = folder(&[("there/a.mp4", b""), ("there/a.txt", b"good")]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("there/a.mp4"), folder.path().join("b.mp4")).unwrap();
        let listing = scan(folder.path(), CLIPS, None).unwrap();
        assert_eq!(listing.found.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["b.mp4", "there/a.mp4"]);
        assert_eq!(listing.passed, ["again: it is a link to a folder"]);
    }
}
