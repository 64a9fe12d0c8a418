//! `schema`: the recipe language.

use super::print::{print, say};
use musiva::recipe::{published, reference};
use musiva::{Result, registry};

/// Print the JSON Schema of the recipe language, for editors
///
/// Of a recipe that extends another it requires nothing that the other may say.
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
        false => say!("{:#}", published(&registry)),
    }
    Ok(())
}
