//! Tokenizers of clips by causal networks, whatever the network: whole clips, batches, clips that come
//! piece by piece, training.
//!
//! What a kind of tokenizer brings along is its [`VideoNetwork`]. An image is the first frame alone:
//! `1 + n·s` frames become `1 + n` latent frames, with `s` the stride over frames.

use crate::quantizers::{AnyQuantizer, Quantizer, QuantizerConfig};
use crate::stream_state::{PackedWeights, StreamState};
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Clip, ConfigError, Decoding, Encoding, ErrorKind, Media, MediaShape, Modality, Parameters, Quantized, Rate,
    Reconstruction, Result, RngKey, TokenShape, Tokenizer, TokenizerSpec, Tokens, TrainableTokenizer,
};

/// Places of the latents that are computed at once.
const PIECE: usize = 1 << 10;
const SECTION: &str = "tokenizer.video";

/// A causal network round a quantizer. The first piece of a clip is `1 + n·s` frames or `1 + n` latent
/// frames, each later one `n·s` or `n`.
pub trait VideoNetwork: Module {
    /// `[B, T, H, W, 3]` in `[-1, 1]` → `[B, t, h, w, C·m]`, means before log-variances.
    fn encode(&self, clip: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5>;
    /// `[B, t, h, w, C]` → `[B, T, H, W, 3]`.
    fn decode(&self, latents: Tensor<5>, state: &mut StreamState<5>) -> Tensor<5>;
    /// What stands between the two.
    fn quantizer(&self) -> &AnyQuantizer;
    /// What stands between the two, to change.
    fn quantizer_mut(&mut self) -> &mut AnyQuantizer;
}

/// What a tokenizer is whose token stands for `strides` frames, rows and columns.
pub fn spec(strides: [usize; 3], quantizer: &QuantizerConfig) -> TokenizerSpec {
    let (kind, codes) = (quantizer.kind(), quantizer.codes());
    TokenizerSpec { modality: Modality::Video, kind, codes, strides, causal: true, range: [-1.0, 1.0] }
}

/// The tokens that media become by a tokenizer of this `kind`, which is `spec`.
///
/// # Errors
/// An error of the media where they do not fit.
pub fn token_shape(kind: &str, spec: &TokenizerSpec, media: &MediaShape) -> Result<TokenShape, ConfigError> {
    let &MediaShape::Clip { frames, height, width, .. } = media else {
        let message = format!("{kind} reads clips, not {}", media.modality().plural());
        return Err(ConfigError::new("", message, "use it as `[tokenizer.video]`"));
    };
    let [t, h, w] = spec.strides;
    if frames % t != 1 % t {
        let fitting = (frames / t * t + 1).max(1);
        let message = format!("{frames} frames do not fit {t}× causal compression in time, which requires 1 + {t}n");
        return Err(ConfigError::new("frames", message, format!("set `frames = {fitting}`")));
    }
    for (what, side, stride) in [("height", height, h), ("width", width, w)] {
        if side % stride != 0 {
            let message = format!("a {what} of {side} pixels does not divide by the tokenizer's stride of {stride}");
            let down = (side / stride * stride).max(stride);
            return Err(ConfigError::new("size", message, format!("use a {what} of {down}")));
        }
    }
    Ok(TokenShape { grid: [frames.div_ceil(t), height / h, width / w], kind: spec.kind })
}

/// A tokenizer with its weights.
#[derive(Debug)]
pub struct VideoTokenizer<N> {
    kind: &'static str,
    spec: TokenizerSpec,
    /// Numbers of a latent.
    channels: usize,
    device: Device,
    pub(crate) network: N,
    encoder: PackedWeights<5>,
    decoder: PackedWeights<5>,
}

impl<N: VideoNetwork> VideoTokenizer<N> {
    /// The tokenizer of a `kind` that is `spec`, with its network and its weights on `device`.
    pub fn new(
        kind: &'static str,
        spec: TokenizerSpec,
        quantizer: &QuantizerConfig,
        network: N,
        device: &Device,
    ) -> Self {
        let (encoder, decoder) = (PackedWeights::default(), PackedWeights::default());
        Self { kind, spec, channels: quantizer.channels(), device: device.clone(), network, encoder, decoder }
    }

    /// The next tokens of a clip that the decoder has the `state` of, so many latent frames at a time as
    /// `at_once` says of the places of one.
    pub(crate) fn decode_piece(&self, tokens: &Tokens, state: &mut StreamState<5>, at_once: AtOnce) -> Result<Media> {
        let [frames, h, w] = tokens.grid();
        let values = self.network.quantizer().vectors(tokens)?;
        let row = h * w * self.channels;
        let first = usize::from(!state.started()) * (self.spec.strides[0] - 1);
        let mut pixels = Vec::new();
        let mut size = [0; 2];
        for piece in values.chunks(at_once(h * w) * row) {
            let data = TensorData::new(piece.to_vec(), [1, piece.len() / row, h, w, self.channels]);
            let latents = Tensor::<5>::from_data(data, &self.device).inner();
            let clip = self.network.decode(latents, state).inner();
            state.advance();
            let [_, _, height, width, _] = clip.dims();
            size = [height, width];
            pixels.extend(to_vec(clip).into_iter().map(to_byte));
        }
        let frames = frames * self.spec.strides[0] - first;
        // Tokens do not know their frame rate: the pipeline sets it from the recipe.
        Ok(Media::Clip(Clip::new([frames, size[0], size[1]], Rate::whole(1), pixels)?))
    }

