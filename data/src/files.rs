//! Files by the readers of `musiva-media`.

use crate::folder::{Probe, Reader, SoundTrack};
use crate::shards::Shards;
use crate::sounds::SoundFiles;
use musiva_core::{Error, ErrorKind, Rate, Result, Sound, Timing};
use musiva_media::{Location, ReadOptions, SoundOptions, SoundReader, VideoReader, resample};
use std::{ops::Range, path::Path};

/// Files, or members of shards, by the readers of `musiva-media`.
#[derive(Default)]
pub(crate) struct Files {
    shards: Option<Shards>,
}

impl Files {
    /// Of members of these.
    pub fn of(shards: Shards) -> Self {
        Self { shards: Some(shards) }
    }

    fn location(&self, path: &Path) -> Result<Location> {
        match &self.shards {
            None => Ok(Location::file(path)),
            Some(shards) => shards.location(path),
        }
    }

    /// The sound that lies beside a clip in its shard.
    fn sound_beside(&self, path: &Path) -> Option<Location> {
        self.shards.as_ref().and_then(|shards| shards.sound(path))
    }

    fn video(&self, path: &Path, rate: Rate) -> Result<VideoReader> {
        VideoReader::open_at(self.location(path)?, ReadOptions::default().max_pixels)?.at_rate(rate)
    }
}

impl Reader for Files {
    fn probe(&self, path: &Path, rate: Rate) -> Result<Probe> {
        let reader = self.video(path, rate)?;
        let info = reader.info();
        Ok(Probe { frames: info.frames, size: reader.size(), start: info.start })
    }

    fn frames(&self, path: &Path, rate: Rate, wanted: Range<usize>, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut reader = self.video(path, rate)?;
        reader.seek(wanted.start)?;
        for index in wanted {
            let frame = reader.next_frame()?.ok_or_else(|| {
                Error::new(ErrorKind::Data, path.display().to_string(), format!("it ends before frame {index}"))
                    .hint("leave the files alone while they are trained on")
            })?;
            each(&frame.pixels);
        }
        Ok(())
    }

    fn sound(&self, path: &Path, rate: Rate) -> Result<Option<SoundTrack>> {
        if let Some(beside) = self.sound_beside(path) {
            // A file of its own: its first sample is heard when the first picture appears.
            let start = VideoReader::open_at(self.location(path)?, ReadOptions::default().max_pixels)?.info().start;
            let length = length(&mut SoundReader::open_at(beside)?, path, rate)?;
            return Ok(Some(SoundTrack { start, length }));
        }
        let Some(mut reader) = SoundReader::open_at_if_any(self.location(path)?)? else { return Ok(None) };
        let start = reader.info().start;
        Ok(Some(SoundTrack { start, length: length(&mut reader, path, rate)? }))
    }

    fn samples(&self, path: &Path, rate: Rate, range: Range<usize>) -> Result<Vec<f32>> {
        let location = self.sound_beside(path).map_or_else(|| self.location(path), Ok)?;
        window(SoundReader::open_at(location)?, path, rate, range)
    }
}

/// How many samples a sound has at `rate`.
fn length(reader: &mut SoundReader, path: &Path, rate: Rate) -> Result<usize> {
    let (old, length) = (reader.info().rate, reader.info().length);
    let timing = Timing::new(old, rate);
    let (out, into) = timing.period();
    if out.max(into) > MOST_UNLIKE {
        let message = format!("its {old} Hz cannot be resampled to {rate} Hz");
        return Err(Error::new(ErrorKind::Media, path.display().to_string(), message).hint("convert it to 48000 Hz"));
    }
    let length = match length {
        Some(length) => length,
        None => {
            let mut block = vec![0.0; 4096 * reader.info().channels];
            let mut length = 0;
            loop {
                match reader.next(&mut block)? {
                    0 => break length,
                    more => length += more,
                }
            }
        }
    };
    Ok(timing.samples(0..length).end)
}

