//! A file as media that a recipe's tokenizer takes; the observer is told of every step.

use crate::frames::Frames;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, Media, MediaShape, Modality, Observer, Result, Sound};
use musiva_media::{ReadOptions, SoundInfo, SoundOptions, SoundReader, VideoReader, read_sound, resample};
use std::path::Path;

/// How much of a file is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Extent {
    /// As much as the recipe's data have of a sample.
    Sample,
    /// All that makes whole tokens.
    Whole,
    /// All.
    Uncut,
}

/// The file as media of `modality`, from its start: at the recipe's rate, a clip of its frames' size, a sound of one
/// channel.
///
/// # Errors
/// Where it cannot be read, or the recipe has no data of that modality.
pub fn read_media(
    recipe: &Recipe,
    path: &Path,
    modality: Modality,
    extent: Extent,
    observer: &mut dyn Observer,
) -> Result<Media> {
    match modality {
        Modality::Video => clip(recipe, path, extent, observer).map(Media::Clip),
        Modality::Audio => sound(recipe, path, extent, observer).map(Media::Sound),
        Modality::Text => Err(Error::new(ErrorKind::Unsupported, path.display().to_string(), "text is no media file")),
    }
}

/// At the recipe's rate, of one channel.
fn sound(recipe: &Recipe, path: &Path, extent: Extent, observer: &mut dyn Observer) -> Result<Sound> {
    let MediaShape::Sound { samples, rate, .. } = recipe.need_media(Modality::Audio)? else {
        return Err(Error::new(ErrorKind::Unsupported, "data", "a recipe of sounds needs data of sounds"));
    };
    let info = SoundReader::open(path)?.info().clone();
    let shift = shift(path, &info)?;
    let lasts = info.length.map_or("unknown length".to_owned(), |n| format!("{:.2} s", n as f64 / info.rate.as_f64()));
    let channels = if info.channels == 1 { "one channel".to_owned() } else { format!("{} channels", info.channels) };
    observer.note(&format!("{}: {}, {channels}, {} Hz, {lasts}", path.display(), info.codec, info.rate));
    let options = match extent {
        // A little more, for the filter's sake.
        Extent::Sample => {
            let wanted = (samples as f64 / rate.as_f64() * info.rate.as_f64()).ceil() as usize + 4096;
            let wanted = wanted.saturating_add_signed(shift as isize);
            match info.length {
                Some(length) => SoundOptions::window(0, wanted.min(length)),
                None => SoundOptions::default(),
            }
        }
        Extent::Whole | Extent::Uncut => SoundOptions::default(),
    };
    let mut sound = read_sound(path, &options)?.sound;
    if sound.channels() > 1 {
        sound = sound.mono();
        observer.note("  the mean of all channels");
    }
    if shift != 0 {
        let seconds = shift.unsigned_abs() as f64 / info.rate.as_f64();
        observer.note(&match shift > 0 {
            true => format!("  without its first {seconds:.2} s, which are heard before the first picture"),
            false => format!("  behind {seconds:.2} s of silence: it starts so much later than the pictures"),
        });
        sound = shifted(&sound, shift)?;
    }
    if sound.rate() != rate {
        observer.note(&format!("  {} → {rate} Hz", sound.rate()));
        sound = resample(&sound, rate)?;
    }
    if extent == Extent::Sample && sound.length() > samples {
        // Of the file's own length: no more of it was read than is needed.
        observer.note(&format!("  the first {:.2} s of {lasts}", samples as f64 / rate.as_f64()));
        sound = sound.slice(0..samples);
    }
    Ok(sound)
}

/// Whether a file is to be taken for its sound, since it has no pictures and the recipe reads sounds, too.
pub fn is_sound(recipe: &Recipe, path: &Path) -> bool {
    recipe.audio.is_some() && VideoReader::open(path).is_err() && SoundReader::open(path).is_ok()
}

/// Whether a file has sound.
///
/// # Errors
/// Where it is damaged.
pub fn has_sound(path: &Path) -> Result<bool> {
    Ok(SoundReader::open_if_any(path)?.is_some())
}

/// The sound of a file of pictures and sound as it is, at its own rate and of its own channels, sample 0 at the first
/// picture; `None` where it has none.
///
/// # Errors
/// Where its sound cannot be read.
pub fn own_sound(path: &Path) -> Result<Option<Sound>> {
    let Some(reader) = SoundReader::open_if_any(path)? else { return Ok(None) };
    let shift = shift(path, reader.info())?;
    let sound = read_sound(path, &SoundOptions::default())?.sound;
    if shift == 0 { Ok(Some(sound)) } else { shifted(&sound, shift).map(Some) }
}

