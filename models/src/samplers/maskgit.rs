//! `maskgit`: all hidden tokens are predicted at once, the surest of them stay, again and again until
//! none is hidden (MaskGIT, Chang et al. 2022, section 3.2).

#[cfg(test)]
mod tests;

use crate::objectives::{frame_progress, frames_of, masked::MaskSchedule};
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::{
    CanvasBatch, Conditioning, Layout, Logits, MaskedCodes, ModelInput, Prediction, Values, ints,
};
use musiva_core::parameters::to_vec;
use musiva_core::{
    Backbone, BackboneSpec, CanvasShape, ConfigError, Error, ErrorKind, Process, Result, RngKey, RngStream,
    SampleRequest, Sampler, Sampling, Stream,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;

/// Which of the predicted tokens are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Choice {
    /// Those with the highest confidence. Where most of a picture is plain, that is filled first.
    Confidence,
    /// Any: as many steps as tokens are then autoregression in a random order.
    Random,
}

/// What a recipe says of `kind = "maskgit"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskGit {
    /// Steps from nothing to all tokens.
    #[schemars(range(min = 1, max = 10_000))]
    pub steps: usize,
    /// How many tokens are still masked after each step.
    pub schedule: MaskSchedule,
    /// Which of the predicted tokens are kept.
    pub choice: Choice,
    /// Randomness of that choice: scale of the Gumbel noise on the log-probabilities, which falls to 0 at the last
    /// step.
    #[schemars(range(min = 0.0, max = 1000.0))]
    pub choice_temperature: f32,
    /// Divides the logits that tokens are sampled from; 0 always picks the likeliest.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub temperature: f32,
    /// Classifier-free guidance on logits: `without + guidance·(with - without)`; 1 for none.
    #[schemars(range(min = 0.0, max = 100.0))]
    pub guidance: f32,
    /// Frames one after the other: 0 for all together, 1 for each once the one before it is done, between for an
    /// overlap. At most what the objective trains with.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub frame_offset: f32,
}

impl Default for MaskGit {
    fn default() -> Self {
        Self {
            steps: 16,
            schedule: MaskSchedule::Cosine,
            choice: Choice::Random,
            choice_temperature: 4.5,
            temperature: 1.0,
            guidance: 1.0,
            frame_offset: 0.0,
        }
    }
}

impl Sampler for MaskGit {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec, _: Option<&Process>) -> Result<(), ConfigError> {
        let (predicts, hint) = match backbone {
            BackboneSpec::Masked => return Ok(()),
            BackboneSpec::NextToken => ("the next token", "set `sampler.kind = \"autoregressive\"`"),
            BackboneSpec::Diffusion { .. } => ("vectors", "set `sampler.kind = \"euler\"`"),
        };
        let message = format!("maskgit requires a model that predicts masked tokens; this one predicts {predicts}");
        Err(ConfigError::new("kind", message, format!("{hint}, or `backbone.kind = \"masked\"`")))
    }

    fn forwards(&self, _: &CanvasShape) -> f64 {
        self.steps as f64 * if self.guidance == 1.0 { 1.0 } else { 2.0 }
    }

    fn depth(&self, _: &CanvasShape) -> usize {
        self.steps
    }

    fn frame_offset(&self) -> f32 {
        self.frame_offset
    }

    fn edits(&self) -> Result<(), ConfigError> {
        Ok(())
    }

    fn begin(
        &self,
        backbone: &dyn Backbone,
        _: Option<&Process>,
        request: &SampleRequest,
    ) -> Result<Box<dyn Sampling>> {
        let size = request.keys.len();
        let rows = if self.guidance == 1.0 { size } else { 2 * size };
        let (length, width) = (request.layout.elements().len(), request.layout.canvas().most_digits());
        let (frames, frame_of) = frames_of(&request.layout, self.frame_offset);
        let mut sizes = vec![0; frames];
        frame_of.iter().for_each(|&frame| sizes[frame] += 1);
        let (strength, steps) = request.left(self.steps);
        let canvases = match &request.start {
            None => vec![Canvas { digits: vec![0; length * width], masked: vec![true; length] }; size],
            Some(start) => {
                let masked: Vec<usize> = sizes.iter().map(|&size| self.masked_count(1.0 - strength, size)).collect();
                let each = start.tokens.iter().zip(&request.keys);
                each.map(|(tokens, key)| Canvas::masking(&request.layout, tokens, &frame_of, &masked, key))
                    .collect::<Result<_>>()?
            }
        };
        Ok(Box::new(State {
            settings: Self { steps, ..*self },
            strength,
            conditioning: request.conditioning(backbone, rows)?,
            keys: request.keys.clone(),
            canvases,
            sizes,
            frame_of,
            step: 0,
        }))
    }
}

impl MaskGit {
    /// How many of so many tokens are hidden once a part `progress` of the way is walked: at its start all are, also by
    /// schedules that begin below 1.
    fn masked_count(&self, progress: f64, tokens: usize) -> usize {
        match progress > 0.0 {
            true => (self.schedule.masked_fraction(progress, tokens) * tokens as f64).floor() as usize,
            false => tokens,
        }
    }
}

