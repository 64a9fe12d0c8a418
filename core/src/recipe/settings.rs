//! The sections that are no components: `[train]` and `[evaluate]`.

use super::TrainTables;
use crate::{ConfigError, WeightInit};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Which part learns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Target {
    /// The video tokenizer, to reconstruct the dataset's clips.
    #[serde(rename = "tokenizer.video")]
    Video,
    /// The audio tokenizer, to reconstruct the dataset's sounds.
    #[serde(rename = "tokenizer.audio")]
    Audio,
    /// The text tokenizer's vocabulary, from the dataset's captions.
    #[serde(rename = "tokenizer.text")]
    Text,
    /// The backbone, on the tokens of the tokenizers.
    #[serde(rename = "backbone")]
    Backbone,
}

impl Target {
    /// All parts that can learn.
    pub const ALL: [Self; 4] = [Self::Video, Self::Audio, Self::Text, Self::Backbone];

    /// The parts that must have learnt before this one can.
    pub fn needs(self) -> &'static [Self] {
        match self {
            Self::Video | Self::Audio | Self::Text => &[],
            Self::Backbone => &[Self::Video, Self::Audio, Self::Text],
        }
    }

    /// The part of this section, where it is one that learns.
    pub fn of_section(section: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|target| target.section() == section)
    }

    /// The section of the recipe that learns.
    pub fn section(self) -> &'static str {
        match self {
            Self::Video => "tokenizer.video",
            Self::Audio => "tokenizer.audio",
            Self::Text => "tokenizer.text",
            Self::Backbone => "backbone",
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.section())
    }
}

/// Schedule of the learning rate after the warm-up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Schedule {
    /// Down along half a cosine to `final_rate` of it at the last step.
    Cosine,
    /// It stays.
    Constant,
}

/// What to do where a tokenizer in training shows a known disease: collapse, dead codes, high-entropy codes, values out of
/// range, one colour or silence, a discriminator that wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum OnFailure {
    /// Print its name and a remedy, and continue.
    Warn,
    /// Print it, save and stop.
    Stop,
}

