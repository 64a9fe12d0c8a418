//! A dataset as tokens in WebDataset shards: made once by as many machines as there are, read by training.
//!
//! A folder holds `000000.tar`, `000001.tar`, …, each so many samples in a row. A sample is a few members of one key, which
//! is its number and the hash of its content: `KEY.json` ([`About`]), `KEY.txt` (its caption) and for each modality that was
//! tokenized `KEY.video.safetensors` or `KEY.audio.safetensors` ([`Tokens::save`](musiva_core::Tokens::save)).
//!
//! Every sample says of which dataset it is and by which tokenizers its tokens were made. A shard is written whole or not at
//! all, so one that is there is done; whether it is the right one, its first sample says.

mod archive;

use musiva_core::{Error, ErrorKind, Media, Modality, Result, Tokenizer, Tokens, files};
use musiva_data::{Dataset, Sample};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, BufWriter};
use std::path::{Path, PathBuf};

/// Samples encoded at once.
const ENCODED: usize = 16;
/// Characters of a hash in a key.
const SHORT: usize = 16;

/// What a sample says of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct About {
    /// Its number in the dataset.
    pub index: u64,
    /// How many samples the whole dataset has.
    pub count: u64,
    /// How many each of its shards has, but for the last.
    pub per_shard: u64,
    /// Where it comes from.
    pub id: String,
    /// Its captions behind the first, which is its `.txt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub more_captions: Vec<String>,
    /// SHA-256 of its clip, its sound and its caption.
    pub content_sha256: String,
    /// [`Origin::dataset`].
    pub dataset_sha256: String,
    /// [`Origin::files`].
    #[serde(default)]
    pub files_sha256: String,
    /// [`Origin::tokenizers`].
    pub tokenizers_sha256: BTreeMap<String, String>,
}

impl About {
    fn cut(&self) -> [u64; 3] {
        [self.index, self.count, self.per_shard]
    }
}

/// What tokens depend on beside the content of the samples.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// A hash of the dataset's configuration.
    pub dataset: String,
    /// A hash of what tells its files from others; empty where it has none.
    pub files: String,
    /// For each modality that is tokenized, `video` or `audio`, a hash of its tokenizer: configuration and weights.
    pub tokenizers: BTreeMap<String, String>,
}

/// A portion of the shards: every machine makes its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Portion {
    /// Which one, from 1.
    pub number: u64,
    /// Of how many.
    pub of: u64,
}

impl Default for Portion {
    fn default() -> Self {
        Self { number: 1, of: 1 }
    }
}

impl std::str::FromStr for Portion {
    type Err = String;

    fn from_str(text: &str) -> std::result::Result<Self, String> {
        let parts = text.split_once('/').and_then(|(a, b)| Some((a.parse().ok()?, b.parse().ok()?)));
        match parts {
            Some((number, of)) if (1..=of).contains(&number) => Ok(Self { number, of }),
            _ => Err("write it like 3/16: the third of sixteen".into()),
        }
    }
}

/// The folder of a dataset's tokens, to be filled.
pub struct Filling<'a> {
    /// Where the shards lie.
    pub folder: &'a Path,
    /// The samples; `count` of them are tokenized.
    pub data: &'a dyn Dataset,
    /// How many.
    pub count: u64,
    /// Samples of a shard, the last one's perhaps fewer.
    pub per_shard: u64,
    /// The tokenizers of what is tokenized.
    pub tokenizers: Vec<(Modality, &'a dyn Tokenizer)>,
    /// What their tokens depend on.
    pub origin: Origin,
}

/// What became of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was made.
    Made,
    /// It was there.
    Kept,
}

