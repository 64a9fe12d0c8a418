//! SoundStream's audio tokenizer: a causal 1-D convolutional autoencoder round a quantizer.
//!
//! Zeghidour et al., "SoundStream: An End-to-End Neural Audio Codec", 2021. `S` samples become `⌈S/hop⌉`
//! tokens, each of which hears its own samples and those before them.

mod film;
mod layers;
mod network;
#[cfg(test)]
mod tests;

pub use film::FilmConfig;

use crate::quantizers::{AnyQuantizer, Quantizer, QuantizerConfig, RvqTokens};
use crate::settings::Noise;
use crate::stream_state::StreamState;
use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::recipe::TrainSettings;
use musiva_core::{
    ConfigError, Cost, Decoding, Encoding, Error, ErrorKind, Media, MediaShape, Modality, Parameters, Quantized, Rate,
    Reconstruction, Result, RngKey, Sound, TokenShape, Tokenizer, TokenizerConfig, TokenizerSpec, Tokens,
    TrainableTokenizer, WeightInit,
};
use network::{Decoder, Encoder};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Tokens of a piece: what a long sound takes of memory does not grow with its length.
const PIECE: usize = 64;
const SECTION: &str = "tokenizer.audio";

/// What a recipe says of a `kind = "soundstream"` tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct SoundStreamConfig {
    /// Channels at the rate of the samples; each stride doubles them.
    #[schemars(range(min = 1, max = 1024))]
    pub channels: usize,
    /// Strides of the encoder's blocks; their product is the hop, the samples that a token stands for.
    #[schemars(length(min = 1, max = 10), inner(range(min = 2, max = 64)))]
    pub strides: Vec<usize>,
    /// What turns latents into tokens.
    pub quantizer: QuantizerConfig,
    /// A denoise flag of the encoder, which `[train.noise]` trains; left out, there is none, and no parameters for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub film: Option<FilmConfig>,
}

impl Default for SoundStreamConfig {
    fn default() -> Self {
        Self {
            channels: 32,
            strides: vec![2, 4, 5, 8],
            quantizer: QuantizerConfig::Rvq {
                levels: 8,
                entries: 1024,
                channels: 64,
                decay: 0.99,
                restart: 0.1,
                dropout: 1.0,
                tokens: RvqTokens::Codes,
            },
            film: None,
        }
    }
}

impl SoundStreamConfig {
    /// Samples that a token stands for.
    pub fn hop(&self) -> usize {
        self.strides.iter().product()
    }

    /// Channels of the last block.
    fn widest(&self) -> usize {
        self.channels << self.strides.len()
    }

    /// The blocks of the encoder: channels before and after, and the stride.
    fn steps(&self) -> impl Iterator<Item = ([usize; 2], usize)> {
        self.strides.iter().enumerate().map(|(i, &stride)| ([self.channels << i, self.channels << (i + 1)], stride))
    }

    fn size(&self) -> network::Size {
        let channels = self.quantizer.channels();
        network::size(self, [channels * self.quantizer.moments(), channels])
    }
}

