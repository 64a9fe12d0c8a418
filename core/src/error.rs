//! One error type for everything that a user, a file, a device or a plugin can cause.
//!
//! An error says *where*, *what was found*, and *the smallest edit that mends it*. Our own bugs
//! panic; nothing else may. The command prints the chain and maps [`ErrorKind`] to an exit code in
//! one place.

use std::{fmt, path::Path};

/// What the reader has to look at to solve the error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// The recipe, or a `--set` on top of it.
    Recipe,
    /// A clip, an image, a sound: something that was to be read or written as media.
    Media,
    /// A weights, tokens or checkpoint file.
    Weights,
    /// The data to train on.
    Data,
    /// A device that is not there, or not in this build.
    Device,
    /// The file system.
    Io,
    /// What was asked cannot be done by what the recipe describes.
    Unsupported,
    /// Training went wrong by itself: a loss that is not a number, a collapsed codebook.
    Training,
    /// A plugin: it may not be loaded, or it failed.
    Plugin,
    /// The user asked to stop.
    Interrupted,
}

/// An error with its place, its finding and its hint.
#[derive(Debug)]
pub struct Error {
    kind: ErrorKind,
    place: String,
    message: String,
    hint: Option<String>,
    source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// Result with musiva's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of `kind` at `place` (a file, a key of the recipe, an option); `message` says what
    /// was found and what was expected. An empty `place` is left out of the text.
    pub fn new(kind: ErrorKind, place: impl Into<String>, message: impl Into<String>) -> Self {
        Self { kind, place: place.into(), message: message.into(), hint: None, source: None }
    }

    /// An error that arose while reading or writing `path`.
    pub fn io(path: &Path, doing: &str, error: std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => Some("check the path"),
            std::io::ErrorKind::PermissionDenied => Some("check the permissions of the file and its folder"),
            std::io::ErrorKind::StorageFull => Some("free some disk space"),
            _ => None,
        };
        let mut this = Self::new(ErrorKind::Io, path.display().to_string(), format!("cannot {doing}: {error}"));
        this.hint = hint.map(str::to_owned);
        this
    }

    /// Adds the smallest edit that mends the error.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Adds the error that caused this one; it is printed below it.
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        self.source = Some(source.into());
        self
    }

    /// What the reader has to look at.
    pub fn kind(&self) -> ErrorKind {
        self.kind
    }

    /// Where it is.
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What was found and expected, without place and hint.
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.place.is_empty() {
            write!(f, "{}: ", self.place)?;
        }
        f.write_str(&self.message)?;
        if let Some(hint) = &self.hint {
            write!(f, "\n  hint: {hint}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.source.as_ref().map(|s| &**s as &(dyn std::error::Error + 'static))
    }
}

/// Something wrong with a component's configuration, at a path *inside* that configuration.
///
/// The recipe checker collects all of them, puts the component's own path in front, finds the line
/// in the file and prints them together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Dotted path below the component's table, e.g. `quantizer.bits`; empty for the table itself.
    pub path: String,
    /// What was found and what was expected, one sentence.
    pub message: String,
    /// The smallest edit that mends it, e.g. ``set `frames = 17` ``.
    pub hint: String,
}

impl ConfigError {
    /// An error at `path` with its finding and its hint.
    pub fn new(path: impl Into<String>, message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { path: path.into(), message: message.into(), hint: hint.into() }
    }

    /// The same as an error of `kind` at `place`.
    pub fn into_error(self, kind: ErrorKind, place: impl Into<String>) -> Error {
        Error::new(kind, place, self.message).hint(self.hint)
    }
}
