//! Tokens of a whole dataset, in shards that many machines fill.

use burn::tensor::Device;
use musiva_core::recipe::{Recipe, TrainSettings};
use musiva_core::{Error, ErrorKind, Modality, Observer, Result, files};
use musiva_data::Identity;
use musiva_train::shards::{Filling, Origin, Outcome, Portion, word};
use musiva_train::sources::dataset_of;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// How far a folder of shards is filled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Filled {
    /// Shards that were made now.
    pub made: u64,
    /// Shards of the portion that were there.
    pub kept: u64,
    /// Shards of all portions.
    pub shards: u64,
    /// Samples of all shards.
    pub samples: u64,
}

/// Makes the shards of `portion` in `folder` that are not there yet.
///
/// # Errors
/// Where data or weights cannot be read, or the folder cannot be written; and what `observer` returns.
pub fn fill(
    recipe: &Recipe,
    folder: &Path,
    portion: Portion,
    per_shard: u64,
    device: &Device,
    observer: &mut dyn Observer,
) -> Result<Filled> {
    let canvas = recipe.flow().canvas.as_ref().filter(|_| recipe.backbone.is_some());
    let more = canvas.is_some_and(|canvas| {
        let main = [Modality::Video, Modality::Audio, Modality::Text].map(Modality::track);
        !canvas.conditions.is_empty() || canvas.tracks.iter().any(|track| !main.contains(&&*track.name))
    });
    if more || !recipe.buckets.is_empty() {
        let message = "shards hold clips and sounds of one dataset, length and size, and this recipe has more";
        return Err(Error::new(ErrorKind::Unsupported, "--dataset", message)
            .hint("train without `train.tokens`: what is trained on is tokenized first then"));
    }
    let data = dataset_of(recipe)?;
    let clips = recipe.train.as_ref().map_or(TrainSettings::default().clips, |train| train.clips);
    let mut built = Vec::new();
    for modality in [Modality::Video, Modality::Audio] {
        if let Some(part) = recipe.tokenizer(modality).filter(|_| data.shape(modality).is_some()) {
            built.push((modality, part.component.build(device, &recipe.weight_init(part)?)?));
        }
    }
    if built.is_empty() {
        return Err(Error::new(ErrorKind::Unsupported, "data", "the recipe has no tokenizer for what is in its data")
            .hint("name a recipe with `[tokenizer.video]` and clips, or `[tokenizer.audio]` and sounds"));
    }
    let filling = Filling {
        folder,
        data: &*data,
        count: data.len().unwrap_or(clips as u64),
        per_shard,
        tokenizers: built.iter().map(|(modality, tokenizer)| (*modality, &**tokenizer)).collect(),
        origin: origin(recipe)?,
    };
    let numbers: Vec<u64> = filling.shards(portion).collect();
    let total = numbers.len() * per_shard as usize;
    let (mut made, mut kept, mut done) = (0, 0, 0);
    for &number in &numbers {
        let outcome = filling.fill(number, &mut || {
            done += 1;
            observer.progress("tokenize the data", done, total)
        })?;
        match outcome {
            Outcome::Made => made += 1,
            Outcome::Kept => kept += 1,
        }
        done = (made + kept) as usize * per_shard as usize;
        observer.progress("tokenize the data", done, total)?;
    }
    Ok(Filled { made, kept, shards: filling.count.div_ceil(per_shard), samples: filling.count })
}

/// What the tokens of the recipe's dataset depend on beside its content.
///
/// # Errors
/// Where the recipe has no `[data]`, or a weights file cannot be read.
pub fn origin(recipe: &Recipe) -> Result<Origin> {
    let hash = |value: Value| files::sha256(value.to_string().as_bytes());
    let data = recipe.need_data()?;
    let mut config = data.config.clone();
    without_paths(&mut config);
    // Times of files differ from machine to machine.
    let files = Identity::of(&*data.component)?.map(|files| files.portable_hash()).unwrap_or_default();
    let mut tokenizers = BTreeMap::new();
    for modality in [Modality::Video, Modality::Audio] {
        if let Some(part) = recipe.tokenizer(modality) {
            tokenizers.insert(word(modality).to_owned(), recipe.encoding(part)?);
        }
    }
    Ok(Origin { dataset: hash(json!([data.kind, config])), files, tokenizers })
}

/// A configuration without its paths: machines may have the same data at different places.
fn without_paths(config: &mut Value) {
    match config {
        Value::Object(config) => {
            config.remove("path");
            config.values_mut().for_each(without_paths);
        }
        Value::Array(all) => all.iter_mut().for_each(without_paths),
        _ => {}
    }
}
