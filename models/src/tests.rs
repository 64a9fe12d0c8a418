//! What all backbones make of a canvas with sound, with tokens that are given, and with prompts of words and of vectors.

use crate::dit::DitConfig;
use crate::lm::LmConfig;
use crate::masked::MaskedConfig;
use crate::testing::{fitted, salted, stirred};
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::canvas::{
    Axes, CanvasBatch, ConditionShape, Conditioning, LevelPattern, MaskedCodes, ModelInput, NoisyVectors, PerDigit,
    Prediction, Route, TokenBatch, TrackShape, Values, ints,
};
use musiva_core::parameters::{Weight, to_vec};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Layout, RngKey, RngStream, SampleRequest, TokenKind,
    TokenShape, TokenValues, WeightInit,
};
use std::collections::HashMap;
use std::sync::Arc;

/// The tracks of [`canvas`].
const AUDIO: usize = 1;
const TEXT: usize = 2;

/// Two steps of a clip of 2 × 3 tokens and the sound of its three frames, two tokens each.
fn canvas() -> CanvasShape {
    let kind = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
    let sound = TokenShape { grid: [6, 1, 1], kind: TokenKind::residual(3, 4) };
    CanvasShape::new(2, 5, TokenShape { grid: [2, 2, 3], kind }).with_sound(sound, 2, 2).with_context()
}

/// The same where prompts are vectors, as long as there are words.
fn embedded() -> CanvasShape {
    let mut canvas = canvas();
    canvas.tracks[TEXT].tokens.kind = TokenKind::Vectors { channels: 5 };
    canvas
}

/// A prompt of this canvas: the words 1 and 2, or other vectors for another `salt`.
fn prompt(canvas: &CanvasShape, salt: u64) -> TokenValues {
    match canvas.tracks[TEXT].tokens.kind {
        TokenKind::Codes { levels, entries, .. } => TokenValues::Codes { levels, entries, codes: vec![1, 2] },
        TokenKind::Vectors { channels } => {
            let values = RngKey::new(salt).stream(RngStream::Data).normals(2 * channels);
            TokenValues::Vectors { channels, values }
        }
    }
}

/// The first step of the clip is given, and of the sound; one position of the clip is given and generated.
fn layout(canvas: &CanvasShape) -> Arc<Layout> {
    let context = vec![0, 1, 2, 3, 4, 5, 12, 13];
    let target = vec![5, 6, 7, 8, 9, 10, 11, 14, 15, 16, 17];
    Arc::new(Layout::with_prompt(&Arc::new(canvas.clone()), context, target))
}

/// What is given of the clip and its sound, and the numbers 1, 2, ….
fn known(canvas: &CanvasShape) -> Values {
    let numbers = (1..=canvas.conditions.len()).map(|number| Some(number as f64)).collect();
    Values { numbers, ..salted(canvas, 1).at(layout(canvas).context(), canvas) }
}

/// The code of a track that stands at `i`.
fn code(values: &mut Values, track: usize, i: usize) -> &mut u32 {
    let TokenValues::Codes { codes, .. } = &mut values.tracks[track] else { panic!("codes") };
    &mut codes[i]
}

fn configs() -> Vec<Box<dyn BackboneConfig>> {
    let (width, depth, heads) = (32, 2, 2);
    vec![
        Box::new(LmConfig { width, depth, heads, ..Default::default() }),
        Box::new(MaskedConfig { width, depth, heads, digits: 2, ..Default::default() }),
        Box::new(DitConfig { width, depth, heads, ..Default::default() }),
    ]
}

/// What a model says of the elements to be generated once these codes are given.
fn said(model: &dyn Backbone, known: &Values) -> Vec<f32> {
    said_of(model, prompt(model.canvas(), 1), known)
}

