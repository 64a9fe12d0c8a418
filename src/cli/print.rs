//! What is printed.

use serde::Serialize;
use std::io::{self, Write};
use std::sync::atomic::{AtomicBool, Ordering};

/// Prints a line on the standard output.
macro_rules! say {
    ($($text:tt)*) => { $crate::cli::print::print(&format!("{}\n", format_args!($($text)*))) };
}
pub(crate) use say;

/// Prints a line on the standard error.
macro_rules! tell {
    ($($text:tt)*) => { $crate::cli::print::tell_text(&format!("{}\n", format_args!($($text)*))) };
}
pub(crate) use tell;

/// Whether something could not be written to the standard output that somebody wants.
static LOST: AtomicBool = AtomicBool::new(false);

/// Prints text on the standard output; who closed it, as `head` does, wants no more of it, but still the files that
/// are to be written. Where it cannot be written otherwise, the command goes on and [`lost`] says so.
pub fn print(text: &str) {
    let mut out = io::stdout().lock();
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    if written.is_err_and(|error| error.kind() != io::ErrorKind::BrokenPipe) {
        LOST.store(true, Ordering::Relaxed);
    }
}

/// Whether a part of what was printed is lost: the disk of the standard output is full.
pub fn lost() -> bool {
    LOST.load(Ordering::Relaxed)
}

/// Prints text on the standard error. Where that cannot be written there is nobody to be told, and no work is lost for it.
pub fn tell_text(text: &str) {
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// Prints a value for programs.
pub fn json(value: &impl Serialize) {
    // Plain numbers and strings are always JSON.
    say!("{}", serde_json::to_string_pretty(value).unwrap_or_default());
}

/// Aligns the columns of a table, two spaces apart; numbers are the caller's to pad.
pub fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..columns).map(|column| width(column).unwrap_or(0)).collect();
    let line = |row: &Vec<String>| {
        let cells = row.iter().zip(&widths).map(|(cell, width)| {
            let fill = " ".repeat(width - cell.chars().count());
            format!("{cell}{fill}")
        });
        format!("{}\n", cells.collect::<Vec<_>>().join("  ").trim_end())
    };
    rows.iter().map(line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_aligned() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(table(&[row(["a→b", "1"]), row(["long", "2"])]), "a→b   1\nlong  2\n");
    }
}
