//! Tokens in files.

use super::{TokenValues, Tokens, tokens_error};
use crate::{Error, ErrorKind, Result};
use safetensors::{Dtype, SafeTensors, tensor::TensorView};
use std::{collections::HashMap, path::Path};

/// Says how many entries the codebooks have: the tensor does not.
const ENTRIES: &str = "musiva.tokens.entries";

impl Tokens {
    /// Writes the tokens as safetensors: a tensor `codes` (U32, `[t, h, w]`, of several levels `[t, h, w, Q]`)
    /// or `latents` (F32, `[t, h, w, C]`), and `metadata`. Written to a temporary name and renamed.
    pub fn save(&self, path: &Path, metadata: HashMap<String, String>) -> Result<()> {
        let file = self.to_safetensors(metadata).map_err(|error| at(path, error.message().into()))?;
        crate::files::write(path, &file)
    }

    /// The bytes of the file that [`save`](Self::save) writes.
    ///
    /// # Errors
    /// Where there are more tokens than a file can hold.
    pub fn to_safetensors(&self, mut metadata: HashMap<String, String>) -> Result<Vec<u8>> {
        let [t, h, w] = self.grid;
        let (name, dtype, shape, bytes) = match &self.values {
            TokenValues::Codes { levels, entries, codes } => {
                metadata.insert(ENTRIES.into(), entries.to_string());
                let shape = if *levels == 1 { vec![t, h, w] } else { vec![t, h, w, *levels] };
                let bytes: Vec<u8> = codes.iter().flat_map(|code| code.to_le_bytes()).collect();
                ("codes", Dtype::U32, shape, bytes)
            }
            TokenValues::Vectors { channels, values } => {
                let bytes = values.iter().flat_map(|value| value.to_le_bytes()).collect();
                ("latents", Dtype::F32, vec![t, h, w, *channels], bytes)
            }
        };
        let view = TensorView::new(dtype, shape, &bytes).map_err(|e| tokens_error(e.to_string()))?;
        crate::files::safetensors([(name, view)], metadata).map_err(|e| tokens_error(e.to_string()))
    }

    /// Reads tokens that [`Tokens::save`] wrote, with their metadata.
    ///
    /// # Errors
    /// Where the file is truncated, holds something else, or a value is out of range.
    pub fn open(path: &Path) -> Result<(Self, HashMap<String, String>)> {
        Self::from_safetensors(&crate::files::read(path, crate::files::GIGABYTE)?, path)
    }

    /// Tokens and metadata of the bytes of such a file; `path` is where they come from.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_safetensors(bytes: &[u8], path: &Path) -> Result<(Self, HashMap<String, String>)> {
        let broken = |e: safetensors::SafeTensorError| {
            at(path, format!("not a whole safetensors file ({e})")).hint("make the tokens again")
        };
        let (_, head) = SafeTensors::read_metadata(bytes).map_err(broken)?;
        let metadata = head.metadata().clone().unwrap_or_default();
        let tensors = SafeTensors::deserialize(bytes).map_err(broken)?;
        let words = |view: &TensorView| -> Vec<[u8; 4]> { view.data().as_chunks().0.to_vec() };
        let tokens = if let Ok(view) = tensors.tensor("codes") {
            let (Dtype::U32, &[t, h, w, ref levels @ ..]) = (view.dtype(), view.shape()) else {
                return Err(at(path, format!("`codes` is {:?} {:?}, not U32 [t, h, w]", view.dtype(), view.shape())));
            };
            let entries = metadata.get(ENTRIES).and_then(|n| n.parse().ok());
            let entries = entries.ok_or_else(|| at(path, format!("its metadata lacks `{ENTRIES}`")))?;
            let codes = words(&view).into_iter().map(u32::from_le_bytes).collect();
            match *levels {
                [] => Self::codes([t, h, w], entries, codes),
                [levels] => Self::levels([t, h, w], levels, entries, codes),
                _ => Err(tokens_error(format!("`codes` is {:?}, not [t, h, w] or [t, h, w, Q]", view.shape()))),
            }
        } else if let Ok(view) = tensors.tensor("latents") {
            let (Dtype::F32, &[t, h, w, channels]) = (view.dtype(), view.shape()) else {
                return Err(at(
                    path,
                    format!("`latents` is {:?} {:?}, not F32 [t, h, w, C]", view.dtype(), view.shape()),
                ));
            };
            Self::vectors([t, h, w], channels, words(&view).into_iter().map(f32::from_le_bytes).collect())
        } else {
            Err(tokens_error("it holds neither `codes` nor `latents`: not a tokens file".into()))
        };
        tokens.map(|tokens| (tokens, metadata)).map_err(|e| at(path, e.message().into()))
    }
}

