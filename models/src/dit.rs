//! `dit`: a diffusion Transformer over noisy token vectors (Peebles and Xie 2023), with a time for
//! each token.
//!
//! The context, a prompt among it, stands before the others in one sequence, at timestep 0; all see each other. The
//! prompt's mean also joins the time in the vector that conditions the blocks. The vectors may be continuous latents, the
//! ±1 bits of codes ("analog bits": Chen, Zhang and Hinton 2023), or each of one modality, optionally beside the model's
//! own last guess of the clean ones (self-conditioning, ibid., section 3).

use crate::transformer::{
    Attention, FEATURES, FeedForward, Linear, Named, Numbers, PositionEmbedding, Positions, Precision, Rotary, Track,
    TrunkConfig, features, of_tracks, together,
};
use burn::module::Module;
use burn::tensor::{Device, Tensor};
use musiva_core::canvas::{
    CanvasBatch, Conditioning, LevelPattern, ModelInput, Prediction, Route, TokenBatch, TrackShape, columns,
};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, ConfigError, Cost, Error, ErrorKind, Init, Layout, Modality,
    Parameters, Result, Session, WeightInit,
};
use musiva_kernels::{Visible, gated_add, modulated_layer_norm, silu};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

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
    /// How it knows where a token lies.
    pub positions: Positions,
    /// Precision of the blocks' matrix products; weights, norms, softmax and loss are always in `f32`.
    pub precision: Precision,
}

impl Default for DitConfig {
    fn default() -> Self {
        Self {
            width: 128,
            depth: 4,
            heads: 4,
            channels: None,
            self_condition: true,
            positions: Positions::Learned,
            precision: Precision::F32,
        }
    }
}

impl DitConfig {
    fn trunk(&self) -> TrunkConfig {
        TrunkConfig { width: self.width, depth: self.depth, heads: self.heads, precision: self.precision }
    }

    fn inputs(&self, channels: usize) -> usize {
        channels * if self.self_condition { 2 } else { 1 }
    }
}

/// Prompts stand in a sequence as they are, all else as noisy vectors.
fn is_text(track: &TrackShape) -> bool {
    track.modality == Modality::Text
}

/// Length of the vectors of a track.
fn channels(track: &TrackShape) -> usize {
    track.tokens.kind.channels().unwrap_or(0)
}

impl BackboneConfig for DitConfig {
    fn errors(&self) -> Vec<ConfigError> {
        self.trunk().errors()
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        if let Some(text) = canvas.tracks.iter().find(|track| is_text(track) && track.target) {
            let message = format!("a diffusion model generates vectors, and a task generates `{}`", text.name);
            return Err(ConfigError::new("kind", message, "set `backbone.kind = \"lm\"`, or delete that task"));
        }
        if let Some(track) = canvas.tracks.iter().find(|track| track.pattern() != LevelPattern::Parallel) {
            let message =
                format!("`{}` has a pattern of codebooks, and a diffusion model reads all at once", track.name);
            return Err(ConfigError::new("kind", message, format!("delete `track.{}.pattern`", track.name)));
        }
        let media = || canvas.tracks.iter().filter(|track| !is_text(track));
        // The one that has no vectors, or the longest.
        let kind = media().map(|track| track.tokens.kind).find(|kind| kind.channels() == canvas.channels());
        let Some((channels, kind)) = canvas.channels().filter(|&channels| channels > 0).zip(kind) else {
            let message = match kind {
                Some(kind) => format!("a diffusion model reads vectors, the tokenizer makes {kind}"),
                None => "a diffusion model reads vectors, and there are no clips and no sounds".to_owned(),
            };
            let hint = "use a tokenizer whose codes have bits (lfq), or `backbone.kind = \"lm\"`";
            return Err(ConfigError::new("kind", message, hint));
        };
        match self.channels {
            Some(wanted) if wanted != channels => {
                let message = format!("{wanted} channels, but the tokenizer makes {kind}");
                Err(ConfigError::new("channels", message, format!("set `channels = {channels}`, or delete this key")))
            }
            _ => Ok(BackboneSpec::Diffusion { channels, self_conditioned: self.self_condition }),
        }
    }

