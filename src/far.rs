//! Is what comes in like what a tokenizer was trained on?

use crate::adapt::cut;
use musiva_core::pipeline::{Codec, Pipeline};
use musiva_core::recipe::Recipe;
use musiva_core::{Inputs, Media, MediaShape, Modality, Result};
use musiva_train::fidelity::{Fidelity, HeldOut};

/// A warning, where media of a modality are reconstructed far worse than the held-out data of the recipe's tokenizer; `None`
/// where they are not, or its weights do not say how well it does on those.
///
/// # Errors
/// Where the weights cannot be read.
pub fn far_from_known(recipe: &Recipe, modality: Modality, here: Fidelity) -> Result<Option<String>> {
    let held_out = HeldOut::said(recipe.need_tokenizer(modality)?)?;
    let far = held_out.filter(|held_out| here.is_far_from(held_out.fidelity));
    Ok(far.map(|held_out| {
        let (section, what, known) = (modality.section(), modality.plural(), held_out.fidelity);
        format!(
            "this is far from the {what} that `{section}` was trained on: {here}, held-out data {known}; expect little of it \
             until the tokenizer is trained on {what} like this"
        )
    }))
}

/// The same of a sample, which is read, encoded and decoded only where the weights say how well they do.
///
/// # Errors
/// Where the weights or the sample cannot be read, or the tokenizer does not take it.
pub fn sample_far_from_known(
    recipe: &Recipe,
    codec: &Codec,
    modality: Modality,
    sample: impl FnOnce() -> Result<Media>,
) -> Result<Option<String>> {
    if HeldOut::said(recipe.need_tokenizer(modality)?)?.is_none() {
        return Ok(None);
    }
    let here = Fidelity::of(codec.tokenizer(), &sample()?)?;
    here.map_or(Ok(None), |here| far_from_known(recipe, modality, here))
}

/// The same of the first clip and the sound that a model is given, of each as much as the recipe's data have of a sample.
///
/// # Errors
/// As [`sample_far_from_known`].
pub fn inputs_far_from_known(recipe: &Recipe, pipeline: &Pipeline, inputs: &Inputs) -> Result<Vec<String>> {
    let mut all = Vec::new();
    if let (Some(clip), Some(codec)) = (inputs.clips.first(), pipeline.codec(Modality::Video.track())) {
        let MediaShape::Clip { frames, .. } = recipe.need_media(Modality::Video)? else { return Ok(all) };
        let [_, height, width] = clip.shape();
        let first = || cut(recipe, clip.slice(0..frames.min(clip.frames())), [height, width], &mut ()).map(Media::Clip);
        all.extend(sample_far_from_known(recipe, codec, Modality::Video, first)?);
    }
    if let (Some(sound), Some(codec)) = (&inputs.sound, pipeline.codec(Modality::Audio.track())) {
        let MediaShape::Sound { samples, .. } = recipe.need_media(Modality::Audio)? else { return Ok(all) };
        let first = || Ok(Media::Sound(sound.slice(0..samples.min(sound.length()))));
        all.extend(sample_far_from_known(recipe, codec, Modality::Audio, first)?);
    }
    Ok(all)
}
