//! Folders of files in a format of the test's own: `frames height width fps`, where every pixel of frame `k` is `k`; and of
//! a file with sound `start length start` behind that: milliseconds before the pictures, samples, milliseconds before the
//! sound, where sample `k` is `k + 1`.

use super::*;
use std::fs;

struct Numbers;

fn numbers(path: &Path) -> Result<Vec<usize>> {
    let text = fs::read_to_string(path).map_err(|error| Error::io(path, "read", error))?;
    Ok(text.split_whitespace().filter_map(|word| word.parse().ok()).collect())
}

fn seconds(milliseconds: usize) -> f64 {
    milliseconds as f64 / 1000.0
}

impl Reader for Numbers {
    fn probe(&self, path: &Path, rate: Rate) -> Result<Probe> {
        let numbers = numbers(path)?;
        let [frames, height, width, fps, ref sound @ ..] = numbers[..] else {
            return Err(Error::new(ErrorKind::Media, path.display().to_string(), "not four numbers"));
        };
        let start = seconds(sound.first().copied().unwrap_or_default());
        let frames = if frames == 1 { 1 } else { (frames * rate.numerator as usize).div_ceil(fps) };
        Ok(Probe { frames, size: [height, width], start })
    }

    fn sound(&self, path: &Path, _: Rate) -> Result<Option<SoundTrack>> {
        match numbers(path)?[..] {
            [_, _, _, _, _, 0, _] => Err(Error::new(ErrorKind::Media, path.display().to_string(), "an odd sound")),
            [_, _, _, _, _, length, start] => Ok(Some(SoundTrack { start: seconds(start), length })),
            _ => Ok(None),
        }
    }

    fn samples(&self, path: &Path, _: Rate, range: Range<usize>) -> Result<Vec<f32>> {
        assert!(range.end <= numbers(path)?[5]);
        Ok(range.map(|k| (k + 1) as f32).collect())
    }

    fn frames(&self, path: &Path, rate: Rate, wanted: Range<usize>, each: &mut dyn FnMut(&[u8])) -> Result<()> {
        let Probe { frames, size: [height, width], .. } = self.probe(path, rate)?;
        let fps = numbers(path)?[3];
        for k in wanted {
            assert!(k < frames, "frame {k} of {frames}");
            each(&vec![(k * fps / rate.numerator as usize) as u8; height * width * 3]);
        }
        Ok(())
    }
}

fn folder(files: &[(&str, &str)]) -> (tempfile::TempDir, FolderConfig) {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        fs::write(folder.path().join(name), text).unwrap();
    }
    let path = folder.path().display().to_string();
    (folder, FolderConfig { path, frames: 5, size: [8, 11], ..FolderConfig::default() })
}

fn open(config: &FolderConfig) -> Result<Folder> {
    Folder::open(config.clone(), Arc::new(Numbers), Part::Train)
}

#[test]
fn windows_show_the_right_frames() {
    // b lasts 13 frames at 8 per second, c exactly 5.
    let (_guard, config) =
        folder(&[("b.mp4", "37 16 22 24"), ("b.txt", "numbers"), ("c.mp4", "5 9 31 8"), ("c.txt", "more")]);
    let config = FolderConfig { stride: Some(4), ..config };
    let folder = open(&config).unwrap();
    assert_eq!(folder.len(), Some(4));
    let first: Vec<_> = (0..4)
        .map(|i| {
            let sample = folder.get(i).unwrap();
            assert_eq!(sample.clip.as_ref().unwrap().shape(), [5, 8, 11]);
            assert_eq!(sample, folder.get(i).unwrap());
            let frames: Vec<u8> = (0..5).map(|t| sample.clip.as_ref().unwrap().frame(t)[0]).collect();
            (sample.id, sample.caption, frames)
        })
        .collect();
    let line = |id: &str, caption: &str, frames: [u8; 5]| (id.to_owned(), caption.to_owned(), frames.to_vec());
    assert_eq!(
        first,
        [
            line("b.mp4 from frame 0", "numbers", [0, 3, 6, 9, 12]),
            line("b.mp4 from frame 4", "numbers", [12, 15, 18, 21, 24]),
            line("b.mp4 from frame 8", "numbers", [24, 27, 30, 33, 36]),
            line("c.mp4 from frame 0", "more", [0, 1, 2, 3, 4]),
        ]
    );
    assert_eq!(folder.get(4).unwrap_err().kind(), ErrorKind::Data);
    let pixels = folder.report().pixels.unwrap();
    assert_eq!((pixels.min, pixels.max, pixels.samples), (0, 36, 4));
}

