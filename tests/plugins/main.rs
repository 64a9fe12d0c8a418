//! Plugins through the command: from `plugin new` to a video.

#![allow(clippy::unwrap_used)]

mod conditioner;
#[path = "../lab/mod.rs"]
mod lab;
mod twin;

use lab::{Lab, Outcome};
use musiva_core::recipe::{Recipe, RecipeFile};
use musiva_core::{Component, Hosted, Make, Registry, Role};
use musiva_plugin_host::{Consent, Loader, Prober};
use musiva_train::backbone::{BackboneParts, BackboneTraining};
use musiva_train::health::FailureMode;
use musiva_train::sources::{dataset_of, held_out_of};
use musiva_train::token_set::TokenSet;
use musiva_train::trainer::{Callbacks, Ended, Run, Samples};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const DCT: &str = "org.musiva.dct";
const MIXER: &str = "org.musiva.mixer";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The command with this lab's plugins and trust.
fn run(lab: &Lab, arguments: &[&str]) -> Outcome {
    let (config, plugins) = (lab.path("config"), lab.path("plugins"));
    Outcome::of(lab.command(arguments).env("MUSIVA_CONFIG", config).env("MUSIVA_PLUGIN_PATH", plugins))
}

fn build(command: &mut Command) {
    let made = command.output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
}

/// The example in C, in the lab's plugins; its hash.
fn dct(lab: &Lab) -> String {
    let (folder, source) = (lab.path("plugins/dct"), root().join("plugins/examples/dct"));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(source.join("plugin.toml"), folder.join("plugin.toml")).unwrap();
    let include = format!("-I{}", root().join("plugins/include").display());
    let arguments = ["-std=c99", "-O2", "-fPIC", "-shared", &include];
    build(
        Command::new("cc").args(arguments).arg(source.join("dct.c")).arg("-o").arg(folder.join("libdct.so")).arg("-lm"),
    );
    hash(lab, "plugins/dct")
}

fn hash(lab: &Lab, folder: &str) -> String {
    run(lab, &["plugin", "hash", folder]).succeeds().out.lines().next().unwrap().to_owned()
}

/// Builds a project in Rust, with the checks and without the optimisation that the host is built with.
fn cargo(project: &Path, library: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("plugins");
    let arguments = ["build", "--offline", "--quiet", "--manifest-path"];
    build(
        Command::new(env!("CARGO"))
            .args(arguments)
            .arg(project.join("Cargo.toml"))
            .env("CARGO_TARGET_DIR", &target)
            .env_remove("RUSTFLAGS"),
    );
    target.join("debug").join(format!("lib{library}.so"))
}

/// An example in Rust, in the lab's plugins; its hash.
fn example(lab: &Lab, name: &str) -> String {
    let (folder, source) = (lab.path(&format!("plugins/{name}")), root().join("plugins/examples").join(name));
    fs::create_dir_all(&folder).unwrap();
    fs::copy(source.join("plugin.toml"), folder.join("plugin.toml")).unwrap();
    fs::copy(cargo(&source, name), folder.join(format!("lib{name}.so"))).unwrap();
    hash(lab, &format!("plugins/{name}"))
}

fn mixer(lab: &Lab) -> String {
    example(lab, "mixer")
}

fn pin(id: &str, sha256: &str) -> String {
    let platform = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    format!("[[plugin]]\nid = \"{id}\"\nversion = \"0.1\"\nsha256 = {{ {platform} = \"{sha256}\" }}\n")
}

const TOKENIZER: &str = "[tokenizer.video]\nkind = \"org.musiva.dct\"\nframes = 2\nblock = 8\nluma = 6\nchroma = 2\n";
const BACKBONE: &str =
    "[backbone]\nkind = \"org.musiva.mixer\"\nwidth = 8\nhidden = 8\ndepth = 1\nweights = \"mixer.safetensors\"\n";

