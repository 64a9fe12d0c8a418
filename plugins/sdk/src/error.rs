//! Errors: what the guard turns into a status and a message.

use musiva_abi::Status;
use std::fmt;

/// Why a plugin could not do what it was asked: a status and one sentence for whoever wrote the recipe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    status: Status,
    message: String,
}

/// Result with the kit's [`Error`].
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// An error of any status.
    pub fn new(status: Status, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The configuration is wrong: what was found, and what would do.
    pub fn config(message: impl Into<String>) -> Self {
        Self::new(Status::INVALID_CONFIG, message)
    }

    /// An input is wrong: its shape, its type, its values.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Status::INVALID_INPUT, message)
    }

    /// The plugin does not do that.
    pub fn unsupported(message: impl Into<String>) -> Self {
        Self::new(Status::UNSUPPORTED, message)
    }

    /// Something went wrong inside, or a file could not be read.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Status::INTERNAL, message)
    }

    /// The status that the host is told.
    pub fn status(&self) -> Status {
        self.status
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<std::io::Error> for Error {
    fn from(error: std::io::Error) -> Self {
        Self::internal(error.to_string())
    }
}
