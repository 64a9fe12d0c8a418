//! A tokenizer that keeps every pixel and darkens it, and a sampler that makes what is asked for, but for every fourth clip.

use burn::tensor::{Device, Tensor};
use musiva_core::canvas::{CanvasBatch, CleanBatch, Conditioning, Prediction, Values};
use musiva_core::recipe::Recipe;
use musiva_core::*;
use musiva_data::WorldConfig;
use musiva_data::world::{Attributes, Colour, Direction, Shape, Speed, World};
use std::path::Path;
use std::sync::Arc;

const SIDE: usize = 32;
const FRAMES: usize = 9;
/// Numbers of a frame.
const CHANNELS: usize = 3 * SIDE * SIDE;
/// Four words, each by its number or zero for none.
const SAID: usize = 4;

pub fn config() -> WorldConfig {
    WorldConfig { frames: FRAMES, size: [SIDE; 2], ..WorldConfig::default() }
}

/// Four fifths as bright.
pub fn darker(clip: &Clip) -> Clip {
    let mut clip = clip.clone();
    clip.pixels_mut().iter_mut().for_each(|pixel| *pixel = (u16::from(*pixel) * 4 / 5) as u8);
    clip
}

fn latents(modality: Modality, channels: usize, strides: [usize; 3]) -> TokenizerSpec {
    let kind = TokenKind::Vectors { channels };
    TokenizerSpec { modality, kind, codes: kind, strides, causal: true, range: [0.0, 255.0] }
}

/// A token is a frame.
struct Pixels(TokenizerSpec);

struct PixelsConfig;

impl TokenizerConfig for PixelsConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn spec(&self) -> TokenizerSpec {
        latents(Modality::Video, CHANNELS, [1, SIDE, SIDE])
    }
    fn shape(&self, _: &MediaShape) -> Result<TokenShape, ConfigError> {
        Ok(TokenShape { grid: [FRAMES, 1, 1], kind: self.spec().kind })
    }
    fn parameters(&self) -> usize {
        0
    }
    fn cost(&self, _: &MediaShape) -> [Cost; 2] {
        [Cost::default(); 2]
    }
    fn build(&self, _: &Device, _: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        Ok(Box::new(Pixels(self.spec())))
    }
}

impl Tokenizer for Pixels {
    fn spec(&self) -> &TokenizerSpec {
        &self.0
    }
    fn encode(&self, media: &Media) -> Result<Tokens> {
        let Media::Clip(clip) = media else { panic!("a clip") };
        Tokens::vectors([clip.frames(), 1, 1], CHANNELS, clip.pixels().iter().map(|&pixel| f32::from(pixel)).collect())
    }
    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        let pixels = tokens.as_vectors()?.iter().map(|&value| value as u8).collect();
        Ok(Media::Clip(darker(&Clip::new([tokens.grid()[0], SIDE, SIDE], Rate::whole(1), pixels)?)))
    }
}

/// What a caption says.
struct Said(TokenizerSpec);

struct SaidConfig;

impl TokenizerConfig for SaidConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn spec(&self) -> TokenizerSpec {
        latents(Modality::Text, SAID, [1; 3])
    }
    fn shape(&self, _: &MediaShape) -> Result<TokenShape, ConfigError> {
        Ok(TokenShape { grid: [1, 1, 1], kind: self.spec().kind })
    }
    fn parameters(&self) -> usize {
        0
    }
    fn cost(&self, _: &MediaShape) -> [Cost; 2] {
        [Cost::default(); 2]
    }
    fn build(&self, _: &Device, _: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        Ok(Box::new(Said(self.spec())))
    }
}

fn number<T: PartialEq>(all: &[T], said: Option<T>) -> f32 {
    said.and_then(|said| all.iter().position(|one| *one == said)).map_or(0.0, |at| at as f32 + 1.0)
}

