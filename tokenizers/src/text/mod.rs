//! Text tokens by the `tokenizers` crate: any `tokenizer.json`, or a small byte-pair encoding
//! trained on the captions at hand.
//!
//! A canvas keeps token 0 for "no word" ([`musiva_core::canvas::PAD`]), so the file's token `i` is
//! token `i + 1` here, whatever the file itself calls padding.

use burn::tensor::Device;
use musiva_core::canvas::PAD;
use musiva_core::{
    ConfigError, Cost, Error, ErrorKind, Media, MediaShape, Modality, Result, TokenKind, TokenShape, Tokenizer,
    TokenizerConfig, TokenizerSpec, Tokens, WeightInit, files,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::path::Path;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::replace::{Replace, ReplacePattern};
use tokenizers::normalizers::{self, Lowercase, Strip};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::pre_tokenizers::punctuation::Punctuation;
use tokenizers::pre_tokenizers::sequence::Sequence;
use tokenizers::{AddedToken, Tokenizer as HuggingFace, TokenizerBuilder};

/// Its name for what the training captions never showed.
const UNKNOWN: &str = "[UNK]";

/// What a recipe says of a `kind = "bpe"` text tokenizer; its `weights` are a `tokenizer.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// Longest prompt in tokens: the length of the canvas's prompt.
    #[schemars(range(min = 1, max = 4096))]
    pub length: usize,
    /// Entries of the vocabulary, one for "no word" among them; the file may have fewer, not more.
    #[schemars(range(min = 2, max = 1_000_000))]
    pub vocabulary: usize,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self { length: 12, vocabulary: 128 }
    }
}

impl TokenizerConfig for TextConfig {
    fn errors(&self) -> Vec<ConfigError> {
        let mut errors = Vec::new();
        if self.length == 0 {
            errors.push(ConfigError::new("length", "a prompt of no tokens says nothing", "set `length = 12`"));
        }
        if self.vocabulary < 2 {
            errors.push(ConfigError::new(
                "vocabulary",
                "a vocabulary needs at least two entries",
                "set `vocabulary = 128`",
            ));
        }
        errors
    }

    fn spec(&self) -> TokenizerSpec {
        let kind = TokenKind::Codes { levels: 1, entries: self.vocabulary, bits: None };
        TokenizerSpec { modality: Modality::Text, kind, codes: kind, strides: [1; 3], causal: true, range: [0.0, 0.0] }
    }

    fn shape(&self, media: &MediaShape) -> Result<TokenShape, ConfigError> {
        match media {
            MediaShape::Text => Ok(TokenShape { grid: [1, 1, self.length], kind: self.spec().kind }),
            other => {
                let message = format!("bpe reads text, not {}", other.modality().plural());
                Err(ConfigError::new("", message, "use it as `[tokenizer.text]`"))
            }
        }
    }

    fn parameters(&self) -> usize {
        0
    }

    fn cost(&self, _: &MediaShape) -> [Cost; 2] {
        [Cost::default(); 2]
    }

    fn build(&self, _: &Device, weight_init: &WeightInit) -> Result<Box<dyn Tokenizer>> {
        match weight_init {
            WeightInit::File(path) => Ok(Box::new(Text::open(self, path)?)),
            WeightInit::Seed(_) => Err(Error::new(ErrorKind::Weights, "tokenizer.text", "it has no vocabulary yet")
                .hint("set `weights` to a tokenizer.json, or train one with `train.target = \"tokenizer.text\"`")),
        }
    }
}

/// A text tokenizer with its vocabulary.
pub struct Text {
    spec: TokenizerSpec,
    length: usize,
    inner: HuggingFace,
}

