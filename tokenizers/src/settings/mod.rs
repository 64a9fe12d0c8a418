//! How tokenizers are trained: `[train.loss]`, `[train.sound_loss]`, `[train.noise]`, `[train.adversarial]` and
//! `[train.perceptual]`.

mod adversarial;
mod losses;
mod noise;

pub use adversarial::{Adversarial, AdversarialLoss, Perceptual};
pub use losses::{SoundLoss, TokenizerLoss};
pub use noise::Noise;

use musiva_core::recipe::TrainTableKind;
use musiva_core::{Registry, Result};

/// Registers the tables of `[train]` that tokenizers have.
pub(crate) fn register(registry: &mut Registry) -> Result<()> {
    registry.register_train_table(TrainTableKind::always::<TokenizerLoss>("The loss of a video tokenizer."))?;
    registry.register_train_table(TrainTableKind::always::<SoundLoss>("The loss of an audio tokenizer."))?;
    registry.register_train_table(TrainTableKind::optional::<Noise>(
        "Noise that an audio tokenizer with `film` learns to remove; left out, there is none.",
    ))?;
    registry.register_train_table(TrainTableKind::optional::<Adversarial>(
        "The discriminator that a tokenizer is trained against; left out, there is none.",
    ))?;
    registry.register_train_table(TrainTableKind::optional::<Perceptual>(
        "The perceptual loss of a video tokenizer, by features of an image network; left out, there is none.",
    ))
}
