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
