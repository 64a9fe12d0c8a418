//! How well an audio tokenizer makes held-out sounds again.

use super::reader::{CaptionClassifier, MOST};
use super::video::bits_of;
use super::{Metrics, Progress, spread};
use crate::measure::{row, si_snr};
use burn::tensor::Device;
use musiva_core::parameters::to_vec;
use musiva_core::pipeline::Codec;
use musiva_core::{Error, ErrorKind, Media, Result, RngKey, Sound, Tokens};
use musiva_data::world::{AudioReading, Onsets, Scene, Split};
use musiva_data::{Dataset, World};
use musiva_media::Opus;
use musiva_tokenizers::losses::MelScales;
use musiva_tokenizers::quantizers::CodeUse;
use serde::Serialize;
use std::sync::Arc;

/// How well sounds are made again.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AudioReconstruction {
    /// How many sounds.
    pub n: usize,
    /// Tokens a second.
    pub tokens_per_second: f64,
    /// The part of each level's entries that occurred, 0 to 1; empty of continuous tokens.
    pub codebook_use: Vec<f64>,
    /// How many entries of each level would, used evenly, have the entropy of the codes that occurred.
    pub perplexity: Vec<f64>,
    /// Quality with the coarse levels alone, 1 to all; one row where tokens have no levels.
    pub levels: Vec<WithLevels>,
    /// The part of the originals whose captions a classifier tells; `None` where it was not asked for.
    pub read: Option<f64>,
    /// Opus with the same bits or, below what it can do, its fewest; `None` where it was not asked for or is not there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub opus: Option<OpusBaseline>,
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
    /// How like the originals they are.
    #[serde(flatten)]
    pub figures: SoundFigures,
}

/// What Opus makes of the sounds.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct OpusBaseline {
    /// What it takes, in bits a second.
    pub bits_per_second: f64,
    /// How like the originals they are.
    #[serde(flatten)]
    pub figures: SoundFigures,
}

/// How like sounds are to what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct SoundFigures {
    /// Scale-invariant signal-to-noise ratio in dB, mean over the sounds that are not silent.
    pub si_snr: f64,
    /// Multi-scale mel distance, mean over the sounds.
    pub mel_distance: f64,
    /// Log-spectral distance in dB, mean over the sounds.
    pub log_spectral_distance: f64,
    /// The part of them whose captions a classifier of originals tells; `None` where it was not asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read: Option<f64>,
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

/// Where sounds come from.
pub(super) struct Sources<'a> {
    /// The world, where they are its own: its test scenes are measured, and its ear listens.
    pub world: Option<&'a World>,
    /// What is measured elsewhere.
    pub held_out: &'a dyn Dataset,
    /// What a classifier of captions learns from, where it is asked for.
    pub train: Option<Arc<dyn Dataset>>,
}

impl Sources<'_> {
    /// Which samples are measured of `n` that are asked for.
    pub fn which(&self, n: u64) -> Vec<u64> {
        if self.world.is_some() { (0..n).collect() } else { spread(self.held_out, n) }
    }
}

