//! Clips too large for a tokenizer at once: tile by tile in space, piece by piece in time.
//!
//! Encoded, each place of the grid takes its token from the tile that sees most around it: a file of tokens
//! is one grid, knows nothing of tiles, and can be decoded whole or by tiles of another size. Tokens are not
//! blended, as codes have no mean. Decoded, tiles overlap and their pixels are blended: within an overlap a
//! quarter of it next to a tile's edge, where the network saw nothing beyond, is left out, and the half
//! between the two quarters fades from one tile to the other.
//!
//! Memory is that of one tile's network at work, of what causal layers remember of all tiles, and of the
//! pixels of the piece: however long the clip, the same.

#[cfg(test)]
mod tests;

use crate::video::at_once;
use musiva_core::{
    Clip, ConfigError, Decoding, Encoding, Error, ErrorKind, Media, MediaShape, Modality, Rate, Result, Tokenizer,
    TokenizerConfig, Tokens,
};
use std::ops::Range;

/// What a piece of a clip may take at once, by the tokenizer's own estimate, before [`Tiling::automatic`] cuts
/// it: a gibibyte.
const MOST: f64 = (1u64 << 30) as f64;
/// Sides of tiles to choose from, in pixels.
const SIDES: [usize; 4] = [512, 256, 128, 64];
/// By how many pixels tiles overlap where nobody says.
pub const OVERLAP: usize = 32;

/// How frames are cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tiling {
    /// Side of the square tiles, in pixels.
    pub tile: usize,
    /// By how much neighbours overlap at least, in pixels.
    pub overlap: usize,
}

impl Tiling {
    /// What is wrong with it for a tokenizer whose token stands for `strides` frames, rows and columns.
    pub fn error(&self, strides: [usize; 3]) -> Option<ConfigError> {
        let Self { tile, overlap } = *self;
        let [_, h, w] = strides;
        let fits = |side: usize| side.is_multiple_of(h) && side.is_multiple_of(w);
        let fitting = |side: usize| side.next_multiple_of(h * w / common(h, w)).max(h).max(w);
        if tile == 0 || !fits(tile) {
            let message = format!("a tile of {tile} pixels is no whole number of tokens of {w}×{h} pixels");
            return Some(ConfigError::new("tile", message, format!("make it {}", fitting(tile))));
        }
        if !fits(overlap) {
            let message = format!("an overlap of {overlap} pixels is no whole number of tokens of {w}×{h} pixels");
            return Some(ConfigError::new("overlap", message, format!("make it {}", fitting(overlap))));
        }
        if 2 * overlap > tile {
            let message = format!("an overlap of {overlap} pixels is more than half of a tile of {tile}");
            return Some(ConfigError::new("overlap", message, format!("make the tile {}", fitting(2 * overlap))));
        }
        None
    }

    /// The largest tiles with which a piece of frames of `[height, width]` pixels takes a gibibyte at most by
    /// the tokenizer's estimate; `None` where the whole frame does.
    pub fn automatic(config: &dyn TokenizerConfig, [height, width]: [usize; 2]) -> Option<Self> {
        let [t, h, w] = config.spec().strides;
        let takes = |height: usize, width: usize| {
            let frames = t * at_once((height / h) * (width / w));
            let piece = MediaShape::Clip { frames, height, width, rate: Rate::whole(1) };
            4.0 * config.cost(&piece).iter().map(|cost| cost.working_set).fold(0.0, f64::max)
        };
        if takes(height, width) <= MOST {
            return None;
        }
        let unit = h * w / common(h, w);
        let tilings = SIDES.map(|side| Self {
            tile: side.next_multiple_of(unit).max(2 * OVERLAP.next_multiple_of(unit)),
            overlap: OVERLAP.next_multiple_of(unit),
        });
        let [.., smallest] = tilings;
        Some(tilings.into_iter().find(|tiling| takes(tiling.tile, tiling.tile) <= MOST).unwrap_or(smallest))
    }
}

