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

/// The names that Hugging Face's loaders give to the folder of what is not trained on, the first of several first.
const HELD_OUT: [&str; 8] = ["test", "testing", "eval", "evaluation", "validation", "valid", "val", "dev"];

/// The name of what is trained on.
pub(crate) const TRAIN: &str = "train";

/// Of a folder that is split as Hugging Face's loaders split it, the name of what is held out beside [`TRAIN`], such as `test`;
/// `None` where it has not both.
pub(crate) fn split(path: &str) -> Option<&'static str> {
    let is_there = |name: &str| Path::new(path).join(name).is_dir();
    HELD_OUT.into_iter().find(|name| is_there(name)).filter(|_| is_there(TRAIN))
}

/// Whether a folder holds tar shards and nothing else that could be trained on.
pub(crate) fn holds_shards(folder: &Path) -> bool {
    let Ok(entries) = fs::read_dir(folder) else { return false };
    let mut shards = false;
    for entry in entries.flatten() {
        let path = entry.path();
        let is = |known: &str| path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case(known));
        if path.is_dir() || CLIPS.iter().any(|known| is(known)) {
            return false;
        }
        shards |= is("tar");
    }
    shards
}

/// A file that looks like media.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Found {
    pub path: PathBuf,
    /// Path below the folder, with `/` between its parts.
    pub name: String,
    /// Its captions, none of them empty; or why they cannot be read.
    pub captions: Result<Vec<String>, String>,
}

/// Where captions come from.
#[derive(Clone, Copy, Debug)]
pub(crate) struct CaptionRules<'a> {
    /// The columns of metadata that are captions; none: `text`, or else `caption`.
    pub columns: &'a [String],
    /// Whether a file without any caption has the name of its subfolder as its own.
    pub folders: bool,
}

impl CaptionRules<'_> {
    /// The captions of the file `name` without what does not belong to them; that of its subfolder, where it has none.
    pub fn tidy(self, captions: Vec<String>, name: &str) -> Vec<String> {
        // Byte order marks are no part of a caption, wherever an editor or a table has left one.
        let trimmed = |caption: String| caption.trim_matches(|c: char| c.is_whitespace() || c == '\u{feff}').to_owned();
        let mut captions: Vec<String> = captions.into_iter().map(trimmed).filter(|c| !c.is_empty()).collect();
        if let (true, true, Some((folders, _))) = (captions.is_empty(), self.folders, name.rsplit_once('/')) {
            captions.extend(folders.rsplit('/').next().map(str::to_owned));
        }
        captions
    }
}

/// What a folder holds, in the order of the names.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub found: Vec<Found>,
    /// Names in the metadata for which there is no file.
    pub missing: Vec<String>,
    /// Names in the metadata of files of another kind.
    pub others: Vec<String>,
    /// Lines of metadata that say nothing, and why.
    pub broken: Vec<String>,
    /// Folders and shards that were not looked into, or not to their ends, and why.
    pub passed: Vec<String>,
    /// Files that look like metadata, and members of shards, of kinds that are not read.
    pub unread: Vec<String>,
}

