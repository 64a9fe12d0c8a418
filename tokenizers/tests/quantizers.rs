//! The quantizers against vector-quantize-pytorch: `reference/quantizers.py` says how the numbers were
//! made, and where the package is not the paper.

#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Int, Tensor, TensorData};
use musiva_core::parameters::{Precision, save_weights, to_vec};
use musiva_core::{
    Clip, Init, Media, Parameters, Quantized, Rate, RngKey, RngStream, Sound, TokenizerConfig, WeightInit,
};
use musiva_tokenizers::losses::{LossWeights, Target, tokenizer_loss};
use musiva_tokenizers::magvit2::{Magvit2Config, NormConfig, Stage};
use musiva_tokenizers::quantizers::{AnyQuantizer, Distance, Quantizer, QuantizerConfig, RvqTokens, entropies};
use musiva_tokenizers::soundstream::SoundStreamConfig;
use serde_json::Value;
use std::collections::HashMap;

fn reference(name: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("reference/quantizers.json")).unwrap();
    all[name].clone()
}

fn numbers(value: &Value) -> Vec<f32> {
    value.as_array().unwrap().iter().map(|number| number.as_f64().unwrap() as f32).collect()
}

fn whole(value: &Value) -> Vec<i64> {
    value.as_array().unwrap().iter().map(|number| number.as_i64().unwrap()).collect()
}

fn size(value: &Value) -> usize {
    value.as_u64().unwrap() as usize
}

/// Rows of `channels` numbers that want gradients.
fn rows(value: &Value, channels: usize) -> Tensor<2> {
    let values = numbers(value);
    let shape = [values.len() / channels, channels];
    Tensor::from_data(TensorData::new(values, shape), &Device::flex().autodiff()).require_grad()
}

fn build(config: &QuantizerConfig) -> AnyQuantizer {
    config.init(&Init::new(1, &Device::flex().autodiff()))
}

fn close(what: &str, found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len(), "{what}");
    for (i, (a, b)) in found.iter().zip(wanted).enumerate() {
        assert!((a - b).abs() <= 1e-5 * b.abs().max(1.0), "{what}, {i}: {a}, not {b}");
    }
}

fn codes(made: &Quantized) -> Vec<i64> {
    let codes: Tensor<2, Int> = made.codes.clone().unwrap();
    codes.into_data().convert::<i64>().try_into_vec().unwrap()
}

/// The gradient of what `loss` makes of a pass of its own: a graph lasts for one way back.
fn gradient(quantizer: &AnyQuantizer, z: &Tensor<2>, loss: impl FnOnce(Quantized) -> Tensor<1>) -> Vec<f32> {
    let made = quantizer.forward(z.clone(), 1, RngKey::new(0));
    to_vec(z.grad(&loss(made).backward()).unwrap())
}

fn commitment(made: Quantized) -> Tensor<1> {
    made.commitment.unwrap()
}

fn number(value: &Value) -> [f32; 1] {
    [value.as_f64().unwrap() as f32]
}

#[test]
fn signs() {
    for (name, on_the_sphere) in [("lfq", false), ("bsq", true)] {
        let case = reference(name);
        let bits = size(&case["bits"]);
        let config = if on_the_sphere { QuantizerConfig::Bsq { bits } } else { QuantizerConfig::Lfq { bits } };
        let z = rows(&case["z"], bits);
        let [n, _] = z.dims();
        let quantizer = build(&config);
        let made = quantizer.forward(z.clone(), 1, RngKey::new(0));
        close(name, &to_vec(made.vectors.clone()), &numbers(&case["vectors"]));
        // The package's first channel is the highest digit, ours the lowest.
        let mirrored: Vec<i64> = whole(&case["codes"])
            .iter()
            .map(|code| (0..bits).map(|i| (code >> i & 1) << (bits - 1 - i)).sum())
            .collect();
        assert_eq!(codes(&made), mirrored);
        let weight = rows(&case["weight"], bits).inner();
        let steered = gradient(&quantizer, &z, |made| (made.vectors * weight).sum());
        close(name, &steered, &numbers(&case["vectors_gradient"]));
        close(name, &to_vec(commitment(made.clone())), &number(&case["commitment"]));
        close(name, &gradient(&quantizer, &z, commitment), &numbers(&case["commitment_gradient"]));
        let [temperature] = number(&case["temperature"]);
        let even = Tensor::full([n, 1], 1.0 / n as f32, &Device::flex());
        let both = |made: Quantized| entropies(made.bits.unwrap().z, even.clone(), temperature, bits);
        let (single, joint) = both(made);
        close(name, &to_vec(single), &number(&case["single"]));
        close(name, &to_vec(joint), &number(&case["joint"]));
        close(name, &gradient(&quantizer, &z, |made| both(made).0), &numbers(&case["single_gradient"]));
    }
}

#[test]
fn whole_numbers() {
    let case = reference("fsq");
    let levels: Vec<usize> = whole(&case["levels"]).into_iter().map(|level| level as usize).collect();
    let z = rows(&case["z"], levels.len());
    let made = build(&QuantizerConfig::Fsq { levels }).forward(z, 1, RngKey::new(0));
    assert_eq!(codes(&made), whole(&case["codes"]));
    close("fsq", &to_vec(made.vectors), &numbers(&case["vectors"]));
}

