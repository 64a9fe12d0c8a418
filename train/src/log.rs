//! The run's log: JSON Lines for programs, TensorBoard events for people.

use crate::events;
use crate::trainer::Samples;
use musiva_core::{Error, Result};
use musiva_media::{encode_clip, encode_sound};
use serde_json::{Map, Value};
use std::fs::{File, OpenOptions};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Writes measures as they come.
#[derive(Debug)]
pub struct Log {
    lines: File,
    lines_path: PathBuf,
    events: File,
    events_path: PathBuf,
}

impl Log {
    /// Opens the log of a run that goes on after `step` steps: lines of later steps, written by a
    /// run that was stopped before its next checkpoint, are dropped.
    pub fn open(run: &Path, step: u64) -> Result<Self> {
        std::fs::create_dir_all(run).map_err(|e| Error::io(run, "make the run folder", e))?;
        let lines_path = run.join("metrics.jsonl");
        let failed = |e| Error::io(&lines_path, "write the log", e);
        if lines_path.exists() {
            let file = BufReader::new(File::open(&lines_path).map_err(failed)?);
            let kept: Vec<String> = file
                .lines()
                .map_while(|line| line.ok())
                .filter(|line| {
                    let value: Option<serde_json::Value> = serde_json::from_str(line).ok();
                    value.and_then(|v| v["step"].as_u64()).is_some_and(|s| s <= step)
                })
                .collect();
            let text: String = kept.iter().flat_map(|line| [line.as_str(), "\n"]).collect();
            musiva_core::files::write(&lines_path, text.as_bytes())?;
        }
        let append = |path: &Path| OpenOptions::new().create(true).append(true).open(path);
        let lines = append(&lines_path).map_err(failed)?;
        let events_path = run.join(format!("events.out.tfevents.{}.musiva", now() as u64));
        let events = append(&events_path).map_err(|e| Error::io(&events_path, "write the log", e))?;
        let mut log = Self { lines, lines_path, events, events_path };
        log.record(&events::version(now()))?;
        Ok(log)
    }

    /// Writes the measures after `step` steps.
    pub fn write(&mut self, step: u64, measures: &[(String, f64)]) -> Result<()> {
        let mut line = serde_json::Map::new();
        line.insert("step".into(), step.into());
        line.extend(measures.iter().map(|(name, value)| (name.clone(), (*value).into())));
        let line = serde_json::Value::Object(line);
        writeln!(self.lines, "{line}").map_err(|e| Error::io(&self.lines_path, "write the log", e))?;
        let values: Vec<_> = measures.iter().map(|(name, value)| events::scalar(name, *value as f32)).collect();
        self.record(&events::event(now(), step, &values))
    }

    /// Writes what a run is, before its first step: its hyperparameters, and its recipe.
    pub fn describe(&mut self, hyperparameters: &Map<String, Value>, recipe: &str) -> Result<()> {
        let values =
            [events::hyperparameters(hyperparameters), events::text("recipe", &format!("```toml\n{recipe}\n```"))];
        self.record(&events::event(now(), 0, &values))
    }

    /// Writes samples: clips move, sounds play, and each says its task and its prompt.
    pub fn samples(&mut self, step: u64, samples: &Samples) -> Result<()> {
        let mut values = Vec::new();
        for (i, clip) in samples.clips.iter().enumerate() {
            let [frames, height, width] = clip.shape();
            // One frame is a picture; and what is too large for a GIF stands side by side.
            let moving = if frames == 1 { None } else { encode_clip("gif", clip).ok() };
            let encoded = moving.map_or_else(|| encode_clip("png", clip), Ok)?;
            values.push(events::image(&format!("samples/{i}"), [height, width], &encoded));
        }
        for (i, sound) in samples.sounds.iter().enumerate() {
            let (rate, [length, channels]) = (sound.rate().as_f64() as f32, sound.shape());
            // Some rates are none of a WAV's: the run's samples have what can be written.
            let Ok(encoded) = encode_sound("wav", sound) else { continue };
            values.push(events::audio(&format!("samples/{i}"), rate, channels, length, &encoded));
        }
        let said = samples.asked.iter().map(|asked| format!("{}: {}", asked.task, asked.prompt)).enumerate();
        let texts = said.map(|(i, text)| (format!("asked/{i}"), text));
        let made = samples.texts.iter().enumerate().map(|(i, text)| (format!("samples/{i}"), text.clone()));
        values.extend(texts.chain(made).map(|(tag, text)| events::text(&tag, &text)));
        self.record(&events::event(now(), step, &values))
    }

