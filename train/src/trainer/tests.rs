//! The loop around a model of a few numbers: what ships, what is looked at, what is logged, and what going on means.

use super::*;
use burn::module::{Module, Param};
use musiva_core::Init;
use musiva_core::parameters::open_weights;
use musiva_core::recipe::Schedule;

#[derive(Module, Debug)]
struct Net {
    blocks: Vec<Param<Tensor<2>>>,
    bias: Param<Tensor<1>>,
}

/// Learns to be where a wave is that each part of each step moves elsewhere.
struct Chase {
    net: Net,
    /// The parts that were asked for.
    parts: Vec<(u64, usize)>,
    /// The parameters at the first part of each step.
    seen: Vec<Weights>,
    /// What was looked at, after which steps.
    looked: Vec<(u64, Weights)>,
}

impl Chase {
    fn new() -> Self {
        let init = Init::new(5, &Device::flex().autodiff());
        let net =
            Net { blocks: vec![init.part("matrix").normal([2, 3], 1.0)], bias: init.part("bias").normal([4], 1.0) };
        Self { net, parts: Vec::new(), seen: Vec::new(), looked: Vec::new() }
    }

    /// Where the parameters were before the first step and after each one.
    fn path(&self) -> Vec<Weights> {
        self.seen.iter().cloned().chain([self.net.weights()]).collect()
    }
}

/// The loss of a part, without its model: it is logged as `aim`.
fn aim(step: u64, part: usize) -> f32 {
    step as f32 + 10.0 * part as f32
}

impl Trainable for Chase {
    fn loss(&mut self, step: u64, part: usize) -> Result<Loss> {
        if part == 0 {
            self.seen.push(self.net.weights());
        }
        self.parts.push((step, part));
        let wave = aim(step, part).sin();
        let total = (self.net.blocks[0].val() - wave).square().sum() + (self.net.bias.val() + wave).square().sum();
        let told = Tensor::from_data([aim(step, part)], &Device::flex().autodiff());
        Ok(Loss { total, parts: vec![("aim", told)] })
    }

    fn parameters(&self) -> &dyn Parameters {
        &self.net
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.net
    }

    fn sample(&mut self, average: &Weights, step: u64) -> Result<Samples> {
        self.looked.push((step, average.clone()));
        Ok(Samples { measures: vec![("looked".to_owned(), step as f64)], ..Samples::default() })
    }
}

/// Stops after so many steps, and remembers what it is told.
#[derive(Default)]
struct Onlooker {
    last: u64,
    now: u64,
    logged: Vec<(u64, Vec<(String, f64)>)>,
    saved: Vec<u64>,
}

impl Callbacks for Onlooker {
    fn step(&mut self, done: u64, _: u64, measures: Option<&[(String, f64)]>) {
        self.now = done;
        self.logged.extend(measures.map(|measures| (done, measures.to_vec())));
    }
    fn failing(&mut self, _: u64, _: FailureMode) {}
    fn samples(&mut self, _: u64, _: &Samples) -> Result<()> {
        Ok(())
    }
    fn saved(&mut self, step: u64, _: &Path) {
        self.saved.push(step);
    }
    fn stop(&self) -> bool {
        self.now == self.last
    }
}

fn settings() -> TrainSettings {
    TrainSettings {
        steps: 12,
        batch: 8,
        learning_rate: 0.2,
        muon: Some(0.2),
        schedule: Schedule::Constant,
        warmup: 0,
        ema: 0.4,
        log_every: 4,
        sample_every: 3,
        checkpoint_every: 5,
        keep: 9,
        ..TrainSettings::default()
    }
}

fn run(folder: &Path, settings: &TrainSettings, resume: bool, last: u64) -> (Chase, Ended, Onlooker) {
    let mut chase = Chase::new();
    let mut watch = Onlooker { last, ..Onlooker::default() };
    let run = Run { folder: folder.to_owned(), settings, recipe: String::new(), metadata: HashMap::new() };
    let ended = run.train(&mut chase, resume, &mut watch).unwrap();
    (chase, ended, watch)
}

