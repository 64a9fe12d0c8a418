//! Recipes that are right, and what they become.

use super::*;
use crate::canvas::{LevelPattern, TrackShape};
use crate::files;
use crate::{TokenKind, TokenShape};
use proptest::prelude::*;
use serde_json::json;

#[test]
fn a_recipe_is_made_and_its_shapes_flow() {
    let recipe = parse(FIELD, &[]).unwrap();
    let kind = TokenKind::Codes { levels: 1, entries: 1024, bits: Some(10) };
    let canvas = recipe.need_canvas().unwrap();
    let mut wanted = CanvasShape::new(12, 128, TokenShape { grid: [5, 8, 8], kind }).with_strides([4, 8, 8]);
    // A step of the grid is four frames of eight a second; a text is a row of words.
    wanted.tracks[0].seconds = 0.5;
    wanted.tracks[1].tokens.grid = [1, 1, 12];
    assert_eq!(*canvas, wanted);
    let spec = BackboneSpec::Diffusion { channels: 10, self_conditioned: false };
    assert_eq!(recipe.need_backbone_spec().unwrap(), spec);
    let video = recipe.need_tokenizer(Modality::Video).unwrap();
    assert_eq!(video.weights.as_deref(), Some(Path::new("recipes/video.safetensors")));
    assert_eq!(video.config["slope"], json!(0.1));
    // What 32 bits hold of a number, in as few digits as tell it.
    let slope = parse(FIELD, &["tokenizer.video.slope=0.123456789"]).unwrap();
    assert_eq!(slope.need_tokenizer(Modality::Video).unwrap().config["slope"], json!(0.12345679));
    assert_eq!(video.config["stages"], json!([{ "channels": 32, "blocks": 1 }]));
    assert_eq!((recipe.name.as_str(), recipe.evaluate), ("small", EvaluateSettings::default()));
}

#[test]
fn a_canvas_has_the_tracks_that_there_are_tokenizers_for() {
    // Without prompts.
    let text = "[tokenizer.text]\nkind = \"words\"\nweights = \"words.json\"\n";
    let recipe = parse(&edited(text, ""), &[]).unwrap();
    let canvas = recipe.need_canvas().unwrap();
    assert_eq!(canvas.tracks.iter().map(|track| &*track.name).collect::<Vec<_>>(), ["video"]);
    assert_eq!(canvas.length(), 320);
    // Of the tasks it follows what of a track may be given, and what is generated.
    let tasks = parse(&edited("[train]", &format!("{TASKS}\n[train]")), &[]).unwrap().need_canvas().unwrap();
    assert!(tasks.tracks.iter().all(|track| track.context && track.target));
    let plain = parse(FIELD, &[]).unwrap().need_canvas().unwrap();
    let of = |track: &TrackShape| (track.context, track.target, track.pattern, track.factors);
    let wanted = [(false, true, LevelPattern::Parallel, 1), (true, false, LevelPattern::Parallel, 1)];
    assert_eq!(plain.tracks.iter().map(of).collect::<Vec<_>>(), wanted);
}

/// A caption, and what goes on with a clip.
const TASKS: &str = "[[task]]\nname = \"caption\"\nvideo = \"context\"\ntext = \"target\"\n\n\
                     [[task]]\nname = \"goes-on\"\nvideo = \"first\"\nframes = 5\n";

#[test]
fn without_tasks_all_is_generated_from_a_prompt() {
    let names = |text: &str| {
        let tasks = parse(text, &[]).unwrap().need_tasks().unwrap();
        tasks.into_iter().map(|task| task.name).collect::<Vec<_>>()
    };
    assert_eq!(names(FIELD), ["text-to-video"]);
    assert_eq!(names(&edited("[train]", &format!("{TASKS}\n[train]"))), ["caption", "goes-on"]);
}

#[test]
fn a_stream_is_none_of_the_main_tracks() {
    let recipe = parse(FIELD, &[]).unwrap();
    for track in ["video", "text", "depth"] {
        let error = recipe.stream(track).unwrap_err();
        assert_eq!(error.message(), format!("the recipe has no stream `{track}`"));
        assert_eq!(
            error.to_string().lines().last().unwrap().trim(),
            "hint: leave it out: the recipe has no `[track.*]`"
        );
    }
}

