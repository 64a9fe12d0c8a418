//! The examples of a dataset and of a metric, called in process.

#![allow(clippy::unwrap_used)]

#[path = "../../examples/y4m/src/dataset.rs"]
mod dataset;
#[path = "../../examples/moves/src/moves.rs"]
mod moves;
#[path = "../../examples/y4m/src/y4m.rs"]
mod y4m;

use dataset::Y4m;
use moves::Moves;
use musiva_core::dataset::Part;
use musiva_core::{Clip, DatasetConfig, Hosted, Make, Metric, MetricSample, Output, Rate, Registry, Role};
use musiva_plugin_host::{Library, Loaded, Outcome, check, register};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

static ENTRY: musiva_plugin::abi::Entry = musiva_plugin::entry!(Y4m: Dataset, Moves: Metric);

fn loaded(id: &str) -> Loaded {
    // SAFETY: a constant of this process.
    let library = unsafe { Library::from_entry(&ENTRY, "in process") }.unwrap();
    Loaded { id: id.into(), version: "0.1.0".into(), sha256: "0".repeat(64), library }
}

fn open(config: Value) -> Result<Box<dyn DatasetConfig>, String> {
    let mut registry = Registry::default();
    register(&mut registry, &loaded("org.musiva.y4m")).unwrap();
    let make = registry.get(Role::Dataset, "org.musiva.y4m").unwrap().make.dataset().unwrap();
    make(config).map_err(|error| error.to_string())
}

fn metric(config: Value) -> Box<dyn Metric> {
    let mut registry = Registry::default();
    register(&mut registry, &loaded("org.musiva.moves")).unwrap();
    let Make::Hosted(Hosted::Metric(make)) = &registry.get(Role::Metric, "org.musiva.moves").unwrap().make else {
        panic!("a metric")
    };
    make(config).unwrap().build().unwrap()
}

/// A file of frames of one colour each, as `Y Cb Cr`.
fn file(path: &Path, head: &str, [height, width]: [usize; 2], chroma: usize, frames: &[[u8; 3]]) {
    let mut bytes = format!("YUV4MPEG2 W{width} H{height} {head}\n").into_bytes();
    for (i, [y, cb, cr]) in frames.iter().enumerate() {
        bytes.extend_from_slice(if i % 2 == 0 { b"FRAME\n" } else { b"FRAME Ixyz\n" });
        bytes.extend(std::iter::repeat_n(*y, height * width));
        bytes.extend(std::iter::repeat_n(*cb, chroma));
        bytes.extend(std::iter::repeat_n(*cr, chroma));
    }
    fs::write(path, bytes).unwrap();
}

/// 75 % and full bars as ITU-R BT.601 and every signal generator have them.
const WHITE: [u8; 3] = [235, 128, 128];
const RED: [u8; 3] = [81, 90, 240];
const GREEN: [u8; 3] = [145, 54, 34];
const BLUE: [u8; 3] = [41, 240, 110];
const BLACK: [u8; 3] = [16, 128, 128];

#[test]
fn files_are_cut_into_windows_with_their_colours_and_captions() {
    let folder = tempfile::tempdir().unwrap();
    // An odd width: 4:2:0 rounds up to 3 × 2 colour differences of 5 × 4 pixels.
    file(&folder.path().join("b.y4m"), "F8:1 Ip A1:1 C420jpeg", [4, 5], 6, &[RED, GREEN, BLUE, WHITE, BLACK]);
    file(&folder.path().join("a.y4m"), "F8:1 C444 XCOLORRANGE=FULL", [4, 5], 20, &[[128; 3], [0, 128, 128]]);
    fs::write(folder.path().join("b.txt"), "bars\n").unwrap();
    fs::write(folder.path().join("notes.md"), "no clip").unwrap();
    let config = open(json!({ "path": folder.path(), "frames": 2 })).unwrap();
    let data = config.open(Part::Train).unwrap();
    assert_eq!(data.len(), Some(3));
    let colours = |index: u64| {
        let sample = data.get(index).unwrap();
        let clip = sample.clip.unwrap();
        assert_eq!((clip.shape(), clip.rate()), ([2, 4, 5], Rate::whole(8)));
        let frames: Vec<[u8; 3]> = clip
            .pixels()
            .chunks(60)
            .map(|frame| {
                assert!(frame.chunks(3).all(|pixel| pixel == &frame[..3]));
                frame[..3].try_into().unwrap()
            })
            .collect();
        (frames, sample.caption, sample.id)
    };
    assert_eq!(colours(0), (vec![[128; 3], [0; 3]], String::new(), "a.y4m, frames 0 to 1".into()));
    // Within one step: the standard's bytes are rounded.
    let (bars, caption, id) = colours(1);
    let apart = bars.concat().iter().zip([255, 0, 0, 0, 255, 0]).map(|(&a, b)| a.abs_diff(b)).max();
    assert!(apart <= Some(1), "{bars:?}");
    assert_eq!((&*caption, &*id), ("bars", "b.y4m, frames 0 to 1"));
    let (bars, _, id) = colours(2);
    let apart = bars.concat().iter().zip([0, 0, 255, 255, 255, 255]).map(|(&a, b)| a.abs_diff(b)).max();
    assert!(apart <= Some(1) && id == "b.y4m, frames 2 to 3", "{bars:?}, {id}");

    let findings = check(&loaded("org.musiva.y4m"), &json!({ "path": folder.path(), "frames": 2 }));
    assert!(findings.iter().all(|finding| !matches!(finding.outcome, Outcome::Fails(_))), "{findings:#?}");
}

