use super::*;
use crate::denoise::switched;
use crate::health::FailureMode;
use crate::measure::si_snr;
use crate::trainer::{Callbacks, Ended, Run};
use musiva_core::parameters::{Weight, to_vec};
use musiva_core::recipe::{OnFailure, TrainTables};
use musiva_core::{Clip, MediaShape, Rate, RngStream, Sound};
use musiva_data::{DataReport, Sample};
use musiva_tokenizers::magvit2::Magvit2Config;
use musiva_tokenizers::quantizers::{QuantizerConfig, RvqTokens};
use musiva_tokenizers::settings::{Adversarial, AdversarialLoss, Noise, Perceptual, SoundLoss};
use musiva_tokenizers::soundstream::{FilmConfig, SoundStreamConfig};
use serde_json::json;
use std::path::Path;

/// Clips of coloured noise in patches, and sounds of tones.
struct Toys;

const FRAMES: usize = 5;
const SIDE: usize = 16;
const SAMPLES: usize = 600;

impl Dataset for Toys {
    fn len(&self) -> Option<u64> {
        Some(11)
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let mut stream = RngKey::new(7).sample(index).stream(RngStream::Data);
        let patches: Vec<u8> = (0..4 * 4 * 3).map(|_| stream.bits() as u8).collect();
        let pixel = |i: usize| {
            let (y, x) = (i / 3 / SIDE % SIDE / 4, i / 3 % SIDE / 4);
            patches[(y * 4 + x) * 3 + i % 3]
        };
        let clip = Clip::new([FRAMES, SIDE, SIDE], Rate::whole(8), (0..FRAMES * SIDE * SIDE * 3).map(pixel).collect())?;
        let pitch = 0.1 + 0.5 * stream.uniform();
        let sound = (0..SAMPLES).map(|i| 0.4 * (pitch * i as f32).sin()).collect();
        let sound = Sound::new(1, Rate::whole(8000), sound)?;
        Ok(Sample { clip: Some(clip), sound: Some(sound), id: index.to_string(), ..Sample::default() })
    }

    fn shape(&self, _: Modality) -> Option<MediaShape> {
        None
    }

    fn report(&self) -> DataReport {
        DataReport { clips: None, windows: None, dropped: Vec::new(), pixels: None, loudness: None }
    }
}

/// A tokenizer of clips, or with `time = 1` and `kernel = 1` of single frames.
fn of(time: usize, kernel: usize) -> Magvit2Config {
    let stage = |frames, down| json!({ "channels": 8, "blocks": 1, "frames": frames, "down": down });
    let stages = [stage(kernel, [time, 1, 1]), stage(1, [1; 3])];
    let quantizer = json!({ "kind": "lfq", "bits": 5 });
    serde_json::from_value(json!({ "patch": 4, "stages": stages, "quantizer": quantizer })).unwrap()
}

fn of_clips() -> Magvit2Config {
    of(2, 3)
}

fn of_sounds() -> SoundStreamConfig {
    let quantizer = QuantizerConfig::Rvq {
        levels: 2,
        entries: 8,
        channels: 4,
        decay: 0.9,
        restart: 0.1,
        dropout: 0.5,
        tokens: RvqTokens::Codes,
    };
    SoundStreamConfig { channels: 4, strides: vec![4, 5], quantizer, film: None }
}

fn settings(target: Target) -> TrainSettings {
    let game = Adversarial {
        weight: 0.5,
        feature: 2.0,
        adaptive: Some(100.0),
        start: 1,
        learning_rate: 1e-3,
        r1: 1.0,
        r1_every: 2,
        lecam: 0.01,
        channels: 4,
        widest: 8,
        blocks: 2,
        window: 128,
        ..Adversarial::default()
    };
    TrainSettings {
        target,
        steps: 6,
        batch: 4,
        accumulate: 2,
        warmup: 2,
        learning_rate: 1e-3,
        log_every: 1,
        checkpoint_every: 100,
        sample_every: 0,
        keep: 9,
        tables: TrainTables::default().with(game),
        ..TrainSettings::default()
    }
}

