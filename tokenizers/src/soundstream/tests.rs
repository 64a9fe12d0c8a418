use super::*;
use crate::quantizers::RvqTokens;
use musiva_core::{TokenKind, TokenValues};

fn config() -> SoundStreamConfig {
    let quantizer = QuantizerConfig::Rvq {
        levels: 3,
        entries: 16,
        channels: 6,
        decay: 0.9,
        restart: 0.0,
        dropout: 0.0,
        tokens: RvqTokens::Codes,
    };
    SoundStreamConfig { channels: 4, strides: vec![2, 3, 5], quantizer, film: None }
}

fn built() -> SoundStream {
    of(config())
}

fn of(config: SoundStreamConfig) -> SoundStream {
    let init = WeightInit::Seed(5).init(&Device::flex());
    let network = Network {
        encoder: Encoder::new(&config, 6, &init.part("encoder")),
        decoder: Decoder::new(&config, 6, &init.part("decoder")),
        quantizer: config.quantizer.init(&init.part("quantizer")),
    };
    SoundStream { spec: config.spec(), config, device: Device::flex(), network }
}

/// Latents of a sound, the switch off.
fn encoded(it: &SoundStream, sound: Tensor<3>, state: &mut StreamState<3>) -> Tensor<3> {
    let denoise_flag = it.denoise_flag(false, [1, sound.dims()[1] / 30]);
    it.network.encoder.forward(sound, denoise_flag, state)
}

fn noise(length: usize, seed: u64) -> Vec<f32> {
    RngKey::new(seed).stream(musiva_core::RngStream::Noise).normals(length).into_iter().map(|x| 0.3 * x).collect()
}

fn tensor(values: Vec<f32>, channels: usize) -> Tensor<3> {
    let length = values.len() / channels;
    Tensor::from_data(TensorData::new(values, [1, length, channels]), &Device::flex())
}

fn assert_near(a: &[f32], b: &[f32]) {
    assert_eq!(a.len(), b.len());
    let far = a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-5, "{far} apart");
}

#[test]
fn pieces_are_the_whole() {
    let it = built();
    let sound = noise(30 * 11, 1);
    let whole = encoded(&it, tensor(sound.clone(), 1), &mut StreamState::none());
    let mut state = StreamState::streaming();
    let mut pieces = Vec::new();
    // Of one token, of several.
    for piece in [&sound[..30], &sound[30..60], &sound[60..180], &sound[180..]] {
        pieces.push(encoded(&it, tensor(piece.to_vec(), 1), &mut state));
        state.advance();
    }
    assert_eq!(whole.dims(), [1, 11, 6]);
    assert_near(&to_vec(whole.clone()), &to_vec(Tensor::cat(pieces, 1)));

    let offline = it.network.decoder.forward(whole.clone(), &mut StreamState::none());
    let mut state = StreamState::streaming();
    let mut pieces = Vec::new();
    for range in [0..1, 1..2, 2..7, 7..11] {
        pieces.push(it.network.decoder.forward(whole.clone().slice_dim(1, range), &mut state));
        state.advance();
    }
    assert_eq!(offline.dims(), [1, 330, 1]);
    assert_near(&to_vec(offline), &to_vec(Tensor::cat(pieces, 1)));
}

#[test]
fn what_comes_later_is_not_heard() {
    let it = built();
    let sound = noise(30 * 8, 2);
    let mut other = sound.clone();
    other[30 * 5..].iter_mut().for_each(|x| *x = 1.0 - *x);
    let latents = |sound: Vec<f32>| to_vec(encoded(&it, tensor(sound, 1), &mut StreamState::none()));
    let (a, b) = (latents(sound), latents(other));
    assert_eq!(a[..5 * 6], b[..5 * 6], "a token hears its own samples and those before");
    assert_ne!(a[5 * 6..6 * 6], b[5 * 6..6 * 6]);
    let mut latents = noise(6 * 8, 3);
    let before = to_vec(it.network.decoder.forward(tensor(latents.clone(), 6), &mut StreamState::none()));
    latents[5 * 6..].iter_mut().for_each(|x| *x += 1.0);
    let after = to_vec(it.network.decoder.forward(tensor(latents, 6), &mut StreamState::none()));
    assert_eq!(before[..150], after[..150]);
    assert_ne!(before[150..180], after[150..180]);
}

