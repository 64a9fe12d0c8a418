//! The world as a recipe describes it.

use super::attributes::Combination;
use crate::buckets::{self, ClipShape};
use crate::clip_sound;
use musiva_core::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the world can draw of a scene beside the clip: tracks of a recipe hold it by these names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum WorldStream {
    /// How near each pixel is, as grey: the background is black, the shape a dome.
    Depth,
    /// The clip at a quarter of its height and width.
    LowRes,
}

impl WorldStream {
    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Depth => "depth",
            Self::LowRes => "low_res",
        }
    }

    /// Height and width of its frames, of a world of frames of `size`.
    pub fn size(self, size: [usize; 2]) -> [usize; 2] {
        match self {
            Self::Depth => size,
            Self::LowRes => size.map(|side| side / LOW_RES),
        }
    }
}

/// By how much each side of a frame of low resolution is smaller.
pub(super) const LOW_RES: usize = 4;

/// A coloured shape moves over a dark background and bounces off the walls; endless.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorldConfig {
    /// Frames of a clip, 1 to 1024.
    pub frames: usize,
    /// Height and width in pixels, each 16 to 1024. Shapes and speeds scale with the shorter side.
    pub size: [usize; 2],
    /// Lengths and sizes that training sees instead of `frames` and `size`, drawn step by step: buckets.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub shapes: Vec<ClipShape>,
    /// Frames per second, 1 to 240. The speed of a shape is per frame and does not depend on it.
    pub fps: u32,
    /// Samples per second of the sound, 8,000 to 192,000; left out, the world is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8_000, max = 192_000))]
    pub sound: Option<u32>,
    /// What is drawn of each scene beside the clip, for tracks that hold it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<WorldStream>,
    /// Combinations "colour shape direction" that training never shows, so that one can see
    /// whether the model puts together what it has learnt apart.
    pub held_out: Vec<String>,
    /// Which endless row of scenes training sees.
    pub seed: u64,
}

impl Default for WorldConfig {
    fn default() -> Self {
        Self {
            frames: 17,
            size: [64, 64],
            shapes: Vec::new(),
            fps: 8,
            sound: None,
            streams: Vec::new(),
            held_out: ["green triangle up", "yellow square left", "blue ring right", "red square down"]
                .map(str::to_owned)
                .to_vec(),
            seed: 0,
        }
    }
}

impl WorldConfig {
    /// The same data at another length and size.
    pub(crate) fn at(&self, shape: &ClipShape) -> Self {
        Self { frames: shape.frames, size: shape.size, shapes: Vec::new(), ..self.clone() }
    }

    /// Everything that is wrong with it; empty: [`World::new`](super::World::new) succeeds.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = buckets::validate(&self.shapes, |shape| self.at(shape).validate());
        if !(1..=1024).contains(&self.frames) {
            errors.push(ConfigError::new(
                "frames",
                format!("{} frames; a clip has 1 to 1024", self.frames),
                "set `frames = 17`",
            ));
        }
        if self.size.iter().any(|side| !(16..=1024).contains(side)) {
            let [height, width] = self.size;
            let message = format!("{height} × {width} pixels; each side has 16 to 1024");
            errors.push(ConfigError::new("size", message, "set `size = [64, 64]`"));
        }
        if !(1..=240).contains(&self.fps) {
            errors.push(ConfigError::new(
                "fps",
                format!("{} frames per second; 1 to 240 are possible", self.fps),
                "set `fps = 8`",
            ));
        }
        errors.extend(self.sound.and_then(|rate| clip_sound::wrong(self.frames, self.fps, rate)));
        if self.streams.contains(&WorldStream::LowRes) && self.size.iter().any(|side| !side.is_multiple_of(LOW_RES)) {
            let [height, width] = self.size;
            let message =
                format!("{height} × {width} pixels are no multiple of {LOW_RES}, by which `low_res` is smaller");
            errors.push(ConfigError::new(
                "size",
                message,
                "set `size = [64, 64]`, or leave `low_res` out of `streams`",
            ));
        }
        let mut seen = Vec::new();
        for (i, text) in self.held_out.iter().enumerate() {
            let path = format!("held_out[{i}]");
            match Combination::parse(text) {
                None => errors.push(ConfigError::new(
                    path,
                    format!("\"{text}\" is not a colour, a shape and a direction"),
                    "write it like \"green triangle up\": red, green, blue or yellow; ring, square or triangle; left, right, up or down",
                )),
                Some(c) if seen.contains(&c) => {
                    errors.push(ConfigError::new(path, format!("\"{text}\" is listed twice"), "delete one of them"));
                }
                Some(c) => seen.push(c),
            }
        }
        if seen.len() == Combination::all().count() {
            errors.push(ConfigError::new(
                "held_out",
                "all combinations are held out, none is left to train on",
                "list fewer",
            ));
        }
        errors
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_is_valid_and_each_flaw_is_found_at_its_path() {
        assert_eq!(WorldConfig::default().validate(), []);
        let wrong = WorldConfig {
            frames: 0,
            size: [64, 15],
            shapes: Vec::new(),
            fps: 0,
            sound: Some(0),
            streams: Vec::new(),
            held_out: vec!["red ring up".into(), "pink ring up".into(), "red ring up".into()],
            seed: 0,
        };
        let paths: Vec<_> = wrong.validate().into_iter().map(|error| error.path).collect();
        assert_eq!(paths, ["frames", "size", "fps", "sound", "held_out[1]", "held_out[2]"]);
        let held_out = Combination::all().map(|c| c.to_string()).collect();
        let nothing_left = WorldConfig { held_out, ..WorldConfig::default() };
        assert_eq!(nothing_left.validate().len(), 1);
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(serde_json::from_str::<WorldConfig>(r#"{ "frames": 9 }"#).is_ok());
        assert!(serde_json::from_str::<WorldConfig>(r#"{ "frame": 9 }"#).is_err());
    }
}
