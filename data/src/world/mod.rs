//! A procedural world: endless, the same on every machine, and with oracles that can tell whether
//! a clip shows what its caption asks for.
//!
//! A coloured shape moves in one of four directions at one of two speeds over a plain dark
//! background and bounces off the walls. The first bounce always falls within the clip, early
//! enough to be seen and late enough to see where the shape went before: who continues a straight
//! line is wrong. Where the world sounds, each bounce is a struck tone at the very sample of the bounce: its
//! pitch is the colour, its timbre the shape, its loudness the speed. Shapes start on whole pixels, and an eighth of these places is kept for testing.
//!
//! ```
//! use musiva_core::RngKey;
//! use musiva_data::world::{Attributes, Split, VideoOracle, World, WorldConfig, score};
//!
//! let config = WorldConfig::default();
//! let world = World::new(config.clone()).unwrap();
//! let key = RngKey::new(7).sample(3);
//! let scene = world.scene(key, Split::Test);
//! let reading = VideoOracle::new(&config).read(&scene.render());
//! let asked = Attributes::parse(&scene.caption(key)).unwrap();
//! assert_eq!(score(asked, &reading).all, Some(true));
//! ```

mod attributes;
mod audio_oracle;
mod caption;
mod config;
mod fit;
mod geometry;
mod held_out;
mod scene;
mod score;
mod spot;
mod tone;
mod video_oracle;

pub use attributes::{Attributes, Colour, Combination, Direction, PartialAttributes, Shape, Speed};
pub use audio_oracle::{AudioReading, Onsets};
pub use config::{WorldConfig, WorldStream};
pub(crate) use scene::SPEED;
pub use scene::{Event, Scene};
pub use score::{Score, Scores, score};
pub use video_oracle::{Reading, VideoOracle};

use crate::dataset::{DataReport, Dataset, Loudness, PixelRange, Sample};
use geometry::Geometry;
pub(crate) use held_out::TestScenes;
use musiva_core::{
    ConfigError, DatasetConfig, ErrorKind, MediaShape, Modality, Rate, Result, RngKey, RngStream, Sound, Stream, Timing,
};
use tone::tones;

/// Which scenes are drawn. Training never shows a place where a scene of another split starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Split {
    /// To train on: everything but the held-out combinations.
    Train,
    /// To test on: all combinations.
    Test,
    /// The held-out combinations alone; where none is held out, all.
    HeldOut,
}

impl Split {
    /// What tells this split's seeds from those of the others.
    fn salt(self) -> u64 {
        match self {
            Self::Train => 0,
            Self::Test => 0x7465_7374_2d2d_2d2d,
            Self::HeldOut => 0x6865_6c64_2d6f_7574,
        }
    }
}

/// The world of a [`WorldConfig`].
#[derive(Clone, Debug)]
pub struct World {
    config: WorldConfig,
    geometry: Geometry,
    train: Vec<Combination>,
    test: Vec<Combination>,
    held_out: Vec<Combination>,
}

impl World {
    /// The world of `config`, or everything that is wrong with it.
    pub fn new(config: WorldConfig) -> Result<Self, Vec<ConfigError>> {
        let errors = config.validate();
        if !errors.is_empty() {
            return Err(errors);
        }
        let test: Vec<_> = Combination::all().collect();
        let held: Vec<_> = config.held_out.iter().filter_map(|text| Combination::parse(text)).collect();
        let train = test.iter().copied().filter(|c| !held.contains(c)).collect();
        let held_out = if held.is_empty() { test.clone() } else { held };
        Ok(Self { geometry: Geometry::new(config.size), config, train, test, held_out })
    }

    /// The world of a recipe's `[data]`.
    ///
    /// # Errors
    /// The first thing that is wrong with `config`.
    pub fn open(config: &WorldConfig) -> musiva_core::Result<Self> {
        Self::new(config.clone()).map_err(|errors| {
            let error = errors.into_iter().next().expect("an error names a flaw");
            let place = format!("data.{}", error.path);
            error.into_error(ErrorKind::Recipe, place)
        })
    }

    /// What a clip that reads so should sound like: a tone at each bounce, by what was seen (after Soundify, Lin et al.
    /// 2021: detect, classify, place). `None` where the world is silent, or what is seen cannot be decided.
    pub fn placed(&self, reading: &Reading) -> Option<Sound> {
        let (frames, fps) = (self.config.frames, Rate::whole(self.config.fps));
        let rate = Rate::whole(self.config.sound?);
        let (colour, shape) = (reading.colour?, reading.shape?);
        let attributes = Attributes { colour, shape, direction: reading.direction?, speed: reading.speed? };
        let wall = attributes.direction;
        let event = |&frame: &f64| Event { time: frame / fps.as_f64(), frame, wall, place: [0.0; 2] };
        let events: Vec<Event> = reading.bounced.iter().map(event).collect();
        Some(tones(attributes, &events, Timing::new(fps, rate).samples(0..frames).end, rate))
    }

    /// What it was made of.
    pub fn config(&self) -> &WorldConfig {
        &self.config
    }

