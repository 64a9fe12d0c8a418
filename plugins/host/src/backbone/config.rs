//! The configuration: one instance that tells what it would be.

use super::canvas::ClipCanvas;
use super::model::{HostedBackbone, Model};
use super::theta::Theta;
use super::{Parameter, describe, parameters};
use crate::instance::Instance;
use crate::library::Library;
use burn::tensor::Device;
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, ConfigError, Cost, Error, ErrorKind, Result, WeightInit,
};
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A backbone of a plugin, configured.
pub struct HostedBackboneConfig {
    library: Arc<Library>,
    id: String,
    config: Value,
    held: Mutex<Instance>,
}

impl HostedBackboneConfig {
    /// Makes an instance and looks at its tables.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration, or its tables are not in order.
    pub fn new(library: Arc<Library>, id: &str, config: Value) -> Result<Self> {
        let held = Mutex::new(library.create(id, &config)?);
        Ok(Self { library, id: id.to_owned(), config, held })
    }

    fn held(&self) -> MutexGuard<'_, Instance> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl BackboneConfig for HostedBackboneConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        let canvas = ClipCanvas::of(canvas)?.words;
        let held = self.held();
        let error =
            |error: Error| ConfigError::new("", error.message(), "change the plugin's settings, or the tokenizer's");
        // What is wrong with its parameters shows before they are made.
        parameters(&held, canvas).map_err(error)?;
        describe(&held, canvas).map(|(spec, _)| spec).map_err(error)
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        let Ok(canvas) = ClipCanvas::of(canvas) else { return 0 };
        parameters(&self.held(), canvas.words).map_or(0, |all| all.iter().map(Parameter::count).sum())
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        let Ok(canvas) = ClipCanvas::of(canvas) else { return Cost::default() };
        describe(&self.held(), canvas.words).map(|(_, cost)| cost).unwrap_or_default()
    }

    fn trains(&self) -> Result<(), ConfigError> {
        if self.held().extras().vjp {
            return Ok(());
        }
        let message = format!("`{}` has no gradients ({}), so it cannot be trained", self.id, gradients());
        Err(ConfigError::new("kind", message, "use its own weights as they are, or train another backbone"))
    }

    fn build(&self, canvas: &Arc<CanvasShape>, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>> {
        let clip = ClipCanvas::of(canvas).map_err(|error| error.into_error(ErrorKind::Recipe, "backbone"))?;
        let held = self.library.create(&self.id, &self.config)?;
        let (spec, _) = describe(&held, clip.words)?;
        let parameters: Arc<[Parameter]> = parameters(&held, clip.words)?.into();
        let (library, id, config) = (self.library.clone(), self.id.clone(), self.config.clone());
        let (canvas, held) = (canvas.clone(), Mutex::new(held));
        let model = Arc::new(Model { library, id, config, held, canvas, clip, spec });
        let mut theta = Theta::new(parameters, &weight_init.init(device));
        weight_init.load(&mut theta)?;
        Ok(Box::new(HostedBackbone::new(model, theta, device)))
    }
}

/// The interface that a backbone which trains has.
pub(super) fn gradients() -> &'static str {
    <musiva_abi::BackboneVjp as musiva_abi::Table>::ID
}
