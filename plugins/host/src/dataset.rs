//! Datasets of plugins: clips and captions by number.

use crate::ask::{Ask, Element};
use crate::call::Wanted;
use crate::instance::Instance;
use crate::library::Library;
use crate::wrong;
use musiva_core::dataset::{DataReport, Part, PixelRange, Sample, part};
use musiva_core::{Clip, ConfigError, Dataset, DatasetConfig, MediaShape, Modality, Rate, Result};
use serde::Deserialize;
use serde_json::Value;
use std::any::Any;
use std::sync::{Arc, Mutex, PoisonError};

/// Samples that a report looks at.
const LOOKED_AT: u64 = 8;

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

    fn open(&self, wanted: Part) -> Result<Arc<dyn Dataset>> {
        let all = HostedDataset::new(self.library.create(&self.id, &self.config)?)?;
        Ok(part(Arc::new(all), wanted))
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
}

impl Dataset for HostedDataset {
    fn len(&self) -> Option<u64> {
        self.length
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let instance = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(length) = self.length.filter(|&length| index >= length) {
            return Err(wrong(instance.id(), format!("there is no sample {index}, only {length}")));
        }
        let [t, h, w] = self.clip;
        let wanted = [Wanted::exact("the clip", Element::U8, &[t, h, w, 3])];
        let mut returned = instance.run(Ask::Read(index), &wanted)?;
        let clip = Clip::new(self.clip, self.rate, returned.output(0).u8())?;
        Ok(Sample { clip: Some(clip), caption: returned.text(0), id: returned.text(1), ..Sample::default() })
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        let [frames, height, width] = self.clip;
        match modality {
            Modality::Video => Some(MediaShape::Clip { frames, height, width, rate: self.rate }),
            Modality::Audio => None,
            Modality::Text => Some(MediaShape::Text),
        }
    }

    fn report(&self) -> DataReport {
        let count = self.length.unwrap_or(LOOKED_AT);
        let looked = (0..count.min(LOOKED_AT)).map(|i| i * (count / LOOKED_AT).max(1));
        let pixels = PixelRange::of(looked.filter_map(|i| self.get(i).ok()?.clip));
        DataReport {
            clips: self.length,
            windows: self.length,
            dropped: Vec::new(),
            pixels: Some(pixels),
            loudness: None,
        }
    }
}
