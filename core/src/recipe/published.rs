//! The schema that editors read, derived from the one that is enforced.
//!
//! The checker sees a recipe after its `extends`, an editor sees one file. So of a file that extends another nothing is
//! required that the other may say. And a `kind` selects its schema by `if` and `then`: an error is reported once, at its
//! key, and not once for each component that it could have been.

use super::keywords::{deref, fixed, tag};
use super::renamed;
use super::schema::{SECTIONS, schema};
use crate::Registry;
use serde_json::{Map, Value as Json, json};
use std::collections::BTreeSet;

/// A table nests no deeper.
const DEEPEST: usize = 16;

/// The JSON Schema (draft 2020-12) of a recipe's file, for this set of components. It accepts every file that the checker
/// accepts; what only the whole recipe shows, the checker reports.
pub fn published(registry: &Registry) -> Json {
    let mut whole = schema(registry);
    earlier_words(&mut whole);
    let mut root = whole.clone();
    simplify(&mut root, &whole);
    // A kind with a dot is that of a plugin, which only the checker asks.
    for section in SECTIONS.iter().map(|section| section.path).chain(["metric"]) {
        if let Some(kind) = root.pointer_mut(&format!("/$defs/{section}/properties/kind")) {
            let built_in = kind["enum"].take();
            *kind = json!({ "type": "string", "if": { "pattern": "\\." }, "else": { "enum": built_in } });
        }
    }
    let needs = needs(&root, &root, 0).unwrap_or_default();
    ask_nothing(&mut root);
    root["if"] = json!({ "required": ["extends"] });
    root["else"] = needs;
    root
}

/// Adds the keys and words that recipes used before and that are still read.
fn earlier_words(whole: &mut Json) {
    let Some(defs) = whole["$defs"].as_object_mut() else { return };
    for (table, old, new) in renamed::KEYS {
        let its = |name: &str| name == table || name.strip_prefix(table).is_some_and(|rest| rest.starts_with('.'));
        for definition in defs.iter_mut().filter(|(name, _)| its(name)).map(|(_, definition)| definition) {
            let properties = definition.get_mut("properties").and_then(Json::as_object_mut);
            let Some(properties) = properties else { continue };
            if let Some(mut property) = properties.get(new).cloned() {
                property["deprecated"] = true.into();
                property["description"] = format!("It is called `{new}` now.").into();
                properties.insert(old.to_owned(), property);
            }
        }
    }
    if let Some(Json::Array(words)) = defs.get_mut("task.MaskSpec").and_then(|spec| spec.get_mut("oneOf")) {
        words.extend(renamed::VALUES.map(|(old, new)| json!({ "const": old, "description": format!("Now `{new}`.") })));
    }
}

/// Rewrites every choice so that an error is reported once, at its key: there is no null in TOML, one of several words is an
/// `enum`, and of tables with a `kind` the kind selects one. `whole` is the schema as it was.
fn simplify(json: &mut Json, whole: &Json) {
    let object = match json {
        Json::Array(all) => return all.iter_mut().for_each(|json| simplify(json, whole)),
        Json::Object(object) => object,
        _ => return,
    };
    object.values_mut().for_each(|json| simplify(json, whole));
    if object.get("default") == Some(&Json::Null) {
        object.shift_remove("default");
    }
    if let Some(Json::Array(types)) = object.get_mut("type") {
        types.retain(|name| name != "null");
        if let [one] = &types[..] {
            let one = one.clone();
            object.insert("type".into(), one);
        }
    }
    if let Some(Json::Array(choice)) = object.get_mut("anyOf") {
        choice.retain(|one| one["type"] != "null");
        if let [Json::Object(one)] = &choice[..] {
            let one = one.clone();
            object.shift_remove("anyOf");
            for (key, value) in one {
                object.entry(key).or_insert(value);
            }
        }
    }
    if let Some(Json::Array(branches)) = object.get("oneOf") {
        let branches = branches.clone();
        if let Some(words) = words(&branches) {
            object.shift_remove("oneOf");
            let about = words.iter().filter_map(|(word, about)| Some(format!("{word}: {}", (*about)?)));
            let about = [object.get("description").and_then(Json::as_str).map(str::to_owned)]
                .into_iter()
                .flatten()
                .chain(about)
                .collect::<Vec<_>>();
            object.insert("description".into(), about.join("\n").into());
            object.insert("enum".into(), words.iter().map(|(word, _)| (*word).clone()).collect());
        } else {
            by_kind(object, branches, whole);
        }
    }
}

/// The words of a choice of words alone, each with its description.
fn words(branches: &[Json]) -> Option<Vec<(&Json, Option<&str>)>> {
    let all: Option<Vec<_>> =
        branches.iter().map(|branch| Some((fixed(branch)?, branch["description"].as_str()))).collect();
    Some(all?.into_iter().flat_map(|(words, about)| words.into_iter().map(move |word| (word, about))).collect())
}

