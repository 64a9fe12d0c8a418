//! The canvas: the one sequence that backbones, samplers and objectives see.
//!
//! A prompt of `P` text tokens, then the tokens of the media. Where a token lies is its *place*: places are
//! numbered, those of the clip first, in C order of its grid, then those of its sound, in time. A [`Layout`] says
//! which places stand in a sequence: those whose tokens are given, then those whose tokens are to be made. So a
//! task is data: image to video, extension, inpainting and video to audio are different layouts of one canvas. No
//! special tokens tell parts and tasks apart, because each position is told its place.
//!
//! A prompt that is short or absent is filled with [`PAD`], so that "no prompt" is a row of pads and
//! classifier-free guidance needs no second kind of canvas.

use crate::{Modality, TokenKind, TokenShape, Tokens, Result, tokens};
use burn::tensor::{Device, Int, Tensor, TensorData};
use std::sync::Arc;

/// The text token that stands where the prompt has no word.
pub const PAD: u32 = 0;

/// The lengths and kinds of a canvas, known before there are any tokens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CanvasShape {
    /// Length `P` of the prompt.
    pub prompt: usize,
    /// How many text tokens there are to choose from.
    pub words: usize,
    /// The tokens of the clip.
    pub tokens: TokenShape,
    /// Those of its sound, where it has any.
    pub sound: Option<SoundShape>,
    /// Whether tokens may be given beside the prompt.
    pub given: bool,
}

/// The tokens of a clip's sound, and where they lie beside its frames.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SoundShape {
    /// The tokens: as many as there are, 1, 1.
    pub tokens: TokenShape,
    /// How many of them last as long as a frame of the clip.
    pub a_frame: usize,
    /// How many frames one step of the clip's grid stands for; its first stands for one.
    pub stride: usize,
}

impl CanvasShape {
    /// A prompt and the tokens of a silent clip, all of which are to be made.
    pub fn new(prompt: usize, words: usize, tokens: TokenShape) -> Self {
        Self { prompt, words, tokens, sound: None, given: false }
    }

    /// Length of the sequence that holds the prompt and every place once.
    pub fn length(&self) -> usize {
        self.prompt + self.places()
    }

    /// How many places there are.
    pub fn places(&self) -> usize {
        self.tokens.length() + self.sound.map_or(0, |sound| sound.tokens.length())
    }

    /// The tokens of a modality.
    pub fn shape(&self, modality: Modality) -> Option<TokenShape> {
        match modality {
            Modality::Video => Some(self.tokens),
            Modality::Audio => self.sound.map(|sound| sound.tokens),
            Modality::Text => None,
        }
    }

    /// The places of a modality.
    pub fn range(&self, modality: Modality) -> std::ops::Range<usize> {
        match modality {
            Modality::Video => 0..self.tokens.length(),
            Modality::Audio => self.tokens.length()..self.places(),
            Modality::Text => 0..0,
        }
    }

    /// Whose token lies at a place.
    pub fn modality(&self, place: usize) -> Modality {
        if place < self.tokens.length() { Modality::Video } else { Modality::Audio }
    }

    /// What the token at a place is.
    pub fn kind(&self, place: usize) -> TokenKind {
        match (self.modality(place), self.sound) {
            (Modality::Audio, Some(sound)) => sound.tokens.kind,
            _ => self.tokens.kind,
        }
    }

    /// The step of the clip's grid at which a place lies; sound lies at the step that its frame is of.
    pub fn step(&self, place: usize) -> usize {
        let [_, h, w] = self.tokens.grid;
        match (place.checked_sub(self.tokens.length()), self.sound) {
            (Some(i), Some(sound)) => (i / sound.a_frame).div_ceil(sound.stride),
            _ => place / (h * w),
        }
    }

    /// Where a place lies: `[t, h, w]`, in steps of the clip's grid. Sound lies between its steps at `h = w = 0`.
    pub fn place(&self, place: usize) -> [f64; 3] {
        let [_, h, w] = self.tokens.grid;
        match (place.checked_sub(self.tokens.length()), self.sound) {
            (Some(i), Some(sound)) => {
                // A step of `s` frames ends with frame `s·t`: its middle lies half a step, less half a frame, before.
                let frame = (i as f64 + 0.5) / sound.a_frame as f64 - 0.5;
                let stride = sound.stride as f64;
                [(frame + (stride - 1.0) / 2.0) / stride, 0.0, 0.0]
            }
            _ => [(place / (h * w)) as f64, (place / w % h) as f64, (place % w) as f64],
        }
    }

    /// All places step by step: at each those of the clip, then those of its sound, so that what is drawn one
    /// after the other hears no later than it sees.
    pub fn in_time(&self) -> Vec<usize> {
        let mut places: Vec<usize> = (0..self.places()).collect();
        places.sort_by_key(|&place| (self.step(place), place));
        places
    }

