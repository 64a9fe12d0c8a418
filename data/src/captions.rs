//! Captions of many files: `metadata.jsonl` and `metadata.csv`, as Hugging Face's `videofolder`, `imagefolder` and
//! `audiofolder` have them. Each row names a file by its path below the folder of the metadata.

use crate::csv::{self, Records};
use musiva_core::ConfigError;
use serde_json::Value;
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

/// The column with the names of files.
const NAME: &str = "file_name";
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
    caption: Option<String>,
    /// How deep the metadata lie: the nearest to a file are believed.
    depth: usize,
}

/// What is wrong with the name of a column of captions.
pub(crate) fn wrong_column(column: Option<&str>) -> Option<ConfigError> {
    let column = column?;
    let message = match column {
        NAME => format!("`{NAME}` is the column with the names of the files"),
        _ if column.trim().is_empty() => "a column needs a name".to_owned(),
        _ => return None,
    };
    Some(ConfigError::new("caption_column", message, "set `caption_column = \"text\"`, or delete it"))
}

impl Listed {
    /// Reads the metadata at `path`, which lie in the folder whose name below all others is `folder`: `""`, or `"a/b/"`.
    pub fn read(&mut self, path: &Path, folder: &str, column: Option<&str>) {
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
        let columns = BTreeSet::new();
        let mut table = Table { listed: self, folder, place: &place, column, columns, names: false, captions: false };
        // A byte order mark says how the file is written, and is no part of it.
        let text = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        match name.ends_with(".csv") {
            true => table.csv(text),
            false => table.lines(text),
        }
        table.finish();
    }

    /// The caption of the file with this name, which then does not count as missing.
    pub fn take(&mut self, name: &str) -> Option<String> {
        let row = self.rows.remove(name).or_else(|| self.rows.remove(&name.replace('\\', "/")));
        row.and_then(|row| row.caption)
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
    column: Option<&'a str>,
    /// The columns that are there.
    columns: BTreeSet<String>,
    /// Whether one of them holds the names of files.
    names: bool,
    /// Whether one of them holds captions.
    captions: bool,
}

impl<'a> Table<'a> {
    /// The columns that may hold captions.
    fn wanted(&self) -> Vec<&'a str> {
        self.column.map_or(USUAL.to_vec(), |column| vec![column])
    }

    fn broken(&mut self, line: usize, why: impl AsRef<str>) {
        self.listed.broken.push(format!("{}:{line}: {}", self.place, why.as_ref()));
    }

    fn see(&mut self, column: &str) {
        if self.columns.len() < LISTED && !self.columns.contains(column) {
            self.columns.insert(column.to_owned());
        }
        self.names |= column == NAME;
        self.captions |= self.wanted().contains(&column);
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
        let Some(file) = place(NAME) else {
            let columns = self.columns();
            return self.broken(head.line, format!("it has no column `{NAME}`, only {columns}"));
        };
        let captions: Vec<usize> = self.wanted().into_iter().filter_map(place).collect();
        for record in records {
            match record.fields {
                Ok(fields) if fields.len() == names.len() => {
                    let caption = captions.iter().map(|&at| &fields[at]).find(|text| !text.trim().is_empty());
                    self.row(record.line, &fields[file], caption.cloned());
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
                    Ok((file, caption)) => self.row(line, &file, caption),
                    Err(why) => self.broken(line, why),
                }
            }
        }
    }

    /// The file and the caption that a line of JSON names.
    fn object(&mut self, text: &[u8]) -> Result<(String, Option<String>), String> {
        let text = std::str::from_utf8(text).map_err(|_| "it is not UTF-8: save the file as UTF-8")?;
        let Ok(Value::Object(object)) = serde_json::from_str(text) else {
            return Err(
                "it is not an object like {\"file_name\": \"a.mp4\", \"text\": \"a red ring moves left\"}".into()
            );
        };
        object.keys().for_each(|column| self.see(column));
        let Some(Value::String(file)) = object.get(NAME) else {
            return Err(format!("it has no `{NAME}`"));
        };
        for column in self.wanted() {
            let caption = match object.get(column) {
                None | Some(Value::Null) => continue,
                Some(Value::String(caption)) => caption.clone(),
                Some(Value::Number(number)) => number.to_string(),
                Some(_) => return Err(format!("its `{column}` is not a text")),
            };
            if !caption.trim().is_empty() {
                return Ok((file.clone(), Some(caption)));
            }
        }
        Ok((file.clone(), None))
    }

