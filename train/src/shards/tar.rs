//! Tar archives of small files, as WebDataset has them: POSIX ustar written, whatever of it others add skipped on reading.

use musiva_core::{Error, ErrorKind, Result};
use std::io::{self, Read, Write};

/// Headers and contents are padded to multiples of it.
const BLOCK: usize = 512;
/// Bytes of a file that is read, at most; larger ones are refused before anything is allocated.
const LARGEST: u64 = 1 << 28;

/// Where the fields of a header lie (POSIX.1-1988, ustar).
mod field {
    use std::ops::Range;
    pub const NAME: Range<usize> = 0..100;
    pub const MODE: Range<usize> = 100..108;
    pub const OWNER: Range<usize> = 108..116;
    pub const GROUP: Range<usize> = 116..124;
    pub const SIZE: Range<usize> = 124..136;
    pub const TIME: Range<usize> = 136..148;
    pub const SUM: Range<usize> = 148..156;
    pub const TYPE: usize = 156;
    pub const MAGIC: Range<usize> = 257..265;
}

/// Writes files one after the other; equal files are equal bytes.
pub struct Writer<W>(W);

impl<W: Write> Writer<W> {
    /// Writes to `out`.
    pub fn new(out: W) -> Self {
        Self(out)
    }

    /// A file of at most 100 bytes of name.
    ///
    /// # Errors
    /// Where `out` cannot be written, or the name is too long.
    pub fn file(&mut self, name: &str, content: &[u8]) -> io::Result<()> {
        if name.len() > field::NAME.len() {
            return Err(io::Error::new(io::ErrorKind::InvalidFilename, "a name of more than 100 bytes"));
        }
        let mut header = [0u8; BLOCK];
        header[..name.len()].copy_from_slice(name.as_bytes());
        let octal = |header: &mut [u8; BLOCK], at: std::ops::Range<usize>, value: usize| {
            // The last byte stays zero.
            let digits = format!("{value:0width$o}", width = at.len() - 1);
            header[at.start..at.end - 1].copy_from_slice(digits.as_bytes());
        };
        octal(&mut header, field::MODE, 0o644);
        octal(&mut header, field::OWNER, 0);
        octal(&mut header, field::GROUP, 0);
        octal(&mut header, field::SIZE, content.len());
        octal(&mut header, field::TIME, 0);
        header[field::TYPE] = b'0';
        header[field::MAGIC].copy_from_slice(b"ustar\x0000");
        let sum = format!("{:06o}\0 ", checksum(&header));
        header[field::SUM].copy_from_slice(sum.as_bytes());
        self.0.write_all(&header)?;
        self.0.write_all(content)?;
        self.0.write_all(&[0; BLOCK][..content.len().next_multiple_of(BLOCK) - content.len()])
    }

    /// The end of the archive: two empty blocks.
    ///
    /// # Errors
    /// Where `out` cannot be written.
    pub fn end(mut self) -> io::Result<W> {
        self.0.write_all(&[0; 2 * BLOCK])?;
        self.0.flush()?;
        Ok(self.0)
    }
}

/// Reads files one after the other, each whole; folders, links and what extends headers are skipped.
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
            let mut header = [0u8; BLOCK];
            self.exactly(&mut header)?;
            if header.iter().all(|&byte| byte == 0) {
                return Ok(None);
            }
            if number(&header[field::SUM]) != Some(u64::from(checksum(&header))) {
                return Err(damaged("a header's checksum is wrong"));
            }
            let size = number(&header[field::SIZE]).ok_or_else(|| damaged("a file has no size"))?;
            let padding = size.next_multiple_of(BLOCK as u64) - size;
            if !matches!(header[field::TYPE], b'0' | 0) {
                self.skip(size + padding)?;
                continue;
            }
            if size > LARGEST {
                return Err(damaged(&format!("a file of {size} bytes; at most {LARGEST} are read")));
            }
            // What is there is read, not what the header promises allocated.
            let mut content = Vec::new();
            self.0.by_ref().take(size).read_to_end(&mut content).map_err(unread)?;
            if content.len() as u64 != size {
                return Err(damaged("it is cut off within a file"));
            }
            self.skip(padding)?;
            let name = header[field::NAME].split(|&byte| byte == 0).next().unwrap_or_default();
            let name = std::str::from_utf8(name).map_err(|_| damaged("a name is not UTF-8"))?;
            return Ok(Some((name.to_owned(), content)));
        }
    }

    fn exactly(&mut self, block: &mut [u8; BLOCK]) -> Result<()> {
        self.0.read_exact(block).map_err(|error| match error.kind() {
            io::ErrorKind::UnexpectedEof => damaged("it is cut off"),
            _ => unread(error),
        })
    }

    fn skip(&mut self, count: u64) -> Result<()> {
        match io::copy(&mut self.0.by_ref().take(count), &mut io::sink()).map_err(unread)? {
            skipped if skipped == count => Ok(()),
            _ => Err(damaged("it is cut off")),
        }
    }
}

/// The sum of a header's bytes, those of the sum itself taken as spaces.
fn checksum(header: &[u8; BLOCK]) -> u32 {
    let bytes = header.iter().enumerate();
    bytes.map(|(at, &byte)| if field::SUM.contains(&at) { u32::from(b' ') } else { u32::from(byte) }).sum()
}

/// Octal digits between spaces, up to a zero or a space.
fn number(field: &[u8]) -> Option<u64> {
    let digits = field.split(|&byte| byte == 0).next()?.trim_ascii();
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 8).ok().filter(|&number| number < 1 << 60)
}

fn damaged(found: &str) -> Error {
    Error::new(ErrorKind::Data, "", format!("this archive is damaged: {found}")).hint("delete it and make it again")
}

fn unread(error: io::Error) -> Error {
    Error::new(ErrorKind::Io, "", format!("cannot read on: {error}"))
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
        [("a.json", 0), ("a.txt", 1), ("b.json", 511), ("b.txt", 512), ("c", 1300)]
            .map(|(name, size)| (name.to_owned(), (0..size).map(|i| i as u8).collect()))
            .to_vec()
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(all(&archive(&some())).unwrap(), some());
        assert_eq!(all(&archive(&[])).unwrap(), []);
        assert!(Writer::new(Vec::new()).file(&"x".repeat(101), b"").is_err());
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
        for format in ["ustar", "pax", "gnu"] {
            let theirs = folder.path().join("theirs.tar");
            let pack = Command::new("tar")
                .args([&format!("--format={format}"), "-cf"])
                .arg(&theirs)
                .arg("-C")
                .arg(folder.path())
                .args(some().iter().map(|(name, _)| name))
                .status();
            assert!(pack.unwrap().success());
            assert_eq!(all(&std::fs::read(theirs).unwrap()).unwrap(), some());
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
        // A file of seven gigabytes that is not there, its checksum right.
        let mut header: [u8; BLOCK] = bytes[..BLOCK].try_into().unwrap();
        header[field::SIZE].copy_from_slice(b"70000000000\0");
        let sum = format!("{:06o}\0 ", checksum(&header));
        header[field::SUM].copy_from_slice(sum.as_bytes());
        assert!(all(&header).unwrap_err().to_string().contains("at most"));
        header[field::TYPE] = b'5';
        let sum = format!("{:06o}\0 ", checksum(&header));
        header[field::SUM].copy_from_slice(sum.as_bytes());
        assert!(all(&header).unwrap_err().to_string().contains("cut off"));
    }

    proptest! {
        #[test]
        fn nothing_panics(noise in prop::collection::vec((0usize..6000, any::<u8>()), 0..8), end in 0usize..6000) {
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
