//! Recipes in words of before.

use super::*;

#[test]
fn old_words_are_read_with_a_note_in_files_and_arguments() {
    let today = parse(FIELD, &["train.on_failure='stop'"]).unwrap();
    assert!(today.notes().0.is_empty());
    let file = parse(&FIELD.replace("steps = 1000", "steps = 1000\non_disease = \"stop\""), &[]).unwrap();
    let argument = parse(FIELD, &["train.on_disease='stop'"]).unwrap();
    for (old, at) in [(&file, "recipes/x.toml:30:1"), (&argument, "--set")] {
        assert_eq!(old.hash(), today.hash());
        let notes = old.notes().to_string();
        assert!(notes.starts_with("note: `train.on_disease`: this key is called `on_failure` now"), "{notes}");
        assert!(notes.contains(at) && notes.contains("hint: write `on_failure`"), "{notes}");
    }
    // The old word in a recipe that is extended, the new one on top of it.
    let both = parse(&FIELD.replace("steps = 1000", "on_disease = \"stop\""), &["train.on_failure='warn'"]).unwrap();
    assert_eq!(both.train.as_ref().unwrap().on_failure, OnFailure::Warn);
    // Beside what is wrong, notes are told too.
    let report = parse(&FIELD.replace("steps = 1000", "on_disease = \"stop\"\nstep = 1"), &[]).unwrap_err();
    assert_eq!((report.errors(), report.0.len()), (1, 2));
}