/// Entries as the reference had them at the start, in the middle of their averages: it counts one latent for each.
fn start(quantizer: &mut AnyQuantizer, entries: &[Vec<f32>], n: usize) {
    let mut weights = quantizer.weights();
    let books: Vec<String> =
        weights.keys().filter_map(|name| name.strip_suffix("entries").map(str::to_owned)).collect();
    assert_eq!(books.len(), entries.len());
    for (book, entries) in books.iter().zip(entries) {
        let mut set = |name: &str, values| weights.get_mut(&format!("{book}{name}")).unwrap().values = values;
        set("sums", entries.iter().map(|value| value / n as f32).collect());
        set("entries", entries.clone());
        weights.get_mut(&format!("{book}usage")).unwrap().values.fill(1.0 / n as f32);
    }
    quantizer.load(&weights, "the test").unwrap();
}

fn entries(quantizer: &AnyQuantizer) -> Vec<f32> {
    let books = quantizer.weights().into_iter().filter(|(name, _)| name.ends_with("entries"));
    books.flat_map(|(_, weight)| weight.values).collect()
}

#[test]
fn a_codebook_and_how_it_follows() {
    for (name, distance) in [("vq_euclidean", Distance::Euclidean), ("vq_cosine", Distance::Cosine)] {
        let case = reference(name);
        let (channels, decay) = (size(&case["channels"]), case["decay"].as_f64().unwrap());
        let config = QuantizerConfig::Vq { entries: size(&case["entries"]), channels, distance, decay, restart: 0.0 };
        let mut vq = build(&config);
        start(&mut vq, &[numbers(&case["start"])], size(&case["n"]));
        for step in case["steps"].as_array().unwrap() {
            let z = rows(&step["z"], channels);
            let made = vq.forward(z.clone(), 1, RngKey::new(0));
            assert_eq!(codes(&made), whole(&step["codes"]), "{name}");
            close(name, &to_vec(made.vectors.clone()), &numbers(&step["vectors"]));
            let weight = rows(&step["weight"], channels).inner();
            let steered = gradient(&vq, &z, |made| (made.vectors * weight).sum());
            close(name, &steered, &numbers(&step["vectors_gradient"]));
            close(name, &to_vec(commitment(made.clone())), &number(&step["commitment"]));
            close(name, &gradient(&vq, &z, commitment), &numbers(&step["commitment_gradient"]));
            vq.update_ema(&made, RngKey::new(0));
            close(name, &entries(&vq), &numbers(&step["entries_after"]));
        }
    }
}

#[test]
fn codebooks_of_what_is_left_over() {
    let case = reference("rvq");
    let (channels, count) = (size(&case["channels"]), size(&case["entries"]));
    let config = QuantizerConfig::Rvq {
        levels: size(&case["levels"]),
        entries: count,
        channels,
        decay: case["decay"].as_f64().unwrap(),
        restart: 0.0,
        dropout: 0.0,
        tokens: RvqTokens::Codes,
    };
    let mut rvq = build(&config);
    let books: Vec<Vec<f32>> = numbers(&case["start"]).chunks(count * channels).map(<[f32]>::to_vec).collect();
    start(&mut rvq, &books, size(&case["n"]));
    for step in case["steps"].as_array().unwrap() {
        let z = rows(&step["z"], channels);
        let made = rvq.forward(z.clone(), 1, RngKey::new(0));
        assert_eq!(codes(&made), whole(&step["codes"]));
        close("rvq", &to_vec(made.vectors.clone()), &numbers(&step["vectors"]));
        close("rvq", &to_vec(commitment(made.clone())), &number(&step["commitment"]));
        close("rvq", &gradient(&rvq, &z, commitment), &numbers(&step["commitment_gradient"]));
        rvq.update_ema(&made, RngKey::new(0));
        close("rvq", &entries(&rvq), &numbers(&step["entries_after"]));
    }
}

