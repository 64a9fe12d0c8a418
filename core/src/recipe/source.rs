//! Recipe files as they were typed: every key and value knows its file, line and column.

use super::report::{Diagnostic, Report};
use crate::{Result, files};
use std::{collections::BTreeMap, fmt, ops::Range, path::Path, path::PathBuf, sync::Arc};
use toml_edit::{Item, Table, TableLike};

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

    /// Parses the text as TOML.
    ///
    /// # Errors
    /// The first place where it is none.
    pub fn parse(self: &Arc<Self>) -> Result<Node, Report> {
        match toml_edit::Document::parse(self.text.as_str()) {
            Ok(document) => Ok(self.table(document.as_table(), Some(0..0))),
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let (message, hint) = self.explain(&error, span.start);
                Err(Diagnostic::error("", message).at(self.place(span)).hint(hint).into())
            }
        }
    }

    /// The parser's words, and ours for what it sees most.
    fn explain(&self, error: &toml_edit::TomlError, start: usize) -> (String, String) {
        let message = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
        let rest = self.text.get(start..).unwrap_or_default().lines().next().unwrap_or_default();
        let value = rest.split('#').next().unwrap_or_default().trim();
        if message == "duplicate key" {
            return ("this is already set above".into(), "delete one of the two".into());
        }
        // By its first letter the parser takes a bare word for a boolean, a number or a string.
        let taken_for_a_value = ["string values must be", "invalid boolean", "missing value"];
        if value.is_empty() && taken_for_a_value.iter().any(|begin| message.starts_with(begin)) {
            return ("there is no value after the `=`".into(), "write one".into());
        }
        let word = value.trim_end_matches([',', ']', '}']);
        if word.starts_with(|c: char| c.is_alphabetic()) && !word.contains(['=', '[', '"', '\'']) {
            return ("a string needs quotes".into(), format!("write `\"{word}\"`"));
        }
        (format!("not TOML: {message}"), "see https://toml.io/en/v1.0.0 for how TOML is written".into())
    }

    /// A value as a `--set` gives it: TOML, or a bare word.
    pub fn value(self: &Arc<Self>, span: Range<usize>) -> Node {
        let text = &self.text[span.clone()];
        match text.parse::<toml_edit::Value>() {
            // The spans are those of a text of its own: the whole argument stands for all of it.
            Ok(value) => self.item(&Item::Value(value), &|_| span.clone()),
            Err(_) => Node { value: Value::String(text.trim().to_owned()), place: Some(self.place(span)) },
        }
    }

    /// A place in this document.
    pub fn place(self: &Arc<Self>, span: Range<usize>) -> Place {
        let end = span.end.min(self.text.len());
        Place { document: self.clone(), span: span.start.min(end)..end }
    }

    fn table(self: &Arc<Self>, table: &Table, header: Option<Range<usize>>) -> Node {
        let mut node = self.entries(table, &|span| span.unwrap_or(0..0));
        node.place = header.or_else(|| table.span()).map(|span| self.place(span)).or(node.place);
        node
    }

    fn item(self: &Arc<Self>, item: &Item, at: &dyn Fn(Option<Range<usize>>) -> Range<usize>) -> Node {
        let value = match item {
            Item::None => Value::Table(BTreeMap::new()),
            Item::Table(table) => {
                let mut node = self.entries(table, at);
                if let Some(span) = table.span() {
                    node.place = Some(self.place(at(Some(span))));
                }
                return node;
            }
            Item::ArrayOfTables(tables) => {
                let tables: Vec<_> = tables.iter().map(|table| self.table(table, None)).collect();
                let place = tables.first().and_then(|first| first.place.clone());
                return Node { value: Value::Array(tables), place };
            }
            Item::Value(value) => match value {
                toml_edit::Value::String(text) => Value::String(text.value().clone()),
                toml_edit::Value::Integer(number) => Value::Integer(*number.value()),
                toml_edit::Value::Float(number) => Value::Float(*number.value()),
                toml_edit::Value::Boolean(truth) => Value::Boolean(*truth.value()),
                toml_edit::Value::Datetime(time) => Value::Datetime(time.value().to_string()),
                toml_edit::Value::Array(array) => {
                    Value::Array(array.iter().map(|value| self.item(&Item::Value(value.clone()), at)).collect())
                }
                toml_edit::Value::InlineTable(table) => self.entries(table, at).value,
            },
        };
        Node { value, place: Some(self.place(at(item.span()))) }
    }

    /// The entries of a table; a table without a header stands where its first entry does.
    fn entries(self: &Arc<Self>, table: &dyn TableLike, at: &dyn Fn(Option<Range<usize>>) -> Range<usize>) -> Node {
        let mut entries = BTreeMap::new();
        for (name, item) in table.iter() {
            let key = table.key(name).and_then(|key| key.span());
            let entry = Entry { key: Some(self.place(at(key))), node: self.item(item, at) };
            entries.insert(name.to_owned(), entry);
        }
        let first = entries.values().filter_map(|entry| entry.key.clone()).min_by_key(|place| place.span.start);
        Node { value: Value::Table(entries), place: first }
    }
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
                Value::Table(entries) => entries.get(part).map(|entry| &entry.node),
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

    /// Replaces the places in it, its keys and its parts by `place`.
    pub fn placed(mut self, place: &Place) -> Self {
        match &mut self.value {
            Value::Table(entries) => {
                for entry in entries.values_mut() {
                    entry.key = Some(place.clone());
                    entry.node = std::mem::replace(&mut entry.node, Self::empty()).placed(place);
                }
            }
            Value::Array(values) => {
                for value in values {
                    *value = std::mem::replace(value, Self::empty()).placed(place);
                }
            }
            _ => {}
        }
        self.place = Some(place.clone());
        self
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
