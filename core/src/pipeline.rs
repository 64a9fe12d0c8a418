//! A recipe built on a device: from a prompt to a clip.
//!
//! [`Codec`] is the half that needs no backbone (clip ⇄ tokens at the recipe's frame rate);
//! [`Pipeline`] is the whole road. Both read weights and neither changes them; training has its own.

use crate::canvas::{ConditionShape, Values};
use crate::dataset::FPS;
use crate::recipe::{Part, Recipe};
use crate::task::TrackMedia;
use crate::{
    Backbone, CanvasShape, CanvasTokens, Clip, Encoders, Error, ErrorKind, Mask, MaskSpec, Media, MediaShape, Modality,
    Output, Process, Program, Rate, Result, RngKey, SampleRequest, Sampler, Start, Task, Timing, TokenKind, Tokenizer,
    TokenizerConfig, Tokens,
};
use burn::tensor::Device;
use std::collections::BTreeMap;
use std::sync::Arc;

/// A tokenizer of the recipe with its weights, and the rate that tokens do not know.
pub struct Codec {
    tokenizer: Box<dyn Tokenizer>,
    modality: Modality,
    rate: Rate,
}

impl Codec {
    /// A tokenizer with its weights, of media at this rate.
    pub fn new(tokenizer: Box<dyn Tokenizer>, rate: Rate) -> Self {
        let modality = tokenizer.spec().modality;
        Self { tokenizer, modality, rate }
    }

    /// Builds the recipe's tokenizer of a modality on `device`.
    ///
    /// # Errors
    /// Where the recipe has no such tokenizer, no weights for it or no such data, or the weights do not fit.
    pub fn build(recipe: &Recipe, modality: Modality, device: &Device) -> Result<Self> {
        Self::of(recipe, recipe.need_tokenizer(modality)?, modality, device)
    }

    fn of(recipe: &Recipe, part: &Part<dyn TokenizerConfig>, modality: Modality, device: &Device) -> Result<Self> {
        let rate = match recipe.need_media(modality)? {
            MediaShape::Clip { rate, .. } | MediaShape::Sound { rate, .. } => rate,
            MediaShape::Text => Rate::whole(1),
        };
        Ok(Self::new(part.component.build(device, &recipe.weight_init(part)?)?, rate))
    }

    /// What is inside.
    pub fn tokenizer(&self) -> &dyn Tokenizer {
        &*self.tokenizer
    }

    /// Frames or samples a second; 1 of text, which has none.
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
            (Media::Text(text), Modality::Text) => Ok(Media::Text(text)),
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

/// The tokenizers of a canvas.
pub struct Codecs {
    codecs: BTreeMap<String, Codec>,
    /// Which of them each track has, by its name.
    tracks: BTreeMap<String, String>,
}

impl Codecs {
    /// The tokenizers of `recipe` that the tracks of `canvas` have, with their weights.
    ///
    /// # Errors
    /// As [`Codec::build`].
    pub fn build(recipe: &Recipe, canvas: &CanvasShape, device: &Device) -> Result<Self> {
        let (mut codecs, mut tracks) = (BTreeMap::new(), BTreeMap::new());
        for track in &canvas.tracks {
            let part = recipe.tokenizer_of_track(&track.name);
            let part = part.map_or_else(|| recipe.need_tokenizer(track.modality), Ok)?;
            if !codecs.contains_key(&part.path) {
                codecs.insert(part.path.clone(), Codec::of(recipe, part, track.modality, device)?);
            }
            tracks.insert(track.name.clone(), part.path.clone());
        }
        Ok(Self { codecs, tracks })
    }

    /// These tokenizers for the tracks of `canvas`: each has that of its modality.
    pub fn new(canvas: &CanvasShape, codecs: BTreeMap<Modality, Codec>) -> Self {
        let codecs = codecs.into_iter().map(|(modality, codec)| (modality.section().to_owned(), codec)).collect();
        let tracks = canvas.tracks.iter();
        Self { codecs, tracks: tracks.map(|track| (track.name.clone(), track.modality.section().to_owned())).collect() }
    }

