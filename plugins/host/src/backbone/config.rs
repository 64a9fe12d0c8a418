//! The configuration: one instance that tells what it would be.

use super::model::{HostedBackbone, Model};
use super::theta::Theta;
use super::{Parameter, describe, parameters, vocabulary};
use crate::instance::Instance;
use crate::library::Library;
use burn::tensor::Device;
use musiva_core::{Backbone, BackboneConfig, BackboneSpec, CanvasShape, ConfigError, Cost, Error, Result, WeightInit};
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
        let held = self.held();
        let error =
            |error: Error| ConfigError::new("", error.message(), "change the plugin's settings, or the tokenizer's");
        if canvas.sound.is_some() || canvas.has_context {
            let message =
                "a plugin's backbone makes clips from prompts; this recipe has sound, or tasks with more given";
            return Err(ConfigError::new(
                "kind",
                message,
                "leave `[tokenizer.audio]` and `[[task]]` out, or name a built-in",
            ));
        }
        if vocabulary(canvas).is_none() {
            let message = "a plugin's backbone reads prompts as words; this recipe's text tokenizer makes vectors";
            return Err(ConfigError::new(
                "kind",
                message,
                "set `tokenizer.text.kind = \"bpe\"`, or name a built-in backbone",
            ));
        }
        // What is wrong with its parameters shows before they are made.
        parameters(&held, canvas).map_err(error)?;
        describe(&held, canvas).map(|(spec, _)| spec).map_err(error)
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        parameters(&self.held(), canvas).map_or(0, |all| all.iter().map(Parameter::count).sum())
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        describe(&self.held(), canvas).map(|(_, cost)| cost).unwrap_or_default()
    }

    fn trains(&self) -> Result<(), ConfigError> {
        if self.held().extras().vjp {
            return Ok(());
        }
        let message = format!("`{}` has no gradients ({}), so it cannot be trained", self.id, gradients());
        Err(ConfigError::new("kind", message, "use its own weights as they are, or train another backbone"))
    }

    fn build(&self, canvas: &CanvasShape, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>> {
        let held = self.library.create(&self.id, &self.config)?;
        let (spec, _) = describe(&held, canvas)?;
        let parameters: Arc<[Parameter]> = parameters(&held, canvas)?.into();
        let (library, id, config) = (self.library.clone(), self.id.clone(), self.config.clone());
        let model = Arc::new(Model { library, id, config, held: Mutex::new(held), canvas: *canvas, spec });
        let mut theta = Theta::new(parameters, &weight_init.init(device));
        weight_init.load(&mut theta)?;
        Ok(Box::new(HostedBackbone::new(model, theta, device)))
    }
}

/// The interface that a backbone which trains has.
pub(super) fn gradients() -> &'static str {
    <musiva_abi::BackboneVjp as musiva_abi::Table>::ID
}
