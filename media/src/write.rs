//! Writing: the format by the name, whole files or none.

use crate::{fault::Outcome, gif, metadata::Metadata, mp4, resize::enlarge, sheet::film_strip, stills};
use musiva_core::{Clip, Error, ErrorKind, Result, Sound};
use std::{borrow::Cow, io::Write, path::Path};
use tempfile::NamedTempFile;

/// How a clip is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOptions {
    /// Each pixel becomes `scale × scale` pixels: small clips are easier to look at, and chroma, of
    /// which an MP4 keeps every second pixel, survives. 1 unless changed.
    pub scale: usize,
    /// Quantizer of H.264, 12 (best; less counts as 12) to 51; every 6 halve the precision. 16 unless changed, which is
    /// hard to tell from the original.
    pub qp: u8,
}

impl Default for WriteOptions {
    fn default() -> Self {
        Self { scale: 1, qp: 16 }
    }
}

/// Smallest and largest side that the H.264 encoder takes (the largest for the longer side).
const SIDES: (usize, usize, usize) = (16, 2160, 3840);

/// Writes `clip` to `path` with the default [`WriteOptions`]; see [`write_clip_with`].
pub fn write_clip(path: impl AsRef<Path>, clip: &Clip, metadata: &Metadata) -> Result<()> {
    write_clip_with(path.as_ref(), clip, metadata, &WriteOptions::default())
}

/// Writes `clip` to `path`, with `metadata` inside the file.
///
/// - `.mp4`: H.264, 4:2:0, BT.709 limited range, index in front. Odd sides are padded by repeating
///   the last row or column; clips with a side below 16 pixels are enlarged by whole numbers.
/// - `.gif`: exact up to 256 colours a frame; frame times in whole hundredths of a second, 50 frames
///   per second at most.
/// - `.png`: the frame; of several, all of them on one sheet, in reading order.
///
/// The file appears under its name when it is complete, never half-written. Equal clips, metadata and
/// options give equal bytes.
///
/// # Errors
/// Where the extension is another, the clip is too large for the format, or the disk refuses.
pub fn write_clip_with(path: &Path, clip: &Clip, metadata: &Metadata, options: &WriteOptions) -> Result<()> {
    let bytes = encode(path, clip, None, metadata, options)?;
    write_whole(path, &bytes)
}

/// Writes `clip` with its `sound` to `path`, an `.mp4`, as [`write_clip_with`] writes clips.
///
/// Both start together and each has its own length. The sound is FLAC with samples of 16 bits, which
/// browsers play: lossless from there on, and exactly as long as it is. Up to eight channels.
///
/// # Errors
/// As [`write_clip_with`]; where the extension is another, or the sound's rate is not a whole number
/// per second.
pub fn write_movie(
    path: impl AsRef<Path>,
    clip: &Clip,
    sound: &Sound,
    metadata: &Metadata,
    options: &WriteOptions,
) -> Result<()> {
    let path = path.as_ref();
    let bytes = encode(path, clip, Some(sound), metadata, options)?;
    write_whole(path, &bytes)
}

/// The bytes of a file with this `extension` that [`write_clip`] writes.
///
/// # Errors
/// As there, but for those of the disk.
pub fn encode_clip(extension: &str, clip: &Clip) -> Result<Vec<u8>> {
    let path = Path::new("clip").with_extension(extension);
    encode(&path, clip, None, &Metadata::new(), &WriteOptions::default())
}

fn encode(
    path: &Path,
    clip: &Clip,
    sound: Option<&Sound>,
    metadata: &Metadata,
    options: &WriteOptions,
) -> Result<Vec<u8>> {
    let place = || path.display().to_string();
    let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase();
    if sound.is_some() && extension != "mp4" {
        return Err(Error::new(
            ErrorKind::Unsupported,
            place(),
            format!("clips with sound are not written as `.{extension}`"),
        )
        .hint("name the file .mp4"));
    }
    let [_, height, width] = clip.shape();
    let scale = fitting_scale(path, &extension, [height, width], options)?;
    let clip = enlarged(clip, scale)?;
    let clip = if extension == "mp4" { even(clip)? } else { clip };
    let encoded: Outcome<Vec<u8>> = match &*extension {
        "mp4" => mp4::write::encode(&clip, sound, options.qp, metadata),
        "gif" => gif::write::encode(&clip, metadata),
        "png" if clip.frames() == 1 => stills::encode_png(&clip, metadata),
        "png" => stills::encode_png(&film_strip(&clip)?, metadata),
        other => {
            return Err(Error::new(ErrorKind::Unsupported, place(), format!("clips are not written as `.{other}`"))
                .hint("name the file .mp4, .gif or .png"));
        }
    };
    encoded.map_err(|fault| Error::new(ErrorKind::Media, place(), fault.to_string()))
}

