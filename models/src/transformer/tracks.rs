//! Tokens ⇄ vectors: what stands at a position goes in as a vector and comes out as logits.

use super::{Embedding, Linear};
use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor, module};
use musiva_core::canvas::{Conditioning, Head, Layout, LevelPattern, Logits, TokenBatch, TrackShape, columns};
use musiva_core::{CanvasShape, ConfigError, Init, Modality, TokenKind};

/// Why a model of codes cannot read and predict this canvas, if it cannot.
///
/// # Errors
/// Where a track that is generated has no codes, or codes that cannot be factorised as wanted.
pub fn check_codes(canvas: &CanvasShape) -> Result<(), ConfigError> {
    for track in canvas.tracks.iter().filter(|track| track.target || track.modality != Modality::Text) {
        let error = |message: String, hint: &str| Err(ConfigError::new("digits", message, hint));
        match (track.factors, track.tokens.kind) {
            (_, TokenKind::Codes { levels: 2.., .. }) => {}
            (_, kind @ TokenKind::Vectors { .. }) => {
                let section = track.modality.section();
                let message = format!("this model reads codes, `{section}` makes {kind}");
                let hint = match track.modality {
                    Modality::Text => "set `tokenizer.text.kind = \"bpe\"`, or let no task generate text",
                    Modality::Audio => {
                        "set `tokenizer.audio.quantizer.tokens = \"codes\"` of `kind = \"rvq\"`, or `backbone.kind = \"dit\"`"
                    }
                    Modality::Video => "set `tokenizer.video.quantizer.kind = \"lfq\"`, or `backbone.kind = \"dit\"`",
                };
                return Err(ConfigError::new("kind", message, hint));
            }
            (1, TokenKind::Codes { entries, .. }) if entries > 1 << 16 => {
                return error(
                    format!("a vocabulary of {entries} entries is too large for one digit (65,536 at most)"),
                    "set `digits = 2`",
                );
            }
            (1, TokenKind::Codes { .. }) => {}
            (count, TokenKind::Codes { bits: Some(bits), .. }) if bits % count == 0 => {}
            (count, TokenKind::Codes { bits: Some(bits), .. }) => {
                let fitting = (1..count).rev().find(|d| bits % d == 0).unwrap_or(1);
                return error(
                    format!("{count} digits do not divide the tokenizer's {bits} bits"),
                    &format!("set `digits = {fitting}`"),
                );
            }
            (count, TokenKind::Codes { entries, bits: None, .. }) => {
                return error(
                    format!("codes of {entries} entries without bits cannot be factorised into {count} digits"),
                    "set `digits = 1`",
                );
            }
        }
    }
    Ok(())
}

/// How many logits a model of codes gives for a whole canvas.
pub fn logits(canvas: &CanvasShape) -> f64 {
    let target = canvas.tracks.iter().filter(|track| track.target);
    let count = |track: &TrackShape| {
        track.digits().map_or(0.0, |digits| (digits.count * digits.base) as f64 * track.tokens.length() as f64)
    };
    target.map(count).sum()
}

/// The tokens of one track: codes by a [`Vocabulary`], vectors by a linear map.
#[derive(Module, Debug)]
pub struct Track {
    codes: Option<Vocabulary>,
    vectors: Option<VectorInput>,
}

impl Track {
    /// For vectors of `width`.
    pub fn new(init: &Init, shape: &TrackShape, width: usize) -> Self {
        match shape.tokens.kind {
            TokenKind::Vectors { channels } => {
                Self { codes: None, vectors: Some(VectorInput::new(init, channels, width)) }
            }
            TokenKind::Codes { .. } => Self { codes: Some(Vocabulary::new(init, shape, width)), vectors: None },
        }
    }

    /// How many numbers it learns.
    pub fn parameters(shape: &TrackShape, width: usize) -> usize {
        match shape.tokens.kind {
            TokenKind::Vectors { channels } => (channels + 1) * width,
            TokenKind::Codes { .. } => Vocabulary::parameters(shape, width),
        }
    }

    /// Floating-point operations of reading all of it: rows are looked up for none.
    pub fn flops(shape: &TrackShape, width: usize) -> f64 {
        match shape.tokens.kind {
            TokenKind::Vectors { channels } => 2.0 * (shape.tokens.length() * channels) as f64 * width as f64,
            TokenKind::Codes { .. } => 0.0,
        }
    }

    /// Its codes.
    ///
    /// # Panics
    /// Where it has vectors, which the recipe's checker did not let through.
    pub fn vocabulary(&self) -> &Vocabulary {
        self.codes.as_ref().expect("the recipe was checked: codes")
    }

    /// Digits `[B, n, D]` or vectors `[B, n, C]` → `[B, n, width]`.
    pub fn embed(&self, tokens: &TokenBatch) -> Tensor<3> {
        match (tokens, &self.vectors) {
            (TokenBatch::Vectors(vectors), Some(input)) => input.forward(vectors.clone()),
            (TokenBatch::Codes(codes), _) => self.vocabulary().embed(codes.clone(), false),
            (TokenBatch::Vectors(_), None) => panic!("the recipe was checked: no vectors"),
        }
    }
}

