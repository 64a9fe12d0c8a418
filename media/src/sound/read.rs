//! Reading sound: the format by the first bytes, the samples block by block.

use super::packets::{self, Coded, Packets};
use crate::{
    fault::{Fault, Outcome, broken, guard, silent},
    ffmpeg::{self, SoundPipe},
    info::Format,
    location::Location,
    mp4,
    read::{Kind, sniff},
    source::ReadSeek,
};
use musiva_core::{Rate, Result, Sound};
use std::{fmt, io::Cursor, path::Path};
use symphonia::core::{
    codecs::audio::{AudioDecoder, AudioDecoderOptions},
    packet::Packet,
};

/// Which samples to read, and how much memory they may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SoundOptions {
    /// First sample of each channel, from 0.
    pub start: usize,
    /// Number of samples of each channel; `None` for all up to the end.
    pub length: Option<usize>,
    /// Most samples that a sound may have, of all channels together: 2²⁸, which take 1 GiB and are
    /// 46 minutes of stereo at 48 kHz, unless changed.
    pub max_samples: usize,
}

impl Default for SoundOptions {
    fn default() -> Self {
        Self { start: 0, length: None, max_samples: 1 << 28 }
    }
}

impl SoundOptions {
    /// `length` samples from sample `start` on.
    pub fn window(start: usize, length: usize) -> Self {
        Self { start, length: Some(length), ..Self::default() }
    }
}

/// What a file says about its sound.
#[derive(Clone, Debug, PartialEq)]
pub struct SoundInfo {
    /// The container, found by its first bytes.
    pub format: Format,
    /// The codec, e.g. `flac` or `pcm_s16le`.
    pub codec: String,
    /// Number of channels.
    pub channels: usize,
    /// Samples per second and channel.
    pub rate: Rate,
    /// Samples of each channel, where it is known before the last one is read. What encoders put in
    /// front and behind in order to start and to fill up their last block does not count, as far as
    /// the file tells.
    pub length: Option<usize>,
    /// Seconds that the file waits before the first sample; not part of the sound.
    pub start: f64,
}

/// A sound and what its file said.
#[derive(Clone, Debug)]
pub struct OpenedSound {
    /// The samples that were asked for.
    pub sound: Sound,
    /// What the file says; `length` counts all of the file.
    pub info: SoundInfo,
}

/// Reads block by block, holding no more than one coded packet: for sounds that do not fit into
/// memory.
pub struct SoundReader {
    location: Location,
    info: SoundInfo,
    /// Whether `location` is a file, which ffmpeg may be asked for.
    file: bool,
    decoding: Decoding,
    /// The samples of the last packet, `[N, C]`.
    block: Vec<f32>,
    /// How many of them were handed out.
    taken: usize,
    /// Samples of silence that come before them: there is a gap in the file.
    silence: usize,
    /// Number of the sample that comes next.
    position: usize,
    /// Number of the sample that the next packet starts with; `None` where only that packet knows.
    upcoming: Option<i64>,
    state: State,
}

/// Who decodes.
enum Decoding {
    /// Our own decoders.
    Own { packets: Box<dyn Packets>, decoder: Box<dyn AudioDecoder> },
    /// ffmpeg, whose sample 0 is so many samples before ours.
    Ffmpeg { pipe: SoundPipe, before: usize },
}

/// Samples that ffmpeg is asked for at once.
const PIECE: usize = 1 << 13;
/// A packet that starts later than the last one ended by more than this many of its lengths comes behind a gap; by less,
/// its time is only imprecise.
const JITTER: i64 = 2;

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Reading,
    Ended,
    Failed,
}

fn open(mut file: Box<dyn ReadSeek>) -> Outcome<Coded> {
    match sniff(&mut file)? {
        Kind::Mp4 => mp4::sound::open(file),
        Kind::Wav => packets::open(file, Format::Wav),
        Kind::Flac => packets::open(file, Format::Flac),
        Kind::Ogg => packets::open(file, Format::Ogg),
        Kind::Mpeg => packets::open(file, Format::Mpeg),
        Kind::Gif | Kind::Png | Kind::Jpeg | Kind::WebP => Err(silent("it is an image, without sound")),
        Kind::Empty => Err(broken("it is empty")),
        Kind::Unknown => Err(packets::foreign("it is none of WAV, FLAC, Ogg, MP3, MP4 and MOV")),
    }
}

