//! The contract between components: built-ins and plugins stand behind the same traits.
//!
//! Each kind of component comes in two states. Its *configuration* is what a recipe wrote: it is
//! checked, and answers everything that `check` prints (shapes, parameters, work) without touching
//! a weight. *Built* on a device, it has weights and computes.

use crate::canvas::{CanvasBatch, CanvasShape, CleanBatch, Conditioning, PositionOrder, Prediction, Route, Values};
use crate::parameters::open_weights;
use crate::recipe::TrainSettings;
use crate::{
    ConfigError, Error, ErrorKind, Init, Media, MediaShape, Output, Parameters, Process, Result, RngKey, SampleRequest,
    Schedule, TokenKind, TokenShape, Tokens, Weights,
};
use burn::tensor::{Device, Int, Tensor};
use std::{collections::BTreeMap, ops::Range, path::PathBuf, sync::Arc};

/// Which part of the road a component is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Where clips and captions come from: `[data]`.
    Dataset,
    /// Media ⇄ tokens: `[tokenizer.video]`, `[tokenizer.audio]`, `[tokenizer.text]`.
    Tokenizer,
    /// The Transformer: `[backbone]`.
    Backbone,
    /// The training loss of a backbone: `[objective]`.
    Objective,
    /// How signal and noise are mixed on the way from data to noise: `[schedule]`.
    Schedule,
    /// How predictions become tokens: `[sampler]`.
    Sampler,
    /// How clips and sounds come of pieces: `[program]`.
    Program,
    /// A measure of samples, beside those that are always taken: `[[metric]]`.
    Metric,
}

/// Work and memory of a component for one sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// Floating-point operations of one forward pass (a multiplication and an addition are two).
    pub forward_flops: f64,
    /// Numbers that training has to keep from the forward pass for the backward pass.
    pub activations: f64,
    /// Numbers alive at once in a forward pass without training.
    pub working_set: f64,
}

/// Where a built component's learned numbers come from.
#[derive(Clone, Debug)]
pub enum WeightInit {
    /// From a random start with this seed.
    Seed(u64),
    /// From a file.
    File(PathBuf),
}

impl WeightInit {
    /// What a network is made with, before [`WeightInit::load`].
    pub fn init(&self, device: &Device) -> Init {
        match self {
            Self::Seed(seed) => Init::new(*seed, device),
            Self::File(_) => Init::blank(device),
        }
    }

    /// Sets the numbers of `network` to those of the file, where the source is one.
    ///
    /// # Errors
    /// Where the file cannot be read, or is of another model.
    pub fn load(&self, network: &mut dyn Parameters) -> Result<()> {
        match self {
            Self::Seed(_) => Ok(()),
            Self::File(path) => network.load(&open_weights(path)?.0, &path.display().to_string()),
        }
    }
}

/// What a tokenizer is, in the words of the contract.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenizerSpec {
    /// What it reads and makes.
    pub modality: Modality,
    /// What one of its tokens is.
    pub kind: TokenKind,
    /// What its tokens are counted by in bits and in the use of codebooks: `kind`, or the codes that vectors stand for.
    pub codes: TokenKind,
    /// How many input steps `[t, h, w]` one token stands for: frames, rows and columns; samples, 1, 1 of
    /// sound; 1, 1, 1 of text.
    pub strides: [usize; 3],
    /// Whether a token depends on no later input.
    pub causal: bool,
    /// The range of the numbers that its network reads and makes.
    pub range: [f32; 2],
}

/// A kind of medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Modality {
    /// Clips and images.
    Video,
    /// Sound.
    Audio,
    /// Text.
    Text,
}

impl Modality {
    /// What it is made of, in words: "clips".
    pub fn plural(self) -> &'static str {
        match self {
            Self::Video => "clips",
            Self::Audio => "sounds",
            Self::Text => "text",
        }
    }

    /// The track of a canvas that is of this modality unless a recipe says more.
    pub fn track(self) -> &'static str {
        match self {
            Self::Video => "video",
            Self::Audio => "audio",
            Self::Text => "text",
        }
    }

    /// The section of a recipe whose tokenizer is of this modality.
    pub fn section(self) -> &'static str {
        match self {
            Self::Video => "tokenizer.video",
            Self::Audio => "tokenizer.audio",
            Self::Text => "tokenizer.text",
        }
    }
}

