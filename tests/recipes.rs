//! Recipes of the real components: what is accepted, what is refused, and the exact words.
#![allow(clippy::unwrap_used)]

use insta::assert_snapshot;
use musiva_core::canvas::Axes;
use musiva_core::parameters::{Precision, Weight, save_weights};
use musiva_core::recipe::{IDENTITY, Recipe, Report, Target, reference};
use musiva_core::{BackboneSpec, Predicts, Registry, TokenKind};
use musiva_train::evaluate::comparable;
use std::collections::HashMap;
use std::path::Path;

/// A diffusion recipe with everything in it.
const DIT: &str = r#"schema = 1
name = "world-dit"

[data]
kind = "world"
frames = 17
size = [64, 64]
fps = 8

[tokenizer.video]
kind = "magvit2"
weights = "video.safetensors"
quantizer = { kind = "lfq", bits = 10 }

[tokenizer.text]
kind = "bpe"
weights = "captions.json"
vocabulary = 128

[backbone]
kind = "dit"
width = 128
heads = 4

[objective]
kind = "rectified-flow"

[sampler]
kind = "euler"

[train]
target = "backbone"
steps = 1000

[train.loss]
l1 = 1.0
"#;

fn registry() -> Registry {
    let mut registry = Registry::default();
    musiva_data::register(&mut registry).unwrap();
    musiva_tokenizers::register(&mut registry).unwrap();
    musiva_models::register(&mut registry).unwrap();
    registry
}

fn parse(text: &str, sets: &[&str]) -> Result<Recipe, Report> {
    let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
    Recipe::parse(text, Path::new("recipes/world.toml"), &sets, &registry())
}

/// [`DIT`] with other lines in the place of some.
fn edited(edits: &[(&str, &str)]) -> String {
    edits.iter().fold(DIT.to_owned(), |text, (line, by)| {
        assert!(text.contains(line), "{line}");
        text.replacen(line, by, 1)
    })
}

/// [`DIT`] as a recipe of a language model.
const LM: [(&str, &str); 3] = [
    ("kind = \"dit\"", "kind = \"lm\""),
    ("kind = \"rectified-flow\"", "kind = \"next-token\""),
    ("kind = \"euler\"", "kind = \"autoregressive\""),
];

/// A sound for each clip, in the place of the line `fps = 8`.
const SOUND: &str = "fps = 8\nsound = 16000\n[tokenizer.audio]\nkind = \"soundstream\"\nstrides = [2, 4, 5, 10]\n\
                     quantizer = { kind = \"rvq\", levels = 3, entries = 256, channels = 64 }";
/// Kept as vectors.
const VECTORS: &str = "tokenizer.audio.quantizer.tokens=\"vectors\"";

#[track_caller]
fn refused(name: &str, result: Result<Recipe, Report>) {
    match result {
        Ok(_) => panic!("{name}: the recipe was accepted"),
        Err(report) => insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
            assert_snapshot!(name, report.to_string());
        }),
    }
}

#[test]
fn both_families_are_accepted() {
    let dit = parse(DIT, &[]).unwrap();
    assert!(matches!(dit.need_backbone_spec().unwrap(), BackboneSpec::Diffusion { channels: 10, .. }));
    let canvas = dit.need_canvas().unwrap();
    let grids: Vec<_> = canvas.tracks.iter().map(|track| (&*track.name, track.tokens.grid)).collect();
    assert_eq!(grids, [("video", [5, 8, 8]), ("text", [1, 1, 12])]);
    let lm = parse(&edited(&LM), &[]).unwrap();
    assert_eq!(lm.need_backbone_spec().unwrap(), BackboneSpec::NextToken);
    assert_ne!(lm.hash(), dit.hash());
    for recipe in [lm, dit] {
        let again = Recipe::parse(&recipe.resolved(), Path::new("elsewhere.toml"), &[], &registry()).unwrap();
        assert_eq!((again.hash(), again.resolved()), (recipe.hash(), recipe.resolved()));
        assert!(recipe.differences(&again.resolved(), &registry()).unwrap().is_empty());
        let summary = recipe.summary();
        assert!(summary.training.unwrap().flops_per_step > 0.0 && summary.generation.unwrap().memory_bytes > 0.0);
    }
}

