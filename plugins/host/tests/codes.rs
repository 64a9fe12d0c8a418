//! Plugins of codes, called in process: a backbone with and without a cache, and a sampler that picks.

#![allow(clippy::unwrap_used)]

use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Conditioning, LevelPattern, Prediction, Values};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Hosted, Layout, Make, Parameters, Registry, RngKey, Role,
    SampleRequest, Sampler, Session, TokenKind, TokenShape, TokenValues, WeightInit, Weights,
};
use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{BackboneInput, Canvas, Content, Context, Drives, Error, InitRule, Parameter, Plugin};
use musiva_plugin::{Result, SamplerSpec};
use musiva_plugin_host::{Library, Loaded, Outcome, check, register};
use serde_json::{Value, json};
use std::ops::Range;
use std::sync::Arc;

/// Predicts a code from the one before it, and from the prompt by the sum of its words' rows.
struct Walk<const CACHED: bool> {
    /// Of each sample the last code; at first the number of all.
    last: Vec<i64>,
}

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde")]
struct Empty {}

impl<const CACHED: bool> Plugin for Walk<CACHED> {
    const ID: &'static str = if CACHED { "org.example.cached" } else { "org.example.walk" };
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "a code from the one before it";
    type Config = Empty;

    fn new(_: Empty) -> Result<Self> {
        Ok(Self { last: Vec::new() })
    }
}

/// Rows of theta, `K` numbers each, that the prediction after `last` is the sum of.
fn rows(input: &BackboneInput, b: usize, last: i64) -> Result<(usize, Vec<usize>)> {
    let k = input.canvas.entries.ok_or_else(|| Error::input("it reads codes"))?;
    let prompt = &input.prompt[b * input.canvas.prompt..(b + 1) * input.canvas.prompt];
    if prompt.iter().any(|&word| word < 0 || word as usize >= input.canvas.words) {
        return Err(Error::input("there is no such word"));
    }
    let words = prompt.iter().map(|&word| k + 1 + word as usize);
    Ok((k, words.chain([last as usize]).collect()))
}

fn add(input: &BackboneInput, b: usize, last: i64, out: &mut [f32]) -> Result<()> {
    let (k, rows) = rows(input, b, last)?;
    for row in rows {
        out.iter_mut().zip(&input.theta[row * k..]).for_each(|(out, number)| *out += number);
    }
    Ok(())
}

/// Of each position the code before it.
fn before(input: &BackboneInput) -> Result<Vec<Vec<i64>>> {
    let (Content::Codes(codes), Some(k)) = (input.content, input.canvas.entries) else {
        return Err(Error::input("it reads codes"));
    };
    let each = codes.chunks(input.canvas.length());
    Ok(each.map(|codes| [&[k as i64], &codes[..codes.len() - 1]].concat()).collect())
}

impl<const CACHED: bool> musiva_plugin::Backbone for Walk<CACHED> {
    fn spec(&self, _: &Canvas) -> Result<musiva_plugin::BackboneSpec> {
        Ok(musiva_plugin::BackboneSpec::Codes)
    }

    fn parameters(&self, canvas: &Canvas) -> Result<Vec<Parameter>> {
        let k = canvas.entries.unwrap_or(1);
        let parameter =
            |name: &str, rows| Parameter { name: name.into(), shape: vec![rows, k], init: InitRule::Normal(1.0) };
        Ok(vec![parameter("codes", k + 1), parameter("words", canvas.words)])
    }

    fn forward(&self, cx: &mut Context, input: &BackboneInput) -> Result<()> {
        let (l, k) = (input.canvas.length(), input.canvas.entries.unwrap_or(0));
        let out = cx.output::<f32>(0, &[input.batch, l, k])?;
        for (b, codes) in before(input)?.iter().enumerate() {
            for (i, &last) in codes.iter().enumerate() {
                add(input, b, last, &mut out[(b * l + i) * k..][..k])?;
            }
        }
        Ok(())
    }
}

impl<const CACHED: bool> musiva_plugin::Vjp for Walk<CACHED> {
    fn vjp(&self, cx: &mut Context, input: &BackboneInput, dy: &[f32]) -> Result<()> {
        let l = input.canvas.length();
        let out = cx.output::<f32>(0, &[input.theta.len()])?;
        for (b, codes) in before(input)?.iter().enumerate() {
            for (i, &last) in codes.iter().enumerate() {
                let (k, rows) = rows(input, b, last)?;
                for row in rows {
                    out[row * k..].iter_mut().zip(&dy[(b * l + i) * k..][..k]).for_each(|(out, dy)| *out += dy);
                }
            }
        }
        Ok(())
    }
}

