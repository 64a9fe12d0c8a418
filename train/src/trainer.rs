//! The loop: the same for a tokenizer and for a backbone.

use crate::checkpoint::{ADVERSARY, Checkpoint, Learner};
use crate::fidelity::{HELD_OUT, HeldOut};
use crate::health::{FailureMode, HealthMonitor, Stats};
use crate::log::Log;
use crate::optimizer::Optimizer;
use crate::tokenizer::Adversary;
use burn::tensor::{Device, Tensor};
use musiva_core::dataset::Unreadable;
use musiva_core::parameters::{Precision, save_weights, to_vec};
use musiva_core::recipe::{OnFailure, TrainSettings};
use musiva_core::{Clip, Error, ErrorKind, Loss, Parameters, Result, Sound, Weights};
use serde::Serialize;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is trained: something with parameters and a loss.
pub trait Trainable {
    /// The loss of one `part` of the batch of `step`, of `train.accumulate` equal ones. It must depend
    /// on nothing but the parameters and these two: so resuming is exact.
    fn loss(&mut self, step: u64, part: usize) -> Result<Loss>;
    /// What is learned.
    fn parameters(&self) -> &dyn Parameters;
    /// What is learned, to change.
    fn parameters_mut(&mut self) -> &mut dyn Parameters;
    /// What learns against it on the same batches, by an optimizer of its own; `None` of what plays no such game. Its
    /// loss is asked for after each [`loss`](Self::loss).
    fn adversary(&self) -> Option<&Adversary> {
        None
    }
    /// What learns against it, to change.
    fn adversary_mut(&mut self) -> Option<&mut Adversary> {
        None
    }
    /// What it could not read so far, and left out.
    fn unreadable(&self) -> Vec<Unreadable> {
        Vec::new()
    }
    /// What the last loss shows of a tokenizer's health; `None` of what is no tokenizer.
    fn stats(&mut self) -> Option<Stats> {
        None
    }
    /// When training ends: the averaged weights as they are written, and how well they do on held-out data, `None` of what
    /// is no tokenizer.
    fn finish(&mut self, average: Weights) -> Result<(Weights, Option<HeldOut>)> {
        Ok((average, None))
    }
    /// A look at what the averaged weights can do: clips to show, measures to log.
    fn sample(&mut self, average: &Weights, step: u64) -> Result<Samples>;
}

/// The device on which gradients are found, as the settings say.
pub(crate) fn learning_on(device: &Device, settings: &TrainSettings) -> Device {
    let device = device.clone().autodiff();
    if settings.gradient_checkpointing { device.gradient_checkpointing() } else { device }
}

/// What averaged weights can do.
#[derive(Default)]
pub struct Samples {
    /// To be shown.
    pub clips: Vec<Clip>,
    /// To be listened to.
    pub sounds: Vec<Sound>,
    /// To be read.
    pub texts: Vec<String>,
    /// What was asked for, sample by sample; of a tokenizer nothing is.
    pub asked: Vec<Asked>,
    /// To be logged, by name.
    pub measures: Vec<(String, f64)>,
}

/// What a sample is made of.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Asked {
    /// The name of the task.
    pub task: String,
    /// The prompt, as its tokens read; empty: none.
    pub prompt: String,
}

/// Callbacks of a run. Each does nothing unless it is overridden; `()` overrides none.
pub trait Callbacks {
    /// `done` of `total` samples are ready to be trained on: before the first step. An error cancels.
    fn prepare(&mut self, _what: &str, _done: u64, _total: u64) -> Result<()> {
        Ok(())
    }
    /// Something that may not be what was meant.
    fn warn(&mut self, _text: &str) {}
    /// After each step, with the measures where they were logged.
    fn step(&mut self, _done: u64, _total: u64, _measures: Option<&[(String, f64)]>) {}
    /// A disease that has shown for a while.
    fn failing(&mut self, _step: u64, _disease: FailureMode) {}
    /// New samples: previews of what the averaged weights can do.
    fn samples(&mut self, _step: u64, _look: &Samples) -> Result<()> {
        Ok(())
    }
    /// A new checkpoint.
    fn saved(&mut self, _step: u64, _path: &Path) {}
    /// Whether to stop after this step, with a checkpoint to go on from.
    fn stop(&self) -> bool {
        false
    }
}

impl Callbacks for () {}