#[test]
fn a_sound_of_any_length_becomes_tokens_and_a_sound() {
    let mut it = built();
    // Codebooks start at a first batch.
    let batch = tensor(noise(30 * 40, 4), 1).reshape([1, 1200, 1, 1, 1]);
    let made = it.reconstruct(batch, true, RngKey::new(1));
    it.update_ema(&made.quantized, RngKey::new(1));
    for (samples, tokens) in [(1, 1), (30, 1), (31, 2), (30 * 64, 64), (30 * 130 + 7, 131)] {
        let sound = Sound::new(1, Rate::whole(8000), noise(samples, 6)).unwrap();
        let found = it.encode(&Media::Sound(sound)).unwrap();
        assert_eq!(found.grid(), [tokens, 1, 1]);
        assert!(matches!(found.values(), TokenValues::Codes { levels: 3, entries: 16, .. }));
        let back = it.decode(&found).unwrap().sound("it").unwrap();
        assert_eq!(back.shape(), [tokens * 30, 1]);
    }
    let stereo = Sound::new(2, Rate::whole(8000), noise(60, 6)).unwrap();
    let error = it.encode(&Media::Sound(stereo)).unwrap_err().to_string();
    assert!(error.contains("one channel"), "{error}");
    assert!(it.encode(&Media::Text("la".into())).unwrap_err().to_string().contains("expected sounds, found text"));
}

#[test]
fn a_stream_of_pieces_has_the_tokens_and_the_sound_of_the_whole() {
    let it = built();
    let samples = noise(30 * 70, 8);
    let sound = |range: std::ops::Range<usize>| {
        Media::Sound(Sound::new(1, Rate::whole(8000), samples[30 * range.start..30 * range.end].to_vec()).unwrap())
    };
    let whole = it.encode(&sound(0..70)).unwrap();
    let codes = whole.as_codes().unwrap();
    let (mut encoding, mut found) = (it.encoding().unwrap(), Vec::new());
    for range in [0..1, 1..2, 2..5, 5..70] {
        let tokens = encoding.push(&sound(range)).unwrap();
        found.extend_from_slice(tokens.as_codes().unwrap());
    }
    assert_eq!(codes, found);
    let odd = Media::Sound(Sound::new(1, Rate::whole(8000), vec![0.0; 31]).unwrap());
    assert!(encoding.push(&odd).unwrap_err().to_string().contains("push pieces of 30 samples"));

    let offline = it.decode(&whole).unwrap().sound("it").unwrap();
    let (mut decoding, mut streamed) = (it.decoding().unwrap(), Vec::new());
    for codes in codes.chunks(3 * 7) {
        let tokens = Tokens::levels([codes.len() / 3, 1, 1], 3, 16, codes.to_vec()).unwrap();
        streamed.extend_from_slice(decoding.push(&tokens).unwrap().sound("it").unwrap().samples());
    }
    assert_near(offline.samples(), &streamed);
}

#[test]
fn many_at_once_are_each_alone() {
    let it = built();
    let sounds: Vec<Media> = [300, 300, 90, 300]
        .iter()
        .zip(1..)
        .map(|(&n, seed)| Media::Sound(Sound::new(1, Rate::whole(8000), noise(n, seed)).unwrap()))
        .collect();
    let alone: Vec<Tokens> = sounds.iter().map(|sound| it.encode(sound).unwrap()).collect();
    assert_eq!(it.encode_all(&sounds).unwrap(), alone);
}

#[test]
fn sizes_are_known_without_building() {
    let film = Some(FilmConfig { denoise: true });
    for (quantizer, film) in [
        (config().quantizer, film),
        (QuantizerConfig::Kl { channels: 5 }, None),
        (QuantizerConfig::Lfq { bits: 7 }, None),
    ] {
        let config = SoundStreamConfig { quantizer, film, ..config() };
        let built = config.build(&Device::flex(), &WeightInit::Seed(1)).unwrap();
        assert_eq!(config.parameters(), built.learned().unwrap().count());
        assert_eq!(config.spec(), *built.spec());
    }
    assert_eq!(config().hop(), 30);
    let clip = MediaShape::Clip { frames: 1, height: 8, width: 8, rate: Rate::whole(8) };
    assert!(config().shape(&clip).is_err());
    let sound = MediaShape::Sound { samples: 61, channels: 1, rate: Rate::whole(8000) };
    let shape = config().shape(&sound).unwrap();
    assert_eq!((shape.grid, shape.kind), ([3, 1, 1], TokenKind::residual(3, 16)));
}

