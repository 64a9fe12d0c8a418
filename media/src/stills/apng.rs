//! Pictures out of an animated PNG, each drawn over what the ones before it left.

use super::{png_decoder, png_refused, to_rgb};
use crate::{
    fault::{Outcome, broken, guard},
    source::{Shared, Source},
    timeline::Timeline,
};
use png::{BlendOp, DisposeOp, Reader};
use std::io::BufReader;

/// Ticks a second: a multiple of the common rates.
const SCALE: u32 = 600_000;

/// When each picture appears, by their durations in seconds, as fractions. A denominator of 0 is 100. Pictures of no time
/// are shown for a tenth of a second, as browsers do it with GIF.
pub(super) fn timeline(durations: &[(u16, u16)]) -> Timeline {
    let mut clock = 0.0;
    let mut starts = Vec::with_capacity(durations.len());
    for &(numerator, denominator) in durations {
        starts.push((clock * f64::from(SCALE)).round() as u64);
        let denominator = if denominator == 0 { 100 } else { denominator };
        clock += if numerator == 0 { 0.1 } else { f64::from(numerator) / f64::from(denominator) };
    }
    Timeline { scale: SCALE, starts, end: (clock * f64::from(SCALE)).round() as u64 }
}

/// An animated PNG.
pub(super) struct Animation {
    file: Shared,
    reader: Reader<BufReader<Shared>>,
    size: [usize; 2],
    max_pixels: u64,
    /// Number of the picture that comes next.
    index: usize,
    count: usize,
    /// Red, green, blue and alpha; transparent where nothing was drawn.
    canvas: Vec<u8>,
    /// What comes onto the canvas before the next picture is drawn, and from which row and column on.
    after: Option<(Area, Vec<u8>)>,
}

/// A part of the canvas, in pixels.
#[derive(Clone, Copy)]
struct Area {
    left: usize,
    top: usize,
    width: usize,
    height: usize,
}

impl Animation {
    /// Of the pictures that `reader` finds in `file`.
    pub(super) fn new(
        reader: Reader<BufReader<Shared>>,
        file: Shared,
        size: [usize; 2],
        count: usize,
        max_pixels: u64,
    ) -> Outcome<Self> {
        let canvas = vec![0; size[0] * size[1] * 4];
        let mut animation = Self { file, reader, size, max_pixels, index: 0, count, canvas, after: None };
        animation.pass_default()?;
        Ok(animation)
    }

    /// Passes over a picture for those who know no animations, which is no part of this one.
    fn pass_default(&mut self) -> Outcome<()> {
        let reader = &mut self.reader;
        if reader.info().frame_control.is_none() {
            let mut pixels = vec![0; reader.output_buffer_size().ok_or_else(|| broken("its size is out of range"))?];
            reader.next_frame(&mut pixels).map_err(png_refused)?;
        }
        Ok(())
    }

    /// The bytes of each row of an area.
    fn rows(&self, area: Area) -> impl Iterator<Item = std::ops::Range<usize>> + use<> {
        let width = self.size[1];
        (area.top..area.top + area.height).map(move |row| {
            let start = (row * width + area.left) * 4;
            start..start + area.width * 4
        })
    }

