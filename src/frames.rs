//! The frames of a file as a recipe's tokenizer takes them, a few at a time; the observer is told of every step.

use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, MediaShape, Modality, Observer, Rate, Result};
use musiva_media::{Filter, VideoReader, center_crop, resize};
use std::path::Path;

/// Frames at a rate and of a size, read as they are wanted.
pub struct Frames {
    reader: VideoReader,
    /// Rate of the file; none of a still.
    from: Option<Rate>,
    rate: Rate,
    /// Height and width before the middle is cut out, and after.
    resized: [usize; 2],
    size: [usize; 2],
    /// Number of the frame that comes next.
    next: usize,
    /// The last frame and its number in the file: it may be on show for longer.
    held: Option<(usize, Clip)>,
}

impl Frames {
    /// Of a file, at the recipe's rate and size; or at its own, less what is no whole token at its edges.
    pub fn open(recipe: &Recipe, path: &Path, native: bool, observer: &mut dyn Observer) -> Result<Self> {
        Self::of_shape(recipe, recipe.need_media(Modality::Video)?, path, native, observer)
    }

    /// The same at the rate and size of another shape than the recipe's clips have.
    pub fn of_shape(
        recipe: &Recipe,
        shape: MediaShape,
        path: &Path,
        native: bool,
        observer: &mut dyn Observer,
    ) -> Result<Self> {
        let MediaShape::Clip { height, width, rate, .. } = shape else {
            return Err(Error::new(ErrorKind::Unsupported, "data", "a recipe of clips needs data of clips"));
        };
        let mut reader = VideoReader::open(path)?;
        observer.note(&format!("{}: {}", path.display(), reader.info()));
        let (found, old) = (reader.info().rate, reader.size());
        let still = is_still(&mut reader)?;
        let rate = if native && !still { found } else { rate };
        if !still && found != rate {
            observer.note(&format!("  {found} → {rate} frames per second: each frame is the one on show at its time"));
        }
        let [old_height, old_width] = old;
        let (resized, size) = if native {
            let [_, h, w] = recipe.need_tokenizer(Modality::Video)?.component.spec().strides;
            (old, [(old_height / h * h).max(h), (old_width / w * w).max(w)])
        } else {
            // Until it covers the wanted size; then the middle.
            let scale = (height as f64 / old_height as f64).max(width as f64 / old_width as f64);
            let side = |old: usize, least: usize| ((old as f64 * scale).round() as usize).max(least);
            ([side(old_height, height), side(old_width, width)], [height, width])
        };
        if resized != old {
            observer.note(&format!(
                "  {old_width}×{old_height} → {}×{} pixels by a triangle filter",
                resized[1], resized[0]
            ));
        }
        if size != resized {
            observer.note(&format!("  the middle {}×{} pixels", size[1], size[0]));
        }
        Ok(Self { reader, from: (!still).then_some(found), rate, resized, size, next: 0, held: None })
    }

    /// Frames per second.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Height and width.
    pub fn size(&self) -> [usize; 2] {
        self.size
    }

    /// The next `most` frames, or as many as there are; `None` at the end.
    pub fn next(&mut self, most: usize) -> Result<Option<Clip>> {
        let [height, width] = self.size;
        let mut pixels = Vec::new();
        let mut count = 0;
        while count < most
            && let Some(frame) = self.frame()?
        {
            pixels.extend_from_slice(frame.pixels());
            count += 1;
        }
        if count == 0 {
            return Ok(None);
        }
        Clip::new([count, height, width], self.rate, pixels).map(Some)
    }

    fn frame(&mut self) -> Result<Option<&Clip>> {
        // Frame k shows frame floor(k · old / new) of the file, as `resample_rate` has it.
        let at = match self.from {
            None => self.next,
            Some(old) => {
                let numerator = u128::from(old.numerator) * u128::from(self.rate.denominator);
                let denominator = u128::from(old.denominator) * u128::from(self.rate.numerator);
                usize::try_from(self.next as u128 * numerator / denominator).unwrap_or(usize::MAX)
            }
        };
        if self.held.as_ref().is_none_or(|(held, _)| *held != at) {
            self.held = None;
            self.reader.seek(at)?;
            let Some(frame) = self.reader.next_frame()? else { return Ok(None) };
            let clip = Clip::new([1, frame.height, frame.width], self.rate, frame.pixels)?;
            let clip = resize(&clip, self.resized[0], self.resized[1], Filter::Triangle)?;
            self.held = Some((at, center_crop(&clip, self.size[0], self.size[1])?));
        }
        self.next += 1;
        Ok(self.held.as_ref().map(|(_, clip)| clip))
    }
}

/// Whether the file shows one picture alone, which has no rate.
fn is_still(reader: &mut VideoReader) -> Result<bool> {
    if let Some(frames) = reader.info().frames {
        return Ok(frames == 1);
    }
    reader.seek(1)?;
    let still = reader.next_frame()?.is_none();
    reader.seek(0)?;
    Ok(still)
}
