//! For the tests of this crate: backbones with known answers, real ones of which every parameter matters, and what
//! is counted against what is expected.

use burn::tensor::{Device, Int, Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Conditioning, Logits, ModelInput, Prediction, TokenBatch, Values, ints};
use musiva_core::parameters::to_vec;
use musiva_core::schedule::{Cosine, Straight};
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Family, Modality, Parameters, Predicts, Process, Result,
    RngKey, RngStream, SampleRequest, Sampler, Session, TokenKind, TokenValues, WeightInit,
};
use std::ops::Range;
use std::sync::{Arc, Mutex};

/// A backbone that answers by a function instead of a network.
#[derive(Clone)]
pub(crate) struct Fake {
    pub canvas: Arc<CanvasShape>,
    spec: BackboneSpec,
    answer: Arc<dyn Fn(&CanvasBatch) -> Prediction + Send + Sync>,
}

/// What a backbone is asked of one sample; what its kind of content does not have is empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    /// The words of the prompt, or the numbers of its vectors.
    pub prompt: Vec<f32>,
    /// Digits or numbers of all other context, track after track.
    pub context: Vec<f32>,
    /// `L·D` digits.
    pub codes: Vec<u32>,
    /// Which of the `L` elements are masked.
    pub masked: Vec<bool>,
    /// `L·C` noisy numbers.
    pub values: Vec<f32>,
    /// The time of each of the `L` elements.
    pub times: Vec<f64>,
    /// `L·C` numbers of the guess, where there is one.
    pub x0_prev: Option<Vec<f32>>,
}

/// What a backbone was asked: of each call the samples.
pub(crate) type Log = Arc<Mutex<Vec<Vec<Asked>>>>;

impl Fake {
    /// Answers a batch.
    pub fn new(
        spec: BackboneSpec,
        canvas: impl Into<Arc<CanvasShape>>,
        answer: impl Fn(&CanvasBatch) -> Prediction + Send + Sync + 'static,
    ) -> Self {
        Self { canvas: canvas.into(), spec, answer: Arc::new(answer) }
    }

    /// Answers each sample by itself, with the numbers of each element: a vector, or logits of as many entries as it has.
    pub fn each(
        spec: BackboneSpec,
        canvas: impl Into<Arc<CanvasShape>>,
        answer: impl Fn(&Asked) -> Vec<Vec<f32>> + Send + Sync + 'static,
    ) -> Self {
        Self::new(spec, canvas, move |batch| {
            let answers: Vec<Vec<Vec<f32>>> = Asked::of(batch).iter().map(&answer).collect();
            let layout = &batch.conditioning.layout;
            let tensor = |at: &[usize]| {
                let numbers: Vec<f32> =
                    answers.iter().flat_map(|row| at.iter().flat_map(|&i| row[i].clone())).collect();
                let shape = [answers.len(), at.len(), answers[0][at[0]].len()];
                Tensor::<3>::from_data(TensorData::new(numbers, shape), &Device::flex())
            };
            if matches!(spec, BackboneSpec::Diffusion { .. }) {
                return Prediction::Vector(tensor(&(0..layout.elements().len()).collect::<Vec<_>>()));
            }
            let logits = |(track, at): (usize, Vec<usize>)| Logits::of_one(track, at.clone(), tensor(&at));
            Prediction::Logits(layout.target_by_track().into_iter().map(logits).collect())
        })
    }

    /// The same, with a log of what it is asked.
    pub fn watched(self) -> (Self, Log) {
        let log = Log::default();
        let (seen, answer) = (log.clone(), self.answer);
        let answer = move |batch: &CanvasBatch| {
            seen.lock().unwrap().push(Asked::of(batch));
            answer(batch)
        };
        (Self { answer: Arc::new(answer), ..self }, log)
    }
}

impl Backbone for Fake {
    fn spec(&self) -> BackboneSpec {
        self.spec
    }
    fn canvas(&self) -> &Arc<CanvasShape> {
        &self.canvas
    }
    fn device(&self) -> Device {
        Device::flex()
    }
    fn forward(&self, batch: &CanvasBatch) -> Result<Prediction> {
        Ok((self.answer)(batch))
    }
    fn session(&self, conditioning: Conditioning) -> Result<Option<Box<dyn Session>>> {
        let codes = vec![Vec::new(); conditioning.size];
        Ok((self.spec == BackboneSpec::NextToken)
            .then(|| Box::new(Replay { fake: self.clone(), conditioning, codes }) as _))
    }
    fn parameters(&self) -> &dyn Parameters {
        unreachable!("nothing to learn")
    }
    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        unreachable!("nothing to learn")
    }
    fn frozen(&self) -> Box<dyn Backbone> {
        Box::new(self.clone())
    }
}

