//! A program of one's own: a story, a clip for each prompt, one after the other.
//!
//! `cargo run --release --example own_program`

use musiva::program::{Pieces, joined};
use musiva::{
    Clip, Component, DeviceName, Error, ErrorKind, GenerateRequest, Make, Observer, Output, Pipeline, Program,
    RecipeSource, Result,
};
use serde::Deserialize;

/// What a recipe writes in `[program]` beside `kind = "story"`.
#[derive(Deserialize)]
struct Story {
    prompts: Vec<String>,
}

impl Program for Story {
    fn summary(&self) -> String {
        format!("a story of {} clips", self.prompts.len())
    }

    fn run(&self, pipeline: &Pipeline, request: &GenerateRequest, observer: &mut dyn Observer) -> Result<Vec<Output>> {
        let task = &pipeline.tasks()[0];
        let mut pieces = Pieces::new(pipeline, request, observer);
        let mut stories: Vec<Vec<Clip>> = vec![Vec::new(); request.count];
        for prompt in &self.prompts {
            let nothing = vec![Output::default(); request.count];
            let made = pieces.make(task, &nothing, prompt, None)?;
            stories.iter_mut().zip(made).for_each(|(story, made)| story.extend(made.clip));
        }
        let whole = |story: &Vec<Clip>| Ok(Output { clip: Some(joined(story)?), ..Output::default() });
        stories.iter().map(whole).collect()
    }
}

pub(crate) fn main() -> Result<()> {
    let strings = serde_json::json!({ "type": "array", "items": { "type": "string" }, "minItems": 1 });
    let schema = serde_json::json!({ "type": "object", "properties": { "prompts": strings }, "required": ["prompts"] });
    let make = Make::Program(|value| Ok(Box::new(serde_json::from_value::<Story>(value)?)));
    let origin = "this example".to_owned();
    let story = Component { kind: "story", summary: "a clip a prompt", origin, schema, learns: false, make };
    let recipe = RecipeSource::named("text-to-video-dit").component(story).set("sampler.steps=2");
    let prompts = r#"{ kind = "story", prompts = ["a red ring moves left", "a blue ring moves up"] }"#;
    let recipe = recipe.set(format!("program={prompts}")).open()?;
    println!("{}", musiva::program_of(&recipe).summary());
    let pipeline = Pipeline::build(&recipe, &DeviceName::Cpu.open()?)?;
    let outputs = musiva::generate(&pipeline, &GenerateRequest::default(), &mut ())?;
    let frames = outputs[0].clip.as_ref().map(Clip::frames);
    println!("{frames:?} frames");
    let expected =
        || Error::new(ErrorKind::Unsupported, "story", format!("{frames:?} frames, expected two clips of 17"));
    if frames == Some(34) { Ok(()) } else { Err(expected()) }
}
