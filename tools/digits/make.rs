//! Clips of a digit that moves, bounces off the walls, and is spoken as it does.

use crate::originals::{Digits, NAMES, Recording, Recordings, SIDE};
use crate::unusable;
use musiva::media::{Metadata, WriteOptions, write_movie};
use musiva::{Clip, Error, Rate, Result, RngKey, RngStream, Sound};
use std::path::Path;

/// Height and width of a clip.
const SIZE: usize = 48;
/// Frames of a clip, and a second.
const FRAMES: usize = 17;
const FPS: usize = 8;
/// Samples a second.
pub const RATE: usize = 8000;
/// Pixels a second along each axis.
const SPEEDS: [f32; 2] = [8.0, 36.0];
/// Seconds from one word's start to the next one's, at least, and the longest word.
const APART: f32 = 0.85;
const LONGEST: f32 = 0.7;
/// No word starts before the first of these seconds, or after the second: each is heard to its end.
const SPOKEN: [f32; 2] = [0.15, 1.4];

/// Writes `count` clips and their `metadata.jsonl` to `folder`.
pub fn make(digits: &Digits, recordings: &Recordings, count: u64, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, "make it", error))?;
    let words = words(recordings)?;
    if let Some(digit) = words.iter().position(Vec::is_empty) {
        let message = format!("no recording of {} is of {LONGEST} seconds or less", NAMES[digit]);
        return Err(unusable(recordings.folder(), &message));
    }
    let mut lines = String::new();
    for number in 0..count {
        let mut draw = RngKey::new(0).sample(number).stream(RngStream::Data);
        let picture = draw.below(digits.len());
        let digit = digits.label(picture);
        let trajectory = Trajectory::draw(digits.picture(picture), &mut draw);
        let spoken = &words[digit];
        let word = &spoken[draw.below(spoken.len())];
        let clip = clip(digits.picture(picture), &trajectory)?;
        let sound = sound(&word.sound, &trajectory.bounces())?;
        let name = format!("{number:05}-{}.mp4", NAMES[digit]);
        // The best quality: a digit is thin.
        let options = WriteOptions { qp: 12, ..WriteOptions::default() };
        write_movie(folder.join(&name), &clip, &sound, &Metadata::new(), &options)?;
        let row = serde_json::json!({
            "file_name": name, "text": NAMES[digit], "speaker": word.speaker, "bounces": trajectory.bounces(),
        });
        lines += &format!("{row}\n");
    }
    let table = folder.join("metadata.jsonl");
    std::fs::write(&table, lines).map_err(|error| Error::io(&table, "write it", error))?;
    println!("{}: {count} clips", folder.display());
    Ok(())
}

/// The recordings that are used, by their digit: without silence around them, as loud as each other, none longer than
/// [`LONGEST`].
fn words(recordings: &Recordings) -> Result<Vec<Vec<Recording>>> {
    let mut words: Vec<Vec<Recording>> = NAMES.iter().map(|_| Vec::new()).collect();
    for Recording { digit, speaker, sound } in recordings.all() {
        if let Some(sound) = word(sound)? {
            words[*digit].push(Recording { digit: *digit, speaker: speaker.clone(), sound });
        }
    }
    Ok(words)
}

/// The part of a recording that is heard, with a peak of 0.8; `None` where it is longer than [`LONGEST`].
fn word(sound: &Sound) -> Result<Option<Sound>> {
    /// Samples whose loudness is one number.
    const BLOCK: usize = RATE / 100;
    let samples = sound.samples();
    let loud: Vec<f32> = samples.chunks(BLOCK).map(|block| block.iter().map(|x| x * x).sum::<f32>().sqrt()).collect();
    let most = loud.iter().copied().fold(0.0, f32::max);
    let is_heard = |loudness: &f32| *loudness > 0.06 * most;
    let (Some(first), Some(last)) = (loud.iter().position(is_heard), loud.iter().rposition(is_heard)) else {
        return Ok(None);
    };
    let part = &samples[first * BLOCK..((last + 2) * BLOCK).min(samples.len())];
    if part.len() as f32 > LONGEST * RATE as f32 {
        return Ok(None);
    }
    let peak = part.iter().fold(0.0, |peak: f32, x| peak.max(x.abs()));
    // Its last block fades out.
    let fade = |left: usize| (left as f32 / BLOCK as f32).min(1.0);
    let samples = part.iter().enumerate().map(|(i, x)| 0.8 * x / peak * fade(part.len() - 1 - i));
    Sound::new(1, Rate::whole(RATE as u32), samples.collect()).map(Some)
}

