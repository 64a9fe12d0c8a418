//! Captions of scenes, and back: a small grammar, every sentence of which can be read again.
//!
//! ```text
//! caption = [article] [speed] colour shape verb direction [adverb]
//! article = "a" | "the"            verb   = "moves" | "goes" | "moving" | "heading"
//! speed   = "slow" | "fast"        adverb = "slowly" | "quickly"
//! ```
//! with at most one of speed and adverb.

use super::attributes::{Attributes, Colour, Direction, PartialAttributes, Shape, Speed};
use musiva_core::Stream;

const ARTICLES: [&str; 3] = ["a", "the", ""];
const VERBS: [&str; 4] = ["moves", "goes", "moving", "heading"];

/// Where a caption says how fast.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum SpeedPlace {
    Unsaid,
    Before,
    After,
}

/// One way to say it.
#[derive(Clone, Copy, Debug)]
struct Phrasing {
    article: &'static str,
    verb: &'static str,
    speed: SpeedPlace,
}

impl Phrasing {
    /// Any of the 36; half of the captions say nothing about the speed.
    fn pick(stream: &mut Stream) -> Self {
        let article = ARTICLES[stream.below(ARTICLES.len())];
        let verb = VERBS[stream.below(VERBS.len())];
        let speed = [SpeedPlace::Unsaid, SpeedPlace::Unsaid, SpeedPlace::Before, SpeedPlace::After][stream.below(4)];
        Self { article, verb, speed }
    }

    fn say(self, a: Attributes) -> String {
        let before = if self.speed == SpeedPlace::Before { a.speed.word() } else { "" };
        let after = if self.speed == SpeedPlace::After { adverb(a.speed) } else { "" };
        let words = [self.article, before, a.colour.word(), a.shape.word(), self.verb, a.direction.word(), after];
        words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ")
    }
}

fn adverb(speed: Speed) -> &'static str {
    match speed {
        Speed::Slow => "slowly",
        Speed::Fast => "quickly",
    }
}

/// Says `attributes` in a random phrasing.
pub(super) fn caption(attributes: Attributes, stream: &mut Stream) -> String {
    Phrasing::pick(stream).say(attributes)
}

impl Attributes {
    /// Reads what a caption asks for, whatever the order and the case of its words.
    ///
    /// `None` where a word is not of the captions' vocabulary, where two words contradict each
    /// other, or where nothing is asked at all: a caption is never half understood.
    pub fn parse(caption: &str) -> Option<PartialAttributes> {
        let mut asked = PartialAttributes::default();
        for word in caption.split(|c: char| c.is_whitespace() || matches!(c, ',' | '.')).filter(|w| !w.is_empty()) {
            let word = word.to_ascii_lowercase();
            let speed = Speed::from_word(&word).or(Speed::ALL.iter().copied().find(|&s| adverb(s) == word));
            if let Some(shape) = Shape::from_word(&word) {
                set(&mut asked.shape, shape)?;
            } else if let Some(colour) = Colour::from_word(&word) {
                set(&mut asked.colour, colour)?;
            } else if let Some(direction) = Direction::from_word(&word) {
                set(&mut asked.direction, direction)?;
            } else if let Some(speed) = speed {
                set(&mut asked.speed, speed)?;
            } else if !ARTICLES.contains(&word.as_str()) && !VERBS.contains(&word.as_str()) {
                return None;
            }
        }
        (asked != PartialAttributes::default()).then_some(asked)
    }

    /// Every word that a caption of the world can have, in a fixed order.
    pub fn vocabulary() -> Vec<&'static str> {
        let mut words: Vec<_> = ARTICLES.into_iter().chain(VERBS).filter(|word| !word.is_empty()).collect();
        words.extend(Speed::ALL.iter().flat_map(|&s| [s.word(), adverb(s)]));
        words.extend(Colour::ALL.iter().map(|c| c.word()));
        words.extend(Shape::ALL.iter().map(|s| s.word()));
        words.extend(Direction::ALL.iter().map(|d| d.word()));
        words
    }
}

/// Sets what was open; `None` where it was set to something else.
fn set<T: PartialEq>(slot: &mut Option<T>, value: T) -> Option<()> {
    match slot {
        Some(old) => (*old == value).then_some(()),
        None => {
            *slot = Some(value);
            Some(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attributes::Combination;
    use super::*;
    use musiva_core::{RngKey, RngStream};
    use std::collections::HashSet;

    #[test]
    fn every_sentence_is_read_back() {
        let vocabulary: HashSet<_> = Attributes::vocabulary().into_iter().collect();
        let mut sentences = HashSet::new();
        for attributes in Combination::all().flat_map(|c| Speed::ALL.iter().map(move |&s| c.at(s))) {
            for article in ARTICLES {
                for verb in VERBS {
                    for speed in [SpeedPlace::Unsaid, SpeedPlace::Before, SpeedPlace::After] {
                        let said = Phrasing { article, verb, speed }.say(attributes);
                        let mut wanted = PartialAttributes::from(attributes);
                        if speed == SpeedPlace::Unsaid {
                            wanted.speed = None;
                        }
                        assert_eq!(Attributes::parse(&said), Some(wanted), "{said:?}");
                        assert!(said.split(' ').all(|word| vocabulary.contains(word)), "{said:?}");
                        sentences.insert(said);
                    }
                }
            }
        }
        // 48 combinations, 12 ways, the speed unsaid or one of two in one of two places.
        assert_eq!(sentences.len(), 48 * 12 * 5);
    }

    #[test]
    fn half_of_the_captions_say_the_speed() {
        let attributes = Combination::all().next().unwrap().at(Speed::Fast);
        let mut stream = RngKey::new(3).stream(RngStream::Data);
        let said = (0..2_000).filter(|_| Attributes::parse(&caption(attributes, &mut stream)).unwrap().speed.is_some());
        assert!(said.count().abs_diff(1_000) < 100);
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for wrong in [
            "",
            "a",
            "a purple ring moves left",
            "a red blue ring",
            "ring moves left right",
            "slow ring moving quickly",
        ] {
            assert_eq!(Attributes::parse(wrong), None, "{wrong:?}");
        }
        let asked = Attributes::parse("The RED ring, slow.").unwrap();
        assert_eq!(
            (asked.shape, asked.colour, asked.direction, asked.speed),
            (Some(Shape::Ring), Some(Colour::Red), None, Some(Speed::Slow))
        );
    }
}
