//! The conformance kit: whether a plugin keeps what the headers promise.
//!
//! Each check is a property that the plugin has or has not: the shape function tells the truth, the same input makes
//! the same bytes, a stream makes what the whole makes, gradients are those of the function, a sample does not depend
//! on the batch around it, nothing leaks. Inputs are small and fixed.

mod backbone;
mod others;
mod tokenizer;

use crate::load::Loaded;
use musiva_core::{Result, RngKey, RngStream};
use serde::Serialize;
use serde_json::Value;
use std::time::{Duration, Instant};

/// Instances that are made, used and freed to see whether memory grows.
const ROUNDS: usize = 10_000;
/// No run for memory takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// A property and whether the plugin has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What was looked at.
    pub name: String,
    /// What came of it.
    pub outcome: Outcome,
}

/// What came of a check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "words")]
pub enum Outcome {
    /// It holds; a figure, perhaps.
    Holds(String),
    /// It does not.
    Fails(String),
    /// There was nothing to look at.
    Skipped(String),
}

/// What a check gives: a figure, or why it does not hold.
type Checked = std::result::Result<String, String>;

/// Checks a plugin with a configuration.
pub fn check(loaded: &Loaded, config: &Value) -> Vec<Finding> {
    let mut kit = Kit { loaded, config, findings: Vec::new() };
    kit.run("interface", || Ok(format!("ABI {}, {} {}", loaded.library.abi(), loaded.id, loaded.version)));
    kit.run("schema", || loaded.library.schema(&loaded.id).map(|_| String::new()).map_err(words));
    let kind = loaded.library.get(&loaded.id).map(|described| described.kind.clone()).unwrap_or_default();
    let made = kit.run("create", || loaded.library.create(&loaded.id, config).map(|_| String::new()).map_err(words));
    if made {
        match kind.as_str() {
            "tokenizer" => tokenizer::check(&mut kit),
            "backbone" => backbone::check(&mut kit),
            "conditioner" => others::conditioner(&mut kit),
            "sampler" => others::sampler(&mut kit),
            "metric" => others::metric(&mut kit),
            _ => others::dataset(&mut kit),
        }
    }
    kit.findings
}

struct Kit<'a> {
    loaded: &'a Loaded,
    config: &'a Value,
    findings: Vec<Finding>,
}

impl Kit<'_> {
    /// Looks at a property; whether it holds.
    fn run(&mut self, name: &str, check: impl FnOnce() -> Checked) -> bool {
        let outcome = check();
        let holds = outcome.is_ok();
        let outcome = outcome.map_or_else(Outcome::Fails, Outcome::Holds);
        self.findings.push(Finding { name: name.into(), outcome });
        holds
    }

    fn skip(&mut self, name: &str, why: &str) {
        self.findings.push(Finding { name: name.into(), outcome: Outcome::Skipped(why.into()) });
    }

    fn instance(&self) -> Result<crate::instance::Instance> {
        self.loaded.library.create(&self.loaded.id, self.config)
    }

    /// Properties of every kind, for what `make` makes of a new instance: bytes that stand for all outputs.
    fn common(&mut self, make: &(dyn Fn(crate::instance::Instance) -> Result<Vec<u8>> + Sync)) {
        let (loaded, config) = (self.loaded, self.config);
        let fresh = || make(loaded.library.create(&loaded.id, config)?);
        let Ok(first) = fresh() else { return };
        self.run("determinism", || match fresh() {
            Ok(again) if again == first => Ok("two instances, the same bytes".into()),
            Ok(_) => Err("two instances make different outputs of the same input".into()),
            Err(error) => Err(words(error)),
        });
        self.run("threads", || {
            let all = std::thread::scope(|scope| {
                let threads: Vec<_> = (0..4).map(|_| scope.spawn(fresh)).collect();
                threads.into_iter().map(|thread| thread.join()).collect::<Vec<_>>()
            });
            match all.into_iter().all(|one| matches!(one, Ok(Ok(bytes)) if bytes == first)) {
                true => Ok("four instances on four threads, the same bytes".into()),
                false => Err("instances on several threads make other outputs than one alone".into()),
            }
        });
        let start = Instant::now();
        self.run("speed", || {
            fresh().map(|_| format!("{:.3} ms a round", 1e3 * start.elapsed().as_secs_f64())).map_err(words)
        });
        self.leaks(&|| fresh().is_ok());
    }

    /// Whether memory grows as rounds go by.
    fn leaks(&mut self, round: &dyn Fn() -> bool) {
        let loaded = self.loaded;
        let resident = || loaded.library.resident();
        let Some(_) = resident() else {
            return self.skip("leaks", "this system does not tell how much memory is in use");
        };
        self.run("leaks", || {
            // The first rounds fill caches and pools.
            let start = Instant::now();
            let mut done = 0;
            let mut rounds = |most: usize| {
                let from = done;
                while done - from < most && start.elapsed() < PATIENCE && round() {
                    done += 1;
                }
                (done - from, resident().unwrap_or(0))
            };
            let (_, mut before) = rounds(ROUNDS / 10);
            let mut stretch = || {
                let (count, after) = rounds(ROUNDS / 3);
                let grown = after.saturating_sub(before);
                before = after;
                (count, grown)
            };
            let stretches = [stretch(), stretch(), stretch()];
            // A pool that grows once is the allocator's; a leak goes on and on.
            let leaks = |&(count, grown): &(usize, usize)| count > 0 && grown / count > 16 && grown > 1 << 18;
            let (count, grown) = stretches.iter().fold((0, 0), |(n, all), (count, grown)| (n + count, all + grown));
            match stretches.iter().all(leaks) {
                true => Err(format!("memory grew by {} bytes a round over {count} rounds", grown / count)),
                false => Ok(format!("memory grew by {grown} bytes over {count} rounds")),
            }
        });
    }
}

fn words(error: musiva_core::Error) -> String {
    error.message().to_owned()
}

/// Noise to fill inputs with: the same every time.
fn noise(count: usize, which: u64) -> Vec<f32> {
    RngKey::new(which).stream(RngStream::Noise).normals(count)
}

/// Bytes of numbers, to compare.
fn bytes(values: &[f32]) -> Vec<u8> {
    values.iter().flat_map(|value| value.to_le_bytes()).collect()
}
