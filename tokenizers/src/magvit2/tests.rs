use super::*;
use crate::quantizers::QuantizerConfig;
use crate::video::{at_once, to_byte};
use burn::tensor::{Device, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Clip, Init, Media, MediaShape, Parameters, Rate, RngKey, RngStream, TokenValues, Tokenizer, TokenizerConfig,
    Tokens, TrainableTokenizer, WeightInit,
};

const GROUP: NormConfig = NormConfig::Group { groups: 3, adaptive: false };
const ADAPTIVE: NormConfig = NormConfig::Group { groups: 3, adaptive: true };
const NORMS: [NormConfig; 3] = [NormConfig::Rms, GROUP, ADAPTIVE];

fn config(norm: NormConfig, quantizer: QuantizerConfig) -> Magvit2Config {
    let stage = |channels, blocks, frames, down| Stage { channels, blocks, frames, down };
    Magvit2Config {
        patch: 2,
        stages: vec![
            stage(6, 1, 1, [1, 2, 2]),
            stage(9, 1, 3, [2, 1, 1]),
            stage(3, 1, 3, [2, 1, 1]),
            stage(12, 1, 3, [1; 3]),
        ],
        norm,
        quantizer,
    }
}

fn clip(frames: usize, seed: u64) -> Clip {
    let mut stream = RngKey::new(seed).stream(RngStream::Data);
    let pixels = (0..frames * 12 * 20 * 3).map(|_| stream.bits() as u8).collect();
    Clip::new([frames, 12, 20], Rate::whole(8), pixels).unwrap()
}

fn network(norm: NormConfig, quantizer: QuantizerConfig) -> (Magvit2Config, Network) {
    let config = config(norm, quantizer);
    let mut network = config.network(&Init::new(3, &Device::flex()));
    // What starts as zero would let a mistake pass.
    let mut stream = RngKey::new(8).stream(RngStream::Noise);
    network.update(&mut |name, _, old| {
        if !name.contains("adaptive") {
            return old;
        }
        let values = stream.normals(old.dims()[0]);
        let n = values.len();
        Tensor::from_data(TensorData::new(values, [n]), &old.device())
    });
    (config, network)
}

fn tokenizer(norm: NormConfig, quantizer: QuantizerConfig) -> Magvit2 {
    let (config, network) = network(norm, quantizer);
    VideoTokenizer::new("magvit2", config.spec(), &config.quantizer, network, &Device::flex())
}

fn latents(network: &Network, clip: &Clip) -> Vec<f32> {
    let x = to_tensor(std::slice::from_ref(clip), &Device::flex());
    to_vec(network.encoder.forward(x, &mut StreamState::none()))
}

const KL: QuantizerConfig = QuantizerConfig::Kl { channels: 3 };

#[test]
fn change_the_future_the_past_stays_exactly() {
    for norm in NORMS {
        let (_, network) = network(norm, KL);
        let (a, b) = (clip(13, 1), clip(13, 2));
        let mut mixed = a.clone();
        let five_frames = 5 * 12 * 20 * 3;
        mixed.pixels_mut()[five_frames..].copy_from_slice(&b.pixels()[five_frames..]);
        let (one, two) = (latents(&network, &a), latents(&network, &mixed));
        // Five frames are two latent frames of 3 × 5 places and 6 moments.
        let state = 2 * 3 * 5 * 6;
        assert_eq!(one[..state], two[..state]);
        assert_ne!(one[state..], two[state..]);
        // The way back: other latents from the third frame on leave the first five frames.
        let decoded = |moments: &[f32]| {
            let means: Vec<f32> = moments.chunks(6).flat_map(|m| m[..3].to_vec()).collect();
            let latents = Tensor::<5>::from_data(TensorData::new(means, [1, 4, 3, 5, 3]), &Device::flex());
            to_vec(network.decoder.forward(latents, &mut StreamState::none()))
        };
        let (one, two) = (decoded(&one), decoded(&two));
        assert_eq!(one[..five_frames], two[..five_frames]);
        assert_ne!(one[five_frames..], two[five_frames..]);
    }
}

#[test]
fn the_first_frame_is_an_image_of_its_own() {
    for norm in NORMS {
        let (_, network) = network(norm, KL);
        let clip = clip(9, 1);
        let image = latents(&network, &clip.slice(0..1));
        // Not to the bit: a longer clip is cut into other blocks by the matrix product.
        let close = |(a, b): (&f32, &f32)| (a - b).abs() < 1e-5;
        assert!(latents(&network, &clip).iter().zip(&image).all(close));
    }
}

