//! `autoregressive`: one token after the other, picked from the model's own distribution.

use burn::tensor::Tensor;
use musiva_core::canvas::{Layout, Values};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneSpec, CanvasShape, ConfigError, Error, ErrorKind, Process, Result, RngKey, RngStream,
    SampleRequest, Sampler, Sampling, Session,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::sync::Arc;

/// What a recipe says of `kind = "autoregressive"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Autoregressive {
    /// Divides the logits: below 1 the likely grows likelier; 0 always picks the likeliest.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: f32,
    /// Keep the k most likely; 0 keeps all.
    #[schemars(range(min = 0, max = 1_000_000))]
    pub top_k: usize,
    /// Keep the most likely that together have this probability (Holtzman et al. 2020).
    #[schemars(range(min = 0.0, max = 1.0))]
    pub top_p: f32,
    /// Classifier-free guidance on logits: `without + guidance·(with - without)`; 1 for none.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub guidance: f32,
}

impl Default for Autoregressive {
    fn default() -> Self {
        Self { temperature: 1.0, top_k: 0, top_p: 1.0, guidance: 1.0 }
    }
}

impl Sampler for Autoregressive {
    fn errors(&self) -> Vec<ConfigError> {
        match self.top_p > 0.0 {
            true => Vec::new(),
            false => vec![ConfigError::new("top_p", "a probability of 0 leaves nothing to pick", "set `top_p = 1.0`")],
        }
    }

    fn fits(&self, backbone: &BackboneSpec, _: Option<&Process>) -> Result<(), ConfigError> {
        match backbone {
            BackboneSpec::NextToken => Ok(()),
            BackboneSpec::Masked => Err(ConfigError::new(
                "kind",
                "an autoregressive sampler requires a model that predicts the next token; this one predicts masked tokens",
                "set `sampler.kind = \"maskgit\"`, or `backbone.kind = \"lm\"`",
            )),
            BackboneSpec::Diffusion { .. } => Err(ConfigError::new(
                "kind",
                "an autoregressive sampler requires a model that predicts the next token; this one sees all tokens at once and predicts vectors",
                "set `sampler.kind = \"euler\"`, or `backbone.kind = \"lm\"`",
            )),
        }
    }

    fn forwards(&self, _: &CanvasShape) -> f64 {
        // With cached keys and values all steps together do the work of one pass.
        if self.guidance == 1.0 { 1.0 } else { 2.0 }
    }

    fn depth(&self, canvas: &CanvasShape) -> usize {
        canvas.target_elements()
    }

    fn edits(&self) -> Result<(), ConfigError> {
        let message = "autoregressive models cannot edit by strength; diffusion and masked models can";
        Err(ConfigError::new("kind", message, "name a recipe of one of these, such as `world-dit` or `world-masked`"))
    }

    fn begin(
        &self,
        backbone: &dyn Backbone,
        _: Option<&Process>,
        request: &SampleRequest,
    ) -> Result<Box<dyn Sampling>> {
        let (guided, size) = (self.guidance != 1.0, request.keys.len());
        let conditioning = request.conditioning(backbone, if guided { 2 * size } else { size })?;
        let session = backbone
            .session(conditioning)?
            .ok_or_else(|| Error::new(ErrorKind::Unsupported, "sampler", "this backbone cannot decode step by step"))?;
        let (settings, keys, layout) = (*self, request.keys.clone(), request.layout.clone());
        Ok(Box::new(State { settings, layout, keys, session, draws: 0, digits: vec![Vec::new(); size], guided }))
    }
}

struct State {
    settings: Autoregressive,
    layout: Arc<Layout>,
    keys: Vec<RngKey>,
    session: Box<dyn Session>,
    /// Digits picked so far.
    draws: u64,
    /// Of each sample the digits of the elements that are done, `[n, D]`.
    digits: Vec<Vec<u32>>,
    guided: bool,
}

impl State {
    /// How many digits stand side by side.
    fn width(&self) -> usize {
        self.layout.canvas().most_digits()
    }
}

impl Sampling for State {
    fn progress(&self) -> (usize, usize) {
        let done = self.digits.first().map_or(0, Vec::len) / self.width();
        (done, self.layout.elements().len())
    }

