//! Captions of many files: `metadata.jsonl` and `metadata.csv`, as Hugging Face's `videofolder`, `imagefolder` and
//! `audiofolder` have them. Each row names a file by its path below the folder of the metadata.

use crate::csv::{self, Records};
use musiva_core::ConfigError;
use serde_json::{Map, Value};
use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

/// The files of captions.
pub(crate) const FILES: [&str; 2] = ["metadata.jsonl", "metadata.csv"];
/// Whether a file with this name looks as if it held the metadata of others, in a format or a spelling that is not read.
pub(crate) fn looks_like_metadata(file: &str) -> bool {
    const KINDS: [&str; 9] = ["jsonl", "csv", "parquet", "json", "tsv", "arrow", "txt", "gz", "zip"];
    let file = file.to_lowercase();
    let end = file.strip_prefix("metadata.").and_then(|kinds| kinds.rsplit('.').next());
    end.is_some_and(|kind| KINDS.contains(&kind))
}

/// The column with the names of files; others that name files end with it, or with `_` and it.
const NAME: &str = "file_name";
/// The same of several files.
const NAMES: &str = "file_names";
/// The columns that are captions where the recipe names none, the first before the second.
const USUAL: [&str; 2] = ["text", "caption"];
/// Bytes of a line or of a caption at most.
pub(crate) const LONGEST: usize = csv::LONGEST;
/// Bytes of metadata at most.
const LARGEST: u64 = 1 << 30;
/// Columns that a message lists.
const LISTED: usize = 8;

/// What all metadata below a folder say.
#[derive(Debug, Default)]
pub(crate) struct Listed {
    rows: BTreeMap<String, Row>,
    /// Lines that say nothing, each with its place and the reason.
    pub broken: Vec<String>,
}

/// What is said of a file.
#[derive(Debug)]
struct Row {
    captions: Vec<String>,
    /// How deep the metadata lie: the nearest to a file are believed.
    depth: usize,
}

/// What is wrong with the names of columns of captions.
pub(crate) fn wrong_columns(columns: &[String]) -> Option<ConfigError> {
    let wrong = |column: &String| match column.as_str() {
        name if names_files(name) => Some(format!("`{name}` is a column with the names of the files")),
        name if name.trim().is_empty() => Some("a column needs a name".to_owned()),
        name if columns.iter().filter(|other| *other == name).count() > 1 => Some(format!("`{name}` is named twice")),
        _ => None,
    };
    let message = columns.iter().find_map(wrong)?;
    Some(ConfigError::new("caption_columns", message, "set `caption_columns = [\"text\"]`, or delete it"))
}

/// Whether a column holds the names of files.
fn names_files(column: &str) -> bool {
    [NAME, NAMES].into_iter().any(|name| {
        column.strip_suffix(name).is_some_and(|rest| rest.is_empty() || rest.len() > 1 && rest.ends_with('_'))
    })
}

/// The columns that may hold captions: those that are named, or else the usual ones.
fn wanted(columns: &[String]) -> Vec<&str> {
    if columns.is_empty() { USUAL.to_vec() } else { columns.iter().map(String::as_str).collect() }
}

/// The captions of a row, of which `texts` tells those in a column. Of the usual columns the first that has any counts;
/// columns that are named count all.
fn captions_of(
    columns: &[String],
    mut texts: impl FnMut(&str) -> Result<Vec<String>, String>,
) -> Result<Vec<String>, String> {
    let mut captions = Vec::new();
    for column in wanted(columns) {
        if !columns.is_empty() || captions.is_empty() {
            captions.extend(texts(column)?.into_iter().filter(|text| !text.trim().is_empty()));
        }
    }
    Ok(captions)
}

