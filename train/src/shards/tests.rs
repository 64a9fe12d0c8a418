//! Shards of a dataset of few small clips, whose tokens are their first pixels.

use super::*;
use musiva_core::{Clip, MediaShape, Rate, TokenKind, TokenizerConfig, WeightInit};
use musiva_data::DataReport;
use musiva_tokenizers::magvit2::Magvit2Config;
use proptest::prelude::*;

/// Clips of a grey that is their number and `shift`.
struct Greys(u8);

impl Dataset for Greys {
    fn len(&self) -> Option<u64> {
        Some(23)
    }

    fn get(&self, index: u64) -> Result<Sample> {
        let clip = Clip::new([1, 8, 8], Rate::whole(8), vec![10 * index as u8 + self.0; 192])?;
        let (caption, id) = (format!("grey {index}"), format!("clip {index}"));
        Ok(Sample { clip: Some(clip), caption, id, ..Sample::default() })
    }

    fn shape(&self, _: Modality) -> Option<MediaShape> {
        None
    }

    fn report(&self) -> DataReport {
        DataReport { clips: self.len(), windows: self.len(), dropped: Vec::new(), pixels: None, loudness: None }
    }
}

fn tokenizer() -> Box<dyn Tokenizer> {
    Magvit2Config::default().build(&burn::tensor::Device::flex(), &WeightInit::Seed(1)).unwrap()
}

fn origin(tokenizer: &str) -> Origin {
    Origin {
        dataset: "greys".into(),
        files: "one".into(),
        tokenizers: [("video".to_owned(), tokenizer.to_owned())].into(),
    }
}

fn filling<'a>(folder: &'a Path, data: &'a Greys, tokenizer: &'a dyn Tokenizer, hash: &str) -> Filling<'a> {
    let tokenizers = vec![(Modality::Video, tokenizer)];
    Filling { folder, data, count: 23, per_shard: 5, tokenizers, origin: origin(hash) }
}

fn fill(filling: &Filling, portion: Portion) -> Result<Vec<Outcome>> {
    filling.shards(portion).map(|number| filling.fill(number, &mut || Ok(()))).collect()
}

fn samples(folder: &Path, hash: &str) -> Result<Vec<Stored>> {
    let mut samples = Vec::new();
    read(folder, &origin(hash).tokenizers, &mut |sample| {
        samples.push(sample);
        Ok(())
    })?;
    Ok(samples)
}

#[test]
fn machines_fill_one_folder_and_training_reads_it() {
    let (folder, tokenizer) = (tempfile::tempdir().unwrap(), tokenizer());
    let filling = filling(folder.path(), &Greys(0), &*tokenizer, "t");
    // Five shards for three machines, the second of which comes last.
    assert_eq!(fill(&filling, "1/3".parse().unwrap()).unwrap().len(), 2);
    assert_eq!(fill(&filling, "3/3".parse().unwrap()).unwrap(), [Outcome::Made]);
    let missing = samples(folder.path(), "t").unwrap_err().to_string();
    assert!(missing.contains("sample 10 of 23 comes where 5 is expected"), "{missing}");
    assert_eq!(fill(&filling, "2/3".parse().unwrap()).unwrap(), [Outcome::Made; 2]);
    assert_eq!(fill(&filling, Portion::default()).unwrap(), [Outcome::Kept; 5]);
    // What is being written, and what is no shard, is not read.
    for other in [".000009.tar", "000010.tar.part", "notes.txt"] {
        std::fs::write(folder.path().join(other), "no shard").unwrap();
    }
    let all = samples(folder.path(), "t").unwrap();
    assert_eq!(all.len(), 23);
    for (i, sample) in all.iter().enumerate() {
        let clip = Greys(0).get(i as u64).unwrap().into_clip().unwrap();
        let tokens = tokenizer.encode(&Media::Clip(clip)).unwrap();
        assert_eq!((sample.about.index, &sample.captions[0]), (i as u64, &format!("grey {i}")));
        assert_eq!(sample.tokens, [(Modality::Video, tokens)]);
    }
    std::fs::remove_file(filling.path(4)).unwrap();
    assert!(samples(folder.path(), "t").unwrap_err().to_string().contains("20 of 23 samples"));
}

#[test]
fn the_same_shards_are_the_same_bytes() {
    let tokenizer = tokenizer();
    let bytes = || {
        let folder = tempfile::tempdir().unwrap();
        let data = Greys(0);
        let filling = filling(folder.path(), &data, &*tokenizer, "t");
        filling.fill(4, &mut || Ok(())).unwrap();
        std::fs::read(filling.path(4)).unwrap()
    };
    assert_eq!(bytes(), bytes());
}