/// Measures `n` sounds, the world's by `seed`; `metrics` sees what all codebooks make of them.
pub(super) fn resound(
    codec: &Codec,
    sources: &Sources,
    [n, seed]: [u64; 2],
    baselines: bool,
    metrics: &mut Metrics,
    progress: &mut Progress,
) -> Result<AudioReconstruction> {
    let which = sources.which(n);
    let n = which.len() as u64;
    let spec = codec.tokenizer().spec();
    let levels = spec.kind.level_count().unwrap_or(1);
    let reader = sources.train.as_ref().map(|train| learnt(&**train, progress)).transpose()?;
    let opus = baselines.then(Opus::find).flatten();
    let (mut sums, mut opus_sums, mut opus_bits) = (vec![Sums::default(); levels], Sums::default(), 0.0);
    let (mut tokens, mut audio_oracle, mut read, mut seconds, mut bits) =
        (Vec::new(), AudioOracle::default(), 0, 0.0, None);
    let mut measures = None;
    for (at, i) in which.into_iter().enumerate() {
        progress("sounds", at, n as usize)?;
        let key = RngKey::new(seed).sample(i);
        let scene = sources.world.map(|world| world.scene(key, Split::Test));
        let (sound, caption) = match scene.as_ref().and_then(|scene| Some((scene.sound()?, scene.caption(key)))) {
            Some(both) => both,
            None => {
                let sample = sources.held_out.get(i)?;
                (sample.clone().into_sound()?, sample.caption)
            }
        };
        if sound.length() < MelScales::SHORTEST {
            let message = format!("sounds of {} samples are too short to be measured", sound.length());
            return Err(Error::new(ErrorKind::Data, "data", message)
                .hint(format!("give them {} samples or more (`data.samples`)", MelScales::SHORTEST)));
        }
        let made = codec.encode(&Media::Sound(sound.clone()))?;
        let measures = measures.get_or_insert_with(|| Measures::of(&sound, reader.as_ref()));
        read += usize::from(reader.as_ref().is_some_and(|reader| reader.read(&sound) == caption));
        for (keep, sums) in sums.iter_mut().enumerate() {
            let again = sounded(codec, &made.coarse(keep + 1), &sound)?;
            sums.add(&sound, &again, &caption, measures)?;
            if keep + 1 == levels {
                metrics.compare(&again, &sound, &caption)?;
            }
            if let Some(scene) = scene.as_ref().filter(|_| keep + 1 == levels) {
                audio_oracle.listen(scene, &again);
            }
        }
        seconds += sound.seconds();
        if let Some(its) = bits_of(spec.codes, &made) {
            *bits.get_or_insert(0.0) += its;
            if let Some(opus) = opus {
                let coded = opus.code(&sound, (its / 8.0).ceil() as usize)?;
                opus_bits += 8.0 * coded.bytes as f64;
                opus_sums.add(&sound, &coded.media, &caption, measures)?;
            }
        }
        tokens.push(made);
    }
    progress("sounds", n as usize, n as usize)?;
    let places: usize = tokens.iter().map(|tokens: &Tokens| tokens.grid().iter().product::<usize>()).sum();
    let uses = CodeUse::of_tokens(&tokens);
    let each = bits.map(|bits: f64| bits / seconds / levels as f64);
    let row = |(i, sums): (usize, &Sums)| WithLevels {
        levels: i + 1,
        bits_per_second: each.map(|bits| bits * (i + 1) as f64),
        figures: sums.mean(reader.is_some()),
    };
    Ok(AudioReconstruction {
        n: n as usize,
        tokens_per_second: places as f64 / seconds,
        codebook_use: uses.iter().map(CodeUse::utilisation).collect(),
        perplexity: uses.iter().map(CodeUse::perplexity).collect(),
        levels: sums.iter().enumerate().map(row).collect(),
        read: reader.as_ref().map(|_| read as f64 / n.max(1) as f64),
        opus: (opus_sums.n > 0)
            .then(|| OpusBaseline { bits_per_second: opus_bits / seconds, figures: opus_sums.mean(reader.is_some()) }),
        heard: sources.world.map(|_| audio_oracle.heard(n as usize)),
    })
}

/// A classifier of the captions of `data`.
fn learnt(data: &dyn Dataset, progress: &mut Progress) -> Result<CaptionClassifier> {
    let which = spread(data, MOST);
    let count = which.len();
    let mut sounds = Vec::new();
    for (at, i) in which.into_iter().enumerate() {
        progress("learn the captions", at, count)?;
        let sample = data.get(i)?;
        sounds.push((sample.clone().into_sound()?, sample.caption));
    }
    CaptionClassifier::learn(&sounds)
}