/// The captions that an object of JSON has in its columns; a list is several.
pub(crate) fn of_object(object: &Map<String, Value>, columns: &[String]) -> Result<Vec<String>, String> {
    let text = |column: &str, value: &Value| match value {
        Value::String(caption) => Ok(caption.clone()),
        Value::Number(number) => Ok(number.to_string()),
        _ => Err(format!("its `{column}` is not a text, nor a list of texts")),
    };
    captions_of(columns, |column| match object.get(column) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(all)) => all.iter().map(|value| text(column, value)).collect(),
        Some(value) => Ok(vec![text(column, value)?]),
    })
}

impl Listed {
    /// Reads the metadata at `path`, which lie in the folder whose name below all others is `folder`: `""`, or `"a/b/"`.
    pub fn read(&mut self, path: &Path, folder: &str, columns: &[String]) {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let place = format!("{folder}{name}");
        let size = fs::metadata(path).map_or(0, |metadata| metadata.len());
        let read = match size > LARGEST {
            true => Err(format!("it has {size} bytes, more than {LARGEST}")),
            false => fs::read(path).map_err(|error| error.to_string()),
        };
        let bytes = match read {
            Ok(bytes) => bytes,
            Err(why) => return self.broken.push(format!("{place}: {why}")),
        };
        let seen = BTreeSet::new();
        let mut table = Table { listed: self, folder, place: &place, columns, seen, names: false, captions: false };
        // A byte order mark says how the file is written, and is no part of it.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        match name.ends_with(".csv") {
            true => table.csv(text),
            false => table.lines(text),
        }
        table.finish();
    }

    /// The captions of the file with this name, which then does not count as missing.
    pub fn take(&mut self, name: &str) -> Vec<String> {
        let row = self.rows.remove(name).or_else(|| self.rows.remove(&name.replace('\\', "/")));
        row.map_or(Vec::new(), |row| row.captions)
    }

    /// Names for which no file was asked.
    pub fn left(&self) -> impl Iterator<Item = String> {
        self.rows.keys().cloned()
    }
}

/// A file of metadata that is being read.
struct Table<'a> {
    listed: &'a mut Listed,
    folder: &'a str,
    place: &'a str,
    /// Those that are named in the recipe.
    columns: &'a [String],
    /// The columns that are there.
    seen: BTreeSet<String>,
    /// Whether one of them holds the names of files.
    names: bool,
    /// Whether one of them holds captions.
    captions: bool,
}

