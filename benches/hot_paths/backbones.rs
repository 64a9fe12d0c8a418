//! The two backbones at the batch of their recipes' training, and decoding with cached keys and values.

use super::Result;
use super::harness::{Case, Export, Group, Work, export_learned, insert, noise, stir};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Gradients, Tensor};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, NoisyVectors, Prediction, TokenBatch, ints};
use musiva_core::parameters::{Weight, to_vec};
use musiva_core::recipe::Recipe;
use musiva_core::{
    Backbone, CanvasShape, Layout, RngKey, RngStream, SampleRequest, TokenKind, TokenShape, WeightInit, Weights,
};
use std::hint::black_box;
use std::rc::Rc;
use std::sync::Arc;

/// Canvases that decoding goes through at once: with the prompt and without, for guidance.
const GUIDED: usize = 2;

/// A backbone's cases, named after `name`.
pub fn dit(name: &'static str, recipe: Recipe) -> Result<Group> {
    let backbone: Rc<dyn Backbone> = build(&recipe)?.into();
    let (canvas, batch) = (recipe.need_canvas()?, recipe.need_train()?.batch);
    let channels = canvas.channels().ok_or("a dit reads vectors")?;
    let shape = [batch, clip(&canvas).length(), channels];
    let (device, flex) = (backbone.device(), Device::flex());
    let forward = batch as f64 * recipe.need_backbone()?.component.cost(&canvas).forward_flops;
    let work = work(name);
    let target = noise(5, shape, &device);

    let (frozen, still) = (backbone.frozen(), noisy(&canvas, shape, &flex));
    let (trained, moving, wanted) = (backbone.clone(), noisy(&canvas, shape, &device), target.clone());
    let cases = vec![
        Case::new(format!("{name} forward"), move || {
            black_box(field(&*frozen, &still));
        })
        .work(work(forward)),
        Case::new(format!("{name} forward+backward"), move || {
            black_box(dit_step(&*trained, &moving, &wanted));
        })
        .work(work(3.0 * forward)),
    ];
    let export: Export = Box::new(move || {
        let batch = noisy(&canvas, shape, &device);
        let mut exports = Weights::new();
        let ModelInput::NoisyVectors(noisy) = &batch.input else { unreachable!("made so above") };
        insert(&mut exports, "inputs.values", noisy.values.clone());
        insert(&mut exports, "inputs.times", noisy.times.clone());
        insert(&mut exports, "inputs.guess", noisy.x0_prev.clone().ok_or("made so above")?);
        insert(&mut exports, "inputs.prompt", words(&batch.conditioning));
        insert(&mut exports, "inputs.target", target.clone());
        insert(&mut exports, "outputs.field", field(&*backbone, &batch));
        let (loss, gradients) = dit_step(&*backbone, &batch, &target);
        insert(&mut exports, "outputs.loss", loss);
        export_learned(&mut exports, backbone.parameters(), gradients);
        Ok(exports)
    });
    Ok(Group { name, cases, export: Some(export) })
}

fn dit_step(backbone: &dyn Backbone, batch: &CanvasBatch, target: &Tensor<3>) -> (Tensor<1>, Gradients) {
    let loss = (field(backbone, batch) - target.clone()).square().mean();
    let gradients = loss.backward();
    (loss, gradients)
}

fn field(backbone: &dyn Backbone, batch: &CanvasBatch) -> Tensor<3> {
    let Ok(Prediction::Vector(field)) = backbone.forward(batch) else { panic!("a dit predicts a field") };
    field
}

pub fn noisy(canvas: &Arc<CanvasShape>, shape: [usize; 3], device: &Device) -> CanvasBatch {
    let input = ModelInput::NoisyVectors(NoisyVectors {
        values: noise(2, shape, device),
        times: noise(3, [shape[0], 1], device).abs() / 4.0,
        at: vec![0; shape[1]],
        x0_prev: Some(noise(4, shape, device)),
    });
    CanvasBatch { conditioning: conditioning(canvas, shape[0], device), input }
}

/// As [`dit`].
pub fn lm(name: &'static str, recipe: Recipe) -> Result<Group> {
    let backbone: Rc<dyn Backbone> = build(&recipe)?.into();
    let (canvas, size) = (recipe.need_canvas()?, recipe.need_train()?.batch);
    let tokens = clip(&canvas).length();
    let device = backbone.device();
    let forward = size as f64 * recipe.need_backbone()?.component.cost(&canvas).forward_flops;

    let (trained, moving) = (backbone.clone(), coded(&canvas, size, &device));
    let frozen = backbone.frozen();
    let cases = vec![
        Case::new(format!("{name} forward+backward"), move || {
            black_box(lm_step(&*trained, &moving));
        })
        .work(work(name)(3.0 * forward)),
        Case::new(format!("{name} decode, a token"), move || {
            black_box(decode(&*frozen, GUIDED));
        })
        .per(tokens),
    ];
    let export: Export = Box::new(move || {
        let batch = coded(&canvas, size, &device);
        let mut exports = Weights::new();
        let ModelInput::Codes(codes) = &batch.input else { unreachable!("made so above") };
        insert(&mut exports, "inputs.prompt", words(&batch.conditioning));
        insert(&mut exports, "inputs.codes", codes.clone().float().reshape([size, tokens]));
        let (loss, gradients) = lm_step(&*backbone, &batch);
        insert(&mut exports, "outputs.loss", loss);
        let decoded = decode(&*backbone.frozen(), GUIDED).concat();
        let entries = decoded.len() / tokens / GUIDED;
        let decoded = Tensor::<1>::from_data(decoded.as_slice(), &Device::flex());
        insert(&mut exports, "outputs.decoded", decoded.reshape([tokens, GUIDED, entries]));
        export_learned(&mut exports, backbone.parameters(), gradients);
        Ok(exports)
    });
    Ok(Group { name, cases, export: Some(export) })
}

