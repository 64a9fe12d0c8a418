//! The discriminator that a tokenizer plays against.

use crate::health::AdversarialStats;
use burn::tensor::{Device, Tensor};
use musiva_core::parameters::{learning, to_vec};
use musiva_core::recipe::TrainSettings;
use musiva_core::{Init, Loss, Modality, Parameters};
use musiva_tokenizers::discriminators::{Discriminator, DiscriminatorConfig};
use musiva_tokenizers::losses::adversarial::{
    accuracy, adaptive_weight, discriminator_loss, feature_matching, generator_loss, gradient_penalty, lecam,
};
use musiva_tokenizers::settings::Adversarial;

/// A discriminator in training.
pub struct Adversary {
    settings: TrainSettings,
    game: Adversarial,
    discriminator: Discriminator,
    /// Real media and those made of them, of the present part of a batch, without gradients.
    media: Option<(Tensor<5>, Tensor<5>)>,
    /// The tokenizer's loss, and the part of judgements that were right.
    adversarial_stats: [Option<Tensor<1>>; 2],
}

/// The size that the settings say.
pub(super) fn config(game: &Adversarial) -> DiscriminatorConfig {
    DiscriminatorConfig { channels: game.channels, widest: game.widest, blocks: game.blocks, window: game.window }
}

/// How the discriminator's optimizer is set, beside a tokenizer that is trained by these `settings`.
fn own_settings(game: &Adversarial, settings: TrainSettings) -> TrainSettings {
    TrainSettings {
        learning_rate: game.learning_rate,
        betas: game.betas,
        muon: None,
        weight_decay: 0.0,
        ema: 0.0,
        freeze: Vec::new(),
        ..settings
    }
}

impl Adversary {
    /// A fresh one, beside a tokenizer that is trained by these `settings`; `None` where they have none.
    pub(super) fn new(settings: TrainSettings, modality: Modality, device: &Device) -> Option<Self> {
        let game = settings.tables.get::<Adversarial>()?.clone();
        let settings = own_settings(&game, settings);
        let init = Init::new(settings.seed, device).part("discriminator");
        let discriminator = Discriminator::new(&config(&game), modality, &init);
        Some(Self { settings, game, discriminator, media: None, adversarial_stats: [None, None] })
    }

    /// How its optimizer is set.
    pub fn settings(&self) -> &TrainSettings {
        &self.settings
    }

    /// The step of its own training at `step` of the tokenizer's; `None` before its start.
    pub fn step(&self, step: u64) -> Option<u64> {
        self.game.step(step)
    }

    /// What it learns.
    pub fn parameters(&self) -> &dyn Parameters {
        &self.discriminator
    }

    /// What it learns, to change.
    pub fn parameters_mut(&mut self) -> &mut dyn Parameters {
        &mut self.discriminator
    }

    /// The tokenizer's loss by the media `made` of `real` ones: their `distortion`, and from its start on what the
    /// discriminator says of them.
    ///
    /// Both are taken of a copy of the media that hangs on nothing: so their gradients by the media are known one by one,
    /// to be weighed against each other, and the tokenizer is gone back through once.
    pub(super) fn pull(
        &mut self,
        real: Tensor<5>,
        made: Tensor<5>,
        distortion: impl FnOnce(Tensor<5>) -> Loss,
        step: u64,
    ) -> Loss {
        let Some(its_step) = self.step(step) else { return distortion(made) };
        let copy = made.clone().detach().require_grad();
        let far = distortion(copy.clone());
        let (of_distortion, value) = (slope(&copy, far.total.clone()), far.total.detach());

        let copy = copy.detach().require_grad();
        let frozen = self.discriminator.frozen();
        let judged = frozen.forward(copy.clone());
        let generator_loss = generator_loss(self.game.loss, &judged);
        let mut parts = far.parts;
        parts.push(("adversarial", generator_loss.clone().detach()));
        self.adversarial_stats[0] = Some(generator_loss.clone().inner());
        let mut total = generator_loss;
        if self.game.feature > 0.0 {
            let feature = feature_matching(&frozen.forward(real.clone()), &judged);
            parts.push(("feature", feature.clone().detach()));
            total = total + feature * self.game.feature;
        }
        let (of_judgement, judgement) = (slope(&copy, total.clone()), total.detach());
        // What it says at first is noise, which an adaptive weight would make as loud as all else.
        let warm = ((its_step + 1) as f64 / self.settings.warmup.max(1) as f64).min(1.0);
        let weight = match self.game.adaptive {
            Some(most) => {
                let adaptive = adaptive_weight(of_distortion.clone(), of_judgement.clone(), most);
                parts.push(("adaptive_weight", adaptive.clone()));
                adaptive * (self.game.weight * warm)
            }
            None => Tensor::full([1], self.game.weight * warm, &made.device()),
        };
        let pull = of_distortion + of_judgement * weight.clone().reshape([1, 1, 1, 1, 1]);
        self.media = Some((real, made.clone().detach()));
        // Its gradient by the media is the pull; its value, that of the loss.
        let turned = (made * pull).sum();
        let value = value + judgement * weight;
        Loss { total: turned.clone() + (value - turned).detach(), parts }
    }

    /// Its own loss on the media of the last `pull`, with its parts for the log; `None` before its start.
    pub fn loss(&mut self, step: u64) -> Option<Loss> {
        let (its_step, (real, made)) = (self.step(step)?, self.media.take()?);
        let (of_real, of_made) = (self.discriminator.forward(real.clone()), self.discriminator.forward(made));
        let discriminator_loss = discriminator_loss(self.game.loss, &of_real, &of_made);
        let right = accuracy(&of_real, &of_made);
        self.adversarial_stats[1] = Some(right.clone().inner());
        let mut parts = vec![("discriminator", discriminator_loss.clone()), ("accuracy", right)];
        let mut total = discriminator_loss;
        self.discriminator.update_ema(&of_real, &of_made, its_step);
        if self.game.lecam > 0.0 {
            let lecam = lecam(&of_real, &of_made, self.discriminator.anchors());
            parts.push(("lecam", lecam.clone()));
            total = total + lecam * self.game.lecam;
        }
        let every = self.game.r1_every as u64;
        if self.game.r1 > 0.0 && its_step.is_multiple_of(every) {
            let frozen = self.discriminator.frozen();
            let penalty = gradient_penalty(|x| frozen.score(x), |x| self.discriminator.score(x), real);
            parts.push(("r1", penalty.clone()));
            total = total + penalty * (self.game.r1 * every as f64);
        }
        Some(Loss { total, parts })
    }

    /// How the last step's game stood.
    pub(super) fn adversarial_stats(&mut self) -> Option<AdversarialStats> {
        let [generator_loss, accuracy] =
            std::mem::take(&mut self.adversarial_stats).map(|one| Some(f64::from(to_vec(one?)[0])));
        Some(AdversarialStats { adversarial: generator_loss?, accuracy: accuracy? })
    }
}

/// The gradient of a loss by media that hang on nothing.
fn slope(media: &Tensor<5>, loss: Tensor<1>) -> Tensor<5> {
    let gradients = loss.backward();
    match media.grad(&gradients) {
        Some(slope) => learning(slope, &media.device(), false),
        None => Tensor::zeros(media.dims(), &media.device()),
    }
}
