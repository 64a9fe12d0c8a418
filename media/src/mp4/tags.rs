//! Metadata in an MP4: `moov/meta` with a list of keys and one item for each (Apple's QuickTime
//! File Format, "Metadata"); iTunes' free-form items are read as well.

use super::boxes::{Bytes, put, put_full};
use crate::{fault::Outcome, metadata::Metadata};

/// The well-known type of a value in UTF-8.
const UTF8: u32 = 1;

/// Appends `meta`, to lie in `moov`.
pub(crate) fn write(out: &mut Vec<u8>, metadata: &Metadata) {
    if metadata.is_empty() {
        return;
    }
    put_full(out, b"meta", 0, |out| {
        put_full(out, b"hdlr", 0, |out| {
            out.extend_from_slice(&[0; 4]);
            out.extend_from_slice(b"mdta");
            out.extend_from_slice(&[0; 13]);
        });
        put_full(out, b"keys", 0, |out| {
            out.extend_from_slice(&(metadata.iter().count() as u32).to_be_bytes());
            for (key, _) in metadata.iter() {
                put(out, b"mdta", |out| out.extend_from_slice(key.as_bytes()));
            }
        });
        put(out, b"ilst", |out| {
            for (index, (_, value)) in (1u32..).zip(metadata.iter()) {
                put(out, &index.to_be_bytes(), |out| {
                    put(out, b"data", |out| {
                        out.extend_from_slice(&UTF8.to_be_bytes());
                        out.extend_from_slice(&[0; 4]);
                        out.extend_from_slice(value.as_bytes());
                    });
                });
            }
        });
    });
}

/// The text entries of `moov`.
pub(crate) fn read(moov: &[u8]) -> Outcome<Metadata> {
    let moov = Bytes(moov);
    let mut metadata = Metadata::new();
    let inner = match moov.find(b"udta")? {
        Some(udta) => udta.find(b"meta")?,
        None => None,
    };
    for mut meta in [moov.find(b"meta")?, inner].into_iter().flatten() {
        // ISO's box has a version in front, QuickTime's has not.
        if meta.0.get(4..8) != Some(b"hdlr") {
            meta.take(4)?;
        }
        let keys = match meta.find(b"keys")? {
            Some(keys) => read_keys(keys)?,
            None => Vec::new(),
        };
        let Some(ilst) = meta.find(b"ilst")? else { continue };
        for item in ilst.boxes() {
            let (kind, item) = item?;
            let index = u32::from_be_bytes(kind) as usize;
            let key = match (&kind, index.checked_sub(1).and_then(|index| keys.get(index))) {
                (_, Some(key)) => Some(key.clone()),
                (b"----", None) => match item.find(b"name")? {
                    Some(mut name) => {
                        name.take(4)?;
                        Some(String::from_utf8_lossy(name.0).into_owned())
                    }
                    None => None,
                },
                _ => None,
            };
            let (Some(key), Some(mut data)) = (key, item.find(b"data")?) else { continue };
            if data.u32()? == UTF8 {
                data.take(4)?;
                metadata.push_found(key, String::from_utf8_lossy(data.0).into_owned());
            }
        }
    }
    Ok(metadata)
}

fn read_keys(mut keys: Bytes) -> Outcome<Vec<String>> {
    keys.u32()?;
    let count = keys.entries(8)?;
    keys.boxes().take(count).map(|key| Ok(String::from_utf8_lossy(key?.1.0).into_owned())).collect()
}
