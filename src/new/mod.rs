//! From a folder of one's own to recipes that fit it.

mod budget;
mod fit;
mod toml;

use crate::device::DeviceName;
use crate::save;
use budget::{Budget, Chosen};
use fit::Fit;
use musiva_core::{Error, ErrorKind, Observer, Result, files};
use musiva_data::survey::{Survey, survey};
use serde::Serialize;
use serde_json::json;
use std::path::{Path, PathBuf};
use std::{fmt, fs, str::FromStr};

/// Channels of the video tokenizer's stages, the smallest first.
const BODIES: [[usize; 4]; 3] = [[32, 64, 96, 128], [48, 96, 128, 160], [64, 128, 160, 192]];
/// Width and depth of the backbone, the smallest first.
const BACKBONES: [[usize; 2]; 7] = [[96, 4], [128, 4], [192, 6], [256, 6], [256, 8], [384, 8], [512, 12]];

/// What a model is to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Purpose {
    /// A picture from a prompt.
    TextToImage,
    /// A clip from a prompt, with its sound where the clips have any.
    TextToVideo,
    /// A clip from its first frame, with its sound where the clips have any.
    ImageToVideo,
    /// The sound of a clip.
    VideoToAudio,
    /// The clip of a sound.
    AudioToVideo,
    /// A sound from a prompt.
    TextToAudio,
    /// More of a sound.
    AudioContinuation,
}

impl Purpose {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::TextToImage,
        Self::TextToVideo,
        Self::ImageToVideo,
        Self::VideoToAudio,
        Self::AudioToVideo,
        Self::TextToAudio,
        Self::AudioContinuation,
    ];

    /// As it is written.
    pub fn name(self) -> &'static str {
        match self {
            Self::TextToImage => "text-to-image",
            Self::TextToVideo => "text-to-video",
            Self::ImageToVideo => "image-to-video",
            Self::VideoToAudio => "video-to-audio",
            Self::AudioToVideo => "audio-to-video",
            Self::TextToAudio => "text-to-audio",
            Self::AudioContinuation => "audio-continuation",
        }
    }

    /// Whether nothing but a prompt says what is to be made.
    pub(crate) fn needs_captions(self) -> bool {
        matches!(self, Self::TextToImage | Self::TextToVideo | Self::TextToAudio)
    }
}

impl fmt::Display for Purpose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Purpose {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let names = Self::ALL.map(Self::name).join(", ");
        Self::ALL.into_iter().find(|purpose| purpose.name() == text).ok_or_else(|| format!("expected one of {names}"))
    }
}

/// How a model makes it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Paradigm {
    /// A language model: token after token.
    #[default]
    Lm,
    /// A masked model: all tokens at once, in a few steps.
    Masked,
    /// A diffusion Transformer over latents.
    Dit,
}

impl Paradigm {
    /// Pixels of a token's side: many numbers in few tokens for diffusion, whose cost is that of the tokens; few bits in many
    /// for models that choose among them.
    pub(crate) fn token_side(self) -> usize {
        match self {
            Self::Lm | Self::Masked => 8,
            Self::Dit => 16,
        }
    }
}

impl FromStr for Paradigm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "lm" => Ok(Self::Lm),
            "masked" => Ok(Self::Masked),
            "dit" => Ok(Self::Dit),
            _ => Err("expected one of lm, masked, dit".into()),
        }
    }
}

/// What is to become of a folder.
#[derive(Clone, Debug)]
pub struct NewOptions {
    /// What the model is to do; `None`: what fits the folder.
    pub purpose: Option<Purpose>,
    /// How.
    pub paradigm: Paradigm,
    /// Leave the sound of clips out.
    pub silent: bool,
    /// How long all training may take on `device`, in hours, above 0.
    pub hours: f64,
    /// Where it is trained.
    pub device: DeviceName,
    /// Write over files that are there.
    pub overwrite: bool,
}

