//! Clips of black and white pixels that a known process draws, so that of each is known how many bits it holds: no model can need
//! fewer on average, and an estimator that says so is wrong.

use crate::dataset::{Dataset, Part, Sample};
use musiva_core::dataset::{DataReport, PixelRange};
use musiva_core::{Clip, ConfigError, DatasetConfig, MediaShape, Modality, Rate, Result, RngKey, RngStream, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::any::Any;
use std::sync::Arc;

/// The number that every sample tells: its negative log-likelihood in bits.
pub const BITS: &str = "bits";

/// How pixels depend on each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Process {
    /// Not at all: each is white with the probability `flip`.
    Independent,
    /// A Markov field: each is that of the frame before, in the first frame that on its left or above, and other with the
    /// probability `flip`.
    Chain,
    /// One of some patterns of all pixels, of which each pixel is other with the probability `flip`.
    Mixture,
}

/// What a recipe says of `kind = "entropy"`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct EntropyConfig {
    /// How pixels depend on each other.
    pub process: Process,
    /// Probability that a pixel is other than what it depends on.
    #[schemars(range(min = 0.0001, max = 0.5))]
    pub flip: f64,
    /// Patterns of a mixture.
    #[schemars(range(min = 1, max = 1024))]
    pub patterns: usize,
    /// Whether a caption says which pattern it is: the bits are then those given the caption.
    pub captions: bool,
    /// Frames of a clip.
    #[schemars(range(min = 1, max = 256))]
    pub frames: usize,
    /// Height and width of a clip.
    pub size: [usize; 2],
    /// Frames a second.
    #[schemars(range(min = 1, max = 240))]
    pub fps: u32,
    /// Seed of patterns and samples.
    pub seed: u64,
}

impl Default for EntropyConfig {
    fn default() -> Self {
        Self {
            process: Process::Chain,
            flip: 0.1,
            patterns: 8,
            captions: false,
            frames: 4,
            size: [8, 8],
            fps: 8,
            seed: 0,
        }
    }
}

impl EntropyConfig {
    fn pixels(&self) -> usize {
        self.frames * self.size[0] * self.size[1]
    }

    /// The mean of the bits of a clip; `None` of a mixture without captions, which has no closed form.
    pub fn entropy(&self) -> Option<f64> {
        let (n, q) = (self.pixels() as f64, self.flip);
        let each = -q * q.log2() - (1.0 - q) * (1.0 - q).log2();
        match self.process {
            Process::Independent => Some(n * each),
            Process::Chain => Some(1.0 + (n - 1.0) * each),
            Process::Mixture => self.captions.then_some(n * each),
        }
    }

    /// The pattern of a mixture of this number.
    fn pattern(&self, number: usize) -> Vec<bool> {
        let mut stream = RngKey::new(self.seed).step(u64::MAX).sample(number as u64).stream(RngStream::Data);
        (0..self.pixels()).map(|_| stream.chance(0.5)).collect()
    }

    /// What pixel `i` depends on in a chain.
    fn parent(&self, i: usize) -> Option<usize> {
        let [height, width] = self.size;
        let area = height * width;
        match (i / area, i % area / width, i % width) {
            (0, 0, 0) => None,
            (0, _, 0) => Some(i - width),
            (0, ..) => Some(i - 1),
            _ => Some(i - area),
        }
    }

    /// Negative log-likelihood in bits of `flipped` pixels that are other than what they depend on, and `kept` that are not.
    fn bits_of(&self, flipped: usize, kept: usize) -> f64 {
        -(flipped as f64 * self.flip.log2() + kept as f64 * (1.0 - self.flip).log2())
    }

