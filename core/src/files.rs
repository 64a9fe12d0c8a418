//! Reading with a limit, writing whole or not at all.

use crate::{Error, ErrorKind, Result};
use ::safetensors::{SafeTensorError, SafeTensors, tensor::TensorView};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::io::{Read, Seek};
use std::sync::atomic::{AtomicU64, Ordering};
use std::{fs, path::Path};

/// 2³⁰ bytes.
pub const GIGABYTE: u64 = 1 << 30;

/// Whether a path is the URL of a file on a web server.
pub fn is_url(path: &str) -> bool {
    path.starts_with("https://") || path.starts_with("http://")
}

/// A URL without its query string and fragment: a signed URL carries its key there.
pub fn without_query(url: &str) -> &str {
    url.split(['?', '#']).next().unwrap_or_default()
}

/// Reads a file of at most `limit` bytes.
pub fn read(path: &Path, limit: u64) -> Result<Vec<u8>> {
    let failed = |e| Error::io(path, "read it", e);
    let file = fs::File::open(path).map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(limit + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > limit {
        return Err(Error::new(ErrorKind::Io, path.display().to_string(), format!("larger than {limit} bytes")));
    }
    Ok(bytes)
}

/// Writes `bytes` to `path` whole or not at all: to a temporary name in the same folder, synced to
/// the disk, then renamed. Missing folders are made.
pub fn write(path: &Path, bytes: &[u8]) -> Result<()> {
    write_with(path, |temporary| fs::write(temporary, bytes).map_err(|e| Error::io(path, "write it", e)))
}

/// Lets `write` make a temporary file beside `path`, then syncs and renames it. Where `write`
/// fails, nothing is left behind and what stood at `path` still stands there.
pub fn write_with(path: &Path, write: impl FnOnce(&Path) -> Result<()>) -> Result<()> {
    let failed = |e| Error::io(path, "write it", e);
    let name = path.file_name().ok_or_else(|| {
        Error::new(ErrorKind::Io, path.display().to_string(), "not the name of a file")
            .hint("name a file, e.g. out.mp4")
    })?;
    if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    // Neither another process nor another thread of this one writes under this name.
    static WRITTEN: AtomicU64 = AtomicU64::new(0);
    let number = WRITTEN.fetch_add(1, Ordering::Relaxed);
    temporary.push(format!(".{}-{number}.tmp", std::process::id()));
    let temporary = path.with_file_name(temporary);
    let done = write(&temporary)
        .and_then(|()| fs::File::open(&temporary).and_then(|file| file.sync_all()).map_err(failed))
        .and_then(|()| fs::rename(&temporary, path).map_err(failed));
    if done.is_err() {
        // The first error is the one to report; a file that was never made cannot be removed.
        let _ = fs::remove_file(&temporary);
    }
    done
}

/// Lays tensors out as safetensors. The library writes metadata in the order of a hash map, which differs from run to
/// run; here they stand in the order of their names, so that equal content is equal bytes.
pub fn safetensors<'a>(
    tensors: impl IntoIterator<Item = (&'a str, TensorView<'a>)>,
    metadata: HashMap<String, String>,
) -> std::result::Result<Vec<u8>, SafeTensorError> {
    let mut bytes = ::safetensors::serialize(tensors, Some(metadata))?;
    let (length, head) = SafeTensors::read_metadata(&bytes)?;
    let Some(metadata) = head.metadata() else { return Ok(bytes) };
    let sorted = serde_json::to_string(&metadata.iter().collect::<BTreeMap<_, _>>()).map_err(SafeTensorError::from)?;
    let unsorted = serde_json::to_string(metadata).map_err(SafeTensorError::from)?.len();
    // The metadata come first: `{"__metadata__":{…}`. Only their order changes, so their length stays.
    const KEY: &[u8] = b"{\"__metadata__\":";
    let start = 8 + KEY.len();
    assert!(bytes[8..].starts_with(KEY) && sorted.len() == unsorted && start + unsorted <= 8 + length);
    bytes[start..start + unsorted].copy_from_slice(sorted.as_bytes());
    Ok(bytes)
}