/// The largest number of the ratio of two rates, in lowest terms, that the resampler takes.
const MOST_UNLIKE: usize = 1 << 18;
/// Blocks of whole samples of both rates that are read on each side of a window, for the resampler's filter.
const MARGIN: usize = 2048;

impl SoundFiles for Files {
    fn length(&self, path: &Path, rate: Rate) -> Result<usize> {
        length(&mut SoundReader::open_at(self.location(path)?)?, path, rate)
    }

    fn read(&self, path: &Path, rate: Rate, range: Range<usize>) -> Result<Vec<f32>> {
        window(SoundReader::open_at(self.location(path)?)?, path, rate, range)
    }
}

/// Samples `range` of a sound at `rate`.
fn window(mut reader: SoundReader, path: &Path, rate: Rate, range: Range<usize>) -> Result<Vec<f32>> {
    let (old, channels) = (reader.info().rate, reader.info().channels);
    // Sample `k·out` at the new rate is sample `k·into` at the old one, exactly.
    let (out, into) = Timing::new(old, rate).period();
    let margin = MARGIN.div_ceil(out.min(into));
    let first = (range.start / out).saturating_sub(margin);
    let last = range.end.div_ceil(out) + margin;
    // The file may end within the margin; a hostile one may say that it has thousands of channels.
    let most = SoundOptions::default().max_samples;
    let size = (last - first).checked_mul(into).and_then(|n| n.checked_mul(channels)).filter(|&n| n <= most);
    let size = size.ok_or_else(|| {
        let message = format!(
            "a window of {} samples takes more than {most} of its {channels} channels at {old} Hz",
            range.len()
        );
        Error::new(ErrorKind::Data, path.display().to_string(), message)
            .hint("convert the file, or set fewer `samples`")
    })?;
    let mut samples = vec![0.0; size];
    reader.seek(first * into)?;
    let filled = reader.next(&mut samples)?;
    samples.truncate(filled * channels);
    let sound = resample(&Sound::new(channels, old, samples)?.mono(), rate)?;
    let start = range.start - first * out;
    match sound.samples().get(start..start + range.len()) {
        Some(samples) => Ok(samples.to_vec()),
        None => Err(Error::new(ErrorKind::Data, path.display().to_string(), "it ends too early")
            .hint("leave the files alone while they are trained on")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::{Dataset, Part};
    use crate::folder::{Captions, FolderConfig};
    use musiva_core::{Clip, DatasetConfig};
    use musiva_media::{Metadata, WriteOptions, read_sound, write_clip, write_movie, write_sound};
    use std::f32::consts::TAU;

    #[test]
    fn a_window_of_a_resampled_file_is_that_of_the_whole_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.wav");
        let wave = |i: usize| (0.031 * i as f32).sin() * 0.4 + (0.4 * i as f32).sin() * 0.2;
        let stereo: Vec<f32> = (0..30_001).flat_map(|i| [wave(i), 0.5 * wave(i)]).collect();
        let sound = Sound::new(2, Rate::whole(11_025), stereo).unwrap();
        write_sound(&path, &sound, &Metadata::new()).unwrap();
        for rate in [11_025, 8000, 16_000, 22_050] {
            let rate = Rate::whole(rate);
            let whole = resample(&read_sound(&path, &SoundOptions::default()).unwrap().sound.mono(), rate).unwrap();
            assert_eq!(Files::default().length(&path, rate).unwrap(), whole.length());
            for range in [0..1000, 9_000..12_345, whole.length() - 500..whole.length()] {
                let window = Files::default().read(&path, rate, range.clone()).unwrap();
                let far = window.iter().zip(&whole.samples()[range]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 1e-5, "{rate}: {far}");
            }
        }
    }

    /// A movie of three seconds, in whose sound a tone of 1,000 Hz starts at second 1.5.
    fn late_tone(path: &Path, rate: u32) {
        let clip = Clip::new([72, 16, 24], Rate::whole(24), vec![90; 72 * 16 * 24 * 3]).unwrap();
        let start = rate as usize * 3 / 2;
        let tone = |i: usize| (TAU * 1000.0 * i as f32 / rate as f32).sin() * 0.8;
        let samples = (0..3 * rate as usize).map(|i| i.checked_sub(start).map_or(0.0, tone)).collect();
        let sound = Sound::new(1, Rate::whole(rate), samples).unwrap();
        write_movie(path, &clip, &sound, &Metadata::new(), &WriteOptions::default()).unwrap();
    }

    /// Where a sound starts, in seconds; `None`: it is silent.
    fn onset(sound: &Sound) -> Option<f64> {
        let at = sound.samples().iter().position(|sample| sample.abs() > 0.2)?;
        Some(at as f64 / sound.rate().as_f64())
    }

    /// Makes the track number `track` of an MP4 start `milliseconds` later: an edit list that waits.
    fn delay(path: &Path, track: usize, milliseconds: u32) {
        let mut file = std::fs::read(path).unwrap();
        let find = |file: &[u8], name: &[u8]| -> Vec<usize> {
            (4..file.len()).filter(|&at| file[at..].starts_with(name)).map(|at| at - 4).collect()
        };
        let number = |file: &[u8], at: usize| u32::from_be_bytes(file[at..at + 4].try_into().unwrap());
        let mvhd = find(&file, b"mvhd")[0];
        let [scale, length] = [20, 24].map(|at| number(&file, mvhd + at));
        // A wait of so many ticks of the movie, then all of the track from its start on.
        let numbers = [48, 0, 40, 0, 0, 2, milliseconds * scale / 1000, u32::MAX, 1 << 16, length, 0, 1 << 16];
        let mut edts: Vec<u8> = numbers.iter().flat_map(|number| number.to_be_bytes()).collect();
        edts[4..8].copy_from_slice(b"edts");
        edts[12..16].copy_from_slice(b"elst");
        let (moov, trak, tables) = (find(&file, b"moov")[0], find(&file, b"trak")[track], find(&file, b"stco"));
        // All media lie behind the index, which grows.
        let offsets =
            tables.into_iter().flat_map(|at| (0..number(&file, at + 12) as usize).map(move |i| at + 16 + 4 * i));
        for at in offsets.chain([moov, trak]).collect::<Vec<_>>() {
            let grown = number(&file, at) + 48;
            file[at..at + 4].copy_from_slice(&grown.to_be_bytes());
        }
        let header = number(&file, trak + 8) as usize;
        file.splice(trak + 8 + header..trak + 8 + header, edts);
        std::fs::write(path, file).unwrap();
    }

    #[test]
    fn a_window_later_in_a_file_has_the_sound_of_that_time() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().display().to_string();
        let captions = Captions::Optional;
        for rate in [22_050, 8000, 44_100] {
            late_tone(&folder.path().join("a.mp4"), rate);
            for (fps, frames, stride) in [(8, 8, 4), (7, 5, 3), (24, 24, 17)] {
                let config = FolderConfig {
                    path: path.clone(),
                    size: [8, 8],
                    sound: Some(8000),
                    captions,
                    ..Default::default()
                };
                let config = FolderConfig { frames, fps, stride: Some(stride), held_out: 0.0, ..config };
                let data = crate::Folder::open(config, std::sync::Arc::new(Files::default()), Part::Train).unwrap();
                let mut heard = 0;
                for i in 0..data.len().unwrap() {
                    let sound = data.get(i).unwrap().into_sound().unwrap();
                    let length = Timing::new(Rate::whole(fps), Rate::whole(8000)).samples(0..frames).len();
                    assert_eq!((sound.shape(), sound.rate()), ([length, 1], Rate::whole(8000)));
                    let wanted = 1.5 - (i as usize * stride) as f64 / f64::from(fps);
                    match onset(&sound) {
                        Some(at) => {
                            assert!((at - wanted.max(0.0)).abs() < 1e-3, "{fps} fps, window {i}: {at} s, not {wanted}")
                        }
                        None => {
                            assert!(wanted > sound.seconds() - 1e-3, "{fps} fps, window {i}: silence, not {wanted}")
                        }
                    }
                    heard += usize::from(onset(&sound).is_some());
                }
                assert!(heard > 1);
            }
        }
    }

    #[test]
    fn each_stream_of_a_file_keeps_its_own_start() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.mp4");
        let config =
            FolderConfig { path: folder.path().display().to_string(), frames: 20, size: [8, 8], ..Default::default() };
        let config = FolderConfig { sound: Some(16_000), captions: Captions::Optional, ..config };
        // The sound, or the pictures, wait for half a second: the tone is heard later, or earlier, beside the pictures.
        for (track, wanted) in [(None, 1.5), (Some(1), 2.0), (Some(0), 1.0)] {
            late_tone(&file, 44_100);
            if let Some(track) = track {
                delay(&file, track, 500);
            }
            let data = crate::Folder::open(config.clone(), std::sync::Arc::new(Files::default()), Part::Train).unwrap();
            let at = onset(&data.get(0).unwrap().into_sound().unwrap()).unwrap();
            assert!((at - wanted).abs() < 1e-3, "{track:?}: {at} s");
            let told =
                data.report().dropped.iter().any(|dropped| dropped.reason.contains("start later or end earlier"));
            assert_eq!(told, track.is_some(), "{track:?}");
        }
    }

    #[test]
    fn a_file_without_sound_is_silent_and_a_broken_one_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let clip = Clip::new([24, 16, 16], Rate::whole(24), vec![90; 24 * 16 * 16 * 3]).unwrap();
        for name in ["a.mp4", "b.gif"] {
            write_clip(folder.path().join(name), &clip, &Metadata::new()).unwrap();
        }
        late_tone(&folder.path().join("c.mp4"), 8000);
        // A codec that nobody knows.
        let file = std::fs::read(folder.path().join("c.mp4")).unwrap();
        let at = file.windows(4).position(|four| four == b"fLaC").unwrap();
        std::fs::write(folder.path().join("d.mp4"), [&file[..at], b"what", &file[at + 4..]].concat()).unwrap();
        let lines = "\u{feff}{\"file_name\": \"c.mp4\", \"text\": \"a tone\"}\n";
        std::fs::write(folder.path().join("metadata.jsonl"), lines).unwrap();
        let path = folder.path().display().to_string();
        let config = FolderConfig { path, frames: 8, size: [8, 8], sound: Some(8000), ..Default::default() };
        let config = FolderConfig { captions: Captions::Optional, ..config };
        let data = crate::Folder::open(config, std::sync::Arc::new(Files::default()), Part::Train).unwrap();
        let samples: Vec<_> = (0..data.len().unwrap()).map(|i| data.get(i).unwrap()).collect();
        let told: Vec<_> = samples.iter().map(|sample| (sample.id.as_str(), sample.caption.as_str())).collect();
        let wanted = [
            ("a.mp4", 0, ""),
            ("b.gif", 0, ""),
            ("c.mp4", 0, "a tone"),
            ("c.mp4", 8, "a tone"),
            ("c.mp4", 16, "a tone"),
        ];
        let wanted = wanted.map(|(name, frame, caption)| (format!("{name} from frame {frame}"), caption));
        assert!(told.iter().zip(&wanted).all(|(a, b)| *a == (b.0.as_str(), b.1)) && told.len() == 5, "{told:?}");
        let heard: Vec<_> = samples.iter().map(|sample| onset(sample.sound.as_ref().unwrap()).is_some()).collect();
        assert_eq!(heard, [false, false, false, true, true]);
        assert!(samples[0].sound.as_ref().unwrap().samples().iter().all(|&sample| sample == 0.0));
        let report = data.report();
        let dropped: Vec<_> = report.dropped.iter().map(|d| (d.reason.as_str(), d.count, d.example.as_str())).collect();
        assert_eq!(dropped[1], ("sounds of files that have none: they are silent", 2, "a.mp4"));
        // Where ffmpeg is there it was asked, too.
        let why = ["`what`", "nor ffmpeg"].iter().any(|why| dropped[0].2.contains(why));
        assert!(dropped[0].0 == "with a sound that cannot be read" && why, "{dropped:?}");
    }

    #[test]
    fn windows_keep_clear_of_cuts_on_request() {
        let folder = tempfile::tempdir().unwrap();
        // Nine dark frames, then eleven bright ones.
        let pixels = (0..20u8).flat_map(|t| vec![if t < 9 { 40 + t } else { 180 + t }; 16 * 24 * 3]).collect();
        let clip = Clip::new([20, 16, 24], Rate::whole(10), pixels).unwrap();
        write_clip(folder.path().join("a.gif"), &clip, &Metadata::new()).unwrap();
        write_clip(folder.path().join("b.gif"), &clip.slice(6..12), &Metadata::new()).unwrap();
        let path = folder.path().display().to_string();
        let config = FolderConfig { path, frames: 5, size: [8, 8], fps: 10, ..FolderConfig::default() };
        let config = FolderConfig { captions: Captions::Optional, ..config };
        let of = |config: &FolderConfig| {
            let files = std::sync::Arc::new(Files::default());
            let data = crate::Folder::open(config.clone(), files, Part::Train).unwrap();
            let ids = (0..data.len().unwrap()).map(|i| data.get(i).unwrap().id).collect::<Vec<_>>();
            (ids, data.report().dropped)
        };
        let (ids, dropped) = of(&config);
        assert_eq!((ids.len(), dropped.len()), (5, 0));
        let (ids, dropped) = of(&FolderConfig { avoid_cuts: true, ..config.clone() });
        assert_eq!(ids, ["a.gif from frame 0", "a.gif from frame 9", "a.gif from frame 14"]);
        let told: Vec<_> = dropped.iter().map(|d| d.example.as_str()).collect();
        assert_eq!(told, ["b.gif: 6 frames in 2 shots", "a.gif, 1 of them, the first at 0.90 s"]);
        // What is held out is at the end, and in one shot, too.
        let held_out = FolderConfig { avoid_cuts: true, held_out: 0.3, ..config };
        assert_eq!(of(&held_out).0, ["a.gif from frame 0", "a.gif from frame 9"]);
    }

    #[test]
    fn a_folders_windows_are_read_and_split() {
        let folder = tempfile::tempdir().unwrap();
        // 37 frames whose grey is their number; a GIF of few greys is exact.
        let pixels = (0..37u8).flat_map(|t| vec![t * 5; 16 * 24 * 3]).collect();
        let clip = Clip::new([37, 16, 24], Rate::whole(10), pixels).unwrap();
        write_clip(folder.path().join("a.gif"), &clip, &Metadata::new()).unwrap();
        std::fs::write(folder.path().join("a.txt"), "brighter").unwrap();
        let path = folder.path().display().to_string();
        let config = FolderConfig { path, frames: 2, size: [8, 8], fps: 10, ..FolderConfig::default() };
        let (train, test) = (config.open(Part::Train).unwrap(), config.open(Part::HeldOut).unwrap());
        assert_eq!((train.len(), test.len()), (Some(10), Some(8)));
        let greys = |data: &dyn Dataset, i| {
            data.get(i).unwrap().clip.unwrap().pixels().iter().step_by(192).copied().collect::<Vec<_>>()
        };
        assert_eq!(greys(&*train, 3), [30, 35]);
        assert_eq!(greys(&*test, 0), [100, 105]);
        assert!(train.get(10).is_err() && test.get(8).is_err());
        // All windows are in one of them, and none in both: 18 of two frames each.
        let all: Vec<u8> =
            (0..10).flat_map(|i| greys(&*train, i)).chain((0..8).flat_map(|i| greys(&*test, i))).collect();
        assert_eq!(all, (0..36).map(|t| 5 * t).collect::<Vec<u8>>());
    }
}
