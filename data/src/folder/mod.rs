//! A folder of clips or images, with their captions: `name.txt` beside `name.mp4`, or one
//! `metadata.jsonl` with `file_name` and `text`, as Hugging Face's `videofolder` has it.
//!
//! Clips are cut into windows when the folder is opened; pixels are read when a window is asked
//! for, so that a folder may be larger than the memory.

mod config;
mod framing;
mod reader;

pub use config::{Captions, FolderConfig};
pub use reader::{Probe, Reader};

use crate::dataset::{DataReport, Dataset, Dropped, Part, PixelRange, Sample};
use crate::scan;
use framing::{Framing, lasts, shown};
use musiva_core::{Clip, ConfigError, DatasetConfig, Error, ErrorKind, MediaShape, Modality, Rate, Result};
use std::{
    fmt,
    iter::StepBy,
    ops::Range,
    path::{Path, PathBuf},
    sync::Arc,
};

/// Windows of which the pixels are looked at for a report.
const LOOKED_AT: u64 = 16;

/// A folder of clips, or a part of each of them, cut into windows.
pub struct Folder {
    config: FolderConfig,
    reader: Arc<dyn Reader>,
    entries: Vec<Entry>,
    found: u64,
    dropped: Vec<Dropped>,
}

/// A clip that has at least one window.
struct Entry {
    path: PathBuf,
    name: String,
    caption: String,
    probe: Probe,
    /// Its windows by their first frames.
    starts: StepBy<Range<usize>>,
    /// Windows of this and all entries before it.
    end: u64,
}

/// Why a clip is left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reason {
    Unreadable,
    TooShort,
    NoCaption,
    Missing,
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
        let listing = scan::scan(Path::new(&config.path), scan::CLIPS)?;
        let found = listing.found.len() as u64;
        let (mut entries, mut left_out) = (Vec::new(), Vec::new());
        let mut end = 0;
        for file in listing.found {
            match (reader.probe(&file.path), file.caption) {
                (Err(error), _) => left_out.push((Reason::Unreadable, format!("{}: {}", file.name, error.message()))),
                (Ok(_), None) if config.captions == Captions::Required => left_out.push((Reason::NoCaption, file.name)),
                (Ok(probe), caption) => {
                    let starts = windows(&config, &probe, part);
                    if starts.len() == 0 {
                        left_out.push((Reason::TooShort, too_short(&file.name, &probe)));
                        continue;
                    }
                    end += starts.len() as u64;
                    let caption = caption.unwrap_or_default();
                    entries.push(Entry { path: file.path, name: file.name, caption, probe, starts, end });
                }
            }
        }
        left_out.extend(listing.missing.into_iter().map(|name| (Reason::Missing, name)));
        let folder = Self { dropped: summary(&left_out, &config), config, reader, entries, found };
        if folder.entries.is_empty() { Err(folder.nothing(&left_out)) } else { Ok(folder) }
    }

    /// The error of a folder without a single window.
    fn nothing(&self, left_out: &[(Reason, String)]) -> Error {
        let reasons: Vec<_> =
            self.dropped.iter().map(|d| format!("{} {} (such as {})", d.count, d.reason, d.example)).collect();
        let message = match reasons.is_empty() {
            true => "no clips or images are in this folder".to_owned(),
            false => format!("nothing to train on: of {} clips and images, {}", self.found, reasons.join("; ")),
        };
        let count = |reason: Reason| left_out.iter().filter(|(r, _)| *r == reason).count();
        let most = [Reason::NoCaption, Reason::TooShort, Reason::Unreadable, Reason::Missing]
            .into_iter()
            .filter(|&reason| count(reason) > 0)
            .max_by_key(|&reason| count(reason));
        let hint = match most {
            Some(Reason::NoCaption) => "put `name.txt` beside each `name.mp4`, or set `captions = \"optional\"`",
            Some(Reason::TooShort) => "set fewer `frames` or a higher `fps`, or hold out another part of each file",
            Some(Reason::Unreadable) => "convert the files to H.264 in MP4",
            Some(Reason::Missing) => "name files in `metadata.jsonl` by their path below the folder",
            None => "set `path` to a folder of .mp4, .mov, .gif, .png, .jpg or .webp files",
        };
        Error::new(ErrorKind::Data, self.config.path.clone(), message).hint(hint)
    }
}

