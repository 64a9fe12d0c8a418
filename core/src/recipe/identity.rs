//! What weights are: everything that changes their meaning and that counting numbers cannot see.
//!
//! Training writes it into the weights file, `musiva.identity`; whoever reads the file compares it with the recipe. A
//! tokenizer is known by a hash of what it computes: its settings and its numbers, not the bytes of its file.

use super::{Diagnostic, Part, Recipe, Report, Target};
use crate::canvas::{Axes, LevelPattern, TrackShape};
use crate::{Error, ErrorKind, Result, TokenizerConfig, WeightInit, files};
use safetensors::{SafeTensors, tensor::Metadata};
use serde::de::DeserializeOwned;
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;

/// Under which key weights files say what they are, as JSON.
pub const IDENTITY: &str = "musiva.identity";

/// Keys of recipes, and their values.
pub type Identity = BTreeMap<String, Json>;

/// A key by which weights and recipe differ.
#[derive(Clone, Debug, PartialEq)]
pub struct Unlike {
    /// The key.
    pub key: String,
    /// What the weights say.
    pub weights: Json,
    /// What the recipe says.
    pub recipe: Json,
}

impl Recipe {
    /// What weights of a part mean in this recipe.
    ///
    /// # Errors
    /// Where a tokenizer's weights cannot be read.
    pub fn identity(&self, target: Target) -> Result<Identity> {
        let mut identity = Identity::new();
        match target {
            Target::Video | Target::Audio | Target::Text => {
                if let Some(part) = self.tokenizers().find(|part| part.path == target.section()) {
                    identity = of_tokenizer(part);
                }
            }
            Target::Backbone => {
                let Some(part) = &self.backbone else { return Ok(identity) };
                settings(&mut identity, part.section, &part.kind, &part.config, part.component.neutral());
                if let Some(objective) = &self.objective {
                    identity.insert("objective.kind".into(), objective.kind.clone().into());
                    for key in objective.component.meaning() {
                        identity.insert(format!("objective.{key}"), objective.config[*key].clone());
                    }
                    match (&self.schedule, objective.component.process()) {
                        (Some(part), _) => settings(&mut identity, part.section, &part.kind, &part.config, &[]),
                        // The objective's own is said too: a recipe with another one is told so.
                        (None, Some(process)) => {
                            identity.insert("schedule.kind".into(), process.schedule.name().into());
                        }
                        (None, None) => {}
                    }
                }
                for condition in self.flow.canvas.iter().flat_map(|canvas| &canvas.conditions) {
                    let [low, high] = condition.range;
                    let said = format!("{} by {}, {low} to {high}", condition.from, condition.route.word());
                    identity.insert(format!("condition.{}", condition.name), said.into());
                }
                let fixed = part.component.lengths_are_fixed();
                for track in self.flow.canvas.iter().flat_map(|canvas| &canvas.tracks) {
                    identity.insert(format!("track.{}", track.name), shape(track, fixed).into());
                    let tokenizer = self.tokenizer_of_track(&track.name);
                    if let Some(tokenizer) = tokenizer.filter(|part| part.weights.as_ref().is_some_and(|p| p.is_file()))
                    {
                        identity.insert(tokenizer.path.clone(), computes(tokenizer, |_| true)?.into());
                    }
                }
            }
        }
        Ok(identity)
    }

    /// SHA-256 of what the tokenizer of a track computes, its settings and its numbers; `None` where there is none.
    ///
    /// # Errors
    /// Where its weights cannot be read.
    pub fn tokenizer_sha256(&self, track: &str) -> Result<Option<String>> {
        self.tokenizer_of_track(track).map(|part| computes(part, |_| true)).transpose()
    }

    /// A hash of what makes the tokens of a tokenizer: its settings and the numbers of its encoder, so that a decoder that is
    /// trained on makes no other tokens. Of a plugin's tokenizer nobody knows which numbers these are: all count.
    ///
    /// # Errors
    /// Where its weights cannot be read.
    pub fn encoding(&self, part: &Part<dyn TokenizerConfig>) -> Result<String> {
        let own = part.origin == "built-in";
        let hash = computes(part, |name| !(own && name.starts_with("decoder.")))?;
        if self.plugins.is_empty() {
            return Ok(hash);
        }
        // Nothing else says which bytes a plugin is.
        Ok(files::sha256(serde_json::json!([hash, self.plugins]).to_string().as_bytes()))
    }

