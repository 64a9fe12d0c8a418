//! A backbone of one number among parts of the test's own: what a step draws, and what is measured and shown of it. And
//! the real models on a canvas of sound alone.

mod sounds;

use super::*;
use burn::module::{Module, Param};
use burn::tensor::Tensor;
use musiva_core::canvas::{CanvasBatch, Conditioning, Prediction};
use musiva_core::parameters::Weight;
use musiva_core::pipeline::Codec;
use musiva_core::{
    BackboneSpec, Clip, ConfigError, Cost, Init, Layout, MaskSpec, Process, Rate, SampleRequest, Sampling, Session,
    TokenKind, TokenShape, TokenValues, Tokenizer, TokenizerSpec, Tokens,
};
use musiva_data::{DataReport, Sample};
use std::sync::Mutex;

/// Frames of a clip, of one pixel each: a token is a pixel's grey.
const FRAMES: usize = 3;

fn canvas() -> Arc<CanvasShape> {
    let tokens = TokenShape { grid: [FRAMES, 1, 1], kind: TokenKind::Codes { levels: 1, entries: 256, bits: Some(8) } };
    Arc::new(CanvasShape::new(1, 256, tokens).with_context())
}

/// Sample `i` is grey `i`, and its caption says so.
struct Greys(u64);

impl Dataset for Greys {
    fn len(&self) -> Option<u64> {
        Some(self.0)
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let clip = Clip::new([FRAMES, 1, 1], Rate::whole(8), vec![index as u8; 3 * FRAMES])?;
        Ok(Sample { clip: Some(clip), caption: index.to_string(), ..Sample::default() })
    }

    fn shape(&self, _: Modality) -> Option<MediaShape> {
        None
    }

    fn report(&self) -> DataReport {
        DataReport { clips: None, windows: None, dropped: Vec::new(), pixels: None, loudness: None }
    }
}

/// Greys to codes and back, numbers of captions to words.
struct Plain(TokenizerSpec);

fn plain(modality: Modality) -> Box<dyn Tokenizer> {
    let codes = TokenKind::Codes { levels: 1, entries: 256, bits: Some(8) };
    Box::new(Plain(TokenizerSpec { modality, kind: codes, codes, strides: [1; 3], causal: true, range: [0.0, 1.0] }))
}

impl Tokenizer for Plain {
    fn spec(&self) -> &TokenizerSpec {
        &self.0
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        let codes: Vec<u32> = match media {
            Media::Clip(clip) => clip.pixels().chunks(3).map(|pixel| u32::from(pixel[0])).collect(),
            Media::Text(text) => vec![text.parse::<u32>().unwrap()],
            Media::Sound(_) => panic!("there are no sounds"),
        };
        Tokens::codes([codes.len(), 1, 1], 256, codes)
    }

    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        if self.0.modality == Modality::Text {
            return Err(Error::new(ErrorKind::Unsupported, "decode", "a text is not shown"));
        }
        let pixels = tokens.as_codes()?.iter().flat_map(|&code| [code as u8; 3]).collect();
        Ok(Media::Clip(Clip::new(tokens.grid(), Rate::whole(1), pixels)?))
    }
}

#[derive(Module, Debug)]
struct Number {
    w: Param<Tensor<1>>,
}

/// One number, 7 at first.
struct One {
    number: Number,
    canvas: Arc<CanvasShape>,
}

struct OneConfig;

impl BackboneConfig for OneConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn spec(&self, _: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        Ok(BackboneSpec::Masked)
    }
    fn parameters(&self, _: &CanvasShape) -> usize {
        1
    }
    fn cost(&self, _: &CanvasShape) -> Cost {
        Cost::default()
    }
    fn build(&self, canvas: &Arc<CanvasShape>, device: &Device, _: &WeightInit) -> Result<Box<dyn Backbone>> {
        let mut number = Number { w: Init::new(0, device).zeros([1]) };
        number.update(&mut |_, _, value| value + 7.0);
        Ok(Box::new(One { number, canvas: canvas.clone() }))
    }
}