    /// Length of the vectors that a diffusion backbone reads: that of the longest; the shorter ones end in zeros.
    /// `None` where some tokens have none.
    pub fn channels(&self) -> Option<usize> {
        let sound = self.sound.map_or(Some(0), |sound| sound.tokens.kind.channels())?;
        Some(self.tokens.kind.channels()?.max(sound))
    }
}

/// Which places stand in a sequence after the prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    given: Vec<usize>,
    made: Vec<usize>,
}

impl Layout {
    /// Tokens are given at the first, and are to be made at the second. A place may be both, where what is given
    /// there is only a hint of what is to be made.
    pub fn new(given: Vec<usize>, made: Vec<usize>) -> Self {
        Self { given, made }
    }

    /// All of a canvas is to be made.
    pub fn whole(canvas: &CanvasShape) -> Self {
        Self::new(Vec::new(), canvas.in_time())
    }

    /// Where tokens are given.
    pub fn given(&self) -> &[usize] {
        &self.given
    }

    /// Where tokens are to be made, in their order.
    pub fn made(&self) -> &[usize] {
        &self.made
    }

    /// All places of the sequence.
    pub fn places(&self) -> impl Iterator<Item = usize> {
        self.given.iter().chain(&self.made).copied()
    }

    /// How many tokens follow the prompt.
    pub fn length(&self) -> usize {
        self.given.len() + self.made.len()
    }
}

/// Tokens at some places on the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// A code each.
    Codes(Vec<u32>),
    /// `C` numbers each, [`CanvasShape::channels`].
    Vectors(Vec<f32>),
}

impl Values {
    /// None, of the same sort as these.
    pub fn empty(&self) -> Self {
        match self {
            Self::Codes(_) => Self::Codes(Vec::new()),
            Self::Vectors(_) => Self::Vectors(Vec::new()),
        }
    }

    /// The codes as a tensor `[B, n]`, where these are codes.
    pub fn codes(&self, size: usize, device: &Device) -> Option<Tensor<2, Int>> {
        match self {
            Self::Codes(codes) => Some(ints(codes, [size, codes.len() / size.max(1)], device)),
            Self::Vectors(_) => None,
        }
    }

    /// The vectors at `places` as a tensor `[B, n, C]`: numbers as they are, codes as the signs of their bits,
    /// and zeros where a vector is shorter than `C`; `None` where codes have no bits.
    pub fn vectors(&self, canvas: &CanvasShape, places: &[usize], device: &Device) -> Option<Tensor<3>> {
        let channels = canvas.channels()?;
        let values = match self {
            Self::Vectors(values) => values.clone(),
            Self::Codes(codes) => {
                let mut values = Vec::with_capacity(codes.len() * channels);
                for (&code, &place) in codes.iter().zip(places.iter().cycle()) {
                    values.extend(tokens::signs(code, canvas.kind(place).channels()?));
                    values.resize(values.len().next_multiple_of(channels), 0.0);
                }
                values
            }
        };
        let size = values.len() / (places.len() * channels).max(1);
        Some(Tensor::from_data(TensorData::new(values, [size, places.len(), channels]), device))
    }
}

/// The tokens of a clip, of its sound, or of both.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CanvasTokens {
    /// Of the clip.
    pub video: Option<Tokens>,
    /// Of its sound.
    pub audio: Option<Tokens>,
}

impl CanvasShape {
    /// The values of all places of tokens that fill the canvas; zeros where there are none.
    ///
    /// # Errors
    /// Where they are not the canvas' tokens, or latents beside codes.
    pub fn values(&self, tokens: &CanvasTokens) -> Result<Values> {
        let all = [(Modality::Video, &tokens.video), (Modality::Audio, &tokens.audio)];
        let latents = matches!(self.tokens.kind, TokenKind::Latents { .. });
        let (mut codes, mut vectors) = (Vec::new(), Vec::new());
        for (modality, tokens) in all {
            let Some(shape) = self.shape(modality) else { continue };
            match tokens {
                Some(tokens) if latents => vectors.extend_from_slice(tokens.fitting(&shape)?.as_latents()?),
                Some(tokens) => codes.extend(tokens.fitting(&shape)?.packed()?),
                None => codes.resize(codes.len() + shape.length(), 0),
            }
        }
        Ok(if latents { Values::Vectors(vectors) } else { Values::Codes(codes) })
    }

