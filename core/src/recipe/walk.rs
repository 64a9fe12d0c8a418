//! Lays a recipe against its schema: finds everything that does not fit, and fills in defaults.

use super::hints::{assign, example, retype, unknown};
use super::keywords::{bounds, branches, default_of, deref, fixed, requires, tag, types};
use super::report::Diagnostic;
use super::source::{Entry, Node, Place, Value, joined};
use super::words::{choices, describe, nearest, shortest, toml};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// A schema nests no deeper; a circular one ends here.
const DEEPEST: usize = 64;

/// A walk through a tree along its schema.
pub struct Walk<'a> {
    /// The whole schema: where `$ref` leads.
    pub root: &'a Json,
    /// What does not fit.
    pub found: Vec<Diagnostic>,
    /// Dotted paths of the values that are paths of files.
    pub paths: Vec<String>,
}

/// Where the walk stands.
#[derive(Clone)]
struct At<'a> {
    path: String,
    /// The place of the nearest table that was written.
    place: Option<&'a Place>,
    depth: usize,
}

impl At<'_> {
    fn child(&self, key: &str) -> String {
        let plain = key.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-') && !key.is_empty();
        let key = if plain { key.to_owned() } else { format!("{key:?}") };
        if self.path.is_empty() { key } else { format!("{}.{key}", self.path) }
    }
}

impl<'a> Walk<'a> {
    /// Begins a walk.
    pub fn new(root: &'a Json) -> Self {
        Self { root, found: Vec::new(), paths: Vec::new() }
    }

    /// The value of `node` with all defaults as JSON; null where something does not fit.
    pub fn resolve(&mut self, schema: &Json, node: &Node, path: &str) -> Json {
        self.value(schema, node, &At { path: path.to_owned(), place: None, depth: 0 })
    }

    fn wrong(&mut self, at: &At, place: Option<&Place>, message: String, hint: impl Into<String>) {
        let place = place.or(at.place).cloned();
        self.found.push(Diagnostic::error(at.path.clone(), message).at(place).hint(hint));
    }

    fn value(&mut self, schema: &Json, node: &Node, at: &At) -> Json {
        let schema = deref(self.root, schema);
        let at = &At { path: at.path.clone(), place: node.place.as_ref().or(at.place), depth: at.depth + 1 };
        if at.depth > DEEPEST {
            self.wrong(at, None, "it nests too deep".into(), "");
            return Json::Null;
        }
        if let Some(branches) = branches(self.root, schema) {
            return self.one_of(schema, &branches, node, at);
        }
        if let Some(Json::Array(all)) = schema.get("allOf") {
            return all.iter().map(|part| self.value(part, node, at)).last().unwrap_or(Json::Null);
        }
        if let Some(allowed) = fixed(schema) {
            return self.fixed(schema, &allowed, node, at);
        }
        let types = types(schema);
        let mistyped = |this: &mut Self| {
            let expected = describe(this.root, schema);
            let hint = retype(schema, node, &at.path);
            this.wrong(at, None, format!("found {node}, expected {expected}"), hint);
            Json::Null
        };
        let allows = |name: &str| types.is_empty() || types.contains(&name);
        match &node.value {
            Value::Table(entries) if allows("object") => self.table(schema, entries, node, at),
            Value::Array(values) if allows("array") => self.array(schema, values, at),
            Value::String(text) if allows("string") => self.string(schema, text, node, at),
            Value::Boolean(truth) if allows("boolean") => Json::Bool(*truth),
            Value::Integer(number) if types.contains(&"integer") => {
                self.range(schema, *number as f64, node, at);
                Json::from(*number)
            }
            Value::Integer(number) if allows("number") => {
                self.range(schema, *number as f64, node, at);
                Json::from(*number as f64)
            }
            Value::Float(number) if allows("number") => self.float(schema, *number, node, at),
            Value::Datetime(text) if types.is_empty() => Json::from(text.clone()),
            _ => mistyped(self),
        }
    }

    fn float(&mut self, schema: &Json, number: f64, node: &Node, at: &At) -> Json {
        if !number.is_finite() {
            let expected = describe(self.root, schema);
            self.wrong(at, None, format!("found {number}, expected {expected}"), retype(schema, node, &at.path));
            return Json::Null;
        }
        self.range(schema, number, node, at);
        match schema.get("format").and_then(Json::as_str) {
            Some("float") => Json::from(shortest(number)),
            _ => Json::from(number),
        }
    }

