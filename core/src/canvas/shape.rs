//! What a canvas is, known before there are any tokens: `check` lives on it.

use super::PAD;
use super::values::{CanvasTokens, Values};
use crate::tokens::tokens_error;
use crate::{Modality, Result, TokenKind, TokenShape, TokenValues};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::ops::Range;

/// The tracks of a canvas.
#[derive(Clone, Debug, PartialEq)]
pub struct CanvasShape {
    /// The tracks, by which positions are numbered.
    pub tracks: Vec<TrackShape>,
    /// In which order positions follow each other.
    pub order: PositionOrder,
    /// The numbers that a sample is conditioned on beside its tracks.
    pub conditions: Vec<ConditionShape>,
}

/// A number that a sample is conditioned on: frames a second, speed, loudness, a score.
#[derive(Clone, Debug, PartialEq)]
pub struct ConditionShape {
    /// What the recipe calls it.
    pub name: String,
    /// Which number of the data's samples it is.
    pub from: String,
    /// How the backbone takes it in.
    pub route: Route,
    /// The range that it is expected in.
    pub range: [f64; 2],
    /// Probability of training without it; 0: there is no sample without.
    pub dropout: f32,
}

/// How a backbone takes in what it is conditioned on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Route {
    /// It joins the timestep in adaptive layer norms (Peebles and Xie 2023, section 3.2).
    AdaLn,
    /// It is one more token before the context.
    Token,
    /// It is added to every token.
    Add,
    /// Tokens attend to it by cross-attention.
    Cross,
    /// It is concatenated with the channels of every token.
    Concat,
}

impl Route {
    /// As recipes write it.
    pub fn word(self) -> &'static str {
        match self {
            Self::AdaLn => "adaln",
            Self::Token => "token",
            Self::Add => "add",
            Self::Cross => "cross",
            Self::Concat => "concat",
        }
    }
}

/// One track: tokens of one medium.
#[derive(Clone, Debug, PartialEq)]
pub struct TrackShape {
    /// What the recipe calls it: `video`, `audio`, `text`, `depth`, ….
    pub name: String,
    /// Which stream of the data it holds, by the data's name: the clip is `video`, the sound `audio`, the caption `text`.
    pub from: String,
    /// What its tokens stand for.
    pub modality: Modality,
    /// How many tokens there are, and what each of them is.
    pub tokens: TokenShape,
    /// Where they lie in time and space.
    pub axes: Axes,
    /// How the codes of several codebooks become a sequence.
    pub pattern: LevelPattern,
    /// How many frames, rows and columns, or how many samples, 1, 1 a token stands for.
    pub strides: [usize; 3],
    /// How many seconds a step of its grid lasts; 0 of text.
    pub seconds: f64,
    /// How many digits a code of a single codebook is factorised into by the backbone (MAGVIT-v2, section 3.2): 1 for none.
    pub factors: usize,
    /// Whether a task may give some of it.
    pub context: bool,
    /// Whether a task may ask for some of it.
    pub target: bool,
}

/// Where the tokens of a track lie: index → coordinates `[t, h, w]`, in steps of the grid of the canvas' clip.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Axes {
    /// One after the other before all else in time: `t = -P … -1`.
    Text,
    /// On the grid of a clip, whose rows and columns each are so many of those of the canvas' clip.
    Grid {
        /// Rows and columns.
        scale: [f64; 2],
    },
    /// One after the other in time.
    Time {
        /// How many frames of the clip a token lasts, as a fraction in lowest terms. Without a clip: `[1, 1]`.
        frames: [u64; 2],
        /// How many frames one step of the clip's grid stands for; its first stands for one.
        stride: usize,
    },
}

/// How the codes of `Q` codebooks become a sequence. Without effect where there is one codebook.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum LevelPattern {
    /// All codes of a token at one position, each predicted from those before it (Lee et al. 2022, RQ-Transformer).
    #[default]
    Parallel,
    /// Codebook `q` is `q` positions late, so that all codes of a position are predicted at once (MusicGen, Copet et al.
    /// 2023, section 2.2).
    Delay,
    /// One position a code: `Q` times as many (Copet et al. 2023, "flattening").
    Flat,
}

/// In which order positions follow each other, for models that generate one after the other.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum PositionOrder {
    /// Step by step of the clip's grid, at each the clip and then its sound: nothing is heard before it is seen.
    #[default]
    InTime,
    /// The whole clip, then its whole sound (VideoPoet, Kondratyuk et al. 2023, section 3.2).
    ClipFirst,
}

