//! What all backbones make of a canvas with sound, with tokens that are given, and with prompts of words and of vectors.

use crate::dit::DitConfig;
use crate::lm::LmConfig;
use crate::masked::MaskedConfig;
use crate::testing::stirred;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{
    CanvasBatch, Conditioning, MaskedCodes, ModelInput, NoisyVectors, Prediction, PromptKind, SoundShape, TokenBatch,
    Values, ints,
};
use musiva_core::parameters::{Weight, to_vec};
use musiva_core::{
    Backbone, BackboneConfig, CanvasShape, Layout, RngKey, RngStream, SampleRequest, TokenKind, TokenShape, WeightInit,
};
use std::sync::Arc;

/// Two steps of a clip of 2 × 3 places and the sound of its three frames, two tokens each.
fn canvas() -> CanvasShape {
    let kind = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
    let sound = TokenShape { grid: [6, 1, 1], kind: TokenKind::residual(3, 4) };
    CanvasShape {
        sound: Some(SoundShape { tokens: sound, tokens_per_frame: 2, stride: 2 }),
        has_context: true,
        ..CanvasShape::new(2, 5, TokenShape { grid: [2, 2, 3], kind })
    }
}

/// The same where prompts are vectors, as long as there are words.
fn embedded() -> CanvasShape {
    CanvasShape { text: PromptKind::Vectors(5), ..canvas() }
}

/// A prompt of this canvas: the words 1 and 2, or other vectors for another `salt`.
fn prompt(canvas: &CanvasShape, salt: u64) -> TokenBatch {
    match canvas.text {
        PromptKind::Words(_) => ints(&[1, 2], [1, 2], &Device::flex()).into(),
        PromptKind::Vectors(channels) => {
            let numbers = RngKey::new(salt).stream(RngStream::Data).normals(2 * channels);
            Tensor::<3>::from_data(TensorData::new(numbers, [1, 2, channels]), &Device::flex()).into()
        }
    }
}

/// The first step of the clip is given, and of the sound; one place of the clip is given and made.
fn layout() -> Arc<Layout> {
    let conditioning = vec![0, 1, 2, 3, 4, 5, 12, 13];
    Arc::new(Layout::new(conditioning, vec![5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17]))
}

fn codes(positions: &[usize], salt: u32) -> Vec<u32> {
    let code = |&position: &usize| (position as u32 * 7 + salt) % canvas().kind(position).entries().unwrap() as u32;
    positions.iter().map(code).collect()
}

fn configs() -> Vec<Box<dyn BackboneConfig>> {
    let (width, depth, heads) = (32, 2, 2);
    vec![
        Box::new(LmConfig { width, depth, heads, ..Default::default() }),
        Box::new(MaskedConfig { width, depth, heads, digits: 2, ..Default::default() }),
        Box::new(DitConfig { width, depth, heads, ..Default::default() }),
    ]
}

/// What a model says of the places to be made once these codes are given.
fn said(model: &dyn Backbone, known: &[u32]) -> Vec<f32> {
    said_of(model, prompt(model.canvas(), 1), known)
}

/// The same of another prompt.
fn said_of(model: &dyn Backbone, prompt: TokenBatch, known: &[u32]) -> Vec<f32> {
    let (device, layout, canvas) = (model.device(), layout(), *model.canvas());
    let n = layout.target().len();
    let target = codes(layout.target(), 3);
    let values = Values::Codes(known.to_vec());
    let vectors = || values.vectors(&canvas, layout.context(), &device).unwrap();
    let codes = || ints(&target, [1, n], &device);
    let (known, input) = match model.spec() {
        musiva_core::BackboneSpec::NextToken => {
            (TokenBatch::Codes(values.codes(1, &device).unwrap()), ModelInput::Codes(codes()))
        }
        musiva_core::BackboneSpec::Masked => {
            let hidden = Tensor::ones([1, n, 1], &device);
            (
                TokenBatch::Codes(values.codes(1, &device).unwrap()),
                ModelInput::Masked(MaskedCodes { codes: codes(), mask: hidden }),
            )
        }
        musiva_core::BackboneSpec::Diffusion { channels, .. } => {
            let noise = RngKey::new(1).stream(RngStream::Noise).normals(n * channels);
            let values = Tensor::from_data(TensorData::new(noise, [1, n, channels]), &device);
            let (_, at) = layout.steps(&canvas);
            let times = Tensor::from_data(TensorData::new(vec![0.9f32, 0.7], [1, 2]), &device);
            (
                TokenBatch::Vectors(vectors()),
                ModelInput::NoisyVectors(NoisyVectors { values, times, at, x0_prev: None }),
            )
        }
    };
    let conditioning = Conditioning { prompt, layout, tokens: Some(known) };
    match model.forward(&CanvasBatch { conditioning, input }) {
        Prediction::Vector(field) => to_vec(field),
        Prediction::Logits(all) => all
            .into_iter()
            .flat_map(|logits| logits.per_digit(&codes()))
            .flat_map(|(_, logits)| to_vec(logits))
            .collect(),
    }
}

#[test]
fn what_is_given_is_seen_everywhere() {
    let known = codes(layout().context(), 1);
    for config in configs() {
        let model = stirred(&*config, &canvas());
        let before = said(&*model, &known);
        assert!(before.iter().all(|x| x.is_finite()));
        for at in [0, 5, 7] {
            let mut other = known.clone();
            other[at] ^= 1;
            let after = said(&*model, &other);
            assert_eq!(before.len(), after.len());
            // Numbers that stand for nothing, after the end of a shorter vector, stay.
            let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            let alive = before.iter().filter(|x| **x != 0.0).count();
            assert!(changed > alive * 9 / 10, "{at}: {changed} of {alive}");
        }
    }
}

