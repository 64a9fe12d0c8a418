use super::*;
use crate::masked::MaskedConfig;
use crate::testing::{self, Asked, Fake, fitted, keys, of_codes, prompts};
use burn::tensor::{Device, activation::softmax};
use musiva_core::canvas::PerDigit;
use musiva_core::{BackboneConfig, TokenKind, TokenShape, WeightInit};

/// Three tokens of two entries whose probabilities are known: each token of the one before it, or of
/// nothing, by the same chances whichever of them are hidden.
#[derive(Clone, Copy)]
struct Chain {
    dependent: bool,
}

impl Chain {
    /// Of all three tokens together.
    fn probability(self, codes: [u32; 3]) -> f64 {
        let one = |p: f64, code: u32| if code == 1 { p } else { 1.0 - p };
        let second = if self.dependent { [0.9, 0.2][codes[0] as usize] } else { 0.6 };
        let third = if self.dependent { [0.1, 0.7][codes[1] as usize] } else { 0.25 };
        one(0.3, codes[0]) * one(second, codes[1]) * one(third, codes[2])
    }

    /// On a grid of three tokens.
    fn backbone(self, grid: [usize; 3]) -> Fake {
        let canvas = CanvasShape::new(
            1,
            2,
            TokenShape { grid, kind: TokenKind::Codes { levels: 1, entries: 2, bits: Some(1) } },
        );
        Fake::each(BackboneSpec::Masked, canvas, move |asked| {
            (0..3).map(|position| self.logits(asked, position)).collect()
        })
    }

    /// The exact chances of a token, given what is not hidden: summed over all triples.
    fn logits(self, asked: &Asked, position: usize) -> Vec<f32> {
        let mut sums = [0.0f64; 2];
        for i in 0..8u32 {
            let triple = [i & 1, i >> 1 & 1, i >> 2 & 1];
            let agrees = |other: usize| other == position || asked.masked[other] || asked.codes[other] == triple[other];
            if (0..3).all(agrees) {
                sums[triple[position] as usize] += self.probability(triple);
            }
        }
        sums.map(|sum| sum.ln() as f32).to_vec()
    }
}

const SAMPLES: usize = 6000;

/// χ² of the triples that come out against `wanted`; 7 degrees of freedom: above 24.3 once in a
/// thousand.
fn chi2(settings: MaskGit, model: &Fake, wanted: impl Fn([u32; 3]) -> f64) -> f64 {
    let request = SampleRequest::prompts(&vec![vec![1]; SAMPLES], keys(11, SAMPLES), &model.canvas);
    let mut counts = [0.0f64; 8];
    for sampled in testing::sampled(&settings, model, None, &request) {
        let codes = testing::codes(&sampled);
        counts[(codes[0] | codes[1] << 1 | codes[2] << 2) as usize] += 1.0;
    }
    testing::chi2(&counts, &[0, 1, 2, 3, 4, 5, 6, 7].map(|i: u32| wanted([i & 1, i >> 1 & 1, i >> 2 & 1])))
}

fn settings(steps: usize) -> MaskGit {
    MaskGit { steps, schedule: MaskSchedule::Linear, ..MaskGit::default() }
}

#[test]
fn independent_tokens_come_out_as_they_are_in_any_number_of_steps() {
    let digit_conditioning = Chain { dependent: false };
    let model = digit_conditioning.backbone([1, 1, 3]);
    for steps in [1, 2, 3] {
        let found = chi2(settings(steps), &model, |codes| digit_conditioning.probability(codes));
        assert!(found < 24.3, "{steps} steps: {found}");
    }
    // Who keeps the surest of several tries prefers the likely.
    let sure = MaskGit { choice: Choice::Confidence, ..settings(3) };
    assert!(chi2(sure, &model, |codes| digit_conditioning.probability(codes)) > 100.0);
}

#[test]
fn one_step_draws_each_token_by_itself() {
    let digit_conditioning = Chain { dependent: true };
    let model = digit_conditioning.backbone([1, 1, 3]);
    let marginal = |position: usize, code: u32| -> f64 {
        (0..8u32)
            .map(|i| [i & 1, i >> 1 & 1, i >> 2 & 1])
            .filter(|triple| triple[position] == code)
            .map(|triple| digit_conditioning.probability(triple))
            .sum()
    };
    let found = chi2(settings(1), &model, |codes| (0..3).map(|position| marginal(position, codes[position])).product());
    assert!(found < 24.3, "{found}");
}

