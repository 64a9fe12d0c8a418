//! `masked`: a bidirectional Transformer over a prompt and the tokens of a clip, some of which are
//! hidden (MaskGIT, Chang et al. 2022; MAGVIT, Yu et al. 2023).
//!
//! Every position sees every other, the tokens that are given among them. A hidden token's place holds a learned vector instead of the
//! token's; the model predicts all tokens, the hidden ones count. A large vocabulary is factorised into
//! digits (MAGVIT-v2, section 3.2): all places at once, and at each digit after digit.

use crate::lm::{Block, LmConfig};
use crate::transformer::{
    Attention, Digits, Parts, PositionEmbedding, Precision, Prompt, RmsNorm, Rotary, Vocabularies, Vocabulary,
};
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, Prediction, TokenBatch};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, ConfigError, Cost, Init, Parameters, Result, Session,
    WeightInit,
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
    /// Precision of the blocks' linear layers.
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
    fn errors(&self) -> Vec<ConfigError> {
        self.lm().errors()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        Digits::all(canvas, self.digits).map(|_| BackboneSpec::Masked)
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        let d = self.width;
        let digits = Digits::all(canvas, self.digits).unwrap_or_default();
        let codes: usize = digits.iter().map(|digits| Vocabulary::parameters(*digits, d)).sum();
        let block = Attention::parameters(d, self.heads) + 8 * d * d + 5 * d + 2 * d;
        Prompt::parameters(canvas, d) + codes + d + PositionEmbedding::parameters(canvas, d) + self.depth * block + d
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        let mut cost = self.lm().trunk().cost(canvas, 1.0);
        let logits = Digits::logits(canvas, self.digits);
        cost.forward_flops += 2.0 * logits * self.width as f64 + Prompt::flops(canvas, self.width);
        // The logits and their gradient.
        cost.activations += 2.0 * logits;
        cost.working_set += logits;
        cost
    }

    fn build(&self, canvas: &CanvasShape, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>> {
        let digits = Digits::all(canvas, self.digits).expect("the recipe was checked");
        let mut network = Network::new(&self.lm(), canvas, &digits, &weight_init.init(device));
        weight_init.load(&mut network)?;
        Ok(Box::new(Masked {
            rotary: Rotary::new(canvas, self.width / self.heads, &device.clone().inner()),
            canvas: *canvas,
            device: device.clone(),
            network,
        }))
    }
}

#[derive(Module, Debug)]
struct Network {
    words: Prompt,
    codes: Vocabularies,
    mask: Param<Tensor<1>>,
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
            mask: init.part("mask").normal([width], 0.02),
            places: PositionEmbedding::new(&init.part("places"), canvas, width),
            blocks: (0..config.depth).map(|i| Block::new(&init.part(format!("blocks{i}")), config)).collect(),
            norm: RmsNorm::new(&init.part("norm"), width),
        }
    }
}

/// The model with its weights.
#[derive(Clone, Debug)]
pub struct Masked {
    canvas: CanvasShape,
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
        let ModelInput::Masked(masked) = &batch.input else {
            panic!("the recipe's checker let something else through to a masked model")
        };
        let (network, layout) = (&self.network, &*batch.conditioning.layout);
        let [_, length] = masked.codes.dims();
        let parts = Parts::target(&self.canvas, layout);
        let (context, target) = network.places.of(layout);

        let mask = network.mask.val().reshape([1, 1, network.mask.dims()[0]]);
        let seen = network.codes.embed(masked.codes.clone(), &parts);
        // [B, L, D]: the learned vector where a token is hidden, and nothing of the token.
        let hidden = masked.mask.clone();
        let tokens = seen * (-hidden.clone() + 1.0) + mask * hidden + target;
        let prompt = network.words.forward(&batch.conditioning.prompt) + network.places.prompt();
        let mut all = vec![prompt];
        if let (Some(TokenBatch::Codes(codes)), Some(positions)) = (&batch.conditioning.tokens, context) {
            let parts = Parts::of(&self.canvas, layout.context());
            all.push(network.codes.embed(codes.clone(), &parts) + positions);
        }
        all.push(tokens);
        let mut x = Tensor::cat(all, 1); // [B, P + G + L, D]
        let rotary = self.rotary.gather(layout);
        for block in &network.blocks {
            x = block.forward(x, &rotary, Visible::Full, None);
        }
        let start_of_target = x.dims()[1] - length;
        let hidden = network.norm.forward(x.slice_dim(1, start_of_target..start_of_target + length));
        Prediction::Logits(network.codes.logits(hidden, &parts))
    }

    fn session(&self, _: Conditioning) -> Option<Box<dyn Session>> {
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
    use musiva_core::canvas::{MaskedCodes, ints};
    use musiva_core::parameters::to_vec;
    use musiva_core::{TokenKind, TokenShape};

    fn canvas() -> CanvasShape {
        let kind = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
        CanvasShape::new(2, 5, TokenShape { grid: [2, 1, 3], kind })
    }

    fn config(digits: usize) -> MaskedConfig {
        MaskedConfig { width: 16, depth: 2, heads: 2, digits, ..MaskedConfig::default() }
    }

    /// Logits of all heads, of codes of which some are hidden.
    fn run(model: &dyn Backbone, codes: [u32; 6], hidden: [f32; 6]) -> Vec<f32> {
        let device = model.device();
        let hidden = Tensor::from_data(TensorData::new(hidden.to_vec(), [1, 6, 1]), &device);
        let input = ModelInput::Masked(MaskedCodes { codes: ints(&codes, [1, 6], &device), mask: hidden });
        let batch =
            CanvasBatch { conditioning: Conditioning::prompt(ints(&[1, 2], [1, 2], &device), &canvas()), input };
        let Prediction::Logits(mut all) = model.forward(&batch) else { panic!("logits") };
        all.remove(0).heads.into_iter().flat_map(to_vec).collect()
    }

    #[test]
    fn what_is_hidden_is_not_seen_and_what_is_not_is() {
        for digits in [1, 2] {
            let model = config(digits).build(&canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
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
            let model = config(digits).build(&canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
            assert_eq!(config(digits).parameters(&canvas()), model.parameters().count());
        }
    }
}
