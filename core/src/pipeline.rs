//! A recipe built on a device: from a prompt to a clip.
//!
//! [`Codec`] is the half that needs no backbone (clip ⇄ tokens at the recipe's frame rate);
//! [`Pipeline`] is the whole road. Both read weights and neither changes them; training has its own.

use crate::canvas::PromptKind;
use crate::recipe::Recipe;
use crate::{
    Backbone, CanvasShape, CanvasTokens, Clip, Encoders, Error, ErrorKind, Layout, Mask, MaskSpec, Media, MediaShape,
    Modality, Process, Program, Rate, Result, RngKey, SampleRequest, Sampler, Sound, Start, Task, Tokenizer, Tokens,
};
use burn::tensor::Device;
use std::sync::Arc;

/// A tokenizer of the recipe with its weights, and the rate that tokens do not know.
pub struct Codec {
    tokenizer: Box<dyn Tokenizer>,
    modality: Modality,
    rate: Rate,
}

impl Codec {
    /// Builds the recipe's tokenizer of clips or of sounds on `device`.
    ///
    /// # Errors
    /// Where the recipe has no such tokenizer, no weights for it or no such data, or the weights do not
    /// fit; or where the modality is text, which has no rate.
    pub fn build(recipe: &Recipe, modality: Modality, device: &Device) -> Result<Self> {
        let part = recipe.need_tokenizer(modality)?;
        let rate = match recipe.need_media(modality)? {
            MediaShape::Clip { rate, .. } | MediaShape::Sound { rate, .. } => rate,
            MediaShape::Text => return Err(Error::new(ErrorKind::Unsupported, part.section, "text has no rate")),
        };
        Ok(Self { tokenizer: part.component.build(device, &part.weight_init()?)?, modality, rate })
    }

    /// What is inside.
    pub fn tokenizer(&self) -> &dyn Tokenizer {
        &*self.tokenizer
    }

    /// Frames or samples a second.
    pub fn rate(&self) -> Rate {
        self.rate
    }

    /// Media to tokens.
    ///
    /// # Errors
    /// Where the media do not fit the tokenizer.
    pub fn encode(&self, media: &Media) -> Result<Tokens> {
        self.tokenizer.encode(media)
    }

    /// Tokens to media at the recipe's rate.
    ///
    /// # Errors
    /// Where the tokens are of another kind than the tokenizer's, or it makes something else.
    pub fn decode(&self, tokens: &Tokens) -> Result<Media> {
        match (self.tokenizer.decode(tokens)?, self.modality) {
            (Media::Clip(clip), Modality::Video) => Ok(Media::Clip(clip.with_rate(self.rate))),
            (Media::Sound(sound), Modality::Audio) => Ok(Media::Sound(sound.with_rate(self.rate))),
            (other, modality) => Err(other.unexpected(modality.section(), modality)),
        }
    }

    /// Tokens to a clip, of a codec of clips.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn clip(&self, tokens: &Tokens) -> Result<Clip> {
        self.decode(tokens)?.clip(self.modality.section())
    }
}

/// Everything that generating takes, with its weights.
pub struct Pipeline {
    codec: Codec,
    audio: Option<Codec>,
    text: Box<dyn Tokenizer>,
    backbone: Box<dyn Backbone>,
    sampler: Arc<dyn Sampler>,
    process: Option<Process>,
    tasks: Vec<Task>,
    program: Option<Arc<dyn Program>>,
}

/// What is to be made: a clip, its sound or both, one a prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The prompts; an empty one is no prompt.
    pub prompts: Vec<String>,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// The number of the first sample, the others count on: a sample is known by what is given, its seed and
    /// its number, and is the same in whatever batch it is made.
    pub first: u64,
}

/// What is given beside the prompts: as many clips or sounds as there are prompts, of the canvas' length, where the
/// task asks for some. What the task makes is not looked at, but by [`Pipeline::edit_request`].
#[derive(Clone, Copy, Debug)]
pub struct ContextMedia<'a> {
    /// The task.
    pub task: &'a Task,
    /// The clips.
    pub clips: &'a [Clip],
    /// The sounds, mono.
    pub sounds: &'a [Sound],
    /// What of the clips is to be made, where the task has a region.
    pub mask: Option<&'a Mask>,
}

impl Pipeline {
    /// Builds tokenizers and backbone of `recipe` on `device`.
    ///
    /// # Errors
    /// Where a part is missing, has no weights, or they do not fit.
    pub fn build(recipe: &Recipe, device: &Device) -> Result<Self> {
        let sampler = recipe.need_sampler()?.component.clone();
        let (backbone, text) = (recipe.need_backbone()?, recipe.need_tokenizer(Modality::Text)?);
        let canvas = recipe.need_canvas()?;
        Ok(Self {
            codec: Codec::build(recipe, Modality::Video, device)?,
            audio: canvas.sound.map(|_| Codec::build(recipe, Modality::Audio, device)).transpose()?,
            text: text.component.build(device, &text.weight_init()?)?,
            backbone: backbone.component.build(&canvas, device, &backbone.weight_init()?)?,
            process: recipe.objective.as_ref().and_then(|objective| objective.component.process()),
            sampler,
            tasks: recipe.need_tasks()?,
            program: recipe.program.as_ref().map(|part| part.component.clone()),
        })
    }

    /// The clip of what was made, where there is one.
    ///
    /// # Errors
    /// As [`Codec::clip`].
    pub fn clip(&self, tokens: &CanvasTokens) -> Result<Option<Clip>> {
        tokens.video.as_ref().map(|tokens| self.codec.clip(tokens)).transpose()
    }

