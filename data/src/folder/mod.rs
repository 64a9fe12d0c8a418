//! A folder of clips or images, with their sound and their captions: `name.txt` beside `name.mp4`, or a `metadata.jsonl` or
//! `metadata.csv` with `file_name` and `text`, as Hugging Face's `videofolder` has it.
//!
//! Clips are cut into windows when the folder is opened; pixels and samples are read when a window is asked for, so that a
//! folder may be larger than the memory.
//!
//! Each stream of a file has its own start on the file's one timeline. Sample 0 of a window is heard when its first frame
//! appears; where the sound of the file starts later or ends earlier, there is silence.

mod beside;
mod config;
mod cuts;
mod framing;
mod reader;

pub use config::{Captions, FolderConfig};
pub use reader::{Probe, Reader, SoundTrack};

use crate::dataset::{DataReport, Dataset, Dropped, Loudness, Part, PixelRange, Sample};
use crate::left_out::{LeftOut, Reason, printable, told};
use crate::scan::{self, Listing};
use beside::Beside;
use framing::Framing;
use musiva_core::{
    Clip, ConfigError, DatasetConfig, Error, ErrorKind, MediaShape, Modality, Rate, Result, Sound, Timing,
};
use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Windows of which the pixels and the sound are looked at for a report.
const LOOKED_AT: u64 = 16;

/// A folder of clips, or a part of each of them, cut into windows.
pub struct Folder {
    config: FolderConfig,
    reader: Arc<dyn Reader>,
    entries: Vec<Entry>,
    found: u64,
    dropped: Vec<Dropped>,
    silence: Silence,
}

/// Files that have no sound for some time, although it is asked for.
#[derive(Default)]
struct Silence {
    /// Those that have none at all.
    whole: Vec<String>,
    /// Those that have none at their beginning or their end.
    parts: Vec<String>,
    /// Those that have more than their pictures.
    cut: Vec<String>,
}

/// A clip that has at least one window.
struct Entry {
    path: PathBuf,
    name: String,
    /// At least one, which may be empty.
    captions: Vec<String>,
    probe: Probe,
    /// Its sound; `None`: there is silence.
    sound: Option<Beside>,
    /// The time of its first cut in seconds, and how many it has, where windows keep clear of them.
    cuts: Option<(f64, usize)>,
    /// Its windows by their first frames.
    starts: Vec<usize>,
    /// Windows of this and all entries before it.
    end: u64,
}

impl Folder {
    /// Opens a part of the folder of `config`; its files are read by `reader`. Where `config` holds out no part of each
    /// file, both parts are all windows.
    ///
    /// # Errors
    /// Where `config` is invalid, the folder or its captions cannot be read, or nothing in it can
    /// be trained on; the error then says why.
    pub fn open(config: FolderConfig, reader: Arc<dyn Reader>, part: Part) -> Result<Self> {
        if let Some(ConfigError { path, message, hint }) = config.validate().into_iter().next() {
            return Err(Error::new(ErrorKind::Recipe, path, message).hint(hint));
        }
        if let Some(ConfigError { message, hint, .. }) = config.missing() {
            return Err(Error::new(ErrorKind::Data, "data.path", message).hint(hint));
        }
        let listing = scan::scan(Path::new(&config.path), scan::CLIPS, config.caption_rules())?;
        Self::of(config, listing, reader, part, false)
    }

