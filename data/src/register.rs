//! The datasets that recipes can name.

use crate::dataset::{Dataset, Part, Readable, part};
use crate::files::Files;
use crate::folder::Captions;
use crate::world::TestScenes;
use crate::world::{SPEED, WorldStream};
use crate::{
    EntropyConfig, Folder, FolderConfig, MixtureConfig, Sounds, SoundsConfig, WebDatasetConfig, World, WorldConfig,
    auto, clip_sound, scan, shards,
};
use musiva_core::files::without_query;
use musiva_core::{Component, ConfigError, DatasetConfig, Make, MediaShape, Modality, Rate, Registry, Result};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json};
use std::{any::Any, path::Path, sync::Arc};

/// Makes the configuration of a dataset from its JSON.
type MakeDataset = fn(Value) -> serde_json::Result<Box<dyn DatasetConfig>>;

/// The datasets of this crate that a mixture may hold: kind, summary, schema, and what makes them.
fn plain() -> [(&'static str, &'static str, Value, MakeDataset); 4] {
    fn boxed<T: DatasetConfig + DeserializeOwned + 'static>(
        value: Value,
    ) -> serde_json::Result<Box<dyn DatasetConfig>> {
        Ok(Box::new(serde_json::from_value::<T>(value)?))
    }
    let mut shards: Value = schemars::schema_for!(FolderConfig).into();
    if let Some(path) = shards.pointer_mut("/properties/path/description") {
        *path = "The shards, .tar files: one, a folder of them, or all that a pattern stands for, such as \
                 `shards-{000..127}.tar` or `https://example.org/{day,night}.tar`; those at a URL are downloaded once."
            .into();
    }
    if let Some(whole) = shards.get_mut("description") {
        *whole = "Windows of the clips in tar shards, with their sound and their captions.".into();
    }
    [
        (
            "world",
            "endless clips of a shape that moves and bounces, with captions and oracles",
            schemars::schema_for!(WorldConfig).into(),
            boxed::<WorldConfig>,
        ),
        (
            "folder",
            "a folder of clips or images with their sound and captions, cut into windows",
            schemars::schema_for!(FolderConfig).into(),
            boxed::<FolderConfig>,
        ),
        (
            "webdataset",
            "tar shards of clips or images with their sound and captions, cut into windows",
            shards,
            boxed::<WebDatasetConfig>,
        ),
        (
            "sounds",
            "a folder or tar shards of sounds, cut into windows",
            schemars::schema_for!(SoundsConfig).into(),
            boxed::<SoundsConfig>,
        ),
    ]
}

/// The schema of a mixture: its sources are told apart by their `kind`.
fn mixture() -> Value {
    let (mut branches, mut defs) = (Vec::new(), Map::new());
    for (kind, summary, mut schema, _) in plain() {
        let Some(object) = schema.as_object_mut() else { continue };
        if let Some(Value::Object(own)) = object.remove("$defs") {
            defs.extend(own);
        }
        object.remove("$schema");
        object.insert("title".into(), kind.into());
        object.insert("required".into(), json!(["kind"]));
        if let Some(Value::Object(properties)) = object.get_mut("properties") {
            properties.insert("kind".into(), json!({ "const": kind, "description": summary }));
        }
        branches.push(schema);
    }
    json!({
        "description": "Samples of several datasets, each as often as its weight says.",
        "type": "object",
        "additionalProperties": false,
        "required": ["sources"],
        "properties": {
            "sources": {
                "description": "The datasets; their clips and sounds have one shape.",
                "type": "array",
                "minItems": 1,
                "items": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["data"],
                    "properties": {
                        "weight": {
                            "description": "How often a sample is drawn from it, relative to the others.",
                            "type": "number",
                            "format": "double",
                            "default": 1.0,
                            "minimum": 0.0,
                            "maximum": 1_000_000.0,
                        },
                        "data": {
                            "description": "A dataset, as `[data]` has it: any built-in one but a mixture.",
                            "oneOf": branches,
                        },
                    },
                },
            },
        },
        "$defs": defs,
    })
}

/// Makes a source of a mixture, and says its kind.
fn source(mut value: Value) -> serde_json::Result<(String, Box<dyn DatasetConfig>)> {
    let kind = value.as_object_mut().and_then(|object| object.remove("kind"));
    let kind = kind.as_ref().and_then(Value::as_str).unwrap_or_default().to_owned();
    match plain().into_iter().find(|(known, ..)| *known == kind) {
        Some((.., make)) => Ok((kind, make(value)?)),
        None => Err(serde::de::Error::custom(format!("there is no dataset of kind `{kind}`"))),
    }
}

