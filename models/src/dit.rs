//! `dit`: a diffusion Transformer over noisy token vectors (Peebles and Xie 2023), with a time for
//! each token.
//!
//! The prompt and the tokens that are given stand before the others in one sequence, at time 0; all see each other. The
//! prompt's mean also joins the time in the vector that conditions the blocks. The vectors may be continuous latents, the
//! ±1 bits of codes ("analog bits": Chen, Zhang and Hinton 2023), or each of one modality, optionally beside the model's
//! own last guess of the clean ones (self-conditioning, ibid., section 3).

use crate::transformer::{
    Attention, FeedForward, Linear, Parts, PositionEmbedding, Precision, Prompt, Rotary, TrunkConfig,
};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, Prediction, TokenBatch, columns};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, ConfigError, Cost, Init, Modality, Parameters, Result,
    Session, WeightInit,
};
use musiva_kernels::{Visible, gated_add, modulated_layer_norm, silu};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Sines and cosines that a time is told by.
const TIME_FEATURES: usize = 64;
/// Epsilon of the layer norms (the DiT's own code).
const EPSILON: f64 = 1e-6;

/// What a recipe says of a `kind = "dit"` backbone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct DitConfig {
    /// Width `D`.
    #[schemars(range(min = 8, max = 16384))]
    pub width: usize,
    /// Blocks.
    #[schemars(range(min = 1, max = 256))]
    pub depth: usize,
    /// Attention heads; they divide the width into even parts of at least 8.
    #[schemars(range(min = 1, max = 256))]
    pub heads: usize,
    /// Length of the vectors; left out, that of the tokenizer's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub channels: Option<usize>,
    /// Self-conditioning: whether it reads its own last prediction of the clean vectors beside the noisy ones.
    pub self_condition: bool,
    /// Precision of the blocks' matrix products; weights, norms, softmax and loss are always in `f32`.
    pub precision: Precision,
}

impl Default for DitConfig {
    fn default() -> Self {
        Self { width: 128, depth: 4, heads: 4, channels: None, self_condition: true, precision: Precision::F32 }
    }
}

impl DitConfig {
    fn trunk(&self) -> TrunkConfig {
        TrunkConfig { width: self.width, depth: self.depth, heads: self.heads, precision: self.precision }
    }

    fn inputs(&self, channels: usize) -> usize {
        channels * if self.self_condition { 2 } else { 1 }
    }

    /// Lengths of the vectors of the clip, and of its sound where it has any.
    fn channels(canvas: &CanvasShape) -> Vec<usize> {
        let kinds = [Some(canvas.tokens.kind), canvas.sound.map(|sound| sound.tokens.kind)];
        kinds.into_iter().flatten().map(|kind| kind.channels().unwrap_or(0)).collect()
    }
}

impl BackboneConfig for DitConfig {
    fn errors(&self) -> Vec<ConfigError> {
        self.trunk().errors()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        let mut kinds = [Modality::Video, Modality::Audio].into_iter().filter_map(|m| Some(canvas.shape(m)?.kind));
        // The one that has no vectors, or the longest.
        let kind = kinds.find(|kind| kind.channels() == canvas.channels()).unwrap_or(canvas.tokens.kind);
        let Some(channels) = canvas.channels() else {
            return Err(ConfigError::new(
                "kind",
                format!("a diffusion model reads vectors, the tokenizer makes {kind}"),
                "use a tokenizer whose codes have bits (lfq), or `backbone.kind = \"lm\"`",
            ));
        };
        match self.channels {
            Some(wanted) if wanted != channels => {
                let message = format!("{wanted} channels, but the tokenizer makes {kind}");
                Err(ConfigError::new("channels", message, format!("set `channels = {channels}`, or delete this key")))
            }
            _ => Ok(BackboneSpec::Diffusion { channels, self_conditioned: self.self_condition }),
        }
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        let d = self.width;
        let block = Attention::parameters(d, self.heads) + 8 * d * d + 5 * d + 6 * d * d + 6 * d;
        let conditions = Prompt::parameters(canvas, d) + 2 * TIME_FEATURES * d + d + d * d + d + d * d + d;
        let end = |channels: usize| self.inputs(channels) * d + d + d * channels + channels;
        let ends: usize = Self::channels(canvas).into_iter().map(end).sum();
        conditions + PositionEmbedding::parameters(canvas, d) + self.depth * block + 2 * d * d + 2 * d + ends
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        let mut cost = self.trunk().cost(canvas, 1.0);
        cost.forward_flops += Prompt::flops(canvas, self.width);
        // What each half gives, for the gradient of its gate.
        cost.activations += (self.depth * 2 * canvas.length() * self.width) as f64;
        cost
    }

