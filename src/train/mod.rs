//! Trains what a recipe trains: `train.target`.

mod folder;
mod lock;

pub use folder::RunFolder;
pub use musiva_train::health::FailureMode;
pub use musiva_train::trainer::{Callbacks, Ended, Samples};

use crate::cache::{self, cache};
use crate::device::DeviceName;
use crate::memory;
use crate::provenance::Provenance;
use crate::shards::origin;
use burn::tensor::Device;
use musiva_core::dataset::Part;
use musiva_core::pipeline::Codecs;
use musiva_core::recipe::{Bucket, IDENTITY, Recipe, Target, TrainSettings};
use musiva_core::{Error, ErrorKind, Modality, Result, files};
use musiva_data::Identity;
use musiva_tokenizers::text;
use musiva_train::backbone::{BackboneParts, BackboneTraining, TrainingBucket};
use musiva_train::sources::{dataset_of, held_out_of};
use musiva_train::token_set::TokenSet;
use musiva_train::tokenizer::{Clips, Medium, Sounds, TokenizerTraining, summary};
use musiva_train::trainer::{LeftOut, Run, Trainable};
use std::path::{Path, PathBuf};

/// Trains what `recipe` trains in `folder`, from its newest checkpoint where it was [reopened](RunFolder::reopen): the
/// same weights, bit by bit, as never having stopped.
///
/// The folder is filled with recipe.toml and environment.json (what was run, and on what), metrics.jsonl and TensorBoard
/// events, checkpoints/ and, at the end, the weights.
///
/// # Errors
/// Where data or weights cannot be read, the folder cannot be written, or training goes wrong; and what `callbacks`
/// return.
pub fn train(recipe: &Recipe, folder: &RunFolder, device: DeviceName, callbacks: &mut dyn Callbacks) -> Result<Ended> {
    let settings = recipe.need_train()?;
    if !folder.resumed() {
        recipe.check_start().into_result()?;
    }
    if let Some(said) = summary(recipe).training.and_then(|training| memory::too_much(training.memory_bytes)) {
        callbacks.warn(&format!("{said}; {}", memory::HINT));
    }
    let name = device;
    let device = name.open()?;
    folder.describe(recipe, name)?;
    if let Some(data) = Identity::of(&*recipe.need_data()?.component)? {
        folder.same_data(&data, callbacks)?;
    }
    let identity = serde_json::to_string(&recipe.identity(settings.target)?).unwrap_or_default();
    let provenance = Provenance::of(recipe, name)?.trained(settings.target.section()).with(IDENTITY, identity);
    let run =
        Run { folder: folder.path().to_owned(), settings, recipe: recipe.resolved(), metadata: provenance.tensors() };
    let learn = |trainable: &mut dyn Trainable, callbacks: &mut dyn Callbacks| {
        run.train(trainable, folder.resumed(), callbacks)
    };
    match settings.target {
        Target::Text => train_text(recipe, settings, folder.path(), callbacks).map(Ended::Done),
        Target::Video => learn(&mut tokenizer::<Clips>(recipe, settings, &device, callbacks)?, callbacks),
        Target::Audio => learn(&mut tokenizer::<Sounds>(recipe, settings, &device, callbacks)?, callbacks),
        Target::Backbone => {
            let parts = parts(recipe, &device)?;
            let own = recipe.need_data()?;
            let one = Bucket { weight: 1.0, data: own.component.clone(), canvas: parts.canvas.clone() };
            let buckets = if recipe.buckets.is_empty() { std::slice::from_ref(&one) } else { &recipe.buckets };
            let bucket = |(number, bucket): (usize, &Bucket)| {
                let tokens = tokens(recipe, settings, folder, &parts, [number, buckets.len()], bucket, callbacks)?;
                let (data, held_out) = (bucket.data.open(Part::Train)?, bucket.data.open(Part::HeldOut)?);
                Ok(TrainingBucket { weight: bucket.weight, canvas: bucket.canvas.clone(), data, tokens, held_out })
            };
            let buckets = buckets.iter().enumerate().map(bucket).collect::<Result<Vec<_>>>()?;
            let weight_init = recipe.start()?;
            let mut trainable = BackboneTraining::of_buckets(settings, parts, &weight_init, buckets, &device)?;
            learn(&mut trainable, callbacks)
        }
    }
}

/// The recipe's tokenizer of a medium, to be trained.
fn tokenizer<'a, M: Medium>(
    recipe: &'a Recipe,
    settings: &TrainSettings,
    device: &Device,
    callbacks: &mut dyn Callbacks,
) -> Result<TokenizerTraining<'a, M>> {
    let config = &*recipe.need_tokenizer(M::MODALITY)?.component;
    let (data, held_out) = (dataset_of(recipe)?, held_out_of(recipe)?);
    let training = TokenizerTraining::new(settings, config, &recipe.start()?, data, &*held_out, device)?;
    LeftOut::default().tell(held_out.unreadable(), callbacks);
    Ok(training)
}

