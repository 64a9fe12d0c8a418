//! `extends` and `--set`: from files and arguments to one tree.

use super::renamed;
use super::report::{Diagnostic, Report};
use super::source::{Document, Entry, Node, Place, Value, joined};
use crate::{Error, Result};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A `--set` nests no deeper.
const DEEPEST: usize = 16;
/// No recipe extends more others.
const LONGEST_CHAIN: usize = 32;

/// The tree of the recipe `first` with all that it extends below it and `sets` on top, and notes on the old words that
/// were found in it.
///
/// A name in `extends` that is no file is looked up by `library`, if it is one of that.
pub fn tree(first: Arc<Document>, path: &Path, sets: &[String], library: Library) -> Result<(Node, Report), Report> {
    let mut notes = Vec::new();
    let mut layers = vec![first.parse()?];
    let mut wrong_versions = Vec::new();
    let mut chain = vec![path.to_path_buf()];
    let mut seen = vec![identity(path)];
    while let Some(extends) = layers.last_mut().and_then(take_extends) {
        let (place, text) = extends?;
        let mut next = joined(&place.document.folder, &text);
        if let (false, Some(known)) = (next.exists(), library(&text)) {
            next = known;
        }
        let wrong = |message: String| Diagnostic::error("extends", message).at(place.clone());
        chain.push(next.clone());
        if seen.contains(&identity(&next)) || chain.len() > LONGEST_CHAIN {
            let chain: Vec<_> = chain.iter().map(|path| path.display().to_string()).collect();
            let message = format!("the recipes extend each other in a circle: {}", chain.join(" → "));
            return Err(wrong(message).hint("delete one of these `extends`").into());
        }
        seen.push(identity(&next));
        let document = Document::read(&next, layers.len());
        let document = document.map_err(|error| wrong(unreadable(&next, &error)).hint(path_hint(&text)))?;
        let layer = document.parse()?;
        wrong_versions.extend(other_version(&layer));
        layers.push(layer);
    }
    Report(wrong_versions).into_result()?;
    layers.iter_mut().for_each(|layer| renamed::layer(layer, &mut notes));
    let mut tree = Node::empty();
    let mut unknown = Vec::new();
    while let Some(mut layer) = layers.pop() {
        unset(&mut tree, &mut layer, &mut unknown);
        merge(&mut tree, layer);
    }
    Report(unknown).into_result()?;
    set_all(&mut tree, sets, &mut notes)?;
    Ok((tree, Report(notes)))
}

/// Finds a recipe by a name that is no file.
pub type Library<'a> = &'a dyn Fn(&str) -> Option<PathBuf>;

/// Takes the keys that `unset` of a layer names out of what it extends.
fn unset(base: &mut Node, layer: &mut Node, wrong: &mut Vec<Diagnostic>) {
    let Value::Table(entries) = &mut layer.value else { return };
    let Some(entry) = entries.remove("unset") else { return };
    let Value::Array(paths) = &entry.node.value else {
        let message = format!("found {}, expected an array of keys", entry.node);
        let hint = "write `unset = [\"train.start\"]`";
        return wrong.push(Diagnostic::error("unset", message).at(entry.node.place.clone()).hint(hint));
    };
    for (i, path) in paths.iter().enumerate() {
        let gone = path.text().is_some_and(|text| remove(base, text));
        if !gone {
            let message = format!("{path} is no key of the recipe that this one extends");
            let hint = "write the dotted path of a key that is set there, such as \"train.start\", or delete this";
            wrong.push(Diagnostic::error(format!("unset.{i}"), message).at(path.place.clone()).hint(hint));
        }
    }
}

/// Removes the key at a dotted path; whether there was one.
fn remove(node: &mut Node, path: &str) -> bool {
    let Value::Table(entries) = &mut node.value else { return false };
    match path.split_once('.') {
        None => entries.remove(path).is_some(),
        Some((key, rest)) => entries.get_mut(key).is_some_and(|entry| remove(&mut entry.node, rest)),
    }
}

/// Reads the file at the end of the chain.
pub fn open(path: &Path) -> Result<Arc<Document>, Report> {
    Document::read(path, 0).map_err(|error| {
        let hint = match path.is_file() {
            true => "name a recipe: a text file that ends in .toml",
            false => "name a recipe that is there, e.g. one in recipes/",
        };
        Diagnostic::error("", unreadable(path, &error)).hint(hint).into()
    })
}

/// The file that is read first is held against the schema; what it extends would hide behind it.
fn other_version(layer: &Node) -> Option<Diagnostic> {
    let entry = layer.get("schema").filter(|entry| entry.node.value != Value::Integer(1))?;
    let message = format!("found {}, expected 1", entry.node);
    Some(Diagnostic::error("schema", message).at(entry.node.place.clone()).hint("set `schema = 1`"))
}

fn unreadable(path: &Path, error: &Error) -> String {
    match path.try_exists() {
        Ok(false) => format!("there is no file {}", path.display()),
        _ => format!("{}: {}", path.display(), error.message()),
    }
}

fn path_hint(text: &str) -> &'static str {
    match Path::new(text).extension() {
        None => {
            "did you leave out `.toml`? It is a path relative to the file that says `extends`, or a built-in recipe"
        }
        Some(_) => "check the path: it is relative to the file that says `extends`",
    }
}

