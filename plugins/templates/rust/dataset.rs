//! Stripes that move: their colour and direction are the caption.

use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{Dataset, DatasetSpec, Plugin, Result, Sample};

/// What a recipe says of it.
#[derive(Clone, Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde", default, deny_unknown_fields)]
struct Config {
    /// Frames of a clip.
    #[schemars(range(min = 1, max = 1024))]
    frames: usize,
    /// Height and width.
    #[schemars(range(min = 1, max = 4096))]
    size: usize,
    /// How many clips there are.
    #[schemars(range(min = 1))]
    clips: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self { frames: 5, size: 16, clips: 64 }
    }
}

struct Stripes(Config);

const COLOURS: [(&str, [u8; 3]); 4] =
    [("red", [230, 40, 40]), ("green", [40, 200, 60]), ("blue", [50, 80, 230]), ("white", [240, 240, 240])];

impl Plugin for Stripes {
    const ID: &'static str = "org.example.new";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "stripes that move";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self(config))
    }
}

impl Dataset for Stripes {
    fn spec(&self) -> Result<DatasetSpec> {
        let Config { frames, size, clips } = self.0;
        Ok(DatasetSpec { length: Some(clips), clip: [frames, size, size], rate: [8, 1] })
    }

    fn read(&self, index: u64) -> Result<Sample> {
        let Config { frames, size, .. } = self.0;
        let (name, colour) = COLOURS[(index % 4) as usize];
        let (down, start) = (index / 4 % 2 == 1, (index / 8 % 8) as usize);
        let mut pixels = Vec::with_capacity(frames * size * size * 3);
        for frame in 0..frames {
            for i in 0..size * size {
                let along = if down { i / size } else { i % size };
                // A stripe moves a pixel a frame.
                let lit = (along + 8 * frames - frame + start) % 8 < 4;
                pixels.extend(if lit { colour } else { [16, 16, 24] });
            }
        }
        let direction = if down { "down" } else { "right" };
        Ok(Sample { pixels, caption: format!("{name} stripes move {direction}"), id: format!("stripes {index}") })
    }
}

musiva_plugin::export_plugin!(Stripes: Dataset);
