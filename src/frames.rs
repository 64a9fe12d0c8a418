//! The frames of a file as a recipe's tokenizer takes them, a few at a time; the observer is told of every step.

use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, MediaShape, Modality, Observer, Rate, Result};
use musiva_media::{Filter, VideoReader, center_crop, resize};
use std::path::Path;

/// Frames at a rate and of a size, read as they are wanted.
pub struct Frames {
    reader: VideoReader,
    rate: Rate,
    /// Height and width before the middle is cut out, and after.
    resized: [usize; 2],
    size: [usize; 2],
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
        let (found, old, still) = (reader.info().rate, reader.size(), reader.info().still);
        let rate = if native && !still { found } else { rate };
        if !still && found != rate {
            observer.note(&format!("  {found} → {rate} frames per second: each frame is the one on show at its time"));
        }
        reader = reader.at_rate(rate)?;
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
        Ok(Self { reader, rate, resized, size })
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

    fn frame(&mut self) -> Result<Option<Clip>> {
        let Some(frame) = self.reader.next_frame()? else { return Ok(None) };
        let clip = Clip::new([1, frame.height, frame.width], self.rate, frame.pixels)?;
        let clip = resize(&clip, self.resized[0], self.resized[1], Filter::Triangle)?;
        center_crop(&clip, self.size[0], self.size[1]).map(Some)
    }
}
