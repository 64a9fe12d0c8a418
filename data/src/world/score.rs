//! How much of what was asked for is seen.

use super::attributes::PartialAttributes;
use super::video_oracle::Reading;
use serde::Serialize;

/// Whether a clip shows what its caption asks for; `None`: it does not ask for that.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Score {
    /// The colour is right.
    pub colour: Option<bool>,
    /// The shape is right.
    pub shape: Option<bool>,
    /// The direction is right.
    pub direction: Option<bool>,
    /// The speed is right.
    pub speed: Option<bool>,
    /// Colour, shape and direction are right; `None` unless the caption asks for all three.
    pub all: Option<bool>,
}

impl Score {
    /// Whether all that was asked for is seen.
    pub fn right(&self) -> bool {
        let parts = [self.colour, self.shape, self.direction, self.speed];
        parts.into_iter().flatten().all(|right| right)
    }
}

/// Compares what was asked for with what is seen. What the oracle cannot decide is wrong.
pub fn score(asked: PartialAttributes, reading: &Reading) -> Score {
    fn right<T: PartialEq>(asked: Option<T>, seen: Option<T>) -> Option<bool> {
        asked.map(|asked| Some(asked) == seen)
    }
    let colour = right(asked.colour, reading.colour);
    let shape = right(asked.shape, reading.shape);
    let direction = right(asked.direction, reading.direction);
    let speed = right(asked.speed, reading.speed);
    let all = colour.zip(shape).zip(direction).map(|((c, s), d)| c && s && d);
    Score { colour, shape, direction, speed, all }
}

/// Scores of many clips: of each attribute the part of right ones among those asked for, 0 to 1;
/// `None` where no caption asked for it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Scores {
    /// Right colours.
    pub colour: Option<f64>,
    /// Right shapes.
    pub shape: Option<f64>,
    /// Right directions.
    pub direction: Option<f64>,
    /// Right speeds.
    pub speed: Option<f64>,
    /// Colour, shape and direction right at once.
    pub all: Option<f64>,
    /// How many clips were scored.
    pub n: usize,
}

impl FromIterator<Score> for Scores {
    fn from_iter<I: IntoIterator<Item = Score>>(scores: I) -> Self {
        let scores: Vec<_> = scores.into_iter().collect();
        let part = |attribute: fn(&Score) -> Option<bool>| {
            let asked: Vec<_> = scores.iter().filter_map(attribute).collect();
            let right = asked.iter().filter(|&&right| right).count();
            (!asked.is_empty()).then(|| right as f64 / asked.len() as f64)
        };
        Self {
            colour: part(|s| s.colour),
            shape: part(|s| s.shape),
            direction: part(|s| s.direction),
            speed: part(|s| s.speed),
            all: part(|s| s.all),
            n: scores.len(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::attributes::{Attributes, Colour, Direction, Shape};
    use super::*;

    #[test]
    fn what_is_undecided_is_wrong_and_what_is_unasked_does_not_count() {
        let seen = Reading { colour: Some(Colour::Red), shape: Some(Shape::Ring), ..Reading::default() };
        let full = score(Attributes::parse("a red ring moves left").unwrap(), &seen);
        assert_eq!((full.colour, full.shape, full.direction), (Some(true), Some(true), Some(false)));
        assert_eq!((full.speed, full.all), (None, Some(false)));
        let still = score(Attributes::parse("a red ring moves left").unwrap().within(1), &seen);
        assert_eq!((still.shape, still.direction, still.all), (Some(true), None, None));
        let half = score(Attributes::parse("a red square").unwrap(), &seen);
        assert_eq!((half.shape, half.all), (Some(false), None));
        let moving = Reading { direction: Some(Direction::Left), ..seen };
        let right = score(Attributes::parse("a red ring moves left").unwrap(), &moving);

        let table: Scores = [full, half, right].into_iter().collect();
        assert_eq!((table.colour, table.shape), (Some(1.0), Some(2.0 / 3.0)));
        assert_eq!((table.direction, table.all, table.speed, table.n), (Some(0.5), Some(0.5), None, 3));
    }
}
