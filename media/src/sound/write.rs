//! Writing sound: the format by the name, whole files or none.

use super::{flac, wav};
use crate::{metadata::Metadata, write::write_whole};
use musiva_core::{Error, ErrorKind, Result, Sound};
use std::path::Path;

/// How a sample is stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleFormat {
    /// Whole numbers of 16 bits: noise 98 dB below full scale.
    #[default]
    I16,
    /// Whole numbers of 24 bits: noise 146 dB below full scale.
    I24,
    /// Floating-point numbers: what was written is read, also beyond full scale.
    F32,
}

/// Writes `sound` to `path` with samples of 16 bits; see [`write_sound_with`].
pub fn write_sound(path: impl AsRef<Path>, sound: &Sound, metadata: &Metadata) -> Result<()> {
    write_sound_with(path.as_ref(), sound, metadata, SampleFormat::default())
}

/// Writes `sound` to `path`, with `metadata` inside the file.
///
/// - `.wav`: any of the formats.
/// - `.flac`: whole numbers, losslessly; half the size or less. Up to eight channels.
///
/// Samples are rounded to the nearest number that the format has; what is beyond full scale is cut
/// off, except in floating point. The file appears under its name when it is complete, never
/// half-written. Equal sounds, metadata and formats give equal bytes.
///
/// # Errors
/// Where the extension is another, the format cannot hold the samples, the rate is not a whole
/// number per second, the sound is too large, or the disk refuses.
pub fn write_sound_with(path: &Path, sound: &Sound, metadata: &Metadata, format: SampleFormat) -> Result<()> {
    let bytes = encode(path, sound, metadata, format)?;
    write_whole(path, &bytes)
}

/// The bytes of a file with this `extension` that [`write_sound`] writes.
///
/// # Errors
/// As there, but for those of the disk.
pub fn encode_sound(extension: &str, sound: &Sound) -> Result<Vec<u8>> {
    let path = Path::new("sound").with_extension(extension);
    encode(&path, sound, &Metadata::new(), SampleFormat::default())
}

fn encode(path: &Path, sound: &Sound, metadata: &Metadata, format: SampleFormat) -> Result<Vec<u8>> {
    let place = || path.display().to_string();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    let rate = sound.rate();
    if rate.denominator != 1 {
        return Err(Error::new(
            ErrorKind::Media,
            place(),
            format!("a rate of {rate} Hz is not a whole number, as sound files require"),
        )
        .hint("resample it, e.g. to 48000 Hz"));
    }
    let encoded = match (&*extension, format) {
        ("wav", _) => wav::encode(sound, rate.numerator, format, metadata),
        ("flac", SampleFormat::I16) => flac::encode(sound, rate.numerator, 16, metadata),
        ("flac", SampleFormat::I24) => flac::encode(sound, rate.numerator, 24, metadata),
        ("flac", SampleFormat::F32) => {
            return Err(Error::new(ErrorKind::Media, place(), "FLAC does not hold floating-point samples")
                .hint("write whole numbers of 24 bits, or a .wav"));
        }
        (other, _) => {
            return Err(Error::new(ErrorKind::Media, place(), format!("sounds are not written as `.{other}`"))
                .hint("name the file .wav or .flac"));
        }
    };
    encoded.map_err(|fault| Error::new(ErrorKind::Media, place(), fault.to_string()))
}
