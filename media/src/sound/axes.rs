//! A spectrogram with what its places and colours stand for: hertz, seconds, decibels.

use super::spectrogram::{RANGE, colour, columns, spectrogram};
use super::waveform::waveform;
use crate::font::{HEIGHT, draw, width};
use musiva_core::{Clip, Rate, Result, Sound};

const PAPER: u8 = 24;
const INK: u8 = 220;
/// Pixels around the spectrogram: above it the units, to the left hertz, to the right the colours, below seconds.
const TOP: usize = 2 * HEIGHT;
const LEFT: usize = 4 * HEIGHT + 4;
const RIGHT: usize = 4 + BAR + 3 + 3 * HEIGHT + 2;
const BOTTOM: usize = HEIGHT + 6;
/// Width of the colours.
const BAR: usize = 8;
/// Pixels between two labels, at least: beside each other there is more to read.
const APART: [usize; 2] = [3 * HEIGHT, 6 * HEIGHT];

/// The spectrogram of the first channel as a picture of one frame, with its axes: time to the right in seconds, frequency up in
/// hertz, from 0 to half of the sample rate; brightness is the magnitude in Hann windows of 512 samples, and a bar says which
/// colour is which, in decibels from -80 to full scale.
///
/// # Errors
/// For more than 2³⁰ samples.
pub fn spectrogram_with_axes(sound: &Sound) -> Result<Clip> {
    let picture = spectrogram(sound)?;
    let [_, rows, columns] = picture.shape();
    let mut page = Page::around(&picture);
    let most = sound.rate().as_f64() / 2.0;
    page.text("Hz", [1, LEFT - 3 - width("Hz")]);
    for tick in ticks(most, rows / APART[0]) {
        let y = TOP + ((1.0 - tick / most) * (rows - 1) as f64).round() as usize;
        let label = match tick {
            1e9.. => format!("{}G", plain(tick / 1e9)),
            1e6.. => format!("{}M", plain(tick / 1e6)),
            1e3.. => format!("{}k", plain(tick / 1e3)),
            _ => plain(tick),
        };
        page.dots(y..y + 1, LEFT - 3..LEFT);
        page.text(&label, [y - HEIGHT / 2, (LEFT - 4).saturating_sub(width(&label))]);
    }
    let seconds = sound.seconds();
    for tick in ticks(seconds, columns / APART[1]) {
        let x = LEFT + (tick / seconds * (columns - 1) as f64).round() as usize;
        let label = if tick == 0.0 { "0 s".to_owned() } else { plain(tick) };
        page.dots(TOP + rows..TOP + rows + 3, x..x + 1);
        page.text(&label, [TOP + rows + 5, x]);
    }
    let bar = LEFT + columns + 4;
    for y in 0..rows {
        let shade = colour(1.0 - y as f64 / (rows - 1) as f64);
        (bar..bar + BAR).for_each(|x| page.pixel(TOP + y, x).copy_from_slice(&shade));
    }
    page.text("dB", [1, bar]);
    for tick in ticks(RANGE, rows / APART[0]) {
        let y = TOP + (tick / RANGE * (rows - 1) as f64).round() as usize;
        let label = if tick == 0.0 { "0".to_owned() } else { format!("-{}", plain(tick)) };
        page.text(&label, [y - HEIGHT / 2, bar + BAR + 3]);
    }
    page.clip()
}

/// The waveform of a whole sound, `height` pixels high and as wide as its [`spectrogram_with_axes`], so that both can stand one
/// above the other. The height is from `-peak` to `peak`.
///
/// # Errors
/// For more samples than fit into a picture's rate, some 2³².
pub fn waveform_below_spectrogram(sound: &Sound, height: usize, peak: f32) -> Result<Clip> {
    let Rate { numerator, denominator } = sound.rate();
    // All of it on one frame.
    let length = u32::try_from(sound.length()).unwrap_or(u32::MAX);
    let rate = Rate::new(numerator, denominator.saturating_mul(length))?;
    let columns = columns(sound.length());
    let mut page = Page::new([height, LEFT + columns + RIGHT]);
    page.put(&waveform(sound, rate, [1, height, columns], peak)?, [0, LEFT]);
    page.clip()
}

