//! The loop: the same for a tokenizer and for a backbone.

use crate::checkpoint::Checkpoint;
use crate::doctor::{Disease, Doctor, Vitals};
use crate::log::Log;
use crate::optimizer::Optimizer;
use burn::tensor::Device;
use musiva_core::parameters::{Precision, save_weights, to_vec};
use musiva_core::recipe::{OnDisease, TrainSettings};
use musiva_core::{Clip, Error, ErrorKind, Loss, Parameters, Result, Sound, Weights};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Instant;

/// What is trained: something with parameters and a loss.
pub trait Trainee {
    /// The loss of one `part` of the batch of `step`, of `train.accumulate` equal ones. It must depend
    /// on nothing but the parameters and these two: so resuming is exact.
    fn loss(&mut self, step: u64, part: usize) -> Result<Loss>;
    /// What is learned.
    fn parameters(&self) -> &dyn Parameters;
    /// What is learned, to change.
    fn parameters_mut(&mut self) -> &mut dyn Parameters;
    /// What the last loss shows of a tokenizer's health; `None` of what is no tokenizer.
    fn vitals(&mut self) -> Option<Vitals> {
        None
    }
    /// A look at what the averaged weights can do: clips to show, measures to log.
    fn sample(&mut self, average: &Weights, step: u64) -> Result<Look>;
}

/// The device on which gradients are found, as the settings say.
pub(crate) fn learning_on(device: &Device, settings: &TrainSettings) -> Device {
    let device = device.clone().autodiff();
    if settings.gradient_checkpointing { device.gradient_checkpointing() } else { device }
}

/// What averaged weights can do.
#[derive(Default)]
pub struct Look {
    /// To be shown.
    pub clips: Vec<Clip>,
    /// To be listened to.
    pub sounds: Vec<Sound>,
    /// To be logged, by name.
    pub measures: Vec<(String, f64)>,
}

/// Who looks on while a run goes on.
pub trait Watch {
    /// After each step, with the measures where they were logged.
    fn step(&mut self, done: u64, total: u64, measures: Option<&[(String, f64)]>);
    /// A disease that has shown for a while.
    fn ill(&mut self, step: u64, disease: Disease);
    /// New samples.
    fn samples(&mut self, step: u64, look: &Look) -> Result<()>;
    /// A new checkpoint.
    fn saved(&mut self, step: u64, path: &Path);
    /// Whether the user asked to stop.
    fn stop(&self) -> bool;
}

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
    pub fn train(&self, trainee: &mut dyn Trainee, resume: bool, watch: &mut dyn Watch) -> Result<Ended> {
        let s = self.settings;
        let total = s.steps as u64;
        let every = |step: u64, steps: usize| steps > 0 && step.is_multiple_of(steps as u64);
        let checkpoints = Self::checkpoints(&self.folder);
        let mut optimizer = Optimizer::new(s, trainee.parameters())?;
        let mut step = 0;
        if resume {
            let checkpoint = Checkpoint::newest(&checkpoints)?;
            checkpoint.restore(trainee.parameters_mut(), &mut optimizer)?;
            step = checkpoint.step;
        }
        let mut log = Log::open(&self.folder, step)?;
        let save = |step, trainee: &dyn Trainee, optimizer: &Optimizer| {
            Checkpoint::save(&checkpoints, s.keep, step, &self.recipe, trainee.parameters(), optimizer)
        };
        let mut doctor = Doctor::default();
        let mut started = (Instant::now(), step);
        while step < total {
            let logged = every(step + 1, s.log_every) || step + 1 == total;
            let mut measures: Vec<(String, f64)> = Vec::new();
            for part in 0..s.accumulate {
                let loss = trainee.loss(step, part)?;
                if logged {
                    let named = [("loss", loss.total.clone())].into_iter().chain(loss.parts);
                    let values = named.map(|(name, value)| (name.to_owned(), f64::from(to_vec(value.inner())[0])));
                    add(&mut measures, values.collect(), s.accumulate);
                }
                optimizer.gather(trainee.parameters(), loss.total.backward());
            }
            if measures.first().is_some_and(|(_, loss)| !loss.is_finite()) {
                return Err(Error::new(ErrorKind::Training, format!("step {step}"), "the loss is not a finite number")
                    .mend("lower `train.learning_rate` and resume from the last checkpoint"));
            }
            let norm = optimizer.step(step, trainee.parameters_mut())?;
            step += 1;
            if logged {
                let seconds = started.0.elapsed().as_secs_f64() / (step - started.1).max(1) as f64;
                started = (Instant::now(), step);
                if let Some(vitals) = trainee.vitals() {
                    let entropy = measures.iter().find(|(name, _)| name == "entropy").map(|(_, value)| *value);
                    measures.extend(vitals.measures());
                    for disease in doctor.look(&vitals, entropy) {
                        watch.ill(step, disease);
                        if s.on_disease == OnDisease::Stop {
                            watch.saved(step, &save(step, trainee, &optimizer)?);
                            let (name, mend) = disease.told();
                            return Err(Error::new(ErrorKind::Training, format!("step {step}"), name).mend(mend));
                        }
                    }
                }
                measures.push(("gradient_norm".to_owned(), norm));
                measures.push(("learning_rate".to_owned(), s.rate(step as usize - 1)));
                measures.push(("seconds_per_step".to_owned(), seconds));
                log.write(step, &measures)?;
            }
            watch.step(step, total, logged.then_some(&measures));
            let stop = watch.stop();
            if every(step, s.sample_every) && !stop {
                let look = trainee.sample(&optimizer.average(), step)?;
                log.write(step, &look.measures)?;
                watch.samples(step, &look)?;
            }
            if stop || step == total || every(step, s.checkpoint_every) {
                watch.saved(step, &save(step, trainee, &optimizer)?);
            }
            if stop && step < total {
                return Ok(Ended::Stopped(step));
            }
        }
        let path = self.folder.join("weights.safetensors");
        let mut metadata = self.metadata.clone();
        metadata.insert("musiva.steps".into(), step.to_string());
        save_weights(&path, &optimizer.average(), Precision::F16, metadata)?;
        Ok(Ended::Done(path))
    }
}

/// Adds the measures of one part of a batch to those of the parts before it: in the end, their means.
fn add(measures: &mut Vec<(String, f64)>, new: Vec<(String, f64)>, parts: usize) {
    for (i, (name, value)) in new.into_iter().enumerate() {
        match measures.get_mut(i) {
            Some((_, sum)) => *sum += value / parts as f64,
            None => measures.push((name, value / parts as f64)),
        }
    }
}