fn take_extends(layer: &mut Node) -> Option<Result<(Place, String), Report>> {
    let Value::Table(entries) = &mut layer.value else { return None };
    let entry = entries.remove("extends")?;
    let place = entry.node.place.clone()?;
    Some(match entry.node.text() {
        Some(text) => Ok((place, text.to_owned())),
        None => {
            let message = format!("found {}, expected the path of a recipe", entry.node);
            Err(Diagnostic::error("extends", message).at(place).hint("write `extends = \"base.toml\"`").into())
        }
    })
}

/// Two names of one file are one file.
fn identity(path: &Path) -> PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_path_buf())
}

/// Lays `layer` over `base`: tables merge key by key, anything else is replaced. A table with
/// another `kind` is another component: nothing of the old one is left.
pub fn merge(base: &mut Node, layer: Node) {
    match (&mut base.value, layer.value) {
        (Value::Table(old), Value::Table(new)) if !another_kind(old, &new) => {
            for (key, entry) in new {
                match old.get_mut(&key) {
                    Some(old) => {
                        old.key = entry.key;
                        merge(&mut old.node, entry.node);
                    }
                    None => {
                        old.insert(key, entry);
                    }
                }
            }
            base.place = layer.place.or(base.place.take());
        }
        (_, value) => *base = Node { value, place: layer.place },
    }
}

fn another_kind(old: &BTreeMap<String, Entry>, new: &BTreeMap<String, Entry>) -> bool {
    match (old.get("kind"), new.get("kind")) {
        (Some(old), Some(new)) => old.node.value != new.node.value,
        _ => false,
    }
}

/// Lays every `dotted.path=VALUE` over the tree, whole tables before their keys and a `kind` before
/// what stands beside it, whatever the order of the arguments: they would throw it away.
fn set_all(tree: &mut Node, sets: &[String], notes: &mut Vec<Diagnostic>) -> Result<(), Report> {
    let mut wrong = Vec::new();
    let mut parsed = Vec::new();
    for (i, set) in sets.iter().enumerate() {
        match parse_set(&Document::argument(set, LONGEST_CHAIN + 1 + i)) {
            Ok((mut path, key, mut node)) => {
                renamed::set(&mut path, &mut node, notes);
                parsed.push((path, key, node));
            }
            Err(diagnostic) => wrong.push(diagnostic),
        }
    }
    parsed.sort_by_key(|(path, ..)| (path.len(), path.last().is_none_or(|last| last != "kind")));
    for (path, key, node) in parsed {
        if let Err(diagnostic) = set(tree, &path, 0, &key, node) {
            wrong.push(diagnostic);
        }
    }
    Report(wrong).into_result()
}

type Set = (Vec<String>, Place, Node);

fn parse_set(document: &Arc<Document>) -> Result<Set, Diagnostic> {
    const FORM: &str = "write `--set backbone.width=256`: a dotted path, `=`, a value";
    let whole = || document.place(0..document.text.len());
    let wrong = |message: &str, place: Place| Err(Diagnostic::error("", message).at(place).hint(FORM));
    let Some(equals) = document.text.find('=') else { return wrong("there is no `=` in this argument", whole()) };
    let Ok(keys) = toml_edit::Key::parse(&document.text[..equals]) else {
        return wrong("what stands before the `=` is no dotted path", document.place(0..equals));
    };
    if keys.len() > DEEPEST {
        return wrong("no key of a recipe lies that deep", document.place(0..equals));
    }
    let path: Vec<String> = keys.iter().map(|key| key.get().to_owned()).collect();
    match path[0].as_str() {
        "extends" | "schema" => return wrong("this key can only be set in a file", document.place(0..equals)),
        _ => {}
    }
    let start = equals + 1 + document.text[equals + 1..].chars().take_while(|c| *c == ' ').count();
    if start == document.text.len() {
        return wrong("there is no value after the `=`", whole());
    }
    Ok((path, document.place(0..equals), document.value(start..document.text.len())))
}

fn set(node: &mut Node, path: &[String], depth: usize, key: &Place, value: Node) -> Result<(), Diagnostic> {
    let Some(name) = path.get(depth) else {
        merge(node, value);
        return Ok(());
    };
    let here = || path[..depth].join(".");
    let found = node.to_string();
    match &mut node.value {
        Value::Table(entries) => {
            if depth + 1 == path.len() && name == "kind" {
                // The same as a file that extends this one and names another kind.
                let kind = Entry { key: Some(key.clone()), node: value };
                let layer = Value::Table(BTreeMap::from([(name.clone(), kind)]));
                merge(node, Node { value: layer, place: Some(key.clone()) });
                return Ok(());
            }
            let empty = || Entry { key: Some(key.clone()), node: Node { place: Some(key.clone()), ..Node::empty() } };
            let entry = entries.entry(name.clone()).or_insert_with(empty);
            entry.key = Some(key.clone());
            set(&mut entry.node, path, depth + 1, key, value)
        }
        Value::Array(values) => {
            let length = values.len();
            match name.parse::<usize>().ok().and_then(|i| values.get_mut(i)) {
                Some(node) => set(node, path, depth + 1, key, value),
                None => Err(Diagnostic::error(here(), format!("an array of {length} has no `{name}`"))
                    .at(key.clone())
                    .hint(match length {
                        0 => "set the whole array".to_owned(),
                        _ => format!("write a number from 0 to {}", length - 1),
                    })),
            }
        }
        _ => Err(Diagnostic::error(here(), format!("it is {found}, there is nothing below it to set"))
            .at(key.clone())
            .hint(format!("set `{}` itself", here()))),
    }
}
