//! The example of a backbone, called in process: its gradients, and a twin of it in Burn.

#![allow(clippy::unwrap_used)]

#[path = "../../examples/mixer/src/matrix.rs"]
mod matrix;
#[path = "../../examples/mixer/src/mixer.rs"]
mod mixer;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use mixer::Mixer;
use musiva_core::canvas::{CanvasBatch, Content, Field, Prediction, ints};
use musiva_core::parameters::{Weight, to_vec};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Hosted, Make, Registry, Role, Source, TokenKind, TokenShape,
    Weights,
};
use musiva_plugin_host::{Library, Loaded, Outcome, check, register};
use serde_json::json;
use std::collections::BTreeMap;

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
    CanvasShape {
        prompt: 3,
        words: 5,
        tokens: TokenShape { grid: [2, 1, 3], kind: TokenKind::Latents { channels: 5 } },
    }
}

fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * step) % 101) as f32 / 50.0 - 1.0).collect()
}

fn batch(device: &Device) -> CanvasBatch {
    let tensor = |values, shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(values, shape), device);
    CanvasBatch {
        prompt: ints(&[1, 4, 0, 2, 2, 3], [2, 3], device),
        content: Content::Field(Field {
            values: tensor(numbers(60, 37), [2, 6, 5]),
            times: Tensor::from_data(TensorData::new(vec![0.25f32, 0.75, 0.5, 1.0], [2, 2]), device),
            at: vec![0, 1, 1, 0, 1, 0],
            guess: None,
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
    let Prediction::Field(field) = model.forward(batch) else { panic!("a field") };
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
    assert_eq!(config.spec(&canvas).unwrap(), BackboneSpec::Field { channels: 5, self_conditioned: false });
    assert!(config.trains().is_ok());
    let model = config.build(&canvas, &Device::flex(), &Source::Seed(3)).unwrap();
    assert_eq!(config.parameters(&canvas), model.parameters().count());
    assert_eq!(weights(&*model)["blocks.1.tokens"].shape, [6, 6]);
    let codes = TokenShape { kind: TokenKind::Codes { entries: 7, bits: None }, ..canvas.tokens };
    let flaw = config.spec(&CanvasShape { tokens: codes, ..canvas }).unwrap_err();
    assert!(flaw.message.contains("it reads vectors, this tokenizer makes none"), "{}", flaw.message);
}

/// The same model by Burn's own operations and gradients.
#[test]
fn it_is_its_twin_in_burn() {
    let device = Device::flex().autodiff();
    let mut model = small().build(&canvas(), &device, &Source::Seed(3)).unwrap();
    let all = weights(&*model);
    model.parameters_mut().load(&all, "the test").unwrap();
    let batch = batch(&device);
    let dy = Tensor::<3>::from_data(TensorData::new(numbers(60, 29), [2, 6, 5]), &device);

    let ours = field(&*model, &batch);
    let mut found = (ours.clone() * dy.clone()).sum().backward();
    let mut ours_by = BTreeMap::new();
    model.parameters().gradients(&mut found, &mut |name, gradient| {
        ours_by.insert(name.to_owned(), to_vec(gradient));
    });

    let params: BTreeMap<&str, Tensor<1>> = all
        .iter()
        .map(|(name, Weight { values, .. })| {
            let flat = Tensor::<1>::from_data(TensorData::new(values.clone(), [values.len()]), &device);
            (name.as_str(), flat.require_grad())
        })
        .collect();
    let twin = twin(&batch, &params, &all);
    let mut found = (twin.clone() * dy).sum().backward();

    let apart = |a: &[f32], b: &[f32]| a.iter().zip(b).fold(0f32, |most, (a, b)| most.max((a - b).abs()));
    let (ours, twin) = (to_vec(ours), to_vec(twin));
    assert!(
        apart(&ours, &twin) < 1e-6 * twin.iter().fold(1f32, |most, v| most.max(v.abs())),
        "{}",
        apart(&ours, &twin)
    );
    assert_eq!(ours_by.len(), params.len());
    for (name, param) in &params {
        let by_twin = to_vec(param.grad_remove(&mut found).unwrap());
        let largest = by_twin.iter().fold(1e-3f32, |most, v| most.max(v.abs()));
        let apart = apart(&ours_by[*name], &by_twin);
        assert!(apart < 1e-4 * largest, "`{name}` is {apart} apart, of {largest}");
    }
}

fn twin(batch: &CanvasBatch, params: &BTreeMap<&str, Tensor<1>>, all: &Weights) -> Tensor<3> {
    let Content::Field(input) = &batch.content else { panic!("a field") };
    let matrix = |name: &str| {
        let shape = &all[name].shape;
        params[name].clone().reshape([shape[0], shape[1..].iter().product()])
    };
    let wide = |name: &str| matrix(name).unsqueeze::<3>();
    let norm = |x: Tensor<3>, name: &str| {
        let mean = (x.clone() * x.clone()).mean_dim(2);
        x / (mean + 1e-6).sqrt() * params[name].clone().reshape([1, 1, -1])
    };
    let device = params["norm"].device();
    let times = to_vec(input.times.clone());
    let features: Vec<f32> = (0..2)
        .flat_map(|b| input.at.iter().map(move |&at| (b, at)))
        .flat_map(|(b, at)| {
            let angle = |i: usize| times[b * 2 + at] * std::f32::consts::PI * (1 << i) as f32 / 2.0;
            (0..16).map(|i| if i < 8 { angle(i).sin() } else { angle(i - 8).cos() }).collect::<Vec<_>>()
        })
        .collect();
    let features = Tensor::<3>::from_data(TensorData::new(features, [2, 6, 16]), &device);
    // A word at a place is a row of the table: place · words + word.
    let places = Tensor::<1, Int>::from_data(TensorData::new(vec![0i64, 5, 10], [3]), &device).reshape([1, 3]);
    let rows = (batch.prompt.clone() + places).reshape([6]);
    let table = params["words"].clone().reshape([15, 7]);
    let prompt = table.select(0, rows).reshape([2, 3, 7]).sum_dim(1);
    let mut x = input.values.clone().matmul(wide("input")) + wide("places") + prompt + features.matmul(wide("time"));
    for i in 0..DEPTH {
        let name = |part: &str| format!("blocks.{i}.{part}");
        x = x.clone() + wide(&name("tokens")).matmul(norm(x, &name("norm1")));
        let up = norm(x.clone(), &name("norm2")).matmul(wide(&name("up")))
            + params[name("up_bias").as_str()].clone().reshape([1, 1, -1]);
        x = x + activation::silu(up).matmul(wide(&name("down")));
    }
    norm(x, "norm").matmul(wide("output")) + params["bias"].clone().reshape([1, 1, -1])
}

#[test]
fn frozen_it_predicts_the_same_and_has_no_gradients() {
    let mut model = small().build(&canvas(), &Device::flex().autodiff(), &Source::Seed(3)).unwrap();
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
    let model = small().build(&canvas(), &Device::flex(), &Source::Seed(3)).unwrap();
    let mut batch = batch(&Device::flex());
    batch.prompt = ints(&[1, 4, 9, 2, 2, 3], [2, 3], &Device::flex());
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| model.forward(&batch))).err().unwrap();
    let error = payload.downcast::<musiva_core::Error>().unwrap().to_string();
    assert!(error.contains("org.musiva.mixer: forward: a word or a time is not among those"), "{error}");
}