    /// That of a track, where the canvas has it.
    pub fn get(&self, track: &str) -> Option<&Codec> {
        self.codecs.get(self.tracks.get(track)?)
    }

    /// Those of all tracks, by name.
    pub fn encoders(&self) -> Encoders<'_> {
        let encoder = |track: &String| Some((track.clone(), self.get(track)?.tokenizer()));
        self.tracks.keys().filter_map(encoder).collect()
    }
}

/// Everything that generating takes, with its weights.
pub struct Pipeline {
    codecs: Codecs,
    backbone: Box<dyn Backbone>,
    sampler: Arc<dyn Sampler>,
    process: Option<Process>,
    tasks: Vec<Task>,
    program: Option<Arc<dyn Program>>,
}

/// What is to be generated, one sample a prompt.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Request {
    /// The prompts; an empty one is no prompt.
    pub prompts: Vec<String>,
    /// Seed of all that is drawn.
    pub seed: u64,
    /// The number of the first sample, the others count on: a sample is known by what is given, its seed and
    /// its number, and is the same in whatever batch it is generated.
    pub first: u64,
    /// The numbers that the samples are conditioned on, by the names of the recipe's `[condition.*]`: of each sample, or once
    /// for all. `fps` is that of the recipe's clips where it is left out.
    pub conditions: Vec<BTreeMap<String, f64>>,
}

/// What is given beside the prompts: of each track that the task asks for as many media as there are prompts, of the
/// canvas' length. What the task generates is not looked at, but by [`Pipeline::edit_request`].
#[derive(Clone, Copy, Debug)]
pub struct ContextMedia<'a> {
    /// The task.
    pub task: &'a Task,
    /// Clips and sounds (mono), by track.
    pub media: &'a TrackMedia,
    /// What of the clips is to be generated, where the task has a region.
    pub mask: Option<&'a Mask>,
}

impl Pipeline {
    /// Builds tokenizers and backbone of `recipe` on `device`.
    ///
    /// # Errors
    /// Where a part is missing, has no weights, or they do not fit.
    pub fn build(recipe: &Recipe, device: &Device) -> Result<Self> {
        let sampler = recipe.need_sampler()?.component.clone();
        let backbone = recipe.need_backbone()?;
        let canvas = recipe.need_canvas()?;
        Ok(Self {
            codecs: Codecs::build(recipe, &canvas, device)?,
            backbone: backbone.component.build(&canvas, device, &recipe.weight_init(backbone)?)?,
            process: recipe.objective.as_ref().and_then(|objective| objective.component.process()),
            sampler,
            tasks: recipe.need_tasks()?,
            program: recipe.program.as_ref().map(|part| part.component.clone()),
        })
    }

    /// The media of what was generated, but for the tracks that `task` gives as a whole: those are not decoded again.
    ///
    /// # Errors
    /// As [`Codec::decode`].
    pub fn decode(&self, task: &Task, tokens: &CanvasTokens) -> Result<TrackMediaOne> {
        let mut media = TrackMediaOne::new();
        for (track, tokens) in &tokens.tracks {
            let Some(codec) = self.codec(track).filter(|_| task.spec(track) != MaskSpec::Context) else {
                continue;
            };
            media.insert(track.clone(), codec.decode(tokens)?);
        }
        // A sound is as long as its clip, to the sample: its tokens may be a little longer.
        for one in media.values_mut() {
            if let Media::Sound(sound) = one {
                *sound = sound.clone().with_length(self.samples());
            }
        }
        Ok(media)
    }

    /// How many samples a sound of the canvas has: as many as the frames of its clip last, or as its tokens stand for.
    pub fn samples(&self) -> usize {
        let canvas = self.canvas();
        let (Some(audio), Some(track)) = (self.codec("audio"), canvas.track("audio")) else { return 0 };
        match self.codec("video") {
            Some(video) => Timing::new(video.rate, audio.rate).samples(0..canvas.frames()).len(),
            None => track.tokens.length() * track.strides[0],
        }
    }