/// A tokenizer as a recipe configures it.
pub trait TokenizerConfig: Send + Sync {
    /// What is wrong with the configuration by itself, all at once.
    fn errors(&self) -> Vec<ConfigError>;
    /// What the tokenizer will be.
    fn spec(&self) -> TokenizerSpec;
    /// The tokens that media of this shape become; an error (relative to the *medium*, e.g. `frames`)
    /// where they do not fit.
    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError>;
    /// How many numbers it learns.
    fn parameters(&self) -> usize;
    /// Work of encoding and decoding media of this shape, in this order.
    fn cost(&self, media: &MediaShape) -> [Cost; 2];
    /// Why it cannot be trained, if it cannot.
    fn trains(&self) -> Result<(), ConfigError> {
        Ok(())
    }
    /// Why it cannot be trained as `[train]` says; the path is relative to `[train]`.
    fn unfit(&self, _train: &TrainSettings) -> Option<ConfigError> {
        None
    }
    /// Keys of its configuration, dotted, that change nothing of what its weights mean.
    fn neutral(&self) -> &'static [&'static str] {
        &[]
    }
    /// Whether it takes the noise out of what it encodes; `None` where it has no switch for that.
    fn denoises(&self) -> Option<bool> {
        None
    }
    /// The weights with which it treats each frame as a tokenizer of single frames with these `_weights` does.
    ///
    /// # Errors
    /// Where they are of another tokenizer, or this one cannot begin so.
    fn inflate(&self, _weights: Weights) -> Result<Weights> {
        let message = "this tokenizer cannot start from weights of single frames";
        Err(Error::new(ErrorKind::Unsupported, "train.inflate", message).hint("delete this key"))
    }
    /// Builds it on a device. On an autodiff device it can be trained.
    fn build(&self, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Tokenizer>>;
}

/// Media ⇄ tokens.
pub trait Tokenizer: Send {
    /// What it is.
    fn spec(&self) -> &TokenizerSpec;
    /// Media to tokens.
    ///
    /// # Errors
    /// Where the media do not fit, as [`TokenizerConfig::shape`] would have said.
    fn encode(&self, media: &Media) -> Result<Tokens>;
    /// Many media to tokens: what [`Tokenizer::encode`] makes of each, at less cost where they can be one batch.
    ///
    /// # Errors
    /// As [`Tokenizer::encode`] of the first that fails.
    fn encode_all(&self, media: &[Media]) -> Result<Vec<Tokens>> {
        media.iter().map(|media| self.encode(media)).collect()
    }
    /// The beginning of a text that it has room for; `None`: it has room for all of it, as here.
    ///
    /// # Errors
    /// Where it is no text that it reads.
    fn shortened(&self, text: &str) -> Result<Option<String>> {
        let _ = text;
        Ok(None)
    }
    /// Tokens to media.
    fn decode(&self, tokens: &Tokens) -> Result<Media>;
    /// Starts on media that come piece by piece, where it can: the tokens of all pieces together are those of
    /// the whole.
    fn encoding(&self) -> Option<Box<dyn Encoding + '_>> {
        None
    }
    /// Starts on tokens that come piece by piece, where it can: the media of all pieces together are those of
    /// the whole.
    fn decoding(&self) -> Option<Box<dyn Decoding + '_>> {
        None
    }
    /// Its learned numbers, where it has any.
    fn learned(&self) -> Option<&dyn Parameters> {
        None
    }
    /// The trainable side, where it has one.
    fn trainable(&mut self) -> Option<&mut dyn TrainableTokenizer> {
        None
    }
}

/// Media on their way to tokens, piece by piece.
pub trait Encoding {
    /// The tokens of the next piece, which is a whole number of tokens long: of clips `1 + n·t` frames at first, then
    /// `n·t`, with `t` the stride over frames; of sounds a whole number of hops.
    ///
    /// # Errors
    /// Where the piece does not fit.
    fn push(&mut self, piece: &Media) -> Result<Tokens>;
    /// Whether noise is to be taken out of the pieces to come; false where there is no switch for that.
    fn denoise(&mut self, _on: bool) -> bool {
        false
    }
}

/// Tokens on their way to media, piece by piece.
pub trait Decoding {
    /// The media of the next tokens, a whole number of steps of the grid's first side.
    ///
    /// # Errors
    /// Where the tokens are of another kind.
    fn push(&mut self, piece: &Tokens) -> Result<Media>;
}

