//! The command `musiva`: arguments, progress, words and exit codes. One file a subcommand, on the library's public
//! interface alone.

mod args;
mod check;
mod compare;
mod completions;
mod data;
mod decode;
mod evaluate;
mod gallery;
mod generate;
mod inspect;
mod man;
mod new;
mod plugin;
mod print;
mod progress;
mod reconstruct;
mod schema;
mod tokenize;
mod train;

use clap::{ArgAction, CommandFactory, Parser, Subcommand};
use musiva::{Error, ErrorKind, Result};
use print::tell;
use std::{error::Error as _, panic, process::ExitCode};
use tracing_subscriber::EnvFilter;

/// Our own bugs: everything that [`ErrorKind`] does not name.
const UNEXPECTED: u8 = 1;

const EXIT_CODES: &str = "\
Exit codes:
  0  done                     5  weights, tokens or checkpoints
  1  unexpected, a bug        6  the device
  2  the command line         7  the file system
  3  the recipe               8  unsupported
  4  media or data            9  training went wrong
                             10  a plugin
                            130  interrupted";

const LONG_ABOUT: &str = "\
Generates video, sound and text from tokens.

A recipe (TOML) wires a dataset, tokenizers, a Transformer and a sampler; this command checks, trains, runs and \
measures it.

  musiva generate text-to-video --prompt \"a red ring moves left\" -o ring.mp4
  musiva new my-clips
  musiva check my-recipe.toml
  musiva train my-recipe.toml --run runs/first
  musiva evaluate text-to-video";

#[derive(Parser)]
#[command(name = "musiva", version, about = "Generates video, sound and text from tokens", long_about = LONG_ABOUT,
          after_help = EXIT_CODES, max_term_width = 110)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// Log more; twice: even more. RUST_LOG overrides it
    #[arg(short, long, global = true, action = ArgAction::Count)]
    verbose: u8,
}

#[derive(Subcommand)]
enum Command {
    New(new::Args),
    Generate(Box<generate::Args>),
    Tokenize(tokenize::Args),
    Decode(decode::Args),
    Reconstruct(reconstruct::Args),
    Check(check::Args),
    Train(train::Args),
    Evaluate(evaluate::Args),
    Gallery(gallery::Args),
    Compare(compare::Args),
    Data(data::Args),
    Inspect(inspect::Args),
    Plugin(plugin::Args),
    Schema(schema::Args),
    Completions(completions::Args),
    Man(man::Args),
}

/// Runs the command line.
pub fn main() -> ExitCode {
    musiva::keep_freed_memory();
    musiva::use_current_thread_in_pool();
    let cli = Cli::parse();
    let level = ["warn", "info", "debug"][usize::from(cli.verbose.min(2))];
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).without_time().init();
    let run = || match &cli.command {
        Command::New(args) => new::run(args),
        Command::Generate(args) => generate::run(args),
        Command::Tokenize(args) => tokenize::run(args),
        Command::Decode(args) => decode::run(args),
        Command::Reconstruct(args) => reconstruct::run(args),
        Command::Check(args) => check::run(args),
        Command::Train(args) => train::run(args),
        Command::Evaluate(args) => evaluate::run(args),
        Command::Gallery(args) => gallery::run(args),
        Command::Compare(args) => compare::run(args),
        Command::Data(args) => data::run(args),
        Command::Inspect(args) => inspect::run(args),
        Command::Plugin(args) => plugin::run(args),
        Command::Schema(args) => schema::run(args),
        Command::Completions(args) => completions::run(args, Cli::command()),
        Command::Man(args) => man::run(args, Cli::command()),
    };
    match panic::catch_unwind(panic::AssertUnwindSafe(run)) {
        Ok(outcome) => finish(outcome),
        // A plugin that fails where the contract has no place for an error unwinds with it.
        Err(payload) => match payload.downcast::<Error>() {
            Ok(error) => finish(Err(*error)),
            Err(_) => {
                tell!("error: this is a bug in musiva; please report it with the lines above");
                ExitCode::from(UNEXPECTED)
            }
        },
    }
}

/// The one place where errors become text and exit codes.
fn finish(outcome: Result<()>) -> ExitCode {
    let lost = || Error::new(ErrorKind::Io, "standard output", "it could not be written").hint("is its disk full?");
    let Err(error) = outcome.and_then(|()| if print::lost() { Err(lost()) } else { Ok(()) }) else {
        return ExitCode::SUCCESS;
    };
    if error.kind() == ErrorKind::Interrupted {
        tell!("{error}");
    } else {
        tell!("error: {error}");
    }
    let mut source = error.source();
    while let Some(cause) = source {
        tell!("  caused by: {cause}");
        source = cause.source();
    }
    ExitCode::from(exit_code(&error))
}

fn exit_code(error: &Error) -> u8 {
    match error.kind() {
        ErrorKind::Recipe => 3,
        ErrorKind::Media | ErrorKind::Data => 4,
        ErrorKind::Weights => 5,
        ErrorKind::Device => 6,
        ErrorKind::Io => 7,
        ErrorKind::Unsupported => 8,
        ErrorKind::Training => 9,
        ErrorKind::Plugin => 10,
        ErrorKind::Interrupted => 130,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }
}
