//! What goes wrong inside a reader, before the file's name is put in front of it.

use musiva_core::{Error, ErrorKind};
use std::{
    fmt, io,
    panic::{AssertUnwindSafe, catch_unwind},
    path::Path,
};

/// A failure of a reader or writer that does not know the name of its file.
#[derive(Debug)]
pub(crate) enum Fault {
    /// The bytes contradict their format, or end too early.
    Broken(String),
    /// Well-formed, as far as we can tell, but nothing that our own readers know; ffmpeg may.
    Foreign(String),
    /// What our decoder cannot decode; ffmpeg may.
    Undecoded(String),
    /// Colours that nobody here converts.
    Colours(String),
    /// Nothing is wrong with it, but it has no sound, and that was asked for.
    Silent(String),
    /// Nothing is wrong with it, but it has no pictures, and they were asked for.
    Pictureless(String),
    /// Larger than the limits that the caller set.
    TooBig(String),
    /// The file system.
    Io(io::Error),
}

/// Result of the inner readers.
pub(crate) type Outcome<T> = Result<T, Fault>;

impl Fault {
    /// The public error, with its place and its hint.
    pub(crate) fn at(self, path: &Path) -> Error {
        let place = path.display().to_string();
        match self {
            Self::Broken(found) => {
                Error::new(ErrorKind::Media, place, found).hint("fetch or make the file again: it is damaged or cut off")
            }
            Self::Foreign(found) => Error::new(ErrorKind::Unsupported, place, format!("{found}: it needs ffmpeg"))
                .hint("install ffmpeg, which may read it (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg), or convert the file to H.264 and AAC in MP4"),
            Self::Undecoded(found) => Error::new(ErrorKind::Unsupported, place, format!("{found}: it needs ffmpeg"))
                .hint("install ffmpeg (apt install ffmpeg, brew install ffmpeg, winget install ffmpeg); if it cannot read it either, make the file again"),
            Self::Colours(found) => Error::new(ErrorKind::Unsupported, place, found)
                .hint("convert it, e.g. `ffmpeg -i FILE -vf scale=out_color_matrix=bt709 -colorspace bt709 out.mp4`"),
            Self::Silent(found) => Error::new(ErrorKind::Media, place, found).hint("name a file that has sound"),
            Self::Pictureless(found) => {
                Error::new(ErrorKind::Media, place, found).hint("name a file that has pictures")
            }
            Self::TooBig(found) => Error::new(ErrorKind::Media, place, found)
                .hint("read a window of it (`start`, `frames`), or raise the limits in `ReadOptions`"),
            Self::Io(error) => Error::io(path, "read or write", error),
        }
    }
}

impl Fault {
    /// Whether ffmpeg may know better: it is no damage, or damage that only a decoder has seen.
    pub(crate) fn asks_ffmpeg(&self) -> bool {
        matches!(self, Self::Foreign(_) | Self::Undecoded(_))
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(text)
            | Self::Foreign(text)
            | Self::Undecoded(text)
            | Self::Colours(text)
            | Self::Silent(text)
            | Self::Pictureless(text)
            | Self::TooBig(text) => f.write_str(text),
            Self::Io(error) => error.fmt(f),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::UnexpectedEof => broken("the file ends in the middle of its data"),
            _ => Self::Io(error),
        }
    }
}

/// A [`Fault::Broken`].
pub(crate) fn broken(found: impl Into<String>) -> Fault {
    Fault::Broken(found.into())
}

/// A [`Fault::Silent`].
pub(crate) fn silent(found: &str) -> Fault {
    Fault::Silent(found.to_owned())
}

/// Runs a third-party codec and turns its panic into a fault.
///
/// The codecs index into what a hostile file declares; a panic in one of them is a bug of theirs
/// that must not take down a training run over ten thousand files. The codec's state is dropped
/// with the closure or never touched again after a fault, so nothing half-changed is seen.
pub(crate) fn guard<T>(codec: &str, work: impl FnOnce() -> Outcome<T>) -> Outcome<T> {
    catch_unwind(AssertUnwindSafe(work))
        .unwrap_or_else(|_| Err(broken(format!("the {codec} decoder gave up on the file's data"))))
}
