//! One scene: what it shows, where it starts, and everything that follows from that.

use super::attributes::{Attributes, Direction};
use super::caption::caption;
use super::geometry::{BACKGROUND, Geometry, Track, wall};
use super::tone::tones;
use crate::dataset::Sample;
use musiva_core::{Clip, Rate, RngKey, RngStream, Sound, Timing};
use serde::Serialize;

/// Captions draw from a stream of their own, or the phrasing would tell the shape.
const CAPTION_SALT: u64 = 0x6361_7074_696f_6e73;

/// A shape that moves and bounces.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// What it shows.
    pub attributes: Attributes,
    /// The centre `[y, x]` of the shape's bounding box in frame 0, in pixels.
    pub start: [f32; 2],
    pub(super) geometry: Geometry,
    pub(super) frames: usize,
    pub(super) rate: Rate,
    /// Samples per second; `None`: the world is silent.
    pub(super) sound: Option<Rate>,
}

/// A bounce: the moment when a shape meets a wall.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Exact time since frame 0, in seconds.
    pub time: f64,
    /// The same in frames; a bounce at 4.25 lies between frame 4 and frame 5.
    pub frame: f64,
    /// Which wall is met.
    pub wall: Direction,
    /// The centre `[y, x]` of the shape at that moment, in pixels.
    pub place: [f32; 2],
}

impl Scene {
    /// The moving coordinate's track and phase.
    fn motion(&self) -> (Track, f64) {
        let Attributes { direction, speed, .. } = self.attributes;
        let track = self.geometry.track(direction.axis(), speed);
        let phase = track.phase(f64::from(self.start[direction.axis()]), direction.forward());
        (track, phase)
    }

    /// The shape's centre `[y, x]` at frame `t`, which may lie between two frames.
    fn centre(&self, t: f64) -> [f64; 2] {
        let (track, phase) = self.motion();
        let mut centre = self.start.map(f64::from);
        centre[self.attributes.direction.axis()] = track.at(phase, t);
        centre
    }

    /// The shape's centre `[y, x]` in each frame, in pixels.
    pub fn path(&self) -> Vec<[f32; 2]> {
        (0..self.frames).map(|t| self.centre(t as f64).map(|x| x as f32)).collect()
    }

    /// All bounces after frame 0, up to and including the moment of the last frame.
    ///
    /// They come from the path itself: differences of positions would miss a bounce just before
    /// the last frame.
    pub fn events(&self) -> Vec<Event> {
        let (track, phase) = self.motion();
        let axis = self.attributes.direction.axis();
        let event = |(frame, far)| Event {
            time: frame / self.rate.as_f64(),
            frame,
            wall: wall(axis, far),
            place: self.centre(frame).map(|x| x as f32),
        };
        track.bounces(phase, (self.frames - 1) as f64).map(event).collect()
    }

    /// The scene as a clip, anti-aliased, the shape at sub-pixel positions.
    pub fn render(&self) -> Clip {
        let Geometry { size: [height, width], radius, .. } = self.geometry;
        let mut pixels: Vec<u8> = BACKGROUND.repeat(self.frames * height * width);
        let colour = self.attributes.colour.rgb();
        for (t, frame) in pixels.chunks_exact_mut(height * width * 3).enumerate() {
            let [y, x] = self.centre(t as f64);
            for i in self.geometry.pixels(0, y, radius + 1.0) {
                for j in self.geometry.pixels(1, x, radius + 1.0) {
                    let at = [i as f64 + 0.5 - y, j as f64 + 0.5 - x];
                    let coverage = self.attributes.shape.coverage(at, radius);
                    let pixel = &mut frame[(i * width + j) * 3..][..3];
                    for ((out, back), fore) in pixel.iter_mut().zip(BACKGROUND).zip(colour) {
                        *out = (f64::from(back) + coverage * (f64::from(fore) - f64::from(back))).round() as u8;
                    }
                }
            }
        }
        Clip::new([self.frames, height, width], self.rate, pixels).expect("the pixels of a checked size")
    }

    /// What is heard: a tone at each bounce, as long as the clip; `None` where the world is silent.
    pub fn sound(&self) -> Option<Sound> {
        let rate = self.sound?;
        let length = Timing::new(self.rate, rate).samples(0..self.frames).end;
        Some(tones(self.attributes, &self.events(), length, rate))
    }

    /// How long a frame is on show.
    pub fn seconds_per_frame(&self) -> f64 {
        1.0 / self.rate.as_f64()
    }

    /// Clip, sound and caption of `draw`.
    pub fn sample(&self, key: RngKey, id: String) -> Sample {
        Sample { clip: Some(self.render()), sound: self.sound(), caption: self.caption(key), id }
    }

    /// A caption in a random phrasing of `draw`; about half of them say the speed.
    pub fn caption(&self, key: RngKey) -> String {
        let key = RngKey { seed: key.seed ^ CAPTION_SALT, ..key };
        caption(self.attributes, &mut key.stream(RngStream::Data))
    }
}