#[test]
fn every_file_has_its_own_windows() {
    // a has three windows, b none, c two, d four, at other rates and sizes.
    let (_guard, config) = folder(&[
        ("a.mp4", "17 9 9 8"),
        ("a.txt", "first"),
        ("b.mp4", "4 9 9 8"),
        ("b.txt", "too short"),
        ("c.mp4", "23 16 22 16"),
        ("c.txt", "second"),
        ("d.mp4", "11 9 31 4"),
        ("d.txt", "third"),
    ]);
    let folder = open(&FolderConfig { stride: Some(5), ..config }).unwrap();
    let found: Vec<(String, String, Vec<u8>)> = (0..folder.len().unwrap())
        .map(|i| {
            let sample = folder.get(i).unwrap();
            let clip = sample.clip.unwrap();
            (sample.id, sample.caption, (0..5).map(|t| clip.frame(t)[0]).collect())
        })
        .collect();
    let line = |file: &str, caption: &str, start: usize, frames: [u8; 5]| {
        (format!("{file}.mp4 from frame {start}"), caption.to_owned(), frames.to_vec())
    };
    assert_eq!(
        found,
        [
            line("a", "first", 0, [0, 1, 2, 3, 4]),
            line("a", "first", 5, [5, 6, 7, 8, 9]),
            line("a", "first", 10, [10, 11, 12, 13, 14]),
            // Twice as many frames a second as the windows: every other one is shown.
            line("c", "second", 0, [0, 2, 4, 6, 8]),
            line("c", "second", 5, [10, 12, 14, 16, 18]),
            // Half as many: each is shown twice.
            line("d", "third", 0, [0, 0, 1, 1, 2]),
            line("d", "third", 5, [2, 3, 3, 4, 4]),
            line("d", "third", 10, [5, 5, 6, 6, 7]),
            line("d", "third", 15, [7, 8, 8, 9, 9]),
        ]
    );
    assert_eq!(folder.get(9).unwrap_err().kind(), ErrorKind::Data);
    let report = folder.report();
    assert_eq!((report.clips, report.windows), (Some(4), Some(9)));
}

#[test]
fn what_is_left_out_is_reported() {
    let (_guard, config) = folder(&[
        ("a.mp4", "5 9 9 8"),
        ("a.txt", "good"),
        ("b.mp4", "4 9 9 8"),
        ("b.txt", "short"),
        ("c.png", "1 9 9 8"),
        ("c.txt", "a picture"),
        ("d.mp4", "5 9 9 8"),
        ("e.mp4", "broken"),
        ("metadata.jsonl", "{\"file_name\": \"gone.mp4\", \"text\": \"x\"}"),
    ]);
    let report = open(&config).unwrap().report();
    assert_eq!((report.clips, report.windows), (Some(5), Some(1)));
    let dropped: Vec<_> = report.dropped.iter().map(|d| (d.reason.as_str(), d.count, d.example.as_str())).collect();
    assert_eq!(
        dropped,
        [
            ("unreadable", 1, "e.mp4: not four numbers"),
            ("shorter than 5 frames at 8 per second", 2, "b.mp4: 4 frames"),
            ("without a caption", 1, "d.mp4"),
            ("listed in the metadata but not there", 1, "gone.mp4"),
        ]
    );
    let optional = open(&FolderConfig { captions: Captions::Optional, ..config.clone() }).unwrap();
    assert_eq!(optional.len(), Some(2));
    assert_eq!(optional.get(1).unwrap().caption, "");
    // One frame at a time, pictures are clips: 5 + 4 + 1 + 5.
    let pictures = FolderConfig { frames: 1, captions: Captions::Optional, ..config };
    assert_eq!(open(&pictures).unwrap().len(), Some(15));
}

