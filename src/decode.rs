//! From saved tokens to a media file.

use crate::pieces::{self, TileOptions};
use crate::provenance::Provenance;
use crate::save::{self, ClipSink};
use musiva_core::pipeline::Codec;
use musiva_core::recipe::{Part, Recipe};
use musiva_core::{Error, ErrorKind, Media, Modality, Observer, Rate, Result, TokenizerConfig, Tokens};
use std::path::Path;

/// Tokens of a file, as `generate` and `tokenize` save them.
pub struct SavedTokens {
    /// The tokens.
    pub tokens: Tokens,
    /// Where they come from.
    pub provenance: Provenance,
    /// The rate of what they were made of, where that is not the recipe's.
    pub rate: Option<Rate>,
}

impl SavedTokens {
    /// Reads a file.
    ///
    /// # Errors
    /// Where it holds no tokens.
    pub fn open(path: &Path) -> Result<Self> {
        let (tokens, metadata) = Tokens::open(path)?;
        let provenance = Provenance::of_tokens(metadata);
        let rate = provenance.get(pieces::RATE).and_then(pieces::parse_rate);
        Ok(Self { tokens, provenance, rate })
    }

    /// Sees to it that `codec` reads them; the observer is warned where `recipe` is not the one that made them.
    ///
    /// # Errors
    /// Where they are of another kind, or of another tokenizer.
    pub fn check(&self, path: &Path, recipe: &Recipe, codec: &Codec, observer: &mut dyn Observer) -> Result<()> {
        let spec = codec.tokenizer().spec();
        let wrong = |message: String| Error::new(ErrorKind::Weights, path.display().to_string(), message);
        if !spec.kind.holds(self.tokens.values()) {
            let holds = |part: &&Part<dyn TokenizerConfig>| part.component.spec().kind.holds(self.tokens.values());
            let hint = match recipe.tokenizers().find(holds).map(|part| part.component.spec().modality) {
                Some(Modality::Video) => "they are of a clip: write it to an .mp4, `-o out.mp4`",
                Some(Modality::Audio) => "they are of a sound: write it to a .wav, `-o out.wav`",
                Some(Modality::Text) => "they are of a text: write it to a .txt, `-o out.txt`",
                None => "name the recipe that made them: `musiva inspect` says which",
            };
            return Err(wrong(format!("these tokens are not {}", spec.kind)).hint(hint));
        }
        let own = recipe.tokenizer_sha256(spec.modality.track())?;
        if let (Some(theirs), Some(own)) = (self.provenance.tokenizer_sha256(), own)
            && theirs != own
            && !recipe.force_weights
        {
            let (section, short) = (spec.modality.section(), |hash: &str| hash.chars().take(12).collect::<String>());
            let message = format!(
                "they are of another tokenizer ({}…) than the recipe's `{section}` ({}…)",
                short(theirs),
                short(&own)
            );
            return Err(wrong(message).hint(format!(
                "name the recipe that made them, `musiva inspect` says which, or set `{section}.weights`; \
                 --force-weights decodes them at your own risk"
            )));
        }
        if self.provenance.get("musiva.recipe.sha256").is_some_and(|hash| hash != recipe.hash()) {
            let made_by = self.provenance.get("musiva.recipe").unwrap_or("another recipe");
            let settings = format!("{made_by} made these tokens, with other settings than {} has now", recipe.name);
            observer.warn(&settings);
        }
        Ok(())
    }
}

/// The media of tokens of `codec`.
///
/// # Errors
/// Where they are not the codec's.
pub fn decode(saved: &SavedTokens, codec: &Codec) -> Result<Media> {
    Ok(match codec.decode(&saved.tokens)? {
        Media::Clip(clip) => Media::Clip(clip.with_rate(saved.rate.unwrap_or(codec.rate()))),
        other => other,
    })
}

/// Writes the media of tokens, a clip of any length a few frames at a time; returns what was written, in a line.
///
/// # Errors
/// Where they are not the codec's, or the file cannot be written.
pub fn decode_to_file(
    saved: &SavedTokens,
    recipe: &Recipe,
    codec: &Codec,
    file: &Path,
    tiles: &TileOptions,
    scale: Option<usize>,
    observer: &mut dyn Observer,
) -> Result<String> {
    let metadata = saved.provenance.media()?;
    let spec = codec.tokenizer().spec();
    if spec.modality != Modality::Video || codec.tokenizer().decoding().is_none() {
        tiles.refuse(pieces::ONLY_WHOLE, "leave `--tile` out")?;
        let media = observer.time("decode", |_| decode(saved, codec))?;
        return observer.time("write", |_| save::write_media(file, &media, &metadata, scale));
    }
    let ([_, sh, sw], [_, h, w]) = (spec.strides, saved.tokens.grid());
    let size = [h * sh, w * sw];
    let tiling = tiles.tiling(recipe, size, observer)?;
    let mut sink = ClipSink::create(file, size, saved.rate.unwrap_or(codec.rate()), &metadata, scale)?;
    pieces::decode(codec, &saved.tokens, tiling, observer, &mut |clip, observer| {
        observer.time("write", |_| sink.push(&clip))
    })?;
    observer.time("write", |_| sink.finish())
}