impl Default for NewOptions {
    fn default() -> Self {
        let (purpose, paradigm, device) = (None, Paradigm::default(), DeviceName::default());
        Self { purpose, paradigm, silent: false, hours: 3.0, device, overwrite: false }
    }
}

/// What was written.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NewRecipes {
    /// What the model is to do.
    pub purpose: Purpose,
    /// What the folder holds, in words.
    pub found: String,
    /// What was chosen, and what is to be known, a line each.
    pub notes: Vec<String>,
    /// The recipes, in the order in which they are trained; before them what they share.
    pub recipes: Vec<PathBuf>,
    /// The commands to come, in their order.
    pub commands: Vec<String>,
}

/// Looks at `folder` and writes to `out` the recipes of a model of what it holds: size, rates and windows by the files, a
/// text tokenizer of the captions, tokenizers and a backbone as large as the hours allow. Nothing else is trained.
///
/// # Errors
/// Where the folder holds nothing that is fit for the purpose, or `out` cannot be written or has such files already.
pub fn new_recipes(folder: &Path, out: &Path, options: &NewOptions, observer: &mut dyn Observer) -> Result<NewRecipes> {
    if !(options.hours.is_finite() && options.hours > 0.0) {
        return Err(Error::new(ErrorKind::Unsupported, "--hours", format!("{} hours are no time", options.hours))
            .hint("name a number above 0"));
    }
    if !folder.is_dir() {
        return Err(Error::new(ErrorKind::Data, folder.display().to_string(), "there is no such folder")
            .hint("name the folder of your clips, sounds or pictures"));
    }
    let survey = survey(folder, &mut |done, total| observer.progress("look at the files", done, total))?;
    let fit = Fit::new(&survey, folder, options)?;
    let mut names = vec!["data.toml"];
    names.extend(fit.has_video().then_some("tokenizer-video.toml"));
    names.extend(fit.has_audio().then_some("tokenizer-audio.toml"));
    names.push("model.toml");
    let recipes: Vec<PathBuf> = names.iter().map(|name| out.join(name)).collect();
    let words = out.join("text.json");
    for path in recipes.iter().chain([&words]) {
        save::vacant(path, options.overwrite)?;
    }
    fs::create_dir_all(out).map_err(|error| Error::io(out, "make the folder", error))?;
    let text = match survey.captions.is_empty() {
        true => None,
        false => Some(fit::text(&survey.captions, &words)?),
    };
    let budget = Budget::measure(&options.device.open()?);
    let (mut data, mut notes) = (toml::data(&fit, &path_from(out, folder), text), fit.notes.clone());
    let mut written = vec![String::new()];
    let part = |name: &str, about: &str, rest: &str| {
        let name = json!(format!("{}-{name}", fit.name));
        format!("# {about}\nschema = 1\nextends = \"data.toml\"\nname = {name}\n{rest}")
    };
    let shares = if fit.has_video() && fit.has_audio() { [0.35, 0.15, 0.5] } else { [0.4, 0.4, 0.6] };
    let hours = shares.map(|share| share * options.hours);
    if fit.has_video() {
        let recipe = |size, steps| format!("{data}{}{}", toml::video(&fit, size), toml::train_video(&fit, steps));
        let Chosen { size, steps, note } = budget.largest(&BODIES, hours[0], fit.windows, out, recipe)?;
        written.push(part("tokenizer-video", "Trains the video tokenizer.", &toml::train_video(&fit, steps)));
        data += &toml::video(&fit, size);
        notes.push(note);
    }
    if fit.has_audio() {
        let recipe = |(), steps| format!("{data}{}{}", toml::audio(&fit), toml::train_audio(&fit, steps));
        let Chosen { size: (), steps, note } = budget.largest(&[()], hours[1], fit.windows, out, recipe)?;
        written.push(part("tokenizer-audio", "Trains the audio tokenizer.", &toml::train_audio(&fit, steps)));
        data += &toml::audio(&fit);
        notes.push(note);
    }
    let recipe = |size, steps| format!("{data}{}", toml::model(&fit, size, steps));
    let Chosen { size, steps, note } = budget.largest(&BACKBONES, hours[2], fit.windows, out, recipe)?;
    written.push(part("model", "The model: what it makes of what is given, and how.", &toml::model(&fit, size, steps)));
    notes.push(note);
    written[0] = data;
    // What is wrong with one of them has been found before any is written.
    recipes.iter().zip(&written).try_for_each(|(path, text)| files::write(path, text.as_bytes()))?;
    let commands = commands(&fit, &survey, out, &recipes);
    Ok(NewRecipes { purpose: fit.purpose, found: found(&survey), notes, recipes, commands })
}

