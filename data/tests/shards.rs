//! The same clips in a folder and in tar shards, with real files.

#![allow(clippy::unwrap_used)]

use musiva_core::dataset::{Part, Sample};
use musiva_core::{Clip, Dataset, DatasetConfig, Modality, Rate, Registry, Role, Sound};
use musiva_data::folder::Captions;
use musiva_data::{FolderConfig, SoundsConfig, WebDatasetConfig};
use musiva_media::{Metadata, WriteOptions, write_clip, write_movie, write_sound};
use serde_json::{Value, json};
use std::{fs, path::Path, sync::Arc};

/// A shard of these files, named as they are.
fn shard(path: &Path, folder: &Path, names: &[&str]) {
    let mut out = tar::Builder::new(fs::File::create(path).unwrap());
    for name in names {
        out.append_path_with_name(folder.join(name), name).unwrap();
    }
    out.into_inner().unwrap();
}

fn tone(rate: u32, hertz: f32, samples: usize) -> Sound {
    let wave = |k: usize| (std::f32::consts::TAU * hertz * k as f32 / rate as f32).sin() * 0.5;
    Sound::new(1, Rate::whole(rate), (0..samples).map(wave).collect()).unwrap()
}

/// A movie, a clip with its sound beside it, a still and a file that is broken, with captions; in two shards, too.
fn files() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let clip = |shade: u8| {
        let pixels = (0..24u8).flat_map(|t| vec![shade + 2 * t; 16 * 24 * 3]).collect();
        Clip::new([24, 16, 24], Rate::whole(8), pixels).unwrap()
    };
    write_movie(at("a.mp4"), &clip(20), &tone(22_050, 440.0, 66_150), &Metadata::new(), &WriteOptions::default())
        .unwrap();
    write_clip(at("b.gif"), &clip(90), &Metadata::new()).unwrap();
    write_sound(at("b.wav"), &tone(8000, 220.0, 24_000), &Metadata::new()).unwrap();
    write_clip(at("c.png"), &clip(40).slice(0..1), &Metadata::new()).unwrap();
    fs::write(at("d.mp4"), b"\0\0\0\x18ftypisom no more").unwrap();
    for (name, text) in [("a.txt", "a tone"), ("b.txt", "another"), ("c.txt", "one picture"), ("d.txt", "broken")] {
        fs::write(at(name), text).unwrap();
    }
    shard(&at("s-00.tar"), folder.path(), &["a.mp4", "a.txt", "d.mp4", "d.txt"]);
    shard(&at("s-01.tar"), folder.path(), &["b.wav", "b.gif", "b.txt", "c.txt", "c.png"]);
    folder
}

fn all(data: &dyn Dataset) -> Vec<Sample> {
    (0..data.len().unwrap()).map(|i| data.get(i).unwrap()).collect()
}

#[test]
fn shards_hold_what_a_folder_holds() {
    let folder = files();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = FolderConfig { frames: 5, size: [8, 12], sound: Some(8000), ..FolderConfig::default() };
    let of_folder = FolderConfig { path: path(""), ..config.clone() }.open(Part::Train).unwrap();
    let shards = WebDatasetConfig(FolderConfig { path: path("s-{00..01}.tar"), ..config.clone() });
    assert!(shards.errors().is_empty() && shards.missing().is_none());
    let of_shards = shards.open(Part::Train).unwrap();
    let (wanted, found) = (all(&*of_folder), all(&*of_shards));
    assert_eq!((wanted.len(), found.len()), (8, 8));
    for (wanted, found) in wanted.iter().zip(&found) {
        assert_eq!((&found.clip, &found.caption), (&wanted.clip, &wanted.caption), "{}", found.id);
        assert!(found.id.ends_with(&wanted.id) && found.id.starts_with("s-0"), "{}", found.id);
    }
    // The movie has its own sound; that of the GIF lies beside it in its shard.
    assert_eq!(found[1].sound, wanted[1].sound);
    let heard = |sample: &Sample| sample.sound.as_ref().unwrap().samples().iter().any(|sample| sample.abs() > 0.4);
    assert!(heard(&found[5]) && !heard(&wanted[5]));
    let report = of_shards.report();
    let dropped: Vec<_> = report.dropped.iter().map(|d| (d.reason.as_str(), d.count, d.example.as_str())).collect();
    assert_eq!((report.clips, report.windows), (Some(4), Some(8)));
    assert!(dropped[0].0 == "unreadable" && dropped[0].2.starts_with("s-00.tar/d.mp4: "), "{dropped:?}");
    assert!(dropped[1].0.starts_with("shorter than 5 frames") && dropped[1].2.starts_with("s-01.tar/c.png"));
    // From whichever sample it goes on, it is the same.
    let again = shards.open(Part::Train).unwrap();
    assert!([7, 2, 5].iter().all(|&i| again.get(i).unwrap() == found[i as usize]));
    // A folder of shards is all of them; one of files is none of shards.
    let apart = tempfile::tempdir().unwrap();
    for name in ["s-00.tar", "s-01.tar"] {
        fs::copy(folder.path().join(name), apart.path().join(name)).unwrap();
    }
    let of = |path: String| WebDatasetConfig(FolderConfig { path, ..config.clone() });
    assert_eq!(all(&*of(apart.path().display().to_string()).open(Part::Train).unwrap()), found);
    let wrong = FolderConfig { path: apart.path().display().to_string(), ..config.clone() };
    assert!(wrong.missing().unwrap().hint.contains("kind = \"webdataset\""));
    let gone = of(path("s-{00..02}.tar"));
    assert!(gone.missing().unwrap().message.contains("of 3 shards 1 are not there") && gone.open(Part::Train).is_err());
}

