//! The world as a recipe describes it.

use super::attributes::Combination;
use musiva_core::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Samples of a sound at most: 64 MB.
const LONGEST_SOUND: u64 = 1 << 24;

/// A coloured shape moves over a dark background and bounces off the walls; endless.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct WorldConfig {
    /// Frames of a clip, 1 to 1024.
    pub frames: usize,
    /// Height and width in pixels, each 16 to 1024. Shapes and speeds scale with the shorter side.
    pub size: [usize; 2],
    /// Frames per second, 1 to 240. The speed of a shape is per frame and does not depend on it.
    pub fps: u32,
    /// Samples per second of the sound, 8,000 to 192,000; left out, the world is silent.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 8_000, max = 192_000))]
    pub sound: Option<u32>,
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
            fps: 8,
            sound: None,
            held_out: ["green triangle up", "yellow square left", "blue ring right", "red square down"]
                .map(str::to_owned)
                .to_vec(),
            seed: 0,
        }
    }
}

impl WorldConfig {
    /// Everything that is wrong with it; empty: [`World::new`](super::World::new) succeeds.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
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
        if let Some(rate) = self.sound {
            if !(8_000..=192_000).contains(&rate) {
                let message = format!("{rate} samples per second; 8000 to 192000 are possible");
                errors.push(ConfigError::new("sound", message, "set `sound = 16000`"));
            } else if self.frames as u64 * u64::from(rate) > LONGEST_SOUND * u64::from(self.fps) {
                let message = format!("a sound of {} frames has more than {LONGEST_SOUND} samples", self.frames);
                errors.push(ConfigError::new("sound", message, "set `sound = 16000`, or fewer frames"));
            }
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
            fps: 0,
            sound: Some(0),
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
