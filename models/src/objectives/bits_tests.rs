//! Bits (negative log-likelihood) under models whose conditionals are exact: those of a distribution over four tokens of two
//! bits, by enumeration. Estimates are compared with `-log₂ p` of each sample; broken estimators and models are detected.

use super::diffusion::{Ddpm, RectifiedFlow};
use super::masked::MaskedTokens;
use super::next_token::NextToken;
use crate::schedules::Linear;
use crate::testing::{Asked, Fake, of_codes};
use musiva_core::canvas::{CleanBatch, Layout};
use musiva_core::{BackboneSpec, BitsKind, CanvasShape, Objective, Process, RngKey, TokenKind, TokenShape};
use std::sync::Arc;

const TOKENS: usize = 4;
const ENTRIES: usize = 4;

fn canvas() -> Arc<CanvasShape> {
    let kind = TokenKind::Codes { levels: 1, entries: ENTRIES, bits: Some(2) };
    Arc::new(CanvasShape::new(1, 2, TokenShape { grid: [1, 1, TOKENS], kind }))
}

fn codes(word: usize) -> [usize; TOKENS] {
    std::array::from_fn(|i| word / ENTRIES.pow(i as u32) % ENTRIES)
}

/// The probabilities of all words: a chain whose next token likes to be the last one or the one after it, and, for one in ten,
/// the same token all along.
fn truth() -> Vec<f64> {
    let next = |from: usize, to: usize| [0.6, 0.25, 0.1, 0.05][(to + ENTRIES - from) % ENTRIES];
    let of = |word| {
        let codes = codes(word);
        let chain = [0.5, 0.2, 0.2, 0.1][codes[0]] * codes.windows(2).map(|two| next(two[0], two[1])).product::<f64>();
        let same = if codes.iter().all(|&code| code == codes[0]) { 0.25 } else { 0.0 };
        0.9 * chain + 0.1 * same
    };
    (0..ENTRIES.pow(TOKENS as u32)).map(of).collect()
}

/// The distribution of each token, by these weights of all words.
fn marginals(weights: &[f64]) -> Vec<Vec<f64>> {
    let mut all = vec![vec![0.0; ENTRIES]; TOKENS];
    for (word, weight) in weights.iter().enumerate() {
        codes(word).into_iter().zip(&mut all).for_each(|(code, own)| own[code] += weight);
    }
    let total: f64 = weights.iter().sum();
    all.iter_mut().flatten().for_each(|share| *share /= total);
    all
}

/// The words that have these tokens where `known` says so, with their probabilities; of the others 0.
fn given(truth: &[f64], tokens: &[u32], known: impl Fn(usize) -> bool) -> Vec<f64> {
    let fits = |word| codes(word).iter().zip(tokens).enumerate().all(|(i, (a, b))| !known(i) || *a == *b as usize);
    truth.iter().enumerate().map(|(word, p)| if fits(word) { *p } else { 0.0 }).collect()
}

fn logits(marginals: Vec<Vec<f64>>) -> Vec<Vec<f32>> {
    marginals.into_iter().map(|own| own.into_iter().map(|p| p.max(1e-30).ln() as f32).collect()).collect()
}

/// Each token by those before it.
fn in_order() -> Fake {
    let truth = truth();
    Fake::each(BackboneSpec::NextToken, canvas(), move |asked: &Asked| {
        let of = |at: usize| marginals(&given(&truth, &asked.codes, |i| i < at)).swap_remove(at);
        logits((0..TOKENS).map(of).collect())
    })
}

/// Each token by those that are not masked; `leaks`: one that is masked is seen, too.
fn in_any_order(leaks: bool) -> Fake {
    let truth = truth();
    Fake::each(BackboneSpec::Masked, canvas(), move |asked: &Asked| {
        let leaked = asked.masked.iter().position(|&masked| masked).filter(|_| leaks);
        logits(marginals(&given(&truth, &asked.codes, |i| !asked.masked[i] || leaked == Some(i))))
    })
}

