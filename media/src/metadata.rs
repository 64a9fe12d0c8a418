//! Words about a file, inside the file: the recipe, the seed, the prompt it was made from.

use crate::{
    fault::{Outcome, guard},
    gif::blocks,
    mp4::{boxes::read_top, tags},
    read::{Kind, sniff},
    sound,
    source::ReadSeek,
    stills,
};
use musiva_core::{Error, ErrorKind, Result};
use std::{fs::File, io::BufReader, path::Path};

/// An ordered list of keys and values, e.g. `musiva.seed` = `7`.
///
/// Where it lies: PNG `iTXt` chunks, GIF comment extensions of the form `key=value`, MP4 `moov/meta`
/// with `mdta` keys, which ffprobe lists as tags, WAV comments (`LIST`/`INFO`/`ICMT`) of the form
/// `key=value`, FLAC's Vorbis comments.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(Vec<(String, String)>);

impl Metadata {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds `value` under `key`; the same key may come more than once.
    ///
    /// # Errors
    /// Where `key` is not 1 to 79 ASCII letters, digits, dots, dashes or underscores (what PNG and
    /// GIF can both hold), or `value` holds a zero byte or is longer than 1 MiB.
    pub fn with(mut self, key: impl Into<String>, value: impl Into<String>) -> Result<Self> {
        let (key, value) = (key.into(), value.into());
        if !is_key(&key) {
            return Err(Error::new(ErrorKind::Media, format!("metadata key {key:?}"), "this key cannot be stored")
                .hint("use 1 to 79 ASCII letters, digits, dots, dashes and underscores, e.g. `musiva.seed`"));
        }
        if value.contains('\0') || value.len() > 1 << 20 {
            return Err(Error::new(
                ErrorKind::Media,
                format!("metadata `{key}`"),
                "its value holds a zero byte or is longer than 1 MiB",
            )
            .hint("store a digest of it instead"));
        }
        self.0.push((key, value));
        Ok(self)
    }

    /// The first value of `key`.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.iter().find(|(found, _)| *found == key).map(|(_, value)| value)
    }

    /// All keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value.as_str()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// What another program wrote need not keep our rules for keys.
    pub(crate) fn push_found(&mut self, key: String, value: String) {
        self.0.push((key, value));
    }
}

pub(crate) fn is_key(key: &str) -> bool {
    (1..=79).contains(&key.len()) && key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_".contains(&byte))
}

/// Reads the metadata of a PNG, GIF, MP4, WAV or FLAC, whoever wrote it; a JPEG, WebP, Ogg or MP3 has
/// none of ours.
///
/// # Errors
/// Where the file cannot be read, is damaged, or is of another format.
pub fn read_metadata(path: &Path) -> Result<Metadata> {
    let file = File::open(path).map_err(|error| Error::io(path, "open it", error))?;
    read_metadata_from(Box::new(BufReader::new(file))).map_err(|fault| fault.at(path))
}

/// As [`read_metadata`], from bytes in memory.
pub fn metadata_of_bytes(bytes: Vec<u8>) -> Result<Metadata> {
    read_metadata_from(Box::new(std::io::Cursor::new(bytes))).map_err(|fault| fault.at(Path::new("bytes")))
}

fn read_metadata_from(mut file: Box<dyn ReadSeek>) -> Outcome<Metadata> {
    match sniff(&mut file)? {
        Kind::Mp4 => {
            let length = file.seek(std::io::SeekFrom::End(0))?;
            tags::read(&read_top(&mut file, length)?.moov)
        }
        Kind::Gif => Ok(blocks::survey(&mut file)?.metadata),
        Kind::Png => guard("PNG", || stills::png_metadata(file)),
        Kind::Wav => sound::wav_metadata(&mut file),
        Kind::Flac => sound::flac::metadata(&mut file),
        Kind::Jpeg | Kind::WebP | Kind::Ogg | Kind::Mpeg => Ok(Metadata::new()),
        Kind::Empty => Err(crate::fault::broken("it is empty")),
        Kind::Unknown => {
            Err(crate::fault::broken("its format is none of PNG, GIF, MP4, WAV and FLAC, which hold metadata"))
        }
    }
}
