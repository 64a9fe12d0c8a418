//! A small classifier of sounds by their captions, to see whether what was said can still be told.
//!
//! Kernel ridge regression (Saunders, Gammerman and Vovk 1998) on log-mel spectrograms: it is learnt by solving one system
//! of equations, so the same sounds give the same classifier, in a second. It is a ruler, no recogniser: what counts is how
//! much worse it reads a sound made again than the original.

use musiva_core::{Error, ErrorKind, Result, Sound};
use std::collections::BTreeSet;
use std::f64::consts::TAU;

/// Sounds that are learnt from, at most: the equations are as many.
pub(super) const MOST: u64 = 1500;
/// The most that a caller may have it learn from: a matrix of 200 MB.
const LIMIT: usize = 5000;
/// Different captions that can be told apart.
const CLASSES: usize = 100;
/// Seconds of a spectrogram's windows, and from one to the next.
const WINDOW: [f64; 2] = [0.032, 0.010];
/// Mel bands, from 100 Hz to half of the sample rate.
const BANDS: usize = 24;
/// Stretches of equal length that a sound is cut into once the silence round it is gone.
const STRETCHES: usize = 16;
/// What has less than this part of the loudest moment's energy, at the start and at the end, is silence.
const SILENCE: f64 = 1e-3;
/// What is added to energies before the logarithm.
const FLOOR: f64 = 1e-5;
/// The ridge: how much of a caption's certainty is taken for chance.
const RIDGE: f64 = 0.1;

/// Tells captions from sounds.
pub struct CaptionClassifier {
    captions: Vec<String>,
    spectrum: Spectrum,
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// The features of the sounds that were learnt from.
    known: Vec<Vec<f64>>,
    /// For each of them a weight for each caption.
    weights: Vec<Vec<f64>>,
}

impl CaptionClassifier {
    /// Learns from sounds of one rate with their captions.
    ///
    /// # Errors
    /// Where there are not at least two different captions, or more than a hundred; where there are more than 5,000 sounds, or
    /// their rates differ.
    pub fn learn(sounds: &[(Sound, String)]) -> Result<Self> {
        let captions: BTreeSet<&str> = sounds.iter().map(|(_, caption)| caption.as_str()).collect();
        let captions: Vec<String> = captions.into_iter().map(str::to_owned).collect();
        if !(2..=CLASSES).contains(&captions.len()) {
            let message = format!("{} different captions cannot be told apart; 2 to {CLASSES} can", captions.len());
            return Err(Error::new(ErrorKind::Data, "evaluate.read_captions", message).hint(
                "give each sound one of a few captions (`data.caption_until`), or set `evaluate.read_captions = false`",
            ));
        }
        let rate = sounds[0].0.rate();
        if sounds.len() > LIMIT || sounds.iter().any(|(sound, _)| sound.rate() != rate) {
            let message = format!("{} sounds, of which the first has {rate} Hz, cannot be learnt from", sounds.len());
            return Err(Error::new(ErrorKind::Data, "evaluate.read_captions", message)
                .hint(format!("give sounds of one rate, {LIMIT} at most")));
        }
        let spectrum = Spectrum::new(rate.as_f64());
        let mut known: Vec<Vec<f64>> = sounds.iter().map(|(sound, _)| spectrum.features(sound)).collect();
        let n = known.len() as f64;
        let moment = |value: &dyn Fn(&Vec<f64>, usize) -> f64| -> Vec<f64> {
            (0..known[0].len()).map(|i| known.iter().map(|features| value(features, i)).sum::<f64>() / n).collect()
        };
        let mean = moment(&|features, i| features[i]);
        let scale = moment(&|features, i| (features[i] - mean[i]).powi(2));
        let scale: Vec<f64> = scale.iter().map(|variance| 1.0 / (variance.sqrt() + 1e-6)).collect();
        known.iter_mut().for_each(|features| normalise(features, &mean, &scale));
        let mut equations: Vec<Vec<f64>> =
            known.iter().map(|a| known.iter().map(|b| likeness(a, b)).collect()).collect();
        equations.iter_mut().enumerate().for_each(|(i, row)| row[i] += RIDGE);
        let mut weights: Vec<Vec<f64>> = sounds
            .iter()
            .map(|(_, said)| captions.iter().map(|caption| f64::from(u8::from(said == caption))).collect())
            .collect();
        solve(&mut equations, &mut weights);
        Ok(Self { captions, spectrum, mean, scale, known, weights })
    }

    /// The caption that `sound`, of the same rate, most probably has.
    pub fn read(&self, sound: &Sound) -> &str {
        let mut features = self.spectrum.features(sound);
        normalise(&mut features, &self.mean, &self.scale);
        let mut votes = vec![0.0; self.captions.len()];
        for (known, weights) in self.known.iter().zip(&self.weights) {
            let like = likeness(&features, known);
            votes.iter_mut().zip(weights).for_each(|(vote, weight)| *vote += like * weight);
        }
        let best = (0..votes.len()).max_by(|&a, &b| votes[a].total_cmp(&votes[b]));
        &self.captions[best.unwrap_or(0)]
    }
}

