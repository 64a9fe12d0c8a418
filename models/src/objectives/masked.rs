//! `masked`: the cross-entropy of hidden tokens given the prompt and those that are not hidden
//! (MaskGIT, Chang et al. 2022, equation 1).

use super::{Nats, bits_by_track, costs, drop_prompts, frame_progress, frames_of, parts, stratified, sum};
use burn::tensor::{Tensor, TensorData};
use musiva_core::canvas::{CleanBatch, MaskedCodes, ModelInput, columns};
use musiva_core::{
    Backbone, BackboneSpec, Bits, BitsKind, ConfigError, Error, ErrorKind, Loss, Objective, Process, Result, RngKey,
    RngStream,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::f64::consts::FRAC_PI_2;

/// Which part of the tokens is hidden once a part `r` of the way from nothing to all is walked: `γ(r)`
/// of MaskGIT, section 3.3. Concave ones hide many tokens for long, convex ones few.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum MaskSchedule {
    /// `cos(πr/2)`, concave.
    Cosine,
    /// `1 - r`.
    Linear,
    /// `1 - r²`, concave.
    Square,
    /// `1 - r³`, concave.
    Cubic,
    /// `1 - √r`, convex.
    Root,
    /// `1 - 2^(log₂L·(r - 1))` for `L` tokens, concave.
    Exponential,
    /// `-log₂r / log₂L` for `L` tokens, convex.
    Logarithmic,
}

impl MaskSchedule {
    /// `γ(r)` for `0 ≤ r ≤ 1` and so many tokens, from 1 to 0.
    pub fn masked_fraction(self, r: f64, tokens: usize) -> f64 {
        let bits = (tokens.max(2) as f64).log2();
        let part = match self {
            Self::Cosine => (FRAC_PI_2 * r).cos(),
            Self::Linear => 1.0 - r,
            Self::Square => 1.0 - r * r,
            Self::Cubic => 1.0 - r * r * r,
            Self::Root => 1.0 - r.sqrt(),
            Self::Exponential => 1.0 - (bits * (r - 1.0)).exp2(),
            Self::Logarithmic => -r.log2() / bits,
        };
        part.clamp(0.0, 1.0)
    }
}

/// What a recipe says of `kind = "masked"`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct MaskedTokens {
    /// Masking schedule: the fraction of masked tokens, for a uniform `r`.
    pub schedule: MaskSchedule,
    /// Probability of training without the prompt.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub prompt_dropout: f32,
    /// Largest difference between the progress of a sample's frames along the masking schedule: 0 for all alike, 1 for
    /// one frame after the other; each training sample draws its own between 0 and this.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub frame_offset: f32,
}

impl Default for MaskedTokens {
    fn default() -> Self {
        Self { schedule: MaskSchedule::Cosine, prompt_dropout: 0.1, frame_offset: 0.0 }
    }
}

impl Objective for MaskedTokens {
    fn errors(&self) -> Vec<ConfigError> {
        Vec::new()
    }

    fn fits(&self, backbone: &BackboneSpec) -> Result<(), ConfigError> {
        let (predicts, hint) = match backbone {
            BackboneSpec::Masked => return Ok(()),
            BackboneSpec::NextToken => ("the next token", "set `objective.kind = \"next-token\"`"),
            BackboneSpec::Diffusion { .. } => ("vectors", "set `objective.kind = \"rectified-flow\"`"),
        };
        let message = format!("masked trains a model that predicts masked tokens, this backbone predicts {predicts}");
        Err(ConfigError::new("kind", message, format!("{hint}, or `backbone.kind = \"masked\"`")))
    }

    fn process(&self) -> Option<Process> {
        None
    }

    fn frame_offset(&self) -> f32 {
        self.frame_offset
    }