#[test]
fn a_condition_has_a_range_that_the_data_lie_in() {
    let of = |range: &str| parse(&edited("[train]", &format!("[condition.fps]\nrange = {range}\n\n[train]")), &[]);
    let canvas = of("[0.0, 60.0]").unwrap().need_canvas().unwrap();
    let [fps] = &canvas.conditions[..] else { panic!("one condition") };
    assert_eq!((&*fps.name, &*fps.from, fps.range, fps.dropout), ("fps", "fps", [0.0, 60.0], 0.1));
    let told = |range: &str| {
        let report = of(range).unwrap_err();
        assert_eq!(report.0[0].path, "condition.fps.range");
        report.0[0].message.clone()
    };
    assert_eq!(told("[9.0, 9.0]"), "9 to 9 is no range: expected [low, high]");
    assert_eq!(told("[60.0, 0.0]"), "60 to 0 is no range: expected [low, high]");
    assert_eq!(told("[9.0, 60.0]"), "the data have 8 frames a second, which is not from 9 to 60");
}

#[test]
fn names_of_tracks_are_small_letters_digits_and_underscores() {
    let told = |name: &str| {
        let report = parse(&edited("[train]", &format!("[track.\"{name}\"]\n\n[train]")), &[]).unwrap_err();
        report.0[0].message.clone()
    };
    let long = "a".repeat(33);
    for name in ["1st", "Depth", "a-b", "a b", "_a", &*long] {
        assert!(told(name).ends_with("is no name: small letters, digits and underscores, 32 at most"), "{name}");
    }
    // One that could be a name is no stream of these data.
    assert!(["d", "depth_2", &long[1..]].into_iter().all(|name| !told(name).contains("is no name")));
}

#[test]
fn single_frames_are_for_a_tokenizer_that_reads_them() {
    let text = "schema = 1\n[data]\nkind = \"clips\"\n[tokenizer.video]\nkind = \"blocks\"\n\
                [train]\ntarget = \"tokenizer.video\"\nimages = 0.5\n";
    assert_eq!(parse(text, &[]).unwrap().train.unwrap().images, 0.5);
}

#[test]
fn what_a_backbone_of_codes_predicts_is_told() {
    let sets = ["backbone.kind=causal", "objective.kind=next", "sampler.kind=picks"];
    let edges = parse(FIELD, &sets).unwrap().edges();
    let edge = |to: &str| edges.iter().find(|edge| (&*edge.from, &*edge.to) == ("backbone", to)).unwrap();
    // A clip of 5 × 8 × 8 tokens of ten bits; each of two passes a step.
    assert_eq!(edge("objective").shape, "[320] logits of 1024 entries");
    assert_eq!(edge("objective").meaning, "of the next token, against next");
    assert_eq!(edge("sampler").meaning, "of the next token, 40 passes a sample");
    // A caption is predicted as well.
    let edges = parse(&edited("[train]", &format!("{TASKS}\n[train]")), &sets).unwrap().edges();
    let edge = edges.iter().find(|edge| (&*edge.from, &*edge.to) == ("backbone", "objective")).unwrap();
    assert_eq!(edge.shape, "[332] logits of 1024 entries");
    assert_eq!(edge.meaning, "of the next token; of text, codes of 128 entries, against next");
}

#[test]
fn a_tokenizer_that_is_wrong_by_default_may_stand_anywhere() {
    let mut registry = registry();
    registry.register(fakes::unfinished()).unwrap();
    let kinds = |path: &str| -> Vec<&str> {
        let section = SECTIONS.iter().find(|section| section.path == path).unwrap();
        section.components(&registry).map(|component| component.kind).collect()
    };
    assert_eq!(kinds("tokenizer.video"), ["blocks", "unfinished"]);
    assert_eq!(kinds("tokenizer.audio"), ["unfinished"]);
    assert_eq!(kinds("tokenizer.text"), ["unfinished", "words"]);
}

