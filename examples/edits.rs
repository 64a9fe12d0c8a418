//! How much of a clip an edit by strength keeps: scenes of the test, each asked for in another colour.
//!
//! `cargo run --release --example edits -- recipes/text-to-video-dit.toml 32` prints the rows of docs/tasks.md.

use musiva::data::World;
use musiva::data::world::{Colour, Scene, Split, VideoOracle, WorldConfig};
use musiva::pipeline::{ContextMedia, Request};
use musiva::{Clip, DeviceName, Media, Pipeline, Recipe, RecipeSource, Result, RngKey, TrackMedia};
use std::error::Error;

/// Seeds of scenes and of edits.
const SEEDS: [u64; 2] = [5, 1];
/// Edits at a time.
const BATCH: usize = 16;
/// Pixels that a shape may be off, in so many of its frames, and still be where it was.
const NEAR: (f32, f64) = (2.0, 0.8);

/// A scene, and how it is asked for.
struct Case {
    scene: Scene,
    wanted: Colour,
    prompt: String,
    clip: Clip,
}

impl Case {
    fn new(world: &World, number: u64) -> Self {
        let key = RngKey::new(SEEDS[0]).sample(number);
        let scene = world.scene(key, Split::Test);
        let all = Colour::ALL;
        let own = all.iter().position(|colour| *colour == scene.attributes.colour).unwrap_or(0);
        let wanted = all[(own + 1 + number as usize % (all.len() - 1)) % all.len()];
        let mut asked = scene.clone();
        asked.attributes.colour = wanted;
        Self { wanted, prompt: asked.caption(key), clip: scene.render(), scene }
    }
}

fn main() -> std::result::Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, count] = &arguments[..] else { return Err("usage: edits RECIPE COUNT".into()) };
    let recipe = RecipeSource::named(recipe).open()?;
    let world = World::open(&WorldConfig { frames: 17, size: [64, 64], ..WorldConfig::default() })?;
    let pipeline = Pipeline::build(&recipe, &DeviceName::Cpu.open()?)?;
    let cases: Vec<Case> = (0..count.parse()?).map(|number| Case::new(&world, number)).collect();
    println!("strength  tokens  colour  shape  direction  speed  position");
    for strength in [0.1, 0.3, 0.5, 0.7, 0.8, 0.9] {
        let shares = edited(&pipeline, &recipe, &world, &cases, strength)?.map(|share| format!("{share:5.1} %"));
        println!("{strength:8}  {}", shares.join("  "));
    }
    Ok(())
}

/// In percent of all cases: tokens changed; colour as asked; shape, direction, speed and position as they were.
fn edited(pipeline: &Pipeline, recipe: &Recipe, world: &World, cases: &[Case], strength: f64) -> Result<[f64; 6]> {
    let tasks = recipe.need_tasks()?;
    let oracle = VideoOracle::new(world.config());
    let mut sums = [0.0; 6];
    for (batch, cases) in cases.chunks(BATCH).enumerate() {
        let clips = cases.iter().map(|case| Media::Clip(case.clip.clone())).collect();
        let media = TrackMedia::from([("video".to_owned(), clips)]);
        let prompts = cases.iter().map(|case| case.prompt.clone()).collect();
        let request = Request { prompts, seed: SEEDS[1], first: (BATCH * batch) as u64, ..Request::default() };
        let context_media = ContextMedia { task: &tasks[0], media: &media, mask: None };
        let sample_request = pipeline.edit_request(&request, &context_media, strength)?;
        for (tokens, case) in pipeline.once(&sample_request, &mut |_, _| Ok(()))?.iter().zip(cases) {
            let clip = pipeline.output(&tasks[0], tokens)?.clip;
            let (Some(after), Some(clip), Some(codec)) = (tokens.get("video"), clip, pipeline.codec("video")) else {
                continue;
            };
            let before = codec.encode(&Media::Clip(case.clip.clone()))?;
            let (before, after) = (before.as_codes()?, after.as_codes()?);
            let changed = before.iter().zip(after).filter(|(a, b)| a != b).count();
            let (seen, was, path) = (oracle.read(&clip), case.scene.attributes, case.scene.path());
            let near = |(at, was): (&Option<[f32; 2]>, &[f32; 2])| {
                at.is_some_and(|[y, x]| (y - was[0]).hypot(x - was[1]) < NEAR.0)
            };
            let kept = seen.path.iter().zip(&path).filter(|&pair| near(pair)).count();
            let flags = [
                seen.colour == Some(case.wanted),
                seen.shape == Some(was.shape),
                seen.direction == Some(was.direction),
                seen.speed == Some(was.speed),
                kept as f64 >= NEAR.1 * path.len() as f64,
            ];
            sums[0] += changed as f64 / after.len() as f64;
            sums[1..].iter_mut().zip(flags).for_each(|(sum, flag)| *sum += f64::from(u8::from(flag)));
        }
    }
    Ok(sums.map(|sum| 100.0 * sum / cases.len() as f64))
}
