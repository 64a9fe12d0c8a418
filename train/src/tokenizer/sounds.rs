//! Sounds in training.

use super::Medium;
use crate::measure::si_snr;
use crate::trainer::Look;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::recipe::{SoundLoss, TrainSettings};
use musiva_core::{
    Draw, Error, ErrorKind, Loss, Media, Modality, Purpose, Quantized, Result, Sound, Stream, Tokenizer,
    TokenizerConfig, Tokens,
};
use musiva_data::{Dataset, shuffled};
use musiva_media::spectrogram;
use musiva_tokenizers::losses::{MelScales, SoundLossWeights, sound_distortion, sound_latent_loss};

/// Sounds heard and measured at each look.
const HEARD: u64 = 8;
/// How probably a window is drawn round something that is heard; sounds may be mostly silent.
const LOUD: f32 = 0.75;

/// The losses of sounds, and those that are listened to.
pub struct Sounds {
    settings: SoundLoss,
    mel: MelScales,
    heard: Vec<Sound>,
    device: Device,
}

impl Medium for Sounds {
    type Cut = Windows;
    type Target = Tensor<5>;
    const MODALITY: Modality = Modality::Audio;

    fn new(
        settings: &TrainSettings,
        config: &dyn TokenizerConfig,
        held_out: &dyn Dataset,
        device: &Device,
    ) -> Result<Self> {
        let heard = (0..held_out.len().unwrap_or(HEARD).min(HEARD)).map(|i| held_out.get(i)?.into_sound());
        let heard: Vec<Sound> = heard.collect::<Result<_>>()?;
        let first = heard.first().ok_or_else(|| Error::new(ErrorKind::Data, "data", "there are no sounds"))?;
        let window = settings.samples.unwrap_or(first.length()).next_multiple_of(config.spec().strides[0]);
        let spectrum = settings.adversarial.as_ref().map_or(0, |adversarial| adversarial.window);
        for (shortest, whose) in [(MelScales::SHORTEST, "any spectrogram's"), (spectrum, "the discriminator's")] {
            if window < shortest {
                let message = format!("windows of {window} samples are shorter than {whose}");
                return Err(Error::new(ErrorKind::Recipe, "train.samples", message)
                    .mend(format!("set `train.samples = {shortest}` or more")));
            }
        }
        let mel = MelScales::new(first.rate(), window, device);
        Ok(Self { settings: settings.sound_loss, mel, heard, device: device.clone() })
    }

    fn cut(settings: &TrainSettings, strides: [usize; 3], data: &dyn Dataset, part: u64) -> Result<Windows> {
        windows(settings, data, strides[0], part)
    }

    fn target(&self, (values, count): Windows) -> Tensor<5> {
        let shape = [count, values.len() / count, 1, 1, 1];
        Tensor::from_data(TensorData::new(values, shape), &self.device)
    }

    fn media(target: &Tensor<5>) -> Tensor<5> {
        target.clone()
    }

    fn quantizes(&self, step: u64) -> bool {
        step >= self.settings.unquantized as u64
    }

    fn distortion(&self, target: &Tensor<5>, made: Tensor<5>, _: u64) -> Loss {
        sound_distortion(target.clone(), made, &self.mel, &self.weights())
    }

    fn latent_loss(&self, _: &Tensor<5>, made: Quantized, _: u64) -> Option<Loss> {
        sound_latent_loss(made, &self.weights())
    }

    fn look(&self, tokenizer: &dyn Tokenizer) -> Result<(Look, Vec<Tokens>)> {
        let (mut look, mut quality, mut all) = (Look::default(), 0.0, Vec::new());
        for heard in &self.heard {
            let tokens = tokenizer.encode(&Media::Sound(heard.clone()))?;
            let made = tokenizer.decode(&tokens)?.sound(Self::MODALITY.section())?;
            let made = made.with_rate(heard.rate()).with_length(heard.length());
            quality += si_snr(heard, &made)? / self.heard.len() as f64;
            all.push(tokens);
            look.clips.extend([spectrogram(heard)?, spectrogram(&made)?]);
            look.sounds.extend([heard.clone(), made]);
        }
        look.measures.push(("si_snr".to_owned(), quality));
        Ok((look, all))
    }
}

impl Sounds {
    fn weights(&self) -> SoundLossWeights {
        SoundLossWeights {
            wave: self.settings.wave as f32,
            noise: self.settings.noise as f32,
            mel: self.settings.mel as f32,
            commitment: self.settings.commitment as f32,
        }
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
        let gain = match settings.gain {
            1.0 => 1.0,
            least => least as f32 + (1.0 - least as f32) * stream.uniform(),
        };
        values.extend(sound.samples()[start..start + window].iter().map(|sample| sample * gain));
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
