//! Plugins, from a folder on the disk to a component that a recipe cannot tell from a built-in one.
//!
//! # Nomenclature
//!
//! - **plugin**: a folder with a manifest, `plugin.toml`, and a shared library beside it.
//! - **library**: what is loaded; it holds one or more *described* things, each of a *kind*.
//! - **instance**: a described thing made with a configuration.
//! - **pin**: the SHA-256 that a recipe names a library by.
//! - **consent**: what the user, never a recipe, says may be loaded.
//! - **store**: a private folder in which the very bytes that were hashed lie, to be loaded from there.
//! - **probe**: the first load of a library, in a child process with a time limit.
//!
//! # What is trusted
//!
//! A native plugin is code with the user's rights: a hash says which code, not that it is harmless. So nothing is loaded
//! without consent, and what is loaded is still not believed: ranks, types, sizes, codes, texts, struct sizes and null
//! functions are looked at, and what does not hold is an error that names the plugin. A library that corrupts memory in
//! a call cannot be contained within the process; in one of its own ([`Isolation`]) it can.
//!
//! This crate, the kit and the kernels are the only ones with `unsafe` code; this one alone opens libraries.

#![warn(missing_docs)]

mod ask;
mod backbone;
mod call;
mod conditioner;
mod conformance;
mod dataset;
mod environment;
mod find;
mod instance;
mod isolate;
mod library;
mod load;
mod manifest;
mod metric;
mod op;
mod probe;
mod register;
mod sampler;
mod store;
mod tables;
mod tokenizer;
mod trust;

pub use conformance::{Finding, Outcome, check};
pub use dataset::{HostedDataset, HostedDatasetConfig};
pub use find::{Found, find, search_path};
pub use isolate::{Isolation, serve, serve_library};
pub use library::{Described, Library, Report};
pub use load::{Loaded, Loader};
pub use manifest::{Manifest, platform};
pub use probe::{Prober, probe};
pub use register::register;
#[cfg(unix)]
pub use store::user;
pub use store::{Vetted, vet};
pub use trust::{Consent, TrustFile};

use musiva_core::{Error, ErrorKind};

/// An error about a plugin at `place`: its id, its folder, its file.
fn wrong(place: impl Into<String>, message: impl Into<String>) -> Error {
    Error::new(ErrorKind::Plugin, place, message)
}
