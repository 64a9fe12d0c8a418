//! The datasets that recipes can name.

use crate::dataset::{Dataset, Part, Readable, part};
use crate::files::Files;
use crate::folder::Captions;
use crate::world::TestScenes;
use crate::world::{SPEED, WorldStream};
use crate::{Folder, FolderConfig, Sounds, SoundsConfig, World, WorldConfig, clip_sound, scan};
use musiva_core::{Component, ConfigError, DatasetConfig, Make, MediaShape, Modality, Rate, Registry, Result};
use std::{any::Any, sync::Arc};

/// Registers all datasets of this crate.
///
/// # Errors
/// Where the registry has a dataset of the same kind.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.register(Component {
        kind: "world",
        summary: "endless clips of a shape that moves and bounces, with captions and oracles",
        origin: "built-in".into(),
        schema: schemars::schema_for!(WorldConfig).into(),
        learns: false,
        make: Make::Dataset(|value| Ok(Box::new(serde_json::from_value::<WorldConfig>(value)?))),
    })?;
    registry.register(Component {
        kind: "folder",
        summary: "a folder of clips or images with their sound and captions, cut into windows",
        origin: "built-in".into(),
        schema: schemars::schema_for!(FolderConfig).into(),
        learns: false,
        make: Make::Dataset(|value| Ok(Box::new(serde_json::from_value::<FolderConfig>(value)?))),
    })?;
    registry.register(Component {
        kind: "sounds",
        summary: "a folder of sounds, cut into windows",
        origin: "built-in".into(),
        schema: schemars::schema_for!(SoundsConfig).into(),
        learns: false,
        make: Make::Dataset(|value| Ok(Box::new(serde_json::from_value::<SoundsConfig>(value)?))),
    })
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
        scan::missing(&self.path, &format!("clips or images (.mp4, .mov, .gif, .png, …){captions}"))
    }

    fn enable(&self, modality: Modality) -> Option<String> {
        (modality == Modality::Audio)
            .then(|| "set `data.sound = 16000`, so that clips come with their sound".to_owned())
    }

    fn buckets(&self) -> Vec<(f64, Arc<dyn DatasetConfig>)> {
        self.shapes.iter().map(|shape| (shape.weight, Arc::new(self.at(shape)) as _)).collect()
    }

    fn open(&self, wanted: Part) -> Result<Arc<dyn Dataset>> {
        let folder = |part| Folder::open(self.clone(), Arc::new(Files), part).map(Arc::new);
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
        scan::missing(&self.path, "sounds (.wav, .flac, .mp3, .ogg, …)")
    }

    fn open(&self, part: Part) -> Result<Arc<dyn Dataset>> {
        Ok(Arc::new(Readable::new(Arc::new(Sounds::open(self.clone(), Arc::new(Files), part)?))))
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