/// Registers all datasets of this crate.
///
/// # Errors
/// Where the registry has a dataset of the same kind.
pub fn register(registry: &mut Registry) -> Result<()> {
    let component = |kind, summary, schema, make| Component {
        kind,
        summary,
        origin: "built-in".into(),
        schema,
        learns: false,
        make: Make::Dataset(make),
    };
    for (kind, summary, schema, make) in plain() {
        registry.register(component(kind, summary, schema, make))?;
    }
    let make: MakeDataset = |value| Ok(Box::new(serde_json::from_value::<EntropyConfig>(value)?));
    let summary = "black and white clips of a known process, with the bits of each: likelihoods are tested by them";
    registry.register(component("entropy", summary, schemars::schema_for!(EntropyConfig).into(), make))?;
    let make: MakeDataset = |value| Ok(Box::new(MixtureConfig::from_json(value, source)?));
    registry.register(component("mixture", "several datasets as one, with weights", mixture(), make))
}

fn shape(frames: usize, [height, width]: [usize; 2], fps: u32) -> MediaShape {
    // A rate of zero is an error that `errors` reports; the shape of what is flawed is never used.
    MediaShape::Clip { frames, height, width, rate: Rate::whole(fps.max(1)) }
}

impl DatasetConfig for WorldConfig {
    fn errors(&self) -> Vec<ConfigError> {
        self.validate()
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        match modality {
            Modality::Video => Some(shape(self.frames, self.size, self.fps)),
            Modality::Audio => self.sound.map(|rate| clip_sound::shape(self.frames, self.fps, rate)),
            Modality::Text => Some(MediaShape::Text),
        }
    }

    fn enable(&self, modality: Modality) -> Option<String> {
        (modality == Modality::Audio).then(|| "set `data.sound = 16000`, so that bounces are heard".to_owned())
    }

    fn stream(&self, name: &str) -> Result<MediaShape, ConfigError> {
        let all = [WorldStream::Depth, WorldStream::LowRes];
        let Some(stream) = all.into_iter().find(|stream| stream.name() == name) else {
            let message = format!("the world draws no stream `{name}`");
            let names = all.map(|stream| format!("`from = \"{}\"`", stream.name())).join(" or ");
            return Err(ConfigError::new("streams", message, format!("set `[track.{name}]` {names}")));
        };
        if !self.streams.contains(&stream) {
            let names: Vec<_> = self.streams.iter().chain([&stream]).map(|s| format!("\"{}\"", s.name())).collect();
            let message = format!("`data.streams` does not list `{name}`");
            return Err(ConfigError::new("streams", message, format!("set `data.streams = [{}]`", names.join(", "))));
        }
        Ok(shape(self.frames, stream.size(self.size), self.fps))
    }

