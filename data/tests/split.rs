//! Folders that are split into what is trained on and what is held out, and buckets by the files; with real files.

#![allow(clippy::unwrap_used)]

use musiva_core::dataset::Part;
use musiva_core::{Clip, Dataset, DatasetConfig, MediaShape, Modality, Rate, Sound};
use musiva_data::{FolderConfig, Shapes, SoundsConfig};
use musiva_media::{Metadata, write_clip, write_sound};
use std::{fs, path::Path, sync::Arc};

fn image(path: &Path, [height, width]: [usize; 2], caption: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let clip = Clip::new([1, height, width], Rate::whole(1), vec![99; height * width * 3]).unwrap();
    write_clip(path, &clip, &Metadata::new()).unwrap();
    fs::write(path.with_extension("txt"), caption).unwrap();
}

fn captions(data: &dyn Dataset) -> Vec<String> {
    (0..data.len().unwrap()).map(|i| data.get(i).unwrap().caption).collect()
}

#[test]
fn a_folder_split_as_hugging_face_has_it_holds_out_what_is_not_train() {
    for name in ["test", "validation", "val"] {
        let folder = tempfile::tempdir().unwrap();
        for i in 0..30 {
            image(&folder.path().join(format!("train/{i:02}.png")), [8, 8], &format!("trained {i:02}"));
        }
        for i in 0..3 {
            image(&folder.path().join(name).join(format!("{i}.png")), [8, 8], &format!("held out {i}"));
        }
        let path = folder.path().display().to_string();
        let config = FolderConfig { path, frames: 1, size: [8, 8], ..FolderConfig::default() };
        let trained = captions(&*config.open(Part::Train).unwrap());
        assert_eq!((trained.len(), &*trained[29]), (30, "trained 29"));
        assert_eq!(captions(&*config.open(Part::HeldOut).unwrap()), ["held out 0", "held out 1", "held out 2"]);
    }
    // Without both there is no split.
    let folder = tempfile::tempdir().unwrap();
    for i in 0..30 {
        image(&folder.path().join(format!("test/{i:02}.png")), [8, 8], "one");
    }
    let path = folder.path().display().to_string();
    let config = FolderConfig { path, frames: 1, size: [8, 8], ..FolderConfig::default() };
    assert_eq!(config.open(Part::Train).unwrap().len(), Some(22));
}

#[test]
fn so_does_a_folder_of_sounds() {
    let folder = tempfile::tempdir().unwrap();
    for (part, count) in [("train", 5), ("test", 2)] {
        fs::create_dir(folder.path().join(part)).unwrap();
        for i in 0..count {
            let sound = Sound::new(1, Rate::whole(8000), vec![0.1; 800]).unwrap();
            write_sound(folder.path().join(format!("{part}/{i}.wav")), &sound, &Metadata::new()).unwrap();
        }
    }
    let path = folder.path().display().to_string();
    let config = SoundsConfig { path, rate: 8000, samples: 800, ..SoundsConfig::default() };
    let ids = |part| {
        let data: Arc<dyn Dataset> = config.open(part).unwrap();
        (0..data.len().unwrap()).map(|i| data.get(i).unwrap().id).collect::<Vec<_>>()
    };
    assert_eq!(ids(Part::Train).len(), 5);
    assert_eq!(ids(Part::HeldOut), ["test/0.wav from sample 0", "test/1.wav from sample 0"]);
}

#[test]
fn each_file_is_in_the_bucket_of_its_shape() {
    let folder = tempfile::tempdir().unwrap();
    for i in 0..6 {
        image(&folder.path().join(format!("wide-{i}.png")), [32, 64], "wide");
        image(&folder.path().join(format!("high-{i}.png")), [64, 32], "high");
        image(&folder.path().join(format!("square-{i}.png")), [48, 48], "square");
    }
    let path = folder.path().display().to_string();
    let config: FolderConfig = serde_json::from_value(serde_json::json!({
        "path": path, "frames": 1, "size": [48, 48], "shapes": "auto",
    }))
    .unwrap();
    assert!(matches!(config.shapes, Shapes::Auto(_)));
    let mut found: Vec<_> = DatasetConfig::buckets(&config)
        .iter()
        .map(|(weight, bucket)| {
            let Some(MediaShape::Clip { height, width, .. }) = bucket.shape(Modality::Video) else { panic!("a clip") };
            let mut captions = captions(&*bucket.open(Part::Train).unwrap());
            captions.dedup();
            (captions, [height, width], *weight)
        })
        .collect();
    found.sort_by(|a, b| a.0.cmp(&b.0));
    let of = |caption: &str, size| (vec![caption.to_owned()], size, 0.333);
    assert_eq!(found, [of("high", [64, 32]), of("square", [48, 48]), of("wide", [32, 64])]);
}
