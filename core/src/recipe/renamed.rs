//! Words that recipes used before: still read, each with a note that names today's.

use super::report::Diagnostic;
use super::source::{Entry, Node, Place, Value};

/// Keys: the table that holds them, the old name, the new one.
pub(super) const KEYS: [(&str, &str, &str); 3] = [
    ("objective", "stagger", "frame_offset"),
    ("sampler", "stagger", "frame_offset"),
    ("train", "on_disease", "on_failure"),
];

/// Values of the keys [`MASKS`]: the old word, the new one.
pub(super) const VALUES: [(&str, &str); 2] = [("made", "target"), ("given", "context")];

/// Keys whose values are [`VALUES`]; `*` stands for the number of a task.
const MASKS: [&str; 2] = ["task.*.video", "task.*.audio"];

/// Puts the new words in place of the old ones in one layer of a recipe, and adds a note for each.
pub fn layer(node: &mut Node, notes: &mut Vec<Diagnostic>) {
    visit(node, "", "", notes);
}

/// The same for `--set path=node`.
pub fn set(path: &mut [String], node: &mut Node, notes: &mut Vec<Diagnostic>) {
    if let [above @ .., last] = path
        && let Some(new) = key(&pattern(above), last)
    {
        notes.push(note(&above.join("."), last, new, node.place.clone()));
        *last = new.to_owned();
    }
    visit(node, &pattern(path), &path.join("."), notes);
}

/// Renames in `node`, which is written at `path` and matches `pattern`.
fn visit(node: &mut Node, pattern: &str, path: &str, notes: &mut Vec<Diagnostic>) {
    match &mut node.value {
        Value::Table(entries) => {
            let old: Vec<String> = entries.keys().filter(|name| key(pattern, name).is_some()).cloned().collect();
            for name in old {
                // Where both are written, the old one is left for the checker to refuse.
                let new = key(pattern, &name).filter(|new| !entries.contains_key(*new));
                if let Some((new, entry)) = new.and_then(|new| Some((new, entries.remove(&name)?))) {
                    notes.push(note(path, &name, new, entry.key.clone()));
                    entries.insert(new.to_owned(), entry);
                }
            }
            for (name, Entry { node, .. }) in entries {
                visit(node, &below(pattern, step(name)), &below(path, name), notes);
            }
        }
        Value::Array(nodes) => {
            for (i, node) in nodes.iter_mut().enumerate() {
                visit(node, &below(pattern, "*"), &below(path, &i.to_string()), notes);
            }
        }
        Value::String(text) if MASKS.contains(&pattern) => {
            if let Some((old, new)) = VALUES.iter().find(|(old, _)| old == text) {
                let message = format!("\"{old}\" is called \"{new}\" now");
                let last = path.rsplit('.').next().unwrap_or_default();
                let hint = format!("write `{last} = \"{new}\"`");
                notes.push(Diagnostic::error(path, message).at(node.place.clone()).hint(hint).note());
                *text = (*new).to_owned();
            }
        }
        _ => {}
    }
}

/// What a key of the table `pattern` is called now, where it had another name.
fn key(pattern: &str, name: &str) -> Option<&'static str> {
    KEYS.iter().find(|(table, old, _)| *table == pattern && *old == name).map(|(.., new)| *new)
}

fn note(table: &str, old: &str, new: &str, place: Option<Place>) -> Diagnostic {
    let message = format!("this key is called `{new}` now");
    Diagnostic::error(below(table, old), message).at(place).hint(format!("write `{new}`")).note()
}

fn pattern(path: &[String]) -> String {
    path.iter().fold(String::new(), |pattern, name| below(&pattern, step(name)))
}

/// A part of a path as it stands in a pattern.
fn step(name: &str) -> &str {
    if name.parse::<usize>().is_ok() { "*" } else { name }
}

fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

#[cfg(test)]
mod tests {
    use super::super::source::Document;
    use super::*;
    use std::path::Path;

    fn renamed(text: &str) -> (Node, Vec<String>) {
        let mut tree = Document::file(Path::new("x.toml"), text.to_owned(), 0).parse().unwrap();
        let mut notes = Vec::new();
        layer(&mut tree, &mut notes);
        (tree, notes.iter().map(Diagnostic::to_string).collect())
    }

    fn at<'a>(tree: &'a Node, table: &str, key: &str) -> Option<&'a Value> {
        Some(&tree.get(table)?.node.get(key)?.node.value)
    }

    #[test]
    fn an_old_key_is_read_as_the_new_one_with_a_note() {
        let (tree, notes) = renamed("[sampler]\nstagger = 0.5\n[train]\non_disease = \"stop\"\n");
        assert_eq!(at(&tree, "sampler", "frame_offset"), Some(&Value::Float(0.5)));
        assert_eq!(at(&tree, "sampler", "stagger"), None);
        assert_eq!(at(&tree, "train", "on_failure"), Some(&Value::String("stop".into())));
        assert_eq!(notes.len(), 2);
        for part in ["note: `sampler.stagger`", "called `frame_offset` now", "x.toml:2:1", "hint: write `frame_offset`"]
        {
            assert!(notes[0].contains(part), "{part}: {}", notes[0]);
        }
        // A table of another name may have such a key; where both names are written, the old one is left to be refused.
        let (tree, notes) = renamed("[metric]\nstagger = 1\n[objective]\nstagger = 0.5\nframe_offset = 0.25\n");
        assert_eq!((at(&tree, "metric", "stagger"), notes.len()), (Some(&Value::Integer(1)), 0));
        assert_eq!(at(&tree, "objective", "stagger"), Some(&Value::Float(0.5)));
    }

    #[test]
    fn old_values_are_read_as_the_new_ones_with_a_note() {
        let (tree, notes) =
            renamed("name = \"made\"\n[[task]]\nname = \"given\"\nvideo = \"given\"\naudio = \"made\"\n");
        let Value::Array(tasks) = &tree.get("task").unwrap().node.value else { panic!("an array") };
        let text = |node: &Node, key: &str| node.get(key).unwrap().node.text().unwrap().to_owned();
        assert_eq!(["name", "video", "audio"].map(|key| text(&tasks[0], key)), ["given", "context", "target"]);
        assert_eq!(text(&tree, "name"), "made");
        assert_eq!(notes.len(), 2);
        assert!(notes[0].contains("`task.0.audio`: \"made\" is called \"target\" now"), "{}", notes[0]);
        assert!(notes[1].contains("hint: write `video = \"context\"`"), "{}", notes[1]);
    }

    #[test]
    fn an_argument_is_read_so_too() {
        let renamed = |path: &str, value: Value| {
            let mut path: Vec<String> = path.split('.').map(str::to_owned).collect();
            let (mut node, mut notes) = (Node { value, place: None }, Vec::new());
            set(&mut path, &mut node, &mut notes);
            (path.join("."), node.value, notes.len())
        };
        let (half, made) = (Value::Float(0.5), Value::String("made".into()));
        assert_eq!(renamed("sampler.stagger", half.clone()), ("sampler.frame_offset".into(), half.clone(), 1));
        assert_eq!(renamed("sampler.frame_offset", half.clone()), ("sampler.frame_offset".into(), half, 0));
        assert_eq!(renamed("task.3.audio", made.clone()), ("task.3.audio".into(), Value::String("target".into()), 1));
        assert_eq!(renamed("task.3.name", made.clone()), ("task.3.name".into(), made, 0));
    }
}
