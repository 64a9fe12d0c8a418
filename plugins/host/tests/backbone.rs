//! The example of a backbone, called in process: its gradients, and a twin of it in Burn.

#![allow(clippy::unwrap_used)]

#[path = "../../examples/mixer/src/matrix.rs"]
mod matrix;
#[path = "../../examples/mixer/src/mixer.rs"]
mod mixer;
#[path = "../../../tests/plugins/twin.rs"]
mod twin;

use burn::tensor::{Device, Tensor, TensorData};
use mixer::Mixer;
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, NoisyVectors, Prediction, PromptKind, ints};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Hosted, Make, Registry, Role, TokenKind, TokenShape,
    WeightInit, Weights,
};
use musiva_plugin_host::{Library, Loaded, Outcome, check, register};
use serde_json::json;
use std::collections::BTreeMap;
use twin::TwinConfig;

/// The entry as a shared library would export it.
static ENTRY: musiva_plugin::abi::Entry = musiva_plugin::entry!(Mixer: Backbone + Vjp);

fn loaded() -> Loaded {
    // SAFETY: a constant of this process.
    let library = unsafe { Library::from_entry(&ENTRY, "in process") }.unwrap();
    Loaded { id: "org.musiva.mixer".into(), version: "0.1.0".into(), sha256: "0".repeat(64), library }
}

fn config(config: serde_json::Value) -> Box<dyn BackboneConfig> {
    let mut registry = Registry::default();
    register(&mut registry, &loaded()).unwrap();
    let component = registry.get(Role::Backbone, "org.musiva.mixer").unwrap();
    assert!(component.learns);
    let Make::Hosted(Hosted::Backbone(make)) = &component.make else { panic!("a backbone") };
    make(config).unwrap()
}

const DEPTH: usize = 2;

fn small() -> Box<dyn BackboneConfig> {
    config(json!({ "width": 7, "hidden": 11, "depth": DEPTH }))
}

fn canvas() -> CanvasShape {
    CanvasShape::new(3, 5, TokenShape { grid: [2, 1, 3], kind: TokenKind::Vectors { channels: 5 } })
}

fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * step) % 101) as f32 / 50.0 - 1.0).collect()
}

fn batch(device: &Device) -> CanvasBatch {
    let tensor = |values, shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(values, shape), device);
    CanvasBatch {
        conditioning: Conditioning::prompt(ints(&[1, 4, 0, 2, 2, 3], [2, 3], device), &canvas()),
        input: ModelInput::NoisyVectors(NoisyVectors {
            values: tensor(numbers(60, 37), [2, 6, 5]),
            times: Tensor::from_data(TensorData::new(vec![0.25f32, 0.75, 0.5, 1.0], [2, 2]), device),
            at: vec![0, 1, 1, 0, 1, 0],
            x0_prev: None,
        }),
    }
}

/// Weights of which none is zero, so that every term shows.
fn weights(model: &dyn Backbone) -> Weights {
    let mut weights = model.parameters().weights();
    for (i, weight) in weights.values_mut().enumerate() {
        let count = weight.values.len();
        weight.values = numbers(count, 7 + 2 * i).into_iter().map(|value| 0.4 * value + 0.05).collect();
    }
    weights
}

fn field(model: &dyn Backbone, batch: &CanvasBatch) -> Tensor<3> {
    let Prediction::Vector(field) = model.forward(batch) else { panic!("a field") };
    field
}

#[test]
fn it_conforms() {
    let findings = check(&loaded(), &json!({ "width": 8, "hidden": 16, "depth": 2 }));
    assert!(findings.iter().all(|finding| !matches!(finding.outcome, Outcome::Fails(_))), "{findings:#?}");
    let gradients = findings.iter().find(|finding| finding.name == "gradients").unwrap();
    assert!(matches!(gradients.outcome, Outcome::Holds(_)));
}

