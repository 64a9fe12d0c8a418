//! Platforms that have no such processes yet.

use super::Isolation;
use crate::ask::{Ask, View};
use crate::call::{Failure, Returned, Wanted};
use crate::library::Library;
use crate::tables::Extras;
use musiva_core::{Error, ErrorKind, Result};
use std::path::Path;

fn unsupported() -> Error {
    let message = "plugins in processes of their own are for Linux, this is another platform";
    Error::new(ErrorKind::Unsupported, "--isolate", message).hint("leave it out")
}

/// Never made.
#[derive(Debug)]
pub enum Apart {}

impl Apart {
    pub fn new(_: &Path, _: Isolation) -> Result<Self> {
        Err(unsupported())
    }

    pub fn resident(&self) -> Option<usize> {
        match *self {}
    }
}

/// Never made.
pub enum Session {}

impl Session {
    pub fn begin(apart: &Apart, _: &str, _: &str, _: &str) -> Result<(Self, Extras), Failure> {
        match *apart {}
    }

    pub fn run(&self, _: Ask<View>, _: &[Wanted]) -> Result<Returned, Failure> {
        match *self {}
    }
}

/// Serves nobody.
///
/// # Errors
/// Always: this platform has no such processes.
pub fn serve(_: &Path) -> Result<()> {
    Err(unsupported())
}

/// Serves nobody.
///
/// # Errors
/// As [`serve`].
pub fn serve_library(_: &Library) -> Result<()> {
    Err(unsupported())
}