/// The digits `[L, D]` of a sample, some of whose elements are masked still.
#[derive(Clone, Debug)]
struct Canvas {
    digits: Vec<u32>,
    masked: Vec<bool>,
}

impl Canvas {
    /// Masks so many of the elements of each frame. In which order they are masked hangs on the sample alone: where more
    /// are masked, it is these and more.
    fn masking(layout: &Layout, tokens: &Values, frame_of: &[usize], counts: &[usize], key: &RngKey) -> Result<Self> {
        let digits = layout.digits(tokens).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "sampler", "only codes can be masked, these are latents")
        })?;
        let (mut stream, count) = (key.stream(RngStream::Edit), layout.elements().len());
        let width = digits.len() / count.max(1);
        let mut shuffled: Vec<(u32, usize)> = (0..count).map(|element| (stream.bits(), element)).collect();
        shuffled.sort_unstable();
        let mut canvas = Self { digits, masked: vec![false; count] };
        let mut left = counts.to_vec();
        for (_, element) in shuffled {
            if left[frame_of[element]] > 0 {
                left[frame_of[element]] -= 1;
                canvas.digits[element * width..(element + 1) * width].fill(0);
                canvas.masked[element] = true;
            }
        }
        Ok(canvas)
    }
}

struct State {
    /// Of the steps, those that are left.
    settings: MaskGit,
    /// The part of the way that they are.
    strength: f64,
    conditioning: Conditioning,
    keys: Vec<RngKey>,
    canvases: Vec<Canvas>,
    /// How many tokens each frame has, and which frame each token is of: all are of one where none goes ahead.
    sizes: Vec<usize>,
    frame_of: Vec<usize>,
    step: usize,
}

/// The logits of one track.
struct Group {
    heads: Vec<Head>,
}

/// Those of one digit.
struct Head {
    /// Which row of the logits is of each element, where it has the digit.
    row_of: HashMap<usize, usize>,
    /// `[B, n, K]`, flat.
    logits: Vec<f32>,
    /// `K`.
    base: usize,
    /// What the entries of each digit before it add, `[K, K]`, flat.
    digit_conditioning: Vec<Vec<f32>>,
}

impl Head {
    /// Its logits for an element of a sample, after the digits before it; `None` where the element has no such digit.
    fn after(&self, sample: usize, element: usize, digits: &[u32]) -> Option<Vec<f32>> {
        let i = sample * self.row_of.len() + self.row_of.get(&element)?;
        let mut logits = self.logits[i * self.base..][..self.base].to_vec();
        for (table, &digit) in self.digit_conditioning.iter().zip(digits) {
            let row = &table[digit as usize * self.base..];
            logits.iter_mut().zip(row).for_each(|(logit, more)| *logit += more);
        }
        Some(logits)
    }
}

impl State {
    fn length(&self) -> usize {
        self.conditioning.layout.elements().len()
    }

    /// The logits of each track, guided.
    fn predict(&self, backbone: &dyn Backbone) -> Result<Vec<Option<Group>>> {
        let (size, length) = (self.canvases.len(), self.length());
        let rows = self.conditioning.size;
        let device = backbone.device();
        let all = || self.canvases.iter().cycle().take(rows);
        let digits: Vec<u32> = all().flat_map(|canvas| canvas.digits.iter().copied()).collect();
        let width = digits.len() / (rows * length).max(1);
        let masked: Vec<f32> = all().flat_map(|canvas| &canvas.masked).map(|&masked| f32::from(masked)).collect();
        let input = ModelInput::Masked(MaskedCodes {
            codes: ints(&digits, [rows, length, width], &device),
            mask: Tensor::from_data(TensorData::new(masked, [rows, length, 1]), &device),
        });
        let batch = CanvasBatch { conditioning: self.conditioning.clone(), input };
        let Prediction::Logits(logits) = backbone.forward(&batch)? else {
            return Err(Error::new(ErrorKind::Unsupported, "sampler", "this backbone predicts no logits"));
        };
        let guided = |logits: Tensor<3>| {
            if rows == size {
                return logits;
            }
            let (with, without) = (logits.clone().slice_dim(0, 0..size), logits.slice_dim(0, size..rows));
            without.clone() + (with - without) * self.settings.guidance
        };
        let mut groups: Vec<Option<Group>> = self.conditioning.canvas().tracks.iter().map(|_| None).collect();
        for Logits { track, heads, digit_conditioning } in logits {
            let mut tables = digit_conditioning.into_iter();
            let head = |head: musiva_core::canvas::Head| Head {
                base: head.logits.dims()[2],
                logits: to_vec(guided(head.logits)),
                row_of: head.at.into_iter().enumerate().map(|(row, element)| (element, row)).collect(),
                digit_conditioning: tables.next().into_iter().flatten().map(to_vec).collect(),
            };
            groups[track] = Some(Group { heads: heads.into_iter().map(head).collect() });
        }
        Ok(groups)
    }

