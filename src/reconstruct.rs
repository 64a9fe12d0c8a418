//! Media through a tokenizer and back.

use crate::frames::Frames;
use crate::pieces::{self, TileOptions};
use crate::save::{self, ClipSink};
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, Media, Modality, Observer, Result, Tokens};
use musiva_media::{Metadata, SheetRow, contact_sheet, error_row, spectrogram_with_axes};
use musiva_tokenizers::tiles;
use musiva_train::measure::{psnr, si_snr, ssim};
use serde::Serialize;
use std::path::Path;

/// Frames of each row on a sheet.
const COLUMNS: usize = 9;

/// Media, and what became of them.
pub struct Reconstruction {
    /// What went in, at the recipe's rate and size.
    pub before: Media,
    /// The tokens.
    pub tokens: Tokens,
    /// What came out, as long as what went in.
    pub after: Media,
}

/// How like a reconstruction is to what went in.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Likeness {
    /// Of clips.
    Clip {
        /// Peak signal-to-noise ratio in dB, of all frames together.
        psnr: f64,
        /// Structural similarity, at most 1, the mean over frames.
        ssim: f64,
    },
    /// Of sounds.
    Sound {
        /// Scale-invariant signal-to-noise ratio in dB.
        si_snr: f64,
    },
}

impl std::fmt::Display for Likeness {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Clip { psnr, ssim } => write!(f, "PSNR {psnr:.2} dB, SSIM {ssim:.4}"),
            Self::Sound { si_snr } => write!(f, "SI-SNR {si_snr:.2} dB"),
        }
    }
}

/// Media through `codec` and back.
///
/// # Errors
/// Where the tokenizer does not take them.
pub fn reconstruct(codec: &Codec, before: Media, observer: &mut dyn Observer) -> Result<Reconstruction> {
    let tokens = observer.time("encode", |_| codec.encode(&before))?;
    let after = match (&before, observer.time("decode", |_| codec.decode(&tokens))?) {
        (Media::Clip(before), Media::Clip(after)) => Media::Clip(after.with_rate(before.rate())),
        (Media::Sound(before), Media::Sound(after)) => Media::Sound(after.with_length(before.length())),
        (_, other) => {
            let modality = codec.tokenizer().spec().modality;
            return Err(other.unexpected(modality.section(), modality));
        }
    };
    Ok(Reconstruction { before, tokens, after })
}

impl Reconstruction {
    /// How like both are.
    ///
    /// # Errors
    /// Where their shapes differ.
    pub fn likeness(&self) -> Result<Likeness> {
        match (&self.before, &self.after) {
            (Media::Clip(before), Media::Clip(after)) => {
                Ok(Likeness::Clip { psnr: psnr(before, after)?, ssim: ssim(before, after)? })
            }
            (Media::Sound(before), Media::Sound(after)) => Ok(Likeness::Sound { si_snr: si_snr(before, after)? }),
            (_, other) => Err(other.unexpected("reconstruction", Modality::Video)),
        }
    }

    /// Original above reconstruction, of clips with a map of the error, of sounds as spectrograms.
    ///
    /// # Errors
    /// Where their shapes differ.
    pub fn sheet(&self) -> Result<Clip> {
        let both = |before, after| [SheetRow::new("original", before), SheetRow::new("reconstruction", after)];
        match (&self.before, &self.after) {
            (Media::Clip(before), Media::Clip(after)) => {
                let [original, made] = both(before.clone(), after.clone());
                contact_sheet(&[original, made, error_row("error", before, after)?], COLUMNS)
            }
            (Media::Sound(before), Media::Sound(after)) => {
                contact_sheet(&both(spectrogram_with_axes(before)?, spectrogram_with_axes(after)?), 1)
            }
            (_, other) => Err(other.unexpected("reconstruction", Modality::Video)),
        }
    }

    /// Writes what came out, to a picture the sheet; returns what was written, in a line.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn save(&self, file: &Path, metadata: &Metadata, scale: Option<usize>) -> Result<String> {
        match save::is_picture(file) {
            true => save::write(file, &self.sheet()?, metadata, scale),
            false => save::write_media(file, &self.after, metadata, scale),
        }
    }
}

/// What became of a clip that was written as it came.
pub struct WholeReconstruction {
    /// What was written, in a line.
    pub written: String,
    /// The tokens.
    pub tokens: Tokens,
    /// How like both are.
    pub likeness: Likeness,
}

/// Where a clip of any length goes, and how.
pub struct WholeOptions<'a> {
    /// The file that is written: .mp4 or .gif.
    pub output: &'a Path,
    /// Written into the file.
    pub metadata: &'a Metadata,
    /// Keep the clip's own size and rate instead of the recipe's.
    pub native: bool,
    /// How large frames are taken.
    pub tiles: TileOptions,
    /// Each pixel enlarged to so many; `None`: so far that people see something.
    pub scale: Option<usize>,
}

/// All of a clip, a few frames at a time: memory is that of a few frames and of the tokens.
///
/// # Errors
/// Where a file cannot be read or written, or the tokenizer takes clips only whole.
pub fn reconstruct_whole(
    recipe: &Recipe,
    codec: &Codec,
    file: &Path,
    options: &WholeOptions,
    observer: &mut dyn Observer,
) -> Result<WholeReconstruction> {
    let mut frames = Frames::open(recipe, file, options.native, observer)?;
    let (size, rate) = (frames.size(), frames.rate());
    let tiling = options.tiles.tiling(recipe, size, observer)?;
    let [_, h, w] = codec.tokenizer().spec().strides;
    let decoding = tiles::decoding(codec.tokenizer(), [size[0] / h, size[1] / w], tiling)?;
    let Some(mut decoding) = decoding else {
        let place = options.output.display().to_string();
        return Err(Error::new(ErrorKind::Unsupported, place, pieces::ONLY_WHOLE).hint("leave `--whole` out"));
    };
    let mut sink = ClipSink::create(options.output, size, rate, options.metadata, options.scale)?;
    let (mut sums, mut all) = (Sums::default(), Vec::new());
    pieces::encode(codec, &mut frames, tiling, observer, &mut |before, tokens, observer| {
        let after = observer.time("decode", |_| decoding.push(&tokens))?.clip(Modality::Video.section())?;
        observer.time("compare", |_| sums.add(&before, &after.clone().with_rate(before.rate())))?;
        all.push(tokens);
        observer.time("write", |_| sink.push(&after))
    })?;
    let tokens = Tokens::concat(&all, 0)?;
    let written = observer.time("write", |_| sink.finish())?;
    Ok(WholeReconstruction { written, tokens, likeness: sums.likeness() })
}

/// Of two clips that come piece by piece, over the frames.
#[derive(Default)]
struct Sums {
    frames: f64,
    squares: f64,
    similarity: f64,
}

impl Sums {
    fn add(&mut self, before: &Clip, after: &Clip) -> Result<()> {
        let frames = before.frames() as f64;
        self.frames += frames;
        self.squares += frames * 10f64.powf(-psnr(before, after)? / 10.0);
        self.similarity += frames * ssim(before, after)?;
        Ok(())
    }

    fn likeness(&self) -> Likeness {
        let psnr = -10.0 * (self.squares / self.frames).log10();
        Likeness::Clip { psnr, ssim: self.similarity / self.frames }
    }
}