/// How a digit moves: along each axis to and fro between two walls.
struct Trajectory([Axis; 2]);

/// Along one axis, in pixels and seconds: where the digit's ink starts at time 0, and how far it can go.
#[derive(Clone, Copy)]
struct Axis {
    start: f32,
    velocity: f32,
    range: f32,
    /// Where the ink begins in the picture.
    margin: f32,
}

impl Axis {
    /// Where the ink begins: a triangle wave.
    fn at(&self, time: f32) -> f32 {
        let way = (self.start + self.velocity * time).rem_euclid(2.0 * self.range);
        way.min(2.0 * self.range - way)
    }

    /// When it meets a wall, up to `until`.
    fn bounces(&self, until: f32) -> impl Iterator<Item = f32> {
        let to_first = if self.velocity > 0.0 { self.range - self.start } else { self.start };
        let (first, period) = (to_first / self.velocity.abs(), self.range / self.velocity.abs());
        (0..).map(move |k| first + k as f32 * period).take_while(move |&time| time < until)
    }
}

impl Trajectory {
    /// For this picture: the first that is drawn along which it meets walls at least once, never before one word is over,
    /// and only while a word can still be heard to its end.
    fn draw(picture: &[u8], draw: &mut musiva::Stream) -> Self {
        let ink = |line: &dyn Fn(usize, usize) -> u8| {
            let has_ink = |i: &usize| (0..SIDE).any(|j| line(*i, j) > 64);
            let (first, last) = ((0..SIDE).find(has_ink), (0..SIDE).rfind(has_ink));
            (first.unwrap_or(0) as f32, last.unwrap_or(SIDE - 1) as f32)
        };
        let spans = [ink(&|y, x| picture[y * SIDE + x]), ink(&|x, y| picture[y * SIDE + x])];
        loop {
            let trajectory = Self(spans.map(|(first, last)| {
                let range = SIZE as f32 - 1.0 - (last - first);
                let speed = SPEEDS[0] + (SPEEDS[1] - SPEEDS[0]) * draw.uniform();
                let velocity = if draw.chance(0.5) { speed } else { -speed };
                Axis { start: range * draw.uniform(), velocity, range, margin: first }
            }));
            let bounces = trajectory.bounces();
            let apart = bounces.windows(2).all(|two| two[1] - two[0] >= APART);
            let heard = |time: &f32| (SPOKEN[0]..=SPOKEN[1]).contains(time);
            if !bounces.is_empty() && apart && bounces.iter().all(heard) {
                return trajectory;
            }
        }
    }

    /// When it bounces, in seconds, in order.
    fn bounces(&self) -> Vec<f32> {
        let until = FRAMES as f32 / FPS as f32;
        let mut all: Vec<f32> = self.0.iter().flat_map(|axis| axis.bounces(until)).collect();
        all.sort_by(f32::total_cmp);
        all
    }
}

/// The picture along its trajectory, between pixels too.
fn clip(picture: &[u8], Trajectory(axes): &Trajectory) -> Result<Clip> {
    let mut pixels = Vec::with_capacity(FRAMES * SIZE * SIZE * 3);
    let grey = |y: isize, x: isize| {
        let inside = (0..SIDE as isize).contains(&y) && (0..SIDE as isize).contains(&x);
        if inside { f32::from(picture[y as usize * SIDE + x as usize]) } else { 0.0 }
    };
    for frame in 0..FRAMES {
        let time = frame as f32 / FPS as f32;
        // Where the picture's corner is.
        let [top, left] = axes.map(|axis| axis.at(time) - axis.margin);
        for y in 0..SIZE {
            for x in 0..SIZE {
                let (v, u) = (y as f32 - top, x as f32 - left);
                let (dv, du) = (v - v.floor(), u - u.floor());
                let (v, u) = (v.floor() as isize, u.floor() as isize);
                let above = (1.0 - du) * grey(v, u) + du * grey(v, u + 1);
                let below = (1.0 - du) * grey(v + 1, u) + du * grey(v + 1, u + 1);
                pixels.extend([((1.0 - dv) * above + dv * below).round() as u8; 3]);
            }
        }
    }
    Clip::new([FRAMES, SIZE, SIZE], Rate::whole(FPS as u32), pixels)
}