    /// A part of what is listed of a folder, or of `shards`.
    pub(crate) fn of(
        config: FolderConfig,
        mut listing: Listing,
        reader: Arc<dyn Reader>,
        part: Part,
        shards: bool,
    ) -> Result<Self> {
        let mut found = listing.found.len() as u64;
        let (mut entries, mut left_out, mut silence) = (Vec::<Entry>::new(), LeftOut::default(), Silence::default());
        for file in std::mem::take(&mut listing.found) {
            let name = file.name.clone();
            match Entry::open(&config, &*reader, file, part, &mut silence) {
                Ok(Some(mut entry)) => {
                    entry.end = entries.last().map_or(0, |last| last.end) + entry.starts.len() as u64;
                    entries.push(entry);
                }
                // Of another bucket.
                Ok(None) => found -= 1,
                Err((reason, None)) => left_out.push(reason, name),
                Err((reason, Some(why))) => left_out.push(reason, format!("{name}: {why}")),
            }
        }
        left_out.note(listing);
        let too_short = format!("shorter than {} frames at {} per second", config.frames, config.fps);
        let dropped = left_out.summary(&too_short, shards);
        let folder = Self { config, reader, entries, found, dropped, silence };
        if folder.entries.is_empty() { Err(folder.nothing(&left_out)) } else { Ok(folder) }
    }

    /// The error of a folder without a single window.
    fn nothing(&self, left_out: &LeftOut) -> Error {
        let message = match self.dropped.is_empty() {
            true => "no clips or images are in it".to_owned(),
            false => format!("nothing to train on: of {} clips and images, {}", self.found, told(&self.dropped)),
        };
        let hint = match left_out.most() {
            Some(Reason::NoCaption) if left_out.has(Reason::Unread) => {
                "write the captions as `metadata.jsonl` or `metadata.csv`, with `file_name` and `text`"
            }
            Some(Reason::NoCaption | Reason::Line) if left_out.has(Reason::Line) => {
                "give each clip a line with its `file_name` and its `text`, or name other columns by `caption_columns`"
            }
            Some(Reason::NoCaption) => {
                "put `name.txt` beside each `name.mp4`, name other `caption_columns`, or set `captions = \"optional\"`"
            }
            Some(Reason::TooShort) => "set fewer `frames` or a higher `fps`, or hold out another part of each file",
            Some(Reason::Unreadable) => "convert the files to H.264 in MP4",
            Some(Reason::Sound) => "convert the files to H.264 and AAC in MP4, or delete `sound`",
            Some(Reason::Caption) => "save captions as UTF-8",
            Some(Reason::Missing) => "name files in the metadata by their path below the folder of the metadata",
            Some(Reason::Line | Reason::Other | Reason::Unread | Reason::Folder) | None => {
                "set `path` to a folder of .mp4, .mov, .gif, .png, .jpg or .webp files"
            }
        };
        Error::new(ErrorKind::Data, self.config.path.clone(), message).hint(hint)
    }

    /// The clip of a window, and the number of its first frame.
    fn window(&self, index: u64) -> Result<(&Entry, usize)> {
        let place = self.entries.partition_point(|entry| entry.end <= index);
        let Some(entry) = self.entries.get(place) else {
            let count = self.entries.last().map_or(0, |entry| entry.end);
            return Err(Error::new(ErrorKind::Data, self.config.path.clone(), format!("window {index} of {count}")));
        };
        let before = place.checked_sub(1).map_or(0, |previous| self.entries[previous].end);
        Ok((entry, entry.starts[(index - before) as usize]))
    }

    /// The pictures of a window from frame `start` on.
    fn pictures(&self, entry: &Entry, start: usize) -> Result<Clip> {
        let FolderConfig { frames, size, fps, .. } = self.config;
        let framing = Framing::new(entry.probe.size, size);
        let mut pixels = Vec::with_capacity(frames * size[0] * size[1] * 3);
        let mut fits = true;
        let wanted = start..start + frames;
        self.reader
            .frames(&entry.path, Rate::whole(fps), wanted, &mut |frame| fits &= framing.apply(frame, &mut pixels))?;
        if !fits || pixels.len() != frames * size[0] * size[1] * 3 {
            return Err(entry.changed());
        }
        Clip::new([frames, size[0], size[1]], Rate::whole(fps), pixels)
    }

