use super::*;
use crate::quantizers::QuantizerConfig;
use crate::video::{at_once, to_byte, to_tensor};
use burn::tensor::{Device, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Clip, Init, Media, MediaShape, Parameters, Rate, RngKey, RngStream, TokenValues, Tokenizer, TokenizerConfig,
    Tokens, TrainableTokenizer,
};
use std::collections::BTreeMap;

const KL: QuantizerConfig = QuantizerConfig::Kl { channels: 3 };
/// Numbers of a frame of the clips here.
const FRAME: usize = 12 * 20 * 3;
/// Moments of a latent frame: 3 × 5 places of two for each channel.
const LATENT: usize = 3 * 5 * 6;

fn config(quantizer: QuantizerConfig) -> CVivitConfig {
    CVivitConfig { patch: [2, 4, 4], width: 24, heads: 3, spatial: 1, temporal: 2, window: 3, quantizer }
}

fn tokenizer(quantizer: QuantizerConfig, device: &Device) -> CVivit {
    let config = config(quantizer);
    let network = config.network(&Init::new(3, device));
    VideoTokenizer::new("cvivit", config.spec(), &config.quantizer, network, device)
}

fn clip(frames: usize, seed: u64) -> Clip {
    let mut stream = RngKey::new(seed).stream(RngStream::Data);
    let pixels = (0..frames * FRAME).map(|_| stream.bits() as u8).collect();
    Clip::new([frames, 12, 20], Rate::whole(8), pixels).unwrap()
}

fn latents(tokenizer: &CVivit, clip: &Clip) -> Vec<f32> {
    let x = to_tensor(std::slice::from_ref(clip), &Device::flex());
    to_vec(tokenizer.network.encode(x, &mut StreamState::none()))
}

/// The decoder's clip of the means of moments.
fn decoded(tokenizer: &CVivit, moments: &[f32]) -> Vec<f32> {
    let means: Vec<f32> = moments.chunks(6).flat_map(|m| m[..3].to_vec()).collect();
    let shape = [1, moments.len() / LATENT, 3, 5, 3];
    let latents = Tensor::<5>::from_data(TensorData::new(means, shape), &Device::flex());
    to_vec(tokenizer.network.decode(latents, &mut StreamState::none()))
}