    fn build(&self, canvas: &CanvasShape, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>> {
        let channels = canvas.channels().expect("the recipe was checked");
        let mut network = Network::new(self, canvas, &weight_init.init(device));
        weight_init.load(&mut network)?;
        Ok(Box::new(Dit {
            rotary: Rotary::new(canvas, self.width / self.heads, &device.clone().inner()),
            spec: BackboneSpec::Diffusion { channels, self_conditioned: self.self_condition },
            canvas: *canvas,
            device: device.clone(),
            network,
        }))
    }
}

/// A block with adaptive layer norms that start at zero (adaLN-Zero, section 3.2): at first every
/// block is the identity.
#[derive(Module, Debug)]
struct Block {
    modulation: Linear,
    attention: Attention,
    feed_forward: FeedForward,
}

impl Block {
    fn new(init: &Init, config: &DitConfig) -> Self {
        let (width, trunk) = (config.width, config.trunk());
        Self {
            modulation: Linear::new(&init.part("modulation"), [width, 6 * width], 0.0),
            attention: Attention::new(&init.part("attention"), &trunk, 1.0),
            feed_forward: FeedForward::new(&init.part("feed_forward"), &trunk, 1.0),
        }
    }

    fn forward(&self, x: Tensor<3>, condition: &Condition, rotary: &Rotary) -> Tensor<3> {
        let [shift_msa, scale_msa, gate_msa, shift_mlp, scale_mlp, gate_mlp] = condition.modulation(&self.modulation);
        let at = &condition.at;
        let y = modulated_layer_norm(x.clone(), shift_msa, scale_msa, at, EPSILON);
        let x = gated_add(x, self.attention.forward(y, rotary, Visible::Full, None), gate_msa, at);
        let y = modulated_layer_norm(x.clone(), shift_mlp, scale_mlp, at, EPSILON);
        gated_add(x, self.feed_forward.forward(y), gate_mlp, at)
    }
}

/// What blocks are conditioned on: a vector for each time that occurs, and which position stands at
/// which time. What depends on time alone is computed once a time, never once a position.
struct Condition {
    /// `silu(c)`: `[B, S, D]`.
    vectors: Tensor<3>,
    /// Which of the `S` times each of the `N` positions stands at.
    at: Vec<usize>,
}

impl Condition {
    /// Parts of the linear map of each vector, `[B, S, D]` each.
    fn modulation<const PARTS: usize>(&self, linear: &Linear) -> [Tensor<3>; PARTS] {
        let all = linear.forward(self.vectors.clone());
        let width = all.dims()[2] / PARTS;
        std::array::from_fn(|i| all.clone().slice_dim(2, i * width..(i + 1) * width))
    }
}

#[derive(Module, Debug)]
struct Network {
    words: Prompt,
    time1: Linear,
    time2: Linear,
    pooled: Linear,
    clip: Ends,
    sound: Option<Ends>,
    places: PositionEmbedding,
    blocks: Vec<Block>,
    last_modulation: Linear,
}

/// Where the vectors of one modality come in and go out.
#[derive(Module, Debug)]
struct Ends {
    input: Linear,
    output: Linear,
    #[module(skip)]
    channels: usize,
}

impl Ends {
    fn new(init: &Init, config: &DitConfig, channels: usize) -> Self {
        let d = config.width;
        Self {
            input: Linear::new(&init.part("input"), [config.inputs(channels), d], 1.0),
            output: Linear::new(&init.part("output"), [d, channels], 0.0),
            channels,
        }
    }

    /// `[B, n, C]` and the guess of as many → `[B, n, D]`.
    fn enter(&self, values: Tensor<3>, x0_prev: Option<Tensor<3>>) -> Tensor<3> {
        let own = |x: Tensor<3>| x.slice_dim(2, 0..self.channels);
        let all = std::iter::once(values).chain(x0_prev).map(own).collect();
        self.input.forward(Tensor::cat(all, 2))
    }