#[test]
fn a_tokenizer_alone_is_accepted() {
    let text = "schema = 1\n[data]\nkind = \"world\"\n[tokenizer.video]\nkind = \"magvit2\"\n\
                [train]\ntarget = \"tokenizer.video\"\nframes = 5\n";
    let recipe = parse(text, &[]).unwrap();
    assert_eq!(recipe.train.as_ref().map(|train| train.target), Some(Target::Video));
    assert!(recipe.need_backbone().is_err());
}

#[test]
fn every_recipe_in_the_repository_is_accepted() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recipes");
    let files = std::fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
    for file in files.filter(|file| file.extension().is_some_and(|extension| extension == "toml")) {
        let recipe = Recipe::open(&file, &[], &registry()).unwrap_or_else(|report| panic!("{report}"));
        let again = Recipe::parse(&recipe.resolved(), Path::new("elsewhere.toml"), &[], &registry()).unwrap();
        assert_eq!(again.hash(), recipe.hash(), "{}", file.display());
    }
}

#[test]
fn keys_and_values() {
    for (name, line, by) in [
        ("misspelt_key", "width = 128", "widht = 128"),
        ("misspelt_kind", "kind = \"magvit2\"", "kind = \"magvit\""),
        ("kind_of_another_role", "kind = \"euler\"", "kind = \"dit\""),
        ("text_tokenizer_for_video", "kind = \"magvit2\"", "kind = \"bpe\""),
        ("string_for_number", "width = 128", "width = \"128\""),
        ("number_for_list", "size = [64, 64]", "size = 64"),
        ("one_side_only", "size = [64, 64]", "size = [64]"),
        ("too_many_bits", "bits = 10", "bits = 40"),
        ("no_bits", ", bits = 10", ""),
        ("unknown_quantizer", "kind = \"lfq\"", "kind = \"gumbel\""),
        ("bits_of_kl", "kind = \"lfq\"", "kind = \"kl\""),
        ("out_of_range", "steps = 1000", "batch = 0\nlearning_rate = 3.0\nema = 1.0"),
        ("unknown_loss", "l1 = 1.0", "lpips = 1.0"),
        ("held_out_nonsense", "fps = 8", "held_out = [\"red ring up\", \"mauve ring up\"]"),
        ("size_too_small", "size = [64, 64]", "size = [8, 8]"),
        ("unknown_program", "[train]", "[program]\nkind = \"extended\"\nseconds = 4\n[train]"),
        (
            "program_of_no_prompts",
            "[train]",
            "[program]\nkind = \"prompt-schedule\"\nseconds = 0\nprompts = []\n[train]",
        ),
        ("seconds_of_a_single_piece", "[train]", "[program]\nkind = \"once\"\nseconds = 4\n[train]"),
    ] {
        refused(name, parse(&edited(&[(line, by)]), &[]));
    }
}

