//! Plugins by other compilers and with other settings than the host's: the same numbers. What is not at hand is skipped,
//! with a line that says so.

#![allow(clippy::unwrap_used)]

mod common;
#[path = "../../examples/mixer/src/matrix.rs"]
mod matrix;
#[path = "../../examples/mixer/src/mixer.rs"]
mod mixer;

use burn::tensor::{Device, Tensor, TensorData};
use common::{Shelf, root};
use musiva_core::canvas::{CanvasBatch, Conditioning, ModelInput, NoisyVectors, Prediction};
use musiva_core::parameters::to_vec;
use musiva_core::{
    CanvasShape, Clip, Hosted, Layout, Make, Media, Rate, Registry, Role, TokenKind, TokenShape, TokenValues,
    WeightInit,
};
use musiva_plugin_host::{Library, Loaded, register};
use serde_json::json;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

/// The mixer as this test is built.
static ENTRY: musiva_plugin::abi::Entry = musiva_plugin::entry!(mixer::Mixer: Backbone + Vjp);

/// Whether a program is there, by asking for its version.
fn there(program: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|out| out.status.success());
    if !found {
        println!("skipped {program}: it is not at hand");
    }
    found
}

/// Bits of the latents, and the clip that they become again.
fn through(loaded: &Loaded) -> (Vec<u32>, Clip) {
    let mut registry = Registry::default();
    register(&mut registry, loaded).unwrap();
    let make = registry.get(Role::Tokenizer, "org.musiva.dct").unwrap().make.tokenizer().unwrap();
    let config = make(json!({ "frames": 3, "block": 4, "luma": 20, "chroma": 5 })).unwrap();
    let tokenizer = config.build(&Device::flex(), &WeightInit::Seed(0)).unwrap();
    let pixels = (0..7 * 8 * 12 * 3).map(|i| (i * i % 251) as u8).collect();
    let tokens = tokenizer.encode(&Media::Clip(Clip::new([7, 8, 12], Rate::whole(8), pixels).unwrap())).unwrap();
    let TokenValues::Vectors { values, .. } = tokens.values() else { panic!("latents") };
    let bits = values.iter().map(|value| value.to_bits()).collect();
    (bits, tokenizer.decode(&tokens).unwrap().clip("the plugin").unwrap())
}

#[test]
fn every_c_compiler_and_setting_makes_the_same_tokens() {
    let shelf = Shelf::default();
    let mut first: Option<(Vec<u32>, Clip)> = None;
    for compiler in ["cc", "gcc", "clang"].into_iter().filter(|compiler| there(compiler)) {
        for optimised in ["-O0", "-O3"] {
            let name = format!("{compiler}{optimised}");
            // Whether a product and a sum may be rounded as one is for the author to say; here: not.
            let arguments = ["-std=c99", optimised, "-ffp-contract=off"];
            shelf.compile_by(compiler, &name, "plugins/examples/dct/dct.c", &arguments);
            shelf.manifest(&name, "org.musiva.dct", "tokenizer", "0.1.0");
            let made = through(&shelf.load(&name, "org.musiva.dct").unwrap());
            assert!(*first.get_or_insert_with(|| made.clone()) == made, "{name} makes other tokens");
        }
    }
    assert!(first.is_some());
}

/// Predictions of the example's mixer, and the gradients by its parameters.
fn mixed(loaded: &Loaded) -> [Vec<f32>; 2] {
    let mut registry = Registry::default();
    register(&mut registry, loaded).unwrap();
    let Make::Hosted(Hosted::Backbone(make)) = &registry.get(Role::Backbone, "org.musiva.mixer").unwrap().make else {
        panic!("a backbone")
    };
    let config = make(json!({ "width": 13, "hidden": 17, "depth": 2 })).unwrap();
    let tokens = TokenShape { grid: [2, 3, 5], kind: TokenKind::Vectors { channels: 7 } };
    let canvas = Arc::new(CanvasShape::new(3, 5, tokens));
    let device = Device::flex().autodiff();
    let model = config.build(&canvas, &device, &WeightInit::Seed(11)).unwrap();
    let numbers = |step: usize| (0..2 * 30 * 7).map(|i| ((i * step) % 101) as f32 / 50.0 - 1.0).collect::<Vec<_>>();
    let field = |step| Tensor::<3>::from_data(TensorData::new(numbers(step), [2, 30, 7]), &device);
    let times = Tensor::from_data(TensorData::new(vec![0.3f32, 0.8], [2, 1]), &device);
    let values = field(37);
    let input = ModelInput::NoisyVectors(NoisyVectors { values, times, at: vec![0; 30], x0_prev: None });
    let prompts = [[1, 4, 0], [2, 2, 3]].map(|words| canvas.prompt(&words));
    let conditioning = Conditioning::new(&Arc::new(Layout::whole(&canvas)), &prompts, true, &device).unwrap();
    let batch = CanvasBatch { conditioning, input };
    let Prediction::Vector(y) = model.forward(&batch).unwrap() else { panic!("a field") };
    let mut found = (y.clone() * field(29)).sum().backward();
    let mut by_theta = Vec::new();
    model.parameters().gradients(&mut found, &mut |_, gradient| by_theta.extend(to_vec(gradient)));
    [to_vec(y), by_theta]
}