impl SoundReader {
    /// Opens a sound, or the sound of a video.
    ///
    /// # Errors
    /// Where the file cannot be read, is damaged, has no sound, or needs ffmpeg and there is none.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        Self::open_at(Location::file(path.as_ref()))
    }

    /// The same of a file, or of a part of one.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_at(location: Location) -> Result<Self> {
        let name = location.name().to_owned();
        Self::of_file(location)?.map_err(|fault| fault.at(&name))
    }

    /// By our own decoders, or else by ffmpeg.
    fn of_file(location: Location) -> Result<Outcome<Self>> {
        let opened = match Self::over(location.clone(), location.open()?) {
            Err(fault) if fault.asks_ffmpeg() && ffmpeg::is_there() => ffmpeg::open_sound(&location)
                .map(|(info, pipe)| Self::with(location, info, Decoding::Ffmpeg { pipe, before: 0 })),
            other => other,
        };
        Ok(opened.map(|reader| Self { file: true, ..reader }))
    }

    /// Opens the sound of a video, as [`open`](Self::open) does; `None` where a video or an image has none.
    pub fn open_if_any(path: impl AsRef<Path>) -> Result<Option<Self>> {
        Self::open_at_if_any(Location::file(path.as_ref()))
    }

    /// The same of a file, or of a part of one.
    ///
    /// # Errors
    /// As [`open_if_any`](Self::open_if_any).
    pub fn open_at_if_any(location: Location) -> Result<Option<Self>> {
        let name = location.name().to_owned();
        match Self::of_file(location)? {
            Ok(reader) => Ok(Some(reader)),
            Err(Fault::Silent(_)) => Ok(None),
            Err(fault) => Err(fault.at(&name)),
        }
    }

    /// Opens bytes in memory.
    pub fn from_bytes(bytes: Vec<u8>) -> Result<Self> {
        let place = Path::new("bytes");
        Self::over(Location::file(place), Box::new(Cursor::new(bytes))).map_err(|fault| fault.at(place))
    }

    fn over(location: Location, file: Box<dyn ReadSeek>) -> Outcome<Self> {
        let Coded { mut info, parameters, packets } = open(file)?;
        let decoder = guard("sound", || {
            let options = AudioDecoderOptions::default();
            let made = symphonia::default::get_codecs().make_audio_decoder(&parameters, &options);
            made.map_err(|error| packets::fault(error, "codec"))
        })?;
        info.codec = decoder.codec_info().short_name.to_owned();
        Ok(Self::with(location, info, Decoding::Own { packets, decoder }))
    }

    fn with(location: Location, info: SoundInfo, decoding: Decoding) -> Self {
        Self {
            location,
            file: false,
            info,
            decoding,
            block: Vec::new(),
            taken: 0,
            silence: 0,
            position: 0,
            upcoming: None,
            state: State::Reading,
        }
    }

    /// What the file says.
    pub fn info(&self) -> &SoundInfo {
        &self.info
    }

    /// Number of the sample that comes next.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Fills `into` with the next samples, `[N, C]`, and says how many of each channel it got: fewer
    /// than there is room for only at the end, 0 behind it. The length of `into` must be a multiple
    /// of the number of channels.
    ///
    /// # Errors
    /// Where the file is damaged, ends before its declared end, or holds numbers that are not finite.
    /// After an error there are no more samples.
    pub fn next(&mut self, into: &mut [f32]) -> Result<usize> {
        let channels = self.info.channels;
        assert!(into.len().is_multiple_of(channels), "{} samples are not whole in {channels} channels", into.len());
        let mut filled = 0;
        while filled < into.len() {
            if self.silence > 0 {
                let count = self.silence.min((into.len() - filled) / channels);
                into[filled..filled + count * channels].fill(0.0);
                filled += count * channels;
                self.silence -= count;
                self.position += count;
                continue;
            }
            if self.taken == self.block.len() {
                match self.fill() {
                    Ok(true) => continue,
                    Ok(false) => break,
                    Err(fault) => {
                        self.state = State::Failed;
                        return Err(fault.at(self.location.name()));
                    }
                }
            }
            let count = (into.len() - filled).min(self.block.len() - self.taken);
            into[filled..filled + count].copy_from_slice(&self.block[self.taken..self.taken + count]);
            filled += count;
            self.taken += count;
            self.position += count / channels;
        }
        Ok(filled / channels)
    }

    /// Goes to sample `index`: it comes next, with the value it has when all is read from the start
    /// (but for the noise that some AAC leaves to the decoder to make up). Beyond the end, nothing does.
    pub fn seek(&mut self, index: usize) -> Result<()> {
        if self.state == State::Failed || self.state == State::Reading && self.position == index {
            return Ok(());
        }
        let sought = match &mut self.decoding {
            Decoding::Own { packets, decoder } => {
                let sought = packets.seek(index);
                decoder.reset();
                sought
            }
            Decoding::Ffmpeg { pipe, before } => pipe.seek(index.saturating_add(*before)).map(|()| true),
        };
        self.block.clear();
        (self.taken, self.silence, self.position, self.upcoming) = (0, 0, index, None);
        match sought {
            Ok(found) => self.state = if found { State::Reading } else { State::Ended },
            Err(fault) => {
                self.state = State::Failed;
                return Err(fault.at(self.location.name()));
            }
        }
        Ok(())
    }

    /// Decodes until there is a sample at `position`; `false` at the end.
    fn fill(&mut self) -> Outcome<bool> {
        while self.state == State::Reading && self.info.length.is_none_or(|length| self.position < length) {
            match self.fill_once() {
                Err(fault) if fault.asks_ffmpeg() => self.ask_ffmpeg(fault)?,
                other => drop(other?),
            }
            if self.silence > 0 || self.taken < self.block.len() {
                return Ok(true);
            }
        }
        self.block.clear();
        self.taken = 0;
        Ok(false)
    }

    /// Replaces `block` by what comes next, which may be nothing yet.
    fn fill_once(&mut self) -> Outcome<()> {
        self.block.clear();
        self.taken = 0;
        let packet = match &mut self.decoding {
            Decoding::Ffmpeg { pipe, .. } => {
                pipe.next(PIECE, &mut self.block)?;
                let channels = self.info.channels;
                match self.info.length {
                    Some(length) => self.block.truncate((length - self.position).saturating_mul(channels)),
                    None if self.block.is_empty() => self.state = State::Ended,
                    None => {}
                }
                if self.info.length.is_some() && self.block.is_empty() {
                    return Err(self.cut_off());
                }
                return self.finite();
            }
            Decoding::Own { packets, .. } => packets.next()?,
        };
        match packet {
            Some(packet) => self.decode(&packet),
            None if self.info.length.is_some() => Err(self.cut_off()),
            None => {
                self.state = State::Ended;
                Ok(())
            }
        }
    }

    fn cut_off(&self) -> Fault {
        let (found, length) = (self.position, self.info.length.unwrap_or(0));
        broken(format!("it ends after {found} of the {length} samples that it declares"))
    }

    /// Goes on by ffmpeg, where our own decoder failed by `fault`.
    fn ask_ffmpeg(&mut self, fault: Fault) -> Outcome<()> {
        if !self.file || matches!(self.decoding, Decoding::Ffmpeg { .. }) || !ffmpeg::is_there() {
            return Err(fault);
        }
        let (info, mut pipe) = ffmpeg::open_sound(&self.location)?;
        let before = ((self.info.start - info.start) * info.rate.as_f64()).round();
        if (info.rate, info.channels) != (self.info.rate, self.info.channels) || before < 0.0 {
            return Err(fault);
        }
        let before = before as usize;
        pipe.seek(self.position.saturating_add(before))?;
        self.decoding = Decoding::Ffmpeg { pipe, before };
        self.info.codec = info.codec;
        Ok(())
    }

    /// Refuses samples of `block` that are no numbers.
    fn finite(&self) -> Outcome<()> {
        match self.block[self.taken..].iter().position(|sample| !sample.is_finite()) {
            None => Ok(()),
            Some(at) => {
                let at = self.position + self.silence + at / self.info.channels;
                Err(broken(format!("its sample {at} is not a finite number")))
            }
        }
    }

    /// Replaces `block` by the samples of `packet` that are at or behind `position`.
    fn decode(&mut self, packet: &Packet) -> Outcome<()> {
        let SoundInfo { channels, rate, length, .. } = self.info;
        let Decoding::Own { packets, decoder } = &mut self.decoding else { return Ok(()) };
        let block = &mut self.block;
        let decoded = guard("sound", || {
            let decoded = decoder.decode(packet).map_err(|error| packets::fault(error, "sound"))?;
            let spec = decoded.spec();
            if spec.channels().count() != channels || Rate::whole(spec.rate().max(1)) != rate {
                return Err(broken("its sound changes its rate or its channels"));
            }
            decoded.copy_to_vec_interleaved(block);
            Ok(decoded.frames())
        });
        let decoded = decoded.map_err(|fault| match fault {
            Fault::Broken(_) => packets::undecoded("sound"),
            other => other,
        });
        let frames = match decoded {
            Ok(frames) => frames as i64,
            // Right behind a seek, a packet may want others that were never read; what it cannot
            // decode is not asked for.
            Err(Fault::Undecoded(_)) if self.upcoming.is_none() && packets.warms_up(packet, self.position) => 0,
            Err(fault) => return Err(fault),
        };
        if frames == 0 {
            return Ok(());
        }
        let stated = packets.start_of(packet);
        let start = self.upcoming.filter(|&next| stated.saturating_sub(next) <= JITTER * frames).unwrap_or(stated);
        self.upcoming = Some(start.saturating_add(frames));
        let wanted = self.position as i64;
        let end = length.map_or(frames, |length| frames.min((length as i64).saturating_sub(start))).max(0);
        self.block.truncate(end as usize * channels);
        if start > wanted {
            let until = length.map_or(start, |length| start.min(length as i64));
            self.silence = (until - wanted).max(0) as usize;
        } else {
            self.taken = ((wanted - start).min(end) as usize) * channels;
        }
        self.finite()
    }

    /// Reads the window that `options` name as one sound.
    ///
    /// # Errors
    /// Where the window reaches beyond the end, or the sound would be larger than the limit.
    pub fn read(&mut self, options: &SoundOptions) -> Result<Sound> {
        let channels = self.info.channels;
        let most = options.max_samples / channels;
        let total = self.info.length;
        let wanted = options.length.or(total.map(|total| total.saturating_sub(options.start)));
        let place = self.location.name().to_owned();
        let beyond = |total: usize| {
            let asked = match options.length {
                Some(length) => format!("{length} samples from {} on", options.start),
                None => format!("samples from {} on", options.start),
            };
            broken(format!("it has {total} samples; asked for were {asked}"))
                .at(&place)
                .hint(format!("ask for a window within its {total} samples"))
        };
        if let (Some(total), Some(wanted)) = (total, wanted)
            && (wanted == 0 || options.start.checked_add(wanted).is_none_or(|end| end > total))
        {
            return Err(beyond(total));
        }
        let too_long = |found: String| {
            let found =
                format!("{found} samples of {channels} channels are more than the limit allows, which is {most}");
            Fault::TooBig(found).at(&place).hint("read a window of it (`start`, `length`), or raise `max_samples`")
        };
        if let Some(wanted) = wanted.filter(|&wanted| wanted > most) {
            return Err(too_long(wanted.to_string()));
        }
        self.seek(options.start)?;
        // A small file may declare many samples: room is made as they come.
        const STEP: usize = 1 << 16;
        let mut samples = Vec::with_capacity((wanted.unwrap_or(0) * channels).min(STEP << 8));
        loop {
            let had = samples.len();
            let room = wanted.map_or(STEP, |wanted| (wanted - had / channels).min(STEP));
            samples.resize(had + room * channels, 0.0);
            let got = self.next(&mut samples[had..])?;
            samples.truncate(had + got * channels);
            if samples.len() / channels > most {
                return Err(too_long("its".into()));
            }
            if got < room || room == 0 {
                break;
            }
        }
        if samples.is_empty() || wanted.is_some_and(|wanted| samples.len() < wanted * channels) {
            return Err(beyond(self.position));
        }
        Sound::new(channels, self.info.rate, samples)
    }
}

impl fmt::Display for SoundInfo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {}, {} channels, {} Hz", self.format, self.codec, self.channels, self.rate)?;
        match self.length {
            Some(length) => write!(f, ", {length} samples"),
            None => Ok(()),
        }
    }
}

/// Reads a sound, the sound of a video, or a window of it, into memory.
///
/// The format is found by the content, never by the name. Samples of whole numbers are divided by
/// their full scale, 2^(bits − 1), which is exact up to 24 bits.
///
/// # Errors
/// Where the file cannot be read, is damaged or cut off, has no sound, is larger than the limit of `options`, ends before
/// the window does, or needs ffmpeg and there is none.
pub fn read_sound(path: impl AsRef<Path>, options: &SoundOptions) -> Result<OpenedSound> {
    let mut reader = SoundReader::open(path)?;
    let sound = reader.read(options)?;
    Ok(OpenedSound { sound, info: reader.info().clone() })
}
