//! The programs of `examples/` do what they show.

#[path = "../examples/generate_to_memory.rs"]
mod generate_to_memory;
#[path = "../examples/own_program.rs"]
mod own_program;
#[path = "../examples/own_schedule.rs"]
mod own_schedule;
#[path = "../examples/own_tokenizer.rs"]
mod own_tokenizer;
#[path = "../examples/train_with_callback.rs"]
mod train_with_callback;

use musiva::reconstruct::Likeness;
use musiva::train::Ended;

#[test]
fn clips_are_made_in_memory() {
    let mut steps = generate_to_memory::Steps::default();
    let outputs = generate_to_memory::run(&mut steps).unwrap();
    let shapes: Vec<_> = outputs.iter().map(|output| output.clip.as_ref().unwrap().shape()).collect();
    assert_eq!(shapes, [[17, 64, 64]; 2]);
    assert!(steps.sampled > 0);
    assert_eq!(steps.previews, 2);
    assert_ne!(outputs[0], outputs[1]);
    generate_to_memory::main().unwrap();
}

#[test]
fn a_tokenizer_of_ones_own_encodes_and_decodes() {
    // μ-law of 8 bits keeps about 38 dB (Jayant and Noll 1984, section 5.3), of a peak far below full scale less.
    let Likeness::Sound { si_snr } = own_tokenizer::run().unwrap() else { panic!("a sound") };
    assert!((30.0..45.0).contains(&si_snr), "{si_snr}");
    own_tokenizer::main().unwrap();
}

#[test]
fn a_program_of_ones_own_tells_its_story() {
    own_program::main().unwrap();
}

#[test]
fn a_noise_schedule_of_ones_own_trains_and_samples() {
    let folder = tempfile::tempdir().unwrap();
    let outputs = own_schedule::run(&folder.path().join("run")).unwrap();
    assert_eq!(outputs[0].clip.as_ref().unwrap().shape(), [17, 64, 64]);
    own_schedule::main().unwrap();
}

#[test]
fn a_callback_sees_every_step() {
    let folder = tempfile::tempdir().unwrap();
    let mut losses = train_with_callback::Losses::default();
    let ended = train_with_callback::run(&folder.path().join("run"), &mut losses).unwrap();
    let Ended::Done(weights) = ended else { panic!("it ends") };
    assert!(weights.exists());
    assert_eq!((losses.seen.len(), losses.previews), (4, 2));
    assert!(losses.seen.iter().all(|loss| loss.is_finite()));
    train_with_callback::main().unwrap();
}
