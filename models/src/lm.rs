//! `lm`: a decoder-only language model over a prompt and the tokens of a clip (VideoPoet, Kondratyuk
//! et al. 2023, section 3.3: the prefix sees itself both ways, the output is causal, the loss is on
//! the output alone).
//!
//! After the prompt stand the tokens that are given, which are part of the prefix. Then, at the *place of token `j`*,
//! which is to be predicted, stands token `j - 1` (a learned start for `j = 0`). A large vocabulary is factorised into
//! digits (MAGVIT-v2, section 3.2), and so are the levels of residual quantization: the embeddings of a token's digits
//! are summed, and each digit is predicted from the hidden state and the digits before it.

mod decoder;
#[cfg(test)]
mod tests;

use crate::transformer::{
    Attention, Digits, FeedForward, KvCache, Parts, PositionEmbedding, Precision, Prompt, RmsNorm, Rotary, TrunkConfig,
    Vocabularies, Vocabulary,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use decoder::{Decoder, DecoderSession};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, PositionOrder, Prediction, TokenBatch, ints};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, ConfigError, Cost, Init, Modality, Parameters, Result,
    Session, WeightInit,
};
use musiva_kernels::Visible;
use musiva_kernels::decode::Stored;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
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
        Digits::all(canvas, self.digits).map(|_| BackboneSpec::NextToken)
    }

    fn order(&self) -> PositionOrder {
        self.order
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        let d = self.width;
        let digits = Digits::all(canvas, self.digits).unwrap_or_default();
        let codes: usize = digits.iter().map(|digits| Vocabulary::parameters(*digits, d)).sum();
        let block = Attention::parameters(d, self.heads) + 8 * d * d + 5 * d + 2 * d;
        Prompt::parameters(canvas, d) + codes + d + PositionEmbedding::parameters(canvas, d) + self.depth * block + d
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        // Of all pairs of positions those are computed that the prefix pattern shows.
        let both_ways = if self.prefix == Prefix::BothWays { canvas.prompt } else { 1 };
        let (n, prefix) = (canvas.length() as f64, both_ways as f64);
        let seen = (n * (n + 1.0) + prefix * (prefix - 1.0)) / (2.0 * n * n);
        let mut cost = self.trunk().cost(canvas, seen);
        let logits = Digits::logits(canvas, self.digits);
        cost.forward_flops += 2.0 * logits * self.width as f64 + Prompt::flops(canvas, self.width);
        // The logits and their gradient.
        cost.activations += 2.0 * logits;
        let d = self.width as f64;
        let digits = Digits::all(canvas, self.digits).unwrap_or_default();
        let heads: usize = digits.iter().map(|digits| digits.count * digits.base).sum();
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

    fn build(&self, canvas: &CanvasShape, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>> {
        Ok(Box::new(Lm::new(self, canvas, device, weight_init)?))
    }
}

/// `x + attention(norm(x))`, then `x + feed_forward(norm(x))`.
#[derive(Module, Debug)]
pub(crate) struct Block {
    norm1: RmsNorm,
    attention: Attention,
    norm2: RmsNorm,
    feed_forward: FeedForward,
}

impl Block {
    /// A block of a model of `config`.
    pub fn new(init: &Init, config: &LmConfig) -> Self {
        // Residual branches start small, by the number of them (GPT-2, section 2.3).
        let gain = (2.0 * config.depth as f32).powf(-0.5);
        let trunk = config.trunk();
        Self {
            norm1: RmsNorm::new(&init.part("norm1"), config.width),
            attention: Attention::new(&init.part("attention"), &trunk, gain),
            norm2: RmsNorm::new(&init.part("norm2"), config.width),
            feed_forward: FeedForward::new(&init.part("feed_forward"), &trunk, gain),
        }
    }

    /// `[B, n, D]` → the same shape; see [`Attention::forward`].
    pub fn forward(&self, x: Tensor<3>, rotary: &Rotary, visible: Visible, cache: Option<&mut KvCache>) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.norm1.forward(x), rotary, visible, cache);
        x.clone() + self.feed_forward.forward(self.norm2.forward(x))
    }
}

