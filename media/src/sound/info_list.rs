//! Metadata in a WAV: the list `INFO`. Its entries have names of four letters, of which none is
//! ours, so each of our pairs is a comment (`ICMT`) of the form `key=value`, as in a GIF.

use crate::{
    fault::{Outcome, broken},
    metadata::{Metadata, is_key},
};
use std::io::{Read, Seek, SeekFrom};

/// Appends the list.
pub(super) fn write(out: &mut Vec<u8>, metadata: &Metadata) {
    if metadata.is_empty() {
        return;
    }
    chunk(out, b"LIST", |out| {
        out.extend_from_slice(b"INFO");
        for (key, value) in metadata.iter() {
            chunk(out, b"ICMT", |out| {
                out.extend_from_slice(key.as_bytes());
                out.push(b'=');
                out.extend_from_slice(value.as_bytes());
                out.push(0);
            });
        }
    });
}

/// Appends a chunk: its letters, its size, what `payload` writes, and a byte to make it even.
fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], payload: impl FnOnce(&mut Vec<u8>)) {
    out.extend_from_slice(kind);
    let at = out.len();
    out.extend_from_slice(&[0; 4]);
    payload(out);
    let size = (out.len() - at - 4) as u32;
    out[at..at + 4].copy_from_slice(&size.to_le_bytes());
    if !size.is_multiple_of(2) {
        out.push(0);
    }
}

/// The entries of all `INFO` lists of a WAV; those that are not ours under their four letters.
pub(crate) fn read(file: &mut (impl Read + Seek + ?Sized)) -> Outcome<Metadata> {
    const LARGEST: u64 = 32 << 20;
    const MOST_CHUNKS: usize = 1 << 16;
    let length = file.seek(SeekFrom::End(0))?;
    let mut metadata = Metadata::new();
    let mut at = 12;
    for _ in 0..MOST_CHUNKS {
        if at + 8 > length {
            break;
        }
        file.seek(SeekFrom::Start(at))?;
        let mut head = [0; 12];
        let known = (length - at).min(12) as usize;
        file.read_exact(&mut head[..known])?;
        let size = u64::from(u32::from_le_bytes([head[4], head[5], head[6], head[7]]));
        at += 8 + size + size % 2;
        if &head[..4] == b"LIST" && &head[8..] == b"INFO" && size >= 4 {
            if size > LARGEST || at - size % 2 > length {
                return Err(broken("its list of words is cut off or too large"));
            }
            let mut list = vec![0; size as usize - 4];
            file.read_exact(&mut list)?;
            entries(&list, &mut metadata);
        }
    }
    Ok(metadata)
}

fn entries(mut list: &[u8], metadata: &mut Metadata) {
    while let Some((head, rest)) = list.split_at_checked(8) {
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let text = &rest[..size.min(rest.len())];
        list = rest.get(size.saturating_add(size % 2)..).unwrap_or_default();
        let end = text.iter().position(|&byte| byte == 0).unwrap_or(text.len());
        let text = String::from_utf8_lossy(&text[..end]);
        match text.split_once('=') {
            Some((key, value)) if &head[..4] == b"ICMT" && is_key(key) => metadata.push_found(key.into(), value.into()),
            _ => metadata.push_found(String::from_utf8_lossy(&head[..4]).into_owned(), text.into_owned()),
        }
    }
}
