//! For the tests of this crate: backbones with known answers, real ones of which every parameter matters, and what
//! is counted against what is expected.

use burn::tensor::{Device, Int, Tensor, TensorData};
use musiva_core::canvas::{CanvasBatch, Conditioning, Logits, ModelInput, Prediction, TokenBatch, Values, ints};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneConfig, BackboneSpec, CanvasShape, Modality, Parameters, Process, RngKey, RngStream,
    SampleRequest, Sampler, Session, WeightInit,
};
use std::sync::{Arc, Mutex};

/// A backbone that answers by a function instead of a network.
#[derive(Clone)]
pub(crate) struct Fake {
    pub canvas: CanvasShape,
    spec: BackboneSpec,
    answer: Arc<dyn Fn(&CanvasBatch) -> Prediction + Send + Sync>,
}

/// What a backbone is asked of one sample; what its kind of content does not have is empty.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub prompt: Values,
    pub context: Option<Values>,
    /// `L` codes.
    pub codes: Vec<u32>,
    /// Which of them are masked.
    pub masked: Vec<bool>,
    /// `L·C` noisy numbers.
    pub values: Vec<f32>,
    /// The time of each of the `L` places.
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
        canvas: CanvasShape,
        answer: impl Fn(&CanvasBatch) -> Prediction + Send + Sync + 'static,
    ) -> Self {
        Self { canvas, spec, answer: Arc::new(answer) }
    }

    /// Answers each sample by itself, with the numbers of each place: a vector, or logits of as many entries as it has.
    pub fn each(
        spec: BackboneSpec,
        canvas: CanvasShape,
        answer: impl Fn(&Asked) -> Vec<Vec<f32>> + Send + Sync + 'static,
    ) -> Self {
        Self::new(spec, canvas, move |batch| {
            let answers: Vec<Vec<Vec<f32>>> = Asked::of(batch).iter().map(&answer).collect();
            let made = batch.conditioning.layout.target();
            let tensor = |at: &[usize]| {
                let numbers: Vec<f32> =
                    answers.iter().flat_map(|row| at.iter().flat_map(|&i| row[i].clone())).collect();
                let shape = [answers.len(), at.len(), answers[0][at[0]].len()];
                Tensor::<3>::from_data(TensorData::new(numbers, shape), &Device::flex())
            };
            if matches!(spec, BackboneSpec::Diffusion { .. }) {
                return Prediction::Vector(tensor(&(0..made.len()).collect::<Vec<_>>()));
            }
            let of = |modality| (0..made.len()).filter(|&i| canvas.modality(made[i]) == modality).collect::<Vec<_>>();
            let some = [Modality::Video, Modality::Audio].map(of).into_iter().filter(|at| !at.is_empty());
            let logits = |at: Vec<usize>| Logits { heads: vec![tensor(&at)], digit_conditioning: Vec::new(), at };
            Prediction::Logits(some.map(logits).collect())
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
    fn canvas(&self) -> &CanvasShape {
        &self.canvas
    }
    fn device(&self) -> Device {
        Device::flex()
    }
    fn forward(&self, batch: &CanvasBatch) -> Prediction {
        (self.answer)(batch)
    }
    fn session(&self, conditioning: Conditioning) -> Option<Box<dyn Session>> {
        let codes = vec![Vec::new(); conditioning.size()];
        (self.spec == BackboneSpec::NextToken)
            .then(|| Box::new(Replay { fake: self.clone(), conditioning, codes }) as _)
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
    fn heads(&self) -> usize {
        1
    }
    fn logits(&self, _: &[Vec<u32>]) -> Tensor<2> {
        let (size, length) = (self.codes.len(), self.conditioning.layout.target().len());
        let padded: Vec<u32> =
            self.codes.iter().flat_map(|c| c.iter().copied().chain([0].repeat(length)).take(length)).collect();
        let input = ModelInput::Codes(ints(&padded, [size, length], &Device::flex()));
        let Prediction::Logits(mut all) =
            self.fake.forward(&CanvasBatch { conditioning: self.conditioning.clone(), input })
        else {
            panic!("logits")
        };
        let (head, next) = (all.remove(0).heads.remove(0), self.codes[0].len());
        let entries = head.dims()[2];
        head.slice_dim(1, next..next + 1).reshape([size, entries])
    }
    fn push(&mut self, codes: &[u32]) {
        self.codes.iter_mut().zip(codes).for_each(|(all, code)| all.push(*code));
    }
}

impl Asked {
    /// Of each sample of a batch.
    pub fn of(batch: &CanvasBatch) -> Vec<Self> {
        let size = batch.conditioning.size();
        let numbers = |code: Tensor<2, Int>| code.into_data().iter::<i64>().map(|code| code as u32).collect::<Vec<_>>();
        let values = |known: &TokenBatch| match known {
            TokenBatch::Codes(codes) => Values::Codes(numbers(codes.clone())),
            TokenBatch::Vectors(vectors) => Values::Vectors(to_vec(vectors.clone())),
        };
        let (prompt, context) = (values(&batch.conditioning.prompt), batch.conditioning.tokens.as_ref().map(values));
        let sample = |row| {
            let part = |x: &Tensor<3>| to_vec(x.clone().slice_dim(0, row..row + 1));
            let codes = |x: &Tensor<2, Int>| numbers(x.clone().slice_dim(0, row..row + 1));
            let mut asked = Self {
                prompt: prompt.part(row, size),
                context: context.as_ref().map(|context| context.part(row, size)),
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
        (0..size).map(sample).collect()
    }

    /// The first word of the prompt.
    pub fn word(&self) -> usize {
        let Values::Codes(words) = &self.prompt else { panic!("words") };
        words[0] as usize
    }
}

/// What a sampler makes in all its steps.
pub(crate) fn sampled(
    sampler: &dyn Sampler,
    backbone: &dyn Backbone,
    process: Option<Process>,
    order: &SampleRequest,
) -> Vec<Values> {
    let mut sampling = sampler.begin(backbone, process, order).unwrap();
    while sampling.progress().0 < sampling.progress().1 {
        sampling.step(backbone).unwrap();
    }
    sampling.tokens().unwrap()
}

/// The codes of a sample.
pub(crate) fn codes(values: &Values) -> &[u32] {
    let Values::Codes(codes) = values else { panic!("codes") };
    codes
}

/// The numbers of a sample.
pub(crate) fn vectors(values: &Values) -> &[f32] {
    let Values::Vectors(vectors) = values else { panic!("vectors") };
    vectors
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

/// A model whose every number is off its start, also those that start at zero.
pub(crate) fn stirred(config: &dyn BackboneConfig, canvas: &CanvasShape) -> Box<dyn Backbone> {
    let mut model = config.build(canvas, &Device::flex(), &WeightInit::Seed(3)).unwrap();
    let mut sample = 0;
    model.parameters_mut().update(&mut |_, _, value| {
        sample += 1;
        let count = value.dims()[0];
        let noise = RngKey::new(9).sample(sample).stream(RngStream::Noise).normals(count);
        value + Tensor::from_data(TensorData::new(noise, [count]), &Device::flex()) * 0.1
    });
    model
}