/// How the codes of a track are written: as so many digits of so many entries, most significant or coarsest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Digits {
    /// How many.
    pub count: usize,
    /// Entries of each.
    pub base: usize,
}

impl TrackShape {
    /// A track of text.
    pub fn text(name: &str, tokens: TokenShape) -> Self {
        Self { axes: Axes::Text, ..Self::new(name, Modality::Text, tokens) }
    }

    /// A track of clips on the canvas' own grid.
    pub fn video(name: &str, tokens: TokenShape) -> Self {
        Self::new(name, Modality::Video, tokens)
    }

    /// A track of sound, of which `tokens` last as long as `frames` of the clip, `stride` of which are a step of its grid.
    pub fn audio(name: &str, shape: TokenShape, [tokens, frames]: [u64; 2], stride: usize) -> Self {
        let common = gcd(tokens, frames).max(1);
        let axes = Axes::Time { frames: [frames / common, tokens / common], stride };
        Self { axes, ..Self::new(name, Modality::Audio, shape) }
    }

    fn new(name: &str, modality: Modality, tokens: TokenShape) -> Self {
        Self {
            name: name.to_owned(),
            from: name.to_owned(),
            modality,
            tokens,
            axes: Axes::Grid { scale: [1.0; 2] },
            pattern: LevelPattern::Parallel,
            strides: [1; 3],
            seconds: 0.0,
            factors: 1,
            context: modality == Modality::Text,
            target: modality != Modality::Text,
        }
    }

    /// How its codes are written; `None` of vectors, and where the factors do not divide the bits of a code.
    pub fn digits(&self) -> Option<Digits> {
        match self.tokens.kind {
            TokenKind::Codes { levels: count @ 2.., entries: base, .. } => Some(Digits { count, base }),
            TokenKind::Codes { entries: base, .. } if self.factors == 1 => Some(Digits { count: 1, base }),
            TokenKind::Codes { bits: Some(bits), .. } if bits.is_multiple_of(self.factors) => {
                Some(Digits { count: self.factors, base: 1 << (bits / self.factors) })
            }
            _ => None,
        }
    }

    /// The pattern, where it has an effect.
    pub fn pattern(&self) -> LevelPattern {
        match self.tokens.kind {
            TokenKind::Codes { levels: 2.., .. } => self.pattern,
            _ => LevelPattern::Parallel,
        }
    }

    /// How many places of a sequence `tokens` of its tokens take.
    pub fn elements(&self, tokens: usize) -> usize {
        let levels = self.tokens.kind.level_count().unwrap_or(1);
        match self.pattern() {
            LevelPattern::Parallel => tokens,
            LevelPattern::Delay if tokens == 0 => 0,
            LevelPattern::Delay => tokens + levels - 1,
            LevelPattern::Flat => tokens * levels,
        }
    }

    /// Where its token `index` lies, which may be beyond its end.
    pub fn coordinates(&self, index: usize) -> [f64; 3] {
        let [_, h, w] = self.tokens.grid;
        match self.axes {
            Axes::Text => [index as f64 - self.tokens.length() as f64, 0.0, 0.0],
            Axes::Grid { scale: [rows, columns] } => {
                let on = |at: usize, scale: f64| (at as f64 + 0.5) * scale - 0.5;
                [(index / (h * w)) as f64, on(index / w % h, rows), on(index % w, columns)]
            }
            Axes::Time { frames: [frames, tokens], stride } => {
                // A step of `s` frames ends with frame `s·t`: its middle lies half a step, less half a frame, before.
                let frame = (index as f64 + 0.5) * frames as f64 / tokens as f64 - 0.5;
                let stride = stride as f64;
                [(frame + (stride - 1.0) / 2.0) / stride, 0.0, 0.0]
            }
        }
    }

    /// The step of the clip's grid at which its token `index` lies; sound lies at the step of the frame in which it begins.
    pub fn step(&self, index: usize) -> usize {
        let [_, h, w] = self.tokens.grid;
        match self.axes {
            Axes::Text => 0,
            Axes::Grid { .. } => index / (h * w),
            Axes::Time { frames: [frames, tokens], stride } => {
                { (index as u128 * u128::from(frames) / u128::from(tokens)) as usize }.div_ceil(stride)
            }
        }
    }

