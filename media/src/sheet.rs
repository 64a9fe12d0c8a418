//! Many frames on one picture, to look at side by side.

use crate::font::{HEIGHT, draw};
use musiva_core::{Clip, Error, ErrorKind, Rate, Result};

/// Pixels between the frames.
const GAP: usize = 2;
/// A grey that neither black nor white pictures melt into.
const PAPER: u8 = 48;
const INK: u8 = 230;

/// One row for each clip, as high as its frames: `columns` of them, spread evenly from its first to its last (all of
/// them, where it has no more). `labels`, if there are any, stand above the rows, in capitals.
///
/// # Errors
/// Where there are no clips or columns, or neither no labels nor one for each clip.
pub fn contact_sheet(clips: &[Clip], columns: usize, labels: &[&str]) -> Result<Clip> {
    let refuse = |found: String, hint: &str| Err(Error::new(ErrorKind::Media, "contact sheet", found).hint(hint));
    if clips.is_empty() || columns == 0 {
        return refuse(format!("{} clips in {columns} columns", clips.len()), "give at least one of each");
    }
    if !labels.is_empty() && labels.len() != clips.len() {
        return refuse(format!("{} labels for {} clips", labels.len(), clips.len()), "give each clip a label, or none");
    }
    let shapes = || clips.iter().map(Clip::shape);
    let width = shapes().map(|[_, _, width]| width).max().unwrap_or(0);
    let columns = columns.min(shapes().map(|[frames, _, _]| frames).max().unwrap_or(0));
    let label_height = if labels.is_empty() { 0 } else { HEIGHT + GAP };
    let height = shapes().map(|[_, height, _]| label_height + height + GAP).sum::<usize>();
    let size = [height + GAP, columns * (width + GAP) + GAP];
    if size.iter().any(|&side| side > 65_535) || size[0] * size[1] > 1 << 28 {
        return refuse(format!("{}×{} pixels", size[1], size[0]), "give fewer or smaller clips, or fewer columns");
    }
    let mut sheet = vec![PAPER; size[0] * size[1] * 3];
    let mut top = GAP;
    for (row, clip) in clips.iter().enumerate() {
        if let Some(label) = labels.get(row) {
            draw(label, &mut sheet, size, [top, GAP], INK);
        }
        let [frames, height, width_here] = clip.shape();
        let shown = columns.min(frames);
        for column in 0..shown {
            let index = if shown == 1 { 0 } else { column * (frames - 1) / (shown - 1) };
            let left = GAP + column * (width + GAP);
            for (line, codes) in clip.frame(index).chunks_exact(width_here * 3).enumerate() {
                let at = ((top + label_height + line) * size[1] + left) * 3;
                sheet[at..at + codes.len()].copy_from_slice(codes);
            }
        }
        top += label_height + height + GAP;
    }
    Clip::new([1, size[0], size[1]], Rate::whole(1), sheet)
}

/// All frames of a clip, in reading order, in about as many rows as columns.
pub(crate) fn film_strip(clip: &Clip) -> Result<Clip> {
    let frames = clip.frames();
    let columns = (frames as f64).sqrt().ceil() as usize;
    let rows: Vec<Clip> =
        (0..frames).step_by(columns).map(|first| clip.slice(first..(first + columns).min(frames))).collect();
    contact_sheet(&rows, columns, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grey(frames: usize, height: usize, width: usize) -> Clip {
        let pixels = (0..frames).flat_map(|frame| vec![frame as u8 * 10; height * width * 3]).collect();
        Clip::new([frames, height, width], Rate::whole(8), pixels).unwrap()
    }

    #[test]
    fn frames_are_spread_from_the_first_to_the_last() {
        let sheet = contact_sheet(&[grey(17, 5, 7), grey(1, 3, 2)], 3, &["seed 7", "x"]).unwrap();
        let [frames, height, width] = sheet.shape();
        let label = HEIGHT + GAP;
        assert_eq!([frames, height, width], [1, label + 5 + GAP + label + 3 + GAP + GAP, 3 * 9 + 2]);
        let pixel = |y: usize, x: usize| sheet.pixels()[(y * width + x) * 3];
        let first_row = GAP + HEIGHT + GAP;
        assert_eq!([2, 11, 20].map(|x| pixel(first_row, x)), [0, 80, 160]);
        assert_eq!(pixel(first_row, 9), PAPER);
        assert!((0..HEIGHT).any(|y| (0..20).any(|x| pixel(GAP + y, GAP + x) == INK)), "the label is there");
        assert!(contact_sheet(&[grey(2, 2, 2)], 1, &["a", "b"]).is_err());
    }

    #[test]
    fn a_film_strip_shows_every_frame_once() {
        let strip = film_strip(&grey(7, 3, 3)).unwrap();
        let [_, _, width] = strip.shape();
        for frame in 0..7usize {
            let (y, x) = (2 + frame / 3 * 5, 2 + frame % 3 * 5);
            assert_eq!(strip.pixels()[(y * width + x) * 3], frame as u8 * 10);
        }
    }
}
