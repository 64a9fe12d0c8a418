//! Continuations by a model whose tokens are frames and samples, and which goes on counting from what it is given: what
//! comes out counts without a gap, however it was put together.

use super::Continuation;
use burn::tensor::{Device, Tensor};
use musiva_core::canvas::{CanvasBatch, CleanBatch, Conditioning, Prediction, Values};
use musiva_core::dataset::{Dataset, Part};
use musiva_core::recipe::Recipe;
use musiva_core::*;
use std::any::Any;
use std::path::Path;
use std::sync::Arc;

/// Frames of the canvas, of one pixel at four a second.
const FRAMES: usize = 5;
/// Samples of a frame.
const HOP: usize = 2;

fn rates() -> [Rate; 2] {
    [Rate::whole(4), Rate::whole(8)]
}

struct Data {
    clips: bool,
}

impl DatasetConfig for Data {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        match modality {
            Modality::Video => {
                self.clips.then_some(MediaShape::Clip { frames: FRAMES, height: 1, width: 1, rate: rates()[0] })
            }
            Modality::Audio => Some(MediaShape::Sound { samples: FRAMES * HOP, channels: 1, rate: rates()[1] }),
            Modality::Text => None,
        }
    }
    fn open(&self, _: Part) -> Result<Arc<dyn Dataset>> {
        unreachable!("nothing is trained")
    }
    fn as_any(&self) -> &dyn Any {
        self
    }
}

/// A token is a frame, or a sample.
#[derive(Clone)]
struct Plain(TokenizerSpec);

fn plain(modality: Modality) -> Plain {
    let kind = TokenKind::Vectors { channels: if modality == Modality::Video { 3 } else { 1 } };
    Plain(TokenizerSpec { modality, kind, codes: kind, strides: [1; 3], causal: true, range: [0.0, 255.0] })
}

impl TokenizerConfig for Plain {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn spec(&self) -> TokenizerSpec {
        self.0.clone()
    }
    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        let length = match *media {
            MediaShape::Clip { frames, .. } => frames,
            MediaShape::Sound { samples, .. } => samples,
            MediaShape::Text => return Err(ConfigError::new("", "no text", "")),
        };
        Ok(TokenShape { grid: [length, 1, 1], kind: self.0.kind })
    }
    fn parameters(&self) -> usize {
        0
    }
    fn cost(&self, _: &MediaShape) -> [Cost; 2] {
        [Cost::default(); 2]
    }
    fn build(&self, _: &Device, _: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        Ok(Box::new(self.clone()))
    }
}

impl Tokenizer for Plain {
    fn spec(&self) -> &TokenizerSpec {
        &self.0
    }
    fn encode(&self, media: &Media) -> Result<Tokens> {
        match media {
            Media::Clip(clip) => {
                Tokens::vectors([clip.frames(), 1, 1], 3, clip.pixels().iter().map(|&pixel| f32::from(pixel)).collect())
            }
            Media::Sound(sound) => Tokens::vectors([sound.length(), 1, 1], 1, sound.samples().to_vec()),
            Media::Text(_) => unreachable!("there is no text"),
        }
    }
    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        let values = tokens.as_vectors()?;
        Ok(match self.0.modality {
            Modality::Video => {
                let pixels = values.iter().map(|&value| value as u8).collect();
                Media::Clip(Clip::new([values.len() / 3, 1, 1], rates()[0], pixels)?)
            }
            _ => Media::Sound(Sound::new(1, rates()[1], values.to_vec())?),
        })
    }
}

/// It is asked for nothing.
struct Nothing(Option<Arc<CanvasShape>>);

const SPEC: BackboneSpec = BackboneSpec::Diffusion { channels: 3, self_conditioned: false };

impl BackboneConfig for Nothing {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn spec(&self, _: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        Ok(SPEC)
    }
    fn parameters(&self, _: &CanvasShape) -> usize {
        0
    }
    fn cost(&self, _: &CanvasShape) -> Cost {
        Cost::default()
    }
    fn build(&self, canvas: &Arc<CanvasShape>, _: &Device, _: &WeightInit) -> Result<Box<dyn Backbone>> {
        Ok(Box::new(Nothing(Some(canvas.clone()))))
    }
}

