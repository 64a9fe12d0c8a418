//! The two backbones at the batch of their recipes' training, and decoding with cached keys and values.

use super::Result;
use super::harness::{Case, Group, export_learned, insert, noise, stir};
use burn::tensor::activation::log_softmax;
use burn::tensor::{Device, Gradients, Int, Tensor};
use musiva_core::canvas::{CanvasBatch, Content, Field, Prediction, ints};
use musiva_core::parameters::to_vec;
use musiva_core::recipe::Recipe;
use musiva_core::{Backbone, CanvasShape, Draw, Purpose, Source, Weights};
use std::hint::black_box;
use std::rc::Rc;

/// Canvases that decoding goes through at once: with the prompt and without, for guidance.
const GUIDED: usize = 2;

pub fn dit(recipe: Recipe) -> Result<Group> {
    let backbone: Rc<dyn Backbone> = build(&recipe)?.into();
    let (canvas, batch) = (recipe.need_canvas()?, recipe.need_train()?.batch);
    let channels = canvas.tokens.kind.channels().ok_or("a dit reads vectors")?;
    let shape = [batch, canvas.tokens.length(), channels];
    let (device, flex) = (backbone.device(), Device::flex());
    let target = noise(5, shape, &device);

    let (frozen, still) = (backbone.frozen(), noisy(&canvas, shape, &flex));
    let (trained, moving, wanted) = (backbone.clone(), noisy(&canvas, shape, &device), target.clone());
    let cases = vec![
        Case::new("dit forward", move || {
            black_box(field(&*frozen, &still));
        }),
        Case::new("dit forward+backward", move || {
            black_box(dit_step(&*trained, &moving, &wanted));
        }),
    ];
    let export = Box::new(move || {
        let batch = noisy(&canvas, shape, &device);
        let mut exports = Weights::new();
        let Content::Field(noisy) = &batch.content else { unreachable!("made so above") };
        insert(&mut exports, "inputs.values", noisy.values.clone());
        insert(&mut exports, "inputs.times", noisy.times.clone());
        insert(&mut exports, "inputs.guess", noisy.guess.clone().ok_or("made so above")?);
        insert(&mut exports, "inputs.prompt", batch.prompt.clone().float());
        insert(&mut exports, "inputs.target", target.clone());
        insert(&mut exports, "outputs.field", field(&*backbone, &batch));
        let (loss, gradients) = dit_step(&*backbone, &batch, &target);
        insert(&mut exports, "outputs.loss", loss);
        export_learned(&mut exports, backbone.parameters(), gradients);
        Ok(exports)
    });
    Ok(Group { name: "dit", cases, export })
}

fn dit_step(backbone: &dyn Backbone, batch: &CanvasBatch, target: &Tensor<3>) -> (Tensor<1>, Gradients) {
    let loss = (field(backbone, batch) - target.clone()).square().mean();
    let gradients = loss.backward();
    (loss, gradients)
}

fn field(backbone: &dyn Backbone, batch: &CanvasBatch) -> Tensor<3> {
    let Prediction::Field(field) = backbone.forward(batch) else { panic!("a dit predicts a field") };
    field
}

fn noisy(canvas: &CanvasShape, shape: [usize; 3], device: &Device) -> CanvasBatch {
    let content = Content::Field(Field {
        values: noise(2, shape, device),
        times: noise(3, [shape[0], 1], device).abs() / 4.0,
        at: vec![0; shape[1]],
        guess: Some(noise(4, shape, device)),
    });
    CanvasBatch { prompt: random_ints(1, [shape[0], canvas.prompt], canvas.words, device), content }
}

