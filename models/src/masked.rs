//! `masked`: a bidirectional Transformer over a prompt and the tokens of a clip, some of which are
//! hidden (MaskGIT, Chang et al. 2022; MAGVIT, Yu et al. 2023).
//!
//! Every position sees every other. A hidden token's place holds a learned vector instead of the
//! token's; the model predicts all tokens, the hidden ones count. A large vocabulary is factorised into
//! digits, each predicted by a head of its own at once (MAGVIT-v2, section 3.2).

use crate::lm::{Block, LmConfig, digits_of};
use crate::transformer::{Attention, Embedding, Linear, PlaceEmbedding, Precision, RmsNorm, Rotary};
use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor};
use musiva_core::canvas::{CanvasBatch, Content, Prediction};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Cost, Flaw, Init, Parameters, Result, Session, Source,
};
use musiva_kernels::Visible;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a recipe says of a `kind = "masked"` backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedConfig {
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
    /// What the blocks' linear maps compute in.
    pub precision: Precision,
}

impl Default for MaskedConfig {
    fn default() -> Self {
        let LmConfig { width, depth, heads, digits, precision, .. } = LmConfig::default();
        Self { width, depth, heads, digits, precision }
    }
}

impl MaskedConfig {
    /// The language model of the same size: its blocks and its digits are these.
    fn lm(&self) -> LmConfig {
        let Self { width, depth, heads, digits, precision } = *self;
        LmConfig { width, depth, heads, digits, precision, ..LmConfig::default() }
    }
}

impl BackboneConfig for MaskedConfig {
    fn flaws(&self) -> Vec<Flaw> {
        self.lm().flaws()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, Flaw> {
        self.lm().base(canvas).map(|_| BackboneSpec::Masked)
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        let (d, digits) = (self.width, self.digits);
        let base = self.lm().base(canvas).unwrap_or(0);
        let block = Attention::parameters(d, self.heads) + 8 * d * d + 5 * d + 2 * d;
        let embeddings = canvas.words * d + digits * base * d + d + PlaceEmbedding::parameters(canvas, d);
        embeddings + self.depth * block + d + digits * base * d
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        let mut cost = self.lm().trunk().cost(canvas, 1.0);
        let logits = canvas.tokens.length() as f64 * (self.digits * self.lm().base(canvas).unwrap_or(0)) as f64;
        cost.forward_flops += 2.0 * logits * self.width as f64;
        // The logits and their gradient.
        cost.activations += 2.0 * logits;
        cost.working_set += logits;
        cost
    }

    fn build(&self, canvas: &CanvasShape, device: &Device, source: &Source) -> Result<Box<dyn Backbone>> {
        let base = self.lm().base(canvas).expect("the recipe was checked");
        let mut network = Network::new(&self.lm(), canvas, base, &source.init(device));
        source.load(&mut network)?;
        Ok(Box::new(Masked {
            rotary: Rotary::new(canvas, self.width / self.heads, &device.clone().inner()),
            canvas: *canvas,
            base,
            device: device.clone(),
            network,
        }))
    }
}

#[derive(Module, Debug)]
struct Network {
    words: Embedding,
    digits: Vec<Embedding>,
    mask: Param<Tensor<1>>,
    places: PlaceEmbedding,
    blocks: Vec<Block>,
    norm: RmsNorm,
    heads: Vec<Linear>,
}

impl Network {
    fn new(config: &LmConfig, canvas: &CanvasShape, base: usize, init: &Init) -> Self {
        let width = config.width;
        let embed = |name: String, entries| Embedding::new(&init.part(name), entries, width);
        let head = |i| Linear::without_bias(&init.part(format!("heads{i}")), [width, base], 0.5);
        Self {
            words: embed("words".into(), canvas.words),
            digits: (0..config.digits).map(|i| embed(format!("digits{i}"), base)).collect(),
            mask: init.part("mask").normal([width], 0.02),
            places: PlaceEmbedding::new(&init.part("places"), canvas, width),
            blocks: (0..config.depth).map(|i| Block::new(&init.part(format!("blocks{i}")), config)).collect(),
            norm: RmsNorm::new(&init.part("norm"), width),
            heads: (0..config.digits).map(head).collect(),
        }
    }