fn common(a: usize, b: usize) -> usize {
    if b == 0 { a } else { common(b, a % b) }
}

/// Starts on a clip of frames of `[height, width]` pixels, which comes piece by piece; without a tiling whole
/// frame by whole frame. `None` where the tokenizer cannot work so.
///
/// # Errors
/// Where the tiling or the size do not fit the tokenizer's strides.
pub fn encoding<'a>(
    tokenizer: &'a dyn Tokenizer,
    [height, width]: [usize; 2],
    tiling: Option<Tiling>,
) -> Result<Option<Box<dyn Encoding + 'a>>> {
    let [_, h, w] = tokenizer.spec().strides;
    if !height.is_multiple_of(h) || !width.is_multiple_of(w) {
        let message = format!("{width}×{height} pixels are no whole number of tokens of {w}×{h}");
        return Err(Error::new(ErrorKind::Unsupported, Modality::Video.section(), message));
    }
    let Some(cut) = Cut::new(tokenizer, [height / h, width / w], tiling)? else { return Ok(tokenizer.encoding()) };
    let Some(tiles) = cut.tiles().map(|_| tokenizer.encoding()).collect() else { return Ok(None) };
    Ok(Some(Box::new(TiledEncoding { cut, tiles })))
}

/// Starts on tokens of a grid of `[h, w]` places, which come piece by piece; see [`encoding`].
///
/// # Errors
/// Where the tiling does not fit the tokenizer's strides.
pub fn decoding<'a>(
    tokenizer: &'a dyn Tokenizer,
    places: [usize; 2],
    tiling: Option<Tiling>,
) -> Result<Option<Box<dyn Decoding + 'a>>> {
    let Some(cut) = Cut::new(tokenizer, places, tiling)? else { return Ok(tokenizer.decoding()) };
    let Some(tiles) = cut.tiles().map(|_| tokenizer.decoding()).collect() else { return Ok(None) };
    Ok(Some(Box::new(TiledDecoding { cut, tiles })))
}

/// How many frames of tokens of `[h, w]` places are best taken at a time, by such a tiling.
pub fn frames_at_once(tokenizer: &dyn Tokenizer, [h, w]: [usize; 2], tiling: Option<Tiling>) -> usize {
    let [_, sh, sw] = tokenizer.spec().strides;
    let tile = tiling.map_or([h, w], |tiling| [h.min(tiling.tile / sh), w.min(tiling.tile / sw)]);
    at_once(tile[0] * tile[1])
}

/// A grid cut into tiles.
struct Cut {
    /// Rows and columns of places.
    axes: [Axis; 2],
    /// Rows and columns of pixels of a place.
    strides: [usize; 2],
}

impl Cut {
    /// `None` where there is nothing to cut.
    fn new(tokenizer: &dyn Tokenizer, [h, w]: [usize; 2], tiling: Option<Tiling>) -> Result<Option<Self>> {
        let Some(tiling) = tiling else { return Ok(None) };
        let strides = tokenizer.spec().strides;
        if let Some(error) = tiling.error(strides) {
            let place = format!("--{}", error.path);
            return Err(error.into_error(ErrorKind::Unsupported, place));
        }
        let [_, sh, sw] = strides;
        let axis = |length, stride| Axis::new(length, tiling.tile / stride, tiling.overlap / stride);
        Ok(Some(Self { axes: [axis(h, sh), axis(w, sw)], strides: [sh, sw] }))
    }

    /// Row and column of each tile among the tiles, row by row.
    fn tiles(&self) -> impl Iterator<Item = [usize; 2]> {
        let [rows, columns] = self.axes.each_ref().map(|axis| axis.starts.len());
        (0..rows).flat_map(move |row| (0..columns).map(move |column| [row, column]))
    }