#[test]
fn a_token_of_a_posterior_is_the_mean_that_training_decodes() {
    let quantizer = || QuantizerConfig::Kl { channels: 5 };
    let sounds = SoundStreamConfig { channels: 4, strides: vec![2, 3], quantizer: quantizer(), film: None };
    let samples = (0..120).map(|i| (0.3 * i as f32).sin()).collect();
    let sound = Media::Sound(Sound::new(1, Rate::whole(8000), samples).unwrap());
    let pixels = clips()[0].pixels().iter().map(|&pixel| f32::from(pixel) / 127.5 - 1.0).collect::<Vec<_>>();
    let waves = (0..120).map(|i| (0.3 * i as f32).sin()).collect::<Vec<f32>>();
    type Case = (Box<dyn TokenizerConfig>, Media, Vec<f32>, [usize; 5]);
    let all: [Case; 2] = [
        (Box::new(video(quantizer())), Media::Clip(clips().swap_remove(0)), pixels, [1, 5, 12, 20, 3]),
        (Box::new(sounds), sound, waves, [1, 120, 1, 1, 1]),
    ];
    for (config, media, values, shape) in all {
        let mut tokenizer = config.build(&Device::flex(), &WeightInit::Seed(2)).unwrap();
        let tokens = tokenizer.encode(&media).unwrap();
        let media = Tensor::<5>::from_data(TensorData::new(values, shape), &Device::flex());
        let trained = tokenizer.trainable().unwrap();
        let made = trained.reconstruct(media.clone(), true, RngKey::new(0)).quantized;
        let (mean, spread) = (to_vec(made.latents), to_vec(made.log_variance.unwrap()));
        close("tokens", tokens.as_vectors().unwrap(), &mean);
        close("vectors", &to_vec(made.vectors), &mean);
        assert!(mean.iter().zip(&spread).any(|(mean, spread)| (mean - spread).abs() > 0.1), "the two differ");
        // Latents that pass as they are, to warm up a decoder, are the means too.
        let free = trained.reconstruct(media, false, RngKey::new(0)).quantized;
        close("free", &to_vec(free.vectors), &mean);
        assert!(free.log_variance.is_none() && free.commitment.is_none());
    }
}

/// A small tokenizer of five-number latents, and clips that fit it.
fn video(quantizer: QuantizerConfig) -> Magvit2Config {
    let stage = |channels, down| Stage { channels, blocks: 1, frames: 3, down };
    Magvit2Config { patch: 2, stages: vec![stage(5, [2, 2, 2]), stage(6, [1; 3])], quantizer, norm: NormConfig::Rms }
}

fn clips() -> Vec<Clip> {
    let mut stream = RngKey::new(4).stream(RngStream::Data);
    let mut clip = || Clip::new([5, 12, 20], Rate::whole(8), (0..3600).map(|_| stream.bits() as u8).collect());
    vec![clip().unwrap(), clip().unwrap(), clip().unwrap()]
}

#[test]
fn a_video_tokenizer_learns_by_each_and_its_weights_decode() {
    let vq = |distance| QuantizerConfig::Vq { entries: 17, channels: 5, distance, decay: 0.9, restart: 0.1 };
    let clips = clips();
    for quantizer in [
        QuantizerConfig::Lfq { bits: 5 },
        QuantizerConfig::Bsq { bits: 5 },
        QuantizerConfig::Fsq { levels: vec![8, 5, 4] },
        vq(Distance::Euclidean),
        vq(Distance::Cosine),
        QuantizerConfig::Rvq {
            levels: 3,
            entries: 7,
            channels: 5,
            decay: 0.9,
            restart: 0.1,
            dropout: 0.5,
            tokens: RvqTokens::Codes,
        },
        QuantizerConfig::Kl { channels: 5 },
    ] {
        let config = video(quantizer);
        let mut tokenizer = config.build(&Device::flex().autodiff(), &WeightInit::Seed(2)).unwrap();
        assert_eq!(tokenizer.learned().unwrap().count(), config.parameters());
        let target = Target::new(&clips, config.strides(), &Device::flex().autodiff());
        let weights = LossWeights {
            l1: 1.0,
            l2: 0.0,
            foreground: 1.0,
            entropy: 0.1,
            diversity: 0.1,
            temperature: 0.1,
            commitment: 0.25,
            kl: 1e-6,
        };
        let trainable = tokenizer.trainable().unwrap();
        for step in 0..3 {
            let key = RngKey::new(6).step(step);
            let made = trainable.reconstruct(target.clips.clone(), true, key);
            trainable.update_ema(&made.quantized, key);
            let loss = tokenizer_loss(&target, made, &weights);
            let mut moved = Vec::new();
            let mut gradients = loss.total.backward();
            trainable.parameters_mut().gradients(&mut gradients, &mut |name, gradient| {
                assert!(to_vec(gradient).iter().all(|g| g.is_finite()), "{config:?}: {name}");
                moved.push(name.to_owned());
            });
            assert!(moved.iter().any(|name| name.starts_with("encoder")), "{config:?}");
            assert!(!moved.iter().any(|name| name.starts_with("quantizer")), "{config:?}");
        }
        // What a file of weights keeps, 16 bits of each number, is all that decoding takes.
        let path = tempfile::tempdir().unwrap();
        let path = path.path().join("weights.safetensors");
        let learned = tokenizer.learned().unwrap().weights();
        save_weights(&path, &learned, Precision::F16, HashMap::new()).unwrap();
        let opened = config.build(&Device::flex(), &WeightInit::File(path)).unwrap();
        let tokens = opened.encode(&Media::Clip(clips[0].clone())).unwrap();
        assert_eq!(tokens.grid(), [3, 3, 5]);
        let (Media::Clip(one), Media::Clip(two)) =
            (opened.decode(&tokens).unwrap(), tokenizer.decode(&tokens).unwrap())
        else {
            panic!("clips")
        };
        assert!(one.pixels().iter().zip(two.pixels()).all(|(a, b)| a.abs_diff(*b) <= 2), "{config:?}");
    }
}
