//! The examples in C and C++, by the conformance kit; the tokenizer by its own mathematics too.

#![allow(clippy::unwrap_used)]

mod common;

use common::Shelf;
use musiva_core::{
    Clip, Hosted, Make, Media, MediaShape, Modality, Rate, Registry, Role, TokenKind, TokenValues, WeightInit,
};
use musiva_core::{Tokenizer, TokenizerConfig};
use musiva_plugin_host::{Loaded, Outcome, check, register};
use serde_json::{Value, json};

const ID: &str = "org.musiva.dct";

fn load(shelf: &Shelf) -> Loaded {
    shelf.compile("dct", "plugins/examples/dct/dct.c", &["-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic"]);
    shelf.manifest("dct", ID, "tokenizer", "0.1.0");
    shelf.load("dct", ID).unwrap()
}

fn config(loaded: &Loaded, config: Value) -> Result<Box<dyn TokenizerConfig>, String> {
    let mut registry = Registry::default();
    register(&mut registry, loaded).unwrap();
    let component = registry.get(Role::Tokenizer, ID).unwrap();
    let Make::Hosted(Hosted::Tokenizer(make)) = &component.make else { panic!("a tokenizer") };
    make(config).map_err(|error| error.to_string())
}

fn build(config: &dyn TokenizerConfig) -> Box<dyn Tokenizer> {
    config.build(&burn::tensor::Device::flex(), &WeightInit::Seed(0)).unwrap()
}

fn clip(shape: [usize; 3]) -> Clip {
    let [t, h, w] = shape;
    let value = |i: usize| ((i / 3 % w * 3 + i / 3 / w % h * 5 + i / 3 / w / h * 11 + i % 3 * 60) % 251) as u8;
    Clip::new(shape, Rate::whole(8), (0..t * h * w * 3).map(value).collect()).unwrap()
}

#[test]
fn it_conforms() {
    let shelf = Shelf::default();
    let loaded = load(&shelf);
    for config in [json!({}), json!({ "frames": 3, "block": 4, "luma": 7, "chroma": 2 })] {
        let findings = check(&loaded, &config);
        let holds = |name: &str| findings.iter().any(|f| f.name == name && matches!(f.outcome, Outcome::Holds(_)));
        assert!(findings.iter().all(|finding| !matches!(finding.outcome, Outcome::Fails(_))), "{findings:#?}");
        assert!(
            ["encode", "decode", "causality", "streaming", "threads", "leaks"].into_iter().all(holds),
            "{findings:#?}"
        );
    }
}

/// In a process of its own it conforms too, and makes the same bits.
#[cfg(target_os = "linux")]
#[test]
fn isolated_it_is_the_same() {
    let shelf = Shelf::default();
    let loaded = load(&shelf);
    let isolated = shelf.isolate("dct", ID, std::time::Duration::from_secs(60)).unwrap();
    let settings = json!({ "frames": 3, "block": 4, "luma": 20, "chroma": 5 });
    let findings = check(&isolated, &settings);
    assert!(findings.iter().all(|finding| !matches!(finding.outcome, Outcome::Fails(_))), "{findings:#?}");
    let media = Media::Clip(clip([7, 8, 12]));
    let [ours, theirs] = [&loaded, &isolated].map(|loaded| {
        let tokenizer = build(&*config(loaded, settings.clone()).unwrap());
        let tokens = tokenizer.encode(&media).unwrap();
        let TokenValues::Vectors { values, .. } = tokens.values() else { panic!("latents") };
        let bits: Vec<u32> = values.iter().map(|value| value.to_bits()).collect();
        (bits, tokenizer.decode(&tokens).unwrap().clip("the plugin").unwrap())
    });
    assert_eq!(ours, theirs);
}

