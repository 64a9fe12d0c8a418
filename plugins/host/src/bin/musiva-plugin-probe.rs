//! Loads a library, looks at it and writes a report: what the host starts in a child process before it loads a library
//! itself. `musiva plugin probe` does the same; this is for other programs that embed the host.
//!
//!   musiva-plugin-probe LIBRARY REPORT

#![forbid(unsafe_code)]

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args_os().skip(1).collect();
    let [library, report] = &arguments[..] else {
        eprintln!("error: expected the paths of a library and of a report");
        return ExitCode::from(2);
    };
    match musiva_plugin_host::probe(Path::new(library), Path::new(report)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(10)
        }
    }
}