/// How the recipe is trained: `[train]`.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TrainSettings {
    /// Which part learns; the others are frozen.
    pub target: Target,
    /// Optimizer steps.
    #[schemars(range(min = 1))]
    pub steps: usize,
    /// Samples of a step.
    #[schemars(range(min = 1, max = 65536))]
    pub batch: usize,
    /// Equal parts of a step's batch that are computed one after the other, their gradients added: less memory, a
    /// little slower. It divides the batch.
    #[schemars(range(min = 1, max = 65536))]
    pub accumulate: usize,
    /// Norms, activations and other cheap operations are computed again in the backward pass instead of kept from the
    /// forward pass: less memory, a little slower, the same weights to the bit.
    pub gradient_checkpointing: bool,
    /// Learning rate after the warm-up.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1.0))]
    pub learning_rate: f64,
    /// Steps in which the learning rate rises from zero; left out, a tenth of all steps, 200 at most.
    pub warmup: usize,
    /// Schedule of the learning rate after the warm-up.
    pub schedule: Schedule,
    /// What is left of the learning rate at the end of a cosine, as a fraction of it.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub final_rate: f64,
    /// Learning rate of Muon for the matrices of a Transformer's blocks, all else is AdamW's; left out, AdamW trains
    /// them too. Warm-up and schedule are the same.
    #[schemars(extend("exclusiveMinimum" = 0.0, "maximum" = 1.0))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub muon: Option<f64>,
    /// Decoupled weight decay.
    #[schemars(range(min = 0.0, max = 10.0))]
    pub weight_decay: f64,
    /// Decay of Adam's first and second moments.
    #[schemars(inner(range(min = 0.0, max = 0.999999)))]
    pub betas: [f64; 2],
    /// What Adam adds to its denominator.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub epsilon: f64,
    /// Largest norm of all gradients together; longer ones are scaled down to it.
    #[schemars(extend("exclusiveMinimum" = 0.0))]
    pub clip: f64,
    /// Decay of the EMA of the weights, which is what training writes; 0: none.
    #[schemars(extend("minimum" = 0.0, "exclusiveMaximum" = 1.0))]
    pub ema: f64,
    /// Seed of initial weights, order, noise and all else that is drawn.
    pub seed: u64,
    /// How many clips of an endless dataset make an epoch; a backbone's are tokenized ahead.
    #[schemars(range(min = 1))]
    pub clips: usize,
    /// A folder of shards that `musiva tokenize --dataset` filled by the recipe's tokenizers: a backbone trains on its
    /// tokens; left out, what it trains on is tokenized first.
    #[schemars(extend("format" = "path"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tokens: Option<PathBuf>,
    /// Train a video tokenizer on random windows of so many frames; absent: on whole clips.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frames: Option<usize>,
    /// Train an audio tokenizer on random windows of so many samples; absent: on whole sounds.
    #[schemars(range(min = 1))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub samples: Option<usize>,
    /// Gain augmentation of an audio tokenizer: each window is multiplied by a number drawn between this and 1, so that
    /// it learns sounds at any loudness; 1: none is.
    #[schemars(range(min = 0.001, max = 1.0))]
    pub gain: f64,
    /// Speed augmentation of an audio tokenizer: each sound is played faster by a factor drawn log-uniformly between 1
    /// / (1 + speed) and 1 + speed, so that pitch and formants move together and few speakers become many (Ko et al.
    /// 2015, "Audio augmentation for speech recognition"); 0: all at their own.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub speed: f64,
    /// Probability that an audio tokenizer's sound is mixed with another one of the data, in shares drawn at random
    /// that add up to 1; 0: none is.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub mix: f64,
    /// The share of a video tokenizer's batches, or of their parts where `accumulate` is more than 1, that are single
    /// frames of clips.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub images: f64,
    /// Weights to start from; left out, training starts from random ones.
    #[schemars(extend("format" = "path"))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub start: Option<PathBuf>,
    /// `start` names the weights of a tokenizer of single frames, with the same settings but for kernels of one frame
    /// and no stride over time: they are put where the last frame of the kernels is seen, so that training starts from
    /// a tokenizer that treats each frame as that one did.
    pub inflate: bool,
    /// `start` names the weights of a backbone of a smaller canvas, of clips without sound or without context tokens,
    /// or of an audio tokenizer without a denoise flag: missing parameters are initialised.
    pub grow: bool,
    /// Frozen parameters, by how their names begin: `["encoder"]` trains a tokenizer's decoder alone, so that its
    /// tokens stay the same.
    pub freeze: Vec<String>,
    /// What to do when the health monitor finds a failure mode of a tokenizer.
    pub on_failure: OnFailure,
    /// Steps between two lines of the log.
    #[schemars(range(min = 1))]
    pub log_every: usize,
    /// Steps between two checkpoints.
    #[schemars(range(min = 1))]
    pub checkpoint_every: usize,
    /// Steps between two sheets of samples; 0: none.
    pub sample_every: usize,
    /// How many old checkpoints are kept.
    #[schemars(range(min = 1))]
    pub keep: usize,
    /// The tables that other crates bring: losses, discriminators, …
    #[serde(skip)]
    pub tables: TrainTables,
}

impl Default for TrainSettings {
    fn default() -> Self {
        Self {
            target: Target::Backbone,
            steps: 10_000,
            batch: 16,
            accumulate: 1,
            gradient_checkpointing: false,
            learning_rate: 3e-4,
            warmup: Self::warmup_of(10_000),
            schedule: Schedule::Cosine,
            final_rate: 0.05,
            muon: None,
            weight_decay: 0.01,
            betas: [0.9, 0.99],
            epsilon: 1e-8,
            clip: 1.0,
            ema: 0.999,
            seed: 0,
            clips: 8192,
            tokens: None,
            frames: None,
            samples: None,
            gain: 1.0,
            speed: 0.0,
            mix: 0.0,
            images: 0.0,
            start: None,
            inflate: false,
            grow: false,
            freeze: Vec::new(),
            on_failure: OnFailure::Warn,
            log_every: 20,
            checkpoint_every: 500,
            sample_every: 1000,
            keep: 2,
            tables: TrainTables::default(),
        }
    }
}