/// The discriminator of [`settings`].
fn game() -> Adversarial {
    settings(Target::Video).tables.get::<Adversarial>().unwrap().clone()
}

/// Stops after a step, and remembers what it was told.
#[derive(Default)]
struct Onlooker {
    last: u64,
    now: u64,
    failing: Vec<FailureMode>,
    measures: Vec<Vec<(String, f64)>>,
}

impl Callbacks for Onlooker {
    fn step(&mut self, done: u64, _: u64, measures: Option<&[(String, f64)]>) {
        self.now = done;
        self.measures.extend(measures.map(<[_]>::to_vec));
    }
    fn failing(&mut self, _: u64, failure: FailureMode) {
        self.failing.push(failure);
    }
    fn samples(&mut self, _: u64, _: &Samples) -> Result<()> {
        Ok(())
    }
    fn saved(&mut self, _: u64, _: &Path) {}
    fn stop(&self) -> bool {
        self.now == self.last
    }
}

impl Onlooker {
    fn last(&self, name: &str) -> Option<f64> {
        self.measures.last()?.iter().find(|(other, _)| other == name).map(|(_, value)| *value)
    }
}

fn trainable<'a, M: Medium>(
    settings: &TrainSettings,
    config: &'a dyn TokenizerConfig,
    weight_init: &WeightInit,
) -> TokenizerTraining<'a, M> {
    TokenizerTraining::new(settings, config, weight_init, Arc::new(Toys), &Toys, &Device::flex()).unwrap()
}

/// Trains to `last`, or to the end, and gives the trainee as it is then.
fn train<'a, M: Medium>(
    settings: &TrainSettings,
    config: &'a dyn TokenizerConfig,
    folder: &Path,
    resume: bool,
    last: u64,
) -> (TokenizerTraining<'a, M>, Ended, Onlooker) {
    let mut trainable = trainable::<M>(settings, config, &WeightInit::Seed(3));
    let mut callbacks = Onlooker { last, ..Onlooker::default() };
    let run = Run { folder: folder.to_owned(), settings, recipe: String::new(), metadata: Default::default() };
    let ended = run.train(&mut trainable, resume, &mut callbacks).unwrap();
    (trainable, ended, callbacks)
}

/// Six steps are three, and three more: both networks, both optimizers, all anchors.
fn goes_on_to_the_bit<M: Medium>(settings: TrainSettings, config: &dyn TokenizerConfig) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let state =
        |folder: &Path| -> Weights { open_weights(&folder.join("checkpoints/00000006.safetensors")).unwrap().0 };
    let (_, ended, callbacks) = train::<M>(&settings, config, &whole, false, u64::MAX);
    let Ended::Done(weights) = ended else { panic!("{ended:?}") };
    for name in ["loss", "adversarial", "feature", "adaptive_weight", "discriminator", "accuracy", "lecam"] {
        assert!(callbacks.last(name).is_some_and(f64::is_finite), "{name} is not in {:?}", callbacks.measures.last());
    }
    assert!(callbacks.measures[0].iter().all(|(name, _)| name != "adversarial"), "it starts at the second step");
    assert!(callbacks.measures[1].iter().any(|(name, _)| name == "r1"));

    let (_, ended, _) = train::<M>(&settings, config, &parts, false, 3);
    assert_eq!(ended, Ended::Stopped(3));
    train::<M>(&settings, config, &parts, true, u64::MAX);
    let (one, two) = (state(&whole), state(&parts));
    assert!(
        one.keys().any(|name| name == "adversary.model.anchors")
            && one.keys().any(|name| name.starts_with("adversary.v.heads"))
    );
    assert!(
        one == two,
        "{:?}",
        one.iter().filter(|(name, weight)| two.get(*name) != Some(weight)).map(|(n, _)| n).collect::<Vec<_>>()
    );
    // What ships is the tokenizer alone.
    let mut built = config.build(&Device::flex(), &WeightInit::Seed(0)).unwrap();
    built.trainable().unwrap().parameters_mut().load(&open_weights(&weights).unwrap().0, "it").unwrap();
}