impl One {
    fn value(backbone: &dyn Backbone) -> f32 {
        backbone.parameters().weights()["w"].values[0]
    }
}

impl Backbone for One {
    fn spec(&self) -> BackboneSpec {
        BackboneSpec::Masked
    }
    fn canvas(&self) -> &Arc<CanvasShape> {
        &self.canvas
    }
    fn device(&self) -> Device {
        self.number.w.val().device()
    }
    fn forward(&self, _: &CanvasBatch) -> Result<Prediction> {
        unreachable!("its objective and its sampler look at its number alone")
    }
    fn session(&self, _: Conditioning) -> Result<Option<Box<dyn Session>>> {
        Ok(None)
    }
    fn parameters(&self) -> &dyn Parameters {
        &self.number
    }
    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.number
    }
    fn frozen(&self) -> Box<dyn Backbone> {
        Box::new(Self { number: self.number.clone().valid(), canvas: self.canvas.clone() })
    }
}

/// A batch that a loss was asked of.
#[derive(Clone, Debug, PartialEq)]
struct Asked {
    step: u64,
    layout: Layout,
    /// The indices of the samples in their data, as their prompts say.
    indices: Vec<u32>,
    samples: Vec<u64>,
    context: Vec<Values>,
    target: Vec<Values>,
}

/// The codes of a track, sample after sample.
fn codes(values: &[Values], track: usize) -> Vec<u32> {
    let of = |values: &Values| match &values.tracks[track] {
        TokenValues::Codes { codes, .. } => codes.clone(),
        TokenValues::Vectors { .. } => panic!("codes"),
    };
    values.iter().flat_map(of).collect()
}

/// The loss is the backbone's number and the mean of the samples' indices.
#[derive(Default)]
struct Told(Mutex<Vec<Asked>>);

impl Told {
    fn take(&self) -> Vec<Asked> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Objective for Told {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn fits(&self, _: &BackboneSpec) -> Result<(), ConfigError> {
        Ok(())
    }
    fn process(&self) -> Option<Process> {
        None
    }
    fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss> {
        let indices = codes(&batch.context, 1);
        let mean = indices.iter().sum::<u32>() as f32 / indices.len() as f32;
        self.0.lock().unwrap().push(Asked {
            step: key.step,
            layout: (*batch.layout).clone(),
            indices,
            samples: batch.samples.clone(),
            context: batch.context.clone(),
            target: batch.target.clone(),
        });
        Ok(Loss { total: Tensor::from_data([mean + One::value(backbone)], &Device::flex()), parts: Vec::new() })
    }
}

/// Makes everything of the grey that the backbone's number is.
struct Paint;

struct Painting([Vec<Values>; 2], usize);

impl Sampler for Paint {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn fits(&self, _: &BackboneSpec, _: Option<&Process>) -> Result<(), ConfigError> {
        Ok(())
    }
    fn forwards(&self, _: &CanvasShape) -> f64 {
        1.0
    }
    fn begin(&self, backbone: &dyn Backbone, _: Option<&Process>, order: &SampleRequest) -> Result<Box<dyn Sampling>> {
        let grey = |grey: f32| {
            let canvas = order.layout.canvas();
            let mut made = canvas.blank().at(order.layout.target(), canvas);
            let TokenValues::Codes { codes, .. } = &mut made.tracks[0] else { panic!("codes") };
            codes.fill(grey as u32);
            vec![made; order.context.len()]
        };
        Ok(Box::new(Painting([grey(255.0), grey(One::value(backbone))], 0)))
    }
}

impl Sampling for Painting {
    fn progress(&self) -> (usize, usize) {
        (self.1, 2)
    }
    fn step(&mut self, _: &dyn Backbone) -> Result<()> {
        self.1 += 1;
        Ok(())
    }
    fn tokens(&self) -> Result<Vec<Values>> {
        // Before the last step it is not there yet.
        Ok(self.0[self.1 / 2].clone())
    }
}

fn task(name: &str, video: MaskSpec, weight: f64) -> Task {
    Task { weight, ..Task::new(name, [("video", video)]) }
}

const TRAINED: u64 = 24;

fn trainable<'a>(settings: &TrainSettings, tasks: &[Task], held_out: u64, told: &'a Told) -> BackboneTraining<'a> {
    let parts = BackboneParts {
        config: &OneConfig,
        canvas: canvas(),
        objective: told,
        sampler: &Paint,
        codecs: Codecs::new(
            &canvas(),
            [Modality::Video, Modality::Text]
                .map(|modality| (modality, Codec::new(plain(modality), Rate::whole(8))))
                .into(),
        ),
        tasks: tasks.to_vec(),
    };
    let data = Arc::new(Greys(TRAINED));
    let tokens = TokenSet::new(&*data, TRAINED, &parts.canvas, &parts.encoders(), &mut |_| Ok(())).unwrap();
    let (source, held_out) = (WeightInit::Seed(1), Arc::new(Greys(held_out)));
    BackboneTraining::new(settings, parts, &source, data, tokens, held_out, &Device::flex()).unwrap()
}