impl TrainSettings {
    /// The default warm-up of a run with this number of steps.
    pub fn warmup_of(steps: usize) -> usize {
        (steps / 10).min(200)
    }

    /// Where training starts from.
    pub fn weight_init(&self) -> WeightInit {
        self.start.clone().map_or(WeightInit::Seed(self.seed), WeightInit::File)
    }

    /// Whether the parameter `name` is trained.
    pub fn trains(&self, name: &str) -> bool {
        !self.freeze.iter().any(|start| name.starts_with(start.as_str()))
    }

    /// Which part of the run `part` of the batch of `step` is, all counted from zero.
    pub fn part(&self, step: u64, part: usize) -> u64 {
        step * self.accumulate as u64 + part as u64
    }

    /// Which samples of the run make such a [`part`](Self::part) of it.
    pub fn samples(&self, part: u64) -> std::ops::Range<u64> {
        let size = (self.batch / self.accumulate) as u64;
        part * size..(part + 1) * size
    }

    /// What is wrong with it beyond what its schema says.
    pub fn errors(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if self.frames.is_some() && self.target != Target::Video {
            let message = format!("windows of frames are for a video tokenizer, the target is \"{}\"", self.target);
            errors.push(ConfigError::new("frames", message, "delete this key"));
        }
        if self.samples.is_some() && self.target != Target::Audio {
            let message = format!("windows of samples are for an audio tokenizer, the target is \"{}\"", self.target);
            errors.push(ConfigError::new("samples", message, "delete this key"));
        }
        if self.gain != 1.0 && self.target != Target::Audio {
            let message = format!("loudness is of an audio tokenizer's sounds, the target is \"{}\"", self.target);
            errors.push(ConfigError::new("gain", message, "delete this key"));
        }
        for (key, value) in [("speed", self.speed), ("mix", self.mix)] {
            if value != 0.0 && self.target != Target::Audio {
                let message = format!("sounds are an audio tokenizer's, the target is \"{}\"", self.target);
                errors.push(ConfigError::new(key, message, "delete this key"));
            }
        }
        if self.tokens.is_some() && self.target != Target::Backbone {
            let message = format!("tokens are for a backbone, the target is \"{}\"", self.target);
            errors.push(ConfigError::new("tokens", message, "delete this key"));
        }
        if self.accumulate == 0 || !self.batch.is_multiple_of(self.accumulate) {
            let message = format!("a batch of {} does not fall into {} equal parts", self.batch, self.accumulate);
            let fitting = (1..=self.accumulate).rev().find(|&parts| self.batch.is_multiple_of(parts)).unwrap_or(1);
            errors.push(ConfigError::new("accumulate", message, format!("set `accumulate = {fitting}`")));
        }
        if self.images > 0.0 && self.target != Target::Video {
            let message = format!("single frames are for a video tokenizer, the target is \"{}\"", self.target);
            errors.push(ConfigError::new("images", message, "delete this key"));
        }
        if self.inflate && (self.start.is_none() || self.target != Target::Video) {
            let message = "only weights that a video tokenizer starts from can be inflated";
            errors.push(ConfigError::new("inflate", message, "name them by `start`, or delete this key"));
        }
        if self.grow && (self.start.is_none() || !matches!(self.target, Target::Backbone | Target::Audio)) {
            let message = "only weights that a backbone or an audio tokenizer starts from can be added to";
            errors.push(ConfigError::new("grow", message, "name them by `start`, or delete this key"));
        }
        errors.extend(self.tables.errors(self));
        errors
    }