#[test]
fn as_many_steps_as_tokens_in_random_order_are_autoregression() {
    let digit_conditioning = Chain { dependent: true };
    let model = digit_conditioning.backbone([1, 1, 3]);
    let found = chi2(settings(3), &model, |codes| digit_conditioning.probability(codes));
    assert!(found < 24.3, "{found}");
    // One step is another distribution: the test can tell.
    assert!(chi2(settings(1), &model, |codes| digit_conditioning.probability(codes)) > 100.0);
}

#[test]
fn digits_of_a_token_hang_on_each_other() {
    let tokens = TokenShape { grid: [1, 1, 1], kind: TokenKind::Codes { levels: 1, entries: 16, bits: Some(4) } };
    let config = MaskedConfig { width: 16, depth: 1, heads: 1, digits: 2, ..MaskedConfig::default() };
    let canvas = fitted(&config, &CanvasShape::new(1, 2, tokens));
    let mut model = config.build(&canvas, &Device::flex(), &WeightInit::Seed(2)).unwrap();
    model.parameters_mut().update(&mut |path, _, value| match path.contains("seen") {
        true => value * 100.0,
        false => value,
    });
    // What the model says of all 16 tokens: of the first digit, and of the second after each first one.
    let device = model.device();
    let logits = |code: u32| {
        let layout = Layout::whole(&canvas);
        let digits = ints(&layout.digits(&of_codes(&canvas, vec![code])).unwrap(), [1, 1, 2], &device);
        let input = ModelInput::Masked(MaskedCodes { codes: digits.clone(), mask: Tensor::ones([1, 1, 1], &device) });
        let conditioning = prompts(&canvas, &[&[1]], &device);
        let Prediction::Logits(mut all) = model.forward(&CanvasBatch { conditioning, input }).unwrap() else {
            panic!("logits")
        };
        let chances = |PerDigit { logits, .. }: PerDigit| softmax(logits, 2).into_data().iter::<f64>().collect();
        all.remove(0).per_digit(&digits).into_iter().map(chances).collect::<Vec<Vec<f64>>>()
    };
    let chances: Vec<f64> =
        (0..16).map(|c| (c, logits(c))).map(|(c, p)| p[0][c as usize / 4] * p[1][c as usize % 4]).collect();
    let request = SampleRequest::prompts(&vec![vec![1]; SAMPLES], keys(12, SAMPLES), &canvas);
    let mut counts = [0.0f64; 16];
    for sampled in testing::sampled(&settings(1), &*model, None, &request) {
        counts[testing::codes(&sampled)[0] as usize] += 1.0;
    }
    let far = |wanted: &dyn Fn(usize) -> f64| testing::chi2(&counts, &(0..16).map(wanted).collect::<Vec<_>>());
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
    let digit_conditioning = Chain { dependent: true };
    let model = digit_conditioning.backbone([3, 1, 1]);
    let in_time = MaskGit { frame_offset: 1.0, ..settings(3) };
    assert!(chi2(in_time, &model, |codes| digit_conditioning.probability(codes)) < 24.3);
    // Two steps are too few for each frame to see the one before.
    assert!(chi2(MaskGit { steps: 2, ..in_time }, &model, |codes| digit_conditioning.probability(codes)) > 100.0);
    let request = SampleRequest::prompts(&[vec![1]], vec![RngKey::new(1)], &model.canvas);
    let mut sampling = in_time.begin(&model, None, &request).unwrap();
    sampling.step(&model).unwrap();
    let first = |sampling: &dyn Sampling| testing::codes(&sampling.tokens().unwrap()[0])[0];
    let kept = first(&*sampling);
    sampling.step(&model).unwrap();
    sampling.step(&model).unwrap();
    assert_eq!(first(&*sampling), kept);
}

#[test]
fn noise_is_of_the_standard_gumbel_distribution() {
    let mut stream = RngKey::new(3).stream(RngStream::Noise);
    let n = 50_000;
    let mut all: Vec<f64> = (0..n).map(|_| f64::from(gumbel(&mut stream))).collect();
    all.sort_by(f64::total_cmp);
    // `P(g ≤ x) = exp(-exp(-x))`: at no place is the share further off than chance has it once in a million.
    let off = |(i, x): (usize, &f64)| ((i as f64 + 0.5) / f64::from(n) - (-(-x).exp()).exp()).abs();
    let most = all.iter().enumerate().map(off).fold(0.0, f64::max);
    assert!(most < 2.7 / f64::from(n).sqrt(), "{most}");
}
