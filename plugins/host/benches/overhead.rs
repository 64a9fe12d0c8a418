//! What it costs that a tokenizer is a plugin: a call with a megabyte in and a megabyte out, against the same loop as a
//! function of this program.
//!
//!   cargo bench -p musiva-plugin-host
//!
//! Times are medians; the two ways take turns, so that a busy machine slows both.

#![allow(clippy::unwrap_used)]

use musiva_core::{Clip, Hosted, Make, Media, Rate, Registry, Role, Source, Tokens};
use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{Context, Modality, Plugin, Result, Tensor, TokenKind, Tokenizer, TokenizerSpec};
use musiva_plugin_host::{Library, Loaded, register};
use std::hint::black_box;
use std::time::Instant;

const SIDES: [usize; 3] = [1, 592, 592];
const ROUNDS: usize = 301;

/// The first pixel of each square of four: twelve bytes become three numbers of four bytes.
struct Thin;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde")]
struct Config {}

impl Plugin for Thin {
    const ID: &'static str = "org.example.thin";
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "every fourth pixel";
    type Config = Config;

    fn new(_: Config) -> Result<Self> {
        Ok(Self)
    }
}

impl Tokenizer for Thin {
    fn spec(&self) -> TokenizerSpec {
        let tokens = TokenKind::Latents { channels: 3 };
        TokenizerSpec { modality: Modality::Video, tokens, strides: [1, 2, 2], causal: true }
    }

    fn shape(&self, media: &[usize]) -> Result<[usize; 3]> {
        Ok([media[0], media[1] / 2, media[2] / 2])
    }

    fn encode(&mut self, cx: &mut Context, media: Tensor) -> Result<()> {
        let [t, h, w, _] = media.dims::<4>()?;
        thin(media.as_slice()?, w, cx.output(0, &[t, h / 2, w / 2, 3])?);
        Ok(())
    }

    fn decode(&mut self, _: &mut Context, _: Tensor) -> Result<()> {
        Ok(())
    }
}

#[inline(never)]
fn thin(pixels: &[u8], width: usize, out: &mut [f32]) {
    for (row, out) in pixels.chunks_exact(6 * width).zip(out.chunks_exact_mut(3 * width / 2)) {
        for (square, out) in row.chunks_exact(6).zip(out.chunks_exact_mut(3)) {
            out.iter_mut().zip(square).for_each(|(out, &value)| *out = f32::from(value) / 255.0);
        }
    }
}

static ENTRY: musiva_plugin::abi::Entry = musiva_plugin::entry!(Thin: Tokenizer);

fn main() {
    // SAFETY: a constant of this process.
    let library = unsafe { Library::from_entry(&ENTRY, "in process") }.unwrap();
    let loaded = Loaded { id: Thin::ID.into(), version: "1.0.0".into(), sha256: String::new(), library };
    let mut registry = Registry::default();
    register(&mut registry, &loaded).unwrap();
    let Make::Hosted(Hosted::Tokenizer(make)) = &registry.get(Role::Tokenizer, Thin::ID).unwrap().make else {
        panic!("a tokenizer")
    };
    let config = make(serde_json::json!({})).unwrap();
    let tokenizer = config.build(&burn::tensor::Device::flex(), &Source::Seed(0)).unwrap();
    let [t, h, w] = SIDES;
    let clip = |[t, h, w]: [usize; 3]| {
        let pixels = (0..t * h * w * 3).map(|i| (i * 7 % 256) as u8).collect();
        Media::Clip(Clip::new([t, h, w], Rate::whole(1), pixels).unwrap())
    };
    let (large, small) = (clip(SIDES), clip([1, 2, 2]));
    let Media::Clip(pixels) = &large else { panic!("a clip") };

    let (mut plugin, mut function, mut empty) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        plugin.push(time(|| drop(black_box(tokenizer.encode(&large).unwrap()))));
        function.push(time(|| {
            let mut out = vec![0.0; t * h * w * 3 / 4];
            thin(pixels.pixels(), w, &mut out);
            drop(black_box(Tokens::latents([t, h / 2, w / 2], 3, out).unwrap()));
        }));
        empty.push(time(|| drop(black_box(tokenizer.encode(&small).unwrap()))));
    }
    let [plugin, function, empty] = [plugin, function, empty].map(median);
    println!("a megabyte in, a megabyte out: plugin {plugin:.1} µs, function {function:.1} µs");
    println!("a call with next to nothing: {empty:.2} µs");
}

fn time(body: impl FnOnce()) -> f64 {
    let start = Instant::now();
    body();
    1e6 * start.elapsed().as_secs_f64()
}

fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