    fn step(&mut self, _: &dyn Backbone) -> Result<()> {
        let (size, wanted, width) = (self.keys.len(), self.session.digits(), self.width());
        let mut digits: Vec<Vec<u32>> = Vec::new();
        let mut rows = vec![vec![0; width]; size];
        for digit in wanted {
            let logits = self.session.logits(&digits)?;
            let base = logits.dims()[1];
            let logits = to_vec(guide(logits, self.guided.then_some(self.settings.guidance)));
            let mut picked: Vec<u32> = Vec::with_capacity(2 * size);
            for (row, key) in self.keys.iter().enumerate() {
                // One stream a digit: which number a token gets does not hang on its batch.
                let uniform = key.step(self.draws).stream(RngStream::Pick).uniform();
                let entry = pick(&logits[row * base..(row + 1) * base], &self.settings, uniform);
                rows[row][digit] = entry;
                picked.push(entry);
            }
            if self.guided {
                picked.extend_from_within(..);
            }
            digits.push(picked);
            self.draws += 1;
        }
        self.digits.iter_mut().zip(rows).for_each(|(all, row)| all.extend(row));
        self.session.push(&digits)
    }

    fn tokens(&self) -> Result<Vec<Values>> {
        Ok(self.digits.iter().map(|digits| self.layout.of_digits(digits)).collect())
    }
}

/// Of `[2B, K]` the first half with the prompt, the second without: `[B, K]`.
fn guide(logits: Tensor<2>, guidance: Option<f32>) -> Tensor<2> {
    let Some(guidance) = guidance else { return logits };
    let half = logits.dims()[0] / 2;
    let with = logits.clone().slice_dim(0, 0..half);
    let without = logits.slice_dim(0, half..2 * half);
    without.clone() + (with - without) * guidance
}