/// Decodes tokens of one digit without a cache: all logits anew for each.
struct Replay {
    fake: Fake,
    conditioning: Conditioning,
    codes: Vec<Vec<u32>>,
}

impl Session for Replay {
    fn digits(&self) -> Range<usize> {
        0..1
    }
    fn logits(&self, _: &[Vec<u32>]) -> Result<Tensor<2>> {
        let (size, length) = (self.codes.len(), self.conditioning.layout.elements().len());
        let padded: Vec<u32> =
            self.codes.iter().flat_map(|c| c.iter().copied().chain([0].repeat(length)).take(length)).collect();
        let input = ModelInput::Codes(ints(&padded, [size, length, 1], &Device::flex()));
        let Prediction::Logits(mut all) =
            self.fake.forward(&CanvasBatch { conditioning: self.conditioning.clone(), input })?
        else {
            panic!("logits")
        };
        let (head, next) = (all.remove(0).heads.remove(0).logits, self.codes[0].len());
        let entries = head.dims()[2];
        Ok(head.slice_dim(1, next..next + 1).reshape([size, entries]))
    }
    fn push(&mut self, picked: &[Vec<u32>]) -> Result<()> {
        self.codes.iter_mut().zip(&picked[0]).for_each(|(all, code)| all.push(*code));
        Ok(())
    }
}

impl Asked {
    /// Of each sample of a batch.
    pub fn of(batch: &CanvasBatch) -> Vec<Self> {
        let conditioning = &batch.conditioning;
        let sample = |row: usize| {
            let part = |x: &Tensor<3>| to_vec(x.clone().slice_dim(0, row..row + 1));
            let codes = |x: &Tensor<3, Int>| -> Vec<u32> {
                x.clone().slice_dim(0, row..row + 1).into_data().iter::<i64>().map(|code| code as u32).collect()
            };
            let context = |text: bool| -> Vec<f32> {
                let own = conditioning
                    .context
                    .iter()
                    .filter(|context| (conditioning.canvas().tracks[context.track].modality == Modality::Text) == text);
                let numbers = own.map(|context| match &context.tokens {
                    TokenBatch::Codes(digits) => codes(digits).into_iter().map(|digit| digit as f32).collect(),
                    TokenBatch::Vectors(vectors) => part(vectors),
                });
                numbers.collect::<Vec<Vec<f32>>>().concat()
            };
            let mut asked = Self {
                prompt: context(true),
                context: context(false),
                codes: Vec::new(),
                masked: Vec::new(),
                values: Vec::new(),
                times: Vec::new(),
                x0_prev: None,
            };
            match &batch.input {
                ModelInput::Codes(all) => asked.codes = codes(all),
                ModelInput::Masked(masked) => {
                    asked.codes = codes(&masked.codes);
                    asked.masked = part(&masked.mask).into_iter().map(|hidden| hidden == 1.0).collect();
                }
                ModelInput::NoisyVectors(field) => {
                    let times = to_vec(field.times.clone().slice_dim(0, row..row + 1));
                    asked.values = part(&field.values);
                    asked.times = field.at.iter().map(|&at| f64::from(times[at])).collect();
                    asked.x0_prev = field.x0_prev.as_ref().map(part);
                }
            }
            asked
        };
        (0..conditioning.size).map(sample).collect()
    }

    /// The first word of the prompt.
    pub fn word(&self) -> usize {
        self.prompt[0] as usize
    }
}

/// What rectified-flow trains, with this prediction.
pub(crate) fn straight(predicts: Predicts) -> Process {
    Process::new(Straight, predicts)
}

/// What ddpm trains, with this prediction.
pub(crate) fn cosine(predicts: Predicts) -> Process {
    Process::new(Cosine, predicts)
}

/// What is to be predicted of a number at time `t`, by the definitions.
pub(crate) fn right(process: &Process, clean: f64, noise: f64, t: f64) -> f64 {
    let (alpha, sigma) = process.schedule.mix(t);
    match (process.predicts, process.schedule.family()) {
        (Predicts::Data, _) => clean,
        (Predicts::Noise, _) => noise,
        (Predicts::Velocity, Family::Straight) => noise - clean,
        (Predicts::Velocity, Family::VariancePreserving) => alpha * noise - sigma * clean,
    }
}

/// What a sampler makes in all its steps.
pub(crate) fn sampled(
    sampler: &dyn Sampler,
    backbone: &dyn Backbone,
    process: Option<&Process>,
    order: &SampleRequest,
) -> Vec<Values> {
    let mut sampling = sampler.begin(backbone, process, order).unwrap();
    while sampling.progress().0 < sampling.progress().1 {
        sampling.step(backbone).unwrap();
    }
    sampling.tokens().unwrap()
}