/// A tokenizer while it is trained. Losses are no part of it: they see [`Reconstruction`].
pub trait TrainableTokenizer {
    /// A batch of media in the tokenizer's range, through it and back: clips `[B, T, H, W, 3]`, sounds
    /// `[B, T, 1, 1, C]`. What is drawn on the way (levels left out) is drawn from `draw`.
    /// Not to `quantize` lets the latents pass as they are, to warm up a decoder before codebooks start.
    fn reconstruct(&self, media: Tensor<5>, quantize: bool, key: RngKey) -> Reconstruction;
    /// The same with noise to be taken out where `_denoise_flag`, `[B, L]`, is 1 and not 0, where there is a switch for that.
    fn reconstruct_denoising(
        &self,
        media: Tensor<5>,
        _denoise_flag: Tensor<2>,
        quantize: bool,
        key: RngKey,
    ) -> Reconstruction {
        self.reconstruct(media, quantize, key)
    }
    /// Lets learned codebooks follow the batch that `made` is of: what moving averages teach and no
    /// gradient. Nothing where there are none.
    fn update_ema(&mut self, _made: &Quantized, _key: RngKey) {}
    /// Once, when training ends: lets the vectors of tokens like these have mean 0 and deviation 1, as diffusion wants them.
    /// Nothing where tokens are codes, or vectors of unit size already.
    fn standardize(&mut self, _tokens: &[Tokens]) {}
    /// Its numbers, to change.
    fn parameters_mut(&mut self) -> &mut dyn Parameters;
}

/// What a tokenizer made of a batch while training.
#[derive(Clone, Debug)]
pub struct Reconstruction {
    /// The media made again, of the shape that they had.
    pub media: Tensor<5>,
    /// What its quantizer made of the latents, and what its losses are computed from.
    pub quantized: Quantized,
}

/// Latents on their way through a quantizer in training.
#[derive(Clone, Debug)]
pub struct Quantized {
    /// What the decoder reads, `[B·L, C]`: its gradient passes straight through to the latents.
    pub vectors: Tensor<2>,
    /// The latents before quantization, or the mean of a KL latent: `[B·L, C]`.
    pub latents: Tensor<2>,
    /// Log-variance of a KL latent, `[B·L, C]`; `None` where the tokens are codes.
    pub log_variance: Option<Tensor<2>>,
    /// The codes of `Q` levels (1 of most), `[B·L, Q]`, where the tokens are codes; -1 where a level
    /// was left out.
    pub codes: Option<Tensor<2, Int>>,
    /// Mean squared distance of the latents to what stands for them, where it is to be made small.
    pub commitment: Option<Tensor<1>>,
    /// The bits of codes that are made of signs.
    pub bits: Option<SoftBits>,
}

impl Quantized {
    /// Latents that pass as they are: of `[N, C·m]` the first `channels`.
    pub fn free(latents: Tensor<2>, channels: usize) -> Self {
        let latents = latents.slice_dim(1, 0..channels);
        Self { vectors: latents.clone(), latents, log_variance: None, codes: None, commitment: None, bits: None }
    }
}

/// Numbers whose signs are the bits of a code: by the entropies of these bits training makes each
/// code sure and all codes used.
#[derive(Clone, Debug)]
pub struct SoftBits {
    /// `[B·L, bits]`: a bit is one with probability `σ(4z/τ)` at temperature `τ`.
    pub z: Tensor<2>,
    /// How many bits have their joint entropy over a batch taken; more are taken in groups of as many,
    /// as if the groups were independent.
    pub group: usize,
}

/// What a backbone is, in the words of the contract.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BackboneSpec {
    /// Reads codes, predicts logits of the *next* one: the attention is causal after the prompt.
    NextToken,
    /// Reads codes of which some are hidden, predicts logits of those: every position sees every other.
    Masked,
    /// Reads noisy vectors of this many channels and predicts a vector for each, all at once.
    Diffusion {
        /// Length of the vectors.
        channels: usize,
        /// Whether it takes a guess of the clean vectors beside the noisy ones.
        self_conditioned: bool,
    },
}

