//! Which positions of a canvas stand in a sequence.

use super::{CanvasShape, CanvasTokens, LevelPattern, Values};
use crate::tokens::{code_of, signs, tokens_error};
use crate::{Modality, Result, TokenKind, TokenValues, Tokens};
use std::ops::Range;
use std::sync::Arc;

/// Which positions stand in a sequence: those whose tokens are context, then those whose tokens are to be generated.
///
/// Context stands there a token each. What is generated stands there as [`Element`]s, by the [`LevelPattern`] of its
/// track: a token, one code of it, or codes of several.
#[derive(Clone, Debug, PartialEq)]
pub struct Layout {
    canvas: Arc<CanvasShape>,
    context: Vec<usize>,
    target: Vec<usize>,
    elements: Vec<Element>,
}

/// What stands at one place of what is generated: some of the codes of a track, or a vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Element {
    /// The track.
    pub track: usize,
    /// Where in the track it lies; with a delay it may lie beyond the end.
    pub index: usize,
    /// Which of the track's target tokens its first code is of, counted in their order.
    pub token: usize,
    /// How much earlier each further codebook's token is: 0, or 1 with a delay.
    pub lag: usize,
    /// Whose codes it holds: all digits of a token, or these.
    pub digits: Range<usize>,
}

impl Element {
    /// Which of the track's target tokens its digit `digit` is of.
    fn token_of(&self, digit: usize) -> usize {
        self.token - self.lag * digit
    }
}

impl Layout {
    /// Tokens are given at the first, and are to be generated at the second. A position may be both, where what is given
    /// there is only a hint of what is to be generated.
    pub fn new(canvas: &Arc<CanvasShape>, context: Vec<usize>, target: Vec<usize>) -> Self {
        let elements = elements(canvas, &target);
        Self { canvas: canvas.clone(), context, target, elements }
    }

    /// The same with all prompts before the context.
    pub fn with_prompt(canvas: &Arc<CanvasShape>, context: Vec<usize>, target: Vec<usize>) -> Self {
        let prompts = canvas.tracks.iter().enumerate().filter(|(_, track)| track.modality == Modality::Text);
        let prompt = prompts.flat_map(|(track, _)| canvas.range(track)).filter(|position| !target.contains(position));
        let context = prompt.chain(context.iter().copied()).collect();
        Self::new(canvas, context, target)
    }

    /// All of a canvas is to be generated from the prompts.
    pub fn whole(canvas: &Arc<CanvasShape>) -> Self {
        let media = canvas.tracks.iter().enumerate().filter(|(_, track)| track.modality != Modality::Text);
        let mut all: Vec<usize> = media.flat_map(|(track, _)| canvas.range(track)).collect();
        canvas.sort(&mut all);
        Self::with_prompt(canvas, Vec::new(), all)
    }

    /// The canvas.
    pub fn canvas(&self) -> &Arc<CanvasShape> {
        &self.canvas
    }

    /// Where tokens are given.
    pub fn context(&self) -> &[usize] {
        &self.context
    }

    /// Where tokens are to be generated, in their order.
    pub fn target(&self) -> &[usize] {
        &self.target
    }

    /// What is to be generated, in the order of the sequence: `L` elements.
    pub fn elements(&self) -> &[Element] {
        &self.elements
    }

    /// All positions: context, then target.
    pub fn positions(&self) -> impl Iterator<Item = usize> {
        self.context.iter().chain(&self.target).copied()
    }

    /// Length of the whole sequence.
    pub fn length(&self) -> usize {
        self.context.len() + self.elements.len()
    }

    /// The tracks that have context, and which of the context's tokens are theirs.
    pub fn context_by_track(&self) -> Vec<(usize, Vec<usize>)> {
        by_track(&self.canvas, self.context.iter().map(|&position| self.canvas.find(position).0))
    }

    /// The tracks that are generated, and which of the `L` elements are theirs.
    pub fn target_by_track(&self) -> Vec<(usize, Vec<usize>)> {
        by_track(&self.canvas, self.elements.iter().map(|element| element.track))
    }

    /// How many tokens of each track are to be generated.
    pub fn tokens_by_track(&self) -> Vec<usize> {
        let mut counts = vec![0; self.canvas.tracks.len()];
        self.target.iter().for_each(|&position| counts[self.canvas.find(position).0] += 1);
        counts
    }

    /// How many steps of the clip's grid there is something to generate at, and the how-manyeth of them, in the order in
    /// which they are generated, each element is of.
    pub fn steps(&self) -> (usize, Vec<usize>) {
        let mut steps = Vec::new();
        let rank = |element: &Element| {
            let track = &self.canvas.tracks[element.track];
            let step = track.step(element.index.min(track.tokens.length() - 1));
            steps.iter().position(|&known| known == step).unwrap_or_else(|| {
                steps.push(step);
                steps.len() - 1
            })
        };
        let of = self.elements.iter().map(rank).collect();
        (steps.len(), of)
    }