/// The same of another prompt.
fn said_of(model: &dyn Backbone, prompt: TokenValues, known: &Values) -> Vec<f32> {
    let (device, canvas) = (model.device(), model.canvas());
    let layout = layout(canvas);
    let n = layout.elements().len();
    let target = salted(canvas, 3).at(layout.target(), canvas);
    let digits = ints(&layout.digits(&target).unwrap(), [1, n, canvas.most_digits()], &device);
    let input = match model.spec() {
        BackboneSpec::NextToken => ModelInput::Codes(digits.clone()),
        BackboneSpec::Masked => {
            let mask = Tensor::ones([1, n, 1], &device);
            ModelInput::Masked(MaskedCodes { codes: digits.clone(), mask })
        }
        BackboneSpec::Diffusion { channels, .. } => {
            let noise = RngKey::new(1).stream(RngStream::Noise).normals(n * channels);
            let values = Tensor::from_data(TensorData::new(noise, [1, n, channels]), &device);
            let (_, at) = layout.steps();
            let times = Tensor::from_data(TensorData::new(vec![0.9f32, 0.7], [1, 2]), &device);
            ModelInput::NoisyVectors(NoisyVectors { values, times, at, x0_prev: None })
        }
    };
    let mut context = known.clone();
    context.tracks[TEXT] = prompt;
    let vectors = matches!(model.spec(), BackboneSpec::Diffusion { .. });
    let conditioning = Conditioning::new(&layout, &[context], vectors, &device).unwrap();
    match model.forward(&CanvasBatch { conditioning, input }).unwrap() {
        Prediction::Vector(field) => to_vec(field),
        Prediction::Logits(all) => {
            let each = all.into_iter().flat_map(|logits| logits.per_digit(&digits));
            each.flat_map(|PerDigit { logits, .. }| to_vec(logits)).collect()
        }
    }
}

#[track_caller]
fn assert_most_changed(before: &[f32], after: &[f32]) {
    assert_eq!(before.len(), after.len());
    // Numbers that stand for nothing, after the end of a shorter vector, stay.
    let changed = before.iter().zip(after).filter(|(a, b)| a != b).count();
    let alive = before.iter().filter(|x| **x != 0.0).count();
    assert!(changed > alive * 9 / 10, "{changed} of {alive}");
}

/// What a recipe may set otherwise without making other weights of it: how exact the products are, above all.
#[test]
fn what_leaves_the_meaning_of_weights_alone_is_a_key_of_the_configuration() {
    let lm = serde_json::to_value(LmConfig::default()).unwrap();
    let masked = serde_json::to_value(MaskedConfig::default()).unwrap();
    let dit = serde_json::to_value(DitConfig { channels: Some(5), ..Default::default() }).unwrap();
    for (config, keys) in configs().iter().zip([lm, masked, dit]) {
        let neutral = config.neutral();
        assert!(neutral.contains(&"precision") && neutral.iter().all(|key| keys.get(key).is_some()), "{neutral:?}");
        assert!(!["width", "depth", "heads"].iter().any(|key| neutral.contains(key)), "{neutral:?}");
    }
}

#[test]
fn what_is_given_is_seen_everywhere() {
    for config in configs() {
        let model = stirred(&*config, &canvas());
        let known = known(model.canvas());
        let before = said(&*model, &known);
        assert!(before.iter().all(|x| x.is_finite()));
        // The first and the last token of the clip; a code of each codebook of the last of the sound.
        for (track, i) in [(0, 0), (0, 5), (AUDIO, 3), (AUDIO, 4), (AUDIO, 5)] {
            let mut other = known.clone();
            *code(&mut other, track, i) ^= 1;
            assert_most_changed(&before, &said(&*model, &other));
        }
    }
}

#[test]
fn each_modality_has_digits_of_its_own() {
    // Seven tokens of the clip, four of the sound with three levels of four.
    let lengths = [7 * 16 + 4 * 3 * 4, 7 * 2 * 4 + 4 * 3 * 4, 11 * 6];
    for (config, length) in configs().iter().zip(lengths) {
        let model = stirred(&**config, &canvas());
        assert_eq!(said(&*model, &known(model.canvas())).len(), length);
    }
}

/// The same with a second clip of other sizes, such as its depth.
fn with_depth() -> CanvasShape {
    let kind = TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) };
    let depth = TrackShape::video("depth", TokenShape { grid: [2, 1, 2], kind });
    let mut canvas = canvas();
    canvas.tracks.insert(TEXT, TrackShape { axes: Axes::Grid { scale: [2.0, 1.5] }, context: true, ..depth });
    canvas
}

/// The same with a number for each route that a backbone has.
fn with_numbers(config: &dyn BackboneConfig) -> CanvasShape {
    let condition = |(i, &route)| {
        let name = format!("number{i}");
        ConditionShape { from: name.clone(), name, route, range: [0.0, 10.0], dropout: 0.1 }
    };
    CanvasShape { conditions: config.routes().iter().enumerate().map(condition).collect(), ..canvas() }
}

#[test]
fn each_number_is_seen_everywhere_and_so_is_none() {
    for config in configs() {
        let model = stirred(&*config, &with_numbers(&*config));
        let known = known(model.canvas());
        let before = said(&*model, &known);
        assert!(known.numbers.len() >= 2);
        for i in 0..known.numbers.len() {
            for number in [Some(7.5), None] {
                let mut other = known.clone();
                other.numbers[i] = number;
                assert_most_changed(&before, &said(&*model, &other));
            }
        }
    }
}