    /// Rows and columns of places that a tile covers.
    fn covered(&self, [row, column]: [usize; 2]) -> [Range<usize>; 2] {
        let [rows, columns] = &self.axes;
        [rows.covered(row), columns.covered(column)]
    }
}

/// One axis of a grid, cut into tiles of one length.
struct Axis {
    length: usize,
    side: usize,
    overlap: usize,
    starts: Vec<usize>,
}

impl Axis {
    /// As few tiles as there can be, evenly spread.
    fn new(length: usize, side: usize, overlap: usize) -> Self {
        let side = side.min(length);
        let starts = match length - side {
            0 => vec![0],
            rest => {
                let gaps = rest.div_ceil(side - overlap);
                (0..=gaps).map(|i| i * rest / gaps).collect()
            }
        };
        Self { length, side, overlap, starts }
    }

    /// The places of tile `i`.
    fn covered(&self, i: usize) -> Range<usize> {
        self.starts[i]..self.starts[i] + self.side
    }

    /// The places that tile `i` sees most around of, counted from its own start.
    fn owned(&self, i: usize) -> Range<usize> {
        // Half-way between the edges of two neighbours.
        let border = |i: usize| (self.starts[i] + self.starts[i - 1] + self.side) / 2;
        let from = if i == 0 { 0 } else { border(i) };
        let to = if i + 1 == self.starts.len() { self.length } else { border(i + 1) };
        from - self.starts[i]..to - self.starts[i]
    }

    /// How much each tile's pixels count, `stride` of them a place: at each pixel the weights sum to one.
    fn weights(&self, stride: usize) -> Vec<Vec<f32>> {
        let margin = (self.overlap * stride) as f64 / 4.0;
        let fade = |from_edge: f64| ((from_edge - margin) / (2.0 * margin)).clamp(0.0, 1.0);
        let pixels = self.side * stride;
        let last = self.starts.len() - 1;
        let window = |i: usize, pixel: usize| {
            let middle = pixel as f64 + 0.5;
            // The frame's own edges are no seams.
            let before = if i == 0 || margin == 0.0 { 1.0 } else { fade(middle) };
            let behind = if i == last || margin == 0.0 { 1.0 } else { fade(pixels as f64 - middle) };
            before * behind
        };
        let windows: Vec<Vec<f64>> = (0..=last).map(|i| (0..pixels).map(|pixel| window(i, pixel)).collect()).collect();
        let mut sums = vec![0.0; self.length * stride];
        for (window, start) in windows.iter().zip(&self.starts) {
            sums[start * stride..].iter_mut().zip(window).for_each(|(sum, weight)| *sum += weight);
        }
        let shares = windows.iter().zip(&self.starts).map(|(window, start)| {
            window.iter().zip(&sums[start * stride..]).map(|(weight, sum)| (weight / sum) as f32).collect()
        });
        shares.collect()
    }
}

/// A clip on its way to tokens.
struct TiledEncoding<'a> {
    cut: Cut,
    tiles: Vec<Box<dyn Encoding + 'a>>,
}

impl Encoding for TiledEncoding<'_> {
    fn push(&mut self, piece: &Media) -> Result<Tokens> {
        let section = Modality::Video.section();
        let Media::Clip(clip) = piece else { return Err(piece.unexpected(section, Modality::Video)) };
        let [_, height, width] = clip.shape();
        let [rows, columns] = &self.cut.axes;
        let [sh, sw] = self.cut.strides;
        if [height, width] != [rows.length * sh, columns.length * sw] {
            let message = format!("{clip:?} where frames of another size came before");
            return Err(Error::new(ErrorKind::Unsupported, section, message));
        }
        let mut parts = Vec::new();
        for (at, tile) in self.cut.tiles().zip(&mut self.tiles) {
            let [rows, columns] = self.cut.covered(at);
            let part = window(clip, rows.start * sh..rows.end * sh, columns.start * sw..columns.end * sw)?;
            let tokens = tile.push(&Media::Clip(part))?;
            if tokens.grid()[1..] != [rows.len(), columns.len()] {
                let message =
                    format!("it encodes a tile of [{}, {}] places to {:?}", rows.len(), columns.len(), tokens.grid());
                return Err(Error::new(ErrorKind::Unsupported, section, message));
            }
            let [rows, columns] = &self.cut.axes;
            parts.push(tokens.crop([0..tokens.grid()[0], rows.owned(at[0]), columns.owned(at[1])]));
        }
        let lines = parts.chunks(self.cut.axes[1].starts.len()).map(|parts| Tokens::concat(parts, 2));
        Tokens::concat(&lines.collect::<Result<Vec<_>>>()?, 1)
    }
}

