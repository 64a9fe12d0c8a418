use musiva_core::recipe::*;
use musiva_core::*;
use musiva_data::*;
use musiva_train::{backbone::*, trainer::*};
use std::sync::Arc;
struct W;
impl Watch for W {
    fn step(&mut self, d: u64, t: u64, m: Option<&[(String, f64)]>) {
        if let Some(m) = m {
            let s: Vec<String> = m.iter().map(|(n, v)| format!("{n} {v:.4}")).collect();
            println!("{d}/{t} {}", s.join("  "));
        }
    }
    fn samples(&mut self, s: u64, c: &[Clip], m: &[(String, f64)]) -> Result<()> {
        let o = world::Oracle::new(&Default::default());
        let r: Vec<String> = c
            .iter()
            .map(|c| {
                let r = o.read(c);
                format!("{:?}/{:?}/{:?}/{:?}", r.colour, r.shape, r.direction, r.speed)
            })
            .collect();
        println!("SAMPLE {s} {m:?} {r:?}");
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
    let mut reg = Registry::default();
    musiva_models::register(&mut reg).unwrap();
    musiva_tokenizers::register(&mut reg).unwrap();
    let j: serde_json::Value =
        serde_json::from_str(&std::fs::read_to_string(std::env::args().nth(1).unwrap()).unwrap()).unwrap();
    let settings: TrainSettings = serde_json::from_value(j["train"].clone()).unwrap();
    fn cut(v: &serde_json::Value) -> (String, serde_json::Value) {
        let mut o = v.as_object().unwrap().clone();
        let k = o.remove("kind").unwrap().as_str().unwrap().to_string();
        (k, o.into())
    }
    let (k, v) = cut(&j["backbone"]);
    let Make::Backbone(f) = &reg.get(Role::Backbone, &k).unwrap().make else { panic!() };
    let config = f(v).unwrap();
    let (k, v) = cut(&j["objective"]);
    let Make::Objective(f) = &reg.get(Role::Objective, &k).unwrap().make else { panic!() };
    let objective = f(v).unwrap();
    let (k, v) = cut(&j["sampler"]);
    let Make::Sampler(f) = &reg.get(Role::Sampler, &k).unwrap().make else { panic!() };
    let sampler = f(v).unwrap();
    let tok: musiva_tokenizers::magvit2::Magvit2Config = serde_json::from_value(j["tokenizer"].clone()).unwrap();
    let text = musiva_tokenizers::text::TextConfig::default();
    let device = burn::tensor::Device::flex();
    let world = world::World::new(Default::default()).unwrap();
    let tp: std::path::PathBuf = "/tmp/tokenizer.json".into();
    if !tp.exists() {
        let caps: Vec<String> = (0..4000).map(|i| world.get(i).unwrap().caption).collect();
        musiva_tokenizers::text::train(&text, caps.into_iter(), &tp).unwrap();
    }
    let video = TokenizerConfig::build(&tok, &device, &Source::File(std::env::args().nth(3).unwrap().into())).unwrap();
    let textt = TokenizerConfig::build(&text, &device, &Source::File(tp)).unwrap();
    let held = Arc::new(world::World::new(world::WorldConfig { seed: 999, ..Default::default() }).unwrap());
    let canvas = CanvasShape { prompt: 12, words: 128, tokens: tok.shape(&Dataset::shape(&world)).unwrap() };
    println!("params {}", config.parameters(&canvas));
    let set = TokenSet::cached(&std::path::PathBuf::from(std::env::args().nth(4).unwrap()), || {
        TokenSet::new(&world, settings.clips as u64, &*textt, &*video, &mut |n| {
            if n % 512 == 0 {
                println!("{n}")
            }
        })
    })
    .unwrap();
    let parts =
        BackboneParts { config: &*config, canvas, objective: &*objective, sampler: &*sampler, text: textt, video };
    let mut t = BackboneTrainee::new(&settings, parts, &Source::Seed(settings.seed), set, held, &device).unwrap();
    let folder: std::path::PathBuf = std::env::args().nth(2).unwrap().into();
    let resume = Run::checkpoints(&folder).exists();
    let run = Run { folder, settings: &settings, recipe: "".into(), metadata: Default::default() };
    println!("{:?}", run.train(&mut t, resume, &mut W));
}
