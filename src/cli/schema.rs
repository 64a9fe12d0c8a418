//! `schema`: the recipe language.

use super::print::{print, say};
use musiva::recipe::{reference, schema};
use musiva::{Result, registry};

/// Print the JSON Schema of the recipe language
///
///   musiva schema > recipe.schema.json
///   musiva schema --markdown > docs/recipes.md
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// As a Markdown page
    #[arg(long)]
    markdown: bool,
}

pub fn run(args: &Args) -> Result<()> {
    let registry = registry()?;
    match args.markdown {
        true => print(&reference(&registry)),
        false => say!("{:#}", schema(&registry)),
    }
    Ok(())
}
