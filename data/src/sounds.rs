//! A folder of sounds, cut into windows of one length; a caption may stand in `name.txt` beside `name.wav`, or in
//! `metadata.jsonl` or `metadata.csv`, as Hugging Face's `audiofolder` has it.

use crate::dataset::{DataReport, Dataset, Dropped, Loudness, Part, Sample};
use crate::files::Files;
use crate::identity::Identify;
use crate::left_out::{LeftOut, Reason, printable, told};
use crate::scan::CaptionRules;
use crate::{captions, scan, shards};
use musiva_core::{ConfigError, DatasetConfig, Error, ErrorKind, MediaShape, Modality, Rate, Result, Sound};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::{fmt, sync::Arc};

/// Windows that are listened to for a report.
const HEARD: u64 = 16;
/// By how much a window is made louder at most: what is nearly silent is noise.
const LOUDER: f32 = 32.0;
/// Without names to hold out, one window in so many is.
const HELD_OUT: u64 = 20;
/// Samples of a window at most: 64 MB.
const LONGEST: usize = 1 << 24;

/// Windows of the sounds in a folder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SoundsConfig {
    /// The folder; its subfolders belong to it. Sound tracks of MP4 and MOV count. `--data FOLDER` names it on the command
    /// line. A path that ends with `.tar`, such as `shards-{000..127}.tar`, names shards as those of `webdataset` are.
    #[schemars(extend("format" = "path"))]
    pub path: String,
    /// Samples per second, 1,000 to 192,000: files of other rates are resampled, several channels become one.
    #[schemars(range(min = 1_000, max = 192_000))]
    pub rate: u32,
    /// Samples of a window. The last window of a file is filled up with silence.
    #[schemars(range(min = 1))]
    pub samples: usize,
    /// Peak normalisation: each window is scaled so that its highest sample is this, at most 32-fold; left out, sounds
    /// stay as loud as they are. Recordings of different people differ tenfold.
    #[schemars(range(min = 0.001, max = 1.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub peak: Option<f32>,
    /// Files whose names contain one of these texts are held out for evaluation: speakers, instruments. Without any,
    /// `test` is held out of a folder that is split into `train` and `test` (or `validation`), as Hugging Face has it; else
    /// the last twentieth of the windows.
    pub held_out: Vec<String>,
    /// A file without a caption has the part of its name before this text as its own: with "_", `7_jackson_32.wav` says
    /// "7".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caption_until: Option<String>,
    /// The columns with the captions in `metadata.jsonl` and `metadata.csv`, and the keys of captions in the `.json` of shards:
    /// all texts in them are captions of a clip. Left out: `text`, or else `caption`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub caption_columns: Vec<String>,
    /// Whether a file without any other caption has the name of its subfolder as its own, as the labels of Hugging Face's
    /// `imagefolder` and `audiofolder` are.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub folder_captions: bool,
    /// What tells files from what they were when training began, or when their tokens were made: by their sizes and
    /// times, or by their content, all of which is read for it.
    pub identity: Identify,
}

impl Default for SoundsConfig {
    fn default() -> Self {
        Self {
            path: String::new(),
            rate: 16_000,
            samples: 16_000,
            peak: None,
            held_out: Vec::new(),
            caption_until: None,
            caption_columns: Vec::new(),
            folder_captions: false,
            identity: Identify::default(),
        }
    }
}

impl SoundsConfig {
    /// Everything that is wrong with it, without a look at the folder.
    pub fn validate(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if !(1_000..=192_000).contains(&self.rate) {
            let message = format!("{} samples per second; 1000 to 192000 are possible", self.rate);
            errors.push(ConfigError::new("rate", message, "set `rate = 16000`"));
        }
        if !(1..=LONGEST).contains(&self.samples) {
            let message = format!("{} samples; a window has 1 to {LONGEST}", self.samples);
            errors.push(ConfigError::new("samples", message, "set `samples = 16000`"));
        }
        errors.extend(captions::wrong_columns(&self.caption_columns));
        if let Some(peak) = self.peak.filter(|peak| !(0.001..=1.0).contains(peak)) {
            errors.push(ConfigError::new("peak", format!("{peak} is not between 0.001 and 1"), "set `peak = 0.9`"));
        }
        errors
    }

