//! Tar archives of small files, as WebDataset has them, by the `tar` crate: names of any length written, what is damaged
//! or too large refused on reading.

use musiva_core::{Error, ErrorKind, Result};
use std::io::{self, Read, Write};
use tar::{Archive, Builder, EntryType, Header};

/// Headers and contents are padded to multiples of it.
const BLOCK: u64 = 512;
/// Bytes of a file that is read, at most; larger ones are refused before anything is allocated.
const LARGEST: u64 = 1 << 28;
/// Bytes that the headers of a file may take on top of its own: an archive can give it a name of any length.
const LARGEST_HEADERS: u64 = 1 << 16;

/// Writes files one after the other; equal files are equal bytes.
pub struct Writer<W: Write>(Builder<W>);

impl<W: Write> Writer<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self(Builder::new(out))
    }

    /// Appends a file.
    ///
    /// # Errors
    /// Where `out` cannot be written, or the name is no relative path.
    pub fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        self.0.append_data(&mut header, name, content)
    }

    /// Ends the archive.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn end(self) -> io::Result<W> {
        let mut out = self.0.into_inner()?;
        out.flush()?;
        Ok(out)
    }
}

/// Reads files one after the other, each whole; folders and links are skipped.
pub struct Reader<R>(R);

impl<R: Read> Reader<R> {
    /// Reads from `input`.
    pub fn new(input: R) -> Self {
        Self(input)
    }

    /// The next file, name and content; `None` at the end.
    ///
    /// # Errors
    /// Where the archive is damaged, cut off, or holds a file of more than 256 MiB.
    pub fn next(&mut self) -> Result<Option<(String, Vec<u8>)>> {
        loop {
            // Each file is the first of an archive that begins where the last one ended: so what one file can make the
            // crate read, and hold in memory, is bounded.
            let limit = LARGEST + LARGEST_HEADERS;
            let mut archive = Archive::new(self.0.by_ref().take(limit));
            let first = archive.entries().map_err(unread)?.next().transpose().map_err(unread)?;
            let Some(mut entry) = first else {
                // An archive ends with empty blocks; the crate takes the end of the input for one, too.
                return match archive.into_inner().limit() == limit {
                    true => Err(damaged("it is cut off")),
                    false => Ok(None),
                };
            };
            let size = entry.size();
            let padding = size.next_multiple_of(BLOCK) - size;
            match entry.header().entry_type() {
                EntryType::Regular if size > LARGEST => {
                    return Err(damaged(&format!("a file of {size} bytes; at most {LARGEST} are read")));
                }
                EntryType::Regular => {}
                EntryType::GNUSparse => return Err(damaged("a file with holes")),
                _ => {
                    self.skip(size + padding)?;
                    continue;
                }
            }
            let name =
                String::from_utf8(entry.path_bytes().into_owned()).map_err(|_| damaged("a name is not UTF-8"))?;
            // What is there is read, not what the header promises allocated.
            let mut content = Vec::new();
            entry.read_to_end(&mut content).map_err(unread)?;
            if content.len() as u64 != size {
                return Err(damaged("it is cut off within a file"));
            }
            self.skip(padding)?;
            return Ok(Some((name, content)));
        }
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        match io::copy(&mut self.0.by_ref().take(count), &mut io::sink()).map_err(unread)? {
            skipped if skipped == count => Ok(()),
            _ => Err(damaged("it is cut off")),
        }
    }
}

fn damaged(found: &str) -> Error {
    Error::new(ErrorKind::Data, "", format!("this archive is damaged: {found}")).hint("delete it and make it again")
}

