//! What a folder has and training does not see, counted by the reason.

use crate::dataset::Dropped;
use crate::scan::Listing;
use std::collections::BTreeMap;

/// Why something is left out, most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Reason {
    /// A file that cannot be read.
    Unreadable,
    /// A clip whose sound cannot be read.
    Sound,
    /// A clip without a single window.
    TooShort,
    /// A file without a caption.
    NoCaption,
    /// A file whose caption cannot be read.
    Caption,
    /// A caption without a file.
    Missing,
    /// A caption of a file of another kind.
    Other,
    /// A line of metadata that says nothing, or a sample of a shard that holds nothing.
    Line,
    /// Metadata or members of shards of a kind that is not read.
    Unread,
    /// A folder or a shard that was not looked into, or not to its end.
    Folder,
}

/// What was left out, by reason.
#[derive(Debug, Default)]
pub(crate) struct LeftOut(BTreeMap<Reason, Vec<String>>);

impl LeftOut {
    /// One more; `example` is its name, and what else helps to find what is wrong.
    pub fn push(&mut self, reason: Reason, example: String) {
        self.0.entry(reason).or_default().push(printable(&example));
    }

    /// All of these, each a name.
    pub fn extend(&mut self, reason: Reason, examples: impl IntoIterator<Item = String>) {
        examples.into_iter().for_each(|example| self.push(reason, example));
    }

    /// The reason for most of it.
    pub fn most(&self) -> Option<Reason> {
        self.0.iter().rev().max_by_key(|(_, examples)| examples.len()).map(|(&reason, _)| reason)
    }

    /// What listing folders or shards found that is no file to train on.
    pub fn note(&mut self, listing: Listing) {
        let Listing { missing, others, broken, unread, passed, found: _ } = listing;
        self.extend(Reason::Missing, missing);
        self.extend(Reason::Other, others);
        self.extend(Reason::Line, broken);
        self.extend(Reason::Unread, unread);
        self.extend(Reason::Folder, passed);
    }

    pub fn has(&self, reason: Reason) -> bool {
        self.0.contains_key(&reason)
    }

    /// For a report of a folder or of shards; `too_short` says what a clip would have to be.
    pub fn summary(&self, too_short: &str, shards: bool) -> Vec<Dropped> {
        let words = |reason| match reason {
            Reason::Unreadable => "unreadable",
            Reason::Sound => "with a sound that cannot be read",
            Reason::TooShort => too_short,
            Reason::NoCaption => "without a caption",
            Reason::Caption => "with a caption that cannot be read",
            Reason::Missing => "listed in the metadata but not there",
            Reason::Other => "listed in the metadata, but files of another kind",
            Reason::Line if shards => "samples without a member that is read",
            Reason::Line => "lines of metadata that cannot be used",
            Reason::Unread if shards => "kinds of members that are not read",
            Reason::Unread => "files of metadata of a kind that is not read (metadata.jsonl and metadata.csv are)",
            Reason::Folder if shards => "shards that are not read, or not to their ends",
            Reason::Folder => "folders that were not looked into",
        };
        let dropped = |(&reason, examples): (&Reason, &Vec<String>)| Dropped::of(words(reason), examples);
        self.0.iter().map(dropped).collect()
    }
}

/// A name with its line breaks and other control characters written out, so that it stays on its line.
pub(crate) fn printable(name: &str) -> String {
    let written = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    name.chars().map(written).collect()
}

/// The same in a sentence.
pub(crate) fn told(dropped: &[Dropped]) -> String {
    dropped.iter().map(|d| format!("{} {} (such as {})", d.count, d.reason, d.example)).collect::<Vec<_>>().join("; ")
}
