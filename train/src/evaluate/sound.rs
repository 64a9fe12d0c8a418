//! How well an audio tokenizer makes held-out sounds again.

use super::Progress;
use crate::measure::si_snr;
use burn::tensor::{Device, Tensor, TensorData};
use musiva_core::parameters::to_vec;
use musiva_core::pipeline::Codec;
use musiva_core::{Draw, Media, Result, Sound, TokenKind, Tokens};
use musiva_data::world::{Hearing, Onsets, Scene, Split};
use musiva_data::{Dataset, World};
use musiva_tokenizers::losses::MelScales;
use musiva_tokenizers::quantizers::CodeUse;
use serde::Serialize;

/// How well sounds are made again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Resounded {
    /// How many sounds.
    pub n: usize,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// The part of each level's entries that occurred, 0 to 1; empty of continuous tokens.
    pub codebook_use: Vec<f64>,
    /// Quality with the coarse levels alone, 1 to all; one row where tokens have no levels.
    pub levels: Vec<WithLevels>,
    /// What the world's ear still hears; `None` where the sounds are not the world's.
    pub heard: Option<Heard>,
}

/// Quality with so many levels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct WithLevels {
    /// How many levels were decoded.
    pub levels: usize,
    /// What they take, in bits a second; `None` of continuous tokens.
    pub bits_per_second: Option<f64>,
    /// Scale-invariant signal-to-noise ratio in dB, mean over the sounds that are not silent.
    pub si_snr: f64,
    /// Multi-scale mel distance, mean over the sounds.
    pub mel_distance: f64,
    /// Log-spectral distance in dB, mean over the sounds.
    pub log_spectral_distance: f64,
}

/// What the world's ear hears of what was to be heard, 0 to 1.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Heard {
    /// F1 of the onsets at the bounces, one video frame off at most.
    pub onsets: f64,
    /// Pitch right.
    pub colour: f64,
    /// Timbre right.
    pub shape: f64,
    /// Loudness right.
    pub speed: f64,
}

/// Sums over sounds with so many levels.
#[derive(Clone, Copy, Default)]
struct Sums {
    loud: usize,
    si_snr: f64,
    mel: f64,
    spectral: f64,
}

/// Measures `n` of the sounds of `data`, or test scenes of `world` where there is one.
pub(super) fn resound(
    codec: &Codec,
    world: Option<&World>,
    data: &dyn Dataset,
    n: usize,
    seed: u64,
    progress: &mut Progress,
) -> Result<Resounded> {
    let n = match world {
        Some(_) => n,
        None => data.len().map_or(n, |len| n.min(usize::try_from(len).unwrap_or(n))),
    };
    let spec = codec.tokenizer().spec();
    let (levels, bits) = match spec.kind {
        TokenKind::Levels { levels, entries } => (levels, Some((entries as f64).log2())),
        TokenKind::Codes { entries, .. } => (1, Some((entries as f64).log2())),
        TokenKind::Latents { .. } => (1, None),
    };
    let (mut sums, mut tokens, mut ear) = (vec![Sums::default(); levels], Vec::new(), Ear::default());
    let (mut rate, mut scales) = (0.0, None);
    for i in 0..n {
        progress("sounds", i, n)?;
        let scene = world.map(|world| world.scene(Draw::new(seed).sample(i as u64), Split::Test));
        let sound = match scene.as_ref().and_then(Scene::sound) {
            Some(sound) => sound,
            None => data.get(i as u64)?.into_sound()?,
        };
        rate = sound.rate().as_f64();
        let made = codec.encode(&Media::Sound(sound.clone()))?;
        let scales = scales.get_or_insert_with(|| MelScales::new(sound.rate(), sound.length(), &Device::flex()));
        for (keep, sums) in sums.iter_mut().enumerate() {
            let again = sounded(codec, &made.coarse(keep + 1), &sound)?;
            sums.add(&sound, &again, scales)?;
            if let Some(scene) = scene.as_ref().filter(|_| keep + 1 == levels) {
                ear.listen(scene, &again);
            }
        }
        tokens.push(made);
    }
    progress("sounds", n, n)?;
    let per_second = rate / spec.strides[0] as f64;
    let row = |(i, sums): (usize, Sums)| WithLevels {
        levels: i + 1,
        bits_per_second: bits.map(|bits| bits * per_second * (i + 1) as f64),
        si_snr: sums.si_snr / sums.loud.max(1) as f64,
        mel_distance: sums.mel / n.max(1) as f64,
        log_spectral_distance: sums.spectral / n.max(1) as f64,
    };
    Ok(Resounded {
        n,
        tokens_per_second: per_second,
        codebook_use: CodeUse::of_tokens(&tokens).iter().map(CodeUse::utilisation).collect(),
        levels: sums.into_iter().enumerate().map(row).collect(),
        heard: world.map(|_| ear.heard(n)),
    })
}

/// Tokens as a sound as long as the one that they are of.
fn sounded(codec: &Codec, tokens: &Tokens, of: &Sound) -> Result<Sound> {
    Ok(codec.decode(tokens)?.sound("tokenizer.audio")?.with_length(of.length()))
}

impl Sums {
    fn add(&mut self, sound: &Sound, again: &Sound, scales: &MelScales) -> Result<()> {
        let row = |sound: &Sound| {
            let samples: Vec<f32> = sound.channel(0).collect();
            let shape = [1, samples.len()];
            Tensor::<2>::from_data(TensorData::new(samples, shape), &Device::flex())
        };
        if sound.samples().iter().any(|x| *x != 0.0) {
            self.loud += 1;
            self.si_snr += si_snr(sound, again)?;
        }
        self.mel += f64::from(to_vec(scales.distance(row(sound), row(again)))[0]);
        self.spectral += f64::from(to_vec(scales.log_spectral_distance(row(sound), row(again)))[0]);
        Ok(())
    }
}

/// What was heard of the world so far.
#[derive(Default)]
struct Ear {
    onsets: Onsets,
    colour: usize,
    shape: usize,
    speed: usize,
}

impl Ear {
    fn listen(&mut self, scene: &Scene, sound: &Sound) {
        let hearing = Hearing::of(sound);
        self.onsets += hearing.onsets_against(&scene.events(), scene.seconds_per_frame());
        self.colour += usize::from(hearing.colour == Some(scene.attributes.colour));
        self.shape += usize::from(hearing.shape == Some(scene.attributes.shape));
        self.speed += usize::from(hearing.speed == Some(scene.attributes.speed));
    }

    fn heard(self, n: usize) -> Heard {
        let part = |count: usize| count as f64 / n.max(1) as f64;
        let (colour, shape, speed) = (part(self.colour), part(self.shape), part(self.speed));
        Heard { onsets: self.onsets.f1(), colour, shape, speed }
    }
}