impl Text {
    /// Opens a `tokenizer.json`.
    ///
    /// # Errors
    /// Where the file is missing, is no tokenizer, or has more entries than the recipe's vocabulary.
    pub fn open(config: &TextConfig, path: &Path) -> Result<Self> {
        let place = path.display().to_string();
        let bytes = files::read(path, files::GIGABYTE)?;
        // A byte order mark says how the file is written, and is no part of it.
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
        let mut inner = HuggingFace::from_bytes(bytes).map_err(|_| unreadable(bytes, &place))?;
        // They are of whoever trained a model with it: here the canvas says how long a prompt is.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|e| Error::new(ErrorKind::Weights, &place, e.to_string()))?;
        // Numbers may leave some out.
        let highest = inner.get_vocab(true).into_values().max().map_or(0, |highest| highest as usize + 1);
        let entries = highest.max(inner.get_vocab_size(true)) + 1;
        if entries > config.vocabulary {
            let message = format!(
                "its tokens have numbers up to {}, which takes {entries} entries with \"no word\"; the recipe's vocabulary has {}",
                entries - 2,
                config.vocabulary
            );
            return Err(Error::new(ErrorKind::Weights, place, message)
                .hint(format!("set `tokenizer.text.vocabulary = {entries}`")));
        }
        Ok(Self { spec: config.spec(), length: config.length, inner })
    }
}

/// Why the bytes of a `tokenizer.json` cannot be read: the part of it that nobody knows, where leaving it out helps.
fn unreadable(bytes: &[u8], place: &str) -> Error {
    let Ok(serde_json::Value::Object(whole)) = serde_json::from_slice(bytes) else {
        return Error::new(ErrorKind::Weights, place, "it is no tokenizer.json: it is not an object of JSON")
            .hint("name the file that `train.target = \"tokenizer.text\"` or the `tokenizers` library has written");
    };
    for part in ["normalizer", "pre_tokenizer", "post_processor", "decoder"] {
        let mut without = whole.clone();
        let Some(kind) = without.insert(part.to_owned(), serde_json::Value::Null) else { continue };
        if serde_json::from_value::<HuggingFace>(without.into()).is_ok() {
            let kind = kind.get("type").and_then(|kind| kind.as_str()).unwrap_or("?");
            let message = format!("its {part} is `{kind}` with what belongs to it, and that is not known here");
            return Error::new(ErrorKind::Weights, place, message).hint(format!(
                "write it with `tokenizers` 0.22 or older, or set `\"{part}\": null` in the file where it can do without"
            ));
        }
    }
    let kind = whole.get("model").and_then(|model| model.get("type")).and_then(|kind| kind.as_str());
    let message = match kind {
        Some(kind) => format!("its model `{kind}`, or more than one other part of it, is not known here"),
        None => "it is no tokenizer.json: it has no model".to_owned(),
    };
    Error::new(ErrorKind::Weights, place, message)
        .hint("name a tokenizer.json of the kind BPE, WordPiece, WordLevel or Unigram")
}