/// Lists `folder`: files of one of the `extensions` in it and below, hidden ones left out, with their captions from
/// metadata or else from `name.txt` beside `name.mp4`.
pub(crate) fn scan(folder: &Path, extensions: &[&str], rules: CaptionRules) -> Result<Listing> {
    let mut walk = Walk { extensions, files: Vec::new(), metadata: Vec::new(), passed: Vec::new(), unread: Vec::new() };
    walk.look(folder, "", DEPTH).map_err(|error| Error::io(folder, "list the folder", error))?;
    let Walk { mut files, mut metadata, passed, mut unread, .. } = walk;
    unread.sort();
    files.sort();
    metadata.sort();
    let mut listed = Listed::default();
    for (prefix, path) in &metadata {
        listed.read(path, prefix, rules.columns);
    }
    let found = files.into_iter().map(|(name, path)| {
        let listed = listed.take(&name);
        let captions = match listed.is_empty() {
            false => Ok(listed),
            true => beside(&path.with_extension("txt")).map(|caption| caption.into_iter().collect()),
        };
        let captions = captions.map(|captions| rules.tidy(captions, &name));
        Found { path, name, captions }
    });
    let found = found.collect();
    let (others, missing) = listed.left().partition(|name| folder.join(name).is_file());
    Ok(Listing { found, missing, others, broken: listed.broken, passed, unread })
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
            } else if !kind.is_dir() && !path.is_file() {
                // A pipe would be waited for, and a device never ends.
                self.passed.push(format!("{name}: it is no file"));
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
        Ok(metadata) if !metadata.is_file() => return Err(format!("{name}: it is no file")),
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

    const USUAL: CaptionRules = CaptionRules { columns: &[], folders: false };

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
        let listing = scan(folder.path(), CLIPS, USUAL).unwrap();
        let captions =
            listing.found.iter().map(|f| (f.name.as_str(), f.captions.as_ref().unwrap().first().map(String::as_str)));
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
    fn subfolders_are_captions_on_request() {
        let folder = folder(&[
            ("a.mp4", b""),
            ("red ring/b.mp4", b""),
            ("red ring/c.mp4", b""),
            ("red ring/c.txt", b"its own"),
            ("train/blue/d.png", b""),
            ("train/blue/e.wav", b""),
            ("metadata.csv", b"file_name,text\ntrain/blue/e.wav,a sound\n"),
        ]);
        let of = |folders| {
            let listing = scan(folder.path(), CLIPS, CaptionRules { folders, ..USUAL }).unwrap();
            assert_eq!((listing.others, listing.missing.len()), (vec!["train/blue/e.wav".to_owned()], 0));
            listing.found.into_iter().map(|file| file.captions.unwrap().concat()).collect::<Vec<_>>()
        };
        assert_eq!(of(true), ["", "red ring", "its own", "blue"]);
        assert_eq!(of(false), ["", "", "its own", ""]);
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
        let listing = scan(folder.path(), CLIPS, USUAL).unwrap();
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
        let listing = scan(folder.path(), CLIPS, USUAL).unwrap();
        let captions: Vec<_> = listing.found.iter().map(|file| file.captions.clone().unwrap().concat()).collect();
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
        let listing = scan(folder.path(), CLIPS, USUAL).unwrap();
        let found: Vec<_> = listing.found.iter().map(|file| (file.name.as_str(), file.captions.clone())).collect();
        assert_eq!(found[0], ("a.mp4", Ok(vec!["good".into()])));
        let why = |at: usize| found[at].1.clone().unwrap_err();
        assert!(why(1).contains("b.txt is not UTF-8") && why(2).contains("65537 bytes") && why(3).contains("d.txt"));
        assert_eq!((found[4].0, listing.broken.len()), ("d.txt/e.mp4", 1));
        assert!(listing.broken[0].starts_with("metadata.jsonl:1: it is not an object"), "{}", listing.broken[0]);
        assert_eq!(scan(Path::new("no/such/folder"), CLIPS, USUAL).unwrap_err().kind(), ErrorKind::Io);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_to_a_folder_is_told_and_one_to_a_file_is_followed() {
        let folder = folder(&[("there/a.mp4", b""), ("there/a.txt", b"good")]);
        std::os::unix::fs::symlink(folder.path(), folder.path().join("again")).unwrap();
        std::os::unix::fs::symlink(folder.path().join("there/a.mp4"), folder.path().join("b.mp4")).unwrap();
        let listing = scan(folder.path(), CLIPS, USUAL).unwrap();
        assert_eq!(listing.found.iter().map(|file| file.name.as_str()).collect::<Vec<_>>(), ["b.mp4", "there/a.mp4"]);
        assert_eq!(listing.passed, ["again: it is a link to a folder"]);
    }
}
