//! `plugin new`: a project that builds and passes `plugin check`.

use crate::cli::print::say;
use musiva::{Error, ErrorKind, Result, files};
use std::path::{Path, PathBuf};

/// The headers, so that a project in C needs nothing else.
const HEADERS: [(&str, &str); 7] = [
    ("plugin.h", include_str!("../../../plugins/include/musiva/plugin.h")),
    ("tokenizer.h", include_str!("../../../plugins/include/musiva/tokenizer.h")),
    ("backbone.h", include_str!("../../../plugins/include/musiva/backbone.h")),
    ("conditioner.h", include_str!("../../../plugins/include/musiva/conditioner.h")),
    ("sampler.h", include_str!("../../../plugins/include/musiva/sampler.h")),
    ("metric.h", include_str!("../../../plugins/include/musiva/metric.h")),
    ("dataset.h", include_str!("../../../plugins/include/musiva/dataset.h")),
];

/// Create the project of a new plugin
///
///   musiva plugin new org.example.mine --kind tokenizer --lang rust
///   musiva plugin new org.example.mine --kind tokenizer --lang c --into ./mine
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// Its id, a reverse domain: what recipes write after `kind =`
    #[arg(value_name = "ID")]
    id: String,
    /// The kind of component
    #[arg(long, value_enum)]
    kind: Kind,
    /// The language
    #[arg(long, value_enum, default_value_t = Language::Rust)]
    lang: Language,
    /// The project's new folder; by default named after the last part of the id
    #[arg(long, value_name = "DIR")]
    into: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Kind {
    Tokenizer,
    Backbone,
    Conditioner,
    Sampler,
    Metric,
    Dataset,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Language {
    Rust,
    C,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Self::Tokenizer => "tokenizer",
            Self::Backbone => "backbone",
            Self::Conditioner => "conditioner",
            Self::Sampler => "sampler",
            Self::Metric => "metric",
            Self::Dataset => "dataset",
        }
    }

    fn rust(self) -> &'static str {
        match self {
            Self::Tokenizer => include_str!("../../../plugins/templates/rust/tokenizer.rs"),
            Self::Backbone => include_str!("../../../plugins/templates/rust/backbone.rs"),
            Self::Conditioner => include_str!("../../../plugins/templates/rust/conditioner.rs"),
            Self::Sampler => include_str!("../../../plugins/templates/rust/sampler.rs"),
            Self::Metric => include_str!("../../../plugins/templates/rust/metric.rs"),
            Self::Dataset => include_str!("../../../plugins/templates/rust/dataset.rs"),
        }
    }
}

pub fn run(args: &Args) -> Result<()> {
    let last = args.id.rsplit('.').next().unwrap_or_default();
    let letters = |part: &str| part.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-');
    let good = args.id.contains('.') && args.id.split('.').all(|part| !part.is_empty() && letters(part));
    if !good || !last.starts_with(|c: char| c.is_ascii_lowercase()) {
        return Err(Error::new(
            ErrorKind::Plugin,
            &args.id,
            "this is no id: expected a reverse domain of a-z, 0-9 and `-`",
        )
        .hint("name it like org.example.mine"));
    }
    let folder = args.into.clone().unwrap_or_else(|| last.into());
    if folder.exists() {
        let place = folder.display().to_string();
        return Err(Error::new(ErrorKind::Io, place, "this path exists already").hint("name a new folder by --into"));
    }
    let library = last.replace('-', "_");
    let build = match args.lang {
        Language::Rust => rust(args, &folder, last, &library)?,
        Language::C => c(args, &folder, &library)?,
    };
    let manifest = format!(
        "id = \"{}\"\nkind = \"{}\"\nversion = \"0.1.0\"\nabi = \"1.0\"\nsummary = \"\"\nlicense = \"\"\n\n\
         [library.{}]\nfile = \"lib{library}.so\"\n",
        args.id,
        args.kind.name(),
        musiva_plugin_host::platform()
    );
    write(&folder, "plugin.toml", &manifest)?;
    let place = folder.display();
    say!("{place}: a {} in {:?}. Go on with", args.kind.name(), args.lang);
    say!("  cd {place}\n  {build}\n  musiva plugin check . --allow-plugin {}", args.id);
    Ok(())
}

fn write(folder: &Path, name: &str, text: &str) -> Result<()> {
    files::write(&folder.join(name), text.as_bytes())
}

/// The project in Rust; how to build it.
fn rust(args: &Args, folder: &Path, name: &str, library: &str) -> Result<String> {
    // The kit of the very source that this command was built from, where that is still there.
    let kit = Path::new(env!("CARGO_MANIFEST_DIR")).join("plugins/sdk");
    let kit = match kit.is_dir() {
        true => format!("{{ path = {:?} }}", kit.display().to_string()),
        false => format!("{:?}", env!("CARGO_PKG_VERSION")),
    };
    let cargo = format!(
        "[package]\nname = \"{name}\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nmusiva-plugin = {kit}\n\n[workspace]\n"
    );
    write(folder, "Cargo.toml", &cargo)?;
    write(folder, "src/lib.rs", &args.kind.rust().replace("org.example.new", &args.id))?;
    write(folder, ".gitignore", "target\n*.so\n")?;
    Ok(format!("cargo build --release && cp target/release/lib{library}.so ."))
}

/// The project in C; how to build it.
fn c(args: &Args, folder: &Path, library: &str) -> Result<String> {
    if args.kind != Kind::Tokenizer {
        let message = format!("there is no template of a {} in C", args.kind.name());
        return Err(Error::new(ErrorKind::Unsupported, "--lang", message)
            .hint("begin with --kind tokenizer and the headers beside it, or use --lang rust"));
    }
    for (name, text) in HEADERS {
        write(folder, &format!("include/musiva/{name}"), text)?;
    }
    let source = include_str!("../../../plugins/templates/c/tokenizer.c").replace("org.example.new", &args.id);
    write(folder, &format!("{library}.c"), &source)?;
    write(folder, ".gitignore", "*.so\n")?;
    Ok(format!("cc -std=c99 -O2 -fPIC -shared -I include {library}.c -o lib{library}.so"))
}
