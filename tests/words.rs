//! Retired words stay out of what users read: the docs and `--help`.
#![allow(clippy::unwrap_used)]

mod lab;

use lab::Lab;
use std::fs;
use std::path::Path;

/// Words of earlier editions, and those to use: docs/glossary.md.
const RETIRED: [(&str, &str); 24] = [
    ("lay on top", "override"),
    ("lays on top", "overrides"),
    ("lay a single key on top", "override a key"),
    ("lays a single key on top", "overrides a single key"),
    ("mend", "hint, or fix"),
    ("mends", "fixes"),
    ("stagger", "frame_offset"),
    ("on_disease", "on_failure"),
    ("disease", "failure mode"),
    ("diseases", "failure modes"),
    ("doctor", "health monitor"),
    ("how-manyeth", "which"),
    ("by other ways", "baseline"),
    ("trainee", "trainable"),
    ("premise", "context"),
    ("flaw", "error"),
    ("flaws", "errors"),
    ("hidden token", "masked token"),
    ("hidden tokens", "masked tokens"),
    ("levels of codes", "codebooks"),
    ("which wants", "which requires"),
    ("are told", "get, or read"),
    ("is told", "gets, or reads"),
    ("field of vectors", "vectors"),
];

#[test]
fn no_page_says_a_retired_word() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"].map(|name| root.join(name)).to_vec();
    let docs = fs::read_dir(root.join("docs")).unwrap().map(|file| file.unwrap().path());
    pages.extend(docs.filter(|file| file.extension().is_some_and(|extension| extension == "md")));
    assert!(pages.iter().any(|page| page.ends_with("docs/recipes.md")));
    let name = |page: &Path| page.strip_prefix(root).unwrap().display().to_string();
    none_in(pages.iter().map(|page| (name(page), fs::read_to_string(page).unwrap())).collect());
}

#[test]
fn no_help_says_a_retired_word() {
    let pages = help(&Lab::bare(), &[]);
    assert!(pages.iter().any(|(name, _)| name == "musiva plugin new --help"));
    none_in(pages);
}

#[test]
fn words_are_found_whole_and_across_lines() {
    let found = |text| found("page", text);
    assert!(found("Staggered, recommended; nothing on top.").is_empty());
    assert_eq!(found("One.\nTwo: Stagger.\n"), ["page:2: \"stagger\": say frame_offset"]);
    assert_eq!(found("`--set` lays\n  on top"), ["page:1: \"lays on top\": say overrides"]);
}

#[track_caller]
fn none_in(pages: Vec<(String, String)>) {
    let found: Vec<String> = pages.iter().flat_map(|(name, text)| found(name, text)).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// `--help` of a command and of those below it: the command line, and what it prints.
fn help(lab: &Lab, command: &[&str]) -> Vec<(String, String)> {
    let line = [command, &["--help"][..]].concat();
    let said = lab.run(&line).succeeds().out;
    let list = said.lines().skip_while(|line| *line != "Commands:").skip(1);
    let list = list.take_while(|line| line.is_empty() || line.starts_with(' '));
    let below = list.filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let below = below.filter(|name| !name.is_empty() && *name != "help");
    let mut pages: Vec<_> = below.flat_map(|name| help(lab, &[command, &[name][..]].concat())).collect();
    pages.push((format!("musiva {}", line.join(" ")), said));
    pages
}

/// Each retired word in `text`, with its line and the word to use.
fn found(name: &str, text: &str) -> Vec<String> {
    // As long as the text, byte by byte.
    let lower = text.to_ascii_lowercase();
    let starts = |&(at, _): &(usize, char)| !lower[..at].ends_with(letter);
    let mut found = Vec::new();
    for (at, _) in lower.char_indices().filter(starts) {
        for (old, new) in RETIRED.iter().filter(|(old, _)| begins(&lower[at..], old)) {
            let line = lower[..at].matches('\n').count() + 1;
            found.push(format!("{name}:{line}: \"{old}\": say {new}"));
        }
    }
    found
}

/// Whether `text` begins with a phrase as whole words, with any space between them.
fn begins(mut text: &str, phrase: &str) -> bool {
    for (i, word) in phrase.split(' ').enumerate() {
        let trimmed = text.trim_start();
        if i > 0 && trimmed.len() == text.len() {
            return false;
        }
        match if i > 0 { trimmed } else { text }.strip_prefix(word) {
            Some(rest) => text = rest,
            None => return false,
        }
    }
    !text.starts_with(letter)
}

fn letter(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}