fn settings(batch: usize, accumulate: usize) -> TrainSettings {
    TrainSettings { batch, accumulate, sample_every: 10, ..TrainSettings::default() }
}

/// All batches of some steps, part after part.
fn asked(settings: &TrainSettings, tasks: &[Task], steps: std::ops::Range<u64>) -> Vec<Asked> {
    let told = Told::default();
    let mut trainable = trainable(settings, tasks, 3, &told);
    for step in steps {
        for part in 0..settings.accumulate {
            trainable.loss(step, part).unwrap();
        }
    }
    told.take()
}

#[test]
fn each_part_of_a_step_draws_its_own_task_as_often_as_its_weight_says() {
    let tasks = [task("text", MaskSpec::Target, 3.0), task("first", MaskSpec::First, 1.0)];
    let s = settings(8, 4);
    let all = asked(&s, &tasks, 0..250);
    assert_eq!(all.len(), 1000);
    // Beside the prompt.
    let first = |asked: &Asked| asked.layout.context().len() > 1;
    // A quarter of 1000, give or take four deviations.
    let count = all.iter().filter(|asked| first(asked)).count();
    assert!((195..=305).contains(&count), "{count}");
    // Were all parts of a step of one task, none would be mixed; drawn each for itself, 68 % are.
    let mixed = all.chunks(4).filter(|step| step.iter().any(&first) && !step.iter().all(&first)).count();
    assert!((140..=200).contains(&mixed), "{mixed}");
    for part in 0..4 {
        let count = all.iter().skip(part).step_by(4).filter(|asked| first(asked)).count();
        assert!((35..=90).contains(&count), "part {part}: {count}");
    }
    for asked in &all {
        let greys = |frames: usize| asked.indices.iter().flat_map(|&i| vec![i; frames]).collect::<Vec<u32>>();
        let (given, made) = if first(asked) { (1, FRAMES - 1) } else { (0, FRAMES) };
        assert_eq!([codes(&asked.context, 0), codes(&asked.target, 0)], [greys(given), greys(made)]);
        assert_eq!(codes(&asked.target, 1), [0; 0], "a prompt is context");
    }
    // A step's number alone says what it draws: whoever resumes draws the same.
    assert_eq!(asked(&s, &tasks, 100..110), all[400..440]);
    // And a task of no weight is never drawn.
    let never = [task("text", MaskSpec::Target, 1.0), task("first", MaskSpec::First, 0.0)];
    assert!(!asked(&s, &never, 0..50).iter().any(first));
}

