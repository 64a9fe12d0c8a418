//! Clips, sounds and captions as tokens, made once and kept on the host.

use crate::shards;
use musiva_core::canvas::{CanvasShape, CanvasTokens, Values};
use musiva_core::{Encoders, Error, ErrorKind, Media, Modality, Result, TokenKind, Tokenizer, Tokens, files};
use musiva_data::Dataset;
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;

/// Samples encoded at once.
const ENCODED: usize = 16;

/// Clips, their sounds and captions as tokens: each as it is, so that codes beside latents take no more than alone.
#[derive(Clone, Debug, PartialEq)]
pub struct TokenSet {
    /// Those that differ, one after the other: captions come again, and a conditioner's vectors are long.
    prompts: Values,
    /// How many these are.
    different: usize,
    /// Which of them each sample has.
    told: Vec<u32>,
    /// At all places of the canvas that hold codes, sample after sample.
    codes: Vec<u32>,
    /// At all places that hold latents, sample after sample.
    latents: Vec<f32>,
}

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
        text: &dyn Tokenizer,
        encoders: &Encoders,
        progress: &mut dyn FnMut(u64) -> Result<()>,
    ) -> Result<Self> {
        let (mut set, mut known) = (Self::empty(count as usize, canvas), HashMap::new());
        for start in (0..count).step_by(ENCODED) {
            let samples = (start..count.min(start + ENCODED as u64)).map(|index| data.get(index));
            let (mut clips, mut sounds, mut captions) = (Vec::new(), Vec::new(), Vec::new());
            for sample in samples {
                let mut sample = sample?;
                captions.push(sample.caption.clone());
                if encoders.audio.is_some() {
                    sounds.extend(sample.sound.take().map(Media::Sound));
                }
                clips.push(Media::Clip(sample.into_clip()?));
            }
            set.tell(captions, &mut known, canvas, text)?;
            let videos = encoders.video.encode_all(&clips)?;
            let audios: Vec<Option<Tokens>> = match encoders.audio {
                Some(audio) if sounds.len() == clips.len() => {
                    audio.encode_all(&sounds)?.into_iter().map(Some).collect()
                }
                Some(_) => return Err(Error::new(ErrorKind::Data, "data", "the data have no sounds")),
                None => vec![None; clips.len()],
            };
            for (video, audio) in videos.into_iter().zip(audios) {
                set.push(canvas, &CanvasTokens { video: Some(video), audio })?;
            }
            progress(start + clips.len() as u64)?;
        }
        Ok(set)
    }

    /// None yet, with room for the tokens of `count` samples.
    fn empty(count: usize, canvas: &CanvasShape) -> Self {
        let [codes, latents] = sizes(canvas);
        let (codes, latents) = (Vec::with_capacity(count * codes), Vec::with_capacity(count * latents));
        Self { prompts: canvas.no_prompt().empty(), different: 0, told: Vec::new(), codes, latents }
    }

    /// Puts the captions of samples behind the others', and encodes those that are not among the `known`.
    fn tell(
        &mut self,
        captions: Vec<String>,
        known: &mut HashMap<String, u32>,
        canvas: &CanvasShape,
        text: &dyn Tokenizer,
    ) -> Result<()> {
        let mut new = Vec::new();
        for caption in captions {
            let next = known.len() as u32;
            let told = known.entry(caption).or_insert_with_key(|caption| {
                new.push(Media::Text(caption.clone()));
                next
            });
            self.told.push(*told);
        }
        for tokens in text.encode_all(&new)? {
            self.prompts.append(canvas.prompt_of(&tokens)?);
        }
        self.different = known.len();
        Ok(())
    }

    /// Puts the tokens of a sample behind the others'.
    fn push(&mut self, canvas: &CanvasShape, tokens: &CanvasTokens) -> Result<()> {
        for (modality, tokens) in [(Modality::Video, &tokens.video), (Modality::Audio, &tokens.audio)] {
            let Some(shape) = canvas.shape(modality) else { continue };
            let missing = || Error::new(ErrorKind::Data, modality.section(), format!("a sample lacks its {shape}"));
            let tokens = tokens.as_ref().ok_or_else(missing)?.fitting(&shape)?;
            match shape.kind {
                TokenKind::Vectors { .. } => self.latents.extend_from_slice(tokens.as_vectors()?),
                _ => self.codes.extend(tokens.packed()?),
            }
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
        text: &dyn Tokenizer,
    ) -> Result<Self> {
        // Only what stands on the canvas is asked for.
        let on_canvas = |modality: &String| {
            *modality == shards::word(Modality::Video)
                || (canvas.sound.is_some() && *modality == shards::word(Modality::Audio))
        };
        let tokenizers = tokenizers.iter().filter(|(modality, _)| on_canvas(modality));
        let tokenizers = tokenizers.map(|(modality, hash)| (modality.clone(), hash.clone())).collect();
        let (mut set, mut known) = (Self::empty(0, canvas), HashMap::new());
        shards::read(folder, &tokenizers, &mut |sample| {
            set.tell(vec![sample.caption], &mut known, canvas, text)?;
            let mut tokens: HashMap<Modality, Tokens> = sample.tokens.into_iter().collect();
            let mut of = |modality| tokens.remove(&modality);
            let tokens = CanvasTokens {
                video: of(Modality::Video),
                audio: of(Modality::Audio).filter(|_| canvas.sound.is_some()),
            };
            set.push(canvas, &tokens).map_err(|error| {
                let place = format!("{}: {}", folder.display(), sample.about.id);
                Error::new(ErrorKind::Data, place, error.message())
                    .hint("set `data.frames` and `data.size` to those that the tokens were made with")
            })?;
            Ok(())
        })?;
        Ok(set)
    }

    /// Reads the set from `path` if it is there, else makes it and writes it there. The path must be
    /// named after everything that the set depends on.
    pub fn cached(path: &Path, make: impl FnOnce() -> Result<Self>) -> Result<Self> {
        if path.exists() {
            return Self::open(path);
        }
        let set = make()?;
        set.save(path)?;
        Ok(set)
    }

    fn save(&self, path: &Path) -> Result<()> {
        let wrong =
            |e: safetensors::SafeTensorError| Error::new(ErrorKind::Weights, path.display().to_string(), e.to_string());
        let words = |values: &[u32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let numbers = |values: &[f32]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let (dtype, prompts) = match &self.prompts {
            Values::Codes(prompts) => (Dtype::U32, words(prompts)),
            Values::Vectors(prompts) => (Dtype::F32, numbers(prompts)),
        };
        // Which prompt a sample has goes without saying where each has one of its own.
        let told = if self.different == self.count() { Vec::new() } else { words(&self.told) };
        let all = [
            ("prompts", dtype, self.different, prompts),
            ("told", Dtype::U32, self.count(), told),
            ("codes", Dtype::U32, self.count(), words(&self.codes)),
            ("latents", Dtype::F32, self.count(), numbers(&self.latents)),
        ];
        let some = all.iter().filter(|(name, _, _, bytes)| !bytes.is_empty() || *name == "prompts");
        let views = some.map(|(name, dtype, rows, bytes)| {
            let shape = vec![*rows, bytes.len() / 4 / rows.max(&1)];
            TensorView::new(*dtype, shape, bytes).map(|view| (*name, view)).map_err(wrong)
        });
        let views = views.collect::<Result<Vec<_>>>()?;
        files::write(path, &safetensors::serialize(views, None).map_err(wrong)?)
    }

    fn open(path: &Path) -> Result<Self> {
        let wrong = |message: String| {
            Error::new(ErrorKind::Weights, path.display().to_string(), message)
                .hint("delete this file: it is only a cache")
        };
        let bytes = files::read(path, 64 * files::GIGABYTE)?;
        let file = SafeTensors::deserialize(&bytes).map_err(|e| wrong(e.to_string()))?;
        let words = |name: &str| -> Vec<u32> {
            let all =
                |view: TensorView| view.data().as_chunks().0.iter().map(|word| u32::from_le_bytes(*word)).collect();
            file.tensor(name).map_or_else(|_| Vec::new(), all)
        };
        let numbers = |name: &str| -> Vec<f32> { words(name).into_iter().map(f32::from_bits).collect() };
        let prompts = file.tensor("prompts").map_err(|e| wrong(e.to_string()))?;
        let different = prompts.shape().first().copied().unwrap_or(0);
        let told = match file.tensor("told") {
            Ok(_) => words("told"),
            Err(_) => (0..different as u32).collect(),
        };
        if told.iter().any(|&prompt| prompt as usize >= different) {
            return Err(wrong(format!("a sample has a prompt that is not among the {different}")));
        }
        let prompts = match prompts.dtype() {
            Dtype::F32 => Values::Vectors(numbers("prompts")),
            _ => Values::Codes(words("prompts")),
        };
        Ok(Self { prompts, different, told, codes: words("codes"), latents: numbers("latents") })
    }

    /// How many samples there are.
    pub fn count(&self) -> usize {
        self.told.len()
    }

    /// The prompts of some samples, one after the other.
    pub fn prompts(&self, indices: &[usize]) -> Values {
        let each: Vec<_> = indices.iter().map(|&i| self.prompts.part(self.told[i] as usize, self.different)).collect();
        Values::concat(&each)
    }

    /// The tokens at some places of some samples, sample after sample.
    ///
    /// # Errors
    /// Where the set is of another canvas.
    pub fn values(&self, canvas: &CanvasShape, indices: &[usize], positions: &[usize]) -> Result<Values> {
        let each = indices.iter().map(|&index| Ok(canvas.values(&self.tokens(canvas, index)?)?.at(positions, canvas)));
        Ok(Values::concat(&each.collect::<Result<Vec<_>>>()?))
    }

    /// The tokens of a sample.
    fn tokens(&self, canvas: &CanvasShape, index: usize) -> Result<CanvasTokens> {
        let [codes, latents] = sizes(canvas);
        let mut codes = self.codes.get(index * codes..(index + 1) * codes).unwrap_or_default();
        let mut latents = self.latents.get(index * latents..(index + 1) * latents).unwrap_or_default();
        let mut next = |modality| -> Result<Option<Tokens>> {
            let Some(shape) = canvas.shape(modality) else { return Ok(None) };
            Ok(Some(match shape.kind {
                TokenKind::Vectors { channels } => {
                    let (own, rest) = latents.split_at((shape.length() * channels).min(latents.len()));
                    latents = rest;
                    Tokens::vectors(shape.grid, channels, own.to_vec())?
                }
                _ => {
                    let (own, rest) = codes.split_at(shape.length().min(codes.len()));
                    codes = rest;
                    Tokens::unpacked(&shape, own)?
                }
            }))
        };
        Ok(CanvasTokens { video: next(Modality::Video)?, audio: next(Modality::Audio)? })
    }
}

/// How many codes and how many numbers of latents a canvas holds.
fn sizes(canvas: &CanvasShape) -> [usize; 2] {
    let shapes = [Modality::Video, Modality::Audio].into_iter().filter_map(|modality| canvas.shape(modality));
    shapes.fold([0, 0], |[codes, latents], shape| match shape.kind {
        TokenKind::Vectors { channels } => [codes, latents + shape.length() * channels],
        _ => [codes + shape.length(), latents],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use musiva_core::canvas::{PromptKind, SoundShape};
    use musiva_core::{Layout, TokenShape, TokenizerSpec};

    /// Four places of codes of two bits, and as many of latents of five numbers.
    fn canvas() -> CanvasShape {
        let video = TokenShape { grid: [4, 1, 1], kind: TokenKind::Codes { levels: 1, entries: 4, bits: Some(2) } };
        let audio = TokenShape { grid: [4, 1, 1], kind: TokenKind::Vectors { channels: 5 } };
        let sound = Some(SoundShape { tokens: audio, tokens_per_frame: 1, stride: 1 });
        CanvasShape { sound, ..CanvasShape::new(1, 3, video) }
    }

    /// How many letters a text has: as a word, or as vectors of so many numbers.
    struct Letters(Option<usize>);

    impl Tokenizer for Letters {
        fn spec(&self) -> &TokenizerSpec {
            unreachable!("not asked for")
        }

        fn encode(&self, media: &Media) -> Result<Tokens> {
            let Media::Text(text) = media else { panic!("a text") };
            match self.0 {
                Some(channels) => Tokens::vectors([1, 1, 1], channels, vec![text.len() as f32 / 7.0; channels]),
                None => Tokens::codes([1, 1, 1], 3, vec![text.len() as u32]),
            }
        }

        fn decode(&self, _: &Tokens) -> Result<Media> {
            unreachable!("not asked for")
        }
    }

    fn sample(i: usize) -> CanvasTokens {
        let codes = (0..4).map(|place| ((i * 7 + place * 3) % 4) as u32).collect();
        let latents = (0..20).map(|n| (i * 20 + n) as f32 / 7.0).collect();
        CanvasTokens {
            video: Some(Tokens::codes([4, 1, 1], 4, codes).unwrap()),
            audio: Some(Tokens::vectors([4, 1, 1], 5, latents).unwrap()),
        }
    }

    #[test]
    fn codes_and_latents_lie_each_as_they_are_and_come_back() {
        let canvas = canvas();
        let mut set = TokenSet::empty(3, &canvas);
        set.tell(["b", "a", "ab"].map(str::to_owned).to_vec(), &mut HashMap::new(), &canvas, &Letters(None)).unwrap();
        (0..3).for_each(|i| set.push(&canvas, &sample(i)).unwrap());
        assert_eq!((set.codes.len(), set.latents.len()), (3 * 4, 3 * 4 * 5));
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("set.safetensors");
        set.save(&path).unwrap();
        let set = TokenSet::cached(&path, || panic!("it is there")).unwrap();
        let layout = Layout::whole(&canvas);
        let found = set.values(&canvas, &[2, 0], layout.target()).unwrap();
        let wanted = [2, 0].map(|i| canvas.values(&sample(i)).unwrap().at(layout.target(), &canvas));
        assert_eq!(found, Values::concat(&wanted));
        assert_eq!(set.prompts(&[2, 0]), Values::Codes(vec![2, 1]));
    }

    #[test]
    fn each_prompt_is_encoded_and_kept_once() {
        let words = canvas();
        for canvas in [words, CanvasShape { text: PromptKind::Vectors(3), ..words }] {
            let letters = Letters(matches!(canvas.text, PromptKind::Vectors(_)).then_some(3));
            let captions = ["b", "a", "b", "", "a", "ab"].map(str::to_owned);
            let (mut set, mut known) = (TokenSet::empty(6, &canvas), HashMap::new());
            for captions in captions.chunks(4) {
                set.tell(captions.to_vec(), &mut known, &canvas, &letters).unwrap();
            }
            (0..6).for_each(|i| set.push(&canvas, &sample(i)).unwrap());
            assert_eq!((set.different, set.count()), (4, 6));
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("set.safetensors");
            set.save(&path).unwrap();
            let found = TokenSet::open(&path).unwrap();
            assert_eq!(found, set);
            let alone =
                |i: usize| canvas.prompt_of(&letters.encode(&Media::Text(captions[i].clone())).unwrap()).unwrap();
            assert_eq!(found.prompts(&[5, 0, 4, 3]), Values::concat(&[5, 0, 4, 3].map(alone)));
            set.told[2] = 4;
            set.save(&path).unwrap();
            assert!(TokenSet::open(&path).unwrap_err().to_string().contains("not among the 4"));
        }
    }

    #[test]
    fn a_set_of_another_canvas_is_an_error() {
        let canvas = canvas();
        let mut set = TokenSet::empty(1, &canvas);
        assert!(set.push(&canvas, &CanvasTokens { audio: None, ..sample(0) }).is_err());
        let mut set = TokenSet::empty(1, &canvas);
        set.push(&canvas, &sample(0)).unwrap();
        assert!(set.values(&canvas, &[1], &[0]).is_err());
        let longer = CanvasShape { tokens: TokenShape { grid: [5, 1, 1], ..canvas.tokens }, ..canvas };
        assert!(set.values(&longer, &[0], &[0]).is_err());
    }
}
