//! Media files: what their names say, and what is written into them.

use crate::provenance::Provenance;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, Media, Modality, Output, OutputKind, Rate, Result, Sound};
use musiva_media::{Metadata, VideoWriter, WriteOptions, spectrogram_with_axes, write_clip_with, write_sound};
use std::fs;
use std::path::{Path, PathBuf};

/// Clips whose shorter side is below so many pixels are enlarged, so that people see something.
const VISIBLE: usize = 256;

/// Sees to it before any work is done that `path` can be written: a known format, a folder that is
/// there or can be made, room for a file in it, and nothing in its place unless `overwrite`.
///
/// # Errors
/// Where one of these does not hold.
pub fn prepare(path: &Path, extensions: &[&str], overwrite: bool) -> Result<()> {
    if !extensions.contains(&&*extension(path)) {
        let names: Vec<_> = extensions.iter().map(|extension| format!(".{extension}")).collect();
        let message = format!("its name ends in none of {}", names.join(", "));
        return Err(Error::new(ErrorKind::Unsupported, path.display().to_string(), message)
            .hint(format!("name it like out.{}", extensions[0])));
    }
    if path.is_dir() {
        return Err(Error::new(ErrorKind::Io, path.display().to_string(), "this is a folder").hint("name a file in it"));
    }
    vacant(path, overwrite)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let failed = |error| Error::io(path, "write it", error);
    can_write(folder).map_err(failed)
}

/// Makes a folder and a file in it, which is removed again.
pub(crate) fn can_write(folder: &Path) -> std::io::Result<()> {
    fs::create_dir_all(folder)?;
    let probe = folder.join(format!(".musiva-{}.tmp", std::process::id()));
    fs::File::create(&probe)?;
    fs::remove_file(&probe)
}

/// Sees to it that nothing is written over that is there, unless `overwrite`.
///
/// # Errors
/// Where there is something at `path`; a device or a pipe even with `overwrite`.
pub fn vacant(path: &Path, overwrite: bool) -> Result<()> {
    if path.metadata().is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        let message = "it is a device or a pipe, and no file that can be replaced";
        return Err(Error::new(ErrorKind::Io, path.display().to_string(), message).hint("name another by `-o`"));
    }
    match overwrite || path.symlink_metadata().is_err() {
        true => Ok(()),
        false => Err(Error::new(ErrorKind::Io, path.display().to_string(), "it is there already")
            .hint("name another by `-o`, or add `--overwrite`")),
    }
}

/// Formats that clips and sounds are written in.
pub const MEDIA: [&str; 5] = ["mp4", "gif", "png", "wav", "flac"];

/// The same, and the format that captions are written in.
pub const OUTPUTS: [&str; 6] = ["mp4", "gif", "png", "wav", "flac", "txt"];

/// The output file of a recipe where nobody names one.
pub fn default_output(recipe: &Recipe) -> PathBuf {
    if recipe.video.is_some() { "out.mp4" } else { "out.wav" }.into()
}

/// How a file's name ends, in small letters.
pub fn extension(path: &Path) -> String {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default().to_ascii_lowercase()
}

/// Whether a file of this name is to hold pictures, sound or text, of a recipe that can make each: a .png
/// shows a sound where the recipe makes no clips.
///
/// # Errors
/// Where the recipe makes none of what the file can hold.
pub fn modality(recipe: &Recipe, path: &Path) -> Result<Modality> {
    let extension = extension(path);
    let modality = match &*extension {
        "wav" | "flac" => Modality::Audio,
        "txt" => Modality::Text,
        "png" if recipe.video.is_none() => Modality::Audio,
        _ => Modality::Video,
    };
    match recipe.tokenizer(modality) {
        Some(_) => Ok(modality),
        None => {
            let message = format!("the recipe has no `[{}]` for a .{extension}", modality.section());
            let fitting = if modality == Modality::Video { "out.wav" } else { "out.mp4" };
            Err(Error::new(ErrorKind::Unsupported, path.display().to_string(), message)
                .hint(format!("name it like {fitting}, or name another recipe")))
        }
    }
}

