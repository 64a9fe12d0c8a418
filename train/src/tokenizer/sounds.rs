//! Sounds in training.

use super::Medium;
use super::variety::varied;
use crate::denoise::{switched, with_noise};
use crate::measure::si_snr;
use crate::noise::{noisy, power};
use crate::trainer::Samples;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::recipe::TrainSettings;
use musiva_core::{
    Error, ErrorKind, Loss, Media, Modality, Quantized, Reconstruction, Result, RngKey, RngStream, Sound, Stream,
    Tokenizer, TokenizerConfig, Tokens, TrainableTokenizer,
};
use musiva_data::Dataset;
use musiva_media::spectrogram_with_axes;
use musiva_tokenizers::losses::{MelScales, SoundLossWeights, sound_distortion, sound_latent_loss};
use musiva_tokenizers::settings::{Adversarial, Noise, SoundLoss};

/// Sounds heard and measured at each look.
const HEARD: u64 = 8;
/// How probably a window is drawn round something that is heard; sounds may be mostly silent.
const LOUD: f32 = 0.75;

/// The losses of sounds, and those that are listened to.
pub struct Sounds {
    settings: SoundLoss,
    mel: MelScales,
    pub(super) heard: Vec<Sound>,
    /// The same with noise behind them, where it is to be taken out.
    pub(super) noisy: Vec<Sound>,
    device: Device,
}

/// Sounds to be made, on the device.
pub struct Sounding {
    wanted: Tensor<5>,
    /// What they are made of where that is not the same, and the switch of each token, `[B, L]`.
    noisy: Option<(Tensor<5>, Tensor<2>)>,
}

