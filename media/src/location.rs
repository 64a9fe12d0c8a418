//! Where media lie: a file of their own, or a part of one, as the members of an archive.

use crate::source::ReadSeek;
use musiva_core::{Error, Result};
use std::{
    ffi::OsString,
    fs::File,
    io::{self, BufReader, Read, Seek, SeekFrom},
    ops::Range,
    path::{Path, PathBuf},
};

/// A file, or a part of one: a member of a tar archive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Location {
    path: PathBuf,
    /// Which of its bytes; `None`: all.
    part: Option<Range<u64>>,
    /// What messages call it.
    name: PathBuf,
}

impl Location {
    /// A whole file.
    pub fn file(path: impl Into<PathBuf>) -> Self {
        let path = path.into();
        Self { name: path.clone(), path, part: None }
    }

    /// The bytes `part` of a file, which messages call `name`.
    pub fn part(path: impl Into<PathBuf>, part: Range<u64>, name: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), part: Some(part), name: name.into() }
    }

    /// What messages call it.
    pub fn name(&self) -> &Path {
        &self.name
    }

    /// The file that it lies in.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Which bytes of the file it is; `None`: all.
    pub(crate) fn bytes(&self) -> Option<Range<u64>> {
        self.part.clone()
    }

    pub(crate) fn open(&self) -> Result<Box<dyn ReadSeek>> {
        let failed = |error| Error::io(&self.name, "open it", error);
        let file = File::open(&self.path).map_err(failed)?;
        Ok(match &self.part {
            None => Box::new(BufReader::new(file)),
            Some(part) => Box::new(BufReader::new(Section::new(file, part.clone()).map_err(failed)?)),
        })
    }

    /// The same in ffmpeg's words.
    pub(crate) fn url(&self) -> OsString {
        // Without the prefix, a name such as `concat:a|b` or `-y` would be an order.
        let mut url = match &self.part {
            None => OsString::new(),
            Some(part) => OsString::from(format!("subfile,,start,{},end,{},,:", part.start, part.end)),
        };
        url.push("file:");
        url.push(&self.path);
        url
    }
}

/// Some of the bytes of a file, as a file.
struct Section {
    file: File,
    part: Range<u64>,
    /// The byte of the file that comes next.
    at: u64,
}

impl Section {
    fn new(mut file: File, part: Range<u64>) -> io::Result<Self> {
        let at = file.seek(SeekFrom::Start(part.start))?;
        Ok(Self { file, part, at })
    }
}

impl Read for Section {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.part.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let most = buffer.len().min(left);
        let count = self.file.read(&mut buffer[..most])?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Section {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let outside = || io::Error::new(io::ErrorKind::InvalidInput, "a position before the start");
        let at = match to {
            SeekFrom::Start(offset) => self.part.start.checked_add(offset),
            SeekFrom::End(offset) => self.part.end.checked_add_signed(offset),
            SeekFrom::Current(offset) => self.at.checked_add_signed(offset),
        };
        let at = at.filter(|&at| at >= self.part.start).ok_or_else(outside)?;
        self.at = self.file.seek(SeekFrom::Start(at))?;
        Ok(self.at - self.part.start)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_file_is_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, b"0123456789").unwrap();
        let part = Location::part(&path, 3..8, "a.tar/b");
        let mut file = part.open().unwrap();
        let read = |file: &mut Box<dyn ReadSeek>| {
            let mut text = String::new();
            file.read_to_string(&mut text).unwrap();
            text
        };
        assert_eq!(read(&mut file), "34567");
        assert_eq!(file.seek(SeekFrom::Start(2)).unwrap(), 2);
        assert_eq!(read(&mut file), "567");
        assert_eq!(file.seek(SeekFrom::End(-1)).unwrap(), 4);
        assert_eq!(read(&mut file), "7");
        assert_eq!(file.seek(SeekFrom::Current(-3)).unwrap(), 2);
        assert_eq!(file.seek(SeekFrom::Start(99)).unwrap(), 99);
        assert_eq!(read(&mut file), "");
        assert!(file.seek(SeekFrom::End(-6)).is_err() && file.seek(SeekFrom::Current(-200)).is_err());
        assert!(part.url().to_string_lossy().starts_with("subfile,,start,3,end,8,,:file:/"));
        assert_eq!(Location::file("-y").url(), "file:-y");
    }
}
