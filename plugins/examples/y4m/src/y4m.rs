//! YUV4MPEG2, as mjpegtools and ffmpeg write it: a line of text for the file, a line for each frame, and planes of bytes.
//! Colours are those of ITU-R BT.601.

use musiva_plugin::{Error, Result};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// No line is longer.
const LINE: u64 = 1 << 10;
/// No side is longer.
const SIDE: usize = 1 << 13;

/// What the first line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Height and width.
    pub size: [usize; 2],
    /// So many frames in so many seconds.
    pub rate: [u32; 2],
    /// How many rows and columns share a colour difference.
    shared: [usize; 2],
    /// Whether bytes go from 0 to 255, not from 16 to 235 and 240.
    full: bool,
}

impl Header {
    /// Rows and columns of a plane of colour differences.
    fn chroma(&self) -> [usize; 2] {
        [self.size[0].div_ceil(self.shared[0]), self.size[1].div_ceil(self.shared[1])]
    }

    /// Bytes of a frame.
    fn bytes(&self) -> usize {
        self.size.iter().product::<usize>() + 2 * self.chroma().iter().product::<usize>()
    }

    fn parse(line: &str) -> Result<Self, String> {
        let mut words = line.split(' ');
        if words.next() != Some("YUV4MPEG2") {
            return Err("it is no YUV4MPEG2 file".into());
        }
        let (mut size, mut rate, mut shared, mut full) = ([0, 0], [0, 0], [2, 2], false);
        for word in words.filter(|word| !word.is_empty()) {
            let (key, value) = word.split_at(word.chars().next().map_or(0, char::len_utf8));
            let bad = || format!("its first line says `{word}`, which is not understood");
            match key {
                "W" => size[1] = value.parse().map_err(|_| bad())?,
                "H" => size[0] = value.parse().map_err(|_| bad())?,
                "F" => {
                    let (frames, seconds) = value.split_once(':').ok_or_else(bad)?;
                    rate = [frames.parse().map_err(|_| bad())?, seconds.parse().map_err(|_| bad())?];
                }
                "C" => {
                    shared = match value {
                        "420" | "420jpeg" | "420mpeg2" | "420paldv" => [2, 2],
                        "422" => [1, 2],
                        "444" => [1, 1],
                        _ => return Err(format!("its colours are `{value}`; 420, 422 and 444 of 8 bits are read")),
                    }
                }
                "X" if value == "COLORRANGE=FULL" => full = true,
                // Interlacing, the shape of a pixel, comments.
                _ => {}
            }
        }
        match size.iter().all(|side| (1..=SIDE).contains(side)) && !rate.contains(&0) {
            true => Ok(Self { size, rate, shared, full }),
            false => Err(format!("its frames are of {size:?} at {rate:?}, which are none")),
        }
    }
}

/// An open file.
pub struct Video {
    /// What its first line says.
    pub header: Header,
    path: PathBuf,
    file: BufReader<File>,
}

impl Video {
    /// Opens a file and reads its first line.
    pub fn open(path: &Path) -> Result<Self> {
        let wrong = |message: String| Error::config(format!("{}: {message}", path.display()));
        let mut file = BufReader::new(File::open(path).map_err(|error| wrong(error.to_string()))?);
        let line = line(&mut file).map_err(wrong)?;
        let header = Header::parse(line.as_deref().unwrap_or_default()).map_err(wrong)?;
        Ok(Self { header, path: path.to_owned(), file })
    }

    fn wrong(&self, message: impl std::fmt::Display) -> Error {
        Error::config(format!("{}: {message}", self.path.display()))
    }

    /// Goes past the line of the next frame; false: there is none.
    fn frame(&mut self) -> Result<bool> {
        match line(&mut self.file).map_err(|error| self.wrong(error))? {
            Some(line) if line == "FRAME" || line.starts_with("FRAME ") => Ok(true),
            Some(_) => Err(self.wrong("where a frame should begin there is something else")),
            None => Ok(false),
        }
    }

    /// How many whole frames are left, none of which is read.
    pub fn count(&mut self) -> Result<usize> {
        let length = self.file.get_ref().metadata().map_err(|error| self.wrong(error))?.len();
        let mut count = 0;
        while self.frame()? {
            let end =
                self.file.seek(SeekFrom::Current(self.header.bytes() as i64)).map_err(|error| self.wrong(error))?;
            if end > length {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    /// Frames `first..first + count` of those that are left as `[count, H, W, 3]`.
    pub fn read(mut self, first: usize, count: usize) -> Result<Vec<u8>> {
        let [height, width] = self.header.size;
        let (mut planes, mut pixels) = (vec![0; self.header.bytes()], Vec::with_capacity(count * height * width * 3));
        for number in 0..first + count {
            if !self.frame()? {
                return Err(self.wrong(format!("it ends before frame {number}")));
            }
            if number < first {
                self.file.seek_relative(planes.len() as i64).map_err(|error| self.wrong(error))?;
                continue;
            }
            self.file.read_exact(&mut planes).map_err(|error| self.wrong(error))?;
            add_rgb(&mut pixels, &planes, &self.header);
        }
        Ok(pixels)
    }
}

/// The next line without its end; `None`: there is none.
fn line(file: &mut impl BufRead) -> Result<Option<String>, String> {
    let mut bytes = Vec::new();
    file.take(LINE).read_until(b'\n', &mut bytes).map_err(|error| error.to_string())?;
    match bytes.pop() {
        None => Ok(None),
        Some(b'\n') => String::from_utf8(bytes).map(Some).map_err(|_| "a line of it is no text".into()),
        Some(_) => Err("a line of it does not end".into()),
    }
}

/// Appends a frame in red, green and blue. Colour differences that pixels share stand for each of them.
fn add_rgb(pixels: &mut Vec<u8>, planes: &[u8], header: &Header) {
    let ([height, width], [rows, columns]) = (header.size, header.chroma());
    let (luma, chroma) = planes.split_at(height * width);
    let (blue, red) = chroma.split_at(rows * columns);
    let (low, luma_scale, chroma_scale) =
        if header.full { (0.0, 1.0, 1.0) } else { (16.0, 255.0 / 219.0, 255.0 / 224.0) };
    for y in 0..height {
        for x in 0..width {
            let at = y / header.shared[0] * columns + x / header.shared[1];
            let light = (f32::from(luma[y * width + x]) - low) * luma_scale;
            let difference = |plane: &[u8]| (f32::from(plane[at]) - 128.0) * chroma_scale;
            let (cb, cr) = (difference(blue), difference(red));
            let rgb = [light + 1.402 * cr, light - 0.344_136 * cb - 0.714_136 * cr, light + 1.772 * cb];
            pixels.extend(rgb.map(|value| value.round() as u8));
        }
    }
}