pub fn lm(recipe: Recipe) -> Result<Group> {
    let backbone: Rc<dyn Backbone> = build(&recipe)?.into();
    let (canvas, size) = (recipe.need_canvas()?, recipe.need_train()?.batch);
    let tokens = canvas.tokens.length();
    let device = backbone.device();

    let (trained, moving) = (backbone.clone(), coded(&canvas, size, &device));
    let frozen = backbone.frozen();
    let cases = vec![
        Case::new("lm forward+backward", move || {
            black_box(lm_step(&*trained, &moving));
        }),
        Case::new("lm decode, a token", move || {
            black_box(decode(&*frozen));
        })
        .per(tokens),
    ];
    let export = Box::new(move || {
        let batch = coded(&canvas, size, &device);
        let mut exports = Weights::new();
        let Content::Codes(codes) = &batch.content else { unreachable!("made so above") };
        insert(&mut exports, "inputs.prompt", batch.prompt.clone().float());
        insert(&mut exports, "inputs.codes", codes.clone().float());
        let (loss, gradients) = lm_step(&*backbone, &batch);
        insert(&mut exports, "outputs.loss", loss);
        let decoded = decode(&*backbone.frozen()).concat();
        let entries = decoded.len() / tokens / GUIDED;
        let decoded = Tensor::<1>::from_data(decoded.as_slice(), &Device::flex());
        insert(&mut exports, "outputs.decoded", decoded.reshape([tokens, GUIDED, entries]));
        export_learned(&mut exports, backbone.parameters(), gradients);
        Ok(exports)
    });
    Ok(Group { name: "lm", cases, export })
}

/// The mean cross-entropy of the next token.
fn lm_step(backbone: &dyn Backbone, batch: &CanvasBatch) -> (Tensor<1>, Gradients) {
    let Prediction::Logits(logits) = backbone.forward(batch) else { panic!("an lm predicts logits") };
    let Content::Codes(codes) = &batch.content else { panic!("an lm reads codes") };
    let likely = log_softmax(logits[0].clone(), 2).gather(2, codes.clone().unsqueeze_dim(2));
    let loss = -likely.mean();
    let gradients = loss.backward();
    (loss, gradients)
}

/// The logits at each of the tokens, of which the codes are given.
fn decode(backbone: &dyn Backbone) -> Vec<Vec<f32>> {
    let canvas = backbone.canvas();
    let batch = coded(canvas, GUIDED, &Device::flex());
    let mut session = backbone.session(batch.prompt).expect("an lm decodes");
    let codes = random_codes(canvas, GUIDED);
    let length = canvas.tokens.length();
    (0..length)
        .map(|i| {
            let logits = to_vec(session.logits(&[]));
            session.push(&[codes[i], codes[length + i]]);
            logits
        })
        .collect()
}

fn coded(canvas: &CanvasShape, size: usize, device: &Device) -> CanvasBatch {
    let codes = random_codes(canvas, size);
    CanvasBatch {
        prompt: random_ints(1, [size, canvas.prompt], canvas.words, device),
        content: Content::Codes(ints(&codes, [size, canvas.tokens.length()], device)),
    }
}

/// Codes that a small batch shares with the first rows of a large one.
fn random_codes(canvas: &CanvasShape, size: usize) -> Vec<u32> {
    let bits = canvas.tokens.kind.channels().unwrap_or(1);
    draw(2, size * canvas.tokens.length(), 1 << bits)
}

fn random_ints<const D: usize>(seed: u64, shape: [usize; D], below: usize, device: &Device) -> Tensor<D, Int> {
    ints(&draw(seed, shape.iter().product(), below), shape, device)
}

fn draw(seed: u64, count: usize, below: usize) -> Vec<u32> {
    let mut stream = Draw::new(seed).stream(Purpose::Data);
    (0..count).map(|_| stream.below(below) as u32).collect()
}

fn build(recipe: &Recipe) -> Result<Box<dyn Backbone>> {
    let device = Device::flex().autodiff();
    let config = &recipe.need_backbone()?.component;
    let mut backbone = config.build(&recipe.need_canvas()?, &device, &Source::Seed(1))?;
    stir(backbone.parameters_mut());
    Ok(backbone)
}