#[test]
fn a_conditioner_in_cpp_conforms() {
    let shelf = Shelf::default();
    let strict = ["-std=c++17", "-Wall", "-Wextra", "-Werror", "-pedantic"];
    shelf.compile("bag", "plugins/examples/bag/bag.cpp", &strict);
    shelf.manifest("bag", "org.musiva.bag", "conditioner", "0.1.0");
    let loaded = shelf.load("bag", "org.musiva.bag").unwrap();
    for config in [json!({}), json!({ "length": 3, "channels": 7 })] {
        let findings = check(&loaded, &config);
        assert!(findings.iter().all(|finding| !matches!(finding.outcome, Outcome::Fails(_))), "{findings:#?}");
        assert!(findings.iter().any(|finding| finding.name == "batch"));
    }
    let schema = loaded.library.schema("org.musiva.bag").unwrap();
    assert_eq!(schema["properties"]["channels"]["default"], 64);
}

/// The example, changed so.
fn bag(shelf: &Shelf, change: [&str; 2]) -> Loaded {
    let text = std::fs::read_to_string(common::root().join("plugins/examples/bag/bag.cpp")).unwrap();
    assert!(text.contains(change[0]));
    let source = shelf.folder("bag").join("bag.cpp");
    std::fs::create_dir_all(shelf.folder("bag")).unwrap();
    std::fs::write(&source, text.replace(change[0], change[1])).unwrap();
    shelf.compile("bag", &source.display().to_string(), &["-std=c++17"]);
    shelf.manifest("bag", "org.musiva.bag", "conditioner", "0.1.0");
    shelf.load("bag", "org.musiva.bag").unwrap()
}

/// As a recipe's text tokenizer.
fn as_tokenizer(loaded: &Loaded, config: Value) -> Result<Box<dyn TokenizerConfig>, String> {
    let mut registry = Registry::default();
    register(&mut registry, loaded).unwrap();
    let component = registry.get(Role::Tokenizer, "org.musiva.bag").unwrap();
    component.make.tokenizer().unwrap()(config).map_err(|error| error.to_string())
}

#[test]
fn a_conditioner_is_a_text_tokenizer_of_vectors() {
    let shelf = Shelf::default();
    // Where nothing stands for something, this one leaves a number behind.
    let loaded = bag(&shelf, ["int64_t place = 0;", "int64_t place = 0; vector[length * channels - 1] = 3;"]);
    let config = as_tokenizer(&loaded, json!({ "length": 3, "channels": 5 })).unwrap();
    let kind = TokenKind::Vectors { channels: 5 };
    assert_eq!((config.spec().modality, config.spec().kind, config.parameters()), (Modality::Text, kind, 0));
    assert_eq!(config.shape(&MediaShape::Text).unwrap().grid, [1, 1, 3]);
    assert!(config.trains().unwrap_err().message.contains("cannot be trained"));
    let tokenizer = build(&*config);
    let texts = ["a ring", "", "ring", "a b c d e"].map(|text| Media::Text(text.to_owned()));
    let all = tokenizer.encode_all(&texts).unwrap();
    let each: Vec<_> = texts.iter().map(|text| tokenizer.encode(text).unwrap()).collect();
    assert_eq!(all, each);
    let vector = |text: usize, place: usize| &all[text].as_vectors().unwrap()[place * 5..(place + 1) * 5];
    assert_eq!(vector(0, 1), vector(2, 0), "the same word");
    assert!(vector(0, 0) != vector(0, 1) && vector(3, 2).iter().all(|x| *x != 0.0));
    // No word is zeros, and an empty text is no prompt.
    for (text, from) in [(0, 2), (1, 0), (2, 1)] {
        assert!((from..3).all(|place| vector(text, place) == [0.0; 5]), "{text}");
    }
    assert!(tokenizer.decode(&all[0]).unwrap_err().to_string().contains("do not become text"));
    assert!(tokenizer.encode(&Media::Clip(clip([1, 8, 8]))).is_err());
}

