//! `schema`: the recipe language.

use super::print::{print, say};
use musiva::compare::ComparisonFile;
use musiva::recipe::{published, reference};
use musiva::{Result, registry};

/// Print the JSON Schema of the recipe language, for editors
///
/// Of a recipe that extends another it requires nothing that the other may say.
///
///   musiva schema > recipe.schema.json
///   musiva schema --markdown > docs/recipes.md
///   musiva schema --comparison > comparison.schema.json
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// As a Markdown page
    #[arg(long)]
    markdown: bool,
    /// Of the files of `musiva compare` instead
    #[arg(long, conflicts_with = "markdown")]
    comparison: bool,
}

pub fn run(args: &Args) -> Result<()> {
    if args.comparison {
        say!("{:#}", ComparisonFile::json_schema());
        return Ok(());
    }
    let registry = registry()?;
    match args.markdown {
        true => print(&reference(&registry)),
        false => say!("{:#}", published(&registry)),
    }
    Ok(())
}