    /// Notes what a row says of a file.
    fn row(&mut self, line: usize, file: &str, caption: Option<String>) {
        let Some(name) = joined(self.folder, file) else {
            return self.broken(line, format!("`{file}` names no file in this folder"));
        };
        let row = Row { caption, depth: self.folder.matches('/').count() };
        match self.listed.rows.get(&name) {
            Some(known) if known.depth == row.depth => self.broken(line, format!("`{file}` is listed twice")),
            Some(known) if known.depth > row.depth => {}
            _ => _ = self.listed.rows.insert(name, row),
        }
    }

    fn columns(&self) -> String {
        self.columns.iter().map(|column| format!("`{column}`")).collect::<Vec<_>>().join(", ")
    }

    /// Says so where no row can have a caption.
    fn finish(self) {
        if !self.captions && self.names {
            let wanted: Vec<_> = self.wanted().into_iter().map(|column| format!("`{column}`")).collect();
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
    fn listed(tables: &[(&str, &str)], column: Option<&str>, files: &[&str]) -> (Vec<Option<String>>, Listed) {
        let folder = tempfile::tempdir().unwrap();
        let mut listed = Listed::default();
        for (name, text) in tables {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, text).unwrap();
            let end = name.rfind('/').map_or(0, |end| end + 1);
            listed.read(&path, &name[..end], column);
        }
        (files.iter().map(|file| listed.take(file)).collect(), listed)
    }

    fn texts(captions: &[Option<String>]) -> Vec<&str> {
        captions.iter().map(|caption| caption.as_deref().unwrap_or("-")).collect()
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
            let (captions, listed) = listed(&[(name, text)], None, &["a.mp4", "sub/b.mp4", "c.mp4", "d.mp4"]);
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
            let of = |column| texts(&listed(&[file], column, &["a", "b"]).0).join(" ");
            assert_eq!([of(None), of(Some("caption")), of(Some("title"))], ["one three", "one two", "- four"]);
            let (captions, listed) = listed(&[file], Some("words"), &["a", "b"]);
            assert_eq!(texts(&captions), ["-", "-"]);
            let said = format!("{}: it has no column `words`, only `caption`, `file_name`, `text`, `title`", file.0);
            assert_eq!(listed.broken, [said]);
        }
        assert_eq!(wrong_column(Some("file_name")).unwrap().path, "caption_column");
        assert!(wrong_column(Some(" ")).is_some() && wrong_column(Some("words")).is_none());
    }

    #[test]
    fn a_broken_line_is_named_and_the_others_are_read() {
        let long = "x".repeat(LONGEST);
        let lines = format!(
            "oops\n{{\"file_name\": \"a\", \"text\": \"one\"}}\n[]\n{{\"text\": \"two\"}}\n\
             {{\"file_name\": \"a\", \"text\": \"again\"}}\n{{\"file_name\": \"b\", \"text\": [\"three\"]}}\n\
             {{\"file_name\": \"../c\", \"text\": \"four\"}}\n{{\"file_name\": \"{long}\"}}\n{{\"file_name\": \"d\", \"text\": \"five\"}}"
        );
        let (captions, found) = listed(&[(FILES[0], &lines)], None, &["a", "b", "c", "d"]);
        assert_eq!(texts(&captions), ["one", "-", "-", "five"]);
        let said: Vec<_> = found.broken.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(said, [1, 3, 4, 5, 6, 7, 8].map(|line| format!("metadata.jsonl:{line}")));
        assert!(found.broken[3].ends_with("`a` is listed twice") && found.broken[4].contains("not a text"));

        let table = "file_name,text\na,one\nb,red, round\nc\n\"d\"x,two\n,three\ne,\"four\nf,five\n";
        let (captions, found) = listed(&[(FILES[1], table)], None, &["a", "b", "c", "d", "e", "f"]);
        assert_eq!(texts(&captions), ["one", "-", "-", "-", "-", "five"]);
        let said: Vec<_> = found.broken.iter().map(|line| line.split(": ").next().unwrap()).collect();
        assert_eq!(said, [3, 4, 5, 6, 7].map(|line| format!("metadata.csv:{line}")));
        assert!(found.broken[0].contains("3 fields, not 2: a text with a comma needs quotes"), "{}", found.broken[0]);

        let (_, found) = listed(&[(FILES[1], "name;text\na;b\n")], None, &["a"]);
        assert_eq!(found.broken, ["metadata.csv:1: it has no column `file_name`, only `name;text`"]);
        let (_, found) = listed(&[(FILES[0], ""), (FILES[1], "")], None, &["a"]);
        assert_eq!((found.broken.len(), found.left().count()), (0, 0));
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
            let (captions, listed) = listed(&order, None, &["train/a.mp4", "train/b.mp4"]);
            assert_eq!(texts(&captions), ["near", "only"]);
            assert!(listed.broken.is_empty());
        }
    }
}