impl Filling<'_> {
    /// The numbers of the shards of `portion`.
    pub fn shards(&self, portion: Portion) -> impl Iterator<Item = u64> + use<> {
        (portion.number - 1..self.count.div_ceil(self.per_shard)).step_by(portion.of as usize)
    }

    /// The file of shard `number`.
    pub fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("{number:06}.tar"))
    }

    /// Makes shard `number` where it is not there yet, or where the files of the data have changed since it was made;
    /// `progress` is told of each sample that is done.
    ///
    /// # Errors
    /// Where a sample cannot be read or encoded, the file cannot be written, or there is a shard of other data or
    /// other tokenizers.
    pub fn fill(&self, number: u64, progress: &mut dyn FnMut() -> Result<()>) -> Result<Outcome> {
        let path = self.path(number);
        let indices = number * self.per_shard..((number + 1) * self.per_shard).min(self.count);
        if path.exists() && self.same(&path, indices.start)? {
            return Ok(Outcome::Kept);
        }
        files::write_with(&path, |temporary| {
            let failed = |error| Error::io(&path, "write it", error);
            let mut out = archive::Writer::new(BufWriter::new(File::create(temporary).map_err(failed)?));
            for start in indices.clone().step_by(ENCODED) {
                let samples: Vec<Sample> = (start..indices.end.min(start + ENCODED as u64))
                    .map(|i| self.data.get(i))
                    .collect::<Result<_>>()?;
                let mut encoded = Vec::new();
                for &(modality, tokenizer) in &self.tokenizers {
                    let media: Vec<Media> =
                        samples.iter().map(|sample| media(sample, modality)).collect::<Result<_>>()?;
                    encoded.push((modality, tokenizer.encode_all(&media)?));
                }
                for (i, sample) in samples.iter().enumerate() {
                    let about = self.about(start + i as u64, sample);
                    let key = format!("{:09}-{}", about.index, &about.content_sha256[..SHORT]);
                    // Plain strings and numbers are always JSON.
                    let json = serde_json::to_vec(&about).unwrap_or_default();
                    out.file(&format!("{key}.json"), &json).map_err(failed)?;
                    out.file(&format!("{key}.txt"), sample.caption.as_bytes()).map_err(failed)?;
                    for (modality, tokens) in &encoded {
                        let bytes = tokens[i].to_safetensors(HashMap::new())?;
                        out.file(&format!("{key}.{}.safetensors", word(*modality)), &bytes).map_err(failed)?;
                    }
                    progress()?;
                }
            }
            out.end().map(drop).map_err(failed)
        })?;
        Ok(Outcome::Made)
    }

    fn about(&self, index: u64, sample: &Sample) -> About {
        About {
            index,
            count: self.count,
            per_shard: self.per_shard,
            id: sample.id.clone(),
            more_captions: sample.more_captions.clone(),
            content_sha256: content(sample),
            dataset_sha256: self.origin.dataset.clone(),
            files_sha256: self.origin.files.clone(),
            tokenizers_sha256: self.origin.tokenizers.clone(),
        }
    }

    /// Whether the first sample of a shard is `index` as it would be made now; `false` where it was made of the same dataset
    /// when its files were others.
    fn same(&self, path: &Path, index: u64) -> Result<bool> {
        let found = Samples::open(path)?.next().transpose()?.map(|sample| sample.about);
        let wanted = self.about(index, &self.data.get(index)?);
        if found.as_ref() == Some(&wanted) {
            return Ok(true);
        }
        let what = match found {
            Some(found)
                if found.files_sha256 != wanted.files_sha256
                    && found.per_shard == wanted.per_shard
                    && (&found.dataset_sha256, &found.tokenizers_sha256)
                        == (&wanted.dataset_sha256, &wanted.tokenizers_sha256) =>
            {
                return Ok(false);
            }
            Some(found) if found.tokenizers_sha256 != wanted.tokenizers_sha256 => "holds tokens of another tokenizer",
            Some(found) if found.cut() != wanted.cut() => "is cut in another way",
            Some(_) => "is of other data",
            None => "is empty",
        };
        Err(Error::new(ErrorKind::Data, path.display().to_string(), format!("this shard {what}"))
            .hint("fill another folder, or delete the shards of this one"))
    }
}

/// The media of a sample that a tokenizer of `modality` reads.
fn media(sample: &Sample, modality: Modality) -> Result<Media> {
    match modality {
        Modality::Video => sample.clone().into_clip().map(Media::Clip),
        Modality::Audio => sample.clone().into_sound().map(Media::Sound),
        Modality::Text => Ok(Media::Text(sample.caption.clone())),
    }
}

/// What a modality is called in the names of members.
pub fn word(modality: Modality) -> &'static str {
    match modality {
        Modality::Video => "video",
        Modality::Audio => "audio",
        Modality::Text => "text",
    }
}

/// A hash of all that a sample shows, sounds and says.
fn content(sample: &Sample) -> String {
    let mut bytes = serde_json::to_vec(&(
        sample.clip.as_ref().map(|clip| (clip.shape(), clip.rate())),
        sample.sound.as_ref().map(|sound| (sound.shape(), sound.rate())),
        &sample.caption,
    ))
    .unwrap_or_default();
    bytes.extend(sample.more_captions.iter().flat_map(|caption| caption.bytes().chain([0])));
    bytes.extend(sample.clip.iter().flat_map(|clip| clip.pixels()));
    bytes.extend(sample.sound.iter().flat_map(|sound| sound.samples()).flat_map(|sample| sample.to_le_bytes()));
    files::sha256(&bytes)
}

/// A sample read from a shard.
#[derive(Clone, Debug, PartialEq)]
pub struct Stored {
    /// What it says of itself.
    pub about: About,
    /// Its captions; at least one, which may be empty.
    pub captions: Vec<String>,
    /// Its tokens, by modality.
    pub tokens: Vec<(Modality, Tokens)>,
}

/// The samples of one shard, one after the other.
pub struct Samples {
    path: PathBuf,
    archive: archive::Reader<BufReader<File>>,
    /// The first member of the sample that comes next.
    ahead: Option<(String, Vec<u8>)>,
}