#[test]
fn signed_weights_say_what_they_are() {
    use crate::parameters::{Precision, Weight, open_weights, save_weights};
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    files::write(&path, FIELD.as_bytes()).unwrap();
    let open = |sets: &[&str]| {
        let sets: Vec<_> = sets.iter().map(|set| (*set).to_owned()).collect();
        Recipe::open(&path, &sets, &registry()).unwrap()
    };
    let (recipe, file) = (open(&[]), folder.path().join("video.safetensors"));
    // Every setting of a part is said, where nothing else is.
    let identity = recipe.identity(Target::Backbone).unwrap();
    assert_eq!((&identity["backbone.kind"], &identity["backbone.width"]), (&json!("field"), &json!(128)));
    let weights = [("w".to_owned(), Weight { shape: vec![2], values: vec![0.5, -1.0] })].into();
    save_weights(&file, &weights, Precision::F32, [("a".to_owned(), "b".to_owned())].into()).unwrap();
    let other = open(&["tokenizer.video.slope=0.25"]);
    // Weights that say nothing are unlike no recipe.
    assert_eq!(other.unlike("tokenizer.video", &file).unwrap(), []);
    recipe.sign(Target::Video).unwrap();
    assert_eq!(recipe.unlike("tokenizer.video", &file).unwrap(), []);
    let slope = Unlike { key: "tokenizer.video.slope".into(), weights: json!(0.1), recipe: json!(0.25) };
    assert_eq!(other.unlike("tokenizer.video", &file).unwrap(), [slope]);
    // All else is as it was.
    let (numbers, metadata) = open_weights(&file).unwrap();
    assert_eq!((numbers, &*metadata["a"]), (weights, "b"));
    assert!(recipe.sign(Target::Backbone).unwrap_err().to_string().contains("the recipe names no weights for it"));
}

#[test]
fn tables_of_training_are_read_by_those_who_brought_them() {
    use super::fakes::{Penalty, Rival};
    let clips = "schema = 1\n[data]\nkind = \"clips\"\n[tokenizer.video]\nkind = \"blocks\"\n\
                 [train]\ntarget = \"tokenizer.video\"\n";
    let tables = |text: &str| parse(&format!("{clips}{text}"), &[]).unwrap().train.unwrap().tables;
    // Without the table its defaults hold, or there is none.
    assert_eq!(tables("").get::<Penalty>().unwrap().l1, 1.0);
    assert!(tables("").get::<Rival>().is_none());
    assert_eq!(tables("[train.loss]\nl1 = 2.5\n").get::<Penalty>().unwrap().l1, 2.5);
    let both = tables("[train.rival]\n");
    assert!(both.get::<Rival>().is_some());
    assert!(both.clone().without::<Rival>().get::<Rival>().is_none());
    assert_eq!(both.with(Penalty { l1: 3.0 }).get::<Penalty>().unwrap().l1, 3.0);
    // What is wrong is told at its place.
    let found = |text: &str| {
        let report = parse(&format!("{clips}{text}"), &[]).unwrap_err();
        report.0.iter().map(|found| format!("{}: {}", found.path, found.message)).collect::<Vec<_>>()
    };
    assert_eq!(found("[train.rival]\nstart = 20000\n"), ["train.rival.start: it starts after the last step"]);
    let unfit = found("[train.rival]\nstart = 7\n");
    assert_eq!(unfit, ["train.rival.start: `blocks` of tokenizer.video has no rival"]);
    let report = parse(&format!("{FIELD}\n[train.rival]\n"), &[]).unwrap_err();
    assert_eq!(report.0[0].path, "train.rival");
}

#[test]
fn a_tokenizer_is_a_recipe() {
    let text = "schema = 1\n[data]\nkind = \"clips\"\n[tokenizer.video]\nkind = \"blocks\"\n\
                [train]\ntarget = \"tokenizer.video\"\nframes = 9\n";
    let recipe = parse(text, &[]).unwrap();
    assert_eq!(recipe.train.as_ref().unwrap().frames, Some(9));
    let error = recipe.need_backbone().unwrap_err().to_string();
    assert!(error.contains("the recipe has no `[backbone]`"), "{error}");
    assert!(recipe.need_canvas().is_err() && recipe.summary().generation.is_none());
}

