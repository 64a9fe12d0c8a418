//! Small components that are wrong in all the ways that real ones can be.

use crate::canvas::{CanvasShape, CleanBatch, Route, TrackShape};
use crate::recipe::{Part as RecipePart, Target, TrainSettings, TrainTable, TrainTableKind};
use crate::*;
use burn::tensor::Device;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::{any::Any, sync::Arc};

/// Clips of one shape.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Clips {
    /// Folder of the clips.
    path: String,
    /// Frames of a clip.
    #[schemars(range(min = 1, max = 1024))]
    frames: usize,
    /// Height and width.
    size: [usize; 2],
    /// Whether clips have captions.
    captions: Captions,
}

/// Whether clips have captions.
#[derive(Clone, Copy, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Captions {
    /// All of them.
    Required,
    /// Some.
    Optional,
}

impl Default for Clips {
    fn default() -> Self {
        Self { path: String::new(), frames: 17, size: [64, 64], captions: Captions::Required }
    }
}

impl DatasetConfig for Clips {
    fn errors(&self) -> Vec<ConfigError> {
        let odd = |(i, side): (usize, &usize)| {
            (side % 2 == 1).then(|| {
                ConfigError::new(format!("size[{i}]"), format!("{side} is odd"), format!("write {} there", side + 1))
            })
        };
        self.size.iter().enumerate().filter_map(odd).collect()
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        let clip =
            MediaShape::Clip { frames: self.frames, height: self.size[0], width: self.size[1], rate: Rate::whole(8) };
        (modality == Modality::Video).then_some(clip)
    }

    fn missing(&self) -> Option<ConfigError> {
        (self.path == "recipes/gone").then(|| ConfigError::new("path", "gone", "find it"))
    }

    fn open(&self, _: dataset::Part) -> Result<Arc<dyn Dataset>> {
        unreachable!("no test of the recipe reads data")
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// Blocks of pixels.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Blocks {
    /// Compression in time, rows and columns.
    stride: [usize; 3],
    /// The stages.
    #[schemars(length(max = 3))]
    stages: Vec<Stage>,
    /// What makes tokens.
    quantizer: Quantizer,
    /// Bound in 32 bits.
    slope: f32,
}

/// A stage.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Stage {
    /// Width.
    #[schemars(range(min = 1))]
    channels: usize,
    /// Blocks.
    #[serde(default)]
    blocks: usize,
}

/// What makes tokens.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "lowercase", deny_unknown_fields)]
enum Quantizer {
    /// Signs.
    Lfq {
        /// Digits.
        #[schemars(range(min = 1, max = 24))]
        bits: usize,
    },
    /// Numbers.
    Kl {
        /// Channels.
        channels: usize,
    },
}

impl Default for Blocks {
    fn default() -> Self {
        let stages = vec![Stage { channels: 32, blocks: 1 }];
        Self { stride: [4, 8, 8], stages, quantizer: Quantizer::Lfq { bits: 10 }, slope: 0.1 }
    }
}

impl Blocks {
    fn kind(&self) -> TokenKind {
        match self.quantizer {
            Quantizer::Lfq { bits } => TokenKind::Codes { levels: 1, entries: 1 << bits, bits: Some(bits) },
            Quantizer::Kl { channels } => TokenKind::Vectors { channels },
        }
    }
}

impl TokenizerConfig for Blocks {
    fn errors(&self) -> Vec<ConfigError> {
        match self.stride.contains(&0) {
            true => vec![ConfigError::new("stride", "a stride of 0 goes nowhere", "set `stride = [4, 8, 8]`")],
            false => Vec::new(),
        }
    }