/// The first frames of the windows of `part` of a file.
fn windows(config: &FolderConfig, probe: &Probe, part: Part) -> StepBy<Range<usize>> {
    let FolderConfig { frames, fps, .. } = *config;
    let stride = config.stride.unwrap_or(frames);
    // A picture stands for itself, at whatever rate its reader states.
    let lasts = if probe.frames == 1 { 1 } else { lasts(probe.frames, probe.rate, fps) };
    if probe.size.contains(&0) || probe.frames == 0 {
        return (0..0).step_by(stride);
    }
    let starts = |part: Range<usize>| part.start..(part.end + 1).saturating_sub(frames).max(part.start);
    if config.held_out == 0.0 {
        return starts(0..lasts).step_by(stride);
    }
    let kept = lasts - (lasts as f64 * config.held_out).ceil() as usize;
    let (early, late) = (starts(0..kept), starts(kept..lasts));
    match (part, early.is_empty() || late.is_empty()) {
        (Part::Train, true) => starts(0..lasts).step_by(stride),
        (Part::Train, false) => early.step_by(stride),
        (Part::HeldOut, true) => (0..0).step_by(stride),
        // What is measured is measured once.
        (Part::HeldOut, false) => late.step_by(stride.max(frames)),
    }
}

fn too_short(name: &str, probe: &Probe) -> String {
    format!("{name}: {} frames at {} per second", probe.frames, probe.rate)
}

/// What was left out, by reason, most urgent first.
fn summary(left_out: &[(Reason, String)], config: &FolderConfig) -> Vec<Dropped> {
    let words = |reason| match reason {
        Reason::Unreadable => "unreadable".to_owned(),
        Reason::TooShort => format!("shorter than {} frames at {} per second", config.frames, config.fps),
        Reason::NoCaption => "without a caption".to_owned(),
        Reason::Missing => format!("listed in {} but not there", scan::METADATA),
    };
    [Reason::Unreadable, Reason::TooShort, Reason::NoCaption, Reason::Missing]
        .into_iter()
        .filter_map(|reason| {
            let mut of = left_out.iter().filter(|(r, _)| *r == reason);
            let example = of.next()?.1.clone();
            Some(Dropped { reason: words(reason), count: 1 + of.count() as u64, example })
        })
        .collect()
}

impl Dataset for Folder {
    fn len(&self) -> Option<u64> {
        Some(self.entries.last().map_or(0, |entry| entry.end))
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let place = self.entries.partition_point(|entry| entry.end <= index);
        let Some(entry) = self.entries.get(place) else {
            let count = self.entries.last().map_or(0, |entry| entry.end);
            return Err(Error::new(ErrorKind::Data, self.config.path.clone(), format!("window {index} of {count}")));
        };
        let before = place.checked_sub(1).map_or(0, |previous| self.entries[previous].end);
        let FolderConfig { frames, size, fps, .. } = self.config;
        let start = entry.starts.clone().nth((index - before) as usize).unwrap_or_default();
        // A picture has frame 0 alone, whatever its rate; the last frame of a file is its last one.
        let wanted: Vec<_> =
            (start..start + frames).map(|i| shown(i, fps, entry.probe.rate).min(entry.probe.frames - 1)).collect();
        let framing = Framing::new(entry.probe.size, size);
        let mut pixels = Vec::with_capacity(frames * size[0] * size[1] * 3);
        let mut fits = true;
        self.reader.frames(&entry.path, &wanted, &mut |frame| fits &= framing.apply(frame, &mut pixels))?;
        if !fits || pixels.len() != frames * size[0] * size[1] * 3 {
            let message = "the file has changed since the folder was opened";
            return Err(Error::new(ErrorKind::Data, entry.path.display().to_string(), message)
                .hint("leave the files alone while they are trained on"));
        }
        let clip = Clip::new([frames, size[0], size[1]], Rate::whole(fps), pixels)?;
        let id = format!("{} from frame {start}", entry.name);
        Ok(Sample { clip: Some(clip), sound: None, caption: entry.caption.clone(), id })
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.config.shape(modality)
    }

    fn report(&self) -> DataReport {
        let windows = self.len().unwrap_or(0);
        let looked_at = LOOKED_AT.min(windows);
        let clips =
            (0..looked_at).filter_map(|i| self.get(i * windows / looked_at).ok()).filter_map(|sample| sample.clip);
        DataReport {
            clips: Some(self.found),
            windows: Some(windows),
            dropped: self.dropped.clone(),
            pixels: Some(PixelRange::of(clips)),
            loudness: None,
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
