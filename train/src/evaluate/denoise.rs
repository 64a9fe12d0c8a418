//! How well an audio tokenizer with a switch takes noise out of held-out sounds, and how well it keeps it.

use super::sound::{Measures, Sources, Sums};
use super::{Progress, SoundFigures};
use crate::denoise::{switched, with_noise};
use crate::noise::power;
use musiva_core::{Result, RngKey, Tokenizer};
use musiva_data::world::Split;
use musiva_tokenizers::settings::Noise;
use serde::Serialize;

/// What becomes of sounds with noise behind them.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Denoised {
    /// How many sounds; silent ones are left out.
    pub n: usize,
    /// Decibels by which each of them is louder than its noise, by mean powers.
    pub snr: f64,
    /// The noisy sounds as they are, against the clean ones.
    pub noisy: SoundFigures,
    /// What is made of them with the switch on.
    pub on: Against,
    /// What is made of them with the switch off.
    pub off: Against,
}

/// How like sounds are to both that they might be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Against {
    /// Against the sounds without noise.
    pub clean: SoundFigures,
    /// Against the sounds with their noise.
    pub noisy: SoundFigures,
}

/// Measures `n` sounds by `seed` with the least of the noise of `settings`, the mean of it, and the most; nothing where
/// the tokenizer has no switch.
pub(super) fn denoise(
    tokenizer: &dyn Tokenizer,
    sources: &Sources,
    settings: &Noise,
    [n, seed]: [u64; 2],
    progress: &mut Progress,
) -> Result<Vec<Denoised>> {
    if !tokenizer.encoding().is_some_and(|mut encoding| encoding.denoise(true)) {
        return Ok(Vec::new());
    }
    let [least, most] = settings.snr;
    let each = [most, (least + most) / 2.0, least].into_iter().map(|snr| {
        let settings = Noise { snr: [snr; 2], clean: 0.0, ..*settings };
        at(tokenizer, sources, &settings, [n, seed], progress)
    });
    each.collect()
}

/// The same with noise of one loudness.
fn at(
    tokenizer: &dyn Tokenizer,
    sources: &Sources,
    settings: &Noise,
    [n, seed]: [u64; 2],
    progress: &mut Progress,
) -> Result<Denoised> {
    let which = sources.which(n);
    let (mut count, mut measures, mut sums) = (0, None, [Sums::default(); 5]);
    let n = which.len();
    for (at, i) in which.into_iter().enumerate() {
        progress(&format!("sounds with noise, {} dB", settings.snr[0]), at, n)?;
        let key = RngKey::new(seed).sample(i);
        let sound = match sources.world.and_then(|world| world.scene(key, Split::Test).sound()) {
            Some(sound) => sound,
            None => sources.held_out.get(i)?.into_sound()?,
        };
        if power(sound.samples()) == 0.0 {
            continue;
        }
        let noisy = with_noise(&sound, settings, key)?;
        let (Some(on), Some(off)) = (switched(tokenizer, &noisy, true)?, switched(tokenizer, &noisy, false)?) else {
            continue;
        };
        count += 1;
        let measures = measures.get_or_insert_with(|| Measures::of(&sound, None));
        let pairs = [(&sound, &noisy), (&sound, &on), (&noisy, &on), (&sound, &off), (&noisy, &off)];
        for (sums, (wanted, made)) in sums.iter_mut().zip(pairs) {
            sums.add(wanted, made, "", measures)?;
        }
    }
    let [noisy, on, on_noisy, off, off_noisy] = sums.map(|sums| sums.mean(false));
    Ok(Denoised {
        n: count,
        snr: settings.snr[0],
        noisy,
        on: Against { clean: on, noisy: on_noisy },
        off: Against { clean: off, noisy: off_noisy },
    })
}