/// The posterior mean of the bits, given noisy ones; `shrunk` by a factor.
fn denoiser(process: Process, shrunk: f64) -> Fake {
    let truth = truth();
    let spec = BackboneSpec::Diffusion { channels: 2, self_conditioned: false };
    let bit = |code: usize, i: usize| if code >> i & 1 == 1 { 1.0 } else { -1.0 };
    Fake::each(spec, canvas(), move |asked: &Asked| {
        let (alpha, sigma) = process.schedule.mix(asked.times[0]);
        let near = |(word, p): (usize, &f64)| {
            let x = codes(word).into_iter().flat_map(|code| [bit(code, 0), bit(code, 1)]);
            let apart: f64 = x.zip(&asked.values).map(|(x, &z)| (f64::from(z) - alpha * x).powi(2)).sum();
            p.ln() - apart / (2.0 * sigma * sigma)
        };
        let near: Vec<f64> = truth.iter().enumerate().map(near).collect();
        let most = near.iter().copied().fold(f64::MIN, f64::max);
        let weights: Vec<f64> = near.iter().map(|near| (near - most).exp()).collect();
        let mean = |own: &Vec<f64>, i| own.iter().enumerate().map(|(code, p)| p * bit(code, i)).sum::<f64>() * shrunk;
        marginals(&weights).iter().map(|own| vec![mean(own, 0) as f32, mean(own, 1) as f32]).collect()
    })
}

/// For every fifth word the mean of so many draws, in bits, and its `-log₂ p`: with exact conditionals both are equal.
fn means(objective: &dyn Objective, model: &Fake, draws: u64, kind: BitsKind) -> Vec<[f64; 2]> {
    let (canvas, truth) = (canvas(), truth());
    let words: Vec<usize> = (0..truth.len()).step_by(5).collect();
    let batch = CleanBatch {
        layout: Arc::new(Layout::whole(&canvas)),
        context: words.iter().map(|_| canvas.prompt(&[1])).collect(),
        target: words.iter().map(|&word| of_codes(&canvas, codes(word).map(|code| code as u32).to_vec())).collect(),
        samples: words.iter().map(|&word| word as u64).collect(),
        dropout: true,
    };
    let mut sums = vec![0.0; words.len()];
    for draw in 0..draws {
        let bits = objective.bits(model, &batch, RngKey::new(5), [draw, draws]).unwrap().unwrap();
        assert_eq!((bits.kind, bits.tracks.len(), bits.tracks[0].0), (kind, 1, 0));
        sums.iter_mut().zip(&bits.tracks[0].1).for_each(|(sum, bits)| *sum += bits / draws as f64);
    }
    words.iter().zip(sums).map(|(&word, mean)| [mean, -truth[word].log2()]).collect()
}

/// The relative difference of the sums over all words.
fn apart(all: &[[f64; 2]]) -> f64 {
    let sum = |which: usize| all.iter().map(|one| one[which]).sum::<f64>();
    sum(0) / sum(1) - 1.0
}

fn flow() -> RectifiedFlow {
    RectifiedFlow { predict: super::diffusion::Predict::Data, ..RectifiedFlow::default() }
}

#[test]
fn next_token_bits_are_exact() {
    let all = means(&NextToken::default(), &in_order(), 1, BitsKind::Exact);
    assert!(all.iter().all(|[found, wanted]| (found - wanted).abs() < 1e-4), "{all:?}");
}

#[test]
fn the_masked_bound_is_tight_for_exact_conditionals() {
    let all = means(&MaskedTokens::default(), &in_any_order(false), 400, BitsKind::UpperBound);
    assert!(apart(&all).abs() < 0.01, "{}", apart(&all));
    // Word by word too: the bound is tight in any order.
    assert!(all.iter().all(|[found, wanted]| (found - wanted).abs() < 0.08 * wanted), "{all:?}");
}