#[test]
fn what_is_written_down_in_full_is_the_same_recipe() {
    let recipe =
        parse(FIELD, &["train.learning_rate=1", "tokenizer.video.quantizer={kind='lfq', bits=7}", "data.path=clips"]);
    let recipe = recipe.unwrap();
    let text = recipe.resolved();
    let again = Recipe::parse(&text, Path::new("elsewhere/y.toml"), &[], &registry()).unwrap();
    assert_eq!(again.resolved(), text);
    assert_eq!(again.hash(), recipe.hash());
    assert_eq!(again.flow(), recipe.flow());
    assert_eq!(recipe.need_data().unwrap().config["path"], "clips");
    assert_eq!(serde_json::json!(again.train), serde_json::json!(recipe.train));
    assert_eq!(recipe.differences(&text, &registry()).unwrap(), []);
    assert!(Path::new(&again.need_tokenizer(Modality::Video).unwrap().weights.clone().unwrap()).is_absolute());
}

#[test]
fn the_hash_is_of_the_meaning() {
    let hash = |text: &str, sets: &[&str]| parse(text, sets).unwrap().hash();
    let one = hash(FIELD, &[]);
    assert_eq!(one, hash(&edited("name = \"small\"", "# a comment\nname = \"other\""), &[]));
    assert_eq!(one, hash(FIELD, &["train.betas=[0.9, 0.99]", "tokenizer.video.weights=b.safetensors"]));
    assert_eq!(one, hash(FIELD, &["train.clip=1"]));
    assert_ne!(one, hash(FIELD, &["backbone.heads=8"]));
}

#[test]
fn differences_are_told_and_weighed() {
    let there = parse(FIELD, &["train.steps=2000", "sampler.steps=5", "tokenizer.text.weights=a.json"]).unwrap();
    let here = parse(FIELD, &["backbone.width=256", "backbone.entries=7"]).unwrap();
    let found = here.differences(&there.resolved(), &registry()).unwrap();
    let found: Vec<_> = found
        .iter()
        .map(|d| (d.path.as_str(), d.matters, d.here.as_deref().unwrap_or("-"), d.there.as_deref().unwrap_or("-")))
        .filter(|(path, ..)| !path.ends_with("weights"))
        .collect();
    let wanted = [
        ("backbone.entries", true, "7", "-"),
        ("backbone.width", true, "256", "128"),
        ("sampler.steps", false, "20", "5"),
        ("train.steps", false, "1000", "2000"),
    ];
    assert_eq!(found, wanted);
    // One with a kind that is unknown here is compared as it stands there.
    let here = parse(FIELD, &[]).unwrap();
    let gone = here.resolved().replace("kind = \"euler\"", "kind = \"gone\"");
    let found = here.differences(&gone, &registry()).unwrap();
    let found: Vec<_> = found.iter().map(|d| (d.path.as_str(), d.there.as_deref())).collect();
    assert_eq!(found, [("sampler.kind", Some("\"gone\""))]);
}

#[test]
fn what_an_older_version_did_not_know_is_no_difference() {
    let recipe = parse(FIELD, &[]).unwrap();
    let now = recipe.resolved();
    let older: String =
        now.lines().filter(|line| !line.starts_with("accumulate")).map(|line| format!("{line}\n")).collect();
    assert_ne!(older, now);
    assert_eq!(recipe.differences(&older, &registry()).unwrap(), []);
    // But for one that is not at its default.
    let other = parse(FIELD, &["train.accumulate=2"]).unwrap();
    let found = other.differences(&older, &registry()).unwrap();
    assert_eq!(found.iter().map(|difference| difference.path.as_str()).collect::<Vec<_>>(), ["train.accumulate"]);
}

