//! Prompts, and tokens at places, on the host.

use super::{CanvasShape, Layout, PAD, PromptKind, TokenBatch, ints};
use crate::{Modality, Result, TokenKind, TokenShape, TokenValues, Tokens, tokens};
use burn::tensor::{Device, Int, Tensor, TensorData};

/// Prompts, or tokens at some places, on the host.
#[derive(Clone, Debug, PartialEq)]
pub enum Values {
    /// A word or a code each.
    Codes(Vec<u32>),
    /// `C` numbers each. Of prompts [`PromptKind::Vectors`]. Of tokens [`CanvasShape::channels`], of a canvas on which any
    /// token is a latent: its codes stand among them as the signs of their bits, and zeros end what is shorter.
    Vectors(Vec<f32>),
}

impl From<Vec<u32>> for Values {
    fn from(codes: Vec<u32>) -> Self {
        Self::Codes(codes)
    }
}

impl From<Vec<f32>> for Values {
    fn from(vectors: Vec<f32>) -> Self {
        Self::Vectors(vectors)
    }
}

impl Values {
    /// None, of the same sort as these.
    pub fn empty(&self) -> Self {
        match self {
            Self::Codes(_) => Self::Codes(Vec::new()),
            Self::Vectors(_) => Self::Vectors(Vec::new()),
        }
    }

    /// Those of some of the places, of which these are all.
    pub fn at(&self, positions: &[usize], canvas: &CanvasShape) -> Self {
        match self {
            Self::Codes(codes) => Self::Codes(positions.iter().map(|&position| codes[position]).collect()),
            Self::Vectors(values) => {
                let channels = canvas.channels().unwrap_or(1);
                Self::Vectors(
                    positions.iter().flat_map(|&p| &values[p * channels..(p + 1) * channels]).copied().collect(),
                )
            }
        }
    }

    /// Writes tokens over those that begin at a place of a canvas, of all of which these are.
    ///
    /// # Errors
    /// Where the tokens are not of the kind that stands there, have no vectors though these are, or are more than there
    /// are places.
    pub fn lay(&mut self, canvas: &CanvasShape, position: usize, tokens: &Tokens) -> Result<()> {
        let long = || tokens::tokens_error(format!("a grid of {:?} does not fit the canvas", tokens.grid()));
        match self {
            Self::Codes(codes) => {
                let new = tokens.packed()?;
                codes.get_mut(position..position + new.len()).ok_or_else(long)?.copy_from_slice(&new);
            }
            Self::Vectors(values) => {
                let (kind, all) = (canvas.kind(position), canvas.channels().unwrap_or(1));
                let unlike = || tokens::tokens_error(format!("other tokens where vectors of {kind} were expected"));
                let own = kind.channels().filter(|_| kind.holds(tokens.values())).ok_or_else(unlike)?;
                let new: Vec<f32> = match tokens.values() {
                    TokenValues::Vectors { values, .. } => values.clone(),
                    _ => tokens.packed()?.into_iter().flat_map(|code| tokens::signs(code, own)).collect(),
                };
                let end = position + new.len() / own;
                let slots = values.get_mut(position * all..end * all).ok_or_else(long)?;
                for (slot, vector) in slots.chunks_mut(all).zip(new.chunks(own)) {
                    slot[..own].copy_from_slice(vector);
                }
            }
        }
        Ok(())
    }

    /// Part `i` of `n` equal ones: of `n` samples one.
    pub fn part(&self, i: usize, n: usize) -> Self {
        fn part<T: Clone>(all: &[T], i: usize, n: usize) -> Vec<T> {
            let size = all.len() / n.max(1);
            all[i * size..(i + 1) * size].to_vec()
        }
        match self {
            Self::Codes(codes) => Self::Codes(part(codes, i, n)),
            Self::Vectors(values) => Self::Vectors(part(values, i, n)),
        }
    }