impl Table<'_> {
    fn broken(&mut self, line: usize, why: impl AsRef<str>) {
        self.listed.broken.push(format!("{}:{line}: {}", self.place, why.as_ref()));
    }

    fn see(&mut self, column: &str) {
        if self.seen.len() < LISTED && !self.seen.contains(column) {
            self.seen.insert(column.to_owned());
        }
        self.names |= names_files(column);
        self.captions |= wanted(self.columns).contains(&column);
    }

    fn csv(&mut self, bytes: &[u8]) {
        let mut records = Records::new(bytes);
        let Some(head) = records.next() else { return };
        let names = match head.fields {
            Ok(names) => names,
            Err(why) => return self.broken(head.line, why),
        };
        let names: Vec<&str> = names.iter().map(|name| name.trim()).collect();
        names.iter().for_each(|name| self.see(name));
        let place = |wanted: &str| names.iter().position(|name| *name == wanted);
        let files: Vec<usize> = (0..names.len()).filter(|&at| names_files(names[at])).collect();
        if files.is_empty() {
            let columns = self.columns();
            return self.broken(head.line, format!("it has no column `{NAME}`, only {columns}"));
        }
        for record in records {
            match record.fields {
                Ok(fields) if fields.len() == names.len() => {
                    let texts = |column: &str| Ok(place(column).map(|at| fields[at].clone()).into_iter().collect());
                    match captions_of(self.columns, texts) {
                        Ok(captions) => {
                            let files: Vec<_> = files.iter().map(|&at| fields[at].as_str()).collect();
                            self.row(record.line, &files, &captions);
                        }
                        Err(why) => self.broken(record.line, why),
                    }
                }
                Ok(fields) => {
                    let (found, wanted) = (fields.len(), names.len());
                    let why = format!("{found} fields, not {wanted}: a text with a comma needs quotes around it");
                    self.broken(record.line, why);
                }
                Err(why) => self.broken(record.line, why),
            }
        }
    }

    fn lines(&mut self, bytes: &[u8]) {
        for (line, text) in (1..).zip(bytes.split(|&byte| byte == b'\n')) {
            let text = text.trim_ascii();
            if text.len() > LONGEST {
                self.broken(line, format!("it is longer than {LONGEST} bytes"));
            } else if !text.is_empty() {
                match self.object(text) {
                    Ok((files, captions)) => {
                        let files: Vec<_> = files.iter().map(String::as_str).collect();
                        self.row(line, &files, &captions);
                    }
                    Err(why) => self.broken(line, why),
                }
            }
        }
    }

    /// The files and the captions that a line of JSON names.
    fn object(&mut self, text: &[u8]) -> Result<(Vec<String>, Vec<String>), String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8: save the file as UTF-8")?;
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            return Err(
                "it is not an object like {\"file_name\": \"a.mp4\", \"text\": \"a red ring moves left\"}".into()
            );
        };
        object.keys().for_each(|column| self.see(column));
        let mut files = Vec::new();
        for (column, value) in object.iter().filter(|(column, _)| names_files(column)) {
            match value {
                Value::Null => {}
                Value::String(file) => files.push(file.clone()),
                Value::Array(all) if all.iter().all(Value::is_string) => {
                    files.extend(all.iter().filter_map(|file| file.as_str().map(str::to_owned)));
                }
                _ => return Err(format!("its `{column}` is not the name of a file")),
            }
        }
        if files.is_empty() {
            return Err(format!("it has no `{NAME}`"));
        }
        Ok((files, of_object(&object, self.columns)?))
    }

    /// Notes what a row says of its files.
    fn row(&mut self, line: usize, files: &[&str], captions: &[String]) {
        let depth = self.folder.matches('/').count();
        for file in files {
            // A column that is empty here names no file, where another one does.
            if file.is_empty() && files.iter().any(|file| !file.is_empty()) {
                continue;
            }
            let Some(name) = joined(self.folder, file) else {
                self.broken(line, format!("`{file}` names no file in this folder"));
                continue;
            };
            match self.listed.rows.get_mut(&name) {
                Some(known) if known.depth > depth => {}
                // Further rows of a file are further captions of it.
                Some(known) if known.depth == depth => {
                    let new = captions.iter().filter(|caption| !known.captions.contains(caption));
                    let new: Vec<_> = new.cloned().collect();
                    known.captions.extend(new);
                }
                _ => _ = self.listed.rows.insert(name, Row { captions: captions.to_vec(), depth }),
            }
        }
    }

    fn columns(&self) -> String {
        self.seen.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ")
    }

    /// Says so where no row can have a caption.
    fn finish(self) {
        if !self.captions && self.names {
            let wanted: Vec<_> = wanted(self.columns).into_iter().map(|column| format!("`{column}`")).collect();
            let why = format!("it has no column {}, only {}", wanted.join(" or "), self.columns());
            self.listed.broken.push(format!("{}: {why}", self.place));
        }
    }
}

