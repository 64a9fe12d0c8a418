//! What all backbones make of a canvas with sound and with tokens that are given.

use crate::dit::DitConfig;
use crate::lm::LmConfig;
use crate::masked::MaskedConfig;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Content, Field, Given, Hidden, Known, Prediction, SoundShape, ints};
use musiva_core::parameters::to_vec;
use musiva_core::{Backbone, BackboneConfig, CanvasShape, Draw, Layout, Purpose, Source, TokenKind, TokenShape};
use std::sync::Arc;

/// Two steps of a clip of 2 × 3 places and the sound of its three frames, two tokens each.
fn canvas() -> CanvasShape {
    let kind = TokenKind::Codes { entries: 16, bits: Some(4) };
    let sound = TokenShape { grid: [6, 1, 1], kind: TokenKind::Levels { levels: 3, entries: 4 } };
    CanvasShape {
        sound: Some(SoundShape { tokens: sound, a_frame: 2, stride: 2 }),
        given: true,
        ..CanvasShape::new(2, 5, TokenShape { grid: [2, 2, 3], kind })
    }
}

/// The first step of the clip is given, and of the sound; one place of the clip is given and made.
fn layout() -> Arc<Layout> {
    let given = vec![0, 1, 2, 3, 4, 5, 12, 13];
    Arc::new(Layout::new(given, vec![5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17]))
}

fn codes(places: &[usize], salt: u32) -> Vec<u32> {
    let code = |&place: &usize| (place as u32 * 7 + salt) % canvas().kind(place).entries().unwrap() as u32;
    places.iter().map(code).collect()
}

fn configs() -> Vec<Box<dyn BackboneConfig>> {
    let (width, depth, heads) = (32, 2, 2);
    vec![
        Box::new(LmConfig { width, depth, heads, ..Default::default() }),
        Box::new(MaskedConfig { width, depth, heads, digits: 2, ..Default::default() }),
        Box::new(DitConfig { width, depth, heads, ..Default::default() }),
    ]
}

/// With parts that start at zero made different from it.
fn stirred(config: &dyn BackboneConfig) -> Box<dyn Backbone> {
    let mut model = config.build(&canvas(), &Device::flex(), &Source::Seed(3)).unwrap();
    let mut sample = 0;
    model.parameters_mut().update(&mut |_, _, value| {
        sample += 1;
        let count = value.dims()[0];
        let noise = Draw::new(9).sample(sample).stream(Purpose::Noise).normals(count);
        value + Tensor::from_data(TensorData::new(noise, [count]), &Device::flex()) * 0.1
    });
    model
}

fn given(known: Known) -> Given {
    Given { prompt: ints(&[1, 2], [1, 2], &Device::flex()), layout: layout(), tokens: Some(known) }
}

/// What a model says of the places to be made once these codes are given.
fn said(model: &dyn Backbone, known: &[u32]) -> Vec<f32> {
    let (device, layout, canvas) = (model.device(), layout(), canvas());
    let n = layout.made().len();
    let made = codes(layout.made(), 3);
    let values = musiva_core::canvas::Values::Codes(known.to_vec());
    let vectors = || values.vectors(&canvas, layout.given(), &device).unwrap();
    let codes = || ints(&made, [1, n], &device);
    let (known, content) = match model.spec() {
        musiva_core::BackboneSpec::NextToken => {
            (Known::Codes(values.codes(1, &device).unwrap()), Content::Codes(codes()))
        }
        musiva_core::BackboneSpec::Masked => {
            let hidden = Tensor::ones([1, n, 1], &device);
            (Known::Codes(values.codes(1, &device).unwrap()), Content::Masked(Hidden { codes: codes(), hidden }))
        }
        musiva_core::BackboneSpec::Field { channels, .. } => {
            let noise = Draw::new(1).stream(Purpose::Noise).normals(n * channels);
            let values = Tensor::from_data(TensorData::new(noise, [1, n, channels]), &device);
            let (_, at) = layout.steps(&canvas);
            let times = Tensor::from_data(TensorData::new(vec![0.9f32, 0.7], [1, 2]), &device);
            (Known::Vectors(vectors()), Content::Field(Field { values, times, at, guess: None }))
        }
    };
    match model.forward(&CanvasBatch { given: given(known), content }) {
        Prediction::Field(field) => to_vec(field),
        Prediction::Logits(all) => {
            all.into_iter().flat_map(|logits| logits.told(&codes())).flat_map(|(_, logits)| to_vec(logits)).collect()
        }
    }
}

#[test]
fn what_is_given_is_seen_everywhere() {
    let known = codes(layout().given(), 1);
    for config in configs() {
        let model = stirred(&*config);
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
    let known = codes(layout().given(), 1);
    // Seven places of the clip, four of the sound with three levels of four.
    let lengths = [7 * 16 + 4 * 3 * 4, 7 * 2 * 4 + 4 * 3 * 4, 11 * 6];
    for (config, length) in configs().iter().zip(lengths) {
        assert_eq!(said(&*stirred(&**config), &known).len(), length);
    }
}

#[test]
fn parameters_of_a_canvas_with_sound_are_counted_without_building() {
    for config in configs() {
        let model = config.build(&canvas(), &Device::flex(), &Source::Seed(3)).unwrap();
        assert_eq!(config.parameters(&canvas()), model.parameters().count());
    }
}

#[test]
fn drawing_after_what_is_given_is_predicting_all_at_once() {
    let config = LmConfig { width: 32, depth: 2, heads: 2, ..Default::default() };
    let model = stirred(&config);
    let (layout, canvas, device) = (layout(), canvas(), Device::flex());
    let (known, made) = (codes(layout.given(), 1), codes(layout.made(), 3));
    let at_once = said(&*model, &known);
    let mut session = model.session(given(Known::Codes(ints(&known, [1, 8], &device)))).unwrap();
    let (mut clip, mut sound) = (Vec::new(), vec![Vec::new(); 3]);
    for (&place, &code) in layout.made().iter().zip(&made) {
        let levels = session.heads();
        assert_eq!(levels, if canvas.modality(place) == musiva_core::Modality::Audio { 3 } else { 1 });
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