    /// Which part of a token each element is: 1, or less where its codes stand at several.
    pub fn shares(&self) -> Vec<f32> {
        let share = |element: &Element| match self.canvas.tracks[element.track].digits() {
            Some(digits) => element.digits.len() as f32 / digits.count as f32,
            None => 1.0,
        };
        self.elements.iter().map(share).collect()
    }

    /// The digits `[L, D]` of target tokens; one that an element does not have is the number of a digit's entries, and
    /// those behind a track's own are 0. `None` where some tokens are vectors.
    pub fn digits(&self, target: &Values) -> Option<Vec<u32>> {
        let width = self.canvas.most_digits();
        let mut all = vec![0; self.elements.len() * width];
        for (element, row) in self.elements.iter().zip(all.chunks_mut(width)) {
            let track = &self.canvas.tracks[element.track];
            let (digits, TokenValues::Codes { codes, levels, .. }) = (track.digits()?, &target.tracks[element.track])
            else {
                return None;
            };
            row[..digits.count].fill(digits.base as u32);
            for digit in element.digits.clone() {
                let token = element.token_of(digit);
                row[digit] = match *levels {
                    1 => digit_of(codes[token], digit, digits.count, digits.base),
                    levels => codes[token * levels + digit],
                };
            }
        }
        Some(all)
    }

    /// The target tokens of which these are the [`digits`](Self::digits).
    pub fn of_digits(&self, all: &[u32]) -> Values {
        let width = self.canvas.most_digits();
        let mut values = self.blank_target();
        for (element, row) in self.elements.iter().zip(all.chunks(width)) {
            let track = &self.canvas.tracks[element.track];
            let (Some(digits), TokenValues::Codes { codes, levels, .. }) =
                (track.digits(), &mut values.tracks[element.track])
            else {
                continue;
            };
            for digit in element.digits.clone() {
                let token = element.token_of(digit);
                match *levels {
                    1 => codes[token] = codes[token] * digits.base as u32 + row[digit],
                    levels => codes[token * levels + digit] = row[digit],
                }
            }
        }
        values
    }

    /// The target tokens as vectors `[L, C]`: numbers as they are, codes as the signs of their bits, coarse levels first,
    /// and zeros behind what is shorter than `C`. `None` where codes have no bits.
    pub fn vectors(&self, target: &Values) -> Option<Vec<f32>> {
        let channels = self.canvas.channels()?;
        let each: Option<Vec<Vec<f32>>> = self
            .canvas
            .tracks
            .iter()
            .zip(&target.tracks)
            .map(|(track, values)| numbers(track.tokens.kind, values))
            .collect();
        let each = each?;
        let mut all = vec![0.0; self.elements.len() * channels];
        for (element, slot) in self.elements.iter().zip(all.chunks_mut(channels)) {
            let own = self.canvas.tracks[element.track].tokens.kind.channels()?;
            slot[..own].copy_from_slice(&each[element.track][element.token * own..][..own]);
        }
        Some(all)
    }

    /// What the vectors `[L, C]` stand for: codes by the signs of their numbers, latents as they are.
    pub fn of_vectors(&self, all: &[f32]) -> Values {
        let channels = self.canvas.channels().unwrap_or(1);
        let mut values = self.blank_target();
        for (element, vector) in self.elements.iter().zip(all.chunks(channels)) {
            let kind = self.canvas.tracks[element.track].tokens.kind;
            match (&mut values.tracks[element.track], kind) {
                (TokenValues::Codes { levels, codes, .. }, TokenKind::Codes { bits: Some(bits), .. }) => {
                    for level in 0..*levels {
                        codes[element.token * *levels + level] = code_of(&vector[level * bits..][..bits]);
                    }
                }
                (TokenValues::Vectors { channels, values }, _) => {
                    values[element.token * *channels..][..*channels].copy_from_slice(&vector[..*channels]);
                }
                _ => {}
            }
        }
        values
    }

    /// Target tokens of zeros.
    fn blank_target(&self) -> Values {
        self.canvas.blank().at(&self.target, &self.canvas)
    }

