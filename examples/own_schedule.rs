//! A noise schedule of one's own: a few steps of training by it, and a clip of the weights.
//!
//! `cargo run --release --example own_schedule`

use musiva::train::{Ended, RunFolder, train};
use musiva::{Component, DeviceName, Error, ErrorKind, Family, GenerateRequest, Make, Output, Pipeline};
use musiva::{RecipeSource, Result, Schedule};
use serde::Deserialize;
use serde_json::json;
use std::path::Path;

/// `σ = t^power`: what a recipe writes in `[schedule]` beside `kind = "power"`.
#[derive(Debug, Deserialize)]
struct Power {
    power: f64,
}

#[rustfmt::skip]
impl Schedule for Power {
    fn name(&self) -> &str { "power" }
    fn family(&self) -> Family { Family::VariancePreserving }
    fn mix(&self, t: f64) -> (f64, f64) {
        let sigma = t.powf(self.power);
        ((1.0 - sigma * sigma).sqrt(), sigma)
    }
    /// Errors near the noise count less.
    fn weight(&self, t: f64) -> f64 { 1.0 - t / 2.0 }
}

/// A tiny model, trained and sampled by the schedule.
fn source() -> RecipeSource {
    let power = json!({ "type": "number", "exclusiveMinimum": 0.0, "description": "σ = t^power." });
    let schema = json!({ "type": "object", "properties": { "power": power }, "required": ["power"] });
    let make = Make::Schedule(|value| Ok(Box::new(serde_json::from_value::<Power>(value)?)));
    let (summary, origin) = ("a power of the time", "this example".to_owned());
    let component = Component { kind: "power", summary, origin, schema, learns: false, make };
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/debug/text-to-video-dit.toml");
    let source = RecipeSource::file(file).component(component).set("schedule={ kind = \"power\", power = 2.0 }");
    source.set("objective.kind=ddpm").set("sampler={ kind = \"ddim\", steps = 4 }").set("train.steps=4")
}

pub(crate) fn run(folder: &Path) -> Result<Vec<Output>> {
    let ended = train(&source().open()?, &RunFolder::new(folder, &mut ())?, DeviceName::Cpu, &mut ())?;
    let Ended::Done(weights) = ended else { return Err(Error::new(ErrorKind::Interrupted, "train", "it was stopped")) };
    let recipe = source().set(format!("backbone.weights={}", json!(weights.display().to_string()))).open()?;
    let pipeline = Pipeline::build(&recipe, &DeviceName::Cpu.open()?)?;
    musiva::generate(&pipeline, &GenerateRequest::new("a red ring moves left"), &mut ())
}

pub(crate) fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|error| Error::io(Path::new("."), "make a folder", error))?;
    for clip in run(&folder.path().join("run"))?.iter().filter_map(|output| output.clip.as_ref()) {
        println!("{} frames", clip.frames());
    }
    Ok(())
}