#[test]
fn the_diffusion_bound_is_tight_for_exact_posterior_means() {
    let ddpm = Ddpm { predict: super::diffusion::Predict::Data, ..Ddpm::default() };
    // A schedule that leaves much of the signal at time 1.
    let noisy = Arc::new(Linear { beta_min: 0.1, beta_max: 5.0 });
    let left = ddpm.with_schedule(noisy).unwrap();
    for objective in [&flow() as &dyn Objective, &ddpm, &*left] {
        let model = denoiser(objective.process().unwrap(), 1.0);
        let all = means(objective, &model, 3000, BitsKind::UpperBound);
        assert!(apart(&all).abs() < 0.01, "{}", apart(&all));
    }
}

/// The masked bound by enumeration: over all ways to mask `k` of four tokens, each `k` equally likely, with weight `weigh(k)`.
fn by_hand(weigh: impl Fn(f64) -> f64) -> Vec<[f64; 2]> {
    let truth = truth();
    let of = |word: usize| {
        let tokens = codes(word).map(|code| code as u32);
        let mut mean = 0.0;
        for masked in 1u32..1 << TOKENS {
            let is_masked = |i: usize| masked >> i & 1 == 1;
            let shares = marginals(&given(&truth, &tokens, |i| !is_masked(i)));
            let cost = (0..TOKENS).filter(|&i| is_masked(i)).map(|i| -shares[i][tokens[i] as usize].log2());
            let k = f64::from(masked.count_ones());
            let ways = [0.0, 4.0, 6.0, 4.0, 1.0][k as usize];
            mean += weigh(k) * cost.sum::<f64>() / ways / TOKENS as f64;
        }
        [mean, -truth[word].log2()]
    };
    (0..truth.len()).step_by(5).map(of).collect()
}

#[test]
fn broken_estimators_and_models_are_detected() {
    assert!(apart(&by_hand(|k| TOKENS as f64 / k)).abs() < 1e-9, "the sum over all masks is the truth");
    assert!(apart(&by_hand(|_| 1.0)).abs() > 0.1, "a forgotten weight");
    // A masked model that sees one of the tokens that it predicts falls below the truth.
    let all = means(&MaskedTokens::default(), &in_any_order(true), 200, BitsKind::UpperBound);
    assert!(apart(&all) < -0.1, "a leak: {}", apart(&all));
    // A language model with a wrong distribution of the first token.
    let truth = truth();
    let wrong_prior = Fake::each(BackboneSpec::NextToken, canvas(), move |asked: &Asked| {
        let of = |at: usize| match at {
            0 => vec![0.97, 0.01, 0.01, 0.01],
            _ => marginals(&given(&truth, &asked.codes, |i| i < at)).swap_remove(at),
        };
        logits((0..TOKENS).map(of).collect())
    });
    let all = means(&NextToken::default(), &wrong_prior, 1, BitsKind::Exact);
    assert!(apart(&all) > 0.02, "a wrong prior: {}", apart(&all));
    // A denoiser whose estimates are shrunk towards 0.
    let all = means(&flow(), &denoiser(flow().process().unwrap(), 0.8), 400, BitsKind::UpperBound);
    assert!(apart(&all) > 0.05, "an underconfident denoiser: {}", apart(&all));
}

#[test]
fn vectors_have_no_bits() {
    let tokens = TokenShape { grid: [1, 1, TOKENS], kind: TokenKind::Vectors { channels: 2 } };
    let canvas = Arc::new(CanvasShape::new(1, 2, tokens));
    let batch = CleanBatch {
        layout: Arc::new(Layout::whole(&canvas)),
        context: vec![canvas.prompt(&[1])],
        target: vec![crate::testing::of_vectors(&canvas, vec![0.5; 2 * TOKENS])],
        samples: vec![0],
        dropout: false,
    };
    let spec = BackboneSpec::Diffusion { channels: 2, self_conditioned: false };
    let model = Fake::each(spec, canvas, |_| vec![vec![0.0; 2]; TOKENS]);
    assert_eq!(flow().bits(&model, &batch, RngKey::new(0), [0, 1]).unwrap(), None);
}
