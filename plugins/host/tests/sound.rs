//! A tokenizer of sounds in a plugin, called in process: three samples a token, as they are.

#![allow(clippy::unwrap_used)]

use musiva_core::{Media, MediaShape, Modality, Rate, Registry, Role, Sound, TokenKind, TokenizerConfig, WeightInit};
use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{Context, Error, Plugin, Result, Streaming, Tensor, Tokenizer, TokenizerSpec};
use musiva_plugin_host::{Library, Loaded, Outcome, check, register};
use serde_json::json;

const HOP: usize = 3;

#[derive(Default)]
struct Triples {
    pending: Vec<f32>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde")]
struct Config {}

impl Plugin for Triples {
    const ID: &'static str = "org.example.triples";
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "three samples a token";
    type Config = Config;

    fn new(_: Config) -> Result<Self> {
        Ok(Self::default())
    }
}

impl Tokenizer for Triples {
    fn spec(&self) -> TokenizerSpec {
        let tokens = musiva_plugin::TokenKind::Latents { channels: HOP };
        TokenizerSpec { modality: musiva_plugin::Modality::Audio, tokens, strides: [HOP, 1, 1], causal: true }
    }

    fn shape(&self, media: &[usize]) -> Result<[usize; 3]> {
        match *media {
            [samples, 1] => Ok([samples.div_ceil(HOP), 1, 1]),
            _ => Err(Error::input(format!("it hears one channel, not {media:?}"))),
        }
    }

    fn encode(&mut self, cx: &mut Context, media: Tensor) -> Result<()> {
        let samples = media.as_slice::<f32>()?;
        cx.output::<f32>(0, &[samples.len().div_ceil(HOP), 1, 1, HOP])?[..samples.len()].copy_from_slice(samples);
        Ok(())
    }

    fn decode(&mut self, cx: &mut Context, tokens: Tensor) -> Result<()> {
        let values = tokens.as_slice::<f32>()?;
        cx.output::<f32>(0, &[values.len(), 1])?.copy_from_slice(values);
        Ok(())
    }
}

impl Streaming for Triples {
    fn reset(&mut self) -> Result<()> {
        self.pending.clear();
        Ok(())
    }

    fn encode_step(&mut self, cx: &mut Context, samples: Tensor, last: bool) -> Result<()> {
        self.pending.extend(samples.as_slice::<f32>()?);
        let length = self.pending.len();
        let ready = if last { length.div_ceil(HOP) } else { length / HOP };
        if ready > 0 {
            let taken = length.min(ready * HOP);
            cx.output::<f32>(0, &[ready, 1, 1, HOP])?[..taken].copy_from_slice(&self.pending[..taken]);
            self.pending.drain(..taken);
        }
        Ok(())
    }

    fn decode_step(&mut self, cx: &mut Context, tokens: Tensor, _last: bool) -> Result<()> {
        self.decode(cx, tokens)
    }
}

static ENTRY: musiva_plugin::abi::Entry = musiva_plugin::entry!(Triples: Tokenizer + Streaming);

fn loaded() -> Loaded {
    // SAFETY: a constant of this process.
    let library = unsafe { Library::from_entry(&ENTRY, "in process") }.unwrap();
    Loaded { id: Triples::ID.into(), version: "1.0.0".into(), sha256: "0".repeat(64), library }
}

fn config() -> Box<dyn TokenizerConfig> {
    let mut registry = Registry::default();
    register(&mut registry, &loaded()).unwrap();
    registry.get(Role::Tokenizer, Triples::ID).unwrap().make.tokenizer().unwrap()(json!({})).unwrap()
}

#[test]
fn it_conforms_as_a_whole_and_piece_by_piece() {
    let findings = check(&loaded(), &json!({}));
    assert!(findings.iter().all(|finding| !matches!(finding.outcome, Outcome::Fails(_))), "{findings:#?}");
    let holds = |name: &str| findings.iter().any(|f| f.name == name && matches!(f.outcome, Outcome::Holds(_)));
    assert!(["encode", "decode", "causality", "streaming"].into_iter().all(holds), "{findings:#?}");
}

#[test]
fn sounds_come_back_and_other_media_are_refused() {
    let config = config();
    let spec = config.spec();
    assert_eq!((spec.modality, spec.kind), (Modality::Audio, TokenKind::Vectors { channels: HOP }));
    let rate = Rate::whole(8000);
    let shape = |samples, channels| config.shape(&MediaShape::Sound { samples, channels, rate });
    assert_eq!(shape(11, 1).unwrap().grid, [4, 1, 1]);
    assert!(shape(11, 2).unwrap_err().message.contains("it hears one channel, not [11, 2]"));
    let tokenizer = config.build(&burn::tensor::Device::flex(), &WeightInit::Seed(0)).unwrap();
    let samples: Vec<f32> = (0..11).map(|i| (i as f32 * 0.7).sin()).collect();
    let tokens = tokenizer.encode(&Media::Sound(Sound::new(1, rate, samples.clone()).unwrap())).unwrap();
    let back = tokenizer.decode(&tokens).unwrap().sound("the plugin").unwrap();
    assert_eq!(back.samples(), [samples, vec![0.0]].concat());
    assert!(tokenizer.encode(&Media::Text("a tone".into())).unwrap_err().to_string().contains(Triples::ID));
}
