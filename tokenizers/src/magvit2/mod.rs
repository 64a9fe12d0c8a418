//! MAGVIT-v2's video tokenizer: a causal 3-D convolutional autoencoder round a quantizer.
//!
//! Yu et al., "Language Model Beats Diffusion: Tokenizer is Key to Visual Generation", ICLR 2024.
//! An image is the first frame alone: `1 + n·s` frames become `1 + n` latent frames. Left out of the
//! paper's body: adaptive group norm in the decoder, and group norm (which would mix frames) for a
//! norm over channels.

mod inflate;
mod layers;
mod network;
#[cfg(test)]
mod tests;

use crate::past::Past;
use crate::quantizers::{AnyQuantizer, Quantizer, QuantizerConfig};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Clip, Cost, Decoding, Draw, Encoding, Error, ErrorKind, Flaw, Init, Media, MediaShape, Modality, Parameters,
    Quantized, Rate, Reconstruction, Result, Source, TokenShape, Tokenizer, TokenizerConfig, TokenizerSpec, Tokens,
    TrainableTokenizer, Weights,
};
use network::{Decoder, Encoder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Places of the latents that are computed at once.
const PIECE: usize = 1 << 10;
const SECTION: &str = "tokenizer.video";

/// What a recipe says of a `kind = "magvit2"` tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Magvit2Config {
    /// Side of the square of pixels that becomes one place before the first convolution.
    #[schemars(range(min = 1, max = 16))]
    pub patch: usize,
    /// The encoder's stages from the pixels to the latents; the decoder mirrors them.
    #[schemars(length(min = 1, max = 12))]
    pub stages: Vec<Stage>,
    /// What turns latents into tokens.
    pub quantizer: QuantizerConfig,
}

/// One resolution of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stage {
    /// Width.
    #[schemars(range(min = 1, max = 4096))]
    pub channels: usize,
    /// Residual blocks.
    #[schemars(range(max = 64))]
    pub blocks: usize,
    /// Extent of the kernels in time: 1 sees single frames, 3 sees two frames back.
    #[schemars(range(min = 1, max = 3))]
    pub frames: usize,
    /// How many frames, rows and columns become one on the way to the next stage, `[t, h, w]`, each
    /// 1 or 2; `[1, 1, 1]` for the last stage.
    #[serde(default = "no_stride")]
    pub down: [usize; 3],
}

fn no_stride() -> [usize; 3] {
    [1; 3]
}

impl Default for Magvit2Config {
    fn default() -> Self {
        let stage = |channels, blocks, frames, down| Stage { channels, blocks, frames, down };
        Self {
            patch: 4,
            stages: vec![
                stage(32, 1, 1, [1, 2, 2]),
                stage(48, 1, 3, [2, 1, 1]),
                stage(64, 1, 3, [2, 1, 1]),
                stage(96, 2, 3, [1; 3]),
            ],
            quantizer: QuantizerConfig::default(),
        }
    }
}

impl Magvit2Config {
    /// Frames, rows and columns of a clip that one token stands for.
    pub fn strides(&self) -> [usize; 3] {
        let steps = self.stages.iter().rev().skip(1);
        steps.fold([1, self.patch, self.patch], |[t, h, w], s| [t * s.down[0], h * s.down[1], w * s.down[2]])
    }

    /// Each stage with the one after it.
    fn steps(&self) -> impl Iterator<Item = (&Stage, Option<&Stage>)> {
        self.stages.iter().enumerate().map(|(i, stage)| (stage, self.stages.get(i + 1)))
    }

    fn network(&self, init: &Init) -> Network {
        let channels = self.quantizer.channels();
        Network {
            encoder: Encoder::new(self, channels * self.quantizer.moments(), &init.part("encoder")),
            decoder: Decoder::new(self, channels, &init.part("decoder")),
            quantizer: self.quantizer.init(&init.part("quantizer")),
        }
    }