#[test]
fn unquantized_latents_pass() {
    let it = built();
    let sound = tensor(noise(90, 7), 1);
    let latents = encoded(&it, sound.clone(), &mut StreamState::none());
    let free = it.reconstruct(sound.reshape([1, 90, 1, 1, 1]), false, RngKey::new(1));
    assert_eq!(to_vec(free.quantized.vectors), to_vec(latents));
    assert!(free.quantized.codes.is_none() && free.quantized.commitment.is_none());
}

/// With the switch, whose layer has learned something, or nothing yet.
fn switched(denoise: bool, learned: bool) -> SoundStream {
    let mut it = of(SoundStreamConfig { film: Some(FilmConfig { denoise }), ..config() });
    if learned {
        it.network.update(&mut |name, shape, old| match name {
            "encoder.film.modes" => Tensor::from_floats(&noise(shape.iter().product(), 9)[..], &old.device()),
            _ => old,
        });
    }
    it
}

#[test]
fn a_fresh_switch_changes_nothing() {
    let (without, with) = (built(), switched(true, false));
    let names = |it: &SoundStream| it.network.weights().into_keys().collect::<Vec<_>>();
    let mut found = names(&with);
    found.retain(|name| name != "encoder.film.modes");
    assert_eq!(found, names(&without), "and without one there is nothing more to load");
    let sound = tensor(noise(30 * 7, 1), 1);
    let expected = to_vec(encoded(&without, sound.clone(), &mut StreamState::none()));
    for on in [false, true] {
        let latents =
            with.network.encoder.forward(sound.clone(), with.denoise_flag(on, [1, 7]), &mut StreamState::none());
        assert_eq!(to_vec(latents), expected);
    }
}

#[test]
fn the_switch_reaches_every_moment_and_no_other() {
    let init = WeightInit::Seed(1).init(&Device::flex());
    let mut film = film::Film::new(&init, 6);
    film.update(&mut |_, shape, old| Tensor::from_floats(&noise(shape.iter().product(), 9)[..], &old.device()));
    let rows: Vec<Vec<f32>> = noise(24, 9).chunks(12).map(<[f32]>::to_vec).collect();
    let features = noise(2 * 5 * 6, 2);
    let denoise_flag = [0.0, 1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0];
    let [made, switches] = [(&features[..], 6), (&denoise_flag[..], 1)].map(|(values, channels)| {
        Tensor::<3>::from_data(TensorData::new(values.to_vec(), [2, 5, channels]), &Device::flex())
    });
    let made = to_vec(film.forward(made, switches.squeeze_dim(2)));
    for (i, (&a, &made)) in features.iter().zip(&made).enumerate() {
        let (row, channel) = (&rows[denoise_flag[i / 6] as usize], i % 6);
        let wanted = (1.0 + row[channel]) * a + row[6 + channel];
        assert!((made - wanted).abs() < 1e-6, "number {i}: {made}, not {wanted}");
    }
}

#[test]
fn the_switch_is_causal_and_streams() {
    let it = switched(false, true);
    let sound = tensor(noise(30 * 11, 1), 1);
    let latents = |denoise_flag: [f32; 11]| {
        let denoise_flag = Tensor::from_floats([denoise_flag], &Device::flex());
        to_vec(it.network.encoder.forward(sound.clone(), denoise_flag, &mut StreamState::none()))
    };
    let mut on = [0.0; 11];
    let off = latents(on);
    on[4] = 1.0;
    let once = latents(on);
    let differs = |t: usize| off[6 * t..6 * (t + 1)] != once[6 * t..6 * (t + 1)];
    // Three taps of the convolution that follows hear it.
    assert_eq!((0..11).filter(|&t| differs(t)).collect::<Vec<_>>(), [4, 5, 6]);

    let mut state = StreamState::streaming();
    let mut pieces = Vec::new();
    for range in [0..1, 1..4, 4..5, 5..11] {
        let denoise_flag = it.denoise_flag(range.start == 4, [1, range.len()]);
        let piece = sound.clone().slice_dim(1, 30 * range.start..30 * range.end);
        pieces.push(it.network.encoder.forward(piece, denoise_flag, &mut state));
        state.advance();
    }
    assert_near(&once, &to_vec(Tensor::cat(pieces, 1)));
}