    /// Codes `[B, L]` → `[B, L, D]`.
    fn embed(&self, codes: Tensor<2, Int>, base: usize) -> Tensor<3> {
        let digits = digits_of(codes, self.digits.len(), base);
        let all = self.digits.iter().zip(digits).map(|(embedding, digit)| embedding.forward(digit));
        all.reduce(|a, b| a + b).expect("a token has at least one digit")
    }
}

/// The model with its weights.
#[derive(Clone, Debug)]
pub struct Masked {
    canvas: CanvasShape,
    base: usize,
    device: Device,
    network: Network,
    rotary: Rotary,
}

impl Backbone for Masked {
    fn spec(&self) -> BackboneSpec {
        BackboneSpec::Masked
    }

    fn canvas(&self) -> &CanvasShape {
        &self.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Prediction {
        let Content::Masked(masked) = &batch.content else {
            panic!("the recipe's checker let other content through to a masked model")
        };
        let network = &self.network;
        let (prefix, length) = (self.canvas.prompt, self.canvas.tokens.length());
        let mask = network.mask.val().unsqueeze::<3>(); // [1, 1, D]
        let given = network.embed(masked.codes.clone(), self.base);
        // [B, L, D]: the learned vector where a token is hidden, and nothing of the token.
        let hidden = masked.hidden.clone();
        let tokens = given * (-hidden.clone() + 1.0) + mask * hidden + network.places.tokens();
        let prompt = network.words.forward(batch.prompt.clone()) + network.places.prompt();
        let mut x = Tensor::cat(vec![prompt, tokens], 1); // [B, P + L, D]
        for block in &network.blocks {
            x = block.forward(x, &self.rotary, Visible::Full, None);
        }
        let hidden = network.norm.forward(x.slice_dim(1, prefix..prefix + length));
        Prediction::Logits(network.heads.iter().map(|head| head.forward(hidden.clone())).collect())
    }

    fn session(&self, _: Tensor<2, Int>) -> Option<Box<dyn Session>> {
        None
    }

    fn parameters(&self) -> &dyn Parameters {
        &self.network
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.network
    }

    fn frozen(&self) -> Box<dyn Backbone> {
        let mut frozen = self.clone();
        frozen.network = frozen.network.valid();
        frozen.device = frozen.device.inner();
        Box::new(frozen)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::TensorData;
    use musiva_core::canvas::{Hidden, ints};
    use musiva_core::parameters::to_vec;
    use musiva_core::{TokenKind, TokenShape};

    fn canvas() -> CanvasShape {
        let kind = TokenKind::Codes { entries: 16, bits: Some(4) };
        CanvasShape { prompt: 2, words: 5, tokens: TokenShape { grid: [2, 1, 3], kind } }
    }

    fn config(digits: usize) -> MaskedConfig {
        MaskedConfig { width: 16, depth: 2, heads: 2, digits, ..MaskedConfig::default() }
    }

    /// Logits of all heads, of codes of which some are hidden.
    fn run(model: &dyn Backbone, codes: [u32; 6], hidden: [f32; 6]) -> Vec<f32> {
        let device = model.device();
        let hidden = Tensor::from_data(TensorData::new(hidden.to_vec(), [1, 6, 1]), &device);
        let content = Content::Masked(Hidden { codes: ints(&codes, [1, 6], &device), hidden });
        let batch = CanvasBatch { prompt: ints(&[1, 2], [1, 2], &device), content };
        let Prediction::Logits(heads) = model.forward(&batch) else { panic!("logits") };
        heads.into_iter().flat_map(to_vec).collect()
    }

    #[test]
    fn what_is_hidden_is_not_seen_and_what_is_not_is() {
        for digits in [1, 2] {
            let model = config(digits).build(&canvas(), &Device::flex(), &Source::Seed(3)).unwrap();
            let hidden = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
            let found = run(&*model, [1, 2, 3, 4, 5, 6], hidden);
            assert_eq!(found, run(&*model, [1, 9, 3, 4, 0, 6], hidden));
            // The last token given is seen from the first place: nothing is causal here.
            let other = run(&*model, [1, 2, 3, 4, 5, 7], hidden);
            assert_ne!(found[..16 / digits], other[..16 / digits]);
        }
    }

    #[test]
    fn parameters_are_counted_without_building() {
        for digits in [1, 2] {
            let model = config(digits).build(&canvas(), &Device::flex(), &Source::Seed(3)).unwrap();
            assert_eq!(config(digits).parameters(&canvas()), model.parameters().count());
        }
    }
}
