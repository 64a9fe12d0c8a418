//! From the text of a recipe to its tree, in which every key and value knows where it stands.

use super::report::{Diagnostic, Report};
use super::source::{Document, Entry, Node, Value};
use std::{collections::BTreeMap, ops::Range, sync::Arc};
use toml_edit::{Item, Table, TableLike};

impl Document {
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
