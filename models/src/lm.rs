//! `lm`: a decoder-only language model over a prompt and the tokens of a clip (VideoPoet, Kondratyuk
//! et al. 2023, section 3.3: the prefix sees itself both ways, the output is causal, the loss is on
//! the output alone).
//!
//! At position `P + j` stands token `j - 1` (a learned start for `j = 0`) at the *place of token `j`*,
//! which is to be predicted. A large vocabulary is factorised into digits (MAGVIT-v2, section 3.2):
//! the embeddings of a token's digits are summed, and each digit is predicted from the hidden state
//! and the digits before it.

mod decoder;

use crate::transformer::{
    Attention, Cache, Embedding, FeedForward, Linear, PlaceEmbedding, Precision, RmsNorm, Rotary, TrunkConfig,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use decoder::{Decoder, DecoderSession};
use musiva_core::canvas::{CanvasBatch, Content, Prediction, ints};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Cost, Flaw, Init, Parameters, Result, Session, Source,
    TokenKind,
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
    /// What the matrix products of the blocks are computed in; weights, norms, softmax and loss are in `f32` anyway.
    pub precision: Precision,
    /// What the weights of matrices are kept in while tokens are drawn one after the other on the CPU: fewer bytes,
    /// sooner drawn.
    pub decode: Decode,
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
        Self { width: 128, depth: 4, heads: 4, digits: 1, precision: Precision::F32, decode: Decode::F32 }
    }
}

impl LmConfig {
    pub(crate) fn trunk(&self) -> TrunkConfig {
        TrunkConfig { width: self.width, depth: self.depth, heads: self.heads, precision: self.precision }
    }

    /// Entries of each digit.
    pub(crate) fn base(&self, canvas: &CanvasShape) -> Result<usize, Flaw> {
        let TokenKind::Codes { entries, bits } = canvas.tokens.kind else {
            let message = format!("an autoregressive model reads codes, the tokenizer makes {}", canvas.tokens.kind);
            return Err(Flaw::new(
                "kind",
                message,
                "set `tokenizer.video.quantizer.kind = \"lfq\"`, or `backbone.kind = \"dit\"`",
            ));
        };
        match (self.digits, bits) {
            (1, _) if entries > 1 << 16 => {
                let message = format!("a vocabulary of {entries} entries is too large for one digit (65,536 at most)");
                Err(Flaw::new("digits", message, "set `digits = 2`"))
            }
            (1, _) => Ok(entries),
            (digits, Some(bits)) if bits % digits == 0 => Ok(1 << (bits / digits)),
            (digits, Some(bits)) => {
                let fitting = (1..digits).rev().find(|d| bits % d == 0).unwrap_or(1);
                let message = format!("{digits} digits do not divide the tokenizer's {bits} bits");
                Err(Flaw::new("digits", message, format!("set `digits = {fitting}`")))
            }
            (digits, None) => {
                let message =
                    format!("codes of {entries} entries without bits cannot be factorised into {digits} digits");
                Err(Flaw::new("digits", message, "set `digits = 1`"))
            }
        }
    }
}