    /// `[B, n, D]` → `[B, n, C]`, zeros after its own channels.
    fn leave(&self, x: Tensor<3>, channels: usize) -> Tensor<3> {
        let own = self.output.forward(x);
        let [size, n, found] = own.dims();
        if found == channels {
            return own;
        }
        let rest = Tensor::zeros([size, n, channels - found], &own.device());
        Tensor::cat(vec![own, rest], 2)
    }
}

impl Network {
    fn new(config: &DitConfig, canvas: &CanvasShape, init: &Init) -> Self {
        let d = config.width;
        let linear = |name, shape, gain| Linear::new(&init.part(name), shape, gain);
        let channels = DitConfig::channels(canvas);
        Self {
            words: Prompt::new(&init.part("words"), canvas, d),
            time1: linear("time1", [2 * TIME_FEATURES, d], 1.0),
            time2: linear("time2", [d, d], 1.0),
            pooled: linear("pooled", [d, d], 1.0),
            clip: Ends::new(init, config, channels[0]),
            sound: channels.get(1).map(|channels| Ends::new(&init.part("sound"), config, *channels)),
            places: PositionEmbedding::new(&init.part("places"), canvas, d),
            blocks: (0..config.depth).map(|i| Block::new(&init.part(format!("blocks{i}")), config)).collect(),
            last_modulation: linear("last_modulation", [d, 2 * d], 0.0),
        }
    }

    fn ends(&self, modality: Modality) -> &Ends {
        match (modality, &self.sound) {
            (Modality::Audio, Some(sound)) => sound,
            _ => &self.clip,
        }
    }

    /// Vectors `[B, n, C]` at places of which each modality has `parts` → `[B, n, D]`.
    fn enter(&self, values: &Tensor<3>, x0_prev: &Option<Tensor<3>>, parts: &Parts) -> Tensor<3> {
        let of = |(modality, at): (Modality, &[usize])| {
            let x0_prev = x0_prev.as_ref().map(|x0_prev| columns(x0_prev.clone(), at));
            self.ends(modality).enter(columns(values.clone(), at), x0_prev)
        };
        columns(Tensor::cat(parts.iter().map(of).collect(), 1), &parts.back())
    }
}

/// The model with its weights.
#[derive(Clone, Debug)]
pub struct Dit {
    canvas: CanvasShape,
    spec: BackboneSpec,
    device: Device,
    network: Network,
    rotary: Rotary,
}

impl Backbone for Dit {
    fn spec(&self) -> BackboneSpec {
        self.spec
    }

