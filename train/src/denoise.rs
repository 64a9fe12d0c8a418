//! Held-out sounds with noise behind them, through a tokenizer that can take it out.

use crate::noise::{noisy, power};
use musiva_core::{Media, Modality, Result, RngKey, RngStream, Sound, Tokenizer};
use musiva_tokenizers::settings::Noise;

/// A sound with noise behind it.
///
/// # Errors
/// Where it is too loud for its samples to be finite.
pub fn with_noise(sound: &Sound, settings: &Noise, key: RngKey) -> Result<Sound> {
    let samples = noisy(sound.samples(), power(sound.samples()), settings, &mut key.stream(RngStream::Background));
    Sound::new(sound.channels(), sound.rate(), samples)
}

/// What a tokenizer makes of a sound with its switch on or off; `None` where it has no switch.
///
/// # Errors
/// What the tokenizer returns.
pub fn switched(tokenizer: &dyn Tokenizer, sound: &Sound, on: bool) -> Result<Option<Sound>> {
    let Some(mut encoding) = tokenizer.encoding() else { return Ok(None) };
    if !encoding.denoise(on) {
        return Ok(None);
    }
    let whole = sound.length().next_multiple_of(tokenizer.spec().strides[0]);
    let tokens = encoding.push(&Media::Sound(sound.clone().with_length(whole)))?;
    let made = tokenizer.decode(&tokens)?.sound(Modality::Audio.section())?;
    Ok(Some(made.with_rate(sound.rate()).with_length(sound.length())))
}