    /// By what the weights `file` of the part at `section` are not what this recipe says; nothing where they do not say what they are.
    ///
    /// # Errors
    /// Where a file cannot be read.
    pub fn unlike(&self, section: &str, file: &Path) -> Result<Vec<Unlike>> {
        let Some(found) = said(file)? else { return Ok(Vec::new()) };
        if let Some(target) = Target::of_section(section) {
            return Ok(unlike(found, self.identity(target)?));
        }
        // The weights of the tokenizer of a further track are those of a tokenizer of clips.
        let Some(part) = self.further.values().find(|part| part.path == section) else { return Ok(Vec::new()) };
        let here = |one: Unlike| Unlike { key: one.key.replacen(part.section, &part.path, 1), ..one };
        Ok(unlike(found, of_tokenizer(part)).into_iter().map(here).collect())
    }

    /// Writes into the weights file of a part that it is what this recipe says: for weights that do not say what they are.
    ///
    /// # Errors
    /// Where the recipe names no safetensors file for it, or it cannot be read or written.
    pub fn sign(&self, target: Target) -> Result<()> {
        let identity = serde_json::to_string(&self.identity(target)?).unwrap_or_default();
        self.annotate(target, IDENTITY, identity)
    }

    /// Writes a value into the metadata of the weights file of a part.
    ///
    /// # Errors
    /// As [`sign`](Self::sign).
    pub fn annotate(&self, target: Target, key: &str, value: String) -> Result<()> {
        fn named<T: ?Sized>(part: &Option<Part<T>>) -> Option<&Path> {
            part.as_ref().and_then(|part| part.weights.as_deref())
        }
        let file = match target {
            Target::Video => named(&self.video),
            Target::Audio => named(&self.audio),
            Target::Text => named(&self.text),
            Target::Backbone => named(&self.backbone),
        };
        let section = target.section();
        let file = file.ok_or_else(|| Error::new(ErrorKind::Recipe, section, "the recipe names no weights for it"))?;
        let bytes = files::read(file, 64 * files::GIGABYTE)?;
        let broken = |error: safetensors::SafeTensorError| {
            Error::new(ErrorKind::Weights, file.display().to_string(), error.to_string())
        };
        let (_, head) = SafeTensors::read_metadata(&bytes).map_err(broken)?;
        let mut metadata = head.metadata().clone().unwrap_or_default();
        metadata.insert(key.into(), value);
        let tensors = SafeTensors::deserialize(&bytes).map_err(broken)?;
        let signed = files::safetensors(tensors.iter(), metadata).map_err(broken)?;
        files::write(file, &signed)
    }

    /// Where the numbers of a part come from when it is used, not trained: its weights file, which is what this recipe says.
    ///
    /// # Errors
    /// Where it learns, and the recipe names none; where they are not what the recipe says, unless
    /// [`Recipe::force_weights`] is set.
    pub fn weight_init<T: ?Sized>(&self, part: &Part<T>) -> Result<WeightInit> {
        let weight_init = part.weight_init()?;
        if let WeightInit::File(file) = &weight_init {
            let path = format!("{}.weights", part.path);
            self.compare(self.same(&path, file, &part.path), file)?;
        }
        Ok(weight_init)
    }

    /// Where training starts: `train.start`, which is what this recipe says, or a seed.
    ///
    /// # Errors
    /// As [`Recipe::weight_init`].
    pub fn start(&self) -> Result<WeightInit> {
        let train = self.need_train()?;
        let weight_init = train.weight_init();
        // Weights of single frames are those of another tokenizer.
        if let (WeightInit::File(file), false) = (&weight_init, train.inflate) {
            self.compare(self.same("train.start", file, train.target.section()), file)?;
        }
        Ok(weight_init)
    }