/// The entry that a uniform number in `[0, 1)` falls on.
fn pick(logits: &[f32], settings: &Autoregressive, uniform: f32) -> u32 {
    let mut request: Vec<usize> = (0..logits.len()).collect();
    request.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]).then(a.cmp(&b)));
    if settings.temperature == 0.0 {
        return request[0] as u32;
    }
    if settings.top_k > 0 {
        request.truncate(settings.top_k);
    }
    let weight = |i: usize| f64::from((logits[i] - logits[request[0]]) / settings.temperature).exp();
    let weights: Vec<f64> = request.iter().map(|&i| weight(i)).collect();
    let total: f64 = weights.iter().sum();
    let mut kept = weights.len();
    if settings.top_p < 1.0 {
        let mut sum = 0.0;
        let enough = |w: &f64| {
            sum += w / total;
            sum >= f64::from(settings.top_p)
        };
        kept = weights.iter().position(enough).map_or(kept, |i| i + 1);
    }
    let mut left = f64::from(uniform) * weights[..kept].iter().sum::<f64>();
    let hit = weights[..kept].iter().position(|w| {
        left -= w;
        left < 0.0
    });
    request[hit.unwrap_or(kept - 1)] as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lm::LmConfig;
    use crate::testing::{self, fitted, of_codes, prompts};
    use burn::tensor::Device;
    use musiva_core::canvas::{CanvasBatch, ModelInput, Prediction, ints};
    use musiva_core::{BackboneConfig, TokenKind, TokenShape, WeightInit};

    const PLAIN: Autoregressive = Autoregressive { temperature: 1.0, top_k: 0, top_p: 1.0, guidance: 1.0 };

    fn frequencies(logits: &[f32], settings: &Autoregressive) -> Vec<f64> {
        let n = 10_007;
        let mut counts = vec![0.0; logits.len()];
        (0..n).for_each(|i| counts[pick(logits, settings, (i as f32 + 0.5) / n as f32) as usize] += 1.0 / f64::from(n));
        counts
    }

    #[test]
    fn picks_are_as_frequent_as_they_are_probable() {
        // Entries of the probabilities 0.15, 0.5, 0.05 and 0.3: logits are known up to a number.
        let logits = [0.15f32, 0.5, 0.05, 0.3].map(|p| p.ln() + 7.0);
        let of =
            |temperature, top_k, top_p| frequencies(&logits, &Autoregressive { temperature, top_k, top_p, ..PLAIN });
        let shares = |weights: [f64; 4]| weights.map(|weight| weight / weights.iter().sum::<f64>());
        let root = [0.15f64, 0.5, 0.05, 0.3].map(f64::sqrt);
        for (temperature, top_k, top_p, weights) in [
            (1.0, 0, 1.0, [15.0, 50.0, 5.0, 30.0]),
            (1.0, 4, 1.0, [15.0, 50.0, 5.0, 30.0]),
            (0.5, 0, 1.0, [225.0, 2500.0, 25.0, 900.0]),
            (2.0, 0, 1.0, root),
            (0.0, 0, 1.0, [0.0, 1.0, 0.0, 0.0]),
            // The likeliest that together have the probability: 0.5, then 0.8, then 0.95.
            (1.0, 0, 0.45, [0.0, 1.0, 0.0, 0.0]),
            (1.0, 0, 0.6, [0.0, 5.0, 0.0, 3.0]),
            (1.0, 0, 0.85, [15.0, 50.0, 0.0, 30.0]),
            (1.0, 2, 1.0, [0.0, 5.0, 0.0, 3.0]),
            (1.0, 3, 1.0, [15.0, 50.0, 0.0, 30.0]),
            (1.0, 1, 1.0, [0.0, 1.0, 0.0, 0.0]),
            // Of two alone the likeliest has 0.625, and of squared probabilities 0.685.
            (1.0, 2, 0.6, [0.0, 1.0, 0.0, 0.0]),
            (0.5, 0, 0.6, [0.0, 1.0, 0.0, 0.0]),
            (2.0, 3, 1.0, [root[0], root[1], 0.0, root[3]]),
        ] {
            let (found, wanted) = (of(temperature, top_k, top_p), shares(weights));
            let near = found.iter().zip(&wanted).all(|(found, wanted)| (found - wanted).abs() < 2e-4);
            assert!(near, "temperature {temperature}, top_k {top_k}, top_p {top_p}: {found:?}, not {wanted:?}");
        }
    }

    #[test]
    fn clips_are_as_frequent_as_the_model_says() {
        // Two tokens of four entries: all sixteen clips, their probabilities by the uncached model.
        let kind = TokenKind::Codes { levels: 1, entries: 4, bits: Some(2) };
        let config = LmConfig { width: 16, depth: 1, heads: 2, digits: 2, ..Default::default() };
        let canvas = fitted(&config, &CanvasShape::new(2, 3, TokenShape { grid: [1, 1, 2], kind }));
        let mut lm = config.build(&canvas, &Device::flex(), &WeightInit::Seed(5)).unwrap();
        lm.parameters_mut().update(&mut |_, _, value| value * 3.0);
        let codes: Vec<u32> = (0..16).flat_map(|i| [i / 4, i % 4]).collect();
        let layout = Layout::whole(&canvas);
        let clips = codes.chunks(2).map(|codes| layout.digits(&of_codes(&canvas, codes.to_vec())).unwrap());
        let digits = ints(&clips.collect::<Vec<_>>().concat(), [16, 2, 2], &Device::flex());
        let conditioning = prompts(&canvas, &[&[1, 2][..]; 16], &Device::flex());
        let batch = CanvasBatch { conditioning, input: ModelInput::Codes(digits.clone()) };
        let Prediction::Logits(mut all) = lm.forward(&batch).unwrap() else { panic!("logits") };
        let heads: Vec<Vec<f32>> = all.remove(0).per_digit(&digits).into_iter().map(|d| to_vec(d.logits)).collect();
        let probability = |clip: usize| -> f64 {
            (0..2)
                .flat_map(|token| (0..2).map(move |digit| (token, digit)))
                .map(|(token, digit)| {
                    let logits = &heads[digit][(clip * 2 + token) * 2..][..2];
                    let value = (codes[clip * 2 + token] >> (1 - digit) & 1) as usize;
                    let total: f64 = logits.iter().map(|l| f64::from(*l).exp()).sum();
                    f64::from(logits[value]).exp() / total
                })
                .product()
        };
        let n = 4000;
        let request = SampleRequest::prompts(
            &vec![vec![1, 2]; n],
            (0..n as u64).map(|i| RngKey::new(1).sample(i)).collect(),
            &canvas,
        );
        let mut sampling = PLAIN.begin(&*lm, None, &request).unwrap();
        (0..2).for_each(|_| sampling.step(&*lm).unwrap());
        let mut counts = [0.0f64; 16];
        for sampled in sampling.tokens().unwrap() {
            let codes = testing::codes(&sampled);
            counts[(codes[0] * 4 + codes[1]) as usize] += 1.0;
        }
        let chi2: f64 =
            (0..16).map(|i| (counts[i] - n as f64 * probability(i)).powi(2) / (n as f64 * probability(i))).sum();
        // 15 degrees of freedom: above 37.7 once in a thousand.
        assert!(chi2 < 37.7, "{chi2}");
        assert!((0..16).map(probability).sum::<f64>() - 1.0 < 1e-6);
    }
}