#[test]
fn a_video_tokenizer_against_a_discriminator_goes_on_to_the_bit() {
    let mut settings = TrainSettings { frames: Some(3), images: 0.5, ..settings(Target::Video) };
    settings.tables = settings.tables.with(Perceptual { frames: Some(2), ..Perceptual::default() });
    goes_on_to_the_bit::<Clips>(settings, &of_clips());
}

#[test]
fn an_audio_tokenizer_against_a_discriminator_goes_on_to_the_bit() {
    let settings = TrainSettings { samples: Some(400), ..settings(Target::Audio) };
    goes_on_to_the_bit::<Sounds>(settings, &of_sounds());
}

#[test]
fn an_audio_tokenizer_that_takes_noise_out_goes_on_to_the_bit() {
    let mut settings = TrainSettings { samples: Some(390), ..settings(Target::Audio) };
    settings.tables = settings.tables.with(Noise::default());
    let config = SoundStreamConfig { film: Some(FilmConfig { denoise: true }), ..of_sounds() };
    goes_on_to_the_bit::<Sounds>(settings, &config);
}

#[test]
fn a_switch_is_added_to_a_tokenizer_that_has_none() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("without.safetensors");
    let weights = of_sounds().build(&Device::flex(), &WeightInit::Seed(9)).unwrap().learned().unwrap().weights();
    let save = musiva_core::parameters::save_weights;
    save(&path, &weights, musiva_core::parameters::Precision::F32, Default::default()).unwrap();
    let mut settings = TrainSettings { grow: true, ..settings(Target::Audio) };
    settings.tables = settings.tables.with(Noise::default());
    let config = SoundStreamConfig { film: Some(FilmConfig { denoise: true }), ..of_sounds() };
    let started = trainable::<Sounds>(&settings, &config, &WeightInit::File(path)).parameters().weights();
    let (new, old): (Weights, Weights) = started.into_iter().partition(|(name, _)| !weights.contains_key(name));
    assert_eq!(old, weights);
    assert_eq!(new.into_keys().collect::<Vec<_>>(), ["encoder.film.modes"]);
}

#[test]
fn noise_is_learnt_to_be_taken_out() {
    let folder = tempfile::tempdir().unwrap();
    let settings =
        TrainSettings {
            steps: 300,
            batch: 8,
            accumulate: 1,
            learning_rate: 3e-3,
            log_every: 100,
            tables: TrainTables::default()
                .with(Noise { snr: [0.0, 0.0], slope: [0.0, 0.0], clean: 0.0 })
                .with(SoundLoss { wave: 0.0, noise: 10.0, mel: 0.0, ..SoundLoss::default() }),
            ..settings(Target::Audio)
        };
    // Numbers enough for all of the samples: what is taken out is not merely what there is no room for.
    let quantizer = QuantizerConfig::Kl { channels: 8 };
    let film = Some(FilmConfig { denoise: true });
    let config = SoundStreamConfig { channels: 8, strides: vec![2, 3], quantizer, film };
    let (trainable, ..) = train::<Sounds>(&settings, &config, folder.path(), false, u64::MAX);
    let [noisy, on, off] = signal_to_noise(&trainable);
    assert!(on > noisy + 5.0 && off < on - 2.0, "{noisy} dB with noise, {on} dB with the switch on, {off} dB off");
}

/// SI-SNR, in decibels and to the clean sounds, of noisy ones as they are, with the switch on, and off.
fn signal_to_noise(trainable: &TokenizerTraining<Sounds>) -> [f64; 3] {
    let mut found = [0.0; 3];
    for (clean, noisy) in trainable.medium.heard.iter().zip(&trainable.medium.noisy) {
        let [on, off] = [true, false].map(|on| switched(&*trainable.tokenizer, noisy, on).unwrap().unwrap());
        for (sum, made) in found.iter_mut().zip([noisy, &on, &off]) {
            *sum += si_snr(clean, made).unwrap() / trainable.medium.heard.len() as f64;
        }
    }
    found
}