    /// What the name of a file, its path below the folder, says of it.
    fn named(&self, name: &str) -> Option<String> {
        let file = name.rsplit('/').next().unwrap_or(name);
        file.split_once(self.caption_until.as_deref()?).map(|(caption, _)| caption.trim().to_owned())
    }
}

/// Reads sounds from files, at any rate that is asked for, as one channel.
///
/// The boundary keeps codecs out of this crate, and lets a test, or a plugin with a format of its own,
/// stand in for them.
pub trait SoundFiles: Send + Sync {
    /// How many samples the file has at `rate`.
    ///
    /// # Errors
    /// Where it cannot be read as a sound.
    fn length(&self, path: &Path, rate: Rate) -> Result<usize>;

    /// Samples `range` of the file at `rate`; the range lies within its length.
    ///
    /// # Errors
    /// Where the file cannot be read so far.
    fn read(&self, path: &Path, rate: Rate, range: Range<usize>) -> Result<Vec<f32>>;
}

/// The windows of a folder of sounds, or of a part of it.
pub struct Sounds {
    config: SoundsConfig,
    files: Arc<dyn SoundFiles>,
    entries: Vec<Entry>,
    /// Of the windows of all entries, those that belong to the part.
    windows: Range<u64>,
    found: u64,
    dropped: Vec<Dropped>,
}

struct Entry {
    path: PathBuf,
    name: String,
    /// At least one, which may be empty.
    captions: Vec<String>,
    length: usize,
    /// Windows of this and all entries before it.
    end: u64,
}

impl Sounds {
    /// Opens a part of the folder of `config`; its files are read by `files`.
    ///
    /// # Errors
    /// Where `config` is invalid, the folder cannot be read, or the part has no sounds.
    pub fn open(config: SoundsConfig, files: Arc<dyn SoundFiles>, part: Part) -> Result<Self> {
        if let Some(ConfigError { path, message, hint }) = config.validate().into_iter().next() {
            return Err(Error::new(ErrorKind::Recipe, path, message).hint(hint));
        }
        if let Some(ConfigError { message, hint, .. }) = config.missing() {
            return Err(Error::new(ErrorKind::Data, "data.path", message).hint(hint));
        }
        let rules = CaptionRules { columns: &config.caption_columns, folders: config.folder_captions };
        let (mut listing, shards) = match shards::named(&config.path) {
            false => (scan::scan(Path::new(&config.path), scan::SOUNDS, rules)?, None),
            true => shards::scan(&config.path, scan::SOUNDS, rules).map(|(listing, shards)| (listing, Some(shards)))?,
        };
        let in_shards = shards.is_some();
        let split = if in_shards { None } else { scan::split(&config.path) };
        let parted = split.is_some() || !config.held_out.is_empty();
        let files = shards.map_or(files, |shards| Arc::new(Files::of(shards)) as Arc<dyn SoundFiles>);
        let found = listing.found.len() as u64;
        let rate = Rate::whole(config.rate);
        let (mut entries, mut left_out, mut end) = (Vec::new(), LeftOut::default(), 0);
        for file in std::mem::take(&mut listing.found) {
            let held_out = match (split, config.held_out.is_empty()) {
                (Some(name), true) => file.name.split('/').next() == Some(name),
                _ => config.held_out.iter().any(|text| file.name.contains(text.as_str())),
            };
            if parted && held_out != (part == Part::HeldOut) {
                continue;
            }
            match (files.length(&file.path, rate), file.captions) {
                (Ok(0), _) => left_out.push(Reason::Unreadable, format!("{}: no samples", file.name)),
                (Err(error), _) => left_out.push(Reason::Unreadable, format!("{}: {}", file.name, error.message())),
                (_, Err(why)) => left_out.push(Reason::Caption, format!("{}: {why}", file.name)),
                (Ok(length), Ok(mut captions)) => {
                    end += length.div_ceil(config.samples) as u64;
                    if captions.is_empty() {
                        captions.push(config.named(&file.name).unwrap_or_default());
                    }
                    entries.push(Entry { path: file.path, name: file.name, captions, length, end });
                }
            }
        }
        left_out.note(listing);
        let dropped = left_out.summary("too short", in_shards);
        let kept = if parted { end } else { end - end.div_ceil(HELD_OUT).min(end / 2) };
        let windows = match (part, parted) {
            (Part::HeldOut, false) => kept..end,
            _ => 0..kept,
        };
        if windows.is_empty() {
            let reasons = if dropped.is_empty() { String::new() } else { format!(": {}", told(&dropped)) };
            let message = format!("of {found} sounds there is none for this part{reasons}");
            return Err(Error::new(ErrorKind::Data, config.path.clone(), message).hint(
                "set `path` to a folder of .wav, .flac, .mp3 or .ogg files, and `held_out` to parts of their names",
            ));
        }
        Ok(Self { config, files, entries, windows, found, dropped })
    }
}