/// The codes of a sample's clip.
pub(crate) fn codes(values: &Values) -> &[u32] {
    let TokenValues::Codes { codes, .. } = &values.tracks[0] else { panic!("codes") };
    codes
}

/// The numbers of a sample's clip.
pub(crate) fn vectors(values: &Values) -> &[f32] {
    let TokenValues::Vectors { values, .. } = &values.tracks[0] else { panic!("vectors") };
    values
}

/// The codes of the track named first, and of no other.
pub(crate) fn of_codes(canvas: &CanvasShape, codes: Vec<u32>) -> Values {
    let mut all = canvas.blank().at(&[], canvas);
    let TokenKind::Codes { levels, entries, .. } = canvas.tracks[0].tokens.kind else { panic!("codes") };
    all.tracks[0] = TokenValues::Codes { levels, entries, codes };
    all
}

/// The numbers of the track named first, and of no other.
pub(crate) fn of_vectors(canvas: &CanvasShape, values: Vec<f32>) -> Values {
    let mut all = canvas.blank().at(&[], canvas);
    let TokenKind::Vectors { channels } = canvas.tracks[0].tokens.kind else { panic!("vectors") };
    all.tracks[0] = TokenValues::Vectors { channels, values };
    all
}

/// The same with the words of a prompt.
pub(crate) fn prompted(canvas: &CanvasShape, words: &[u32], values: Values) -> Values {
    let (mut all, text) = (canvas.prompt(words), canvas.index("text").unwrap());
    for (track, values) in values.tracks.into_iter().enumerate().filter(|(track, _)| *track != text) {
        all.tracks[track] = values;
    }
    all
}

/// Values at all positions of a canvas, others for another salt.
pub(crate) fn salted(canvas: &CanvasShape, salt: u64) -> Values {
    let mut all = canvas.blank();
    for (track, values) in all.tracks.iter_mut().enumerate() {
        let mut stream = RngKey::new(salt).sample(track as u64).stream(RngStream::Data);
        match values {
            TokenValues::Codes { entries, codes, .. } => {
                codes.iter_mut().for_each(|code| *code = stream.below(*entries) as u32);
            }
            TokenValues::Vectors { values, .. } => *values = stream.normals(values.len()),
        }
    }
    all
}

/// What a model is conditioned on by prompts of words alone.
pub(crate) fn prompts(canvas: &Arc<CanvasShape>, prompts: &[&[u32]], device: &Device) -> Conditioning {
    let values: Vec<Values> = prompts.iter().map(|words| canvas.prompt(words)).collect();
    Conditioning::new(&Arc::new(musiva_core::Layout::whole(canvas)), &values, false, device).unwrap()
}

/// So many draws of a seed, of the samples 0, 1, ….
pub(crate) fn keys(seed: u64, count: usize) -> Vec<RngKey> {
    (0..count as u64).map(|sample| RngKey::new(seed).sample(sample)).collect()
}

/// Pearson's χ² of counts against probabilities.
pub(crate) fn chi2(counts: &[f64], probabilities: &[f64]) -> f64 {
    let total: f64 = counts.iter().sum();
    counts.iter().zip(probabilities).map(|(count, p)| (count - p * total).powi(2) / (p * total)).sum()
}

/// The probabilities that logits stand for.
pub(crate) fn softmax(logits: &[f64]) -> Vec<f64> {
    let total: f64 = logits.iter().map(|logit| logit.exp()).sum();
    logits.iter().map(|logit| logit.exp() / total).collect()
}

/// A canvas as the recipe's checker makes it for such a backbone.
pub(crate) fn fitted(config: &dyn BackboneConfig, canvas: &CanvasShape) -> Arc<CanvasShape> {
    Arc::new(CanvasShape { order: config.order(), ..canvas.clone().with_factors(config.factors()) })
}

/// A model whose every number is off its start, also those that start at zero. Its canvas is [`fitted`].
pub(crate) fn stirred(config: &dyn BackboneConfig, canvas: &CanvasShape) -> Box<dyn Backbone> {
    let mut model = config.build(&fitted(config, canvas), &Device::flex(), &WeightInit::Seed(3)).unwrap();
    let mut sample = 0;
    model.parameters_mut().update(&mut |_, _, value| {
        sample += 1;
        let count = value.dims()[0];
        let noise = RngKey::new(9).sample(sample).stream(RngStream::Noise).normals(count);
        value + Tensor::from_data(TensorData::new(noise, [count]), &Device::flex()) * 0.1
    });
    model
}
