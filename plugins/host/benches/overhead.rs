//! What it costs that a tokenizer is a plugin: a call with a megabyte in and a megabyte out, in this process and in one
//! of its own, against the same loop as a function of this program.
//!
//!   cargo bench --workspace --bench overhead
//!
//! Times are medians; the ways take turns, so that a busy machine slows all of them.

#![allow(clippy::unwrap_used)]

use musiva_core::{Clip, Hosted, Make, Media, Rate, Registry, Role, Tokens, WeightInit};
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

/// A name, and what it stands for.
type Way<'a> = (&'static str, Box<dyn Fn() -> Tokens + 'a>);

fn main() {
    // SAFETY: a constant of this process.
    let here = unsafe { Library::from_entry(&ENTRY, "in process") }.unwrap();
    #[cfg(target_os = "linux")]
    if std::env::args().nth(1).as_deref() == Some("serve") {
        return musiva_plugin_host::serve_library(&here).unwrap();
    }
    let plugin = built(here.clone());
    #[cfg(target_os = "linux")]
    let isolated = {
        let command = vec![std::env::current_exe().unwrap().into(), "serve".into()];
        let isolation = musiva_plugin_host::Isolation { command, limit: std::time::Duration::from_secs(60) };
        built(Library::isolated(std::path::Path::new("in process"), here.report().unwrap(), isolation).unwrap())
    };
    let [t, h, w] = SIDES;
    let clip = |[t, h, w]: [usize; 3]| {
        let pixels = (0..t * h * w * 3).map(|i| (i * 7 % 256) as u8).collect();
        Media::Clip(Clip::new([t, h, w], Rate::whole(1), pixels).unwrap())
    };
    let (large, small) = (clip(SIDES), clip([1, 2, 2]));
    let Media::Clip(pixels) = &large else { panic!("a clip") };
    let function = || {
        let mut out = vec![0.0; t * h * w * 3 / 4];
        thin(pixels.pixels(), w, &mut out);
        Tokens::vectors([t, h / 2, w / 2], 3, out).unwrap()
    };
    let mut ways: Vec<Way> = vec![("a function, 1 MB in and out", Box::new(function))];
    let mut add = |large_name, small_name, tokenizer: Box<dyn musiva_core::Tokenizer>| {
        let tokenizer = std::rc::Rc::new(tokenizer);
        let (also, large, small) = (tokenizer.clone(), large.clone(), small.clone());
        ways.push((large_name, Box::new(move || tokenizer.encode(&large).unwrap())));
        ways.push((small_name, Box::new(move || also.encode(&small).unwrap())));
    };
    add("a plugin, 1 MB in and out", "a plugin, 12 bytes in and out", plugin);
    #[cfg(target_os = "linux")]
    add("isolated, 1 MB in and out", "isolated, 12 bytes in and out", isolated);

    let mut times = vec![Vec::new(); ways.len()];
    for _ in 0..ROUNDS {
        for ((_, way), times) in ways.iter().zip(&mut times) {
            times.push(time(|| drop(black_box(way()))));
        }
    }
    // `cargo test` runs benches too, to see that they run.
    let wanted = &ways[0].1();
    assert!(ways.iter().filter(|(name, _)| name.contains("MB")).all(|(_, way)| way() == *wanted));
    let medians: Vec<f64> = times.into_iter().map(median).collect();
    for ((name, _), micros) in ways.iter().zip(&medians) {
        println!("{name:30} {micros:9.1} µs {:7.2}", micros / medians[0]);
    }
}

fn built(library: std::sync::Arc<Library>) -> Box<dyn musiva_core::Tokenizer> {
    let loaded = Loaded { id: Thin::ID.into(), version: "1.0.0".into(), sha256: String::new(), library };
    let mut registry = Registry::default();
    register(&mut registry, &loaded).unwrap();
    let Make::Hosted(Hosted::Tokenizer(make)) = &registry.get(Role::Tokenizer, Thin::ID).unwrap().make else {
        panic!("a tokenizer")
    };
    make(serde_json::json!({})).unwrap().build(&burn::tensor::Device::flex(), &WeightInit::Seed(0)).unwrap()
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
