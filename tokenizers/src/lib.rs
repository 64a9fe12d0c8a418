//! Tokenizers: media ⇄ tokens.
//!
//! [`magvit2`], [`cvivit`] and [`pixels`] for clips and images, [`soundstream`] for sound, [`text`] for words, [`quantizers`]
//! between latents and tokens.
//! What only training needs stands apart, in [`losses`], [`discriminators`] and their [`settings`], and is no part of a tokenizer.

#![forbid(unsafe_code)]

mod conv;
pub mod cvivit;
pub mod discriminators;
pub mod losses;
pub mod magvit2;
pub mod pixels;
pub mod quantizers;
pub mod settings;
pub mod soundstream;
mod stft;
mod stream_state;
pub mod text;
pub mod tiles;
mod video;

pub use conv::Size;

use musiva_core::{Component, Make, Registry, Result};

/// Registers all tokenizers of this crate, and the measures of what they make.
pub fn register(registry: &mut Registry) -> Result<()> {
    registry.register(Component {
        kind: "magvit2",
        summary: "causal 3-D convolutional video tokenizer, discrete (lfq, bsq, fsq, vq, rvq) or continuous (kl)",
        origin: "built-in".into(),
        schema: schemars::schema_for!(magvit2::Magvit2Config).into(),
        learns: true,
        make: Make::Tokenizer(|value| Ok(Box::new(serde_json::from_value::<magvit2::Magvit2Config>(value)?))),
    })?;
    registry.register(Component {
        kind: "cvivit",
        summary: "video tokenizer of a spatial and a causal temporal Transformer, discrete or continuous (kl)",
        origin: "built-in".into(),
        schema: schemars::schema_for!(cvivit::CVivitConfig).into(),
        learns: true,
        make: Make::Tokenizer(|value| Ok(Box::new(serde_json::from_value::<cvivit::CVivitConfig>(value)?))),
    })?;
    registry.register(Component {
        kind: "pixels",
        summary: "pixels themselves: black and white ones as the bits of patches, or red, green and blue as three codes",
        origin: "built-in".into(),
        schema: schemars::schema_for!(pixels::PixelsConfig).into(),
        learns: false,
        make: Make::Tokenizer(|value| Ok(Box::new(serde_json::from_value::<pixels::PixelsConfig>(value)?))),
    })?;
    registry.register(Component {
        kind: "soundstream",
        summary: "causal 1-D convolutional audio tokenizer, with residual codebooks (rvq) or any other quantizer",
        origin: "built-in".into(),
        schema: schemars::schema_for!(soundstream::SoundStreamConfig).into(),
        learns: true,
        make: Make::Tokenizer(|value| Ok(Box::new(serde_json::from_value::<soundstream::SoundStreamConfig>(value)?))),
    })?;
    registry.register(Component {
        kind: "bpe",
        summary: "text by byte-pair encoding, or any tokenizer.json",
        origin: "built-in".into(),
        schema: schemars::schema_for!(text::TextConfig).into(),
        learns: true,
        make: Make::Tokenizer(|value| Ok(Box::new(serde_json::from_value::<text::TextConfig>(value)?))),
    })?;
    registry.register(Component {
        kind: "lpips",
        summary: "how different pictures look by VGG16's features, mean over the frames: LPIPS 0.1",
        origin: "built-in".into(),
        schema: schemars::schema_for!(losses::LpipsConfig).into(),
        learns: false,
        make: Make::Metric(|value| Ok(Box::new(serde_json::from_value::<losses::LpipsConfig>(value)?))),
    })?;
    settings::register(registry)
}

/// The page's code, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/add-a-tokenizer.md")]
pub struct AddATokenizer;
