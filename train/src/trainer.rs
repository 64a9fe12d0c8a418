//! The loop: the same for a tokenizer and for a backbone.

use crate::checkpoint::{ADVERSARY, Checkpoint, Learner};
use crate::doctor::{Disease, Doctor, Vitals};
use crate::log::Log;
use crate::optimizer::Optimizer;
use crate::tokenizer::Adversary;
use burn::tensor::{Device, Tensor};
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
    /// What learns against it on the same batches, by an optimizer of its own; `None` of what plays no such game. Its
    /// loss is asked for after each [`loss`](Self::loss).
    fn adversary(&self) -> Option<&Adversary> {
        None
    }
    /// What learns against it, to change.
    fn adversary_mut(&mut self) -> Option<&mut Adversary> {
        None
    }
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
        let mut optimizers = Optimizers::new(s, trainee)?;
        let mut step = 0;
        if resume {
            let checkpoint = Checkpoint::newest(&checkpoints)?;
            optimizers.restore(trainee, &checkpoint)?;
            step = checkpoint.step;
        }
        let mut log = Log::open(&self.folder, step)?;
        let save = |step, trainee: &dyn Trainee, optimizers: &Optimizers| {
            Checkpoint::save(&checkpoints, s.keep, step, &self.recipe, &optimizers.learners(trainee))
        };
        let mut doctor = Doctor::default();
        let mut started = (Instant::now(), step);
        while step < total {
            let logged = every(step + 1, s.log_every) || step + 1 == total;
            let mut measures: Vec<(String, f64)> = Vec::new();
            for part in 0..s.accumulate {
                let Loss { total: loss, parts } = trainee.loss(step, part)?;
                if logged {
                    add(&mut measures, [("loss", loss.clone())].into_iter().chain(parts), s.accumulate);
                }
                optimizers.own.gather(trainee.parameters(), loss.backward());
                if let Some((adversary, optimizer)) = trainee.adversary_mut().zip(optimizers.adversary.as_mut())
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
                    .mend("lower `train.learning_rate` and resume from the last checkpoint"));
            }
            let norm = optimizers.step(step, trainee)?;
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
                            watch.saved(step, &save(step, trainee, &optimizers)?);
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
                let look = trainee.sample(&optimizers.own.average(), step)?;
                log.write(step, &look.measures)?;
                watch.samples(step, &look)?;
            }
            if stop || step == total || every(step, s.checkpoint_every) {
                watch.saved(step, &save(step, trainee, &optimizers)?);
            }
            if stop && step < total {
                return Ok(Ended::Stopped(step));
            }
        }
        let path = self.folder.join("weights.safetensors");
        let mut metadata = self.metadata.clone();
        metadata.insert("musiva.steps".into(), step.to_string());
        save_weights(&path, &optimizers.own.average(), Precision::F16, metadata)?;
        Ok(Ended::Done(path))
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
    fn new(settings: &TrainSettings, trainee: &dyn Trainee) -> Result<Self> {
        let adversary = trainee.adversary().map(|its| Optimizer::new(its.settings(), its.parameters())).transpose()?;
        Ok(Self { own: Optimizer::new(settings, trainee.parameters())?, adversary })
    }

    /// Updates both after `step`; the norm of the trainee's gradient.
    fn step(&mut self, step: u64, trainee: &mut dyn Trainee) -> Result<f64> {
        let norm = self.own.step(step, trainee.parameters_mut())?;
        if let Some((adversary, optimizer)) = trainee.adversary_mut().zip(self.adversary.as_mut())
            && let Some(step) = adversary.step(step)
        {
            let mend = "lower `train.adversarial.learning_rate`, and resume from the last checkpoint";
            optimizer.step(step, adversary.parameters_mut()).map_err(|error| error.mend(mend))?;
        }
        Ok(norm)
    }

    fn learners<'a>(&'a self, trainee: &'a dyn Trainee) -> Vec<Learner<'a>> {
        let mut learners = vec![Learner { part: "", parameters: trainee.parameters(), optimizer: &self.own }];
        if let Some((adversary, optimizer)) = trainee.adversary().zip(self.adversary.as_ref()) {
            learners.push(Learner { part: ADVERSARY, parameters: adversary.parameters(), optimizer });
        }
        learners
    }

    fn restore(&mut self, trainee: &mut dyn Trainee, checkpoint: &Checkpoint) -> Result<()> {
        checkpoint.restore("", trainee.parameters_mut(), &mut self.own)?;
        match trainee.adversary_mut().zip(self.adversary.as_mut()) {
            Some((adversary, optimizer)) => checkpoint.restore(ADVERSARY, adversary.parameters_mut(), optimizer),
            None => Ok(()),
        }
    }
}
