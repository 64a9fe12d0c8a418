//! `man`: the manual pages.

use super::args::OverwriteArgs;
use super::print::{print, say};
use clap::Command;
use clap_mangen::{Man, generate_to};
use musiva::{Error, Result, save};
use std::fs;
use std::path::{Path, PathBuf};

/// Print the manual page, or write those of all commands to a folder
///
///   musiva man | man -l -
///   musiva man -o ~/.local/share/man/man1
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// A folder for the pages of all commands: musiva.1, musiva-train.1, …
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    #[command(flatten)]
    overwrite: OverwriteArgs,
}

pub fn run(args: &Args, command: Command) -> Result<()> {
    let Some(folder) = &args.output else {
        let mut page = Vec::new();
        Man::new(command).render(&mut page).map_err(|error| Error::io(Path::new("musiva.1"), "write it", error))?;
        print(&String::from_utf8_lossy(&page));
        return Ok(());
    };
    // A folder that cannot be listed cannot be written to, which is said when it is.
    for entry in folder.read_dir().into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name.to_string_lossy().starts_with("musiva") && name.to_string_lossy().ends_with(".1") {
            save::vacant(&entry.path(), args.overwrite.overwrite)?;
        }
    }
    let made = fs::create_dir_all(folder).and_then(|()| generate_to(command, folder));
    made.map_err(|error| Error::io(folder, "write the manual pages", error))?;
    say!("{}: the manual pages", folder.display());
    Ok(())
}