    /// The next tokens of clips of one shape that the encoder has the `state` of; see
    /// [`Self::decode_piece`].
    pub(crate) fn encode_pieces(
        &self,
        clips: &[&Clip],
        state: &mut StreamState<5>,
        at_once: AtOnce,
    ) -> Result<Vec<Tokens>> {
        let [frames, height, width] = clips[0].shape();
        let (stride, before) = (self.spec.strides[0], usize::from(state.started()));
        // A clip's first latent frame is one frame; a piece of a later part is as one that follows it.
        let shape = MediaShape::Clip { frames: frames + before, height, width, rate: clips[0].rate() };
        let mut shape = token_shape(self.kind, &self.spec, &shape)
            .map_err(|error| error.into_error(ErrorKind::Unsupported, SECTION))?;
        shape.grid[0] -= before;
        // Piece by piece: of the first latent frame there is one frame, of each other one `stride`.
        let piece = stride * at_once(shape.grid[1] * shape.grid[2]);
        let mut latents = Vec::new();
        let mut start = 0;
        while start < frames {
            let end = frames.min(if state.started() { start + piece } else { piece + 1 - stride });
            let pieces: Vec<Clip> = clips.iter().map(|clip| clip.slice(start..end)).collect();
            let moments = self.network.encode(to_tensor(&pieces, &self.device).inner(), state);
            state.advance();
            latents.push(moments.slice_dim(4, 0..self.channels).inner());
            start = end;
        }
        let latents = Tensor::cat(latents, 1); // [B, t, h, w, C]
        let rows = shape.grid.iter().product();
        let latents: Tensor<3> = latents.reshape([clips.len(), rows, self.channels]);
        let each = latents.iter_dim(0).map(|latents| latents.squeeze_dim(0));
        each.map(|latents| self.network.quantizer().tokens(shape.grid, latents)).collect()
    }
}

impl<N: VideoNetwork> Tokenizer for VideoTokenizer<N> {
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
            tokens.extend(self.encode_pieces(alike, &mut StreamState::sharing(&self.encoder), at_once)?);
        }
        Ok(tokens)
    }

    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        self.decode_piece(tokens, &mut StreamState::sharing(&self.decoder), at_once)
    }

    fn encoding(&self) -> Option<Box<dyn Encoding + '_>> {
        Some(Box::new(Stream { of: self, state: StreamState::sharing(&self.encoder) }))
    }

    fn decoding(&self) -> Option<Box<dyn Decoding + '_>> {
        Some(Box::new(Stream { of: self, state: StreamState::sharing(&self.decoder) }))
    }

    fn learned(&self) -> Option<&dyn Parameters> {
        Some(&self.network)
    }

    fn trainable(&mut self) -> Option<&mut dyn TrainableTokenizer> {
        Some(self)
    }
}

/// A clip that comes piece by piece.
struct Stream<'a, N> {
    of: &'a VideoTokenizer<N>,
    state: StreamState<5>,
}

impl<N: VideoNetwork> Encoding for Stream<'_, N> {
    fn push(&mut self, piece: &Media) -> Result<Tokens> {
        let Media::Clip(clip) = piece else { return Err(piece.unexpected(SECTION, Modality::Video)) };
        Ok(self.of.encode_pieces(&[clip], &mut self.state, at_once)?.remove(0))
    }
}

impl<N: VideoNetwork> Decoding for Stream<'_, N> {
    fn push(&mut self, piece: &Tokens) -> Result<Media> {
        self.of.decode_piece(piece, &mut self.state, at_once)
    }
}

impl<N: VideoNetwork> TrainableTokenizer for VideoTokenizer<N> {
    fn reconstruct(&self, media: Tensor<5>, quantize: bool, key: RngKey) -> Reconstruction {
        let moments = self.network.encode(media, &mut StreamState::none());
        let [b, t, h, w, channels] = moments.dims();
        let moments = moments.reshape([-1, channels as i32]); // [B·t·h·w, C·m]
        let quantized = match quantize {
            true => self.network.quantizer().forward(moments, b, key),
            false => Quantized::free(moments, self.channels),
        };
        let vectors = quantized.vectors.clone().reshape([b, t, h, w, self.channels]);
        let media = self.network.decode(vectors, &mut StreamState::none());
        Reconstruction { media, quantized }
    }

    fn update_ema(&mut self, made: &Quantized, key: RngKey) {
        self.network.quantizer_mut().update_ema(made, key);
    }

    fn standardize(&mut self, tokens: &[Tokens]) {
        self.network.quantizer_mut().standardize(tokens);
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        // What was laid out of the old numbers is not what their successors are.
        (self.encoder, self.decoder) = (PackedWeights::default(), PackedWeights::default());
        &mut self.network
    }
}

/// Latent frames that are computed at once, each of so many places.
pub type AtOnce = fn(usize) -> usize;

/// Several small ones, so that the work is not all set-up, and a single large one, so that memory does not
/// grow with the clip.
pub fn at_once(places: usize) -> usize {
    (PIECE / places).max(1)
}

/// Clips of one shape as a tensor `[B, T, H, W, 3]` in `[-1, 1]`.
pub fn to_tensor(clips: &[Clip], device: &Device) -> Tensor<5> {
    let [t, h, w] = clips[0].shape();
    let values = clips.iter().flat_map(|clip| clip.pixels()).map(|&byte| f32::from(byte) / 127.5 - 1.0).collect();
    Tensor::<5>::from_data(TensorData::new(values, [clips.len(), t, h, w, 3]), device)
}

/// A number in `[-1, 1]` as a pixel's.
pub fn to_byte(value: f32) -> u8 {
    ((value + 1.0) * 127.5).round().clamp(0.0, 255.0) as u8
}