impl TokenizerConfig for SoundStreamConfig {
    fn neutral(&self) -> &'static [&'static str] {
        &["quantizer.decay", "quantizer.restart", "quantizer.dropout", "quantizer.tokens", "film.denoise"]
    }

    fn errors(&self) -> Vec<ConfigError> {
        let mut errors = self.quantizer.errors();
        if self.widest() > 16_384 {
            let message =
                format!("{} strides double {} channels to {}", self.strides.len(), self.channels, self.widest());
            errors.push(ConfigError::new("channels", message, "use fewer channels or fewer strides"));
        }
        errors
    }

    fn spec(&self) -> TokenizerSpec {
        TokenizerSpec {
            modality: Modality::Audio,
            kind: self.quantizer.kind(),
            codes: self.quantizer.codes(),
            strides: [self.hop(), 1, 1],
            causal: true,
            range: [-1.0, 1.0],
        }
    }

    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        match *media {
            MediaShape::Sound { samples, channels: 1, .. } => {
                Ok(TokenShape { grid: [samples.div_ceil(self.hop()), 1, 1], kind: self.quantizer.kind() })
            }
            MediaShape::Sound { channels, .. } => {
                let message = format!("soundstream hears one channel, these sounds have {channels}");
                Err(ConfigError::new("channels", message, "mix them down to one"))
            }
            ref other => {
                let message = format!("soundstream reads sounds, not {}", other.modality().plural());
                Err(ConfigError::new("", message, "use it as `[tokenizer.audio]`"))
            }
        }
    }

    fn parameters(&self) -> usize {
        self.size().parameters + self.quantizer.parameters()
    }

    fn cost(&self, media: &MediaShape) -> [Cost; 2] {
        let MediaShape::Sound { samples, .. } = *media else { return [Cost::default(); 2] };
        let size = self.size();
        let piece = samples.min(PIECE * self.hop()) as f64;
        // Encoder and decoder are mirror images.
        let half = Cost {
            forward_flops: size.multiplications * samples as f64,
            activations: size.kept / 2.0 * samples as f64,
            working_set: 4.0 * self.channels as f64 * piece,
        };
        [half; 2]
    }

    fn unfit(&self, train: &TrainSettings) -> Option<ConfigError> {
        if self.film.is_none() || train.tables.get::<Noise>().is_some() {
            return None;
        }
        let message = "this `soundstream` has a denoise flag, and training has no noise";
        Some(ConfigError::new("target", message, "add `[train.noise]`, or delete `film` from `[tokenizer.audio]`"))
    }

    fn denoises(&self) -> Option<bool> {
        self.film.map(|film| film.denoise)
    }

    fn build(&self, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        let init = weight_init.init(device);
        let channels = self.quantizer.channels();
        let mut network = Network {
            encoder: Encoder::new(self, channels * self.quantizer.moments(), &init.part("encoder")),
            decoder: Decoder::new(self, channels, &init.part("decoder")),
            quantizer: self.quantizer.init(&init.part("quantizer")),
        };
        weight_init.load(&mut network)?;
        Ok(Box::new(SoundStream { spec: self.spec(), config: self.clone(), device: device.clone(), network }))
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
pub struct SoundStream {
    spec: TokenizerSpec,
    config: SoundStreamConfig,
    device: Device,
    network: Network,
}

impl Tokenizer for SoundStream {
    fn spec(&self) -> &TokenizerSpec {
        &self.spec
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        Ok(self.encode_all(std::slice::from_ref(media))?.remove(0))
    }

    fn encode_all(&self, media: &[Media]) -> Result<Vec<Tokens>> {
        let sounds = media.iter().map(|media| match media {
            Media::Sound(sound) => Ok(sound),
            other => Err(other.unexpected(SECTION, Modality::Audio)),
        });
        let sounds: Vec<&Sound> = sounds.collect::<Result<_>>()?;
        let mut tokens = Vec::with_capacity(sounds.len());
        for alike in sounds.chunk_by(|a, b| a.shape() == b.shape()) {
            tokens.extend(self.encode_pieces(alike, self.denoises(), &mut StreamState::streaming())?);
        }
        Ok(tokens)
    }

    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        self.decode_piece(tokens, &mut StreamState::streaming())
    }

    fn encoding(&self) -> Option<Box<dyn Encoding + '_>> {
        Some(Box::new(Encoded { of: self, denoise: self.denoises(), state: StreamState::streaming() }))
    }

    fn decoding(&self) -> Option<Box<dyn Decoding + '_>> {
        Some(Box::new(Decoded { of: self, state: StreamState::streaming() }))
    }

    fn learned(&self) -> Option<&dyn Parameters> {
        Some(&self.network)
    }

    fn trainable(&mut self) -> Option<&mut dyn TrainableTokenizer> {
        Some(self)
    }
}

impl SoundStream {
    /// Whether its configuration has the switch on.
    fn denoises(&self) -> bool {
        self.config.film.is_some_and(|film| film.denoise)
    }

    /// The switch, one way for all tokens: `[B, T]`.
    fn denoise_flag(&self, on: bool, shape: [usize; 2]) -> Tensor<2> {
        Tensor::full(shape, f32::from(u8::from(on)), &self.device)
    }

    /// The next tokens of a sound that the decoder has the `state` of.
    fn decode_piece(&self, tokens: &Tokens, state: &mut StreamState<3>) -> Result<Media> {
        let channels = self.config.quantizer.channels();
        let vectors = self.network.quantizer.vectors(tokens)?;
        let mut samples = Vec::with_capacity(vectors.len() / channels * self.config.hop());
        for piece in vectors.chunks(PIECE * channels) {
            let data = TensorData::new(piece.to_vec(), [1, piece.len() / channels, channels]);
            let latents = Tensor::<3>::from_data(data, &self.device).inner();
            samples.extend(to_vec(self.network.decoder.forward(latents, state).inner()));
            state.advance();
        }
        // Tokens do not know their sample rate: the pipeline sets it from the recipe.
        Ok(Media::Sound(Sound::new(1, Rate::whole(1), samples)?))
    }