#[test]
fn what_a_conditioner_gives_is_looked_at() {
    let numbers = "draw(word, vector + place * channels, channels);";
    let length = "\"{\\\"length\\\": \" + std::to_string(bag(self).length)";
    for (change, says) in [
        ([numbers, "vector[place * channels] = 0.0f / 0.0f;"], "encode: an embedding is not a finite number"),
        (["bit[place++] = 1;", "bit[place++] = 2;"], "encode: its mask holds something else than 0 and 1"),
        (["(count), length, channels}", "(count), length, channels - 1}"], "expected f32 [1, 12, 64]"),
        ([length, "\"{\\\"length\\\": \" + std::to_string(0)"], "describe: 0 vectors of 64 numbers"),
    ] {
        let shelf = Shelf::default();
        let loaded = bag(&shelf, change);
        let text = Media::Text("a ring".to_owned());
        let made = as_tokenizer(&loaded, json!({}));
        let error = made.and_then(|config| build(&*config).encode(&text).map_err(|error| error.to_string()));
        let error = error.unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn all_frequencies_of_a_box_bring_the_clip_back() {
    let shelf = Shelf::default();
    let loaded = load(&shelf);
    let config = config(&loaded, json!({ "frames": 3, "block": 4, "luma": 48, "chroma": 48 })).unwrap();
    let spec = config.spec();
    assert_eq!(
        (spec.modality, spec.kind, spec.strides),
        (Modality::Video, TokenKind::Vectors { channels: 144 }, [3, 4, 4])
    );
    let (tokenizer, clip) = (build(&*config), clip([7, 8, 12]));
    let tokens = tokenizer.encode(&Media::Clip(clip.clone())).unwrap();
    assert_eq!(tokens.grid(), [3, 2, 3]);
    let Media::Clip(back) = tokenizer.decode(&tokens).unwrap() else { panic!("a clip") };
    let worst = clip.pixels().iter().zip(back.pixels()).map(|(a, b)| a.abs_diff(*b)).max().unwrap();
    assert!(worst <= 1, "off by {worst}");
}

/// Of a grey clip each box is its brightness alone: the first coefficient, by the definition of the transform.
#[test]
fn the_first_coefficient_is_the_mean() {
    let shelf = Shelf::default();
    let loaded = load(&shelf);
    let config = config(&loaded, json!({ "frames": 2, "block": 2, "luma": 3, "chroma": 1 })).unwrap();
    let grey = Clip::new([3, 2, 2], Rate::whole(8), vec![191; 36]).unwrap();
    let tokens = build(&*config).encode(&Media::Clip(grey)).unwrap();
    let TokenValues::Vectors { values, channels: 5 } = tokens.values() else { panic!("latents") };
    let mean = 3f32.sqrt() * (191.0 / 127.5 - 1.0);
    for token in values.chunks(5) {
        let wanted = [mean, 0.0, 0.0, 0.0, 0.0];
        assert!(token.iter().zip(wanted).all(|(a, b)| (a - b).abs() < 1e-6), "{token:?}");
    }
}

#[test]
fn what_does_not_fit_is_told_before_anything_runs() {
    let shelf = Shelf::default();
    let loaded = load(&shelf);
    let error = config(&loaded, json!({ "frames": 1, "block": 2, "luma": 9 })).err().unwrap();
    assert!(error.contains("a box of 4 pixels has no 9 frequencies"), "{error}");
    let config = config(&loaded, json!({})).unwrap();
    let rate = Rate::whole(8);
    let shape = |frames, height| config.shape(&MediaShape::Clip { frames, height, width: 64, rate });
    assert_eq!(shape(17, 64).unwrap().grid, [5, 8, 8]);
    assert!(shape(18, 64).unwrap_err().message.contains("1 + n * 4 of them, e.g. 17"));
    assert!(shape(17, 60).unwrap_err().message.contains("no multiple of the block, 8"));
    assert!(config.shape(&MediaShape::Text).is_err() && config.trains().is_err());
}
