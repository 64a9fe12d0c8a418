//! Schemas and values in words.

use super::keywords::{bounds, branches, deref, fixed, tag, types};
use serde_json::Value as Json;

/// What a schema allows, as a message says after "expected".
pub fn describe(root: &Json, schema: &Json) -> String {
    let schema = deref(root, schema);
    if let Some(branches) = branches(root, schema) {
        let kinds: Vec<_> = branches.iter().filter_map(|branch| tag(branch, "kind")).collect();
        if kinds.len() == branches.len() {
            return format!("a table with a `kind`: {}", choices(&kinds, '"', "or"));
        }
        let parts: Vec<_> =
            branches.iter().filter(|b| types(b) != ["null"]).map(|branch| describe(root, branch)).collect();
        return join(&parts, "or");
    }
    if let Some(values) = fixed(schema) {
        return join(&values.into_iter().map(toml).collect::<Vec<_>>(), "or");
    }
    let integer = |key: &str| schema.get(key).and_then(Json::as_u64);
    match types(schema).into_iter().find(|name| *name != "null") {
        Some("integer") => format!("a whole number{}", range(schema, |value| format!("{value:.0}"))),
        Some("number") => format!("a number{}", range(schema, |value| format!("{value:?}"))),
        Some("boolean") => "true or false".into(),
        Some("string") if schema.get("format").and_then(Json::as_str) == Some("path") => "a path".into(),
        Some("string") => match (integer("minLength"), integer("maxLength")) {
            (Some(least), _) if least > 0 => format!("a string of at least {least} characters"),
            (_, Some(most)) => format!("a string of at most {most} characters"),
            _ => "a string".into(),
        },
        Some("array") => {
            let length = match (integer("minItems"), integer("maxItems")) {
                (Some(least), Some(most)) if least == most => format!(" of {least}"),
                (Some(least), Some(most)) => format!(" of {least} to {most}"),
                (Some(least), None) => format!(" of {least} or more"),
                (None, Some(most)) => format!(" of at most {most}"),
                (None, None) => String::new(),
            };
            match schema.get("items").filter(|items| items.is_object()) {
                Some(items) => format!("an array{length}, each {}", describe(root, items)),
                None => format!("an array{length}"),
            }
        }
        Some("object") => "a table".into(),
        _ => "a value".into(),
    }
}

/// ` from a to b`, ` above a`, …
pub fn range(schema: &Json, show: impl Fn(f64) -> String) -> String {
    let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
    let (low, high) = bounds(schema);
    let low = match (low, bound("exclusiveMinimum")) {
        (_, Some(low)) => format!("above {}", show(low)),
        (Some(low), None) => format!("from {}", show(low)),
        (None, None) => String::new(),
    };
    let high = match (high, bound("exclusiveMaximum")) {
        (_, Some(high)) => format!("below {}", show(high)),
        (Some(high), None) if low.starts_with("from") => format!("to {}", show(high)),
        (Some(high), None) => format!("at most {}", show(high)),
        (None, None) => String::new(),
    };
    match (low.is_empty(), high.is_empty()) {
        (true, true) => String::new(),
        (false, false) if high.starts_with("to") => format!(" {low} {high}"),
        (false, false) => format!(" {low} and {high}"),
        _ => format!(" {low}{high}"),
    }
}

/// The number with the fewest digits that is the same `f32`.
pub fn shortest(number: f64) -> f64 {
    (number as f32).to_string().parse().unwrap_or(number)
}

/// A JSON value as TOML writes it.
pub fn toml(json: &Json) -> String {
    match json {
        Json::Null => "…".into(),
        Json::Bool(truth) => truth.to_string(),
        Json::Number(number) => match (number.as_i64(), number.as_f64()) {
            (Some(integer), _) => integer.to_string(),
            (None, Some(float)) if float != 0.0 && float.abs() < 1e-4 => format!("{float:e}"),
            (None, Some(float)) => toml_edit::value(float).to_string().trim().to_owned(),
            (None, None) => number.to_string(),
        },
        Json::String(text) => toml_edit::value(text).to_string().trim().to_owned(),
        Json::Array(values) => format!("[{}]", values.iter().map(toml).collect::<Vec<_>>().join(", ")),
        Json::Object(entries) => {
            let entries = entries.iter().filter(|(_, value)| !value.is_null());
            let entry = |(key, value): (&String, &Json)| format!("{} = {}", toml_edit::Key::new(key), toml(value));
            format!("{{ {} }}", entries.map(entry).collect::<Vec<_>>().join(", "))
        }
    }
}

/// A list of names in quotes: `a`, `b` and `c`.
pub fn choices(names: &[&str], quote: char, last: &str) -> String {
    join(&names.iter().map(|name| format!("{quote}{name}{quote}")).collect::<Vec<_>>(), last)
}

/// A list with a word before its last.
pub fn join(names: &[String], last: &str) -> String {
    match names {
        [] => "nothing".into(),
        [one] => one.clone(),
        [first @ .., end] => format!("{} {last} {end}", first.join(", ")),
    }
}

/// Which of `known` somebody meant who wrote `found`, if one is near enough.
pub fn nearest<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (found.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(&found.to_lowercase(), &name.to_lowercase()), name))
        .filter(|&(distance, _)| distance <= allowed)
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, name)| name)
}

/// How many letters to insert, delete, replace, or swap with their neighbour (optimal string
/// alignment). Long texts are never near.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().take(65).collect(), b.chars().take(65).collect());
    if a.len() > 64 || b.len() > 64 {
        return usize::MAX;
    }
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut best = replaced.min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                best = best.min(rows[i - 2][j - 2] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_meant() {
        let keys = ["width", "heads", "depth", "weights"];
        for (found, meant) in
            [("widht", Some("width")), ("head", Some("heads")), ("Depth", Some("depth")), ("learning_rate", None)]
        {
            assert_eq!(nearest(found, keys), meant, "{found}");
        }
        assert_eq!(nearest(&"x".repeat(10_000), keys), None);
        assert_eq!(nearest("", keys), None);
    }

    #[test]
    fn distances_are_those_of_the_definition() {
        for (a, b, wanted) in [("kitten", "sitting", 3), ("ab", "ba", 1), ("", "abc", 3), ("heads", "heads", 0)] {
            assert_eq!((distance(a, b), distance(b, a)), (wanted, wanted));
        }
    }
}
