//! Writing an MP4 while its frames are still being made.

use crate::{
    fault::{Fault, Outcome},
    metadata::Metadata,
    mp4::write::Writer,
    write::{WriteOptions, beside, enlarged, even, fitting_scale, folder_of, put_in_place},
};
use musiva_core::{Clip, Error, ErrorKind, Rate, Result};
use std::{
    io::{BufWriter, Write},
    path::{Path, PathBuf},
};

/// Writes an `.mp4` piece by piece, holding no more than one: for clips that do not fit into memory.
///
/// The file is what [`write_clip_with`](crate::write_clip_with) would have made of all of them, byte for byte, and
/// appears under its name when it is complete. Until then what is coded lies beside it.
pub struct VideoWriter {
    path: PathBuf,
    size: [usize; 2],
    scale: usize,
    metadata: Metadata,
    writer: Writer,
}

impl VideoWriter {
    /// For frames of `[height, width]` pixels.
    ///
    /// # Errors
    /// Where the name does not end in `.mp4`, the frames are too large for it, or the disk refuses.
    pub fn create(
        path: impl AsRef<Path>,
        size: [usize; 2],
        rate: Rate,
        metadata: &Metadata,
        options: &WriteOptions,
    ) -> Result<Self> {
        let path = path.as_ref();
        if !path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("mp4")) {
            let found = "only an `.mp4` is written piece by piece";
            return Err(
                Error::new(ErrorKind::Unsupported, path.display().to_string(), found).hint("name the file .mp4")
            );
        }
        let scale = fitting_scale(path, "mp4", size, options)?;
        let waiting = tempfile::tempfile_in(folder_of(path)).map_err(|error| Error::io(path, "write it", error))?;
        let written = size.map(|side| (side * scale).next_multiple_of(2));
        let writer = Writer::new(written, rate, options.qp, waiting).map_err(|fault| refused(path, fault))?;
        Ok(Self { path: path.to_owned(), size, scale, metadata: metadata.clone(), writer })
    }

    /// The next frames, at whatever rate they say.
    ///
    /// # Errors
    /// Where they are of another size, or the disk refuses.
    pub fn push(&mut self, clip: &Clip) -> Result<()> {
        let [frames, height, width] = clip.shape();
        if [height, width] != self.size {
            let [wanted_height, wanted_width] = self.size;
            let found = format!("frames of {width}×{height} pixels behind those of {wanted_width}×{wanted_height}");
            return Err(Error::new(ErrorKind::Media, self.path.display().to_string(), found));
        }
        for index in 0..frames {
            let frame = clip.slice(index..index + 1);
            let frame = even(enlarged(&frame, self.scale)?)?;
            self.writer.push(frame.pixels()).map_err(|fault| refused(&self.path, fault))?;
        }
        Ok(())
    }

    /// Puts the file in its place.
    ///
    /// # Errors
    /// Where there were no frames, or the disk refuses.
    pub fn finish(self) -> Result<()> {
        let Self { path, metadata, writer, .. } = self;
        let mut file = beside(&path)?;
        let written: Outcome<()> = (|| {
            let mut out = BufWriter::new(&mut file);
            writer.finish(&metadata, &mut out)?;
            Ok(out.flush()?)
        })();
        written.map_err(|fault| refused(&path, fault))?;
        put_in_place(file, &path)
    }
}

fn refused(path: &Path, fault: Fault) -> Error {
    match fault {
        Fault::Io(error) => Error::io(path, "write it", error),
        fault => Error::new(ErrorKind::Media, path.display().to_string(), fault.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::write_clip_with;

    #[test]
    fn piece_by_piece_is_the_whole() {
        let folder = tempfile::tempdir().unwrap();
        let rate = Rate::new(24_000, 1001).unwrap();
        let noise = |i: usize| (i as u32).wrapping_mul(2_654_435_761).rotate_left(7) as u8 & 0x3f;
        // Odd sides, and one below what the format takes.
        for (size, scale) in [([14, 37], 1), ([21, 17], 3)] {
            let clip = Clip::new([9, size[0], size[1]], rate, (0..9 * size[0] * size[1] * 3).map(noise).collect());
            let clip = clip.unwrap();
            let (whole, pieces) = (folder.path().join("whole.mp4"), folder.path().join("pieces.mp4"));
            let metadata = Metadata::new().with("musiva.recipe", "it").unwrap();
            let options = WriteOptions { scale, ..WriteOptions::default() };
            write_clip_with(&whole, &clip, &metadata, &options).unwrap();
            let _ = std::fs::remove_file(&pieces);
            let mut writer = VideoWriter::create(&pieces, size, rate, &metadata, &options).unwrap();
            for range in [0..1, 1..6, 6..9] {
                writer.push(&clip.slice(range)).unwrap();
            }
            assert!(!pieces.exists(), "no half-written file");
            writer.finish().unwrap();
            assert!(std::fs::read(&whole).unwrap() == std::fs::read(&pieces).unwrap());
        }
        // What waited is gone.
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let create = |name: &str, size| {
            let options = WriteOptions::default();
            VideoWriter::create(folder.path().join(name), size, Rate::whole(8), &Metadata::new(), &options)
        };
        assert!(create("a.gif", [16, 16]).is_err() && create("a.mp4", [16, 5000]).is_err());
        let mut writer = create("a.mp4", [16, 16]).unwrap();
        let other = Clip::new([1, 16, 18], Rate::whole(8), vec![0; 16 * 18 * 3]).unwrap();
        assert!(writer.push(&other).is_err());
        assert!(writer.finish().is_err(), "a file of no frames");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