/// A backbone as a recipe configures it.
pub trait BackboneConfig: Send + Sync {
    /// What is wrong with the configuration by itself, all at once.
    fn errors(&self) -> Vec<ConfigError>;
    /// What the backbone will be on such a canvas, or why the two do not fit.
    fn spec(&self, canvas: &CanvasShape) -> Result<BackboneSpec, ConfigError>;
    /// In which order it wants the positions of a canvas.
    fn order(&self) -> PositionOrder {
        PositionOrder::InTime
    }
    /// Keys of its configuration, dotted, that change nothing of what its weights mean.
    fn neutral(&self) -> &'static [&'static str] {
        &[]
    }
    /// Whether its weights are of canvases of these lengths and sizes alone.
    fn lengths_are_fixed(&self) -> bool {
        true
    }
    /// By which routes it takes numbers in ([`ConditionShape`](crate::canvas::ConditionShape)).
    fn routes(&self) -> &'static [Route] {
        &[]
    }
    /// How many digits it factorises the codes of a single codebook into.
    fn factors(&self) -> usize {
        1
    }
    /// How many numbers it learns on such a canvas.
    fn parameters(&self, canvas: &CanvasShape) -> usize;
    /// Work of one forward pass over the whole canvas.
    fn cost(&self, canvas: &CanvasShape) -> Cost;
    /// Why it cannot be trained, if it cannot.
    fn trains(&self) -> Result<(), ConfigError> {
        Ok(())
    }
    /// Builds it on a device. On an autodiff device it can be trained.
    fn build(&self, canvas: &Arc<CanvasShape>, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Backbone>>;
}

/// The Transformer: canvas in, a prediction for each element out.
pub trait Backbone: Send {
    /// What it is.
    fn spec(&self) -> BackboneSpec;
    /// The canvas it was built for.
    fn canvas(&self) -> &Arc<CanvasShape>;
    /// Where it computes.
    fn device(&self) -> Device;
    /// A prediction for each of the `L` elements that are to be generated.
    ///
    /// # Errors
    /// Where the input is of another kind than [`Backbone::spec`] says, or a plugin fails.
    fn forward(&self, batch: &CanvasBatch) -> Result<Prediction>;
    /// Starts incremental decoding after the context; `None` where the backbone cannot.
    ///
    /// # Errors
    /// As [`Backbone::forward`].
    fn session(&self, conditioning: Conditioning) -> Result<Option<Box<dyn Session>>>;
    /// Its numbers.
    fn parameters(&self) -> &dyn Parameters;
    /// Its numbers, to change.
    fn parameters_mut(&mut self) -> &mut dyn Parameters;
    /// The same backbone without gradients, sharing its numbers.
    fn frozen(&self) -> Box<dyn Backbone>;
}

/// Incremental decoding with cached keys and values, element by element ([`Layout::elements`](crate::Layout::elements)).
pub trait Session: Send {
    /// Which digits the next element has.
    fn digits(&self) -> Range<usize>;
    /// Logits `[B, K]` of the next element's next digit, where `picked` are those of its digits that are picked already,
    /// `[B]` each: of a factorised vocabulary later digits depend on earlier ones.
    ///
    /// # Errors
    /// Where a plugin fails.
    fn logits(&self, picked: &[Vec<u32>]) -> Result<Tensor<2>>;
    /// Goes on by the picked digits of the next element, `[B]` each.
    ///
    /// # Errors
    /// Where a plugin fails.
    fn push(&mut self, picked: &[Vec<u32>]) -> Result<()>;
}

/// A loss and what it is made of, for the log.
#[derive(Clone, Debug)]
pub struct Loss {
    /// What is minimised, one number.
    pub total: Tensor<1>,
    /// Its parts and other measures by name.
    pub parts: Vec<(&'static str, Tensor<1>)>,
}

/// The negative log-likelihood of a batch's target tokens under a model, `-log₂ p` in bits. The tokens are codes; vectors have
/// densities, which are another unit.
#[derive(Clone, Debug, PartialEq)]
pub struct Bits {
    /// Of each track that has target tokens, its number and the bits of all of them together, sample by sample, `[B]`.
    pub tracks: Vec<(usize, Vec<f64>)>,
    /// What these numbers are.
    pub kind: BitsKind,
}

/// What numbers of bits are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum BitsKind {
    /// The negative log-likelihood itself.
    Exact,
    /// Unbiased estimates of an upper bound of it, a NELBO: their expectation is no less than the negative log-likelihood.
    UpperBound,
}