/// A linear map of vectors, such as those of a text encoder (VideoPoet, Kondratyuk et al. 2023, section 3.1, of T5's).
///
/// An embedding is a linear map too, of one-hot vectors, so both are one matrix. Where there is no word vectors are zeros,
/// and so what is learned for "no word" is the bias, as of an embedding it is the first row.
#[derive(Module, Debug)]
pub struct VectorInput {
    weight: Param<Tensor<2>>,
    bias: Param<Tensor<1>>,
}

impl VectorInput {
    /// Vectors of numbers of deviation 1 become as large as embeddings are.
    fn new(init: &Init, channels: usize, width: usize) -> Self {
        let deviation = 0.02 / (channels as f32).sqrt();
        Self {
            weight: init.part("weight").normal([channels, width], deviation),
            bias: init.part("bias").zeros([width]),
        }
    }

    fn forward(&self, vectors: Tensor<3>) -> Tensor<3> {
        module::linear(vectors, self.weight.val(), Some(self.bias.val()))
    }
}

/// The codes of one track. A large vocabulary is factorised into digits (MAGVIT-v2, section 3.2): the embeddings
/// of a token's digits are summed, and each digit has a head of its own, which is told the digits before it: entries of
/// residual levels hang on each other (Lee et al. 2022, "Autoregressive Image Generation using Residual Quantization").
#[derive(Module, Debug)]
pub struct Vocabulary {
    pub(crate) digits: Vec<Embedding>,
    /// None where the track is not generated.
    pub(crate) heads: Vec<Linear>,
    /// What the heads after a digit learn of it; none where the digits of one element are of different tokens.
    pub(crate) seen: Vec<Embedding>,
}

impl Vocabulary {
    fn new(init: &Init, shape: &TrackShape, width: usize) -> Self {
        let [digits, heads, seen] = Self::counts(shape);
        let base = shape.digits().map_or(1, |digits| digits.base);
        // A text has one digit, whose embedding is known by the track's own name.
        let embed = |name: String| match shape.modality {
            Modality::Text => Embedding::new(init, base, width),
            _ => Embedding::new(&init.part(name), base, width),
        };
        let head = |i| Linear::without_bias(&init.part(format!("heads{i}")), [width, base], 0.5);
        let tell = |i| Embedding::new(&init.part(format!("seen{i}")), base, width);
        Self {
            digits: (0..digits).map(|i| embed(format!("digits{i}"))).collect(),
            heads: (0..heads).map(head).collect(),
            seen: (1..=seen).map(tell).collect(),
        }
    }

    /// How many embeddings, heads and conditionings of heads there are.
    fn counts(shape: &TrackShape) -> [usize; 3] {
        let digits = shape.digits().map_or(0, |digits| digits.count);
        let chained = shape.target && shape.pattern() == LevelPattern::Parallel;
        [digits, if shape.target { digits } else { 0 }, if chained { digits.saturating_sub(1) } else { 0 }]
    }

    fn parameters(shape: &TrackShape, width: usize) -> usize {
        let base = shape.digits().map_or(0, |digits| digits.base);
        Self::counts(shape).into_iter().sum::<usize>() * base * width
    }

    /// `[B, n, D]` → `[B, n, width]`; where some digits may be none, their number is that of the entries.
    fn embed(&self, codes: Tensor<3, Int>, some: bool) -> Tensor<3> {
        let [size, n, _] = codes.dims();
        let all = self.digits.iter().enumerate().map(|(i, embedding)| {
            let digit = codes.clone().slice_dim(2, i..i + 1).reshape([size, n]);
            if some { embedding.forward_or_none(digit) } else { embedding.forward(digit) }
        });
        all.reduce(|a, b| a + b).expect("a token has at least one digit")
    }

    /// What each digit before a head's own adds to its logits ([`Logits::digit_conditioning`]): heads are linear.
    fn digit_conditioning(&self) -> Vec<Vec<Tensor<2>>> {
        let before = |i: usize| self.seen.iter().take(i).map(move |seen| self.heads[i].forward(seen.rows()));
        (0..self.heads.len()).map(|i| before(i).collect()).collect()
    }

    /// Logits of digit `digit` from hidden states `[B, n, width]`, once those of the same element before it are `picked`.
    pub fn logits(&self, hidden: Tensor<3>, digit: usize, picked: &[Tensor<2, Int>]) -> Tensor<3> {
        let seen = self.seen.iter().zip(picked).map(|(embedding, digit)| embedding.forward(digit.clone()));
        self.heads[digit].forward(seen.fold(hidden, |hidden, seen| hidden + seen))
    }
}

/// All tracks of a canvas.
#[derive(Module, Debug)]
pub struct Tracks {
    tracks: Vec<Track>,
}