#[test]
fn every_window_has_the_sound_of_its_own_time() {
    let (_guard, config) = folder(&[
        // Without sound; together with the pictures; a quarter of a second later; a quarter earlier.
        ("a.mp4", "8 9 9 8"),
        ("b.mp4", "8 9 9 8 0 8000 0"),
        ("c.mp4", "8 9 9 8 250 5000 500"),
        ("d.mp4", "8 9 9 8 500 9000 250"),
        ("e.mp4", "8 9 9 8 0 0 0"),
    ]);
    let config = FolderConfig { frames: 4, sound: Some(8000), captions: Captions::Optional, ..config };
    let folder = open(&config).unwrap();
    let wanted = MediaShape::Sound { samples: 4000, channels: 1, rate: Rate::whole(8000) };
    assert_eq!((folder.len(), folder.shape(Modality::Audio)), (Some(8), Some(wanted)));
    // Silence, the samples of the file, and silence again.
    let windows = [
        (4000, 0..0, 0),
        (4000, 0..0, 0),
        (0, 0..4000, 0),
        (0, 4000..8000, 0),
        (2000, 0..2000, 0),
        (0, 2000..5000, 1000),
        (0, 2000..6000, 0),
        (0, 6000..9000, 1000),
    ];
    for (i, (before, range, behind)) in (0..).zip(windows) {
        let sample = folder.get(i).unwrap();
        let sound = sample.sound.as_ref().unwrap();
        let silence = |samples| vec![0.0; samples];
        let wanted = [silence(before), range.map(|k| (k + 1) as f32).collect(), silence(behind)].concat();
        assert!(sound.rate() == Rate::whole(8000) && sound.samples() == wanted, "window {i}");
        assert_eq!(sample, folder.get(i).unwrap());
    }
    let report = folder.report();
    assert!(report.loudness.is_some_and(|loudness| loudness.samples == 8 && loudness.peak == 9000.0));
    let dropped: Vec<_> = report.dropped.iter().map(|d| (d.reason.as_str(), d.count, d.example.as_str())).collect();
    let parts = "c.mp4, whose sound lasts from 0.25 to 0.88 s of 1.00";
    let beyond = "d.mp4, 0.25 s before and 0.00 s behind its pictures";
    assert_eq!(
        dropped,
        [
            ("with a sound that cannot be read", 1, "e.mp4: an odd sound"),
            ("sounds of files that have none: they are silent", 1, "a.mp4"),
            ("parts of sounds that start later or end earlier than their pictures: silence is there", 1, parts),
            ("sounds that last beyond their pictures: the rest is cut", 1, beyond),
        ]
    );
    let silent = open(&FolderConfig { sound: None, ..config.clone() }).unwrap();
    assert_eq!((silent.len(), silent.get(3).unwrap().sound), (Some(10), None));
    assert_eq!((silent.report().dropped, silent.report().loudness), (vec![], None));
    // Frames of no whole number of samples: every window is as long, and starts within a sample of its time.
    let odd = open(&FolderConfig { frames: 2, fps: 7, ..config.clone() }).unwrap();
    for (i, start) in [(3, 0.0f64), (4, 2.0), (5, 4.0)] {
        let sound = odd.get(i).unwrap().into_sound().unwrap();
        let far = f64::from(sound.samples()[0]) - 1.0 - start / 7.0 * 8000.0;
        assert!(sound.length() == 2286 && (0.0..1.0).contains(&far), "window {i}: {far}");
    }
    for (sound, frames) in [(7999, 4), (192_001, 4), (192_000, 1024)] {
        let config = FolderConfig { sound: Some(sound), frames, fps: 1, ..config.clone() };
        assert_eq!(config.validate()[0].path, "sound");
    }
}

#[test]
fn broken_captions_leave_out_what_they_belong_to() {
    let (guard, config) = folder(&[
        ("a.mp4", "5 9 9 8"),
        ("b.mp4", "5 9 9 8"),
        ("c.mp4", "5 9 9 8"),
        ("d.mp4", "5 9 9 8"),
        ("metadata.csv", "file_name,title\na.mp4,\"a ring, red\"\nb.mp4,a ring, blue\n"),
        ("d.txt", "beside"),
    ]);
    fs::write(guard.path().join("c.txt"), b"r\xf6tlich").unwrap();
    let config = FolderConfig { caption_columns: vec!["title".into()], ..config };
    let folder = open(&config).unwrap();
    let captions: Vec<_> = (0..2).map(|i| folder.get(i).unwrap().caption).collect();
    assert_eq!((folder.len(), captions.join(" | ").as_str()), (Some(2), "a ring, red | beside"));
    let dropped: Vec<_> = folder.dropped.iter().map(|d| (d.reason.as_str(), d.count, d.example.as_str())).collect();
    let fields = "metadata.csv:3: 3 fields, not 2: a text with a comma needs quotes around it";
    assert_eq!(
        dropped,
        [
            ("without a caption", 1, "b.mp4"),
            ("with a caption that cannot be read", 1, "c.mp4: c.txt is not UTF-8: save it as UTF-8"),
            ("lines of metadata that cannot be used", 1, fields),
        ]
    );
    // Of those without a caption one has a reason of its own.
    let optional = open(&FolderConfig { captions: Captions::Optional, ..config.clone() }).unwrap();
    let captions: Vec<_> = (0..3).map(|i| optional.get(i).unwrap().caption).collect();
    assert_eq!(captions, ["a ring, red", "", "beside"]);
    let wrong = FolderConfig { caption_columns: vec!["file_name".into()], ..config };
    assert_eq!(wrong.validate()[0].path, "caption_columns");
}