#[test]
fn tokens_of_others_are_refused() {
    let (folder, tokenizer) = (tempfile::tempdir().unwrap(), tokenizer());
    fill(&filling(folder.path(), &Greys(0), &*tokenizer, "old"), Portion::default()).unwrap();
    let refused =
        |data: Greys, hash| fill(&filling(folder.path(), &data, &*tokenizer, hash), Portion::default()).unwrap_err();
    assert!(refused(Greys(0), "new").to_string().contains("another tokenizer"));
    assert!(refused(Greys(1), "old").to_string().contains("other data"));
    let cut = Filling { per_shard: 4, ..filling(folder.path(), &Greys(0), &*tokenizer, "old") };
    assert!(fill(&cut, Portion::default()).unwrap_err().to_string().contains("cut in another way"));
    assert!(samples(folder.path(), "new").unwrap_err().to_string().contains("another video tokenizer"));
    let sound = [("audio".to_owned(), "a".to_owned())].into();
    let error = read(folder.path(), &sound, &mut |_| Ok(())).unwrap_err();
    assert!(error.to_string().contains("no audio tokens"), "{error}");
    let empty = tempfile::tempdir().unwrap();
    assert!(samples(empty.path(), "old").unwrap_err().to_string().contains("no shards"));
}

#[test]
fn shards_of_files_that_have_changed_are_made_again() {
    let (folder, tokenizer) = (tempfile::tempdir().unwrap(), tokenizer());
    fill(&filling(folder.path(), &Greys(0), &*tokenizer, "t"), Portion::default()).unwrap();
    let data = Greys(1);
    let changed = filling(folder.path(), &data, &*tokenizer, "t");
    let changed = Filling { origin: Origin { files: "another".into(), ..origin("t") }, ..changed };
    assert_eq!(fill(&changed, Portion::default()).unwrap(), [Outcome::Made; 5]);
    assert_eq!(fill(&changed, Portion::default()).unwrap(), [Outcome::Kept; 5]);
    assert_eq!(samples(folder.path(), "t").unwrap()[7].about.files_sha256, "another");
    // Other settings are another dataset all the same.
    let other = Filling {
        origin: Origin { dataset: "reds".into(), ..origin("t") },
        ..filling(folder.path(), &data, &*tokenizer, "t")
    };
    assert!(fill(&other, Portion::default()).unwrap_err().to_string().contains("other data"));
}

#[test]
fn a_shard_that_fails_is_not_there() {
    let (folder, tokenizer) = (tempfile::tempdir().unwrap(), tokenizer());
    let data = Greys(0);
    let filling = filling(folder.path(), &data, &*tokenizer, "t");
    let stopped = filling.fill(0, &mut || Err(Error::new(ErrorKind::Interrupted, "", "stop")));
    assert!(stopped.is_err() && std::fs::read_dir(folder.path()).unwrap().next().is_none());
}

#[test]
fn portions_are_counted_from_one() {
    assert_eq!("3/16".parse(), Ok(Portion { number: 3, of: 16 }));
    for wrong in ["", "3", "0/4", "5/4", "1/0", "a/b", "-1/3"] {
        assert!(wrong.parse::<Portion>().is_err(), "{wrong}");
    }
}

#[test]
fn keys_end_at_the_first_dot_of_the_name() {
    for (name, wanted) in [("a.b.c", "a"), ("x.y/a.json", "x.y/a"), ("a", "a"), (".a", ""), ("d/", "d/")] {
        assert_eq!(key(name), wanted);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn a_damaged_shard_is_an_error_or_what_it_was(noise in prop::collection::vec((0usize..40_000, any::<u8>()), 1..6)) {
        let (folder, tokenizer) = (tempfile::tempdir().unwrap(), TOKENS.get_or_init(shard));
        let path = folder.path().join("000000.tar");
        let mut bytes = tokenizer.clone();
        for (at, byte) in noise {
            let at = at % bytes.len();
            bytes[at] = byte;
        }
        std::fs::write(&path, bytes).unwrap();
        for sample in Samples::open(&path).into_iter().flatten() {
            if let Ok(Stored { tokens, .. }) = &sample {
                let kind = TokenKind::Codes { levels: 1, entries: 1024, bits: None };
                prop_assert!(tokens.iter().all(|(_, tokens)| kind.holds(tokens.values()) || tokens.grid() != [0; 3]));
            } else {
                break;
            }
        }
    }
}

static TOKENS: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();

/// The bytes of a shard.
fn shard() -> Vec<u8> {
    let (folder, tokenizer) = (tempfile::tempdir().unwrap(), tokenizer());
    let data = Greys(0);
    let filling = filling(folder.path(), &data, &*tokenizer, "t");
    filling.fill(0, &mut || Ok(())).unwrap();
    std::fs::read(filling.path(0)).unwrap()
}