    fn loss(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey) -> Result<Loss> {
        let device = backbone.device();
        let digits = batch.digits(&device).ok_or_else(|| {
            Error::new(ErrorKind::Unsupported, "objective", "masked trains on codes, these tokens are latents")
        })?;
        let conditioning = drop_prompts(batch, self.prompt_dropout, key).conditioning_codes(&device)?;
        let [size, length, _] = digits.dims();
        let (count, frame_of) = frames_of(&batch.layout, self.frame_offset);
        let masked: Vec<f32> =
            batch.samples.iter().flat_map(|&sample| self.mask(count, &frame_of, key.sample(sample))).collect();
        // How many tokens are masked: an element may be a part of one.
        let shares = batch.layout.shares();
        let count = masked.iter().zip(shares.iter().cycle()).map(|(masked, share)| masked * share).sum::<f32>();
        let masked = Tensor::<3>::from_data(TensorData::new(masked, [size, length, 1]), &device);
        let input = ModelInput::Masked(MaskedCodes { codes: digits.clone(), mask: masked.clone() });
        let nats = costs(backbone, conditioning, input, &digits)?;
        let masked = masked.reshape([size, length]);
        let shares = Tensor::<2>::from_data(TensorData::new(shares, [1, length]), &device);
        let by_track = batch.layout.target_by_track();
        let each: Vec<_> = nats
            .into_iter()
            .map(|Nats { track, costs }| {
                let nats = costs.into_iter().map(|(at, nats)| (nats * columns(masked.clone(), &at)).sum());
                let own = by_track.iter().find(|(other, _)| *other == track).map_or(&[][..], |(_, at)| at);
                let tokens = columns(masked.clone(), own) * columns(shares.clone(), own);
                (track, sum(nats), tokens.sum().clamp_min(1.0))
            })
            .collect();
        let total = sum(each.iter().map(|(_, nats, _)| nats.clone())) / count;
        let bits = total.clone() / std::f64::consts::LN_2;
        let each = each.into_iter().map(|(track, nats, n)| (track, nats / n / std::f64::consts::LN_2)).collect();
        Ok(Loss { total, parts: parts(batch, bits, each) })
    }

    /// The NELBO of absorbing (masked) discrete diffusion, which is also that of an any-order autoregressive model (Shi et al.
    /// 2024, "Simplified and Generalized Masked Diffusion", section 3; Ou et al. 2024, equation 3.5): of `N` positions `k`,
    /// uniform in `1..=N`, are masked at random, and their cross-entropy is weighted by `N/k`. The mask schedule of training
    /// does not matter.
    fn bits(&self, backbone: &dyn Backbone, batch: &CleanBatch, key: RngKey, draw: [u64; 2]) -> Result<Option<Bits>> {
        let device = backbone.device();
        let Some(digits) = batch.digits(&device) else { return Ok(None) };
        let [size, length, _] = digits.dims();
        // The weights of masked tokens; 0 for those that are not.
        let mut weights = vec![0.0; size * length];
        for (&sample, weights) in batch.samples.iter().zip(weights.chunks_mut(length)) {
            let key = key.sample(sample);
            let count = 1 + (stratified(key, draw) * length as f64) as usize;
            let mut order: Vec<usize> = (0..length).collect();
            key.step(draw[0]).stream(RngStream::Shuffle).shuffle(&mut order);
            order.iter().take(count).for_each(|&at| weights[at] = length as f32 / count as f32);
        }
        let weights = Tensor::<2>::from_data(TensorData::new(weights, [size, length]), &device);
        let mask = weights.clone().greater_elem(0.0).float().reshape([size, length, 1]);
        let input = ModelInput::Masked(MaskedCodes { codes: digits.clone(), mask });
        let nats = costs(backbone, batch.conditioning_codes(&device)?, input, &digits)?;
        let tracks = bits_by_track(nats, |at, nats| nats * columns(weights.clone(), at));
        Ok(Some(Bits { tracks, kind: BitsKind::UpperBound }))
    }
}

