use super::*;
use crate::masked::MaskedConfig;
use burn::tensor::{Device, activation::softmax};
use musiva_core::{BackboneConfig, Parameters, Session, WeightInit, TokenKind, TokenShape};

/// Three tokens of two entries whose probabilities are known: each token of the one before it, or of
/// nothing, by the same chances whichever of them are hidden.
struct Chain {
    canvas: CanvasShape,
    dependent: bool,
}

impl Chain {
    fn new(dependent: bool) -> Self {
        let kind = TokenKind::Codes { levels: 1, entries: 2, bits: Some(1) };
        Self { canvas: CanvasShape::new(1, 2, TokenShape { grid: [1, 1, 3], kind }), dependent }
    }

    /// Of all three tokens together.
    fn probability(&self, codes: [u32; 3]) -> f64 {
        let one = |p: f64, code: u32| if code == 1 { p } else { 1.0 - p };
        let second = if self.dependent { [0.9, 0.2][codes[0] as usize] } else { 0.6 };
        let third = if self.dependent { [0.1, 0.7][codes[1] as usize] } else { 0.25 };
        one(0.3, codes[0]) * one(second, codes[1]) * one(third, codes[2])
    }
}

impl Backbone for Chain {
    fn spec(&self) -> BackboneSpec {
        BackboneSpec::Masked
    }
    fn canvas(&self) -> &CanvasShape {
        &self.canvas
    }
    fn device(&self) -> Device {
        Device::flex()
    }
    fn forward(&self, batch: &CanvasBatch) -> Prediction {
        let ModelInput::Masked(input) = &batch.input else { panic!("masked") };
        let rows = input.codes.dims()[0];
        let codes: Vec<i64> = input.codes.clone().into_data().iter::<i64>().collect();
        let masked = to_vec(input.mask.clone());
        let mut logits = Vec::new();
        for row in 0..rows {
            for position in 0..3 {
                // The exact chance of a one here, given what is not hidden: summed over all triples.
                let mut sums = [0.0f64; 2];
                for i in 0..8u32 {
                    let triple = [i & 1, i >> 1 & 1, i >> 2 & 1];
                    let agrees = (0..3).all(|other| {
                        other == position
                            || masked[row * 3 + other] == 1.0
                            || codes[row * 3 + other] == i64::from(triple[other])
                    });
                    if agrees {
                        sums[triple[position] as usize] += self.probability(triple);
                    }
                }
                logits.extend(sums.map(|sum| sum.ln() as f32));
            }
        }
        let logits = Tensor::from_data(TensorData::new(logits, [rows, 3, 2]), &Device::flex());
        Prediction::Logits(vec![Logits::whole(vec![logits])])
    }
    fn session(&self, _: Conditioning) -> Option<Box<dyn Session>> {
        None
    }
    fn parameters(&self) -> &dyn Parameters {
        unreachable!("nothing to learn")
    }
    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        unreachable!("nothing to learn")
    }
    fn frozen(&self) -> Box<dyn Backbone> {
        unreachable!("nothing to learn")
    }
}

const SAMPLES: usize = 6000;

/// χ² of the triples that come out against `wanted`; 7 degrees of freedom: above 24.3 once in a
/// thousand.
fn chi2(settings: MaskGit, model: &Chain, wanted: impl Fn([u32; 3]) -> f64) -> f64 {
    let keys = (0..SAMPLES as u64).map(|i| RngKey::new(11).sample(i)).collect();
    let request = SampleRequest::prompts(vec![vec![1u32]; SAMPLES], keys, model.canvas());
    let mut sampling = settings.begin(model, None, &request).unwrap();
    while sampling.progress().0 < sampling.progress().1 {
        sampling.step(model).unwrap();
    }
    let mut counts = [0.0f64; 8];
    for sampled in sampling.tokens().unwrap() {
        let Values::Codes(codes) = sampled else { panic!("codes") };
        counts[(codes[0] | codes[1] << 1 | codes[2] << 2) as usize] += 1.0;
    }
    let term = |i: u32| {
        let expected = wanted([i & 1, i >> 1 & 1, i >> 2 & 1]) * SAMPLES as f64;
        (counts[i as usize] - expected).powi(2) / expected
    };
    (0..8).map(term).sum()
}

fn settings(steps: usize) -> MaskGit {
    MaskGit { steps, schedule: MaskSchedule::Linear, ..MaskGit::default() }
}

#[test]
fn independent_tokens_come_out_as_they_are_in_any_number_of_steps() {
    let model = Chain::new(false);
    for steps in [1, 2, 3] {
        let found = chi2(settings(steps), &model, |codes| model.probability(codes));
        assert!(found < 24.3, "{steps} steps: {found}");
    }
    // Who keeps the surest of several tries prefers the likely.
    let sure = MaskGit { choice: Choice::Confidence, ..settings(3) };
    assert!(chi2(sure, &model, |codes| model.probability(codes)) > 100.0);
}

#[test]
fn one_step_draws_each_token_by_itself() {
    let model = Chain::new(true);
    let marginal = |position: usize, code: u32| -> f64 {
        (0..8u32)
            .map(|i| [i & 1, i >> 1 & 1, i >> 2 & 1])
            .filter(|triple| triple[position] == code)
            .map(|triple| model.probability(triple))
            .sum()
    };
    let found = chi2(settings(1), &model, |codes| (0..3).map(|position| marginal(position, codes[position])).product());
    assert!(found < 24.3, "{found}");
}

