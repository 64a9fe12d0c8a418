//! `lm`: a decoder-only language model over a prompt and the tokens of a clip (VideoPoet, Kondratyuk
//! et al. 2023, section 3.3: the prefix sees itself both ways, the output is causal, the loss is on
//! the output alone).
//!
//! The context, a prompt among it, is the prefix. Then, at the *position of element `j`*, which is to be predicted, stands
//! element `j - 1` (a learned start for `j = 0`). A large vocabulary is factorised into
//! digits (MAGVIT-v2, section 3.2), and so are the levels of residual quantization: the embeddings of a token's digits
//! are summed, and each digit is predicted from the hidden state and the digits before it.

mod decoder;
mod session;
#[cfg(test)]
mod tests;

use crate::code_network::{CodeNetwork, ROUTES, lengths};
use crate::transformer::{Named, Positions, Precision, Rotary, Tracks, TrunkConfig, check_codes, logits};
use burn::tensor::{Device, Tensor};
use decoder::{Decoder, DecoderSession};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, PositionOrder, Prediction, Route};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, ConfigError, Cost, Error, ErrorKind, Layout, Modality,
    Parameters, Result, Session, WeightInit,
};
use musiva_kernels::Visible;
use musiva_kernels::decode::Stored;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use session::LmSession;
use std::sync::{Arc, OnceLock};

/// What a recipe says of a `kind = "lm"` backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LmConfig {
    /// Width `D`.
    #[schemars(range(min = 8, max = 16384))]
    pub width: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 256))]
    pub depth: usize,
    /// Attention heads; they divide the width into even parts of at least 8.
    #[schemars(range(min = 1, max = 256))]
    pub heads: usize,
    /// Digits that a token is factorised into; their number divides the tokenizer's bits.
    #[schemars(range(min = 1, max = 8))]
    pub digits: usize,
    /// In which order tokens are generated where a clip has sound.
    pub order: PositionOrder,
    /// Attention within the prefix: the prompt and the context tokens.
    pub prefix: Prefix,
    /// Time axis of the rotary positions of sound tokens.
    pub sound_axis: SoundAxis,
    /// How it knows where a token lies.
    pub positions: Positions,
    /// Precision of the blocks' matrix products; weights, norms, softmax and loss are always in `f32`.
    pub precision: Precision,
    /// Precision of the weight matrices in autoregressive decoding on the CPU: fewer bytes, faster decoding.
    pub decode: Decode,
}

/// What the positions of the prefix see of each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Prefix {
    /// Bidirectional (VideoPoet, section 3.3; prefix language models, Raffel et al. 2020, section 3.2.1).
    #[default]
    BothWays,
    /// Causal, as among the target tokens.
    Causal,
}

impl Prefix {
    /// What positions see of each other of which so many are the prefix.
    fn visible(self, prefix: usize) -> Visible {
        match self {
            Self::BothWays => Visible::Prefix(prefix),
            Self::Causal => Visible::Causal,
        }
    }
}

/// Time axis of the rotary positions of sound tokens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SoundAxis {
    /// The clip's own: sound and picture of the same time have the same `t`.
    #[default]
    Clip,
    /// One that continues where the clip's ends, a step per token, as if sound followed the clip (VideoPoet, section
    /// 3.2).
    AfterClip,
}

/// What the weights of matrices are kept in while tokens are drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Decode {
    /// As they are, 4 bytes a weight.
    #[default]
    F32,
    /// Rounded to 16 bits, within 2⁻⁸ of themselves.
    Bf16,
    /// Rounded to 8 bits, within a 254th of the largest weight of their output.
    Int8,
}

impl From<Decode> for Stored {
    fn from(decode: Decode) -> Self {
        match decode {
            Decode::F32 => Self::F32,
            Decode::Bf16 => Self::Bf16,
            Decode::Int8 => Self::Int8,
        }
    }
}

impl Default for LmConfig {
    fn default() -> Self {
        Self {
            width: 128,
            depth: 4,
            heads: 4,
            digits: 1,
            order: PositionOrder::InTime,
            prefix: Prefix::BothWays,
            sound_axis: SoundAxis::Clip,
            positions: Positions::Learned,
            precision: Precision::F32,
            decode: Decode::F32,
        }
    }
}

impl LmConfig {
    pub(crate) fn trunk(&self) -> TrunkConfig {
        TrunkConfig { width: self.width, depth: self.depth, heads: self.heads, precision: self.precision }
    }
}

impl BackboneConfig for LmConfig {
    fn errors(&self) -> Vec<ConfigError> {
        self.trunk().errors()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        check_codes(canvas).map(|()| BackboneSpec::NextToken)
    }

    fn order(&self) -> PositionOrder {
        self.order
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn factors(&self) -> usize {
        self.digits
    }

    fn neutral(&self) -> &'static [&'static str] {
        &["precision", "decode"]
    }

