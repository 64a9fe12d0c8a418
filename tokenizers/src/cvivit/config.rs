//! What a recipe says of the tokenizer, and what follows from it without a weight.

use super::Network;
use super::layers::{Block, Linear};
use super::network::{Decoder, Encoder};
use crate::quantizers::QuantizerConfig;
use crate::video::{VideoTokenizer, spec, token_shape};
use burn::tensor::Device;
use musiva_core::{
    ConfigError, Cost, Init, MediaShape, Result, TokenShape, Tokenizer, TokenizerConfig, TokenizerSpec, WeightInit,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const KIND: &str = "cvivit";

/// What a recipe says of a `kind = "cvivit"` tokenizer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CVivitConfig {
    /// Frames, rows and columns of a clip that one token stands for; those of the first frame stand for it
    /// alone.
    #[schemars(inner(range(min = 1, max = 64)))]
    pub patch: [usize; 3],
    /// Width of encoder and decoder.
    #[schemars(range(min = 4, max = 16384))]
    pub width: usize,
    /// Attention heads; they divide the width into parts that divide by 4.
    #[schemars(range(min = 1, max = 256))]
    pub heads: usize,
    /// Blocks over the positions of a frame, in the encoder and in the decoder.
    #[schemars(range(min = 1, max = 256))]
    pub spatial: usize,
    /// Blocks over the frames of a position, in the encoder and in the decoder.
    #[schemars(range(min = 1, max = 256))]
    pub temporal: usize,
    /// Frames of tokens that a temporal block sees, its own and those before it.
    #[schemars(range(min = 1, max = 65536))]
    pub window: usize,
    /// What turns latents into tokens.
    pub quantizer: QuantizerConfig,
}

impl Default for CVivitConfig {
    fn default() -> Self {
        let quantizer = QuantizerConfig::default();
        Self { patch: [2, 8, 8], width: 128, heads: 4, spatial: 4, temporal: 2, window: 8, quantizer }
    }
}

impl CVivitConfig {
    /// Numbers of a patch of the first frame and of a patch of later ones.
    pub(super) fn patches(&self) -> [usize; 2] {
        let [t, h, w] = self.patch;
        [h * w * 3, t * h * w * 3]
    }

    pub(super) fn network(&self, init: &Init) -> Network {
        let channels = self.quantizer.channels();
        Network {
            encoder: Encoder::new(self, channels * self.quantizer.moments(), &init.part("encoder")),
            decoder: Decoder::new(self, channels, &init.part("decoder")),
            quantizer: self.quantizer.init(&init.part("quantizer")),
        }
    }

    /// Work of either half on so many latent frames, rows and columns of tokens.
    fn work(&self, [t, h, w]: [usize; 3]) -> Cost {
        let (n, places, width) = ((t * h * w) as f64, (h * w) as f64, self.width as f64);
        let (spatial, temporal) = (self.spatial as f64, self.temporal as f64);
        let [_, patch] = self.patches();
        let seen = spatial * places + temporal * self.window.min(t) as f64;
        let maps = 2.0 * n * width * (12.0 * width * (spatial + temporal) + patch as f64);
        let attention = 4.0 * n * width * seen;
        // What gradients want again of a block: the input of each half and its norm (4), queries and keys
        // before their norms and after their rotations (6), values, what the attention gives with a number a
        // row and head, the hidden layer before and after its activation (8).
        let block = n * (width * 20.0 + self.heads as f64);
        Cost {
            forward_flops: maps + attention,
            activations: (spatial + temporal) * block + 6.0 * n * patch as f64,
            working_set: n * width * 12.0,
        }
    }
}

impl TokenizerConfig for CVivitConfig {
    fn neutral(&self) -> &'static [&'static str] {
        crate::quantizers::NEUTRAL
    }

    fn errors(&self) -> Vec<ConfigError> {
        let mut errors = self.quantizer.errors();
        let mut demand = |holds: bool, key: &str, message: String, hint: String| {
            if !holds {
                errors.push(ConfigError::new(key, message, hint));
            }
        };
        let message = format!("a patch of {:?} frames, rows and columns; each is 1 to 64", self.patch);
        demand(
            self.patch.iter().all(|side| (1..=64).contains(side)),
            "patch",
            message,
            "set `patch = [2, 8, 8]`".into(),
        );
        let fits =
            |heads: usize| heads > 0 && self.width.is_multiple_of(heads) && (self.width / heads).is_multiple_of(4);
        let message =
            format!("{} heads do not divide a width of {} into parts that divide by 4", self.heads, self.width);
        let fitting = (1..=self.heads.clamp(1, self.width.max(1))).rev().find(|&heads| fits(heads));
        let hint =
            fitting.map_or("set `width = 128` and `heads = 4`".to_owned(), |heads| format!("set `heads = {heads}`"));
        demand(self.width > 0 && fits(self.heads), "heads", message, hint);
        for (key, count, usual) in
            [("spatial", self.spatial, 4), ("temporal", self.temporal, 2), ("window", self.window, 8)]
        {
            demand(count > 0, key, "there is at least one".into(), format!("set `{key} = {usual}`"));
        }
        errors
    }

    fn spec(&self) -> TokenizerSpec {
        spec(self.patch, &self.quantizer)
    }

    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        token_shape(KIND, &self.spec(), media)
    }

    fn parameters(&self) -> usize {
        let (width, latents) = (self.width, self.quantizer.channels());
        let blocks = (self.spatial + self.temporal) * Block::parameters([width, self.heads]);
        let [image, video] =
            self.patches().map(|patch| Linear::parameters([patch, width]) + Linear::parameters([width, patch]));
        let heads =
            Linear::parameters([width, latents * self.quantizer.moments()]) + Linear::parameters([latents, width]);
        self.quantizer.parameters() + 2 * (blocks + width) + image + video + heads
    }

    fn cost(&self, media: &MediaShape) -> [Cost; 2] {
        match *media {
            MediaShape::Clip { frames, height, width, .. } => {
                let [t, h, w] = self.patch;
                [self.work([frames.div_ceil(t), height / h, width / w]); 2]
            }
            _ => [Cost::default(); 2],
        }
    }

    fn build(&self, device: &Device, weight_init: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        let mut network = self.network(&weight_init.init(device));
        weight_init.load(&mut network)?;
        Ok(Box::new(VideoTokenizer::new(KIND, self.spec(), &self.quantizer, network, device)))
    }
}