/// As many parameters start at zero, and nothing is what it was: a model goes on as it was before it had numbers.
#[test]
fn numbers_change_nothing_before_they_are_learned_from() {
    let mut seen = 0;
    for config in configs() {
        let plain = stirred(&*config, &canvas());
        let mut numbers = with_numbers(&*config);
        // A token that is all zeros still takes part in attention.
        numbers.conditions.retain(|condition| condition.route != Route::Token);
        let mut model = config.build(&fitted(&*config, &numbers), &Device::flex(), &WeightInit::Seed(3)).unwrap();
        let mut weights = model.parameters().weights();
        weights.extend(plain.parameters().weights());
        model.parameters_mut().load(&weights, "both").unwrap();
        assert_eq!(said(&*plain, &known(plain.canvas())), said(&*model, &known(model.canvas())));
        seen += numbers.conditions.len();
    }
    assert_eq!(seen, 1 + 1 + 2);
}

#[test]
fn parameters_of_a_canvas_with_sound_are_counted_without_building() {
    for (config, canvas) in configs()
        .iter()
        .flat_map(|config| [canvas(), embedded(), with_depth(), with_numbers(&**config)].map(|c| (config, c)))
    {
        let canvas = fitted(&**config, &canvas);
        let model = config.build(&canvas, &Device::flex(), &WeightInit::Seed(3)).unwrap();
        assert_eq!(config.parameters(&canvas), model.parameters().count());
    }
    // A text that is generated has logits of its own.
    let mut canvas = canvas();
    canvas.tracks[TEXT].target = true;
    for config in &configs()[..2] {
        let canvas = fitted(&**config, &canvas);
        let model = config.build(&canvas, &Device::flex(), &WeightInit::Seed(3)).unwrap();
        assert_eq!(config.parameters(&canvas), model.parameters().count());
    }
}

/// Weights files of before are read: tracks are known by their names.
#[test]
fn parameters_are_called_by_their_tracks() {
    let blocks = |name: &String| !name.starts_with("blocks.");
    for (config, own) in configs().iter().zip(["start", "mask", ""]) {
        let model = stirred(&**config, &canvas());
        let mut found: Vec<String> = model.parameters().weights().into_keys().filter(blocks).collect();
        let digits = model.canvas().tracks[0].digits().unwrap().count;
        let of = |track: &str, digits: usize| {
            let names = (0..digits).flat_map(move |i| [format!("digits.{i}"), format!("heads.{i}")]);
            let names = names.chain((1..digits).map(|i| format!("seen.{}", i - 1)));
            names.map(|name| format!("codes.{track}.{name}.weight")).collect::<Vec<_>>()
        };
        let linear = |name: &str| [format!("{name}.weight"), format!("{name}.bias")];
        let mut wanted: Vec<String> =
            ["prompt", "t", "h", "w", "sound", "given"].map(|name| format!("places.{name}")).into();
        wanted.push("words.weight".into());
        match own {
            "" => {
                let linears = ["time1", "time2", "pooled", "last_modulation"].into_iter();
                let ends = ["clip.input", "clip.output", "sound.input", "sound.output"];
                wanted.extend(linears.chain(ends).flat_map(linear));
            }
            own => {
                wanted.extend([own.to_owned(), "norm.weight".into()]);
                wanted.extend([of("clip", digits), of("sound", 3)].concat());
            }
        }
        found.sort();
        wanted.sort();
        assert_eq!(found, wanted);
    }
}

#[test]
fn each_vector_of_a_prompt_is_seen_everywhere() {
    for config in configs() {
        let model = stirred(&*config, &embedded());
        let known = known(model.canvas());
        let before = said(&*model, &known);
        assert_eq!(before, said(&*model, &known));
        for at in 0..2 {
            // Numbers of one of the two vectors alone.
            let TokenValues::Vectors { channels, mut values } = prompt(model.canvas(), 1) else { panic!("vectors") };
            values[5 * at..5 * (at + 1)].iter_mut().for_each(|x| *x += 1.0);
            assert_most_changed(&before, &said_of(&*model, TokenValues::Vectors { channels, values }, &known));
        }
    }
}

