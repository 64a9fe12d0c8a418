//! `masked`: a bidirectional Transformer over a prompt and the tokens of a clip, some of which are
//! hidden (MaskGIT, Chang et al. 2022; MAGVIT, Yu et al. 2023).
//!
//! Every position sees every other, the tokens that are given among them. A hidden token's place holds a learned vector instead of the
//! token's; the model predicts all tokens, the hidden ones count. A large vocabulary is factorised into
//! digits (MAGVIT-v2, section 3.2): all places at once, and at each digit after digit.

use crate::code_network::{CodeNetwork, ROUTES, lengths};
use crate::lm::LmConfig;
use crate::transformer::{Named, Positions, Precision, Rotary, Tracks, TrunkConfig, check_codes, logits};
use burn::tensor::{Device, Tensor};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, Prediction, Route};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, ConfigError, Cost, Error, ErrorKind, Parameters, Result,
    Session, WeightInit,
};
use musiva_kernels::Visible;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    /// How it knows where a token lies.
    pub positions: Positions,
    /// Precision of the blocks' linear layers.
    pub precision: Precision,
}

impl Default for MaskedConfig {
    fn default() -> Self {
        let LmConfig { width, depth, heads, digits, positions, precision, .. } = LmConfig::default();
        Self { width, depth, heads, digits, positions, precision }
    }
}

impl MaskedConfig {
    fn trunk(&self) -> TrunkConfig {
        TrunkConfig { width: self.width, depth: self.depth, heads: self.heads, precision: self.precision }
    }
}

impl BackboneConfig for MaskedConfig {
    fn errors(&self) -> Vec<ConfigError> {
        self.trunk().errors()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        check_codes(canvas).map(|()| BackboneSpec::Masked)
    }

    fn routes(&self) -> &'static [Route] {
        ROUTES
    }

    fn factors(&self) -> usize {
        self.digits
    }

    fn neutral(&self) -> &'static [&'static str] {
        &["precision"]
    }

    fn lengths_are_fixed(&self) -> bool {
        self.positions == Positions::Learned
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        CodeNetwork::parameters(&self.trunk(), canvas, self.positions)
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        let mut cost = self.trunk().cost(canvas, 1.0);
        let logits = logits(canvas);
        cost.forward_flops += 2.0 * logits * self.width as f64 + Tracks::flops(canvas, self.width);
        // The logits and their gradient.
        cost.activations += 2.0 * logits;
        cost.working_set += logits;
        cost
    }

    fn build(&self, canvas: &Arc<CanvasShape>, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>> {
        let mut network = CodeNetwork::new(&weight_init.init(device), &self.trunk(), canvas, self.positions, "mask");
        weight_init.load(&mut network)?;
        Ok(Box::new(Masked { config: *self, canvas: canvas.clone(), device: device.clone(), network }))
    }
}

/// The model with its weights.
#[derive(Clone, Debug)]
pub struct Masked {
    config: MaskedConfig,
    canvas: Arc<CanvasShape>,
    device: Device,
    network: Named<CodeNetwork>,
}

impl Backbone for Masked {
    fn spec(&self) -> BackboneSpec {
        BackboneSpec::Masked
    }