#[test]
fn as_many_steps_as_tokens_in_random_order_are_autoregression() {
    let model = Chain::new(true);
    let found = chi2(settings(3), &model, |codes| model.probability(codes));
    assert!(found < 24.3, "{found}");
    // One step is another distribution: the test can tell.
    assert!(chi2(settings(1), &model, |codes| model.probability(codes)) > 100.0);
}

#[test]
fn digits_of_a_token_hang_on_each_other() {
    let tokens = TokenShape { grid: [1, 1, 1], kind: TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) } };
    let canvas = CanvasShape::new(1, 2, tokens);
    let config = MaskedConfig { width: 16, depth: 1, heads: 1, digits: 2, ..MaskedConfig::default() };
    let mut model = config.build(&canvas, &Device::flex(), &WeightInit::Seed(2)).unwrap();
    model.parameters_mut().update(&mut |path, _, value| match path.contains("seen") {
        true => value * 100.0,
        false => value,
    });
    // What the model says of all 16 tokens: of the first digit, and of the second after each first one.
    let device = model.device();
    let logits = |code: u32| {
        let codes = ints(&[code], [1, 1], &device);
        let input = ModelInput::Masked(MaskedCodes { codes: codes.clone(), mask: Tensor::ones([1, 1, 1], &device) });
        let conditioning = Conditioning::prompt(ints(&[1], [1, 1], &device), &canvas);
        let Prediction::Logits(mut all) = model.forward(&CanvasBatch { conditioning, input }) else { panic!("logits") };
        let per_digit = all.remove(0).per_digit(&codes).into_iter();
        per_digit.map(|(_, logits)| softmax(logits, 2).into_data().iter::<f64>().collect()).collect::<Vec<Vec<f64>>>()
    };
    let chances: Vec<f64> =
        (0..16).map(|c| (c, logits(c))).map(|(c, p)| p[0][c as usize / 4] * p[1][c as usize % 4]).collect();
    let keys = (0..SAMPLES as u64).map(|i| RngKey::new(12).sample(i)).collect();
    let request = SampleRequest::prompts(vec![vec![1u32]; SAMPLES], keys, &canvas);
    let mut sampling = settings(1).begin(&*model, None, &request).unwrap();
    sampling.step(&*model).unwrap();
    let mut counts = [0.0f64; 16];
    for sampled in sampling.tokens().unwrap() {
        let Values::Codes(codes) = sampled else { panic!("codes") };
        counts[codes[0] as usize] += 1.0;
    }
    let far = |wanted: &dyn Fn(usize) -> f64| -> f64 {
        (0..16).map(|c| (c, wanted(c) * SAMPLES as f64)).map(|(c, wanted)| (counts[c] - wanted).powi(2) / wanted).sum()
    };
    // 15 degrees of freedom: above 37.7 once in a thousand.
    let found = far(&|c| chances[c]);
    assert!(found < 37.7, "{found}");
    // Digits by themselves are another distribution: the test can tell.
    let second = |d: usize| -> f64 { (0..4).map(|first| chances[first * 4 + d]).sum() };
    let first = |d: usize| -> f64 { chances[d * 4..][..4].iter().sum() };
    assert!(far(&|c| first(c / 4) * second(c % 4)) > 100.0);
}

#[test]
fn frames_one_after_the_other_are_autoregression_in_time() {
    let mut model = Chain::new(true);
    model.canvas.tokens.grid = [3, 1, 1];
    let in_time = MaskGit { frame_offset: 1.0, ..settings(3) };
    assert!(chi2(in_time, &model, |codes| model.probability(codes)) < 24.3);
    // Two steps are too few for each frame to see the one before.
    assert!(chi2(MaskGit { steps: 2, ..in_time }, &model, |codes| model.probability(codes)) > 100.0);
    let request = SampleRequest::prompts(vec![vec![1u32]], vec![RngKey::new(1)], model.canvas());
    let mut sampling = in_time.begin(&model, None, &request).unwrap();
    sampling.step(&model).unwrap();
    let first = |sampling: &dyn Sampling| match &sampling.tokens().unwrap()[0] {
        Values::Codes(codes) => codes[0],
        Values::Vectors(_) => panic!("codes"),
    };
    let kept = first(&*sampling);
    sampling.step(&model).unwrap();
    sampling.step(&model).unwrap();
    assert_eq!(first(&*sampling), kept);
}

#[test]
fn a_sample_does_not_hang_on_its_batch() {
    let model = Chain::new(true);
    let run = |samples: &[u64]| {
        let keys = samples.iter().map(|&s| RngKey::new(1).sample(s)).collect();
        let request = SampleRequest::prompts(vec![vec![1u32]; samples.len()], keys, model.canvas());
        let mut sampling = MaskGit { guidance: 2.0, ..settings(2) }.begin(&model, None, &request).unwrap();
        (0..2).for_each(|_| sampling.step(&model).unwrap());
        sampling.tokens().unwrap()
    };
    assert_eq!(run(&[3, 4, 5])[1], run(&[4])[0]);
}
