//! Conditioners of plugins behind the contract: text tokenizers whose tokens are vectors.

use crate::ask::{Ask, Element};
use crate::call::Wanted;
use crate::instance::Instance;
use crate::library::Library;
use crate::wrong;
use burn::tensor::Device;
use musiva_core::{
    ConfigError, Cost, Media, MediaShape, Modality, Result, TokenKind, TokenShape, Tokenizer, TokenizerConfig,
    TokenizerSpec, Tokens, WeightInit,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// No text becomes more vectors, and no vector is longer.
const MOST: usize = 1 << 16;

/// What `describe` answers: the shape of what it makes of any text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
pub(crate) struct Embedded {
    /// How many vectors.
    pub length: usize,
    /// How long each of them is.
    pub channels: usize,
}

/// What it makes of one text.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Embedding {
    /// The vectors, `length · channels` numbers, all finite.
    pub vectors: Vec<f32>,
    /// 1 for each that stands for something, else 0.
    pub mask: Vec<u8>,
}

/// An instance with what it is.
pub(crate) struct Held {
    pub instance: Instance,
    pub shape: Embedded,
}

impl Held {
    /// Asks an instance what it is.
    ///
    /// # Errors
    /// Where its answer is not in order.
    pub fn new(instance: Instance) -> Result<Self> {
        let shape: Embedded = instance.answer(Ask::Describe)?;
        let Embedded { length, channels } = shape;
        match [length, channels].iter().all(|side| (1..=MOST).contains(side)) {
            true => Ok(Self { instance, shape }),
            false => {
                let message = format!("describe: {length} vectors of {channels} numbers; 1 to {MOST} each are allowed");
                Err(wrong(instance.id(), message))
            }
        }
    }

    /// What it makes of texts, looked at.
    ///
    /// # Errors
    /// Where the plugin fails, or what it gives is of another shape, not finite, or a mask of something else than 0 and 1.
    pub fn embed(&self, texts: &[&str]) -> Result<Vec<Embedding>> {
        let Embedded { length, channels } = self.shape;
        let wanted = [
            Wanted::exact("the embeddings", Element::F32, &[texts.len(), length, channels]),
            Wanted::exact("the mask", Element::U8, &[texts.len(), length]),
        ];
        let ask = Ask::Embed(texts.iter().map(|text| (*text).to_owned()).collect());
        let mut returned = self.instance.run(ask, &wanted)?;
        let (vectors, mask) = (returned.output(0).f32(), returned.output(1).u8());
        if vectors.iter().any(|number| !number.is_finite()) {
            return Err(wrong(self.instance.id(), "encode: an embedding is not a finite number"));
        }
        if mask.iter().any(|&bit| bit > 1) {
            return Err(wrong(self.instance.id(), "encode: its mask holds something else than 0 and 1"));
        }
        let each = vectors.chunks(length * channels).zip(mask.chunks(length));
        Ok(each.map(|(vectors, mask)| Embedding { vectors: vectors.to_vec(), mask: mask.to_vec() }).collect())
    }
}

impl Embedding {
    /// As a prompt: zeros, which are no word, where a vector stands for nothing.
    fn into_prompt(mut self) -> Vec<f32> {
        let channels = self.vectors.len() / self.mask.len();
        let unsaid = self.vectors.chunks_mut(channels).zip(&self.mask).filter(|(_, bit)| **bit == 0);
        unsaid.for_each(|(vector, _)| vector.fill(0.0));
        self.vectors
    }
}

/// A conditioner of a plugin, configured.
pub struct HostedConditionerConfig {
    library: Arc<Library>,
    id: String,
    config: Value,
    shape: Embedded,
}

impl HostedConditionerConfig {
    /// Makes an instance and asks what it is.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration, or its answers are not in order.
    pub fn new(library: Arc<Library>, id: &str, config: Value) -> Result<Self> {
        let shape = Held::new(library.create(id, &config)?)?.shape;
        Ok(Self { library, id: id.to_owned(), config, shape })
    }
}

/// The tokenizer that makes such vectors.
fn spec(shape: Embedded) -> TokenizerSpec {
    let kind = TokenKind::Vectors { channels: shape.channels };
    TokenizerSpec { modality: Modality::Text, kind, codes: kind, strides: [1; 3], causal: false, range: [0.0, 255.0] }
}

impl TokenizerConfig for HostedConditionerConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn spec(&self) -> TokenizerSpec {
        spec(self.shape)
    }

    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        match media {
            MediaShape::Text => Ok(TokenShape { grid: [1, 1, self.shape.length], kind: self.spec().kind }),
            other => {
                let message = format!("`{}` reads text, not {}", self.id, other.modality().plural());
                Err(ConfigError::new("", message, "use it as `[tokenizer.text]`"))
            }
        }
    }

    fn parameters(&self) -> usize {
        0
    }

    fn cost(&self, _: &MediaShape) -> [Cost; 2] {
        [Cost::default(); 2]
    }

    fn trains(&self) -> Result<(), ConfigError> {
        let message = format!("`{}` is a plugin's conditioner, which is used as it is and cannot be trained", self.id);
        Err(ConfigError::new("kind", message, "train the backbone over it, `train.target = \"backbone\"`"))
    }

    fn build(&self, _: &Device, _: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        let held = Held::new(self.library.create(&self.id, &self.config)?)?;
        if held.shape != self.shape {
            return Err(wrong(&self.id, "describe: another instance of the same configuration is of another shape"));
        }
        Ok(Box::new(HostedConditioner { spec: spec(held.shape), held: Mutex::new(held) }))
    }
}

/// A conditioner of a plugin.
pub struct HostedConditioner {
    held: Mutex<Held>,
    spec: TokenizerSpec,
}

impl Tokenizer for HostedConditioner {
    fn spec(&self) -> &TokenizerSpec {
        &self.spec
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        let mut all = self.encode_all(std::slice::from_ref(media))?;
        all.pop().ok_or_else(|| media.unexpected("tokenizer.text", Modality::Text))
    }

    /// An empty text is no prompt, whatever the plugin makes of it: zeros, which training without a prompt and guidance
    /// have too.
    fn encode_all(&self, media: &[Media]) -> Result<Vec<Tokens>> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let texts = media.iter().map(|media| match media {
            Media::Text(text) => Ok(text.as_str()),
            other => Err(other.unexpected(held.instance.id(), Modality::Text)),
        });
        let texts = texts.collect::<Result<Vec<_>>>()?;
        let said: Vec<&str> = texts.iter().copied().filter(|text| !text.is_empty()).collect();
        let made = if said.is_empty() { Vec::new() } else { held.embed(&said)? };
        let (Embedded { length, channels }, mut made) = (held.shape, made.into_iter());
        let prompts = texts.iter().map(|text| {
            let embedding = if text.is_empty() { None } else { made.next() };
            let vectors = embedding.map_or_else(|| vec![0.0; length * channels], Embedding::into_prompt);
            Tokens::vectors([1, 1, length], channels, vectors)
        });
        prompts.collect()
    }

    fn decode(&self, _: &Tokens) -> Result<Media> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        Err(wrong(held.instance.id(), "it is a conditioner: its vectors do not become text again"))
    }
}