    fn range(&mut self, schema: &Json, number: f64, node: &Node, at: &At) {
        let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
        let (low, high) = bounds(schema);
        let nearest = if low.is_some_and(|low| number < low) {
            low
        } else if high.is_some_and(|high| number > high) {
            high
        } else if bound("exclusiveMinimum").is_some_and(|low| number <= low)
            || bound("exclusiveMaximum").is_some_and(|high| number >= high)
        {
            default_of(schema).and_then(Json::as_f64)
        } else {
            return;
        };
        let expected = describe(self.root, schema);
        let integer = types(schema).contains(&"integer");
        let show = |value: f64| if integer { format!("{value:.0}") } else { format!("{value:?}") };
        let hint = nearest.map_or(String::new(), |value| assign(&at.path, &show(value)));
        self.wrong(at, None, format!("found {node}, expected {expected}"), hint);
    }

    fn string(&mut self, schema: &Json, text: &str, node: &Node, at: &At) -> Json {
        let count = text.chars().count() as u64;
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
        if bound("minLength").is_some_and(|least| count < least) || bound("maxLength").is_some_and(|most| count > most)
        {
            let expected = describe(self.root, schema);
            self.wrong(at, None, format!("found {node}, expected {expected}"), "");
        }
        if schema.get("format").and_then(Json::as_str) == Some("path") && !text.is_empty() {
            self.paths.push(at.path.clone());
            if let Some(place) = &node.place {
                return Json::from(joined(&place.document.folder, text).display().to_string());
            }
        }
        Json::from(text)
    }

    fn fixed(&mut self, schema: &Json, allowed: &[&Json], node: &Node, at: &At) -> Json {
        let same = |json: &&&Json| Node::from_json(json).is_some_and(|other| other.value == node.value);
        if let Some(json) = allowed.iter().find(same) {
            return (*json).clone();
        }
        self.not_among(allowed, node, at, describe(self.root, schema));
        Json::Null
    }

    fn not_among(&mut self, allowed: &[&Json], node: &Node, at: &At, expected: String) {
        let texts: Vec<_> = allowed.iter().filter_map(|json| json.as_str()).collect();
        let hint = match (node.text().and_then(|text| nearest(text, texts.iter().copied())), allowed) {
            (Some(text), _) => assign(&at.path, &format!("\"{text}\"")),
            (None, [one]) => assign(&at.path, &toml(one)),
            (None, _) => String::new(),
        };
        self.wrong(at, None, format!("found {node}, expected {expected}"), hint);
    }

    fn array(&mut self, schema: &Json, values: &[Node], at: &At) -> Json {
        let bound = |key: &str| schema.get(key).and_then(Json::as_u64);
        let length = values.len() as u64;
        if bound("minItems").is_some_and(|least| length < least) || bound("maxItems").is_some_and(|most| length > most)
        {
            let expected = describe(self.root, schema);
            let found = if length == 1 { "1 value".to_owned() } else { format!("{length} values") };
            let hint = default_of(schema).map_or(String::new(), |value| assign(&at.path, &toml(value)));
            self.wrong(at, None, format!("found {found}, expected {expected}"), hint);
        }
        let first = schema.get("prefixItems").and_then(Json::as_array);
        let rest = schema.get("items").unwrap_or(&Json::Bool(true));
        let item = |(i, value): (usize, &Node)| {
            let schema = first.and_then(|first| first.get(i)).unwrap_or(rest);
            self.value(schema, value, &At { path: at.child(&i.to_string()), ..at.clone() })
        };
        values.iter().enumerate().map(item).collect()
    }

    fn table(&mut self, schema: &Json, entries: &BTreeMap<String, Entry>, node: &Node, at: &At) -> Json {
        let none = Map::new();
        let properties = schema.get("properties").and_then(Json::as_object).unwrap_or(&none);
        let mut out = Map::new();
        for (key, property) in properties {
            let at = At { path: at.child(key), ..at.clone() };
            match (entries.get(key), default_of(property)) {
                (Some(entry), _) => {
                    out.insert(key.clone(), self.value(property, &entry.node, &at));
                }
                (None, _) if requires(schema, key) => {
                    let expected = describe(self.root, deref(self.root, property));
                    let value = example(self.root, property);
                    let hint = format!("add `{key} = {value}`");
                    self.wrong(&at, node.place.as_ref(), format!("it is missing, expected {expected}"), hint);
                }
                (None, Some(default)) => {
                    if let Some(default) = Node::from_json(default) {
                        out.insert(key.clone(), self.value(property, &default, &at));
                    }
                }
                (None, None) => {}
            }
        }
        let others = schema.get("additionalProperties").unwrap_or(&Json::Bool(true));
        for (key, entry) in entries.iter().filter(|(key, _)| !properties.contains_key(*key)) {
            let child = At { path: at.child(key), ..at.clone() };
            let table = entry.node.entries().is_some();
            // Where tables of any name may stand beside known ones, a key is one of a table that is left out.
            let misplaced = !table && !properties.is_empty() && self.is_table(others);
            match others {
                _ if misplaced || *others == Json::Bool(false) => {
                    let what = if table { "table" } else { "key" };
                    let hint = unknown(properties, entries, key, &at.path);
                    self.wrong(&child, entry.key.as_ref(), format!("there is no such {what}"), hint);
                }
                others => {
                    out.insert(key.clone(), self.value(others, &entry.node, &child));
                }
            }
        }
        Json::Object(out)
    }