#[test]
fn each_modality_has_digits_of_its_own() {
    let known = codes(layout().context(), 1);
    // Seven places of the clip, four of the sound with three levels of four.
    let lengths = [7 * 16 + 4 * 3 * 4, 7 * 2 * 4 + 4 * 3 * 4, 11 * 6];
    for (config, length) in configs().iter().zip(lengths) {
        assert_eq!(said(&*stirred(&**config, &canvas()), &known).len(), length);
    }
}

#[test]
fn parameters_of_a_canvas_with_sound_are_counted_without_building() {
    for (config, canvas) in configs().iter().flat_map(|config| [(config, canvas()), (config, embedded())]) {
        let model = config.build(&canvas, &Device::flex(), &WeightInit::Seed(3)).unwrap();
        assert_eq!(config.parameters(&canvas), model.parameters().count());
    }
}

#[test]
fn each_vector_of_a_prompt_is_seen_everywhere() {
    let known = codes(layout().context(), 1);
    for config in configs() {
        let model = stirred(&*config, &embedded());
        let before = said(&*model, &known);
        assert_eq!(before, said(&*model, &known));
        let TokenBatch::Vectors(vectors) = prompt(&embedded(), 1) else { panic!("vectors") };
        for at in 0..2 {
            // Numbers of one of the two vectors alone.
            let mask = (0..10).map(|i| f32::from(u8::from(i / 5 == at))).collect::<Vec<_>>();
            let other = vectors.clone() + Tensor::from_data(TensorData::new(mask, [1, 2, 5]), &Device::flex());
            let after = said_of(&*model, other.into(), &known);
            let changed = before.iter().zip(&after).filter(|(a, b)| a != b).count();
            let alive = before.iter().filter(|x| **x != 0.0).count();
            assert!(changed > alive * 9 / 10, "{at}: {changed} of {alive}");
        }
    }
}

#[test]
fn guidance_compares_with_no_prompt() {
    let model = stirred(&*configs().remove(0), &embedded());
    let prompts: Vec<Values> = [1, 2].map(|salt| vec![salt as f32; 2 * 5].into()).to_vec();
    let request = SampleRequest::prompts(prompts, (0..2).map(|i| RngKey::new(3).sample(i)).collect(), &embedded());
    let conditioning = request.conditioning(&*model, 4);
    let TokenBatch::Vectors(vectors) = conditioning.prompt else { panic!("vectors") };
    assert_eq!(vectors.dims(), [4, 2, 5]);
    assert_eq!(to_vec(vectors), [[1.0; 10], [2.0; 10], [0.0; 10], [0.0; 10]].concat());
}

#[test]
fn one_hot_vectors_say_what_words_say() {
    let known = codes(layout().context(), 1);
    for config in configs() {
        let words = stirred(&*config, &canvas());
        let mut vectors = config.build(&embedded(), &Device::flex(), &WeightInit::Seed(4)).unwrap();
        let mut weights = words.parameters().weights();
        weights.insert("words.bias".into(), Weight { shape: vec![32], values: vec![0.0; 32] });
        vectors.parameters_mut().load(&weights, "the words' weights").unwrap();
        let hot = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        let hot = Tensor::<3>::from_data(TensorData::new(hot.to_vec(), [1, 2, 5]), &Device::flex());
        let (one, other) = (said(&*words, &known), said_of(&*vectors, hot.into(), &known));
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-5), "{one:?}\n{other:?}");
        let flops = |canvas| config.cost(&canvas).forward_flops;
        assert_eq!(flops(embedded()) - flops(canvas()), f64::from(2 * 2 * 5 * 32));
    }
}

#[test]
fn drawing_after_what_is_given_is_predicting_all_at_once() {
    [canvas(), embedded()].into_iter().for_each(drawing_is_predicting);
}

fn drawing_is_predicting(canvas: CanvasShape) {
    let config = LmConfig { width: 32, depth: 2, heads: 2, ..Default::default() };
    let model = stirred(&config, &canvas);
    let (layout, device) = (layout(), Device::flex());
    let (known, target) = (codes(layout.context(), 1), codes(layout.target(), 3));
    let at_once = said(&*model, &known);
    let tokens = Some(TokenBatch::Codes(ints(&known, [1, 8], &device)));
    let conditioning = Conditioning { prompt: prompt(&canvas, 1), layout: layout.clone(), tokens };
    let mut session = model.session(conditioning).unwrap();
    let (mut clip, mut sound) = (Vec::new(), vec![Vec::new(); 3]);
    for (&position, &code) in layout.target().iter().zip(&target) {
        let levels = session.heads();
        assert_eq!(levels, if canvas.modality(position) == musiva_core::Modality::Audio { 3 } else { 1 });
        let mut digits = Vec::new();
        for (level, sound) in (0..levels).zip(&mut sound) {
            let logits = to_vec(session.logits(&digits));
            if levels == 1 {
                clip.extend(logits)
            } else {
                sound.extend(logits)
            }
            digits.push(vec![if levels == 1 { code } else { code / 4u32.pow(2 - level as u32) % 4 }]);
        }
        session.push(&[code]);
    }
    let one_by_one: Vec<f32> = clip.into_iter().chain(sound.into_iter().flatten()).collect();
    assert_eq!(at_once.len(), one_by_one.len());
    let far = at_once.iter().zip(&one_by_one).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-5, "{far}");
}