    /// The sound of what was made, where there is one.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn sound(&self, tokens: &CanvasTokens) -> Result<Option<Sound>> {
        match (&tokens.audio, &self.audio) {
            (Some(tokens), Some(codec)) => codec.decode(tokens)?.sound(Modality::Audio.section()).map(Some),
            _ => Ok(None),
        }
    }

    /// Clip ⇄ tokens.
    pub fn codec(&self) -> &Codec {
        &self.codec
    }

    /// Sound ⇄ tokens, where the canvas has sound.
    pub fn audio(&self) -> Option<&Codec> {
        self.audio.as_ref()
    }

    /// What the backbone was trained for.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// The recipe's program, where it has one.
    pub fn program(&self) -> Option<&dyn Program> {
        self.program.as_deref()
    }

    /// The canvas that the backbone fills.
    pub fn canvas(&self) -> &CanvasShape {
        self.backbone.canvas()
    }

    /// Turns a request into what the sampler is asked for: whole canvases, from prompts alone.
    ///
    /// # Errors
    /// Where a prompt is longer than the canvas has room for.
    pub fn sample_request(&self, request: &Request) -> Result<SampleRequest> {
        let texts: Vec<Media> = request.prompts.iter().map(|prompt| Media::Text(prompt.clone())).collect();
        let key = |i: u64| RngKey::new(request.seed).sample(request.first + i);
        let texts = self.text.encode_all(&texts)?;
        let prompts = texts.iter().map(|text| self.canvas().prompt_of(text)).collect::<Result<Vec<_>>>()?;
        Ok(SampleRequest::prompts(prompts, (0..request.prompts.len() as u64).map(key).collect(), self.canvas()))
    }

    /// The same for a task, with what it is given.
    ///
    /// # Errors
    /// As [`Pipeline::sample_request`]; or where media do not fit the tokenizers.
    pub fn task_request(&self, request: &Request, context_media: &ContextMedia) -> Result<SampleRequest> {
        let ContextMedia { task, clips, sounds, mask } = *context_media;
        let mut sample_request = self.sample_request(request)?;
        let strides = self.codec.tokenizer().spec().strides;
        let layout = task
            .layout(self.canvas(), strides, mask)
            .map_err(|error| error.into_error(ErrorKind::Recipe, format!("task `{}`", task.name)))?;
        if task.has_context() {
            sample_request.context =
                task.context_tokens(self.canvas(), &self.encoders(), &layout, mask, clips, sounds)?;
        }
        sample_request.layout = Arc::new(layout);
        Ok(sample_request)
    }

    /// The same, to be gone on from what the clips and sounds show at the places that are to be made instead of from
    /// nothing: editing by `strength`, see [`Start`].
    ///
    /// # Errors
    /// As [`Pipeline::task_request`]; where the sampler cannot, or there is no clip or no sound of which one is to be made.
    pub fn edit_request(
        &self,
        request: &Request,
        context_media: &ContextMedia,
        strength: f64,
    ) -> Result<SampleRequest> {
        self.sampler.edits().map_err(|error| error.into_error(ErrorKind::Unsupported, "sampler"))?;
        let ContextMedia { task, clips, sounds, .. } = *context_media;
        let mut sample_request = self.task_request(request, context_media)?;
        let (canvas, made) = (self.canvas(), sample_request.layout.target().to_vec());
        for (modality, none) in [(Modality::Video, clips.is_empty()), (Modality::Audio, sounds.is_empty())] {
            if none && made.iter().any(|&position| canvas.modality(position) == modality) {
                let message = format!("`{}` makes {}, and none are there to be changed", task.name, modality.plural());
                return Err(Error::new(ErrorKind::Unsupported, "edit", message).hint("give one, or name another task"));
            }
        }
        let share = |none: bool| if none { MaskSpec::Absent } else { MaskSpec::Context };
        let whole = Task { video: share(clips.is_empty()), audio: share(sounds.is_empty()), ..task.clone() };
        let tokens =
            whole.context_tokens(canvas, &self.encoders(), &Layout::new(made, Vec::new()), None, clips, sounds)?;
        sample_request.start = Some(Start { tokens, strength });
        Ok(sample_request)
    }

    fn encoders(&self) -> Encoders<'_> {
        Encoders { video: self.codec.tokenizer(), audio: self.audio.as_ref().map(Codec::tokenizer) }
    }

    /// The prompt as the model reads it: its tokens turned back into text. `None` where it reads vectors, which do not tell.
    ///
    /// # Errors
    /// As [`Pipeline::sample_request`].
    pub fn read_back(&self, prompt: &str) -> Result<Option<String>> {
        if matches!(self.canvas().text, PromptKind::Vectors(_)) {
            return Ok(None);
        }
        let tokens = self.text.encode(&Media::Text(prompt.to_owned()))?;
        self.text.decode(&tokens)?.text(Modality::Text.section()).map(Some)
    }

    /// Fills the canvases of `sample_request`, step by step. `on_step` gets how many
    /// steps are done, and of how many; an error from it cancels.
    ///
    /// # Errors
    /// What `on_step` and the sampler return.
    pub fn once(
        &self,
        sample_request: &SampleRequest,
        on_step: &mut dyn FnMut(usize, usize) -> Result<()>,
    ) -> Result<Vec<CanvasTokens>> {
        let mut sampling = self.sampler.begin(&*self.backbone, self.process, sample_request)?;
        loop {
            let (done, total) = sampling.progress();
            on_step(done, total)?;
            if done >= total {
                return sample_request.tokens(self.canvas(), &sampling.tokens()?);
            }
            sampling.step(&*self.backbone)?;
        }
    }
}