#[test]
fn what_is_held_out_comes_after_all_that_is_trained_on() {
    // a lasts 41 frames and 28 of them are kept; b is too short for a window on both sides.
    let (_guard, config) =
        folder(&[("a.mp4", "41 9 9 8"), ("a.txt", "long"), ("b.mp4", "9 9 9 8"), ("b.txt", "short")]);
    let config = FolderConfig { stride: Some(3), held_out: 0.3, ..config };
    let frames = |part| {
        let folder = Folder::open(config.clone(), Arc::new(Numbers), part).unwrap();
        let clips = (0..folder.len().unwrap()).map(|i| folder.get(i).unwrap());
        clips
            .map(|sample| (sample.id, sample.clip.unwrap()))
            .map(|(id, c)| (id, [c.frame(0)[0], c.frame(4)[0]]))
            .collect()
    };
    let train: Vec<(String, [u8; 2])> = frames(Part::Train);
    assert_eq!(train.first().unwrap(), &("a.mp4 from frame 0".to_owned(), [0, 4]));
    assert_eq!(train[7], ("a.mp4 from frame 21".to_owned(), [21, 25]));
    assert_eq!(train[8..].iter().map(|(_, frames)| *frames).collect::<Vec<_>>(), [[0, 4], [3, 7]]);
    let held_out: Vec<(String, [u8; 2])> = frames(Part::HeldOut);
    assert_eq!(held_out.iter().map(|(_, frames)| *frames).collect::<Vec<_>>(), [[28, 32], [33, 37]]);
    let nothing = FolderConfig { held_out: 0.05, ..config };
    let error = Folder::open(nothing, Arc::new(Numbers), Part::HeldOut).unwrap_err();
    assert!(error.to_string().contains("hold out another part"), "{error}");
}

#[test]
fn an_empty_epoch_says_why() {
    let (_guard, config) = folder(&[("a.mp4", "5 9 9 8"), ("b.mp4", "5 9 9 8"), ("c.mp4", "?")]);
    let error = open(&config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Data);
    assert!(error.message().contains("2 without a caption (such as a.mp4)"), "{error}");
    assert!(error.to_string().contains("captions = \"optional\""), "{error}");

    let (_guard, broken) = folder(&[("a.mp4", "5 9 9 8"), ("metadata.csv", "name,text\na.mp4,red\n")]);
    let error = open(&broken).unwrap_err().to_string();
    assert!(error.contains("metadata.csv:1: it has no column `file_name`"), "{error}");
    assert!(error.contains("give each clip a line with its `file_name`"), "{error}");
    let (_guard, config) = folder(&[("readme.md", "")]);
    assert!(open(&config).unwrap_err().message().contains("no clips or images"));
    for (path, found) in [("", "no folder is named"), ("no/such/folder", "there is no folder no/such/folder")] {
        let nowhere = FolderConfig { path: path.into(), ..config.clone() };
        let error = open(&nowhere).unwrap_err();
        assert_eq!((error.kind(), nowhere.validate().len()), (ErrorKind::Data, 0));
        assert!(error.message().starts_with(found) && error.message().contains("of clips or images"), "{error}");
        assert!(error.message().contains("name.txt") && error.to_string().contains("--data"), "{error}");
    }
    let invalid = FolderConfig { stride: Some(0), fps: 0, held_out: 1.0, ..config };
    assert_eq!(invalid.validate().len(), 3);
    assert_eq!(open(&invalid).unwrap_err().kind(), ErrorKind::Recipe);
    assert_eq!(FolderConfig::default().validate(), []);
}

#[test]
fn a_file_that_changes_is_an_error() {
    let (guard, config) = folder(&[("a.mp4", "5 9 9 8"), ("a.txt", "good")]);
    let folder = open(&config).unwrap();
    fs::write(guard.path().join("a.mp4"), "5 9 10 8").unwrap();
    assert!(folder.get(0).unwrap_err().message().contains("changed"));
}