/// The training loss of a backbone.
pub trait Objective: Send + Sync {
    /// What is wrong with the configuration by itself.
    fn errors(&self) -> Vec<ConfigError>;
    /// Why this objective cannot train such a backbone, if it cannot.
    fn fits(&self, backbone: &BackboneSpec) -> Result<(), ConfigError>;
    /// How the field's times and predictions are to be read, where the objective has such a thing:
    /// a sampler must agree with it.
    fn process(&self) -> Option<Process>;
    /// The same objective with another noise schedule than its own; by default it has none.
    ///
    /// # Errors
    /// Where it cannot go by this schedule; the error is at a key of `[schedule]`.
    fn with_schedule(&self, _schedule: Arc<dyn Schedule>) -> Result<Arc<dyn Objective>, ConfigError> {
        Err(ConfigError::new("kind", "the objective mixes no noise, so it takes no schedule", "delete `[schedule]`"))
    }
    /// Keys of its configuration that change what the backbone's predictions stand for.
    fn meaning(&self) -> &'static [&'static str] {
        &[]
    }
    /// How far apart on their way the frames of a sample may stand: 0 for all side by side, 1 for one frame after the
    /// other. A sampler may have them as far apart, and no farther.
    fn frame_offset(&self) -> f32 {
        0.0
    }
    /// The loss of a batch at `draw.step`.
    fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss>;
    /// The negative log-likelihood of a batch's target tokens, without guidance and with nothing dropped; `None` where they
    /// are vectors, and by default. Of an estimate this is the `draw`th of `draws`, which are stratified: their mean varies
    /// less than that of as many independent ones.
    ///
    /// # Errors
    /// As [`loss`](Self::loss).
    fn bits(
        &self,
        _backbone: &dyn Backbone,
        _batch: &CleanBatch,
        _key: RngKey,
        [_draw, _draws]: [u64; 2],
    ) -> Result<Option<Bits>> {
        Ok(None)
    }
    /// How many forward passes a training step takes, on average.
    fn forwards(&self) -> f64 {
        1.0
    }
}

/// Tokens in the making: one step at a time, so that progress, previews, streaming and cancelling
/// come for free.
pub trait Sampling: Send {
    /// How many steps are done, and how many there are.
    fn progress(&self) -> (usize, usize);
    /// Goes on by one step.
    fn step(&mut self, backbone: &dyn Backbone) -> Result<()>;
    /// The tokens at the positions that are to be generated, of each sample; whole once all steps are done.
    fn tokens(&self) -> Result<Vec<Values>>;
}

/// How predictions become tokens.
pub trait Sampler: Send + Sync {
    /// What is wrong with the configuration by itself.
    fn errors(&self) -> Vec<ConfigError>;
    /// Why this sampler cannot drive such a backbone trained by such a process, if it cannot.
    fn fits(&self, backbone: &BackboneSpec, process: Option<&Process>) -> Result<(), ConfigError>;
    /// How many forward passes over the whole canvas one sample takes, guidance included.
    fn forwards(&self, canvas: &CanvasShape) -> f64;
    /// How many evaluations of the backbone have to wait for each other: guidance is another row of the same one.
    fn depth(&self, canvas: &CanvasShape) -> usize {
        self.forwards(canvas).ceil() as usize
    }
    /// How far apart it has the frames of a sample, as [`Objective::frame_offset`].
    fn frame_offset(&self) -> f32 {
        0.0
    }
    /// Why it cannot go on from an [`SampleRequest::start`], if it cannot. Who can walks [`SampleRequest::left`] of its way.
    fn edits(&self) -> Result<(), ConfigError> {
        Err(ConfigError::new(
            "kind",
            "this sampler makes everything from nothing",
            "name a sampler that can change a clip",
        ))
    }
    /// Starts. Of an order with a start only samplers that edit are asked.
    fn begin(
        &self,
        backbone: &dyn Backbone,
        process: Option<&Process>,
        order: &SampleRequest,
    ) -> Result<Box<dyn Sampling>>;
}

/// A measure of samples as a recipe configures it.
pub trait MetricConfig: Send + Sync {
    /// What is wrong with the configuration by itself.
    fn errors(&self) -> Vec<ConfigError>;
    /// A new one, which has seen no samples.
    fn build(&self) -> Result<Box<dyn Metric>>;
}

/// A sample as a metric sees it.
#[derive(Clone, Copy, Debug)]
pub struct MetricSample<'a> {
    /// What was generated or reconstructed.
    pub made: &'a Output,
    /// What the task was given as a whole, such as the clip whose sound was generated.
    pub given: &'a Output,
    /// The real sample: all of it. Its clip has the shape of the one that was made.
    pub reference: &'a Output,
    /// Its caption.
    pub caption: &'a str,
}

/// A measure that grows sample by sample.
pub trait Metric: Send {
    /// Takes one more sample. What it cannot measure of it, it ignores.
    fn update(&mut self, sample: MetricSample) -> Result<()>;
    /// Its numbers by name, all finite; none where no sample had what it measures.
    fn result(&mut self) -> Result<BTreeMap<String, f64>>;
}