impl Tokenizer for Said {
    fn spec(&self) -> &TokenizerSpec {
        &self.0
    }
    fn encode(&self, media: &Media) -> Result<Tokens> {
        let Media::Text(text) = media else { panic!("a text") };
        let said = Attributes::parse(text).unwrap();
        let (shape, colour) = (number(Shape::ALL, said.shape), number(Colour::ALL, said.colour));
        let (direction, speed) = (number(Direction::ALL, said.direction), number(Speed::ALL, said.speed));
        Tokens::vectors([1, 1, 1], SAID, vec![shape, colour, direction, speed])
    }
    fn decode(&self, _: &Tokens) -> Result<Media> {
        unreachable!("prompts are not read back")
    }
}

/// It is asked for nothing.
struct Nothing(Arc<CanvasShape>);

struct NothingConfig;

impl BackboneConfig for NothingConfig {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }
    fn spec(&self, _: &CanvasShape) -> Result<BackboneSpec, ConfigError> {
        Ok(BackboneSpec::Diffusion { channels: CHANNELS, self_conditioned: false })
    }
    fn parameters(&self, _: &CanvasShape) -> usize {
        0
    }
    fn cost(&self, _: &CanvasShape) -> Cost {
        Cost::default()
    }
    fn build(&self, canvas: &Arc<CanvasShape>, _: &Device, _: &WeightInit) -> Result<Box<dyn Backbone>> {
        Ok(Box::new(Nothing(canvas.clone())))
    }
}

impl Backbone for Nothing {
    fn spec(&self) -> BackboneSpec {
        BackboneSpec::Diffusion { channels: CHANNELS, self_conditioned: false }
    }
    fn canvas(&self) -> &Arc<CanvasShape> {
        &self.0
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

/// An objective that nothing is trained by, and the sampler.
struct Scripted;

impl Objective for Scripted {
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

impl Sampler for Scripted {
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
        let world = World::new(config()).unwrap();
        let clip = |(context, key): (&Values, &RngKey)| {
            let TokenValues::Vectors { values: said, .. } = &context.tracks[1] else { panic!("vectors") };
            let at = |i: usize| (said[i] as usize).saturating_sub(1);
            let attributes = Attributes {
                shape: Shape::ALL[at(0)],
                colour: Colour::ALL[at(1)],
                direction: Direction::ALL[at(2)],
                speed: Speed::ALL[at(3)],
            };
            let clip = world.scene_of(attributes, *key).render();
            let shown = if key.sample % 4 == 3 { 0.0 } else { 1.0 };
            let pixels = clip.pixels().iter().map(|&pixel| shown * f32::from(pixel)).collect();
            let nothing = TokenValues::Vectors { channels: SAID, values: Vec::new() };
            let tracks = vec![TokenValues::Vectors { channels: CHANNELS, values: pixels }, nothing];
            Values { tracks, ..Values::default() }
        };
        Ok(Box::new(Made(order.context.iter().zip(&order.keys).map(clip).collect(), 0)))
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

pub fn recipe() -> Recipe {
    let mut registry = Registry::default();
    musiva_data::register(&mut registry).unwrap();
    let mut add = |kind, make| {
        let (summary, origin) = ("a part of the tests", "the tests".to_owned());
        let schema = serde_json::json!({ "type": "object", "properties": {} });
        registry.register(Component { kind, summary, origin, schema, learns: false, make }).unwrap();
    };
    add("pixels", Make::Tokenizer(|_| Ok(Box::new(PixelsConfig))));
    add("said", Make::Tokenizer(|_| Ok(Box::new(SaidConfig))));
    add("nothing", Make::Backbone(|_| Ok(Box::new(NothingConfig))));
    add("scripted", Make::Objective(|_| Ok(Box::new(Scripted))));
    add("scripted", Make::Sampler(|_| Ok(Box::new(Scripted))));
    let text = format!(
        "schema = 1\ndata = {{ kind = \"world\", frames = {FRAMES}, size = [{SIDE}, {SIDE}] }}\n\
         tokenizer.video.kind = \"pixels\"\ntokenizer.text.kind = \"said\"\n\
         backbone.kind = \"nothing\"\nobjective.kind = \"scripted\"\nsampler.kind = \"scripted\"\n"
    );
    Recipe::parse(&text, Path::new("r.toml"), &[], &registry).unwrap()
}