#[test]
fn files_extend_each_other() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        files::write(&path, text.as_bytes()).unwrap();
        path
    };
    write("base/field.toml", FIELD);
    write("base/middle.toml", "schema = 1\nextends = \"field.toml\"\nname = \"middle\"\n[data]\nframes = 9\n");
    let child = "schema = 1\nextends = \"base/middle.toml\"\n[data]\nframes = 5\n[tokenizer.video]\n\
                 weights = \"mine.safetensors\"\n[backbone]\nkind = \"causal\"\nscales = false\n\
                 [objective]\nkind = \"next\"\n[sampler]\nkind = \"picks\"\n";
    let recipe = Recipe::open(&write("child.toml", child), &[], &registry()).unwrap();
    assert_eq!(recipe.name, "middle");
    assert_eq!(recipe.need_data().unwrap().config["frames"], 5);
    // Another kind leaves nothing of the old table; the same kind goes on with it.
    assert_eq!(
        recipe.need_backbone().unwrap().config,
        json!({ "width": 128, "heads": 4, "dropout": 0.0, "scales": false })
    );
    let weights = |part: &Part<dyn TokenizerConfig>| part.weights.clone().unwrap();
    assert_eq!(weights(recipe.need_tokenizer(Modality::Video).unwrap()), folder.path().join("mine.safetensors"));
    assert_eq!(weights(recipe.need_tokenizer(Modality::Text).unwrap()), folder.path().join("base/words.json"));
}

#[test]
fn a_set_of_a_kind_goes_before_the_keys_of_that_kind() {
    let sets = ["backbone.width=64", "objective.kind=next", "sampler.kind=picks", "backbone.kind=causal"];
    let recipe = parse(FIELD, &sets).unwrap();
    let backbone = recipe.need_backbone().unwrap();
    assert_eq!((backbone.kind.as_str(), &backbone.config["width"]), ("causal", &json!(64)));
    // What the file says of another kind goes.
    let noise = edited("kind = \"flow\"", "kind = \"flow\"\nnoise = \"straight\"");
    let sets = ["objective.kind=next", "sampler.kind=picks", "backbone.kind=causal"];
    assert_eq!(parse(&noise, &sets).unwrap().objective.unwrap().config, json!({}));
    let stages =
        parse(FIELD, &["tokenizer.video.stages=[{channels=3}, {channels=5}]", "tokenizer.video.stages.1.blocks=7"]);
    let stages = stages.unwrap().need_tokenizer(Modality::Video).unwrap().config["stages"].clone();
    assert_eq!(stages, json!([{ "channels": 3, "blocks": 0 }, { "channels": 5, "blocks": 7 }]));
}

#[test]
fn data_that_are_not_there_are_told_where_they_are_named() {
    let there = parse(FIELD, &[]).unwrap();
    assert_eq!(there.check_data(), Report(Vec::new()));
    let gone = FIELD.replacen("frames = 17", "frames = 17\npath = \"gone\"", 1);
    let told = parse(&gone, &[]).unwrap().check_data();
    assert!(told.failed());
    let text = told.to_string();
    assert!(text.contains("`data.path`: gone") && text.contains("x.toml:7:8") && text.contains("find it"), "{text}");
    // Nothing but training reads them.
    let (used, _) = gone.split_once("[train]").unwrap();
    let told = parse(used, &[]).unwrap().check_data();
    assert!(!told.failed() && told.0.len() == 1);
}

