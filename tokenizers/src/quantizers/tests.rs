//! What all of the family have in common.

use super::*;
use burn::tensor::{Device, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::{Init, Parameters, RngStream};

pub(super) fn normals(shape: [usize; 2], seed: u64, device: &Device) -> Tensor<2> {
    let values = RngKey::new(seed).stream(RngStream::Noise).normals(shape[0] * shape[1]);
    Tensor::from_data(TensorData::new(values, shape), device)
}

pub(super) fn ints<const D: usize>(codes: Tensor<D, Int>) -> Vec<i64> {
    to_ints(codes)
}

const EUCLIDEAN: Following = Following { distance: Distance::Euclidean, decay: 0.9, restart: 0.1 };

/// One of each kind.
pub(super) fn all() -> Vec<QuantizerConfig> {
    let vq = |distance| QuantizerConfig::Vq { entries: 13, channels: 5, distance, decay: 0.9, restart: 0.1 };
    vec![
        QuantizerConfig::Lfq { bits: 5 },
        QuantizerConfig::Bsq { bits: 5 },
        QuantizerConfig::Fsq { levels: vec![2, 3, 4, 5, 7] },
        vq(Distance::Euclidean),
        vq(Distance::Cosine),
        QuantizerConfig::Rvq {
            levels: 3,
            entries: 7,
            channels: 5,
            decay: 0.9,
            restart: 0.1,
            dropout: 0.0,
            tokens: RvqTokens::Codes,
        },
        QuantizerConfig::Kl { channels: 5 },
    ]
}

fn build(config: &QuantizerConfig, device: &Device) -> AnyQuantizer {
    config.init(&Init::new(7, device))
}

/// A few steps of a codebook's life, on batches of 3 examples with 4·5·2 places each.
fn live(quantizer: &mut AnyQuantizer, steps: std::ops::Range<u64>, device: &Device) {
    for step in steps {
        let key = RngKey::new(9).step(step);
        let made = quantizer.forward(normals([120, 5], step, device), 3, key);
        quantizer.update_ema(&made, key);
    }
}

fn bits(quantizer: &AnyQuantizer) -> Vec<(String, Vec<u32>)> {
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect();
    quantizer.weights().into_iter().map(|(name, weight)| (name, bits(weight.values))).collect()
}

#[test]
fn what_is_decoded_is_what_training_decoded() {
    let device = Device::flex();
    for config in all() {
        let mut quantizer = build(&config, &device);
        if config.parameters() > 0 {
            live(&mut quantizer, 0..3, &device);
        }
        let moments = normals([24, 5 * config.moments()], 77, &device);
        let made = quantizer.forward(moments.clone(), 2, RngKey::new(0));
        let tokens = quantizer.tokens([2, 3, 4], moments.slice_dim(1, 0..5)).unwrap();
        let vectors = quantizer.vectors(&tokens).unwrap();
        for (a, b) in to_vec(made.vectors).into_iter().zip(&vectors) {
            assert!((a - b).abs() < 1e-5, "{config:?}");
        }
        // Vectors are their own nearest: encoding them again gives the same tokens. Of residual codes
        // this holds for no greedy search.
        if !matches!(config, QuantizerConfig::Rvq { .. } | QuantizerConfig::Fsq { .. }) {
            let vectors = Tensor::from_data(TensorData::new(vectors, [24, 5]), &device);
            assert_eq!(quantizer.tokens([2, 3, 4], vectors).unwrap(), tokens, "{config:?}");
        }
        if let Some(codes) = made.codes {
            let codes: Vec<u32> = to_codes(codes);
            assert_eq!(tokens.as_codes().unwrap(), codes, "{config:?}");
        }
    }
}

#[test]
fn gradients_pass_straight_through() {
    let device = Device::flex().autodiff();
    let weights = normals([24, 5], 5, &Device::flex());
    for config in all() {
        let z = normals([24, 5 * config.moments()], 77, &device).require_grad();
        let made = || build(&config, &device).forward(z.clone(), 2, RngKey::new(0));
        let gradients = (made().vectors * weights.clone()).sum().backward();
        let found = to_vec(z.grad(&gradients).unwrap().slice_dim(1, 0..5));
        // Through the sphere and through the bound the gradient is that of these, which have their own tests;
        // here it is enough that no latent is without one.
        let exact = match &config {
            QuantizerConfig::Lfq { .. } | QuantizerConfig::Kl { .. } | QuantizerConfig::Rvq { .. } => true,
            QuantizerConfig::Vq { distance, .. } => *distance == Distance::Euclidean,
            _ => false,
        };
        match exact {
            true => assert_eq!(found, to_vec(weights.clone()), "{config:?}"),
            false => assert!(found.iter().all(|g| g.is_finite() && *g != 0.0), "{config:?}"),
        }
        if let Some(commitment) = made().commitment {
            let found = to_vec(z.grad(&commitment.backward()).unwrap());
            assert!(found.iter().all(|g| g.is_finite()) && found.iter().any(|g| *g != 0.0), "{config:?}");
        }
    }
}

#[test]
fn a_latent_of_zeros_has_a_gradient() {
    let device = Device::flex().autodiff();
    for config in all().into_iter().filter(|config| config.moments() == 1) {
        let z = Tensor::<2>::zeros([3, 5], &device).require_grad();
        let made = build(&config, &device).forward(z.clone(), 1, RngKey::new(0));
        let found = to_vec(z.grad(&made.vectors.sum().backward()).unwrap());
        assert!(found.iter().all(|g| g.is_finite()), "{config:?}: {found:?}");
    }
}

#[test]
fn the_same_seed_lives_the_same_life_with_or_without_gradients() {
    let config = &all()[5];
    let (mut one, mut two) = (build(config, &Device::flex()), build(config, &Device::flex().autodiff()));
    live(&mut one, 0..6, &Device::flex());
    live(&mut two, 0..6, &Device::flex().autodiff());
    assert_eq!(bits(&one), bits(&two));
}

#[test]
fn a_life_that_is_saved_goes_on_to_the_bit() {
    for config in [&all()[3], &all()[4], &all()[5]] {
        let device = Device::flex();
        let mut whole = build(config, &device);
        live(&mut whole, 0..3, &device);
        let saved = whole.weights();
        live(&mut whole, 3..9, &device);
        let mut resumed = build(config, &device);
        resumed.load(&saved, "the test").unwrap();
        live(&mut resumed, 3..9, &device);
        assert_eq!(bits(&whole), bits(&resumed), "{config:?}");
    }
}

#[test]
fn tokens_of_another_kind_are_refused() {
    let tokens = [
        Tokens::codes([1, 1, 2], 6, vec![0, 1]).unwrap(),
        Tokens::levels([1, 1, 1], 2, 6, vec![0, 1]).unwrap(),
        Tokens::levels([1, 1, 1], 4, 7, vec![0; 4]).unwrap(),
        Tokens::vectors([1, 1, 1], 3, vec![0.0; 3]).unwrap(),
    ];
    for config in all() {
        let quantizer = build(&config, &Device::flex());
        for tokens in &tokens {
            let error = quantizer.vectors(tokens).unwrap_err().to_string();
            assert!(error.contains(&format!("this tokenizer makes {}", config.kind())), "{error}");
        }
    }
}

#[test]
fn each_level_takes_something_off_the_error() {
    let device = Device::flex();
    let mut rvq = Rvq::new([5, 31, 4], EUCLIDEAN, 1.0, &Init::new(1, &device));
    let batch = |step| normals([600, 4], step, &device);
    for step in 0..12 {
        let key = RngKey::new(2).step(step);
        let made = rvq.forward(batch(step), 6, key);
        rvq.update_ema(&made, key);
    }
    let latents = batch(99);
    let tokens = rvq.tokens([1, 20, 30], latents.clone()).unwrap();
    let codes = tokens.as_codes().unwrap();
    let mut last = to_vec(latents.clone().square().mean())[0];
    for levels in 1..=5 {
        let some = codes.chunks(5).flat_map(|codes| codes[..levels].to_vec()).collect();
        let vectors = rvq.vectors(&Tokens::levels([1, 20, 30], levels, 31, some).unwrap()).unwrap();
        let vectors = Tensor::from_data(TensorData::new(vectors, [600, 4]), &device);
        let error = to_vec((latents.clone() - vectors).square().mean())[0];
        assert!(error < 0.75 * last, "level {levels}: {error} after {last}");
        last = error;
    }
}

/// A codebook's life with its codes kept as numbers, and the same weights with them kept as vectors.
fn both_ways() -> [AnyQuantizer; 2] {
    let device = Device::flex();
    let config = |tokens| QuantizerConfig::Rvq {
        levels: 3,
        entries: 31,
        channels: 5,
        decay: 0.9,
        restart: 0.1,
        dropout: 0.5,
        tokens,
    };
    let [codes, vectors] = [RvqTokens::Codes, RvqTokens::Vectors].map(config);
    assert_eq!((vectors.kind(), vectors.bits()), (TokenKind::Vectors { channels: 5 }, codes.bits()));
    let [mut codes, mut vectors] = [codes, vectors].map(|config| build(&config, &device));
    live(&mut codes, 0..5, &device);
    live(&mut vectors, 0..5, &device);
    assert_eq!(bits(&codes), bits(&vectors));
    [codes, vectors]
}

#[test]
fn codes_and_the_vectors_that_they_stand_for_decode_to_the_same() {
    let [codes, vectors] = both_ways();
    let latents = normals([240, 5], 77, &Device::flex());
    let (as_codes, as_vectors) =
        (codes.tokens([240, 1, 1], latents.clone()).unwrap(), vectors.tokens([240, 1, 1], latents).unwrap());
    let bits = |values: Vec<f32>| values.into_iter().map(f32::to_bits).collect::<Vec<_>>();
    let meant = codes.vectors(&as_codes).unwrap();
    assert_eq!(bits(vectors.vectors(&as_vectors).unwrap()), bits(meant.clone()));
    // About of unit size, and one number apart from what is meant.
    let values = as_vectors.as_vectors().unwrap();
    let size = (values.iter().map(|x| x * x).sum::<f32>() / values.len() as f32).sqrt();
    assert!((0.5..2.0).contains(&size), "{size}");
    let scale = meant[0] / values[0];
    assert!(values.iter().zip(&meant).all(|(value, meant)| (value * scale - meant).abs() < 1e-4));
}

#[test]
fn vectors_that_no_codes_stand_for_are_taken_for_those_next_to_them() {
    let [codes, vectors] = both_ways();
    let tokens = vectors.tokens([240, 1, 1], normals([240, 5], 77, &Device::flex())).unwrap();
    let noise = to_vec(normals([240, 5], 5, &Device::flex()));
    let near = tokens.as_vectors().unwrap().iter().zip(&noise).map(|(x, noise)| x + 1e-3 * noise).collect();
    let near = Tokens::vectors([240, 1, 1], 5, near).unwrap();
    assert_eq!(vectors.vectors(&near).unwrap(), vectors.vectors(&tokens).unwrap());
    assert!(codes.vectors(&tokens).is_err());
    let far = Tokens::vectors([240, 1, 1], 5, noise).unwrap();
    let snapped = vectors.vectors(&far).unwrap();
    assert_ne!(snapped, vectors.vectors(&tokens).unwrap());
}

#[test]
fn dropped_levels_leave_no_trace() {
    let device = Device::flex();
    let rvq = Rvq::new([4, 7, 3], EUCLIDEAN, 1.0, &Init::new(1, &device));
    let all = Rvq::new([4, 7, 3], EUCLIDEAN, 0.0, &Init::new(1, &device));
    let z = normals([11 * 6, 3], 4, &device);
    let (made, whole) = (rvq.forward(z.clone(), 11, RngKey::new(3)), all.forward(z, 11, RngKey::new(3)));
    let (codes, whole) = (ints(made.codes.unwrap()), ints(whole.codes.unwrap()));
    let mut lengths = Vec::new();
    for (example, whole) in codes.chunks(6 * 4).zip(whole.chunks(6 * 4)) {
        let kept = example[..4].iter().take_while(|&&code| code >= 0).count();
        for (codes, whole) in example.chunks(4).zip(whole.chunks(4)) {
            assert_eq!(codes[..kept], whole[..kept]);
            assert!(codes[kept..].iter().all(|&code| code == -1));
        }
        lengths.push(kept);
    }
    assert!(lengths.contains(&1) && lengths.contains(&4) && !lengths.contains(&0), "{lengths:?}");
    // What the decoder reads is the sum of the entries that are left.
    let books: Vec<Vec<f32>> =
        rvq.weights().into_iter().filter(|(name, _)| name.ends_with("entries")).map(|(_, w)| w.values).collect();
    for (codes, vector) in codes.chunks(4).zip(to_vec(made.vectors).chunks(3)) {
        for (channel, value) in vector.iter().enumerate() {
            let kept = codes.iter().zip(&books).filter(|(code, _)| **code >= 0);
            let sum: f32 = kept.map(|(&code, book)| book[code as usize * 3 + channel]).sum();
            assert!((sum - value).abs() < 1e-5);
        }
    }
}