    /// Multiplications of one convolution pass at each stage, encoder or decoder alike, and the
    /// numbers that its activations hold.
    fn work(&self, [frames, height, width]: [usize; 3]) -> Cost {
        let (mut flops, mut kept, mut widest) = (0.0, 0.0, 0.0f64);
        let mut size = [frames, height / self.patch, width / self.patch];
        let first = self.stages[0];
        let places = |size: [usize; 3]| size.iter().product::<usize>() as f64;
        let kernel = |stage: &Stage| (stage.frames * 9) as f64;
        flops += 2.0 * places(size) * kernel(&first) * (3 * self.patch * self.patch * first.channels) as f64;
        for (stage, next) in self.steps() {
            let (c, n) = (stage.channels as f64, places(size));
            flops += 2.0 * n * kernel(stage) * c * c * 2.0 * stage.blocks as f64;
            // Of a residual block: its input, what its two norms give, and the first convolution.
            kept += 4.0 * n * c * stage.blocks as f64;
            widest = widest.max(4.0 * n * c);
            if let Some(next) = next {
                let [t, h, w] = stage.down;
                size = [size[0].div_ceil(t), size[1] / h, size[2] / w];
                let k = stage.down.iter().map(|&s| if s > 1 { 3.0 } else { 1.0 }).product::<f64>();
                flops += 2.0 * places(size) * k * c * next.channels as f64;
                kept += 2.0 * n * c;
            }
        }
        // Of the loss: the difference, its absolute, its square, both weighted.
        kept += 5.0 * 3.0 * places([frames, height, width]);
        Cost { forward_flops: flops, activations: kept, working_set: widest }
    }
}

impl TokenizerConfig for Magvit2Config {
    fn flaws(&self) -> Vec<Flaw> {
        let mut flaws = self.quantizer.flaws();
        for (i, (stage, next)) in self.steps().enumerate() {
            if stage.frames != 1 && stage.frames != 3 {
                let message = format!("a causal kernel spans 1 or 3 frames, not {}", stage.frames);
                flaws.push(Flaw::new(format!("stages.{i}.frames"), message, "set `frames = 3`"));
            }
            if stage.down.iter().any(|&s| s != 1 && s != 2) {
                let message = format!("a stage halves or keeps, it cannot divide by {:?}", stage.down);
                flaws.push(Flaw::new(format!("stages.{i}.down"), message, "use 1s and 2s, in more stages"));
            }
            if next.is_none() && stage.down != [1; 3] {
                let message = format!("the last stage has no next one to go down to by {:?}", stage.down);
                flaws.push(Flaw::new(format!("stages.{i}.down"), message, "set `down = [1, 1, 1]`"));
            }
        }
        flaws
    }

    fn spec(&self) -> TokenizerSpec {
        TokenizerSpec {
            modality: Modality::Video,
            kind: self.quantizer.kind(),
            strides: self.strides(),
            causal: true,
            range: [-1.0, 1.0],
        }
    }

    fn shape(&self, media: &MediaShape) -> Result<TokenShape, Flaw> {
        let &MediaShape::Clip { frames, height, width, .. } = media else {
            let message = format!("magvit2 reads clips, not {}", media.modality().plural());
            return Err(Flaw::new("", message, "use it as `[tokenizer.video]`"));
        };
        let [t, h, w] = self.strides();
        if frames % t != 1 % t {
            let fitting = (frames / t * t + 1).max(1);
            let message = format!("{frames} frames do not fit {t}× causal compression in time, which wants 1 + {t}·n");
            return Err(Flaw::new("frames", message, format!("set `frames = {fitting}`")));
        }
        for (what, side, stride) in [("height", height, h), ("width", width, w)] {
            if side % stride != 0 {
                let message =
                    format!("a {what} of {side} pixels does not divide by the tokenizer's stride of {stride}");
                let down = (side / stride * stride).max(stride);
                return Err(Flaw::new("size", message, format!("use a {what} of {down}")));
            }
        }
        Ok(TokenShape { grid: [frames.div_ceil(t), height / h, width / w], kind: self.quantizer.kind() })
    }

    fn parameters(&self) -> usize {
        let conv = |input: usize, output: usize, [t, h, w]: [usize; 3]| input * output * t * h * w + output;
        let kernel = |stage: &Stage| [stage.frames, 3, 3];
        let (first, last) = (&self.stages[0], &self.stages[self.stages.len() - 1]);
        let (pixels, latents) = (3 * self.patch * self.patch, self.quantizer.channels());
        let mut count = self.quantizer.parameters();
        count += conv(pixels, first.channels, kernel(first)) + last.channels;
        count += conv(last.channels, latents * self.quantizer.moments(), [1; 3]);
        count += conv(latents, last.channels, kernel(last)) + first.channels;
        count += conv(first.channels, pixels, kernel(first));
        for (stage, next) in self.steps() {
            let c = stage.channels;
            count += 2 * stage.blocks * 2 * (c + conv(c, c, kernel(stage)));
            if let Some(next) = next {
                count += c + conv(c, next.channels, stage.down.map(|s| if s > 1 { 3 } else { 1 }));
                count += conv(next.channels, c * stage.down.iter().product::<usize>(), kernel(next));
            }
        }
        count
    }

