//! Everything that our own readers do not know, through the `ffmpeg` and `ffprobe` on the PATH.
//!
//! Pictures keep the times that the file states: ffmpeg hands each of them out once, and our schedule says which one a
//! frame shows. How luma and chroma become colours is told to ffmpeg, so that equal bytes give equal colours whoever
//! reads them. ffmpeg stops at damage instead of painting over it.

use crate::{
    fault::{Fault, Outcome, broken, silent},
    hdr::ToneMap,
    info::{Colours, Format, Matrix, Orientation, Range, SourceInfo, Stated, Transfer},
    location::Location,
    sound::SoundInfo,
    source::{Source, Stream},
    timeline::{Schedule, Timeline},
};
use musiva_core::Rate;
use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read},
    path::PathBuf,
    process::{Child, ChildStdout, Command, Stdio},
    sync::{Arc, Mutex, OnceLock, PoisonError},
    time::SystemTime,
};

/// Only files: a playlist inside the file must not make ffmpeg fetch from the network.
const LOCAL: [&str; 4] = ["-v", "error", "-protocol_whitelist", "file,pipe,crypto,data,subfile"];
/// Files of which is remembered what ffprobe said: it decodes them to know.
const REMEMBERED: usize = 4096;
/// Channels of a sound at most.
const MOST_CHANNELS: usize = 64;

/// The major version of ffmpeg, where both programs are there; 0 where it does not tell.
fn version() -> Option<u32> {
    static VERSION: OnceLock<Option<u32>> = OnceLock::new();
    *VERSION.get_or_init(|| {
        let said = ["ffmpeg", "ffprobe"].map(|program| {
            let output = Command::new(program).arg("-version").stdin(Stdio::null()).stderr(Stdio::null()).output();
            output.ok().filter(|output| output.status.success())
        });
        let [Some(ffmpeg), Some(_)] = said else { return None };
        let text = String::from_utf8_lossy(&ffmpeg.stdout).into_owned();
        let number = text.strip_prefix("ffmpeg version ").unwrap_or_default().trim_start_matches('n');
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        Some(digits.parse().unwrap_or(0))
    })
}

/// Whether both programs are there.
pub(crate) fn is_there() -> bool {
    version().is_some()
}

/// What ffprobe says of the pictures of a file.
#[derive(Debug)]
struct Pictures {
    codec: String,
    colours: Colours,
    timeline: Timeline,
    /// Whether it is one picture in a format of pictures alone, whose times mean nothing.
    still: bool,
    /// Seconds on the file's timeline before the first picture.
    start: f64,
}

/// Opens the first video stream; ffmpeg turns the pictures upright.
pub(crate) fn open(location: &Location, max_pixels: u64) -> Outcome<Stream> {
    let pictures = pictures(location)?;
    let schedule = match pictures.still {
        true => Schedule::still(),
        false => Schedule::of(pictures.timeline.clone())?,
    };
    let mut pipe = Pipe::start(location, pictures.colours, max_pixels)?;
    pipe.size = pipe.header()?.ok_or_else(|| broken("ffmpeg finds no picture in it"))?;
    pipe.within = true;
    let stored = pipe.size;
    let Colours { matrix, range, transfer, stated, .. } = pictures.colours;
    let info = SourceInfo {
        format: Format::Ffmpeg,
        codec: pictures.codec.clone(),
        matrix,
        range,
        transfer,
        colour_stated: stated,
        orientation: Orientation::default(),
        stored,
        pixel_aspect: (1, 1),
        rate: schedule.rate,
        constant_rate: schedule.is_even(),
        frames: schedule.frames,
        still: pictures.still,
        start: pictures.start,
    };
    Ok(Stream { info, schedule, source: Box::new(pipe) })
}

/// When a file was changed, how long it is, and what was said of it.
type Remembered = HashMap<(PathBuf, Option<std::ops::Range<u64>>), (Option<SystemTime>, u64, Arc<Pictures>)>;

/// What ffprobe says of the pictures, asked once as long as the file stays the same.
fn pictures(location: &Location) -> Outcome<Arc<Pictures>> {
    static KNOWN: Mutex<Option<Remembered>> = Mutex::new(None);
    let about = location.path().metadata()?;
    let key = (location.path().to_owned(), location.bytes());
    let stamp = (about.modified().ok(), about.len());
    let known = || KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((changed, length, pictures)) = known().get_or_insert_default().get(&key)
        && (*changed, *length) == stamp
    {
        return Ok(pictures.clone());
    }
    let pictures = Arc::new(probe(location)?);
    let mut known = known();
    let known = known.get_or_insert_default();
    if known.len() >= REMEMBERED {
        known.clear();
    }
    known.insert(key, (stamp.0, stamp.1, pictures.clone()));
    Ok(pictures)
}