impl Samples {
    /// Opens a shard.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(|error| Error::io(path, "read it", error))?;
        let mut archive = archive::Reader::new(BufReader::new(file));
        let ahead = archive.next().map_err(|error| at(path, &error))?;
        Ok(Self { path: path.to_owned(), archive, ahead })
    }

    fn sample(&mut self) -> Result<Option<Stored>> {
        let Some((first, content)) = self.ahead.take() else { return Ok(None) };
        let key = key(&first).to_owned();
        let mut members = vec![(first, content)];
        while let Some((name, content)) = self.archive.next().map_err(|error| at(&self.path, &error))? {
            if self::key(&name) != key || members.len() > 8 {
                self.ahead = Some((name, content));
                break;
            }
            members.push((name, content));
        }
        let wrong = |found: &str| {
            Error::new(ErrorKind::Data, format!("{}: {key}", self.path.display()), found)
                .hint("this is no shard of tokens: delete it, or name another folder")
        };
        let (mut about, mut caption, mut tokens) = (None, String::new(), Vec::new());
        for (name, content) in members {
            match &name[key.len()..] {
                ".json" => {
                    let said = serde_json::from_slice::<About>(&content);
                    about = Some(said.map_err(|error| wrong("its JSON does not say what it is").caused_by(error))?);
                }
                ".txt" => caption = String::from_utf8(content).map_err(|_| wrong("its caption is not UTF-8"))?,
                ".video.safetensors" => {
                    tokens.push((Modality::Video, Tokens::from_safetensors(&content, &self.path)?.0))
                }
                ".audio.safetensors" => {
                    tokens.push((Modality::Audio, Tokens::from_safetensors(&content, &self.path)?.0))
                }
                _ => {}
            }
        }
        let about = about.ok_or_else(|| wrong("a sample without its .json"))?;
        let captions = std::iter::once(caption).chain(about.more_captions.iter().cloned()).collect();
        Ok(Some(Stored { about, captions, tokens }))
    }
}

impl Iterator for Samples {
    type Item = Result<Stored>;

    fn next(&mut self) -> Option<Result<Stored>> {
        self.sample().transpose()
    }
}

/// Up to the first dot of the file's name.
fn key(name: &str) -> &str {
    let file = name.rfind('/').map_or(0, |slash| slash + 1);
    name[file..].find('.').map_or(name, |dot| &name[..file + dot])
}

fn at(path: &Path, error: &Error) -> Error {
    let mended = Error::new(error.kind(), path.display().to_string(), error.message());
    mended.hint("delete this shard and fill the folder again: the others are kept")
}

/// All samples of a folder of shards in their order, made by the tokenizers of `origin` for the modalities that it names.
///
/// # Errors
/// Where the folder has no shards or not all of them, one cannot be read, or is of other tokenizers.
pub fn read(
    folder: &Path,
    origin: &BTreeMap<String, String>,
    each: &mut dyn FnMut(Stored) -> Result<()>,
) -> Result<u64> {
    let failed = |error| Error::io(folder, "list the folder", error);
    let mut paths = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let hidden = path.file_name().is_none_or(|name| name.to_string_lossy().starts_with('.'));
        if !hidden && path.extension().is_some_and(|extension| extension == "tar") {
            paths.push(path);
        }
    }
    paths.sort();
    let (mut next, mut count) = (0, None);
    for path in &paths {
        for sample in Samples::open(path)? {
            let sample = sample?;
            let about = &sample.about;
            let refuse = |found: String, hint: &str| {
                Err(Error::new(ErrorKind::Data, path.display().to_string(), found).hint(hint))
            };
            for (modality, hash) in origin {
                match about.tokenizers_sha256.get(modality) {
                    Some(found) if found == hash => {}
                    Some(_) => {
                        let message =
                            format!("these tokens were made by another {modality} tokenizer than the recipe's");
                        return refuse(
                            message,
                            "make them again by `musiva tokenize RECIPE --dataset`, or set the tokenizer back",
                        );
                    }
                    None => {
                        let message = format!("there are no {modality} tokens in it");
                        return refuse(
                            message,
                            "make them by `musiva tokenize RECIPE --dataset` with a recipe that has both tokenizers",
                        );
                    }
                }
            }
            if about.index != next || *count.get_or_insert(about.count) != about.count {
                let message = format!("sample {} of {} comes where {next} is expected", about.index, about.count);
                return refuse(message, "fill the folder: `musiva tokenize RECIPE --dataset` makes what is missing");
            }
            next += 1;
            each(sample)?;
        }
    }
    match count {
        Some(count) if count == next => Ok(count),
        Some(count) => Err(Error::new(
            ErrorKind::Data,
            folder.display().to_string(),
            format!("{next} of {count} samples are there"),
        )
        .hint("fill the folder: `musiva tokenize RECIPE --dataset` makes what is missing")),
        None => Err(Error::new(ErrorKind::Data, folder.display().to_string(), "there are no shards in this folder")
            .hint("fill it by `musiva tokenize RECIPE --dataset -o FOLDER`")),
    }
}

#[cfg(test)]
mod tests;