/// Silence but for the word at each of these seconds, as long as the clip.
fn sound(word: &Sound, starts: &[f32]) -> Result<Sound> {
    let mut samples = vec![0.0; FRAMES * RATE / FPS];
    for start in starts {
        let at = (start * RATE as f32) as usize;
        samples.iter_mut().skip(at).zip(word.samples()).for_each(|(out, x)| *out = *x);
    }
    Sound::new(1, Rate::whole(RATE as u32), samples)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A bar of ink that leans, and a word of two tenths of a second.
    pub fn picture() -> Vec<u8> {
        (0..SIDE * SIDE)
            .map(|i| if (i / SIDE).abs_diff(11) < 8 && (i % SIDE + i / SIDE / 3).abs_diff(18) < 3 { 255 } else { 0 })
            .collect()
    }

    pub fn sample(number: u64) -> (Vec<f32>, Clip, Sound) {
        let picture = picture();
        let trajectory = Trajectory::draw(&picture, &mut RngKey::new(1).sample(number).stream(RngStream::Data));
        let tone = |i: usize| (0.5 * i as f32).sin() * 0.6;
        let word = Sound::new(1, Rate::whole(RATE as u32), (0..RATE / 5).map(tone).collect()).unwrap();
        (trajectory.bounces(), clip(&picture, &trajectory).unwrap(), sound(&word, &trajectory.bounces()).unwrap())
    }

    #[test]
    fn ink_meets_the_walls_and_stays_between_them() {
        for number in 0..20 {
            let picture = picture();
            let trajectory = Trajectory::draw(&picture, &mut RngKey::new(1).sample(number).stream(RngStream::Data));
            for axis in trajectory.0 {
                for time in axis.bounces(2.0) {
                    let at = axis.at(time);
                    assert!(at.abs() < 1e-3 || (at - axis.range).abs() < 1e-3, "{at} of {}", axis.range);
                    assert!((axis.at(time - 0.05) - axis.at(time + 0.05)).abs() < 1e-3, "it turns round");
                }
                assert!((0..100).all(|i| (0.0..=axis.range).contains(&axis.at(i as f32 * 0.02))));
            }
            // All of the ink is in every frame.
            let (_, clip, _) = sample(number);
            let ink = |frame: usize| clip.frame(frame).iter().map(|&x| u64::from(x)).sum::<u64>();
            let all = 3 * picture.iter().map(|&x| u64::from(x)).sum::<u64>();
            assert!((0..FRAMES).all(|frame| ink(frame).abs_diff(all) < all / 50), "clip {number}");
        }
    }

    #[test]
    fn a_word_starts_at_each_bounce() {
        for number in 0..20 {
            let (bounces, _, sound) = sample(number);
            assert!(!bounces.is_empty());
            let heard = |from: f32, to: f32| {
                let part = &sound.samples()[(from * RATE as f32) as usize..(to * RATE as f32) as usize];
                part.iter().any(|x| x.abs() > 0.1)
            };
            for &bounce in &bounces {
                assert!(!heard(bounce - 0.1, bounce - 0.001) && heard(bounce + 0.001, bounce + 0.1), "clip {number}");
            }
        }
    }

    #[test]
    fn silence_around_a_word_goes() {
        let samples = (0..8000).map(|i| if (2000..4000).contains(&i) { (0.3 * i as f32).sin() * 0.1 } else { 0.0 });
        let found = word(&Sound::new(1, Rate::whole(8000), samples.collect()).unwrap()).unwrap().unwrap();
        assert!((2000..2200).contains(&found.length()), "{}", found.length());
        let peak = found.samples().iter().fold(0.0, |peak: f32, x| peak.max(x.abs()));
        assert!((peak - 0.8).abs() < 1e-3);
        let long = Sound::new(1, Rate::whole(8000), vec![0.5; 8000]).unwrap();
        assert!(word(&long).unwrap().is_none(), "a word of a second is too long");
    }
}
