//! `plugin`: finds, checks and trusts plugins, and begins new ones.

mod new;

use crate::output::{print, say, table};
use crate::recipes::cache;
use musiva_core::{Error, ErrorKind, Result};
use musiva_plugin_host::{
    Consent, Finding, Found, Isolation, Loader, Manifest, Outcome, Prober, TrustFile, find, platform, search_path, vet,
};
use std::path::{Path, PathBuf};
use std::time::Duration;
use std::{env, fmt};

/// How long the first load of a library may take.
const PROBE: Duration = Duration::from_secs(20);

/// What the user says of plugins.
#[derive(Clone, Debug, Default, clap::Args)]
pub struct PluginArgs {
    /// A folder that holds plugins, or one plugin's own; may be repeated
    #[arg(long, value_name = "DIR")]
    plugin_path: Vec<PathBuf>,
    /// Let this plugin run, for this once; may be repeated
    #[arg(long, value_name = "ID")]
    allow_plugin: Vec<String>,
    /// Run plugins in processes of their own, so that a crash is an error; a call may take SECONDS
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, require_equals = true, default_missing_value = "600",
          value_parser = clap::value_parser!(u32).range(1..))]
    isolate: Option<u32>,
}

impl PluginArgs {
    fn search(&self) -> Vec<PathBuf> {
        let data = set("XDG_DATA_HOME").or_else(|| set("HOME").map(|home| home.join(".local/share")));
        search_path(&self.plugin_path, env::var_os("MUSIVA_PLUGIN_PATH").as_deref(), data.as_deref())
    }

    /// What loads plugins.
    pub fn loader(&self) -> Result<Loader> {
        let program = env::current_exe().map_err(|error| Error::io(Path::new("musiva"), "find itself", error))?;
        let command = |what: &str| vec![program.clone().into(), "plugin".into(), what.into()];
        let limit = |seconds: u32| Duration::from_secs(u64::from(seconds));
        Ok(Loader {
            search: self.search(),
            store: cache()?.join("plugins"),
            consent: Consent { trusted: trust_file()?.hashes()?, allowed: self.allow_plugin.clone() },
            prober: Prober { command: command("probe"), limit: PROBE },
            isolation: self.isolate.map(|seconds| Isolation { command: command("serve"), limit: limit(seconds) }),
        })
    }

    /// The plugin that an id or a folder names.
    fn named(&self, name: &str) -> Result<(PathBuf, Manifest)> {
        let folder = Path::new(name);
        if folder.join("plugin.toml").exists() {
            return Ok((folder.to_owned(), Manifest::read(folder)?));
        }
        let all = find(&self.search());
        let mut fitting = all.into_iter().filter(|found| found.manifest.as_ref().is_ok_and(|m| m.id == name));
        match fitting.next() {
            Some(Found { folder, manifest: Ok(manifest) }) => Ok((folder, manifest)),
            _ => Err(Error::new(
                ErrorKind::Plugin,
                name,
                "there is no plugin of this id, and no folder with a plugin.toml",
            )
            .hint("`musiva plugin list` says which there are")),
        }
    }
}

/// As on the command line, to go on with the same plugins.
impl fmt::Display for PluginArgs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.plugin_path.iter().try_for_each(|folder| write!(f, " --plugin-path '{}'", folder.display()))?;
        self.allow_plugin.iter().try_for_each(|id| write!(f, " --allow-plugin {id}"))?;
        self.isolate.iter().try_for_each(|seconds| write!(f, " --isolate={seconds}"))
    }
}

fn set(name: &str) -> Option<PathBuf> {
    env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from)
}

/// The user's list of libraries that may be loaded.
fn trust_file() -> Result<TrustFile> {
    let folder = set("MUSIVA_CONFIG")
        .or_else(|| set("XDG_CONFIG_HOME").map(|folder| folder.join("musiva")))
        .or_else(|| set("APPDATA").map(|folder| folder.join("musiva")))
        .or_else(|| set("HOME").map(|home| home.join(".config").join("musiva")));
    let missing =
        || Error::new(ErrorKind::Io, "", "there is no folder for settings").hint("set MUSIVA_CONFIG to a folder");
    Ok(TrustFile::new(folder.ok_or_else(missing)?.join("trusted-plugins")))
}

/// Plugins: tokenizers, backbones, samplers and more from shared libraries
///
/// A plugin is a folder with a plugin.toml and a library. A recipe names it by id, version and sha256; only you, by
/// `trust` or --allow-plugin, let it run: a plugin can do whatever you can do.
///
///   musiva plugin new org.example.mine --kind tokenizer --lang rust
///   musiva plugin check ./mine --allow-plugin org.example.mine
///   musiva plugin hash ./mine
///   musiva plugin trust ./mine
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the plugins that are installed; runs none
    List(PluginArgs),
    /// Say what a plugin says of itself; does not run it
    Inspect(Named),
    /// Run a plugin through the conformance kit
    Check(Check),
    /// Let a library be loaded from now on
    Trust(Trust),
    /// Print the sha256 of a plugin's library, and how a recipe names it
    Hash(Named),
    /// Write a new plugin's project
    New(new::Args),
    /// Load a library, look at it, write a report
    #[command(hide = true)]
    Probe { library: PathBuf, report: PathBuf },
    /// Load a library and run its plugins for the command that started this one
    #[command(hide = true)]
    Serve { library: PathBuf },
}

/// A plugin on the command line.
#[derive(clap::Args)]
struct Named {
    /// Its id, or its folder
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    #[command(flatten)]
    plugins: PluginArgs,
}