/// Whether `path` is a still picture, on which frames stand side by side.
pub fn is_picture(path: &Path) -> bool {
    extension(path) == "png"
}

/// `out.mp4` → `out-3.mp4`.
pub fn numbered(path: &Path, number: usize) -> PathBuf {
    let part = |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    path.with_file_name(format!("{}-{number}.{}", part(path.file_stem()), part(path.extension())))
}

/// Writes a clip, enlarged by `scale` or so far that it can be seen, and returns what it wrote, in a line.
///
/// # Errors
/// Where the file cannot be written.
pub fn write(path: &Path, clip: &Clip, metadata: &Metadata, scale: Option<usize>) -> Result<String> {
    let [frames, height, width] = clip.shape();
    let columns = if is_picture(path) { (frames as f64).sqrt().ceil() as usize } else { 1 };
    let rows = if is_picture(path) { frames.div_ceil(columns) } else { 1 };
    let shorter = (rows * height).min(columns * width);
    let scale = visible(scale, shorter);
    write_clip_with(path, clip, metadata, &WriteOptions { scale, ..WriteOptions::default() })?;
    Ok(written(path, clip.shape(), clip.rate(), scale))
}

/// The factor that was asked for, or the one by which people see something of a picture whose shorter side
/// has so many pixels.
fn visible(scale: Option<usize>, shorter: usize) -> usize {
    scale.unwrap_or(VISIBLE.div_ceil(shorter))
}

fn written(path: &Path, [frames, height, width]: [usize; 3], rate: Rate, scale: usize) -> String {
    let what = match (frames, is_picture(path)) {
        (1, _) => "a picture".to_owned(),
        (_, true) => {
            let columns = (frames as f64).sqrt().ceil() as usize;
            format!("{frames} frames in a grid of {columns}×{}", frames.div_ceil(columns))
        }
        (_, false) => format!("{frames} frames at {rate} per second"),
    };
    let enlarged = if scale > 1 { format!(", each pixel enlarged to {scale}×{scale}") } else { String::new() };
    format!("{}: {what}, {width}×{height} pixels{enlarged}", path.display())
}

/// A clip that is written while it is made: an .mp4 frame by frame, all else when it is whole.
pub struct ClipSink<'a> {
    path: &'a Path,
    size: [usize; 2],
    rate: Rate,
    metadata: &'a Metadata,
    scale: Option<usize>,
    frames: usize,
    /// Of an .mp4.
    writer: Option<VideoWriter>,
    /// Of all else.
    pixels: Vec<u8>,
}

impl<'a> ClipSink<'a> {
    /// Frames of `[height, width]` pixels, enlarged as [`write()`] would.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn create(
        path: &'a Path,
        size: [usize; 2],
        rate: Rate,
        metadata: &'a Metadata,
        scale: Option<usize>,
    ) -> Result<Self> {
        let streams = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mp4"));
        let options = WriteOptions { scale: visible(scale, size[0].min(size[1])), ..WriteOptions::default() };
        let writer = streams.then(|| VideoWriter::create(path, size, rate, metadata, &options)).transpose()?;
        Ok(Self { path, size, rate, metadata, scale, frames: 0, writer, pixels: Vec::new() })
    }

    /// The next frames.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn push(&mut self, clip: &Clip) -> Result<()> {
        self.frames += clip.frames();
        match &mut self.writer {
            Some(writer) => writer.push(clip),
            None => {
                self.pixels.extend_from_slice(clip.pixels());
                Ok(())
            }
        }
    }

    /// Returns what was written, in a line.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn finish(self) -> Result<String> {
        let [height, width] = self.size;
        let shape = [self.frames, height, width];
        match self.writer {
            Some(writer) => {
                writer.finish()?;
                Ok(written(self.path, shape, self.rate, visible(self.scale, height.min(width))))
            }
            None => write(self.path, &Clip::new(shape, self.rate, self.pixels)?, self.metadata, self.scale),
        }
    }
}

