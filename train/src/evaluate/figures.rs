//! An evaluation as a flat list of numbers, which can be set side by side.

use super::{BACKBONE, Evaluation, Interval};
use musiva_core::BitsKind;
use musiva_data::world::Scores;
use serde::{Deserialize, Serialize};

/// One number of an evaluation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// What it is of: a task, or a set of prompts.
    pub of: String,
    /// What is measured, unit included.
    pub name: String,
    /// Which direction is the better one; `None` where neither is.
    pub better: Option<Better>,
    /// Whether the number is an estimate of an upper bound of what is measured.
    #[serde(default)]
    pub upper_bound: bool,
    /// Whether it says by itself how good generated samples are.
    #[serde(default)]
    pub is_quality: bool,
    /// The number.
    pub value: f64,
    /// The number of each sample, where `value` is their mean; of all figures of one set of samples in the same order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<f64>,
}

/// Which of two numbers is the better one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The lower one.
    Lower,
    /// The higher one.
    Higher,
}

/// Name of [`Figure`]s of the negative log-likelihood.
pub const BITS_PER_SAMPLE: &str = "bits per sample";
/// The same divided by the target tokens.
pub const BITS_PER_TOKEN: &str = "bits per token";
/// Bits per sample that a model takes more than the process that drew the samples.
pub const BITS_ABOVE_TRUTH: &str = "bits per sample above truth";
/// Name of the part of the cases in which all that was asked for is seen and heard.
const ALL_CORRECT: &str = "all correct, %";

impl Evaluation {
    /// Its numbers of the backbone, task after task: those by which models can be compared.
    pub fn figures(&self) -> Vec<Figure> {
        let mut all = Figures::default();
        for bits in &self.bits {
            let tokens = bits.per_sample.mean / bits.per_token.mean;
            for (name, Interval { mean, .. }, scale) in
                [(BITS_PER_TOKEN, bits.per_token, tokens), (BITS_PER_SAMPLE, bits.per_sample, 1.0)]
            {
                let samples = bits.samples.iter().map(|bits| bits / scale).collect();
                let upper_bound = bits.kind == BitsKind::UpperBound;
                all.add(&bits.task, name, Better::Lower, mean, samples).upper_bound = upper_bound;
            }
        }
        for bits in self.bits.iter().filter(|bits| !bits.true_samples.is_empty()) {
            let above: Vec<f64> = bits.samples.iter().zip(&bits.true_samples).map(|(own, truth)| own - truth).collect();
            let mean = Interval::of(&above).mean;
            let upper_bound = bits.kind == BitsKind::UpperBound;
            all.add(&bits.task, BITS_ABOVE_TRUTH, Better::Lower, mean, above).upper_bound = upper_bound;
        }
        for made in &self.generation {
            all.right(made.prompts, &made.right);
            all.seen(made.prompts, &made.seen);
        }
        for done in self.tasks.iter().filter(|done| done.by == BACKBONE) {
            all.right(&done.task, &done.right);
            if let Some(seen) = &done.seen {
                all.seen(&done.task, seen);
            }
            let parts = [
                ("position, %", done.position),
                ("onsets, F1 %", done.onsets),
                ("pitch, %", done.pitch),
                ("timbre, %", done.timbre),
                ("caption, %", done.caption),
            ];
            parts.into_iter().for_each(|(name, part)| all.percent(&done.task, name, part));
        }
        for held_out in &self.held_out {
            let of = &held_out.task;
            if let Some(clips) = &held_out.clips {
                all.add(of, "PSNR, dB", Better::Higher, clips.psnr, Vec::new()).is_quality = true;
                all.add(of, "SSIM", Better::Higher, clips.ssim, Vec::new());
            }
            if let Some(sounds) = &held_out.sounds {
                all.add(of, "SI-SNR, dB", Better::Higher, sounds.si_snr, Vec::new());
                all.add(of, "mel distance", Better::Lower, sounds.mel_distance, Vec::new()).is_quality = true;
            }
            all.percent(of, "caption, %", held_out.captions);
            for found in &held_out.retrieval {
                for (name, part) in [("top 1", found.top_1), ("top 5", found.top_5)] {
                    let name = format!("retrieval by {}, {name}, %", found.features);
                    all.add(of, &name, Better::Higher, 100.0 * part, Vec::new()).is_quality = true;
                }
            }
            for varied in &held_out.variety {
                let name = format!("Fréchet distance of {}", varied.features);
                all.add(of, &name, Better::Lower, varied.frechet, Vec::new());
            }
            all.percent(of, "sight and sound together, F1 %", held_out.agreement.map(|agreed| agreed.made));
        }
        for measured in &self.metrics {
            for (name, value) in &measured.values {
                all.add(&measured.samples, &format!("{}: {name}", measured.kind), None, *value, Vec::new());
            }
        }
        all.0
    }
}

#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn add(
        &mut self,
        of: &str,
        name: &str,
        better: impl Into<Option<Better>>,
        value: f64,
        samples: Vec<f64>,
    ) -> &mut Figure {
        let (of, name, better) = (of.to_owned(), name.to_owned(), better.into());
        self.0.push(Figure { of, name, better, upper_bound: false, is_quality: false, value, samples });
        self.0.last_mut().expect("it has just been added")
    }

    fn percent(&mut self, of: &str, name: &str, part: Option<f64>) {
        if let Some(part) = part {
            self.add(of, name, Better::Higher, 100.0 * part, Vec::new());
        }
    }

    fn right(&mut self, of: &str, right: &[bool]) {
        if !right.is_empty() {
            let samples: Vec<f64> = right.iter().map(|&right| if right { 100.0 } else { 0.0 }).collect();
            let mean = Interval::of(&samples).mean;
            self.add(of, ALL_CORRECT, Better::Higher, mean, samples).is_quality = true;
        }
    }

    fn seen(&mut self, of: &str, seen: &Scores) {
        let parts = [
            ("colour, %", seen.colour),
            ("shape, %", seen.shape),
            ("direction, %", seen.direction),
            ("speed, %", seen.speed),
        ];
        parts.into_iter().for_each(|(name, part)| self.percent(of, name, part));
    }
}
