//! Digits that are seen and heard: makes the clips of docs/digits.md and measures the models that learn from them.
//!
//! ```sh
//! cargo run --release --example digits -- make MNIST RECORDINGS FOLDER
//! cargo run --release --example digits -- evaluate MNIST RECORDINGS FOLDER PROMPTS RECIPE...
//! cargo run --release --example digits -- sentences RECORDINGS COUNT RECIPE...
//! ```
//!
//! `MNIST` holds its four IDX files, `RECORDINGS` the WAV files of the Free Spoken Digit Dataset; `tools/digits.sh` downloads
//! both and makes the clips.

mod make;
mod originals;
mod readers;
mod sentences;

use musiva::{Error, ErrorKind, Result};
use originals::{Digits, Recordings, Split};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

/// How many clips are made of each split.
const CLIPS: [(Split, u64); 2] = [(Split::Train, 6000), (Split::Test, 200)];

const USAGE: &str = "digits make MNIST RECORDINGS FOLDER, or digits evaluate MNIST RECORDINGS FOLDER PROMPTS RECIPE..., or \
                     digits sentences RECORDINGS COUNT RECIPE...";

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<()> {
    let arguments: Vec<PathBuf> = std::env::args_os().skip(1).map(PathBuf::from).collect();
    let unclear =
        || Error::new(ErrorKind::Unsupported, "arguments", "these are unclear").hint(format!("expected: {USAGE}"));
    let texts: Vec<String> = arguments.iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    match (texts.first().map(String::as_str), &arguments[..]) {
        (Some("make"), [_, mnist, recordings, folder]) => {
            for (split, count) in CLIPS {
                let digits = Digits::open(mnist, split)?;
                let recordings = Recordings::open(recordings, split)?;
                make::make(&digits, &recordings, count, &folder.join(split.name()))?;
            }
            Ok(())
        }
        (Some("evaluate"), [_, mnist, recordings, folder, _, recipes @ ..]) if !recipes.is_empty() => {
            let prompts = texts[4].parse().map_err(|_| unclear())?;
            let readers = Arc::new(readers::Readers::learn(mnist, recordings)?);
            println!("classifiers, on originals of the test splits: {}", readers.card());
            texts[5..].iter().try_for_each(|recipe| readers::evaluate(&readers, recipe, folder, prompts))
        }
        (Some("sentences"), [_, recordings, _, recipes @ ..]) if !recipes.is_empty() => {
            sentences::evaluate(recordings, texts[2].parse().map_err(|_| unclear())?, &texts[3..])
        }
        _ => Err(unclear()),
    }
}

/// An error about one of the files that the clips are made of.
fn unusable(path: &Path, message: &str) -> Error {
    Error::new(ErrorKind::Data, path.display().to_string(), message)
        .hint("let tools/digits.sh download it, or name the folder of an unchanged copy")
}

/// [`std::fs::read`] with the path in its error.
fn read(path: &Path) -> Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| Error::io(path, "read it", error))
}
