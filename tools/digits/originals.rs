//! What the clips are made of: MNIST's digits (LeCun et al. 1998) and the recordings of the Free Spoken Digit Dataset
//! (Jackson et al. 2018).

use crate::{read, unusable};
use musiva::media::{SoundOptions, read_sound};
use musiva::{Error, Result, Sound};
use std::path::Path;

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
        let pixels = idx(&folder.join(format!("{prefix}-images-idx3-ubyte")), 3)?;
        let path = folder.join(format!("{prefix}-labels-idx1-ubyte"));
        let labels = idx(&path, 1)?;
        match pixels.len() == labels.len() * SIDE * SIDE && labels.iter().all(|&label| label < 10) {
            true => Ok(Self { pixels, labels }),
            false => Err(unusable(&path, "the labels do not belong to the pictures")),
        }
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

/// The bytes of an IDX file of this many axes: two zeros, type 8 (bytes), the number of axes, and the length of each.
fn idx(path: &Path, axes: usize) -> Result<Vec<u8>> {
    let bytes = read(path)?;
    let header = 4 + 4 * axes;
    let is_whole = bytes.len() > header && bytes[..4] == [0, 0, 8, axes as u8] && {
        let length = |axis: &[u8]| u32::from_be_bytes([axis[0], axis[1], axis[2], axis[3]]) as usize;
        bytes[4..header].chunks(4).map(length).product::<usize>() == bytes.len() - header
    };
    if is_whole { Ok(bytes[header..].to_vec()) } else { Err(unusable(path, "this is no IDX file of bytes")) }
}

/// Spoken digits.
pub struct Recordings(Vec<Recording>);

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
        let entries = std::fs::read_dir(folder).map_err(|error| Error::io(folder, "list", error))?;
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
                all.push(Recording { digit, speaker: speaker.to_owned(), sound });
            }
        }
        if NAMES.iter().enumerate().all(|(digit, _)| all.iter().any(|recording| recording.digit == digit)) {
            Ok(Self(all))
        } else {
            Err(unusable(folder, "it does not hold recordings of all digits"))
        }
    }

    /// All of them.
    pub fn all(&self) -> &[Recording] {
        &self.0
    }
}