/// The lines that ffprobe prints, each a table of keys and values.
fn ask(location: &Location, stream: &str, entries: &str) -> Outcome<Vec<HashMap<String, String>>> {
    let output = Command::new("ffprobe")
        .args(LOCAL)
        .args(["-select_streams", stream, "-show_entries", entries, "-of", "compact", "-i"])
        .arg(location.url())
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let lines: Vec<HashMap<_, _>> = text
        .lines()
        .map(|line| {
            let mut fields = line.split('|');
            let section = fields.next().unwrap_or_default();
            let pairs = fields.filter_map(|field| field.split_once('='));
            let pairs = pairs.filter(|(_, value)| !matches!(*value, "N/A" | "unknown" | ""));
            let mut all: HashMap<_, _> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
            all.insert("section".to_owned(), section.to_owned());
            all
        })
        .collect();
    match output.status.success() || lines.iter().any(|line| line["section"] == "stream") {
        true => Ok(lines),
        false => Err(broken("neither our own readers nor ffmpeg can read it")),
    }
}

/// A number among what ffprobe says.
fn number<T: std::str::FromStr>(said: &HashMap<String, String>, keys: &[&str]) -> Option<T> {
    keys.iter().find_map(|key| said.get(*key)?.parse().ok())
}

/// Seconds in a tick, as a fraction.
fn time_base(stream: &HashMap<String, String>) -> Option<(u64, u64)> {
    let (numerator, denominator) = stream.get("time_base")?.split_once('/')?;
    Some((numerator.parse().ok()?, denominator.parse().ok().filter(|&ticks| ticks > 0)?))
}

fn probe(location: &Location) -> Outcome<Pictures> {
    let of_stream = "codec_name,width,height,pix_fmt,time_base,color_range,color_space,color_transfer,color_primaries";
    // Which of the last two is there hangs on the version.
    let entries = format!("stream={of_stream}:frame=best_effort_timestamp,duration,pkt_duration:format=format_name");
    let lines = ask(location, "v:0", &entries)?;
    let stream = lines.iter().find(|line| line["section"] == "stream");
    let stream = stream.ok_or_else(|| broken("neither our own readers nor ffmpeg find pictures in it"))?;
    let (numerator, denominator) = time_base(stream).ok_or_else(|| broken("ffmpeg finds no clock in it"))?;
    let mut starts = Vec::<i64>::new();
    let mut last = 0;
    for frame in lines.iter().filter(|line| line["section"] == "frame") {
        let duration = number::<i64>(frame, &["duration", "pkt_duration"]).filter(|&ticks| ticks > 0);
        // A picture without a time comes behind the one before it.
        let next = starts.last().map_or(0, |&start| start + last);
        let start = number::<i64>(frame, &["best_effort_timestamp"]).unwrap_or(next);
        let start = starts.last().map_or(start, |&before| start.max(before));
        last = duration.unwrap_or_else(|| starts.last().map_or(0, |&before| start - before));
        starts.push(start);
    }
    let Some(&first) = starts.first() else { return Err(broken("ffmpeg finds no picture in it")) };
    // Ticks of so many a second, whatever the file counts in.
    let scale = u32::try_from(denominator).map_err(|_| broken("its clock is out of all proportion"))?;
    let ticks = |time: i64| (time - first).max(0) as u64 * numerator;
    let end = starts.last().map_or(0, |&start| ticks(start.saturating_add(last)));
    let timeline = Timeline { scale, starts: starts.iter().map(|&start| ticks(start)).collect(), end };
    let stored = [number(stream, &["height"]).unwrap_or(0), number(stream, &["width"]).unwrap_or(0)];
    Ok(Pictures {
        codec: stream.get("codec_name").cloned().unwrap_or_default(),
        colours: colours(stream, stored)?,
        still: starts.len() == 1 && lines.iter().any(is_of_pictures),
        timeline,
        start: first as f64 * numerator as f64 / f64::from(scale),
    })
}

/// Whether a line names a format that holds pictures alone.
fn is_of_pictures(line: &HashMap<String, String>) -> bool {
    line.get("format_name").is_some_and(|name| name == "image2" || name.ends_with("_pipe"))
}

