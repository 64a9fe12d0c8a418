//! Clips of any length and size through a tokenizer, a few frames at a time: memory is that of a few frames,
//! and the tokens.

use crate::frames::Frames;
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, Media, Modality, Observer, Rate, Result, Tokens};
use musiva_tokenizers::tiles::{self, OVERLAP, Tiling};

/// Why there are no tiles.
pub(crate) const ONLY_WHOLE: &str = "this tokenizer takes clips only whole";
/// Under which key files of tokens say the frames per second of what they were made of.
pub(crate) const RATE: &str = "musiva.rate";

/// How large frames are taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TileOptions {
    /// In square tiles of so many pixels; 0: whole; `None`: whole where they fit in memory.
    pub tile: Option<usize>,
    /// By how many pixels tiles overlap at least; `None`: 32, or half of a small tile.
    pub overlap: Option<usize>,
}

impl TileOptions {
    /// An error where tiles were asked for and cannot be had.
    pub(crate) fn refuse(&self, why: &str, hint: &str) -> Result<()> {
        match self.tile {
            Some(_) => Err(Error::new(ErrorKind::Unsupported, "--tile", why).hint(hint)),
            None => Ok(()),
        }
    }

    /// How frames of `[height, width]` pixels are cut.
    ///
    /// # Errors
    /// Where the recipe has no tokenizer of clips.
    pub fn tiling(&self, recipe: &Recipe, size: [usize; 2], observer: &mut dyn Observer) -> Result<Option<Tiling>> {
        let tiling = match self.tile {
            Some(0) => None,
            Some(tile) => Some(Tiling { tile, overlap: self.overlap.unwrap_or(OVERLAP.min(tile / 2)) }),
            None => Tiling::automatic(&*recipe.need_tokenizer(Modality::Video)?.component, size),
        };
        if let Some(Tiling { tile, overlap }) = tiling {
            observer.note(&format!("  in tiles of {tile}×{tile} pixels that overlap by {overlap}"));
        }
        Ok(tiling)
    }
}

/// The tokens of all frames, piece by piece; `each` is handed the frames of a piece and their tokens. Frames
/// behind the last whole token are left out. `None` where the tokenizer takes clips only whole.
pub(crate) fn encode(
    codec: &Codec,
    frames: &mut Frames,
    tiling: Option<Tiling>,
    observer: &mut dyn Observer,
    each: &mut dyn FnMut(Clip, Tokens, &mut dyn Observer) -> Result<()>,
) -> Result<Option<()>> {
    let tokenizer = codec.tokenizer();
    let [stride, h, w] = tokenizer.spec().strides;
    let [height, width] = frames.size();
    let Some(mut encoding) = tiles::encoding(tokenizer, frames.size(), tiling)? else { return Ok(None) };
    let piece = stride * tiles::frames_at_once(tokenizer, [height / h, width / w], tiling);
    // Of the first latent frame there is one frame.
    let (mut wanted, mut first, mut total) = (piece + 1 - stride, 1, 0);
    while let Some(mut clip) = observer.time("read", |_| frames.next(wanted))? {
        let there = clip.frames();
        let whole = first + (there - first) / stride * stride;
        total += whole;
        if whole < there {
            observer.note(&format!("  the first {total} of {} frames", total - whole + there));
            if whole == 0 {
                break;
            }
            clip = clip.slice(0..whole);
        }
        let media = Media::Clip(clip);
        let tokens = observer.time("encode", |_| encoding.push(&media))?;
        each(media.clip(Modality::Video.section())?, tokens, observer)?;
        if there < wanted {
            break;
        }
        (wanted, first) = (piece, 0);
    }
    Ok(Some(()))
}

/// The clip of tokens, piece by piece, each of which is handed to `each`. `None` where the tokenizer
/// takes tokens only whole.
pub(crate) fn decode(
    codec: &Codec,
    tokens: &Tokens,
    tiling: Option<Tiling>,
    observer: &mut dyn Observer,
    each: &mut dyn FnMut(Clip, &mut dyn Observer) -> Result<()>,
) -> Result<Option<()>> {
    let [frames, h, w] = tokens.grid();
    let Some(mut decoding) = tiles::decoding(codec.tokenizer(), [h, w], tiling)? else { return Ok(None) };
    let at_once = tiles::frames_at_once(codec.tokenizer(), [h, w], tiling);
    for start in (0..frames).step_by(at_once) {
        let piece = tokens.crop([start..frames.min(start + at_once), 0..h, 0..w]);
        let clip = observer.time("decode", |_| decoding.push(&piece))?.clip(Modality::Video.section())?;
        each(clip, observer)?;
    }
    Ok(Some(()))
}

/// `24000/1001`, as [`Rate`] prints it.
pub(crate) fn parse_rate(text: &str) -> Option<Rate> {
    let (numerator, denominator) = text.split_once('/').unwrap_or((text, "1"));
    Rate::new(numerator.parse().ok()?, denominator.parse().ok()?).ok()
}