/// Rows and columns of all frames.
fn window(clip: &Clip, rows: Range<usize>, columns: Range<usize>) -> Result<Clip> {
    let [frames, _, width] = clip.shape();
    let mut pixels = Vec::with_capacity(frames * rows.len() * columns.len() * 3);
    for frame in 0..frames {
        for line in clip.frame(frame).chunks_exact(width * 3).skip(rows.start).take(rows.len()) {
            pixels.extend_from_slice(&line[columns.start * 3..columns.end * 3]);
        }
    }
    Clip::new([frames, rows.len(), columns.len()], clip.rate(), pixels)
}

/// Tokens on their way to a clip.
struct TiledDecoding<'a> {
    cut: Cut,
    tiles: Vec<Box<dyn Decoding + 'a>>,
}

impl Decoding for TiledDecoding<'_> {
    fn push(&mut self, piece: &Tokens) -> Result<Media> {
        let [_, h, w] = piece.grid();
        let [rows, columns] = &self.cut.axes;
        if [h, w] != [rows.length, columns.length] {
            let message = format!("{:?} tokens where frames of another size came before", piece.grid());
            return Err(Error::new(ErrorKind::Weights, "tokens", message));
        }
        let [sh, sw] = self.cut.strides;
        let (by_row, by_column) = (rows.weights(sh), columns.weights(sw));
        let (height, width) = (h * sh, w * sw);
        let mut blended: Vec<f32> = Vec::new();
        let (mut frames, mut rate) = (0, Rate::whole(1));
        for (at, tile) in self.cut.tiles().zip(&mut self.tiles) {
            let [rows, columns] = self.cut.covered(at);
            let part = tile
                .push(&piece.crop([0..piece.grid()[0], rows.clone(), columns.clone()]))?
                .clip(Modality::Video.section())?;
            let [these, part_height, part_width] = part.shape();
            if [part_height, part_width] != [rows.len() * sh, columns.len() * sw] || frames != 0 && these != frames {
                let message = format!("it decodes [{}, {}] tokens to {part:?}", rows.len(), columns.len());
                return Err(Error::new(ErrorKind::Unsupported, Modality::Video.section(), message));
            }
            (frames, rate) = (these, part.rate());
            blended.resize(frames * height * width * 3, 0.0);
            let (by_row, by_column) = (&by_row[at[0]], &by_column[at[1]]);
            for (i, line) in part.pixels().chunks_exact(part_width * 3).enumerate() {
                let (frame, row) = (i / part_height, i % part_height);
                let start = ((frame * height + rows.start * sh + row) * width + columns.start * sw) * 3;
                let sums = blended[start..][..line.len()].chunks_exact_mut(3);
                for ((sums, pixel), weight) in sums.zip(line.chunks_exact(3)).zip(by_column) {
                    let weight = by_row[row] * weight;
                    sums.iter_mut().zip(pixel).for_each(|(sum, &value)| *sum += weight * f32::from(value));
                }
            }
        }
        let pixels = blended.into_iter().map(|sum| sum.round().clamp(0.0, 255.0) as u8).collect();
        Clip::new([frames, height, width], rate, pixels).map(Media::Clip)
    }
}
