//! Clips, sounds and captions as tokens, made once and kept on the host.

use crate::shards;
use musiva_core::canvas::{CanvasShape, Values};
use musiva_core::{Encoders, Error, ErrorKind, Media, Modality, Result, TokenKind, TokenValues, Tokens, files};
use musiva_data::Dataset;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Samples encoded at once.
const ENCODED: usize = 16;
/// Under which key of its metadata a file says what its set depends on.
const KEY: &str = "musiva.tokens";

/// Samples as the tokens of a canvas.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSet {
    count: usize,
    /// Of each track of the canvas.
    tracks: Vec<Rows>,
    /// Of each condition of the canvas the number of each sample.
    conditions: Vec<Vec<f64>>,
    /// Captions that were too long and of which the beginning is there: how many, and the first of them.
    shortened: Option<(u64, String)>,
}

/// The tokens of one track: each kind as it is, so that codes beside latents take no more than alone.
#[derive(Clone, Debug, PartialEq)]
struct Rows {
    /// What the track is called.
    name: String,
    /// Those that differ, one after the other.
    values: Numbers,
    /// How many these are.
    different: usize,
    /// Which of them each sample has, where not each has one of its own: captions come again, and the vectors of a text
    /// encoder are long; and a sample may have several.
    of: Option<Vec<Vec<u32>>>,
}

#[derive(Clone, Debug, PartialEq)]
enum Numbers {
    /// Codes `[rows, n, Q]`.
    Codes(Vec<u32>),
    /// Vectors `[rows, n, C]`.
    Vectors(Vec<f32>),
}

impl Rows {
    /// None yet.
    fn new(canvas: &CanvasShape, track: usize) -> Self {
        let shape = &canvas.tracks[track];
        let values = match shape.tokens.kind {
            TokenKind::Codes { .. } => Numbers::Codes(Vec::new()),
            TokenKind::Vectors { .. } => Numbers::Vectors(Vec::new()),
        };
        let of = (shape.modality == Modality::Text).then(Vec::new);
        Self { name: shape.name.clone(), values, different: 0, of }
    }

    fn push(&mut self, tokens: &Tokens) -> Result<()> {
        match &mut self.values {
            Numbers::Codes(codes) => codes.extend_from_slice(tokens.as_codes()?),
            Numbers::Vectors(values) => values.extend_from_slice(tokens.as_vectors()?),
        }
        self.different += 1;
        Ok(())
    }
}

/// Which row of a text each caption is, of those that are known.
type Known = HashMap<String, u32>;

