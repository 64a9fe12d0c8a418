//! Reading: the format by the first bytes, the pictures one by one.

use crate::{
    fault::{Fault, Outcome, broken},
    ffmpeg, gif,
    info::{Format, SourceInfo},
    location::Location,
    mp4,
    source::{ReadSeek, Stream},
    stills,
};
use musiva_core::{Clip, Error, ErrorKind, Rate, Result};
use std::{
    io::{Cursor, SeekFrom},
    path::Path,
};

/// Which frames to read, and how much memory they may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadOptions {
    /// First frame, from 0.
    pub start: usize,
    /// Number of frames; `None` for all up to the end.
    pub frames: Option<usize>,
    /// Most frames that a clip may have: 10,000 unless changed.
    pub max_frames: usize,
    /// Most pixels that one frame may have: 2²⁵, a little more than 8K video, unless changed.
    pub max_pixels: u64,
    /// Most bytes that a clip may take: 4 GiB unless changed.
    pub max_bytes: u64,
}

impl Default for ReadOptions {
    fn default() -> Self {
        Self { start: 0, frames: None, max_frames: 10_000, max_pixels: 1 << 25, max_bytes: 4 << 30 }
    }
}

impl ReadOptions {
    /// `frames` frames from frame `start` on.
    pub fn window(start: usize, frames: usize) -> Self {
        Self { start, frames: Some(frames), ..Self::default() }
    }
}

/// A clip and what its file said.
#[derive(Clone, Debug)]
pub struct Opened {
    /// The frames that were asked for.
    pub clip: Clip,
    /// What the file says; `frames` counts all of the file.
    pub info: SourceInfo,
}

/// One frame of a video.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Its number, from 0.
    pub index: usize,
    /// When it appears, in seconds from frame 0.
    pub time: f64,
    /// Height in pixels.
    pub height: usize,
    /// Width in pixels.
    pub width: usize,
    /// `[H, W, 3]`, 8-bit full-range sRGB.
    pub pixels: Vec<u8>,
}

/// Reads frame by frame, holding no more than a few of them: for videos that do not fit into memory.
///
/// As an iterator it ends after its first error.
pub struct VideoReader {
    location: Location,
    /// Most pixels of a frame, where `location` is a file, which ffmpeg may be asked for.
    file: Option<u64>,
    stream: Stream,
    /// Number of the frame that comes next.
    next: usize,
    /// Number of the picture that the source hands out next.
    upcoming: usize,
    /// The last picture, upright, for when it is shown more than once.
    held: Option<(usize, Vec<u8>)>,
    failed: bool,
}

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Mp4,
    Gif,
    Png,
    Jpeg,
    WebP,
    Wav,
    Flac,
    Ogg,
    Mpeg,
    Empty,
    Unknown,
}

pub(crate) fn sniff(file: &mut Box<dyn ReadSeek>) -> Outcome<Kind> {
    let mut head = [0; 16];
    file.seek(SeekFrom::Start(0))?;
    let mut filled = 0;
    while filled < head.len() {
        match file.read(&mut head[filled..])? {
            0 => break,
            count => filled += count,
        }
    }
    file.seek(SeekFrom::Start(0))?;
    let starts = |magic: &[u8]| head.starts_with(magic);
    Ok(if filled == 0 {
        Kind::Empty
    } else if starts(b"\x89PNG\r\n\x1a\n") {
        Kind::Png
    } else if starts(b"GIF87a") || starts(b"GIF89a") {
        Kind::Gif
    } else if starts(b"\xff\xd8\xff") {
        Kind::Jpeg
    } else if starts(b"RIFF") && &head[8..12] == b"WEBP" {
        Kind::WebP
    } else if starts(b"RIFF") && &head[8..12] == b"WAVE" {
        Kind::Wav
    } else if starts(b"fLaC") {
        Kind::Flac
    } else if starts(b"OggS") {
        Kind::Ogg
    } else if starts(b"ID3") || head[0] == 0xff && head[1] & 0xe0 == 0xe0 {
        Kind::Mpeg
    } else if matches!(&head[8..12], b"avif" | b"heic" | b"mif1") {
        Kind::Unknown
    } else if matches!(&head[4..8], b"ftyp" | b"moov" | b"mdat" | b"free" | b"wide" | b"skip") {
        Kind::Mp4
    } else {
        Kind::Unknown
    })
}

