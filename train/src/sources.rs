//! Datasets as recipes name them: what training sees, and what it never sees.

use musiva_core::recipe::Recipe;
use musiva_core::{Error, ErrorKind, MediaShape, Modality, Rate, Result, RngKey, Sound, Timing};
use musiva_data::folder::{Probe, Reader};
use musiva_data::sounds::SoundFiles;
use musiva_data::world::Split;
use musiva_data::{
    DataReport, Dataset, Folder, FolderConfig, Part, PixelRange, Sample, Sounds, SoundsConfig, World, WorldConfig,
};
use musiva_media::{SoundOptions, SoundReader, VideoReader, resample};
use musiva_plugin_host::{HostedDataset, HostedDatasetConfig};
use std::{ops::Range, path::Path, sync::Arc};

/// Windows of a folder that are held out at most; at least 8, where there are twice as many.
const HELD_OUT: Range<u64> = 8..64;

/// Where an endless dataset ends.
const ENDLESS: u64 = u64::MAX;
/// Samples of a plugin's dataset that a report looks at.
const LOOKED_AT: u64 = 8;

/// What `recipe` trains on.
///
/// # Errors
/// Where the recipe has no `[data]`, or it cannot be opened.
pub fn dataset_of(recipe: &Recipe) -> Result<Arc<dyn Dataset>> {
    match open(recipe)? {
        Opened::World(world) => Ok(Arc::new(world)),
        Opened::Listed(data) => {
            let (range, _) = split(&*data);
            Ok(Arc::new(Slice { inner: data, range }))
        }
        Opened::Sounds(config) => Ok(Arc::new(Sounds::open(config, Arc::new(Files), Part::Train)?)),
        Opened::Cut(config) => Ok(Arc::new(Folder::open(config, Arc::new(Files), Part::Train)?)),
    }
}

/// What training on [`dataset_of`] never sees: the world's test scenes, what a folder holds out of each file or else the
/// last twentieth of its windows or of a plugin's samples (8 to 64), or the first 64 of a plugin's that have no end.
/// Of fewer than 16 nothing can be held out, and both are all of them.
///
/// # Errors
/// As [`dataset_of`].
pub fn held_out_of(recipe: &Recipe) -> Result<Arc<dyn Dataset>> {
    match open(recipe)? {
        Opened::World(world) => Ok(Arc::new(TestScenes(world))),
        Opened::Listed(data) => {
            let (_, range) = split(&*data);
            Ok(Arc::new(Slice { inner: data, range }))
        }
        Opened::Sounds(config) => Ok(Arc::new(Sounds::open(config, Arc::new(Files), Part::HeldOut)?)),
        Opened::Cut(config) => Ok(Arc::new(Folder::open(config, Arc::new(Files), Part::HeldOut)?)),
    }
}

/// The procedural world of `recipe`, where its data are that: only there are oracles.
///
/// # Errors
/// Where the recipe has no `[data]`, or its configuration is flawed.
pub fn world_of(recipe: &Recipe) -> Result<Option<World>> {
    match recipe.need_data()?.component.as_any().downcast_ref::<WorldConfig>() {
        Some(config) => world(config).map(Some),
        None => Ok(None),
    }
}

enum Opened {
    World(World),
    Sounds(SoundsConfig),
    /// A folder that holds out a part of each file.
    Cut(FolderConfig),
    /// Samples that end: a folder's, or a plugin's.
    Listed(Arc<dyn Dataset>),
}

fn open(recipe: &Recipe) -> Result<Opened> {
    let part = recipe.need_data()?;
    let config = part.component.as_any();
    if let Some(config) = config.downcast_ref::<WorldConfig>() {
        return Ok(Opened::World(world(config)?));
    }
    if let Some(config) = config.downcast_ref::<FolderConfig>() {
        return Ok(match config.held_out > 0.0 {
            true => Opened::Cut(config.clone()),
            false => Opened::Listed(Arc::new(Folder::open(config.clone(), Arc::new(Files), Part::Train)?)),
        });
    }
    if let Some(config) = config.downcast_ref::<HostedDatasetConfig>() {
        return Ok(Opened::Listed(Arc::new(Hosted(config.open()?))));
    }
    if let Some(config) = config.downcast_ref::<SoundsConfig>() {
        return Ok(Opened::Sounds(config.clone()));
    }
    Err(Error::new(ErrorKind::Unsupported, "data", format!("training cannot read data of the kind `{}`", part.kind))
        .hint("use `kind = \"world\"`, `kind = \"folder\"` or `kind = \"sounds\"`"))
}

fn world(config: &WorldConfig) -> Result<World> {
    World::new(config.clone()).map_err(|errors| {
        let error = errors.into_iter().next().expect("an error names an error");
        let place = format!("data.{}", error.path);
        error.into_error(ErrorKind::Recipe, place)
    })
}

/// Which samples are trained on, and which are held out.
fn split(data: &dyn Dataset) -> (Range<u64>, Range<u64>) {
    match data.len() {
        None => (HELD_OUT.end..ENDLESS, 0..HELD_OUT.end),
        Some(count) if count < 2 * HELD_OUT.start => (0..count, 0..count),
        Some(count) => {
            let held_out = (count / 20).clamp(HELD_OUT.start, HELD_OUT.end);
            (0..count - held_out, count - held_out..count)
        }
    }
}

/// Files by the readers of `musiva-media`.
struct Files;

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

/// The samples of a plugin.
struct Hosted(HostedDataset);

impl Dataset for Hosted {
    fn len(&self) -> Option<u64> {
        self.0.length()
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let sample = self.0.get(index)?;
        Ok(Sample { clip: Some(sample.clip), sound: None, caption: sample.caption, id: sample.id })
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        match modality {
            Modality::Video => Some(self.0.shape()),
            Modality::Audio => None,
            Modality::Text => Some(MediaShape::Text),
        }
    }

    fn report(&self) -> DataReport {
        let count = self.len().unwrap_or(LOOKED_AT);
        let looked = (0..count.min(LOOKED_AT)).map(|i| i * (count / LOOKED_AT).max(1));
        let pixels = PixelRange::of(looked.filter_map(|i| self.0.get(i).ok()).map(|sample| sample.clip));
        DataReport { clips: self.len(), windows: self.len(), dropped: Vec::new(), pixels: Some(pixels), loudness: None }
    }
}

/// The world's test scenes by number.
struct TestScenes(World);

impl Dataset for TestScenes {
    fn len(&self) -> Option<u64> {
        None
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let key = RngKey::new(self.0.config().seed).sample(index & 0xffff_ffff).step(index >> 32);
        Ok(self.0.scene(key, Split::Test).sample(key, format!("world test scene {index}")))
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.0.shape(modality)
    }

    fn report(&self) -> DataReport {
        self.0.report()
    }
}

/// Some of the samples of another dataset.
struct Slice {
    inner: Arc<dyn Dataset>,
    range: Range<u64>,
}

impl Dataset for Slice {
    fn len(&self) -> Option<u64> {
        (self.range.end != ENDLESS).then(|| self.range.end - self.range.start)
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let at = self.range.start.saturating_add(index);
        if at >= self.range.end {
            let count = self.range.end - self.range.start;
            return Err(Error::new(ErrorKind::Data, "data", format!("sample {index} of {count}")));
        }
        self.inner.get(at)
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.inner.shape(modality)
    }

    fn report(&self) -> DataReport {
        DataReport { windows: self.len(), ..self.inner.report() }
    }
}

#[cfg(test)]
mod tests;
