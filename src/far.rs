//! Is what comes in like what a tokenizer was trained on?

use crate::adapt::cut;
use musiva_core::pipeline::Codec;
use musiva_core::recipe::Recipe;
use musiva_core::{Media, MediaShape, Result};
use musiva_train::held_out::{Fidelity, HeldOut};

/// What is to be said of media that the recipe's tokenizer reconstructs far worse than the data that it was measured on when
/// it was trained; `None` where it does not, or its weights say nothing of those. Of long media the first sample counts.
///
/// # Errors
/// Where the weights cannot be read, or the tokenizer does not take the media.
pub fn far_from_known(recipe: &Recipe, codec: &Codec, media: &Media) -> Result<Option<String>> {
    let modality = media.modality();
    let Some(held_out) = HeldOut::said(recipe.need_tokenizer(modality)?)? else { return Ok(None) };
    let sample = match (media, recipe.need_media(modality)?) {
        (Media::Clip(clip), MediaShape::Clip { frames, .. }) => {
            let [_, height, width] = clip.shape();
            let first = clip.slice(0..frames.min(clip.frames()));
            Media::Clip(cut(recipe, first, [height, width], &mut ())?)
        }
        (Media::Sound(sound), MediaShape::Sound { samples, .. }) => {
            Media::Sound(sound.slice(0..samples.min(sound.length())))
        }
        _ => return Ok(None),
    };
    let Some(here) = Fidelity::of(codec.tokenizer(), &sample)? else { return Ok(None) };
    Ok(here.is_far_from(held_out.fidelity).then(|| {
        let what = modality.plural();
        format!(
            "this is far from the {what} that `{}` was trained on: {here} of it, {} of theirs; \
             what is made of it will be poor, until the tokenizer is trained on {what} like it",
            modality.section(),
            held_out.fidelity
        )
    }))
}
