//! The backbone: an instance, its canvas, and the parameters that the host owns.

use super::canvas::ClipCanvas;
use super::pass::Pass;
use super::session::HostedSession;
use super::theta::Theta;
use super::values_of;
use crate::instance::Instance;
use crate::library::Library;
use crate::op::predict;
use crate::wrong;
use burn::tensor::{Device, Tensor};
use musiva_core::canvas::{CanvasBatch, Conditioning, Logits, ModelInput, Prediction};
use musiva_core::parameters::to_vec;
use musiva_core::{Backbone, BackboneSpec, CanvasShape, Parameters, Result, Session};
use serde_json::Value;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all copies of a backbone share.
pub struct Model {
    pub library: Arc<Library>,
    pub id: String,
    pub config: Value,
    pub held: Mutex<Instance>,
    pub canvas: Arc<CanvasShape>,
    pub clip: ClipCanvas,
    pub spec: BackboneSpec,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Model({} {})", self.id, self.config)
    }
}

impl Model {
    pub fn held(&self) -> MutexGuard<'_, Instance> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Length of a prediction: `K` logits or `C` numbers.
    pub fn width(&self) -> usize {
        match self.spec {
            BackboneSpec::Diffusion { channels, .. } => channels,
            BackboneSpec::NextToken | BackboneSpec::Masked => self.clip.words.entries as usize,
        }
    }
}

/// A backbone of a plugin with its parameters.
pub struct HostedBackbone {
    model: Arc<Model>,
    theta: Theta,
    device: Device,
}

impl HostedBackbone {
    pub fn new(model: Arc<Model>, theta: Theta, device: &Device) -> Self {
        Self { model, theta, device: device.clone() }
    }
}

impl Backbone for HostedBackbone {
    fn spec(&self) -> BackboneSpec {
        self.model.spec
    }

    fn canvas(&self) -> &Arc<CanvasShape> {
        &self.model.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Result<Prediction> {
        let (model, conditioning) = (&self.model, &batch.conditioning);
        let mut pass = Pass {
            model: model.clone(),
            batch: conditioning.size,
            prompt: model.clip.prompts(&model.id, conditioning)?,
            codes: None,
            times: None,
            guess: None,
        };
        let x = match (&batch.input, model.spec) {
            (ModelInput::Codes(codes), BackboneSpec::NextToken) => {
                pass.codes = Some(values_of(codes));
                Tensor::zeros([1, 1, 1], &self.device)
            }
            (ModelInput::NoisyVectors(field), BackboneSpec::Diffusion { .. }) => {
                let at = field.at.iter().map(|&at| at as i64).collect();
                pass.times = Some((to_vec(field.times.clone()), field.times.dims()[1], at));
                pass.guess = field.x0_prev.clone().map(to_vec);
                field.values.clone()
            }
            (_, BackboneSpec::NextToken | BackboneSpec::Masked) => return Err(wrong(&model.id, "it reads codes")),
            (_, BackboneSpec::Diffusion { .. }) => return Err(wrong(&model.id, "it reads vectors")),
        };
        let predicted = predict(self.theta.value.clone(), x, pass)?;
        Ok(match model.spec {
            BackboneSpec::NextToken | BackboneSpec::Masked => Prediction::Logits(vec![Logits::of_one(
                model.clip.video,
                (0..model.clip.length()).collect(),
                predicted,
            )]),
            BackboneSpec::Diffusion { .. } => Prediction::Vector(predicted),
        })
    }

    fn session(&self, conditioning: Conditioning) -> Result<Option<Box<dyn Session>>> {
        if self.model.spec != BackboneSpec::NextToken {
            return Ok(None);
        }
        Ok(Some(Box::new(HostedSession::begin(&self.model, &self.theta.value, &conditioning, &self.device)?)))
    }

    fn parameters(&self) -> &dyn Parameters {
        &self.theta
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.theta
    }

    fn frozen(&self) -> Box<dyn Backbone> {
        let theta = Theta { value: self.theta.value.clone().inner(), ..self.theta.clone() };
        Box::new(Self::new(self.model.clone(), theta, &self.device.clone().inner()))
    }
}
