//! What a file says about itself.

use musiva_core::{Error, ErrorKind, Rate, Result, Tokens, files};
use musiva_media::{SoundReader, VideoReader, read_metadata};
use safetensors::tensor::Metadata;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// What a file holds, and where it comes from.
#[derive(Clone, Debug)]
pub struct Inspection {
    /// What it holds.
    pub contents: Contents,
    /// Keys and values that say where it comes from; of media in the file's order.
    pub metadata: Vec<(String, String)>,
}

/// What a file holds.
#[derive(Clone, Debug)]
pub enum Contents {
    /// Pictures, in words.
    Pictures(String),
    /// A sound.
    Sound {
        /// How it is coded.
        codec: String,
        /// Channels.
        channels: usize,
        /// Samples a second.
        rate: Rate,
        /// Samples of each channel, where the file says.
        length: Option<u64>,
    },
    /// Tokens.
    Tokens(Tokens),
    /// Tensors by name: type and shape.
    Tensors(BTreeMap<String, (String, Vec<usize>)>),
}

/// Looks at a clip, a sound, a tokens file or a weights file.
///
/// # Errors
/// Where it is none of these, or cut off.
pub fn inspect(path: &Path) -> Result<Inspection> {
    match header(path)? {
        Some(header) => tensors(path, &header),
        None => media(path),
    }
}

fn media(path: &Path) -> Result<Inspection> {
    let contents = match VideoReader::open(path) {
        Ok(reader) => {
            let sound = SoundReader::open(path).map_or(String::new(), |sound| {
                let info = sound.info();
                let lasts = info.length.map_or(String::new(), |n| format!(", {n} samples"));
                format!("; sound: {}, {} channels, {} Hz{lasts}", info.codec, info.channels, info.rate)
            });
            Contents::Pictures(format!("{}{sound}", reader.info()))
        }
        Err(no_pictures) => {
            let reader = match SoundReader::open(path) {
                Ok(reader) => reader,
                // A sound that needs another program, not a clip that is broken.
                Err(no_sound) if no_sound.kind() == ErrorKind::Unsupported => {
                    return Err(if no_pictures.kind() == ErrorKind::Media { no_sound } else { no_pictures });
                }
                Err(_) => return Err(no_pictures),
            };
            let info = reader.info();
            let (codec, length) = (info.codec.to_string(), info.length.map(|length| length as u64));
            Contents::Sound { codec, channels: info.channels, rate: info.rate, length }
        }
    };
    // Other formats hold none of ours.
    let metadata = read_metadata(path).map_or_else(
        |_| Vec::new(),
        |metadata| metadata.iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect(),
    );
    Ok(Inspection { contents, metadata })
}

fn tensors(path: &Path, head: &Metadata) -> Result<Inspection> {
    let all: BTreeMap<_, _> = head.tensors().into_iter().collect();
    if all.len() == 1 && (all.contains_key("codes") || all.contains_key("latents")) {
        let (tokens, metadata) = Tokens::open(path)?;
        return Ok(Inspection { contents: Contents::Tokens(tokens), metadata: ordered(metadata) });
    }
    let tensors = all.into_iter().map(|(name, info)| (name, (format!("{:?}", info.dtype), info.shape.clone())));
    let metadata = ordered(head.metadata().clone().unwrap_or_default());
    Ok(Inspection { contents: Contents::Tensors(tensors.collect()), metadata })
}

fn ordered(metadata: impl IntoIterator<Item = (String, String)>) -> Vec<(String, String)> {
    metadata.into_iter().collect::<BTreeMap<_, _>>().into_iter().collect()
}

/// The header of a safetensors file; `None`: it is another file.
fn header(path: &Path) -> Result<Option<Metadata>> {
    let failed = |error| Error::io(path, "read it", error);
    let broken =
        |found: &str| Error::new(ErrorKind::Weights, path.display().to_string(), found).hint("fetch or make it again");
    let mut file = File::open(path).map_err(failed)?;
    let size = file.metadata().map_err(failed)?.len();
    let mut start = Vec::new();
    (&mut file).take(9).read_to_end(&mut start).map_err(failed)?;
    if start.get(8) != Some(&b'{') {
        return Ok(None);
    }
    let header = files::safetensors_header(&mut file).map_err(failed)?;
    let header = header.ok_or_else(|| broken("a safetensors file that is cut off in its header"))?;
    let head: Metadata = serde_json::from_slice(&header)
        .map_err(|error| broken("the header is not that of a safetensors file").caused_by(error))?;
    match (8 + header.len() as u64).checked_add(head.data_len() as u64) {
        Some(wanted) if wanted == size => Ok(Some(head)),
        _ => Err(broken(&format!("a safetensors file that is cut off: {size} bytes are not what its header promises"))),
    }
}