/// Tokens as a sound as long as the one that they are of.
fn sounded(codec: &Codec, tokens: &Tokens, of: &Sound) -> Result<Sound> {
    Ok(codec.decode(tokens)?.sound("tokenizer.audio")?.with_length(of.length()))
}

/// What sounds are measured with.
pub(super) struct Measures<'a> {
    scales: MelScales,
    reader: Option<&'a CaptionClassifier>,
}

impl<'a> Measures<'a> {
    /// For sounds like this one.
    pub fn of(sound: &Sound, reader: Option<&'a CaptionClassifier>) -> Self {
        Self { scales: MelScales::new(sound.rate(), sound.length(), &Device::flex()), reader }
    }
}

/// Sums over sounds.
#[derive(Clone, Copy, Default)]
pub(super) struct Sums {
    n: usize,
    loud: usize,
    si_snr: f64,
    mel: f64,
    spectral: f64,
    read: usize,
}

impl Sums {
    /// Takes one more sound, and what was made of it.
    pub fn add(&mut self, sound: &Sound, again: &Sound, caption: &str, measures: &Measures) -> Result<()> {
        self.n += 1;
        if sound.samples().iter().any(|x| *x != 0.0) {
            self.loud += 1;
            self.si_snr += si_snr(sound, again)?;
        }
        let scales = &measures.scales;
        self.mel += f64::from(to_vec(scales.distance(row(sound), row(again)))[0]);
        self.spectral += f64::from(to_vec(scales.log_spectral_distance(row(sound), row(again)))[0]);
        self.read += usize::from(measures.reader.is_some_and(|reader| reader.read(again) == caption));
        Ok(())
    }

    /// How many sounds.
    pub fn n(&self) -> usize {
        self.n
    }

    /// The figures, whether captions were `read` or not.
    pub fn mean(&self, read: bool) -> SoundFigures {
        let n = self.n.max(1) as f64;
        SoundFigures {
            si_snr: self.si_snr / self.loud.max(1) as f64,
            mel_distance: self.mel / n,
            log_spectral_distance: self.spectral / n,
            read: read.then(|| self.read as f64 / n),
        }
    }
}

/// What was heard of the world so far.
#[derive(Default)]
struct AudioOracle {
    onsets: Onsets,
    colour: usize,
    shape: usize,
    speed: usize,
}

