//! Folders of small files, each of which stands for a kind, and what is right for them.

#![allow(clippy::unwrap_used)]

use musiva_core::dataset::Part;
use musiva_core::{Dataset, DatasetConfig};
use musiva_data::FolderConfig;
use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

/// A folder of the shared test data; `None`, with a word, where it is missing.
fn case(name: &str) -> Option<PathBuf> {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/cases")).join(name);
    if !path.exists() {
        println!("skipped: {} is missing", path.display());
        return None;
    }
    Some(path)
}

fn open(path: &Path, config: FolderConfig) -> Arc<dyn Dataset> {
    FolderConfig { path: path.display().to_string(), ..config }.open(Part::Train).unwrap()
}

/// One window of all its captions, each with the name of its file, in order.
fn captions(data: &dyn Dataset) -> Vec<(String, String)> {
    let all = (0..data.len().unwrap()).map(|i| data.get(i).unwrap());
    all.map(|sample| (sample.id.split(" from ").next().unwrap().to_owned(), sample.caption)).collect()
}

/// Windows so long that each file of 24 frames has one.
fn whole() -> FolderConfig {
    FolderConfig { frames: 24, size: [16, 24], ..FolderConfig::default() }
}

fn pairs(wanted: &[(&str, &str)]) -> Vec<(String, String)> {
    wanted.iter().map(|(name, caption)| (name.to_string(), caption.to_string())).collect()
}

#[test]
fn captions_are_read_as_hugging_face_reads_them() {
    let cases: [(&str, &[(&str, &str)]); 6] = [
        ("folder-jsonl-backslash", &[("sub/a.mp4", "a red ring"), ("sub/b.mp4", "a blue ring")]),
        ("folder-jsonl-caption-key", &[("a.mp4", "a red ring"), ("b.mp4", "a blue ring")]),
        ("folder-jsonl-crlf", &[("a.mp4", "a red ring"), ("b.mp4", "a blue ring")]),
        ("folder-jsonl-in-subfolder", &[("a.mp4", "a blue ring"), ("train/c.mp4", "a red ring")]),
        ("folder-caption-latin1", &[("a.mp4", "a red ring")]),
        (
            "folder-captions-beside",
            &[
                ("bom.mp4", "a red ring"),
                ("crlf.mp4", "a red ring"),
                ("lines.mp4", "a red ring\nmoves left"),
                ("quotes.mp4", "a \"red\" ring\\n"),
                ("unicode.mp4", "ein rötlicher Ring, 红色 🔴"),
            ],
        ),
    ];
    for (name, wanted) in cases {
        let Some(path) = case(name) else { return };
        let data = open(&path, whole());
        assert_eq!(captions(&*data), pairs(wanted), "{name}");
    }
    let Some(path) = case("folder-odd-names") else { return };
    let data = open(&path, whole());
    assert_eq!(data.report().clips, Some(7));
    assert!(captions(&*data).iter().all(|(_, caption)| caption == "a red ring") && data.len() == Some(7));
}

#[test]
fn what_is_broken_inside_is_left_out_and_the_others_are_trained_on() {
    let Some(path) = case("folder-one-broken-inside") else { return };
    let config = FolderConfig { frames: 3, size: [16, 24], ..FolderConfig::default() };
    let data = open(&path, config.clone());
    let count = data.len().unwrap();
    let all: Vec<_> = (0..count).map(|i| data.get(i).unwrap()).collect();
    let files = data.unreadable();
    assert!(files.len() == 1 && files[0].place.ends_with("05b.mp4") && files[0].count > 0, "{files:?}");
    assert!(!files[0].why.contains("OpenH264"), "{}", files[0].why);
    // From wherever it goes on, it goes on with the same samples.
    let again = open(&path, config);
    for i in (0..count).rev().step_by(3) {
        assert_eq!(again.get(i).unwrap(), all[i as usize], "{i}");
    }
    let Some(path) = case("folder-one-jpeg-cut-off") else { return };
    let data = open(&path, FolderConfig { frames: 1, size: [16, 24], ..FolderConfig::default() });
    let report = data.report();
    assert_eq!((report.clips, report.windows, report.dropped[0].count), (Some(9), Some(7), 2));
    assert!(report.dropped[0].example.starts_with("cut.jpg: "), "{:?}", report.dropped);
}

#[test]
fn flash_and_burst_come_together() {
    for name in ["av-both-from-0.mp4", "av-sound-starts-0.5s-late.mp4"] {
        let Some(path) = case(name) else { return };
        let folder = tempfile::tempdir().unwrap();
        fs::copy(path, folder.path().join("a.mp4")).unwrap();
        fs::write(folder.path().join("a.txt"), "a flash").unwrap();
        let config = FolderConfig { frames: 24, size: [16, 16], sound: Some(16_000), ..FolderConfig::default() };
        let sample = open(folder.path(), config).get(0).unwrap();
        let clip = sample.clip.as_ref().unwrap();
        let flash = (0..24).position(|t| clip.frame(t)[0] > 150).unwrap();
        let sound = sample.sound.as_ref().unwrap();
        let burst = sound.samples().iter().position(|sample| sample.abs() > 0.1).unwrap();
        let (flash, burst) = (flash as f64 / 8.0, burst as f64 / 16_000.0);
        assert!((flash - burst).abs() < 0.01, "{name}: a flash at {flash} s, a burst at {burst} s");
    }
}

#[cfg(unix)]
#[test]
fn names_of_all_kinds_are_found() {
    use std::{ffi::OsStr, os::unix::ffi::OsStrExt};
    let folder = tempfile::tempdir().unwrap();
    let image = {
        let clip = musiva_core::Clip::new([1, 8, 8], musiva_core::Rate::whole(1), vec![90; 8 * 8 * 3]).unwrap();
        let path = folder.path().join("0.png");
        musiva_media::write_clip(&path, &clip, &musiva_media::Metadata::new()).unwrap();
        fs::read(path).unwrap()
    };
    let names: [&[u8]; 6] =
        [b"a\nb.png", b"not \xff UTF-8.png", b"#?\"'&.png", b"-i.png", b"concat:a|b.png", b"%d.png"];
    for name in names {
        let path = folder.path().join(OsStr::from_bytes(name));
        fs::write(&path, &image).unwrap();
        fs::write(path.with_extension("txt"), "a caption").unwrap();
    }
    fs::write(folder.path().join("metadata.jsonl"), "{\"file_name\": \"0.png\", \"text\": \"listed\"}").unwrap();
    let data = open(folder.path(), FolderConfig { frames: 1, size: [8, 8], ..FolderConfig::default() });
    let found = captions(&*data);
    assert_eq!(found.len(), 7);
    assert!(found.iter().any(|(name, caption)| name == "a\\nb.png" && caption == "a caption"), "{found:?}");
    assert!(found.iter().all(|(name, _)| !name.contains('\n')));
    assert_eq!(found.iter().filter(|(_, caption)| caption == "listed").count(), 1);
}
