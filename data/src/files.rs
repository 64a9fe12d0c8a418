//! Files by the readers of `musiva-media`.

use crate::folder::{Probe, Reader};
use crate::sounds::SoundFiles;
use musiva_core::{Error, ErrorKind, Rate, Result, Sound, Timing};
use musiva_media::{SoundOptions, SoundReader, VideoReader, resample};
use std::{ops::Range, path::Path};

/// Files by the readers of `musiva-media`.
pub struct Files;

impl Reader for Files {
    fn probe(&self, path: &Path) -> Result<Probe> {
        let mut reader = VideoReader::open(path)?;
        let (size, rate) = (reader.size(), reader.info().rate);
        let frames = match reader.info().frames {
            Some(frames) => frames,
            None => {
                let mut frames = 0;
                while reader.next_frame()?.is_some() {
                    frames += 1;
                }
                frames
            }
        };
        Ok(Probe { frames, size, rate })
    }

    fn frames(&self, path: &Path, wanted: &[usize], each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let mut reader = VideoReader::open(path)?;
        let mut held: Option<(usize, Vec<u8>)> = None;
        for &index in wanted {
            if held.as_ref().is_none_or(|(at, _)| *at != index) {
                reader.seek(index)?;
                let frame = reader.next_frame()?.ok_or_else(|| {
                    Error::new(ErrorKind::Data, path.display().to_string(), format!("it ends before frame {index}"))
                        .hint("leave the files alone while they are trained on")
                })?;
                held = Some((index, frame.pixels));
            }
            if let Some((_, pixels)) = &held {
                each(pixels);
            }
        }
        Ok(())
    }
}

/// Blocks of whole samples of both rates that are read on each side of a window, for the resampler's filter.
const MARGIN: usize = 2048;

impl SoundFiles for Files {
    fn length(&self, path: &Path, rate: Rate) -> Result<usize> {
        let mut reader = SoundReader::open(path)?;
        let (old, length) = (reader.info().rate, reader.info().length);
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
        Ok(Timing::new(old, rate).samples(0..length).end)
    }

    fn read(&self, path: &Path, rate: Rate, range: Range<usize>) -> Result<Vec<f32>> {
        let mut reader = SoundReader::open(path)?;
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::FolderConfig;
    use crate::dataset::{Dataset, Part};
    use musiva_core::{Clip, DatasetConfig};
    use musiva_media::{Metadata, read_sound, write_clip, write_sound};

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
            assert_eq!(Files.length(&path, rate).unwrap(), whole.length());
            for range in [0..1000, 9_000..12_345, whole.length() - 500..whole.length()] {
                let window = Files.read(&path, rate, range.clone()).unwrap();
                let far = window.iter().zip(&whole.samples()[range]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                assert!(far < 1e-5, "{rate}: {far}");
            }
        }
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