/// A picture in the making.
struct Page {
    size: [usize; 2],
    pixels: Vec<u8>,
}

impl Page {
    fn new(size: [usize; 2]) -> Self {
        Self { size, pixels: vec![PAPER; size[0] * size[1] * 3] }
    }

    fn around(picture: &Clip) -> Self {
        let [_, rows, columns] = picture.shape();
        let mut page = Self::new([TOP + rows + BOTTOM, LEFT + columns + RIGHT]);
        page.put(picture, [TOP, LEFT]);
        page
    }

    fn put(&mut self, picture: &Clip, [top, left]: [usize; 2]) {
        let [_, _, columns] = picture.shape();
        for (y, row) in picture.frame(0).chunks_exact(columns * 3).enumerate() {
            let at = ((top + y) * self.size[1] + left) * 3;
            self.pixels[at..at + row.len()].copy_from_slice(row);
        }
    }

    fn pixel(&mut self, y: usize, x: usize) -> &mut [u8] {
        &mut self.pixels[(y * self.size[1] + x) * 3..][..3]
    }

    fn dots(&mut self, rows: std::ops::Range<usize>, columns: std::ops::Range<usize>) {
        rows.for_each(|y| columns.clone().for_each(|x| self.pixel(y, x).fill(INK)));
    }

    fn text(&mut self, text: &str, at: [usize; 2]) {
        draw(text, &mut self.pixels, self.size, at, INK);
    }

    fn clip(self) -> Result<Clip> {
        Clip::new([1, self.size[0], self.size[1]], Rate::whole(1), self.pixels)
    }
}

/// Round numbers from 0 to `most`, as many as there is room for: steps of 1, 2 or 5 times a power of ten.
fn ticks(most: f64, room: usize) -> Vec<f64> {
    let least = most / room.max(1) as f64;
    let power = 10f64.powf(least.log10().floor());
    let step = [1.0, 2.0, 5.0, 10.0].map(|factor| factor * power).into_iter().find(|step| *step >= least * 0.999);
    let step = step.unwrap_or(10.0 * power);
    (0..).map(|k| k as f64 * step).take_while(|tick| *tick <= most * 1.000_001).collect()
}

/// A number without zeros behind the point.
fn plain(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round() {
        let of = |most, room| ticks(most, room).into_iter().map(plain).collect::<Vec<_>>().join(" ");
        assert_eq!(of(8000.0, 5), "0 2000 4000 6000 8000");
        assert_eq!(of(4000.0, 5), "0 1000 2000 3000 4000");
        assert_eq!(of(22_050.0, 5), "0 5000 10000 15000 20000");
        assert_eq!(of(80.0, 5), "0 20 40 60 80");
        assert_eq!(of(2.125, 5), "0 0.5 1 1.5 2");
        assert_eq!(of(0.05, 5), "0 0.01 0.02 0.03 0.04 0.05");
        assert_eq!(of(3.0, 0), "0");
    }

    #[test]
    fn the_spectrogram_lies_within_its_axes() {
        for (samples, rate) in [(8000, 8000), (1, 44_100), (300_000, 16_000), (50, 1), (900, u32::MAX)] {
            let wave = |i: usize| (0.4 * i as f32).sin() * 0.5;
            let sound = Sound::new(1, Rate::whole(rate), (0..samples).map(wave).collect()).unwrap();
            let (bare, page) = (spectrogram(&sound).unwrap(), spectrogram_with_axes(&sound).unwrap());
            let ([_, rows, columns], [_, _, wide]) = (bare.shape(), page.shape());
            for y in 0..rows {
                let at = ((TOP + y) * wide + LEFT) * 3;
                assert_eq!(&page.pixels()[at..at + columns * 3], &bare.pixels()[y * columns * 3..][..columns * 3]);
            }
            assert_eq!(waveform_below_spectrogram(&sound, 20, 1.0).unwrap().shape(), [1, 20, wide]);
            // From 0 dB down to -80.
            let bar = |y: usize| &page.pixels()[((TOP + y) * wide + LEFT + columns + 5) * 3..][..3];
            assert_eq!([bar(0), bar(rows - 1)], [colour(1.0), colour(0.0)]);
        }
    }
}