impl Medium for Sounds {
    type Cut = Windows;
    type Target = Sounding;
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
        let spectrum = settings.tables.get::<Adversarial>().map_or(0, |adversarial| adversarial.window);
        for (shortest, whose) in [(MelScales::SHORTEST, "any spectrogram's"), (spectrum, "the discriminator's")] {
            if window < shortest {
                let message = format!("windows of {window} samples are shorter than {whose}");
                return Err(Error::new(ErrorKind::Recipe, "train.samples", message)
                    .hint(format!("set `train.samples = {shortest}` or more")));
            }
        }
        let loss = settings.tables.get::<SoundLoss>().copied().unwrap_or_default();
        let mel = MelScales::new(first.rate(), window, device).with_floor(loss.floor);
        let noisy = match settings.tables.get::<Noise>() {
            Some(noise) => {
                let noise = Noise { clean: 0.0, ..*noise };
                let key = |i| RngKey::new(settings.seed).sample(i);
                (0..).zip(&heard).map(|(i, sound)| with_noise(sound, &noise, key(i))).collect::<Result<_>>()?
            }
            None => Vec::new(),
        };
        Ok(Self { settings: loss, mel, heard, noisy, device: device.clone() })
    }

    fn cut(settings: &TrainSettings, strides: [usize; 3], data: &dyn Dataset, part: u64) -> Result<Windows> {
        windows(settings, data, strides[0], part)
    }

    fn target(&self, Windows { wanted, noisy, count }: Windows) -> Sounding {
        let shape = [count, wanted.len() / count, 1, 1, 1];
        let sounds = |values| Tensor::from_data(TensorData::new(values, shape), &self.device);
        let noisy = noisy.map(|(noisy, denoise_flag)| {
            let tokens = denoise_flag.len() / count;
            (sounds(noisy), Tensor::from_data(TensorData::new(denoise_flag, [count, tokens]), &self.device))
        });
        Sounding { wanted: sounds(wanted), noisy }
    }

    fn media(target: &Sounding) -> Tensor<5> {
        target.wanted.clone()
    }

    fn reconstruct(
        tokenizer: &dyn TrainableTokenizer,
        target: &Sounding,
        quantize: bool,
        key: RngKey,
    ) -> Reconstruction {
        match &target.noisy {
            Some((noisy, denoise_flag)) => {
                tokenizer.reconstruct_denoising(noisy.clone(), denoise_flag.clone(), quantize, key)
            }
            None => tokenizer.reconstruct(target.wanted.clone(), quantize, key),
        }
    }

    fn quantizes(&self, step: u64) -> bool {
        step >= self.settings.unquantized as u64
    }

    fn distortion(&self, target: &Sounding, made: Tensor<5>, _: u64) -> Loss {
        sound_distortion(target.wanted.clone(), made, &self.mel, &self.weights())
    }

    fn latent_loss(&self, _: &Sounding, made: Quantized, _: u64) -> Option<Loss> {
        sound_latent_loss(made, &self.weights())
    }

    fn held_out(&self) -> Vec<Media> {
        self.heard.iter().cloned().map(Media::Sound).collect()
    }

    fn samples(&self, tokenizer: &dyn Tokenizer) -> Result<(Samples, Vec<Tokens>)> {
        let (mut samples, mut quality, mut all) = (Samples::default(), 0.0, Vec::new());
        for heard in &self.heard {
            let tokens = tokenizer.encode(&Media::Sound(heard.clone()))?;
            let made = tokenizer.decode(&tokens)?.sound(Self::MODALITY.section())?;
            let made = made.with_rate(heard.rate()).with_length(heard.length());
            quality += si_snr(heard, &made)? / self.heard.len() as f64;
            all.push(tokens);
            samples.clips.extend([spectrogram_with_axes(heard)?, spectrogram_with_axes(&made)?]);
            samples.sounds.extend([heard.clone(), made]);
        }
        samples.measures.push(("si_snr".to_owned(), quality));
        let (mut before, mut after) = (0.0, 0.0);
        for (heard, noisy) in self.heard.iter().zip(&self.noisy) {
            let Some(made) = switched(tokenizer, noisy, true)? else { return Ok((samples, all)) };
            before += si_snr(heard, noisy)? / self.heard.len() as f64;
            after += si_snr(heard, &made)? / self.heard.len() as f64;
        }
        if !self.noisy.is_empty() {
            samples.measures.extend([("si_snr_noisy".to_owned(), before), ("si_snr_denoised".to_owned(), after)]);
        }
        Ok((samples, all))
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
pub struct Windows {
    wanted: Vec<f32>,
    /// What they are made of, and the switch of each token.
    noisy: Option<(Vec<f32>, Vec<f32>)>,
    count: usize,
}

/// Windows of the sounds of `part` of the run; silence fills the last token of each. With noise behind them every other
/// one is to be made without it.
fn windows(settings: &TrainSettings, data: &dyn Dataset, hop: usize, part: u64) -> Result<Windows> {
    let mut windows =
        Windows { wanted: Vec::new(), noisy: settings.tables.get::<Noise>().map(|_| Default::default()), count: 0 };
    for index in settings.samples(part) {
        let sound = varied(settings, data, index)?;
        let window = settings.samples.unwrap_or(sound.length()).min(sound.length());
        let mut stream = RngKey::new(settings.seed).sample(index).stream(RngStream::Data);
        let start = start(&sound, window, &mut stream);
        let gain = match settings.gain {
            1.0 => 1.0,
            least => least as f32 + (1.0 - least as f32) * stream.uniform(),
        };
        let clean: Vec<f32> = sound.samples()[start..start + window].iter().map(|sample| sample * gain).collect();
        windows.count += 1;
        let filled = windows.count * window.next_multiple_of(hop);
        let mut wanted = clean.clone();
        if let (Some(noise), Some((input, denoise_flag))) = (settings.tables.get::<Noise>(), &mut windows.noisy) {
            let mut stream = RngKey::new(settings.seed).sample(index).stream(RngStream::Background);
            let with_noise = noisy(&clean, power(sound.samples()) * f64::from(gain).powi(2), noise, &mut stream);
            let on = index.is_multiple_of(2);
            if !on {
                wanted.clone_from(&with_noise);
            }
            input.extend(with_noise);
            input.resize(filled, 0.0);
            denoise_flag.resize(filled / hop, f32::from(u8::from(on)));
        }
        windows.wanted.extend(wanted);
        windows.wanted.resize(filled, 0.0);
    }
    Ok(windows)
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
    use musiva_core::recipe::Target;
    use musiva_core::recipe::TrainTables;
    use musiva_core::{MediaShape, Rate};
    use musiva_data::{DataReport, Sample};

    #[test]
    fn windows_are_drawn_where_something_is_heard() {
        let mut samples = vec![0.0; 10_000];
        samples[7000..7100].fill(0.5);
        let loud = Sound::new(1, Rate::whole(8000), samples).unwrap();
        let holds = |i: u64| {
            let start = start(&loud, 500, &mut RngKey::new(1).sample(i).stream(RngStream::Data));
            assert!(start <= 9500);
            start < 7100 && start + 500 > 7000
        };
        let held = (0..1000).filter(|&i| holds(i)).count();
        // Three quarters, and 6 % of the rest by chance.
        assert!((720..=810).contains(&held), "{held}");
        let silent = Sound::new(1, Rate::whole(8000), vec![0.0; 600]).unwrap();
        let starts = |i: u64| start(&silent, 500, &mut RngKey::new(1).sample(i).stream(RngStream::Data));
        assert!((0..100).map(starts).any(|at| at > 50) && (0..100).map(starts).all(|at| at <= 100));
    }

    /// Loud everywhere, and of a length that is no whole number of tokens.
    struct Tones;

    impl Dataset for Tones {
        fn len(&self) -> Option<u64> {
            None
        }

        fn get(&self, index: u64) -> Result<Sample> {
            let tone = (0..997).map(|i| 0.5 * ((0.1 + 0.01 * index as f32) * i as f32).sin()).collect();
            let sound = Some(Sound::new(1, Rate::whole(8000), tone)?);
            Ok(Sample { sound, ..Sample::default() })
        }

        fn shape(&self, _: Modality) -> Option<MediaShape> {
            None
        }

        fn report(&self) -> DataReport {
            DataReport { clips: None, windows: None, dropped: Vec::new(), pixels: None, loudness: None }
        }
    }

    #[test]
    fn every_other_window_is_to_be_made_without_its_noise() {
        let noise = Noise { snr: [5.0, 5.0], slope: [-6.0, 0.0], clean: 0.5 };
        let tables = TrainTables::default().with(noise);
        let with = TrainSettings { target: Target::Audio, batch: 12, tables, ..TrainSettings::default() };
        let without =
            windows(&TrainSettings { tables: TrainTables::default(), ..with.clone() }, &Tones, 20, 1).unwrap();
        let Windows { wanted, noisy, count } = windows(&with, &Tones, 20, 1).unwrap();
        let (input, denoise_flag) = noisy.unwrap();
        assert_eq!((count, wanted.len(), input.len(), denoise_flag.len()), (12, 12 * 1000, 12 * 1000, 12 * 50));
        let mut noisy = 0;
        for (i, input) in input.chunks(1000).enumerate() {
            let of = |values: &[f32]| values[1000 * i..1000 * (i + 1)].to_vec();
            let clean = of(&without.wanted);
            let on = i % 2 == 0;
            assert!(denoise_flag[50 * i..50 * (i + 1)].iter().all(|&s| s == f32::from(u8::from(on))));
            assert_eq!(of(&wanted), if on { clean.clone() } else { input.to_vec() });
            assert_eq!(input[997..], [0.0; 3], "what fills the last token is silent");
            let noise: Vec<f32> = input.iter().zip(&clean).map(|(a, b)| a - b).collect();
            if noise.iter().any(|x| *x != 0.0) {
                noisy += 1;
                let found = 10.0 * (power(&clean[..997]) / power(&noise[..997])).log10();
                assert!((found - 5.0).abs() < 0.01, "{found} dB");
            }
        }
        assert!((1..12).contains(&noisy), "{noisy} of 12 have noise, half of them should");
    }
}