    /// The tokens of the tracks of which a whole beginning stands in the sequence, from the values of one sample.
    ///
    /// # Errors
    /// Where there are not as many values as positions, or one is out of range.
    pub fn tokens(&self, context: &Values, target: &Values) -> Result<CanvasTokens> {
        let mut found = CanvasTokens::default();
        for (track, shape) in self.canvas.tracks.iter().enumerate() {
            let range = self.canvas.range(track);
            // Where each of the track's tokens is found: among the context, or among the target.
            let mut at: Vec<Option<(bool, usize)>> = vec![None; range.len()];
            for (is_target, positions) in [(false, &self.context), (true, &self.target)] {
                // Where a position is both, what was generated stands there.
                for (i, position) in positions.iter().filter(|position| range.contains(position)).enumerate() {
                    at[position - range.start] = Some((is_target, i));
                }
            }
            // Steps at the end that the layout leaves out, as where an image is all there is.
            let area = shape.tokens.grid[1] * shape.tokens.grid[2];
            let steps = at.iter().position(Option::is_none).unwrap_or(at.len()) / area;
            let at: Vec<(bool, usize)> = at[..steps * area].iter().flatten().copied().collect();
            if at.is_empty() {
                continue;
            }
            let grid = [steps, shape.tokens.grid[1], shape.tokens.grid[2]];
            let missing = || tokens_error(format!("`{}` lacks tokens", shape.name));
            let tokens = match shape.tokens.kind {
                TokenKind::Codes { levels, entries, .. } => {
                    let code = |&(is_target, i): &(bool, usize)| {
                        let values = if is_target { target } else { context };
                        match values.tracks.get(track) {
                            Some(TokenValues::Codes { codes, .. }) => codes.get(i * levels..(i + 1) * levels),
                            _ => None,
                        }
                    };
                    let codes: Option<Vec<&[u32]>> = at.iter().map(code).collect();
                    Tokens::levels(grid, levels, entries, codes.ok_or_else(missing)?.concat())?
                }
                TokenKind::Vectors { channels } => {
                    let vector = |&(is_target, i): &(bool, usize)| {
                        let values = if is_target { target } else { context };
                        match values.tracks.get(track) {
                            Some(TokenValues::Vectors { values, .. }) => values.get(i * channels..(i + 1) * channels),
                            _ => None,
                        }
                    };
                    let vectors: Option<Vec<&[f32]>> = at.iter().map(vector).collect();
                    Tokens::vectors(grid, channels, vectors.ok_or_else(missing)?.concat())?
                }
            };
            found.tracks.insert(shape.name.clone(), tokens);
        }
        Ok(found)
    }
}

/// The tokens of a track as vectors, where there are any.
pub(super) fn numbers(kind: TokenKind, values: &TokenValues) -> Option<Vec<f32>> {
    match values {
        TokenValues::Vectors { values, .. } => Some(values.clone()),
        TokenValues::Codes { codes, .. } if codes.is_empty() => Some(Vec::new()),
        TokenValues::Codes { codes, .. } => {
            let TokenKind::Codes { bits: Some(bits), .. } = kind else { return None };
            Some(codes.iter().flat_map(|&code| signs(code, bits)).collect())
        }
    }
}

/// Digit `digit` of a code, most significant first. Of a code that is not among the entries the first digit is not, either.
pub(super) fn digit_of(code: u32, digit: usize, count: usize, base: usize) -> u32 {
    let rest = u64::from(code) / (base as u64).pow((count - 1 - digit) as u32);
    if digit == 0 { rest as u32 } else { (rest % base as u64) as u32 }
}

fn by_track(canvas: &CanvasShape, tracks: impl Iterator<Item = usize>) -> Vec<(usize, Vec<usize>)> {
    let mut all: Vec<(usize, Vec<usize>)> = (0..canvas.tracks.len()).map(|track| (track, Vec::new())).collect();
    tracks.enumerate().for_each(|(i, track)| all[track].1.push(i));
    all.retain(|(_, at)| !at.is_empty());
    all
}

/// What is generated at these positions, each track by its pattern.
fn elements(canvas: &CanvasShape, target: &[usize]) -> Vec<Element> {
    let mut counts = vec![0; canvas.tracks.len()];
    target.iter().for_each(|&position| counts[canvas.find(position).0] += 1);
    let mut seen = vec![0; canvas.tracks.len()];
    let mut elements = Vec::with_capacity(target.len());
    for &position in target {
        let (track, index) = canvas.find(position);
        let shape = &canvas.tracks[track];
        let digits = shape.digits().map_or(1, |digits| digits.count);
        let token = seen[track];
        seen[track] += 1;
        let whole = Element { track, index, token, lag: 0, digits: 0..digits };
        match shape.pattern() {
            LevelPattern::Parallel => elements.push(whole),
            LevelPattern::Flat => {
                elements.extend((0..digits).map(|digit| Element { digits: digit..digit + 1, ..whole.clone() }));
            }
            LevelPattern::Delay => {
                let at = |late: usize| Element {
                    index: index + late,
                    token: token + late,
                    lag: 1,
                    digits: (token + late + 1).saturating_sub(counts[track])..digits.min(token + late + 1),
                    ..whole.clone()
                };
                elements.push(at(0));
                // The last codes of the finer codebooks.
                if token + 1 == counts[track] {
                    elements.extend((1..digits).map(at));
                }
            }
        }
    }
    elements
}
