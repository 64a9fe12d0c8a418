//! Sounds in training that nobody has recorded: faster, slower, and two at once.

use musiva_core::recipe::TrainSettings;
use musiva_core::{Rate, Result, RngKey, RngStream, Sound, Stream};
use musiva_data::{Dataset, shuffled};
use musiva_media::resample;

/// Speeds are whole hundredths, which keeps the resampler's blocks short.
const OWN_SPEED: u32 = 100;

/// The sound of sample `index` of the run, at a speed and in a mixture drawn for it by `train.speed` and `train.mix`.
///
/// # Errors
/// What reading the data returns.
pub(super) fn varied(settings: &TrainSettings, data: &dyn Dataset, index: u64) -> Result<Sound> {
    let key = RngKey::new(settings.seed).sample(index);
    let (mut speeds, mut mix) = (key.stream(RngStream::Speed), key.stream(RngStream::Mix));
    let mut played = |at: u64| -> Result<Sound> {
        let sound = data.get(at)?.into_sound()?;
        let (own, speed) = (sound.length(), speed(settings.speed, &mut speeds));
        let made = played_at(sound, speed)?;
        // A batch's windows are equally long.
        let shortest = settings.samples.map_or(own, |window| made.length().max(window.min(own)));
        Ok(made.with_length(shortest))
    };
    let sound = played(shuffled(index, data.len(), settings.seed))?;
    if !mix.chance(settings.mix as f32) {
        return Ok(sound);
    }
    let other = match data.len() {
        Some(len) => mix.below(len as usize) as u64,
        None => u64::from(mix.bits()),
    };
    mixed(&sound, played(other)?, mix.uniform())
}

/// A speed in hundredths, log-uniform between `1 / (1 + most)` and `1 + most`.
fn speed(most: f64, stream: &mut Stream) -> u32 {
    if most == 0.0 {
        return OWN_SPEED;
    }
    let factor = (1.0 + most).powf(2.0 * f64::from(stream.uniform()) - 1.0);
    (f64::from(OWN_SPEED) * factor).round() as u32
}

/// The sound played at so many hundredths of its speed, as many samples a second as before: pitch and formants move by
/// that factor, and what lay above the Nyquist frequency over it is gone without folding.
fn played_at(sound: Sound, hundredths: u32) -> Result<Sound> {
    let rate = sound.rate();
    let [fast, own] = [hundredths, OWN_SPEED].map(Rate::whole);
    Ok(resample(&sound.with_rate(fast), own)?.with_rate(rate))
}