/// The path `file` from `folder` on, without `.` and `..` in it; `None` where it is none, or leads out of everything.
fn joined(folder: &str, file: &str) -> Option<String> {
    let file = file.trim_start_matches('\u{feff}');
    let path = format!("{folder}{}", file.replace('\\', "/"));
    let mut parts = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => _ = parts.pop()?,
            part => parts.push(part),
        }
    }
    (!file.is_empty() && !parts.is_empty()).then(|| parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What metadata with these names and texts say of `files`, the lines that are broken, and the files that are left.
    fn listed(tables: &[(&str, &str)], columns: &[&str], files: &[&str]) -> (Vec<Vec<String>>, Listed) {
        let columns: Vec<String> = columns.iter().map(|column| column.to_string()).collect();
        let folder = tempfile::tempdir().unwrap();
        let mut listed = Listed::default();
        for (name, text) in tables {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let end = name.rfind('/').map_or(0, |end| end + 1);
            listed.read(&path, &name[..end], &columns);
        }
        (files.iter().map(|file| listed.take(file)).collect(), listed)
    }

    /// Those of each file, several of one parted by `|`.
    fn texts(captions: &[Vec<String>]) -> Vec<String> {
        captions.iter().map(|all| if all.is_empty() { "-".to_owned() } else { all.join("|") }).collect()
    }

    #[test]
    fn both_formats_say_the_same() {
        let lines = "{\"file_name\": \"a.mp4\", \"text\": \"red, \\\"round\\\"\"}\r\n\r\n\
                     {\"text\": \"\\u7ea2\", \"file_name\": \"./sub\\\\b.mp4\", \"group\": [1]}\r\n\
                     {\"file_name\": \"c.mp4\", \"text\": null}\n{\"file_name\": \"gone.mp4\", \"text\": 7}";
        let table =
            "file_name,group,text\r\na.mp4,x,\"red, \"\"round\"\"\"\r\nsub\\b.mp4,y,红\nc.mp4,,\n./gone.mp4,,7\n";
        let mark = |text: &str| format!("\u{feff}{text}");
        for (name, text) in [(FILES[0], lines), (FILES[1], table), (FILES[0], &mark(lines)), (FILES[1], &mark(table))] {
            let (captions, listed) = listed(&[(name, text)], &[], &["a.mp4", "sub/b.mp4", "c.mp4", "d.mp4"]);
            assert_eq!(texts(&captions), ["red, \"round\"", "红", "-", "-"], "{name}");
            assert!(listed.broken.is_empty(), "{:?}", listed.broken);
            assert_eq!(listed.left().collect::<Vec<_>>(), ["gone.mp4"]);
        }
    }

    #[test]
    fn captions_stand_in_a_usual_column_or_in_the_one_that_is_named() {
        let lines = "{\"file_name\": \"a\", \"caption\": \"one\", \"text\": \"\"}\n\
                     {\"file_name\": \"b\", \"caption\": \"two\", \"text\": \"three\", \"title\": \"four\"}";
        let table = "title, caption ,file_name,text\n,one,a,\nfour,two,b,three\n";
        for file in [(FILES[0], lines), (FILES[1], table)] {
            let of = |columns: &[&str]| texts(&listed(&[file], columns, &["a", "b"]).0).join(" ");
            assert_eq!([of(&[]), of(&["caption"]), of(&["title"])], ["one three", "one two", "- four"]);
            // Of columns that are named all count.
            assert_eq!(of(&["text", "title", "caption"]), "one three|four|two");
            let (captions, listed) = listed(&[file], &["words"], &["a", "b"]);
            assert_eq!(texts(&captions), ["-", "-"]);
            let said = format!("{}: it has no column `words`, only `caption`, `file_name`, `text`, `title`", file.0);
            assert_eq!(listed.broken, [said]);
        }
        let wrong = |columns: &[&str]| wrong_columns(&columns.iter().map(|c| c.to_string()).collect::<Vec<_>>());
        for columns in [&["file_name"][..], &["text", "video_file_name"], &[" "], &["text", "text"]] {
            assert_eq!(wrong(columns).unwrap().path, "caption_columns", "{columns:?}");
        }
        assert!(wrong(&["words", "profile_name"]).is_none() && wrong(&[]).is_none());
    }

    #[test]
    fn a_broken_line_is_named_and_the_others_are_read() {
        let long = "x".repeat(LONGEST);
        let lines = format!(
            "oops\n{{\"file_name\": \"a\", \"text\": \"one\"}}\n[]\n{{\"text\": \"two\"}}\n\
             {{\"file_name\": \"a\", \"text\": \"again\"}}\n{{\"file_name\": \"b\", \"text\": {{\"en\": \"three\"}}}}\n\
             {{\"file_name\": \"../c\", \"text\": \"four\"}}\n{{\"file_name\": \"{long}\"}}\n{{\"file_name\": \"d\", \"text\": \"five\"}}"
        );
        let (captions, found) = listed(&[(FILES[0], &lines)], &[], &["a", "b", "c", "d"]);
        assert_eq!(texts(&captions), ["one|again", "-", "-", "five"]);
        let said: Vec<_> = found.broken.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(said, [1, 3, 4, 6, 7, 8].map(|line| format!("metadata.jsonl:{line}")));
        assert!(found.broken[3].contains("`text` is not a text") && found.broken[4].contains("names no file"));

        let table = "file_name,text\na,one\nb,red, round\nc\n\"d\"x,two\n,three\ne,\"four\nf,five\n";
        let (captions, found) = listed(&[(FILES[1], table)], &[], &["a", "b", "c", "d", "e", "f"]);
        assert_eq!(texts(&captions), ["one", "-", "-", "-", "-", "five"]);
        let said: Vec<_> = found.broken.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(said, [3, 4, 5, 6, 7].map(|line| format!("metadata.csv:{line}")));
        assert!(found.broken[0].contains("3 fields, not 2: a text with a comma needs quotes"), "{}", found.broken[0]);

        let (_, found) = listed(&[(FILES[1], "name;text\na;b\n")], &[], &["a"]);
        assert_eq!(found.broken, ["metadata.csv:1: it has no column `file_name`, only `name;text`"]);
        let (_, found) = listed(&[(FILES[0], ""), (FILES[1], "")], &[], &["a"]);
        assert_eq!((found.broken.len(), found.left().count()), (0, 0));
    }

    #[test]
    fn a_file_has_several_captions_and_a_row_several_files() {
        let lines = "{\"file_name\": \"a.mp4\", \"text\": [\"one\", \"two\", \" \"]}\n\
                     {\"video_file_name\": \"b.mp4\", \"image_file_name\": \"sub/b.png\", \"text\": \"three\"}\n\
                     {\"file_names\": [\"c.png\", \"d.png\"], \"text\": \"four\"}\n\
                     {\"file_name\": 7, \"text\": \"five\"}\n{\"file_name\": \"a.mp4\", \"text\": \"two\"}\n\
                     {\"file_name\": \"a.mp4\", \"text\": \"six\"}";
        let files = ["a.mp4", "b.mp4", "sub/b.png", "c.png", "d.png"];
        let (captions, found) = listed(&[(FILES[0], lines)], &[], &files);
        assert_eq!(texts(&captions), ["one|two|six", "three", "three", "four", "four"]);
        assert_eq!(found.broken, ["metadata.jsonl:4: its `file_name` is not the name of a file"]);

        let table = "video_file_name,audio_file_name,en,de\na.mp4,a.wav,ring,Ring\nb.mp4,,square,\n,,none,\n";
        let (captions, found) = listed(&[(FILES[1], table)], &["de", "en"], &["a.mp4", "a.wav", "b.mp4"]);
        assert_eq!(texts(&captions), ["Ring|ring", "Ring|ring", "square"]);
        assert_eq!(found.broken.len(), 2, "neither column names a file: {:?}", found.broken);
    }

    #[test]
    fn the_nearest_metadata_are_believed() {
        let far =
            "{\"file_name\": \"train/a.mp4\", \"text\": \"far\"}\n{\"file_name\": \"train/b.mp4\", \"text\": \"only\"}";
        let near = "file_name,text\n../train/a.mp4,near\n";
        for order in [
            [("metadata.jsonl", far), ("train/metadata.csv", near)],
            [("train/metadata.csv", near), ("metadata.jsonl", far)],
        ] {
            let (captions, listed) = listed(&order, &[], &["train/a.mp4", "train/b.mp4"]);
            assert_eq!(texts(&captions), ["near", "only"]);
            assert!(listed.broken.is_empty());
        }
    }
}
