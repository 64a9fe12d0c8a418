//! What the host starts in child processes: `musiva plugin probe` and `musiva plugin serve` do the same; this is for
//! other programs that embed the host.
//!
//!   musiva-plugin-child probe LIBRARY REPORT   loads a library, looks at it and writes a report
//!   musiva-plugin-child serve LIBRARY          loads a library and runs its plugins for the host that started this

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let done = match &arguments[..] {
        [what, library, report] if what == "probe" => musiva_plugin_host::probe(Path::new(library), Path::new(report)),
        [what, library] if what == "serve" => musiva_plugin_host::serve(Path::new(library)),
        _ => {
            eprintln!("error: expected `probe LIBRARY REPORT` or `serve LIBRARY`");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(10)
        }
    }
}
