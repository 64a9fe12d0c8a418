//! The keywords of JSON Schema that recipes use, read from a schema.

use serde_json::Value as Json;

/// Follows `$ref`s within `root`; at most a few, so that a circle ends.
pub fn deref<'a>(root: &'a Json, mut schema: &'a Json) -> &'a Json {
    for _ in 0..8 {
        let Some(name) = schema.get("$ref").and_then(Json::as_str).and_then(|r| r.strip_prefix("#/$defs/")) else {
            break;
        };
        match root.get("$defs").and_then(|defs| defs.get(name)) {
            Some(next) => schema = next,
            None => break,
        }
    }
    schema
}

/// The branches of a `oneOf` or `anyOf`, dereferenced.
pub fn branches<'a>(root: &'a Json, schema: &'a Json) -> Option<Vec<&'a Json>> {
    let branches = schema.get("oneOf").or_else(|| schema.get("anyOf"))?.as_array()?;
    Some(branches.iter().map(|branch| deref(root, branch)).collect())
}

/// The one text that a branch's `key` may have.
pub fn tag<'a>(branch: &'a Json, key: &str) -> Option<&'a str> {
    let property = branch.get("properties")?.get(key)?;
    let single = || property.get("enum")?.as_array().filter(|values| values.len() == 1)?.first();
    property.get("const").or_else(single)?.as_str()
}

/// The types that a schema allows; none: any.
pub fn types(schema: &Json) -> Vec<&str> {
    match schema.get("type") {
        Some(Json::String(one)) => vec![one],
        Some(Json::Array(many)) => many.iter().filter_map(Json::as_str).collect(),
        _ => Vec::new(),
    }
}

/// The values that a schema names one by one.
pub fn fixed(schema: &Json) -> Option<Vec<&Json>> {
    match (schema.get("const"), schema.get("enum")) {
        (Some(one), _) => Some(vec![one]),
        (None, Some(Json::Array(many))) => Some(many.iter().filter(|json| !json.is_null()).collect()),
        _ => None,
    }
}

/// The least and the largest number allowed.
pub fn bounds(schema: &Json) -> (Option<f64>, Option<f64>) {
    let bound = |key: &str| schema.get(key).and_then(Json::as_f64);
    (bound("minimum"), bound("maximum"))
}

/// Whether an object schema wants this key.
pub fn requires(schema: &Json, key: &str) -> bool {
    let required = schema.get("required").and_then(Json::as_array);
    required.is_some_and(|keys| keys.iter().any(|other| other == key))
}

/// The value that stands for an absent one.
pub fn default_of(schema: &Json) -> Option<&Json> {
    schema.get("default").filter(|default| !default.is_null())
}