    fn cost(&self, media: &MediaShape) -> [Cost; 2] {
        match *media {
            MediaShape::Clip { frames, height, width, .. } => [self.work([frames, height, width]); 2],
            _ => [Cost::default(); 2],
        }
    }

    fn inflate(&self, weights: Weights) -> Result<Weights> {
        inflate::inflated(self, weights)
    }

    fn build(&self, device: &Device, source: &Source) -> Result<Box<dyn Tokenizer>> {
        let mut network = self.network(&source.init(device));
        source.load(&mut network)?;
        Ok(Box::new(Magvit2 { spec: self.spec(), config: self.clone(), device: device.clone(), network }))
    }
}

#[derive(Module, Debug)]
struct Network {
    encoder: Encoder,
    decoder: Decoder,
    quantizer: AnyQuantizer,
}

/// The tokenizer with its weights.
#[derive(Debug)]
pub struct Magvit2 {
    spec: TokenizerSpec,
    config: Magvit2Config,
    device: Device,
    network: Network,
}

impl Tokenizer for Magvit2 {
    fn spec(&self) -> &TokenizerSpec {
        &self.spec
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        Ok(self.encode_all(std::slice::from_ref(media))?.remove(0))
    }

    fn encode_all(&self, media: &[Media]) -> Result<Vec<Tokens>> {
        let clips = media.iter().map(|media| match media {
            Media::Clip(clip) => Ok(clip),
            other => Err(other.unexpected(SECTION, Modality::Video)),
        });
        let clips: Vec<&Clip> = clips.collect::<Result<_>>()?;
        let mut tokens = Vec::with_capacity(clips.len());
        for alike in clips.chunk_by(|a, b| a.shape() == b.shape()) {
            tokens.extend(self.encode_pieces(alike, &mut Past::streaming(), at_once)?);
        }
        Ok(tokens)
    }

    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        self.decode_piece(tokens, &mut Past::streaming(), at_once)
    }

    fn encoding(&self) -> Option<Box<dyn Encoding + '_>> {
        Some(Box::new(Stream { of: self, past: Past::streaming() }))
    }

    fn decoding(&self) -> Option<Box<dyn Decoding + '_>> {
        Some(Box::new(Stream { of: self, past: Past::streaming() }))
    }

    fn learned(&self) -> Option<&dyn Parameters> {
        Some(&self.network)
    }

    fn trainable(&mut self) -> Option<&mut dyn TrainableTokenizer> {
        Some(self)
    }
}

impl Magvit2 {
    /// The next tokens of a clip that the decoder has the `past` of, so many latent frames at a time as
    /// `at_once` says of the places of one.
    fn decode_piece(&self, tokens: &Tokens, past: &mut Past<5>, at_once: fn(usize) -> usize) -> Result<Media> {
        let [frames, h, w] = tokens.grid();
        let channels = self.config.quantizer.channels();
        let values = self.network.quantizer.vectors(tokens)?;
        let first = usize::from(!past.started()) * (self.spec.strides[0] - 1);
        let mut pixels = Vec::new();
        let mut size = [0; 2];
        for piece in values.chunks(at_once(h * w) * h * w * channels) {
            let data = TensorData::new(piece.to_vec(), [1, piece.len() / (h * w * channels), h, w, channels]);
            let latents = Tensor::<5>::from_data(data, &self.device).inner();
            let clip = self.network.decoder.forward(latents, past).inner();
            past.advance();
            let [_, _, height, width, _] = clip.dims();
            size = [height, width];
            pixels.extend(to_vec(clip).into_iter().map(to_byte));
        }
        let frames = frames * self.spec.strides[0] - first;
        // Tokens do not know their frame rate: the pipeline sets it from the recipe.
        Ok(Media::Clip(Clip::new([frames, size[0], size[1]], Rate::whole(1), pixels)?))
    }

