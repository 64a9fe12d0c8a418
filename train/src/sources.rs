//! Datasets as recipes name them: what training sees, and what it never sees.

use musiva_core::recipe::Recipe;
use musiva_core::{Draw, Error, ErrorKind, MediaShape, Result};
use musiva_data::folder::{Probe, Reader};
use musiva_data::world::Split;
use musiva_data::{DataReport, Dataset, Folder, FolderConfig, PixelRange, Sample, World, WorldConfig};
use musiva_media::VideoReader;
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
    }
}

/// What training on [`dataset_of`] never sees: the world's test scenes, the last twentieth of a
/// folder's windows or a plugin's samples (8 to 64), or the first 64 of a plugin's that have no end.
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
        return Ok(Opened::Listed(Arc::new(Folder::open(config.clone(), Arc::new(Files))?)));
    }
    if let Some(config) = config.downcast_ref::<HostedDatasetConfig>() {
        return Ok(Opened::Listed(Arc::new(Hosted(config.open()?))));
    }
    Err(Error::new(ErrorKind::Unsupported, "data", format!("training cannot read data of the kind `{}`", part.kind))
        .mend("use `kind = \"world\"` or `kind = \"folder\"`"))
}

fn world(config: &WorldConfig) -> Result<World> {
    World::new(config.clone()).map_err(|flaws| {
        let flaw = flaws.into_iter().next().expect("an error names a flaw");
        Error::new(ErrorKind::Recipe, format!("data.{}", flaw.path), flaw.message).mend(flaw.mend)
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
                        .mend("leave the files alone while they are trained on")
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

/// The samples of a plugin.
struct Hosted(HostedDataset);

impl Dataset for Hosted {
    fn len(&self) -> Option<u64> {
        self.0.length()
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let sample = self.0.get(index)?;
        Ok(Sample { clip: sample.clip, caption: sample.caption, id: sample.id })
    }

    fn shape(&self) -> MediaShape {
        self.0.shape()
    }

    fn report(&self) -> DataReport {
        let count = self.len().unwrap_or(LOOKED_AT);
        let looked = (0..count.min(LOOKED_AT)).map(|i| i * (count / LOOKED_AT).max(1));
        let pixels = PixelRange::of(looked.filter_map(|i| self.0.get(i).ok()).map(|sample| sample.clip));
        DataReport { clips: self.len(), windows: self.len(), dropped: Vec::new(), pixels }
    }
}

/// The world's test scenes by number.
struct TestScenes(World);

impl Dataset for TestScenes {
    fn len(&self) -> Option<u64> {
        None
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let draw = Draw::new(self.0.config().seed).sample(index & 0xffff_ffff).step(index >> 32);
        let scene = self.0.scene(draw, Split::Test);
        Ok(Sample { clip: scene.render(), caption: scene.caption(draw), id: format!("world test scene {index}") })
    }

    fn shape(&self) -> MediaShape {
        self.0.shape()
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

    fn shape(&self) -> MediaShape {
        self.inner.shape()
    }

    fn report(&self) -> DataReport {
        DataReport { windows: self.len(), ..self.inner.report() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{Rate, Registry};
    use musiva_media::{Metadata, write_clip};

    fn recipe(data: &str) -> Recipe {
        let mut registry = Registry::default();
        musiva_data::register(&mut registry).unwrap();
        musiva_tokenizers::register(&mut registry).unwrap();
        // A recipe needs some part that learns; it is none of the datasets' business.
        Recipe::parse(
            &format!("schema = 1\ntokenizer.text.kind = \"bpe\"\n[data]\n{data}"),
            Path::new("r.toml"),
            &[],
            &registry,
        )
        .unwrap()
    }

    #[test]
    fn the_worlds_test_scenes_are_not_its_training_scenes() {
        let recipe = recipe("kind = \"world\"\nsize = [16, 16]\nframes = 3");
        let (train, test) = (dataset_of(&recipe).unwrap(), held_out_of(&recipe).unwrap());
        assert_eq!(train.shape(), test.shape());
        let clips = |data: &dyn Dataset| (0..7).map(|i| data.get(i).unwrap().clip).collect::<Vec<_>>();
        assert!(clips(&*train).iter().all(|clip| !clips(&*test).contains(clip)));
        assert_eq!(clips(&*test), clips(&*held_out_of(&recipe).unwrap()));
    }

    #[test]
    fn a_folders_windows_are_read_and_split() {
        let folder = tempfile::tempdir().unwrap();
        // 37 frames whose grey is their number; a GIF of few greys is exact.
        let pixels = (0..37u8).flat_map(|t| vec![t * 5; 16 * 24 * 3]).collect();
        let clip = musiva_core::Clip::new([37, 16, 24], Rate::whole(10), pixels).unwrap();
        write_clip(folder.path().join("a.gif"), &clip, &Metadata::new()).unwrap();
        std::fs::write(folder.path().join("a.txt"), "brighter").unwrap();
        let path = folder.path().display();
        let recipe = recipe(&format!("kind = \"folder\"\npath = \"{path}\"\nframes = 2\nsize = [8, 8]\nfps = 10"));
        let (train, test) = (dataset_of(&recipe).unwrap(), held_out_of(&recipe).unwrap());
        assert_eq!((train.len(), test.len()), (Some(10), Some(8)));
        let greys =
            |data: &dyn Dataset, i| data.get(i).unwrap().clip.pixels().iter().step_by(192).copied().collect::<Vec<_>>();
        assert_eq!(greys(&*train, 3), [30, 35]);
        assert_eq!(greys(&*test, 0), [100, 105]);
        assert!(train.get(10).is_err() && test.get(8).is_err());
    }
}