    /// The negative log-likelihood of pixels in bits, given the number of their pattern where captions say it.
    fn bits(&self, pixels: &[bool], pattern: usize) -> f64 {
        let n = pixels.len();
        let apart = |pattern: &[bool]| pattern.iter().zip(pixels).filter(|(a, b)| a != b).count();
        match self.process {
            Process::Independent => {
                let white = pixels.iter().filter(|&&white| white).count();
                self.bits_of(white, n - white)
            }
            Process::Chain => {
                let other = |i: &usize| self.parent(*i).is_some_and(|parent| pixels[parent] != pixels[*i]);
                let flipped = (0..n).filter(other).count();
                1.0 + self.bits_of(flipped, n - 1 - flipped)
            }
            Process::Mixture if self.captions => {
                let flipped = apart(&self.pattern(pattern));
                self.bits_of(flipped, n - flipped)
            }
            Process::Mixture => {
                let each: Vec<f64> = (0..self.patterns)
                    .map(|number| {
                        let flipped = apart(&self.pattern(number));
                        self.bits_of(flipped, n - flipped)
                    })
                    .collect();
                let least = each.iter().copied().fold(f64::INFINITY, f64::min);
                let sum: f64 = each.iter().map(|bits| (least - bits).exp2()).sum();
                least - (sum / self.patterns as f64).log2()
            }
        }
    }

    /// Pixels, and the number of their pattern.
    fn draw(&self, stream: &mut Stream) -> (Vec<bool>, usize) {
        let flip = self.flip as f32;
        let pattern = if self.process == Process::Mixture { stream.below(self.patterns) } else { 0 };
        let mut pixels = match self.process {
            Process::Mixture => self.pattern(pattern),
            _ => vec![false; self.pixels()],
        };
        for i in 0..pixels.len() {
            pixels[i] = match (self.process, self.parent(i)) {
                (Process::Chain, None) => stream.chance(0.5),
                (Process::Chain, Some(parent)) => pixels[parent] ^ stream.chance(flip),
                _ => pixels[i] ^ stream.chance(flip),
            };
        }
        (pixels, pattern)
    }
}

/// Clips of a part of such data.
struct Entropy {
    config: EntropyConfig,
    part: Part,
}

impl Dataset for Entropy {
    fn len(&self) -> Option<u64> {
        None
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let config = &self.config;
        let part = if self.part == Part::Train { 0 } else { 1 };
        let mut stream = RngKey::new(config.seed).step(part).sample(index).stream(RngStream::Data);
        let (pixels, pattern) = config.draw(&mut stream);
        let bits = config.bits(&pixels, pattern);
        let rgb = pixels.into_iter().flat_map(|white| [if white { 255 } else { 0 }; 3]).collect();
        let [height, width] = config.size;
        let clip = Clip::new([config.frames, height, width], Rate::whole(config.fps), rgb)?;
        let says = config.captions && config.process == Process::Mixture;
        Ok(Sample {
            clip: Some(clip),
            caption: if says { format!("pattern {pattern}") } else { String::new() },
            numbers: [(BITS.to_owned(), bits)].into(),
            id: format!("sample {index}"),
            ..Sample::default()
        })
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        self.config.shape(modality)
    }

    fn report(&self) -> DataReport {
        let clips = (0..4).filter_map(|index| self.get(index).ok()?.clip);
        let pixels = Some(PixelRange::of(clips));
        DataReport { clips: None, windows: None, dropped: Vec::new(), pixels, loudness: None }
    }
}

impl DatasetConfig for EntropyConfig {
    fn errors(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if !(1e-4..=0.5).contains(&self.flip) {
            let message = format!("{} is no probability of something that happens now and then", self.flip);
            errors.push(ConfigError::new("flip", message, "set a number from 0.0001 to 0.5"));
        }
        if self.size.contains(&0) || self.size[0].saturating_mul(self.size[1]).saturating_mul(self.frames) > 1 << 20 {
            let message = format!("{} × {:?} pixels are none, or more than a million", self.frames, self.size);
            errors.push(ConfigError::new("size", message, "set `size = [8, 8]`"));
        }
        if self.captions && self.process != Process::Mixture {
            let message = "captions say which pattern of a mixture it is, and there are no patterns";
            errors.push(ConfigError::new("captions", message, "set `process = \"mixture\"`, or delete `captions`"));
        }
        errors
    }