#[test]
fn a_tokenizer_in_c_from_its_source_to_a_video() {
    let lab = Lab::trained();
    let sha256 = dct(&lab);
    assert!(run(&lab, &["plugin", "list"]).succeeds().out.contains("not trusted"));
    assert!(run(&lab, &["plugin", "inspect", DCT]).succeeds().out.contains(&sha256));
    let recipe = format!("schema = 1\nextends = \"dit.toml\"\nname = \"boxes\"\n{}{TOKENIZER}", pin(DCT, &sha256));
    fs::write(lab.path("boxes.toml"), &recipe).unwrap();
    let prompt = ["--prompt", "a red ring moves left"];

    // A recipe can ask; only the user can say yes.
    run(&lab, &["check", "boxes.toml"]).fails(10, &["it is not trusted yet", "musiva plugin trust"]);
    run(&lab, &["plugin", "check", DCT]).fails(10, &["it is not trusted yet"]);
    // What is to be trained may be missing.
    let missing = ["check", "boxes.toml", "--allow-plugin", DCT, "--set", "backbone.weights=none.safetensors"];
    assert!(run(&lab, &missing).succeeds().out.contains("note: `backbone.weights`: there is no file"));
    run(&lab, &["plugin", "trust", "plugins/dct"]).succeeds();
    assert!(run(&lab, &["plugin", "list"]).succeeds().out.contains("  trusted"));

    run(&lab, &["train", "boxes.toml"]).succeeds();
    let weights = "backbone.weights=runs/boxes/weights.safetensors";
    let checked = run(&lab, &["check", "boxes.toml", "--set", weights]).succeeds().out;
    assert!(checked.contains("vectors of 10 channels"), "{checked}");
    let made = run(&lab, &["generate", "boxes.toml", prompt[0], prompt[1], "--set", weights, "-o", "out.mp4"]);
    made.succeeds();
    #[cfg(target_os = "linux")]
    {
        run(&lab, &["check", "boxes.toml", "--isolate", "--set", weights]).succeeds();
        run(&lab, &["plugin", "check", DCT, "--isolate=60"]).succeeds();
        let isolated = ["--isolate", "--set", weights, "-o", "apart.mp4"];
        run(&lab, &[&["generate", "boxes.toml", prompt[0], prompt[1]], &isolated[..]].concat()).succeeds();
        assert_eq!(lab.bytes("apart.mp4"), lab.bytes("out.mp4"));
    }
    let said = run(&lab, &["inspect", "out.mp4"]).succeeds().out;
    assert!(said.contains("musiva.plugin.org.musiva.dct") && said.contains(&sha256), "{said}");
    run(&lab, &["evaluate", "boxes.toml", "--set", weights, "--prompts", "2"]).succeeds();

    // Other bytes are not what the recipe asks for, whatever the user trusts.
    let other = format!("plugin.0.sha256.{}-{}={}", std::env::consts::ARCH, std::env::consts::OS, "ab".repeat(32));
    run(&lab, &["check", "boxes.toml", "--set", &other]).fails(10, &["the recipe requires abab"]);
    run(&lab, &["plugin", "trust", "--remove", &sha256]).succeeds();
    run(&lab, &["check", "boxes.toml"]).fails(10, &["not trusted"]);
}

#[test]
fn what_a_recipe_says_of_plugins_is_checked_like_the_rest() {
    let lab = Lab::bare();
    let sha256 = dct(&lab);
    let trust = ["--allow-plugin", DCT];
    let check = |name: &str, text: String, code: i32, says: &[&str]| {
        fs::write(lab.path(name), text).unwrap();
        run(&lab, &["check", name, trust[0], trust[1]]).fails(code, says);
    };
    let begin = "schema = 1\nextends = \"world.toml\"\n";
    let pinned = pin(DCT, &sha256);
    check(
        "a.toml",
        format!("{begin}[[plugin]]\nid = \"{DCT}\"\nversion = \"0.1\"\n{TOKENIZER}"),
        3,
        &["sha256", "missing"],
    );
    check("b.toml", format!("{begin}{TOKENIZER}"), 3, &["is not a kind of `tokenizer.video`", "add `[[plugin]]`"]);
    check("c.toml", format!("{begin}{pinned}{TOKENIZER}lumas = 3\n"), 3, &["lumas", "there is no such key"]);
    check("d.toml", format!("{begin}{pinned}{TOKENIZER}").replace("luma = 6", "luma = 600"), 3, &["luma", "600"]);
    check(
        "e.toml",
        format!("{begin}{pinned}{TOKENIZER}").replace("block = 8", "block = 5"),
        3,
        &["no multiple of the block, 5"],
    );
    check(
        "f.toml",
        format!("{begin}{pinned}{TOKENIZER}").replace("luma = 6", "luma = 250"),
        3,
        &["has no 250 frequencies"],
    );
    check(
        "g.toml",
        format!("{begin}{pinned}{TOKENIZER}[train]\ntarget = \"tokenizer.video\"\n"),
        3,
        &["used as it is and cannot be trained"],
    );
    check(
        "h.toml",
        format!("{begin}{}{TOKENIZER}", pin("org.example.gone", &sha256)),
        10,
        &["there is no such plugin"],
    );
}