/// A `share` of another sound under the rest of this one: never louder than the louder of the two.
fn mixed(sound: &Sound, other: Sound, share: f32) -> Result<Sound> {
    let other = other.with_length(sound.length());
    let both = sound.samples().iter().zip(other.samples());
    let samples = both.map(|(sound, other)| (1.0 - share) * sound + share * other).collect();
    Sound::new(sound.channels(), sound.rate(), samples)
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::recipe::Target;
    use musiva_core::{MediaShape, Modality};
    use musiva_data::{DataReport, Sample};
    use std::f64::consts::TAU;

    fn sine(hertz: f64, length: usize) -> Sound {
        let samples = (0..length).map(|i| (0.5 * (TAU * hertz * i as f64 / 8000.0).sin()) as f32).collect();
        Sound::new(1, Rate::whole(8000), samples).unwrap()
    }

    /// Sound `n` of `len` is a sine of 200 + 50·n Hz.
    struct Sines(Option<u64>);

    impl Dataset for Sines {
        fn len(&self) -> Option<u64> {
            self.0
        }

        fn get(&self, index: u64) -> Result<Sample> {
            assert!(self.0.is_none_or(|len| index < len), "there is no sound {index}");
            let sound = Some(sine(200.0 + 50.0 * (index % 11) as f64, 997));
            Ok(Sample { sound, ..Sample::default() })
        }

        fn shape(&self, _: Modality) -> Option<MediaShape> {
            None
        }

        fn report(&self) -> DataReport {
            DataReport { clips: None, windows: None, dropped: Vec::new(), pixels: None, loudness: None }
        }
    }

    fn settings(speed: f64, mix: f64, samples: Option<usize>) -> TrainSettings {
        TrainSettings { target: Target::Audio, seed: 3, speed, mix, samples, ..TrainSettings::default() }
    }

    #[test]
    fn a_sine_moves_by_the_speed() {
        for (hertz, hundredths) in [(440.0, 125), (440.0, 83), (1000.0, 113), (3000.0, 97)] {
            let made = played_at(sine(hertz, 4001), hundredths).unwrap();
            let length = (4001 * OWN_SPEED as usize).div_ceil(hundredths as usize);
            assert_eq!((made.length(), made.rate()), (length, Rate::whole(8000)));
            let wanted = sine(hertz * f64::from(hundredths) / 100.0, length);
            // The filter rings where the sine starts and ends.
            for i in 1000..length - 1000 {
                let (made, wanted) = (made.samples()[i], wanted.samples()[i]);
                assert!((made - wanted).abs() < 1e-3, "{hertz} Hz at {hundredths} %, sample {i}: {made}, not {wanted}");
            }
        }
        // What would be above half of the sample rate is gone.
        let gone = played_at(sine(3800.0, 4001), 120).unwrap();
        assert!(gone.samples()[1000..2000].iter().all(|x| x.abs() < 1e-3));
    }

    #[test]
    fn speeds_are_drawn_log_uniformly() {
        let mut stream = RngKey::new(1).stream(RngStream::Speed);
        let drawn: Vec<u32> = (0..2000).map(|_| speed(0.25, &mut stream)).collect();
        assert_eq!((drawn.iter().min(), drawn.iter().max()), (Some(&80), Some(&125)));
        let mean = drawn.iter().map(|&speed| (f64::from(speed) / 100.0).ln()).sum::<f64>() / 2000.0;
        // A uniform number between ∓ln 1.25 has a deviation of 0.129: four of the mean's.
        assert!(mean.abs() < 4.0 * 0.129 / 2000f64.sqrt(), "{mean}");
    }

    #[test]
    fn nothing_asked_for_changes_nothing() {
        for index in 0..20 {
            let as_it_is = Sines(Some(11)).get(shuffled(index, Some(11), 3)).unwrap().into_sound().unwrap();
            for samples in [None, Some(500)] {
                assert_eq!(varied(&settings(0.0, 0.0, samples), &Sines(Some(11)), index).unwrap(), as_it_is);
            }
        }
    }

    #[test]
    fn each_sample_of_a_run_is_the_same_again_and_long_enough() {
        for (len, samples) in [(Some(11), None), (Some(11), Some(900)), (None, Some(5000))] {
            let settings = settings(0.3, 0.5, samples);
            let of = |index| varied(&settings, &Sines(len), index).unwrap();
            let drawn: Vec<Sound> = (0..24).map(of).collect();
            assert!((0..24).rev().all(|index| of(index) == drawn[index as usize]), "a run that is resumed sees others");
            assert!((1..24).all(|i| drawn[i] != drawn[i - 1]));
            for sound in &drawn {
                assert!(samples.map_or(sound.length() == 997, |window| sound.length() >= window.min(997)));
                // A sine that is cut off rings.
                assert!(sound.samples().iter().all(|x| x.abs() < 0.75));
            }
        }
    }

    #[test]
    fn mixtures_hold_both_sounds() {
        let made = mixed(&sine(400.0, 800), sine(1000.0, 600), 0.25).unwrap();
        // The part of a sine of whole periods, by its own product with it.
        let part = |hertz: f64| {
            let tone = sine(hertz, 400);
            made.samples()[..400].iter().zip(tone.samples()).map(|(a, b)| f64::from(a * b)).sum::<f64>() / 50.0
        };
        assert!((part(400.0) - 0.75).abs() < 1e-3 && (part(1000.0) - 0.25).abs() < 1e-3 && part(600.0).abs() < 1e-3);
        let (kept, without) = (made.slice(600..800), sine(400.0, 800).slice(600..800));
        let rest = |(a, b): (&f32, &f32)| (a - 0.75 * b).abs() < 1e-6;
        assert!(kept.samples().iter().zip(without.samples()).all(rest), "silence follows the shorter one");
        let mixtures = |mix| {
            let settings = [0.0, mix].map(|mix| settings(0.0, mix, None));
            let of = |index, i: usize| varied(&settings[i], &Sines(Some(11)), index).unwrap();
            (0..200).filter(|&index| of(index, 0) != of(index, 1)).count()
        };
        // One of eleven is mixed with itself.
        assert!((60..120).contains(&mixtures(0.5)) && mixtures(1.0) > 160);
    }
}
