//! Tokenizers of plugins behind the contract.

use crate::ask::{Ask, Element, View, signed};
use crate::call::{Output, Wanted};
use crate::instance::Instance;
use crate::library::Library;
use crate::wrong;
use burn::tensor::Device;
use musiva_core::{
    Clip, ConfigError, Cost, Media, MediaShape, Modality, Rate, Result, Sound, TokenKind, TokenShape, TokenValues,
    Tokenizer, TokenizerConfig, TokenizerSpec, Tokens, WeightInit,
};
use serde::Deserialize;
use serde_json::Value;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// No tokenizer has more entries: a code is 32 bits.
const MOST_ENTRIES: usize = 1 << 32;

/// What `describe` answers.
#[derive(Deserialize)]
struct Answer {
    modality: Medium,
    tokens: Kind,
    strides: [usize; 3],
    causal: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
enum Medium {
    Video,
    Audio,
    Text,
}

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Kind {
    Codes { entries: usize, bits: Option<usize> },
    Levels { levels: usize, entries: usize },
    Latents { channels: usize },
}

impl Answer {
    fn spec(self) -> Result<TokenizerSpec, String> {
        let entries = |entries: usize| match entries {
            1..=MOST_ENTRIES => Ok(entries),
            _ => Err(format!("it describes a codebook of {entries} entries")),
        };
        let kind = match self.tokens {
            Kind::Codes { bits: Some(bits), entries } if 1u64.checked_shl(bits as u32) != Some(entries as u64) => {
                return Err(format!("it describes {entries} entries of {bits} bits, which are 2^{bits}"));
            }
            Kind::Codes { entries: n, bits } => TokenKind::Codes { levels: 1, entries: entries(n)?, bits },
            Kind::Levels { levels: 0, .. } => return Err("it describes tokens of no levels".into()),
            Kind::Levels { levels, entries: n } => TokenKind::residual(levels, entries(n)?),
            Kind::Latents { channels: 0 } => return Err("it describes latents of no channels".into()),
            Kind::Latents { channels } => TokenKind::Vectors { channels },
        };
        if self.strides.contains(&0) {
            return Err(format!("it describes strides of {:?}", self.strides));
        }
        // It reads bytes as they are.
        let (modality, range) = match self.modality {
            Medium::Video => (Modality::Video, [0.0, 255.0]),
            Medium::Audio => (Modality::Audio, [-1.0, 1.0]),
            Medium::Text => (Modality::Text, [0.0, 255.0]),
        };
        Ok(TokenizerSpec { modality, kind, codes: kind, strides: self.strides, causal: self.causal, range })
    }
}

/// An instance with what it is: what configuration and tokenizer share the code of.
pub(crate) struct Held {
    pub instance: Instance,
    pub spec: TokenizerSpec,
    /// Whether its codes have an axis of levels, be there only one.
    level_axis: bool,
}

impl Held {
    pub fn new(instance: Instance) -> Result<Self> {
        let answer: Answer = instance.answer(Ask::Describe)?;
        let level_axis = matches!(answer.tokens, Kind::Levels { .. });
        let spec = answer.spec().map_err(|message| wrong(instance.id(), format!("describe: {message}")))?;
        Ok(Self { instance, spec, level_axis })
    }

    /// The grid of the tokens of media of these sides.
    pub fn grid(&self, media: &[usize]) -> Result<[usize; 3]> {
        let grid = self.instance.run(Ask::Shape(signed(media)), &[])?.grid;
        let sides = grid.iter().try_fold(1usize, |all, &side| {
            let side = usize::try_from(side).ok().filter(|&side| side > 0)?;
            all.checked_mul(side)
        });
        match sides {
            Some(_) => Ok(grid.map(|side| side as usize)),
            None => Err(wrong(self.instance.id(), format!("shape: it makes {media:?} a grid of {grid:?}"))),
        }
    }

    /// The tokens of a grid as the ABI lays them out: their type and sides.
    pub fn layout(&self, grid: [Option<usize>; 3]) -> (Element, Vec<Option<usize>>) {
        let (element, last) = match self.spec.kind {
            TokenKind::Codes { levels, .. } => (Element::I64, self.level_axis.then_some(levels)),
            TokenKind::Vectors { channels } => (Element::F32, Some(channels)),
        };
        (element, grid.into_iter().chain(last.map(Some)).collect())
    }

    /// Media as the ABI lays them out: their type and sides.
    pub fn media(&self) -> (Element, &'static [Option<usize>]) {
        match self.spec.modality {
            Modality::Video => (Element::U8, &[None, None, None, Some(3)]),
            Modality::Audio => (Element::F32, &[None, None]),
            Modality::Text => (Element::U8, &[None]),
        }
    }

    /// What a plugin gave as tokens, looked at.
    pub fn tokens(&self, function: &str, grid: [usize; 3], output: Output) -> Result<Tokens> {
        let code = |code: i64, entries: usize| {
            u32::try_from(code).ok().filter(|&code| (code as usize) < entries).ok_or_else(|| {
                let message = format!("{function}: it makes the code {code}, its codebook has {entries} entries");
                wrong(self.instance.id(), message)
            })
        };
        let tokens = match self.spec.kind {
            TokenKind::Codes { levels, entries, .. } => {
                let codes = output.i64().into_iter().map(|one| code(one, entries)).collect::<Result<_>>()?;
                Tokens::levels(grid, levels, entries, codes)
            }
            TokenKind::Vectors { channels } => Tokens::vectors(grid, channels, output.f32()),
        };
        tokens.map_err(|error| wrong(self.instance.id(), format!("{function}: {}", error.message())))
    }

