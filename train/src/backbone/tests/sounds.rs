//! A canvas of sound alone, of three codebooks: both models of codes train on it by each pattern.

use super::*;
use crate::trainer::{Callbacks, Ended, Run};
use musiva_core::Sound;
use musiva_core::canvas::{LevelPattern, TrackShape};
use musiva_core::parameters::open_weights;
use musiva_models::lm::LmConfig;
use musiva_models::masked::MaskedConfig;
use musiva_models::objectives::masked::MaskedTokens;
use musiva_models::objectives::next_token::NextToken;
use musiva_models::samplers::autoregressive::Autoregressive;
use musiva_models::samplers::maskgit::MaskGit;
use std::path::Path;

/// Samples of a token: one for each codebook.
const LEVELS: usize = 3;
const ENTRIES: usize = 8;
/// Tokens of a sound, two a second.
const TOKENS: usize = 6;
const RATE: u32 = 6;
const SOUNDS: usize = 8;

fn canvas(pattern: LevelPattern) -> Arc<CanvasShape> {
    let kind = TokenKind::Codes { levels: LEVELS, entries: ENTRIES, bits: None };
    let audio = TrackShape {
        pattern,
        strides: [LEVELS, 1, 1],
        seconds: 0.5,
        context: true,
        ..TrackShape::audio("audio", TokenShape { grid: [TOKENS, 1, 1], kind }, [1, 1], 1)
    };
    let words = TokenKind::Codes { levels: 1, entries: SOUNDS, bits: None };
    let text = TrackShape::text("text", TokenShape { grid: [1, 1, 1], kind: words });
    let mut canvas = CanvasShape::new(1, SOUNDS, audio.tokens);
    canvas.tracks = vec![audio, text];
    Arc::new(canvas)
}

/// Sound `i` has steps that go up by `i`, and its caption says so.
struct Stairs;

impl Dataset for Stairs {
    fn len(&self) -> Option<u64> {
        Some(SOUNDS as u64)
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let step = |i: usize| ((index as usize + 1) * (i / LEVELS) + i % LEVELS) % ENTRIES;
        let samples = (0..TOKENS * LEVELS).map(|i| step(i) as f32 / ENTRIES as f32).collect();
        let sound = Sound::new(1, Rate::whole(RATE), samples)?;
        Ok(Sample { sound: Some(sound), caption: index.to_string(), ..Sample::default() })
    }

    fn shape(&self, _: Modality) -> Option<MediaShape> {
        None
    }

    fn report(&self) -> DataReport {
        unreachable!("not asked for")
    }
}

/// Each sample is a code of the next codebook.
struct Steps(TokenizerSpec);

impl Tokenizer for Steps {
    fn spec(&self) -> &TokenizerSpec {
        &self.0
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        let Media::Sound(sound) = media else { panic!("a sound") };
        let codes = sound.samples().iter().map(|sample| (sample * ENTRIES as f32) as u32).collect();
        Tokens::levels([sound.length() / LEVELS, 1, 1], LEVELS, ENTRIES, codes)
    }

    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        let samples = tokens.as_codes()?.iter().map(|&code| code as f32 / ENTRIES as f32).collect();
        Ok(Media::Sound(Sound::new(1, Rate::whole(1), samples)?))
    }
}

/// The number in a caption is a word.
struct Number(TokenizerSpec);

impl Tokenizer for Number {
    fn spec(&self) -> &TokenizerSpec {
        &self.0
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        let Media::Text(text) = media else { panic!("a text") };
        Tokens::codes([1, 1, 1], SOUNDS, vec![text.parse().unwrap()])
    }

    fn decode(&self, _: &Tokens) -> Result<Media> {
        Err(Error::new(ErrorKind::Unsupported, "decode", "a text is not shown"))
    }
}

fn codecs(canvas: &CanvasShape) -> Codecs {
    let codec = |track: &TrackShape| {
        let (modality, kind, strides) = (track.modality, track.tokens.kind, track.strides);
        let spec = TokenizerSpec { modality, kind, codes: kind, strides, causal: true, range: [0.0, 1.0] };
        let tokenizer: Box<dyn Tokenizer> = match modality {
            Modality::Audio => Box::new(Steps(spec)),
            _ => Box::new(Number(spec)),
        };
        (modality, Codec::new(tokenizer, Rate::whole(RATE)))
    };
    Codecs::new(canvas, canvas.tracks.iter().map(codec).collect())
}

/// What a run says.
#[derive(Default)]
struct Watch {
    losses: Vec<f64>,
    held_out: Vec<f64>,
    sounds: Vec<Sound>,
}