/// How many samples of a sound are heard before the first picture of its file; below zero where it starts later. 0 where
/// there are no pictures.
fn shift(path: &Path, sound: &SoundInfo) -> Result<i64> {
    let pictures = match VideoReader::open(path) {
        Ok(reader) if !reader.info().still => reader.info().start,
        _ => return Ok(0),
    };
    let samples = (pictures - sound.start) * sound.rate.as_f64();
    let longest = SoundOptions::default().max_samples as f64;
    if samples.abs() > longest {
        let message = format!("its sound starts {:.0} s apart from its pictures", (pictures - sound.start).abs());
        return Err(Error::new(ErrorKind::Media, path.display().to_string(), message).hint("cut the file"));
    }
    Ok(samples.round() as i64)
}

/// A sound without the first `shift` samples of each channel, or, where that is below 0, behind as many of silence.
fn shifted(sound: &Sound, shift: i64) -> Result<Sound> {
    let channels = sound.channels();
    let apart = shift.unsigned_abs() as usize * channels;
    let silence = vec![0.0; channels];
    let samples = match shift > 0 {
        true => sound.samples().get(apart..).filter(|rest| !rest.is_empty()).unwrap_or(&silence).to_vec(),
        false => [&vec![0.0; apart], sound.samples()].concat(),
    };
    Sound::new(channels, sound.rate(), samples)
}

/// At the recipe's rate and size.
fn clip(recipe: &Recipe, path: &Path, extent: Extent, observer: &mut dyn Observer) -> Result<Clip> {
    let mut source = Frames::open(recipe, path, false, observer)?;
    let [height, width] = source.size();
    let limits = ReadOptions::default();
    let most = match (extent, recipe.need_media(Modality::Video)?) {
        (Extent::Sample, MediaShape::Clip { frames, .. }) => frames,
        // No more than memory is allowed for.
        _ => limits.max_frames.min((limits.max_bytes / (height * width * 3) as u64) as usize),
    };
    let place = || path.display().to_string();
    let clip = source.next(most)?.ok_or_else(|| Error::new(ErrorKind::Media, place(), "it has no frames"))?;
    if extent != Extent::Sample && source.next(1)?.is_some() {
        let message = format!("it has more than {most} frames, and it is taken whole");
        return Err(Error::new(ErrorKind::Unsupported, place(), message).hint("cut the file"));
    }
    match extent {
        Extent::Uncut => Ok(clip),
        Extent::Sample | Extent::Whole => cut(recipe, clip, [height, width], observer),
    }
}

/// The most frames from the start that the tokenizer takes.
pub(crate) fn cut(
    recipe: &Recipe,
    clip: Clip,
    [height, width]: [usize; 2],
    observer: &mut dyn Observer,
) -> Result<Clip> {
    let tokenizer = &recipe.need_tokenizer(Modality::Video)?.component;
    let there = clip.frames();
    let fits =
        |&frames: &usize| tokenizer.shape(&MediaShape::Clip { frames, height, width, rate: clip.rate() }).is_ok();
    let frames = (1..=there).rev().find(fits).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "tokenizer.video", format!("it takes no clip of up to {there} frames"))
            .hint("name a longer clip")
    })?;
    if frames < there {
        observer.note(&format!("  the first {frames} of {there} frames"));
    }
    Ok(clip.slice(0..frames))
}

/// The file as a clip of the stream that a track of the recipe holds, at its rate and of its size.
///
/// # Errors
/// Where it cannot be read, or the recipe has no such track.
pub(crate) fn read_stream(recipe: &Recipe, track: &str, path: &Path, observer: &mut dyn Observer) -> Result<Clip> {
    let shape = recipe.stream(track)?;
    let MediaShape::Clip { frames, .. } = shape else {
        return Err(Error::new(ErrorKind::Unsupported, track, "this stream is no clip"));
    };
    let mut source = Frames::of_shape(recipe, shape, path, false, observer)?;
    let clip = source.next(frames)?.filter(|clip| clip.frames() == frames);
    clip.ok_or_else(|| {
        let message = format!("`{track}` requires {frames} frames, this has fewer");
        Error::new(ErrorKind::Media, path.display().to_string(), message).hint("give a longer clip")
    })
}
