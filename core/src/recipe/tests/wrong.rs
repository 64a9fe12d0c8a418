//! Recipes that are wrong, with the exact words that say so.

use super::*;
use crate::files;
use crate::parameters::{Precision, Weight, save_weights};

/// Compares the report of a recipe with what is written in `snapshots/`.
#[track_caller]
fn refused(name: &str, result: Result<Recipe, Report>) {
    let report = match result {
        Ok(_) => panic!("{name}: the recipe was accepted"),
        Err(report) => report.to_string(),
    };
    snapshot(name, &report);
}

#[test]
fn keys_and_values() {
    for (name, line, by) in [
        ("misspelt_key", "width = 128", "widht = 128"),
        ("unknown_key", "width = 128", "colour = 128"),
        ("misspelt_section", "[sampler]", "[sampelr]"),
        ("kind_without_modality", "[tokenizer.video]", "[tokenizer]"),
        ("misspelt_kind", "kind = \"field\"", "kind = \"feild\""),
        ("unknown_kind", "kind = \"field\"", "kind = \"mamba\""),
        ("kind_of_another_type", "kind = \"field\"", "kind = 7"),
        ("missing_kind", "kind = \"field\"\n", ""),
        ("string_for_number", "heads = 4", "heads = \"4\""),
        ("float_for_whole_number", "heads = 4", "heads = 4.0"),
        ("table_for_number", "heads = 4", "heads = { count = 4 }"),
        ("number_for_boolean", "heads = 4", "scales = 1"),
        ("misspelt_and_set", "heads = 4", "heads = 4\nhead = 8"),
        ("value_for_section", "[objective]\nkind = \"flow\"", "[evaluate]\nseed = 3\n[[objective]]"),
        ("below_minimum", "heads = 4", "heads = 0"),
        ("negative", "frames = 17", "frames = -17"),
        ("above_maximum", "width = 128", "width = 20000"),
        ("at_exclusive_minimum", "kind = \"euler\"", "kind = \"euler\"\ntemperature = 0.0"),
        ("not_finite", "steps = 1000", "learning_rate = nan"),
        ("not_in_enum", "kind = \"flow\"", "kind = \"flow\"\nnoise = \"cosin\""),
        ("not_in_documented_enum", "frames = 17", "captions = \"sometimes\""),
        ("array_too_short", "frames = 17", "size = [64]"),
        (
            "array_too_long",
            "kind = \"blocks\"",
            "kind = \"blocks\"\nstages = [{ channels = 1 }, { channels = 2 }, { channels = 3 }, { channels = 4 }]",
        ),
        ("wrong_element", "frames = 17", "size = [64, \"64\"]"),
        ("missing_key_in_array", "kind = \"blocks\"", "kind = \"blocks\"\n[[tokenizer.video.stages]]\nblocks = 3"),
        ("missing_key_of_a_kind", "kind = \"blocks\"", "kind = \"blocks\"\nquantizer = { kind = \"kl\" }"),
        (
            "key_of_another_kind",
            "kind = \"blocks\"",
            "kind = \"blocks\"\nquantizer = { kind = \"kl\", channels = 8, bits = 10 }",
        ),
        ("bits_above_maximum", "kind = \"blocks\"", "kind = \"blocks\"\nquantizer.kind = \"lfq\"\nquantizer.bits = 40"),
        ("missing_target", "target = \"backbone\"\n", ""),
        ("wrong_target", "target = \"backbone\"", "target = \"backbon\""),
        ("date", "steps = 1000", "steps = 1979-05-27"),
        ("weights_of_nothing", "weights = \"words.json\"", "weights = \"\""),
        ("weights_where_nothing_learns", "kind = \"euler\"", "kind = \"euler\"\nweights = \"a.safetensors\""),
        ("schema_of_the_future", "schema = 1", "schema = 2"),
        ("no_schema", "schema = 1\n", ""),
        ("syntax", "width = 128", "width = "),
        ("unquoted_word", "kind = \"field\"", "kind = field # a comment"),
        ("unclosed_array", "frames = 17", "size = [64, 64"),
        ("unclosed_header", "[sampler]", "[sampler"),
        ("unclosed_string", "name = \"small\"", "name = \"small"),
        ("duplicate_key", "width = 128", "width = 128\nwidth = 256"),
        ("duplicate_table", "[sampler]\nkind = \"euler\"", "[backbone]\nkind = \"field\""),
        ("terminal_escapes", "name = \"small\"", "\"\\u001b[31m\" = \"\\u001b[0m\""),
    ] {
        refused(name, parse(&edited(line, by), &[]));
    }
}