#[test]
fn a_stream_may_be_switched_between_pieces() {
    let samples = noise(30 * 9, 8);
    let sound = |range: std::ops::Range<usize>| {
        Media::Sound(Sound::new(1, Rate::whole(8000), samples[30 * range.start..30 * range.end].to_vec()).unwrap())
    };
    let codes = |tokens: Tokens| tokens.as_codes().unwrap().to_vec();
    let [on, off] = [true, false].map(|denoise| switched(denoise, true));
    let wholes = [&on, &off].map(|it| codes(it.encode(&sound(0..9)).unwrap()));
    assert_ne!(wholes[0], wholes[1]);
    let mut encoding = off.encoding().unwrap();
    assert!(encoding.denoise(true));
    let mut found = codes(encoding.push(&sound(0..5)).unwrap());
    assert!(encoding.denoise(false));
    found.extend(codes(encoding.push(&sound(5..9)).unwrap()));
    assert_eq!(found[..3 * 5], wholes[0][..3 * 5]);
    assert_eq!(found[3 * 7..], wholes[1][3 * 7..], "two tokens later nothing of it is left");
    assert!(!built().encoding().unwrap().denoise(true), "without a layer there is no switch");
}

#[test]
fn both_modes_learn() {
    let device = Device::flex().autodiff();
    let config = SoundStreamConfig { film: Some(FilmConfig { denoise: true }), ..config() };
    let mut built = config.build(&device, &WeightInit::Seed(5)).unwrap();
    let sound = Tensor::<5>::from_data(TensorData::new(noise(2 * 210, 7), [2, 210, 1, 1, 1]), &device);
    let denoise_flag = Tensor::<2>::from_floats([[1.0; 7], [0.0; 7]], &device);
    let it = built.trainable().unwrap();
    let made = it.reconstruct_denoising(sound, denoise_flag, false, RngKey::new(1));
    let (mut gradients, mut slopes) = (made.media.square().mean().backward(), Vec::new());
    it.parameters_mut().gradients(&mut gradients, &mut |name, slope| {
        if name == "encoder.film.modes" {
            slopes = to_vec(slope);
        }
    });
    // γ and β of both modes, of each channel.
    assert_eq!(slopes.len(), film::Film::parameters(32));
    assert!(slopes.iter().filter(|slope| **slope != 0.0).count() > slopes.len() * 9 / 10, "{slopes:?}");
}

#[test]
fn training_hears_as_the_configuration_says() {
    let (sounds, tokens) = (noise(2 * 210, 7), [2, 7]);
    let sounds = Tensor::<5>::from_data(TensorData::new(sounds, [2, 210, 1, 1, 1]), &Device::flex());
    let [on, off] = [true, false].map(|denoise| {
        let it = switched(denoise, true);
        let by_flag = |flag: f32| {
            let flag = Tensor::<2>::full(tokens, flag, &Device::flex());
            to_vec(it.reconstruct_denoising(sounds.clone(), flag, false, RngKey::new(1)).media)
        };
        let by_settings = to_vec(it.reconstruct(sounds.clone(), false, RngKey::new(1)).media);
        assert_near(&by_settings, &by_flag(f32::from(u8::from(denoise))));
        by_settings
    });
    assert_ne!(on, off);
}

#[test]
fn work_is_that_of_the_layers() {
    let config = |film| SoundStreamConfig { channels: 2, strides: vec![2], film, ..config() };
    let media = MediaShape::Sound { samples: 1000, channels: 1, rate: Rate::whole(8000) };
    let [encoder, decoder] = config(None).cost(&media);
    assert_eq!(encoder, decoder);
    // Of both halves together, a multiplication for each tap and pair of channels: the ends, six pairs of convolutions in
    // residual units; and for every second sample the strided ones of four taps and those at the latents, of six numbers.
    let samples = 2 * (7 * 2) + 6 * (7 * 2 * 2 + 2 * 2);
    let halves = 2 * (4 * 2 * 4) + 3 * 4 * 6 + 7 * 6 * 4;
    assert_eq!(encoder.forward_flops, f64::from(1000 * samples + 500 * halves));
    // Half of what goes into a layer and comes out of it.
    let kept = 1000 * (2 * 3 + 12 * 4) + 500 * (2 * 6 + 2 * 10);
    assert_eq!(encoder.activations, f64::from(kept) / 2.0);
    // Sounds are heard 64 tokens at a time.
    assert_eq!(encoder.working_set, f64::from(4 * 2 * 128));
    // The switch multiplies and adds to each of four numbers of a token.
    let switched = config(Some(FilmConfig { denoise: true })).cost(&media)[0];
    assert_eq!(switched.forward_flops - encoder.forward_flops, f64::from(500 * 4));
    assert_eq!(switched.activations - encoder.activations, f64::from(500 * 2 * 4) / 2.0);
}