    fn routes(&self) -> &'static [Route] {
        &[Route::AdaLn, Route::Add, Route::Token]
    }

    fn neutral(&self) -> &'static [&'static str] {
        &["precision", "channels"]
    }

    fn lengths_are_fixed(&self) -> bool {
        self.positions == Positions::Learned
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        let d = self.width;
        let block = Attention::parameters(d, self.heads) + 8 * d * d + 5 * d + 6 * d * d + 6 * d;
        let times = 2 * FEATURES * d + d + d * d + d + d * d + d;
        let track = |track: &TrackShape| match is_text(track) {
            true => Track::parameters(track, d),
            false => self.inputs(channels(track)) * d + d + d * channels(track) + channels(track),
        };
        let tracks: usize = canvas.tracks.iter().map(track).sum();
        let places = PositionEmbedding::parameters(canvas, d, self.positions);
        times + places + Numbers::parameters(canvas, d) + self.depth * block + 2 * d * d + 2 * d + tracks
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        let mut cost = self.trunk().cost(canvas, 1.0);
        let text = canvas.tracks.iter().filter(|track| is_text(track));
        cost.forward_flops += text.map(|track| Track::flops(track, self.width)).sum::<f64>();
        // What each half gives, for the gradient of its gate.
        cost.activations += (self.depth * 2 * canvas.length() * self.width) as f64;
        cost
    }

    fn build(&self, canvas: &Arc<CanvasShape>, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>> {
        let spec = self.spec(canvas).map_err(|error| error.into_error(ErrorKind::Recipe, "backbone"))?;
        let mut network = Network::new(self, canvas, &weight_init.init(device));
        weight_init.load(&mut network)?;
        Ok(Box::new(Dit { config: *self, spec, canvas: canvas.clone(), device: device.clone(), network }))
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
    /// Of each track that is text.
    words: Vec<Option<Track>>,
    time1: Linear,
    time2: Linear,
    pooled: Linear,
    /// Of each track that is not.
    ends: Vec<Option<Ends>>,
    places: PositionEmbedding,
    numbers: Numbers,
    blocks: Vec<Block>,
    last_modulation: Linear,
}

/// Where the vectors of one track come in and go out.
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

    /// `[B, n, C]`, and the last prediction of as many, → `[B, n, D]`.
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
    fn new(config: &DitConfig, canvas: &CanvasShape, init: &Init) -> Named<Self> {
        let d = config.width;
        let linear = |name, shape, gain| Linear::new(&init.part(name), shape, gain);
        let start = |track: &TrackShape| match &*track.name {
            "video" => init.clone(),
            "audio" => init.part("sound"),
            "text" => init.part("words"),
            name => init.part(format!("track.{name}")),
        };
        let words = |track: &TrackShape| is_text(track).then(|| Track::new(&start(track), track, d));
        let ends = |track: &TrackShape| (!is_text(track)).then(|| Ends::new(&start(track), config, channels(track)));
        let network = Self {
            words: canvas.tracks.iter().map(words).collect(),
            time1: linear("time1", [2 * FEATURES, d], 1.0),
            time2: linear("time2", [d, d], 1.0),
            pooled: linear("pooled", [d, d], 1.0),
            ends: canvas.tracks.iter().map(ends).collect(),
            places: PositionEmbedding::new(&init.part("places"), canvas, d, config.positions),
            numbers: Numbers::new(init, canvas, d),
            blocks: (0..config.depth).map(|i| Block::new(&init.part(format!("blocks{i}")), config)).collect(),
            last_modulation: linear("last_modulation", [d, 2 * d], 0.0),
        };
        let mut names = of_tracks(canvas);
        for (i, track) in canvas.tracks.iter().enumerate() {
            let name = match &*track.name {
                "video" => "clip",
                "audio" => "sound",
                "text" => "words",
                name => name,
            };
            for begin in ["codes.digits.0.", "vectors."] {
                names.push((format!("words.{i}.{begin}"), format!("{name}.")));
            }
            names.push((format!("ends.{i}."), format!("{name}.")));
        }
        Named::new(network, names)
    }

    fn ends(&self, track: usize) -> &Ends {
        self.ends[track].as_ref().expect("text is not generated")
    }

    /// The context, `[B, G, D]`. Of what is known the best prediction is itself.
    fn context(&self, conditioning: &Conditioning, self_conditioned: bool) -> Option<Tensor<3>> {
        let part = |track: usize, tokens: &TokenBatch| match (&self.words[track], tokens) {
            (Some(words), tokens) => words.embed(tokens),
            (None, TokenBatch::Vectors(values)) => {
                self.ends(track).enter(values.clone(), self_conditioned.then(|| values.clone()))
            }
            (None, TokenBatch::Codes(_)) => unreachable!("a diffusion model is conditioned on vectors"),
        };
        together(conditioning.context.iter().map(|c| (&c.at[..], part(c.track, &c.tokens))).collect())
    }

    /// The mean of the prompt, `[B, 1, D]`.
    fn prompt(&self, conditioning: &Conditioning) -> Option<Tensor<3>> {
        conditioning.context.iter().find_map(|context| {
            let words = self.words[context.track].as_ref()?;
            Some(words.embed(&context.tokens).mean_dim(1))
        })
    }

    /// Vectors `[B, L, C]` of what is to be generated → `[B, L, D]`.
    fn enter(&self, layout: &Layout, values: &Tensor<3>, x0_prev: &Option<Tensor<3>>) -> Tensor<3> {
        let parts = layout.target_by_track();
        let of = |(track, at): &(usize, Vec<usize>)| {
            let x0_prev = x0_prev.as_ref().map(|x0_prev| columns(x0_prev.clone(), at));
            self.ends(*track).enter(columns(values.clone(), at), x0_prev)
        };
        together(parts.iter().map(|part| (&part.1[..], of(part))).collect()).expect("something is to be generated")
    }

    /// `[B, L, D]` → vectors `[B, L, C]`.
    fn leave(&self, layout: &Layout, x: &Tensor<3>, channels: usize) -> Tensor<3> {
        let parts = layout.target_by_track();
        let of = |(track, at): &(usize, Vec<usize>)| self.ends(*track).leave(columns(x.clone(), at), channels);
        together(parts.iter().map(|part| (&part.1[..], of(part))).collect()).expect("something is to be generated")
    }
}