#[test]
fn the_parts_of_a_batch_are_the_batch() {
    let tasks = [task("text", MaskSpec::Target, 1.0)];
    let by = |accumulate| asked(&settings(8, accumulate), &tasks, 0..9);
    let (whole, parts) = (by(1), by(2));
    assert_eq!((whole.len(), parts.len()), (9, 18));
    for (whole, parts) in whole.iter().zip(parts.chunks(2)) {
        let both = |of: fn(&Asked) -> &Vec<u32>| [of(&parts[0]).clone(), of(&parts[1]).clone()].concat();
        assert_eq!(whole.indices, both(|asked| &asked.indices));
        assert_eq!(whole.samples, [parts[0].samples.clone(), parts[1].samples.clone()].concat());
        assert!(parts.iter().all(|part| part.step == whole.step && part.samples.len() == 4));
    }
    // Nine steps of eight are three epochs of all 24, each in an order of its own.
    let seen: Vec<u32> = whole.iter().flat_map(|asked| asked.indices.clone()).collect();
    let epochs: Vec<&[u32]> = seen.chunks(TRAINED as usize).collect();
    for epoch in &epochs {
        let mut sorted = epoch.to_vec();
        sorted.sort_unstable();
        assert_eq!(sorted, (0..TRAINED as u32).collect::<Vec<_>>());
    }
    assert!(epochs[0] != epochs[1] && epochs[1] != epochs[2]);
    assert_eq!(whole[3].samples, (24..32).collect::<Vec<u64>>(), "the samples of a run are counted on");
}

fn average(grey: f32) -> Weights {
    Weights::from([("w".to_owned(), Weight { shape: vec![1], values: vec![grey] })])
}

#[test]
fn the_average_is_measured_and_sampled_not_the_weights_of_the_moment() {
    let told = Told::default();
    let mut trainable = trainable(&settings(4, 1), &[task("text", MaskSpec::Target, 1.0)], 11, &told);
    let samples = trainable.sample(&average(100.0), 10).unwrap();
    assert_eq!(samples.clips.len(), 8);
    for clip in &samples.clips {
        assert_eq!((clip.shape(), clip.rate()), ([FRAMES, 1, 1], Rate::whole(8)));
        assert!(clip.pixels().iter().all(|&pixel| pixel == 100), "{:?}", clip.pixels());
    }
    // The mean over the eleven is 5; that of the batches' means would be (1.5 + 5.5 + 9) / 3.
    assert_eq!(samples.measures, [("held_out_loss".to_owned(), 105.0)]);
    assert_eq!(trainable.parameters().weights(), average(7.0), "training goes on where it was");
}

#[test]
fn held_out_losses_are_told_of_each_task_and_of_all() {
    let told = Told::default();
    let tasks =
        [task("text", MaskSpec::Target, 1.0), task("first", MaskSpec::First, 5.0), task("last", MaskSpec::Last, 1.0)];
    let mut trainable = trainable(&settings(4, 1), &tasks, 11, &told);
    for turn in 0..4 {
        let samples = trainable.sample(&average(100.0), 10 * turn).unwrap();
        let named = |name: &str, value: f64| (name.to_owned(), value);
        // A batch for each: samples 0 to 3, 4 to 7, and the three that are left.
        let wanted = [
            named("held_out_loss", 105.0),
            named("held_out_loss.text", 101.5),
            named("held_out_loss.first", 105.5),
            named("held_out_loss.last", 109.0),
        ];
        assert_eq!(samples.measures, wanted, "always the same, so that curves show the model");
        // One task after the other is shown; what it is given stands where it was given.
        let of = |i: u8| match turn % 3 {
            0 => [100, 100, 100],
            1 => [i, 100, 100],
            _ => [100, 100, 100],
        };
        for (i, clip) in (0..).zip(&samples.clips) {
            let greys: Vec<u8> = clip.pixels().iter().step_by(3).copied().collect();
            assert_eq!(greys, of(i), "turn {turn}");
        }
    }
}
