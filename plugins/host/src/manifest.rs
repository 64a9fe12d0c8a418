//! `plugin.toml`: what a plugin says of itself without being loaded.

use crate::library::{KINDS, is_id, is_version};
use crate::wrong;
use musiva_core::{Result, files};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::Path;

/// The file's name.
pub const MANIFEST: &str = "plugin.toml";
/// No manifest is longer.
const LONGEST: u64 = 64 << 10;

/// A manifest.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// What a recipe writes after `kind =`.
    pub id: String,
    /// `tokenizer`, `backbone`, `conditioner`, `sampler`, `metric` or `dataset`.
    pub kind: String,
    /// Of the plugin.
    pub version: String,
    /// Of the plugin ABI that it was built for, e.g. `1.0`.
    pub abi: String,
    /// One line.
    #[serde(default)]
    pub summary: String,
    /// SPDX expression.
    #[serde(default)]
    pub license: String,
    /// The library for each platform, e.g. `x86_64-linux`.
    pub library: BTreeMap<String, LibraryFile>,
}

/// A library for one platform.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LibraryFile {
    /// Its name, beside the manifest.
    pub file: String,
    /// Its SHA-256, where the manifest was written for distribution.
    #[serde(default)]
    pub sha256: Option<String>,
}

/// This machine, as manifests and recipes name it: `x86_64-linux`.
pub fn platform() -> String {
    format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS)
}

impl Manifest {
    /// Reads the manifest of the plugin in `folder`.
    ///
    /// # Errors
    /// Where there is none, or it is not as it should be.
    pub fn read(folder: &Path) -> Result<Self> {
        let path = folder.join(MANIFEST);
        let bad = |message: String| wrong(path.display().to_string(), message);
        let text = String::from_utf8(files::read(&path, LONGEST)?).map_err(|_| bad("it is no text".into()))?;
        let manifest: Self = toml::from_str(&text).map_err(|error| {
            let line = error.span().map_or(1, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
            bad(format!("line {line}: {}", error.message()))
        })?;
        manifest.error().map_or(Ok(manifest), |error| Err(bad(error)))
    }

    fn error(&self) -> Option<String> {
        if !is_id(&self.id) {
            return Some(format!("`id` is {:?}, expected a reverse domain such as org.example.dct", self.id));
        }
        if !KINDS.contains(&self.kind.as_str()) {
            return Some(format!("`kind` is {:?}, expected one of {}", self.kind, KINDS.join(", ")));
        }
        if !is_version(&self.version) {
            return Some(format!("`version` is {:?}, expected one like 1.2.3", self.version));
        }
        let plain = |file: &str| Path::new(file).file_name().is_some_and(|name| name == file);
        let file = self.library.values().map(|library| &library.file).find(|file| !plain(file))?;
        Some(format!("the library {file:?} is not the name of a file beside the manifest"))
    }

    /// The library for this machine.
    ///
    /// # Errors
    /// Where there is none.
    pub fn library(&self) -> Result<&LibraryFile> {
        let platform = platform();
        self.library.get(&platform).ok_or_else(|| {
            let others: Vec<_> = self.library.keys().map(String::as_str).collect();
            wrong(&self.id, format!("it has no library for {platform}, only for {}", others.join(", ")))
                .hint(format!("build it for {platform}"))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Manifest> {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(MANIFEST), text).unwrap();
        Manifest::read(folder.path())
    }

    const GOOD: &str = r#"
id = "org.example.dct"
kind = "tokenizer"
version = "0.3.0"
abi = "1.0"
[library.x86_64-linux]
file = "libdct.so"
"#;

    #[test]
    fn a_manifest_is_read() {
        let manifest = read(GOOD).unwrap();
        assert_eq!(manifest.library["x86_64-linux"].file, "libdct.so");
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (from, to, words) in [
            ("org.example.dct", "dct", "reverse domain"),
            ("org.example.dct", "org.Example", "reverse domain"),
            ("\"tokenizer\"", "\"tokeniser\"", "expected one of tokenizer"),
            ("0.3.0", "latest", "like 1.2.3"),
            ("libdct.so", "../libdct.so", "beside the manifest"),
            ("libdct.so", "/lib/libdct.so", "beside the manifest"),
            ("abi = \"1.0\"\n", "", "abi"),
            ("kind =", "kin =", "line 3"),
            ("x86_64-linux", "m68k-amigaos", "only for m68k-amigaos"),
        ] {
            let changed = GOOD.replacen(from, to, 1);
            let outcome = read(&changed).and_then(|manifest| manifest.library().cloned());
            let error = outcome.expect_err(words).to_string();
            assert!(error.contains(words), "{error}");
        }
    }
}