#[test]
fn it_is_what_it_says_it_is() {
    let config = small();
    let canvas = canvas();
    assert_eq!(config.spec(&canvas).unwrap(), BackboneSpec::Diffusion { channels: 5, self_conditioned: false });
    assert!(config.trains().is_ok());
    let model = config.build(&canvas, &Device::flex(), &WeightInit::Seed(3)).unwrap();
    assert_eq!(config.parameters(&canvas), model.parameters().count());
    assert_eq!(weights(&*model)["blocks.1.tokens"].shape, [6, 6]);
    let codes = TokenShape { kind: TokenKind::Codes { levels: 1, entries: 7, bits: None }, ..canvas.tokens };
    let error = config.spec(&CanvasShape { tokens: codes, ..canvas }).unwrap_err();
    assert!(error.message.contains("it reads vectors, this tokenizer makes none"), "{}", error.message);
    let error = config.spec(&CanvasShape { text: PromptKind::Vectors(5), ..canvas }).unwrap_err();
    assert!(error.message.contains("reads prompts as words"), "{}", error.message);
}

/// The same model by Burn's own operations and gradients, started from the same seed.
#[test]
fn it_is_its_twin_in_burn() {
    let device = Device::flex().autodiff();
    let built = TwinConfig { width: 7, hidden: 11, depth: DEPTH };
    let weight_init = WeightInit::Seed(3);
    let models = [small(), Box::new(built)].map(|config| config.build(&canvas(), &device, &weight_init).unwrap());
    assert_eq!(models[0].parameters().weights(), models[1].parameters().weights());
    let all = weights(&*models[0]);
    let batch = batch(&device);
    let dy = Tensor::<3>::from_data(TensorData::new(numbers(60, 29), [2, 6, 5]), &device);

    let [ours, twin] = models.map(|mut model| {
        model.parameters_mut().load(&all, "the test").unwrap();
        let (mut batch, mut by) = (batch.clone(), BTreeMap::new());
        let ModelInput::NoisyVectors(input) = &mut batch.input else { panic!("a field") };
        input.values = input.values.clone().require_grad();
        let x = input.values.clone();
        let y = field(&*model, &batch);
        let mut found = (y.clone() * dy.clone()).sum().backward();
        by.insert("x".to_owned(), to_vec(x.grad_remove(&mut found).unwrap()));
        model.parameters().gradients(&mut found, &mut |name, gradient| {
            by.insert(name.to_owned(), to_vec(gradient));
        });
        (to_vec(y), by)
    });
    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    let largest = |all: &[f32], least: f32| all.iter().fold(least, |most, v| most.max(v.abs()));
    let difference = apart(&ours.0, &twin.0);
    assert!(difference < 1e-6 * largest(&twin.0, 1.0), "{difference}");
    assert_eq!((ours.1.len(), all.len() + 1), (twin.1.len(), ours.1.len()));
    for (name, by_twin) in &twin.1 {
        let (difference, largest) = (apart(&ours.1[name], by_twin), largest(by_twin, 1e-3));
        assert!(difference < 1e-4 * largest, "`{name}` is {difference} apart, of {largest}");
    }
}

#[test]
fn frozen_it_predicts_the_same_and_has_no_gradients() {
    let mut model = small().build(&canvas(), &Device::flex().autodiff(), &WeightInit::Seed(3)).unwrap();
    let all = weights(&*model);
    model.parameters_mut().load(&all, "the test").unwrap();
    let frozen = model.frozen();
    let (a, b) = (field(&*model, &batch(&model.device())), field(&*frozen, &batch(&frozen.device())));
    assert_eq!(to_vec(a), to_vec(b.clone()));
    assert!(!b.is_autodiff());
    assert_eq!(frozen.parameters().weights(), all);
}

#[test]
fn an_error_of_a_pass_unwinds_with_its_words() {
    let model = small().build(&canvas(), &Device::flex(), &WeightInit::Seed(3)).unwrap();
    let mut batch = batch(&Device::flex());
    batch.conditioning.prompt = ints(&[1, 4, 9, 2, 2, 3], [2, 3], &Device::flex()).into();
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.forward(&batch))).err().unwrap();
    let error = payload.downcast::<musiva_core::Error>().unwrap().to_string();
    assert!(error.contains("org.musiva.mixer: forward: a word or a time is not among those"), "{error}");
}
