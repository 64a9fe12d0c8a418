//! Sizes, rates and windows that fit a folder.

use super::{NewOptions, Paradigm, Purpose};
use musiva_core::{Error, ErrorKind, Media, Result, Tokenizer, canvas::PAD};
use musiva_data::survey::Survey;
use musiva_tokenizers::text::{self, Text, TextConfig};
use std::collections::BTreeSet;
use std::path::Path;

/// Frames a second at most: more are more tokens than motion.
const RATE: f64 = 12.5;
/// Frames of a window, the longest first: one, and whole tokens of two.
const FRAMES: [usize; 4] = [17, 13, 9, 5];
/// Seconds of a window of sound at most, and at least.
const SECONDS: [f64; 2] = [0.5, 4.0];
/// Tokens of a caption at most.
const LONGEST: usize = 64;

/// What is trained on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Data {
    /// `kind = "folder"`.
    Clips { frames: usize, size: [usize; 2], fps: u32, sound: Option<u32> },
    /// `kind = "sounds"`.
    Sounds { rate: u32, samples: usize },
}

/// What fits a folder.
pub struct Fit {
    pub purpose: Purpose,
    pub paradigm: Paradigm,
    /// What the recipes are called.
    pub name: String,
    pub data: Data,
    /// Windows to train on, about.
    pub windows: usize,
    /// What is to be known.
    pub notes: Vec<String>,
}

impl Fit {
    pub fn new(survey: &Survey, folder: &Path, options: &NewOptions) -> Result<Self> {
        let place = folder.display().to_string();
        let wrong = |message: &str, hint: &str| Error::new(ErrorKind::Data, &place, message).hint(hint);
        let heard: Vec<f64> = survey.clips.iter().filter_map(|clip| clip.sound).collect();
        let captions = !survey.captions.is_empty();
        let purpose = match options.purpose {
            Some(purpose) => purpose,
            None if !survey.clips.is_empty() && captions => Purpose::TextToVideo,
            None if !survey.clips.is_empty() => Purpose::ImageToVideo,
            None if !survey.images.is_empty() => Purpose::TextToImage,
            None if captions => Purpose::TextToAudio,
            None => Purpose::AudioContinuation,
        };
        if survey.clips.is_empty() && survey.images.is_empty() && survey.sounds.is_empty() {
            let found = survey.left_out.first().map_or(String::new(), |first| format!("; {first}"));
            return Err(wrong(
                &format!("there are no clips, pictures or sounds that can be read{found}"),
                "name a folder of .mp4, .gif, .png, .jpg, .wav, .flac or .mp3 files",
            ));
        }
        if purpose.needs_captions() && !captions {
            return Err(wrong(
                &format!("{purpose} takes captions, and there are none"),
                "put `name.txt` beside each file, or write a metadata.csv with file_name and text",
            ));
        }
        let mut notes = Vec::new();
        let files = survey.clips.len() + survey.images.len() + survey.sounds.len();
        if captions && survey.captioned < files {
            let without = files - survey.captioned;
            let what = if purpose.needs_captions() { "left out" } else { "used without" };
            notes.push(format!("{without} of {files} files have no caption: they are {what}"));
        }
        let (data, windows) = match purpose {
            Purpose::TextToAudio | Purpose::AudioContinuation => {
                let rates: Vec<f64> = survey.sounds.iter().map(|sound| sound.rate).chain(heard).collect();
                if rates.is_empty() {
                    return Err(wrong("there are no sounds", "name a folder of sounds, or of clips with sound"));
                }
                sounds(survey, rate(rates))
            }
            Purpose::TextToImage => {
                let sizes = survey.images.iter().map(|image| image.size);
                let sizes: Vec<_> = sizes.chain(survey.clips.iter().map(|clip| clip.size)).collect();
                if sizes.is_empty() {
                    return Err(wrong("there are no pictures", "name a folder of pictures or clips"));
                }
                let windows = sizes.len();
                (Data::Clips { frames: 1, size: size(&sizes, options), fps: 1, sound: None }, windows)
            }
            _ => {
                if survey.clips.is_empty() {
                    return Err(wrong(
                        &format!("{purpose} takes clips that move, and there are none"),
                        "name a folder of clips, or another purpose by --for",
                    ));
                }
                let needs_sound = matches!(purpose, Purpose::VideoToAudio | Purpose::AudioToVideo);
                if needs_sound && heard.is_empty() {
                    return Err(wrong(
                        &format!("{purpose} takes clips with sound, and none has any"),
                        "name a folder of clips with sound, or another purpose by --for",
                    ));
                }
                // Silence is learnt as any sound is: most clips are to have some.
                let mostly = 2 * heard.len() >= survey.clips.len();
                if !needs_sound && !options.silent && !heard.is_empty() && !mostly {
                    let (some, all) = (heard.len(), survey.clips.len());
                    notes.push(format!("only {some} of {all} clips have sound: it is left out"));
                }
                let with_sound = needs_sound || (mostly && !heard.is_empty() && !options.silent);
                clips(survey, with_sound.then(|| rate(heard)), options, &mut notes)
            }
        };
        let name = folder.canonicalize().ok().and_then(|path| Some(path.file_name()?.to_string_lossy().into_owned()));
        let name = name.unwrap_or_else(|| "own".into());
        Ok(Self { purpose, paradigm: options.paradigm, name, data, windows, notes })
    }