#[test]
fn work_and_memory_are_those_of_the_parts() {
    let recipe = parse(FIELD, &["train.batch=3"]).unwrap();
    let summary = recipe.summary();
    let backbone = 12 * 128 * 128 + 128 * 128;
    let parameters: Vec<_> = summary.parameters.iter().map(|(section, count)| (&**section, *count)).collect();
    assert_eq!(parameters, [("tokenizer.video", 32_000), ("backbone", backbone)]);
    // 332 positions: 12 of the prompt, 320 of the clip.
    let training = summary.training.unwrap();
    assert_eq!(training.flops_per_step, 3.0 * 3.5 * 33_200.0);
    let program = 24.0 * 1024.0 * 1024.0;
    // The objective passes forward once more now and then, which takes room to work in.
    let numbers = 5.0 * backbone as f64 + 32_000.0 + 3.0 * (3320.0 + 332.0);
    assert_eq!(training.memory_bytes, program + 4.0 * numbers);
    let generation = summary.generation.unwrap();
    assert_eq!(generation.flops_per_sample, 40.0 * 33_200.0 + 17.0);
    assert_eq!(generation.memory_bytes, program + 4.0 * (backbone as f64 + 32_000.0 + 2000.0));
    snapshot("edges", &serde_json::to_string_pretty(&recipe.edges()).unwrap());
}

#[test]
fn the_reference_and_the_schema_name_every_key() {
    let (page, schema) = (reference(&registry()), schema(&registry()));
    snapshot("reference", &page);
    // Nothing is refused that the schema shows as a default, and every reference leads somewhere.
    let mut refs = Vec::new();
    fn collect<'a>(json: &'a Json, refs: &mut Vec<&'a str>) {
        match json {
            Json::Object(object) => object.iter().for_each(|(key, value)| match value {
                Json::String(target) if key == "$ref" => refs.push(target),
                value => collect(value, refs),
            }),
            Json::Array(values) => values.iter().for_each(|value| collect(value, refs)),
            _ => {}
        }
    }
    collect(&schema, &mut refs);
    assert!(refs.len() > 15);
    for target in refs {
        assert!(schema.pointer(&target[1..]).is_some(), "{target}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..400), set in ".{0,30}") {
        let text = String::from_utf8_lossy(&bytes).into_owned();
        if let Err(report) = parse(&text, &[&set]) {
            prop_assert!(!report.to_string().is_empty());
        }
        let _ = parse(FIELD, &[&set]).map_err(|report| report.to_string());
    }

    #[test]
    fn no_mutation_breaks_it(
        cuts in proptest::collection::vec((0..FIELD.len(), 0..40usize, "[a-z0-9\\[\\]{}=.\"\n \u{e9}\u{4e2d}-]{0,9}"), 1..6)
    ) {
        let mut text = FIELD.to_owned();
        for (at, length, by) in cuts {
            let start = text.floor_char_boundary(at.min(text.len()));
            let end = text.floor_char_boundary((start + length).min(text.len())).max(start);
            text.replace_range(start..end, &by);
        }
        match parse(&text, &[]) {
            Ok(recipe) => prop_assert_eq!(parse(&recipe.resolved(), &[]).unwrap().hash(), recipe.hash()),
            Err(report) => {
                let shown = report.to_string();
                prop_assert!(shown.starts_with("error: "), "{}", shown);
                prop_assert!(serde_json::to_string(&report).is_ok());
            }
        }
    }

    #[test]
    fn values_of_any_kind_in_any_place_never_break_it(
        key in prop::sample::select(vec![
            "name", "data", "data.kind", "data.frames", "data.size", "data.size.0", "tokenizer", "tokenizer.video",
            "tokenizer.video.stride", "tokenizer.video.stages", "tokenizer.video.quantizer", "backbone", "backbone.heads",
            "backbone.width", "backbone.entries", "objective.noise", "sampler.temperature", "train", "train.target",
            "train.betas", "train.loss", "train.loss.l1", "evaluate", "evaluate.batch", "tokenizer.video.quantizer.kind",
        ]),
        value in prop::sample::select(vec![
            "0", "-1", "9223372036854775807", "1e308", "nan", "-inf", "true", "\"\"", "word", "[]", "{}", "[[]]", "[0, 0, 0]",
            "{ kind = 3 }", "{ kind = \"kl\" }", "[1, \"a\"]", "1979-05-27", "1.5", "[{ channels = 1, x = [] }]",
        ]),
    ) {
        let set = format!("{key}={value}");
        if let Err(report) = parse(FIELD, &[&set]) {
            let shown = report.to_string();
            prop_assert!(shown.contains("--> "), "{}", shown);
        }
    }
}
