//! Metrics of plugins behind the contract.

use crate::ask::{Ask, View};
use crate::instance::Instance;
use crate::library::Library;
use crate::wrong;
use musiva_core::{Clip, ConfigError, Metric, MetricConfig, MetricSample, Result};
use serde_json::Value;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A metric of a plugin, configured.
pub struct HostedMetricConfig {
    library: Arc<Library>,
    id: String,
    config: Value,
}

impl HostedMetricConfig {
    /// Makes an instance, to see whether it can be made.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration.
    pub fn new(library: Arc<Library>, id: &str, config: Value) -> Result<Self> {
        library.create(id, &config)?;
        Ok(Self { library, id: id.to_owned(), config })
    }
}

impl MetricConfig for HostedMetricConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn build(&self) -> Result<Box<dyn Metric>> {
        Ok(Box::new(HostedMetric::new(self.library.create(&self.id, &self.config)?)?))
    }
}

/// A metric of a plugin: it sees clips that were made beside real ones, no sounds.
pub struct HostedMetric {
    instance: Instance,
    /// Whether it has seen a pair of clips.
    has_seen: bool,
}

impl HostedMetric {
    /// That has seen nothing, whatever the instance has seen.
    ///
    /// # Errors
    /// Where the plugin fails.
    pub fn new(instance: Instance) -> Result<Self> {
        instance.run(Ask::Reset, &[])?;
        Ok(Self { instance, has_seen: false })
    }

    /// The instance, as it is.
    pub fn into_inner(self) -> Instance {
        self.instance
    }
}

impl Metric for HostedMetric {
    fn update(&mut self, sample: MetricSample) -> Result<()> {
        let (Some(made), Some(reference)) = (&sample.made.clip, &sample.reference.clip) else { return Ok(()) };
        if made.shape() != reference.shape() {
            let message =
                format!("update: a clip of {:?} was made, its reference is {:?}", made.shape(), reference.shape());
            return Err(wrong(self.instance.id(), message));
        }
        self.has_seen = true;
        let [t, h, w] = made.shape();
        let view = |clip| View::of(Clip::pixels(clip), &[t, h, w, 3]);
        self.instance.run(Ask::Update(view(made), view(reference), sample.caption.to_owned()), &[]).map(|_| ())
    }

    fn result(&mut self) -> Result<BTreeMap<String, f64>> {
        if !self.has_seen {
            return Ok(BTreeMap::new());
        }
        let all: BTreeMap<String, f64> = self.instance.answer(Ask::Result)?;
        match all.values().all(|value| value.is_finite()) && !all.is_empty() {
            true => Ok(all),
            false => Err(wrong(self.instance.id(), "result: it measures nothing, or something that is no number")),
        }
    }
}