/// Builds the example's mixer with the checks and without the optimisation that this test is built with.
fn build(cargo: &mut Command, target: &Path) -> Result<PathBuf, String> {
    let project = root().join("plugins/examples/mixer/Cargo.toml");
    cargo.args(["build", "--offline", "--quiet", "--manifest-path"]).arg(project).env("CARGO_TARGET_DIR", target);
    for name in ["RUSTFLAGS", "RUSTC", "RUSTUP_TOOLCHAIN", "CARGO"] {
        cargo.env_remove(name);
    }
    let made = cargo.output().unwrap();
    match made.status.success() {
        true => Ok(target.join("debug/libmixer.so")),
        false => Err(String::from_utf8_lossy(&made.stderr).into_owned()),
    }
}

#[test]
fn every_rust_compiler_and_setting_makes_the_same_numbers() {
    // SAFETY: a constant of this process.
    let library = unsafe { Library::from_entry(&ENTRY, "in process") }.unwrap();
    let id = "org.musiva.mixer";
    let ours = mixed(&Loaded { id: id.into(), version: "0.1.0".into(), sha256: "0".repeat(64), library });
    assert!(ours.iter().all(|all| all.iter().any(|&value| value != 0.0)));
    let shelf = Shelf::default();
    let same = |name: &str, library: &Path| {
        std::fs::create_dir_all(shelf.folder(name)).unwrap();
        std::fs::copy(library, shelf.folder(name).join("libplugin.so")).unwrap();
        shelf.manifest(name, id, "backbone", "0.1.0");
        assert!(mixed(&shelf.load(name, id).unwrap()) == ours, "{name} makes other numbers");
        println!("{name}: the same numbers");
    };
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    same("not optimised", &build(&mut Command::new(env!("CARGO")), &folder.join("plugins")).unwrap());

    let version = |rustc: &mut Command| rustc.arg("--version").output().map(|out| out.stdout).unwrap_or_default();
    let listed = Command::new("rustup").args(["toolchain", "list"]).output().map(|out| out.stdout).unwrap_or_default();
    let mut known = vec![version(&mut Command::new("rustc"))];
    for toolchain in String::from_utf8(listed).unwrap().lines().filter_map(|line| line.split_whitespace().next()) {
        let version = version(Command::new("rustup").args(["run", toolchain, "rustc"]));
        // Two names of one compiler are one.
        if known.contains(&version) {
            continue;
        }
        known.push(version);
        match build(Command::new("rustup").args(["run", toolchain, "cargo"]), &folder.join(toolchain)) {
            Ok(library) => same(toolchain, &library),
            Err(words) => println!("skipped {toolchain}: {words}"),
        }
    }
    if known.len() < 2 {
        println!("skipped other compilers: there are none");
    }
}

/// The address sanitizer and that of undefined behaviour over a plugin, by a host in C; what they say, where they are at
/// hand.
fn sanitized(shelf: &Shelf, source: &str, arguments: &[&str], config: &str) -> Option<Result<(), String>> {
    let program = shelf.folder("driver");
    std::fs::create_dir_all(program.parent().unwrap()).unwrap();
    let sanitizers = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g", "-O1", "-Wno-unused"];
    let built = Command::new("cc")
        .args(sanitizers)
        .args(arguments)
        .arg("-I")
        .arg(root().join("plugins/include"))
        .args([root().join("tests/plugins/driver.c"), root().join(source)])
        .arg("-o")
        .arg(&program)
        .args(["-lm", "-lpthread"])
        .output()
        .unwrap();
    let words = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if !built.status.success() {
        println!("skipped the sanitizers: {}", words(&built.stderr));
        return None;
    }
    let id = if source.ends_with("dct.c") { "org.musiva.dct" } else { "org.example.malformed" };
    let ran = Command::new(&program).args([id, config, "9", "16", "24"]).output().unwrap();
    Some(if ran.status.success() { Ok(()) } else { Err(words(&ran.stderr)) })
}

#[test]
fn sanitizers_find_nothing_in_the_c_example() {
    let shelf = Shelf::default();
    let none = sanitized(&shelf, "tests/plugins/malformed.c", &[], "{}");
    let Some(none) = none else { return };
    none.unwrap();
    // They would find it.
    let leak = sanitized(&shelf, "tests/plugins/malformed.c", &["-DLEAKS"], "{}").unwrap().unwrap_err();
    assert!(leak.contains("detected memory leaks"), "{leak}");
    let beyond = "-DENCODE_FATE=if (((uint8_t *)media->data)[9 * 16 * 24 * 3]) return 3";
    let beyond = sanitized(&shelf, "tests/plugins/malformed.c", &[beyond], "{}").unwrap().unwrap_err();
    assert!(beyond.contains("heap-buffer-overflow"), "{beyond}");
    for config in [r#"{"frames":4,"block":8,"luma":32,"chroma":12}"#, r#"{"frames":2,"block":2,"luma":5,"chroma":8}"#] {
        sanitized(&shelf, "plugins/examples/dct/dct.c", &["-std=c99"], config).unwrap().unwrap();
    }
}