impl MaskedTokens {
    /// 1 for each token of a sample that is hidden: of each of so many frames as many as the schedule says, one at
    /// least of a frame that is not whole, at random.
    fn mask(&self, frames: usize, frame_of: &[usize], key: RngKey) -> Vec<f32> {
        let mut ranks: Vec<usize> = (0..frame_of.len()).collect();
        key.stream(RngStream::Shuffle).shuffle(&mut ranks);
        let mut times = key.stream(RngStream::Time);
        let (progress, frame_offset) = (f64::from(times.uniform()), f64::from(times.uniform() * self.frame_offset));
        let progress = frame_progress(progress, frames, frame_offset).into_iter().enumerate();
        let mut mask = vec![0.0; frame_of.len()];
        for (frame, progress) in progress.filter(|(_, progress)| *progress < 1.0) {
            let mut own: Vec<usize> = (0..frame_of.len()).filter(|&position| frame_of[position] == frame).collect();
            own.sort_unstable_by_key(|&position| ranks[position]);
            let masked = (self.schedule.masked_fraction(progress, own.len()) * own.len() as f64).ceil() as usize;
            own.iter().take(masked.max(1)).for_each(|&position| mask[position] = 1.0);
        }
        mask
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [MaskSchedule; 7] = [
        MaskSchedule::Cosine,
        MaskSchedule::Linear,
        MaskSchedule::Square,
        MaskSchedule::Cubic,
        MaskSchedule::Root,
        MaskSchedule::Exponential,
        MaskSchedule::Logarithmic,
    ];

    #[test]
    fn schedules_fall_from_all_to_nothing() {
        for schedule in ALL {
            let at: Vec<f64> = (0..=100).map(|i| schedule.masked_fraction(f64::from(i) / 100.0, 256)).collect();
            assert!(at.windows(2).all(|pair| pair[0] >= pair[1]), "{schedule:?}");
            assert!(at[0] > 0.99 && at[100] < 1e-12, "{schedule:?}: {} to {}", at[0], at[100]);
        }
    }

    #[test]
    fn schedules_have_their_exact_values() {
        // Halfway, of 256 tokens: worked by hand from the definitions.
        let wanted = [0.5f64.sqrt(), 0.5, 0.75, 0.875, 1.0 - 0.5f64.sqrt(), 1.0 - 1.0 / 16.0, 1.0 / 8.0];
        for (schedule, wanted) in ALL.into_iter().zip(wanted) {
            let found = schedule.masked_fraction(0.5, 256);
            assert!((found - wanted).abs() < 1e-12, "{schedule:?}: {found}, not {wanted}");
        }
    }

    #[test]
    fn as_many_tokens_are_hidden_as_the_schedule_says_on_average_and_each_as_often() {
        let objective = MaskedTokens::default();
        let mut counts = [0.0f64; 50];
        for sample in 0..4000 {
            let mask = objective.mask(1, &[0; 50], RngKey::new(7).sample(sample));
            counts.iter_mut().zip(mask).for_each(|(count, masked)| *count += f64::from(masked) / 4000.0);
        }
        // E[cos(πr/2)] = 2/π, and half a token more by rounding up.
        let wanted = 2.0 / std::f64::consts::PI + 0.01;
        assert!(counts.iter().all(|count| (count - wanted).abs() < 0.04), "{counts:?}");
    }

    #[test]
    fn frames_go_ahead_of_others_where_they_may() {
        let frames: Vec<usize> = (0..60).map(|position| position / 20).collect();
        let objective = MaskedTokens { frame_offset: 1.0, ..MaskedTokens::default() };
        let mut apart = 0;
        for sample in 0..500 {
            let mask = objective.mask(3, &frames, RngKey::new(7).sample(sample));
            let masked: Vec<f32> = mask.chunks(20).map(|frame| frame.iter().sum()).collect();
            assert!(masked.is_sorted() && masked[2] >= 1.0, "{masked:?}");
            apart += usize::from(masked[0] == 0.0 && masked[2] == 20.0);
        }
        // ∫(2s - 1)/(2s + 1) for s from 1/2 to 1, and a little more by rounding: one in ten.
        assert!((30..150).contains(&apart), "{apart}");
    }
}
