//! The JSON Schema of the recipe language, assembled from the fixed sections and the registered
//! components. The reference page is made of it, `walk` enforces it, and what editors read is derived from it
//! (`published`): there is no second description that could differ.

use super::condition::ConditionSettings;
use super::plugin::PluginPin;
use super::settings::{EvaluateSettings, TrainSettings};
use super::track::TrackSettings;
use super::words::shortest;
use crate::{Component, Modality, Registry, Role, Task};
use serde_json::{Map, Value as Json, json};

/// A section of the recipe that holds a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Section {
    /// Its dotted path.
    pub path: &'static str,
    /// What stands there.
    pub role: Role,
    /// What a tokenizer that stands there reads and makes.
    pub modality: Option<Modality>,
    /// One line for docs.
    pub summary: &'static str,
}

/// The sections that hold components, in the order of the road.
pub const SECTIONS: [Section; 9] = [
    Section::new("data", Role::Dataset, None, "Where clips and captions come from."),
    Section::new("tokenizer.video", Role::Tokenizer, Some(Modality::Video), "Clips to tokens and back."),
    Section::new("tokenizer.audio", Role::Tokenizer, Some(Modality::Audio), "Sounds to tokens and back."),
    Section::new("tokenizer.text", Role::Tokenizer, Some(Modality::Text), "Prompts and captions to tokens, and back."),
    Section::new("backbone", Role::Backbone, None, "The Transformer that predicts tokens."),
    Section::new("objective", Role::Objective, None, "The training loss of the backbone."),
    Section::new("schedule", Role::Schedule, None, SCHEDULE),
    Section::new("sampler", Role::Sampler, None, "How predictions become tokens."),
    Section::new("program", Role::Program, None, PROGRAM),
];

/// What `[schedule]` is.
const SCHEDULE: &str =
    "How signal and noise are mixed along the way from data to noise; without it, the objective's own.";

/// What `[program]` is.
const PROGRAM: &str =
    "The outer loop round the sampler, where no flag of `generate` overrides it; without it, one piece.";

/// What `[[metric]]` is.
pub const METRIC: &str =
    "A measure of samples, built in or of a plugin, whose id is its `kind`, beside those that are always taken.";

/// What `[[task]]` is.
pub const TASK: &str =
    "What of each track is context, and what is generated; without any, all is generated from a prompt.";

/// What `[condition.NAME]` is.
pub const CONDITION: &str = "Numbers that samples are conditioned on, by name.";

/// What `[tokenizer.NAME]` is.
pub const FURTHER: &str = "The tokenizer of the further track `NAME`, of the kinds of `[tokenizer.video]` and with their \
    keys; without it, that track has the tokenizer of clips.";

/// What `[tokenizer]` is.
const TOKENIZER: &str =
    "Media to tokens and back: of clips, sounds and texts, and of further tracks, which hold clips, by their names.";

/// What `[track.NAME]` is.
pub const TRACK: &str = "Tracks of the canvas, by name.";

impl Section {
    const fn new(path: &'static str, role: Role, modality: Option<Modality>, summary: &'static str) -> Self {
        Self { path, role, modality, summary }
    }

    /// The components that can stand there. Of which modality a tokenizer is its default knows; one
    /// that has none may stand anywhere, and is asked once it is made.
    pub fn components(self, registry: &Registry) -> impl Iterator<Item = &Component> {
        registry.of(self.role).filter(move |component| match (component.make.tokenizer(), self.modality) {
            (Some(make), Some(wanted)) => match make(json!({})) {
                Ok(tokenizer) if tokenizer.errors().is_empty() => tokenizer.spec().modality == wanted,
                _ => true,
            },
            _ => true,
        })
    }
}

