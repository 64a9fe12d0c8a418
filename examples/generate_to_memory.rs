//! Makes clips in memory and counts the steps; no file is written.
//!
//! `cargo run --release --example generate_to_memory`

use musiva::{DeviceName, GenerateRequest, Observer, Output, Pipeline, RecipeSource, Result};

/// Looks on: a program with a window would draw a bar and the previews.
#[derive(Default)]
pub(crate) struct Steps {
    pub(crate) sampled: usize,
    pub(crate) previews: usize,
}

impl Observer for Steps {
    fn progress(&mut self, stage: &str, done: usize, total: usize) -> Result<()> {
        println!("{stage} {done}/{total}");
        self.sampled = done;
        Ok(())
    }

    fn preview(&mut self, _sample: usize, _piece: usize, _output: &Output) -> Result<()> {
        self.previews += 1;
        Ok(())
    }
}

pub(crate) fn run(observer: &mut Steps) -> Result<Vec<Output>> {
    let recipe = RecipeSource::named("text-to-video-dit").set("sampler.steps=4").open()?;
    println!("{} parameters", musiva::check(&recipe).summary.parameters.iter().map(|(_, n)| n).sum::<usize>());
    let pipeline = Pipeline::build(&recipe, &DeviceName::Cpu.open()?)?;
    let request = GenerateRequest { seed: 7, count: 2, ..GenerateRequest::new("a red ring moves left") };
    musiva::generate(&pipeline, &request, observer)
}

pub(crate) fn main() -> Result<()> {
    for clip in run(&mut Steps::default())?.iter().filter_map(|output| output.clip.as_ref()) {
        let [frames, height, width] = clip.shape();
        println!("{frames} frames of {width}×{height} pixels, {} bytes", clip.pixels().len());
    }
    Ok(())
}