#[test]
fn parts_that_do_not_fit() {
    for (name, line, by) in [
        ("heads_do_not_divide", "heads = 4", "heads = 5"),
        ("frames_do_not_fit", "frames = 17", "frames = 16"),
        ("default_does_not_fit", "kind = \"blocks\"", "kind = \"blocks\"\nstride = [4, 7, 8]"),
        ("flaw_in_an_element", "frames = 17", "size = [64, 63]"),
        ("latents_for_codes", "kind = \"field\"", "kind = \"causal\""),
        ("text_tokenizer_for_video", "kind = \"blocks\"", "kind = \"words\""),
        ("objective_of_another_backbone", "kind = \"flow\"", "kind = \"next\""),
        ("sampler_of_another_backbone", "kind = \"euler\"", "kind = \"picks\""),
        ("sampler_of_another_process", "kind = \"flow\"", "kind = \"flow\"\nnoise = \"cosine\""),
        ("track_without_tokenizer", "[train]", "[track.audio]\npattern = \"flat\"\n\n[train]"),
        ("pattern_misspelt", "[train]", "[track.video]\npattern = \"delays\"\n\n[train]"),
        ("pattern_of_one_codebook", "[train]", "[track.video]\npattern = \"delay\"\n\n[train]"),
        (
            "task_of_an_unknown_track",
            "[train]",
            "[[task]]\nname = \"a\"\nvideo = \"target\"\ndepth = \"context\"\n\n[train]",
        ),
        ("task_that_generates_nothing", "[train]", "[[task]]\nname = \"a\"\nvideo = \"context\"\n\n[train]"),
        ("no_data", "[data]\nkind = \"clips\"\nframes = 17\n", ""),
        ("no_objective", "[objective]\nkind = \"flow\"\n", ""),
        ("objective_and_sampler_of_another_backbone", "kind = \"field\"", "kind = \"causal\""),
        ("windows_for_a_backbone", "steps = 1000", "frames = 9"),
    ] {
        let mut text = edited(line, by);
        if name == "latents_for_codes" {
            text = text.replace("kind = \"blocks\"", "kind = \"blocks\"\nquantizer = { kind = \"kl\", channels = 8 }");
        }
        refused(name, parse(&text, &[]));
    }
    let tokenizer = "schema = 1\n[data]\nkind = \"clips\"\n[tokenizer.video]\nkind = \"blocks\"\n[train]\n\
                     target = \"tokenizer.video\"\nframes = 10\n";
    refused("windows_do_not_fit", parse(tokenizer, &[]));
    refused("windows_longer_than_clips", parse(&tokenizer.replace("10", "21"), &[]));
    let causal = edited("kind = \"field\"", "kind = \"causal\"\nentries = 512");
    refused("vocabulary_overflow", parse(&causal, &[]));
    refused("nothing_in_it", parse("schema = 1\n", &[]));
    refused("empty", parse("", &[]));
}

#[test]
fn everything_at_once() {
    let text = edited("heads = 4", "heads = 5").replace("frames = 17", "frame = 16").replace("\"euler\"", "\"eulre\"");
    refused("everything_at_once", parse(&text, &["train.batch=0"]));
    let error = Error::from(parse(&text, &[]).unwrap_err());
    assert_eq!(error.kind(), ErrorKind::Recipe);
    assert!(error.to_string().starts_with("recipes/x.toml: 3 errors in this recipe\n\nerror: `data.frame`"));
}

#[test]
fn sets() {
    for (name, sets) in [
        ("set_without_equals", &["backbone.heads"] as &[_]),
        ("set_without_value", &["backbone.heads="]),
        ("set_without_path", &["=4"]),
        ("set_of_the_schema", &["schema=2"]),
        ("set_of_an_unknown_key", &["backbone.head=4"]),
        ("set_of_another_type", &["backbone.heads=many"]),
        ("set_that_does_not_fit", &["backbone.heads=5"]),
        ("set_below_a_value", &["backbone.heads.count=5"]),
        ("set_beyond_an_array", &["data.size=[64, 64]", "data.size.2=64"]),
        ("set_too_deep", &["a.b.c.d.e.f.g.h.i.j.k.l.m.n.o.p.q.r=1"]),
        ("set_of_an_unknown_section", &["model.width=4"]),
    ] {
        refused(name, parse(FIELD, sets));
    }
}