#[test]
fn a_backbone_in_rust_trains_resumes_and_generates() {
    let lab = Lab::trained();
    let sha256 = mixer(&lab);
    let recipe = format!("schema = 1\nextends = \"dit.toml\"\nname = \"mixer\"\n{}{BACKBONE}", pin(MIXER, &sha256));
    fs::write(lab.path("mixer.toml"), recipe).unwrap();
    let allow = ["--allow-plugin", MIXER];
    run(&lab, &["plugin", "check", MIXER, allow[0], allow[1], "--config", r#"{"width": 8, "hidden": 8, "depth": 1}"#])
        .succeeds();
    let train = |more: &[&str]| run(&lab, &[&["train", "mixer.toml", allow[0], allow[1]], more].concat());
    train(&["--run", "whole", "--steps", "10", "--set", "train.checkpoint_every=5"]).succeeds();

    // From the checkpoint of step 5 on, the same weights to the bit.
    fs::create_dir_all(lab.path("half")).unwrap();
    build(Command::new("cp").arg("-r").arg(lab.path("whole/.")).arg(lab.path("half")));
    fs::remove_file(lab.path("half/weights.safetensors")).unwrap();
    let mut checkpoints: Vec<_> =
        fs::read_dir(lab.path("half/checkpoints")).unwrap().map(|e| e.unwrap().path()).collect();
    checkpoints.sort();
    assert!(checkpoints.len() >= 2, "{checkpoints:?}");
    fs::remove_file(checkpoints.last().unwrap()).unwrap();
    train(&["--resume", "half", "--steps", "10", "--set", "train.checkpoint_every=5"]).succeeds();
    assert_eq!(lab.values("half/weights.safetensors"), lab.values("whole/weights.safetensors"));

    // In a process of its own, too.
    #[cfg(target_os = "linux")]
    {
        train(&["--run", "apart", "--steps", "10", "--isolate"]).succeeds();
        assert_eq!(lab.values("apart/weights.safetensors"), lab.values("whole/weights.safetensors"));
    }

    fs::copy(lab.path("whole/weights.safetensors"), lab.path("mixer.safetensors")).unwrap();
    let generate = ["generate", "mixer.toml", allow[0], allow[1], "--prompt", "a red ring moves left", "-o", "out.gif"];
    run(&lab, &generate).succeeds();
    let weights = run(&lab, &["inspect", "mixer.safetensors"]).succeeds().out;
    assert!(weights.contains("blocks.0.tokens") && weights.contains("musiva.plugin.org.musiva.mixer"), "{weights}");
}

#[test]
fn a_metric_measures_what_evaluate_makes() {
    let lab = Lab::trained();
    let id = "org.musiva.moves";
    let sha256 = example(&lab, "moves");
    run(&lab, &["plugin", "trust", "plugins/moves"]).succeeds();
    run(&lab, &["plugin", "check", id]).succeeds();
    let write = |name: &str, keys: &str| {
        let pinned = pin(id, &sha256);
        let recipe = format!("schema = 1\nextends = \"dit.toml\"\n{pinned}[[metric]]\nkind = \"{id}\"\n{keys}");
        fs::write(lab.path(name), recipe).unwrap();
    };
    write("moves.toml", "threshold = 9\n[[metric]]\nkind = \"org.musiva.moves\"\n");
    let evaluate = ["evaluate", "moves.toml", "--prompts", "3"];
    let said = run(&lab, &[&evaluate[..], &["--json"]].concat()).succeeds().out;
    let json: serde_json::Value = serde_json::from_str(&said).unwrap();
    let metrics = json["metrics"].as_array().unwrap();
    let samples: Vec<_> = metrics.iter().map(|one| one["samples"].as_str().unwrap()).collect();
    let sets = ["reconstructed", "generated, all combinations", "generated, combinations never trained on"];
    assert_eq!(samples, sets.map(|set| [set; 2]).concat());
    let number = |index: usize, name: &str| metrics[index]["values"][name].as_f64().unwrap();
    assert!(metrics.iter().all(|one| one["kind"] == id));
    // What should move does not depend on what was made, and the lower threshold sees more of it.
    assert!(number(0, "moving_reference") == number(2, "moving_reference"));
    assert!(number(0, "moving_reference") > number(1, "moving_reference") && number(1, "moving_reference") > 0.0);
    assert!(run(&lab, &evaluate).succeeds().out.contains("moving_reference"));
    // Other ways of spending the bits are measured, too.
    let beside = run(&lab, &[&evaluate[..], &["--json", "--baselines"]].concat()).succeeds().out;
    let beside: serde_json::Value = serde_json::from_str(&beside).unwrap();
    let fewer = beside["metrics"].as_array().unwrap().iter().find(|one| one["samples"] == "fewer pixels, bicubic");
    assert_eq!(fewer.unwrap()["values"]["moving_reference"], metrics[0]["values"]["moving_reference"]);
    #[cfg(target_os = "linux")]
    assert_eq!(run(&lab, &[&evaluate[..], &["--json", "--isolate"]].concat()).succeeds().out, said);

    write("key.toml", "thresholds = 9\n");
    run(&lab, &["check", "key.toml"]).fails(3, &["metric.0.thresholds", "there is no such key", "write `threshold`"]);
    write("range.toml", "threshold = 999\n");
    run(&lab, &["check", "range.toml"]).fails(3, &["metric.0.threshold", "999"]);
    fs::write(lab.path("none.toml"), "schema = 1\nextends = \"dit.toml\"\n[[metric]]\nkind = \"org.a\"\n").unwrap();
    run(&lab, &["check", "none.toml"]).fails(3, &["metric.0.kind", "add `[[plugin]]`"]);
}

#[test]
fn a_tokenizer_trains_on_files_that_a_plugin_reads() {
    let lab = Lab::trained();
    let id = "org.musiva.y4m";
    let sha256 = example(&lab, "y4m");
    fs::create_dir(lab.path("clips")).unwrap();
    for name in 0..3u8 {
        let mut bytes = b"YUV4MPEG2 W16 H16 F8:1 C420\n".to_vec();
        for frame in 0..40u8 {
            bytes.extend_from_slice(b"FRAME\n");
            bytes.extend((0..=255u8).map(|i| 60 + i / 2 + frame));
            bytes.extend([100 + 20 * name; 128]);
        }
        fs::write(lab.path(&format!("clips/{name}.y4m")), bytes).unwrap();
        fs::write(lab.path(&format!("clips/{name}.txt")), format!("file {name}")).unwrap();
    }
    let data = format!("{}[data]\nkind = \"{id}\"\npath = \"clips\"\nframes = 5\n", pin(id, &sha256));
    fs::write(lab.path("files.toml"), format!("schema = 1\nextends = \"video.toml\"\nname = \"files\"\n{data}"))
        .unwrap();
    let allow = ["--allow-plugin", id];
    let checked = run(&lab, &[&["check", "files.toml"], &allow[..]].concat()).succeeds().out;
    assert!(checked.contains("5") && checked.contains("16"), "{checked}");
    run(&lab, &[&["train", "files.toml"], &allow[..]].concat()).succeeds();
    run(&lab, &[&["evaluate", "files.toml", "--prompts", "3"], &allow[..]].concat()).succeeds();
    let gone = ["--set", "data.path=gone"];
    run(&lab, &[&["check", "files.toml"], &allow[..], &gone].concat()).fails(3, &["gone", "No such file"]);
}

/// A plugin that segfaults in the middle of a run: the run ends with its name, and goes on from its checkpoint.
#[cfg(target_os = "linux")]
#[test]
fn isolated_a_crash_in_training_leaves_the_checkpoint() {
    let (lab, id) = (Lab::trained(), "org.example.fragile");
    run(&lab, &["plugin", "new", id, "--kind", "backbone", "--into", "plugins/fragile"]).succeeds();
    let source = lab.path("plugins/fragile/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap();
    let forward = "fn forward(&self, cx: &mut Context, input: &BackboneInput) -> Result<()> {";
    let fragile = "static LEFT: std::sync::OnceLock<std::sync::atomic::AtomicI64> = std::sync::OnceLock::new();
        let lives = || std::env::var(\"LIVES\").map_or(1 << 40, |n| n.parse().unwrap());
        let left = LEFT.get_or_init(|| std::sync::atomic::AtomicI64::new(lives()));
        if left.fetch_sub(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            unsafe { std::ptr::without_provenance_mut::<u8>(16).write_volatile(1) };
        }";
    assert!(text.contains(forward));
    fs::write(&source, text.replace(forward, &format!("{forward}\n{fragile}"))).unwrap();
    fs::copy(cargo(&lab.path("plugins/fragile"), "fragile"), lab.path("plugins/fragile/libfragile.so")).unwrap();
    let pinned = pin(id, &hash(&lab, "plugins/fragile"));
    let settings = "[objective]\nself_condition = 0.0\n[train]\nsteps = 8\nsample_every = 0\ncheckpoint_every = 3\n";
    let recipe = format!(
        "schema = 1\nextends = \"dit.toml\"\nname = \"fragile\"\n{pinned}[backbone]\nkind = \"{id}\"\n{settings}"
    );
    fs::write(lab.path("fragile.toml"), recipe).unwrap();
    run(&lab, &["plugin", "trust", "plugins/fragile"]).succeeds();
    run(&lab, &["train", "fragile.toml", "--isolate", "--run", "whole"]).succeeds();

    let (config, plugins) = (lab.path("config"), lab.path("plugins"));
    let mut command = lab.command(&["train", "fragile.toml", "--isolate", "--run", "broken"]);
    command.env("MUSIVA_CONFIG", config).env("MUSIVA_PLUGIN_PATH", plugins).env("LIVES", "5");
    let error = "org.example.fragile: forward: it crashes: signal 11 (segmentation fault)";
    Outcome::of(&mut command).fails(10, &[error]);
    assert!(!lab.path("broken/weights.safetensors").exists());
    run(&lab, &["train", "fragile.toml", "--isolate", "--resume", "broken"]).succeeds();
    assert_eq!(lab.values("broken/weights.safetensors"), lab.values("whole/weights.safetensors"));
}

/// The losses of a run, and nothing else.
#[derive(Default)]
struct Losses(Vec<f64>);

impl Callbacks for Losses {
    fn step(&mut self, _: u64, _: u64, measures: Option<&[(String, f64)]>) {
        let loss = measures.into_iter().flatten().find(|(name, _)| name == "loss");
        self.0.extend(loss.map(|(_, value)| *value));
    }

    fn failing(&mut self, _: u64, _: FailureMode) {}

    fn samples(&mut self, _: u64, _: &Samples) -> musiva_core::Result<()> {
        Ok(())
    }

    fn saved(&mut self, _: u64, _: &Path) {}

    fn stop(&self) -> bool {
        false
    }
}

/// All built-in components, the plugin's mixer from its library, and its twin as another built-in.
fn with_twin(lab: &Lab, sha256: &str) -> Registry {
    let mut registry = Registry::default();
    musiva_data::register(&mut registry).unwrap();
    musiva_tokenizers::register(&mut registry).unwrap();
    musiva_models::register(&mut registry).unwrap();
    let loader = Loader {
        search: vec![lab.path("plugins")],
        store: lab.path("store"),
        consent: Consent { trusted: [sha256.to_owned()].into(), ..Consent::default() },
        prober: Prober {
            command: [env!("CARGO_BIN_EXE_musiva"), "plugin", "probe"].map(Into::into).into(),
            limit: Duration::from_secs(20),
        },
        isolation: None,
    };
    let file = RecipeFile::open(&lab.path("org.musiva.mixer.toml"), &[]).unwrap();
    let [pin] = &file.plugins().unwrap()[..] else { panic!("a pin") };
    musiva_plugin_host::register(&mut registry, &loader.load(pin).unwrap()).unwrap();
    let schema = registry.get(Role::Backbone, MIXER).unwrap().schema.clone();
    let make = |value| Ok(Box::new(serde_json::from_value::<twin::TwinConfig>(value)?) as Box<_>);
    let make = Make::Hosted(Hosted::Backbone(Arc::new(make)));
    let (summary, origin) = ("the mixer, built in", "this test".to_owned());
    registry.register(Component { kind: "twin", summary, origin, schema, learns: true, make }).unwrap();
    registry
}

/// The losses of all steps of a recipe, by the trainer itself.
fn losses(lab: &Lab, name: &str, registry: &Registry) -> Vec<f64> {
    let recipe = Recipe::open(&lab.path(&format!("{name}.toml")), &[], registry).unwrap();
    let (device, settings) = (burn::tensor::Device::flex(), recipe.need_train().unwrap());
    let canvas = recipe.need_canvas().unwrap();
    let parts = BackboneParts {
        config: &*recipe.need_backbone().unwrap().component,
        codecs: musiva_core::pipeline::Codecs::build(&recipe, &canvas, &device).unwrap(),
        canvas,
        objective: &*recipe.need_objective().unwrap().component,
        sampler: &*recipe.need_sampler().unwrap().component,
        tasks: recipe.need_tasks().unwrap(),
    };
    let data = dataset_of(&recipe).unwrap();
    let count = settings.clips as u64;
    let tokens = TokenSet::new(&*data, count, &parts.canvas, &parts.encoders(), &mut |_| Ok(())).unwrap();
    let held_out = held_out_of(&recipe).unwrap();
    let mut trainable =
        BackboneTraining::new(settings, parts, &settings.weight_init(), data, tokens, held_out, &device).unwrap();
    let folder = lab.path(name);
    fs::create_dir_all(&folder).unwrap();
    let run = Run { folder, settings, recipe: recipe.resolved(), metadata: Default::default() };
    let mut losses = Losses::default();
    assert!(matches!(run.train(&mut trainable, false, &mut losses).unwrap(), Ended::Done(_)));
    losses.0
}

/// What a built-in trains to is golden for the plugin of the same mathematics.
#[test]
fn the_same_model_as_a_plugin_and_as_a_built_in_trains_to_the_same_losses() {
    let lab = Lab::trained();
    let sha256 = mixer(&lab);
    let settings = "[objective]\nself_condition = 0.0\n[train]\nsteps = 12\nlearning_rate = 1e-2\n";
    for kind in [MIXER, "twin"] {
        let pinned = if kind == MIXER { pin(MIXER, &sha256) } else { String::new() };
        let recipe = format!("schema = 1\nextends = \"dit.toml\"\n{pinned}{BACKBONE}{settings}");
        fs::write(lab.path(&format!("{kind}.toml")), recipe.replace(MIXER, kind)).unwrap();
    }
    let registry = with_twin(&lab, &sha256);
    let [plugin, twin] = [MIXER, "twin"].map(|kind| losses(&lab, kind, &registry));
    assert_eq!((plugin.len(), twin.len()), (12, 12));
    let apart = plugin.iter().zip(&twin).map(|(a, b)| ((a - b) / b).abs());
    assert!(apart.fold(0.0, f64::max) < 1e-5, "{plugin:?}\n{twin:?}");
    assert!(twin[11] < 0.98 * twin[0], "nothing was learnt: {twin:?}");
}

#[test]
fn every_project_that_new_writes_builds_and_conforms() {
    let lab = Lab::bare();
    for kind in ["tokenizer", "backbone", "conditioner", "sampler", "metric", "dataset"] {
        let id = format!("org.example.my-{kind}");
        let folder = format!("plugins/{kind}");
        run(&lab, &["plugin", "new", &id, "--kind", kind, "--into", &folder]).succeeds();
        let library = format!("my_{kind}");
        let built = cargo(&lab.path(&folder), &library);
        fs::copy(built, lab.path(&folder).join(format!("lib{library}.so"))).unwrap();
        run(&lab, &["plugin", "check", &folder, "--allow-plugin", &id]).succeeds();
    }
    let (id, folder) = ("org.example.in-c", "plugins/in-c");
    run(&lab, &["plugin", "new", id, "--kind", "tokenizer", "--lang", "c", "--into", folder]).succeeds();
    let arguments = ["-std=c99", "-O2", "-fPIC", "-shared", "-I", "include", "in_c.c", "-o", "libin_c.so"];
    build(Command::new("cc").args(arguments).current_dir(lab.path(folder)));
    run(&lab, &["plugin", "check", folder, "--allow-plugin", id]).succeeds();
    run(&lab, &["plugin", "new", id, "--kind", "tokenizer", "--into", folder]).fails(7, &["this path exists already"]);
    run(&lab, &["plugin", "new", "mine", "--kind", "metric"]).fails(10, &["reverse domain"]);

    // A dataset, a sampler and a conditioner of plugins, in a recipe that trains.
    let pinned = |kind: &str| pin(&format!("org.example.my-{kind}"), &hash(&lab, &format!("plugins/{kind}")));
    let ids = ["dataset", "sampler", "conditioner"].map(|kind| format!("org.example.my-{kind}"));
    let allow = ids.iter().flat_map(|id| ["--allow-plugin", id]).collect::<Vec<_>>();
    let recipe = format!(
        "schema = 1\nextends = \"dit.toml\"\nname = \"stripes\"\n{}{}{}[data]\nkind = \"org.example.my-dataset\"\n\
         [sampler]\nkind = \"org.example.my-sampler\"\nsteps = 3\n\
         [tokenizer.text]\nkind = \"org.example.my-conditioner\"\n",
        pinned("dataset"),
        pinned("sampler"),
        pinned("conditioner")
    );
    fs::write(lab.path("stripes.toml"), recipe).unwrap();
    let trained = Lab::trained();
    fs::copy(trained.path("video.safetensors"), lab.path("video.safetensors")).unwrap();
    run(&lab, &[&["train", "stripes.toml"][..], &allow].concat()).succeeds();
    // Its sampler's last steps change a clip, all of them make one from nothing.
    let weights = ["--set", "backbone.weights=runs/stripes/weights.safetensors"];
    let made = |stem: &str, given: &[&str]| {
        let file = format!("{stem}.gif");
        let generate = ["generate", "stripes.toml", "--prompt", "a red ring moves left", "-o", &file];
        run(&lab, &[&generate[..], &weights, &allow, given].concat()).succeeds();
        lab.values(&format!("{stem}.tokens.safetensors"))
    };
    let plain = made("plain", &[]);
    assert!(plain == made("all", &["--video", "plain.gif", "--strength", "1"]));
    assert!(plain != made("some", &["--video", "plain.gif", "--strength", "0.6"]));

    // Without gradients a backbone can be used, not trained.
    let source = lab.path("plugins/backbone/src/lib.rs");
    let text = fs::read_to_string(&source).unwrap().replace("Linear: Backbone + Vjp", "Linear: Backbone");
    fs::write(&source, text).unwrap();
    fs::copy(cargo(&lab.path("plugins/backbone"), "my_backbone"), lab.path("plugins/backbone/libmy_backbone.so"))
        .unwrap();
    let recipe = format!(
        "schema = 1\nextends = \"dit.toml\"\n{}[backbone]\nkind = \"org.example.my-backbone\"\nweights = \"w.safetensors\"\n",
        pinned("backbone")
    );
    fs::write(lab.path("frozen.toml"), recipe).unwrap();
    run(&lab, &["check", "frozen.toml", "--allow-plugin", "org.example.my-backbone"])
        .fails(3, &["has no gradients", "cannot be trained"]);
}