    fn canvas(&self) -> &CanvasShape {
        &self.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Prediction {
        let ModelInput::NoisyVectors(noisy) = &batch.input else {
            panic!("the recipe's checker let codes through to a dit")
        };
        let BackboneSpec::Diffusion { self_conditioned, .. } = self.spec else { unreachable!("a dit is a field") };
        let (network, layout) = (&self.network, &*batch.conditioning.layout);
        let prefix = self.canvas.prompt + layout.context().len();
        let [size, times] = noisy.times.dims();
        let [_, length, channels] = noisy.values.dims();

        let words = network.words.forward(&batch.conditioning.prompt); // [B, P, D]
        let pooled = network.pooled.forward(words.clone().mean_dim(1)); // [B, 1, D]
        // What is given stands at time 0, one more time beside those of the tokens.
        let zero = Tensor::zeros([size, 1], &noisy.times.device());
        let times_and_zero = Tensor::cat(vec![noisy.times.clone(), zero], 1); // [B, S + 1]
        let time = network.time1.forward(features(times_and_zero));
        let c = network.time2.forward(silu(time)) + pooled; // [B, S + 1, D]
        let at = std::iter::repeat_n(times, prefix).chain(noisy.at.iter().copied()).collect();
        let condition = Condition { vectors: silu(c), at };

        let x0_prev = |values: &Tensor<3>, x0_prev: &Option<Tensor<3>>| {
            self_conditioned.then(|| x0_prev.clone().unwrap_or_else(|| values.zeros_like()))
        };
        let parts = Parts::target(&self.canvas, layout);
        let (context, target) = network.places.of(layout);
        let mut all = vec![words + network.places.prompt()];
        if let (Some(TokenBatch::Vectors(values)), Some(positions)) = (&batch.conditioning.tokens, context) {
            // Of what is known the best guess is itself.
            let sure = x0_prev(values, &Some(values.clone()));
            all.push(network.enter(values, &sure, &Parts::of(&self.canvas, layout.context())) + positions);
        }
        all.push(network.enter(&noisy.values, &x0_prev(&noisy.values, &noisy.x0_prev), &parts) + target); // [B, L, D]
        let mut x = Tensor::cat(all, 1); // [B, P + G + L, D]
        let rotary = self.rotary.gather(layout);
        for block in &network.blocks {
            x = block.forward(x, &condition, &rotary);
        }
        let [shift, scale] = condition.modulation(&network.last_modulation);
        let x = modulated_layer_norm(x, shift, scale, &condition.at, EPSILON).slice_dim(1, prefix..prefix + length);
        let of = |(modality, at): (Modality, &[usize])| network.ends(modality).leave(columns(x.clone(), at), channels);
        Prediction::Vector(columns(Tensor::cat(parts.iter().map(of).collect(), 1), &parts.back()))
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

/// Times `[B, S]` in `[0, 1]` as cosines and sines of 64 frequencies, 1 to 1000: `[B, S, 128]`.
fn features(times: Tensor<2>) -> Tensor<3> {
    let frequencies: Vec<f32> =
        (0..TIME_FEATURES).map(|i| 1000f32.powf(i as f32 / (TIME_FEATURES - 1) as f32)).collect();
    let data = TensorData::new(frequencies, [1, 1, TIME_FEATURES]);
    let frequencies = Tensor::from_data(data, &times.device());
    let angles = times.unsqueeze_dim::<3>(2) * frequencies;
    Tensor::cat(vec![angles.clone().cos(), angles.sin()], 2)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::stirred;
    use musiva_core::canvas::{NoisyVectors, ints};
    use musiva_core::parameters::to_vec;
    use musiva_core::{RngKey, RngStream, TokenKind, TokenShape};

    fn canvas() -> CanvasShape {
        let tokens = TokenShape { grid: [2, 2, 3], kind: TokenKind::Vectors { channels: 5 } };
        CanvasShape::new(3, 7, tokens)
    }

    fn run(dit: &dyn Backbone, times: Vec<f32>, at: Vec<usize>) -> Vec<f32> {
        let device = dit.device();
        let values = RngKey::new(4).stream(RngStream::Noise).normals(2 * 12 * 5);
        let count = times.len() / 2;
        let noisy = NoisyVectors {
            values: Tensor::from_data(TensorData::new(values, [2, 12, 5]), &device),
            times: Tensor::from_data(TensorData::new(times, [2, count]), &device),
            at,
            x0_prev: None,
        };
        let prompt = ints(&[1, 2, 0, 3, 4, 5], [2, 3], &device);
        let batch = CanvasBatch {
            conditioning: Conditioning::prompt(prompt, &canvas()),
            input: ModelInput::NoisyVectors(noisy),
        };
        let Prediction::Vector(noisy) = dit.forward(&batch) else { panic!("a field") };
        to_vec(noisy)
    }

    #[test]
    fn one_time_for_all_is_the_same_time_for_each() {
        let config = DitConfig { width: 32, depth: 2, heads: 2, self_condition: false, ..Default::default() };
        let dit = stirred(&config, &canvas());
        let shared = run(&*dit, vec![0.3, 0.8], vec![0; 12]);
        let each = run(&*dit, [[0.3; 12], [0.8; 12]].concat(), (0..12).collect());
        assert!(shared.iter().zip(&each).all(|(a, b)| (a - b).abs() < 1e-5));
        let other = run(&*dit, vec![0.3, 0.0, 0.8, 0.0], (0..12).map(|i| usize::from(i < 6)).collect());
        assert!(shared.iter().zip(&other).any(|(a, b)| (a - b).abs() > 1e-3));
    }

    #[test]
    fn it_starts_at_zero() {
        let config = DitConfig { width: 32, depth: 2, heads: 2, channels: Some(5), ..Default::default() };
        let dit = config.build(&canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
        assert!(run(&*dit, vec![0.3, 0.8], vec![0; 12]).iter().all(|v| *v == 0.0));
    }

    #[test]
    fn parameters_are_counted_without_building() {
        for self_condition in [false, true] {
            let config = DitConfig { width: 32, depth: 2, heads: 2, self_condition, ..Default::default() };
            let dit = config.build(&canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
            assert_eq!(config.parameters(&canvas()), dit.parameters().count());
        }
    }
}
