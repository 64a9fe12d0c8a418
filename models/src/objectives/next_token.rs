//! `next-token`: the cross-entropy of each token given the prompt and the tokens before it.

use super::{Nats, bits_by_track, costs, drop_prompts, parts, sum};
use musiva_core::canvas::{CleanBatch, ModelInput};
use musiva_core::{
    Backbone, BackboneSpec, Bits, BitsKind, ConfigError, Error, ErrorKind, Loss, Objective, Process, Result, RngKey,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a recipe says of `kind = "next-token"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NextToken {
    /// Probability of training without the prompt.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub prompt_dropout: f32,
}

impl Default for NextToken {
    fn default() -> Self {
        Self { prompt_dropout: 0.1 }
    }
}

impl Objective for NextToken {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec) -> Result<(), ConfigError> {
        match backbone {
            BackboneSpec::NextToken => Ok(()),
            BackboneSpec::Masked => Err(ConfigError::new(
                "kind",
                "next-token trains a model that predicts the next token, this backbone predicts masked tokens",
                "set `objective.kind = \"masked\"`, or `backbone.kind = \"lm\"`",
            )),
            BackboneSpec::Diffusion { .. } => Err(ConfigError::new(
                "kind",
                "next-token trains a model that predicts the next token, this backbone predicts vectors",
                "set `objective.kind = \"rectified-flow\"`, or `backbone.kind = \"lm\"`",
            )),
        }
    }

    fn process(&self) -> Option<Process> {
        None
    }

    fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss> {
        let device = backbone.device();
        let digits = batch.digits(&device).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "objective", "next-token trains on codes, these tokens are latents")
        })?;
        let conditioning = drop_prompts(batch, self.prompt_dropout, key).conditioning_codes(&device)?;
        let nats = costs(backbone, conditioning, ModelInput::Codes(digits.clone()), &digits)?;
        let tokens = batch.layout.tokens_by_track();
        let all = batch.size() * batch.layout.target().len();
        let total = match &nats[..] {
            // One track, all of whose tokens cost all their digits at once.
            [Nats { costs, .. }] if costs.len() == 1 && costs[0].0.len() == batch.layout.target().len() => {
                costs[0].1.clone().mean()
            }
            several => {
                sum(several.iter().flat_map(|nats| &nats.costs).map(|(_, nats)| nats.clone().sum())) / all as f64
            }
        };
        let bits = total.clone() / std::f64::consts::LN_2;
        let each = nats.into_iter().map(|Nats { track, costs }| {
            let count = (batch.size() * tokens[track]) as f64 * std::f64::consts::LN_2;
            (track, sum(costs.into_iter().map(|(_, nats)| nats.sum())) / count)
        });
        let each = each.collect();
        Ok(Loss { total, parts: parts(batch, bits, each) })
    }

    /// Exact: the chain rule, token by token.
    fn bits(&self, backbone: &dyn Backbone, batch: &CleanBatch, _key: RngKey, _draw: [u64; 2]) -> Result<Option<Bits>> {
        let device = backbone.device();
        let Some(digits) = batch.digits(&device) else { return Ok(None) };
        let input = ModelInput::Codes(digits.clone());
        let nats = costs(backbone, batch.conditioning_codes(&device)?, input, &digits)?;
        let tracks = bits_by_track(nats, |_, nats| nats);
        Ok(Some(Bits { tracks, kind: BitsKind::Exact }))
    }
}
