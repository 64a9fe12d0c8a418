//! What the clips are made of: MNIST's digits (LeCun et al. 1998) and the recordings of the Free Spoken Digit Dataset
//! (Jackson et al. 2018).

use crate::make::RATE;
use crate::{read, unusable};
use musiva::media::{SoundOptions, read_sound};
use musiva::{Error, Rate, Result, Sound};
use std::path::{Path, PathBuf};

/// The side of MNIST's pictures.
pub const SIDE: usize = 28;

/// Names of the digits, which are the captions.
pub const NAMES: [&str; 10] = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"];

/// Which half of the data: neither a picture nor a recording is in both.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Split {
    /// MNIST's 60,000 training pictures; takes 5 and above of the recordings.
    Train,
    /// MNIST's 10,000 test pictures; takes 0 to 4.
    Test,
}

impl Split {
    /// The folder of its clips.
    pub fn name(self) -> &'static str {
        match self {
            Self::Train => "train",
            Self::Test => "test",
        }
    }
}

/// Handwritten digits.
pub struct Digits {
    /// Grey values, `[n, 28, 28]`.
    pixels: Vec<u8>,
    /// 0 to 9.
    labels: Vec<u8>,
}

impl Digits {
    /// Those of `split` in the folder of MNIST's IDX files.
    pub fn open(folder: &Path, split: Split) -> Result<Self> {
        let prefix = match split {
            Split::Train => "train",
            Split::Test => "t10k",
        };
        let path = folder.join(format!("{prefix}-labels-idx1-ubyte"));
        let labels = idx(&path, &[])?;
        let pixels = idx(&folder.join(format!("{prefix}-images-idx3-ubyte")), &[SIDE, SIDE])?;
        match pixels.len() == labels.len() * SIDE * SIDE && labels.iter().all(|&label| label < 10) {
            true => Ok(Self { pixels, labels }),
            false => Err(unusable(&path, "the labels do not belong to the pictures")),
        }
    }

    /// Pictures `[n, 28, 28]` with their labels.
    #[cfg(test)]
    pub fn of(pixels: Vec<u8>, labels: Vec<u8>) -> Self {
        Self { pixels, labels }
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Picture `i`, grey values `[28, 28]`.
    pub fn picture(&self, i: usize) -> &[u8] {
        &self.pixels[i * SIDE * SIDE..][..SIDE * SIDE]
    }

    /// Which digit picture `i` is.
    pub fn label(&self, i: usize) -> usize {
        usize::from(self.labels[i])
    }
}

/// The bytes of an IDX file of items of this shape: two zeros, type 8 (bytes), the number of axes, the length of each, and the
/// bytes of all items.
fn idx(path: &Path, shape: &[usize]) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    let header = 8 + 4 * shape.len();
    let axes = [&[0, 0, 8, 1 + shape.len() as u8][..], bytes.get(4..8).unwrap_or_default()].concat();
    let lengths = shape.iter().flat_map(|&length| (length as u32).to_be_bytes());
    let expected: Vec<u8> = axes.into_iter().chain(lengths).collect();
    let count = bytes.get(4..8).map_or(0, |four| u32::from_be_bytes([four[0], four[1], four[2], four[3]]) as usize);
    let length = shape.iter().product::<usize>().checked_mul(count);
    match bytes.starts_with(&expected) && count > 0 && length == bytes.len().checked_sub(header) {
        true => Ok(bytes[header..].to_vec()),
        false => Err(unusable(path, "this is no IDX file of what is expected")),
    }
}

/// Spoken digits.
pub struct Recordings {
    folder: PathBuf,
    all: Vec<Recording>,
}

/// A spoken digit.
pub struct Recording {
    /// 0 to 9.
    pub digit: usize,
    /// Who speaks.
    pub speaker: String,
    /// One channel, 8,000 samples a second.
    pub sound: Sound,
}

impl Recordings {
    /// Those of `split` in a folder of files named `<digit>_<speaker>_<take>.wav`, by name.
    pub fn open(folder: &Path, split: Split) -> Result<Self> {
        let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder, "list it", error))?;
        let mut names: Vec<String> = entries
            .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".wav"))
            .collect();
        names.sort();
        let mut all = Vec::new();
        for name in &names {
            let path = folder.join(name);
            let parts: Vec<&str> = name.trim_end_matches(".wav").split('_').collect();
            let [digit, speaker, take] = parts[..] else {
                return Err(unusable(&path, "its name is not <digit>_<speaker>_<take>.wav"));
            };
            let (Ok(digit @ 0..10), Ok(take)) = (digit.parse::<usize>(), take.parse::<u32>()) else {
                return Err(unusable(&path, "its name is not <digit>_<speaker>_<take>.wav"));
            };
            if (take < 5) == (split == Split::Test) {
                let sound = read_sound(&path, &SoundOptions::default())?.sound;
                if sound.rate() != Rate::whole(RATE as u32) || sound.channels() != 1 {
                    return Err(unusable(&path, "it is not of one channel and 8,000 samples a second"));
                }
                all.push(Recording { digit, speaker: speaker.to_owned(), sound });
            }
        }
        if NAMES.iter().enumerate().all(|(digit, _)| all.iter().any(|recording| recording.digit == digit)) {
            Ok(Self { folder: folder.to_owned(), all })
        } else {
            Err(unusable(folder, "it does not hold recordings of all digits"))
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Recording] {
        &self.all
    }

    /// The recordings with the words that they say.
    pub fn named(&self) -> Vec<(Sound, String)> {
        self.all.iter().map(|one| (one.sound.clone(), NAMES[one.digit].to_owned())).collect()
    }

    /// Where they lie.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}
