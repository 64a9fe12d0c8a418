//! Plugins built by the tests, in folders of their own, and a loader for them.

#![allow(dead_code, clippy::unwrap_used)]

use musiva_plugin_host::{Consent, Isolation, Loaded, Loader, Manifest, Prober, find, platform, vet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

/// A folder that holds plugins' folders, and a store.
pub struct Shelf(tempfile::TempDir);

impl Default for Shelf {
    fn default() -> Self {
        Self(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())
    }
}

impl Shelf {
    /// Where a plugin's folder is.
    pub fn folder(&self, name: &str) -> PathBuf {
        self.0.path().join("plugins").join(name)
    }

    /// Compiles a C file of the repository to a plugin's library.
    pub fn compile(&self, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        let compiler = if source.ends_with(".cpp") { "c++" } else { "cc" };
        self.compile_by(compiler, name, source, arguments)
    }

    /// The same by another compiler.
    pub fn compile_by(&self, compiler: &str, name: &str, source: &str, arguments: &[&str]) -> PathBuf {
        let folder = self.folder(name);
        std::fs::create_dir_all(&folder).unwrap();
        let library = folder.join("libplugin.so");
        let made = Command::new(compiler)
            .args(["-O1", "-fPIC", "-shared", "-I"])
            .arg(root().join("plugins/include"))
            .args(arguments)
            .arg(root().join(source))
            .arg("-o")
            .arg(&library)
            .args(["-lm", "-lpthread"])
            .output()
            .expect("a C and a C++ compiler, called cc and c++");
        assert!(made.status.success(), "{name}: {}", String::from_utf8_lossy(&made.stderr));
        library
    }

    /// Writes the manifest of a plugin.
    pub fn manifest(&self, name: &str, id: &str, kind: &str, version: &str) {
        let text = format!(
            "id = \"{id}\"\nkind = \"{kind}\"\nversion = \"{version}\"\nabi = \"1.0\"\n[library.{}]\nfile = \"libplugin.so\"\n",
            platform()
        );
        std::fs::create_dir_all(self.folder(name)).unwrap();
        std::fs::write(self.folder(name).join("plugin.toml"), text).unwrap();
    }

    /// A loader that finds the plugins of this shelf, and whom the user allows these ids.
    pub fn loader(&self, allowed: &[&str]) -> Loader {
        Loader {
            search: vec![self.0.path().join("plugins")],
            store: self.0.path().join("store"),
            consent: Consent { allowed: allowed.iter().map(|id| (*id).to_owned()).collect(), ..Consent::default() },
            prober: Prober {
                command: vec![env!("CARGO_BIN_EXE_musiva-plugin-child").into(), "probe".into()],
                limit: Duration::from_secs(10),
            },
            isolation: None,
        }
    }

    /// Loads one that lies there.
    pub fn load(&self, name: &str, id: &str) -> musiva_core::Result<Loaded> {
        let manifest = Manifest::read(&self.folder(name))?;
        self.loader(&[id]).load_folder(&self.folder(name), &manifest, None)
    }

    /// As [`Shelf::load`], to run in processes of its own.
    pub fn isolate(&self, name: &str, id: &str, limit: Duration) -> musiva_core::Result<Loaded> {
        let command = vec![env!("CARGO_BIN_EXE_musiva-plugin-child").into(), "serve".into()];
        let loader = Loader { isolation: Some(Isolation { command, limit }), ..self.loader(&[id]) };
        loader.load_folder(&self.folder(name), &Manifest::read(&self.folder(name))?, None)
    }

    /// SHA-256 of one's library.
    pub fn sha256(&self, name: &str) -> String {
        vet(&self.folder(name).join("libplugin.so")).unwrap().sha256
    }

    /// How many plugins there are.
    pub fn count(&self) -> usize {
        find(&[self.0.path().join("plugins")]).len()
    }
}