/// A header of a safetensors file is never longer: the count in its first bytes is not to be trusted with memory.
const LONGEST_HEADER: u64 = 100 << 20;

/// The header of a safetensors file, as JSON, without its tensors; `None` where the file holds no whole header.
///
/// # Errors
/// Where it cannot be read.
pub fn safetensors_header(file: &mut fs::File) -> std::io::Result<Option<Vec<u8>>> {
    let size = file.metadata()?.len();
    let (mut head, mut header) = ([0; 8], Vec::new());
    file.rewind()?;
    if size < head.len() as u64 {
        return Ok(None);
    }
    file.read_exact(&mut head)?;
    let length = u64::from_le_bytes(head);
    if length > LONGEST_HEADER || length > size - head.len() as u64 {
        return Ok(None);
    }
    file.take(length).read_to_end(&mut header)?;
    Ok(Some(header))
}

/// SHA-256 of `bytes`, in lower-case hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    hexadecimal(&Sha256::digest(bytes))
}

/// SHA-256 of a file of any size, in lower-case hexadecimal.
///
/// # Errors
/// Where it cannot be read.
pub fn sha256_of(path: &Path) -> Result<String> {
    let failed = |error| Error::io(path, "read it", error);
    let mut file = std::fs::File::open(path).map_err(failed)?;
    let (mut hash, mut buffer) = (Sha256::new(), vec![0; 1 << 16]);
    loop {
        match std::io::Read::read(&mut file, &mut buffer).map_err(failed)? {
            0 => return Ok(hexadecimal(&hash.finalize())),
            n => hash.update(&buffer[..n]),
        }
    }
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_the_old_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/er/a.txt");
        write(&path, b"old").unwrap();
        let failed = write_with(&path, |temporary| {
            fs::write(temporary, b"half").unwrap();
            Err(Error::new(ErrorKind::Io, "", "the disk is full"))
        });
        assert!(failed.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
    }

    #[test]
    fn threads_that_write_one_file_do_not_disturb_each_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        let together = std::sync::Barrier::new(8);
        let slowly = |i: u8| {
            write_with(&path, |temporary| {
                fs::write(temporary, [i; 64]).unwrap();
                together.wait();
                Ok(())
            })
        };
        std::thread::scope(|scope| {
            let all: Vec<_> = (0..8)
                .map(|i| {
                    scope.spawn({
                        let slowly = &slowly;
                        move || slowly(i)
                    })
                })
                .collect();
            all.into_iter().for_each(|one| one.join().unwrap().unwrap());
        });
        let bytes = fs::read(&path).unwrap();
        assert!(bytes.len() == 64 && bytes.iter().all(|byte| *byte == bytes[0]));
    }

    #[test]
    fn equal_tensors_are_equal_bytes() {
        let metadata = || (0..9).map(|i| (format!("key {i} ü"), format!("value \"{i}\""))).collect::<HashMap<_, _>>();
        let view = || TensorView::new(::safetensors::Dtype::U8, vec![3], &[1, 2, 3]).unwrap();
        let bytes = safetensors([("a", view())], metadata()).unwrap();
        (0..20).for_each(|_| assert_eq!(safetensors([("a", view())], metadata()).unwrap(), bytes));
        let (_, head) = SafeTensors::read_metadata(&bytes).unwrap();
        assert_eq!(head.metadata().clone().unwrap(), metadata());
        assert_eq!(SafeTensors::deserialize(&bytes).unwrap().tensor("a").unwrap().data(), [1, 2, 3]);
    }

    #[test]
    fn a_file_above_the_limit_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        write(&path, &[0; 11]).unwrap();
        assert!(read(&path, 10).is_err());
        assert_eq!(read(&path, 11).unwrap().len(), 11);
    }
}