    /// The sound of a window from frame `start` on; `None` where none is asked for.
    fn sound(&self, entry: &Entry, start: usize) -> Result<Option<Sound>> {
        let FolderConfig { frames, fps, sound: Some(rate), .. } = self.config else { return Ok(None) };
        let rate = Rate::whole(rate);
        let timing = Timing::new(Rate::whole(fps), rate);
        let mut samples = vec![0.0; timing.samples(0..frames).len()];
        if let Some(beside) = entry.sound {
            let (range, before) = beside.window(timing.samples(start..start + frames).start, samples.len());
            let length = range.len();
            let found = if length > 0 { self.reader.samples(&entry.path, rate, range)? } else { Vec::new() };
            if found.len() != length {
                return Err(entry.changed());
            }
            samples[before..before + length].copy_from_slice(&found);
        }
        Sound::new(1, rate, samples).map(Some)
    }
}

impl Entry {
    /// A clip of which `part` has at least one window, `None` of another bucket; else why it is left out, and what is wrong with it.
    fn open(
        config: &FolderConfig,
        reader: &dyn Reader,
        file: scan::Found,
        part: Part,
        silence: &mut Silence,
    ) -> Result<Option<Self>, (Reason, Option<String>)> {
        let failed = |reason: Reason| move |error: Error| (reason, Some(error.message().to_owned()));
        let fps = Rate::whole(config.fps);
        let probe = reader.probe(&file.path, fps).map_err(failed(Reason::Unreadable))?;
        if !config.by_files.takes(probe.frames, probe.size) {
            return Ok(None);
        }
        let mut captions = file.captions.map_err(|why| (Reason::Caption, Some(why)))?;
        if captions.is_empty() {
            match config.captions {
                Captions::Required => return Err((Reason::NoCaption, None)),
                Captions::Optional => captions.push(String::new()),
            }
        }
        let cuts = match config.avoid_cuts {
            true => cuts::cuts(reader, &file.path, fps, &probe).map_err(failed(Reason::Unreadable))?,
            false => Vec::new(),
        };
        let starts = windows(config, &probe, &cuts, part);
        if starts.is_empty() {
            let lasts = match cuts.len() {
                0 => format!("{} frames", probe.frames),
                cuts => format!("{} frames in {} shots", probe.frames, cuts + 1),
            };
            return Err((Reason::TooShort, Some(lasts)));
        }
        let cuts = cuts.first().map(|&first| (first as f64 / fps.as_f64(), cuts.len()));
        let sound = match config.sound.map(Rate::whole) {
            None => None,
            Some(rate) => {
                let track = reader.sound(&file.path, rate).map_err(failed(Reason::Sound))?;
                let sound = track.map(|track| Beside::new(&probe, &track, rate));
                silence.note(&file.name, sound.as_ref(), &probe, [fps, rate]);
                sound
            }
        };
        Ok(Some(Self { path: file.path, name: file.name, captions, probe, sound, cuts, starts, end: 0 }))
    }

    fn changed(&self) -> Error {
        let message = "the file has changed since the folder was opened";
        Error::new(ErrorKind::Data, self.path.display().to_string(), message)
            .hint("leave the files alone while they are trained on")
    }
}

impl Silence {
    /// Notes where a file is silent for longer than a frame. `rates` are those of windows and of their sound.
    fn note(&mut self, name: &str, sound: Option<&Beside>, probe: &Probe, [fps, rate]: [Rate; 2]) {
        let name = printable(name);
        let Some(sound) = sound else {
            return self.whole.push(name);
        };
        let lasts = probe.frames as f64 / fps.as_f64();
        let [before, behind] = sound.silence(lasts, rate);
        if before.max(behind) * fps.as_f64() > 1.0 {
            let example =
                format!("{name}, whose sound lasts from {before:.2} to {:.2} s of {lasts:.2}", lasts - behind);
            self.parts.push(example);
        }
        let [before, behind] = sound.cut(lasts, rate);
        if before.max(behind) * fps.as_f64() > 1.0 {
            let example = format!("{name}, {before:.2} s before and {behind:.2} s behind its pictures");
            self.cut.push(example);
        }
    }