/// What ffprobe says of colours, in the numbers of ITU-T H.273.
fn colours(stream: &HashMap<String, String>, size: [usize; 2]) -> Outcome<Colours> {
    let said = |key: &str| stream.get(key).map(String::as_str).unwrap_or_default();
    let format = said("pix_fmt");
    let grey = format.starts_with("gray") || format.starts_with("ya") || format.starts_with("mono");
    let rgb = ["rgb", "bgr", "gbr", "argb", "abgr", "0rgb", "0bgr", "pal8", "x2rgb", "x2bgr"];
    let matrix = match said("color_space") {
        "bt709" => Some(1),
        "fcc" => Some(4),
        "bt470bg" => Some(5),
        "smpte170m" => Some(6),
        "smpte240m" => Some(7),
        "ycgco" => Some(8),
        "bt2020nc" => Some(9),
        "bt2020c" => Some(10),
        _ => None,
    };
    let transfer = match said("color_transfer") {
        "smpte2084" => Some(16),
        "arib-std-b67" => Some(18),
        _ => None,
    };
    let primaries = match said("color_primaries") {
        "" => None,
        "bt2020" => Some(9),
        _ => Some(1),
    };
    let full_range = match said("color_range") {
        "pc" => Some(true),
        "tv" => Some(false),
        // Grey alone has no other codes, unless it says so.
        _ => grey.then_some(true),
    };
    let colours = Colours::of(Stated { primaries, transfer, matrix, full_range }, size)?;
    Ok(match rgb.iter().any(|start| format.starts_with(start)) {
        true => Colours { matrix: Matrix::Rgb, range: Range::Full, stated: true, ..colours },
        false => colours,
    })
}

/// ffmpeg at work, writing one PPM after another into a pipe.
struct Pipe {
    location: Location,
    colours: Colours,
    tone_map: Option<Arc<ToneMap>>,
    max_pixels: u64,
    size: [usize; 2],
    program: Program,
    index: usize,
    /// Whether the header of the next picture was read already.
    within: bool,
}

/// ffmpeg, and what it writes.
struct Program {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Program {
    /// With these arguments behind the input file.
    fn start(location: &Location, arguments: &[&str]) -> Outcome<Self> {
        let mut child = Command::new("ffmpeg")
            .args(LOCAL)
            // What is damaged is not to be painted over.
            .args(["-nostdin", "-xerror", "-i"])
            .arg(location.url())
            .args(arguments)
            .arg("-")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()?;
        let output = child.stdout.take().ok_or_else(|| broken("ffmpeg has no output"))?;
        Ok(Self { child, output: BufReader::new(output) })
    }