/// The model with its weights.
#[derive(Clone, Debug)]
pub struct Dit {
    config: DitConfig,
    canvas: Arc<CanvasShape>,
    spec: BackboneSpec,
    device: Device,
    network: Named<Network>,
}

impl Backbone for Dit {
    fn spec(&self) -> BackboneSpec {
        self.spec
    }

    fn canvas(&self) -> &Arc<CanvasShape> {
        &self.canvas
    }

    fn device(&self) -> Device {
        self.device.clone()
    }

    fn forward(&self, batch: &CanvasBatch) -> Result<Prediction> {
        let ModelInput::NoisyVectors(noisy) = &batch.input else {
            return Err(Error::new(ErrorKind::Unsupported, "backbone", "a diffusion model reads noisy vectors"));
        };
        let (network, conditioning) = (&self.network.network, &batch.conditioning);
        let layout = &*conditioning.layout;
        let prefix = layout.canvas().condition_tokens() + layout.context().len();
        let [size, times] = noisy.times.dims();
        let [_, length, channels] = noisy.values.dims();

        // Context stands at timestep 0, one more beside those of the target.
        let zero = Tensor::zeros([size, 1], &noisy.times.device());
        let times_and_zero = Tensor::cat(vec![noisy.times.clone(), zero], 1); // [B, S + 1]
        let time = network.time1.forward(features(times_and_zero));
        let mut c = network.time2.forward(silu(time)); // [B, S + 1, D]
        if let Some(prompt) = network.prompt(conditioning) {
            c = c + network.pooled.forward(prompt);
        }
        if let Some(numbers) = network.numbers.sum(Route::AdaLn, conditioning, &self.device) {
            c = c + numbers;
        }
        let at = std::iter::repeat_n(times, prefix).chain(noisy.at.iter().copied()).collect();
        let condition = Condition { vectors: silu(c), at };

        let (context_positions, positions) = network.places.of(layout)?;
        let context = network.context(conditioning, self.config.self_condition); // [B, G, D]
        let context = context.zip(context_positions).map(|(tokens, positions)| tokens + positions);
        let zeros = || noisy.values.zeros_like();
        let x0_prev = self.config.self_condition.then(|| noisy.x0_prev.clone().unwrap_or_else(zeros));
        let target = network.enter(layout, &noisy.values, &x0_prev) + positions; // [B, L, D]
        let mut x = Tensor::cat(context.into_iter().chain([target]).collect(), 1); // [B, G + L, D]
        if let Some(numbers) = network.numbers.sum(Route::Add, conditioning, &self.device) {
            x = x + numbers;
        }
        let tokens = network.numbers.by(Route::Token, conditioning, &self.device);
        if !tokens.is_empty() {
            x = Tensor::cat(tokens.into_iter().chain([x]).collect(), 1);
        }
        assert_shape!(x, [size, prefix + length, self.config.width]);
        assert_shape!(condition.vectors, [size, times + 1, self.config.width]);
        let rotary = Rotary::new(layout, self.config.width / self.config.heads, &self.device.clone().inner());
        for block in &network.blocks {
            x = block.forward(x, &condition, &rotary);
        }
        let [shift, scale] = condition.modulation(&network.last_modulation);
        let x = modulated_layer_norm(x, shift, scale, &condition.at, EPSILON).slice_dim(1, prefix..prefix + length);
        Ok(Prediction::Vector(network.leave(layout, &x, channels)))
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
    use crate::testing::{prompts, stirred};
    use burn::tensor::TensorData;
    use musiva_core::canvas::NoisyVectors;
    use musiva_core::parameters::to_vec;
    use musiva_core::{RngKey, RngStream, TokenKind, TokenShape};

    fn canvas() -> Arc<CanvasShape> {
        let tokens = TokenShape { grid: [2, 2, 3], kind: TokenKind::Vectors { channels: 5 } };
        Arc::new(CanvasShape::new(3, 7, tokens))
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
        let conditioning = prompts(&canvas(), &[&[1, 2, 0], &[3, 4, 5]], &device);
        let batch = CanvasBatch { conditioning, input: ModelInput::NoisyVectors(noisy) };
        let Prediction::Vector(noisy) = dit.forward(&batch).unwrap() else { panic!("a field") };
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
    fn channels_are_the_tokenizers() {
        let spec = |channels| DitConfig { channels, ..Default::default() }.spec(&canvas());
        let field = BackboneSpec::Diffusion { channels: 5, self_conditioned: true };
        assert_eq!([spec(None).unwrap(), spec(Some(5)).unwrap()], [field; 2]);
        let error = spec(Some(4)).unwrap_err();
        assert_eq!((&*error.path, &*error.hint), ("channels", "set `channels = 5`, or delete this key"));
    }

    #[test]
    fn work_is_the_trunks_and_what_the_gates_and_a_prompt_of_vectors_take() {
        let config = DitConfig { width: 32, depth: 3, heads: 2, ..Default::default() };
        let (trunk, cost) = (config.trunk().cost(&canvas(), 1.0), config.cost(&canvas()));
        // 15 positions, two halves of each of three blocks.
        assert_eq!(cost.activations, trunk.activations + f64::from(3 * 2 * 15 * 32));
        assert_eq!((cost.forward_flops, cost.working_set), (trunk.forward_flops, trunk.working_set));
        // Three vectors of six numbers, through a matrix.
        let mut prompted = CanvasShape::clone(&canvas());
        prompted.tracks[1].tokens.kind = TokenKind::Vectors { channels: 6 };
        assert_eq!(config.cost(&prompted).forward_flops, trunk.forward_flops + f64::from(3 * 6 * 32 * 2));
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
