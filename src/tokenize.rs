//! From a media file to tokens.

use crate::adapt::{Extent, read_media};
use crate::frames::Frames;
use crate::pieces::{self, TileOptions};
use crate::provenance::Provenance;
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Error, ErrorKind, Modality, Observer, Rate, Result, Tokens};
use std::path::Path;

/// How a file is taken.
#[derive(Clone, Copy, Debug, Default)]
pub struct TokenizeOptions {
    /// Keep a clip's own size and rate instead of the recipe's.
    pub native: bool,
    /// How large frames are taken.
    pub tiles: TileOptions,
}

/// All of a file, however long, as tokens of `codec`, whose modality is `modality`; and `provenance` with what is to be
/// kept of the file beside them: save both by [`Tokens::save`].
///
/// # Errors
/// Where the file cannot be read, or the tokenizer does not take it.
pub fn tokenize(
    recipe: &Recipe,
    codec: &Codec,
    modality: Modality,
    file: &Path,
    options: &TokenizeOptions,
    provenance: Provenance,
    observer: &mut dyn Observer,
) -> Result<(Tokens, Provenance)> {
    let provenance = provenance.with("musiva.source", file.display()).of_track(recipe, modality.track())?;
    if modality == Modality::Video
        && let Some((tokens, rate)) = clip(recipe, codec, file, options, observer)?
    {
        return Ok((tokens, provenance.with(pieces::RATE, rate)));
    }
    let media = observer.time("read", |observer| read_media(recipe, file, modality, Extent::Whole, observer))?;
    Ok((observer.time("encode", |_| codec.encode(&media))?, provenance))
}

/// A clip's tokens and rate; `None` where the tokenizer takes clips only whole.
fn clip(
    recipe: &Recipe,
    codec: &Codec,
    file: &Path,
    options: &TokenizeOptions,
    observer: &mut dyn Observer,
) -> Result<Option<(Tokens, Rate)>> {
    if codec.tokenizer().encoding().is_none() {
        options.tiles.refuse(pieces::ONLY_WHOLE, "leave `--tile` out")?;
        if options.native {
            let error = Error::new(ErrorKind::Unsupported, "--native", pieces::ONLY_WHOLE);
            return Err(error.hint("leave `--native` out"));
        }
        return Ok(None);
    }
    let mut frames = Frames::open(recipe, file, options.native, observer)?;
    let tiling = options.tiles.tiling(recipe, frames.size(), observer)?;
    let mut all = Vec::new();
    let done = pieces::encode(codec, &mut frames, tiling, observer, &mut |_, tokens, _| {
        all.push(tokens);
        Ok(())
    })?;
    done.map(|()| Ok((Tokens::concat(&all, 0)?, frames.rate()))).transpose()
}
