//! Digits that are seen and heard: makes the clips of docs/digits.md and measures the models that learn from them.
//!
//! ```sh
//! cargo run --release --example digits -- make MNIST RECORDINGS FOLDER
//! cargo run --release --example digits -- evaluate MNIST RECORDINGS FOLDER PROMPTS RECIPE...
//! ```
//!
//! `MNIST` holds its four IDX files, `RECORDINGS` the WAV files of the Free Spoken Digit Dataset; `tools/digits.sh` downloads
//! both and makes the clips.

mod make;
mod originals;
mod readers;

use musiva::{Error, ErrorKind, Result};
use originals::{Digits, Recordings, Split};
use std::error::Error as StdError;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// How many clips are made of each split.
const CLIPS: [(Split, u64); 2] = [(Split::Train, 6000), (Split::Test, 200)];

const USAGE: &str =
    "expected: digits make MNIST RECORDINGS FOLDER, or digits evaluate MNIST RECORDINGS FOLDER PROMPTS RECIPE...";

fn main() -> std::result::Result<(), Box<dyn StdError>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["make", mnist, recordings, folder] => {
            for (split, count) in CLIPS {
                let digits = Digits::open(Path::new(mnist), split)?;
                let words = Recordings::open(Path::new(recordings), split)?;
                make::make(&digits, &words, count, &PathBuf::from(folder).join(split.name()))?;
            }
        }
        ["evaluate", mnist, recordings, folder, prompts, ref recipes @ ..] if !recipes.is_empty() => {
            let readers = Arc::new(readers::Readers::learn(Path::new(mnist), Path::new(recordings))?);
            println!("the readers, on originals of the test splits: {}", readers.card());
            for recipe in recipes {
                readers::evaluate(&readers, recipe, folder, prompts.parse()?)?;
            }
        }
        _ => return Err(USAGE.into()),
    }
    Ok(())
}

/// An error about one of the files that the clips are made of.
fn unusable(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Data, path.display().to_string(), message)
        .hint("let tools/digits.sh download it, or name the folder of an unchanged copy")
}

/// [`std::fs::read`] with the path in its error.
fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::io(path, "read", error))
}
