//! Recipe files as they were typed: every key and value knows its file, line and column.

use crate::{Result, files};
use std::path::{Component, Path, PathBuf};
use std::{collections::BTreeMap, fmt, ops::Range, sync::Arc};

/// No recipe is longer: whatever stands behind the path, memory stays bounded.
const LONGEST: u64 = 1 << 20;

/// A text that keys were written in: a file, or the argument of a `--set`.
#[derive(Debug, PartialEq, Eq)]
pub struct Document {
    /// How messages name it: the path as the reader would type it, or `--set`.
    pub name: String,
    /// The whole text.
    pub text: String,
    /// The folder that paths in it are relative to.
    pub folder: PathBuf,
    /// Whether it is an argument of the command, which has no lines to count.
    pub argument: bool,
    /// Its rank among the documents of a recipe: the file itself, what it extends, …, arguments.
    pub rank: usize,
}

/// Where a key or value was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The text.
    pub document: Arc<Document>,
    /// The bytes of the text.
    pub span: Range<usize>,
}

/// A value with the place where it was written; a default has none.
#[derive(Clone, Debug, PartialEq)]
pub struct Node {
    /// The value.
    pub value: Value,
    /// Where it was written; of a table: its header.
    pub place: Option<Place>,
}

/// What TOML can say.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Keys and what they stand for.
    Table(BTreeMap<String, Entry>),
    /// A row of values.
    Array(Vec<Node>),
    /// A text.
    String(String),
    /// A whole number.
    Integer(i64),
    /// Any number.
    Float(f64),
    /// True or false.
    Boolean(bool),
    /// A date or time; no recipe has a use for one.
    Datetime(String),
}

/// A key's value and the place of the key itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Entry {
    /// Where the key was written.
    pub key: Option<Place>,
    /// Its value.
    pub node: Node,
}

impl Document {
    /// Reads a file of at most a megabyte.
    ///
    /// # Errors
    /// Where there is no such file, or it is not UTF-8 text.
    pub fn read(path: &Path, rank: usize) -> Result<Arc<Self>> {
        let bytes = files::read(path, LONGEST)?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            crate::Error::new(
                crate::ErrorKind::Recipe,
                path.display().to_string(),
                format!("byte {at} is not UTF-8: this is no text file"),
            )
            .hint("name a recipe, a text file that ends in .toml")
        })?;
        Ok(Self::file(path, text, rank))
    }

    /// A text as if it had been read from `path`.
    pub fn file(path: &Path, text: String, rank: usize) -> Arc<Self> {
        let folder = path.parent().unwrap_or(Path::new("")).to_path_buf();
        // A byte-order mark is no part of the text; line endings are counted, not shown.
        let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
        Arc::new(Self { name: path.display().to_string(), text, folder, argument: false, rank })
    }

    /// The argument of a `--set`.
    pub fn argument(text: &str, rank: usize) -> Arc<Self> {
        let (name, text) = ("--set".to_owned(), text.to_owned());
        Arc::new(Self { name, text, folder: PathBuf::new(), argument: true, rank })
    }

    /// A place in this document.
    pub fn place(self: &Arc<Self>, span: Range<usize>) -> Place {
        let end = span.end.min(self.text.len());
        Place { document: self.clone(), span: span.start.min(end)..end }
    }
}

/// `path` below `folder`, without the steps back and forth that need not be taken; a URL as it is.
pub fn joined(folder: &Path, path: &str) -> PathBuf {
    if files::is_url(path) {
        return path.into();
    }
    let mut out = PathBuf::new();
    for component in folder.join(path).components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if matches!(out.components().next_back(), Some(Component::Normal(_))) => {
                out.pop();
            }
            other => out.push(other),
        }
    }
    out
}

impl Node {
    /// A table without entries that was written nowhere.
    pub fn empty() -> Self {
        Self { value: Value::Table(BTreeMap::new()), place: None }
    }

    /// Its entries, where it is a table.
    pub fn entries(&self) -> Option<&BTreeMap<String, Entry>> {
        match &self.value {
            Value::Table(entries) => Some(entries),
            _ => None,
        }
    }

    /// The entry below a key, where this is a table that has it.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries()?.get(key)
    }

    /// The text, where it is one.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// The place of what stands at a dotted path (`stages.0.frames`, `held_out[1]`), and whether it
    /// was written at all: where it was not, the place is that of the nearest table around it.
    pub fn find(&self, path: &str) -> (Option<Place>, bool) {
        let mut node = self;
        let mut place = self.place.clone();
        for part in path.split(['.', '[', ']']).filter(|part| !part.is_empty()) {
            let next = match &node.value {
                Value::Table(entries) => entries.get(part.trim_matches('"')).map(|entry| &entry.node),
                Value::Array(values) => part.parse().ok().and_then(|i: usize| values.get(i)),
                _ => None,
            };
            let Some(next) = next else { return (place, false) };
            node = next;
            place = node.place.clone().or(place);
        }
        (place, true)
    }

    /// A JSON value, as if it had been written nowhere: a default.
    pub fn from_json(json: &serde_json::Value) -> Option<Self> {
        use serde_json::Value as Json;
        let value = match json {
            Json::Null => return None,
            Json::Bool(truth) => Value::Boolean(*truth),
            Json::Number(number) => match number.as_i64() {
                Some(integer) => Value::Integer(integer),
                None => Value::Float(number.as_f64()?),
            },
            Json::String(text) => Value::String(text.clone()),
            Json::Array(values) => Value::Array(values.iter().filter_map(Self::from_json).collect()),
            Json::Object(entries) => {
                let entry = |(key, value): (&String, &Json)| {
                    Some((key.clone(), Entry { key: None, node: Self::from_json(value)? }))
                };
                Value::Table(entries.iter().filter_map(entry).collect())
            }
        };
        Some(Self { value, place: None })
    }

    /// The value without its places.
    pub fn to_json(&self) -> serde_json::Value {
        use serde_json::Value as Json;
        match &self.value {
            Value::Table(entries) => entries.iter().map(|(key, entry)| (key.clone(), entry.node.to_json())).collect(),
            Value::Array(values) => values.iter().map(Self::to_json).collect(),
            Value::String(text) | Value::Datetime(text) => Json::from(text.as_str()),
            Value::Integer(number) => Json::from(*number),
            Value::Float(number) => Json::from(*number),
            Value::Boolean(truth) => Json::from(*truth),
        }
    }
}

/// As messages name what was found.
impl fmt::Display for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.value {
            Value::Table(_) => f.write_str("a table"),
            Value::Array(values) => write!(f, "an array of {}", values.len()),
            Value::String(text) if text.chars().count() > 40 => {
                write!(f, "the string {:?}", text.chars().take(39).chain(['…']).collect::<String>())
            }
            Value::String(text) => write!(f, "the string {text:?}"),
            Value::Integer(number) => write!(f, "{number}"),
            Value::Float(number) => write!(f, "{number:?}"),
            Value::Boolean(truth) => write!(f, "{truth}"),
            Value::Datetime(time) => write!(f, "the date or time {time}"),
        }
    }
}
