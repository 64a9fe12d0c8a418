//! Codes ⇄ vectors: what stands at a place goes in as a vector and comes out as logits.

use super::{Embedding, Linear};
use burn::module::Module;
use burn::tensor::{Int, Tensor};
use musiva_core::canvas::{Logits, columns};
use musiva_core::{CanvasShape, ConfigError, Init, Layout, Modality, TokenKind};

/// How many digits the codes of a modality are written in, and how many entries each digit has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// How many.
    pub count: usize,
    /// Entries of each.
    pub base: usize,
}

impl Digits {
    /// Those of tokens of a kind that a modality has; codes of one level are factorised into `wanted`, levels are digits
    /// already.
    ///
    /// # Errors
    /// Where the tokens are no codes, or cannot be factorised so.
    pub fn of(modality: Modality, kind: TokenKind, wanted: usize) -> Result<Self, ConfigError> {
        let error = |message: String, hint: &str| Err(ConfigError::new("digits", message, hint));
        match (wanted, kind) {
            (_, TokenKind::Codes { levels: levels @ 2.., entries, .. }) => Ok(Self { count: levels, base: entries }),
            (_, TokenKind::Vectors { .. }) => Err(ConfigError::new(
                "kind",
                format!("this model reads codes, `{}` makes {kind}", modality.section()),
                match modality {
                    Modality::Audio => {
                        "set `tokenizer.audio.quantizer.tokens = \"codes\"` of `kind = \"rvq\"`, or `backbone.kind = \"dit\"`"
                    }
                    _ => "set `tokenizer.video.quantizer.kind = \"lfq\"`, or `backbone.kind = \"dit\"`",
                },
            )),
            (1, TokenKind::Codes { entries, .. }) if entries > 1 << 16 => error(
                format!("a vocabulary of {entries} entries is too large for one digit (65,536 at most)"),
                "set `digits = 2`",
            ),
            (1, TokenKind::Codes { entries, .. }) => Ok(Self { count: 1, base: entries }),
            (count, TokenKind::Codes { bits: Some(bits), .. }) if bits % count == 0 => {
                Ok(Self { count, base: 1 << (bits / count) })
            }
            (count, TokenKind::Codes { bits: Some(bits), .. }) => {
                let fitting = (1..count).rev().find(|d| bits % d == 0).unwrap_or(1);
                error(
                    format!("{count} digits do not divide the tokenizer's {bits} bits"),
                    &format!("set `digits = {fitting}`"),
                )
            }
            (count, TokenKind::Codes { entries, bits: None, .. }) => error(
                format!("codes of {entries} entries without bits cannot be factorised into {count} digits"),
                "set `digits = 1`",
            ),
        }
    }

    /// Those of all modalities of a canvas: of its clip, and of its sound.
    ///
    /// # Errors
    /// As [`Digits::of`].
    pub fn all(canvas: &CanvasShape, wanted: usize) -> Result<Vec<Self>, ConfigError> {
        let of = |modality| canvas.shape(modality).map(|shape| Self::of(modality, shape.kind, wanted));
        [Modality::Video, Modality::Audio].into_iter().filter_map(of).collect()
    }

    /// How many numbers a head of all digits gives for the canvas' places.
    pub fn logits(canvas: &CanvasShape, wanted: usize) -> f64 {
        let count = |modality| canvas.range(modality).len();
        let counts = [count(Modality::Video), count(Modality::Audio)];
        let all = Self::all(canvas, wanted).unwrap_or_default();
        all.iter().zip(counts).map(|(digits, count)| (digits.count * digits.base * count) as f64).sum()
    }
}

/// The digits of codes, most significant first.
fn split(codes: Tensor<2, Int>, digits: Digits) -> Vec<Tensor<2, Int>> {
    let base = digits.base as i64;
    let shift = |i: usize| base.pow((digits.count - 1 - i) as u32);
    (0..digits.count).map(|i| (codes.clone() / shift(i)).remainder_scalar(base)).collect()
}

/// The codes of one modality. A large vocabulary is factorised into digits (MAGVIT-v2, section 3.2): the embeddings
/// of a token's digits are summed, and each digit has a head of its own, which is told the digits before it: entries of
/// residual levels hang on each other (Lee et al. 2022, "Autoregressive Image Generation using Residual Quantization").
#[derive(Module, Debug)]
pub struct Vocabulary {
    pub(crate) digits: Vec<Embedding>,
    pub(crate) heads: Vec<Linear>,
    /// What the heads after a digit learn of it.
    pub(crate) seen: Vec<Embedding>,
}

impl Vocabulary {
    /// For vectors of `width`.
    pub fn new(init: &Init, digits: Digits, width: usize) -> Self {
        let Digits { count, base } = digits;
        let embed = |name: String| Embedding::new(&init.part(name), base, width);
        let head = |i| Linear::without_bias(&init.part(format!("heads{i}")), [width, base], 0.5);
        Self {
            digits: (0..count).map(|i| embed(format!("digits{i}"))).collect(),
            heads: (0..count).map(head).collect(),
            seen: (1..count).map(|i| embed(format!("seen{i}"))).collect(),
        }
    }