impl Backbone for Nothing {
    fn spec(&self) -> BackboneSpec {
        SPEC
    }
    fn canvas(&self) -> &Arc<CanvasShape> {
        self.0.as_ref().unwrap()
    }
    fn device(&self) -> Device {
        Device::flex()
    }
    fn forward(&self, _: &CanvasBatch) -> Result<Prediction> {
        Ok(Prediction::Vector(Tensor::zeros([1, 1, 1], &Device::flex())))
    }
    fn session(&self, _: Conditioning) -> Result<Option<Box<dyn Session>>> {
        Ok(None)
    }
    fn parameters(&self) -> &dyn Parameters {
        unreachable!("it has none")
    }
    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        unreachable!("it has none")
    }
    fn frozen(&self) -> Box<dyn Backbone> {
        unreachable!("it is not trained")
    }
}

/// An objective that nothing is trained by; and the sampler: each token counts on from the nearest that is given, or from
/// ten times the number of its sample.
struct Counting;

impl Objective for Counting {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn fits(&self, _: &BackboneSpec) -> Result<(), ConfigError> {
        Ok(())
    }
    fn process(&self) -> Option<Process> {
        None
    }
    fn loss(&self, _: &dyn Backbone, _: &CleanBatch, _: RngKey) -> Result<Loss> {
        unreachable!("nothing is trained")
    }
}

struct Made(Vec<Values>, usize);

impl Sampler for Counting {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn fits(&self, _: &BackboneSpec, _: Option<&Process>) -> Result<(), ConfigError> {
        Ok(())
    }
    fn forwards(&self, _: &CanvasShape) -> f64 {
        1.0
    }
    fn begin(&self, _: &dyn Backbone, _: Option<&Process>, order: &SampleRequest) -> Result<Box<dyn Sampling>> {
        let (layout, canvas) = (&order.layout, order.layout.canvas());
        let tokens = |positions: &[usize], track: usize| -> Vec<usize> {
            positions
                .iter()
                .map(|&position| canvas.find(position))
                .filter(|one| one.0 == track)
                .map(|one| one.1)
                .collect()
        };
        let sample = |(context, key): (&Values, &RngKey)| {
            let track = |(track, given): (usize, &TokenValues)| {
                let TokenValues::Vectors { channels, values: given } = given else { panic!("vectors") };
                let at = tokens(layout.context(), track);
                let count = |i: usize| match at.iter().zip(given.chunks(*channels)).min_by_key(|(at, _)| at.abs_diff(i))
                {
                    Some((&at, value)) => value[0] + i as f32 - at as f32,
                    None => (10 * key.sample + i as u64) as f32,
                };
                let made = tokens(layout.target(), track).into_iter().flat_map(|i| vec![count(i); *channels]);
                TokenValues::Vectors { channels: *channels, values: made.collect() }
            };
            Values { tracks: context.tracks.iter().enumerate().map(track).collect(), ..Values::default() }
        };
        Ok(Box::new(Made(order.context.iter().zip(&order.keys).map(sample).collect(), 0)))
    }
}

impl Sampling for Made {
    fn progress(&self) -> (usize, usize) {
        (self.1, 2)
    }
    fn step(&mut self, _: &dyn Backbone) -> Result<()> {
        self.1 += 1;
        Ok(())
    }
    fn tokens(&self) -> Result<Vec<Values>> {
        Ok(self.0.clone())
    }
}

