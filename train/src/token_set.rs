//! Clips, sounds and captions as tokens, made once and kept on the host.

use crate::shards;
use musiva_core::canvas::{CanvasShape, CanvasTokens, Values};
use musiva_core::{Encoders, Error, ErrorKind, Media, Modality, Result, Tokenizer, Tokens, files};
use musiva_data::Dataset;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Samples encoded at once.
const ENCODED: usize = 16;

/// Clips, their sounds and captions as tokens.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSet {
    prompts: Vec<u32>,
    /// Of all places of the canvas, sample after sample.
    tokens: Values,
    count: usize,
}

impl TokenSet {
    /// Tokenizes samples `0..count` of `data` for a canvas; `progress` is told how many are done.
    ///
    /// # Errors
    /// Where a sample cannot be read or encoded.
    pub fn new(
        data: &dyn Dataset,
        count: u64,
        canvas: &CanvasShape,
        text: &dyn Tokenizer,
        encoders: &Encoders,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let (mut prompts, mut values) = (Vec::new(), Vec::new());
        for start in (0..count).step_by(ENCODED) {
            let samples = (start..count.min(start + ENCODED as u64)).map(|index| data.get(index));
            let (mut clips, mut sounds, mut captions) = (Vec::new(), Vec::new(), Vec::new());
            for sample in samples {
                let mut sample = sample?;
                captions.push(Media::Text(sample.caption.clone()));
                if encoders.audio.is_some() {
                    sounds.extend(sample.sound.take().map(Media::Sound));
                }
                clips.push(Media::Clip(sample.into_clip()?));
            }
            for tokens in text.encode_all(&captions)? {
                prompts.extend_from_slice(tokens.as_codes()?);
            }
            let videos = encoders.video.encode_all(&clips)?;
            let audios: Vec<Option<Tokens>> = match encoders.audio {
                Some(audio) if sounds.len() == clips.len() => {
                    audio.encode_all(&sounds)?.into_iter().map(Some).collect()
                }
                Some(_) => return Err(Error::new(ErrorKind::Data, "data", "the data have no sounds")),
                None => vec![None; clips.len()],
            };
            for (video, audio) in videos.into_iter().zip(audios) {
                values.push(canvas.values(&CanvasTokens { video: Some(video), audio })?);
            }
            progress(start + clips.len() as u64);
        }
        Ok(Self { prompts, tokens: Values::concat(&values), count: count as usize })
    }

    /// The set of a folder of shards, whose tokens were made by the tokenizers with these hashes.
    ///
    /// # Errors
    /// As [`shards::read`], and where its tokens do not fit the canvas.
    pub fn sharded(
        folder: &Path,
        tokenizers: &BTreeMap<String, String>,
        canvas: &CanvasShape,
        text: &dyn Tokenizer,
    ) -> Result<Self> {
        // Only what stands on the canvas is asked for.
        let on_canvas = |modality: &String| {
            *modality == shards::word(Modality::Video)
                || (canvas.sound.is_some() && *modality == shards::word(Modality::Audio))
        };
        let tokenizers = tokenizers.iter().filter(|(modality, _)| on_canvas(modality));
        let tokenizers = tokenizers.map(|(modality, hash)| (modality.clone(), hash.clone())).collect();
        let (mut prompts, mut values) = (Vec::new(), Vec::new());
        let count = shards::read(folder, &tokenizers, &mut |sample| {
            prompts.extend_from_slice(text.encode(&Media::Text(sample.caption))?.as_codes()?);
            let mut tokens: HashMap<Modality, Tokens> = sample.tokens.into_iter().collect();
            let mut of = |modality| tokens.remove(&modality);
            let tokens = CanvasTokens {
                video: of(Modality::Video),
                audio: of(Modality::Audio).filter(|_| canvas.sound.is_some()),
            };
            values.push(canvas.values(&tokens).map_err(|error| {
                let place = format!("{}: {}", folder.display(), sample.about.id);
                Error::new(ErrorKind::Data, place, error.message())
                    .mend("set `data.frames` and `data.size` to those that the tokens were made with")
            })?);
            Ok(())
        })?;
        Ok(Self { prompts, tokens: Values::concat(&values), count: count as usize })
    }

    /// Reads the set from `path` if it is there, else makes it and writes it there. The path must be
    /// named after everything that the set depends on.
    pub fn cached(path: &Path, make: impl FnOnce() -> Result<Self>) -> Result<Self> {
        if path.exists() {
            return Self::open(path);
        }
        let set = make()?;
        set.save(path)?;
        Ok(set)
    }

    fn save(&self, path: &Path) -> Result<()> {
        let wrong =
            |e: safetensors::SafeTensorError| Error::new(ErrorKind::Weights, path.display().to_string(), e.to_string());
        let words = |values: &[u32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let prompts = words(&self.prompts);
        let (name, dtype, bytes) = match &self.tokens {
            Values::Codes(codes) => ("codes", Dtype::U32, words(codes)),
            Values::Vectors(values) => ("latents", Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
        };
        let shape = |bytes: &[u8]| vec![self.count, bytes.len() / 4 / self.count.max(1)];
        let tokens = TensorView::new(dtype, shape(&bytes), &bytes).map_err(wrong)?;
        let prompts = TensorView::new(Dtype::U32, shape(&prompts), &prompts).map_err(wrong)?;
        let file = safetensors::serialize([("prompts", prompts), (name, tokens)], None).map_err(wrong)?;
        files::write(path, &file)
    }

    fn open(path: &Path) -> Result<Self> {
        let wrong = |message: String| {
            Error::new(ErrorKind::Weights, path.display().to_string(), message)
                .mend("delete this file: it is only a cache")
        };
        let bytes = files::read(path, 64 * files::GIGABYTE)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
        let words = |view: &TensorView| -> Vec<[u8; 4]> { view.data().as_chunks().0.to_vec() };
        let prompts = file.tensor("prompts").map_err(|e| wrong(e.to_string()))?;
        let count = prompts.shape().first().copied().unwrap_or(0);
        let tokens = if let Ok(view) = file.tensor("codes") {
            Values::Codes(words(&view).into_iter().map(u32::from_le_bytes).collect())
        } else {
            let view = file.tensor("latents").map_err(|e| wrong(e.to_string()))?;
            Values::Vectors(words(&view).into_iter().map(f32::from_le_bytes).collect())
        };
        Ok(Self { prompts: words(&prompts).into_iter().map(u32::from_le_bytes).collect(), tokens, count })
    }

    /// How many samples there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The prompts of some samples, one after the other.
    pub fn prompts(&self, indices: &[usize]) -> Vec<u32> {
        let size = self.prompts.len() / self.count.max(1);
        indices.iter().flat_map(|&i| self.prompts[i * size..(i + 1) * size].iter().copied()).collect()
    }

    /// The tokens at some places of some samples, sample after sample.
    pub fn values(&self, canvas: &CanvasShape, indices: &[usize], places: &[usize]) -> Values {
        let all: Vec<usize> =
            indices.iter().flat_map(|&i| places.iter().map(move |p| i * canvas.places() + p)).collect();
        self.tokens.at(&all, canvas)
    }
}
