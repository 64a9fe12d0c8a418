//! Spaces in which clips and sounds are compared, and what is read off them: retrieval and variety.

use super::frechet::frechet;
use crate::measure::row;
use burn::tensor::Device;
use musiva_core::dataset::Sample;
use musiva_core::parameters::to_vec;
use musiva_core::{Clip, Modality, Result, Sound};
use musiva_media::{Filter, resize};
use musiva_tokenizers::losses::MelScales;
use serde::Serialize;

/// Stretches of time of a clip, and of a sound.
const STRETCHES: [usize; 2] = [8, 32];
/// Pixels of a side.
const SIDE: usize = 32;
/// Decibels of full scale that are nothing.
const SILENCE: f32 = -80.0;

/// A space in which clips or sounds are compared. A feature is a row of bytes; how far two are apart is the root mean square
/// of their differences, 0 to 255.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Features {
    /// Of a clip the means of 8 stretches of time at 32×32 pixels (area resize), sRGB codes: what is where, and when.
    Frames,
    /// Of a sound the means of 32 stretches of time of its mel spectrogram in decibels, -80 to 0 of full scale.
    Mel,
}

impl Features {
    /// All.
    pub const ALL: [Self; 2] = [Self::Frames, Self::Mel];

    /// Of what it is.
    pub fn modality(self) -> Modality {
        match self {
            Self::Frames => Modality::Video,
            Self::Mel => Modality::Audio,
        }
    }

    /// What figures call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Frames => "frames-8x32x32",
            Self::Mel => "mel-32",
        }
    }

    /// The feature of a clip or a sound; `None` where there is none of its modality, or it is too short.
    pub fn of(self, clip: Option<&Clip>, sound: Option<&Sound>) -> Result<Option<Vec<u8>>> {
        match self {
            Self::Frames => clip.map(frames).transpose(),
            Self::Mel => Ok(sound.filter(|sound| sound.length() >= MelScales::SHORTEST).map(mel)),
        }
    }
}

fn frames(clip: &Clip) -> Result<Vec<u8>> {
    let small = resize(clip, SIDE, SIDE, Filter::Area)?;
    let mean = |stretch: usize| {
        let frames = stretch_of(stretch, STRETCHES[0], small.frames());
        let count = frames.len() as u32;
        let mut sums = vec![0u32; SIDE * SIDE * 3];
        for frame in frames {
            sums.iter_mut().zip(small.frame(frame)).for_each(|(sum, &code)| *sum += u32::from(code));
        }
        sums.into_iter().map(move |sum| ((sum + count / 2) / count) as u8)
    };
    Ok((0..STRETCHES[0]).flat_map(mean).collect())
}

fn mel(sound: &Sound) -> Vec<u8> {
    let scales = MelScales::new(sound.rate(), sound.length(), &Device::flex());
    let loud = scales.decibels(row(sound));
    let [_, moments, bands] = loud.dims();
    let loud = to_vec(loud);
    let mean = |stretch: usize| {
        let moments = stretch_of(stretch, STRETCHES[1], moments);
        let count = moments.len() as f32;
        let mut sums = vec![0f32; bands];
        for moment in moments {
            sums.iter_mut().zip(&loud[moment * bands..]).for_each(|(sum, &x)| *sum += x);
        }
        sums.into_iter().map(move |sum| (255.0 * (1.0 - sum / count / SILENCE)).clamp(0.0, 255.0).round() as u8)
    };
    (0..STRETCHES[1]).flat_map(mean).collect()
}

/// Stretch `i` of `n` equal ones of `length`; where there are fewer than `n`, some are the same.
fn stretch_of(i: usize, n: usize, length: usize) -> std::ops::Range<usize> {
    let first = i * length / n;
    first..((i + 1) * length / n).max(first + 1)
}