fn normalise(features: &mut [f64], mean: &[f64], scale: &[f64]) {
    for ((value, mean), scale) in features.iter_mut().zip(mean).zip(scale) {
        *value = (*value - mean) * scale;
    }
}

/// A Gaussian of the distance, one deviation wide.
fn likeness(a: &[f64], b: &[f64]) -> f64 {
    let squares: f64 = a.iter().zip(b).map(|(a, b)| (a - b).powi(2)).sum();
    (-0.5 * squares / a.len() as f64).exp()
}

/// Solves `A·X = B` for a symmetric positive definite `A` by Cholesky's method; `a` becomes its factor, `b` the solution.
fn solve(a: &mut [Vec<f64>], b: &mut [Vec<f64>]) {
    let n = a.len();
    for i in 0..n {
        let (above, rest) = a.split_at_mut(i);
        let row = &mut rest[0];
        for j in 0..i {
            let dot: f64 = row[..j].iter().zip(&above[j][..j]).map(|(x, y)| x * y).sum();
            row[j] = (row[j] - dot) / above[j][j];
        }
        let dot: f64 = row[..i].iter().map(|x| x * x).sum();
        row[i] = (row[i] - dot).sqrt();
    }
    for column in 0..b[0].len() {
        for i in 0..n {
            let dot: f64 = (0..i).map(|j| a[i][j] * b[j][column]).sum();
            b[i][column] = (b[i][column] - dot) / a[i][i];
        }
        for i in (0..n).rev() {
            let dot: f64 = (i + 1..n).map(|j| a[j][i] * b[j][column]).sum();
            b[i][column] = (b[i][column] - dot) / a[i][i];
        }
    }
}

/// Log-mel features of sounds of one rate.
struct Spectrum {
    window: usize,
    hop: usize,
    /// For each bin the windowed cosine and sine.
    waves: Vec<[Vec<f64>; 2]>,
    /// For each band the weight of each bin.
    bands: Vec<Vec<f64>>,
}

impl Spectrum {
    fn new(rate: f64) -> Self {
        let [window, hop] = WINDOW.map(|seconds| ((seconds * rate) as usize).max(2));
        let hann = |i: usize| 0.5 - 0.5 * (TAU * i as f64 / window as f64).cos();
        let wave = |bin: usize, turn: f64| {
            (0..window).map(|i| hann(i) * (TAU * (bin * i) as f64 / window as f64 - turn).cos()).collect()
        };
        let mel = |hertz: f64| (1.0 + hertz / 700.0).ln();
        let step = (mel(rate / 2.0) - mel(100.0)) / (BANDS + 1) as f64;
        let edge = |i: usize| 700.0 * ((mel(100.0) + i as f64 * step).exp() - 1.0);
        let weight = |band: usize, bin: usize| {
            let hertz = bin as f64 * rate / window as f64;
            let (left, middle, right) = (edge(band), edge(band + 1), edge(band + 2));
            ((hertz - left) / (middle - left)).min((right - hertz) / (right - middle)).max(0.0)
        };
        Self {
            window,
            hop,
            waves: (0..=window / 2).map(|bin| [wave(bin, 0.0), wave(bin, TAU / 4.0)]).collect(),
            bands: (0..BANDS).map(|band| (0..=window / 2).map(|bin| weight(band, bin)).collect()).collect(),
        }
    }

    /// The logarithms of the bands in each stretch, without their mean: how loud a sound is does not count.
    fn features(&self, sound: &Sound) -> Vec<f64> {
        let mut samples: Vec<f64> = sound.channel(0).map(f64::from).collect();
        samples.resize(samples.len().max(self.window), 0.0);
        let moments: Vec<Vec<f64>> = samples.windows(self.window).step_by(self.hop).map(|w| self.energies(w)).collect();
        let energy: Vec<f64> = moments.iter().map(|moment| moment.iter().sum()).collect();
        let loud = SILENCE * energy.iter().copied().fold(0.0, f64::max);
        let first = energy.iter().position(|&energy| energy >= loud).unwrap_or(0);
        let last = energy.iter().rposition(|&energy| energy >= loud).unwrap_or(energy.len() - 1);
        let heard = &moments[first..=last];
        let mut features = Vec::with_capacity(STRETCHES * BANDS);
        for stretch in 0..STRETCHES {
            let start = stretch * heard.len() / STRETCHES;
            let end = ((stretch + 1) * heard.len()).div_ceil(STRETCHES);
            for band in &self.bands {
                let log = |moment: &Vec<f64>| (moment.iter().zip(band).map(|(x, w)| x * w).sum::<f64>() + FLOOR).ln();
                features.push(heard[start..end].iter().map(log).sum::<f64>() / (end - start) as f64);
            }
        }
        let mean = features.iter().sum::<f64>() / features.len() as f64;
        features.iter_mut().for_each(|value| *value -= mean);
        features
    }

