//! Whether what moves is where it should be: of the pixels that change from one frame to the next, in the clip that was
//! made and in its reference, the intersection over the union. A clip that stands still, or whose shapes move elsewhere,
//! is found out by it, however sharp its frames are.

use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{Error, Metric, Plugin, Result, Tensor};
use std::collections::BTreeMap;

/// What a recipe says of it.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde", default, deny_unknown_fields)]
pub struct Config {
    /// A pixel moves where one of its colours changes by more than this, of 255.
    #[schemars(range(min = 0, max = 254))]
    pub threshold: u8,
}

impl Default for Config {
    fn default() -> Self {
        Self { threshold: 24 }
    }
}

/// The metric: sums over clips.
pub struct Moves {
    config: Config,
    clips: u64,
    overlap: f64,
    /// Parts of the pixels that move, in what was made and in the references.
    moving: [f64; 2],
}

impl Plugin for Moves {
    const ID: &'static str = "org.musiva.moves";
    const VERSION: &'static str = "0.1.0";
    const SUMMARY: &'static str = "whether what moves is where it should be";
    const LICENSE: &'static str = "MIT OR Apache-2.0";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config, clips: 0, overlap: 0.0, moving: [0.0; 2] })
    }
}

impl Metric for Moves {
    fn reset(&mut self) {
        (self.clips, self.overlap, self.moving) = (0, 0.0, [0.0; 2]);
    }

    fn update(&mut self, made: Tensor, reference: Tensor, _caption: &str) -> Result<()> {
        let [t, h, w, _] = made.dims::<4>()?;
        if reference.shape() != made.shape() {
            return Err(Error::input("the two clips have different shapes"));
        }
        let frame = h * w * 3;
        let (made, reference) = (made.as_slice::<u8>()?, reference.as_slice::<u8>()?);
        let moves =
            |clip: &[u8], i: usize| (i..i + 3).any(|i| clip[i].abs_diff(clip[i + frame]) > self.config.threshold);
        let (mut both, mut either, mut moving) = (0u64, 0u64, [0u64; 2]);
        for i in (0..(t - 1) * frame).step_by(3) {
            let there = [moves(made, i), moves(reference, i)];
            both += u64::from(there == [true, true]);
            either += u64::from(there != [false, false]);
            moving.iter_mut().zip(there).for_each(|(sum, moves)| *sum += u64::from(moves));
        }
        self.clips += 1;
        // Where nothing moves and nothing should, all is well.
        self.overlap += if either == 0 { 1.0 } else { both as f64 / either as f64 };
        let pixels = ((t - 1) * h * w).max(1) as f64;
        self.moving.iter_mut().zip(moving).for_each(|(sum, moving)| *sum += moving as f64 / pixels);
        Ok(())
    }

    fn result(&self) -> Result<BTreeMap<String, f64>> {
        let mean = |sum: f64| sum / self.clips.max(1) as f64;
        let all = [("overlap", self.overlap), ("moving", self.moving[0]), ("moving_reference", self.moving[1])];
        Ok(all.map(|(name, sum)| (name.to_owned(), mean(sum))).into())
    }
}