    /// The next frames of clips of one shape that the encoder has the `past` of; see
    /// [`Self::decode_piece`].
    fn encode_pieces(&self, clips: &[&Clip], past: &mut Past<5>, at_once: fn(usize) -> usize) -> Result<Vec<Tokens>> {
        let [frames, height, width] = clips[0].shape();
        let (stride, before) = (self.spec.strides[0], usize::from(past.started()));
        // A clip's first latent frame is one frame; a piece of a later part is as one that follows it.
        let shape = MediaShape::Clip { frames: frames + before, height, width, rate: clips[0].rate() };
        let mut shape = self
            .config
            .shape(&shape)
            .map_err(|flaw| Error::new(ErrorKind::Unsupported, SECTION, flaw.message).mend(flaw.mend))?;
        shape.grid[0] -= before;
        // Piece by piece: of the first latent frame there is one frame, of each other one `stride`.
        let piece = stride * at_once(shape.grid[1] * shape.grid[2]);
        let mut latents = Vec::new();
        let mut start = 0;
        while start < frames {
            let end = frames.min(if past.started() { start + piece } else { piece + 1 - stride });
            let pieces: Vec<Clip> = clips.iter().map(|clip| clip.slice(start..end)).collect();
            let moments = self.network.encoder.forward(to_tensor(&pieces, &self.device).inner(), past);
            past.advance();
            latents.push(moments.slice_dim(4, 0..self.config.quantizer.channels()).inner());
            start = end;
        }
        let latents = Tensor::cat(latents, 1); // [B, t, h, w, C]
        let rows = shape.grid.iter().product();
        let latents: Tensor<3> = latents.reshape([clips.len(), rows, self.config.quantizer.channels()]);
        let each = latents.iter_dim(0).map(|latents| latents.squeeze_dim(0));
        each.map(|latents| self.network.quantizer.tokens(shape.grid, latents)).collect()
    }
}

/// A clip that comes piece by piece.
struct Stream<'a> {
    of: &'a Magvit2,
    past: Past<5>,
}

impl Encoding for Stream<'_> {
    fn push(&mut self, piece: &Media) -> Result<Tokens> {
        let Media::Clip(clip) = piece else { return Err(piece.unexpected(SECTION, Modality::Video)) };
        Ok(self.of.encode_pieces(&[clip], &mut self.past, at_once)?.remove(0))
    }
}

impl Decoding for Stream<'_> {
    fn push(&mut self, piece: &Tokens) -> Result<Media> {
        self.of.decode_piece(piece, &mut self.past, at_once)
    }
}

impl TrainableTokenizer for Magvit2 {
    fn reconstruct(&self, media: Tensor<5>, quantize: bool, draw: Draw) -> Reconstruction {
        let moments = self.network.encoder.forward(media, &mut Past::none());
        let [b, t, h, w, channels] = moments.dims();
        let moments = moments.reshape([-1, channels as i32]); // [B·t·h·w, C·m]
        let latents = self.config.quantizer.channels();
        let quantized = match quantize {
            true => self.network.quantizer.forward(moments, b, draw),
            false => Quantized::free(moments, latents),
        };
        let vectors = quantized.vectors.clone().reshape([b, t, h, w, latents]);
        let media = self.network.decoder.forward(vectors, &mut Past::none());
        Reconstruction { media, quantized }
    }

    fn follow(&mut self, made: &Quantized, draw: Draw) {
        self.network.quantizer.follow(made, draw);
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.network
    }
}

/// Latent frames that are computed at once, each of so many places: several small ones, so that the work is not all
/// set-up, and a single large one, so that memory does not grow with the clip.
fn at_once(places: usize) -> usize {
    (PIECE / places).max(1)
}

/// Clips of one shape as a tensor `[B, T, H, W, 3]` in `[-1, 1]`.
pub fn to_tensor(clips: &[Clip], device: &Device) -> Tensor<5> {
    let [t, h, w] = clips[0].shape();
    let values = clips.iter().flat_map(|clip| clip.pixels()).map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
    Tensor::<5>::from_data(TensorData::new(values, [clips.len(), t, h, w, 3]), device)
}

fn to_byte(value: f32) -> u8 {
    ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
}
