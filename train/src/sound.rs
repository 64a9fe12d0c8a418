//! Training an audio tokenizer.

use crate::ahead::Ahead;
use crate::doctor::Vitals;
use crate::measure::si_snr;
use crate::tokenizer::{Made, trainable};
use crate::trainer::{Look, Trainee, learning_on};
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::recipe::TrainSettings;
use musiva_core::{
    Draw, Error, ErrorKind, Loss, Media, Parameters, Purpose, Result, Sound, Source, Stream, Tokenizer,
    TokenizerConfig, Weights,
};
use musiva_data::{Dataset, shuffled};
use musiva_media::spectrogram;
use musiva_tokenizers::losses::{MelScales, SoundLossWeights, sound_loss};
use musiva_tokenizers::quantizers::CodeUse;
use std::sync::Arc;

/// Sounds heard and measured at each look.
const HEARD: u64 = 8;
/// How probably a window is drawn round something that is heard; sounds may be mostly silent.
const LOUD: f32 = 0.75;
const SECTION: &str = "tokenizer.audio";

/// An audio tokenizer in training.
pub struct SoundTrainee<'a> {
    settings: TrainSettings,
    config: &'a dyn TokenizerConfig,
    tokenizer: Box<dyn Tokenizer>,
    batches: Ahead<Windows>,
    last: Option<Made>,
    mel: MelScales,
    heard: Vec<Sound>,
    device: Device,
}

impl<'a> SoundTrainee<'a> {
    /// Starts from `source` on an autodiff device; `held_out` are sounds that training never hears.
    ///
    /// # Errors
    /// Where the tokenizer is not trainable, or its windows are shorter than the shortest spectrogram's.
    pub fn new(
        settings: &TrainSettings,
        config: &'a dyn TokenizerConfig,
        source: &Source,
        data: Arc<dyn Dataset>,
        held_out: &dyn Dataset,
        device: &Device,
    ) -> Result<Self> {
        let device = learning_on(device, settings);
        let mut tokenizer = config.build(&device, source)?;
        if tokenizer.trainable().is_none() {
            return Err(Error::new(ErrorKind::Unsupported, SECTION, "this tokenizer cannot be trained here"));
        }
        let heard: Vec<Sound> = (0..held_out.len().unwrap_or(HEARD).min(HEARD))
            .map(|i| held_out.get(i)?.into_sound())
            .collect::<Result<_>>()?;
        let first = heard.first().ok_or_else(|| Error::new(ErrorKind::Data, "data", "there are no sounds"))?;
        let hop = config.spec().strides[0];
        let window = settings.samples.unwrap_or(first.length()).next_multiple_of(hop);
        if window < MelScales::SHORTEST {
            let message = format!("windows of {window} samples are shorter than any spectrogram's");
            return Err(Error::new(ErrorKind::Recipe, "train.samples", message)
                .mend(format!("set `train.samples = {}` or more", MelScales::SHORTEST)));
        }
        let mel = MelScales::new(first.rate(), window, &device);
        let its = settings.clone();
        let batches = Ahead::new(move |part| windows(&its, &*data, hop, part));
        Ok(Self { settings: settings.clone(), config, tokenizer, batches, last: None, mel, heard, device })
    }
}

/// Windows of sounds one after the other, and how many.
type Windows = (Vec<f32>, usize);

/// Windows of the sounds of `part` of the run; silence fills the last token of each.
fn windows(settings: &TrainSettings, data: &dyn Dataset, hop: usize, part: u64) -> Result<Windows> {
    let (mut values, mut count) = (Vec::new(), 0);
    for index in settings.samples(part) {
        let sound = data.get(shuffled(index, data.len(), settings.seed))?.into_sound()?;
        let window = settings.samples.unwrap_or(sound.length()).min(sound.length());
        let mut stream = Draw::new(settings.seed).sample(index).stream(Purpose::Data);
        let start = start(&sound, window, &mut stream);
        values.extend_from_slice(&sound.samples()[start..start + window]);
        count += 1;
        values.resize(count * window.next_multiple_of(hop), 0.0);
    }
    Ok((values, count))
}

