//! Clips in tar shards, as WebDataset has them: what [`folder`](crate::folder) is to a folder.

use crate::buckets::{Auto, Shapes};
use crate::dataset::{Dataset, Part, Readable, part};
use crate::files::Files;
use crate::{Folder, FolderConfig, auto, scan, shards};
use musiva_core::files::is_url;
use musiva_core::{ConfigError, DatasetConfig, MediaShape, Modality, Result};
use serde::{Deserialize, Serialize};
use std::{any::Any, path::Path, sync::Arc};

/// Windows of the clips in shards, with their sound and their captions. The keys are those of a folder; `path` names a shard,
/// a folder of them, or all that a pattern stands for.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct WebDatasetConfig(pub FolderConfig);

impl DatasetConfig for WebDatasetConfig {
    fn errors(&self) -> Vec<ConfigError> {
        let mut errors = self.0.validate();
        if self.0.shapes == Shapes::Auto(Auto::Auto) && is_url(&self.0.path) {
            let message = "`\"auto\"` looks at the shards, and these lie at a URL";
            let hint = "list them, as in `shapes = [{ frames = 17, size = [64, 64] }]`, or download the shards first";
            errors.push(ConfigError::new("shapes", message, hint));
        }
        errors
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.0.shape(modality)
    }

    fn missing(&self) -> Option<ConfigError> {
        shards::missing(&self.0.path)
    }

    fn enable(&self, modality: Modality) -> Option<String> {
        self.0.enable(modality)
    }

    fn buckets(&self) -> Vec<(f64, Arc<dyn DatasetConfig>)> {
        let look = || match shards::scan(&self.0.path, scan::CLIPS, self.0.caption_rules()) {
            Ok((listing, shards)) => auto::buckets(&self.0, &Files::of(shards), &listing.found),
            // It is told when the data are opened.
            Err(_) => Vec::new(),
        };
        self.0.buckets(look).into_iter().map(|(weight, config)| (weight, Arc::new(Self(config)) as _)).collect()
    }

    fn remote(&self) -> Vec<String> {
        shards::urls(&self.0.path)
    }

    fn fetched(&self, folder: &Path) -> Option<Arc<dyn DatasetConfig>> {
        let path = shards::fetched(&self.0.path, folder)?;
        Some(Arc::new(Self(FolderConfig { path, ..self.0.clone() })))
    }

    fn open(&self, wanted: Part) -> Result<Arc<dyn Dataset>> {
        let open = |wanted| {
            let (listing, shards) = shards::scan(&self.0.path, scan::CLIPS, self.0.caption_rules())?;
            Folder::of(self.0.clone(), listing, Arc::new(Files::of(shards)), wanted, true).map(Arc::new)
        };
        let data: Arc<dyn Dataset> = match self.0.held_out > 0.0 {
            true => open(wanted)?,
            false => part(open(Part::Train)?, wanted),
        };
        Ok(Arc::new(Readable::new(data)))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}