    fn spec(&self) -> TokenizerSpec {
        let (kind, strides) = (self.kind(), self.stride);
        TokenizerSpec { modality: Modality::Video, kind, codes: kind, strides, causal: true, range: [-1.0, 1.0] }
    }

    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        let MediaShape::Clip { frames, height, width, .. } = *media else {
            return Err(ConfigError::new("", "blocks are of clips", ""));
        };
        let [t, h, w] = self.stride;
        if frames % t != 1 % t {
            let message =
                format!("{frames} frames do not fit {t}× causal compression in time, which requires 1 + {t}n");
            return Err(ConfigError::new("frames", message, format!("set `frames = {}`", frames / t * t + 1)));
        }
        if height % h != 0 || width % w != 0 {
            let message = format!("{height} × {width} pixels do not divide into blocks of {h} × {w}");
            return Err(ConfigError::new("size", message, "set `size = [64, 64]`"));
        }
        Ok(TokenShape { grid: [frames.div_ceil(t), height / h, width / w], kind: self.kind() })
    }

    fn parameters(&self) -> usize {
        1000 * self.stages.iter().map(|stage| stage.channels).sum::<usize>()
    }

    fn cost(&self, _: &MediaShape) -> [Cost; 2] {
        [
            Cost { forward_flops: 7.0, activations: 11.0, working_set: 13.0 },
            Cost { forward_flops: 17.0, activations: 19.0, working_set: 2000.0 },
        ]
    }

    fn build(&self, _: &Device, _: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        unreachable!("no test of the recipe builds anything")
    }
}

/// Words of a list.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Words {
    /// Longest prompt.
    #[schemars(range(min = 1))]
    length: usize,
    /// Entries.
    #[schemars(range(min = 2))]
    vocabulary: usize,
}

impl Default for Words {
    fn default() -> Self {
        Self { length: 12, vocabulary: 128 }
    }
}

impl TokenizerConfig for Words {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn spec(&self) -> TokenizerSpec {
        let kind = TokenKind::Codes { levels: 1, entries: self.vocabulary, bits: None };
        TokenizerSpec { modality: Modality::Text, kind, codes: kind, strides: [1; 3], causal: true, range: [0.0; 2] }
    }

    fn shape(&self, _: &MediaShape) -> Result<TokenShape, ConfigError> {
        Ok(TokenShape { grid: [1, 1, self.length], kind: self.spec().kind })
    }

    fn parameters(&self) -> usize {
        0
    }

    fn cost(&self, _: &MediaShape) -> [Cost; 2] {
        [Cost::default(); 2]
    }

    fn build(&self, _: &Device, _: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        unreachable!("no test of the recipe builds anything")
    }
}

/// A Transformer of either kind.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields, bound = "")]
struct Trunk<const CAUSAL: bool> {
    /// Width.
    #[schemars(range(min = 1, max = 16384))]
    width: usize,
    /// Heads.
    #[schemars(range(min = 1))]
    heads: usize,
    /// Share of what is dropped.
    #[schemars(range(min = 0.0, max = 1.0))]
    dropout: f64,
    /// Longest codebook.
    entries: Option<usize>,
    /// Whether norms have scales.
    scales: bool,
}

/// The track of the clip.
fn clip(canvas: &CanvasShape) -> Option<&TrackShape> {
    canvas.track(Modality::Video.track())
}

impl<const CAUSAL: bool> Default for Trunk<CAUSAL> {
    fn default() -> Self {
        Self { width: 128, heads: 4, dropout: 0.0, entries: None, scales: true }
    }
}