    pub fn has_video(&self) -> bool {
        matches!(self.data, Data::Clips { .. })
    }

    pub fn has_audio(&self) -> bool {
        matches!(self.data, Data::Sounds { .. } | Data::Clips { sound: Some(_), .. })
    }
}

/// Windows of clips, and how many there are.
fn clips(survey: &Survey, sound: Option<u32>, options: &NewOptions, notes: &mut Vec<String>) -> (Data, usize) {
    let clips = &survey.clips;
    let native = median(clips.iter().map(|clip| clip.rate).collect());
    let shown = (native / (native / RATE).ceil()).max(1.0);
    // Three of four clips have a whole window.
    let seconds = quantile(clips.iter().map(|clip| clip.seconds).collect(), 0.25);
    let holds = |fps: f64, frames: usize| seconds * (fps + 1e-6).floor() + 1e-6 >= frames as f64;
    let least = FRAMES[FRAMES.len() - 1];
    let (fps, frames) = match FRAMES.into_iter().find(|&frames| holds(shown, frames)) {
        Some(frames) => (shown, frames),
        None if holds(native, least) => ((least as f64 / seconds).ceil().min(native), least),
        None => {
            notes.push(format!("most clips have fewer than {least} frames: a window is one frame"));
            (shown, 1)
        }
    };
    // A whole number, and no more than was looked for.
    let fps = (fps + 1e-6).floor().clamp(1.0, 240.0);
    let windows = clips.iter().map(|clip| (clip.seconds * fps + 1e-6) as usize / frames).sum();
    let sizes: Vec<_> = clips.iter().map(|clip| clip.size).collect();
    (Data::Clips { frames, size: size(&sizes, options), fps: fps as u32, sound }, windows)
}

/// Windows of sounds, and how many there are.
fn sounds(survey: &Survey, rate: u32) -> (Data, usize) {
    let clips = survey.clips.iter().filter(|clip| clip.sound.is_some()).map(|clip| clip.seconds);
    let seconds: Vec<f64> = survey.sounds.iter().filter_map(|sound| sound.seconds).chain(clips).collect();
    let [least, most] = SECONDS;
    let window = quantile(seconds.clone(), 0.75).clamp(least, most);
    let token = strides(rate).iter().product::<usize>();
    let samples = (window * f64::from(rate) / token as f64).ceil() as usize * token;
    let windows = seconds.iter().map(|seconds| (seconds * f64::from(rate) / samples as f64).ceil() as usize).sum();
    (Data::Sounds { rate, samples }, windows)
}

/// Strides of a tokenizer that makes 40 tokens a second.
pub fn strides(rate: u32) -> [usize; 4] {
    if rate == 8000 { [2, 4, 5, 5] } else { [2, 4, 5, 10] }
}

/// A rate that is no higher than that of most files.
fn rate(rates: Vec<f64>) -> u32 {
    if median(rates) < 16_000.0 { 8000 } else { 16_000 }
}

/// Height and width of about as many pixels as the hours allow, in the shape of most files, in whole tokens.
fn size(sizes: &[[usize; 2]], options: &NewOptions) -> [usize; 2] {
    let pixels = match options.hours {
        ..12.0 => 64.0 * 64.0,
        ..72.0 => 96.0 * 96.0,
        _ => 128.0 * 128.0f64,
    };
    let area = median(sizes.iter().map(|[h, w]| (h * w) as f64).collect()).min(pixels);
    let aspect = median(sizes.iter().map(|[h, w]| *w as f64 / *h as f64).collect()).clamp(0.25, 4.0);
    let token = options.paradigm.token_side();
    let side = |length: f64| ((length / token as f64).round() as usize).max(2) * token;
    let height = (area / aspect).sqrt();
    [side(height), side(height * aspect)]
}