fn open(mut file: Box<dyn ReadSeek>, max_pixels: u64) -> Outcome<Stream> {
    match sniff(&mut file)? {
        Kind::Mp4 => mp4::read::open(file, max_pixels),
        Kind::Gif => gif::read::open(file, max_pixels),
        Kind::Png => stills::open_png(file, max_pixels),
        Kind::Jpeg => stills::open_jpeg(file, max_pixels),
        Kind::WebP => stills::open_webp(file, max_pixels),
        Kind::Wav | Kind::Flac | Kind::Mpeg => Err(Fault::Pictureless("it is a sound, without pictures".into())),
        Kind::Empty => Err(broken("it is empty")),
        // An Ogg may hold Theora.
        Kind::Ogg | Kind::Unknown => Err(Fault::Foreign("it is none of MP4, MOV, GIF, PNG, JPEG and WebP".into())),
    }
}

impl VideoReader {
    /// Opens a video or an image with the default limits.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_with(path.as_ref(), ReadOptions::default().max_pixels)
    }

    /// Opens a video or an image whose frames have `max_pixels` pixels at most.
    ///
    /// # Errors
    /// Where the file cannot be read, is damaged, is larger than that, or is of a format that needs
    /// ffmpeg and there is none.
    pub fn open_with(path: &Path, max_pixels: u64) -> Result<Self> {
        Self::open_at(Location::file(path), max_pixels)
    }

    /// The same of a file, or of a part of one.
    ///
    /// # Errors
    /// As [`open_with`](Self::open_with).
    pub fn open_at(location: Location, max_pixels: u64) -> Result<Self> {
        let opened = match open(location.open()?, max_pixels) {
            Err(fault) if fault.asks_ffmpeg() && ffmpeg::is_there() => ffmpeg::open(&location, max_pixels),
            other => other,
        };
        let stream = opened.map_err(|fault| fault.at(location.name()))?;
        Ok(Self { file: Some(max_pixels), ..Self::over(location, stream) })
    }

    /// Opens bytes in memory; without the help of ffmpeg.
    pub fn from_bytes(bytes: Vec<u8>, max_pixels: u64) -> Result<Self> {
        let place = Location::file("bytes");
        let stream = open(Box::new(Cursor::new(bytes)), max_pixels).map_err(|fault| fault.at(place.name()))?;
        Ok(Self::over(place, stream))
    }

    fn over(location: Location, stream: Stream) -> Self {
        Self { location, file: None, stream, next: 0, upcoming: 0, held: None, failed: false }
    }

    /// The same file at another rate, from its first frame on: frame `k` is the picture that is on show at `k / rate`. A
    /// still stays one frame.
    ///
    /// # Errors
    /// Where it then has too many frames.
    pub fn at_rate(mut self, rate: Rate) -> Result<Self> {
        self.stream.sample(rate).map_err(|fault| fault.at(self.location.name()))?;
        (self.next, self.held) = (0, None);
        self.seek(0)?;
        Ok(self)
    }

    /// What the file says.
    pub fn info(&self) -> &SourceInfo {
        &self.stream.info
    }

    /// Height and width of the frames.
    pub fn size(&self) -> [usize; 2] {
        self.info().orientation.turned(self.info().stored)
    }

    /// Goes to frame `index`: it comes next. Decoding starts at the nearest picture before it that
    /// needs no other.
    pub fn seek(&mut self, index: usize) -> Result<()> {
        let outcome = self.go(index);
        self.checked(outcome)
    }

    fn go(&mut self, index: usize) -> Outcome<()> {
        self.next = index;
        let Some(picture) = self.stream.schedule.picture(index) else { return Ok(()) };
        let near = self.upcoming <= picture && picture < self.upcoming + 8;
        let holds = self.held.as_ref().is_some_and(|(held, _)| *held == picture);
        if !near && !holds {
            self.held = None;
            self.upcoming = self.stream.source.seek(picture)?;
        }
        Ok(())
    }

    /// The next frame; `None` behind the last one.
    pub fn next_frame(&mut self) -> Result<Option<Frame>> {
        if self.failed {
            return Ok(None);
        }
        let outcome = match self.step() {
            Err(fault) if fault.asks_ffmpeg() => self.step_by_ffmpeg(fault),
            other => other,
        };
        self.checked(outcome)
    }

    /// The next frame by ffmpeg, where our own decoder failed.
    fn step_by_ffmpeg(&mut self, fault: Fault) -> Outcome<Option<Frame>> {
        let Some(max_pixels) = self.file.filter(|_| self.info().format != Format::Ffmpeg && ffmpeg::is_there()) else {
            return Err(fault);
        };
        let (rate, size) = (self.info().rate, self.size());
        let mut stream = ffmpeg::open(&self.location, max_pixels)?;
        stream.sample(rate)?;
        if (stream.info.stored, stream.schedule.frames) != (size, self.stream.schedule.frames) {
            return Err(fault);
        }
        (self.stream, self.upcoming, self.held) = (stream, 0, None);
        self.go(self.next)?;
        self.step()
    }

    fn checked<T>(&mut self, outcome: Outcome<T>) -> Result<T> {
        outcome.map_err(|fault| {
            self.failed = true;
            fault.at(self.location.name())
        })
    }

    fn step(&mut self) -> Outcome<Option<Frame>> {
        let Some(picture) = self.stream.schedule.picture(self.next) else { return Ok(None) };
        let mut pixels = match self.held.take() {
            Some((held, pixels)) if held == picture => pixels,
            _ => {
                while self.upcoming < picture {
                    if !self.stream.source.next(None)? {
                        return Ok(None);
                    }
                    self.upcoming += 1;
                }
                let mut pixels = Vec::new();
                if !self.stream.source.next(Some(&mut pixels))? {
                    return Ok(None);
                }
                self.upcoming += 1;
                self.info().orientation.apply(pixels, self.info().stored)
            }
        };
        if self.stream.schedule.picture(self.next + 1) == Some(picture) {
            self.held = Some((picture, std::mem::take(&mut pixels)));
            pixels = self.held.as_ref().map_or(Vec::new(), |(_, pixels)| pixels.clone());
        }
        let [height, width] = self.size();
        let index = self.next;
        self.next += 1;
        Ok(Some(Frame { index, time: index as f64 / self.info().rate.as_f64(), height, width, pixels }))
    }

    /// Reads the window that `options` name as one clip.
    ///
    /// # Errors
    /// Where the window reaches beyond the end, or the clip would be larger than the limits.
    pub fn read(&mut self, options: &ReadOptions) -> Result<Clip> {
        let total = self.info().frames;
        let wanted = options.frames.unwrap_or(total.saturating_sub(options.start));
        let [height, width] = self.size();
        let place = self.location.name().display().to_string();
        let beyond = |total: usize| {
            let asked = match options.frames {
                Some(frames) => format!("{frames} frames from {} on", options.start),
                None => format!("frames from {} on", options.start),
            };
            Error::new(ErrorKind::Media, place.clone(), format!("it has {total} frames; asked for were {asked}"))
                .hint(format!("ask for a window within its {total} frames"))
        };
        if wanted == 0 || options.start.checked_add(wanted).is_none_or(|end| end > total) {
            return Err(beyond(total));
        }
        let frame_bytes = (height * width * 3) as u64;
        let most = (options.max_frames as u64).min(options.max_bytes / frame_bytes.max(1));
        if wanted as u64 > most {
            let message =
                format!("{wanted} frames of {width}×{height} are more than the limits allow, which is {most}");
            return Err(Fault::TooBig(message).at(self.location.name()));
        }
        self.seek(options.start)?;
        // A small file may declare many frames: room is made as they come.
        let mut pixels = Vec::new();
        pixels.reserve_exact((wanted as u64 * frame_bytes).min(256 << 20) as usize);
        let mut count = 0;
        while count < wanted {
            let Some(frame) = self.next_frame()? else { return Err(beyond(self.next)) };
            count += 1;
            pixels.extend_from_slice(&frame.pixels);
        }
        Clip::new([count, height, width], self.info().rate, pixels)
    }
}

impl Iterator for VideoReader {
    type Item = Result<Frame>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_frame().transpose()
    }
}

/// Reads a video or an image, or a window of it, into memory.
///
/// The format is found by the content, never by the name. Frames come in the order in which they are
/// shown, upright, at a constant rate, as 8-bit full-range sRGB by the file's own matrix and range.
///
/// # Errors
/// Where the file cannot be read, is damaged or cut off, is larger than the limits of `options`, ends
/// before the window does, or needs ffmpeg and there is none.
pub fn read_clip(path: impl AsRef<Path>, options: &ReadOptions) -> Result<Opened> {
    let mut reader = VideoReader::open_with(path.as_ref(), options.max_pixels)?;
    let clip = reader.read(options)?;
    Ok(Opened { clip, info: reader.info().clone() })
}