    /// How many of its tokens begin during the first `frames` of the clip.
    pub fn tokens_of(&self, frames: usize) -> usize {
        match self.axes {
            Axes::Time { frames: [each, tokens], .. } => {
                (frames as u128 * u128::from(tokens)).div_ceil(u128::from(each)) as usize
            }
            _ => frames,
        }
    }
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl CanvasShape {
    /// A prompt of words of a vocabulary of so many, and the tokens of a silent clip, all of which are to be generated.
    pub fn new(prompt: usize, words: usize, tokens: TokenShape) -> Self {
        let text =
            TokenShape { grid: [prompt, 1, 1], kind: TokenKind::Codes { levels: 1, entries: words, bits: None } };
        let tracks = vec![TrackShape::video("video", tokens), TrackShape::text("text", text)];
        Self { tracks, order: PositionOrder::InTime, conditions: Vec::new() }
    }

    /// The same with a sound of the clip, of which so many tokens last as long as one frame.
    pub fn with_sound(mut self, tokens: TokenShape, tokens_per_frame: usize, stride: usize) -> Self {
        self.tracks.insert(1, TrackShape::audio("audio", tokens, [tokens_per_frame as u64, 1], stride));
        self
    }

    /// The same where a token of the clip stands for so many frames, rows and columns.
    pub fn with_strides(mut self, strides: [usize; 3]) -> Self {
        self.tracks[0].strides = strides;
        self
    }

    /// The same where the backbone factorises codes into so many digits.
    pub fn with_factors(mut self, factors: usize) -> Self {
        self.tracks
            .iter_mut()
            .filter(|track| track.modality != Modality::Text)
            .for_each(|track| track.factors = factors);
        self
    }

    /// The same where tasks may give some of every track.
    pub fn with_context(mut self) -> Self {
        self.tracks.iter_mut().for_each(|track| track.context = true);
        self
    }

    /// The track of this name.
    pub fn track(&self, name: &str) -> Option<&TrackShape> {
        self.tracks.iter().find(|track| track.name == name)
    }

    /// The number of the track of this name.
    pub fn index(&self, name: &str) -> Option<usize> {
        self.tracks.iter().position(|track| track.name == name)
    }

    /// The positions of track `track`.
    pub fn range(&self, track: usize) -> Range<usize> {
        let start = self.tracks[..track].iter().map(|track| track.tokens.length()).sum();
        start..start + self.tracks[track].tokens.length()
    }

    /// How many frames its clip has; 0 where there is none.
    pub fn frames(&self) -> usize {
        let clip = self.tracks.iter().find(|track| track.modality == Modality::Video);
        clip.map_or(0, |clip| (clip.tokens.grid[0] - 1) * clip.strides[0] + 1)
    }

    /// How many positions there are.
    pub fn positions(&self) -> usize {
        self.tracks.iter().map(|track| track.tokens.length()).sum()
    }

    /// Length of the sequence that holds every position once, each track by its pattern, and the tokens of its conditions.
    pub fn length(&self) -> usize {
        self.condition_tokens() + self.tracks.iter().map(|track| track.elements(track.tokens.length())).sum::<usize>()
    }

    /// Elements of the tracks that are generated.
    pub fn target_elements(&self) -> usize {
        let target = self.tracks.iter().filter(|track| track.target);
        target.map(|track| track.elements(track.tokens.length())).sum()
    }

    /// How many conditions are tokens of the sequence.
    pub fn condition_tokens(&self) -> usize {
        self.conditions.iter().filter(|condition| condition.route == Route::Token).count()
    }

    /// The track of a position, and which of its tokens lies there.
    ///
    /// # Panics
    /// Beyond the last position, which is a bug of the caller.
    pub fn find(&self, position: usize) -> (usize, usize) {
        let mut index = position;
        for (track, shape) in self.tracks.iter().enumerate() {
            match index.checked_sub(shape.tokens.length()) {
                Some(rest) => index = rest,
                None => return (track, index),
            }
        }
        panic!("position {position} of {}", self.positions())
    }

    /// Whose token lies at a position.
    pub fn modality(&self, position: usize) -> Modality {
        self.tracks[self.find(position).0].modality
    }

    /// What the token at a position is.
    pub fn kind(&self, position: usize) -> TokenKind {
        self.tracks[self.find(position).0].tokens.kind
    }

    /// [`TrackShape::step`] of a position.
    pub fn step(&self, position: usize) -> usize {
        let (track, index) = self.find(position);
        self.tracks[track].step(index)
    }

    /// [`TrackShape::coordinates`] of a position.
    pub fn coordinates(&self, position: usize) -> [f64; 3] {
        let (track, index) = self.find(position);
        self.tracks[track].coordinates(index)
    }

    /// Puts positions in their order.
    pub fn sort(&self, positions: &mut [usize]) {
        self.sort_by_step(positions, |step| step);
    }

    /// Puts positions that are to be generated in the order in which they are, where the first step that is known is
    /// `known`: as [`CanvasShape::sort`], but where the end is known and the beginning is not, what lies next to it comes
    /// first, and a clip grows backwards.
    pub fn sort_from(&self, known: Option<usize>, positions: &mut [usize]) {
        match known {
            None | Some(0) => self.sort(positions),
            Some(first) => self.sort_by_step(positions, |step| (first.abs_diff(step), step)),
        }
    }

    fn sort_by_step<K: Ord>(&self, positions: &mut [usize], rank: impl Fn(usize) -> K) {
        positions.sort_by_cached_key(|&position| {
            let (track, index) = self.find(position);
            let track = &self.tracks[track];
            // Text comes before all, and sound may have to wait for the whole clip.
            let turn = match track.modality {
                Modality::Text => 0,
                Modality::Audio if self.order == PositionOrder::ClipFirst => 2,
                _ => 1,
            };
            (turn, rank(track.step(index)), position)
        });
    }

    /// Length of the vectors that a diffusion backbone reads: that of the longest of all tracks but text; the shorter ones
    /// end in zeros. `None` where some tokens have none.
    pub fn channels(&self) -> Option<usize> {
        let media = self.tracks.iter().filter(|track| track.modality != Modality::Text);
        media.map(|track| track.tokens.kind.channels()).try_fold(0, |most, channels| Some(most.max(channels?)))
    }

    /// The most digits that a token of any track has.
    pub fn most_digits(&self) -> usize {
        self.tracks.iter().filter_map(TrackShape::digits).map(|digits| digits.count).max().unwrap_or(1)
    }

    /// A value of nothing at every position.
    pub fn blank(&self) -> Values {
        let tracks = self.tracks.iter().map(|track| match track.tokens.kind {
            TokenKind::Codes { levels, entries, .. } => {
                TokenValues::Codes { levels, entries, codes: vec![PAD; track.tokens.length() * levels] }
            }
            TokenKind::Vectors { channels } => {
                TokenValues::Vectors { channels, values: vec![0.0; track.tokens.length() * channels] }
            }
        });
        Values { tracks: tracks.collect(), numbers: vec![None; self.conditions.len()] }
    }

    /// The same values with no prompt: pads, or zeros where its tokens are vectors; and without the numbers that a model
    /// knows to go without. What is empty in a prompt, training without one and classifier-free guidance all are this.
    pub fn without_prompt(&self, mut values: Values) -> Values {
        for (shape, values) in self.tracks.iter().zip(&mut values.tracks) {
            if shape.modality == Modality::Text {
                match values {
                    TokenValues::Codes { codes, .. } => codes.fill(PAD),
                    TokenValues::Vectors { values, .. } => values.fill(0.0),
                }
            }
        }
        for (condition, number) in self.conditions.iter().zip(&mut values.numbers) {
            if condition.dropout > 0.0 {
                *number = None;
            }
        }
        values
    }

    /// The context of a prompt alone: the words of the first text track, all others blank.
    ///
    /// # Panics
    /// Where there is no text track of as many words, which is a bug of the caller.
    pub fn prompt(&self, words: &[u32]) -> Values {
        let text = self.tracks.iter().position(|track| track.modality == Modality::Text).expect("a track of text");
        let positions: Vec<usize> = self.range(text).collect();
        let mut values = self.blank().at(&positions, self);
        match &mut values.tracks[text] {
            TokenValues::Codes { codes, .. } if codes.len() == words.len() => codes.copy_from_slice(words),
            _ => panic!("a prompt of {} words", words.len()),
        }
        values
    }

    /// The values of all positions of tokens that fill the canvas; nothing where there are none.
    ///
    /// # Errors
    /// Where they are not the canvas' tokens.
    pub fn values(&self, tokens: &CanvasTokens) -> Result<Values> {
        let mut values = self.blank();
        for (name, tokens) in &tokens.tracks {
            let unknown = || tokens_error(format!("tokens of `{name}`, which this canvas does not have"));
            let track = self.index(name).ok_or_else(unknown)?;
            values.lay(track, 0, tokens.fitting(&self.tracks[track].tokens)?)?;
        }
        Ok(values)
    }
}