#[test]
fn parts_that_do_not_fit() {
    for (name, edits) in [
        ("heads_do_not_divide_the_width", &[("heads = 4", "heads = 5")] as &[_]),
        ("heads_too_narrow", &[("heads = 4", "heads = 32")]),
        ("frames_do_not_fit", &[("frames = 17", "frames = 16")]),
        ("size_does_not_fit", &[("size = [64, 64]", "size = [64, 60]")]),
        ("channels_do_not_fit", &[("width = 128", "width = 128\nchannels = 8")]),
        ("autoregressive_on_a_bidirectional_backbone", &[("kind = \"euler\"", "kind = \"autoregressive\"")]),
        ("next_token_on_a_bidirectional_backbone", &[("kind = \"rectified-flow\"", "kind = \"next-token\"")]),
        ("diffusion_on_a_causal_backbone", &[("kind = \"dit\"", "kind = \"lm\"")]),
        ("schedules_that_disagree", &[("kind = \"rectified-flow\"", "kind = \"ddpm\"")]),
        ("schedules_that_disagree_the_other_way", &[("kind = \"euler\"", "kind = \"ddim\"")]),
        (
            "a_schedule_of_another_family",
            &[("kind = \"rectified-flow\"", "kind = \"rectified-flow\"\n[schedule]\nkind = \"linear\"")],
        ),
        (
            "last_stage_goes_down",
            &[(
                "[tokenizer.text]",
                "stages = [{ channels = 32, blocks = 1, frames = 1, down = [1, 2, 2] }]\n[tokenizer.text]",
            )],
        ),
        (
            "kernel_of_two_frames",
            &[("[tokenizer.text]", "stages = [{ channels = 32, blocks = 1, frames = 2 }]\n[tokenizer.text]")],
        ),
        ("frame_offset_that_was_not_trained", &[("kind = \"euler\"", "kind = \"euler\"\nframe_offset = 0.5")]),
        ("fresh_noise_for_heun", &[("kind = \"euler\"", "kind = \"heun\"\neta = 1.0")]),
        (
            "an_audio_tokenizer_of_a_silent_world",
            &[("[tokenizer.text]", "[tokenizer.audio]\nkind = \"soundstream\"\n[tokenizer.text]")],
        ),
        (
            "a_video_tokenizer_for_sound",
            &[("fps = 8", "fps = 8\nsound = 16000\n[tokenizer.audio]\nkind = \"magvit2\"\nweights = \"a\"")],
        ),
        (
            "too_many_channels_of_sound",
            &[(
                "fps = 8",
                "fps = 8\nsound = 16000\n[tokenizer.audio]\nkind = \"soundstream\"\nchannels = 1024\nstrides = [2, 2, 2, 2, 2]",
            )],
        ),
        (
            "tasks_that_cannot_be",
            &[(
                "[train]",
                "[[task]]\nname = \"a\"\nvideo = \"context\"\n[[task]]\nname = \"b\"\nvideo = \"first\"\nframes = 8\n\
                 [[task]]\nname = \"b\"\nvideo = \"ends\"\nframes = 9\n[[task]]\nname = \"c\"\naudio = \"target\"\n[train]",
            )],
        ),
        ("an_unknown_share", &[("[train]", "[[task]]\nname = \"a\"\nvideo = \"all\"\n[train]")]),
        ("a_program_without_its_task", &[("[train]", "[program]\nkind = \"extend\"\nseconds = 4\n[train]")]),
        (
            "a_program_without_a_sampler",
            &[("[sampler]\nkind = \"euler\"\n", ""), ("[train]", "[program]\nkind = \"once\"\n[train]")],
        ),
        (
            "prompts_that_cannot_be",
            &[(
                "[train]",
                "[[task]]\nname = \"a\"\nvideo = \"first\"\n[program]\nkind = \"prompt-schedule\"\nseconds = 4.0\n\
                 prompts = [{ at = 3, prompt = \"b\" }, { at = 1, prompt = \"c\" }, { at = 9, prompt = \"d\" }]\n[train]",
            )],
        ),
        ("windows_for_a_backbone", &[("steps = 1000", "frames = 9")]),
        (
            "a_discriminator_for_a_backbone",
            &[("[train.loss]", "[train.perceptual]\n[train.adversarial]\nweight = 1.0\n[train.loss]")],
        ),
        (
            "a_discriminator_narrower_than_itself",
            &[
                ("target = \"backbone\"", "target = \"tokenizer.video\"\ninflate = true"),
                ("[train.loss]", "[train.adversarial]\nchannels = 64\nwidest = 32\n[train.loss]"),
            ],
        ),
        ("noise_for_a_backbone", &[("[train.loss]", "[train.noise]\nsnr = [20.0, 0.0]\n[train.loss]")]),
        (
            "noise_without_a_switch",
            &[
                (
                    "fps = 8",
                    "fps = 8\nsound = 16000\n[tokenizer.audio]\nkind = \"soundstream\"\nstrides = [2, 4, 5, 10]\n\
                     quantizer = { kind = \"rvq\", levels = 3, entries = 256, channels = 64 }",
                ),
                ("target = \"backbone\"", "target = \"tokenizer.audio\""),
                ("[train.loss]", "[train.noise]\n[train.loss]"),
            ],
        ),
        (
            "a_switch_without_noise",
            &[
                (
                    "fps = 8",
                    "fps = 8\nsound = 16000\n[tokenizer.audio]\nkind = \"soundstream\"\nstrides = [2, 4, 5, 10]\n\
                     quantizer = { kind = \"rvq\", levels = 3, entries = 256, channels = 64 }\nfilm.denoise = true",
                ),
                ("target = \"backbone\"", "target = \"tokenizer.audio\""),
            ],
        ),
        (
            "a_switch_that_does_not_say_which_way",
            &[("fps = 8", "fps = 8\nsound = 16000\n[tokenizer.audio]\nkind = \"soundstream\"\nfilm = {}")],
        ),
        ("unknown_game", &[("[train.loss]", "[train.adversarial]\nloss = \"wasserstein\"\n[train.loss]")]),
        (
            "everything_at_once",
            &[
                ("heads = 4", "heads = 5"),
                ("frames = 17", "frames = 16"),
                ("\"euler\"", "\"eule\""),
                ("vocabulary", "vocabluary"),
            ],
        ),
    ] {
        refused(name, parse(&edited(edits), &[]));
    }
    let lm = |more: &[(&'static str, &'static str)]| edited(&[&LM, more].concat());
    refused(
        "latents_for_a_language_model",
        parse(&lm(&[("kind = \"lfq\", bits = 10", "kind = \"kl\", channels = 8")]), &[]),
    );
    refused("vectors_of_sound_for_a_language_model", parse(&lm(&[("fps = 8", SOUND)]), &[VECTORS]));
    refused("vocabulary_overflow", parse(&lm(&[("bits = 10", "bits = 18")]), &[]));
    refused("digits_do_not_divide", parse(&lm(&[("width = 128", "width = 128\ndigits = 3")]), &[]));
    for (name, kinds) in [
        ("masked_model_that_is_to_predict_the_next", ["masked", "next-token", "autoregressive"]),
        ("maskgit_on_a_causal_backbone", ["lm", "next-token", "maskgit"]),
        ("diffusion_on_a_masked_backbone", ["masked", "rectified-flow", "euler"]),
        ("autoregression_on_a_masked_backbone", ["masked", "masked", "autoregressive"]),
    ] {
        let by = kinds.map(|kind| format!("kind = \"{kind}\""));
        let lines = LM.map(|(line, _)| line);
        let edits: Vec<_> = lines.into_iter().zip(by.iter().map(String::as_str)).collect();
        refused(name, parse(&edited(&edits), &[]));
    }
    let by = ["kind = \"masked\"", "kind = \"masked\"\nframe_offset = 0.5", "kind = \"maskgit\"\nframe_offset = 1.0"];
    let edits: Vec<_> = LM.map(|(line, _)| line).into_iter().zip(by).collect();
    refused("frame_offset_that_a_masked_model_was_not_trained_with", parse(&edited(&edits), &[]));
    refused("set_that_does_not_fit", parse(DIT, &["data.frames=16"]));
}

