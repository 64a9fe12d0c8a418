//! What a file says about itself, and what was assumed where it says nothing.

use crate::fault::{Fault, Outcome};
use musiva_core::Rate;
use std::fmt;

/// The container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// ISO base media: MP4, MOV, M4V, 3GP.
    Mp4,
    /// GIF, still or animated.
    Gif,
    /// PNG; of an animated one, all its pictures.
    Png,
    /// JPEG.
    Jpeg,
    /// WebP; of an animated one, all its pictures.
    WebP,
    /// WAV (RIFF).
    Wav,
    /// FLAC.
    Flac,
    /// Ogg.
    Ogg,
    /// MPEG frames without a container: MP3, or AAC in ADTS.
    Mpeg,
    /// Something else, read by the `ffmpeg` on the PATH.
    Ffmpeg,
}

/// Which sums of red, green and blue the luma and the chroma of a file are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Matrix {
    /// The file stores red, green and blue, or the decoder of its format hands them out.
    Rgb,
    /// ITU-R BT.601 (SMPTE 170M, BT.470 B/G).
    Bt601,
    /// ITU-R BT.709.
    Bt709,
    /// ITU-R BT.2020, non-constant luminance.
    Bt2020,
}

/// Which codes black and white have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Range {
    /// 16 to 235, as in television.
    Limited,
    /// 0 to 255.
    Full,
}

/// By which curve light became codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// Those of standard dynamic range: their codes are taken for sRGB as they are.
    Sdr,
    /// Perceptual quantization (SMPTE ST 2084), which becomes sRGB with its highlights cut off.
    Pq,
    /// Hybrid log-gamma (ARIB STD-B67), which becomes sRGB likewise.
    Hlg,
}

/// The turn that makes a stored picture upright: mirrored left to right first, where it is
/// mirrored, then turned clockwise by a number of quarters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    /// Mirrored left to right, before the turn.
    pub mirrored: bool,
    /// Quarter turns, clockwise, 0 to 3.
    pub quarters: u8,
}

/// What a file says about its pictures.
#[derive(Clone, Debug, PartialEq)]
pub struct SourceInfo {
    /// The container, found by its first bytes.
    pub format: Format,
    /// The codec, e.g. `H.264 High`.
    pub codec: String,
    /// Colour matrix by which the pixels were converted.
    pub matrix: Matrix,
    /// Range from which the pixels were converted.
    pub range: Range,
    /// The curve from which the pixels were converted.
    pub transfer: Transfer,
    /// Whether the file states matrix and range; if not, they follow the rule of [`Matrix::assumed`].
    pub colour_stated: bool,
    /// The turn that was applied to the pixels.
    pub orientation: Orientation,
    /// Height and width of the stored pictures, before the turn.
    pub stored: [usize; 2],
    /// Width over height of a stored pixel, as a fraction; the pixels are *not* resampled by it.
    pub pixel_aspect: (u32, u32),
    /// Rate of the frames that are handed out.
    pub rate: Rate,
    /// Whether each frame is one picture of the file. If not, pictures are repeated or left out: each frame is the one on
    /// show at its time.
    pub constant_rate: bool,
    /// Number of frames that are handed out.
    pub frames: usize,
    /// Whether it is one picture without any time, such as a photograph.
    pub still: bool,
    /// Seconds that the file waits before it shows the first picture; not part of the clip.
    pub start: f64,
}

/// What a file states of its colours, in the numbers of ITU-T H.273.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Stated {
    pub primaries: Option<u8>,
    pub transfer: Option<u8>,
    pub matrix: Option<u8>,
    pub full_range: Option<bool>,
}

/// How pixels become 8-bit full-range sRGB: the one place where it is decided, for every container and decoder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Colours {
    pub matrix: Matrix,
    pub range: Range,
    pub transfer: Transfer,
    /// Whether the primaries are BT.2020's, which matters for high dynamic range alone.
    pub wide: bool,
    /// Whether matrix and range are stated.
    pub stated: bool,
}

impl Stated {
    /// What is said here, and where nothing is, what `other` says.
    pub(crate) fn or(self, other: Self) -> Self {
        // Number 2 is "unspecified".
        let number = |own: Option<u8>, other: Option<u8>| own.filter(|&own| own != 2).or(other.filter(|&n| n != 2));
        Self {
            primaries: number(self.primaries, other.primaries),
            transfer: number(self.transfer, other.transfer),
            matrix: number(self.matrix, other.matrix),
            full_range: self.full_range.or(other.full_range),
        }
    }
}

impl Colours {
    /// Of luma and chroma.
    ///
    /// # Errors
    /// Where the matrix is one that we do not know.
    pub(crate) fn of(stated: Stated, [height, width]: [usize; 2]) -> Outcome<Self> {
        let stated = stated.or(Stated::default());
        let transfer = match stated.transfer {
            Some(16) => Transfer::Pq,
            Some(18) => Transfer::Hlg,
            _ => Transfer::Sdr,
        };
        let matrix = match stated.matrix {
            None if transfer != Transfer::Sdr => Matrix::Bt2020,
            None => Matrix::assumed(height, width),
            Some(1) => Matrix::Bt709,
            Some(4..=6) => Matrix::Bt601,
            Some(9) => Matrix::Bt2020,
            Some(other) => return Err(Fault::Colours(format!("its colour matrix is number {other} of ITU-T H.273"))),
        };
        let range = if stated.full_range == Some(true) { Range::Full } else { Range::Limited };
        let wide = stated.primaries.is_none_or(|primaries| primaries == 9);
        Ok(Self { matrix, range, transfer, wide, stated: stated.matrix.is_some() && stated.full_range.is_some() })
    }
}