    /// Which part of the steps is done once this one is.
    fn done(&self) -> f64 {
        (self.step + 1) as f64 / self.settings.steps as f64
    }

    /// Of a part of the way that is left, which part of the whole way that is.
    fn overall_progress(&self, part: f64) -> f64 {
        (1.0 - self.strength) + self.strength * part
    }

    /// How many tokens of each frame are hidden once this step is done, of so many `before`: fewer, where the frame has set
    /// out, and none at the end.
    fn left(&self, before: &[usize]) -> Vec<usize> {
        if self.step + 1 >= self.settings.steps {
            return vec![0; before.len()];
        }
        let parts = frame_progress(self.done(), before.len(), f64::from(self.settings.frame_offset));
        let each = before.iter().zip(&self.sizes).zip(parts).map(|((&before, &size), part)| match part > 0.0 {
            true => self.settings.masked_count(self.overall_progress(part), size).min(before.saturating_sub(1)),
            false => before,
        });
        each.collect()
    }
}

impl Sampling for State {
    fn progress(&self) -> (usize, usize) {
        (self.step, self.settings.steps)
    }

    fn step(&mut self, backbone: &dyn Backbone) -> Result<()> {
        let groups = self.predict(backbone)?;
        let layout = self.conditioning.layout.clone();
        let width = layout.canvas().most_digits();
        // Noise falls to nothing by the last step.
        let chance = self.settings.choice_temperature * (1.0 - self.overall_progress(self.done()) as f32);
        let mut canvases = std::mem::take(&mut self.canvases);
        for (row, (canvas, key)) in canvases.iter_mut().zip(&self.keys).enumerate() {
            let key = key.step(self.step as u64);
            let (mut picks, mut choices) = (key.stream(RngStream::Pick), key.stream(RngStream::Choice));
            let mut candidates: Vec<Vec<(f32, usize)>> = vec![Vec::new(); self.sizes.len()];
            for (i, element) in layout.elements().iter().enumerate() {
                let Some(Group { heads }) = &groups[element.track] else { continue };
                let heads = &heads[element.digits.clone()];
                // A number for each element, whether it is asked for or not: a sample hangs on nothing else.
                let uniforms: Vec<f32> = heads.iter().map(|_| picks.uniform()).collect();
                let noise = gumbel(&mut choices);
                if !canvas.masked[i] {
                    continue;
                }
                let slots = &mut canvas.digits[i * width..(i + 1) * width];
                if let Some(digits) = layout.canvas().tracks[element.track].digits() {
                    slots[..digits.count].fill(digits.base as u32);
                }
                let (mut sure, mut digits) = (0.0, Vec::with_capacity(heads.len()));
                for ((head, uniform), at) in heads.iter().zip(uniforms).zip(element.digits.clone()) {
                    let Some(logits) = head.after(row, i, &digits) else { continue };
                    let (digit, probability) = pick(&logits, self.settings.temperature, uniform);
                    slots[at] = digit;
                    sure += probability;
                    digits.push(digit);
                }
                let score = match self.settings.choice {
                    Choice::Confidence => sure + chance * noise,
                    Choice::Random => noise,
                };
                candidates[self.frame_of[i]].push((score, i));
            }
            let left = self.left(&candidates.iter().map(Vec::len).collect::<Vec<_>>());
            for (mut candidates, left) in candidates.into_iter().zip(left) {
                // The surest stay; of equals the first.
                candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
                let kept = candidates.len() - left;
                candidates[..kept].iter().for_each(|&(_, position)| canvas.masked[position] = false);
            }
        }
        self.canvases = canvases;
        self.step += 1;
        Ok(())
    }

    fn tokens(&self) -> Result<Vec<Values>> {
        let layout = &self.conditioning.layout;
        Ok(self.canvases.iter().map(|canvas| layout.of_digits(&canvas.digits)).collect())
    }
}

/// The entry that a uniform number in `[0, 1)` falls on, and its log-probability.
fn pick(logits: &[f32], temperature: f32, uniform: f32) -> (u32, f32) {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let log_sum = |scale: f32| logits.iter().map(|x| f64::from((x - most) * scale).exp()).sum::<f64>();
    let likely = |i: usize| (f64::from(logits[i] - most) - log_sum(1.0).ln()) as f32;
    if temperature == 0.0 {
        let at = logits.iter().position(|&x| x == most).unwrap_or(0);
        return (at as u32, likely(at));
    }
    let mut left = f64::from(uniform) * log_sum(1.0 / temperature);
    let hit = logits.iter().position(|x| {
        left -= f64::from((x - most) / temperature).exp();
        left < 0.0
    });
    let at = hit.unwrap_or(logits.len() - 1);
    (at as u32, likely(at))
}

/// A number of the standard Gumbel distribution.
fn gumbel(stream: &mut Stream) -> f32 {
    let uniform = f64::from(stream.uniform()).max(1e-12);
    -(-uniform.ln()).ln() as f32
}