impl musiva_plugin::Cache for Walk<true> {
    fn begin(&mut self, cx: &mut Context, input: &BackboneInput) -> Result<()> {
        let start = vec![input.canvas.entries.unwrap_or(0) as i64; input.batch];
        self.step(cx, input, &start)
    }

    fn step(&mut self, cx: &mut Context, input: &BackboneInput, tokens: &[i64]) -> Result<()> {
        self.last = tokens.to_vec();
        let k = input.canvas.entries.unwrap_or(0);
        let out = cx.output::<f32>(0, &[input.batch, k])?;
        self.last.iter().zip(out.chunks_mut(k)).enumerate().try_for_each(|(b, (&last, out))| add(input, b, last, out))
    }
}

/// Picks the likeliest code.
struct Likeliest(f32);

#[derive(Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde")]
struct Guided {
    guidance: f32,
}

impl Plugin for Likeliest {
    const ID: &'static str = "org.example.likeliest";
    const VERSION: &'static str = "1.0.0";
    const SUMMARY: &'static str = "the likeliest code";
    type Config = Guided;

    fn new(config: Guided) -> Result<Self> {
        Ok(Self(config.guidance))
    }
}

fn likeliest(logits: &[f32]) -> usize {
    (0..logits.len()).max_by(|&a, &b| logits[a].total_cmp(&logits[b])).unwrap()
}

impl musiva_plugin::Sampler for Likeliest {
    fn spec(&self) -> SamplerSpec {
        SamplerSpec { drives: Drives::Codes, guidance: self.0 }
    }

    fn pick(&mut self, cx: &mut Context, logits: musiva_plugin::Tensor, uniform: &[f32]) -> Result<()> {
        let (k, out) = (logits.shape()[1], cx.output::<i64>(0, &[uniform.len()])?);
        let rows = logits.as_slice::<f32>()?.chunks(k);
        out.iter_mut().zip(rows).for_each(|(out, row)| *out = likeliest(row) as i64);
        Ok(())
    }
}

static ENTRY: musiva_plugin::abi::Entry =
    musiva_plugin::entry!(Walk<true>: Backbone + Vjp + Cache, Walk<false>: Backbone + Vjp, Likeliest: Sampler);

fn loaded(id: &str) -> Loaded {
    // SAFETY: a constant of this process.
    let library = unsafe { Library::from_entry(&ENTRY, "in process") }.unwrap();
    Loaded { id: id.into(), version: "1.0.0".into(), sha256: "0".repeat(64), library }
}

fn backbone(id: &str) -> Box<dyn BackboneConfig> {
    let mut registry = Registry::default();
    register(&mut registry, &loaded(id)).unwrap();
    let Make::Hosted(Hosted::Backbone(make)) = &registry.get(Role::Backbone, id).unwrap().make else {
        panic!("a backbone")
    };
    make(json!({})).unwrap()
}

fn sampler(guidance: f32) -> Box<dyn Sampler> {
    let mut registry = Registry::default();
    register(&mut registry, &loaded("org.example.likeliest")).unwrap();
    let component = registry.get(Role::Sampler, "org.example.likeliest").unwrap();
    let Make::Hosted(Hosted::Sampler(make)) = &component.make else { panic!("a sampler") };
    make(json!({ "guidance": guidance })).unwrap()
}

const ENTRIES: usize = 9;
const WORDS: usize = 5;

fn canvas(levels: usize, entries: usize, bits: Option<usize>) -> CanvasShape {
    let kind = TokenKind::Codes { levels, entries, bits };
    CanvasShape::new(2, WORDS, TokenShape { grid: [3, 1, 2], kind })
}

fn request(canvas: &Arc<CanvasShape>) -> SampleRequest {
    let keys = (0..2).map(|i| RngKey::new(1).sample(i)).collect();
    SampleRequest::prompts(&[vec![1, 4], vec![3, 0]], keys, canvas)
}