/// Where a window of a sound starts: anywhere, or such that it holds a moment drawn by its energy.
fn start(sound: &Sound, window: usize, stream: &mut Stream) -> usize {
    let places = sound.length() - window + 1;
    let energy: f64 = sound.samples().iter().map(|&x| f64::from(x).powi(2)).sum();
    if energy == 0.0 || !stream.chance(LOUD) {
        return stream.below(places);
    }
    let mut rest = f64::from(stream.uniform()) * energy;
    let passed = |x: &f32| {
        rest -= f64::from(*x).powi(2);
        rest <= 0.0
    };
    let moment = sound.samples().iter().position(passed).unwrap_or(sound.length() - 1);
    (moment.saturating_sub(stream.below(window))).min(places - 1)
}

impl Trainee for SoundTrainee<'_> {
    fn loss(&mut self, step: u64, part: usize) -> Result<Loss> {
        let (values, count) = self.batches.get(self.settings.part(step, part))?;
        let shape = [count, values.len() / count, 1, 1, 1];
        let sounds = Tensor::<5>::from_data(TensorData::new(values, shape), &self.device);
        let settings = self.settings.sound_loss;
        let weights = SoundLossWeights {
            wave: settings.wave as f32,
            mel: settings.mel as f32,
            commitment: settings.commitment as f32,
        };
        let draw = Draw::new(self.settings.seed).step(step);
        let quantize = step >= settings.unquantized as u64;
        let tokenizer = trainable(&mut self.tokenizer);
        let made = tokenizer.reconstruct(sounds.clone(), quantize, draw);
        // A frozen encoder's latents stay, so what stands for them stays too.
        if quantize && ["encoder", "quantizer"].iter().all(|part| self.settings.trains(part)) {
            tokenizer.follow(&made.quantized, draw);
        }
        self.last = Some(Made::of(&made, &sounds));
        Ok(sound_loss(sounds, made, &self.mel, &weights))
    }

    fn vitals(&mut self) -> Option<Vitals> {
        Some(self.last.take()?.vitals(self.tokenizer.spec().kind))
    }

    fn parameters(&self) -> &dyn Parameters {
        self.tokenizer.learned().expect("checked when it was made")
    }

    fn parameters_mut(&mut self) -> &mut dyn Parameters {
        trainable(&mut self.tokenizer).parameters_mut()
    }

    fn sample(&mut self, average: &Weights, _: u64) -> Result<Look> {
        let mut tokenizer = self.config.build(&self.device.clone().inner(), &Source::Seed(0))?;
        trainable(&mut tokenizer).parameters_mut().load(average, "the averaged weights")?;
        let mut look = Look::default();
        let (mut quality, mut all) = (0.0, Vec::new());
        for heard in &self.heard {
            let tokens = tokenizer.encode(&Media::Sound(heard.clone()))?;
            let made = tokenizer.decode(&tokens)?.sound(SECTION)?;
            let made = made.with_rate(heard.rate()).with_length(heard.length());
            quality += si_snr(heard, &made)? / self.heard.len() as f64;
            all.push(tokens);
            look.clips.extend([spectrogram(heard)?, spectrogram(&made)?]);
            look.sounds.extend([heard.clone(), made]);
        }
        look.measures.push(("si_snr".to_owned(), quality));
        if let Some((used, codes)) = CodeUse::in_use(&all) {
            look.measures.extend([("codes_in_use".to_owned(), used as f64), ("codes".to_owned(), codes as f64)]);
        }
        Ok(look)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Rate;

    #[test]
    fn windows_are_drawn_where_something_is_heard() {
        let mut samples = vec![0.0; 10_000];
        samples[7000..7100].fill(0.5);
        let loud = Sound::new(1, Rate::whole(8000), samples).unwrap();
        let holds = |i: u64| {
            let start = start(&loud, 500, &mut Draw::new(1).sample(i).stream(Purpose::Data));
            assert!(start <= 9500);
            start < 7100 && start + 500 > 7000
        };
        let held = (0..1000).filter(|&i| holds(i)).count();
        // Three quarters, and 6 % of the rest by chance.
        assert!((720..=810).contains(&held), "{held}");
        let silent = Sound::new(1, Rate::whole(8000), vec![0.0; 600]).unwrap();
        let starts = |i: u64| start(&silent, 500, &mut Draw::new(1).sample(i).stream(Purpose::Data));
        assert!((0..100).map(starts).any(|at| at > 50) && (0..100).map(starts).all(|at| at <= 100));
    }
}
