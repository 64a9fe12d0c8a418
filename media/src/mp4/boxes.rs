//! The boxes of the ISO base media format (ISO/IEC 14496-12 §4.2): a size, four letters, a payload.

use crate::fault::{Fault, Outcome, broken};
use std::io::{Read, Seek, SeekFrom};

/// The four letters of a box.
pub(crate) type Kind = [u8; 4];

/// A cursor over big-endian numbers.
#[derive(Clone, Copy)]
pub(crate) struct Bytes<'a>(pub &'a [u8]);

impl<'a> Bytes<'a> {
    pub(crate) fn take(&mut self, count: usize) -> Outcome<&'a [u8]> {
        let (taken, rest) =
            self.0.split_at_checked(count).ok_or_else(|| broken("a box is shorter than its contents"))?;
        self.0 = rest;
        Ok(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    pub(crate) fn u8(&mut self) -> Outcome<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(crate) fn u16(&mut self) -> Outcome<u16> {
        self.array().map(u16::from_be_bytes)
    }

    pub(crate) fn u32(&mut self) -> Outcome<u32> {
        self.array().map(u32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Outcome<u64> {
        self.array().map(u64::from_be_bytes)
    }

    /// A table's number of entries, `each` bytes long: never more than there are bytes for.
    pub(crate) fn entries(&mut self, each: usize) -> Outcome<usize> {
        let count = self.u32()? as usize;
        if count > self.0.len() / each {
            return Err(broken("a table is shorter than it says"));
        }
        Ok(count)
    }

    /// The payload of the first box of `kind` among the boxes here.
    pub(crate) fn find(self, kind: &Kind) -> Outcome<Option<Bytes<'a>>> {
        for entry in self.boxes() {
            let (found, payload) = entry?;
            if &found == kind {
                return Ok(Some(payload));
            }
        }
        Ok(None)
    }

    /// The payload of the box at `path`, one level a step; a fault where it is missing.
    pub(crate) fn must(self, path: &[&Kind]) -> Outcome<Bytes<'a>> {
        path.iter().try_fold(self, |inside, kind| {
            inside.find(kind)?.ok_or_else(|| broken(format!("the box `{}` is missing", kind.escape_ascii())))
        })
    }

    /// The boxes here, one after another.
    pub(crate) fn boxes(self) -> impl Iterator<Item = Outcome<(Kind, Bytes<'a>)>> {
        let mut rest = self;
        std::iter::from_fn(move || {
            // Up to eight bytes behind the last box are padding, seen in QuickTime's `udta`.
            if rest.0.len() < 8 {
                return None;
            }
            let entry = next_box(&mut rest);
            if entry.is_err() {
                rest = Bytes(&[]);
            }
            Some(entry)
        })
    }
}

fn next_box<'a>(rest: &mut Bytes<'a>) -> Outcome<(Kind, Bytes<'a>)> {
    let whole = rest.0.len() as u64;
    let size = rest.u32()?;
    let kind = rest.array()?;
    let (size, header) = match size {
        0 => (whole, 8),
        1 => (rest.u64()?, 16),
        size => (size.into(), 8),
    };
    if size < header || size > whole {
        return Err(broken(format!("the box `{}` does not fit where it is", kind.escape_ascii())));
    }
    let payload = rest.take((size - header) as usize)?;
    Ok((kind, Bytes(payload)))
}

/// What lies on the top level of a file.
pub(crate) struct Top {
    /// The payload of `moov`.
    pub moov: Vec<u8>,
    /// Whether there are movie fragments (`moof`).
    pub fragments: bool,
}

/// Reads `moov` and steps over everything else.
pub(crate) fn read_top(file: &mut (impl Read + Seek + ?Sized), length: u64) -> Outcome<Top> {
    const LARGEST_MOOV: u64 = 128 << 20;
    const MOST_BOXES: usize = 1 << 20;
    let (mut moov, mut fragments, mut at) = (None, false, 0u64);
    for _ in 0..MOST_BOXES {
        if length - at < 8 {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 8];
        file.read_exact(&mut head)?;
        let mut size = u64::from(u32::from_be_bytes([head[0], head[1], head[2], head[3]]));
        let mut header = 8;
        if size == 1 {
            let mut large = [0; 8];
            file.read_exact(&mut large)?;
            (size, header) = (u64::from_be_bytes(large), 16);
        } else if size == 0 {
            size = length - at;
        }
        if size < header {
            return Err(broken("a box is smaller than its own header"));
        }
        let end = at.checked_add(size);
        match &head[4..] {
            b"moov" if moov.is_none() => {
                if end.is_none_or(|end| end > length) {
                    return Err(broken("the file ends inside its index (`moov`)"));
                }
                if size > LARGEST_MOOV {
                    return Err(Fault::TooBig(format!("its index has {size} bytes, more than {LARGEST_MOOV}")));
                }
                let mut payload = vec![0; (size - header) as usize];
                file.read_exact(&mut payload)?;
                moov = Some(payload);
            }
            b"moof" => fragments = true,
            _ => {}
        }
        match end {
            Some(end) if end < length => at = end,
            _ => break,
        }
    }
    let moov =
        moov.ok_or_else(|| broken("the index (`moov`) is missing: the file is cut off, or was never finished"))?;
    Ok(Top { moov, fragments })
}

/// Appends a box: its size, its letters, and what `payload` writes.
pub(crate) fn put(out: &mut Vec<u8>, kind: &Kind, payload: impl FnOnce(&mut Vec<u8>)) {
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    payload(out);
    let size = (out.len() - at) as u32;
    out[at..at + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a box with version 0 and `flags` (a *full box*).
pub(crate) fn put_full(out: &mut Vec<u8>, kind: &Kind, flags: u32, payload: impl FnOnce(&mut Vec<u8>)) {
    put(out, kind, |out| {
        out.extend_from_slice(&flags.to_be_bytes());
        payload(out);
    });
}

/// Appends big-endian numbers.
pub(crate) fn numbers(out: &mut Vec<u8>, numbers: &[u32]) {
    for number in numbers {
        out.extend_from_slice(&number.to_be_bytes());
    }
}