/// The JSON Schema (draft 2020-12) of a recipe after its `extends`, for this set of components.
pub fn schema(registry: &Registry) -> Json {
    let mut defs = Map::new();
    for section in SECTIONS {
        let kinds = section.components(registry).map(|component| {
            let name = format!("{}.{}", section.path, component.kind);
            let schema = of_component(component, &name, &mut defs);
            defs.insert(name.clone(), schema);
            json!({ "$ref": format!("#/$defs/{name}") })
        });
        let kinds: Vec<_> = kinds.collect();
        defs.insert(section.path.into(), json!({ "description": section.summary, "oneOf": kinds }));
    }
    let metrics = registry.of(Role::Metric).map(|component| {
        let name = format!("metric.{}", component.kind);
        let schema = of_component(component, &name, &mut defs);
        defs.insert(name.clone(), schema);
        json!({ "$ref": format!("#/$defs/{name}") })
    });
    let metrics: Vec<_> = metrics.collect();
    defs.insert("metric".into(), json!({ "description": METRIC, "oneOf": metrics }));
    let mut fixed = |name: &str, schema: schemars::Schema| {
        let schema = embedded(name, schema.into(), &mut defs);
        defs.insert(name.into(), schema);
    };
    fixed("train", schemars::schema_for!(TrainSettings));
    fixed("evaluate", schemars::schema_for!(EvaluateSettings));
    fixed("plugin", schemars::schema_for!(PluginPin));
    fixed("task", schemars::schema_for!(Task));
    fixed("track", schemars::schema_for!(TrackSettings));
    fixed("condition", schemars::schema_for!(ConditionSettings));
    for kind in registry.train_tables() {
        let name = format!("train.{}", kind.key);
        let schema = embedded(&name, kind.schema.clone(), &mut defs);
        defs.insert(name, schema);
        if let Some(train) = defs.get_mut("train") {
            train["properties"][kind.key] = kind.property.clone();
        }
    }
    // What is to be trained has to be said: the default is only there for the struct's sake.
    if let Some(train) = defs.get_mut("train") {
        train["required"] = json!(["target"]);
        if let Some(Json::Object(target)) = train.pointer_mut("/properties/target") {
            target.remove("default");
        }
        // It follows from the steps.
        if let Some(Json::Object(warmup)) = train.pointer_mut("/properties/warmup") {
            warmup.remove("default");
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "musiva recipe",
        "type": "object",
        "additionalProperties": false,
        "required": ["schema"],
        "properties": {
            "schema": { "const": 1, "description": "Version of the recipe language." },
            "extends": {
                "type": "string",
                "description": "Another recipe that this one changes: a path relative to this file, or a built-in recipe.",
            },
            "unset": {
                "type": "array",
                "items": { "type": "string" },
                "description": "Dotted paths of keys of the recipe that this one extends which do not hold here.",
            },
            "name": { "type": "string", "description": "What the recipe is called." },
            "description": { "type": "string", "description": "What it is for." },
            "plugin": {
                "description": "Plugins whose components the recipe names.",
                "type": "array",
                "items": { "$ref": "#/$defs/plugin" },
            },
            "data": { "$ref": "#/$defs/data" },
            "tokenizer": {
                "description": TOKENIZER,
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/tokenizer.video" },
                "properties": {
                    "video": { "$ref": "#/$defs/tokenizer.video" },
                    "audio": { "$ref": "#/$defs/tokenizer.audio" },
                    "text": { "$ref": "#/$defs/tokenizer.text" },
                },
            },
            "backbone": { "$ref": "#/$defs/backbone" },
            "objective": { "$ref": "#/$defs/objective" },
            "schedule": { "$ref": "#/$defs/schedule" },
            "sampler": { "$ref": "#/$defs/sampler" },
            "metric": { "description": METRIC, "type": "array", "items": { "$ref": "#/$defs/metric" } },
            "task": { "description": TASK, "type": "array", "items": { "$ref": "#/$defs/task" } },
            "track": {
                "description": TRACK,
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/track" },
            },
            "condition": {
                "description": CONDITION,
                "type": "object",
                "additionalProperties": { "$ref": "#/$defs/condition" },
            },
            "program": { "$ref": "#/$defs/program" },
            "train": { "$ref": "#/$defs/train" },
            "evaluate": { "$ref": "#/$defs/evaluate" },
        },
        "$defs": defs,
    })
}

/// A component's own schema with the keys that every component has.
fn of_component(component: &Component, name: &str, defs: &mut Map<String, Json>) -> Json {
    let mut own = embedded(name, component.schema.clone(), defs);
    // The schema of a struct that only wraps another one is a reference to it.
    while let Some(target) = own.get("$ref").and_then(Json::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
        let Some(wrapped) = defs.get(target).filter(|wrapped| **wrapped != own) else { break };
        own = wrapped.clone();
    }
    let mut properties = Map::new();
    properties.insert("kind".into(), json!({ "const": component.kind, "description": component.summary }));
    if component.learns {
        let description = "Its weights file; the path is relative to the file that names it.";
        properties.insert(
            "weights".into(),
            json!({ "type": "string", "format": "path", "minLength": 1, "description": description }),
        );
    }
    let mut required = vec![json!("kind")];
    if let Some(Json::Object(own)) = own.get("properties") {
        properties.extend(own.clone());
    }
    if let Some(Json::Array(own)) = own.get("required") {
        required.extend(own.iter().cloned());
    }
    // A key called `path` is one, and so relative to the file that says it.
    if let Some(Json::Object(path)) = properties.get_mut("path")
        && path.get("type") == Some(&json!("string"))
    {
        path.insert("format".into(), json!("path"));
    }
    json!({
        "title": component.kind,
        "description": own.get("description").cloned().unwrap_or_else(|| component.summary.into()),
        "type": "object",
        "additionalProperties": false,
        "required": required,
        "properties": properties,
    })
}

/// A schema whose own definitions have moved to `defs`, under names that begin with `name`.
fn embedded(name: &str, mut schema: Json, defs: &mut Map<String, Json>) -> Json {
    let Some(object) = schema.as_object_mut() else { return schema };
    object.remove("$schema");
    let own = ["$defs", "definitions"].into_iter().find_map(|key| object.remove(key));
    if let Some(Json::Object(own)) = own {
        for (key, mut definition) in own {
            settle(&mut definition, name);
            defs.insert(format!("{name}.{key}"), definition);
        }
    }
    settle(&mut schema, name);
    schema
}

/// Makes references lead to where the definitions went, and says what a number's format implies.
fn settle(schema: &mut Json, name: &str) {
    match schema {
        Json::Object(object) => {
            match object.get("format").and_then(Json::as_str) {
                // A default that was an `f32` has digits that nobody wrote.
                Some("float") => {
                    if let Some(default) = object.get_mut("default")
                        && let Some(number) = default.as_f64()
                    {
                        *default = shortest(number).into();
                    }
                }
                Some("uint32") => {
                    object.entry("maximum").or_insert(u32::MAX.into());
                }
                Some("int32") => {
                    object.entry("minimum").or_insert(i32::MIN.into());
                    object.entry("maximum").or_insert(i32::MAX.into());
                }
                _ => {}
            }
            for (key, value) in object.iter_mut() {
                match value {
                    Json::String(target) if key == "$ref" => {
                        let own = target.strip_prefix("#/$defs/").or_else(|| target.strip_prefix("#/definitions/"));
                        if let Some(own) = own {
                            *target = format!("#/$defs/{name}.{own}");
                        }
                    }
                    _ => settle(value, name),
                }
            }
        }
        Json::Array(values) => values.iter_mut().for_each(|value| settle(value, name)),
        _ => {}
    }
}
