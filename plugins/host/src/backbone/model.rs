//! The backbone: an instance, its canvas, and the parameters that the host owns.

use super::pass::Pass;
use super::session::HostedSession;
use super::theta::Theta;
use super::words;
use crate::instance::Instance;
use crate::library::Library;
use crate::op::{escape, predict};
use burn::tensor::{Device, Int, Tensor};
use musiva_core::canvas::{CanvasBatch, Conditioning, Logits, ModelInput, Prediction};
use musiva_core::parameters::to_vec;
use musiva_core::{Backbone, BackboneSpec, CanvasShape, Parameters, Session, TokenKind};
use serde_json::Value;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// What all copies of a backbone share.
pub struct Model {
    pub library: Arc<Library>,
    pub id: String,
    pub config: Value,
    pub held: Mutex<Instance>,
    pub canvas: CanvasShape,
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
        match (self.spec, self.canvas.tokens.kind) {
            (BackboneSpec::Diffusion { channels, .. }, _) => channels,
            (BackboneSpec::NextToken, TokenKind::Codes { levels: 1, entries, .. }) => entries,
            (BackboneSpec::NextToken | BackboneSpec::Masked, _) => unreachable!("looked at when it was described"),
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

    fn canvas(&self) -> &CanvasShape {
        &self.model.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Prediction {
        let whole = |ints: &Tensor<2, Int>| ints.to_data().convert::<i64>().try_into_vec().expect("converted before");
        let mut pass = Pass {
            model: self.model.clone(),
            batch: batch.conditioning.size(),
            prompt: words(&batch.conditioning.prompt),
            codes: None,
            times: None,
            guess: None,
        };
        let x = match &batch.input {
            ModelInput::Codes(codes) => {
                pass.codes = Some(whole(codes));
                Tensor::zeros([1, 1, 1], &self.device)
            }
            ModelInput::Masked(_) => unreachable!("no plugin describes itself as a masked model"),
            ModelInput::NoisyVectors(field) => {
                let at = field.at.iter().map(|&at| at as i64).collect();
                pass.times = Some((to_vec(field.times.clone()), field.times.dims()[1], at));
                pass.guess = field.x0_prev.clone().map(to_vec);
                field.values.clone()
            }
        };
        let predicted = predict(self.theta.value.clone(), x, pass);
        match self.model.spec {
            BackboneSpec::NextToken | BackboneSpec::Masked => Prediction::Logits(vec![Logits::whole(vec![predicted])]),
            BackboneSpec::Diffusion { .. } => Prediction::Vector(predicted),
        }
    }

    fn session(&self, conditioning: Conditioning) -> Option<Box<dyn Session>> {
        if self.model.spec != BackboneSpec::NextToken {
            return None;
        }
        let session = HostedSession::begin(&self.model, &self.theta.value, &conditioning.prompt, &self.device);
        // Errors leave as those of `forward` do.
        Some(Box::new(session.unwrap_or_else(|error| escape(error))))
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
