//! The reference page of the recipe language, made of its schema.

use super::keywords::{branches, default_of, deref, requires, tag, types};
use super::schema::{FURTHER, METRIC, SECTIONS, schema};
use super::words::{describe, toml};
use crate::{Component, Registry, Role};
use serde_json::Value as Json;
use std::fmt::Write;

/// Markdown: every section, kind and key with its type, default and meaning.
pub fn reference(registry: &Registry) -> String {
    let root = schema(registry);
    let mut page = Page { root: &root, text: String::new() };
    page.line("# Recipes");
    page.line(
        "\nA recipe is a TOML file. Unknown keys are refused. Tables of a recipe that `extends` another one merge \
         with its tables, key by key; a table that names another `kind` replaces the old one whole; `unset` takes \
         inherited keys away. \
         `--set dotted.path=VALUE` overrides a single key, `VALUE` being TOML or a bare word. Paths are relative to \
         the file that names them, in a `--set` to the current directory.",
    );
    page.line("\n## Top level\n");
    let none = Json::Null;
    let property = |key: &str| root.pointer(&format!("/properties/{key}")).unwrap_or(&none);
    page.head();
    for key in ["schema", "extends", "unset", "name", "description"] {
        page.row(key, property(key), key == "schema", 0);
    }
    for section in SECTIONS {
        page.line(&format!("\n## `[{}]`\n\n{}", section.path, section.summary));
        section.components(registry).for_each(|component| page.component(section.path, component));
    }
    page.line(&format!("\n## `[tokenizer.NAME]`\n\n{FURTHER}"));
    page.line(&format!("\n## `[[metric]]`\n\n{METRIC}"));
    registry.of(Role::Metric).for_each(|component| page.component("metric", component));
    for (section, header) in [
        ("task", "[[task]]"),
        ("track", "[track.NAME]"),
        ("condition", "[condition.NAME]"),
        ("train", "[train]"),
        ("evaluate", "[evaluate]"),
        ("plugin", "[[plugin]]"),
    ] {
        let Some(schema) = root.get("$defs").and_then(|defs| defs.get(section)) else { continue };
        let description = schema.get("description").and_then(Json::as_str).unwrap_or_default();
        page.line(&format!("\n## `{header}`\n\n{description}\n"));
        page.table(schema);
    }
    page.text
}

struct Page<'a> {
    root: &'a Json,
    text: String,
}

impl Page<'_> {
    fn line(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    fn head(&mut self) {
        self.line("| key | type | default | |\n|---|---|---|---|");
    }

    fn component(&mut self, section: &str, component: &Component) {
        let name = format!("{section}.{}", component.kind);
        let Some(schema) = self.root.get("$defs").and_then(|defs| defs.get(&name)) else { return };
        self.line(&format!("\n### `kind = \"{}\"`\n", component.kind));
        self.line(&format!("{} ({}).\n", capital(component.summary), component.origin));
        self.table(schema);
    }

    fn table(&mut self, schema: &Json) {
        self.head();
        self.below("", schema, 0);
    }

    fn rows(&mut self, prefix: &str, schema: &Json, depth: usize) {
        let Some(properties) = schema.get("properties").and_then(Json::as_object) else { return };
        for (key, property) in properties {
            let name = child(prefix, key);
            if name != "kind" {
                self.row(&name, property, requires(schema, key), depth);
            }
        }
        // Keys of any name, such as those of tracks.
        if let Some(others) = schema.get("additionalProperties").filter(|others| others.is_object()) {
            self.row(&child(prefix, "NAME"), others, false, depth);
        }
    }

    fn row(&mut self, name: &str, property: &Json, required: bool, depth: usize) {
        let schema = deref(self.root, property);
        let default = match (default_of(property).or_else(|| default_of(schema)), required) {
            (_, true) => "required".to_owned(),
            (Some(default), _) if default.is_object() && !types(schema).is_empty() => String::new(),
            (Some(default), _) => format!("`{}`", toml(default)),
            (None, false) => "none".to_owned(),
        };
        let meaning = said(property).or_else(|| said(schema)).unwrap_or_default();
        let kind = describe(self.root, schema);
        let _ = writeln!(self.text, "| `{name}` | {} | {} | {} |", cell(&kind), cell(&default), cell(&meaning));
        if depth <= 6 {
            self.below(name, schema, depth + 1);
        }
    }

    /// What stands below a key: a table, a choice of tables, an array of tables.
    fn below(&mut self, name: &str, schema: &Json, depth: usize) {
        self.rows(name, schema, depth);
        if let Some(items) = schema.get("items") {
            self.rows(&format!("{name}[]"), deref(self.root, items), depth);
        }
        for branch in branches(self.root, schema).into_iter().flatten() {
            if let Some(kind) = tag(branch, "kind") {
                let meaning = said(branch).unwrap_or_default();
                let _ = writeln!(self.text, "| `{} = \"{kind}\"` | | | {} |", child(name, "kind"), cell(&meaning));
                let Some(properties) = branch.get("properties").and_then(Json::as_object) else { continue };
                for (key, property) in properties.iter().filter(|(key, _)| *key != "kind") {
                    self.row(&child(name, key), property, requires(branch, key), depth);
                }
            } else if branch.get("properties").is_some() {
                self.rows(name, branch, depth);
            } else if let Some(items) =
                branch.get("items").filter(|items| deref(self.root, items).get("properties").is_some())
            {
                self.rows(&format!("{name}[]"), deref(self.root, items), depth);
            } else if let (Some(text), Some(meaning)) = (branch.get("const").and_then(Json::as_str), said(branch)) {
                let _ = writeln!(self.text, "| `{name} = \"{text}\"` | | | {} |", cell(&meaning));
            }
        }
    }
}

fn said(schema: &Json) -> Option<String> {
    schema.get("description").and_then(Json::as_str).map(str::to_owned)
}

/// The name of a key below another.
fn child(name: &str, key: &str) -> String {
    if name.is_empty() { key.to_owned() } else { format!("{name}.{key}") }
}

/// A table's cell is one line, and a bar would end it.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}

fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or(String::new(), |first| first.to_uppercase().chain(letters).collect())
}