/// Where a run lies and what it runs.
pub struct Run<'a> {
    /// The run folder.
    pub folder: PathBuf,
    /// The `[train]` table.
    pub settings: &'a TrainSettings,
    /// The resolved recipe, for the checkpoints.
    pub recipe: String,
    /// Written into the weights file.
    pub metadata: HashMap<String, String>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq)]
pub enum Ended {
    /// All steps are done; here are the weights.
    Done(PathBuf),
    /// The user stopped it after so many steps; the state is saved.
    Stopped(u64),
}

impl Run<'_> {
    /// Where checkpoints go.
    pub fn checkpoints(folder: &Path) -> PathBuf {
        folder.join("checkpoints")
    }

    /// Trains to the end, from the newest checkpoint if `resume`.
    pub fn train(&self, trainable: &mut dyn Trainable, resume: bool, callbacks: &mut dyn Callbacks) -> Result<Ended> {
        let s = self.settings;
        let total = s.steps as u64;
        let every = |step: u64, steps: usize| steps > 0 && step.is_multiple_of(steps as u64);
        let checkpoints = Self::checkpoints(&self.folder);
        let mut optimizers = Optimizers::new(s, trainable)?;
        let mut step = 0;
        if resume {
            let checkpoint = Checkpoint::newest(&checkpoints)?;
            optimizers.restore(trainable, &checkpoint)?;
            step = checkpoint.step;
        }
        let mut log = Log::open(&self.folder, step)?;
        if let Ok(serde_json::Value::Object(all)) = serde_json::to_value(s) {
            log.describe(&all, &self.recipe)?;
        }
        let save = |step, trainable: &dyn Trainable, optimizers: &Optimizers| {
            Checkpoint::save(&checkpoints, s.keep, step, &self.recipe, &optimizers.learners(trainable))
        };
        let mut monitor = HealthMonitor::default();
        let mut started = (Instant::now(), step);
        let mut left_out = LeftOut::default();
        while step < total {
            let logged = every(step + 1, s.log_every) || step + 1 == total;
            let mut measures: Vec<(String, f64)> = Vec::new();
            for part in 0..s.accumulate {
                let Loss { total: loss, parts } = trainable.loss(step, part)?;
                if logged {
                    add(&mut measures, [("loss", loss.clone())].into_iter().chain(parts), s.accumulate);
                }
                optimizers.own.gather(trainable.parameters(), loss.backward());
                if let Some((adversary, optimizer)) = trainable.adversary_mut().zip(optimizers.adversary.as_mut())
                    && let Some(Loss { total, parts }) = adversary.loss(step)
                {
                    if logged {
                        add(&mut measures, parts.into_iter(), s.accumulate);
                    }
                    optimizer.gather(adversary.parameters(), total.backward());
                }
            }
            if measures.first().is_some_and(|(_, loss)| !loss.is_finite()) {
                return Err(Error::new(ErrorKind::Training, format!("step {step}"), "the loss is not a finite number")
                    .hint("lower `train.learning_rate` and resume from the last checkpoint"));
            }
            left_out.tell(trainable.unreadable(), callbacks);
            let norm = optimizers.step(step, trainable)?;
            step += 1;
            if logged {
                let seconds = started.0.elapsed().as_secs_f64() / (step - started.1).max(1) as f64;
                started = (Instant::now(), step);
                if let Some(stats) = trainable.stats() {
                    let entropy = measures.iter().find(|(name, _)| name == "entropy").map(|(_, value)| *value);
                    measures.extend(stats.measures());
                    for failure in monitor.check(&stats, entropy) {
                        callbacks.failing(step, failure);
                        if s.on_failure == OnFailure::Stop {
                            callbacks.saved(step, &save(step, trainable, &optimizers)?);
                            let (name, hint) = failure.describe();
                            return Err(Error::new(ErrorKind::Training, format!("step {step}"), name).hint(hint));
                        }
                    }
                }
                measures.push(("gradient_norm".to_owned(), norm));
                measures.push(("learning_rate".to_owned(), s.rate(step as usize - 1)));
                measures.push(("seconds_per_step".to_owned(), seconds));
                log.write(step, &measures)?;
            }
            callbacks.step(step, total, logged.then_some(&measures));
            let stop = callbacks.stop();
            let paused = Instant::now();
            if every(step, s.sample_every) && !stop {
                let samples = trainable.sample(&optimizers.own.average(), step)?;
                log.write(step, &samples.measures)?;
                log.samples(step, &samples)?;
                callbacks.samples(step, &samples)?;
            }
            if stop || step == total || every(step, s.checkpoint_every) {
                callbacks.saved(step, &save(step, trainable, &optimizers)?);
            }
            // Samples and checkpoints are no part of `seconds_per_step`.
            started.0 += paused.elapsed();
            if stop && step < total {
                return Ok(Ended::Stopped(step));
            }
        }
        left_out.sum(&trainable.unreadable(), callbacks);
        let path = self.folder.join("weights.safetensors");
        let mut metadata = self.metadata.clone();
        metadata.insert("musiva.steps".into(), step.to_string());
        let (average, held_out) = trainable.finish(optimizers.own.average())?;
        if let Some(held_out) = held_out {
            metadata.insert(HELD_OUT.into(), held_out.json());
        }
        save_weights(&path, &average, Precision::F16, metadata)?;
        Ok(Ended::Done(path))
    }
}