/// The tokens of the clip.
fn clip(canvas: &CanvasShape) -> TokenShape {
    canvas.track("video").expect("these recipes are of clips").tokens
}

/// How many words a prompt has, and how many there are to choose from.
fn text(canvas: &CanvasShape) -> [usize; 2] {
    let text = canvas.track("text").expect("these recipes are of prompts").tokens;
    let TokenKind::Codes { entries, .. } = text.kind else { panic!("these recipes' prompts are words") };
    [text.length(), entries]
}

/// Random prompts, and nothing else that is given.
fn conditioning(canvas: &Arc<CanvasShape>, size: usize, device: &Device) -> Conditioning {
    let [length, words] = text(canvas);
    let values: Vec<_> = draw(1, size * length, words).chunks(length).map(|words| canvas.prompt(words)).collect();
    Conditioning::new(&Arc::new(Layout::whole(canvas)), &values, false, device).expect("prompts of this canvas")
}

/// Prompts as numbers, `[B, P]`.
fn words(conditioning: &Conditioning) -> Tensor<2> {
    let Some(TokenBatch::Codes(words)) = conditioning.context.first().map(|context| &context.tokens) else {
        panic!("these recipes' prompts are words")
    };
    let [size, length, _] = words.dims();
    words.clone().float().reshape([size, length])
}

/// What operations of a case are counted as.
fn work(name: &str) -> fn(f64) -> Work {
    if name.ends_with("bf16") { Work::Bf16 } else { Work::F32 }
}

/// A clip by the recipe's sampler, from noise to tokens.
pub fn sampling(name: &'static str, recipe: Recipe) -> Result<Group> {
    let backbone = build(&recipe)?.frozen();
    let canvas = recipe.need_canvas()?;
    let sampler = recipe.need_sampler()?.component.clone();
    let process = recipe.need_objective()?.component.process();
    let [words, vocabulary] = text(&canvas);
    let prompt = draw(1, words, vocabulary);
    let request = SampleRequest::prompts(std::slice::from_ref(&prompt), vec![RngKey::new(1).sample(0)], &canvas);
    let forwards = sampler.forwards(&canvas) * recipe.need_backbone()?.component.cost(&canvas).forward_flops;
    let noise = request.keys[0].stream(RngStream::Noise);
    let (channels, length) = (canvas.channels().ok_or("a dit makes vectors")?, clip(&canvas).length());
    let backbone: Rc<dyn Backbone> = backbone.into();
    let same = backbone.clone();
    let run = move || -> musiva_core::Result<Vec<u32>> {
        let mut sampling = sampler.begin(&*same, process.as_ref(), &request)?;
        while sampling.progress().0 < sampling.progress().1 {
            sampling.step(&*same)?;
        }
        Ok(request.tokens(&sampling.tokens()?)?[0].get("video").expect("a clip").as_codes()?.to_vec())
    };
    let codes = run()?;
    let case = Case::new(format!("{name}, a clip"), move || {
        black_box(run().expect("it did before"));
    });
    let export: Export = Box::new(move || {
        let mut exports = Weights::new();
        let numbers = |values: &[u32]| values.iter().map(|&value| value as f32).collect::<Vec<_>>();
        exports.insert("inputs.prompt".into(), Weight { shape: vec![1, words], values: numbers(&prompt) });
        let shape = vec![1, length, channels];
        let values = noise.clone().normals(length * channels);
        exports.insert("inputs.noise".into(), Weight { shape, values });
        exports.insert("outputs.codes".into(), Weight { shape: vec![codes.len()], values: numbers(&codes) });
        insert_weights(&mut exports, &*backbone);
        Ok(exports)
    });
    Ok(Group { name, cases: vec![case.work(Work::F32(forwards))], export: Some(export) })
}

/// Puts the weights alone among the exports.
fn insert_weights(exports: &mut Weights, backbone: &dyn Backbone) {
    backbone.parameters().each(&mut |name, shape, value| {
        exports.insert(format!("weights.{name}"), Weight { shape: shape.to_vec(), values: to_vec(value) });
    });
}

