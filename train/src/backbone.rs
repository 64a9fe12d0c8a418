//! Training a backbone over frozen tokenizers.

use crate::shards;
use crate::trainer::{Look, Trainee, learning_on};
use burn::tensor::Device;
use musiva_core::canvas::{CleanBatch, CleanTokens};
use musiva_core::parameters::to_vec;
use musiva_core::recipe::TrainSettings;
use musiva_core::{
    Backbone, BackboneConfig, CanvasShape, Draw, Error, ErrorKind, Loss, Media, Modality, Objective, Order, Parameters,
    Purpose, Result, Sampler, Source, TokenValues, Tokenizer, Tokens, Weights, files,
};
use musiva_data::Dataset;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

/// Clips made at each look.
const SHOWN: u64 = 8;
/// Clips encoded at once.
const ENCODED: usize = 16;
/// Held-out clips whose loss is measured at each look.
const HELD_OUT: u64 = 64;

/// Clips and captions as tokens, made once and kept on the host.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSet {
    prompts: Vec<u32>,
    tokens: Flat,
    count: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Flat {
    Codes(Vec<u32>),
    Latents(Vec<f32>),
}

impl TokenSet {
    /// Tokenizes samples `0..count` of `data`; `progress` is told how many are done.
    pub fn new(
        data: &dyn Dataset,
        count: u64,
        text: &dyn Tokenizer,
        video: &dyn Tokenizer,
        progress: &mut dyn FnMut(u64),
    ) -> Result<Self> {
        let (mut prompts, mut codes, mut latents) = (Vec::new(), Vec::new(), Vec::new());
        for start in (0..count).step_by(ENCODED) {
            let samples = (start..count.min(start + ENCODED as u64)).map(|index| data.get(index));
            let (mut clips, mut captions) = (Vec::new(), Vec::new());
            for sample in samples {
                let sample = sample?;
                captions.push(Media::Text(sample.caption.clone()));
                clips.push(Media::Clip(sample.into_clip()?));
            }
            for tokens in text.encode_all(&captions)? {
                prompts.extend_from_slice(tokens.as_codes()?);
            }
            for tokens in video.encode_all(&clips)? {
                match tokens.values() {
                    TokenValues::Codes { codes: new, .. } => codes.extend_from_slice(new),
                    TokenValues::Latents { values, .. } => latents.extend_from_slice(values),
                    TokenValues::Levels { .. } => {
                        let message = "no backbone reads several codes a place";
                        return Err(Error::new(ErrorKind::Unsupported, "tokenizer.video", message)
                            .mend("use a quantizer of one code, e.g. `kind = \"fsq\"`"));
                    }
                }
            }
            progress(start + clips.len() as u64);
        }
        let tokens = if latents.is_empty() { Flat::Codes(codes) } else { Flat::Latents(latents) };
        Ok(Self { prompts, tokens, count: count as usize })
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
        let (mut prompts, mut codes, mut latents) = (Vec::new(), Vec::new(), Vec::new());
        let count = shards::read(folder, tokenizers, &mut |sample| {
            prompts.extend_from_slice(text.encode(&Media::Text(sample.caption))?.as_codes()?);
            let video = sample.tokens.iter().find(|(modality, _)| *modality == Modality::Video);
            let fitting = video.map(|(_, tokens)| tokens).filter(|tokens| tokens.grid() == canvas.tokens.grid);
            match fitting.filter(|tokens| canvas.tokens.kind.holds(tokens.values())).map(Tokens::values) {
                Some(TokenValues::Codes { codes: new, .. }) => codes.extend_from_slice(new),
                Some(TokenValues::Latents { values, .. }) => latents.extend_from_slice(values),
                _ => {
                    let message = format!("the tokens of {} do not fit the recipe's clips", sample.about.id);
                    return Err(Error::new(ErrorKind::Data, folder.display().to_string(), message)
                        .mend("set `data.frames` and `data.size` to those that they were made with"));
                }
            }
            Ok(())
        })?;
        let tokens = if latents.is_empty() { Flat::Codes(codes) } else { Flat::Latents(latents) };
        Ok(Self { prompts, tokens, count: count as usize })
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
            Flat::Codes(codes) => ("codes", Dtype::U32, words(codes)),
            Flat::Latents(values) => ("latents", Dtype::F32, values.iter().flat_map(|v| v.to_le_bytes()).collect()),
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
            Flat::Codes(words(&view).into_iter().map(u32::from_le_bytes).collect())
        } else {
            let view = file.tensor("latents").map_err(|e| wrong(e.to_string()))?;
            Flat::Latents(words(&view).into_iter().map(f32::from_le_bytes).collect())
        };
        Ok(Self { prompts: words(&prompts).into_iter().map(u32::from_le_bytes).collect(), tokens, count })
    }

    /// The samples `indices` as a batch whose random numbers are those of `samples`.
    fn batch(&self, canvas: &CanvasShape, indices: &[usize], samples: Vec<u64>) -> CleanBatch {
        fn gather<T: Copy>(all: &[T], count: usize, indices: &[usize]) -> Vec<T> {
            let size = all.len() / count;
            indices.iter().flat_map(|&i| all[i * size..(i + 1) * size].iter().copied()).collect()
        }
        CleanBatch {
            shape: *canvas,
            prompt: gather(&self.prompts, self.count, indices),
            tokens: match &self.tokens {
                Flat::Codes(codes) => CleanTokens::Codes(gather(codes, self.count, indices)),
                Flat::Latents(values) => CleanTokens::Latents(gather(values, self.count, indices)),
            },
            samples,
        }
    }
}

