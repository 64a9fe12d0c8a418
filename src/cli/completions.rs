//! `completions`: what a shell completes.

use super::print::print;
use clap::Command;
use clap_complete::{Shell, generate};
use musiva::Result;

/// Print the completions of a shell: commands, options and their values
///
///   musiva completions bash > ~/.local/share/bash-completion/completions/musiva
///   musiva completions zsh > ~/.zfunc/_musiva
///   musiva completions fish > ~/.config/fish/completions/musiva.fish
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
pub struct Args {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

pub fn run(args: &Args, mut command: Command) -> Result<()> {
    let mut script = Vec::new();
    let name = command.get_name().to_owned();
    generate(args.shell, &mut command, name, &mut script);
    print(&String::from_utf8_lossy(&script));
    Ok(())
}