/// What comes next: tokenizers, then the model, then what it makes and how good it is.
fn commands(fit: &Fit, survey: &Survey, out: &Path, recipes: &[PathBuf]) -> Vec<String> {
    let quoted = |path: &Path| quote(&path.display().to_string());
    let train = |recipe: &PathBuf| {
        let run = out.join("runs").join(recipe.file_stem().unwrap_or_default());
        format!("musiva train {} --run {}", quoted(recipe), quoted(&run))
    };
    let mut commands: Vec<String> = recipes.iter().skip(1).map(train).collect();
    let clip = survey.clips.iter().find(|clip| clip.sound.is_some() || !fit.has_audio()).map(|clip| &*clip.path);
    let sound = survey.sounds.first().map(|sound| &*sound.path).or(clip).unwrap_or(Path::new("sound.wav"));
    let clip = clip.unwrap_or(Path::new("clip.mp4"));
    let image = survey.images.first().map_or(Path::new("first-frame.png"), |image| &*image.path);
    let prompt = survey.captions.first().map(|caption| format!(" --prompt {}", quote(caption))).unwrap_or_default();
    let (given, file) = match fit.purpose {
        Purpose::TextToImage => (String::new(), "out.png"),
        Purpose::TextToVideo => (String::new(), "out.mp4"),
        Purpose::ImageToVideo => (format!(" --image {}", quoted(image)), "out.mp4"),
        Purpose::VideoToAudio => (format!(" --video {}", quoted(clip)), "heard.mp4"),
        Purpose::AudioToVideo => (format!(" --audio {}", quoted(sound)), "seen.mp4"),
        Purpose::TextToAudio => (String::new(), "out.wav"),
        Purpose::AudioContinuation => (format!(" --audio {} --extend 2", quoted(sound)), "longer.wav"),
    };
    let model = recipes.last().map_or_else(String::new, |model| quoted(model));
    commands.push(format!("musiva generate {model}{given}{prompt} -o {file}"));
    commands.push(format!("musiva evaluate {model}"));
    commands
}

/// For a shell.
fn quote(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:,+".contains(c);
    match !text.is_empty() && text.chars().all(plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

fn found(survey: &Survey) -> String {
    let heard = survey.clips.iter().filter(|clip| clip.sound.is_some()).count();
    let Survey { clips, images, sounds, captions, left_out, .. } = survey;
    let mut parts = vec![format!("{} clips ({heard} with sound)", clips.len())];
    parts.push(format!("{} pictures", images.len()));
    parts.push(format!("{} sounds", sounds.len()));
    parts.push(format!("{} captions", captions.len()));
    if !left_out.is_empty() {
        parts.push(format!("{} files that cannot be read, such as {}", left_out.len(), left_out[0]));
    }
    parts.join(", ")
}

/// The path of `folder` as files in `out` write it: relative to them, so that both can move.
fn path_from(out: &Path, folder: &Path) -> PathBuf {
    let (Ok(out), Ok(folder)) = (fs::canonicalize(out), fs::canonicalize(folder)) else { return folder.to_owned() };
    let shared = out.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    if shared == 0 {
        return folder;
    }
    let up = out.components().skip(shared).map(|_| Path::new(".."));
    up.chain(folder.components().skip(shared).map(|part| Path::new(part.as_os_str()))).collect()
}
