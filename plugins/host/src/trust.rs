//! What the user lets run: a file of their own, or a word on the command line. Never a recipe.

use crate::store::{permit, vet};
use crate::wrong;
use musiva_core::{Result, files};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// The user's list of libraries that may be loaded: a line for each, its SHA-256 and whatever the user wants to know it
/// by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustFile(PathBuf);

impl TrustFile {
    /// The list at `path`, which need not be there.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    fn lines(&self) -> Result<Vec<String>> {
        if !self.0.exists() {
            return Ok(Vec::new());
        }
        // A list that others can write is nobody's consent.
        vet(&self.0)?;
        let text = String::from_utf8(files::read(&self.0, 16 << 20)?)
            .map_err(|_| wrong(self.0.display().to_string(), "it is no text"))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// All hashes in it.
    ///
    /// # Errors
    /// Where it cannot be read, or others could have written it.
    pub fn hashes(&self) -> Result<BTreeSet<String>> {
        let lines = self.lines()?;
        let hashes = lines.iter().filter_map(|line| line.split_whitespace().next()).filter(|word| is_sha256(word));
        Ok(hashes.map(str::to_ascii_lowercase).collect())
    }

    /// Adds a library; `name` is what the user knows it by. False: it was there already.
    ///
    /// # Errors
    /// Where this is no hash, or the file cannot be written.
    pub fn add(&self, sha256: &str, name: &str) -> Result<bool> {
        if !is_sha256(sha256) {
            return Err(wrong(sha256, "this is no SHA-256: expected 64 digits from 0 to f")
                .hint("`musiva plugin hash FILE` prints that of a library"));
        }
        if self.hashes()?.contains(&sha256.to_ascii_lowercase()) {
            return Ok(false);
        }
        let mut lines = self.lines()?;
        if lines.is_empty() {
            lines.push("# Plugins that this user lets musiva load: the SHA-256 of a library, and its name.".into());
        }
        lines.push(format!("{} {name}", sha256.to_ascii_lowercase()).trim_end().to_owned());
        files::write(&self.0, format!("{}\n", lines.join("\n")).as_bytes())?;
        permit(&self.0, 0o600)?;
        Ok(true)
    }

    /// Takes a library out. False: it was not there.
    ///
    /// # Errors
    /// Where the file cannot be written.
    pub fn remove(&self, sha256: &str) -> Result<bool> {
        let lines = self.lines()?;
        let other =
            |line: &&String| !line.split_whitespace().next().is_some_and(|word| word.eq_ignore_ascii_case(sha256));
        let kept: Vec<_> = lines.iter().filter(other).cloned().collect();
        if kept.len() == lines.len() {
            return Ok(false);
        }
        files::write(&self.0, format!("{}\n", kept.join("\n")).as_bytes())?;
        permit(&self.0, 0o600)?;
        Ok(true)
    }
}

/// Whether this is a SHA-256 in hexadecimal.
fn is_sha256(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// What may be loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consent {
    /// Libraries that the user trusts.
    pub trusted: BTreeSet<String>,
    /// Ids that the user allows for this once.
    pub allowed: Vec<String>,
}

impl Consent {
    /// Whether the user lets this library be loaded.
    ///
    /// # Errors
    /// Where not; the error says how to.
    pub fn ask(&self, id: &str, version: &str, sha256: &str) -> Result<()> {
        if self.trusted.contains(sha256) || self.allowed.iter().any(|allowed| allowed == id) {
            return Ok(());
        }
        let message = format!(
            "it is not trusted yet, so it was not loaded: a plugin can do whatever you can do ({id} {version}, \
             sha256 {sha256})"
        );
        Err(wrong(id, message).hint(format!(
            "if you know where it comes from: musiva plugin trust {sha256}; or, for this once: --allow-plugin {id}"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn consent_is_written_read_and_taken_back() {
        let folder = tempfile::tempdir().unwrap();
        let file = TrustFile::new(folder.path().join("musiva/trusted-plugins"));
        let (a, b) = ("ab".repeat(32), "cd".repeat(32));
        let asks = |file: &TrustFile, hash: &str| {
            Consent { trusted: file.hashes().unwrap(), allowed: vec![] }.ask("org.example.a", "1.0.0", hash).is_ok()
        };
        assert!(!asks(&file, &a));
        assert!(file.add(&a.to_uppercase(), "org.example.a 1.0.0").unwrap());
        assert!(!file.add(&a, "").unwrap() && file.add(&b, "").unwrap());
        assert!(asks(&file, &a) && asks(&file, &b));
        assert!(file.remove(&a).unwrap() && !file.remove(&a).unwrap());
        assert!(!asks(&file, &a) && asks(&file, &b));
        assert!(file.add("abc", "").unwrap_err().to_string().contains("64 digits"));
        let once = Consent { allowed: vec!["org.example.a".into()], ..Consent::default() };
        assert!(once.ask("org.example.a", "1.0.0", &a).is_ok() && once.ask("org.example.b", "1.0.0", &a).is_err());
    }

    #[cfg(unix)]
    #[test]
    fn a_list_that_others_can_write_is_no_consent() {
        let folder = tempfile::tempdir().unwrap();
        let file = TrustFile::new(folder.path().join("trusted"));
        file.add(&"ab".repeat(32), "").unwrap();
        permit(file.path(), 0o666).unwrap();
        assert!(file.hashes().unwrap_err().to_string().contains("may write this file"));
    }
}