    /// What was generated: the tracks `video`, `audio` and `text`, and clips of further streams.
    ///
    /// # Errors
    /// As [`Pipeline::decode`].
    pub fn output(&self, task: &Task, tokens: &CanvasTokens) -> Result<Output> {
        let mut output = Output::default();
        for (track, media) in self.decode(task, tokens)? {
            match media {
                Media::Clip(clip) if track == Modality::Video.track() => output.clip = Some(clip),
                Media::Clip(clip) => drop(output.streams.insert(track, clip)),
                Media::Sound(sound) => output.sound = Some(sound),
                Media::Text(text) => output.text = Some(text),
            }
        }
        Ok(output)
    }

    /// The tokenizer of a track, where the canvas has it.
    pub fn codec(&self, track: &str) -> Option<&Codec> {
        self.codecs.get(track)
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
    pub fn canvas(&self) -> &Arc<CanvasShape> {
        self.backbone.canvas()
    }

    /// Turns a request into what the sampler is asked for: all that is no text, from prompts alone.
    ///
    /// # Errors
    /// Where a prompt is longer than the canvas has room for.
    pub fn sample_request(&self, request: &Request) -> Result<SampleRequest> {
        let task = Task::from_text(self.canvas());
        self.task_request(request, &ContextMedia { task: &task, media: &TrackMedia::new(), mask: None })
    }

    /// The same for a task, with what it is given.
    ///
    /// # Errors
    /// As [`Pipeline::sample_request`]; or where media do not fit the tokenizers.
    pub fn task_request(&self, request: &Request, context_media: &ContextMedia) -> Result<SampleRequest> {
        let ContextMedia { task, media, mask } = *context_media;
        let layout = task
            .layout(self.canvas(), mask)
            .map_err(|error| error.into_error(ErrorKind::Recipe, format!("task `{}`", task.name)))?;
        let none = BTreeMap::new();
        let each = (0..request.prompts.len())
            .map(|i| request.conditions.get(i).or(request.conditions.last()).unwrap_or(&none));
        let blank = |given| Ok(Values { numbers: self.numbers(given)?, ..self.canvas().blank() });
        let mut samples = each.map(blank).collect::<Result<Vec<_>>>()?;
        let mut media = media.clone();
        let texts = request.prompts.iter().map(|prompt| Media::Text(prompt.clone())).collect();
        media.insert(Modality::Text.track().into(), texts);
        task.lay_context(self.canvas(), &self.encoders(), mask, &media, false, &mut samples)?;
        let key = |i: u64| RngKey::new(request.seed).sample(request.first + i);
        Ok(SampleRequest {
            context: samples.iter().map(|sample| sample.at(layout.context(), self.canvas())).collect(),
            layout: Arc::new(layout),
            keys: (0..request.prompts.len() as u64).map(key).collect(),
            start: None,
        })
    }

    /// The same, to be gone on from what the media show at the positions that are to be generated instead of from
    /// nothing: editing by `strength`, see [`Start`].
    ///
    /// # Errors
    /// As [`Pipeline::task_request`]; where the sampler cannot, or there is no medium of a track of which some is to be
    /// generated.
    pub fn edit_request(
        &self,
        request: &Request,
        context_media: &ContextMedia,
        strength: f64,
    ) -> Result<SampleRequest> {
        self.sampler.edits().map_err(|error| error.into_error(ErrorKind::Unsupported, "sampler"))?;
        let ContextMedia { task, media, .. } = *context_media;
        let mut sample_request = self.task_request(request, context_media)?;
        let (canvas, mut whole) = (self.canvas(), Task::new(&task.name, [("text", MaskSpec::Absent)]));
        for (track, _) in sample_request.layout.target_by_track() {
            let shape = &canvas.tracks[track];
            if media.get(&shape.name).is_none_or(Vec::is_empty) {
                let what = shape.modality.plural();
                let message = format!("`{}` makes {what}, and none are there to be changed", task.name);
                return Err(Error::new(ErrorKind::Unsupported, "edit", message).hint("give one, or name another task"));
            }
            whole.tracks.insert(shape.name.clone(), MaskSpec::Context);
        }
        let mut samples = vec![canvas.blank(); request.prompts.len()];
        whole.lay_context(canvas, &self.encoders(), None, media, false, &mut samples)?;
        let tokens = samples.iter().map(|sample| sample.at(sample_request.layout.target(), canvas)).collect();
        sample_request.start = Some(Start { tokens, strength });
        Ok(sample_request)
    }

    /// The numbers that a sample is conditioned on.
    fn numbers(&self, given: &BTreeMap<String, f64>) -> Result<Vec<Option<f64>>> {
        let conditions = &self.canvas().conditions;
        let wrong = |name: &str, message: String, hint: String| {
            Error::new(ErrorKind::Unsupported, format!("condition `{name}`"), message).hint(hint)
        };
        if let Some(name) = given.keys().find(|name| conditions.iter().all(|one| one.name != **name)) {
            let known: Vec<&str> = conditions.iter().map(|condition| &*condition.name).collect();
            let hint = match known.is_empty() {
                true => "leave it out: the recipe has no `[condition.*]`".to_owned(),
                false => format!("name one of {}", known.join(", ")),
            };
            return Err(wrong(name, "the model is not conditioned on such a number".into(), hint));
        }
        let number = |condition: &ConditionShape| {
            let fps = || self.codec(Modality::Video.track()).filter(|_| condition.from == FPS).map(|c| c.rate.as_f64());
            let number = given.get(&condition.name).copied().or_else(fps);
            let (name, [low, high]) = (&condition.name, condition.range);
            match number {
                Some(number) if !(low..=high).contains(&number) => {
                    let message = format!("{number} is outside the trained range, {low} to {high}");
                    Err(wrong(name, message, format!("give {name} from {low} to {high}")))
                }
                None if condition.dropout == 0.0 => {
                    let message = "it is required: the model was trained with `dropout = 0`".to_owned();
                    Err(wrong(name, message, format!("give it by `--condition {name}={}`", (low + high) / 2.0)))
                }
                number => Ok(number),
            }
        };
        conditions.iter().map(number).collect()
    }

    /// The tokenizers of the canvas' tracks, by name.
    pub fn encoders(&self) -> Encoders<'_> {
        self.codecs.encoders()
    }