#[test]
fn many_at_once_are_each_by_itself() {
    let tokenizer = tokenizer(ADAPTIVE, KL);
    // Of two lengths, in an order that breaks the batches.
    let clips: Vec<Media> = [9, 9, 5, 9].iter().zip(1..).map(|(&t, seed)| Media::Clip(clip(t, seed))).collect();
    let together = tokenizer.encode_all(&clips).unwrap();
    assert_eq!(together.len(), clips.len());
    for (clip, together) in clips.iter().zip(&together) {
        let alone = tokenizer.encode(clip).unwrap();
        assert_eq!(alone.grid(), together.grid());
        let (TokenValues::Vectors { values: a, .. }, TokenValues::Vectors { values: b, .. }) =
            (alone.values(), together.values())
        else {
            panic!("kl makes latents")
        };
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5));
    }
}

#[test]
fn streaming_is_offline_both_ways() {
    NORMS.into_iter().for_each(streams);
}

fn streams(norm: NormConfig) {
    let tokenizer = tokenizer(norm, KL);
    let clip = clip(13, 4);
    let offline = latents(&tokenizer.network, &clip);
    let means: Vec<f32> = offline.chunks(6).flat_map(|m| m[..3].to_vec()).collect();
    let pieces: [fn(usize) -> usize; 4] = [|_| 1, |_| 2, |_| 3, at_once];
    for piece in pieces {
        let tokens = tokenizer.encode_pieces(&[&clip], &mut StreamState::streaming(), piece).unwrap().remove(0);
        let TokenValues::Vectors { values, .. } = tokens.values() else { panic!("kl makes latents") };
        assert!(values.iter().zip(&means).all(|(a, b)| (a - b).abs() < 1e-5));
    }
    let mut encoding = tokenizer.encoding().unwrap();
    let mut pushed = Vec::new();
    for range in [0..1, 1..5, 5..13] {
        let tokens = encoding.push(&Media::Clip(clip.slice(range))).unwrap();
        let TokenValues::Vectors { values, .. } = tokens.values() else { panic!("kl makes latents") };
        pushed.extend_from_slice(values);
    }
    assert!(pushed.len() == means.len() && pushed.iter().zip(&means).all(|(a, b)| (a - b).abs() < 1e-5));
    assert!(encoding.push(&Media::Clip(clip.slice(0..3))).is_err(), "no whole number of latent frames");
    let tokens = tokenizer.encode(&Media::Clip(clip)).unwrap();
    let TokenValues::Vectors { values, .. } = tokens.values() else { panic!("kl makes latents") };

    let data = TensorData::new(values.clone(), [1, 4, 3, 5, 3]);
    let whole = Tensor::<5>::from_data(data, &Device::flex());
    let whole = tokenizer.network.decoder.forward(whole, &mut StreamState::none());
    assert_eq!(whole.dims(), [1, 13, 12, 20, 3]);
    let whole: Vec<u8> = to_vec(whole).into_iter().map(to_byte).collect();
    let mut decoding = tokenizer.decoding().unwrap();
    let mut pushed = Vec::new();
    for (frames, values) in [(1, &values[..45]), (3, &values[45..])] {
        let tokens = Tokens::vectors([frames, 3, 5], 3, values.to_vec()).unwrap();
        pushed.extend_from_slice(decoding.push(&tokens).unwrap().clip("it").unwrap().pixels());
    }
    assert!(pushed.len() == whole.len() && whole.iter().zip(&pushed).all(|(a, b)| a.abs_diff(*b) <= 1));
    for piece in pieces {
        let streamed =
            tokenizer.decode_piece(&tokens, &mut StreamState::streaming(), piece).unwrap().clip("it").unwrap();
        assert!(whole.iter().zip(streamed.pixels()).all(|(a, b)| a.abs_diff(*b) <= 1));
    }
}

#[test]
fn parameters_are_counted_without_building() {
    for (norm, quantizer) in NORMS.into_iter().zip([KL, QuantizerConfig::Lfq { bits: 7 }, KL]) {
        let (config, network) = network(norm, quantizer);
        assert_eq!(config.parameters(), network.count());
    }
    assert_eq!(
        Magvit2Config::default().parameters(),
        Magvit2Config::default().network(&Init::new(0, &Device::flex())).count()
    );
}

#[test]
fn an_adaptive_decoder_has_a_norm_more_before_each_resolution() {
    for norm in NORMS {
        let mut steered = std::collections::BTreeSet::new();
        network(norm, KL).1.each(&mut |name, _, _| {
            if name.contains("adaptive") {
                steered.insert(name.rsplit_once('.').unwrap().0.to_owned());
            }
        });
        assert_eq!(steered.is_empty(), norm != ADAPTIVE, "{steered:?}");
    }
}