/// What a sampler makes of the request, of each sample.
fn made(sampler: &dyn Sampler, backbone: &dyn Backbone, canvas: &Arc<CanvasShape>) -> Vec<Vec<u32>> {
    let mut sampling = sampler.begin(backbone, None, &request(canvas)).unwrap();
    let (done, steps) = sampling.progress();
    assert_eq!((done, steps), (0, request(canvas).layout.elements().len()));
    for step in 1..=steps {
        sampling.step(backbone).unwrap();
        assert_eq!(sampling.progress().0, step);
    }
    let codes = |values: Values| match &values.tracks[0] {
        TokenValues::Codes { codes, .. } => codes.clone(),
        TokenValues::Vectors { .. } => panic!("codes"),
    };
    sampling.tokens().unwrap().into_iter().map(codes).collect()
}

#[test]
fn they_conform() {
    for (id, config, names) in [
        ("org.example.walk", json!({}), &["causality", "step by step", "gradients", "threads"][..]),
        ("org.example.cached", json!({}), &["causality", "step by step", "gradients", "threads"]),
        ("org.example.likeliest", json!({ "guidance": 2.0 }), &["threads"]),
    ] as [(&str, Value, &[&str]); 3]
    {
        let findings = check(&loaded(id), &config);
        let holds = |name: &&str| findings.iter().any(|f| f.name == **name && matches!(f.outcome, Outcome::Holds(_)));
        // Memory is the process', and other tests run in it at the same time.
        for finding in findings.iter().filter(|finding| finding.name != "leaks") {
            assert!(!matches!(finding.outcome, Outcome::Fails(_)), "{findings:#?}");
        }
        assert!(names.iter().all(holds), "{findings:#?}");
    }
}

/// The codes that the rows of the weights say.
fn wanted(weights: &Weights, guidance: f32) -> Vec<Vec<u32>> {
    let row = |name: &str, i: u32| &weights[name].values[i as usize * ENTRIES..][..ENTRIES];
    let walk = |words: [u32; 2]| {
        let (mut last, mut all) = (ENTRIES as u32, Vec::new());
        for _ in 0..6 {
            let logit = |words: [u32; 2], k: usize| {
                words.iter().map(|&word| row("words", word)[k]).sum::<f32>() + row("codes", last)[k]
            };
            let guided = |k| logit([0; 2], k) + (logit(words, k) - logit([0; 2], k)) * guidance;
            last = likeliest(&(0..ENTRIES).map(guided).collect::<Vec<_>>()) as u32;
            all.push(last);
        }
        all
    };
    vec![walk([1, 4]), walk([3, 0])]
}

#[test]
fn codes_are_picked_one_after_the_other() {
    let canvas = Arc::new(canvas(1, ENTRIES, None));
    for id in ["org.example.walk", "org.example.cached"] {
        let config = backbone(id);
        assert_eq!(config.spec(&canvas).unwrap(), BackboneSpec::NextToken);
        let model = config.build(&canvas, &Device::flex(), &WeightInit::Seed(5)).unwrap();
        let plain = made(&*sampler(1.0), &*model, &canvas);
        assert_eq!(plain, wanted(&model.parameters().weights(), 1.0), "{id}");
        let guided = made(&*sampler(3.0), &*model, &canvas);
        assert_eq!(guided, wanted(&model.parameters().weights(), 3.0), "{id}");
        assert_ne!(plain, guided, "guidance shows nothing");
    }
}

#[test]
fn errors_of_a_session_are_errors() {
    let canvas = Arc::new(canvas(1, ENTRIES, None));
    for id in ["org.example.walk", "org.example.cached"] {
        let model = backbone(id).build(&canvas, &Device::flex(), &WeightInit::Seed(5)).unwrap();
        let session = |words: [u32; 2]| {
            let layout = Arc::new(Layout::whole(&canvas));
            model.session(Conditioning::new(&layout, &[canvas.prompt(&words)], false, &Device::flex()).unwrap())
        };
        let error = session([1, 7]).err().unwrap().to_string();
        assert!(error.contains("there is no such word"), "{error}");
        let mut session = session([1, 2]).unwrap().unwrap();
        let error = session.push(&[vec![1, 2]]).unwrap_err().to_string();
        assert!(error.contains("a code for each sample"), "{error}");
    }
}