#[test]
fn sounds_lie_in_shards_too() {
    let folder = files();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let config = SoundsConfig { path: path("s-{00,01}.tar"), rate: 8000, samples: 8000, ..SoundsConfig::default() };
    let config = SoundsConfig { held_out: vec!["nobody".into()], ..config };
    assert!(config.missing().is_none());
    let data = config.open(Part::Train).unwrap();
    let found = all(&*data);
    assert_eq!(found.iter().map(|s| s.caption.as_str()).collect::<Vec<_>>(), [["a tone"; 3], ["another"; 3]].concat());
    assert!(found[4].sound.as_ref().unwrap().samples().iter().any(|sample| sample.abs() > 0.4));
    assert!(data.report().dropped.iter().any(|d| d.reason == "kinds of members that are not read"));
}

#[test]
fn members_that_need_ffmpeg_get_it() {
    let case = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/cases/hevc.mp4"));
    let there = |program: &str| std::process::Command::new(program).arg("-version").output().is_ok();
    if !case.exists() || !there("ffmpeg") || !there("ffprobe") {
        println!("skipped: {} or ffmpeg is missing", case.display());
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("a, b:c.tar");
    shard(&tar, case.parent().unwrap(), &["plain-8fps-24.mp4", "hevc.mp4"]);
    let config = FolderConfig { frames: 24, size: [16, 24], captions: Captions::Optional, ..FolderConfig::default() };
    let config = FolderConfig { path: tar.display().to_string(), sound: Some(16_000), ..config };
    let found = all(&*WebDatasetConfig(config).open(Part::Train).unwrap());
    assert_eq!(found.len(), 2);
    let [own, theirs] = [0, 1].map(|i| found[i].clip.clone().unwrap());
    for t in 0..24 {
        let far = own.frame(t).iter().zip(theirs.frame(t)).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(far < Some(24), "frame {t}: {far:?}");
    }
}

fn mixture(sources: Value) -> Result<Box<dyn DatasetConfig>, serde_json::Error> {
    let mut registry = Registry::default();
    musiva_data::register(&mut registry).unwrap();
    registry.get(Role::Dataset, "mixture").unwrap().make.dataset().unwrap()(json!({ "sources": sources }))
}

#[test]
fn a_mixture_is_of_one_shape() {
    let folder = files();
    let path = |name: &str| folder.path().join(name).display().to_string();
    let own = json!({ "kind": "webdataset", "path": path("s-{00..01}.tar"), "frames": 5, "size": [16, 16] });
    let world = json!({ "kind": "world", "frames": 5, "size": [16, 16] });
    let with = |source: &Value, key: &str, value: Value| {
        let mut source = source.clone();
        source[key] = value;
        source
    };
    let both =
        |second: &Value| mixture(json!([{ "weight": 3.0, "data": own }, { "weight": 1.0, "data": second }])).unwrap();
    let config = both(&world);
    assert!(config.errors().is_empty(), "{:?}", config.errors());
    let shape = |config: &dyn DatasetConfig| config.shape(Modality::Video);
    assert_eq!(shape(&*config), config.buckets()[1].1.shape(Modality::Video));
    assert_eq!(config.buckets().iter().map(|(weight, _)| *weight).collect::<Vec<_>>(), [3.0, 1.0]);
    let data = config.open(Part::Train).unwrap();
    assert_eq!(data.len(), None);
    let shown: Vec<_> = (0..8).map(|i| data.get(i).unwrap()).collect();
    assert_eq!(shown.iter().filter(|sample| sample.id.contains(".tar/")).count(), 6);
    assert!(config.numbers().is_empty(), "only the world tells how fast something moves");

    let errors = |second: &Value| both(second).errors().into_iter().map(|e| (e.path, e.message)).collect::<Vec<_>>();
    let unlike = errors(&with(&world, "frames", json!(9)));
    assert!(unlike.len() == 1 && unlike[0].0 == "sources[1].data", "{unlike:?}");
    assert!(unlike[0].1.contains("`world` has clips of shape [9, 16, 16, 3]"), "{unlike:?}");
    assert_eq!(errors(&with(&world, "sound", json!(8000)))[0].0, "sources[1].data");
    assert_eq!(errors(&with(&own, "size", json!([1, 16])))[0].0, "sources[1].data.size");
    let gone = both(&with(&own, "path", json!("no/such.tar"))).missing().unwrap();
    assert_eq!(gone.path, "sources[1].data.path");
    assert!(mixture(json!([{ "weight": 0.0, "data": own }])).unwrap().errors()[0].path == "sources");
    assert!(mixture(json!([{ "weight": 1.0, "data": { "kind": "mixture", "sources": [] } }])).is_err());
    // Buckets of a source are buckets of the mixture.
    let shapes =
        json!([{ "frames": 5, "size": [16, 16], "weight": 1.0 }, { "frames": 9, "size": [16, 24], "weight": 3.0 }]);
    let buckets = both(&with(&world, "shapes", shapes)).buckets();
    assert_eq!(buckets.iter().map(|(weight, _)| *weight).collect::<Vec<_>>(), [3.0, 0.25, 0.75]);
    let _: Arc<dyn Dataset> = buckets[2].1.open(Part::HeldOut).unwrap();
}
