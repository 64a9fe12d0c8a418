//! Which checkpoint is the newest, and which are removed.

use super::*;
use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use musiva_core::Init;
use musiva_core::recipe::TrainSettings;
use std::fs;

#[derive(Module, Debug)]
struct One {
    w: Param<Tensor<1>>,
}

/// Saves a checkpoint after `step` steps.
fn save(folder: &Path, keep: usize, step: u64) {
    let model = One { w: Init::new(step, &Device::flex()).normal([3], 1.0) };
    let optimizer = Optimizer::new(&TrainSettings::default(), &model).unwrap();
    let learner = Learner { part: "", parameters: &model, optimizer: &optimizer };
    let path = Checkpoint::save(folder, keep, step, &format!("recipe of {step}"), &[learner]).unwrap();
    assert!(path.exists(), "what was just saved is there");
}

/// The names in a folder, sorted.
fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Steps whose numbers have other counts of digits, from one to more than the eight that names are filled up to.
const STEPS: [u64; 7] = [9, 10, 99, 100, 1_000_000, 99_999_999, 100_000_000];

#[test]
fn the_newest_is_that_of_the_most_steps_whatever_its_digits() {
    let folder = tempfile::tempdir().unwrap();
    for step in STEPS {
        save(folder.path(), STEPS.len(), step);
        let newest = Checkpoint::newest(folder.path()).unwrap();
        assert_eq!((newest.step, newest.recipe), (step, format!("recipe of {step}")));
    }
    // The order in which they were written does not count.
    save(folder.path(), 2 * STEPS.len(), 50);
    assert_eq!(Checkpoint::newest(folder.path()).unwrap().step, 100_000_000);
}

#[test]
fn names_that_are_not_filled_up_are_numbers_too() {
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), 9, 9);
    save(folder.path(), 9, 10);
    // As other programs may have named them.
    for (from, to) in [("00000009", "9"), ("00000010", "10")] {
        let path = |stem: &str| folder.path().join(format!("{stem}.safetensors"));
        fs::rename(path(from), path(to)).unwrap();
    }
    assert_eq!(Checkpoint::newest(folder.path()).unwrap().step, 10);
}

#[test]
fn all_but_the_newest_are_removed() {
    for keep in 1..=STEPS.len() {
        let folder = tempfile::tempdir().unwrap();
        for (done, step) in (1..).zip(STEPS) {
            save(folder.path(), keep, step);
            let kept = &STEPS[done - keep.min(done)..done];
            let mut wanted: Vec<String> = kept.iter().map(|step| format!("{step:08}.safetensors")).collect();
            wanted.sort();
            assert_eq!(names(folder.path()), wanted, "{keep} kept after {step} steps");
        }
    }
    // None would be left to go on from.
    let folder = tempfile::tempdir().unwrap();
    save(folder.path(), 0, 3);
    assert_eq!(Checkpoint::newest(folder.path()).unwrap().step, 3);
}

#[test]
fn what_is_no_whole_checkpoint_is_neither_read_nor_removed() {
    let folder = tempfile::tempdir().unwrap();
    let others = [
        ".00000099.safetensors.417.tmp",
        ".00000099.safetensors",
        "00000098.safetensors.tmp",
        "99.safetensors.old",
        "best.safetensors",
        "00000097-copy.safetensors",
        ".safetensors",
        "notes.txt",
    ];
    for name in others {
        fs::write(folder.path().join(name), "half of it").unwrap();
    }
    assert!(Checkpoint::newest(folder.path()).is_err(), "none of these is a checkpoint");
    (1..=4).for_each(|step| save(folder.path(), 2, step));
    assert_eq!(Checkpoint::newest(folder.path()).unwrap().step, 4);
    let mut wanted: Vec<String> = others.map(str::to_owned).to_vec();
    wanted.extend([3, 4].map(|step| format!("{step:08}.safetensors")));
    wanted.sort();
    assert_eq!(names(folder.path()), wanted);
}

#[test]
fn a_folder_without_checkpoints_says_so() {
    let folder = tempfile::tempdir().unwrap();
    for path in [folder.path().to_owned(), folder.path().join("nowhere")] {
        let error = Checkpoint::newest(&path).err().unwrap().to_string();
        assert!(error.contains("no checkpoint in this folder") && error.contains("--run"), "{error}");
    }
}
