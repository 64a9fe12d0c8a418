//! The command `musiva`.

#![forbid(unsafe_code)]

mod cli;

use std::process::ExitCode;

/// Too little memory is an error with a hint.
#[global_allocator]
static ALLOCATOR: musiva::Allocator = musiva::Allocator;

fn main() -> ExitCode {
    cli::main()
}