    fn compare(&self, found: Vec<Diagnostic>, file: &Path) -> Result<()> {
        let report = Report(found);
        match report.failed() {
            true => {
                let message =
                    format!("these weights are not what the recipe says\n\n{}", report.to_string().trim_end());
                Err(Error::new(ErrorKind::Weights, file.display().to_string(), message))
            }
            false => Ok(()),
        }
    }
}

/// By what weights that say they are `found` are not `wanted`.
fn unlike(found: Identity, mut wanted: Identity) -> Vec<Unlike> {
    let differs = |(key, weights): (String, Json)| {
        // A key that the recipe does not have is of another version, or of a track that it leaves out.
        let recipe = wanted.remove(&key)?;
        (weights != recipe).then_some(Unlike { key, weights, recipe })
    };
    found.into_iter().filter_map(differs).collect()
}

/// What a tokenizer is.
fn of_tokenizer(part: &Part<dyn TokenizerConfig>) -> Identity {
    let mut identity = Identity::new();
    settings(&mut identity, part.section, &part.kind, &part.config, part.component.neutral());
    identity
}

impl Unlike {
    /// Both values, in words.
    pub fn message(&self, file: &Path) -> String {
        let Self { key, weights, recipe } = self;
        let file = file.display();
        match (weights, recipe) {
            (Json::String(_), Json::String(_)) if key.starts_with("tokenizer.") && !key[10..].contains('.') => {
                let [weights, recipe] = [weights, recipe]
                    .map(|hash| hash.as_str().unwrap_or_default().chars().take(12).collect::<String>());
                format!("{file} was trained with another `{key}` ({weights}…) than the recipe's ({recipe}…)")
            }
            _ => format!("{file} was trained with `{key} = {weights}`, the recipe says {recipe}"),
        }
    }

    /// The smallest edits that mend it.
    pub fn hint(&self) -> String {
        let back = match &*self.key {
            key if key.starts_with("track.") => {
                format!("set data, tokenizers and `[{key}]` back to those of the weights")
            }
            key if key.starts_with("condition.") => {
                format!("set `[{key}]` back: {}", self.weights.as_str().unwrap_or_default())
            }
            key if key.starts_with("tokenizer.") && !key[10..].contains('.') => {
                format!("set `[{key}]`, its weights or its settings, back to what it was trained with")
            }
            key => format!("set `{key} = {}`", super::words::toml(&self.weights)),
        };
        format!("{back}, or name other weights; --force-weights takes them at your own risk")
    }
}

/// What a weights file says of itself, where it does.
fn said(file: &Path) -> Result<Option<Identity>> {
    annotation(file, IDENTITY)
}

/// What the metadata of a weights file say under a key, as JSON; `None` where they do not, or the file is no safetensors.
///
/// # Errors
/// Where the file cannot be read, or its value is not of that type.
pub fn annotation<T: DeserializeOwned>(file: &Path, key: &str) -> Result<Option<T>> {
    if file.extension().is_none_or(|extension| extension != "safetensors") {
        return Ok(None);
    }
    let failed = |error| Error::io(file, "read it", error);
    let header = File::open(file).and_then(|mut file| files::safetensors_header(&mut file)).map_err(failed)?;
    // A broken file is reported by who reads its numbers.
    let head = header.and_then(|header| serde_json::from_slice::<Metadata>(&header).ok());
    let said = head.and_then(|head| head.metadata().as_ref()?.get(key).cloned());
    let wrong = |error: serde_json::Error| {
        Error::new(ErrorKind::Weights, file.display().to_string(), format!("`{key}` cannot be read ({error})"))
            .hint("fetch or train it again")
    };
    said.map(|text| serde_json::from_str(&text).map_err(wrong)).transpose()
}

/// A component's kind and settings, key by key, but for those that change nothing of what its weights mean.
fn settings(identity: &mut Identity, section: &str, kind: &str, config: &Json, neutral: &[&str]) {
    identity.insert(format!("{section}.kind"), kind.into());
    fn walk(identity: &mut Identity, section: &str, path: &str, value: &Json, neutral: &[&str]) {
        match value {
            _ if neutral.contains(&path) => {}
            Json::Object(entries) => entries.iter().for_each(|(key, value)| {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                walk(identity, section, &path, value, neutral);
            }),
            value => drop(identity.insert(format!("{section}.{path}"), value.clone())),
        }
    }
    walk(identity, section, "", config, neutral);
}