/// What the system refuses is told as such; all else the archive itself is to blame for.
fn unread(error: io::Error) -> Error {
    match error.raw_os_error() {
        Some(_) => Error::new(ErrorKind::Io, "", format!("cannot read on: {error}")),
        None => damaged(&error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut writer = Writer::new(Vec::new());
        files.iter().for_each(|(name, content)| writer.file(name, content).unwrap());
        writer.end().unwrap()
    }

    fn all(bytes: &[u8]) -> Result<Vec<(String, Vec<u8>)>> {
        let mut reader = Reader::new(bytes);
        let mut files = Vec::new();
        while let Some(file) = reader.next()? {
            files.push(file);
        }
        Ok(files)
    }

    fn some() -> Vec<(String, Vec<u8>)> {
        // A header has room for 100 bytes of a name; the longest that a file system takes is 255.
        let [fits, exceeds, longest] = [100, 101, 255].map(|length| format!("{}.txt", "x".repeat(length - 4)));
        let files = [("a.json", 0), ("a.txt", 1), ("b.json", 511), ("b.txt", 512), ("c", 1300)];
        let long = [(&*fits, 3), (&*exceeds, 600), (&*longest, 5)];
        let content = |(name, size): (&str, usize)| (name.to_owned(), (0..size).map(|i| i as u8).collect());
        files.into_iter().chain(long).map(content).collect()
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(all(&archive(&some())).unwrap(), some());
        assert_eq!(all(&archive(&[])).unwrap(), []);
        assert!(Writer::new(Vec::new()).file("../above", b"").is_err());
    }

    #[test]
    fn tar_reads_what_we_write_and_we_read_what_tar_writes() {
        use std::process::Command;
        let folder = tempfile::tempdir().unwrap();
        let ours = folder.path().join("ours.tar");
        std::fs::write(&ours, archive(&some())).unwrap();
        let unpack = Command::new("tar").arg("-xf").arg(&ours).arg("-C").arg(folder.path()).status();
        if !unpack.is_ok_and(|status| status.success()) {
            return println!("skipped: there is no tar");
        }
        for (name, content) in some() {
            assert_eq!(std::fs::read(folder.path().join(name)).unwrap(), content);
        }
        // Plain ustar has no place for a name as long as that.
        for (format, longest) in [("ustar", 100), ("pax", 255), ("gnu", 255)] {
            let mut files = some();
            files.retain(|(name, _)| name.len() <= longest);
            let theirs = folder.path().join("theirs.tar");
            let pack = Command::new("tar")
                .args([&format!("--format={format}"), "-cf"])
                .arg(&theirs)
                .arg("-C")
                .arg(folder.path())
                .args(files.iter().map(|(name, _)| name))
                .status();
            assert!(pack.unwrap().success());
            assert_eq!(all(&std::fs::read(theirs).unwrap()).unwrap(), files);
        }
    }

    #[test]
    fn what_is_damaged_or_too_large_is_refused() {
        let bytes = archive(&some());
        for end in [0, 1, 511, 512, 600, 1024, 1025, bytes.len() - 1025] {
            assert!(all(&bytes[..end]).is_err(), "{end}");
        }
        let mut wrong = bytes.clone();
        wrong[3] ^= 1;
        assert!(all(&wrong).unwrap_err().to_string().contains("checksum"));
        // A file, and a folder, of seven gigabytes that are not there; one that is long by its holes alone.
        let mut header = Header::from_byte_slice(&bytes[..BLOCK as usize]).clone();
        let mut refused = |kind: EntryType| {
            header.set_entry_type(kind);
            header.set_size(7 << 30);
            header.set_cksum();
            all(header.as_bytes()).unwrap_err().to_string()
        };
        assert!(refused(EntryType::Regular).contains("at most"));
        assert!(refused(EntryType::Directory).contains("cut off"));
        let mut holes = Header::new_gnu();
        holes.set_entry_type(EntryType::GNUSparse);
        let gnu = holes.as_gnu_mut().unwrap();
        gnu.set_real_size(1 << 60);
        gnu.sparse[0].set_offset(1 << 60);
        gnu.sparse[0].set_length(0);
        holes.set_size(0);
        holes.set_cksum();
        assert!(all(holes.as_bytes()).unwrap_err().to_string().contains("holes"));
        // A name of 1 GB: no more of it is read than a file may be long.
        let mut name = Header::new_gnu();
        name.set_entry_type(EntryType::GNULongName);
        name.set_size(1 << 30);
        name.set_cksum();
        let endless = io::Read::chain(&name.as_bytes()[..], io::repeat(b'x'));
        let mut reader = Reader::new(endless);
        assert!(reader.next().is_err());
    }

    proptest! {
        #[test]
        fn nothing_panics(noise in prop::collection::vec((0usize..12_000, any::<u8>()), 0..8), end in 0usize..12_000) {
            let mut bytes = archive(&some());
            for (at, byte) in noise {
                let at = at % bytes.len();
                bytes[at] = byte;
            }
            bytes.truncate(end.max(1));
            if let Ok(files) = all(&bytes) {
                prop_assert!(files.iter().map(|(_, content)| content.len()).sum::<usize>() <= bytes.len());
            }
        }
    }
}