impl Sounds {
    /// The file of a window, and which of its windows it is.
    fn entry(&self, index: u64) -> Result<(&Entry, u64)> {
        let window = self.windows.start.saturating_add(index);
        if window >= self.windows.end {
            let count = self.windows.end - self.windows.start;
            return Err(Error::new(ErrorKind::Data, self.config.path.clone(), format!("window {index} of {count}")));
        }
        let place = self.entries.partition_point(|entry| entry.end <= window);
        let before = place.checked_sub(1).map_or(0, |previous| self.entries[previous].end);
        Ok((&self.entries[place], window - before))
    }
}

impl Dataset for Sounds {
    fn len(&self) -> Option<u64> {
        Some(self.windows.end - self.windows.start)
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let (entry, number) = self.entry(index)?;
        let SoundsConfig { rate, samples, .. } = self.config;
        let start = number as usize * samples;
        let mut found = self.files.read(&entry.path, Rate::whole(rate), start..(start + samples).min(entry.length))?;
        found.resize(samples, 0.0);
        if let Some(peak) = self.config.peak {
            let loudest = found.iter().fold(0.0f32, |loudest, sample| loudest.max(sample.abs()));
            let gain = (peak / loudest.max(f32::MIN_POSITIVE)).min(LOUDER);
            found.iter_mut().for_each(|sample| *sample *= gain);
        }
        let sound = Sound::new(1, Rate::whole(rate), found)?;
        let id = format!("{} from sample {start}", printable(&entry.name));
        Ok(Sample { sound: Some(sound), id, ..Sample::default() }.with_captions(&entry.captions))
    }

    fn captions(&self, index: u64) -> Result<Vec<String>> {
        Ok(self.entry(index)?.0.captions.clone())
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.config.shape(modality)
    }

    fn report(&self) -> DataReport {
        let windows = self.windows.end - self.windows.start;
        let heard = HEARD.min(windows);
        let sounds = (0..heard).filter_map(|i| self.get(i * windows / heard).ok()).filter_map(|sample| sample.sound);
        DataReport {
            clips: Some(self.found),
            windows: Some(windows),
            dropped: self.dropped.clone(),
            pixels: None,
            loudness: Some(Loudness::of(sounds)),
        }
    }
}