/// The moving average of a path by hand: its decay is 1/10, 2/11, 3/12, … until it is `ema`.
fn averages(path: &[Weights], ema: f64) -> Vec<Weights> {
    let mut all = vec![path[0].clone()];
    for (step, now) in path[1..].iter().enumerate() {
        let decay = ema.min((1.0 + step as f64) / (10.0 + step as f64)) as f32;
        let mut average = all[step].clone();
        for (name, average) in &mut average {
            let pairs = average.values.iter_mut().zip(&now[name].values);
            pairs.for_each(|(average, now)| *average = decay * *average + (1.0 - decay) * now);
        }
        all.push(average);
    }
    all
}

/// How far two sets of weights are apart at most.
fn apart(one: &Weights, two: &Weights) -> f32 {
    assert!(one.keys().eq(two.keys()), "{one:?} {two:?}");
    let pairs = one.iter().flat_map(|(name, one)| one.values.iter().zip(&two[name].values));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn the_average_ships_and_is_looked_at_not_the_weights_of_the_moment() {
    let folder = tempfile::tempdir().unwrap();
    for ema in [0.4, 0.999] {
        let folder = folder.path().join(ema.to_string());
        let (chase, ended, _) = run(&folder, &TrainSettings { ema, ..settings() }, false, u64::MAX);
        let Ended::Done(path) = ended else { panic!("{ended:?}") };
        assert_eq!(path, folder.join("weights.safetensors"));
        let (shipped, metadata) = open_weights(&path).unwrap();
        assert_eq!(metadata["musiva.steps"], "12");
        let (raw, wanted) = (chase.path(), averages(&chase.path(), ema));
        // 16 bits of each number are kept.
        assert!(apart(&shipped, &wanted[12]) < 2e-3, "{shipped:?}, not {:?}", wanted[12]);
        assert!(apart(&shipped, &raw[12]) > 0.02, "the two must differ for this to say anything");
        assert_eq!(chase.looked.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [3, 6, 9, 12]);
        for (step, looked) in &chase.looked {
            assert!(apart(looked, &wanted[*step as usize]) < 1e-5, "step {step}");
            assert!(apart(looked, &raw[*step as usize]) > 0.02, "step {step}");
        }
    }
    // Without an average it is the weights themselves that ship.
    let (chase, ..) = run(&folder.path().join("none"), &TrainSettings { ema: 0.0, ..settings() }, false, u64::MAX);
    let shipped = open_weights(&folder.path().join("none/weights.safetensors")).unwrap().0;
    assert!(apart(&shipped, &chase.net.weights()) < 2e-3);
}

#[test]
fn a_run_that_goes_on_ends_as_one_that_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, parts) = (folder.path().join("whole"), folder.path().join("parts"));
    let s = TrainSettings { ema: 0.999, sample_every: 1, ..settings() };
    let (chase, ..) = run(&whole, &s, false, u64::MAX);
    let (before, ended, watch) = run(&parts, &s, false, 4);
    assert_eq!((ended, watch.saved), (Ended::Stopped(4), vec![4]));
    assert!(!parts.join("weights.safetensors").exists(), "only what is done ships");
    let (after, ended, _) = run(&parts, &s, true, u64::MAX);
    assert!(matches!(ended, Ended::Done(_)));
    assert_eq!((after.parts.first(), after.parts.len()), (Some(&(4, 0)), 8));

    let path = [&before.path()[..4], &after.path()[..]].concat();
    assert_eq!(path, chase.path());
    // Who stops is not made to wait for a look.
    let looked: Vec<_> = chase.looked.iter().filter(|(step, _)| *step != 4).cloned().collect();
    assert_eq!([before.looked, after.looked].concat(), looked);
    // The warm-up of the average goes on where it was: at the fifth step its decay is 5/14, not 1/10 again.
    let shipped = open_weights(&parts.join("weights.safetensors")).unwrap().0;
    assert!(apart(&shipped, &averages(&path, 0.999)[12]) < 2e-3);
    assert_eq!(shipped, open_weights(&whole.join("weights.safetensors")).unwrap().0);
    let last = |folder: &Path| open_weights(&folder.join("checkpoints/00000012.safetensors")).unwrap().0;
    assert_eq!(last(&whole), last(&parts));
}