#[test]
fn what_is_computed_again_is_what_would_have_been_kept() {
    let config = of_clips();
    let weights = |gradient_checkpointing| {
        let folder = tempfile::tempdir().unwrap();
        let settings = TrainSettings { gradient_checkpointing, ..settings(Target::Video) };
        let (trainable, ..) = train::<Clips>(&settings, &config, folder.path(), false, u64::MAX);
        (trainable.parameters().weights(), trainable.adversary().unwrap().parameters().weights())
    };
    assert!(weights(false) == weights(true));
}

/// The gradient of a loss by a tokenizer's parameters.
fn gradient(trainable: &TokenizerTraining<Clips>, loss: Tensor<1>) -> Vec<(String, Vec<f32>)> {
    let mut found = Vec::new();
    trainable
        .parameters()
        .gradients(&mut loss.backward(), &mut |name, slope| found.push((name.to_owned(), to_vec(slope))));
    found
}

#[test]
fn the_pull_on_media_is_the_gradient_of_the_sum_of_losses() {
    use musiva_tokenizers::discriminators::Discriminator;
    use musiva_tokenizers::losses::adversarial::{feature_matching, generator_loss};
    let game = Adversarial { adaptive: None, start: 0, ..game() };
    let with =
        TrainSettings { tables: TrainTables::default().with(game.clone()), warmup: 0, ..settings(Target::Video) };
    let config = of_clips();
    let mut pulled = trainable::<Clips>(&with, &config, &WeightInit::Seed(3));
    let loss = pulled.loss(0, 0).unwrap().total;
    let value = to_vec(loss.clone())[0];
    let pulled = gradient(&pulled, loss);

    // The other road: one graph with the discriminator in it.
    let mut plain = trainable::<Clips>(
        &TrainSettings { tables: TrainTables::default(), ..with.clone() },
        &config,
        &WeightInit::Seed(3),
    );
    let target = plain.medium.target(plain.batches.get(0).unwrap());
    let made = plain.tokenizer.trainable().unwrap().reconstruct(target.clips.clone(), true, RngKey::new(with.seed));
    let init = musiva_core::Init::new(with.seed, &plain.device).part("discriminator");
    let judge = Discriminator::new(&adversary::config(&game), Modality::Video, &init).frozen();
    let (real, judged) = (judge.forward(target.clips.clone()), judge.forward(made.media.clone()));
    let said = generator_loss(AdversarialLoss::Hinge, &judged) + feature_matching(&real, &judged) * game.feature;
    let far = plain.medium.distortion(&target, made.media.clone(), 0).total;
    let latent = plain.medium.latent_loss(&target, made.quantized, 0).unwrap().total;
    let loss = far + said * game.weight + latent;
    assert!((to_vec(loss.clone())[0] - value).abs() < 1e-5 * value.abs());
    let whole = gradient(&plain, loss);
    assert_eq!(whole.len(), pulled.len());
    for ((name, whole), (other, pulled)) in whole.iter().zip(&pulled) {
        assert_eq!(name, other);
        let size = whole.iter().map(|x| x.abs()).fold(0.0, f32::max);
        let far = whole.iter().zip(pulled).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(far <= 1e-4 * size + 1e-8, "{name}: {far} of {size}");
    }
}

#[test]
fn a_decoder_alone_is_tuned_against_a_discriminator() {
    let folder = tempfile::tempdir().unwrap();
    let freeze = vec!["encoder".to_owned(), "quantizer".to_owned()];
    let settings = TrainSettings { freeze, samples: Some(400), ..settings(Target::Audio) };
    let config = of_sounds();
    let before = trainable::<Sounds>(&settings, &config, &WeightInit::Seed(3)).parameters().weights();
    let (after, ..) = train::<Sounds>(&settings, &config, folder.path(), false, u64::MAX);
    for (name, weight) in after.parameters().weights() {
        assert_eq!(before[&name] == weight, !name.starts_with("decoder"), "{name}");
    }
}