/// The mean cross-entropy of the next token.
fn lm_step(backbone: &dyn Backbone, batch: &CanvasBatch) -> (Tensor<1>, Gradients) {
    let Ok(Prediction::Logits(logits)) = backbone.forward(batch) else { panic!("an lm predicts logits") };
    let ModelInput::Codes(codes) = &batch.input else { panic!("an lm reads codes") };
    let likely = log_softmax(logits[0].heads[0].logits.clone(), 2).gather(2, codes.clone());
    let loss = -likely.mean();
    let gradients = loss.backward();
    (loss, gradients)
}

/// Decoding alone, of one canvas and of two at once, by recipes that differ in what they keep their weights in.
pub fn decoding(name: &'static str, recipes: Vec<(&'static str, Recipe)>) -> Result<Group> {
    let (mut cases, mut first) = (Vec::new(), None);
    for (stored, recipe) in recipes {
        let backbone: Rc<dyn Backbone> = build(&recipe)?.frozen().into();
        let (tokens, each) = (clip(backbone.canvas()).length(), bytes(&*backbone, stored));
        for rows in [1, GUIDED] {
            let backbone = backbone.clone();
            let run = move || {
                black_box(decode(&*backbone, rows));
            };
            let case = Case::new(format!("{name} decode, {stored}, {rows} rows, a token"), run);
            cases.push(case.per(tokens).work(Work::Bytes(each)));
        }
        first.get_or_insert(backbone);
    }
    let backbone = first.ok_or("a recipe at least")?;
    let export: Export = Box::new(move || {
        let mut exports = Weights::new();
        let canvas = backbone.canvas();
        let batch = coded(canvas, GUIDED, &Device::flex());
        let ModelInput::Codes(codes) = batch.input else { unreachable!("made so above") };
        insert(&mut exports, "inputs.prompt", words(&batch.conditioning));
        let tokens = clip(canvas).length();
        insert(&mut exports, "inputs.codes", codes.float().reshape([GUIDED, tokens]));
        let decoded = decode(&*backbone, GUIDED).concat();
        let entries = decoded.len() / tokens / GUIDED;
        let decoded = Tensor::<1>::from_data(decoded.as_slice(), &Device::flex());
        insert(&mut exports, "outputs.decoded", decoded.reshape([tokens, GUIDED, entries]));
        insert_weights(&mut exports, &*backbone);
        Ok(exports)
    });
    Ok(Group { name, cases, export: Some(export) })
}

/// Bytes of the matrices that each token wants to be read.
fn bytes(backbone: &dyn Backbone, stored: &str) -> f64 {
    let mut numbers = 0;
    backbone.parameters().each(&mut |name, shape, _| {
        let read = name.starts_with("blocks") || name.contains(".heads.");
        numbers += if read && shape.len() == 2 { shape.iter().product::<usize>() } else { 0 };
    });
    let each = match stored {
        "f32" => 4,
        "bf16" => 2,
        _ => 1,
    };
    (each * numbers) as f64
}

/// The logits at each of the tokens, of which the codes are given.
fn decode(backbone: &dyn Backbone, rows: usize) -> Vec<Vec<f32>> {
    let canvas = backbone.canvas();
    let batch = coded(canvas, rows, &Device::flex());
    let mut session = backbone.session(batch.conditioning).ok().flatten().expect("an lm decodes");
    let codes = random_codes(canvas, rows);
    let length = clip(canvas).length();
    (0..length)
        .map(|i| {
            let logits = to_vec(session.logits(&[]).expect("logits of its own canvas"));
            let picked = (0..rows).map(|row| codes[row * length + i]).collect();
            session.push(&[picked]).expect("a code of its own canvas");
            logits
        })
        .collect()
}

pub fn coded(canvas: &Arc<CanvasShape>, size: usize, device: &Device) -> CanvasBatch {
    let codes = random_codes(canvas, size);
    CanvasBatch {
        conditioning: conditioning(canvas, size, device),
        input: ModelInput::Codes(ints(&codes, [size, clip(canvas).length(), 1], device)),
    }
}

/// Codes that a small batch shares with the first rows of a large one.
fn random_codes(canvas: &CanvasShape, size: usize) -> Vec<u32> {
    let bits = clip(canvas).kind.channels().unwrap_or(1);
    draw(2, size * clip(canvas).length(), 1 << bits)
}

fn draw(seed: u64, count: usize, below: usize) -> Vec<u32> {
    let mut stream = RngKey::new(seed).stream(RngStream::Data);
    (0..count).map(|_| stream.below(below) as u32).collect()
}

fn build(recipe: &Recipe) -> Result<Box<dyn Backbone>> {
    let device = Device::flex().autodiff();
    let config = &recipe.need_backbone()?.component;
    let mut backbone = config.build(&recipe.need_canvas()?, &device, &WeightInit::Seed(1))?;
    stir(backbone.parameters_mut());
    Ok(backbone)
}