    /// Whether it came to the end of the file, once its output has ended.
    fn ended(&mut self) -> Outcome<()> {
        match self.child.wait()?.success() {
            true => Ok(()),
            false => Err(broken("neither our own readers nor ffmpeg can decode it to its end")),
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Pipe {
    fn start(location: &Location, colours: Colours, max_pixels: u64) -> Outcome<Self> {
        let program = Self::program(location, colours)?;
        let tone_map = ToneMap::new(colours.transfer, colours.wide).map(Arc::new);
        Ok(Self {
            location: location.clone(),
            colours,
            tone_map,
            max_pixels,
            size: [0; 2],
            program,
            index: 0,
            within: false,
        })
    }

    fn program(location: &Location, Colours { matrix, range, transfer, .. }: Colours) -> Outcome<Program> {
        let matrix = match matrix {
            Matrix::Rgb => None,
            Matrix::Bt601 => Some("bt601"),
            Matrix::Bt709 => Some("bt709"),
            Matrix::Bt2020 => Some("bt2020"),
        };
        let range = if range == Range::Full { "pc" } else { "tv" };
        let scale = "scale=flags=bilinear+accurate_rnd+full_chroma_int:out_range=pc";
        let scale =
            matrix.map_or(scale.to_owned(), |matrix| format!("{scale}:in_color_matrix={matrix}:in_range={range}"));
        let pixels = if transfer == Transfer::Sdr { "rgb24" } else { "rgb48be" };
        // Each picture once: the option's older name is gone in newer versions.
        let once =
            if (1..=6).contains(&version().unwrap_or(0)) { ["-vsync", "0"] } else { ["-fps_mode", "passthrough"] };
        let arguments = ["-map", "0:v:0", "-vf", &scale, once[0], once[1], "-f", "image2pipe", "-c:v", "ppm"];
        Program::start(location, &[&arguments[..], &["-pix_fmt", pixels]].concat())
    }

    fn restart(&mut self) -> Outcome<()> {
        self.program = Self::program(&self.location, self.colours)?;
        (self.index, self.within) = (0, false);
        Ok(())
    }

    /// The size in the next PPM's header; `None` at the end.
    fn header(&mut self) -> Outcome<Option<[usize; 2]>> {
        let mut words = Vec::new();
        for end in [b'\n', b' ', b'\n', b'\n'] {
            let mut word = Vec::new();
            (&mut self.program.output).take(32).read_until(end, &mut word)?;
            words.push(String::from_utf8_lossy(&word).trim().to_owned());
        }
        if words[0].is_empty() {
            return self.program.ended().map(|()| None);
        }
        let most = if self.tone_map.is_some() { "65535" } else { "255" };
        let (Ok(width), Ok(height), "P6", true) =
            (words[1].parse::<usize>(), words[2].parse::<usize>(), &*words[0], words[3] == most)
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
        let size = if std::mem::take(&mut self.within) { Some(self.size) } else { self.header()? };
        let Some([height, width]) = size else { return Ok(false) };
        if [height, width] != self.size {
            return Err(broken("its pictures change their size"));
        }
        let mut pixels = vec![0; height * width * 3 * if self.tone_map.is_some() { 2 } else { 1 }];
        self.program.output.read_exact(&mut pixels)?;
        self.index += 1;
        let Some(into) = into else { return Ok(true) };
        *into = match &self.tone_map {
            None => pixels,
            Some(map) => {
                let mut mapped = Vec::with_capacity(pixels.len() / 2);
                let code = |bytes: &[u8], at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
                map.apply(pixels.chunks_exact(6).map(|p| [code(p, 0), code(p, 2), code(p, 4)]), &mut mapped);
                mapped
            }
        };
        Ok(true)
    }

    fn seek(&mut self, picture: usize) -> Outcome<usize> {
        if picture < self.index {
            self.restart()?;
        }
        Ok(self.index)
    }
}

/// ffmpeg at work, writing the samples of the first sound of a file into a pipe.
pub(crate) struct SoundPipe {
    location: Location,
    filter: String,
    channels: usize,
    program: Program,
    /// Number of the sample that the pipe hands out next.
    at: usize,
}

/// Opens the first sound of a file: sample 0 is at the start of the file's timeline, gaps are silence.
pub(crate) fn open_sound(location: &Location) -> Outcome<(SoundInfo, SoundPipe)> {
    let lines = ask(location, "a:0", "stream=codec_name,sample_rate,channels:format=start_time")?;
    let stream = lines.iter().find(|line| line["section"] == "stream");
    let stream = stream.ok_or_else(|| silent("it has no sound"))?;
    let (Some(rate), Some(channels)) = (number::<u32>(stream, &["sample_rate"]), number(stream, &["channels"])) else {
        return Err(broken("ffmpeg cannot tell the rate of its sound"));
    };
    if channels == 0 || channels > MOST_CHANNELS || !(1..=1 << 20).contains(&rate) {
        return Err(Fault::TooBig(format!("its sound has {channels} channels at {rate} Hz")));
    }
    let start = lines.iter().find_map(|line| number::<f64>(line, &["start_time"])).unwrap_or(0.0);
    // Below zero lies what a decoder needs to get going; streams that were cut out of longer ones start far above it.
    let start = start.max(0.0);
    let first = (start * f64::from(rate)).round() as u64;
    let filter = format!("aresample=async=1:min_hard_comp=0.02:first_pts={first}");
    let info = SoundInfo {
        format: Format::Ffmpeg,
        codec: stream.get("codec_name").cloned().unwrap_or_default(),
        channels,
        rate: Rate::whole(rate),
        length: None,
        start,
    };
    let program = SoundPipe::program(location, &filter)?;
    Ok((info, SoundPipe { location: location.clone(), filter, channels, program, at: 0 }))
}

impl SoundPipe {
    fn program(location: &Location, filter: &str) -> Outcome<Program> {
        // The times of the file, not counted from its start: versions differ in what they take for that.
        Program::start(location, &["-copyts", "-map", "0:a:0", "-af", filter, "-f", "f32le", "-c:a", "pcm_f32le"])
    }

    /// Goes to sample `index`.
    pub(crate) fn seek(&mut self, index: usize) -> Outcome<()> {
        if index < self.at {
            self.program = Self::program(&self.location, &self.filter)?;
            self.at = 0;
        }
        let mut samples = Vec::new();
        while self.at < index {
            self.next((index - self.at).min(1 << 14), &mut samples)?;
            if samples.is_empty() {
                break;
            }
        }
        Ok(())
    }

    /// Replaces `into` by the next samples of all channels, `most` of each; fewer at the end, none behind it.
    pub(crate) fn next(&mut self, most: usize, into: &mut Vec<f32>) -> Outcome<()> {
        let mut bytes = Vec::new();
        let wanted = most * self.channels * 4;
        (&mut self.program.output).take(wanted as u64).read_to_end(&mut bytes)?;
        if bytes.len() < wanted {
            self.program.ended()?;
        }
        into.clear();
        into.extend(bytes.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])));
        into.truncate(into.len() / self.channels * self.channels);
        self.at += into.len() / self.channels;
        Ok(())
    }
}
