//! From a pin to a library: find, vet, compare, ask, probe, load.

use crate::find::find;
use crate::isolate::Isolation;
use crate::library::Library;
use crate::manifest::{Manifest, platform};
use crate::probe::Prober;
use crate::store::vet;
use crate::trust::Consent;
use crate::wrong;
use libloading::Library as Handle;
use musiva_abi as abi;
use musiva_core::Result;
use musiva_core::recipe::PluginPin;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Loads plugins.
#[derive(Clone, Debug)]
pub struct Loader {
    /// Folders that hold plugins.
    pub search: Vec<PathBuf>,
    /// The private folder from which libraries are loaded.
    pub store: PathBuf,
    /// What the user lets run.
    pub consent: Consent,
    /// How a library is loaded for the first time.
    pub prober: Prober,
    /// Where plugins are run, if not in this process.
    pub isolation: Option<Isolation>,
}

/// A plugin that is loaded.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What a recipe writes after `kind =`.
    pub id: String,
    /// Of the plugin.
    pub version: String,
    /// Of the library.
    pub sha256: String,
    /// The library.
    pub library: Arc<Library>,
}

impl Loaded {
    /// Who brings the plugin's component, for listings and records.
    pub fn origin(&self) -> String {
        format!("plugin {} {} (sha256 {})", self.id, self.version, self.sha256)
    }
}

impl Loader {
    /// Loads the plugin that a recipe asks for.
    ///
    /// # Errors
    /// Where it is not there, in two versions or with other bytes, where the user has not consented, and where it does
    /// not load.
    pub fn load(&self, pin: &PluginPin) -> Result<Loaded> {
        let platform = platform();
        let Some(sha256) = pin.sha256.get(&platform) else {
            let others: Vec<_> = pin.sha256.keys().map(String::as_str).collect();
            let message = format!("the recipe has no sha256 of it for {platform}, only for {}", others.join(", "));
            return Err(
                wrong(&pin.id, message).hint(format!("add `{platform} = \"…\"`: `musiva plugin hash` prints it"))
            );
        };
        let (folder, manifest) = self.locate(pin)?;
        self.load_folder(&folder, &manifest, Some(sha256))
    }

    /// The one plugin that is meant.
    fn locate(&self, pin: &PluginPin) -> Result<(PathBuf, Manifest)> {
        let mut others = Vec::new();
        let mut fitting: Vec<(PathBuf, Manifest)> = Vec::new();
        for found in find(&self.search) {
            let Ok(manifest) = found.manifest else { continue };
            match (manifest.id == pin.id, pin.takes(&manifest.version)) {
                (true, true) => fitting.push((found.folder, manifest)),
                (true, false) => others.push(manifest.version),
                _ => {}
            }
        }
        // The same plugin by two paths is one.
        fitting.dedup_by_key(|(folder, _)| folder.canonicalize().unwrap_or_else(|_| folder.clone()));
        match fitting.len() {
            1 => Ok(fitting.remove(0)),
            0 => {
                let searched: Vec<_> = self.search.iter().map(|folder| folder.display().to_string()).collect();
                let message = match others.is_empty() {
                    true => format!("there is no such plugin in {}", searched.join(", ")),
                    false => format!("the recipe asks for version {}, there is {}", pin.version, others.join(", ")),
                };
                Err(wrong(&pin.id, message)
                    .hint("install it in one of these folders, or name its folder by --plugin-path"))
            }
            _ => {
                let folders: Vec<_> = fitting.iter().map(|(folder, _)| folder.display().to_string()).collect();
                Err(wrong(&pin.id, format!("there are two plugins of this id: {}", folders.join(" and ")))
                    .hint("delete one of them, or ask for a version that only one has"))
            }
        }
    }

    /// Loads the plugin in `folder`; `pin` is the hash that a recipe wants.
    ///
    /// # Errors
    /// As [`Loader::load`].
    pub fn load_folder(&self, folder: &Path, manifest: &Manifest, pin: Option<&str>) -> Result<Loaded> {
        let file = manifest.library()?;
        let vetted = vet(&folder.join(&file.file))?;
        if let Some(pin) = pin {
            vetted.expect(pin, "the recipe")?;
        }
        if let Some(sha256) = &file.sha256 {
            vetted.expect(sha256, "its own plugin.toml")?;
        }
        self.consent.ask(&manifest.id, &manifest.version, &vetted.sha256)?;
        let stored = vetted.put(&self.store)?;
        let report = self.prober.probe(&stored, &manifest.id)?;
        let library = match &self.isolation {
            Some(isolation) => Library::isolated(&stored, report, isolation.clone())?,
            None => open_once(&stored, &vetted.sha256)?,
        };
        let described = library.get(&manifest.id)?;
        for (name, says, holds) in
            [("kind", &manifest.kind, &described.kind), ("version", &manifest.version, &described.version)]
        {
            if says != holds {
                let message = format!("plugin.toml says `{name} = \"{says}\"`, the library says \"{holds}\"");
                return Err(wrong(&manifest.id, message).hint("let the two agree"));
            }
        }
        Ok(Loaded { id: manifest.id.clone(), version: manifest.version.clone(), sha256: vetted.sha256, library })
    }
}

/// A library is opened once in a process, and stays.
fn open_once(path: &Path, sha256: &str) -> Result<Arc<Library>> {
    static OPEN: Mutex<BTreeMap<String, Arc<Library>>> = Mutex::new(BTreeMap::new());
    let mut all = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(library) = all.get(sha256) {
        return Ok(library.clone());
    }
    let library = open(path)?;
    all.insert(sha256.to_owned(), library.clone());
    Ok(library)
}

/// Opens a library of the store and looks at its entry.
///
/// # Errors
/// Where it is no library of this machine, exports no entry, or the entry is not in order.
pub(crate) fn open(path: &Path) -> Result<Arc<Library>> {
    let place = path.display().to_string();
    let no_library =
        |error: libloading::Error| wrong(place.clone(), "it is no shared library of this machine").caused_by(error);
    // SAFETY: runs the library's constructors. The user has consented to exactly these bytes, and a child process has
    // survived them.
    let handle = unsafe { dlopen(path) }.map_err(no_library)?;
    // Libraries are never closed: their tables, texts and thread-local destructors are used until the process ends.
    let handle: &'static Handle = Box::leak(Box::new(handle));
    // SAFETY: the address of a constant; whether there is one behind it `from_entry` looks at.
    let entry = unsafe { handle.get::<*const abi::Entry>(abi::ENTRY.as_bytes()) };
    let entry = entry.map_err(|error| {
        let message = format!("it exports no symbol `{}`: it is a library, but no plugin", abi::ENTRY);
        wrong(place.clone(), message).caused_by(error)
    })?;
    // SAFETY: the symbol of a library that is never closed.
    unsafe { Library::from_entry(*entry, place) }
}

#[cfg(unix)]
unsafe fn dlopen(path: &Path) -> Result<Handle, libloading::Error> {
    use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};
    // SAFETY: by the caller's promise.
    unsafe { Library::open(Some(path), RTLD_NOW | RTLD_LOCAL) }.map(Handle::from)
}

#[cfg(not(unix))]
unsafe fn dlopen(path: &Path) -> Result<Handle, libloading::Error> {
    // SAFETY: by the caller's promise.
    unsafe { Handle::new(path) }
}
