//! Are words of new sentences still read from a tokenizer's tokens?

use crate::make::RATE;
use crate::originals::{NAMES, Recording, Recordings, Split};
use musiva::evaluate::CaptionClassifier;
use musiva::{Codec, DeviceName, Media, Modality, Rate, RecipeSource, Result, RngKey, RngStream, Sound};
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;

/// Words of a sentence.
const WORDS: usize = 5;
/// Samples of silence before each word and after the last one.
const GAP: usize = RATE / 10;

/// Words in a row, and where each of them is.
struct Sentence {
    sound: Sound,
    words: Vec<(&'static str, Range<usize>)>,
}

impl Sentence {
    /// Of one speaker's recordings, drawn.
    fn draw(recordings: &BTreeMap<&str, Vec<&Recording>>, draw: &mut musiva::Stream) -> Result<Self> {
        let speakers: Vec<_> = recordings.values().collect();
        let spoken = speakers[draw.below(speakers.len())];
        let (mut samples, mut words) = (vec![0.0; GAP], Vec::new());
        for _ in 0..WORDS {
            let Recording { digit, sound, .. } = spoken[draw.below(spoken.len())];
            // One speaker is ten times as loud as another.
            let peak = sound.samples().iter().fold(1e-3, |peak: f32, x| peak.max(x.abs()));
            let start = samples.len();
            samples.extend(sound.samples().iter().map(|x| 0.8 * x / peak));
            words.push((NAMES[*digit], start..samples.len()));
            samples.extend([0.0; GAP]);
        }
        Ok(Self { sound: Sound::new(1, Rate::whole(RATE as u32), samples)?, words })
    }

    /// How many of its words are read where they were said, in `sound`.
    fn right(&self, classifier: &CaptionClassifier, sound: &Sound) -> usize {
        let is_right = |(name, place): &&(&str, Range<usize>)| classifier.read(&sound.slice(place.clone())) == *name;
        self.words.iter().filter(is_right).count()
    }
}

/// Prints how many words of sentences of takes 0 to 4 are read, from the originals and from the tokens of each recipe.
pub fn evaluate(recordings: &Path, count: u64, recipes: &[String]) -> Result<()> {
    let classifier = CaptionClassifier::learn(&Recordings::open(recordings, Split::Train)?.named())?;
    let test = Recordings::open(recordings, Split::Test)?;
    let mut speakers = BTreeMap::<&str, Vec<&Recording>>::new();
    test.all().iter().for_each(|one| speakers.entry(&one.speaker).or_default().push(one));
    let sentences = (0..count)
        .map(|number| Sentence::draw(&speakers, &mut RngKey::new(0).sample(number).stream(RngStream::Data)))
        .collect::<Result<Vec<_>>>()?;
    let all = sentences.len() * WORDS;
    let print = |who: &str, right: usize| {
        println!("{who}: {:.1} % of {all} words in {count} sentences", 100.0 * right as f64 / all as f64);
    };
    print("originals", sentences.iter().map(|sentence| sentence.right(&classifier, &sentence.sound)).sum());
    for name in recipes {
        let codec = Codec::build(&RecipeSource::named(name).open()?, Modality::Audio, &DeviceName::Cpu.open()?)?;
        let mut right = 0;
        for sentence in &sentences {
            let tokens = codec.encode(&Media::Sound(sentence.sound.clone()))?;
            right += sentence.right(&classifier, &codec.decode(&tokens)?.sound(name)?);
        }
        print(name, right);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_where_they_were_said() {
        let tone = |digit: usize, take: usize| {
            let sample = |i: usize| (0.2 * (digit + 1) as f32 * i as f32 + take as f32).sin() * 0.3;
            let sound = Sound::new(1, Rate::whole(RATE as u32), (0..3000 + 40 * take).map(sample).collect()).unwrap();
            Recording { digit, speaker: "somebody".to_owned(), sound }
        };
        let recordings: Vec<_> = (0..10).flat_map(|digit| (0..4).map(move |take| tone(digit, take))).collect();
        let named: Vec<_> = recordings.iter().map(|one| (one.sound.clone(), NAMES[one.digit].to_owned())).collect();
        let classifier = CaptionClassifier::learn(&named).unwrap();
        let speakers = BTreeMap::from([("somebody", recordings.iter().collect())]);
        let sentence = Sentence::draw(&speakers, &mut RngKey::new(0).stream(RngStream::Data)).unwrap();
        assert_eq!(sentence.right(&classifier, &sentence.sound), WORDS);
        let length = sentence.sound.length();
        let silence = Sound::new(1, sentence.sound.rate(), vec![0.0; length]).unwrap();
        assert!(sentence.right(&classifier, &silence) < WORDS, "nothing is said any more");
    }
}