fn at(path: &Path, message: String) -> Error {
    Error::new(ErrorKind::Weights, path.display().to_string(), message)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn tokens_survive_the_way_through_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.safetensors");
        let metadata = HashMap::from([("prompt".to_string(), "ein roter Ring – 赤".to_string())]);
        for tokens in [
            Tokens::codes([2, 3, 5], 7, (0..30).map(|i| i % 7).collect()).unwrap(),
            Tokens::levels([1, 2, 3], 5, 31, (0..30).collect()).unwrap(),
            Tokens::vectors([1, 2, 3], 2, (0..12).map(|i| i as f32 / 7.0).collect()).unwrap(),
        ] {
            tokens.save(&path, metadata.clone()).unwrap();
            let (back, found) = Tokens::open(&path).unwrap();
            assert_eq!((back, &found["prompt"]), (tokens, &metadata["prompt"]));
        }
    }

    /// What the first edition wrote, which told codes of one level (`[t, h, w, 1]`) and plain codes (`[t, h, w]`) apart.
    #[test]
    fn files_of_the_first_edition_open() {
        let codes: Vec<u32> = (0..12).map(|i| i * 5 % 7).collect();
        let vectors = (0..24).map(|i| i as f32 / 7.0 - 1.0).collect();
        let all: [(&str, &[u8], Tokens); 4] = [
            (
                "codes",
                include_bytes!("fixtures/codes.safetensors"),
                Tokens::codes([1, 2, 3], 7, codes[..6].to_vec()).unwrap(),
            ),
            (
                "level",
                include_bytes!("fixtures/level.safetensors"),
                Tokens::codes([1, 2, 3], 7, codes[..6].to_vec()).unwrap(),
            ),
            ("levels", include_bytes!("fixtures/levels.safetensors"), Tokens::levels([1, 2, 3], 2, 7, codes).unwrap()),
            (
                "latents",
                include_bytes!("fixtures/latents.safetensors"),
                Tokens::vectors([1, 2, 3], 4, vectors).unwrap(),
            ),
        ];
        for (name, bytes, tokens) in all {
            let (found, metadata) = Tokens::from_safetensors(bytes, Path::new(name)).unwrap();
            assert_eq!((&found, metadata["prompt"].as_str()), (&tokens, "a red ring"), "{name}");
            // And is written as it was, but for the axis of a single level.
            let again = tokens.to_safetensors(metadata).unwrap();
            assert_eq!(again == bytes, name != "level", "{name}");
        }
    }

    proptest! {
        #[test]
        fn a_damaged_tokens_file_is_an_error_or_tokens(cut in 0usize..200, at in 0usize..200, bit in 0u8..8) {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("a.safetensors");
            Tokens::codes([1, 2, 3], 1024, vec![1, 2, 3, 4, 5, 1023]).unwrap().save(&path, HashMap::new()).unwrap();
            let mut bytes = std::fs::read(&path).unwrap();
            let n = bytes.len();
            bytes[at % n] ^= 1 << bit;
            bytes.truncate(n - cut % n);
            std::fs::write(&path, bytes).unwrap();
            let _ = Tokens::open(&path);
        }
    }
}