    /// What the vectors `[n, C]` at some places stand for: codes by the signs of their numbers, latents as they are.
    pub fn read(&self, places: &[usize], vectors: &[f32]) -> Values {
        let channels = self.channels().unwrap_or(1);
        match self.tokens.kind {
            TokenKind::Latents { .. } => Values::Vectors(vectors.to_vec()),
            _ => {
                let own = |place: usize| self.kind(place).channels().unwrap_or(0);
                let code = |(&place, vector): (&usize, &[f32])| tokens::code_of(&vector[..own(place)]);
                Values::Codes(places.iter().zip(vectors.chunks(channels)).map(code).collect())
            }
        }
    }

    /// The tokens of the media of which all places stand in `layout`, from the values of one sample.
    ///
    /// # Errors
    /// Where there are not as many values as places, or one is out of range.
    pub fn tokens(&self, layout: &Layout, given: &Values, made: &Values) -> Result<CanvasTokens> {
        let mut found = CanvasTokens::default();
        for modality in [Modality::Video, Modality::Audio] {
            let (Some(shape), range) = (self.shape(modality), self.range(modality)) else { continue };
            let mut at = vec![None; range.len()];
            for (i, place) in layout.places().enumerate().filter(|(_, place)| range.contains(place)) {
                at[place - range.start] = Some(i);
            }
            // Steps at the end that the layout leaves out, as where an image is all there is.
            let area = shape.grid[1] * shape.grid[2];
            let steps = at.iter().position(Option::is_none).unwrap_or(at.len()) / area;
            let at: Vec<usize> = at[..steps * area].iter().flatten().copied().collect();
            if at.is_empty() {
                continue;
            }
            let shape = TokenShape { grid: [steps, shape.grid[1], shape.grid[2]], ..shape };
            let tokens = match (given, made) {
                (Values::Codes(given), Values::Codes(made)) => {
                    let all = |i: usize| given.get(i).or_else(|| made.get(i - given.len())).copied();
                    let codes: Option<Vec<u32>> = at.into_iter().map(all).collect();
                    Tokens::unpacked(&shape, &codes.unwrap_or_default())?
                }
                (given, made) => {
                    let channels = self.channels().unwrap_or(1);
                    let numbers = |values: &Values| match values {
                        Values::Vectors(values) => values.clone(),
                        Values::Codes(_) => Vec::new(),
                    };
                    let all = [numbers(given), numbers(made)].concat();
                    let own = shape.kind.channels().unwrap_or(0);
                    let vector = |i: usize| all.get(i * channels..i * channels + own).unwrap_or_default();
                    Tokens::latents(shape.grid, own, at.into_iter().flat_map(vector).copied().collect())?
                }
            };
            match modality {
                Modality::Video => found.video = Some(tokens),
                _ => found.audio = Some(tokens),
            }
        }
        Ok(found)
    }
}

/// What a backbone is told: the prompts, the places of the sequence, and the tokens at those that are given.
#[derive(Clone, Debug)]
pub struct Given {
    /// Prompts, padded: `[B, P]`.
    pub prompt: Tensor<2, Int>,
    /// The places.
    pub layout: Arc<Layout>,
    /// The tokens at the `G` given ones; `None` where none is.
    pub tokens: Option<Known>,
}

/// Tokens that are given.
#[derive(Clone, Debug)]
pub enum Known {
    /// Codes `[B, G]`.
    Codes(Tensor<2, Int>),
    /// Clean vectors `[B, G, C]`, for backbones that predict a field.
    Vectors(Tensor<3>),
}

impl Given {
    /// Prompts alone: the whole canvas is to be made.
    pub fn prompt(prompt: Tensor<2, Int>, canvas: &CanvasShape) -> Self {
        Self { prompt, layout: Arc::new(Layout::whole(canvas)), tokens: None }
    }
}

/// A batch of canvases as a backbone reads it.
#[derive(Clone, Debug)]
pub struct CanvasBatch {
    /// What it is told.
    pub given: Given,
    /// What stands at the `L` places that are to be made.
    pub content: Content,
}

/// What stands at the places that are to be made.
#[derive(Clone, Debug)]
// A tensor's handle is a few hundred bytes and made once a step.
#[allow(clippy::large_enum_variant)]
pub enum Content {
    /// Codes `[B, L]`, for backbones that predict the next one.
    Codes(Tensor<2, Int>),
    /// Codes of which some are hidden, for backbones that predict those.
    Masked(Hidden),
    /// Noisy vectors, for backbones that predict a field.
    Field(Field),
}

/// Codes of which some are hidden.
#[derive(Clone, Debug)]
pub struct Hidden {
    /// The codes `[B, L]`; where they are hidden, any.
    pub codes: Tensor<2, Int>,
    /// 1 where a code is hidden, else 0: `[B, L, 1]`.
    pub hidden: Tensor<3>,
}

