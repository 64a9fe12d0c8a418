//! Noise that an audio tokenizer learns to take out of sounds: `[train.noise]`.

use musiva_core::recipe::{Part, Target, TrainSettings, TrainTable};
use musiva_core::{ConfigError, TokenizerConfig};
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

impl TrainTable for Noise {
    fn key(&self) -> &'static str {
        "noise"
    }

    fn errors(&self, train: &TrainSettings) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if train.target != Target::Audio {
            let message = format!("it is for an audio tokenizer, the target is \"{}\"", train.target);
            errors.push(ConfigError::new("", message, "delete this table"));
        }
        for (key, [least, most]) in [("snr", self.snr), ("slope", self.slope)] {
            if least > most {
                let message = format!("{least} to {most} decibels: the least is more than the most");
                errors.push(ConfigError::new(key, message, format!("set `{key} = [{most:?}, {least:?}]`")));
            }
        }
        errors
    }

    fn unfit(&self, tokenizer: &Part<dyn TokenizerConfig>) -> Option<ConfigError> {
        if tokenizer.component.denoises().is_some() {
            return None;
        }
        let message = format!("this `{}` has no denoise flag", tokenizer.kind);
        Some(ConfigError::new("", message, "set `tokenizer.audio.film = { denoise = true }`, or delete this table"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_told_with_its_hint() {
        let told = |noise: Noise, target| -> Vec<String> {
            let train = TrainSettings { target, ..TrainSettings::default() };
            noise.errors(&train).into_iter().map(|error| format!("{}: {}", error.path, error.hint)).collect()
        };
        assert!(told(Noise::default(), Target::Audio).is_empty());
        assert_eq!(told(Noise::default(), Target::Video), [": delete this table"]);
        let turned = Noise { snr: [10.0, -2.5], slope: [3.0, 3.0], clean: 1.0 };
        assert_eq!(told(turned, Target::Audio), ["snr: set `snr = [-2.5, 10.0]`"]);
    }
}