impl TokenSet {
    /// Tokenizes samples `0..count` of `data` for a canvas; `progress` is told how many are done, and cancels by an
    /// error.
    ///
    /// # Errors
    /// Where a sample cannot be read or encoded; and what `progress` returns.
    pub fn new(
        data: &dyn Dataset,
        count: u64,
        canvas: &CanvasShape,
        encoders: &Encoders,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Self> {
        let (mut set, mut known) = (Self::empty(canvas), Known::new());
        for start in (0..count).step_by(ENCODED) {
            let samples = (start..count.min(start + ENCODED as u64)).map(|index| data.get(index));
            let samples = samples.collect::<Result<Vec<_>>>()?;
            for (track, shape) in canvas.tracks.iter().enumerate() {
                if shape.modality == Modality::Text {
                    let captions = samples.iter().map(|sample| sample.captions().map(str::to_owned).collect());
                    set.tell(canvas, track, captions, &mut known, encoders)?;
                    continue;
                }
                let media = samples.iter().map(|sample| sample.medium(&shape.from)).collect::<Result<Vec<_>>>()?;
                for tokens in encoder(encoders, &shape.name)?.encode_all(&media)? {
                    set.tracks[track].push(tokens.fitting(&shape.tokens)?)?;
                }
            }
            for (condition, numbers) in canvas.conditions.iter().zip(&mut set.conditions) {
                for sample in &samples {
                    let (number, [low, high]) = (sample.number(&condition.from)?, condition.range);
                    if !(low..=high).contains(&number) {
                        let message =
                            format!("{} has {} {number}, which is not from {low} to {high}", sample.id, condition.from);
                        return Err(Error::new(
                            ErrorKind::Data,
                            format!("condition.{}.range", condition.name),
                            message,
                        )
                        .hint(format!(
                            "set `range = [{:?}, {:?}]` or wider",
                            low.min(number),
                            high.max(number)
                        )));
                    }
                    numbers.push(number);
                }
            }
            set.count += samples.len();
            progress(set.count as u64)?;
        }
        Ok(set)
    }

    /// Captions that were too long for their track, of which the beginning was taken when the set was made: how many
    /// different ones, and the first of them.
    pub fn shortened(&self) -> Option<&(u64, String)> {
        self.shortened.as_ref()
    }

    /// None yet.
    fn empty(canvas: &CanvasShape) -> Self {
        let tracks = (0..canvas.tracks.len()).map(|track| Rows::new(canvas, track)).collect();
        Self { count: 0, tracks, conditions: vec![Vec::new(); canvas.conditions.len()], shortened: None }
    }

    /// Puts the captions of samples behind the others', and encodes those that are not among the `known`.
    fn tell(
        &mut self,
        canvas: &CanvasShape,
        track: usize,
        captions: impl Iterator<Item = Vec<String>>,
        known: &mut Known,
        encoders: &Encoders,
    ) -> Result<()> {
        let (shape, rows) = (&canvas.tracks[track], &mut self.tracks[track]);
        let encoder = encoder(encoders, &shape.name)?;
        let mut new = Vec::new();
        let mut row = |caption: String| -> Result<u32> {
            match known.get(&caption) {
                Some(&row) => Ok(row),
                None => {
                    let short = encoder.shortened(&caption)?;
                    if short.is_some() {
                        self.shortened.get_or_insert((0, caption.clone())).0 += 1;
                    }
                    new.push(Media::Text(short.unwrap_or_else(|| caption.clone())));
                    let row = known.len() as u32;
                    known.insert(caption, row);
                    Ok(row)
                }
            }
        };
        for captions in captions {
            let own = captions.into_iter().map(&mut row).collect::<Result<_>>()?;
            rows.of.get_or_insert_default().push(own);
        }
        for tokens in encoder.encode_all(&new)? {
            rows.push(tokens.fitting(&shape.tokens)?)?;
        }
        Ok(())
    }

    /// The set of a folder of shards, whose tokens were made by the tokenizers with these hashes.
    ///
    /// # Errors
    /// As [`shards::read`], and where its tokens do not fit the canvas.
    pub fn sharded(
        folder: &Path,
        tokenizers: &BTreeMap<String, String>,
        canvas: &CanvasShape,
        encoders: &Encoders,
    ) -> Result<Self> {
        // Only what stands on the canvas is asked for.
        let on_canvas = |modality: &String| canvas.tracks.iter().any(|track| track.from == *modality);
        let tokenizers = tokenizers.iter().filter(|(modality, _)| on_canvas(modality));
        let tokenizers = tokenizers.map(|(modality, hash)| (modality.clone(), hash.clone())).collect();
        let (mut set, mut known) = (Self::empty(canvas), Known::new());
        if let Some(condition) = canvas.conditions.first() {
            let message = format!("shards hold no numbers, and `[condition.{}]` asks for one", condition.name);
            return Err(Error::new(ErrorKind::Unsupported, "train.tokens", message)
                .hint("delete `train.tokens`: what is trained on is tokenized first then"));
        }
        shards::read(folder, &tokenizers, &mut |sample| {
            let tokens: HashMap<&str, &Tokens> =
                sample.tokens.iter().map(|(modality, tokens)| (shards::word(*modality), tokens)).collect();
            for (track, shape) in canvas.tracks.iter().enumerate() {
                if shape.modality == Modality::Text {
                    set.tell(canvas, track, std::iter::once(sample.captions.clone()), &mut known, encoders)?;
                    continue;
                }
                let wrong = |message: String, hint: &str| {
                    let place = format!("{}: {}", folder.display(), sample.about.id);
                    Error::new(ErrorKind::Data, place, message).hint(hint)
                };
                let found = tokens.get(&*shape.from).ok_or_else(|| {
                    let message = format!("it lacks the tokens of `{}`", shape.name);
                    wrong(message, "delete `train.tokens`: what is trained on is tokenized first then")
                })?;
                let hint = "set `data.frames` and `data.size` to those that the tokens were made with";
                let found = found.fitting(&shape.tokens).map_err(|error| wrong(error.message().to_owned(), hint))?;
                set.tracks[track].push(found)?;
            }
            set.count += 1;
            Ok(())
        })?;
        Ok(set)
    }

    /// Reads the set from `path`, where it is there and was made with this `key`, which says everything that the set depends
    /// on; else makes it and writes it there.
    pub fn cached(path: &Path, key: &str, canvas: &CanvasShape, make: impl FnOnce() -> Result<Self>) -> Result<Self> {
        if path.exists()
            && let Some(set) = Self::open(path, key, canvas)?
        {
            return Ok(set);
        }
        let set = make()?;
        set.save(path, key)?;
        Ok(set)
    }

    fn save(&self, path: &Path, key: &str) -> Result<()> {
        let wrong =
            |e: safetensors::SafeTensorError| Error::new(ErrorKind::Weights, path.display().to_string(), e.to_string());
        let words = |values: &[u32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let numbers = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let mut all = Vec::new();
        for Rows { name, values, different, of } in &self.tracks {
            let (dtype, bytes) = match values {
                Numbers::Codes(codes) => (Dtype::U32, words(codes)),
                Numbers::Vectors(values) => (Dtype::F32, numbers(values)),
            };
            all.push((format!("{name}.values"), dtype, *different, bytes));
            if let Some(of) = of {
                let rows = of.concat();
                all.push((format!("{name}.rows"), Dtype::U32, rows.len(), words(&rows)));
                if of.iter().any(|own| own.len() != 1) {
                    let counts: Vec<u32> = of.iter().map(|own| own.len() as u32).collect();
                    all.push((format!("{name}.counts"), Dtype::U32, counts.len(), words(&counts)));
                }
            }
        }
        for (i, numbers) in self.conditions.iter().enumerate() {
            let bytes = numbers.iter().flat_map(|number| (*number as f32).to_le_bytes()).collect();
            all.push((format!("condition.{i}"), Dtype::F32, numbers.len(), bytes));
        }
        let views = all.iter().map(|(name, dtype, rows, bytes)| {
            let shape = vec![*rows, bytes.len() / 4 / rows.max(&1)];
            TensorView::new(*dtype, shape, bytes).map(|view| (name, view)).map_err(wrong)
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        let metadata = HashMap::from([(KEY.to_owned(), key.to_owned())]);
        files::write(path, &safetensors::serialize(views, Some(metadata)).map_err(wrong)?)
    }

    /// `None`: it was made with another key.
    fn open(path: &Path, key: &str, canvas: &CanvasShape) -> Result<Option<Self>> {
        let wrong = |message: String| {
            Error::new(ErrorKind::Weights, path.display().to_string(), message)
                .hint("delete this file: it is only a cache")
        };
        let bytes = files::read(path, 64 * files::GIGABYTE)?;
        let (_, head) = SafeTensors::read_metadata(&bytes).map_err(|e| wrong(e.to_string()))?;
        if head.metadata().as_ref().and_then(|metadata| metadata.get(KEY)).map(String::as_str) != Some(key) {
            return Ok(None);
        }
        let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
        let tensor = |name: String| file.tensor(&name).map_err(|_| wrong(format!("it has no `{name}`")));
        let words = |view: &TensorView| -> Vec<u32> {
            view.data().as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect()
        };
        let mut set = Self::empty(canvas);
        for rows in &mut set.tracks {
            let values = tensor(format!("{}.values", rows.name))?;
            rows.different = values.shape().first().copied().unwrap_or(0);
            match (&mut rows.values, values.dtype()) {
                (Numbers::Codes(codes), Dtype::U32) => *codes = words(&values),
                (Numbers::Vectors(numbers), Dtype::F32) => {
                    *numbers = words(&values).into_iter().map(f32::from_bits).collect();
                }
                _ => return Err(wrong(format!("`{}` is of another kind", rows.name))),
            }
            set.count = rows.different;
            if let Some(of) = &mut rows.of {
                let all = words(&tensor(format!("{}.rows", rows.name))?);
                if all.iter().any(|&row| row as usize >= rows.different) {
                    return Err(wrong(format!("a sample has a row that is not among the {}", rows.different)));
                }
                *of = match file.tensor(&format!("{}.counts", rows.name)) {
                    Err(_) => all.into_iter().map(|row| vec![row]).collect(),
                    Ok(counts) => {
                        let (counts, mut left) = (words(&counts), &all[..]);
                        let own = counts.iter().map(|&count| {
                            let (own, rest) = left.split_at_checked(count as usize).filter(|_| count > 0)?;
                            left = rest;
                            Some(own.to_vec())
                        });
                        let own = own.collect::<Option<Vec<_>>>();
                        own.ok_or_else(|| wrong(format!("its `{}.counts` and rows differ", rows.name)))?
                    }
                };
                set.count = of.len();
            }
        }
        for (i, numbers) in set.conditions.iter_mut().enumerate() {
            let found = words(&tensor(format!("condition.{i}"))?);
            *numbers = found.into_iter().map(|bits| f64::from(f32::from_bits(bits))).collect();
            if numbers.len() != set.count {
                return Err(wrong(format!("condition {i} is of another number of samples")));
            }
        }
        for rows in &set.tracks {
            if rows.of.as_ref().map_or(rows.different, Vec::len) != set.count {
                return Err(wrong(format!("`{}` is of another number of samples", rows.name)));
            }
        }
        Ok(Some(set))
    }

    /// How many samples there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The tokens of a sample at all positions of its canvas; of several captions the one that `draw` draws, by its
    /// remainder, 0 the first.
    ///
    /// # Errors
    /// Where the set is of another canvas, or has no such sample.
    pub fn values(&self, canvas: &CanvasShape, index: usize, draw: u32) -> Result<Values> {
        let other = || Error::new(ErrorKind::Weights, "tokens", "the token set is of another canvas");
        if self.tracks.len() != canvas.tracks.len() || index >= self.count {
            return Err(other());
        }
        let track = |(rows, shape): (&Rows, &musiva_core::canvas::TrackShape)| {
            let row = match &rows.of {
                None => index,
                Some(of) => of[index][draw as usize % of[index].len().max(1)] as usize,
            };
            let length = shape.tokens.length();
            let range = |each: usize| row * length * each..(row + 1) * length * each;
            Ok(match (&rows.values, shape.tokens.kind) {
                (Numbers::Codes(codes), TokenKind::Codes { levels, entries, .. })
                    if codes.len() == rows.different * length * levels =>
                {
                    TokenValues::Codes { levels, entries, codes: codes[range(levels)].to_vec() }
                }
                (Numbers::Vectors(values), TokenKind::Vectors { channels })
                    if values.len() == rows.different * length * channels =>
                {
                    TokenValues::Vectors { channels, values: values[range(channels)].to_vec() }
                }
                _ => return Err(other()),
            })
        };
        let numbers = self.conditions.iter().map(|numbers| numbers.get(index).copied()).collect();
        Ok(Values { tracks: self.tracks.iter().zip(&canvas.tracks).map(track).collect::<Result<_>>()?, numbers })
    }
}

/// The tokenizer of a track.
fn encoder<'a>(encoders: &Encoders<'a>, track: &str) -> Result<&'a dyn musiva_core::Tokenizer> {
    let missing = || Error::new(ErrorKind::Recipe, track, "the track has no tokenizer");
    encoders.get(track).copied().ok_or_else(missing)
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::{CanvasTokens, Clip, MediaShape, Rate, Sound, TokenShape, Tokenizer, TokenizerSpec};
    use musiva_data::{DataReport, Sample};
    use std::cell::Cell;

    /// Four places of codes of two bits, as many of a sound, and a text of one token.
    fn canvas(audio: TokenKind, text: TokenKind) -> CanvasShape {
        let video = TokenShape { grid: [4, 1, 1], kind: TokenKind::Codes { levels: 1, entries: 4, bits: Some(2) } };
        let mut canvas = CanvasShape::new(1, 3, video).with_sound(TokenShape { grid: [4, 1, 1], kind: audio }, 1, 1);
        canvas.tracks[2].tokens.kind = text;
        canvas
    }

    const LATENTS: TokenKind = TokenKind::Vectors { channels: 5 };
    const LEVELS: TokenKind = TokenKind::Codes { levels: 3, entries: 7, bits: None };
    const WORDS: TokenKind = TokenKind::Codes { levels: 1, entries: 3, bits: None };

    /// Twenty samples: more than are encoded at once. The number of each is what is seen and heard of it.
    struct Numbered;

    const COUNT: usize = 20;

    /// Those of the second batch say again what those of the first say, but for one.
    fn caption(i: usize) -> &'static str {
        if i == 17 { "ba" } else { ["b", "a", "b", "", "a", "ab"][i % 6] }
    }

    impl Dataset for Numbered {
        fn len(&self) -> Option<u64> {
            Some(COUNT as u64)
        }

        fn get(&self, index: u64) -> Result<Sample> {
            let clip = Clip::new([1, 1, 1], Rate::whole(8), vec![index as u8; 3])?;
            let sound = Sound::new(1, Rate::whole(8), vec![index as f32])?;
            let caption = caption(index as usize).to_owned();
            Ok(Sample { clip: Some(clip), sound: Some(sound), caption, ..Sample::default() })
        }

        fn shape(&self, _: Modality) -> Option<MediaShape> {
            unreachable!("not asked for")
        }

        fn report(&self) -> DataReport {
            unreachable!("not asked for")
        }
    }

    /// Numbers as tokens of a kind, and of a text how many letters it has. It counts what it has encoded.
    struct Plain(TokenShape, Cell<usize>);

    impl Tokenizer for Plain {
        fn spec(&self) -> &TokenizerSpec {
            unreachable!("not asked for")
        }

        fn encode(&self, media: &Media) -> Result<Tokens> {
            self.1.set(self.1.get() + 1);
            let number = match media {
                Media::Clip(clip) => 7 * usize::from(clip.pixels()[0]),
                Media::Sound(sound) => 11 * sound.samples()[0] as usize,
                Media::Text(text) => text.len(),
            };
            let TokenShape { grid, kind } = self.0;
            match kind {
                TokenKind::Codes { levels, entries, .. } => {
                    let code = |place| ((number + place * 3) % entries) as u32;
                    Tokens::levels(grid, levels, entries, (0..self.0.length() * levels).map(code).collect())
                }
                TokenKind::Vectors { channels } => {
                    let value = |place| (number * 20 + place) as f32 / 7.0;
                    Tokens::vectors(grid, channels, (0..self.0.length() * channels).map(value).collect())
                }
            }
        }

        fn decode(&self, _: &Tokens) -> Result<Media> {
            unreachable!("not asked for")
        }
    }

    /// The tokenizers of a canvas' tracks.
    fn plain(canvas: &CanvasShape) -> Vec<Plain> {
        canvas.tracks.iter().map(|track| Plain(track.tokens, Cell::new(0))).collect()
    }

    fn encoders<'a>(canvas: &CanvasShape, plain: &'a [Plain]) -> Encoders<'a> {
        let each = canvas.tracks.iter().zip(plain);
        each.map(|(track, plain)| (track.name.clone(), plain as &dyn Tokenizer)).collect()
    }

    fn set(canvas: &CanvasShape, plain: &[Plain]) -> Result<TokenSet> {
        TokenSet::new(&Numbered, COUNT as u64, canvas, &encoders(canvas, plain), &mut |_| Ok(()))
    }

    /// What the canvas of a sample holds.
    fn wanted(canvas: &CanvasShape, plain: &[Plain], i: usize) -> Values {
        let sample = Numbered.get(i as u64).unwrap();
        let media = |from: &str| match from {
            "text" => Media::Text(sample.caption.clone()),
            from => sample.medium(from).unwrap(),
        };
        let tokens = canvas.tracks.iter().zip(plain);
        let tokens = tokens.map(|(track, plain)| (track.name.clone(), plain.encode(&media(&track.from)).unwrap()));
        canvas.values(&CanvasTokens { tracks: tokens.collect() }).unwrap()
    }

    fn file() -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.safetensors");
        (folder, path)
    }

    #[test]
    fn codes_and_latents_lie_each_as_they_are_and_come_back() {
        for audio in [LATENTS, LEVELS] {
            let canvas = canvas(audio, WORDS);
            let plain = plain(&canvas);
            let set = set(&canvas, &plain).unwrap();
            let numbers = |track: usize| match &set.tracks[track].values {
                Numbers::Codes(codes) => codes.len(),
                Numbers::Vectors(values) => values.len(),
            };
            let each = audio.channels().or(audio.level_count()).unwrap();
            assert_eq!([numbers(0), numbers(1)], [COUNT * 4, COUNT * 4 * each]);
            let (_folder, path) = file();
            set.save(&path, "one").unwrap();
            let found = TokenSet::cached(&path, "one", &canvas, || panic!("it is there")).unwrap();
            // With another key it is another set, and made again.
            let other = || TokenSet::cached(&path, "two", &canvas, || Ok(TokenSet::empty(&canvas)));
            assert_eq!((other().unwrap().count(), other().unwrap().count()), (0, 0));
            assert_eq!((&found, found.count()), (&set, COUNT));
            for i in 0..COUNT {
                assert_eq!(found.values(&canvas, i, 0).unwrap(), wanted(&canvas, &plain, i), "{i}");
            }
        }
    }

    #[test]
    fn each_prompt_is_encoded_and_kept_once() {
        for text in [WORDS, TokenKind::Vectors { channels: 3 }] {
            let canvas = canvas(LATENTS, text);
            let plain = plain(&canvas);
            let mut set = set(&canvas, &plain).unwrap();
            assert_eq!((set.tracks[2].different, set.count()), (5, COUNT));
            let encoded: Vec<usize> = plain.iter().map(|plain| plain.1.get()).collect();
            assert_eq!(encoded, [COUNT, COUNT, 5]);
            let (_folder, path) = file();
            set.save(&path, "one").unwrap();
            let found = TokenSet::open(&path, "one", &canvas).unwrap().unwrap();
            assert_eq!(found, set);
            for i in [5, 0, 4, 3, 17, 19] {
                assert_eq!(found.values(&canvas, i, 0).unwrap().tracks[2], wanted(&canvas, &plain, i).tracks[2]);
            }
            set.tracks[2].of.as_mut().unwrap()[2][0] = 5;
            set.save(&path, "one").unwrap();
            assert!(TokenSet::open(&path, "one", &canvas).unwrap_err().to_string().contains("not among the 5"));
        }
    }

    #[test]
    fn one_of_several_captions_is_drawn() {
        /// Those of the others, of which some have more captions.
        struct Several;
        const MORE: [&[&str]; 3] = [&[], &["ab", ""], &["a"]];

        impl Dataset for Several {
            fn len(&self) -> Option<u64> {
                Some(3)
            }
            fn get(&self, index: u64) -> Result<Sample> {
                let more_captions = MORE[index as usize].iter().map(|caption| caption.to_string()).collect();
                Ok(Sample { more_captions, ..Numbered.get(index)? })
            }
            fn shape(&self, _: Modality) -> Option<MediaShape> {
                unreachable!("not asked for")
            }
            fn report(&self) -> DataReport {
                unreachable!("not asked for")
            }
        }

        let canvas = canvas(LATENTS, WORDS);
        let plain = plain(&canvas);
        let mut set = TokenSet::new(&Several, 3, &canvas, &encoders(&canvas, &plain), &mut |_| Ok(())).unwrap();
        let (_folder, path) = file();
        set.save(&path, "one").unwrap();
        let found = TokenSet::open(&path, "one", &canvas).unwrap().unwrap();
        assert_eq!(found, set);
        for index in 0..3 {
            for draw in 0..7 {
                let sample = Several.get(index).unwrap().drawn(draw);
                let tokens = plain[2].encode(&Media::Text(sample.caption.clone())).unwrap();
                let TokenValues::Codes { codes, .. } = &found.values(&canvas, index as usize, draw).unwrap().tracks[2]
                else {
                    panic!("words are codes")
                };
                assert_eq!(codes, tokens.as_codes().unwrap(), "{index}, {draw}: {}", sample.caption);
                let all: Vec<_> = Several.get(index).unwrap().captions().map(str::to_owned).collect();
                assert_eq!(sample.caption, all[draw as usize % all.len()]);
            }
        }
        set.tracks[2].of.as_mut().unwrap()[0].clear();
        set.save(&path, "one").unwrap();
        assert!(
            TokenSet::open(&path, "one", &canvas).unwrap_err().to_string().contains("`text.counts` and rows differ")
        );
    }

    #[test]
    fn a_set_of_another_canvas_is_an_error() {
        let canvas = canvas(LATENTS, WORDS);
        let plain = plain(&canvas);
        // A track without a tokenizer, one of a stream that the data do not have, tokens that do not fit.
        let mut some = encoders(&canvas, &plain);
        some.remove("audio");
        assert!(TokenSet::new(&Numbered, 1, &canvas, &some, &mut |_| Ok(())).is_err());
        let mut other = canvas.clone();
        other.tracks[0].from = "depth".into();
        assert!(self::set(&other, &plain).is_err());
        let mut longer = canvas.clone();
        longer.tracks[0].tokens.grid = [5, 1, 1];
        assert!(self::set(&longer, &plain).is_err());

        let set = set(&canvas, &plain).unwrap();
        assert!(set.values(&canvas, COUNT - 1, 0).is_ok() && set.values(&canvas, COUNT, 0).is_err());
        let (levels, mut silent) = (self::canvas(LEVELS, WORDS), canvas.clone());
        silent.tracks.remove(1);
        for other in [&longer, &levels, &silent] {
            assert!(set.values(other, 0, 0).is_err());
        }
        let (_folder, path) = file();
        set.save(&path, "one").unwrap();
        assert!(TokenSet::open(&path, "one", &levels).unwrap_err().to_string().contains("`audio` is of another kind"));
        let mut more = canvas.clone();
        more.tracks[1].name = "music".into();
        assert!(TokenSet::open(&path, "one", &more).unwrap_err().to_string().contains("no `music.values`"));
    }
}