impl Callbacks for Watch {
    fn step(&mut self, _: u64, _: u64, measures: Option<&[(String, f64)]>) {
        let loss = measures.into_iter().flatten().find(|(name, _)| name == "loss");
        self.losses.extend(loss.map(|(_, value)| *value));
    }

    fn samples(&mut self, _: u64, look: &Samples) -> Result<()> {
        assert_eq!(look.clips.len(), look.sounds.len(), "each is drawn");
        self.sounds.extend(look.sounds.iter().cloned());
        self.held_out.extend(look.measures.iter().map(|(_, value)| *value));
        Ok(())
    }
}

/// A model of codes with what trains it and what draws from it.
type Model = (Box<dyn BackboneConfig>, Box<dyn Objective>, Box<dyn Sampler>);

fn language() -> Model {
    let config = LmConfig { width: 16, depth: 1, heads: 2, ..LmConfig::default() };
    (Box::new(config), Box::new(NextToken { prompt_dropout: 0.0 }), Box::new(Autoregressive::default()))
}

fn masked() -> Model {
    let config = MaskedConfig { width: 16, depth: 1, heads: 2, ..MaskedConfig::default() };
    (Box::new(config), Box::new(MaskedTokens::default()), Box::new(MaskGit { steps: 2, ..MaskGit::default() }))
}

/// Two steps on all sounds at once.
fn trained(model: &Model, pattern: LevelPattern, tasks: &[Task], folder: &Path) -> (Watch, Weights) {
    let settings = TrainSettings {
        steps: 2,
        batch: SOUNDS,
        learning_rate: 1e-2,
        warmup: 0,
        log_every: 1,
        sample_every: 1,
        ..TrainSettings::default()
    };
    let canvas = canvas(pattern);
    let (config, objective, sampler) = model;
    let parts = BackboneParts {
        config: &**config,
        codecs: codecs(&canvas),
        canvas,
        objective: &**objective,
        sampler: &**sampler,
        tasks: tasks.to_vec(),
    };
    let tokens = TokenSet::new(&Stairs, SOUNDS as u64, &parts.canvas, &parts.encoders(), &mut |_| Ok(())).unwrap();
    let (data, seed, device) = (Arc::new(Stairs), WeightInit::Seed(3), Device::flex());
    let mut training = BackboneTraining::new(&settings, parts, &seed, data.clone(), tokens, data, &device).unwrap();
    let run =
        Run { folder: folder.to_owned(), settings: &settings, recipe: String::new(), metadata: Default::default() };
    let mut watch = Watch::default();
    let Ended::Done(weights) = run.train(&mut training, false, &mut watch).unwrap() else { panic!("it ends") };
    (watch, open_weights(&weights).unwrap().0)
}

#[test]
fn sound_alone_trains_by_each_pattern_the_same_each_time() {
    let from_text = Task::new("text-to-audio", [("audio", MaskSpec::Target)]);
    let goes_on = Task { seconds: Some(1.0), ..Task::new("audio-continuation", [("audio", MaskSpec::First)]) };
    let both = [from_text.clone(), goes_on];
    for pattern in [LevelPattern::Parallel, LevelPattern::Delay, LevelPattern::Flat] {
        for (name, model) in [("lm", language()), ("masked", masked())] {
            for tasks in [&both[..1], &both] {
                let folder = tempfile::tempdir().unwrap();
                let run = |name: &str| trained(&model, pattern, tasks, &folder.path().join(name));
                let ((first, weights), (again, same)) = (run("first"), run("again"));
                let place = format!("{name} {pattern:?} {}", tasks.len());
                assert_eq!((first.losses.len(), first.sounds.len()), (2, 2 * SOUNDS), "{place}");
                assert!(first.losses.iter().chain(&first.held_out).all(|loss| loss.is_finite()), "{place}");
                assert_eq!((&first.losses, &first.held_out), (&again.losses, &again.held_out), "{place}");
                assert!(first.sounds == again.sounds && weights == same, "{place}");
                for sound in &first.sounds {
                    assert_eq!((sound.length(), sound.rate()), (TOKENS * LEVELS, Rate::whole(RATE)), "{place}");
                }
                // The same batch twice: only what is masked of it is drawn anew.
                if name == "lm" && tasks.len() == 1 {
                    // Untaught, each code costs about as much as any.
                    let uniform = LEVELS as f64 * (ENTRIES as f64).ln();
                    assert!((first.losses[0] / uniform - 1.0).abs() < 0.25, "{place}: {:?}", first.losses);
                    assert!(first.losses[1] < first.losses[0], "{place}: {:?}", first.losses);
                }
            }
        }
    }
}