/// The report of recipes in a folder, without the folder's name.
fn in_folder(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        files::write(&folder.path().join(name), text.as_bytes()).unwrap();
    }
    let report = Recipe::open(&folder.path().join("a.toml"), &[], &registry()).unwrap_err();
    redacted(&report, folder.path())
}

fn redacted(report: &Report, folder: &Path) -> String {
    report.to_string().replace(&format!("{}/", folder.display()), "")
}

#[test]
fn files_that_extend_others() {
    let extends = |name: &str| format!("schema = 1\nextends = \"{name}\"\n");
    let circle =
        [("a.toml", &*extends("b/b.toml")), ("b/b.toml", &extends("c.toml")), ("b/c.toml", &extends("../a.toml"))];
    snapshot("extends_in_a_circle", &in_folder(&circle));
    snapshot("extends_itself", &in_folder(&[("a.toml", &extends("./a.toml"))]));
    snapshot("extends_nothing", &in_folder(&[("a.toml", &extends("base.toml"))]));
    snapshot("extends_without_toml", &in_folder(&[("a.toml", &extends("base"))]));
    snapshot("extends_a_number", &in_folder(&[("a.toml", "schema = 1\nextends = 7\n")]));
    let wrong_below = [("a.toml", &*extends("base.toml")), ("base.toml", &edited("heads = 4", "heads = 5"))];
    snapshot("wrong_in_what_is_extended", &in_folder(&wrong_below));
    let no_toml = [("a.toml", &*extends("base.toml")), ("base.toml", "a = = 1")];
    snapshot("no_toml_in_what_is_extended", &in_folder(&no_toml));
    let mut both = extends("base.toml");
    both.push_str("[data]\nframes = 16\n");
    let future = [("a.toml", &*extends("base.toml")), ("base.toml", "schema = 2")];
    snapshot("extends_the_future", &in_folder(&future));
    snapshot("wrong_in_what_extends", &in_folder(&[("a.toml", &both), ("base.toml", FIELD)]));
    snapshot("no_such_recipe", &in_folder(&[]));
}

#[test]
fn a_file_that_is_no_text() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.toml");
    files::write(&path, b"schema = 1\nname = \"\xff\"").unwrap();
    snapshot("not_utf8", &redacted(&Recipe::open(&path, &[], &registry()).unwrap_err(), folder.path()));
}

#[test]
fn weights() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("x.toml");
    files::write(&path, FIELD.as_bytes()).unwrap();
    let recipe = Recipe::open(&path, &[], &registry()).unwrap();
    let look = |needed: &[Target]| redacted(&recipe.check_weights(needed), folder.path());
    files::write(&folder.path().join("words.json"), b"{}").unwrap();
    snapshot("weights_missing", &look(&Target::ALL));
    assert!(!recipe.check_weights(Target::Video.needs()).failed());
    snapshot("weights_missing_of_what_is_trained", &look(Target::Backbone.needs()));

    let video = folder.path().join("video.safetensors");
    let save = |shape: [usize; 2]| {
        let weight = Weight { shape: shape.to_vec(), values: vec![0.5; shape[0] * shape[1]] };
        save_weights(&video, &[("w".to_owned(), weight)].into(), Precision::Bf16, Default::default()).unwrap();
    };
    let only_video = || {
        let mut report = recipe.check_weights(&Target::ALL);
        report.0.retain(|diagnostic| diagnostic.path.starts_with("tokenizer.video"));
        redacted(&report, folder.path())
    };
    save([32, 1000]);
    assert_eq!(only_video(), "");
    save([31, 1000]);
    snapshot("weights_of_another_shape", &only_video());
    let whole = std::fs::read(&video).unwrap();
    files::write(&video, &whole[..whole.len() - 7]).unwrap();
    snapshot("weights_truncated", &only_video());
    files::write(&video, &whole[..40]).unwrap();
    snapshot("weights_truncated_in_the_header", &only_video());
    files::write(&video, &[0xff; 40]).unwrap();
    snapshot("weights_of_another_format", &only_video());
    files::write(&video, b"").unwrap();
    snapshot("weights_empty", &only_video());
    let unnamed = parse(&edited("weights = \"video.safetensors\"\n", ""), &[]).unwrap();
    assert!(
        unnamed.check_weights(&Target::ALL).to_string().contains("`tokenizer.video.weights`: no weights are named")
    );
    assert!(unnamed.need_tokenizer(Modality::Video).unwrap().weight_init().is_err());
}