/// How many times a clip of `[height, width]` pixels is enlarged.
///
/// # Errors
/// Where the options cannot be, or it becomes too large for the format.
pub(crate) fn fitting_scale(
    path: &Path,
    extension: &str,
    [height, width]: [usize; 2],
    options: &WriteOptions,
) -> Result<usize> {
    let place = || path.display().to_string();
    if options.scale == 0 || options.qp > 51 {
        let found =
            format!("scale {} and quantizer {} cannot be: at least 1, and at most 51", options.scale, options.qp);
        return Err(Error::new(ErrorKind::Media, place(), found).hint("use `WriteOptions::default()`"));
    }
    let smallest = height.min(width);
    let scale = match extension {
        "mp4" => options.scale.max(SIDES.0.div_ceil(smallest)),
        _ => options.scale,
    };
    let longest = height.max(width).saturating_mul(scale);
    let most = if extension == "mp4" { SIDES.2 } else { 65_535 };
    if longest > most || extension == "mp4" && smallest.saturating_mul(scale) > SIDES.1 {
        return Err(Error::new(
            ErrorKind::Media,
            place(),
            format!("{width}×{height} pixels, enlarged {scale} times, are too many"),
        )
        .hint("lower `scale`, or resize the clip first"));
    }
    Ok(scale)
}

/// Each pixel `scale × scale` times.
pub(crate) fn enlarged(clip: &Clip, scale: usize) -> Result<Cow<'_, Clip>> {
    Ok(if scale == 1 { Cow::Borrowed(clip) } else { Cow::Owned(enlarge(clip, scale)?) })
}

/// The clip with its last row and column repeated where a side is odd.
pub(crate) fn even(clip: Cow<'_, Clip>) -> Result<Cow<'_, Clip>> {
    let [frames, height, width] = clip.shape();
    if height % 2 == 0 && width % 2 == 0 {
        return Ok(clip);
    }
    let (rows, columns) = (height.next_multiple_of(2), width.next_multiple_of(2));
    let mut pixels = Vec::with_capacity(frames * rows * columns * 3);
    for index in 0..frames {
        for row in 0..rows {
            let line = &clip.frame(index)[row.min(height - 1) * width * 3..][..width * 3];
            pixels.extend_from_slice(line);
            if columns > width {
                pixels.extend_from_slice(&line[(width - 1) * 3..]);
            }
        }
    }
    Clip::new([frames, rows, columns], clip.rate(), pixels).map(Cow::Owned)
}

/// Writes beside the file and renames: whoever looks sees the old file or the new one.
pub(crate) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut file = beside(path)?;
    file.write_all(bytes).map_err(|error| Error::io(path, "write it", error))?;
    put_in_place(file, path)
}

/// Where the file at `path` lies.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// A new file in the folder of `path`, which goes away unless it is [put in place](put_in_place).
pub(crate) fn beside(path: &Path) -> Result<NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(".musiva-").suffix(".tmp");
    #[cfg(unix)]
    {
        // As any new file: the umask takes away what it should. The default is for the owner alone.
        use std::os::unix::fs::PermissionsExt;
        builder.permissions(std::fs::Permissions::from_mode(0o666));
    }
    builder.tempfile_in(folder_of(path)).map_err(|error| Error::io(path, "write it", error))
}

/// Gives a whole file its name.
pub(crate) fn put_in_place(file: NamedTempFile, path: &Path) -> Result<()> {
    let failed = |error| Error::io(path, "write it", error);
    file.as_file().sync_all().map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    Ok(())
}