/// A track in words: its tokens, and where they lie.
fn shape(track: &TrackShape, fixed: bool) -> String {
    let tokens = if fixed { track.tokens.to_string() } else { track.tokens.kind.to_string() };
    let axes = match track.axes {
        Axes::Text => String::new(),
        Axes::Grid { scale } if scale == [1.0; 2] => String::new(),
        Axes::Grid { scale: [h, w] } => format!(", each {h}×{w} of the clip's"),
        Axes::Time { frames: [frames, tokens], stride } => {
            format!(", {tokens} as long as {frames} frames, a step has {stride}")
        }
    };
    let pattern = match track.pattern() {
        LevelPattern::Parallel => "",
        LevelPattern::Delay => ", delayed",
        LevelPattern::Flat => ", flat",
    };
    format!("{tokens}{axes}{pattern}")
}

/// A hash of what a tokenizer computes by those of its numbers that count, by their names.
fn computes(part: &Part<dyn TokenizerConfig>, counts: impl Fn(&str) -> bool) -> Result<String> {
    let mut all = serde_json::json!([of_tokenizer(part), part.component.spec().range]).to_string().into_bytes();
    if let Some(path) = part.weights.as_ref().filter(|path| path.is_file()) {
        let bytes = files::read(path, 64 * files::GIGABYTE)?;
        match SafeTensors::deserialize(&bytes) {
            Ok(tensors) => {
                let mut tensors: Vec<_> = tensors.iter().filter(|(name, _)| counts(name)).collect();
                tensors.sort_by_key(|(name, _)| *name);
                for (name, view) in tensors {
                    all.extend(format!("{name} {:?} {:?}", view.dtype(), view.shape()).into_bytes());
                    all.extend_from_slice(view.data());
                }
            }
            Err(_) => all.extend(bytes),
        }
    }
    Ok(files::sha256(&all))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn both_sides_are_told_and_how_to_bring_them_together() {
        let (message, hint) =
            ("w.safetensors was trained with", "or name other weights; --force-weights takes them at your own risk");
        let told = |key: &str, weights: Json, recipe: Json| {
            let unlike = Unlike { key: key.to_owned(), weights, recipe };
            let (told, back) = (unlike.message(Path::new("w.safetensors")), unlike.hint());
            let back = back.strip_suffix(hint).and_then(|back| back.strip_suffix(", ")).unwrap().to_owned();
            (told.strip_prefix(message).unwrap().trim_start().to_owned(), back)
        };
        let pair = |message: &str, hint: &str| (message.to_owned(), hint.to_owned());
        assert_eq!(
            told("backbone.heads", json!(4), json!(8)),
            pair("`backbone.heads = 4`, the recipe says 8", "set `backbone.heads = 4`")
        );
        assert_eq!(
            told("track.video", json!("codes"), json!("vectors")),
            pair(
                "`track.video = \"codes\"`, the recipe says \"vectors\"",
                "set data, tokenizers and `[track.video]` back to those of the weights"
            )
        );
        assert_eq!(
            told("condition.speed", json!("speed by add, 0 to 1"), json!("speed by add, 0 to 2")).1,
            "set `[condition.speed]` back: speed by add, 0 to 1"
        );
        assert_eq!(told("tokenizer.video.bits", json!("a"), json!("b")).1, "set `tokenizer.video.bits = \"a\"`");
        // Of a whole tokenizer the beginnings of two hashes, whatever a file says there.
        let hashes = told("tokenizer.video", json!("0123456789abcdef"), json!("short"));
        assert_eq!(
            hashes,
            pair(
                "another `tokenizer.video` (0123456789ab…) than the recipe's (short…)",
                "set `[tokenizer.video]`, its weights or its settings, back to what it was trained with"
            )
        );
    }
}