    /// A medium of these sides, to tokens.
    pub fn encode(&self, medium: View, sides: &[usize]) -> Result<Tokens> {
        let asked = if self.spec.modality == Modality::Text { &[0][..] } else { sides };
        let grid = self.grid(asked)?;
        let (element, shape) = self.layout(grid.map(Some));
        let wanted = [Wanted::some("the tokens", element, &shape)];
        let mut given = self.instance.run(Ask::Encode(medium), &wanted)?;
        self.tokens("encode", grid, given.output(0))
    }

    /// Tokens to a medium.
    pub fn decode(&self, tokens: &Tokens) -> Result<Output> {
        if !self.spec.kind.holds(tokens.values()) {
            return Err(wrong(self.instance.id(), format!("it decodes {}, these tokens are others", self.spec.kind)));
        }
        let (element, sides) = self.media();
        let wanted = [Wanted::some("the media", element, sides)];
        let mut returned = self.lend(tokens, |view| self.instance.run(Ask::Decode(view), &wanted))?;
        let media = returned.output(0);
        let (shape, grid) = (&media.shape, tokens.grid());
        if self.spec.modality != Modality::Text && self.grid(shape)? != grid {
            let message = format!("decode: it makes {shape:?} of the grid {grid:?}, but its grid is another");
            return Err(wrong(self.instance.id(), message));
        }
        Ok(media)
    }

    /// Lends tokens that are its own to `body`.
    pub fn lend<T>(&self, tokens: &Tokens, body: impl FnOnce(View) -> T) -> T {
        let mut sides = tokens.grid().to_vec();
        match tokens.values() {
            TokenValues::Codes { levels, codes, .. } => {
                sides.extend(self.level_axis.then_some(*levels));
                let wide: Vec<i64> = codes.iter().map(|&code| i64::from(code)).collect();
                body(View::of(&wide, &sides))
            }
            TokenValues::Vectors { channels, values } => {
                sides.push(*channels);
                body(View::of(values, &sides))
            }
        }
    }
}

/// A tokenizer of a plugin, configured.
pub struct HostedTokenizerConfig {
    library: Arc<Library>,
    id: String,
    config: Value,
    held: Mutex<Held>,
    spec: TokenizerSpec,
}

impl HostedTokenizerConfig {
    /// Makes an instance and asks what it is.
    ///
    /// # Errors
    /// Where the plugin refuses the configuration, or its answers are not in order.
    pub fn new(library: Arc<Library>, id: &str, config: Value) -> Result<Self> {
        let held = Held::new(library.create(id, &config)?)?;
        Ok(Self { library, id: id.to_owned(), config, spec: held.spec.clone(), held: Mutex::new(held) })
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TokenizerConfig for HostedTokenizerConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn spec(&self) -> TokenizerSpec {
        self.spec.clone()
    }

    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        let sides = match *media {
            MediaShape::Clip { frames, height, width, .. } => vec![frames, height, width, 3],
            MediaShape::Text => vec![0],
            MediaShape::Sound { samples, channels, .. } => vec![samples, channels],
        };
        match self.held().grid(&sides) {
            Ok(grid) => Ok(TokenShape { grid, kind: self.spec.kind }),
            Err(error) => {
                Err(ConfigError::new("", error.message(), "change the size of the media, or the plugin's settings"))
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
        let message = format!("`{}` is a plugin's tokenizer, which is used as it is and cannot be trained", self.id);
        Err(ConfigError::new("kind", message, "train the backbone over it, `train.target = \"backbone\"`"))
    }

    fn build(&self, _: &Device, _: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        let held = Held::new(self.library.create(&self.id, &self.config)?)?;
        Ok(Box::new(HostedTokenizer { spec: held.spec.clone(), held: Mutex::new(held) }))
    }
}

/// A tokenizer of a plugin.
pub struct HostedTokenizer {
    held: Mutex<Held>,
    spec: TokenizerSpec,
}

impl Tokenizer for HostedTokenizer {
    fn spec(&self) -> &TokenizerSpec {
        &self.spec
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match (media, self.spec.modality) {
            (Media::Clip(clip), Modality::Video) => {
                let [t, h, w] = clip.shape();
                held.encode(View::of(clip.pixels(), &[t, h, w, 3]), &[t, h, w, 3])
            }
            (Media::Sound(sound), Modality::Audio) => {
                held.encode(View::of(sound.samples(), &sound.shape()), &sound.shape())
            }
            (Media::Text(text), Modality::Text) => held.encode(View::of(text.as_bytes(), &[text.len()]), &[text.len()]),
            (other, modality) => Err(other.unexpected(held.instance.id(), modality)),
        }
    }

    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let made = held.decode(tokens)?;
        let bad = |message: &str| wrong(held.instance.id(), format!("decode: {message}"));
        // The rate is no part of the tokens; whoever decodes them knows it.
        match self.spec.modality {
            Modality::Text => String::from_utf8(made.u8()).map(Media::Text).map_err(|_| bad("its text is not UTF-8")),
            Modality::Audio => {
                let sound = Sound::new(made.shape[1], Rate::whole(1), made.f32());
                sound.map(Media::Sound).map_err(|error| bad(error.message()))
            }
            Modality::Video => {
                let shape = [made.shape[0], made.shape[1], made.shape[2]];
                Ok(Media::Clip(Clip::new(shape, Rate::whole(1), made.u8())?))
            }
        }
    }
}