#[test]
fn it_goes_on_from_the_newest_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let s = TrainSettings { steps: 12, checkpoint_every: 1, keep: 3, ..settings() };
    let (.., watch) = run(folder.path(), &s, false, 11);
    assert_eq!(watch.saved, (1..=11).collect::<Vec<u64>>());
    let mut left: Vec<_> = std::fs::read_dir(folder.path().join("checkpoints"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    left.sort();
    assert_eq!(left, ["00000009.safetensors", "00000010.safetensors", "00000011.safetensors"]);
    let (chase, ..) = run(folder.path(), &s, true, u64::MAX);
    assert_eq!(chase.parts, [(11, 0)]);
}

#[test]
fn the_parts_of_a_step_are_asked_for_in_turn_and_logged_as_their_mean() {
    let folder = tempfile::tempdir().unwrap();
    let s = TrainSettings { accumulate: 4, steps: 9, sample_every: 4, ..settings() };
    let (chase, _, watch) = run(folder.path(), &s, false, u64::MAX);
    let wanted: Vec<(u64, usize)> = (0..9).flat_map(|step| (0..4).map(move |part| (step, part))).collect();
    assert_eq!(chase.parts, wanted);
    // Every fourth step, and the last one; of a step the mean over its parts.
    assert_eq!(watch.logged.iter().map(|(step, _)| *step).collect::<Vec<_>>(), [4, 8, 9]);
    for (done, measures) in &watch.logged {
        let found = |name: &str| measures.iter().find(|(other, _)| other == name).unwrap().1;
        assert_eq!(found("aim"), (*done - 1) as f64 + 15.0);
        assert_eq!(found("learning_rate"), 0.2);
        let at = &chase.seen[*done as usize - 1];
        let squares = |name: &str, wave: f32| at[name].values.iter().map(|w| f64::from(w - wave).powi(2)).sum::<f64>();
        let loss = |part| {
            let wave = aim(*done - 1, part).sin();
            squares("blocks.0", wave) + squares("bias", -wave)
        };
        let mean = (0..4).map(loss).sum::<f64>() / 4.0;
        assert!((found("loss") - mean).abs() < 1e-5 * mean);
        // The gradient of the mean, before it is clipped.
        let slope = |name: &str, sign: f64| {
            let wave = sign * (0..4).map(|part| f64::from(aim(*done - 1, part).sin())).sum::<f64>() / 4.0;
            at[name].values.iter().map(|&w| (2.0 * (f64::from(w) - wave)).powi(2)).sum::<f64>()
        };
        let norm = (slope("blocks.0", 1.0) + slope("bias", -1.0)).sqrt();
        assert!((found("gradient_norm") - norm).abs() < 1e-4 * norm);
    }
    let lines = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
    let steps: Vec<u64> = lines
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap())
        .filter(|line| line["looked"].is_number())
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    assert_eq!(steps, [4, 8], "what is looked at is logged too");
}

#[test]
fn a_loss_that_is_no_number_stops_the_run() {
    struct Broken(Chase);
    impl Trainable for Broken {
        fn loss(&mut self, step: u64, part: usize) -> Result<Loss> {
            let mut loss = self.0.loss(step, part)?;
            loss.total = loss.total * if step == 3 { f32::NAN } else { 1.0 };
            Ok(loss)
        }
        fn parameters(&self) -> &dyn Parameters {
            self.0.parameters()
        }
        fn parameters_mut(&mut self) -> &mut dyn Parameters {
            self.0.parameters_mut()
        }
        fn sample(&mut self, average: &Weights, step: u64) -> Result<Samples> {
            self.0.sample(average, step)
        }
    }
    for log_every in [1, 100] {
        let folder = tempfile::tempdir().unwrap();
        let s = TrainSettings { log_every, ..settings() };
        let run =
            Run { folder: folder.path().to_owned(), settings: &s, recipe: String::new(), metadata: HashMap::new() };
        let mut watch = Onlooker { last: u64::MAX, ..Onlooker::default() };
        let error = run.train(&mut Broken(Chase::new()), false, &mut watch).unwrap_err().to_string();
        assert!(error.contains("step 3") && error.contains("not a finite number"), "{error}");
        assert_eq!(watch.now, 3, "nothing is done with it");
    }
}