/// Writes a clip with its sound, enlarged as [`write()`] does, and returns what it wrote, in a line.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_movie(
    path: &Path,
    clip: &Clip,
    sound: &Sound,
    metadata: &Metadata,
    scale: Option<usize>,
) -> Result<String> {
    let [_, height, width] = clip.shape();
    let scale = visible(scale, height.min(width));
    musiva_media::write_movie(path, clip, sound, metadata, &WriteOptions { scale, ..WriteOptions::default() })?;
    Ok(format!("{}, with {:.2} s of sound", written(path, clip.shape(), clip.rate(), scale), sound.seconds()))
}

/// Writes a clip as [`write()`] does, or a sound, as a picture its spectrogram, and returns what it wrote, in a line.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_media(path: &Path, media: &Media, metadata: &Metadata, scale: Option<usize>) -> Result<String> {
    match media {
        Media::Clip(clip) => write(path, clip, metadata, scale),
        Media::Sound(sound) if is_picture(path) => {
            let said = write(path, &spectrogram_with_axes(sound)?, metadata, scale)?;
            Ok(said.replacen("a picture", "a spectrogram", 1))
        }
        Media::Sound(sound) => {
            write_sound(path, sound, metadata)?;
            let seconds = sound.length() as f64 / sound.rate().as_f64();
            Ok(format!(
                "{}: {seconds:.2} s of sound, {} samples at {} Hz",
                path.display(),
                sound.length(),
                sound.rate()
            ))
        }
        Media::Text(text) => {
            musiva_core::files::write(path, format!("{text}\n").as_bytes())?;
            Ok(format!("{}: \"{text}\"", path.display()))
        }
    }
}

/// What a file of this name can hold.
pub fn output_kind(path: &Path) -> OutputKind {
    match &*extension(path) {
        "wav" | "flac" => OutputKind::Sound,
        "png" | "gif" => OutputKind::Clip,
        "txt" => OutputKind::Text,
        _ => OutputKind::Both,
    }
}

/// Writes what the file can hold of a sample, and returns what it wrote, in a line.
///
/// # Errors
/// Where the file cannot be written.
pub fn write_output(path: &Path, output: &Output, provenance: &Provenance, scale: Option<usize>) -> Result<String> {
    let metadata = provenance.media()?;
    if let (Some(text), OutputKind::Text) = (&output.text, output_kind(path)) {
        return write_media(path, &Media::Text(text.clone()), &metadata, scale);
    }
    // Of a task that generates another stream the clip is what was given.
    let clip = output.streams.values().next().or(output.clip.as_ref());
    match (clip, &output.sound) {
        (Some(clip), Some(sound)) if output_kind(path) == OutputKind::Both => {
            write_movie(path, clip, sound, &metadata, scale)
        }
        (None, Some(sound)) => write_media(path, &Media::Sound(sound.clone()), &metadata, scale),
        (_, Some(sound)) if output_kind(path) == OutputKind::Sound => {
            write_media(path, &Media::Sound(sound.clone()), &metadata, scale)
        }
        (Some(clip), _) => write(path, clip, &metadata, scale),
        (None, None) => Ok(format!("{}: there is nothing to write", path.display())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_numbered() {
        assert_eq!(numbered(Path::new("a/out.mp4"), 3), Path::new("a/out-3.mp4"));
    }

    #[test]
    fn a_name_says_what_a_file_can_hold() {
        let kinds = ["a.MP4", "a.gif", "a.png", "a.wav", "a.flac"].map(|name| output_kind(Path::new(name)));
        use OutputKind::*;
        assert_eq!(kinds, [Both, Clip, Clip, Sound, Sound]);
    }
}
