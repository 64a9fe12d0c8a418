//! Hints: the smallest edits that make a value fit its schema.

use super::keywords::{bounds, branches, default_of, deref, fixed, tag, types};
use super::source::{Entry, Node, Value};
use super::words::{choices, nearest, toml};
use serde_json::{Map, Value as Json};
use std::collections::BTreeMap;

/// What to do about a key that is not among `properties`.
pub fn unknown(properties: &Map<String, Json>, entries: &BTreeMap<String, Entry>, key: &str, path: &str) -> String {
    let known: Vec<_> = properties.keys().map(String::as_str).collect();
    let free = known.iter().copied().filter(|known| !entries.contains_key(*known));
    if let Some(right) = nearest(key, free) {
        return format!("write `{right}`");
    }
    // An argument means to change what the file has set; in a file it is a second try.
    let argument = entries[key].key.as_ref().is_some_and(|place| place.document.argument);
    match nearest(key, known.iter().copied()) {
        Some(right) if argument => return format!("write `{right}`"),
        Some(right) => return format!("delete it; `{right}` is set already"),
        None => {}
    }
    let tables = properties.values().all(|property| property.get("$ref").is_some());
    if tables && !known.is_empty() {
        let below: Vec<_> = known.iter().map(|name| format!("[{path}.{name}]")).collect();
        let below: Vec<_> = below.iter().map(String::as_str).collect();
        return format!("move it into {}", choices(&below, '`', "or"));
    }
    match known.is_empty() {
        true => "delete it; there are no keys here".into(),
        false => format!("delete it; the keys here are {}", choices(&known, '`', "and")),
    }
}

/// "set `key = value`", or the value alone where it stands in an array.
pub fn assign(path: &str, value: &str) -> String {
    match path.rsplit('.').next().unwrap_or(path) {
        key if key.parse::<usize>().is_ok() => format!("write `{value}`"),
        key => format!("set `{key} = {value}`"),
    }
}

/// A value that would do, to show how it is written.
pub fn example(root: &Json, schema: &Json) -> String {
    let default = default_of(schema);
    let schema = deref(root, schema);
    if let Some(value) = default.or_else(|| default_of(schema)) {
        return toml(value);
    }
    if let Some(value) = fixed(schema).and_then(|values| values.first().copied()) {
        return toml(value);
    }
    if let Some(branch) = branches(root, schema).and_then(|branches| branches.first().copied()) {
        return match tag(branch, "kind") {
            Some(kind) => format!("{{ kind = \"{kind}\" }}"),
            None => example(root, branch),
        };
    }
    match types(schema).first().copied() {
        Some("integer") => format!("{:.0}", bounds(schema).0.unwrap_or(1.0)),
        Some("number") => format!("{:?}", bounds(schema).0.unwrap_or(1.0)),
        Some("string") => "\"…\"".into(),
        Some("boolean") => "false".into(),
        Some("array") => "[…]".into(),
        _ => "{ … }".into(),
    }
}

/// What to write in the place of a value of another type.
pub fn retype(schema: &Json, node: &Node, path: &str) -> String {
    let types = types(schema);
    let numeric = types.contains(&"integer") || types.contains(&"number");
    match &node.value {
        Value::String(text) if numeric && text.trim().parse::<f64>().is_ok_and(f64::is_finite) => {
            format!("{} without quotes", assign(path, text.trim()))
        }
        Value::String(text) if types.contains(&"boolean") && ["true", "false"].contains(&text.trim()) => {
            format!("{} without quotes", assign(path, text.trim()))
        }
        Value::Float(number) if types.contains(&"integer") && number.is_finite() => {
            assign(path, &format!("{:.0}", number.round()))
        }
        Value::Integer(number) if types.contains(&"string") => assign(path, &format!("\"{number}\"")),
        _ => default_of(schema).map_or(String::new(), |value| assign(path, &toml(value))),
    }
}