impl Matrix {
    /// The rule for files that do not say: BT.709 from 1280 × 720 up, BT.601 below, limited range.
    pub fn assumed(height: usize, width: usize) -> Self {
        if height.min(width) >= 720 || height.max(width) >= 1280 { Self::Bt709 } else { Self::Bt601 }
    }
}

impl Orientation {
    /// Height and width after the turn.
    pub fn turned(self, [height, width]: [usize; 2]) -> [usize; 2] {
        if self.quarters % 2 == 1 { [width, height] } else { [height, width] }
    }

    /// From EXIF's tag 274 (1 to 8); others are taken for upright, as the standard's default is.
    pub(crate) fn from_exif(tag: u16) -> Self {
        let (mirrored, quarters) = match tag {
            2 => (true, 0),
            3 => (false, 2),
            4 => (true, 2),
            5 => (true, 3),
            6 => (false, 1),
            7 => (true, 1),
            8 => (false, 3),
            _ => (false, 0),
        };
        Self { mirrored, quarters }
    }

    /// From the upper left of a track's matrix `[a b; c d]`, where a pixel `(x, y)` goes to
    /// `(a·x + c·y, b·x + d·y)`, y downwards. `None` where it is no turn by quarters.
    pub(crate) fn from_matrix([a, b, c, d]: [i32; 4]) -> Option<Self> {
        let (mirrored, quarters) = match [a.signum(), b.signum(), c.signum(), d.signum()] {
            [1, 0, 0, 1] => (false, 0),
            [0, 1, -1, 0] => (false, 1),
            [-1, 0, 0, -1] => (false, 2),
            [0, -1, 1, 0] => (false, 3),
            [-1, 0, 0, 1] => (true, 0),
            [0, -1, -1, 0] => (true, 1),
            [1, 0, 0, -1] => (true, 2),
            [0, 1, 1, 0] => (true, 3),
            _ => return None,
        };
        Some(Self { mirrored, quarters })
    }

    /// Turns pixels `[H, W, 3]` upright.
    pub(crate) fn apply(self, pixels: Vec<u8>, [height, width]: [usize; 2]) -> Vec<u8> {
        if self == Self::default() {
            return pixels;
        }
        let [rows, columns] = self.turned([height, width]);
        let mut out = Vec::with_capacity(pixels.len());
        for y in 0..rows {
            for x in 0..columns {
                let (sy, sx) = match self.quarters % 4 {
                    0 => (y, x),
                    1 => (height - 1 - x, y),
                    2 => (height - 1 - y, width - 1 - x),
                    _ => (x, width - 1 - y),
                };
                let sx = if self.mirrored { width - 1 - sx } else { sx };
                let at = (sy * width + sx) * 3;
                out.extend_from_slice(&pixels[at..at + 3]);
            }
        }
        out
    }
}

impl fmt::Display for SourceInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [height, width] = self.orientation.turned(self.stored);
        write!(f, "{:?}, {}, {width}×{height}", self.format, self.codec)?;
        if !self.still {
            let uneven = if self.constant_rate { "" } else { " (pictures are held or come at uneven times)" };
            write!(f, ", {} fps{uneven}, {} frames", self.rate, self.frames)?;
        }
        let stated = if self.colour_stated { "" } else { " (assumed)" };
        write!(f, ", {:?} {:?}{stated}", self.matrix, self.range)?;
        match self.transfer {
            Transfer::Sdr => Ok(()),
            transfer => write!(f, ", {transfer:?} clipped to sRGB"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A picture of two rows and three columns whose pixels are its letters `ab c / d e f`.
    fn picture(letters: &str) -> Vec<u8> {
        letters.bytes().flat_map(|letter| [letter; 3]).collect()
    }

    #[test]
    fn exif_orientations_are_those_of_the_standard() {
        // Stored rows "abc", "def". The standard says where the stored row 0 and column 0 lie.
        let upright = ["abcdef", "cbafed", "fedcba", "defabc", "adbecf", "daebfc", "fcebda", "cfbead"];
        for (tag, wanted) in (1..).zip(upright) {
            let orientation = Orientation::from_exif(tag);
            assert_eq!(orientation.apply(picture("abcdef"), [2, 3]), picture(wanted), "tag {tag}");
        }
    }

    #[test]
    fn a_matrix_moves_the_corner_where_it_says() {
        for matrix in [
            [1, 0, 0, 1],
            [0, 1, -1, 0],
            [-1, 0, 0, -1],
            [0, -1, 1, 0],
            [-1, 0, 0, 1],
            [0, -1, -1, 0],
            [1, 0, 0, -1],
            [0, 1, 1, 0],
        ] {
            let [a, b, c, d] = matrix;
            let turned = Orientation::from_matrix(matrix.map(|n| n << 16)).unwrap().apply(picture("abcdef"), [2, 3]);
            let [rows, columns] = Orientation::from_matrix(matrix).unwrap().turned([2, 3]).map(|n| n as i32);
            for (index, letter) in (0i32..).zip("abcdef".bytes()) {
                // Twice the distance from the middle, so that it is a whole number.
                let (x, y) = (2 * (index % 3) - 2, 2 * (index / 3) - 1);
                let (x, y) = ((a * x + c * y + columns - 1) / 2, (b * x + d * y + rows - 1) / 2);
                assert_eq!(turned[((y * columns + x) * 3) as usize], letter, "{matrix:?}");
            }
        }
        assert_eq!(Orientation::from_matrix([3, 1, 1, 3]), None);
    }
}
