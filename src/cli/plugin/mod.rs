//! `plugin`: finds, checks and trusts plugins, and begins new ones.

mod new;

use super::args::{JsonArgs, PluginArgs};
use super::print::{json, print, say, table};
use musiva::plugin_host::{self, Finding, Found, Manifest, Outcome, find, platform, vet};
use musiva::{Error, ErrorKind, Result, trust_file, trusted};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Plugins: tokenizers, backbones, samplers and more from shared libraries
///
/// A plugin is a folder with a plugin.toml and a library. A recipe names it by id, version and sha256; only you can
/// let it run, by `trust` or --allow-plugin: a plugin can do whatever you can do.
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
    List(List),
    /// Print a plugin's manifest and hash; does not run it
    Inspect(Named),
    /// Run a plugin through the conformance kit
    Check(Check),
    /// Trust a library: it may be loaded from now on
    Trust(Trust),
    /// Print the sha256 of a plugin's library, and how a recipe names it
    Hash(Named),
    /// Create the project of a new plugin
    New(new::Args),
    /// Load a library, look at it, write a report
    #[command(hide = true)]
    Probe { library: PathBuf, report: PathBuf },
    /// Load a library and run its plugins for the command that started this one
    #[command(hide = true)]
    Serve { library: PathBuf },
}

#[derive(clap::Args)]
struct List {
    #[command(flatten)]
    plugins: PluginArgs,
    #[command(flatten)]
    json: JsonArgs,
}

/// A plugin on the command line.
#[derive(clap::Args)]
struct Named {
    /// Its id, or its folder
    #[arg(value_name = "PLUGIN")]
    plugin: String,
    #[command(flatten)]
    plugins: PluginArgs,
    #[command(flatten)]
    json: JsonArgs,
}

#[derive(clap::Args)]
struct Check {
    #[command(flatten)]
    named: Named,
    /// Its configuration, as JSON
    #[arg(long, value_name = "JSON", default_value = "{}")]
    config: String,
}

#[derive(clap::Args)]
struct Trust {
    /// The sha256 of a library, or a plugin's id or folder
    #[arg(value_name = "SHA256 or PLUGIN")]
    what: String,
    /// Revoke the trust
    #[arg(long)]
    remove: bool,
    #[command(flatten)]
    plugins: PluginArgs,
    #[command(flatten)]
    json: JsonArgs,
}

pub fn run(args: &Args) -> Result<()> {
    match &args.command {
        Command::List(args) => list(args),
        Command::Inspect(named) => inspect(named),
        Command::Check(args) => check(args),
        Command::Trust(args) => trust(args),
        Command::Hash(named) => hash(named),
        Command::New(args) => new::run(args),
        Command::Probe { library, report } => plugin_host::probe(library, report),
        Command::Serve { library } => plugin_host::serve(library),
    }
}

/// The plugin that an id or a folder names.
fn find_plugin(plugins: &PluginArgs, name: &str) -> Result<(PathBuf, Manifest)> {
    let folder = Path::new(name);
    if folder.join("plugin.toml").exists() {
        return Ok((folder.to_owned(), Manifest::read(folder)?));
    }
    let all = find(&plugins.options()?.search());
    let mut fitting = all.into_iter().filter(|found| found.manifest.as_ref().is_ok_and(|m| m.id == name));
    match fitting.next() {
        Some(Found { folder, manifest: Ok(manifest) }) => Ok((folder, manifest)),
        _ => {
            Err(Error::new(ErrorKind::Plugin, name, "there is no plugin of this id, and no folder with a plugin.toml")
                .hint("`musiva plugin list` lists the plugins"))
        }
    }
}

/// SHA-256 of a plugin's library for this machine.
fn sha256(folder: &Path, manifest: &Manifest) -> Result<String> {
    Ok(vet(&folder.join(&manifest.library()?.file))?.sha256)
}

fn list(args: &List) -> Result<()> {
    let (search, trusted) = (args.plugins.options()?.search(), trusted()?);
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
    if args.json.json {
        let keys = ["id", "kind", "version", "state", "folder"];
        let plugins = rows.iter().map(|row| keys.into_iter().zip(row).collect::<BTreeMap<_, _>>());
        let search = search.iter().map(|folder| folder.display().to_string());
        json(&json!({ "search": search.collect::<Vec<_>>(), "plugins": plugins.collect::<Vec<_>>() }));
        return Ok(());
    }
    if rows.is_empty() {
        let folders: Vec<_> = search.iter().map(|folder| format!("  {}", folder.display())).collect();
        say!("no plugins in\n{}", folders.join("\n"));
    }
    print(&table(&rows));
    Ok(())
}

fn inspect(named: &Named) -> Result<()> {
    let (folder, manifest) = find_plugin(&named.plugins, &named.plugin)?;
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
            let trusted = trusted()?.contains(&hash);
            rows.push(row("sha256", &hash));
            rows.push(row("trusted", if trusted { "yes" } else { "no" }));
        }
        Err(error) => rows.push(row("library", &error.to_string())),
    }
    match named.json.json {
        true => json(&rows.iter().map(|row| (&row[0], &row[1])).collect::<BTreeMap<_, _>>()),
        false => print(&table(&rows)),
    }
    Ok(())
}

fn hash(named: &Named) -> Result<()> {
    let (folder, manifest) = find_plugin(&named.plugins, &named.plugin)?;
    let hash = sha256(&folder, &manifest)?;
    if named.json.json {
        let pin = json!({ (platform()): hash });
        json(&json!({ "id": manifest.id, "version": manifest.version, "sha256": pin }));
        return Ok(());
    }
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
            let (folder, manifest) = find_plugin(&args.plugins, &args.what)?;
            (sha256(&folder, &manifest)?, format!("{} {}", manifest.id, manifest.version))
        }
    };
    let place = file.path().display();
    let changed = if args.remove { file.remove(&hash)? } else { file.add(&hash, &name)? };
    if args.json.json {
        let file = place.to_string();
        json(&json!({ "file": file, "sha256": hash, "trusted": !args.remove, "changed": changed }));
        return Ok(());
    }
    match (args.remove, changed) {
        (true, true) => say!("{place}: {hash} is trusted no more"),
        (true, false) => say!("{place}: {hash} was not trusted"),
        (false, true) => say!("{place}: {hash} {name} may be loaded from now on"),
        (false, false) => say!("{place}: {hash} was trusted already"),
    }
    Ok(())
}

fn check(args: &Check) -> Result<()> {
    let config = serde_json::from_str(&args.config).map_err(|error| {
        Error::new(ErrorKind::Plugin, "--config", format!("this is no JSON: {error}"))
            .hint("write an object, e.g. '{}'")
    })?;
    let (folder, manifest) = find_plugin(&args.named.plugins, &args.named.plugin)?;
    let loaded = args.named.plugins.options()?.loader()?.load_folder(&folder, &manifest, None)?;
    let findings = plugin_host::check(&loaded, &config);
    match args.named.json.json {
        true => json(&json!({ "plugin": loaded.origin(), "findings": findings })),
        false => {
            say!("{}\n", loaded.origin());
            print(&table(&findings.iter().map(row).collect::<Vec<_>>()));
        }
    }
    let failed = findings.iter().filter(|finding| matches!(finding.outcome, Outcome::Fails(_))).count();
    match failed {
        0 => Ok(()),
        _ => Err(Error::new(ErrorKind::Plugin, &loaded.id, format!("{failed} of {} checks fail", findings.len()))
            .hint("see above; what each function promises is in plugins/include/musiva")),
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