    /// For a report.
    fn summary(&self) -> impl Iterator<Item = Dropped> {
        let whole = ("sounds of files that have none: they are silent", &self.whole);
        let parts =
            ("parts of sounds that start later or end earlier than their pictures: silence is there", &self.parts);
        let cut = ("sounds that last beyond their pictures: the rest is cut", &self.cut);
        let noted = [whole, parts, cut].into_iter().filter(|(_, noted)| !noted.is_empty());
        noted.map(|(reason, noted)| Dropped::of(reason, noted))
    }
}

/// The first frames of the windows of `part` of a file, each within one shot.
fn windows(config: &FolderConfig, probe: &Probe, cuts: &[usize], part: Part) -> Vec<usize> {
    let FolderConfig { frames, .. } = *config;
    let (stride, lasts) = (config.stride.unwrap_or(frames), probe.frames);
    if probe.size.contains(&0) || probe.frames == 0 {
        return Vec::new();
    }
    let bounds: Vec<usize> = [0].iter().chain(cuts).chain(&[lasts]).copied().collect();
    let starts = |part: Range<usize>, stride: usize| -> Vec<usize> {
        let of_shot = |shot: &[usize]| {
            let (start, end) = (shot[0].max(part.start), shot[1].min(part.end));
            (start..(end + 1).saturating_sub(frames).max(start)).step_by(stride)
        };
        bounds.windows(2).flat_map(of_shot).collect()
    };
    if config.held_out == 0.0 {
        return starts(0..lasts, stride);
    }
    let kept = lasts - (lasts as f64 * config.held_out).ceil() as usize;
    let early = starts(0..kept, stride);
    // What is measured is measured once.
    let late = starts(kept..lasts, stride.max(frames));
    match (part, early.is_empty() || late.is_empty()) {
        (Part::Train, true) => starts(0..lasts, stride),
        (Part::Train, false) => early,
        (Part::HeldOut, true) => Vec::new(),
        (Part::HeldOut, false) => late,
    }
}

impl Dataset for Folder {
    fn len(&self) -> Option<u64> {
        Some(self.entries.last().map_or(0, |entry| entry.end))
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let (entry, start) = self.window(index)?;
        let (clip, sound) = (Some(self.pictures(entry, start)?), self.sound(entry, start)?);
        let id = format!("{} from frame {start}", printable(&entry.name));
        Ok(Sample { clip, sound, id, ..Sample::default() }.with_captions(&entry.captions))
    }

    fn captions(&self, index: u64) -> Result<Vec<String>> {
        Ok(self.window(index)?.0.captions.clone())
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.config.shape(modality)
    }

    fn report(&self) -> DataReport {
        let windows = self.len().unwrap_or(0);
        let count = LOOKED_AT.min(windows);
        let looked_at = || (0..count).filter_map(|i| self.window(i * windows / count).ok());
        let clips = looked_at().filter_map(|(entry, start)| self.pictures(entry, start).ok());
        let sounds = looked_at().filter_map(|(entry, start)| self.sound(entry, start).ok().flatten());
        let told = |entry: &Entry| {
            let (first, count) = entry.cuts?;
            Some(format!("{}, {count} of them, the first at {first:.2} s", printable(&entry.name)))
        };
        let cut: Vec<_> = self.entries.iter().filter_map(told).collect();
        let cut = (!cut.is_empty()).then(|| Dropped::of("files with cuts: windows that would show two shots", &cut));
        DataReport {
            clips: Some(self.found),
            windows: Some(windows),
            dropped: self.dropped.iter().cloned().chain(cut).chain(self.silence.summary()).collect(),
            pixels: Some(PixelRange::of(clips)),
            loudness: self.config.sound.map(|_| Loudness::of(sounds)),
        }
    }
}

impl fmt::Debug for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Folder({:?}, {} of {} clips)", self.config.path, self.entries.len(), self.found)
    }
}

#[cfg(test)]
mod tests;
