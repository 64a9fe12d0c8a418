//! One scene: what it shows, where it starts, and everything that follows from that.

use super::attributes::{Attributes, Direction};
use super::caption::caption;
use super::config::{LOW_RES, WorldStream};
use super::geometry::{BACKGROUND, Geometry, Track, wall};
use super::tone::tones;
use crate::dataset::Sample;
use musiva_core::{Clip, Rate, RngKey, RngStream, Sound, Timing};
use serde::Serialize;

/// The number that the world tells of a scene: pixels a frame that the shape moves, of a frame of 64.
pub(crate) const SPEED: &str = "speed";

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
    /// What else is drawn.
    pub(super) streams: Vec<WorldStream>,
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
        let colour = self.attributes.colour.rgb().map(f64::from);
        self.draw(BACKGROUND, |_| colour)
    }

    /// The shape over a background, in a colour by how far `[dy, dx]` a pixel lies from its centre.
    fn draw(&self, background: [u8; 3], colour: impl Fn([f64; 2]) -> [f64; 3]) -> Clip {
        let Geometry { size: [height, width], radius, .. } = self.geometry;
        let mut pixels: Vec<u8> = background.repeat(self.frames * height * width);
        for (t, frame) in pixels.chunks_exact_mut(height * width * 3).enumerate() {
            let [y, x] = self.centre(t as f64);
            for i in self.geometry.pixels(0, y, radius + 1.0) {
                for j in self.geometry.pixels(1, x, radius + 1.0) {
                    let at = [i as f64 + 0.5 - y, j as f64 + 0.5 - x];
                    let (coverage, colour) = (self.attributes.shape.coverage(at, radius), colour(at));
                    let pixel = &mut frame[(i * width + j) * 3..][..3];
                    for ((out, back), fore) in pixel.iter_mut().zip(background).zip(colour) {
                        *out = (f64::from(back) + coverage * (fore - f64::from(back))).round() as u8;
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
        let clip = self.render();
        let stream = |stream: &WorldStream| (stream.name().to_owned(), self.stream(*stream, &clip));
        let streams = self.streams.iter().map(stream).collect();
        let numbers = [(SPEED.to_owned(), self.attributes.speed.pixels_per_frame())].into();
        Sample {
            clip: Some(clip),
            sound: self.sound(),
            caption: self.caption(key),
            streams,
            numbers,
            id,
            ..Sample::default()
        }
    }

    /// What a stream draws of the scene, whose clip is `clip`.
    fn stream(&self, stream: WorldStream, clip: &Clip) -> Clip {
        match stream {
            WorldStream::Depth => self.draw([0; 3], |[dy, dx]| {
                let radius = self.geometry.radius;
                // A dome, at its rim half as near as in the middle.
                [255.0 * (1.0 - 0.5 * (dy * dy + dx * dx) / (radius * radius)).max(0.25); 3]
            }),
            WorldStream::LowRes => {
                let [frames, height, width] = clip.shape();
                let [h, w] = stream.size([height, width]);
                let mean = |at: usize| {
                    let (t, i, j, c) = (at / (h * w * 3), at / (w * 3) % h, at / 3 % w, at % 3);
                    let block = (0..LOW_RES * LOW_RES).map(|n| {
                        let (y, x) = (i * LOW_RES + n / LOW_RES, j * LOW_RES + n % LOW_RES);
                        u32::from(clip.pixels()[((t * height + y) * width + x) * 3 + c])
                    });
                    let count = (LOW_RES * LOW_RES) as u32;
                    ((block.sum::<u32>() + count / 2) / count) as u8
                };
                let pixels = (0..frames * h * w * 3).map(mean).collect();
                Clip::new([frames, h, w], self.rate, pixels).expect("the pixels of a checked size")
            }
        }
    }

    /// A caption in a random phrasing of `draw`; about half of them say the speed.
    pub fn caption(&self, key: RngKey) -> String {
        let key = RngKey { seed: key.seed ^ CAPTION_SALT, ..key };
        caption(self.attributes, &mut key.stream(RngStream::Data))
    }
}