/// Files with samples that were left out, each of which is told once.
#[derive(Default)]
pub struct LeftOut(usize);

impl LeftOut {
    /// Tells of those that are new among `files`, which only grow.
    pub fn tell(&mut self, files: Vec<Unreadable>, callbacks: &mut dyn Callbacks) {
        for file in files.iter().skip(self.0) {
            callbacks.warn(&format!("left out, because it cannot be read: {}: {}", file.place, file.why));
        }
        self.0 = self.0.max(files.len());
    }

    /// Tells how much was left out in all.
    pub fn sum(&self, files: &[Unreadable], callbacks: &mut dyn Callbacks) {
        if !files.is_empty() {
            let samples: u64 = files.iter().map(|file| file.count).sum();
            callbacks.warn(&format!("left out in all: {samples} windows of {} files that cannot be read", files.len()));
        }
    }
}

/// Adds the measures of one part of a batch to those of the parts before it: in the end, their means.
fn add(measures: &mut Vec<(String, f64)>, new: impl Iterator<Item = (&'static str, Tensor<1>)>, parts: usize) {
    for (name, value) in new {
        let value = f64::from(to_vec(value.inner())[0]) / parts as f64;
        match measures.iter_mut().find(|(other, _)| other == name) {
            Some((_, sum)) => *sum += value,
            None => measures.push((name.to_owned(), value)),
        }
    }
}

/// The optimizers of a trainee and of what learns against it.
struct Optimizers {
    own: Optimizer,
    adversary: Option<Optimizer>,
}

impl Optimizers {
    fn new(settings: &TrainSettings, trainable: &dyn Trainable) -> Result<Self> {
        let adversary =
            trainable.adversary().map(|its| Optimizer::new(its.settings(), its.parameters())).transpose()?;
        Ok(Self { own: Optimizer::new(settings, trainable.parameters())?, adversary })
    }

    /// Updates both after `step`; the norm of the trainee's gradient.
    fn step(&mut self, step: u64, trainable: &mut dyn Trainable) -> Result<f64> {
        let norm = self.own.step(step, trainable.parameters_mut())?;
        if let Some((adversary, optimizer)) = trainable.adversary_mut().zip(self.adversary.as_mut())
            && let Some(step) = adversary.step(step)
        {
            let hint = "lower `train.adversarial.learning_rate`, and resume from the last checkpoint";
            optimizer.step(step, adversary.parameters_mut()).map_err(|error| error.hint(hint))?;
        }
        Ok(norm)
    }

    fn learners<'a>(&'a self, trainable: &'a dyn Trainable) -> Vec<Learner<'a>> {
        let mut learners = vec![Learner { part: "", parameters: trainable.parameters(), optimizer: &self.own }];
        if let Some((adversary, optimizer)) = trainable.adversary().zip(self.adversary.as_ref()) {
            learners.push(Learner { part: ADVERSARY, parameters: adversary.parameters(), optimizer });
        }
        learners
    }

    fn restore(&mut self, trainable: &mut dyn Trainable, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.restore("", trainable.parameters_mut(), &mut self.own)?;
        match trainable.adversary_mut().zip(self.adversary.as_mut()) {
            Some((adversary, optimizer)) => checkpoint.restore(ADVERSARY, adversary.parameters_mut(), optimizer),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests;