#[test]
fn a_discriminator_that_wins_is_told_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let game = Adversarial {
        loss: AdversarialLoss::NonSaturating,
        learning_rate: 0.01,
        start: 0,
        adaptive: None,
        r1: 0.0,
        lecam: 0.0,
        ..game()
    };
    // A tokenizer that hardly learns, against one that learns fast.
    let settings = TrainSettings {
        steps: 60,
        learning_rate: 1e-7,
        warmup: 0,
        on_failure: OnFailure::Warn,
        tables: TrainTables::default().with(game.clone()),
        ..settings(Target::Video)
    };
    let (_, _, callbacks) = train::<Clips>(&settings, &of_clips(), folder.path(), false, u64::MAX);
    assert!(
        callbacks.failing.contains(&FailureMode::DiscriminatorWins),
        "{:?}: {:?}",
        callbacks.failing,
        callbacks.measures.last()
    );
    let gentle = TrainSettings {
        learning_rate: 1e-3,
        steps: 30,
        tables: TrainTables::default().with(Adversarial { learning_rate: 1e-5, ..game }),
        ..settings
    };
    let other = tempfile::tempdir().unwrap();
    let (_, _, callbacks) = train::<Clips>(&gentle, &of_clips(), other.path(), false, u64::MAX);
    assert!(!callbacks.failing.contains(&FailureMode::DiscriminatorWins), "{:?}", callbacks.measures.last());
}

#[test]
fn a_tokenizer_of_clips_starts_from_one_of_images() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.safetensors");
    let weights = of(1, 1).build(&Device::flex(), &WeightInit::Seed(9)).unwrap().learned().unwrap().weights();
    let save = musiva_core::parameters::save_weights;
    save(&path, &weights, musiva_core::parameters::Precision::F32, Default::default()).unwrap();
    let settings = TrainSettings { inflate: true, ..settings(Target::Video) };
    let config = of_clips();
    let started = trainable::<Clips>(&settings, &config, &WeightInit::File(path)).parameters().weights();
    let (wide, thin): (&Weight, &Weight) = (&started["encoder.stem.weight"], &weights["encoder.stem.weight"]);
    assert_eq!((wide.shape[2], thin.shape[2]), (3, 1));
    assert_eq!(wide.values.iter().filter(|w| **w != 0.0).count(), thin.values.len());
}

#[test]
fn windows_shorter_than_the_discriminators_are_refused() {
    let settings = TrainSettings { samples: Some(100), ..settings(Target::Audio) };
    let config = of_sounds();
    let made = TokenizerTraining::<Sounds>::new(
        &settings,
        &config,
        &WeightInit::Seed(1),
        Arc::new(Toys),
        &Toys,
        &Device::flex(),
    );
    let error = made.err().unwrap().to_string();
    assert!(error.contains("the discriminator's") && error.contains("train.samples = 128"), "{error}");
}

#[test]
fn what_is_heard_is_measured_with_the_switch_on_and_without_it() {
    let mut settings = settings(Target::Audio);
    settings.tables = settings.tables.with(Noise::default());
    let config = SoundStreamConfig { film: Some(FilmConfig { denoise: true }), ..of_sounds() };
    let mut trainable = trainable::<Sounds>(&settings, &config, &WeightInit::Seed(3));
    let weights = trainable.parameters().weights();
    let samples = trainable.sample(&weights, 1).unwrap();
    let found = |name: &str| samples.measures.iter().find(|(other, _)| other == name).unwrap().1;
    let heard = &trainable.medium.heard;
    let [noisy, on, _] = signal_to_noise(&trainable);
    assert!((found("si_snr_noisy") - noisy).abs() < 1e-9 && (found("si_snr_denoised") - on).abs() < 1e-9);
    // Of the sounds themselves, with the switch as the configuration has it.
    let clean = heard.iter().map(|sound| {
        let made = switched(&*trainable.tokenizer, sound, true).unwrap().unwrap();
        si_snr(sound, &made).unwrap()
    });
    assert!((found("si_snr") - clean.sum::<f64>() / heard.len() as f64).abs() < 1e-6);
    assert_eq!((heard.len(), samples.sounds.len()), (8, 16));
}

