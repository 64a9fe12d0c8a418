//! Pieces of samples: from media through the pipeline to media.

use super::{GenerateRequest, MOST_SAMPLES, Output};
use crate::pipeline::{ContextMedia, Pipeline, Request};
use crate::task::TrackMedia;
use crate::{Clip, Media, Modality, Observer, Result, Task};

/// Makes pieces of the samples of a request, one batch of them after the other.
///
/// Each call of [`Pieces::make`] is a piece with noise of its own, so that a program may ask for as many as it likes.
pub struct Pieces<'a> {
    pipeline: &'a Pipeline,
    request: &'a GenerateRequest,
    observer: &'a mut dyn Observer,
    /// How many there have been.
    made: usize,
}

impl<'a> Pieces<'a> {
    /// None so far.
    pub fn new(pipeline: &'a Pipeline, request: &'a GenerateRequest, observer: &'a mut dyn Observer) -> Self {
        Self { pipeline, request, observer, made: 0 }
    }

    /// Who looks on.
    pub fn observer(&mut self) -> &mut dyn Observer {
        self.observer
    }

    /// A piece of each sample by `task`, from the context of that sample; with a strength, the context changed by so much.
    ///
    /// A clip that is context as a whole is not decoded again: the piece has none then.
    ///
    /// # Errors
    /// Where the context does not fit the task; where the sampler cannot edit; and what the observer returns.
    pub fn make(
        &mut self,
        task: &Task,
        context: &[Output],
        prompt: &str,
        strength: Option<f64>,
    ) -> Result<Vec<Output>> {
        let Self { pipeline, request, .. } = *self;
        let (seed, batch, mask) = (request.seed, request.batch.max(1), request.inputs.mask.as_ref());
        let batches = context.len().div_ceil(batch);
        let mut all = Vec::with_capacity(context.len());
        for (index, context) in context.chunks(batch).enumerate() {
            let clips: Vec<Media> = context.iter().filter_map(|one| one.clip.clone()).map(Media::Clip).collect();
            let sounds: Vec<Media> = context.iter().filter_map(|one| one.sound.clone()).map(Media::Sound).collect();
            let mut media: TrackMedia =
                [(Modality::Video.track().into(), clips), (Modality::Audio.track().into(), sounds)].into();
            // Samples are numbered by piece.
            let first = (index * batch + MOST_SAMPLES * self.made) as u64;
            let conditions = vec![request.conditions.clone()];
            let wanted = Request { prompts: vec![prompt.to_owned(); context.len()], seed, first, conditions };
            for (track, clip) in context.iter().flat_map(|one| &one.streams) {
                media.entry(track.clone()).or_default().push(Media::Clip(clip.clone()));
            }
            let premise = ContextMedia { task, media: &media, mask };
            let order = self.observer.time("encode", |_| match strength {
                Some(strength) => pipeline.edit_request(&wanted, &premise, strength),
                None => pipeline.task_request(&wanted, &premise),
            })?;
            all.extend(self.observer.time("sample", |observer| {
                pipeline
                    .once(&order, &mut |done, total| observer.progress("sample", index * total + done, batches * total))
            })?);
        }
        let piece = self.made;
        self.made += 1;
        for (sample, tokens) in all.iter().enumerate() {
            self.observer.tokens(sample, piece, tokens)?;
        }
        let decode = |tokens| pipeline.output(task, tokens);
        let outputs: Vec<Output> = self.observer.time("decode", |_| all.iter().map(decode).collect::<Result<_>>())?;
        for (sample, output) in outputs.iter().enumerate() {
            self.observer.preview(sample, piece, output)?;
        }
        Ok(outputs)
    }
}

/// Clips of one size, one after the other, at the rate of the first: at least one.
///
/// # Errors
/// Where their sizes differ.
pub fn joined<'a>(clips: impl IntoIterator<Item = &'a Clip>) -> Result<Clip> {
    let clips: Vec<&Clip> = clips.into_iter().collect();
    let [_, height, width] = clips[0].shape();
    let frames = clips.iter().map(|clip| clip.frames()).sum();
    let pixels = clips.iter().flat_map(|clip| clip.pixels()).copied().collect();
    Clip::new([frames, height, width], clips[0].rate(), pixels)
}
