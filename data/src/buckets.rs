//! Buckets: the same data at several lengths and sizes.

use musiva_core::ConfigError;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A length and a size of clips that training also sees.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClipShape {
    /// Frames of a clip.
    #[schemars(range(min = 1, max = 1024))]
    pub frames: usize,
    /// Height and width in pixels.
    pub size: [usize; 2],
    /// How often training draws it, relative to the others.
    #[serde(default = "often")]
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub weight: f64,
}

fn often() -> f64 {
    1.0
}

/// The lengths and sizes of a folder's clips.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Shapes {
    /// These.
    These(Vec<ClipShape>),
    /// As the files are.
    Auto(Auto),
}

/// By the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Auto {
    /// Buckets by the files themselves. Each file is in one, of its shape and with as many frames as it has or `frames`; no
    /// bucket has more pixels than `size`, so none takes more tokens or memory than `frames` and `size` do. The sides are
    /// multiples of 16, or of 8 where those of `size` are no multiples of 16.
    #[serde(rename = "auto")]
    Auto,
}

impl Default for Shapes {
    fn default() -> Self {
        Self::These(Vec::new())
    }
}

impl Shapes {
    /// Whether there are none.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }

    /// Those that are listed.
    pub fn listed(&self) -> &[ClipShape] {
        match self {
            Self::These(shapes) => shapes,
            Self::Auto(_) => &[],
        }
    }
}

/// What is wrong with shapes, of each of which `errors` tells what is wrong with data of that shape.
pub(crate) fn validate(shapes: &[ClipShape], errors: impl Fn(&ClipShape) -> Vec<ConfigError>) -> Vec<ConfigError> {
    let mut all = Vec::new();
    for (i, shape) in shapes.iter().enumerate() {
        let own = errors(shape).into_iter().filter(|error| ["frames", "size", "sound"].contains(&&*error.path));
        all.extend(own.map(|error| ConfigError { path: format!("shapes[{i}].{}", error.path), ..error }));
        if shapes[..i].iter().any(|other| (other.frames, other.size) == (shape.frames, shape.size)) {
            let message = format!("{} frames of {:?} are listed twice", shape.frames, shape.size);
            all.push(ConfigError::new(format!("shapes[{i}]"), message, "delete one of them"));
        }
    }
    if !shapes.is_empty() && shapes.iter().all(|shape| shape.weight == 0.0) {
        all.push(ConfigError::new("shapes[0].weight", "no shape is ever drawn", "set `weight = 1.0`"));
    }
    all
}
