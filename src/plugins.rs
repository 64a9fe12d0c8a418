//! Where plugins are, and which of them may run.

use crate::cache::{cache, set};
use musiva_core::{Error, ErrorKind, Result};
use musiva_plugin_host::{Consent, Isolation, Loader, Prober, TrustFile, search_path};
use std::collections::BTreeSet;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

/// How long the first load of a library may take.
const PROBE: Duration = Duration::from_secs(20);

/// What the user says of plugins.
#[derive(Clone, Debug, Default)]
pub struct PluginOptions {
    /// Folders that hold plugins, or plugins' own, before those of the environment.
    pub folders: Vec<PathBuf>,
    /// Ids of plugins that may run, beside those in the user's [`trust_file`].
    pub allowed: Vec<String>,
    /// Run plugins in processes of their own, in which a call may take so long.
    pub isolate: Option<Duration>,
    /// The command `musiva`, which looks at a library in a process of its own before this one loads it; `None`: the one
    /// on the `PATH`.
    pub musiva: Option<PathBuf>,
}

impl PluginOptions {
    /// The folders that are looked through.
    pub fn search(&self) -> Vec<PathBuf> {
        let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
        search_path(&self.folders, env::var_os("MUSIVA_PLUGIN_PATH").as_deref(), data.as_deref())
    }

    /// What loads plugins.
    ///
    /// # Errors
    /// Where there is no folder for caches, or the user's list cannot be read.
    pub fn loader(&self) -> Result<Loader> {
        let program = self.musiva.clone().unwrap_or_else(|| "musiva".into());
        let command = |what: &str| vec![program.clone().into(), "plugin".into(), what.into()];
        Ok(Loader {
            search: self.search(),
            store: cache()?.join("plugins"),
            consent: Consent { trusted: trusted()?, allowed: self.allowed.clone() },
            prober: Prober { command: command("probe"), limit: PROBE },
            isolation: self.isolate.map(|limit| Isolation { command: command("serve"), limit }),
        })
    }
}

/// The user's list of libraries that may be loaded.
///
/// # Errors
/// Where the environment names no folder for settings.
pub fn trust_file() -> Result<TrustFile> {
    let folder = set("MUSIVA_CONFIG")
        .or_else(|| set("XDG_CONFIG_HOME").map(|folder| folder.join("musiva")))
        .or_else(|| set("APPDATA").map(|folder| folder.join("musiva")))
        .or_else(|| set("HOME").map(|home| home.join(".config").join("musiva")));
    let missing =
        || Error::new(ErrorKind::Io, "", "there is no folder for settings").hint("set MUSIVA_CONFIG to a folder");
    Ok(TrustFile::new(folder.ok_or_else(missing)?.join("trusted-plugins")))
}

/// The hashes of the libraries that may be loaded: none where there is no folder for settings.
///
/// # Errors
/// Where the list cannot be read, or others could have written it.
pub fn trusted() -> Result<BTreeSet<String>> {
    trust_file().map_or_else(|_| Ok(BTreeSet::new()), |file| file.hashes())
}