#[test]
fn files_that_are_wrong_are_named() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.y4m");
    let error = |text: &[u8]| {
        fs::write(&path, text).unwrap();
        open(json!({ "path": folder.path(), "frames": 1 })).err().unwrap()
    };
    for (text, words) in [
        (&b""[..], "a.y4m: it is no YUV4MPEG2 file"),
        (b"YUV4MPEG2 W4 H4 F8:1", "a line of it does not end"),
        (b"YUV4MPEG2 \xff\n", "a line of it is no text"),
        (b"YUV4MPEG2 W4 Hx F8:1\n", "its first line says `Hx`"),
        (b"YUV4MPEG2 W4 F8:1\n", "its frames are of [0, 4]"),
        (b"YUV4MPEG2 W4 H4 F8:0\n", "at [8, 0], which are none"),
        (b"YUV4MPEG2 W99999999 H4 F8:1\n", "which are none"),
        (b"YUV4MPEG2 W4 H4 F8:1 C420p10\n", "its colours are `420p10`"),
        (b"YUV4MPEG2 W4 H4 F8:1\nFRAMES\n", "where a frame should begin"),
        (b"YUV4MPEG2 W4 H4 F8:1\nFRAME\nshort", "holds no .y4m file of at least 1 frames"),
        (&[b'Y'; 5000], "a line of it does not end"),
    ] {
        let error = error(text);
        assert!(error.contains(words), "{error}");
    }
    file(&path, "F8:1 C444", [4, 4], 16, &[RED]);
    file(&folder.path().join("b.y4m"), "F9:1 C444", [4, 4], 16, &[RED]);
    let error = open(json!({ "path": folder.path(), "frames": 1 })).err().unwrap();
    assert!(error.contains("b.y4m has frames of [4, 4] at [9, 1]"), "{error}");
    assert!(open(json!({ "path": folder.path().join("gone") })).err().unwrap().contains("gone: No such file"));
}

/// A square of one pixel on black, at these places.
fn dots(places: &[usize]) -> Clip {
    let mut pixels = vec![0; places.len() * 35 * 3];
    places.iter().enumerate().for_each(|(t, place)| pixels[(t * 35 + place) * 3..][..3].fill(200));
    Clip::new([places.len(), 5, 7], Rate::whole(8), pixels).unwrap()
}

/// Shows a metric two clips of [`dots`].
fn update(metric: &mut dyn Metric, made: &[usize], reference: &[usize]) -> musiva_core::Result<()> {
    let [made, reference] = [made, reference].map(|places| Output::from(dots(places)));
    metric.update(MetricSample { made: &made, given: &Output::default(), reference: &reference, caption: "" })
}

#[test]
fn what_moves_is_counted_place_by_place() {
    let measured = |pairs: &[(&[usize], &[usize])]| {
        let mut metric = metric(json!({ "threshold": 24 }));
        pairs.iter().for_each(|(made, reference)| update(&mut *metric, made, reference).unwrap());
        let all = metric.result().unwrap();
        [all["overlap"], all["moving"], all["moving_reference"]]
    };
    let pixels = 2.0 * 35.0;
    assert_eq!(measured(&[(&[3, 4, 5], &[3, 4, 5])]), [1.0, 4.0 / pixels, 4.0 / pixels]);
    assert_eq!(measured(&[(&[9, 9, 9], &[3, 3, 3])]), [1.0, 0.0, 0.0]);
    assert_eq!(measured(&[(&[9, 9, 9], &[3, 4, 5])]), [0.0, 0.0, 4.0 / pixels]);
    // Both change at 3 and 4 in the first step, the reference alone at 4 and 5 in the second.
    assert_eq!(measured(&[(&[3, 4, 4], &[3, 4, 5])]), [0.5, 2.0 / pixels, 4.0 / pixels]);
    assert_eq!(measured(&[(&[3, 4, 5], &[3, 4, 5]), (&[9, 9, 9], &[3, 4, 5])])[0], 0.5);
    assert_eq!(measured(&[(&[3], &[9])]), [1.0, 0.0, 0.0]);
    let error = update(&mut *metric(json!({ "threshold": 24 })), &[3], &[3, 4]).unwrap_err().to_string();
    assert!(error.contains("a clip of [1, 5, 7] was made, its reference is [2, 5, 7]"), "{error}");
    let findings = check(&loaded("org.musiva.moves"), &json!({ "threshold": 9 }));
    assert!(findings.iter().all(|finding| !matches!(finding.outcome, Outcome::Fails(_))), "{findings:#?}");
}