impl Tracks {
    /// For vectors of `width`.
    pub fn new(init: &Init, canvas: &CanvasShape, width: usize) -> Self {
        Self { tracks: canvas.tracks.iter().map(|track| Track::new(&named(init, track), track, width)).collect() }
    }

    /// How many numbers they learn.
    pub fn parameters(canvas: &CanvasShape, width: usize) -> usize {
        canvas.tracks.iter().map(|track| Track::parameters(track, width)).sum()
    }

    /// Floating-point operations of reading all context.
    pub fn flops(canvas: &CanvasShape, width: usize) -> f64 {
        canvas.tracks.iter().map(|track| Track::flops(track, width)).sum()
    }

    /// Track `track`.
    pub fn of(&self, track: usize) -> &Track {
        &self.tracks[track]
    }

    /// The context, `[B, G, width]`; nothing where there is none.
    pub fn context(&self, conditioning: &Conditioning) -> Option<Tensor<3>> {
        let parts = conditioning.context.iter().map(|part| (&part.at[..], self.of(part.track).embed(&part.tokens)));
        together(parts.collect())
    }

    /// The digits `[B, L, D]` of what is to be generated → `[B, L, width]`.
    pub fn target(&self, layout: &Layout, digits: &Tensor<3, Int>) -> Tensor<3> {
        let parts = layout.target_by_track();
        let embed = |(track, at): &(usize, Vec<usize>)| {
            let some = layout.canvas().tracks[*track].pattern() != LevelPattern::Parallel;
            self.of(*track).vocabulary().embed(columns(digits.clone(), at), some)
        };
        let parts = parts.iter().map(|part| (&part.1[..], embed(part))).collect();
        together(parts).expect("something is to be generated")
    }

    /// Logits from the hidden states `[B, L, width]` of what is to be generated.
    pub fn logits(&self, layout: &Layout, hidden: &Tensor<3>) -> Vec<Logits> {
        let of = |(track, at): (usize, Vec<usize>)| {
            let vocabulary = self.of(track).vocabulary();
            let head = |(digit, head): (usize, &Linear)| {
                let has = |&i: &usize| layout.elements()[i].digits.contains(&digit);
                let at: Vec<usize> = at.iter().copied().filter(has).collect();
                Head { logits: head.forward(columns(hidden.clone(), &at)), at }
            };
            let heads = vocabulary.heads.iter().enumerate().map(head).collect();
            Logits { track, heads, digit_conditioning: vocabulary.digit_conditioning() }
        };
        layout.target_by_track().into_iter().map(of).collect()
    }
}

/// Parts `[B, n, D]` of a sequence, of which each knows where its positions stand in it: `[B, N, D]`.
pub fn together(parts: Vec<(&[usize], Tensor<3>)>) -> Option<Tensor<3>> {
    let mut back = vec![0; parts.iter().map(|(at, _)| at.len()).sum()];
    parts.iter().flat_map(|(at, _)| *at).enumerate().for_each(|(i, &at)| back[at] = i);
    let mut all: Vec<Tensor<3>> = parts.into_iter().map(|(_, part)| part).collect();
    match all.len() {
        0 => None,
        1 => all.pop(),
        _ => Some(columns(Tensor::cat(all, 1), &back)),
    }
}

/// Where the numbers of a track start: the clip's own are known by no name, those of its sound and of prompts by these.
fn named(init: &Init, track: &TrackShape) -> Init {
    match &*track.name {
        "video" => init.clone(),
        "audio" => init.part("sound"),
        "text" => init.part("words"),
        other => init.part(format!("track.{other}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::TokenShape;

    #[test]
    fn codes_fall_into_digits_of_equal_bits() {
        let told = |entries, bits, digits| {
            let tokens = TokenShape { grid: [1, 2, 2], kind: TokenKind::Codes { levels: 1, entries, bits } };
            check_codes(&CanvasShape::new(2, 5, tokens).with_factors(digits)).map_err(|error| (error.path, error.hint))
        };
        let wrong = |digits: usize| -> Result<(), (String, String)> {
            Err(("digits".to_owned(), format!("set `digits = {digits}`")))
        };
        assert_eq!([1, 2, 3, 6].map(|digits| told(64, Some(6), digits)), [Ok(()), Ok(()), Ok(()), Ok(())]);
        assert_eq!([4, 5].map(|digits| told(64, Some(6), digits)), [wrong(3), wrong(3)]);
        // Without bits, and with more than one digit can tell.
        assert_eq!([told(64, None, 1), told(64, None, 2)], [Ok(()), wrong(1)]);
        assert_eq!([told(1 << 16, Some(16), 1), told(1 << 18, Some(18), 1)], [Ok(()), wrong(2)]);
        let vectors = TokenShape { grid: [1, 2, 2], kind: TokenKind::Vectors { channels: 4 } };
        assert_eq!(check_codes(&CanvasShape::new(2, 5, vectors)).unwrap_err().path, "kind");
    }
}