impl<const CAUSAL: bool> BackboneConfig for Trunk<CAUSAL> {
    fn errors(&self) -> Vec<ConfigError> {
        if self.width.is_multiple_of(self.heads) {
            return Vec::new();
        }
        let (width, heads) = (self.width, self.heads);
        let message = format!("{heads} heads do not divide a width of {width}");
        vec![ConfigError::new("heads", message, format!("set `heads = 4`, or `width = {}`", width / heads * heads))]
    }

    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        let kind = clip(canvas).map(|track| track.tokens.kind);
        match (CAUSAL, kind.ok_or_else(|| ConfigError::new("", "there are no clips", "add `[tokenizer.video]`"))?) {
            (true, TokenKind::Codes { entries, .. }) if self.entries.is_some_and(|most| entries > most) => {
                let message = format!("codes of {entries} entries, the vocabulary ends at {}", self.entries.unwrap());
                Err(ConfigError::new("entries", message, format!("set `entries = {entries}`")))
            }
            (true, TokenKind::Codes { .. }) => Ok(BackboneSpec::NextToken),
            (true, kind) => {
                let message = format!("it predicts codes, the video tokenizer makes {kind}");
                Err(ConfigError::new("", message, "use a discrete tokenizer, or `backbone.kind = \"field\"`"))
            }
            (false, kind) => {
                let channels = kind.channels().unwrap();
                Ok(BackboneSpec::Diffusion { channels, self_conditioned: false })
            }
        }
    }

    fn routes(&self) -> &'static [Route] {
        &[Route::Add]
    }

    fn parameters(&self, canvas: &CanvasShape) -> usize {
        let rows = |track: &TrackShape| match track.tokens.kind {
            TokenKind::Codes { entries, .. } => entries,
            TokenKind::Vectors { channels } => channels,
        };
        12 * self.width * self.width + canvas.track("text").map_or(0, rows) * self.width
    }

    fn cost(&self, canvas: &CanvasShape) -> Cost {
        let length = canvas.length() as f64;
        Cost { forward_flops: 100.0 * length, activations: 10.0 * length, working_set: length }
    }

    fn build(&self, _: &Arc<CanvasShape>, _: &Device, _: &WeightInit) -> Result<Box<dyn Backbone>> {
        unreachable!("no test of the recipe builds anything")
    }
}

/// Guesses the next token.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Next {}

/// Straight lines or circles from data to noise.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Flow {
    /// The way.
    noise: Noise,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
enum Noise {
    Straight,
    Cosine,
}

impl Default for Flow {
    fn default() -> Self {
        Self { noise: Noise::Straight }
    }
}

impl Objective for Next {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec) -> Result<(), ConfigError> {
        match backbone {
            BackboneSpec::NextToken | BackboneSpec::Masked => Ok(()),
            BackboneSpec::Diffusion { .. } => {
                Err(ConfigError::new("", "it wants logits, the backbone predicts a field", "set `kind = \"flow\"`"))
            }
        }
    }

    fn process(&self) -> Option<Process> {
        None
    }

    fn loss(&self, _: &dyn Backbone, _: &CleanBatch, _: RngKey) -> Result<Loss> {
        unreachable!("no test of the recipe trains anything")
    }
}

impl Objective for Flow {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec) -> Result<(), ConfigError> {
        match backbone {
            BackboneSpec::Diffusion { .. } => Ok(()),
            BackboneSpec::NextToken | BackboneSpec::Masked => {
                Err(ConfigError::new("", "it wants a field, the backbone predicts logits", "set `kind = \"next\"`"))
            }
        }
    }

    fn process(&self) -> Option<Process> {
        Some(match self.noise {
            Noise::Straight => Process::new(schedule::Straight, Predicts::Velocity),
            Noise::Cosine => Process::new(schedule::Cosine, Predicts::Velocity),
        })
    }

    fn loss(&self, _: &dyn Backbone, _: &CleanBatch, _: RngKey) -> Result<Loss> {
        unreachable!("no test of the recipe trains anything")
    }

    fn forwards(&self) -> f64 {
        1.5
    }
}

/// Steps along the field, or picks token after token.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(bound = "")]
struct Steps<const CAUSAL: bool>(Settings);

/// What both kinds of steps have.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Settings {
    /// How many.
    #[schemars(range(min = 1))]
    steps: usize,
    /// How strange the picks may be.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    temperature: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Self { steps: 20, temperature: 1.0 }
    }
}

impl<const CAUSAL: bool> Sampler for Steps<CAUSAL> {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec, process: Option<&Process>) -> Result<(), ConfigError> {
        match (CAUSAL, backbone) {
            (true, BackboneSpec::Diffusion { .. }) => {
                let message = "it picks token after token, the backbone predicts a field for all at once";
                Err(ConfigError::new("", message, "set `sampler.kind = \"euler\"`"))
            }
            (false, BackboneSpec::NextToken) => Err(ConfigError::new(
                "",
                "it steps along a field, the backbone predicts logits",
                "set `sampler.kind = \"picks\"`",
            )),
            (false, _) if process.is_some_and(|process| process.schedule.family() != Family::Straight) => {
                let message = "it follows straight lines, the objective's way to noise is a cosine";
                Err(ConfigError::new("", message, "set `objective.noise = \"straight\"`"))
            }
            _ => Ok(()),
        }
    }

    fn forwards(&self, _: &CanvasShape) -> f64 {
        2.0 * self.0.steps as f64
    }

    fn begin(&self, _: &dyn Backbone, _: Option<&Process>, _: &SampleRequest) -> Result<Box<dyn Sampling>> {
        unreachable!("no test of the recipe samples anything")
    }
}