/// Noisy vectors with their times.
#[derive(Clone, Debug)]
pub struct Field {
    /// The vectors at their times: `[B, L, C]`.
    pub values: Tensor<3>,
    /// The times that occur in each sample, in `[0, 1]`, 0 is clean, 1 is noise: `[B, S]`.
    pub times: Tensor<2>,
    /// Which of the `S` times each of the `L` positions stands at: time is a value per token, and
    /// what depends on time alone is computed once for each that occurs.
    pub at: Vec<usize>,
    /// Self-conditioning: what the last step took for the clean vectors, `[B, L, C]`; zeros or
    /// `None` where there is no last step.
    pub guess: Option<Tensor<3>>,
}

/// Clean tokens with their prompts: what training draws from.
#[derive(Clone, Debug)]
pub struct CleanBatch {
    /// What the canvas is like.
    pub shape: CanvasShape,
    /// Prompts, padded, row after row: `B·P`.
    pub prompt: Vec<u32>,
    /// The places of all samples.
    pub layout: Arc<Layout>,
    /// The tokens that are given, `B·G`.
    pub given: Values,
    /// The clean tokens of the places that are to be made, `B·L`.
    pub tokens: Values,
    /// Which samples these are: their random numbers follow from it.
    pub samples: Vec<u64>,
}

impl CleanBatch {
    /// Number of samples `B`.
    pub fn size(&self) -> usize {
        self.samples.len()
    }

    /// What a backbone that reads codes is told.
    pub fn given_codes(&self, device: &Device) -> Given {
        let some = !self.layout.given().is_empty();
        self.given(device, self.given.codes(self.size(), device).filter(|_| some).map(Known::Codes))
    }

    /// What a backbone that reads vectors is told.
    pub fn given_vectors(&self, device: &Device) -> Given {
        let some = !self.layout.given().is_empty();
        let vectors = some.then(|| self.given.vectors(&self.shape, self.layout.given(), device)).flatten();
        self.given(device, vectors.map(Known::Vectors))
    }

    fn given(&self, device: &Device, tokens: Option<Known>) -> Given {
        let prompt = ints(&self.prompt, [self.size(), self.shape.prompt], device);
        Given { prompt, layout: self.layout.clone(), tokens }
    }

    /// The codes to be made as a tensor `[B, L]`, where the tokens are codes.
    pub fn codes(&self, device: &Device) -> Option<Tensor<2, Int>> {
        self.tokens.codes(self.size(), device)
    }

    /// The tokens to be made as vectors `[B, L, C]`; `None` where the codes have no bits.
    pub fn vectors(&self, device: &Device) -> Option<Tensor<3>> {
        self.tokens.vectors(&self.shape, self.layout.made(), device)
    }
}

/// Unsigned numbers as a tensor of the device's integers.
pub fn ints<const D: usize>(values: &[u32], shape: [usize; D], device: &Device) -> Tensor<D, Int> {
    let values: Vec<i64> = values.iter().map(|&value| i64::from(value)).collect();
    Tensor::from_data(TensorData::new(values, shape), device)
}

/// What a backbone says of the `L` places that are to be made.
#[derive(Clone, Debug)]
// A tensor's handle is a few hundred bytes and made once a step: not worth a box.
#[allow(clippy::large_enum_variant)]
pub enum Prediction {
    /// Unnormalised log-probabilities, of each modality that there is.
    Logits(Vec<Logits>),
    /// A vector for each place, `[B, L, C]`; what it stands for is the objective's choice.
    Field(Tensor<3>),
}

/// Unnormalised log-probabilities of the codes at some of the places.
#[derive(Clone, Debug)]
pub struct Logits {
    /// Which of the `L` places, rising: `n` of them.
    pub at: Vec<usize>,
    /// A large vocabulary is factorised into digits, most significant first; each head gives `[B, n, K_head]`, and
    /// the head after the first may have seen the digits before it (see the backbone).
    pub heads: Vec<Tensor<3>>,
}

impl Logits {
    /// Those of all `L` places, `[B, L, K]` a head.
    pub fn whole(heads: Vec<Tensor<3>>) -> Self {
        Self { at: (0..heads.first().map_or(0, |head| head.dims()[1])).collect(), heads }
    }

    /// Those of the codes `[B, L]` that these are of, `[B, n]`.
    pub fn codes(&self, codes: &Tensor<2, Int>) -> Tensor<2, Int> {
        columns(codes.clone(), &self.at)
    }
}

/// The columns `at` of `[B, L]`: `[B, n]`.
pub fn columns<const D: usize, K: burn::tensor::kind::Basic>(x: Tensor<D, K>, at: &[usize]) -> Tensor<D, K> {
    if at.iter().copied().eq(0..x.dims()[1]) {
        return x;
    }
    let index: Vec<i64> = at.iter().map(|&i| i as i64).collect();
    let index = Tensor::<1, Int>::from_data(TensorData::new(index, [at.len()]), &x.device());
    x.select(1, index)
}