    /// How many numbers it learns.
    pub fn parameters(digits: Digits, width: usize) -> usize {
        let Digits { count, base } = digits;
        (3 * count - 1) * base * width
    }

    /// How its codes are written.
    pub fn written(&self) -> Digits {
        Digits { count: self.digits.len(), base: self.digits[0].entries() }
    }

    /// `[B, n]` → `[B, n, D]`.
    pub fn embed(&self, codes: Tensor<2, Int>) -> Tensor<3> {
        let digits = split(codes, self.written());
        let all = self.digits.iter().zip(digits).map(|(embedding, digit)| embedding.forward(digit));
        all.reduce(|a, b| a + b).expect("a token has at least one digit")
    }

    /// What each digit before a head's own adds to its logits ([`Logits::digit_conditioning`]): heads are linear.
    fn digit_conditioning(&self) -> Vec<Vec<Tensor<2>>> {
        let before = |i: usize| self.seen[..i].iter().map(move |seen| self.heads[i].forward(seen.rows()));
        (0..self.heads.len()).map(|i| before(i).collect()).collect()
    }

    /// Logits of the digit after `digits` from hidden states `[B, n, D]`.
    pub fn logits(&self, hidden: Tensor<3>, digits: &[Tensor<2, Int>]) -> Tensor<3> {
        let seen = self.seen.iter().zip(digits).map(|(embedding, digit)| embedding.forward(digit.clone()));
        self.heads[digits.len()].forward(seen.fold(hidden, |hidden, seen| hidden + seen))
    }
}

/// Those of all modalities of a canvas.
#[derive(Module, Debug)]
pub struct Vocabularies {
    clip: Vocabulary,
    sound: Option<Vocabulary>,
}

impl Vocabularies {
    /// For a canvas whose codes are written so, [`Digits::all`].
    pub fn new(init: &Init, digits: &[Digits], width: usize) -> Self {
        let sound = digits.get(1).map(|sound| Vocabulary::new(&init.part("sound"), *sound, width));
        Self { clip: Vocabulary::new(init, digits[0], width), sound }
    }

    /// That of a modality.
    pub fn of(&self, modality: Modality) -> &Vocabulary {
        match (modality, &self.sound) {
            (Modality::Audio, Some(sound)) => sound,
            _ => &self.clip,
        }
    }

    /// That of the clip, and that of its sound where it has any.
    pub fn all(&self) -> impl Iterator<Item = &Vocabulary> {
        std::iter::once(&self.clip).chain(&self.sound)
    }

    /// Codes `[B, n]` at places of which each modality has `parts` → `[B, n, D]`.
    pub fn embed(&self, codes: Tensor<2, Int>, parts: &Parts) -> Tensor<3> {
        let of = |(modality, at): &(Modality, Vec<usize>)| self.of(*modality).embed(columns(codes.clone(), at));
        match &parts.0[..] {
            [one] => of(one),
            all => columns(Tensor::cat(all.iter().map(of).collect(), 1), &parts.back()),
        }
    }

    /// Logits from hidden states `[B, n, D]`.
    pub fn logits(&self, hidden: Tensor<3>, parts: &Parts) -> Vec<Logits> {
        let of = |(modality, at): &(Modality, Vec<usize>)| {
            let vocabulary = self.of(*modality);
            let hidden = columns(hidden.clone(), at);
            let heads = vocabulary.heads.iter().map(|head| head.forward(hidden.clone())).collect();
            Logits { at: at.clone(), heads, digit_conditioning: vocabulary.digit_conditioning() }
        };
        parts.0.iter().map(of).collect()
    }
}

/// Which of some places are of which modality.
pub struct Parts(Vec<(Modality, Vec<usize>)>);

impl Parts {
    /// Of these places of a canvas; modalities without any are left out.
    pub fn of(canvas: &CanvasShape, positions: &[usize]) -> Self {
        let at = |modality| positions.iter().enumerate().filter(move |(_, p)| canvas.modality(**p) == modality);
        let part = |modality| (modality, at(modality).map(|(i, _)| i).collect::<Vec<_>>());
        Self([Modality::Video, Modality::Audio].map(part).into_iter().filter(|(_, at)| !at.is_empty()).collect())
    }

    /// Of the places that are to be made.
    pub fn target(canvas: &CanvasShape, layout: &Layout) -> Self {
        Self::of(canvas, layout.target())
    }

    /// Each modality and its places' positions.
    pub fn iter(&self) -> impl Iterator<Item = (Modality, &[usize])> {
        self.0.iter().map(|(modality, at)| (*modality, &at[..]))
    }

    /// Where each position stands once all parts follow each other.
    pub fn back(&self) -> Vec<usize> {
        let mut back = vec![0; self.0.iter().map(|(_, at)| at.len()).sum()];
        self.0.iter().flat_map(|(_, at)| at).enumerate().for_each(|(i, &at)| back[at] = i);
        back
    }
}