#[derive(Module, Debug)]
struct Network {
    words: Prompt,
    codes: Vocabularies,
    start: Param<Tensor<1>>,
    places: PositionEmbedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
}

impl Network {
    fn new(config: &LmConfig, canvas: &CanvasShape, digits: &[Digits], init: &Init) -> Self {
        let width = config.width;
        Self {
            words: Prompt::new(&init.part("words"), canvas, width),
            codes: Vocabularies::new(init, digits, width),
            start: init.part("start").normal([width], 0.02),
            places: PositionEmbedding::new(&init.part("places"), canvas, width),
            blocks: (0..config.depth).map(|i| Block::new(&init.part(format!("blocks{i}")), config)).collect(),
            norm: RmsNorm::new(&init.part("norm"), width),
        }
    }

    /// What stands before the tokens that are to be made, `[B, P + G, D]`.
    fn prefix(&self, conditioning: &Conditioning, canvas: &CanvasShape, positions: Option<Tensor<3>>) -> Tensor<3> {
        let prompt = self.words.forward(&conditioning.prompt) + self.places.prompt();
        match (&conditioning.tokens, positions) {
            (Some(TokenBatch::Codes(codes)), Some(positions)) => {
                let parts = Parts::of(canvas, conditioning.layout.context());
                Tensor::cat(vec![prompt, self.codes.embed(codes.clone(), &parts) + positions], 1)
            }
            _ => prompt,
        }
    }

    /// The vector that stands for the token before the first, `[B, 1, D]`.
    fn start(&self, size: usize) -> Tensor<3> {
        let width = self.start.dims()[0];
        self.start.val().reshape([1, 1, width]).expand([size, 1, width])
    }
}

/// The model with its weights.
#[derive(Clone, Debug)]
pub struct Lm {
    canvas: CanvasShape,
    device: Device,
    network: Network,
    rotary: Rotary,
    attention_heads: usize,
    prefix: Prefix,
    stored: Stored,
    /// The weights once more, as the CPU draws from them; made when first wanted.
    decoder: OnceLock<Arc<Decoder>>,
}

impl Lm {
    fn new(config: &LmConfig, canvas: &CanvasShape, device: &Device, weight_init: &WeightInit) -> Result<Self> {
        let digits = Digits::all(canvas, config.digits).expect("the recipe was checked");
        let mut network = Network::new(config, canvas, &digits, &weight_init.init(device));
        weight_init.load(&mut network)?;
        let device = device.clone();
        let clip = canvas.tokens.length();
        let axes = |position: usize| match config.sound_axis {
            SoundAxis::AfterClip if position >= clip => [(canvas.tokens.grid[0] + position - clip) as f64, 0.0, 0.0],
            _ => canvas.coordinates(position),
        };
        Ok(Self {
            rotary: Rotary::with_axes(canvas, axes, config.width / config.heads, &device.clone().inner()),
            attention_heads: config.heads,
            prefix: config.prefix,
            stored: config.decode.into(),
            decoder: OnceLock::new(),
            canvas: *canvas,
            device,
            network,
        })
    }
}

impl Backbone for Lm {
    fn spec(&self) -> BackboneSpec {
        BackboneSpec::NextToken
    }