/// Trains a text tokenizer on the captions, and says how long one is.
pub fn text(captions: &[String], path: &Path) -> Result<TextConfig> {
    let letters: BTreeSet<char> = captions.iter().flat_map(|caption| caption.chars()).collect();
    let words: BTreeSet<&str> = captions.iter().flat_map(|caption| caption.split_whitespace()).collect();
    // At least the letters, "unknown", "no word" and the sign for a space.
    let vocabulary = (letters.len() + 2 * words.len() + 2).clamp(64, 2048).max(letters.len() + 3);
    let config = TextConfig { length: 4096, vocabulary };
    text::train(&config, captions.iter().cloned(), path)?;
    let tokenizer = Text::open(&config, path)?;
    let mut lengths = Vec::new();
    for caption in captions {
        let caption = tokenizer.shortened(caption)?.unwrap_or_else(|| caption.clone());
        let tokens = tokenizer.encode(&Media::Text(caption))?;
        lengths.push(tokens.as_codes()?.iter().filter(|&&code| code != PAD).count() as f64);
    }
    // A caption in a hundred may be cut.
    let length = (quantile(lengths, 0.99) as usize).next_multiple_of(4).clamp(4, LONGEST);
    Ok(TextConfig { length, vocabulary })
}

fn median(values: Vec<f64>) -> f64 {
    quantile(values, 0.5)
}

/// The value that a share of all are below; 0 of none.
fn quantile(mut values: Vec<f64>, share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let last = values.len().saturating_sub(1);
    values.get((last as f64 * share).round() as usize).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_data::survey::{SeenClip, SeenSound};

    fn clip(size: [usize; 2], rate: f64, seconds: f64, sound: Option<f64>) -> SeenClip {
        SeenClip { path: "clip.mp4".into(), size, rate, seconds, sound }
    }

    fn fit(survey: &Survey, purpose: Option<Purpose>) -> Result<Fit> {
        Fit::new(survey, Path::new("."), &NewOptions { purpose, ..NewOptions::default() })
    }

    #[test]
    fn windows_fit_the_files() {
        let heard = clip([480, 640], 24.0, 1.6, Some(44_100.0));
        let survey = Survey { clips: vec![heard; 5], captions: vec!["a dog".into()], ..Survey::default() };
        let fitting = fit(&survey, None).unwrap();
        assert_eq!(fitting.purpose, Purpose::TextToVideo);
        // 1.6 s at 12 frames a second are 19: one window of 17. 4096 pixels of 4:3 are 55.4 × 73.9.
        let wanted = Data::Clips { frames: 17, size: [56, 72], fps: 12, sound: Some(16_000) };
        assert_eq!((fitting.data, fitting.windows), (wanted, 5));
        for (rate, seconds, wanted) in
            [(30.0, 60.0, (17, 10)), (25.0, 1.0, (9, 12)), (24.0, 0.25, (5, 20)), (8.0, 0.3, (1, 8))]
        {
            let survey = Survey { clips: vec![clip([64, 64], rate, seconds, None)], ..Survey::default() };
            let Data::Clips { frames, fps, sound: None, size: [64, 64] } = fit(&survey, None).unwrap().data else {
                panic!("clips without sound")
            };
            assert_eq!((frames, fps), wanted, "{rate} {seconds}");
        }
    }

    #[test]
    fn sounds_have_whole_tokens() {
        let sound = |rate, seconds| SeenSound { path: "a.wav".into(), rate, seconds: Some(seconds) };
        let survey = Survey { sounds: vec![sound(8000.0, 0.71); 3], ..Survey::default() };
        let fitting = fit(&survey, None).unwrap();
        assert_eq!((fitting.purpose, fitting.windows), (Purpose::AudioContinuation, 3));
        assert_eq!(fitting.data, Data::Sounds { rate: 8000, samples: 5800 });
        let long = Survey { sounds: vec![sound(48_000.0, 9.0)], ..Survey::default() };
        assert_eq!(fit(&long, None).unwrap().data, Data::Sounds { rate: 16_000, samples: 64_000 });
    }

    #[test]
    fn what_a_folder_does_not_hold_is_said() {
        let silent = Survey { clips: vec![clip([64, 64], 8.0, 3.0, None)], ..Survey::default() };
        for (purpose, says) in [
            (Purpose::TextToVideo, "takes captions"),
            (Purpose::VideoToAudio, "none has any"),
            (Purpose::AudioContinuation, "no sounds"),
        ] {
            let error = fit(&silent, Some(purpose)).err().unwrap().to_string();
            assert!(error.contains(says) && error.contains("hint"), "{error}");
        }
        let error = fit(&Survey::default(), None).err().unwrap().to_string();
        assert!(error.contains("no clips, pictures or sounds"), "{error}");
    }

    #[test]
    fn captions_say_how_long_a_prompt_is() {
        let folder = tempfile::tempdir().unwrap();
        let captions: Vec<String> = ["a red ring moves left", "a blue square, fast"].map(String::from).to_vec();
        let config = text(&captions, &folder.path().join("text.json")).unwrap();
        assert_eq!(config.length, 8);
        let long = vec!["word ".repeat(300)];
        assert_eq!(text(&long, &folder.path().join("long.json")).unwrap().length, LONGEST);
    }
}
