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
use musiva_core::canvas::{CanvasBatch, Conditioning, LevelPattern, ModelInput, NoisyVectors, Prediction, TrackShape};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, ErrorKind, Hosted, Layout, Make, Registry, Role, TokenKind,
    TokenShape, WeightInit, Weights,
};
use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{BackboneInput, Content, Context, Error, InitRule, Parameter, Plugin};
use musiva_plugin_host::{Library, Loaded, Outcome, check, register};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use twin::TwinConfig;

/// The entry as a shared library would export it.
static ENTRY: musiva_plugin::abi::Entry = musiva_plugin::entry!(Mixer: Backbone + Vjp, OneWay: Backbone + Vjp);

fn loaded(id: &str) -> Loaded {
    // SAFETY: a constant of this process.
    let library = unsafe { Library::from_entry(&ENTRY, "in process") }.unwrap();
    Loaded { id: id.into(), version: "0.1.0".into(), sha256: "0".repeat(64), library }
}

fn config_of(id: &str, config: serde_json::Value) -> Box<dyn BackboneConfig> {
    let mut registry = Registry::default();
    register(&mut registry, &loaded(id)).unwrap();
    let component = registry.get(Role::Backbone, id).unwrap();
    assert!(component.learns);
    let Make::Hosted(Hosted::Backbone(make)) = &component.make else { panic!("a backbone") };
    make(config).unwrap()
}

const MIXER: &str = "org.musiva.mixer";
const DEPTH: usize = 2;

fn small() -> Box<dyn BackboneConfig> {
    config_of(MIXER, json!({ "width": 7, "hidden": 11, "depth": DEPTH }))
}

fn canvas() -> Arc<CanvasShape> {
    Arc::new(CanvasShape::new(3, 5, TokenShape { grid: [2, 1, 3], kind: TokenKind::Vectors { channels: 5 } }))
}

/// Of two samples.
fn prompted(prompts: [[u32; 3]; 2], layout: &Arc<Layout>, device: &Device) -> Conditioning {
    let values = prompts.map(|words| match layout.context().len() {
        0 => canvas().blank().at(&[], &canvas()),
        _ => canvas().prompt(&words),
    });
    Conditioning::new(layout, &values, true, device).unwrap()
}

fn numbers(count: usize, step: usize) -> Vec<f32> {
    (0..count).map(|i| ((i * step) % 101) as f32 / 50.0 - 1.0).collect()
}