/// [`DIT`] as a recipe of a model on a variance-preserving schedule.
const DDPM: [(&str, &str); 2] =
    [("kind = \"rectified-flow\"", "kind = \"ddpm\""), ("kind = \"euler\"", "kind = \"ddim\"")];

#[test]
fn a_noise_schedule_takes_the_place_of_the_objectives_own() {
    let ddpm = |sets: &[&str]| parse(&edited(&DDPM), sets).unwrap();
    let process = |recipe: &Recipe| recipe.need_objective().unwrap().component.process().unwrap();
    let (plain, linear) = (ddpm(&[]), ddpm(&["schedule.kind=linear", "schedule.beta_max=30"]));
    assert_eq!((process(&plain).schedule.name(), plain.schedule.is_none()), ("cosine", true));
    assert_eq!((process(&linear).schedule.name(), process(&linear).predicts), ("linear", Predicts::Velocity));
    // By the integral of β from 0.1 to 30.
    let (alpha, _) = process(&linear).schedule.mix(1.0);
    assert!((alpha - (-(0.1 + 30.0) / 4.0f64).exp()).abs() < 1e-12, "{alpha}");
    let noise = ddpm(&["schedule.kind=shifted-cosine", "objective.predict=noise"]);
    assert_eq!((process(&noise).schedule.name(), process(&noise).predicts), ("shifted-cosine", Predicts::Noise));
    let straight = parse(DIT, &["schedule.kind=straight"]).unwrap();
    assert_eq!(process(&straight).schedule.name(), "straight");

    // It is another recipe, which trains something else, also written down in full.
    let again = Recipe::parse(&linear.resolved(), Path::new("elsewhere.toml"), &[], &registry()).unwrap();
    assert_eq!((again.hash(), process(&again).schedule.name()), (linear.hash(), "linear"));
    assert_ne!(linear.hash(), plain.hash());
    let found = linear.differences(&plain.resolved(), &registry()).unwrap();
    assert_eq!(found.iter().map(|found| &*found.path).collect::<Vec<_>>(), SCHEDULE);
    assert!(found.iter().all(|found| found.matters));
}