fn apart(a: &[u8], b: &[u8]) -> f64 {
    // Of so many at a time the sum fits 32 bits, which vector units add eight and more at once.
    const SOME: usize = 4096;
    let square = |(&a, &b): (&u8, &u8)| u32::from(a.abs_diff(b)).pow(2);
    let some = |(a, b): (&[u8], &[u8])| u64::from(a.iter().zip(b).map(square).sum::<u32>());
    let squares: u64 = a.chunks(SOME).zip(b.chunks(SOME)).map(some).sum();
    (squares as f64 / a.len().max(1) as f64).sqrt()
}

/// Real clips or sounds that what was made is compared with.
pub(super) struct Gallery {
    features: Features,
    real: Vec<Real>,
}

struct Real {
    feature: Vec<u8>,
    caption: String,
    /// Which of the held-out samples it is; `None`: it was trained on.
    held_out: Option<usize>,
}

/// Whether the real one that is nearest to what was made is the one that was asked for: the sample whose caption or part was
/// given, or another of the same caption.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Retrieval {
    /// The space that they are compared in.
    pub features: &'static str,
    /// How many were made.
    pub n: usize,
    /// Among how many real ones, held out and trained on.
    pub real: usize,
    /// The part for which the nearest is the right one.
    pub top_1: f64,
    /// The part for which the right one is among the nearest five.
    pub top_5: f64,
    /// The rank of the right one, 1 for the nearest: the median.
    pub median_rank: usize,
}

/// How different what was made is from what was trained on, and from each other; 0 to 255.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Variety {
    /// The space that they are compared in.
    pub features: &'static str,
    /// How far what was made is from the nearest that was trained on, on average: small where the model has memorised.
    pub nearest_trained: f64,
    /// The same of held-out samples.
    pub held_out_nearest_trained: f64,
    /// How far two that were made are apart, on average: small where the model always makes the same.
    pub pairs: f64,
    /// The same of held-out samples.
    pub held_out_pairs: f64,
    /// The Fréchet distance of what was made to the held-out samples, over the numbers of a feature: the mean square distance
    /// of their means, and how differently they spread.
    pub frechet: f64,
    /// The same of as many samples that were trained on: what is no distance at all but for the number of samples.
    pub trained_frechet: f64,
}

impl Gallery {
    /// With nothing in it yet.
    pub fn new(features: Features) -> Self {
        Self { features, real: Vec::new() }
    }

    /// Its space.
    pub fn features(&self) -> Features {
        self.features
    }

    /// Adds a real sample, which is a held-out one or was trained on.
    pub fn add(&mut self, sample: &Sample, held_out: Option<usize>) -> Result<()> {
        let feature = self.features.of(sample.clip.as_ref(), sample.sound.as_ref())?;
        let caption = sample.caption.clone();
        self.real.extend(feature.map(|feature| Real { feature, caption, held_out }));
        Ok(())
    }

    /// What is nearest to what was made: of each the held-out sample that it was made of, and its feature.
    pub fn retrieval(&self, made: &[(usize, &str, Vec<u8>)]) -> Option<Retrieval> {
        let rank = |(sample, caption, feature): &(usize, &str, Vec<u8>)| {
            let right =
                |real: &Real| real.held_out == Some(*sample) || (!caption.is_empty() && real.caption == *caption);
            let (right, wrong): (Vec<_>, Vec<_>) = self.real.iter().partition(|real| right(real));
            let distance = |real: &&Real| apart(&real.feature, feature);
            let nearest = right.iter().map(distance).min_by(f64::total_cmp)?;
            Some(1 + wrong.iter().filter(|real| distance(real) <= nearest).count())
        };
        let mut ranks: Vec<usize> = made.iter().filter_map(rank).collect();
        ranks.sort_unstable();
        let (&median_rank, n) = (ranks.get(ranks.len() / 2)?, ranks.len());
        let within = |most: usize| ranks.iter().filter(|&&rank| rank <= most).count() as f64 / n as f64;
        let (features, real) = (self.features.name(), self.real.len());
        (real > 1).then(|| Retrieval { features, n, real, top_1: within(1), top_5: within(5), median_rank })
    }