    fn lengths_are_fixed(&self) -> bool {
        self.positions == Positions::Learned
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        CodeNetwork::parameters(&self.trunk(), canvas, self.positions)
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        // Of all pairs of positions those are computed that the prefix pattern shows.
        let text = canvas.tracks.iter().filter(|track| track.modality == Modality::Text && !track.target);
        let prompt: usize = text.map(|track| track.tokens.length()).sum();
        let both_ways = if self.prefix == Prefix::BothWays { prompt.max(1) } else { 1 };
        let (n, prefix) = (canvas.length() as f64, both_ways as f64);
        let seen = (n * (n + 1.0) + prefix * (prefix - 1.0)) / (2.0 * n * n);
        let mut cost = self.trunk().cost(canvas, seen);
        let logits = logits(canvas);
        cost.forward_flops += 2.0 * logits * self.width as f64 + Tracks::flops(canvas, self.width);
        // The logits and their gradient.
        cost.activations += 2.0 * logits;
        let d = self.width as f64;
        let digits = canvas.tracks.iter().filter(|track| track.target).filter_map(|track| track.digits());
        let heads: usize = digits.map(|digits| digits.count * digits.base).sum();
        let matrices = d * (self.depth as f64 * 12.0 * d + heads as f64);
        let bytes = match self.decode {
            Decode::F32 => 4.0,
            Decode::Bf16 => 2.0,
            Decode::Int8 => 1.0,
        };
        // Keys and values; and half of the matrices once more, as they are drawn from: for guidance a working set is
        // counted twice.
        cost.working_set += logits + 2.0 * n * d * self.depth as f64 + matrices * bytes / 8.0;
        cost
    }

    fn build(&self, canvas: &Arc<CanvasShape>, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>> {
        Ok(Box::new(Lm::new(self, canvas, device, weight_init)?))
    }
}

/// The model with its weights.
#[derive(Clone, Debug)]
pub struct Lm {
    canvas: Arc<CanvasShape>,
    device: Device,
    network: Named<CodeNetwork>,
    config: LmConfig,
    /// The weights once more, as the CPU draws from them; made when first wanted.
    decoder: OnceLock<Arc<Decoder>>,
}

impl Lm {
    fn new(config: &LmConfig, canvas: &Arc<CanvasShape>, device: &Device, weight_init: &WeightInit) -> Result<Self> {
        let init = weight_init.init(device);
        let mut network = CodeNetwork::new(&init, &config.trunk(), canvas, config.positions, "start");
        weight_init.load(&mut network)?;
        let (canvas, device) = (canvas.clone(), device.clone());
        Ok(Self { canvas, device, network, config: *config, decoder: OnceLock::new() })
    }

    /// Rotary positions of a sequence.
    fn rotary(&self, layout: &Layout) -> Rotary {
        let canvas = layout.canvas();
        let clip = canvas.tracks.iter().find(|track| track.modality == Modality::Video);
        let steps = clip.map_or(0, |clip| clip.tokens.grid[0]);
        let axes = |track: usize, index: usize| match self.config.sound_axis {
            SoundAxis::AfterClip if canvas.tracks[track].modality == Modality::Audio => {
                [(steps + index) as f64, 0.0, 0.0]
            }
            _ => canvas.tracks[track].coordinates(index),
        };
        let size = self.config.width / self.config.heads;
        Rotary::with_axes(layout, axes, size, &self.device.clone().inner())
    }
}

impl Backbone for Lm {
    fn spec(&self) -> BackboneSpec {
        BackboneSpec::NextToken
    }

    fn canvas(&self) -> &Arc<CanvasShape> {
        &self.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Result<Prediction> {
        let ModelInput::Codes(digits) = &batch.input else {
            return Err(Error::new(ErrorKind::Unsupported, "backbone", "a language model reads codes"));
        };
        let (network, layout) = (&self.network.network, &*batch.conditioning.layout);
        let [prefix, length] = lengths(layout);
        let (context, positions) = network.context(&batch.conditioning)?; // [B, G, D], [1, L, D]

        let start = network.vector().expand([batch.conditioning.size, 1, network.width()]);
        let before = network.tracks.target(layout, digits).slice_dim(1, 0..length - 1);
        let target = Tensor::cat(vec![start, before], 1) + positions; // [B, L, D]
        let mut x = Tensor::cat(context.into_iter().chain([target]).collect(), 1); // [B, G + L, D]
        assert_shape!(x, [batch.conditioning.size, prefix + length, network.width()]);
        let (rotary, visible) = (self.rotary(layout), self.config.prefix.visible(prefix));
        for block in &network.blocks {
            x = block.forward(x, &rotary, visible, None);
        }
        let hidden = network.norm.forward(x.slice_dim(1, prefix..prefix + length));
        Ok(Prediction::Logits(network.tracks.logits(layout, &hidden)))
    }

    fn session(&self, conditioning: Conditioning) -> Result<Option<Box<dyn Session>>> {
        if self.device.clone().inner() == Device::flex() {
            let decoder = self
                .decoder
                .get_or_init(|| Arc::new(Decoder::new(&self.network.network, &self.canvas, self.config.decode.into())));
            return Ok(Some(Box::new(DecoderSession::new(self, decoder.clone(), &conditioning)?)));
        }
        Ok(Some(Box::new(LmSession::new(self, &conditioning)?)))
    }

    fn parameters(&self) -> &dyn Parameters {
        &self.network
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        self.decoder = OnceLock::new();
        &mut self.network
    }

    fn frozen(&self) -> Box<dyn Backbone> {
        Box::new(Self { network: self.network.valid(), device: self.device.clone().inner(), ..self.clone() })
    }
}