    fn canvas(&self) -> &Arc<CanvasShape> {
        &self.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Result<Prediction> {
        let ModelInput::Masked(masked) = &batch.input else {
            return Err(Error::new(ErrorKind::Unsupported, "backbone", "a masked model reads masked codes"));
        };
        let (network, layout) = (&self.network.network, &*batch.conditioning.layout);
        let [prefix, length] = lengths(layout);
        let (context, positions) = network.context(&batch.conditioning)?; // [B, G, D], [1, L, D]

        // The learned vector where a token is masked, and nothing of the token.
        let mask = masked.mask.clone(); // [B, L, 1]
        let tokens = network.tracks.target(layout, &masked.codes);
        let target = tokens * (-mask.clone() + 1.0) + network.vector() * mask + positions; // [B, L, D]
        let mut x = Tensor::cat(context.into_iter().chain([target]).collect(), 1); // [B, G + L, D]
        assert_shape!(x, [batch.conditioning.size, prefix + length, network.width()]);
        let rotary = Rotary::new(layout, self.config.width / self.config.heads, &self.device.clone().inner());
        for block in &network.blocks {
            x = block.forward(x, &rotary, Visible::Full, None);
        }
        let hidden = network.norm.forward(x.slice_dim(1, prefix..prefix + length));
        Ok(Prediction::Logits(network.tracks.logits(layout, &hidden)))
    }

    fn session(&self, _: Conditioning) -> Result<Option<Box<dyn Session>>> {
        Ok(None)
    }

    fn parameters(&self) -> &dyn Parameters {
        &self.network
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.network
    }

    fn frozen(&self) -> Box<dyn Backbone> {
        Box::new(Self { network: self.network.valid(), device: self.device.clone().inner(), ..self.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{fitted, of_codes, prompts, salted};
    use burn::tensor::TensorData;
    use musiva_core::canvas::{LevelPattern, MaskedCodes, TrackShape, ints};
    use musiva_core::parameters::to_vec;
    use musiva_core::{Layout, TokenKind, TokenShape};

    const PATTERNS: [LevelPattern; 3] = [LevelPattern::Parallel, LevelPattern::Delay, LevelPattern::Flat];

    fn canvas() -> CanvasShape {
        let kind = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
        CanvasShape::new(2, 5, TokenShape { grid: [2, 1, 3], kind })
    }

    /// A sound of four tokens of three codebooks, and no clip.
    fn sound(pattern: LevelPattern) -> CanvasShape {
        let tokens = TokenShape { grid: [4, 1, 1], kind: TokenKind::Codes { levels: 3, entries: 10, bits: None } };
        let sound = TrackShape { pattern, ..TrackShape::audio("audio", tokens, [1, 1], 1) };
        let text = TokenShape { grid: [1, 1, 2], kind: TokenKind::Codes { levels: 1, entries: 5, bits: None } };
        CanvasShape {
            tracks: vec![sound, TrackShape::text("text", text)],
            order: Default::default(),
            conditions: Vec::new(),
        }
    }

    fn config(digits: usize) -> MaskedConfig {
        MaskedConfig { width: 16, depth: 2, heads: 2, digits, ..MaskedConfig::default() }
    }

    fn model(digits: usize, canvas: &CanvasShape) -> Box<dyn Backbone> {
        config(digits).build(&fitted(&config(digits), canvas), &Device::flex(), &WeightInit::Seed(3)).unwrap()
    }

    /// Logits of all heads, of digits `[L, D]` of which some elements are masked.
    fn said(model: &dyn Backbone, digits: &[u32], masked: &[f32]) -> Vec<Vec<f32>> {
        let (device, length) = (model.device(), masked.len());
        let mask = Tensor::from_data(TensorData::new(masked.to_vec(), [1, length, 1]), &device);
        let codes = ints(digits, [1, length, digits.len() / length], &device);
        let input = ModelInput::Masked(MaskedCodes { codes, mask });
        let batch = CanvasBatch { conditioning: prompts(model.canvas(), &[&[1, 2]], &device), input };
        let Prediction::Logits(mut all) = model.forward(&batch).unwrap() else { panic!("logits") };
        all.remove(0).heads.into_iter().map(|head| to_vec(head.logits)).collect()
    }

    /// The same of the codes of a clip.
    fn run(model: &dyn Backbone, codes: [u32; 6], masked: [f32; 6]) -> Vec<f32> {
        let digits = Layout::whole(model.canvas()).digits(&of_codes(model.canvas(), codes.to_vec())).unwrap();
        said(model, &digits, &masked).concat()
    }

    #[test]
    fn what_is_masked_is_not_seen_and_what_is_not_is() {
        for digits in [1, 2] {
            let model = model(digits, &canvas());
            let masked = [0.0, 1.0, 0.0, 0.0, 1.0, 0.0];
            let found = run(&*model, [1, 2, 3, 4, 5, 6], masked);
            assert_eq!(found, run(&*model, [1, 9, 3, 4, 0, 6], masked));
            // The last token given is seen from the first position: nothing is causal here.
            let other = run(&*model, [1, 2, 3, 4, 5, 7], masked);
            let base = model.canvas().tracks[0].digits().unwrap().base;
            assert_ne!(found[..base], other[..base]);
        }
    }

    /// Codes of codebooks: what is masked is not seen, what is not is seen by every code of every element.
    #[test]
    fn codes_of_codebooks_are_seen_everywhere_unless_they_are_masked() {
        for pattern in PATTERNS {
            let model = model(1, &sound(pattern));
            let layout = Layout::whole(model.canvas());
            let target = salted(model.canvas(), 1).at(layout.target(), model.canvas());
            let digits = layout.digits(&target).unwrap();
            let masked: Vec<f32> = (0..layout.elements().len()).map(|i| [1.0, 0.0, 0.0][i % 3]).collect();
            let before = said(&*model, &digits, &masked);
            // A head for each codebook, of as many elements as have it.
            assert_eq!(before.iter().map(Vec::len).collect::<Vec<_>>(), [4 * 10; 3]);
            for (j, element) in layout.elements().iter().enumerate() {
                for digit in element.digits.clone() {
                    let mut other = digits.clone();
                    let code = &mut other[j * 3 + digit];
                    *code = (*code + 1) % 10;
                    let after = said(&*model, &other, &masked);
                    for (before, after) in before.concat().chunks(10).zip(after.concat().chunks(10)) {
                        assert_eq!(before == after, masked[j] == 1.0, "{pattern:?}: {digit} of {j}");
                    }
                }
            }
        }
    }

    #[test]
    fn parameters_are_counted_without_building() {
        for digits in [1, 2] {
            for canvas in PATTERNS.map(sound).into_iter().chain([canvas()]) {
                let model = model(digits, &canvas);
                assert_eq!(config(digits).parameters(model.canvas()), model.parameters().count());
            }
        }
    }
}