    /// The energy of each bin of a window.
    fn energies(&self, window: &[f64]) -> Vec<f64> {
        let dot = |wave: &[f64]| window.iter().zip(wave).map(|(x, w)| x * w).sum::<f64>().powi(2);
        self.waves.iter().map(|[cosine, sine]| dot(cosine) + dot(sine)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{Rate, RngKey, RngStream};

    /// A tone that rises or falls by `slope` Hz a second, at some loudness, amid silence and a little noise.
    fn glide(slope: f64, n: u64) -> Sound {
        let mut stream = RngKey::new(9).sample(n).stream(RngStream::Data);
        let (start, loudness) = (300 + stream.below(2000), 0.1 + 0.5 * stream.uniform());
        let noise = stream.normals(8000);
        let sample = |i: usize| {
            let t = i.wrapping_sub(start) as f64 / 8000.0;
            let tone = if (0.0..0.4).contains(&t) { (TAU * (900.0 + slope * t / 2.0) * t).sin() } else { 0.0 };
            loudness * tone as f32 + 1e-4 * noise[i]
        };
        Sound::new(1, Rate::whole(8000), (0..8000).map(sample).collect()).unwrap()
    }

    const SLOPES: [(f64, &str); 3] = [(1500.0, "up"), (-1500.0, "down"), (0.0, "level")];

    fn learnt() -> CaptionClassifier {
        let sounds: Vec<(Sound, String)> =
            (0..24).map(|n| (glide(SLOPES[n as usize % 3].0, n), SLOPES[n as usize % 3].1.to_owned())).collect();
        CaptionClassifier::learn(&sounds).unwrap()
    }

    #[test]
    fn it_reads_what_it_has_not_heard_and_not_what_is_gone() {
        let reader = learnt();
        for n in 100..112 {
            let (slope, caption) = SLOPES[n as usize % 3];
            assert_eq!(reader.read(&glide(slope, n)), caption);
        }
        let silence = Sound::new(1, Rate::whole(8000), vec![0.0; 8000]).unwrap();
        assert!(SLOPES.iter().any(|(_, caption)| reader.read(&silence) == *caption));
        // The shortest sound has features too.
        reader.read(&silence.slice(0..1));
    }

    #[test]
    fn it_reads_digits_of_a_speaker_that_it_has_not_heard() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/data/speech/digits");
        let Ok(files) = std::fs::read_dir(folder) else { return println!("skipped: there is no {folder}") };
        let mut paths: Vec<_> = files.map(|file| file.unwrap().path()).collect();
        paths.sort();
        let (mut known, mut new) = (Vec::new(), Vec::new());
        for path in paths {
            // `<digit>_<speaker>_<take>.wav`: ten takes of each are enough.
            let name = path.file_stem().unwrap().to_string_lossy().into_owned();
            let take = name.rsplit('_').next().and_then(|take| take.parse::<usize>().ok());
            if take.is_none_or(|take| take >= 10) {
                continue;
            }
            let sound = musiva_media::read_sound(&path, &Default::default()).unwrap().sound;
            let part = if name.contains("_theo_") { &mut new } else { &mut known };
            part.push((sound, name[..1].to_owned()));
        }
        let reader = CaptionClassifier::learn(&known).unwrap();
        let right = new.iter().filter(|(sound, digit)| reader.read(sound) == digit).count();
        // The same features and the same regression in NumPy read 91 of the 100.
        assert!(new.len() == 100 && right >= 80, "{right}");
    }

    #[test]
    fn captions_must_differ_and_be_few() {
        let sounds = |count: usize| -> Vec<(Sound, String)> {
            (0..count).map(|i| (glide(0.0, i as u64).slice(0..300), i.to_string())).collect()
        };
        let mut rates = sounds(3);
        rates[2].0 = rates[2].0.clone().with_rate(Rate::whole(1000));
        assert!(CaptionClassifier::learn(&rates).is_err_and(|error| error.to_string().contains("sounds of one rate")));
        for count in [1, CLASSES + 1] {
            assert!(
                CaptionClassifier::learn(&sounds(count))
                    .is_err_and(|error| error.to_string().contains("read_captions"))
            );
        }
    }

    #[test]
    fn equations_are_solved() {
        let n = 7;
        let a: Vec<Vec<f64>> = (0..n)
            .map(|i| {
                (0..n).map(|j| (-((i as f64 - j as f64) / 2.0).powi(2)).exp() + f64::from(u8::from(i == j))).collect()
            })
            .collect();
        let x: Vec<Vec<f64>> = (0..n).map(|i| vec![i as f64 - 2.0, 0.5 * i as f64]).collect();
        let mut b: Vec<Vec<f64>> =
            a.iter().map(|row| (0..2).map(|c| row.iter().zip(&x).map(|(a, x)| a * x[c]).sum()).collect()).collect();
        solve(&mut a.clone(), &mut b);
        let near = |a: &Vec<f64>, b: &Vec<f64>| a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-10);
        assert!(b.iter().zip(&x).all(|(b, x)| near(b, x)));
    }
}
