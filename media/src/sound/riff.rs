//! WAV files whose head does not know how long they are: written into a pipe, or cut off before it was filled in.

use crate::{
    fault::{Outcome, broken},
    source::ReadSeek,
};
use std::io::{self, Read, Seek, SeekFrom};

/// Sizes from here on are those of no file: writers put them where they cannot go back to.
const UNKNOWN: u32 = 0x7fff_0000;
/// Chunks that are looked at in front of the samples.
const MOST_CHUNKS: usize = 1 << 12;

/// A file with other bytes at one place.
struct Patched {
    inner: Box<dyn ReadSeek>,
    at: u64,
    place: u64,
    bytes: [u8; 4],
}

/// The file, whose samples last to its end where their chunk states no length: 0, or about 2 or 4 GiB.
pub(super) fn with_known_size(mut file: Box<dyn ReadSeek>) -> Outcome<Box<dyn ReadSeek>> {
    let end = file.seek(SeekFrom::End(0))?;
    let (mut at, mut found, mut align) = (12, None, 1);
    for _ in 0..MOST_CHUNKS {
        if at + 8 > end {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
        if &head[..4] == b"data" {
            let rest = end - at - 8;
            if (size == 0 || size >= UNKNOWN) && u64::from(size) != rest && rest > 0 {
                let whole = rest / align * align;
                let whole = u32::try_from(whole).map_err(|_| broken("it has more samples than a WAV can hold"))?;
                found = Some((at + 4, whole.to_le_bytes()));
            }
            break;
        }
        if &head[..4] == b"fmt " && size >= 16 {
            let mut format = [0; 16];
            file.read_exact(&mut format)?;
            align = u64::from(u16::from_le_bytes([format[12], format[13]])).max(1);
        }
        at += 8 + u64::from(size) + u64::from(size % 2);
    }
    file.seek(SeekFrom::Start(0))?;
    Ok(match found {
        Some((place, bytes)) => Box::new(Patched { inner: file, at: 0, place, bytes }),
        None => file,
    })
}

impl Read for Patched {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(into)?;
        for (place, byte) in (self.place..).zip(self.bytes) {
            if let Some(index) = place.checked_sub(self.at).filter(|&index| index < count as u64) {
                into[index as usize] = byte;
            }
        }
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for Patched {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.at = self.inner.seek(to)?;
        Ok(self.at)
    }
}