fn near(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

fn values(tokens: &Tokens) -> &[f32] {
    let TokenValues::Vectors { values, .. } = tokens.values() else { panic!("kl makes latents") };
    values
}

/// `a` up to frame `from`, `b` from there on.
fn mixed(a: &Clip, b: &Clip, from: usize) -> Clip {
    let mut mixed = a.clone();
    mixed.pixels_mut()[from * FRAME..].copy_from_slice(&b.pixels()[from * FRAME..]);
    mixed
}

#[test]
fn work_is_that_of_the_matrices_and_of_the_attention() {
    let media = MediaShape::Clip { frames: 13, height: 12, width: 20, rate: Rate::whole(8) };
    let [encoder, decoder] = config(KL).cost(&media);
    assert_eq!(encoder, decoder);
    // 7 × 3 × 5 tokens of 2 × 4 × 4 pixels; three blocks of 12 matrices of 24 × 24. One sees the 15 places of a frame, two
    // see three moments of seven.
    let (tokens, patch) = (7 * 3 * 5, 2 * 4 * 4 * 3);
    let products = tokens * 24 * (3 * 12 * 24 + patch);
    let pairs = tokens * (15 + 2 * 3);
    assert_eq!(encoder.forward_flops, f64::from(2 * products + 2 * 2 * pairs * 24));
    // Of each block 20 vectors a token and a number a head, and six times the numbers of the clip.
    assert_eq!(encoder.activations, f64::from(tokens * (3 * (20 * 24 + 3) + 6 * patch)));
    assert_eq!(encoder.working_set, f64::from(tokens * 24 * 12));
    let long = config(KL).cost(&MediaShape::Clip { frames: 3, height: 12, width: 20, rate: Rate::whole(8) })[0];
    // Of two moments none sees three.
    assert_eq!(long.forward_flops, f64::from(2 * 30 * 24 * (3 * 12 * 24 + patch) + 2 * 2 * 30 * (15 + 2 * 2) * 24));
}

/// What sees nothing but itself sees the same among places as among moments.
#[test]
fn a_place_alone_is_a_moment_alone() {
    use super::layers::{Block, Rotary};
    let (device, size) = (Device::flex(), 8);
    let block = Block::new(&Init::new(3, &device), [24, 3], 1.0);
    let numbers = RngKey::new(2).stream(RngStream::Data).normals(5 * 24);
    let x = Tensor::<5>::from_data(TensorData::new(numbers, [5, 1, 1, 1, 24]), &device);
    let places = block.over_places(x.clone(), &Rotary::positions([1, 1], size, &device));
    let moments = block.over_moments(x.clone(), &Rotary::moments(1, size, &device), 1, &mut StreamState::none());
    assert!(near(&to_vec(places.clone()), &to_vec(moments)));
    assert!(!near(&to_vec(places), &to_vec(x)));
}

#[test]
fn change_the_future_the_past_stays() {
    let it = tokenizer(KL, &Device::flex());
    let (a, b) = (clip(13, 1), clip(13, 2));
    // Seven frames are four latent frames.
    let (one, two) = (latents(&it, &a), latents(&it, &mixed(&a, &b, 7)));
    assert!(near(&one[..4 * LATENT], &two[..4 * LATENT]));
    assert!(!near(&one[4 * LATENT..5 * LATENT], &two[4 * LATENT..5 * LATENT]));
    let (one, two) = (decoded(&it, &one), decoded(&it, &two));
    assert!(near(&one[..7 * FRAME], &two[..7 * FRAME]));
    assert!(!near(&one[7 * FRAME..9 * FRAME], &two[7 * FRAME..9 * FRAME]));
}

#[test]
fn change_what_is_out_of_the_window_and_the_present_stays() {
    let it = tokenizer(KL, &Device::flex());
    let (a, b) = (clip(13, 1), clip(13, 2));
    // Two blocks see two latent frames back each: the first frame is seen up to the fifth latent frame.
    let (one, two) = (latents(&it, &b), latents(&it, &mixed(&a, &b, 1)));
    assert!(!near(&one[4 * LATENT..5 * LATENT], &two[4 * LATENT..5 * LATENT]));
    assert!(near(&one[5 * LATENT..], &two[5 * LATENT..]));
}

#[test]
fn the_first_frame_is_an_image_of_its_own() {
    let it = tokenizer(KL, &Device::flex());
    let clip = clip(9, 1);
    let image = latents(&it, &clip.slice(0..1));
    assert!(near(&latents(&it, &clip)[..LATENT], &image));
    assert!(near(&decoded(&it, &latents(&it, &clip))[..FRAME], &decoded(&it, &image)));
}

#[test]
fn streaming_is_offline_both_ways() {
    let it = tokenizer(KL, &Device::flex());
    let clip = clip(17, 4);
    let offline = latents(&it, &clip);
    let means: Vec<f32> = offline.chunks(6).flat_map(|m| m[..3].to_vec()).collect();
    let whole: Vec<u8> = decoded(&it, &offline).into_iter().map(to_byte).collect();
    let close = |a: &[u8]| a.len() == whole.len() && a.iter().zip(&whole).all(|(a, b)| a.abs_diff(*b) <= 1);
    let pieces: [fn(usize) -> usize; 4] = [|_| 1, |_| 2, |_| 5, at_once];
    for piece in pieces {
        let tokens = it.encode_pieces(&[&clip], &mut StreamState::streaming(), piece).unwrap().remove(0);
        assert!(near(values(&tokens), &means));
        let made = it.decode_piece(&tokens, &mut StreamState::streaming(), piece).unwrap().clip("it").unwrap();
        assert!(close(made.pixels()));
    }
    let (mut encoding, mut decoding) = (it.encoding().unwrap(), it.decoding().unwrap());
    let (mut pushed, mut pixels) = (Vec::new(), Vec::new());
    for range in [0..1, 1..3, 3..9, 9..17] {
        let tokens = encoding.push(&Media::Clip(clip.slice(range))).unwrap();
        pushed.extend_from_slice(values(&tokens));
        pixels.extend_from_slice(decoding.push(&tokens).unwrap().clip("it").unwrap().pixels());
    }
    assert!(near(&pushed, &means) && close(&pixels));
    assert!(encoding.push(&Media::Clip(clip.slice(0..3))).is_err(), "no whole number of latent frames");
}

#[test]
fn parameters_are_counted_without_building() {
    let vq = QuantizerConfig::Vq { entries: 7, channels: 5, distance: Default::default(), decay: 0.9, restart: 0.0 };
    for config in [config(KL), config(QuantizerConfig::Lfq { bits: 7 }), config(vq), CVivitConfig::default()] {
        assert_eq!(config.parameters(), config.network(&Init::new(0, &Device::flex())).count());
    }
}

#[test]
fn phenakis_grid_is_told_from_the_shape_alone() {
    let shape = |frames, height| {
        let media = MediaShape::Clip { frames, height, width: 128, rate: Rate::whole(8) };
        CVivitConfig::default().shape(&media)
    };
    // Section 2.1: 11 frames of 128 × 128 are 6 × 16 × 16 tokens.
    assert_eq!(shape(11, 128).unwrap().grid, [6, 16, 16]);
    assert_eq!(shape(1, 128).unwrap().grid, [1, 16, 16]);
    assert_eq!(shape(10, 128).unwrap_err().hint, "set `frames = 11`");
    assert_eq!(shape(11, 100).unwrap_err().hint, "use a height of 96");
}

#[test]
fn flaws_name_their_key() {
    let wrong =
        CVivitConfig { patch: [0, 8, 8], width: 40, heads: 4, temporal: 0, window: 0, ..CVivitConfig::default() };
    let paths: Vec<String> = wrong.errors().into_iter().map(|error| error.path).collect();
    assert_eq!(paths, ["patch", "heads", "temporal", "window"]);
    assert_eq!(wrong.errors()[1].hint, "set `heads = 2`");
    assert!(CVivitConfig::default().errors().is_empty() && config(KL).errors().is_empty());
}

#[test]
fn all_of_it_learns_and_a_few_steps_help() {
    let device = Device::flex().autodiff();
    let mut it = tokenizer(QuantizerConfig::Lfq { bits: 6 }, &device);
    let clips = to_tensor(&[clip(5, 1), clip(5, 2)], &device);
    let mut losses = Vec::new();
    for step in 0..12 {
        let made = it.reconstruct(clips.clone(), true, RngKey::new(1).step(step));
        let loss = (made.media - clips.clone()).square().mean();
        losses.push(to_vec(loss.clone())[0]);
        let (mut gradients, mut by_name, mut still) = (loss.backward(), BTreeMap::new(), Vec::new());
        it.parameters_mut().gradients(&mut gradients, &mut |name, gradient| {
            by_name.insert(name.to_owned(), gradient);
        });
        it.parameters_mut().update(&mut |name, _, old| match by_name.remove(name) {
            Some(gradient) => {
                if to_vec(gradient.clone()).iter().all(|&g| g == 0.0) {
                    still.push(name.to_owned());
                }
                old - gradient.sign() * 2e-3
            }
            None => {
                still.push(name.to_owned());
                old
            }
        });
        assert!(still.is_empty(), "no gradient: {still:?}");
    }
    assert!(losses[11] < 0.95 * losses[0], "{losses:?}");
}