    fn draw(&mut self) -> Outcome<()> {
        if let Some((area, pixels)) = self.after.take() {
            for (row, line) in self.rows(area).zip(pixels.chunks_exact(area.width * 4)) {
                self.canvas[row].copy_from_slice(line);
            }
        }
        let reader = &mut self.reader;
        let mut pixels = vec![0; reader.output_buffer_size().ok_or_else(|| broken("its size is out of range"))?];
        let frame = reader.next_frame(&mut pixels).map_err(png_refused)?;
        let control = *reader.info().frame_control.as_ref().ok_or_else(|| broken("a picture of it has no place"))?;
        let [left, top] = [control.x_offset, control.y_offset].map(|side| side as usize);
        let area = Area { left, top, width: frame.width as usize, height: frame.height as usize };
        let inside = |start: usize, length: usize, all: usize| start.checked_add(length).is_some_and(|end| end <= all);
        if area.width == 0 || !inside(left, area.width, self.size[1]) || !inside(top, area.height, self.size[0]) {
            return Err(broken("a picture of it lies outside of its canvas"));
        }
        self.after = match control.dispose_op {
            DisposeOp::None => None,
            DisposeOp::Background => Some((area, vec![0; area.width * area.height * 4])),
            DisposeOp::Previous => {
                let before = self.rows(area).flat_map(|row| self.canvas[row].to_vec()).collect();
                Some((area, before))
            }
        };
        let channels = frame.color_type.samples();
        for (row, line) in self.rows(area).zip(pixels.chunks(frame.line_size)) {
            for (under, over) in self.canvas[row].chunks_exact_mut(4).zip(line.chunks_exact(channels)) {
                let over = rgba(over);
                match control.blend_op {
                    BlendOp::Source => under.copy_from_slice(&over),
                    BlendOp::Over => blend(under, over),
                }
            }
        }
        Ok(())
    }
}

/// A pixel of 1 to 4 channels (grey, grey and alpha, RGB, RGBA).
fn rgba(pixel: &[u8]) -> [u8; 4] {
    match *pixel {
        [grey] => [grey, grey, grey, 255],
        [grey, alpha] => [grey, grey, grey, alpha],
        [red, green, blue] => [red, green, blue, 255],
        [red, green, blue, alpha, ..] => [red, green, blue, alpha],
        [] => [0; 4],
    }
}

/// Lays a pixel over another, both with alpha.
fn blend(under: &mut [u8], over: [u8; 4]) {
    let alpha = u32::from(over[3]);
    let rest = u32::from(under[3]) * (255 - alpha);
    let whole = 255 * alpha + rest;
    if whole == 0 {
        return under.fill(0);
    }
    for (under, over) in under.iter_mut().zip(&over[..3]) {
        *under = ((u32::from(*over) * 255 * alpha + u32::from(*under) * rest + whole / 2) / whole) as u8;
    }
    under[3] = ((whole + 127) / 255) as u8;
}

impl Source for Animation {
    fn next(&mut self, into: Option<&mut Vec<u8>>) -> Outcome<bool> {
        if self.index >= self.count {
            return Ok(false);
        }
        guard("PNG", || self.draw())?;
        self.index += 1;
        if let Some(pixels) = into {
            *pixels = to_rgb(&self.canvas, 4);
        }
        Ok(true)
    }

    fn seek(&mut self, picture: usize) -> Outcome<usize> {
        if picture < self.index {
            self.reader = guard("PNG", || png_decoder(self.file.clone(), self.max_pixels))?;
            self.canvas.fill(0);
            (self.index, self.after) = (0, None);
            self.pass_default()?;
        }
        Ok(self.index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_laid_over_covers_by_its_alpha() {
        let over = |under: [u8; 4], over: [u8; 4]| {
            let mut pixel = under;
            blend(&mut pixel, over);
            pixel
        };
        assert_eq!(over([9, 8, 7, 255], [100, 50, 0, 255]), [100, 50, 0, 255]);
        assert_eq!(over([9, 8, 7, 255], [100, 50, 0, 0]), [9, 8, 7, 255]);
        assert_eq!(over([0, 0, 0, 0], [100, 50, 0, 128]), [100, 50, 0, 128]);
        assert_eq!(over([0, 0, 0, 255], [200, 100, 0, 128]), [100, 50, 0, 255]);
        assert_eq!(over([0; 4], [0; 4]), [0; 4]);
    }

    #[test]
    fn durations_are_fractions() {
        let found = timeline(&[(1, 8), (0, 5), (3, 0), (1, 24)]);
        assert_eq!(found.starts, [0, 75_000, 135_000, 153_000]);
        assert_eq!(found.end, 178_000);
    }
}