    /// The next pieces, of one shape, of sounds that the encoder has the `state` of.
    fn encode_pieces(&self, sounds: &[&Sound], denoise: bool, state: &mut StreamState<3>) -> Result<Vec<Tokens>> {
        let [samples, channels] = sounds[0].shape();
        let shape = MediaShape::Sound { samples, channels, rate: sounds[0].rate() };
        let shape = self.config.shape(&shape).map_err(|error| error.into_error(ErrorKind::Unsupported, SECTION))?;
        let piece = PIECE * self.config.hop();
        let mut latents = Vec::new();
        for start in (0..samples).step_by(piece) {
            let length = piece.min(samples - start);
            // Silence after the end fills the last token.
            let filled = length.next_multiple_of(self.config.hop());
            let mut values = Vec::with_capacity(sounds.len() * filled);
            for sound in sounds {
                values.extend_from_slice(&sound.samples()[start..start + length]);
                values.resize(values.len() + filled - length, 0.0);
            }
            let data = TensorData::new(values, [sounds.len(), filled, 1]);
            let sound = Tensor::<3>::from_data(data, &self.device).inner();
            let denoise_flag = self.denoise_flag(denoise, [sounds.len(), filled / self.config.hop()]).inner();
            let moments = self.network.encoder.forward(sound, denoise_flag, state);
            state.advance();
            latents.push(moments.slice_dim(2, 0..self.config.quantizer.channels()).inner());
        }
        let latents = Tensor::cat(latents, 1); // [B, T, C]
        let each = latents.iter_dim(0).map(|latents| latents.squeeze_dim(0));
        each.map(|latents| self.network.quantizer.tokens(shape.grid, latents)).collect()
    }
}

/// A sound that comes piece by piece.
struct Encoded<'a> {
    of: &'a SoundStream,
    denoise: bool,
    state: StreamState<3>,
}

/// Its tokens, that come piece by piece.
struct Decoded<'a> {
    of: &'a SoundStream,
    state: StreamState<3>,
}

impl Encoding for Encoded<'_> {
    fn push(&mut self, piece: &Media) -> Result<Tokens> {
        let Media::Sound(sound) = piece else { return Err(piece.unexpected(SECTION, Modality::Audio)) };
        if !sound.length().is_multiple_of(self.of.config.hop()) {
            let message = format!("a piece of {} samples is no whole number of tokens", sound.length());
            return Err(Error::new(ErrorKind::Unsupported, SECTION, message)
                .hint(format!("push pieces of {} samples, or of several times as many", self.of.config.hop())));
        }
        Ok(self.of.encode_pieces(&[sound], self.denoise, &mut self.state)?.remove(0))
    }

    fn denoise(&mut self, on: bool) -> bool {
        self.denoise = on;
        self.of.config.film.is_some()
    }
}

impl Decoding for Decoded<'_> {
    fn push(&mut self, piece: &Tokens) -> Result<Media> {
        self.of.decode_piece(piece, &mut self.state)
    }
}

impl TrainableTokenizer for SoundStream {
    fn reconstruct(&self, media: Tensor<5>, quantize: bool, key: RngKey) -> Reconstruction {
        let [b, samples, _, _, _] = media.dims();
        let denoise_flag = self.denoise_flag(self.denoises(), [b, samples / self.config.hop()]);
        self.reconstruct_denoising(media, denoise_flag, quantize, key)
    }

    fn reconstruct_denoising(
        &self,
        media: Tensor<5>,
        denoise_flag: Tensor<2>,
        quantize: bool,
        key: RngKey,
    ) -> Reconstruction {
        let [b, samples, _, _, _] = media.dims();
        let moments =
            self.network.encoder.forward(media.reshape([b, samples, 1]), denoise_flag, &mut StreamState::none());
        let [_, tokens, channels] = moments.dims();
        let quantized = match quantize {
            true => self.network.quantizer.forward(moments.reshape([b * tokens, channels]), b, key),
            false => Quantized::free(moments.reshape([b * tokens, channels]), self.config.quantizer.channels()),
        };
        let vectors = quantized.vectors.clone().reshape([b, tokens, self.config.quantizer.channels()]);
        let media = self.network.decoder.forward(vectors, &mut StreamState::none());
        Reconstruction { media: media.reshape([b, samples, 1, 1, 1]), quantized }
    }

    fn update_ema(&mut self, made: &Quantized, key: RngKey) {
        self.network.quantizer.update_ema(made, key);
    }

    fn standardize(&mut self, tokens: &[Tokens]) {
        self.network.quantizer.standardize(tokens);
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.network
    }
}