/// The parts of a recipe that a backbone is trained with.
pub struct BackboneParts<'a> {
    /// The `[backbone]`.
    pub config: &'a dyn BackboneConfig,
    /// Its canvas.
    pub canvas: CanvasShape,
    /// The `[objective]`.
    pub objective: &'a dyn Objective,
    /// The `[sampler]`, to look at samples by.
    pub sampler: &'a dyn Sampler,
    /// The frozen text tokenizer.
    pub text: Box<dyn Tokenizer>,
    /// The frozen video tokenizer.
    pub video: Box<dyn Tokenizer>,
}

/// A backbone in training.
pub struct BackboneTrainee<'a> {
    settings: TrainSettings,
    parts: BackboneParts<'a>,
    backbone: Box<dyn Backbone>,
    train: TokenSet,
    held_out: TokenSet,
    shown: Vec<(Vec<u32>, musiva_core::Rate)>,
    order: (u64, Vec<usize>),
}

impl<'a> BackboneTrainee<'a> {
    /// Starts from `source`; `train` are the tokens of the training clips, `held_out` clips that
    /// training never sees.
    pub fn new(
        settings: &TrainSettings,
        parts: BackboneParts<'a>,
        source: &Source,
        train: TokenSet,
        held_out: Arc<dyn Dataset>,
        device: &Device,
    ) -> Result<Self> {
        let backbone = parts.config.build(&parts.canvas, &learning_on(device, settings), source)?;
        let count = held_out.len().unwrap_or(HELD_OUT).min(HELD_OUT);
        let tokens = TokenSet::new(&*held_out, count, &*parts.text, &*parts.video, &mut |_| {})?;
        let shown = (0..count.min(SHOWN))
            .map(|i| {
                let sample = held_out.get(i)?;
                let prompt = parts.text.encode(&Media::Text(sample.caption.clone()))?.as_codes()?.to_vec();
                Ok((prompt, sample.into_clip()?.rate()))
            })
            .collect::<Result<_>>()?;
        if train.count == 0 {
            return Err(Error::new(ErrorKind::Data, "data", "there is nothing to train on"));
        }
        Ok(Self {
            settings: settings.clone(),
            parts,
            backbone,
            train,
            held_out: tokens,
            shown,
            order: (u64::MAX, Vec::new()),
        })
    }

    /// Which sample the `n`th of the run is: each epoch in an order of its own.
    fn index(&mut self, n: u64) -> usize {
        let count = self.train.count as u64;
        let epoch = n / count;
        if self.order.0 != epoch {
            let mut order: Vec<usize> = (0..self.train.count).collect();
            Draw::new(self.settings.seed).step(epoch).stream(Purpose::Shuffle).shuffle(&mut order);
            self.order = (epoch, order);
        }
        self.order.1[(n % count) as usize]
    }

    fn averaged(&self, average: &Weights) -> Result<Box<dyn Backbone>> {
        let mut backbone = self.backbone.frozen();
        backbone.parameters_mut().load(average, "the averaged weights")?;
        Ok(backbone)
    }
}

impl Trainee for BackboneTrainee<'_> {
    fn loss(&mut self, step: u64, part: usize) -> Result<Loss> {
        let samples: Vec<u64> = self.settings.samples(self.settings.part(step, part)).collect();
        let indices: Vec<usize> = samples.iter().map(|&n| self.index(n)).collect();
        let batch = self.train.batch(&self.parts.canvas, &indices, samples);
        self.parts.objective.loss(&*self.backbone, &batch, Draw::new(self.settings.seed).step(step))
    }

    fn parameters(&self) -> &dyn Parameters {
        self.backbone.parameters()
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        self.backbone.parameters_mut()
    }

    fn sample(&mut self, average: &Weights, _: u64) -> Result<Look> {
        let backbone = self.averaged(average)?;
        // Always the same noise and times, so that the curve shows the model and not the draw.
        let all: Vec<usize> = (0..self.held_out.count).collect();
        let batches: Vec<&[usize]> = all.chunks(self.settings.batch).collect();
        let mut loss = 0.0;
        for indices in &batches {
            let samples = indices.iter().map(|&i| i as u64).collect();
            let batch = self.held_out.batch(&self.parts.canvas, indices, samples);
            let one = self.parts.objective.loss(&*backbone, &batch, Draw::new(self.settings.seed).step(u64::MAX))?;
            loss += f64::from(to_vec(one.total)[0]) * indices.len() as f64 / all.len() as f64;
        }
        let order = Order {
            prompt: self.shown.iter().map(|(prompt, _)| prompt.clone()).collect(),
            draws: (0..self.shown.len() as u64).map(|i| Draw::new(self.settings.seed).sample(i)).collect(),
        };
        let mut sampling = self.parts.sampler.begin(&*backbone, self.parts.objective.process(), &order)?;
        while sampling.progress().0 < sampling.progress().1 {
            sampling.step(&*backbone)?;
        }
        let tokens = sampling.tokens()?;
        let clips = tokens
            .iter()
            .zip(&self.shown)
            .map(|(tokens, (_, rate))| Ok(self.parts.video.decode(tokens)?.clip("tokenizer.video")?.with_rate(*rate)));
        let measures = vec![("held_out_loss".to_owned(), loss)];
        Ok(Look { clips: clips.collect::<Result<_>>()?, measures, ..Look::default() })
    }
}