/// A recipe of such a model of these tasks, of clips and their sound or of sounds alone, with these lines more.
fn recipe(clips: bool, tasks: &[&str], more: &str) -> Result<Recipe, recipe::Report> {
    let mut registry = Registry::default();
    crate::register(&mut registry).unwrap();
    let mut add = |kind, make| {
        let (summary, origin) = ("a part of the tests", "the tests".to_owned());
        let schema = serde_json::json!({ "type": "object", "properties": {} });
        registry.register(Component { kind, summary, origin, schema, learns: false, make }).unwrap();
    };
    add("both", Make::Dataset(|_| Ok(Box::new(Data { clips: true }))));
    add("sounds", Make::Dataset(|_| Ok(Box::new(Data { clips: false }))));
    add("frames", Make::Tokenizer(|_| Ok(Box::new(plain(Modality::Video)))));
    add("samples", Make::Tokenizer(|_| Ok(Box::new(plain(Modality::Audio)))));
    add("nothing", Make::Backbone(|_| Ok(Box::new(Nothing(None)))));
    add("counting", Make::Objective(|_| Ok(Box::new(Counting))));
    add("counting", Make::Sampler(|_| Ok(Box::new(Counting))));
    let (data, video) = if clips { ("both", "tokenizer.video.kind = \"frames\"\n") } else { ("sounds", "") };
    let tasks: String = tasks.iter().map(|task| format!("[[task]]\n{task}\n")).collect();
    let text = format!(
        "schema = 1\ndata.kind = \"{data}\"\n{video}tokenizer.audio.kind = \"samples\"\nbackbone.kind = \"nothing\"\n\
         objective.kind = \"counting\"\nsampler.kind = \"counting\"\n{more}{tasks}"
    );
    Recipe::parse(&text, Path::new("x.toml"), &[], &registry)
}

fn pipeline(clips: bool, tasks: &[&str]) -> Pipeline {
    Pipeline::build(&recipe(clips, tasks, "").unwrap(), &Device::flex()).unwrap()
}

/// Clips and their sound: made, gone on with after and before, and the way between two.
fn clips() -> Pipeline {
    pipeline(
        true,
        &[
            "name = \"make\"\nvideo = \"target\"\naudio = \"target\"",
            "name = \"on\"\nvideo = \"first\"\naudio = \"first\"\nframes = 2",
            "name = \"back\"\nvideo = \"last\"\naudio = \"last\"\nframes = 2",
            "name = \"between\"\nvideo = \"ends\"\nframes = 1",
        ],
    )
}

/// The same of sounds, of half a second.
fn sounds() -> Pipeline {
    pipeline(
        false,
        &[
            "name = \"make\"\naudio = \"target\"",
            "name = \"on\"\naudio = \"first\"\nseconds = 0.5",
            "name = \"back\"\naudio = \"last\"\nseconds = 0.5",
        ],
    )
}

fn clip(values: std::ops::Range<u8>) -> Clip {
    Clip::new([values.len(), 1, 1], rates()[0], values.flat_map(|value| [value; 3]).collect()).unwrap()
}

fn sound(values: std::ops::Range<i32>) -> Sound {
    Sound::new(1, rates()[1], values.map(|value| value as f32).collect()).unwrap()
}

fn run(pipeline: &Pipeline, program: &Continuation, request: GenerateRequest) -> Vec<Output> {
    program.run(pipeline, &request, &mut ()).unwrap()
}

fn given(clips: Vec<Clip>, sound: Option<Sound>) -> GenerateRequest {
    GenerateRequest { inputs: Inputs { clips, sound, ..Inputs::default() }, ..GenerateRequest::default() }
}

#[test]
fn clips_go_on_both_ways_with_their_sound() {
    let pipeline = clips();
    let request = || given(vec![clip(100..107)], Some(sound(0..14)));
    // More than a piece has, and no whole number of pieces: three new frames each.
    let after = run(&pipeline, &Continuation::once().extend(2.0), request());
    assert_eq!((after[0].clip.clone(), after[0].sound.clone()), (Some(clip(100..115)), Some(sound(0..30))));
    let before = run(&pipeline, &Continuation::once().before(1.0), request());
    assert_eq!((before[0].clip.clone(), before[0].sound.clone()), (Some(clip(96..107)), Some(sound(-8..14))));
    let both = run(&pipeline, &Continuation::once().extend(0.25).before(0.25), request());
    assert_eq!((both[0].clip.clone(), both[0].sound.clone()), (Some(clip(99..108)), Some(sound(-2..16))));
}