    /// Whether a schema takes tables alone.
    fn is_table(&self, schema: &Json) -> bool {
        let schema = deref(self.root, schema);
        match branches(self.root, schema) {
            Some(branches) => branches.iter().all(|branch| tag(branch, "kind").is_some()),
            None => types(schema) == ["object"],
        }
    }

    fn one_of(&mut self, schema: &Json, branches: &[&Json], node: &Node, at: &At) -> Json {
        // Texts, one of which it must be.
        let texts: Vec<&Json> = branches.iter().filter_map(|branch| fixed(branch)).flatten().collect();
        if let Some(json) = texts.iter().find(|json| json.as_str().is_some() && json.as_str() == node.text()) {
            return (*json).clone();
        }
        // Tables, told apart by a key.
        let tagged = || branches.iter().filter(|branch| tag(branch, "kind").is_some());
        if tagged().count() == branches.len() {
            return self.tagged(branches, node, at);
        }
        // Absent or something: TOML has no null, so it is something.
        let something: Vec<&Json> = branches.iter().copied().filter(|branch| types(branch) != ["null"]).collect();
        if let [one] = something[..] {
            return self.value(one, node, at);
        }
        // A table of one key that says which it is.
        if let Value::Table(entries) = &node.value
            && let [(key, _)] = entries.iter().collect::<Vec<_>>()[..]
            && let Some(branch) = branches.iter().find(|branch| requires(branch, key))
        {
            return self.value(branch, node, at);
        }
        let before = self.found.len();
        for branch in &something {
            let json = self.value(branch, node, at);
            if self.found.len() == before {
                return json;
            }
            self.found.truncate(before);
        }
        let expected = describe(self.root, schema);
        self.not_among(&texts, node, at, expected);
        Json::Null
    }

    fn tagged(&mut self, branches: &[&Json], node: &Node, at: &At) -> Json {
        let kinds: Vec<_> = branches.iter().filter_map(|branch| tag(branch, "kind")).collect();
        let listed = choices(&kinds, '"', "or");
        let one = kinds.first().copied().unwrap_or_default();
        let Value::Table(entries) = &node.value else {
            let message = format!("found {node}, expected a table with a `kind`: {listed}");
            self.wrong(at, None, message, format!("write `{{ kind = \"{one}\" }}`"));
            return Json::Null;
        };
        let at_kind = At { path: at.child("kind"), ..at.clone() };
        let Some(kind) = entries.get("kind") else {
            let message = match kinds.is_empty() {
                true => "no component of this role is registered".to_owned(),
                false => format!("it is missing, expected {listed}"),
            };
            let hint = if kinds.is_empty() { String::new() } else { format!("add `kind = \"{one}\"`") };
            self.wrong(&at_kind, node.place.as_ref(), message, hint);
            return Json::Null;
        };
        let branch = kind.node.text().and_then(|text| branches.iter().find(|b| tag(b, "kind") == Some(text)));
        match branch {
            Some(branch) => self.value(branch, node, at),
            None => {
                let right = kind.node.text().and_then(|text| nearest(text, kinds.iter().copied()));
                let hint = match (right, &kinds[..]) {
                    (Some(right), _) => format!("set `kind = \"{right}\"`"),
                    _ if kind.node.text().is_some_and(|text| text.contains('.')) => {
                        "if this is a plugin, add `[[plugin]]` with its id, version and sha256".to_owned()
                    }
                    (None, [one]) => format!("set `kind = \"{one}\"`"),
                    (None, _) => String::new(),
                };
                let message = match (kinds.is_empty(), kind.node.text()) {
                    (true, _) => "no component of this role is registered".to_owned(),
                    (_, Some(text)) if text.chars().count() <= 40 => {
                        format!("{text:?} is not a kind of `{}`, expected {listed}", at.path)
                    }
                    _ => format!("found {}, expected {listed}", kind.node),
                };
                self.wrong(&at_kind, kind.node.place.as_ref(), message, hint);
                Json::Null
            }
        }
    }
}