#[test]
fn codes_of_several_codebooks_are_none_to_a_plugin() {
    let error = backbone("org.example.walk").spec(&canvas(2, ENTRIES, None)).unwrap_err();
    assert!(error.message.contains("it predicts codes of one codebook, the tokens are none"), "{}", error.message);
}

/// A built-in that predicts several digits of an element, each from those before it.
struct Digits(Arc<CanvasShape>);

struct DigitsSession {
    layout: Arc<Layout>,
    rows: usize,
    done: Vec<Vec<Vec<u32>>>,
}

/// Which entry is certain: of element `i` that digit of sample `b`, after those picked before it.
fn certain(i: usize, digit: usize, b: usize, sum: u32, base: usize) -> usize {
    (5 * i + 3 * digit + b + 2 * sum as usize) % base
}

impl Session for DigitsSession {
    fn digits(&self) -> Range<usize> {
        self.layout.elements()[self.done.len()].digits.clone()
    }

    fn logits(&self, picked: &[Vec<u32>]) -> musiva_core::Result<Tensor<2>> {
        let base = self.layout.canvas().tracks[0].digits().unwrap().base;
        let digit = self.digits().start + picked.len();
        let mut all = vec![0f32; self.rows * base];
        for (b, row) in all.chunks_mut(base).enumerate() {
            // With guidance the rows of both samples come once more.
            let sum = picked.iter().map(|picked| picked[b]).sum();
            row[certain(self.done.len(), digit, b % 2, sum, base)] = 1.0;
        }
        Ok(Tensor::from_data(TensorData::new(all, [self.rows, base]), &Device::flex()))
    }

    fn push(&mut self, picked: &[Vec<u32>]) -> musiva_core::Result<()> {
        assert!(picked.len() == self.digits().len() && picked.iter().all(|digit| digit.len() == self.rows));
        self.done.push(picked.to_vec());
        Ok(())
    }
}

impl Backbone for Digits {
    fn spec(&self) -> BackboneSpec {
        BackboneSpec::NextToken
    }

    fn canvas(&self) -> &Arc<CanvasShape> {
        &self.0
    }

    fn device(&self) -> Device {
        Device::flex()
    }

    fn forward(&self, _: &CanvasBatch) -> musiva_core::Result<Prediction> {
        unreachable!("it decodes step by step")
    }

    fn session(&self, conditioning: Conditioning) -> musiva_core::Result<Option<Box<dyn Session>>> {
        let (layout, rows) = (conditioning.layout, conditioning.size);
        Ok(Some(Box::new(DigitsSession { layout, rows, done: Vec::new() })))
    }

    fn parameters(&self) -> &dyn Parameters {
        unreachable!("it has none")
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        unreachable!("it has none")
    }

    fn frozen(&self) -> Box<dyn Backbone> {
        Box::new(Self(self.0.clone()))
    }
}

#[test]
fn digits_become_codes_whatever_their_pattern() {
    for guidance in [1.0, 2.0] {
        // Six bits as three digits of two.
        let factorised = Arc::new(canvas(1, 64, Some(6)).with_factors(3));
        let code = |i: usize, b: usize| {
            let first = certain(i, 0, b, 0, 4) as u32;
            let second = certain(i, 1, b, first, 4) as u32;
            16 * first + 4 * second + certain(i, 2, b, first + second, 4) as u32
        };
        let wanted: Vec<Vec<u32>> = (0..2).map(|b| (0..6).map(|i| code(i, b)).collect()).collect();
        assert_eq!(made(&*sampler(guidance), &Digits(factorised.clone()), &factorised), wanted);

        // Two codebooks, the second an element late: the first element has one code, and so has the last.
        let mut delayed = canvas(2, ENTRIES, None);
        delayed.tracks[0].pattern = LevelPattern::Delay;
        let delayed = Arc::new(delayed);
        let coarse = |i: usize, b: usize| certain(i, 0, b, 0, ENTRIES) as u32;
        let fine = |i: usize, b: usize| {
            let picked = if i + 1 < 6 { coarse(i + 1, b) } else { 0 };
            certain(i + 1, 1, b, picked, ENTRIES) as u32
        };
        let codes = |b: usize| (0..6).flat_map(|i| [coarse(i, b), fine(i, b)]).collect();
        let wanted: Vec<Vec<u32>> = (0..2).map(codes).collect();
        assert_eq!(made(&*sampler(guidance), &Digits(delayed.clone()), &delayed), wanted);
    }
}
