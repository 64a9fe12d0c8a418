//! Datasets of plugins: clips and captions by number.

use crate::ask::{Ask, Element};
use crate::call::Wanted;
use crate::instance::Instance;
use crate::library::Library;
use crate::wrong;
use musiva_core::{Clip, ConfigError, DatasetConfig, MediaShape, Modality, Rate, Result};
use serde::Deserialize;
use serde_json::Value;
use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

/// What `describe` answers.
#[derive(Deserialize)]
struct Answer {
    length: Option<u64>,
    clip: [usize; 3],
    rate: [u32; 2],
}

/// A dataset of a plugin, configured.
pub struct HostedDatasetConfig {
    library: Arc<Library>,
    id: String,
    config: Value,
    shape: MediaShape,
}

impl HostedDatasetConfig {
    /// Makes an instance and asks what it holds.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration, or its answers are not in order.
    pub fn new(library: Arc<Library>, id: &str, config: Value) -> Result<Self> {
        let opened = HostedDataset::new(library.create(id, &config)?)?;
        let ([frames, height, width], rate) = (opened.clip, opened.rate);
        let shape = MediaShape::Clip { frames, height, width, rate };
        Ok(Self { library, id: id.to_owned(), config, shape })
    }

    /// Opens it.
    ///
    /// # Errors
    /// As [`HostedDatasetConfig::new`].
    pub fn open(&self) -> Result<HostedDataset> {
        HostedDataset::new(self.library.create(&self.id, &self.config)?)
    }
}

impl DatasetConfig for HostedDatasetConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        match modality {
            Modality::Video => Some(self.shape),
            Modality::Audio => None,
            Modality::Text => Some(MediaShape::Text),
        }
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A dataset of a plugin, open.
pub struct HostedDataset {
    held: Mutex<Instance>,
    length: Option<u64>,
    clip: [usize; 3],
    rate: Rate,
}

/// A clip with its caption.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostedSample {
    /// The clip.
    pub clip: Clip,
    /// What it shows.
    pub caption: String,
    /// Where it comes from, for messages.
    pub id: String,
}

impl HostedDataset {
    pub(crate) fn new(instance: Instance) -> Result<Self> {
        let answer: Answer = instance.answer(Ask::Describe)?;
        let rate = Rate::new(answer.rate[0], answer.rate[1]);
        let bytes = answer.clip.iter().try_fold(3usize, |all, &side| all.checked_mul(side));
        let (Ok(rate), Some(1..=0x4000_0000)) = (rate, bytes) else {
            let message = format!("describe: clips of {:?} at {:?} are none", answer.clip, answer.rate);
            return Err(wrong(instance.id(), message));
        };
        Ok(Self { held: Mutex::new(instance), length: answer.length, clip: answer.clip, rate })
    }

    /// How many samples there are; `None`: endless.
    pub fn length(&self) -> Option<u64> {
        self.length
    }

    /// The shape of each clip.
    pub fn shape(&self) -> MediaShape {
        let [frames, height, width] = self.clip;
        MediaShape::Clip { frames, height, width, rate: self.rate }
    }

    /// Sample `index`.
    ///
    /// # Errors
    /// Where it lies beyond the end, or the plugin cannot read it.
    pub fn get(&self, index: u64) -> Result<HostedSample> {
        let instance = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(length) = self.length.filter(|&length| index >= length) {
            return Err(wrong(instance.id(), format!("there is no sample {index}, only {length}")));
        }
        let [t, h, w] = self.clip;
        let wanted = [Wanted::exact("the clip", Element::U8, &[t, h, w, 3])];
        let mut given = instance.run(Ask::Read(index), &wanted)?;
        let clip = Clip::new(self.clip, self.rate, given.output(0).u8())?;
        Ok(HostedSample { clip, caption: given.text(0), id: given.text(1) })
    }
}