fn batch(device: &Device) -> CanvasBatch {
    let tensor = |values, shape: [usize; 3]| Tensor::<3>::from_data(TensorData::new(values, shape), device);
    CanvasBatch {
        conditioning: prompted([[1, 4, 0], [2, 2, 3]], &Arc::new(Layout::whole(&canvas())), device),
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
    let Prediction::Vector(field) = model.forward(batch).unwrap() else { panic!("a field") };
    field
}

#[test]
fn it_conforms() {
    let findings = check(&loaded(MIXER), &json!({ "width": 8, "hidden": 16, "depth": 2 }));
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
}

/// What the ABI has no words for is refused before anything is built.
#[test]
fn a_canvas_that_plugins_cannot_see_is_refused() {
    let changed = |change: &dyn Fn(&mut Vec<TrackShape>)| {
        let mut canvas = (*canvas()).clone();
        change(&mut canvas.tracks);
        canvas
    };
    let kind = |track: usize, kind: TokenKind| changed(&|tracks| tracks[track].tokens.kind = kind);
    let codes = |levels, bits| TokenKind::Codes { levels, entries: 8, bits };
    let sound = TokenShape { grid: [6, 1, 1], kind: TokenKind::Vectors { channels: 5 } };
    let fits = [
        kind(0, codes(1, Some(3))),
        // Vectors of the bits of several codebooks.
        kind(0, codes(2, Some(3))),
        changed(&|tracks| tracks.reverse()),
        // No prompt is one of no words.
        changed(&|tracks| tracks[1].context = false),
        // Of one codebook a pattern has no effect.
        changed(&|tracks| tracks[0].pattern = LevelPattern::Delay),
    ];
    for canvas in fits {
        assert!(small().spec(&canvas).is_ok(), "{canvas:?}");
    }
    let refused = [
        (kind(0, codes(1, None)), "it reads vectors, this tokenizer makes none"),
        (kind(0, codes(2, None)), "it reads vectors, this tokenizer makes none"),
        (
            kind(1, TokenKind::Vectors { channels: 5 }),
            "reads prompts as words; this recipe's text tokenizer makes vectors",
        ),
        (changed(&|tracks| tracks.truncate(1)), "reads prompts as words; this recipe's prompts have no tokenizer"),
        ((*canvas()).clone().with_sound(sound, 3, 1), "this recipe has sound"),
        ((*canvas()).clone().with_context(), "this recipe has tasks with more given"),
        (changed(&|tracks| tracks[1].target = true), "this recipe has tasks that generate text"),
        (changed(&|tracks| tracks.insert(1, TrackShape::video("depth", tracks[0].tokens))), "one more track, `depth`"),
        (changed(&|tracks| tracks.push(TrackShape::text("notes", tracks[1].tokens))), "one more track, `notes`"),
        (changed(&|tracks| drop(tracks.remove(0))), "this recipe has no clips"),
        (kind(0, codes(1, Some(3))).with_factors(3), "those of `video` are taken apart"),
        (
            changed(&|tracks| (tracks[0].tokens.kind, tracks[0].pattern) = (codes(2, Some(3)), LevelPattern::Flat)),
            "those of `video` are taken apart",
        ),
    ];
    for (canvas, says) in refused {
        let error = small().spec(&canvas).unwrap_err();
        assert!(error.message.contains(says), "{}", error.message);
        assert!(small().build(&Arc::new(canvas), &Device::flex(), &WeightInit::Seed(3)).is_err(), "{says}");
    }
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

/// A layout without a prompt is one of no words.
#[test]
fn without_a_prompt_it_is_as_with_an_empty_one() {
    let device = Device::flex();
    let mut model = small().build(&canvas(), &device, &WeightInit::Seed(3)).unwrap();
    let all = weights(&*model);
    model.parameters_mut().load(&all, "the test").unwrap();
    let of = |layout: Layout, prompts| {
        let conditioning = prompted(prompts, &Arc::new(layout), &device);
        to_vec(field(&*model, &CanvasBatch { conditioning, ..batch(&device) }))
    };
    let empty = of(Layout::whole(&canvas()), [[0; 3]; 2]);
    assert_eq!(of(Layout::new(&canvas(), Vec::new(), (0..6).collect()), [[0; 3]; 2]), empty);
    assert_ne!(to_vec(field(&*model, &batch(&device))), empty);
}

/// A plugin reads as many numbers as the canvas has, whatever a layout says.
#[test]
fn a_layout_of_less_than_the_whole_is_an_error() {
    let device = Device::flex();
    let model = small().build(&canvas(), &device, &WeightInit::Seed(3)).unwrap();
    let layouts = [
        Layout::with_prompt(&canvas(), Vec::new(), vec![0, 1, 2]),
        Layout::with_prompt(&canvas(), vec![0, 1, 2], vec![3, 4, 5]),
        Layout::with_prompt(&canvas(), Vec::new(), vec![5, 4, 3, 2, 1, 0]),
    ];
    for layout in layouts {
        let values =
            [canvas().blank().at(layout.context(), &canvas()), canvas().blank().at(layout.context(), &canvas())];
        let conditioning = Conditioning::new(&Arc::new(layout), &values, true, &device).unwrap();
        let error = model.forward(&CanvasBatch { conditioning, ..batch(&device) }).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Plugin);
        assert!(error.to_string().contains("whole clips from prompts"), "{error}");
    }
}

#[test]
fn an_error_of_a_pass_has_its_words() {
    for device in [Device::flex(), Device::flex().autodiff()] {
        let model = small().build(&canvas(), &device, &WeightInit::Seed(3)).unwrap();
        let conditioning = prompted([[1, 4, 9], [2, 2, 3]], &Arc::new(Layout::whole(&canvas())), &device);
        let error = model.forward(&CanvasBatch { conditioning, ..batch(&device) }).unwrap_err().to_string();
        assert!(error.contains("org.musiva.mixer: forward: a word or a time is not among those"), "{error}");
    }
}

/// A number times the noisy vectors, and no way back.
struct OneWay;

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde")]
struct Empty {}

impl Plugin for OneWay {
    const ID: &'static str = "org.example.one-way";
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "a number times the noisy vectors";
    type Config = Empty;

    fn new(_: Empty) -> musiva_plugin::Result<Self> {
        Ok(Self)
    }
}

impl musiva_plugin::Backbone for OneWay {
    fn spec(&self, _: &musiva_plugin::Canvas) -> musiva_plugin::Result<musiva_plugin::BackboneSpec> {
        Ok(musiva_plugin::BackboneSpec::Field { self_conditioned: false })
    }

    fn parameters(&self, _: &musiva_plugin::Canvas) -> musiva_plugin::Result<Vec<Parameter>> {
        Ok(vec![Parameter { name: "scale".into(), shape: vec![1], init: InitRule::Ones }])
    }

    fn forward(&self, cx: &mut Context, input: &BackboneInput) -> musiva_plugin::Result<()> {
        let Content::Field { values, .. } = input.content else { return Err(Error::input("it reads vectors")) };
        let channels = input.canvas.channels.unwrap_or(0);
        let out = cx.output::<f32>(0, &[input.batch, input.canvas.length(), channels])?;
        out.iter_mut().zip(values).for_each(|(out, value)| *out = input.theta[0] * value);
        Ok(())
    }
}

impl musiva_plugin::Vjp for OneWay {
    fn vjp(&self, _: &mut Context, _: &BackboneInput, _: &[f32]) -> musiva_plugin::Result<()> {
        Err(Error::unsupported("there is no way back"))
    }
}

/// Burn's backward pass has no place for an error.
#[test]
fn an_error_of_a_backward_pass_unwinds_with_its_words() {
    let device = Device::flex().autodiff();
    let config = config_of("org.example.one-way", json!({}));
    let model = config.build(&canvas(), &device, &WeightInit::Seed(3)).unwrap();
    let made = field(&*model, &batch(&device));
    assert_eq!(to_vec(made.clone()), numbers(60, 37));
    let payload = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| made.sum().backward())).err().unwrap();
    let error = payload.downcast::<musiva_core::Error>().unwrap().to_string();
    assert!(error.contains("org.example.one-way: vjp: there is no way back"), "{error}");
}