/// `[train.loss]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Penalty {
    /// Weight of the absolute error.
    #[schemars(range(min = 0.0))]
    pub l1: f64,
}

impl Default for Penalty {
    fn default() -> Self {
        Self { l1: 1.0 }
    }
}

impl TrainTable for Penalty {
    fn key(&self) -> &'static str {
        "loss"
    }
}

/// `[train.rival]`, of tokenizers of clips alone, and of those whose kind is not `words`.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rival {
    /// First step.
    start: usize,
}

impl TrainTable for Rival {
    fn key(&self) -> &'static str {
        "rival"
    }

    fn errors(&self, train: &TrainSettings) -> Vec<ConfigError> {
        let late = ConfigError::new("start", "it starts after the last step", format!("set `start = {}`", train.steps));
        let backbone = ConfigError::new("", "a rival is for a tokenizer", "delete this table");
        [(self.start > train.steps, late), (train.target == Target::Backbone, backbone)]
            .into_iter()
            .filter_map(|(wrong, error)| wrong.then_some(error))
            .collect()
    }

    fn unfit(&self, tokenizer: &RecipePart<dyn TokenizerConfig>) -> Option<ConfigError> {
        let found = format!("`{}` of {} has no rival", tokenizer.kind, tokenizer.section);
        (self.start == 7).then(|| ConfigError::new("start", found, "set `start = 8`"))
    }
}

/// A tokenizer of clips that does not know what it is until a stride is named.
pub fn unfinished() -> Component {
    let schema = schemars::schema_for!(Blocks).into();
    let make = Make::Tokenizer(|_| Ok(Box::new(Blocks { stride: [0; 3], ..Blocks::default() })));
    let (kind, summary, origin) = ("unfinished", "blocks without a stride", "the tests".to_owned());
    Component { kind, summary, origin, schema, learns: true, make }
}

/// One of everything.
pub fn registry() -> Registry {
    let mut registry = Registry::default();
    let mut add = |kind, summary, schema: schemars::Schema, learns, make| {
        let origin = "the tests".to_owned();
        registry.register(Component { kind, summary, origin, schema: schema.into(), learns, make }).unwrap();
    };
    macro_rules! make {
        ($role:ident, $config:ty) => {
            (schemars::schema_for!($config), Make::$role(|v| Ok(Box::new(serde_json::from_value::<$config>(v)?))))
        };
    }
    let (schema, make) = make!(Dataset, Clips);
    add("clips", "clips of one shape", schema, false, make);
    let (schema, make) = make!(Tokenizer, Blocks);
    add("blocks", "blocks of pixels", schema, true, make);
    let (schema, make) = make!(Tokenizer, Words);
    add("words", "words of a list", schema, true, make);
    let (schema, make) = make!(Backbone, Trunk<true>);
    add("causal", "predicts the next token", schema, true, make);
    let (schema, make) = make!(Backbone, Trunk<false>);
    add("field", "predicts a field", schema, true, make);
    let (schema, make) = make!(Objective, Next);
    add("next", "guesses the next token", schema, false, make);
    let (schema, make) = make!(Objective, Flow);
    add("flow", "straight lines or circles", schema, false, make);
    let (schema, make) = make!(Sampler, Steps<true>);
    add("picks", "token after token", schema, false, make);
    let (schema, make) = make!(Sampler, Steps<false>);
    add("euler", "steps along the field", schema, false, make);
    registry.register_train_table(TrainTableKind::always::<Penalty>("What is penalised.")).unwrap();
    registry.register_train_table(TrainTableKind::optional::<Rival>("Who judges.")).unwrap();
    registry
}