#[test]
fn the_way_between_two_clips_stands_between_them() {
    let made = run(&clips(), &Continuation::once(), given(vec![clip(10..13), clip(16..19)], None));
    assert_eq!((made[0].clip.clone(), made[0].sound.clone()), (Some(clip(10..19)), None));
}

#[test]
fn sounds_go_on_both_ways() {
    let pipeline = sounds();
    let request = || given(Vec::new(), Some(sound(0..20)));
    let after = run(&pipeline, &Continuation::once().extend(2.0), request());
    assert_eq!((after[0].clip.clone(), after[0].sound.clone()), (None, Some(sound(0..36))));
    let before = run(&pipeline, &Continuation::once().before(1.0), request());
    assert_eq!(before[0].sound, Some(sound(-8..20)));
    // One that is made is its own first piece.
    let made = run(&pipeline, &Continuation::once().extend(1.0), given(Vec::new(), None));
    assert_eq!(made[0].sound, Some(sound(0..18)));
}

/// Remembers how much is sampled.
#[derive(Default)]
struct Onlooker(Vec<(usize, usize)>);

impl Observer for Onlooker {
    fn progress(&mut self, stage: &str, done: usize, total: usize) -> Result<()> {
        if stage == "sample" {
            self.0.push((done, total));
        }
        Ok(())
    }
}

#[test]
fn a_sample_is_the_same_in_any_batch_and_progress_ends_at_its_end() {
    let pipeline = sounds();
    for (count, batch) in [(1, 16), (5, 16), (5, 2), (4, 2), (5, 1)] {
        let request = GenerateRequest { count, batch, ..given(Vec::new(), None) };
        let mut onlooker = Onlooker::default();
        let made = Continuation::once().run(&pipeline, &request, &mut onlooker).unwrap();
        let wanted: Vec<_> = (0..count as i32).map(|i| Some(sound(10 * i..10 * i + 10))).collect();
        assert_eq!(made.into_iter().map(|made| made.sound).collect::<Vec<_>>(), wanted, "{count} by {batch}");
        // Two steps a batch.
        let total = 2 * count.div_ceil(batch);
        assert!(onlooker.0.is_sorted() && onlooker.0.iter().all(|(done, of)| done <= of && *of == total));
        assert_eq!(onlooker.0.last(), Some(&(total, total)), "{count} by {batch}");
    }
    // A piece that follows draws numbers of its own.
    let made = |pieces| {
        let request = given(Vec::new(), None);
        let mut onlooker = ();
        let mut all = musiva_core::program::Pieces::new(&pipeline, &request, &mut onlooker);
        let task = &pipeline.tasks()[0];
        let mut last = Vec::new();
        for _ in 0..pieces {
            last = all.make(task, &[Output::default()], "", None).unwrap();
        }
        last[0].sound.clone().unwrap().samples()[0]
    };
    let apart = 10.0 * musiva_core::program::MOST_SAMPLES as f32;
    assert_eq!([made(1), made(2), made(3)], [0.0, apart, 2.0 * apart]);
}

#[test]
fn a_recipes_prompts_begin_before_its_clip_ends() {
    let on = ["name = \"make\"\nvideo = \"target\"", "name = \"on\"\nvideo = \"first\"\nframes = 2"];
    let told = |at: f64| {
        let program = format!(
            "program = {{ kind = \"prompt-schedule\", seconds = 2.0, prompts = [{{ at = {at:?}, prompt = \"a\" }}] }}\n"
        );
        recipe(true, &on, &program).err().map(|report| report.0[0].message.clone())
    };
    // Five frames of a quarter of a second, and two seconds more.
    assert_eq!(told(3.2), None);
    assert_eq!(told(3.25).unwrap(), "it begins at 3.25 s, and the clip ends at 3.25 s");
}
