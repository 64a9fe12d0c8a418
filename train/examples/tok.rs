use musiva_core::recipe::*;
use musiva_core::*;
use musiva_data::*;
use musiva_train::trainer::*;
use std::sync::Arc;
struct W;
impl Watch for W {
    fn step(&mut self, d: u64, t: u64, m: Option<&[(String, f64)]>) {
        if let Some(m) = m {
            let s: Vec<String> = m.iter().map(|(n, v)| format!("{n} {v:.4}")).collect();
            println!("{d}/{t} {}", s.join("  "));
        }
    }
    fn samples(&mut self, s: u64, _: &[Clip], m: &[(String, f64)]) -> Result<()> {
        println!("SAMPLE {s} {m:?}");
        Ok(())
    }
    fn saved(&mut self, _: u64, p: &std::path::Path) {
        println!("saved {p:?}")
    }
    fn stop(&self) -> bool {
        false
    }
}
fn main() {
    let j: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap()).unwrap();
    let settings: TrainSettings = serde_json::from_value(j["train"].clone()).unwrap();
    let config: musiva_tokenizers::magvit2::Magvit2Config = serde_json::from_value(j["tokenizer"].clone()).unwrap();
    let device = burn::tensor::Device::flex();
    let world = Arc::new(world::World::new(Default::default()).unwrap());
    let held = world::World::new(world::WorldConfig { seed: 999, ..Default::default() }).unwrap();
    println!("params {}", TokenizerConfig::parameters(&config));
    let mut t = musiva_train::tokenizer::TokenizerTrainee::new(
        &settings,
        &config,
        &Source::Seed(settings.seed),
        world,
        &held,
        &device,
    )
    .unwrap();
    let folder: std::path::PathBuf = std::env::args().nth(2).unwrap().into();
    let resume = musiva_train::trainer::Run::checkpoints(&folder).exists();
    let run = Run { folder, settings: &settings, recipe: "".into(), metadata: Default::default() };
    println!("{:?}", run.train(&mut t, resume, &mut W));
}