#[test]
fn guidance_compares_with_no_prompt() {
    for config in configs() {
        let model = stirred(&*config, &embedded());
        let (canvas, device) = (model.canvas().clone(), model.device());
        // Prompts of ones and of twos, before what is given.
        let context = |salt: usize| {
            let mut context = known(&canvas);
            context.tracks[TEXT] = TokenValues::Vectors { channels: 5, values: vec![salt as f32; 2 * 5] };
            context
        };
        let keys = (0..2).map(|i| RngKey::new(3).sample(i)).collect();
        let context = vec![context(1), context(2)];
        let request = SampleRequest { layout: layout(&canvas), context: context.clone(), keys, start: None };
        let conditioning = request.conditioning(&*model, 4).unwrap();
        let Some(TokenBatch::Vectors(vectors)) = conditioning.of_track(TEXT) else { panic!("vectors") };
        assert_eq!(vectors.dims(), [4, 2, 5]);
        assert_eq!(to_vec(vectors.clone()), [[1.0; 10], [2.0; 10], [0.0; 10], [0.0; 10]].concat());
        // All else is given with the prompt and without.
        let twice = [context.clone(), context].concat();
        let is_field = matches!(model.spec(), BackboneSpec::Diffusion { .. });
        let twice = Conditioning::new(&request.layout, &twice, is_field, &device).unwrap();
        let numbers = |tokens: &TokenBatch| match tokens {
            TokenBatch::Codes(codes) => to_vec(codes.clone().float()),
            TokenBatch::Vectors(vectors) => to_vec(vectors.clone()),
        };
        for track in 0..TEXT {
            let [found, wanted] = [&conditioning, &twice].map(|c| numbers(c.of_track(track).unwrap()));
            assert_eq!(found, wanted);
        }
        assert_eq!(request.conditioning(&*model, 2).unwrap().size, 2);
    }
}

#[test]
fn one_hot_vectors_say_what_words_say() {
    for config in configs() {
        let words = stirred(&*config, &canvas());
        let known = known(words.canvas());
        let embedded = fitted(&*config, &embedded());
        let mut vectors = config.build(&embedded, &Device::flex(), &WeightInit::Seed(4)).unwrap();
        let mut weights = words.parameters().weights();
        weights.insert("words.bias".into(), Weight { shape: vec![32], values: vec![0.0; 32] });
        vectors.parameters_mut().load(&weights, "the words' weights").unwrap();
        let hot = vec![0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0];
        let hot = TokenValues::Vectors { channels: 5, values: hot };
        let (one, other) = (said(&*words, &known), said_of(&*vectors, hot, &known));
        assert!(one.iter().zip(&other).all(|(a, b)| (a - b).abs() < 1e-5), "{one:?}\n{other:?}");
        let flops = |canvas: &CanvasShape| config.cost(canvas).forward_flops;
        assert_eq!(flops(&embedded) - flops(words.canvas()), f64::from(2 * 2 * 5 * 32));
    }
}

#[test]
fn drawing_after_what_is_given_is_predicting_all_at_once() {
    [canvas(), embedded(), with_numbers(&LmConfig::default())].iter().for_each(drawing_is_predicting);
    for pattern in [LevelPattern::Delay, LevelPattern::Flat] {
        let mut canvas = canvas();
        canvas.tracks[AUDIO].pattern = pattern;
        drawing_is_predicting(&canvas);
    }
}

fn drawing_is_predicting(canvas: &CanvasShape) {
    let config = LmConfig { width: 32, depth: 2, heads: 2, ..Default::default() };
    let model = stirred(&config, canvas);
    let (canvas, layout, known) = (model.canvas(), layout(canvas), known(canvas));
    let at_once = said(&*model, &known);
    let mut context = known;
    context.tracks[TEXT] = prompt(canvas, 1);
    let conditioning = Conditioning::new(&layout, &[context], false, &model.device()).unwrap();
    let digits = layout.digits(&salted(canvas, 3).at(layout.target(), canvas)).unwrap();
    let mut session = model.session(conditioning).unwrap().unwrap();
    // Of each digit of each track.
    let mut drawn: HashMap<(usize, usize), Vec<f32>> = HashMap::new();
    for (element, row) in layout.elements().iter().zip(digits.chunks(canvas.most_digits())) {
        assert_eq!(session.digits(), element.digits);
        let mut picked = Vec::new();
        for digit in element.digits.clone() {
            let logits = to_vec(session.logits(&picked).unwrap());
            drawn.entry((element.track, digit)).or_default().extend(logits);
            picked.push(vec![row[digit]]);
        }
        session.push(&picked).unwrap();
    }
    let mut one_by_one: Vec<_> = drawn.into_iter().collect();
    one_by_one.sort_by_key(|(key, _)| *key);
    let one_by_one: Vec<f32> = one_by_one.into_iter().flat_map(|(_, logits)| logits).collect();
    assert_eq!(at_once.len(), one_by_one.len());
    let far = at_once.iter().zip(&one_by_one).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(far < 1e-5, "{far}");
}
