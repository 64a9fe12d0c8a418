//! Many frames on one picture, to look at side by side.

use crate::font::{HEIGHT, draw, width};
use crate::sound::colour;
use musiva_core::{Clip, Error, ErrorKind, Rate, Result};

/// Pixels between the frames.
const GAP: usize = 2;
/// A grey that neither black nor white pictures melt into.
const PAPER: u8 = 48;
const INK: u8 = 230;
/// A label makes a sheet wider up to here; what is longer is cut off.
const WIDEST_LABEL: usize = 640;
/// Pixels of a colour bar.
const BAR: usize = 64;

/// A row of a contact sheet.
#[derive(Clone, Debug, PartialEq)]
pub struct SheetRow {
    /// What stands above it; nothing where it is empty.
    pub label: String,
    /// Its frames.
    pub clip: Clip,
    /// What the first and the last colour of a colour map stand for, where its pixels are of one: a bar behind the label says
    /// it.
    pub colours: Option<[String; 2]>,
}

impl SheetRow {
    /// Frames below a label.
    pub fn new(label: impl Into<String>, clip: Clip) -> Self {
        Self { label: label.into(), clip, colours: None }
    }

    /// With a bar from the first to the last colour of a colour map, and what they stand for.
    pub fn with_colours(self, [first, last]: [&str; 2]) -> Self {
        Self { colours: Some([first.to_owned(), last.to_owned()]), ..self }
    }

    fn is_labelled(&self) -> bool {
        !self.label.is_empty() || self.colours.is_some()
    }

    /// Pixels of all that stands above it.
    fn label_width(&self) -> usize {
        let colours = self.colours.as_ref().map(|ends| BAR + ends.iter().map(|end| width(end) + HEIGHT).sum::<usize>());
        width(&self.label) + colours.map_or(0, |colours| HEIGHT + colours)
    }

    /// Draws all that stands above it.
    fn draw_label(&self, sheet: &mut [u8], size: [usize; 2], top: usize) {
        draw(&self.label, sheet, size, [top, GAP], INK);
        let Some([first, last]) = &self.colours else { return };
        let mut left = GAP + width(&self.label) + HEIGHT;
        draw(first, sheet, size, [top, left], INK);
        left += width(first) + HEIGHT / 2;
        for (y, x) in (0..HEIGHT).flat_map(|y| (0..BAR).map(move |x| (y, x))).filter(|(_, x)| left + x < size[1]) {
            let at = ((top + y) * size[1] + left + x) * 3;
            sheet[at..at + 3].copy_from_slice(&colour(x as f64 / (BAR - 1) as f64));
        }
        draw(last, sheet, size, [top, left + BAR + HEIGHT / 2], INK);
    }
}

/// One row for each clip, as high as its frames: `columns` of them, spread evenly from its first to its last (all of
/// them, where it has no more), below its label.
///
/// # Errors
/// Where there are no rows or columns, or more than a picture has room for.
pub fn contact_sheet(rows: &[SheetRow], columns: usize) -> Result<Clip> {
    let refuse = |found: String, hint: &str| Err(Error::new(ErrorKind::Media, "contact sheet", found).hint(hint));
    if rows.is_empty() || columns == 0 {
        return refuse(format!("{} clips in {columns} columns", rows.len()), "give at least one of each");
    }
    let shapes = || rows.iter().map(|row| row.clip.shape());
    let width = shapes().map(|[_, _, width]| width).max().unwrap_or(0);
    let columns = columns.min(shapes().map(|[frames, _, _]| frames).max().unwrap_or(0));
    let label_height = if rows.iter().any(SheetRow::is_labelled) { HEIGHT + GAP } else { 0 };
    let height = shapes().map(|[_, height, _]| label_height + height + GAP).sum::<usize>();
    let longest = rows.iter().map(SheetRow::label_width).max().unwrap_or(0).min(WIDEST_LABEL);
    let size = [height + GAP, GAP + (columns * (width + GAP)).max(longest + GAP)];
    if size.iter().any(|&side| side > 65_535) || size[0] * size[1] > 1 << 28 {
        return refuse(format!("{}×{} pixels", size[1], size[0]), "give fewer or smaller clips, or fewer columns");
    }
    let mut sheet = vec![PAPER; size[0] * size[1] * 3];
    let mut top = GAP;
    for row in rows {
        row.draw_label(&mut sheet, size, top);
        let [frames, height, width_here] = row.clip.shape();
        let shown = columns.min(frames);
        for column in 0..shown {
            let index = if shown == 1 { 0 } else { column * (frames - 1) / (shown - 1) };
            let left = GAP + column * (width + GAP);
            for (line, codes) in row.clip.frame(index).chunks_exact(width_here * 3).enumerate() {
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
    let row = |first: usize| SheetRow::new("", clip.slice(first..(first + columns).min(frames)));
    contact_sheet(&(0..frames).step_by(columns).map(row).collect::<Vec<_>>(), columns)
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
        let rows = [SheetRow::new("7", grey(17, 5, 7)), SheetRow::new("x", grey(1, 3, 2))];
        let sheet = contact_sheet(&rows, 3).unwrap();
        let [frames, height, width] = sheet.shape();
        let label = HEIGHT + GAP;
        assert_eq!([frames, height, width], [1, label + 5 + GAP + label + 3 + GAP + GAP, 3 * 9 + 2]);
        let pixel = |y: usize, x: usize| sheet.pixels()[(y * width + x) * 3];
        let first_row = GAP + HEIGHT + GAP;
        assert_eq!([2, 11, 20].map(|x| pixel(first_row, x)), [0, 80, 160]);
        assert_eq!(pixel(first_row, 9), PAPER);
        assert!((0..HEIGHT).any(|y| (0..20).any(|x| pixel(GAP + y, GAP + x) == INK)), "the label is there");
        assert!(contact_sheet(&[], 1).is_err() && contact_sheet(&rows, 0).is_err());
    }

    #[test]
    fn a_sheet_is_as_wide_as_its_labels() {
        let width = |label: &str| contact_sheet(&[SheetRow::new(label, grey(1, 4, 4))], 1).unwrap().shape()[2];
        assert_eq!([width(""), width("a"), width("a few words")], [8, 12, 92]);
        assert_eq!(width(&"word ".repeat(1000)), WIDEST_LABEL + 2 * GAP);
    }

    #[test]
    fn a_colour_bar_goes_from_the_first_colour_to_the_last() {
        let row = SheetRow::new("error", grey(1, 4, 4)).with_colours(["0", "64"]);
        let sheet = contact_sheet(std::slice::from_ref(&row), 1).unwrap();
        let width = sheet.shape()[2];
        assert_eq!(width, row.label_width() + 2 * GAP);
        // Behind "error", a space, "0" and half a space.
        let bar = |x: usize| &sheet.pixels()[((GAP + 3) * width + GAP + 5 * 8 + 8 + 8 + 4 + x) * 3..][..3];
        assert_eq!([bar(0), bar(BAR - 1)], [colour(0.0), colour(1.0)]);
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