impl Text {
    /// The file's tokens of a text, from 0.
    fn tokens(&self, text: &str) -> Result<Vec<u32>> {
        let encoding = self.inner.encode_fast(text, false).map_err(|error| prompt_error(text, error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }
}

fn prompt_error(text: &str, message: String) -> Error {
    Error::new(ErrorKind::Unsupported, format!("prompt \"{text}\""), message)
}

impl Tokenizer for Text {
    fn spec(&self) -> &TokenizerSpec {
        &self.spec
    }

    fn encode(&self, media: &Media) -> Result<Tokens> {
        let Media::Text(text) = media else {
            return Err(media.unexpected("tokenizer.text", Modality::Text));
        };
        let mut codes: Vec<u32> = self.tokens(text)?.iter().map(|id| id + 1).collect();
        if codes.len() > self.length {
            let message = format!("{} tokens, the canvas has room for {}", codes.len(), self.length);
            return Err(prompt_error(text, message).hint("say it in fewer words"));
        }
        codes.resize(self.length, PAD);
        let TokenKind::Codes { entries, .. } = self.spec.kind else { unreachable!("text tokens are codes") };
        Tokens::codes([1, 1, self.length], entries, codes)
    }

    fn shortened(&self, text: &str) -> Result<Option<String>> {
        let wrong = |error: tokenizers::Error| prompt_error(text, error.to_string());
        let encoding = self.inner.encode(text, false).map_err(wrong)?;
        let Some(&(end, _)) = encoding.get_offsets().get(self.length) else { return Ok(None) };
        // A word that is cut off may take more tokens than it took within the text.
        let mut short = text.get(..end).unwrap_or_default().trim_end();
        while self.tokens(short)?.len() > self.length {
            short = short.rsplit_once(char::is_whitespace).map_or("", |(short, _)| short.trim_end());
        }
        Ok(Some(short.to_owned()))
    }

    fn decode(&self, tokens: &Tokens) -> Result<Media> {
        if tokens.level_count() != Some(1) {
            let message = format!("{} where codes of one codebook were expected", tokens.values().kind());
            return Err(Error::new(ErrorKind::Weights, "tokenizer.text", message));
        }
        let ids: Vec<u32> = tokens.as_codes()?.iter().filter(|&&code| code != PAD).map(|code| code - 1).collect();
        let text = self.inner.decode(&ids, true);
        text.map(Media::Text).map_err(|e| Error::new(ErrorKind::Unsupported, "tokenizer.text", e.to_string()))
    }
}

/// Trains a byte-pair encoding (Sennrich et al. 2016) on captions and writes it as `tokenizer.json`.
///
/// A space belongs to the word behind it, as in SentencePiece (Kudo and Richardson 2018), and punctuation stands alone: so
/// captions come back from their tokens as they were, in small letters and with single spaces.
///
/// # Errors
/// Where the vocabulary has no room for the letters of the captions, or the file cannot be written.
pub fn train(config: &TextConfig, captions: impl Iterator<Item = String> + Send, path: &Path) -> Result<()> {
    let wrong = |e: tokenizers::Error| Error::new(ErrorKind::Data, "tokenizer.text", e.to_string());
    let mut trainer = BpeTrainerBuilder::new()
        .vocab_size(config.vocabulary - 1)
        .show_progress(false)
        .special_tokens(vec![AddedToken::from(UNKNOWN, true)])
        .build();
    let bpe = BPE::builder().unk_token(UNKNOWN.into()).fuse_unk(true).build().map_err(wrong)?;
    let spaces = Metaspace::new('▁', PrependScheme::Always, true);
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(bpe)
        .with_normalizer(Some(normalizers::Sequence::new(vec![
            Lowercase.into(),
            Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(wrong)?.into(),
            Strip::new(true, true).into(),
        ])))
        .with_pre_tokenizer(Some(Sequence::new(vec![spaces.clone().into(), Punctuation::default().into()])))
        .with_post_processor(None::<tokenizers::processors::PostProcessorWrapper>)
        .with_decoder(Some(spaces))
        .build()
        .map_err(wrong)?;
    tokenizer.train(&mut trainer, captions).map_err(wrong)?;
    // All letters are in it, whatever was asked for.
    let entries = tokenizer.get_vocab_size(true) + 1;
    if entries > config.vocabulary {
        let message = format!("the letters of the captions take {entries} entries with \"no word\" and \"unknown\"");
        return Err(Error::new(ErrorKind::Data, "tokenizer.text.vocabulary", message)
            .hint(format!("set `tokenizer.text.vocabulary = {}` or more", entries + entries / 2)));
    }
    let json = tokenizer.to_string(true).map_err(wrong)?;
    files::write(path, json.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trained() -> (tempfile::TempDir, TextConfig) {
        let folder = tempfile::tempdir().unwrap();
        let config = TextConfig { length: 8, vocabulary: 64 };
        let captions = ["a red ring moves left", "the blue square goes up", "a green triangle moves right"];
        train(&config, captions.iter().map(|c| c.to_string()), &folder.path().join("tokenizer.json")).unwrap();
        (folder, config)
    }

    #[test]
    fn captions_come_back_and_pads_fill_up() {
        let (folder, config) = trained();
        let text = Text::open(&config, &folder.path().join("tokenizer.json")).unwrap();
        let tokens = text.encode(&Media::Text("a Red ring goes left".into())).unwrap();
        assert_eq!(tokens.grid(), [1, 1, 8]);
        assert_eq!(tokens.as_codes().unwrap()[5..], [PAD; 3]);
        assert_eq!(text.decode(&tokens).unwrap(), Media::Text("a red ring goes left".into()));
        let spaced = text.encode(&Media::Text("  a red\n ring  goes left ".into())).unwrap();
        assert_eq!(spaced, tokens);
        let none = text.encode(&Media::Text(String::new())).unwrap();
        assert_eq!(none.as_codes().unwrap(), [PAD; 8]);
        let levels = Tokens::levels([1, 1, 4], 2, 512, vec![PAD; 8]).unwrap();
        assert!(
            text.decode(&levels).unwrap_err().to_string().contains("2 codebooks of 512 entries where codes of one")
        );
    }

    #[test]
    fn words_of_several_tokens_come_back_as_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let config = TextConfig { length: 32, vocabulary: 40 };
        let captions = ["woman firefighter, dark skin tone", "t-shirt: \"blue\""];
        train(&config, captions.iter().map(|caption| (*caption).to_owned()), &path).unwrap();
        let text = Text::open(&config, &path).unwrap();
        for caption in ["dark firefighter: woman, blue", "t-shirt \"tone\"", "retort"] {
            let tokens = text.encode(&Media::Text(caption.into())).unwrap();
            let count = tokens.as_codes().unwrap().iter().filter(|&&code| code != PAD).count();
            assert!(count > caption.split(' ').count(), "{caption} takes {count}");
            assert_eq!(text.decode(&tokens).unwrap(), Media::Text(caption.into()));
        }
    }

    /// The trained file with other parts.
    fn changed(path: &Path, parts: &[(&str, serde_json::Value)]) -> Vec<u8> {
        let mut json: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        for (part, value) in parts {
            json[*part] = value.clone();
        }
        serde_json::to_vec(&json).unwrap()
    }

    #[test]
    fn truncation_and_padding_of_the_file_do_not_touch_prompts() {
        let (folder, config) = trained();
        let path = folder.path().join("tokenizer.json");
        let prompt = Media::Text("a red ring moves left".into());
        let wanted = Text::open(&config, &path).unwrap().encode(&prompt).unwrap();
        let truncation = serde_json::json!({
            "direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0
        });
        let padding = serde_json::json!({
            "strategy": { "Fixed": 7 }, "direction": "Right", "pad_to_multiple_of": null, "pad_id": 3, "pad_type_id": 0,
            "pad_token": "a"
        });
        for parts in [vec![("truncation", truncation.clone())], vec![("truncation", truncation), ("padding", padding)]]
        {
            let other = folder.path().join("other.json");
            std::fs::write(&other, [&b"\xef\xbb\xbf"[..], &changed(&path, &parts)].concat()).unwrap();
            assert_eq!(Text::open(&config, &other).unwrap().encode(&prompt).unwrap(), wanted);
        }
    }

    #[test]
    fn a_part_that_nobody_knows_is_named() {
        let (folder, config) = trained();
        let path = folder.path().join("tokenizer.json");
        for (part, kind) in [("pre_tokenizer", "Zauberwort"), ("normalizer", "Kleinkram"), ("decoder", "Rückwärts")] {
            let other = folder.path().join("other.json");
            std::fs::write(&other, changed(&path, &[(part, serde_json::json!({ "type": kind }))])).unwrap();
            let said = Text::open(&config, &other).err().unwrap().to_string();
            let null = format!("`\"{part}\": null`");
            assert!(said.contains(&format!("its {part} is `{kind}`")) && said.contains(&null), "{said}");
        }
        // A token whose number is far above the others'.
        let added = serde_json::json!([
            { "id": 0, "content": "[UNK]", "special": true, "single_word": false, "lstrip": false, "rstrip": false,
              "normalized": false },
            { "id": 500, "content": "<extra>", "special": true, "single_word": false, "lstrip": false, "rstrip": false,
              "normalized": false },
        ]);
        let other = folder.path().join("other.json");
        std::fs::write(&other, changed(&path, &[("added_tokens", added)])).unwrap();
        match Text::open(&config, &other) {
            // Whatever number the library gives it, it fits the vocabulary.
            Ok(text) => assert!(text.encode(&Media::Text("red <extra>".into())).is_ok()),
            Err(error) => assert!(error.to_string().contains("tokenizer.text.vocabulary = "), "{error}"),
        }
    }

    #[test]
    fn a_long_caption_is_cut_where_it_no_longer_fits() {
        let (folder, config) = trained();
        let text = Text::open(&config, &folder.path().join("tokenizer.json")).unwrap();
        assert_eq!(text.shortened("a red ring moves left").unwrap(), None);
        let long = "a red ring moves left the blue square goes up";
        assert!(text.encode(&Media::Text(long.into())).is_err());
        let short = text.shortened(long).unwrap().unwrap();
        assert_eq!(short, "a red ring moves left the blue square");
        assert!(text.encode(&Media::Text(short)).is_ok());
        let one = text.shortened(&"x".repeat(100)).unwrap();
        assert!(one.is_none_or(|one| text.encode(&Media::Text(one)).is_ok()), "one word without an end");
    }

    #[test]
    fn a_vocabulary_is_filled_with_room_for_no_word() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let config = TextConfig { length: 8, vocabulary: 30 };
        let captions = ["a red ring moves left", "the blue square goes up", "a green triangle moves right"];
        train(&config, captions.iter().map(|caption| (*caption).to_owned()), &path).unwrap();
        let json: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(json["model"]["vocab"].as_object().unwrap().len(), 29);
        assert!(Text::open(&config, &path).is_ok());
        let small = Text::open(&TextConfig { vocabulary: 29, ..config }, &path).err().unwrap().to_string();
        assert!(
            small.contains("which takes 30 entries") && small.contains("the recipe's vocabulary has 29"),
            "{small}"
        );
        assert!(small.contains("set `tokenizer.text.vocabulary = 30`"), "{small}");
    }

    #[test]
    fn letters_that_do_not_fit_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let letters = (0..100).filter_map(|i| char::from_u32(0x4e00 + i)).collect::<String>();
        let learn = |vocabulary| {
            let config = TextConfig { length: 8, vocabulary };
            train(&config, std::iter::once(letters.clone()), &path).map(|()| Text::open(&config, &path).unwrap())
        };
        let said = learn(64).err().unwrap().to_string();
        assert!(said.contains("take 103 entries") && said.contains("tokenizer.text.vocabulary = 154"), "{said}");
        assert!(!path.exists());
        assert!(learn(103).is_ok() && learn(154).is_ok());
    }

    #[test]
    fn training_twice_gives_the_same_bytes() {
        let read = || std::fs::read(trained().0.path().join("tokenizer.json")).unwrap();
        assert_eq!(read(), read());
    }

    #[test]
    fn what_does_not_fit_is_told() {
        let (folder, config) = trained();
        let path = folder.path().join("tokenizer.json");
        let text = Text::open(&config, &path).unwrap();
        let long = text.encode(&Media::Text("red ".repeat(9))).unwrap_err().to_string();
        assert!(long.contains("9 tokens") && long.contains("8"), "{long}");
        let most = text.encode(&Media::Text("red ".repeat(8))).unwrap();
        assert!(most.as_codes().unwrap().iter().all(|&code| code != PAD), "it fits to the last token");
        let small = Text::open(&TextConfig { vocabulary: 10, ..config.clone() }, &path).err().unwrap().to_string();
        assert!(small.contains("tokenizer.text.vocabulary"), "{small}");
        std::fs::write(&path, b"{}").unwrap();
        assert!(Text::open(&config, &path).is_err());
    }
}
