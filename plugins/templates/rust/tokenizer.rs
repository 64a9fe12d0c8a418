//! Brightness in equal steps: one code a pixel.

use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{Context, Error, Modality, Plugin, Result, Tensor, TokenKind, Tokenizer, TokenizerSpec};

/// What a recipe says of it.
#[derive(Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde", default, deny_unknown_fields)]
struct Config {
    /// How many steps of brightness there are.
    #[schemars(range(min = 2, max = 256))]
    levels: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self { levels: 16 }
    }
}

struct Brightness {
    levels: usize,
}

impl Plugin for Brightness {
    const ID: &'static str = "org.example.new";
    const VERSION: &'static str = env!("CARGO_PKG_VERSION");
    const SUMMARY: &'static str = "brightness in equal steps";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { levels: config.levels })
    }
}

impl Tokenizer for Brightness {
    fn spec(&self) -> TokenizerSpec {
        TokenizerSpec {
            modality: Modality::Video,
            tokens: TokenKind::Codes { entries: self.levels, bits: None },
            strides: [1, 1, 1],
            causal: true,
        }
    }

    fn shape(&self, media: &[usize]) -> Result<[usize; 3]> {
        match *media {
            [t, h, w, 3] => Ok([t, h, w]),
            _ => Err(Error::input("it reads clips")),
        }
    }

    fn encode(&mut self, cx: &mut Context, media: Tensor) -> Result<()> {
        let codes = cx.output::<i64>(0, &self.shape(media.shape())?)?;
        for (code, pixel) in codes.iter_mut().zip(media.as_slice::<u8>()?.chunks(3)) {
            let sum: usize = pixel.iter().map(|&value| usize::from(value)).sum();
            *code = (sum * self.levels / 766) as i64;
        }
        Ok(())
    }

    fn decode(&mut self, cx: &mut Context, tokens: Tensor) -> Result<()> {
        let pixels = cx.output::<u8>(0, &[tokens.shape(), &[3]].concat())?;
        for (pixel, &code) in pixels.chunks_mut(3).zip(tokens.as_slice::<i64>()?) {
            pixel.fill((code as usize * 255 / (self.levels - 1)) as u8);
        }
        Ok(())
    }
}

musiva_plugin::export_plugin!(Brightness: Tokenizer);