#[test]
fn work_is_that_of_the_convolutions() {
    let media = MediaShape::Clip { frames: 13, height: 12, width: 20, rate: Rate::whole(8) };
    let [encoder, decoder] = config(NormConfig::Rms, KL).cost(&media);
    // Places of each stage, of 2 × 2 pixels at first: half the rows and columns, then twice half of the frames, rounded up.
    let [a, b, c, d] = [13 * 6 * 10, 13 * 3 * 5, 7 * 3 * 5, 4 * 3 * 5];
    // Taps times channels before and after, of the pixels, of two convolutions of a block, and of each step.
    let pixels = a * 9 * 12 * 6;
    let blocks = 2 * (a * 9 * 6 * 6 + b * 27 * 9 * 9 + c * 27 * 3 * 3 + d * 27 * 12 * 12);
    // Down where something is halved, by three taps a halved side; latents have a mean and a variance.
    let down = b * 9 * 6 * 9 + c * 3 * 9 * 3 + d * 3 * 3 * 12 + d * 12 * 6;
    // Up from the coarser of two stages by its own kernel, to all places that become of one.
    let up = d * 27 * 3 * 12 + d * 27 * 12 * (3 * 2) + c * 27 * 3 * (9 * 2) + b * 27 * 9 * (6 * 4);
    assert_eq!(encoder.forward_flops, f64::from(2 * (pixels + blocks + down)));
    assert_eq!(decoder.forward_flops, f64::from(2 * (pixels + blocks + up)));
    // Four times what a block has, twice what is halved, and of the loss five times the clip.
    let kept = 4 * (a * 6 + b * 9 + c * 3 + d * 12) + 2 * (a * 6 + b * 9 + c * 3) + 5 * 13 * 12 * 20 * 3;
    for half in [encoder, decoder] {
        assert_eq!((half.activations, half.working_set), (f64::from(kept), f64::from(4 * a * 6)));
    }
}

#[test]
fn frames_that_do_not_fit_are_told_the_nearest_that_do() {
    let shape = |frames| {
        let media = MediaShape::Clip { frames, height: 64, width: 64, rate: Rate::whole(8) };
        Magvit2Config::default().shape(&media)
    };
    assert_eq!(shape(17).unwrap().grid, [5, 8, 8]);
    assert_eq!(shape(1).unwrap().grid, [1, 8, 8]);
    assert_eq!(shape(16).unwrap_err().hint, "set `frames = 17`");
}

#[test]
fn tokens_of_another_tokenizer_are_refused() {
    let config = config(NormConfig::Rms, QuantizerConfig::Lfq { bits: 7 });
    let tokenizer = config.build(&Device::flex(), &WeightInit::Seed(1)).unwrap();
    let tokens = Tokens::codes([1, 3, 5], 1 << 6, vec![0; 15]).unwrap();
    assert!(tokenizer.decode(&tokens).unwrap_err().to_string().contains("64 entries"));
}

#[test]
fn groups_divide_every_stage() {
    let errors = |groups| config(NormConfig::Group { groups, adaptive: true }, KL).errors();
    assert!(errors(3).is_empty() && errors(1).is_empty());
    let found = errors(4);
    assert_eq!((found[0].path.as_str(), found[0].hint.as_str()), ("norm.groups", "set `groups = 3`"));
    assert_eq!(errors(0)[0].hint, "set `groups = 1`");
}

#[test]
fn the_latents_steer_the_decoder_frame_by_frame() {
    // Of codes that are alike at all places but one, moved: convolutions see them elsewhere, a style does not.
    let style = |at: usize| {
        let mut values = vec![1.0; 2 * 3 * 5 * 3];
        values[at * 3..][..3].fill(-1.0);
        to_vec(layers::Style::of(Tensor::from_data(TensorData::new(values, [1, 2, 3, 5, 3]), &Device::flex())).values())
    };
    let (one, two) = (style(2), style(14));
    assert!(one.iter().zip(&two).all(|(a, b)| (a - b).abs() < 1e-6));
    let mean = 13.0 / 15.0f32;
    assert!((one[0] - mean).abs() < 1e-6 && (one[3] - (1.0 - mean * mean).sqrt()).abs() < 1e-5);
    // Of the second latent frame, where all are alike.
    assert!((one[6] - 1.0).abs() < 1e-6 && one[9] < 2e-3);
}

#[test]
fn all_of_the_papers_body_learns() {
    let device = Device::flex().autodiff();
    let config = config(ADAPTIVE, QuantizerConfig::Lfq { bits: 5 });
    let network = config.network(&Init::new(3, &device));
    let mut tokenizer = VideoTokenizer::new("magvit2", config.spec(), &config.quantizer, network, &device);
    let clips = to_tensor(&[clip(5, 1)], &device);
    let made = tokenizer.reconstruct(clips.clone(), true, RngKey::new(1));
    let mut gradients = (made.media - clips).abs().mean().backward();
    let (mut learning, mut all) = (Vec::new(), Vec::new());
    tokenizer.parameters_mut().gradients(&mut gradients, &mut |name, gradient| {
        if to_vec(gradient).iter().any(|&g| g != 0.0) {
            learning.push(name.to_owned());
        }
    });
    tokenizer.network.each(&mut |name, _, _| all.push(name.to_owned()));
    assert_eq!(learning, all);
}