    /// The combinations that `split` draws from.
    pub fn combinations(&self, split: Split) -> &[Combination] {
        match split {
            Split::Train => &self.train,
            Split::Test => &self.test,
            Split::HeldOut => &self.held_out,
        }
    }

    /// The scene of `draw` in `split`: the same for the same arguments, always.
    pub fn scene(&self, key: RngKey, split: Split) -> Scene {
        let mut stream = self.stream(key, split);
        let combinations = self.combinations(split);
        let combination = combinations[stream.below(combinations.len())];
        let speed = Speed::ALL[stream.below(Speed::ALL.len())];
        self.place(combination.at(speed), split, &mut stream)
    }

    /// A scene that shows `attributes`, starting at a random place of the test split.
    pub fn scene_of(&self, attributes: Attributes, key: RngKey) -> Scene {
        self.place(attributes, Split::Test, &mut self.stream(key, Split::Test))
    }

    fn stream(&self, key: RngKey, split: Split) -> Stream {
        RngKey { seed: key.seed ^ split.salt(), ..key }.stream(RngStream::Data)
    }

    /// Starts `attributes` at a place of `split` such that the first bounce falls between frames 3 and
    /// 13 of 17, and in clips of other lengths not before 3/8 of the way (or frame 3) nor after 13/16
    /// of it.
    fn place(&self, attributes: Attributes, split: Split, stream: &mut Stream) -> Scene {
        let Attributes { direction, speed, .. } = attributes;
        let unit = self.geometry.unit;
        let along = self.geometry.track(direction.axis(), speed);
        let across = self.geometry.track(1 - direction.axis(), speed);
        let last = (self.config.frames - 1) as f64;
        let earliest = (last * 3.0 / 8.0).min(3.0);
        // Who starts at the wall behind could as well have bounced off it just now: two pixels away.
        let latest = (last * 13.0 / 16.0).min((along.range - 2.0 * unit) / along.step);
        let way = match (last, direction.forward()) {
            // In a picture nothing bounces: anywhere.
            (0.0, _) => [0.0, along.range],
            (_, true) => [along.range - latest * along.step, along.range - earliest * along.step],
            (_, false) => [earliest * along.step, latest * along.step],
        };
        let mut start = [0.0; 2];
        // An eighth of the places is the test's: so many tries all but surely find one.
        for _ in 0..256 {
            let [moving, still] = [lattice(way, MOVING, unit, stream), lattice([0.0, across.range], 0.0, unit, stream)];
            start[direction.axis()] = along.low + (moving as f64 + MOVING) * unit;
            start[1 - direction.axis()] = across.low + still as f64 * unit;
            if is_tested([moving, still]) == (split != Split::Train) {
                break;
            }
        }
        Scene {
            attributes,
            start: start.map(|x| x as f32),
            geometry: self.geometry,
            frames: self.config.frames,
            rate: Rate::whole(self.config.fps),
            sound: self.config.sound.map(Rate::whole),
            streams: self.config.streams.clone(),
        }
    }
}

/// Shapes start on whole pixels (of 64), so that there are few enough sights for a small model to learn
/// in hours. The coordinate that moves starts so much off them: no bounce falls on a frame.
const MOVING: f64 = 0.25;

/// A whole number `k` such that `k + offset`, in `unit`s, lies between the two ends; the nearest where
/// there is none.
fn lattice([from, to]: [f64; 2], offset: f64, unit: f64, stream: &mut Stream) -> u64 {
    let low = (from / unit - offset - 1e-6).ceil().max(0.0);
    let high = (to / unit - offset + 1e-6).floor().max(low);
    low as u64 + stream.below((high - low) as usize + 1) as u64
}

/// Whether a place where a shape may start is the test's: an eighth of all, spread by a hash. Training
/// never shows a shape that starts there.
fn is_tested([moving, still]: [u64; 2]) -> bool {
    let hash = (moving.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ still.wrapping_mul(0xc2b2_ae3d_27d4_eb4f))
        .wrapping_mul(0xff51_afd7_ed55_8ccd);
    hash >> 61 == 0
}

impl World {
    fn key(&self, index: u64) -> RngKey {
        // Streams tell 32 bits of the sample apart; the rest of the number goes into the step.
        RngKey::new(self.config.seed).sample(index & 0xffff_ffff).step(index >> 32)
    }
}

impl Dataset for World {
    fn len(&self) -> Option<u64> {
        None
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let key = self.key(index);
        Ok(self.scene(key, Split::Train).sample(key, format!("world scene {index}")))
    }

    fn captions(&self, index: u64) -> Result<Vec<String>> {
        let key = self.key(index);
        Ok(vec![self.scene(key, Split::Train).caption(key)])
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.config.shape(modality)
    }

    fn report(&self) -> DataReport {
        let samples = || (0..16).filter_map(|i| self.get(i).ok());
        DataReport {
            clips: None,
            windows: None,
            dropped: Vec::new(),
            pixels: Some(PixelRange::of(samples().filter_map(|sample| sample.clip))),
            loudness: self.config.sound.map(|_| Loudness::of(samples().filter_map(|sample| sample.sound))),
        }
    }
}

#[cfg(test)]
mod tests;