    /// Puts others of the same sort behind these.
    pub fn append(&mut self, others: Self) {
        match (self, others) {
            (Self::Codes(codes), Self::Codes(mut others)) => codes.append(&mut others),
            (Self::Vectors(values), Self::Vectors(mut others)) => values.append(&mut others),
            (Self::Codes(_), Self::Vectors(_)) | (Self::Vectors(_), Self::Codes(_)) => {
                unreachable!("all values of a canvas are of one sort")
            }
        }
    }

    /// The values of several samples after each other.
    pub fn concat(all: &[Self]) -> Self {
        let codes = |values: &Self| if let Self::Codes(codes) = values { codes.clone() } else { Vec::new() };
        let vectors = |values: &Self| if let Self::Vectors(values) = values { values.clone() } else { Vec::new() };
        match all.first() {
            Some(Self::Vectors(_)) => Self::Vectors(all.iter().flat_map(vectors).collect()),
            _ => Self::Codes(all.iter().flat_map(codes).collect()),
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
    pub fn vectors(&self, canvas: &CanvasShape, positions: &[usize], device: &Device) -> Option<Tensor<3>> {
        let channels = canvas.channels()?;
        let values = match self {
            Self::Vectors(values) => values.clone(),
            Self::Codes(codes) => {
                let mut values = Vec::with_capacity(codes.len() * channels);
                for (&code, &position) in codes.iter().zip(positions.iter().cycle()) {
                    values.extend(tokens::signs(code, canvas.kind(position).channels()?));
                    values.resize(values.len().next_multiple_of(channels), 0.0);
                }
                values
            }
        };
        let size = values.len() / (positions.len() * channels).max(1);
        Some(Tensor::from_data(TensorData::new(values, [size, positions.len(), channels]), device))
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
    /// Whether a token of any modality is a latent: the [`Values`] of all are vectors then.
    fn has_latents(&self) -> bool {
        let kinds = [Some(self.tokens.kind), self.sound.map(|sound| sound.tokens.kind)];
        kinds.into_iter().flatten().any(|kind| matches!(kind, TokenKind::Vectors { .. }))
    }

    /// No prompt: a row of pads, or of zeros where prompts are vectors. What is empty in a prompt, training without one
    /// and classifier-free guidance all are this.
    pub fn no_prompt(&self) -> Values {
        match self.text {
            PromptKind::Words(_) => Values::Codes(vec![PAD; self.prompt]),
            PromptKind::Vectors(channels) => Values::Vectors(vec![0.0; self.prompt * channels]),
        }
    }

    /// What a text tokenizer made of a prompt.
    ///
    /// # Errors
    /// Where that is no prompt of this canvas.
    pub fn prompt_of(&self, text: &Tokens) -> Result<Values> {
        let long = text.grid().iter().product::<usize>() == self.prompt;
        match (self.text, text.values()) {
            (PromptKind::Words(words), TokenValues::Codes { levels: 1, entries, codes })
                if long && *entries == words =>
            {
                Ok(Values::Codes(codes.clone()))
            }
            (PromptKind::Vectors(own), TokenValues::Vectors { channels, values }) if long && *channels == own => {
                Ok(Values::Vectors(values.clone()))
            }
            _ => {
                let message = format!("a grid of {:?} that is no prompt of {} places", text.grid(), self.prompt);
                Err(tokens::tokens_error(message))
            }
        }
    }

    /// `B` prompts as a tensor: words `[B, P]`, or vectors `[B, P, C]`.
    pub fn prompts(&self, prompts: &Values, size: usize, device: &Device) -> TokenBatch {
        match prompts {
            Values::Codes(words) => TokenBatch::Codes(ints(words, [size, self.prompt], device)),
            Values::Vectors(values) => {
                let shape = [size, self.prompt, values.len() / (size * self.prompt).max(1)];
                TokenBatch::Vectors(Tensor::from_data(TensorData::new(values.clone(), shape), device))
            }
        }
    }

    /// A value of nothing at every place.
    pub fn blank(&self) -> Values {
        match self.has_latents() {
            true => Values::Vectors(vec![0.0; self.positions() * self.channels().unwrap_or(1)]),
            false => Values::Codes(vec![0; self.positions()]),
        }
    }

    /// The values of all places of tokens that fill the canvas; nothing where there are none.
    ///
    /// # Errors
    /// Where they are not the canvas' tokens.
    pub fn values(&self, tokens: &CanvasTokens) -> Result<Values> {
        let mut values = self.blank();
        for (modality, tokens) in [(Modality::Video, &tokens.video), (Modality::Audio, &tokens.audio)] {
            if let (Some(tokens), Some(shape)) = (tokens, self.shape(modality)) {
                values.lay(self, self.range(modality).start, tokens.fitting(&shape)?)?;
            }
        }
        Ok(values)
    }

    /// What the vectors `[n, C]` at some places stand for: codes by the signs of their numbers where all tokens are codes,
    /// else the vectors as they are, which [`CanvasShape::tokens`] reads.
    pub fn read(&self, positions: &[usize], vectors: &[f32]) -> Values {
        let channels = self.channels().unwrap_or(1);
        match self.has_latents() {
            true => Values::Vectors(vectors.to_vec()),
            false => {
                let own = |position: usize| self.kind(position).channels().unwrap_or(0);
                let code = |(&position, vector): (&usize, &[f32])| tokens::code_of(&vector[..own(position)]);
                Values::Codes(positions.iter().zip(vectors.chunks(channels)).map(code).collect())
            }
        }
    }

    /// The tokens of the media of which all places stand in `layout`, from the values of one sample.
    ///
    /// # Errors
    /// Where there are not as many values as places, or one is out of range.
    pub fn tokens(&self, layout: &Layout, context: &Values, target: &Values) -> Result<CanvasTokens> {
        let mut found = CanvasTokens::default();
        for modality in [Modality::Video, Modality::Audio] {
            let (Some(shape), range) = (self.shape(modality), self.range(modality)) else { continue };
            let mut at = vec![None; range.len()];
            for (i, position) in layout.positions().enumerate().filter(|(_, position)| range.contains(position)) {
                at[position - range.start] = Some(i);
            }
            // Steps at the end that the layout leaves out, as where an image is all there is.
            let area = shape.grid[1] * shape.grid[2];
            let steps = at.iter().position(Option::is_none).unwrap_or(at.len()) / area;
            let at: Vec<usize> = at[..steps * area].iter().flatten().copied().collect();
            if at.is_empty() {
                continue;
            }
            let shape = TokenShape { grid: [steps, shape.grid[1], shape.grid[2]], ..shape };
            let tokens = match (context, target) {
                (Values::Codes(context), Values::Codes(target)) => {
                    let all = |i: usize| context.get(i).or_else(|| target.get(i - context.len())).copied();
                    let codes: Option<Vec<u32>> = at.into_iter().map(all).collect();
                    Tokens::unpacked(&shape, &codes.unwrap_or_default())?
                }
                (context, target) => {
                    let channels = self.channels().unwrap_or(1);
                    let numbers = |values: &Values| match values {
                        Values::Vectors(values) => values.clone(),
                        Values::Codes(_) => Vec::new(),
                    };
                    let all = [numbers(context), numbers(target)].concat();
                    let own = shape.kind.channels().unwrap_or(0);
                    let vector = |i: usize| all.get(i * channels..i * channels + own).unwrap_or_default();
                    let vectors = at.into_iter().map(vector);
                    match shape.kind {
                        TokenKind::Vectors { channels } => {
                            Tokens::vectors(shape.grid, channels, vectors.flatten().copied().collect())?
                        }
                        _ => Tokens::unpacked(&shape, &vectors.map(tokens::code_of).collect::<Vec<_>>())?,
                    }
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