const SCHEDULE: [&str; 3] = ["schedule.beta_max", "schedule.beta_min", "schedule.kind"];

#[test]
fn weights_know_by_which_noise_schedule_they_were_trained() {
    let folder = tempfile::tempdir().unwrap();
    let ddpm = |sets: &[&str]| parse(&edited(&DDPM), sets).unwrap();
    let (plain, linear) = (ddpm(&[]), ddpm(&["schedule.kind=linear"]));
    let weights = |name: &str, recipe: &Recipe| {
        let identity = recipe.identity(Target::Backbone).unwrap();
        let metadata = HashMap::from([(IDENTITY.to_owned(), serde_json::to_string(&identity).unwrap())]);
        let weight = Weight { shape: vec![2], values: vec![0.5; 2] };
        let file = folder.path().join(name);
        save_weights(&file, &[("w".to_owned(), weight)].into(), Precision::F32, metadata).unwrap();
        file
    };
    let keys: Vec<String> = linear.identity(Target::Backbone).unwrap().into_keys().collect();
    assert!(SCHEDULE.iter().all(|key| keys.iter().any(|said| said == key)), "{keys:?}");
    let [by_plain, by_linear] =
        [("plain.safetensors", &plain), ("linear.safetensors", &linear)].map(|(name, recipe)| weights(name, recipe));
    let unlike = |recipe: &Recipe, file: &Path| -> Vec<String> {
        let found = recipe.unlike(Target::Backbone.section(), file).unwrap();
        found.iter().map(|unlike| format!("{} = {}, not {}", unlike.key, unlike.weights, unlike.recipe)).collect()
    };
    assert!(unlike(&plain, &by_plain).is_empty() && unlike(&linear, &by_linear).is_empty());
    // Also where one of the two goes by the objective's own.
    assert_eq!(unlike(&plain, &by_linear), ["schedule.kind = \"linear\", not \"cosine\""]);
    assert_eq!(unlike(&linear, &by_plain), ["schedule.kind = \"cosine\", not \"linear\""]);
    assert!(unlike(&ddpm(&["schedule.kind=cosine"]), &by_plain).is_empty());
    let other = ddpm(&["schedule.kind=linear", "schedule.beta_max=30"]);
    assert_eq!(unlike(&other, &by_linear), ["schedule.beta_max = 20.0, not 30.0"]);
}

#[test]
fn a_noise_schedule_without_its_use_is_told_where_it_is_named() {
    let told = |text: &str, sets: &[&str]| parse(text, sets).unwrap_err();
    let report = told(&edited(&LM), &["schedule.kind=cosine"]);
    assert!(report.to_string().contains("`schedule.kind`: the objective mixes no noise"), "{report}");
    // A sampler is not told that it does not fit the schedule that the objective did not take.
    let report = told(&edited(&DDPM[1..]), &["schedule.kind=linear"]);
    assert!(report.0.len() == 1 && report.0[0].path == "schedule.kind", "{report}");
    let report = told(&edited(&[("[objective]\nkind = \"rectified-flow\"\n", "")]), &["schedule.kind=straight"]);
    assert!(report.to_string().contains("the recipe has no `[objective]`"), "{report}");
    let report = told(&edited(&DDPM), &["schedule.kind=linear", "schedule.shift=2"]);
    assert!(report.to_string().contains("`schedule.shift`: there is no such key"), "{report}");
}

