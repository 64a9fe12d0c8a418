//! What is wrong with a recipe, all at once, each with the line it stands in.

use super::source::Place;
use crate::{Error, ErrorKind};
use serde::{Serialize, Serializer, ser::SerializeStruct};
use std::fmt;

/// As many are printed; the rest is counted.
const SHOWN: usize = 50;
/// As many characters of a line are printed.
const WIDE: usize = 140;

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// The recipe cannot be used.
    Error,
    /// Worth knowing.
    Note,
}

/// One thing that is wrong, its place and its hint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// Dotted path of the key, e.g. `backbone.heads`; empty where it is about a whole file.
    pub path: String,
    /// Where it was written.
    pub place: Option<Place>,
    /// What was found and what was expected.
    pub message: String,
    /// The smallest edit that mends it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// An error at the key `path`.
    pub fn error(path: impl Into<String>, message: impl Into<String>) -> Self {
        let (path, message) = (path.into(), message.into());
        Self { severity: Severity::Error, path, place: None, message, hint: None }
    }

    /// The same as a note.
    pub fn note(mut self) -> Self {
        self.severity = Severity::Note;
        self
    }

    /// Sets the place.
    pub fn at(mut self, place: impl Into<Option<Place>>) -> Self {
        self.place = place.into();
        self
    }

    /// Sets the smallest edit that mends it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = match self.severity {
            Severity::Error => "error",
            Severity::Note => "note",
        };
        write!(f, "{severity}: ")?;
        if !self.path.is_empty() {
            write!(f, "`{}`: ", printable(&self.path))?;
        }
        writeln!(f, "{}", printable(&self.message))?;
        let mut margin = 1;
        if let Some(place) = &self.place {
            let lines = Lines::of(place);
            let number = if place.document.argument { String::new() } else { lines.number.to_string() };
            margin = number.len().max(1);
            let blank = " ".repeat(margin);
            let name = printable(&place.document.name);
            match place.document.argument {
                true => writeln!(f, "{blank}--> {name}")?,
                false => writeln!(f, "{blank}--> {name}:{}:{}", lines.number, lines.column)?,
            }
            if !lines.text.is_empty() {
                writeln!(f, "{blank} |")?;
                writeln!(f, "{number:blank$} | {}", lines.text, blank = margin)?;
                writeln!(f, "{blank} | {}{}", lines.indent, "^".repeat(lines.length))?;
            }
        }
        if let Some(hint) = &self.hint {
            writeln!(f, "{} = hint: {}", " ".repeat(margin), printable(hint))?;
        }
        Ok(())
    }
}

/// For programs: `check --json`.
impl Serialize for Diagnostic {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut fields = serializer.serialize_struct("Diagnostic", 7)?;
        fields.serialize_field("severity", &self.severity)?;
        fields.serialize_field("path", &self.path)?;
        let lines = self.place.as_ref().filter(|place| !place.document.argument).map(Lines::of);
        fields.serialize_field("file", &self.place.as_ref().map(|place| &place.document.name))?;
        fields.serialize_field("line", &lines.as_ref().map(|lines| lines.number))?;
        fields.serialize_field("column", &lines.as_ref().map(|lines| lines.column))?;
        fields.serialize_field("message", &self.message)?;
        fields.serialize_field("hint", &self.hint)?;
        fields.end()
    }
}

/// A place as readers count: lines and columns from one, columns in characters.
struct Lines {
    number: usize,
    column: usize,
    /// The line, shortened to what fits.
    text: String,
    /// As wide as what stands before the place.
    indent: String,
    /// How many characters to underline, at least one.
    length: usize,
}

impl Lines {
    fn of(place: &Place) -> Self {
        let text = &place.document.text;
        // A span that some bug puts inside a character must not break the message about it.
        let start = text.floor_char_boundary(place.span.start);
        let end = text.ceil_char_boundary(place.span.end).max(start);
        let from = text[..start].rfind('\n').map_or(0, |at| at + 1);
        let to = text[start..].find('\n').map_or(text.len(), |at| start + at);
        let line: Vec<char> = text[from..to].trim_end_matches('\r').chars().collect();
        let before = text[from..start].chars().count().min(line.len());
        let length = text[start..end.min(to).max(start)].trim_end().chars().count().max(1);
        // A window of the line that shows the place.
        let first = if before > WIDE * 2 / 3 { before - WIDE / 3 } else { 0 };
        let last = line.len().min(first + WIDE);
        let (head, tail) = (if first > 0 { "…" } else { "" }, if last < line.len() { "…" } else { "" });
        let shown: String = line[first..last].iter().collect();
        let indent = line[first..before].iter().map(|&c| if c == '\t' { '\t' } else { ' ' });
        Self {
            number: text[..from].matches('\n').count() + 1,
            column: before + 1,
            text: format!("{head}{}{tail}", printable(&shown)).trim_end().to_owned(),
            indent: head.chars().map(|_| ' ').chain(indent).collect(),
            length: length.min((last + 1).saturating_sub(before)).max(1),
        }
    }
}

/// A recipe may come from anywhere: what it says must not steer the terminal.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\t' && c != '\n' { '\u{fffd}' } else { c }).collect()
}

/// Everything that is wrong with a recipe. Never empty where it is an error.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Report(pub Vec<Diagnostic>);

impl Report {
    /// Whether there is an error, not only notes.
    pub fn failed(&self) -> bool {
        self.errors() > 0
    }

    /// How many errors there are.
    pub fn errors(&self) -> usize {
        self.0.iter().filter(|diagnostic| diagnostic.severity == Severity::Error).count()
    }

    /// In the order of the files and their lines; the same finding at the same place only once.
    pub fn sorted(mut self) -> Self {
        let key = |diagnostic: &Diagnostic| {
            let place = diagnostic.place.as_ref();
            (place.map_or(0, |place| place.document.rank), place.map_or(0, |place| place.span.start))
        };
        self.0.sort_by_key(key);
        self.0.dedup();
        self
    }

    /// `Ok` where there is no error.
    pub fn into_result(self) -> Result<(), Self> {
        if self.failed() { Err(self.sorted()) } else { Ok(()) }
    }
}

impl From<Diagnostic> for Report {
    fn from(diagnostic: Diagnostic) -> Self {
        Self(vec![diagnostic])
    }
}

impl From<Report> for Error {
    fn from(report: Report) -> Self {
        let place = report.0.iter().find_map(|diagnostic| diagnostic.place.as_ref());
        let place = place.map_or(String::new(), |place| place.document.name.clone());
        let count = match report.errors() {
            1 => "1 error".to_owned(),
            count => format!("{count} errors"),
        };
        Error::new(ErrorKind::Recipe, place, format!("{count} in this recipe\n\n{}", report.to_string().trim_end()))
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, diagnostic) in self.0.iter().take(SHOWN).enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{diagnostic}")?;
        }
        if self.0.len() > SHOWN {
            writeln!(f, "\nand {} more", self.0.len() - SHOWN)?;
        }
        Ok(())
    }
}

impl std::error::Error for Report {}
