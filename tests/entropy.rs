//! Likelihoods where the truth is known: models that have learned a Markov field come close to its entropy, from above.
#![allow(clippy::unwrap_used)]

use musiva::evaluate::{BITS_ABOVE_TRUTH, EvaluateOptions, Figure, evaluate_all};
use musiva::train::{Ended, RunFolder, train};
use musiva::{DeviceName, RecipeSource};

/// Trains the recipe of known entropy with overrides; by how many bits each of its held-out samples lies above the truth.
fn above_truth(set: &[&str]) -> Figure {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let all = ["data.size=[4, 4]", "train.steps=400", "train.batch=16", "train.clips=4096"];
    let source = all.iter().chain(set).fold(RecipeSource::named("entropy"), |source, set| source.set(*set));
    let recipe = source.open().unwrap();
    let ended = train(&recipe, &RunFolder::new(&run, &mut ()).unwrap(), DeviceName::Cpu, &mut ()).unwrap();
    assert!(matches!(ended, Ended::Done(_)));
    let trained = RecipeSource::named(run.display().to_string()).open().unwrap();
    let options = EvaluateOptions { prompts: Some(256), ..EvaluateOptions::default() };
    let found = evaluate_all(&[trained], &options, &DeviceName::Cpu.open().unwrap(), &mut ()).unwrap();
    let figures = found.each[0].figures();
    figures.into_iter().find(|figure| figure.name == BITS_ABOVE_TRUTH).unwrap()
}

/// 1.96 standard errors of its mean.
fn interval(figure: &Figure) -> f64 {
    let n = figure.samples.len() as f64;
    let squares: f64 = figure.samples.iter().map(|bits| (bits - figure.value).powi(2)).sum();
    1.96 * (squares / (n - 1.0) / n).sqrt()
}

// 64 pixels of a chain that flips with a probability of 0.1 hold 1 + 63·0.469 = 30.5 bits.
#[test]
fn a_language_model_comes_close_to_the_truth() {
    let found = above_truth(&[]);
    let error = interval(&found);
    assert!(!found.upper_bound && found.samples.len() == 256);
    assert!(found.value > -error && found.value < 1.0 + error, "{} ± {error}", found.value);
}

#[test]
fn a_masked_model_comes_close_from_above() {
    let set = ["backbone.kind=masked", "backbone.width=48", "backbone.depth=2", "backbone.heads=4"];
    let more = ["objective.kind=masked", "objective.schedule=linear", "sampler.kind=maskgit"];
    let found = above_truth(&[&set[..], &more].concat());
    let error = interval(&found);
    assert!(found.upper_bound && found.value > -error && found.value < 4.0 + error, "{} ± {error}", found.value);
}

#[test]
fn of_independent_pixels_only_the_frequency_is_learned() {
    let found = above_truth(&["data.process=independent", "data.flip=0.3"]);
    let error = interval(&found);
    // Nothing can be learned but the frequency of white, 0.881 bits a pixel.
    assert!(found.value > -error && found.value < 1.0 + error, "{} ± {error}", found.value);
}