#[derive(clap::Args)]
struct Check {
    #[command(flatten)]
    named: Named,
    /// Its configuration, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
    /// For programs
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Trust {
    /// The sha256 of a library, or a plugin's id or folder
    #[arg(value_name = "SHA256 or PLUGIN")]
    what: String,
    /// Take the trust back
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    plugins: PluginArgs,
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::List(plugins) => list(plugins),
        Command::Inspect(named) => inspect(named),
        Command::Check(args) => check(args),
        Command::Trust(args) => trust(args),
        Command::Hash(named) => hash(named),
        Command::New(args) => new::run(args),
        Command::Probe { library, report } => musiva_plugin_host::probe(library, report),
        Command::Serve { library } => musiva_plugin_host::serve(library),
    }
}

/// SHA-256 of a plugin's library for this machine.
fn sha256(folder: &Path, manifest: &Manifest) -> Result<String> {
    Ok(vet(&folder.join(&manifest.library()?.file))?.sha256)
}

fn list(plugins: &PluginArgs) -> Result<()> {
    let (search, trusted) = (plugins.search(), trust_file()?.hashes()?);
    let mut rows = Vec::new();
    for found in find(&search) {
        let place = found.folder.display().to_string();
        rows.push(match found.manifest {
            Ok(manifest) => {
                let state = match sha256(&found.folder, &manifest) {
                    Ok(hash) if trusted.contains(&hash) => "trusted",
                    Ok(_) => "not trusted",
                    Err(_) => "not for this machine",
                };
                vec![manifest.id, manifest.kind, manifest.version, state.to_owned(), place]
            }
            Err(error) => vec!["?".into(), String::new(), String::new(), error.message().to_owned(), place],
        });
    }
    if rows.is_empty() {
        let folders: Vec<_> = search.iter().map(|folder| format!("  {}", folder.display())).collect();
        say!("no plugins in\n{}", folders.join("\n"));
    }
    print(&table(&rows));
    Ok(())
}

fn inspect(named: &Named) -> Result<()> {
    let (folder, manifest) = named.plugins.named(&named.plugin)?;
    let row = |key: &str, value: &str| vec![key.to_owned(), value.to_owned()];
    let mut rows = vec![
        row("id", &manifest.id),
        row("kind", &manifest.kind),
        row("version", &manifest.version),
        row("ABI", &manifest.abi),
        row("summary", &manifest.summary),
        row("license", &manifest.license),
        row("folder", &folder.display().to_string()),
    ];
    rows.extend(manifest.library.iter().map(|(platform, library)| row(platform, &library.file)));
    match sha256(&folder, &manifest) {
        Ok(hash) => {
            let trusted = trust_file()?.hashes()?.contains(&hash);
            rows.push(row("sha256", &hash));
            rows.push(row("trusted", if trusted { "yes" } else { "no" }));
        }
        Err(error) => rows.push(row("library", &error.to_string())),
    }
    print(&table(&rows));
    Ok(())
}

fn hash(named: &Named) -> Result<()> {
    let (folder, manifest) = named.plugins.named(&named.plugin)?;
    let hash = sha256(&folder, &manifest)?;
    say!("{hash}\n\nIn a recipe:\n");
    say!("[[plugin]]\nid = \"{}\"\nversion = \"{}\"", manifest.id, manifest.version);
    say!("sha256 = {{ {} = \"{hash}\" }}", platform());
    Ok(())
}

fn trust(args: &Trust) -> Result<()> {
    let file = trust_file()?;
    let (hash, name) = match args.what.len() == 64 && args.what.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        true => (args.what.clone(), String::new()),
        false => {
            let (folder, manifest) = args.plugins.named(&args.what)?;
            (sha256(&folder, &manifest)?, format!("{} {}", manifest.id, manifest.version))
        }
    };
    let place = file.path().display();
    match args.remove {
        true if file.remove(&hash)? => say!("{place}: {hash} is trusted no more"),
        true => say!("{place}: {hash} was not trusted"),
        false if file.add(&hash, &name)? => say!("{place}: {hash} {name} may be loaded from now on"),
        false => say!("{place}: {hash} was trusted already"),
    }
    Ok(())
}

fn check(args: &Check) -> Result<()> {
    let config = serde_json::from_str(&args.config).map_err(|error| {
        Error::new(ErrorKind::Plugin, "--config", format!("this is no JSON: {error}"))
            .hint("write an object, e.g. '{}'")
    })?;
    let (folder, manifest) = args.named.plugins.named(&args.named.plugin)?;
    let loaded = args.named.plugins.loader()?.load_folder(&folder, &manifest, None)?;
    let findings = musiva_plugin_host::check(&loaded, &config);
    match args.json {
        true => say!("{:#}", serde_json::json!({ "plugin": loaded.origin(), "findings": findings })),
        false => {
            say!("{}\n", loaded.origin());
            print(&table(&findings.iter().map(row).collect::<Vec<_>>()));
        }
    }
    let failed = findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Fails(_))).count();
    match failed {
        0 => Ok(()),
        _ => Err(Error::new(ErrorKind::Plugin, &loaded.id, format!("{failed} of {} checks fail", findings.len()))
            .hint("see above; what each function promises stands in plugins/include/musiva")),
    }
}

fn row(finding: &Finding) -> Vec<String> {
    let (mark, words) = match &finding.outcome {
        Outcome::Holds(words) => ("holds", words),
        Outcome::Fails(words) => ("FAILS", words),
        Outcome::Skipped(words) => ("skipped", words),
    };
    vec![finding.name.clone(), mark.into(), words.clone()]
}
