//! Noise that an audio tokenizer learns to take out of sounds: `[train.noise]`.

use super::{Part, Target};
use crate::{ConfigError, TokenizerConfig};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Coloured noise behind the sounds that are trained on (SoundStream, section III-F): of every other window the
/// tokenizer's switch is on, and the sound alone is to be made again; of the others it is off, and the noise belongs to
/// what is to be made: `[train.noise]`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Noise {
    /// Decibels by which a sound, all of it, is louder than the noise behind its windows, by their mean powers: the least
    /// and the most, drawn evenly for each window. Behind silence there is none.
    #[schemars(inner(range(min = -30.0, max = 60.0)))]
    pub snr: [f64; 2],
    /// Decibels an octave by which the noise's power rises with the frequency: 0 is white noise, -3 pink, -6 brown; the
    /// least and the most, drawn evenly for each window.
    #[schemars(inner(range(min = -6.0, max = 6.0)))]
    pub slope: [f64; 2],
    /// The share of the windows that stay without noise, so that clean sounds pass unchanged whatever the denoise flag
    /// is.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub clean: f64,
}

impl Default for Noise {
    fn default() -> Self {
        Self { snr: [0.0, 20.0], slope: [-6.0, 0.0], clean: 0.2 }
    }
}

impl Noise {
    /// What is wrong with it in `[train]`, beyond what its schema says.
    pub fn errors(&self, target: Target) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if target != Target::Audio {
            let message = format!("it is for an audio tokenizer, the target is \"{target}\"");
            errors.push(ConfigError::new("noise", message, "delete this table"));
        }
        for (key, [least, most]) in [("snr", self.snr), ("slope", self.slope)] {
            if least > most {
                let message = format!("{least} to {most} decibels: the least is more than the most");
                errors.push(ConfigError::new(
                    format!("noise.{key}"),
                    message,
                    format!("set `{key} = [{most:?}, {least:?}]`"),
                ));
            }
        }
        errors
    }
}

/// What in `[train]` does not fit the audio tokenizer that is trained, with `noise` or without.
pub fn unfit(noise: Option<&Noise>, part: &Part<dyn TokenizerConfig>) -> Option<ConfigError> {
    let kind = &part.kind;
    match (noise, part.component.denoises()) {
        (Some(_), None) => Some(ConfigError::new(
            "noise",
            format!("this `{kind}` has no denoise flag"),
            "set `tokenizer.audio.film = { denoise = true }`, or delete this table",
        )),
        (None, Some(_)) => Some(ConfigError::new(
            "target",
            format!("this `{kind}` has a denoise flag, and training has no noise"),
            "add `[train.noise]`, or delete `film` from `[tokenizer.audio]`",
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_with_its_hint() {
        let told = |noise: Noise, target| -> Vec<String> {
            noise.errors(target).into_iter().map(|error| format!("{}: {}", error.path, error.hint)).collect()
        };
        assert!(told(Noise::default(), Target::Audio).is_empty());
        assert_eq!(told(Noise::default(), Target::Video), ["noise: delete this table"]);
        let turned = Noise { snr: [10.0, -2.5], slope: [3.0, 3.0], clean: 1.0 };
        assert_eq!(told(turned, Target::Audio), ["noise.snr: set `snr = [-2.5, 10.0]`"]);
    }
}