impl BackboneConfig for LmConfig {
    fn flaws(&self) -> Vec<Flaw> {
        self.trunk().flaws()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, Flaw> {
        self.base(canvas).map(|_| BackboneSpec::NextToken)
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        let (d, digits) = (self.width, self.digits);
        let base = self.base(canvas).unwrap_or(0);
        let block = Attention::parameters(d, self.heads) + 8 * d * d + 5 * d + 2 * d;
        let embeddings = canvas.words * d + digits * base * d + d + PlaceEmbedding::parameters(canvas, d);
        embeddings + self.depth * block + d + digits * base * d + (digits - 1) * base * d
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        // Of all pairs of positions those are computed that the prefix pattern shows.
        let (n, prefix) = (canvas.length() as f64, canvas.prompt as f64);
        let seen = (n * (n + 1.0) + prefix * (prefix - 1.0)) / (2.0 * n * n);
        let mut cost = self.trunk().cost(canvas, seen);
        let logits = canvas.tokens.length() as f64 * (self.digits * self.base(canvas).unwrap_or(0)) as f64;
        cost.forward_flops += 2.0 * logits * self.width as f64;
        // The logits and their gradient.
        cost.activations += 2.0 * logits;
        let d = self.width as f64;
        let matrices = d * (self.depth as f64 * 12.0 * d + (self.digits * self.base(canvas).unwrap_or(0)) as f64);
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

    fn build(&self, canvas: &CanvasShape, device: &Device, source: &Source) -> Result<Box<dyn Backbone>> {
        Ok(Box::new(Lm::new(self, canvas, device, source)?))
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
    pub fn forward(&self, x: Tensor<3>, rotary: &Rotary, visible: Visible, cache: Option<&mut Cache>) -> Tensor<3> {
        let x = x.clone() + self.attention.forward(self.norm1.forward(x), rotary, visible, cache);
        x.clone() + self.feed_forward.forward(self.norm2.forward(x))
    }
}

#[derive(Module, Debug)]
struct Network {
    words: Embedding,
    digits: Vec<Embedding>,
    start: Param<Tensor<1>>,
    places: PlaceEmbedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    heads: Vec<Linear>,
    /// What a head learns of each digit before it.
    seen: Vec<Embedding>,
}

impl Network {
    fn new(config: &LmConfig, canvas: &CanvasShape, base: usize, init: &Init) -> Self {
        let width = config.width;
        let embed = |name: String, entries| Embedding::new(&init.part(name), entries, width);
        Self {
            words: embed("words".into(), canvas.words),
            digits: (0..config.digits).map(|i| embed(format!("digits{i}"), base)).collect(),
            start: init.part("start").normal([width], 0.02),
            places: PlaceEmbedding::new(&init.part("places"), canvas, width),
            blocks: (0..config.depth).map(|i| Block::new(&init.part(format!("blocks{i}")), config)).collect(),
            norm: RmsNorm::new(&init.part("norm"), width),
            heads: (0..config.digits)
                .map(|i| Linear::without_bias(&init.part(format!("heads{i}")), [width, base], 0.5))
                .collect(),
            seen: (1..config.digits).map(|i| embed(format!("seen{i}"), base)).collect(),
        }
    }

    /// Tokens given by their digits, each `[B, n]` → `[B, n, D]`.
    fn embed(&self, digits: &[Tensor<2, Int>]) -> Tensor<3> {
        let all = self.digits.iter().zip(digits).map(|(embedding, digit)| embedding.forward(digit.clone()));
        all.reduce(|a, b| a + b).expect("a token has at least one digit")
    }

    fn prompt(&self, prompt: Tensor<2, Int>) -> Tensor<3> {
        self.words.forward(prompt) + self.places.prompt()
    }

    /// Logits of digit `i` from hidden states `[B, n, D]` and the digits before it.
    fn logits(&self, hidden: Tensor<3>, digits: &[Tensor<2, Int>]) -> Tensor<3> {
        let i = digits.len();
        let seen = self.seen.iter().zip(digits).map(|(embedding, digit)| embedding.forward(digit.clone()));
        self.heads[i].forward(seen.fold(hidden, |hidden, seen| hidden + seen))
    }
}

/// The model with its weights.
#[derive(Clone, Debug)]
pub struct Lm {
    canvas: CanvasShape,
    digits: usize,
    base: usize,
    device: Device,
    network: Network,
    rotary: Rotary,
    attention_heads: usize,
    stored: Stored,
    /// The weights once more, as the CPU draws from them; made when first wanted.
    decoder: OnceLock<Arc<Decoder>>,
}

/// The digits of codes, most significant first.
pub(crate) fn digits_of(codes: Tensor<2, Int>, digits: usize, base: usize) -> Vec<Tensor<2, Int>> {
    let base = base as i64;
    let shift = |i: usize| base.pow((digits - 1 - i) as u32);
    (0..digits).map(|i| (codes.clone() / shift(i)).remainder_scalar(base)).collect()
}

impl Lm {
    fn new(config: &LmConfig, canvas: &CanvasShape, device: &Device, source: &Source) -> Result<Self> {
        let base = config.base(canvas).expect("the recipe was checked");
        let mut network = Network::new(config, canvas, base, &source.init(device));
        source.load(&mut network)?;
        let device = device.clone();
        Ok(Self {
            rotary: Rotary::new(canvas, config.width / config.heads, &device.clone().inner()),
            attention_heads: config.heads,
            stored: config.decode.into(),
            decoder: OnceLock::new(),
            canvas: *canvas,
            digits: config.digits,
            base,
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
        let Content::Codes(codes) = &batch.content else { panic!("the recipe's checker let vectors through to an lm") };
        let network = &self.network;
        let [size, length] = codes.dims();
        let (prefix, width) = (self.canvas.prompt, network.start.dims()[0]);
        let digits = digits_of(codes.clone(), self.digits, self.base);

        let start = network.start.val().reshape([1, 1, width]).expand([size, 1, width]);
        let before = network.embed(&digits).slice_dim(1, 0..length - 1);
        let tokens = Tensor::cat(vec![start, before], 1) + network.places.tokens(); // [B, L, D]
        let mut x = Tensor::cat(vec![network.prompt(batch.prompt.clone()), tokens], 1); // [B, P + L, D]
        for block in &network.blocks {
            x = block.forward(x, &self.rotary, Visible::Prefix(prefix), None);
        }
        let hidden = network.norm.forward(x.slice_dim(1, prefix..prefix + length));
        Prediction::Logits((0..self.digits).map(|i| network.logits(hidden.clone(), &digits[..i])).collect())
    }

    fn session(&self, prompt: Tensor<2, Int>) -> Option<Box<dyn Session>> {
        if self.device.clone().inner() == Device::flex() {
            let decoder = self.decoder.get_or_init(|| Arc::new(Decoder::new(&self.network, &self.rotary, self.stored)));
            return Some(Box::new(DecoderSession::new(self, decoder.clone(), prompt)));
        }
        Some(Box::new(LmSession::new(self, prompt)))
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
    caches: Vec<Cache>,
    batch: usize,
    /// Tokens that stand in the cache.
    done: usize,
    hidden: Tensor<3>,
}

impl LmSession {
    /// After the prompts, `[B, P]`.
    fn new(lm: &Lm, prompt: Tensor<2, Int>) -> Self {
        let batch = prompt.dims()[0];
        let device = lm.device.clone().inner();
        let width = lm.network.start.dims()[0];
        let room = [batch, lm.canvas.length(), lm.attention_heads, width / lm.attention_heads];
        let mut session = Self {
            lm: lm.clone(),
            caches: lm.network.blocks.iter().map(|_| Cache::new(room, &device)).collect(),
            batch,
            done: 0,
            hidden: Tensor::zeros([batch, 1, 1], &device),
        };
        session.run(lm.network.prompt(prompt));
        let start = lm.network.start.val().reshape([1, 1, width]).expand([batch, 1, width]);
        session.hidden = session.place(start);
        session
    }

    fn run(&mut self, mut x: Tensor<3>) -> Tensor<3> {
        for (block, cache) in self.lm.network.blocks.iter().zip(&mut self.caches) {
            x = block.forward(x, &self.lm.rotary, Visible::Full, Some(cache));
        }
        self.lm.network.norm.forward(x)
    }

    /// Puts `[B, 1, D]` at the place of the next token.
    fn place(&mut self, x: Tensor<3>) -> Tensor<3> {
        let place = self.lm.network.places.tokens().slice_dim(1, self.done..self.done + 1);
        self.done += 1;
        self.run(x + place)
    }
}

impl Session for LmSession {
    fn heads(&self) -> usize {
        self.lm.digits
    }

    fn logits(&self, digits: &[Vec<u32>]) -> Tensor<2> {
        let device = self.lm.device.clone().inner();
        let digits: Vec<_> = digits.iter().map(|digit| ints(digit, [self.batch, 1], &device)).collect();
        let logits = self.lm.network.logits(self.hidden.clone(), &digits);
        let entries = logits.dims()[2];
        logits.reshape([self.batch, entries])
    }

    fn push(&mut self, codes: &[u32]) {
        if self.done == self.lm.canvas.tokens.length() {
            return;
        }
        let device = self.lm.device.clone().inner();
        let digits = digits_of(ints(codes, [self.batch, 1], &device), self.lm.digits, self.lm.base);
        let x = self.lm.network.embed(&digits);
        self.hidden = self.place(x);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::TokenShape;
    use musiva_core::parameters::to_vec;

    fn canvas() -> CanvasShape {
        let kind = TokenKind::Codes { entries: 64, bits: Some(6) };
        CanvasShape { prompt: 5, words: 11, tokens: TokenShape { grid: [3, 2, 3], kind } }
    }

    fn batch(codes: &[u32], device: &Device) -> CanvasBatch {
        let prompt = ints(&[1, 2, 3, 4, 0, 7, 8, 0, 0, 0], [2, 5], device);
        CanvasBatch { prompt, content: Content::Codes(ints(codes, [2, 18], device)) }
    }

    fn codes() -> Vec<u32> {
        (0..36).map(|i| i * 29 % 64).collect()
    }

    fn logits(lm: &dyn Backbone, codes: &[u32]) -> Vec<Vec<f32>> {
        let Prediction::Logits(logits) = lm.forward(&batch(codes, &lm.device())) else { panic!("logits") };
        logits.into_iter().map(to_vec).collect()
    }

    /// The largest difference of a session's logits from the uncached ones, and the largest of these.
    fn difference(lm: &Lm, mut session: Box<dyn Session>) -> [f32; 2] {
        let (codes, digits) = (codes(), lm.digits);
        let whole = logits(lm, &codes);
        let base = whole[0].len() / 36;
        let (mut difference, mut largest) = (0.0f32, 0.0f32);
        for j in 0..18 {
            let token = |row: usize| codes[row * 18 + j];
            let digit = |row, i: usize| token(row) / (base as u32).pow((digits - 1 - i) as u32) % base as u32;
            let mut seen = Vec::new();
            for (i, whole) in whole.iter().enumerate() {
                let cached = to_vec(session.logits(&seen));
                for row in 0..2 {
                    let whole = &whole[(row * 18 + j) * base..][..base];
                    for (a, b) in whole.iter().zip(&cached[row * base..][..base]) {
                        (difference, largest) = (difference.max((a - b).abs()), largest.max(a.abs()));
                    }
                }
                seen.push(vec![digit(0, i), digit(1, i)]);
            }
            session.push(&[token(0), token(1)]);
        }
        [difference, largest]
    }

    #[test]
    fn cached_is_uncached_on_slices_and_on_tensors() {
        for digits in [1, 2, 3] {
            let config = LmConfig { width: 48, depth: 3, heads: 2, digits, ..Default::default() };
            let lm = Lm::new(&config, &canvas(), &Device::flex(), &Source::Seed(3)).unwrap();
            let prompt = batch(&codes(), &lm.device()).prompt;
            let [on_slices, _] = difference(&lm, lm.session(prompt.clone()).unwrap());
            let [on_tensors, _] = difference(&lm, Box::new(LmSession::new(&lm, prompt)));
            assert!(on_slices < 1e-5 && on_tensors < 1e-5, "{on_slices}, {on_tensors}");
        }
    }

    #[test]
    fn weights_in_fewer_bytes_change_logits_a_little() {
        let run = |decode| {
            let config = LmConfig { width: 48, depth: 3, heads: 2, decode, ..Default::default() };
            let lm = Lm::new(&config, &canvas(), &Device::flex(), &Source::Seed(3)).unwrap();
            let [difference, largest] = difference(&lm, lm.session(batch(&codes(), &lm.device()).prompt).unwrap());
            difference / largest
        };
        let (bf16, int8) = (run(Decode::Bf16), run(Decode::Int8));
        assert!(1e-5 < bf16 && bf16 < int8 && int8 < 0.03, "{bf16}, {int8}");
    }

    #[test]
    fn new_weights_are_drawn_from() {
        let mut lm = Lm::new(&LmConfig::default(), &canvas(), &Device::flex(), &Source::Seed(3)).unwrap();
        let prompt = batch(&codes(), &lm.device()).prompt;
        let before = to_vec(lm.session(prompt.clone()).unwrap().logits(&[]));
        lm.parameters_mut().update(&mut |_, _, value| value * 2.0);
        assert_ne!(before, to_vec(lm.session(prompt).unwrap().logits(&[])));
    }

    #[test]
    fn change_a_token_and_no_earlier_or_equal_place_notices() {
        let lm = LmConfig { width: 48, depth: 3, heads: 2, ..Default::default() }
            .build(&canvas(), &Device::flex(), &Source::Seed(3))
            .unwrap();
        let before = logits(&*lm, &codes());
        let mut changed = codes();
        changed[7] ^= 5;
        let after = logits(&*lm, &changed);
        let row = 8 * 64;
        assert_eq!(before[0][..row], after[0][..row]);
        assert_ne!(before[0][row..row + 64], after[0][row..row + 64]);
    }

    #[test]
    fn parameters_are_counted_without_building() {
        for digits in [1, 2] {
            let config = LmConfig { width: 48, depth: 3, heads: 2, digits, ..Default::default() };
            let lm = config.build(&canvas(), &Device::flex(), &Source::Seed(3)).unwrap();
            assert_eq!(config.parameters(&canvas()), lm.parameters().count());
        }
    }
}