    fn numbers(&self) -> &'static [&'static str] {
        &[SPEED]
    }

    fn buckets(&self) -> Vec<(f64, Arc<dyn DatasetConfig>)> {
        self.shapes.iter().map(|shape| (shape.weight, Arc::new(self.at(shape)) as _)).collect()
    }

    fn open(&self, part: Part) -> Result<Arc<dyn Dataset>> {
        let world = World::open(self)?;
        Ok(match part {
            Part::Train => Arc::new(world),
            Part::HeldOut => Arc::new(TestScenes(world)),
        })
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DatasetConfig for FolderConfig {
    fn errors(&self) -> Vec<ConfigError> {
        self.validate()
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        match modality {
            Modality::Video => Some(shape(self.frames, self.size, self.fps)),
            Modality::Audio => self.sound.map(|rate| clip_sound::shape(self.frames, self.fps, rate)),
            Modality::Text => Some(MediaShape::Text),
        }
    }

    fn missing(&self) -> Option<ConfigError> {
        let captions = match self.captions {
            Captions::Required => ", each with its caption in `name.txt` beside it or in a `metadata.jsonl`",
            Captions::Optional => "",
        };
        if shards::named(&self.path) || scan::holds_shards(Path::new(&self.path)) {
            let path = without_query(&self.path);
            let message = format!("{path} names tar shards, and this is a folder of files");
            return Some(ConfigError::new("path", message, "set `kind = \"webdataset\"`"));
        }
        scan::missing(&self.path, &format!("clips or images (.mp4, .mov, .gif, .png, …){captions}"))
    }

    fn enable(&self, modality: Modality) -> Option<String> {
        (modality == Modality::Audio)
            .then(|| "set `data.sound = 16000`, so that clips come with their sound".to_owned())
    }

    fn buckets(&self) -> Vec<(f64, Arc<dyn DatasetConfig>)> {
        let look = || {
            let split = scan::split(&self.path).map_or("", |_| scan::TRAIN);
            let listing = scan::scan(&Path::new(&self.path).join(split), scan::CLIPS, self.caption_rules());
            // A folder that cannot be listed is reported when it is opened.
            let listing = listing.unwrap_or_default();
            auto::buckets(self, &Files::default(), &listing.found)
        };
        Self::buckets(self, look).into_iter().map(|(weight, config)| (weight, Arc::new(config) as _)).collect()
    }

    fn open(&self, wanted: Part) -> Result<Arc<dyn Dataset>> {
        if let Some(held_out) = scan::split(&self.path) {
            let name = if wanted == Part::Train { scan::TRAIN } else { held_out };
            let path = Path::new(&self.path).join(name).display().to_string();
            let all = Self { path, held_out: 0.0, ..self.clone() };
            let folder = Folder::open(all, Arc::new(Files::default()), Part::Train)?;
            return Ok(Arc::new(Readable::new(Arc::new(folder))));
        }
        let folder = |part| Folder::open(self.clone(), Arc::new(Files::default()), part).map(Arc::new);
        let data: Arc<dyn Dataset> = match self.held_out > 0.0 {
            true => folder(wanted)?,
            false => part(folder(Part::Train)?, wanted),
        };
        Ok(Arc::new(Readable::new(data)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

impl DatasetConfig for SoundsConfig {
    fn errors(&self) -> Vec<ConfigError> {
        self.validate()
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        match modality {
            Modality::Video => None,
            Modality::Audio => {
                let rate = Rate::whole(self.rate.max(1));
                Some(MediaShape::Sound { samples: self.samples, channels: 1, rate })
            }
            Modality::Text => Some(MediaShape::Text),
        }
    }

    fn missing(&self) -> Option<ConfigError> {
        match shards::named(&self.path) {
            true => shards::missing(&self.path),
            false => scan::missing(&self.path, "sounds (.wav, .flac, .mp3, .ogg, …)"),
        }
    }

    fn remote(&self) -> Vec<String> {
        shards::urls(&self.path)
    }

    fn fetched(&self, folder: &Path) -> Option<Arc<dyn DatasetConfig>> {
        let path = shards::fetched(&self.path, folder)?;
        Some(Arc::new(Self { path, ..self.clone() }))
    }

    fn open(&self, part: Part) -> Result<Arc<dyn Dataset>> {
        Ok(Arc::new(Readable::new(Arc::new(Sounds::open(self.clone(), Arc::new(Files::default()), part)?))))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Role;

    #[test]
    fn what_is_registered_is_made_with_its_defaults_and_its_shape() {
        let mut registry = Registry::default();
        register(&mut registry).unwrap();
        for kind in ["world", "folder"] {
            let Make::Dataset(make) = registry.get(Role::Dataset, kind).unwrap().make else { panic!("a dataset") };
            let config = make(serde_json::json!({ "frames": 5, "size": [24, 32], "fps": 7 })).unwrap();
            let wanted = MediaShape::Clip { frames: 5, height: 24, width: 32, rate: Rate::whole(7) };
            assert_eq!(config.shape(Modality::Video), Some(wanted));
            assert_eq!(config.shape(Modality::Audio), None, "silent unless asked for");
            let heard = make(serde_json::json!({ "frames": 5, "fps": 7, "sound": 8000 })).unwrap();
            // 5 · 8000 / 7 = 5714.3, rounded up: a sample belongs to the frame during which it begins.
            let wanted = MediaShape::Sound { samples: 5715, channels: 1, rate: Rate::whole(8000) };
            assert_eq!(heard.shape(Modality::Audio), Some(wanted));
            assert_eq!(config.as_any().is::<WorldConfig>(), kind == "world");
            assert!(config.errors().is_empty());
            assert_eq!(config.missing().is_none(), kind == "world", "a folder needs its path");
        }
        assert!(register(&mut registry).is_err());
    }
}
