//! A folder of YUV4MPEG2 files with captions beside them, `ring.y4m` and `ring.txt`, cut into windows.

use crate::y4m::{Header, Video};
use musiva_plugin::schemars::{self, JsonSchema};
use musiva_plugin::serde::Deserialize;
use musiva_plugin::{Dataset, DatasetSpec, Error, Plugin, Result, Sample};
use std::cell::OnceCell;
use std::fs;
use std::path::PathBuf;

/// No folder has more files.
const MOST: usize = 1 << 20;

/// What a recipe says of it.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(crate = "musiva_plugin::serde", deny_unknown_fields)]
pub struct Config {
    /// The folder. All its files have one size and one rate, which are those of the clips.
    #[schemars(extend("format" = "path"))]
    pub path: PathBuf,
    /// Frames of a clip: files are cut into windows of so many, and what remains is left out.
    #[serde(default = "seventeen")]
    #[schemars(range(min = 1, max = 1024))]
    pub frames: usize,
}

fn seventeen() -> usize {
    17
}

/// The dataset. The folder is read when the first thing is asked of it.
pub struct Y4m {
    config: Config,
    index: OnceCell<Index>,
}

struct Index {
    header: Header,
    /// Each file, and the number of its first window.
    files: Vec<(PathBuf, u64)>,
    windows: u64,
}

impl Plugin for Y4m {
    const ID: &'static str = "org.musiva.y4m";
    const VERSION: &'static str = "0.1.0";
    const SUMMARY: &'static str = "clips of uncompressed YUV4MPEG2 files";
    const LICENSE: &'static str = "MIT OR Apache-2.0";
    type Config = Config;

    fn new(config: Config) -> Result<Self> {
        Ok(Self { config, index: OnceCell::new() })
    }
}

impl Y4m {
    fn index(&self) -> Result<&Index> {
        if let Some(index) = self.index.get() {
            return Ok(index);
        }
        let index = self.read_folder()?;
        Ok(self.index.get_or_init(|| index))
    }

    fn read_folder(&self) -> Result<Index> {
        let folder = &self.config.path;
        let wrong = |error: std::io::Error| Error::config(format!("`path`: {}: {error}", folder.display()));
        let entries = fs::read_dir(folder).map_err(wrong)?.take(MOST);
        let mut paths =
            entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>().map_err(wrong)?;
        paths.retain(|path| path.extension().is_some_and(|extension| extension == "y4m"));
        // Folders have no order of their own.
        paths.sort();
        let mut first: Option<(Header, PathBuf)> = None;
        let (mut files, mut windows) = (Vec::new(), 0);
        for path in paths {
            let mut video = Video::open(&path)?;
            let header = video.header;
            let (wanted, other) = first.get_or_insert_with(|| (header, path.clone()));
            if (header.size, header.rate) != (wanted.size, wanted.rate) {
                return Err(Error::config(format!(
                    "`path`: {} has frames of {:?} at {:?}, {} has others: {:?} at {:?}",
                    path.display(),
                    header.size,
                    header.rate,
                    other.display(),
                    wanted.size,
                    wanted.rate
                )));
            }
            files.push((path, windows));
            windows += (video.count()? / self.config.frames) as u64;
        }
        match first {
            Some((header, _)) if windows > 0 => Ok(Index { header, files, windows }),
            _ => {
                let (folder, frames) = (folder.display(), self.config.frames);
                Err(Error::config(format!("`path`: {folder} holds no .y4m file of at least {frames} frames")))
            }
        }
    }
}

impl Dataset for Y4m {
    fn spec(&self) -> Result<DatasetSpec> {
        let Index { header, windows, .. } = self.index()?;
        let [height, width] = header.size;
        Ok(DatasetSpec { length: Some(*windows), clip: [self.config.frames, height, width], rate: header.rate })
    }

    fn read(&self, index: u64) -> Result<Sample> {
        let Index { files, windows, .. } = self.index()?;
        if index >= *windows {
            return Err(Error::input(format!("there is no clip {index}, only {windows}")));
        }
        // The last file that begins at or before it: one without a window begins where the next one does.
        let (path, start) = &files[files.partition_point(|(_, start)| *start <= index) - 1];
        let first = (index - start) as usize * self.config.frames;
        let pixels = Video::open(path)?.read(first, self.config.frames)?;
        let captions = path.with_extension("txt");
        let caption = match captions.exists() {
            true => {
                fs::read_to_string(&captions).map_err(|e| Error::internal(format!("{}: {e}", captions.display())))?
            }
            false => String::new(),
        };
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let last = first + self.config.frames - 1;
        Ok(Sample { pixels, caption: caption.trim().to_owned(), id: format!("{name}, frames {first} to {last}") })
    }
}