#[test]
fn each_part_of_the_game_counts_by_its_weight() {
    let config = of_clips();
    for feature in [0.0, 2.0] {
        let game = Adversarial { feature, start: 0, adaptive: None, lecam: 0.5, r1: 0.25, r1_every: 3, ..game() };
        let settings = TrainSettings {
            tables: TrainTables::default().with(game.clone()),
            warmup: 0,
            accumulate: 1,
            ..settings(Target::Video)
        };
        let mut trainable = trainable::<Clips>(&settings, &config, &WeightInit::Seed(3));
        for step in 0..4 {
            let pulled = trainable.loss(step, 0).unwrap();
            let part = |loss: &Loss, name: &str| {
                loss.parts.iter().find(|(other, _)| *other == name).map(|(_, value)| to_vec(value.clone())[0])
            };
            // What weighs nothing is not computed.
            assert_eq!(part(&pulled, "feature").is_some(), feature > 0.0);
            let loss = trainable.adversary.as_mut().unwrap().loss(step).unwrap();
            let [said, lecam] = ["discriminator", "lecam"].map(|name| part(&loss, name).unwrap());
            // The penalty comes every third step, three times as heavy.
            let r1 = part(&loss, "r1");
            assert_eq!(r1.is_some(), step % 3 == 0, "{step}");
            let wanted = said + 0.5 * lecam + 3.0 * 0.25 * r1.unwrap_or(0.0);
            assert!((to_vec(loss.total)[0] - wanted).abs() < 1e-4 * wanted.abs(), "{step}");
        }
    }
}

#[test]
fn work_counts_what_judges_and_what_looks_at_pictures() {
    use musiva_core::Registry;

    let mut registry = Registry::default();
    musiva_data::register(&mut registry).unwrap();
    musiva_tokenizers::register(&mut registry).unwrap();
    let text = "schema = 1\ndata = { kind = \"world\", frames = 17, size = [32, 32] }\n\
                tokenizer.video.kind = \"magvit2\"\n\
                [train]\ntarget = \"tokenizer.video\"\nbatch = 12\naccumulate = 3\nframes = 9\n";
    let of = |more: &str| {
        let recipe = Recipe::parse(&format!("{text}{more}"), Path::new("x.toml"), &[], &registry).unwrap();
        summary(&recipe)
    };
    let training = |summary: &Summary| summary.training.clone().unwrap();
    let plain = training(&of(""));
    let apart = |summary: &Summary| {
        let training = training(summary);
        (training.flops_per_step - plain.flops_per_step, training.memory_bytes - plain.memory_bytes)
    };
    let near = |a: f64, b: f64| assert!((a - b).abs() < 1e-6 * b, "{a}, not {b}");

    // Two passes of real and made clips for its own sake and back through both, twice as much work; one of the made ones
    // for the tokenizer's and back to the clips. Kept are those of its own side, of a third of the batch.
    let judged = of("[train.adversarial]\n");
    let window = MediaShape::Clip { frames: 9, height: 32, width: 32, rate: Rate::whole(8) };
    let size = adversary::config(&Adversarial::default()).size(&window);
    let (flops, bytes) = apart(&judged);
    near(flops, 12.0 * size.flops * (2.0 + 4.0 + 1.0 + 1.0));
    near(bytes, 4.0 * (5 * size.parameters) as f64 + 4.0 * size.activations * 2.0 * 4.0);
    assert_eq!(judged.parameters.last(), Some(&("train.adversarial".to_owned(), size.parameters)));

    // Of five frames of each clip both pictures forwards, and back to the made one.
    let looked = of("[train.perceptual]\nframes = 5\n");
    let size = FeatureNet::size(false, [32, 32]);
    let (flops, bytes) = apart(&looked);
    near(flops, 12.0 * 5.0 * 3.0 * size.flops);
    near(bytes, 4.0 * size.parameters as f64 + 4.0 * size.activations * 5.0 * 4.0);
}

mod steps;