/// Byte-pair encoding has no steps: all captions at once.
fn train_text(
    recipe: &Recipe,
    settings: &TrainSettings,
    folder: &Path,
    callbacks: &mut dyn Callbacks,
) -> Result<PathBuf> {
    let part = recipe.need_tokenizer(Modality::Text)?;
    let config: text::TextConfig = serde_json::from_value(part.config.clone()).map_err(|error| {
        Error::new(ErrorKind::Unsupported, "tokenizer.text", format!("`{}` is not trained here", part.kind))
            .caused_by(error)
    })?;
    let data = dataset_of(recipe)?;
    let count = data.len().unwrap_or(settings.clips as u64);
    let captions = (0..count).map(|index| {
        callbacks.prepare("captions", index + 1, count)?;
        data.captions(index)
    });
    let captions: Vec<String> = captions.collect::<Result<Vec<_>>>()?.concat();
    LeftOut::default().tell(data.unreadable(), callbacks);
    let path = folder.join("tokenizer.json");
    text::train(&config, captions.into_iter(), &path)?;
    Ok(path)
}

/// The recipe's frozen tokenizers, and what trains and tries out the backbone.
fn parts<'a>(recipe: &'a Recipe, device: &Device) -> Result<BackboneParts<'a>> {
    let canvas = recipe.need_canvas()?;
    Ok(BackboneParts {
        config: &*recipe.need_backbone()?.component,
        codecs: Codecs::build(recipe, &canvas, device)?,
        canvas,
        objective: &*recipe.need_objective()?.component,
        sampler: &*recipe.need_sampler()?.component,
        tasks: recipe.need_tasks()?,
    })
}

/// Version of the cache of token sets.
const TOKEN_SETS: &str = "tracks-2";

/// A hash of everything that the tokens of a bucket depend on.
fn key(recipe: &Recipe, bucket: &Bucket, [number, buckets]: [usize; 2], count: u64) -> Result<String> {
    let tracks = &bucket.canvas.tracks;
    let tokenizers = tracks.iter().filter_map(|track| recipe.tokenizer_of_track(&track.name));
    let tokenizers = tokenizers.map(|part| recipe.encoding(part)).collect::<Result<Vec<_>>>()?;
    // Codes and the vectors that stand for them are tokens of one tokenizer.
    let shapes: Vec<_> = tracks.iter().map(|track| (&track.name, &track.from, track.tokens.to_string())).collect();
    let conditions: Vec<_> = bucket.canvas.conditions.iter().map(|condition| &condition.from).collect();
    let data = recipe.need_data()?;
    let files = Identity::of(&*bucket.data)?.map(|files| files.hash());
    let mut key = serde_json::json!([TOKEN_SETS, count, data.kind, data.config, files, tokenizers, shapes, conditions])
        .to_string();
    if buckets > 1 {
        // The configuration is that of all of them.
        key.push_str(&format!(" {number} of {buckets}"));
    }
    if !recipe.plugins.is_empty() {
        // Nothing else says which bytes a plugin is.
        key.push_str(&serde_json::json!(recipe.plugins).to_string());
    }
    Ok(files::sha256(key.as_bytes()))
}

/// The training clips as tokens. Those of an endless dataset follow from the recipe and are shared
/// between runs; those of a folder, whose files may change, belong to the run.
fn tokens(
    recipe: &Recipe,
    settings: &TrainSettings,
    folder: &RunFolder,
    parts: &BackboneParts,
    [number, buckets]: [usize; 2],
    bucket: &Bucket,
    callbacks: &mut dyn Callbacks,
) -> Result<TokenSet> {
    let canvas = &bucket.canvas;
    if let Some(folder) = &settings.tokens {
        if buckets > 1 {
            let message = "a folder of tokens is of one dataset, length and size, and these data are of several";
            return Err(Error::new(ErrorKind::Unsupported, "train.tokens", message)
                .hint("delete `train.tokens`: what is trained on is tokenized first then"));
        }
        return TokenSet::sharded(folder, &origin(recipe)?.tokenizers, canvas, &parts.encoders());
    }
    let data = bucket.data.open(Part::Train)?;
    let count = data.len().unwrap_or(settings.clips as u64);
    let key = key(recipe, bucket, [number, buckets], count)?;
    let path = match data.len() {
        Some(_) if buckets == 1 => folder.path().join("tokens.safetensors"),
        Some(_) => folder.path().join(format!("tokens-{number}.safetensors")),
        None => {
            let folder = cache()?.join("tokens");
            if let Some(said) = cache::said() {
                callbacks.warn(&said);
            }
            folder.join(format!("{}.safetensors", &key[..32]))
        }
    };
    let there = path.exists();
    let set = TokenSet::cached(&path, &key, canvas, || {
        if there {
            callbacks
                .warn("the data or a tokenizer are not those that the run's tokens were made of: they are made again");
        }
        TokenSet::new(&*data, count, canvas, &parts.encoders(), &mut |done| {
            callbacks.prepare("tokenize the clips", done, count)
        })
    })?;
    let left_out = data.unreadable();
    let mut told = LeftOut::default();
    told.sum(&left_out, callbacks);
    told.tell(left_out, callbacks);
    if let Some((count, example)) = set.shortened() {
        callbacks.warn(&format!(
            "{count} captions are longer than `tokenizer.text.length` has room for; of each the beginning is trained on: \"{example}\""
        ));
    }
    Ok(set)
}