impl fmt::Debug for Sounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sounds({:?}, {} of {} files)", self.config.path, self.entries.len(), self.found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A file's size is its length; sample `i` of it is `i`.
    struct Counting;

    impl SoundFiles for Counting {
        fn length(&self, path: &Path, _: Rate) -> Result<usize> {
            match path.metadata().map_err(|error| Error::io(path, "read", error))?.len() {
                13 => Err(Error::new(ErrorKind::Media, "", "an unlucky file")),
                length => Ok(length as usize),
            }
        }

        fn read(&self, _: &Path, _: Rate, range: Range<usize>) -> Result<Vec<f32>> {
            Ok(range.map(|i| i as f32).collect())
        }
    }

    fn folder(files: &[(&str, usize)]) -> (tempfile::TempDir, SoundsConfig) {
        let folder = tempfile::tempdir().unwrap();
        for (name, length) in files {
            std::fs::write(folder.path().join(name), vec![0; *length]).unwrap();
        }
        let path = folder.path().display().to_string();
        (folder, SoundsConfig { path, rate: 8000, samples: 10, ..SoundsConfig::default() })
    }

    fn open(config: &SoundsConfig, part: Part) -> Result<Sounds> {
        Sounds::open(config.clone(), Arc::new(Counting), part)
    }

    #[test]
    fn windows_are_made_as_loud_as_is_asked_for() {
        let (_folder, config) = folder(&[("a.wav", 20), ("b.wav", 20)]);
        let sounds = open(&SoundsConfig { peak: Some(0.5), ..config }, Part::Train).unwrap();
        let samples = |i| sounds.get(i).unwrap().into_sound().unwrap().samples().to_vec();
        let wanted: Vec<f32> = (0..10).map(|i| i as f32 * (0.5 / 9.0)).collect();
        assert_eq!(samples(0), wanted);
        assert_eq!(samples(1)[9], 19.0 * (0.5 / 19.0));
        let quiet = SoundsConfig { samples: 1, ..sounds.config.clone() };
        // Sample 0 of a file is silence, and stays so.
        assert_eq!(open(&quiet, Part::Train).unwrap().get(0).unwrap().into_sound().unwrap().samples(), [0.0]);
        for peak in [0.0, 2.0, f32::NAN] {
            assert_eq!(SoundsConfig { peak: Some(peak), ..quiet.clone() }.validate()[0].path, "peak");
        }
    }

    #[test]
    fn files_are_cut_and_the_last_window_is_filled_with_silence() {
        let (_folder, config) = folder(&[("a.wav", 25), ("b.wav", 10), ("c.flac", 3), ("d.wav", 13), ("notes.txt", 9)]);
        let sounds = open(&config, Part::Train).unwrap();
        let report = sounds.report();
        assert_eq!((report.clips, report.windows, report.dropped[0].count), (Some(4), Some(4), 1));
        let samples = |i| sounds.get(i).unwrap().into_sound().unwrap().samples().to_vec();
        assert_eq!(samples(1), (10..20).map(|i| i as f32).collect::<Vec<_>>());
        assert_eq!(samples(2), [20.0, 21.0, 22.0, 23.0, 24.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        assert_eq!(sounds.get(3).unwrap().id, "b.wav from sample 0");
        assert!(sounds.get(4).is_err());
        let held_out = open(&config, Part::HeldOut).unwrap();
        assert_eq!(held_out.get(0).unwrap().id, "c.flac from sample 0");
    }

    #[test]
    fn every_file_has_its_own_windows() {
        // Three windows, two, one and four, of which none is left out for a test.
        let (_folder, config) = folder(&[("a.wav", 25), ("b.wav", 20), ("c.wav", 7), ("d.wav", 31)]);
        let config = SoundsConfig { held_out: vec!["nobody".into()], ..config };
        let sounds = open(&config, Part::Train).unwrap();
        let windows = [("a", 0, 10), ("a", 10, 10), ("a", 20, 5), ("b", 0, 10), ("b", 10, 10), ("c", 0, 7)];
        let windows = [&windows[..], &[("d", 0, 10), ("d", 10, 10), ("d", 20, 10), ("d", 30, 1)]].concat();
        assert_eq!(sounds.len(), Some(windows.len() as u64));
        for (i, (file, start, length)) in (0..).zip(windows) {
            let sample = sounds.get(i).unwrap();
            assert_eq!(sample.id, format!("{file}.wav from sample {start}"));
            let mut wanted: Vec<f32> = (start..start + length).map(|sample| sample as f32).collect();
            wanted.resize(10, 0.0);
            assert_eq!(sample.into_sound().unwrap().samples(), wanted, "window {i}");
        }
        assert!(sounds.get(10).is_err());
    }

    #[test]
    fn names_hold_out_speakers() {
        let (_folder, mut config) =
            folder(&[("1_ann.wav", 10), ("1_bob.wav", 10), ("2_ann.wav", 10), ("2_bob.wav", 10)]);
        config.held_out = vec!["_ann".into()];
        let ids = |part| {
            let sounds = open(&config, part).unwrap();
            (0..sounds.len().unwrap()).map(|i| sounds.get(i).unwrap().id[..5].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ids(Part::Train), ["1_bob", "2_bob"]);
        assert_eq!(ids(Part::HeldOut), ["1_ann", "2_ann"]);
        config.held_out = vec!["nobody".into()];
        assert!(open(&config, Part::HeldOut).unwrap_err().to_string().contains("none for this part"));
    }

    #[test]
    fn names_are_captions_where_there_are_no_others() {
        let (folder, mut config) = folder(&[("1_ann.wav", 10), ("2_bob.wav", 10), ("three.wav", 10)]);
        std::fs::write(folder.path().join("2_bob.txt"), "two").unwrap();
        let captions = |config: &SoundsConfig| {
            let config = SoundsConfig { held_out: vec!["nobody".into()], ..config.clone() };
            let sounds = open(&config, Part::Train).unwrap();
            (0..3).map(|i| sounds.get(i).unwrap().caption).collect::<Vec<_>>()
        };
        assert_eq!(captions(&config), ["", "two", ""]);
        config.caption_until = Some("_".into());
        assert_eq!(captions(&config), ["1", "two", ""]);
        let lines = "{\"file_name\": \"three.wav\", \"word\": \"three\"}\noops\n{\"file_name\": \"4.wav\"}\n";
        std::fs::write(folder.path().join("metadata.jsonl"), lines).unwrap();
        config.caption_columns = vec!["word".into()];
        assert_eq!(captions(&config), ["1", "two", "three"]);
        std::fs::write(folder.path().join("2_bob.txt"), b"\xe9").unwrap();
        let report = open(&config, Part::Train).unwrap().report();
        let dropped: Vec<_> = report.dropped.iter().map(|d| (d.reason.as_str(), d.example.as_str())).collect();
        assert_eq!((report.clips, dropped.len()), (Some(3), 3), "{dropped:?}");
        assert!(dropped[0].1.starts_with("2_bob.wav: 2_bob.txt is not UTF-8"), "{dropped:?}");
        assert_eq!(dropped[1], ("listed in the metadata but not there", "4.wav"));
        assert!(dropped[2].1.starts_with("metadata.jsonl:2: "), "{dropped:?}");
    }

    #[test]
    fn a_folder_without_sounds_says_why() {
        let (_folder, config) = folder(&[("d.wav", 13)]);
        let error = open(&config, Part::Train).unwrap_err().to_string();
        assert!(error.contains("1 unreadable (such as d.wav: an unlucky file)"), "{error}");
        let errors = SoundsConfig { rate: 0, samples: 0, ..SoundsConfig::default() }.validate();
        assert_eq!(errors.iter().map(|error| error.path.as_str()).collect::<Vec<_>>(), ["rate", "samples"]);
        for (path, found) in [("", "no folder is named"), ("no/such/folder", "there is no folder no/such/folder")] {
            let config = SoundsConfig { path: path.into(), ..SoundsConfig::default() };
            let error = open(&config, Part::Train).unwrap_err();
            assert_eq!((error.kind(), config.validate().len()), (ErrorKind::Data, 0));
            assert!(error.message().starts_with(found) && error.message().contains("of sounds"), "{error}");
        }
    }
}