impl AudioOracle {
    fn listen(&mut self, scene: &Scene, sound: &Sound) {
        let hearing = AudioReading::of(sound);
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

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{MediaShape, Modality, Rate, TokenKind, Tokenizer, TokenizerSpec};
    use musiva_data::{DataReport, Sample, WorldConfig};

    fn tone(pitch: f32, amplitude: f32) -> Sound {
        let samples = (0..4000).map(|i| amplitude * (pitch * i as f32).sin()).collect();
        Sound::new(1, Rate::whole(8000), samples).unwrap()
    }

    #[test]
    fn figures_of_sounds_are_means_and_silence_has_no_ratio() {
        let noise = |sound: &Sound, part: f32| {
            let samples = sound.samples().iter().zip(tone(0.9, 1.0).samples()).map(|(x, n)| x + part * n).collect();
            Sound::new(1, sound.rate(), samples).unwrap()
        };
        let (loud, high, silence) = (tone(0.1, 0.5), tone(0.3, 0.2), tone(0.1, 0.0));
        let pairs = [(&loud, noise(&loud, 0.05)), (&high, noise(&high, 0.1)), (&silence, noise(&silence, 0.01))];
        let measures = Measures::of(&loud, None);
        let (mut together, mut sums) = (Sums::default(), [0.0; 3]);
        for (wanted, made) in &pairs {
            together.add(wanted, made, "", &measures).unwrap();
            let mut alone = Sums::default();
            alone.add(wanted, made, "", &measures).unwrap();
            let SoundFigures { si_snr, mel_distance, log_spectral_distance, read } = alone.mean(false);
            assert_eq!(read, None);
            assert!(mel_distance > 0.0 && log_spectral_distance > 0.0);
            sums.iter_mut().zip([si_snr, mel_distance, log_spectral_distance]).for_each(|(sum, value)| *sum += value);
        }
        // A tenth and a half of the amplitude: 20 dB and 6 dB; the silent one is left out.
        let found = together.mean(false);
        let decibels = (20.0 + 20.0 * 2.0f64.log10()) / 2.0;
        assert!((found.si_snr - decibels).abs() < 0.05, "{found:?}, not {decibels} dB");
        assert!((found.mel_distance - sums[1] / 3.0).abs() < 1e-6);
        assert!((found.log_spectral_distance - sums[2] / 3.0).abs() < 1e-6);
        assert_eq!(Sums::default().mean(true).read, Some(0.0));
    }

    #[test]
    fn captions_count_where_they_are_read_right() {
        let sounds: Vec<(Sound, String)> = (0..20)
            .map(|i| match i % 2 {
                0 => (tone(0.2, 0.2 + 0.01 * i as f32), "low".to_owned()),
                _ => (tone(1.2, 0.2 + 0.01 * i as f32), "high".to_owned()),
            })
            .collect();
        let reader = CaptionClassifier::learn(&sounds).unwrap();
        let (low, measures) = (tone(0.2, 0.3), Measures::of(&sounds[0].0, Some(&reader)));
        let mut sums = Sums::default();
        for caption in ["low", "high", "low", "low"] {
            sums.add(&low, &low, caption, &measures).unwrap();
        }
        assert_eq!(sums.mean(true).read, Some(0.75));
        // It is what was made that is read.
        let mut sums = Sums::default();
        sums.add(&low, &tone(1.2, 0.3), "low", &measures).unwrap();
        assert_eq!(sums.mean(true).read, Some(0.0));
    }

    /// Two codebooks of sixteen entries a sample: the first tells it roughly, the second the rest.
    struct Nibbles(TokenizerSpec);

    impl Nibbles {
        fn new() -> Self {
            let kind = TokenKind::Codes { levels: 2, entries: 16, bits: None };
            let modality = Modality::Audio;
            Self(TokenizerSpec { modality, kind, codes: kind, strides: [1; 3], causal: true, range: [-1.0, 1.0] })
        }
    }

    impl Tokenizer for Nibbles {
        fn spec(&self) -> &TokenizerSpec {
            &self.0
        }
        fn encode(&self, media: &Media) -> Result<Tokens> {
            let Media::Sound(sound) = media else { panic!("a sound") };
            let byte = |x: &f32| ((x + 1.0) * 127.9) as u32;
            let codes = sound.samples().iter().flat_map(|x| [byte(x) >> 4, byte(x) & 15]).collect();
            Tokens::levels([sound.length(), 1, 1], 2, 16, codes)
        }
        fn decode(&self, tokens: &Tokens) -> Result<Media> {
            let levels = tokens.level_count().unwrap();
            // The middle of what they stand for.
            let sample = |codes: &[u32]| match codes {
                [high, low] => ((high << 4 | low) as f32 + 0.5) / 127.9 - 1.0,
                codes => ((codes[0] << 4) as f32 + 8.0) / 127.9 - 1.0,
            };
            let samples = tokens.as_codes()?.chunks(levels).map(sample).collect();
            Ok(Media::Sound(Sound::new(1, Rate::whole(8000), samples)?))
        }
    }

    /// Low and high tones in turn; of every four of what is `held_out` one is told wrongly.
    struct Tones {
        held_out: bool,
    }

    impl Dataset for Tones {
        fn len(&self) -> Option<u64> {
            Some(20)
        }
        fn get(&self, index: u64) -> Result<Sample> {
            let (pitch, caption) = if index.is_multiple_of(2) { (0.2, "low") } else { (1.2, "high") };
            let caption = if self.held_out && index.is_multiple_of(4) { "high" } else { caption };
            let sound = Some(tone(pitch, 0.3 + 0.01 * index as f32));
            Ok(Sample { sound, caption: caption.to_owned(), ..Sample::default() })
        }
        fn shape(&self, _: Modality) -> Option<MediaShape> {
            None
        }
        fn report(&self) -> DataReport {
            unreachable!("only the sounds count")
        }
    }

    #[test]
    fn a_tokenizer_is_measured_codebook_by_codebook() {
        let codec = Codec::new(Box::new(Nibbles::new()), Rate::whole(8000));
        let sources = Sources {
            world: None,
            held_out: &Tones { held_out: true },
            train: Some(Arc::new(Tones { held_out: false })),
        };
        let found = resound(&codec, &sources, [20, 0], false, &mut Metrics(Vec::new()), &mut |_, _, _| Ok(())).unwrap();
        assert_eq!((found.n, found.tokens_per_second), (20, 8000.0));
        // A sample is four bits by one codebook, eight by two.
        let [rough, whole] = &found.levels[..] else { panic!("two levels") };
        assert_eq!([rough.levels, whole.levels], [1, 2]);
        assert_eq!([rough.bits_per_second, whole.bits_per_second], [Some(32_000.0), Some(64_000.0)]);
        // Each four bits are 24 dB.
        let gain = whole.figures.si_snr - rough.figures.si_snr;
        assert!((gain - 24.0).abs() < 2.0 && rough.figures.si_snr > 10.0, "{gain}");
        // Of the sounds themselves a quarter is told otherwise than it is read, and so it is of what is made of them.
        assert_eq!((found.read, whole.figures.read), (Some(0.75), Some(0.75)));
        assert!(found.opus.is_none() && found.heard.is_none());
    }

    #[test]
    fn what_is_heard_counts_over_all_sounds() {
        let world = World::new(WorldConfig { sound: Some(16_000), ..WorldConfig::default() }).unwrap();
        let scenes: Vec<Scene> = (0..40).map(|i| world.scene(RngKey::new(3).sample(i), Split::Test)).collect();
        let hear = |pairs: &[(&Scene, Sound)]| {
            let mut audio_oracle = AudioOracle::default();
            pairs.iter().for_each(|(scene, sound)| audio_oracle.listen(scene, sound));
            audio_oracle.heard(pairs.len())
        };
        let right = |scene: &Scene| scene.sound().unwrap();
        let all: Vec<(&Scene, Sound)> = scenes.iter().map(|scene| (scene, right(scene))).collect();
        assert_eq!(hear(&all), Heard { onsets: 1.0, colour: 1.0, shape: 1.0, speed: 1.0 });
        // Three of four are heard, of the fourth nothing.
        let silent = |sound: Sound| Sound::new(1, sound.rate(), vec![0.0; sound.length()]).unwrap();
        let some = scenes[..4].iter().enumerate();
        let some: Vec<_> =
            some.map(|(i, scene)| (scene, if i == 1 { silent(right(scene)) } else { right(scene) })).collect();
        let found = hear(&some);
        assert_eq!((found.colour, found.shape, found.speed), (0.75, 0.75, 0.75));
        // Onsets are counted together: all that are heard are right, and those of one sound are missed.
        let bounces = |scenes: &[Scene]| scenes.iter().map(|scene| scene.events().len()).sum::<usize>() as f64;
        let (wanted, missed) = (bounces(&scenes[..4]), bounces(&scenes[1..2]));
        assert!((found.onsets - 2.0 * (wanted - missed) / (2.0 * wanted - missed)).abs() < 1e-12);
        // The colour of another scene is wrong, whatever else is right.
        let other = scenes.iter().find(|scene| scene.attributes.colour != scenes[0].attributes.colour).unwrap();
        assert_eq!(hear(&[(&scenes[0], right(other))]).colour, 0.0);
    }
}
