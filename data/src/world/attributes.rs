//! What a scene shows, in words: shape, colour, direction, speed.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An attribute is an enum whose variants are words of the captions.
macro_rules! attribute {
    ($(#[$doc:meta])* $name:ident { $($(#[$variant_doc:meta])* $variant:ident = $word:literal),+ $(,)? }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "lowercase")]
        pub enum $name { $($(#[$variant_doc])* $variant),+ }

        impl $name {
            /// All of them, in a fixed order.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its word in captions, lower-case.
            pub fn word(self) -> &'static str {
                match self { $(Self::$variant => $word),+ }
            }

            /// The one that `word` names.
            pub fn from_word(word: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|x| x.word() == word)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.word())
            }
        }
    };
}

attribute! {
    /// What moves. All three fill the same square bounding box.
    Shape {
        /// An annulus.
        Ring = "ring",
        /// A full square, its sides along the frame's.
        Square = "square",
        /// An isosceles triangle, its tip up.
        Triangle = "triangle",
    }
}

attribute! {
    /// The colour of the shape.
    Colour {
        /// Hue 0°.
        Red = "red",
        /// Hue about 133°.
        Green = "green",
        /// Hue about 226°.
        Blue = "blue",
        /// Hue about 52°.
        Yellow = "yellow",
    }
}

attribute! {
    /// Where the shape moves to at first; after a bounce it moves the other way.
    Direction {
        /// Towards the first column.
        Left = "left",
        /// Towards the last column.
        Right = "right",
        /// Towards the first row.
        Up = "up",
        /// Towards the last row.
        Down = "down",
    }
}

attribute! {
    /// How fast the shape moves.
    Speed {
        /// 2.5 pixels a frame at 64 × 64.
        Slow = "slow",
        /// 5 pixels a frame at 64 × 64.
        Fast = "fast",
    }
}

impl Direction {
    /// The axis of the movement: 0 rows (y), 1 columns (x).
    pub fn axis(self) -> usize {
        usize::from(matches!(self, Self::Left | Self::Right))
    }

    /// Whether the coordinate grows.
    pub fn forward(self) -> bool {
        matches!(self, Self::Right | Self::Down)
    }

    /// The direction along `axis` (0 or 1), forward or back.
    pub(super) fn along(axis: usize, forward: bool) -> Self {
        match (axis, forward) {
            (0, false) => Self::Up,
            (0, true) => Self::Down,
            (_, false) => Self::Left,
            (_, true) => Self::Right,
        }
    }
}

/// All that a scene's caption can say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Attributes {
    /// What moves.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// Where it moves at first.
    pub direction: Direction,
    /// How fast.
    pub speed: Speed,
}

impl Attributes {
    /// Shape, colour and direction, without the speed.
    pub fn combination(self) -> Combination {
        Combination { colour: self.colour, shape: self.shape, direction: self.direction }
    }
}

/// What a caption asks for; `None`: it leaves that open.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PartialAttributes {
    /// What moves.
    pub shape: Option<Shape>,
    /// Its colour.
    pub colour: Option<Colour>,
    /// Where it moves at first.
    pub direction: Option<Direction>,
    /// How fast.
    pub speed: Option<Speed>,
}

impl From<Attributes> for PartialAttributes {
    fn from(a: Attributes) -> Self {
        Self { shape: Some(a.shape), colour: Some(a.colour), direction: Some(a.direction), speed: Some(a.speed) }
    }
}

impl PartialAttributes {
    /// What of it a clip of so many frames can show: a still shows no motion.
    pub fn within(self, frames: usize) -> Self {
        match frames {
            1 => Self { direction: None, speed: None, ..self },
            _ => self,
        }
    }
}

/// One of the 48 combinations of colour, shape and direction: what can be held out of training.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Combination {
    /// The colour of the shape.
    pub colour: Colour,
    /// What moves.
    pub shape: Shape,
    /// Where it moves at first.
    pub direction: Direction,
}

impl Combination {
    /// All 48.
    pub fn all() -> impl Iterator<Item = Self> {
        Colour::ALL.iter().flat_map(|&colour| {
            Shape::ALL
                .iter()
                .flat_map(move |&shape| Direction::ALL.iter().map(move |&direction| Self { colour, shape, direction }))
        })
    }

    /// Reads `"green triangle up"`.
    pub fn parse(text: &str) -> Option<Self> {
        let words: Vec<_> = text.split_whitespace().collect();
        let [colour, shape, direction] = words[..] else { return None };
        Some(Self {
            colour: Colour::from_word(colour)?,
            shape: Shape::from_word(shape)?,
            direction: Direction::from_word(direction)?,
        })
    }

    /// With a speed.
    pub fn at(self, speed: Speed) -> Attributes {
        Attributes { shape: self.shape, colour: self.colour, direction: self.direction, speed }
    }
}

impl fmt::Display for Combination {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}", self.colour, self.shape, self.direction)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn combinations_read_what_they_write() {
        let all: Vec<_> = Combination::all().collect();
        assert_eq!(all.len(), 48);
        for combination in all {
            assert_eq!(Combination::parse(&combination.to_string()), Some(combination));
        }
        for wrong in ["", "green triangle", "triangle green up", "green triangle up up", "Green triangle up"] {
            assert_eq!(Combination::parse(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn axis_and_sign_make_the_direction() {
        for &direction in Direction::ALL {
            assert_eq!(Direction::along(direction.axis(), direction.forward()), direction);
        }
    }
}