    fn shape(&self, modality: Modality) -> Option<MediaShape> {
        let [height, width] = self.size;
        match modality {
            Modality::Video => {
                Some(MediaShape::Clip { frames: self.frames, height, width, rate: Rate::whole(self.fps.max(1)) })
            }
            Modality::Audio => None,
            Modality::Text => Some(MediaShape::Text),
        }
    }

    fn numbers(&self) -> &'static [&'static str] {
        &[BITS]
    }

    fn open(&self, part: Part) -> Result<Arc<dyn Dataset>> {
        Ok(Arc::new(Entropy { config: self.clone(), part }))
    }

    fn as_any(&self) -> &dyn Any {
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Process; 3] = [Process::Independent, Process::Chain, Process::Mixture];

    fn config(process: Process) -> EntropyConfig {
        EntropyConfig { process, flip: 0.2, patterns: 3, frames: 2, size: [2, 3], ..EntropyConfig::default() }
    }

    #[test]
    fn all_clips_together_have_the_probability_one() {
        for (process, captions) in ALL.map(|process| (process, false)).into_iter().chain([(Process::Mixture, true)]) {
            let config = EntropyConfig { captions, ..config(process) };
            for pattern in 0..if captions { 3 } else { 1 } {
                let pixels = |clip: u32| (0..12).map(|i| clip >> i & 1 == 1).collect::<Vec<bool>>();
                let total: f64 = (0..1 << 12).map(|clip| (-config.bits(&pixels(clip), pattern)).exp2()).sum();
                assert!((total - 1.0).abs() < 1e-9, "{process:?}, {captions}: {total}");
            }
        }
    }

    #[test]
    fn clips_are_as_frequent_as_their_bits_say() {
        for process in ALL {
            // Of four pixels: sixteen clips.
            let config = EntropyConfig { frames: 1, size: [2, 2], ..config(process) };
            let data = config.open(Part::Train).unwrap();
            let n = 20_000;
            let mut counts = [0.0f64; 16];
            for index in 0..n {
                let clip = data.get(index).unwrap().clip.unwrap();
                let code = (0..4).map(|i| usize::from(clip.pixels()[3 * i] == 255) << i).sum::<usize>();
                counts[code] += 1.0;
            }
            let wanted = |code: usize| {
                let pixels: Vec<bool> = (0..4).map(|i| code >> i & 1 == 1).collect();
                n as f64 * (-config.bits(&pixels, 0)).exp2()
            };
            let chi2: f64 = (0..16).map(|code| (counts[code] - wanted(code)).powi(2) / wanted(code)).sum();
            // 15 degrees of freedom: above 37.7 once in a thousand.
            assert!(chi2 < 37.7, "{process:?}: {chi2}");
        }
    }

    #[test]
    fn the_mean_of_the_bits_is_the_entropy_and_held_out_clips_are_others() {
        for (process, captions) in [(Process::Independent, false), (Process::Chain, false), (Process::Mixture, true)] {
            let config = EntropyConfig { captions, ..config(process) };
            let [train, held_out] = [Part::Train, Part::HeldOut].map(|part| config.open(part).unwrap());
            let n = 4000;
            let bits: Vec<f64> = (0..n).map(|i| held_out.get(i).unwrap().number(BITS).unwrap()).collect();
            let mean = bits.iter().sum::<f64>() / n as f64;
            let squares: f64 = bits.iter().map(|bits| (bits - mean).powi(2)).sum();
            let error = (squares / (n * (n - 1)) as f64).sqrt();
            let entropy = config.entropy().unwrap();
            assert!((mean - entropy).abs() < 4.0 * error, "{process:?}: {mean} ± {error}, not {entropy}");
            assert!((0..8).any(|i| train.get(i).unwrap() != held_out.get(i).unwrap()));
            assert_eq!(train.get(3).unwrap(), train.get(3).unwrap());
        }
    }
}