#[test]
fn a_prompt_is_no_must() {
    let text = "[tokenizer.text]\nkind = \"bpe\"\nweights = \"captions.json\"\nvocabulary = 128\n";
    for edits in [&[(text, "")][..], &[&LM[..], &[(text, "")]].concat()] {
        let canvas = parse(&edited(edits), &[]).unwrap().need_canvas().unwrap();
        assert_eq!(canvas.tracks.iter().map(|track| &*track.name).collect::<Vec<_>>(), ["video"]);
    }
}

#[test]
fn a_sound_has_any_number_of_tokens_a_frame_and_any_number_of_codebooks() {
    // A frame lasts 2000 samples, a token 320: four frames are 25 tokens. 17 frames begin 107.
    let sound = "fps = 8\nsound = 16000\n[tokenizer.audio]\nkind = \"soundstream\"";
    let recipe = parse(&edited(&[("fps = 8", sound)]), &[]).unwrap();
    let canvas = recipe.need_canvas().unwrap();
    let audio = canvas.track("audio").unwrap();
    assert_eq!(audio.tokens.grid, [107, 1, 1]);
    assert_eq!(audio.axes, Axes::Time { frames: [4, 25], stride: 4 });
    assert_eq!([4, 8, 17].map(|frames| audio.tokens_of(frames)), [25, 50, 107]);
    // Eight codebooks of 1024 entries, each code as the vector of its bits.
    assert_eq!(audio.tokens.kind, TokenKind::Codes { levels: 8, entries: 1024, bits: Some(10) });
    assert_eq!(recipe.need_backbone_spec().unwrap(), BackboneSpec::Diffusion { channels: 80, self_conditioned: true });
    let lm = parse(&edited(&[&LM[..], &[("fps = 8", sound)]].concat()), &[]).unwrap();
    assert_eq!(lm.need_backbone_spec().unwrap(), BackboneSpec::NextToken);
    assert_eq!(lm.need_canvas().unwrap().most_digits(), 8);
}

#[test]
fn sound_is_the_same_by_its_codes_and_by_their_vectors() {
    let heard = |sets: &[&str]| parse(&edited(&[("fps = 8", SOUND)]), sets).unwrap();
    let (codes, vectors) = (heard(&[]), heard(&[VECTORS]));
    // Bits of the clip stand beside vectors of its sound.
    assert_eq!([&codes, &vectors].map(|recipe| recipe.need_canvas().unwrap().channels()), [Some(24), Some(64)]);
    let other = heard(&["tokenizer.audio.quantizer.levels=2"]);
    assert!(comparable(&[codes, vectors]).is_ok());
    assert!(comparable(&[heard(&[]), other]).unwrap_err().to_string().contains("[tokenizer.audio]"));
}

#[test]
fn weights_are_looked_at_without_being_read() {
    let recipe = parse(DIT, &[]).unwrap();
    let found = recipe.check_weights(Target::Backbone.needs()).to_string();
    insta::with_settings!({ prepend_module_to_snapshot => false, omit_expression => true }, {
        assert_snapshot!("weights_missing", found);
    });
}

#[test]
fn every_registered_default_is_a_configuration() {
    let registry = registry();
    let schema = musiva_core::recipe::schema(&registry);
    for section in musiva_core::recipe::SECTIONS {
        assert!(section.components(&registry).count() > 0, "{}", section.path);
        for component in section.components(&registry) {
            let name = format!("{}.{}", section.path, component.kind);
            let properties = schema["$defs"][&name]["properties"].as_object().unwrap();
            for (key, property) in properties {
                assert!(property.get("description").is_some() || property.get("$ref").is_some(), "{name}.{key}");
            }
        }
    }
}

#[test]
fn the_page_of_the_recipe_language_is_what_is_enforced() {
    let page = include_str!("../docs/recipes.md");
    assert!(reference(&registry()) == page, "renew it: musiva schema --markdown > docs/recipes.md");
}