    /// What predicts.
    pub fn backbone(&self) -> &dyn Backbone {
        &*self.backbone
    }

    /// The prompt as the model reads it: its tokens turned back into text. `None` where it reads none, or vectors, which do
    /// not tell.
    ///
    /// # Errors
    /// As [`Pipeline::sample_request`].
    pub fn read_back(&self, prompt: &str) -> Result<Option<String>> {
        let track = Modality::Text.track();
        let words = |canvas: &CanvasShape| {
            canvas.track(track).is_some_and(|track| matches!(track.tokens.kind, TokenKind::Codes { .. }))
        };
        let Some(codec) = self.codec(track).filter(|_| words(self.canvas())) else { return Ok(None) };
        let tokens = codec.encode(&Media::Text(prompt.to_owned()))?;
        codec.decode(&tokens)?.text(Modality::Text.section()).map(Some)
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
        let mut sampling = self.sampler.begin(&*self.backbone, self.process.as_ref(), sample_request)?;
        loop {
            let (done, total) = sampling.progress();
            on_step(done, total)?;
            if done >= total {
                return sample_request.tokens(&sampling.tokens()?);
            }
            sampling.step(&*self.backbone)?;
        }
    }
}

/// One medium for each track, by name.
pub type TrackMediaOne = BTreeMap<String, Media>;

/// A pipeline may be built on one thread and used on another.
const _: fn(&Pipeline) -> &(dyn Send + '_) = |pipeline| pipeline;
