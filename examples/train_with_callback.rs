//! Trains a few steps of a small recipe and looks on.
//!
//! `cargo run --release --example train_with_callback`

use musiva::train::{Callbacks, Ended, RunFolder, Samples, train};
use musiva::{DeviceName, Error, RecipeSource, Result};
use std::path::Path;

/// Keeps the losses; stops early where there is no hope.
#[derive(Default)]
pub(crate) struct Losses {
    pub(crate) seen: Vec<f64>,
    pub(crate) previews: usize,
}

impl Callbacks for Losses {
    fn step(&mut self, done: u64, total: u64, measures: Option<&[(String, f64)]>) {
        let loss = measures.into_iter().flatten().find(|(name, _)| name == "loss");
        if let Some((_, loss)) = loss {
            println!("step {done}/{total}  loss {loss:.4}");
            self.seen.push(*loss);
        }
    }

    fn samples(&mut self, step: u64, samples: &Samples) -> Result<()> {
        println!("step {step}  {} clips and {} sounds to look at", samples.clips.len(), samples.sounds.len());
        self.previews += 1;
        Ok(())
    }

    fn stop(&self) -> bool {
        self.seen.last().is_some_and(|loss| *loss > 100.0)
    }
}

pub(crate) fn run(folder: &Path, losses: &mut Losses) -> Result<Ended> {
    let debug = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes/debug/tokenizer-video.toml");
    let source = RecipeSource::file(debug).set("train.steps=4").set("train.log_every=1").set("train.sample_every=2");
    train(&source.open()?, &RunFolder::new(folder, &mut ())?, DeviceName::Cpu, losses)
}

pub(crate) fn main() -> Result<()> {
    let folder = tempfile::tempdir().map_err(|error| Error::io(Path::new("."), "make a folder", error))?;
    let mut losses = Losses::default();
    match run(&folder.path().join("run"), &mut losses)? {
        Ended::Done(weights) => println!("{} steps: {}", losses.seen.len(), weights.display()),
        Ended::Stopped(step) => println!("stopped after step {step}"),
    }
    Ok(())
}