/// Makes the `kind` select one of the `branches` of a choice, where each has one. A table without a kind, which one that it
/// extends may have, has keys of any of them.
fn by_kind(object: &mut Map<String, Json>, branches: Vec<Json>, whole: &Json) {
    let kinds = branches.iter().map(|branch| tag(deref(whole, branch), "kind").map(str::to_owned));
    let Some(kinds) = kinds.collect::<Option<Vec<_>>>() else { return };
    object.shift_remove("oneOf");
    let mut keys: Map<String, Json> = Map::new();
    for branch in &branches {
        let properties = deref(whole, branch).get("properties").and_then(Json::as_object);
        for (key, property) in properties.into_iter().flatten().filter(|(key, _)| *key != "kind") {
            let either = keys.entry(key.clone()).or_insert_with(|| json!({ "anyOf": [] }));
            let same = |other: &Json| asked(other, whole, 0) == asked(property, whole, 0);
            if let Some(either) = either["anyOf"].as_array_mut().filter(|either| !either.iter().any(same)) {
                either.push(property.clone());
            }
        }
    }
    for either in keys.values_mut() {
        if let Some([one]) = either["anyOf"].as_array().map(Vec::as_slice) {
            *either = one.clone();
        }
        simplify(either, whole);
    }
    let none = json!({
        "if": { "not": { "required": ["kind"] } },
        "then": { "additionalProperties": false, "properties": keys },
    });
    let each = kinds.iter().zip(branches).map(|(kind, branch)| {
        let named = json!({ "required": ["kind"], "properties": { "kind": { "const": kind } } });
        json!({ "if": named, "then": branch })
    });
    let all: Vec<Json> = each.chain([none]).collect();
    object.insert("type".into(), "object".into());
    object.insert("required".into(), json!(["kind"]));
    object.insert("properties".into(), json!({ "kind": { "enum": kinds } }));
    object.insert("allOf".into(), all.into());
}

/// What a schema asks, without what it tells about it and whatever its definitions are called.
fn asked(schema: &Json, whole: &Json, depth: usize) -> Json {
    let below = |schema: &Json| if depth < DEEPEST { asked(schema, whole, depth + 1) } else { schema.clone() };
    match deref(whole, schema) {
        Json::Array(all) => all.iter().map(below).collect(),
        Json::Object(object) => {
            let tells = ["title", "description", "default", "examples", "$ref"];
            let asks = object.iter().filter(|(key, _)| !tells.contains(&key.as_str()));
            let of = |(key, value): (&String, &Json)| match (key.as_str(), value) {
                // Their names are no keywords.
                ("properties", Json::Object(each)) => {
                    let each = each.iter().map(|(name, property)| (name.clone(), below(property)));
                    (key.clone(), Json::Object(each.collect()))
                }
                _ => (key.clone(), below(value)),
            };
            Json::Object(asks.map(of).collect())
        }
        other => other.clone(),
    }
}

/// What is required of the tables of `schema` that merge with those of another file, and nothing else of it. Arrays do not
/// merge.
fn needs(root: &Json, schema: &Json, depth: usize) -> Option<Json> {
    if depth > DEEPEST {
        return None;
    }
    let schema = deref(root, schema);
    let below = |schema: &Json| needs(root, schema, depth + 1);
    let mut out = Map::new();
    out.extend(schema.get("required").map(|keys| ("required".to_owned(), keys.clone())));
    let properties = schema.get("properties").and_then(Json::as_object).into_iter().flatten();
    let properties: Map<String, Json> =
        properties.filter_map(|(key, property)| Some((key.clone(), below(property)?))).collect();
    if !properties.is_empty() {
        out.insert("properties".into(), properties.into());
    }
    let others = schema.get("additionalProperties").filter(|others| others.is_object());
    out.extend(others.and_then(|others| Some(("additionalProperties".to_owned(), below(others)?))));
    let mut all = Vec::new();
    for part in schema.get("allOf").and_then(Json::as_array).into_iter().flatten() {
        match (part.get("if"), part.get("then")) {
            (Some(condition), Some(then)) => {
                all.extend(below(then).map(|then| json!({ "if": condition, "then": then })));
            }
            _ => all.extend(below(part)),
        }
    }
    if !all.is_empty() {
        out.insert("allOf".into(), all.into());
    }
    (!out.is_empty()).then(|| out.into())
}

/// Takes out what is required of tables that merge.
fn ask_nothing(root: &mut Json) {
    let mut seen = BTreeSet::new();
    let mut next = Vec::new();
    optional(root, &mut next);
    while let Some(name) = next.pop() {
        if let (true, Some(definition)) = (seen.insert(name.clone()), root["$defs"].get_mut(&name)) {
            optional(definition, &mut next);
        }
    }
}

/// The same of one schema; `refs` gets the definitions that it refers to.
fn optional(schema: &mut Json, refs: &mut Vec<String>) {
    let Some(object) = schema.as_object_mut() else { return };
    object.shift_remove("required");
    for (key, value) in object.iter_mut() {
        match (key.as_str(), value) {
            ("$ref", Json::String(target)) => refs.extend(target.strip_prefix("#/$defs/").map(str::to_owned)),
            ("properties", Json::Object(each)) => each.values_mut().for_each(|value| optional(value, refs)),
            ("allOf" | "anyOf" | "oneOf", Json::Array(each)) => each.iter_mut().for_each(|value| optional(value, refs)),
            ("additionalProperties" | "then", value) => optional(value, refs),
            _ => {}
        }
    }
}
