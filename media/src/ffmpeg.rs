//! Everything that our own readers do not know, through the `ffmpeg` and `ffprobe` on the PATH.

use crate::{
    fault::{Fault, Outcome, broken},
    info::{Format, Matrix, Orientation, Range, SourceInfo},
    source::{Source, Stream},
    timeline::Schedule,
};
use musiva_core::Rate;
use std::{
    collections::HashMap,
    ffi::OsString,
    io::{BufRead, BufReader, Read},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

/// Only files: a playlist inside the file must not make ffmpeg fetch from the network.
const LOCAL: [&str; 4] = ["-v", "error", "-protocol_whitelist", "file,pipe,crypto,data"];

/// ffmpeg at work, writing one PPM after another into a pipe.
struct Pipe {
    path: PathBuf,
    rate: Rate,
    max_pixels: u64,
    size: [usize; 2],
    child: Child,
    output: BufReader<ChildStdout>,
    index: usize,
}

fn url(path: &Path) -> OsString {
    // Without the prefix, a name such as `concat:a|b` or `-y` would be an order.
    let mut url = OsString::from("file:");
    url.push(path);
    url
}

/// Whether both programs are there.
pub(crate) fn is_there() -> bool {
    ["ffmpeg", "ffprobe"].iter().all(|program| {
        let silent = || Stdio::null();
        Command::new(program)
            .arg("-version")
            .stdin(silent())
            .stdout(silent())
            .stderr(silent())
            .status()
            .is_ok_and(|s| s.success())
    })
}

/// Opens the first video stream, at its average rate; ffmpeg turns the pictures upright and converts
/// their colours.
pub(crate) fn open(path: &Path, max_pixels: u64) -> Outcome<Stream> {
    let said = probe(path)?;
    let said = |key: &str| said.get(key).map(String::as_str).unwrap_or_default();
    let rate = |text: &str| {
        let (numerator, denominator) = text.split_once('/')?;
        Rate::new(numerator.parse().ok()?, denominator.parse().ok()?).ok()
    };
    let rate = rate(said("avg_frame_rate")).or_else(|| rate(said("r_frame_rate"))).unwrap_or(Rate::whole(1));
    let stated = !matches!(said("color_space"), "" | "unknown");
    let matrix = match said("color_space") {
        "bt709" => Matrix::Bt709,
        "gbr" => Matrix::Rgb,
        "bt2020nc" => Matrix::Bt2020,
        _ => Matrix::Bt601,
    };
    let range = if said("color_range") == "pc" { Range::Full } else { Range::Limited };
    let codec = said("codec_name").to_owned();
    let mut pipe = Pipe::start(path, rate, max_pixels)?;
    pipe.size = pipe.header()?.ok_or_else(|| broken("ffmpeg finds no picture in it"))?;
    let stored = pipe.size;
    pipe.restart()?;
    let schedule = Schedule::even(rate, None);
    let info = SourceInfo {
        format: Format::Ffmpeg,
        codec,
        matrix,
        range,
        colour_stated: stated,
        orientation: Orientation::default(),
        stored,
        pixel_aspect: (1, 1),
        rate,
        constant_rate: true,
        frames: None,
        start: 0.0,
    };
    Ok(Stream { info, schedule, source: Box::new(pipe) })
}

fn probe(path: &Path) -> Outcome<HashMap<String, String>> {
    let entries = "stream=codec_name,avg_frame_rate,r_frame_rate,color_space,color_range";
    let output = Command::new("ffprobe")
        .args(LOCAL)
        .args(["-select_streams", "v:0", "-show_entries", entries, "-of", "default=nw=1", "-i"])
        .arg(url(path))
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said: HashMap<_, _> = text
        .lines()
        .filter_map(|line| line.split_once('='))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect();
    if said.is_empty() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why = why.lines().last().unwrap_or("it finds no video in it");
        return Err(broken(format!("neither our readers nor ffmpeg can read it: {why}")));
    }
    Ok(said)
}

impl Pipe {
    fn start(path: &Path, rate: Rate, max_pixels: u64) -> Outcome<Self> {
        let mut child = Command::new("ffmpeg")
            .args(LOCAL)
            .args(["-nostdin", "-i"])
            .arg(url(path))
            .args(["-map", "0:v:0", "-vf", &format!("fps={}/{}", rate.numerator, rate.denominator)])
            .args(["-sws_flags", "bilinear+accurate_rnd+full_chroma_int"])
            .args(["-f", "image2pipe", "-c:v", "ppm", "-pix_fmt", "rgb24", "-"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().ok_or_else(|| broken("ffmpeg has no output"))?;
        Ok(Self {
            path: path.to_owned(),
            rate,
            max_pixels,
            size: [0; 2],
            child,
            output: BufReader::new(output),
            index: 0,
        })
    }

    fn restart(&mut self) -> Outcome<()> {
        let size = self.size;
        *self = Self::start(&self.path, self.rate, self.max_pixels)?;
        self.size = size;
        Ok(())
    }

    /// The size in the next PPM's header; `None` at the end.
    fn header(&mut self) -> Outcome<Option<[usize; 2]>> {
        let mut words = Vec::new();
        for end in [b'\n', b' ', b'\n', b'\n'] {
            let mut word = Vec::new();
            (&mut self.output).take(32).read_until(end, &mut word)?;
            words.push(String::from_utf8_lossy(&word).trim().to_owned());
        }
        if words[0].is_empty() {
            return Ok(None);
        }
        let (Ok(width), Ok(height), "P6", "255") =
            (words[1].parse::<usize>(), words[2].parse::<usize>(), &*words[0], &*words[3])
        else {
            return Err(broken("ffmpeg's output is not what was asked for"));
        };
        match height.checked_mul(width) {
            Some(pixels) if pixels as u64 <= self.max_pixels => Ok(Some([height, width])),
            _ => Err(Fault::TooBig(format!(
                "it has {width}×{height} pixels, more than the limit of {}",
                self.max_pixels
            ))),
        }
    }
}

impl Source for Pipe {
    fn next(&mut self, into: Option<&mut Vec<u8>>) -> Outcome<bool> {
        let Some([height, width]) = self.header()? else {
            return match self.child.wait()?.success() {
                true => Ok(false),
                false => Err(broken("ffmpeg cannot decode it to its end")),
            };
        };
        if [height, width] != self.size {
            return Err(broken("its pictures change their size"));
        }
        let mut pixels = vec![0; height * width * 3];
        self.output.read_exact(&mut pixels)?;
        self.index += 1;
        if let Some(into) = into {
            *into = pixels;
        }
        Ok(true)
    }

    fn seek(&mut self, picture: usize) -> Outcome<usize> {
        if picture < self.index {
            self.restart()?;
        }
        Ok(self.index)
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