    /// Whether part `part` of the run is of single frames: these lie evenly among the others.
    pub fn of_images(&self, part: u64) -> bool {
        let so_far = |parts: u64| (self.images * parts as f64 + 1e-9).floor();
        so_far(part + 1) > so_far(part)
    }

    /// The learning rate of step `step`, counted from zero.
    pub fn rate(&self, step: usize) -> f64 {
        if step < self.warmup {
            return self.learning_rate * (step + 1) as f64 / self.warmup as f64;
        }
        match self.schedule {
            Schedule::Constant => self.learning_rate,
            Schedule::Cosine => {
                let rest = (self.steps - self.warmup.min(self.steps)).max(1);
                let done = ((step - self.warmup) as f64 / rest as f64).min(1.0);
                let wave = 0.5 * (1.0 + (std::f64::consts::PI * done).cos());
                self.learning_rate * (self.final_rate + (1.0 - self.final_rate) * wave)
            }
        }
    }
}

/// How the recipe is measured: `[evaluate]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EvaluateSettings {
    /// How many clips are generated, or reconstructed.
    #[schemars(range(min = 1))]
    pub prompts: usize,
    /// Seed of the prompts and of the noise.
    pub seed: u64,
    /// How many at a time.
    #[schemars(range(min = 1, max = 65536))]
    pub batch: usize,
    /// Whether a small classifier, trained on the training sounds, reads the captions of held-out sounds and of their
    /// reconstructions: for sounds that have one of a few captions, such as spoken words.
    pub read_captions: bool,
}

impl Default for EvaluateSettings {
    fn default() -> Self {
        Self { prompts: 256, seed: 0, batch: 16, read_captions: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_rises_stays_or_falls_to_its_end() {
        let cosine = TrainSettings { steps: 107, warmup: 7, learning_rate: 1.0, ..TrainSettings::default() };
        assert!((cosine.rate(0) - 1.0 / 7.0).abs() < 1e-12 && (cosine.rate(6) - 1.0).abs() < 1e-12);
        assert!((cosine.rate(57) - (0.05 + 0.95 / 2.0)).abs() < 1e-12);
        assert!((cosine.rate(107) - 0.05).abs() < 1e-12 && (cosine.rate(1000) - 0.05).abs() < 1e-12);
        assert!((7..106).all(|step| cosine.rate(step) > cosine.rate(step + 1)));
        let constant = TrainSettings { schedule: Schedule::Constant, ..cosine };
        assert_eq!([7, 57, 106].map(|step| constant.rate(step)), [1.0; 3]);
    }

    #[test]
    fn images_lie_evenly_among_clips() {
        let parts = |images, n| {
            let settings = TrainSettings { images, ..TrainSettings::default() };
            (0..n).filter(|&part| settings.of_images(part)).collect::<Vec<u64>>()
        };
        assert_eq!(parts(0.25, 12), [3, 7, 11]);
        assert_eq!((parts(0.0, 9).len(), parts(1.0, 9).len(), parts(0.3, 1000).len()), (0, 9, 300));
    }

    #[test]
    fn single_frames_are_a_video_tokenizers() {
        let told = |target, images| {
            let settings = TrainSettings { target, images, ..TrainSettings::default() };
            settings.errors().into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        assert!(told(Target::Video, 0.5).is_empty() && told(Target::Audio, 0.0).is_empty());
        assert_eq!([told(Target::Audio, 0.5), told(Target::Backbone, 0.5)], [["images"]; 2]);
    }

    #[test]
    fn speeds_and_mixtures_are_of_sounds() {
        let told = |target| {
            let settings = TrainSettings { target, speed: 0.2, mix: 0.5, ..TrainSettings::default() };
            settings.errors().into_iter().map(|error| error.path).collect::<Vec<_>>()
        };
        assert!(told(Target::Audio).is_empty());
        assert_eq!(told(Target::Video), ["speed", "mix"]);
    }
}
