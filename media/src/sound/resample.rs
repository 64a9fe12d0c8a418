//! Another sample rate for the same sound.

use musiva_core::{Error, ErrorKind, Rate, Result, Sound};
use rubato::{Fft, FixedSync, Resampler, WindowFunction, audioadapter_buffers::direct::InterleavedSlice};

/// Taps of the filter at the lower of the two rates, at least.
const TAPS: usize = 1024;
/// Samples of a block of the filter, at most: those of rates a thousand times apart.
const LARGEST_BLOCK: usize = 1 << 20;

/// The same sound at `rate`, with `⌈N · rate / old rate⌉` samples a channel.
///
/// Sample 0 stays where it is in time (the filter's delay is taken out), and before and behind the
/// sound there is silence. The ratio of the rates is exact: nothing drifts.
///
/// The filter, in Rubato's synchronous resampler: a sinc under a squared four-term Blackman–Harris
/// window, linear in phase, at least 1024 samples of the lower rate long, applied by FFT in double
/// precision. With the lower Nyquist frequency as 1, it passes up to 0.97 within 0.001 dB, and
/// stops from 1 on by 120 dB or more (what lies between 0.97 and 1 is weakened, never folded).
///
/// # Errors
/// Where the rates are so unlike that nothing sensible comes out: in lowest terms, either number of
/// their ratio is above 2¹⁸, or one is more than a thousand times the other; where the result would not fit into memory.
pub fn resample(sound: &Sound, rate: Rate) -> Result<Sound> {
    let old = sound.rate();
    if rate == old {
        return Ok(sound.clone());
    }
    let failed =
        |found: String| Error::new(ErrorKind::Media, "", format!("cannot resample {old} Hz to {rate} Hz: {found}"));
    let times = |a: u32, b: u32| u64::from(a) * u64::from(b);
    let (mut out, mut into) = (times(rate.numerator, old.denominator), times(old.numerator, rate.denominator));
    let common = greatest_common_divisor(out, into);
    (out, into) = (out / common, into / common);
    // An even number of the smallest blocks, so that half of one is the filter's delay exactly.
    let blocks = (TAPS as u64).div_ceil(out.min(into)).next_multiple_of(2);
    if out.max(into) > 1 << 18 || blocks * out.max(into) > LARGEST_BLOCK as u64 {
        return Err(
            failed(format!("their ratio is {out}/{into}")).hint("use common rates, e.g. 16000, 44100 or 48000 Hz")
        );
    }
    let length = (sound.length() as u128 * u128::from(out)).div_ceil(into.into());
    let length = usize::try_from(length).ok().filter(|&length| length <= 1 << 40);
    let length = length.ok_or_else(|| failed("the result is too long".into()))?;
    let (out, into, blocks) = (out as usize, into as usize, blocks as usize);
    let channels = sound.channels();
    let samples: Vec<f64> = sound.samples().iter().copied().map(f64::from).collect();
    let made = || -> std::result::Result<Vec<f64>, Box<dyn std::error::Error + Send + Sync>> {
        let window = WindowFunction::BlackmanHarris2;
        let mut resampler = Fft::<f64>::new_custom(into, out, blocks * into, 1, channels, window, FixedSync::Both)?;
        let input = InterleavedSlice::new(&samples, channels, sound.length())?;
        // Rubato finds the length in floating point: never below the exact one, at times one above.
        Ok(resampler.process_all(&input, sound.length(), None)?.take_data())
    };
    let mut samples: Vec<f32> =
        made().map_err(|error| failed(error.to_string()))?.into_iter().map(|s| s as f32).collect();
    samples.resize(length * channels, 0.0);
    Sound::new(channels, rate, samples)
}

fn greatest_common_divisor(mut a: u64, mut b: u64) -> u64 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}