    fn canvas(&self) -> &CanvasShape {
        &self.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Prediction {
        let ModelInput::Codes(codes) = &batch.input else {
            panic!("the recipe's checker let vectors through to an lm")
        };
        let (network, layout) = (&self.network, &*batch.conditioning.layout);
        let [size, length] = codes.dims();
        let parts = Parts::target(&self.canvas, layout);
        let (context, target) = network.places.of(layout);

        let prefix = network.prefix(&batch.conditioning, &self.canvas, context); // [B, P + G, D]
        let before = network.codes.embed(codes.clone(), &parts).slice_dim(1, 0..length - 1);
        let tokens = Tensor::cat(vec![network.start(size), before], 1) + target; // [B, L, D]
        let start_of_target = prefix.dims()[1];
        let mut x = Tensor::cat(vec![prefix, tokens], 1); // [B, P + G + L, D]
        let rotary = self.rotary.gather(layout);
        let visible = self.prefix.visible(start_of_target);
        for block in &network.blocks {
            x = block.forward(x, &rotary, visible, None);
        }
        let hidden = network.norm.forward(x.slice_dim(1, start_of_target..start_of_target + length));
        Prediction::Logits(network.codes.logits(hidden, &parts))
    }

    fn session(&self, conditioning: Conditioning) -> Option<Box<dyn Session>> {
        if self.device.clone().inner() == Device::flex() {
            let decoder = self.decoder.get_or_init(|| Arc::new(Decoder::new(&self.network, self.stored)));
            return Some(Box::new(DecoderSession::new(self, decoder.clone(), &conditioning)));
        }
        Some(Box::new(LmSession::new(self, &conditioning)))
    }

    fn parameters(&self) -> &dyn Parameters {
        &self.network
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        self.decoder = OnceLock::new();
        &mut self.network
    }

    fn frozen(&self) -> Box<dyn Backbone> {
        let mut frozen = self.clone();
        frozen.network = frozen.network.valid();
        frozen.device = frozen.device.inner();
        Box::new(frozen)
    }
}

/// Canvases on their way, on any device.
struct LmSession {
    lm: Lm,
    rotary: Rotary,
    positions: Tensor<3>,
    modalities: Vec<Modality>,
    caches: Vec<KvCache>,
    batch: usize,
    /// Tokens that stand in the cache.
    done: usize,
    hidden: Tensor<3>,
}

impl LmSession {
    fn new(lm: &Lm, conditioning: &Conditioning) -> Self {
        let (batch, layout, network) = (conditioning.size(), &*conditioning.layout, &lm.network);
        let device = lm.device.clone().inner();
        let width = network.start.dims()[0];
        let cache_shape = [batch, lm.canvas.prompt + layout.length(), lm.attention_heads, width / lm.attention_heads];
        let (context, positions) = network.places.of(layout);
        let mut session = Self {
            lm: lm.clone(),
            rotary: lm.rotary.gather(layout),
            positions,
            modalities: layout.target().iter().map(|&position| lm.canvas.modality(position)).collect(),
            caches: network.blocks.iter().map(|_| KvCache::new(cache_shape, &device)).collect(),
            batch,
            done: 0,
            hidden: Tensor::zeros([batch, 1, 1], &device),
        };
        let prefix = network.prefix(conditioning, &lm.canvas, context);
        let visible = lm.prefix.visible(prefix.dims()[1]);
        session.run(prefix, visible);
        session.hidden = session.advance(network.start(batch));
        session
    }

    /// The codes of a modality.
    fn vocabulary(&self, token: usize) -> &Vocabulary {
        self.lm.network.codes.of(self.modalities[token])
    }

    fn run(&mut self, mut x: Tensor<3>, visible: Visible) -> Tensor<3> {
        for (block, cache) in self.lm.network.blocks.iter().zip(&mut self.caches) {
            x = block.forward(x, &self.rotary, visible, Some(cache));
        }
        self.lm.network.norm.forward(x)
    }

    /// Puts `[B, 1, D]` at the place of the next token.
    fn advance(&mut self, x: Tensor<3>) -> Tensor<3> {
        let position = self.positions.clone().slice_dim(1, self.done..self.done + 1);
        self.done += 1;
        self.run(x + position, Visible::Causal)
    }
}

impl Session for LmSession {
    fn heads(&self) -> usize {
        self.vocabulary(self.done - 1).written().count
    }

    fn logits(&self, digits: &[Vec<u32>]) -> Tensor<2> {
        let device = self.lm.device.clone().inner();
        let digits: Vec<_> = digits.iter().map(|digit| ints(digit, [self.batch, 1], &device)).collect();
        let logits = self.vocabulary(self.done - 1).logits(self.hidden.clone(), &digits);
        let entries = logits.dims()[2];
        logits.reshape([self.batch, entries])
    }

    fn push(&mut self, codes: &[u32]) {
        if self.done == self.modalities.len() {
            return;
        }
        let device = self.lm.device.clone().inner();
        let x = self.vocabulary(self.done - 1).embed(ints(codes, [self.batch, 1], &device));
        self.hidden = self.advance(x);
    }
}
