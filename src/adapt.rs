//! A file as media that a recipe's tokenizer takes; every step is said.

use crate::output::say;
use musiva_core::recipe::Recipe;
use musiva_core::{Clip, Error, ErrorKind, Media, MediaShape, Modality, Result, Sound};
use musiva_media::{
    Filter, ReadOptions, SoundOptions, SoundReader, VideoReader, center_crop, read_sound, resample, resample_rate,
    resize,
};
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

/// The file as media of `modality`, from its start.
pub fn adapted(recipe: &Recipe, path: &Path, modality: Modality, extent: Extent) -> Result<Media> {
    match modality {
        Modality::Video => clip(recipe, path, extent).map(Media::Clip),
        Modality::Audio => sound(recipe, path, extent).map(Media::Sound),
        Modality::Text => Err(Error::new(ErrorKind::Unsupported, path.display().to_string(), "text is no media file")),
    }
}

/// At the recipe's rate, of one channel.
fn sound(recipe: &Recipe, path: &Path, extent: Extent) -> Result<Sound> {
    let MediaShape::Sound { samples, rate, .. } = recipe.need_media(Modality::Audio)? else {
        return Err(Error::new(ErrorKind::Unsupported, "data", "a recipe of sounds needs data of sounds"));
    };
    let info = SoundReader::open(path)?.info().clone();
    let lasts = info.length.map_or("unknown length".to_owned(), |n| format!("{:.2} s", n as f64 / info.rate.as_f64()));
    let channels = if info.channels == 1 { "one channel".to_owned() } else { format!("{} channels", info.channels) };
    say!("{}: {}, {channels}, {} Hz, {lasts}", path.display(), info.codec, info.rate);
    let options = match extent {
        // A little more, for the filter's sake.
        Extent::Sample => {
            let wanted = (samples as f64 / rate.as_f64() * info.rate.as_f64()).ceil() as usize + 4096;
            SoundOptions::window(0, info.length.map_or(wanted, |length| wanted.min(length)))
        }
        Extent::Whole | Extent::Uncut => SoundOptions::default(),
    };
    let mut sound = read_sound(path, &options)?.sound;
    if sound.channels() > 1 {
        sound = sound.mono();
        say!("  the mean of all channels");
    }
    if sound.rate() != rate {
        say!("  {} → {rate} Hz", sound.rate());
        sound = resample(&sound, rate)?;
    }
    if extent == Extent::Sample && sound.length() > samples {
        say!("  the first {samples} of {} samples", sound.length());
        sound = sound.slice(0..samples);
    }
    Ok(sound)
}

/// At the recipe's rate and size.
fn clip(recipe: &Recipe, path: &Path, extent: Extent) -> Result<Clip> {
    let MediaShape::Clip { frames, height, width, rate } = recipe.need_media(Modality::Video)? else {
        return Err(Error::new(ErrorKind::Unsupported, "data", "a recipe of clips needs data of clips"));
    };
    let mut reader = VideoReader::open(path)?;
    say!("{}: {}", path.display(), reader.info());
    // As much of the file as lasts for the recipe's frames; a still lasts for one.
    let found = reader.info().rate;
    let lasts = (frames as f64 / rate.as_f64() * found.as_f64()).ceil() as usize;
    let mut clip = match (extent, reader.info().frames) {
        // No longer than the reader takes into memory.
        (Extent::Whole | Extent::Uncut, _) => reader.read(&ReadOptions::default())?,
        (Extent::Sample, Some(total)) => reader.read(&ReadOptions::window(0, lasts.clamp(1, total.max(1))))?,
        (Extent::Sample, None) => first_frames(&mut reader, lasts.max(1))?,
    };
    if clip.frames() > 1 && clip.rate() != rate {
        clip = resample_rate(&clip, rate)?;
        say!("  {found} → {rate} frames per second: each frame is the one on show at its time");
    }
    let clip = clip.with_rate(rate);
    let clip = match extent {
        Extent::Uncut => clip,
        Extent::Whole => cut(recipe, &clip, clip.frames(), [height, width])?,
        Extent::Sample => cut(recipe, &clip, frames, [height, width])?,
    };
    let [_, old_height, old_width] = clip.shape();
    if [old_height, old_width] == [height, width] {
        return Ok(clip);
    }
    // Until it covers the wanted size; then the middle.
    let scale = (height as f64 / old_height as f64).max(width as f64 / old_width as f64);
    let side = |old: usize, least: usize| ((old as f64 * scale).round() as usize).max(least);
    let [new_height, new_width] = [side(old_height, height), side(old_width, width)];
    say!("  {old_width}×{old_height} → {new_width}×{new_height} pixels by a triangle filter");
    let clip = resize(&clip, new_height, new_width, Filter::Triangle)?;
    if [new_height, new_width] != [height, width] {
        say!("  the middle {width}×{height} pixels");
    }
    center_crop(&clip, height, width)
}

/// The most frames from the start that the tokenizer takes, `most` at most.
fn cut(recipe: &Recipe, clip: &Clip, most: usize, [height, width]: [usize; 2]) -> Result<Clip> {
    let tokenizer = &recipe.need_tokenizer(Modality::Video)?.component;
    let there = clip.frames();
    let fits =
        |&frames: &usize| tokenizer.shape(&MediaShape::Clip { frames, height, width, rate: clip.rate() }).is_ok();
    let frames = (1..=there.min(most)).rev().find(fits).ok_or_else(|| {
        Error::new(ErrorKind::Unsupported, "tokenizer.video", format!("it takes no clip of up to {there} frames"))
            .mend("name a longer clip")
    })?;
    if frames < there {
        say!("  the first {frames} of {there} frames");
    }
    Ok(clip.slice(0..frames))
}

/// Of a file that does not say how long it is.
fn first_frames(reader: &mut VideoReader, most: usize) -> Result<Clip> {
    let [height, width] = reader.size();
    let rate = reader.info().rate;
    let (mut count, mut pixels) = (0, Vec::new());
    while count < most
        && let Some(frame) = reader.next_frame()?
    {
        pixels.extend_from_slice(&frame.pixels);
        count += 1;
    }
    Clip::new([count, height, width], rate, pixels)
}
