//! What training sees, and what it never sees.

use super::*;
use musiva_core::Registry;
use musiva_data::world::Attributes;
use musiva_media::{Metadata, read_sound, write_clip, write_sound};

fn recipe(data: &str) -> Recipe {
    let mut registry = Registry::default();
    musiva_data::register(&mut registry).unwrap();
    musiva_tokenizers::register(&mut registry).unwrap();
    // A recipe needs some part that learns; it is none of the datasets' business.
    Recipe::parse(
        &format!("schema = 1\ntokenizer.text.kind = \"bpe\"\n[data]\n{data}"),
        Path::new("r.toml"),
        &[],
        &registry,
    )
    .unwrap()
}

#[test]
fn the_worlds_test_scenes_are_not_its_training_scenes() {
    let recipe = recipe("kind = \"world\"\nsize = [16, 16]\nframes = 3");
    let (train, test) = (dataset_of(&recipe).unwrap(), held_out_of(&recipe).unwrap());
    assert_eq!(train.shape(Modality::Video), test.shape(Modality::Video));
    let clips = |data: &dyn Dataset| (0..7).map(|i| data.get(i).unwrap().clip).collect::<Vec<_>>();
    assert!(clips(&*train).iter().all(|clip| !clips(&*test).contains(clip)));
    assert_eq!(clips(&*test), clips(&*held_out_of(&recipe).unwrap()));
}

#[test]
fn combinations_that_are_held_out_are_tested_and_never_trained_on() {
    let recipe =
        recipe("kind = \"world\"\nsize = [16, 16]\nframes = 2\nheld_out = [\"blue ring up\", \"red square left\"]");
    let held_out = |data: &dyn Dataset| {
        let asked = (0..1500).map(|i| Attributes::parse(&data.get(i).unwrap().caption).unwrap());
        let held = [("blue", "ring", "up"), ("red", "square", "left")];
        let words = asked.map(|a| (a.colour.unwrap().word(), a.shape.unwrap().word(), a.direction.unwrap().word()));
        words.filter(|words| held.contains(words)).count()
    };
    // Two of 48 combinations, give or take four deviations.
    let tested = held_out(&*held_out_of(&recipe).unwrap());
    assert_eq!(held_out(&*dataset_of(&recipe).unwrap()), 0);
    assert!((30..=95).contains(&tested), "{tested}");
    assert_eq!(world_of(&recipe).unwrap().unwrap().config().held_out.len(), 2);
}

#[test]
fn a_window_of_a_resampled_file_is_that_of_the_whole_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.wav");
    let wave = |i: usize| (0.031 * i as f32).sin() * 0.4 + (0.4 * i as f32).sin() * 0.2;
    let stereo: Vec<f32> = (0..30_001).flat_map(|i| [wave(i), 0.5 * wave(i)]).collect();
    let sound = Sound::new(2, Rate::whole(11_025), stereo).unwrap();
    write_sound(&path, &sound, &Metadata::new()).unwrap();
    for rate in [11_025, 8000, 16_000, 22_050] {
        let rate = Rate::whole(rate);
        let whole = resample(&read_sound(&path, &SoundOptions::default()).unwrap().sound.mono(), rate).unwrap();
        assert_eq!(Files.length(&path, rate).unwrap(), whole.length());
        for range in [0..1000, 9_000..12_345, whole.length() - 500..whole.length()] {
            let window = Files.read(&path, rate, range.clone()).unwrap();
            let far = window.iter().zip(&whole.samples()[range]).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(far < 1e-5, "{rate}: {far}");
        }
    }
}

#[test]
fn a_folders_windows_are_read_and_split() {
    let folder = tempfile::tempdir().unwrap();
    // 37 frames whose grey is their number; a GIF of few greys is exact.
    let pixels = (0..37u8).flat_map(|t| vec![t * 5; 16 * 24 * 3]).collect();
    let clip = musiva_core::Clip::new([37, 16, 24], Rate::whole(10), pixels).unwrap();
    write_clip(folder.path().join("a.gif"), &clip, &Metadata::new()).unwrap();
    std::fs::write(folder.path().join("a.txt"), "brighter").unwrap();
    let path = folder.path().display();
    let recipe = recipe(&format!("kind = \"folder\"\npath = \"{path}\"\nframes = 2\nsize = [8, 8]\nfps = 10"));
    let (train, test) = (dataset_of(&recipe).unwrap(), held_out_of(&recipe).unwrap());
    assert_eq!((train.len(), test.len()), (Some(10), Some(8)));
    let greys = |data: &dyn Dataset, i| {
        data.get(i).unwrap().clip.unwrap().pixels().iter().step_by(192).copied().collect::<Vec<_>>()
    };
    assert_eq!(greys(&*train, 3), [30, 35]);
    assert_eq!(greys(&*test, 0), [100, 105]);
    assert!(train.get(10).is_err() && test.get(8).is_err());
    // All windows are in one of them, and none in both: 18 of two frames each.
    let all: Vec<u8> = (0..10).flat_map(|i| greys(&*train, i)).chain((0..8).flat_map(|i| greys(&*test, i))).collect();
    assert_eq!(all, (0..36).map(|t| 5 * t).collect::<Vec<u8>>());
}

#[test]
fn an_endless_dataset_holds_out_its_first_samples_and_a_long_one_its_last() {
    struct Many(Option<u64>);
    impl Dataset for Many {
        fn len(&self) -> Option<u64> {
            self.0
        }
        fn get(&self, index: u64) -> Result<Sample> {
            Ok(Sample { clip: None, sound: None, caption: index.to_string(), id: String::new() })
        }
        fn shape(&self, _: Modality) -> Option<MediaShape> {
            None
        }
        fn report(&self) -> DataReport {
            DataReport { clips: None, windows: None, dropped: Vec::new(), pixels: None, loudness: None }
        }
    }
    // A twentieth, 8 at least and 64 at most; too few to share are used for both.
    for (count, train, held_out) in [
        (None, 64..ENDLESS, 0..64),
        (Some(15), 0..15, 0..15),
        (Some(16), 0..8, 8..16),
        (Some(200), 0..190, 190..200),
        (Some(10_000), 0..9_936, 9_936..10_000),
    ] {
        let data = Many(count);
        assert_eq!(split(&data), (train.clone(), held_out.clone()), "{count:?}");
        for range in [train, held_out] {
            let part = Slice { inner: Arc::new(Many(count)), range: range.clone() };
            assert_eq!(part.get(3).unwrap().caption, (range.start + 3).to_string());
            if range.end < ENDLESS {
                assert_eq!(part.len(), Some(range.end - range.start));
                assert!(part.get(range.end - range.start).is_err());
            }
        }
    }
}