    /// One record of TensorFlow's record format: length, its masked checksum, data, its masked
    /// checksum (`tensorflow/core/lib/io/record_writer.h`).
    fn record(&mut self, data: &[u8]) -> Result<()> {
        let length = (data.len() as u64).to_le_bytes();
        let record = [&length[..], &masked(&length).to_le_bytes(), data, &masked(data).to_le_bytes()].concat();
        self.events.write_all(&record).map_err(|e| Error::io(&self.events_path, "write the log", e))
    }
}

fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64())
}

fn masked(data: &[u8]) -> u32 {
    crc32c::crc32c(data).rotate_right(15).wrapping_add(0xa282_ead8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trainer::Asked;
    use musiva_core::{Clip, Rate, Sound};

    #[test]
    fn checksums_are_the_published_ones() {
        // RFC 3720, appendix B.4: 32 bytes of zeros; then TensorFlow's mask by hand.
        assert_eq!(crc32c::crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(masked(&[0; 32]), 0x8a91_36aau32.rotate_right(15).wrapping_add(0xa282_ead8));
    }

    /// What the records of a file hold, their checksums checked.
    fn records(mut file: &[u8]) -> Vec<Vec<u8>> {
        let mut take = |n: usize| {
            let (head, rest) = file.split_at(n.min(file.len()));
            file = rest;
            head.to_vec()
        };
        let mut all = Vec::new();
        loop {
            let length = take(8);
            if length.is_empty() {
                return all;
            }
            assert_eq!(take(4), masked(&length).to_le_bytes());
            let data = take(u64::from_le_bytes(length.try_into().unwrap()) as usize);
            assert_eq!(take(4), masked(&data).to_le_bytes());
            all.push(data);
        }
    }

    #[test]
    fn events_are_those_of_the_published_format() {
        let folder = tempfile::tempdir().unwrap();
        Log::open(folder.path(), 0).unwrap().write(300, &[("loss".into(), 0.5)]).unwrap();
        let is_events = |path: &PathBuf| path.to_string_lossy().contains("tfevents");
        let file =
            std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path()).find(is_events).unwrap();
        let [first, second] = &records(&std::fs::read(file).unwrap())[..] else { panic!("two records") };
        // Each begins with its time, a double of field 1; then the version, field 3.
        assert_eq!((first[0], &first[9..]), (0x09, &b"\x1a\x0dbrain.Event:2"[..]));
        // Or the step, field 2, 300 = 0b10_0101100; a summary, field 5, of one value, field 1, whose tag is field 1 and whose
        // float is field 2: a half.
        let value = b"\x0a\x04loss\x15\x00\x00\x00\x3f";
        assert_eq!((second[0], &second[9..]), (0x09, &[&b"\x10\xac\x02\x2a\x0d\x0a\x0b"[..], value].concat()[..]));
    }

    #[test]
    fn a_run_that_goes_on_drops_what_came_after_its_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), 0).unwrap();
        (1..=5).for_each(|step| log.write(step, &[("loss".into(), step as f64)]).unwrap());
        let mut log = Log::open(folder.path(), 3).unwrap();
        log.write(4, &[("loss".into(), 0.5)]).unwrap();
        let text = std::fs::read_to_string(folder.path().join("metrics.jsonl")).unwrap();
        let steps: Vec<&str> = text.lines().collect();
        assert_eq!(steps.len(), 4);
        assert_eq!(steps[3], r#"{"step":4,"loss":0.5}"#);
    }

    #[test]
    fn samples_are_events_with_what_was_asked_for() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = Log::open(folder.path(), 0).unwrap();
        let settings = serde_json::json!({ "learning_rate": 0.5 });
        log.describe(settings.as_object().unwrap(), "name = \"mine\"").unwrap();
        let clip = |frames| Clip::new([frames, 8, 8], Rate::whole(10), vec![7; frames * 8 * 8 * 3]).unwrap();
        let sound = Sound::new(1, Rate::whole(8000), vec![0.1; 77]).unwrap();
        let asked = Asked { task: "image-to-video".into(), prompt: "a dog".into() };
        let samples =
            Samples { clips: vec![clip(3), clip(1)], sounds: vec![sound], asked: vec![asked], ..Default::default() };
        log.samples(7, &samples).unwrap();
        let events = std::fs::read(&log.events_path).unwrap();
        for part in [&b"hparams"[..], b"name = \"mine\"", b"GIF89a", b"PNG", b"WAVE", b"image-to-video: a dog"] {
            assert!(events.windows(part.len()).any(|window| window == part), "{}", String::from_utf8_lossy(part));
        }
    }
}
