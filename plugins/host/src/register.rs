//! From a loaded plugin to a component of the registry.

use crate::backbone::HostedBackboneConfig;
use crate::conditioner::HostedConditionerConfig;
use crate::dataset::HostedDatasetConfig;
use crate::load::Loaded;
use crate::metric::HostedMetricConfig;
use crate::sampler::HostedSampler;
use crate::tokenizer::HostedTokenizerConfig;
use crate::wrong;
use musiva_core::{Component, Error, Hosted, Make, Registry, Result};
use serde::de::Error as _;
use serde_json::Value;
use std::sync::Arc;

/// Puts a plugin's component into the registry, where nothing tells it from a built-in one.
///
/// # Errors
/// Where its kind has no place in recipes, its schema is none, or its id is taken.
pub fn register(registry: &mut Registry, loaded: &Loaded) -> Result<()> {
    let described = loaded.library.get(&loaded.id)?;
    let (library, id) = (loaded.library.clone(), loaded.id.clone());
    let make = match described.kind.as_str() {
        "tokenizer" => Hosted::Tokenizer(Arc::new(move |config: Value| {
            Ok(Box::new(HostedTokenizerConfig::new(library.clone(), &id, config).map_err(as_json)?))
        })),
        "backbone" => Hosted::Backbone(Arc::new(move |config: Value| {
            Ok(Box::new(HostedBackboneConfig::new(library.clone(), &id, config).map_err(as_json)?))
        })),
        "sampler" => Hosted::Sampler(Arc::new(move |config: Value| {
            Ok(Box::new(HostedSampler::new(library.clone(), &id, config).map_err(as_json)?))
        })),
        "dataset" => Hosted::Dataset(Arc::new(move |config: Value| {
            Ok(Box::new(HostedDatasetConfig::new(library.clone(), &id, config).map_err(as_json)?))
        })),
        "metric" => Hosted::Metric(Arc::new(move |config: Value| {
            Ok(Box::new(HostedMetricConfig::new(library.clone(), &id, config).map_err(as_json)?))
        })),
        "conditioner" => Hosted::Tokenizer(Arc::new(move |config: Value| {
            Ok(Box::new(HostedConditionerConfig::new(library.clone(), &id, config).map_err(as_json)?))
        })),
        other => return Err(wrong(&loaded.id, format!("it is a {other}, which no section of a recipe takes"))),
    };
    // Libraries stay until the process ends, and so do their names: there are a few of them.
    let kind: &'static str = loaded.id.clone().leak();
    let summary: &'static str = described.summary.clone().leak();
    registry.register(Component {
        kind,
        summary,
        origin: loaded.origin(),
        schema: loaded.library.schema(&loaded.id)?,
        learns: described.kind == "backbone",
        make: Make::Hosted(make),
    })
}

/// The checker puts the recipe's place in front.
fn as_json(error: Error) -> serde_json::Error {
    serde_json::Error::custom(error.message())
}