    /// How different features of what was made are.
    pub fn variety(&self, made: &[Vec<u8>]) -> Option<Variety> {
        let (held_out, trained): (Vec<_>, Vec<_>) = self.real.iter().partition(|real| real.held_out.is_some());
        let nearest = |feature: &[u8]| trained.iter().map(|real| apart(&real.feature, feature)).min_by(f64::total_cmp);
        let mean = |all: Vec<f64>| (!all.is_empty()).then(|| all.iter().sum::<f64>() / all.len() as f64);
        let pairs = |all: &[&[u8]]| {
            let each = all.iter().enumerate();
            mean(each.flat_map(|(i, a)| all[..i].iter().map(|b| apart(a, b))).collect())
        };
        let held_out: Vec<&[u8]> = held_out.iter().map(|real| &*real.feature).collect();
        let made: Vec<&[u8]> = made.iter().map(Vec::as_slice).collect();
        let numbers = held_out.first()?.len() as f64;
        let some = made.len().min(trained.len());
        let trained_some: Vec<&[u8]> = (0..some).map(|i| &*trained[i * trained.len() / some].feature).collect();
        let distance = |all: &[&[u8]]| Some(frechet(all, &held_out)? / numbers);
        Some(Variety {
            features: self.features.name(),
            nearest_trained: mean(made.iter().filter_map(|feature| nearest(feature)).collect())?,
            held_out_nearest_trained: mean(held_out.iter().filter_map(|feature| nearest(feature)).collect())?,
            pairs: pairs(&made)?,
            held_out_pairs: pairs(&held_out)?,
            frechet: distance(&made)?,
            trained_frechet: distance(&trained_some)?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::Rate;

    fn clip(codes: &[u8]) -> Clip {
        let pixels = codes.iter().flat_map(|&code| vec![code; 64 * 64 * 3]).collect();
        Clip::new([codes.len(), 64, 64], Rate::whole(8), pixels).unwrap()
    }

    fn sample(code: u8, caption: &str) -> Sample {
        Sample { clip: Some(clip(&[code; 8])), caption: caption.into(), ..Sample::default() }
    }

    fn feature(code: u8) -> Vec<u8> {
        Features::Frames.of(Some(&clip(&[code; 8])), None).unwrap().unwrap()
    }

    #[test]
    fn a_clip_is_the_means_of_its_stretches() {
        let of = |codes: &[u8]| Features::Frames.of(Some(&clip(codes)), None).unwrap().unwrap();
        // Sixteen frames: two of each stretch.
        let codes: Vec<u8> = (0..16).map(|i| i * 10).collect();
        let found = of(&codes);
        assert_eq!(found.len(), 8 * 32 * 32 * 3);
        for (i, stretch) in found.chunks(32 * 32 * 3).enumerate() {
            assert!(stretch.iter().all(|&x| x as usize == 20 * i + 5), "{i}");
        }
        // A single picture is all of them.
        assert!(of(&[77]).iter().all(|&x| x == 77));
        // The root mean square of a difference of 3 everywhere is 3, and of 4 in one of four, 2.
        assert_eq!(apart(&feature(10), &feature(13)), 3.0);
        assert_eq!(apart(&[4, 0, 0, 0], &[0; 4]), 2.0);
    }

    #[test]
    fn a_sound_is_the_loudness_of_its_bands() {
        let of = |amplitude: f32, pitch: f32| {
            let samples = (0..16_000).map(|i| amplitude * (pitch * i as f32).sin()).collect();
            Features::Mel.of(None, Some(&Sound::new(1, Rate::whole(16_000), samples).unwrap())).unwrap().unwrap()
        };
        assert!(of(0.0, 0.1).iter().all(|&x| x == 0), "silence is nothing");
        let (soft, loud) = (of(0.05, 0.2), of(0.5, 0.2));
        // Twenty decibels are a quarter of eighty, in the bands that hold the tone.
        let (at, &most) = loud.iter().enumerate().max_by_key(|(_, x)| **x).unwrap();
        assert!((f64::from(most) - f64::from(soft[at]) - 63.75).abs() < 2.0, "{most} {}", soft[at]);
        // Another pitch is farther than another loudness.
        assert!(apart(&loud, &of(0.5, 1.5)) > apart(&loud, &soft) / 2.0);
        let short = Sound::new(1, Rate::whole(16_000), vec![0.5; 8]).unwrap();
        assert_eq!(Features::Mel.of(None, Some(&short)).unwrap(), None);
    }

    #[test]
    fn what_was_asked_for_is_found_by_its_caption_or_as_the_sample_itself() {
        let mut gallery = Gallery::new(Features::Frames);
        for (i, (code, caption)) in [(10, "a"), (50, "b"), (90, "")].into_iter().enumerate() {
            gallery.add(&sample(code, caption), Some(i)).unwrap();
        }
        for (code, caption) in [(12, "c"), (52, "b"), (200, "")] {
            gallery.add(&sample(code, caption), None).unwrap();
        }
        let of = |made: &[(usize, &str, u8)]| {
            let made: Vec<_> = made.iter().map(|&(i, caption, code)| (i, caption, feature(code))).collect();
            gallery.retrieval(&made).unwrap()
        };
        // The nearest to 11.4 is trained clip "c"; its own comes second.
        let found = of(&[(0, "a", 12)]);
        assert_eq!((found.real, found.n, found.top_1, found.top_5, found.median_rank), (6, 1, 0.0, 1.0, 2));
        // Another clip of the same caption is as right.
        assert_eq!(of(&[(1, "b", 52)]).top_1, 1.0);
        // Without a caption only the sample itself is: not the other one that has none.
        assert_eq!(of(&[(2, "", 199)]).median_rank, 2);
        assert_eq!(of(&[(2, "", 91)]).median_rank, 1);
        // What is the same as everything finds nothing first: ties do not count as right.
        let mut same = Gallery::new(Features::Frames);
        (0..3).for_each(|i| same.add(&sample(7, ["a", "b", "c"][i]), Some(i)).unwrap());
        assert_eq!(same.retrieval(&[(1, "b", feature(7))]).unwrap().median_rank, 3);
        let found = of(&[(0, "a", 10), (1, "b", 50), (2, "", 10), (0, "a", 90)]);
        assert_eq!((found.n, found.top_1), (4, 0.5));
    }

    #[test]
    fn what_is_memorised_or_always_the_same_shows() {
        let mut gallery = Gallery::new(Features::Frames);
        [(10, Some(0)), (30, Some(1)), (18, None), (100, None)]
            .into_iter()
            .for_each(|(code, held_out)| gallery.add(&sample(code, ""), held_out).unwrap());
        let found = gallery.variety(&[feature(18), feature(101), feature(100)]).unwrap();
        assert!((found.nearest_trained - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!((found.held_out_nearest_trained, found.held_out_pairs), (10.0, 20.0));
        assert!((found.pairs - (83.0 + 82.0 + 1.0) / 3.0).abs() < 1e-12);
        assert_eq!(gallery.variety(&[feature(5)]), None, "one has no pairs");
        // Means 59 and 20 with deviations √(2·41²) and √200, against 73 with √2·55 of two of the three that were made.
        let found = gallery.variety(&[feature(18), feature(100)]).unwrap();
        let deviation = |half: f64| 2f64.sqrt() * half;
        let wanted = (59.0f64 - 20.0).powi(2) + (deviation(41.0) - deviation(10.0)).powi(2);
        assert!((found.frechet - wanted).abs() < 1e-6 && (found.trained_frechet - wanted).abs() < 1e-6, "{found:?}");
    }
}
