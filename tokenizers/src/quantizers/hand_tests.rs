//! Quantizers against numbers computed by hand.

use super::*;
use burn::tensor::{Device, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::{Init, Parameters};

fn rows<const N: usize>(rows: &[[f32; N]], device: &Device) -> Tensor<2> {
    Tensor::from_data(TensorData::new(rows.concat(), [rows.len(), N]), device)
}

fn near(what: &str, found: &[f32], wanted: &[f32]) {
    assert_eq!(found.len(), wanted.len(), "{what}: {found:?}");
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-6 * b.abs().max(1.0);
    assert!(found.iter().zip(wanted).all(close), "{what}: {found:?}, not {wanted:?}");
}

#[test]
fn a_posteriors_first_half_is_its_mean_and_its_second_its_log_variance() {
    let kl = QuantizerConfig::Kl { channels: 2 };
    assert_eq!(kl.moments(), 2);
    let device = Device::flex().autodiff();
    let kl = kl.init(&Init::new(1, &device));
    let moments = rows(&[[1.0, 2.0, 3.0, 4.0], [-5.0, 6.0, -70.0, 80.0]], &device).require_grad();
    let made = kl.forward(moments.clone(), 1, RngKey::new(0));
    assert_eq!(to_vec(made.vectors.clone()), [1.0, 2.0, -5.0, 6.0], "the decoder reads the mean");
    assert_eq!(to_vec(made.latents.clone()), [1.0, 2.0, -5.0, 6.0]);
    // A deviation of e^10 or of e^-15 is as far as it goes.
    assert_eq!(to_vec(made.log_variance.clone().unwrap()), [3.0, 4.0, -30.0, 20.0]);
    assert!(made.codes.is_none() && made.commitment.is_none() && made.bits.is_none());
    let gradient = |of: Tensor<2>| to_vec(moments.grad(&of.sum().backward()).unwrap());
    assert_eq!(gradient(made.vectors), [1.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0]);
    assert_eq!(gradient(made.log_variance.unwrap()), [0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn tokens_of_a_posterior_are_of_unit_size_channel_by_channel_once_it_is_standardized() {
    let device = Device::flex();
    let mut kl = QuantizerConfig::Kl { channels: 3 }.init(&Init::new(1, &device));
    // Means 2, -1 and 5; deviations 1, 3 and 0.
    let latents = [[1.0, 2.0, 5.0], [3.0, -4.0, 5.0]];
    let before = kl.tokens([2, 1, 1], rows(&latents, &device)).unwrap();
    assert_eq!(before.as_vectors().unwrap(), latents.concat(), "training changes nothing");
    kl.standardize(&[]);
    kl.standardize(std::slice::from_ref(&before));
    let tokens = kl.tokens([2, 1, 1], rows(&latents, &device)).unwrap();
    near("tokens", tokens.as_vectors().unwrap(), &[-1.0, 1.0, 0.0, 1.0, -1.0, 0.0]);
    near("vectors", &kl.vectors(&tokens).unwrap(), &latents.concat());
    // Once more, of the same latents, is the same; the channel that says nothing is not blown up.
    kl.standardize(std::slice::from_ref(&tokens));
    near("deviations", &values(&kl, "Kl.deviation"), &[1.0, 3.0, 0.01 * (10.0f32 / 3.0).sqrt()]);
    near("means", &values(&kl, "Kl.mean"), &[2.0, -1.0, 5.0]);
}

const FOLLOWING: Following = Following { distance: Distance::Euclidean, decay: 0.5, restart: 0.0 };

/// Two levels of two entries of one number: 0 and 10, then -1 and 2.
fn rvq(tokens: RvqTokens, device: &Device) -> Rvq {
    let mut rvq = Rvq::new([2, 2, 1], FOLLOWING, 0.0, &Init::new(1, device)).keeping(tokens);
    set(&mut rvq, "levels.0.", [0.0, 10.0], [0.25, 0.75]);
    set(&mut rvq, "levels.1.", [-1.0, 2.0], [0.5, 0.5]);
    rvq
}

/// Sets entries of one number with their averages of use.
fn set<const K: usize>(quantizer: &mut dyn Parameters, book: &str, entries: [f32; K], usage: [f32; K]) {
    let mut weights = quantizer.weights();
    let mut set = |name: &str, values: Vec<f32>| weights.get_mut(&format!("{book}{name}")).unwrap().values = values;
    set("sums", entries.iter().zip(usage).map(|(entry, usage)| entry * usage).collect());
    set("entries", entries.to_vec());
    set("usage", usage.to_vec());
    quantizer.load(&weights, "the test").unwrap();
}

fn values(quantizer: &dyn Parameters, name: &str) -> Vec<f32> {
    quantizer.weights()[name].values.clone()
}

#[test]
fn residual_codes_and_what_they_are_committed_to() {
    let device = Device::flex().autodiff();
    let rvq = rvq(RvqTokens::Codes, &device);
    // 11.5 = 10 + 2 - 0.5, and 1.25 = 0 + 2 - 0.75.
    let z = rows(&[[11.5], [1.25]], &device).require_grad();
    let made = rvq.forward(z.clone(), 1, RngKey::new(0));
    assert_eq!(to_ints(made.codes.clone().unwrap()), [1, 1, 0, 1]);
    near("vectors", &to_vec(made.vectors.clone()), &[12.0, 2.0]);
    // Of each level the mean over latents, and the levels together: (1.5² + 1.25²) / 2 + (0.5² + 0.75²) / 2.
    let commitment = made.commitment.unwrap();
    near("commitment", &to_vec(commitment.clone()), &[(2.25 + 1.5625) / 2.0 + (0.25 + 0.5625) / 2.0]);
    // Towards what stands for them, and as much for each level: 2 · (1.5 - 0.5) / 2 and 2 · (1.25 - 0.75) / 2.
    let gradient = z.grad(&commitment.backward()).unwrap();
    near("its gradient", &to_vec(gradient), &[1.0, 0.5]);
    let straight = z.grad(&made.vectors.sum().backward()).unwrap();
    near("straight through", &to_vec(straight), &[1.0, 1.0]);
}

#[test]
fn levels_that_are_left_out_commit_to_nothing() {
    let device = Device::flex();
    let rvq = rvq(RvqTokens::Codes, &device);
    let mut dropping = Rvq::new([2, 2, 1], FOLLOWING, 1.0, &Init::new(1, &device));
    dropping.load(&rvq.weights(), "the test").unwrap();
    // Four examples of one latent, all the same.
    let (mut short, mut long) = (0, 0);
    for step in 0..20 {
        let z = rows(&[[11.5]; 4], &device);
        let made = dropping.forward(z, 4, RngKey::new(3).step(step));
        let codes = to_ints(made.codes.unwrap());
        let kept = codes.chunks(2).filter(|codes| codes[1] >= 0).count();
        // All have 1.5² of the first level, those that are kept 0.5² of the second, as a mean over all four.
        near("commitment", &to_vec(made.commitment.unwrap()), &[2.25 + 0.25 * kept as f32 / 4.0]);
        let sums: Vec<f32> = codes.chunks(2).map(|codes| if codes[1] < 0 { 10.0 } else { 12.0 }).collect();
        near("vectors", &to_vec(made.vectors), &sums);
        (short, long) = (short + 4 - kept, long + kept);
    }
    // One level or two, each half of the time.
    assert!((20..=60).contains(&short) && (20..=60).contains(&long), "{short} {long}");
}

#[test]
fn vectors_are_kept_at_the_size_of_the_first_level() {
    let device = Device::flex();
    let rvq = rvq(RvqTokens::Vectors, &device);
    // A quarter of the latents stand at 0 and three quarters at 10: their mean size is 7.5.
    let tokens = rvq.tokens([1, 1, 2], rows(&[[11.5], [1.25]], &device)).unwrap();
    near("tokens", tokens.as_vectors().unwrap(), &[12.0 / 7.5, 2.0 / 7.5]);
    near("vectors", &rvq.vectors(&tokens).unwrap(), &[12.0, 2.0]);
    // What is not quite there is taken for the nearest of the sums -1, 2, 9 and 12.
    let near_nine = Tokens::vectors([1, 1, 1], 1, vec![9.9 / 7.5]).unwrap();
    near("snapped", &rvq.vectors(&near_nine).unwrap(), &[9.0]);
    // Of two numbers the size of an entry is their root mean square: 5 of (1, 7) and of (-7, 1).
    let mut book = Rvq::new([1, 2, 2], FOLLOWING, 0.0, &Init::new(1, &device)).keeping(RvqTokens::Vectors);
    let mut weights = book.weights();
    weights.get_mut("levels.0.entries").unwrap().values = vec![1.0, 7.0, -7.0, 1.0];
    weights.get_mut("levels.0.usage").unwrap().values = vec![0.1, 0.3];
    book.load(&weights, "the test").unwrap();
    let tokens = book.tokens([1, 1, 1], rows(&[[1.5, 6.0]], &device)).unwrap();
    near("tokens", tokens.as_vectors().unwrap(), &[1.0 / 5.0, 7.0 / 5.0]);
}

#[test]
fn each_level_follows_what_those_before_it_left_over() {
    let device = Device::flex();
    let mut rvq = rvq(RvqTokens::Codes, &device);
    let made = rvq.forward(rows(&[[11.5], [1.25], [8.5], [-0.5]], &device), 1, RngKey::new(0));
    // 11.5 = 10 + 1.5, 1.25 = 0 + 1.25, 8.5 = 10 - 1.5, -0.5 = 0 - 0.5.
    assert_eq!(to_ints(made.codes.clone().unwrap()), [1, 1, 0, 1, 1, 0, 0, 0]);
    rvq.update_ema(&made, RngKey::new(0));
    // Half of the old averages and half of the batch's shares: two of four latents each, whose sums over four are 0.75 / 4
    // and 20 / 4.
    near("use", &values(&rvq, "levels.0.usage"), &[0.375, 0.625]);
    near("sums", &values(&rvq, "levels.0.sums"), &[0.5 * 0.75 / 4.0, 0.5 * 7.5 + 0.5 * 5.0]);
    near("entries", &values(&rvq, "levels.0.entries"), &[0.09375 / 0.375, 6.25 / 0.625]);
    // What is left over is what the entries left over before they moved: 1.5, 1.25, -1.5 and -0.5.
    near("use below", &values(&rvq, "levels.1.usage"), &[0.5, 0.5]);
    near("sums below", &values(&rvq, "levels.1.sums"), &[-0.25 - 0.25, 0.5 + 0.5 * 2.75 / 4.0]);
    near("entries below", &values(&rvq, "levels.1.entries"), &[-1.0, 0.84375 / 0.5]);
}

#[test]
fn a_level_follows_only_the_examples_that_go_through_it() {
    let device = Device::flex();
    let mut rvq = rvq(RvqTokens::Codes, &device);
    let mut made = rvq.forward(rows(&[[11.5], [8.5]], &device), 2, RngKey::new(0));
    made.codes = Some(Tensor::from_data(TensorData::new(vec![1i64, 1, 1, -1], [2, 2]), &device));
    rvq.update_ema(&made, RngKey::new(0));
    near("use", &values(&rvq, "levels.0.usage"), &[0.125, 0.875]);
    // The second level knows of one latent alone, which is all of its batch: 1.5.
    near("use below", &values(&rvq, "levels.1.usage"), &[0.25, 0.75]);
    near("sums below", &values(&rvq, "levels.1.sums"), &[-0.25, 0.5 + 0.75]);
    near("entries below", &values(&rvq, "levels.1.entries"), &[-1.0, 1.25 / 0.75]);
}

#[test]
fn a_codebook_commits_to_the_nearest_entry_and_follows_by_its_decay() {
    let device = Device::flex();
    let (entries, channels, distance, decay) = (3, 1, Distance::Euclidean, 0.75);
    let latents = [[1.0], [3.0], [5.0], [7.0]];
    // A third is the fair share: with 0.15 of the use the last entry is dead below half of it, and alive above 0.4 of it.
    for (restart, dies) in [(0.5, true), (0.4, false)] {
        let mut vq = QuantizerConfig::Vq { entries, channels, distance, decay, restart }.init(&Init::new(1, &device));
        let name = vq.weights().into_keys().find(|name| name.ends_with("entries")).unwrap();
        let book = name.trim_end_matches("entries");
        set(&mut vq, book, [0.0, 4.0, 100.0], [0.5, 0.3, 0.2]);
        let made = vq.forward(rows(&latents, &device), 1, RngKey::new(0));
        assert_eq!(to_ints(made.codes.clone().unwrap()), [0, 1, 1, 1]);
        near("vectors", &to_vec(made.vectors.clone()), &[0.0, 4.0, 4.0, 4.0]);
        near("commitment", &to_vec(made.commitment.clone().unwrap()), &[(1.0 + 1.0 + 1.0 + 9.0) / 4.0]);
        vq.update_ema(&made, RngKey::new(0));
        // Three quarters of what was, and a quarter of the shares 1/4, 3/4 and 0 with their sums 1/4, 15/4 and 0.
        let [usage, sums, entries] = ["usage", "sums", "entries"].map(|name| values(&vq, &format!("{book}{name}")));
        near("use", &usage[..2], &[0.4375, 0.4125]);
        near("sums", &sums[..2], &[0.0625, 0.9 + 0.9375]);
        near("entries", &entries[..2], &[0.0625 / 0.4375, 1.8375 / 0.4125]);
        let third = [usage[2], sums[2], entries[2]];
        match dies {
            // It starts again at a latent, with its fair share of the use.
            true => {
                assert!(latents.contains(&[entries[2]]), "{entries:?}");
                near("what starts again", &third, &[1.0 / 3.0, entries[2] / 3.0, entries[2]]);
            }
            // Both its averages fade alike, so it stays where it was.
            false => near("what is not used", &third, &[0.15, 15.0, 100.0]),
        }
    }
}
